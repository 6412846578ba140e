//! CPU time and memory as the kernel counts them, from `/proc`.

use std::collections::BTreeMap;

/// Ticks of `/proc/*/stat` in a second; fixed at 100 for every Linux program, whatever the kernel's own rate.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds by thread name, of this process.
pub(crate) fn by_thread() -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, cpu_s)) = parse(&stat) {
            *seconds.entry(name.to_owned()).or_insert(0.0) += cpu_s;
        }
    }
    seconds
}

/// CPU seconds of the calling thread, to the nanosecond.
pub(crate) fn of_thread() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a run are below 2^53")]
    let ns = of_thread_ns() as f64;
    ns / 1e9
}

/// CPU nanoseconds of the calling thread.
pub(crate) fn of_thread_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

/// CPU seconds of a whole process.
pub(crate) fn of_process(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse(&stat).map_or(0.0, |(_, cpu_s)| cpu_s)
}

/// CPU seconds of a process, of all that it has started, and so on: as far as they run still, or have been waited for.
pub(crate) fn of_tree(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let waited_for = fields(&stat).map_or(0.0, |(_, fields)| cpu_s(&fields, WAITED_FOR));
    of_process(pid) + waited_for + children(pid).into_iter().map(of_tree).sum::<f64>()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// Starts a new measurement of peak memory.
pub(crate) fn forget_peak() {
    // 5 resets the high-water mark (proc_pid_clear_refs); without that right, the peak is the process's whole life's.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Peak resident memory of a process since [`forget_peak`], in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    memory_mib(pid, "VmHWM:")
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    memory_mib(pid, "VmRSS:")
}

fn memory_mib(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    kib / 1024.0
}

/// Name and CPU seconds (user and system) of a line of `stat`; the name may hold spaces and parentheses.
fn parse(stat: &str) -> Option<(&str, f64)> {
    let (name, fields) = fields(stat)?;
    Some((name, cpu_s(&fields, OWN)))
}

/// Where user and system time stand behind the name.
const OWN: usize = 11;
const WAITED_FOR: usize = 13;

fn fields(stat: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat.get(rest + 2..)?.split(' ').collect();
    Some((stat.get(name + 1..rest)?, fields))
}

fn cpu_s(fields: &[&str], at: usize) -> f64 {
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(at) + ticks(at + 1)) / TICKS_PER_S
}

#[cfg(test)]
mod tests {
    use super::{WAITED_FOR, cpu_s, fields, parse};

    #[test]
    fn a_thread_name_may_hold_anything() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(parse(stat), Some(("a) b", 2.0)));
        let waited_for = "7 (a) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 30 10 20 0 1 0 100 1000 10";
        assert!((cpu_s(&fields(waited_for).expect("fields").1, WAITED_FOR) - 0.4).abs() < 1e-9);
    }
}

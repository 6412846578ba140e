//! A process group: ended as a whole, counted, and its members limited.

use std::io;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::Limits;

/// A process group that we started. Dropped, it is killed: whoever gives a run up leaves nothing behind.
pub(super) struct Group(Pid);

impl Group {
    /// The group of a process that was started as its leader.
    pub(super) fn led_by(pid: i32) -> Self {
        Self(Pid::from_raw(pid))
    }

    /// For those who join.
    pub(super) fn id(&self) -> i32 {
        self.0.as_raw()
    }

    /// Asks all members to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends all members.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Ends all members that are left of a group whose leader is waited for: from now on its number may become somebody else's.
    pub(super) fn finish(self) {
        self.kill();
        std::mem::forget(self);
    }

    fn signal(&self, signal: Signal) {
        // Group 0 would be our own, and that all members are gone is fine.
        if self.0.as_raw() > 1 {
            let _ = killpg(self.0, signal);
        }
    }

    /// Returns when the group has more members than `most`.
    pub(super) async fn crowded(&self, most: Option<u64>) {
        let Some(most) = most.filter(|_| cfg!(target_os = "linux")) else {
            return std::future::pending().await;
        };
        // Not at once: to look through all processes takes longer than most commands do.
        let pause = std::time::Duration::from_millis(100);
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
        loop {
            look.tick().await;
            if self.members() > most {
                return;
            }
        }
    }

    /// The third field of `/proc/PID/stat` behind the name is the group (proc(5)).
    fn members(&self) -> u64 {
        let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
        let own = self.0.to_string();
        let is_member = |name: &std::ffi::OsStr| {
            let is_pid = name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
            let stat = is_pid.then(|| std::fs::read_to_string(std::path::Path::new("/proc").join(name).join("stat")));
            let stat = stat.and_then(Result::ok).unwrap_or_default();
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2)) == Some(own.as_str())
        };
        let members = processes.flatten().filter(|process| is_member(&process.file_name())).count();
        u64::try_from(members).unwrap_or(u64::MAX)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Limits a process that has just been started: no core file, which would hold what is in its memory, and so much memory. It may run a few
/// instructions before; nothing that it does then is left unlimited afterwards but children that it has already.
#[cfg(target_os = "linux")]
pub(super) fn limit(pid: i32, limits: &Limits) -> io::Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    let most = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let set = |resource, bytes| match prlimit(Some(pid), resource, most(bytes)) {
        // It has ended already, or we are under a lower limit ourselves, and so is it.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) | Ok(_) => Ok(()),
        Err(error) => Err(io::Error::from(error)),
    };
    set(Resource::Core, 0)?;
    limits.memory_bytes.map_or(Ok(()), |bytes| set(Resource::Data, bytes))
}

/// Elsewhere nobody can limit another process.
#[cfg(not(target_os = "linux"))]
pub(super) fn limit(_: i32, _: &Limits) -> io::Result<()> {
    Ok(())
}

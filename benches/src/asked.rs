//! What a grown ledger answers, how fast: proofs, look-ups, a check of the whole store, a rebuild of the views. Each by the clock and
//! by the CPU that it took: on a busy machine the first says how long one waits for a core, the second what the work is.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use hdrhistogram::Histogram;
use ledger::dedupe::DedupeKey;
use ledger::fsck;
use ledger::read::Log;
use ledger_rocks::Rocks;
use projector_sqlite::{Draft, Views};
use schemas::ids::{ChangeId, Tenant};
use serde::Serialize;

use crate::events::Random;
use crate::usage;
use crate::world::{Failure, micros, per_second};

/// Questions of each kind.
const QUESTIONS: u64 = 20_000;

/// All answers.
#[derive(Serialize)]
pub(crate) struct Answers {
    inclusion: Took,
    change: Took,
    fsck: Rate,
    rebuild: Rate,
}

/// Microseconds of a question.
#[derive(Clone, Copy, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to the names that are printed")]
pub(crate) struct Took {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The same, in CPU of the thread that answers; reading it is about one of them.
    pub(crate) cpu_p50_us: f64,
    pub(crate) cpu_p99_us: f64,
}

/// A long piece of work.
#[derive(Clone, Copy, Serialize)]
struct Rate {
    per_s: f64,
    /// CPU of the whole process, each.
    cpu_us: f64,
    /// What two cores of our own would reach, if the work were shared evenly.
    per_s_of_two_cores: f64,
}

/// Asks a ledger: `(events, seed)` of the log that is asked about.
pub(crate) fn ask(
    kv: &Rocks,
    log: &Log<&Rocks>,
    views: &Views,
    (events, seed): (u64, u64),
    dedupe: &(dyn Fn(&Tenant) -> Option<DedupeKey> + Sync),
    rebuilt: &Path,
) -> Result<Answers, Failure> {
    let size = log.head()?.size;
    let mut random = Random::new(seed);
    let inclusion = timed(QUESTIONS, || {
        let index = random.next() % size;
        if log.inclusion(index, size)?.is_empty() && size > 1 {
            return Err(format!("entry {index} has no path").into());
        }
        Ok(())
    })?;
    let change = timed(QUESTIONS.min(events), || {
        let change = ChangeId::parse(&format!("CHG-{:08}", random.next() % events.div_ceil(5)))?;
        views.change(&change)?.map(|_| ()).ok_or_else(|| format!("{change} is not in the views").into())
    })?;
    Ok(Answers { inclusion, change, fsck: rated(|| check(kv, dedupe))?, rebuild: rated(|| rebuild(log, rebuilt))? })
}

fn timed(questions: u64, mut question: impl FnMut() -> Result<(), Failure>) -> Result<Took, Failure> {
    let (mut clock, mut cpu) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    for _ in 0..questions {
        let (start, begun) = (Instant::now(), usage::of_thread_ns());
        question()?;
        clock.record(u64::try_from(start.elapsed().as_nanos())?)?;
        cpu.record(usage::of_thread_ns().saturating_sub(begun))?;
    }
    let us = |found: &Histogram<u64>, quantile| {
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a question are far below 2^53")]
        let ns = found.value_at_quantile(quantile) as f64;
        ns / 1e3
    };
    Ok(Took {
        p50_us: us(&clock, 0.5),
        p99_us: us(&clock, 0.99),
        cpu_p50_us: us(&cpu, 0.5),
        cpu_p99_us: us(&cpu, 0.99),
    })
}

/// Times work that gives how many pieces it was.
fn rated(work: impl FnOnce() -> Result<u64, Failure>) -> Result<Rate, Failure> {
    let pid = std::process::id();
    let (start, begun) = (Instant::now(), usage::of_process(pid));
    let pieces = work()?;
    let (seconds, cpu_s) = (start.elapsed().as_secs_f64(), usage::of_process(pid) - begun);
    Ok(Rate {
        per_s: per_second(pieces, seconds),
        cpu_us: micros(cpu_s, pieces),
        per_s_of_two_cores: per_second(pieces, cpu_s / 2.0),
    })
}

fn check(kv: &Rocks, dedupe: &(dyn Fn(&Tenant) -> Option<DedupeKey> + Sync)) -> Result<u64, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let options = fsck::Options { threads, deep: false, tenants: &[], dedupe, progress: &|_| () };
    let report = fsck::check(kv, &options);
    if !report.is_sound() {
        return Err(format!("the store is not sound: {:?}", report.findings.first()).into());
    }
    Ok(report.entries())
}

fn rebuild(log: &Log<&Rocks>, path: &Path) -> Result<u64, Failure> {
    let mut draft = Draft::begin(path)?;
    let size = draft.core(log, &|_| ())?;
    draft.publish()?;
    Ok(size)
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "inclusion proof    {}", self.inclusion)?;
        writeln!(f, "change by id       {}", self.change)?;
        writeln!(f, "fsck               {}", self.fsck)?;
        writeln!(f, "rebuild, core      {}", self.rebuild)
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.0} µs  p99 {:.0} µs   of CPU: p50 {:.0} µs  p99 {:.0} µs",
            self.p50_us, self.p99_us, self.cpu_p50_us, self.cpu_p99_us
        )
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s   {:.2} µs of CPU each, on all threads: {:.0}/s if it had two cores alone",
            self.per_s, self.cpu_us, self.per_s_of_two_cores
        )
    }
}

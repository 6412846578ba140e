//! From a failing entry to restored service.
//!
//! A failure begins with an entry that shows one while none is open. Service is restored by the next entry with a round that held: of the same
//! change (verified later, or after its rollback), or of a change that says it fixes this one, executed, and was verified. Order is the
//! log's; how long it took is told by the producers' clocks.

use super::{Day, Sample, metric};
use crate::account::{Account, When};

/// How far a producer's clock may be from the log's, milliseconds, before a duration told by it is flagged.
const CLOCKS_APART_MS_MAX: u64 = 5 * 60 * 1000;

/// An entry that breaks service or restores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// Index in the log.
    pub index: u64,
    /// It fails; otherwise it restores.
    pub fails: bool,
    /// The log's time, milliseconds.
    pub at: u64,
    /// The producer's time, seconds.
    pub ts: i64,
}

/// A failure, and what restored service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The entry that shows it.
    pub failed: Trouble,
    /// The entry that ended it.
    pub restored: Option<Trouble>,
}

impl Trouble {
    fn new(when: &When, fails: bool) -> Self {
        Self { index: when.index, fails, at: when.at, ts: when.ts }
    }

    /// `ts` is floored to seconds, so the producer's time lies anywhere within that second.
    fn clocks_differ(&self) -> bool {
        let (at, ts) = (i128::from(self.at), i128::from(self.ts) * 1000);
        let apart = if at < ts { ts - at } else { (at - ts - 999).max(0) };
        apart > i128::from(CLOCKS_APART_MS_MAX)
    }
}

impl Outage {
    /// How long it took by the producers' clocks, microseconds; not below nothing.
    pub fn lasted_us(&self) -> Option<u64> {
        let seconds = self.restored?.ts.saturating_sub(self.failed.ts);
        Some(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000))
    }

    /// A producer's clock and the log's are more than five minutes apart at either end.
    pub fn clocks_differ(&self) -> bool {
        self.failed.clocks_differ() || self.restored.is_some_and(|restored| restored.clocks_differ())
    }
}

/// The entries of a change that break and restore; empty where nothing ever failed. An entry that does both breaks.
pub fn troubles(account: &Account) -> Vec<Trouble> {
    let mut found: Vec<Trouble> =
        account.entries.iter().filter(|entry| entry.failed()).map(|entry| Trouble::new(&entry.when, true)).collect();
    if !found.is_empty() && !account.probe {
        let failing: Vec<u64> = found.iter().map(|trouble| trouble.index).collect();
        let held = account.rounds.iter().filter(|round| round.passed && !failing.contains(&round.when.index));
        found.extend(held.map(|round| Trouble::new(&round.when, false)));
        found.sort_unstable();
    }
    if account.probe { Vec::new() } else { found }
}

/// The rounds by which a change restores service for those it mends.
pub fn mends(account: &Account) -> Vec<Trouble> {
    let Some(executed) = account.executed().filter(|_| !account.probe && !account.fixes.is_empty()) else {
        return Vec::new();
    };
    let failing = |index: u64| account.entries.iter().any(|entry| entry.when.index == index && entry.failed());
    let held = account.rounds.iter().filter(|round| round.passed && round.when.index >= executed.index);
    held.filter(|round| !failing(round.when.index)).map(|round| Trouble::new(&round.when, false)).collect()
}

/// The failures of a change, in the order of the log.
pub fn outages(own: &[Trouble], mends: &[Trouble]) -> Vec<Outage> {
    let mut all: Vec<Trouble> = own.iter().chain(mends).copied().collect();
    all.sort_unstable();
    let mut outages: Vec<Outage> = Vec::new();
    for trouble in all {
        match outages.last_mut().filter(|outage| outage.restored.is_none()) {
            None if trouble.fails => outages.push(Outage { failed: trouble, restored: None }),
            Some(open) if !trouble.fails => open.restored = Some(trouble),
            _ => {}
        }
    }
    outages
}

/// Their samples, each on the day it began.
pub fn samples(outages: &[Outage]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for outage in outages {
        let day = Day::of(outage.failed.at);
        match outage.lasted_us() {
            Some(lasted) => samples.push(Sample::duration(metric::MTTR, day, lasted)),
            None => samples.push(Sample::one(metric::MTTR_OPEN, day, false)),
        }
        if outage.restored.is_some() && outage.clocks_differ() {
            samples.push(Sample::one(metric::MTTR_CLOCKS_DIFFER, day, true));
        }
    }
    samples
}

//! What the workers of one process did, counted by kind. Names and formats of metrics are the service's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::stats::Latency;

/// Upper bounds of the buckets of how long a change was in hand, seconds: a plan takes milliseconds, an execution as long as its commands.
pub const CASE_BOUNDS_S: [f64; 12] = [0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0];

/// Counters of all kinds of workers.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, Counts>>);

/// What one kind of worker did since the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counts {
    /// Times that a change was taken in hand.
    pub cases: u64,
    /// Those that ended in an error of ours: they are tried again.
    pub failures: u64,
    /// Commands of steps that were run, and of ways back.
    pub steps: u64,
    /// Those that did not end well.
    pub steps_failed: u64,
    /// How long changes were in hand; buckets by [`CASE_BOUNDS_S`].
    pub took: Latency,
}

impl Tally {
    /// A change was in hand for so long.
    pub(crate) fn case(&self, worker: &'static str, took: Duration, succeeded: bool) {
        self.count(worker, |counts| {
            counts.cases += 1;
            counts.failures += u64::from(!succeeded);
            let place = CASE_BOUNDS_S.iter().position(|bound| took.as_secs_f64() <= *bound);
            counts.took.buckets.resize(CASE_BOUNDS_S.len() + 1, 0);
            counts.took.buckets[place.unwrap_or(CASE_BOUNDS_S.len())] += 1;
            counts.took.sum_s += took.as_secs_f64();
        });
    }

    /// A command of a step was run.
    pub(crate) fn step(&self, worker: &'static str, succeeded: bool) {
        self.count(worker, |counts| {
            counts.steps += 1;
            counts.steps_failed += u64::from(!succeeded);
        });
    }

    /// By the workers' names.
    pub fn counts(&self) -> BTreeMap<&'static str, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Plain numbers: what a thread that panicked left is as good.
    fn count(&self, worker: &'static str, add: impl FnOnce(&mut Counts)) {
        add(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(worker).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own() {
        let tally = Tally::default();
        tally.case("plan", Duration::from_millis(5), true);
        tally.case("execute", Duration::from_secs(2), false);
        tally.case("execute", Duration::from_hours(2), true);
        tally.step("execute", true);
        tally.step("execute", false);
        let counts = tally.counts();
        assert_eq!(counts["plan"].took.buckets, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let execute = &counts["execute"];
        assert_eq!((execute.cases, execute.failures, execute.steps, execute.steps_failed), (2, 1, 2, 1));
        assert_eq!((execute.took.buckets[6], execute.took.buckets[12], execute.took.sum_s), (1, 1, 7_202.0));
    }
}

//! What bounds an evaluation: a count of its steps. regorus asks a time source how late it is after each step; ours answers with the number of
//! times that it was asked. So the same evaluation ends at the same step on any machine, however busy.
//!
//! regorus is built without its feature `std`, which would put the machine's clock in this place (decision 125).

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use regorus::utils::limits::{ExecutionTimerConfig, TimeSource, set_time_source};

thread_local! {
    /// Each evaluation stays on one thread.
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

struct Counter;

impl TimeSource for Counter {
    /// One nanosecond for each step.
    fn now(&self) -> Option<Duration> {
        STEPS.with(|steps| {
            let count = steps.get().saturating_add(1);
            steps.set(count);
            Some(Duration::from_nanos(count))
        })
    }
}

static COUNTER: Counter = Counter;

/// Makes the counter the evaluator's time source, for the whole process; again is as good as once.
pub(super) fn install() {
    // It can only say that a source is set already, and nothing else sets one.
    let _ = set_time_source(&COUNTER);
}

/// A limit of so many steps.
pub(super) fn of(steps: u64) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit: Duration::from_nanos(steps), check_interval: NonZeroU32::MIN }
}

/// Begins to count.
pub(super) fn start() {
    STEPS.with(|steps| steps.set(0));
}

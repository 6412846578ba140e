//! What `projector` measures of a history, held against the history's truth; and its events as a log would hold them.
//!
//! Beside the history, not of it: that knows nothing of what measures it. Included by path, as it is.

use ledger::entry::{EventHeader, Road};
use ledger::hash::Hash;
use projector::kpi::figure::Sums;
use projector::kpi::{Day, Window};
use schemas::admit::{Scratch, derive};
use schemas::ids::Producer;

use crate::history::truth::Expected;
use crate::history::{Told, Truth};

/// The header that a log would give an event, as far as views and folds ask: its position says only whether its change is new.
pub(crate) fn header(told: &Told, scratch: &mut Scratch) -> Result<EventHeader, String> {
    let derived = derive(told.payload.as_bytes(), scratch);
    let (_, _, _, facts) = derived.map_err(|_| format!("the generator made what is not admitted: {}", told.payload))?;
    if facts.ts != told.ts {
        return Err(format!("{}: the event says {}, the generator {}", told.id, facts.ts, told.ts));
    }
    Ok(EventHeader {
        change: facts.change,
        seq: u64::from(!told.id.ends_with("-0")),
        prev: None,
        id: facts.id,
        phase: facts.phase,
        env: facts.environment,
        class: facts.class,
        probe: facts.probe,
        producer: Producer::parse(told.producer).ok(),
        has: facts.has,
        outcome: facts.outcome,
        ts: facts.ts,
        at: told.at_ms,
        road: Road { epoch: 0, sequence: 1 },
        commit: Hash([0; 32]),
        size: told.payload.len() as u64,
        masked: 0,
        rules: Hash([0; 32]),
    })
}

/// From a day since 1970 to before another.
pub(crate) fn window(from: u64, to: u64) -> Window {
    let day = |day: u64| Day(u32::try_from(day).unwrap_or(u32::MAX));
    Window { from: day(from), to: day(to) }
}

/// Whether every figure of a window is what the stories know, else the first that is not.
pub(crate) fn figures(sums: &Sums, truth: &Truth, from: u64, to: u64) -> Result<(), String> {
    for expected in truth.expected(from, to) {
        let total = sums.totals.get(expected.what).copied().unwrap_or_default();
        let p95_us = sums.percentiles.get(expected.what).and_then(|percentiles| percentiles[1]);
        let (numerator, denominator, sum_us) = (total.num, total.den, total.sum_us);
        let found = Expected { what: expected.what, numerator, denominator, sum_us, p95_us };
        if found != expected {
            return Err(format!("days {from} to {to}: found {found:?}, expected {expected:?}"));
        }
    }
    Ok(())
}

/// Whether drift coverage is what the services know. They know it as of the end of the history, so the window has to end behind that.
pub(crate) fn drift(sums: &Sums, truth: &Truth, from: u64) -> Result<(), String> {
    let (found, expected) = ((sums.drift.covered, sums.drift.managed), truth.drift(from));
    if found == expected {
        Ok(())
    } else {
        Err(format!("drift since day {from}: found {found:?}, expected {expected:?}"))
    }
}

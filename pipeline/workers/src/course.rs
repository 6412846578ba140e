//! The course of a change's newest attempt, as its entries tell: which plan is in force, what became of each step, what was checked, how far
//! it was taken back, what somebody ordered, and so what is due next.
//!
//! Everything is read off stored events, so that a worker that was killed knows as much as one that was not. Events of executors and verifiers that are
//! not ours count the same: a step is found by its id, else by its command, else by its place. What was taken back only whoever takes changes back can say: his word
//! would have commands run, or a change verified and closed.
//!
//! Left out: doing what is due (`pipeline`), and how to take a step back ([`crate::rollback`]).

mod due;
mod read;

use std::sync::Arc;

use schemas::ids::Phase;

use crate::preflight::Planned;

pub use due::{Because, Due, House, due};

/// One stored event of a change.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Index in the log.
    pub index: u64,
    /// The log's time, milliseconds.
    pub at_ms: u64,
    /// As the header says.
    pub phase: Phase,
    /// It is by whoever takes changes back: nobody else's word for it counts.
    pub takes_back: bool,
    /// As stored.
    pub payload: &'a [u8],
}

/// What became of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// It was not begun.
    #[default]
    Waiting,
    /// It was begun, and nothing says how it ended.
    Begun,
    /// A try ended without doing it; there may be another one.
    Tried,
    /// It ended well.
    Done,
    /// It ended with another code than 0. It may have done something.
    Failed,
    /// There was nothing to do.
    Skipped,
}

/// The newest attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// From 1.
    pub attempt: u64,
    /// Every entry calls itself a probe.
    pub probe: bool,
    /// The plan in force.
    pub plan: Option<Arc<Planned>>,
    /// Of each step of the plan.
    pub fates: Vec<Fate>,
    /// Positions of steps in the order in which they were begun.
    pub order: Vec<usize>,
    /// The last entry that executes: index and time.
    pub executed: Option<(u64, u64)>,
    /// Nothing more is executed: each step has ended, or one failed or all was cancelled and none runs any more.
    pub over: bool,
    /// The executor was told to stop, and by whom.
    pub stopped: Option<String>,
    /// Rounds of checks after the change, drift monitors' left out.
    pub rounds: Vec<Round>,
    /// Comparisons with the baseline, of whatever round.
    pub drifts: Vec<Drift>,
    /// What was taken back.
    pub undone: Undone,
    /// What somebody ordered: rollbacks and looks at drift.
    pub orders: Vec<Order>,
    /// It is closed.
    pub closed: bool,
}

/// A round of checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Index in the log.
    pub index: u64,
    /// Something was checked, and all of it held.
    pub held: bool,
    /// Something did not hold.
    pub failed: bool,
    /// What did not, as the round calls it.
    pub broken: Vec<String>,
}

/// A comparison with the baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// Index in the log.
    pub index: u64,
    /// The log's time, milliseconds.
    pub at_ms: u64,
    /// `verification.state`, where it was kept.
    pub state: Option<serde_json::Value>,
    /// `baseline_hash`.
    pub baseline: Option<String>,
    /// `diff`, as stored.
    pub diff: Vec<serde_json::Value>,
    /// A monitor's, not a verification's.
    pub by_monitor: bool,
    /// The round that it is of held.
    pub held: bool,
}

/// How far an attempt was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// Runs that ended.
    pub ended: Vec<Ended>,
    /// Steps of the run that has not ended, in order.
    pub steps: Vec<UndoneStep>,
    /// A run was begun and has not ended.
    pub open: bool,
}

/// A run that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Index in the log.
    pub index: u64,
    /// The log's time, milliseconds.
    pub at_ms: u64,
    /// Its outcome is a failure.
    pub failed: bool,
}

/// A step that was taken back, or is being.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoneStep {
    /// The plan's step.
    pub id: String,
    /// The exit code; `None` while nothing says how it ended.
    pub rc: Option<i64>,
    /// It stands, and why.
    pub stands: Option<String>,
    /// Where its command was begun.
    pub place: Option<String>,
    /// When its command is over at the latest, milliseconds since 1970.
    pub until_ms: u64,
    /// The last event about it.
    pub index: u64,
}

/// What somebody ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Index in the log.
    pub index: u64,
    /// `rollback`, `rollback_dry_run`, `drift_check`, …
    pub kind: String,
    /// By whom.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The event's id.
    pub id: String,
}

impl Course {
    /// Whether a step failed or the executor stopped before the end.
    pub fn failed(&self) -> bool {
        self.fates.contains(&Fate::Failed) || self.stopped.is_some()
    }

    /// The last round behind an entry.
    pub fn round_since(&self, index: u64) -> Option<&Round> {
        self.rounds.iter().rev().find(|round| round.index > index && (round.held || round.failed))
    }

    /// Steps that may have left something, in the order in which they were begun.
    pub fn touched(&self) -> impl Iterator<Item = usize> + '_ {
        self.order
            .iter()
            .copied()
            .filter(|at| matches!(self.fates[*at], Fate::Begun | Fate::Tried | Fate::Done | Fate::Failed))
    }

    /// The state that later ones are compared with: the first one of a round that held behind the last execution.
    pub fn baseline(&self) -> Option<&Drift> {
        let since = self.executed.map_or(0, |(index, _)| index);
        self.drifts
            .iter()
            .find(|drift| drift.index >= since && drift.held && !drift.by_monitor && drift.state.is_some())
    }
}

#[cfg(test)]
pub(crate) mod tests;

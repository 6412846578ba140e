//! Whether a change has ended, how it went, and what its pack lacks.

use serde::Serialize;

use super::{Day, Settings, approved};
use crate::account::{Account, Round};
use crate::fold::Marks;

/// The end of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it ended, milliseconds of the log's time; may lie ahead.
    pub at: u64,
    /// The day it counts on.
    pub day: Day,
}

/// What an ended change's pack does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lack {
    /// A plan.
    Plan,
    /// The approvals it needs.
    Approval,
    /// What every step printed, or its digest.
    Logs,
    /// A check after the last execution that says yes or no.
    Verification,
    /// A rollback plan, or an executed rollback.
    Rollback,
}

impl Lack {
    /// In words.
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Plan => "a plan",
            Self::Approval => "the approvals",
            Self::Logs => "the logs of every step, or their digests",
            Self::Verification => "a verification",
            Self::Rollback => "a rollback plan, or an executed rollback",
        }
    }
}

/// The end of a change: closed or rolled back behind its last execution, or some time after that. `None` where it did neither and never
/// executed.
pub fn ended(account: &Account, settings: &Settings) -> Option<Ended> {
    let last = account.executions.last().map(|execution| &execution.when);
    let behind = last.map_or(0, |when| when.index);
    let closed = account.entries.iter().filter(|entry| entry.marks.any(Marks::CLOSED)).map(|entry| &entry.when);
    let rolled_back = account.rollbacks.iter().filter_map(|rollback| rollback.done.as_ref());
    let said = closed.chain(rolled_back).filter(|when| when.index >= behind).map(|when| when.at).min();
    let due = last.map(|when| when.at.saturating_add(settings.ended_after_ms));
    match (said, due) {
        (Some(said), due) if due.is_none_or(|due| said <= due) => Some(Ended { at: said, day: Day::of(said) }),
        (_, Some(due)) => Some(Ended { at: due, day: Day::from_midnight_after(due) }),
        (_, None) => None,
    }
}

/// Verified in time, and without failure: no failed step or check in any attempt, and no rollback. A verification is in time until the
/// change has ended, or, where it was closed sooner, until it would have.
pub fn succeeded(account: &Account, ended: &Ended, settings: &Settings) -> bool {
    let undone = account.entries.iter().any(|entry| entry.failed() || entry.marks.any(Marks::ROLLING_BACK));
    let Some(last) = account.executions.last().filter(|_| !undone) else { return false };
    let until = ended.at.max(last.when.at.saturating_add(settings.ended_after_ms));
    verified(account).is_some_and(|round| round.when.at <= until)
}

/// The first round that held and that is no older than the last execution, of whatever attempt: what was executed after a round is verified by no
/// round.
pub fn verified(account: &Account) -> Option<&Round> {
    since_execution(account).find(|round| round.passed)
}

/// The rounds that look at all that was executed.
fn since_execution(account: &Account) -> impl Iterator<Item = &Round> {
    let last = account.executions.last().map(|execution| execution.when.index);
    account.rounds.iter().filter(move |round| last.is_some_and(|last| round.when.index >= last))
}

/// What the pack of a change lacks. One that never executed needs its plan alone.
pub fn lacks(account: &Account, settings: &Settings) -> Vec<Lack> {
    let planned = !account.plans.is_empty();
    if account.executed().is_some() {
        let covered = approved::coverage(account, settings).is_none_or(|coverage| coverage.covered);
        lacks_of(account, planned, covered)
    } else if planned {
        Vec::new()
    } else {
        vec![Lack::Plan]
    }
}

/// What the pack of a change that executed lacks, where plan and approvals are told: the gate asks them of the newest, the KPI of what was executed.
pub(crate) fn lacks_of(account: &Account, planned: bool, approved: bool) -> Vec<Lack> {
    // An entry that only says that execution goes on has no steps; some entry must have.
    let mut said = account.executions.iter().filter(|execution| execution.steps.count > 0).peekable();
    let logged = said.peek().is_some() && said.all(|one| one.logged == one.steps.count);
    let has = [
        (planned, Lack::Plan),
        (approved, Lack::Approval),
        (logged, Lack::Logs),
        (since_execution(account).any(|round| round.passed || round.failed), Lack::Verification),
        (account.rollback_plan || !account.rollbacks.is_empty(), Lack::Rollback),
    ];
    has.into_iter().filter(|(has, _)| !has).map(|(_, lack)| lack).collect()
}

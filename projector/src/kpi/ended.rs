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
    /// A check after the change that says yes or no.
    Verification,
    /// A rollback plan, or an executed rollback.
    Rollback,
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

/// The first round that held and that is no older than the execution it is about: the first of the attempt that executed last.
pub fn verified(account: &Account) -> Option<&Round> {
    let attempt = account.executions.last()?.when.attempt;
    let began = account.executions.iter().find(|execution| execution.when.attempt == attempt)?.when.index;
    account.rounds.iter().find(|round| round.passed && round.when.index >= began)
}

/// What the pack of a change lacks. One that never executed needs its plan alone.
pub fn lacks(account: &Account, settings: &Settings) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut need = |has: bool, lack| {
        if !has {
            lacks.push(lack);
        }
    };
    need(!account.plans.is_empty(), Lack::Plan);
    if account.executed().is_some() {
        need(approved::coverage(account, settings).is_none_or(|coverage| coverage.covered), Lack::Approval);
        let logged = |steps: u64, logged: u64| steps > 0 && logged == steps;
        // An entry that only says that execution goes on has no steps; some entry must have.
        let said = account.executions.iter().filter(|execution| execution.steps.count > 0);
        let mut said = said.peekable();
        need(said.peek().is_some() && said.all(|one| logged(one.steps.count, one.logged)), Lack::Logs);
        need(account.rounds.iter().any(|round| round.passed || round.failed), Lack::Verification);
        need(account.rollback_plan || !account.rollbacks.is_empty(), Lack::Rollback);
    }
    lacks
}

//! What is due next on a course, after execution. One table: the first row that fits.

use super::{Course, Ended};
use crate::rollback::Automatic;
use crate::scope::Case;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing, or somebody else's turn.
    Nothing,
    /// Look whether what was executed holds.
    Verify,
    /// Take back what was done.
    RollBack(Because),
    /// Look whether what was taken back is gone.
    VerifyAgain,
    /// Close the change, with this sentence.
    Close(&'static str),
}

/// Why something is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    /// For people.
    pub reason: String,
    /// Who ordered it; `None`: the configuration did.
    pub by: Option<String>,
}

/// What the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct House<'a> {
    /// When a change is taken back without being asked.
    pub automatic: &'a Automatic,
    /// Whether what is verified, or taken back and verified, is closed.
    pub closes: bool,
}

/// What is due on a course.
pub fn due(course: &Course, house: House<'_>) -> Due {
    let Some((executed, _)) = course.executed else { return Due::Nothing };
    if course.closed || course.probe || course.plan.is_none() {
        return Due::Nothing;
    }
    let undone = &course.undone;
    let last_end = undone.ended.last().copied();
    if undone.open {
        return Due::RollBack(because(course, last_end.map_or(0, |end| end.index)));
    }
    if let Some(Ended { index: ended, failed, .. }) = last_end {
        let asked = ordered(course, ended);
        return match course.round_since(ended) {
            _ if failed && asked.is_some() => Due::RollBack(because(course, ended)),
            None => Due::VerifyAgain,
            Some(round) if round.held && !failed && house.closes => Due::Close("rolled back, and verified again"),
            Some(_) => Due::Nothing,
        };
    }
    if ordered(course, 0).is_some() {
        // What still runs has to end first: the executor stops at the same order, and says so.
        return if course.over { Due::RollBack(because(course, 0)) } else { Due::Nothing };
    }
    if !course.over {
        return Due::Nothing;
    }
    let case = course.plan.as_ref().map_or_else(Case::default, |plan| plan.case());
    if course.failed() {
        let starts = house.automatic.after_execution && house.automatic.scope.admits(case);
        return if starts { Due::RollBack(because(course, 0)) } else { Due::Nothing };
    }
    match course.round_since(executed) {
        None => Due::Verify,
        Some(round) if round.failed => {
            let starts = house.automatic.after_verification && house.automatic.scope.admits(case);
            if starts { Due::RollBack(because(course, 0)) } else { Due::Nothing }
        }
        Some(_) if house.closes => Due::Close("verified"),
        Some(_) => Due::Nothing,
    }
}

/// The last order to roll back that no run before has answered: those behind the end of the last one.
fn ordered(course: &Course, since: u64) -> Option<&super::Order> {
    course.orders.iter().rev().find(|order| order.kind == "rollback" && order.index >= since)
}

fn because(course: &Course, since: u64) -> Because {
    if let Some(order) = ordered(course, since) {
        let reason = order.reason.clone().unwrap_or_else(|| "it was ordered".to_owned());
        return Because { reason, by: Some(order.by.clone().unwrap_or_else(|| "somebody".to_owned())) };
    }
    let reason = match course.rounds.iter().rev().find(|round| round.failed) {
        Some(round) => format!("the verification failed: {}", round.broken.join("; ")),
        None => match &course.stopped {
            Some(message) => format!("the execution stopped: {message}"),
            None => "a step failed".to_owned(),
        },
    };
    Because { reason, by: None }
}

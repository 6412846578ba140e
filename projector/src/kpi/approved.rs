//! Whether a change that executed was approved as it needed to be, and by how good a word: what [`crate::approval`] says of the attempt that
//! executed first, and the day on which that counts.

use super::{Day, Settings};
use crate::account::Account;
use crate::approval::Grade;

/// How a change that executed and needed approval was approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// It is an emergency, which may be approved afterwards.
    pub emergency: bool,
    /// Approved in time, as the rule asks for.
    pub covered: bool,
    /// The best grade at which all that is needed was given in time; `None` where it was not even claimed, or refused.
    pub grade: Option<Grade>,
    /// The day it counts on.
    pub day: Day,
}

/// The coverage of a change; `None` where it did not execute, or needed no approval.
pub fn coverage(account: &Account, settings: &Settings) -> Option<Coverage> {
    let executed = account.executed()?;
    let attempt = account.graded.attempts.iter().find(|attempt| attempt.attempt == executed.attempt)?;
    if !attempt.needed {
        return None;
    }
    let entry_at =
        |index: u64| account.entries.iter().find(|entry| entry.when.index == index).map(|entry| entry.when.at);
    let day = match attempt.approved_by.and_then(entry_at) {
        _ if !attempt.emergency => Day::of(executed.at),
        Some(at) => Day::of(at.max(executed.at)),
        None => Day::from_midnight_after(executed.at.saturating_add(settings.emergency_within_ms)),
    };
    let grade = attempt.grade.filter(|_| attempt.refused.is_none());
    Some(Coverage { emergency: attempt.emergency, covered: attempt.approved, grade, day })
}

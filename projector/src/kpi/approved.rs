//! Whether a change that executed was approved as it needed to be, and by how good a word: what [`crate::approval`] says of each attempt that
//! executed, and the day on which that counts.

use super::{Day, Settings};
use crate::account::Account;
use crate::approval::{self, Grade};

/// How a change that executed and needed approval was approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// It is an emergency, which may be approved afterwards: every attempt that executed and needed approval is one.
    pub emergency: bool,
    /// Each of them was approved in time, as the rule asks for.
    pub covered: bool,
    /// The best grade at which all that is needed was given in time for every one of them; `None` where it was not even claimed, or refused.
    pub grade: Option<Grade>,
    /// The day it counts on.
    pub day: Day,
}

/// The coverage of a change; `None` where it did not execute, or needed no approval.
///
/// A change counts once, and is as well approved as its worst attempt: a plan that was approved for the first attempt covers nothing that the second
/// did. It counts on the day of its first execution; an emergency on the day on which the last word about it was given or, without one, fell due.
pub fn coverage(account: &Account, settings: &Settings) -> Option<Coverage> {
    let attempts: Vec<Attempt<'_>> = account
        .executed_attempts()
        .filter(|attempt| attempt.needed)
        .filter_map(|attempt| Some(Attempt { coverage: attempt, executed_at: time_of(account, attempt.executed?)? }))
        .collect();
    let first = attempts.iter().min_by_key(|attempt| attempt.coverage.executed)?;
    let emergency = attempts.iter().all(|attempt| attempt.coverage.emergency);
    let covered = attempts.iter().all(|attempt| attempt.coverage.approved);
    let grade = |attempt: &Attempt<'_>| attempt.coverage.grade.filter(|_| attempt.coverage.refused.is_none());
    let day = if emergency {
        let settled = attempts.iter().map(|attempt| (attempt.coverage.approved, attempt.settled(account, settings)));
        let days = settled.filter(|(approved, _)| *approved == covered).map(|(_, day)| day);
        if covered { days.max()? } else { days.min()? }
    } else {
        Day::of(first.executed_at)
    };
    // None, which is no word at all, is the least.
    Some(Coverage { emergency, covered, grade: attempts.iter().map(grade).min()?, day })
}

/// An attempt that executed and needed approval.
struct Attempt<'a> {
    coverage: &'a approval::Coverage,
    executed_at: u64,
}

impl Attempt<'_> {
    /// Of an emergency: the day it was approved, or that begins once it can't be any more.
    fn settled(&self, account: &Account, settings: &Settings) -> Day {
        match self.coverage.approved_by.and_then(|index| time_of(account, index)) {
            Some(at) => Day::of(at.max(self.executed_at)),
            None => Day::from_midnight_after(self.executed_at.saturating_add(settings.emergency_within_ms)),
        }
    }
}

/// The log's time of an entry.
fn time_of(account: &Account, index: u64) -> Option<u64> {
    let place = account.entries.binary_search_by_key(&index, |entry| entry.when.index).ok()?;
    Some(account.entries[place].when.at)
}

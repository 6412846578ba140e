//! `[rollback]`: when a change is taken back without being asked, and how patiently.

use std::collections::BTreeSet;

use crate::scope::{self, Scope};
use crate::table::{Entry, Read};

/// `[rollback]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// When it starts by itself.
    pub automatic: Automatic,
    /// Seconds for each command.
    pub time_limit_s: u64,
    /// How often a command that failed is tried again, where its check says that there is still something to take back.
    pub retries: u64,
    /// Milliseconds before the first try again; each pause is twice the one before.
    pub pause_ms: u64,
    /// Producers beside the rollback worker whose word for what was taken back counts: the house's own.
    pub producers: BTreeSet<String>,
}

/// When a rollback starts by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Automatic {
    /// After a verification that failed.
    pub after_verification: bool,
    /// After an execution that failed.
    pub after_execution: bool,
    /// Which changes. One that names no environment is never taken back without being asked.
    pub scope: Scope,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            automatic: Automatic::default(),
            time_limit_s: 600,
            retries: 2,
            pause_ms: 1_000,
            producers: BTreeSet::new(),
        }
    }
}

impl Options {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&[&["automatic", "time_limit_s", "retries", "pause_ms", "producers"][..], &scope::KEYS].concat())?;
        let default = Self::default();
        let mut automatic = Automatic { scope: Scope::read(entry)?, ..Automatic::default() };
        for word in entry.names("automatic")?.into_iter().flatten() {
            match word.as_str() {
                "verification" => automatic.after_verification = true,
                "execution" => automatic.after_execution = true,
                _ => return entry.wrong("automatic", format!("{word:?}"), "verification, execution, or both"),
            }
        }
        if automatic.scope != Scope::default() && !automatic.after_verification && !automatic.after_execution {
            return entry.wrong(
                "automatic",
                "nothing beside environments or classes",
                "verification, execution, or both",
            );
        }
        Ok(Self {
            automatic,
            time_limit_s: entry.number_within("time_limit_s", 1, 86_400)?.unwrap_or(default.time_limit_s),
            retries: entry.number_within("retries", 0, 20)?.unwrap_or(default.retries),
            pause_ms: entry.number_within("pause_ms", 1, 600_000)?.unwrap_or(default.pause_ms),
            producers: entry.names("producers")?.unwrap_or_default(),
        })
    }

    /// The pause before try `n` (from 1 for the first try again), milliseconds, up to a minute.
    pub fn pause_before(&self, n: u32) -> u64 {
        self.pause_ms.saturating_mul(1_u64.checked_shl(n.saturating_sub(1)).unwrap_or(u64::MAX)).min(60_000)
    }
}

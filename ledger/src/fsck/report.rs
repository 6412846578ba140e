//! What fsck says: findings, each with its place, and what was not checked.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Findings that are kept where nobody asks for more; further ones are counted. Damage that shows in a thousand places has one cause.
pub const FINDINGS: usize = 1_000;

/// Something in the store that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The log, as its origin where that is known, else by number; absent for rows of the whole store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Kind of row.
    pub row: &'static str,
    /// Which one: index, size, tile path, or the key in hex.
    pub at: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// One log as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogSummary {
    /// Its name.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// Root of the tree over them, hex.
    pub root: String,
    /// Checkpoints in the store, each with a good signature unless a finding says otherwise.
    pub checkpoints: u64,
    /// Bytes of payloads.
    pub payload_bytes: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The logs that were checked, by number.
    pub logs: Vec<LogSummary>,
    /// What is wrong, by place.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more_findings: u64,
    /// What could not be checked, and why.
    pub unchecked: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// The findings that are about rows of one kind in one log: one damage shows in many places.
    pub fn groups(&self) -> impl Iterator<Item = &[Finding]> {
        self.findings.chunk_by(|a, b| (&a.log, a.row) == (&b.log, b.row))
    }

    /// Entries of all logs that were checked.
    pub fn entries(&self) -> u64 {
        self.logs.iter().map(|log| log.size).sum()
    }
}

/// What to do about damage.
pub(super) const RESTORE: &str = "stop the server, keep a copy of the store, restore a backup (upm restore)";
/// What to do about rows that nobody wrote.
pub(super) const STRANGER: &str =
    "no version of upm wrote this row: find out who did, keep a copy of the store, restore a backup (upm restore)";
/// What to do about another version's rows.
pub(super) const NEWER: &str = "use the version of upm that wrote this store";

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(log) = &self.log {
            write!(f, "{log}: ")?;
        }
        write!(f, "{} {}: expected {}, found {}", self.row, self.at, self.expected, self.found)
    }
}

/// Where threads put what they find.
#[derive(Debug)]
pub(super) struct Findings {
    most: usize,
    kept: Mutex<(Vec<Finding>, u64)>,
    unchecked: Mutex<Vec<String>>,
}

impl Findings {
    /// Keeps so many, and counts the rest.
    pub(super) fn at_most(most: usize) -> Self {
        Self { most, kept: Mutex::default(), unchecked: Mutex::default() }
    }

    pub(super) fn add(&self, finding: Finding) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0.len() < self.most {
            kept.0.push(finding);
        } else {
            kept.1 += 1;
        }
    }

    pub(super) fn unchecked(&self, what: String) {
        let mut unchecked = self.unchecked.lock().unwrap_or_else(PoisonError::into_inner);
        if !unchecked.contains(&what) {
            unchecked.push(what);
        }
    }

    pub(super) fn count(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.len() as u64 + kept.1
    }

    pub(super) fn into_report(self, logs: Vec<LogSummary>) -> Report {
        let (mut findings, more_findings) = self.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        findings.sort();
        findings.dedup();
        let mut unchecked = self.unchecked.into_inner().unwrap_or_else(PoisonError::into_inner);
        unchecked.sort();
        Report { logs, findings, more_findings, unchecked }
    }
}

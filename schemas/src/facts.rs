//! What an event says about itself, as entry headers carry it: `has`, `outcome`, ids, time. FORMATS "Entry header".

use serde::{Serialize, Serializer};

use crate::ids::{ChangeClass, ChangeId, Environment, EventId, Phase};

/// The header fields that follow from a stored payload alone, the same for whoever derives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `change_id`, or the event's id without one.
    pub change: ChangeId,
    /// The event's id, as its producer chose it.
    pub id: EventId,
    /// The event's phase.
    pub phase: Phase,
    /// Where the change happens.
    pub environment: Option<Environment>,
    /// Absent when the event names none, or a word that is not known.
    pub class: Option<ChangeClass>,
    /// Sent to try the road, not because something changed.
    pub probe: bool,
    /// Which sections the payload has.
    pub has: Has,
    /// How it went.
    pub outcome: Outcome,
    /// The producer's time in seconds since 1970, floored.
    pub ts: i64,
}

/// A set of section names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Has(u8);

impl Has {
    /// An approval was given or refused (`preflight.approvals`, not empty).
    pub const APPROVALS: Self = Self(1);
    /// `governance.closed` is true.
    pub const CLOSED: Self = Self(2);
    /// The phase is execute, or `execution.steps` is not empty.
    pub const EXECUTION: Self = Self(4);
    /// A `plan` that says something.
    pub const PLAN: Self = Self(8);
    /// A `preflight` that says something.
    pub const PREFLIGHT: Self = Self(16);
    /// `rollback.executed` is there.
    pub const ROLLBACK: Self = Self(32);
    /// A `verification` that says something.
    pub const VERIFICATION: Self = Self(64);

    const NAMES: [&'static str; 7] =
        ["approvals", "closed", "execution", "plan", "preflight", "rollback", "verification"];

    /// Adds the members of another set.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether the section of this name is in the set.
    pub fn contains(self, name: &str) -> bool {
        self.iter().any(|found| found == name)
    }

    /// Whether all members of `other` are in the set.
    pub const fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, sorted.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| name)
    }

    /// The set with these names; `None` if one is unknown. Order and repetition are the caller's to judge.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        names.into_iter().try_fold(Self::default(), |set, name| {
            let bit = Self::NAMES.iter().position(|known| *known == name)?;
            Some(Self(set.0 | 1 << bit))
        })
    }

    /// The set as bits, for compact storage; [`Self::from_bits`] reads it back.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// `None` for bits that mean nothing.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 128 { Some(Self(bits)) } else { None }
    }
}

impl Serialize for Has {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// How an event went. Worst first: the first row of the table that matches is the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A rollback was executed and failed.
    RollbackFailed,
    /// A rollback was executed.
    RolledBack,
    /// A step's rc is not 0, or a verification, SLO or preflight check is false.
    Failed,
    /// An approval was refused, or a mandatory policy denied.
    Refused,
    /// Something was there that could have failed, and nothing did.
    Passed,
    /// Nothing of the kind is in the event.
    None,
}

impl Outcome {
    /// Every outcome, in the order of the table.
    pub const ALL: &'static [Self] =
        &[Self::RollbackFailed, Self::RolledBack, Self::Failed, Self::Refused, Self::Passed, Self::None];

    /// The word as it stands in entry headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RollbackFailed => "rollback_failed",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Passed => "passed",
            Self::None => "none",
        }
    }

    /// Reads the word; `None` if it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|outcome| outcome.as_str() == text)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_is_a_sorted_list_of_names() {
        let mut has = Has::PLAN;
        has.insert(Has::APPROVALS);
        has.insert(Has::VERIFICATION);
        assert_eq!(serde_json::to_string(&has).unwrap(), r#"["approvals","plan","verification"]"#);
        assert_eq!(Has::from_names(has.iter()), Some(has));
        assert_eq!(Has::from_names(["plan", "nothing"]), None);
        assert_eq!(Has::from_bits(has.bits()), Some(has));
        assert!(has.contains("plan") && !has.contains("closed") && has.includes(Has::PLAN));
    }

    #[test]
    fn outcomes_read_back() {
        for &outcome in Outcome::ALL {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Outcome::parse("ok"), None);
    }
}

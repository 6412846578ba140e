//! Names: of tenants, phases, producers, changes, events and environments, and the subjects they make up.
//!
//! Every name has one constructor, `parse`, and is a type of its own. Names stand in entry headers, which are public and
//! permanent. What a name may look like is DESIGN §2 and §4; the byte forms of subjects are FORMATS "Subjects and streams".
//! Whether a name looks like a secret is asked by admission ([`crate::admit`]), not here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest event that admission reads, in bytes.
pub const MAX_EVENT_BYTES: usize = 1_000_000;

/// Why a text is not the name it should be. The text itself is not repeated: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, found {found_bytes} bytes{detail}")]
pub struct IdError {
    /// Which kind of name was to be read.
    pub what: &'static str,
    /// What such a name looks like.
    pub expected: &'static str,
    /// Length of what was given, in bytes.
    pub found_bytes: usize,
    /// The first character that is not allowed, as text that can be printed; empty when the length is wrong.
    pub detail: String,
}

fn refuse(what: &'static str, expected: &'static str, text: &str, bad: Option<char>) -> IdError {
    let detail = bad.map_or_else(String::new, |c| format!(" with U+{:04X}", u32::from(c)));
    IdError { what, expected, found_bytes: text.len(), detail }
}

/// Characters that an id may not have: controls, spaces of every width, and marks that are invisible or turn the
/// direction of writing, because a reader of the log could be shown another name than the one that is stored.
/// The JSON Schema carries the same list as a pattern.
pub fn is_refused_in_id(c: char) -> bool {
    matches!(c,
        '\0'..=' ' | '\u{7f}'..='\u{a0}' | '\u{ad}' | '\u{61c}' | '\u{1680}' | '\u{180e}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}')
}

fn visible(what: &'static str, expected: &'static str, max: usize, text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        return Err(refuse(what, expected, text, None));
    }
    // Ids are nearly always ASCII: one look at the bytes settles those.
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    text.chars().find(|&c| is_refused_in_id(c)).map_or(Ok(()), |c| Err(refuse(what, expected, text, Some(c))))
}

fn spelled(
    what: &'static str,
    expected: &'static str,
    max: usize,
    text: &str,
    allowed: fn(usize, char) -> bool,
) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        return Err(refuse(what, expected, text, None));
    }
    let bad = text.char_indices().find(|&(at, c)| !allowed(at, c));
    bad.map_or(Ok(()), |(_, c)| Err(refuse(what, expected, text, Some(c))))
}

/// An id stands in URLs, and no client asks for a path that ends in `.` or `..`: it asks for another one.
fn visible_in_path(what: &'static str, expected: &'static str, max: usize, text: &str) -> Result<(), IdError> {
    if matches!(text, "." | "..") {
        return Err(refuse(what, expected, text, Some('.')));
    }
    visible(what, expected, max, text)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $what:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Longest name of this kind, in bytes.
            pub const MAX_BYTES: usize = $max;
            /// What such a name looks like, for messages.
            pub const EXPECTED: &'static str = $expected;

            /// The only constructor.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }

            /// The same test as [`Self::parse`], without keeping anything.
            pub fn check(text: &str) -> Result<(), IdError> {
                let check: fn(&'static str, &'static str, usize, &str) -> Result<(), IdError> = $check;
                check($what, $expected, $max, text)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// An owner: one stream, one log, one view file.
    Tenant, 63, "tenant", "a lower-case letter or digit, then up to 62 of a-z, 0-9 and '-'",
    |what, expected, max, text| spelled(what, expected, max, text, |at, c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && c == '-')
    })
);
name!(
    /// Who published, by the last token of the subject; bound to a credential by the broker's permissions.
    Producer, 64, "producer", "1 to 64 of A-Z, a-z, 0-9, '_' and '-'",
    |what, expected, max, text| spelled(what, expected, max, text, |_, c| {
        c.is_ascii_alphanumeric() || c == '_' || c == '-'
    })
);
name!(
    /// All events with one change id are one change.
    ChangeId, 128, "change id", "1 to 128 bytes without control characters or spaces, and not . or ..",
    visible_in_path
);
name!(
    /// The id of one event, as its producer chose it. Not unique.
    EventId, 128, "event id", "1 to 128 bytes without control characters or spaces, and not . or ..",
    visible_in_path
);
name!(
    /// Where a change happens: `prod`, `staging` …
    Environment, 32, "environment", "1 to 32 bytes without control characters or spaces",
    visible
);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant),+
        }

        impl $name {
            /// Every word, in the order of the model.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The words, for messages.
            pub const EXPECTED: &'static str = $expected;

            /// The only constructor from text.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(refuse($what, $expected, text, None)),
                }
            }

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

words!(
    /// The five phases of UPM v2.
    Phase, "phase", "plan, preflight, execute, verify or audit", {
        /// Intent and planning.
        Plan = "plan",
        /// Validation and approvals.
        Preflight = "preflight",
        /// Safe execution.
        Execute = "execute",
        /// Verification and drift.
        Verify = "verify",
        /// Audit, governance and rollback.
        Audit = "audit",
    }
);
words!(
    /// How urgent and how usual a change is. An unknown word in an event is admitted and gives no class.
    ChangeClass, "change class", "standard, normal or emergency", {
        /// Done often, approved beforehand.
        Standard = "standard",
        /// Approved one by one.
        Normal = "normal",
        /// Done first, approved quickly or afterwards.
        Emergency = "emergency",
    }
);

/// Where an event travels: `upm.events.<tenant>.<phase>[.<producer>]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Must equal the event's `intent.tenant`.
    pub tenant: Tenant,
    /// Must equal the event's `phase`.
    pub phase: Phase,
    /// Compared with nothing in the event.
    pub producer: Option<Producer>,
}

impl Subject {
    /// Reads the text of a subject; every token must be what it should be, and none may follow.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        const WHAT: &str = "subject";
        const EXPECTED: &str = "upm.events.<tenant>.<phase>[.<producer>]";
        let rest = text.strip_prefix("upm.events.").ok_or_else(|| refuse(WHAT, EXPECTED, text, None))?;
        let mut tokens = rest.split('.');
        let (Some(tenant), Some(phase)) = (tokens.next(), tokens.next()) else {
            return Err(refuse(WHAT, EXPECTED, text, None));
        };
        let producer = tokens.next().map(Producer::parse).transpose()?;
        if tokens.next().is_some() {
            return Err(refuse(WHAT, EXPECTED, text, None));
        }
        Ok(Self { tenant: Tenant::parse(tenant)?, phase: Phase::parse(phase)?, producer })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upm.events.{}.{}", self.tenant, self.phase)?;
        self.producer.as_ref().map_or(Ok(()), |producer| write!(f, ".{producer}"))
    }
}

impl FromStr for Subject {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

/// Name of the `JetStream` stream of a tenant.
pub fn stream_name(tenant: &Tenant) -> String {
    format!("UPM_{tenant}")
}

/// The subjects that this stream holds, and no others.
pub fn stream_subjects(tenant: &Tenant) -> Vec<String> {
    vec![format!("upm.events.{tenant}.*"), format!("upm.events.{tenant}.*.*"), control_subject(tenant)]
}

/// Where signed control messages of a tenant travel.
pub fn control_subject(tenant: &Tenant) -> String {
    format!("upm.control.{tenant}")
}

/// Where notices of rejected events are published.
pub fn rejected_subject(tenant: &Tenant) -> String {
    format!("upm.rejected.{tenant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: fmt::Display>(read: fn(&str) -> Result<T, IdError>, text: &str, expect: bool) {
        match read(text) {
            Ok(name) => assert!(expect && name.to_string() == text, "{text:?} was read"),
            Err(error) => assert!(!expect, "{text:?}: {error}"),
        }
    }

    #[test]
    fn tenants() {
        let longest = "a".repeat(63);
        for text in ["a", "0", "acme", "a-b-", "9-x", &longest] {
            check(Tenant::parse, text, true);
        }
        let too_long = "a".repeat(64);
        for text in ["", "-a", "Acme", "a_b", "a.b", "a*", ">", "ä", "a b", "_ledger", &too_long] {
            check(Tenant::parse, text, false);
        }
    }

    #[test]
    fn producers() {
        for text in ["ci", "CI_1-x", &"p".repeat(64)] {
            check(Producer::parse, text, true);
        }
        for text in ["", "a.b", "*", ">", "a b", "é", &"p".repeat(65)] {
            check(Producer::parse, text, false);
        }
    }

    #[test]
    fn ids_are_visible_and_short() {
        for text in ["e5f2a4a2-86d1", "a/b", "...", "änderung-7", "変更", &"x".repeat(128), &"é".repeat(64)] {
            check(ChangeId::parse, text, true);
            check(EventId::parse, text, true);
        }
        let bad = [
            "",
            " ",
            "a b",
            "a\u{a0}b",
            "a\n",
            "a\0",
            "\u{85}",
            "a\u{202e}b",
            "a\u{200b}b",
            "\u{feff}a",
            "a\u{2028}",
            ".",
            "..",
            "a\u{e0041}",
        ];
        for text in bad.into_iter().chain([&*"x".repeat(129), &*"é".repeat(65)]) {
            check(ChangeId::parse, text, false);
            check(EventId::parse, text, false);
        }
        check(Environment::parse, &"x".repeat(32), true);
        check(Environment::parse, &"x".repeat(33), false);
        check(Environment::parse, "prod eu", false);
    }

    #[test]
    fn subjects_round_trip() {
        for text in ["upm.events.acme.plan", "upm.events.a-1.audit.ci", "upm.events.acme.verify.Prod_Agent-7"] {
            check(Subject::parse, text, true);
        }
        for text in [
            "",
            "upm.events",
            "upm.events.",
            "upm.events.acme",
            "upm.events.acme.",
            "upm.events.acme.plan.",
            "upm.events.acme.plan.ci.x",
            "upm.events.acme.Plan",
            "upm.events..plan",
            "upm.control.acme",
            "xupm.events.acme.plan",
            "upm.events.*.plan",
            "upm.events.acme.>",
            " upm.events.acme.plan",
        ] {
            check(Subject::parse, text, false);
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_the_text() {
        let error = EventId::parse("s3cret value").unwrap_err();
        assert_eq!(
            error.to_string(),
            "event id: expected 1 to 128 bytes without control characters or spaces, and not . or .., found 12 bytes with U+0020"
        );
    }

    #[test]
    fn stream_and_subjects() {
        let tenant = Tenant::parse("acme").unwrap();
        assert_eq!(stream_name(&tenant), "UPM_acme");
        assert_eq!(stream_subjects(&tenant), ["upm.events.acme.*", "upm.events.acme.*.*", "upm.control.acme"]);
        assert_eq!(rejected_subject(&tenant), "upm.rejected.acme");
    }

    #[test]
    fn words_are_the_models() {
        let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        assert_eq!(phases, ["plan", "preflight", "execute", "verify", "audit"]);
        assert!(Phase::parse("Execute").is_err());
        assert_eq!(ChangeClass::parse("emergency"), Ok(ChangeClass::Emergency));
    }
}

//! Why a message is not in the log as what it claims to be: the closed list of FORMATS "Rejection reasons".

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $title:literal;)+) => {
        /// A reason code. The list is closed: a code in a stored entry keeps its meaning for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant),+
        }

        impl Reason {
            /// Every reason, in the order of FORMATS.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it stands in entries and answers.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// One line for a person.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title),+
                }
            }

            /// Reads a code; `None` for a word that is not on the list.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Bytes that are no UTF-8.
    NotUtf8 = "not_utf8", "the bytes are not UTF-8";
    /// A `\u` escape for half of a surrogate pair.
    LoneSurrogate = "lone_surrogate", "half of a surrogate pair";
    /// Not JSON (RFC 8259).
    NotJson = "not_json", "not JSON";
    /// Something after the document.
    TrailingData = "trailing_data", "data after the end of the document";
    /// A member name twice in one object, compared as decoded.
    DuplicateKey = "duplicate_key", "a member name stands twice in one object";
    /// More than 64 containers inside each other.
    TooDeep = "too_deep", "nested deeper than 64";
    /// More than 1,000,000 bytes.
    TooLarge = "too_large", "larger than 1,000,000 bytes";
    /// NaN, Infinity, or a number that no double can hold.
    NumberNotFinite = "number_not_finite", "a number that is not finite";
    /// An integer past 2^53, which readers would silently change.
    IntegerTooLarge = "integer_too_large", "an integer past 2^53";
    /// No object with a member `provisioning_event`.
    NotAnEvent = "not_an_event", "not a provisioning_event";
    /// A required member is absent.
    MissingField = "missing_field", "a required field is missing";
    /// A member that the schema knows has another type.
    WrongType = "wrong_type", "a field has the wrong type";
    /// A timestamp that is not RFC 3339.
    BadTimestamp = "bad_timestamp", "a timestamp that is not RFC 3339";
    /// An id, change id or tenant that is none, or that looks like a secret.
    BadId = "bad_id", "an id that is not allowed";
    /// An environment that is none, or that looks like a secret.
    BadEnvironment = "bad_environment", "an environment that is not allowed";
    /// A phase that UPM v2 does not have.
    UnknownPhase = "unknown_phase", "an unknown phase";
    /// The event names another tenant than its subject.
    TenantMismatch = "tenant_mismatch", "the tenant is not the subject's";
    /// The event names another phase than its subject.
    PhaseMismatch = "phase_mismatch", "the phase is not the subject's";
    /// A control message without a signature of the role that its operation asks for.
    ControlUnsigned = "control_unsigned", "a control message without the signature it needs";
    /// A signature that does not verify.
    ControlBadSignature = "control_bad_signature", "a control message with a bad signature";
    /// Not a DSSE envelope of the control type, or a payload that is not its canonical form.
    ControlBadEnvelope = "control_bad_envelope", "not a control envelope";
    /// A counter that was used before, with other bytes, or one that leaves a gap.
    ControlStaleCounter = "control_stale_counter", "a control counter that is not the next one";
    /// An operation that is not on the list.
    ControlUnknownOp = "control_unknown_op", "an unknown control operation";
    /// An operation that this version knows and cannot carry out.
    ControlUnsupportedOp = "control_unsupported_op", "a control operation that this version cannot carry out";
    /// A body with other members or values than its operation has.
    ControlBadBody = "control_bad_body", "a control message whose body is not what its operation asks for";
    /// An act that does not fit what holds in the log: the release of an unknown hold, a key that was used before.
    ControlConflict = "control_conflict", "an act that does not fit the state of the log";
    /// An act without its listing in the ledger's own log, or with one that is another act's.
    ControlUnlisted = "control_unlisted", "an act that the ledger's own log does not list";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown rejection reason {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::parse("Not_json"), None);
        assert_eq!(Reason::ALL.len(), 27);
    }
}

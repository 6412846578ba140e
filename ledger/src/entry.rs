//! Entries: what the tree commits to. A closed, canonical JSON header (RFC 8785) of at most 2,048 bytes; an event's header
//! commits to its payload by a salted hash and holds nothing else of it. The members are those of the project's format
//! documentation, "Entry header".
//!
//! Reading is strict: of every header of a known kind exactly one spelling is accepted, the one that [`Header::encode`] writes.
//! An unknown kind or version is reported as such, never refused: newer writers may exist.

use std::fmt;

use schemas::admit::{Facts, Has, Outcome};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase, Producer};
use schemas::reason::Reason;
use sha2::{Digest, Sha256};

use crate::checkpoint::Origin;
use crate::control::ControlOp;
use crate::encoding;
use crate::hash::Hash;
use crate::key::PublicKey;
use crate::note::KeyName;

mod event;
mod view;
mod wire;

pub use view::{EventView, View};

/// The longest entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = 2_048;

/// Admin keys that a log's first entry may name.
pub const MAX_ADMIN_KEYS: usize = 8;

/// The largest number in an entry: RFC 8785 writes numbers as IEEE doubles, which are exact up to here.
pub const MAX_NUMBER: u64 = 1 << 53;

/// One entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// Index 0 of every log.
    First(First),
    /// An accepted event.
    Event(EventHeader),
    /// A message that was not admitted.
    Rejection(RejectionHeader),
    /// An administrative act, signed by those who may.
    Control(ControlHeader),
    /// The signer's sign of life.
    Heartbeat(Heartbeat),
    /// The road was cut: from here on another stream.
    Epoch(Epoch),
    /// Messages of the road that are gone.
    Gap(Gap),
    /// A kind or version that this program does not know.
    Unknown {
        /// Format version.
        v: u64,
        /// Kind.
        kind: String,
    },
}

/// What a log is: its keys, its rules, its road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Signer's clock, unix milliseconds.
    pub at: u64,
    /// The log's name.
    pub origin: Origin,
    /// The key that signs its checkpoints.
    pub log_key: PublicKey,
    /// Keys that sign control messages, 1 to [`MAX_ADMIN_KEYS`].
    pub admin_keys: Vec<PublicKey>,
    /// The key that alone replaces the others.
    pub recovery_key: PublicKey,
    /// SHA-256 of the rules file in force.
    pub rules: Hash,
    /// Creation time of the road's stream, unix milliseconds; absent where a log is born before or without a stream.
    pub stream_created_ms: Option<u64>,
}

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHeader {
    /// The change that it belongs to.
    pub change: ChangeId,
    /// Position within the change, from 0.
    pub seq: u64,
    /// Leaf hash of the change's previous event; absent exactly at `seq` 0.
    pub prev: Option<Hash>,
    /// The event's own id, not unique.
    pub id: EventId,
    /// Its phase.
    pub phase: Phase,
    /// Its environment.
    pub env: Option<Environment>,
    /// Its change class.
    pub class: Option<ChangeClass>,
    /// A probe, not real work. On the wire the member stands only where it is true.
    pub probe: bool,
    /// The producer that the subject names.
    pub producer: Option<Producer>,
    /// The sections it has.
    pub has: Has,
    /// What it says of the change.
    pub outcome: Outcome,
    /// The producer's time, unix seconds, floored.
    pub ts: i64,
    /// `JetStream`'s time of the message, unix milliseconds, never below the previous entry's.
    pub at: u64,
    /// Where on the road it stood.
    pub road: Road,
    /// [`commitment`] to the payload as stored.
    pub commit: Hash,
    /// Bytes of the payload as stored.
    pub size: u64,
    /// Masked places in it.
    pub masked: u32,
    /// SHA-256 of the rules file that admitted it.
    pub rules: Hash,
}

/// A message that was not admitted; its bytes, masked, are kept beside the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectionHeader {
    /// `JetStream`'s time of the message, unix milliseconds, never below the previous entry's.
    pub at: u64,
    /// Where on the road it stood.
    pub road: Road,
    /// Why.
    pub reason: Reason,
    /// [`commitment`] to the bytes as kept.
    pub commit: Hash,
    /// Bytes kept.
    pub size: u64,
    /// Masked places in them.
    pub masked: u32,
    /// SHA-256 of the rules file that refused it.
    pub rules: Hash,
}

/// An administrative act. The DSSE envelope is the payload; it is never erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlHeader {
    /// Unix milliseconds, never below the previous entry's.
    pub at: u64,
    /// Where on the road it stood; absent where it came by no road (`_ledger`, which has none).
    pub road: Option<Road>,
    /// What was done.
    pub op: ControlOp,
    /// Its number among the log's control entries, from 1.
    pub counter: u64,
    /// [`commitment`] to the envelope.
    pub commit: Hash,
    /// Bytes of the envelope.
    pub size: u64,
}

/// The signer's sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Signer's clock, unix milliseconds, never below the previous entry's.
    pub at: u64,
    /// The last cosigned checkpoint; none without a witness, and then `at` is the operator's word.
    pub cosigned: Option<Cosigned>,
}

/// A checkpoint that a witness cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Its tree size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Key name of the witness.
    pub witness: KeyName,
    /// The witness's time, unix seconds.
    pub time: u64,
}

/// Another stream from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Signer's clock, unix milliseconds, never below the previous entry's.
    pub at: u64,
    /// Number of the epoch that begins.
    pub epoch: u32,
    /// Creation time of its stream, unix milliseconds (nanoseconds would not survive RFC 8785's numbers).
    pub stream_created_ms: u64,
}

/// Messages that the road lost: `from..=to`, of the epoch that is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Signer's clock, unix milliseconds, never below the previous entry's.
    pub at: u64,
    /// First lost sequence.
    pub from: u64,
    /// Last lost sequence.
    pub to: u64,
}

/// A message's place on the road; `[epoch, sequence]` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Road {
    /// Number of the stream, from 0.
    pub epoch: u32,
    /// Stream sequence.
    pub sequence: u64,
}

/// The random bytes that keep a commitment from being guessed; deleted with their payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

/// Why bytes are no entry, or a header cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// More than [`MAX_ENTRY_BYTES`].
    #[error("an entry of {0} bytes, more than {MAX_ENTRY_BYTES}")]
    TooLong(usize),
    /// Not JSON, not an object, an unknown member or a member of another type.
    #[error("not an entry: {0}")]
    Json(#[from] serde_json::Error),
    /// A member that this kind needs is absent.
    #[error("entry of kind {kind}: no {member}")]
    Missing {
        /// Kind of the entry.
        kind: &'static str,
        /// The member.
        member: &'static str,
    },
    /// A member has a value that it cannot have.
    #[error("entry: {member} cannot be {found}")]
    Value {
        /// The member.
        member: &'static str,
        /// What it holds.
        found: String,
    },
    /// The same header in other bytes than RFC 8785's, or with members that do not belong to its kind.
    #[error("entry of kind {kind} is not in canonical form (RFC 8785), or has members of another kind")]
    NotCanonical {
        /// Kind of the entry.
        kind: &'static str,
    },
    /// A header of an unknown kind cannot be written.
    #[error("an entry of unknown kind {0:?} cannot be written")]
    Unknown(String),
}

impl Header {
    /// The entry's bytes: RFC 8785, at most [`MAX_ENTRY_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        wire::encode(self)
    }

    /// The header of an entry's bytes; refuses every other spelling of it.
    pub fn decode(entry: &[u8]) -> Result<Header, EntryError> {
        wire::decode(entry)
    }

    /// The word that the entry's `kind` member holds.
    pub fn kind(&self) -> &str {
        match self {
            Header::Unknown { kind, .. } => kind,
            known => wire::known_kind(known),
        }
    }

    /// Unix milliseconds; `None` for an unknown kind.
    pub fn at(&self) -> Option<u64> {
        match self {
            Header::First(h) => Some(h.at),
            Header::Event(h) => Some(h.at),
            Header::Rejection(h) => Some(h.at),
            Header::Control(h) => Some(h.at),
            Header::Heartbeat(h) => Some(h.at),
            Header::Epoch(h) => Some(h.at),
            Header::Gap(h) => Some(h.at),
            Header::Unknown { .. } => None,
        }
    }
}

impl EventHeader {
    /// The first member that does not say what the payload says, given what admission derives from the payload again.
    pub fn differs_from(&self, masked: u32, facts: &Facts) -> Option<&'static str> {
        let compared = [
            ("change", self.change == facts.change),
            ("id", self.id == facts.id),
            ("phase", self.phase == facts.phase),
            ("env", self.env == facts.environment),
            ("class", self.class == facts.class),
            ("probe", self.probe == facts.probe),
            ("has", self.has == facts.has),
            ("outcome", self.outcome == facts.outcome),
            ("ts", self.ts == facts.ts),
            ("masked", self.masked == masked),
        ];
        compared.into_iter().find(|(_, same)| !same).map(|(member, _)| member)
    }
}

/// SHA-256(salt ‖ payload): what an entry says of a payload.
pub fn commitment(salt: &Salt, payload: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update(salt.0).chain_update(payload).finalize().into())
}

impl Salt {
    /// 32 lowercase hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The salt of 32 lowercase hex digits.
    pub fn from_hex(text: &str) -> Option<Salt> {
        encoding::array_from_hex(text).map(Salt)
    }
}

impl fmt::Debug for Salt {
    /// Not shown: whoever has it can test guesses of a payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

//! What must hold of the entries of one change, checked the same way before a pack is written and when it is verified.
//!
//! Pure. Leaves out signatures and inclusion under a checkpoint (`ledger`) and everything about files.

use ledger::entry::{self, EntryError, EventHeader, Header, Salt};
use ledger::hash::{self, Hash};
use schemas::admit::{self, Scratch};
use schemas::ids::ChangeId;
use schemas::rules;

/// An entry of the change with its header decoded. Its payload is read when it is looked at.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) index: u64,
    pub(crate) leaf: Hash,
    pub(crate) header: EventHeader,
    pub(crate) salt: Salt,
}

/// Why bytes are not an entry that a pack can hold.
#[derive(Debug, thiserror::Error)]
pub enum NotAnEvent {
    /// Not an entry at all.
    #[error("entry {index}: {source}")]
    Entry {
        /// Index in the log.
        index: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// An entry of a kind that no change has.
    #[error("entry {index} is no event")]
    OtherKind {
        /// Index in the log.
        index: u64,
    },
    /// An entry of a later version: cannot be decided here.
    #[error("entry {index} is of version {v}, kind {kind:?}, which this version does not know")]
    Unknown {
        /// Index in the log.
        index: u64,
        /// Its version.
        v: u64,
        /// Its kind.
        kind: String,
    },
}

/// Why entries are not the unbroken chain of one change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// No entry at all.
    #[error("there is no entry")]
    Empty,
    /// An entry of another change.
    #[error("entry {index} belongs to change {found:?}, this is about {expected:?}")]
    OtherChange {
        /// Index in the log.
        index: u64,
        /// Its change.
        found: String,
        /// The change of the pack.
        expected: String,
    },
    /// A position that is missing, repeated or out of order.
    #[error(
        "entry {index} is number {found} of its change, expected number {expected}: an entry is missing or out of place"
    )]
    Sequence {
        /// Index in the log.
        index: u64,
        /// Its `seq`.
        found: u64,
        /// The `seq` that must come here.
        expected: u64,
    },
    /// `prev` is not the leaf hash of the entry before it.
    #[error("entry {index} does not continue the entry before it: prev is {found}, expected {expected}")]
    Previous {
        /// Index in the log.
        index: u64,
        /// Its `prev`.
        found: String,
        /// Leaf hash of the entry before it.
        expected: String,
    },
    /// Index, time or road position that does not grow.
    #[error("entry {index}: {what} goes backwards")]
    Backwards {
        /// Index in the log.
        index: u64,
        /// What goes backwards.
        what: &'static str,
    },
}

impl Broken {
    /// Index of the entry that breaks the chain; none where there is no entry.
    pub(crate) fn index(&self) -> Option<u64> {
        match self {
            Self::Empty => None,
            Self::OtherChange { index, .. }
            | Self::Sequence { index, .. }
            | Self::Previous { index, .. }
            | Self::Backwards { index, .. } => Some(*index),
        }
    }
}

/// Why a payload is not what its entry says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The commitment is not that of salt and payload.
    #[error("entry {index} commits to {expected}, salt and payload here give {found}")]
    Commitment {
        /// Index in the log.
        index: u64,
        /// Commitment of salt and payload.
        found: String,
        /// Commitment in the entry.
        expected: String,
    },
    /// The payload has another length.
    #[error("entry {index} commits to {expected} bytes, the payload has {found}")]
    Size {
        /// Index in the log.
        index: u64,
        /// Length of the payload in bytes.
        found: u64,
        /// Length in the entry.
        expected: u64,
    },
    /// The payload would not be admitted.
    #[error("the payload of entry {index} is not admissible under its rules: {reason} at {path:?}")]
    NotAdmissible {
        /// Index in the log.
        index: u64,
        /// Reason code.
        reason: String,
        /// JSON pointer.
        path: String,
    },
    /// A header field differs from what the payload says.
    #[error("entry {index}: header field {field} is {found}, the payload gives {expected}")]
    Field {
        /// Index in the log.
        index: u64,
        /// Name of the field.
        field: &'static str,
        /// Value in the header.
        found: String,
        /// Value derived from the payload.
        expected: String,
    },
    /// The payload holds what its rules mask.
    #[error(
        "entry {index}: its event is stored with what the rules mask, at byte {at}; masked it would have {marks} marks, it has {found}"
    )]
    Unmasked {
        /// Index in the log.
        index: u64,
        /// Where the first of it stands in the payload. What it is, is not repeated.
        at: usize,
        /// Marks in the payload.
        found: u32,
        /// Marks once it is masked.
        marks: u32,
    },
}

/// Decodes an entry that must be an event.
pub(crate) fn event_header(index: u64, bytes: &[u8]) -> Result<EventHeader, NotAnEvent> {
    match Header::decode(bytes).map_err(|source| NotAnEvent::Entry { index, source })? {
        Header::Event(header) => Ok(header),
        Header::Unknown { v, kind, .. } => Err(NotAnEvent::Unknown { index, v, kind }),
        _ => Err(NotAnEvent::OtherKind { index }),
    }
}

/// Checks that `entries` are all entries of `change` from its first on, in order.
///
/// Shows that nothing is missing between the first and the last, not that the last is the last.
pub(crate) fn check_chain(change: &ChangeId, entries: &[(u64, Hash, &EventHeader)]) -> Result<(), Broken> {
    if entries.is_empty() {
        return Err(Broken::Empty);
    }
    let mut before: Option<&(u64, Hash, &EventHeader)> = None;
    for (entry, seq) in entries.iter().zip(0u64..) {
        let (index, _, header) = *entry;
        if header.change != *change {
            let (found, expected) = (header.change.to_string(), change.to_string());
            return Err(Broken::OtherChange { index, found, expected });
        }
        if header.seq != seq {
            return Err(Broken::Sequence { index, found: header.seq, expected: seq });
        }
        let expected = before.map(|(_, leaf, _)| *leaf);
        if header.prev != expected {
            let show = |hash: Option<Hash>| hash.map_or_else(|| "absent".to_owned(), |hash| hash.to_string());
            return Err(Broken::Previous { index, found: show(header.prev), expected: show(expected) });
        }
        if let Some((last, _, past)) = before {
            let road = |h: &EventHeader| (h.road.epoch, h.road.sequence);
            for (what, backwards) in [
                ("the index", *last >= index),
                ("the log's time (at)", past.at > header.at),
                ("the road position", road(past) >= road(header)),
            ] {
                if backwards {
                    return Err(Broken::Backwards { index, what });
                }
            }
        }
        before = Some(entry);
    }
    Ok(())
}

/// Checks that the entry commits to this salt and payload.
pub(crate) fn check_commitment(entry: &Opened, payload: &[u8]) -> Result<(), Mismatch> {
    let (index, header) = (entry.index, &entry.header);
    let size = payload.len() as u64;
    if header.size != size {
        return Err(Mismatch::Size { index, found: size, expected: header.size });
    }
    let found = entry::commitment(&entry.salt, payload);
    if found != header.commit {
        return Err(Mismatch::Commitment { index, found: found.to_string(), expected: header.commit.to_string() });
    }
    Ok(())
}

/// Checks every header field that the payload determines. `Ok(false)`: the entry was admitted under rules that this version does not
/// know, so nothing can be said.
///
/// `producer`, `at` and `road` come from the road and are in no payload.
pub(crate) fn check_header(
    tenant: &str,
    entry: &Opened,
    payload: &[u8],
    scratch: &mut Scratch,
) -> Result<bool, Mismatch> {
    let (index, header) = (entry.index, &entry.header);
    if header.rules.0 != rules::current().name {
        return Ok(false);
    }
    let (payload_tenant, phase, masked, facts) = admit::derive(payload, scratch)
        .map_err(|r| Mismatch::NotAdmissible { index, reason: r.reason.as_str().to_owned(), path: r.path })?;
    let field = |field: &'static str, found: String, expected: String| {
        if found == expected { Ok(()) } else { Err(Mismatch::Field { index, field, found, expected }) }
    };
    let names = |has: schemas::admit::Has| has.iter().collect::<Vec<_>>().join(",");
    field("tenant (of the origin)", tenant.to_owned(), payload_tenant.to_string())?;
    field("change", header.change.to_string(), facts.change.to_string())?;
    field("id", header.id.to_string(), facts.id.to_string())?;
    field("phase", header.phase.to_string(), phase.to_string())?;
    field("env", shown(header.env.as_ref()), shown(facts.environment.as_ref()))?;
    field("class", shown(header.class.as_ref()), shown(facts.class.as_ref()))?;
    field("probe", header.probe.to_string(), facts.probe.to_string())?;
    field("has", names(header.has), names(facts.has))?;
    field("outcome", header.outcome.as_str().to_owned(), facts.outcome.as_str().to_owned())?;
    field("ts", header.ts.to_string(), facts.ts.to_string())?;
    field("masked", header.masked.to_string(), masked.to_string())?;
    Ok(true)
}

/// Checks that the payload is as the rules leave it: what they mask is masked, so masking it again changes nothing. `Ok(false)` as above.
pub(crate) fn check_masked(entry: &Opened, payload: &[u8], scratch: &mut Scratch) -> Result<bool, Mismatch> {
    let index = entry.index;
    if entry.header.rules.0 != rules::current().name {
        return Ok(false);
    }
    let (_, admitted) = admit::admit_unaddressed(payload, scratch).map_err(|r| Mismatch::NotAdmissible {
        index,
        reason: r.reason.as_str().to_owned(),
        path: r.path,
    })?;
    match payload.iter().zip(admitted.payload.iter()).position(|(stored, masked)| stored != masked) {
        None if payload.len() == admitted.payload.len() => Ok(true),
        at => {
            let (at, found) = (at.unwrap_or_default(), schemas::redact::count_marks(payload));
            Err(Mismatch::Unmasked { index, at, found, marks: admitted.masked })
        }
    }
}

/// An optional value as it is compared and shown; quoted, so that no value reads like its absence.
fn shown<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| format!("{:?}", value.to_string()))
}

/// Leaf hash of an entry's bytes.
pub(crate) fn leaf(bytes: &[u8]) -> Hash {
    hash::leaf(bytes)
}

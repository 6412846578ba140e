//! Appending: head + admitted items + what the store knows → entries, tree, next head → signed → one synced write.
//!
//! [`look_up`] reads, [`extend`] decides (pure), [`Extension::seal`] signs, [`commit`] writes. Only [`commit`] makes a
//! [`Committed`], and only from one come receipts, so nothing that is not durable can be confirmed. A write that fails leaves
//! [`Poisoned`]: whether its rows are on disk is unknown, the store refuses further writes, and only [`load_heads`] on a store
//! opened again gives heads to append to.
//!
//! A control message is decided about here too, against what holds in its log ([`crate::governance`]), and together with its
//! listing in `_ledger` ([`Desk`]): [`extend_listing`] for whoever is the signer, [`extend`] for copies of a log.
//!
//! Left out: what a message says (admission is `schemas`'), where it comes from, time and randomness (inputs).

mod commit;
mod desk;
mod extend;
mod grow;
mod load;
mod look_up;

pub use commit::{Committed, CommittedLog, MAX_LOGS, Poisoned, commit};
pub use desk::{ActError, Desk, DeskError, DeskGuard};
pub use extend::{ExtendError, Extension, Refused, Sealed, extend, extend_listing};
pub(crate) use grow::{Beside, Growth};
pub use load::{LoadError, load_head, load_heads};
pub(crate) use look_up::look_up_governed;
pub use look_up::{Known, look_up};

use bytes::Bytes;
use schemas::admit::Facts;
use schemas::ids::Producer;
use schemas::reason::Reason;

use crate::checkpoint::Origin;
use crate::dedupe::Fingerprint;
use crate::entry::{Cosigned, Header, Salt};
use crate::hash::Hash;
pub use crate::layout::LogId;
use crate::tree::Edge;

/// How far a log has read its road: enough to tell after a reconnect whether it is still the same road.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cursor {
    /// When the stream was created, nanoseconds since 1970; 0 before the first message.
    pub stream_created_ns: u64,
    /// Sequence of the last message read, accepted or not; 0 before the first.
    pub sequence: u64,
    /// That message's time, nanoseconds since 1970.
    pub at_ns: u64,
    /// That message's fingerprint.
    pub digest: Fingerprint,
}

/// Where a log ends: everything that the next round builds on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number in this store.
    pub log: LogId,
    /// Its name.
    pub origin: Origin,
    /// Number of entries.
    pub size: u64,
    /// The tree's right edge.
    pub edge: Edge,
    /// `at` of the newest entry, milliseconds since 1970.
    pub at_ms: u64,
    /// Number of the road: how often it was cut.
    pub epoch: u32,
    /// How far the road was read.
    pub cursor: Cursor,
    /// Up to which sequence producers surely have their answer; it lags behind the cursor by the rounds in flight.
    pub answered: u64,
    /// Counter of the newest control entry; 0 before the first.
    pub control_counter: u64,
    /// Leaf hash of the newest control entry; of entry 0 before the first.
    pub control_prev: Hash,
}

/// One thing to append, in the order of the road.
#[derive(Clone, Debug)]
pub enum Item {
    /// An admitted event.
    Event(PendingEvent),
    /// A message that was not admitted.
    Rejection(PendingRejection),
    /// A message on the control subject: decided about when its turn comes.
    Control(PendingControl),
    /// The signer's sign of life.
    Heartbeat {
        /// The signer's clock, milliseconds since 1970.
        at_ms: u64,
        /// The last checkpoint that a witness cosigned.
        cosigned: Option<Cosigned>,
    },
    /// Messages that are gone from the road.
    Gap {
        /// First missing sequence.
        from: u64,
        /// Last missing sequence.
        to: u64,
        /// The signer's clock, milliseconds since 1970.
        at_ms: u64,
    },
    /// The road was cut: another stream begins.
    Epoch {
        /// When the new stream was created, nanoseconds since 1970.
        stream_created_ns: u64,
        /// The signer's clock, milliseconds since 1970.
        at_ms: u64,
    },
}

/// An admitted event on its way into the tree.
#[derive(Clone, Debug)]
pub struct PendingEvent {
    /// Its sequence on the road.
    pub road_sequence: u64,
    /// The road's time of the message, milliseconds since 1970.
    pub at_ms: u64,
    /// Over subject and bytes as received.
    pub fingerprint: Fingerprint,
    /// [`crate::dedupe::DedupeKey::change_key`] of its change.
    pub change_key: [u8; 16],
    /// 16 random bytes, fresh for each payload.
    pub salt: Salt,
    /// From the subject.
    pub producer: Option<Producer>,
    /// What admission derived.
    pub facts: Facts,
    /// As stored: masked. A slice of what was read from the road where nothing was.
    pub payload: Bytes,
    /// [`commitment`](crate::entry::commitment) to the payload under this salt: made while it is admitted, which is another thread's time.
    pub commit: Hash,
    /// Number of masked places in the payload.
    pub masked: u32,
    /// Name of the rules that admitted it.
    pub rules: Hash,
}

/// A control message on its way into the tree, as a control entry or as a rejection.
#[derive(Clone, Debug)]
pub struct PendingControl {
    /// Its sequence on the road; none for an act of whoever holds the store, which came by no road.
    pub road_sequence: Option<u64>,
    /// The road's time of the message, milliseconds since 1970.
    pub at_ms: u64,
    /// Over subject and bytes as received.
    pub fingerprint: Fingerprint,
    /// 16 random bytes, fresh for each payload.
    pub salt: Salt,
    /// 16 other random bytes, for the listing's envelope.
    pub listing_salt: Salt,
    /// The subject it came on.
    pub subject: String,
    /// As received.
    pub message: Vec<u8>,
    /// For a message that changes the log key: whether the signer holds the new one's secret. One that nobody here can sign with
    /// would be the log's end.
    pub new_key_here: bool,
    /// Name of the rules that reject it, if they do.
    pub rules: Hash,
}

/// A rejected message on its way into the tree.
#[derive(Clone, Debug)]
pub struct PendingRejection {
    /// Its sequence on the road.
    pub road_sequence: u64,
    /// The road's time of the message, milliseconds since 1970.
    pub at_ms: u64,
    /// 16 random bytes, fresh for each payload.
    pub salt: Salt,
    /// The subject it came on.
    pub subject: String,
    /// Why it was rejected.
    pub reason: Reason,
    /// JSON pointer to the place; empty for the whole document.
    pub path: String,
    /// What stood there, masked.
    pub found: String,
    /// What should have stood there.
    pub expected: String,
    /// The bytes as kept: masked lexically.
    pub payload: Vec<u8>,
    /// Number of masked places in the payload.
    pub masked: u32,
    /// Name of the rules that rejected it.
    pub rules: Hash,
}

/// What one log has to append in one round. May be without items, to move the cursors alone.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Which log.
    pub log: LogId,
    /// In the order of the road.
    pub items: Vec<Item>,
    /// How far the road is read with these items.
    pub cursor: Cursor,
    /// Up to which sequence all answers were sent.
    pub answered: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is this entry.
    Accepted {
        /// Index in the log.
        index: u64,
    },
    /// The same bytes were accepted before, as this entry.
    Duplicate {
        /// Index in the log.
        index: u64,
    },
    /// Its rejection is this entry.
    Rejected {
        /// Index in the log.
        index: u64,
    },
    /// A gap or an epoch: nobody waits for an answer.
    Noted {
        /// Index in the log.
        index: u64,
    },
}

/// A new entry with what is kept beside it, for projecting and answering without reading the store.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// Index in the log.
    pub index: u64,
    /// What the tree hashes.
    pub entry: Vec<u8>,
    /// The same, typed.
    pub header: Header,
    /// Salt of the payload; none for entries without one.
    pub salt: Option<Salt>,
    /// Index of the change's previous event; none for the first, and for what is no event.
    pub previous: Option<u64>,
    /// As stored; empty for entries without one, and for events that nothing was masked in: whoever sent one has it.
    pub payload: Vec<u8>,
}

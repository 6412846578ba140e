//! A copy of a ledger that is kept by somebody who never signs: births and chunks of entries taken from another copy, checked
//! against everything that can be known without the source's word, and written as the very rows that the source has.
//!
//! What a copy does with a chunk, in this order; the first thing that does not hold stops it and names entry and member:
//! 1. every checkpoint in it is signed by the log's key, and the tree over the copied entries has its root;
//! 2. every payload is admitted again: what is stored has to come out as it went in, with the facts that its header states;
//! 3. the entries are made again from these facts and the copy's own head, chains and dedupe index
//!    ([`append::extend`](crate::append::extend), the leader's own code) and have to be the leader's, byte for byte;
//! 4. every act among them is listed in `_ledger`, at the place and with the very envelope that it names;
//! 5. everything is written in one synced write, under the leader's checkpoint.
//!
//! A listing in `_ledger` is written with what it lists, a log's first entry or an act, as it was at the leader. So a copy is a
//! ledger after every write: one that was cut off is sound, can be copied from and gone on with, and only has less.
//!
//! What the tree does not commit to is taken as told: details of rejections, fingerprints where the tenant's dedupe key is not at
//! hand (with it, those of unmasked events are made again), change keys of a change's first event without that key, and how far
//! the leader has read its road. [`Chunk::encode`] ends with a digest, so none of it changes on its way unseen.
//!
//! Left out: where the other copy is ([`Source`]), when to look, keys on disk.

mod copier;
mod redo;
mod source;
mod wire;

pub use copier::{Copier, Progress, SetBack, Trust};
pub use source::{KvSource, Source, SourceError};
pub use wire::WireError;

use schemas::admit::Rejection;
use schemas::ids::Tenant;
use thiserror::Error;

use crate::append::{Cursor, ExtendError, Head, LoadError};
use crate::birth::BirthError;
use crate::checkpoint::Origin;
use crate::control::ControlError;
use crate::dedupe::Fingerprint;
use crate::entry::{EntryError, Salt};
use crate::governance::LogKeysError;
use crate::hash::Hash;
use crate::kv::{Batch, Kv, KvError, Space};
use crate::layout::{Details, Key, LayoutError, LogId, LogRow, decode_head};
use crate::read::ReadError;

/// What a ledger consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The ledger's name.
    pub name: String,
    /// Its logs, by number.
    pub logs: Vec<ListedLog>,
}

/// One log of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLog {
    /// Its number, the same in every copy.
    pub log: LogId,
    /// Whose it is; none for `_ledger`.
    pub tenant: Option<ListedTenant>,
    /// Number of its entries.
    pub size: u64,
    /// Root of its tree.
    pub root: Hash,
    /// Last sequence of its road that was read.
    pub road: u64,
    /// [`Head::answered`].
    pub answered: u64,
}

/// The tenant of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTenant {
    /// Its name.
    pub name: Tenant,
    /// Check value of its dedupe key.
    pub dedupe_check: [u8; 16],
}

/// How much of a log to take at once. A chunk ends where a round ended, so it may be larger by one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of payloads.
    pub bytes: usize,
}

impl Default for Limits {
    /// 8,192 entries, 16 MiB: as much as a round.
    fn default() -> Self {
        Self { entries: 8_192, bytes: 16 << 20 }
    }
}

/// Consecutive entries of one log with all that stands beside them, up to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which log.
    pub log: LogId,
    /// Index of the first entry.
    pub from: u64,
    /// The entries in order. Of a log's birth exactly one; none where the source has no more.
    pub rows: Vec<CopiedRow>,
    /// Every checkpoint over a size past `from` up to the end of the rows, ascending, the last one at the end; without rows the
    /// one over `from` alone.
    pub checkpoints: Vec<(u64, String)>,
    /// How far the source has read its road; stated where the rows end at its head.
    pub position: Option<Position>,
    /// Number of entries that the source has.
    pub available: u64,
}

/// One entry and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedRow {
    /// What the tree hashes.
    pub entry: Vec<u8>,
    /// The payload; none where the entry has none.
    pub beside: Option<Copied>,
    /// Of a rejection.
    pub details: Option<Details>,
    /// What a tenant's listing in `_ledger` opens to.
    pub opening: Option<(Salt, Vec<u8>)>,
}

/// A payload as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Of the commitment.
    pub salt: Salt,
    /// Of the message; all zero for what is no event.
    pub fingerprint: Fingerprint,
    /// [`change_key`](crate::dedupe::DedupeKey::change_key) of the event's change, from a source that has the dedupe key.
    pub change_key: Option<[u8; 16]>,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// How far a log has read its road, and how far its producers were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The cursor of its head.
    pub cursor: Cursor,
    /// [`Head::answered`].
    pub answered: u64,
}

/// Why nothing was copied.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// The other copy could not be read, or not be reached.
    #[error("the ledger to copy from could not be read: {0}")]
    Source(#[from] SourceError),
    /// Our own store could not be read or written.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row of our own store is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Our own log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Our own head is not sound.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What our own store holds is not what was asked for.
    #[error(transparent)]
    Birth(#[from] BirthError),
    /// The chunk is not what was asked for.
    #[error("asked for {log} from entry {expected}, got {found_log} from entry {found}")]
    Order {
        /// Which log was asked for.
        log: LogId,
        /// From which entry.
        expected: u64,
        /// Which log came.
        found_log: LogId,
        /// From which entry.
        found: u64,
    },
    /// What was copied is not what it should be. Nothing was written, and nothing more may be.
    #[error("{origin}: {difference}")]
    Differs {
        /// Which log.
        origin: Origin,
        /// What differs, and where.
        difference: Box<Difference>,
    },
    /// The ledger has another name than ours.
    #[error("the other copy is of ledger {found:?}, ours of {expected:?}")]
    OtherLedger {
        /// Name of the other ledger.
        found: String,
        /// Name of ours.
        expected: String,
    },
    /// The log's key is nobody's that we trust, and `_ledger` does not open to it.
    #[error("{origin}: its key {found} is neither given nor vouched for by the ledger's own log; pass its vkey")]
    Unvouched {
        /// Which log.
        origin: Origin,
        /// Its key as in its first entry.
        found: String,
    },
    /// An entry that this version cannot check.
    #[error("{origin}: entry {index} {what}: a newer version wrote it, and this one cannot check it")]
    Newer {
        /// Which log.
        origin: Origin,
        /// Which entry.
        index: u64,
        /// What is not known.
        what: String,
    },
    /// Neither we nor the other copy has the tenant's dedupe key.
    #[error("{origin}: the key of its change index is needed: put keys/{}.dedupe in place, here or there", origin.log())]
    NoChangeKey {
        /// Which log.
        origin: Origin,
    },
    /// Our head moved while we copied: two copiers at once.
    #[error("{log} has {found:?} entries in our store, the copy was built on {expected}")]
    Stale {
        /// Which log.
        log: LogId,
        /// Its entries in our store; none where it has no head.
        found: Option<u64>,
        /// Entries that the copy builds on.
        expected: u64,
    },
}

/// Where two copies part: what one of them says cannot be so, or not with what the other says.
#[derive(Debug, Error)]
pub enum Difference {
    /// A checkpoint that is not the log's.
    #[error("the checkpoint of size {size} is not to be believed: {source}")]
    Checkpoint {
        /// Its size.
        size: u64,
        /// Why.
        source: LogKeysError,
    },
    /// A checkpoint of another size than stated, or not where one must be.
    #[error("a checkpoint of size {expected} is missing; found {found:?}")]
    NoCheckpoint {
        /// The size that must be signed.
        expected: u64,
        /// The size that is.
        found: Option<u64>,
    },
    /// The signed root is not that of the entries.
    #[error("the tree of the first {size} entries has the root {found}, the signed one is {expected}")]
    Root {
        /// Number of entries.
        size: u64,
        /// Signed root.
        expected: Hash,
        /// Root of the entries.
        found: Hash,
    },
    /// An entry that is none.
    #[error("entry {index} is damaged: {source}")]
    Entry {
        /// Which entry.
        index: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// An entry that states something else than what it is made from.
    #[error("entry {index}: member `{member}` is {found}, made again it is {expected}")]
    Member {
        /// Which entry.
        index: u64,
        /// The member.
        member: String,
        /// Its value in the copied entry.
        found: String,
        /// Its value when made again.
        expected: String,
    },
    /// The same event twice.
    #[error("entry {index} repeats entry {earlier}: the same message was accepted twice")]
    Repeats {
        /// The later entry.
        index: u64,
        /// The earlier one.
        earlier: u64,
    },
    /// A payload that is not there, or one that must not be.
    #[error("entry {index}: {what}")]
    Beside {
        /// Which entry.
        index: u64,
        /// What is missing or too much.
        what: &'static str,
    },
    /// A stored payload that would not be admitted, or not as it is.
    #[error("entry {index}: its payload is not what admission stores: {reason}")]
    Admission {
        /// Which entry.
        index: u64,
        /// What admission says.
        reason: String,
    },
    /// The road does not go on there.
    #[error("entry {index}: {source}")]
    Extend {
        /// First entry of the chunk.
        index: u64,
        /// What is wrong.
        source: ExtendError,
    },
    /// A control entry that nobody may have written.
    #[error("entry {index}: {source}")]
    Control {
        /// Which entry.
        index: u64,
        /// Why.
        source: ControlError,
    },
    /// An act that the ledger's own log does not list where the act says.
    #[error("entry {index}: an act that the ledger's own log does not list as its control entry {counter}: {found}")]
    Unlisted {
        /// Which entry.
        index: u64,
        /// Number of the control entry of `_ledger` that its listing names.
        counter: u64,
        /// What is there.
        found: &'static str,
    },
    /// The log's first entry is not what it must be.
    #[error("entry 0: {what} is {found}, expected {expected}")]
    First {
        /// The member.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// Another tenant or dedupe key behind the same number.
    #[error("the other copy has {found} at {log}, we have {expected}")]
    Row {
        /// The number.
        log: LogId,
        /// What stands there.
        found: String,
        /// What stands at ours.
        expected: String,
    },
}

impl ReplicaError {
    /// Whether the two copies contradict each other: not to be tried again.
    pub fn is_difference(&self) -> bool {
        matches!(self, Self::Differs { .. } | Self::OtherLedger { .. })
    }
}

impl From<WireError> for ReplicaError {
    fn from(error: WireError) -> Self {
        Self::Source(SourceError::from(error))
    }
}

/// What admission says of a payload, for a person.
fn reason_of(rejection: &Rejection) -> String {
    rejection.to_string()
}

/// Checked rows of one log, not yet written.
pub(crate) struct Checked {
    /// Entries before; none where the log is born.
    base: Option<u64>,
    head: Head,
    batch: Batch,
}

/// Writes what was checked, all or nothing.
fn write<K: Kv>(kv: &K, logs: Vec<Checked>, births: Batch) -> Result<Vec<Head>, ReplicaError> {
    let mut batch = births;
    let mut heads = Vec::with_capacity(logs.len());
    for checked in logs {
        let log = checked.head.log;
        let row = kv.get(Space::Meta, &Key::Head(log).bytes())?;
        let found = row.map(|row| decode_head(log, &row)).transpose()?.map(|head| head.size);
        if found != checked.base {
            return Err(ReplicaError::Stale { log, found, expected: checked.base.unwrap_or(0) });
        }
        batch.append(checked.batch);
        heads.push(checked.head);
    }
    batch.sort();
    kv.write(batch)?;
    Ok(heads)
}

/// A log's row as a listing says it.
fn log_row(listed: &ListedLog) -> LogRow {
    match &listed.tenant {
        Some(tenant) => LogRow::Tenant { tenant: tenant.name.clone(), dedupe_check: tenant.dedupe_check },
        None => LogRow::Ledger,
    }
}

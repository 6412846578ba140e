//! Reading a log: entries, payloads, proofs, checkpoints, chains, rejections.
//!
//! Rows of a log never change and heads only grow, so everything here is consistent without snapshots: an answer is bounded by
//! a tree size, and any size that was ever committed stays answerable while the log grows.

mod at_head;
mod governed;
mod payloads;
mod period;

pub(crate) use at_head::{Tiles, receipt_of_row, receipt_of_stored};
use governed::Decided;
use payloads::{stored, stored_at, stored_range};

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemas::ids::ChangeId;
use schemas::reason::Reason;
use thiserror::Error;

use crate::append::Head;
use crate::control::ControlError;
use crate::dedupe::{DedupeKey, Fingerprint};
use crate::entry::{EntryError, First, Header, RejectionHeader, Road};
use crate::hash::Hash;
use crate::kv::{Kv, KvError, Row, Space};
use crate::layout::{ChainHead, Details, Key, LayoutError, LogId, SignedAt, TILE_WIDTH, decode_head, read_u64};
pub use crate::layout::{Parts, Stored};
use crate::proof::{self, Prover, Remembered};
use crate::receipt::Receipt;
use crate::tiles::{self, Fetch, Resource, ResourcePath};
use crate::tree::{Edge, TileId, TileSource};

/// Why a log could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The store failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An entry is damaged.
    #[error("{log}: entry {index} is damaged")]
    Entry {
        /// Which log.
        log: LogId,
        /// Which entry.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
    /// A row that must be there is not.
    #[error("{log}: {what} {number} is missing from the store")]
    Missing {
        /// Kind of row.
        what: &'static str,
        /// Which log.
        log: LogId,
        /// Its index, size or number.
        number: u64,
    },
    /// A control entry that should never have been accepted, or whose message is damaged.
    #[error("{log}: control entry {index} does not hold")]
    Control {
        /// Which log.
        log: LogId,
        /// Which entry.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: ControlError,
    },
    /// The entry has no payload: its kind has none, or it was erased.
    #[error("{log}: entry {index} has no payload")]
    NoPayload {
        /// Which log.
        log: LogId,
        /// Which entry.
        index: u64,
    },
    /// Asked for something that the tree does not hold.
    #[error("{asked} is beyond a log of {size} entries")]
    BeyondSize {
        /// Index or size asked for.
        asked: u64,
        /// Entries in the log.
        size: u64,
    },
    /// No round ended there, so no checkpoint has this size.
    #[error("no checkpoint of {size} entries was ever signed")]
    NotSigned {
        /// Size asked for.
        size: u64,
    },
    /// A tile has fewer hashes than its place asks for.
    #[error("tile {path} has only {found} hashes")]
    ShortTile {
        /// Which tile.
        path: String,
        /// Hashes in it.
        found: usize,
    },
}

/// A rejection as `upm rejected` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow {
    /// Index of its entry.
    pub index: u64,
    /// `at` of its entry, milliseconds since 1970.
    pub at_ms: u64,
    /// Where it stood on the road.
    pub road: Road,
    /// Why it was rejected.
    pub reason: Reason,
    /// Bytes kept.
    pub size: u64,
    /// Masked places in them.
    pub masked: u32,
    /// Subject, path, found, expected.
    pub details: Details,
}

/// Up to which size a log may be shown; whoever moves it keeps it. For a log whose newest head may be durable but not yet
/// kept where a lost store would not take it along.
pub type Ceiling = Arc<AtomicU64>;

/// One log of a store.
#[derive(Clone, Debug)]
pub struct Log<K> {
    kv: K,
    id: LogId,
    ceiling: Option<Ceiling>,
    /// Shared by its clones, as is what follows.
    remembered: Arc<Remembered>,
    known: Arc<Mutex<Option<KnownHead>>>,
    /// What was decided about its control entries.
    decided: Arc<Mutex<Option<Decided>>>,
}

/// A head that was decoded, with its row. Most proofs are under the head of the proof before, and decoding hashes its edge.
#[derive(Debug)]
struct KnownHead {
    row: Vec<u8>,
    head: Arc<Head>,
}

impl<K: Kv> Log<K> {
    /// The log `id` of `kv`; refused where it has no head.
    pub fn open(kv: K, id: LogId) -> Result<Self, ReadError> {
        let (remembered, known, decided) = (Arc::default(), Arc::default(), Arc::default());
        let log = Self { kv, id, ceiling: None, remembered, known, decided };
        log.head()?;
        Ok(log)
    }

    /// Its number in the store.
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Where it is stored.
    pub(crate) fn kv(&self) -> &K {
        &self.kv
    }

    /// The same log, of which no head past the ceiling is shown.
    #[must_use]
    pub fn below(self, ceiling: Ceiling) -> Self {
        Self { ceiling: Some(ceiling), ..self }
    }

    /// The newest committed head below the ceiling. One at the ceiling has the cursor and the time of the newest all the same.
    pub fn head(&self) -> Result<Head, ReadError> {
        self.shared_head().map(Arc::unwrap_or_clone)
    }

    fn shared_head(&self) -> Result<Arc<Head>, ReadError> {
        let row = self.get(&Key::Head(self.id))?.ok_or(self.missing("head", u64::from(self.id.0)))?;
        let head = self.decode_head(row)?;
        match self.highest() {
            size if size < head.size => {
                let edge = Edge::at(&self.tiles(&head), size)?;
                Ok(Arc::new(Head { size, edge, ..Arc::unwrap_or_clone(head) }))
            }
            _ => Ok(head),
        }
    }

    fn decode_head(&self, row: Vec<u8>) -> Result<Arc<Head>, LayoutError> {
        if let Some(known) = lock(&self.known).as_ref().filter(|known| known.row == row) {
            return Ok(Arc::clone(&known.head));
        }
        let head = Arc::new(decode_head(self.id, &row)?);
        *lock(&self.known) = Some(KnownHead { row, head: Arc::clone(&head) });
        Ok(head)
    }

    fn highest(&self) -> u64 {
        self.ceiling.as_ref().map_or(u64::MAX, |ceiling| ceiling.load(Ordering::Acquire))
    }

    /// The first entry: origin, keys, rules.
    pub fn first(&self) -> Result<First, ReadError> {
        match self.header(0)? {
            Some(Header::First(first)) => Ok(first),
            _ => Err(self.missing("first entry", 0)),
        }
    }

    /// What the tree hashes at `index`; none past the end.
    pub fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.get(&Key::Entry(self.id, index))
    }

    /// The entry at `index`, typed; none past the end.
    pub fn header(&self, index: u64) -> Result<Option<Header>, ReadError> {
        self.entry(index)?.map(|entry| self.decode(index, &entry)).transpose()
    }

    /// At most `limit` entries of `range`, in order, with their indices.
    pub fn entries(&self, range: Range<u64>, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        let rows = self.rows(&Key::Entry(self.id, range.start), &Key::Entry(self.id, range.end), limit)?;
        rows.into_iter().map(|(key, entry)| Ok((number_of(Space::Entries, &key)?, entry))).collect()
    }

    /// Calls `entry` with the index and bytes of each entry of `range`, in order: for long stretches that are read once.
    pub fn scan_entries(&self, range: Range<u64>, mut entry: impl FnMut(u64, &[u8])) -> Result<(), ReadError> {
        let (from, to) = (Key::Entry(self.id, range.start), Key::Entry(self.id, range.end));
        let mut damaged = None;
        self.kv.scan(
            Space::Entries,
            &from.bytes(),
            &to.bytes(),
            &mut |key, bytes| match number_of(Space::Entries, key) {
                Ok(index) => entry(index, bytes),
                Err(error) => damaged = damaged.take().or(Some(error)),
            },
        )?;
        damaged.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Calls `payload` with each payload of `range` and its index, in order: for long stretches that are read once. Holds one block of
    /// them in memory.
    pub fn scan_payloads(&self, range: Range<u64>, payload: impl FnMut(u64, Parts<'_>)) -> Result<(), ReadError> {
        payloads::scan(&self.kv, self.id, range, payload)
    }

    /// What is kept beside the tree at `index`; none where the entry has no payload.
    pub fn stored(&self, index: u64) -> Result<Option<Stored>, ReadError> {
        stored(&self.kv, self.id, index)
    }

    /// At most `limit` payloads of `range` with what stands beside them, in order, with their indices.
    pub fn stored_range(&self, range: Range<u64>, limit: usize) -> Result<Vec<(u64, Stored)>, ReadError> {
        stored_range(&self.kv, self.id, range, limit)
    }

    /// The payloads of `indices`, which ascend, with what stands beside them; those that have none are left out.
    pub fn stored_at(&self, indices: &[u64]) -> Result<Vec<(u64, Stored)>, ReadError> {
        stored_at(&self.kv, self.id, indices)
    }

    /// The note over the tree of exactly `size` entries; none where no round ended there.
    pub fn checkpoint(&self, size: u64) -> Result<Option<String>, ReadError> {
        if size > self.highest() {
            return Ok(None);
        }
        self.get(&Key::Checkpoint(self.id, size))?.map(|row| note(&row)).transpose()
    }

    /// The note over the newest head.
    pub fn newest_checkpoint(&self) -> Result<String, ReadError> {
        let size = self.shared_head()?.size;
        self.checkpoint(size)?.ok_or(self.missing("checkpoint", size))
    }

    /// At most `limit` sizes that a checkpoint was signed for, from `from` on, ascending.
    pub fn signed_sizes(&self, from: u64, limit: usize) -> Result<Vec<u64>, ReadError> {
        let rows = self.rows(&Key::Checkpoint(self.id, from), &self.past_checkpoints(), limit)?;
        rows.into_iter().map(|(key, _)| Ok(number_of(Space::Tree, &key)?)).collect()
    }

    /// The first signed size that is at least `size`, with its note; none past the newest.
    pub fn checkpoint_at_or_after(&self, size: u64) -> Result<Option<(u64, String)>, ReadError> {
        let rows = self.rows(&Key::Checkpoint(self.id, size), &self.past_checkpoints(), 1)?;
        rows.into_iter().next().map(|(key, row)| Ok((number_of(Space::Tree, &key)?, note(&row)?))).transpose()
    }

    /// The last signed size that is at most `size`, with its note; none before the first.
    pub fn checkpoint_at_or_before(&self, size: u64) -> Result<Option<(u64, String)>, ReadError> {
        if let Some(note) = self.checkpoint(size)? {
            return Ok(Some((size, note)));
        }
        let rows = self.rows(&Key::Checkpoint(self.id, size), &self.past_checkpoints(), 1)?;
        let previous = match rows.first() {
            Some((_, row)) => SignedAt::decode(row)?.previous,
            None => self.shared_head()?.size,
        };
        Ok(self.checkpoint(previous)?.map(|note| (previous, note)))
    }

    /// The audit path of `index` in the tree of `size` entries.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ReadError> {
        let head = self.head_covering(size)?;
        Ok(self.prover(&self.tiles(&head), size).inclusion(index)?)
    }

    /// The audit paths of `indices` in the tree of `size` entries; cheaper than one by one.
    pub fn inclusions(&self, indices: &[u64], size: u64) -> Result<Vec<Vec<Hash>>, ReadError> {
        let head = self.head_covering(size)?;
        let tiles = self.tiles(&head);
        let mut prover = self.prover(&tiles, size);
        indices.iter().map(|index| Ok(prover.inclusion(*index)?)).collect()
    }

    /// The proof that the tree of `old` entries is a prefix of the tree of `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ReadError> {
        let head = self.head_covering(new)?;
        Ok(self.prover(&self.tiles(&head), new).consistency(old)?)
    }

    /// The root of the tree of `size` entries.
    pub fn root(&self, size: u64) -> Result<Hash, ReadError> {
        let head = self.head_covering(size)?;
        Ok(proof::root(&self.tiles(&head), size)?)
    }

    /// The first `width` hashes of a tile (1 to 256), as C2SP tlog-tiles serves them; none where the tree has not as many.
    pub fn tile(&self, id: TileId, width: u16) -> Result<Option<Vec<Hash>>, ReadError> {
        let head = self.shared_head()?;
        if width == 0 || id.level > 7 || id.width_at(head.size) < width {
            return Ok(None);
        }
        let mut hashes = self.tiles(&head).tile(id, width)?;
        hashes.truncate(usize::from(width));
        Ok(Some(hashes))
    }

    /// The first `width` entries (1 to 256) of bundle `index`, each behind its length, as C2SP tlog-tiles serves them; none where the
    /// log has not as many.
    pub fn bundle(&self, index: u64, width: u16) -> Result<Option<Vec<u8>>, ReadError> {
        let path = ResourcePath { resource: Resource::Entries(index), width };
        if !path.is_in(self.shared_head()?.size) {
            return Ok(None);
        }
        let first = index * TILE_WIDTH as u64;
        let entries = self.entries(first..first + u64::from(width), usize::from(width))?;
        if let Some(hole) = (first..first + u64::from(width))
            .zip(0..)
            .find(|(index, at)| entries.get(*at).is_none_or(|(found, _)| found != index))
        {
            return Err(self.missing("entry", hole.0));
        }
        let bundle = tiles::encode_bundle(entries.iter().map(|(_, entry)| entry.as_slice()));
        bundle.map(Some).map_err(|_| self.missing("entry that fits a bundle in", index))
    }

    /// A resource as C2SP tlog-tiles serves it; none where the log has none of this width.
    pub fn resource(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, ReadError> {
        match path.resource {
            Resource::Entries(index) => self.bundle(index, path.width),
            Resource::Tile(id) => Ok(self.tile(id, path.width)?.map(|hashes| tiles::encode_tile(&hashes))),
        }
    }

    /// The accepted event with this fingerprint.
    pub fn duplicate_of(&self, fingerprint: &Fingerprint) -> Result<Option<u64>, ReadError> {
        let row = self.get(&Key::Dedupe(self.id, *fingerprint))?;
        Ok(row.map(|row| read_u64("dedupe", &row)).transpose()?)
    }

    /// Indices of a change's events among the first `size` entries, oldest first. Reads every payload of the change.
    pub fn change_indices(&self, change: &ChangeId, key: &DedupeKey, size: u64) -> Result<Vec<u64>, ReadError> {
        let row = self.get(&Key::Chain(self.id, key.change_key(change)))?;
        let mut next = row.map(|row| ChainHead::decode(&row)).transpose()?.map(|chain| chain.index);
        let mut indices = Vec::new();
        while let Some(index) = next {
            if index < size {
                indices.push(index);
            }
            let stored = self.stored(index)?.ok_or(ReadError::NoPayload { log: self.id, index })?;
            // A link that does not lead back would never end.
            next = stored.previous;
            if next.is_some_and(|previous| previous >= index) {
                return Err(self.missing("link to an earlier event at", index));
            }
        }
        indices.reverse();
        Ok(indices)
    }

    /// At most `limit` rejections from entry `from` on, in order.
    pub fn rejections(&self, from: u64, limit: usize) -> Result<Vec<RejectedRow>, ReadError> {
        let rows = self.rows(&Key::Details(self.id, from), &Key::Details(self.id, u64::MAX), limit)?;
        rows.into_iter()
            .map(|(key, row)| {
                let index = number_of(Space::Tree, &key)?;
                self.rejected(index, Details::decode(&Key::Details(self.id, index), &row)?)
            })
            .collect()
    }

    /// The rejection at entry `index`, with the bytes as kept; none where the entry is no rejection.
    pub fn rejection(&self, index: u64) -> Result<Option<(RejectedRow, Vec<u8>)>, ReadError> {
        let key = Key::Details(self.id, index);
        let Some(details) = self.get(&key)? else { return Ok(None) };
        let row = self.rejected(index, Details::decode(&key, &details)?)?;
        let stored = self.stored(index)?.ok_or(ReadError::NoPayload { log: self.id, index })?;
        Ok(Some((row, stored.payload)))
    }

    /// Entries made from messages of the current road with a sequence in `range`, by sequence. Reads the log backwards, so
    /// it is for the end of the log: to answer after a restart whoever was not answered before.
    pub fn by_road(&self, range: Range<u64>) -> Result<BTreeMap<u64, u64>, ReadError> {
        let head = self.head()?;
        let mut found = BTreeMap::new();
        let mut end = head.size;
        while end > 0 {
            let start = end.saturating_sub(TILE_WIDTH as u64);
            let entries = self.entries(start..end, TILE_WIDTH)?;
            for (index, entry) in entries.into_iter().rev() {
                let (road, begins) = road_of(&self.decode(index, &entry)?);
                if begins == Some(head.epoch) {
                    return Ok(found);
                }
                match road {
                    Some(road) if road.epoch != head.epoch || road.sequence < range.start => return Ok(found),
                    Some(road) if road.sequence < range.end => found.insert(road.sequence, index),
                    _ => None,
                };
            }
            end = start;
        }
        Ok(found)
    }

    /// The receipt of `index`, of whatever age and kind, under the newest checkpoint.
    pub fn receipt(&self, index: u64) -> Result<Receipt, ReadError> {
        let head = self.shared_head()?;
        let checkpoint = self.checkpoint_with_cosignatures(head.size)?;
        let checkpoint = checkpoint.ok_or(self.missing("checkpoint", head.size))?;
        let tiles = self.tiles(&head);
        receipt_of_stored(&self.kv, &mut self.prover(&tiles, head.size), &head, index, &checkpoint)
    }

    /// The receipt of `index` under the checkpoint of exactly `size` entries.
    pub fn receipt_at(&self, index: u64, size: u64) -> Result<Receipt, ReadError> {
        let head = self.head_covering(size)?;
        let checkpoint = self.checkpoint_with_cosignatures(size)?.ok_or(ReadError::NotSigned { size })?;
        let tiles = self.tiles(&head);
        receipt_of_stored(&self.kv, &mut self.prover(&tiles, size), &head, index, &checkpoint)
    }

    fn rejected(&self, index: u64, details: Details) -> Result<RejectedRow, ReadError> {
        let Some(Header::Rejection(header)) = self.header(index)? else {
            return Err(self.missing("rejection entry", index));
        };
        let RejectionHeader { at, road, reason, size, masked, .. } = header;
        Ok(RejectedRow { index, at_ms: at, road, reason, size, masked, details })
    }

    fn head_covering(&self, size: u64) -> Result<Arc<Head>, ReadError> {
        let head = self.shared_head()?;
        if size > head.size {
            return Err(ReadError::BeyondSize { asked: size, size: head.size });
        }
        Ok(head)
    }

    fn past_checkpoints(&self) -> Key {
        Key::Checkpoint(self.id, self.highest().saturating_add(1))
    }

    fn tiles<'a>(&'a self, head: &'a Head) -> Tiles<'a, K> {
        Tiles { kv: &self.kv, head, fresh: None }
    }

    fn prover<'a>(&'a self, tiles: &'a Tiles<'a, K>, size: u64) -> Prover<'a, Tiles<'a, K>> {
        Prover::new(tiles, size).remembering(&self.remembered)
    }

    fn decode(&self, index: u64, entry: &[u8]) -> Result<Header, ReadError> {
        Header::decode(entry).map_err(|source| ReadError::Entry { log: self.id, index, source })
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.kv.get(key.space(), &key.bytes())?)
    }

    fn rows(&self, from: &Key, to: &Key, limit: usize) -> Result<Vec<Row>, ReadError> {
        Ok(self.kv.range(from.space(), &from.bytes(), &to.bytes(), limit)?)
    }

    fn missing(&self, what: &'static str, number: u64) -> ReadError {
        ReadError::Missing { what, log: self.id, number }
    }
}

impl<K: Kv> Fetch for Log<K> {
    type Error = ReadError;

    fn fetch(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, ReadError> {
        self.resource(path)
    }
}

/// What a log remembers. It is only ever put in whole, so whoever panicked while holding it left it sound.
fn lock<T>(remembered: &Mutex<T>) -> MutexGuard<'_, T> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where an entry's message stood, and which epoch it begins.
fn road_of(header: &Header) -> (Option<Road>, Option<u32>) {
    match header {
        Header::Event(event) => (Some(event.road), None),
        Header::Rejection(rejection) => (Some(rejection.road), None),
        Header::Control(control) => (control.road, None),
        Header::Epoch(epoch) => (None, Some(epoch.epoch)),
        _ => (None, None),
    }
}

fn number_of(space: Space, key: &[u8]) -> Result<u64, LayoutError> {
    match Key::decode(space, key)? {
        Key::Entry(_, number) | Key::Checkpoint(_, number) | Key::Details(_, number) | Key::Control(_, number) => {
            Ok(number)
        }
        _ => Err(LayoutError { what: space.name(), expected: "a numbered key", found: key.len() }),
    }
}

fn note(row: &[u8]) -> Result<String, ReadError> {
    Ok(SignedAt::decode(row)?.note)
}

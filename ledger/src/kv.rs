//! The store as the ledger sees it: five ordered maps and one atomic, durable write.
//!
//! Two implementations stand: [`MemKv`] here (tests, fuzzing, browser builds) and `RocksDB` in `ledger-rocks`. What a row
//! means is said in [`crate::layout`] and nowhere else. No snapshots: what is in a tree never changes once written, so a reader
//! that bounds itself by a tree size it has seen has a consistent view.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

/// One ordered map of the store; they differ in how they are written, which a store may use to lay them out. Entries and
/// payloads are apart because each ascends by itself: a log-structured store then never rewrites them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Entries: keys only grow within a log, rows never change.
    Entries,
    /// Payloads with what stands beside them: nearly all bytes. Keys only grow within a log; rows are deleted by erasure only.
    Payloads,
    /// Tiles, checkpoints, details of rejections: keys only grow within a log and kind, rows never change.
    Tree,
    /// The dedupe index and chain heads: random keys, small values, looked up for every event.
    Index,
    /// Heads and what is known of each log: few rows, overwritten with every round.
    Meta,
}

impl Space {
    /// All spaces, in the order in which batches are sorted.
    pub const ALL: [Self; 5] = [Self::Entries, Self::Payloads, Self::Tree, Self::Index, Self::Meta];

    /// The space's name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Payloads => "payloads",
            Self::Tree => "tree",
            Self::Index => "index",
            Self::Meta => "meta",
        }
    }
}

/// Why the store could not read or write.
#[derive(Debug, Error)]
pub enum KvError {
    /// A read failed; nothing is known of the row.
    #[error("the store could not read {what} in space {}", space.name())]
    Read {
        /// What was read (get, range, …).
        what: &'static str,
        /// Where.
        space: Space,
        /// The store's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A write failed; whether it was persisted is unknown until the store is opened again.
    #[error("the store could not write; whether the rows are on disk is unknown until it is opened again")]
    Write {
        /// The store's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An earlier write failed, so this one was not tried.
    #[error("the store refuses to write since an earlier write failed; open it again")]
    WriteAfterFailure,
}

/// An ordered key-value store of five spaces.
///
/// Contract of every implementation:
/// - [`write`](Self::write) applies all rows of a batch or none, over all spaces, and returns `Ok` only when they would survive
///   a loss of power. After an error it is unknown which of the two happened, and **every later write fails** with
///   [`KvError::WriteAfterFailure`] until the store is opened again.
/// - A read that starts after `write` returned sees its rows. Reads during a write see either state of a single row.
/// - Readers and one writer may work at the same time. Two writers are serialized; the ledger has one.
pub trait Kv: Send + Sync {
    /// The value at `key`.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// The values at `keys`, in their order. Fastest where the keys are sorted.
    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError>;

    /// At most `limit` rows with `from <= key < to`, ascending.
    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError>;

    /// Calls `row` with the key and value of every row with `from <= key < to`, ascending: for long stretches that are read
    /// once. What is written meanwhile may be seen or not.
    fn scan(&self, space: Space, from: &[u8], to: &[u8], row: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KvError> {
        let mut from = from.to_vec();
        loop {
            let rows = self.range(space, &from, to, SCANNED)?;
            for (key, value) in &rows {
                row(key, value);
            }
            match rows.last() {
                // The smallest key behind it.
                Some((last, _)) if rows.len() == SCANNED => from = [last, &[0][..]].concat(),
                _ => return Ok(()),
            }
        }
    }

    /// Writes all or nothing; durable when it returns.
    fn write(&self, batch: Batch) -> Result<(), KvError>;

    /// Writes all or nothing, for rows that may be lost: durable with the next [`write`](Self::write), never before it, and
    /// a failure forbids nothing. It must not make a `write` of another thread wait for the disk.
    fn write_aside(&self, batch: Batch) -> Result<(), KvError> {
        self.write(batch)
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Rows that a scan asks for at once, where a store has no better way.
const SCANNED: usize = 4_096;

impl<K: Kv + ?Sized> Kv for Arc<K> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        (**self).get(space, key)
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        (**self).get_many(space, keys)
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        (**self).range(space, from, to, limit)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], row: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KvError> {
        (**self).scan(space, from, to, row)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        (**self).write(batch)
    }

    fn write_aside(&self, batch: Batch) -> Result<(), KvError> {
        (**self).write_aside(batch)
    }
}

impl<K: Kv + ?Sized> Kv for &K {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        (**self).get(space, key)
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        (**self).get_many(space, keys)
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        (**self).range(space, from, to, limit)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], row: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KvError> {
        (**self).scan(space, from, to, row)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        (**self).write(batch)
    }

    fn write_aside(&self, batch: Batch) -> Result<(), KvError> {
        (**self).write_aside(batch)
    }
}

/// Rows to write together. Bytes lie in a few arenas instead of two allocations a row: a round has thousands of rows.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    arenas: Vec<Vec<u8>>,
    ops: Vec<Op>,
}

#[derive(Clone, Debug)]
struct Op {
    space: Space,
    arena: usize,
    key: Range<usize>,
    /// `None` deletes.
    value: Option<Range<usize>>,
}

impl Batch {
    /// An empty batch with room for `bytes` of keys and values.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { arenas: vec![Vec::with_capacity(bytes)], ops: Vec::with_capacity(rows) }
    }

    /// Sets `key` to the concatenation of `value`.
    pub fn put(&mut self, space: Space, key: &[u8], value: &[&[u8]]) {
        let (arena, bytes) = self.open_arena();
        let key = push(bytes, &[key]);
        let value = push(bytes, value);
        self.ops.push(Op { space, arena, key, value: Some(value) });
    }

    /// Removes `key`, present or not.
    pub fn delete(&mut self, space: Space, key: &[u8]) {
        let (arena, bytes) = self.open_arena();
        let key = push(bytes, &[key]);
        self.ops.push(Op { space, arena, key, value: None });
    }

    /// Appends the rows of `other`, without copying them.
    pub fn append(&mut self, other: Self) {
        let offset = self.arenas.len();
        self.arenas.extend(other.arenas);
        self.ops.extend(other.ops.into_iter().map(|op| Op { arena: op.arena + offset, ..op }));
    }

    /// Orders the rows by space and key; rows of the same key keep their order. Stores insert sorted rows much faster.
    pub fn sort(&mut self) {
        let arenas = &self.arenas;
        let key = |op: &Op| &arenas[op.arena][op.key.clone()];
        self.ops.sort_by(|a, b| (a.space, key(a)).cmp(&(b.space, key(b))));
    }

    /// The rows in the order in which they take effect: space, key, and the value or `None` to delete.
    pub fn rows(&self) -> impl Iterator<Item = (Space, &[u8], Option<&[u8]>)> {
        self.ops.iter().map(|op| {
            let arena = &self.arenas[op.arena];
            (op.space, &arena[op.key.clone()], op.value.clone().map(|range| &arena[range]))
        })
    }

    /// How many rows it holds.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.arenas.iter().map(Vec::len).sum()
    }

    fn open_arena(&mut self) -> (usize, &mut Vec<u8>) {
        if self.arenas.is_empty() {
            self.arenas.push(Vec::new());
        }
        let last = self.arenas.len() - 1;
        (last, &mut self.arenas[last])
    }
}

fn push(arena: &mut Vec<u8>, parts: &[&[u8]]) -> Range<usize> {
    let start = arena.len();
    for part in parts {
        arena.extend_from_slice(part);
    }
    start..arena.len()
}

/// A store in memory: durable for as long as the process lives, never failing.
#[derive(Debug, Default)]
pub struct MemKv {
    spaces: RwLock<[BTreeMap<Vec<u8>, Vec<u8>>; 5]>,
}

impl MemKv {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, space: Space, read: impl FnOnce(&BTreeMap<Vec<u8>, Vec<u8>>) -> T) -> T {
        // No code that holds the lock can panic half-way through a row, so a poisoned lock guards sound maps.
        let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
        read(&spaces[space as usize])
    }
}

impl Kv for MemKv {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.with(space, |map| map.get(key).cloned()))
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        Ok(self.with(space, |map| keys.iter().map(|key| map.get(*key).cloned()).collect()))
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        if from >= to {
            return Ok(Vec::new());
        }
        Ok(self.with(space, |map| {
            let rows = map.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
            rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
        }))
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        for (space, key, value) in batch.rows() {
            match value {
                Some(value) => spaces[space as usize].insert(key.to_vec(), value.to_vec()),
                None => spaces[space as usize].remove(key),
            };
        }
        Ok(())
    }
}

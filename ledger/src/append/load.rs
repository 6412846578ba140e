//! Heads read back from a store, each checked against what it claims: nothing is appended to a tail that does not fit.

use thiserror::Error;

use super::Head;
use crate::checkpoint::{Checkpoint, peek};
use crate::hash::leaf;
use crate::kv::{Kv, KvError, Space};
use crate::layout::{Key, LayoutError, LogId, SignedAt, TILE_WIDTH, decode_head};
use crate::read::{ReadError, Tiles};
use crate::tree::{TileId, TileSource};

/// Why a head is not appended to.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The store could not be read.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row is damaged.
    #[error("the head of {log} is damaged")]
    Damaged {
        /// Which log.
        log: LogId,
        /// What is wrong with it.
        #[source]
        source: LayoutError,
    },
    /// The log is not in the store.
    #[error("there is no {log} in this store")]
    NoLog {
        /// Which log.
        log: LogId,
    },
    /// The newest tile is missing or damaged.
    #[error("{log}: its newest tile is missing or damaged; run fsck, restore a backup")]
    Tile {
        /// Which log.
        log: LogId,
        /// What is wrong with it.
        #[source]
        source: ReadError,
    },
    /// Entries under the head are missing or others than it says: a write was lost or bytes changed.
    #[error("{log}: entry {index} is missing or is not what the tree head says; run fsck, restore a backup")]
    Tail {
        /// Which log.
        log: LogId,
        /// The first entry that differs.
        index: u64,
    },
    /// The newest checkpoint is missing or is not of this head.
    #[error("{log}: the checkpoint of size {size} is missing or has another root; run fsck, restore a backup")]
    Checkpoint {
        /// Which log.
        log: LogId,
        /// Tree size of the head.
        size: u64,
    },
}

/// The checked heads of all logs of the store, by number.
pub fn load_heads<K: Kv>(kv: &K) -> Result<Vec<Head>, LoadError> {
    let (from, to) = (Key::Head(LogId(0)).bytes(), Key::Head(LogId(u32::MAX)).bytes());
    let mut heads = Vec::new();
    for (key, row) in kv.range(Space::Meta, &from, &to, usize::MAX)? {
        let log = match Key::decode(Space::Meta, &key) {
            Ok(Key::Head(log)) => log,
            Ok(_) => continue,
            Err(source) => return Err(LoadError::Damaged { log: LogId(u32::MAX), source }),
        };
        heads.push(checked(kv, log, &row)?);
    }
    Ok(heads)
}

/// The checked head of one log.
pub fn load_head<K: Kv>(kv: &K, log: LogId) -> Result<Head, LoadError> {
    let row = kv.get(Space::Meta, &Key::Head(log).bytes())?.ok_or(LoadError::NoLog { log })?;
    checked(kv, log, &row)
}

fn checked<K: Kv>(kv: &K, log: LogId, row: &[u8]) -> Result<Head, LoadError> {
    let head = decode_head(log, row).map_err(|source| LoadError::Damaged { log, source })?;
    check_tail(kv, &head)?;
    check_checkpoint(kv, &head)?;
    Ok(head)
}

/// The entries of the newest tile, full or not, must be there and hash to what the tree holds.
fn check_tail<K: Kv>(kv: &K, head: &Head) -> Result<(), LoadError> {
    let (log, size) = (head.log, head.size);
    let Some(last) = size.checked_sub(1) else { return Ok(()) };
    let tile = TileId { level: 0, index: last / TILE_WIDTH as u64 };
    let start = tile.index * TILE_WIDTH as u64;
    let tiles = Tiles { kv, head, fresh: None };
    let leaves = tiles.tile(tile, tile.width_at(size)).map_err(|source| LoadError::Tile { log, source })?;
    let rows = kv.range(Space::Entries, &Key::Entry(log, start).bytes(), &Key::Entry(log, size).bytes(), TILE_WIDTH)?;
    for ((place, expected), index) in leaves.iter().enumerate().zip(start..size) {
        let found = rows.get(place).filter(|(key, _)| **key == *Key::Entry(log, index).bytes());
        if found.is_none_or(|(_, entry)| leaf(entry) != *expected) {
            return Err(LoadError::Tail { log, index });
        }
    }
    Ok(())
}

/// The signature is not checked here: that wants a key, and whoever verifies has one.
fn check_checkpoint<K: Kv>(kv: &K, head: &Head) -> Result<(), LoadError> {
    let expected = Checkpoint { origin: head.origin.clone(), size: head.size, root: head.edge.root() };
    let row = kv.get(Space::Tree, &Key::Checkpoint(head.log, head.size).bytes())?;
    let found = row.and_then(|row| SignedAt::decode(&row).ok()).and_then(|signed| peek(&signed.note).ok());
    if found != Some(expected) {
        return Err(LoadError::Checkpoint { log: head.log, size: head.size });
    }
    Ok(())
}

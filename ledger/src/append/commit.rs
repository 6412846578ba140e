//! The one synced write of a round, and what only it can make.

use std::collections::{BTreeSet, HashMap};

use thiserror::Error;

use super::{Disposition, Head, NewRow, Sealed};
use crate::hash::Hash;
use crate::kv::{Batch, Kv, KvError, Space};
use crate::layout::{Key, LayoutError, LogId, decode_head};
use crate::proof::Prover;
use crate::read::{ReadError, Tiles, receipt_of_row, receipt_of_stored};
use crate::receipt::Receipt;
use crate::tree::TileId;

/// Logs in a round, at most: bounds its size and the time until its slowest answer.
pub const MAX_LOGS: usize = 64;

/// A round that is durable. Made by [`commit`] alone, so whoever holds one may confirm.
#[derive(Debug)]
pub struct Committed {
    logs: Vec<CommittedLog>,
}

/// One log's part of a durable round.
#[derive(Debug)]
pub struct CommittedLog {
    /// The head as committed.
    pub head: Head,
    /// Number of entries before.
    pub base_size: u64,
    /// The note over the head.
    pub checkpoint: String,
    /// What became of each message, by road sequence, in the order of the road.
    pub dispositions: Vec<(u64, Disposition)>,
    /// The new entries.
    pub rows: Vec<NewRow>,
    tiles: HashMap<TileId, Vec<Hash>>,
}

/// A round that may or may not be on disk. Nothing may be appended, and nothing of it confirmed, until the store was
/// opened again and [`super::load_heads`] has read what it holds.
#[derive(Debug, Error)]
pub enum Poisoned {
    /// The write failed.
    #[error("the round could not be written")]
    Write(#[source] KvError),
    /// The heads could not be compared; nothing was written.
    #[error("the stored heads could not be read")]
    Read(#[source] KvError),
    /// A stored head is damaged; nothing was written.
    #[error("the stored head of {log} is damaged")]
    Damaged {
        /// Which log.
        log: LogId,
        /// What is wrong with it.
        #[source]
        source: LayoutError,
    },
    /// The round was built on a head that is not the stored one: it would fork the log. Nothing was written.
    #[error("{log} has {found:?} entries in the store, the round was built on {expected}")]
    Stale {
        /// Which log.
        log: LogId,
        /// Stored size; none where the log has no head.
        found: Option<u64>,
        /// Size that the round builds on.
        expected: u64,
    },
    /// More than [`MAX_LOGS`] logs, or one of them twice. Nothing was written.
    #[error("a round takes at most {MAX_LOGS} logs, each once; found {found}")]
    Round {
        /// Logs in the round.
        found: usize,
    },
}

/// Writes a round: all of its logs or none, durable when it returns. Gives the heads to append to next.
pub fn commit<K: Kv>(kv: &K, round: Vec<Sealed>) -> Result<(Committed, Vec<Head>), Poisoned> {
    let distinct: BTreeSet<LogId> = round.iter().map(|sealed| sealed.head.log).collect();
    if round.len() > MAX_LOGS || distinct.len() != round.len() {
        return Err(Poisoned::Round { found: round.len() });
    }
    refuse_stale(kv, &round)?;
    let mut batch = Batch::default();
    let mut logs = Vec::with_capacity(round.len());
    for sealed in round {
        batch.append(sealed.batch);
        logs.push(CommittedLog {
            head: sealed.head,
            base_size: sealed.base_size,
            checkpoint: sealed.checkpoint,
            dispositions: sealed.dispositions,
            rows: sealed.rows,
            tiles: sealed.tiles,
        });
    }
    batch.sort();
    kv.write(batch).map_err(Poisoned::Write)?;
    let heads = logs.iter().map(|log| log.head.clone()).collect();
    Ok((Committed { logs }, heads))
}

/// Appending to anything but the stored head would overwrite entries that were confirmed.
fn refuse_stale<K: Kv>(kv: &K, round: &[Sealed]) -> Result<(), Poisoned> {
    let keys: Vec<_> = round.iter().map(|sealed| Key::Head(sealed.head.log).bytes()).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
    let stored = kv.get_many(Space::Meta, &keys).map_err(Poisoned::Read)?;
    for (sealed, row) in round.iter().zip(stored) {
        let log = sealed.head.log;
        let head = row.map(|row| decode_head(log, &row)).transpose();
        let found = head.map_err(|source| Poisoned::Damaged { log, source })?.map(|head| head.size);
        if found != Some(sealed.base_size) {
            return Err(Poisoned::Stale { log, found, expected: sealed.base_size });
        }
    }
    Ok(())
}

impl Committed {
    /// The round's logs, in the order in which they were committed.
    pub fn logs(&self) -> &[CommittedLog] {
        &self.logs
    }

    /// The receipt for entry `index` of the round's log at `position`, under the round's checkpoint.
    pub fn receipt<K: Kv>(&self, kv: &K, position: usize, index: u64) -> Result<Receipt, ReadError> {
        let receipts = self.receipts(kv, position, &[index])?;
        receipts.into_iter().next().ok_or(no_log(position))
    }

    /// The receipts for `indices`, in their order; cheaper than one by one. New entries are proved from memory, older ones
    /// (duplicates) from the store.
    pub fn receipts<K: Kv>(&self, kv: &K, position: usize, indices: &[u64]) -> Result<Vec<Receipt>, ReadError> {
        let log = self.logs.get(position).ok_or(no_log(position))?;
        let tiles = Tiles { kv, head: &log.head, fresh: Some(&log.tiles) };
        let mut prover = Prover::new(&tiles, log.head.size);
        let receipt = |index: &u64| match log.row(*index) {
            Some(row) => receipt_of_row(&mut prover, &log.head, row, &log.checkpoint),
            None => receipt_of_stored(kv, &mut prover, &log.head, *index, &log.checkpoint),
        };
        indices.iter().map(receipt).collect()
    }
}

impl CommittedLog {
    /// The new entry at `index`; none where it is older than the round.
    pub fn row(&self, index: u64) -> Option<&NewRow> {
        let place = usize::try_from(index.checked_sub(self.base_size)?).ok()?;
        self.rows.get(place)
    }
}

fn no_log(position: usize) -> ReadError {
    ReadError::Missing { what: "log of the round", log: LogId(u32::MAX), number: position as u64 }
}

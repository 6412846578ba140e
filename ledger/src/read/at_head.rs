//! Tiles of one log (from a round's memory, from the store, and at the right edge from the head), and receipts over them.

use std::collections::HashMap;

use super::{ReadError, stored};
use crate::append::{Head, NewRow};
use crate::entry::Header;
use crate::hash::Hash;
use crate::kv::{Kv, Space};
use crate::layout::{Key, decode_tile};
use crate::proof::{ProofError, Prover};
use crate::receipt::Receipt;
use crate::tree::{TileId, TileSource};

/// The tiles of a log as of `head`.
pub(crate) struct Tiles<'a, K> {
    pub(crate) kv: &'a K,
    pub(crate) head: &'a Head,
    /// Full tiles of the round that led to `head`, so that answering reads nothing back.
    pub(crate) fresh: Option<&'a HashMap<TileId, Vec<Hash>>>,
}

impl<K: Kv> TileSource for Tiles<'_, K> {
    type Error = ReadError;

    fn tile(&self, id: TileId, width: u16) -> Result<Vec<Hash>, ReadError> {
        let edge = self.head.edge.level(id.level);
        // Only the unfinished tile has the edge's width: every tile before it has 256, every one after it none.
        if usize::from(id.width_at(self.head.size)) == edge.len() && edge.len() >= usize::from(width) {
            return Ok(edge.to_vec());
        }
        if let Some(tile) = self.fresh.and_then(|fresh| fresh.get(&id)) {
            return Ok(tile.clone());
        }
        let log = self.head.log;
        let row = self.kv.get(Space::Tree, &Key::Tile(log, id).bytes())?;
        Ok(decode_tile(&row.ok_or(ReadError::Missing { what: "tile", log, number: id.index })?)?)
    }
}

/// The receipt of a new entry, from memory.
pub(crate) fn receipt_of_row<K: Kv>(
    prover: &mut Prover<'_, Tiles<'_, K>>,
    head: &Head,
    row: &NewRow,
    checkpoint: &str,
) -> Result<Receipt, ReadError> {
    let salt = row.salt.ok_or(ReadError::NoPayload { log: head.log, index: row.index })?;
    Ok(Receipt {
        index: row.index,
        entry: row.entry.clone(),
        salt: Some(salt),
        payload: is_masked(&row.header).then(|| row.payload.clone()),
        path: prover.inclusion(row.index).map_err(ReadError::from)?,
        checkpoint: checkpoint.to_owned(),
    })
}

/// The receipt of any entry, from the store.
pub(crate) fn receipt_of_stored<K: Kv>(
    kv: &K,
    prover: &mut Prover<'_, Tiles<'_, K>>,
    head: &Head,
    index: u64,
    checkpoint: &str,
) -> Result<Receipt, ReadError> {
    let log = head.log;
    let path = prover.inclusion(index).map_err(ReadError::from)?;
    let entry = kv.get(Space::Entries, &Key::Entry(log, index).bytes())?;
    let entry = entry.ok_or(ReadError::Missing { what: "entry", log, number: index })?;
    let header = Header::decode(&entry).map_err(|source| ReadError::Entry { log, index, source })?;
    // None where the kind has no payload, or it was erased: the entry is proved all the same.
    let (salt, payload) = match stored(kv, log, index)? {
        Some(stored) => (Some(stored.salt), is_masked(&header).then_some(stored.payload)),
        None => (None, None),
    };
    Ok(Receipt { index, entry, salt, payload, path, checkpoint: checkpoint.to_owned() })
}

/// Whether the payload differs from what its producer sent, so that only we can show it. A rejected message is always
/// counted in: its kept bytes may differ from what was sent even where no mark stands in them.
fn is_masked(header: &Header) -> bool {
    match header {
        Header::Event(event) => event.masked > 0,
        Header::Control(_) => false,
        _ => true,
    }
}

impl From<ProofError<ReadError>> for ReadError {
    fn from(error: ProofError<ReadError>) -> Self {
        match error {
            ProofError::Source(source) => source,
            ProofError::OutOfRange { asked, size } => Self::BeyondSize { asked, size },
            ProofError::Short { id, found, .. } => Self::ShortTile { path: id.path(256), found },
        }
    }
}

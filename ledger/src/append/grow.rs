//! A log growing in memory: entries pushed, rows collected, nothing decided. Births and rounds share it.

use bytes::Bytes;

use super::{Head, NewRow};
use crate::checkpoint::Checkpoint;
use crate::dedupe::Fingerprint;
use crate::entry::{EntryError, Header, Salt};
use crate::hash::{Hash, leaf};
use crate::kv::{Batch, Space};
use crate::layout::{BlockWriter, Key, Parts, SignedAt, encode_head, encode_tile};
use crate::signing::Signer;
use crate::tree::TileId;

/// A head and the rows that lead to it.
pub(crate) struct Growth {
    pub(crate) base_size: u64,
    pub(crate) head: Head,
    pub(crate) rows: Vec<NewRow>,
    pub(crate) tiles: Vec<(TileId, Vec<Hash>)>,
    // One batch a kind of row: each is ascending by itself, so that joining them is nearly sorted.
    entries: Batch,
    payloads: Batch,
    block: BlockWriter,
    pub(crate) others: Batch,
}

/// What stands beside an entry.
pub(crate) struct Beside {
    pub(crate) salt: Salt,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) previous: Option<u64>,
    pub(crate) payload: Bytes,
}

impl Growth {
    /// Starts from `head`, with room for `items` entries and `payload_bytes` of payloads.
    pub(crate) fn new(head: Head, items: usize, payload_bytes: usize) -> Self {
        Self {
            base_size: head.size,
            head,
            rows: Vec::with_capacity(items),
            tiles: Vec::with_capacity(items / 256 + 1),
            entries: Batch::with_capacity(items, items * 512),
            payloads: Batch::with_capacity(items / 32 + 1, payload_bytes / 3 + items * 48),
            block: BlockWriter::default(),
            others: Batch::with_capacity(2 * items + 8, items * 128 + 1_024),
        }
    }

    /// Appends one entry; its index is the size before. Returns its leaf hash.
    pub(crate) fn push(&mut self, header: Header, beside: Option<Beside>) -> Result<Hash, EntryError> {
        let entry = header.encode()?;
        let (log, index, hash) = (self.head.log, self.head.size, leaf(&entry));
        let tiles = &mut self.tiles;
        self.head.edge.push(hash, &mut |id: TileId, hashes: &[Hash]| tiles.push((id, hashes.to_vec())));
        self.head.size = self.head.edge.size();
        self.head.at_ms = header.at().unwrap_or(self.head.at_ms);
        self.entries.put(Space::Entries, &Key::Entry(log, index).bytes(), &[&entry]);
        let (mut salt, mut previous, mut payload) = (None, None, Vec::new());
        if let Some(beside) = beside {
            let parts = Parts {
                salt: beside.salt,
                fingerprint: beside.fingerprint,
                previous: beside.previous,
                payload: &beside.payload,
            };
            self.block.add(&mut self.payloads, log, index, parts);
            (salt, previous) = (Some(beside.salt), beside.previous);
            // Rounds wait to be answered and projected, and would hold all their payloads meanwhile.
            if !matches!(&header, Header::Event(event) if event.masked == 0) {
                payload = beside.payload.into();
            }
        }
        self.rows.push(NewRow { index, entry, header, salt, previous, payload });
        Ok(hash)
    }

    /// Signs the head and gives all rows of the growth, head and checkpoint among them, with the note.
    pub(crate) fn sign(&mut self, signers: &[&Signer]) -> (Batch, String) {
        let head = &self.head;
        let checkpoint = Checkpoint { origin: head.origin.clone(), size: head.size, root: head.edge.root() };
        let note = Signer::sign_checkpoint_by(signers, &checkpoint);
        // Whatever head this one grew from was signed too.
        (self.rows_under(&note, self.base_size), note)
    }

    /// All rows of the growth, head and checkpoint among them, under a checkpoint that is there already; `previous` is the size of
    /// the one before it.
    pub(crate) fn rows_under(&mut self, note: &str, previous: u64) -> Batch {
        self.block.finish(&mut self.payloads, self.head.log);
        let head = &self.head;
        let mut batch = std::mem::take(&mut self.entries);
        batch.append(std::mem::take(&mut self.payloads));
        for (id, hashes) in &self.tiles {
            batch.put(Space::Tree, &Key::Tile(head.log, *id).bytes(), &[&encode_tile(hashes)]);
        }
        if head.size != self.base_size {
            let signed = SignedAt { previous, note: note.to_owned() };
            batch.put(Space::Tree, &Key::Checkpoint(head.log, head.size).bytes(), &[&signed.encode()]);
        }
        batch.append(std::mem::take(&mut self.others));
        batch.put(Space::Meta, &Key::Head(head.log).bytes(), &[&encode_head(head)]);
        batch
    }
}

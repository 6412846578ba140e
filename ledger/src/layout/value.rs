//! Values of all rows.

use schemas::ids::Tenant;

use super::{Key, LayoutError, LogId, TILE_WIDTH};
use crate::append::{Cursor, Head};
use crate::checkpoint::Origin;
use crate::dedupe::Fingerprint;
use crate::entry::Salt;
use crate::hash::Hash;
use crate::tree::Edge;

/// What is kept beside the tree for an entry with a payload, in a [`Block`](super::Block).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Goes into the commitment with the payload; deleted with it.
    pub salt: Salt,
    /// Recognises the message; all zero for what is not an event.
    pub fingerprint: Fingerprint,
    /// Index of the change's previous event.
    pub previous: Option<u64>,
    /// The payload as stored (masked).
    pub payload: Vec<u8>,
}

/// A checkpoint as stored. It names the one before, so that none can go missing unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAt {
    /// Size of the log's checkpoint before this one in this store; 0 before the first.
    pub previous: u64,
    /// The signed note.
    pub note: String,
}

impl SignedAt {
    /// The row's bytes: size of the one before ‖ note.
    pub fn encode(&self) -> Vec<u8> {
        [&self.previous.to_be_bytes()[..], self.note.as_bytes()].concat()
    }

    /// The inverse of [`encode`](Self::encode).
    pub fn decode(row: &[u8]) -> Result<Self, LayoutError> {
        let mut fields = Fields::new("checkpoint", row);
        let previous = fields.number()?;
        let note = String::from_utf8(fields.rest.to_vec()).map_err(|_| fields.refused("UTF-8"))?;
        Ok(Self { previous, note })
    }
}

/// What a producer is told about a rejection, and nothing of which is in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The subject it came on.
    pub subject: String,
    /// JSON pointer to the place; empty for the whole document.
    pub path: String,
    /// What stood there, masked.
    pub found: String,
    /// What should have stood there.
    pub expected: String,
}

impl Details {
    /// The row at `key`.
    pub fn encode(&self, key: &Key) -> Vec<u8> {
        let mut row = Vec::new();
        for text in [&self.subject, &self.path, &self.found, &self.expected] {
            put_text(&mut row, text);
        }
        key.with_check(row)
    }

    /// The inverse of [`encode`](Self::encode).
    pub fn decode(key: &Key, row: &[u8]) -> Result<Self, LayoutError> {
        let mut fields = Fields::new("rejection details", key.without_check(row)?);
        let details =
            Self { subject: fields.text()?, path: fields.text()?, found: fields.text()?, expected: fields.text()? };
        fields.end(details)
    }
}

/// Where a change's chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Position of its last event in the change, from 0.
    pub seq: u64,
    /// Index of that event in the log.
    pub index: u64,
    /// Its leaf hash: `prev` of the next one.
    pub leaf: Hash,
}

impl ChainHead {
    /// The row's bytes.
    pub fn encode(&self) -> [u8; 48] {
        let mut row = [0; 48];
        row[..8].copy_from_slice(&self.seq.to_be_bytes());
        row[8..16].copy_from_slice(&self.index.to_be_bytes());
        row[16..].copy_from_slice(&self.leaf.0);
        row
    }

    /// The inverse of [`encode`](Self::encode).
    pub fn decode(row: &[u8]) -> Result<Self, LayoutError> {
        let mut fields = Fields::new("chain", row);
        let head = Self { seq: fields.number()?, index: fields.number()?, leaf: Hash(fields.array()?) };
        fields.end(head)
    }
}

/// What is known of a log since its birth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRow {
    /// `_ledger`: no tenant and no road.
    Ledger,
    /// A tenant's log.
    Tenant {
        /// Whose log it is.
        tenant: Tenant,
        /// Check value of the tenant's dedupe key.
        dedupe_check: [u8; 16],
    },
}

impl LogRow {
    /// The row of `log`: nothing for `_ledger`, else check value of the dedupe key ‖ tenant.
    pub fn encode(&self, log: LogId) -> Vec<u8> {
        Key::Log(log).with_check(match self {
            Self::Ledger => Vec::new(),
            Self::Tenant { tenant, dedupe_check } => [&dedupe_check[..], tenant.as_str().as_bytes()].concat(),
        })
    }

    /// The inverse of [`encode`](Self::encode).
    pub fn decode(log: LogId, row: &[u8]) -> Result<Self, LayoutError> {
        let row = Key::Log(log).without_check(row)?;
        if row.is_empty() {
            return Ok(Self::Ledger);
        }
        let mut fields = Fields::new("log", row);
        let dedupe_check = fields.array()?;
        let tenant = std::str::from_utf8(fields.rest).ok().and_then(|text| Tenant::parse(text).ok());
        Ok(Self::Tenant { tenant: tenant.ok_or(fields.refused("a tenant's name"))?, dedupe_check })
    }
}

/// A head's row. Its log is in the key; its size is the edge's.
pub fn encode_head(head: &Head) -> Vec<u8> {
    let mut row = Vec::new();
    put_text(&mut row, &head.origin.to_string());
    for number in [
        head.at_ms,
        u64::from(head.epoch),
        head.cursor.stream_created_ns,
        head.cursor.sequence,
        head.cursor.at_ns,
        head.answered,
        head.control_counter,
    ] {
        row.extend_from_slice(&number.to_be_bytes());
    }
    row.extend_from_slice(&head.cursor.digest.0);
    row.extend_from_slice(&head.control_prev.0);
    row.extend_from_slice(&head.edge.encode());
    Key::Head(head.log).with_check(row)
}

/// The inverse of [`encode_head`].
pub fn decode_head(log: LogId, row: &[u8]) -> Result<Head, LayoutError> {
    let mut fields = Fields::new("head", Key::Head(log).without_check(row)?);
    let origin = Origin::parse(&fields.text()?).map_err(|_| fields.refused("an origin"))?;
    let newest_ms = fields.number()?;
    let epoch = u32::try_from(fields.number()?).map_err(|_| fields.refused("an epoch below 2^32"))?;
    let (stream_created_ns, sequence, at_ns) = (fields.number()?, fields.number()?, fields.number()?);
    let (answered, control_counter) = (fields.number()?, fields.number()?);
    let cursor = Cursor { stream_created_ns, sequence, at_ns, digest: Fingerprint(fields.array()?) };
    let control_prev = Hash(fields.array()?);
    let edge = Edge::decode(fields.rest).map_err(|_| fields.refused("the tree's right edge"))?;
    let size = edge.size();
    Ok(Head { log, origin, size, edge, at_ms: newest_ms, epoch, cursor, answered, control_counter, control_prev })
}

/// A full tile's row: its hashes, one after the other.
pub fn encode_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The inverse of [`encode_tile`]: exactly [`TILE_WIDTH`] hashes.
pub fn decode_tile(row: &[u8]) -> Result<Vec<Hash>, LayoutError> {
    let (hashes, rest) = row.as_chunks::<32>();
    if hashes.len() != TILE_WIDTH || !rest.is_empty() {
        return Err(LayoutError { what: "tile", expected: "256 hashes", found: row.len() });
    }
    Ok(hashes.iter().copied().map(Hash).collect())
}

/// Reads a row of one number.
pub fn read_u64(what: &'static str, row: &[u8]) -> Result<u64, LayoutError> {
    let mut fields = Fields::new(what, row);
    let number = fields.number()?;
    fields.end(number)
}

/// Reads a row of one short number.
pub fn read_u32(what: &'static str, row: &[u8]) -> Result<u32, LayoutError> {
    let mut fields = Fields::new(what, row);
    let number = u32::from_be_bytes(fields.array()?);
    fields.end(number)
}

fn put_text(row: &mut Vec<u8>, text: &str) {
    // Texts of rows are bounded far below 4 GiB: the server's largest message is 8 MiB.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    row.extend_from_slice(&length.to_be_bytes());
    row.extend_from_slice(&text.as_bytes()[..length as usize]);
}

pub(super) struct Fields<'a> {
    what: &'static str,
    found: usize,
    pub(super) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(what: &'static str, row: &'a [u8]) -> Self {
        Self { what, found: row.len(), rest: row }
    }

    pub(super) fn refused(&self, expected: &'static str) -> LayoutError {
        LayoutError { what: self.what, expected, found: self.found }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], LayoutError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(self.refused("more bytes"))?;
        self.rest = rest;
        Ok(*field)
    }

    pub(super) fn number(&mut self) -> Result<u64, LayoutError> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Result<String, LayoutError> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(self.refused("a text of its length"))?;
        self.rest = rest;
        String::from_utf8(text.to_vec()).map_err(|_| self.refused("UTF-8"))
    }

    fn end<T>(&self, value: T) -> Result<T, LayoutError> {
        if self.rest.is_empty() { Ok(value) } else { Err(self.refused("no further bytes")) }
    }
}

//! Blocks: a row of payloads that follow each other, compressed together.
//!
//! Payloads are nearly all bytes that a ledger writes, and neighbours say much the same: together they take a third of what
//! they take alone, in the write-ahead log, in memory and in tables. A block's key is the index of its last payload when it was
//! written, so the first row at or behind an index is the one that may hold it; erasing a payload rewrites its block under
//! the same key.
//!
//! Row: `form ‖ count ‖ count × member ‖ bytes ‖ check value`. Form 0: the payloads as they are, one after the other; form 1: the
//! same as one LZ4 block (`lz4_Block_format.md`, without a length before it). Member: `distance from the key's index (1 byte) ‖
//! salt (16) ‖ fingerprint (16) ‖ previous index (8, 2^64 − 1 for none) ‖ length of the payload (4)`, by ascending index.

use std::ops::Range;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::value::Fields;
use super::{Key, LayoutError, LogId, Stored};
use crate::dedupe::Fingerprint;
use crate::entry::Salt;
use crate::kv::{Batch, Space};

/// Indices that a block spans, at most: a payload at index `i` is in a row with a key in `i .. i + BLOCK_SPAN`.
pub const BLOCK_SPAN: u64 = 64;

/// Payload bytes after which a block ends: LZ4 looks back 64 KiB, and whoever reads one payload decompresses its block.
const BLOCK_BYTES: usize = 60 << 10;

/// No block of ours has more payload bytes: one that is nearly full takes one more, and none is larger than the server's messages.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + (8 << 20);

const PLAIN: u8 = 0;
const LZ4: u8 = 1;
const NO_PREVIOUS: u64 = u64::MAX;

/// Collects payloads in the order of their indices and puts full blocks into a batch.
#[derive(Debug, Default)]
pub(crate) struct BlockWriter {
    members: Vec<Member>,
    payloads: Vec<u8>,
    packed: Vec<u8>,
}

#[derive(Debug)]
struct Member {
    index: u64,
    salt: Salt,
    fingerprint: Fingerprint,
    previous: Option<u64>,
    length: usize,
}

impl BlockWriter {
    /// Adds the payload of entry `index` of `log`, which is above all that were added before.
    pub(crate) fn add(&mut self, batch: &mut Batch, log: LogId, index: u64, stored: Parts<'_>) {
        let first = self.members.first().map_or(index, |first| first.index);
        if index - first >= BLOCK_SPAN || self.payloads.len() >= BLOCK_BYTES {
            self.finish(batch, log);
        }
        let Parts { salt, fingerprint, previous, payload } = stored;
        self.payloads.extend_from_slice(payload);
        self.members.push(Member { index, salt, fingerprint, previous, length: payload.len() });
    }

    /// Puts what was added since the last block into a block.
    pub(crate) fn finish(&mut self, batch: &mut Batch, log: LogId) {
        let Some(last) = self.members.last() else { return };
        let key = Key::Payload(log, last.index);
        batch.put(Space::Payloads, &key.bytes(), &[&self.row(&key, last.index)]);
        self.members.clear();
        self.payloads.clear();
    }

    fn row(&mut self, key: &Key, last: u64) -> Vec<u8> {
        self.packed.resize(get_maximum_output_size(self.payloads.len()), 0);
        let packed = compress_into(&self.payloads, &mut self.packed).ok().and_then(|length| self.packed.get(..length));
        let (form, bytes) = match packed.filter(|packed| packed.len() < self.payloads.len()) {
            Some(packed) => (LZ4, packed),
            None => (PLAIN, &self.payloads[..]),
        };
        let mut row = Vec::with_capacity(2 + self.members.len() * MEMBER + bytes.len() + super::CHECK_BYTES);
        // A block spans 64 indices, so count and distances fit into a byte; payloads are far below 4 GiB.
        let byte = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
        row.extend_from_slice(&[form, byte(self.members.len() as u64)]);
        for member in &self.members {
            row.push(byte(last - member.index));
            row.extend_from_slice(&member.salt.0);
            row.extend_from_slice(&member.fingerprint.0);
            row.extend_from_slice(&member.previous.unwrap_or(NO_PREVIOUS).to_be_bytes());
            row.extend_from_slice(&u32::try_from(member.length).unwrap_or(u32::MAX).to_be_bytes());
        }
        row.extend_from_slice(bytes);
        key.with_check(row)
    }
}

const MEMBER: usize = 1 + 16 + 16 + 8 + 4;

/// A payload on its way into a block, or in one that was read: [`Stored`], borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// As in [`Stored`].
    pub salt: Salt,
    /// As in [`Stored`].
    pub fingerprint: Fingerprint,
    /// As in [`Stored`].
    pub previous: Option<u64>,
    /// As in [`Stored`].
    pub payload: &'a [u8],
}

/// A member of a block, and where its payload lies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    index: u64,
    salt: Salt,
    fingerprint: Fingerprint,
    previous: Option<u64>,
    payload: Range<usize>,
}

/// A block's row, read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Ascending by index; never empty.
    members: Vec<Found>,
    payloads: Vec<u8>,
}

impl Block {
    /// Reads the row of `key`, a [`Key::Payload`].
    pub fn decode(key: &Key, row: &[u8]) -> Result<Self, LayoutError> {
        let mut block = Self::default();
        block.read(key, row)?;
        Ok(block)
    }

    /// The same, into the memory of a block that was read before; after an error it holds nothing of use.
    pub(crate) fn read(&mut self, key: &Key, row: &[u8]) -> Result<(), LayoutError> {
        let value = key.without_check(row)?;
        let mut fields = Fields::new("block of payloads", value);
        let Key::Payload(_, last) = key else { return Err(fields.refused("the key of a block")) };
        let [form, count] = fields.array()?;
        let members = &mut self.members;
        members.clear();
        members.reserve(count.into());
        let mut end = 0;
        for _ in 0..count {
            let [distance] = fields.array()?;
            let index = Some(u64::from(distance)).filter(|distance| *distance < BLOCK_SPAN);
            let index = index.and_then(|distance| last.checked_sub(distance));
            let after = members.last().map_or(Some(0), |before| before.index.checked_add(1));
            let index = index.filter(|index| after.is_some_and(|after| *index >= after));
            let index = index.ok_or(fields.refused("indices that rise within a span of 64"))?;
            let (salt, fingerprint) = (Salt(fields.array()?), Fingerprint(fields.array()?));
            let previous = Some(fields.number()?).filter(|index| *index != NO_PREVIOUS);
            let start = end;
            end += u32::from_be_bytes(fields.array()?) as usize;
            members.push(Found { index, salt, fingerprint, previous, payload: start..end });
        }
        if members.is_empty() || end > BLOCK_BYTES_MAX {
            return Err(fields.refused("one payload or more, not too large"));
        }
        // What stands here from before is written over.
        self.payloads.resize(end, 0);
        match form {
            PLAIN if fields.rest.len() == end => self.payloads.copy_from_slice(fields.rest),
            LZ4 => {
                let length = decompress_into(fields.rest, &mut self.payloads).ok();
                length.filter(|length| *length == end).ok_or(fields.refused("LZ4 of payloads of these lengths"))?;
            }
            _ => return Err(fields.refused("payloads of these lengths")),
        }
        Ok(())
    }

    /// What the block holds of entry `index`.
    pub fn find(&self, index: u64) -> Option<Stored> {
        let place = self.members.binary_search_by_key(&index, |member| member.index).ok()?;
        Some(self.stored(place))
    }

    /// What the block holds, by ascending index.
    pub fn into_rows(self) -> impl Iterator<Item = (u64, Stored)> {
        (0..self.members.len()).map(move |place| (self.members[place].index, self.stored(place)))
    }

    /// What the block holds, by ascending index, without copying payloads.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, Parts<'_>)> {
        self.members.iter().map(|found| {
            let Found { index, salt, fingerprint, previous, ref payload } = *found;
            (index, Parts { salt, fingerprint, previous, payload: &self.payloads[payload.clone()] })
        })
    }

    fn stored(&self, place: usize) -> Stored {
        let Found { salt, fingerprint, previous, ref payload, .. } = self.members[place];
        Stored { salt, fingerprint, previous, payload: self.payloads[payload.clone()].to_vec() }
    }
}

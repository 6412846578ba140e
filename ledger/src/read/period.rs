//! A log by time: where a period begins and ends, which signs of life stand around it, and where its tree can be resumed.
//!
//! `at` never falls along a log, so that a time is found by halving.

use std::ops::Range;

use super::{Log, ReadError, number_of};
use crate::entry::Header;
use crate::frontier::Frontier;
use crate::kv::{Kv, Space};
use crate::layout::Key;
use crate::tree::Edge;

/// Entries that are read at once in search of a heartbeat.
const STEP: u64 = 1_024;

impl<K: Kv> Log<K> {
    /// Index of the first entry at or after `at_ms`, milliseconds since 1970; the log's size where there is none yet.
    pub fn index_at(&self, at_ms: u64) -> Result<u64, ReadError> {
        let (mut low, mut high) = (0, self.shared_head()?.size);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.header(middle)?.ok_or(self.missing("entry", middle))?.at();
            // An entry of an unknown kind tells no time: its neighbour on the left does. None is older than entry 0.
            let before = match at {
                Some(at) => at < at_ms,
                None => self.known_before(middle)?.is_none_or(|at| at < at_ms),
            };
            if before { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Index of the last heartbeat below `index`.
    pub fn heartbeat_before(&self, index: u64) -> Result<Option<u64>, ReadError> {
        let mut end = index;
        while end > 0 {
            let start = end.saturating_sub(STEP);
            let found = self.heartbeats(start..end)?.pop();
            if found.is_some() {
                return Ok(found);
            }
            end = start;
        }
        Ok(None)
    }

    /// Index of the first heartbeat from `index` on.
    pub fn heartbeat_from(&self, index: u64) -> Result<Option<u64>, ReadError> {
        let size = self.shared_head()?.size;
        let mut start = index;
        while start < size {
            let end = size.min(start.saturating_add(STEP));
            if let Some(found) = self.heartbeats(start..end)?.first() {
                return Ok(Some(*found));
            }
            start = end;
        }
        Ok(None)
    }

    /// The frontier of the tree of `size` entries.
    pub fn frontier(&self, size: u64) -> Result<Frontier, ReadError> {
        let head = self.head_covering(size)?;
        let edge = Edge::at(&self.tiles(&head), size)?;
        Frontier::new(size, edge.peaks().to_vec()).ok_or(self.missing("frontier", size))
    }

    /// The first tree size that is at least `size` and has cosignatures.
    pub fn cosigned_at_or_after(&self, size: u64) -> Result<Option<u64>, ReadError> {
        let rows = self.rows(&Key::Cosignatures(self.id(), size), &Key::Cosignatures(self.id(), u64::MAX), 1)?;
        let Some((key, _)) = rows.into_iter().next() else { return Ok(None) };
        let Key::Cosignatures(_, found) = Key::decode(Space::Tree, &key)? else {
            return Ok(Some(number_of(Space::Tree, &key)?));
        };
        Ok((found <= self.shared_head()?.size).then_some(found))
    }

    fn known_before(&self, index: u64) -> Result<Option<u64>, ReadError> {
        for index in (0..index).rev() {
            if let Some(at) = self.header(index)?.and_then(|header| header.at()) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn heartbeats(&self, range: Range<u64>) -> Result<Vec<u64>, ReadError> {
        let mut found = Vec::new();
        for (index, entry) in self.entries(range, usize::MAX)? {
            // No event is decoded for it: the word stands in every heartbeat.
            let maybe = entry.len() < 512 && entry.windows(11).any(|word| word == b"\"heartbeat\"");
            if maybe && matches!(self.decode(index, &entry)?, Header::Heartbeat(_)) {
                found.push(index);
            }
        }
        Ok(found)
    }
}

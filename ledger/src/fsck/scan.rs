//! Rows read in order, and every row that is not where one may be.

use std::ops::Range;

use schemas::ids::Tenant;

use super::Place;
use super::report::{Finding, RESTORE, STRANGER};
use crate::kv::{Kv, KvError, Space};
use crate::layout::{BLOCK_SPAN, Block, Key, LogId, Parts};

/// Above every key that there may be.
pub(super) const END: [u8; 80] = [0xff; 80];

impl<K: Kv> Place<'_, K> {
    /// Calls `row` for the rows numbered `range` of a kind, ascending. What else stands between them is reported, and so is what
    /// can't be read.
    pub(super) fn each_numbered(
        &self,
        what: &'static str,
        kind: impl Fn(LogId, u64) -> Key,
        range: Range<u64>,
        mut row: impl FnMut(u64, &[u8]),
    ) {
        let key = |number| kind(self.log, number);
        let space = key(range.start).space();
        let mut next = range.start;
        let read = self.kv.scan(space, &key(range.start).bytes(), &key(range.end).bytes(), &mut |found, value| {
            if *found != *key(next).bytes() {
                match number_of(space, found) {
                    Some(number) if *key(number).bytes() == *found => next = number,
                    _ => return self.stranger(what, found),
                }
            }
            row(next, value);
            next += 1;
        });
        if let Err(error) = read {
            self.unreadable(what, &format!("{}..{}", range.start, range.end), &error);
        }
    }

    /// The same rows, by place in the range.
    pub(super) fn numbered(
        &self,
        what: &'static str,
        kind: impl Fn(LogId, u64) -> Key,
        range: Range<u64>,
    ) -> Vec<Option<Vec<u8>>> {
        let mut rows = vec![None; usize::try_from(range.end - range.start).unwrap_or(0)];
        let from = range.start;
        self.each_numbered(what, kind, range, |number, value| {
            if let Some(place) = usize::try_from(number - from).ok().and_then(|place| rows.get_mut(place)) {
                *place = Some(value.to_vec());
            }
        });
        rows
    }

    /// The payloads of `range`, each in one block alone. Blocks that can't be read are reported, and so are payloads that stand
    /// twice or not in order; gives the places of which nothing can be said because their block is damaged.
    pub(super) fn payloads(&self, range: Range<u64>, mut each_of: impl FnMut(u64, Parts<'_>)) -> Vec<Range<u64>> {
        let mut lost = Vec::new();
        let mut next = range.start;
        let key = |index| Key::Payload(self.log, index).bytes();
        let end = range.end.saturating_add(BLOCK_SPAN - 1);
        let mut block = Block::default();
        let read = self.kv.scan(Space::Payloads, &key(range.start), &key(end), &mut |found, row| {
            let Ok(key @ Key::Payload(_, last)) = Key::decode(Space::Payloads, found) else {
                return self.stranger("payload", found);
            };
            if let Err(error) = block.read(&key, row) {
                self.finding("payload", last, "a block of payloads with its check value", error.to_string());
                return lost.push((last + 1).saturating_sub(BLOCK_SPAN)..last + 1);
            }
            for (index, parts) in block.parts().filter(|(index, _)| range.contains(index)) {
                if index < next {
                    self.finding("payload", last, format!("payloads from {next} on"), format!("that of entry {index}"));
                    continue;
                }
                next = index + 1;
                each_of(index, parts);
            }
        });
        if let Err(error) = read {
            self.unreadable("payload", &format!("{}..{}", range.start, range.end), &error);
        }
        lost
    }

    /// A row whose key no version writes there.
    pub(super) fn stranger(&self, what: &'static str, key: &[u8]) {
        self.findings.add(Finding {
            log: self.name.clone(),
            row: what,
            at: format!("at key {}", hex::encode(key)),
            expected: "no such row".to_owned(),
            found: "one".to_owned(),
            remedy: STRANGER,
        });
    }

    pub(super) fn unreadable(&self, what: &'static str, at: &str, error: &KvError) {
        let mut found = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            found = format!("{found}: {inner}");
            source = inner.source();
        }
        let expected = "rows that can be read".to_owned();
        self.findings.add(Finding {
            log: self.name.clone(),
            row: what,
            at: at.to_owned(),
            expected,
            found,
            remedy: RESTORE,
        });
    }

    pub(super) fn finding(
        &self,
        row: &'static str,
        at: impl Into<At>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.findings.add(Finding {
            log: self.name.clone(),
            row,
            at: at.into().0,
            expected: expected.into(),
            found: found.into(),
            remedy: RESTORE,
        });
    }
}

/// Where a finding is, within its kind of row.
pub(super) struct At(String);

impl From<u64> for At {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl From<&u64> for At {
    fn from(number: &u64) -> Self {
        Self(number.to_string())
    }
}

impl From<LogId> for At {
    fn from(log: LogId) -> Self {
        Self(log.to_string())
    }
}

impl From<&Tenant> for At {
    fn from(tenant: &Tenant) -> Self {
        Self(tenant.to_string())
    }
}

impl From<&str> for At {
    fn from(at: &str) -> Self {
        Self(at.to_owned())
    }
}

impl From<&String> for At {
    fn from(at: &String) -> Self {
        Self(at.clone())
    }
}

impl From<String> for At {
    fn from(at: String) -> Self {
        Self(at)
    }
}

fn number_of(space: Space, key: &[u8]) -> Option<u64> {
    match Key::decode(space, key).ok()? {
        Key::Entry(_, number)
        | Key::Control(_, number)
        | Key::Cosignatures(_, number)
        | Key::Checkpoint(_, number)
        | Key::Details(_, number)
        | Key::Opening(_, number) => Some(number),
        Key::Tile(_, tile) => Some(tile.index),
        _ => None,
    }
}

//! The rows of the store as a whole: format, name, counter, which logs there are and whose they are; and every row that stands
//! where no row may.

use std::collections::BTreeMap;

use schemas::ids::Tenant;

use super::index::behind;
use super::report::NEWER;
use super::scan::END;
use super::{Finding, Place};
use crate::append::Head;
use crate::birth::LEDGER_LOG;
use crate::checkpoint::Origin;
use crate::kv::{Kv, Space};
use crate::layout::{FORMAT_VERSION, Key, LogId, LogRow, TILE_WIDTH, decode_head, read_u32, read_u64};
use crate::tree::TileId;

/// What the store says of itself.
#[derive(Debug, Default)]
pub(super) struct Store {
    format: Option<Vec<u8>>,
    name: Option<String>,
    next: Option<u32>,
    pub(super) rows: BTreeMap<LogId, LogRow>,
    pub(super) heads: BTreeMap<LogId, Head>,
    tenants: BTreeMap<Tenant, LogId>,
    cosigned: BTreeMap<LogId, u64>,
    /// Logs whose head can't be read: nothing of theirs can be checked.
    unknown: Vec<LogId>,
}

impl Store {
    /// Reads the space of heads and names; what can't be read is reported.
    pub(super) fn read<K: Kv>(place: &Place<'_, K>) -> Self {
        let mut store = Self::default();
        let read = place.kv.scan(Space::Meta, &[], &END, &mut |key, row| store.row(place, key, row));
        if let Err(error) = read {
            place.unreadable("row", "of space meta", &error);
        }
        store
    }

    fn row<K: Kv>(&mut self, place: &Place<'_, K>, bytes: &[u8], row: &[u8]) {
        let Ok(key) = Key::decode(Space::Meta, bytes) else { return place.stranger("row of space meta", bytes) };
        let refused = |what, at: String, error: String| place.finding(what, at, "a row as it is written", error);
        match key {
            Key::Format => self.format = Some(row.to_vec()),
            Key::LedgerName => match std::str::from_utf8(row) {
                Ok(name) => self.name = Some(name.to_owned()),
                Err(error) => refused("ledger name", "of the store".to_owned(), error.to_string()),
            },
            Key::NextLog => match read_u32("next log", row) {
                Ok(next) => self.next = Some(next),
                Err(error) => refused("next log number", "of the store".to_owned(), error.to_string()),
            },
            Key::Log(log) => match LogRow::decode(log, row) {
                Ok(row) => drop(self.rows.insert(log, row)),
                Err(error) => refused("log row", log.to_string(), error.to_string()),
            },
            Key::Head(log) => match decode_head(log, row) {
                Ok(head) => drop(self.heads.insert(log, head)),
                Err(error) => {
                    self.unknown.push(log);
                    refused("head", log.to_string(), error.to_string());
                }
            },
            Key::NewestCosigned(log) => match key.without_check(row).and_then(|row| read_u64("newest cosigned", row)) {
                Ok(size) => drop(self.cosigned.insert(log, size)),
                Err(error) => refused("newest cosigned size", log.to_string(), error.to_string()),
            },
            Key::Tenant(ref tenant) => match read_u32("tenant", row) {
                Ok(log) => drop(self.tenants.insert(tenant.clone(), LogId(log))),
                Err(error) => refused("tenant row", tenant.to_string(), error.to_string()),
            },
            _ => place.stranger("row of space meta", bytes),
        }
    }

    /// Compares the rows with each other.
    pub(super) fn check<K: Kv>(&self, place: &Place<'_, K>) {
        if self.format.as_deref() != Some(&FORMAT_VERSION.to_be_bytes()) {
            place.findings.add(Finding {
                log: None,
                row: "format version",
                at: "of the store".to_owned(),
                expected: FORMAT_VERSION.to_string(),
                found: self.format.as_ref().map_or("nothing".to_owned(), hex::encode),
                remedy: NEWER,
            });
        }
        if self.name.is_none() {
            place.finding("ledger name", "of the store", "a name", "nothing");
        }
        let logs = self.rows.keys().chain(self.heads.keys()).chain(&self.unknown);
        let next = logs.clone().max().map_or(0, |log| log.0.saturating_add(1));
        if self.next != Some(next) {
            let found = self.next.map_or("nothing".to_owned(), |next| next.to_string());
            place.finding("next log number", "of the store", next.to_string(), found);
        }
        for log in logs {
            self.check_log(place, *log);
        }
        for (log, size) in &self.cosigned {
            let covered = self.heads.get(log).is_some_and(|head| *size <= head.size) || self.unknown.contains(log);
            if !covered {
                place.finding("newest cosigned size", *log, "a size that a log has", size.to_string());
            }
        }
        for (tenant, log) in &self.tenants {
            if !matches!(self.rows.get(log), Some(LogRow::Tenant { tenant: owner, .. }) if owner == tenant) {
                place.finding("tenant row", tenant, "the number of a log of this tenant", log.to_string());
            }
        }
    }

    fn check_log<K: Kv>(&self, place: &Place<'_, K>, log: LogId) {
        let row = self.rows.get(&log);
        match row {
            None => place.finding("log row", log, "whose log it is", "nothing that can be read"),
            Some(LogRow::Ledger) if log != LogId::LEDGER => place.finding("log row", log, "a tenant", "none"),
            Some(LogRow::Tenant { tenant, .. }) if log == LogId::LEDGER => {
                place.finding("log row", log, "no tenant", tenant.as_str());
            }
            Some(LogRow::Tenant { tenant, .. }) if self.tenants.get(tenant) != Some(&log) => {
                let found = self.tenants.get(tenant).map_or("nothing".to_owned(), ToString::to_string);
                place.finding("tenant row", tenant, log.to_string(), found);
            }
            Some(_) => {}
        }
        let Some(head) = self.heads.get(&log) else {
            if !self.unknown.contains(&log) {
                place.finding("head", log, "a head", "nothing");
            }
            return;
        };
        let expected = match (&self.name, row) {
            (Some(name), Some(LogRow::Ledger)) => Origin::of(name, LEDGER_LOG),
            (Some(name), Some(LogRow::Tenant { tenant, .. })) => Origin::of(name, tenant.as_str()),
            _ => return,
        };
        if expected.as_ref().ok() != Some(&head.origin) {
            let expected = expected.map_or_else(|error| error.to_string(), |origin| origin.to_string());
            place.finding("ledger name", "of the store", format!("that of {}", head.origin), expected);
        }
    }

    /// Reports every row that belongs to no log, or lies beyond what its log's head covers.
    pub(super) fn strangers<K: Kv>(&self, place: &Place<'_, K>) {
        for space in [Space::Entries, Space::Payloads, Space::Tree, Space::Index] {
            let mut covered = self.covered(space);
            covered.sort();
            let mut from = Vec::new();
            for (start, end) in covered.into_iter().chain([(END.to_vec(), END.to_vec())]) {
                let what = match space {
                    Space::Entries => "entry",
                    Space::Payloads => "payload",
                    Space::Tree => "row of space tree",
                    Space::Index | Space::Meta => "row of space index",
                };
                if let Err(error) = place.kv.scan(space, &from, &start, &mut |key, _| place.stranger(what, key)) {
                    place.unreadable(what, &format!("from key {}", hex::encode(&from)), &error);
                }
                from = end;
            }
        }
    }

    /// The ranges of keys in which the logs' rows lie; whatever stands in them is checked with its log.
    fn covered(&self, space: Space) -> Vec<(Vec<u8>, Vec<u8>)> {
        let range = |from: Key, to: Key| (from.bytes().to_vec(), to.bytes().to_vec());
        let mut covered = Vec::new();
        for (log, head) in &self.heads {
            let (log, size) = (*log, head.size);
            match space {
                Space::Entries => covered.push(range(Key::Entry(log, 0), Key::Entry(log, size))),
                Space::Payloads => covered.push(range(Key::Payload(log, 0), Key::Payload(log, size))),
                Space::Tree => {
                    for level in 0..8_u8 {
                        let tile = |index| Key::Tile(log, TileId { level, index });
                        covered.push(range(tile(0), tile(full_tiles(size, level))));
                    }
                    covered.push(range(Key::Checkpoint(log, 1), Key::Checkpoint(log, size + 1)));
                    covered.push(range(Key::Details(log, 0), Key::Details(log, size)));
                    covered
                        .push(range(Key::Control(log, 1), Key::Control(log, head.control_counter.saturating_add(1))));
                    covered.push(range(Key::Cosignatures(log, 1), Key::Cosignatures(log, size + 1)));
                    if log == LogId::LEDGER {
                        covered.push(range(Key::Opening(log, 0), Key::Opening(log, size)));
                    }
                }
                Space::Index => {
                    for kind in [Key::Dedupe(log, crate::dedupe::Fingerprint::default()), Key::Chain(log, [0; 16])] {
                        let prefix = kind.bytes()[..5].to_vec();
                        let end = behind(&prefix);
                        covered.push((prefix, end));
                    }
                }
                Space::Meta => {}
            }
        }
        // Without a head it is not known which rows a log may have.
        for log in &self.unknown {
            for kind in 1..=u8::MAX {
                let prefix = [&[kind][..], &log.0.to_be_bytes()].concat();
                let end = behind(&prefix);
                covered.push((prefix, end));
            }
        }
        covered
    }
}

/// Full tiles of a level in a tree of `size` leaves.
pub(super) fn full_tiles(size: u64, level: u8) -> u64 {
    let width = TILE_WIDTH as u64;
    (0..=level).fold(size, |count, _| count / width)
}

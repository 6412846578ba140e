//! The index of a log: dedupe and chain rows against the events, both ways. First by sums; where they differ, once more row by
//! row, to name the place.

use std::collections::HashMap;

use schemas::ids::ChangeId;

use super::Place;
use super::scan::END;
use super::tally::{self, Tally};
use super::unit::{LogFacts, UNIT};
use crate::dedupe::Fingerprint;
use crate::entry::Header;
use crate::hash::{Hash, leaf};
use crate::kv::{Kv, Space};
use crate::layout::{ChainHead, Key, Stored, read_u64};
use crate::read::Log;

/// In how many parts a log's index is read.
pub(super) const PARTS: u8 = 16;

/// Rows looked up at once.
const LOOK_UP: usize = 1_024;

/// One part of the chain rows: each marks the entry that it names.
pub(super) fn chains<K: Kv>(place: &Place<'_, K>, log: &LogFacts<'_>, part: u8) -> Tally {
    let mut tally = Tally::default();
    rows(
        place,
        "chain",
        |key| Key::Chain(place.log, key),
        part,
        |key, row| {
            let Ok(Key::Chain(_, change)) = Key::decode(Space::Index, key) else {
                return place.stranger("chain", key);
            };
            let at = || hex::encode(change);
            match ChainHead::decode(row) {
                Err(error) => place.finding("chain", at(), "the head of a chain", error.to_string()),
                Ok(head) if !log.mark(head.index) => {
                    let expected = format!("an entry below {} that no other chain ends in", log.head.size);
                    place.finding("chain", at(), expected, format!("entry {}", head.index));
                }
                Ok(head) => {
                    let key = log.dedupe.is_some().then_some(&change);
                    tally.heads = tally.heads.wrapping_sub(tally::head(key, head.seq, &head.leaf, head.index));
                }
            }
        },
    );
    tally
}

/// One part of the dedupe rows.
pub(super) fn dedupes<K: Kv>(place: &Place<'_, K>, part: u8) -> Tally {
    let mut tally = Tally::default();
    rows(
        place,
        "dedupe",
        |key| Key::Dedupe(place.log, Fingerprint(key)),
        part,
        |key, row| match (Key::decode(Space::Index, key), read_u64("dedupe", row)) {
            (Ok(Key::Dedupe(_, fingerprint)), Ok(index)) => {
                tally.dedupe = tally.dedupe.wrapping_sub(tally::dedupe(&fingerprint, index));
            }
            (Ok(_), Err(error)) => {
                place.finding("dedupe", hex::encode(key), "the index of an event", error.to_string());
            }
            _ => place.stranger("dedupe", key),
        },
    );
    tally
}

/// All rows of a kind whose key begins with the digit `part`; the last part takes what is longer than any.
fn rows<K: Kv>(
    place: &Place<'_, K>,
    what: &'static str,
    kind: impl Fn([u8; 16]) -> Key,
    part: u8,
    mut row: impl FnMut(&[u8], &[u8]),
) {
    let first = |part: u8| {
        let mut key = [0; 16];
        key[0] = part << 4;
        kind(key).bytes().to_vec()
    };
    // The first part begins right behind the log's number, the last one ends before the next log's.
    let prefix = kind([0; 16]).bytes()[..5].to_vec();
    let from = if part == 0 { prefix.clone() } else { first(part) };
    let to = if part + 1 < PARTS { first(part + 1) } else { behind(&prefix) };
    if let Err(error) = place.kv.scan(Space::Index, &from, &to, &mut row) {
        place.unreadable(what, &format!("of keys {}..", hex::encode(from)), &error);
    }
}

/// The smallest key that does not begin with `prefix`.
pub(super) fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end;
        }
        end.pop();
    }
    END.to_vec()
}

/// Says which rows make the sums differ.
pub(super) fn locate<K: Kv>(place: &Place<'_, K>, log: &LogFacts<'_>, sums: &Tally) {
    let before = place.findings.count();
    if sums.dedupe != 0 {
        let strays = dedupe_without_events(place, log);
        events_without_dedupe(place, log, &strays);
    }
    if sums.links != 0 || sums.heads != 0 {
        walk_chains(place, log);
    }
    if *sums != Tally::default() && place.findings.count() == before && before == 0 {
        place.finding("index", "of the log", "dedupe and chain rows that fit the events", "others");
    }
}

/// Every readable entry that has a payload, with its leaf hash and what stands beside it.
fn entries<K: Kv>(place: &Place<'_, K>, log: &LogFacts<'_>, mut entry: impl FnMut(u64, Hash, Header, Stored)) {
    let Ok(reader) = Log::open(place.kv, place.log) else { return };
    let mut from = 0;
    while from < log.head.size {
        let to = (from + UNIT / 16).min(log.head.size);
        for index in from..to {
            // What can't be read was reported when it was read first.
            let (Ok(Some(bytes)), Ok(Some(stored))) = (reader.entry(index), reader.stored(index)) else { continue };
            let Ok(header) = Header::decode(&bytes) else { continue };
            entry(index, leaf(&bytes), header, stored);
        }
        from = to;
    }
}

/// What is said of a row that is not where it belongs, where it was found under another key.
fn elsewhere(key: Option<&[u8; 16]>) -> String {
    key.map_or("nothing".to_owned(), |key| {
        format!("nothing; it stands under {}, which is not its key", hex::encode(key))
    })
}

fn events_without_dedupe<K: Kv>(place: &Place<'_, K>, log: &LogFacts<'_>, strays: &HashMap<u64, [u8; 16]>) {
    let mut wanted: Vec<(Fingerprint, u64)> = Vec::with_capacity(LOOK_UP);
    let look_up = |wanted: &mut Vec<(Fingerprint, u64)>| {
        for (fingerprint, index) in wanted.drain(..) {
            let key = Key::Dedupe(place.log, fingerprint);
            let Ok(row) = place.kv.get(Space::Index, &key.bytes()) else { continue };
            let found = match row.map(|row| read_u64("dedupe", &row)) {
                None => elsewhere(strays.get(&index)),
                Some(Ok(found)) if found == index => continue,
                Some(Ok(found)) => format!("entry {found}"),
                Some(Err(error)) => error.to_string(),
            };
            place.finding(
                "dedupe",
                hex::encode(fingerprint.0),
                format!("entry {index}, which has this fingerprint"),
                found,
            );
        }
    };
    entries(place, log, |index, _, header, stored| {
        let recognised = match header {
            Header::Event(_) => true,
            Header::Control(_) => stored.fingerprint != Fingerprint::default(),
            _ => false,
        };
        if recognised {
            wanted.push((stored.fingerprint, index));
        }
        if wanted.len() == LOOK_UP {
            look_up(&mut wanted);
        }
    });
    look_up(&mut wanted);
}

/// Rows that do not fit the event that they point to; under which keys they stand. Only of a damaged log.
fn dedupe_without_events<K: Kv>(place: &Place<'_, K>, log: &LogFacts<'_>) -> HashMap<u64, [u8; 16]> {
    let mut strays = HashMap::new();
    let mut check = |key: &[u8], row: &[u8]| {
        let (Ok(Key::Dedupe(_, fingerprint)), Ok(index)) = (Key::decode(Space::Index, key), read_u64("dedupe", row))
        else {
            return;
        };
        let stored = Log::open(place.kv, place.log).and_then(|log| log.stored(index)).ok().flatten();
        let found = match stored.filter(|_| index < log.head.size) {
            Some(stored) if stored.fingerprint == fingerprint => return,
            Some(stored) => {
                strays.insert(index, fingerprint.0);
                format!("{} beside it: this key does not belong to it", hex::encode(stored.fingerprint.0))
            }
            // That its payload is not there was reported, or the event that it should point to was.
            None if index < log.head.size => return,
            None => "no such entry".to_owned(),
        };
        let expected = format!("the event that it points to, entry {index}, to have this fingerprint");
        place.finding("dedupe", hex::encode(fingerprint.0), expected, found);
    };
    for part in 0..PARTS {
        rows(place, "dedupe", |key| Key::Dedupe(place.log, Fingerprint(key)), part, &mut check);
    }
    strays
}

/// Every change's chain from its first event on. Keeps one row a change in memory: only a damaged log is walked.
fn walk_chains<K: Kv>(place: &Place<'_, K>, log: &LogFacts<'_>) {
    let mut chains: HashMap<ChangeId, ChainHead> = HashMap::new();
    entries(place, log, |index, leaf, header, stored| {
        let Header::Event(event) = header else { return };
        let last = chains.get(&event.change);
        let (seq, prev, previous) =
            (last.map_or(0, |last| last.seq + 1), last.map(|last| last.leaf), last.map(|last| last.index));
        if event.seq != seq || event.prev != prev {
            let expected = format!("position {seq} of its change, after {}", shown(previous));
            place.finding("entry", index, expected, format!("position {}", event.seq));
        }
        if stored.previous != previous {
            place.finding(
                "payload",
                index,
                format!("a link to {}", shown(previous)),
                format!("one to {}", shown(stored.previous)),
            );
        }
        chains.insert(event.change, ChainHead { seq: event.seq, index, leaf });
    });
    let mut expected: HashMap<Vec<u8>, (ChangeId, ChainHead)> = HashMap::new();
    let mut by_index: HashMap<u64, ChainHead> = HashMap::new();
    for (change, head) in chains {
        by_index.insert(head.index, head);
        if let Some(key) = &log.dedupe {
            expected.insert(Key::Chain(place.log, key.change_key(&change)).bytes().to_vec(), (change, head));
        }
    }
    let mut strays: HashMap<u64, [u8; 16]> = HashMap::new();
    for part in 0..PARTS {
        rows(
            place,
            "chain",
            |key| Key::Chain(place.log, key),
            part,
            |key, row| {
                let Ok(found) = ChainHead::decode(row) else { return };
                let wanted = match &log.dedupe {
                    Some(_) => expected.remove(key).map(|(_, head)| head),
                    None => by_index.remove(&found.index),
                };
                let at = hex::encode(key.get(5..).unwrap_or_default());
                match wanted {
                    Some(head) if head == found => {}
                    Some(head) => place.finding("chain", at, described(&head), described(&found)),
                    None => {
                        if let Ok(Key::Chain(_, key)) = Key::decode(Space::Index, key) {
                            strays.insert(found.index, key);
                        }
                        place.finding("chain", at, "no chain of this key", described(&found));
                    }
                }
            },
        );
    }
    for (key, (change, head)) in expected {
        let at = hex::encode(key.get(5..).unwrap_or_default());
        let found = elsewhere(strays.get(&head.index));
        place.finding("chain", at, format!("{} of change {change}", described(&head)), found);
    }
    if log.dedupe.is_none() {
        for head in by_index.into_values() {
            place.finding("chain", format!("of entry {}", head.index), described(&head), "nothing");
        }
    }
}

fn shown(previous: Option<u64>) -> String {
    previous.map_or("nothing".to_owned(), |index| format!("entry {index}"))
}

fn described(head: &ChainHead) -> String {
    format!("entry {} at position {} with leaf {}", head.index, head.seq, head.leaf)
}

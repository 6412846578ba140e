//! One log from its stretches, in order: time, road and control chain, upper tiles, signed roots; at the end its head.

use std::collections::BTreeMap;

use super::acts::Acts;
use super::tally::Tally;
use super::tree::{Stack, root_of};
use super::unit::{Checked, ControlFact, Fact, LogFacts, Signed, Step, UNIT, UNIT_HEIGHT, opening};
use super::{LogSummary, Place};
use crate::append::Head;
use crate::birth::Opening;
use crate::entry::commitment;
use crate::hash::Hash;
use crate::kv::{Kv, Space};
use crate::layout::{Key, TILE_WIDTH, decode_tile, read_u64};
use crate::tree::TileId;

/// A log as far as its stretches are in.
pub(super) struct LogState {
    next: u64,
    /// Stretches that came before those in front of them.
    waiting: BTreeMap<u64, Checked>,
    stack: Stack,
    /// Per level from 1: roots of the tiles below that no full tile holds yet, and the number of full tiles so far.
    levels: Vec<(Vec<Hash>, u64)>,
    at_ms: u64,
    epoch: u32,
    road: u64,
    stream_created_ms: Option<u64>,
    /// What the control entries make hold; none where the first entry can't be read.
    holds: Option<Acts>,
    /// Indices of the control entries.
    controls: Vec<u64>,
    last_signed: u64,
    checkpoints: u64,
    payload_bytes: u64,
    pub(super) tally: Tally,
    /// What listings of `_ledger` open to, with their indices.
    pub(super) listed: Vec<(u64, Opening)>,
    /// What listings of acts in `_ledger` open to, with their indices.
    pub(super) listed_acts: BTreeMap<Vec<u8>, u64>,
    /// Acts on a tenant's log, with what their listings have to open to.
    pub(super) acts: Vec<(u64, Vec<u8>)>,
}

/// What a log's state is compared with.
pub(super) struct Known<'a, K> {
    pub(super) place: &'a Place<'a, K>,
    pub(super) facts: &'a LogFacts<'a>,
}

impl LogState {
    /// Before the first stretch.
    pub(super) fn new(holds: Option<Acts>) -> Self {
        Self {
            next: 0,
            waiting: BTreeMap::new(),
            stack: Stack::default(),
            levels: vec![(Vec::new(), 0); 8],
            at_ms: 0,
            epoch: 0,
            road: 0,
            stream_created_ms: None,
            holds,
            controls: Vec::new(),
            last_signed: 0,
            checkpoints: 0,
            payload_bytes: 0,
            tally: Tally::default(),
            listed: Vec::new(),
            listed_acts: BTreeMap::new(),
            acts: Vec::new(),
        }
    }

    /// Takes a checked stretch, and every one that waited for it.
    pub(super) fn take<K: Kv>(&mut self, known: &Known<'_, K>, number: u64, checked: Checked) {
        self.waiting.insert(number, checked);
        while let Some(checked) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.advance(known, checked);
        }
    }

    fn advance<K: Kv>(&mut self, known: &Known<'_, K>, checked: Checked) {
        for fact in checked.facts {
            self.fact(known, fact);
        }
        for signed in &checked.signed {
            self.signed(known, signed);
        }
        for root in checked.tiles {
            self.grow(known, 1, root);
        }
        if self.next * UNIT <= known.facts.head.size {
            self.stack.push(UNIT_HEIGHT, checked.stack.root(), |_, _| ());
        } else {
            // The last one, and not full: nothing is joined to it any more.
            let root = checked.stack.root_after(&self.stack);
            self.stack = Stack::default();
            self.stack.push(0, root, |_, _| ());
        }
        self.tally.add(&checked.tally);
        self.payload_bytes += checked.payload_bytes;
    }

    fn fact<K: Kv>(&mut self, known: &Known<'_, K>, fact: Fact) {
        let Fact { index, at, step } = fact;
        if let Some(at) = at {
            if at < self.at_ms {
                known.place.finding(
                    "entry",
                    index,
                    format!("at not below {}, as the entry before", self.at_ms),
                    at.to_string(),
                );
            }
            self.at_ms = self.at_ms.max(at);
        }
        match step {
            Step::None => {}
            Step::Road { epoch, sequence } => self.road(known, index, epoch, sequence, sequence),
            Step::Gap { from, to } => self.road(known, index, self.epoch, from, to),
            Step::Epoch { epoch, stream_created_ms } => {
                if Some(epoch) != self.epoch.checked_add(1) {
                    known.place.finding("entry", index, format!("the epoch after {}", self.epoch), epoch.to_string());
                }
                (self.epoch, self.road) = (epoch, 0);
                self.stream_created_ms = Some(stream_created_ms);
            }
            Step::Control(fact) => self.control(known, index, &fact),
        }
    }

    fn road<K: Kv>(&mut self, known: &Known<'_, K>, index: u64, epoch: u32, first: u64, last: u64) {
        if epoch != self.epoch || first <= self.road || last < first {
            let expected = format!("a place on road {} past {}", self.epoch, self.road);
            known.place.finding("entry", index, expected, format!("road {epoch}, {first}..={last}"));
        }
        self.road = last.max(self.road);
    }

    fn control<K: Kv>(&mut self, known: &Known<'_, K>, index: u64, fact: &ControlFact) {
        let place = known.place;
        self.controls.push(index);
        let counter = self.controls.len() as u64;
        if fact.counter != counter {
            place.finding("entry", index, format!("control entry {counter}"), fact.counter.to_string());
        }
        if let Some((epoch, sequence)) = fact.road {
            self.road(known, index, epoch, sequence, sequence);
        }
        let (Some(message), Some(holds)) = (&fact.message, &mut self.holds) else { return };
        let judged = holds.judge(message, index);
        holds.pass(fact.leaf);
        let judged = match judged {
            Ok(judged) => judged,
            Err(found) => return place.finding("payload", index, "the next control message, signed by who may", found),
        };
        if judged.op != fact.op {
            let expected = format!("op {}, as its message", judged.op.as_str());
            place.finding("entry", index, expected, fact.op.as_str());
        }
        self.acts.extend(judged.opening.map(|opening| (index, opening)));
        if let Some(commit) = judged.listed {
            self.listing(known, index, fact, &commit);
        }
    }

    /// A listing in `_ledger`: its commitment opens to what stands beside it.
    fn listing<K: Kv>(&mut self, known: &Known<'_, K>, index: u64, fact: &ControlFact, commit: &Hash) {
        let place = known.place;
        let Some(row) = &fact.opening else {
            return place.finding("opening", index, "what the listing opens to", "nothing");
        };
        let Some((salt, bytes)) = opening(row) else {
            return place.finding("opening", index, "a salt and an opening", format!("{} bytes", row.len()));
        };
        let found = commitment(&salt, bytes);
        if found != *commit {
            let expected = format!("salt and opening with the commitment {commit}");
            return place.finding("opening", index, expected, found.to_string());
        }
        match serde_json::from_slice(bytes) {
            Ok(opening) => self.listed.push((index, opening)),
            Err(_) => drop(self.listed_acts.insert(bytes.to_vec(), index)),
        }
    }

    fn signed<K: Kv>(&mut self, known: &Known<'_, K>, signed: &Signed) {
        let Signed { size, previous, root, within } = signed;
        self.checkpoints += 1;
        let found = within.root_after(&self.stack);
        if found != *root {
            let expected = format!("the root of the first {size} entries, {found}");
            known.place.finding("checkpoint", size, expected, root.to_string());
        }
        if *previous != self.last_signed {
            let expected = format!("the one after size {}, or one of size {previous} between them", self.last_signed);
            known.place.finding("checkpoint", size, expected, format!("the one after size {previous}"));
        }
        self.last_signed = *size;
    }

    /// A subtree of a whole tile below: a full tile of `level` is compared with its row, and goes on upwards.
    fn grow<K: Kv>(&mut self, known: &Known<'_, K>, level: u8, root: Hash) {
        let Some((hashes, count)) = self.levels.get_mut(usize::from(level)) else { return };
        hashes.push(root);
        if hashes.len() < TILE_WIDTH {
            return;
        }
        let id = TileId { level, index: *count };
        let hashes = std::mem::take(hashes);
        *count += 1;
        compare_tile(known.place, id, &hashes);
        self.grow(known, level + 1, root_of(&hashes));
    }

    /// Compares what the entries led to with the head.
    pub(super) fn finish<K: Kv>(&mut self, known: &Known<'_, K>) -> LogSummary {
        let head = known.facts.head;
        let place = known.place;
        let head_says = |what: &str, expected: String, found: String| {
            if expected != found {
                place.finding("head", "of the log", format!("{what} {expected}"), found);
            }
        };
        for (level, (hashes, _)) in (0_u8..).zip(&self.levels).skip(1) {
            if hashes != head.edge.level(level) {
                place.finding("head", format!("edge of level {level}"), "the hashes of the tiles below", "others");
            }
        }
        head_says("time", self.at_ms.to_string(), head.at_ms.to_string());
        head_says("road", self.epoch.to_string(), head.epoch.to_string());
        head_says("control entries", self.controls.len().to_string(), head.control_counter.to_string());
        if let Some(holds) = &self.holds {
            head_says("last control entry", holds.prev().to_string(), head.control_prev.to_string());
        }
        self.control_rows(place);
        cosignatures(place, head);
        if let Some(created) = self.stream_created_ms {
            let found = head.cursor.stream_created_ns / 1_000_000;
            head_says("stream of", created.to_string(), found.to_string());
        }
        if head.cursor.sequence < self.road {
            let expected = format!("a cursor at {} or later, where its newest entry is", self.road);
            place.finding("head", "of the log", expected, head.cursor.sequence.to_string());
        }
        if head.answered > head.cursor.sequence {
            let expected = format!("nothing answered past the cursor, {}", head.cursor.sequence);
            place.finding("head", "of the log", expected, head.answered.to_string());
        }
        if self.last_signed != head.size {
            place.finding("checkpoint", head.size, "a checkpoint over the head", "nothing");
        }
        LogSummary {
            origin: head.origin.to_string(),
            size: head.size,
            root: self.stack.root().to_string(),
            checkpoints: self.checkpoints,
            payload_bytes: self.payload_bytes,
        }
    }
}

impl LogState {
    /// The rows that find control entries by their counter.
    fn control_rows<K: Kv>(&self, place: &Place<'_, K>) {
        let rows = place.numbered("control", Key::Control, 1..self.controls.len() as u64 + 1);
        for ((counter, index), row) in (1_u64..).zip(&self.controls).zip(rows) {
            match row.map(|row| read_u64("control", &row)) {
                Some(Ok(found)) if found == *index => {}
                Some(Ok(found)) => {
                    place.finding("control", counter, format!("entry {index}"), format!("entry {found}"));
                }
                Some(Err(error)) => place.finding("control", counter, format!("entry {index}"), error.to_string()),
                None => place.finding("control", counter, format!("entry {index}"), "nothing"),
            }
        }
    }
}

/// Cosignatures are foreign signatures that may come late or never: here it is only asked whether they are as they were written,
/// and beside a checkpoint.
fn cosignatures<K: Kv>(place: &Place<'_, K>, head: &Head) {
    let key = |size| Key::Cosignatures(place.log, size).bytes();
    let read = place.kv.scan(Space::Tree, &key(1), &key(head.size + 1), &mut |found, row| {
        let Ok(key @ Key::Cosignatures(_, size)) = Key::decode(Space::Tree, found) else {
            return place.stranger("cosignatures", found);
        };
        if let Err(error) = key.without_check(row) {
            place.finding("cosignatures", size, "lines with their check value", error.to_string());
        }
        let checkpoint = place.kv.get(Space::Tree, &Key::Checkpoint(place.log, size).bytes());
        if matches!(checkpoint, Ok(None)) {
            place.finding("cosignatures", size, "a checkpoint of this size", "nothing");
        }
    });
    if let Err(error) = read {
        place.unreadable("cosignatures", "of the log", &error);
    }
}

fn compare_tile<K: Kv>(place: &Place<'_, K>, id: TileId, hashes: &[Hash]) {
    let key = Key::Tile(place.log, id).bytes();
    let (expected, path) = ("the roots of the tiles below", id.path(256));
    match place.kv.get(Space::Tree, &key) {
        Err(error) => place.unreadable("tile", &path, &error),
        Ok(None) => place.finding("tile", path, expected, "nothing"),
        Ok(Some(row)) => match decode_tile(&row) {
            Err(error) => place.finding("tile", path, expected, error.to_string()),
            Ok(stored) if stored != hashes => place.finding("tile", path, expected, "others"),
            Ok(_) => {}
        },
    }
}

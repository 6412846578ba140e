//! A stretch of one log, checked by itself: entries, payloads, tiles of the lowest level, checkpoints, details, openings. What
//! needs the stretches before it is handed on in order, to [`super::log`].

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::admit::Scratch;
use schemas::ids::{Subject, Tenant};
use schemas::{admit, redact, rules};

use super::Place;
use super::acts::Signers;
use super::tally::{self, Tally};
use super::tree::{Stack, root_of};
use crate::append::Head;
use crate::checkpoint::Checkpoint;
use crate::control::ControlOp;
use crate::dedupe::{DedupeKey, Fingerprint};
use crate::entry::{EventHeader, Header, Salt, commitment};
use crate::hash::{Hash, leaf};
use crate::kv::{Kv, Space};
use crate::layout::{Details, Key, Parts, SignedAt, TILE_WIDTH, decode_tile};
use crate::note::SignedNote;
use crate::tree::TileId;

/// Entries of a stretch: a whole number of tiles, and a power of two, so that a full one is one subtree. What is known of a stretch
/// should fit into a core's own cache, and opening six rows costs little beside a thousand entries.
pub(super) const UNIT: u64 = 1 << UNIT_HEIGHT;
/// Height of a full stretch's subtree.
pub(super) const UNIT_HEIGHT: u8 = 10;
/// Bytes of payloads read at once, as their entries state them.
const PAYLOAD_BYTES: u64 = 8 << 20;

/// What every stretch of a log is checked with.
pub(super) struct LogFacts<'a> {
    pub(super) head: &'a Head,
    pub(super) tenant: Option<&'a Tenant>,
    pub(super) dedupe: Option<DedupeKey>,
    /// Who signs the checkpoints; none where the first entry can't be read.
    pub(super) signers: Option<Signers>,
    /// One bit an entry: whether a chain row names it.
    pub(super) chain_heads: Vec<AtomicU64>,
    /// Payloads are admitted again too.
    pub(super) deep: bool,
}

impl LogFacts<'_> {
    /// Marks an entry as the head of a chain; false where it was before, or is beyond the log.
    pub(super) fn mark(&self, index: u64) -> bool {
        let Some(word) = usize::try_from(index / 64).ok().and_then(|word| self.chain_heads.get(word)) else {
            return false;
        };
        let bit = 1 << (index % 64);
        index < self.head.size && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    fn is_chain_head(&self, index: u64) -> bool {
        let word = usize::try_from(index / 64).ok().and_then(|word| self.chain_heads.get(word));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (index % 64)) != 0)
    }
}

/// What the order of entries depends on.
pub(super) struct Fact {
    pub(super) index: u64,
    pub(super) at: Option<u64>,
    pub(super) step: Step,
}

/// What an entry means for the road and for the control chain.
pub(super) enum Step {
    None,
    Road { epoch: u32, sequence: u64 },
    Gap { from: u64, to: u64 },
    Epoch { epoch: u32, stream_created_ms: u64 },
    Control(Box<ControlFact>),
}

pub(super) struct ControlFact {
    pub(super) leaf: Hash,
    pub(super) counter: u64,
    pub(super) op: ControlOp,
    pub(super) road: Option<(u32, u64)>,
    /// None where it is missing, which is a finding of its own.
    pub(super) message: Option<Vec<u8>>,
    /// Salt and bytes of what a listing opens to.
    pub(super) opening: Option<Vec<u8>>,
}

/// A checkpoint whose signature was checked; its root waits for the stretches before.
pub(super) struct Signed {
    pub(super) size: u64,
    pub(super) previous: u64,
    pub(super) root: Hash,
    pub(super) within: Stack,
}

/// A checked stretch.
pub(super) struct Checked {
    pub(super) facts: Vec<Fact>,
    pub(super) signed: Vec<Signed>,
    /// Roots of its full tiles.
    pub(super) tiles: Vec<Hash>,
    /// Its leaves.
    pub(super) stack: Stack,
    pub(super) tally: Tally,
    pub(super) payload_bytes: u64,
}

struct Row {
    header: Option<Header>,
    leaf: Option<Hash>,
}

/// Checks the entries `from..to`.
pub(super) fn check<K: Kv>(
    place: &Place<'_, K>,
    log: &LogFacts<'_>,
    from: u64,
    to: u64,
    scratch: &mut Scratch,
) -> Checked {
    let mut unit = Unit {
        place,
        log,
        from,
        to,
        checked: Checked {
            facts: Vec::with_capacity(usize::try_from(to - from).unwrap_or(0)),
            signed: Vec::new(),
            tiles: Vec::new(),
            stack: Stack::default(),
            tally: Tally::default(),
            payload_bytes: 0,
        },
    };
    let mut rows = unit.entries();
    let leaves = unit.leaves(&rows);
    // From here on the tree's word counts, so that one damaged entry is not also a broken chain.
    rows.iter_mut().zip(&leaves).for_each(|(row, leaf)| row.leaf = Some(*leaf));
    unit.payloads(&rows, scratch);
    unit.details(&rows);
    unit.tree(&leaves);
    unit.checked
}

struct Unit<'a, K> {
    place: &'a Place<'a, K>,
    log: &'a LogFacts<'a>,
    from: u64,
    to: u64,
    checked: Checked,
}

impl<K: Kv> Unit<'_, K> {
    fn entries(&self) -> Vec<Row> {
        let (place, from) = (self.place, self.from);
        let mut rows: Vec<Row> = (from..self.to).map(|_| Row { header: None, leaf: None }).collect();
        place.each_numbered("entry", Key::Entry, from..self.to, |index, entry| {
            let at = usize::try_from(index - from).ok();
            if let Some(row) = at.and_then(|at| rows.get_mut(at)) {
                *row = self.row(index, entry);
            }
        });
        for (index, _) in (from..).zip(&rows).filter(|(_, row)| row.leaf.is_none()) {
            place.finding("entry", index, "an entry", "nothing");
        }
        rows
    }

    fn row(&self, index: u64, entry: &[u8]) -> Row {
        let place = self.place;
        let header = Header::decode(entry);
        if let Err(error) = &header {
            place.finding("entry", index, "a header in its only form", error.to_string());
        }
        if let Ok(Header::Unknown { v, kind }) = &header {
            let called = place.called();
            let newer = format!("{called}: entry {index} is of kind {kind:?}, version {v}: a newer upm wrote it");
            place.findings.unchecked(newer);
        }
        Row { header: header.ok(), leaf: Some(leaf(entry)) }
    }

    /// Payloads, in portions that fit into memory whatever their sizes.
    fn payloads(&mut self, rows: &[Row], scratch: &mut Scratch) {
        let mut start = self.from;
        let mut bytes = 0;
        for (index, row) in (self.from..).zip(rows) {
            bytes += row.header.as_ref().and_then(committed).map_or(0, |(_, size)| size);
            if bytes >= PAYLOAD_BYTES || index + 1 == self.to {
                self.portion(start..index + 1, rows, scratch);
                (start, bytes) = (index + 1, 0);
            }
        }
    }

    fn portion(&mut self, range: Range<u64>, rows: &[Row], scratch: &mut Scratch) {
        let (place, from) = (self.place, self.from);
        let row = |index: u64| usize::try_from(index - from).ok().and_then(|at| rows.get(at));
        // Entries without a payload, waiting for their turn; the last ones for the end.
        let mut next = range.start;
        let mut missing = Vec::new();
        let unread = place.payloads(range.clone(), |index, parts| {
            for index in next..index {
                missing.extend(row(index).and_then(|row| self.entry(index, row, None, scratch)));
            }
            missing.extend(row(index).and_then(|row| self.entry(index, row, Some(parts), scratch)));
            next = index + 1;
        });
        for index in next..range.end {
            missing.extend(row(index).and_then(|row| self.entry(index, row, None, scratch)));
        }
        for run in missing.chunk_by(|before, after| before.0 + 1 == after.0) {
            let [(first, size), ..] = run else { continue };
            let last = first + run.len() as u64 - 1;
            // A damaged block where theirs has to be is theirs, and was reported.
            if unread.iter().any(|block| block.end == last + 1) {
                continue;
            }
            let expected = if *first == last {
                format!("{size} bytes with their salt")
            } else {
                format!("the payloads of entries {first}..={last} with their salts")
            };
            place.finding("payload", last, expected, "nothing");
        }
    }

    /// An entry with what stands beside it. Gives its index and size where a payload is missing.
    fn entry(&mut self, index: u64, row: &Row, stored: Option<Parts<'_>>, scratch: &mut Scratch) -> Option<(u64, u64)> {
        let header = row.header.as_ref()?;
        let missing = committed(header).filter(|_| stored.is_none()).map(|(_, size)| (index, size));
        let stored = stored.filter(|stored| self.stored(index, header, stored));
        let mut step = Step::None;
        match header {
            Header::First(_) if index != 0 => {
                self.place.finding("entry", index, "no second first entry", "one of kind first");
            }
            Header::Event(event) => {
                step = Step::Road { epoch: event.road.epoch, sequence: event.road.sequence };
                self.event(index, row, event, stored, scratch);
            }
            Header::Rejection(rejection) => {
                step = Step::Road { epoch: rejection.road.epoch, sequence: rejection.road.sequence };
                self.marks(index, rejection.masked, stored);
            }
            Header::Gap(gap) => step = Step::Gap { from: gap.from, to: gap.to },
            Header::Epoch(epoch) => {
                step = Step::Epoch { epoch: epoch.epoch, stream_created_ms: epoch.stream_created_ms };
            }
            Header::Control(control) => {
                self.message(index, stored);
                step = Step::Control(Box::new(ControlFact {
                    leaf: row.leaf.unwrap_or(Hash([0; 32])),
                    counter: control.counter,
                    op: control.op,
                    road: control.road.map(|road| (road.epoch, road.sequence)),
                    message: stored.map(|stored| stored.payload.to_vec()),
                    opening: None,
                }));
            }
            _ => {}
        }
        if index == 0 && !matches!(header, Header::First(_)) {
            self.place.finding("entry", index, "kind first", format!("kind {}", header.kind()));
        }
        self.checked.facts.push(Fact { index, at: header.at(), step });
        missing
    }

    /// Whether a payload is the one that its entry commits to.
    fn stored(&mut self, index: u64, header: &Header, stored: &Parts<'_>) -> bool {
        let place = self.place;
        let Some((commit, size)) = committed(header) else {
            // Whether one of an unknown kind has a payload is not known here.
            if !matches!(header, Header::Unknown { .. }) {
                place.finding("payload", index, format!("none beside an entry of kind {}", header.kind()), "one");
            }
            return false;
        };
        let found_size = stored.payload.len() as u64;
        self.checked.payload_bytes += found_size;
        let found = commitment(&stored.salt, stored.payload);
        if found != commit {
            let what = "salt and payload with the commitment";
            place.finding("payload", index, format!("{what} {commit}"), found.to_string());
        } else if found_size != size {
            place.finding("entry", index, format!("size {found_size}, as its payload"), size.to_string());
        }
        let linked = stored.previous.is_some() && !matches!(header, Header::Event(_));
        let known = stored.fingerprint != Fingerprint::default() && matches!(header, Header::Rejection(_));
        if linked || known {
            place.finding("payload", index, "no fingerprint and no link beside what is no event", "one");
        }
        true
    }

    /// A control message that came by the road is recognised when it comes again.
    fn message(&mut self, index: u64, stored: Option<Parts<'_>>) {
        let Some(stored) = stored.filter(|stored| stored.fingerprint != Fingerprint::default()) else { return };
        let number = tally::dedupe(&stored.fingerprint, index);
        self.checked.tally.dedupe = self.checked.tally.dedupe.wrapping_add(number);
    }

    fn event(&mut self, index: u64, row: &Row, event: &EventHeader, stored: Option<Parts<'_>>, scratch: &mut Scratch) {
        if self.log.tenant.is_none() {
            self.place.finding("entry", index, "no event in a log without a tenant", "one");
        }
        self.marks(index, event.masked, stored);
        let (Some(stored), Some(leaf)) = (stored, row.leaf) else { return };
        self.chain(index, &leaf, event, &stored);
        let number = tally::dedupe(&stored.fingerprint, index);
        self.checked.tally.dedupe = self.checked.tally.dedupe.wrapping_add(number);
        if self.log.deep {
            self.admitted(index, event, &stored, scratch);
        }
    }

    fn marks(&self, index: u64, masked: u32, stored: Option<Parts<'_>>) {
        let Some(stored) = stored else { return };
        let found = redact::count_marks(stored.payload);
        if found != masked {
            self.place.finding("entry", index, format!("{found} masked places, as its payload"), masked.to_string());
        }
    }

    /// Adds the event where its successor or its chain row will look for it, and what it says of its predecessor.
    fn chain(&mut self, index: u64, leaf: &Hash, event: &EventHeader, stored: &Parts<'_>) {
        let change = event.change.as_str();
        let tally = &mut self.checked.tally;
        if self.log.is_chain_head(index) {
            let key = self.log.dedupe.as_ref().map(|key| key.change_key(&event.change));
            tally.heads = tally.heads.wrapping_add(tally::head(key.as_ref(), event.seq, leaf, index));
        } else {
            tally.links = tally.links.wrapping_add(tally::link(change, event.seq, leaf, index));
        }
        match (event.seq.checked_sub(1), &event.prev, stored.previous) {
            (None, None, None) => {}
            (Some(seq), Some(prev), Some(previous)) => {
                tally.links = tally.links.wrapping_sub(tally::link(change, seq, prev, previous));
            }
            (_, _, previous) => {
                let found = previous.map_or("none".to_owned(), |previous| format!("entry {previous}"));
                let expected = format!("the previous event of position {} of its change", event.seq);
                self.place.finding("payload", index, expected, found);
            }
        }
    }

    /// What admission says of the stored bytes, by the rules that the header names.
    fn admitted(&self, index: u64, event: &EventHeader, stored: &Parts<'_>, scratch: &mut Scratch) {
        let (place, Some(tenant)) = (self.place, self.log.tenant) else { return };
        let Some(_) = rules::by_name(&event.rules.0) else {
            let called = place.called();
            place
                .findings
                .unchecked(format!("{called}: entries admitted by rules {}, which this upm lacks", event.rules));
            return;
        };
        let subject = Subject { tenant: tenant.clone(), phase: event.phase, producer: event.producer.clone() };
        let expected = "what admission stores";
        match admit::derive(stored.payload, scratch) {
            Err(rejection) => place.finding("payload", index, expected, rejection.to_string()),
            Ok((found, _, masked, facts)) => {
                if found != *tenant {
                    place.finding("payload", index, format!("an event of tenant {tenant}"), format!("one of {found}"));
                }
                if let Some(member) = event.differs_from(masked, &facts) {
                    place.finding("entry", index, format!("member `{member}` as its payload says"), "another value");
                }
            }
        }
        if event.rules.0 == rules::current().name {
            match admit::admit(&subject, stored.payload, scratch) {
                Ok(admitted) if *admitted.payload != *stored.payload => {
                    place.finding("payload", index, expected, "something in it that has to be masked");
                }
                _ => {}
            }
        }
        let Some(key) = self.log.dedupe.as_ref().filter(|_| event.masked == 0) else { return };
        if key.fingerprint(&subject.to_string(), stored.payload) != stored.fingerprint {
            place.finding("payload", index, "the fingerprint of its subject and bytes", "another");
        }
    }

    /// Details of rejections and openings of listings: one each, and no others.
    fn details(&mut self, rows: &[Row]) {
        let place = self.place;
        let details = place.numbered("details", Key::Details, self.from..self.to);
        for ((index, row), details) in (self.from..).zip(rows).zip(details) {
            let rejected = matches!(row.header, Some(Header::Rejection(_)));
            match details {
                Some(details) if rejected || row.header.is_none() => {
                    if let Err(error) = Details::decode(&Key::Details(place.log, index), &details) {
                        place.finding("details", index, "the details of a rejection", error.to_string());
                    }
                }
                Some(_) => place.finding("details", index, "none beside what is no rejection", "some"),
                None if rejected => place.finding("details", index, "the details of a rejection", "nothing"),
                None => {}
            }
        }
        if self.log.tenant.is_none() {
            self.openings();
        }
    }

    fn openings(&mut self) {
        let openings = self.place.numbered("opening", Key::Opening, self.from..self.to);
        let mut openings: std::collections::BTreeMap<u64, Vec<u8>> =
            (self.from..).zip(openings).filter_map(|(index, row)| Some((index, row?))).collect();
        for fact in &mut self.checked.facts {
            if let Step::Control(control) = &mut fact.step {
                control.opening = openings.remove(&fact.index);
            }
        }
        for index in openings.into_keys() {
            self.place.finding("opening", index, "none beside what lists no tenant", "one");
        }
    }

    /// Leaves, lowest tiles, and the trees that were signed in this stretch.
    fn tree(&mut self, leaves: &[Hash]) {
        let place = self.place;
        let notes = place.numbered("checkpoint", Key::Checkpoint, self.from + 1..self.to + 1);
        let mut tiles = Vec::with_capacity(leaves.len() / TILE_WIDTH);
        let mut signed = Vec::new();
        let mut stack = Stack::default();
        for ((size, leaf), note) in (self.from + 1..).zip(leaves).zip(notes) {
            stack.push(0, *leaf, |height, hash| {
                if height == 8 {
                    tiles.push(hash);
                }
            });
            let Some(note) = note else { continue };
            if let Some((previous, checkpoint)) = self.note(size, &note) {
                signed.push(Signed { size, previous, root: checkpoint.root, within: stack.clone() });
            }
        }
        self.checked.signed = signed;
        self.checked.tiles = tiles;
        self.checked.stack = stack;
    }

    /// A stored checkpoint: of this log and size, signed by the log's key and by nobody else.
    fn note(&self, size: u64, row: &[u8]) -> Option<(u64, Checkpoint)> {
        let expected = || format!("a checkpoint of size {size} signed by the log's key");
        let refused = |found: String| self.place.finding("checkpoint", size, expected(), found);
        let read = SignedAt::decode(row).map_err(|error| error.to_string()).and_then(|signed| {
            let note = SignedNote::parse(&signed.note).map_err(|error| error.to_string())?;
            let checkpoint = Checkpoint::parse_text(note.text()).map_err(|error| error.to_string())?;
            Ok((signed, note, checkpoint))
        });
        let (SignedAt { previous, .. }, note, checkpoint) = read.map_err(refused).ok()?;
        let Checkpoint { origin, size: found, .. } = &checkpoint;
        if (origin, *found) != (&self.log.head.origin, size) {
            refused(format!("one of {origin} with size {found}"));
        }
        if let Some(Err(found)) = self.log.signers.as_ref().map(|signers| signers.signed(size, &note)) {
            refused(found);
        }
        Some((previous, checkpoint))
    }

    /// The leaf hashes that the tree is built of: those of the entries, and where entry and tile differ, of whichever the tile
    /// above agrees with, so that one damaged row is one finding.
    fn leaves(&self, rows: &[Row]) -> Vec<Hash> {
        let tile_width = TILE_WIDTH as u64;
        let full = self.from / tile_width..self.to / tile_width;
        let kind = |log, index| Key::Tile(log, TileId { level: 0, index });
        let stored = self.place.numbered("tile", kind, full.clone());
        let mut leaves = Vec::with_capacity(rows.len());
        for (rows, index) in rows.chunks(TILE_WIDTH).zip(full.start..) {
            let found: Vec<Option<Hash>> = rows.iter().map(|row| row.leaf).collect();
            let row = usize::try_from(index - full.start).ok().and_then(|place| stored.get(place));
            match row {
                Some(row) => leaves.extend(self.full_tile(index, &found, row.as_deref())),
                None => leaves.extend(self.edge_tile(index, &found)),
            }
        }
        leaves
    }

    fn full_tile(&self, index: u64, entries: &[Option<Hash>], row: Option<&[u8]>) -> Vec<Hash> {
        let id = TileId { level: 0, index };
        let path = id.path(256);
        let of_entries = || entries.iter().map(|leaf| leaf.unwrap_or(Hash([0; 32]))).collect::<Vec<_>>();
        let stored =
            row.ok_or("nothing".to_owned()).and_then(|row| decode_tile(row).map_err(|error| error.to_string()));
        let stored = match stored {
            Ok(stored) => stored,
            Err(found) => {
                self.place.finding("tile", path, "256 hashes", found);
                return of_entries();
            }
        };
        if entries.iter().zip(&stored).all(|(entry, stored)| *entry == Some(*stored)) {
            return stored;
        }
        let above = self.above(index);
        if above.is_some_and(|above| above == root_of(&of_entries())) {
            self.place.finding("tile", path, "the leaf hashes of its entries", "others");
            return of_entries();
        }
        if above.is_some_and(|above| above != root_of(&stored)) {
            self.place.finding(
                "tile",
                path,
                "the hash that the tile above has of it",
                "another, and its entries differ too",
            );
        }
        self.differing(index, entries, &stored);
        stored
    }

    /// The unfinished tile is in the head, which has a check value of its own.
    fn edge_tile(&self, index: u64, entries: &[Option<Hash>]) -> Vec<Hash> {
        let stored = self.log.head.edge.level(0);
        self.differing(index, entries, stored);
        stored.to_vec()
    }

    fn differing(&self, tile: u64, entries: &[Option<Hash>], stored: &[Hash]) {
        for ((index, entry), stored) in (tile * TILE_WIDTH as u64..).zip(entries).zip(stored) {
            if let Some(entry) = entry.filter(|entry| entry != stored) {
                self.place.finding("entry", index, format!("the leaf hash {stored}"), entry.to_string());
            }
        }
    }

    /// What the tile above says of a full tile of the lowest level.
    fn above(&self, index: u64) -> Option<Hash> {
        let width = TILE_WIDTH as u64;
        let (id, place) = (TileId { level: 1, index: index / width }, usize::try_from(index % width).ok()?);
        if id == self.log.head.edge.tile_id(1) {
            return self.log.head.edge.level(1).get(place).copied();
        }
        let row = self.place.kv.get(Space::Tree, &Key::Tile(self.place.log, id).bytes()).ok()??;
        decode_tile(&row).ok()?.get(place).copied()
    }
}

/// Commitment and size that an entry states of its payload.
fn committed(header: &Header) -> Option<(Hash, u64)> {
    match header {
        Header::Event(event) => Some((event.commit, event.size)),
        Header::Rejection(rejection) => Some((rejection.commit, rejection.size)),
        Header::Control(control) => Some((control.commit, control.size)),
        _ => None,
    }
}

/// What a listing's row opens to: salt and bytes.
pub(super) fn opening(row: &[u8]) -> Option<(Salt, &[u8])> {
    row.split_first_chunk().map(|(salt, bytes)| (Salt(*salt), bytes))
}

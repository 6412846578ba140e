//! The decision of a round for one log: pure, from head, items and what the store knows.

use std::collections::HashMap;

use thiserror::Error;

use super::grow::{Beside, Growth};
use super::look_up::KnownItem;
use super::{Cursor, Disposition, Head, Item, Known, NewRow, PendingEvent, PendingRejection, Turn};
use crate::dedupe::Fingerprint;
use crate::entry::{EntryError, Epoch, EventHeader, Gap, Header, RejectionHeader, Road, commitment};
use crate::hash::Hash;
use crate::kv::{Batch, Space};
use crate::layout::{ChainHead, Details, Key, LogId};
use crate::signing::Signer;
use crate::tree::TileId;

/// A turn that contradicts its head: a defect of the caller, nothing that a message can cause.
#[derive(Debug, Error)]
pub enum ExtendError {
    /// The turn is another log's.
    #[error("the turn is for {found}, the head for {expected}")]
    OtherLog {
        /// Log of the turn.
        found: LogId,
        /// Log of the head.
        expected: LogId,
    },
    /// What is known was looked up for other items.
    #[error("{found} items looked up, {expected} to append")]
    OtherItems {
        /// Items that were looked up.
        found: usize,
        /// Items of the turn.
        expected: usize,
    },
    /// A message out of the road's order: it would be appended twice or others be skipped.
    #[error("road sequence {found} does not follow {after}")]
    RoadOrder {
        /// Sequence of the item, or of the turn's cursor.
        found: u64,
        /// The one before.
        after: u64,
    },
    /// A header that no entry can hold.
    #[error("an item has no entry")]
    Entry(#[from] EntryError),
}

/// A decided turn: entries, rows and next head, not yet signed.
pub struct Extension {
    growth: Growth,
    dispositions: Vec<(u64, Disposition)>,
}

/// A signed turn, ready to be committed.
pub struct Sealed {
    pub(super) base_size: u64,
    pub(super) head: Head,
    pub(super) checkpoint: String,
    pub(super) batch: Batch,
    pub(super) rows: Vec<NewRow>,
    pub(super) tiles: HashMap<TileId, Vec<Hash>>,
    pub(super) dispositions: Vec<(u64, Disposition)>,
}

/// Decides what a turn appends. The same inputs give the same bytes.
pub fn extend(head: &Head, turn: Turn, known: &Known) -> Result<Extension, ExtendError> {
    if turn.log != head.log {
        return Err(ExtendError::OtherLog { found: turn.log, expected: head.log });
    }
    if turn.items.len() != known.items.len() {
        return Err(ExtendError::OtherItems { found: known.items.len(), expected: turn.items.len() });
    }
    let mut step = Step::new(head, &turn);
    for (item, known) in turn.items.into_iter().zip(&known.items) {
        match item {
            Item::Event(event) => step.event(event, known)?,
            Item::Rejection(rejection) => step.rejection(rejection)?,
            Item::Gap { from, to, at_ms } => step.gap(from, to, at_ms)?,
            Item::Epoch { stream_created_ns, at_ms } => step.epoch(stream_created_ns, at_ms)?,
        }
    }
    step.finish(turn.cursor, turn.answered)
}

impl Extension {
    /// The head after this turn.
    pub fn head(&self) -> &Head {
        &self.growth.head
    }

    /// What becomes of each message, by road sequence, once committed.
    pub fn dispositions(&self) -> &[(u64, Disposition)] {
        &self.dispositions
    }

    /// The first message that was accepted before, by road sequence, and the entry that it repeats.
    pub(crate) fn repeats(&self) -> Option<(u64, u64)> {
        self.dispositions.iter().find_map(|(sequence, disposition)| match disposition {
            Disposition::Duplicate { index } => Some((*sequence, *index)),
            _ => None,
        })
    }

    /// Entries and rows, to be written under a checkpoint that is signed already.
    pub(crate) fn into_growth(self) -> Growth {
        self.growth
    }

    /// Signs the new tree head.
    ///
    /// # Panics
    /// If the signer has another log's name: an entry signed so could never be verified.
    pub fn seal(mut self, signer: &Signer) -> Sealed {
        assert_eq!(signer.name(), &self.growth.head.origin, "a log is signed by its own key");
        let (batch, checkpoint) = self.growth.sign(signer);
        Sealed {
            base_size: self.growth.base_size,
            head: self.growth.head,
            checkpoint,
            batch,
            rows: self.growth.rows,
            tiles: self.growth.tiles.into_iter().collect(),
            dispositions: self.dispositions,
        }
    }
}

/// The state while a turn's items are decided one after the other.
struct Step {
    growth: Growth,
    dispositions: Vec<(u64, Disposition)>,
    /// Accepted in this turn; the store does not know them yet.
    accepted: HashMap<Fingerprint, u64>,
    /// Chains that this turn moved.
    chains: HashMap<[u8; 16], ChainHead>,
    /// Last road sequence that was read.
    road: u64,
}

impl Step {
    fn new(head: &Head, turn: &Turn) -> Self {
        let payload_bytes = turn.items.iter().map(Item::payload_len).sum();
        Self {
            growth: Growth::new(head.clone(), turn.items.len(), payload_bytes),
            dispositions: Vec::with_capacity(turn.items.len()),
            accepted: HashMap::with_capacity(turn.items.len()),
            chains: HashMap::with_capacity(turn.items.len()),
            road: head.cursor.sequence,
        }
    }

    fn event(&mut self, event: PendingEvent, known: &KnownItem) -> Result<(), ExtendError> {
        let road = self.advance(event.road_sequence, event.road_sequence)?;
        let earlier = self.accepted.get(&event.fingerprint).copied().or(known.duplicate);
        if let Some(index) = earlier {
            self.dispositions.push((event.road_sequence, Disposition::Duplicate { index }));
            return Ok(());
        }
        let index = self.growth.head.size;
        let last = self.chains.get(&event.change_key).copied().or(known.chain);
        let seq = last.map_or(0, |last| last.seq + 1);
        let beside = Beside {
            salt: event.salt,
            fingerprint: event.fingerprint,
            previous: last.map(|last| last.index),
            payload: event.payload,
        };
        let facts = event.facts;
        let header = Header::Event(EventHeader {
            change: facts.change,
            seq,
            prev: last.map(|last| last.leaf),
            id: facts.id,
            phase: facts.phase,
            env: facts.environment,
            class: facts.class,
            probe: facts.probe,
            producer: event.producer,
            has: facts.has,
            outcome: facts.outcome,
            ts: facts.ts,
            at: self.at(event.at_ms),
            road,
            commit: commitment(&beside.salt, &beside.payload),
            size: beside.payload.len() as u64,
            masked: event.masked,
            rules: event.rules,
        });
        let leaf = self.growth.push(header, Some(beside))?;
        self.chains.insert(event.change_key, ChainHead { seq, index, leaf });
        self.accepted.insert(event.fingerprint, index);
        self.dispositions.push((event.road_sequence, Disposition::Accepted { index }));
        Ok(())
    }

    fn rejection(&mut self, rejection: PendingRejection) -> Result<(), ExtendError> {
        let road = self.advance(rejection.road_sequence, rejection.road_sequence)?;
        let index = self.growth.head.size;
        let beside = Beside {
            salt: rejection.salt,
            fingerprint: Fingerprint::default(),
            previous: None,
            payload: rejection.payload,
        };
        let header = Header::Rejection(RejectionHeader {
            at: self.at(rejection.at_ms),
            road,
            reason: rejection.reason,
            commit: commitment(&beside.salt, &beside.payload),
            size: beside.payload.len() as u64,
            masked: rejection.masked,
            rules: rejection.rules,
        });
        self.growth.push(header, Some(beside))?;
        let details = Details {
            subject: rejection.subject,
            path: rejection.path,
            found: rejection.found,
            expected: rejection.expected,
        };
        let key = Key::Details(self.growth.head.log, index);
        self.growth.others.put(Space::Tree, &key.bytes(), &[&details.encode(&key)]);
        self.dispositions.push((rejection.road_sequence, Disposition::Rejected { index }));
        Ok(())
    }

    fn gap(&mut self, from: u64, to: u64, at_ms: u64) -> Result<(), ExtendError> {
        self.advance(from, to)?;
        let index = self.growth.head.size;
        let at = self.at(at_ms);
        self.growth.push(Header::Gap(Gap { at, from, to }), None)?;
        self.dispositions.push((to, Disposition::Noted { index }));
        Ok(())
    }

    fn epoch(&mut self, stream_created_ns: u64, at_ms: u64) -> Result<(), ExtendError> {
        let index = self.growth.head.size;
        self.growth.head.epoch += 1;
        self.road = 0;
        let header = Epoch {
            at: self.at(at_ms),
            epoch: self.growth.head.epoch,
            stream_created_ms: stream_created_ns / 1_000_000,
        };
        self.growth.push(Header::Epoch(header), None)?;
        self.dispositions.push((0, Disposition::Noted { index }));
        Ok(())
    }

    fn finish(mut self, cursor: Cursor, answered: u64) -> Result<Extension, ExtendError> {
        if cursor.sequence < self.road {
            return Err(ExtendError::RoadOrder { found: cursor.sequence, after: self.road });
        }
        let log = self.growth.head.log;
        // Sorted as numbers here, so that the batch as a whole is sorted already: random keys are what a store inserts slowest.
        for (fingerprint, index) in sorted(&self.accepted, |fingerprint| fingerprint.0) {
            let key = Key::Dedupe(log, Fingerprint(fingerprint)).bytes();
            self.growth.others.put(Space::Index, &key, &[&index.to_be_bytes()]);
        }
        for (change, chain) in sorted(&self.chains, |change| *change) {
            self.growth.others.put(Space::Index, &Key::Chain(log, change).bytes(), &[&chain.encode()]);
        }
        self.growth.head.cursor = cursor;
        self.growth.head.answered = answered;
        Ok(Extension { growth: self.growth, dispositions: self.dispositions })
    }

    /// The road moves on to `last`; messages between are control's or not of our subjects, never ones read before.
    fn advance(&mut self, first: u64, last: u64) -> Result<Road, ExtendError> {
        if first <= self.road || last < first {
            return Err(ExtendError::RoadOrder { found: first, after: self.road });
        }
        self.road = last;
        Ok(Road { epoch: self.growth.head.epoch, sequence: first })
    }

    /// Time in a log never goes back.
    fn at(&self, at_ms: u64) -> u64 {
        at_ms.max(self.growth.head.at_ms)
    }
}

/// The rows of a map by ascending key.
fn sorted<K, V: Copy>(map: &HashMap<K, V>, bytes: impl Fn(&K) -> [u8; 16]) -> Vec<([u8; 16], V)> {
    let mut rows: Vec<_> = map.iter().map(|(key, value)| (u128::from_be_bytes(bytes(key)), *value)).collect();
    rows.sort_unstable_by_key(|row| row.0);
    rows.into_iter().map(|(key, value)| (key.to_be_bytes(), value)).collect()
}

impl Item {
    fn payload_len(&self) -> usize {
        match self {
            Self::Event(event) => event.payload.len(),
            Self::Rejection(rejection) => rejection.payload.len(),
            Self::Gap { .. } | Self::Epoch { .. } => 0,
        }
    }
}

//! The decision of a round for one log: pure, from head, items and what the store knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemas::reason::Reason;
use schemas::redact::{mask_lexically, mask_text};
use thiserror::Error;

use super::desk::Desk;
use super::grow::{Beside, Growth};
use super::look_up::KnownItem;
use super::{Cursor, Disposition, Head, Item, Known, NewRow, PendingControl, PendingEvent, PendingRejection, Turn};
use crate::control::ControlError;
use crate::dedupe::Fingerprint;
use crate::entry::{
    Cosigned, EntryError, Epoch, EventHeader, Gap, Header, Heartbeat, RejectionHeader, Road, commitment,
};
use crate::governance::{Act, Governance, Roots, key_change_size};
use crate::hash::Hash;
use crate::kv::{Batch, Space};
use crate::layout::{ChainHead, Details, Key, LogId};
use crate::signing::Signer;
use crate::tree::TileId;

/// Longest text of what was found, beside a rejection and in its answer. Longer than for events: it is our own sentence.
const FOUND_CHARS: usize = 160;
/// What is expected of a control message.
const EXPECTED: &str = "an act signed by those who may, the next in order, with its listing in _ledger";

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
    /// What holds in the log was not looked up, and a control message needs it.
    #[error("a control message, and nothing looked up of what holds in the log")]
    NoGovernance,
    /// An act of whoever holds the store, which came by no road and is refused: there is nobody to reject.
    #[error("the act is refused: {0}")]
    Refused(#[source] ControlError),
    /// A header that no entry can hold.
    #[error("an item has no entry")]
    Entry(#[from] EntryError),
}

/// A decided turn: entries, rows and next head, not yet signed.
pub struct Extension {
    growth: Growth,
    dispositions: Vec<(u64, Disposition)>,
    refused: Vec<Refused>,
    governance: Option<Arc<Governance>>,
}

/// A control message that was refused, for telling whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its sequence on the road.
    pub road_sequence: u64,
    /// Why.
    pub reason: Reason,
    /// What stands beside the rejection.
    pub details: Details,
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

/// Decides what a turn appends, of a log whose acts were listed elsewhere: of a copy. The same inputs give the same bytes.
pub fn extend(head: &Head, turn: Turn, known: &Known) -> Result<Extension, ExtendError> {
    decide(head, turn, known, None)
}

/// Decides what a turn appends, and lists every accepted act at `desk`: for the signer of a ledger.
pub fn extend_listing(head: &Head, turn: Turn, known: &Known, desk: &mut Desk) -> Result<Extension, ExtendError> {
    decide(head, turn, known, Some(desk))
}

fn decide(head: &Head, turn: Turn, known: &Known, mut desk: Option<&mut Desk>) -> Result<Extension, ExtendError> {
    if turn.log != head.log {
        return Err(ExtendError::OtherLog { found: turn.log, expected: head.log });
    }
    if turn.items.len() != known.items.len() {
        return Err(ExtendError::OtherItems { found: known.items.len(), expected: turn.items.len() });
    }
    let mut step = Step::new(head, &turn, known.governance.clone());
    for (item, known) in turn.items.into_iter().zip(&known.items) {
        step.note_root();
        match item {
            Item::Event(event) => step.event(event, known)?,
            Item::Rejection(rejection) => step.rejection(rejection)?,
            Item::Control(control) => step.control(control, known, desk.as_deref_mut())?,
            Item::Heartbeat { at_ms, cosigned } => step.heartbeat(at_ms, cosigned)?,
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

    pub(super) fn of(growth: Growth, dispositions: Vec<(u64, Disposition)>, governance: Arc<Governance>) -> Self {
        Self { growth, dispositions, refused: Vec::new(), governance: Some(governance) }
    }

    /// Control messages of this turn that are refused.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// What holds in the log after this turn; none for a turn without control messages, which changes nothing of it.
    pub fn governance(&self) -> Option<&Arc<Governance>> {
        self.governance.as_ref()
    }

    /// Signs the new tree head with the only key that signs it.
    ///
    /// # Panics
    /// If the signer has another log's name: an entry signed so could never be verified.
    pub fn seal(self, signer: &Signer) -> Sealed {
        self.seal_by(&[signer])
    }

    /// Signs the new tree head with every key that signs it: [`crate::governance::LogKeys::signing`] names them.
    ///
    /// # Panics
    /// If nobody signs, or somebody with another log's name.
    pub fn seal_by(mut self, signers: &[&Signer]) -> Sealed {
        let own = |signer: &&Signer| signer.name() == &self.growth.head.origin;
        assert!(!signers.is_empty() && signers.iter().all(own), "a log is signed by its own keys");
        let (batch, checkpoint) = self.growth.sign(signers);
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
    refused: Vec<Refused>,
    governance: Option<Arc<Governance>>,
    /// Roots of the sizes that this turn's changes of key name and the store has not reached yet: a copy brings an act together
    /// with the entries before it.
    named_roots: BTreeMap<u64, Option<Hash>>,
}

impl Step {
    fn new(head: &Head, turn: &Turn, governance: Option<Arc<Governance>>) -> Self {
        let payload_bytes = turn.items.iter().map(Item::payload_len).sum();
        let named = turn.items.iter().filter_map(|item| match item {
            Item::Control(control) => key_change_size(&control.message),
            _ => None,
        });
        let named_roots = named.map(|size| (size, None)).collect();
        Self {
            growth: Growth::new(head.clone(), turn.items.len(), payload_bytes),
            dispositions: Vec::with_capacity(turn.items.len()),
            accepted: HashMap::with_capacity(turn.items.len()),
            chains: HashMap::with_capacity(turn.items.len()),
            road: head.cursor.sequence,
            refused: Vec::new(),
            governance,
            named_roots,
        }
    }

    /// Keeps the root of the size that is reached, where an act names it.
    fn note_root(&mut self) {
        if let Some(root) = self.named_roots.get_mut(&self.growth.head.size) {
            *root = Some(self.growth.head.edge.root());
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
            commit: event.commit,
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
            payload: rejection.payload.into(),
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

    /// Accepts an act, or rejects it: whatever it did or failed to do stands in the log. Its listing is accepted with it.
    fn control(
        &mut self,
        pending: PendingControl,
        known: &KnownItem,
        desk: Option<&mut Desk>,
    ) -> Result<(), ExtendError> {
        let earlier = self.accepted.get(&pending.fingerprint).copied().or(known.duplicate);
        let Some(sequence) = pending.road_sequence else {
            return match self.act(pending, known, desk, None)? {
                Ok(_) => Ok(()),
                Err(error) => Err(ExtendError::Refused(error)),
            };
        };
        if let Some(index) = earlier {
            self.advance(sequence, sequence)?;
            self.dispositions.push((sequence, Disposition::Duplicate { index }));
            return Ok(());
        }
        let road = Road { epoch: self.growth.head.epoch, sequence };
        let (rules, at_ms, subject, salt) = (pending.rules, pending.at_ms, pending.subject.clone(), pending.salt);
        let fingerprint = pending.fingerprint;
        let (payload, masked) = mask_lexically(&pending.message);
        match self.act(pending, known, desk, Some(road))? {
            Ok(index) => {
                self.advance(sequence, sequence)?;
                self.accepted.insert(fingerprint, index);
                self.dispositions.push((sequence, Disposition::Accepted { index }));
                Ok(())
            }
            Err(error) => {
                let (reason, found) = (error.reason(), mask_text(&error.to_string()).0);
                let found = found.chars().take(FOUND_CHARS).collect();
                let details =
                    Details { subject: subject.clone(), path: String::new(), found, expected: EXPECTED.to_owned() };
                let (path, found, expected) = (String::new(), details.found.clone(), details.expected.clone());
                self.refused.push(Refused { road_sequence: sequence, reason, details });
                self.rejection(PendingRejection {
                    road_sequence: sequence,
                    at_ms,
                    salt,
                    subject,
                    reason,
                    path,
                    found,
                    expected,
                    payload,
                    masked,
                    rules,
                })
            }
        }
    }

    /// The index of an act's entry, or why there is none.
    fn act(
        &mut self,
        pending: PendingControl,
        known: &KnownItem,
        desk: Option<&mut Desk>,
        road: Option<Road>,
    ) -> Result<Result<u64, ControlError>, ExtendError> {
        let governance = self.governance.as_mut().ok_or(ExtendError::NoGovernance)?;
        let named = &self.named_roots;
        let stored = |size| known.root.filter(|(known, _)| *known == size).map(|(_, root)| root);
        let root_of = |size| stored(size).or_else(|| named.get(&size).copied().flatten());
        let decided = governance.decide(&pending.message, self.growth.head.size, Roots::Of(&root_of));
        let mut decision = match decided {
            Ok(decision) => decision,
            Err(error) => return Ok(Err(error)),
        };
        if matches!(decision.act, Act::Key(_)) && !pending.new_key_here {
            let why = "the signer does not hold the secret of the new log key".to_owned();
            return Ok(Err(ControlError::Conflict(why)));
        }
        if let (Some(desk), Some(listing)) = (desk, decision.listing.take()) {
            match desk.check(&listing) {
                Ok(listed) => desk.list(&listed, listing, pending.listing_salt, pending.at_ms)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        let PendingControl { salt, fingerprint, message, at_ms, .. } = pending;
        let beside = Beside { salt, fingerprint, previous: None, payload: message.into() };
        Ok(Ok(self.growth.control(Arc::make_mut(governance), &decision, road, at_ms, beside)?))
    }

    fn heartbeat(&mut self, at_ms: u64, cosigned: Option<Cosigned>) -> Result<(), ExtendError> {
        let header = Heartbeat { at: self.at(at_ms), cosigned };
        self.growth.push(Header::Heartbeat(header), None)?;
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
        let Self { growth, dispositions, refused, governance, .. } = self;
        Ok(Extension { growth, dispositions, refused, governance })
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
    /// Bytes of its payload.
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Event(event) => event.payload.len(),
            Self::Rejection(rejection) => rejection.payload.len(),
            Self::Control(control) => control.message.len(),
            Self::Gap { .. } | Self::Epoch { .. } | Self::Heartbeat { .. } => 0,
        }
    }
}

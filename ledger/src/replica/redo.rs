//! The checks: checkpoints over the copied entries, payloads admitted again, entries made again and compared byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::admit::{self, Scratch};
use schemas::ids::{Subject, Tenant};
use schemas::{redact, rules};
use serde_json::{Map, Value};

use super::{Checked, Chunk, Copied, CopiedRow, Difference, Position, ReplicaError, reason_of};
use crate::append::{
    Beside, Cursor, ExtendError, Growth, Head, Item, NewRow, PendingControl, PendingEvent, PendingRejection, Turn,
    extend, look_up_governed,
};
use crate::birth::Opening;
use crate::checkpoint::{Checkpoint, Origin};
use crate::dedupe::{DedupeKey, Fingerprint};
use crate::entry::{ControlHeader, EventHeader, First, Header, Heartbeat, RejectionHeader, commitment};
use crate::governance::{Act, Governance, Listing, LogKeys, Roots};
use crate::hash::{Hash, empty_root, leaf};
use crate::kv::{Kv, Space};
use crate::layout::{Key, LogId, SignedAt};
use crate::note::VerifierKey;
use crate::tree::{Edge, TileId};

/// What a log's chunk is checked with.
pub(super) struct Redo<'a, K> {
    pub(super) kv: &'a K,
    pub(super) first: &'a First,
    /// What holds in the log as far as it was copied.
    pub(super) governance: &'a Governance,
    /// Whose log; none for `_ledger`.
    pub(super) tenant: Option<&'a Tenant>,
    /// The tenant's dedupe key, where it is at hand.
    pub(super) dedupe: Option<&'a DedupeKey>,
    pub(super) scratch: &'a mut Scratch,
}

/// A chunk that was checked by itself.
pub(super) struct Redone {
    /// Its rows.
    pub(super) checked: Checked,
    /// What holds in the log behind it.
    pub(super) governance: Governance,
    /// What it lists, in `_ledger`.
    pub(super) listings: Listings,
    /// The listings in `_ledger` that its acts name, by their indices.
    pub(super) acts: Vec<(u64, Listing)>,
}

impl Redone {
    /// Number of its entries.
    pub(super) fn entries(&self) -> u64 {
        self.checked.head.size - self.checked.base.unwrap_or(0)
    }
}

/// Control entries of `_ledger`, and what those among them open to that list something, where that is still kept.
#[derive(Default)]
pub(super) struct Listings {
    /// Logs that were born.
    pub(super) births: Vec<Opening>,
    /// Acts: what their listings open to.
    pub(super) acts: Vec<Vec<u8>>,
    /// Envelopes of all control entries, by their counters.
    pub(super) controls: BTreeMap<u64, Vec<u8>>,
}

impl<K: Kv> Redo<'_, K> {
    /// Checks a chunk that begins where `head` ends.
    pub(super) fn chunk(&mut self, head: &Head, chunk: &Chunk) -> Result<Redone, ReplicaError> {
        let origin = &head.origin;
        let (governance, acts) = self.acts(chunk);
        let note = check_checkpoints(head, chunk, governance.log_keys()).map_err(differs(origin))?;
        let (mut growth, listings) = if head.log == LogId::LEDGER {
            self.own_log(head, chunk)?
        } else {
            (self.tenant_log(head, chunk)?, Listings::default())
        };
        compare(origin, chunk, &growth.rows)?;
        Ok(Redone { checked: finish(&mut growth, chunk, &note), governance, listings, acts })
    }

    /// What holds with the acts that the chunk brings (it ends under a checkpoint that their keys sign already), and the listings
    /// that they name, by index.
    fn acts(&self, chunk: &Chunk) -> (Governance, Vec<(u64, Listing)>) {
        let mut governance = self.governance.clone();
        let mut acts = Vec::new();
        for (index, row) in (chunk.from..).zip(&chunk.rows) {
            let Some(beside) = row.beside.as_ref().filter(|_| is_control(&row.entry)) else { continue };
            // What is wrong with an entry is said where it is made again; here it changes no key.
            let Ok(decided) = governance.decide(&beside.payload, index, Roots::Compared) else { break };
            governance.apply(&decided.act, index, leaf(&row.entry));
            acts.extend(decided.listing.map(|listing| (index, listing)));
        }
        (governance, acts)
    }

    /// The tenant's entries made again by the leader's own code.
    fn tenant_log(&mut self, head: &Head, chunk: &Chunk) -> Result<Growth, ReplicaError> {
        let mut items = Vec::with_capacity(chunk.rows.len());
        let mut headers = Vec::with_capacity(chunk.rows.len());
        for (index, row) in (chunk.from..).zip(&chunk.rows) {
            let header = decode(&head.origin, index, &row.entry)?;
            items.push(self.item(&head.origin, index, &header, row)?);
            headers.push(header);
        }
        let position = chunk.position.unwrap_or_else(|| derived_position(head, &headers, chunk));
        let turn = Turn { log: head.log, items, cursor: position.cursor, answered: position.answered };
        let turns = [turn];
        let known = look_up_governed(self.kv, &turns, |_| Ok(Arc::new(self.governance.clone())))?;
        let [turn] = turns;
        let (Some(known), from) = (known.first(), chunk.from) else {
            return Err(ReplicaError::Stale { log: head.log, found: None, expected: head.size });
        };
        let redone = extend(head, turn, known);
        let redone =
            redone.map_err(|source: ExtendError| differs(&head.origin)(Difference::Extend { index: from, source }))?;
        let repeats = redone.repeats();
        let growth = redone.into_growth();
        if let Some((road_sequence, earlier)) = repeats {
            let place = headers.iter().position(|header| road_sequence_of(header) == Some(road_sequence));
            let index = from + place.unwrap_or(0) as u64;
            return Err(differs(&head.origin)(Difference::Repeats { index, earlier }));
        }
        Ok(growth)
    }

    /// What the leader appended, from the header's place on the road and the payload itself.
    fn item(&mut self, origin: &Origin, index: u64, header: &Header, row: &CopiedRow) -> Result<Item, ReplicaError> {
        let beside = || row.beside.as_ref().ok_or(Difference::Beside { index, what: "its payload is missing" });
        match header {
            Header::Event(event) => {
                let beside = beside().map_err(differs(origin))?;
                Ok(Item::Event(self.event(origin, index, event, beside)?))
            }
            Header::Rejection(header) => {
                let beside = beside().map_err(differs(origin))?;
                let missing = Difference::Beside { index, what: "the details of the rejection are missing" };
                let details = row.details.clone().ok_or(missing).map_err(differs(origin))?;
                let RejectionHeader { at, road, reason, rules, .. } = header;
                Ok(Item::Rejection(PendingRejection {
                    road_sequence: road.sequence,
                    at_ms: *at,
                    salt: beside.salt,
                    subject: details.subject,
                    reason: *reason,
                    path: details.path,
                    found: details.found,
                    expected: details.expected,
                    masked: redact::count_marks(&beside.payload),
                    payload: beside.payload.clone(),
                    rules: *rules,
                }))
            }
            Header::Control(header) => {
                let beside = beside().map_err(differs(origin))?;
                Ok(Item::Control(PendingControl {
                    road_sequence: header.road.map(|road| road.sequence),
                    at_ms: header.at,
                    fingerprint: beside.fingerprint,
                    salt: beside.salt,
                    // Its listing is an entry of `_ledger`, copied there.
                    listing_salt: beside.salt,
                    subject: String::new(),
                    message: beside.payload.clone(),
                    new_key_here: true,
                    rules: self.first.rules,
                }))
            }
            Header::Heartbeat(beat) => Ok(Item::Heartbeat { at_ms: beat.at, cosigned: beat.cosigned.clone() }),
            Header::Gap(gap) => Ok(Item::Gap { from: gap.from, to: gap.to, at_ms: gap.at }),
            Header::Epoch(epoch) => Ok(Item::Epoch {
                stream_created_ns: epoch.stream_created_ms.saturating_mul(1_000_000),
                at_ms: epoch.at,
            }),
            other => Err(newer(origin, index, format!("is of kind {:?}", other.kind()))),
        }
    }

    fn event(
        &mut self,
        origin: &Origin,
        index: u64,
        header: &EventHeader,
        beside: &Copied,
    ) -> Result<PendingEvent, ReplicaError> {
        let Some(tenant) = self.tenant else {
            return Err(newer(origin, index, "is an event in a log without a tenant".to_owned()));
        };
        let subject = Subject { tenant: tenant.clone(), phase: header.phase, producer: header.producer.clone() };
        let facts = self.admit_again(origin, index, header, &subject, &beside.payload)?;
        if let (0, Some(key)) = (header.masked, self.dedupe) {
            let expected = key.fingerprint(&subject.to_string(), &beside.payload);
            if expected != beside.fingerprint {
                return Err(differs(origin)(Difference::Member {
                    index,
                    member: "fingerprint (beside the entry)".to_owned(),
                    found: hex::encode(beside.fingerprint.0),
                    expected: hex::encode(expected.0),
                }));
            }
        }
        let change_key = match self.dedupe {
            Some(key) => Some(key.change_key(&facts.change)),
            None => beside.change_key,
        };
        Ok(PendingEvent {
            road_sequence: header.road.sequence,
            at_ms: header.at,
            fingerprint: beside.fingerprint,
            change_key: change_key.ok_or_else(|| ReplicaError::NoChangeKey { origin: origin.clone() })?,
            salt: beside.salt,
            commit: commitment(&beside.salt, &beside.payload),
            producer: header.producer.clone(),
            facts,
            masked: redact::count_marks(&beside.payload),
            payload: beside.payload.clone().into(),
            rules: header.rules,
        })
    }

    /// admit(stored) = stored, by the rules in force; by older rules, what they let through is only read again.
    fn admit_again(
        &mut self,
        origin: &Origin,
        index: u64,
        header: &EventHeader,
        subject: &Subject,
        payload: &[u8],
    ) -> Result<admit::Facts, ReplicaError> {
        let refused = |reason: String| differs(origin)(Difference::Admission { index, reason });
        if header.rules.0 == rules::current().name {
            let admitted = admit::admit(subject, payload, self.scratch);
            let admitted = admitted.map_err(|rejection| refused(reason_of(&rejection)))?;
            if *admitted.payload != *payload {
                return Err(refused("something in it has to be masked".to_owned()));
            }
            return Ok(admitted.facts);
        }
        if rules::by_name(&header.rules.0).is_none() {
            return Err(newer(origin, index, format!("was admitted by rules {}", header.rules)));
        }
        let derived = admit::derive(payload, self.scratch);
        let (tenant, _, _, facts) = derived.map_err(|rejection| refused(reason_of(&rejection)))?;
        if tenant != subject.tenant {
            return Err(refused(format!("it is of tenant {tenant}")));
        }
        Ok(facts)
    }

    /// `_ledger`: control entries alone, each signed by who may and next in their chain.
    fn own_log(&self, head: &Head, chunk: &Chunk) -> Result<(Growth, Listings), ReplicaError> {
        let origin = &head.origin;
        let payload_bytes = chunk.rows.iter().filter_map(|row| row.beside.as_ref()).map(|b| b.payload.len()).sum();
        let mut growth = Growth::new(head.clone(), chunk.rows.len(), payload_bytes);
        let mut governance = self.governance.clone();
        let mut listings = Listings::default();
        for (index, row) in (chunk.from..).zip(&chunk.rows) {
            let header = match decode(origin, index, &row.entry)? {
                Header::Control(header) => header,
                Header::Heartbeat(beat) => {
                    let beat = Heartbeat { at: beat.at.max(growth.head.at_ms), ..beat };
                    let pushed = growth.push(Header::Heartbeat(beat), None);
                    pushed.map_err(|source| differs(origin)(Difference::Entry { index, source }))?;
                    continue;
                }
                _ => return Err(newer(origin, index, "is neither a control entry nor a heartbeat".to_owned())),
            };
            let missing = Difference::Beside { index, what: "its envelope is missing" };
            let beside = row.beside.as_ref().ok_or(missing).map_err(differs(origin))?;
            let decided = governance.decide(&beside.payload, index, Roots::Compared);
            let decided = decided.map_err(|source| differs(origin)(Difference::Control { index, source }))?;
            let stored = Beside {
                salt: beside.salt,
                fingerprint: Fingerprint::default(),
                previous: None,
                payload: beside.payload.clone().into(),
            };
            let pushed = growth.control(&mut governance, &decided, None, header.at, stored);
            pushed.map_err(|source| differs(origin)(Difference::Entry { index, source }))?;
            listings.controls.insert(decided.counter, beside.payload.clone());
            if let Act::Listed(commit) = decided.act {
                match opened(&mut growth, index, row, &commit).map_err(differs(origin))? {
                    Some(Opened::Birth(opening)) => listings.births.push(opening),
                    Some(Opened::Act(opening)) => listings.acts.push(opening),
                    None => {}
                }
            }
        }
        Ok((growth, listings))
    }
}

/// The first entry of a log, alone, under its first checkpoint. `check` says whether its members are what they must be.
pub(super) fn birth(
    log: LogId,
    origin: &Origin,
    chunk: &Chunk,
    check: impl FnOnce(&First, &Hash) -> Result<(), ReplicaError>,
) -> Result<(Checked, First), ReplicaError> {
    let [row] = chunk.rows.as_slice() else {
        return Err(ReplicaError::Order { log, expected: 0, found_log: chunk.log, found: chunk.from });
    };
    if (chunk.log, chunk.from) != (log, 0) {
        return Err(ReplicaError::Order { log, expected: 0, found_log: chunk.log, found: chunk.from });
    }
    let Header::First(first) = decode(origin, 0, &row.entry)? else {
        return Err(newer(origin, 0, "is no first entry".to_owned()));
    };
    if first.origin != *origin {
        let (found, expected) = (first.origin.to_string(), origin.to_string());
        return Err(differs(origin)(Difference::First { what: "the origin", found, expected }));
    }
    check(&first, &leaf(&row.entry))?;
    let mut growth = Growth::new(empty_head(log, &first.origin), 1, 0);
    let keys = LogKeys::new(first.origin.clone(), first.log_key);
    let note = check_checkpoints(&growth.head, chunk, &keys).map_err(differs(&first.origin))?;
    let pushed = growth.push(Header::First(first.clone()), None);
    let leaf = pushed.map_err(|source| differs(&first.origin)(Difference::Entry { index: 0, source }))?;
    growth.head.control_prev = leaf;
    compare(&first.origin, chunk, &growth.rows)?;
    Ok((Checked { base: None, ..finish(&mut growth, chunk, &note) }, first))
}

/// The key that a log was born with.
pub(super) fn verifier(first: &First) -> VerifierKey {
    VerifierKey::new(first.origin.key_name().clone(), first.log_key)
}

/// A log without entries.
fn empty_head(log: LogId, origin: &Origin) -> Head {
    Head {
        log,
        origin: origin.clone(),
        size: 0,
        edge: Edge::new(),
        at_ms: 0,
        epoch: 0,
        cursor: Cursor::default(),
        answered: 0,
        control_counter: 0,
        control_prev: empty_root(),
    }
}

/// Every checkpoint of the chunk is signed and has the root of the entries so far. Gives the last one.
fn check_checkpoints(head: &Head, chunk: &Chunk, keys: &LogKeys) -> Result<String, Difference> {
    let mut edge = head.edge.clone();
    let mut rows = chunk.rows.iter();
    let end = chunk.from + chunk.rows.len() as u64;
    let mut note = None;
    for (size, text) in &chunk.checkpoints {
        let size = *size;
        let before = edge.size();
        // The one over the head itself stands alone, where there is nothing new.
        let follows = size > before || (chunk.rows.is_empty() && size == before && note.is_none());
        if !follows || size > end {
            return Err(Difference::NoCheckpoint { expected: end, found: Some(size) });
        }
        while edge.size() < size {
            let Some(row) = rows.next() else { break };
            edge.push(leaf(&row.entry), &mut |_: TileId, _: &[Hash]| ());
        }
        check_checkpoint(&edge, size, text, keys)?;
        note = Some(text.clone());
    }
    let last = chunk.checkpoints.last().map(|(size, _)| *size);
    note.filter(|_| last == Some(end)).ok_or(Difference::NoCheckpoint { expected: end, found: last })
}

fn check_checkpoint(edge: &Edge, size: u64, note: &str, keys: &LogKeys) -> Result<(), Difference> {
    let signed = keys.open_stored(note).map_err(|source| Difference::Checkpoint { size, source })?;
    let Checkpoint { size: signed_size, root: expected, .. } = signed.into_inner();
    if signed_size != size {
        return Err(Difference::NoCheckpoint { expected: size, found: Some(signed_size) });
    }
    let found = edge.root();
    if found == expected { Ok(()) } else { Err(Difference::Root { size, expected, found }) }
}

/// The rows of a checked growth, under the leader's checkpoints.
fn finish(growth: &mut Growth, chunk: &Chunk, note: &str) -> Checked {
    let log = growth.head.log;
    let (base, end) = (growth.base_size, growth.head.size);
    let mut previous = base;
    for (size, note) in chunk.checkpoints.iter().filter(|(size, _)| *size > base && *size < end) {
        let signed = SignedAt { previous, note: note.clone() };
        growth.others.put(Space::Tree, &Key::Checkpoint(log, *size).bytes(), &[&signed.encode()]);
        previous = *size;
    }
    Checked { base: Some(base), batch: growth.rows_under(note, previous), head: growth.head.clone() }
}

/// The entries made again have to be the copied ones.
fn compare(origin: &Origin, chunk: &Chunk, redone: &[NewRow]) -> Result<(), ReplicaError> {
    for ((index, copied), redone) in (chunk.from..).zip(&chunk.rows).zip(redone) {
        if copied.entry != redone.entry {
            return Err(differs(origin)(differing_member(index, &copied.entry, &redone.entry)));
        }
        // A leader writes no payload but where the entry commits to one.
        if copied.beside.is_some() != redone.salt.is_some() {
            return Err(differs(origin)(Difference::Beside { index, what: "it has a payload that it must not have" }));
        }
    }
    if redone.len() == chunk.rows.len() {
        return Ok(());
    }
    let index = chunk.from + redone.len().min(chunk.rows.len()) as u64;
    Err(differs(origin)(Difference::Beside { index, what: "it is no entry of its own when made again" }))
}

/// The first member, in their order, that differs; a member of the body by its own name.
fn differing_member(index: u64, found: &[u8], expected: &[u8]) -> Difference {
    let members = |entry: &[u8]| {
        let mut members: Map<String, Value> = serde_json::from_slice(entry).unwrap_or_default();
        if let Some(Value::Object(body)) = members.remove("body") {
            members.extend(body.into_iter().map(|(member, value)| (format!("body.{member}"), value)));
        }
        members
    };
    let (found, expected) = (members(found), members(expected));
    let member = found.keys().chain(expected.keys()).filter(|key| found.get(*key) != expected.get(*key)).min();
    let shown = |members: &Map<String, Value>, member: &str| {
        members.get(member).map_or_else(|| "absent".to_owned(), ToString::to_string)
    };
    let member = member.cloned().unwrap_or_default();
    Difference::Member { index, found: shown(&found, &member), expected: shown(&expected, &member), member }
}

/// What a listing of `_ledger` opens to.
enum Opened {
    Birth(Opening),
    Act(Vec<u8>),
}

/// What a listing opens to, which has to be what it commits to; none where that is not kept any more.
fn opened(growth: &mut Growth, index: u64, row: &CopiedRow, commit: &Hash) -> Result<Option<Opened>, Difference> {
    let Some((salt, opening)) = &row.opening else { return Ok(None) };
    if commitment(salt, opening) != *commit {
        let what = "what the listing opens to is not what it commits to";
        return Err(Difference::Beside { index, what });
    }
    growth.others.put(Space::Tree, &Key::Opening(growth.head.log, index).bytes(), &[&salt.0, opening]);
    // The commitment fits: what is no log's birth is an act.
    let birth = serde_json::from_slice(opening).map(Opened::Birth);
    Ok(Some(birth.unwrap_or_else(|_| Opened::Act(opening.clone()))))
}

/// How far the road was read at least, where the source doesn't say it: to the last entry. A leader that goes on from here
/// finds another message there, and begins a new epoch; what it reads again it recognises.
fn derived_position(head: &Head, headers: &[Header], chunk: &Chunk) -> Position {
    let mut cursor = head.cursor;
    for (header, row) in headers.iter().zip(&chunk.rows) {
        let (sequence, at_ms) = match header {
            Header::Event(EventHeader { road, at, .. }) | Header::Rejection(RejectionHeader { road, at, .. }) => {
                (road.sequence, *at)
            }
            Header::Control(ControlHeader { road: Some(road), at, .. }) => (road.sequence, *at),
            Header::Gap(gap) => (gap.to, gap.at),
            Header::Epoch(epoch) => {
                cursor.stream_created_ns = epoch.stream_created_ms.saturating_mul(1_000_000);
                (0, 0)
            }
            _ => continue,
        };
        let digest = row.beside.as_ref().map_or_else(Fingerprint::default, |beside| beside.fingerprint);
        cursor = Cursor { sequence, at_ns: at_ms.saturating_mul(1_000_000), digest, ..cursor };
    }
    Position { cursor, answered: cursor.sequence }
}

/// Whether it is a control entry. Nearly none is, and entries have one spelling only: only those that may be are read.
pub(super) fn is_control(entry: &[u8]) -> bool {
    const KIND: &[u8] = br#""kind":"control""#;
    entry.windows(KIND.len()).any(|found| found == KIND) && matches!(Header::decode(entry), Ok(Header::Control(_)))
}

fn road_sequence_of(header: &Header) -> Option<u64> {
    match header {
        Header::Event(event) => Some(event.road.sequence),
        Header::Control(control) => control.road.map(|road| road.sequence),
        _ => None,
    }
}

fn decode(origin: &Origin, index: u64, entry: &[u8]) -> Result<Header, ReplicaError> {
    match Header::decode(entry) {
        Ok(Header::Unknown { v, kind }) => Err(newer(origin, index, format!("is of kind {kind:?}, version {v}"))),
        Ok(header) => Ok(header),
        Err(source) => Err(differs(origin)(Difference::Entry { index, source })),
    }
}

fn newer(origin: &Origin, index: u64, what: String) -> ReplicaError {
    ReplicaError::Newer { origin: origin.clone(), index, what }
}

pub(super) fn differs(origin: &Origin) -> impl Fn(Difference) -> ReplicaError {
    let origin = origin.clone();
    move |difference| ReplicaError::Differs { origin: origin.clone(), difference: Box::new(difference) }
}

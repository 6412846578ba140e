//! The newest entries of the logs, in memory: while a change is under way, six kinds of workers ask for its events some thirty times.
//!
//! What is here is what the logs have. Their rows never change, so what is remembered can't be wrong, only not all; and each question first goes on to the head
//! of the log (decision 221). A change is whole if its events are numbered from 0 without a gap, which their headers say. No payload stays longer than some minutes after
//! it was read, whatever becomes of it in the log.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ledger::entry::{EventHeader, Header, Road};
use ledger::read::ReadError;
use pipeline::work::Stored;
use schemas::ids::{ChangeId, Tenant};

use crate::clock;
use crate::http::OpenTenant;

/// How many new entries are read at once, on the thread that asks: they were written a moment ago, so they are in memory. Whoever is further behind
/// than that forgets what it had and begins anew at the head.
const FOLLOWED: u64 = 512;
/// Messages of a road of which it is remembered what became of them.
const MESSAGES: usize = 4_096;
/// Changes and bytes of their payloads that are remembered of all tenants; more than what all workers have in hand. What is read of a payload takes
/// several times as much.
const CHANGES: usize = 1_024;
const BYTES: usize = 4 << 20;
/// How long a change is remembered from when it was read; then it is read again, if somebody still asks for it.
const LIVES: Duration = Duration::from_mins(10);
/// How often it is looked for those that lived longer and that nobody asks for.
const SWEEP: Duration = Duration::from_mins(1);
/// A larger change is read from the log each time.
const CHANGE_BYTES: usize = 256 << 10;
/// So is one with more events: of so few none is left out of what workers read (`believed`).
const CHANGE_EVENTS: usize = 512;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// An event of this change.
    Event(ChangeId),
    /// No new event: a rejection, a duplicate, an administrative act.
    Nothing,
    /// That is not remembered.
    Forgotten,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Logs>);

#[derive(Debug, Default)]
struct Logs {
    tails: HashMap<Tenant, Tail>,
    changes: HashMap<(Tenant, ChangeId), Kept>,
    /// Of all payloads.
    bytes: usize,
    /// Questions so far: what was asked for longest ago is forgotten first.
    asked: u64,
    swept: Option<Instant>,
}

/// How far a log was followed.
#[derive(Debug, Default)]
struct Tail {
    size: u64,
    /// The epoch of the log's road.
    road: u32,
    /// That of the messages.
    epoch: u32,
    /// Their sequences, ascending and without one that became an entry left out between them, with the change that it is an event of.
    messages: VecDeque<(u64, Option<ChangeId>)>,
}

/// All events of a change.
#[derive(Debug)]
struct Kept {
    entries: Vec<Stored>,
    bytes: usize,
    asked: u64,
    since: Instant,
}

impl Recent {
    /// What became of a message of the road, which is decided.
    pub fn decided(&self, open: &OpenTenant, committed: u64, sequence: u64) -> Result<Became, ReadError> {
        let mut logs = self.lock();
        let epoch = logs.follow(open, committed)?;
        let Some(tail) = logs.tails.get(&open.tenant).filter(|tail| tail.epoch == epoch) else {
            return Ok(Became::Forgotten);
        };
        if tail.messages.front().is_none_or(|(first, _)| *first > sequence) {
            return Ok(Became::Forgotten);
        }
        let found = tail.messages.binary_search_by_key(&sequence, |(sequence, _)| *sequence);
        // What became no entry is none of a change: a duplicate.
        let change = found.ok().and_then(|at| tail.messages[at].1.clone());
        Ok(change.map_or(Became::Nothing, Became::Event))
    }

    /// All events of a change; `None` where it is not remembered.
    pub fn change(
        &self,
        open: &OpenTenant,
        committed: u64,
        change: &ChangeId,
    ) -> Result<Option<Vec<Stored>>, ReadError> {
        let mut logs = self.lock();
        logs.follow(open, committed)?;
        logs.asked += 1;
        let asked = logs.asked;
        let kept = logs.changes.get_mut(&(open.tenant.clone(), change.clone()));
        Ok(kept.map(|kept| {
            kept.asked = asked;
            kept.entries.clone()
        }))
    }

    /// Remembers a change as it was read from a log of `size` entries, or of more.
    pub fn keep(&self, open: &OpenTenant, change: &ChangeId, entries: &[Stored], size: u64) {
        let mut logs = self.lock();
        // Events that were followed meanwhile might be missing.
        if logs.tails.get(&open.tenant).is_some_and(|tail| tail.size <= size) {
            let key = (open.tenant.clone(), change.clone());
            logs.forget(&key);
            for stored in entries {
                logs.add(&key, stored.clone());
            }
        }
    }

    /// A lock whose holder panicked: what it was at is read anew, since `size` moves last.
    fn lock(&self) -> std::sync::MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs {
    /// Goes on to the head, at which the pipeline said that so many entries are durable; the epoch of its road.
    fn follow(&mut self, open: &OpenTenant, committed: u64) -> Result<u32, ReadError> {
        self.sweep(clock::now());
        let tail = self.tails.entry(open.tenant.clone()).or_default();
        // Most questions come when nothing is new.
        if tail.size == committed {
            return Ok(tail.road);
        }
        let head = open.log.head()?;
        let from = tail.size;
        if head.size <= from {
            return Ok(head.epoch);
        }
        if head.size - from > FOLLOWED {
            *tail = Tail { size: head.size, road: head.epoch, epoch: head.epoch, messages: VecDeque::new() };
            self.forget_all(&open.tenant);
            return Ok(head.epoch);
        }
        let mut new = Vec::new();
        for index in from..head.size {
            let Some(header) = open.log.header(index)? else { break };
            if let Some(road) = road_of(&header) {
                let change = if let Header::Event(event) = &header { Some(event.change.clone()) } else { None };
                self.note(&open.tenant, road, change);
            }
            if let Header::Event(event) = header {
                new.push((index, event));
            }
        }
        self.take(open, new)?;
        if let Some(tail) = self.tails.get_mut(&open.tenant) {
            (tail.size, tail.road) = (head.size, head.epoch);
        }
        Ok(head.epoch)
    }

    /// Notes what became of a message.
    fn note(&mut self, tenant: &Tenant, road: Road, change: Option<ChangeId>) {
        let Some(tail) = self.tails.get_mut(tenant) else { return };
        if road.epoch != tail.epoch {
            tail.epoch = road.epoch;
            tail.messages.clear();
        }
        // Not once more, where an earlier try failed half-way.
        if tail.messages.back().is_none_or(|(last, _)| *last < road.sequence) {
            tail.messages.push_back((road.sequence, change));
        }
        if tail.messages.len() > MESSAGES {
            tail.messages.pop_front();
        }
    }

    /// Adds new events to the changes that are remembered, and changes that begin.
    fn take(&mut self, open: &OpenTenant, new: Vec<(u64, EventHeader)>) -> Result<(), ReadError> {
        let key = |event: &EventHeader| (open.tenant.clone(), event.change.clone());
        let mut begun = HashSet::new();
        let is_wanted = |(_, event): &(u64, EventHeader)| {
            let key = key(event);
            self.changes.contains_key(&key) || begun.contains(&key) || (event.seq == 0 && begun.insert(key))
        };
        let wanted: Vec<(u64, EventHeader)> = new.into_iter().filter(is_wanted).collect();
        let indices: Vec<u64> = wanted.iter().map(|(index, _)| *index).collect();
        let mut payloads: BTreeMap<u64, Vec<u8>> =
            open.log.stored_at(&indices)?.into_iter().map(|(index, stored)| (index, stored.payload)).collect();
        for (index, event) in wanted {
            let key = key(&event);
            match payloads.remove(&index) {
                Some(payload) => self.add(&key, Stored::new(index, event, Some(Bytes::from(payload)))),
                None => self.forget(&key),
            }
        }
        Ok(())
    }

    /// Adds an event; whatever has a gap, or is large, is forgotten.
    fn add(&mut self, key: &(Tenant, ChangeId), stored: Stored) {
        let new = || Kept { entries: Vec::new(), bytes: 0, asked: self.asked, since: clock::now() };
        let kept = self.changes.entry(key.clone()).or_insert_with(new);
        if stored.header.seq < kept.entries.len() as u64 {
            return;
        }
        let bytes = stored.payload.as_ref().map_or(0, Bytes::len);
        let is_next = stored.header.seq == kept.entries.len() as u64;
        if !is_next || kept.entries.len() == CHANGE_EVENTS || kept.bytes + bytes > CHANGE_BYTES {
            return self.forget(key);
        }
        kept.bytes += bytes;
        kept.asked = self.asked;
        kept.entries.push(stored);
        self.bytes += bytes;
        if self.changes.len() > CHANGES || self.bytes > BYTES {
            self.forget_old();
        }
    }

    fn forget(&mut self, key: &(Tenant, ChangeId)) {
        if let Some(kept) = self.changes.remove(key) {
            self.bytes -= kept.bytes;
        }
    }

    fn forget_all(&mut self, tenant: &Tenant) {
        let of_tenant: Vec<_> = self.changes.keys().filter(|(other, _)| other == tenant).cloned().collect();
        for key in &of_tenant {
            self.forget(key);
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        let old = |(_, kept): &(&(Tenant, ChangeId), &Kept)| now.duration_since(kept.since) >= LIVES;
        let old: Vec<_> = self.changes.iter().filter(old).map(|(key, _)| key.clone()).collect();
        for key in &old {
            self.forget(key);
        }
    }

    /// Forgets what was asked for longest ago, down to half of what there is room for.
    fn forget_old(&mut self) {
        let mut by_age: Vec<_> = self.changes.iter().map(|(key, kept)| (kept.asked, key.clone())).collect();
        by_age.sort_unstable();
        for (_, key) in &by_age {
            if self.changes.len() <= CHANGES / 2 && self.bytes <= BYTES / 2 {
                return;
            }
            self.forget(key);
        }
    }
}

/// Where on a road an entry comes from, if from one.
pub fn road_of(header: &Header) -> Option<Road> {
    match header {
        Header::Event(event) => Some(event.road),
        Header::Rejection(rejection) => Some(rejection.road),
        Header::Control(control) => control.road,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ledger::hash::Hash;
    use schemas::admit::{Has, Outcome};
    use schemas::ids::{EventId, Phase};

    use super::*;

    fn key(change: &str) -> (Tenant, ChangeId) {
        (Tenant::parse("acme").expect("a tenant"), ChangeId::parse(change).expect("an id"))
    }

    fn event(change: &str, seq: u64, bytes: usize) -> Stored {
        let header = EventHeader {
            change: ChangeId::parse(change).expect("an id"),
            seq,
            prev: None,
            id: EventId::parse("e").expect("an id"),
            phase: Phase::Plan,
            env: None,
            class: None,
            probe: false,
            producer: None,
            has: Has::default(),
            outcome: Outcome::None,
            ts: 0,
            at: 0,
            road: Road { epoch: 0, sequence: 1 },
            commit: Hash([0; 32]),
            size: bytes as u64,
            masked: 0,
            rules: Hash([0; 32]),
        };
        Stored::new(seq, header, Some(Bytes::from(vec![b'x'; bytes])))
    }

    fn seqs(logs: &Logs, change: &str) -> Option<Vec<u64>> {
        let kept = logs.changes.get(&key(change))?;
        Some(kept.entries.iter().map(|stored| stored.header.seq).collect())
    }

    #[test]
    fn a_change_is_remembered_whole_or_not_at_all() {
        let mut logs = Logs::default();
        // What was read from the log comes once more by following it.
        for seq in [0, 1, 1, 0, 2] {
            logs.add(&key("whole"), event("whole", seq, 10));
        }
        assert_eq!((seqs(&logs, "whole"), logs.bytes), (Some(vec![0, 1, 2]), 30));
        // Whose beginning nobody has read, and whose middle is missing.
        logs.add(&key("late"), event("late", 3, 10));
        logs.add(&key("gap"), event("gap", 0, 10));
        logs.add(&key("gap"), event("gap", 2, 10));
        assert_eq!((seqs(&logs, "late"), seqs(&logs, "gap"), logs.bytes), (None, None, 30));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut logs = Logs::default();
        logs.add(&key("large"), event("large", 0, CHANGE_BYTES + 1));
        for seq in 0..=CHANGE_EVENTS as u64 {
            logs.add(&key("long"), event("long", seq, 1));
        }
        assert_eq!((seqs(&logs, "large"), seqs(&logs, "long"), logs.bytes), (None, None, 0));
        for number in 0..=CHANGES {
            logs.asked += 1;
            let name = format!("c-{number}");
            logs.add(&key(&name), event(&name, 0, 1));
        }
        assert_eq!((logs.changes.len(), logs.bytes), (CHANGES / 2, CHANGES / 2));
        assert!(seqs(&logs, &format!("c-{CHANGES}")).is_some() && seqs(&logs, "c-0").is_none());
        for number in 0..=BYTES / CHANGE_BYTES {
            let name = format!("d-{number}");
            logs.add(&key(&name), event(&name, 0, CHANGE_BYTES));
            assert!(logs.bytes <= BYTES, "{}", logs.bytes);
        }
    }

    #[test]
    fn nothing_is_remembered_for_ever() {
        let mut logs = Logs::default();
        logs.add(&key("c"), event("c", 0, 10));
        let now = clock::now();
        for (later, is_there) in [(LIVES / 2, true), (LIVES + SWEEP, false)] {
            logs.sweep(now + later);
            assert_eq!(seqs(&logs, "c").is_some(), is_there, "{later:?}");
        }
        assert_eq!(logs.bytes, 0);
    }
}

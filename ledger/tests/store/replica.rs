//! Copies of a ledger: row for row the leader's, from a leader that goes on, in chunks of any size, through crashes; and every
//! way in which what is copied can be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ledger::append::{
    Cursor, Desk, Disposition, Head, Item, LogId, PendingControl, PendingEvent, PendingRejection, Turn, commit, extend,
    extend_listing, look_up,
};
use ledger::birth;
use ledger::checkpoint::Origin;
use ledger::dedupe::DedupeKey;
use ledger::entry::commitment;
use ledger::governance::{Act, message as message_of};
use ledger::hash::Hash;
use ledger::kv::{Batch, Kv, MemKv, Space};
use ledger::layout::{Block, Key, Stored};
use ledger::note::VerifierKey;
use ledger::read::Log;
use ledger::replica::{
    Chunk, Copied, CopiedRow, Copier, KvSource, Limits, Listing, ReplicaError, Source, SourceError, Trust,
};
use ledger::signing::Signer;
use ledger::tree::Edge;
use schemas::admit::{Scratch, admit};
use schemas::ids::{Subject, Tenant};
use schemas::reason::Reason;
use schemas::rules;

use crate::world::{Rng, TenantWorld, World, origin};

/// A ledger that grows by real events.
pub(crate) struct Leader {
    pub(crate) world: World,
    pub(crate) kv: MemKv,
    rng: Rng,
    roads: Vec<Road>,
}

pub(crate) struct Road {
    created_ns: u64,
    sequence: u64,
    at_ms: u64,
    sent: Vec<(Subject, Vec<u8>)>,
}

impl Leader {
    pub(crate) fn new(seed: u64, tenants: usize) -> Self {
        let mut world = World::new(seed, tenants, 1);
        let later = world.tenants.split_off(1);
        let (kv, mut rng) = (MemKv::new(), Rng(seed));
        world.found(&kv, &mut rng).unwrap();
        world.tenants.extend(later);
        let road = |_| Road { created_ns: 7_000_000_001, sequence: 0, at_ms: 1_000_000, sent: Vec::new() };
        let roads = (0..tenants).map(road).collect();
        Self { world, kv, rng, roads }
    }

    /// All tenants have a log.
    pub(crate) fn with_all(mut self) -> Self {
        self.world.found(&self.kv, &mut self.rng).unwrap();
        self
    }

    /// Rounds until the first tenant's log has at least `size` entries.
    pub(crate) fn grow_to(&mut self, size: u64) {
        while Log::open(&self.kv, LogId(1)).unwrap().head().unwrap().size < size {
            self.round();
        }
    }

    /// The same tenants and keys over another store, whose roads go on where it has read them.
    pub(crate) fn over(kv: MemKv, seed: u64, tenants: usize) -> Self {
        let mut leader = Self { kv, ..Self::new(seed, tenants) };
        for (tenant, road) in leader.world.tenants.iter().zip(&mut leader.roads) {
            let Some(log) = birth::log_of(&leader.kv, &tenant.tenant).unwrap() else { continue };
            let head = Log::open(&leader.kv, log).unwrap().head().unwrap();
            let Cursor { sequence, stream_created_ns, .. } = head.cursor;
            (road.sequence, road.created_ns, road.at_ms) = (sequence, stream_created_ns.max(1), head.at_ms);
        }
        leader
    }

    /// One round with events and an act on a tenant's log, and its listing.
    pub(crate) fn act(&mut self, number: usize, act: &Act) {
        let log = birth::log_of(&self.kv, &self.world.tenants[number].tenant).unwrap().unwrap();
        let place = |log| Log::open(&self.kv, log).unwrap().governance().unwrap().place();
        let (on, ledger, admin) = (place(log), place(LogId::LEDGER), &self.world.admin);
        let sent = message_of(act, &on, &[admin], &ledger, admin, self.rng.salt()).unwrap().print();
        let head = Log::open(&self.kv, log).unwrap().head().unwrap();
        let mut turn = self.turn(number, &head);
        let (tenant, road) = (&self.world.tenants[number], &mut self.roads[number]);
        road.sequence += 1;
        let subject = format!("upm.control.{}", tenant.tenant);
        let fingerprint = tenant.dedupe.fingerprint(&subject, &sent);
        turn.items.push(Item::Control(PendingControl {
            road_sequence: Some(road.sequence),
            at_ms: road.at_ms,
            fingerprint,
            salt: self.rng.salt(),
            listing_salt: self.rng.salt(),
            subject,
            message: sent,
            new_key_here: true,
            rules: Hash(rules::current().name),
        }));
        turn.cursor = Cursor { sequence: road.sequence, digest: fingerprint, ..turn.cursor };
        let turns = [turn];
        let known = look_up(&self.kv, &turns).unwrap();
        let [turn] = turns;
        let mut desk = Desk::open(&self.kv).unwrap();
        let extension = extend_listing(&head, turn, &known[0], &mut desk).unwrap();
        let done = extension.dispositions().last().map(|(_, what)| *what);
        assert!(matches!(done, Some(Disposition::Accepted { .. })), "{done:?}");
        let (listing, guard) = desk.finish();
        let round = vec![extension.seal(&tenant.signer), listing.seal(&self.world.ledger_signer)];
        commit(&self.kv, round).unwrap();
        drop(guard);
    }

    /// One round of the tenants that have a log.
    pub(crate) fn round(&mut self) {
        let mut turns = Vec::new();
        for number in 0..self.roads.len() {
            let Some(log) = birth::log_of(&self.kv, &self.world.tenants[number].tenant).unwrap() else { continue };
            if self.rng.below(3) > 0 {
                let head = Log::open(&self.kv, log).unwrap().head().unwrap();
                turns.push((number, self.turn(number, &head)));
            }
        }
        let (numbers, turns): (Vec<usize>, Vec<Turn>) = turns.into_iter().unzip();
        let known = look_up(&self.kv, &turns).unwrap();
        let mut sealed = Vec::new();
        for ((number, turn), known) in numbers.into_iter().zip(turns).zip(&known) {
            let head = Log::open(&self.kv, turn.log).unwrap().head().unwrap();
            sealed.push(extend(&head, turn, known).unwrap().seal(&self.world.tenants[number].signer));
        }
        commit(&self.kv, sealed).unwrap();
    }

    fn turn(&mut self, number: usize, head: &Head) -> Turn {
        let Self { world, rng, roads, .. } = self;
        let (tenant, road) = (&world.tenants[number], &mut roads[number]);
        let mut items = Vec::new();
        if rng.below(12) == 0 {
            (road.created_ns, road.sequence) = (road.created_ns + 1_000_000_007, 0);
            items.push(Item::Epoch { stream_created_ns: road.created_ns, at_ms: road.at_ms });
        }
        let mut cursor = Cursor { stream_created_ns: road.created_ns, ..head.cursor };
        for _ in 0..=rng.below(12) {
            road.at_ms = road.at_ms + rng.below(300) - rng.below(50);
            if rng.below(15) == 0 {
                let (from, to) = (road.sequence + 1, road.sequence + 1 + rng.below(3));
                road.sequence = to;
                items.push(Item::Gap { from, to, at_ms: road.at_ms });
            }
            road.sequence += 1;
            let (subject, bytes) = message(tenant, rng, road);
            cursor = Cursor {
                sequence: road.sequence,
                at_ns: road.at_ms * 1_000_000 + 3,
                digest: tenant.dedupe.fingerprint(&subject.to_string(), &bytes),
                ..cursor
            };
            items.push(item(tenant, rng, road, &subject, &bytes));
            road.sent.push((subject, bytes));
        }
        // Gaps may end a turn's items, never its cursor.
        Turn { log: head.log, items, answered: cursor.sequence - rng.below(2), cursor }
    }

    pub(crate) fn source(&self) -> KvSource<'_, &MemKv> {
        KvSource::new(&self.kv, |tenant| self.dedupe(tenant))
    }

    pub(crate) fn dedupe(&self, tenant: &Tenant) -> Option<DedupeKey> {
        Some(self.world.tenants.iter().find(|found| found.tenant == *tenant)?.dedupe.clone())
    }

    fn key(&self) -> VerifierKey {
        self.world.ledger_signer.verifier()
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::of([self.key()])
    }
}

/// An event, an earlier one again, one with a secret, or rubbish.
fn message(tenant: &TenantWorld, rng: &mut Rng, road: &Road) -> (Subject, Vec<u8>) {
    if !road.sent.is_empty() && rng.below(5) == 0 {
        return road.sent[rng.below(road.sent.len() as u64) as usize].clone();
    }
    let phase = ["plan", "preflight", "execute"][rng.below(3) as usize];
    let producer = ["", ".ci", ".agent-7"][rng.below(3) as usize];
    let subject = Subject::parse(&format!("upm.events.{}.{phase}{producer}", tenant.tenant)).unwrap();
    let number = rng.next();
    let secret = if rng.below(4) == 0 { r#","password":"correct horse""# } else { "" };
    let event = format!(
        r#"{{"provisioning_event":{{"id":"e-{number}","timestamp":"2026-03-01T10:00:00Z","phase":"{phase}","change_id":"c-{}",
"intent":{{"source":"api","initiator":"ada","tenant":"{}"{secret}}}}}}}"#,
        number % 7,
        tenant.tenant
    );
    let bytes = if rng.below(8) == 0 { format!("rubbish {}", number % 5) } else { event };
    (subject, bytes.into_bytes())
}

fn item(tenant: &TenantWorld, rng: &mut Rng, road: &Road, subject: &Subject, bytes: &[u8]) -> Item {
    let rules = Hash(rules::current().name);
    let salt = rng.salt();
    match admit(subject, bytes, &mut Scratch::default()) {
        Ok(admitted) => Item::Event(PendingEvent {
            road_sequence: road.sequence,
            at_ms: road.at_ms,
            fingerprint: tenant.dedupe.fingerprint(&subject.to_string(), bytes),
            change_key: tenant.dedupe.change_key(&admitted.facts.change),
            salt,
            commit: commitment(&salt, &admitted.payload),
            producer: subject.producer.clone(),
            masked: admitted.masked,
            payload: admitted.payload.to_vec().into(),
            facts: admitted.facts,
            rules,
        }),
        Err(rejection) => Item::Rejection(PendingRejection {
            road_sequence: road.sequence,
            at_ms: road.at_ms,
            salt,
            subject: subject.to_string(),
            reason: rejection.reason,
            path: rejection.path,
            found: rejection.found,
            expected: rejection.expected,
            payload: rejection.payload,
            masked: rejection.masked,
            rules,
        }),
    }
}

/// All rows, but each payload by itself: where blocks end depends on the rounds, and a copy makes other ones.
pub(crate) fn rows(kv: &MemKv) -> BTreeMap<(Space, Vec<u8>), Vec<u8>> {
    let all = |space| kv.range(space, &[0], &[255], usize::MAX).unwrap().into_iter().map(move |(k, v)| ((space, k), v));
    Space::ALL.into_iter().flat_map(all).flat_map(by_itself).collect()
}

/// Where a row stands, and what it holds.
type Row = ((Space, Vec<u8>), Vec<u8>);

fn by_itself(((space, key), row): Row) -> Vec<Row> {
    let decoded = Key::decode(space, &key).unwrap();
    let Key::Payload(log, _) = decoded else { return vec![((space, key), row)] };
    let payload = |(index, Stored { salt, fingerprint, previous, payload })| {
        let row = [&salt.0[..], &fingerprint.0, &previous.unwrap_or(u64::MAX).to_be_bytes(), &payload].concat();
        ((space, Key::Payload(log, index).bytes().to_vec()), row)
    };
    Block::decode(&decoded, &row).unwrap().into_rows().map(payload).collect()
}

fn limits(rng: &mut Rng) -> Limits {
    Limits { entries: 1 + rng.below(40), bytes: 1 + rng.below(20_000) as usize }
}

/// A copy of all that the leader has.
fn copied(leader: &Leader) -> MemKv {
    let kv = MemKv::new();
    Copier::new(&kv, leader.source(), leader.trust(), |_| None).catch_up(Limits::default(), |_| ()).unwrap();
    kv
}

#[test]
fn invariant_a_copy_is_row_for_row_the_leader() {
    for seed in 0..40 {
        let mut leader = Leader::new(seed, 3);
        let kv = MemKv::new();
        let mut rng = Rng(seed + 1_000);
        for step in 0..30 {
            if step == 10 {
                leader = leader.with_all();
            }
            (0..rng.below(3)).for_each(|_| leader.round());
            // A new copier each time, as after a crash: what it knows is in the store.
            let keyed = rng.below(2) == 0;
            let dedupe = |tenant: &Tenant| leader.dedupe(tenant).filter(|_| keyed);
            let source = KvSource::new(&leader.kv, |tenant| leader.dedupe(tenant).filter(|_| !keyed));
            let mut copier = Copier::new(&kv, source, leader.trust(), dedupe);
            for _ in 0..rng.below(3) {
                copier.round(limits(&mut rng)).unwrap();
            }
        }
        let mut copier = Copier::new(&kv, leader.source(), leader.trust(), |_| None);
        copier.catch_up(limits(&mut rng), |_| ()).unwrap();
        assert_eq!(rows(&kv), rows(&leader.kv), "seed {seed}");
        assert_eq!(copier.round(Limits::default()).unwrap(), ledger::replica::Progress::default());
    }
}

#[test]
fn a_copy_is_a_source_like_its_leader() {
    let mut leader = Leader::new(5, 2).with_all();
    (0..20).for_each(|_| leader.round());
    let first = copied(&leader);
    let second = MemKv::new();
    let source = KvSource::new(&first, |tenant| leader.dedupe(tenant));
    Copier::new(&second, source, leader.trust(), |_| None).catch_up(Limits::default(), |_| ()).unwrap();
    assert_eq!(rows(&second), rows(&leader.kv));
}

#[test]
fn a_chunk_reads_back_and_no_changed_byte_of_it_does() {
    let mut leader = Leader::new(6, 1);
    (0..12).for_each(|_| leader.round());
    let source = leader.source();
    for (log, from) in [(LogId(0), 0), (LogId(0), 1), (LogId(1), 0), (LogId(1), 1)] {
        let chunk = source.chunk(log, from, Limits::default()).unwrap();
        let bytes = chunk.encode();
        assert_eq!(Chunk::decode(&bytes).unwrap(), chunk);
        for place in 0..bytes.len() {
            for bit in [1, 128] {
                let mut changed = bytes.clone();
                changed[place] ^= bit;
                assert!(Chunk::decode(&changed).is_err(), "byte {place}");
            }
            assert!(Chunk::decode(&bytes[..place]).is_err(), "cut at {place}");
        }
    }
    let listing = source.listing().unwrap();
    assert_eq!(Listing::from_json(listing.to_json().as_bytes()).unwrap(), listing);
}

/// A source that lies.
struct Liar<'a> {
    honest: KvSource<'a, &'a MemKv>,
    change: Box<dyn Fn(&mut Chunk) + 'a>,
}

impl Source for Liar<'_> {
    fn listing(&self) -> Result<Listing, SourceError> {
        self.honest.listing()
    }

    fn chunk(&self, log: LogId, from: u64, limits: Limits) -> Result<Chunk, SourceError> {
        let mut chunk = self.honest.chunk(log, from, limits)?;
        (self.change)(&mut chunk);
        Ok(chunk)
    }

    fn key_chain(&self, log: LogId, origin: &Origin) -> Result<Option<Vec<u8>>, SourceError> {
        self.honest.key_chain(log, origin)
    }
}

/// A copy of the leader as it was some rounds ago, asked to go on with what `change` makes of the next chunk of `log`.
fn lied_to(log: LogId, change: impl Fn(&mut Chunk)) -> String {
    let mut leader = Leader::new(11, 2);
    (0..8).for_each(|_| leader.round());
    let kv = copied(&leader);
    let before = rows(&kv);
    let mut leader = leader.with_all();
    (0..8).for_each(|_| leader.round());
    let change = Box::new(|chunk: &mut Chunk| {
        if chunk.log == log && chunk.from > 0 {
            change(chunk);
        }
    });
    let source = Liar { honest: leader.source(), change };
    let mut copier = Copier::new(&kv, source, leader.trust(), |tenant| leader.dedupe(tenant));
    let refused = copier.catch_up(Limits::default(), |_| ()).unwrap_err();
    // What another log got before stays; of this one nothing new is there.
    let of_log = |rows: BTreeMap<(Space, Vec<u8>), Vec<u8>>| -> Vec<_> {
        rows.into_iter().filter(|((_, key), _)| key.get(1..5) == Some(&log.0.to_be_bytes()[..])).collect()
    };
    assert_eq!(of_log(rows(&kv)), of_log(before), "{refused}");
    assert!(refused.is_difference(), "{refused}");
    refused.to_string()
}

/// The payload of the chunk's first entry that has one.
fn beside(chunk: &mut Chunk) -> &mut Copied {
    chunk.rows.iter_mut().find_map(|row| row.beside.as_mut()).unwrap()
}

/// The payload of the chunk's first event without a masked place.
fn event(chunk: &mut Chunk) -> &mut Copied {
    let plain = |row: &&mut CopiedRow| String::from_utf8_lossy(&row.entry).contains(r#""kind":"event","masked":0"#);
    chunk.rows.iter_mut().find(plain).unwrap().beside.as_mut().unwrap()
}

#[test]
fn what_is_changed_is_named() {
    let check = |log: u32, change: &dyn Fn(&mut Chunk), expected: &str| {
        let found = lied_to(LogId(log), change);
        assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
    };
    let own = 0;
    let tenants = 1;
    check(tenants, &|chunk| beside(chunk).payload.push(b' '), "commit` is");
    check(tenants, &|chunk| beside(chunk).salt.0[0] ^= 1, "commit` is");
    check(tenants, &|chunk| event(chunk).payload = b"{}".to_vec(), "not what admission stores");
    check(tenants, &|chunk| chunk.rows[0].entry.push(b' '), "root");
    check(tenants, &|chunk| chunk.rows.swap(0, 1), "root");
    check(tenants, &|chunk| drop(chunk.rows.remove(0)), "root");
    check(tenants, &|chunk| drop(chunk.checkpoints.pop()), "checkpoint of size");
    check(tenants, &|chunk| chunk.checkpoints.clear(), "checkpoint of size");
    check(tenants, &|chunk| chunk.checkpoints[0].1 = "x".into(), "not to be believed");
    check(tenants, &|chunk| chunk.checkpoints[0].0 += 1, "checkpoint of size");
    check(tenants, &|chunk| chunk.rows.iter_mut().for_each(|row| row.beside = None), "payload is missing");
    check(tenants, &|chunk| chunk.rows.iter_mut().for_each(|row| row.details = None), "details of the rejection");
    // A masked event's fingerprint can't be made again: only its producer knows what was sent.
    check(tenants, &|chunk| event(chunk).fingerprint.0[0] ^= 1, "fingerprint");
    check(own, &|chunk| beside(chunk).payload.push(b' '), "entry 2");
    check(own, &|chunk| beside(chunk).salt.0[0] ^= 1, "commit` is");
    check(own, &|chunk| chunk.rows[0].opening.as_mut().unwrap().0.0[0] ^= 1, "opens to");
}

#[test]
fn a_leader_that_signs_what_is_not_so_is_caught() {
    let mut leader = Leader::new(3, 1);
    (0..3).for_each(|_| leader.round());
    let kv = copied(&leader);
    let (tenant, log) = (&leader.world.tenants[0], LogId(1));
    let head = Log::open(&leader.kv, log).unwrap().head().unwrap();
    // The leader's own code, fed with another outcome, chain and count of masked places than the payload has.
    let road = Road { created_ns: 1, sequence: head.cursor.sequence + 9, at_ms: 9_000_000, sent: Vec::new() };
    let (subject, bytes) = (Subject::parse("upm.events.tenant-0.plan").unwrap(), event_of("c-new"));
    let item = |change: &dyn Fn(&mut PendingEvent)| {
        let Item::Event(mut event) = item(tenant, &mut Rng(4), &road, &subject, &bytes) else { panic!("admitted") };
        change(&mut event);
        Item::Event(event)
    };
    let check = |items: Vec<Item>, expected: &str| {
        let forged = MemKv::new();
        let mut all = Batch::default();
        for ((space, key), value) in rows(&leader.kv) {
            all.put(space, &key, &[&value]);
        }
        forged.write(all).unwrap();
        let cursor = Cursor { sequence: road.sequence + 1, ..head.cursor };
        let turns = [Turn { log, items, cursor, answered: 0 }];
        let known = look_up(&forged, &turns).unwrap();
        let [turn] = turns;
        commit(&forged, vec![extend(&head, turn, &known[0]).unwrap().seal(&tenant.signer)]).unwrap();
        let source = KvSource::new(&forged, |tenant| leader.dedupe(tenant));
        let refused = Copier::new(&kv, source, leader.trust(), |_| None).round(Limits::default()).unwrap_err();
        assert!(refused.is_difference() && refused.to_string().contains(expected), "{refused}");
        assert!(refused.to_string().contains(&format!("entry {}", head.size)), "{refused}");
    };
    check(vec![item(&|event| event.masked = 3)], "member `masked` is 3, made again it is 0");
    check(vec![item(&|event| event.facts.ts += 1)], "member `ts`");
    check(
        vec![item(&|event| event.facts.change = schemas::ids::ChangeId::parse("c-other").unwrap())],
        "member `change`",
    );
}

fn event_of(change: &str) -> Vec<u8> {
    format!(
        r#"{{"provisioning_event":{{"id":"e","timestamp":"2026-03-01T10:00:00Z","phase":"plan","change_id":"{change}","intent":{{"source":"api","initiator":"ada","tenant":"tenant-0"}}}}}}"#
    )
    .into_bytes()
}

#[test]
fn two_histories_under_one_key_are_told_apart() {
    let mut leader = Leader::new(21, 1);
    (0..5).for_each(|_| leader.round());
    let kv = copied(&leader);
    let mut older = Leader::new(21, 1);
    (0..3).for_each(|_| older.round());
    // The same leader as it was: behind, and no difference.
    let progress = round(&kv, &older).unwrap();
    assert_eq!((progress.copied, progress.set_back.len()), (0, 1));
    // It went on otherwise: shorter, as long, and longer than the copy.
    older.rng = Rng(99);
    for _ in 0..12 {
        older.round();
        let refused = round(&kv, &older).unwrap_err();
        assert!(refused.is_difference(), "{refused}");
    }
}

fn round(kv: &MemKv, leader: &Leader) -> Result<ledger::replica::Progress, ReplicaError> {
    Copier::new(kv, leader.source(), leader.trust(), |_| None).round(Limits::default())
}

#[test]
fn only_who_is_trusted_is_copied() {
    let leader = Leader::new(2, 1);
    let stranger = Signer::from_seed(&origin("_ledger"), [77; 32]).verifier();
    let with = |trust: Trust| {
        let kv = MemKv::new();
        let done = Copier::new(&kv, leader.source(), trust, |_| None).catch_up(Limits::default(), |_| ());
        (done, kv)
    };
    let (refused, kv) = with(Trust::of([stranger.clone()]));
    assert!(refused.unwrap_err().to_string().contains("the log key"));
    assert!(rows(&kv).is_empty());
    let (refused, _) = with(Trust::of([]));
    assert!(matches!(refused.unwrap_err(), ReplicaError::Unvouched { .. }));
    let (done, kv) = with(Trust::on_first_use());
    done.unwrap();
    // What was taken at first is what counts from then on.
    let mut copier = Copier::new(&kv, leader.source(), Trust::of([stranger]), |_| None);
    assert!(copier.round(Limits::default()).unwrap_err().to_string().contains("the log key"));
}

#[test]
fn a_listing_that_opens_no_more_needs_the_tenants_key() {
    let leader = Leader::new(2, 1);
    let mut batch = Batch::default();
    batch.delete(Space::Tree, &Key::Opening(LogId::LEDGER, 1).bytes());
    leader.kv.write(batch).unwrap();
    let with = |trust: Trust| {
        let kv = MemKv::new();
        let done = Copier::new(&kv, leader.source(), trust, |_| None).catch_up(Limits::default(), |_| ());
        done.map(|_| kv)
    };
    assert!(matches!(with(leader.trust()).unwrap_err(), ReplicaError::Unvouched { .. }));
    let kv = with(Trust::of([leader.key(), leader.world.tenants[0].signer.verifier()])).unwrap();
    assert_eq!(rows(&kv), rows(&leader.kv));
}

#[test]
fn without_any_dedupe_key_nothing_can_be_indexed() {
    let mut leader = Leader::new(8, 1);
    (0..4).for_each(|_| leader.round());
    let (kv, source) = (MemKv::new(), KvSource::new(&leader.kv, |_| None));
    let refused = Copier::new(&kv, source, leader.trust(), |_| None).catch_up(Limits::default(), |_| ());
    assert!(matches!(refused.unwrap_err(), ReplicaError::NoChangeKey { .. }));
    let other = Copier::new(&kv, leader.source(), leader.trust(), |_| Some(DedupeKey::new([1; 32])))
        .catch_up(Limits::default(), |_| ());
    assert!(other.unwrap_err().to_string().contains("another dedupe key"));
}

#[test]
fn a_copy_of_another_ledger_is_refused() {
    let leader = Leader::new(8, 1);
    let kv = copied(&leader);
    let mut batch = Batch::default();
    batch.put(Space::Meta, &Key::LedgerName.bytes(), &[b"another"]);
    kv.write(batch).unwrap();
    assert!(matches!(round(&kv, &leader).unwrap_err(), ReplicaError::OtherLedger { .. }));
}

#[test]
fn a_rejection_is_copied_with_its_details() {
    let mut leader = Leader::new(31, 1);
    (0..20).for_each(|_| leader.round());
    let kv = copied(&leader);
    let found = Log::open(&kv, LogId(1)).unwrap().rejections(0, usize::MAX).unwrap();
    assert!(found.iter().any(|row| row.reason == Reason::NotJson));
    assert_eq!(found, Log::open(&leader.kv, LogId(1)).unwrap().rejections(0, usize::MAX).unwrap());
}

#[test]
fn a_ceiling_hides_every_later_head() {
    let mut leader = Leader::new(41, 1);
    (0..110).for_each(|_| leader.round());
    let log = Log::open(&leader.kv, LogId(1)).unwrap();
    let newest = log.head().unwrap();
    let sizes = log.signed_sizes(0, usize::MAX).unwrap();
    assert!(newest.size > 300, "more than a tile: {}", newest.size);
    for size in sizes {
        let below = log.clone().below(Arc::new(AtomicU64::new(size)));
        let head = below.head().unwrap();
        assert_eq!((head.size, head.edge.size(), head.edge.root()), (size, size, log.root(size).unwrap()));
        assert_eq!(Edge::decode(&head.edge.encode()).unwrap(), head.edge);
        assert_eq!(below.newest_checkpoint().unwrap(), log.checkpoint(size).unwrap().unwrap());
        assert_eq!(below.signed_sizes(0, usize::MAX).unwrap().last(), Some(&size));
        assert_eq!(below.checkpoint_at_or_after(size + 1).unwrap(), None);
        assert_eq!(below.checkpoint(newest.size).unwrap().is_some(), size == newest.size);
        assert!(below.inclusion(0, size + 1).is_err());
        // A copy takes no more than that, and goes on from there.
        let kv = MemKv::new();
        let ceiling = |log: LogId| (log.0 == 1).then(|| Arc::new(AtomicU64::new(size)));
        Copier::new(&kv, leader.source().below(ceiling), leader.trust(), |_| None)
            .catch_up(Limits::default(), |_| ())
            .unwrap();
        assert_eq!(Log::open(&kv, LogId(1)).unwrap().head().unwrap().size, size);
        Copier::new(&kv, leader.source(), leader.trust(), |_| None).catch_up(Limits::default(), |_| ()).unwrap();
        assert_eq!(rows(&kv), rows(&leader.kv));
    }
}

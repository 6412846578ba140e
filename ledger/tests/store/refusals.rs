//! What `extend`, `commit` and `load_heads` refuse: turns that contradict their head, rounds that would fork a log, stores whose
//! newest rows do not fit.

use ledger::append::{
    Cursor, Disposition, ExtendError, Head, Item, LoadError, LogId, PendingEvent, Poisoned, Turn, commit, extend,
    load_head, load_heads, look_up,
};
use ledger::dedupe::Fingerprint;
use ledger::entry::Salt;
use ledger::hash::Hash;
use ledger::kv::{Batch, Kv, MemKv, Space};
use ledger::layout::{Key, SignedAt, encode_head};
use ledger::read::{Log, ReadError};
use schemas::admit::{Facts, Has, Outcome};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, MAX_EVENT_BYTES, Phase, Producer};

use crate::world::{Crashed, Rng, World};

fn grown(messages: u64) -> (World, MemKv) {
    let world = World::new(3, 2, messages);
    let kv = MemKv::new();
    world.live(&kv, &mut Rng(3), &mut Vec::new()).map_err(|Crashed| "crashed").unwrap();
    (world, kv)
}

fn gap_turn(head: &Head, from: u64, to: u64) -> Turn {
    let cursor = Cursor { sequence: to, ..head.cursor };
    Turn { log: head.log, items: vec![Item::Gap { from, to, at_ms: 0 }], cursor, answered: 0 }
}

fn extended(kv: &MemKv, head: &Head, turn: Turn) -> Result<u64, ExtendError> {
    let known = look_up(kv, std::slice::from_ref(&turn)).unwrap();
    Ok(extend(head, turn, &known[0])?.head().size)
}

#[test]
fn a_turn_that_contradicts_its_head_is_refused() {
    let (_, kv) = grown(30);
    let head = load_head(&kv, LogId(1)).unwrap();
    let at = head.cursor.sequence;
    assert_eq!(extended(&kv, &head, gap_turn(&head, at + 1, at + 9)).unwrap(), head.size + 1);
    // Read before, or backwards, or behind its own cursor.
    for (from, to) in [(at, at + 1), (1, 1), (at + 3, at + 2)] {
        let refused = extended(&kv, &head, gap_turn(&head, from, to)).unwrap_err();
        assert!(
            matches!(refused, ExtendError::RoadOrder { found, after } if found == from && after == at),
            "{refused}"
        );
    }
    let mut short = gap_turn(&head, at + 1, at + 9);
    short.cursor.sequence = at + 8;
    let refused = extended(&kv, &head, short).unwrap_err();
    assert!(matches!(refused, ExtendError::RoadOrder { found, after } if found == at + 8 && after == at + 9));

    let other = Turn { log: LogId(2), ..gap_turn(&head, at + 1, at + 1) };
    assert!(matches!(extended(&kv, &head, other).unwrap_err(), ExtendError::OtherLog { .. }));
    let refused = extend(&head, gap_turn(&head, at + 1, at + 1), &ledger::append::Known::default());
    assert!(matches!(refused, Err(ExtendError::OtherItems { found: 0, expected: 1 })));
}

#[test]
fn the_cursor_alone_can_move() {
    let (world, kv) = grown(30);
    let head = load_head(&kv, LogId(1)).unwrap();
    let cursor = Cursor { sequence: head.cursor.sequence + 5, ..head.cursor };
    let turn = Turn { log: head.log, items: Vec::new(), cursor, answered: head.cursor.sequence };
    let known = look_up(&kv, std::slice::from_ref(&turn)).unwrap();
    let sealed = extend(&head, turn, &known[0]).unwrap().seal(&world.tenants[0].signer);
    let (committed, heads) = commit(&kv, vec![sealed]).unwrap();
    assert_eq!((heads[0].size, heads[0].cursor), (head.size, cursor));
    assert_eq!(heads, [load_head(&kv, LogId(1)).unwrap()]);
    // The note is the one there was: duplicates get their receipts under it.
    let log = Log::open(&kv, LogId(1)).unwrap();
    assert_eq!(committed.logs()[0].checkpoint, log.newest_checkpoint().unwrap());
}

#[test]
fn a_round_on_a_head_that_is_not_the_stored_one_would_fork_the_log_and_is_refused() {
    let (world, kv) = grown(30);
    let head = load_head(&kv, LogId(1)).unwrap();
    let at = head.cursor.sequence;
    let seal = |turn: Turn| {
        let known = look_up(&kv, std::slice::from_ref(&turn)).unwrap();
        extend(&head, turn, &known[0]).unwrap().seal(&world.tenants[0].signer)
    };
    let (first, second) = (seal(gap_turn(&head, at + 1, at + 1)), seal(gap_turn(&head, at + 1, at + 2)));
    let (committed, _) = commit(&kv, vec![first]).unwrap();
    assert_eq!(committed.logs()[0].dispositions, [(at + 1, Disposition::Noted { index: head.size })]);
    let before = kv.range(Space::Entries, &[0], &[255], usize::MAX).unwrap();
    let refused = commit(&kv, vec![second]).unwrap_err();
    assert!(
        matches!(refused, Poisoned::Stale { expected, found, .. } if expected == head.size && found == Some(head.size + 1))
    );
    assert_eq!(kv.range(Space::Entries, &[0], &[255], usize::MAX).unwrap(), before);
}

#[test]
fn a_round_takes_each_log_once() {
    let (world, kv) = grown(30);
    let head = load_head(&kv, LogId(1)).unwrap();
    let at = head.cursor.sequence;
    let sealed = [1, 2].map(|step| {
        let turn = gap_turn(&head, at + 1, at + step);
        let known = look_up(&kv, std::slice::from_ref(&turn)).unwrap();
        extend(&head, turn, &known[0]).unwrap().seal(&world.tenants[0].signer)
    });
    assert!(matches!(commit(&kv, sealed.into()), Err(Poisoned::Round { found: 2 })));
}

#[test]
#[should_panic(expected = "signed by its own key")]
fn another_logs_key_never_signs() {
    let (world, kv) = grown(30);
    let head = load_head(&kv, LogId(1)).unwrap();
    let turn = gap_turn(&head, head.cursor.sequence + 1, head.cursor.sequence + 1);
    let known = look_up(&kv, std::slice::from_ref(&turn)).unwrap();
    extend(&head, turn, &known[0]).unwrap().seal(&world.tenants[1].signer);
}

/// A header that no entry can hold would stop the log for ever: no message may lead to one.
#[test]
fn the_longest_event_that_admission_lets_through_fits_an_entry() {
    let (_, kv) = grown(30);
    let head = load_head(&kv, LogId(1)).unwrap();
    let sequence = (1 << 53) - 1;
    // Each quotation mark takes two bytes in JSON.
    let longest = "\"".repeat(128);
    let facts = Facts {
        change: ChangeId::parse(&longest).unwrap(),
        id: EventId::parse(&longest).unwrap(),
        phase: Phase::Preflight,
        environment: Some(Environment::parse(&"\"".repeat(32)).unwrap()),
        class: Some(ChangeClass::Emergency),
        probe: true,
        has: Has::from_bits(127).unwrap(),
        outcome: Outcome::RollbackFailed,
        ts: -62_135_596_800,
    };
    let event = PendingEvent {
        road_sequence: sequence,
        at_ms: 253_402_300_799_999,
        fingerprint: Fingerprint([1; 16]),
        change_key: [1; 16],
        salt: Salt([1; 16]),
        producer: Some(Producer::parse(&"p".repeat(64)).unwrap()),
        facts,
        payload: vec![b'x'; MAX_EVENT_BYTES].into(),
        commit: Hash([3; 32]),
        masked: u32::MAX,
        rules: Hash([1; 32]),
    };
    let second = PendingEvent { road_sequence: sequence + 1, fingerprint: Fingerprint([2; 16]), ..event.clone() };
    let cursor = Cursor { sequence: sequence + 1, ..head.cursor };
    // The second has a `prev`, too.
    let turn = Turn { log: head.log, items: vec![Item::Event(event), Item::Event(second)], cursor, answered: 0 };
    assert_eq!(extended(&kv, &head, turn).unwrap(), head.size + 2);
}

#[test]
fn the_same_inputs_give_the_same_rows() {
    let run = || {
        let (_, kv) = grown(40);
        Space::ALL.map(|space| kv.range(space, &[0], &[255], usize::MAX).unwrap())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_store_whose_newest_rows_do_not_fit_gives_no_head() {
    // More than a tile, so that the tail is not everything.
    let (_, kv) = grown(700);
    let log = LogId(1);
    let head = load_head(&kv, log).unwrap();
    assert!(head.size > 300, "{}", head.size);
    let change = |key: Key, value: Option<&[u8]>| {
        let (space, bytes) = (key.space(), key.bytes());
        let before = kv.get(space, &bytes).unwrap().unwrap();
        let mut batch = Batch::default();
        match value {
            Some(value) => batch.put(space, &bytes, &[value]),
            None => batch.delete(space, &bytes),
        }
        kv.write(batch).unwrap();
        let found = load_heads(&kv).map(drop);
        let mut batch = Batch::default();
        batch.put(space, &bytes, &[&before]);
        kv.write(batch).unwrap();
        found
    };
    let last = head.size - 1;
    let other = Log::open(&kv, log).unwrap().checkpoint_at_or_after(1).unwrap().unwrap().1;
    let other = SignedAt { previous: 0, note: other };
    let stale = Head { edge: ledger::tree::Edge::new(), ..head.clone() };
    assert!(matches!(change(Key::Entry(log, last), None), Err(LoadError::Tail { index, .. }) if index == last));
    assert!(matches!(change(Key::Entry(log, last), Some(b"x")), Err(LoadError::Tail { index, .. }) if index == last));
    assert!(matches!(change(Key::Checkpoint(log, head.size), None), Err(LoadError::Checkpoint { .. })));
    let swapped = change(Key::Checkpoint(log, head.size), Some(&other.encode()));
    assert!(matches!(swapped, Err(LoadError::Checkpoint { .. })));
    assert!(matches!(change(Key::Head(log), Some(b"short")), Err(LoadError::Damaged { .. })));
    assert!(matches!(change(Key::Head(log), Some(&encode_head(&stale))), Err(LoadError::Checkpoint { .. })));
    assert_eq!(load_head(&kv, log).unwrap(), head);
}

#[test]
fn reading_beyond_the_log_is_an_answer_not_a_panic() {
    let (_, kv) = grown(30);
    let log = Log::open(&kv, LogId(1)).unwrap();
    let size = log.head().unwrap().size;
    assert_eq!(log.entry(size).unwrap(), None);
    assert_eq!(log.header(u64::MAX).unwrap(), None);
    assert!(log.stored(size).unwrap().is_none());
    assert!(matches!(log.inclusion(size, size), Err(ReadError::BeyondSize { .. })));
    assert!(matches!(log.inclusion(0, size + 1), Err(ReadError::BeyondSize { .. })));
    assert!(matches!(log.consistency(1, size + 1), Err(ReadError::BeyondSize { .. })));
    assert!(matches!(log.receipt(size), Err(ReadError::BeyondSize { .. })));
    assert_eq!(log.receipt(0).unwrap().salt, None, "an entry without a payload is proved all the same");
    assert!(matches!(log.receipt_at(0, size + 1), Err(ReadError::BeyondSize { .. })));
    assert!(matches!(log.receipt_at(0, 0), Err(ReadError::NotSigned { size: 0 })));
    assert!(matches!(log.receipt_at(1, 1), Err(ReadError::BeyondSize { asked: 1, size: 1 })));
    assert!(log.signed_sizes(size + 1, 9).unwrap().is_empty());
    assert!(matches!(Log::open(&kv, LogId(99)), Err(ReadError::Missing { .. })));
    assert!(log.by_road(1..1).unwrap().is_empty());
    let tile = ledger::tree::TileId { level: 0, index: 0 };
    assert_eq!(log.tile(tile, 5).unwrap().unwrap().len(), 5);
    assert_eq!(log.tile(tile, 0).unwrap(), None);
    assert_eq!(log.bundle(0, 0).unwrap(), None);
    assert_eq!(log.bundle(0, 256).unwrap(), None);
    assert_eq!(log.bundle(u64::MAX, 1).unwrap(), None);
    assert_eq!(log.tile(ledger::tree::TileId { level: 60, index: 0 }, 1).unwrap(), None);
    assert_eq!(log.tile(ledger::tree::TileId { level: 0, index: u64::MAX }, 1).unwrap(), None);
}

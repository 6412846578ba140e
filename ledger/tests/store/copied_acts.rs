//! Copies of a log with acts: each listed in the ledger's own log before it is believed, and changes of keys followed from any key that
//! somebody holds.

use ledger::append::{Cursor, LogId, Turn, commit, extend, load_head, look_up};
use ledger::dedupe::Fingerprint;
use ledger::governance::KeyStatus;
use ledger::kv::{Kv, MemKv, Space};
use ledger::layout::Key;
use ledger::note::VerifierKey;
use ledger::read::Log;
use ledger::replica::{Copier, KvSource, Limits, ReplicaError, Trust};
use ledger::signing::Signer;

use crate::acts::{ADMIN, Acting, RECOVERY, accepted, hold, key, signers, with_four_keys};
use crate::replica::rows;
use crate::world::origin;

fn own() -> VerifierKey {
    Signer::from_seed(&origin("_ledger"), [1; 32]).verifier()
}

fn copy(leader: &Acting, kv: &MemKv, trust: Trust, entries: u64) -> Result<u64, ReplicaError> {
    let source = KvSource::new(&leader.kv, |_| None);
    Copier::new(kv, source, trust, |_| None).catch_up(Limits { entries, bytes: 1 << 20 }, |_| ())
}

/// An act that is decided as a copy decides it: nobody lists it.
fn perform_unlisted(log: &mut Acting, message: Vec<u8>) {
    let item = log.item(message);
    let head = load_head(&log.kv, log.log).unwrap();
    let cursor = Cursor { stream_created_ns: 1, sequence: log.road, at_ns: 0, digest: Fingerprint::default() };
    let turns = [Turn { log: log.log, items: vec![item], cursor, answered: 0 }];
    let known = look_up(&log.kv, &turns).unwrap();
    let [turn] = turns;
    let extension = extend(&head, turn, &known[0]).unwrap();
    assert!(extension.dispositions().iter().all(|(_, what)| accepted(*what)));
    let keys = extension.governance().unwrap().log_keys().clone();
    let signers = signers(&keys, extension.head());
    let sealed = extension.seal_by(&signers.iter().collect::<Vec<_>>());
    commit(&log.kv, vec![sealed]).unwrap();
}

#[test]
fn acts_are_copied_with_their_listings_in_chunks_of_any_size() {
    let leader = with_four_keys();
    for entries in [1, 2, 3, 7, 100] {
        let kv = MemKv::new();
        copy(&leader, &kv, Trust::of([own()]), entries).unwrap();
        assert_eq!(rows(&kv), rows(&leader.kv), "chunks of {entries}");
        assert!(kv.get(Space::Tree, &Key::Control(LogId(1), 7).bytes()).unwrap().is_some(), "acts were among them");
    }
}

#[test]
fn an_act_that_the_ledgers_own_log_does_not_list_is_not_copied() {
    let mut leader = Acting::new(3);
    leader.beat(2);
    assert!(accepted(leader.perform(&hold(1), &[ADMIN])));
    let kv = MemKv::new();
    copy(&leader, &kv, Trust::of([own()]), 100).unwrap();
    let before = rows(&kv);
    let index = leader.size();
    let message = leader.message(&hold(2), &[ADMIN]);
    perform_unlisted(&mut leader, message);
    let refused = copy(&leader, &kv, Trust::of([own()]), 100).unwrap_err();
    assert!(refused.is_difference(), "{refused}");
    let expected = format!("entry {index}: an act that the ledger's own log does not list as its control entry 3");
    assert!(refused.to_string().contains(&expected) && refused.to_string().contains("there is none"), "{refused}");
    assert_eq!(rows(&kv), before, "nothing of it was written");
    // A copy from nothing comes to the same.
    assert!(copy(&leader, &MemKv::new(), Trust::of([own()]), 2).unwrap_err().is_difference());
}

#[test]
fn a_listing_of_another_act_is_none() {
    let mut leader = Acting::new(4);
    // Both name the same place in the ledger's own log; the second takes it.
    let hidden = leader.message(&hold(1), &[ADMIN]);
    perform_unlisted(&mut leader, hidden);
    assert!(accepted(leader.perform(&hold(2), &[ADMIN])));
    let refused = copy(&leader, &MemKv::new(), Trust::of([own()]), 100).unwrap_err();
    assert!(refused.to_string().contains("another one stands there"), "{refused}");
}

/// Whoever holds any key that the log ever had follows it; a stranger's key leads nowhere.
#[test]
fn any_key_that_a_log_had_leads_to_its_copy() {
    let leader = with_four_keys();
    for seed in [10, 11, 12, 13] {
        let kv = MemKv::new();
        let trust = Trust::of([own(), key(seed).verifier()]);
        copy(&leader, &kv, trust.clone(), 5).unwrap_or_else(|error| panic!("key {seed}: {error}"));
        assert_eq!(rows(&kv), rows(&leader.kv), "key {seed}");
        // A start later: our own copy knows the key.
        assert_eq!(copy(&leader, &kv, trust, 5).unwrap(), 0);
    }
    let kv = MemKv::new();
    let refused = copy(&leader, &kv, Trust::of([own(), key(60).verifier()]), 5).unwrap_err();
    assert!(refused.is_difference() && refused.to_string().contains("the log key"), "{refused}");
    assert!(Log::open(&kv, LogId(1)).is_err() || Log::open(&kv, LogId(1)).unwrap().head().is_err());
}

/// A leader whose chain of keys is another log's, or cut off before the key that was given.
#[test]
fn a_key_that_the_log_got_later_is_no_key_of_its_past() {
    let mut leader = Acting::new(5);
    leader.beat(2);
    // Not yet replaced: key 11 is nobody's.
    let refused = copy(&leader, &MemKv::new(), Trust::of([own(), key(11).verifier()]), 5).unwrap_err();
    assert!(refused.to_string().contains("the log key"), "{refused}");
    let change = leader.change(11, 10, KeyStatus::Retired, leader.size() + 1);
    assert!(accepted(leader.perform(&change, &[RECOVERY, 10])));
    leader.beat(3);
    copy(&leader, &MemKv::new(), Trust::of([own(), key(11).verifier()]), 5).unwrap();
}

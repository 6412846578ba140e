//! Acts against a whole ledger in memory: appended with their listing or refused together, read back as they were decided, and keys
//! that lead to each other over every change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::append::{
    Cursor, Desk, Disposition, Head, Item, LogId, PendingControl, Turn, commit, extend_listing, load_head, look_up,
};
use ledger::checkpoint::{self, Checkpoint};
use ledger::dedupe::Fingerprint;
use ledger::entry::{Header, Salt};
use ledger::governance::{
    Act, Governance, Hold, KeyChain, KeyChainError, KeyChange, KeyStatus, LogKeys, Scope, message,
};
use ledger::hash::Hash;
use ledger::kv::{Batch, Kv, KvError, MemKv, Row, Space};
use ledger::note::VerifierKey;
use ledger::read::Log;
use ledger::signing::Signer;

use crate::world::{RULES, Rng, World, origin};

pub(crate) const ADMIN: u8 = 2;
pub(crate) const RECOVERY: u8 = 3;
const FIRST_KEY: u8 = 10;

/// One tenant's log that acts are performed on, and its road.
pub(crate) struct Acting {
    pub(crate) kv: MemKv,
    pub(crate) log: LogId,
    pub(crate) road: u64,
    pub(crate) rng: Rng,
}

pub(crate) fn key(seed: u8) -> Signer {
    Signer::from_seed(&origin("tenant-0"), [seed; 32])
}

impl Acting {
    pub(crate) fn new(seed: u64) -> Self {
        let (kv, mut rng) = (MemKv::default(), Rng(seed));
        World::new(seed, 1, 1).found(&kv, &mut rng).unwrap();
        Self { kv, log: LogId(1), road: 0, rng }
    }

    pub(crate) fn log(&self) -> Log<&MemKv> {
        Log::open(&self.kv, self.log).unwrap()
    }

    pub(crate) fn governed(&self, log: LogId) -> Governance {
        Log::open(&self.kv, log).unwrap().governance().unwrap()
    }

    pub(crate) fn size(&self) -> u64 {
        self.log().head().unwrap().size
    }

    /// The next act, signed by these seeds.
    pub(crate) fn message(&mut self, act: &Act, signers: &[u8]) -> Vec<u8> {
        let signers: Vec<Signer> = signers.iter().map(|seed| key(*seed)).collect();
        let (on, ledger) = (self.governed(self.log).place(), self.governed(LogId::LEDGER).place());
        let lister = Signer::from_seed(&origin("_ledger"), [ADMIN; 32]);
        message(act, &on, &signers.iter().collect::<Vec<_>>(), &ledger, &lister, self.rng.salt()).unwrap().print()
    }

    pub(crate) fn item(&mut self, message: Vec<u8>) -> Item {
        self.road += 1;
        Item::Control(PendingControl {
            road_sequence: Some(self.road),
            at_ms: 1_000_000 + self.road,
            fingerprint: Fingerprint(Hash::of(&message).0[..16].try_into().unwrap()),
            salt: self.rng.salt(),
            listing_salt: self.rng.salt(),
            subject: "upm.control.tenant-0".to_owned(),
            message,
            new_key_here: true,
            rules: RULES,
        })
    }

    /// One round, signed by whoever has to. Gives what became of each message.
    pub(crate) fn round(&mut self, items: Vec<Item>) -> Vec<Disposition> {
        let head = load_head(&self.kv, self.log).unwrap();
        let cursor = Cursor { stream_created_ns: 1, sequence: self.road, at_ns: 0, digest: Fingerprint::default() };
        let turns = [Turn { log: self.log, items, cursor, answered: 0 }];
        let known = look_up(&self.kv, &turns).unwrap();
        let [turn] = turns;
        let mut desk = Desk::open(&self.kv).unwrap();
        let extension = extend_listing(&head, turn, &known[0], &mut desk).unwrap();
        let dispositions = extension.dispositions().iter().map(|(_, what)| *what).collect();
        let keys = extension
            .governance()
            .map_or_else(|| self.governed(self.log).log_keys().clone(), |governance| governance.log_keys().clone());
        let signers = signers(&keys, extension.head());
        let mut sealed = vec![extension.seal_by(&signers.iter().collect::<Vec<_>>())];
        if desk.is_used() {
            let (listing, guard) = desk.finish();
            sealed.push(listing.seal(&Signer::from_seed(&origin("_ledger"), [1; 32])));
            commit(&self.kv, sealed).unwrap();
            drop(guard);
        } else {
            drop(desk);
            commit(&self.kv, sealed).unwrap();
        }
        dispositions
    }

    pub(crate) fn perform(&mut self, act: &Act, signers: &[u8]) -> Disposition {
        let message = self.message(act, signers);
        let item = self.item(message);
        self.round(vec![item])[0]
    }

    /// Entries that say nothing.
    pub(crate) fn beat(&mut self, times: u64) {
        for _ in 0..times {
            self.round(vec![Item::Heartbeat { at_ms: 5_000_000, cosigned: None }]);
        }
    }

    pub(crate) fn change(&self, new: u8, old: u8, status: KeyStatus, from: u64) -> Act {
        let size = self.size();
        let root = self.log().root(size.min(from.max(1))).unwrap();
        let (new, old) = (key(new).public_key(), key(old).public_key());
        Act::Key(KeyChange { new, old, status, from, size: size.min(from.max(1)), root })
    }
}

/// All secrets of this log, by trying.
pub(crate) fn signers(keys: &LogKeys, head: &Head) -> Vec<Signer> {
    let seeds = (FIRST_KEY..FIRST_KEY + 40).map(key);
    let all: Vec<Signer> = seeds.collect();
    let wanted: Vec<_> = keys.signing(head.size).map(|signing| signing.key).collect();
    all.into_iter().filter(|signer| wanted.contains(&signer.public_key())).collect()
}

pub(crate) fn hold(id: u64) -> Act {
    Act::Hold(Hold { id: format!("case-{id}"), scope: Scope::All, reason: "litigation".to_owned() })
}

pub(crate) fn accepted(what: Disposition) -> bool {
    matches!(what, Disposition::Accepted { .. })
}

#[test]
fn an_act_and_its_listing_stand_together_or_not_at_all() {
    let mut log = Acting::new(1);
    let ledger = |log: &Acting| load_head(&log.kv, LogId::LEDGER).unwrap().size;
    let before = ledger(&log);
    assert!(accepted(log.perform(&hold(1), &[ADMIN])));
    assert_eq!(ledger(&log), before + 1);
    let opening = ledger::birth::opening(&log.kv, before).unwrap().unwrap();
    let text = String::from_utf8(opening.1).unwrap();
    assert!(text.contains("tenant-0"), "whoever is shown the opening sees what it was: {text}");
    let Some(Header::Control(listed)) = Log::open(&log.kv, LogId::LEDGER).unwrap().header(before).unwrap() else {
        panic!("a control entry")
    };
    assert_eq!(listed.counter, 2, "after the listing of the tenant itself");
    assert!(!accepted(log.perform(&hold(1), &[ADMIN])), "it holds already");
    assert_eq!(ledger(&log), before + 1, "what is refused is not listed");
}

/// A stale listing refuses its act: nothing is done that `_ledger` does not tell.
#[test]
fn two_acts_cannot_share_a_place_in_the_ledgers_own_log() {
    let mut log = Acting::new(2);
    let (one, two) = (log.message(&hold(1), &[ADMIN]), log.message(&hold(2), &[ADMIN]));
    let items = vec![log.item(one.clone()), log.item(two), log.item(one)];
    let done = log.round(items);
    assert!(accepted(done[0]));
    assert!(matches!(done[1], Disposition::Rejected { .. }), "{:?}", done[1]);
    assert!(matches!(done[2], Disposition::Duplicate { index: 1 }), "the same bytes again, in the same round");
}

/// Random acts: what is decided in rounds is what is read back, and a model knows which of them may be.
#[test]
fn invariant_what_is_read_back_is_what_was_decided() {
    for seed in 0..6 {
        let mut log = Acting::new(seed);
        let (mut held, mut facts) = (BTreeSet::new(), BTreeMap::new());
        for _ in 0..40 {
            let id = log.rng.below(4);
            let (act, expect) = match log.rng.below(4) {
                0 => (hold(id), held.insert(id)),
                1 => {
                    let act = Act::Release { id: format!("case-{id}"), reason: "over".to_owned() };
                    (act, held.remove(&id))
                }
                2 => {
                    facts.insert(format!("fact-{id}"), "x".to_owned());
                    let set = BTreeMap::from([(format!("fact-{id}"), "x".to_owned())]);
                    (Act::Facts { set, unset: BTreeSet::new() }, true)
                }
                _ => {
                    let was = facts.remove(&format!("fact-{id}")).is_some();
                    (Act::Facts { set: BTreeMap::new(), unset: [format!("fact-{id}")].into() }, was)
                }
            };
            let by = if log.rng.below(8) == 0 { RECOVERY } else { ADMIN };
            if by == RECOVERY {
                // Not its role: nothing of it happened.
                assert!(!accepted(log.perform(&act, &[by])), "seed {seed}");
                held = log.governed(log.log).holds().keys().map(|id| id[5..].parse().unwrap()).collect();
                facts = log.governed(log.log).facts().clone();
                continue;
            }
            assert_eq!(accepted(log.perform(&act, &[by])), expect, "seed {seed}: {act:?}");
        }
        let governance = log.governed(log.log);
        assert_eq!(governance.holds().keys().map(|id| id[5..].parse().unwrap()).collect::<BTreeSet<u64>>(), held);
        assert_eq!(*governance.facts(), facts);
        assert_eq!(governance.counter() as usize, log.log().control_indices().unwrap().len());
    }
}

/// A log that has had four keys: born, retired, compromised and lost.
pub(crate) fn with_four_keys() -> Acting {
    let mut log = Acting::new(7);
    log.beat(3);
    assert!(accepted(log.perform(&hold(1), &[ADMIN])));
    assert!(accepted(log.perform(&log.change(11, 10, KeyStatus::Retired, log.size() + 4), &[RECOVERY, 10])));
    log.beat(9);
    // Stolen two entries ago.
    assert!(accepted(log.perform(&log.change(12, 11, KeyStatus::Compromised, log.size() - 2), &[RECOVERY])));
    assert!(accepted(log.perform(&Act::Admin(vec![key(90).public_key()]), &[RECOVERY])));
    log.beat(2);
    assert!(accepted(log.perform(&Act::Recovery(key(91).public_key()), &[RECOVERY])));
    assert!(!accepted(log.perform(&log.change(13, 12, KeyStatus::Lost, log.size()), &[RECOVERY])), "replaced itself");
    assert!(accepted(log.perform(&log.change(13, 12, KeyStatus::Lost, log.size()), &[91])));
    assert!(accepted(log.perform(&hold(2), &[90])));
    log.beat(2);
    log
}

/// Counts the payloads that are read.
struct Counting<'a>(&'a MemKv, AtomicU64);

impl Counting<'_> {
    fn read(&self) -> u64 {
        self.1.swap(0, Ordering::Relaxed)
    }

    fn count(&self, space: Space, rows: usize) {
        self.1.fetch_add(if space == Space::Payloads { rows as u64 } else { 0 }, Ordering::Relaxed);
    }
}

impl Kv for Counting<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.count(space, 1);
        self.0.get(space, key)
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        self.count(space, keys.len());
        self.0.get_many(space, keys)
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        let rows = self.0.range(space, from, to, limit)?;
        self.count(space, rows.len());
        Ok(rows)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        self.0.write(batch)
    }
}

/// What holds is asked for with every question about keys: what was decided before is remembered, for later sizes and by clones.
#[test]
fn control_entries_are_decided_about_once() {
    let acting = with_four_keys();
    let counting = Counting(&acting.kv, AtomicU64::new(0));
    let log = Log::open(&counting, acting.log).unwrap();
    let acts = log.control_indices().unwrap();
    assert!(acts.len() > 6, "{acts:?}");
    let half = acts.len() / 2;
    let known = |size: u64| Log::open(&acting.kv, acting.log).unwrap().governance_at(size).unwrap();
    assert_eq!(log.governance_at(acts[half]).unwrap(), known(acts[half]));
    assert_eq!(counting.read(), half as u64, "each act before it is read");
    let size = log.head().unwrap().size;
    assert_eq!(log.clone().governance().unwrap(), known(size));
    assert_eq!(counting.read(), (acts.len() - half) as u64, "and those behind it");
    assert_eq!(log.governance().unwrap(), known(size));
    assert_eq!(counting.read(), 0);
    // Of an earlier size nothing later holds.
    for earlier in (1..=size).rev() {
        assert_eq!(log.governance_at(earlier).unwrap(), known(earlier), "size {earlier}");
    }
}

fn named(seed: u8) -> VerifierKey {
    key(seed).verifier()
}

#[test]
fn every_key_of_a_log_leads_to_the_one_that_signs() {
    let log = with_four_keys();
    let keys = log.governed(log.log).log_keys().clone();
    assert_eq!(keys.history().len(), 4);
    let sizes: Vec<u64> = log.log().signed_sizes(0, 1_000).unwrap();
    for size in sizes {
        let note = log.log().checkpoint(size).unwrap().unwrap();
        keys.open_stored(&note).unwrap();
        let Some(chain) = KeyChain::build(&log.log(), size).unwrap() else { continue };
        let read = KeyChain::parse(&chain.print()).unwrap();
        assert_eq!(read, chain);
        let by_then = log.log().governance_at(size).unwrap();
        for known in by_then.log_keys().verifiers() {
            match chain.establish(&known) {
                Ok(found) => assert_eq!(found, *by_then.log_keys(), "size {size}"),
                Err(error) => panic!("size {size}, {known}: {error}"),
            }
        }
        assert!(matches!(chain.establish(&named(60)), Err(KeyChainError::Stranger(_))));
    }
}

#[test]
fn no_chain_where_there_is_nothing_to_lead_over() {
    let mut log = Acting::new(8);
    assert!(accepted(log.perform(&hold(1), &[ADMIN])));
    assert_eq!(KeyChain::build(&log.log(), log.size()).unwrap(), None);
}

#[test]
fn a_chain_says_nothing_of_holds_and_facts() {
    let log = with_four_keys();
    let text = String::from_utf8(KeyChain::build(&log.log(), log.size()).unwrap().unwrap().print()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let shown: Vec<bool> =
        value["controls"].as_array().unwrap().iter().map(|control| control.get("message").is_some()).collect();
    assert_eq!(shown, [false, true, true, true, true, true], "the hold before the last change by its header alone");
}

#[test]
fn whatever_is_changed_in_a_chain_leads_nowhere() {
    let log = with_four_keys();
    let size = log.size();
    let chain = KeyChain::build(&log.log(), size).unwrap().unwrap();
    let text = String::from_utf8(chain.print()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut places = Vec::new();
    leaves(&value, String::new(), &mut places);
    assert!(places.len() > 40, "{}", places.len());
    for place in places {
        let mut other = value.clone();
        let found = other.pointer_mut(&place).unwrap();
        *found = match &*found {
            serde_json::Value::String(text) => altered(text).into(),
            serde_json::Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
            _ => unreachable!(),
        };
        // From the first key, whose link everything hangs on.
        let Ok(chain) = KeyChain::parse(other.to_string().as_bytes()) else { continue };
        // Links of later keys are not walked from the first one.
        let established = chain.establish(&named(10));
        assert!(established.is_err() || place.starts_with("/old/1/") || place.starts_with("/old/2/"), "{place}");
    }
}

#[test]
fn a_control_entry_left_out_of_a_chain_is_missed() {
    let log = with_four_keys();
    let chain = KeyChain::build(&log.log(), log.size()).unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&chain.print()).unwrap();
    let count = value["controls"].as_array().unwrap().len();
    for place in 0..count {
        let mut other = value.clone();
        other["controls"].as_array_mut().unwrap().remove(place);
        let chain = KeyChain::parse(other.to_string().as_bytes()).unwrap();
        assert!(chain.establish(&named(10)).is_err(), "control {place}");
    }
}

#[test]
fn a_fork_by_a_stolen_key_convinces_nobody_who_knows_the_change() {
    let log = with_four_keys();
    let keys = log.governed(log.log).log_keys().clone();
    let ends: Vec<_> = keys.history().iter().filter_map(|key| key.end).collect();
    // Retired: from the entry on that replaced it. Stolen: from the size on that was stated.
    for (thief, last) in [(10, ends[0].index), (11, ends[1].from), (12, ends[2].index)] {
        for size in last + 1..log.size() + 3 {
            let forked = Checkpoint { origin: origin("tenant-0"), size, root: Hash([7; 32]) };
            let note = key(thief).sign_checkpoint(&forked);
            assert!(keys.open(&note).is_err(), "key {thief}, size {size}");
            assert!(checkpoint::open(&note, &named(thief)).is_ok(), "who has only the old key cannot know");
        }
    }
}

/// JSON pointers of all texts and numbers.
fn leaves(value: &serde_json::Value, at: String, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            members.iter().for_each(|(name, value)| leaves(value, format!("{at}/{name}"), found));
        }
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, value)| leaves(value, format!("{at}/{place}"), found));
        }
        _ => found.push(at),
    }
}

/// Another text of the same alphabet.
fn altered(text: &str) -> String {
    let middle = text.len() / 2;
    let place = (middle..text.len()).find(|place| text.as_bytes()[*place].is_ascii_alphanumeric()).unwrap_or(0);
    let other = if text.as_bytes()[place] == b'0' { "1" } else { "0" };
    format!("{}{other}{}", &text[..place], &text[place + 1..])
}

/// What a message of another ledger's admin would be: the same keys, another name.
#[test]
fn a_message_for_another_ledger_is_refused() {
    let mut log = Acting::new(9);
    let mut on = log.governed(log.log).place();
    on.origin = ledger::checkpoint::Origin::parse("other-ledger/tenant-0").unwrap();
    let signer = Signer::from_seed(&on.origin, [ADMIN; 32]);
    let ledger = log.governed(LogId::LEDGER).place();
    let lister = Signer::from_seed(&origin("_ledger"), [ADMIN; 32]);
    let foreign = message(&hold(1), &on, &[&signer], &ledger, &lister, Salt([1; 16])).unwrap().print();
    let item = log.item(foreign);
    assert!(matches!(log.round(vec![item])[0], Disposition::Rejected { .. }));
}

/// Two people replace the same key at once: who comes second is told so, and not that a signature is bad.
#[test]
fn the_second_of_two_changes_of_a_key_is_told_that_it_came_second() {
    let mut log = Acting::new(12);
    log.beat(3);
    let (one, two) = (log.change(11, 10, KeyStatus::Retired, 20), log.change(12, 10, KeyStatus::Retired, 20));
    let (one, two) = (log.message(&one, &[RECOVERY, 10]), log.message(&two, &[RECOVERY, 10]));
    let items = vec![log.item(one), log.item(two)];
    let done = log.round(items);
    assert!(accepted(done[0]));
    let told = |log: &Acting, index: u64| {
        let refused = log.log().rejections(index, 1).unwrap().remove(0);
        (refused.reason.as_str(), refused.details.found)
    };
    let Disposition::Rejected { index } = done[1] else { panic!("{:?}", done[1]) };
    assert_eq!(told(&log, index), ("control_stale_counter", "control counter 1, 2 expected".to_owned()));
    // Made anew in its turn, but still signed by the key that was replaced.
    let late = log.change(12, 10, KeyStatus::Retired, 20);
    let message = log.message(&late, &[RECOVERY, 10]);
    let item = log.item(message);
    let Disposition::Rejected { index } = log.round(vec![item])[0] else { panic!("rejected") };
    let (reason, found) = told(&log, index);
    assert_eq!(reason, "control_conflict");
    assert!(found.contains("is not the log key any more: entry"), "{found}");
    // A stranger's signature is what it was.
    let stranger = log.message(&hold(1), &[77]);
    let item = log.item(stranger);
    let Disposition::Rejected { index } = log.round(vec![item])[0] else { panic!("rejected") };
    assert_eq!(told(&log, index).0, "control_bad_signature");
}

//! fsck over a small ledger with everything in it: sound, it says so; with any bit flipped, any row gone, added or swapped, it
//! names the place. Rows of one kind stand for each other: the first of each is flipped most densely, all eight bits of its every
//! byte with `UPM_SOAK=1`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ledger::append::{Cursor, Desk, Item, LogId, PendingControl, Turn, commit, extend_listing, load_head, look_up};
use ledger::dedupe::{DedupeKey, Fingerprint};
use ledger::entry::{Header, Salt};
use ledger::fsck::{self, Finding, Options, Report};
use ledger::governance::{Act, Hold, KeyChange, KeyStatus, Scope, message};
use ledger::hash::Hash;
use ledger::kv::{Batch, Kv, MemKv, Space};
use ledger::layout::{Key, decode_head};
use ledger::read::Log;
use ledger::signing::Signer;
use schemas::ids::Tenant;

use crate::replica::Leader;
use crate::world::origin;

/// A row to put, or to delete.
type Change = (Space, Vec<u8>, Option<Vec<u8>>);
type Rows = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

fn rows(kv: &MemKv) -> Rows {
    let all = |space| kv.range(space, &[0], &[255], usize::MAX).unwrap().into_iter().map(move |(k, v)| ((space, k), v));
    Space::ALL.into_iter().flat_map(all).collect()
}

/// Two tenants, one with more than a full tile; duplicates, rejections, gaps and epochs in both.
fn grown() -> Leader {
    let mut leader = Leader::new(7, 2).with_all();
    while size(&leader.kv, 1) < 300 {
        leader.round();
    }
    govern(&leader);
    cosign(&leader.kv);
    leader
}

/// A heartbeat, a hold, and another log key, with the listings of both acts in `_ledger`; then one more round by both keys.
fn govern(leader: &Leader) {
    let (kv, log) = (&leader.kv, LogId(1));
    let (admin, recovery) = (&leader.world.admin, Signer::from_seed(&origin("_ledger"), [3; 32]));
    let old = &leader.world.tenants[0].signer;
    let new = Signer::from_seed(old.name(), [77; 32]);
    let head = Log::open(kv, log).unwrap().head().unwrap();
    let change = KeyChange {
        new: new.public_key(),
        old: old.public_key(),
        status: KeyStatus::Retired,
        from: head.size + 50,
        size: head.size,
        root: head.edge.root(),
    };
    let hold = Hold { id: "audit".into(), scope: Scope::All, reason: "an audit".into() };
    let recovery = [&recovery, old];
    for (salt, act, signers) in [(1, Act::Hold(hold), &[admin][..]), (2, Act::Key(change), &recovery[..])] {
        let place = |log| Log::open(kv, log).unwrap().governance().unwrap().place();
        let sent = message(&act, &place(log), signers, &place(LogId::LEDGER), admin, Salt([salt; 16])).unwrap();
        let item = |sequence| {
            Item::Control(PendingControl {
                road_sequence: Some(sequence),
                at_ms: head.at_ms,
                fingerprint: Fingerprint([salt; 16]),
                salt: Salt([10 + salt; 16]),
                listing_salt: Salt([20 + salt; 16]),
                subject: "upm.control.tenant-0".into(),
                message: sent.print(),
                new_key_here: true,
                rules: Hash(schemas::rules::current().name),
            })
        };
        append(leader, &[old, &new], item);
    }
    append(leader, &[old, &new], |_| Item::Heartbeat { at_ms: head.at_ms + 1, cosigned: None });
}

/// One item, signed by those of the keys that have to.
fn append(leader: &Leader, keys: &[&Signer], item: impl Fn(u64) -> Item) {
    let kv = &leader.kv;
    let head = load_head(kv, LogId(1)).unwrap();
    let cursor = Cursor { sequence: head.cursor.sequence + 1, ..head.cursor };
    let turns = [Turn { log: head.log, items: vec![item(cursor.sequence)], cursor, answered: head.answered }];
    let known = look_up(kv, &turns).unwrap();
    let [turn] = turns;
    let mut desk = Desk::open(kv).unwrap();
    let extension = extend_listing(&head, turn, &known[0], &mut desk).unwrap();
    let governance = extension.governance().cloned();
    let governance =
        governance.map_or_else(|| Log::open(kv, LogId(1)).unwrap().governance().unwrap(), |it| (*it).clone());
    let signing: Vec<_> = governance.log_keys().signing(extension.head().size).map(|key| key.key).collect();
    let signers: Vec<&Signer> = keys.iter().copied().filter(|key| signing.contains(&key.public_key())).collect();
    let mut round = vec![extension.seal_by(&signers)];
    if desk.is_used() {
        round.push(desk.finish().0.seal(&leader.world.ledger_signer));
    }
    commit(kv, round).unwrap();
}

/// Cosignatures come from elsewhere: here only their rows matter.
fn cosign(kv: &MemKv) {
    let size = size(kv, 1);
    let mut batch = Batch::default();
    for (key, value) in [
        (Key::Cosignatures(LogId(1), size), "— w AAAA\n".as_bytes().to_vec()),
        (Key::NewestCosigned(LogId(1)), size.to_be_bytes().to_vec()),
    ] {
        batch.put(key.space(), &key.bytes(), &[&key.with_check(value)]);
    }
    kv.write(batch).unwrap();
}

fn size(kv: &MemKv, log: u32) -> u64 {
    Log::open(kv, LogId(log)).unwrap().head().unwrap().size
}

fn check(kv: &MemKv, dedupe: &(dyn Fn(&Tenant) -> Option<DedupeKey> + Sync), deep: bool) -> Report {
    fsck::check(kv, &Options { threads: 1, deep, tenants: &[], dedupe, progress: &|_| () })
}

fn kv_of(rows: &Rows) -> MemKv {
    let kv = MemKv::new();
    let mut batch = Batch::default();
    for ((space, key), value) in rows {
        batch.put(*space, key, &[value]);
    }
    kv.write(batch).unwrap();
    kv
}

/// The store with some rows changed (`None`: gone), and back.
fn with<T>(kv: &MemKv, changes: &[Change], read: impl FnOnce() -> T) -> T {
    let before: Vec<_> =
        changes.iter().map(|(space, key, _)| (*space, key.clone(), kv.get(*space, key).unwrap())).collect();
    put(kv, changes);
    let read = read();
    put(kv, &before);
    read
}

fn put(kv: &MemKv, rows: &[Change]) {
    let mut batch = Batch::default();
    for (space, key, value) in rows {
        match value {
            Some(value) => batch.put(*space, key, &[value]),
            None => batch.delete(*space, key),
        }
    }
    kv.write(batch).unwrap();
}

/// What a row is called in a finding: kind, and where.
fn place(space: Space, key: &[u8]) -> (&'static str, String) {
    match Key::decode(space, key).unwrap() {
        Key::Entry(_, index) => ("entry", index.to_string()),
        Key::Payload(_, index) => ("payload", index.to_string()),
        Key::Tile(_, tile) => ("tile", tile.path(256)),
        Key::Checkpoint(_, size) => ("checkpoint", size.to_string()),
        Key::Details(_, index) => ("details", index.to_string()),
        Key::Opening(_, index) => ("opening", index.to_string()),
        Key::Dedupe(_, fingerprint) => ("dedupe", hex::encode(fingerprint.0)),
        Key::Chain(_, key) => ("chain", hex::encode(key)),
        Key::Format => ("format version", "of the store".into()),
        Key::LedgerName => ("ledger name", "of the store".into()),
        Key::NextLog => ("next log number", "of the store".into()),
        Key::Log(log) => ("log row", log.to_string()),
        Key::Head(log) => ("head", log.to_string()),
        Key::Tenant(tenant) => ("tenant row", tenant.to_string()),
        Key::Control(_, counter) => ("control", counter.to_string()),
        Key::Cosignatures(_, size) => ("cosignatures", size.to_string()),
        Key::NewestCosigned(log) => ("newest cosigned size", log.to_string()),
    }
}

/// Whether one of the findings names the row, or, for what stands beside an entry, the entry.
fn names(findings: &[Finding], space: Space, key: &[u8]) -> bool {
    let (row, at) = place(space, key);
    let (entry, size) = (format!("entry {at}"), format!("size {at}"));
    findings.iter().any(|finding| {
        (finding.row == row && finding.at == at)
            || (row == "payload" && [&finding.expected, &finding.found].iter().any(|text| text.contains(&entry)))
            // A checkpoint that is gone is named by the one after it.
            || (row == "checkpoint" && finding.row == row && finding.found.contains(&size))
            || finding.at.contains(&hex::encode(key))
    })
}

/// Cosignatures may come late or never: with another key such a row is found where it is, but nobody misses it where it was.
fn may_be_missing(space: Space, key: &[u8]) -> bool {
    matches!(Key::decode(space, key), Ok(Key::Cosignatures(..) | Key::NewestCosigned(_)))
}

#[test]
fn a_sound_ledger_is_sound() {
    let leader = grown();
    for deep in [false, true] {
        let report = check(&leader.kv, &|tenant| leader.dedupe(tenant), deep);
        assert!(report.is_sound() && report.unchecked.is_empty(), "{report:#?}");
        assert_eq!(report.logs.len(), 3);
        assert_eq!(report.entries(), fsck::total(&leader.kv));
    }
    // Without the dedupe keys all but the keys of chains is checked, and that is said.
    let report = check(&leader.kv, &|_| None, false);
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.unchecked.len(), 2, "{report:#?}");
    let other = |_: &Tenant| Some(DedupeKey::new([9; 32]));
    assert_eq!(check(&leader.kv, &other, false).findings.iter().filter(|finding| finding.row == "log row").count(), 2);
}

#[test]
fn one_tenant_is_checked_alone() {
    let leader = grown();
    let tenants = [leader.world.tenants[1].tenant.clone()];
    let options = Options { threads: 2, deep: false, tenants: &tenants, dedupe: &|_| None, progress: &|_| () };
    let report = fsck::check(&leader.kv, &options);
    assert!(report.is_sound() && report.logs.len() == 1, "{report:#?}");
}

/// Rows that stand for the others of their kind, the first of each kind first; entries and payloads are of as many kinds as there are
/// kinds of entries. With each, how dense to flip it: every how manieth byte.
fn chosen(all: &Rows, soak: bool) -> Vec<(Space, Vec<u8>, usize)> {
    let mut groups: BTreeMap<(Space, u8, String), Vec<Vec<u8>>> = BTreeMap::new();
    for ((space, key), value) in all {
        let kind = match Key::decode(*space, key).unwrap() {
            Key::Entry(..) => Header::decode(value).unwrap().kind().to_owned(),
            Key::Payload(log, _) => log.to_string(),
            _ => String::new(),
        };
        groups.entry((*space, key[0], kind)).or_default().push(key.clone());
    }
    let mut chosen = Vec::new();
    for ((space, ..), keys) in groups {
        let last = keys.len() - 1;
        let mut places = if soak { (0..=last).collect() } else { vec![0, 1.min(last), last / 2, last] };
        places.dedup();
        for place in places {
            let length = keys[place].len() + all[&(space, keys[place].clone())].len();
            let dense = match (place, soak) {
                (0, true) => 1,
                (0, false) if length < 128 => 1,
                // The commonest length of a header's members: every member is hit, tiles in every hash.
                (0, false) => 9 + length / 256,
                _ => 127,
            };
            chosen.push((space, keys[place].clone(), dense));
        }
    }
    chosen
}

#[test]
fn every_flipped_bit_is_found_and_its_place_named() {
    #[expect(clippy::disallowed_methods, reason = "how long to test is for whoever tests")]
    let soak = std::env::var_os("UPM_SOAK").is_some();
    let leader = grown();
    let all = rows(&leader.kv);
    let chosen = chosen(&all, soak);
    let (next, failed, flips) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicUsize::new(0));
    let work = || {
        let kv = kv_of(&all);
        while let Some((space, key, dense)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let value = &all[&(*space, key.clone())];
            // Of the first row of a kind every byte of the key: each of them is something.
            let keys = (0..key.len()).step_by(if *dense == 127 { 5 } else { 1 });
            let bytes = keys.chain((key.len()..key.len() + value.len()).step_by(*dense));
            for byte in bytes {
                for bit in if soak && *dense == 1 { 0..8 } else { byte % 8..byte % 8 + 1 } {
                    let found = flip(&kv, &leader, (*space, key, value), byte, bit);
                    flips.fetch_add(1, Ordering::Relaxed);
                    let named = names(&found, *space, key);
                    if !named && (found.is_empty() || !may_be_missing(*space, key)) {
                        let place = format!("{:?}, byte {byte}, bit {bit}: {found:#?}", Key::decode(*space, key));
                        failed.lock().unwrap().push(place);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(work)));
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} of {} flips: {}",
        failed.len(),
        flips.into_inner(),
        failed[..failed.len().min(9)].join("\n")
    );
}

fn flip(
    kv: &MemKv,
    leader: &Leader,
    (space, key, value): (Space, &[u8], &[u8]),
    byte: usize,
    bit: usize,
) -> Vec<Finding> {
    let (mut to, mut flipped) = (key.to_vec(), value.to_vec());
    match byte.checked_sub(key.len()) {
        None => to[byte] ^= 1 << bit,
        Some(place) => flipped[place] ^= 1 << bit,
    }
    let mut changes = vec![(space, to.clone(), Some(flipped))];
    if to != key {
        changes.push((space, key.to_vec(), None));
    }
    with(kv, &changes, || check(kv, &|tenant| leader.dedupe(tenant), false).findings)
}

/// The smallest ledger with a row of every kind: each byte of each of its keys and values, one at a time.
#[test]
fn each_byte_of_each_key_and_value_of_a_small_ledger_is_missed() {
    let mut leader = Leader::new(7, 1);
    leader.grow_to(14);
    govern(&leader);
    cosign(&leader.kv);
    let all = rows(&leader.kv);
    let kinds: BTreeSet<(Space, u8)> = all.keys().map(|(space, key)| (*space, key[0])).collect();
    let of_all: BTreeSet<(Space, u8)> = rows(&grown().kv).keys().map(|(space, key)| (*space, key[0])).collect();
    let tiles: BTreeSet<(Space, u8)> = of_all.difference(&kinds).copied().collect();
    assert!(tiles.len() <= 1, "only a full tile is not there: {tiles:?}");
    // Ten times as slow where the compiler did not optimise.
    let step = if cfg!(debug_assertions) { 11 } else { 1 };
    let places: Vec<(&(Space, Vec<u8>), usize)> = all
        .iter()
        .flat_map(|(key, value)| (0..key.1.len() + value.len()).map(move |byte| (key, byte)))
        .step_by(step)
        .collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        let kv = kv_of(&all);
        while let Some(((space, key), byte)) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
            let value = &all[&(*space, key.clone())];
            let found = flip(&kv, &leader, (*space, key, value), *byte, byte % 8);
            if !names(&found, *space, key) && (found.is_empty() || !may_be_missing(*space, key)) {
                failed.lock().unwrap().push(format!("{:?}, byte {byte}: {found:#?}", Key::decode(*space, key)));
            }
        }
    };
    std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(work)));
    });
    let failed = failed.into_inner().unwrap();
    println!("{} bytes of {} rows", places.len(), all.len());
    assert!(failed.is_empty(), "{} of {}: {}", failed.len(), places.len(), failed[..failed.len().min(9)].join("\n"));
}

#[test]
fn every_row_that_is_gone_added_or_swapped_is_found() {
    let leader = grown();
    let all = rows(&leader.kv);
    let kv = &leader.kv;
    let findings = || check(kv, &|tenant| leader.dedupe(tenant), false).findings;
    let mut last: BTreeMap<(Space, u8), Vec<u8>> = BTreeMap::new();
    for (number, ((space, key), value)) in all.iter().enumerate() {
        // Rows of a kind stand for each other; the first and the last of each kind are always among them.
        let previous = last.insert((*space, key[0]), key.clone());
        if number % 19 != 0 && previous.is_some() {
            continue;
        }
        let gone = with(kv, &[(*space, key.clone(), None)], findings);
        assert!(
            may_be_missing(*space, key) || names(&gone, *space, key),
            "{:?} gone: {gone:#?}",
            Key::decode(*space, key)
        );
        let longer = [&key[..], b"\0"].concat();
        let added = with(kv, &[(*space, longer.clone(), Some(value.clone()))], findings);
        assert!(names(&added, *space, key), "{:?} added: {added:#?}", Key::decode(*space, key));
        let Some(previous) = previous.filter(|previous| all[&(*space, previous.clone())] != *value) else { continue };
        let other = all[&(*space, previous.clone())].clone();
        let swapped = [(*space, key.clone(), Some(other)), (*space, previous, Some(value.clone()))];
        let swapped = with(kv, &swapped, findings);
        assert!(names(&swapped, *space, key), "{:?} swapped: {swapped:#?}", Key::decode(*space, key));
    }
}

/// A row of the index under a key that is not its own is not only missed where it belongs: both places are named in one finding.
#[test]
fn a_row_under_a_wrong_key_is_named_with_the_key_that_it_belongs_under() {
    let leader = grown();
    let all = rows(&leader.kv);
    for kind in ["dedupe", "chain"] {
        let of_kind = |(space, key): &&(Space, Vec<u8>)| place(*space, key).0 == kind;
        let (space, key) = all.keys().find(of_kind).unwrap();
        let mut wrong = key.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let value = all[&(*space, key.clone())].clone();
        let changes = [(*space, key.clone(), None), (*space, wrong.clone(), Some(value))];
        let found = with(&leader.kv, &changes, || check(&leader.kv, &|tenant| leader.dedupe(tenant), false).findings);
        let (right, stray) = (place(*space, key).1, place(*space, &wrong).1);
        let named = |finding: &&Finding| finding.row == kind && finding.at == right;
        let missed = found.iter().find(named).unwrap_or_else(|| panic!("{found:#?}"));
        assert!(missed.found.contains(&format!("it stands under {stray}, which is not its key")), "{found:#?}");
        let named = |finding: &Finding| finding.row == kind && finding.at == stray;
        assert!(found.iter().any(named), "{found:#?}");
        if kind == "dedupe" {
            let stray = found.iter().find(|finding| finding.at == stray).unwrap();
            assert!(stray.found.contains(&right), "{found:#?}");
        }
    }
}

/// Another tenant's dedupe key in `keys/`: both check values are named.
#[test]
fn a_wrong_dedupe_key_is_named_beside_the_one_that_it_should_be() {
    let leader = grown();
    let (tenant, wrong) = (&leader.world.tenants[0].tenant, DedupeKey::new([9; 32]));
    let right = leader.dedupe(tenant).unwrap().check_value();
    let given = |asked: &Tenant| if asked == tenant { Some(DedupeKey::new([9; 32])) } else { leader.dedupe(asked) };
    let found = check(&leader.kv, &given, false).findings;
    let [finding] = &found[..] else { panic!("{found:#?}") };
    let expected = format!("{}, the check value of the key keys/{tenant}.dedupe", hex::encode(wrong.check_value()));
    assert_eq!((finding.row, finding.expected.as_str()), ("log row", expected.as_str()));
    assert!(finding.found.starts_with(&hex::encode(right)), "{found:#?}");
}

/// Tiles of the second level, several stretches, and threads that finish them in any order.
#[test]
fn upper_tiles_and_stretches_are_checked() {
    let mut leader = Leader::new(3, 1).with_all();
    leader.grow_to(66_000);
    let dedupe = |tenant: &Tenant| leader.dedupe(tenant);
    let options = Options { threads: 3, deep: false, tenants: &[], dedupe: &dedupe, progress: &|_| () };
    let findings = || fsck::check(&leader.kv, &options).findings;
    assert_eq!(findings(), []);
    let tile = |level, index| Key::Tile(LogId(1), ledger::tree::TileId { level, index });
    let log = Log::open(&leader.kv, LogId(1)).unwrap();
    let (from, to) = (Key::Payload(LogId(1), 4_096).bytes(), Key::Payload(LogId(1), u64::MAX).bytes());
    let block = leader.kv.range(Space::Payloads, &from, &to, 1).unwrap().remove(0).0;
    let block = Key::decode(Space::Payloads, &block).unwrap();
    assert!(log.head().unwrap().size > 65_536);
    for key in [tile(1, 0), tile(0, 255), tile(0, 256), Key::Entry(LogId(1), 65_535), block] {
        let mut row = leader.kv.get(key.space(), &key.bytes()).unwrap().unwrap();
        row[40] ^= 1;
        let found = with(&leader.kv, &[(key.space(), key.bytes().to_vec(), Some(row))], findings);
        assert!(names(&found, key.space(), &key.bytes()), "{key:?}: {found:#?}");
        // A damaged block takes the links of its events with it.
        assert!(found.len() < 4 || key.space() == Space::Payloads, "{key:?}: {found:#?}");
    }
}

/// Entries that were made to fit each other, but that nobody signed.
#[test]
fn a_history_that_was_written_anew_is_found() {
    let leader = grown();
    let log = Log::open(&leader.kv, LogId(1)).unwrap();
    let (size, note) = log.checkpoint_at_or_after(2).unwrap().unwrap();
    let other = Log::open(&leader.kv, LogId(2)).unwrap().newest_checkpoint().unwrap();
    let row = |note: &str| ledger::layout::SignedAt { previous: 1, note: note.to_owned() }.encode();
    let key = Key::Checkpoint(LogId(1), size).bytes().to_vec();
    for note in [note.replace('\n', "\n\n"), other, format!("{note}{}", note.lines().last().unwrap())] {
        let changes = [(Space::Tree, key.clone(), Some(row(&note)))];
        let found = with(&leader.kv, &changes, || check(&leader.kv, &|_| None, false).findings);
        assert!(names(&found, Space::Tree, &key), "{found:#?}");
    }
    let head = leader.kv.get(Space::Meta, &Key::Head(LogId(1)).bytes()).unwrap().unwrap();
    let head = decode_head(LogId(1), &head).unwrap();
    let lies = [
        ledger::append::Head { at_ms: head.at_ms + 1, ..head.clone() },
        ledger::append::Head { epoch: head.epoch + 1, ..head.clone() },
        ledger::append::Head { answered: head.cursor.sequence + 1, ..head.clone() },
        ledger::append::Head { control_counter: 5, ..head.clone() },
    ];
    for lie in lies {
        let changes = [(Space::Meta, Key::Head(LogId(1)).bytes().to_vec(), Some(ledger::layout::encode_head(&lie)))];
        let found = with(&leader.kv, &changes, || check(&leader.kv, &|_| None, false).findings);
        assert!(found.iter().any(|finding| finding.row == "head"), "{found:#?}");
    }
}

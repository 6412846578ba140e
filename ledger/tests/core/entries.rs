//! Entries: their bytes are pinned, canonical by a second implementation, and have one spelling.

use ledger::checkpoint::Origin;
use ledger::control::ControlOp;
use ledger::entry::{
    ControlHeader, Cosigned, EntryError, Epoch, EventHeader, First, Gap, Header, Heartbeat, MAX_ENTRY_BYTES,
    MAX_NUMBER, RejectionHeader, Road, Salt, View, commitment,
};
use ledger::hash::{Hash, leaf};
use ledger::note::KeyName;
use proptest::prelude::*;
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase, Producer};
use schemas::reason::Reason;

use crate::support::{origin, signer};

const ONES: Hash = Hash([0x11; 32]);
const TWOS: Hash = Hash([0x22; 32]);
const ROAD: Road = Road { epoch: 2, sequence: 77 };

fn event() -> EventHeader {
    EventHeader {
        change: ChangeId::parse("chg-1").unwrap(),
        seq: 3,
        prev: Some(ONES),
        id: EventId::parse("evt-\u{e9}\"1").unwrap(),
        phase: Phase::Execute,
        env: Some(Environment::parse("prod").unwrap()),
        class: Some(ChangeClass::Emergency),
        probe: true,
        producer: Some(Producer::parse("ci").unwrap()),
        has: Has::from_names(["execution", "plan"]).unwrap(),
        outcome: Outcome::Failed,
        ts: -5,
        at: 1_767_323_045_678,
        road: ROAD,
        commit: TWOS,
        size: 1_300,
        masked: 2,
        rules: ONES,
    }
}

fn first() -> First {
    First {
        at: 9,
        origin: origin("ledger.example/acme"),
        log_key: signer("l/a", 1).public_key(),
        admin_keys: vec![signer("l/a", 2).public_key()],
        recovery_key: signer("l/a", 3).public_key(),
        rules: ONES,
        stream_created_ms: Some(8),
    }
}

/// One of each kind, with the bytes that stand in logs for ever.
fn pinned() -> Vec<(Header, String)> {
    let (one, two) = (ONES.to_string(), TWOS.to_string());
    let bare = EventHeader {
        seq: 0,
        prev: None,
        id: EventId::parse("e").unwrap(),
        env: None,
        class: None,
        probe: false,
        producer: None,
        has: Has::default(),
        outcome: Outcome::None,
        masked: 0,
        ..event()
    };
    let cosigned = Cosigned { size: 5, root: ONES, witness: KeyName::parse("witness.example/w1").unwrap(), time: 6 };
    let rejection =
        RejectionHeader { at: 1, road: ROAD, reason: Reason::TooDeep, commit: ONES, size: 4, masked: 0, rules: TWOS };
    let control = ControlHeader { at: 1, road: None, op: ControlOp::Tenant, counter: 1, commit: ONES, size: 4 };
    let first = first();
    let (log, admin, recovery) =
        (first.log_key.to_string(), first.admin_keys[0].to_string(), first.recovery_key.to_string());
    vec![
        (
            Header::Event(event()),
            format!(
                r#"{{"at":1767323045678,"change":"chg-1","class":"emergency","commit":"{two}","env":"prod","has":["execution","plan"],"id":"evt-é\"1","kind":"event","masked":2,"outcome":"failed","phase":"execute","prev":"{one}","probe":true,"producer":"ci","road":[2,77],"rules":"{one}","seq":3,"size":1300,"ts":-5,"v":1}}"#
            ),
        ),
        (
            Header::Event(bare),
            format!(
                r#"{{"at":1767323045678,"change":"chg-1","commit":"{two}","has":[],"id":"e","kind":"event","masked":0,"outcome":"none","phase":"execute","road":[2,77],"rules":"{one}","seq":0,"size":1300,"ts":-5,"v":1}}"#
            ),
        ),
        (
            Header::Rejection(rejection),
            format!(
                r#"{{"at":1,"body":{{"commit":"{one}","masked":0,"reason":"too_deep","rules":"{two}","size":4}},"kind":"rejection","road":[2,77],"v":1}}"#
            ),
        ),
        (
            Header::Control(control.clone()),
            format!(
                r#"{{"at":1,"body":{{"commit":"{one}","counter":1,"op":"tenant","size":4}},"kind":"control","v":1}}"#
            ),
        ),
        (
            Header::Control(ControlHeader { road: Some(ROAD), ..control }),
            format!(
                r#"{{"at":1,"body":{{"commit":"{one}","counter":1,"op":"tenant","size":4}},"kind":"control","road":[2,77],"v":1}}"#
            ),
        ),
        (
            Header::Heartbeat(Heartbeat { at: 1, cosigned: None }),
            r#"{"at":1,"body":{},"kind":"heartbeat","v":1}"#.to_owned(),
        ),
        (
            Header::Heartbeat(Heartbeat { at: 1, cosigned: Some(cosigned) }),
            format!(
                r#"{{"at":1,"body":{{"root":"{one}","size":5,"time":6,"witness":"witness.example/w1"}},"kind":"heartbeat","v":1}}"#
            ),
        ),
        (
            Header::Epoch(Epoch { at: 1, epoch: 2, stream_created_ms: 3 }),
            r#"{"at":1,"body":{"epoch":2,"stream_created":3},"kind":"epoch","v":1}"#.to_owned(),
        ),
        (
            Header::Gap(Gap { at: 1, from: 4, to: 4 }),
            r#"{"at":1,"body":{"from":4,"to":4},"kind":"gap","v":1}"#.to_owned(),
        ),
        (
            Header::First(first),
            format!(
                r#"{{"at":9,"body":{{"admin_keys":["{admin}"],"log_key":"{log}","origin":"ledger.example/acme","recovery_key":"{recovery}","rules":"{one}","stream_created":8}},"kind":"first","v":1}}"#
            ),
        ),
    ]
}

fn canonical(entry: &[u8]) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(&serde_json::from_slice::<serde_json::Value>(entry).unwrap()).unwrap()
}

#[test]
fn bytes_of_every_kind() {
    for (header, expected) in pinned() {
        let entry = header.encode().unwrap();
        assert_eq!(String::from_utf8(entry.clone()).unwrap(), expected);
        assert_eq!(canonical(&entry), entry, "RFC 8785");
        assert_eq!(Header::decode(&entry).unwrap(), header);
    }
}

#[test]
fn one_spelling_and_no_other_members() {
    for (header, text) in pinned() {
        let spellings = [
            format!(" {text}"),
            format!("{text}\n"),
            format!("{text} "),
            text.replacen("\"v\":1", "\"v\": 1", 1),
            text.replacen("\"v\":1", "\"v\":1.0", 1),
            text.replacen("\"v\":1", "\"v\":1e0", 1),
            text.replacen("\"v\":1", "\"v\":01", 1),
            text.replacen("\"v\":1", "\"v\":1,\"v\":1", 1),
            text.replacen("\"v\":1", "\"v\":1,\"zz\":1", 1),
            text.replacen("\"v\":1", "\"ts\":null,\"v\":1", 1),
            text.replacen("\"v\":1", "\"seq\":null,\"v\":1", 1),
            text.replacen("\"at\":", "\"\\u0061t\":", 1),
            text.replacen("\"kind\":\"", "\"kind\":\"\\u0065", 1).replacen("\\u0065e", "\\u0065", 1),
            text.replacen("{\"at\"", "{\"aa\":0,\"at\"", 1),
            text.replacen("\"at\":1", "\"at\":-1", 1),
            text.replacen("\"at\":", "\"at\":0", 1),
            format!("{text}{text}"),
            format!("\u{feff}{text}"),
            format!("[{text}]"),
        ];
        for bad in spellings.into_iter().filter(|bad| *bad != text) {
            match Header::decode(bad.as_bytes()) {
                Err(_) => {}
                Ok(Header::Unknown { kind, .. }) => assert_ne!(kind, header.kind(), "{bad}"),
                Ok(other) => panic!("{bad} was read as {other:?}"),
            }
        }
    }
}

#[test]
fn members_that_do_not_belong() {
    let all = pinned();
    let check = |at: usize, from: &str, to: &str, expect: &str| {
        let bad = all[at].1.replacen(from, to, 1);
        assert_ne!(bad, all[at].1, "{from}");
        let error = Header::decode(bad.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expect), "{bad}: {error}");
    };
    let (event, bare, rejection, control, beat, epoch, gap, first) = (0, 1, 2, 3, 5, 7, 8, 9);
    check(event, "\"probe\":true", "\"probe\":false", "canonical");
    check(event, "\"prev\":", "\"prev_\":", "unknown field");
    check(event, "\"seq\":3", "\"seq\":0", "prev cannot be present");
    check(bare, "\"seq\":0", "\"seq\":1", "prev cannot be absent");
    check(bare, "\"has\":[]", "\"has\":[\"plan\",\"execution\"]", "canonical");
    check(bare, "\"has\":[]", "\"has\":[\"plan\",\"plan\"]", "canonical");
    check(bare, "\"has\":[]", "\"has\":[\"luck\"]", "has cannot be");
    check(bare, "\"phase\":\"execute\"", "\"phase\":\"party\"", "phase cannot be");
    check(bare, "\"outcome\":\"none\"", "\"outcome\":\"great\"", "outcome cannot be");
    check(bare, "\"id\":\"e\"", "\"id\":\"e e\"", "id cannot be");
    check(bare, "\"id\":\"e\",", "", "no id");
    check(bare, "\"kind\":\"event\"", "\"body\":{},\"kind\":\"event\"", "canonical");
    check(bare, "\"road\":[2,77]", "\"road\":[2,77,1]", "not an entry");
    check(bare, "\"ts\":-5", "\"ts\":-0", "not an entry");
    check(bare, "\"size\":1300", "\"size\":9007199254740993", "past 2^53");
    check(event, "\"commit\":\"2222", "\"commit\":\"222", "not an entry");
    check(event, "\"class\":\"emergency\"", "\"class\":\"Emergency\"", "class cannot be");
    check(rejection, "\"road\":[2,77],", "", "no road");
    check(rejection, "too_deep", "too_deeply", "reason cannot be");
    check(rejection, "\"v\":1", "\"ts\":1,\"v\":1", "canonical");
    check(control, "\"counter\":1", "\"counter\":0", "counter cannot be 0");
    check(control, "\"op\":\"tenant\"", "\"op\":\"tennant\"", "op cannot be");
    check(control, "\"size\":4", "\"size\":4,\"to\":4", "canonical");
    check(beat, "{}", "{\"size\":4}", "canonical");
    check(beat, "{}", "{\"witness\":\"w\"}", "no size");
    check(beat, "\"kind\"", "\"commit\":\"x\",\"kind\"", "not an entry");
    check(epoch, "\"epoch\":2", "\"epoch\":4294967296", "not an entry");
    check(gap, "\"from\":4", "\"from\":5", "below from");
    check(gap, "\"kind\":\"gap\"", "\"kind\":\"gap\",\"road\":[0,1]", "canonical");
    check(first, "\"admin_keys\":[\"", "\"admin_keys\":[],\"x\":[\"", "unknown field");
    check(first, "ledger.example/acme", "acme", "origin cannot be");
    check(first, "\"log_key\":\"A", "\"log_key\":\"B", "not an entry");
}

#[test]
fn unknown_kinds_and_versions_are_reported() {
    let check = |entry: &str, v: u64, kind: &str| {
        let expected = Header::Unknown { v, kind: kind.to_owned() };
        assert_eq!(Header::decode(entry.as_bytes()).unwrap(), expected, "{entry}");
        assert!(matches!(expected.encode(), Err(EntryError::Unknown(_))), "and never written");
    };
    check(r#"{"kind":"merge","v":1}"#, 1, "merge");
    check(r#"{"at":"noon","kind":"event","mood":[{}],"v":2}"#, 2, "event");
    check(r#"{"at":1,"body":7,"kind":"vote","v":1}"#, 1, "vote");
    check(r#"{"at":1,"kind":"vote","v":1}"#, 1, "vote");
    for bad in [
        "",
        "{}",
        "null",
        "7",
        r#"{"kind":"vote"}"#,
        r#"{"v":2}"#,
        r#"[2,"vote"]"#,
        r#"{"kind":"a","kind":"b","v":2}"#,
        "\u{0}",
    ] {
        assert!(Header::decode(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn limits() {
    let long = |n: usize| ChangeId::parse(&"\"".repeat(n)).unwrap();
    let largest = EventHeader {
        change: long(128),
        id: EventId::parse(&"\\".repeat(128)).unwrap(),
        env: Some(Environment::parse(&"\"".repeat(32)).unwrap()),
        producer: Some(Producer::parse(&"x".repeat(64)).unwrap()),
        has: Has::from_names(["approvals", "closed", "execution", "plan", "preflight", "rollback", "verification"])
            .unwrap(),
        outcome: Outcome::RollbackFailed,
        seq: MAX_NUMBER,
        ts: -(1 << 53),
        at: MAX_NUMBER,
        road: Road { epoch: u32::MAX, sequence: MAX_NUMBER },
        size: MAX_NUMBER,
        masked: u32::MAX,
        ..event()
    };
    let entry = Header::Event(largest.clone()).encode().unwrap();
    assert!(entry.len() < MAX_ENTRY_BYTES, "the largest event header has {} bytes", entry.len());
    assert_eq!(canonical(&entry), entry);
    assert_eq!(Header::decode(&entry).unwrap(), Header::Event(largest.clone()));
    let past = [
        EventHeader { seq: MAX_NUMBER + 1, ..largest.clone() },
        EventHeader { ts: i64::MIN, ..largest.clone() },
        EventHeader { at: u64::MAX, ..largest.clone() },
        EventHeader { road: Road { epoch: 0, sequence: u64::MAX }, ..largest },
    ];
    for header in past {
        assert!(matches!(Header::Event(header).encode(), Err(EntryError::Value { .. })));
    }
    let keys = |count: u8| (0..count).map(|seed| signer("l/a", seed).public_key()).collect();
    let origin = Origin::parse(&format!("{}/acme", "\u{e9}".repeat(125))).unwrap();
    let full = First { admin_keys: keys(8), origin, ..first() };
    let entry = Header::First(full.clone()).encode().unwrap();
    assert!(entry.len() < MAX_ENTRY_BYTES, "the largest first entry has {} bytes", entry.len());
    for count in [0, 9] {
        assert!(
            Header::First(First { admin_keys: keys(count), ..full.clone() }).encode().is_err(),
            "{count} admin keys"
        );
    }
    let padded = format!(r#"{{"kind":"vote","pad":"{}","v":1}}"#, "x".repeat(2_020));
    assert!(matches!(Header::decode(padded.as_bytes()), Err(EntryError::TooLong(_))));
    // A witness's name has no limit of its own.
    let witness = KeyName::parse(&"w".repeat(3_000)).unwrap();
    let beat = Heartbeat { at: 1, cosigned: Some(Cosigned { size: 1, root: ONES, witness, time: 1 }) };
    assert!(matches!(Header::Heartbeat(beat).encode(), Err(EntryError::TooLong(_))));
}

#[test]
fn salts_and_commitments() {
    let salt = Salt([7; 16]);
    assert_eq!(commitment(&salt, b"payload"), Hash::of(&[&[7; 16][..], b"payload"].concat()));
    assert_ne!(commitment(&salt, b"payload"), commitment(&Salt([8; 16]), b"payload"));
    assert_eq!(Salt::from_hex(&salt.to_hex()), Some(salt));
    assert_eq!(format!("{salt:?}"), "Salt(..)");
    for bad in ["", "07", &salt.to_hex()[1..], &format!("{}0", salt.to_hex()), &"0A".repeat(16)] {
        assert_eq!(Salt::from_hex(bad), None, "{bad}");
    }
}

fn any_event() -> impl Strategy<Value = EventHeader> {
    let ids = ("[!-~]{1,40}", "[!-~\u{a1}-\u{ff}]{1,40}", proptest::option::of("[a-z0-9-]{1,32}"));
    let words =
        (0..Phase::ALL.len(), proptest::option::of(0..ChangeClass::ALL.len()), 0..Outcome::ALL.len(), 0..128_u8);
    let numbers =
        (0..=MAX_NUMBER, -(1_i64 << 53)..=1 << 53, 0..=MAX_NUMBER, any::<u32>(), 0..=MAX_NUMBER, any::<bool>());
    (ids, words, numbers, any::<[u8; 32]>()).prop_filter_map("ids", |((change, id, env), words, numbers, hash)| {
        let (phase, class, outcome, has) = words;
        let (seq, ts, at, masked, size, probe) = numbers;
        Some(EventHeader {
            change: ChangeId::parse(&change).ok()?,
            seq,
            prev: (seq > 0).then_some(Hash(hash)),
            id: EventId::parse(&id).ok()?,
            phase: Phase::ALL[phase],
            env: env.map(|env| Environment::parse(&env)).transpose().ok()?,
            class: class.map(|class| ChangeClass::ALL[class]),
            probe,
            producer: probe.then(|| Producer::parse("p_1").unwrap()),
            has: Has::from_bits(has)?,
            outcome: Outcome::ALL[outcome],
            ts,
            at,
            road: Road { epoch: masked, sequence: size },
            commit: leaf(&hash),
            size,
            masked,
            rules: Hash(hash),
        })
    })
}

proptest! {
    #[test]
    fn event_headers_round_trip_canonically(header in any_event()) {
        let header = Header::Event(header);
        let entry = header.encode().unwrap();
        prop_assert_eq!(canonical(&entry), &entry[..]);
        prop_assert_eq!(Header::decode(&entry).unwrap(), header);
    }

    #[test]
    fn a_view_says_what_the_header_says(header in any_event()) {
        let entry = Header::Event(header.clone()).encode().unwrap();
        let Ok(View::Event(view)) = View::read(&entry) else { panic!("{}", String::from_utf8_lossy(&entry)) };
        prop_assert_eq!((&*view.change, &*view.id, view.seq, view.prev), (header.change.as_str(), header.id.as_str(), header.seq, header.prev));
        prop_assert_eq!((view.phase, view.class, view.outcome, view.has), (header.phase, header.class, header.outcome, header.has));
        prop_assert_eq!((view.ts, view.at, view.probe), (header.ts, header.at, header.probe));
        prop_assert_eq!(view.env.as_deref(), header.env.as_ref().map(Environment::as_str));
    }
}

#[test]
fn a_flipped_bit_is_refused_or_says_something_else() {
    for (header, text) in pinned() {
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bad = text.clone().into_bytes();
                bad[at] ^= 1 << bit;
                assert_eq!(View::read(&bad).is_ok(), Header::decode(&bad).is_ok(), "{}", String::from_utf8_lossy(&bad));
                match Header::decode(&bad) {
                    Err(_) | Ok(Header::Unknown { .. }) => {}
                    Ok(other) => {
                        assert_ne!(other, header, "two spellings: {}", String::from_utf8_lossy(&bad));
                        assert_eq!(other.encode().unwrap(), bad);
                    }
                }
            }
        }
    }
}

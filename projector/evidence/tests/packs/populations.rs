//! Populations: honest ones verify and say what they prove; whatever is left out, added, moved or altered is refuted, whoever signs it.

use evidence::population::{Period, read_changes};
use evidence::{KeyFile, Trust, Verdict};
use ledger::control::ControlOp;
use ledger::entry::{ControlHeader, Epoch, Gap, Header, RejectionHeader, Road};
use ledger::signing::Signer;
use schemas::reason::Reason;
use serde_json::Value;

use crate::population::{BORN_MS, Ordered, check, files, honest, input, log, made, period, resigned, zipped};
use crate::witnessed::cosigner;
use crate::world::{World, event, made_again};

fn text(files: &Ordered, name: &str) -> String {
    let found = files.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}"));
    String::from_utf8(found.1.clone()).unwrap()
}

fn set(files: &mut Ordered, name: &str, bytes: &[u8]) {
    files.iter_mut().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1 = bytes.to_vec();
}

fn document(files: &Ordered) -> Value {
    serde_json::from_str(&text(files, "population.json")).unwrap()
}

#[track_caller]
fn refuted(zip: &[u8], trust: &Trust, id: &str) {
    let report = check(zip, trust);
    assert_eq!(report.verdict, Verdict::Refuted, "{report}");
    assert!(report.refuted().contains(&id), "expected {id}: {report}");
    assert_eq!(report.reach, "nothing (refuted)");
}

#[test]
fn an_honest_population_verifies_and_says_what_it_proves() {
    let (world, zip) = honest();
    let report = check(&zip, &world.trust());
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    let seen = report.to_string();
    for line in &report.not_proved {
        assert!(seen.contains(line), "{line}");
    }
    assert!(seen.contains("\ntime: operator only\n"), "{seen}");
    assert!(seen.contains("these are all 3 changes with an event"), "{seen}");
    let files = files(&zip);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "headers/0000000002.ndjson",
            "changes/0000000000.ndjson",
            "details/0000000000.ndjson",
            "VERIFY.md",
            "checkpoint",
            "consistency",
            "first.checkpoint",
            "frontier",
            "ledger.pub",
            "ledger.vkey",
            "population.json",
            "tenants/checkpoint",
            "tenants/entries.ndjson",
            "tenants/ledger.vkey",
            "tenants/own.json",
            "SHA256SUMS",
            "attestation.sigstore.json",
        ]
    );
    let document = document(&files);
    assert_eq!((&document["begins"], &document["ends"]), (&2.into(), &9.into()));
    let totals = &document["totals"];
    for (name, expect) in
        [("changes", 3), ("events", 5), ("started", 2), ("closed", 1), ("heartbeats", 3), ("rejections", 0)]
    {
        assert_eq!(totals[name], expect, "{name}: {totals}");
    }
    assert_eq!(totals["late"]["before"], 5);
    assert_eq!(totals["longest_silence_ms"], 4_000);
    assert_eq!(totals["executed"], serde_json::json!([{"changes": 1, "environment": "prod"}]));
    let changes = text(&files, "changes/0000000000.ndjson");
    let first: Value = serde_json::from_str(changes.lines().next().unwrap()).unwrap();
    assert_eq!((&first["change"], &first["first"], &first["started"]), (&"b".into(), &3.into(), &true.into()));
    assert!(text(&files, "details/0000000000.ndjson").contains(r#""resources":["aws_vpc/main"]"#));
    // Without a key: consistent with itself, and no more.
    assert_eq!(check(&zip, &Trust::default()).exit_code(), 2);
    let stranger = Signer::from_seed(&world.origin, [66; 32]).verifier();
    refuted(&zip, &Trust { key: Some(KeyFile::Vkey(stranger)), ..Trust::default() }, "checkpoint.signature");
}

#[test]
fn the_same_input_gives_the_same_bytes_and_every_pair_of_tree_heads_will_do() {
    let (world, zip) = honest();
    assert_eq!(zip, made(&world, &input(&world, period(), 2, 11)).unwrap());
    let changes = |zip: &[u8]| text(&files(zip), "changes/0000000000.ndjson");
    for (first, size) in [(0, 10), (0, 12), (1, 10), (2, 12)] {
        let other = made(&world, &input(&world, period(), first, size)).unwrap();
        let report = check(&other, &world.trust());
        assert_eq!(report.verdict, Verdict::Ok, "{first} {size}: {report}");
        assert_eq!(changes(&other), changes(&zip), "{first} {size}");
    }
    // The zip of the documentation, made by hand, is the same.
    assert_eq!(zipped(&files(&zip)), zip);
}

#[test]
fn a_period_that_nothing_stands_around_makes_no_population() {
    let world = log();
    let refused = |first, size, expect: &str| {
        let error = made(&world, &input(&world, period(), first, size)).unwrap_err();
        assert!(error.contains(expect), "{first} {size}: {error}");
    };
    refused(2, 9, "no heartbeat at or after");
    refused(3, 11, "no heartbeat before");
    let empty = Period::between(BORN_MS + 9_500, BORN_MS + 9_900).unwrap();
    assert!(made(&world, &input(&world, empty, 9, 12)).unwrap_err().contains("no heartbeat at or after"));
}

/// Every way of treating one line among others.
fn tampered(lines: &[&str], at: usize) -> Vec<(&'static str, Vec<String>)> {
    let own: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let mut ways = Vec::new();
    let mut way = |name, change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = own.clone();
        change(&mut lines);
        if lines != own {
            ways.push((name, lines));
        }
    };
    way("left out", &|lines| drop(lines.remove(at)));
    way("twice", &|lines| lines.insert(at, lines[at].clone()));
    way("moved on", &|lines| {
        let next = (at + 1) % lines.len();
        lines.swap(at, next);
    });
    way("altered", &|lines| lines[at] = lines[at].replacen("\"at\":1", "\"at\":2", 1));
    way("later", &|lines| lines[at] = lines[at].replacen("11", "12", 1));
    way("another event", &|lines| lines[at] = lines[(at + 1) % lines.len()].clone());
    way("emptied", &|lines| lines[at].clear());
    ways
}

#[test]
fn every_entry_left_out_added_moved_or_altered_is_refuted_though_the_operator_signs() {
    let (world, zip) = honest();
    let honest = files(&zip);
    let name = "headers/0000000002.ndjson";
    let headers = text(&honest, name);
    let lines: Vec<&str> = headers.lines().collect();
    assert_eq!(lines.len(), 9);
    let mut tried = 0;
    for at in 0..lines.len() {
        for (way, changed) in tampered(&lines, at) {
            let mut files = honest.clone();
            set(&mut files, name, (changed.join("\n") + "\n").as_bytes());
            let report = check(&resigned(files, &world.signer), &world.trust());
            assert!(report.refuted().contains(&"population.root"), "{way} at {at}: {report}");
            tried += 1;
        }
    }
    assert!(tried >= 50, "{tried}");
}

#[test]
fn an_operator_who_writes_the_log_anew_is_refuted_by_a_kept_checkpoint() {
    let honest = log();
    // Everything again but change c, signed with the true key.
    let mut forged = World::new();
    forged.add(&event("plan", "a", r#""plan":{"commands":["true"]}"#));
    forged.beat();
    forged.add(&event("plan", "b", r#""plan":{"commands":["true"]}"#));
    forged.beat();
    forged.beat();
    forged.beat();
    forged.beat();
    forged.beat();
    forged.beat();
    forged.beat();
    let forgery = made(&forged, &input(&forged, period(), 2, 11)).unwrap();
    let report = check(&forgery, &honest.trust());
    assert_eq!((report.verdict, report.reach.as_str()), (Verdict::Ok, "operator only"), "{report}");
    // A checkpoint of any size that the headers lead through needs no proof.
    for kept in 5..=11 {
        let trust = Trust { known_checkpoint: Some(honest.checkpoint(kept)), ..honest.trust() };
        refuted(&forgery, &trust, "trust.known_checkpoint");
        let true_one = made(&honest, &input(&honest, period(), 2, 11)).unwrap();
        let report = check(&true_one, &trust);
        assert_eq!((report.verdict, report.reach.as_str()), (Verdict::Ok, "kept checkpoint"), "{kept}: {report}");
    }
    // A later one needs a proof, which the forger cannot give.
    let trust = Trust { known_checkpoint: Some(honest.checkpoint(12)), ..honest.trust() };
    assert_eq!(check(&forgery, &trust).exit_code(), 2);
    let proved = Trust { consistency: Some(honest.consistency(11, 12)), ..trust };
    assert_ne!(check(&forgery, &proved).verdict, Verdict::Ok);
    let true_one = made(&honest, &input(&honest, period(), 2, 11)).unwrap();
    assert_eq!(check(&true_one, &proved).verdict, Verdict::Ok);
}

#[test]
fn whatever_else_is_changed_is_refuted_by_its_own_check() {
    let (world, zip) = honest();
    let honest = files(&zip);
    for (name, id) in [
        ("changes/0000000000.ndjson", "population.changes"),
        ("checkpoint", "checkpoint.signature"),
        ("consistency", "population.first"),
        ("first.checkpoint", "population.first"),
        ("frontier", "population.first"),
        ("ledger.pub", "derived.keys"),
        ("ledger.vkey", "derived.keys"),
        ("tenants/checkpoint", "population.tenants"),
        ("tenants/entries.ndjson", "population.tenants"),
        ("tenants/own.json", "population.tenants"),
        ("VERIFY.md", "files.complete"),
    ] {
        let mut changed = honest.clone();
        let mut bytes = text(&changed, name).into_bytes();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        set(&mut changed, name, &bytes);
        assert_eq!(check(&zipped(&changed), &world.trust()).verdict, Verdict::Refuted, "{name}");
        refuted(&resigned(changed, &world.signer), &world.trust(), id);
        if name == "tenants/checkpoint" {
            let mut bare = honest.clone();
            let key = text(&honest, "tenants/ledger.vkey");
            set(&mut bare, "tenants/ledger.vkey", key.trim_end().as_bytes());
            refuted(&resigned(bare, &world.signer), &world.trust(), "population.tenants");
        }
        let mut without = honest.clone();
        without.retain(|(found, _)| found != name);
        let report = check(&resigned(without, &world.signer), &world.trust());
        // The own listing may be absent: then it is not opened.
        assert_eq!(report.verdict == Verdict::Ok, name == "tenants/own.json", "{name}: {report}");
    }
    let mut extra = honest;
    extra.insert(0, ("headers/0000000001.ndjson".to_owned(), b"x\n".to_vec()));
    assert_eq!(check(&resigned(extra, &world.signer), &world.trust()).verdict, Verdict::Refuted);
}

/// Details are the operator's word, and whatever the operator signs counts; but they are of these changes, line by line, in their one form.
#[test]
fn details_have_one_form_whatever_they_say() {
    let (world, zip) = honest();
    let honest = files(&zip);
    let name = "details/0000000000.ndjson";
    let details = text(&honest, name);
    let with = |bytes: &[u8]| {
        let mut changed = honest.clone();
        set(&mut changed, name, bytes);
        assert_ne!(changed, honest);
        changed
    };
    let told = details.replacen("aws_vpc/main", "aws_vpc/other", 1);
    refuted(&zipped(&with(told.as_bytes())), &world.trust(), "sums.digests");
    assert_eq!(check(&resigned(with(told.as_bytes()), &world.signer), &world.trust()).verdict, Verdict::Ok);

    let mut lines: Vec<&str> = details.lines().collect();
    assert!(lines.len() > 1);
    let without_last = lines[..lines.len() - 1].join("\n") + "\n";
    lines.swap(0, 1);
    let swapped = lines.join("\n") + "\n";
    for (case, bytes) in [
        ("garbage", b"\xff garbage".to_vec()),
        ("nothing", Vec::new()),
        ("another object", b"{}\n".to_vec()),
        ("a line left out", without_last.into_bytes()),
        ("two lines swapped", swapped.into_bytes()),
        ("a line more", format!("{details}{{}}\n").into_bytes()),
        ("no line feed at the end", details.trim_end().as_bytes().to_vec()),
        ("a space", details.replacen("{\"change\"", "{ \"change\"", 1).into_bytes()),
        ("a member more", details.replacen("{\"change\"", "{\"a\":1,\"change\"", 1).into_bytes()),
        (
            "the same twice",
            details.replacen(r#"["aws_vpc/main"]"#, r#"["aws_vpc/main","aws_vpc/main"]"#, 1).into_bytes(),
        ),
    ] {
        let report = check(&resigned(with(&bytes), &world.signer), &world.trust());
        assert_eq!(report.refuted(), ["population.changes"], "{case}: {report}");
    }
}

#[test]
fn what_population_json_says_has_to_follow_from_the_headers() {
    let (world, zip) = honest();
    let honest = files(&zip);
    let said = |pointer: &str, value: Value, id: &str| {
        let mut document = document(&honest);
        assert_ne!(document.pointer(pointer), Some(&value), "{pointer} changes nothing");
        *document.pointer_mut(pointer).unwrap() = value;
        let mut files = honest.clone();
        set(&mut files, "population.json", &serde_json_canonicalizer::to_vec(&document).unwrap());
        refuted(&resigned(files, &world.signer), &world.trust(), id);
    };
    said("/begins", 1.into(), "population.headers");
    said("/ends", 6.into(), "population.headers");
    said("/totals/changes", 2.into(), "population.headers");
    said("/totals/late/before", 0.into(), "population.headers");
    said("/from", "2025-10-09T12:00:03.5Z".into(), "population.headers");
    said("/to", "2025-10-09T12:00:05.5Z".into(), "population.headers");
    said("/last/size", 12.into(), "checkpoint.signature");
    // Headers of so many entries would be 2^39 files: their names alone are more than there is memory.
    said("/last/size", ((1_u64 << 53) - 1).into(), "population.root");
    said("/first/size", 3.into(), "population.first");
    said("/origin", "test-ledger/other".into(), "trust.key");
    said("/tenants/listings", 0.into(), "population.tenants");
    said("/details", false.into(), "files.complete");
    said("/format", 0.into(), "population.document");
    let mut newer = honest.clone();
    let json = text(&honest, "population.json").replace("\"format\":1", "\"format\":2");
    set(&mut newer, "population.json", json.as_bytes());
    assert_eq!(
        check(&resigned(newer, &world.signer), &world.trust()).exit_code(),
        2,
        "a newer format is never refuted"
    );
}

#[test]
fn time_that_falls_and_chains_that_break_are_refuted_though_the_tree_holds_them() {
    let lied = |lie: fn(&mut ledger::entry::EventHeader)| {
        let mut world = World::new();
        world.beat();
        world.add(&event("plan", "a", r#""plan":{"commands":["true"]}"#));
        world.add_as(&event("verify", "a", r#""verification":{"checks":[]}"#), lie);
        world.beat();
        world
    };
    let period = Period::between(BORN_MS + 1_500, BORN_MS + 3_500).unwrap();
    let honest = lied(|_| {});
    assert!(made(&honest, &input(&honest, period, 0, 5)).is_ok());
    for (lie, expect) in [
        ((|header| header.at = BORN_MS + 500) as fn(&mut ledger::entry::EventHeader), "goes backwards"),
        (|header| header.seq = 2, "chain is broken"),
        (|header| header.prev = Some(ledger::hash::empty_root()), "chain is broken"),
        (|header| header.change = schemas::ids::ChangeId::parse("z").unwrap(), "chain is broken"),
    ] {
        let world = lied(lie);
        let error = made(&world, &input(&world, period, 0, 5)).unwrap_err();
        assert!(error.contains(expect), "{error}");
        // Whoever makes it all the same: the honest log's files with the dishonest log's headers and tree.
        let mut files = files(&made(&honest, &input(&honest, period, 0, 5)).unwrap());
        let lines: Vec<u8> = world.bytes(5).iter().flat_map(|entry| [entry, &b"\n"[..]].concat()).collect();
        set(&mut files, "headers/0000000000.ndjson", &lines);
        set(&mut files, "checkpoint", world.checkpoint(5).as_bytes());
        let mut document = document(&files);
        let root = world.checkpoint(5);
        let root = ledger::checkpoint::peek(&root).unwrap().root.to_string();
        document["last"]["root"] = root.into();
        set(&mut files, "population.json", &serde_json_canonicalizer::to_vec(&document).unwrap());
        refuted(&resigned(files, &world.signer), &world.trust(), "population.headers");
    }
}

#[test]
fn silence_is_proved_by_heartbeats() {
    let mut world = World::new();
    for _ in 0..5 {
        world.beat();
    }
    let period = Period::between(BORN_MS + 1_500, BORN_MS + 4_500).unwrap();
    let zip = made(&world, &input(&world, period, 1, 6)).unwrap();
    let report = check(&zip, &world.trust());
    let seen = report.to_string();
    assert_eq!(report.verdict, Verdict::Ok, "{seen}");
    assert!(seen.contains("silence: nothing was logged in that time; 5 heartbeats, at most 1 s apart"), "{seen}");
    assert!(seen.contains("that nothing happened: only that nothing was logged"), "{seen}");
    assert!(!files(&zip).iter().any(|(name, _)| name.starts_with("changes/")));
    assert_eq!(read_changes(std::io::Cursor::new(&zip), &world.trust(), &mut |_, _| {}).changes().count(), 0);
}

#[test]
fn a_cosigned_checkpoint_over_the_last_heartbeat_bounds_the_time() {
    let (world, _) = honest();
    let mut cosigned = input(&world, period(), 2, 11);
    let witness = cosigner(1);
    let note = ledger::note::SignedNote::parse(&cosigned.checkpoint).unwrap();
    let statement = ledger::cosignature::Statement::parse(note.text()).unwrap();
    cosigned.cosignatures = vec![witness.cosign(&statement, 1_760_011_300).unwrap()];
    let zip = made(&world, &cosigned).unwrap();
    // Without a policy nobody knows the witness.
    let report = check(&zip, &world.trust());
    assert_eq!((report.verdict, report.says[0].as_str()), (Verdict::Ok, "time: operator only"), "{report}");
    let policy = format!("witness w1 {}\nquorum w1\n", witness.verifier());
    let policy = ledger::policy::Policy::parse(policy.as_bytes()).unwrap();
    let report = check(&zip, &Trust { policy: Some(policy.clone()), ..world.trust() });
    let expected =
        "time: every entry up to the last heartbeat was there when it was witnessed by w1 at 2025-10-09T12:01:40Z";
    assert_eq!((report.verdict, report.says[0].as_str()), (Verdict::Ok, expected), "{report}");
    let mut stripped = files(&zip);
    set(&mut stripped, "checkpoint", world.checkpoint(11).as_bytes());
    refuted(
        &resigned(stripped, &world.signer),
        &Trust { policy: Some(policy), ..world.trust() },
        "checkpoint.signature",
    );
}

/// Rejections, acts, erasures, cuts of the road, gaps, and events whose producers' time lies elsewhere than the log's.
#[test]
fn what_is_no_event_of_the_period_is_counted_too() {
    let mut world = World::new();
    world.beat();
    let road = |sequence| Road { epoch: 0, sequence };
    let (commit, rules) = (ledger::hash::empty_root(), ledger::hash::empty_root());
    let rejection = RejectionHeader {
        at: BORN_MS + 2_000,
        road: road(2),
        reason: Reason::NotJson,
        commit,
        size: 3,
        masked: 0,
        rules,
    };
    world.add_header(Header::Rejection(rejection));
    for (counter, op) in [(1, ControlOp::Erase), (2, ControlOp::Hold)] {
        let at = BORN_MS + 2_000 + counter * 1_000;
        world.add_header(Header::Control(ControlHeader {
            at,
            road: Some(road(2 + counter)),
            op,
            counter,
            commit,
            size: 3,
        }));
    }
    world.add_header(Header::Epoch(Epoch { at: BORN_MS + 5_000, epoch: 1, stream_created_ms: BORN_MS }));
    world.add_header(Header::Gap(Gap { at: BORN_MS + 6_000, from: 5, to: 7 }));
    let at = |second: u32, change: &str| {
        let event = event("plan", change, r#""plan":{"commands":["true"]}"#);
        String::from_utf8(event).unwrap().replace("T12:00:00Z", &format!("T12:00:{second:02}Z")).into_bytes()
    };
    // Entry n is at second n, and the period goes from second 1.5 to 9.5.
    for (second, change) in [(30, "ahead"), (0, "before"), (5, "in"), (5, "after")] {
        world.add(&at(second, change));
    }
    world.beat();
    let period = Period::between(BORN_MS + 1_500, BORN_MS + 9_500).unwrap();
    let zip = made(&world, &input(&world, period, 0, world.size())).unwrap();
    let report = check(&zip, &world.trust());
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    let totals = &document(&files(&zip))["totals"];
    for (name, expect) in [
        ("rejections", 1),
        ("controls", 2),
        ("erasures", 1),
        ("epochs", 1),
        ("gaps", 1),
        ("gap_messages", 3),
        ("events", 3),
        ("changes", 3),
        ("unknown", 0),
    ] {
        assert_eq!(totals[name], expect, "{name}: {totals}");
    }
    assert_eq!(totals["late"], serde_json::json!({"after": 1, "ahead": 1, "before": 1}), "{totals}");
}

#[test]
fn kinds_of_later_versions_are_counted_never_refuted() {
    let mut world = World::new();
    world.beat();
    world.add(&event("plan", "a", r#""plan":{"commands":["true"]}"#));
    world.beat();
    assert!(Header::Unknown { v: 1, kind: "vote".into() }.encode().is_err());
    let period = Period::between(BORN_MS + 1_500, BORN_MS + 2_500).unwrap();
    let zip = made(&world, &input(&world, period, 0, 4)).unwrap();
    assert_eq!(document(&files(&zip))["totals"]["unknown"], 0);
}

/// What stands before an event without an environment has no say in how it is told.
#[test]
fn no_environment_is_told_in_one_way() {
    let mut world = World::new();
    world.beat();
    let named = |change: &str| event("execute", change, r#""execution":{"steps":[{"cmd":"true","rc":0}]}"#);
    let bare = |change: &str| {
        let event = String::from_utf8(named(change)).unwrap();
        event.replacen(r#""environment":"prod","#, "", 1).into_bytes()
    };
    for event in [bare("a"), named("b"), bare("c"), bare("b")] {
        world.add(&event);
    }
    world.beat();
    let size = world.size();
    let period = Period::between(BORN_MS + 1_500, BORN_MS + (size - 1) * 1_000).unwrap();
    let zip = made(&world, &input(&world, period, 1, size)).unwrap();
    assert_eq!(check(&zip, &world.trust()).verdict, Verdict::Ok);
    let files = files(&zip);
    let changes = text(&files, "changes/0000000000.ndjson");
    let environments: Vec<Value> =
        changes.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["environments"].take()).collect();
    assert_eq!(environments, [serde_json::json!([]), serde_json::json!(["prod"]), serde_json::json!([])]);
    let executed = &document(&files)["totals"]["executed"];
    assert_eq!(*executed, serde_json::json!([{"changes": 3}, {"changes": 1, "environment": "prod"}]));
}

/// `docs/examples` holds this population and its key.
#[test]
fn the_example_in_docs_is_made_again_byte_for_byte() {
    let (world, zip) = honest();
    made_again("population.zip", &zip);
    made_again("population.vkey", format!("{}\n", world.signer.verifier().to_vkey()).as_bytes());
}

//! What is done to the content of a pack, and the check that refutes it.
//!
//! Three attackers, each stronger than the one before: one who changes files (and knows to mend the zip), one who also mends
//! `SHA256SUMS`, and the operator, who holds the log's key and signs whatever comes out.

use evidence::{Status, Verdict};
use ledger::checkpoint::Origin;
use ledger::entry::Header;
use ledger::hash::{self, Hash};
use ledger::receipt::TlogProof;
use ledger::signing::Signer;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::world::{Files, World, event, files_of, resigned, resummed, verify, zipped};

/// A file of each kind, and the check that refutes a changed byte in it although the operator signed it anew.
const KINDS: [(&str, &str); 26] = [
    ("index.html", "derived.page"),
    ("pack.json", "pack.document"),
    ("change.json", "derived.change"),
    ("VERIFY.md", "derived.parts"),
    ("plan/0000000001-plan.json", "derived.parts"),
    ("plan/0000000001-target.json", "derived.parts"),
    ("plan/0000000001-commands.txt", "derived.parts"),
    ("plan/0000000001-digest.txt", "derived.parts"),
    ("approvals/0000000001-required.json", "derived.parts"),
    ("approvals/0000000003-given.json", "derived.parts"),
    ("approvals/0000000003-preflight.json", "derived.parts"),
    ("logs/0000000004-execution.json", "derived.parts"),
    ("logs/0000000004-step-002-stderr.txt", "derived.parts"),
    ("verify/0000000006-verification.json", "derived.parts"),
    ("rollback/0000000007-rollback.json", "derived.parts"),
    ("rollback/0000000007-commands.txt", "derived.parts"),
    ("rollback/0000000007-executed.json", "derived.parts"),
    ("rollback/summary.json", "derived.parts"),
    ("approvals/trail.json", "derived.parts"),
    ("verify/summary.json", "derived.parts"),
    ("logs/0000000004-step-001-stdout.txt", "derived.parts"),
    ("events/0000000004-execute.json", "events.commitment"),
    ("entries/0000000004.json", "log.entries"),
    ("proofs/0000000004.tlog-proof", "log.inclusion"),
    ("checkpoint", "checkpoint.signature"),
    ("ledger.vkey", "derived.keys"),
];

fn flip(files: &mut Files, name: &str) {
    let bytes = files.get_mut(name).unwrap_or_else(|| panic!("no {name}"));
    // The middle of pack.json is a salt, which other checks refute; its last member is the tree's size.
    let at = if name == "pack.json" { bytes.len() - 3 } else { bytes.len() / 2 };
    bytes[at] ^= 1;
}

/// What the operator states in `pack.json` and nothing in a pack proves (the report says so): the rule by which `change.json` judges. It
/// changes what is derived only where the rule matters.
fn differs_only_in_what_is_stated(before: &[u8], after: &[u8]) -> bool {
    let without = |bytes: &[u8]| {
        let mut document: Value = serde_json::from_slice(bytes).ok()?;
        document.as_object_mut()?.remove("approval_rules");
        Some(document)
    };
    without(before).is_some_and(|document| without(after) == Some(document))
}

#[track_caller]
fn refuted_by(world: &World, files: &Files, id: &str) {
    let report = world.verify(files);
    assert_eq!(report.verdict, Verdict::Refuted, "{report}");
    assert!(report.refuted().contains(&id), "expected {id}: {report}");
    assert_eq!(report.reach, "nothing (refuted)");
}

#[test]
fn the_table_of_kinds_is_complete() {
    let kind = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "");
    let covered: Vec<String> = KINDS.iter().map(|(name, _)| kind(name)).collect();
    let elsewhere = ["SHA256SUMS", "attestation.sigstore.json", "ledger.pub"];
    for name in World::full().files("a").keys() {
        let phase = name.starts_with("events/") || name.ends_with("-stdout.txt");
        let audit = name.ends_with("-audit-trace.json");
        let known = elsewhere.contains(&name.as_str()) || covered.contains(&kind(name)) || phase || audit;
        assert!(known, "{name} is attacked by no test");
    }
}

#[test]
fn a_changed_file_is_refuted_whatever_its_kind() {
    let world = World::full();
    for (name, by_content) in KINDS {
        let mut files = world.files("a");
        flip(&mut files, name);
        refuted_by(&world, &files, "sums.digests");
        let stranger = Signer::from_seed(&world.origin, [66; 32]);
        // Without a readable pack.json it is not known what the attestation should say: that alone refutes.
        let is_pack = name == "pack.json";
        refuted_by(&world, &resummed(files.clone()), if is_pack { by_content } else { "attestation.statement" });
        refuted_by(
            &world,
            &resigned(files.clone(), &stranger),
            if is_pack { by_content } else { "attestation.signature" },
        );
        refuted_by(&world, &world.resigned(files), by_content);
    }
}

/// A pack is as of the tree's last entry: never before its own, and exactly then where the last one is here or among the headers.
#[test]
fn a_pack_that_judges_as_of_another_time_is_refuted() {
    let world = World::full();
    let at = |index: u64| 1_760_011_200_000 + index * 1000;
    let check = |mut files: Files, as_of_ms: u64, by: &[&str]| {
        let mut document: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        assert_ne!(document["as_of_ms"], json!(as_of_ms), "the case changes nothing");
        document["as_of_ms"] = json!(as_of_ms);
        files.insert("pack.json".to_owned(), serde_json_canonicalizer::to_vec(&document).unwrap());
        let report = world.verify(&world.resigned(files));
        assert_eq!(report.refuted(), by, "{as_of_ms}: {report}");
    };
    let sealed = evidence::plan(&world.input_at("a", 9)).unwrap().seal(&world.signer).unwrap();
    let ends_here: Files = files_of(&sealed);
    // The page says the time too, to the second.
    check(ends_here.clone(), at(8) - 1, &["derived.change", "derived.page"]);
    check(ends_here, at(8) + 1, &["derived.change"]);
    check(world.files("a"), at(8) - 1, &["derived.change", "derived.page"]);
    // Entry 9 is of another change: alone, a pack has only the operator's word for its time.
    check(world.files("a"), at(9) + 1, &[]);
    check(crate::later::with_headers(&world, "a"), at(9) + 1, &["headers.later"]);
}

#[test]
fn a_changed_list_or_attestation_is_refuted() {
    let world = World::full();
    let mut files = world.files("a");
    flip(&mut files, "SHA256SUMS");
    refuted_by(&world, &files, "attestation.statement");
    let mut files = world.files("a");
    flip(&mut files, "attestation.sigstore.json");
    refuted_by(&world, &files, "attestation.signature");
    let mut files = world.files("a");
    files.insert("attestation.sigstore.json".into(), world.files("b")["attestation.sigstore.json"].clone());
    refuted_by(&world, &files, "attestation.statement");
}

#[test]
fn a_pack_made_with_another_key_is_refuted() {
    let honest = World::full();
    let stranger = Signer::from_seed(&honest.origin, [66; 32]);
    let forged = World::full().signed_by(stranger);
    let report = verify(&forged.pack("a"), &honest.trust());
    assert_eq!(report.refuted(), ["checkpoint.signature", "attestation.signature", "derived.keys"], "{report}");
    // By its own key it is a pack like any other: the key decides, nothing in the zip does.
    assert_eq!(verify(&forged.pack("a"), &forged.trust()).verdict, Verdict::Ok);
}

#[test]
fn a_key_of_another_log_is_refuted() {
    let world = World::full();
    let other = Origin::parse("test-ledger/other").unwrap();
    let key = Signer::from_seed(&other, [7; 32]).verifier().to_vkey();
    let trust = evidence::Trust { key: Some(evidence::KeyFile::parse(&key).unwrap()), ..evidence::Trust::default() };
    let report = verify(&world.pack("a"), &trust);
    assert_eq!(report.refuted(), ["trust.key"], "{report}");
}

#[test]
fn a_missing_file_of_any_name_is_refuted() {
    let world = World::full();
    for name in world.files("a").keys() {
        let mut files = world.files("a");
        files.remove(name);
        assert_eq!(world.verify(&files).verdict, Verdict::Refuted, "{name}");
        let files =
            if name == "SHA256SUMS" || name == "attestation.sigstore.json" { files } else { world.resigned(files) };
        assert_eq!(world.verify(&files).verdict, Verdict::Refuted, "{name}, signed anew");
    }
}

#[test]
fn an_extra_file_is_refuted_unless_a_later_version_may_explain_it() {
    let world = World::full();
    let check = |name: &str, expect: &[&str]| {
        let mut files = world.files("a");
        files.insert(name.to_owned(), b"x".to_vec());
        refuted_by(&world, &files, "sums.list");
        let report = world.verify(&world.resigned(files));
        assert_eq!(report.refuted(), expect, "{name}: {report}");
        assert_ne!(report.verdict, Verdict::Ok);
    };
    check("README.txt", &["files.complete"]);
    check("events/0000000099-plan.json", &["files.complete"]);
    check("plan/0000000001-extra.json", &["files.complete"]);
    check("keys/0000000000.json", &[]);
}

#[test]
fn an_entry_left_out_is_a_gap() {
    let world = World::full();
    let without = |drop: &[usize]| -> Files {
        let mut files = world.files("a");
        let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        let entries = pack["entries"].as_array_mut().unwrap();
        for at in drop.iter().rev() {
            let index = entries.remove(*at)["index"].as_u64().unwrap();
            files.retain(|name, _| !name.contains(&format!("/{index:010}")));
        }
        files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
        world.resigned(files)
    };
    for drop in [&[0][..], &[1], &[4], &[0, 1], &[0, 1, 2, 3, 4, 5]] {
        refuted_by(&world, &without(drop), "log.chain");
    }
    // The last one can be left out: that is what the report says it does not prove.
    let report = world.verify(&without(&[5]));
    assert!(report.checks.iter().any(|c| c.id == "log.chain" && c.status == Status::Ok), "{report}");
    assert!(report.later_entries.as_deref().unwrap().contains("NOT PROVED"), "{report}");
}

#[test]
fn entries_out_of_order_or_twice_are_refuted() {
    let world = World::full();
    let with = |change: fn(&mut Vec<Value>)| -> Files {
        let mut files = world.files("a");
        let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        change(pack["entries"].as_array_mut().unwrap());
        files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
        world.resigned(files)
    };
    refuted_by(&world, &with(|entries| entries.swap(0, 1)), "log.chain");
    refuted_by(&world, &with(|entries| entries.reverse()), "log.chain");
    refuted_by(&world, &with(|entries| entries.push(entries[5].clone())), "log.chain");
    refuted_by(&world, &with(|entries| entries.insert(0, entries[0].clone())), "log.chain");
}

#[test]
fn salts_and_files_swapped_between_entries_are_refuted() {
    let world = World::full();
    let swap = |a: &str, b: &str| -> Files {
        let mut files = world.files("a");
        let (first, second) = (files[a].clone(), files[b].clone());
        files.insert(a.to_owned(), second);
        files.insert(b.to_owned(), first);
        world.resigned(files)
    };
    refuted_by(&world, &swap("entries/0000000001.json", "entries/0000000003.json"), "log.inclusion");
    refuted_by(&world, &swap("proofs/0000000001.tlog-proof", "proofs/0000000003.tlog-proof"), "log.inclusion");
    refuted_by(&world, &swap("events/0000000004-execute.json", "events/0000000007-execute.json"), "events.commitment");
    let mut files = world.files("a");
    let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
    let salts: Vec<Value> = (0..2).map(|n| pack["entries"][n]["salt"].clone()).collect();
    pack["entries"][0]["salt"] = salts[1].clone();
    pack["entries"][1]["salt"] = salts[0].clone();
    files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
    refuted_by(&world, &world.resigned(files), "events.commitment");
}

#[test]
fn an_entry_of_another_change_is_refuted() {
    let world = World::full();
    let (mut files, b) = (world.files("a"), world.files("b"));
    // Entry 2 belongs to change b and follows entry 1; it takes the place of entry 3.
    files.retain(|name, _| !name.contains("/0000000003"));
    files.extend(b.into_iter().filter(|(name, _)| name.contains("/0000000002")));
    let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
    pack["entries"][1] = json!({"index": 2, "salt": "02".repeat(16)});
    files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
    refuted_by(&world, &world.resigned(files), "log.chain");
    assert!(
        evidence::plan(&{
            let mut input = world.input("a");
            input.log.entries[1] = world.pack_entry(2, world.size());
            input
        })
        .is_err()
    );
}

#[test]
fn another_size_root_or_change_in_pack_json_is_refuted() {
    let world = World::full();
    let with = |member: &str, value: Value| -> Files {
        let mut files = world.files("a");
        let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        pack[member] = value;
        files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
        world.resigned(files)
    };
    refuted_by(&world, &with("size", json!(9)), "checkpoint.head");
    refuted_by(&world, &with("root", json!("00".repeat(32))), "checkpoint.head");
    refuted_by(&world, &with("change", json!("b")), "log.chain");
    refuted_by(&world, &with("origin", json!("test-ledger/other")), "trust.key");
    refuted_by(&world, &with("origin", json!("nonsense")), "pack.document");
    refuted_by(&world, &with("surprise", json!(1)), "pack.document");
}

/// Headers of so many entries would be 2^39 files: their names alone are more than there is memory.
#[test]
fn a_size_that_nobody_could_have_headers_for_is_refuted_at_once() {
    let world = World::full();
    let mut files = crate::later::with_headers(&world, "a");
    let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
    pack["size"] = json!((1_u64 << 53) - 1);
    files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
    refuted_by(&world, &files, "sums.digests");
    refuted_by(&world, &world.resigned(files), "files.complete");
}

/// A pack may have a gigabyte, and JSON takes many times its length when it is read.
#[test]
fn a_file_that_is_read_whole_has_a_bound_and_what_is_compared_by_digest_has_none() {
    let world = World::full();
    for name in ["pack.json", "SHA256SUMS", "entries/0000000004.json", "keys/chain.json", "what/ever"] {
        let mut files = world.files("a");
        files.insert(name.to_owned(), vec![b' '; (40 << 20) + 1]);
        let report = verify(&zipped(&files), &world.trust());
        assert_eq!(report.refuted(), ["zip.form"], "{name}: {report}");
        assert!(report.to_string().contains("read whole, at most"), "{report}");
    }
    let mut files = world.files("a");
    files.insert("index.html".to_owned(), vec![b' '; (40 << 20) + 1]);
    refuted_by(&world, &world.resigned(files), "derived.page");
}

/// What the operator states of time is shown as far as it has a date, and never more than a text.
#[test]
fn a_time_past_every_calendar_is_no_reason_to_end() {
    let world = World::full();
    let mut files = world.files("a");
    let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
    pack["as_of_ms"] = json!((1_u64 << 53) - 1);
    files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
    assert_ne!(world.verify(&world.resigned(files)).verdict, Verdict::Ok);
}

#[test]
fn a_checkpoint_with_more_lines_than_named_is_refuted() {
    let world = World::full();
    let stranger = Signer::from_seed(&world.origin, [66; 32]);
    let extra = stranger.sign_checkpoint(&ledger::checkpoint::Checkpoint {
        origin: world.origin.clone(),
        size: world.size(),
        root: world.input("a").root,
    });
    let line = extra.split_once("\n\n").unwrap().1;
    let mut files = world.files("a");
    files.get_mut("checkpoint").unwrap().extend_from_slice(line.as_bytes());
    refuted_by(&world, &world.resigned(files), "checkpoint.head");
}

#[test]
fn a_header_that_says_something_else_than_its_event_is_refuted() {
    let failed = event("execute", "a", r#""execution":{"steps":[{"cmd":"x","rc":1}]}"#);
    let check = |what: &str, lie: fn(&mut ledger::entry::EventHeader)| {
        let mut world = World::new();
        world.add_as(&failed, lie);
        // The operator's own log and signature: nothing but the payload itself contradicts it.
        refuted_by(&world, &world.files("a"), "events.headers");
        let report = world.verify(&world.files("a"));
        assert!(report.checks.iter().any(|c| c.detail.contains(what)), "{what}: {report}");
    };
    check("outcome", |h| h.outcome = schemas::admit::Outcome::Passed);
    check("has", |h| h.has = schemas::admit::Has::default());
    check("header field id", |h| h.id = schemas::ids::EventId::parse("x").unwrap());
    check("env", |h| h.env = None);
    check("probe", |h| h.probe = true);
    check("ts", |h| h.ts += 1);
    check("masked", |h| h.masked = 1);
}

/// Its place is told, and never what it is.
#[test]
fn a_secret_that_was_stored_is_refuted_and_not_repeated() {
    let mut world = World::new();
    world.add(&event("plan", "a", r#""plan":{"commands":["true"],"password":"hunter22"}"#));
    let report = world.verify(&world.files("a"));
    assert_eq!(report.refuted(), ["events.masked"], "{report}");
    let said = report.to_string();
    assert!(said.contains("at byte ") && said.contains("masked it would have 1 marks, it has 0"), "{said}");
    assert!(!said.contains("hunter22"), "{said}");
    // Masked as admission would have: nothing to refute.
    let (honest, marks) = schemas::redact::mask_document(&world.payloads("a")[0]).unwrap();
    let mut world = World::new();
    world.add(&honest);
    assert_eq!((world.verify(&world.files("a")).verdict, marks), (Verdict::Ok, 1));
}

#[test]
fn an_event_of_another_tenant_is_refuted() {
    let foreign = String::from_utf8(event("plan", "a", r#""plan":{}"#)).unwrap().replace("acme", "evil");
    let mut world = World::new();
    world.add(foreign.as_bytes());
    refuted_by(&world, &world.files("a"), "events.headers");
}

#[test]
fn what_this_version_does_not_know_is_undecided_never_refuted() {
    let world = World::full();
    let with = |member: &str, value: Value, open: &str| {
        let mut files = world.files("a");
        let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        pack[member] = value;
        files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
        let report = world.verify(&world.resigned(files));
        assert_eq!((report.verdict, report.exit_code()), (Verdict::Undecided, 2), "{member}: {report}");
        assert!(report.checks.iter().any(|c| c.id == open && c.status == Status::NotDone), "{open}: {report}");
    };
    with("fold", json!(2), "derived.change");
    with("fold", json!(2), "derived.page");
    with("report", json!(2), "derived.parts");
    with("format", json!(2), "pack.document");
    with("erasures", json!([1]), "pack.document");
    let mut later = World::new();
    later.add_as(&event("plan", "a", r#""plan":{}"#), |h| h.rules = Hash([1; 32]));
    let report = later.verify(&later.files("a"));
    assert_eq!(report.verdict, Verdict::Undecided, "{report}");
    assert!(report.checks.iter().any(|c| c.id == "events.headers" && c.status == Status::NotDone), "{report}");
}

#[test]
fn an_unknown_fold_does_not_hide_a_forgery() {
    let world = World::full();
    let mut files = world.files("a");
    let pack = String::from_utf8(files["pack.json"].clone()).unwrap().replace(r#""fold":1"#, r#""fold":2"#);
    files.insert("pack.json".into(), pack.into_bytes());
    flip(&mut files, "events/0000000004-execute.json");
    refuted_by(&world, &world.resigned(files), "events.commitment");
}

#[test]
fn an_erased_salt_is_undecided() {
    let world = World::full();
    let mut files = world.files("a");
    let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
    pack["entries"][0].as_object_mut().unwrap().remove("salt");
    files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
    assert_ne!(world.verify(&world.resigned(files)).verdict, Verdict::Ok);
}

#[test]
fn a_plan_that_would_be_refuted_is_never_made() {
    let world = World::full();
    let check = |change: fn(&mut evidence::PackInput)| {
        let mut input = world.input("a");
        change(&mut input);
        assert!(evidence::plan(&input).is_err());
    };
    check(|i| i.size -= 1);
    check(|i| i.root = Hash([0; 32]));
    check(|i| i.log.entries.clear());
    check(|i| drop(i.log.entries.remove(0)));
    check(|i| i.log.entries.swap(0, 1));
    check(|i| i.log.entries[2].payload.push(b' '));
    check(|i| i.log.entries[2].entry.push(b' '));
    check(|i| i.log.entries[2].salt.0[0] ^= 1);
    check(|i| i.log.entries[2].path.clear());
    check(|i| i.checkpoint.push_str("x\n"));
    let other = Signer::from_seed(&world.origin, [66; 32]);
    assert!(evidence::plan(&world.input("a")).unwrap().seal(&other).is_err());
}

/// Entries and proofs of a pack whose bytes have a second spelling would let two packs be one.
#[test]
fn other_spellings_are_refuted() {
    let world = World::full();
    let mut files = world.files("a");
    let name = "proofs/0000000004.tlog-proof";
    let mut proof = TlogProof::parse(std::str::from_utf8(&files[name]).unwrap()).unwrap();
    proof.extra = Some(b"hello".to_vec());
    files.insert(name.to_owned(), proof.to_text().into_bytes());
    refuted_by(&world, &world.resigned(files), "log.inclusion");
    let spaced = String::from_utf8(world.files("a")["entries/0000000004.json"].clone()).unwrap().replacen(',', ", ", 1);
    assert!(Header::decode(spaced.as_bytes()).is_err());
    assert_ne!(hash::leaf(spaced.as_bytes()), hash::leaf(&world.files("a")["entries/0000000004.json"]));
}

#[test]
fn no_byte_of_a_pack_can_change() {
    let world = World::small();
    let pack = world.pack("a");
    assert_eq!(verify(&pack, &world.trust()).verdict, Verdict::Ok);
    every_byte(pack.len(), |at| {
        let mut changed = pack.clone();
        changed[at] ^= 1;
        verify(&changed, &world.trust()).verdict
    });
}

#[test]
fn no_byte_of_a_file_can_change_even_if_the_operator_signs_anew() {
    let world = World::small();
    let files = world.files("a");
    for (name, bytes) in &files {
        // The two long texts are compared byte for byte with what is derived; a sample shows that they are.
        let stride = if name == "index.html" || name == "VERIFY.md" { 37 } else { 1 };
        every_byte(bytes.len().div_ceil(stride), |n| {
            let mut changed = files.clone();
            changed.get_mut(name).unwrap()[n * stride] ^= 1;
            if name == "pack.json" && differs_only_in_what_is_stated(bytes, &changed[name]) {
                return Verdict::Refuted;
            }
            let mended = if name == "SHA256SUMS" || name == "attestation.sigstore.json" {
                changed
            } else {
                world.resigned(changed)
            };
            verify(&zipped(&mended), &world.trust()).verdict
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written over a pack, cut out of it or put into it: never Ok, and never a panic.
    #[test]
    fn a_mangled_pack_never_passes(at in any::<Index>(), cut in 0usize..40, put in vec(any::<u8>(), 0..40)) {
        let world = World::small();
        let pack = world.pack("a");
        let at = at.index(pack.len());
        let rest = &pack[(at + cut).min(pack.len())..];
        let mangled = [&pack[..at], &put, rest].concat();
        prop_assume!(mangled != pack);
        prop_assert_ne!(verify(&mangled, &world.trust()).verdict, Verdict::Ok);
    }

    /// The same to one file, with zip, list and signature mended by the operator.
    #[test]
    fn a_mangled_file_never_passes(
        file in any::<Index>(), at in any::<Index>(), cut in 0usize..9, put in vec(any::<u8>(), 0..9)
    ) {
        let world = World::small();
        let mut files = world.files("a");
        let name = file.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
        let bytes = files[&name].clone();
        let at = at.index(bytes.len());
        let mangled = [&bytes[..at], &put, &bytes[(at + cut).min(bytes.len())..]].concat();
        prop_assume!(mangled != bytes);
        prop_assume!(name != "pack.json" || !differs_only_in_what_is_stated(&bytes, &mangled));
        files.insert(name.clone(), mangled);
        let signed = name == "SHA256SUMS" || name == "attestation.sigstore.json";
        let mended = if signed { files } else { world.resigned(files) };
        prop_assert_ne!(verify(&zipped(&mended), &world.trust()).verdict, Verdict::Ok);
    }
}

fn every_byte(len: usize, verdict: impl Fn(usize) -> Verdict) {
    for at in 0..len {
        assert_ne!(verdict(at), Verdict::Ok, "byte {at}");
    }
}

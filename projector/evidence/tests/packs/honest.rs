//! Honest packs and receipts.

use evidence::{KeyFile, Reach, Report, Status, Trust, Verdict, verify_receipt};
use ledger::receipt::Receipt;

use crate::world::{Files, World, event, files_of, verify, zipped};

/// The model's own example: one event with all sections, of phase execute.
#[test]
fn the_example_of_the_model_makes_a_pack_with_all_parts() {
    let mut world = World::new();
    world.add(include_bytes!("../../../testdata/example.json"));
    let files = world.files("e5f2a4a2-86d1-41b6-a6f3-7a7e2b1c7f10");
    for part in ["plan", "approvals", "logs", "verify", "rollback"] {
        assert!(files.keys().any(|name| name.starts_with(&format!("{part}/"))), "{part}");
    }
    let commands = String::from_utf8(files["plan/0000000001-commands.txt"].clone()).unwrap();
    assert!(commands.contains(r#"--ssh-key-value "ssh-rsa AAAA...""#), "{commands}");
    let report = world.verify(&files);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
}

/// What a report says, but for hashes and lengths, which follow from the texts of other crates.
fn snapshot(name: &str, report: &Report) {
    let filters = [("[0-9a-f]{64}", "[hash]"), ("key [0-9a-f]{8}", "key [id]"), ("[0-9]+ bytes", "[n] bytes")];
    insta::with_settings!({ filters => filters }, { insta::assert_snapshot!(name, report.to_string()) });
}

#[test]
fn an_honest_pack_verifies_with_either_form_of_the_key() {
    let world = World::full();
    for change in ["a", "b"] {
        let vkey = world.signer.verifier().to_vkey();
        let pem = world.signer.verifier().spki_pem();
        for key in [vkey, pem] {
            let trust = Trust { key: Some(KeyFile::parse(&key).unwrap()), ..Trust::default() };
            let report = verify(&world.pack(change), &trust);
            assert_eq!(report.verdict, Verdict::Ok, "{report}");
            assert_eq!(report.reach, "operator only");
        }
    }
}

#[test]
fn the_report_of_an_honest_pack() {
    let world = World::full();
    snapshot("honest_pack", &world.verify(&world.files("a")));
}

#[test]
fn the_files_of_a_pack() {
    let names: Vec<String> = World::full().files("a").into_keys().collect();
    insta::assert_snapshot!("pack_files", names.join("\n"));
}

#[test]
fn the_same_entries_give_the_same_bytes() {
    assert_eq!(World::full().pack("a"), World::full().pack("a"));
}

#[test]
fn what_is_packed_is_what_was_logged() {
    let world = World::full();
    let (files, input) = (world.files("a"), world.input("a"));
    assert_eq!(input.log.entries.len(), 6);
    for entry in &input.log.entries {
        assert_eq!(files[&format!("entries/{:010}.json", entry.index)], entry.entry);
        let event = files.iter().find(|(name, _)| name.starts_with(&format!("events/{:010}-", entry.index)));
        assert_eq!(event.unwrap().1, &entry.payload);
    }
    assert_eq!(files["checkpoint"], input.checkpoint.into_bytes());
}

#[test]
fn the_page_escapes_runs_no_script_and_links_only_to_files_of_the_pack() {
    let files = World::full().files("a");
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    assert!(!page.contains("<b>one</b>") && page.contains("Make &#60;b&#62;one&#60;/b&#62; cluster"), "{page}");
    assert!(
        !page.contains("<script") && !page.contains("http://") && !page.contains("https://") && !page.contains("src=")
    );
    let after = |attribute: &str| -> Vec<&str> {
        page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    };
    let (links, places) = (after("href=\""), after(" id=\""));
    assert!(links.len() > 50, "{}", links.len());
    for link in links {
        let there = link.strip_prefix('#').map_or_else(|| files.contains_key(link), |place| places.contains(&place));
        assert!(there, "{link} is linked and not there");
    }
    assert_eq!(places.len(), places.iter().collect::<std::collections::BTreeSet<_>>().len(), "a place twice");
    for expected in ["rolled_back", "eve", "exit code 1", "replicas", "az group delete", "NOT PROVED", "not prove"] {
        let found = page.contains(expected);
        assert_eq!(found, expected != "NOT PROVED", "{expected}");
    }
}

#[test]
fn without_a_key_nothing_is_trusted_and_everything_else_is_checked() {
    let world = World::full();
    let report = verify(&world.pack("a"), &Trust::default());
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Undecided, 2), "{report}");
    assert!(report.reach.starts_with("none"), "{report}");
    let open: Vec<&str> = report.checks.iter().filter(|c| c.status != Status::Ok).map(|c| c.id).collect();
    assert_eq!(open, ["trust.key"], "{report}");
}

#[test]
fn without_a_key_a_refutation_still_outranks() {
    let world = World::full();
    let mut files = world.files("a");
    files.insert("change.json".into(), b"{}".to_vec());
    assert_eq!(verify(&zipped(&files), &Trust::default()).exit_code(), 1);
}

#[test]
fn entries_after_the_last_are_not_proved_absent_unless_the_tree_ends_there() {
    let check = |size: u64, expect: &str| {
        let world = World::full();
        let sealed = evidence::plan(&world.input_at("a", size)).unwrap().seal(&world.signer).unwrap();
        let files: Files = files_of(&sealed);
        let report = world.verify(&files);
        assert_eq!(report.verdict, Verdict::Ok, "{report}");
        assert!(report.later_entries.as_deref().unwrap().contains(expect), "{report}");
    };
    check(10, "up to size 10: NOT PROVED");
    check(9, "up to size 9: none (proved");
}

#[test]
fn a_kept_checkpoint_extends_trust() {
    let world = World::full();
    let size = world.size();
    let check = |known: &str, consistency: Option<String>, expect: Verdict, reach: &str| {
        let trust = Trust { known_checkpoint: Some(known.to_owned()), consistency, ..world.trust() };
        let report = verify(&world.pack("a"), &trust);
        assert_eq!(report.verdict, expect, "{report}");
        assert_eq!(report.reach, reach, "{report}");
    };
    check(&world.checkpoint(size), None, Verdict::Ok, "kept checkpoint");
    check(&world.checkpoint(4), None, Verdict::Undecided, "operator only");
    check(&world.checkpoint(4), Some(world.consistency(4, size)), Verdict::Ok, "kept checkpoint");
    check(&world.checkpoint(4), Some(world.consistency(5, size)), Verdict::Undecided, "operator only");
    check("nonsense", None, Verdict::Refuted, "nothing (refuted)");
    let mut other = World::new();
    while other.size() < size {
        other.add(&event("plan", "z", r#""plan":{}"#));
    }
    check(&other.checkpoint(size), None, Verdict::Refuted, "nothing (refuted)");
}

#[test]
fn an_unmet_requirement_refutes() {
    let world = World::full();
    let check = |trust: Trust, expect: &[&str]| {
        let report = verify(&world.pack("a"), &trust);
        assert_eq!(report.refuted(), expect, "{report}");
    };
    check(Trust { require: Some(Reach::Witnessed), ..world.trust() }, &["trust.require"]);
    check(Trust { require: Some(Reach::KeptCheckpoint), ..world.trust() }, &["trust.require"]);
    let known_checkpoint = Some(world.checkpoint(world.size()));
    check(Trust { require: Some(Reach::KeptCheckpoint), known_checkpoint, ..world.trust() }, &[]);
}

#[test]
fn receipts() {
    let world = World::full();
    let sent = event(
        "verify",
        "b",
        r#""verification":{"checks":[{"type":"rollout","target":"deployment/x","ok":false}],"drift":{"baseline_hash":"sha256:a","current_hash":"sha256:b","diff":["replicas"]}}"#,
    );
    let text = world.receipt(9).to_text();
    let check = |text: &str, event: Option<&[u8]>, trust: &Trust, expect: Verdict, refuted: &[&str]| {
        let report = verify_receipt(text, event, trust);
        assert_eq!((report.verdict, report.refuted().as_slice()), (expect, refuted), "{report}");
    };
    check(&text, Some(&sent), &world.trust(), Verdict::Ok, &[]);
    check(&text, None, &world.trust(), Verdict::Undecided, &[]);
    check(&text, Some(&sent), &Trust::default(), Verdict::Undecided, &[]);
    check(&text, Some(b"{}"), &world.trust(), Verdict::Refuted, &["receipt.event"]);
    check("c2sp.org/tlog-proof@v1\n", Some(&sent), &world.trust(), Verdict::Refuted, &["receipt.form"]);
    let moved = Receipt { index: 8, ..world.receipt(9) }.to_text();
    check(&moved, Some(&sent), &world.trust(), Verdict::Refuted, &["receipt.entry"]);
    snapshot("receipt", &verify_receipt(&text, Some(&sent), &world.trust()));
}

#[test]
fn no_byte_of_a_receipt_can_change() {
    let world = World::small();
    let sent = event("plan", "a", r#""plan":{"commands":["true"]}"#);
    let text = world.receipt(1).to_text();
    assert_eq!(verify_receipt(&text, Some(&sent), &world.trust()).verdict, Verdict::Ok);
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(changed) = String::from_utf8(bytes) {
            let report = verify_receipt(&changed, Some(&sent), &world.trust());
            assert_ne!(report.verdict, Verdict::Ok, "byte {at}: {report}");
        }
    }
}

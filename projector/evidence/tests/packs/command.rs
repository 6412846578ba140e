//! `upm-verify` as a process: exit codes, JSON, keys as file and as text.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::witnessed::{cosigned_files, cosigned_receipt, cosigner};
use crate::world::{World, files_of, zipped};

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_upm-verify")).args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn exit_codes_and_forms_of_the_key() {
    let world = World::full();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let (vkey, pem) = (world.signer.verifier().to_vkey(), world.signer.verifier().spki_pem());
    let mut bad = world.pack("a");
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    write("pack.zip", &world.pack("a"));
    write("bad.zip", &bad);
    write("key.vkey", format!("{vkey}\n").as_bytes());
    write("key.pub", pem.as_bytes());
    write("head", world.checkpoint(world.size()).as_bytes());
    write("receipt", world.receipt(1).to_text().as_bytes());
    write("event.json", &world.input("a").log.entries[0].payload);
    write("other.json", &world.input("a").log.entries[1].payload);
    let check = |args: &[&str], expect: i32| {
        let output = run(dir.path(), args);
        let seen = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(expect), "{args:?}: {seen}");
    };
    check(&["pack.zip", "--key", "key.vkey"], 0);
    check(&["pack.zip", "--key", "key.pub"], 0);
    check(&["pack.zip", "--key", &vkey], 0);
    check(&["pack.zip", "--key", &pem], 0);
    check(&["pack.zip"], 2);
    check(&["bad.zip"], 1);
    check(&["bad.zip", "--key", "key.vkey"], 1);
    check(&["pack.zip", "--key", "key.vkey", "--require", "witnessed"], 1);
    check(&["pack.zip", "--key", "key.vkey", "--require", "kept-checkpoint"], 1);
    check(&["pack.zip", "--key", "key.vkey", "--require", "kept-checkpoint", "--known-checkpoint", "head"], 0);
    check(&["pack.zip", "--key", "key.vkey", "--require", "nonsense"], 2);
    check(&["pack.zip", "--key", "absent"], 2);
    check(&["absent.zip", "--key", "key.vkey"], 2);
    check(&["pack.zip", "--key", "key.vkey", "--event", "event.json"], 2);
    check(&["receipt", "--key", "key.vkey", "--event", "event.json"], 0);
    check(&["receipt", "--key", "key.vkey", "--event", "other.json"], 1);
    check(&["receipt", "--key", "key.vkey"], 2);
    check(&["event.json", "--key", "key.vkey"], 1);
    check(&[], 2);
    check(&["/dev/null", "--key", "key.vkey"], 2);
    check(&["--help"], 0);
}

#[test]
fn populations_alone_and_beside_a_pack() {
    let (world, population) = crate::population::honest();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let pack = |size: u64| {
        let sealed = evidence::plan(&world.input_at("a", size)).unwrap().seal(&world.signer).unwrap();
        zipped(&files_of(&sealed))
    };
    let mut bad = population.clone();
    bad[60] ^= 1;
    write("population.zip", &population);
    write("bad.zip", &bad);
    write("pack.zip", &pack(11));
    write("old.zip", &pack(6));
    write("kept", world.checkpoint(5).as_bytes());
    write("receipt", world.receipt(1).to_text().as_bytes());
    let key = world.signer.verifier().to_vkey();
    let check = |args: &[&str], expect: i32, seen: &str| {
        let output = run(dir.path(), &[args, &["--key", &key]].concat());
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(expect), "{args:?}: {said}");
        assert!(said.contains(seen), "{args:?}: {said}");
    };
    check(&["population.zip"], 0, "time: operator only");
    check(
        &["population.zip", "--known-checkpoint", "kept", "--require", "kept-checkpoint"],
        0,
        "trust reaches: kept checkpoint",
    );
    check(&["bad.zip"], 1, "REFUTED");
    check(
        &["pack.zip", "--population", "population.zip"],
        0,
        "later entries of this change up to size 11: none (proved)",
    );
    check(&["old.zip", "--population", "population.zip"], 1, "shows entry 8 of this change, which the pack leaves out");
    check(&["pack.zip", "--population", "bad.zip"], 1, "population.holds");
    for other in ["pack.zip", "receipt"] {
        check(&["pack.zip", "--population", other], 2, "--population goes with an evidence pack");
        check(&["population.zip", "--population", other], 2, "--population goes with an evidence pack");
    }
    check(&["receipt", "--population", "population.zip"], 2, "--population goes with an evidence pack");
}

#[test]
fn what_could_not_be_done_is_said_in_one_form() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("empty"), b"").unwrap();
    let check = |args: &[&str], expect: &str| {
        let output = run(dir.path(), args);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{args:?}: {said}");
        assert!(said.starts_with("upm-verify: ") && said.ends_with('\n'), "{args:?}: {said}");
        assert!(said.contains(expect), "{args:?}: {said}");
        assert!(!said.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{args:?}: {said:?}");
    };
    check(&["empty"], "cannot verify empty: the file is empty");
    check(&["/dev/null", "--json"], "cannot verify /dev/null: the file is empty");
    check(&["."], "cannot read .: ");
    check(&[], "required arguments");
    check(&["x", "--require", "nonsense"], "expected witnessed or kept-checkpoint");
    check(&["x", "--a\u{202e}\u{2028}"], "--a\\u{202e}\\u{2028}");
    check(&["no\u{1b}[2J\u{202e}file"], "cannot read no\\u{1b}[2J\\u{202e}file: ");
    check(&["empty", "--key", "no\u{1b}[2J\u{202e}file"], "no\\u{1b}[2J\\u{202e}file");
    check(&["empty", "--known-checkpoint", "no\rfile"], "cannot read no\\u{d}file: ");
}

#[test]
fn json_says_the_same() {
    let world = World::full();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pack.zip"), world.pack("a")).unwrap();
    let vkey = world.signer.verifier().to_vkey();
    let report: Value =
        serde_json::from_slice(&run(dir.path(), &["pack.zip", "--key", &vkey, "--json"]).stdout).unwrap();
    assert_eq!((&report["verdict"], &report["reach"]), (&"ok".into(), &"operator only".into()));
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["status"] == "ok"));
    assert_eq!(report["about"]["change"], "a");
}

#[test]
fn help_has_an_example() {
    let help = text(&run(Path::new("."), &["--help"]).stdout);
    assert!(help.contains("upm-verify pack.zip --key"), "{help}");
}

#[test]
fn a_policy_on_the_command_line() {
    let world = World::full();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let (witness, stranger) = (cosigner(1), cosigner(2));
    write("pack.zip", &zipped(&cosigned_files(&world, &[&witness])));
    write("receipt", cosigned_receipt(&world, 1, &[&witness]).as_bytes());
    write("event.json", &world.input("a").log.entries[0].payload);
    let vkey = world.signer.verifier().to_vkey();
    write("key.vkey", vkey.as_bytes());
    let (good, other) = (witness.verifier(), stranger.verifier());
    write("policy", format!("witness w {good}\nquorum w\n").as_bytes());
    write("with-log", format!("log {vkey}\nwitness w {good}\nquorum w\n").as_bytes());
    write("other", format!("witness w {other}\nquorum w\n").as_bytes());
    write("malformed", b"witness w\nquorum w\n");
    let check = |args: &[&str], expect: i32, says: &str| {
        let output = run(dir.path(), args);
        let seen = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(expect), "{args:?}: {seen}");
        assert!(seen.contains(says), "{args:?}: {seen}");
    };
    for file in [&["pack.zip"][..], &["receipt", "--event", "event.json"]] {
        let with = |more: &[&'static str]| [file, more].concat();
        let words = "trust reaches: witnessed by w at 2023-11-14T22:13:20Z";
        check(&with(&["--key", "key.vkey", "--witness-policy", "policy"]), 0, words);
        check(&with(&["--witness-policy", "with-log", "--require", "witnessed"]), 0, words);
        check(&with(&["--key", "key.vkey"]), 0, "trust reaches: operator only");
        check(&with(&["--key", "key.vkey", "--require", "witnessed"]), 1, "reached: operator only");
        check(&with(&["--key", "key.vkey", "--witness-policy", "other"]), 2, "no cosignature by w");
        check(
            &with(&["--key", "key.vkey", "--witness-policy", "other", "--require", "witnessed"]),
            1,
            "required: witnessed",
        );
        check(
            &with(&["--key", "key.vkey", "--witness-policy", "malformed"]),
            2,
            "witness policy, line 1: expected `witness",
        );
        check(&with(&["--key", "key.vkey", "--witness-policy", "absent"]), 2, "absent");
    }
}

#[test]
fn keys_of_the_evidence_of_others_on_the_command_line() {
    let world = crate::foreign::world(&[crate::foreign::DSSE]);
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("pack.zip", &world.pack("a"));
    write("receipt", world.receipt(1).to_text().as_bytes());
    write("build.pub", crate::foreign::DSSE_KEY.as_bytes());
    write("other.pub", crate::foreign::BUNDLE_KEY.as_bytes());
    write("none.pub", b"-----BEGIN PUBLIC KEY-----");
    let vkey = world.signer.verifier().to_vkey();
    let check = |args: &[&str], expect: i32, says: &str| {
        let output = run(dir.path(), &[args, &["--key", &vkey]].concat());
        let seen = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(expect), "{args:?}: {seen}");
        assert!(seen.contains(says), "{args:?}: {seen}");
    };
    check(&["pack.zip"], 0, "was not checked: no key is named for it");
    check(&["pack.zip", "--evidence-key", "build=build.pub"], 0, "is signed with the key “build”");
    check(&["pack.zip", "--evidence-key", "o=other.pub", "--evidence-key", "b=build.pub"], 0, "the key “b”");
    check(&["pack.zip", "--evidence-key", "build=other.pub"], 1, "[events.foreign]");
    check(&["pack.zip", "--evidence-key", "build.pub"], 2, "expected NAME=FILE.pub");
    check(&["pack.zip", "--evidence-key", "build=absent.pub"], 2, "cannot read absent.pub");
    check(&["pack.zip", "--evidence-key", "build=none.pub"], 2, "ECDSA P-256 or Ed25519");
    check(&["receipt", "--evidence-key", "build=build.pub"], 2, "--evidence-key goes with an evidence pack");
}

/// What goes wrong in other hands: each a sentence that says what to do.
#[test]
fn bad_input_is_answered_with_what_to_do() {
    let world = World::full();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let mut newer = world.files("a");
    let document = text(&newer["pack.json"]).replace(r#""format":1"#, r#""format":2"#);
    newer.insert("pack.json".into(), document.into_bytes());
    write("pack.zip", &world.pack("a"));
    write("newer.zip", &zipped(&world.resigned(newer)));
    write("cut.zip", &world.pack("a")[..2000]);
    let other = ledger::checkpoint::Origin::parse("other-ledger/acme").unwrap();
    let other = ledger::signing::Signer::from_seed(&other, [9; 32]).verifier();
    write("other.vkey", other.to_vkey().as_bytes());
    write("other.pub", other.spki_pem().as_bytes());
    let (old, own) = (cosigner(9).verifier(), world.signer.verifier().to_vkey());
    write("old.policy", format!("log {own}\nwitness w {old}\nquorum w\n").as_bytes());
    let check = |args: &[&str], expect: i32, says: &str| {
        let output = run(dir.path(), args);
        let seen = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(expect), "{args:?}: {seen}");
        assert!(seen.contains(says), "{args:?}: expected {says}: {seen}");
    };
    check(&["pack.zip", "--key", "other.vkey"], 1, "ask the holder of that log for its key (`upm keys show`)");
    check(&["pack.zip", "--key", "other.pub"], 1, "A key of another ledger gives this answer");
    check(&["newer.zip", "--key", &own], 2, "check the pack with a newer one");
    check(&["pack.zip", "--witness-policy", "old.policy"], 2, "name the one that held then, or ask for");
    check(&["cut.zip", "--key", &own], 1, "cut short");
    check(&["absent.zip", "--key", &own], 2, "cannot read absent.zip");
}

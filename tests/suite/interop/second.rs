//! A second verifier, `tests/python/verify`, written by somebody who read the pages and not the code. Both say the same of what the program makes;
//! both refuse what is changed, also where the log's own key has sealed it again. It needs Python alone, so every `make test` runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use upm_tests::{ok, program, project, run};

use crate::populations::{Ledger, now};

/// What the second verifier does not derive again, because no page gives it byte for byte; everything else it decides.
const UNDECIDED: [&str; 3] = ["11 masking", "14 change.json", "14 index.html"];

fn script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").arg(project().join("tests/python").join(name));
    command
}

/// What the second verifier says of a file: exit code, its report as JSON, and what it printed.
fn second(file: &Path, key: &str, more: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(script("verify").arg(file).args(["--json", "--key", key]).args(more));
    let report = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{}: {error}: {out}{err}", file.display()));
    (code, report)
}

/// The exit code of `upm-verify` on a file.
fn ours(file: &Path, key: &str, more: &[&str]) -> (i32, String) {
    let (code, out, err) = run(Command::new(program("upm-verify")).arg(file).args(["--key", key]).args(more));
    (code, out + &err)
}

/// Both accept the file, the second one but for what it leaves undecided.
fn both_accept(file: &Path, key: &str, more: &[&str]) {
    let (code, said) = ours(file, key, more);
    assert_eq!(code, 0, "{}: {said}", file.display());
    let (code, report) = second(file, key, more);
    let checks = report["checks"].as_array().expect("a list");
    let open: Vec<_> =
        checks.iter().filter(|check| check["status"] != "ok").filter_map(|check| check["check"].as_str()).collect();
    let pack = checks.iter().any(|check| check["check"] == "3 pack.json");
    assert_eq!((code, open), if pack { (2, UNDECIDED.to_vec()) } else { (0, vec![]) }, "{}: {report}", file.display());
    let (code, report) = second(file, key, &[more, &["--proofs-only"]].concat());
    assert_eq!((code, checks.len() >= 13), (0, true), "{}: {report}", file.display());
}

/// Both refuse each changed copy of a file, sealed again where there is the log's private key. How many there were.
fn both_refuse(file: &Path, folder: &Path, key: &str, private: Option<&Path>) -> usize {
    let copies = folder.join(format!("copies of {}", file.file_stem().expect("a name").display()));
    std::fs::create_dir(&copies).expect("a folder");
    let said = ok(script("mutations.py").arg(file).arg(&copies).arg(key).args(private));
    for line in said.lines() {
        let (name, code) = line.split_once(' ').expect("a name and a code");
        assert_eq!(code, "1", "{name} of {}: by the second verifier", file.display());
        let (code, told) = ours(&copies.join(name).with_added_extension("zip"), key, &[]);
        assert_eq!(code, 1, "{name} of {}: {told}", file.display());
    }
    said.lines().count()
}

fn examples() -> (PathBuf, String) {
    let folder = project().join("docs/examples");
    let key = std::fs::read_to_string(folder.join("packs.vkey")).expect("readable");
    (folder, key.trim().to_owned())
}

#[test]
fn both_accept_the_examples_of_the_pages_and_refuse_what_is_changed() {
    let (folder, key) = examples();
    for name in ["one-event.zip", "rolled-back.zip", "harmful.zip", "population.zip"] {
        both_accept(&folder.join(name), &key, &[]);
        let another = "x.example+00000000+AQ==";
        assert_ne!(
            second(&folder.join(name), &key, &["--key", another, "--proofs-only"]).0,
            0,
            "{name}: no key of this log"
        );
    }
    let copies = tempfile::tempdir().expect("a folder");
    for (name, least) in [("one-event.zip", 120), ("population.zip", 120)] {
        let count = both_refuse(&folder.join(name), copies.path(), &key, None);
        assert!(count >= least, "{count} copies of {name}");
    }
}

/// Out of a log of today: packs with a log by reference, headers and a change of keys, and a population beside them.
#[test]
fn both_say_the_same_of_what_is_made_today() {
    let ledger = Ledger::start();
    let emit =
        |more: &[&str]| ok(ledger.server.upm(&["emit", "--wait", "--tenant", "acme", "--initiator", "ann"]).args(more));
    let pack = |name: &str, change: &str| {
        ok(ledger.server.upm(&["pack", change, "--tenant", "acme", "--with-headers", "-o"]).arg(ledger.at(name)));
        ledger.at(name)
    };
    let from = now();
    std::fs::write(ledger.at("build.log"), "line\n".repeat(500)).expect("written");
    emit(&[
        "--phase",
        "plan",
        "--change",
        "c-1",
        "--command",
        "make",
        "--command",
        "two\nlines \u{202e}",
        "--rollback",
        "undo",
        "--env",
        "prod",
    ]);
    emit(&[
        "--phase",
        "execute",
        "--change",
        "c-1",
        "--section",
        r#"execution={"steps":[{"cmd":"curl -u a:hunter2 x","rc":1,"stderr":"no\n"}]}"#,
    ]);
    let log = ledger.at("build.log");
    let attached =
        ["--attach", log.to_str().expect("text"), "--section", r#"execution={"steps":[{"cmd":"make","rc":0}]}"#];
    emit(&[&["--phase", "execute", "--change", "c-1", "--attempt", "2"], &attached[..]].concat());
    emit(&["--phase", "plan", "--change", "c-1", "--attempt", "2", "--command", "make", "--class", "emergency"]);
    let drift = r#"verification={"checks":[{"type":"alive","ok":true}],"drift":{"diff":[1.5e-7,100.0]}}"#;
    emit(&["--phase", "verify", "--change", "c-1", "--attempt", "2", "--section", drift, "--probe"]);
    emit(&["--phase", "plan", "--change", "c-2"]);
    let to = now();
    let population = ledger.population(&from, &to, "period.zip", &[]);
    let before = pack("before.zip", "c-1");
    ok(ledger.server.upm(&["keys", "rotate", "--tenant", "acme"]).arg("--json"));
    emit(&["--phase", "audit", "--change", "c-2", "--close"]);
    let after = pack("after.zip", "c-1");

    // All under the key of before; the population shows that the packs leave nothing out.
    let beside = ["--population", population.to_str().expect("text")];
    both_accept(&population, &ledger.key, &[]);
    for file in [&before, &after] {
        both_accept(file, &ledger.key, &[]);
        both_accept(file, &ledger.key, &beside);
        let (_, report) = second(file, &ledger.key, &[]);
        assert!(report["said"].to_string().contains("none (proved)"), "{report}");
    }

    // The operator's own key seals each change: only what the pages say beyond signatures can refuse it.
    let keys = ledger.server.data().join("keys");
    let copies = tempfile::tempdir().expect("a folder");
    let count = both_refuse(&before, copies.path(), &ledger.key, Some(&keys.join("acme.log.pem")));
    assert!(count >= 120, "{count}");
    let count = both_refuse(&population, copies.path(), &ledger.key, Some(&keys.join("acme.log.pem")));
    assert!(count >= 120, "{count}");
}

/// C2SP's vectors of what Ed25519 implementations disagree about: accepted is what docs/evidence-pack.md says, and nothing else.
#[test]
fn the_second_verifier_is_strict_about_ed25519() {
    let path = project().join("ledger/tests/vectors/cctv-ed25519/ed25519vectors.json");
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
    let refused = ["low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R", "low_order_residue"];
    let strict = |vector: &&Value| {
        let flags = vector["flags"].as_array();
        !flags.is_some_and(|flags| flags.iter().any(|flag| refused.contains(&flag.as_str().expect("text"))))
    };
    let expected: Vec<String> = vectors.iter().filter(strict).map(|vector| vector["number"].to_string()).collect();
    let accepted = ok(script("verify/curve.py").arg(&path));
    assert_eq!(
        (accepted.lines().collect::<Vec<_>>(), expected.len()),
        (expected.iter().map(String::as_str).collect(), 43)
    );
}

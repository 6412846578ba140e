//! Eighteen ways to be malformed: each gets its own reason in the answer and in `upm rejected`, nothing is lost, and the
//! next good event still gets its receipt.

use std::collections::BTreeSet;

use serde_json::Value;
use upm_tests::{Server, ok, project, python, run, run_with_input, upm};

const SUBJECT: &str = "upm.events.acme.execute";

#[test]
fn each_has_its_reason_and_the_next_good_event_its_receipt() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    let mut expected = BTreeSet::new();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(project().join("schemas/examples/malformed")).expect("the examples") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        expected.insert(path.file_stem().expect("a name").to_str().expect("text").to_owned());
        files.push(path);
    }
    // A file of a megabyte has no place in the project.
    let large = folder.path().join("too_large.json");
    std::fs::write(&large, format!("{{\"provisioning_event\":{{\"id\":\"{}\"}}}}", "x".repeat(1_000_000)))
        .expect("written");
    expected.insert("too_large".to_owned());
    files.push(large);
    assert_eq!(files.len(), 18, "{expected:?}");
    files.push(project().join("schemas/examples/model.json"));

    let printed = ok(python("publish.py").args([server.nats(), SUBJECT]).args(&files));
    let answers: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (good, bad) = answers.split_last().expect("answers");
    for (answer, file) in bad.iter().zip(&files) {
        let name = file.file_stem().expect("a name").to_str().expect("text");
        assert_eq!(answer["status"], "rejected", "{name}");
        let problem: Value = serde_json::from_str(answer["body"].as_str().expect("text")).expect("problem+json");
        assert_eq!(problem["reason"], name, "{problem}");
        for member in ["path", "found", "expected"] {
            assert!(problem[member].is_string(), "{member} of {problem}");
        }
    }
    assert_eq!(good["status"], "accepted", "{good}");

    let listed: Value =
        serde_json::from_str(&ok(&mut server.upm(&["rejected", "list", "--tenant", "acme", "--json"]))).expect("JSON");
    let rows = listed.as_array().or_else(|| listed["rejected"].as_array()).expect("a list");
    let reasons: BTreeSet<String> = rows.iter().map(|row| row["reason"].as_str().expect("text").to_owned()).collect();
    assert_eq!(reasons, expected);

    let index = bad[0]["index"].to_string();
    let shown = ok(&mut server.upm(&["rejected", "show", &index, "--tenant", "acme"]));
    assert!(shown.contains(files[0].file_stem().expect("a name").to_str().expect("text")), "{shown}");
}

/// A device or a wrong file is read no further than a document may reach, and says so.
#[test]
fn what_never_ends_is_not_read_without_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("none");
    for command in ["check", "emit"] {
        let (code, _, err) = run(upm([command, "/dev/zero", "--data"]).arg(&data));
        assert!(code == 2 && err.contains("can't read /dev/zero: more than 67108864 bytes"), "{command}: {code} {err}");
    }
    let blank = vec![b'\n'; 70 << 20];
    let (code, _, err) = run_with_input(&mut upm(["check", "-"]), &blank);
    assert!(code == 2 && err.contains("standard input: more than 67108864 bytes"), "{code} {err}");
    let array = [&b"["[..], &blank].concat();
    let (code, _, err) = run_with_input(&mut upm(["check", "-"]), &array);
    assert!(code == 2 && err.contains("put one event on each line"), "{code} {err}");
}

//! The model's own example, published by a client that is not ours, comes back as a receipt, as change state, and in a
//! pack that our verifier and `sha256sum` accept (cosign: `interop/cosign.rs`), with a key that did not come with the pack.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use upm_tests::{Server, ok, program, project, python, run};

const MODEL: &str = "e5f2a4a2-86d1-41b6-a6f3-7a7e2b1c7f10";

struct Published {
    folder: tempfile::TempDir,
    server: Server,
    answer: Value,
}

/// A server of tenant acme with the model's example on it, published by nats-py.
fn publish() -> Published {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    let printed = ok(python("publish.py").args([server.nats(), "upm.events.acme.execute"]).arg(example()));
    let answer = serde_json::from_str(&printed).expect("one answer");
    Published { folder, server, answer }
}

fn example() -> std::path::PathBuf {
    project().join("schemas/examples/model.json")
}

fn packed(published: &Published) -> std::path::PathBuf {
    let pack = published.folder.path().join("pack.zip");
    ok(published.server.upm(&["pack", MODEL, "--tenant", "acme", "-o"]).arg(&pack));
    pack
}

#[test]
fn its_receipt_is_checked_by_its_holder_alone() {
    let published = publish();
    assert_eq!(published.answer["status"], "accepted", "{}", published.answer);
    let receipt = published.folder.path().join("model.tlog-proof");
    std::fs::write(&receipt, published.answer["body"].as_str().expect("text")).expect("written");
    let key = published.server.vkey("acme").to_owned();
    let server = published.server;
    assert_eq!(server.stop(), 0, "verification needs no server");

    let verify = |event: &Path, key: &str| {
        run(upm_tests::upm(["verify"]).arg(&receipt).args(["--key", key, "--event"]).arg(event))
    };
    let (code, out, err) = verify(&example(), &key);
    assert_eq!(code, 0, "{out}{err}");

    let other = published.folder.path().join("other.json");
    let changed = std::fs::read_to_string(example()).expect("readable").replace("--node-count 2", "--node-count 3");
    std::fs::write(&other, changed).expect("written");
    let (code, out, _) = verify(&other, &key);
    assert_eq!(code, 1, "another event under the same receipt: {out}");
}

#[test]
fn the_same_bytes_again_get_the_same_entry() {
    let published = publish();
    let printed = ok(python("publish.py").args([published.server.nats(), "upm.events.acme.execute"]).arg(example()));
    let again: Value = serde_json::from_str(&printed).expect("one answer");
    assert_eq!(again["status"], "duplicate");
    assert_eq!(again["index"], published.answer["index"]);
}

#[test]
fn its_state_is_asked_by_its_id() {
    let published = publish();
    let index = &published.answer["index"];
    let change = published.server.json(&format!("/v1/tenants/acme/changes/{MODEL}?at_least={index}"));
    assert_eq!(change["state"], "verified", "{change}");
    let anomalies = change["anomalies"].to_string();
    assert!(anomalies.contains("no_approval_recorded"), "{anomalies}");
}

#[test]
fn its_pack_is_accepted_by_us_and_by_unrelated_tools() {
    let published = publish();
    let pack = packed(&published);
    let key = published.server.vkey("acme");
    let (code, out, err) = run(Command::new(program("upm-verify")).arg(&pack).args(["--key", key]));
    assert_eq!(code, 0, "{out}{err}");
    for honest in ["trust reaches: operator only", "what this does not prove"] {
        assert!(out.contains(honest), "the verifier says how far it goes ({honest}): {out}");
    }

    let unpacked = published.folder.path().join("unpacked");
    ok(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&pack).arg(&unpacked));
    ok(Command::new("sha256sum").args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&unpacked));

    // The auditor's own copy of the key, not the one inside the pack.
    let pem = published.folder.path().join("acme.pub");
    std::fs::write(&pem, ok(&mut published.server.upm(&["keys", "show", "--tenant", "acme", "--pem"])))
        .expect("written");
    let (code, out, err) = run(Command::new(program("upm-verify")).arg(&pack).arg("--key").arg(&pem));
    assert_eq!(code, 0, "the PEM form of the key works too: {out}{err}");
}

//! Tessera's `fsck` derives a log again from its entry bundles, compares every tile, and checks the checkpoint with the log's vkey: over
//! HTTP from the running server, and from the files that `upm log export` wrote. At sizes where tiles and levels begin and end.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use upm_tests::{Server, ok, run, run_with_input, wait_for};

use super::judge;

const SIZES: [u64; 8] = [1, 2, 255, 256, 257, 65_535, 65_536, 70_000];

#[test]
#[ignore = "make interop"]
fn fsck_accepts_tiles_over_http_and_exports_of_every_size() {
    let fsck = judge("TESSERA_FSCK", "tessera-fsck-1.0.2");
    let folder = tempfile::tempdir().expect("a folder");
    let tenants: Vec<String> = SIZES.iter().map(|size| format!("size-{size}")).collect();
    let arguments: Vec<&str> = tenants.iter().flat_map(|tenant| ["--tenant", tenant]).collect();
    let server = Server::start(&folder.path().join("data"), &arguments);
    for (tenant, size) in tenants.iter().zip(SIZES) {
        fill(&server, tenant, size);
    }
    for (tenant, size) in tenants.iter().zip(SIZES) {
        let key = folder.path().join(format!("{tenant}.vkey"));
        std::fs::write(&key, server.vkey(tenant)).expect("written");
        let judged = |url: &str| judged(&fsck, &key, url);
        let (accepted, said) = judged(&format!("{}/logs/{tenant}/", server.http()));
        assert!(accepted.is_some_and(|found| found >= size), "HTTP, {size} entries: {said}");

        let export = folder.path().join(tenant);
        let told = ok(server.upm(&["log", "export", "--json", "--tenant", tenant]).arg(&export));
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let url = format!("file://{}/", export.display());
        let (accepted, said) = judged(&url);
        assert_eq!(accepted, told["size"].as_u64(), "export of {size} entries: {said}");
        flip(&export.join("tile/entries").join(last_bundle(told["size"].as_u64().expect("a number"))));
        let (accepted, said) = judged(&url);
        assert_eq!(
            accepted, None,
            "a flipped bit in an export of {size} entries is noticed: this judge judges: {said}"
        );
    }
    assert_eq!(server.stop(), 0);
}

/// The size of the log that `fsck` accepted, and all that it said. Its exit code is 0 whatever it finds: only its words tell.
fn judged(fsck: &Path, key: &Path, url: &str) -> (Option<u64>, String) {
    let mut command = Command::new(fsck);
    let (code, out, err) = run(command.args(["--ui=false", "-N", "2", "--storage_url", url, "--public_key"]).arg(key));
    let said = format!("exit {code}\n{out}{err}");
    let accepted = said
        .split_once("Successfully fsck'd log with size ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    (accepted.filter(|_| !said.contains("fsck failed")), said)
}

/// Events until the log has `size` entries. The log writes some of its own (the first, a sign of life each hour).
fn fill(server: &Server, tenant: &str, size: u64) {
    let now = || {
        let (_, note) = server.get(&format!("/logs/{tenant}/checkpoint"));
        note.lines().nth(1).and_then(|line| line.parse::<u64>().ok()).expect("a tree size")
    };
    let missing = size.saturating_sub(now());
    let events: Vec<String> = (0..missing)
        .map(|number| {
            format!(
                r#"{{"provisioning_event":{{"id":"e-{number}","change_id":"c-{}","timestamp":"2026-01-02T03:04:05Z","phase":"plan","intent":{{"source":"api","initiator":"interop","tenant":"{tenant}"}}}}}}"#,
                number / 5,
            )
        })
        .collect();
    if missing > 0 {
        let (code, out, err) = run_with_input(&mut server.upm(&["emit", "-"]), events.join("\n").as_bytes());
        assert_eq!(code, 0, "{out}{err}");
    }
    let reached = wait_for("all events to be committed", || Some(now()).filter(|found| *found >= size));
    assert!(reached <= size + 1, "{tenant} has {reached} entries: a sign of life at most is more than was asked for");
}

/// Where the last entry of a log of this size is.
fn last_bundle(size: u64) -> String {
    let (index, width) = ((size - 1) / 256, size % 256);
    if width == 0 { format!("{index:03}") } else { format!("{index:03}.p/{width}") }
}

fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(file, bytes).expect("written");
}

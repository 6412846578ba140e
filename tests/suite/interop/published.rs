//! Two strangers read whole logs: Tessera's `fsck` derives every tile again from the entry bundles, torchwood reads every entry as a monitor
//! does. Over HTTP from the running server, and from the files that `upm log export` wrote; at sizes where tiles and levels begin and
//! end. What grew from one of them to the next is proved to a third, Go's own `sumdb/tlog`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use upm_tests::{Server, ok, run, run_with_input, wait_for};

use super::judge;

const SIZES: [u64; 8] = [1, 2, 255, 256, 257, 65_535, 65_536, 70_000];

#[test]
#[ignore = "make interop"]
fn fsck_and_torchwood_accept_tiles_over_http_and_exports_of_every_size() {
    let (fsck, torchwood) = (judge("TESSERA_FSCK", "tessera-fsck-1.0.2"), judge("TLOG_JUDGE", "tlog-judge"));
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
        let reads = |place: &str| run(Command::new(&torchwood).args(["log", place, server.vkey(tenant)]));
        let judged = |url: &str| judged(&fsck, &key, url);
        let (accepted, said) = judged(&format!("{}/logs/{tenant}/", server.http()));
        assert!(accepted.is_some_and(|found| found >= size), "HTTP, {size} entries: {said}");
        let (code, out, err) = reads(&format!("{}/logs/{tenant}/", server.http()));
        assert!(
            code == 0 && out.trim().parse().is_ok_and(|found: u64| found >= size),
            "HTTP, {size} entries: {out}{err}"
        );

        let export = folder.path().join(tenant);
        let told = ok(server.upm(&["log", "export", "--json", "--tenant", tenant]).arg(&export));
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let url = format!("file://{}/", export.display());
        let (accepted, said) = judged(&url);
        assert_eq!(accepted, told["size"].as_u64(), "export of {size} entries: {said}");
        let files = export.to_str().expect("text");
        let (code, out, err) = reads(files);
        assert_eq!((code, out.trim()), (0, told["size"].to_string().as_str()), "export of {size} entries: {err}");
        flip(&export.join("tile/entries").join(last_bundle(told["size"].as_u64().expect("a number"))));
        let (accepted, said) = judged(&url);
        assert_eq!(
            accepted, None,
            "a flipped bit in an export of {size} entries is noticed: this judge judges: {said}"
        );
    }
    assert_eq!(server.stop(), 0);
}

/// Receipts of old and new entries of every kind, and the history between any two of its checkpoints.
#[test]
#[ignore = "make interop"]
fn torchwood_accepts_receipts_and_consistency_proofs() {
    let judge = judge("TLOG_JUDGE", "tlog-judge");
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    for size in [2, 10, 300, 1_000] {
        fill(&server, "acme", size);
    }
    let says = |arguments: &[&str]| ok(&mut server.upm(&[&["log"], arguments].concat()));
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let listed = says(&["checkpoint", "--list", "--tenant", "acme"]);
    let sizes: Vec<u64> = listed.lines().map(|line| line.parse().expect("a size")).collect();
    assert!(sizes.len() >= 5, "{sizes:?}");
    let vkey = server.vkey("acme");
    for pair in sizes.windows(2) {
        let [old, new] = [pair[0].to_string(), pair[1].to_string()];
        let known = write("known", &says(&["checkpoint", "--size", &old, "--tenant", "acme"]));
        let proof = says(&["consistency", &old, &new, "--tenant", "acme"]);
        let judged = |text: &str| {
            let proof = write("proof", text);
            run(Command::new(&judge).arg("consistency").arg(&known).arg(proof).arg(vkey)).0
        };
        assert_eq!(judged(&proof), 0, "{old} to {new}");
        let (_, rest) = proof.split_once('\n').expect("several lines");
        assert_eq!(judged(&format!("old {}\n{rest}", pair[0] + 1)), 1, "{old} to {new}");
    }
    for index in [0, 1, 9, 255, 256, 299, 999] {
        for size in sizes.iter().filter(|size| **size > index).step_by(3) {
            let proof = says(&["proof", &index.to_string(), "--size", &size.to_string(), "--tenant", "acme"]);
            let entry = ok(Command::new(&judge).arg("proof").arg(write("receipt", &proof)).arg(vkey));
            let shown = says(&["entries", &index.to_string(), "--tenant", "acme"]);
            assert_eq!(Some(entry.trim()), shown.trim().split('\t').nth(1), "entry {index} of {size}");
            let moved =
                write("receipt", &proof.replace(&format!("\nindex {index}\n"), &format!("\nindex {}\n", index ^ 1)));
            assert_eq!(run(Command::new(&judge).arg("proof").arg(moved).arg(vkey)).0, 1, "entry {index} of {size}");
        }
    }
}

/// An export is carried by a file server that knows nothing of logs.
#[test]
#[ignore = "make interop"]
fn a_plain_file_server_carries_an_export() {
    let (fsck, torchwood) = (judge("TESSERA_FSCK", "tessera-fsck-1.0.2"), judge("TLOG_JUDGE", "tlog-judge"));
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    let www = folder.path().join("www");
    for size in [300, 700] {
        fill(&server, "acme", size);
        ok(server.upm(&["log", "export", "--tenant", "acme"]).arg(www.join("logs/acme")));
    }
    let (key, vkey) = (folder.path().join("acme.vkey"), server.vkey("acme").to_owned());
    std::fs::write(&key, &vkey).expect("written");
    assert_eq!(server.stop(), 0, "the files need no server of ours");
    let mut files = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"])
        .arg(&www)
        .arg("0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python starts");
    let mut line = String::new();
    BufReader::new(files.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
    let url = line.split_once("(http").and_then(|(_, rest)| rest.split_once(')')).expect("an address").0;
    let url = format!("http{url}logs/acme/");
    let (accepted, said) = judged(&fsck, &key, &url);
    let read = run(Command::new(&torchwood).args(["log", &url, &vkey]));
    files.kill().and_then(|()| files.wait()).expect("python ends");
    assert_eq!(accepted, Some(700), "{url}: {said}");
    assert_eq!((read.0, read.1.trim()), (0, "700"), "{url}: {}", read.2);
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

/// Events until the log has `size` entries. The first entry is the log's own.
fn fill(server: &Server, tenant: &str, size: u64) {
    let now = || {
        let (_, note) = server.get(&format!("/logs/{tenant}/checkpoint"));
        note.lines().nth(1).and_then(|line| line.parse::<u64>().ok()).expect("a tree size")
    };
    // Numbered by what is there, so that no event is a repetition.
    let events: Vec<String> = (now()..size)
        .map(|number| {
            format!(
                r#"{{"provisioning_event":{{"id":"e-{number}","change_id":"c-{}","timestamp":"2026-01-02T03:04:05Z","phase":"plan","intent":{{"source":"api","initiator":"interop","tenant":"{tenant}"}}}}}}"#,
                number / 5,
            )
        })
        .collect();
    if !events.is_empty() {
        let (code, out, err) = run_with_input(&mut server.upm(&["emit", "-"]), events.join("\n").as_bytes());
        assert_eq!(code, 0, "{out}{err}");
    }
    let reached = wait_for("all events to be committed", || Some(now()).filter(|found| *found >= size));
    assert_eq!(reached, size, "{tenant}");
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

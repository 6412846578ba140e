//! The story of a store whose newest rounds are gone, though no crash took them: the tail of its write-ahead log was cut off, or an older
//! `ledger/` was put into the data directory. `RocksDB` takes it for whole. What was noted beside it, and the views, tell that more was
//! committed: nothing is signed, fsck finds it, and a copy of what is missing heals it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, upm};

struct Place {
    _temp: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path().to_owned();
        Self { _temp: temp, root }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn start(&self) -> Server {
        Server::start(&self.at("data"), &["--tenant", "acme"])
    }

    /// Copies a directory over another one.
    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.at(to));
        ok(Command::new("cp").arg("-a").arg(self.at(from)).arg(self.at(to)));
    }

    /// `upm serve` has to end with exit code 2; what it says on standard error.
    fn refused(&self) -> String {
        let serve =
            upm(["serve", "--listen", "127.0.0.1:0", "--tenant", "acme", "--data"]).arg(self.at("data")).output();
        let serve = serve.expect("it starts");
        let err = String::from_utf8_lossy(&serve.stderr).into_owned();
        assert_eq!(serve.status.code(), Some(2), "{err}");
        err
    }

    fn fsck(&self) -> (i32, Value) {
        let (code, out, err) = run(upm(["fsck", "--json", "--data"]).arg(self.at("data")));
        (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
    }
}

fn emit(server: &Server, numbers: std::ops::Range<u32>) -> u64 {
    let events: Vec<String> = numbers
        .map(|number| {
            json!({ "provisioning_event": {
                "id": format!("e-{number}"), "timestamp": "2025-05-01T10:00:00Z", "phase": "plan",
                "intent": { "source": "api", "initiator": "ada", "tenant": "acme" }
            }})
            .to_string()
        })
        .collect();
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", events.join("\n").as_bytes());
    assert_eq!(status, 200, "{body}");
    let note = server.get("/logs/acme/checkpoint").1;
    note.lines().nth(1).expect("a checkpoint").parse().expect("a size")
}

/// The newest file of the write-ahead log, and its length.
fn write_ahead_log(data: &Path) -> (PathBuf, u64) {
    let files = fs::read_dir(data.join("ledger")).expect("readable").map(|entry| entry.expect("an entry").path());
    let newest = files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max();
    let newest = newest.expect("a write-ahead log");
    let length = fs::metadata(&newest).expect("there").len();
    (newest, length)
}

#[test]
fn a_write_ahead_log_whose_tail_was_cut_off_is_not_gone_on_with() {
    let place = Place::new();
    let server = place.start();
    let before = emit(&server, 0..4);
    let (file, whole_rounds) = write_ahead_log(&place.at("data"));
    let after = emit(&server, 4..9);
    let (same, longer) = write_ahead_log(&place.at("data"));
    assert!(same == file && longer > whole_rounds, "{longer} bytes");
    server.get(&format!("/v1/tenants/acme/changes?at_least={}", after - 1));
    server.crash();
    place.copy("data", "whole");
    assert_eq!(place.fsck().0, 0, "a crash alone loses nothing");

    // Exactly between two rounds: the store is sound by itself.
    fs::File::options().write(true).open(&file).expect("opened").set_len(whole_rounds).expect("cut");
    let (code, report) = place.fsck();
    assert_eq!(code, 1, "{report:#}");
    let finding = report["findings"].as_array().expect("findings").iter().find(|finding| finding["row"] == "head");
    let finding = finding.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(finding["expected"], format!("{after} entries, as ledger.heads says"), "{report:#}");
    let lost = format!("this data directory holds {before} entries, but {after} were committed here");
    let err = place.refused();
    assert!(err.contains(&lost) && err.contains("ledger.heads") && err.contains("upm catch-up --from"), "{err}");
    // Nor does anybody sign offline.
    let (code, _, err) = run(upm(["keys", "recover", "lost", "--tenant", "acme", "--data"]).arg(place.at("data")));
    assert!(code == 2 && err.contains(&lost), "{code} {err}");

    // Whoever removes the file has not removed the views.
    fs::rename(place.at("data/ledger.heads"), place.at("heads")).expect("moved");
    let err = place.refused();
    assert!(err.contains(&lost) && err.contains("acme.db"), "{err}");
    fs::rename(place.at("heads"), place.at("data/ledger.heads")).expect("moved back");

    // What is missing comes from a copy; then it goes on as if nothing had been.
    ok(upm(["catch-up", "--data"]).arg(place.at("data")).arg("--from").arg(place.at("whole")));
    assert_eq!(place.fsck().0, 0);
    let server = place.start();
    assert!(emit(&server, 9..10) > after);
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_older_store_in_a_newer_data_directory_is_refused() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..3);
    assert_eq!(server.stop(), 0);
    place.copy("data/ledger", "older");
    place.copy("data", "data-as-it-was");
    let server = place.start();
    emit(&server, 3..8);
    ok(&mut server.upm(&["tenant", "add", "beta"]));
    assert_eq!(server.stop(), 0);
    place.copy("data/ledger", "newer");
    place.copy("older", "data/ledger");
    let err = place.refused();
    assert!(err.contains("but 9 were committed here") || err.contains("_ledger: this data directory holds"), "{err}");
    let (code, report) = place.fsck();
    assert!(
        code == 1 && report["findings"].as_array().expect("findings").len() >= 3,
        "both logs and a third: {report:#}"
    );
    // The whole directory as it was is an older copy too, which nothing in it can tell: that is what heads kept elsewhere are for.
    place.copy("newer", "data/ledger");
    let server = place.start();
    assert_eq!(server.stop(), 0);
    place.copy("data-as-it-was", "data");
    let server = place.start();
    assert_eq!(server.stop(), 0);
}

/// A directory that was copied while a server wrote to it: the store was copied first, and is older than what lies beside it.
#[test]
fn a_data_directory_that_was_copied_in_the_middle_is_refused() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..3);
    fs::create_dir(place.at("copy")).expect("made");
    place.copy("data/ledger", "copy/ledger");
    let after = emit(&server, 3..7);
    for name in ["keys", "views", "ledger.heads"] {
        place.copy(&format!("data/{name}"), &format!("copy/{name}"));
    }
    assert_eq!(server.stop(), 0);
    place.copy("copy", "data");
    let err = place.refused();
    assert!(err.contains(&format!("but {after} were committed here")), "{err}");
}

/// A slot that was damaged says nothing, which fsck and the server's log tell; one that was written by a later round is believed again.
#[test]
fn a_damaged_note_stops_nobody() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..3);
    assert_eq!(server.stop(), 0);
    let path = place.at("data/ledger.heads");
    let mut bytes = fs::read(&path).expect("readable");
    assert_eq!(bytes.len(), 128, "a slot for the ledger's own log and one for acme");
    for byte in &mut bytes {
        *byte ^= 0x55;
    }
    fs::write(&path, &bytes).expect("written");
    let (code, told) = place.fsck();
    let told = told.to_string();
    assert!(code == 1 && told.contains("slot 1 of") && told.contains("ledger.heads"), "{code} {told}");
    let server = place.start();
    let log = fs::read_to_string(place.at("data.log")).expect("a log");
    assert!(log.contains("what was noted of a log's length is damaged"), "{log}");
    emit(&server, 3..5);
    assert_eq!(server.stop(), 0);
    assert_eq!(place.fsck().0, 0);
    place.copy("data/ledger", "older");
    let server = place.start();
    emit(&server, 5..6);
    assert_eq!(server.stop(), 0);
    place.copy("older", "data/ledger");
    assert!(place.refused().contains("were committed here"));
}

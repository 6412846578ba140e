//! The story of a restored ledger: a store that is older than what was shown of it must not sign a second history. Heads are
//! kept outside the data, one step before they are shown; a store behind them is refused, and goes on after it has copied what
//! it lacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, upm, wait_for};

/// A data directory, a place for kept heads, and copies of the data as it was.
struct Place {
    _temp: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path().to_owned();
        fs::create_dir(root.join("kept")).expect("made");
        Self { _temp: temp, root }
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn kept(&self) -> String {
        self.root.join("kept").to_str().expect("text").to_owned()
    }

    fn start(&self) -> Server {
        Server::start(&self.data(), &["--tenant", "acme", "--kept-heads", &self.kept()])
    }

    /// Copies the stopped data directory.
    fn copy(&self, name: &str) {
        ok(Command::new("cp").arg("-a").arg(self.data()).arg(self.root.join(name)));
    }

    fn restore(&self, name: &str) {
        fs::remove_dir_all(self.data()).expect("removed");
        ok(Command::new("cp").arg("-a").arg(self.root.join(name)).arg(self.data()));
    }

    /// `upm serve` has to end with exit code 2; what it says on standard error.
    fn refused(&self) -> String {
        let (code, _, err) = run(upm(["serve", "--listen", "127.0.0.1:0", "--tenant", "acme", "--kept-heads"])
            .arg(self.kept())
            .arg("--data")
            .arg(self.data()));
        assert_eq!(code, 2, "{err}");
        err
    }

    fn head(&self, log: &str) -> String {
        let mut kept = fs::read_dir(self.kept()).expect("readable").map(|entry| entry.expect("an entry").path());
        let head = kept.find(|path| path.to_string_lossy().ends_with(&format!("%2F{log}.head")));
        fs::read_to_string(head.expect("a kept head")).expect("readable")
    }
}

fn emit(server: &Server, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let event = event(number);
        let (code, out, err) = post(server, &event);
        assert_eq!(code, 200, "{out}{err}");
    }
}

fn event(number: u32) -> String {
    json!({ "provisioning_event": {
        "id": format!("e-{number}"), "timestamp": "2025-05-01T10:00:00Z", "phase": "plan",
        "intent": { "source": "api", "initiator": "ada", "tenant": "acme" }
    }})
    .to_string()
}

fn post(server: &Server, event: &str) -> (u16, String, String) {
    let (status, body) = server.post("/v1/tenants/acme/events", "application/json", event.as_bytes());
    (status, body, String::new())
}

fn size(note: &str) -> u64 {
    note.lines().nth(1).expect("a checkpoint").parse().expect("a size")
}

fn shown(server: &Server, log: &str) -> String {
    server.get(&format!("/logs/{log}/checkpoint")).1
}

#[test]
fn what_is_shown_is_kept_and_an_older_store_signs_nothing() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..3);
    assert_eq!(server.stop(), 0);
    place.copy("older");
    let server = place.start();
    emit(&server, 3..5);
    for log in ["acme", "_ledger"] {
        assert_eq!(shown(&server, log), place.head(log), "the head of {log} that is shown is kept");
    }
    let before = (place.head("acme"), place.head("_ledger"));
    assert_eq!(server.stop(), 0);
    place.copy("newer");

    place.restore("older");
    let err = place.refused();
    for part in
        ["this data directory holds 4 entries, but a head of 6 was signed and shown", "upm catch-up --from", "--name"]
    {
        assert!(err.contains(part), "expected {part:?} in {err}");
    }
    assert_eq!((place.head("acme"), place.head("_ledger")), before, "what is kept stays");

    // From a newer copy it gets what it lacks, and goes on as if nothing had been.
    let newer = place.root.join("newer");
    let out = ok(upm(["catch-up", "--json", "--data"]).arg(place.data()).arg("--from").arg(&newer));
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON"), json!({ "copied": 2, "ahead": [] }));
    let server = place.start();
    assert_eq!(server.get("/logs/acme/checkpoint/6").1, before.0, "what was shown is still so");
    // The road was restored with the old data: it is another one, and that is an entry.
    assert_eq!(size(&shown(&server, "acme")), 7);
    emit(&server, 4..7);
    assert_eq!(size(&shown(&server, "acme")), 9, "the fifth event is recognised, two are new");
    assert_eq!(shown(&server, "acme"), place.head("acme"));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_backup_that_is_newer_gives_what_is_lacking() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..2);
    assert_eq!(server.stop(), 0);
    place.copy("older");
    let server = place.start();
    emit(&server, 2..5);
    let backup = place.root.join("backup");
    ok(upm(["backup", "--data"]).arg(place.data()).arg(&backup));
    let before = shown(&server, "acme");
    server.crash();
    place.restore("older");
    assert!(place.refused().contains("holds 3 entries, but a head of 6"), "as it is, it signs nothing");
    ok(upm(["catch-up", "--data"]).arg(place.data()).arg("--from").arg(&backup));
    let server = place.start();
    assert_eq!(server.get("/logs/acme/checkpoint/6").1, before);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_store_with_another_history_is_refused() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..2);
    assert_eq!(server.stop(), 0);
    place.copy("fork");
    let server = place.start();
    emit(&server, 2..4);
    assert_eq!(server.stop(), 0);
    place.copy("shown");
    // The fork goes on where nobody keeps heads, and comes back longer than what was shown.
    fs::remove_file(place.root.join("fork/kept-heads")).expect("whoever forks says that none are kept");
    let fork = Server::start(&place.root.join("fork"), &[]);
    emit(&fork, 10..20);
    assert_eq!(fork.stop(), 0);
    place.restore("fork");
    let err = place.refused();
    assert!(err.contains("of the first 5 entries this data directory has the root"), "{err}");
    // Nor is it a copy to catch up from.
    let (code, _, err) = run(upm(["catch-up", "--data"]).arg(place.data()).arg("--from").arg(place.root.join("shown")));
    assert!(code == 1 && err.contains("root"), "{err}");
}

#[test]
fn a_crash_between_commit_and_keeping_loses_and_shows_nothing() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..2);
    let before = shown(&server, "acme");
    // The place is away: what is made durable now is not shown, and nobody is answered.
    let (kept, away) = (place.root.join("kept"), place.root.join("away"));
    fs::rename(&kept, &away).expect("renamed");
    let url = format!("{}/v1/tenants/acme/events", server.http());
    let waiting = std::thread::spawn(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        agent
            .post(url)
            .header("content-type", "application/json")
            .send(event(2).as_bytes())
            .map(|answer| answer.status().as_u16())
    });
    let reasons = wait_for("readyz to say so", || {
        let (status, body) = server.get("/readyz");
        (status == 503 && body.contains("can't be kept")).then_some(body)
    });
    assert!(reasons.contains("nothing is released"), "{reasons}");
    assert_eq!(shown(&server, "acme"), before, "the durable head is not shown");
    server.crash();
    assert_ne!(waiting.join().expect("the request ends").ok(), Some(200), "nobody was told");

    fs::rename(&away, &kept).expect("renamed");
    assert_eq!(place.head("acme"), before);
    let server = place.start();
    let after = shown(&server, "acme");
    assert_eq!((size(&before), size(&after)), (3, 4), "what was durable is shown once it is kept");
    assert_eq!(place.head("acme"), after);
    emit(&server, 2..3);
    assert_eq!(size(&shown(&server, "acme")), 4);
    assert_eq!(server.stop(), 0);
}

#[test]
fn intake_goes_on_by_itself_when_the_place_is_back() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..1);
    let (kept, away) = (place.root.join("kept"), place.root.join("away"));
    fs::rename(&kept, &away).expect("renamed");
    let url = format!("{}/v1/tenants/acme/events", server.http());
    let waiting = std::thread::spawn(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        agent
            .post(url)
            .header("content-type", "application/json")
            .send(event(1).as_bytes())
            .map(|answer| answer.status().as_u16())
    });
    wait_for("readyz to say so", || (server.get("/readyz").0 == 503).then_some(()));
    fs::rename(&away, &kept).expect("renamed");
    wait_for("readiness", || (server.get("/readyz").0 == 200).then_some(()));
    assert_eq!(waiting.join().expect("the request ends").expect("answered"), 200);
    assert_eq!(size(&place.head("acme")), 3);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_server_that_loses_the_race_for_the_kept_head_stops_for_good() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..1);
    let mut head = fs::read_dir(place.kept()).expect("readable").map(|entry| entry.expect("an entry").path());
    let head = head.find(|path| path.to_string_lossy().ends_with("acme.head")).expect("kept");
    // Somebody else has gone on with the same log: here its own text from the future.
    let text = fs::read_to_string(&head).expect("readable");
    fs::write(&head, text.replacen("\n2\n", "\n9\n", 1)).expect("written");
    let (status, _, _) = post(&server, &event(1));
    assert_ne!(status, 200);
    let (status, body) = server.get("/readyz");
    assert!(status == 503 && body.contains("a head of 9 entries"), "{body}");
    assert_eq!(size(&shown(&server, "acme")), 2);
}

#[test]
fn places_that_keep_nothing_are_refused() {
    let place = Place::new();
    assert_eq!(place.start().stop(), 0);
    let data = place.data();
    let refusal = |dir: &Path| {
        let (code, _, err) =
            run(upm(["serve", "--listen", "127.0.0.1:0", "--kept-heads"]).arg(dir).arg("--data").arg(&data));
        assert_eq!(code, 2, "{err}");
        err
    };
    assert!(refusal(&place.root.join("nowhere")).contains("there is no directory"));
    assert!(refusal(&data.join("ledger")).contains("lies in the data directory"));
    // An empty place where heads were kept before: the mount is missing.
    fs::create_dir(place.root.join("empty")).expect("made");
    assert!(refusal(&place.root.join("empty")).contains("none is there: mount it"));
    // Another ledger may keep its heads in the same place, the same one on other data may not.
    let server = place.start();
    let other = Server::start(&place.root.join("other"), &["--kept-heads", &place.kept()]);
    assert_eq!(other.stop(), 0);
    place.copy("copy");
    let copied = place.root.join("copy");
    fs::remove_file(copied.join("serve.json")).expect("removed");
    let (code, _, err) =
        run(upm(["serve", "--listen", "127.0.0.1:0", "--kept-heads", &place.kept(), "--data"]).arg(&copied));
    assert!(code == 2 && err.contains("another server keeps the heads of ledger"), "{err}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_store_that_was_lost_comes_back_from_a_copy_and_its_keys() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..4);
    let before = shown(&server, "acme");
    assert_eq!(server.stop(), 0);
    place.copy("copy");
    fs::remove_dir_all(place.data().join("ledger")).expect("removed");
    assert!(place.refused().contains("restore the store"));
    let out = ok(upm(["catch-up", "--data"]).arg(place.data()).arg("--from").arg(place.root.join("copy")));
    assert!(out.contains("7 entries copied"), "{out}");
    let server = place.start();
    assert_eq!(shown(&server, "acme"), before);
    assert_eq!(server.stop(), 0);
}

/// A crash between commit and keeping: what nobody was shown is not shown by reading the data directory either.
#[test]
fn what_is_not_kept_is_neither_read_nor_exported_nor_backed_up() {
    let place = Place::new();
    let server = place.start();
    emit(&server, 0..3);
    assert_eq!(server.stop(), 0);
    ok(Command::new("cp").arg("-a").arg(place.kept()).arg(place.root.join("kept-then")));
    let then = place.head("acme");
    let server = place.start();
    emit(&server, 3..6);
    assert_eq!(server.stop(), 0);
    let now = place.head("acme");
    fs::remove_dir_all(place.kept()).expect("removed");
    ok(Command::new("cp").arg("-a").arg(place.root.join("kept-then")).arg(place.kept()));

    let log = |arguments: &[&str]| upm([&["log"], arguments, &["--tenant", "acme", "--data"]].concat());
    let data = place.data();
    assert_eq!(ok(log(&["checkpoint"]).arg(&data)), then);
    let (code, _, err) = run(log(&["proof", "5"]).arg(&data));
    assert_eq!(code, 1, "{err}");
    let exported = place.root.join("exported");
    ok(log(&["export", exported.to_str().expect("text")]).arg(&data));
    assert_eq!(fs::read_to_string(exported.join("checkpoint")).expect("there"), then);
    let backup = place.root.join("backup");
    let made: Value =
        serde_json::from_str(&ok(upm(["backup", "--json"]).arg(&backup).arg("--data").arg(&data))).expect("JSON");
    let acme = made["logs"].as_array().expect("logs").iter().find(|log| log["size"] == size(&then));
    assert!(acme.is_some(), "no more than what was kept: {made}");
    // Where heads are kept and can't be looked at, nothing is shown at all.
    let away = place.root.join("away");
    fs::rename(place.kept(), &away).expect("moved");
    for (code, _, err) in
        [run(log(&["checkpoint"]).arg(&data)), run(upm(["backup"]).arg(&backup).arg("--data").arg(&data))]
    {
        assert!(code == 2 && err.contains("there is no directory"), "{code} {err}");
    }
    fs::rename(&away, place.kept()).expect("moved back");

    // The server keeps it, and then shows it.
    let server = place.start();
    assert_eq!(shown(&server, "acme"), now);
    ok(server.upm(&["backup"]).arg(&backup));
    assert_eq!(server.stop(), 0);
    assert_eq!(ok(log(&["checkpoint"]).arg(&data)), now);
}

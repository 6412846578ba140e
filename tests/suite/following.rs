//! The story of a second machine: a follower copies a running ledger, checks every entry, serves what it has and signs nothing. It
//! goes on where it stood however it ended, stops where the leader contradicts it, and gives a leader that was restored from an
//! older copy what that lacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, upm, wait_for};

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

    /// A file with the key of the ledger's own log.
    fn key(&self, server: &Server) -> String {
        let path = self.at("own.vkey");
        fs::write(&path, format!("{}\n", server.vkey("_ledger"))).expect("written");
        path.to_str().expect("text").to_owned()
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.at(to));
        ok(Command::new("cp").arg("-a").arg(self.at(from)).arg(self.at(to)));
    }
}

fn event(number: u32) -> String {
    let secret = if number.is_multiple_of(3) { json!("hunter2") } else { Value::Null };
    json!({ "provisioning_event": {
        "id": format!("e-{number}"), "change_id": format!("c-{}", number % 2), "timestamp": "2025-05-01T10:00:00Z", "phase": "plan",
        "intent": { "source": "api", "initiator": "ada", "tenant": "acme", "reason": "why not", "password": secret }
    }})
    .to_string()
}

fn emit(server: &Server, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let (status, body) = server.post("/v1/tenants/acme/events", "application/json", event(number).as_bytes());
        assert_eq!(status, 200, "{body}");
    }
    let (status, body) = server.post("/v1/tenants/acme/events", "application/json", b"{\"no\": \"event\"}");
    assert_eq!(status, 422, "{body}");
}

fn checkpoint(server: &Server, log: &str) -> String {
    server.get(&format!("/logs/{log}/checkpoint")).1
}

fn bytes(server: &Server, path: &str) -> Vec<u8> {
    let mut response = ureq::get(format!("{}{path}", server.http())).call().expect("the server answers");
    response.body_mut().read_to_vec().expect("a body")
}

fn caught_up(leader: &Server, follower: &Server) {
    wait_for("the follower to have it all", || {
        let same = ["acme", "_ledger"].iter().all(|log| checkpoint(leader, log) == checkpoint(follower, log));
        (same && follower.get("/readyz").0 == 200).then_some(())
    });
}

fn not_ready(server: &Server, expected: &str) -> String {
    wait_for(&format!("readyz to say {expected:?}"), || {
        let (status, body) = server.get("/readyz");
        (status == 503 && body.contains(expected)).then_some(body)
    })
}

fn follow(place: &Place, name: &str, url: &str, more: &[&str]) -> Server {
    Server::start(&place.at(name), &[&["--follow", url], more].concat())
}

#[test]
fn a_follower_serves_what_the_leader_has_and_takes_nothing() {
    let place = Place::new();
    let leader = Server::start(&place.at("leader"), &["--tenant", "acme"]);
    emit(&leader, 0..7);
    let key = place.key(&leader);
    let follower = follow(&place, "follower", leader.http(), &["--follow-key", &key]);
    caught_up(&leader, &follower);
    // While both run, and with a tenant more.
    emit(&leader, 7..9);
    ok(&mut leader.upm(&["tenant", "add", "beta"]));
    caught_up(&leader, &follower);
    wait_for("the new tenant", || {
        (follower.get("/logs/beta/checkpoint") == leader.get("/logs/beta/checkpoint")).then_some(())
    });

    for path in [
        "/v1/tenants/acme/changes?at_least=10",
        "/v1/tenants/acme/changes/c-1",
        "/v1/tenants/acme/changes/c-0/events",
        "/v1/tenants/acme/events/3",
        "/v1/tenants/acme/events/3/receipt",
        "/v1/tenants/acme/events?id=e-5",
        "/v1/tenants/acme/rejected",
        "/logs/acme/checkpoint/2",
        "/logs/acme/checkpoints",
        "/v1/tenants",
        "/v1/replica",
    ] {
        let (status, body) = leader.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        assert_eq!(follower.get(path), (status, body), "{path}");
    }
    for path in ["/logs/acme/tile/0/000.p/9", "/logs/acme/tile/entries/000.p/9"] {
        assert!(bytes(&follower, path) == bytes(&leader, path), "{path}");
    }

    let posts = [("/v1/tenants/acme/events", event(99)), ("/v1/tenants/acme/rejected/8/retry", String::new())];
    for (path, body) in posts {
        let (status, said) = follower.post(path, "application/json", body.as_bytes());
        assert!(
            status == 409 && said.contains("only follows") && said.contains(leader.http()),
            "{path}: {status} {said}"
        );
    }
    let (code, _, err) = run(&mut follower.upm(&["tenant", "add", "gamma"]));
    assert!(code == 2 && err.contains("only follows"), "{err}");
    let (status, said) = follower.get("/v1/tenants/acme/changes/c-1/evidence.zip");
    assert!(status == 409 && said.contains("sealed by the log's key"), "{said}");
    // No key was made or copied.
    let keys: Vec<_> = fs::read_dir(place.at("follower").join("keys")).expect("readable").collect();
    assert!(keys.is_empty(), "{keys:?}");
    assert_eq!(follower.stop(), 0);
    assert_eq!(leader.stop(), 0);
}

#[test]
fn a_follower_goes_on_where_it_stood() {
    let place = Place::new();
    let leader = Server::start(&place.at("leader"), &["--tenant", "acme"]);
    emit(&leader, 0..4);
    let follower = follow(&place, "follower", leader.http(), &[]);
    caught_up(&leader, &follower);
    follower.crash();
    emit(&leader, 4..9);
    let follower = follow(&place, "follower", leader.http(), &[]);
    caught_up(&leader, &follower);
    // Without its leader it says so, and still serves what it has.
    let shown = checkpoint(&leader, "acme");
    assert_eq!(leader.stop(), 0);
    not_ready(&follower, "can't copy, trying again");
    assert_eq!(checkpoint(&follower, "acme"), shown);
    // And a follower of the follower gets all of it: it needs somebody's dedupe key for its index, and is given the file.
    let second = place.at("second");
    fs::create_dir_all(second.join("keys")).expect("made");
    fs::copy(place.at("leader").join("keys/acme.dedupe"), second.join("keys/acme.dedupe")).expect("copied");
    let second = follow(&place, "second", follower.http(), &[]);
    caught_up(&follower, &second);
    assert_eq!(second.stop(), 0);
    assert_eq!(follower.stop(), 0);
}

#[test]
fn a_leader_that_contradicts_its_follower_stops_it() {
    let place = Place::new();
    let start = |name: &str| Server::start(&place.at(name), &["--tenant", "acme"]);
    let leader = start("leader");
    emit(&leader, 0..2);
    assert_eq!(leader.stop(), 0);
    place.copy("leader", "older");
    let leader = start("leader");
    emit(&leader, 2..5);
    let follower = follow(&place, "follower", leader.http(), &[]);
    caught_up(&leader, &follower);
    let shown = checkpoint(&follower, "acme");
    assert_eq!((leader.stop(), follower.stop()), (0, 0));

    // Restored from an older copy, it is behind: the follower waits, and says what to do.
    let older = start("older");
    let follower = follow(&place, "follower", older.http(), &[]);
    let said = not_ready(&follower, "it was set back");
    assert!(said.contains("upm catch-up --from"), "{said}");
    // It goes on otherwise than it did: that is a second history.
    emit(&older, 20..30);
    let said = not_ready(&follower, "nothing is copied any more");
    assert!(said.contains("the signed one is"), "{said}");
    assert_eq!(checkpoint(&follower, "acme"), shown, "what it has, it keeps");
    let log = fs::read_to_string(place.at("follower").with_extension("log")).expect("readable");
    assert!(log.contains("nothing is copied any more"), "standard error says so too");
    assert_eq!(older.stop(), 0);
    assert_eq!(follower.stop(), 0);
}

#[test]
fn a_restored_leader_gets_what_it_lacks_from_its_follower() {
    let place = Place::new();
    fs::create_dir(place.at("kept")).expect("made");
    let kept = place.at("kept").to_str().expect("text").to_owned();
    let start = || Server::start(&place.at("leader"), &["--tenant", "acme", "--kept-heads", &kept]);
    let leader = start();
    emit(&leader, 0..2);
    assert_eq!(leader.stop(), 0);
    place.copy("leader", "older");
    let leader = start();
    let follower = follow(&place, "follower", leader.http(), &[]);
    emit(&leader, 2..6);
    caught_up(&leader, &follower);
    let shown = checkpoint(&leader, "acme");
    leader.crash();
    place.copy("older", "leader");
    let (code, _, err) =
        run(upm(["serve", "--listen", "127.0.0.1:0", "--tenant", "acme", "--kept-heads", &kept, "--data"])
            .arg(place.at("leader")));
    assert!(code == 2 && err.contains("was signed and shown"), "{err}");
    let out = ok(upm(["catch-up", "--data"]).arg(place.at("leader")).args(["--from", follower.http()]));
    assert!(out.contains("entries copied; nothing that the other copy has is missing"), "{out}");
    let leader = start();
    let size = shown.lines().nth(1).expect("a size");
    assert_eq!(leader.get(&format!("/logs/acme/checkpoint/{size}")).1, shown);
    emit(&leader, 6..7);
    assert_eq!(leader.stop(), 0);
    assert_eq!(follower.stop(), 0);
}

#[test]
fn only_the_ledger_that_was_meant_is_followed() {
    let place = Place::new();
    let leader = Server::start(&place.at("leader"), &["--tenant", "acme"]);
    let other = Server::start(&place.at("other"), &["--tenant", "acme"]);
    let refused = |data: &Path, url: &str, key: &str| {
        let (code, _, err) =
            run(upm(["serve", "--listen", "127.0.0.1:0", "--follow", url, "--follow-key", key, "--data"]).arg(data));
        assert_eq!(code, 2, "{err}");
        err
    };
    let key = place.key(&other);
    let err = refused(&place.at("follower"), leader.http(), &key);
    assert!(err.contains("neither given nor vouched for"), "{err}");
    let err = refused(&place.at("follower"), "http://127.0.0.1:1", &key);
    assert!(err.contains("http://127.0.0.1:1/v1/replica"), "{err}");
    let follower = follow(&place, "follower", leader.http(), &[]);
    caught_up(&leader, &follower);
    assert_eq!(follower.stop(), 0);
    let follower = follow(&place, "follower", other.http(), &[]);
    not_ready(&follower, "the other copy is of ledger");
    assert_eq!(follower.stop(), 0);
    // A copy has no key to sign with.
    let (code, _, err) = run(upm(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(place.at("follower")));
    assert!(code == 2 && err.contains("_ledger.log.pem is missing"), "{err}");
}

/// A road that is nearly full is swept whatever the age of its messages. That of a leader that knows a follower fills up and stays full:
/// nothing leaves it that the follower has not. A stranger changes nothing; the follower that is named does, and only up to where it is.
#[test]
fn a_leader_waits_for_the_followers_that_it_was_told_of() {
    let place = Place::new();
    let leader = Server::start(&place.at("leader"), &["--tenant", "acme", "--follower", "east", "--road-bytes", "60K"]);
    let post = |number: u32| leader.post("/v1/tenants/acme/events", "application/json", event(number).as_bytes());
    let mut number = 0;
    let mut until_refused = || loop {
        let (status, body) = post(number);
        if status != 200 {
            assert!(status == 503 && body.contains("the road is full"), "{status} {body}");
            break number;
        }
        number += 1;
        assert!(number < 2_000, "a road of 60 KiB never was full");
    };
    let held = until_refused();
    assert!(held > 20, "{held}");
    not_ready(&leader, "a follower or an answer is at sequence 0");
    let stranger = follow(&place, "stranger", leader.http(), &["--follow-as", "west"]);
    wait_for("the refusal of a name that nobody knows", || {
        let log = fs::read_to_string(place.at("stranger").with_extension("log")).ok()?;
        log.contains("upm serve --follower west").then_some(())
    });
    assert_eq!(stranger.stop(), 0);
    let (status, body) = post(held);
    assert!(status == 503, "a stranger holds nothing back and lets nothing go: {status} {body}");

    let follower = follow(&place, "follower", leader.http(), &["--follow-as", "east"]);
    wait_for("room on the road", || (post(held).0 == 200).then_some(()));
    assert_eq!(follower.stop(), 0);
    // It is away: the road fills up again behind where it was.
    let more = until_refused();
    assert!(more > held, "{more}");
    let said = not_ready(&leader, "a follower or an answer is at sequence ");
    assert!(!said.contains("at sequence 0"), "{said}");
    let follower = follow(&place, "follower", leader.http(), &["--follow-as", "east"]);
    wait_for("room on the road", || (post(more).0 == 200).then_some(()));
    caught_up(&leader, &follower);
    assert_eq!((follower.stop(), leader.stop()), (0, 0));
}

#[test]
fn a_follower_with_the_keys_goes_on_as_leader() {
    let place = Place::new();
    fs::create_dir(place.at("kept")).expect("made");
    let kept = place.at("kept").to_str().expect("text").to_owned();
    let leader = Server::start(&place.at("leader"), &["--tenant", "acme", "--kept-heads", &kept]);
    emit(&leader, 0..5);
    let follower = follow(&place, "follower", leader.http(), &[]);
    caught_up(&leader, &follower);
    let (shown, key) = (checkpoint(&leader, "acme"), leader.vkey("acme").to_owned());
    leader.crash();
    assert_eq!(follower.stop(), 0);

    fs::remove_dir(place.at("follower").join("keys")).expect("empty");
    place.copy("leader/keys", "follower/keys");
    let leader = Server::start(&place.at("follower"), &["--tenant", "acme", "--kept-heads", &kept]);
    assert_eq!(leader.vkey("acme"), key);
    let size: u64 = shown.lines().nth(1).expect("a size").parse().expect("a number");
    assert_eq!(leader.get(&format!("/logs/acme/checkpoint/{size}")).1, shown);
    // A new road, which is an entry; what was sent before is recognised; chains go on.
    emit(&leader, 3..7);
    let events = leader.json("/v1/tenants/acme/changes/c-1/events?at_least=9");
    let ids: Vec<_> = events["events"].as_array().expect("events").iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, ["e-1", "e-3", "e-5"], "{events}");
    assert!(bytes(&leader, "/v1/tenants/acme/changes/c-1/evidence.zip").starts_with(b"PK"));
    assert_eq!(leader.stop(), 0);
}

/// The ledger's own key was replaced: whoever holds the first vkey, or today's, follows it; a stranger's is refused.
#[test]
fn a_ledger_whose_own_key_was_replaced_is_followed_with_any_of_its_keys() {
    let place = Place::new();
    let leader = Server::start(&place.at("leader"), &["--tenant", "acme"]);
    emit(&leader, 0..3);
    let first = place.key(&leader);
    assert_eq!(leader.stop(), 0);
    ok(upm(["keys", "rotate", "--ledger", "--data"]).arg(place.at("leader")));
    let leader = Server::start(&place.at("leader"), &["--tenant", "acme"]);
    let newest = place.at("newest.vkey");
    fs::write(&newest, leader.vkey("_ledger")).expect("written");
    let newest = newest.to_str().expect("text").to_owned();
    assert_ne!(fs::read(&first).expect("readable"), fs::read(&newest).expect("readable"));
    ok(&mut leader.upm(&["hold", "add", "case", "--all", "--reason", "audit", "--tenant", "acme"]));
    for (name, key) in [("by-first", &first), ("by-newest", &newest)] {
        let follower = follow(&place, name, leader.http(), &["--follow-key", key]);
        caught_up(&leader, &follower);
        assert_eq!(follower.stop(), 0);
        // Started again, with the other one.
        let other = if key == &first { &newest } else { &first };
        let follower = follow(&place, name, leader.http(), &["--follow-key", other]);
        caught_up(&leader, &follower);
        assert_eq!(follower.stop(), 0);
        let (code, out, err) = run(upm(["fsck", "--json", "--store"]).arg(place.at(name)));
        // Without dedupe keys not all can be checked; what can is sound, acts and their listings among it.
        assert!(code == 2 && out.contains("\"sound\":true"), "{out}{err}");
    }
    assert_eq!(leader.stop(), 0);
}

/// Whoever asks a leader for what is not there, or says what nobody can read, is told so as everywhere else.
#[test]
fn what_is_asked_wrongly_is_a_problem_of_its_own() {
    let place = Place::new();
    let server = Server::start(&place.at("leader"), &["--tenant", "acme", "--follower", "east"]);
    let problem = |(status, body): (u16, String), expect: u16, kind: &str, detail: &str| {
        let told: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!((status, &told["status"]), (expect, &json!(expect)), "{body}");
        assert_eq!(told["type"], format!("urn:upm-ledger:problem:{kind}"), "{body}");
        assert!(told["detail"].as_str().expect("text").contains(detail), "{body}");
    };
    problem(server.get("/v1/replica/4294967295?from=0"), 404, "not_found", "there is no log 4294967295 here");
    problem(server.get("/v1/replica/7?from=0"), 404, "not_found", "there is no log 7 here");
    problem(server.get("/v1/replica/1?from=99"), 404, "not_found", "there are only 1");
    problem(server.get("/v1/replica/x?from=0"), 400, "bad_request", "the path");
    let position = |body: &[u8]| server.post("/v1/replica/position", "application/json", body);
    problem(position(b"{}"), 400, "bad_request", "missing field `follower`");
    problem(position(b"no JSON"), 400, "bad_request", "the body");
    problem(position(b""), 400, "bad_request", "the body");
    problem(position(b"{\"follower\": \"west\", \"logs\": []}"), 404, "not_found", "west");
    assert_eq!(position(b"{\"follower\": \"east\", \"logs\": []}").0, 204);
    problem(
        server.get("/v1/tenants/acme/proofs/consistency?from=9&to=5"),
        400,
        "bad_request",
        "must not be the greater",
    );
}

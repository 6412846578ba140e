//! A road where strangers may publish: what anybody says there neither speaks for a worker nor stops a change, however much of it there is. Each test is what somebody
//! could do who has no credentials, through the real programs.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use upm_tests::{Server, ok, python, run, run_with_input, wait_for};

use crate::house::{House, approve, event_that, events, request, rfc3339, verdict};

/// Every token that is the ledger's own.
const OWN: [&str; 9] =
    ["plan", "preflight", "execute", "verify", "rollback", "drift", "request", "approvals", "orders"];

/// Where the login of workers lies.
pub(crate) fn login(server: &Server) -> PathBuf {
    server.data().join("nats/workers.url")
}

/// An event of a change, as somebody may write one.
fn event(id: &str, change: &str, phase: &str, sections: &Value) -> Value {
    let mut event = json!({
        "id": id, "change_id": change, "timestamp": "2026-11-30T12:00:00Z", "phase": phase, "environment": "test",
        "intent": {"source": "api", "initiator": "mallory", "tenant": "acme"},
    });
    event.as_object_mut().expect("an object").extend(sections.as_object().expect("sections").clone());
    json!({ "provisioning_event": event })
}

/// Publishes events as `producer`, a line each; with the login of workers if that is wanted.
fn publish(server: &Server, producer: &str, lines: &[Value], with_login: bool) -> (i32, String) {
    let mut command = server.upm(&["emit", "-", "--producer", producer, "--wait"]);
    if with_login {
        command.arg("--nats-file").arg(login(server));
    }
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let (code, out, err) = run_with_input(&mut command, (lines.join("\n") + "\n").as_bytes());
    (code, out + &err)
}

fn published(server: &Server, producer: &str, lines: &[Value]) {
    let (code, told) = publish(server, producer, lines, false);
    assert_eq!(code, 0, "{told}");
}

/// So many events of nearly a megabyte each.
fn flood(change: &str, phase: &str, count: usize) -> Vec<Value> {
    let junk = "x".repeat(990_000);
    (0..count).map(|number| event(&format!("flood-{number}"), change, phase, &json!({ "notes": junk }))).collect()
}

fn on_record(server: &Server, id: &str) -> usize {
    server.json(&format!("/v1/tenants/acme/events?id={id}"))["events"].as_array().map_or(0, Vec::len)
}

fn closed(server: &Server, change: &str) -> Value {
    event_that(server, change, "its end", |event| event["governance"]["closed"] == true)
}

#[test]
fn nobody_speaks_in_a_workers_name_without_its_login() {
    let house = House::new("");
    let server = house.idle();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(login(&server)).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    for name in OWN {
        let one = [event(&format!("by-{name}"), "c-1", "audit", &json!({"notes": name}))];
        let began = std::time::Instant::now();
        let (code, told) = publish(&server, name, &one, false);
        let subject = format!("does not let upm.events.acme.audit.{name} be published without the credentials");
        assert!(code != 0 && told.contains(&subject), "{name}: {code} {told}");
        assert!(began.elapsed() < Duration::from_secs(20), "it is told at once, not after all patience");
        assert_eq!(on_record(&server, &format!("by-{name}")), 0);
        let (code, told) = publish(&server, name, &one, true);
        assert_eq!(code, 0, "{name}: {told}");
        upm_tests::wait_for(&format!("by-{name} on record"), || {
            (on_record(&server, &format!("by-{name}")) == 1).then_some(())
        });
    }
    // Everybody else goes on as before.
    published(&server, "ci", &[event("by-ci", "c-1", "audit", &json!({"notes": "ci"}))]);
    let asked = ["request", "create area north", "--initiator", "ines", "--tenant", "acme", "--nats", server.nats()];
    ok(&mut server.upm(&asked));
    // A login that others may read is none.
    let loose = house.path().join("loose.url");
    std::fs::write(&loose, std::fs::read_to_string(login(&server)).expect("text")).expect("written");
    std::fs::set_permissions(&loose, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
    let (code, _, err) = run(server.upm(&["emit", "x.json", "--nats-file"]).arg(&loose));
    assert!(code == 2 && err.contains("others may read it"), "{code} {err}");
}

#[test]
fn names_that_are_taken_on_the_road_delay_nobody() {
    let house = House::new("");
    let server = house.working();
    let said = [
        "request",
        "plan",
        "preflight.1",
        "preflight.2",
        "execute.1.1.begins",
        "execute.1.1.ends",
        "execute.gate.1",
        "verify.1",
        "closed",
    ];
    let names: Vec<String> = said.iter().map(|what| format!("c-1.{what}")).collect();
    let taken = ok(python("take_names.py").args([server.nats(), "acme", "c-1"]).args(&names));
    assert_eq!(taken.trim(), names.len().to_string());
    request(&server, "c-1", "create area north");
    verdict(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    closed(&server, "c-1");
    assert!(house.land().join("north").exists());
}

#[test]
fn an_attempt_that_nobody_asked_for_moves_no_change() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create area north");
    verdict(&server, "c-1", "wait");
    let attempts = [json!(2), json!(u64::from(u32::MAX)), json!(u64::from(u32::MAX) + 1), json!((1_u64 << 53) - 1)];
    let lines: Vec<Value> = attempts
        .iter()
        .enumerate()
        .map(|(at, attempt)| {
            event(&format!("attempt-{at}"), "c-1", "plan", &json!({"attempt": attempt, "plan": {"commands": ["ls /"]}}))
        })
        .collect();
    published(&server, "mallory", &lines);
    let asks = event(
        "asks",
        "c-1",
        "plan",
        &json!({"attempt": 9, "request": {"request": "create area south", "initiator": "mallory"}}),
    );
    published(&server, "mallory", &[asks]);
    published(&server, "review", &[approval(&server, "c-1")]);
    closed(&server, "c-1");
    assert!(house.land().join("north").exists());
    let ours = |event: &&Value| event["id"].as_str().is_some_and(|id| id.starts_with("c-1."));
    assert!(
        events(&server, "c-1").iter().filter(ours).all(|event| event["attempt"].is_null()),
        "nothing was done about another one"
    );
    // Asking skips none either.
    let far =
        json!({"request": "create area south", "initiator": "ines", "change_id": "c-1", "attempt": 4_000_000_000_u64});
    let (status, body) = server.post("/v1/tenants/acme/requests", "application/json", far.to_string().as_bytes());
    assert!(status == 409 && body.contains("expected at most"), "{status} {body}");
}

#[test]
fn more_than_can_be_read_stops_no_change() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create area north");
    verdict(&server, "c-1", "wait");
    let approval = approval(&server, "c-1");
    let lines = flood("c-1", "audit", 70);
    for lines in lines.chunks(10) {
        published(&server, "mallory", lines);
    }
    let (status, _) = server.get("/v1/tenants/acme/changes/c-1");
    assert_eq!(status, 422, "it is too large to be judged over HTTP");
    published(&server, "review", &[approval]);
    wait_for("the area", || house.land().join("north").exists().then_some(()));
    wait_for("its end", || (on_record(&server, "c-1.closed") == 1).then_some(()));
}

/// An approval of the first attempt's plan by olga, to be published later.
fn approval(server: &Server, change: &str) -> Value {
    let shown = server.json(&format!("/v1/tenants/acme/changes/{change}"));
    let digest = &shown["attempts"][0]["plan_digest"];
    let now =
        shown["timeline"].as_array().and_then(|all| all.last()).expect("an entry")["at"].as_i64().expect("a time");
    let given =
        json!({"approver": "olga", "role": "owner", "decision": "approved", "at": rfc3339(now), "plan_digest": digest});
    event("olga", change, "preflight", &json!({"preflight": {"approvals": [given]}}))
}

/// Even of a worker's own events there may be too many: then it says so, once, and turns to what else there is.
#[test]
fn what_can_not_be_read_is_given_up_with_its_reason() {
    let house = House::new("");
    let server = house.working();
    let lines = flood("c-1", "plan", 70);
    for lines in lines.chunks(10) {
        let (code, told) = publish(&server, "plan", lines, true);
        assert_eq!(code, 0, "{told}");
    }
    wait_for("the reason", || (on_record(&server, "c-1.preflight.given-up") == 1).then_some(()));
    let row = server.json("/v1/tenants/acme/events?id=c-1.preflight.given-up")["events"][0]["index"].clone();
    let said =
        server.json(&format!("/v1/tenants/acme/events/{row}"))["event"]["provisioning_event"]["given_up"].clone();
    assert!(
        said["reason"].as_str().is_some_and(|why| why.contains("70 events") || why.contains("events with")),
        "{said}"
    );
    request(&server, "c-2", "create area north");
    verdict(&server, "c-2", "wait");
    assert_eq!(on_record(&server, "c-1.preflight.given-up"), 1, "its own event does not wake it to say so again");
}

#[test]
fn that_it_was_taken_back_is_only_the_rollback_workers_word() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create area north");
    verdict(&server, "c-1", "wait");
    published(
        &server,
        "mallory",
        &[event("begins", "c-1", "execute", &json!({"rollback": {"executed": {"steps": []}}}))],
    );
    approve(&server, "c-1", "olga", "owner");
    let end = closed(&server, "c-1");
    assert_eq!(end["closing"]["because"], "verified", "{end}");
    assert!(house.land().join("north").exists(), "nothing was taken back");
}

#[test]
fn a_request_whose_id_somebody_has_taken_is_still_taken() {
    let house = House::new("");
    let server = house.idle();
    published(&server, "mallory", &[event("c-1.request", "c-1", "audit", &json!({"notes": "taken"}))]);
    let first = request(&server, "c-1", "create area north");
    assert_eq!(first["status"], "accepted", "{first}");
    let again = request(&server, "c-1", "create area north");
    assert_eq!((&again["status"], &again["index"]), (&json!("duplicate"), &first["index"]));
}

#[test]
fn what_was_never_executed_is_not_taken_back_and_goes_on() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create area north");
    verdict(&server, "c-1", "wait");
    for more in [&[][..], &["--no-wait"]] {
        let (code, _, err) = run(server.upm(&["rollback", "c-1", "--by", "olga", "--tenant", "acme"]).args(more));
        assert!(code == 1 && err.contains("nothing was executed in change c-1"), "{code} {err}");
    }
    assert!(!events(&server, "c-1").iter().any(|event| event["order"].is_object()), "nothing is recorded");
    approve(&server, "c-1", "olga", "owner");
    closed(&server, "c-1");
    assert!(house.land().join("north").exists());
}

/// A worker that comes to say what is on record already is at its end, and says so: it does not go round and round.
#[test]
fn what_changes_nothing_on_record_is_an_error_and_not_a_loop() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create area north");
    verdict(&server, "c-1", "wait");
    // As a worker of another version may have said it: under the id of a round of checks, and without one.
    let (code, told) =
        publish(&server, "verify", &[event("c-1.verify.1", "c-1", "verify", &json!({"notes": "nothing"}))], true);
    assert_eq!(code, 0, "{told}");
    approve(&server, "c-1", "olga", "owner");
    let failures = || {
        let (_, metrics) = server.get("/metrics");
        let line = metrics.lines().find(|line| line.starts_with("upm_worker_failures_total{worker=\"verify\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    wait_for("the failure to be counted", || (failures() > 0).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    assert!(failures() < 12, "each wake is one look: {}", failures());
    let log = std::fs::read_to_string(server.data().with_extension("log")).expect("a log");
    assert!(log.contains("event c-1.verify.1 is on record already"), "{log}");
    // Others are not kept waiting by it.
    request(&server, "c-2", "create area south");
    verdict(&server, "c-2", "wait");
    assert_eq!(server.stop(), 0);
}

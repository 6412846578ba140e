//! Orders over HTTP and by the command line are the same orders: what a person says at the door is done by the workers, and what can't be done is refused by both in the same words.

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, wait_for};

use crate::house::{Worker, event_that, events, request, verdict};
use crate::workshop::{approved, step_begins, step_over, workshop};

fn order(server: &Server, change: &str, order: &Value) -> (u16, Value) {
    let path = format!("/v1/tenants/acme/changes/{change}/orders");
    let (status, body) = server.post(&path, "application/json", order.to_string().as_bytes());
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {error}: {body}")))
}

/// Given, and on record: the answer.
fn given(server: &Server, change: &str, kind: &str) -> Value {
    let (status, told) = order(server, change, &json!({"kind": kind, "by": "olga", "reason": "the pager rings"}));
    assert_eq!(status, 202, "{told}");
    assert_eq!((&told["tenant"], &told["change"], &told["order"]), (&json!("acme"), &json!(change), &json!(kind)));
    assert!(told["receipt"].as_str().is_some_and(|receipt| receipt.starts_with("c2sp.org/tlog-proof@v1")), "{told}");
    told
}

#[test]
fn orders_over_http_are_carried_out() {
    let house = workshop("[verify]\nclose = false\n");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");

    // Paused while its first step runs: that one ends, the next one does not begin.
    approved(&server, "c-1", "create slow folder a within 3 seconds and slow folder b");
    step_begins(&server, "c-1", "slow/a", 1);
    let told = given(&server, "c-1", "pause");
    let index = told["index"].as_u64().expect("an index");
    step_over(&server, "c-1", "slow/a");
    let begun = |step: &str| events(&server, "c-1").iter().any(|event| event["execution"]["started"]["step"] == step);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!begun("slow/b"), "nothing begins of one that is paused");
    given(&server, "c-1", "resume");
    step_over(&server, "c-1", "slow/b");

    // On record like anybody's: who said it, why, and by which door.
    let shown = server.json("/v1/tenants/acme/changes/c-1");
    let timeline = shown["timeline"].as_array().expect("a timeline");
    let entry = timeline.iter().find(|entry| entry["index"] == index).expect("the order");
    assert_eq!((&entry["producer"], &entry["id"]), (&json!("orders"), &told["id"]), "{entry}");
    assert_eq!(entry["text"], "Pause ordered by “olga”: “the pager rings”.");
    assert_eq!(shown["initiator"], "ines", "whoever orders did not ask for it");

    // Looked at and taken back.
    event_that(&server, "c-1", "a round", |event| event["id"] == "c-1.verify.1");
    let asked = given(&server, "c-1", "rollback_dry_run");
    let proof = event_that(&server, "c-1", "the proof", |event| event["answers"] == asked["id"]);
    assert_eq!(proof["rollback"]["dry_run"]["ok"], true, "{proof}");
    given(&server, "c-1", "rollback");
    let end = event_that(&server, "c-1", "an end", |event| event["rollback"]["executed"]["outcome"].is_string());
    assert_eq!(
        (&end["rollback"]["executed"]["outcome"], &end["rollback"]["executed"]["ordered_by"]),
        (&json!("rolled_back"), &json!("olga"))
    );
    assert!(!house.land().join("a").exists() && !house.land().join("b").exists());

    // Cancelled while it runs.
    approved(&server, "c-2", "create slow folder c within 300 seconds and slow folder d");
    step_begins(&server, "c-2", "slow/c", 1);
    given(&server, "c-2", "cancel");
    assert_eq!(step_over(&server, "c-2", "slow/c")["stopped"], "cancelled");
    assert!(!house.land().join("d").exists());
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_can_not_be_carried_out_is_refused_at_both_doors() {
    let house = workshop("");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create area north");
    event_that(&server, "c-1", "its end", |event| event["governance"]["closed"] == true);
    wait_for("the change to be shown as closed", || {
        (server.json("/v1/tenants/acme/changes/c-1")["state"] == "closed").then_some(())
    });
    // Of this one nothing was executed.
    request(&server, "c-2", "create area south");
    verdict(&server, "c-2", "wait");
    let before = events(&server, "c-1").len();
    for (change, kind, command, reason) in [
        ("c-1", "pause", &["change", "pause"][..], "c-1 is closed"),
        ("c-1", "cancel", &["change", "cancel"], "c-1 is closed"),
        ("c-1", "rollback", &["rollback"], "c-1 is closed"),
        ("c-2", "rollback", &["rollback"], "nothing was executed in change c-2"),
    ] {
        let (status, told) = order(&server, change, &json!({"kind": kind, "by": "olga"}));
        assert_eq!((status, &told["type"]), (409, &json!("urn:upm-ledger:problem:order_refused")), "{told}");
        let why = told["detail"].as_str().expect("why").to_owned();
        assert!(why.contains(reason), "{why}");
        let mut said = command.to_vec();
        said.extend([change, "--by", "olga", "--tenant", "acme"]);
        let (code, _, err) = run(&mut server.upm(&said));
        assert!(code == 1 && err.contains(&why), "{code} {err}\n{why}");
    }
    for (document, found) in [
        (json!({"kind": "dance", "by": "olga"}), "/kind"),
        (json!({"kind": "pause"}), "/by"),
        (json!({"kind": "pause", "by": "olga", "force": true}), "/force"),
    ] {
        let (status, told) = order(&server, "c-1", &document);
        assert!(status == 422 && told["detail"].as_str().is_some_and(|text| text.contains(found)), "{status} {told}");
    }
    assert_eq!(order(&server, "c-none", &json!({"kind": "pause", "by": "olga"})).0, 404);
    let (code, _, err) = run(&mut server.upm(&["change", "pause", "c-none", "--by", "olga", "--tenant", "acme"]));
    assert!(code == 1 && err.contains("c-none"), "{code} {err}");
    let path = "/v1/tenants/acme/changes/c-1/orders";
    // What a page of another site could send without being asked first.
    assert_eq!(server.post(path, "text/plain", br#"{"kind": "pause", "by": "olga"}"#).0, 415);
    assert_eq!(server.get(path).0, 405);
    assert_eq!(events(&server, "c-1").len(), before, "nothing of it is on record");
    assert!(!events(&server, "c-2").iter().any(|event| event["order"].is_object()));
}

/// An order is of the attempt that is under way, whichever door it came by.
#[test]
fn an_order_reaches_the_newest_attempt() {
    let house = workshop("");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    let again = |change: &str| {
        let asked = json!({"request": "create area south", "initiator": "ines", "environment": "test", "change_id": change, "attempt": 2});
        let (status, body) = server.post("/v1/tenants/acme/requests", "application/json", asked.to_string().as_bytes());
        assert_eq!(status, 202, "{body}");
        event_that(&server, change, "a second verdict", |event| {
            event["attempt"] == 2 && event["preflight"]["verdict"] == "wait"
        });
    };
    let cancelled = |change: &str, attempt: u64| {
        event_that(&server, change, &format!("the end of attempt {attempt}"), |event| {
            event["governance"]["closed"] == true && event["attempt"].as_u64().unwrap_or(1) == attempt
        });
    };
    request(&server, "c-1", "create area south");
    verdict(&server, "c-1", "wait");
    ok(&mut server.upm(&["change", "cancel", "c-1", "--by", "olga", "--tenant", "acme"]));
    cancelled("c-1", 1);
    again("c-1");
    ok(&mut server.upm(&["change", "cancel", "c-1", "--by", "olga", "--tenant", "acme"]));
    cancelled("c-1", 2);

    request(&server, "c-2", "create area south");
    verdict(&server, "c-2", "wait");
    given(&server, "c-2", "cancel");
    cancelled("c-2", 1);
    again("c-2");
    given(&server, "c-2", "cancel");
    cancelled("c-2", 2);
    assert!(!house.land().join("south").exists());
}

//! Plans and executions that somebody else publishes, as anybody may who reaches a road without credentials: nothing is run or taken back that was not approved as
//! it stands.

use serde_json::{Value, json};
use upm_tests::Server;

use crate::house::{House, Worker, approve, event_that, events, request, verdict};
use crate::strangers::login;
use crate::workshop::{approved, emit, lines, made, step_begins, step_over, workshop};

fn with(options: &str) -> House {
    let house = House::new("");
    std::fs::write(house.options(), format!("catalogue = [\"folders.toml\"]\n{options}\n")).expect("written");
    house
}

/// The newest plan of a change, as stored.
fn plan_of(server: &Server, change: &str) -> Value {
    events(server, change).into_iter().rev().find(|event| event["plan"].is_object()).expect("a plan")
}

/// Publishes a plan as somebody who is no worker.
fn forge(server: &Server, change: &str, plan: &Value) {
    let mut event = plan.clone();
    event["id"] = format!("{change}-forged").into();
    event["change_id"] = change.into();
    emit(server, &json!({ "provisioning_event": event }), "mallory");
}

/// Speaks for a worker, with the workers' login, as on a road where anybody may.
fn speak(server: &Server, event: &Value, worker: &str) {
    let mut command = server.upm(&["emit", "-", "--producer", worker, "--wait", "--nats-file"]);
    let (code, out, err) = upm_tests::run_with_input(command.arg(login(server)), event.to_string().as_bytes());
    assert_eq!(code, 0, "{out}{err}");
}

fn began(server: &Server, change: &str) -> bool {
    events(server, change).iter().any(|event| event["execution"].is_object())
}

/// The newest verdict, once it is of the newest plan.
fn verdict_on_newest(server: &Server, change: &str) -> Value {
    upm_tests::wait_for(&format!("a verdict on the newest plan of {change}"), || {
        let all = events(server, change);
        let planned = all.iter().rposition(|event| event["plan"].is_object())?;
        all[planned..].iter().rev().find(|event| event["preflight"]["verdict"].is_string()).cloned()
    })
}

/// Puts something else into a plan.
type Exchange<'a> = &'a dyn Fn(&mut Value);

/// The same commands, and something else of what is run or judged: approvals of the plan before it are none of it.
#[test]
fn an_approval_is_of_all_that_is_run_and_judged() {
    let house = workshop("");
    let server = house.idle();
    let exchanges: [(&str, Exchange<'_>); 6] = [
        // A check that always says that there is nothing to do, or that nothing was done.
        ("check", &|plan| plan["plan"]["steps"][0]["check"] = plan["plan"]["steps"][1]["check"].clone()),
        ("read-back", &|plan| plan["plan"]["steps"][0]["read_back"] = plan["plan"]["steps"][1]["read_back"].clone()),
        ("waves", &|plan| {
            let steps = [&plan["plan"]["steps"][0]["id"], &plan["plan"]["steps"][1]["id"]];
            let gate = json!({"read_back": []});
            plan["plan"]["waves"] = json!([{"name": "all", "percent": 100, "steps": steps, "gate": gate}]);
        }),
        ("window", &|plan| drop(plan["plan"].as_object_mut().expect("a plan").remove("window"))),
        ("left", &|plan| plan["rollback"]["left"] = json!([{"step": "slow/b", "reason": "it is kept"}])),
        ("class", &|plan| plan["change_class"] = "emergency".into()),
    ];
    let changes: Vec<String> = exchanges.iter().map(|(what, _)| format!("c-{what}")).collect();
    {
        let _worker = Worker::start(&house, &server, "all");
        for change in &changes {
            let asked = json!({
                "request": format!("create slow folder {change}-a and slow folder {change}-b"), "change_id": change, "initiator": "ines",
                "environment": "test", "window": {"start": "2026-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z"},
            });
            let (status, body) =
                server.post("/v1/tenants/acme/requests", "application/json", asked.to_string().as_bytes());
            assert_eq!(status, 202, "{body}");
            verdict(&server, change, "wait");
        }
    }
    // Nobody works while the one is approved and the other put in its place.
    for (change, (_, exchange)) in changes.iter().zip(&exchanges) {
        approve(&server, change, "olga", "owner");
        let mut plan = plan_of(&server, change);
        let before = plan.clone();
        exchange(&mut plan);
        assert_ne!(plan, before, "{change}");
        assert_eq!(plan["plan"]["commands"], before["plan"]["commands"]);
        forge(&server, change, &plan);
    }
    let _workers = Worker::start(&house, &server, "all");
    for change in &changes {
        let said = verdict_on_newest(&server, change);
        let preflight = &said["preflight"];
        assert_ne!(preflight["verdict"], "go", "{change}: {said}");
        let refused = preflight["approvals_refused"].to_string();
        assert!(refused.contains("it is of another plan"), "{change}: {said}");
        assert!(!began(&server, change), "{change}");
    }
    assert_eq!(lines(&made(&house)), Vec::<String>::new());
    // Approved as it stands now, it is run.
    approve(&server, "c-left", "olaf", "owner");
    step_over(&server, "c-left", "slow/c-left-b");
    assert!(house.land().join("c-left-a").is_dir());
}

/// What is approved and begun goes on, whatever plan is published behind it.
#[test]
fn a_plan_behind_the_begin_changes_nothing() {
    let house = workshop("");
    let server = house.idle();
    let worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create slow folder a within 2 seconds and slow folder b");
    step_begins(&server, "c-1", "slow/a", 1);
    worker.crash();
    let mut plan = plan_of(&server, "c-1");
    plan["plan"]["commands"][1] = format!("slowdir 0 {0}/evil {0}/evil.txt", house.land().display()).into();
    plan["plan"]["steps"][1].as_object_mut().expect("a step").remove("argv");
    forge(&server, "c-1", &plan);
    let _next = Worker::start(&house, &server, "all");
    step_over(&server, "c-1", "slow/b");
    assert!(house.land().join("b").is_dir() && !house.land().join("evil").exists());
}

/// A lane lets through what the catalogue makes of the request, whatever a plan says of itself.
#[test]
fn a_lane_is_not_opened_by_what_a_plan_says_of_itself() {
    let house = with("[[lanes]]\nname = \"areas\"\nenvironments = [\"test\"]\ntypes = [\"area\"]\nmax_risk = 50\n");
    let server = house.idle();
    std::fs::create_dir(house.land().join("precious")).expect("made");
    let genuine = {
        let _worker = Worker::start(&house, &server, "plan");
        request(&server, "c-1", "create area north");
        event_that(&server, "c-1", "a plan", |event| event["plan"].is_object())
    };
    let _workers = ["preflight", "execute"].map(|worker| Worker::start(&house, &server, worker));
    step_over(&server, "c-1", "area/north");
    assert!(house.land().join("north").is_dir(), "what the catalogue makes of the request is let through");

    request(&server, "c-2", "create area south");
    let mut plan = genuine;
    let (evil, land) = (house.land().join("precious"), house.land().display().to_string());
    let text = plan.to_string().replace("north", "south");
    plan = serde_json::from_str(&text).expect("JSON");
    let line = format!("rmdir {}", evil.display());
    plan["plan"]["commands"][0] = line.as_str().into();
    plan["plan"]["steps"][0]["argv"] = json!(["rmdir", evil]);
    forge(&server, "c-2", &plan);
    let waits = verdict(&server, "c-2", "wait");
    let judged = &waits["preflight"]["lanes"][0];
    assert_eq!(judged["takes"], false, "{waits}");
    let told = judged["against"].to_string();
    assert!(
        told.contains("rmdir") && told.contains(&format!("the catalogue makes \\\"mkdir {land}/south\\\"")),
        "{told}"
    );
    // Nor by a word of preflight, on a road where anybody may speak for it.
    let go = json!({"provisioning_event": {
        "id": "forged-go", "change_id": "c-2", "timestamp": "2026-11-30T12:00:00Z", "phase": "preflight", "environment": "test",
        "intent": {"source": "api", "initiator": "mallory", "tenant": "acme"},
        "preflight": {"verdict": "go", "plan_digest": waits["preflight"]["plan_digest"], "lanes": [{"name": "areas", "takes": true, "against": []}]},
    }});
    speak(&server, &go, "preflight");
    // Whoever is woken later is through: so the one before had its turn.
    let _planner = Worker::start(&house, &server, "plan");
    request(&server, "c-3", "create area west");
    step_over(&server, "c-3", "area/west");
    assert!(!began(&server, "c-2") && evil.is_dir());
}

/// An execution that is said to have failed takes nothing back by a plan that lacked what the house asks for, though the tenant's rule was content.
#[test]
fn a_rollback_asks_for_the_houses_approvals() {
    let house = with(
        "[rollback]\nautomatic = [\"execution\"]\nenvironments = [\"test\"]\n[[approvals]]\nname = \"two\"\ncount = 2\n",
    );
    let server = house.working();
    std::fs::create_dir(house.land().join("precious")).expect("made");
    request(&server, "c-1", "create area precious");
    verdict(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    let executed = json!({"provisioning_event": {
        "id": "forged-execution", "change_id": "c-1", "timestamp": "2026-11-30T12:00:00Z", "phase": "execute", "environment": "test",
        "intent": {"source": "api", "initiator": "mallory", "tenant": "acme"},
        "execution": {"steps": [{"id": "area/precious", "rc": 1}]},
    }});
    speak(&server, &executed, "execute");
    let refused = event_that(&server, "c-1", "a refusal", |event| event["rollback"]["refused"].is_string());
    let why = refused["rollback"]["refused"].as_str().unwrap_or_default();
    assert!(why.contains("never had the approvals") && why.contains("two: 1 of 2 approvals"), "{refused}");
    assert!(house.land().join("precious").is_dir());
    let undone = |event: &Value| event["rollback"]["executed"].is_object();
    assert!(!events(&server, "c-1").iter().any(undone));
    // Somebody else's word that comes afterwards is enough: the plan, with its way back, is approved.
    approve(&server, "c-1", "olaf", "owner");
    let told = ["rollback", "c-1", "--by", "olga", "--reason", "as approved", "--tenant", "acme"];
    let told = upm_tests::ok(&mut server.upm(&told));
    assert!(told.starts_with("rolled back: taken back: area/precious"), "{told}");
}

//! Workers through the real program, from a request to the verdict that a plan may run: in the server's process and beside it, killed and started
//! again, several at once. What they execute is tried elsewhere.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, wait_for};

use crate::house::{House, Worker, approve, event_that, events, request, verdict};

/// The workers that this module is about: nothing is executed.
fn both(house: &House, server: &Server) -> [Worker; 2] {
    ["plan", "preflight"].map(|what| Worker::start(house, server, what))
}

/// How often each id is among the events of a change.
fn ids(server: &Server, change: &str) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for event in events(server, change) {
        *counted.entry(event["id"].as_str().expect("an id").to_owned()).or_default() += 1;
    }
    counted
}

fn once_each(server: &Server, change: &str, expect: &[&str]) {
    let expect: BTreeMap<String, usize> = expect.iter().map(|what| (format!("{change}.{what}"), 1)).collect();
    assert_eq!(ids(server, change), expect, "{change}");
}

#[test]
fn a_request_in_words_waits_for_an_approval_and_may_run_then() {
    let house = House::new("");
    std::fs::create_dir(house.land().join("north")).expect("made");
    let server = house.idle();
    let _workers = both(&house, &server);
    let answer = request(&server, "c-1", "create folder reports in area north");
    assert_eq!((&answer["change"], &answer["status"]), (&json!("c-1"), &json!("accepted")), "{answer}");
    let waits = verdict(&server, "c-1", "wait");
    let all = events(&server, "c-1");
    let plan = all.iter().find(|event| event["plan"].is_object()).expect("a plan");
    let land = house.land().display().to_string();
    assert_eq!(plan["plan"]["commands"], json!([format!("mkdir {land}/north/reports")]), "{plan}");
    assert!(plan["plan"]["compile_ms"].is_number() && plan["plan"]["inputs_digest"].is_string(), "{plan}");
    // What is approved is the plan as the ledger has it.
    let shown = server.json("/v1/tenants/acme/changes/c-1");
    assert_eq!(shown["attempts"][0]["plan_digest"], waits["preflight"]["plan_digest"]);
    assert_eq!((&plan["environment"], &plan["intent"]["initiator"]), (&json!("test"), &json!("ines")));
    let reasons = waits["preflight"]["waits_for"].to_string();
    assert!(reasons.contains("approval") || reasons.contains("person"), "{reasons}");
    assert!(!house.land().join("north/reports").exists(), "nothing runs before it may");

    // Whoever asked can't approve, and is told so.
    approve(&server, "c-1", "ines", "owner");
    let refused =
        event_that(&server, "c-1", "a refused approval", |event| event["preflight"]["approvals_refused"].is_array());
    assert!(refused["preflight"]["approvals_refused"].to_string().contains("asked for"), "{refused}");
    approve(&server, "c-1", "olga", "owner");
    let goes = verdict(&server, "c-1", "go");
    assert_eq!(goes["preflight"]["plan_digest"], waits["preflight"]["plan_digest"]);
    let (code, out, err) =
        run(&mut server.upm(&["assert", "c-1", "--requires", "planned,approved", "--tenant", "acme"]));
    assert_eq!(code, 0, "{out}{err}");

    // The watch told each of these as it came, and tells it again to whoever comes late.
    let told = ok(&mut server
        .upm(&["change", "watch", "c-1", "--until", "approved", "--for", "60", "--tenant", "acme", "--json"]));
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let entries: Vec<&Value> = told.iter().filter(|line| line["event"] == "entry").map(|line| &line["id"]).collect();
    let on_record = events(&server, "c-1");
    let on_record: Vec<&Value> = on_record.iter().map(|event| &event["id"]).collect();
    assert!(entries.len() >= 6 && on_record[..entries.len()] == entries[..], "{entries:?} of {on_record:?}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_change_is_watched_as_it_happens() {
    let house = House::new("");
    std::fs::create_dir(house.land().join("north")).expect("made");
    let server = house.idle();
    request(&server, "c-1", "create folder reports in area north");
    let mut watching = server
        .upm(&["change", "watch", "c-1", "--until", "preflight_passed", "--for", "60", "--tenant", "acme"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let _worker = Worker::start(&house, &server, "all");
    let code = watching.wait().expect("it ends").code();
    let mut out = String::new();
    std::io::Read::read_to_string(&mut watching.stdout.take().expect("piped"), &mut out).expect("text");
    assert_eq!(code, Some(0), "{out}");
    let states: Vec<&str> = out.lines().filter_map(|line| line.trim().strip_prefix("= ")).collect();
    assert_eq!(states.last(), Some(&"preflight passed"), "{out}");
    assert!(out.lines().filter(|line| line.contains("  plan ")).count() == 2, "request and plan: {out}");

    let (code, _, err) = run(&mut server.upm(&["change", "watch", "c-none", "--tenant", "acme"]));
    assert!(code == 1 && err.contains("no change c-none"), "{err}");
    let (code, _, err) = run(&mut server.upm(&["change", "watch", "c-1", "--for", "1", "--tenant", "acme"]));
    assert!(code == 1 && err.contains("the change is preflight passed"), "{err}");
}

/// The same request is the same entry, however often it is put; another one is another change.
#[test]
fn a_request_is_put_once() {
    let house = House::new("");
    let server = house.idle();
    let first = request(&server, "c-1", "create area north");
    let again = request(&server, "c-1", "create area north");
    assert_eq!((&again["index"], &again["status"]), (&first["index"], &json!("duplicate")));
    let other =
        ["request", "create area south", "--change", "c-1", "--initiator", "ines", "--env", "test", "--tenant", "acme"];
    let (code, _, err) = run(&mut server.upm(&other));
    assert!(code == 1 && err.contains("something else was asked for in it"), "{code} {err}");
    once_each(&server, "c-1", &["request"]);

    // Over NATS, and without a name of one's own.
    let over =
        ["request", "create area south", "--initiator", "ines", "--tenant", "acme", "--json", "--nats", server.nats()];
    let answer: Value = serde_json::from_str(&ok(&mut server.upm(&over))).expect("JSON");
    let change = answer["change"].as_str().expect("a change");
    once_each_named(&server, change);
    let nobody = ["request", "create area south", "--initiator", "ines", "--tenant", "nobody", "--nats", server.nats()];
    let (code, _, err) = run(&mut server.upm(&nobody));
    assert!(code == 1 && err.contains("there is no tenant nobody"), "{code} {err}");

    // Over HTTP, with what is wrong named.
    let post = |body: &Value| server.post("/v1/tenants/acme/requests", "application/json", body.to_string().as_bytes());
    let (status, body) = post(&json!({"request": "create area west", "initiator": "ines"}));
    assert!(status == 202 && body.contains("/watch"), "{status} {body}");
    let (status, body) = post(&json!({"request": "create area west"}));
    assert!(status == 422 && body.contains("/initiator"), "{status} {body}");
    let (status, body) = post(&json!({"request": "create area west", "initiator": "ines", "colour": "red"}));
    assert!(status == 422 && body.contains("colour"), "{status} {body}");
}

fn once_each_named(server: &Server, change: &str) {
    wait_for("the views", || (events(server, change).len() == 1).then_some(()));
    once_each(server, change, &["request"]);
}

#[test]
fn what_is_not_understood_ends_the_change_with_the_reasons() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create area north and a castle of sand");
    let out = ok(&mut server.upm(&["change", "watch", "c-1", "--for", "60", "--tenant", "acme"]));
    assert!(out.contains("= closed"), "{out}");
    let closed = event_that(&server, "c-1", "its end", |event| event["governance"]["closed"] == true);
    let refusal = &closed["refusal"];
    assert!(refusal["reasons"].to_string().contains("castle of sand"), "{refusal}");
    assert!(refusal["understood"].to_string().contains("create area north"), "{refusal}");
    once_each(&server, "c-1", &["request", "refused"]);
}

/// Whoever is killed is followed by whoever comes next, at each place in between.
#[test]
fn workers_that_are_killed_are_followed() {
    let house = House::new("");
    std::fs::create_dir(house.land().join("north")).expect("made");
    let server = house.idle();
    request(&server, "c-1", "create folder a in area north");
    let planner = Worker::start(&house, &server, "plan");
    event_that(&server, "c-1", "the plan", |event| event["plan"].is_object());
    planner.crash();
    once_each(&server, "c-1", &["request", "plan"]);
    let looking = Worker::start(&house, &server, "preflight");
    verdict(&server, "c-1", "wait");
    looking.crash();
    approve(&server, "c-1", "olga", "owner");
    // Killed again and again, at any place of its way.
    for round in 0..6_u64 {
        let change = format!("k-{round}");
        request(&server, &change, &format!("create folder f{round} in area north"));
        let workers = both(&house, &server);
        std::thread::sleep(Duration::from_millis(40 * (round + 1)));
        workers.into_iter().for_each(Worker::crash);
    }
    let _workers = both(&house, &server);
    verdict(&server, "c-1", "go");
    once_each_of(&server, "c-1", &["request", "plan", "preflight.1", "preflight.2"]);
    for round in 0..6 {
        let change = format!("k-{round}");
        verdict(&server, &change, "wait");
        once_each(&server, &change, &["request", "plan", "preflight.1"]);
    }
}

/// The server dies and starts somewhere else while its workers go on: they find it again, and nothing is said twice.
#[test]
fn a_server_that_dies_is_found_again_by_its_workers() {
    let house = House::new("");
    std::fs::create_dir(house.land().join("north")).expect("made");
    let server = house.idle();
    let _workers = both(&house, &server);
    request(&server, "c-1", "create folder a in area north");
    verdict(&server, "c-1", "wait");
    request(&server, "c-2", "create folder b in area north");
    server.crash();
    let server = house.idle();
    request(&server, "c-3", "create folder c in area north");
    for change in ["c-2", "c-3"] {
        verdict(&server, change, "wait");
    }
    for change in ["c-1", "c-2", "c-3"] {
        once_each(&server, change, &["request", "plan", "preflight.1"]);
    }
}

/// Without the approval, which is no worker's.
fn once_each_of(server: &Server, change: &str, expect: &[&str]) {
    let mut found = ids(server, change);
    found.retain(|id, _| id.starts_with(change));
    let expect: BTreeMap<String, usize> = expect.iter().map(|what| (format!("{change}.{what}"), 1)).collect();
    assert_eq!(found, expect, "{change}");
}

/// Three processes of the same workers: each event is said once.
#[test]
fn several_workers_say_each_thing_once() {
    let house = House::new("");
    std::fs::create_dir(house.land().join("north")).expect("made");
    let server = house.working();
    let _others = [Worker::start(&house, &server, "all"), Worker::start(&house, &server, "all")];
    let changes: Vec<String> = (0..24).map(|number| format!("c-{number}")).collect();
    for change in &changes {
        request(&server, change, "create folder reports in area north");
    }
    for change in &changes {
        verdict(&server, change, "wait");
    }
    for change in &changes {
        once_each(&server, change, &["request", "plan", "preflight.1"]);
    }
    // Same request, same catalogue: the same plan.
    let digests: std::collections::BTreeSet<String> =
        changes.iter().map(|change| verdict(&server, change, "wait")["preflight"]["plan_digest"].to_string()).collect();
    assert_eq!(digests.len(), 1, "{digests:?}");
}

/// What a program makes of words passes the same checks, and where it says no, that is the end of the change.
#[test]
fn words_are_compiled_by_a_program_of_the_house() {
    let house = House::new("");
    let program = house.path().join("compile");
    let script = "#!/bin/sh\ncase $(cat \"$1\") in\n*meadow*) echo '{\"resources\": [{\"type\": \"area\", \"name\": \"meadow\"}]}' ;;\n*moon*) echo '{\"resources\": [{\"type\": \"area\", \"name\": \"MOON\"}]}' ;;\n*) echo 'I only know meadows' >&2; exit 3 ;;\nesac\n";
    std::fs::write(&program, script).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let options = format!("catalogue = [\"folders.toml\"]\n[plan]\ncompiler = [\"{}\"]\n", program.display());
    std::fs::write(house.options(), options).expect("written");
    let server = house.working();
    request(&server, "c-1", "somewhere green, a meadow perhaps");
    let waits = verdict(&server, "c-1", "wait");
    assert_eq!(waits["preflight"]["verdict"], "wait");
    let plan = events(&server, "c-1").into_iter().find(|event| event["plan"].is_object()).expect("a plan");
    assert_eq!(plan["plan"]["commands"], json!([format!("mkdir {}/meadow", house.land().display())]), "{plan}");
    for (change, words, reason) in [
        ("c-2", "a house on the moon", "expected text that matches"),
        ("c-3", "a castle", "exit code 3: I only know meadows"),
    ] {
        request(&server, change, words);
        let closed = event_that(&server, change, "its end", |event| event["governance"]["closed"] == true);
        assert!(closed["refusal"]["reasons"].to_string().contains(reason), "{closed}");
    }
}

#[test]
fn policies_and_windows_are_asked() {
    let options = "[policy]\ndirectory = \"policies\"\n\n[[windows]]\nname = \"never\"\nenvironments = [\"production\"]\nzone = \"UTC\"\ndays = [\"mon\"]\nfrom = \"00:00\"\nto = \"00:01\"\n";
    let house = House::new("");
    std::fs::create_dir(house.path().join("policies")).expect("made");
    let rego = "package house.names\nimport rego.v1\ndeny contains msg if {\n\tsome r in input.plan.target.resources\n\tstartswith(r.name, \"tmp\")\n\tmsg := sprintf(\"%s is no name\", [r.name])\n}\n";
    std::fs::write(house.path().join("policies/names.rego"), rego).expect("written");
    let text = format!("catalogue = [\"folders.toml\"]\n{options}");
    std::fs::write(house.options(), text).expect("written");
    let told = ok(upm_tests::upm(["work", "check"]).arg(house.options()));
    assert!(told.contains("can be used") && told.contains("house.names"), "{told}");
    let server = house.working();
    request(&server, "c-1", "create area tmp1 and area tmp2");
    let halts = verdict(&server, "c-1", "halt");
    let policies = halts["preflight"]["policies"].to_string();
    assert!(policies.contains("tmp1 is no name") && policies.contains("tmp2 is no name"), "all are told: {policies}");
    assert!(
        halts["preflight"]["policies_digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")),
        "{halts}"
    );
    request(&server, "c-2", "create area north");
    let waits = verdict(&server, "c-2", "wait");
    assert!(waits["preflight"]["policies"].to_string().contains("allowed"), "{waits}");
}

#[test]
fn options_that_are_wrong_are_told_all_at_once() {
    let house = House::new(
        "[preflight]\ntime_limit_s = 0\n\n[guard]\npipe_allow_list = [\"bash\"]\nenvironment = [\"LD_PRELOAD\"]\n",
    );
    let (code, out, err) = run(upm_tests::upm(["work", "check"]).arg(house.options()));
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("time_limit_s") && err.contains("bash"), "{err}");
    let (code, _, err) = run(upm_tests::upm(["work", "check", "none.toml"]).current_dir(house.path()));
    assert!(code == 2 && err.contains("none.toml"), "{err}");
    let serve = ["serve", "--workers", &house.options(), "--data"];
    let (code, _, err) = run(upm_tests::upm(serve).arg(house.path().join("data")));
    assert!(code == 2 && err.contains("time_limit_s"), "{err}");
}

/// What the workers of the server's process did is told to a monitor.
#[test]
fn workers_are_counted() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create area north and folder reports in area north");
    verdict(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    event_that(&server, "c-1", "its end", |event| event["governance"]["closed"] == true);
    let figure = |name: &str, worker: &str| {
        let (_, page) = server.get("/metrics");
        let line = page.lines().find(|line| line.starts_with(name) && line.contains(&format!("worker=\"{worker}\"")));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse::<f64>().ok())
    };
    assert_eq!(figure("upm_worker_steps_total", "execute"), Some(2.0));
    assert_eq!(figure("upm_worker_steps_failed_total", "execute"), Some(0.0));
    for worker in ["plan", "preflight", "execute", "verify", "rollback", "drift"] {
        let cases = wait_for(&format!("cases of {worker}"), || figure("upm_worker_cases_total", worker));
        assert!(cases >= 1.0 && figure("upm_worker_failures_total", worker) == Some(0.0), "{worker}");
        assert!(figure("upm_worker_case_seconds_count", worker) >= Some(cases), "{worker}");
        assert!(figure("upm_worker_case_seconds_sum", worker) > Some(0.0), "{worker}");
    }
    assert_eq!(server.stop(), 0);
}

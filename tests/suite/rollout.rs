//! How far a change goes and how carefully, through the real program: what a plan would do is told beforehand, twins are made in turns, gates ask the house's probes, no
//! change touches more than it may, and levels of maturity count all of it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use upm_tests::{Server, ok, wait_for};

use crate::house::{House, Worker, approve, event_that, events, request, verdict, version};
use crate::workshop::workshop_with;

fn plan_of(server: &Server, change: &str) -> Value {
    event_that(server, change, "a plan", |event| event["plan"].is_object())
}

/// A program of the house, executable.
fn program(house: &House, name: &str, text: &str) {
    let path = house.path().join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

fn closed(server: &Server, change: &str) {
    let watch = ["change", "watch", change, "--until", "closed", "--for", "60", "--tenant", "acme"];
    ok(&mut server.upm(&watch));
}

/// What is there is left out, what will be there is told, and who would notice; the commands and their digest are the same whatever is there.
#[test]
fn a_plan_is_gone_through_over_what_is_there() {
    let house = House::new("");
    let server = house.working();
    let words = "create area north and folder reports in area north";
    request(&server, "c-1", words);
    let before = plan_of(&server, "c-1");
    let told = &before["plan"]["simulation"];
    assert_eq!((&told["runs"], &told["skipped"]), (&json!(["area/north", "folder/reports"]), &json!([])), "{before}");
    assert_eq!(told["after"].as_object().map(serde_json::Map::len), Some(2), "{told}");
    std::fs::create_dir(house.land().join("north")).expect("made");
    request(&server, "c-2", words);
    let after = plan_of(&server, "c-2");
    let told = &after["plan"]["simulation"];
    assert_eq!(told["skipped"], json!([{"step": "area/north", "reason": "it is there"}]), "{after}");
    assert_eq!(told["runs"], json!(["folder/reports"]), "{after}");
    for member in ["digest", "commands", "inputs_digest"] {
        assert_eq!(before["plan"][member], after["plan"][member], "{member}");
    }
    assert_eq!(before["rollback"], after["rollback"]);
    assert_eq!(after["intent"]["request"], words, "what was asked for stands beside what answers it");
    // Preflight sees the same world, although it put none of these questions again.
    let seen = verdict(&server, "c-2", "wait")["preflight"]["checks"].to_string();
    assert!(seen.contains("it is there, so there is nothing to do"), "{seen}");
    request(&server, "c-3", "create folder letters in area south");
    let told = plan_of(&server, "c-3")["plan"]["simulation"]["missing"].clone();
    assert_eq!(told[0]["resource"], "area/south", "{told}");
    assert_eq!(server.stop(), 0);
}

/// The house's inventory says who owns and who uses what: whoever approves is told who will notice.
#[test]
fn an_inventory_says_who_is_affected() {
    let house = House::new("[plan]\ninventory = [\"INVENTORY\"]\n");
    program(
        &house,
        "inventory",
        "#!/bin/sh\necho '[{\"type\": \"area\", \"name\": \"north\", \"owner\": \"team-north\", \"used_by\": [\"shop\"]}]'\n",
    );
    let options = std::fs::read_to_string(house.options()).expect("options");
    let path = house.path().join("inventory").display().to_string();
    std::fs::write(house.options(), options.replace("INVENTORY", &path)).expect("written");
    std::fs::create_dir(house.land().join("north")).expect("made");
    let server = house.working();
    request(&server, "c-1", "delete area north");
    let plan = plan_of(&server, "c-1");
    let affected = &plan["plan"]["simulation"]["affected"];
    assert_eq!(
        affected,
        &json!({"shop": ["area/north is deleted"], "team-north": ["area/north is deleted"]}),
        "{plan}"
    );
    let risk = verdict(&server, "c-1", "wait")["preflight"]["risk"].to_string();
    assert!(risk.contains("2 affected: shop, team-north"), "{risk}");

    // One that says no ends the change with what it says.
    program(&house, "inventory", "#!/bin/sh\necho 'the register is closed' >&2; exit 3\n");
    request(&server, "c-2", "delete area north");
    let end = event_that(&server, "c-2", "its end", |event| event["governance"]["closed"] == true);
    assert!(end["refusal"]["reasons"].to_string().contains("exit code 3: the register is closed"), "{end}");
    assert_eq!(server.stop(), 0);
}

/// The second blue-green change makes the other twin, switches to it, and removes the first one.
#[test]
fn twins_are_made_in_turns() {
    let house = workshop_with(
        "[rollback]\nautomatic = [\"verification\"]\n",
        &format!(
            "\n[tools.ln]\nprogram = \"ln\"\nversion = \"{}\"\nversion_check = [\"--version\"]\n\n{SITE}",
            version("ln")
        )
        .replace("LAND", "PLACE"),
    );
    let path = house.path().join("tools.toml");
    let text = std::fs::read_to_string(&path).expect("text").replace("PLACE", &house.land().display().to_string());
    std::fs::write(&path, text).expect("written");
    let server = house.working();
    let live = house.land().join("web.live");
    let land = |name: &str| house.land().join(name);
    for (change, new, old) in
        [("c-1", "web-green", None), ("c-2", "web-blue", Some("web-green")), ("c-3", "web-green", Some("web-blue"))]
    {
        request(&server, change, "create site web as blue-green");
        verdict(&server, change, "wait");
        approve(&server, change, "olga", "owner");
        closed(&server, change);
        assert_eq!(std::fs::read_link(&live).expect("a link"), land(new), "{change}");
        assert!(land(new).is_dir() && old.is_none_or(|old| !land(old).exists()), "{change}");
        let plan = plan_of(&server, change);
        let waves: Vec<&Value> =
            plan["plan"]["waves"].as_array().expect("waves").iter().map(|wave| &wave["name"]).collect();
        assert_eq!(waves.len(), if old.is_some() { 3 } else { 2 }, "{plan}");
    }
    // With both there, nobody knows which one is in use.
    std::fs::create_dir(land("web-blue")).expect("made");
    request(&server, "c-4", "create site web as blue-green");
    let end = event_that(&server, "c-4", "its end", |event| event["governance"]["closed"] == true);
    assert!(end["refusal"]["reasons"].to_string().contains("both web-green and web-blue"), "{end}");
    assert_eq!(server.stop(), 0);
}

const SITE: &str = r#"
[types.site]
title = "site"
words = ["site"]
create = ["mkdir", "LAND/{name}"]
exists = { command = ["ls", "-d", "LAND/{name}"], absent_code = 2 }
read_back = ["ls", "-ld", "LAND/{name}"]
delete = ["rmdir", "LAND/{name}"]
switch = ["ln", "-sfn", "LAND/{twin}", "LAND/{name}.live"]

[types.site.fields]
name = { pattern = "[a-z][a-z0-9-]*" }
"#;

/// The house's probes stand between two waves: what was made is there and does not work, so no more of it is made.
#[test]
fn a_gate_asks_the_houses_probes() {
    let house = House::new("");
    let land = house.land().display().to_string();
    let options = format!(
        "catalogue = [\"folders.toml\"]\n[execute.waves]\ngate_s = 0\nprobes = [\"door\"]\n[verify]\ndeadline_s = 5\n\
         [[verify.probes]]\nname = \"door\"\ntypes = [\"area\"]\ncommand = \"ls -d {land}/{{name}}/door\"\n"
    );
    std::fs::write(house.options(), options).expect("written");
    let server = house.working();
    request(&server, "c-1", "create area north and area south as a canary");
    verdict(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    let paused = event_that(&server, "c-1", "a pause", |event| event["execution"]["paused"].is_object());
    assert!(paused["execution"]["paused"]["reason"].to_string().contains("canary 10 %"), "{paused}");
    let gate = event_that(&server, "c-1", "a gate", |event| event["execution"]["waves"].is_array());
    let wave = &gate["execution"]["waves"][0];
    assert_eq!((&wave["held"], &wave["health"]), (&json!(false), &json!({"looked_at": 2, "good": 1})), "{gate}");
    let probe = &wave["probes"][0];
    assert_eq!((&probe["name"], &probe["ok"]), (&json!("door:area/north"), &json!(false)), "{gate}");
    assert!(probe["message"].as_str().is_some_and(|text| text.contains("exit code 2")), "{gate}");
    assert!(!house.land().join("south").exists(), "the rest waits");
    std::fs::create_dir(house.land().join("north/door")).expect("made");
    ok(&mut server.upm(&["change", "resume", "c-1", "--by", "olga", "--tenant", "acme"]));
    wait_for("the rest", || house.land().join("south").exists().then_some(()));
    assert_eq!(server.stop(), 0);
}

/// What is there is not always at work: where the catalogue can tell, verification waits for it, and so does the next wave.
#[test]
fn what_is_there_and_not_at_work_is_waited_for() {
    let options = "[execute.waves]\ngate_s = 30\n[verify]\ndeadline_s = 60\ninterval_ms = 50\ninterval_most_ms = 200\n";
    let house = workshop_with(options, STALL);
    let path = house.path().join("tools.toml");
    let text = std::fs::read_to_string(&path).expect("text").replace("PLACE", &house.land().display().to_string());
    std::fs::write(&path, text).expect("written");
    let server = house.working();
    let land = |name: &str| house.land().join(name);
    request(&server, "c-1", "create stall a and stall b as a canary");
    verdict(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    wait_for("the first stall", || land("a").is_dir().then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(!land("b").exists(), "the next wave waits until the first one is at work");
    std::fs::create_dir(land("a/open")).expect("made");
    wait_for("the second stall", || land("b").is_dir().then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(
        !events(&server, "c-1").iter().any(|event| event["verification"].is_object()),
        "and verification for the second"
    );
    std::fs::create_dir(land("b/open")).expect("made");
    closed(&server, "c-1");
    let round = event_that(&server, "c-1", "a round", |event| event["id"] == "c-1.verify.1");
    let checks = round["verification"]["checks"].as_array().expect("checks").iter();
    let rolled_out: Vec<&Value> = checks.filter(|check| check["type"] == "rollout_status").collect();
    assert!(rolled_out.len() == 2 && rolled_out.iter().all(|check| check["ok"] == true), "{round}");
    assert_eq!(server.stop(), 0);
}

const STALL: &str = r#"
[types.stall]
title = "stall"
words = ["stall"]
create = ["mkdir", "PLACE/{name}"]
exists = { command = ["ls", "-d", "PLACE/{name}"], absent_code = 2 }
read_back = ["ls", "-ld", "PLACE/{name}"]
delete = ["rmdir", "PLACE/{name}"]
rollout = ["ls", "-d", "PLACE/{name}/open"]

[types.stall.fields]
name = { pattern = "[a-z][a-z0-9-]*" }
"#;

/// Who asks for more than one change may touch is told so; what is there already is not counted.
#[test]
fn a_change_touches_no_more_than_it_may() {
    let house = House::new("[[blast_radius]]\nname = \"a few\"\nmax_resources = 2\n");
    let server = house.working();
    let words = "create area a and area b and area c";
    request(&server, "c-1", words);
    let halts = verdict(&server, "c-1", "halt");
    let checks = halts["preflight"]["checks"].as_array().expect("checks").iter();
    let told: Vec<&Value> = checks.filter(|check| check["type"] == "blast_radius").collect();
    assert_eq!(
        told[0]["message"],
        "3 steps have something to do, at most 2; split the change, or have the house raise the limit"
    );
    std::fs::create_dir(house.land().join("a")).expect("made");
    request(&server, "c-2", words);
    verdict(&server, "c-2", "wait");
    // What was there when preflight counted is gone when it is executed: the executor counts, too.
    std::fs::remove_dir(house.land().join("a")).expect("removed");
    approve(&server, "c-2", "olga", "owner");
    let failed = event_that(&server, "c-2", "its end or a new verdict", |event| {
        event["preflight"]["verdict"] == "halt" || event["execution"]["steps"][0]["halted"].is_string()
    });
    assert!(failed.to_string().contains("at most 2"), "{failed}");
    let made = ["a", "b", "c"].iter().filter(|name| house.land().join(name).exists()).count();
    assert!(made <= 2, "{made}");
    assert_eq!(server.stop(), 0);
}

/// What workers do is on record by the names under which levels look for it: every change by them counts.
#[test]
fn levels_of_maturity_count_what_workers_do() {
    let house = workshop_with("", "");
    let land = house.land().display().to_string();
    std::fs::create_dir(house.path().join("policies")).expect("made");
    let rego = "package house.names\ndeny contains \"no\" if { input.request.initiator == \"mallory\" }\n";
    std::fs::write(house.path().join("policies/names.rego"), rego).expect("written");
    program(
        &house,
        "helper",
        "#!/bin/sh\necho '{\"environment\": {\"SESSION\": \"correct-horse-battery\"}, \"ttl_s\": 60}'\n",
    );
    let options = format!(
        "catalogue = [\"folders.toml\", \"tools.toml\"]\n[policy]\ndirectory = \"policies\"\n[[blast_radius]]\nname = \"a few\"\nmax_resources = 5\n\
         [execute.waves]\nstarts_per_minute = 600\nmost_steps = 4\n[[execute.credentials]]\nname = \"vault\"\nprogram = [\"./helper\"]\nmost_ttl_s = 60\n\
         [verify]\ndeadline_s = 5\n[[verify.probes]]\nname = \"alive\"\ncommand = \"ls -d {land}\"\n[[verify.slo]]\nname = \"few\"\ncommand = \"ls {land} | wc -l\"\nat_most = 9\n"
    );
    std::fs::write(house.options(), options).expect("written");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    request(&server, "c-1", "create area north and area south as a canary");
    verdict(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    closed(&server, "c-1");
    let silent =
        events(&server, "c-1").into_iter().find(|event| event["execution"]["steps"].is_array()).expect("a step");
    assert_eq!(silent["execution"]["steps"][0]["stdout"], "", "that it said nothing is its output: {silent}");
    let measures = [
        "backoff",
        "baseline",
        "blast_radius",
        "credentials_named",
        "drift_checked",
        "dry_run",
        "ephemeral",
        "existence_checked",
        "exports",
        "from_words",
        "graphed",
        "guarded_auto",
        "health_checked",
        "health_gated",
        "logged",
        "peer_reviewed",
        "pinned",
        "plan_explicit",
        "planned",
        "policy_evaluated",
        "preflight_checked",
        "progressive",
        "promotion_gated",
        "rate_limited",
        "read_back",
        "retries",
        "risk_scored",
        "rollback_planned",
        "self_pause",
        "simulated",
        "slo_checked",
        "steps_recorded",
        "telemetry",
        "timeouts",
        "variant",
    ];
    // Levels of days are settled when nothing else is to be done.
    let last = wait_for("every measure to count it", || {
        let told: Value =
            serde_json::from_str(&ok(&mut server.upm(&["maturity", "--tenant", "acme", "--json"]))).ok()?;
        let mut counts = BTreeMap::new();
        counted(&told, &mut counts);
        let lacking: Vec<&str> = measures
            .into_iter()
            .filter(|measure| counts.get(*measure).is_some_and(|count| count.0 < count.1))
            .collect();
        (lacking.is_empty() && counts.contains_key("simulated")).then_some(counts)
    });
    for measure in measures {
        assert_eq!(last.get(measure), Some(&(1, 1)), "{measure}");
    }
}

/// Each measure's count, by its name.
fn counted(value: &Value, counts: &mut BTreeMap<String, (u64, u64)>) {
    match value {
        Value::Object(members) => {
            let number = |name: &str| members.get("count").and_then(|count| count[name].as_u64());
            if let (Some(id), Some(num), Some(den)) =
                (members.get("id").and_then(Value::as_str), number("num"), number("den"))
            {
                counts.insert(id.to_owned(), (num, den));
            }
            members.values().for_each(|inner| counted(inner, counts));
        }
        Value::Array(items) => items.iter().for_each(|inner| counted(inner, counts)),
        _ => {}
    }
}

//! The execute worker through the real program: each step once, whoever is killed; orders, waves, retries, limits, long output.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use upm_tests::{Server, ok, run, wait_for};

use crate::house::{House, Worker, approve, event_that, events, request, verdict};
use crate::workshop::{
    approved, lines, made, planned_elsewhere, step_begins, step_over, verdict_on_own_plan, workshop,
};

/// Ids of what the execute worker said, in order, without the change's.
fn said(server: &Server, change: &str) -> Vec<String> {
    let prefix = format!("{change}.execute.");
    let all = events(server, change).into_iter().filter_map(|event| event["id"].as_str().map(str::to_owned));
    all.filter_map(|id| id.strip_prefix(&prefix).map(str::to_owned)).collect()
}

/// Ids of its own events, in order: after them nothing more comes.
fn until_said(server: &Server, change: &str, expect: &[&str]) {
    wait_for(&format!("change {change} to say {expect:?}"), || (said(server, change) == expect).then_some(()));
}

#[test]
fn a_plan_that_may_run_is_run_step_by_step_and_once() {
    let house = workshop("");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    let words = "create area north and folder reports in area north";
    request(&server, "c-1", words);
    verdict(&server, "c-1", "wait");
    assert_eq!(said(&server, "c-1"), Vec::<String>::new(), "nothing begins before it is approved");
    approve(&server, "c-1", "olga", "owner");
    step_over(&server, "c-1", "folder/reports");
    assert!(house.land().join("north/reports").is_dir());
    until_said(&server, "c-1", &["1.1.begins", "1.1.ends", "2.1.begins", "2.1.ends"]);
    let all = events(&server, "c-1");
    let ends: Vec<&Value> =
        all.iter().map(|event| &event["execution"]).filter(|execution| execution["steps"].is_array()).collect();
    let left: Vec<&Value> = ends.iter().map(|execution| &execution["remaining"]).collect();
    assert_eq!(left, [&json!(1), &json!(0)]);
    for execution in &ends {
        assert_eq!((&execution["changed"], &execution["steps"][0]["changed"]), (&json!(true), &json!(true)));
        assert_eq!(
            (&execution["guards"]["shell"], &execution["guards"]["environment"]),
            (&json!("none"), &json!("clean"))
        );
        let tools = execution["tools"].as_array().expect("tools");
        assert!(
            tools
                .iter()
                .any(|tool| tool["name"] == "mkdir" && tool["sha256"].as_str().is_some_and(|hex| hex.len() == 64))
        );
    }
    let plan = all.iter().rev().find(|event| event["plan"].is_object()).expect("a plan");
    let commands: Vec<&Value> = ends.iter().map(|execution| &execution["steps"][0]["cmd"]).collect();
    assert_eq!(json!(commands), plan["plan"]["commands"], "what was run is what was approved");

    // The same once more has nothing to do, and says so.
    approved(&server, "c-2", words);
    step_over(&server, "c-2", "folder/reports");
    until_said(&server, "c-2", &["1.1.ends", "2.1.ends"]);
    for event in events(&server, "c-2").iter().filter(|event| event["execution"]["steps"].is_array()) {
        let step = &event["execution"]["steps"][0];
        assert_eq!((&step["skipped"], &step["changed"]), (&json!("it is there"), &json!(false)), "{event}");
        assert_eq!(event["execution"]["changed"], false);
    }
}

/// Killed while a step runs. The step itself runs on without its worker; whoever comes next waits for it, sees that it is done, and goes on behind it.
#[test]
fn a_worker_killed_within_a_step_is_followed_behind_it() {
    let house = workshop("");
    let server = house.idle();
    let worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create slow folder a within 2 seconds and slow folder b");
    step_begins(&server, "c-1", "slow/a", 1);
    worker.crash();
    let _next = Worker::start(&house, &server, "all");
    let first = step_over(&server, "c-1", "slow/a");
    assert_eq!((&first["skipped"], &first["changed"]), (&json!("it is there"), &json!(true)), "{first}");
    step_over(&server, "c-1", "slow/b");
    assert_eq!(lines(&made(&house)).len(), 2, "each was made once");
}

/// Killed with its step before that had done anything: it is run again, because its check says that there is something to do.
#[test]
fn a_step_that_was_killed_before_it_did_anything_is_run_again() {
    let house = workshop("");
    let server = house.idle();
    let worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create slow folder a within 1 seconds");
    step_begins(&server, "c-1", "slow/a", 1);
    wait_for("the step's process", || kill_with(&house, "slowdir").then_some(()));
    worker.crash();
    let _next = Worker::start(&house, &server, "all");
    step_over(&server, "c-1", "slow/a");
    assert!(house.land().join("a").is_dir());
    let (ids, made) = (said(&server, "c-1"), lines(&made(&house)));
    assert_eq!(made.len(), 1, "{ids:?} {made:?}");
    assert!(ids == ["1.1.begins", "1.2.begins", "1.2.ends"] || ids == ["1.1.begins", "1.1.ends"], "{ids:?}");
}

/// Kills the process of a program whose arguments name this house.
fn kill_with(house: &House, program: &str) -> bool {
    let place = house.path().display().to_string();
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let is_it = |pid: &str| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(&format!("/bin/{program}\0")) && line.contains(&place) && !line.contains("--version")
    };
    let pids = processes.filter_map(|process| process.file_name().to_str().map(str::to_owned));
    let found: Vec<i32> = pids.filter(|pid| is_it(pid)).filter_map(|pid| pid.parse().ok()).collect();
    for pid in &found {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    !found.is_empty()
}

/// No check of a foreign plan can tell how far a command came: it is not run again, and the change says why.
#[test]
fn a_lost_step_that_no_check_can_judge_halts_the_change() {
    let house = workshop("");
    let server = house.idle();
    let worker = Worker::start(&house, &server, "all");
    let command = format!("slowdir 2 {}/a {}", house.land().display(), made(&house).display());
    let second = format!("mkdir {}/b", house.land().display());
    planned_elsewhere(&server, "c-1", &[&command, &second]);
    verdict_on_own_plan(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    step_begins(&server, "c-1", "command 1", 1);
    worker.crash();
    let _next = Worker::start(&house, &server, "all");
    let lost = step_over(&server, "c-1", "command 1");
    assert_eq!(lost["rc"], -1, "{lost}");
    let why = lost["halted"].as_str().expect("why");
    assert!(why.contains("ended before it was over") && why.contains("not run again"), "{why}");
    until_said(&server, "c-1", &["1.1.begins", "1.2.ends"]);
    assert!(lines(&made(&house)).len() <= 1 && !house.land().join("b").exists());
    let shown = server.json("/v1/tenants/acme/changes/c-1");
    assert!(
        ["failed", "rolling_back", "rolled_back", "rollback_failed"]
            .contains(&shown["attempts"][0]["state"].as_str().unwrap_or_default()),
        "{shown}"
    );
}

/// Killed again and again at any place of the way, and several at once: every folder is made once.
#[test]
fn killed_at_any_place_and_several_at_once_no_step_runs_twice() {
    let house = workshop("[execute.waves]\nconcurrency = 2\n");
    let server = house.idle();
    let changes: Vec<String> = (0..5).map(|number| format!("c-{number}")).collect();
    {
        let _worker = Worker::start(&house, &server, "all");
        for (number, change) in changes.iter().enumerate() {
            let names = ["a", "b", "c"].map(|name| format!("slow folder {name}{number} within 0.1 seconds"));
            request(&server, change, &format!("create {}", names.join(" and ")));
            verdict(&server, change, "wait");
        }
    }
    for change in &changes {
        approve(&server, change, "olga", "owner");
    }
    for round in 0..8_u64 {
        let pair = [Worker::start(&house, &server, "execute"), Worker::start(&house, &server, "all")];
        std::thread::sleep(Duration::from_millis(150 + 90 * round));
        pair.into_iter().for_each(Worker::crash);
    }
    let _workers = [Worker::start(&house, &server, "all"), Worker::start(&house, &server, "all")];
    for (number, change) in changes.iter().enumerate() {
        for name in ["a", "b", "c"] {
            let step = step_over(&server, change, &format!("slow/{name}{number}"));
            assert_eq!(step["rc"], 0, "{step}");
        }
        let mut ids = said(&server, change);
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "each thing is said once: {ids:?}");
    }
    let mut all = lines(&made(&house));
    all.sort();
    let count = all.len();
    all.dedup();
    assert_eq!((all.len(), count), (15, 15), "{all:?}");
}

#[test]
fn people_pause_resume_and_cancel() {
    let house = workshop("");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    let order = |change: &str, kind: &str| {
        let by = ["change", kind, change, "--reason", "the pager rings", "--by", "olga", "--tenant", "acme"];
        ok(&mut server.upm(&by))
    };
    // Paused while its first step runs: that one ends, the next one does not begin.
    approved(&server, "c-1", "create slow folder a within 4 seconds and slow folder b");
    step_begins(&server, "c-1", "slow/a", 1);
    let told = order("c-1", "pause");
    assert!(told.contains("pause of change c-1 is ordered"), "{told}");
    step_over(&server, "c-1", "slow/a");
    std::thread::sleep(Duration::from_millis(1_500));
    until_said(&server, "c-1", &["1.1.begins", "1.1.ends"]);
    order("c-1", "resume");
    step_over(&server, "c-1", "slow/b");

    // Cancelled while a long one runs: it is ended at once, and nothing else begins.
    approved(&server, "c-2", "create slow folder c within 300 seconds and slow folder d");
    step_begins(&server, "c-2", "slow/c", 1);
    order("c-2", "cancel");
    let ended = step_over(&server, "c-2", "slow/c");
    assert_eq!((&ended["stopped"], &ended["changed"]), (&json!("cancelled"), &json!(false)), "{ended}");
    let told = event_that(&server, "c-2", "its end", |event| event["execution"]["cancelled"].is_object());
    assert_eq!(told["execution"]["cancelled"]["left"], json!(["slow/c", "slow/d"]), "{told}");
    assert_eq!(told["execution"]["cancelled"]["by"], "olga");
    assert!(!house.land().join("d").exists());

    // Cancelled before anything began: that is its end.
    request(&server, "c-3", "create slow folder e");
    verdict(&server, "c-3", "wait");
    order("c-3", "cancel");
    let closed = event_that(&server, "c-3", "its end", |event| event["governance"]["closed"] == true);
    assert_eq!((&closed["phase"], &closed["execution"]["changed"]), (&json!("audit"), &json!(false)));
    approve(&server, "c-3", "olga", "owner");
    std::thread::sleep(Duration::from_millis(800));
    assert!(!house.land().join("e").exists());

    let (code, _, err) = run(&mut server.upm(&["change", "pause", "c-none", "--by", "olga", "--tenant", "acme"]));
    assert!(code == 1 && err.contains("c-none"), "{code} {err}");
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let house = workshop("[execute.retries]\ntries = 3\nfirst_ms = 50\nmost_ms = 100\n");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create flaky folder a after 2 failures");
    let done = step_over(&server, "c-1", "flaky/a");
    assert_eq!((&done["rc"], &done["try"]), (&json!(0), &json!(3)), "{done}");
    let all = events(&server, "c-1");
    let tried: Vec<&Value> =
        all.iter().map(|event| &event["execution"]["tried"]).filter(|tried| tried.is_object()).collect();
    assert_eq!(tried.iter().map(|tried| &tried["class"]).collect::<Vec<_>>(), [&json!("network"), &json!("network")]);
    assert!(tried[0]["stderr"].as_str().is_some_and(|text| text.contains("connection refused")));
    let state = server.json("/v1/tenants/acme/changes/c-1")["attempts"][0]["state"].clone();
    assert_ne!(state, "failed", "a try that is followed by another is no failure of the change");

    // Tries are counted, and a plan without checks has one.
    approved(&server, "c-2", "create flaky folder b after 9 failures");
    let done = step_over(&server, "c-2", "flaky/b");
    assert_eq!((&done["rc"], &done["try"], &done["changed"]), (&json!(1), &json!(3), &json!(false)), "{done}");
    planned_elsewhere(&server, "c-3", &[&format!("flaky {}/c 1", house.land().display())]);
    verdict_on_own_plan(&server, "c-3", "wait");
    approve(&server, "c-3", "olga", "owner");
    let done = step_over(&server, "c-3", "command 1");
    assert_eq!((&done["rc"], &done["try"]), (&json!(1), &json!(1)), "{done}");
}

#[test]
fn waves_wait_for_their_gate_and_pause_where_it_does_not_hold() {
    let house = workshop("[execute.waves]\nconcurrency = 4\ngate_s = 0\n");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    let words = "create room a and room b and room c";
    let said = [
        "request",
        words,
        "--change",
        "c-1",
        "--variant",
        "canary",
        "--initiator",
        "ines",
        "--env",
        "test",
        "--tenant",
        "acme",
    ];
    ok(&mut server.upm(&said));
    verdict(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    let paused = event_that(&server, "c-1", "a pause", |event| event["execution"]["paused"].is_object());
    assert!(paused["execution"]["paused"]["reason"].to_string().contains("canary 10 %"), "{paused}");
    let gate = event_that(&server, "c-1", "a gate", |event| event["execution"]["waves"].is_array());
    let read = &gate["execution"]["waves"][0];
    assert_eq!((&read["held"], &read["percent"]), (&json!(false), &json!(10)), "{gate}");
    assert!(read["read_backs"][0]["message"].to_string().contains("exit code 2"), "{gate}");
    let rooms = ["a", "b", "c"].map(|name| house.land().join(name));
    assert_eq!(rooms.iter().filter(|room| room.exists()).count(), 1, "one of three is there");

    // Made ready, and resumed: the gate is asked again.
    let ready = |rooms: &[std::path::PathBuf]| {
        for room in rooms.iter().filter(|room| room.exists()) {
            let _ = std::fs::create_dir(room.join("ready"));
        }
    };
    ready(&rooms);
    ok(&mut server.upm(&["change", "resume", "c-1", "--by", "olga", "--tenant", "acme"]));
    wait_for("the second wave", || (rooms.iter().filter(|room| room.exists()).count() == 2).then_some(()));
    wait_for("the second pause", || {
        let all = events(&server, "c-1");
        (all.iter().filter(|event| event["execution"]["paused"].is_object()).count() == 2).then_some(())
    });
    ready(&rooms);
    ok(&mut server.upm(&["change", "resume", "c-1", "--by", "olga", "--tenant", "acme"]));
    wait_for("the last wave", || rooms.iter().all(|room| room.exists()).then_some(()));
}

#[test]
fn a_step_has_its_time_and_no_more() {
    let house = workshop("[execute]\ntime_limit_s = 1\n[execute.retries]\ntries = 1\n");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create slow folder a within 300 seconds");
    let ended = step_over(&server, "c-1", "slow/a");
    assert_eq!(
        (&ended["stopped"], &ended["class"], &ended["changed"]),
        (&json!("time"), &json!("time_limit"), &json!(false))
    );
    assert!(!kill_with(&house, "slowdir"), "nothing of it is left");
}

#[test]
fn long_output_is_kept_by_reference() {
    let house = workshop("");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    planned_elsewhere(&server, "c-1", &["seq 1 50000"]);
    verdict_on_own_plan(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    let step = step_over(&server, "c-1", "command 1");
    assert_eq!((&step["stdout_trunc"], &step["stdout_bytes"]), (&json!(true), &json!(288_894)), "{step}");
    let reference = step["stdout_ref"].as_str().expect("a reference");
    let digest = step["stdout_masked_sha256"].as_str().expect("a digest");
    assert!(reference.starts_with("obs://upm-acme/") && reference.ends_with(&format!("?size=288894#sha256:{digest}")));
    let kept = server.data().join("objects/acme").join(&digest[..2]).join(digest);
    let text = wait_for("the ledger to take it", || std::fs::read_to_string(&kept).ok());
    assert!(text.starts_with("1\n2\n") && text.ends_with("\n50000\n"));
}

/// What is approved is run by the tool that was pinned, and by no other.
#[test]
fn a_tool_that_is_not_the_pinned_one_is_not_run() {
    let house = workshop("");
    let path = house.path().join("tools.toml");
    let text = std::fs::read_to_string(&path).expect("text");
    let pinned =
        text.replace("program = \"slowdir\"\n", &format!("program = \"slowdir\"\nsha256 = \"{}\"\n", "0".repeat(64)));
    std::fs::write(&path, pinned).expect("written");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    approved(&server, "c-1", "create slow folder a");
    let halted = step_over(&server, "c-1", "slow/a");
    assert!(halted["halted"].as_str().is_some_and(|why| why.contains("is pinned")), "{halted}");
    assert!(!house.land().join("a").exists());
}

//! What follows an execution, through the real program: verification that waits, drift that is told and mended, rollbacks that somebody orders, workers that are
//! killed on the way back.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, wait_for};

use crate::house::{House, Worker, approve, event_that, events, request, verdict};
use crate::strangers::login;

fn with(options: &str) -> House {
    let house = House::new("");
    std::fs::write(house.options(), format!("catalogue = [\"folders.toml\"]\n{options}\n")).expect("written");
    house
}

/// Asked for, approved, and executed by the workers.
fn made(server: &Server, change: &str, words: &str) {
    request(server, change, words);
    verdict(server, change, "wait");
    approve(server, change, "olga", "owner");
}

fn watch(server: &Server, change: &str, state: &str) {
    let (code, out, err) =
        run(&mut server.upm(&["change", "watch", change, "--until", state, "--for", "60", "--tenant", "acme"]));
    assert_eq!(code, 0, "{out}{err}");
}

/// Takes what is posted to it, and answers each post with 204.
fn webhook() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/alarms", listener.local_addr().expect("an address"));
    let (sender, posts) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let (mut line, mut length, mut authorization) = (String::new(), 0, String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                if lower.starts_with("authorization:") {
                    line.trim().clone_into(&mut authorization);
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .expect("answered");
            let mut post: Value = serde_json::from_slice(&body).expect("JSON");
            post["authorization"] = authorization.into();
            if sender.send(post).is_err() {
                return;
            }
        }
    });
    (url, posts)
}

#[test]
fn what_holds_is_verified_with_its_state_and_closed() {
    let house = with("[drift]\nevery_s = 3600\n");
    let server = house.working();
    made(&server, "c-1", "create area north and folder reports in area north");
    watch(&server, "c-1", "closed");
    let round = event_that(&server, "c-1", "a round", |event| event["id"] == "c-1.verify.1");
    let verification = &round["verification"];
    let kinds: Vec<&str> = verification["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|check| check["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(kinds, ["existence", "read_back", "existence", "read_back"], "{verification}");
    let drift = &verification["drift"];
    assert_eq!(
        (&drift["baseline_hash"], &drift["diff"], &drift["monitored"]),
        (&drift["current_hash"], &json!([]), &json!(true))
    );
    assert_eq!(verification["state"].as_object().map(serde_json::Map::len), Some(2), "{verification}");
    let figures = server.json("/v1/tenants/acme/kpis").to_string();
    assert!(figures.contains("drift_coverage"), "{figures}");
    let (code, _, err) =
        run(&mut server.upm(&["assert", "c-1", "--requires", "verified,evidence", "--tenant", "acme"]));
    assert_eq!(code, 0, "{err}");
}

/// What comes late is waited for, and the time that it was waited is told apart.
#[test]
fn what_comes_late_is_waited_for() {
    let house = House::new("");
    let land = house.land();
    let land = land.display();
    let options = format!(
        "catalogue = [\"folders.toml\"]\n[verify]\ndeadline_s = 60\ninterval_ms = 50\ninterval_most_ms = 200\n[[verify.probes]]\nname = \"late\"\ncommand = \"ls -d {land}/late\"\n"
    );
    std::fs::write(house.options(), options).expect("written");
    let server = house.working();
    made(&server, "c-1", "create area north");
    wait_for("the area", || house.land().join("north").exists().then_some(()));
    std::thread::sleep(Duration::from_millis(600));
    assert!(
        !events(&server, "c-1").iter().any(|event| event["verification"].is_object()),
        "nothing is said while it may still come"
    );
    std::fs::create_dir(house.land().join("late")).expect("made");
    watch(&server, "c-1", "closed");
    let round = event_that(&server, "c-1", "a round", |event| event["id"] == "c-1.verify.1");
    assert!(round["verification"]["wait_ms"].as_u64().is_some_and(|ms| ms >= 500), "{round}");
    assert!(
        round["verification"]["checks"].as_array().expect("checks").iter().all(|check| check["ok"] == true),
        "{round}"
    );
}

/// Somebody removes what was verified: it is told once, posted, and mended by a change of its own; then that is told, too.
#[test]
fn drift_is_told_and_mended() {
    let (url, posts) = webhook();
    let house = with(&format!(
        "[verify]\nignore = [\"/0\"]\n[drift]\nevery_s = 1\njitter_percent = 0\nwebhook = \"{url}\"\nauthorization_file = \"hook.txt\"\n"
    ));
    std::fs::write(house.path().join("hook.txt"), "Bearer of-bad-news\n").expect("written");
    let server = house.working();
    made(&server, "c-1", "create area north and folder reports in area north");
    watch(&server, "c-1", "closed");
    std::fs::remove_dir(house.land().join("north/reports")).expect("removed");
    let alarm = event_that(&server, "c-1", "an alarm", |event| event["alarm"]["kind"] == "drift");
    let differs = alarm["verification"]["drift"]["diff"].to_string();
    assert!(differs.contains("folder/reports"), "{alarm}");
    assert!(alarm["alarm"]["summary"].as_str().is_some_and(|text| text.contains("folder/reports is gone")), "{alarm}");
    assert_eq!(alarm["alarm"]["webhook"], json!({"ok": true, "status": 204}), "{alarm}");
    let post = posts.recv_timeout(Duration::from_secs(30)).expect("a post");
    assert_eq!((&post["id"], &post["change"], &post["tenant"]), (&alarm["id"], &json!("c-1"), &json!("acme")));
    assert_eq!(
        (&post["alarm"]["kind"], &post["authorization"]),
        (&json!("drift"), &json!("authorization: Bearer of-bad-news")).to_owned(),
        "{post}"
    );

    // Whoever asks is told the same, and it is no failure of the change.
    let (code, out, err) = run(&mut server.upm(&["drift", "check", "c-1", "--by", "olga", "--tenant", "acme"]));
    assert!(code == 1 && out.contains("folder/reports is gone"), "{code} {out}{err}");
    let shown = ok(&mut server.upm(&["change", "show", "c-1", "--tenant", "acme"]));
    assert!(shown.starts_with("c-1  closed"), "{shown}");

    // The repair is a change like any other.
    let asked =
        ["drift", "repair", "c-1", "--by", "ines", "--workers", &house.options(), "--as", "c-2", "--tenant", "acme"];
    let told = ok(&mut server.upm(&asked));
    assert!(told.contains("change c-2 is asked for; it mends folder/reports"), "{told}");
    verdict(&server, "c-2", "wait");
    let asked = events(&server, "c-2").into_iter().find(|event| event["request"].is_object()).expect("a request");
    assert_eq!(asked["fixes"], "c-1", "{asked}");
    approve(&server, "c-2", "olga", "owner");
    watch(&server, "c-2", "closed");
    assert!(house.land().join("north/reports").exists());
    let gone = event_that(&server, "c-1", "the end of the alarm", |event| event["alarm"]["kind"] == "drift_gone");
    assert_eq!(gone["verification"]["drift"]["diff"], json!([]), "{gone}");
    let alarms = events(&server, "c-1").iter().filter(|event| event["alarm"]["kind"] == "drift").count();
    assert!(alarms <= 2, "it is told when it is new: {alarms}");
    assert_eq!(server.stop(), 0);
}

/// A rollback that nobody ordered and no option starts does not start; ordered, it takes back what ran.
#[test]
fn a_rollback_is_ordered() {
    let house = House::new("");
    let land = house.land();
    let land = land.display();
    let options = format!(
        "catalogue = [\"folders.toml\"]\n[verify]\ndeadline_s = 0\n[[verify.probes]]\nname = \"door\"\ncommand = \"ls -d {land}/door\"\n"
    );
    std::fs::write(house.options(), options).expect("written");
    let server = house.working();
    made(&server, "c-1", "create area north");
    let round = event_that(&server, "c-1", "a round", |event| event["id"] == "c-1.verify.1");
    assert_eq!(round["rollback"]["plan"], json!([format!("rmdir {land}/north")]), "the way back is there at once");
    std::thread::sleep(Duration::from_millis(500));
    assert!(house.land().join("north").exists(), "nobody said that it should start");
    let told = ok(&mut server.upm(&["rollback", "c-1", "--by", "olga", "--reason", "no door", "--tenant", "acme"]));
    assert!(told.starts_with("rolled back: taken back: area/north"), "{told}");
    assert!(!house.land().join("north").exists());
    // The probe asks for a door that is not there, after the rollback as before: it is told, and the change stays open.
    let again = event_that(&server, "c-1", "the second round", |event| event["id"] == "c-1.verify.2");
    assert!(again["verification"]["summary"].as_str().is_some_and(|text| text.contains("door")), "{again}");
    assert!(!events(&server, "c-1").iter().any(|event| event["governance"]["closed"] == true));
}

/// Publishes an event under somebody's name; under that of a worker with the workers' login, as on a road where anybody may.
fn forge(server: &Server, change: &str, producer: &str, phase: &str, sections: &Value) {
    let mut event = json!({
        "id": format!("forged-{producer}-{phase}"), "change_id": change, "timestamp": "2026-11-30T12:00:00Z", "phase": phase,
        "environment": "test", "intent": {"source": "api", "initiator": "mallory", "tenant": "acme"},
    });
    let members = event.as_object_mut().expect("an object");
    members.extend(sections.as_object().expect("sections").clone());
    let document = json!({ "provisioning_event": event }).to_string();
    let mut emit = server.upm(&["emit", "-", "--producer", producer, "--wait"]);
    emit.arg("--nats-file").arg(login(server));
    let (code, _, err) = upm_tests::run_with_input(&mut emit, document.as_bytes());
    assert_eq!(code, 0, "{err}");
}

fn is_forged(event: &Value) -> bool {
    event["id"].as_str().is_some_and(|id| id.starts_with("forged-"))
}

/// What whoever may publish events says is not enough to have something removed: the plan has to have been approved.
#[test]
fn nothing_is_taken_back_by_a_plan_that_nobody_approved() {
    let house = with("[rollback]\nautomatic = [\"verification\", \"execution\"]\nenvironments = [\"test\"]\n");
    let server = house.working();
    std::fs::create_dir(house.land().join("precious")).expect("made");
    // Alone, behind a way back that is said to have begun, and with a class that needs no approval beforehand.
    for (change, begun, class) in [("c-1", false, "normal"), ("c-2", true, "normal"), ("c-3", true, "emergency")] {
        request(&server, change, "create area precious and area north");
        verdict(&server, change, "wait");
        let all = events(&server, change);
        let plan = all.iter().find(|event| event["plan"].is_object()).expect("a plan");
        let steps = plan["plan"]["steps"].as_array().expect("steps").iter();
        let steps: Vec<Value> = steps.map(|step| json!({"id": step["id"], "rc": 1})).collect();
        if begun {
            forge(&server, change, "rollback", "execute", &json!({"rollback": {"executed": {"steps": []}}}));
        }
        let executed = json!({"change_class": class, "execution": {"steps": steps}});
        forge(&server, change, "execute", "execute", &executed);
        let refused = event_that(&server, change, "a refusal", |event| event["rollback"]["refused"].is_string());
        let why = refused["rollback"]["refused"].as_str().unwrap_or_default();
        assert!(why.contains("never had the approvals"), "{refused}");
        assert!(house.land().join("precious").exists(), "{change}");
        let undone = |event: &Value| event["rollback"]["executed"].is_object() && !is_forged(event);
        assert!(!events(&server, change).iter().any(undone), "{change}");
    }
}

#[test]
fn what_is_said_to_have_begun_needs_its_approvals() {
    let house = with("");
    let server = house.working();
    request(&server, "c-1", "create area north");
    let waits = verdict(&server, "c-1", "wait");
    forge(&server, "c-1", "execute", "execute", &json!({"execution": {"started": {"step": "bogus", "try": 1}}}));
    let go = json!({"preflight": {"verdict": "go", "plan_digest": waits["preflight"]["plan_digest"]}});
    forge(&server, "c-1", "preflight", "preflight", &go);
    // Whoever is woken later is through: so the one before had its turn.
    made(&server, "c-2", "create area south");
    watch(&server, "c-2", "closed");
    assert!(house.land().join("south").exists() && !house.land().join("north").exists());
    let ran = |event: &Value| event["execution"].is_object() && !is_forged(event);
    assert!(!events(&server, "c-1").iter().any(ran));

    approve(&server, "c-1", "olga", "owner");
    watch(&server, "c-1", "closed");
    assert!(house.land().join("north").exists(), "what was approved is made");
}

#[test]
fn ids_that_somebody_else_has_taken_say_nothing_for_a_worker() {
    let house = with("");
    let server = house.working();
    request(&server, "c-1", "create area north");
    verdict(&server, "c-1", "wait");
    for taken in ["c-1.execute.1.1.begins", "c-1.execute.1.1.ends", "c-1.verify.1", "c-1.closed"] {
        let junk = json!({"id": taken, "notes": "taken"});
        forge(&server, "c-1", "anybody", "audit", &junk);
    }
    approve(&server, "c-1", "olga", "owner");
    watch(&server, "c-1", "closed");
    assert!(house.land().join("north").exists());
    let ends = |event: &Value| event["execution"]["steps"].is_array() && event["id"] == "c-1.execute.1.1.ends";
    assert_eq!(events(&server, "c-1").iter().filter(|event| ends(event)).count(), 1, "its end is on record, once");
}

/// Killed again and again on the way back: each command is begun once, and what stands in the log is what happened.
#[test]
fn a_rollback_that_is_killed_goes_on() {
    let house = with("[verify]\ndeadline_s = 30\ninterval_ms = 50\n");
    let server = house.idle();
    let folders: Vec<String> = (0..6).map(|n| format!("folder f{n} in area north")).collect();
    let words = format!("create area north and {}", folders.join(" and "));
    {
        let _workers = [
            Worker::start(&house, &server, "plan"),
            Worker::start(&house, &server, "preflight"),
            Worker::start(&house, &server, "execute"),
        ];
        made(&server, "c-1", &words);
        watch(&server, "c-1", "executed");
    }
    ok(&mut server.upm(&["rollback", "c-1", "--by", "olga", "--no-wait", "--tenant", "acme"]));
    for round in 0..8_u64 {
        let worker = Worker::start(&house, &server, "rollback");
        std::thread::sleep(Duration::from_millis(60 * (round + 1)));
        worker.crash();
    }
    let _workers = [
        Worker::start(&house, &server, "rollback"),
        Worker::start(&house, &server, "rollback"),
        Worker::start(&house, &server, "verify"),
    ];
    watch(&server, "c-1", "closed");
    assert!(!house.land().join("north").exists());
    let all = events(&server, "c-1");
    let mut seen = std::collections::BTreeSet::new();
    for event in &all {
        assert!(seen.insert(event["id"].as_str().expect("an id").to_owned()), "{} twice", event["id"]);
    }
    let end = all.iter().find(|event| event["id"] == "c-1.rollback.1.end").expect("an end");
    assert_eq!(
        (&end["rollback"]["executed"]["outcome"], end["rollback"]["executed"]["taken_back"].as_array().map(Vec::len)),
        (&json!("rolled_back"), Some(7))
    );
    let (code, out, err) = run(&mut server.upm(&["change", "show", "c-1", "--tenant", "acme"]));
    assert!(code == 0 && out.starts_with("c-1  closed"), "{out}{err}");
}

/// Where the house says so, what drifted is asked for again by the worker itself, and a lane lets it through: nobody is woken.
#[test]
fn drift_is_reconciled_by_policy() {
    let house = with(
        "[verify]\nignore = [\"/0\"]\n[drift]\nevery_s = 1\njitter_percent = 0\nrepair = true\n[[lanes]]\nname = \"folders\"\nenvironments = [\"test\"]\nmax_risk = 90\n",
    );
    let server = house.working();
    request(&server, "c-1", "create area north and folder reports in area north");
    watch(&server, "c-1", "closed");
    std::fs::remove_dir(house.land().join("north/reports")).expect("removed");
    let alarm = event_that(&server, "c-1", "an alarm", |event| event["alarm"]["kind"] == "drift");
    let repair = alarm["alarm"]["repair"]["change"].as_str().expect("a change that mends it").to_owned();
    watch(&server, &repair, "closed");
    assert!(house.land().join("north/reports").exists());
    let all = events(&server, &repair);
    assert_eq!((&all[0]["fixes"], &all[0]["intent"]["initiator"]), (&json!("c-1"), &json!("drift")), "{}", all[0]);
    assert!(all.iter().any(|event| event["preflight"]["approvals"][0]["approver"] == "lane:folders"), "{all:?}");
    let gone = event_that(&server, "c-1", "the end of the alarm", |event| event["alarm"]["kind"] == "drift_gone");
    assert_eq!(gone["alarm"]["resources"], json!(["folder/reports"]), "{gone}");
    assert_eq!(server.stop(), 0);
}

/// Answers each request with 200 and a text, in the order in which they come.
fn answering(text: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
            // Whoever only connects has gone by now.
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn health_is_probed_and_service_levels_are_kept() {
    let address = answering("all is well");
    let land = |house: &House| house.land().display().to_string();
    let house = House::new("");
    let options = |contains: &str, p95_ms: u64| {
        format!(
            "catalogue = [\"folders.toml\"]\n[verify]\ndeadline_s = 0\n\
             [[verify.probes]]\nname = \"page\"\ntypes = [\"area\"]\nhttp = \"http://{address}/{{name}}\"\ncontains = \"{contains}\"\n\
             [[verify.probes]]\nname = \"port\"\ntcp = \"{address}\"\n\
             [[verify.slo]]\nname = \"fast\"\nprobe = \"page\"\nsamples = 4\np95_ms = {p95_ms}\n\
             [[verify.slo]]\nname = \"few\"\ncommand = \"ls -a {} | wc -l\"\nat_most = 5\nat_least = 1\n",
            land(&house)
        )
    };
    std::fs::write(house.options(), options("is well", 10_000)).expect("written");
    let server = house.working();
    made(&server, "c-1", "create area north");
    watch(&server, "c-1", "closed");
    let round = event_that(&server, "c-1", "a round", |event| event["id"] == "c-1.verify.1");
    let verification = &round["verification"];
    let named = |list: &str| -> Vec<String> {
        let all = verification[list].as_array().expect("a list").iter();
        all.map(|check| {
            format!("{} {}", check["type"].as_str().expect("a type"), check["name"].as_str().expect("a name"))
        })
        .collect()
    };
    assert_eq!(
        named("checks"),
        ["existence area/north", "read_back area/north", "health_http page:area/north", "health_tcp port"]
    );
    assert_eq!(named("slo"), ["slo fast", "slo few"]);
    assert!(
        verification["slo"][0]["message"].as_str().is_some_and(|text| text.starts_with("4 of 4 good")),
        "{verification}"
    );
    assert_eq!(server.stop(), 0);

    // A page without its text, and the same change is not verified; what is wrong is said.
    std::fs::write(house.options(), options("on fire", 10_000)).expect("written");
    let server = house.working();
    made(&server, "c-2", "create area south");
    let round = event_that(&server, "c-2", "a round", |event| event["id"] == "c-2.verify.1");
    let summary = round["verification"]["summary"].as_str().expect("a summary");
    assert!(
        summary.contains("page:area/south")
            && summary.contains("without \"on fire\"")
            && summary.contains("0 of 4 good"),
        "{summary}"
    );
    watch(&server, "c-2", "verify_failed");
    assert_eq!(server.stop(), 0);
}

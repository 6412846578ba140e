//! "Meta blocking — commands containing shell metas (`; && || \ $() < > >> \n`) are rejected with a clear error."

use serde_json::{Value, json};
use upm_tests::{ok, run};

use crate::house::{Worker, approve, events};
use crate::workshop::{emit, planned_elsewhere, verdict_on_own_plan, workshop};

#[test]
fn meta_blocking() {
    let house = workshop("");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    let land = house.land().display().to_string();
    let evil = format!("{land}/evil");
    // Each meta of the model, in a command whose beginning is as it should be.
    let metas = [
        (";", format!("mkdir {land}/a; mkdir {evil}")),
        ("&&", format!("mkdir {land}/a && mkdir {evil}")),
        ("||", format!("mkdir {land}/a || mkdir {evil}")),
        ("\\", format!("mkdir {land}/a\\ b")),
        ("$(", format!("mkdir {land}/$(mkdir {evil})")),
        ("<", format!("mkdir {land}/a < /etc/hosts")),
        (">", format!("ls {land} > {evil}")),
        (">>", format!("ls {land} >> {evil}")),
        ("\n", format!("mkdir {land}/a\nmkdir {evil}")),
    ];
    let commands: Vec<&str> = metas.iter().map(|(_, line)| line.as_str()).collect();
    planned_elsewhere(&server, "c-1", &commands);
    let halts = verdict_on_own_plan(&server, "c-1", "halt");
    let checks = halts["preflight"]["checks"].as_array().expect("checks");
    for (number, (meta, line)) in (1..).zip(&metas) {
        let name = format!("command {number}");
        let check = checks.iter().find(|check| check["type"] == "guard" && check["name"] == name.as_str());
        let message =
            check.unwrap_or_else(|| panic!("{name} is let through: {halts}"))["message"].as_str().expect("a message");
        let at = line.find(meta).expect("it is in the line");
        // The meta, its position, the reason.
        let told = format!("{meta:?} at byte {at}: a shell meta (");
        assert!(message.contains(&told) && message.contains("there is no shell here"), "{name}: {message}");
    }

    // Neither an approval nor a *go* of somebody else makes it run.
    approve(&server, "c-1", "olga", "owner");
    let digest = halts["preflight"]["plan_digest"].clone();
    let forged = json!({"provisioning_event": {
        "id": "forged-go", "change_id": "c-1", "timestamp": "2026-11-30T12:00:00Z", "phase": "preflight", "environment": "test",
        "intent": {"source": "api", "initiator": "mallory", "tenant": "acme"},
        "preflight": {"verdict": "go", "plan_digest": digest, "checks": [{"type": "guard", "name": "all", "ok": true}]},
    }});
    emit(&server, &forged, "mallory");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let began = |event: &Value| event["execution"]["started"].is_object() || event["execution"]["steps"].is_array();
    assert!(!events(&server, "c-1").iter().any(began));
    assert!(!house.land().join("evil").exists() && !house.land().join("a").exists());

    // Nor does a planner of one's own find a way at the command line.
    let (code, out, err) = run(&mut server.upm(&[
        "request",
        "create area x;id",
        "--initiator",
        "ines",
        "--change",
        "c-2",
        "--tenant",
        "acme",
    ]));
    assert_eq!(code, 0, "{out}{err}");
    let closed = crate::house::event_that(&server, "c-2", "its end", |event| event["governance"]["closed"] == true);
    assert!(closed["refusal"]["reasons"].to_string().contains("x;id"), "{closed}");

    let pack = house.path().join("c-1.zip").display().to_string();
    ok(&mut server.upm(&["pack", "c-1", "--tenant", "acme", "-o", &pack]));
    ok(&mut server.upm(&["verify", &pack, "--key", server.vkey("acme")]));
    let kept =
        std::process::Command::new("unzip").args(["-p", &pack, "events/*preflight.json"]).output().expect("unzip runs");
    assert!(String::from_utf8_lossy(&kept.stdout).contains("there is no shell here"));
}

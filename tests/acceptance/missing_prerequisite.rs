//! "Missing prerequisite — plan halts when `resources_needed` check fails; explicit message returned."

use serde_json::{Value, json};
use upm_tests::{ok, run};

use crate::house::{House, approve, events, request, verdict};

#[test]
fn missing_prerequisite() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create folder reports in area north");
    let halts = verdict(&server, "c-1", "halt");
    let land = house.land().display().to_string();
    let plan = events(&server, "c-1").into_iter().find(|event| event["plan"].is_object()).expect("a plan");
    assert_eq!(plan["plan"]["resources_needed"][0]["name"], "north", "{plan}");

    // What is missing, where it was looked for, how to get it.
    let checks = halts["preflight"]["checks"].as_array().expect("checks");
    let failed: Vec<&Value> = checks.iter().filter(|check| check["ok"] == false).collect();
    let [missing] = failed[..] else { panic!("one thing is wrong: {failed:?}") };
    assert_eq!((&missing["type"], &missing["name"]), (&json!("prerequisite"), &json!("area/north")), "{missing}");
    let message = missing["message"].as_str().expect("a message");
    for part in [
        "it is missing",
        &format!("looked with: ls -d {land}/north"),
        "create it in the same request: create area north",
        "needed by folder/reports",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let watched = ok(&mut server.upm(&[
        "change",
        "watch",
        "c-1",
        "--until",
        "preflight_failed",
        "--for",
        "60",
        "--tenant",
        "acme",
    ]));
    assert!(watched.contains("! area/north: it is missing"), "{watched}");
    let shown = ok(&mut server.upm(&["change", "show", "c-1", "--tenant", "acme"]));
    assert!(shown.starts_with("c-1  preflight failed"), "{shown}");

    // An approval does not help, and nothing was made.
    approve(&server, "c-1", "olga", "owner");
    let (code, _, err) = run(&mut server.upm(&["assert", "c-1", "--requires", "policy", "--tenant", "acme"]));
    assert_eq!(code, 1, "{err}");
    assert!(!house.land().join("north").exists() && !house.land().join("north/reports").exists());

    // The pack says so to whoever was not there.
    let pack = house.path().join("c-1.zip").display().to_string();
    ok(&mut server.upm(&["pack", "c-1", "--tenant", "acme", "-o", &pack]));
    ok(&mut server.upm(&["verify", &pack, "--key", server.vkey("acme")]));
    let kept = std::process::Command::new("unzip").args(["-p", &pack, "change.json"]).output().expect("unzip runs");
    let kept: Value = serde_json::from_slice(&kept.stdout).expect("JSON");
    assert_eq!(kept["state"], "preflight_failed", "{kept}");
    let all =
        std::process::Command::new("unzip").args(["-p", &pack, "events/*preflight.json"]).output().expect("unzip runs");
    assert!(String::from_utf8_lossy(&all.stdout).contains("create it in the same request: create area north"));

    // With it there, the next attempt goes on.
    std::fs::create_dir(house.land().join("north")).expect("made");
    let again = json!({"change_id": "c-1", "attempt": 2, "request": "create folder reports in area north", "initiator": "ines", "environment": "test"});
    let (status, body) = server.post("/v1/tenants/acme/requests", "application/json", again.to_string().as_bytes());
    assert_eq!(status, 202, "{body}");
    verdict(&server, "c-1", "wait");
}

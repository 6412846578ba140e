//! "Rollback dry-run — simulated rollback produces a valid, executable plan".

use serde_json::{Value, json};
use upm_tests::{ok, run, wait_for};

use crate::house::{House, events, request, verdict};

#[test]
fn rollback_dry_run() {
    let house = House::new("");
    let server = house.working();
    request(&server, "c-1", "create area north and folder reports in area north");
    verdict(&server, "c-1", "wait");

    // Of a plan that nobody has executed: what a rollback would be.
    let land = house.land().display().to_string();
    let told = ok(&mut server.upm(&["rollback", "c-1", "--dry-run", "--by", "olga", "--tenant", "acme"]));
    assert!(told.starts_with("2 of 2 commands can run: each exists, is pinned, parses and is allowed"), "{told}");
    let (folder, area) = (format!("rmdir {land}/north/reports"), format!("rmdir {land}/north"));
    let at =
        |command: &str| told.find(&format!("  {command}\n")).or_else(|| told.ends_with(command).then_some(told.len()));
    assert!(at(&folder) < at(&area) && at(&folder).is_some(), "what was made last is taken back first: {told}");
    assert!(!house.land().join("north").exists(), "nothing is run by it");

    // It is on record, with what was proved of each command.
    let proof =
        events(&server, "c-1").into_iter().find(|event| event["rollback"]["dry_run"].is_object()).expect("a proof");
    let dry_run = &proof["rollback"]["dry_run"];
    assert_eq!((&dry_run["ok"], dry_run["steps"].as_array().map(Vec::len)), (&json!(true), Some(2)), "{dry_run}");
    for step in dry_run["steps"].as_array().expect("steps") {
        for proved in ["ok", "allowed", "exists", "pinned"] {
            assert_eq!(step[proved], true, "{proved}: {step}");
        }
        assert!(step["programs"][0].as_str().is_some_and(|path| path.ends_with("/rmdir")), "{step}");
    }
    assert_eq!(proof["rollback"]["plan"], json!([folder, area]), "the commands that the plan's digest covers");

    // And in the pack, for whoever was not there.
    let pack = house.path().join("c-1.zip").display().to_string();
    ok(&mut server.upm(&["pack", "c-1", "--tenant", "acme", "-o", &pack]));
    ok(&mut server.upm(&["verify", &pack, "--key", server.vkey("acme")]));
    let kept = std::process::Command::new("unzip")
        .args(["-p", &pack, "rollback/*-dry-run.json"])
        .output()
        .expect("unzip runs");
    let kept: Value = serde_json::from_slice(&kept.stdout).expect("JSON");
    assert_eq!(&kept, dry_run);
    assert_eq!(server.stop(), 0);
}

/// What can't run is told by name before anybody relies on it.
#[test]
fn a_way_back_that_can_not_be_gone_is_told() {
    let house = House::new("");
    let catalogue = house.path().join("folders.toml");
    let text = std::fs::read_to_string(&catalogue).expect("a catalogue");
    let rmdir = text.split("[tools.rmdir]").nth(1).and_then(|rest| rest.split("version = \"").nth(1)).expect("a pin");
    let version = rmdir.split('"').next().expect("a version").to_owned();
    let pinned = format!("program = \"rmdir\"\nversion = \"{version}\"");
    assert!(text.contains(&pinned), "{text}");
    std::fs::write(&catalogue, text.replace(&pinned, "program = \"rmdir\"\nversion = \"0.1\"")).expect("written");
    let server = house.working();
    request(&server, "c-1", "create area north");
    verdict(&server, "c-1", "wait");
    let (code, out, err) = run(&mut server.upm(&["rollback", "c-1", "--dry-run", "--by", "olga", "--tenant", "acme"]));
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains(&format!("\"rmdir\" is of version {version}, pinned is 0.1")), "{out}");
    assert!(out.contains("✗"), "{out}");
    // A change that nobody knows, and one that has no plan.
    let (code, _, err) = run(&mut server.upm(&["rollback", "c-none", "--dry-run", "--by", "olga", "--tenant", "acme"]));
    assert!(code == 1 && err.contains("c-none"), "{code} {err}");
    wait_for("the order on record", || {
        events(&server, "c-1").iter().any(|event| event["order"]["kind"] == "rollback_dry_run").then_some(())
    });
}

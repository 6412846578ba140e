//! A pack of every kind of change: one event only, five phases, many attempts, failed and rolled back, signed, long. Each verifies, and its
//! parts say what they are there to say.

use std::fs;
use std::process::{Command, Stdio};

use evidence::Verdict;
use serde_json::{Value, json};

use crate::world::{Files, World, event};

fn text<'a>(files: &'a Files, name: &str) -> &'a str {
    let bytes = files.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", files.keys()));
    std::str::from_utf8(bytes).unwrap()
}

fn parsed(files: &Files, name: &str) -> Value {
    serde_json::from_str(text(files, name)).unwrap()
}

/// The files of the change's pack, which holds.
fn sound(world: &World, change: &str) -> Files {
    let files = world.files(change);
    let report = world.verify(&files);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    files
}

#[test]
fn one_event_with_nothing_in_it_has_every_part_and_they_say_so() {
    let mut world = World::new();
    world.add(&event("audit", "a", r#""probe":false"#));
    let files = sound(&world, "a");
    assert_eq!(parsed(&files, "verify/summary.json"), json!({"rounds": []}));
    assert_eq!(parsed(&files, "approvals/trail.json")["given"], json!([]));
    let thread = json!({"attempt": 1, "state": "planned", "planned": [], "dry_runs": [], "failed": [], "executed": [], "verified_after": []});
    assert_eq!(parsed(&files, "rollback/summary.json"), json!({"attempts": [thread]}));
    let page = text(&files, "index.html");
    for said in [
        "No plan is on record",
        "No approval is on record",
        "No executed step is on record",
        "No rollback, planned or executed",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn five_phases_are_summed_up() {
    let files = sound(&World::full(), "a");
    assert_eq!(
        parsed(&files, "verify/summary.json"),
        json!({"rounds": [{
            "attempt": 1, "index": 6,
            "checks": {"count": 1, "passed": 0, "failed": 1},
            "health": {"count": 1, "passed": 0, "failed": 1},
            "slo": {"count": 0, "passed": 0, "failed": 0},
            "drift": {"baseline_hash": "sha256:a", "current_hash": "sha256:b", "differences": 1},
        }]})
    );
    let trail = parsed(&files, "approvals/trail.json");
    assert_eq!((&trail["given"][0]["approver"], &trail["given"][0]["grade"]), (&json!("eve"), &json!("claimed")));
    let change = parsed(&files, "change.json");
    assert_eq!(trail["given"], change["approvals"]);
    assert_eq!(trail["attempts"][0], change["attempts"][0]["approval"]);
}

/// Failed, rolled back, tried again with another plan, and verified.
fn second_attempt() -> World {
    let mut world = World::new();
    let undo = r#""rollback":{"available":true,"plan":["undo b","undo a"]}"#;
    world.add(&event("plan", "a", &format!(r#""plan":{{"commands":["a","b"]}},{undo}"#)));
    world.add(&event(
        "execute",
        "a",
        r#""execution":{"steps":[{"cmd":"a","rc":0},{"cmd":"b","rc":3,"stderr":"no quota"}]}"#,
    ));
    world.add(&event("execute", "a", r#""rollback":{"dry_run":{"ok":true},"executed":{"steps":[{"cmd":"undo a","rc":0,"stdout":"gone"}],"outcome":"succeeded"}}"#));
    world.add(&event("verify", "a", r#""verification":{"checks":[{"type":"gone","ok":true}]}"#));
    world.add(&event("plan", "a", &format!(r#""attempt":2,"plan":{{"commands":["a","quota","b"]}},{undo}"#)));
    world.add(&event(
        "execute",
        "a",
        r#""attempt":2,"execution":{"steps":[{"cmd":"a","rc":0},{"cmd":"quota","rc":0},{"cmd":"b","rc":0}]}"#,
    ));
    world.add(&event(
        "verify",
        "a",
        r#""attempt":2,"verification":{"checks":[{"type":"rollout","ok":true}],"drift":{"diff":[]}}"#,
    ));
    world
}

#[test]
fn failed_rolled_back_and_tried_again() {
    let files = sound(&second_attempt(), "a");
    let thread = parsed(&files, "rollback/summary.json");
    assert_eq!(
        thread["attempts"][0],
        json!({
            "attempt": 1, "state": "rolled_back", "planned": [1], "failed": [2], "dry_runs": [3],
            "executed": [{"index": 3, "outcome": "succeeded", "steps": 1, "steps_failed": 0}], "verified_after": [4],
        })
    );
    assert_eq!(thread["attempts"][1]["executed"], json!([]));
    assert_eq!(text(&files, "rollback/0000000001-commands.txt"), "undo b\nundo a\n");
    assert_eq!(text(&files, "rollback/0000000003-dry-run.json"), r#"{"ok":true}"#);
    assert_eq!(text(&files, "rollback/0000000003-step-001-stdout.txt"), "gone");
    let diff: Vec<&str> = text(&files, "plan/0000000005-diff.txt").lines().skip(2).collect();
    assert_eq!(
        diff,
        [
            " environment: prod",
            " command: a",
            "+command: quota",
            " command: b",
            " rollback: undo b",
            " rollback: undo a"
        ]
    );
    let page = text(&files, "index.html");
    for said in
        ["Against the plan of entry 1", "exit code 3", "no quota", "outcome succeeded", "dry run", "Attempt 2: "]
    {
        assert!(page.contains(said) || said == "no quota", "{said}");
    }
}

#[test]
fn many_attempts_each_have_their_difference() {
    let mut world = World::new();
    for attempt in 1..=30 {
        world.add(&event(
            "plan",
            "a",
            &format!(r#""attempt":{attempt},"plan":{{"commands":["a","try {}"]}}"#, attempt / 2),
        ));
    }
    let files = sound(&world, "a");
    let with_diff = files.keys().filter(|name| name.ends_with("-diff.txt")).count();
    assert_eq!(with_diff, 15, "the same plan again has none");
    assert_eq!(parsed(&files, "rollback/summary.json")["attempts"].as_array().unwrap().len(), 30);
}

/// As long as no producer should make one.
#[test]
fn five_thousand_events() {
    let mut world = World::new();
    for n in 0..5_000 {
        world.add(&event(
            "execute",
            "a",
            &format!(r#""execution":{{"steps":[{{"cmd":"step {n}","rc":{},"stdout":"out"}}]}}"#, n % 7),
        ));
    }
    let files = sound(&world, "a");
    assert_eq!(files.keys().filter(|name| name.starts_with("logs/")).count(), 10_000);
    let page = text(&files, "index.html");
    assert_eq!(page.matches("<tr id=\"e").count(), 5_000);
    assert!(page.matches("class=\"dot").count() <= 501);
    assert!(page.contains("And 4000 more in the events"));
}

/// The signature of an approver is checked by the program that made it, which knows nothing of packs.
#[test]
fn ssh_keygen_checks_an_approvers_signature_out_of_the_pack() {
    for kind in ["ed25519", "ecdsa"] {
        checked_out_of_the_pack(kind);
    }
}

fn checked_out_of_the_pack(kind: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let keygen = |args: &[&str]| {
        let mut command = Command::new("ssh-keygen");
        command.args(args).current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    assert!(keygen(&["-q", "-t", kind, "-N", "", "-f", "key"]).output().unwrap().status.success());
    let plan = event("plan", "a", r#""plan":{"commands":["a"]}"#);
    let digest = schemas::plan::digest(&plan).unwrap();
    let said = json!({
        "v": 1, "origin": "test-ledger/acme", "change": "a", "plan_digest": digest, "approver": "eve", "role": "owners",
        "decision": "approved", "at": "2025-10-09T12:00:00Z",
    });
    fs::write(path("statement"), serde_json_canonicalizer::to_vec(&said).unwrap()).unwrap();
    assert!(
        keygen(&["-q", "-Y", "sign", "-f", "key", "-n", "upm-approval", "statement"])
            .output()
            .unwrap()
            .status
            .success()
    );
    let mut approval = said.clone();
    approval["signature"] = json!(fs::read_to_string(path("statement.sig")).unwrap());

    let mut world = World::new();
    world.add(&plan);
    world.add(&event("preflight", "a", &format!(r#""preflight":{{"approvals":[{approval}]}}"#)));
    let files = sound(&world, "a");
    let verify = |statement: &[u8]| {
        fs::write(path("out.sig"), &files["approvals/0000000002-signed-001.sig"]).unwrap();
        fs::write(path("in"), statement).unwrap();
        let public = fs::read_to_string(path("key.pub")).unwrap();
        fs::write(path("allowed"), format!("eve {public}")).unwrap();
        let args = ["-Y", "verify", "-f", "allowed", "-I", "eve", "-n", "upm-approval", "-s", "out.sig"];
        keygen(&args).stdin(fs::File::open(path("in")).unwrap()).status().unwrap().success()
    };
    let statement = &files["approvals/0000000002-signed-001.json"];
    assert!(verify(statement));
    assert!(!verify(&String::from_utf8(statement.clone()).unwrap().replace("approved", "refused").into_bytes()));
    assert!(text(&files, "index.html").contains("approvals/0000000002-signed-001.sig"));
}

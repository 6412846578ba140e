//! A change with more in it than anybody sends: judged while there is room for it, refused with a reason beyond, and never at the server's cost.

use std::fmt::Write as _;

use serde_json::{Value, json};
use upm_tests::{Server, run};

/// Events that are sent at once.
const AT_ONCE: usize = 20;

/// So many events of 900 KB in one change; the first is a plan.
fn send(server: &Server, from: usize, count: usize) -> u64 {
    let log = "x y ".repeat(225_000);
    let mut last = 0;
    for start in (from..from + count).step_by(AT_ONCE) {
        let mut lines = String::new();
        for number in start..start + AT_ONCE {
            let mut body = json!({"id": format!("big-{number}"), "change_id": "big", "phase": "verify", "timestamp": "2026-01-02T03:04:05Z",
                "intent": {"source": "api", "initiator": "ines", "tenant": "acme"},
                "verification": {"checks": [{"name": "up", "ok": true, "output": log}]}});
            if number == 0 {
                body["phase"] = "plan".into();
                body["plan"] = json!({"commands": ["a"]});
            }
            let _ = writeln!(lines, "{}", json!({ "provisioning_event": body }));
        }
        let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", lines.as_bytes());
        assert_eq!(status, 200, "{body}");
        let lines = body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["index"].as_u64());
        last = lines.max().expect("an index");
    }
    last
}

/// KiB of a row of the server's status.
fn memory_kib(server: &Server, row: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(row)).expect("the row");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_large_change_is_judged_whole_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    let change = "/v1/tenants/acme/changes/big";
    let gate = format!("{change}/assert?requires=planned");
    let last = send(&server, 0, 40);
    let document = server.json(&format!("{change}?at_least={last}"));
    assert_eq!(document["timeline"].as_array().map(Vec::len), Some(40));
    assert_eq!(server.json(&gate)["ok"], true);
    for path in [change, &gate] {
        // What the store keeps for reading is there by now.
        std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("ours");
        let before = memory_kib(&server, "VmRSS:");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(server.get(path).0, 200));
            }
        });
        let grown = memory_kib(&server, "VmHWM:").saturating_sub(before);
        assert!(grown < 128 * 1024, "eight at once of 36 MB, {path}: {grown} KiB");
    }

    send(&server, 40, 40);
    let set = json!({"changes": ["big"]}).to_string();
    let answers = [
        server.get(change),
        server.get(&gate),
        server.post("/v1/tenants/acme/maturity/row", "application/json", set.as_bytes()),
    ];
    for (status, body) in answers {
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &problem["events"]), (422, &json!(80)), "{body}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("80 events") && detail.contains("at most 21824 events and 64 MiB"), "{detail}");
    }
    // A gate that cannot judge stops; what is on record is still listed.
    let (code, _, err) = run(&mut server.upm(&["assert", "big", "--requires", "planned", "--tenant", "acme"]));
    assert!(code == 2 && err.contains("not judged from a part"), "{code} {err}");
    assert_eq!(server.json(&format!("{change}/events?limit=100"))["events"].as_array().map(Vec::len), Some(80));
}

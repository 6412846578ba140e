//! Questions in SQL to a running server and to a file: answered, refused, stopped, and never at the server's cost.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, run_with_input, upm, wait_for};

fn event(change: &str, phase: &str, sections: &Value) -> String {
    let mut body = json!({"id": format!("{change}-{phase}"), "change_id": change, "phase": phase, "timestamp": "2026-01-01T00:00:00Z",
        "intent": {"source": "api", "initiator": "ann", "tenant": "acme", "request": "red\u{1b}[31m \u{202e}txt"}});
    for (name, section) in sections.as_object().expect("sections") {
        body[name] = section.clone();
    }
    json!({ "provisioning_event": body }).to_string()
}

/// A server with one change that nobody approved, in tenant acme, and another tenant.
fn server(folder: &tempfile::TempDir) -> Server {
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme", "--tenant", "other"]);
    let lines = [
        event(
            "c-1",
            "plan",
            &json!({"plan": {"commands": ["a"]}, "target": {"resources": [{"type": "vm", "name": "vm-1", "action": "create"}]}}),
        ),
        event("c-1", "execute", &json!({"execution": {"steps": [{"cmd": "a", "rc": 0}]}})),
        "{\"provisioning_event\": {\"id\": 7}}".to_owned(),
    ];
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", lines.join("\n").as_bytes());
    assert_eq!(status, 422, "{body}");
    wait_for("detail to catch up", || {
        let answer = sql(&server, &json!({"sql": "SELECT 1"})).1;
        (answer["as_of"]["detail"] == answer["as_of"]["entries"] && answer["as_of"]["entries"].as_u64() >= Some(4))
            .then_some(())
    });
    server
}

fn sql(server: &Server, asked: &Value) -> (u16, Value) {
    let (status, body) = server.post("/v1/tenants/acme/sql", "application/json", asked.to_string().as_bytes());
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn resident_kib(pid: nix::unistd::Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Questions that are being answered now, by their processes.
fn confined(server: &Server) -> usize {
    let parent = format!("PPid:\t{}", server.pid());
    let of_server = |entry: &std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("--confined") && status.contains(&parent)
    };
    std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok).filter(of_server).count()
}

#[test]
fn questions_over_http_and_on_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    let (status, answer) = sql(
        &server,
        &json!({"sql": "SELECT change, state FROM changes WHERE state = :state", "params": {"state": "executed"}}),
    );
    assert_eq!(
        (status, &answer["columns"], &answer["rows"]),
        (200, &json!(["change", "state"]), &json!([["c-1", "executed"]]))
    );
    let (status, answer) = sql(&server, &json!({"sql": "@rejected-events"}));
    assert_eq!((status, answer["rows"][0][2].as_str()), (200, Some("wrong_type")), "{answer}");
    let (status, csv) = server.post(
        "/v1/tenants/acme/sql?format=csv",
        "application/json",
        b"{\"sql\": \"SELECT 1 AS a, NULL AS b, '' AS c\"}",
    );
    assert_eq!((status, csv.as_str()), (200, "a,b,c\r\n1,,\"\"\r\n"));
    let page = server.json("/v1/tenants/acme/changes?anomaly=no_approval_recorded&resource=vm-1");
    assert_eq!((page["changes"][0]["change"].as_str(), page["detail_behind"].as_u64()), (Some("c-1"), Some(0)));
    assert_eq!(server.json("/v1/tenants/acme/changes?resource=vm-2")["changes"], json!([]));
    assert!(server.get("/metrics").1.contains("upm_detail_lag_entries{tenant=\"acme\"} 0"));

    let table = ok(&mut server.upm(&["sql", "--tenant", "acme", "@changes-without-approval"]));
    assert!(table.contains("all tables are current") && table.contains("c-1"), "{table}");
    let (code, _, _) = run(&mut server.upm(&["sql", "--tenant", "acme", "--expect-none", "@changes-without-approval"]));
    assert_eq!(code, 1);
    let (code, _, _) = run(&mut server.upm(&["sql", "--tenant", "acme", "--expect-none", "@self-approved"]));
    assert_eq!(code, 0);
    let request = ok(&mut server.upm(&["sql", "--tenant", "acme", "SELECT request FROM changes"]));
    assert!(request.contains("red\\u{1b}[31m \\u{202e}txt"), "nothing steers the terminal: {request:?}");
    let empty = ok(&mut server.upm(&["sql", "--tenant", "other", "SELECT * FROM changes"]));
    assert!(empty.contains("no rows"), "{empty}");

    // The file itself, without a server.
    let file = server.data().join("views/acme.db");
    let file = file.to_str().expect("text");
    let (code, out, err) =
        run_with_input(&mut upm(["sql", "--file", file, "--format", "ndjson", "-"]), b"SELECT change FROM steps");
    assert_eq!((code, out.as_str()), (0, "{\"change\":\"c-1\"}\n"), "{err}");
}

#[test]
fn what_is_refused_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    let other = server.data().join("views/other.db");
    let attach = format!("ATTACH '{}' AS other", other.display());
    for (question, expect, reason) in [
        (attach.as_str(), 403, "another file"),
        ("DELETE FROM change_rows", 403, "writes"),
        ("PRAGMA user_version = 1", 403, "PRAGMA"),
        ("SELECT 1; SELECT 2", 403, "one statement"),
        ("SELECT load_extension('x')", 403, "load_extension"),
        ("SELEC 1", 400, "syntax error"),
        ("@nonsense", 400, "nonsense"),
        ("SELECT randomblob(1000000000)", 422, "too large"),
        (
            "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT x FROM t",
            422,
            "more than 10000 rows",
        ),
    ] {
        let (status, problem) = sql(&server, &json!({ "sql": question }));
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == expect && detail.contains(reason), "{question}: {status} {problem}");
        let (code, _, err) = run(&mut server.upm(&["sql", "--tenant", "acme", question]));
        assert!(code == 2 && err.contains(reason), "{question}: {code} {err}");
    }
    assert_eq!(server.post("/v1/tenants/nobody/sql", "application/json", b"{\"sql\": \"SELECT 1\"}").0, 404);
    assert_eq!(server.post("/v1/tenants/acme/sql", "application/json", b"SELECT 1").0, 400);
    assert_eq!(server.post("/v1/tenants/acme/sql", "application/json", b"{\"sql\": \"SELECT 1\", \"x\": 1}").0, 400);
}

#[test]
fn a_question_costs_the_server_nothing_and_ends_with_its_asker() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    let before = resident_kib(server.pid());
    let bombs = [
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t",
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT hex(zeroblob(400000)) || x AS y FROM t ORDER BY y DESC",
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION SELECT x + 1 FROM t) SELECT count(DISTINCT hex(randomblob(200000))) FROM t",
    ];
    for bomb in bombs {
        let since = Instant::now();
        let (status, problem) = sql(&server, &json!({"sql": bomb, "timeout_ms": 1000}));
        assert_eq!(status, 422, "{bomb}: {problem}");
        assert!(since.elapsed() < Duration::from_secs(20), "{bomb}: {:?}", since.elapsed());
    }
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 64 * 1024, "the server grew by {grown} KiB");
    wait_for("no question to be left", || (confined(&server) == 0).then_some(()));

    // Whoever asks goes away: the question ends long before its time.
    let body = json!({"sql": bombs[0], "timeout_ms": 60000}).to_string();
    let address = server.http().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).expect("the server listens");
    write!(socket, "POST /v1/tenants/acme/sql HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("sent");
    wait_for("the question to be asked", || (confined(&server) == 1).then_some(()));
    drop(socket);
    let since = Instant::now();
    wait_for("the question to end", || (confined(&server) == 0).then_some(()));
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
}

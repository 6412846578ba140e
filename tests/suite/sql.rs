//! Questions in SQL to a running server and to a file: answered, refused, stopped, and never at the server's cost.

use std::io::{Read as _, Write as _};
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
    caught_up(&server, 4);
    server
}

/// Waits until detail covers all entries, at least so many.
fn caught_up(server: &Server, entries: u64) {
    wait_for("detail to catch up", || {
        let answer = sql(server, &json!({"sql": "SELECT 1"})).1;
        let as_of = &answer["as_of"];
        (as_of["detail"] == as_of["entries"] && as_of["entries"].as_u64() >= Some(entries)).then_some(())
    });
}

fn sql(server: &Server, asked: &Value) -> (u16, Value) {
    let (status, body) = server.post("/v1/tenants/acme/sql", "application/json", asked.to_string().as_bytes());
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// A row of the server's `/proc/PID/status`, KiB.
fn memory_kib(server: &Server, row: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(row)).expect("the row");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How far the server's memory grows beyond now while `work` runs, KiB, at its highest.
fn growth_kib(server: &Server, work: impl FnOnce()) -> u64 {
    // From here on the high-water mark is that of today.
    std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("ours");
    let before = memory_kib(server, "VmRSS:");
    work();
    memory_kib(server, "VmHWM:").saturating_sub(before)
}

/// A connection on which a question was sent, and of which no answer was read.
fn asked(server: &Server, tenant: &str, question: &Value) -> TcpStream {
    let address = server.http().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).expect("the server listens");
    let body = question.to_string();
    let length = body.len();
    write!(
        socket,
        "POST /v1/tenants/{tenant}/sql HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    socket
}

/// The status of the answer and its beginning; 0 where none has come after a while.
fn answered(mut socket: &TcpStream) -> (u16, String) {
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    while !text.windows(4).any(|four| four == b"\r\n\r\n") || text.len() < 400 {
        match socket.read(&mut piece) {
            Ok(read @ 1..) => text.extend_from_slice(&piece[..read]),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text)
}

const NUMBERS: &str = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t)";

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
    lists_on_the_command_line(&server);

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
    let (code, out, err) = run_with_input(
        &mut upm(["sql", "--file", file, "--format", "ndjson", "-"]),
        b"SELECT change FROM steps LIMIT 1",
    );
    assert_eq!((code, out.as_str()), (0, "{\"change\":\"c-1\"}\n"), "{err}");
}

/// Every filter of `upm change list` that the command line has, and its pages.
fn lists_on_the_command_line(server: &Server) {
    let list = |words: &[&str]| {
        let words = [&["change", "list", "--tenant", "acme", "--json"], words].concat();
        let listed: Value = serde_json::from_str(&ok(&mut server.upm(&words))).expect("JSON");
        let changes = listed["changes"].as_array().expect("changes").iter();
        (changes.map(|row| row["change"].as_str().expect("an ID").to_owned()).collect::<Vec<_>>(), listed)
    };
    let at = server.json("/v1/tenants/acme/changes")["changes"][0].clone();
    let (first, end) = (at["first"]["at"].as_u64().expect("a time"), at["last"]["at"].as_u64().expect("a time"));
    let (begun, over, before) = ((first + 1).to_string(), (end + 1).to_string(), first.to_string());
    for (words, found) in [
        (&["--anomaly", "no_approval_recorded"][..], true),
        (&["--anomaly", "executed_outside_window"], false),
        (&["--resource", "vm-1"], true),
        (&["--resource", "vm-2"], false),
        (&["--class", "emergency"], false),
        (&["--from", &before], true),
        (&["--from", &over], false),
        (&["--to", &before], false),
        (&["--to", &over], true),
        (&["--from", "2020-01-01T00:00:00Z", "--to", "2021-01-01T00:00:00Z"], false),
    ] {
        let (changes, listed) = list(words);
        assert_eq!(changes, if found { vec!["c-1"] } else { vec![] }, "{words:?}: {listed}");
        assert_eq!(listed["detail_behind"].is_u64(), ["--anomaly", "--resource"].contains(&words[0]), "{listed}");
    }
    // It goes on after its first entry.
    assert!(first == end || list(&["--from", &begun]).0 == ["c-1"]);
    let bad = |words: &[&str]| run(server.upm(&["change", "list", "--tenant", "acme"]).args(words));
    for (words, reason) in [
        (["--class", "urgent"], "standard, normal, emergency"),
        (["--anomaly", "odd"], "no_approval_recorded"),
        (["--from", "yesterday"], "expected a time such as"),
        (["--after", "x"], "after: "),
    ] {
        let (code, _, err) = bad(&words);
        assert!(code == 2 && err.contains(reason), "{words:?}: {code} {err}");
    }
    let more: Vec<String> =
        (2..5).map(|number| event(&format!("c-{number}"), "plan", &json!({"change_class": "emergency"}))).collect();
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", more.join("\n").as_bytes());
    assert_eq!(status, 200, "{body}");
    let index = body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["index"].as_u64()).max();
    let index = index.expect("an index").to_string();
    let (changes, listed) = list(&["--limit", "2", "--at-least", &index]);
    assert_eq!((changes, &listed["more"]), (vec!["c-4".to_owned(), "c-3".to_owned()], &json!(true)));
    let next = listed["next"].as_str().expect("a key").to_owned();
    let (changes, listed) = list(&["--limit", "2", "--after", &next]);
    assert_eq!(
        (changes, &listed["more"], &listed["next"]),
        (vec!["c-2".to_owned(), "c-1".to_owned()], &json!(false), &Value::Null)
    );
    let (_, _, said) = bad(&["--limit", "2"]);
    assert!(said.contains(&format!("--after {next} goes on")), "{said}");
    // The page for people goes on with the same filter, and what it says stays text.
    let (_, page) = server.get("/tenants/acme/changes?limit=1&class=emergency&q=%22%3E%3Cb");
    assert!(!page.contains("older changes"), "{page}");
    let (_, page) = server.get("/tenants/acme/changes?limit=1&class=emergency&q=c-");
    let link =
        page.split("<a href=\"?").nth(1).and_then(|rest| rest.split('"').next()).expect("a link to older changes");
    let older = server.get(&format!("/tenants/acme/changes?{}", link.replace("&amp;", "&"))).1;
    assert!(page.contains(">c-4<") && older.contains(">c-3<") && older.contains("class=emergency"), "{link}: {older}");
    probes_are_listed_apart(server);
}

/// A change of which every event calls itself a probe is no finding, unless probes are asked for; the list of all changes has it.
fn probes_are_listed_apart(server: &Server) {
    let ran = json!({"probe": true, "execution": {"executor": "bot", "steps": [{"cmd": "a", "rc": 0}]}});
    let event = event("probing", "execute", &ran);
    let (status, body) = server.post("/v1/tenants/acme/events", "application/json", event.as_bytes());
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(body.trim()).expect("JSON");
    caught_up(server, answer["index"].as_u64().expect("an index") + 1);
    let listed = |words: &[&str]| {
        let words = [&["change", "list", "--tenant", "acme"], words].concat();
        ok(&mut server.upm(&words)).contains("probing")
    };
    assert!(listed(&[]) && listed(&["--anomaly", "no_approval_recorded", "--probes"]));
    assert!(!listed(&["--anomaly", "no_approval_recorded"]));
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
        ("@nonsense", 400, "nonsense: there are @changes-without-approval"),
        ("SELECT * FROM nosuch", 400, "there are anomalies, approvals, attempts, changes"),
        ("VACUUM INTO 'copy.db'", 403, "it writes"),
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
    for (body, expect, reason) in [
        (
            json!({"sql": "SELECT :n", "params": {"n": true}}),
            400,
            "params: n: found true, expected null, a number or a text",
        ),
        (json!({"sql": "SELECT :n", "params": {"a b": 1}}), 400, "the name \"a b\", expected letters"),
        (json!({"sql": "SELECT :n", "params": {"n": u64::MAX}}), 400, "at most 64 bits"),
        (json!({"sql": "SELECT :n", "params": {"n": "x".repeat(200_000)}}), 400, "expected at most 100000"),
        (json!({"sql": "SELECT 1\0, 2"}), 400, "NUL character at byte 8"),
        (json!({"sql": format!("SELECT '{}'", "x".repeat(150_000))}), 422, "the question has 150009 bytes"),
        (json!({"sql": "SELECT 1", "timeout_ms": 0}), 400, "expected 1 to 60000"),
        (
            json!({"sql": "@self-approved", "params": {"day": 30}}),
            400,
            "@self-approved has no parameter :day: there is :days",
        ),
        (json!({"sql": "@self-approved", "params": {"days": -5}}), 400, "found -5, expected a whole number"),
    ] {
        let (status, problem) = sql(&server, &body);
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == expect && detail.contains(reason), "{status} {problem}");
    }
    let long = "SELECT 1 -- ".to_owned() + &"x".repeat(300_000);
    let (code, _, err) = run_with_input(&mut server.upm(&["sql", "--tenant", "acme", "-"]), long.as_bytes());
    assert!(code == 2 && err.contains("the question has 300012 bytes"), "{code} {err}");
    assert_eq!(server.post("/v1/tenants/nobody/sql", "application/json", b"{\"sql\": \"SELECT 1\"}").0, 404);
    assert_eq!(server.post("/v1/tenants/acme/sql", "application/json", b"SELECT 1").0, 400);
    assert_eq!(server.post("/v1/tenants/acme/sql", "application/json", b"{\"sql\": \"SELECT 1\", \"x\": 1}").0, 400);
}

/// A text stays a text, whatever it looks like; on a command line one can say so.
#[test]
fn parameters_keep_their_types() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    let (status, body) =
        server.post("/v1/tenants/acme/events", "application/json", event("0042", "plan", &json!({})).as_bytes());
    assert_eq!(status, 200, "{body}");
    let index: Value = serde_json::from_str(body.lines().next().expect("a line")).expect("JSON");
    let path = format!("/v1/tenants/acme/sql?at_least={}", index["index"]);
    let post = |asked: Value| {
        let (status, body) = server.post(&path, "application/json", asked.to_string().as_bytes());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).expect("JSON")["rows"].clone()
    };
    let by_id = "SELECT change FROM changes WHERE change = :id";
    assert_eq!(post(json!({"sql": by_id, "params": {"id": "0042"}})), json!([["0042"]]));
    assert_eq!(
        post(json!({"sql": "SELECT typeof(:a), typeof(:b), typeof(:c), typeof(:d), :e",
            "params": {"a": "42", "b": 42, "c": 42.0, "d": null, "e": "a\0b"}})),
        json!([["text", "integer", "real", "null", "a\0b"]])
    );
    assert_eq!(post(json!({"sql": "SELECT 1", "params": null})), json!([[1]]));
    let types = "SELECT typeof(:a), typeof(:b), typeof(:c), typeof(:d)";
    let params = ["a=0042", "b=42", "c:text=42", "d:number=0042"].map(|param| ["--param", param]).concat();
    let file = server.data().join("views/acme.db");
    let from = [vec!["--tenant", "acme"], vec!["--file", file.to_str().expect("text")]];
    for from in from {
        let words = [vec!["sql", "--format", "csv", types], from, params.clone()].concat();
        let told = ok(&mut server.upm(&words));
        assert_eq!(told.lines().nth(1), Some("text,integer,text,integer"), "{told}");
    }
    let (code, _, err) = run(&mut server.upm(&["sql", "SELECT 1", "--param", "n:number=x"]));
    assert!(code == 2 && err.contains("expected a number"), "{code} {err}");
}

/// Answers that nobody reads, questions that are far too long and large answers at once: none of them is kept in the server's memory.
#[test]
fn what_is_asked_and_answered_is_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    let large = json!({"sql": format!("{NUMBERS} SELECT hex(zeroblob(100000)) FROM t LIMIT 80")});
    let mut unread = Vec::new();
    let grown = growth_kib(&server, || {
        unread.extend((0..40).map(|_| asked(&server, "acme", &large)));
        // Two hold the turns of their tenant, eight wait, and the others hear that.
        wait_for("two answers to wait", || (confined(&server) == 2).then_some(()));
        let refused = unread.iter().filter(|socket| answered(socket).0 == 503).count();
        assert!((26..=38).contains(&refused), "{refused} were refused at once");
    });
    assert!(grown < 48 * 1024, "unread answers: {grown} KiB");
    // An answer that nobody takes gives its turn back.
    let since = Instant::now();
    wait_for("the turns to be given back", || (confined(&server) == 0).then_some(()));
    assert!(since.elapsed() < Duration::from_secs(50), "{:?}", since.elapsed());
    assert_eq!(sql(&server, &json!({"sql": "SELECT 1"})).0, 200);
    drop(unread);

    let endless = json!({"sql": format!("{NUMBERS} SELECT count(*) FROM t"), "timeout_ms": 20000});
    let holding: Vec<_> = (0..2).map(|_| asked(&server, "acme", &endless)).collect();
    wait_for("both turns to be taken", || (confined(&server) == 2).then_some(()));
    let long = json!({"sql": format!("SELECT 1 -- {}", "x".repeat(30_000_000))}).to_string();
    let grown = growth_kib(&server, || {
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let (status, told) = server.post("/v1/tenants/acme/sql", "application/json", long.as_bytes());
                    assert!(status == 413 && told.contains(&format!("found {} bytes", long.len())), "{status} {told}");
                });
            }
        });
    });
    assert!(grown < 48 * 1024, "long questions: {grown} KiB");
    drop(holding);
    wait_for("the turns to be given back", || (confined(&server) == 0).then_some(()));

    let many = json!({"sql": format!("{NUMBERS} SELECT x FROM t LIMIT 1000000"), "max_rows": 1_000_000}).to_string();
    let grown = growth_kib(&server, || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // Where the machine is busy, a turn may take longer than a question waits for one.
                    let body = wait_for("a turn", || {
                        let (status, body) = server.post("/v1/tenants/acme/sql", "application/json", many.as_bytes());
                        assert!(status == 200 || status == 503, "{status} {body}");
                        (status == 200).then_some(body)
                    });
                    assert!(body.contains("[999999],[1000000]"), "whole");
                });
            }
        });
    });
    assert!(grown < 48 * 1024, "large answers: {grown} KiB");
}

/// One tenant's questions leave others their turn, and what one of them sorts in is bounded in sum.
#[test]
fn a_tenant_leaves_room_to_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    let endless = json!({"sql": format!("{NUMBERS} SELECT count(*) FROM t"), "timeout_ms": 60000});
    let holding: Vec<_> = (0..8).map(|_| asked(&server, "acme", &endless)).collect();
    wait_for("acme's turns to be taken", || (confined(&server) == 2).then_some(()));
    let since = Instant::now();
    let (status, body) = server.post("/v1/tenants/other/sql", "application/json", b"{\"sql\": \"SELECT 1\"}");
    assert_eq!(status, 200, "{body}");
    assert!(since.elapsed() < Duration::from_secs(9), "{:?}", since.elapsed());
    drop(holding);
    wait_for("the turns to be given back", || (confined(&server) == 0).then_some(()));

    let table =
        |name: &str| format!("{name}(a) AS MATERIALIZED ({NUMBERS} SELECT hex(zeroblob(50000)) FROM t LIMIT 1500)");
    let tables = ["a", "b", "c", "d", "e", "f"].map(table).join(", ");
    let sums = ["a", "b", "c", "d", "e", "f"].map(|name| format!("(SELECT sum(length(a)) FROM {name})")).join(", ");
    let (status, problem) = sql(&server, &json!({"sql": format!("WITH {tables} SELECT {sums}"), "timeout_ms": 60000}));
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(status == 422 && detail.contains("temporary files grew beyond 256 MiB"), "{status} {problem}");
}

#[test]
fn a_question_costs_the_server_nothing_and_ends_with_its_asker() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    let before = memory_kib(&server, "VmRSS:");
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
    let grown = memory_kib(&server, "VmRSS:").saturating_sub(before);
    assert!(grown < 64 * 1024, "the server grew by {grown} KiB");
    wait_for("no question to be left", || (confined(&server) == 0).then_some(()));

    // Whoever asks goes away: the question ends long before its time.
    let socket = asked(&server, "acme", &json!({"sql": bombs[0], "timeout_ms": 60000}));
    wait_for("the question to be asked", || (confined(&server) == 1).then_some(()));
    drop(socket);
    let since = Instant::now();
    wait_for("the question to end", || (confined(&server) == 0).then_some(()));
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
}

//! Maturity through the real binary: an assessor's word signed by `ssh-keygen`, what it lifts and what it cannot, the checklist, the comparison, the
//! history and its table, and what users are told who ask wrongly.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, wait_for};

const EXPIRES: &str = "2999-01-01T00:00:00Z";

fn serve() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--name", "maturity", "--tenant", "acme"]);
    (folder, server)
}

/// A key made by `ssh-keygen`, of the kind that tokens and many laptops make, and its fingerprint as that prints it.
fn key(folder: &Path, name: &str) -> (std::path::PathBuf, String) {
    let file = folder.join(name);
    ok(Command::new("ssh-keygen").args(["-q", "-t", "ecdsa", "-N", "", "-f"]).arg(&file));
    let listed = ok(Command::new("ssh-keygen").args(["-l", "-f"]).arg(file.with_extension("pub")));
    let fingerprint = listed.split(' ').nth(1).expect("a fingerprint").to_owned();
    (file, fingerprint)
}

fn attest(server: &Server, clause: &str, key: &Path) -> (i32, String, String) {
    let mut command = server.upm(&["maturity", "attest", clause, "--tenant", "acme", "--assessor", "dana", "--json"]);
    run(command.args(["--statement", "Looked at it.", "--expires", EXPIRES, "--key"]).arg(key))
}

fn counted(server: &Server, index: u64) -> Value {
    wait_for("the attestation to be counted", || {
        let answer = server.json("/v1/tenants/acme/maturity");
        (answer["as_of"].as_u64() > Some(index) && answer["behind"] == 0).then_some(answer)
    })
}

fn clause<'a>(answer: &'a Value, id: &str) -> &'a Value {
    answer["clauses"].as_array().expect("clauses").iter().find(|clause| clause["id"] == id).expect("the clause")
}

#[test]
fn an_assessors_word_counts_beside_what_is_measured() {
    let (folder, server) = serve();
    let (dana, fingerprint) = key(folder.path(), "dana");
    let (stranger, _) = key(folder.path(), "stranger");
    facts_are_checked(&server, &fingerprint);

    // Every clause of the scale that gates: as far as words go, level 4.
    let model = server.json("/v1/tenants/acme/maturity");
    let scale = model["clauses"].as_array().expect("clauses").iter().filter(|clause| clause["row"] == "overall");
    let gating: Vec<_> =
        scale.filter(|clause| clause["level"].as_u64() > Some(1)).map(|clause| clause["id"].clone()).collect();
    assert!(gating.len() > 15, "{gating:?}");
    let mut last = 0;
    for id in &gating {
        let (code, out, err) = attest(&server, id.as_str().expect("an id"), &dana);
        assert_eq!(code, 0, "{out}{err}");
        let said: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(said["signed_by"], fingerprint.as_str());
        last = said["index"].as_u64().expect("an index");
    }
    let (code, out, err) = attest(&server, "plan.2.idempotent", &stranger);
    assert_eq!(code, 0, "it is recorded, and counts for nothing: {out}{err}");
    let expired = expired(&server, folder.path(), &dana, "verify.2.health");
    let answer = counted(&server, last.max(expired));

    let overall = &answer["overall"];
    assert_eq!(
        (&overall["measured"]["level"], &overall["with_attestations"]["level"]),
        (&json!(0), &json!(2)),
        "the cap"
    );
    assert_eq!(clause(&answer, "scale.4.slos")["standing"], "attested");
    assert_eq!(clause(&answer, "scale.4.slos")["attestation"]["assessor"], "dana");
    assert_eq!(clause(&answer, "plan.2.idempotent")["standing"], "unmet", "another's key");
    assert_eq!(clause(&answer, "verify.2.health")["standing"], "unmet", "expired");

    let told = ok(&mut server.upm(&["maturity", "--tenant", "acme"]));
    assert!(told.contains("gate evidence_export is shut: at most level 2"), "{told}");
    let one = ok(&mut server.upm(&["maturity", "--tenant", "acme", "--clause", "scale.4.slos"]));
    assert!(one.contains(&format!("dana attests until {EXPIRES}")) && one.contains("Looked at it."), "{one}");

    let (code, out, err) = run(&mut server.upm(&["checklist", "--tenant", "acme", "--json"]));
    assert_eq!(code, 1, "not every item passes: {err}");
    let items: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(items["items"].as_array().map(Vec::len), Some(7), "{items}");
    let criteria = items["criteria"].as_array().expect("criteria");
    let unknown: Vec<_> = criteria.iter().filter(|row| row["verdict"] == "unknown").map(|row| &row["id"]).collect();
    let shown = criteria.iter().filter(|row| row["tests"].as_array().is_some_and(|tests| !tests.is_empty())).count();
    assert_eq!((criteria.len(), shown + unknown.len()), (11, 11), "what no test shows is unknown: {unknown:?}");
    let rows: Value =
        serde_json::from_str(&ok(&mut server.upm(&["compare", "--tenant", "acme", "--json"]))).expect("JSON");
    let own = rows
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["platform"].as_str().is_some_and(|name| name.contains("acme")));
    assert_eq!(own.expect("our row")["overall"], 0, "what is compared is measured");
    the_history_is_the_table(&server);
}

/// A fact that names nobody's key is refused before it is signed.
fn facts_are_checked(server: &Server, fingerprint: &str) {
    for (fact, expect) in [
        ("maturity.assessor.dana=dana", "`SHA256:FINGERPRINT ASSESSOR`"),
        ("maturity.assessor.dana=SHA256:short dana", "`SHA256:FINGERPRINT ASSESSOR`"),
        ("maturity.assesor.dana=x", "maturity.assessor.LABEL"),
    ] {
        let (code, _, err) = run(&mut server.upm(&["tenant", "set", "acme", fact]));
        assert!(code == 2 && err.contains(expect), "{fact}: {code} {err}");
    }
    ok(&mut server.upm(&["tenant", "set", "acme", &format!("maturity.assessor.dana={fingerprint} dana")]));
}

/// A good signature whose time is over; the command would not publish it, so it comes as an event of its own.
fn expired(server: &Server, folder: &Path, key: &Path, clause: &str) -> u64 {
    let origin = server.vkey("acme").split('+').next().expect("an origin").to_owned();
    let expires = "2020-01-01T00:00:00Z";
    let (code, _, err) = run(server
        .upm(&["maturity", "attest", clause, "--tenant", "acme", "--assessor", "dana"])
        .args(["--statement", "x", "--expires", expires]));
    assert!(code == 2 && err.contains("over already"), "{code} {err}");
    // RFC 8785 of plain text members is what serde_json prints of a sorted map.
    let statement =
        json!({"v": 1, "origin": origin, "clause": clause, "assessor": "dana", "statement": "x", "expires": expires});
    let file = folder.join("statement");
    std::fs::write(&file, statement.to_string()).expect("written");
    ok(Command::new("ssh-keygen").args(["-Y", "sign", "-q", "-n", "upm-attestation", "-f"]).arg(key).arg(&file));
    let signature = std::fs::read_to_string(folder.join("statement.sig")).expect("signed");
    let event = json!({"provisioning_event": {"id": "expired-1", "timestamp": "2026-01-02T03:04:05Z", "phase": "audit",
        "intent": {"source": "api", "initiator": "dana", "tenant": "acme"},
        "attestation": {"clause": clause, "assessor": "dana", "statement": "x", "expires": expires, "signature": signature}}});
    let (status, answer) = server.post("/v1/tenants/acme/events", "application/json", event.to_string().as_bytes());
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(answer.lines().next().expect("a line")).expect("JSON");
    answer["index"].as_u64().expect("an index")
}

/// `maturity_daily` and `upm maturity --history` say the same of every day.
fn the_history_is_the_table(server: &Server) {
    let columns = "day, level, level_with_attestations, cap, plan, preflight, execute, verify, audit, plan_with_attestations, \
                   preflight_with_attestations, execute_with_attestations, verify_with_attestations, audit_with_attestations";
    let sql = format!(
        "SELECT {columns} FROM maturity_daily WHERE (SELECT count(*) FROM maturity_daily WHERE stale) = 0 ORDER BY day"
    );
    let (table, history) = wait_for("every day to be settled", || {
        let asked = json!({ "sql": sql }).to_string();
        let (status, answer) = server.post("/v1/tenants/acme/sql", "application/json", asked.as_bytes());
        assert_eq!(status, 200, "{answer}");
        let table: Value = serde_json::from_str(&answer).expect("JSON");
        let history = server.json("/v1/tenants/acme/maturity/history");
        let current = table["as_of"]["entries"] == table["as_of"]["detail"];
        let rows = table["rows"].as_array().cloned().unwrap_or_default();
        (current && !rows.is_empty()).then_some((rows, history))
    });
    let phases = ["plan", "preflight", "execute", "verify", "audit"];
    let days = history["days"].as_array().expect("days");
    // Midnight may have passed without an entry since.
    let days = days.iter().take(table.len()).map(|day| {
        let mut row =
            vec![day["day"].clone(), day["level"].clone(), day["with_attestations"].clone(), day["cap"].clone()];
        row.extend(phases.iter().map(|phase| day["phases"][phase].clone()));
        row.extend(phases.iter().map(|phase| day["phases_with_attestations"][phase].clone()));
        Value::from(row)
    });
    assert_eq!(days.collect::<Vec<_>>(), table);
    assert_eq!(table.last().map(|row| row[2].clone()), Some(json!(2)));
    let told = ok(&mut server.upm(&["maturity", "--tenant", "acme", "--history", "--days", "2"]));
    assert!(told.contains("with attestations"), "{told}");
}

/// An event of a change in tenant acme.
fn event(change: &str, number: usize, phase: &str, sections: &Value) -> String {
    let mut body = json!({"id": format!("{change}-{number}"), "change_id": change, "phase": phase, "timestamp": "2026-01-02T03:04:05Z",
        "intent": {"source": "api", "initiator": "ines", "tenant": "acme"}});
    for (name, section) in sections.as_object().expect("sections") {
        body[name] = section.clone();
    }
    json!({ "provisioning_event": body }).to_string()
}

/// Our row from named changes alone, and the same in every form; platforms with what of them is somebody's word.
#[test]
fn the_comparison_in_all_its_forms() {
    let (folder, server) = serve();
    // One that succeeded, one that failed.
    let lines: Vec<String> = [("good", true), ("bad", false)]
        .into_iter()
        .flat_map(|(change, ok)| {
            [
                ("plan", json!({"plan": {"commands": ["a"]}})),
                ("execute", json!({"execution": {"steps": [{"cmd": "a", "rc": 0}]}})),
                ("verify", json!({"verification": {"checks": [{"name": "up", "ok": ok}]}})),
                ("audit", json!({"governance": {"closed": true}})),
            ]
            .into_iter()
            .enumerate()
            .map(move |(number, (phase, sections))| event(change, number, phase, &sections))
        })
        .collect();
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", lines.join("\n").as_bytes());
    assert_eq!(status, 200, "{body}");
    let set = folder.path().join("set");
    let own = |changes: &str| {
        std::fs::write(&set, changes).expect("written");
        let words = ["compare", "--tenant", "acme", "--json", "--change-set", set.to_str().expect("text")];
        let rows: Value = serde_json::from_str(&ok(&mut server.upm(&words))).expect("JSON");
        assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
        rows[0].clone()
    };
    for (changes, success) in
        [("good\n", 100.0), ("bad", 0.0), ("# both\ngood\nbad\n", 50.0), ("[\"good\", \"good\"]", 100.0)]
    {
        let row = own(changes);
        assert_eq!(row["change_success"].as_f64(), Some(success), "{changes}: {row}");
        assert_eq!(row["approval_coverage"].as_f64(), Some(0.0), "{row}");
        assert_eq!((&row["rollback_success"], &row["overall"]), (&json!("not measured"), &json!(0)), "{row}");
    }
    let twice = own("good\ngood\nbad\n");
    let link = |change: &str| json!(format!("{}/v1/tenants/acme/changes/{change}/evidence.zip", server.http()));
    assert_eq!(twice["evidence"], json!([link("bad"), link("good")]), "each once, with its host");
    let (code, _, err) = run(&mut server.upm(&["compare", "--tenant", "acme", "--change-set", "/nowhere"]));
    assert!(code == 2 && err.contains("/nowhere"), "{code} {err}");
    std::fs::write(&set, "nosuch").expect("written");
    let set = set.to_str().expect("text");
    let (code, _, err) = run(&mut server.upm(&["compare", "--tenant", "acme", "--change-set", set]));
    assert!(code == 1 && err.contains("nosuch"), "{code} {err}");

    std::fs::write(set, "good").expect("written");
    let all =
        |form: &[&str]| ok(server.upm(&["compare", "--platforms", "--change-set", set, "--tenant", "acme"]).args(form));
    let markdown = all(&["--markdown"]);
    let lines: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(lines.len(), 29, "header, rule, our row and 26 platforms: {markdown}");
    assert!(lines[2].starts_with("| Your Stack (acme) | ") && lines[2].contains(" 100.0 |"), "{}", lines[2]);
    let csv = all(&["--csv"]);
    assert!(
        csv.starts_with("Platform,")
            && csv.lines().next().is_some_and(|line| line.ends_with(",Presumed clauses,Exceptions"))
    );
    assert_eq!(csv.split("\r\n").filter(|line| !line.is_empty()).count(), 28, "{csv}");
    let table = all(&[]);
    // What is presumed and excepted is shown beside the rating in every form.
    for text in [&markdown, &csv, &table] {
        for word in ["Salesforce Agentforce", "scale.2.mtls", "no rollback ⇒ cap L2", "exception scale.2.drift"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    assert!(
        markdown.contains("\n- **Salesforce Agentforce**: presumed of the scale, the note is silent: scale.1.scripts"),
        "{markdown}"
    );
    let (code, _, err) = run(&mut server.upm(&["compare", "--platform", "nosuch"]));
    assert!(code == 2 && err.contains("salesforce"), "{code} {err}");
}

#[test]
fn bad_questions_say_what_is_wrong() {
    let (_folder, server) = serve();
    for body in ["", "{", "[]", r#"{"changes": "c-1"}"#, r#"{"changes": [], "more": 1}"#, r#"{"changes": []}"#] {
        // Whatever it says it is; a form of a browser says neither.
        for kind in ["application/json", "application/x-ndjson"] {
            let (status, answer) = server.post("/v1/tenants/acme/maturity/row", kind, body.as_bytes());
            let problem: Value =
                serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{body}: {error}: {answer}"));
            assert_eq!(
                (status, &problem["type"]),
                (400, &json!("urn:upm-ledger:problem:bad_request")),
                "{body}: {answer}"
            );
            assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer}");
        }
    }
    let ask = |words: &[&str]| run(&mut server.upm(&[&["maturity", "attest"], words].concat()));
    let (code, _, err) = ask(&["no.such", "--assessor", "dana", "--statement", "x", "--expires", EXPIRES]);
    assert!(code == 2 && err.contains("no.such") && err.contains("scale.4.slos"), "{code} {err}");
    let (code, _, err) = ask(&["scale.4.slos", "--assessor", "dana", "--statement", "x", "--expires", "tomorrow"]);
    assert!(code == 2 && err.contains("tomorrow"), "{code} {err}");
    let printed =
        ask(&["scale.4.slos", "--assessor", "dana", "--statement", "x", "--expires", EXPIRES, "--tenant", "acme"]);
    let said: Value = serde_json::from_str(&printed.1).expect("what to sign");
    assert_eq!((printed.0, &said["origin"]), (0, &json!("maturity/acme")));
}

//! What users meet, word for word: the help, a session on the command line, a session over HTTP. Snapshots hold exit
//! codes, statuses and texts; what differs from run to run (keys, hashes, addresses, the log's times) is named in its place.
//!
//! `INSTA_UPDATE=always make test` writes them anew; read the diff before you commit it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use insta::Settings;
use serde_json::{Value, json};
use upm_tests::{Server, ok, project, run, upm};

const MODEL: &str = "e5f2a4a2-86d1-41b6-a6f3-7a7e2b1c7f10";
const HOSTILE: &str = "<script>alert(1)</script>";

/// Runs `hold` with the filters of everything that differs from run to run. Events of this file happen in 2025; what
/// the ledger's own clock says is later, and only that is masked.
fn masked(hold: impl FnOnce()) {
    let mut settings = Settings::clone_current();
    settings.set_omit_expression(true);
    for (found, shown) in [
        // Receipts: the shape stays.
        (r#""(c2sp\.org/tlog-proof@v1)\\n[^"]*""#, r#""$1 [RECEIPT]""#),
        (r"(?m)^[A-Za-z0-9+/]{43}=$", "[HASH]"),
        // Keys, hashes, salts, signatures, payloads.
        (r"\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}", "+[KEY-ID]+[KEY]"),
        (r"\b(key ID +|key )[0-9a-f]{8}\b", "$1[KEY-ID]"),
        (r"\b[0-9a-f]{64}\b", "[HASH]"),
        (r"\b[0-9a-f]{32}\b", "[SALT]"),
        (r"[A-Za-z0-9+/]{60,}=*", "[BASE64]"),
        // The log's own times.
        (r"\b\d{13}\b", "[MS]"),
        (r"\b20(?:2[6-9]|[3-9]\d)-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z", "[NOW]"),
        (r"\b(The producer's time is )\S.*( before the log's)", "$1[SPAN]$2"),
        // A pack's size follows from its keys and proofs.
        (r"\b\d{4,6} bytes", "[N] bytes"),
    ] {
        settings.add_filter(found, shown);
    }
    settings.bind(hold);
}

/// Names of the commands that a help lists.
fn commands(help: &str) -> Vec<&str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What a long description goes on with stands further in.
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|word| !word.is_empty()))
        .collect()
}

#[test]
fn help_of_every_command_has_an_example() {
    // Without the path of nats-server, which would be shown and break lines elsewhere.
    let help_of = |words: &[&str]| ok(upm(words).arg("--help").env_remove("NATS_SERVER"));
    let root = help_of(&[]);
    let names = commands(&root);
    assert!(names.len() >= 13, "{root}");
    let mut helps = vec![("upm".to_owned(), root.clone())];
    for name in names {
        let mut help = help_of(&[name]);
        // Before those of its own commands are added: they have none.
        assert!(help.contains("Example"), "upm {name} --help has no example:\n{help}");
        for inner in commands(&help.clone()) {
            let _ = write!(help, "\n$ upm {name} {inner} --help\n{}", help_of(&[name, inner]));
        }
        helps.push((name.to_owned(), help));
    }
    let verifier = ok(Command::new(upm_tests::program("upm-verify")).arg("--help"));
    helps.push(("upm-verify".to_owned(), verifier));
    for (name, help) in &helps {
        assert!(help.contains("Example"), "{name} --help has no example:\n{help}");
        masked(|| insta::assert_snapshot!(format!("help-{name}"), help));
    }
}

/// A folder with the events of a session, and a server beside it.
struct Session {
    folder: tempfile::TempDir,
    server: Server,
    told: String,
}

impl Session {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (from, to) in [("model.json", "model.json"), ("malformed/missing_field.json", "broken.json")] {
            std::fs::copy(project().join("schemas/examples").join(from), folder.path().join(to)).expect("copied");
        }
        let server = Server::start(&folder.path().join("upm-data"), &["--name", "test", "--tenant", "acme"]);
        Self { folder, server, told: String::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is told, without the names of folder and server.
    fn tell(&mut self, text: &str) {
        let folder = self.path().to_str().expect("text").to_owned();
        self.told.push_str(&text.replace(&folder, "[FOLDER]").replace(self.server.http(), "[SERVER]"));
    }

    /// Runs `upm` as a person in the folder would.
    fn upm(&mut self, arguments: &str) -> String {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let (code, out, err) = run(self.server.upm(&words).current_dir(self.folder.path()));
        let shown = if words[0] == "completions" { out.lines().next().unwrap_or_default() } else { &out };
        let mut told = format!("$ upm {arguments}\n");
        for (name, text) in [("out", shown), ("err", &err)] {
            for line in text.lines() {
                let _ = writeln!(told, "{name} | {line}");
            }
        }
        let _ = writeln!(told, "exit {code}\n");
        self.tell(&told);
        out
    }

    /// Asks over HTTP without following redirects; returns location and body.
    fn http(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (String, Vec<u8>) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.server.http()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = if body.is_empty() {
            agent.run(request.body(()).expect("a request"))
        } else {
            agent.run(request.body(body).expect("a request"))
        };
        let mut answer = answer.expect("the server answers");
        let said = |name: &str| {
            answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
        };
        let (kind, location, allow) = (said("content-type"), said("location"), said("allow"));
        let status = answer.status().as_u16();
        let bytes = answer.body_mut().read_to_vec().expect("a body");
        let mut told = format!("{method} {path}\n");
        for (name, value) in headers {
            let _ = writeln!(told, "{name}: {value}");
        }
        let _ = writeln!(told, "→ {}", format!("{status} {kind}").trim_end());
        for (name, value) in [("location", &location), ("allow", &allow)] {
            if !value.is_empty() {
                let _ = writeln!(told, "{name}: {value}");
            }
        }
        told.push_str(&shown(&kind, &bytes));
        told.push('\n');
        self.tell(&told);
        (location, bytes)
    }

    fn get(&mut self, path: &str) -> Vec<u8> {
        self.http("GET", path, &[], b"").1
    }
}

/// A body as the snapshot shows it: JSON by lines, what is no data only by name.
fn shown(kind: &str, bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return "[BYTES]\n".to_owned() };
    if kind.starts_with("text/html") {
        return "[HTML]\n".to_owned();
    }
    if kind == "application/x-ndjson" {
        return text.lines().map(|line| pretty(line) + "\n").collect();
    }
    if kind.contains("json") {
        return pretty(text) + "\n";
    }
    if text.is_empty() { String::new() } else { format!("{}\n", text.trim_end()) }
}

fn pretty(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    serde_json::to_string_pretty(&value).expect("JSON")
}

#[test]
fn a_session_on_the_command_line() {
    let mut session = Session::start();
    for line in [
        "emit model.json --wait",
        "emit model.json --wait",
        "emit model.json",
        "emit broken.json",
        "emit broken.json --no-check --wait",
        "emit absent.json",
        "check model.json",
        "check broken.json",
        "change list --tenant acme --at-least 2",
        "change list --tenant acme --state failed",
    ] {
        session.upm(line);
    }
    for line in ["change show", "change events --json"] {
        let (command, rest) = line.split_at(line.find(" --").unwrap_or(line.len()));
        session.upm(&format!("{command} {MODEL} --tenant acme{rest}"));
    }
    for line in [
        "change show c-none --tenant acme",
        "change show c-none --tenant acme --json",
        "change list --tenant nobody",
        "rejected list --tenant acme",
        "rejected show 2 --tenant acme",
        "rejected show 1 --tenant acme",
        "rejected show 99 --tenant acme",
        "keys show",
        "keys show --tenant acme",
        "tenant list",
        "tenant add beta",
    ] {
        session.upm(line);
    }
    session.upm(&format!("pack {MODEL} --tenant acme -o model.zip"));
    session.upm(&format!("pack {MODEL} --tenant acme -o model.zip"));
    for tenant in ["acme", "beta"] {
        let key = session.upm(&format!("keys show --tenant {tenant} --vkey"));
        std::fs::write(session.path().join(format!("{tenant}.vkey")), key).expect("written");
    }
    for line in [
        "verify model.zip --key acme.vkey",
        "verify model.zip",
        "verify model.zip --key acme.vkey --json",
        "verify model.zip --key beta.vkey",
        "verify model.zip --key absent.vkey",
        "verify model.json --key acme.vkey",
        "completions bash",
        "nonsense",
        "change list --server http://127.0.0.1:1",
    ] {
        session.upm(line);
    }
    masked(|| insta::assert_snapshot!("command-line", session.told));
}

#[test]
fn a_session_over_http() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
    const EVENTS: &str = "/v1/tenants/acme/events";
    let mut session = Session::start();
    let model = std::fs::read(session.path().join("model.json")).expect("readable");
    let hostile = json!({"provisioning_event": {
        "id": "hostile-plan", "change_id": "c-hostile", "timestamp": "2025-10-09T12:05:00Z", "phase": "plan",
        "intent": {"request": HOSTILE, "source": "api", "initiator": HOSTILE, "tenant": "acme"},
    }});
    let lines = format!("{hostile}\n{{\"provisioning_event\":{{}}}}\n");

    session.http("POST", EVENTS, &[JSON], &model);
    session.http("POST", EVENTS, &[NDJSON], lines.as_bytes());
    session.get("/v1/tenants/acme/changes?at_least=3");
    let change = format!("/v1/tenants/acme/changes/{MODEL}");
    session.get(&change);
    session.get(&format!("{change}/events"));
    session.get("/v1/tenants/acme/events/2");
    let receipt = String::from_utf8(session.get("/v1/tenants/acme/events/2/receipt")).expect("text");
    assert!(receipt.starts_with("c2sp.org/tlog-proof@v1\n"), "{receipt}");
    session.get("/v1/tenants/acme/rejected");
    session.get("/v1/tenants");

    for path in [
        "/v1/tenants/nobody/changes",
        "/v1/tenants/No%20Body/changes",
        "/v1/tenants/acme/changes/c-none",
        "/v1/tenants/acme/changes/c-none/evidence.zip",
        "/v1/tenants/acme/changes?limit=many",
        "/v1/tenants/acme/changes?colour=red",
        "/v1/tenants/acme/events/99",
        "/v1/nonsense",
    ] {
        session.get(path);
    }
    session.http("DELETE", EVENTS, &[], b"");
    session.http("POST", EVENTS, &[("content-type", "text/plain")], &model);
    session.http("POST", EVENTS, &[JSON, ("origin", "https://evil.example")], &model);
    session.http("GET", "/v1/tenants", &[("host", "evil.example")], b"");
    session.http("POST", EVENTS, &[NDJSON], b"\n");
    session.get("/healthz");
    session.get("/readyz");

    let (location, _) = session.http("GET", &format!("{change}/evidence.zip"), &[], b"");
    let (_, pack) = session.http("GET", &location, &[], b"");
    let zip = session.path().join("pack.zip");
    std::fs::write(&zip, pack).expect("written");
    let listing = ok(Command::new("python3").args(["-m", "zipfile", "-l"]).arg(&zip));
    let names: Vec<&str> = listing.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    session.tell(&format!("files of the zip\n{}\n", names.join("\n")));
    masked(|| insta::assert_snapshot!("http", session.told));
}

#[test]
fn pages_show_what_events_say_as_text() {
    let mut session = Session::start();
    let event = json!({"provisioning_event": {
        "id": "hostile-plan", "change_id": "c-hostile", "timestamp": "2025-10-09T12:05:00Z", "phase": "plan",
        "intent": {"request": HOSTILE, "source": "api", "initiator": HOSTILE, "tenant": "acme"},
        "plan": {"commands": [HOSTILE]},
    }});
    let (status, body) =
        session.server.post("/v1/tenants/acme/events", "application/json", event.to_string().as_bytes());
    assert_eq!(status, 200, "{body}");
    let index = serde_json::from_str::<Value>(&body).expect("JSON")["index"].to_string();
    for path in [&format!("/tenants/acme/changes?at_least={index}"), "/tenants/acme/changes/c-hostile/"] {
        let page = String::from_utf8(session.get(path)).expect("text");
        assert!(page.starts_with("<!doctype html>"), "{path}: {page}");
        assert!(!page.to_ascii_lowercase().contains("<script"), "{path}: {page}");
        // Our two templates write the same entities, one by name and one by number.
        let told = page.replace("&#60;", "&lt;").replace("&#62;", "&gt;");
        assert!(told.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{path}: {page}");
    }
}

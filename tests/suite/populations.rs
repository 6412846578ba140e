//! A quarter is handed over: population, verification by a stranger, sample, packs and work sheet of the sample, and the cloud's own log beside it,
//! through the real binary and over HTTP. And what is refused: a period that is not over, a header left out, another key, another tenant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use upm_tests::{Server, ok, program, project, run, upm, wait_for};

/// A ledger with a sign of life each second, so that a period is over soon after it has ended.
pub(crate) struct Ledger {
    folder: tempfile::TempDir,
    pub(crate) server: Server,
    pub(crate) key: String,
}

impl Ledger {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = ["--name", "quarter", "--tenant", "acme", "--tenant", "other", "--heartbeat", "1s"];
        let server = Server::start(&folder.path().join("data"), &arguments);
        let key = server.vkey("acme").to_owned();
        Self { folder, server, key }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Five phases of a change that scales a queue; in staging, its initiator approves it.
    fn change(&self, change: &str, environment: &str) {
        let approver = if environment == "staging" { "ines" } else { "bob" };
        let sections = [
            ("plan", json!({"plan": {"commands": ["aws sqs set-queue-attributes"]}})),
            ("preflight", json!({"preflight": {"approvals": [{"approver": approver, "decision": "approved"}]}})),
            ("execute", json!({"execution": {"steps": [{"cmd": "aws sqs set-queue-attributes", "rc": 0}]}})),
            ("verify", json!({"verification": {"checks": [{"name": "depth", "ok": true}]}})),
            ("audit", json!({"governance": {"closed": true}})),
        ];
        let lines = sections.map(|(phase, section)| {
            let mut event = json!({"id": format!("{change}-{phase}"), "change_id": change, "phase": phase, "timestamp": now(),
                "environment": environment, "intent": {"source": "api", "initiator": "ines", "tenant": "acme"},
                "target": {"cloud": "aws", "resources": [{"type": "aws_sqs_queue", "name": format!("queue-{change}")}]}});
            for (name, value) in section.as_object().expect("a section") {
                event[name] = value.clone();
            }
            json!({ "provisioning_event": event }).to_string()
        });
        let (status, body) =
            self.server.post("/v1/tenants/acme/events", "application/x-ndjson", lines.join("\n").as_bytes());
        assert_eq!(status, 200, "{body}");
    }

    /// The population of a period, as soon as it is over.
    pub(crate) fn population(&self, from: &str, to: &str, name: &str, more: &[&str]) -> PathBuf {
        let file = self.at(name);
        let arguments =
            [&["population", "--from", from, "--to", to, "--tenant", "acme", "-o", path(&file)], more].concat();
        wait_for("a heartbeat behind the period", || match run(&mut self.server.upm(&arguments)) {
            (0, ..) => Some(()),
            (2, _, said) if said.contains("in the log yet") => None,
            (code, out, said) => panic!("{code} {out}{said}"),
        });
        file
    }

    /// What a stranger's verifier, without a server, says of a file.
    fn verify(&self, file: &Path, more: &[&str]) -> (i32, String) {
        let mut command = Command::new(program("upm-verify"));
        let (code, out, err) = run(command.arg(file).args(["--key", &self.key]).args(more));
        (code, format!("{out}{err}"))
    }
}

pub(crate) fn now() -> String {
    ok(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"])).trim().to_owned()
}

fn path(file: &Path) -> &str {
    file.to_str().expect("the folder's name is text")
}

fn python(script: &str, arguments: &[&str]) -> String {
    ok(Command::new("python3").arg(project().join("tests/python").join(script)).args(arguments))
}

#[test]
fn a_quarter_is_handed_over_sampled_and_examined() {
    let ledger = Ledger::start();
    let from = now();
    for number in 0..6 {
        ledger.change(&format!("CHG-{number}"), if number % 2 == 0 { "production" } else { "staging" });
    }
    let to = now();
    let quarter = ledger.population(&from, &to, "quarter.zip", &[]);

    let (code, told) = ledger.verify(&quarter, &[]);
    assert_eq!(code, 0, "{told}");
    let (code, told) = ledger.verify(&quarter, &["--json"]);
    let report: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{code} {error}: {told}"));
    assert_eq!(report["verdict"], "ok", "{told}");
    let document: Value = serde_json::from_str(&member(&quarter, "population.json")).expect("JSON");
    let totals = &document["totals"];
    assert_eq!(
        (&totals["changes"], &totals["started"], &totals["closed"]),
        (&json!(6), &json!(6), &json!(6)),
        "{totals}"
    );

    // Over HTTP the same bytes, and without details fewer that hold as well.
    let query =
        |details| format!("{}/v1/tenants/acme/population?from={from}&to={to}&details={details}", ledger.server.http());
    for (details, name) in [(true, "same.zip"), (false, "bare.zip")] {
        ok(Command::new("curl").args(["-fsS", "-o"]).arg(ledger.at(name)).arg(query(details)));
    }
    assert_eq!(fs::read(&quarter).expect("there"), fs::read(ledger.at("same.zip")).expect("there"), "the same bytes");
    let bare = ledger.at("bare.zip");
    assert!(!ok(Command::new("unzip").args(["-l"]).arg(&bare)).contains("details/"));
    assert_eq!(ledger.verify(&bare, &[]).0, 0);

    // Drawn by us and by a script that is not ours, the same; packed as of the population, and examined.
    let sample =
        ["sample", path(&quarter), "--size", "4", "--seed", "dice 3 5 1", "--by", "environment", "--key", &ledger.key];
    let drawn: Value = serde_json::from_str(&ok(upm(sample).arg("--json"))).expect("JSON");
    let ours: Vec<_> =
        drawn["drawn"].as_array().expect("a list").iter().map(|one| one["change"]["change"].as_str()).collect();
    let theirs = python("sample.py", &[path(&quarter), "dice 3 5 1", "4", "environment"]);
    let theirs: Vec<_> = theirs.lines().map(|line| line.split_once(' ').map(|(_, change)| change)).collect();
    assert_eq!((ours.len(), &ours), (4, &theirs));
    fs::write(ledger.at("sample.json"), drawn.to_string()).expect("written");
    let packs = ledger.at("packs");
    ok(ledger
        .server
        .upm(&["pack", "--tenant", "acme", "--sample"])
        .arg(ledger.at("sample.json"))
        .arg("-o")
        .arg(&packs));
    let mut files: Vec<_> = fs::read_dir(&packs).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert_eq!(files.len(), 4, "{files:?}");
    for pack in &files {
        let (code, told) = ledger.verify(pack, &["--population", path(&quarter)]);
        assert!(code == 0 && told.contains("none (proved)"), "{code} {told}");
    }
    let sheet = ok(upm(sample).args(["--worksheet", "--packs"]).arg(&packs));
    assert!(sheet.lines().count() > 4 && sheet.contains("CHG-"), "{sheet}");
    let sheets: Value =
        serde_json::from_str(&ok(upm(sample).args(["--worksheet", "--json", "--packs"]).arg(&packs))).expect("JSON");
    let found = |sheet: &Value, attribute: &str| {
        let tested = sheet["tested"].as_array().expect("a list");
        tested.iter().find(|one| one["attribute"] == attribute).map(|one| one["found"].clone()).expect("each is asked")
    };
    let sheets = sheets.as_array().expect("a list");
    assert_eq!(sheets.len(), 4);
    for sheet in sheets {
        let staging = sheet["drawn"]["change"]["environments"] == json!(["staging"]);
        let separation = if staging { "exception" } else { "not_evidenced" };
        assert_eq!(
            (found(sheet, "verified"), found(sheet, "separation")),
            ("pass".into(), separation.into()),
            "{sheet}"
        );
    }
}

#[test]
fn what_is_left_out_altered_or_under_another_key_is_refuted() {
    let ledger = Ledger::start();
    let from = now();
    ledger.change("CHG-1", "production");
    ledger.change("CHG-2", "production");
    let to = now();
    let quarter = ledger.population(&from, &to, "quarter.zip", &[]);
    for (what, said) in
        [("leave-out", "refuted"), ("alter", "refuted"), ("swap", "refuted"), ("drop-change", "refuted")]
    {
        let forged = ledger.at("forged.zip");
        python("forge.py", &[what, path(&quarter), path(&forged)]);
        let (code, told) = ledger.verify(&forged, &[]);
        assert!(code == 1 && told.to_lowercase().contains(said), "{what}: {code} {told}");
        let drawn = run(&mut upm(["sample", path(&forged), "--size", "1", "--seed", "s", "--key", &ledger.key]));
        assert_eq!(drawn.0, 1, "{what}: a sample of it: {drawn:?}");
    }
    let other = ledger.server.vkey("other");
    let (code, _, _) = run(Command::new(program("upm-verify")).arg(&quarter).args(["--key", other]));
    assert_eq!(code, 1, "the key of another log");
    let (_, kept) = ledger.server.get("/logs/acme/checkpoint");
    fs::write(ledger.at("kept"), kept).expect("written");
    let (code, told) = ledger.verify(&quarter, &["--known-checkpoint", path(&ledger.at("kept"))]);
    assert!(code != 1, "a later checkpoint refutes nothing: {told}");
}

#[test]
fn silence_is_proved_and_bad_periods_say_what_is_wrong() {
    let ledger = Ledger::start();
    let from = now();
    wait_for("two signs of life", || {
        let (_, checkpoint) = ledger.server.get("/logs/acme/checkpoint");
        checkpoint.lines().nth(1)?.parse::<u64>().ok().filter(|size| *size >= 3)
    });
    let to = now();
    let silence = ledger.population(&from, &to, "silence.zip", &[]);
    let (code, told) = ledger.verify(&silence, &[]);
    assert!(code == 0 && told.contains("nothing was logged"), "{code} {told}");
    let document: Value = serde_json::from_str(&member(&silence, "population.json")).expect("JSON");
    assert_eq!(document["totals"]["changes"], 0);

    let ask = |from: &str, to: &str, tenant: &str, file: &Path| {
        run(ledger.server.upm(&["population", "--from", from, "--to", to, "--tenant", tenant, "-o"]).arg(file))
    };
    let new = ledger.at("new.zip");
    for (from, to, tenant, said) in [
        (from.as_str(), "2199-01-01", "acme", "in the log yet"),
        (&to, &from, "acme", "end"),
        ("yesterday", &to, "acme", "yesterday"),
        (&from, &to, "nobody", "nobody"),
    ] {
        let (code, _, err) = ask(from, to, tenant, &new);
        assert!(code > 0 && err.contains(said), "{from} {to} {tenant}: {code} {err}");
        assert!(!new.exists(), "no half file under the final name");
    }
    let (code, _, err) = ask(&from, &to, "acme", &silence);
    assert!(code == 2 && err.contains("--force"), "{code} {err}");
    let (code, _, err) = ask(&from, &to, "acme", &ledger.at("no/such/folder.zip"));
    assert!(code == 2 && err.contains("no/such"), "{code} {err}");
}

#[test]
fn the_clouds_own_log_is_held_against_the_changes() {
    let ledger = Ledger::start();
    let from = now();
    ledger.change("CHG-1", "production");
    ledger.change("CHG-2", "production");
    // A real record, as of today: one that names the queue of a change, one that nothing explains.
    let trail = project().join("projector/evidence/tests/real-inputs/cloudtrail-us-east-1-20230710T1215Z.json");
    let trail: Value = serde_json::from_str(&fs::read_to_string(trail).expect("there")).expect("JSON");
    let records = trail["Records"].as_array().expect("records");
    let record = |id: &str, name: &str| {
        let mut record = records.iter().find(|record| record["eventName"] == "DeleteParameter").expect("one").clone();
        record["requestParameters"] = json!({ "name": name });
        (record["eventTime"], record["eventID"]) = (now().into(), id.into());
        record
    };
    let known = json!({"Records": [record("a", "queue-CHG-1"), record("b", "queue-CHG-2")]});
    let gaps = json!({"Records": [record("a", "queue-CHG-1"), record("c", "nobody-asked-for-this")]});
    let to = now();
    let quarter = ledger.population(&from, &to, "quarter.zip", &[]);
    let reconcile = |log: &Value, more: &[&str]| {
        fs::write(ledger.at("trail.json"), log.to_string()).expect("written");
        let mut command =
            ledger.server.upm(&["reconcile", "--source", "cloudtrail", "--key", &ledger.key, "--tenant", "acme"]);
        run(command.arg(ledger.at("trail.json")).args(more))
    };
    let (code, out, err) = reconcile(&known, &["--population", path(&quarter), "--no-emit"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = reconcile(&gaps, &["--population", path(&quarter), "--json"]);
    assert!(
        code == 1 && out.contains("nobody-asked-for-this") | out.contains("\"c\"") && out.contains("CHG-2"),
        "{code} {out}{err}"
    );
    let rows = ok(&mut ledger.server.upm(&[
        "sql",
        "--tenant",
        "acme",
        "--json",
        "SELECT count(*) AS n FROM events WHERE phase = 'audit'",
    ]));
    assert!(rows.contains('3'), "two changes were closed, and the result is an event itself: {rows}");
}

/// A file of a zip, by a program that is not ours.
fn member(zip: &Path, name: &str) -> String {
    ok(Command::new("unzip").arg("-p").arg(zip).arg(name))
}

/// A person at a terminal sees how far it is, and what moves does not stay; a pipe, a file and a program see nothing of it.
#[test]
fn how_far_it_is_is_shown_to_people_only() {
    let ledger = Ledger::start();
    ledger.change("c-1", "staging");
    let from = now();
    let from = from.as_str();
    let population = ledger.population("2020-01-01T00:00:00Z", from, "population.zip", &[]);
    let pack = ledger.at("pack.zip");
    // `script` runs it on a terminal of its own, and says what was shown there.
    let shown = |on_terminal: bool, arguments: &[&str]| {
        let upm = program("upm");
        let words = [&[path(&upm)], arguments].concat();
        let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(if on_terminal { "script" } else { "sh" });
        let asked = if on_terminal { &["-qec", line.as_str(), "/dev/null"][..] } else { &["-c", line.as_str()] };
        command.args(asked).env("TERM", "xterm-256color").env("UPM_SERVER", ledger.server.http());
        let (code, out, err) = run(&mut command);
        assert_eq!(code, 0, "{line}: {out}{err}");
        out + &err
    };
    let fetches = [
        vec!["pack", "c-1", "--tenant", "acme", "--force", "-o", path(&pack)],
        vec![
            "population",
            "--from",
            "2020-01-01T00:00:00Z",
            "--to",
            from,
            "--tenant",
            "acme",
            "--force",
            "-o",
            path(&population),
        ],
    ];
    for fetch in &fetches {
        let seen = shown(true, fetch);
        let cleared = seen.rfind("\u{1b}[2K").unwrap_or_else(|| panic!("nothing that moves: {seen:?}"));
        // A population comes without its length: so much so far instead of a bar.
        let moved = seen[..cleared].contains('█') || seen[..cleared].contains("iB/s");
        assert!(moved && seen[cleared..].contains("wrote "), "{seen:?}");
    }
    let verify = vec!["verify", path(&population), "--key", ledger.key.as_str()];
    assert!(shown(true, &verify).contains("headers (100 %)"));
    for words in [&fetches[0], &fetches[1], &verify] {
        let as_json = [&words[..], &["--json"]].concat();
        for (on_terminal, words) in [(true, &as_json), (false, &as_json), (false, words)] {
            let seen = shown(on_terminal, words);
            assert!(!seen.contains('\u{1b}') && !seen.contains("headers ("), "{words:?}: {seen:?}");
            assert!(seen.contains(".zip") || seen.contains("population"), "{words:?}: {seen:?}");
        }
    }
}

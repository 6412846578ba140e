//! A made-up history through everything real: nats-py, nats-server, `upm serve`, and the figures that come out, which must be what the
//! stories behind it know. And what users are told when they ask for what there is not.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic, in its helpers too")]

#[path = "../../benches/src/history/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "made for the harness, which uses all of it")]
mod history;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use history::truth::{Expected, PLANTED};
use history::{DAY_MS, History, Options, Told, Truth};
use serde_json::{Value, json};
use tempfile::TempDir;
use upm_tests::{Server, ok, python, run, wait_for};

/// A history of months, played to the server now: everything happens today by the log's time.
fn played(changes: u64) -> (Vec<Told>, Truth, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = u64::try_from(now).expect("fits");
    let options = Options {
        seed: 11,
        tenant: "acme".to_owned(),
        changes,
        from_ms: now - 200 * DAY_MS,
        days: 90,
        played_at_ms: Some(now),
        anomalies: true,
        sign: None,
    };
    let mut history = History::new(options);
    let told: Vec<Told> = history.by_ref().collect();
    (told, history.into_truth(), now / DAY_MS)
}

#[test]
fn figures_of_a_played_history_are_its_truth() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"), &["--tenant", "acme"]);
    let (told, truth, today) = played(150);
    let mut lines = String::new();
    for told in &told {
        let _ = writeln!(lines, "{}", json!({"subject": told.subject("acme"), "payload": told.payload}));
    }
    let file = dir.path().join("history.ndjson");
    std::fs::write(&file, lines).unwrap();
    ok(python("publish_lines.py").arg(server.nats()).arg(&file));
    let last = behind_all_of_it(&server);
    let answer = wait_for("all entries to be counted", || {
        let answer = server.json("/v1/tenants/acme/kpis?last=1d&trend=true");
        let all = answer["as_of"]["entries"].as_u64() > Some(last) && answer["as_of"]["behind"] == 0;
        all.then_some(answer)
    });
    let expected = truth.expected(today, today + 1);
    for figure in answer["kpis"].as_array().unwrap() {
        let kpi = figure["kpi"].as_str().unwrap();
        let Some(truth) = expected.iter().find(|expected| expected.what == kpi) else {
            continue;
        };
        compare(figure, truth);
        for part in expected.iter().filter(|part| part.what.starts_with(&format!("{kpi}."))) {
            let name = part.what.rsplit('.').next().unwrap();
            assert_eq!(
                figure["apart"][name].as_f64(),
                Some(f64::from(u32::try_from(part.denominator).unwrap())),
                "{}",
                part.what
            );
        }
    }
    let (covered, managed) = truth.drift(today);
    let drift = &answer["kpis"][8];
    assert_eq!((drift["numerator"].as_u64(), drift["denominator"].as_u64()), (Some(covered), Some(managed)));
    anomalies(&server, &truth);
    the_command_line(&server);
    gauges(&server, &answer);
    pages_of_misses(&server, &answer);
}

/// Behind a played history, and none of it.
const PROBE: &str = "behind-all-of-it";

/// The index of a probe, which no figure counts: the road is one line, so whatever was published before stands before it.
fn behind_all_of_it(server: &Server) -> u64 {
    let probe = json!({ "provisioning_event": {
        "id": PROBE, "timestamp": "2026-01-02T03:04:05Z", "phase": "plan", "probe": true,
        "intent": { "source": "api", "initiator": "ines", "tenant": "acme" }
    }});
    let (status, body) = server.post("/v1/tenants/acme/events", "application/json", probe.to_string().as_bytes());
    assert_eq!(status, 200, "{body}");
    let line: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
    line["index"].as_u64().unwrap()
}

fn compare(figure: &Value, truth: &Expected) {
    let counts = (figure["numerator"].as_u64(), figure["denominator"].as_u64());
    assert_eq!(counts, (Some(truth.numerator), Some(truth.denominator)), "{figure}");
    assert_eq!(figure["measured"] == true, truth.denominator > 0, "{figure}");
    if let Some(p95_us) = truth.p95_us.filter(|_| truth.what != "mttr") {
        let expect = f64::from(u32::try_from(p95_us).unwrap()) / 1000.0;
        assert!((figure["value"].as_f64().unwrap() - expect).abs() < 0.01 + f64::EPSILON, "{figure}: {expect}");
    }
    if truth.what == "mttr" {
        #[expect(clippy::cast_precision_loss, reason = "minutes of a made-up history")]
        let mean = truth.sum_us as f64 / 60e6 / truth.denominator as f64;
        assert!((figure["value"].as_f64().unwrap() - mean).abs() < 0.01 + f64::EPSILON, "{figure}: {mean}");
    }
}

fn anomalies(server: &Server, truth: &Truth) {
    let rows = ok(&mut server.upm(&[
        "sql",
        "SELECT DISTINCT change, code FROM anomalies",
        "--tenant",
        "acme",
        "--format",
        "ndjson",
    ]));
    let found: BTreeSet<(String, String)> = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| (row["change"].as_str().unwrap().to_owned(), row["code"].as_str().unwrap().to_owned()))
        .filter(|(change, code)| change != PROBE && PLANTED.contains(&code.as_str()))
        .collect();
    let planted = truth.anomalies.iter().map(|(change, code)| (change.clone(), (*code).to_owned())).collect();
    assert_eq!(found, planted);
}

fn the_command_line(server: &Server) {
    let table = ok(&mut server.upm(&["kpi", "--tenant", "acme", "--last", "30d"]));
    assert!(table.contains("Approval coverage") && table.contains("≥ 90 %") && table.contains("≤ 1500 ms"), "{table}");
    let csv = ok(&mut server.upm(&["kpi", "--tenant", "acme", "--csv"]));
    assert_eq!(csv.lines().count(), 11, "{csv}");
    let none = ok(&mut server.upm(&["kpi", "--tenant", "acme", "--from", "2001-01-01", "--to", "2001-02-01"]));
    assert!(none.contains("not measured") && none.contains("Nothing was measured in this window"), "{none}");
    assert_eq!(none.matches("not measured").count(), 10, "{none}");
    for (words, expect) in [
        (["kpi", "uptime", "--last", "3d"], "plan_determinism, approval_coverage"),
        (["kpi", "mttr", "--last", "3w"], "expected days such as 90d"),
        (["kpi", "mttr", "--from", "2026-01-01T12:00:00Z"], "windows are whole days in UTC"),
        (["kpi", "mttr", "--class", "urgent"], "standard, normal or emergency"),
    ] {
        let (code, _, err) = run(server.upm(&words).args(["--tenant", "acme"]));
        assert_ne!(code, 0, "{err}");
        assert!(err.contains(expect), "{words:?}: {err}");
    }
}

/// Today is all there is of the last 90 days, so gauges show what the figures are.
fn gauges(server: &Server, answer: &Value) {
    let (_, text) = server.get("/metrics");
    let gauge = |name: &str, kpi: &str| {
        let start = format!("{name}{{tenant=\"acme\",kpi=\"{kpi}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    let mut measured = 0;
    for figure in answer["kpis"].as_array().unwrap() {
        let kpi = figure["kpi"].as_str().unwrap();
        assert_eq!(gauge("upm_kpi_count", kpi), figure["denominator"].as_f64(), "{figure}");
        let (shown, value) = (gauge("upm_kpi", kpi), figure["value"].as_f64());
        // The answer is rounded for people.
        let same = match (shown, value) {
            (Some(shown), Some(value)) => (shown - value).abs() < 0.01 + f64::EPSILON,
            (shown, value) => shown.is_none() && value.is_none(),
        };
        assert!(same, "{kpi}: {shown:?} for {figure}");
        let band = figure["band"].as_str().map(|band| match band {
            "L4" => 4.0,
            "L3" => 3.0,
            _ => 0.0,
        });
        assert_eq!(gauge("upm_kpi_band", kpi), band, "{figure}");
        measured += usize::from(value.is_some());
    }
    assert!(measured > 5, "{answer}");
}

/// With those for it beside those against it, they are all behind the figure; the command line collects the pages.
fn both_sides(server: &Server, figure: &Value, missed: u64) {
    let listed = ok(&mut server.upm(&[
        "kpi",
        "evidence_completeness",
        "--changes",
        "all",
        "--tenant",
        "acme",
        "--last",
        "1d",
        "--json",
    ]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let changes = listed["kpi"]["changes"].as_array().unwrap();
    let sum = |name: &str| changes.iter().map(|change| change[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(figure["numerator"].as_u64(), Some(sum("numerator")));
    assert_eq!(figure["denominator"].as_u64(), Some(sum("denominator")));
    assert_eq!(changes.iter().filter(|change| change["counts"] == "against").count() as u64, missed);
    // Its permalinks can be opened by whoever gets the file.
    let link = changes[0]["href"].as_str().unwrap();
    let path = link.strip_prefix(server.http()).unwrap_or_else(|| panic!("{link}"));
    assert!(path.starts_with("/v1/tenants/acme/changes/") && server.get(path).0 == 200, "{link}");
    let all: Value =
        serde_json::from_str(&ok(&mut server.upm(&["kpi", "--tenant", "acme", "--last", "1d", "--json"]))).unwrap();
    for figure in all["kpis"].as_array().unwrap() {
        let missed = figure["missed"].as_array().unwrap().iter().map(|row| &row["href"]);
        for link in missed.chain([&figure["changes_href"]]) {
            assert!(link.as_str().unwrap().starts_with(server.http()), "{figure}");
        }
    }
    let href = figure["changes_href"].as_str().unwrap();
    assert!(!server.json(href)["kpi"]["changes"].as_array().unwrap().is_empty(), "{href}");
    assert_eq!(listed["settings"], json!({"ended_after_h": 24, "emergency_within_h": 72}));
    let page = server.json("/v1/tenants/acme/kpis/drift_coverage?last=1d&changes=all&limit=3");
    assert_eq!((page["kpi"]["changes"].as_array().map(Vec::len), page["next"].is_string()), (Some(3), true), "{page}");
}

/// Every change that counts against a figure is named once, however small the pages.
fn pages_of_misses(server: &Server, answer: &Value) {
    let figure =
        answer["kpis"].as_array().unwrap().iter().find(|figure| figure["kpi"] == "evidence_completeness").unwrap();
    let missed = figure["denominator"].as_u64().unwrap() - figure["numerator"].as_u64().unwrap();
    let (mut named, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("/v1/tenants/acme/kpis/evidence_completeness?last=1d&limit=3{after}"));
        let rows = page["kpi"]["missed"].as_array().unwrap();
        assert!(rows.len() <= 3);
        named.extend(rows.iter().map(|row| row["change"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(named.len() as u64, missed);
    both_sides(server, figure, missed);
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len());
    let first = &server.json("/v1/tenants/acme/kpis/evidence_completeness?last=1d")["kpi"]["missed"][0];
    assert_eq!(server.get(first["href"].as_str().unwrap()).0, 200);
}

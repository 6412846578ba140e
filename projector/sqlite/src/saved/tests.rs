//! Each saved question over a history whose answer is known.

use ledger::entry::{EventHeader, Header, Road};
use ledger::hash::Hash;
use ledger::layout::Details;
use ledger::read::RejectedRow;
use projector::document::Entry;
use rusqlite::types::{Value as Cell, ValueRef};
use schemas::admit::Scratch;
use schemas::ids::Producer;
use schemas::reason::Reason;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::ask::{AnswerLimits, AsOf, Sink, ask};
use crate::{ChangeRows, ChunkLimits, Row, Told, Views};

const HOUR: u64 = 3_600_000;
/// 2026-01-01T00:00:00Z.
const BORN: u64 = 1_767_225_600_000;
/// When the questions are asked.
const NOW: u64 = BORN + 10 * 24 * HOUR;

/// A log made of what is to be found in it.
#[derive(Default)]
struct History {
    headers: Vec<Header>,
    payloads: Vec<Vec<u8>>,
    seqs: BTreeMap<String, u64>,
}

impl History {
    /// An event of a change, so many hours after the birth of the log.
    fn event(&mut self, change: &str, hours: u64, phase: &str, sections: &Value) -> &mut Self {
        let at = BORN + hours * HOUR;
        let timestamp = format!("2026-01-{:02}T{:02}:00:00Z", 1 + hours / 24, hours % 24);
        let mut body = json!({"id": format!("{change}-{}", self.headers.len()), "change_id": change, "phase": phase,
            "timestamp": timestamp, "environment": "prod",
            "intent": {"source": "api", "initiator": "ann", "tenant": "acme"}, "governance": {"owner": "payments"}});
        for (name, section) in sections.as_object().unwrap() {
            body[name] = section.clone();
        }
        let payload = json!({ "provisioning_event": body }).to_string().into_bytes();
        let (_, _, _, facts) = schemas::admit::derive(&payload, &mut Scratch::default()).unwrap();
        let seq = self.seqs.entry(change.to_owned()).or_default();
        let header = EventHeader {
            change: facts.change,
            seq: *seq,
            prev: None,
            id: facts.id,
            phase: facts.phase,
            env: facts.environment,
            class: facts.class,
            probe: facts.probe,
            producer: Producer::parse(if phase == "preflight" { "approvals" } else { "ci" }).ok(),
            has: facts.has,
            outcome: facts.outcome,
            ts: facts.ts,
            at,
            road: Road { epoch: 0, sequence: 1 },
            commit: Hash([0; 32]),
            size: payload.len() as u64,
            masked: 0,
            rules: Hash([0; 32]),
        };
        *seq += 1;
        self.headers.push(Header::Event(header));
        self.payloads.push(payload);
        self
    }

    fn plan(&mut self, change: &str, hours: u64, more: &Value) -> &mut Self {
        self.event(
            change,
            hours,
            "plan",
            &with(json!({"plan": {"commands": ["a"]}, "rollback": {"plan": ["undo"]}}), more),
        )
    }

    fn approve(&mut self, change: &str, hours: u64, who: &str) -> &mut Self {
        let preflight = json!({"checks": [{"ok": true}], "approvals": [{"approver": who, "role": "cab", "decision": "approved", "at": "2026-01-01T00:00:00Z"}]});
        self.event(change, hours, "preflight", &json!({ "preflight": preflight }))
    }

    fn execute(&mut self, change: &str, hours: u64, rc: i64) -> &mut Self {
        self.event(
            change,
            hours,
            "execute",
            &json!({"execution": {"executor": "eve", "steps": [{"cmd": "a", "rc": rc, "stdout": "done"}]}}),
        )
    }

    fn verify(&mut self, change: &str, hours: u64) -> &mut Self {
        self.event(
            change,
            hours,
            "verify",
            &json!({"verification": {"checks": [{"ok": true}], "drift": {"monitored": true}}}),
        )
    }

    /// By the book: nothing is to be found.
    fn good(&mut self, change: &str, hours: u64) -> &mut Self {
        self.plan(change, hours, &json!({}))
            .approve(change, hours, "bob")
            .execute(change, hours, 0)
            .verify(change, hours)
    }

    fn views(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        let mut views = Views::open(&dir.path().join("v.db")).unwrap();
        let rows: Vec<Row<'_>> = (0..self.headers.len())
            .map(|index| Row::stored(index as u64, &self.headers[index], &self.payloads[index]))
            .collect();
        views.project(&rows).unwrap();
        let pending = views.pending_detail(&ChunkLimits { entries: 1_000, events: 1_000, bytes: u64::MAX }).unwrap();
        let entry = |index: u64| {
            let place = usize::try_from(index).unwrap();
            let Header::Event(header) = &self.headers[place] else { panic!("only events here") };
            Entry { index, header, payload: Some(&self.payloads[place]) }
        };
        let details: Vec<_> = pending
            .changes
            .iter()
            .map(|touched| {
                let entries: Vec<_> = touched.events.iter().map(|(index, _)| entry(*index)).collect();
                let told = projector::detail::detail(&touched.change, &entries, &projector::approval::Rules::default());
                ChangeRows::of(told).unwrap()
            })
            .collect();
        let details_of = |path: &str| Details {
            subject: "upm.events.acme.plan".into(),
            path: path.into(),
            found: "7".into(),
            expected: "a text".into(),
        };
        let rejected = RejectedRow {
            index: 3,
            at_ms: BORN,
            road: Road { epoch: 0, sequence: 4 },
            reason: Reason::WrongType,
            size: 10,
            masked: 0,
            details: details_of("/provisioning_event/id"),
        };
        views
            .project_detail(
                &pending,
                &Told {
                    details: &details,
                    rejections: &[rejected],
                    assessors: &BTreeMap::new(),
                    first_ms: BORN,
                    at_ms: NOW,
                },
            )
            .unwrap();
        dir
    }
}

fn with(mut sections: Value, more: &Value) -> Value {
    for (name, section) in more.as_object().unwrap() {
        sections[name] = section.clone();
    }
    sections
}

/// The first column of an answer, and the whole of it.
#[derive(Default)]
struct Found(Vec<String>, Vec<Vec<Cell>>);

impl Sink for Found {
    type Error = ();

    fn columns(&mut self, _: &[&str], _: AsOf) -> Result<(), ()> {
        Ok(())
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), ()> {
        self.0.push(match values[0] {
            ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
            other => format!("{other:?}"),
        });
        self.1.push(values.iter().map(|value| (*value).try_into().unwrap()).collect());
        Ok(())
    }
}

fn found(dir: &TempDir, name: &str, params: &[(&str, i64)]) -> Found {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), Param::Integer(*value))).collect();
    let question = question(&format!("@{name}"), params, i64::try_from(NOW).unwrap()).unwrap();
    let mut found = Found::default();
    ask(&dir.path().join("v.db"), &question, AnswerLimits { rows: 100, bytes: 1 << 20 }, || true, &mut found)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    found
}

/// One change for each thing that can be found, and one by the book, early and late.
fn history() -> History {
    let mut log = History::default();
    let emergency = json!({"change_class": "emergency"});
    log.good("good", 0)
        .plan("unapproved", 1, &json!({}))
        .execute("unapproved", 1, 0)
        .verify("unapproved", 2)
        .plan("approved-late", 3, &json!({}))
        .execute("approved-late", 3, 0)
        .approve("approved-late", 4, "bob")
        .verify("approved-late", 4)
        .plan("emergency-in-time", 5, &emergency)
        .execute("emergency-in-time", 5, 0)
        .verify("emergency-in-time", 5)
        .approve("emergency-in-time", 5 + 71, "bob")
        .plan("emergency-never", 80, &emergency)
        .execute("emergency-never", 80, 0)
        .verify("emergency-never", 80)
        .plan("self-approved", 81, &json!({}))
        .approve("self-approved", 81, "ann")
        .execute("self-approved", 81, 0)
        .verify("self-approved", 81)
        .plan("failed", 82, &json!({}))
        .approve("failed", 82, "bob")
        .execute("failed", 82, 3)
        .plan("undone", 83, &json!({}))
        .approve("undone", 83, "bob")
        .execute("undone", 83, 3)
        .event("undone", 83, "execute", &json!({"rollback": {"executed": {"outcome": "passed", "steps": [{"rc": 0}]}}}))
        .verify("undone", 83);
    let window =
        json!({"plan": {"commands": ["a"], "window": {"from": "2026-01-05T00:00:00Z", "to": "2026-01-05T02:00:00Z"}}});
    // 2026-01-05 is 96 hours after the birth of the log.
    for (change, hours) in [("in-window", 97), ("too-early", 95), ("too-late", 99)] {
        log.plan(change, hours, &window).approve(change, hours, "bob").execute(change, hours, 0).verify(change, hours);
    }
    let vague = json!({"plan": {"commands": ["a"], "window": {"from": "monday", "to": "friday"}}});
    log.plan("vague-window", 100, &vague)
        .approve("vague-window", 100, "bob")
        .execute("vague-window", 100, 0)
        .verify("vague-window", 100);
    let another = json!({"plan": {"commands": ["b"]}});
    log.plan("changed", 101, &json!({}))
        .approve("changed", 101, "bob")
        .plan("changed", 102, &another)
        .execute("changed", 102, 0)
        .verify("changed", 102)
        .plan("approved-again", 103, &json!({}))
        .approve("approved-again", 103, "bob")
        .plan("approved-again", 104, &another)
        .approve("approved-again", 104, "bob")
        .execute("approved-again", 104, 0)
        .verify("approved-again", 104)
        .plan(
            "unverified",
            105,
            &json!({"target": {"resources": [{"type": "vm", "name": "lonely", "action": "create"}]}}),
        )
        .approve("unverified", 105, "bob")
        .execute("unverified", 105, 0)
        .plan("open", 106, &json!({"intent": {"source": "api", "initiator": "zoe", "tenant": "acme"}}))
        .event("probe", 107, "execute", &json!({"probe": true, "execution": {"steps": [{"rc": 0}]}}))
        .plan(
            "watched",
            108,
            &json!({"target": {"resources": [{"type": "vm", "name": "watched", "action": "create"}]}}),
        )
        .approve("watched", 108, "bob")
        .execute("watched", 108, 0)
        .verify("watched", 108)
        .plan("fresh", 239, &json!({}))
        .approve("fresh", 239, "bob")
        .execute("fresh", 239, 0);
    log
}

#[test]
fn each_finds_what_is_there_and_nothing_else() {
    let dir = history().views();
    let check = |name: &str, params: &[(&str, i64)], expect: &[&str]| {
        assert_eq!(found(&dir, name, params).0, expect, "@{name} {params:?}");
    };
    let unapproved = ["emergency-never", "changed", "self-approved", "approved-late", "unapproved"];
    check("changes-without-approval", &[], &unapproved);
    check("changes-without-approval", &[("days", 7)], &unapproved[..2]);
    check("self-approved", &[], &["self-approved"]);
    check("failed-not-rolled-back", &[], &["failed"]);
    check("executed-outside-window", &[], &["too-late", "too-early"]);
    check("plan-changed-after-approval", &[], &["changed"]);
    check("unverified-after-a-day", &[], &["unverified", "failed"]);
    check("by-initiator", &[], &["ann", "zoe"]);
    check("emergency-changes", &[], &["emergency-never", "emergency-in-time"]);
    check("rejected-events", &[], &["Integer(3)"]);
    check("longest-open", &[("top", 3)], &["failed", "unverified", "open"]);
    let incomplete =
        ["unverified", "changed", "failed", "self-approved", "emergency-never", "approved-late", "unapproved"];
    check("evidence-incomplete", &[], &incomplete);
    check("evidence-incomplete", &[("days", 5)], &incomplete[..2]);
}

#[test]
fn what_they_say_beside_it() {
    let dir = history().views();
    let text = |cell: &Cell| match cell {
        Cell::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let late = found(&dir, "executed-outside-window", &[]);
    assert_eq!(
        late.1.iter().map(|row| text(&row[2])).collect::<Vec<_>>(),
        ["after", "before"].map(|side| format!(
            "Executed {side} the window of its plan, “2026-01-05T00:00:00Z” to “2026-01-05T02:00:00Z”."
        ))
    );
    let changed = found(&dir, "plan-changed-after-approval", &[]);
    assert_eq!(text(&changed.1[0][10]), "plan_changed,no_plan_digest,no_signature");
    let emergencies = found(&dir, "emergency-changes", &[]);
    assert_eq!(emergencies.1.iter().map(|row| text(row.last().unwrap())).collect::<Vec<_>>(), ["never", "in time"]);
    let lacks = found(&dir, "evidence-incomplete", &[]);
    assert_eq!(text(&lacks.1[2][7]), "verification");
    assert_eq!(text(&lacks.1[3][7]), "approvals");
    let unapproved = found(&dir, "changes-without-approval", &[]);
    let said = |row: &[Cell]| (text(&row[9]), text(&row[11]));
    assert_eq!(
        said(&unapproved.1[2]),
        (
            "0 of 1 approval that count (recorded or better)".to_owned(),
            "ann (claimed, by_initiator,no_plan_digest,no_signature)".to_owned()
        )
    );
    let lonely = found(&dir, "unmonitored-resources", &[]);
    assert_eq!((lonely.1.len(), text(&lonely.1[0][3])), (1, "lonely".to_owned()));
    let who = found(&dir, "by-initiator", &[]);
    // 17 changes that ann asked for, and one that calls itself a probe: two emergencies, one failed, one rolled back.
    assert_eq!(who.1[0][1..3], [Cell::Integer(17), Cell::Integer(2)]);
    assert_eq!(who.1[0][4..6], [Cell::Integer(1), Cell::Integer(1)]);
}

/// An attempt that only claims to go on, however high its number, hides nothing of those before it.
#[test]
fn every_attempt_is_looked_at() {
    let second = |number: u64| json!({ "attempt": number });
    let run = |number: u64| json!({"attempt": number, "execution": {"executor": "eve", "steps": [{"rc": 0, "stdout": "done"}]}});
    let look = |number: u64| json!({"attempt": number, "verification": {"checks": [{"ok": true}]}});
    let mut log = History::default();
    for (hours, change) in (0..).zip(["hidden", "planned", "mended", "sneaked"]) {
        log.plan(change, hours, &json!({})).approve(change, hours, "bob").execute(change, hours, 1);
    }
    log.event("hidden", 5, "audit", &second(9_007_199_254_740_992))
        .plan("planned", 5, &second(2))
        .event("mended", 5, "execute", &run(2))
        .event("mended", 5, "verify", &look(2))
        .event("sneaked", 5, "execute", &run(2))
        .event("sneaked", 5, "verify", &look(2))
        .event("sneaked", 6, "execute", &run(2))
        .good("twice", 7)
        .event("twice", 8, "execute", &run(2))
        .event("twice", 8, "verify", &look(2));
    let dir = log.views();
    assert_eq!(found(&dir, "failed-not-rolled-back", &[]).0, ["sneaked", "planned", "hidden"]);
    let unapproved = found(&dir, "changes-without-approval", &[]);
    assert_eq!(unapproved.0, ["twice", "sneaked", "mended"]);
    assert!(unapproved.1.iter().all(|row| row[1] == Cell::Integer(2)), "{:?}", unapproved.1);
}

/// A change that calls itself a probe is in no list, and the table of changes says that it does; one event that does not makes it a change like others.
#[test]
fn probes_are_left_out_and_told() {
    let mut log = History::default();
    let steps = json!([{"cmd": "drop", "rc": 1}]);
    let window =
        json!({"commands": ["drop"], "window": {"from": "2026-01-05T00:00:00Z", "to": "2026-01-05T02:00:00Z"}});
    let approvals = json!([{"approver": "ann", "role": "cab", "decision": "approved", "at": "2026-01-01T00:00:00Z"}]);
    for (change, last) in [("probe", true), ("half", false)] {
        for (phase, sections) in [
            ("plan", json!({"plan": window, "change_class": "emergency"})),
            ("preflight", json!({"preflight": {"approvals": approvals}})),
            ("plan", json!({"plan": {"commands": ["another"], "window": window["window"]}})),
            ("execute", json!({"execution": {"executor": "eve", "steps": steps}})),
        ] {
            log.event(change, 0, phase, &with(sections, &json!({"probe": true})));
        }
        log.event(
            change,
            1,
            "plan",
            &json!({"probe": last, "attempt": 2, "intent": {"source": "api", "initiator": change, "tenant": "acme"}}),
        );
    }
    let dir = log.views();
    for saved in SAVED {
        let told = found(&dir, saved.name, &[]);
        let of = |change: &str| told.0.iter().any(|found| found == change);
        assert!(!of("probe"), "@{}: {:?}", saved.name, told.0);
        let all = ["unmonitored-resources", "rejected-events", "by-initiator"];
        assert!(of("half") || all.contains(&saved.name), "@{}: {:?}", saved.name, told.0);
    }
    assert_eq!(found(&dir, "by-initiator", &[]).0, ["ann"]);
    let question = Question { sql: "SELECT change FROM changes WHERE probe".to_owned(), params: BTreeMap::new() };
    let mut probes = Found::default();
    ask(&dir.path().join("v.db"), &question, AnswerLimits { rows: 9, bytes: 1 << 20 }, || true, &mut probes).unwrap();
    assert_eq!(probes.0, ["probe"]);
}

#[test]
fn an_empty_log_has_no_findings() {
    let dir = History::default().event("only", 0, "plan", &json!({})).views();
    for saved in SAVED {
        let found = found(&dir, saved.name, &[]);
        let expect = usize::from(["by-initiator", "longest-open", "rejected-events"].contains(&saved.name));
        assert_eq!(found.1.len(), expect, "{}", saved.name);
    }
}

#[test]
fn each_says_what_it_answers() {
    for saved in SAVED {
        assert!(saved.about().len() > 20 && saved.about().ends_with('.'), "{}", saved.name);
        let given: Vec<_> = saved.parameters().map(|parameter| parameter.name).collect();
        for name in saved
            .sql
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .filter_map(|word| word.strip_prefix(':'))
        {
            assert!(name == "now" || given.contains(&name), "{}: :{name} has no value", saved.name);
        }
        assert_eq!(Saved::find(saved.name), Some(&saved));
    }
    assert_eq!(question("@nonsense", BTreeMap::new(), 0).unwrap_err(), SavedError::Unknown("nonsense".to_owned()));
    let asked = question(" @longest-open ", [("top".to_owned(), Param::Integer(3))].into(), 5).unwrap();
    assert_eq!((&asked.params["top"], &asked.params["now"]), (&Param::Integer(3), &Param::Integer(5)));
    assert_eq!(question("SELECT 1", BTreeMap::new(), 5).unwrap().sql, "SELECT 1");
}

/// Nobody is answered of another window than the one that was meant.
#[test]
fn parameters_are_those_that_there_are() {
    let asked = |name: &str, params: &[(&str, Param)]| {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        match question(name, params, 5) {
            Ok(question) => Ok(question.params.len()),
            Err(SavedError::Parameter(text)) => Err(text),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(asked("@self-approved", &[("days", Param::Integer(30))]), Ok(2));
    assert_eq!(asked("@self-approved", &[("now", Param::Integer(0))]), Ok(2));
    assert_eq!(asked("SELECT :day", &[("day", Param::Null), ("more", Param::Null)]), Ok(3));
    for (name, params, told) in [
        ("@self-approved", ("day", Param::Integer(30)), "@self-approved has no parameter :day: there is :days"),
        ("@longest-open", ("days", Param::Integer(30)), "@longest-open has no parameter :days: there is :top"),
        (
            "@self-approved",
            ("days", Param::Integer(-5)),
            ":days of @self-approved: found -5, expected a whole number from 1 to 1000000",
        ),
        ("@self-approved", ("days", Param::Integer(0)), "found 0, expected"),
        ("@self-approved", ("days", Param::Text("x".to_owned())), "found \"x\", expected"),
        ("@self-approved", ("days", Param::Real(1.5)), "found 1.5, expected"),
        ("@longest-open", ("top", Param::Null), "found null, expected"),
        ("@longest-open", ("now", Param::Integer(-1)), "a whole number from 0 to"),
    ] {
        let found = asked(name, &[params]).unwrap_err();
        assert!(found.contains(told), "{found}");
    }
}

//! One truth: what SQL answers is what gate, KPIs and `change.json` say of the same entries, for made-up histories.
//!
//! The generator is `benches/src/history`, the same that feeds benchmarks; random small logs add what its stories do not do.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic, in its helpers too")]

#[path = "../../../benches/src/history/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "made for the harness, which uses all of it")]
mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use history::{History, Options};
use ledger::entry::{EventHeader, Gap, Header, Road};
use ledger::hash::Hash;
use projector::anomaly::Code;
use projector::approval::{Grade, Rules};
use projector::detail::detail;
use projector::document::{ChangeDocument, Context, Entry, document};
use projector::kpi::scratch;
use projector::kpi::{DAY_MS, Day, Window, metric};
use projector::maturity;
use projector_sqlite::ask::{AnswerLimits, AsOf, Param, Sink, ValueRef, ask};
use projector_sqlite::kpi::{Counted, Side};
use projector_sqlite::{ChangeRows, ChunkLimits, Filter, Row, Told, Views, saved};
use proptest::prelude::*;
use schemas::admit::Scratch as Admission;
use schemas::ids::{ChangeId, Producer};
use serde_json::{Value, json};
use tempfile::TempDir;

const FIRST_DAY: u64 = 20_400;
const HOUR_MS: u64 = 3_600_000;

/// A log, and views of it.
struct Log {
    entries: Vec<(Header, Vec<u8>)>,
    seqs: BTreeMap<String, u64>,
    assessors: BTreeMap<String, String>,
}

impl Log {
    fn new() -> Self {
        Self { entries: Vec::new(), seqs: BTreeMap::new(), assessors: BTreeMap::new() }
    }

    fn event(&mut self, at_ms: u64, producer: &str, payload: &str) {
        let (_, _, _, facts) = schemas::admit::derive(payload.as_bytes(), &mut Admission::default()).unwrap();
        let seq = self.seqs.entry(facts.change.to_string()).or_default();
        let header = EventHeader {
            change: facts.change,
            seq: *seq,
            prev: None,
            id: facts.id,
            phase: facts.phase,
            env: facts.environment,
            class: facts.class,
            probe: facts.probe,
            producer: Producer::parse(producer).ok(),
            has: facts.has,
            outcome: facts.outcome,
            ts: facts.ts,
            at: at_ms,
            road: Road { epoch: 0, sequence: 1 },
            commit: Hash([0; 32]),
            size: payload.len() as u64,
            masked: 0,
            rules: Hash([0; 32]),
        };
        *seq += 1;
        self.entries.push((Header::Event(header), payload.as_bytes().to_vec()));
    }

    /// Time passes, and nothing else happens.
    fn silence(&mut self, at_ms: u64) {
        self.entries.push((Header::Gap(Gap { at: at_ms, from: 1, to: 2 }), Vec::new()));
    }

    /// The same, as far as its first entries go.
    fn first(&self, size: usize) -> Self {
        Self { entries: self.entries[..size].to_vec(), ..Self::new() }
    }

    fn time(&self) -> u64 {
        self.entries.last().and_then(|(header, _)| header.at()).unwrap_or(0)
    }

    fn by_change(&self) -> BTreeMap<&ChangeId, Vec<Entry<'_>>> {
        let mut found: BTreeMap<&ChangeId, Vec<Entry<'_>>> = BTreeMap::new();
        for (index, (header, payload)) in self.entries.iter().enumerate() {
            if let Header::Event(header) = header {
                let entry = Entry { index: index as u64, header, payload: Some(payload) };
                found.entry(&header.change).or_default().push(entry);
            }
        }
        found
    }

    /// `change.json` of every change at the log's time.
    fn documents(&self) -> Vec<ChangeDocument> {
        let context = Context { rules: Rules::default(), as_of_ms: self.time() };
        self.by_change().into_iter().map(|(change, entries)| document(change, &entries, &context)).collect()
    }

    /// Its first `size` entries in views that know more already, in chunks of so many.
    fn project(&self, views: &mut Views, size: usize, chunk: u64) {
        let from = usize::try_from(views.core_cursor().unwrap()).unwrap();
        let rows: Vec<Row<'_>> = (from..size)
            .map(|index| Row::stored(index as u64, &self.entries[index].0, &self.entries[index].1))
            .collect();
        views.project(&rows).unwrap();
        let limits = ChunkLimits { entries: chunk, events: 1_000_000, bytes: u64::MAX };
        loop {
            let pending = views.pending_detail(&limits).unwrap();
            if pending.from == pending.to {
                return;
            }
            let details: Vec<ChangeRows> =
                pending.changes.iter().map(|touched| self.tell(&touched.change, &touched.events)).collect();
            let at = |index: u64| self.entries[usize::try_from(index).unwrap()].0.at().unwrap();
            let told = Told {
                details: &details,
                rejections: &[],
                assessors: &self.assessors,
                first_ms: at(pending.from),
                at_ms: at(pending.to - 1),
            };
            views.project_detail(&pending, &told).unwrap();
        }
    }

    fn tell(&self, change: &ChangeId, events: &[(u64, u64)]) -> ChangeRows {
        let entry = |(index, _): &(u64, u64)| {
            let (header, payload) = &self.entries[usize::try_from(*index).unwrap()];
            let Header::Event(header) = header else { panic!("{index} is no event") };
            Entry { index: *index, header, payload: Some(payload) }
        };
        ChangeRows::of(detail(change, &events.iter().map(entry).collect::<Vec<_>>(), &Rules::default())).unwrap()
    }
}

fn made_up(seed: u64, changes: u64) -> Log {
    let options = Options {
        seed,
        tenant: "acme".to_owned(),
        changes,
        from_ms: FIRST_DAY * DAY_MS,
        days: 40,
        played_at_ms: None,
        anomalies: false,
        sign: None,
    };
    let mut log = Log::new();
    for told in History::new(options).filter(|told| !told.duplicate) {
        log.event(told.at_ms, told.producer, &told.payload);
    }
    log
}

fn views() -> (TempDir, PathBuf, Views) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("v.db");
    let views = Views::open(&path).unwrap();
    (dir, path, views)
}

#[derive(Default)]
struct Rows(Vec<Vec<Value>>);

impl Sink for Rows {
    type Error = Infallible;

    fn columns(&mut self, _: &[&str], _: AsOf) -> Result<(), Infallible> {
        Ok(())
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), Infallible> {
        let value = |value: &ValueRef<'_>| match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => (*number).into(),
            ValueRef::Real(number) => (*number).into(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
            ValueRef::Blob(_) => panic!("no table has bytes"),
        };
        self.0.push(values.iter().map(value).collect());
        Ok(())
    }
}

fn asked(path: &Path, sql: &str, now_ms: u64) -> Vec<Vec<Value>> {
    let params = [("days".to_owned(), Param::Integer(30))].into();
    let mut question = saved::question(sql, params, i64::try_from(now_ms).unwrap()).unwrap();
    if !sql.starts_with('@') {
        question.params.clear();
    }
    let mut rows = Rows::default();
    ask(path, &question, AnswerLimits { rows: 100_000, bytes: 1 << 28 }, || true, &mut rows)
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.0
}

/// Every page of the changes behind a figure.
fn behind(views: &Views, kpi: &str, window: Window, side: Side) -> Vec<Counted> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = views.kpi_changes(kpi, window, &scratch::Filter::default(), side, after, 7).unwrap();
        all.extend(page);
        match next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// The window that saved questions ask about with 30 days.
fn window(now_ms: u64) -> Window {
    let today = Day::of(now_ms).0;
    Window { from: Day(today - 29), to: Day(today + 1) }
}

fn texts(rows: &[Vec<Value>], column: usize) -> Vec<String> {
    rows.iter().map(|row| row[column].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn saved_questions_are_the_kpis_lists() {
    for seed in 0..6 {
        let log = made_up(seed, 300);
        let (_dir, path, mut views) = views();
        log.project(&mut views, log.entries.len(), 97);
        let now = log.time();
        let against = |kpi: &str| behind(&views, kpi, window(now), Side::Against);
        let names = |counted: &[Counted]| counted.iter().map(|one| one.change.to_string()).collect::<Vec<_>>();

        let unapproved = against(metric::APPROVAL_COVERAGE);
        assert!(!unapproved.is_empty(), "seed {seed} proves nothing");
        let rows = asked(&path, "@changes-without-approval", now);
        assert_eq!(texts(&rows, 0), names(&unapproved), "seed {seed}");
        assert!(rows.iter().all(|row| row[9].as_str().is_some_and(|missing| !missing.is_empty())), "{rows:?}");

        let incomplete = against(metric::EVIDENCE);
        assert!(!incomplete.is_empty(), "seed {seed} proves nothing");
        let rows = asked(&path, "@evidence-incomplete", now);
        assert_eq!(texts(&rows, 0), names(&incomplete), "seed {seed}");
        assert!(rows.iter().all(|row| row[7].as_str().is_some_and(|lacks| !lacks.is_empty())), "{rows:?}");

        let alone: BTreeSet<_> = against(metric::DRIFT_COVERAGE).into_iter().filter_map(|one| one.resource).collect();
        assert!(!alone.is_empty(), "seed {seed} proves nothing");
        let rows = asked(&path, "@unmonitored-resources", now);
        assert_eq!(
            (rows.len(), texts(&rows, 10).into_iter().collect::<BTreeSet<_>>()),
            (alone.len(), alone),
            "seed {seed}"
        );

        let unverified: Vec<_> = log
            .documents()
            .iter()
            .flat_map(|document| {
                document.anomalies.iter().map(|anomaly| (anomaly.index, anomaly.code, document.change.to_string()))
            })
            .filter(|(_, code, _)| *code == Code::VerificationMissing)
            .collect();
        let recent = |row: &&(u64, Code, String)| {
            let first = log.by_change()[&ChangeId::parse(&row.2).unwrap()][0].header.at;
            first + 30 * DAY_MS >= now
        };
        let expect: BTreeSet<_> = unverified.iter().filter(recent).map(|(index, ..)| *index).collect();
        let rows = asked(&path, "@unverified-after-a-day", now);
        assert_eq!(rows.iter().map(|row| row[10].as_u64().unwrap()).collect::<BTreeSet<_>>(), expect, "seed {seed}");
    }
}

#[test]
fn figures_are_the_sums_of_the_changes_behind_them() {
    let log = made_up(11, 400);
    let (_dir, path, mut views) = views();
    log.project(&mut views, log.entries.len(), 131);
    let window = window(log.time());
    let sums = views.kpis(window, &scratch::Filter::default()).unwrap();
    for kpi in metric::KPIS {
        let sides = [Side::Against, Side::For, Side::All].map(|side| behind(&views, kpi, window, side));
        let key = |one: &Counted| (one.day, one.first_index, one.resource.clone());
        let [against, others, all] = &sides;
        assert_eq!(against.len() + others.len(), all.len(), "{kpi}");
        assert!(against.iter().all(|one| one.against) && others.iter().all(|one| !one.against), "{kpi}");
        let together: BTreeSet<_> = against.iter().chain(others).map(key).collect();
        assert_eq!(together, all.iter().map(key).collect(), "{kpi}");
        let den: u64 = all.iter().map(|one| one.total[1]).sum();
        let num: u64 = all.iter().map(|one| one.total[0]).sum();
        let expect = if kpi == metric::DRIFT_COVERAGE {
            [sums.drift.covered, sums.drift.managed]
        } else {
            let totals = metric::parts_of(kpi).into_iter().filter_map(|part| sums.totals.get(part));
            totals.fold([0, 0], |[num, den], total| [num + total.num, den + total.den])
        };
        assert_eq!([num, den], expect, "{kpi}");
        assert!(den > 0, "{kpi} is not measured, which proves nothing");
    }
    let both = "SELECT (SELECT group_concat(kpi || day || n || d) FROM (SELECT kpi, day, sum(numerator) AS n, sum(denominator) AS d FROM kpi_daily \
                WHERE kpi IN (SELECT kpi FROM kpi_changes) GROUP BY kpi, day ORDER BY kpi, day)) AS daily, \
                (SELECT group_concat(kpi || day || n || d) FROM (SELECT kpi, day, sum(numerator) AS n, sum(denominator) AS d FROM kpi_changes \
                GROUP BY kpi, day ORDER BY kpi, day)) AS changes";
    let rows = asked(&path, both, 0);
    assert!(rows[0][0].as_str().is_some_and(|text| text.len() > 1_000));
    assert_eq!(rows[0][0], rows[0][1]);
}

/// Anomalies, approvals and attempts in the tables and in `change.json`, at the log's time.
fn check(log: &Log, path: &Path, views: &Views) {
    let documents = log.documents();
    let mut expect = BTreeSet::new();
    for document in &documents {
        for anomaly in &document.anomalies {
            let (code, text) = (anomaly.code.as_str(), anomaly.text.as_str());
            expect.insert(json!([document.change, anomaly.index, anomaly.attempt, code, text]).to_string());
        }
    }
    let rows = asked(path, "SELECT change, entry, attempt, code, text FROM anomalies", 0);
    let found: Vec<_> = rows.into_iter().map(|row| Value::from(row).to_string()).collect();
    assert_eq!(found.len(), expect.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expect);

    for code in [Code::VerificationMissing, Code::FailedNotRolledBack, Code::RollbackUnverified, Code::ApprovalExpired]
    {
        let with = documents.iter().filter(|document| document.anomalies.iter().any(|anomaly| anomaly.code == code));
        let filter = Filter { anomaly: Some(code), ..Filter::default() };
        let page = views.changes(&filter, None, 10_000).unwrap();
        let listed: BTreeSet<_> = page.rows.iter().map(|row| row.change.to_string()).collect();
        assert_eq!(listed, with.map(|document| document.change.to_string()).collect(), "{code:?}");
    }

    let mut expect = BTreeSet::new();
    for given in documents.iter().flat_map(|document| &document.approvals) {
        let lacks: Vec<_> = given.lacks.iter().map(|lack| lack.as_str()).collect();
        expect.insert(
            json!([given.index, given.approver, given.grade.as_str(), u8::from(given.counts), sorted(&lacks)])
                .to_string(),
        );
    }
    let rows = asked(path, "SELECT entry, approver, grade, counts, lacks FROM approvals", 0);
    let found: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            let lacks: Vec<_> = row[4].as_str().into_iter().flat_map(|words| words.split(',')).collect();
            json!([row[0], row[1], row[2], row[3], sorted(&lacks)]).to_string()
        })
        .collect();
    assert_eq!(found, expect);

    let attempts =
        documents.iter().flat_map(|document| document.attempts.iter().map(|attempt| (&document.change, attempt)));
    let expect: BTreeSet<_> = attempts
        .map(|(change, attempt)| {
            let coverage = &attempt.approval;
            let approved = coverage.executed.map(|_| u8::from(coverage.approved));
            let grade = coverage.executed.and(coverage.grade).map(Grade::as_str);
            json!([
                change,
                attempt.attempt,
                attempt.state.as_str(),
                coverage.executed,
                u8::from(coverage.needed),
                approved,
                grade
            ])
            .to_string()
        })
        .collect();
    let columns = "change, attempt, state, executed_entry, needs_approval, approved, approval_grade";
    let rows = asked(path, &format!("SELECT {columns} FROM attempts"), 0);
    assert_eq!(rows.into_iter().map(|row| Value::from(row).to_string()).collect::<BTreeSet<_>>(), expect);
}

fn sorted(words: &[&str]) -> String {
    let mut words = words.to_vec();
    words.sort_unstable();
    words.join(",")
}

#[test]
fn what_comes_by_time_is_in_the_tables_when_its_time_has_come() {
    for seed in 20..23 {
        let mut log = made_up(seed, 60);
        let end = log.time();
        for hours in [1, 20, 25, 48] {
            log.silence(end + hours * HOUR_MS);
        }
        let (_dir, path, mut views) = views();
        let whole = log.entries.len();
        // As it goes on, and through the silence behind it.
        for size in [whole / 3, whole / 2, whole - 4, whole - 3, whole - 2, whole - 1, whole] {
            log.project(&mut views, size, 23);
            check(&log.first(size), &path, &views);
        }
    }
}

/// Days as the table has them.
fn table(path: &Path) -> Vec<Vec<Value>> {
    asked(
        path,
        "SELECT day, level, level_with_attestations, cap, plan, preflight, execute, verify, audit, plan_with_attestations, \
         preflight_with_attestations, execute_with_attestations, verify_with_attestations, audit_with_attestations \
         FROM maturity_daily WHERE NOT stale ORDER BY day",
        0,
    )
}

/// The same, made from the figures of each day.
fn levels(log: &Log, views: &Views) -> Vec<Vec<Value>> {
    let (first, now) = (log.entries[0].0.at().unwrap(), log.time());
    let row = |day: u32| {
        let window = Window { from: Day(day + 1 - maturity::WINDOW_DAYS), to: Day(day + 1) };
        let end = (u64::from(day) + 1) * DAY_MS - 1;
        let figures = views.maturity(window, &log.assessors, end.min(now)).unwrap().0;
        let levels = maturity::day_levels(&figures);
        let date = asked_date(day);
        let mut row = vec![date, levels.level.into(), levels.with_attestations.into(), json!(levels.cap)];
        row.extend(levels.phases.into_iter().chain(levels.phases_with_attestations).map(Value::from));
        row
    };
    (Day::of(first).0..=Day::of(now).0).map(row).collect()
}

/// 2025-11-08 and on.
fn asked_date(day: u32) -> Value {
    let after = u64::from(day) - FIRST_DAY;
    let (month, day) = match after {
        0..23 => (11, 8 + after),
        23..54 => (12, after - 22),
        _ => panic!("{after} days is more than this test needs"),
    };
    format!("2025-{month:02}-{day:02}").into()
}

#[test]
fn maturity_daily_is_the_history_however_it_is_settled() {
    for seed in 40..43 {
        let mut log = made_up(seed, 400);
        log.silence(log.time() + 3 * HOUR_MS);
        let (_dir, path, mut views) = views();
        for size in [log.entries.len() / 4, log.entries.len() / 2, log.entries.len()] {
            log.project(&mut views, size, 71);
            let known = log.first(size);
            let expect = levels(&known, &views);
            // A few days settled, the others made on the spot.
            views.settle_maturity(3).unwrap();
            let days =
                (0..expect.len()).map(|after| Day(u32::try_from(FIRST_DAY).unwrap() + u32::try_from(after).unwrap()));
            let told = views.maturity_daily(days).unwrap();
            let told: Vec<Value> = told.iter().map(|(_, levels)| levels.level.into()).collect();
            assert_eq!(told, expect.iter().map(|row| row[1].clone()).collect::<Vec<_>>(), "seed {seed}");
            let mut turns = 0;
            while views.settle_maturity(5).unwrap() {
                turns += 1;
            }
            assert!(turns <= expect.len() / 5, "{turns} turns for {} days", expect.len());
            assert_eq!(table(&path), expect, "seed {seed}");
        }
        let phases: BTreeSet<_> = table(&path).iter().map(|row| Value::from(row[4..9].to_vec()).to_string()).collect();
        assert!(phases.len() > 1, "seed {seed}: nothing moves, which proves nothing");
    }
}

/// What a random entry says.
fn said(choice: u8, k: u8) -> (&'static str, &'static str, Value) {
    let approval = |who: &str, more: Value| {
        let mut given = json!({"approver": who, "role": "cab", "decision": "approved", "at": "2025-11-08T00:00:00Z"});
        for (name, value) in more.as_object().unwrap() {
            given[name] = value.clone();
        }
        json!({"preflight": {"approvals": [given]}})
    };
    // The first day is 2025-11-08; ends lie within the days that a random log lasts, or say nothing.
    let expires = json!({"expires": format!("2025-11-{:02}T{:02}:00:00Z", 8 + k % 9, k % 24)});
    match choice {
        0 => ("ci", "plan", json!({"plan": {"commands": [format!("c{}", k % 3)]}})),
        1 => ("chat", "preflight", approval("bob", json!({}))),
        2 | 3 => ("chat", "preflight", approval(if k.is_multiple_of(2) { "bob" } else { "ann" }, expires)),
        4 => ("chat", "preflight", approval("bob", json!({"expires": "soon"}))),
        5 => ("ci", "execute", json!({"execution": {"executor": "eve", "steps": [{"rc": 0}]}})),
        6 => ("ci", "execute", json!({"execution": {"steps": [{"rc": 1}]}})),
        7 => ("ci", "verify", json!({"verification": {"checks": [{"ok": k.is_multiple_of(2)}]}})),
        8 => ("ci", "execute", json!({"rollback": {"executed": {"outcome": "done", "steps": [{"rc": 0}]}}})),
        9 => ("ci", "execute", json!({"attempt": 2, "execution": {"steps": [{"rc": 0}]}})),
        10 => ("ci", "plan", json!({"attempt": 2, "change_class": "emergency", "plan": {"commands": ["x"]}})),
        _ => ("ci", "audit", json!({"governance": {"closed": true}})),
    }
}

/// Of which change (7: nobody's, time alone passes), hours since the entry before, what it says.
type Step = (u8, u64, u8, u8);

fn random(steps: &[Step]) -> Log {
    let (mut log, mut at) = (Log::new(), FIRST_DAY * DAY_MS);
    for (number, (change, hours, choice, k)) in steps.iter().enumerate() {
        at += hours * HOUR_MS;
        if *change == 7 {
            log.silence(at);
            continue;
        }
        let (producer, phase, sections) = said(*choice, *k);
        let mut event = json!({"id": format!("e{number}"), "change_id": format!("c{change}"), "phase": phase,
            "timestamp": "2025-11-08T00:00:00Z", "intent": {"source": "api", "initiator": "ann", "tenant": "acme"}});
        for (name, section) in sections.as_object().unwrap() {
            event[name] = section.clone();
        }
        log.event(at, producer, &json!({ "provisioning_event": event }).to_string());
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn tables_are_the_documents_at_the_logs_time(
        steps in prop::collection::vec((0..8_u8, 0..20_u64, 0..12_u8, 0..40_u8), 1..40),
        cut in 0..40_usize,
        chunk in 1..20_u64,
    ) {
        let log = random(&steps);
        let (_dir, path, mut views) = views();
        let cut = cut % log.entries.len() + 1;
        log.project(&mut views, cut, chunk);
        check(&log.first(cut), &path, &views);
        log.project(&mut views, log.entries.len(), chunk);
        check(&log, &path, &views);
    }
}

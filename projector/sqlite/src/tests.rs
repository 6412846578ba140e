//! Views over a made-up log: idempotent, hole-free, the same however the log is cut into batches.

use std::path::PathBuf;

use ledger::entry::{EventHeader, Gap, Header, Road};
use ledger::hash::Hash;
use projector::fold::State;
use rusqlite::types::Value as Cell;
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase, Producer};
use serde_json::json;
use tempfile::TempDir;

use crate::query::SCANNED_MAX;
use crate::{Filter, PageKey, Reader, Row, SCHEMA_VERSION, ViewError, Views};

const BORN_MS: u64 = 1_760_000_000_000;

pub(crate) struct Log {
    headers: Vec<Header>,
    payloads: Vec<Vec<u8>>,
}

impl Log {
    /// Entries of `changes` changes in turns, five phases each, with an entry that is no event now and then.
    pub(crate) fn new(changes: usize) -> Self {
        let mut log = Self { headers: Vec::new(), payloads: Vec::new() };
        for phase in Phase::ALL {
            for change in 0..changes {
                if log.headers.len() % 7 == 3 {
                    log.push(Header::Gap(Gap { at: 0, from: 1, to: 2 }), Vec::new());
                }
                log.event(change, *phase);
            }
        }
        log
    }

    /// One more event of a change, which names a resource.
    pub(crate) fn named(&mut self, change: usize, name: &str) {
        self.event(change, Phase::Verify);
        let (Some(Header::Event(header)), Some(payload)) = (self.headers.last_mut(), self.payloads.last_mut()) else {
            panic!("an event");
        };
        let mut event: serde_json::Value = serde_json::from_slice(payload).unwrap();
        event["provisioning_event"]["target"] = json!({"resources": [{"type": "vm", "name": name}]});
        *payload = event.to_string().into_bytes();
        header.size = payload.len() as u64;
        header.seq = 5;
    }

    /// One more event of a change, whose steps refer to where their output lies.
    pub(crate) fn referring(&mut self, change: usize, references: &[(&str, &str)]) {
        self.named(change, "vm");
        let payload = self.payloads.last_mut().unwrap();
        let mut event: serde_json::Value = serde_json::from_slice(payload).unwrap();
        let step = |(stdout, stderr): &(&str, &str)| json!({"rc": 0, "stdout_ref": stdout, "stderr_ref": stderr});
        event["provisioning_event"]["execution"] = json!({"steps": references.iter().map(step).collect::<Vec<_>>()});
        *payload = event.to_string().into_bytes();
        let size = payload.len() as u64;
        if let Some(Header::Event(header)) = self.headers.last_mut() {
            header.size = size;
        }
    }

    fn push(&mut self, header: Header, payload: Vec<u8>) {
        self.headers.push(header);
        self.payloads.push(payload);
    }

    pub(crate) fn event(&mut self, change: usize, phase: Phase) {
        let sections = match phase {
            Phase::Plan => {
                json!({"plan": {"commands": ["a"]}, "governance": {"owner": format!("team-{}", change % 3)}})
            }
            Phase::Preflight => json!({"preflight": {"checks": [{"ok": !change.is_multiple_of(5)}]}}),
            Phase::Execute => json!({"execution": {"steps": [{"rc": i32::from(change.is_multiple_of(4))}]}}),
            Phase::Verify => json!({"verification": {"checks": [{"ok": true}]}}),
            Phase::Audit => json!({"governance": {"closed": change.is_multiple_of(2)}}),
        };
        let mut event = json!({"id": format!("e{change}-{phase}"), "phase": phase.as_str(), "intent": {"source": "api",
            "request": format!("Make cluster Nr. {change}"), "initiator": format!("user-{}", change % 10), "tenant": "acme"}});
        for (name, section) in sections.as_object().unwrap() {
            event[name] = section.clone();
        }
        let payload = json!({ "provisioning_event": event }).to_string().into_bytes();
        let seq = Phase::ALL.iter().position(|known| *known == phase).unwrap() as u64;
        let header = EventHeader {
            change: ChangeId::parse(&format!("c{change}")).unwrap(),
            seq,
            prev: None,
            id: EventId::parse(&if change.is_multiple_of(2) {
                "shared".to_owned()
            } else {
                format!("e{change}-{phase}")
            })
            .unwrap(),
            phase,
            env: change.is_multiple_of(3).then(|| Environment::parse("prod").unwrap()),
            class: change.is_multiple_of(4).then_some(ChangeClass::Normal),
            probe: change == 1,
            producer: change.is_multiple_of(2).then(|| Producer::parse("ci").unwrap()),
            has: Has::from_names(["plan", "approvals"]).unwrap(),
            outcome: Outcome::Passed,
            ts: 1_760_000_000,
            at: BORN_MS + self.headers.len() as u64 * 10,
            road: Road { epoch: 0, sequence: 1 },
            commit: Hash([0; 32]),
            size: payload.len() as u64,
            masked: 2,
            rules: Hash([0; 32]),
        };
        self.push(Header::Event(header), payload);
    }

    pub(crate) fn rows(&self, from: usize, to: usize) -> Vec<Row<'_>> {
        let row = |index: usize| Row::stored(index as u64, &self.headers[index], &self.payloads[index]);
        (from..to).map(row).collect()
    }

    /// One event with its payload.
    pub(crate) fn entry(&self, index: u64, size: u64) -> projector::document::Entry<'_> {
        let place = usize::try_from(index).unwrap();
        let Header::Event(header) = &self.headers[place] else { panic!("{index} is no event") };
        assert_eq!(header.size, size, "{index}");
        projector::document::Entry { index, header, payload: Some(&self.payloads[place]) }
    }

    /// What a chunk says: the made-up log has no rejections.
    pub(crate) fn told<'a>(&self, pending: &crate::Pending, details: &'a [crate::ChangeRows]) -> crate::Told<'a> {
        static NOBODY: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
        assert!(pending.from < pending.to && pending.to <= self.len() as u64);
        let at = |index: u64| self.headers[usize::try_from(index).unwrap()].at().unwrap();
        let (first_ms, at_ms) = (at(pending.from), at(pending.to - 1));
        crate::Told { details, rejections: &[], assessors: &NOBODY, first_ms, at_ms }
    }

    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }
}

pub(crate) fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("acme.db")
}

pub(crate) fn projected(log: &Log, batch: usize) -> (TempDir, Views) {
    let dir = TempDir::new().unwrap();
    let mut views = Views::open(&path(&dir)).unwrap();
    for from in (0..log.len()).step_by(batch) {
        views.project(&log.rows(from, log.len().min(from + batch))).unwrap();
    }
    (dir, views)
}

/// Every row of every table, as `SQLite` holds it.
fn dump(views: &Reader) -> Vec<(String, Vec<Cell>)> {
    let mut all = Vec::new();
    for table in ["cursors", "change_rows", "event_rows", "event_ids", "change_ids", "changes", "events"] {
        let mut statement = views.connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            all.push((table.to_owned(), (0..columns).map(|column| row.get(column).unwrap()).collect()));
        }
    }
    all
}

pub(crate) fn change_ids(views: &Reader, filter: &Filter, limit: usize) -> Vec<String> {
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let page = views.changes(filter, after, limit).unwrap();
        assert!(page.rows.len() <= limit);
        found.extend(page.rows.iter().map(|row| row.change.to_string()));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

#[test]
fn any_batches_give_the_same_rows() {
    // More than what is read on a thread of its own.
    let log = Log::new(150);
    let (_dir, whole) = projected(&log, log.len());
    let expect = dump(&whole);
    assert_eq!(whole.core_cursor().unwrap(), log.len() as u64);
    assert!(log.len() > 800 && expect.len() > 3 * 750);
    // A fixed walk of batch lengths in 1..=31, begun anywhere, with each batch reaching back over what is known.
    for seed in 1..12_usize {
        let dir = TempDir::new().unwrap();
        let mut views = Views::open(&path(&dir)).unwrap();
        let (mut at, mut state) = (0, seed);
        while at < log.len() {
            state = (state * 37 + 11) % 101;
            let (from, to) = (at.saturating_sub(state % 5), log.len().min(at + 1 + state % 31));
            assert_eq!(views.project(&log.rows(from, to)).unwrap(), to as u64);
            at = to;
        }
        assert_eq!(dump(&views), expect, "seed {seed}");
    }
}

#[test]
fn projecting_again_changes_nothing() {
    let log = Log::new(10);
    let (dir, mut views) = projected(&log, 8);
    let expect = dump(&views);
    for (from, to) in [(0, log.len()), (0, 1), (log.len() - 1, log.len()), (3, 9), (0, 0)] {
        assert_eq!(views.project(&log.rows(from, to)).unwrap(), log.len() as u64);
    }
    assert_eq!(dump(&views), expect);
    drop(views);
    assert_eq!(dump(&Views::open(&path(&dir)).unwrap()), expect, "and after it is opened again");
    let mut views = Views::recreate(&path(&dir)).unwrap();
    assert_eq!(views.core_cursor().unwrap(), 0);
    views.project(&log.rows(0, log.len())).unwrap();
    assert_eq!(dump(&views), expect);
    views.reset().unwrap();
    assert_eq!(views.core_cursor().unwrap(), 0);
    views.project(&log.rows(0, log.len())).unwrap();
    assert_eq!(dump(&views), expect);
}

#[test]
fn a_hole_is_refused_whole() {
    let log = Log::new(10);
    let (_dir, mut views) = projected(&log, 1000);
    views.reset().unwrap();
    views.project(&log.rows(0, 5)).unwrap();
    let before = dump(&views);
    let mut torn = log.rows(5, 9);
    torn.remove(2);
    let mut repeated = log.rows(5, 9);
    repeated.insert(1, repeated[0]);
    for (rows, expected, found) in [(log.rows(6, 9), 5, 6), (torn, 7, 8), (repeated, 6, 5)] {
        match views.project(&rows) {
            Err(ViewError::Hole { expected: e, found: f }) => assert_eq!((e, f), (expected, found)),
            other => panic!("{other:?}"),
        }
        assert_eq!(dump(&views), before);
    }
}

#[test]
fn filters_agree_with_a_plain_search() {
    let log = Log::new(60);
    let (_dir, views) = projected(&log, 17);
    let everything = change_ids(&views, &Filter::default(), 1000);
    assert_eq!(everything.len(), 60);
    let prod = Environment::parse("prod").unwrap();
    let check = |filter: Filter, expect: &dyn Fn(usize) -> bool| {
        let expect: Vec<_> =
            (0..60).rev().filter(|change| expect(*change)).map(|change| format!("c{change}")).collect();
        for limit in [1, 7, 1000] {
            assert_eq!(change_ids(&views, &filter, limit), expect, "{filter:?}");
        }
    };
    check(Filter { state: Some(State::Closed), ..Filter::default() }, &|c| c % 2 == 0);
    check(Filter { state: Some(State::Failed), ..Filter::default() }, &|_| false);
    check(Filter { state: Some(State::Verified), ..Filter::default() }, &|c| c % 2 == 1);
    check(Filter { owner: Some("team-1".into()), ..Filter::default() }, &|c| c % 3 == 1);
    check(Filter { initiator: Some("user-7".into()), ..Filter::default() }, &|c| c % 10 == 7);
    check(Filter { environment: Some(prod.clone()), ..Filter::default() }, &|c| c % 3 == 0);
    check(Filter { class: Some(ChangeClass::Normal), ..Filter::default() }, &|c| c % 4 == 0);
    check(Filter { text: Some("nR. 5".into()), ..Filter::default() }, &|c| c == 5 || c / 10 == 5);
    check(Filter { text: Some("%".into()), ..Filter::default() }, &|_| false);
    check(
        Filter {
            owner: Some("team-0".into()),
            environment: Some(prod),
            state: Some(State::Closed),
            ..Filter::default()
        },
        &|c| c % 6 == 0,
    );
}

#[test]
fn a_window_holds_the_changes_with_events_in_it() {
    let log = Log::new(20);
    let (_dir, views) = projected(&log, 1000);
    let all = views.changes(&Filter::default(), None, 100).unwrap().rows;
    let mut older = 0;
    for from in [0, BORN_MS, BORN_MS + 1, BORN_MS + 95, BORN_MS + 100, BORN_MS + 101, BORN_MS + 400, u64::MAX] {
        for to in [None, Some(0), Some(BORN_MS + 10), Some(BORN_MS + 150), Some(u64::MAX)] {
            for state in [None, Some(State::Closed)] {
                let filter = Filter { state, from_ms: Some(from), to_ms: to, ..Filter::default() };
                let inside = |at: u64| at >= from && to.is_none_or(|to| at < to);
                let expect: Vec<_> = all
                    .iter()
                    .filter(|row| state.is_none_or(|state| row.state == state))
                    .filter(|row| views.events(&row.change, 0, 100).unwrap().iter().any(|event| inside(event.at)))
                    .map(|row| row.change.to_string())
                    .collect();
                older +=
                    all.iter().filter(|row| row.first.at < from && expect.contains(&row.change.to_string())).count();
                for limit in [1, 3, 100] {
                    assert_eq!(change_ids(&views, &filter, limit), expect, "{from} {to:?} {state:?} {limit}");
                }
            }
        }
    }
    assert!(older > 0, "a change that began before its window is listed");
}

/// A window with more events than are looked at one by one finds the same.
#[test]
fn a_wide_window_holds_older_changes_too() {
    let mut log = Log::new(0);
    for change in 0..3 {
        log.event(change, Phase::Plan);
    }
    let begun = log.len();
    // A plan is what begins a change here.
    for phase in [Phase::Plan, Phase::Verify] {
        for change in 1..9_000 {
            log.event(change, if change < 3 { Phase::Execute } else { phase });
        }
    }
    let (_dir, views) = projected(&log, 5000);
    let at = |index: usize| views.event(index as u64).unwrap().expect("an event").at;
    let wide = Filter { from_ms: Some(at(begun)), ..Filter::default() };
    let found = change_ids(&views, &wide, 500);
    assert_eq!(found.len(), 8_999);
    assert_eq!(found[8_997..], ["c2", "c1"], "c0 was over by then");
    let last = log.len() - 1;
    let narrow = Filter { from_ms: Some(at(begun)), to_ms: Some(at(begun + 1)), ..Filter::default() };
    assert_eq!(change_ids(&views, &narrow, 10), ["c1"]);
    let late = Filter { from_ms: Some(at(last)), ..Filter::default() };
    assert_eq!(change_ids(&views, &late, 10), ["c8999"]);
}

#[test]
fn questions_within_a_question_are_of_its_state() {
    let log = Log::new(30);
    let (dir, mut writer) = projected(&Log::new(0), 1);
    let reader = Views::open_read_only(&path(&dir)).unwrap();
    writer.project(&log.rows(0, 20)).unwrap();
    let (before, within, events) = reader
        .at_once(|views| {
            let before = views.changes(&Filter::default(), None, 100)?.rows;
            writer.project(&log.rows(20, 30))?;
            let event = views.event(0)?.expect("entry 0 is an event").id;
            Ok((before, views.changes(&Filter::default(), None, 100)?.rows, views.events_by_id(&event, 0, 9)?.len()))
        })
        .unwrap();
    assert_eq!(within, before);
    assert!(events > 0);
    assert_ne!(
        reader.changes(&Filter::default(), None, 100).unwrap().rows,
        before,
        "the next question sees what was written"
    );
}

#[test]
fn pages_are_stable_while_the_log_grows() {
    let log = Log::new(30);
    let (dir, mut writer) = projected(&Log::new(0), 1);
    let reader = Views::open_read_only(&path(&dir)).unwrap();
    writer.project(&log.rows(0, 20)).unwrap();
    let before = change_ids(&reader, &Filter::default(), 100);
    let mut paged = Vec::new();
    let (mut after, mut at): (Option<PageKey>, usize) = (None, 20);
    loop {
        let page = reader.changes(&Filter::default(), after, 3).unwrap();
        paged.extend(page.rows.iter().map(|row| row.change.to_string()));
        // Between the pages changes are added and those already listed move on.
        writer.project(&log.rows(at, (at + 20).min(log.len()))).unwrap();
        at = (at + 20).min(log.len());
        match page.next {
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(paged, before);
}

#[test]
fn a_page_ends_early_rather_than_scan_for_ever() {
    let mut log = Log::new(0);
    (0..SCANNED_MAX + 5).for_each(|change| log.event(change, Phase::Plan));
    let (_dir, views) = projected(&log, 5000);
    let nowhere = Filter { text: Some("nowhere".into()), ..Filter::default() };
    let page = views.changes(&nowhere, None, 10).unwrap();
    assert_eq!((page.rows.len(), page.next.map(|key| key.to_string())), (0, Some("5".to_owned())));
    let page = views.changes(&nowhere, page.next, 10).unwrap();
    assert_eq!((page.rows.len(), page.next), (0, None));
    let oldest = Filter {
        text: Some("Nr. 4".into()),
        initiator: Some("user-4".into()),
        to_ms: Some(BORN_MS + 50),
        ..Filter::default()
    };
    assert_eq!(change_ids(&views, &oldest, 10), ["c4"]);
    let newest = SCANNED_MAX + 4;
    assert_eq!(
        change_ids(&views, &Filter { text: Some(format!("NR. {newest}")), ..Filter::default() }, 10),
        [format!("c{newest}")]
    );
}

#[test]
fn page_keys_are_what_pages_gave() {
    assert_eq!("17".parse::<PageKey>().unwrap().to_string(), "17");
    for text in ["", "-1", "+1", " 1", "x", "9223372036854775808", "99999999999999999999999"] {
        assert!(matches!(text.parse::<PageKey>(), Err(ViewError::PageKey { .. })), "{text:?}");
    }
}

#[test]
fn a_change_and_its_events() {
    let log = Log::new(12);
    let (dir, _writer) = projected(&log, 9);
    let views = Views::open_read_only(&path(&dir)).unwrap();
    let change = ChangeId::parse("c9").unwrap();
    let row = views.change(&change).unwrap().unwrap();
    assert_eq!((row.state, row.events, row.attempt), (State::Verified, 5, 1));
    assert_eq!((row.owner.as_deref(), row.initiator.as_deref()), (Some("team-0"), Some("user-9")));
    assert_eq!(row.request.as_deref(), Some("Make cluster Nr. 9"));
    let events = views.events(&change, 0, 100).unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(events[0].index, row.first.index);
    assert_eq!(events[4].index, row.last.index);
    assert_eq!(events[0].has, ["approvals", "plan"]);
    assert_eq!(views.events(&change, events[2].index, 2).unwrap(), events[2..4]);
    assert_eq!(views.event(events[1].index).unwrap().as_ref(), Some(&events[1]));
    assert_eq!(views.event(3).unwrap(), None, "a gap is no event");
    assert_eq!(views.change(&ChangeId::parse("c99").unwrap()).unwrap(), None);
    assert_eq!(views.events(&ChangeId::parse("c99").unwrap(), 0, 9).unwrap(), []);
}

#[test]
fn one_id_may_name_many_events() {
    let log = Log::new(12);
    let (_dir, views) = projected(&log, 9);
    let shared = EventId::parse("shared").unwrap();
    let all = views.events_by_id(&shared, 0, 100).unwrap();
    assert_eq!(all.len(), 6 * 5);
    assert!(all.is_sorted_by_key(|event| event.index));
    assert_eq!(views.events_by_id(&shared, all[10].index, 3).unwrap(), all[10..13]);
    assert_eq!(views.events_by_id(&EventId::parse("e1-plan").unwrap(), 0, 100).unwrap().len(), 1);
    // An event that is its own change, or lends the change its id, is found like any other.
    let own = EventId::parse("c3").unwrap();
    assert_eq!(views.events_by_id(&own, 0, 100).unwrap(), []);
    let mut log = Log::new(0);
    for (change, phase, id) in
        [(3, Phase::Plan, "c3"), (4, Phase::Plan, "c3"), (3, Phase::Verify, "x"), (3, Phase::Audit, "c3")]
    {
        log.event(change, phase);
        let Some(Header::Event(header)) = log.headers.last_mut() else { panic!("an event") };
        header.id = EventId::parse(id).unwrap();
    }
    let (_dir, named) = projected(&log, 3);
    let indices = |from, limit| -> Vec<_> {
        named.events_by_id(&own, from, limit).unwrap().iter().map(|event| event.index).collect()
    };
    assert_eq!((indices(0, 9), indices(1, 9), indices(0, 2)), (vec![0, 1, 3], vec![1, 3], vec![0, 1]));
    assert_eq!(views.events_by_id(&EventId::parse("nobody").unwrap(), 0, 100).unwrap(), []);
}

#[test]
fn readers_cannot_write() {
    let (dir, _writer) = projected(&Log::new(2), 9);
    let reader = Views::open_read_only(&path(&dir)).unwrap();
    for sql in ["DELETE FROM event_rows", "CREATE TABLE t (a)", "PRAGMA user_version = 99"] {
        assert!(reader.connection.execute_batch(sql).is_err(), "{sql}");
    }
    assert!(Views::open_read_only(&dir.path().join("other.db")).is_err(), "a reader creates nothing");
}

#[test]
fn views_of_another_version_must_be_rebuilt() {
    let (dir, views) = projected(&Log::new(2), 9);
    views.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(views);
    for opened in [Views::open(&path(&dir)).map(|_| ()), Views::open_read_only(&path(&dir)).map(|_| ())] {
        assert!(matches!(opened, Err(ViewError::RebuildNeeded { found: 99, expected: SCHEMA_VERSION })), "{opened:?}");
    }
    assert_eq!(Views::recreate(&path(&dir)).unwrap().core_cursor().unwrap(), 0);
}

#[test]
fn somebody_elses_file_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let other = rusqlite::Connection::open(path(&dir)).unwrap();
    other.execute_batch("CREATE TABLE songs (name)").unwrap();
    drop(other);
    assert!(matches!(Views::open(&path(&dir)).map(|_| ()), Err(ViewError::NotViews { found: 0 })));
    std::fs::write(
        dir.path().join("text.db"),
        "no database, but long enough to be read as the header of one by sqlite",
    )
    .unwrap();
    assert!(matches!(Views::open(&dir.path().join("text.db")).map(|_| ()), Err(ViewError::Sqlite(_))));
}

#[test]
fn a_payload_that_cannot_be_read_does_not_stop_the_views() {
    let mut log = Log::new(3);
    log.payloads[0] = b"\xff not json".to_vec();
    log.payloads[1] = Vec::new();
    let (_dir, views) = projected(&log, 2);
    assert_eq!(views.core_cursor().unwrap(), log.len() as u64);
    assert_eq!(views.change(&ChangeId::parse("c0").unwrap()).unwrap().unwrap().events, 5);
}

//! Detail over a made-up log: the same rows however it is cut into chunks, each change read once.

use projector::anomaly::Code;
use projector::document::Entry;
use rusqlite::types::Value as Cell;
use schemas::ids::Phase;

use super::*;
use crate::Filter;
use crate::tests::{Log, change_ids, path, projected};

const ANY: ChunkLimits = ChunkLimits { entries: 1_000_000, events: 1_000_000, bytes: u64::MAX };

/// Makes chunks until detail has caught up; gives how many events were read.
pub(crate) fn follow(log: &Log, views: &mut Views, limits: &ChunkLimits) -> usize {
    let mut read = 0;
    loop {
        let pending = views.pending_detail(limits).unwrap();
        if pending.from == pending.to {
            return read;
        }
        let details: Vec<ChangeRows> = pending.changes.iter().map(|touched| log.tell(touched)).collect();
        read += pending.changes.iter().map(|touched| touched.events.len()).sum::<usize>();
        assert_eq!(views.project_detail(&pending, &log.told(&pending, &details)).unwrap(), pending.to);
    }
}

/// Every row of every detail table.
fn dump(views: &Reader) -> Vec<(String, Vec<Cell>)> {
    let mut all = Vec::new();
    for table in rows::TABLES.iter().chain(&["resource_ids", "rejection_rows", "ahead"]) {
        let mut statement = views.connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            all.push(((*table).to_owned(), (0..columns).map(|column| row.get(column).unwrap()).collect()));
        }
    }
    all
}

#[test]
fn any_chunks_give_the_same_rows() {
    let log = Log::new(40);
    let (_dir, mut whole) = projected(&log, 1_000);
    assert_eq!(follow(&log, &mut whole, &ANY), 200);
    let expect = dump(&whole);
    assert!(expect.len() > 200, "{}", expect.len());
    for seed in 1..10_usize {
        // Core and detail in turns of changing lengths: detail sees changes half-done and tells them again.
        let (_dir, mut views) = projected(&Log::new(0), 1);
        let (mut at, mut state) = (0, seed);
        while at < log.len() {
            state = (state * 37 + 11) % 101;
            let to = log.len().min(at + 1 + state % 31);
            views.project(&log.rows(at, to)).unwrap();
            at = to;
            let limits =
                ChunkLimits { entries: 1 + state as u64 % 17, events: 1 + state % 13, bytes: 1 + state as u64 * 100 };
            if state % 3 == 0 {
                follow(&log, &mut views, &limits);
            }
        }
        follow(&log, &mut views, &ChunkLimits { entries: 5, ..ANY });
        assert_eq!(dump(&views), expect, "seed {seed}");
        assert_eq!(views.detail_cursor().unwrap(), views.core_cursor().unwrap());
    }
}

#[test]
fn a_long_change_in_a_backlog_is_read_once() {
    let mut log = Log::new(0);
    for turn in 0..2_000 {
        log.event(0, Phase::Execute);
        log.event(turn + 1, Phase::Plan);
    }
    let (_dir, mut views) = projected(&log, 4_000);
    let read = follow(&log, &mut views, &ChunkLimits { entries: 64, events: 64, bytes: u64::MAX });
    assert_eq!(read, 4_000, "each event once, over {} chunks", 4_000 / 64);
    assert_eq!(dump(&views).iter().filter(|(table, _)| table == "step_rows").count(), 2_000);
    assert!(dump(&views).iter().all(|(table, _)| table != "ahead"), "nothing is ahead of a cursor at the end");
}

#[test]
fn a_chunk_out_of_turn_is_refused_whole() {
    let log = Log::new(10);
    let (_dir, mut views) = projected(&log, 1_000);
    let first = views.pending_detail(&ChunkLimits { entries: 7, ..ANY }).unwrap();
    let details: Vec<ChangeRows> = first.changes.iter().map(|touched| log.tell(touched)).collect();
    let told = log.told(&first, &details);
    let short = Told { details: &details[1..], ..told };
    assert!(matches!(views.project_detail(&first, &short), Err(ViewError::Hole { .. })));
    assert_eq!(views.detail_cursor().unwrap(), 0);
    views.project_detail(&first, &told).unwrap();
    let before = dump(&views);
    assert!(matches!(views.project_detail(&first, &told), Err(ViewError::Hole { .. })));
    assert_eq!(dump(&views), before);
}

#[test]
fn resetting_empties_detail_too() {
    let log = Log::new(5);
    let (_dir, mut views) = projected(&log, 1_000);
    follow(&log, &mut views, &ANY);
    let expect = dump(&views);
    views.reset().unwrap();
    assert_eq!((views.detail_cursor().unwrap(), dump(&views).len()), (0, 0));
    views.project(&log.rows(0, log.len())).unwrap();
    follow(&log, &mut views, &ANY);
    assert_eq!(dump(&views), expect);
}

#[test]
fn rows_follow_their_change() {
    let log = Log::new(6);
    let (dir, mut views) = projected(&log, 1_000);
    follow(&log, &mut views, &ANY);
    let reader = Views::open_read_only(&path(&dir)).unwrap();
    let count = |sql: &str| -> i64 { reader.connection.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM plans WHERE change = 'c3'"), 1);
    assert_eq!(count("SELECT count(*) FROM steps WHERE rc = 1"), 2, "c0 and c4");
    assert_eq!(
        count("SELECT count(*) FROM changes JOIN checks USING (first_entry) WHERE stage = 'preflight' AND NOT ok"),
        2,
        "c0 and c5"
    );
    assert_eq!(count("SELECT count(*) FROM anomalies WHERE code = 'no_approval_recorded'"), 6);
    assert_eq!(count("SELECT count(DISTINCT change) FROM anomalies"), 6);
}

#[test]
fn references_are_found_from_an_entry_on_by_their_index() {
    let mut log = Log::new(6);
    let first = log.len() as u64;
    log.referring(2, &[("obs://a/1", "https://elsewhere"), ("https://elsewhere", "OBS://b")]);
    log.referring(3, &[("https://elsewhere", "x"), ("y", "obs://a/2")]);
    let (dir, mut views) = projected(&log, 1_000);
    assert_eq!(views.references(0).unwrap(), (Vec::new(), 0), "detail covers nothing yet");
    follow(&log, &mut views, &ChunkLimits { entries: 4, ..ANY });
    let reader = Views::open_read_only(&path(&dir)).unwrap();
    let end = log.len() as u64;
    let found = |from| {
        let (found, next) = reader.references(from).unwrap();
        assert_eq!(next, end);
        found.into_iter().filter(|(_, text)| text.starts_with("obs://")).collect::<Vec<_>>()
    };
    let [one, two] = [(first, "obs://a/1".to_owned()), (first + 1, "obs://a/2".to_owned())];
    assert_eq!(found(0), [one, two.clone()]);
    assert_eq!(found(first + 1), [two]);
    assert_eq!(found(first + 2), []);
    let plan = format!("EXPLAIN QUERY PLAN {}", crate::detail::REFERENCES);
    let used: String = reader.connection.query_row(&plan, [0, 1], |row| row.get(3)).unwrap();
    assert_eq!(used, "SEARCH step_rows USING INDEX steps_by_reference (entry>? AND entry<?)");
}

#[test]
fn changes_are_found_by_anomaly_and_resource() {
    let mut log = Log::new(30);
    (0..30).for_each(|change| log.named(change, &format!("vm-{}", change % 7)));
    let (_dir, mut views) = projected(&log, 1_000);
    follow(&log, &mut views, &ANY);
    let check = |filter: Filter, expect: &dyn Fn(usize) -> bool| {
        let expect: Vec<_> =
            (0..30).rev().filter(|change| expect(*change)).map(|change| format!("c{change}")).collect();
        for limit in [1, 4, 1_000] {
            assert_eq!(change_ids(&views, &filter, limit), expect, "{filter:?}");
        }
    };
    let resource = |name: &str| Some(name.to_owned());
    check(Filter { anomaly: Some(Code::NoApprovalRecorded), ..Filter::default() }, &|_| true);
    check(Filter { anomaly: Some(Code::ExecutedThoughPreflightFailed), ..Filter::default() }, &|c| c % 5 == 0);
    check(Filter { anomaly: Some(Code::UnknownAgent), ..Filter::default() }, &|_| false);
    // Every event of the second change says that it is a probe.
    let anomaly = Some(Code::NoApprovalRecorded);
    check(Filter { anomaly, without_probes: true, ..Filter::default() }, &|c| c != 1);
    check(Filter { without_probes: true, ..Filter::default() }, &|c| c != 1);
    check(Filter { resource: resource("vm-3"), ..Filter::default() }, &|c| c % 7 == 3);
    check(Filter { resource: resource("VM-3"), ..Filter::default() }, &|_| false);
    check(
        Filter { resource: resource("vm-0"), anomaly: Some(Code::ExecutedThoughPreflightFailed), ..Filter::default() },
        &|c| c % 35 == 0,
    );
    check(
        Filter {
            anomaly: Some(Code::ExecutedThoughPreflightFailed),
            owner: Some("team-1".into()),
            ..Filter::default()
        },
        &|c| c % 5 == 0 && c % 3 == 1,
    );
}

impl Log {
    /// The rows of a change, of the entries that are asked for.
    pub(crate) fn tell(&self, touched: &Touched) -> ChangeRows {
        let entries: Vec<Entry<'_>> = touched.events.iter().map(|(index, size)| self.entry(*index, *size)).collect();
        let told = projector::detail::detail(&touched.change, &entries, &projector::approval::Rules::default());
        ChangeRows::of(told).unwrap()
    }
}

#[test]
fn chunks_looked_up_before_those_ahead_of_them_are_written_are_the_same() {
    let log = Log::new(40);
    for (entries, events) in [(1, 1), (3, 100), (7, 9), (50, 30), (1_000, 1_000)] {
        let limits = ChunkLimits { entries, events, bytes: u64::MAX };
        let (_dir, mut views) = projected(&log, 1_000);
        let (mut unwritten, mut chunks) = (Unwritten::default(), Vec::new());
        loop {
            let pending = views.pending_detail_after(&unwritten, &limits).unwrap();
            if pending.from == pending.to {
                break;
            }
            unwritten.add(&pending);
            chunks.push(pending);
        }
        for chunk in chunks {
            assert_eq!(views.pending_detail(&limits).unwrap(), chunk, "{limits:?}");
            let details: Vec<ChangeRows> = chunk.changes.iter().map(|touched| log.tell(touched)).collect();
            views.project_detail(&chunk, &log.told(&chunk, &details)).unwrap();
        }
        assert_eq!(views.detail_cursor().unwrap(), log.len() as u64);
    }
}

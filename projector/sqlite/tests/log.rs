//! Views made out of a log in one go, by two threads, are those that follow it chunk by chunk.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic, in its helpers too")]
#![allow(clippy::cast_possible_truncation, reason = "logs of a test have hundreds of entries")]

#[path = "../../../ledger/tests/store/world.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "made for the store's own tests, which use all of it")]
mod world;

use std::path::Path;

use ledger::birth;
use ledger::kv::MemKv;
use ledger::read::Log;
use projector_sqlite::{ChunkLimits, Draft, Views, advance};
use rusqlite::Connection;
use rusqlite::types::Value;
use world::{Rng, World};

/// A log of events that say something, rejections, gaps and epochs.
fn made(kv: &MemKv) -> Log<&MemKv> {
    let mut world = World::new(3, 1, 400);
    for message in world.tenants[0].streams.iter_mut().flat_map(|stream| stream.messages.values_mut()) {
        let number = String::from_utf8_lossy(&message.payload).into_owned();
        let body = format!(
            r#"{{"provisioning_event":{{"intent":{{"initiator":"ann"}},"target":{{"resources":[{{"name":"{number}"}}]}},"plan":{{"commands":["a"]}},
            "preflight":{{"checks":[{{"ok":true}}],"approvals":[{{"approver":"bob"}}]}},"execution":{{"steps":[{{"rc":0}}]}}}}}}"#
        );
        if message.good {
            message.payload = body.into_bytes();
        }
    }
    world.live(kv, &mut Rng(3), &mut Vec::new()).unwrap();
    Log::open(kv, birth::log_of(kv, &world.tenants[0].tenant).unwrap().unwrap()).unwrap()
}

/// Every row of every table.
fn dump(path: &Path) -> Vec<(String, Vec<Value>)> {
    let connection = Connection::open(path).unwrap();
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut all = Vec::new();
    for table in tables {
        let mut select = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            all.push((table.clone(), (0..columns).map(|column| row.get(column).unwrap()).collect()));
        }
    }
    all
}

/// What is made in a file: tables, indices, views.
fn schema(path: &Path) -> Vec<(String, Option<String>)> {
    let connection = Connection::open(path).unwrap();
    let mut made = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
    made.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_rebuild_by_two_threads_is_what_follows_chunk_by_chunk() {
    let kv = MemKv::new();
    let log = made(&kv);
    let size = log.head().unwrap().size;
    let dir = tempfile::TempDir::new().unwrap();
    let (followed, rebuilt) = (dir.path().join("followed.db"), dir.path().join("rebuilt.db"));
    let limits = ChunkLimits { entries: 16, events: 40, bytes: u64::MAX };

    let mut draft = Draft::begin(&followed).unwrap();
    assert_eq!(draft.core(&log, &|_| ()).unwrap(), size);
    draft.publish().unwrap();
    let mut views = Views::open(&followed).unwrap();
    while views.detail_cursor().unwrap() < size {
        advance(&log, &mut views, &limits).unwrap();
    }

    std::fs::write(dir.path().join("rebuilt.db.draft"), "what a crash left").unwrap();
    std::fs::write(&rebuilt, "the views before").unwrap();
    let mut draft = Draft::begin(&rebuilt).unwrap();
    draft.core(&log, &|_| ()).unwrap();
    let heard = std::cell::RefCell::new(Vec::new());
    draft.detail(&log, &limits, &|to| heard.borrow_mut().push(to)).unwrap();
    assert_eq!(std::fs::read(&rebuilt).unwrap(), b"the views before");
    draft.publish().unwrap();

    let heard = heard.into_inner();
    assert!(heard.len() > 3 && heard.is_sorted() && heard.last() == Some(&size), "{heard:?}");
    let expect = dump(&followed);
    assert!(expect.iter().filter(|(table, _)| table == "approval_rows").count() > 100);
    assert!(expect.iter().any(|(table, _)| table == "rejection_rows"));
    assert_eq!(dump(&rebuilt), expect);
    let empty = dir.path().join("empty.db");
    drop(Views::open(&empty).unwrap());
    assert_eq!(schema(&rebuilt), schema(&empty), "indices that were put off are there");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("draft")), "{left:?}");
}

#[test]
fn a_draft_that_is_given_up_leaves_the_views_before() {
    let kv = MemKv::new();
    let log = made(&kv);
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("acme.db");
    std::fs::write(&path, "the views before").unwrap();
    let mut draft = Draft::begin(&path).unwrap();
    draft.core(&log, &|_| ()).unwrap();
    drop(draft);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["acme.db"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"the views before");
}

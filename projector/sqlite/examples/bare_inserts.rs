//! What views cost `SQLite` alone: `cargo run --release -p upm-projector-sqlite --example bare_inserts VIEWS`.
//!
//! Puts every row of finished views into empty ones, table by table, each in the order of its keys, as a draft is written: no journal, no sync, nothing
//! read, told or looked up. A rebuild with one writer cannot be faster than that, whatever it does.

use std::path::Path;

use projector_sqlite::Views;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

type Failure = Box<dyn std::error::Error>;

/// Written as they come; all other tables follow them.
const CORE: [&str; 4] = ["change_ids", "change_rows", "event_ids", "event_rows"];

/// Rows of one transaction.
const ROWS: usize = 65_536;

/// What rows cost.
#[derive(Default)]
struct Cost {
    rows: u64,
    cpu_ns: u64,
}

fn main() -> Result<(), Failure> {
    let source = std::env::args().nth(1).ok_or("give the path of a tenant's views: DATA/views/TENANT.db")?;
    let source = Connection::open_with_flags(source, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let events: u64 = source.query_row("SELECT count(*) FROM event_rows", [], |row| row.get(0))?;
    let dir = tempfile::TempDir::new()?;
    let into = empty(&dir.path().join("views.db"))?;
    let (mut core, mut detail) = (Cost::default(), Cost::default());
    for table in tables(&source)? {
        let cost = if CORE.contains(&table.as_str()) { &mut core } else { &mut detail };
        copy(&source, &into, &table, cost)?;
    }
    println!("{events} events");
    for (name, cost) in [("core", core), ("detail", detail)] {
        #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
        let each = |number: u64| number as f64 / events.max(1) as f64;
        println!("{name:<7} {:.1} rows an event, {:.2} µs CPU", each(cost.rows), each(cost.cpu_ns) / 1e3);
    }
    Ok(())
}

fn empty(path: &Path) -> Result<Connection, Failure> {
    drop(Views::open(path)?);
    let into = Connection::open(path)?;
    for (name, value) in [("journal_mode", "off"), ("synchronous", "off"), ("cache_size", "-98304")] {
        into.pragma_update(None, name, value)?;
    }
    Ok(into)
}

fn tables(source: &Connection) -> Result<Vec<String>, Failure> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'cursors' ORDER BY name";
    let mut select = source.prepare(sql)?;
    Ok(select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn copy(source: &Connection, into: &Connection, table: &str, cost: &mut Cost) -> Result<(), Failure> {
    let mut select = source.prepare(&format!("SELECT * FROM {table}"))?;
    let stored: Vec<String> = {
        // Not those that are computed.
        let sql = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0";
        source.prepare(sql)?.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    let places: Vec<usize> = stored.iter().map(|name| select.column_index(name)).collect::<Result<_, _>>()?;
    let marks = vec!["?"; stored.len()].join(", ");
    let sql = format!("INSERT INTO {table} ({}) VALUES ({marks})", stored.join(", "));
    let mut rows = select.query([])?;
    loop {
        let mut chunk: Vec<Vec<Value>> = Vec::with_capacity(ROWS);
        while let Some(row) = rows.next()? {
            chunk.push(places.iter().map(|place| row.get(*place)).collect::<Result<_, _>>()?);
            if chunk.len() == ROWS {
                break;
            }
        }
        if chunk.is_empty() {
            return Ok(());
        }
        let begun = cpu_ns()?;
        let transaction = into.unchecked_transaction()?;
        {
            let mut insert = transaction.prepare_cached(&sql)?;
            for values in &chunk {
                insert.execute(params_from_iter(values))?;
            }
        }
        transaction.commit()?;
        cost.cpu_ns += cpu_ns()? - begun;
        cost.rows += chunk.len() as u64;
    }
}

/// CPU time of this thread: what counts on a machine that others use too.
fn cpu_ns() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split(' ').next().unwrap_or_default().parse()?)
}

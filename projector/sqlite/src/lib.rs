//! Views of one log in `SQLite`: changes and their events, to be listed and looked up (*core*), and what the events say, row by row (*detail*).
//!
//! One file per tenant, one writer ([`Views`]), any number of read-only connections ([`Reader`]), in WAL mode with
//! `synchronous=NORMAL`: a batch is one transaction without an fsync, because whatever is lost is projected again from the log.
//! The cursor moves in the same transaction as the rows, so a batch is in the views once or not at all.
//!
//! Detail follows core with a cursor of its own, because it needs all payloads of a change. [`TABLES`] is what both show to questions in SQL.
//!
//! Absent here: payloads (the log has them), clocks, and any way from one tenant's file to another's.

pub mod ask;
mod detail;
mod draft;
mod error;
mod follow;
pub mod kpi;
mod maturity;
mod query;
mod rebuild;
mod rows;
pub mod saved;
mod write;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub use detail::{ChangeRows, ChunkLimits, Pending, Told, Touched, Unwritten};
pub use draft::Draft;
pub use error::ViewError;
pub use follow::{Advanced, CHANGE_BYTES_MAX, DetailError, advance};
pub use query::{Filter, Page, PageKey};
pub use rebuild::RebuildError;
pub use rows::{ChangeRow, EventRow};
pub use write::Row;

/// Version of the tables and of the fold in them. Views of another version must be rebuilt.
pub const SCHEMA_VERSION: i64 = 11;

// The fold's version is part of the schema's: raise both, so that no file mixes rows of two folds.
const _: () = assert!(projector::fold::FOLD_VERSION == 1);

/// Marks the file as ours in its header: "`UPMv`".
const APPLICATION_ID: i64 = 0x5550_4d76;

const SCHEMA: &str = include_str!("schema.sql");

/// The documented tables, as `CREATE VIEW` statements with comments.
pub const TABLES: &str = include_str!("tables.sql");

/// Page cache of a writer, KiB: what it may use, where [`HEAP_BYTES_MAX`] leaves room.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// What all connections of the process together should stay below, because a server has a writer for each tenant.
const HEAP_BYTES_MAX: i64 = 64 << 20;

/// Pages in the WAL before it is folded into the file, which is when `SQLite` fsyncs: 32 MiB.
const WAL_PAGES_MAX: i64 = 8192;

/// How long a connection waits for another one's lock before it reports busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer of a tenant's views. Dereferences to a [`Reader`] over its own connection.
pub struct Views {
    reader: Reader,
}

/// A connection that answers queries.
pub struct Reader {
    connection: Connection,
}

impl std::ops::Deref for Views {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Views {
    /// Opens the views at `path` for writing, or creates them empty.
    ///
    /// [`ViewError::RebuildNeeded`] when they are of another version: [`Views::recreate`] and project from entry 0.
    pub fn open(path: &Path) -> Result<Self, ViewError> {
        put_empty(path)?;
        let mut connection = Connection::open(path)?;
        set_up(&connection)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.pragma_update(None, "soft_heap_limit", HEAP_BYTES_MAX)?;
        if is_empty(&connection)? {
            create(&mut connection)?;
        }
        check_version(&connection)?;
        Ok(Self { reader: Reader { connection } })
    }

    /// Deletes the views at `path`, whatever is there, and creates them empty. No connection to them may be open.
    pub fn recreate(path: &Path) -> Result<Self, ViewError> {
        draft::remove(path)?;
        Self::open(path)
    }

    /// Opens the views at `path` for queries only.
    pub fn open_read_only(path: &Path) -> Result<Reader, ViewError> {
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        set_up(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        check_version(&connection)?;
        Ok(Reader { connection })
    }

    /// Empties the views in one transaction, so that they can be projected again from entry 0 while readers stay connected.
    pub fn reset(&mut self) -> Result<(), ViewError> {
        let transaction = self.reader.connection.transaction()?;
        for table in tables(&transaction)? {
            transaction.execute(&format!("DELETE FROM {table}"), [])?;
        }
        transaction.execute("UPDATE cursors SET next_index = 0, at = 0", [])?;
        transaction.commit()?;
        Ok(())
    }
}

impl Reader {
    /// Asks several things of one state of the views, whatever is written meanwhile. Within another such question, of its state.
    pub fn at_once<T>(&self, question: impl FnOnce(&Self) -> Result<T, ViewError>) -> Result<T, ViewError> {
        // Deferred: the state is that of the first read. Dropped, it is rolled back, and nothing was written.
        let outermost = self.connection.is_autocommit();
        let _state = outermost.then(|| self.connection.unchecked_transaction()).transpose()?;
        question(self)
    }
}

/// What every connection needs: patience, and no trust in what a file's schema could make it do.
fn set_up(connection: &Connection) -> Result<(), ViewError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(96);
    // Otherwise a statement in whose plan a bound value could matter is compiled again each time it is bound: 16 µs, and it never does matter here.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

/// Empty views where there is no file, made once a process: of a thousand new tenants each would wait for its tables to be made, and for the disk
/// several times.
fn put_empty(path: &Path) -> Result<(), ViewError> {
    let place = |source| ViewError::Place { file: path.to_owned(), source };
    let mut file = match File::create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(place(error)),
    };
    file.write_all(empty()?).and_then(|()| file.sync_all()).map_err(place)
}

/// The bytes of empty views.
fn empty() -> Result<&'static [u8], ViewError> {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(bytes) = EMPTY.get() {
        return Ok(bytes);
    }
    let mut connection = Connection::open_in_memory()?;
    create(&mut connection)?;
    let mut bytes = connection.serialize("main")?.to_vec();
    // Read and write version of the file: 2 is with a write-ahead log (https://www.sqlite.org/fileformat.html, 1.3.3).
    bytes[18..20].copy_from_slice(&[2, 2]);
    Ok(EMPTY.get_or_init(|| bytes))
}

fn is_empty(connection: &Connection) -> Result<bool, ViewError> {
    Ok(connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?)
}

/// Every table that holds rows; not the cursors.
fn tables(connection: &Connection) -> Result<Vec<String>, ViewError> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'cursors' ORDER BY name";
    let mut statement = connection.prepare(sql)?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn create(connection: &mut Connection) -> Result<(), ViewError> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute_batch(kpi::SCHEMA)?;
    transaction.execute_batch(maturity::SCHEMA)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(())
}

fn check_version(connection: &Connection) -> Result<(), ViewError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(()),
        (APPLICATION_ID, found) => Err(ViewError::RebuildNeeded { found, expected: SCHEMA_VERSION }),
        (found, _) => Err(ViewError::NotViews { found }),
    }
}

#[cfg(test)]
mod tests;

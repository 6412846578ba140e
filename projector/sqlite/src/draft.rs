//! Views that are made whole before they are there: under another name, without what a crash would need, and then moved into place.
//!
//! Until then the views before stay as they are. What a crash leaves under the other name is thrown away by the next rebuild.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use ledger::kv::Kv;
use ledger::read::Log;
use rusqlite::Connection;

use crate::follow::detail_log;
use crate::rebuild::project_log;
use crate::{ChunkLimits, DetailError, RebuildError, ViewError, Views};

/// Page cache of a draft, KiB: it has the process for itself.
const CACHE_KIB: i64 = 96 * 1024;
/// What `SQLite` may take besides, bytes.
const HEAP_BYTES_MAX: i64 = (CACHE_KIB << 10) + (32 << 20);

/// What nothing asks while core views are written. Made behind all rows, an index is sorted once; beside them, each row would be searched its place.
const CORE_INDICES: [&str; 5] =
    ["changes_by_state", "changes_by_owner", "changes_by_initiator", "changes_by_environment", "events_by_change"];
/// The same of detail.
const DETAIL_INDICES: [&str; 3] = ["anomalies_by_code", "kpi_changes_against", "unwatched_resources"];

/// Views on their way. Dropped before they are published, they leave nothing behind.
pub struct Draft {
    views: Views,
    files: Files,
    path: PathBuf,
}

/// The files under the draft's name, which go with it.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        // Nobody to tell: the next draft tries again, and says what is in its way.
        let _ = remove(&self.0);
    }
}

impl Draft {
    /// Begins empty views that are to be at `path`.
    pub fn begin(path: &Path) -> Result<Self, ViewError> {
        let mut under = path.as_os_str().to_owned();
        under.push(".draft");
        let files = Files(under.into());
        remove(&files.0)?;
        let views = Views::open(&files.0)?;
        let connection = &views.reader.connection;
        connection.pragma_update(None, "journal_mode", "off")?;
        connection.pragma_update(None, "synchronous", "off")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "soft_heap_limit", HEAP_BYTES_MAX)?;
        Ok(Self { views, files, path: path.to_owned() })
    }

    /// Makes the core views of the log as it stands, and gives its size. `progress` hears how far they are after each transaction.
    pub fn core<K: Kv>(&mut self, log: &Log<K>, progress: &dyn Fn(u64)) -> Result<u64, RebuildError> {
        let indices = put_off(&self.views.reader.connection, &CORE_INDICES)?;
        let size = project_log(log, &mut self.views, progress)?;
        self.views.reader.connection.execute_batch(&indices).map_err(ViewError::from)?;
        Ok(size)
    }

    /// Makes the detail tables of what core has.
    pub fn detail<K: Kv + Sync>(
        &mut self,
        log: &Log<K>,
        limits: &ChunkLimits,
        progress: &dyn Fn(u64),
    ) -> Result<(), DetailError> {
        let indices = put_off(&self.views.reader.connection, &DETAIL_INDICES)?;
        detail_log(log, &mut self.views, limits, progress)?;
        Ok(self.views.reader.connection.execute_batch(&indices).map_err(ViewError::from)?)
    }

    /// Settles the levels of up to `days` days; whether there are more.
    pub fn settle(&mut self, days: usize) -> Result<bool, ViewError> {
        self.views.settle_maturity(days)
    }

    /// Puts the views in the place of those before. No connection to these may be open.
    pub fn publish(self) -> Result<(), ViewError> {
        let Self { views, files, path } = self;
        let Views { reader } = views;
        // Closed by its last connection, a file has no write-ahead log left.
        reader.connection.pragma_update(None, "journal_mode", "wal")?;
        reader.connection.close().map_err(|(_, error)| error)?;
        let place = |source| ViewError::Place { file: path.clone(), source };
        File::open(&files.0).and_then(|file| file.sync_all()).map_err(place)?;
        // First, because a write-ahead log of the views before would be taken for one of these.
        remove(&path)?;
        std::fs::rename(&files.0, &path).map_err(place)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(place)
    }
}

/// Drops indices, and gives the statements that make them.
fn put_off(connection: &Connection, indices: &[&str]) -> Result<String, ViewError> {
    let mut made = String::new();
    let mut select = connection.prepare("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1")?;
    for name in indices {
        made.push_str(&select.query_row([name], |row| row.get::<_, String>(0))?);
        made.push(';');
        connection.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    Ok(made)
}

/// Removes views and what stands beside them, where they are.
pub(crate) fn remove(path: &Path) -> Result<(), ViewError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = OsString::from(path);
        name.push(suffix);
        let file = PathBuf::from(name);
        match std::fs::remove_file(&file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ViewError::Remove { file, source });
            }
            _ => {}
        }
    }
    Ok(())
}

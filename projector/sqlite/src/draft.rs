//! Views that are made whole before they are there: under another name, without what a crash would need, and then moved into place.
//!
//! Until then the views before stay as they are. What a crash leaves under the other name is thrown away by the next rebuild.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use ledger::kv::Kv;
use ledger::read::Log;

use crate::follow::detail_log;
use crate::rebuild::project_log;
use crate::{ChunkLimits, DetailError, RebuildError, ViewError, Views};

/// Page cache of a draft, KiB: it has the process for itself.
const CACHE_KIB: i64 = 96 * 1024;
/// What `SQLite` may take for the reader besides, bytes.
const HEAP_BYTES_MAX: i64 = (CACHE_KIB << 10) + (32 << 20);
/// Pages in the write-ahead log before it is folded into the file: pages that many chunks write are written there once. 256 MiB.
const WAL_PAGES_MAX: i64 = 65_536;

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
        project_log(log, &mut self.views, progress)
    }

    /// Makes the detail tables of what core has. One thread reads what another writes, which takes a write-ahead log.
    pub fn detail<K: Kv + Sync>(
        &mut self,
        log: &Log<K>,
        limits: &ChunkLimits,
        progress: &dyn Fn(u64),
    ) -> Result<(), DetailError> {
        let pragma = |name, value| self.views.reader.connection.pragma_update(None, name, value);
        pragma("journal_mode", "wal").map_err(ViewError::from)?;
        self.views
            .reader
            .connection
            .pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)
            .map_err(ViewError::from)?;
        let reader = Views::open_read_only(&self.files.0)?;
        detail_log(log, &mut self.views, reader, limits, progress)
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

//! The ledger's key-value trait over `RocksDB`. The only place that knows it.
//!
//! What a row means is not known here, only how its space is used: one column family each, tuned in `tuning`. Contract and
//! failure semantics are those of [`ledger::kv::Kv`].

mod error;
mod tuning;

pub use error::{OpenError, RocksError};

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ledger::kv::{Batch, Kv, KvError, Row, Space};
use ledger::layout::{FORMAT_VERSION, Key, read_u32};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions, WriteBatch};

/// The manifest that `RocksDB` makes for a new store; every later opening makes one with a higher number.
const FIRST_MANIFEST: &str = "MANIFEST-000001";

/// A store on disk. One process has it open for writing at a time; closed when dropped.
pub struct Rocks {
    db: DB,
    path: PathBuf,
    /// Opened for reading alone: what is read is mostly read once and in order.
    read_only: bool,
    /// Set by the first write that fails and never cleared: what it left behind is unknown, and `RocksDB` by itself would
    /// resume after some errors (a full disk) as if nothing had happened.
    failed: AtomicBool,
}

impl Rocks {
    /// Opens the store in `path`, a directory that is made where it is missing.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(path).map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
        refuse_without_current(path)?;
        let db = DB::open_cf_descriptors(&tuning::database(), path, tuning::families())
            .map_err(|source| OpenError::of(path, source))?;
        Self::opened(db, path, false)
    }

    /// Whether nothing was ever written to the store in `path`, which may be missing, or may have been made by a start that came no
    /// further. A store that can't be read is an error: something is in it.
    pub fn is_unwritten(path: &Path) -> Result<bool, OpenError> {
        let unreadable = |source| OpenError::Directory { path: path.to_owned(), source };
        match remains_without_current(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(unreadable(error)),
            Ok(Some(_)) => return Ok(false),
            Ok(None) if !path.join("CURRENT").exists() => return Ok(true),
            Ok(None) => {}
        }
        let families = DB::list_cf(&tuning::reading(), path).map_err(|error| OpenError::of(path, error))?;
        if Space::ALL.iter().any(|space| !families.iter().any(|family| family == space.name())) {
            // The first opening was cut off before it had made all families, and nothing is written before.
            return holds_nothing(path).map_err(unreadable);
        }
        let kv = Self::open_read_only(path)?;
        for space in Space::ALL {
            // Behind every key: the first byte of one is its kind.
            let found = kv.range(space, &[], &[u8::MAX], 1);
            let found =
                found.map_err(|error| OpenError::Damaged { path: path.to_owned(), detail: error.to_string() })?;
            if !found.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Opens the store in `path` for reading, beside the process that writes to it, as it stood at this moment; what is
    /// written later is not seen. `scratch` is a directory of our own for `RocksDB`'s log file, made where it is missing.
    /// Writes fail. Nothing in `path` is touched.
    ///
    /// A damaged write-ahead log can't be told from one that is being written, so rows behind the damage are missing without
    /// a word: where no process writes, use [`Rocks::open_read_only`].
    pub fn open_secondary(path: &Path, scratch: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(scratch).map_err(|source| OpenError::Directory { path: scratch.to_owned(), source })?;
        let options = tuning::beside_a_writer();
        let db = DB::open_cf_descriptors_as_secondary(&options, path, scratch, tuning::families())
            .map_err(|source| OpenError::of(path, source))?;
        // The tables were listed before the write-ahead logs were read: what was moved from one to the other in between is
        // in neither, until a second look.
        db.try_catch_up_with_primary().map_err(|source| OpenError::of(path, source))?;
        Self::opened(db, path, true)
    }

    /// Opens the store in `path` for reading while no process writes to it. Writes fail. Nothing in `path` is changed but
    /// `RocksDB`'s own `LOG` files.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let db = DB::open_cf_descriptors_read_only(&tuning::reading(), path, tuning::families(), false)
            .map_err(|source| OpenError::of(path, source))?;
        Self::opened(db, path, true)
    }

    fn opened(db: DB, path: &Path, read_only: bool) -> Result<Self, OpenError> {
        let rocks = Self { db, path: path.to_owned(), read_only, failed: AtomicBool::new(false) };
        rocks.refuse_other_format()?;
        Ok(rocks)
    }

    /// Where the store lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what is only in the write-ahead log into its tables, so that the next start replays nothing, and closes.
    /// Nothing is lost without it.
    pub fn close(self) -> Result<(), RocksError> {
        if self.read_only || self.failed.load(Ordering::Acquire) {
            // Whether the failed rows are kept is for the next start to find out, not for a flush to decide.
            return Ok(());
        }
        let families = Space::ALL.map(|space| self.family(space));
        let families: Vec<&ColumnFamily> = families.into_iter().flatten().collect();
        self.db.flush_cfs_opt(&families, &rocksdb::FlushOptions::default()).map_err(RocksError)?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }

    /// A counter or figure of `RocksDB` itself, such as `rocksdb.cur-size-all-mem-tables`, summed over all spaces.
    pub fn property(&self, name: &str) -> u64 {
        let values = Space::ALL.map(|space| self.property_of(space, name));
        values.into_iter().sum()
    }

    fn property_of(&self, space: Space, name: &str) -> u64 {
        let family = self.family(space);
        family.and_then(|family| self.db.property_int_value_cf(family, name).ok().flatten()).unwrap_or(0)
    }

    fn refuse_other_format(&self) -> Result<(), OpenError> {
        let damaged = |detail: String| OpenError::Damaged { path: self.path.clone(), detail };
        let row = self.get(Space::Meta, &Key::Format.bytes()).map_err(|error| {
            // RocksDB's own words name the file.
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            damaged(format!("{error}{}", cause.unwrap_or_default()))
        })?;
        let Some(row) = row else { return Ok(()) };
        let found = read_u32("format", &row).map_err(|error| damaged(error.to_string()))?;
        if found != FORMAT_VERSION {
            return Err(OpenError::OtherFormat { path: self.path.clone(), found, known: FORMAT_VERSION });
        }
        Ok(())
    }

    /// All families are made when opening, so none is ever missing.
    fn family(&self, space: Space) -> Option<&ColumnFamily> {
        self.db.cf_handle(space.name())
    }

    fn reading(&self, space: Space, what: &'static str) -> Result<&ColumnFamily, KvError> {
        self.family(space).ok_or_else(|| KvError::Read { what, space, source: Box::new(error::NoFamily(space)) })
    }

    fn write_batch(&self, batch: &Batch) -> Result<WriteBatch, KvError> {
        let mut rows = WriteBatch::with_capacity_bytes(batch.bytes() + 16 * batch.len());
        for (space, key, value) in batch.rows() {
            let family =
                self.family(space).ok_or_else(|| KvError::Write { source: Box::new(error::NoFamily(space)) })?;
            match value {
                Some(value) => rows.put_cf(family, key, value),
                None => rows.delete_cf(family, key),
            }
        }
        Ok(rows)
    }
}

impl Kv for Rocks {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let family = self.reading(space, "get")?;
        self.db.get_cf(family, key).map_err(|error| read_error("get", space, error))
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        let family = self.reading(space, "get_many")?;
        let values = self.db.batched_multi_get_cf(family, keys.iter().copied(), keys.is_sorted());
        let value = |value: Result<Option<rocksdb::DBPinnableSlice<'_>>, rocksdb::Error>| match value {
            Ok(value) => Ok(value.map(|value| value.to_vec())),
            Err(error) => Err(read_error("get_many", space, error)),
        };
        values.into_iter().map(value).collect()
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        let family = self.reading(space, "range")?;
        if from >= to {
            return Ok(Vec::new());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        if self.read_only && limit >= tuning::LONG_SCAN {
            tuning::scan(&mut options);
        }
        let rows = self.db.iterator_cf_opt(family, options, IteratorMode::From(from, Direction::Forward));
        let rows = rows.take(limit).map(|row| row.map(|(key, value)| (key.into_vec(), value.into_vec())));
        rows.collect::<Result<_, _>>().map_err(|error| read_error("range", space, error))
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], row: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KvError> {
        let family = self.reading(space, "scan")?;
        if from >= to {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        tuning::scan(&mut options);
        let mut rows = self.db.raw_iterator_cf_opt(family, options);
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            row(key, value);
            rows.next();
        }
        rows.status().map_err(|error| read_error("scan", space, error))
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(KvError::WriteAfterFailure);
        }
        let rows = self.write_batch(&batch)?;
        self.db.write_opt(rows, &tuning::synced()).map_err(|error| {
            self.failed.store(true, Ordering::Release);
            KvError::Write { source: Box::new(RocksError(error)) }
        })
    }

    fn write_aside(&self, batch: Batch) -> Result<(), KvError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(KvError::WriteAfterFailure);
        }
        let rows = self.write_batch(&batch)?;
        let written = self.db.write_opt(rows, &tuning::unsynced());
        written.map_err(|error| KvError::Write { source: Box::new(RocksError(error)) })
    }
}

/// `RocksDB` takes a directory without the file `CURRENT` for a new store, and deletes the tables that it finds there.
fn refuse_without_current(path: &Path) -> Result<(), OpenError> {
    match remains_without_current(path).map_err(|source| OpenError::Directory { path: path.to_owned(), source })? {
        Some(name) => {
            let detail = format!("the file CURRENT is missing, and {name} is there: restore a backup");
            Err(OpenError::Damaged { path: path.to_owned(), detail })
        }
        None => Ok(()),
    }
}

/// A file of a store that was opened once and lacks `CURRENT`. Its first manifest is none: it is written before `CURRENT`, and the
/// write-ahead log only after it, so that where it stands alone the very first opening was cut off, and nothing was ever written.
fn remains_without_current(path: &Path) -> std::io::Result<Option<String>> {
    if path.join("CURRENT").exists() {
        return Ok(None);
    }
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let manifest = name.starts_with("MANIFEST-") && name != FIRST_MANIFEST;
        if manifest || file.extension().is_some_and(|kind| kind == "sst" || kind == "log") {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether there are neither tables nor anything in a write-ahead log.
fn holds_nothing(path: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let kind = file.extension().unwrap_or_default();
        if kind == "sst" || (kind == "log" && file.metadata()?.len() > 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_error(what: &'static str, space: Space, error: rocksdb::Error) -> KvError {
    KvError::Read { what, space, source: Box::new(RocksError(error)) }
}

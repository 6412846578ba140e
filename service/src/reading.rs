//! A store opened for reading alone: at rest under the directory's lock, or beside the server that writes to it.

use std::fs;
use std::path::{Path, PathBuf};

use ledger_rocks::{OpenError, Rocks};

use crate::clock;
use crate::data_dir::{self, DataDirError, Lock};

/// A store that is read, and what keeps it as it is.
pub struct Reading {
    /// The store.
    pub kv: Rocks,
    /// Whether a server writes to it: it is read as it stood when it was opened.
    pub beside_writer: bool,
    _lock: Option<Lock>,
    _scratch: Option<Scratch>,
}

/// Why a store can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// There is none.
    #[error("there is no ledger in {0}")]
    Absent(PathBuf),
    /// The directory.
    #[error(transparent)]
    Dir(#[from] DataDirError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// No randomness for the name of a directory.
    #[error("the system gives no randomness: {0}")]
    NoEntropy(getrandom::Error),
}

impl Reading {
    /// Opens the store of the directory `root`: a data directory or a backup, which hold it in `ledger/`, or the store itself.
    pub fn open(root: &Path) -> Result<Self, ReadingError> {
        let store = store_of(root);
        if !store.join("CURRENT").is_file() {
            return Err(ReadingError::Absent(root.to_owned()));
        }
        // A bare store has no lock of ours.
        let locked = (store != root).then(|| data_dir::lock_file(root));
        match locked {
            Some(Err(DataDirError::InUse { .. })) => Self::beside(&store),
            // At rest; a medium that can't be written to needs no lock.
            locked => {
                let kv = Rocks::open_read_only(&store)?;
                Ok(Self { kv, beside_writer: false, _lock: locked.and_then(Result::ok), _scratch: None })
            }
        }
    }

    fn beside(store: &Path) -> Result<Self, ReadingError> {
        let scratch = Scratch::new()?;
        let kv = Rocks::open_secondary(store, &scratch.0)?;
        Ok(Self { kv, beside_writer: true, _lock: None, _scratch: Some(scratch) })
    }
}

/// Where the store of a directory lies.
pub fn store_of(root: &Path) -> PathBuf {
    if root.join("ledger").is_dir() { root.join("ledger") } else { root.to_owned() }
}

/// A directory for what `RocksDB` writes of its own while it reads beside a writer; goes with us.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, ReadingError> {
        let mut name = [0; 8];
        clock::fill(&mut name).map_err(ReadingError::NoEntropy)?;
        Ok(Self(std::env::temp_dir().join(format!("upm-reading-{}", hex::encode(name)))))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // At worst an empty directory among temporary files stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

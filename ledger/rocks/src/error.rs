//! Why a store can't be opened, told apart: each has another remedy.

use std::io;
use std::path::{Path, PathBuf};

use ledger::kv::Space;
use rocksdb::ErrorKind;
use thiserror::Error;

/// Why the store was not opened. Nothing in it was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store {} is in use by another process", path.display())]
    Locked {
        /// Where the store lies.
        path: PathBuf,
    },
    /// Another version wrote it.
    #[error(
        "the store {} has format {found}, this version knows {known} only: use the version that wrote it, or start another \
         ledger in an empty directory", path.display()
    )]
    OtherFormat {
        /// Where the store lies.
        path: PathBuf,
        /// Format of the store.
        found: u32,
        /// The format that this version knows.
        known: u32,
    },
    /// Bytes on disk are not what was written: a restored backup is needed, going on would sign another history.
    #[error("the store {} is damaged: {detail}", path.display())]
    Damaged {
        /// Where the store lies.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The directory could not be made.
    #[error("the store's directory {} cannot be made", path.display())]
    Directory {
        /// Where the store should lie.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Anything else: permissions, a full disk, a database of another program.
    #[error("the store {} cannot be opened", path.display())]
    Other {
        /// Where the store lies.
        path: PathBuf,
        /// Why not.
        source: RocksError,
    },
}

/// An error of `RocksDB`, in its own words.
#[derive(Debug, Error)]
#[error("RocksDB: {0}")]
pub struct RocksError(#[source] pub(crate) rocksdb::Error);

/// A space without its column family: opening makes all of them.
#[derive(Debug, Error)]
#[error("the store has no column family for {}", .0.name())]
pub(crate) struct NoFamily(pub(crate) Space);

impl OpenError {
    pub(crate) fn of(path: &Path, error: rocksdb::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::IOError if is_lock(error.as_ref()) => Self::Locked { path },
            ErrorKind::Corruption => Self::Damaged { path, detail: error.into_string() },
            // "Column families not opened": spaces that this version does not know.
            _ => Self::Other { path, source: RocksError(error) },
        }
    }
}

/// `RocksDB` has no kind of its own for a held lock. Another process: "While lock file: …/LOCK: Resource temporarily
/// unavailable"; this one: "lock hold by current process, acquire time …: …/LOCK: No locks available".
fn is_lock(message: &str) -> bool {
    message.contains("/LOCK: ")
        && (message.contains("Resource temporarily unavailable") || message.contains("lock hold by current process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_locks_are_told_from_other_errors() {
        let held = [
            "IO error: While lock file: /d/LOCK: Resource temporarily unavailable",
            "IO error: lock hold by current process, acquire time 1 acquiring thread 2: /d/LOCK: No locks available",
        ];
        let other =
            ["IO error: While open a file for lock: /d/LOCK: Permission denied", "IO error: No space left on device"];
        assert!(held.into_iter().all(is_lock));
        assert!(!other.into_iter().any(is_lock));
    }
}

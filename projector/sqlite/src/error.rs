//! What can go wrong with views.

use std::path::PathBuf;

/// Why views could not be opened, projected or queried.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The file's tables or fold are of another version.
    #[error("the views are of version {found}, this program needs {expected}: rebuild them")]
    RebuildNeeded {
        /// Version in the file.
        found: i64,
        /// Version of this program.
        expected: i64,
    },
    /// The file is an `SQLite` database of somebody else.
    #[error("the file is no view of a log (application id {found:#x})")]
    NotViews {
        /// Application id in the file.
        found: i64,
    },
    /// A batch leaves entries out.
    #[error("the views need entry {expected} next, the batch goes on with {found}")]
    Hole {
        /// The cursor, or the entry after the previous one of the batch.
        expected: u64,
        /// The entry that came.
        found: u64,
    },
    /// A number is too large for `SQLite`'s integers.
    #[error("{what} {value} is beyond 2^63")]
    TooLarge {
        /// What the number counts.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// A row does not hold what this program writes: the file was altered.
    #[error("the views hold {found:?} as {what}: rebuild them")]
    Damaged {
        /// The column.
        what: &'static str,
        /// Its value.
        found: String,
    },
    /// A page key that no page gave out.
    #[error("{found:?} is no page key: expected the number that the previous page gave")]
    PageKey {
        /// What was given.
        found: String,
    },
    /// An old file could not be removed.
    #[error("cannot remove {}", file.display())]
    Remove {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// New views could not be put into place.
    #[error("cannot put new views at {}", file.display())]
    Place {
        /// Where they belong.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `SQLite` refused.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

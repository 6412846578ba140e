//! Checkpoints: signed tree heads, C2SP tlog-checkpoint in a C2SP signed-note, and origins, the names of logs.
//!
//! ```text
//! <ledger name>/<tenant>              origin, which is also the name of the key that signs
//! 20852163                            tree size
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — <ledger name>/<tenant> Az3grlgt…
//! ```
//!
//! Extension lines, which C2SP allows and advises against, are refused: our logs sign none, and a line that nobody here
//! understands must not stand in a head that we call verified.

use std::fmt;
use std::ops::Deref;

use crate::encoding;
use crate::hash::{self, Hash};
use crate::note::{KeyName, NoteError, SignedNote, VerifierKey, VerifierKeyError};

/// The longest origin, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 255;

/// The name of a log, `<ledger name>/<tenant>`: a key name of at most 255 bytes with something on both sides of its last `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(KeyName);

/// A tree head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: Origin,
    /// Number of leaves.
    pub size: u64,
    /// Root hash of the tree of that size.
    pub root: Hash,
}

/// Something whose signature has been checked. Only this crate's verification makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

/// Why a checkpoint is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The first line is no origin.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// Not three lines: origin, size, root.
    #[error("a checkpoint has three lines, origin, size and root; found {0} or an unfinished one")]
    Lines(usize),
    /// The second line is no size.
    #[error("not a tree size: {0:?}")]
    Size(String),
    /// The third line is no root, or a tree of size 0 has another root than the empty one.
    #[error("not the root of this tree in base64: {0:?}")]
    Root(String),
    /// Signed by the key of one log, but about another.
    #[error("the checkpoint is of log {found}, the key is of {expected}")]
    OtherLog {
        /// Name of the key.
        expected: KeyName,
        /// Origin in the checkpoint.
        found: Origin,
    },
}

/// A text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It cannot be the name of a key.
    #[error("origin: {0}")]
    Name(#[from] VerifierKeyError),
    /// No `/`, or nothing before or after it.
    #[error("an origin is `<ledger>/<tenant>`; found {0:?}")]
    Form(String),
    /// Longer than [`MAX_ORIGIN_BYTES`].
    #[error("an origin of {0} bytes, more than {MAX_ORIGIN_BYTES}")]
    TooLong(usize),
}

impl Origin {
    /// The only way to an origin.
    pub fn parse(text: &str) -> Result<Origin, OriginError> {
        if text.len() > MAX_ORIGIN_BYTES {
            return Err(OriginError::TooLong(text.len()));
        }
        let name = KeyName::parse(text)?;
        match text.rsplit_once('/') {
            Some((ledger, log)) if !ledger.is_empty() && !log.is_empty() => Ok(Origin(name)),
            _ => Err(OriginError::Form(text.to_owned())),
        }
    }

    /// The origin of a tenant's log, or of `_ledger`, in a ledger.
    pub fn of(ledger: &str, log: &str) -> Result<Origin, OriginError> {
        if log.contains('/') {
            return Err(OriginError::Form(format!("{ledger}/{log}").chars().take(MAX_ORIGIN_BYTES).collect()));
        }
        Origin::parse(&format!("{ledger}/{log}"))
    }

    /// The whole origin.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name of the ledger: what stands before the last `/`.
    pub fn ledger(&self) -> &str {
        self.as_str().rsplit_once('/').map_or("", |(ledger, _)| ledger)
    }

    /// The log's name within its ledger: the tenant, or `_ledger`.
    pub fn log(&self) -> &str {
        self.as_str().rsplit_once('/').map_or("", |(_, log)| log)
    }

    /// The name of the key that signs this log's checkpoints.
    pub fn key_name(&self) -> &KeyName {
        &self.0
    }
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }

    /// The checkpoint of a text, unverified. Only the text that [`Checkpoint::text`] writes is read.
    pub fn parse_text(text: &str) -> Result<Checkpoint, CheckpointError> {
        let lines: Vec<&str> = text.split('\n').take(5).collect();
        let &[origin, size, root, ""] = lines.as_slice() else {
            return Err(CheckpointError::Lines(text.split('\n').count().saturating_sub(1)));
        };
        let origin = Origin::parse(origin)?;
        let size = encoding::from_decimal(size).ok_or_else(|| CheckpointError::Size(size.to_owned()))?;
        let bad_root = || CheckpointError::Root(root.to_owned());
        let root = Hash::from_base64(root).map_err(|_| bad_root())?;
        if size == 0 && root != hash::empty_root() {
            return Err(bad_root());
        }
        Ok(Checkpoint { origin, size, root })
    }
}

/// Reads a checkpoint and checks that `key` signed it and is the key of the log that it is about.
pub fn open(note: &str, key: &VerifierKey) -> Result<Verified<Checkpoint>, CheckpointError> {
    let note = SignedNote::parse(note)?;
    note.verify(std::slice::from_ref(key))?;
    let checkpoint = Checkpoint::parse_text(note.text())?;
    if checkpoint.origin.key_name() != key.name() {
        return Err(CheckpointError::OtherLog { expected: key.name().clone(), found: checkpoint.origin });
    }
    Ok(Verified(checkpoint))
}

/// Reads a checkpoint without checking any signature: for showing what it claims, never for trust.
pub fn peek(note: &str) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::parse_text(SignedNote::parse(note)?.text())
}

impl<T> Verified<T> {
    /// The thing, without the proof that it was verified.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

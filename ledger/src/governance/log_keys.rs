//! The keys of one log over time: who signs the checkpoint of which size, and which signature is worth nothing any more.
//!
//! ```text
//! size:    1 ………………… i │ i+1 ………… from │ from+1 …
//! signs:   old          │ old and new   │ new            retired by entry i, which names `from` ≥ i
//! signs:   old          │ new                            lost or compromised by entry i, which names `from` ≤ i:
//!                                                        what old signed past `from` is refuted
//! ```

use crate::checkpoint::{self, Checkpoint, CheckpointError, Origin, Verified};
use crate::key::PublicKey;
use crate::note::{NoteError, SignedNote, VerifierKey};

use super::act::{KeyChange, KeyStatus};

/// The keys of one log, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys {
    origin: Origin,
    keys: Vec<LogKey>,
}

/// One key of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The key.
    pub key: PublicKey,
    /// The first tree size that it signs.
    pub since: u64,
    /// How it ended; none for the current one.
    pub end: Option<KeyEnd>,
}

/// The end of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEnd {
    /// What was said of it.
    pub status: KeyStatus,
    /// The last tree size that its signature counts for.
    pub from: u64,
    /// Index of the entry that ended it.
    pub index: u64,
}

/// Why a checkpoint is not believed, given all keys of its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogKeysError {
    /// Of another log, not a checkpoint, or a signature that does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// One who has to sign did not.
    #[error("the checkpoint of size {size} has no signature of {missing}, which signs from size {since} on")]
    Unsigned {
        /// Its size.
        size: u64,
        /// The key whose signature is missing.
        missing: VerifierKey,
        /// The first size that it signs.
        since: u64,
    },
    /// Signed by a key that was lost or stolen by then.
    #[error("the checkpoint of size {size} is signed by {key}, which was declared {} past size {from} (entry {index})", status.as_str())]
    Refuted {
        /// Its size.
        size: u64,
        /// The key.
        key: VerifierKey,
        /// What was said of the key.
        status: KeyStatus,
        /// The last size that its signature counts for.
        from: u64,
        /// The entry that says so.
        index: u64,
    },
}

impl LogKeys {
    /// A log with the key of its first entry.
    pub fn new(origin: Origin, first: PublicKey) -> LogKeys {
        LogKeys { origin, keys: vec![LogKey { key: first, since: 0, end: None }] }
    }

    /// The log.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// All keys, oldest first.
    pub fn history(&self) -> &[LogKey] {
        &self.keys
    }

    /// The newest key.
    pub fn current(&self) -> &PublicKey {
        // Never empty: `new` begins with one, and none is taken away.
        &self.keys[self.keys.len() - 1].key
    }

    /// The newest key under the log's name.
    pub fn verifier(&self) -> VerifierKey {
        self.named(self.current())
    }

    /// The first key under the log's name.
    pub fn first_verifier(&self) -> VerifierKey {
        self.named(&self.keys[0].key)
    }

    /// Every key that the log ever had, under its name.
    pub fn verifiers(&self) -> Vec<VerifierKey> {
        self.keys.iter().map(|key| self.named(&key.key)).collect()
    }

    /// Whether the log ever had this key.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|known| known.key == *key)
    }

    /// The keys that sign the checkpoint of `size`: all of them have to. Oldest first, never empty.
    pub fn signing(&self, size: u64) -> impl Iterator<Item = &LogKey> {
        self.keys.iter().filter(move |key| key.signs(size))
    }

    /// The key that signs the checkpoint of `size`, where whoever signed it may be somebody who stole or found that key: it was declared
    /// lost or compromised later, and no other key signs this size. A signature by it counts, but does not say when it was made.
    pub fn doubtful(&self, size: u64) -> Option<&LogKey> {
        let gone = |key: &&LogKey| key.end.is_some_and(|end| end.status != KeyStatus::Retired);
        let mut signing = self.signing(size).peekable();
        let first = signing.peek().copied();
        if signing.all(|key| gone(&key)) { first } else { None }
    }

    /// The change of entry `index`. Whether it may be is decided by [`super::Governance`].
    pub(super) fn change(&mut self, index: u64, change: &KeyChange) {
        // A recovery ends every overlap: the key that would have to sign along may be what was lost.
        if change.status != KeyStatus::Retired {
            for end in self.keys.iter_mut().filter_map(|key| key.end.as_mut()) {
                if end.status == KeyStatus::Retired {
                    end.from = end.from.min(index);
                }
            }
        }
        if let Some(last) = self.keys.last_mut() {
            last.end = Some(KeyEnd { status: change.status, from: change.from, index });
        }
        self.keys.push(LogKey { key: change.new, since: index + 1, end: None });
    }

    /// Reads a checkpoint of this log and checks that everybody signed who has to, and nobody whose signature counts no more.
    pub fn open(&self, note: &str) -> Result<Verified<Checkpoint>, LogKeysError> {
        let claimed = checkpoint::peek(note)?;
        let size = claimed.size;
        if claimed.origin != self.origin {
            let (expected, found) = (self.origin.key_name().clone(), claimed.origin);
            return Err(CheckpointError::OtherLog { expected, found }.into());
        }
        let all = self.verifiers();
        let signers = SignedNote::parse(note).and_then(|note| {
            note.verify(&all).map(|signers| signers.into_iter().map(|key| *key.key()).collect::<Vec<_>>())
        });
        let signers = signers.map_err(CheckpointError::from)?;
        for key in self.signing(size) {
            if !signers.contains(&key.key) {
                return Err(LogKeysError::Unsigned { size, missing: self.named(&key.key), since: key.since });
            }
            if let Some(KeyEnd { status, from, index }) = key.end.filter(|end| size > end.from) {
                return Err(LogKeysError::Refuted { size, key: self.named(&key.key), status, from, index });
            }
        }
        let any = self.signing(size).next().map_or_else(|| self.verifier(), |key| self.named(&key.key));
        Ok(checkpoint::open(note, &any)?)
    }

    /// The same for a checkpoint out of our own store: signed by those who had to when it was made, whatever was said of their
    /// keys later. For `fsck`, which asks whether the store is whole, not whom to trust.
    pub fn open_stored(&self, note: &str) -> Result<Verified<Checkpoint>, LogKeysError> {
        match self.open(note) {
            Err(LogKeysError::Refuted { key, .. }) => Ok(checkpoint::open(note, &key)?),
            other => other,
        }
    }

    fn named(&self, key: &PublicKey) -> VerifierKey {
        VerifierKey::new(self.origin.key_name().clone(), *key)
    }
}

impl LogKey {
    /// The last tree size that it signs; none for the current key.
    pub fn last_size(&self) -> Option<u64> {
        let end = self.end?;
        Some(if end.status == KeyStatus::Retired { end.from.max(end.index) } else { end.index })
    }

    /// The last tree size that its signature counts for; none for the current key.
    pub fn counts_to(&self) -> Option<u64> {
        Some(self.last_size()?.min(self.end?.from))
    }

    /// Whether it signs the checkpoint of `size`.
    fn signs(&self, size: u64) -> bool {
        self.since <= size && self.last_size().is_none_or(|last| size <= last)
    }
}

impl From<NoteError> for LogKeysError {
    fn from(error: NoteError) -> LogKeysError {
        LogKeysError::Checkpoint(error.into())
    }
}

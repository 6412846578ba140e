//! Cosignatures kept beside the checkpoints they are of.
//!
//! They arrive later than the checkpoint, one witness after the other, and may be lost without harm: a witness gives another one.
//! So they are written aside ([`Kv::write_aside`]) and never hold up or fail a round. No entry and no proof depends on them.

use crate::cosignature::Statement;
use crate::entry::{Cosigned, MAX_NUMBER};
use crate::kv::{Batch, Kv};
use crate::layout::{Key, LayoutError, LogId, read_u64};
use crate::note::{MAX_SIGNATURES, NoteError, NoteSignature, SignedNote};
use crate::read::{Log, ReadError};

/// Why cosignatures were not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The log could not be read or written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no such checkpoint.
    #[error("{log} has no checkpoint of size {size}")]
    NoCheckpoint {
        /// Which log.
        log: LogId,
        /// The size.
        size: u64,
    },
    /// What is stored is no note.
    #[error("{log}, checkpoint of size {size}: {source}")]
    Note {
        /// Which log.
        log: LogId,
        /// Its size.
        size: u64,
        /// What is wrong with it.
        source: NoteError,
    },
}

/// Adds cosignatures, verified before, to the checkpoint of `size`, and gives the note with all of them. Of a key that has a line
/// already the older line stays. One caller at a time and log: it reads, then writes.
pub fn keep<K: Kv>(log: &Log<K>, size: u64, lines: &[NoteSignature]) -> Result<SignedNote, KeepError> {
    let note = log.checkpoint_with_cosignatures(size)?;
    let note = note.ok_or(KeepError::NoCheckpoint { log: log.id(), size })?;
    let bad = |source| KeepError::Note { log: log.id(), size, source };
    let kept = SignedNote::parse(&note).map_err(bad)?;
    let is_new =
        |line: &&NoteSignature| !kept.signatures().iter().any(|old| old.name == line.name && old.id == line.id);
    let room = MAX_SIGNATURES.saturating_sub(kept.signatures().len());
    let new: String = lines.iter().filter(is_new).take(room).map(NoteSignature::to_line).collect();
    if new.is_empty() {
        return Ok(kept);
    }
    let all = log.cosignatures(size)?.unwrap_or_default() + &new;
    let key = Key::Cosignatures(log.id(), size);
    write(log, &key, all.into_bytes())?;
    SignedNote::parse(&(note + &new)).map_err(bad)
}

/// Remembers that the checkpoint of `size` has enough cosignatures, unless a larger one has.
pub fn set_newest<K: Kv>(log: &Log<K>, size: u64) -> Result<(), ReadError> {
    if log.newest_cosigned_size()?.is_none_or(|newest| newest < size) {
        write(log, &Key::NewestCosigned(log.id()), size.to_be_bytes().to_vec())?;
    }
    Ok(())
}

fn write<K: Kv>(log: &Log<K>, key: &Key, value: Vec<u8>) -> Result<(), ReadError> {
    let row = key.with_check(value);
    let mut batch = Batch::with_capacity(1, row.len() + 16);
    batch.put(key.space(), &key.bytes(), &[&row]);
    Ok(log.kv().write_aside(batch)?)
}

impl<K: Kv> Log<K> {
    /// The cosignature lines of the checkpoint of `size`, each with its newline.
    pub fn cosignatures(&self, size: u64) -> Result<Option<String>, ReadError> {
        let key = Key::Cosignatures(self.id(), size);
        let Some(row) = self.kv().get(key.space(), &key.bytes())? else { return Ok(None) };
        let lines = std::str::from_utf8(key.without_check(&row)?);
        let lines = lines.map_err(|_| LayoutError { what: "cosignatures", expected: "UTF-8", found: row.len() })?;
        Ok(Some(lines.to_owned()))
    }

    /// The same, taken apart.
    pub fn cosignature_lines(&self, size: u64) -> Result<Vec<NoteSignature>, ReadError> {
        let Some(lines) = self.cosignatures(size)? else { return Ok(Vec::new()) };
        // A note of any text: only its lines are looked at.
        let note = SignedNote::parse(&format!("-\n\n{lines}"));
        let note =
            note.map_err(|_| LayoutError { what: "cosignatures", expected: "note lines", found: lines.len() })?;
        Ok(note.signatures().to_vec())
    }

    /// The note over the tree of exactly `size` entries, with every cosignature that it has; none where no round ended there.
    pub fn checkpoint_with_cosignatures(&self, size: u64) -> Result<Option<String>, ReadError> {
        let Some(note) = self.checkpoint(size)? else { return Ok(None) };
        Ok(Some(note + &self.cosignatures(size)?.unwrap_or_default()))
    }

    /// The newest checkpoint, with every cosignature that it has, which may be none yet.
    pub fn newest_checkpoint_with_cosignatures(&self) -> Result<String, ReadError> {
        let size = self.head()?.size;
        let note = self.checkpoint_with_cosignatures(size)?;
        note.ok_or(ReadError::Missing { what: "checkpoint", log: self.id(), number: size })
    }

    /// Size of the newest checkpoint that has as many cosignatures as the policy in force when they came asked for.
    pub fn newest_cosigned_size(&self) -> Result<Option<u64>, ReadError> {
        let key = Key::NewestCosigned(self.id());
        let Some(row) = self.kv().get(key.space(), &key.bytes())? else { return Ok(None) };
        Ok(Some(read_u64("newest cosigned", key.without_check(&row)?)?))
    }

    /// That checkpoint, with its cosignatures.
    pub fn newest_cosigned(&self) -> Result<Option<(u64, String)>, ReadError> {
        // The size may have outlived its lines where the power went between two writes: then it is as if none had come.
        let Some(size) = self.newest_cosigned_size()? else { return Ok(None) };
        if self.cosignatures(size)?.is_none() {
            return Ok(None);
        }
        Ok(self.checkpoint_with_cosignatures(size)?.map(|note| (size, note)))
    }

    /// The newest cosigned checkpoint as a heartbeat states it: its tree, one witness, and when that one cosigned; of several
    /// witnesses the last to come, so that the time is one at which all of them had.
    pub fn cosigned(&self) -> Result<Option<Cosigned>, ReadError> {
        let Some((size, note)) = self.newest_cosigned()? else { return Ok(None) };
        let damaged = |expected| LayoutError { what: "cosigned checkpoint", expected, found: note.len() };
        let text = SignedNote::parse(&note).map_err(|_| damaged("a signed note"))?.text().to_owned();
        let root = Statement::parse(&text).map_err(|_| damaged("a checkpoint"))?.root;
        let timed = self.cosignature_lines(size)?.into_iter().filter_map(|line| {
            let time = u64::from_be_bytes(*line.signature.first_chunk::<8>()?);
            Some((time, line.name))
        });
        // No heartbeat can state a time past what its JSON holds, and none must fail by what a witness says.
        let last = timed.filter(|(time, _)| (1..=MAX_NUMBER).contains(time)).max_by_key(|(time, _)| *time);
        Ok(last.map(|(time, witness)| Cosigned { size, root, witness, time }))
    }
}

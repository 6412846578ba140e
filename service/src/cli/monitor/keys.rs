//! Which key signs which size of a log that is watched.
//!
//! Our servers say how a log's keys took each other's place (`keys/chain`): the acts themselves, each proved to be in the log, from a key
//! that was given. Then each key counts for its sizes alone. What was learned once is kept beside the state (`STATE.keys`): a server
//! that hides it later changes nothing. Of a log that says nothing of its keys the given ones count in their order: after one of them
//! has signed, an earlier one alone does not.

use std::io;
use std::path::{Path, PathBuf};

use ledger::checkpoint::{self, Checkpoint, CheckpointError};
use ledger::governance::{KeyChain, LogKey, LogKeys};
use ledger::note::{SignedNote, VerifierKey};

use super::{CliError, state_error, with_suffix, write_state};
use crate::bounded::{self, DOCUMENT_MAX};

/// The keys of one log, as far as they are known.
pub struct Keys {
    given: Vec<VerifierKey>,
    learned: Option<Learned>,
    path: PathBuf,
}

/// How a log's keys took each other's place.
struct Learned {
    chain: KeyChain,
    keys: LogKeys,
    head: Checkpoint,
}

/// Why a note is not believed.
pub struct Refused {
    /// One word, for file names.
    pub what: &'static str,
    /// In a sentence.
    pub why: String,
}

impl Keys {
    /// The keys that were given, and what was learned of them before.
    pub fn read(given: Vec<VerifierKey>, state: &Path) -> Result<Self, CliError> {
        let path = with_suffix(state, "keys");
        let mut keys = Self { given, learned: None, path };
        match bounded::read(&keys.path, DOCUMENT_MAX) {
            Ok(bytes) => {
                let learned = keys.establish(&bytes);
                keys.learned = Some(learned.map_err(|why| {
                    let line = format!("{} tells nothing of the keys that were given: {why}", keys.path.display());
                    CliError::could_not(line)
                        .with_detail("restore it from your own copy, or give a key that the log had")
                })?);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(state_error(&keys.path, &error)),
        }
        Ok(keys)
    }

    /// The name of the log.
    pub fn name(&self) -> &str {
        self.given[0].name().as_str()
    }

    /// Takes in what the server says of the log's keys. What it does not say, or what nobody can read, changes nothing; what
    /// contradicts that which was learned before is an error.
    pub fn learn(&mut self, said: Option<&[u8]>) -> Result<(), CliError> {
        let Some(Ok(new)) = said.map(|bytes| self.establish(bytes)) else { return Ok(()) };
        if let Some(old) = &self.learned {
            let agree = old.keys.history().iter().zip(new.keys.history()).all(|(old, new)| {
                let ended = |key: &LogKey| key.end.map(|end| (end.index, end.status));
                (&old.key, old.since) == (&new.key, new.since) && (old.end.is_none() || ended(old) == ended(new))
            });
            if !agree || old.chain.first_entry() != new.chain.first_entry() {
                let saved = with_suffix(&self.path, "seen");
                let text = String::from_utf8_lossy(said.unwrap_or_default()).into_owned();
                let saved = match write_state(&saved, &text) {
                    Ok(()) => format!("saved: {} (before: {})", saved.display(), self.path.display()),
                    Err(error) => format!("NOT saved: {}: {error}", saved.display()),
                };
                return Err(CliError::no(format!("KEYS: {}: another history of its keys than before", self.name()))
                    .with_detail(saved));
            }
            if new.keys.history().len() <= old.keys.history().len() {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&new.chain.print()).into_owned();
        write_state(&self.path, &text).map_err(|error| state_error(&self.path, &error))?;
        self.learned = Some(new);
        Ok(())
    }

    /// The head that the log's keys were learned under: every later one has to extend it.
    pub fn learned_under(&self) -> Option<&Checkpoint> {
        self.learned.as_ref().map(|learned| &learned.head)
    }

    /// The head in a note that was just seen, if those signed it who sign its size. `before` is the note that was kept.
    pub fn open(&self, note: &str, before: Option<&str>) -> Result<Checkpoint, Refused> {
        if let Some(learned) = &self.learned {
            let opened = learned.keys.open(note).map(ledger::checkpoint::Verified::into_inner);
            return opened.map_err(|error| Refused { what: "signature", why: error.to_string() });
        }
        let (place, head) = self.given_signer(note)?;
        let last = before.and_then(|note| self.given_signer(note).ok()).map_or(0, |(place, _)| place);
        if place < last {
            let (old, new) = (self.given[place].to_vkey(), self.given[last].to_vkey());
            let why = format!("signed by {old} alone, after {new} had signed");
            return Err(Refused { what: "signature", why });
        }
        Ok(head)
    }

    /// Why a note that the log's key did sign is none that can be read here; none where it can be, or where the key did not sign it. C2SP
    /// allows more than our own logs do: any origin, a key of another name, extension lines. Nothing is wrong with such a log, and
    /// nothing is known of it. Of one that was `known` until now with the name of its key, another name is no matter of form.
    pub fn unreadable(&self, note: &str, known: bool) -> Option<String> {
        let note = SignedNote::parse(note).ok()?;
        let learned = self.learned.iter().flat_map(|learned| learned.keys.verifiers());
        let keys: Vec<VerifierKey> = self.given.iter().cloned().chain(learned).collect();
        note.verify(&keys).ok()?;
        match Checkpoint::parse_text(note.text()) {
            Err(error @ (CheckpointError::Lines(_) | CheckpointError::Origin(_))) => Some(error.to_string()),
            Ok(head) if !known && head.origin.as_str() != self.name() => {
                Some(format!("it is of log {}, and the key has another name, {}", head.origin, self.name()))
            }
            _ => None,
        }
    }

    /// The head in a note of our own: it was believed when it was kept.
    pub fn open_kept(&self, note: &str) -> Result<Checkpoint, String> {
        if let Some(learned) = &self.learned
            && let Ok(head) = learned.keys.open_stored(note)
        {
            return Ok(head.into_inner());
        }
        self.given_signer(note).map(|(_, head)| head).map_err(|refused| refused.why)
    }

    /// The last of the given keys that signed a note, and its head.
    fn given_signer(&self, note: &str) -> Result<(usize, Checkpoint), Refused> {
        let mut refused = None;
        for (place, key) in self.given.iter().enumerate().rev() {
            match checkpoint::open(note, key) {
                Ok(head) => return Ok((place, head.into_inner())),
                Err(error) => refused = Some(error),
            }
        }
        let what = if matches!(refused, Some(CheckpointError::OtherLog { .. })) { "origin" } else { "signature" };
        Err(Refused { what, why: refused.map_or_else(String::new, |error| error.to_string()) })
    }

    fn establish(&self, bytes: &[u8]) -> Result<Learned, String> {
        let chain = KeyChain::parse(bytes).map_err(|error| error.to_string())?;
        let mut refused = String::new();
        for given in &self.given {
            match chain.establish(given) {
                Ok(keys) => {
                    let head = checkpoint::peek(chain.checkpoint()).map_err(|error| error.to_string())?;
                    return Ok(Learned { chain, keys, head });
                }
                Err(error) => refused = error.to_string(),
            }
        }
        Err(refused)
    }
}

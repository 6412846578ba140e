//! How far trust reaches: the key, a checkpoint that the verifier kept, and witnesses.
//!
//! The comparison itself is [`ledger::consistency`], what witnesses said is [`super::cosigned`]; here it becomes a reach.

use ledger::checkpoint::{Checkpoint, Verified};
use ledger::consistency::{self, Compared, ConsistencyProof};

use super::always_unproved;
use super::cosigned::{self, Witnessed};
use super::keys::Keys;
use crate::report::{Id, Log};
use crate::trust::{Reach, Trust};

/// Establishes how far trust reaches beyond a checkpoint whose signature was checked under `key`, and records the checks that
/// this takes.
///
/// `head` is the verified checkpoint at hand; `None` when there is none under a trusted key. `note` is the note that it was in.
pub(crate) fn establish(
    trust: &Trust,
    head: Option<(&Verified<Checkpoint>, &Keys)>,
    note: Option<&str>,
    log: &mut Log,
) -> Reached {
    establish_beside(trust, head, note, None, log)
}

/// The same, where `compared` says whether the kept checkpoint fits, if that is known already.
pub(crate) fn establish_beside(
    trust: &Trust,
    head: Option<(&Verified<Checkpoint>, &Keys)>,
    note: Option<&str>,
    compared: Option<bool>,
    log: &mut Log,
) -> Reached {
    let mut reach = if head.is_some() { Reach::OperatorOnly } else { Reach::None };
    if compared == Some(true) {
        reach = Reach::KeptCheckpoint;
    }
    if let Some(known) = trust.known_checkpoint.as_ref().filter(|_| compared.is_none()) {
        match head {
            None => log.not_done(Id::KnownCheckpoint, "there is no checkpoint under a trusted key to compare it with"),
            Some((head, keys)) => {
                if compare(known, trust.consistency.as_deref(), head, keys, log) {
                    reach = Reach::KeptCheckpoint;
                }
            }
        }
    }
    let kept = reach == Reach::KeptCheckpoint;
    let witnessed = cosigned::check(note, head.map(|(head, _)| head), trust, log);
    if witnessed.is_some() {
        reach = Reach::Witnessed;
    }
    let of_witnesses = witnessed.as_ref().map(|Witnessed(words)| words.clone());
    // A head that a verifier kept, or that a witness saw in time, is none that a thief made later.
    let doubt = if reach == Reach::OperatorOnly { head.and_then(|(head, keys)| keys.doubt(head)) } else { None };
    let words = match (witnessed, &doubt) {
        (Some(Witnessed(words)), _) if kept => format!("{words}, and {}", Reach::KeptCheckpoint.words()),
        (Some(Witnessed(words)), _) => words,
        (None, Some(doubt)) => doubt.words.clone(),
        (None, None) => reach.words().to_owned(),
    };
    if let Some(required) = trust.require {
        let words = format!("required: {}; reached: {words}", required.words());
        if reach >= required { log.ok(Id::Require, words) } else { log.refute(Id::Require, words) }
    }
    Reached { reach, words, of_witnesses, unproved: doubt.map(|doubt| doubt.unproved) }
}

/// How far trust reaches.
pub(crate) struct Reached {
    pub(crate) reach: Reach,
    words: String,
    of_witnesses: Option<String>,
    unproved: Option<String>,
}

impl Reached {
    /// What is not proved, a sentence each.
    pub(crate) fn not_proved(&self) -> Vec<String> {
        let mut out = always_unproved(self.reach);
        out.extend(self.unproved.clone());
        out
    }

    /// Who cosigned, and when, as the verifier's policy asks for it.
    pub(crate) fn of_witnesses(&self) -> Option<&str> {
        self.of_witnesses.as_deref()
    }

    /// The words of a report: a refuted object is trusted for nothing.
    pub(crate) fn words(self, log: &Log) -> String {
        if log.clean() { self.words } else { "nothing (refuted)".to_owned() }
    }
}

fn compare(known: &str, consistency: Option<&str>, head: &Verified<Checkpoint>, keys: &Keys, log: &mut Log) -> bool {
    let known = match keys.open(known) {
        Ok(known) => known,
        Err(error) => {
            log.refute(
                Id::KnownCheckpoint,
                format!("the kept checkpoint is not one of this log under this key: {error}"),
            );
            return false;
        }
    };
    let proof = match consistency.map(ConsistencyProof::parse).transpose() {
        Ok(proof) => proof,
        Err(error) => {
            log.not_done(Id::KnownCheckpoint, format!("not compared: {error}"));
            return false;
        }
    };
    // The proof ends in the larger one, which another key may have signed than this one.
    let key = keys.signing_at(known.size.max(head.size));
    match consistency::compare(&known, head, proof.as_ref(), &key) {
        Ok(Compared::Same) => log.ok(Id::KnownCheckpoint, format!("both have size {} and the same root", head.size)),
        Ok(Compared::Consistent { old, new }) => {
            log.ok(Id::KnownCheckpoint, format!("the tree of size {old} is the beginning of the tree of size {new}"));
        }
        Ok(Compared::NotCompared { old, new }) => {
            let detail = format!(
                "not compared: their sizes are {old} and {new}; a proof between them (--consistency) is needed"
            );
            log.not_done(Id::KnownCheckpoint, detail);
            return false;
        }
        // A proof that does not hold says nothing against the log: anybody can write a wrong one.
        Err(error) if !error.is_fork() => {
            log.not_done(Id::KnownCheckpoint, format!("not compared: {error}"));
            return false;
        }
        Err(error) => {
            log.refute(Id::KnownCheckpoint, error);
            return false;
        }
    }
    true
}

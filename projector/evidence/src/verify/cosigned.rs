//! Cosignatures: those that a pack names are those that its checkpoint carries; those of witnesses that the verifier knows fit;
//! and they are as many as the verifier's policy asks for (C2SP tlog-policy). Nothing here comes out of what is verified but
//! the lines themselves.

use ledger::checkpoint::{Checkpoint, Verified};
use ledger::cosignature::{Cosignature, CosignerKey, cosignatures};
use ledger::note::{NoteSignature, SignedNote, VerifierKey};
use ledger::policy::{Policy, Standing};
use serde_json::Value;

use crate::report::{Id, Log};
use crate::trust::Trust;

/// Who cosigned, in a report's words: the witnesses' names in the policy, and when the last of them had.
pub(super) struct Witnessed(pub(super) String);

/// Checks the cosignatures of a note against the verifier's policy, if there is one. `head` is the note's checkpoint under a
/// trusted key: without one nobody knows of which log the witnesses spoke.
pub(super) fn check(
    note: Option<&str>,
    head: Option<&Verified<Checkpoint>>,
    trust: &Trust,
    log: &mut Log,
) -> Option<Witnessed> {
    let policy = trust.policy.as_ref()?;
    let (Some(note), Some(head)) = (note, head) else {
        log.not_done(Id::Cosignatures, "there is no checkpoint under a trusted key");
        return None;
    };
    if !policy.logs().is_empty() && policy.keys_of(&head.origin).is_empty() {
        log.refute(Id::Cosignatures, format!("the policy accepts other logs, not {}", head.origin));
        return None;
    }
    let signed = match SignedNote::parse(note) {
        Ok(signed) => signed,
        Err(error) => {
            log.refute(Id::Cosignatures, error);
            return None;
        }
    };
    // A line in the name of a witness that we know, which does not fit, was forged or damaged: the note is not to be believed.
    match cosignatures(&signed, policy.witness_keys()) {
        Ok(found) => judge(policy, &found, log),
        Err(error) => {
            log.refute(Id::Cosignatures, error);
            None
        }
    }
}

fn judge(policy: &Policy, found: &[Cosignature<'_>], log: &mut Log) -> Option<Witnessed> {
    let keys: Vec<&CosignerKey> = found.iter().map(|cosignature| cosignature.key).collect();
    match policy.standing(&keys) {
        Standing::Missing(what) => {
            log.not_done(Id::Cosignatures, format!(
                "not as many as the policy asks for: {what}. A policy goes out of date when its witnesses do: name the one that held \
                 then, or ask for what they cosigned (`upm pack --witnessed`)"
            ));
            None
        }
        Standing::Satisfied if found.is_empty() => {
            log.ok(Id::Cosignatures, "the policy asks for none, and there is none");
            None
        }
        Standing::Satisfied => {
            let one = |it: &Cosignature<'_>| match it.time {
                // A cosignature of a subtree (ML-DSA-44) may leave the time out.
                0 => format!("{} (no time stated)", name(policy, it.key)),
                stated => format!("{} at {}", name(policy, it.key), time(stated)),
            };
            log.ok(Id::Cosignatures, found.iter().map(one).collect::<Vec<_>>().join(", "));
            Some(Witnessed(words(policy, found)))
        }
    }
}

/// Whether the lines of a checkpoint beyond those of the log's `own` keys are those that `pack.json` names, in its order. Where no key is at
/// hand the first line is taken for the log's.
pub(crate) fn lines_match(named: &[Value], note: &SignedNote, own: &[VerifierKey]) -> Result<(), String> {
    let mut lines = note.signatures().iter().skip(own.len().max(1)).map(NoteSignature::to_line);
    for value in named {
        let line = lines.next().ok_or("pack.json names a cosignature that the checkpoint does not carry")?;
        if value.as_str() != Some(line.trim_end_matches('\n')) {
            return Err(format!(
                "its line {:?} is not the one that pack.json names",
                line.chars().take(60).collect::<String>()
            ));
        }
    }
    match lines.count() {
        0 => Ok(()),
        more => Err(format!("it has {more} signatures that pack.json does not name")),
    }
}

/// Whether a checkpoint that its keys signed begins with their lines.
pub(crate) fn begins_with(note: &SignedNote, own: &[VerifierKey]) -> Result<(), String> {
    let by = |line: &NoteSignature, key: &VerifierKey| (key.name(), key.id()) == (&line.name, line.id);
    let stranger = |line: &&NoteSignature| !own.iter().any(|key| by(line, key));
    match note.signatures().iter().take(own.len()).find(stranger) {
        Some(line) => Err(format!("a line of {} stands before the log's", line.name)),
        None => Ok(()),
    }
}

/// Who, and when the last of those who state it had seen this tree.
fn words(policy: &Policy, found: &[Cosignature<'_>]) -> String {
    let named = |timed: bool| {
        let names = found.iter().filter(|it| (it.time != 0) == timed).map(|it| name(policy, it.key));
        names.collect::<Vec<_>>().join(", ")
    };
    let last = found.iter().map(|it| it.time).max().unwrap_or_default();
    match (named(true), named(false)) {
        (timed, untimed) if untimed.is_empty() => format!("witnessed by {timed} at {}", time(last)),
        (timed, untimed) if timed.is_empty() => format!("witnessed by {untimed} (no time stated)"),
        (timed, untimed) => format!("witnessed by {timed} at {} and by {untimed} (no time stated)", time(last)),
    }
}

fn name(policy: &Policy, key: &CosignerKey) -> String {
    let found = policy.witnesses().iter().find(|witness| &witness.key == key);
    found.map_or_else(|| key.name().to_string(), |witness| witness.name.clone())
}

/// Seconds since 1970 as a date; as they are where no calendar has them.
fn time(seconds: u64) -> String {
    let text = seconds.checked_mul(1_000).and_then(schemas::time::text);
    text.unwrap_or_else(|| format!("second {seconds}"))
}

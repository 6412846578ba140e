//! Whether the entries are in the tree, are the change, and say what their events say.

use ledger::checkpoint::Origin;
use ledger::entry::{EventHeader, Salt};
use ledger::hash::Hash;
use ledger::proof;
use ledger::receipt::TlogProof;
use schemas::admit::Scratch;
use schemas::ids::ChangeId;

use super::Problem;
use super::contents::Files;
use crate::chain::{self, Mismatch, Opened};
use crate::document::PackDocument;
use crate::files;
use crate::report::{Id, Log, counted};

/// An entry of the pack whose event has not been looked at.
pub(super) struct ReadEntry {
    index: u64,
    leaf: Hash,
    header: EventHeader,
}

/// All entries, or `None` if one could not be read.
pub(super) fn read_entries(document: &PackDocument, files: &Files<'_>, log: &mut Log) -> Option<Vec<ReadEntry>> {
    let read = |index: u64| -> Result<ReadEntry, Problem> {
        let name = files::entry_name(index);
        let bytes = files.get(&name).ok_or_else(|| Problem::Refuted(format!("{name} is missing")))?;
        let header = chain::event_header(index, &bytes).map_err(|error| Problem::from(error).in_file(&name))?;
        Ok(ReadEntry { index, leaf: chain::leaf(&bytes), header })
    };
    match document.entries.iter().map(|entry| read(entry.index)).collect::<Result<Vec<_>, _>>() {
        Ok(entries) => {
            log.ok(Id::LogEntries, format!("{}, canonical", counted(entries.len(), "entry", "entries")));
            Some(entries)
        }
        Err(Problem::Unknown(why)) => {
            log.not_done(Id::LogEntries, why);
            None
        }
        Err(Problem::Refuted(why)) => {
            log.refute(Id::LogEntries, why);
            None
        }
    }
}

pub(super) fn check_inclusion(
    document: &PackDocument,
    entries: Option<&[ReadEntry]>,
    files: &Files<'_>,
    log: &mut Log,
) {
    let Some(entries) = entries else {
        return log.not_done(Id::LogInclusion, "the entries could not be read");
    };
    let checkpoint = files.get(files::CHECKPOINT);
    let result = entries.iter().try_for_each(|entry| {
        included(document, entry, checkpoint.as_deref(), files)
            .map_err(|why| format!("{}: {why}", files::proof_name(entry.index)))
    });
    log.result(
        Id::LogInclusion,
        result.map(|()| format!("{} under size {}", counted(entries.len(), "proof", "proofs"), document.size)),
    );
}

fn included(
    document: &PackDocument,
    entry: &ReadEntry,
    checkpoint: Option<&[u8]>,
    files: &Files<'_>,
) -> Result<(), String> {
    let bytes = files.get(&files::proof_name(entry.index)).ok_or("missing")?;
    let text = std::str::from_utf8(&bytes).map_err(|e| e.to_string())?;
    let proof = TlogProof::parse(text).map_err(|e| e.to_string())?;
    if proof.index != entry.index {
        return Err(format!("it is about index {}", proof.index));
    }
    if checkpoint != Some(proof.checkpoint.as_bytes()) {
        return Err("its checkpoint is not the pack's".to_owned());
    }
    if proof.extra.is_some() || files::proof_text(entry.index, &proof.path, &proof.checkpoint) != text {
        return Err("it is not in the form that a pack has".to_owned());
    }
    let root = Hash::parse(&document.root).map_err(|e| e.to_string())?;
    proof::verify_inclusion(entry.index, document.size, &entry.leaf, &proof.path, &root).map_err(|e| e.to_string())
}

pub(super) fn check_chain(
    document: &PackDocument,
    change: Option<&ChangeId>,
    entries: Option<&[ReadEntry]>,
    log: &mut Log,
) {
    let (Some(entries), Some(change)) = (entries, change) else {
        return log.not_done(Id::LogChain, "the entries or the change's name could not be read");
    };
    let links: Vec<_> = entries.iter().map(|e| (e.index, e.leaf, &e.header)).collect();
    let last = entries.len().saturating_sub(1);
    let result = chain::check_chain(change, &links).map_err(|error| {
        let file = error.index().map_or_else(|| files::PACK.to_owned(), files::entry_name);
        format!("{file}: {error}")
    });
    log.result(
        Id::LogChain,
        result.map(|()| format!("number 0 to {last} of {:?}, each naming the one before it", document.change)),
    );
}

/// Entries with their events, or `None` if one is missing or not the one committed to.
pub(super) fn open_events(
    document: &PackDocument,
    entries: Option<&[ReadEntry]>,
    files: &Files<'_>,
    log: &mut Log,
) -> Option<Vec<Opened>> {
    let Some(entries) = entries else {
        log.not_done(Id::EventsCommitment, "the entries could not be read");
        return None;
    };
    let open = |(entry, reference): (&ReadEntry, &crate::document::EntryRef)| -> Result<Opened, Problem> {
        let Some(salt) = &reference.salt else {
            let why = format!(
                "entry {} has no salt here, as after an erasure, which this verifier cannot check",
                entry.index
            );
            return Err(Problem::Unknown(why));
        };
        let salt = Salt::from_hex(salt).ok_or_else(|| {
            Problem::Refuted(format!("{}: the salt of entry {} is malformed", files::PACK, entry.index))
        })?;
        let name = files::event_name(entry.index, entry.header.phase);
        let payload = files.get(&name).ok_or_else(|| Problem::Refuted(format!("{name} is missing")))?;
        let opened = Opened { index: entry.index, leaf: entry.leaf, header: entry.header.clone(), salt };
        chain::check_commitment(&opened, &payload).map_err(|error| Problem::Refuted(format!("{name}: {error}")))?;
        Ok(opened)
    };
    match entries.iter().zip(&document.entries).map(open).collect::<Result<Vec<_>, _>>() {
        Ok(opened) => {
            log.ok(
                Id::EventsCommitment,
                format!("{}: SHA-256 of salt and bytes, and length", counted(opened.len(), "event", "events")),
            );
            Some(opened)
        }
        Err(Problem::Unknown(why)) => {
            log.not_done(Id::EventsCommitment, why);
            None
        }
        Err(Problem::Refuted(why)) => {
            log.refute(Id::EventsCommitment, why);
            None
        }
    }
}

pub(super) fn check_headers(origin: Option<&Origin>, opened: Option<&[Opened]>, files: &Files<'_>, log: &mut Log) {
    let Some(origin) = origin else {
        return log.not_done(Id::EventsHeaders, "not every event could be read");
    };
    let words = "tenant, change, id, phase, environment, class, probe, sections, outcome, time and masked places";
    let check = |entry: &Opened, payload: &[u8], scratch: &mut Scratch| {
        chain::check_header(origin.log(), entry, payload, scratch)
    };
    under_rules(Id::EventsHeaders, words, opened, files, log, check);
}

pub(super) fn check_masked(opened: Option<&[Opened]>, files: &Files<'_>, log: &mut Log) {
    under_rules(Id::EventsMasked, "masking them again changes nothing", opened, files, log, chain::check_masked);
}

/// A check of each event that needs the rules under which it was admitted.
fn under_rules(
    id: Id,
    holds: &str,
    opened: Option<&[Opened]>,
    files: &Files<'_>,
    log: &mut Log,
    check: impl Fn(&Opened, &[u8], &mut Scratch) -> Result<bool, Mismatch>,
) {
    let Some(opened) = opened else {
        return log.not_done(id, "not every event could be read");
    };
    let mut scratch = Scratch::default();
    let mut unknown = None;
    for entry in opened {
        let name = files::event_name(entry.index, entry.header.phase);
        let Some(payload) = files.get(&name) else {
            return log.not_done(id, format!("{name} could not be read again"));
        };
        match check(entry, &payload, &mut scratch) {
            Ok(true) => {}
            Ok(false) => unknown = Some((entry.index, entry.header.rules)),
            Err(error) => {
                return log.refute(id, format!("{name}: {error}"));
            }
        }
    }
    match unknown {
        Some((index, rules)) => {
            log.not_done(id, format!("entry {index} was admitted under rules {rules}, which this verifier lacks"));
        }
        None => log.ok(id, holds),
    }
}

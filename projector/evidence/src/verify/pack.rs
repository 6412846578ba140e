//! Verification of an evidence pack, from the zip's bytes to the verdict.

use std::io::{Read, Seek};

use ledger::checkpoint::Origin;
use ledger::hash::Hash;
use schemas::ids::ChangeId;

use super::contents::Files;
use super::entries::{check_chain, check_headers, check_inclusion, check_masked, open_events, read_entries};
use super::reach::Reached;
use super::signed::{check_attestation, check_checkpoint, check_sums, find_key, read_document};
use super::{approvals, derived, foreign, keys, objects, reach};
use crate::document::PackDocument;
use crate::files;
use crate::headers::{self, Checked};
use crate::report::{Id, Log, Report};
use crate::trust::Trust;
use crate::zip::{ReadError, ScanError};

/// Everything after the zip's form.
const AFTER_FORM: [Id; 19] = [
    Id::SumsList,
    Id::SumsDigests,
    Id::PackDocument,
    Id::TrustKey,
    Id::CheckpointSignature,
    Id::CheckpointHead,
    Id::AttestationSignature,
    Id::AttestationStatement,
    Id::LogEntries,
    Id::LogInclusion,
    Id::LogChain,
    Id::EventsCommitment,
    Id::EventsHeaders,
    Id::EventsMasked,
    Id::DerivedChange,
    Id::DerivedPage,
    Id::DerivedParts,
    Id::DerivedKeys,
    Id::FilesComplete,
];
/// Everything that needs `pack.json`, in the order of the checks.
const AFTER_DOCUMENT: &[Id] = AFTER_FORM.split_at(3).1;

/// Verifies an evidence pack. Never fails: what could not be read is in the report. It is read several times and never held as a whole.
pub fn verify_pack<R: Read + Seek>(pack: R, trust: &Trust) -> Report {
    let mut log = Log::default();
    match Files::scan(pack) {
        Ok(files) => {
            let (count, bytes) = (files.count(), files.bytes);
            log.ok(Id::ZipForm, format!("{count} files, {bytes} bytes, nothing before, between or after them"));
            contents(&files, trust, log)
        }
        Err(error @ (ScanError::Io(_) | ScanError::Form(ReadError::TooLarge))) => {
            log.not_done(Id::ZipForm, error.to_string());
            unread(trust, log)
        }
        Err(error) => {
            log.refute(Id::ZipForm, error);
            unread(trust, log)
        }
    }
}

/// The report on a zip whose files could not be read.
fn unread(trust: &Trust, mut log: Log) -> Report {
    log.none_done(&AFTER_FORM, "the files of the zip could not be taken for granted");
    let reach = reach::establish(trust, None, None, &mut log);
    report(Vec::new(), None, reach, log)
}

fn contents(files: &Files<'_>, trust: &Trust, mut log: Log) -> Report {
    check_sums(files, &mut log);
    let Some(document) = read_document(files, &mut log) else {
        log.none_done(AFTER_DOCUMENT, "pack.json could not be taken for granted");
        let reach = reach::establish(trust, None, None, &mut log);
        return report(Vec::new(), None, reach, log);
    };
    let origin = Origin::parse(&document.origin).ok();
    let given = find_key(origin.as_ref(), files.get(files::VKEY).as_deref(), trust, &mut log);
    let note = files.text(files::CHECKPOINT);
    let note = note.as_deref();
    let chain = files.get(files::CHAIN);
    let of_pack = |key, log: &mut Log| keys::of_pack(key, note, chain.as_deref(), trust, log);
    let keys = given.and_then(|(key, trusted)| Some((of_pack(key, &mut log)?, trusted)));
    let head = check_checkpoint(&document, keys.as_ref().map(|(keys, _)| keys), note, &mut log);
    let key = keys.as_ref().map(|(keys, trusted)| (&keys.signing, *trusted));
    check_attestation(&document, key.map(|(key, _)| key), files, &mut log);

    let entries = read_entries(&document, files, &mut log);
    check_inclusion(&document, entries.as_deref(), files, &mut log);
    let change = ChangeId::parse(&document.change).ok();
    check_chain(&document, change.as_ref(), entries.as_deref(), &mut log);
    check_later(&document, change.as_ref(), files, &mut log);
    let opened = open_events(&document, entries.as_deref(), files, &mut log);
    check_headers(origin.as_ref(), opened.as_deref(), files, &mut log);
    check_masked(opened.as_deref(), files, &mut log);
    let mut says = foreign::check(&document, opened.as_deref(), files, trust, &mut log);
    says.extend(approvals::check(&document, change.as_ref(), opened.as_deref(), files, trust, &mut log));
    says.extend(objects::check(&document, opened.as_deref(), files, &mut log));
    let root = Hash::parse(&document.root).ok();
    let key_at_hand = key.map(|(key, _)| key);
    derived::check(&document, change.as_ref(), root.as_ref(), opened.as_deref(), key_at_hand, files, &mut log);

    let trusted = match (&head, &keys) {
        (Some(head), Some((keys, true))) => Some((head, keys)),
        _ => None,
    };
    if files.broke() {
        log.not_done(Id::ZipForm, "a file of it could not be read a second time, or had changed meanwhile");
    }
    let reach = reach::establish(trust, trusted, note, &mut log);
    let later = later_entries(&document, trusted.is_some(), &log);
    Report { says, ..report(about(&document), Some(later), reach, log) }
}

fn report(about: Vec<(&'static str, String)>, later_entries: Option<String>, reach: Reached, log: Log) -> Report {
    let mut not_proved = reach.not_proved();
    not_proved.push(
        "the rule of approvals and the time by which change.json judges (approval_rules and as_of_ms in pack.json): the operator \
         states them"
            .to_owned(),
    );
    let words = reach.words(&log);
    let (checks, verdict) = log.finish();
    Report { what: "evidence pack", about, checks, reach: words, later_entries, says: Vec::new(), not_proved, verdict }
}

fn about(document: &PackDocument) -> Vec<(&'static str, String)> {
    vec![
        ("origin", document.origin.clone()),
        ("change", document.change.clone()),
        ("entries", document.entries.len().to_string()),
        ("tree size", document.size.to_string()),
        ("root", document.root.clone()),
    ]
}

/// The headers behind the last entry, if the pack has them.
fn check_later(document: &PackDocument, change: Option<&ChangeId>, files: &Files<'_>, log: &mut Log) {
    if !files.names().any(|name| name.starts_with(crate::population::HEADERS)) {
        return;
    }
    let (Some(change), Some(last), Ok(root)) = (change, document.entries.last(), Hash::parse(&document.root)) else {
        return log.not_done(Id::LaterHeaders, "change, entries or root could not be read");
    };
    let first = last.index.saturating_add(1);
    let checked = headers::check(change, first, document.size, &root, &|name| files.get(name));
    match checked {
        Ok(Checked { unknown: Some(index), .. }) => log.not_done(Id::LaterHeaders, headers::unknown(index)),
        Ok(Checked { count, last_at, .. }) if last_at.is_none_or(|at| at == document.as_of_ms) => {
            log.ok(Id::LaterHeaders, format!("{count} entries behind the last one, up to size {}", document.size));
        }
        Ok(Checked { last_at, .. }) => {
            let (at, found) = (last_at.unwrap_or_default(), document.as_of_ms);
            log.refute(
                Id::LaterHeaders,
                format!("{}: as_of_ms is {found}, the last entry of the tree is at {at}", files::PACK),
            );
        }
        Err(why) => log.refute(Id::LaterHeaders, format!("{}: {why}", crate::population::HEADERS)),
    }
}

/// Entries of the change after the last one here: none if that one is the tree's last, or if all entries behind it are here and none
/// is of the change; else not proved.
fn later_entries(document: &PackDocument, trusted: bool, log: &Log) -> String {
    let last = document.entries.last().and_then(|entry| entry.index.checked_add(1));
    let sound = trusted && log.clean() && log.holds(Id::LogInclusion);
    let words = if sound && last == Some(document.size) {
        "none (proved: its last entry here is the last of the tree)"
    } else if sound && log.holds(Id::LaterHeaders) {
        "none (proved: every entry behind its last one is here, and none is of this change)"
    } else {
        "NOT PROVED (seq and prev show no gap, not that the last is the last)"
    };
    format!("later entries of this change up to size {}: {words}", document.size)
}

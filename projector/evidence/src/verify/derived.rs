//! Whether everything that a pack derives for people and scripts is what its events give, byte for byte, and whether any file is
//! there that nothing explains.

use std::collections::BTreeSet;

use ledger::hash::Hash;
use ledger::note::VerifierKey;
use projector::approval::Rules;
use projector::document::Context;
use projector::fold::FOLD_VERSION;
use schemas::ids::ChangeId;

use super::contents::Files;
use crate::chain::Opened;
use crate::document::{PackDocument, REPORT_VERSION};
use crate::files;
use crate::headers;
use crate::kept;
use crate::planned::{Planned, Shelf, Source};
use crate::report::{Id, Log, counted};
use crate::told::{self, Subject, Told};
use crate::{attest, sums};

/// Directories that the five parts use: what is in them is judged only by a verifier that knows the report's version.
const PART_DIRECTORIES: [&str; 5] = ["plan/", "approvals/", "logs/", "verify/", "rollback/"];

/// Whether a file is only ever compared by its digest, so that it may be of any length.
pub(super) fn by_digest(name: &str) -> bool {
    is_part(name) || [files::CHANGE, files::PAGE].contains(&name)
}

fn is_part(name: &str) -> bool {
    PART_DIRECTORIES.iter().any(|directory| name.starts_with(directory)) || name == "VERIFY.md"
}

/// The checks of what follows from the entries.
const OF_ENTRIES: &[Id] = &[Id::DerivedChange, Id::DerivedPage, Id::DerivedParts];

/// Checks the derived files. `entries` is `None` if not all entries and events could be read.
pub(super) fn check(
    document: &PackDocument,
    change: Option<&ChangeId>,
    root: Option<&Hash>,
    entries: Option<&[Opened]>,
    key: Option<&VerifierKey>,
    files: &Files<'_>,
    log: &mut Log,
) {
    let mut expected: BTreeSet<String> = BTreeSet::new();
    match (entries, change, root) {
        (Some(entries), Some(change), Some(_)) => expected.extend(of_entries(document, change, entries, files, log)),
        _ => log.none_done(OF_ENTRIES, "not re-derived: not every entry and event could be read"),
    }
    match key {
        Some(key) => {
            let hints = files::key_files(key).map(|(name, bytes)| Planned::kept(name, bytes));
            compare(Id::DerivedKeys, &hints, files, log);
            expected.extend(hints.map(|hint| hint.name));
        }
        None => log.not_done(Id::DerivedKeys, "there is no key to compare them with"),
    }
    for fixed in [files::PACK, files::CHECKPOINT, files::VKEY, files::PEM, sums::NAME, attest::NAME] {
        expected.insert(fixed.to_owned());
    }
    // Judged where the keys were found: it is refuted there if it leads nowhere.
    if files.has(files::CHAIN) {
        expected.insert(files::CHAIN.to_owned());
    }
    // Judged beside the entries: it is refuted there if it is not all of them.
    if files.has(headers::FRONTIER) {
        let first = document.entries.last().map_or(0, |last| last.index.saturating_add(1));
        // As many as show that one is missing: for a size that somebody made up there would be no end of them.
        expected.extend(headers::names(first, document.size).take(files.count() + 1));
    }
    expected.extend(log_names(document, entries));
    // Judged beside the events: it is refuted there if none of them refers to it.
    expected.extend(document.objects.iter().map(|object| kept::object_name(&object.hex())));
    complete(document, entries.is_some(), &expected, files, log);
}

/// What is derived from the entries: `change.json` by the fold's version, all else by fold and report. Gives what was derived.
fn of_entries(
    document: &PackDocument,
    change: &ChangeId,
    entries: &[Opened],
    files: &Files<'_>,
    log: &mut Log,
) -> Vec<String> {
    if document.fold != FOLD_VERSION {
        let why = format!(
            "not re-derived: fold version {}, this verifier knows {FOLD_VERSION}: check the pack with one that knows it",
            document.fold
        );
        log.none_done(OF_ENTRIES, &why);
        return named(&[files::CHANGE, files::PAGE]);
    }
    let last_at = entries.iter().map(|entry| entry.header.at).max().unwrap_or_default();
    // `as_of_ms` is the time of the tree's last entry: where that one is here, it is known.
    let ends_here = entries.last().is_some_and(|last| last.index.checked_add(1) == Some(document.size));
    if document.as_of_ms < last_at || (ends_here && document.as_of_ms != last_at) {
        let found = document.as_of_ms;
        let why = format!("pack.json: it judges as of {found} ms, its own last entry is at {last_at} ms");
        log.refute(Id::DerivedChange, why);
    }
    let rules = Rules::from_changes(&document.origin, document.approval_rules.clone());
    let context = Context { rules, as_of_ms: document.as_of_ms };
    let subject = Subject { pack: document, change, context: &context, entries };
    let mut payload = |place: usize| {
        let entry = &entries[place];
        let name = files::event_name(entry.index, entry.header.phase);
        files.get(&name).ok_or(name)
    };
    let Told { change, parts, page } = match told::tell(&subject, &mut payload, &mut Shelf::new()) {
        Ok(told) => told,
        Err(name) => {
            log.none_done(OF_ENTRIES, &format!("not re-derived: {name} could not be read again"));
            return named(&[files::CHANGE, files::PAGE]);
        }
    };
    compare(Id::DerivedChange, &[change], files, log);
    let mut out = named(&[files::CHANGE, files::PAGE]);
    if document.report != REPORT_VERSION {
        let why = format!(
            "not re-derived: report version {}, this verifier knows {REPORT_VERSION}: check the pack with one that knows it",
            document.report
        );
        log.none_done(&[Id::DerivedPage, Id::DerivedParts], &why);
        return out;
    }
    let parts = match parts {
        Ok(parts) => parts,
        Err(error) => {
            log.none_done(&[Id::DerivedPage, Id::DerivedParts], &format!("not re-derived: {error}"));
            return out;
        }
    };
    match page {
        Ok(page) => compare(Id::DerivedPage, page.as_slice(), files, log),
        Err(error) => log.not_done(Id::DerivedPage, format!("not re-derived: {error}")),
    }
    compare(Id::DerivedParts, &parts, files, log);
    out.extend(parts.into_iter().map(|part| part.name));
    out
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn compare(id: Id, derived: &[Planned], files: &Files<'_>, log: &mut Log) {
    for planned in derived {
        let name = &planned.name;
        match files.sha256(name) {
            None => return log.refute(id, format!("{name} is missing")),
            Some(found) if *found != planned.sha256 => {
                return log.refute(id, format!("{name} is not what the entries give{}", place(planned, files)));
            }
            Some(_) => {}
        }
    }
    let words = format!("{}, the same bytes", counted(derived.len(), "file", "files"));
    log.ok(id, words);
}

/// Where a file differs from what was derived, as far as that is at hand.
fn place(planned: &Planned, files: &Files<'_>) -> String {
    let (Source::Kept(expected), Some(found)) = (&planned.source, files.get(&planned.name)) else {
        return format!(" (expected {} bytes with SHA-256 {})", planned.size, hex::encode(planned.sha256));
    };
    let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    format!(" (first differs at byte {at} of {}, expected {} bytes)", found.len(), expected.len())
}

/// Names that the log's own files have. Events need their entry's phase.
fn log_names(document: &PackDocument, entries: Option<&[Opened]>) -> Vec<String> {
    let mut out = Vec::new();
    for entry in &document.entries {
        out.push(files::entry_name(entry.index));
        out.push(files::proof_name(entry.index));
    }
    for entry in entries.unwrap_or_default() {
        out.push(files::event_name(entry.index, entry.header.phase));
    }
    out
}

/// Every file is explained by what the pack is of.
fn complete(document: &PackDocument, opened: bool, expected: &BTreeSet<String>, files: &Files<'_>, log: &mut Log) {
    let known = |name: &str| expected.contains(name);
    let derivable = document.report == REPORT_VERSION && document.fold == FOLD_VERSION;
    let mut unknown = None;
    for name in files.names().filter(|name| !known(name)) {
        let part = is_part(name);
        let undecidable = name.starts_with(files::KEYS)
            || (part && (!derivable || !opened))
            || (!opened && (name.starts_with("events/") || [files::CHANGE, files::PAGE].contains(&name)))
            || (name == files::PAGE && !derivable);
        if !undecidable {
            return log.refute(Id::FilesComplete, format!("nothing explains {name}"));
        }
        unknown.get_or_insert(name);
    }
    match (unknown, expected.iter().find(|name| !files.has(name))) {
        (_, Some(missing)) => log.refute(Id::FilesComplete, format!("{missing} is missing")),
        (Some(name), None) => log.not_done(Id::FilesComplete, format!("this verifier cannot judge {name}")),
        (None, None) => log.ok(Id::FilesComplete, format!("{} files, each explained", files.count())),
    }
}

//! Verification of an evidence pack, from the zip's bytes to the verdict.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use ledger::checkpoint::{self, Checkpoint, Origin, Verified};
use ledger::dsse;
use ledger::entry::{EventHeader, Salt};
use ledger::hash::Hash;
use ledger::note::{SignedNote, VerifierKey};
use ledger::proof;
use ledger::receipt::TlogProof;
use schemas::admit::Scratch;
use schemas::ids::ChangeId;
use sha2::{Digest, Sha256};

use super::{Problem, always_unproved, derived, reach};
use crate::attest::{self, Attestation, Predicate};
use crate::chain::{self, Opened};
use crate::document::{DocumentError, PackDocument};
use crate::files;
use crate::report::{Id, Log, Report};
use crate::sums;
use crate::trust::Trust;
use crate::zip::{self, MAX_ARCHIVE_BYTES, ReadError};

/// The files of a zip by name.
pub(super) type Files<'a> = BTreeMap<&'a str, &'a [u8]>;

/// Everything after the zip's form.
const AFTER_FORM: [Id; 18] = [
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
    Id::DerivedChange,
    Id::DerivedPage,
    Id::DerivedParts,
    Id::DerivedKeys,
    Id::FilesComplete,
];
/// Everything that needs `pack.json`, in the order of the checks.
const AFTER_DOCUMENT: &[Id] = AFTER_FORM.split_at(3).1;

/// Verifies an evidence pack. Never fails: what could not be read is in the report.
pub fn verify_pack<R: Read + Seek>(mut pack: R, trust: &Trust) -> Report {
    let mut log = Log::default();
    let archive = match read_archive(&mut pack) {
        Ok(Some(archive)) => archive,
        Ok(None) => {
            log.not_done(Id::ZipForm, ReadError::TooLarge.to_string());
            return unread(trust, log);
        }
        Err(error) => {
            log.not_done(Id::ZipForm, format!("it could not be read: {error}"));
            return unread(trust, log);
        }
    };
    match zip::read(&archive) {
        Ok(list) => {
            log.ok(
                Id::ZipForm,
                format!("{} files, {} bytes, nothing before, between or after them", list.len(), archive.len()),
            );
            contents(&list.iter().map(|file| (file.name, file.bytes)).collect(), trust, log)
        }
        Err(error) => {
            log.refute(Id::ZipForm, error);
            unread(trust, log)
        }
    }
}

/// The whole archive; `None` if it is larger than a verifier reads.
fn read_archive(pack: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
    let size = pack.seek(SeekFrom::End(0))?;
    if size > MAX_ARCHIVE_BYTES {
        return Ok(None);
    }
    pack.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, should the file grow meanwhile: it is then refused by its form.
    pack.take(MAX_ARCHIVE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The report on a zip whose files could not be read.
fn unread(trust: &Trust, mut log: Log) -> Report {
    log.none_done(&AFTER_FORM, "the files of the zip could not be taken for granted");
    let reach = reach::establish(trust, None, &mut log);
    report(Vec::new(), None, reach, log)
}

fn contents(files: &Files<'_>, trust: &Trust, mut log: Log) -> Report {
    check_sums(files, &mut log);
    let Some(document) = read_document(files, &mut log) else {
        log.none_done(AFTER_DOCUMENT, "pack.json could not be taken for granted");
        let reach = reach::establish(trust, None, &mut log);
        return report(Vec::new(), None, reach, log);
    };
    let origin = Origin::parse(&document.origin).ok();
    let key = find_key(origin.as_ref(), files, trust, &mut log);
    let head = check_checkpoint(&document, key.as_ref().map(|(key, _)| key), files, &mut log);
    check_attestation(&document, key.as_ref().map(|(key, _)| key), files, &mut log);

    let entries = read_entries(&document, files, &mut log);
    check_inclusion(&document, entries.as_deref(), files, &mut log);
    let change = ChangeId::parse(&document.change).ok();
    check_chain(&document, change.as_ref(), entries.as_deref(), &mut log);
    let opened = open_events(&document, entries.as_deref(), files, &mut log);
    check_headers(origin.as_ref(), opened.as_deref(), &mut log);
    let root = Hash::parse(&document.root).ok();
    let key_at_hand = key.as_ref().map(|(key, _)| key);
    derived::check(&document, change.as_ref(), root.as_ref(), opened.as_deref(), key_at_hand, files, &mut log);

    let trusted = match (&head, &key) {
        (Some(head), Some((key, true))) => Some((head, key)),
        _ => None,
    };
    let reach = reach::establish(trust, trusted, &mut log);
    let later = later_entries(&document, trusted.is_some(), &log);
    report(about(&document), Some(later), reach, log)
}

fn report(
    about: Vec<(&'static str, String)>,
    later_entries: Option<String>,
    reach: crate::trust::Reach,
    log: Log,
) -> Report {
    let words = reach::words(reach, &log);
    let not_proved = always_unproved(reach);
    let (checks, verdict) = log.finish();
    Report { what: "evidence pack", about, checks, reach: words, later_entries, not_proved, verdict }
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

/// Entries of the change after the last one here: none if that one is the tree's last, else not proved.
fn later_entries(document: &PackDocument, trusted: bool, log: &Log) -> String {
    let last = document.entries.last().and_then(|entry| entry.index.checked_add(1));
    let proved = trusted && log.clean() && log.holds(Id::LogInclusion) && last == Some(document.size);
    let words = if proved {
        "none (proved: its last entry here is the last of the tree)"
    } else {
        "NOT PROVED (seq and prev show no gap, not that the last is the last)"
    };
    format!("later entries of this change up to size {}: {words}", document.size)
}

fn check_sums(files: &Files<'_>, log: &mut Log) {
    let Some(text) = files.get(sums::NAME) else {
        log.refute(Id::SumsList, format!("{} is missing", sums::NAME));
        return log.not_done(Id::SumsDigests, "there is no list");
    };
    let lines = match sums::parse(text) {
        Ok(lines) => lines,
        Err(error) => {
            log.refute(Id::SumsList, error);
            return log.not_done(Id::SumsDigests, "the list is malformed");
        }
    };
    let listed: BTreeMap<&str, &str> = lines.iter().map(|line| (line.name, line.digest)).collect();
    let excepted = [sums::NAME, attest::NAME];
    let over = files.keys().find(|name| !listed.contains_key(*name) && !excepted.contains(name));
    let absent = listed.keys().find(|name| !files.contains_key(*name) || excepted.contains(name));
    let result = match (over, absent) {
        (Some(name), _) => Err(format!("{name} is in the zip but not on the list")),
        (None, Some(name)) => Err(format!("{name} is on the list but must not be, or is not in the zip")),
        (None, None) => Ok(format!("{} files", listed.len())),
    };
    log.result(Id::SumsList, result);
    let wrong = files
        .iter()
        .find(|(name, bytes)| listed.get(*name).is_some_and(|digest| *digest != hex::encode(Sha256::digest(bytes))));
    match wrong {
        Some((name, _)) => log.refute(Id::SumsDigests, format!("{name} has another digest than listed")),
        None => log.ok(Id::SumsDigests, "SHA-256"),
    }
}

fn read_document(files: &Files<'_>, log: &mut Log) -> Option<PackDocument> {
    let Some(bytes) = files.get(files::PACK) else {
        log.refute(Id::PackDocument, format!("{} is missing", files::PACK));
        return None;
    };
    match PackDocument::parse(bytes) {
        Ok(document) => {
            judge_document(&document, log);
            Some(document)
        }
        Err(error @ DocumentError::NewerFormat { .. }) => {
            log.not_done(Id::PackDocument, error.to_string());
            None
        }
        Err(error) => {
            log.refute(Id::PackDocument, error);
            None
        }
    }
}

fn judge_document(document: &PackDocument, log: &mut Log) {
    let unknown = [
        ("cosignatures", document.cosignatures.is_empty()),
        ("erasures", document.erasures.is_empty()),
        ("objects", document.objects.is_empty()),
    ];
    if let Err(error) = Origin::parse(&document.origin) {
        log.refute(Id::PackDocument, error);
    } else if let Err(error) = ChangeId::parse(&document.change) {
        log.refute(Id::PackDocument, error);
    } else if let Err(error) = Hash::parse(&document.root) {
        log.refute(Id::PackDocument, error);
    } else if let Some((name, _)) = unknown.iter().find(|(_, empty)| !empty) {
        log.not_done(Id::PackDocument, format!("it names {name}, which this verifier does not know how to check"));
    } else {
        log.ok(
            Id::PackDocument,
            format!("change {:?} of {}, at tree size {}", document.change, document.origin, document.size),
        );
    }
}

/// The key to check with and whether it is trusted: the one given, else the hint in the pack, which only shows that the pack agrees
/// with itself.
fn find_key(origin: Option<&Origin>, files: &Files<'_>, trust: &Trust, log: &mut Log) -> Option<(VerifierKey, bool)> {
    let Some(origin) = origin else {
        log.not_done(Id::TrustKey, "the origin is malformed");
        return None;
    };
    if let Some(given) = &trust.key {
        return match given.for_origin(origin) {
            Ok(key) => {
                log.ok(Id::TrustKey, format!("key {} was given for {origin}", hex::encode(key.id())));
                Some((key, true))
            }
            Err(error) => {
                log.refute(Id::TrustKey, error);
                None
            }
        };
    }
    log.not_done(
        Id::TrustKey,
        "no key was given, so trust is not established; signatures are checked with the key in the pack, which shows only \
         that the pack agrees with itself",
    );
    let hint = files.get(files::VKEY).and_then(|bytes| std::str::from_utf8(bytes).ok())?;
    let key = VerifierKey::parse(hint.trim_end()).ok()?;
    (key.name() == origin.key_name()).then_some((key, false))
}

fn check_checkpoint(
    document: &PackDocument,
    key: Option<&VerifierKey>,
    files: &Files<'_>,
    log: &mut Log,
) -> Option<Verified<Checkpoint>> {
    let note = files.get(files::CHECKPOINT).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let Some(note) = note else {
        log.refute(Id::CheckpointSignature, "the checkpoint is missing or not UTF-8");
        log.not_done(Id::CheckpointHead, "there is no checkpoint");
        return None;
    };
    let head = match key.map(|key| checkpoint::open(note, key)) {
        None => {
            log.not_done(Id::CheckpointSignature, "there is no key to check it with");
            None
        }
        Some(Ok(head)) => {
            log.ok(Id::CheckpointSignature, format!("Ed25519, by {}", head.origin));
            Some(head)
        }
        Some(Err(error)) => {
            log.refute(Id::CheckpointSignature, error);
            None
        }
    };
    log.result(Id::CheckpointHead, head_matches(document, note));
    head
}

fn head_matches(document: &PackDocument, note: &str) -> Result<String, String> {
    let signed = SignedNote::parse(note).map_err(|e| e.to_string())?;
    let head = Checkpoint::parse_text(signed.text()).map_err(|e| e.to_string())?;
    for (field, found, expected) in [
        ("origin", head.origin.to_string(), document.origin.clone()),
        ("size", head.size.to_string(), document.size.to_string()),
        ("root", head.root.to_string(), document.root.clone()),
    ] {
        if found != expected {
            return Err(format!("{field} is {found}, pack.json says {expected}"));
        }
    }
    // A line that pack.json does not name could be anything; it must not ride along under the operator's name.
    let signatures = signed.signatures().len();
    if document.cosignatures.is_empty() && signatures != 1 {
        return Err(format!("it has {signatures} signatures, pack.json names none but the log's"));
    }
    Ok(format!("size {}", head.size))
}

fn check_attestation(document: &PackDocument, key: Option<&VerifierKey>, files: &Files<'_>, log: &mut Log) {
    let attestation = match files.get(attest::NAME).map(|bytes| Attestation::parse(bytes)) {
        Some(Ok(attestation)) => attestation,
        Some(Err(error)) => {
            log.refute(Id::AttestationSignature, error);
            return log.not_done(Id::AttestationStatement, "the attestation could not be read");
        }
        None => {
            log.refute(Id::AttestationSignature, format!("{} is missing", attest::NAME));
            return log.not_done(Id::AttestationStatement, "there is no attestation");
        }
    };
    match key {
        None => log.not_done(Id::AttestationSignature, "there is no key to check it with"),
        Some(key) => {
            let signed = dsse::pae(attest::PAYLOAD_TYPE, &attestation.statement);
            let hint = attest::hint(key.key());
            if key.key().verify(&signed, &attestation.signature).is_err() {
                log.refute(Id::AttestationSignature, "the signature does not fit the key and the statement");
            } else if attestation.hint != hint {
                log.refute(Id::AttestationSignature, format!("it names key {}, expected {hint}", attestation.hint));
            } else {
                log.ok(Id::AttestationSignature, "DSSE, Ed25519");
            }
        }
    }
    log.result(Id::AttestationStatement, statement_matches(document, &attestation, files));
}

fn statement_matches(document: &PackDocument, attestation: &Attestation, files: &Files<'_>) -> Result<String, String> {
    let sums = files.get(sums::NAME).ok_or_else(|| format!("{} is missing", sums::NAME))?;
    let files_root = hex::encode(sums::files_root(sums));
    let predicate = Predicate {
        origin: document.origin.clone(),
        change: document.change.clone(),
        size: document.size,
        root: document.root.clone(),
        format: document.format,
        files_root: files_root.clone(),
    };
    let expected = attest::statement(sums, &predicate).map_err(|e| e.to_string())?;
    if attestation.statement != expected {
        return Err(format!(
            "it attests to {}; this pack would need {}",
            String::from_utf8_lossy(&attestation.statement),
            String::from_utf8_lossy(&expected)
        ));
    }
    Ok(format!("digest of SHA256SUMS, origin, change, size, root, format and files_root {files_root}"))
}

/// An entry of the pack whose event has not been looked at.
struct ReadEntry {
    index: u64,
    leaf: Hash,
    header: EventHeader,
}

/// All entries, or `None` if one could not be read.
fn read_entries(document: &PackDocument, files: &Files<'_>, log: &mut Log) -> Option<Vec<ReadEntry>> {
    let read = |index: u64| -> Result<ReadEntry, Problem> {
        let name = files::entry_name(index);
        let bytes = *files.get(name.as_str()).ok_or_else(|| Problem::Refuted(format!("{name} is missing")))?;
        Ok(ReadEntry { index, leaf: chain::leaf(bytes), header: chain::event_header(index, bytes)? })
    };
    match document.entries.iter().map(|entry| read(entry.index)).collect::<Result<Vec<_>, _>>() {
        Ok(entries) => {
            log.ok(Id::LogEntries, format!("{} entries, canonical", entries.len()));
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

fn check_inclusion(document: &PackDocument, entries: Option<&[ReadEntry]>, files: &Files<'_>, log: &mut Log) {
    let Some(entries) = entries else {
        return log.not_done(Id::LogInclusion, "the entries could not be read");
    };
    let result = entries.iter().try_for_each(|entry| {
        included(document, entry, files).map_err(|why| format!("{}: {why}", files::proof_name(entry.index)))
    });
    log.result(
        Id::LogInclusion,
        result.map(|()| format!("{} inclusion proofs under size {}", entries.len(), document.size)),
    );
}

fn included(document: &PackDocument, entry: &ReadEntry, files: &Files<'_>) -> Result<(), String> {
    let name = files::proof_name(entry.index);
    let bytes = *files.get(name.as_str()).ok_or("missing")?;
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let proof = TlogProof::parse(text).map_err(|e| e.to_string())?;
    if proof.index != entry.index {
        return Err(format!("it is about index {}", proof.index));
    }
    if files.get(files::CHECKPOINT).is_none_or(|checkpoint| *checkpoint != proof.checkpoint.as_bytes()) {
        return Err("its checkpoint is not the pack's".to_owned());
    }
    if proof.extra.is_some() || files::proof_text(entry.index, &proof.path, &proof.checkpoint) != text {
        return Err("it is not in the form that a pack has".to_owned());
    }
    let root = Hash::parse(&document.root).map_err(|e| e.to_string())?;
    proof::verify_inclusion(entry.index, document.size, &entry.leaf, &proof.path, &root).map_err(|e| e.to_string())
}

fn check_chain(document: &PackDocument, change: Option<&ChangeId>, entries: Option<&[ReadEntry]>, log: &mut Log) {
    let (Some(entries), Some(change)) = (entries, change) else {
        return log.not_done(Id::LogChain, "the entries or the change's name could not be read");
    };
    let links: Vec<_> = entries.iter().map(|e| (e.index, e.leaf, &e.header)).collect();
    let last = entries.len().saturating_sub(1);
    let result = chain::check_chain(change, &links);
    log.result(
        Id::LogChain,
        result.map(|()| format!("number 0 to {last} of {:?}, each naming the one before it", document.change)),
    );
}

/// Entries with their events, or `None` if one is missing or not the one committed to.
fn open_events<'a>(
    document: &PackDocument,
    entries: Option<&[ReadEntry]>,
    files: &Files<'a>,
    log: &mut Log,
) -> Option<Vec<Opened<'a>>> {
    let Some(entries) = entries else {
        log.not_done(Id::EventsCommitment, "the entries could not be read");
        return None;
    };
    let open = |(entry, reference): (&ReadEntry, &crate::document::EntryRef)| -> Result<Opened<'a>, Problem> {
        let Some(salt) = &reference.salt else {
            let why = format!(
                "entry {} has no salt here, as after an erasure, which this verifier cannot check",
                entry.index
            );
            return Err(Problem::Unknown(why));
        };
        let salt = Salt::from_hex(salt)
            .ok_or_else(|| Problem::Refuted(format!("the salt of entry {} is malformed", entry.index)))?;
        let name = files::event_name(entry.index, entry.header.phase);
        let payload = *files.get(name.as_str()).ok_or_else(|| Problem::Refuted(format!("{name} is missing")))?;
        let opened = Opened { index: entry.index, leaf: entry.leaf, header: entry.header.clone(), salt, payload };
        chain::check_commitment(&opened).map_err(|e| Problem::Refuted(e.to_string()))?;
        Ok(opened)
    };
    match entries.iter().zip(&document.entries).map(open).collect::<Result<Vec<_>, _>>() {
        Ok(opened) => {
            log.ok(Id::EventsCommitment, format!("{} events: SHA-256 of salt and bytes, and length", opened.len()));
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

fn check_headers(origin: Option<&Origin>, opened: Option<&[Opened<'_>]>, log: &mut Log) {
    let (Some(opened), Some(origin)) = (opened, origin) else {
        return log.not_done(Id::EventsHeaders, "not every event could be read");
    };
    let mut scratch = Scratch::default();
    let mut unknown = None;
    for entry in opened {
        match chain::check_header(origin.log(), entry, &mut scratch) {
            Ok(true) => {}
            Ok(false) => unknown = Some((entry.index, entry.header.rules)),
            Err(error) => return log.refute(Id::EventsHeaders, error),
        }
    }
    match unknown {
        Some((index, rules)) => {
            log.not_done(
                Id::EventsHeaders,
                format!("entry {index} was admitted under rules {rules}, which this verifier lacks"),
            );
        }
        None => log.ok(
            Id::EventsHeaders,
            "tenant, change, id, phase, environment, class, probe, sections, outcome, time and masked places",
        ),
    }
}

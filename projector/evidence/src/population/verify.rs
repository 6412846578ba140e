//! Verification of a population. Trusts nothing in it: one pass over the headers computes the root at every size that is asked for, the
//! totals and the list of changes, and everything else is compared with that.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use ledger::checkpoint::{Checkpoint, Origin, Verified};
use ledger::consistency::ConsistencyProof;
use ledger::dsse;
use ledger::frontier::Frontier;
use ledger::hash::Hash;
use ledger::note::SignedNote;
use ledger::proof;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::archive::{ArchiveError, Reader};
use super::document::{Details, PopulationDocument, TreeHead};
use super::pass::{Chunk, Passed, pass};
use super::tally::{Change, Tallied, Tally};
use super::tenants::{self, Listing};
use super::write::{Predicate, change_files, sums_of};
use super::{
    CHANGES, CHANGES_PER_FILE, CONSISTENCY, DETAILS, DOCUMENT, FIRST, FRONTIER, GUIDE, GUIDE_TEXT, HEADERS,
    PREDICATE_TYPE, frontier_of, header_files, lines_name,
};
use crate::attest::{self, Attestation};
use crate::document::DocumentError;
use crate::report::{Id, Log, Report};
use crate::trust::{Reach, Trust};
use crate::verify::keys::Keys;
use crate::verify::{always_unproved, cosigned, keys, reach, signed};
use crate::zip::ReadError;
use crate::{files, sums};

/// What a verified population says.
pub struct Population {
    /// The report on it.
    pub report: Report,
    /// `population.json`; none where it could not be taken for granted.
    pub document: Option<PopulationDocument>,
    /// Entries of the change that was asked for, with their leaf hashes.
    pub(crate) watched: Vec<(u64, Hash)>,
    /// Roots at the sizes that were asked for.
    pub(crate) roots: Vec<(u64, Hash)>,
    /// What the headers said; none where they were refuted.
    tallied: Option<Tallied>,
}

impl Population {
    /// The changes, derived from the headers, in the order of their first events in the period.
    pub fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        self.tallied.iter().flat_map(Tallied::changes)
    }
}

/// What is asked of the headers beside the checks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// All entries of this change are kept.
    pub(crate) change: Option<String>,
    /// The roots of these trees are kept.
    pub(crate) sizes: Vec<u64>,
}

/// Verifies a population. Never fails: what could not be read is in the report. `progress` hears how many headers are done, and of how
/// many.
pub fn verify_population<R: Read + Seek>(source: R, trust: &Trust, progress: &mut dyn FnMut(u64, u64)) -> Report {
    verify(source, trust, &Ask::default(), progress).report
}

/// The same, and the changes too.
pub fn read_changes<R: Read + Seek>(source: R, trust: &Trust, progress: &mut dyn FnMut(u64, u64)) -> Population {
    verify(source, trust, &Ask::default(), progress)
}

/// What payloads say of the changes, in their order: the operator's word, whatever was verified.
pub fn read_details<R: Read + Seek>(source: R) -> Result<Vec<Details>, String> {
    let mut reader = Reader::open(source).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    for number in 0..reader.records().len() {
        let name = reader.records()[number].name.clone();
        if !name.starts_with(DETAILS) {
            continue;
        }
        let bytes = reader.read(number).map_err(|error| error.to_string())?;
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            out.push(serde_json::from_slice(line).map_err(|error| format!("{name}: {error}"))?);
        }
    }
    Ok(out)
}

pub(crate) fn verify<R: Read + Seek>(
    source: R,
    trust: &Trust,
    ask: &Ask,
    progress: &mut dyn FnMut(u64, u64),
) -> Population {
    let mut log = Log::default();
    let mut reader = match Reader::open(source) {
        Ok(reader) => reader,
        Err(error) => {
            unreadable(&error, &mut log);
            return unread(trust, log);
        }
    };
    let small = match small_files(&mut reader) {
        Ok(small) => small,
        Err(error) => {
            unreadable(&error, &mut log);
            return unread(trust, log);
        }
    };
    log.ok(
        Id::ZipForm,
        format!("{} files, {} bytes, nothing before, between or after them", reader.records().len(), reader.bytes),
    );
    let views: Views<'_> = small.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let Some(document) = read_document(&views, &mut log) else { return unread(trust, log) };
    contents(&mut reader, &views, document, trust, ask, log, progress)
}

/// Everything after the zip's form.
const AFTER_FORM: &[Id] = &[
    Id::SumsList,
    Id::SumsDigests,
    Id::TrustKey,
    Id::CheckpointSignature,
    Id::AttestationSignature,
    Id::AttestationStatement,
    Id::PopulationFirst,
    Id::PopulationRoot,
    Id::PopulationHeaders,
    Id::PopulationChanges,
    Id::PopulationTenants,
    Id::DerivedKeys,
    Id::FilesComplete,
];

fn unreadable(error: &ArchiveError, log: &mut Log) {
    match error {
        ArchiveError::Io(_) => log.not_done(Id::ZipForm, error.to_string()),
        ArchiveError::Form(_) => log.refute(Id::ZipForm, error),
    }
}

/// The report on a population whose files could not be taken for granted.
fn unread(trust: &Trust, mut log: Log) -> Population {
    log.none_done(AFTER_FORM, "zip or population.json could not be taken for granted");
    let reach = reach::establish(trust, None, None, &mut log);
    let not_proved = always_unproved(reach.reach);
    let words = reach.words(&log);
    let (checks, verdict) = log.finish();
    let (about, says) = (Vec::new(), Vec::new());
    let report =
        Report { what: "population", about, checks, reach: words, later_entries: None, says, not_proved, verdict };
    Population { report, document: None, watched: Vec::new(), roots: Vec::new(), tallied: None }
}

/// The small files of a population by name.
type Views<'a> = BTreeMap<&'a str, &'a [u8]>;

/// Every file but headers and lists.
fn small_files<R: Read + Seek>(reader: &mut Reader<R>) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    // A log's keys, its own log and the sums: none of them is large, however long the period was.
    const MOST: u64 = 1 << 30;
    let large = |name: &str| [HEADERS, CHANGES, DETAILS].iter().any(|directory| name.starts_with(directory));
    let numbers: Vec<(usize, String)> = reader
        .records()
        .iter()
        .map(|record| record.name.clone())
        .enumerate()
        .filter(|(_, name)| !large(name))
        .collect();
    let total: u64 = numbers.iter().map(|(number, _)| u64::from(reader.records()[*number].size)).sum();
    if total > MOST {
        return Err(ReadError::TooLarge.into());
    }
    numbers.into_iter().map(|(number, name)| Ok((name, reader.read(number)?))).collect()
}

fn read_document(files: &Views<'_>, log: &mut Log) -> Option<PopulationDocument> {
    let Some(bytes) = files.get(DOCUMENT) else {
        log.refute(Id::PopulationDocument, format!("{DOCUMENT} is missing"));
        return None;
    };
    let document = match PopulationDocument::parse(bytes) {
        Ok(document) => document,
        Err(error @ DocumentError::NewerFormat { .. }) => {
            log.not_done(Id::PopulationDocument, error.to_string().replace("pack", "population"));
            return None;
        }
        Err(error) => {
            log.refute(Id::PopulationDocument, error.to_string().replace("pack.json", DOCUMENT));
            return None;
        }
    };
    let sound = Origin::parse(&document.origin).map_err(|error| error.to_string()).and_then(|_| document.period());
    match sound {
        Ok(_) if document.first.size > document.last.size => {
            log.refute(Id::PopulationDocument, "its first tree is larger than its last");
            None
        }
        Ok(_) => {
            let PopulationDocument { origin, from, to, .. } = &document;
            log.ok(Id::PopulationDocument, format!("{origin}, from {from} to before {to}"));
            Some(document)
        }
        Err(error) => {
            log.refute(Id::PopulationDocument, error);
            None
        }
    }
}

fn contents<R: Read + Seek>(
    reader: &mut Reader<R>,
    files: &Views<'_>,
    document: PopulationDocument,
    trust: &Trust,
    ask: &Ask,
    mut log: Log,
    progress: &mut dyn FnMut(u64, u64),
) -> Population {
    let origin = Origin::parse(&document.origin).ok();
    let note = files.get(files::CHECKPOINT).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let given = signed::find_key(origin.as_ref(), files.get(files::VKEY).copied(), trust, &mut log);
    let chain = files.get(files::CHAIN).copied();
    let keys = given.and_then(|(key, trusted)| Some((keys::of_pack(key, note, chain, trust, &mut log)?, trusted)));
    let signing = keys.as_ref().map(|(keys, _)| keys);
    let head = check_checkpoint(&document, signing, note, &mut log);
    check_attestation(&document, signing, files, &mut log);
    let frontier = check_first(&document, signing, note, files, &mut log);

    let known = trust.known_checkpoint.as_deref().zip(signing).and_then(|(known, keys)| keys.open(known).ok());
    let mut sizes = ask.sizes.clone();
    sizes.extend(known.as_ref().map(|known| known.size));
    let passed = frontier.and_then(|first| read_headers(reader, &document, first, ask, &sizes, &mut log, progress));
    let (roots, digests, tallied) = match passed {
        Some(passed) => judge_headers(&document, passed, &mut log),
        None => (Vec::new(), BTreeMap::new(), None),
    };
    check_lists(reader, files, &document, digests, tallied.as_ref(), &mut log);
    let listing = check_tenants(origin.as_ref(), &document, reader, files, &mut log);
    check_hints(signing, files, &mut log);

    let trusted = match (&head, &keys) {
        (Some(head), Some((keys, true))) => Some((head, keys)),
        _ => None,
    };
    let kept = match (trusted, &known) {
        (Some(_), Some(known)) => check_known(known, &document, &roots, &mut log),
        _ => None,
    };
    let reach = reach::establish_beside(trust, trusted, note, kept, &mut log);
    let says = says(&document, reach.reach, reach.of_witnesses(), tallied.is_some() && log.clean());
    let not_proved = unproved(&document, reach.reach, listing.as_ref());
    let about = about(&document);
    let words = reach.words(&log);
    let (checks, verdict) = log.finish();
    let report =
        Report { what: "population", about, checks, reach: words, later_entries: None, says, not_proved, verdict };
    let mut tallied = tallied;
    let watched = tallied.as_mut().map(|tallied| std::mem::take(&mut tallied.watched)).unwrap_or_default();
    Population { report, document: Some(document), watched, roots, tallied }
}

fn about(document: &PopulationDocument) -> Vec<(&'static str, String)> {
    let totals = &document.totals;
    vec![
        ("origin", document.origin.clone()),
        ("period", format!("{} to before {}", document.from, document.to)),
        ("headers", (document.last.size - document.first.size).to_string()),
        ("changes", totals.changes.to_string()),
        ("events", totals.events.to_string()),
        ("tree size", document.last.size.to_string()),
        ("root", document.last.root.clone()),
    ]
}

fn check_checkpoint(
    document: &PopulationDocument,
    keys: Option<&Keys>,
    note: Option<&str>,
    log: &mut Log,
) -> Option<Verified<Checkpoint>> {
    let Some(note) = note else {
        log.refute(Id::CheckpointSignature, "the checkpoint is missing or not UTF-8");
        return None;
    };
    let Some(keys) = keys else {
        log.not_done(Id::CheckpointSignature, "there is no key to check it with");
        return None;
    };
    match keys.open(note).map_err(|error| error.to_string()).and_then(|head| {
        agrees(document, &head, keys, note)?;
        Ok(head)
    }) {
        Ok(head) => {
            log.ok(Id::CheckpointSignature, format!("Ed25519, by {}, size {}", head.origin, head.size));
            Some(head)
        }
        Err(error) => {
            log.refute(Id::CheckpointSignature, error);
            None
        }
    }
}

fn agrees(document: &PopulationDocument, head: &Checkpoint, keys: &Keys, note: &str) -> Result<(), String> {
    if head.origin.as_str() != document.origin || TreeHead::of(head.size, &head.root) != document.last {
        return Err("the checkpoint is of another log, size or root than population.json says".to_owned());
    }
    let note = SignedNote::parse(note).map_err(|error| error.to_string())?;
    let named: Vec<Value> = document.cosignatures.iter().cloned().map(Value::String).collect();
    let own = keys.all_signing(head.size);
    cosigned::begins_with(&note, &own)?;
    cosigned::lines_match(&named, &note, &own).map_err(|error| error.replace("pack.json", DOCUMENT))
}

fn check_attestation(document: &PopulationDocument, keys: Option<&Keys>, files: &Views<'_>, log: &mut Log) {
    let attestation = files.get(attest::NAME).ok_or_else(|| format!("{} is missing", attest::NAME));
    let attestation = attestation.and_then(|bytes| Attestation::parse(bytes).map_err(|error| error.to_string()));
    let attestation = match attestation {
        Ok(attestation) => attestation,
        Err(error) => {
            log.refute(Id::AttestationSignature, error);
            return log.not_done(Id::AttestationStatement, "the attestation could not be read");
        }
    };
    match keys {
        None => log.not_done(Id::AttestationSignature, "there is no key to check it with"),
        Some(keys) => {
            let signed = dsse::pae(attest::PAYLOAD_TYPE, &attestation.statement);
            let key = keys.signing.key();
            if key.verify(&signed, &attestation.signature).is_ok() && attestation.hint == attest::hint(key) {
                log.ok(Id::AttestationSignature, "DSSE, Ed25519");
            } else {
                log.refute(Id::AttestationSignature, "signature or hint does not fit the key and the statement");
            }
        }
    }
    let sums = files.get(sums::NAME).copied().unwrap_or_default();
    match attest::statement_of(sums, PREDICATE_TYPE, &Predicate::of(document, sums)) {
        Ok(expected) if expected == attestation.statement => {
            log.ok(Id::AttestationStatement, "digest of SHA256SUMS, origin, period, both trees, format and files_root");
        }
        Ok(expected) => log.refute(
            Id::AttestationStatement,
            format!(
                "it attests to {}; this population would need {}",
                String::from_utf8_lossy(&attestation.statement),
                String::from_utf8_lossy(&expected)
            ),
        ),
        Err(error) => log.not_done(Id::AttestationStatement, error.to_string()),
    }
}

/// The frontier, if it is that of the first tree and that tree was signed.
fn check_first(
    document: &PopulationDocument,
    keys: Option<&Keys>,
    note: Option<&str>,
    files: &Views<'_>,
    log: &mut Log,
) -> Option<Frontier> {
    let frontier = files.get(FRONTIER).ok_or_else(|| "frontier is missing".to_owned());
    let frontier = frontier.and_then(|bytes| frontier_of(bytes, document.first.size));
    let frontier = match frontier {
        Ok(frontier) => frontier,
        Err(error) => {
            log.refute(Id::PopulationFirst, format!("{FRONTIER}: {error}"));
            log.none_done(
                &[Id::PopulationRoot, Id::PopulationHeaders],
                "there is no tree for the headers to follow on",
            );
            return None;
        }
    };
    match first_holds(document, &frontier, keys, note, files) {
        Ok(Some(words)) => log.ok(Id::PopulationFirst, words),
        Ok(None) => log.not_done(Id::PopulationFirst, "there is no key to check the first checkpoint with"),
        Err(error) => log.refute(Id::PopulationFirst, error),
    }
    Some(frontier)
}

fn first_holds(
    document: &PopulationDocument,
    frontier: &Frontier,
    keys: Option<&Keys>,
    note: Option<&str>,
    files: &Views<'_>,
) -> Result<Option<String>, String> {
    if frontier.root().to_string() != document.first.root {
        return Err(format!(
            "the frontier gives root {}, population.json says {}",
            frontier.root(),
            document.first.root
        ));
    }
    let size = document.first.size;
    if size == 0 {
        return Ok(Some("the headers start with the log".to_owned()));
    }
    let text = |name: &str| {
        files.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(format!("{name} is missing"))
    };
    let (first, consistency) = (text(FIRST)?, text(CONSISTENCY)?);
    let consistency = ConsistencyProof::parse(consistency).map_err(|error| error.to_string())?;
    if consistency.old != size || note != Some(consistency.checkpoint.as_str()) {
        return Err(format!("{CONSISTENCY} is about other trees"));
    }
    let (old, new) = (frontier.root(), Hash::parse(&document.last.root).map_err(|error| error.to_string())?);
    if size < document.last.size {
        proof::verify_consistency(size, document.last.size, &old, &new, &consistency.path)
            .map_err(|error| format!("{CONSISTENCY}: {error}"))?;
    }
    let Some(keys) = keys else { return Ok(None) };
    let head = keys.open(first).map_err(|error| format!("{FIRST}: {error}"))?;
    if head.origin.as_str() != document.origin || (head.size, head.root) != (size, frontier.root()) {
        return Err(format!("{FIRST} is of another log, size or root"));
    }
    Ok(Some(format!("signed at size {size}, and the beginning of the tree of size {}", document.last.size)))
}

fn read_headers<R: Read + Seek>(
    reader: &mut Reader<R>,
    document: &PopulationDocument,
    first: Frontier,
    ask: &Ask,
    sizes: &[u64],
    log: &mut Log,
    progress: &mut dyn FnMut(u64, u64),
) -> Option<Passed> {
    // Checked when the document was read.
    let period = document.period().ok()?;
    let tally = Tally::new(period, document.first.size, ask.change.as_deref());
    let total = document.last.size - document.first.size;
    let passed = pass(first, tally, sizes, |take| {
        for (number, range) in header_files(document.first.size, document.last.size).enumerate() {
            let name = lines_name(HEADERS, range.start);
            if reader.records().get(number).map(|record| record.name.as_str()) != Some(&name) {
                return Err(
                    ReadError::Bytes { at: format!("{name}, at its place in the zip"), left: 0, needed: 1 }.into()
                );
            }
            let bytes = reader.read(number)?;
            progress(range.end - document.first.size, total);
            if !take(Chunk { name, range, bytes }) {
                break;
            }
        }
        Ok::<(), ArchiveError>(())
    });
    match passed {
        Ok(passed) => Some(passed),
        Err(error @ ArchiveError::Form(_)) => {
            log.refute(Id::PopulationRoot, error);
            log.not_done(Id::PopulationHeaders, "not all headers could be read");
            None
        }
        Err(error) => {
            log.none_done(&[Id::PopulationRoot, Id::PopulationHeaders], &error.to_string());
            None
        }
    }
}

type Digests = BTreeMap<String, [u8; 32]>;

fn judge_headers(
    document: &PopulationDocument,
    passed: Passed,
    log: &mut Log,
) -> (Vec<(u64, Hash)>, Digests, Option<Tallied>) {
    let (size, root) = (passed.frontier.size(), passed.frontier.root());
    let total = document.last.size - document.first.size;
    if TreeHead::of(size, &root) == document.last {
        log.ok(Id::PopulationRoot, format!("{total} entries on the first tree give the root that was signed"));
    } else {
        let TreeHead { root: expected, size: to } = &document.last;
        log.refute(
            Id::PopulationRoot,
            format!("the headers lead to root {root} at size {size}, {expected} at size {to} was signed: an entry was left out, added, moved or altered"),
        );
    }
    let digests = passed.digests.into_iter().collect();
    let tallied = match passed.tally {
        Ok(tallied) => tallied,
        Err(error) => {
            log.refute(Id::PopulationHeaders, error);
            return (passed.roots, digests, None);
        }
    };
    let stated = (document.begins, document.ends, &document.totals);
    if (tallied.begins, tallied.ends, &tallied.totals) == stated {
        let PopulationDocument { begins, ends, .. } = document;
        log.ok(
            Id::PopulationHeaders,
            format!("time never falls, no change has a gap, {begins} and {ends} stand around the period, totals agree"),
        );
    } else {
        log.refute(
            Id::PopulationHeaders,
            format!(
                "heartbeats {} and {} stand around the period, totals are {}; population.json says otherwise",
                tallied.begins,
                tallied.ends,
                serde_json::to_string(&tallied.totals).unwrap_or_default()
            ),
        );
    }
    (passed.roots, digests, Some(tallied))
}

/// Lists, digests, and that no file is missing or left over.
fn check_lists<R: Read + Seek>(
    reader: &mut Reader<R>,
    files: &Views<'_>,
    document: &PopulationDocument,
    mut digests: Digests,
    tallied: Option<&Tallied>,
    log: &mut Log,
) {
    for (name, bytes) in files {
        digests.insert((*name).to_owned(), Sha256::digest(bytes).into());
    }
    // As many as show that one is missing: for a size that somebody made up there would be no end of them.
    let mut expected: Vec<String> = header_files(document.first.size, document.last.size)
        .take(reader.records().len() + 1)
        .map(|range| lines_name(HEADERS, range.start))
        .collect();
    match tallied {
        None => log.not_done(Id::PopulationChanges, "the headers were refuted"),
        Some(tallied) => {
            let mut made = match_changes(reader, tallied, &mut expected, &mut digests);
            if document.details {
                let formed = match_details(reader, tallied, &mut expected, &mut digests);
                made = made.and_then(|words| formed.map(|()| words));
            }
            match tallied.unknown.filter(|_| made.is_ok()) {
                // Whoever writes a later version could hide a change's entry in it.
                Some(index) => log.not_done(
                    Id::PopulationChanges,
                    format!("entry {index} is of a kind that this version does not know, and may be of any change"),
                ),
                None => drop(log.result(Id::PopulationChanges, made)),
            }
        }
    }
    if let Err(error) = digest_rest(reader, &mut digests) {
        log.refute(Id::SumsDigests, error);
    }
    check_sums(files, &digests, log);
    if tallied.is_none() {
        return log.not_done(Id::FilesComplete, "the headers were refuted");
    }
    expected.extend(small_names(document, files));
    let found: Vec<&str> = reader.records().iter().map(|record| record.name.as_str()).collect();
    let wrong = found.iter().zip(&expected).find(|(found, expected)| *found != expected);
    let result = match wrong {
        Some((found, expected)) => Err(format!("{found} stands where {expected} belongs")),
        None if found.len() != expected.len() => Err(format!("{} files, expected {}", found.len(), expected.len())),
        None if files.get(GUIDE).copied() != Some(GUIDE_TEXT.as_bytes()) => Err(format!("{GUIDE} is not ours")),
        None => Ok(format!("{} files, each in its place", found.len())),
    };
    log.result(Id::FilesComplete, result);
}

/// Compares the files of changes with those that the headers give.
fn match_changes<R: Read + Seek>(
    reader: &mut Reader<R>,
    tallied: &Tallied,
    expected: &mut Vec<String>,
    digests: &mut Digests,
) -> Result<String, String> {
    let mut all = Ok(());
    for (name, bytes) in change_files(tallied) {
        let bytes = bytes.map_err(|error| error.to_string())?;
        let number = expected.len();
        let found = reader.records().get(number).is_some_and(|record| record.name == name);
        let found = if found { reader.read(number).map_err(|error| error.to_string())? } else { Vec::new() };
        if all.is_ok() && found != bytes {
            let line =
                found.split(|b| *b == b'\n').zip(bytes.split(|b| *b == b'\n')).take_while(|(a, b)| a == b).count();
            all = Err(format!("{name} is not what the headers give (first differs in line {})", line + 1));
        }
        digests.insert(name.clone(), Sha256::digest(&found).into());
        expected.push(name);
    }
    all.map(|()| format!("{} changes, derived again, the same bytes", tallied.changes().len()))
}

/// Whether `details/` has a line for each change, in their order and in its one form. What the lines say nothing here can know.
fn match_details<R: Read + Seek>(
    reader: &mut Reader<R>,
    tallied: &Tallied,
    expected: &mut Vec<String>,
    digests: &mut Digests,
) -> Result<(), String> {
    let mut changes = tallied.changes();
    let mut all = Ok(());
    for at in (0..changes.len()).step_by(CHANGES_PER_FILE) {
        let (name, number) = (lines_name(DETAILS, at as u64), expected.len());
        expected.push(name.clone());
        let there = reader.records().get(number).is_some_and(|record| record.name == name);
        let bytes = if there { reader.read(number).map_err(|error| error.to_string())? } else { Vec::new() };
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        for (line, change) in (1..).zip(changes.by_ref().take(CHANGES_PER_FILE)) {
            if all.is_ok() && !lines.next().is_some_and(|found| Details::is_of(found, &change.change)) {
                all = Err(format!(
                    "{name}: line {line} is not in the one form of what payloads say of {}",
                    change.change
                ));
            }
        }
        if all.is_ok() && lines.next().is_some() {
            all = Err(format!("{name} has more lines than changes"));
        }
        digests.insert(name, Sha256::digest(&bytes).into());
    }
    all
}

/// Digests of the files that nothing has looked at yet.
fn digest_rest<R: Read + Seek>(reader: &mut Reader<R>, digests: &mut Digests) -> Result<(), String> {
    for number in 0..reader.records().len() {
        let name = reader.records()[number].name.clone();
        if let std::collections::btree_map::Entry::Vacant(entry) = digests.entry(name) {
            entry.insert(Sha256::digest(reader.read(number).map_err(|error| error.to_string())?).into());
        }
    }
    Ok(())
}

fn check_sums(files: &Views<'_>, digests: &Digests, log: &mut Log) {
    let listed: Digests = digests
        .iter()
        .filter(|(name, _)| ![sums::NAME, attest::NAME].contains(&name.as_str()))
        .map(|(name, digest)| (name.clone(), *digest))
        .collect();
    let found = files.get(sums::NAME).copied().unwrap_or_default();
    let expected = sums_of(&listed);
    if found == expected.as_bytes() {
        log.ok(Id::SumsList, format!("{} files", listed.len()));
        return log.ok(Id::SumsDigests, "SHA-256");
    }
    match sums::parse(found) {
        Ok(lines) if lines.iter().map(|line| line.name).eq(listed.keys().map(String::as_str)) => {
            log.ok(Id::SumsList, format!("{} files", listed.len()));
            let wrong =
                lines.iter().find(|line| listed.get(line.name).map(hex::encode).as_deref() != Some(line.digest));
            let name = wrong.map_or("a file", |line| line.name);
            log.refute(Id::SumsDigests, format!("{name} has another digest than listed"));
        }
        Ok(_) => {
            log.refute(Id::SumsList, "it names other files than those in the zip");
            log.not_done(Id::SumsDigests, "the list is of other files");
        }
        Err(error) => {
            log.refute(Id::SumsList, error);
            log.not_done(Id::SumsDigests, "the list is malformed");
        }
    }
}

/// Names of the small files, in their order.
fn small_names(document: &PopulationDocument, files: &Views<'_>) -> Vec<String> {
    let mut names = vec![DOCUMENT, FRONTIER, GUIDE, files::CHECKPOINT, files::VKEY, files::PEM];
    if document.first.size > 0 {
        names.extend([FIRST, CONSISTENCY]);
    }
    // Judged where the keys were found.
    names.extend(files.contains_key(files::CHAIN).then_some(files::CHAIN));
    names.extend(tenants::names(tenants::has_own(files.keys().copied())));
    names.sort_unstable();
    names.extend([sums::NAME, attest::NAME]);
    names.into_iter().map(str::to_owned).collect()
}

fn check_tenants<R: Read + Seek>(
    origin: Option<&Origin>,
    document: &PopulationDocument,
    reader: &mut Reader<R>,
    files: &Views<'_>,
    log: &mut Log,
) -> Option<Listing> {
    let origin = origin?;
    let first_leaf = if document.first.size == 0 { first_leaf(reader) } else { None };
    match tenants::check(origin, &document.tenants, first_leaf.as_ref(), |name| files.get(name).copied()) {
        Ok(listing) => {
            let own = listing.own.map_or_else(
                || "this one's is not opened".to_owned(),
                |index| format!("entry {index} is this one's, opened"),
            );
            log.ok(
                Id::PopulationTenants,
                format!("listings in {}/_ledger: {}; {own}", origin.ledger(), listing.listings),
            );
            Some(listing)
        }
        Err(error) => {
            log.refute(Id::PopulationTenants, error);
            None
        }
    }
}

/// Leaf hash of entry 0, which is the first line of the first file.
fn first_leaf<R: Read + Seek>(reader: &mut Reader<R>) -> Option<Hash> {
    let bytes = reader.read(0).ok()?;
    bytes.split(|b| *b == b'\n').next().map(ledger::hash::leaf)
}

fn check_hints(keys: Option<&Keys>, files: &Views<'_>, log: &mut Log) {
    let Some(keys) = keys else { return log.not_done(Id::DerivedKeys, "there is no key to compare them with") };
    let wrong =
        files::key_files(&keys.signing).into_iter().find(|(name, bytes)| files.get(name.as_str()) != Some(&&bytes[..]));
    match wrong {
        Some((name, _)) => log.refute(Id::DerivedKeys, format!("{name} is another key")),
        None => log.ok(Id::DerivedKeys, "2 files, the same bytes"),
    }
}

/// Compares a kept checkpoint of a size within the population with the root computed at that size: no proof is needed for it.
fn check_known(
    known: &Checkpoint,
    document: &PopulationDocument,
    roots: &[(u64, Hash)],
    log: &mut Log,
) -> Option<bool> {
    if known.size >= document.last.size || known.size < document.first.size || known.origin.as_str() != document.origin
    {
        return None;
    }
    let (_, root) = roots.iter().find(|(size, _)| *size == known.size)?;
    let holds = *root == known.root;
    if holds {
        log.ok(Id::KnownCheckpoint, format!("the headers lead through its root at size {}", known.size));
    } else {
        let (size, kept) = (known.size, known.root);
        log.refute(Id::KnownCheckpoint, format!("at size {size} the headers give root {root}, the kept checkpoint has {kept}: the log showed two histories"));
    }
    Some(holds)
}

/// What is proved, in sentences: time, and silence.
fn says(document: &PopulationDocument, reach: Reach, witnesses: Option<&str>, proved: bool) -> Vec<String> {
    let mut says = Vec::new();
    let PopulationDocument { from, to, totals, .. } = document;
    match witnesses {
        Some(words) if reach == Reach::Witnessed && proved => {
            says.push(format!("time: every entry up to the last heartbeat was there when it was {words}"));
        }
        _ => says.push("time: operator only".to_owned()),
    }
    if !proved {
        return says;
    }
    says.push(format!(
        "complete: these are all {} changes with an event that the log took in from {from} to before {to}",
        totals.changes
    ));
    if totals.events == 0 {
        says.push(format!(
            "silence: nothing was logged in that time; {} heartbeats, at most {} s apart, show that the log was at work",
            totals.heartbeats,
            totals.longest_silence_ms / 1_000
        ));
    }
    says
}

fn unproved(document: &PopulationDocument, reach: Reach, listing: Option<&Listing>) -> Vec<String> {
    let mut out = always_unproved(reach);
    if document.totals.events == 0 {
        out.push("that nothing happened: only that nothing was logged".to_owned());
    }
    if document.details {
        out.push(
            "owner, initiator and resources in details/: they are the operator's reading of payloads that are not here"
                .to_owned(),
        );
    }
    if let Some(listing) = listing {
        out.push(format!(
            "how many tenants there are, but for an upper bound: commitments listed: {}, each the log of a tenant or an act on one",
            listing.listings
        ));
    }
    out.push("what came for this period after the last header here: a later population shows it as late".to_owned());
    out
}

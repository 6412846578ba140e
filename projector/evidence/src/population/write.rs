//! Makes a population: every choice first, then one pass over the entries straight into the zip.
//!
//! The same input gives the same bytes on any machine in any year. What a verifier will refute is not made: the pass checks time,
//! chains, heartbeats and the root, and an error leaves an unfinished file, whose end record is missing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;

use ledger::checkpoint::{self, CheckpointError, Origin};
use ledger::consistency::ConsistencyProof;
use ledger::dsse;
use ledger::frontier::Frontier;
use ledger::governance::KeyChain;
use ledger::hash::Hash;
use ledger::note::{NoteSignature, VerifierKey};
use ledger::signing::Signer;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::archive::Writer;
use super::document::{Details, FORMAT, PopulationDocument, TreeHead};
use super::pass::{Chunk, Passed, pass};
use super::period::Period;
use super::tally::{Change, Tallied, Tally, Totals, Wrong};
use super::tenants::{self, TenantsInput};
use super::{
    CHANGES, CHANGES_PER_FILE, CONSISTENCY, DETAILS, DOCUMENT, FIRST, FRONTIER, GUIDE, GUIDE_TEXT, HEADERS,
    PREDICATE_TYPE, frontier_text, header_files, lines_name,
};
use crate::attest::{self, Attestation};
use crate::{files, sums};

/// Everything but entries and payloads that a population is a function of.
#[derive(Clone, Debug)]
pub struct PopulationInput {
    /// The log.
    pub origin: Origin,
    /// The period.
    pub period: Period,
    /// The tree that the headers follow on.
    pub first: Frontier,
    /// The signed note over it; none exactly where it is empty.
    pub first_checkpoint: Option<String>,
    /// The signed note that the headers lead to, with the log's signatures alone.
    pub checkpoint: String,
    /// Cosignatures of that checkpoint, in the order in which the population carries them.
    pub cosignatures: Vec<NoteSignature>,
    /// The consistency proof between both, RFC 6962 §2.1.2.
    pub consistency: Vec<Hash>,
    /// The newest of the keys that sign the second head.
    pub verifier: VerifierKey,
    /// The way from earlier keys to it; none where the log has had no other.
    pub keys: Option<KeyChain>,
    /// The ledger's own log.
    pub tenants: TenantsInput,
}

/// Gives the entries of a range, all of them, in order.
pub type EntriesOf<'a, E> = &'a mut dyn FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, E>;
/// Gives what payloads say of a change.
pub type DetailsOf<'a, E> = &'a mut dyn FnMut(&Change) -> Result<Details, E>;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Headers in it.
    pub headers: u64,
    /// Totals over the period.
    pub totals: Totals,
    /// Bytes of the zip.
    pub bytes: u64,
}

/// Why no population was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError<E> {
    /// Entries or payloads could not be read.
    #[error(transparent)]
    Read(E),
    /// The output failed.
    #[error("writing the population: {0}")]
    Io(#[from] io::Error),
    /// The headers are no population of this period.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// A checkpoint does not verify.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The entries give another tree than the one that was signed.
    #[error("the entries give root {found} at size {size}, {expected} was signed")]
    Root {
        /// Size of the tree.
        size: u64,
        /// Root of the entries.
        found: String,
        /// Root that was signed.
        expected: String,
    },
    /// The input contradicts itself.
    #[error("{0}")]
    Input(String),
    /// JSON could not be written.
    #[error("cannot encode JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What the statement says about `SHA256SUMS`.
#[derive(Serialize)]
pub(super) struct Predicate {
    pub(super) files_root: String,
    pub(super) first: TreeHead,
    pub(super) format: u32,
    pub(super) from: String,
    pub(super) last: TreeHead,
    pub(super) origin: String,
    pub(super) to: String,
}

impl Predicate {
    pub(super) fn of(document: &PopulationDocument, sums: &[u8]) -> Self {
        Self {
            files_root: hex::encode(sums::files_root(sums)),
            first: document.first.clone(),
            format: document.format,
            from: document.from.clone(),
            last: document.last.clone(),
            origin: document.origin.clone(),
            to: document.to.clone(),
        }
    }
}

/// Writes a population, signed with the log's key. `entries` gives headers, `details` what payloads say (none: it is left out), `progress`
/// hears how many headers are done.
///
/// # Errors
/// After any of them what was written is no population; nothing that verifies was made.
pub fn write<W: Write, E>(
    input: &PopulationInput,
    signer: &Signer,
    entries: EntriesOf<'_, E>,
    details: Option<DetailsOf<'_, E>>,
    progress: &mut dyn FnMut(u64),
    out: W,
) -> Result<Written, MakeError<E>> {
    let (first, last) = heads(input, signer)?;
    let mut making = Making { zip: Writer::new(out), digests: BTreeMap::new() };
    let passed = headers(input, last.size, entries, progress, &mut making.zip)?;
    making.digests.extend(passed.digests.iter().cloned());
    if passed.frontier.root().to_string() != last.root {
        let (found, expected) = (passed.frontier.root().to_string(), last.root.clone());
        return Err(MakeError::Root { size: last.size, found, expected });
    }
    let tallied = passed.tally?;
    lists(&tallied, details, &mut making)?;
    let document = PopulationDocument {
        begins: tallied.begins,
        cosignatures: input.cosignatures.iter().map(|line| line.to_line().trim_end_matches('\n').to_owned()).collect(),
        details: making.digests.keys().any(|name| name.starts_with(DETAILS)),
        ends: tallied.ends,
        first,
        format: FORMAT,
        from: input.period.from_text(),
        last,
        origin: input.origin.to_string(),
        tenants: tenants::listed(&input.tenants).map_err(MakeError::Input)?,
        to: input.period.to_text(),
        totals: tallied.totals,
    };
    let bytes = rest(input, &document, signer, making)?;
    Ok(Written { headers: document.last.size - document.first.size, totals: document.totals, bytes })
}

/// A zip in the making and the digests of its files so far, by name.
struct Making<W> {
    zip: Writer<W>,
    digests: BTreeMap<String, [u8; 32]>,
}

impl<W: Write> Making<W> {
    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.digests.insert(name.to_owned(), Sha256::digest(bytes).into());
        self.zip.file(name, bytes)
    }
}

/// Both tree heads, their signatures checked.
fn heads<E>(input: &PopulationInput, signer: &Signer) -> Result<(TreeHead, TreeHead), MakeError<E>> {
    let wrong = |what: &str| Err(MakeError::Input(format!("{what} is not that of the population")));
    if signer.verifier() != input.verifier {
        return wrong("the signing key");
    }
    let last = checkpoint::open(&input.checkpoint, &input.verifier)?;
    if last.origin != input.origin {
        return wrong("the checkpoint's log");
    }
    let first = TreeHead::of(input.first.size(), &input.first.root());
    match &input.first_checkpoint {
        None if first.size == 0 => {}
        Some(note) => {
            // An earlier key may have signed it: who did, the chain of keys says.
            let head = checkpoint::peek(note)?;
            if head.origin != input.origin || TreeHead::of(head.size, &head.root) != first || first.size == 0 {
                return wrong("the first checkpoint");
            }
        }
        None => return wrong("the absence of a first checkpoint"),
    }
    if first.size > last.size {
        return wrong("the order of the checkpoints");
    }
    Ok((first, TreeHead::of(last.size, &last.root)))
}

fn headers<W: Write, E>(
    input: &PopulationInput,
    size: u64,
    entries: EntriesOf<'_, E>,
    progress: &mut dyn FnMut(u64),
    zip: &mut Writer<W>,
) -> Result<Passed, MakeError<E>> {
    let first = input.first.size();
    let tally = Tally::new(input.period, first, None);
    pass(input.first.clone(), tally, &[], |take| {
        for range in header_files(first, size) {
            let lines = entries(range.clone()).map_err(MakeError::Read)?;
            let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
            for line in &lines {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
            }
            let name = lines_name(HEADERS, range.start);
            zip.file(&name, &bytes)?;
            progress(range.end - first);
            if !take(Chunk { name, range, bytes }) {
                break;
            }
        }
        Ok(())
    })
}

/// The changes, and what payloads say of them.
fn lists<W: Write, E>(
    tallied: &Tallied,
    details: Option<DetailsOf<'_, E>>,
    making: &mut Making<W>,
) -> Result<(), MakeError<E>> {
    for (name, bytes) in change_files(tallied) {
        making.file(&name, &bytes?)?;
    }
    let Some(details) = details else { return Ok(()) };
    let mut lines = Vec::new();
    for (number, change) in tallied.changes().enumerate() {
        serde_json::to_writer(&mut lines, &details(&change).map_err(MakeError::Read)?)?;
        lines.push(b'\n');
        if (number + 1) % CHANGES_PER_FILE == 0 || number + 1 == tallied.changes().len() {
            let first = number - number % CHANGES_PER_FILE;
            making.file(&lines_name(DETAILS, first as u64), &lines)?;
            lines.clear();
        }
    }
    Ok(())
}

/// The files of changes, one after the other.
pub(super) fn change_files(
    tallied: &Tallied,
) -> impl Iterator<Item = (String, Result<Vec<u8>, serde_json::Error>)> + '_ {
    let mut changes = tallied.changes();
    let mut number = 0;
    std::iter::from_fn(move || {
        let name = lines_name(CHANGES, number);
        let mut lines = Vec::new();
        let mut failed = None;
        for change in changes.by_ref().take(CHANGES_PER_FILE) {
            number += 1;
            failed = failed.or(serde_json::to_writer(&mut lines, &change).err());
            lines.push(b'\n');
        }
        if let Some(error) = failed {
            return Some((name, Err(error)));
        }
        (!lines.is_empty()).then_some((name, Ok(lines)))
    })
}

/// Everything behind the lists. Gives the bytes of the zip.
fn rest<W: Write, E>(
    input: &PopulationInput,
    document: &PopulationDocument,
    signer: &Signer,
    mut making: Making<W>,
) -> Result<u64, MakeError<E>> {
    let cosignatures: String = input.cosignatures.iter().map(NoteSignature::to_line).collect();
    let checkpoint = format!("{}{cosignatures}", input.checkpoint);
    let mut small = vec![
        (DOCUMENT.to_owned(), document.to_json()?),
        (FRONTIER.to_owned(), frontier_text(&input.first)),
        (GUIDE.to_owned(), GUIDE_TEXT.as_bytes().to_vec()),
    ];
    if let Some(first) = &input.first_checkpoint {
        let (old, path, checkpoint) = (document.first.size, input.consistency.clone(), checkpoint.clone());
        small.push((FIRST.to_owned(), first.clone().into_bytes()));
        small.push((CONSISTENCY.to_owned(), ConsistencyProof { old, path, checkpoint }.to_text().into_bytes()));
    }
    small.push((files::CHECKPOINT.to_owned(), checkpoint.into_bytes()));
    small.extend(input.keys.as_ref().map(|chain| (files::CHAIN.to_owned(), chain.print())));
    small.extend(files::key_files(&input.verifier));
    small.extend(tenants::files(&input.tenants)?);
    small.sort();
    for (name, bytes) in &small {
        making.file(name, bytes)?;
    }
    let sums = sums_of(&making.digests).into_bytes();
    let statement = attest::statement_of(&sums, PREDICATE_TYPE, &Predicate::of(document, &sums))?;
    let signature = signer.sign_bytes(&dsse::pae(attest::PAYLOAD_TYPE, &statement));
    let attestation = Attestation { statement, signature, hint: attest::hint(input.verifier.key()) };
    making.zip.file(sums::NAME, &sums)?;
    making.zip.file(attest::NAME, &attestation.to_json()?)?;
    Ok(making.zip.finish()?.1)
}

/// `SHA256SUMS` of digests by name.
pub(super) fn sums_of(digests: &BTreeMap<String, [u8; 32]>) -> String {
    let mut sums = String::new();
    for (name, digest) in digests {
        let _ = writeln!(sums, "{}  {name}", hex::encode(digest));
    }
    sums
}

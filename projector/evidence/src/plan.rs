//! From a change's entries to a pack: first every file with its bytes, then the signature, then the zip.
//!
//! [`plan`] makes every choice and checks what it is given, so that a pack that would be refuted is never written;
//! [`PackPlan::seal`] signs; [`write()`] copies. The same input gives the same bytes on any machine in any year.

use std::io::Write;

use ledger::checkpoint::{self, CheckpointError, Origin};
use ledger::dsse;
use ledger::entry::Salt;
use ledger::frontier::Frontier;
use ledger::governance::{KeyChain, KeyChainError};
use ledger::hash::Hash;
use ledger::note::{NoteSignature, SignedNote, VerifierKey};
use ledger::proof::{self, Unproved};
use ledger::signing::Signer;
use projector::document::Context;
use projector::fold::FOLD_VERSION;
use schemas::ids::ChangeId;
use serde_json::Value;

use crate::attest::{self, Attestation, Predicate};
use crate::chain::{self, Broken, Mismatch, NotAnEvent, Opened};
use crate::document::{EntryRef, FORMAT, PackDocument, REPORT_VERSION};
use crate::files::{self, DeriveError};
use crate::headers;
use crate::parts::PackFile;
use crate::sums;
use crate::zip::{self, WriteError};

/// Everything a pack is a function of.
#[derive(Clone, Debug)]
pub struct PackInput {
    /// The log.
    pub origin: Origin,
    /// The change.
    pub change: ChangeId,
    /// Tree size under which everything is proved.
    pub size: u64,
    /// Root of that tree.
    pub root: Hash,
    /// The signed note over size and root, with the log's signature alone.
    pub checkpoint: String,
    /// Cosignatures of that checkpoint, in the order in which the pack carries them.
    pub cosignatures: Vec<NoteSignature>,
    /// By what the change is judged: the tenant's rules, and the log's time of entry `size − 1`.
    pub context: Context,
    /// All entries of the change below `size`, oldest first.
    pub entries: Vec<PackEntry>,
    /// The log's public key: the newest of those that sign this size.
    pub verifier: VerifierKey,
    /// The way from earlier keys to it; none where the log has had no other by this size.
    pub keys: Option<KeyChain>,
    /// Every entry behind the change's last one, to show that none of them is of this change; none where that is not asked for.
    pub headers: Option<LaterHeaders>,
}

/// The entries between the last one of a change and the size of its pack.
#[derive(Clone, Debug)]
pub struct LaterHeaders {
    /// The tree up to and with the change's last entry.
    pub frontier: Frontier,
    /// All entries behind it, in order.
    pub entries: Vec<Vec<u8>>,
}

/// One entry of the change, with what belongs to it.
#[derive(Clone, Debug)]
pub struct PackEntry {
    /// Index in the log.
    pub index: u64,
    /// The entry's bytes.
    pub entry: Vec<u8>,
    /// The salt of its commitment.
    pub salt: Salt,
    /// The payload as stored.
    pub payload: Vec<u8>,
    /// Inclusion proof under `size`.
    pub path: Vec<Hash>,
}

/// Why no pack can be made of an input.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// An entry is no event.
    #[error(transparent)]
    Entry(#[from] NotAnEvent),
    /// The entries are not the unbroken chain of the change.
    #[error(transparent)]
    Chain(#[from] Broken),
    /// A payload is not what its entry commits to.
    #[error(transparent)]
    Payload(#[from] Mismatch),
    /// The checkpoint does not verify.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is about something else, or carries signatures that a pack of this format does not name.
    #[error("checkpoint: {field} is {found}, expected {expected}")]
    CheckpointField {
        /// What differs.
        field: &'static str,
        /// Value in the checkpoint.
        found: String,
        /// Value of the input.
        expected: String,
    },
    /// The log's keys do not lead to the one that signs.
    #[error("keys: {0}")]
    Keys(#[from] KeyChainError),
    /// An entry is not proved to be in the tree.
    #[error("entry {index} is not proved: {source}")]
    Unproved {
        /// Index in the log.
        index: u64,
        /// Why.
        source: Unproved,
    },
    /// The headers behind the last entry are not all of them, or one is of the change.
    #[error("headers behind the last entry: {0}")]
    Headers(String),
    /// A file could not be derived.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// JSON could not be written.
    #[error("cannot encode JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The signer is not the log's.
    #[error("the signing key is of {found}, the pack is of {expected}")]
    OtherSigner {
        /// Key given.
        found: String,
        /// Key of the log.
        expected: String,
    },
}

/// All files of a pack but the attestation, sorted by name.
#[derive(Clone, Debug)]
pub struct PackPlan {
    files: Vec<PackFile>,
    statement: Vec<u8>,
    verifier: VerifierKey,
}

/// All files of a pack, sorted by name.
#[derive(Clone, Debug)]
pub struct SealedPack {
    files: Vec<PackFile>,
}

/// Plans the pack of a change: every file with its bytes, but for the attestation.
pub fn plan(input: &PackInput) -> Result<PackPlan, PackError> {
    let opened = open(input)?;
    check(input, &opened)?;
    let mut files = log_files(input, &opened)?;
    let change = files::change_document(&input.change, &opened, &input.context);
    let parts = files::part_files(input.origin.as_str(), &change, &opened)?;
    files.push(files::page_file(&document(input), &change, &opened, &parts)?);
    files.push((files::CHANGE.to_owned(), change.to_json()));
    files.extend(parts);
    files.extend(files::key_files(&input.verifier));
    if let Some(headers) = &input.headers {
        let made = headers::files(&input.change, headers, input.size, &input.root);
        files.extend(made.map_err(PackError::Headers)?);
    }
    files.sort();

    let sums = sums::text(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))).into_bytes();
    let statement = attest::statement(&sums, &predicate(input, &sums))?;
    files.push((sums::NAME.to_owned(), sums));
    files.sort();
    Ok(PackPlan { files, statement, verifier: input.verifier.clone() })
}

impl PackPlan {
    /// The key that signs the attestation.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The planned files, sorted by name.
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }

    /// Signs the plan with the log's key, which adds the attestation.
    pub fn seal(self, signer: &Signer) -> Result<SealedPack, PackError> {
        let key = signer.verifier();
        if key.to_vkey() != self.verifier.to_vkey() {
            return Err(PackError::OtherSigner { found: key.to_vkey(), expected: self.verifier.to_vkey() });
        }
        let signature = signer.sign_bytes(&dsse::pae(attest::PAYLOAD_TYPE, &self.statement));
        let attestation = Attestation { statement: self.statement, signature, hint: attest::hint(key.key()) };
        let mut files = self.files;
        files.push((attest::NAME.to_owned(), attestation.to_json()?));
        files.sort();
        Ok(SealedPack { files })
    }
}

impl SealedPack {
    /// The files, sorted by name.
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }
}

/// Writes a pack as a zip.
pub fn write(pack: &SealedPack, out: &mut impl Write) -> Result<(), WriteError> {
    let files: Vec<zip::File<'_>> = pack.files.iter().map(|(name, bytes)| zip::File { name, bytes }).collect();
    zip::write(&files, out)
}

fn open(input: &PackInput) -> Result<Vec<Opened<'_>>, PackError> {
    let mut out = Vec::with_capacity(input.entries.len());
    for PackEntry { index, entry, salt, payload, .. } in &input.entries {
        let header = chain::event_header(*index, entry)?;
        out.push(Opened { index: *index, leaf: chain::leaf(entry), header, salt: *salt, payload });
    }
    Ok(out)
}

/// Checks what a verifier will check, but for what follows from admission (header fields against payloads).
fn check(input: &PackInput, opened: &[Opened<'_>]) -> Result<(), PackError> {
    let verified = checkpoint::open(&input.checkpoint, &input.verifier)?;
    let field = |field, found: String, expected: String| {
        if found == expected { Ok(()) } else { Err(PackError::CheckpointField { field, found, expected }) }
    };
    field("origin", verified.origin.to_string(), input.origin.to_string())?;
    field("size", verified.size.to_string(), input.size.to_string())?;
    field("root", verified.root.to_string(), input.root.to_string())?;
    let signatures = SignedNote::parse(&input.checkpoint).map_err(CheckpointError::Note)?.signatures().len();
    let expected = match &input.keys {
        None => 1,
        Some(chain) => {
            field("note in the chain of keys", chain.checkpoint().to_owned(), input.checkpoint.clone())?;
            chain.establish(&input.verifier)?.signing(input.size).count()
        }
    };
    field("number of signatures", signatures.to_string(), expected.to_string())?;

    let links: Vec<_> = opened.iter().map(|e| (e.index, e.leaf, &e.header)).collect();
    chain::check_chain(&input.change, &links)?;
    for (entry, source) in opened.iter().zip(&input.entries) {
        chain::check_commitment(entry)?;
        proof::verify_inclusion(entry.index, input.size, &entry.leaf, &source.path, &input.root)
            .map_err(|source| PackError::Unproved { index: entry.index, source })?;
    }
    Ok(())
}

fn log_files(input: &PackInput, opened: &[Opened<'_>]) -> Result<Vec<PackFile>, PackError> {
    let lines: String = input.cosignatures.iter().map(NoteSignature::to_line).collect();
    let checkpoint = format!("{}{lines}", input.checkpoint);
    let mut out = vec![
        (files::PACK.to_owned(), document(input).to_json()?),
        (files::CHECKPOINT.to_owned(), checkpoint.clone().into_bytes()),
    ];
    out.extend(input.keys.as_ref().map(|chain| (files::CHAIN.to_owned(), chain.print())));
    for (entry, source) in opened.iter().zip(&input.entries) {
        let proof = files::proof_text(entry.index, &source.path, &checkpoint);
        out.push((files::entry_name(entry.index), source.entry.clone()));
        out.push((files::event_name(entry.index, entry.header.phase), source.payload.clone()));
        out.push((files::proof_name(entry.index), proof.into_bytes()));
    }
    Ok(out)
}

fn document(input: &PackInput) -> PackDocument {
    let entry = |e: &PackEntry| EntryRef { index: e.index, salt: Some(e.salt.to_hex()) };
    PackDocument {
        format: FORMAT,
        fold: FOLD_VERSION,
        report: REPORT_VERSION,
        origin: input.origin.to_string(),
        change: input.change.to_string(),
        as_of_ms: input.context.as_of_ms,
        approval_rules: input.context.rules.changes().to_vec(),
        size: input.size,
        root: input.root.to_string(),
        entries: input.entries.iter().map(entry).collect(),
        cosignatures: input.cosignatures.iter().map(named).collect(),
        erasures: Vec::new(),
        objects: Vec::new(),
    }
}

/// A cosignature as `pack.json` names it.
fn named(line: &NoteSignature) -> Value {
    Value::String(line.to_line().trim_end_matches('\n').to_owned())
}

fn predicate(input: &PackInput, sums: &[u8]) -> Predicate {
    Predicate {
        origin: input.origin.to_string(),
        change: input.change.to_string(),
        size: input.size,
        root: input.root.to_string(),
        format: FORMAT,
        files_root: hex::encode(sums::files_root(sums)),
    }
}

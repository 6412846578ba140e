//! From a change's entries to a pack: first every file with its length and digest, then the signature, then the zip.
//!
//! [`plan`] makes every choice and checks what it is given, so that a pack that would be refuted is never written;
//! [`PackPlan::seal`] signs; [`SealedPack::copy`] reads the log a second time and copies. No more than one payload is in memory at a time, and
//! what is kept grows with the number of files, not with what is in them. The same input gives the same bytes on any machine in any year.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Cursor, Read, Write};
use std::ops::Range;

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
use crate::copy::{Copier, CopyError, SealedPack};
use crate::document::{EntryRef, FORMAT, Object, PackDocument, REPORT_VERSION};
use crate::files::{self, DeriveError};
use crate::headers;
use crate::kept::{self, OBJECTS_BYTES_MAX, REFERENCES_MAX, References};
use crate::parts::{ENTRIES_MAX, OTHERS_MAX};
use crate::planned::{Planned, Shelf, Source};
use crate::sums;
use crate::told::{self, Subject, Told};
use crate::zip::{MAX_FILES, PlanError};

/// Everything a pack is a function of.
#[derive(Clone, Debug)]
pub struct PackInput<L = InMemory> {
    /// The log's name.
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
    /// All entries of the change below `size`, and what is behind them.
    pub log: L,
    /// The log's public key: the newest of those that sign this size.
    pub verifier: VerifierKey,
    /// The way from earlier keys to it; none where the log has had no other by this size.
    pub keys: Option<KeyChain>,
    /// The tree up to and with the change's last entry, where the pack is to hold every entry behind it, to show that none of them is of this
    /// change; none where that is not asked for.
    pub headers: Option<Frontier>,
}

/// Where the entries of a change are read: to plan its pack, and again to copy it.
///
/// A *place* is a position among the change's entries, oldest first. The same question has the same answer every time, as an append-only log
/// gives it; a payload that changed or is gone meanwhile ends the copying ([`CopyError::Changed`]). A failed read is not tried again.
pub trait PackLog: Clone {
    /// Why it could not be read.
    type Error: Error + Send + Sync + 'static;

    /// The entries' indices in the log, by place.
    fn indices(&self) -> Vec<u64>;

    /// The bytes of an entry.
    fn entry(&self, place: usize) -> Result<Vec<u8>, Self::Error>;

    /// The payload as stored, and the salt of its commitment.
    fn stored(&self, place: usize) -> Result<(Salt, Vec<u8>), Self::Error>;

    /// The inclusion proof under the pack's size.
    fn path(&self, place: usize) -> Result<Vec<Hash>, Self::Error>;

    /// The bytes of the log's entries, of whatever change, in this range of indices.
    fn behind(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// What is kept beside the log under this digest; none where it is not there. A log beside which nothing is kept has none.
    fn object(&self, sha256: &[u8; 32]) -> Result<Option<KeptObject>, Self::Error> {
        let _ = sha256;
        Ok(None)
    }

    /// The bytes that are kept under this digest.
    fn open_object(&self, sha256: &[u8; 32]) -> io::Result<Box<dyn Read>> {
        let _ = sha256;
        Err(io::ErrorKind::NotFound.into())
    }
}

/// What was noted of an object when its bytes were taken and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptObject {
    /// Its length in bytes.
    pub size: u64,
    /// Its CRC-32, as zip has it.
    pub crc: u32,
}

/// A change that is in memory.
#[derive(Clone, Debug, Default)]
pub struct InMemory {
    /// Its entries, oldest first.
    pub entries: Vec<PackEntry>,
    /// All entries of the log behind the last one.
    pub behind: Vec<Vec<u8>>,
    /// What is kept beside it, by digest.
    pub objects: BTreeMap<[u8; 32], Vec<u8>>,
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

impl PackLog for InMemory {
    type Error = Infallible;

    fn indices(&self) -> Vec<u64> {
        self.entries.iter().map(|entry| entry.index).collect()
    }

    fn entry(&self, place: usize) -> Result<Vec<u8>, Infallible> {
        Ok(self.entries[place].entry.clone())
    }

    fn stored(&self, place: usize) -> Result<(Salt, Vec<u8>), Infallible> {
        Ok((self.entries[place].salt, self.entries[place].payload.clone()))
    }

    fn path(&self, place: usize) -> Result<Vec<Hash>, Infallible> {
        Ok(self.entries[place].path.clone())
    }

    fn behind(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, Infallible> {
        let first = self.entries.last().map_or(0, |last| last.index + 1);
        let of_range = (first..).zip(&self.behind).filter(|(index, _)| range.contains(index));
        Ok(of_range.map(|(_, entry)| entry.clone()).collect())
    }

    fn object(&self, sha256: &[u8; 32]) -> Result<Option<KeptObject>, Infallible> {
        let found = self.objects.get(sha256);
        Ok(found.map(|bytes| KeptObject { size: bytes.len() as u64, crc: crc32fast::hash(bytes) }))
    }

    fn open_object(&self, sha256: &[u8; 32]) -> io::Result<Box<dyn Read>> {
        let found = self.objects.get(sha256).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(found.clone())))
    }
}

/// Why no pack can be made of an input.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The log could not be read.
    #[error("the log could not be read: {0}")]
    Log(Box<dyn Error + Send + Sync>),
    /// More entries than a pack has room for.
    #[error(
        "the change has {found} entries, a pack holds at most {ENTRIES_MAX}: ask for one as of an earlier size of the log"
    )]
    TooManyEntries {
        /// How many it has.
        found: usize,
    },
    /// The files do not fit into one zip.
    #[error(transparent)]
    Zip(#[from] PlanError),
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

impl PackError {
    fn of_log(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Log(Box::new(error))
    }
}

/// All files of a pack but the attestation, sorted by name.
#[derive(Clone, Debug)]
pub struct PackPlan<L = InMemory> {
    files: Vec<Planned>,
    statement: Vec<u8>,
    verifier: VerifierKey,
    copier: Copier<L>,
}

/// Plans the pack of a change: every file, but for the attestation.
pub fn plan<L: PackLog>(input: &PackInput<L>) -> Result<PackPlan<L>, PackError> {
    let indices = input.log.indices();
    if indices.len() > ENTRIES_MAX {
        return Err(PackError::TooManyEntries { found: indices.len() });
    }
    check_head(input)?;
    let copier = Copier {
        log: input.log.clone(),
        origin: input.origin.to_string(),
        change: input.change.clone(),
        checkpoint: checkpoint_text(input),
        indices,
    };
    let mut shelf = Shelf::new();
    let (entries, mut files, references) = of_log(input, &copier, &mut shelf)?;
    let objects = objects(&input.log, &references, copier.indices.len())?;
    let document = document(input, &entries, objects.iter().map(|(object, _)| *object).collect());
    files.extend(objects.iter().map(|(object, crc)| of_object(object, *crc)));
    files.push(Planned::kept(files::PACK, document.to_json()?));
    files.push(Planned::kept(files::CHECKPOINT, copier.checkpoint.clone().into_bytes()));
    files.extend(input.keys.as_ref().map(|chain| Planned::kept(files::CHAIN, chain.print())));
    files.extend(files::key_files(&input.verifier).map(|(name, bytes)| Planned::kept(name, bytes)));
    if let Some(frontier) = &input.headers {
        let mut behind = |range| input.log.behind(range);
        let planned = headers::plan(&input.change, frontier, input.size, &input.root, &mut behind);
        files.extend(planned.map_err(PackError::of_log)?.map_err(PackError::Headers)?);
    }
    let subject = Subject { pack: &document, change: &input.change, context: &input.context, entries: &entries };
    let mut payload = |place| input.log.stored(place).map(|(_, payload)| payload);
    let told = told::tell(&subject, &mut payload, &mut shelf);
    let Told { change, parts, page } = told.map_err(PackError::of_log)?;
    files.push(change);
    files.extend(parts?);
    files.extend(page?);
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));

    let sums = sums::text(files.iter().map(|file| (file.name.as_str(), file.sha256))).into_bytes();
    let statement = attest::statement(&sums, &predicate(input, &sums))?;
    insert(&mut files, Planned::kept(sums::NAME, sums));
    Ok(PackPlan { files, statement, verifier: input.verifier.clone(), copier })
}

fn insert(files: &mut Vec<Planned>, file: Planned) {
    let at = files.partition_point(|other| other.name < file.name);
    files.insert(at, file);
}

impl<L: PackLog> PackPlan<L> {
    /// The key that signs the attestation.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The content of a planned file; none where there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CopyError> {
        self.copier.read(&self.files, name)
    }

    /// The length of a planned file in bytes; none where there is no such file.
    pub fn length(&self, name: &str) -> Option<u64> {
        self.planned(name).map(|file| file.size)
    }

    /// Writes a planned file, of which there is never more in memory than of a payload; nothing where there is no such file.
    pub fn copy(&self, name: &str, out: &mut impl Write) -> Result<(), CopyError> {
        self.planned(name).map_or(Ok(()), |file| self.copier.copy(file, out))
    }

    fn planned(&self, name: &str) -> Option<&Planned> {
        let at = self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
        self.files.get(at)
    }

    /// Signs the plan with the log's key, which adds the attestation.
    pub fn seal(self, signer: &Signer) -> Result<SealedPack<L>, PackError> {
        let key = signer.verifier();
        if key.to_vkey() != self.verifier.to_vkey() {
            return Err(PackError::OtherSigner { found: key.to_vkey(), expected: self.verifier.to_vkey() });
        }
        let signature = signer.sign_bytes(&dsse::pae(attest::PAYLOAD_TYPE, &self.statement));
        let attestation = Attestation { statement: self.statement, signature, hint: attest::hint(key.key()) };
        let mut files = self.files;
        insert(&mut files, Planned::kept(attest::NAME, attestation.to_json()?));
        Ok(SealedPack::new(files, self.copier)?)
    }
}

/// Checks of the checkpoint and its keys what a verifier will check.
fn check_head<L>(input: &PackInput<L>) -> Result<(), PackError> {
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
    field("number of signatures", signatures.to_string(), expected.to_string())
}

/// Reads and checks the entries as a verifier will (but for what follows from admission: header fields against payloads), and plans the files
/// that are the log's own. Gives what the events refer to, too.
fn of_log<L: PackLog>(
    input: &PackInput<L>,
    copier: &Copier<L>,
    shelf: &mut Shelf,
) -> Result<(Vec<Opened>, Vec<Planned>, References), PackError> {
    let (mut entries, mut files) = (Vec::with_capacity(copier.indices.len()), Vec::new());
    let mut references = References::default();
    for (place, index) in copier.indices.iter().copied().enumerate() {
        let bytes = input.log.entry(place).map_err(PackError::of_log)?;
        let (salt, payload) = input.log.stored(place).map_err(PackError::of_log)?;
        let path = input.log.path(place).map_err(PackError::of_log)?;
        let entry = Opened { index, leaf: chain::leaf(&bytes), header: chain::event_header(index, &bytes)?, salt };
        chain::check_commitment(&entry, &payload)?;
        proof::verify_inclusion(index, input.size, &entry.leaf, &path, &input.root)
            .map_err(|source| PackError::Unproved { index, source })?;
        if kept::may_refer(&entry.header) {
            references.add_payload(index, &payload);
        }
        let proof = files::proof_text(index, &path, &copier.checkpoint);
        files.push(shelf.plan(files::entry_name(index), bytes, Source::Entry(place)));
        files.push(shelf.plan(files::event_name(index, entry.header.phase), payload, Source::Event(place)));
        files.push(shelf.plan(files::proof_name(index), proof.into_bytes(), Source::Proof(place)));
        entries.push(entry);
    }
    let links: Vec<_> = entries.iter().map(|entry| (entry.index, entry.leaf, &entry.header)).collect();
    chain::check_chain(&input.change, &links)?;
    Ok((entries, files, references))
}

/// The objects of the pack with their checksums: those that are kept beside the log with the length that an event names, by digest, as long as
/// there is room.
fn objects<L: PackLog>(log: &L, references: &References, entries: usize) -> Result<Vec<(Object, u32)>, PackError> {
    let most = (MAX_FILES - OTHERS_MAX).saturating_sub(3 * entries).min(REFERENCES_MAX);
    let (mut out, mut bytes) = (Vec::new(), 0);
    for object in references.objects() {
        let kept = log.object(&object.sha256).map_err(PackError::of_log)?;
        let Some(kept) = kept.filter(|kept| kept.size == object.size) else { continue };
        if out.len() < most && bytes + object.size <= OBJECTS_BYTES_MAX {
            bytes += object.size;
            out.push((object, kept.crc));
        }
    }
    Ok(out)
}

fn of_object(object: &Object, crc: u32) -> Planned {
    let Object { sha256, size } = *object;
    Planned { name: kept::object_name(&object.hex()), size, crc, sha256, source: Source::Object(sha256) }
}

/// The checkpoint as the pack carries it: the log's own lines and the cosignatures.
fn checkpoint_text<L>(input: &PackInput<L>) -> String {
    let lines: String = input.cosignatures.iter().map(NoteSignature::to_line).collect();
    format!("{}{lines}", input.checkpoint)
}

fn document<L>(input: &PackInput<L>, entries: &[Opened], objects: Vec<Object>) -> PackDocument {
    let entry = |entry: &Opened| EntryRef { index: entry.index, salt: Some(entry.salt.to_hex()) };
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
        entries: entries.iter().map(entry).collect(),
        cosignatures: input.cosignatures.iter().map(named).collect(),
        erasures: Vec::new(),
        objects,
    }
}

/// A cosignature as `pack.json` names it.
fn named(line: &NoteSignature) -> Value {
    Value::String(line.to_line().trim_end_matches('\n').to_owned())
}

fn predicate<L>(input: &PackInput<L>, sums: &[u8]) -> Predicate {
    Predicate {
        origin: input.origin.to_string(),
        change: input.change.to_string(),
        size: input.size,
        root: input.root.to_string(),
        format: FORMAT,
        files_root: hex::encode(sums::files_root(sums)),
    }
}

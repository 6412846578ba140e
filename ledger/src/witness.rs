//! Both sides of C2SP tlog-witness `add-checkpoint`, as decisions without I/O.
//!
//! ```text
//! POST <submission prefix>/add-checkpoint        body: crate::consistency (old size, proof, checkpoint)
//! 200 cosignature lines          404 unknown origin
//! 400 not a request              409 another old size, told in the body, text/x.tlog.size
//! 403 no or bad signature        422 not consistent
//! ```
//!
//! A witness: [`Request::admit`] (no state needed), then, under a lock of that log, [`Request::extends`], then the cosigned
//! checkpoint is made durable, then released: in any other order two requests could roll the log back. A log:
//! [`Submission`], which reads each answer and says what to do next. Left out: `sign-subtree`, bastions, time.

use std::collections::BTreeMap;

use crate::consistency::{ConsistencyError, ConsistencyProof, ProofParts};
use crate::cosignature::{CosignatureError, CosignerKey, Statement, StatementError, cosignatures};
use crate::encoding;
use crate::entry::MAX_NUMBER;
use crate::hash::{Hash, empty_root};
use crate::note::{NoteError, NoteSignature, SignedNote, VerifierKey};
use crate::proof;

/// Bytes of a request: a proof of 63 hashes and a checkpoint with 64 post-quantum signatures stay below.
pub const MAX_REQUEST_BYTES: usize = 512 << 10;

/// Bytes of an answer: 16 cosignatures with ML-DSA-44 are a third of it.
pub const MAX_ANSWER_BYTES: usize = 256 << 10;

/// Content type of the body of a 409.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// How often a submission follows a witness's word on the size that it has seen. Two races in a row are rare; more means that the
/// witness does not keep its word.
pub const MAX_RESUBMISSIONS: u32 = 3;

/// The logs that a witness watches: origins, each with the keys that may sign for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchedLogs(BTreeMap<String, Vec<VerifierKey>>);

/// What a witness remembers of a log: the newest tree that it cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

impl Default for Seen {
    /// Nothing cosigned yet: the empty tree, which every tree extends.
    fn default() -> Seen {
        Seen { size: 0, root: empty_root() }
    }
}

/// A request whose checkpoint is signed by a log that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    old: u64,
    path: Vec<Hash>,
    note: SignedNote,
    head: Seen,
    /// The log's own lines that were verified.
    signed: Vec<NoteSignature>,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not the body of a request.
    #[error("bad request: {0}")]
    Body(&'static str),
    /// The lines above the checkpoint.
    #[error("bad request: {0}")]
    Proof(#[from] ConsistencyError),
    /// The checkpoint is no signed note.
    #[error("bad request: {0}")]
    Note(NoteError),
    /// The note is no checkpoint.
    #[error("bad request: {0}")]
    Statement(#[from] StatementError),
    /// The old size is larger than the checkpoint's.
    #[error("bad request: the old size {old} is larger than the checkpoint's {size}")]
    Backwards {
        /// Old size of the request.
        old: u64,
        /// Size of its checkpoint.
        size: u64,
    },
    /// Nobody watches that log here.
    #[error("unknown log: {0:?} is not watched here")]
    UnknownLog(String),
    /// No signature by a key of that log, or one that does not fit.
    #[error("invalid signature: {0}")]
    Signature(NoteError),
    /// The witness has seen another size.
    #[error("the newest tree cosigned here has {0} entries")]
    Conflict(u64),
    /// A tree of size 0 with another root than the empty one.
    #[error("a tree without entries has the root of the empty tree")]
    EmptyRoot,
    /// Something to prove where there is nothing.
    #[error("a consistency proof from size {0} to the same or from size 0 is empty")]
    NeedlessProof(u64),
    /// The same size and another root: the log showed two histories.
    #[error("the root of size {size} is not the one that was cosigned here: the log showed two histories")]
    Fork {
        /// Size of both.
        size: u64,
    },
    /// The proof does not hold.
    #[error("bad consistency proof: {0}")]
    Unproved(proof::Unproved),
}

impl WatchedLogs {
    /// Watches a log; more than one key may sign for it.
    pub fn watch(&mut self, origin: &str, key: VerifierKey) {
        let keys = self.0.entry(origin.to_owned()).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }

    /// The keys of a log; none where it is not watched.
    pub fn keys(&self, origin: &str) -> Option<&[VerifierKey]> {
        self.0.get(origin).map(Vec::as_slice)
    }

    /// All origins, sorted.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How many logs are watched.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no log is watched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Request {
    /// Reads a request and checks all that needs no memory: form, origin, signature, and that it looks forward.
    pub fn admit(body: &[u8], logs: &WatchedLogs) -> Result<Request, Refusal> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(Refusal::Body("too long"));
        }
        let body = std::str::from_utf8(body).map_err(|_| Refusal::Body("not UTF-8"))?;
        let ProofParts { old, path, checkpoint } = ConsistencyProof::split(body)?;
        let note = SignedNote::parse(checkpoint);
        if let Err(error @ NoteError::SignatureLine { .. }) = note {
            // Its text can be read: a log that is not watched is told that first.
            keys_of(checkpoint.rsplit_once("\n\n").map_or("", |(text, _)| text), logs)?;
            return Err(Refusal::Signature(error));
        }
        let note = note.map_err(Refusal::Note)?;
        let statement = Statement::parse(note.text())?;
        let head = Seen { size: statement.size, root: statement.root };
        let keys = keys_of(statement.origin, logs)?;
        let signers = note.verify(keys).map_err(Refusal::Signature)?;
        let is_logs = |line: &&NoteSignature| signers.iter().any(|key| key.name() == &line.name && key.id() == line.id);
        let signed = note.signatures().iter().filter(is_logs).cloned().collect();
        if old > head.size {
            return Err(Refusal::Backwards { old, size: head.size });
        }
        Ok(Request { old, path, note, head, signed })
    }

    /// Whether the checkpoint extends what was seen of its log. The caller holds the log's lock from reading `seen` until the
    /// new head is durable.
    pub fn extends(&self, seen: &Seen) -> Result<(), Refusal> {
        if self.old != seen.size {
            return Err(Refusal::Conflict(seen.size));
        }
        if self.head.size == 0 && self.head.root != empty_root() {
            return Err(Refusal::EmptyRoot);
        }
        if self.old == 0 || self.old == self.head.size {
            if self.old == self.head.size && self.head.root != seen.root {
                return Err(Refusal::Fork { size: self.old });
            }
            return if self.path.is_empty() { Ok(()) } else { Err(Refusal::NeedlessProof(self.old)) };
        }
        let (old, new) = (self.old, self.head.size);
        proof::verify_consistency(old, new, &seen.root, &self.head.root, &self.path).map_err(Refusal::Unproved)
    }

    /// What is to be cosigned.
    pub fn statement(&self) -> Result<Statement<'_>, StatementError> {
        Statement::parse(self.note.text())
    }

    /// The tree that is to be remembered.
    pub fn head(&self) -> Seen {
        self.head
    }

    /// The checkpoint with the log's verified lines and the witness's own, and no others: what `GET <origin hash>/checkpoint`
    /// serves, and what a witness keeps.
    pub fn cosigned(&self, lines: &[NoteSignature]) -> String {
        let lines: String = self.signed.iter().chain(lines).map(NoteSignature::to_line).collect();
        format!("{}\n{lines}", self.note.text())
    }
}

/// The keys of the log whose name is the first line of `text`.
fn keys_of<'l>(text: &str, logs: &'l WatchedLogs) -> Result<&'l [VerifierKey], Refusal> {
    let origin = text.split('\n').next().unwrap_or_default();
    logs.keys(origin).ok_or_else(|| Refusal::UnknownLog(origin.to_owned()))
}

impl Refusal {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Body(_)
            | Refusal::Proof(_)
            | Refusal::Note(_)
            | Refusal::Statement(_)
            | Refusal::Backwards { .. } => 400,
            Refusal::UnknownLog(_) => 404,
            Refusal::Signature(_) => 403,
            Refusal::Conflict(_) => 409,
            Refusal::EmptyRoot | Refusal::NeedlessProof(_) | Refusal::Fork { .. } | Refusal::Unproved(_) => 422,
        }
    }

    /// The body: the size alone for 409, else a sentence.
    pub fn body(&self) -> String {
        match self {
            Refusal::Conflict(size) => format!("{size}\n"),
            other => format!("{other}\n"),
        }
    }

    /// The body's type.
    pub fn content_type(&self) -> &'static str {
        match self {
            Refusal::Conflict(_) => SIZE_CONTENT_TYPE,
            _ => "text/plain; charset=utf-8",
        }
    }

    /// Whether a log signed something that it should not have: worth keeping as proof.
    pub fn accuses_the_log(&self) -> bool {
        matches!(self, Refusal::Fork { .. } | Refusal::EmptyRoot)
    }
}

/// One checkpoint on its way to one witness.
#[derive(Debug, Clone)]
pub struct Submission<'a> {
    checkpoint: &'a str,
    size: u64,
    old: u64,
    resubmissions: u32,
}

/// What an answer of a witness means for a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Cosigned: the lines by known witnesses, verified.
    Done(Vec<NoteSignature>),
    /// Send it again, with a proof from this size.
    Again {
        /// The size that the witness has seen.
        old: u64,
    },
    /// The witness has seen a larger tree than this one: a newer checkpoint is to be sent; if there is none, this log was
    /// rolled back or somebody else signs for it.
    Ahead {
        /// The size that the witness has seen.
        size: u64,
    },
    /// The witness does not want it, and would not want it a second time.
    Refused(String),
    /// Not now: try later.
    Later(String),
}

/// A checkpoint that can't be submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// No note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// No checkpoint.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl<'a> Submission<'a> {
    /// A checkpoint, and the size of the tree that the witness is believed to have seen last (0 where nothing is known). A belief
    /// past the checkpoint is set right by the witness.
    pub fn new(checkpoint: &'a str, believed: u64) -> Result<Submission<'a>, SubmissionError> {
        let note = SignedNote::parse(checkpoint)?;
        let size = Statement::parse(note.text())?.size;
        let old = if believed > size { 0 } else { believed };
        Ok(Submission { checkpoint, size, old, resubmissions: 0 })
    }

    /// Sizes of the proof that the body asks for; none where it has to be empty.
    pub fn needs_proof(&self) -> Option<(u64, u64)> {
        (self.old != 0 && self.old != self.size).then_some((self.old, self.size))
    }

    /// The body of the request.
    pub fn body(&self, path: Vec<Hash>) -> String {
        ConsistencyProof { old: self.old, path, checkpoint: self.checkpoint.to_owned() }.to_text()
    }

    /// What an answer means. `known` are the keys that count; at least one line has to be by one of them.
    pub fn read(&mut self, status: u16, content_type: Option<&str>, body: &str, known: &[CosignerKey]) -> Next {
        match status {
            200 => self.read_lines(body, known),
            409 => self.read_size(content_type, body),
            429 | 500.. => Next::Later(format!("HTTP {status}: {}", excerpt(body))),
            _ => Next::Refused(format!("HTTP {status}: {}", excerpt(body))),
        }
    }

    fn read_lines(&self, body: &str, known: &[CosignerKey]) -> Next {
        match verified_lines(self.checkpoint, body, known) {
            Ok(lines) if lines.is_empty() => {
                Next::Refused("it answered without a cosignature by a known key".to_owned())
            }
            Ok(lines) => Next::Done(lines),
            Err(reason) => Next::Refused(reason),
        }
    }

    fn read_size(&mut self, content_type: Option<&str>, body: &str) -> Next {
        let is_size = content_type.is_some_and(|it| it.split(';').next() == Some(SIZE_CONTENT_TYPE));
        let size = body.strip_suffix('\n').and_then(encoding::from_decimal).filter(|_| is_size);
        let Some(size) = size else {
            return Next::Refused(format!("HTTP 409 that tells no size ({SIZE_CONTENT_TYPE}): {}", excerpt(body)));
        };
        if size > self.size {
            return Next::Ahead { size };
        }
        if size == self.old || self.resubmissions == MAX_RESUBMISSIONS {
            return Next::Refused(format!("HTTP 409 again, now with size {size}: it does not keep its word"));
        }
        self.resubmissions += 1;
        self.old = size;
        Next::Again { old: size }
    }
}

/// The cosignature lines of an answer by known keys, each verified over the checkpoint, with a time. The specification's own
/// way: they are put below the checkpoint, and the whole is read as a note.
fn verified_lines(checkpoint: &str, lines: &str, known: &[CosignerKey]) -> Result<Vec<NoteSignature>, String> {
    if lines.len() > MAX_ANSWER_BYTES {
        return Err(format!("an answer of {} bytes, more than {MAX_ANSWER_BYTES}", lines.len()));
    }
    let text = SignedNote::parse(checkpoint).map_err(|error| error.to_string())?;
    let note = SignedNote::parse(&format!("{}\n{lines}", text.text())).map_err(|error| error.to_string())?;
    let found = cosignatures(&note, known).map_err(|error: CosignatureError| error.to_string())?;
    if let Some(timeless) = found.iter().find(|cosignature| cosignature.time == 0) {
        return Err(format!("the cosignature by {} has no time", timeless.key.name()));
    }
    if let Some(absurd) = found.iter().find(|cosignature| cosignature.time > MAX_NUMBER) {
        return Err(format!("the cosignature by {} is of second {}", absurd.key.name(), absurd.time));
    }
    // One line a key: a witness that answers with many must not take the room of the others.
    let mut lines: Vec<NoteSignature> = Vec::new();
    for line in note.signatures() {
        let is_known = found.iter().any(|it| it.key.name() == &line.name && it.key.id() == line.id);
        if is_known && !lines.iter().any(|old| old.name == line.name && old.id == line.id) {
            lines.push(line.clone());
        }
    }
    Ok(lines)
}

/// The beginning of an answer, for a person: nothing in it steers a terminal.
fn excerpt(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default();
    line.chars().take(160).map(|c| if c.is_control() { '?' } else { c }).collect()
}

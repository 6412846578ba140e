//! Receipts: the proof that an event is in a log, checked by its holder alone. A receipt is a C2SP tlog-proof whose `extra`
//! line is the base64 of RFC 8785 `{entry: base64, payload?: base64, salt?: hex}`. Salt and payload are absent where the entry has no
//! payload or it was erased: that the entry is in the log is proved all the same.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>
//! index 73894
//! gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=     <- audit path, leaf's sibling first
//!
//! <checkpoint>
//! ```
//!
//! A receipt proves inclusion under one signed head, not that this head is the one others see ([`crate::consistency`]).

use std::borrow::Cow;

use schemas::admit::{self, Scratch};
use schemas::reason::Reason;
use schemas::rules;
use serde_json::Value;

use crate::checkpoint::{self, Checkpoint, CheckpointError, Verified};
use crate::consistency::parse_hashes;
use crate::encoding;
use crate::entry::{EntryError, EventHeader, Header, Salt, commitment};
use crate::hash::{self, Hash};
use crate::note::VerifierKey;
use crate::proof::{self, Unproved};

/// The first line of every tlog-proof.
pub const TLOG_PROOF_V1: &str = "c2sp.org/tlog-proof@v1";

/// Hashes that an audit path may have: a tree has at most 2^64 leaves.
pub const MAX_PATH_HASHES: usize = 64;

/// A C2SP tlog-proof as it stands. Nothing in it is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// What the `extra` line holds, decoded; its meaning is the application's.
    pub extra: Option<Vec<u8>>,
    /// Index of the entry.
    pub index: u64,
    /// Audit path, the leaf's sibling first.
    pub path: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

/// A receipt as it stands. Nothing in it is to be believed before [`Receipt::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Index of the entry.
    pub index: u64,
    /// The entry's bytes.
    pub entry: Vec<u8>,
    /// The salt of its commitment; none where the entry has no payload, or it was erased.
    pub salt: Option<Salt>,
    /// The payload as stored, where masking made it differ from the event as sent.
    pub payload: Option<Vec<u8>>,
    /// Audit path, the leaf's sibling first.
    pub path: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

/// An entry that is proved to be in a log. Of its payload nothing is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEntry {
    /// Its index.
    pub index: u64,
    /// What it says.
    pub header: Header,
    /// The head that it is under.
    pub checkpoint: Verified<Checkpoint>,
}

/// An event that is proved to be in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    /// Index of its entry.
    pub index: u64,
    /// What the entry says.
    pub header: EventHeader,
    /// The head that it is under.
    pub checkpoint: Verified<Checkpoint>,
    /// How the given event and the stored payload relate.
    pub event: EventMatch,
    /// Whether the header says what the payload says.
    pub facts: FactsCheck,
}

/// How the event that a holder has and the payload that the entry commits to relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventMatch {
    /// The same bytes.
    SameBytes,
    /// The payload is what admission makes of the event: the same but for masked secrets.
    Masked {
        /// Masked places.
        places: u32,
    },
}

/// Whether header fields were derived from the payload again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactsCheck {
    /// They were, and agree.
    Agree,
    /// The entry was admitted under rules that this program does not have.
    UnknownRules(Hash),
}

/// A text that is no tlog-proof or receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptFormError {
    /// A line of the tlog-proof.
    #[error("tlog-proof, line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The checkpoint at its end.
    #[error("tlog-proof: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The `extra` line of a receipt.
    #[error("receipt: extra {0}")]
    Extra(&'static str),
}

/// Why a receipt proves nothing, or cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// Signature, origin or form of the checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not under the checkpoint.
    #[error("the entry is not proved to be in the log: {0}")]
    Unproved(#[from] Unproved),
    /// The entry is proved, but no entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The entry is of a kind that this program does not know.
    #[error("entry of unknown kind {kind:?}, version {v}: this program is too old to judge it")]
    UnknownKind {
        /// Format version.
        v: u64,
        /// Kind.
        kind: String,
    },
    /// The entry is no event.
    #[error("the entry is a {0}, not an event")]
    NotAnEvent(String),
    /// The entry's payload was erased before this receipt was made: nothing can be compared with the event.
    #[error(
        "the receipt has no salt: the payload was erased, so it can't be told whether the event is the one that was logged"
    )]
    NoSalt,
    /// The payload in the receipt is not the one that the entry commits to.
    #[error("the payload in the receipt is not what the entry commits to")]
    OtherPayload,
    /// The event given is not the one of the receipt.
    #[error("the event given is not what the entry commits to")]
    OtherEvent,
    /// The rules that the entry names refuse the event or payload.
    #[error("the rules that the entry names do not admit this event: {0}")]
    NotAdmitted(Reason),
    /// The event differs from the payload and the rules that made the difference are not in this program.
    #[error("the event was masked under rules {0}, which this program does not have")]
    UnknownRules(Hash),
    /// The header says something else than the payload.
    #[error("the entry's {member} is not what its payload says")]
    OtherFacts {
        /// The first member that differs.
        member: &'static str,
    },
}

impl Receipt {
    /// Checks everything: the checkpoint's signature, that it is of the key's log, the inclusion of the entry, the commitment to
    /// the payload, that `event`, the bytes as the holder sent them, is that payload or becomes it by masking, and that the
    /// header says what the payload says.
    pub fn verify(&self, key: &VerifierKey, event: &[u8]) -> Result<VerifiedReceipt, ReceiptError> {
        let entry = self.verify_entry(key)?;
        let header = match entry.header {
            Header::Event(header) => header,
            Header::Unknown { v, kind } => return Err(ReceiptError::UnknownKind { v, kind }),
            other => return Err(ReceiptError::NotAnEvent(other.kind().to_owned())),
        };
        if self.salt.is_none() {
            return Err(ReceiptError::NoSalt);
        }
        if self.payload.as_deref().is_some_and(|payload| !self.commits(&header, payload)) {
            return Err(ReceiptError::OtherPayload);
        }
        let mut scratch = Scratch::default();
        let (event_match, stored) = self.match_event(&header, event, &mut scratch)?;
        let facts = check_facts(&header, entry.checkpoint.origin.log(), &stored, &mut scratch)?;
        Ok(VerifiedReceipt { index: self.index, header, checkpoint: entry.checkpoint, event: event_match, facts })
    }

    /// Checks what needs no event: the checkpoint's signature, that it is of the key's log, the inclusion of the entry.
    pub fn verify_entry(&self, key: &VerifierKey) -> Result<VerifiedEntry, ReceiptError> {
        let checkpoint = checkpoint::open(&self.checkpoint, key)?;
        let leaf = hash::leaf(&self.entry);
        proof::verify_inclusion(self.index, checkpoint.size, &leaf, &self.path, &checkpoint.root)?;
        Ok(VerifiedEntry { index: self.index, header: Header::decode(&self.entry)?, checkpoint })
    }

    /// The receipt's text.
    pub fn to_text(&self) -> String {
        self.to_proof().to_text()
    }

    /// The receipt of a text, unverified.
    pub fn parse(text: &str) -> Result<Receipt, ReceiptFormError> {
        let proof = TlogProof::parse(text)?;
        let extra = proof.extra.as_deref().ok_or(ReceiptFormError::Extra("is absent: a tlog-proof, but no receipt"))?;
        let extra = Extra::parse(extra)?;
        Ok(Receipt {
            index: proof.index,
            entry: extra.entry,
            salt: extra.salt,
            payload: extra.payload,
            path: proof.path,
            checkpoint: proof.checkpoint,
        })
    }

    /// The tlog-proof that carries the receipt.
    pub fn to_proof(&self) -> TlogProof {
        // Base64 and hex need no escaping and the members are sorted: this is RFC 8785.
        let payload = self
            .payload
            .as_deref()
            .map_or(String::new(), |payload| format!("\"payload\":\"{}\",", encoding::to_base64(payload)));
        let entry = encoding::to_base64(&self.entry);
        let salt = self.salt.map_or(String::new(), |salt| format!("\"salt\":\"{}\",", salt.to_hex()));
        let members = format!("\"entry\":\"{entry}\",{payload}{salt}");
        let extra = format!("{{{}}}", members.trim_end_matches(','));
        TlogProof {
            extra: Some(extra.into_bytes()),
            index: self.index,
            path: self.path.clone(),
            checkpoint: self.checkpoint.clone(),
        }
    }

    fn commits(&self, header: &EventHeader, payload: &[u8]) -> bool {
        header.size == payload.len() as u64 && self.salt.is_some_and(|salt| header.commit == commitment(&salt, payload))
    }

    /// How `event` relates to the payload, and the payload. A receipt may lack the payload although masking changed it (an answer
    /// too large for its road does), so what admission makes of the event is compared with the commitment itself.
    fn match_event<'e>(
        &self,
        header: &EventHeader,
        event: &'e [u8],
        scratch: &mut Scratch,
    ) -> Result<(EventMatch, Cow<'e, [u8]>), ReceiptError> {
        if self.commits(header, event) {
            return Ok((EventMatch::SameBytes, Cow::Borrowed(event)));
        }
        if header.masked == 0 {
            return Err(ReceiptError::OtherEvent);
        }
        if header.rules.0 != rules::current().name {
            return Err(ReceiptError::UnknownRules(header.rules));
        }
        let (_, admitted) =
            admit::admit_unaddressed(event, scratch).map_err(|r| ReceiptError::NotAdmitted(r.reason))?;
        if !self.commits(header, &admitted.payload) {
            return Err(ReceiptError::OtherEvent);
        }
        Ok((EventMatch::Masked { places: header.masked }, admitted.payload))
    }
}

/// Derives from the payload what the header has to say.
fn check_facts(
    header: &EventHeader,
    log: &str,
    payload: &[u8],
    scratch: &mut Scratch,
) -> Result<FactsCheck, ReceiptError> {
    if header.rules.0 != rules::current().name {
        return Ok(FactsCheck::UnknownRules(header.rules));
    }
    let derived = admit::derive(payload, scratch);
    let (tenant, phase, masked, facts) = derived.map_err(|r| ReceiptError::NotAdmitted(r.reason))?;
    if tenant.as_str() != log {
        return Err(ReceiptError::OtherFacts { member: "tenant" });
    }
    let differs = if phase == header.phase { header.differs_from(masked, &facts) } else { Some("phase") };
    match differs {
        Some(member) => Err(ReceiptError::OtherFacts { member }),
        None => Ok(FactsCheck::Agree),
    }
}

impl ReceiptError {
    /// Whether nothing was refuted: a newer program, or an older receipt, could still show that it holds.
    pub fn is_undecided(&self) -> bool {
        matches!(self, ReceiptError::UnknownKind { .. } | ReceiptError::UnknownRules(_) | ReceiptError::NoSalt)
    }
}

impl TlogProof {
    /// The text.
    pub fn to_text(&self) -> String {
        let mut out = format!("{TLOG_PROOF_V1}\n");
        if let Some(extra) = &self.extra {
            out.push_str("extra ");
            out.push_str(&encoding::to_base64(extra));
            out.push('\n');
        }
        out.push_str("index ");
        out.push_str(&self.index.to_string());
        out.push('\n');
        for hash in &self.path {
            out.push_str(&hash.to_base64());
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.checkpoint);
        out
    }

    /// The proof of a text; only the spelling of [`TlogProof::to_text`] is read, and what stands for the checkpoint has to have
    /// a checkpoint's form.
    pub fn parse(text: &str) -> Result<TlogProof, ReceiptFormError> {
        let bad = |line: usize, reason: &'static str| ReceiptFormError::Line { line, reason };
        let (head, checkpoint) = text.split_once("\n\n").ok_or(bad(1, "no empty line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(TLOG_PROOF_V1) {
            return Err(bad(1, "not c2sp.org/tlog-proof@v1"));
        }
        let mut line = 2;
        let mut extra = None;
        if let Some(encoded) = lines.peek().and_then(|next| next.strip_prefix("extra ")) {
            extra = Some(encoding::from_base64(encoded).ok_or(bad(line, "extra is not base64"))?);
            lines.next();
            line += 1;
        }
        let index = lines.next().and_then(|next| next.strip_prefix("index ")).and_then(encoding::from_decimal);
        let index = index.ok_or(bad(line, "not `index` and a number"))?;
        let path = parse_hashes(lines, MAX_PATH_HASHES).map_err(|(at, reason)| bad(line + 1 + at, reason))?;
        checkpoint::peek(checkpoint)?;
        Ok(TlogProof { extra, index, path, checkpoint: checkpoint.to_owned() })
    }
}

/// What a receipt's `extra` line holds.
struct Extra {
    entry: Vec<u8>,
    salt: Option<Salt>,
    payload: Option<Vec<u8>>,
}

impl Extra {
    /// Unknown members are ignored, for what later versions add; but the whole is RFC 8785, so each content has one spelling.
    fn parse(bytes: &[u8]) -> Result<Extra, ReceiptFormError> {
        let error = ReceiptFormError::Extra;
        let value: Value = serde_json::from_slice(bytes).map_err(|_| error("is not JSON"))?;
        let canonical = serde_json_canonicalizer::to_vec(&value).map_err(|_| error("has no canonical form"))?;
        if canonical != bytes {
            return Err(error("is not in canonical form (RFC 8785)"));
        }
        let member = |name: &str| value.get(name).map(|member| member.as_str().unwrap_or("\0"));
        let base64 = |text: &str, reason| encoding::from_base64(text).ok_or(error(reason));
        if value.get("payload").is_some() && value.get("salt").is_none() {
            return Err(error("has a payload but no salt to check it with"));
        }
        Ok(Extra {
            entry: base64(member("entry").ok_or(error("has no entry"))?, "has an entry that is not base64")?,
            salt: member("salt")
                .map(|text| Salt::from_hex(text).ok_or(error("has a salt that is not 32 hex digits")))
                .transpose()?,
            payload: member("payload").map(|text| base64(text, "has a payload that is not base64")).transpose()?,
        })
    }
}

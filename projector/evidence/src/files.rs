//! The files of a pack and where each comes from: one place for the writer and the verifier, so that what is written is
//! what is derived again.
//!
//! | files | from |
//! |---|---|
//! | `pack.json` | what the pack is of ([`PackDocument`]) |
//! | `entries/N.json`, `events/N-PHASE.json`, `proofs/N.tlog-proof`, `checkpoint` | the log, byte for byte |
//! | `ledger.vkey`, `ledger.pub` | the log's key: hints |
//! | `change.json` | the fold, by its version |
//! | `index.html`, `plan/ approvals/ logs/ verify/ rollback/`, `VERIFY.md` | fold and payloads, by the versions of report and fold |
//! | `SHA256SUMS`, `attestation.sigstore.json` | all of the above |
//!
//! `keys/chain.json` leads from earlier keys of the log to the one that signs ([`ledger::governance::KeyChain`]). Only packs of logs
//! that have had several keys have it; whatever else a pack has in `keys/` a verifier says that it does not know. What follows from the
//! events is [`crate::told`]'s.

use ledger::hash::Hash;
use ledger::note::VerifierKey;
use ledger::receipt::TlogProof;
use schemas::ids::Phase;

use crate::parts::{PackFile, number};

/// Name of the pack's own description.
pub(crate) const PACK: &str = "pack.json";
/// Name of the signed tree head.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Name of the vkey hint.
pub(crate) const VKEY: &str = "ledger.vkey";
/// Name of the PEM hint.
pub(crate) const PEM: &str = "ledger.pub";
/// Name of the folded change.
pub(crate) const CHANGE: &str = "change.json";
/// Name of the page for people.
pub(crate) const PAGE: &str = "index.html";
/// Directory of key changes.
pub(crate) const KEYS: &str = "keys/";
/// Name of the way from earlier keys to the one that signs.
pub(crate) const CHAIN: &str = "keys/chain.json";

/// Why files cannot be derived from payloads.
#[derive(Debug, thiserror::Error)]
pub enum DeriveError {
    /// A payload is no event document.
    #[error("the payload of entry {index} cannot be read: {source}")]
    Payload {
        /// Index in the log.
        index: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// A summary could not be written.
    #[error("cannot encode JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The page could not be rendered.
    #[error("index.html cannot be rendered: {0}")]
    Page(#[from] askama::Error),
}

/// Name of an entry's file.
pub(crate) fn entry_name(index: u64) -> String {
    format!("entries/{}.json", number(index))
}

/// Name of an event's file.
pub(crate) fn event_name(index: u64, phase: Phase) -> String {
    format!("events/{}-{}.json", number(index), phase.as_str())
}

/// Name of a proof's file.
pub(crate) fn proof_name(index: u64) -> String {
    format!("proofs/{}.tlog-proof", number(index))
}

/// The text of a proof: C2SP tlog-proof without an `extra` line, because the leaf is the entry's own file.
pub(crate) fn proof_text(index: u64, path: &[Hash], checkpoint: &str) -> String {
    TlogProof { extra: None, index, path: path.to_vec(), checkpoint: checkpoint.to_owned() }.to_text()
}

/// The key hints.
pub(crate) fn key_files(key: &VerifierKey) -> [PackFile; 2] {
    [(PEM.to_owned(), key.spki_pem().into_bytes()), (VKEY.to_owned(), format!("{}\n", key.to_vkey()).into_bytes())]
}

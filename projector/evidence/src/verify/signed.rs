//! What is signed: the list of files, what the pack says it is, the checkpoint, the attestation, and with which key.

use std::collections::BTreeMap;

use ledger::checkpoint::{Checkpoint, CheckpointError, Origin, Verified};
use ledger::dsse;
use ledger::governance::LogKeysError;
use ledger::hash::Hash;
use ledger::note::{NoteError, SignedNote, VerifierKey};
use schemas::ids::ChangeId;

use super::contents::Files;
use super::cosigned;
use super::keys::Keys;
use crate::attest::{self, Attestation, Predicate};
use crate::document::{DocumentError, PackDocument};
use crate::files;
use crate::report::{Id, Log};
use crate::sums;
use crate::trust::Trust;

pub(super) fn check_sums(files: &Files<'_>, log: &mut Log) {
    let Some(text) = files.get(sums::NAME) else {
        log.refute(Id::SumsList, format!("{} is missing", sums::NAME));
        return log.not_done(Id::SumsDigests, "there is no list");
    };
    let lines = match sums::parse(&text) {
        Ok(lines) => lines,
        Err(error) => {
            log.refute(Id::SumsList, format!("{}: {error}", sums::NAME));
            return log.not_done(Id::SumsDigests, "the list is malformed");
        }
    };
    let listed: BTreeMap<&str, &str> = lines.iter().map(|line| (line.name, line.digest)).collect();
    let excepted = [sums::NAME, attest::NAME];
    let over = files.names().find(|name| !listed.contains_key(*name) && !excepted.contains(name));
    let absent = listed.keys().find(|name| !files.has(name) || excepted.contains(name));
    let result = match (over, absent) {
        (Some(name), _) => Err(format!("{name} is in the zip but not on the list")),
        (None, Some(name)) => Err(format!("{name} is on the list but must not be, or is not in the zip")),
        (None, None) => Ok(format!("{} files", listed.len())),
    };
    log.result(Id::SumsList, result);
    let is_wrong = |name: &&str| {
        let found = files.sha256(name).map(hex::encode);
        listed.get(*name).is_some_and(|digest| found.as_deref() != Some(*digest))
    };
    match files.names().find(is_wrong) {
        Some(name) => log.refute(Id::SumsDigests, format!("{name} has another digest than listed")),
        None => log.ok(Id::SumsDigests, "SHA-256"),
    }
}

pub(super) fn read_document(files: &Files<'_>, log: &mut Log) -> Option<PackDocument> {
    let Some(bytes) = files.get(files::PACK) else {
        log.refute(Id::PackDocument, format!("{} is missing", files::PACK));
        return None;
    };
    match PackDocument::parse(&bytes) {
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
    let malformed = Origin::parse(&document.origin).map_err(|error| error.to_string()).err();
    let malformed = malformed.or(ChangeId::parse(&document.change).map_err(|error| error.to_string()).err());
    let malformed = malformed.or(Hash::parse(&document.root).map_err(|error| error.to_string()).err());
    if let Some(why) = malformed {
        log.refute(Id::PackDocument, format!("{}: {why}", files::PACK));
    } else if !document.erasures.is_empty() {
        log.not_done(Id::PackDocument, "it names erasures, which this verifier does not know how to check");
    } else {
        log.ok(
            Id::PackDocument,
            format!("change {:?} of {}, at tree size {}", document.change, document.origin, document.size),
        );
    }
}

/// The key to check with and whether it is trusted: the one given, else the `hint` in the pack, which only shows that the pack agrees
/// with itself.
pub(crate) fn find_key(
    origin: Option<&Origin>,
    hint: Option<&[u8]>,
    trust: &Trust,
    log: &mut Log,
) -> Option<(VerifierKey, bool)> {
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
    let hint = std::str::from_utf8(hint?).ok()?;
    let key = VerifierKey::parse(hint.trim_end()).ok()?;
    (key.name() == origin.key_name()).then_some((key, false))
}

pub(super) fn check_checkpoint(
    document: &PackDocument,
    keys: Option<&Keys>,
    note: Option<&str>,
    log: &mut Log,
) -> Option<Verified<Checkpoint>> {
    let Some(note) = note else {
        log.refute(Id::CheckpointSignature, "the checkpoint is missing or not UTF-8");
        log.not_done(Id::CheckpointHead, "there is no checkpoint");
        return None;
    };
    let head = match keys.map(|keys| keys.open(note)) {
        None => {
            log.not_done(Id::CheckpointSignature, "there is no key to check it with");
            None
        }
        Some(Ok(head)) => {
            log.ok(Id::CheckpointSignature, format!("Ed25519, by {}", head.origin));
            Some(head)
        }
        Some(Err(error)) => {
            let hint = if unsigned(&error) { ANOTHER_KEY } else { "" };
            log.refute(Id::CheckpointSignature, format!("{}: {error}{hint}", files::CHECKPOINT));
            None
        }
    };
    let matches =
        head_matches(document, note, keys, head.is_some()).map_err(|why| format!("{}: {why}", files::CHECKPOINT));
    log.result(Id::CheckpointHead, matches);
    head
}

/// What a reader can do who has another key than the one that signed.
const ANOTHER_KEY: &str = ". A key of another ledger gives this answer, and so does an earlier one of this log: ask its holder for the \
     key, or for the way to it (`upm keys chain`, --keys)";

/// Whether nobody signed whose key is at hand.
fn unsigned(error: &LogKeysError) -> bool {
    let LogKeysError::Checkpoint(CheckpointError::Note(error)) = error else { return false };
    matches!(error, NoteError::Unsigned { .. })
}

/// Whether the checkpoint is the one that `pack.json` names. `opened` says that those signed it who have to.
fn head_matches(document: &PackDocument, note: &str, keys: Option<&Keys>, opened: bool) -> Result<String, String> {
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
    let own = keys.map_or_else(Vec::new, |keys| keys.all_signing(document.size));
    cosigned::lines_match(&document.cosignatures, &signed, &own)?;
    if opened {
        cosigned::begins_with(&signed, &own)?;
    }
    Ok(match document.cosignatures.len() {
        0 => format!("size {}", head.size),
        count => format!("size {}, with {count} cosignatures", head.size),
    })
}

pub(super) fn check_attestation(document: &PackDocument, key: Option<&VerifierKey>, files: &Files<'_>, log: &mut Log) {
    let attestation = match files.get(attest::NAME).map(|bytes| Attestation::parse(&bytes)) {
        Some(Ok(attestation)) => attestation,
        Some(Err(error)) => {
            log.refute(Id::AttestationSignature, format!("{}: {error}", attest::NAME));
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
                let why = "the signature does not fit the key and the statement";
                log.refute(Id::AttestationSignature, format!("{}: {why}", attest::NAME));
            } else if attestation.hint != hint {
                let why = format!("it names key {}, expected {hint}", attestation.hint);
                log.refute(Id::AttestationSignature, format!("{}: {why}", attest::NAME));
            } else {
                log.ok(Id::AttestationSignature, "DSSE, Ed25519");
            }
        }
    }
    let matches = statement_matches(document, &attestation, files).map_err(|why| format!("{}: {why}", attest::NAME));
    log.result(Id::AttestationStatement, matches);
}

fn statement_matches(document: &PackDocument, attestation: &Attestation, files: &Files<'_>) -> Result<String, String> {
    let sums = files.get(sums::NAME).ok_or_else(|| format!("{} is missing", sums::NAME))?;
    let files_root = hex::encode(sums::files_root(&sums));
    let predicate = Predicate {
        origin: document.origin.clone(),
        change: document.change.clone(),
        size: document.size,
        root: document.root.clone(),
        format: document.format,
        files_root: files_root.clone(),
    };
    let expected = attest::statement(&sums, &predicate).map_err(|e| e.to_string())?;
    if attestation.statement != expected {
        return Err(format!(
            "it attests to {}; this pack would need {}",
            String::from_utf8_lossy(&attestation.statement),
            String::from_utf8_lossy(&expected)
        ));
    }
    Ok(format!("digest of SHA256SUMS, origin, change, size, root, format and files_root {files_root}"))
}

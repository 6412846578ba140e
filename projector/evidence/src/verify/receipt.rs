//! Verification of a receipt: `ledger::receipt` decides, this says in checks what it decided.

use ledger::checkpoint;
use ledger::note::VerifierKey;
use ledger::receipt::{EventMatch, FactsCheck, Receipt, VerifiedEntry};

use super::keys::{self, Keys};
use super::reach;
use crate::report::{Id, Log, Report};
use crate::trust::Trust;

/// Verifies a receipt; `event` is the event as its holder sent it. Never fails: what could not be read is in the report.
///
/// Without the event it can still be shown that the entry is in the log, not what the entry is about: undecided.
pub fn verify_receipt(text: &str, event: Option<&[u8]>, trust: &Trust) -> Report {
    let mut log = Log::default();
    let receipt = match Receipt::parse(text) {
        Ok(receipt) => receipt,
        Err(error) => {
            log.refute(Id::ReceiptForm, error);
            log.none_done(&[Id::TrustKey, Id::ReceiptEntry, Id::ReceiptEvent], "the receipt could not be read");
            return report(Vec::new(), None, None, trust, log);
        }
    };
    log.ok(Id::ReceiptForm, "C2SP tlog-proof with the entry in its extra line");
    let mut about = vec![("index", receipt.index.to_string())];
    match checkpoint::peek(&receipt.checkpoint) {
        Ok(head) => about.extend([("origin", head.origin.to_string()), ("tree size", head.size.to_string())]),
        Err(error) => log.refute(Id::ReceiptForm, error),
    }
    let given = find_key(&receipt, trust, &mut log);
    let keys = given.and_then(|given| keys::of_note(given, Some(&receipt.checkpoint), trust, &mut log));
    let Some(keys) = keys else {
        log.none_done(&[Id::ReceiptEntry, Id::ReceiptEvent], "there is no key to check them with");
        return report(about, None, None, trust, log);
    };
    let entry = check_entry(&receipt, &keys, &mut log);
    check_event(&receipt, event, &keys.signing, entry.is_some(), &mut log);
    report(about, entry.as_ref().map(|entry| (entry, &keys)), Some(&receipt.checkpoint), trust, log)
}

fn report(
    about: Vec<(&'static str, String)>,
    entry: Option<(&VerifiedEntry, &Keys)>,
    note: Option<&str>,
    trust: &Trust,
    mut log: Log,
) -> Report {
    let reach = reach::establish(trust, entry.map(|(entry, keys)| (&entry.checkpoint, keys)), note, &mut log);
    let not_proved = reach.not_proved();
    let words = reach.words(&log);
    let (checks, verdict) = log.finish();
    Report { what: "receipt", about, checks, reach: words, later_entries: None, says: Vec::new(), not_proved, verdict }
}

fn find_key(receipt: &Receipt, trust: &Trust, log: &mut Log) -> Option<VerifierKey> {
    let Some(given) = &trust.key else {
        log.not_done(Id::TrustKey, "no key was given, so trust is not established");
        return None;
    };
    let head = match checkpoint::peek(&receipt.checkpoint) {
        Ok(head) => head,
        Err(error) => {
            log.not_done(Id::TrustKey, error.to_string());
            return None;
        }
    };
    match given.for_origin(&head.origin) {
        Ok(key) => {
            log.ok(Id::TrustKey, format!("key {} was given for {}", hex::encode(key.id()), head.origin));
            Some(key)
        }
        Err(error) => {
            log.refute(Id::TrustKey, error);
            None
        }
    }
}

fn check_entry(receipt: &Receipt, keys: &Keys, log: &mut Log) -> Option<VerifiedEntry> {
    // Not only the newest of those that sign this size: all of them, and none whose signature counts no more.
    if keys.all.is_some()
        && let Err(error) = keys.open(&receipt.checkpoint)
    {
        log.refute(Id::ReceiptEntry, error);
        return None;
    }
    match receipt.verify_entry(&keys.signing) {
        Ok(entry) => {
            let (index, size) = (entry.index, entry.checkpoint.size);
            log.ok(Id::ReceiptEntry, format!("entry {index} of {size}, under a checkpoint signed with that key"));
            Some(entry)
        }
        Err(error) => {
            log.refute(Id::ReceiptEntry, error);
            None
        }
    }
}

fn check_event(receipt: &Receipt, event: Option<&[u8]>, key: &VerifierKey, proved: bool, log: &mut Log) {
    let Some(event) = event else {
        return log.not_done(Id::ReceiptEvent, "no event was given (--event FILE), so what was logged is not known");
    };
    if !proved {
        return log.not_done(Id::ReceiptEvent, "the entry is not proved");
    }
    match receipt.verify(key, event) {
        Ok(verified) => {
            let how = match verified.event {
                EventMatch::SameBytes => "the same bytes".to_owned(),
                EventMatch::Masked { places } => format!("the same but for {places} masked places"),
            };
            match verified.facts {
                FactsCheck::Agree => {
                    log.ok(Id::ReceiptEvent, format!("{how}; the entry says of it what it says itself"));
                }
                FactsCheck::UnknownRules(rules) => {
                    log.not_done(
                        Id::ReceiptEvent,
                        format!("{how}; admitted under rules {rules}, which this verifier lacks"),
                    );
                }
            }
        }
        Err(error) if error.is_undecided() => log.not_done(Id::ReceiptEvent, error.to_string()),
        Err(error) => log.refute(Id::ReceiptEvent, error),
    }
}

//! Attestations: signed statements by named assessors that a clause holds.
//!
//! An event's section `attestation` names the clause, the assessor, what is stated and until when, with an SSH signature (namespace
//! `upm-attestation`) over RFC 8785 of `{v:1, origin, clause, assessor, statement, expires}`. It stands if the tenant's facts allow the key for that very name
//! (`maturity.assessor.LABEL` = `SHA256:FINGERPRINT NAME`), the signature fits, and it has not expired. Anything else is kept in the log and counts for
//! nothing. A gate cannot be attested.

use std::collections::BTreeMap;

use crate::approval::{RuleError as FactError, named_key};
use ledger::ssh;
use schemas::model;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::document::Seen;

/// The namespace of the signature.
pub const NAMESPACE: &str = "upm-attestation";

/// What the name of each fact about maturity begins with.
pub const FACTS: &str = "maturity.";

/// What the name of a fact that allows an assessor's key begins with.
pub const ASSESSOR: &str = "maturity.assessor.";

/// An attestation that was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Index of its entry.
    pub index: u64,
    /// When it was recorded, milliseconds.
    pub at: u64,
    /// The clause, as sent.
    pub clause: String,
    /// The assessor, as sent.
    pub assessor: String,
    /// The statement, as sent.
    pub statement: String,
    /// Until when, as sent.
    pub expires: String,
    /// Fingerprint of the key that signed it; none where the signature does not fit.
    pub signed_by: Option<String>,
}

/// An attestation that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attested {
    /// Index of its entry.
    pub index: u64,
    /// Who says so.
    pub assessor: String,
    /// What is said.
    pub statement: String,
    /// Until when.
    pub expires: String,
}

/// What an assessor signs.
pub fn statement(origin: &str, clause: &str, assessor: &str, statement: &str, expires: &str) -> Vec<u8> {
    let said = [
        ("origin", origin),
        ("clause", clause),
        ("assessor", assessor),
        ("statement", statement),
        ("expires", expires),
    ];
    let mut members: Map<String, Value> = said.map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect();
    members.insert("v".to_owned(), 1.into());
    // It fails only for numbers that JSON does not have.
    serde_json_canonicalizer::to_vec(&Value::Object(members)).unwrap_or_default()
}

/// The attestation of an event, with its signature looked at. `None` where the event has none, or one without a clause.
pub(crate) fn recorded(origin: &str, seen: &Seen<'_>) -> Option<Recorded> {
    let said = seen.event.as_ref()?.attestation.as_ref()?;
    let text = |text: &Option<schemas::event::Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
    let (clause, assessor, words, expires) =
        (text(&said.clause), text(&said.assessor), text(&said.statement), text(&said.expires));
    let message = statement(origin, &clause, &assessor, &words, &expires);
    let signed = said.signature.as_deref().and_then(|armoured| ssh::verify(armoured, NAMESPACE, &message).ok());
    let signed_by = signed.map(|key| key.fingerprint());
    let (index, at) = (seen.index, seen.header.at);
    (!clause.is_empty()).then_some(Recorded { index, at, clause, assessor, statement: words, expires, signed_by })
}

/// Why an attestation does not stand; `None` where it does.
pub fn lack(recorded: &Recorded, assessors: &BTreeMap<String, String>, at_ms: u64) -> Option<&'static str> {
    let now = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
    let Some(expires) = schemas::time::seconds(&recorded.expires) else {
        return Some("it does not say when it expires");
    };
    if model::get().clause(&recorded.clause).is_none() {
        return Some("there is no such clause");
    }
    if expires <= now {
        return Some("it has expired");
    }
    if recorded.at > at_ms {
        return Some("it was recorded later");
    }
    let Some(key) = &recorded.signed_by else { return Some("it has no signature that fits") };
    match assessors.get(key) {
        Some(name) if *name == recorded.assessor => None,
        Some(_) => Some("its key is another assessor's"),
        None => Some("its key is no assessor's of this tenant"),
    }
}

/// The attestations that stand at an instant, the newest of each clause.
pub fn standing(all: &[Recorded], assessors: &BTreeMap<String, String>, at_ms: u64) -> BTreeMap<String, Attested> {
    let mut found = BTreeMap::new();
    let mut all: Vec<_> = all.iter().filter(|recorded| lack(recorded, assessors, at_ms).is_none()).collect();
    all.sort_unstable_by_key(|recorded| recorded.index);
    for recorded in all {
        let Recorded { index, assessor, statement, expires, .. } = recorded.clone();
        found.insert(recorded.clause.clone(), Attested { index, assessor, statement, expires });
    }
    found
}

/// Fingerprints and names that a tenant's facts allow. A fold cannot fail, so a value that cannot be read allows nobody.
pub fn assessors(facts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    facts.iter().filter(|(name, _)| name.starts_with(ASSESSOR)).filter_map(|(_, value)| named_key(value)).collect()
}

/// Whether facts that are about to be set can be read.
///
/// # Errors
/// The first that cannot: a name of `maturity.` that is none, or a value that names no key.
pub fn check(facts: &BTreeMap<String, String>) -> Result<(), FactError> {
    let error = |name: &str, found: &str, expected| {
        Err(FactError { name: name.to_owned(), found: found.chars().take(80).collect(), expected })
    };
    for (name, value) in facts.iter().filter(|(name, _)| name.starts_with(FACTS)) {
        if name.strip_prefix(ASSESSOR).is_none_or(str::is_empty) {
            return error(name, name, "maturity.assessor.LABEL");
        }
        if named_key(value).is_none() {
            return error(name, value, "`SHA256:FINGERPRINT ASSESSOR`");
        }
    }
    Ok(())
}

//! Control messages: administrative acts on a log, each a DSSE envelope signed by those whom the act asks for. The envelope's
//! payload is RFC 8785 of `{v:1, origin, op, counter, prev, body}`; the members are those of the project's format
//! documentation, "Control envelope".
//!
//! [`check`] is the lock on the door: it says who signed what and that it is the next act of this log, and refuses everything
//! else. What an act does is not decided here.

use schemas::reason::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::Origin;
use crate::dsse::{Envelope, EnvelopeError, EnvelopeSignature, pae};
use crate::entry::First;
use crate::hash::Hash;
use crate::key::PublicKey;
use crate::note;
use crate::signing::Signer;

/// The `payloadType` of a control envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.upm-ledger.control.v1+json";

/// What a control message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlOp {
    /// Other rules of admission from here on.
    Rules,
    /// A fact about a tenant.
    Tenant,
    /// A legal hold.
    Hold,
    /// The end of a hold.
    Release,
    /// The erasure of payloads.
    Erase,
    /// Another log key.
    Key,
    /// Other admin keys.
    Admin,
    /// Another recovery key.
    Recovery,
}

/// The keys that may sign control messages of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Any one of these signs `rules`, `tenant`, `hold`, `release` and `erase`.
    pub admin: Vec<PublicKey>,
    /// Signs `key`, `admin` and `recovery`.
    pub recovery: PublicKey,
    /// The current log key: signs `key` too, unless it is declared lost or compromised there.
    pub log: PublicKey,
}

/// Who has to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of the admin keys.
    Admin,
    /// The recovery key.
    Recovery,
    /// The log key that is to be replaced.
    OldLogKey,
}

/// A control message that was properly signed.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlMessage {
    /// What it does.
    pub op: ControlOp,
    /// Its number among the log's control entries.
    pub counter: u64,
    /// Leaf hash of the control entry before it, or of entry 0.
    pub prev: Hash,
    /// What the op needs.
    pub body: Value,
}

/// Why a control message is refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Not an envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An envelope around something else.
    #[error("payloadType {0:?}, {PAYLOAD_TYPE:?} expected")]
    PayloadType(String),
    /// Its payload is not the closed canonical object that it has to be.
    #[error("control payload: {0}")]
    Payload(String),
    /// Of another log.
    #[error("control message for log {found:?}, this is {expected}")]
    Origin {
        /// This log.
        expected: Origin,
        /// The log that it names.
        found: String,
    },
    /// No signature at all.
    #[error("control message without a signature")]
    Unsigned,
    /// Signed, but not by everybody whom the op asks for.
    #[error("control op {op} needs the signature of {}", role.as_str())]
    MissingRole {
        /// The op.
        op: &'static str,
        /// Who did not sign.
        role: Role,
    },
    /// A signature by nobody known here, or twice by the same key.
    #[error("control message signed by key id {0:?}, which is unknown here, or twice")]
    UnknownKey(String),
    /// A signature that does not fit.
    #[error("the signature of key id {0} on a control message does not fit")]
    BadSignature(String),
    /// An op that does not exist.
    #[error("unknown control op {0:?}")]
    UnknownOp(String),
    /// An op that this version knows and cannot carry out.
    #[error("control op {} is not carried out by this version", .0.as_str())]
    Unsupported(ControlOp),
    /// A body with other members or values than the op has.
    #[error("body of control op {op}: {why}")]
    Body {
        /// The op.
        op: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It does not fit what holds in the log.
    #[error("{0}")]
    Conflict(String),
    /// Its listing in the ledger's own log is missing, or another act's.
    #[error("the act is not listed: {0}")]
    Unlisted(String),
    /// Its listing is refused.
    #[error("its listing in the ledger's own log: {0}")]
    Listing(#[source] Box<ControlError>),
    /// Not the next number.
    #[error("control counter {found}, {expected} expected")]
    Counter {
        /// The next number.
        expected: u64,
        /// The number in the message.
        found: u64,
    },
    /// Not on top of the last control entry.
    #[error("control message on top of {found}, the last control entry is {expected}")]
    Prev {
        /// Leaf hash of the last control entry.
        expected: Hash,
        /// The hash in the message.
        found: Hash,
    },
}

/// Checks a message against the log that it came to, after `counter` control entries, the last of which (or entry 0) has the
/// leaf hash `prev`. `Ok` means: properly signed, and the next one.
pub fn check(
    message: &[u8],
    origin: &Origin,
    keys: &Keys,
    counter: u64,
    prev: &Hash,
) -> Result<ControlOp, ControlError> {
    let message = open(message, origin, keys)?;
    next(&message, counter, prev)?;
    Ok(message.op)
}

/// Whether it is a message's turn, after `counter` control entries, the last of which (or entry 0) has the leaf hash `prev`.
pub(crate) fn next(message: &ControlMessage, counter: u64, prev: &Hash) -> Result<(), ControlError> {
    let expected = counter.saturating_add(1);
    if message.counter != expected || counter == u64::MAX {
        return Err(ControlError::Counter { expected, found: message.counter });
    }
    if message.prev != *prev {
        return Err(ControlError::Prev { expected: *prev, found: message.prev });
    }
    Ok(())
}

/// What a message says, if it is for this log and signed by those whom its act asks for. Its turn is [`check`]'s matter.
pub fn open(message: &[u8], origin: &Origin, keys: &Keys) -> Result<ControlMessage, ControlError> {
    open_envelope(&Envelope::parse(message)?, origin, keys)
}

/// [`open`] for an envelope that was read already.
pub(crate) fn open_envelope(envelope: &Envelope, origin: &Origin, keys: &Keys) -> Result<ControlMessage, ControlError> {
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(ControlError::PayloadType(shown(&envelope.payload_type)));
    }
    if envelope.signatures.is_empty() {
        return Err(ControlError::Unsigned);
    }
    // Signatures first: what nobody known has signed is not looked into.
    let roles = signing_roles(envelope, origin, keys)?;
    let payload = Payload::parse(&envelope.payload)?;
    if payload.origin != origin.as_str() {
        return Err(ControlError::Origin { expected: origin.clone(), found: shown(&payload.origin) });
    }
    let op = ControlOp::parse(&payload.op).ok_or_else(|| ControlError::UnknownOp(shown(&payload.op)))?;
    if let Some(role) = roles_of(op, &payload.body).into_iter().find(|role| !roles.contains(role)) {
        return Err(ControlError::MissingRole { op: op.as_str(), role });
    }
    Ok(ControlMessage { op, counter: payload.counter, prev: payload.prev, body: payload.body })
}

/// What an envelope says, whoever signed it: for showing it, and for what has been checked elsewhere.
pub(crate) fn peek(envelope: &Envelope) -> Result<(String, ControlMessage), ControlError> {
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(ControlError::PayloadType(shown(&envelope.payload_type)));
    }
    let payload = Payload::parse(&envelope.payload)?;
    let op = ControlOp::parse(&payload.op).ok_or_else(|| ControlError::UnknownOp(shown(&payload.op)))?;
    Ok((payload.origin, ControlMessage { op, counter: payload.counter, prev: payload.prev, body: payload.body }))
}

/// A control message for the log `origin`, signed by one key (an admin key speaks to every log of its ledger).
pub fn envelope(signer: &Signer, origin: &Origin, op: ControlOp, counter: u64, prev: &Hash, body: &Value) -> Vec<u8> {
    envelope_by(&[signer], origin, op, counter, prev, body)
}

/// A control message for the log `origin`, signed by several keys.
pub fn envelope_by(
    signers: &[&Signer],
    origin: &Origin,
    op: ControlOp,
    counter: u64,
    prev: &Hash,
    body: &Value,
) -> Vec<u8> {
    let payload = Payload {
        body: body.clone(),
        counter,
        op: op.as_str().to_owned(),
        origin: origin.as_str().to_owned(),
        prev: *prev,
        v: 1,
    };
    let payload = payload.print();
    let signed = pae(PAYLOAD_TYPE, &payload);
    let signatures = signers.iter().map(|signer| EnvelopeSignature {
        keyid: Some(hex::encode(note::key_id(origin.as_str(), &signer.public_key()))),
        sig: signer.sign_bytes(&signed).to_vec(),
    });
    Envelope { signatures: signatures.collect(), payload_type: PAYLOAD_TYPE.to_owned(), payload }.print()
}

impl ControlOp {
    /// All of them.
    pub const ALL: [ControlOp; 8] = [
        ControlOp::Rules,
        ControlOp::Tenant,
        ControlOp::Hold,
        ControlOp::Release,
        ControlOp::Erase,
        ControlOp::Key,
        ControlOp::Admin,
        ControlOp::Recovery,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ControlOp::Rules => "rules",
            ControlOp::Tenant => "tenant",
            ControlOp::Hold => "hold",
            ControlOp::Release => "release",
            ControlOp::Erase => "erase",
            ControlOp::Key => "key",
            ControlOp::Admin => "admin",
            ControlOp::Recovery => "recovery",
        }
    }

    /// The op of a word.
    pub fn parse(word: &str) -> Option<ControlOp> {
        ControlOp::ALL.into_iter().find(|op| op.as_str() == word)
    }
}

impl Role {
    /// Who it is, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "an admin key",
            Role::Recovery => "the recovery key",
            Role::OldLogKey => "the old log key",
        }
    }
}

impl Keys {
    /// The keys with which a log begins.
    pub fn of(first: &First) -> Keys {
        Keys { admin: first.admin_keys.clone(), recovery: first.recovery_key, log: first.log_key }
    }

    /// The key with a note key id under the log's name, and what it may do.
    fn find(&self, origin: &Origin, keyid: &str) -> Option<(PublicKey, Vec<Role>)> {
        let id = |key: &PublicKey| hex::encode(note::key_id(origin.as_str(), key));
        let all = self.admin.iter().chain([&self.recovery, &self.log]);
        let key = *all.into_iter().find(|key| id(key) == keyid)?;
        let may = [
            (Role::Admin, self.admin.contains(&key)),
            (Role::Recovery, self.recovery == key),
            (Role::OldLogKey, self.log == key),
        ];
        Some((key, may.into_iter().filter(|(_, is)| *is).map(|(role, _)| role).collect()))
    }
}

impl ControlError {
    /// The rejection that the message gets.
    pub fn reason(&self) -> Reason {
        match self {
            ControlError::Envelope(_)
            | ControlError::PayloadType(_)
            | ControlError::Payload(_)
            | ControlError::Origin { .. } => Reason::ControlBadEnvelope,
            ControlError::Unsigned | ControlError::MissingRole { .. } => Reason::ControlUnsigned,
            ControlError::UnknownKey(_) | ControlError::BadSignature(_) => Reason::ControlBadSignature,
            ControlError::UnknownOp(_) => Reason::ControlUnknownOp,
            ControlError::Counter { .. } | ControlError::Prev { .. } => Reason::ControlStaleCounter,
            ControlError::Unsupported(_) => Reason::ControlUnsupportedOp,
            ControlError::Body { .. } => Reason::ControlBadBody,
            ControlError::Conflict(_) => Reason::ControlConflict,
            ControlError::Unlisted(_) => Reason::ControlUnlisted,
            ControlError::Listing(error) => error.reason(),
        }
    }
}

/// What is signed. Members in sorted order, so that only `body` needs a canonicaliser.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    body: Value,
    counter: u64,
    op: String,
    origin: String,
    prev: Hash,
    v: u64,
}

impl Payload {
    fn parse(bytes: &[u8]) -> Result<Payload, ControlError> {
        let payload: Payload =
            serde_json::from_slice(bytes).map_err(|error| ControlError::Payload(shown(&error.to_string())))?;
        if payload.v != 1 {
            return Err(ControlError::Payload(format!("version {}, 1 expected", payload.v)));
        }
        if !payload.body.is_object() {
            return Err(ControlError::Payload("body is not an object".to_owned()));
        }
        if payload.print() != bytes {
            return Err(ControlError::Payload("not in canonical form (RFC 8785)".to_owned()));
        }
        Ok(payload)
    }

    fn print(&self) -> Vec<u8> {
        // It fails only for keys that are no texts and for numbers that are none, and a JSON value has neither.
        serde_json_canonicalizer::to_vec(self).expect("a JSON value has a canonical form")
    }
}

/// The roles of those who signed. Every signature has to be there for a reason: by a known key, once, and right. So nobody can
/// make other bytes of a message that somebody else signed.
fn signing_roles(envelope: &Envelope, origin: &Origin, keys: &Keys) -> Result<Vec<Role>, ControlError> {
    let signed = pae(&envelope.payload_type, &envelope.payload);
    let mut seen: Vec<PublicKey> = Vec::new();
    let mut roles = Vec::new();
    for signature in &envelope.signatures {
        let keyid = signature.keyid.as_deref().unwrap_or_default();
        let (key, may) = keys.find(origin, keyid).ok_or_else(|| ControlError::UnknownKey(shown(keyid)))?;
        if seen.contains(&key) {
            return Err(ControlError::UnknownKey(shown(keyid)));
        }
        let fits = |sig: &[u8; 64]| key.verify(&signed, sig).is_ok();
        if !<&[u8; 64]>::try_from(signature.sig.as_slice()).is_ok_and(fits) {
            return Err(ControlError::BadSignature(shown(keyid)));
        }
        seen.push(key);
        roles.extend(may);
    }
    Ok(roles)
}

fn roles_of(op: ControlOp, body: &Value) -> Vec<Role> {
    match op {
        ControlOp::Rules | ControlOp::Tenant | ControlOp::Hold | ControlOp::Release | ControlOp::Erase => {
            vec![Role::Admin]
        }
        ControlOp::Admin | ControlOp::Recovery => vec![Role::Recovery],
        ControlOp::Key => match body.get("status").and_then(Value::as_str) {
            Some("lost" | "compromised") => vec![Role::Recovery],
            _ => vec![Role::Recovery, Role::OldLogKey],
        },
    }
}

/// At most 80 characters of a foreign text.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

//! A control message as it travels on a tenant's road: the act, its listing in `_ledger`, and what ties the two together.
//!
//! ```text
//! {"act": DSSE envelope for <ledger>/<tenant>, "listing": DSSE envelope for <ledger>/_ledger, "salt": 32 hex digits}
//! ```
//!
//! RFC 8785, a closed object. The listing's body is `{"commit": hex SHA-256(salt ‖ opening)}`, where `opening` is the RFC 8785
//! bytes of `{"act", "counter", "op", "origin"}` and its `act` is the SHA-256 of the act's envelope. So `_ledger` shows that there
//! was an act, and nothing of whose or what; whoever is shown the opening can check both ways. The whole message is the
//! payload of the control entry: no act stands in a log without the listing that names its place in `_ledger`.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Origin;
use crate::control::{self, ControlError, ControlOp};
use crate::dsse::Envelope;
use crate::entry::{Salt, commitment};
use crate::hash::Hash;
use crate::signing::Signer;

use super::Place;
use super::act::{Act, KeyChange};

/// An act together with its listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The act on the tenant's log.
    pub act: Envelope,
    /// Its listing in `_ledger`.
    pub listing: Envelope,
    /// Salt of the listing's commitment: 16 random bytes.
    pub salt: Salt,
}

/// What the listing of an act opens to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActOpening {
    /// SHA-256 of the act's envelope.
    pub act: Hash,
    /// Its number among the log's control entries.
    pub counter: u64,
    /// What it does.
    pub op: &'static str,
    /// The log.
    pub origin: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    act: Envelope,
    listing: Envelope,
    salt: String,
}

impl Message {
    /// Reads a message; only the bytes that [`Message::print`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Message, ControlError> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|error| ControlError::Payload(error.to_string().chars().take(80).collect()))?;
        let salt = Salt::from_hex(&wire.salt);
        let salt = salt.ok_or_else(|| ControlError::Payload("salt is not 32 hex digits".to_owned()))?;
        let message = Message { act: wire.act, listing: wire.listing, salt };
        if message.print() != bytes {
            return Err(ControlError::Payload("not in canonical form (RFC 8785)".to_owned()));
        }
        Ok(message)
    }

    /// The message in RFC 8785 form.
    pub fn print(&self) -> Vec<u8> {
        let wire = Wire { act: self.act.clone(), listing: self.listing.clone(), salt: self.salt.to_hex() };
        // Members are serialised in sorted order, so plain JSON is the canonical form; texts cannot fail to serialise.
        serde_json::to_vec(&wire).expect("texts serialise")
    }

    /// The opening of the listing, if the listing commits to this act; its place in `_ledger` is checked there.
    pub(crate) fn opening(&self, ledger: &Origin) -> Result<Vec<u8>, ControlError> {
        let (origin, act) = control::peek(&self.act)?;
        let opening = opening(&self.act, &origin, act.op, act.counter)?;
        let unlisted = |error: &ControlError| ControlError::Unlisted(error.to_string());
        let (origin, listing) = control::peek(&self.listing).map_err(|error| unlisted(&error))?;
        if origin != ledger.as_str() || listing.op != ControlOp::Tenant {
            return Err(ControlError::Unlisted(format!("the listing is op {} of {origin:?}", listing.op.as_str())));
        }
        let listed = Act::parse(listing.op, &listing.body, true).map_err(|error| unlisted(&error))?;
        if listed != Act::Listed(commitment(&self.salt, &opening)) {
            return Err(ControlError::Unlisted("the listing commits to another act".to_owned()));
        }
        Ok(opening)
    }
}

/// Makes the message of an act: the next one on the log that stands at `on`, and the next one in `_ledger`, which stands at `ledger`.
/// `signers` sign the act, `lister` (an admin key of `_ledger`) the listing.
pub fn message(
    act: &Act,
    on: &Place,
    signers: &[&Signer],
    ledger: &Place,
    lister: &Signer,
    salt: Salt,
) -> Result<Message, ControlError> {
    let counter = on.counter + 1;
    let envelope = Envelope::parse(&envelope_of(act, on, signers))?;
    let opening = opening(&envelope, on.origin.as_str(), act.op(), counter)?;
    let body = Act::Listed(commitment(&salt, &opening)).to_body();
    let op = ControlOp::Tenant;
    let listing = control::envelope(lister, &ledger.origin, op, ledger.counter + 1, &ledger.prev, &body);
    Ok(Message { act: envelope, listing: Envelope::parse(&listing)?, salt })
}

/// The change of key that a message asks for, whoever signed it; none where it asks for something else.
pub fn key_change(bytes: &[u8]) -> Option<KeyChange> {
    let envelope = Message::parse(bytes).map(|message| message.act).or_else(|_| Envelope::parse(bytes)).ok()?;
    let (_, said) = control::peek(&envelope).ok()?;
    match Act::parse(said.op, &said.body, false).ok()? {
        Act::Key(change) => Some(change),
        _ => None,
    }
}

pub(crate) fn key_change_size(bytes: &[u8]) -> Option<u64> {
    key_change(bytes).map(|change| change.size)
}

/// The envelope of the next act on the log that stands at `on`: for `_ledger`, whose acts need no listing.
pub fn envelope_of(act: &Act, on: &Place, signers: &[&Signer]) -> Vec<u8> {
    control::envelope_by(signers, &on.origin, act.op(), on.counter + 1, &on.prev, &act.to_body())
}

fn opening(envelope: &Envelope, origin: &str, op: ControlOp, counter: u64) -> Result<Vec<u8>, ControlError> {
    let opening = ActOpening { act: Hash::of(&envelope.print()), counter, op: op.as_str(), origin: origin.to_owned() };
    serde_json_canonicalizer::to_vec(&opening).map_err(|error| ControlError::Payload(error.to_string()))
}

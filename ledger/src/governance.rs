//! Who may do what to a log, and what holds there: a fold over entry 0 and the control entries.
//!
//! [`Governance::decide`] is the whole decision about a control message: signed by whom its op asks for, the next in order, a
//! closed body, and an act that fits what holds. [`Governance::apply`] makes an accepted act hold. Nothing else changes it, so
//! that whoever reads the control entries of a log knows its keys, rules, facts and holds.
//!
//! An act on a tenant's log carries its own listing in `_ledger` ([`Message`]); whether that listing is the next one there is
//! `_ledger`'s own governance to decide, in the same round.
//!
//! Left out: `erase`, which is refused as an op that this version does not carry out.

mod act;
mod key_chain;
mod log_keys;
mod message;
#[cfg(test)]
mod tests;

pub use act::{Act, Hold, KeyChange, KeyStatus, MAX_FACTS, MAX_HELD_CHANGES, MAX_NAME_CHARS, MAX_TEXT_CHARS, Scope};
pub use key_chain::{KeyChain, KeyChainError};
pub use log_keys::{KeyEnd, LogKey, LogKeys, LogKeysError};
pub(crate) use message::key_change_size;
pub use message::{ActOpening, Message, envelope_of, key_change, message};

use std::collections::BTreeMap;

use schemas::ids::ChangeId;

use crate::birth::LEDGER_LOG;
use crate::checkpoint::Origin;
use crate::control::{self, ControlError, ControlMessage, ControlOp, Keys};
use crate::dsse::Envelope;
use crate::entry::{First, Salt};
use crate::hash::Hash;
use crate::key::PublicKey;
use crate::note;

/// What holds in a log after its entry 0 and some number of control entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Governance {
    origin: Origin,
    admin: Vec<PublicKey>,
    recovery: PublicKey,
    log_keys: LogKeys,
    rules: Hash,
    facts: BTreeMap<String, String>,
    holds: BTreeMap<String, Hold>,
    counter: u64,
    prev: Hash,
}

/// An act that may be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it does.
    pub act: Act,
    /// Its number among the log's control entries.
    pub counter: u64,
    /// Its listing; none for `_ledger`'s own acts.
    pub listing: Option<Listing>,
}

/// The listing of an act, to be appended to `_ledger` in the same round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// A DSSE envelope for `_ledger`, in RFC 8785 form.
    pub envelope: Vec<u8>,
    /// Salt of its commitment.
    pub salt: Salt,
    /// What its commitment opens to.
    pub opening: Vec<u8>,
}

impl Listing {
    /// Its number among the control entries of `_ledger`, as it says itself.
    pub(crate) fn counter(&self) -> Result<u64, ControlError> {
        Ok(control::peek(&Envelope::parse(&self.envelope)?)?.1.counter)
    }
}

/// Where a log's chain of control entries stands: all that the next message has to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The log.
    pub origin: Origin,
    /// Number of control entries.
    pub counter: u64,
    /// Leaf hash of the newest, or of entry 0.
    pub prev: Hash,
}

/// What a decision takes for granted.
#[derive(Clone, Copy)]
pub enum Roots<'a> {
    /// The roots of this log, by tree size; none for a size that it has not.
    Of(&'a dyn Fn(u64) -> Option<Hash>),
    /// The entry stands in the log already: whoever wrote it compared roots.
    Compared,
}

impl Governance {
    /// What holds with entry 0, whose leaf hash is `leaf`.
    pub fn new(first: &First, leaf: Hash) -> Governance {
        Governance {
            origin: first.origin.clone(),
            admin: first.admin_keys.clone(),
            recovery: first.recovery_key,
            log_keys: LogKeys::new(first.origin.clone(), first.log_key),
            rules: first.rules,
            facts: BTreeMap::new(),
            holds: BTreeMap::new(),
            counter: 0,
            prev: leaf,
        }
    }

    /// The log.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Keys that sign `rules`, `tenant`, `hold` and `release`.
    pub fn admin_keys(&self) -> &[PublicKey] {
        &self.admin
    }

    /// The key that signs `key`, `admin` and `recovery`.
    pub fn recovery_key(&self) -> &PublicKey {
        &self.recovery
    }

    /// The keys that sign checkpoints, over time.
    pub fn log_keys(&self) -> &LogKeys {
        &self.log_keys
    }

    /// Name of the rules that were adopted last.
    pub fn rules(&self) -> &Hash {
        &self.rules
    }

    /// Facts of the tenant.
    pub fn facts(&self) -> &BTreeMap<String, String> {
        &self.facts
    }

    /// Legal holds that hold, by id.
    pub fn holds(&self) -> &BTreeMap<String, Hold> {
        &self.holds
    }

    /// Number of control entries.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Leaf hash of the newest control entry; of entry 0 before the first.
    pub fn prev(&self) -> &Hash {
        &self.prev
    }

    /// Where the chain of control entries stands.
    pub fn place(&self) -> Place {
        Place { origin: self.origin.clone(), counter: self.counter, prev: self.prev }
    }

    /// Who may sign what, right now.
    pub fn keys(&self) -> Keys {
        Keys { admin: self.admin.clone(), recovery: self.recovery, log: *self.log_keys.current() }
    }

    /// Whether a hold keeps a change from being erased.
    pub fn is_held(&self, change: &ChangeId) -> bool {
        self.holds.values().any(|hold| match &hold.scope {
            Scope::All => true,
            Scope::Changes(changes) => changes.contains(change),
        })
    }

    /// Whether this is the ledger's own log.
    pub fn is_ledger(&self) -> bool {
        self.origin.log() == LEDGER_LOG
    }

    /// Decides about a control message that would become entry `index`.
    pub fn decide(&self, message: &[u8], index: u64, roots: Roots<'_>) -> Result<Decision, ControlError> {
        let (signed, listing) =
            if self.is_ledger() { (self.next(&Envelope::parse(message)?)?, None) } else { self.next_listed(message)? };
        let act = Act::parse(signed.op, &signed.body, self.is_ledger())?;
        self.fits(&act, index, roots)?;
        Ok(Decision { act, counter: signed.counter, listing })
    }

    /// Makes an act hold that became entry `index` with leaf hash `leaf`. Whether it may is [`Governance::decide`]'s matter.
    pub fn apply(&mut self, act: &Act, index: u64, leaf: Hash) {
        match act {
            Act::Rules(rules) => self.rules = *rules,
            Act::Facts { set, unset } => {
                self.facts.retain(|name, _| !unset.contains(name));
                self.facts.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            Act::Listed(_) => {}
            Act::Hold(hold) => drop(self.holds.insert(hold.id.clone(), hold.clone())),
            Act::Release { id, .. } => drop(self.holds.remove(id)),
            Act::Key(change) => self.log_keys.change(index, change),
            Act::Admin(keys) => self.admin.clone_from(keys),
            Act::Recovery(key) => self.recovery = *key,
        }
        self.pass(leaf);
    }

    /// Counts a control entry whose act is not looked at: for whoever reads only some of them, such as a pack's verifier.
    pub fn pass(&mut self, leaf: Hash) {
        self.counter += 1;
        self.prev = leaf;
    }

    fn next(&self, envelope: &Envelope) -> Result<ControlMessage, ControlError> {
        let signed = control::open_envelope(envelope, &self.origin, &self.keys());
        let signed = signed.map_err(|error| self.overtaken(envelope, error))?;
        control::next(&signed, self.counter, &self.prev)?;
        Ok(signed)
    }

    /// Why an act is refused that a replaced log key signed along: not for its signature, but because another change of the key
    /// came first.
    fn overtaken(&self, envelope: &Envelope, error: ControlError) -> ControlError {
        let ControlError::UnknownKey(keyid) = &error else { return error };
        let id = |key: &PublicKey| hex::encode(note::key_id(self.origin.as_str(), key));
        let replaced = self.log_keys.history().iter().find(|key| key.end.is_some() && id(&key.key) == *keyid);
        let Some((key, end)) = replaced.and_then(|key| Some((key.key, key.end?))) else { return error };
        match control::peek(envelope) {
            Ok((origin, said)) if origin == self.origin.as_str() => {
                control::next(&said, self.counter, &self.prev).err().unwrap_or_else(|| {
                    ControlError::Conflict(format!(
                        "{key} is not the log key any more: entry {} replaced it",
                        end.index
                    ))
                })
            }
            _ => error,
        }
    }

    fn next_listed(&self, bytes: &[u8]) -> Result<(ControlMessage, Option<Listing>), ControlError> {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            // An envelope alone: what is wrong with it is said first.
            Err(error) => match Envelope::parse(bytes) {
                Ok(envelope) => {
                    self.next(&envelope)?;
                    return Err(ControlError::Unlisted("an envelope alone, without its listing in _ledger".to_owned()));
                }
                Err(_) => return Err(error),
            },
        };
        let signed = self.next(&message.act)?;
        // An op that is not carried out is not listed either.
        if signed.op == ControlOp::Erase {
            return Err(ControlError::Unsupported(signed.op));
        }
        let ledger = Origin::of(self.origin.ledger(), LEDGER_LOG);
        let ledger = ledger.map_err(|error| ControlError::Payload(error.to_string()))?;
        let opening = message.opening(&ledger)?;
        let listing = Listing { envelope: message.listing.print(), salt: message.salt, opening };
        Ok((signed, Some(listing)))
    }

    /// Whether an act fits what holds.
    fn fits(&self, act: &Act, index: u64, roots: Roots<'_>) -> Result<(), ControlError> {
        let conflict = |why: String| Err(ControlError::Conflict(why));
        match act {
            Act::Facts { set, unset } => {
                if let Some(unknown) = unset.iter().find(|name| !self.facts.contains_key(*name)) {
                    return conflict(format!("there is no fact {unknown:?} to take away"));
                }
                let new = set.keys().filter(|name| !self.facts.contains_key(*name)).count();
                let facts = self.facts.len() - unset.len() + new;
                if facts > MAX_FACTS { conflict(format!("{facts} facts, at most {MAX_FACTS}")) } else { Ok(()) }
            }
            Act::Hold(hold) if self.holds.contains_key(&hold.id) => {
                conflict(format!("hold {:?} holds already", hold.id))
            }
            Act::Release { id, .. } if !self.holds.contains_key(id) => conflict(format!("there is no hold {id:?}")),
            Act::Key(change) => self.fits_key(change, index, roots),
            Act::Admin(keys) => match keys.iter().find(|key| **key == self.recovery || self.log_keys.has(key)) {
                Some(key) => conflict(format!("{key} has another role in this log: one key, one role")),
                None => Ok(()),
            },
            Act::Recovery(key) if *key == self.recovery || self.admin.contains(key) || self.log_keys.has(key) => {
                conflict(format!("{key} has a role in this log already: one key, one role"))
            }
            Act::Rules(_) | Act::Listed(_) | Act::Hold(_) | Act::Release { .. } | Act::Recovery(_) => Ok(()),
        }
    }

    fn fits_key(&self, change: &KeyChange, index: u64, roots: Roots<'_>) -> Result<(), ControlError> {
        let KeyChange { new, old, status, from, size, root } = change;
        let conflict = |why: String| Err(ControlError::Conflict(why));
        if old != self.log_keys.current() {
            return conflict(format!("{old} is not the log key, {} is", self.log_keys.current()));
        }
        if self.log_keys.has(new) || self.admin.contains(new) || self.recovery == *new {
            return conflict(format!("{new} has a role in this log already: one key, one role"));
        }
        if let Roots::Of(root_of) = roots {
            match root_of(*size) {
                Some(found) if found == *root => {}
                Some(found) => return conflict(format!("the root of size {size} is {found}, not {root}")),
                None => return conflict(format!("size {size} lies ahead of this log")),
            }
        }
        // `_ledger` is signed by births too, which hold one key: there both never sign together.
        let fits = match status {
            KeyStatus::Retired if self.is_ledger() => *from == index,
            KeyStatus::Retired => *from >= index,
            KeyStatus::Lost | KeyStatus::Compromised => *from <= index,
        };
        if fits && *size <= index {
            Ok(())
        } else {
            conflict(format!("from {from} does not fit a key that is {} by entry {index}", status.as_str()))
        }
    }
}

//! From a key that somebody holds to the key that signs today: entry 0, the control entries up to the last change of keys, and for
//! each earlier key the last checkpoint that it released, all tied to one checkpoint.
//!
//! ```text
//! {"v":1, "checkpoint": note, "first": {"entry", "path"}, "controls": [{"index", "entry", "path", "message"?, "salt"?}],
//!  "old": [{"checkpoint": note, "consistency": […], "first": […]}]}
//! ```
//!
//! RFC 8785, a closed object; entries and messages in base64, hashes of paths in base64. `path` is the inclusion proof under
//! `checkpoint`; `old[].first` is that of entry 0 under the old checkpoint, `old[].consistency` leads from there to `checkpoint`.
//! Messages stand there for `key`, `admin` and `recovery` alone: what is held and what is known of a tenant is nobody's business
//! who only wants to know a key. Of the other control entries the header is enough to see that none is left out.
//!
//! Why it convinces: the given key vouches for a tree with this entry 0, which names the recovery key; the recovery key signed every
//! change since; the tree at hand continues the one that the given key vouched for.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Checkpoint, CheckpointError};
use crate::control::{ControlError, ControlOp};
use crate::encoding;
use crate::entry::{EntryError, Header, Salt, commitment};
use crate::hash::{Hash, leaf};
use crate::kv::Kv;
use crate::note::VerifierKey;
use crate::proof::{Unproved, verify_consistency, verify_inclusion};
use crate::read::{Log, ReadError};

use super::{Governance, LogKeys, LogKeysError, Roots};

/// The way from earlier keys of a log to the key that signs a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyChain {
    checkpoint: String,
    controls: Vec<ProvedControl>,
    first: ProvedFirst,
    old: Vec<OldKey>,
    v: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvedControl {
    entry: Base64,
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Base64>,
    path: Vec<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvedFirst {
    entry: Base64,
    path: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OldKey {
    checkpoint: String,
    consistency: Vec<Node>,
    first: Vec<Node>,
}

/// Why a key does not lead to a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum KeyChainError {
    /// Not the closed canonical object that it has to be.
    #[error("not a chain of keys: {0}")]
    Form(String),
    /// Its checkpoint, or that of an old key.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An entry of it.
    #[error("entry {index}: {source}")]
    Entry {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// An entry of another kind than its place asks for, out of order, or left out.
    #[error("control entries: {0}")]
    Order(String),
    /// An entry is not in the tree, or two trees do not continue each other.
    #[error("{what}: {source}")]
    Unproved {
        /// What is to be proved.
        what: String,
        /// Why it is not.
        source: Unproved,
    },
    /// An act that nobody may have accepted.
    #[error("control entry {index}: {source}")]
    Control {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        source: ControlError,
    },
    /// A checkpoint that is not signed by whom it has to be.
    #[error(transparent)]
    Keys(#[from] LogKeysError),
    /// The key that was given is none of this log's, or nothing leads from it.
    #[error("{} is no key of this log, and nothing leads from it to the one that signs", .0.to_vkey())]
    Stranger(VerifierKey),
}

impl KeyChain {
    /// The chain of a log under its checkpoint of exactly `size` entries; none where the log has had one key only by then.
    pub fn build<K: Kv>(log: &Log<K>, size: u64) -> Result<Option<KeyChain>, ReadError> {
        let governance = log.governance_at(size)?;
        if governance.log_keys().history().len() == 1 {
            return Ok(None);
        }
        let Some(checkpoint) = log.checkpoint(size)? else {
            return Err(ReadError::Missing { what: "checkpoint", log: log.id(), number: size });
        };
        let mut controls = Vec::new();
        for index in log.control_indices()?.into_iter().filter(|index| *index < size) {
            let (entry, header, stored) = log.control(index)?;
            let shown = tells_of_keys(header.op);
            controls.push(ProvedControl {
                entry: Base64(entry),
                index,
                message: shown.then_some(Base64(stored.payload)),
                path: nodes(&log.inclusion(index, size)?),
                salt: shown.then(|| stored.salt.to_hex()),
            });
        }
        // What comes after the last change of keys says nothing about them.
        while controls.last().is_some_and(|control| control.message.is_none()) {
            controls.pop();
        }
        let entry = log.entry(0)?.ok_or(ReadError::Missing { what: "entry", log: log.id(), number: 0 })?;
        let first = ProvedFirst { entry: Base64(entry), path: nodes(&log.inclusion(0, size)?) };
        let mut old = Vec::new();
        for key in governance.log_keys().history() {
            let Some(last) = key.counts_to().filter(|last| *last < size) else { continue };
            let Some((signed, note)) = log.checkpoint_at_or_before(last)? else { continue };
            if signed < key.since.max(1) {
                continue;
            }
            let (first, consistency) = (nodes(&log.inclusion(0, signed)?), nodes(&log.consistency(signed, size)?));
            old.push(OldKey { checkpoint: note, consistency, first });
        }
        Ok(Some(KeyChain { checkpoint, controls, first, old, v: 1 }))
    }

    /// Reads a chain; only the bytes that [`KeyChain::print`] writes.
    pub fn parse(bytes: &[u8]) -> Result<KeyChain, KeyChainError> {
        let chain: KeyChain = serde_json::from_slice(bytes)
            .map_err(|error| KeyChainError::Form(error.to_string().chars().take(120).collect()))?;
        if chain.v != 1 {
            return Err(KeyChainError::Form(format!("version {}, 1 expected", chain.v)));
        }
        if chain.print() != bytes {
            return Err(KeyChainError::Form("not in canonical form (RFC 8785)".to_owned()));
        }
        Ok(chain)
    }

    /// RFC 8785.
    pub fn print(&self) -> Vec<u8> {
        // Members stand in sorted order, and all are texts and integers: plain JSON is the canonical form.
        serde_json::to_vec(self).expect("texts serialise")
    }

    /// The entry that the log begins with, as the chain has it.
    pub fn first_entry(&self) -> &[u8] {
        &self.first.entry.0
    }

    /// The checkpoint that everything is proved under.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// Whether the chain itself shows that the log is a continuation of this head: it is that of the chain's own checkpoint, or of the
    /// last one that an earlier key signed, from which a proof leads on. `keys` are those that [`KeyChain::establish`] gave.
    pub fn continues(&self, keys: &LogKeys, head: &Checkpoint) -> bool {
        let Ok(newest) = keys.open(&self.checkpoint) else { return false };
        let is = |other: &Checkpoint| (other.size, other.root) == (head.size, head.root);
        let led = |old: &OldKey| {
            let signed = keys.open(&old.checkpoint).ok()?;
            let path = hashes(&old.consistency).ok()?;
            let proved = verify_consistency(signed.size, newest.size, &signed.root, &newest.root, &path);
            Some(is(&signed) && proved.is_ok())
        };
        is(&newest) || self.old.iter().any(|old| led(old) == Some(true))
    }

    /// The log's keys, if `given` is one of them and leads to the keys that sign the checkpoint at hand.
    pub fn establish(&self, given: &VerifierKey) -> Result<LogKeys, KeyChainError> {
        let head = checkpoint::peek(&self.checkpoint)?;
        let keys = self.fold(&head)?;
        if keys.origin().key_name() != given.name() || !keys.has(given.key()) {
            return Err(KeyChainError::Stranger(given.clone()));
        }
        keys.open(&self.checkpoint)?;
        if !keys.signing(head.size).any(|key| key.key == *given.key()) {
            self.lead(given, &keys, &head)?;
        }
        Ok(keys)
    }

    /// The keys that entry 0 and the changes since give, each proved to be in the tree of `head`.
    fn fold(&self, head: &Checkpoint) -> Result<LogKeys, KeyChainError> {
        let proved = |index: u64, entry: &[u8], path: &[Node]| {
            let proved = verify_inclusion(index, head.size, &leaf(entry), &hashes(path)?, &head.root);
            proved.map_err(|source| KeyChainError::Unproved { what: format!("entry {index}"), source })
        };
        let decode =
            |index, entry: &[u8]| Header::decode(entry).map_err(|source| KeyChainError::Entry { index, source });
        proved(0, &self.first.entry.0, &self.first.path)?;
        let Header::First(first) = decode(0, &self.first.entry.0)? else {
            return Err(KeyChainError::Order("the first entry is of another kind".to_owned()));
        };
        if first.origin != head.origin {
            let (expected, found) = (head.origin.key_name().clone(), first.origin);
            return Err(CheckpointError::OtherLog { expected, found }.into());
        }
        let mut governance = Governance::new(&first, leaf(&self.first.entry.0));
        let mut last = 0;
        for control in &self.controls {
            let (index, entry) = (control.index, &control.entry.0);
            proved(index, entry, &control.path)?;
            let Header::Control(header) = decode(index, entry)? else {
                return Err(KeyChainError::Order(format!("entry {index} is of another kind")));
            };
            if index <= last || header.counter != governance.counter() + 1 {
                let why =
                    format!("number {} at index {index} does not follow {}", header.counter, governance.counter());
                return Err(KeyChainError::Order(why));
            }
            last = index;
            if !tells_of_keys(header.op) {
                governance.pass(leaf(entry));
                continue;
            }
            let message = control.message.as_ref().map(|message| &message.0);
            let salt = control.salt.as_deref().and_then(Salt::from_hex);
            let (Some(message), Some(salt)) = (message, salt) else {
                return Err(KeyChainError::Order(format!("entry {index} changes keys, and its message is missing")));
            };
            if commitment(&salt, message) != header.commit || header.size != message.len() as u64 {
                return Err(KeyChainError::Order(format!("entry {index} commits to another message")));
            }
            let decided = governance.decide(message, index, Roots::Compared);
            let decided = decided.map_err(|source| KeyChainError::Control { index, source })?;
            if decided.act.op() != header.op {
                return Err(KeyChainError::Order(format!("entry {index} is another act than its message")));
            }
            governance.apply(&decided.act, index, leaf(entry));
        }
        Ok(governance.log_keys().clone())
    }

    /// The last checkpoint of an earlier key: signed as it had to be, of a tree with this entry 0, which the one at hand continues.
    fn lead(&self, given: &VerifierKey, keys: &LogKeys, head: &Checkpoint) -> Result<(), KeyChainError> {
        for old in &self.old {
            let size = checkpoint::peek(&old.checkpoint)?.size;
            if !keys.signing(size).any(|key| key.key == *given.key()) {
                continue;
            }
            let signed = keys.open(&old.checkpoint)?;
            let first = leaf(&self.first.entry.0);
            verify_inclusion(0, size, &first, &hashes(&old.first)?, &signed.root).map_err(|source| {
                KeyChainError::Unproved { what: format!("entry 0 under the checkpoint of size {size}"), source }
            })?;
            let path = hashes(&old.consistency)?;
            let continued = verify_consistency(size, head.size, &signed.root, &head.root, &path);
            return continued.map_err(|source| KeyChainError::Unproved {
                what: format!("that the tree of size {} continues that of size {size}", head.size),
                source,
            });
        }
        Err(KeyChainError::Stranger(given.clone()))
    }
}

/// Whether an op says who may sign.
fn tells_of_keys(op: ControlOp) -> bool {
    matches!(op, ControlOp::Key | ControlOp::Admin | ControlOp::Recovery)
}

/// Bytes in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Base64(Vec<u8>);

/// A hash of a proof, in base64 as C2SP writes it.
type Node = String;

fn nodes(path: &[Hash]) -> Vec<Node> {
    path.iter().map(Hash::to_base64).collect()
}

fn hashes(path: &[Node]) -> Result<Vec<Hash>, KeyChainError> {
    path.iter().map(|node| Hash::from_base64(node).map_err(|error| KeyChainError::Form(error.to_string()))).collect()
}

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encoding::to_base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        encoding::from_base64(&text).map(Base64).ok_or_else(|| serde::de::Error::custom("not standard base64"))
    }
}

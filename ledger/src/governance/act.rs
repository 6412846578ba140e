//! What each control op carries: closed bodies, read strictly, so that an act says one thing and nothing beside it.

use std::collections::{BTreeMap, BTreeSet};

use schemas::ids::ChangeId;
use schemas::redact::mask_text;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::control::{ControlError, ControlOp};
use crate::entry::MAX_ADMIN_KEYS;
use crate::hash::Hash;
use crate::key::PublicKey;

/// Facts of a tenant, at most.
pub const MAX_FACTS: usize = 64;
/// Change IDs that one hold names, at most: the envelope stays small, and a second hold takes the rest.
pub const MAX_HELD_CHANGES: usize = 256;
/// Characters of a reason or of a fact's value.
pub const MAX_TEXT_CHARS: usize = 512;
/// Characters of a hold's id or of a fact's name.
pub const MAX_NAME_CHARS: usize = 64;

/// An administrative act, typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Other rules of admission are recorded as adopted.
    Rules(Hash),
    /// Facts of a tenant are set and taken away.
    Facts {
        /// By name.
        set: BTreeMap<String, String>,
        /// Names.
        unset: BTreeSet<String>,
    },
    /// In `_ledger` only: a tenant, or an act on a tenant's log, as a salted commitment.
    Listed(Hash),
    /// A legal hold begins.
    Hold(Hold),
    /// A legal hold ends.
    Release {
        /// The hold's id.
        id: String,
        /// Why.
        reason: String,
    },
    /// Another log key.
    Key(KeyChange),
    /// Other admin keys, all of them.
    Admin(Vec<PublicKey>),
    /// Another recovery key.
    Recovery(PublicKey),
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Its name, unique among those that hold.
    pub id: String,
    /// What it holds.
    pub scope: Scope,
    /// Why.
    pub reason: String,
}

/// What a hold holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything of the tenant.
    All,
    /// These changes.
    Changes(Vec<ChangeId>),
}

/// The change of a log key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key that signs from here on.
    pub new: PublicKey,
    /// The key that it takes the place of: the current one.
    pub old: PublicKey,
    /// What is said of the old one.
    pub status: KeyStatus,
    /// The last tree size whose checkpoint the old key may have signed. For a retired key it lies ahead: until there both sign.
    pub from: u64,
    /// A tree size that those who sign the change have seen.
    pub size: u64,
    /// Its root: a change of key for another history does not fit this one.
    pub root: Hash,
}

/// What is said of a key that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    /// It did its duty, and signs the change itself.
    Retired,
    /// Nobody has it any more.
    Lost,
    /// Somebody else has it.
    Compromised,
}

impl KeyStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyStatus::Retired => "retired",
            KeyStatus::Lost => "lost",
            KeyStatus::Compromised => "compromised",
        }
    }

    fn parse(word: &str) -> Option<KeyStatus> {
        [KeyStatus::Retired, KeyStatus::Lost, KeyStatus::Compromised].into_iter().find(|status| status.as_str() == word)
    }
}

impl Act {
    /// The act of a body. `in_ledger` is for `_ledger`, where `tenant` lists and nothing is held.
    pub fn parse(op: ControlOp, body: &Value, in_ledger: bool) -> Result<Act, ControlError> {
        let act = match (op, in_ledger) {
            (ControlOp::Rules, _) => rules(body),
            (ControlOp::Tenant, true) => read::<Listed>(body).map(|listed| Act::Listed(listed.commit)),
            (ControlOp::Tenant, false) => facts(body),
            (ControlOp::Hold | ControlOp::Release, true) => Err("the ledger's own log holds no events".to_owned()),
            (ControlOp::Hold, false) => hold(body),
            (ControlOp::Release, false) => release(body),
            (ControlOp::Key, _) => key(body),
            (ControlOp::Admin, _) => admin(body),
            (ControlOp::Recovery, _) => read::<Recovery>(body).map(|recovery| Act::Recovery(recovery.key)),
            (ControlOp::Erase, _) => return Err(ControlError::Unsupported(op)),
        };
        act.map_err(|why| ControlError::Body { op: op.as_str(), why })
    }

    /// Its op.
    pub fn op(&self) -> ControlOp {
        match self {
            Act::Rules(_) => ControlOp::Rules,
            Act::Facts { .. } | Act::Listed(_) => ControlOp::Tenant,
            Act::Hold(_) => ControlOp::Hold,
            Act::Release { .. } => ControlOp::Release,
            Act::Key(_) => ControlOp::Key,
            Act::Admin(_) => ControlOp::Admin,
            Act::Recovery(_) => ControlOp::Recovery,
        }
    }

    /// Its body, which [`Act::parse`] reads back.
    pub fn to_body(&self) -> Value {
        match self {
            Act::Rules(rules) => json!({ "rules": rules }),
            Act::Facts { set, unset } => {
                let mut body = serde_json::Map::new();
                if !set.is_empty() {
                    body.insert("set".to_owned(), json!(set));
                }
                if !unset.is_empty() {
                    body.insert("unset".to_owned(), json!(unset));
                }
                Value::Object(body)
            }
            Act::Listed(commit) => json!({ "commit": commit }),
            Act::Hold(Hold { id, scope: Scope::All, reason }) => json!({ "all": true, "id": id, "reason": reason }),
            Act::Hold(Hold { id, scope: Scope::Changes(changes), reason }) => {
                json!({ "changes": changes, "id": id, "reason": reason })
            }
            Act::Release { id, reason } => json!({ "id": id, "reason": reason }),
            Act::Key(change) => json!({
                "from": change.from,
                "new": change.new,
                "old": change.old,
                "root": change.root,
                "size": change.size,
                "status": change.status.as_str(),
            }),
            Act::Admin(keys) => json!({ "keys": keys }),
            Act::Recovery(key) => json!({ "key": key }),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    rules: Hash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    unset: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    commit: Hash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldBody {
    #[serde(default)]
    all: Option<bool>,
    #[serde(default)]
    changes: Option<Vec<String>>,
    id: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    id: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    from: u64,
    new: PublicKey,
    old: PublicKey,
    root: Hash,
    size: u64,
    status: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Admin {
    keys: Vec<PublicKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recovery {
    key: PublicKey,
}

/// The members of a body. A struct would also be read from an array, so that an object is asked for first.
fn read<'de, T: Deserialize<'de>>(body: &'de Value) -> Result<T, String> {
    if !body.is_object() {
        return Err("not an object".to_owned());
    }
    T::deserialize(body).map_err(|error| error.to_string().chars().take(160).collect())
}

fn rules(body: &Value) -> Result<Act, String> {
    let Rules { rules } = read(body)?;
    match schemas::rules::by_name(rules.as_bytes()) {
        Some(_) => Ok(Act::Rules(rules)),
        None => Err(format!("rules {rules} are none that this program has")),
    }
}

fn facts(body: &Value) -> Result<Act, String> {
    let Facts { set, unset } = read(body)?;
    let names: BTreeSet<String> = unset.iter().cloned().collect();
    if names.len() != unset.len() || names.iter().any(|name| set.contains_key(name)) {
        return Err("a fact is named twice".to_owned());
    }
    if set.is_empty() && names.is_empty() {
        return Err("no fact is set and none taken away".to_owned());
    }
    if set.len().max(names.len()) > MAX_FACTS {
        return Err(format!("more than {MAX_FACTS} facts"));
    }
    for fact in set.keys().chain(&names) {
        name("name of a fact", fact)?;
    }
    for value in set.values() {
        text("value of a fact", value)?;
    }
    Ok(Act::Facts { set, unset: names })
}

fn hold(body: &Value) -> Result<Act, String> {
    let HoldBody { all, changes, id, reason } = read(body)?;
    name("id of a hold", &id)?;
    text("reason", &reason)?;
    let scope = match (all, changes) {
        (Some(true), None) => Scope::All,
        (None, Some(changes)) => Scope::Changes(held(&changes)?),
        _ => return Err("expected either \"all\": true or \"changes\"".to_owned()),
    };
    Ok(Act::Hold(Hold { id, scope, reason }))
}

fn held(changes: &[String]) -> Result<Vec<ChangeId>, String> {
    if changes.is_empty() || changes.len() > MAX_HELD_CHANGES {
        return Err(format!("{} changes, 1 to {MAX_HELD_CHANGES} expected", changes.len()));
    }
    if changes.iter().collect::<BTreeSet<_>>().len() != changes.len() {
        return Err("a change is named twice".to_owned());
    }
    changes.iter().map(|change| ChangeId::parse(change).map_err(|error| error.to_string())).collect()
}

fn release(body: &Value) -> Result<Act, String> {
    let Release { id, reason } = read(body)?;
    name("id of a hold", &id)?;
    text("reason", &reason)?;
    Ok(Act::Release { id, reason })
}

fn key(body: &Value) -> Result<Act, String> {
    let Key { from, new, old, root, size, status } = read(body)?;
    let status = KeyStatus::parse(&status).ok_or("status is retired, lost or compromised")?;
    if size == 0 || size > from {
        return Err(format!("size {size} and from {from}: expected 1 <= size <= from"));
    }
    Ok(Act::Key(KeyChange { new, old, status, from, size, root }))
}

fn admin(body: &Value) -> Result<Act, String> {
    let Admin { keys } = read(body)?;
    if keys.is_empty() || keys.len() > MAX_ADMIN_KEYS {
        return Err(format!("{} keys, 1 to {MAX_ADMIN_KEYS} expected", keys.len()));
    }
    if keys.iter().enumerate().any(|(at, key)| keys[..at].contains(key)) {
        return Err("a key stands twice".to_owned());
    }
    Ok(Act::Admin(keys))
}

/// Names are typed on a command line and printed in tables.
fn name(what: &str, found: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    if found.is_empty() || found.len() > MAX_NAME_CHARS || !found.chars().all(fits) {
        let found: String = found.chars().take(MAX_NAME_CHARS).collect();
        return Err(format!("{what}: expected 1 to {MAX_NAME_CHARS} of A-Z a-z 0-9 - _ . / :, found {found:?}"));
    }
    text(what, found)
}

/// An envelope is never erased, so that nothing may be in it which has to be.
fn text(what: &str, found: &str) -> Result<(), String> {
    let chars = found.chars().count();
    if chars == 0 || chars > MAX_TEXT_CHARS {
        return Err(format!("{what}: expected 1 to {MAX_TEXT_CHARS} characters, found {chars}"));
    }
    if found.chars().any(char::is_control) {
        return Err(format!("{what}: control characters are not allowed"));
    }
    if mask_text(found).1 > 0 {
        return Err(format!("{what} looks like a secret, and a control message is kept for ever"));
    }
    Ok(())
}

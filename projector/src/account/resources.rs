//! What a change does to resources: which are managed from when on, which are gone, which are watched or were compared.
//!
//! A resource is what cloud, endpoint, type, name and resource group (else namespace) say, as RFC 8785 of an object with those of the five
//! that the event has. It is managed from the entry on by which a change both names it (not with the action `read`) and has executed;
//! it is gone with an execution without a failed step of a change that names it with the action `delete`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemas::event::{Any, Event, Resource, Target, Text};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::Group;
use super::form::says;
use crate::document::Seen;
use crate::fold::Marks;

/// One resource, by the text that names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Arc<str>);

impl Identity {
    /// RFC 8785.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 16 bytes of its SHA-256, for stores.
    pub fn key(&self) -> [u8; 16] {
        let digest: [u8; 32] = Sha256::digest(&*self.0).into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key
    }
}

impl From<String> for Identity {
    /// A text that [`Identity::as_str`] gave.
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Something that happened to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The entry by which it did.
    pub index: u64,
    /// The log's time, milliseconds.
    pub at: u64,
    /// Which resource.
    pub resource: Identity,
    /// What.
    pub kind: TurnKind,
    /// Where the change belonged as of that entry.
    pub group: Arc<Group>,
}

/// What happened to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TurnKind {
    /// A change that executed names it.
    Managed,
    /// A change deleted it.
    Removed,
    /// It was compared with its baseline.
    Checked,
    /// Somebody watches it from here on.
    Watched,
    /// Nobody does any more.
    Unwatched,
}

/// What names a resource, as sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Parts<'b> {
    cloud: Option<&'b str>,
    endpoint: Option<&'b str>,
    name: Option<&'b str>,
    /// Of any form, under the name of the member that says it.
    scope: Option<(&'static str, &'b str)>,
    kind: Option<&'b str>,
}

impl<'b> Parts<'b> {
    pub(super) fn of(target: &'b Target<'_>, resource: &'b Resource<'_>) -> Self {
        let text = |value: &'b Option<Text<'_>>| value.as_deref();
        let scope = |name, value: Option<Any<'b>>| Some((name, value.filter(|value| says(Some(*value)))?.json()));
        Self {
            cloud: text(&target.cloud),
            endpoint: text(&target.cluster_endpoint_id),
            name: text(&resource.name),
            scope: scope("resource_group", resource.resource_group).or_else(|| scope("namespace", resource.namespace)),
            kind: text(&resource.kind),
        }
    }

    pub(super) fn identity(&self) -> Identity {
        // Members in the order of RFC 8785. A string's escapes are the same there and here.
        let mut text = Vec::with_capacity(192);
        text.push(b'{');
        string(&mut text, "cloud", self.cloud);
        string(&mut text, "cluster_endpoint_id", self.endpoint);
        string(&mut text, "name", self.name);
        if let Some((named, json)) = self.scope {
            let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
            name(&mut text, named);
            text.extend(serde_json_canonicalizer::to_vec(&value).unwrap_or_default());
        }
        string(&mut text, "type", self.kind);
        text.push(b'}');
        Identity(String::from_utf8_lossy(&text).into())
    }
}

fn string(text: &mut Vec<u8>, named: &str, value: Option<&str>) {
    if let Some(value) = value {
        name(text, named);
        // Writing a text into memory cannot fail.
        let _ = serde_json::to_writer(text, value);
    }
}

fn name(text: &mut Vec<u8>, name: &str) {
    if text.len() > 1 {
        text.push(b',');
    }
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
}

/// What a change has named so far.
#[derive(Default)]
pub(super) struct Known<'e> {
    /// A change names the same ones again and again.
    identities: HashMap<Parts<'e>, Identity>,
    /// Where the change belonged as of the last turn.
    group: Arc<Group>,
    /// By resource and whether it is to be deleted; true once its turn came.
    named: BTreeMap<(Identity, bool), bool>,
    executed: bool,
    /// Some execution had no failed step.
    succeeded: bool,
}

impl<'e> Known<'e> {
    pub(super) fn add(&mut self, turns: &mut Vec<Turn>, group: &Group, seen: &Seen<'_>, event: &'e Event<'_>) {
        if *self.group != *group {
            self.group = Arc::new(group.clone());
        }
        let group = &self.group;
        let mut turn = |resource: &Identity, kind| {
            let (index, at) = (seen.index, seen.header.at);
            turns.push(Turn { index, at, resource: resource.clone(), kind, group: Arc::clone(group) });
        };
        let identities = &mut self.identities;
        let mut identity = |parts: Parts<'e>| identities.entry(parts).or_insert_with(|| parts.identity()).clone();
        let here: Vec<(Identity, Option<&str>)> = event.target.as_ref().map_or_else(Vec::new, |target| {
            let named = target.resources.iter();
            named.map(|one| (identity(Parts::of(target, one)), one.action.as_deref())).collect()
        });
        for (resource, action) in &here {
            if *action != Some("read") {
                self.named.entry((resource.clone(), *action == Some("delete"))).or_insert(false);
            }
        }
        if seen.is_execution() {
            self.executed = true;
            self.succeeded |= !seen.facts.marks.any(Marks::FAILED);
        }
        for ((resource, delete), done) in &mut self.named {
            if !*done && if *delete { self.succeeded } else { self.executed } {
                *done = true;
                turn(resource, if *delete { TurnKind::Removed } else { TurnKind::Managed });
            }
        }
        let Some(drift) = event.verification.as_ref().and_then(|verification| verification.drift.as_ref()) else {
            return;
        };
        let compared = drift.diff.given().is_some() || (drift.baseline_hash.is_some() && drift.current_hash.is_some());
        let watched = drift.monitored.map(|monitored| says(Some(monitored)));
        let mut about = |resource: &Identity| {
            if compared {
                turn(resource, TurnKind::Checked);
            }
            if let Some(watched) = watched {
                turn(resource, if watched { TurnKind::Watched } else { TurnKind::Unwatched });
            }
        };
        if here.is_empty() {
            let mut known: Vec<&Identity> = self.named.keys().map(|(resource, _)| resource).collect();
            known.dedup();
            known.into_iter().for_each(&mut about);
        } else {
            for (resource, _) in &here {
                about(resource);
            }
        }
    }
}

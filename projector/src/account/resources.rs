//! What a change does to resources: which are managed from when on, which are gone, which are watched or were compared.
//!
//! A resource is what cloud, endpoint, type, name and resource group (else namespace) say, as RFC 8785 of an object with those of the five
//! that the event has. It is managed from the entry on by which a change both names it (not with the action `read`) and has executed;
//! it is gone with an execution without a failed step of a change that names it with the action `delete`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemas::event::{Any, Event, Target, Text};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Group;
use super::form::says;
use crate::document::Seen;
use crate::fold::Marks;

/// One resource, by the text that names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Identity(String);

impl Identity {
    /// RFC 8785.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 16 bytes of its SHA-256, for stores.
    pub fn key(&self) -> [u8; 16] {
        let digest: [u8; 32] = Sha256::digest(&self.0).into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key
    }
}

impl From<String> for Identity {
    /// A text that [`Identity::as_str`] gave.
    fn from(text: String) -> Self {
        Self(text)
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
    pub group: Group,
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

/// The resources that a target names, with their actions, as listed.
pub(super) fn named<'b>(target: &'b Target<'_>) -> impl Iterator<Item = (Identity, Option<&'b str>)> {
    target.resources.iter().map(move |resource| {
        // Members in the order of RFC 8785.
        let mut text = String::from("{");
        member(&mut text, "cloud", target.cloud.as_ref());
        member(&mut text, "cluster_endpoint_id", target.cluster_endpoint_id.as_ref());
        member(&mut text, "name", resource.name.as_ref());
        let group = resource.resource_group.filter(|value| says(Some(*value)));
        match (group, resource.namespace.filter(|value| says(Some(*value)))) {
            (Some(group), _) => raw_member(&mut text, "resource_group", group),
            (None, Some(namespace)) => raw_member(&mut text, "namespace", namespace),
            (None, None) => {}
        }
        member(&mut text, "type", resource.kind.as_ref());
        text.push('}');
        (Identity(text), resource.action.as_deref())
    })
}

fn member(text: &mut String, name: &str, value: Option<&Text<'_>>) {
    if let Some(value) = value {
        // A string's escapes are the same in RFC 8785 and here.
        push(text, name, &serde_json::Value::from(&**value).to_string());
    }
}

fn raw_member(text: &mut String, name: &str, value: Any<'_>) {
    push(text, name, &serde_json_canonicalizer::to_string(&value.value()).unwrap_or_default());
}

fn push(text: &mut String, name: &str, value: &str) {
    let comma = if text.len() > 1 { "," } else { "" };
    let _ = write!(text, "{comma}\"{name}\":{value}");
}

/// What a change has named so far.
#[derive(Default)]
pub(super) struct Known {
    /// By resource and whether it is to be deleted; true once its turn came.
    named: BTreeMap<(Identity, bool), bool>,
    executed: bool,
    /// Some execution had no failed step.
    succeeded: bool,
}

impl Known {
    pub(super) fn add(&mut self, turns: &mut Vec<Turn>, group: &Group, seen: &Seen<'_>, event: &Event<'_>) {
        let mut turn = |resource: &Identity, kind| {
            let (index, at) = (seen.index, seen.header.at);
            turns.push(Turn { index, at, resource: resource.clone(), kind, group: group.clone() });
        };
        let here: Vec<(Identity, Option<&str>)> = event.target.as_ref().map(|t| named(t).collect()).unwrap_or_default();
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

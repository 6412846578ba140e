//! What is asked for: resources by the catalogue's names, from words ([`words`]) or from a JSON document ([`json`]); as workers are asked
//! for it, [`put`].
//!
//! Left out: whether it can be had (`plan`).

pub mod json;
pub mod put;
pub mod words;

use std::collections::BTreeMap;

use serde_json::Value;

/// A request, before anything is looked up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// As it was put, in words.
    pub words: Option<String>,
    /// As resources; those that the words ask for come after them.
    pub resources: Vec<Wanted>,
    /// What must be there before, by type or role and name.
    pub needed: Vec<(String, String)>,
    /// For instance `production`.
    pub environment: Option<String>,
    /// `target.cluster_endpoint_id`.
    pub endpoint: Option<String>,
    /// When it may run: `{"start": …, "end": …}` in RFC 3339.
    pub window: Option<Value>,
    /// How it is rolled out.
    pub variant: Option<Variant>,
    /// Roles that must approve.
    pub approvals: Vec<String>,
    /// Who asks, and why.
    pub about: About,
}

/// Who asks, and why: for the event, never for the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// `chatops`, `api` or `ticket`.
    pub source: Option<String>,
    /// Who.
    pub initiator: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// For instance `OPS-7`.
    pub ticket: Option<String>,
    /// In the requester's words.
    pub risk: Option<String>,
}

/// One resource, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What is to become of it.
    pub action: Action,
    /// Its type's name.
    pub kind: String,
    /// What was said about it, `name` among it.
    pub fields: BTreeMap<String, String>,
    /// `type/name` of resources of the request that come first.
    pub depends_on: Vec<String>,
}

/// What is to become of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is there afterwards.
    Create,
    /// One of its type's updates is done.
    Update(String),
    /// It is gone afterwards.
    Delete,
}

/// How a plan is rolled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// A few first, then more.
    Canary,
    /// A twin beside what is there, then a switch.
    BlueGreen,
}

impl Action {
    /// The word of the JSON forms.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Create => "create",
            Self::Update(name) => name,
            Self::Delete => "delete",
        }
    }

    /// The model's word for it: create, update or delete.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update(_) => "update",
            Self::Delete => "delete",
        }
    }
}

impl Variant {
    /// `canary` or `blue-green`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::BlueGreen => "blue-green",
        }
    }

    /// By its word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Canary, Self::BlueGreen].into_iter().find(|variant| variant.as_str() == word)
    }
}

impl Wanted {
    /// Its name, empty where none was said.
    pub fn name(&self) -> &str {
        self.fields.get("name").map_or("", String::as_str)
    }

    /// In one line, for people.
    pub fn shown(&self) -> String {
        let said: Vec<String> = self
            .fields
            .iter()
            .filter(|(field, _)| *field != "name")
            .map(|(field, value)| format!("{field} {value}"))
            .collect();
        let said = if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) };
        format!("{} {} {}{said}", self.action.as_str(), self.kind, self.name())
    }
}

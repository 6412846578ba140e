//! States that were read back: what is kept of them, their hash, and how two of them differ.
//!
//! A state is what the read-backs of a change's resources printed, by resource: JSON where it is JSON, else its lines. What changes without anybody's
//! doing is left out first, and secrets are masked as admission masks them, so that anybody can take the hash of what is stored.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The largest state that an event carries whole. Of larger resources their digest is kept.
pub const KEPT_BYTES: usize = 128 * 1024;

/// Differences that are listed one by one; the others are counted.
pub const LISTED: usize = 100;

/// The longest value that a summary quotes, in characters.
const QUOTED: usize = 60;

/// States by resource.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State(pub BTreeMap<String, Value>);

/// A place that is not as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The resource, as the plan names it.
    pub resource: String,
    /// A JSON pointer into its state; empty: the resource itself.
    pub path: String,
    /// What stood there.
    pub was: Option<Value>,
    /// What stands there.
    pub is: Option<Value>,
}

impl State {
    /// Adds what a read-back printed.
    pub fn add(&mut self, resource: &str, printed: &str, ignore: &[String]) {
        let mut value = serde_json::from_str(printed).unwrap_or_else(|_| {
            let lines: Vec<&str> = printed.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
            json!(lines)
        });
        for pointer in ignore {
            let names: Vec<&str> = pointer.split('/').skip(1).collect();
            leave_out(&mut value, &names);
        }
        self.0.insert(resource.to_owned(), value);
    }

    /// Notes that a resource is not there.
    pub fn gone(&mut self, resource: &str) {
        self.0.insert(resource.to_owned(), Value::Null);
    }

    /// As events carry it: masked, and the largest resources by their digest where all of them are too large.
    #[must_use]
    pub fn kept(self) -> Self {
        let mut all = masked(&Value::Object(self.0.into_iter().collect()));
        let mut sizes: Vec<(usize, String)> =
            all.iter().map(|(name, value)| (canonical(value).len(), name.clone())).collect();
        sizes.sort_unstable();
        let mut total: usize = sizes.iter().map(|(size, _)| size).sum();
        while total > KEPT_BYTES {
            let Some((size, name)) = sizes.pop() else { break };
            if let Some(value) = all.get_mut(&name) {
                *value = json!({"sha256": hex::encode(Sha256::digest(canonical(value))), "bytes": size});
            }
            total -= size;
        }
        Self(all.into_iter().collect())
    }

    /// What an event has of it.
    pub fn document(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Reads [`Self::document`] back.
    pub fn read(value: &Value) -> Option<Self> {
        Some(Self(value.as_object()?.iter().map(|(name, value)| (name.clone(), value.clone())).collect()))
    }

    /// `sha256:…` over the RFC 8785 of the document.
    pub fn hash(&self) -> String {
        format!("sha256:{}", hex::encode(Sha256::digest(canonical(&self.document()))))
    }

    /// How `self` differs from what it is compared with; only resources that both have.
    pub fn differences(&self, baseline: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        for (resource, was) in &baseline.0 {
            if let Some(is) = self.0.get(resource) {
                compare(resource, "", Some(was), Some(is), &mut found);
            }
        }
        found
    }
}

impl Difference {
    /// As `verification.drift.diff` holds it.
    pub fn document(&self) -> Value {
        let mut members = Map::new();
        members.insert("resource".to_owned(), self.resource.as_str().into());
        members.insert("path".to_owned(), self.path.as_str().into());
        members.extend(self.was.clone().map(|was| ("was".to_owned(), was)));
        members.extend(self.is.clone().map(|is| ("is".to_owned(), is)));
        Value::Object(members)
    }

    /// Reads [`Self::document`] back.
    pub fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            resource: text("resource")?,
            path: text("path")?,
            was: value.get("was").cloned(),
            is: value.get("is").cloned(),
        })
    }

    /// The resource itself is no longer there.
    pub fn is_gone(&self) -> bool {
        self.path.is_empty() && self.is == Some(Value::Null)
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_gone() {
            return write!(out, "{} is gone", self.resource);
        }
        if self.path.is_empty() && self.was == Some(Value::Null) {
            return write!(out, "{} is there again", self.resource);
        }
        let place = if self.path.is_empty() { "its state" } else { &self.path };
        match (&self.was, &self.is) {
            (Some(was), Some(is)) => write!(out, "{} {place}: was {}, is {}", self.resource, quoted(was), quoted(is)),
            (Some(was), None) => write!(out, "{} {place}: was {}, is not there", self.resource, quoted(was)),
            (_, Some(is)) => write!(out, "{} {place}: was not there, is {}", self.resource, quoted(is)),
            (None, None) => write!(out, "{} {place} differs", self.resource),
        }
    }
}

/// What all differences come to, for people: how many of what, then one after the other.
pub fn summary(differences: &[Difference]) -> String {
    let mut resources: Vec<&str> = differences.iter().map(|one| one.resource.as_str()).collect();
    resources.dedup();
    if resources.is_empty() {
        return "nothing differs from the baseline".to_owned();
    }
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let verb = if resources.len() == 1 { "differs" } else { "differ" };
    let mut out = format!(
        "{} {verb} from the baseline in {}",
        plural(resources.len(), "resource"),
        plural(differences.len(), "place")
    );
    for one in differences.iter().take(LISTED) {
        // Writing into a string has no way to fail.
        let _ = write!(out, "; {one}");
    }
    if differences.len() > LISTED {
        let _ = write!(out, "; and {} more", differences.len() - LISTED);
    }
    out
}

fn quoted(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > QUOTED { text.chars().take(QUOTED - 1).chain(['…']).collect() } else { text }
}

fn canonical(value: &Value) -> Vec<u8> {
    // A value of JSON has canonical bytes.
    serde_json_canonicalizer::to_vec(value).unwrap_or_default()
}

/// As admission would leave it in an event.
fn masked(state: &Value) -> Map<String, Value> {
    let bytes = json!({"provisioning_event": {"verification": {"state": state}}}).to_string();
    let masked = schemas::redact::mask_document(bytes.as_bytes()).ok();
    let document = masked.and_then(|(bytes, _)| serde_json::from_slice::<Value>(&bytes).ok());
    let kept = document
        .and_then(|mut document| document.pointer_mut("/provisioning_event/verification/state").map(Value::take));
    match kept {
        Some(Value::Object(members)) => members,
        // What can't be scanned is not shown at all.
        _ => Map::new(),
    }
}

fn leave_out(value: &mut Value, names: &[&str]) {
    let Some((name, rest)) = names.split_first() else { return };
    match (value, rest.is_empty()) {
        (Value::Object(members), true) if *name == "*" => members.clear(),
        (Value::Object(members), true) => drop(members.remove(&unescaped(name))),
        (Value::Object(members), false) if *name == "*" => {
            members.values_mut().for_each(|inner| leave_out(inner, rest));
        }
        (Value::Object(members), false) => {
            if let Some(inner) = members.get_mut(&unescaped(name)) {
                leave_out(inner, rest);
            }
        }
        (Value::Array(items), true) if *name == "*" => items.clear(),
        (Value::Array(items), false) if *name == "*" => items.iter_mut().for_each(|inner| leave_out(inner, rest)),
        (Value::Array(items), _) => {
            let place = name.parse().ok().filter(|at: &usize| *at < items.len());
            match place {
                Some(at) if rest.is_empty() => drop(items.remove(at)),
                Some(at) => leave_out(&mut items[at], rest),
                None => {}
            }
        }
        _ => {}
    }
}

/// RFC 6901.
fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn compare(resource: &str, path: &str, was: Option<&Value>, is: Option<&Value>, found: &mut Vec<Difference>) {
    match (was, is) {
        (Some(Value::Object(was)), Some(Value::Object(is))) => {
            let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                compare(resource, &format!("{path}/{}", escaped(name)), was.get(name), is.get(name), found);
            }
        }
        (Some(Value::Array(was)), Some(Value::Array(is))) => {
            for at in 0..was.len().max(is.len()) {
                compare(resource, &format!("{path}/{at}"), was.get(at), is.get(at), found);
            }
        }
        (was, is) if was == is => {}
        (was, is) => found.push(Difference {
            resource: resource.to_owned(),
            path: path.to_owned(),
            was: was.cloned(),
            is: is.cloned(),
        }),
    }
}

//! Requests as JSON.
//!
//! Two forms: a request of our own, closed, so that a misspelt member is not left out silently; and the model's event (with `intent`),
//! open as events are, as planners get it (`upm conformance`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{About, Action, Request, Variant, Wanted};

/// What can't be read in a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: found {found}, expected {expected}")]
pub struct JsonError {
    /// A JSON pointer.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

/// The members of a request.
const MEMBERS: [&str; 12] = [
    "request",
    "resources",
    "resources_needed",
    "environment",
    "endpoint",
    "window",
    "variant",
    "approvals",
    "source",
    "initiator",
    "reason",
    "ticket",
];

/// Reads a document.
pub fn read(bytes: &[u8]) -> Result<Request, JsonError> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| wrong("", format!("no JSON: {error}"), "a request as a JSON object"))?;
    let document = Place { path: String::new(), value: &value };
    document.object()?;
    let inner = document.member("provisioning_event").unwrap_or(document);
    if inner.member("intent").is_some() { of_event(&inner) } else { of_request(&inner) }
}

fn wrong(path: &str, found: impl Into<String>, expected: impl Into<String>) -> JsonError {
    let path = if path.is_empty() { "the document".to_owned() } else { path.to_owned() };
    JsonError { path, found: found.into(), expected: expected.into() }
}

fn of_request(document: &Place<'_>) -> Result<Request, JsonError> {
    let known = MEMBERS.iter().chain(&["risk"]).copied().collect::<Vec<_>>();
    if let Some(name) = document.object()?.keys().find(|name| !known.contains(&name.as_str())) {
        let path = format!("{}/{name}", document.path);
        return Err(wrong(&path, "a member that means nothing here", format!("one of {}", known.join(", "))));
    }
    Ok(Request {
        words: document.text("request")?,
        resources: resources(document)?,
        needed: needed(document)?,
        environment: document.text("environment")?,
        endpoint: document.text("endpoint")?,
        window: document.member("window").map(|place| place.value.clone()),
        variant: variant(document)?,
        approvals: texts(document, "approvals")?,
        about: about(document)?,
    })
}

fn of_event(event: &Place<'_>) -> Result<Request, JsonError> {
    let none = Value::Object(Map::new());
    let section =
        |name: &str| event.member(name).unwrap_or(Place { path: format!("{}/{name}", event.path), value: &none });
    let (intent, target, plan) = (section("intent"), section("target"), section("plan"));
    let resources = resources(&target)?;
    // Where an event names resources, they are what its words asked for.
    let words = intent.text("request")?.filter(|_| resources.is_empty());
    Ok(Request {
        words,
        resources,
        needed: needed(&plan)?,
        environment: event.text("environment")?,
        endpoint: target.text("cluster_endpoint_id")?,
        window: plan.member("window").map(|place| place.value.clone()),
        variant: variant(&plan)?,
        approvals: texts(&plan, "approvals")?,
        about: about(&intent)?,
    })
}

fn about(place: &Place<'_>) -> Result<About, JsonError> {
    Ok(About {
        source: place.text("source")?,
        initiator: place.text("initiator")?,
        reason: place.text("reason")?,
        ticket: place.text("ticket")?,
        risk: place.text("risk")?,
    })
}

fn variant(place: &Place<'_>) -> Result<Option<Variant>, JsonError> {
    let Some(word) = place.text("variant")? else { return Ok(None) };
    let path = format!("{}/variant", place.path);
    Variant::parse(&word).map(Some).ok_or_else(|| wrong(&path, format!("{word:?}"), "canary or blue-green"))
}

fn texts(place: &Place<'_>, name: &str) -> Result<Vec<String>, JsonError> {
    place.items(name)?.iter().map(Place::string).collect()
}

fn needed(place: &Place<'_>) -> Result<Vec<(String, String)>, JsonError> {
    let one = |item: &Place<'_>| {
        item.object()?;
        Ok((item.needed_text("type")?, item.needed_text("name")?))
    };
    place.items("resources_needed")?.iter().map(one).collect()
}

fn resources(place: &Place<'_>) -> Result<Vec<Wanted>, JsonError> {
    place.items("resources")?.iter().map(resource).collect()
}

/// One resource: `type`, `name`, `action`, `depends_on`, and fields of its type.
pub(crate) fn resource(place: &Place<'_>) -> Result<Wanted, JsonError> {
    let mut fields = BTreeMap::new();
    for (name, value) in place.object()? {
        if ["type", "action", "depends_on"].contains(&name.as_str()) {
            continue;
        }
        let inner = Place { path: format!("{}/{name}", place.path), value };
        fields.insert(name.clone(), inner.field_value()?);
    }
    place.needed_text("name")?;
    let action = match place.text("action")?.as_deref() {
        None | Some("create") => Action::Create,
        Some("delete") => Action::Delete,
        Some(update) => Action::Update(update.to_owned()),
    };
    Ok(Wanted { action, kind: place.needed_text("type")?, fields, depends_on: texts(place, "depends_on")? })
}

/// A value and where it is.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    pub(crate) path: String,
    pub(crate) value: &'a Value,
}

impl<'a> Place<'a> {
    pub(crate) fn object(&self) -> Result<&'a Map<String, Value>, JsonError> {
        self.value.as_object().ok_or_else(|| wrong(&self.path, shown(self.value), "an object"))
    }

    pub(crate) fn member(&self, name: &str) -> Option<Place<'a>> {
        let value = self.value.get(name)?;
        Some(Place { path: format!("{}/{name}", self.path), value })
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, JsonError> {
        self.member(name).map(|place| place.string()).transpose()
    }

    fn needed_text(&self, name: &str) -> Result<String, JsonError> {
        let path = format!("{}/{name}", self.path);
        self.text(name)?.ok_or_else(|| wrong(&path, "nothing", "text"))
    }

    fn string(&self) -> Result<String, JsonError> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| wrong(&self.path, shown(self.value), "text"))
    }

    fn field_value(&self) -> Result<String, JsonError> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(flag) => Ok(flag.to_string()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(wrong(&self.path, shown(other), "text, a number, true or false")),
        }
    }

    pub(crate) fn items(&self, name: &str) -> Result<Vec<Place<'a>>, JsonError> {
        let Some(list) = self.member(name) else { return Ok(Vec::new()) };
        let items = list.value.as_array().ok_or_else(|| wrong(&list.path, shown(list.value), "a list"))?;
        let place = |(at, value)| Place { path: format!("{}/{at}", list.path), value };
        Ok(items.iter().enumerate().map(place).collect())
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string().chars().take(60).collect(),
    }
}

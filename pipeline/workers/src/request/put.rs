//! A request as it is put to the workers, and the event that it becomes: of phase plan, without a plan, which is what a plan is made for.
//!
//! Beside the members of a request ([`super::json`]) there are those that name the change: `change_id`, `change_class`, `attempt`, `owner`,
//! `visibility`, and `fixes`, the change that it mends. The event keeps the document as it was put, in `request`, so that whoever plans reads what was asked and nothing else.

use schemas::ids::{ChangeClass, ChangeId, Environment, Phase};
use serde_json::{Map, Value};

use super::Request;
use super::json::{self, JsonError};
use crate::build::{Fields, Said, Sections};

/// The members that name the change.
const MEMBERS: [&str; 6] = ["change_id", "change_class", "attempt", "owner", "visibility", "fixes"];

/// A request as it was put.
#[derive(Debug, Clone, PartialEq)]
pub struct Put {
    /// The change that it is to be; somebody else names it where there is none.
    pub change: Option<ChangeId>,
    /// standard, normal or emergency.
    pub class: Option<ChangeClass>,
    /// Which attempt of the change, from 1.
    pub attempt: u32,
    /// Who owns what is changed.
    pub owner: Option<String>,
    /// Who may see it.
    pub visibility: Option<String>,
    /// The change that it mends.
    pub fixes: Option<ChangeId>,
    /// As it was put, without those.
    pub document: Value,
    /// What it asks for.
    pub request: Request,
}

/// What an event says that a request does not.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its change.
    pub change: &'a ChangeId,
    /// Whose.
    pub tenant: &'a str,
    /// RFC 3339.
    pub timestamp: &'a str,
}

fn wrong(path: &str, found: impl Into<String>, expected: impl Into<String>) -> JsonError {
    JsonError { path: path.to_owned(), found: found.into(), expected: expected.into() }
}

impl Put {
    /// Reads a document: a request, or an event of the model with an intent.
    pub fn read(bytes: &[u8]) -> Result<Self, JsonError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| wrong("the document", format!("no JSON: {error}"), "a request as a JSON object"))?;
        let Value::Object(mut members) = value else {
            return Err(wrong("the document", "no object", "a request as a JSON object"));
        };
        let event = members.get("provisioning_event").and_then(Value::as_object);
        let naming = only(event.unwrap_or(&members));
        // An event is open, and stays as it is.
        if event.is_none() {
            members.retain(|name, _| !MEMBERS.contains(&name.as_str()));
        }
        let document = Value::Object(members);
        let request = json::read(document.to_string().as_bytes())?;
        let change = text(&naming, "change_id")?.map(|text| {
            ChangeId::parse(text).map_err(|_| wrong("/change_id", format!("{text:?}"), ChangeId::EXPECTED))
        });
        let class = text(&naming, "change_class")?.map(|text| {
            ChangeClass::parse(text).map_err(|_| wrong("/change_class", format!("{text:?}"), ChangeClass::EXPECTED))
        });
        let fixes = text(&naming, "fixes")?
            .map(|text| ChangeId::parse(text).map_err(|_| wrong("/fixes", format!("{text:?}"), ChangeId::EXPECTED)));
        let put = Self {
            fixes: fixes.transpose()?,
            change: change.transpose()?,
            class: class.transpose()?,
            attempt: attempt(&naming)?,
            owner: text(&naming, "owner")?.map(str::to_owned),
            visibility: text(&naming, "visibility")?.map(str::to_owned),
            document,
            request,
        };
        put.check().map(|()| put)
    }

    /// What no event can be without, said before there is one.
    fn check(&self) -> Result<(), JsonError> {
        let Request { words, resources, about, environment, .. } = &self.request;
        if words.as_ref().is_none_or(|words| words.trim().is_empty()) && resources.is_empty() {
            return Err(wrong("/request", "nothing", "what is asked for: words in request, or resources"));
        }
        if about.initiator.as_ref().is_none_or(|name| name.trim().is_empty()) {
            return Err(wrong("/initiator", "nothing", "who asks"));
        }
        match environment.as_deref().map(|name| (name, Environment::check(name))) {
            Some((name, Err(_))) => Err(wrong("/environment", format!("{name:?}"), Environment::EXPECTED)),
            _ => Ok(()),
        }
    }

    /// The event: who asks for what, where and why, and the document.
    pub fn event(&self, naming: &Naming<'_>) -> (Fields, Sections) {
        let Request { words, environment, about, .. } = &self.request;
        let mut sections = Said { owner: self.owner.clone(), visibility: self.visibility.clone(), ..Said::default() }
            .sections(Phase::Plan, naming.timestamp);
        if let Some(risk) = &about.risk {
            sections.add("intent", Value::Object(Map::from_iter([("risk".to_owned(), risk.as_str().into())])));
        }
        sections.add_some("fixes", self.fixes.as_ref().map(|change| change.as_str().into()));
        sections.add("request", self.document.clone());
        let fields = Fields {
            id: naming.id.to_owned(),
            timestamp: naming.timestamp.to_owned(),
            phase: Phase::Plan,
            change: Some(naming.change.to_string()),
            environment: environment.clone(),
            class: self.class.map(|class| class.as_str().to_owned()),
            attempt: (self.attempt > 1).then_some(self.attempt),
            probe: false,
            request: words.clone(),
            source: about.source.clone().unwrap_or_else(|| "api".to_owned()),
            initiator: about.initiator.clone().unwrap_or_default(),
            tenant: naming.tenant.to_owned(),
            reason: about.reason.clone(),
            ticket: about.ticket.clone(),
        };
        (fields, sections)
    }
}

fn only(members: &Map<String, Value>) -> Map<String, Value> {
    let named = members.iter().filter(|(name, value)| MEMBERS.contains(&name.as_str()) && !value.is_null());
    named.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, JsonError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    value.as_str().map(Some).ok_or_else(|| wrong(&format!("/{name}"), value.to_string(), "text"))
}

fn attempt(members: &Map<String, Value>) -> Result<u32, JsonError> {
    let Some(value) = members.get("attempt") else { return Ok(1) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| wrong("/attempt", value.to_string(), "a whole number from 1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::build;

    fn put(document: &Value) -> Result<Put, JsonError> {
        Put::read(document.to_string().as_bytes())
    }

    #[test]
    fn a_request_becomes_an_event_that_keeps_it() {
        let put = put(&json!({
            "request": "create namespace team-alpha", "initiator": "ines", "environment": "staging", "risk": "low",
            "change_id": "c-42", "change_class": "standard", "owner": "platform", "ticket": "OPS-7",
        }))
        .expect("a request");
        let change = put.change.clone().expect("a change");
        let naming =
            Naming { id: "c-42.request", change: &change, tenant: "acme", timestamp: "2026-01-01T00:00:00.000Z" };
        let (fields, sections) = put.event(&naming);
        let event: Value = serde_json::from_slice(&build::event(&fields, &sections)).expect("JSON");
        let expect = json!({"provisioning_event": {
            "id": "c-42.request", "timestamp": "2026-01-01T00:00:00.000Z", "phase": "plan", "change_id": "c-42",
            "environment": "staging", "change_class": "standard",
            "intent": {"request": "create namespace team-alpha", "source": "api", "initiator": "ines", "tenant": "acme", "ticket": "OPS-7", "risk": "low"},
            "governance": {"owner": "platform"},
            "request": {"request": "create namespace team-alpha", "initiator": "ines", "environment": "staging", "risk": "low", "ticket": "OPS-7"},
        }});
        assert_eq!(event, expect);
        // What was kept says the same again.
        let again = json::read(event["provisioning_event"]["request"].to_string().as_bytes()).expect("a request");
        assert_eq!(again, put.request);
    }

    #[test]
    fn what_is_missing_or_means_nothing_is_named() {
        for (document, path) in [
            (json!([]), "the document"),
            (json!({"request": "create namespace a"}), "/initiator"),
            (json!({"initiator": "ines"}), "/request"),
            (json!({"initiator": "ines", "request": " "}), "/request"),
            (json!({"initiator": "ines", "request": "x", "change_id": "a b"}), "/change_id"),
            (json!({"initiator": "ines", "request": "x", "change_class": "urgent"}), "/change_class"),
            (json!({"initiator": "ines", "request": "x", "attempt": 0}), "/attempt"),
            (json!({"initiator": "ines", "request": "x", "owner": 7}), "/owner"),
            (json!({"initiator": "ines", "request": "x", "environment": "a b"}), "/environment"),
            (json!({"initiator": "ines", "request": "x", "colour": "red"}), "/colour"),
        ] {
            assert_eq!(put(&document).expect_err("a mistake").path, path, "{document}");
        }
    }

    #[test]
    fn an_event_of_the_model_is_a_request_too() {
        let put = put(&json!({"provisioning_event": {
            "id": "e-1", "change_id": "c-1", "attempt": 2, "intent": {"request": "create namespace a", "initiator": "ines", "source": "chatops"},
        }}))
        .expect("a request");
        assert_eq!((put.change.expect("a change").as_str(), put.attempt), ("c-1", 2));
        assert_eq!(put.request.words.as_deref(), Some("create namespace a"));
    }
}

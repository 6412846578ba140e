//! The bytes of one event from its fields (the model's `provisioning_event`, members in the model's order).
//!
//! Nothing is invented: a field that is not given is absent. Nothing is judged either: admission does that.

use jiff::Timestamp;
use schemas::ids::Phase;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

/// A duration in milliseconds with three places, as `plan.compile_ms` has it: most plans take less than one.
pub fn milliseconds(took: std::time::Duration) -> f64 {
    f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}

/// What one event says about itself and its intent. Empty options are absent in the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Event id, ≤ 128 bytes without spaces and control characters.
    pub id: String,
    /// RFC 3339; see [`rfc3339`].
    pub timestamp: String,
    /// Which phase of the change.
    pub phase: Phase,
    /// The change it belongs to; without one, the event id is the change.
    pub change: Option<String>,
    /// For instance `production`.
    pub environment: Option<String>,
    /// `standard`, `normal` or `emergency`.
    pub class: Option<String>,
    /// Which attempt of the change, from 1.
    pub attempt: Option<u32>,
    /// Whether it only tries the road out.
    pub probe: bool,
    /// What was asked for, in words.
    pub request: Option<String>,
    /// `chatops`, `api` or `ticket`.
    pub source: String,
    /// Who asked.
    pub initiator: String,
    /// Whose log it goes to.
    pub tenant: String,
    /// Why.
    pub reason: Option<String>,
    /// For instance `CHG-1042`.
    pub ticket: Option<String>,
}

/// The sections of an event, in the order in which they are written; one named `intent` adds to what [`Fields`] say there. A section named
/// twice is merged, the members of the later one winning; two lists become one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sections(Vec<(String, Value)>);

impl Sections {
    /// No sections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or merges a section.
    pub fn add(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => merge(known, value),
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// A section.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Takes a section out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// The sections as one object; their order is lost.
    pub fn into_map(self) -> Map<String, Value> {
        self.0.into_iter().collect()
    }

    /// Adds all sections of another.
    pub fn extend(&mut self, other: Self) {
        for (name, value) in other.0 {
            self.add(&name, value);
        }
    }

    /// Adds a section that may be absent.
    pub fn add_some(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

/// What `upm emit` can say with flags beyond [`Fields`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// `target.cloud`.
    pub cloud: Option<String>,
    /// `target.cluster_endpoint_id`.
    pub endpoint: Option<String>,
    /// `plan.commands`.
    pub commands: Vec<String>,
    /// `plan.approvals`: who must approve.
    pub approvals_needed: Vec<String>,
    /// `preflight.approvals`: who did.
    pub approvals: Vec<Approval>,
    /// `preflight.checks`, in phase verify `verification.checks`.
    pub checks: Vec<Check>,
    /// `rollback.plan`.
    pub rollback: Vec<String>,
    /// `governance.owner`.
    pub owner: Option<String>,
    /// `governance.visibility`.
    pub visibility: Option<String>,
    /// `governance.closed`.
    pub closed: bool,
}

/// `APPROVER[:ROLE[:DECISION]]`; the decision is `approved` unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who decided.
    pub approver: String,
    /// In which role.
    pub role: Option<String>,
    /// `approved` or `refused`.
    pub decision: String,
}

/// `NAME[=ok|failed]`; ok unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it held.
    pub ok: bool,
}

/// A flag's value that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {expected}")]
pub struct FlagError {
    /// As given.
    pub found: String,
    /// The form.
    pub expected: &'static str,
}

impl std::str::FromStr for Approval {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let error = || FlagError { found: text.to_owned(), expected: "APPROVER[:ROLE[:approved|refused]]" };
        let mut parts = text.splitn(3, ':').map(str::trim);
        let approver = parts.next().filter(|part| !part.is_empty()).ok_or_else(error)?.to_owned();
        let role = parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        let decision = parts.next().unwrap_or("approved");
        if !matches!(decision, "approved" | "refused") {
            return Err(error());
        }
        Ok(Self { approver, role, decision: decision.to_owned() })
    }
}

impl std::str::FromStr for Check {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let error = || FlagError { found: text.to_owned(), expected: "NAME, NAME=ok or NAME=failed" };
        let (name, ok) = match text.rsplit_once('=') {
            None => (text, true),
            Some((name, "ok")) => (name, true),
            Some((name, "failed")) => (name, false),
            Some(_) => return Err(error()),
        };
        if name.trim().is_empty() {
            return Err(error());
        }
        Ok(Self { name: name.trim().to_owned(), ok })
    }
}

impl Said {
    /// The sections it makes in an event of `phase` at `timestamp`.
    pub fn sections(&self, phase: Phase, timestamp: &str) -> Sections {
        let mut sections = Sections::new();
        sections.add_some(
            "target",
            object([("cloud", text(self.cloud.as_ref())), ("cluster_endpoint_id", text(self.endpoint.as_ref()))]),
        );
        sections.add_some(
            "plan",
            object([("commands", list(&self.commands)), ("approvals", list(&self.approvals_needed))]),
        );
        let checks: Vec<Value> = self.checks.iter().map(|check| json!({"type": check.name, "ok": check.ok})).collect();
        let (before, after) = if phase == Phase::Verify { (Vec::new(), checks) } else { (checks, Vec::new()) };
        let approvals: Vec<Value> = self.approvals.iter().map(|approval| approval.value(timestamp)).collect();
        sections.add_some("preflight", object([("checks", array(before)), ("approvals", array(approvals))]));
        sections.add_some("verification", object([("checks", array(after))]));
        let governance = [
            ("visibility", text(self.visibility.as_ref())),
            ("owner", text(self.owner.as_ref())),
            ("closed", self.closed.then_some(Value::Bool(true))),
        ];
        sections.add_some("governance", object(governance));
        let available = (!self.rollback.is_empty()).then_some(Value::Bool(true));
        sections.add_some("rollback", object([("available", available), ("plan", list(&self.rollback))]));
        sections
    }
}

impl Approval {
    fn value(&self, at: &str) -> Value {
        let members = [
            ("approver", Some(self.approver.as_str().into())),
            ("role", text(self.role.as_ref())),
            ("decision", Some(self.decision.as_str().into())),
            ("at", Some(at.into())),
        ];
        object(members).unwrap_or_default()
    }
}

/// The event as one line of JSON. The same fields and sections give the same bytes.
pub fn event(fields: &Fields, sections: &Sections) -> Vec<u8> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        provisioning_event: Event<'a>,
    }
    // Serialising strings, numbers and maps with string keys into memory has no way to fail.
    serde_json::to_vec(&Envelope { provisioning_event: Event { fields, sections } }).unwrap_or_default()
}

/// Milliseconds since 1970 as RFC 3339 in UTC, always with three decimals; what lies outside years −9999 to 9999 is clamped.
pub fn rfc3339(unix_ms: i64) -> String {
    let at = Timestamp::from_millisecond(unix_ms).unwrap_or(if unix_ms < 0 { Timestamp::MIN } else { Timestamp::MAX });
    format!("{at:.3}")
}

/// A UUID version 7 (RFC 9562) of a time and ten random bytes.
pub fn uuid_v7(unix_ms: u64, random: [u8; 10]) -> String {
    let [_, _, time @ ..] = unix_ms.to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&time);
    bytes[6..].copy_from_slice(&random);
    bytes[6] = bytes[6] & 0x0f | 0x70;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

struct Event<'a> {
    fields: &'a Fields,
    sections: &'a Sections,
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Fields {
            id,
            timestamp,
            phase,
            change,
            environment,
            class,
            attempt,
            probe,
            request,
            source,
            initiator,
            tenant,
            reason,
            ticket,
        } = self.fields;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("timestamp", timestamp)?;
        map.serialize_entry("phase", phase.as_str())?;
        for (name, value) in [("change_id", change), ("environment", environment), ("change_class", class)] {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(attempt) = attempt {
            map.serialize_entry("attempt", attempt)?;
        }
        if *probe {
            map.serialize_entry("probe", probe)?;
        }
        let intent = [
            ("request", text(request.as_ref())),
            ("source", Some(source.as_str().into())),
            ("initiator", Some(initiator.as_str().into())),
            ("tenant", Some(tenant.as_str().into())),
            ("reason", text(reason.as_ref())),
            ("ticket", text(ticket.as_ref())),
        ];
        let mut intent = object(intent).unwrap_or_default();
        if let Some(more) = self.sections.get("intent") {
            merge(&mut intent, more.clone());
        }
        map.serialize_entry("intent", &intent)?;
        for (name, value) in self.sections.0.iter().filter(|(name, _)| name != "intent") {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn text(value: Option<&String>) -> Option<Value> {
    value.map(|value| Value::String(value.clone()))
}

fn list(values: &[String]) -> Option<Value> {
    array(values.iter().cloned().map(Value::String).collect())
}

fn array(values: Vec<Value>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::Array(values))
}

/// The members that have a value; `None` if none has.
pub(crate) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Option<Value> {
    let members: Map<String, Value> =
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

fn merge(known: &mut Value, value: Value) {
    match (known, value) {
        (Value::Object(known), Value::Object(members)) => {
            for (name, value) in members {
                match known.get_mut(&name) {
                    Some(old) => merge(old, value),
                    None => drop(known.insert(name, value)),
                }
            }
        }
        (Value::Array(known), Value::Array(items)) => known.extend(items),
        (known, value) => *known = value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields {
            id: "e-1".into(),
            timestamp: rfc3339(1_760_011_200_123),
            phase: Phase::Preflight,
            change: Some("chg-1".into()),
            environment: None,
            class: None,
            attempt: None,
            probe: false,
            request: None,
            source: "api".into(),
            initiator: "alice".into(),
            tenant: "acme".into(),
            reason: None,
            ticket: Some("OPS-7".into()),
        }
    }

    #[test]
    fn an_event_has_what_was_given_and_nothing_else() {
        let said = Said {
            approvals: vec!["bob:platform-owners".parse().unwrap()],
            checks: vec!["quota".parse().unwrap(), "dry-run=failed".parse().unwrap()],
            ..Said::default()
        };
        let fields = fields();
        let bytes = event(&fields, &said.sections(fields.phase, &fields.timestamp));
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"provisioning_event":{"id":"e-1","timestamp":"2025-10-09T12:00:00.123Z","phase":"preflight","change_id":"chg-1","#.to_owned()
                + r#""intent":{"initiator":"alice","source":"api","tenant":"acme","ticket":"OPS-7"},"#
                + r#""preflight":{"approvals":[{"approver":"bob","at":"2025-10-09T12:00:00.123Z","decision":"approved","role":"platform-owners"}],"#
                + r#""checks":[{"ok":true,"type":"quota"},{"ok":false,"type":"dry-run"}]}}}"#
        );
    }

    #[test]
    fn checks_go_where_the_phase_says() {
        let said = Said { checks: vec![Check { name: "rollout".into(), ok: true }], ..Said::default() };
        let name = |phase| said.sections(phase, "t").0.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(name(Phase::Verify), ["verification"]);
        assert_eq!(name(Phase::Plan), ["preflight"]);
    }

    #[test]
    fn flags_are_read_or_refused() {
        let approval = |text: &str| text.parse::<Approval>().map(|a| (a.approver, a.role, a.decision)).ok();
        assert_eq!(approval("bob"), Some(("bob".into(), None, "approved".into())));
        assert_eq!(approval("bob:cab:refused"), Some(("bob".into(), Some("cab".into()), "refused".into())));
        assert_eq!(approval("bob::refused"), Some(("bob".into(), None, "refused".into())));
        for bad in ["", ":cab", "bob:cab:perhaps", "bob:cab:approved:x"] {
            assert_eq!(approval(bad), None, "{bad}");
        }
        for bad in ["", "=ok", "quota=maybe"] {
            assert!(bad.parse::<Check>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sections_merge() {
        let mut sections = Sections::new();
        sections.add("plan", json!({"commands": ["a"], "window": "x"}));
        sections.add("plan", json!({"commands": ["b"], "window": "y"}));
        assert_eq!(sections.0, [("plan".to_owned(), json!({"commands": ["a", "b"], "window": "y"}))]);
    }

    #[test]
    fn uuids_are_of_version_7() {
        // The example of RFC 9562, appendix A.6.
        let random = [0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f];
        assert_eq!(uuid_v7(0x017F_22E2_79B0, random), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn times_are_clamped_never_a_panic() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(i64::MAX).starts_with("9999-"));
        assert!(rfc3339(i64::MIN).starts_with("-009999-"));
    }
}

//! An order to the workers: what somebody tells them to do with a change that is under way, as an event of phase audit, so that it is on record who
//! gave it and why. The command line and the server's door make the same event of it, and refuse the same.
//!
//! Left out: what becomes of it ([`crate::course`], [`crate::execute`]), and whether whoever gives it may.

use schemas::ids::{ChangeId, Phase};
use serde_json::{Value, json};

use crate::build::{Fields, Sections};
use crate::own;
use crate::request::json::JsonError;

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing more is started.
    Pause,
    /// It goes on.
    Resume,
    /// What runs is ended, and nothing more is started.
    Cancel,
    /// What was done is taken back.
    Rollback,
    /// It is proved that what was done, or would be, can be taken back.
    RollbackDryRun,
    /// What was verified is compared with what is there.
    DriftCheck,
}

/// The longest name and reason, in bytes.
const NAME_MAX: usize = 256;
const REASON_MAX: usize = 4_096;

/// Where no reason was given.
pub const NO_REASON: &str = "no reason was given";

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pause, Self::Resume, Self::Cancel, Self::Rollback, Self::RollbackDryRun, Self::DriftCheck];

    /// Its word in the event: `order.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Rollback => "rollback",
            Self::RollbackDryRun => "rollback_dry_run",
            Self::DriftCheck => "drift_check",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub kind: Kind,
    /// Who says so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What its event says that neither the order nor the change does.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// Its id.
    pub id: &'a str,
    /// The change.
    pub change: &'a ChangeId,
    /// Whose.
    pub tenant: &'a str,
    /// RFC 3339.
    pub timestamp: &'a str,
}

impl Order {
    /// Reads a document: `{"kind", "by", "reason"?}`, closed, so that a misspelt member is told.
    pub fn read(bytes: &[u8]) -> Result<Self, JsonError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| wrong("the document", format!("no JSON: {error}"), "an order as a JSON object"))?;
        let Value::Object(members) = value else {
            return Err(wrong("the document", "no object".to_owned(), "an order as a JSON object"));
        };
        if let Some(name) = members.keys().find(|name| !["kind", "by", "reason"].contains(&name.as_str())) {
            return Err(wrong(&format!("/{name}"), "a member".to_owned(), "kind, by and reason, and nothing else"));
        }
        let kinds = Kind::ALL.map(Kind::as_str).join(", ");
        let found = |name: &str| members.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string);
        let kind = members.get("kind").and_then(Value::as_str).and_then(Kind::parse);
        let kind = kind.ok_or_else(|| wrong("/kind", found("kind"), &format!("one of {kinds}")))?;
        let by = members.get("by").and_then(Value::as_str).map(str::trim).filter(|by| is_text(by, NAME_MAX));
        let by = by.ok_or_else(|| wrong("/by", found("by"), "who gives the order"))?.to_owned();
        let reason = match members.get("reason") {
            None | Some(Value::Null) => NO_REASON.to_owned(),
            Some(Value::String(reason)) if is_text(reason, REASON_MAX) => reason.clone(),
            Some(_) => return Err(wrong("/reason", found("reason"), "text, why")),
        };
        Ok(Self { kind, by, reason })
    }

    /// Why the order can't be carried out on a change as it stands (`change.json`), if it can't; what was asked for too late, or of nothing,
    /// is not put on record as if somebody would do it.
    pub fn objection(&self, change: &Value) -> Option<String> {
        let id = change["change"].as_str().unwrap_or_default();
        let is_closed = change["state"] == "closed";
        match self.kind {
            Kind::Rollback if is_closed => Some(format!(
                "change {id} is closed; what it made is taken back by a change of its own: upm request \"delete …\""
            )),
            // It would end the change: whoever executes takes it for the order to stop.
            Kind::Rollback if !was_executed(change) => Some(format!(
                "nothing was executed in change {id}, so there is nothing to take back; to have it never executed: upm change cancel"
            )),
            Kind::Pause | Kind::Resume | Kind::Cancel if is_closed => {
                Some(format!("change {id} is closed, so nothing of it is left to {}", self.kind.as_str()))
            }
            _ => None,
        }
    }

    /// Its event, of the last attempt that was asked for in a change as it stands (`change.json`).
    pub fn event(&self, change: &Value, naming: &Naming<'_>) -> (Fields, Sections) {
        let text = |name: &str| change[name].as_str().map(str::to_owned);
        let attempt = attempt_of(change).filter(|number| *number > 1);
        let fields = Fields {
            id: naming.id.to_owned(),
            timestamp: naming.timestamp.to_owned(),
            phase: Phase::Audit,
            change: Some(naming.change.to_string()),
            environment: text("environment"),
            class: text("class"),
            attempt,
            probe: change["probe"] == true,
            request: None,
            source: text("source").unwrap_or_else(|| "api".to_owned()),
            // Whoever pauses a change did not ask for it.
            initiator: text("initiator").unwrap_or_else(|| self.by.clone()),
            tenant: naming.tenant.to_owned(),
            reason: None,
            ticket: None,
        };
        let mut sections = Sections::new();
        sections.add("order", json!({"kind": self.kind.as_str(), "by": self.by, "reason": self.reason}));
        (fields, sections)
    }
}

/// The attempt that an order is about: the last one that was asked for, as workers see it, whatever somebody says of others. In a change that the workers were not
/// asked for, the last one.
fn attempt_of(change: &Value) -> Option<u32> {
    let number = |moment: &Value| moment["attempt"].as_u64().and_then(|number| u32::try_from(number).ok());
    let asks = |moment: &&Value| moment["phase"] == "plan" && moment["producer"].as_str().is_some_and(own::may_ask);
    let asked = moments(change).iter().filter(asks).filter_map(number).max();
    asked.or_else(|| {
        let attempts = change["attempts"].as_array().map_or(&[][..], Vec::as_slice);
        attempts.iter().filter_map(number).max()
    })
}

/// Whether anything says that the attempt that an order would be about was begun.
fn was_executed(change: &Value) -> bool {
    let attempt = u64::from(attempt_of(change).unwrap_or(1));
    let executes = |moment: &Value| {
        let has = moment["has"].as_array().is_some_and(|has| has.iter().any(|name| name == "execution"));
        moment["attempt"] == attempt && has
    };
    moments(change).iter().any(executes)
}

fn moments(change: &Value) -> &[Value] {
    change["timeline"].as_array().map_or(&[], Vec::as_slice)
}

fn is_text(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && text.len() <= most
}

fn wrong(path: &str, found: String, expected: &str) -> JsonError {
    JsonError { path: path.to_owned(), found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_an_order_or_says_what_is_wrong() {
        let read = |text: &str| Order::read(text.as_bytes());
        let order = read(r#"{"kind": "pause", "by": " olga ", "reason": "the pager rings"}"#).expect("an order");
        assert_eq!((order.kind, order.by.as_str(), order.reason.as_str()), (Kind::Pause, "olga", "the pager rings"));
        assert_eq!(read(r#"{"kind": "rollback_dry_run", "by": "olga"}"#).expect("an order").reason, NO_REASON);
        for (text, path) in [
            ("[]", "the document"),
            ("{", "the document"),
            (r#"{"kind": "paus", "by": "olga"}"#, "/kind"),
            (r#"{"by": "olga"}"#, "/kind"),
            (r#"{"kind": "pause"}"#, "/by"),
            (r#"{"kind": "pause", "by": " "}"#, "/by"),
            (r#"{"kind": "pause", "by": "olga", "reason": 7}"#, "/reason"),
            (r#"{"kind": "pause", "by": "olga", "whom": "me"}"#, "/whom"),
        ] {
            assert_eq!(read(text).expect_err(text).path, path, "{text}");
        }
    }

    #[test]
    fn what_is_over_is_neither_stopped_nor_taken_back() {
        let of = |kind| Order { kind, by: "olga".to_owned(), reason: NO_REASON.to_owned() };
        let change = |state: &str| json!({"change": "c-1", "state": state, "timeline": [{"attempt": 1, "phase": "execute", "has": ["execution"]}]});
        for kind in [Kind::Pause, Kind::Resume, Kind::Cancel, Kind::Rollback] {
            assert!(of(kind).objection(&change("closed")).is_some_and(|why| why.contains("c-1 is closed")), "{kind:?}");
        }
        // A look changes nothing, and a verified change is closed.
        for kind in [Kind::DriftCheck, Kind::RollbackDryRun] {
            assert_eq!(of(kind).objection(&change("closed")), None);
        }
        assert!(Kind::ALL.into_iter().all(|kind| of(kind).objection(&change("executed")).is_none()));
    }

    #[test]
    fn only_what_was_begun_can_be_taken_back() {
        let moment = |attempt: u64, phase: &str, has: &[&str]| json!({"attempt": attempt, "phase": phase, "producer": "request", "has": has});
        let objection = |moments: &[Value]| {
            let order = Order { kind: Kind::Rollback, by: "olga".to_owned(), reason: NO_REASON.to_owned() };
            order.objection(&json!({"change": "c-1", "state": "planned", "timeline": moments}))
        };
        let planned =
            [moment(1, "plan", &["plan"]), moment(1, "execute", &["execution"]), moment(2, "plan", &["plan"])];
        assert!(objection(&planned).is_some_and(|why| why.contains("nothing was executed in change c-1")));
        assert_eq!(objection(&[&planned[..], &[moment(2, "execute", &["execution"])]].concat()), None);
    }

    #[test]
    fn an_order_is_about_the_attempt_that_was_asked_for() {
        let moment = |attempt: u64, phase: &str, producer: &str| json!({"attempt": attempt, "phase": phase, "producer": producer});
        let all = [
            moment(1, "plan", "request"),
            moment(2, "plan", "request"),
            moment(7, "plan", "mallory"),
            moment(1 << 53, "audit", "request"),
        ];
        let attempts = json!([{"attempt": 1}, {"attempt": 2}, {"attempt": 7}, {"attempt": 1_u64 << 53}]);
        assert_eq!(attempt_of(&json!({"timeline": all, "attempts": attempts})), Some(2));
        assert_eq!(attempt_of(&json!({"timeline": all[2..], "attempts": attempts})), Some(7));
        assert_eq!(attempt_of(&json!({})), None);
    }

    #[test]
    fn its_event_is_of_the_newest_attempt_and_keeps_who_asked() {
        let order = Order { kind: Kind::Cancel, by: "olga".to_owned(), reason: "why".to_owned() };
        let change = json!({"change": "c-1", "state": "executed", "initiator": "ines", "source": "chatops", "environment": "test",
            "attempts": [{"attempt": 1}, {"attempt": 2}]});
        let id = ChangeId::parse("c-1").expect("an id");
        let naming = Naming { id: "order-1", change: &id, tenant: "acme", timestamp: "2026-11-30T12:00:00Z" };
        let (fields, sections) = order.event(&change, &naming);
        assert_eq!((fields.attempt, fields.initiator.as_str(), fields.source.as_str()), (Some(2), "ines", "chatops"));
        assert_eq!(sections.get("order"), Some(&json!({"kind": "cancel", "by": "olga", "reason": "why"})));
    }
}

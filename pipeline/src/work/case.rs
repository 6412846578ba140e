//! A change as it stands when a worker is woken.

use std::collections::BTreeMap;

use projector::document::{ChangeDocument, Context, Entry, document};
use schemas::ids::{ChangeId, EventId, Tenant};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use workers::preflight::{Planned, Requested};

use super::{Record, RecordError, Stored, own};

/// A change as it stands when a worker is woken.
#[derive(Debug, Clone)]
pub struct Case {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub change: ChangeId,
    /// Its events, oldest first.
    pub entries: Vec<Stored>,
}

impl Case {
    /// Of a change's events, oldest first. Events of attempts beyond the last one that was asked for say nothing: whoever may publish must not move a change to an
    /// attempt that nobody has asked for.
    pub fn new(tenant: Tenant, change: ChangeId, entries: Vec<Stored>) -> Self {
        let asked = entries.iter().filter(|stored| is_request(stored, stored.event()));
        let asked = asked.map(|stored| attempt_of(stored.event())).filter(|attempt| *attempt <= ATTEMPT_MAX).max();
        let mut entries = entries;
        if let Some(last) = asked {
            entries.retain(|stored| attempt_of(stored.event()) <= last);
        }
        Self { tenant, change, entries }
    }

    /// A change as the ledger has it now; without entries where it has none.
    pub async fn read(record: &dyn Record, tenant: &Tenant, change: &ChangeId) -> Result<Self, RecordError> {
        Ok(Self::new(tenant.clone(), change.clone(), record.change(tenant, change).await?))
    }

    /// The same change as it is now.
    pub async fn again(&self, record: &dyn Record) -> Result<Self, RecordError> {
        Self::read(record, &self.tenant, &self.change).await
    }

    /// Each entry with its event (what `provisioning_event` holds), oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = (&Stored, &Value)> {
        self.entries.iter().map(|stored| (stored, stored.event()))
    }

    /// The same of one attempt.
    pub fn of_attempt(&self, attempt: u64) -> impl DoubleEndedIterator<Item = (&Stored, &Value)> {
        self.events().filter(move |(_, event)| attempt_of(event) == attempt)
    }

    /// The highest attempt: the one that is under way.
    pub fn attempt(&self) -> u64 {
        self.events().map(|(_, event)| attempt_of(event)).max().unwrap_or(1)
    }

    /// The first request with this id. Ids are not unique, and an event of somebody else that has taken one is none.
    pub fn request_by_id(&self, id: &str) -> Option<(&Stored, &Value)> {
        self.events().find(|(stored, event)| stored.header.id.as_str() == id && is_request(stored, event))
    }

    /// The highest attempt that was asked for or planned; 0 where none was.
    pub fn reached(&self) -> u64 {
        let begun = |(stored, event): &(&Stored, &Value)| is_request(stored, event) || event["plan"].is_object();
        let attempts = self.events().filter(begun).map(|(_, event)| attempt_of(event));
        attempts.filter(|attempt| *attempt <= ATTEMPT_MAX).max().unwrap_or(0)
    }

    /// The newest plan of an attempt.
    pub fn plan(&self, attempt: u64) -> Option<(&Stored, &Value)> {
        self.of_attempt(attempt).rev().find(|(_, event)| event["plan"].is_object())
    }

    /// The plan that an attempt is executed by: the newest one before the executor's first word. A later one is not what was approved and begun.
    pub fn plan_in_force(&self, attempt: u64) -> Option<(&Stored, &Value)> {
        let begins =
            |(stored, event): &(&Stored, &Value)| event["execution"].is_object() && stored.is_by(super::execute::NAME);
        let began = self.of_attempt(attempt).find(begins).map_or(u64::MAX, |(stored, _)| stored.index);
        self.of_attempt(attempt).rev().find(|(stored, event)| stored.index < began && event["plan"].is_object())
    }

    /// The first request of an attempt, else the newest of any: what came in by the door for requests, which takes one for each attempt. What somebody says
    /// afterwards to have been asked for changes neither who asked nor where. Changes without one are none of the workers'.
    pub fn request(&self, attempt: u64) -> Option<(&Stored, &Value)> {
        let asks = |(stored, event): &(&Stored, &Value)| is_request(stored, event);
        self.of_attempt(attempt).find(asks).or_else(|| self.events().rev().find(asks))
    }

    /// The same as preflight reads it, with the class of an earlier attempt where it names none.
    pub fn requested(&self, attempt: u64) -> Option<Requested<'_>> {
        let (_, event) = self.request(attempt)?;
        let mut firsts = BTreeMap::new();
        for (_, asking) in self.events().filter(|(stored, event)| is_request(stored, event)) {
            firsts.entry(attempt_of(asking)).or_insert(asking);
        }
        let earlier = firsts.range(..attempt).rev().filter_map(|(_, &asking)| Requested::of(asking));
        Some(earlier.fold(Requested::of(event)?, Requested::or_class_of))
    }

    /// A plan of an attempt, held against all that the record says of it beside the plan.
    pub fn held(&self, attempt: u64, planned: Planned) -> Planned {
        let planned = match self.requested(attempt) {
            Some(requested) => planned.asked_by(requested),
            None => planned,
        };
        planned.affecting(self.of_attempt(attempt).map(|(_, event)| event))
    }

    /// Whether an attempt is at its end.
    pub fn is_closed(&self, attempt: u64) -> bool {
        self.of_attempt(attempt).any(|(_, event)| event["governance"]["closed"] == Value::Bool(true))
    }

    /// The newest order of an attempt: pause, resume, cancel or rollback, where one was given.
    pub fn order(&self, attempt: u64) -> Option<(&Stored, &str)> {
        self.of_attempt(attempt).rev().find_map(|(stored, event)| Some((stored, event["order"]["kind"].as_str()?)))
    }

    /// The change as the projector tells it.
    pub fn document(&self, context: &Context) -> ChangeDocument {
        document(&self.change, &self.views(), context)
    }

    /// What the projector reads.
    pub fn views(&self) -> Vec<Entry<'_>> {
        let entries = self.entries.iter();
        entries
            .map(|stored| Entry { index: stored.index, header: &stored.header, payload: stored.payload.as_deref() })
            .collect()
    }

    /// The id of an event that says `what` of an attempt: the same for every worker that comes to say it.
    pub fn event_id(&self, attempt: u64, what: &str) -> String {
        event_id(&self.change, attempt, what)
    }
}

/// The last number that an attempt may have: what a request can ask for.
const ATTEMPT_MAX: u64 = u32::MAX as u64;

/// What came in by the door for requests, or what the drift worker asks for: nobody else's word for it.
fn is_request(stored: &Stored, event: &Value) -> bool {
    own::may_ask(stored) && event["request"].is_object()
}

/// See [`Case::event_id`]. An id that would be too long ends in a digest of itself.
pub fn event_id(change: &ChangeId, attempt: u64, what: &str) -> String {
    let attempt = if attempt == 1 { String::new() } else { format!("{attempt}.") };
    let whole = format!("{change}.{attempt}{}", what.replace(|c: char| c.is_whitespace() || c.is_control(), "-"));
    if EventId::check(&whole).is_ok() {
        return whole;
    }
    let digest = hex::encode(&Sha256::digest(whole.as_bytes())[..16]);
    let kept: String = whole.chars().take(20).collect();
    format!("{kept}.{digest}")
}

/// As the projector reads it: a whole number from 1, else the first.
pub fn attempt_of(event: &Value) -> u64 {
    event["attempt"].as_f64().filter(|number| *number >= 1.0 && number.fract() == 0.0).map_or(1, |number| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 1 on; beyond 2^53 it saturates"
        )]
        let number = number as u64;
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ids_whatever_the_step_is_called() {
        let change = ChangeId::parse("c-42").expect("an id");
        assert_eq!(event_id(&change, 1, "plan"), "c-42.plan");
        assert_eq!(event_id(&change, 2, "step.k8s namespace/a"), "c-42.2.step.k8s-namespace/a");
        let long = ChangeId::parse(&"c".repeat(128)).expect("an id");
        let (one, other) = (event_id(&long, 1, "plan"), event_id(&long, 1, "preflight.1"));
        assert!(EventId::check(&one).is_ok() && EventId::check(&other).is_ok() && one != other, "{one} {other}");
    }

    #[test]
    fn an_attempt_is_a_whole_number_from_one() {
        for (value, expect) in [("null", 1), ("2", 2), ("2.0", 2), ("0", 1), ("1.5", 1), ("\"2\"", 1)] {
            let event = serde_json::from_str(&format!(r#"{{"attempt": {value}}}"#)).expect("JSON");
            assert_eq!(attempt_of(&event), expect, "{value}");
        }
    }
}

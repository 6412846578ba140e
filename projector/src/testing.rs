//! Entries for tests.

use ledger::entry::{EventHeader, Road};
use ledger::hash::Hash;
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeId, EventId, Phase, Producer};
use serde_json::{Value, json};

use crate::document::{ChangeDocument, Context, Entry, document};

/// The log's time of entry 0: 2025-10-09T12:00:00Z, the time of the model's example.
pub(crate) const BORN_S: i64 = 1_760_011_200;

/// The model's own example, verbatim but for whitespace.
pub(crate) const EXAMPLE: &str = include_str!("../testdata/example.json");

/// An event of change `c` and its header.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) header: EventHeader,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn change() -> ChangeId {
    ChangeId::parse("c").unwrap()
}

/// An event of `phase` with these sections, whose outcome nobody has judged.
pub(crate) fn event(phase: &str, sections: &Value) -> Made {
    let mut body = json!({"id": "e", "change_id": "c", "phase": phase, "timestamp": "2025-10-09T12:00:00Z",
        "intent": {"source": "api", "initiator": "ann", "tenant": "acme"}});
    for (name, section) in sections.as_object().unwrap() {
        body[name] = section.clone();
    }
    raw(phase, json!({ "provisioning_event": body }).to_string().into_bytes())
}

/// An event of `phase` with these bytes.
pub(crate) fn raw(phase: &str, payload: Vec<u8>) -> Made {
    let header = EventHeader {
        change: change(),
        seq: 0,
        prev: None,
        id: EventId::parse("e").unwrap(),
        phase: Phase::parse(phase).unwrap(),
        env: None,
        class: None,
        probe: false,
        producer: None,
        has: Has::default(),
        outcome: Outcome::None,
        ts: BORN_S,
        at: 0,
        road: Road { epoch: 0, sequence: 1 },
        commit: Hash([0; 32]),
        size: payload.len() as u64,
        masked: 0,
        rules: Hash([0; 32]),
    };
    Made { header, payload }
}

/// The event as sent by `producer`.
pub(crate) fn by(producer: &str, mut made: Made) -> Made {
    made.header.producer = Some(Producer::parse(producer).unwrap());
    made
}

/// An event that records approvals, sent by the producer `chat`.
pub(crate) fn approving(approvals: &Value) -> Made {
    by("chat", event("preflight", &json!({"preflight": {"checks": [{"ok": true}], "approvals": approvals}})))
}

/// An approval with all that makes it recorded, and these members.
pub(crate) fn approval(members: &Value) -> Value {
    let mut approval =
        json!({"approver": "bob", "role": "owners", "decision": "approved", "at": "2025-10-09T12:00:00Z"});
    for (name, value) in members.as_object().unwrap() {
        approval[name] = value.clone();
    }
    approval
}

/// Gives the events indices from 10 in this order, one second apart, and an id of their own where they have the common one.
pub(crate) fn logged(events: &[Made]) -> Vec<(u64, Made)> {
    let place = |(position, made): (usize, &Made)| {
        let seq = position as u64;
        let at = BORN_S.unsigned_abs() * 1000 + seq * 1000;
        let id = match made.header.id.as_str() {
            "e" => EventId::parse(&format!("e{seq}")).unwrap(),
            _ => made.header.id.clone(),
        };
        (10 + seq, Made { header: EventHeader { seq, at, id, ..made.header.clone() }, payload: made.payload.clone() })
    };
    events.iter().enumerate().map(place).collect()
}

/// The document of these events in this order.
pub(crate) fn told(events: &[Made]) -> ChangeDocument {
    told_with(events, &Context::default())
}

/// The document of these events in this order, with this beside them.
pub(crate) fn told_with(events: &[Made], context: &Context) -> ChangeDocument {
    let logged = logged(events);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    document(&change(), &entries, context)
}

//! Entries for tests.

use ledger::entry::{EventHeader, Road};
use ledger::hash::Hash;
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeId, EventId, Phase};
use serde_json::{Value, json};

use crate::document::{ChangeDocument, Entry, document};

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

/// Gives the events indices from 10 in this order, one second apart.
pub(crate) fn logged(events: &[Made]) -> Vec<(u64, Made)> {
    let place = |(position, made): (usize, &Made)| {
        let seq = position as u64;
        let at = BORN_S.unsigned_abs() * 1000 + seq * 1000;
        (10 + seq, Made { header: EventHeader { seq, at, ..made.header.clone() }, payload: made.payload.clone() })
    };
    events.iter().enumerate().map(place).collect()
}

/// The document of these events in this order.
pub(crate) fn told(events: &[Made]) -> ChangeDocument {
    let logged = logged(events);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    document(&change(), &entries)
}

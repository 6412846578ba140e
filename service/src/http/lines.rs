//! A posted body as single events, byte for byte: NDJSON is cut at line feeds, one JSON document is itself. Nothing is
//! parsed here but the phase, which decides the subject that an event is published to, and the change, whose events keep their order.

use std::ops::Range;

use schemas::ids::{Phase, Subject, Tenant};
use serde::Deserialize;

/// One event of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its line in the body, from 1.
    pub number: u64,
    /// Where its bytes lie in the body.
    pub bytes: Range<usize>,
}

/// The lines of an NDJSON body that are not blank, without their line ends.
pub fn split(body: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (number, text) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        // CR LF ends a line too. Spaces are the event's own: a payload is stored as it was sent.
        let end = start + text.strip_suffix(b"\r").unwrap_or(text).len();
        if !body[start..end].iter().all(u8::is_ascii_whitespace) {
            lines.push(Line { number, bytes: start..end });
        }
        start += text.len() + 1;
    }
    lines
}

/// The subject that an event posted to `tenant` goes to, that of its own phase, and the change that it names. What has no readable phase
/// goes to `audit`, where admission refuses it with the same reason as anywhere: the door decides, not this peek.
pub fn addressed(tenant: &Tenant, event: &[u8]) -> (Subject, Option<String>) {
    let peek = serde_json::from_slice::<Peek<'_>>(event).ok().map(|peek| peek.provisioning_event);
    let phase = peek.as_ref().and_then(|event| Phase::parse(event.phase.as_deref()?).ok());
    let change = peek.and_then(|event| event.change_id.or(event.id)).and_then(|text| match text {
        Text::Text(text) => Some(text.into_owned()),
        Text::Other(serde::de::IgnoredAny) => None,
    });
    (Subject { tenant: tenant.clone(), phase: phase.unwrap_or(Phase::Audit), producer: None }, change)
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    provisioning_event: PeekEvent<'a>,
}

#[derive(Deserialize)]
struct PeekEvent<'a> {
    #[serde(borrow)]
    phase: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    change_id: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
}

/// A text where there should be one; that there is something else must not hide the phase.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
    Other(serde::de::IgnoredAny),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_split(body: &str, expect: &[(u64, &str)]) {
        let found: Vec<_> = split(body.as_bytes()).into_iter().map(|line| (line.number, &body[line.bytes])).collect();
        assert_eq!(found, expect, "{body:?}");
    }

    #[test]
    fn lines_keep_their_number_and_their_bytes() {
        check_split("", &[]);
        check_split("{}", &[(1, "{}")]);
        check_split("{}\n", &[(1, "{}")]);
        check_split("{\"a\":1}\r\n\n \n {} \n", &[(1, "{\"a\":1}"), (4, " {} ")]);
        check_split("\n\nx", &[(3, "x")]);
    }

    #[test]
    fn the_phase_decides_the_subject_and_nonsense_is_left_to_the_door() {
        let tenant = Tenant::parse("acme").unwrap();
        for (event, expect) in [
            (r#"{"provisioning_event":{"id":"x","phase":"execute"}}"#, "upm.events.acme.execute"),
            (r#"{"provisioning_event":{"phase":"pl\u0061n"}}"#, "upm.events.acme.plan"),
            (r#"{"provisioning_event":{"phase":"deploy"}}"#, "upm.events.acme.audit"),
            (r#"{"provisioning_event":{"phase":7}}"#, "upm.events.acme.audit"),
            (r#"{"provisioning_event":{"phase":"plan","id":7,"change_id":{"a":[]}}}"#, "upm.events.acme.plan"),
            (r#"{"provisioning_event":{"phase":"plan","phase":"audit"}}"#, "upm.events.acme.audit"),
            ("nonsense", "upm.events.acme.audit"),
            ("", "upm.events.acme.audit"),
        ] {
            assert_eq!(addressed(&tenant, event.as_bytes()).0.to_string(), expect, "{event}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(addressed(&tenant, deep.as_bytes()).0.to_string(), "upm.events.acme.audit");
    }

    #[test]
    fn the_change_is_the_one_that_admission_finds() {
        let tenant = Tenant::parse("acme").unwrap();
        for (event, expect) in [
            (r#"{"provisioning_event":{"id":"x","change_id":"c\u002d1","phase":"plan"}}"#, Some("c-1")),
            (r#"{"provisioning_event":{"id":"x","phase":"plan"}}"#, Some("x")),
            (r#"{"provisioning_event":{"phase":"plan"}}"#, None),
            ("nonsense", None),
        ] {
            assert_eq!(addressed(&tenant, event.as_bytes()).1.as_deref(), expect, "{event}");
        }
    }
}

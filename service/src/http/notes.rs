//! What an event says that a person who follows a change wants to read at once: why it halts, what it waits for, what does not count. Texts of
//! events are passed on as data; whoever prints them cleans them.

use serde_json::Value;

/// Notes of one event, and characters of one of them.
const NOTES: usize = 50;
const NOTE_CHARS: usize = 600;

/// The notes of a stored event.
pub fn of(payload: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(payload).unwrap_or_default();
    let event = &document["provisioning_event"];
    let (preflight, verification) = (&event["preflight"], &event["verification"]);
    let mut notes = Vec::new();
    for checks in [&preflight["checks"], &verification["checks"]] {
        notes.extend(list(checks).filter(|check| check["ok"] == false).map(|check| named(check, "message")));
    }
    let against = list(&preflight["policies"]).filter(|result| result["ok"] == false);
    notes.extend(against.map(|result| named(result, "message")));
    notes.extend(list(&preflight["waits_for"]).filter_map(Value::as_str).map(|what| format!("waits for: {what}")));
    notes.extend(list(&preflight["approvals_refused"]).map(|refused| {
        let reasons: Vec<&str> = list(&refused["reasons"]).filter_map(Value::as_str).collect();
        let approver = refused["approver"].as_str().unwrap_or("nobody");
        format!("the approval of {approver} does not count: {}", reasons.join(", "))
    }));
    notes.extend(list(&event["refusal"]["reasons"]).filter_map(Value::as_str).map(str::to_owned));
    notes.truncate(NOTES);
    notes.into_iter().map(|note| note.chars().take(NOTE_CHARS).collect()).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `NAME: TEXT`, or one of both.
fn named(value: &Value, text: &str) -> String {
    let name = value["name"].as_str().or(value["type"].as_str()).unwrap_or("a check");
    value[text].as_str().map_or_else(|| format!("{name} failed"), |text| format!("{name}: {text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_in_the_way_is_told() {
        let event = json!({"provisioning_event": {
            "preflight": {
                "checks": [{"name": "area/north", "ok": false, "message": "it is missing"}, {"name": "ls", "ok": true}],
                "policies": [{"name": "P-1", "ok": false, "message": "no"}, {"name": "P-2", "ok": true, "message": "fine"}],
                "waits_for": ["one more approval"],
                "approvals_refused": [{"approver": "ines", "reasons": ["the approver asked for the change"]}],
            },
            "refusal": {"reasons": ["not understood"]},
        }});
        let expect = [
            "area/north: it is missing",
            "P-1: no",
            "waits for: one more approval",
            "the approval of ines does not count: the approver asked for the change",
            "not understood",
        ];
        assert_eq!(of(event.to_string().as_bytes()), expect);
    }

    #[test]
    fn an_event_of_another_shape_has_none() {
        for payload in
            ["", "[]", "{}", r#"{"provisioning_event": {"preflight": {"checks": 1, "policies": {}}, "refusal": []}}"#]
        {
            assert_eq!(of(payload.as_bytes()), [""; 0], "{payload}");
        }
        let many = json!({"provisioning_event": {"refusal": {"reasons": vec!["x".repeat(2_000); 90]}}});
        let notes = of(many.to_string().as_bytes());
        assert!(notes.len() == NOTES && notes.iter().all(|note| note.chars().count() == NOTE_CHARS));
    }
}

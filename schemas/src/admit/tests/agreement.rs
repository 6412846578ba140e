//! Admission, the JSON Schema read by a full implementation, and the Rust types agree on what an event is.

use super::*;
use std::sync::LazyLock;

static SCHEMA_VALUE: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(SCHEMA).unwrap());

static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    assert!(jsonschema::meta::is_valid(&SCHEMA_VALUE));
    jsonschema::options()
        .with_format("utf8-128", |text: &str| text.len() <= 128)
        .with_format("utf8-32", |text: &str| text.len() <= 32)
        .should_validate_formats(true)
        .build(&SCHEMA_VALUE)
        .unwrap()
});

/// Whether all three say the same of a document that passes the byte scan; documents that do not are left out.
fn agree(document: &[u8]) -> Result<(), TestCaseError> {
    let mut tape = scan::Tape::default();
    if tape.scan(document, LIMITS).is_err() {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(document).unwrap();
    let theirs = VALIDATOR.is_valid(&value);
    let ours = check::check(document, tape.tokens());
    let text = String::from_utf8_lossy(document);
    prop_assert_eq!(ours.is_ok(), theirs, "{:?}\n{}", ours, text);
    if let Ok(checked) = ours {
        let event = Event::parse(document);
        prop_assert!(event.is_ok(), "{:?}\n{}", event, text);
        let event = event.unwrap();
        let body = &value["provisioning_event"];
        let change = body["change_id"].as_str().or(body["id"].as_str());
        prop_assert_eq!(change, Some(checked.facts.change.as_str()));
        prop_assert_eq!(body["intent"]["tenant"].as_str(), Some(checked.tenant.as_str()));
        prop_assert_eq!(body["probe"].as_bool().unwrap_or_default(), checked.facts.probe);
        prop_assert_eq!(typed_outcome(&event), checked.facts.outcome, "{}", text);
    }
    Ok(())
}

/// The table of FORMATS once more, over the typed event.
fn typed_outcome(event: &Event<'_>) -> Outcome {
    use crate::rules::{is_failure, is_refusal};
    let rc_failed = |steps: &[crate::event::Step<'_>]| steps.iter().any(|step| step.rc.is_some_and(|rc| rc != 0.0));
    if let Some(executed) = event.rollback.as_ref().and_then(|rollback| rollback.executed.as_ref()) {
        let failed = executed.outcome.as_ref().is_some_and(|word| is_failure(word)) || rc_failed(&executed.steps);
        return if failed { Outcome::RollbackFailed } else { Outcome::RolledBack };
    }
    let execution = event.execution.clone().unwrap_or_default();
    let preflight = event.preflight.clone().unwrap_or_default();
    let verification = event.verification.clone().unwrap_or_default();
    let checks = preflight.checks.iter().chain(&verification.checks).chain(&verification.slo);
    if rc_failed(&execution.steps) || checks.clone().any(|check| check.ok == Some(false)) {
        return Outcome::Failed;
    }
    let no = |word: &Option<crate::event::Text<'_>>| word.as_ref().is_some_and(|word| is_refusal(word));
    let denied = |policy: &crate::event::Policy<'_>| {
        policy.mandatory != Some(false) && (policy.ok == Some(false) || no(&policy.decision))
    };
    if preflight.approvals.iter().any(|approval| no(&approval.decision)) || preflight.policies.iter().any(denied) {
        return Outcome::Refused;
    }
    let judged = execution.steps.len() + checks.count() + preflight.approvals.len() + preflight.policies.len();
    if judged > 0 { Outcome::Passed } else { Outcome::None }
}

/// An event with this JSON at this place.
fn with(pointer: &str, value: &str) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(&event(json!({}))).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(&format!("/provisioning_event{parent}")).unwrap()[name] = json!("PLACE");
    document.to_string().replace("\"PLACE\"", value).into_bytes()
}

#[test]
fn ids() {
    let mut values: Vec<String> = [
        r#""""#,
        r#""a""#,
        r#""a b""#,
        r#""é""#,
        r#""\u00a0""#,
        r#""\u200b""#,
        r#""\u202e""#,
        r#""\n""#,
        "1",
        "null",
        r#""a\u0085""#,
        r#""\u007f""#,
        r#""\ud83d\ude00""#,
        "\"\u{ad}\"",
        "\"\u{61c}x\"",
        "\"\u{fffd}\"",
    ]
    .map(str::to_owned)
    .to_vec();
    values.extend([31, 32, 33, 127, 128, 129].map(|n| format!("{:?}", "x".repeat(n))));
    values.extend([16, 17, 64, 65].map(|n| format!("{:?}", "é".repeat(n))));
    for pointer in ["/id", "/change_id", "/environment"] {
        for value in &values {
            agree(&with(pointer, value)).unwrap();
        }
    }
    for tenant in ["acme", "Acme", "", "-a", "a-", "a_b", "acme\\n", &"a".repeat(63), &"a".repeat(64)] {
        agree(&with("/intent/tenant", &format!("\"{tenant}\""))).unwrap();
    }
}

#[test]
fn times() {
    for time in [
        "2025-10-09T12:00:00Z",
        "2025-10-09t12:00:00z",
        "2025-10-09T12:00:00.123456789012Z",
        "2025-10-09T12:00:60+23:59",
        "2025-10-09T12:00:61Z",
        "2024-02-29T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "0000-02-29T00:00:00Z",
        "0004-02-29T00:00:00Z",
        "2025-04-31T00:00:00Z",
        "2025-12-31T00:00:00Z",
        "2025-00-10T00:00:00Z",
        "2025-10-00T00:00:00Z",
        "2025-10-09T24:00:00Z",
        "2025-10-09T12:60:00Z",
        "2025-10-09T12:00:00",
        "2025-10-09T12:00:00+24:00",
        "2025-10-09T12:00:00-12:60",
        "2025-10-09T12:00:00.Z",
        "2025-10-09 12:00:00Z",
        "2025-10-09T12:00:00Z\\n",
        "\\n2025-10-09T12:00:00Z",
        "",
    ] {
        agree(&with("/timestamp", &format!("\"{time}\""))).unwrap();
    }
}

#[test]
fn numbers_and_odd_documents() {
    for value in [
        "1",
        "1.0",
        "-1e2",
        "1.5",
        "1e15",
        "1e16",
        "9007199254740992.0",
        "9007199254740993.0",
        "9007199254740994.0",
        "1e300",
        "1e-400",
        "\"1\"",
        "true",
        "null",
        "-0.0",
        "0.1e1",
    ] {
        agree(&with("/attempt", value)).unwrap();
    }
    let bare = ["{}", "[]", "null", "1", r#"{"provisioning_event":null}"#, r#"{"provisioning_event":{}}"#];
    for document in bare {
        agree(document.as_bytes()).unwrap();
    }
    agree(MODEL).unwrap();
}

/// A value of some type that may stand anywhere.
fn any_value() -> impl Strategy<Value = Value> {
    let words =
        ["", "x", "plan", "acme", "failed", "rejected", "approved", "2025-10-09T12:00:00Z", "a b", "é", "\u{200b}"];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        prop::sample::select(vec![0.5, 1.0, -0.0, 1e300, 1e-9]).prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        prop::sample::select(vec![
            json!([]),
            json!({}),
            json!([1, "x"]),
            json!({"ok": false, "rc": 1}),
            json!([{"ok": false, "rc": 1, "decision": "denied"}]),
        ]),
    ]
}

/// A value that the schema describes.
fn described(schema: &'static Value) -> BoxedStrategy<Value> {
    let one_of = |words: &[&'static str]| prop::sample::select(words.to_vec()).prop_map(Value::from).boxed();
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        return match name {
            "event_id" | "change_id" | "environment" => one_of(&["e-1", "änderung", "x/y"]),
            "timestamp" => one_of(&["2025-10-09T12:00:00Z", "2024-02-29T23:59:60.5-01:00"]),
            "tenant" => one_of(&["acme"]),
            "phase" => one_of(&["plan", "preflight", "execute", "verify", "audit"]),
            "whole" => prop_oneof![(-2_i64..3).prop_map(Value::from), Just(json!(0.0)), Just(json!(2.0))].boxed(),
            other => described(&SCHEMA_VALUE["$defs"][other]),
        };
    }
    match schema["type"].as_str() {
        Some("object") => object(schema),
        Some("array") => {
            let items = schema.get("items").map_or_else(|| any_value().boxed(), described);
            prop::collection::vec(items, 0..3).prop_map(Value::from).boxed()
        }
        Some("string") => one_of(&["x", "failed", "Rejected", "approved", "timeout", "emergency"]),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("number") => {
            prop_oneof![any::<i32>().prop_map(Value::from), Just(json!(1e300)), Just(json!(0.25))].boxed()
        }
        _ => any_value().boxed(),
    }
}

fn object(schema: &'static Value) -> BoxedStrategy<Value> {
    let required = |name: &str| schema["required"].as_array().is_some_and(|list| list.contains(&json!(name)));
    let members = schema["properties"].as_object().unwrap().iter().map(|(name, property)| {
        let value = described(property);
        let member =
            if required(name) { value.prop_map(Some).boxed() } else { prop::option::weighted(0.4, value).boxed() };
        let name = name.clone();
        member.prop_map(move |value| value.map(|value| (name.clone(), value))).boxed()
    });
    let members: Vec<_> = members.collect();
    members.prop_map(|members| Value::Object(members.into_iter().flatten().collect())).boxed()
}

fn events() -> BoxedStrategy<Value> {
    described(&SCHEMA_VALUE)
}

/// Replaces the value at the n-th place in document order, or removes it from its object.
fn mutate(value: &mut Value, place: &mut usize, how: Option<&Value>) -> bool {
    if *place == 0 {
        *place = usize::MAX;
        if let Some(with) = how {
            *value = with.clone();
        }
        return how.is_none();
    }
    *place -= 1;
    match value {
        Value::Object(members) => {
            let names: Vec<_> = members.keys().cloned().collect();
            for name in names {
                if mutate(&mut members[&name], place, how) {
                    members.remove(&name);
                }
                if *place == usize::MAX {
                    break;
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                mutate(item, place, how);
                if *place == usize::MAX {
                    break;
                }
            }
        }
        _ => {}
    }
    false
}

fn secrets() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!("--token=abc --password x"),
        json!({"password": {"a": [1, "x", true]}, "--token=abc": 1}),
        json!({"kind": "Secret", "data": {"k": "v"}}),
        json!(["--password", "x", "--token", "--api-key", "k"]),
        json!({"name": "db_password", "value": ["x", 1]}),
        json!({"after": {"a": 1, "b": "x"}, "after_sensitive": {"a": true}}),
        json!("ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8=ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
        json!("-----BEGIN PRIVATE KEY-----\nabc password=[masked:x]"),
        json!("{\"token\":\"{\\\"secret\\\":\\\"x"),
        json!("Authorization: Digest a=\"b\", c"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn generated_events_agree(event in events()) {
        prop_assert!(VALIDATOR.is_valid(&event), "the generator is wrong: {}", event);
        agree(event.to_string().as_bytes())?;
    }

    #[test]
    fn mutated_events_agree(mut event in events(), changes in prop::collection::vec((0_usize..60, prop::option::of(any_value())), 1..4)) {
        for (mut place, how) in changes {
            mutate(&mut event, &mut place, how.as_ref());
        }
        agree(event.to_string().as_bytes())?;
    }

    /// Bytes changed at random in the model's example.
    #[test]
    fn damaged_bytes_agree(changes in prop::collection::vec((0..MODEL.len(), any::<u8>()), 1..4)) {
        let mut document = MODEL.to_vec();
        for (at, byte) in changes {
            document[at] = byte;
        }
        agree(&document)?;
        let subject = subject("upm.events.acme.execute");
        if let Err(rejection) = admit(&subject, &document, &mut Scratch::default()) {
            prop_assert!(!rejection.expected.is_empty());
        }
    }

    /// admit(stored) = stored, whatever was in it.
    #[test]
    fn what_is_stored_is_admitted_again(mut event in events(), texts in prop::collection::vec((0_usize..40, secrets()), 0..4)) {
        for (mut place, text) in texts {
            mutate(&mut event, &mut place, Some(&text));
        }
        let received = event.to_string().into_bytes();
        let mut scratch = Scratch::default();
        if let Ok((subject, admitted)) = admit_unaddressed(&received, &mut scratch) {
            let stored = admitted.payload.to_vec();
            let again = admit(&subject, &stored, &mut scratch).unwrap();
            prop_assert_eq!(&*again.payload, &*stored);
            prop_assert_eq!((again.masked, &again.facts), (admitted.masked, &admitted.facts));
            let derived = derive(&stored, &mut scratch).unwrap();
            prop_assert_eq!(derived, (subject.tenant, subject.phase, admitted.masked, admitted.facts));
        }
    }
}

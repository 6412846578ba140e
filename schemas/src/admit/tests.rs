use super::*;
use crate::event::Event;
use crate::scan;
use proptest::prelude::*;
use serde_json::{Value, json};

mod agreement;
mod hostile;

pub(super) const MODEL: &[u8] = include_bytes!("../../examples/model.json");

fn subject(text: &str) -> Subject {
    Subject::parse(text).unwrap()
}

/// An event of tenant acme in phase plan, with more members.
fn event(more: Value) -> Vec<u8> {
    let mut event = json!({"id": "e-1", "timestamp": "2025-10-09T12:00:00Z", "phase": "plan",
        "intent": {"source": "api", "initiator": "user-123", "tenant": "acme"}});
    let Value::Object(more) = more else { panic!("members") };
    event.as_object_mut().unwrap().extend(more);
    json!({"provisioning_event": event}).to_string().into_bytes()
}

fn admit_plan(received: &[u8]) -> Result<Admitted<'_>, Rejection> {
    admit(&subject("upm.events.acme.plan.ci"), received, &mut Scratch::default())
}

#[test]
fn the_models_example_is_admitted_verbatim() {
    let admitted = admit(&subject("upm.events.acme.execute"), MODEL, &mut Scratch::default()).unwrap();
    assert!(matches!(admitted.payload, Cow::Borrowed(bytes) if bytes == MODEL));
    assert_eq!(admitted.masked, 0);
    let facts = admitted.facts;
    assert_eq!(facts.id.as_str(), "e5f2a4a2-86d1-41b6-a6f3-7a7e2b1c7f10");
    assert_eq!(facts.change.as_str(), facts.id.as_str());
    assert_eq!(facts.has.iter().collect::<Vec<_>>(), ["execution", "plan", "verification"]);
    assert_eq!((facts.outcome, facts.ts, facts.probe), (Outcome::Passed, 1_760_011_200, false));
    assert_eq!((facts.environment, facts.class), (None, None));
}

#[test]
fn eighteen_malformed_inputs_each_with_its_reason() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/malformed");
    let mut seen = std::collections::BTreeSet::new();
    let mut check = |name: &str, bytes: &[u8]| {
        let rejection = admit_plan(bytes).expect_err(name);
        assert_eq!(rejection.reason.as_str(), name);
        assert!(!rejection.expected.is_empty() && !rejection.found.is_empty());
        assert!(rejection.found.chars().count() <= 64);
        assert_eq!(rejection.payload, bytes, "{name} has nothing to mask");
        seen.insert(rejection.reason);
    };
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            check(path.file_stem().unwrap().to_str().unwrap(), &std::fs::read(&path).unwrap());
        }
    }
    let mut large = event(json!({}));
    large.resize(MAX_EVENT_BYTES + 1, b' ');
    check("too_large", &large);
    let expect: std::collections::BTreeSet<_> =
        Reason::ALL.iter().copied().filter(|reason| !reason.as_str().starts_with("control_")).collect();
    assert_eq!(seen, expect);
    assert_eq!(seen.len(), 18);
}

fn refused(more: Value, reason: Reason, path: &str, found: &str) {
    let rejection = admit_plan(&event(more)).unwrap_err();
    assert_eq!((rejection.reason, rejection.path.as_str(), rejection.found.as_str()), (reason, path, found));
}

#[test]
fn reason_path_found() {
    use Reason::{
        BadEnvironment, BadId, BadTimestamp, IntegerTooLarge, MissingField, PhaseMismatch, TenantMismatch,
        UnknownPhase, WrongType,
    };
    refused(json!({"id": 7}), WrongType, "/provisioning_event/id", "7");
    refused(json!({"id": ""}), BadId, "/provisioning_event/id", "\"\"");
    refused(json!({"change_id": "a b"}), BadId, "/provisioning_event/change_id", "\"a b\"");
    refused(json!({"change_id": null}), WrongType, "/provisioning_event/change_id", "null");
    refused(json!({"environment": "a b"}), BadEnvironment, "/provisioning_event/environment", "\"a b\"");
    refused(json!({"timestamp": "yesterday"}), BadTimestamp, "/provisioning_event/timestamp", "\"yesterday\"");
    refused(json!({"timestamp": 1_760_011_200}), WrongType, "/provisioning_event/timestamp", "1760011200");
    refused(json!({"phase": "PLAN"}), UnknownPhase, "/provisioning_event/phase", "\"PLAN\"");
    refused(json!({"phase": "verify"}), PhaseMismatch, "/provisioning_event/phase", "\"verify\"");
    refused(json!({"intent": []}), WrongType, "/provisioning_event/intent", "array");
    let intent = |more: Value| json!({"intent": more});
    refused(
        intent(json!({"source": "api", "tenant": "acme"})),
        MissingField,
        "/provisioning_event/intent/initiator",
        "nothing",
    );
    refused(
        intent(json!({"source": "", "initiator": "u", "tenant": "acme"})),
        MissingField,
        "/provisioning_event/intent/source",
        "\"\"",
    );
    refused(
        intent(json!({"source": "x", "initiator": "u", "tenant": "Acme"})),
        BadId,
        "/provisioning_event/intent/tenant",
        "\"Acme\"",
    );
    refused(
        intent(json!({"source": "x", "initiator": "u", "tenant": "other"})),
        TenantMismatch,
        "/provisioning_event/intent/tenant",
        "\"other\"",
    );
    refused(json!({"plan": {"commands": ["a", {}]}}), WrongType, "/provisioning_event/plan/commands/1", "object");
    refused(json!({"attempt": 1.5}), WrongType, "/provisioning_event/attempt", "1.5");
    refused(json!({"attempt": 1e300}), IntegerTooLarge, "/provisioning_event/attempt", "1e+300");
    for (bytes, path) in
        [(&b"[]"[..], ""), (b"{}", "/provisioning_event"), (b"null", ""), (b"\"provisioning_event\"", "")]
    {
        let rejection = admit_plan(bytes).unwrap_err();
        assert_eq!((rejection.reason, rejection.path.as_str()), (Reason::NotAnEvent, path));
    }
    assert_eq!(admit_plan(br#"{"provisioning_event":[]}"#).unwrap_err().reason, WrongType);
}

#[test]
fn bad_news_and_unknown_words_are_admitted() {
    for more in [
        json!({"intent": {"source": "ci", "initiator": "u", "tenant": "acme"}}),
        json!({"execution": {"agent": "other", "pipe_allow_list": ["sh"], "steps": [{"rc": -9}]}}),
        json!({"governance": {"visibility": "world"}, "change_class": "whatever", "unknown": [1, {"a": null}]}),
        json!({"attempt": 2.0, "audit_trace": [{"ts": "no time", "msg": "x"}], "preflight": {"approvals": [{"expires": "never"}]}}),
    ] {
        admit_plan(&event(more)).unwrap();
    }
}

fn facts(more: Value) -> Facts {
    let received = event(more);
    let (_, admitted) = admit_unaddressed(&received, &mut Scratch::default()).unwrap();
    admitted.facts
}

fn judged(more: &Value, has: &[&str], outcome: Outcome) {
    let facts = facts(more.clone());
    assert_eq!((facts.has.iter().collect::<Vec<_>>(), facts.outcome), (has.to_vec(), outcome), "{more}");
}

#[test]
fn has_and_outcome() {
    use Outcome::{Failed, None, Passed, Refused, RollbackFailed, RolledBack};
    judged(&json!({}), &[], None);
    judged(&json!({"phase": "execute"}), &["execution"], None);
    judged(&json!({"plan": {}}), &[], None);
    judged(&json!({"plan": {"commands": []}}), &["plan"], None);
    judged(&json!({"plan": {"approvals": ["platform-owners"]}}), &["plan"], None);
    judged(&json!({"execution": {"steps": []}}), &[], None);
    judged(&json!({"execution": {"steps": [{}]}}), &["execution"], Passed);
    judged(&json!({"execution": {"steps": [{"rc": 0}, {"rc": -0.0}]}}), &["execution"], Passed);
    judged(&json!({"execution": {"steps": [{"rc": 0}, {"rc": 1}]}}), &["execution"], Failed);
    judged(&json!({"verification": {"checks": [{"ok": true}]}}), &["verification"], Passed);
    judged(&json!({"verification": {"checks": [{"ok": true}, {"ok": false}]}}), &["verification"], Failed);
    judged(&json!({"verification": {"slo": [{"ok": false}]}}), &["verification"], Failed);
    judged(&json!({"verification": {"drift": {}}}), &["verification"], None);
    judged(&json!({"preflight": {"checks": [{"ok": false}]}}), &["preflight"], Failed);
    judged(&json!({"preflight": {"approvals": [{"decision": "approved"}]}}), &["approvals", "preflight"], Passed);
    judged(
        &json!({"preflight": {"approvals": [{"decision": "approved"}, {"decision": "Rejected"}]}}),
        &["approvals", "preflight"],
        Refused,
    );
    judged(&json!({"preflight": {"policies": [{"decision": "deny"}]}}), &["preflight"], Refused);
    judged(&json!({"preflight": {"policies": [{"ok": false, "mandatory": true}]}}), &["preflight"], Refused);
    judged(
        &json!({"preflight": {"policies": [{"ok": false, "mandatory": false}, {"ok": true}]}}),
        &["preflight"],
        Passed,
    );
    judged(&json!({"preflight": {"policies": [{"ok": false}, {"mandatory": false}]}}), &["preflight"], Refused);
    judged(
        &json!({"preflight": {"checks": [{"ok": false}], "approvals": [{"decision": "denied"}]}}),
        &["approvals", "preflight"],
        Failed,
    );
    judged(&json!({"rollback": {"available": true, "plan": ["x"]}}), &[], None);
    judged(&json!({"rollback": {"executed": {}}}), &["rollback"], RolledBack);
    judged(
        &json!({"rollback": {"executed": {"steps": [{"rc": 0}], "outcome": "succeeded"}}}),
        &["rollback"],
        RolledBack,
    );
    judged(
        &json!({"rollback": {"executed": {"steps": [{"rc": 2}], "outcome": "succeeded"}}}),
        &["rollback"],
        RollbackFailed,
    );
    judged(
        &json!({"rollback": {"executed": {"outcome": "FAILED"}}, "execution": {"steps": [{"rc": 1}]}}),
        &["execution", "rollback"],
        RollbackFailed,
    );
    judged(&json!({"governance": {"closed": true}}), &["closed"], None);
    judged(&json!({"governance": {"closed": false}}), &[], None);
}

#[test]
fn other_facts() {
    let facts = facts(json!({"change_id": "c-1", "environment": "prod", "change_class": "emergency", "probe": true,
        "timestamp": "1969-12-31T23:59:59.9Z"}));
    assert_eq!((facts.change.as_str(), facts.id.as_str(), facts.ts), ("c-1", "e-1", -1));
    assert_eq!(facts.environment.unwrap().as_str(), "prod");
    assert_eq!((facts.class, facts.probe), (Some(crate::ids::ChangeClass::Emergency), true));
}

#[test]
fn names_may_be_written_with_escapes() {
    let received = br#"{"provisioning_\u0065vent":{"\u0069d":"e-\u0031","timestamp":"2025-10-09T12:00:00Z","phase":"pl\u0061n","intent":{"source":"api","initiator":"u","tenant":"acm\u0065"}}}"#;
    let admitted = admit_plan(received).unwrap();
    assert_eq!(admitted.facts.id.as_str(), "e-1");
    assert_eq!(&*admitted.payload, received);
}

#[test]
fn a_secret_is_masked_and_the_rest_stays() {
    let received =
        event(json!({"execution": {"steps": [{"cmd": "az login --password hunter2 -o json", "rc": 0}]}, "token": "x"}));
    let admitted = admit_plan(&received).unwrap();
    let text = String::from_utf8(admitted.payload.to_vec()).unwrap();
    assert_eq!(admitted.masked, 2);
    let original = String::from_utf8(received.clone()).unwrap();
    assert_eq!(
        text,
        original.replace("hunter2", "[masked:argument]").replace("\"token\":\"x\"", "\"token\":\"[masked:by-name]\"")
    );
    let again = admit_plan(text.as_bytes()).unwrap();
    assert_eq!((&*again.payload, again.masked, &again.facts), (text.as_bytes(), 2, &admitted.facts));
    let (tenant, phase, masked, facts) = derive(text.as_bytes(), &mut Scratch::default()).unwrap();
    assert_eq!((tenant.as_str(), phase, masked, facts), ("acme", Phase::Plan, 2, again.facts));
}

#[test]
fn fields_that_the_schema_knows_are_not_masked_by_name() {
    let more = json!({"execution": {"credentials": {"kind": "oidc", "ttl_s": 900}}, "preflight": {"approvals": [{"signature": "AAAA", "decision": "approved"}]}});
    let received = event(more);
    assert_eq!(admit_plan(&received).unwrap().masked, 0);
    // What the schema does not know beside them is.
    let received = event(json!({"execution": {"credentials": {"kind": "oidc", "token": "abc", "secret": 5}}}));
    let admitted = admit_plan(&received).unwrap();
    assert_eq!(admitted.masked, 2);
}

#[test]
fn a_secret_in_a_public_name_is_refused_and_not_repeated() {
    let github = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
    for (more, reason) in [
        (json!({"id": github}), Reason::BadId),
        (json!({"change_id": format!("deploy-{github}")}), Reason::BadId),
        (json!({"environment": "password=x"}), Reason::BadEnvironment),
        (json!({"id": "https://u:hunter2@host"}), Reason::BadId),
        (json!({"phase": github}), Reason::UnknownPhase),
        (json!({"timestamp": github}), Reason::BadTimestamp),
        (json!({"attempt": github}), Reason::WrongType),
    ] {
        let received = event(more);
        let rejection = admit_plan(&received).unwrap_err();
        assert_eq!(rejection.reason, reason);
        let all = format!("{rejection:?}{}", String::from_utf8_lossy(&rejection.payload));
        assert!(!all.contains("a1B2c3D4") && !all.contains("hunter2") && !all.contains("password=x"), "{all}");
        assert!(rejection.masked > 0);
    }
    let received = br#"{"provisioning_event":{"id":"\u0067hp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8","timestamp":"2025-10-09T12:00:00Z","phase":"plan","intent":{"source":"api","initiator":"u","tenant":"acme"}}}"#;
    assert_eq!(admit_plan(received).unwrap_err().reason, Reason::BadId);
}

#[test]
fn rejections_carry_no_secret_in_path_or_found() {
    let check = |received: &[u8], reason: Reason| {
        let rejection = admit_plan(received).unwrap_err();
        assert_eq!(rejection.reason, reason);
        let all = format!("{} {} {}", rejection.path, rejection.found, String::from_utf8_lossy(&rejection.payload));
        assert!(!all.contains("a1B2c3D4") && !all.contains("99999999999999999999"), "{all}");
    };
    let github = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
    check(format!(r#"{{"{github}":1,"{github}":2}}"#).as_bytes(), Reason::DuplicateKey);
    check(format!(r#"{{"{github}":[NaN]}}"#).as_bytes(), Reason::NumberNotFinite);
    check(br#"{"password":99999999999999999999}"#, Reason::IntegerTooLarge);
    check(br#"{"p\u0061ssword":[99999999999999999999]}"#, Reason::IntegerTooLarge);
    check(format!(r#"{{"a":1}} {github}"#).as_bytes(), Reason::TrailingData);
    check(format!("\"{github}\"").as_bytes(), Reason::NotAnEvent);
}

#[test]
fn real_documents_as_payload() {
    let plan = include_str!("../../examples/terraform-plan.json");
    let received = event(json!({"plan": {"simulation": serde_json::from_str::<Value>(plan).unwrap()}}));
    let admitted = admit_plan(&received).unwrap();
    let text = String::from_utf8(admitted.payload.into_owned()).unwrap();
    assert!(text.contains(r#""secret_key":{"constant_value":"[masked:by-name]"}"#));
    assert!(text.contains(r#""access_key":{"constant_value":"[masked:by-name]"}"#));
    assert_eq!(admitted.masked, 2);
}

use serde_json::{Value, json};

use super::*;
use crate::testing::{Made, change, event, logged};

fn account(events: &[Made]) -> Account {
    let logged = logged(events);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    let straight = Account::of(&change(), &entries, &Rules::default()).unwrap();
    let mixed: Vec<_> = entries.iter().rev().chain(&entries).copied().collect();
    assert_eq!(Account::of(&change(), &mixed, &Rules::default()).unwrap(), straight, "order and repeats do not matter");
    straight
}

fn target(resources: &Value) -> Value {
    json!({"cloud": "azure", "cluster_endpoint_id": "prod-east", "resources": resources})
}

fn turns(events: &[Made]) -> Vec<(u64, TurnKind)> {
    account(events).turns.iter().map(|turn| (turn.index, turn.kind)).collect()
}

#[test]
fn a_resource_is_named_by_five_members() {
    let resources = json!([
        {"type": "az_aks", "name": "a\"ü\u{7}", "resource_group": "rg", "namespace": "n", "location": "eastus"},
        {"name": "x", "namespace": "n"},
        {"resource_group": 1.0},
    ]);
    let found = account(&[event("execute", &json!({ "target": target(&resources) }))]).turns;
    let found: Vec<_> = found.iter().map(|turn| turn.resource.as_str()).collect();
    let first = r#"{"cloud":"azure","cluster_endpoint_id":"prod-east","name":"a\"ü\u0007","resource_group":"rg","type":"az_aks"}"#;
    let expect = [
        first,
        r#"{"cloud":"azure","cluster_endpoint_id":"prod-east","name":"x","namespace":"n"}"#,
        r#"{"cloud":"azure","cluster_endpoint_id":"prod-east","resource_group":1}"#,
    ];
    assert_eq!(found, expect);
    for text in found {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json_canonicalizer::to_string(&value).unwrap(), text, "RFC 8785");
    }
}

#[test]
fn a_resource_is_managed_once_its_change_named_it_and_executed() {
    use TurnKind::{Managed, Removed};
    let named = event("plan", &json!({"target": target(&json!([{"name": "a"}])), "plan": {}}));
    let ran = event("execute", &json!({"execution": {"steps": [{"rc": 0}]}}));
    let failed = event("execute", &json!({"execution": {"steps": [{"rc": 1}]}}));
    let deletes = event("plan", &json!({"target": target(&json!([{"name": "a", "action": "delete"}]))}));
    let reads = event("plan", &json!({"target": target(&json!([{"name": "a", "action": "read"}]))}));
    assert_eq!(turns(std::slice::from_ref(&named)), []);
    assert_eq!(turns(&[named.clone(), ran.clone()]), [(11, Managed)]);
    assert_eq!(turns(&[ran.clone(), named.clone(), named.clone()]), [(11, Managed)]);
    assert_eq!(turns(&[named.clone(), failed.clone()]), [(11, Managed)], "it may stand half made");
    assert_eq!(turns(&[deletes.clone(), failed.clone()]), [], "it may still stand");
    assert_eq!(turns(&[deletes.clone(), failed, ran.clone()]), [(12, Removed)]);
    assert_eq!(turns(&[reads, ran]), []);
}

#[test]
fn comparing_and_watching_concern_the_targets_of_the_entry_or_else_of_the_change() {
    use TurnKind::{Checked, Unwatched, Watched};
    let named = event("plan", &json!({"target": target(&json!([{"name": "a"}, {"name": "b"}]))}));
    let check = event("verify", &json!({"verification": {"drift": {"diff": [], "monitored": {"by": "x"}}}}));
    let own = event(
        "verify",
        &json!({"target": target(&json!([{"name": "c"}])), "verification": {"drift": {"monitored": false}}}),
    );
    let expect = [(11, Checked), (11, Watched), (11, Checked), (11, Watched), (12, Unwatched)];
    assert_eq!(turns(&[named, check, own]), expect);
}

#[test]
fn turns_depend_on_no_later_entry() {
    let events = [
        event("plan", &json!({"target": target(&json!([{"name": "a"}])), "governance": {"owner": "x"}})),
        event("execute", &json!({})),
        event("verify", &json!({"verification": {"drift": {"diff": []}}, "governance": {"owner": "y"}})),
        event("plan", &json!({"attempt": 2, "target": target(&json!([{"name": "a", "action": "delete"}]))})),
        event("execute", &json!({"attempt": 2, "execution": {"steps": [{"rc": 0}]}})),
    ];
    let all = account(&events).turns;
    for count in 1..=events.len() {
        let some = account(&events[..count]).turns;
        assert_eq!(some, all[..some.len()]);
        assert!(all[some.len()..].iter().all(|turn| turn.index >= 10 + count as u64));
    }
    assert_eq!(all[0].group.owner.as_deref(), Some("x"));
    assert_eq!(all.len(), 3);
}

#[test]
fn a_plan_carried_along_is_a_copy() {
    let plan = |command: &str| json!({"plan": {"commands": [command]}});
    let events = [
        event("plan", &plan("a")),
        event("execute", &plan("a")),
        event("execute", &plan("b")),
        event("plan", &plan("a")),
    ];
    let made: Vec<_> = account(&events).plans.iter().map(|plan| plan.made).collect();
    assert_eq!(made, [true, false, true, true]);
}

#[test]
fn inputs_are_told_by_digest_or_weakly() {
    let of = |body: Value| account(&[event("plan", &body)]).plans[0].inputs;
    let intent = json!({"source": "api", "initiator": "ann", "tenant": "acme", "request": "r"});
    let strong = of(json!({"plan": {"inputs_digest": "sha256:1"}})).unwrap();
    let weak =
        of(json!({"plan": {}, "intent": intent, "target": target(&json!([{"name": "a"}, {"name": "b"}]))})).unwrap();
    let turned =
        of(json!({"plan": {}, "intent": intent, "target": target(&json!([{"name": "b"}, {"name": "a"}]))})).unwrap();
    assert!(!strong.weak && weak.weak);
    assert_eq!(weak, turned);
    assert_eq!(of(json!({"plan": {}, "intent": intent})), None);
    assert_eq!(of(json!({"plan": {}, "target": target(&json!([{"name": "a"}]))})), None);
}

#[test]
fn a_rollback_is_verified_by_a_later_round_of_its_attempt() {
    let undo = |outcome: &str| event("execute", &json!({"rollback": {"executed": {"outcome": outcome}}}));
    let round = |attempt: u64, ok: bool| {
        event("verify", &json!({"attempt": attempt, "verification": {"checks": [{"ok": ok}]}}))
    };
    let verified = |events: &[Made]| account(events).rollbacks[0].verified.as_ref().map(|when| when.index);
    assert_eq!(verified(&[undo("passed"), round(1, true)]), Some(11));
    assert_eq!(verified(&[round(1, true), undo("passed")]), None);
    assert_eq!(verified(&[undo("passed"), round(2, true)]), None);
    assert_eq!(verified(&[undo("passed"), round(1, false), round(1, true)]), Some(12));
    let failed = account(&[undo("failed"), undo("passed")]);
    assert_eq!(failed.rollbacks.len(), 1);
    assert_eq!(failed.rollbacks[0].failed.as_ref().map(|when| when.index), Some(10));
    assert!(failed.executions.is_empty(), "a rollback alone is no execution");
}

#[test]
fn a_probe_is_a_change_of_probes_only() {
    let mut probe = event("plan", &json!({"plan": {}}));
    probe.header.probe = true;
    let real = event("execute", &json!({"execution": {"steps": [{"rc": 1}]}}));
    assert!(account(std::slice::from_ref(&probe)).probe);
    let both = account(&[probe, real]);
    assert!(!both.probe && both.failed().is_some());
}

#[test]
fn sections_say_what_measures_ask() {
    let body = json!({
        "fixes": "c0",
        "plan": {"commands": ["a"], "compile_ms": 12.5, "approvals": ["owners"], "artifacts": [{"digest": "sha256:1"}], "window": {}},
        "preflight": {"checks": [{"type": "quota", "ok": true}], "policies": [
            {"ok": true}, {"mandatory": false, "ok": false}, {"decision": "maybe"}], "risk": {"score": 1}},
        "execution": {"mTLS": true, "credentials": {"kind": "oidc", "ttl_s": 900}, "guards": {"timeout_s": 30, "x": false},
            "tools": [{"name": "az", "version": "2"}, {"name": "kubectl"}], "steps": [{"rc": 0, "stdout": ""}, {"rc": 0}]},
        "verification": {"checks": [{"ok": true}], "slo": [{"ok": true}], "duration_ms": 900, "wait_ms": -1,
            "drift": {"baseline_hash": "a", "current_hash": "a", "diff": []}},
        "rollback": {"available": true, "plan": ["undo"]},
    });
    let account = account(&[event("execute", &body)]);
    let (plan, preflight) = (&account.plans[0], &account.preflights[0]);
    assert_eq!((plan.compile_ms, plan.window, plan.made), (Some(12.5), false, true));
    assert_eq!(preflight.policies, Policies { count: 3, mandatory: 2, mandatory_passed: 1 });
    assert_eq!((preflight.risk, preflight.kinds.as_slice()), (true, &["quota".to_owned()][..]));
    let execution = &account.executions[0];
    assert_eq!((execution.tools, execution.tools_pinned, execution.logged), (2, 1, 1));
    assert_eq!(execution.guards, ["timeout_s"]);
    let round = &account.rounds[0];
    assert_eq!((round.passed, round.baseline, round.drift, round.wait_ms), (true, true, Some(0), None));
    assert!(account.rollback_plan);
    assert_eq!(account.fixes, [ChangeId::parse("c0").unwrap()]);
}

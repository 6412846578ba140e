//! Rows of real, odd and hostile events.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{EXAMPLE, Made, change, event, logged, raw};

fn of(events: &[Made]) -> Detail<'static> {
    // Rows borrow from it.
    let logged: &'static [(u64, Made)] = Vec::leak(logged(events));
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    detail(&change(), &entries, &Rules::default())
}

fn one(sections: &Value) -> Detail<'static> {
    of(&[event("execute", sections)])
}

#[test]
fn the_models_example_in_rows() {
    let rows = of(&[raw("execute", EXAMPLE.into())]);
    assert_eq!((rows.plans[0].commands, rows.plans[0].required_approvals.as_deref()), (3, Some("platform-owners")));
    assert!(rows.plans[0].digest.as_deref().is_some_and(|digest| digest.starts_with("sha256:")));
    assert!(rows.plans[0].has_rollback && rows.approvals.is_empty());
    assert_eq!(
        rows.steps.iter().map(|step| (step.number, step.rc)).collect::<Vec<_>>(),
        [1, 2, 3].map(|n| (n, Some(0)))
    );
    assert_eq!(rows.steps[1].stdout_ref.as_deref(), Some("obs://logs/aks"));
    assert!(rows.steps[1].truncated && !rows.steps[0].truncated);
    assert_eq!(rows.steps.iter().map(|step| step.logged).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(rows.checks[0].target.as_deref(), Some("deployment/coredns"));
    let named: Vec<_> =
        rows.resources.iter().map(|resource| (resource.name.as_deref(), resource.scope.as_deref())).collect();
    assert_eq!(named, [(Some("rg-demo"), None), (Some("aks-demo"), Some("rg-demo")), (Some("team-alpha"), None)]);
    assert_eq!(
        (rows.resources[0].cloud.as_deref(), rows.resources[0].endpoint.as_deref()),
        (Some("azure"), Some("prod-east"))
    );
    assert_eq!((rows.drift[0].differences, rows.drift[0].monitored), (Some(0), false));
    assert_eq!(rows.anomalies.len(), 1);
    assert!(!rows.cut);
}

#[test]
fn words_of_decisions_and_policies() {
    let rows = one(&json!({"preflight": {
        "approvals": [{"approver": "bob", "decision": "Approve"}, {"approver": "c", "decision": "denied", "signature": "s"}, {}],
        "policies": [{"name": "p", "ok": true}, {"ok": false, "mandatory": false}, {"decision": "deny"}, {}],
    }}));
    let decisions: Vec<_> = rows.approvals.iter().map(|row| (row.decision, row.signature_attached)).collect();
    assert_eq!(decisions, [("approved", false), ("refused", true), ("unclear", false)]);
    let results: Vec<_> = rows.policies.iter().map(|row| (row.result, row.mandatory)).collect();
    assert_eq!(results, [("passed", true), ("denied", false), ("denied", true), ("unclear", true)]);
}

#[test]
fn rollbacks_and_their_steps() {
    for (executed, result) in [
        (json!({}), "running"),
        (json!({"outcome": "passed", "steps": [{"rc": 0}]}), "rolled_back"),
        (json!({"outcome": "partial"}), "failed"),
        (json!({"outcome": "passed", "steps": [{"rc": 3}]}), "failed"),
    ] {
        let rows = one(&json!({"rollback": {"executed": executed}}));
        assert_eq!(rows.rollbacks[0].result, result, "{executed}");
        assert!(rows.steps.iter().all(|step| step.kind == "rollback"));
    }
    let argv = one(&json!({"execution": {"steps": [{"argv": ["az", "group", "list"], "duration_ms": 1.5}]}}));
    assert_eq!((argv.steps[0].command.as_deref(), argv.steps[0].duration_ms), (Some("az group list"), Some(1.5)));
}

#[test]
fn windows_in_every_form() {
    let window = |window: &Value| {
        let plan = one(&json!({"plan": {"window": window}})).plans.remove(0);
        (plan.window_from.map(Cow::into_owned), plan.window_to.map(Cow::into_owned))
    };
    let both = (Some("2026-01-01T00:00:00Z".to_owned()), Some("2026-01-02T00:00:00Z".to_owned()));
    assert_eq!(window(&json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"})), both);
    assert_eq!(window(&json!({"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z", "x": [1]})), both);
    assert_eq!(window(&json!("2026-01-01T00:00:00Z/2026-01-02T00:00:00Z")), both);
    for other in [
        json!(null),
        json!("weekend"),
        json!(["a"]),
        json!({"from": {}, "to": null}),
        json!(5),
        json!(1.5),
        json!(true),
    ] {
        assert_eq!(window(&other), (None, None), "{other}");
    }
}

#[test]
fn a_resource_is_named_once_for_each_action() {
    let named = |action: &str| json!({"target": {"cloud": "azure", "resources": [{"type": "vm", "name": "a", "action": action}]}});
    let rows =
        of(&[event("plan", &named("create")), event("execute", &named("create")), event("execute", &named("delete"))]);
    let found: Vec<_> = rows.resources.iter().map(|row| (row.from.entry, row.action.as_deref())).collect();
    assert_eq!(found, [(10, Some("create")), (12, Some("delete"))]);
    let odd = one(
        &json!({"target": {"resources": [{"resource_group": 5, "location": {"x": 1}, "namespace": null}, {"resource_group": [], "namespace": "n"}]}}),
    );
    assert_eq!(odd.resources[0].scope.as_deref(), Some("5"));
    assert_eq!(odd.resources[1].scope.as_deref(), Some("n"));
}

#[test]
fn monitors_in_any_form() {
    for (monitored, expect) in [
        (json!(true), true),
        (json!(false), false),
        (json!(null), false),
        (json!("m-1"), true),
        (json!({"id": 1}), true),
        (json!([]), true),
        (json!(1), true),
    ] {
        let rows = one(&json!({"verification": {"drift": {"monitored": monitored}}}));
        assert_eq!((rows.drift[0].monitored, rows.drift[0].differences), (expect, None), "{monitored}");
    }
}

#[test]
fn long_lists_and_texts_end_and_say_so() {
    let rows = one(&json!({"execution": {"steps": vec![json!({}); ROWS_MAX]}}));
    assert!(rows.steps.len() == ROWS_MAX && !rows.cut);
    let rows = one(&json!({"execution": {"steps": vec![json!({}); ROWS_MAX + 1]}}));
    assert!(rows.steps.len() == ROWS_MAX && rows.cut);
    let rows =
        one(&json!({"execution": {"steps": [{"cmd": "ä".repeat(2_000)}, {"argv": vec!["ö".repeat(9); 2_000]}]}}));
    for step in rows.steps {
        assert_eq!(step.command.unwrap().chars().count(), TEXT_CHARS_MAX);
    }
}

#[test]
fn order_and_repeats_make_no_difference_and_strangers_none() {
    let events = [event("plan", &json!({"plan": {}})), event("execute", &json!({"execution": {"steps": [{"rc": 0}]}}))];
    let logged = logged(&events);
    let entry = |(index, made): &'static (u64, Made)| Entry {
        index: *index,
        header: &made.header,
        payload: Some(&made.payload),
    };
    let logged: &'static [_] = Vec::leak(logged);
    let straight: Vec<_> = logged.iter().map(entry).collect();
    let mixed: Vec<_> = logged.iter().rev().chain(logged).map(entry).collect();
    assert_eq!(detail(&change(), &straight, &Rules::default()), detail(&change(), &mixed, &Rules::default()));
    let other = ChangeId::parse("d").unwrap();
    assert_eq!(detail(&other, &straight, &Rules::default()), Detail::default());
}

/// Any JSON at any place that the reader looks at.
fn anything() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1.5),
        json!(1e300),
        json!("x"),
        json!("\u{202e}\u{0}"),
        json!([]),
        json!([{}]),
        json!({}),
        json!([null, {"ok": true}, {"rc": 1}]),
        json!({"steps": [{}]}),
        json!({"diff": [1]}),
    ])
}

proptest! {
    #[test]
    fn nothing_stops_it(values in prop::collection::vec(anything(), 8)) {
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap();
        let sections = json!({
            "attempt": next(), "target": {"resources": next()}, "plan": {"window": next(), "commands": next()},
            "preflight": {"checks": next()}, "execution": next(), "verification": next(), "rollback": {"executed": next()},
        });
        let made = event("execute", &sections);
        let admitted = schemas::admit::derive(&made.payload, &mut schemas::admit::Scratch::default()).is_ok();
        let entry = Entry { index: 10, header: &made.header, payload: Some(&made.payload) };
        let rows = detail(&change(), &[entry], &Rules::default());
        // Whatever is admitted can be read: its plan is a row.
        prop_assert!(!admitted || rows.plans.len() == 1, "{}", sections);
    }
}

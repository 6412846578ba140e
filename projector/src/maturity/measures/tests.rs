//! Every measure over a change that satisfies it, one that does not, and one that is not of its denominator.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::samples::samples;
use super::SHARES;
use crate::approval::{Rule, Rules};
use crate::document::Entry;
use crate::kpi::DAY_MS;
use crate::testing::{Made, approval, by, change, event, logged};

/// A change with little more than its steps. What a case says is laid over it.
fn plain() -> Value {
    json!({
        "plan": {"target": {"resources": [{"type": "rg", "name": "a"}]}, "plan": {"commands": ["a"]}},
        "preflight": {"preflight": {"checks": [{"type": "quota", "ok": true}], "approvals": [approval(&json!({}))]}},
        "execute": {"execution": {"executor": "eve", "steps": [{"cmd": "a", "rc": 0, "stdout": "done"}]}},
        "verify": {"verification": {"checks": [{"type": "read_back", "ok": true}]}},
    })
}

/// RFC 7386: members that are null go, objects are laid over each other, all else takes the place.
fn lay_over(what: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *what = patch.clone();
        return;
    };
    if !what.is_object() {
        *what = json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            what.as_object_mut().unwrap().remove(name);
        } else {
            lay_over(&mut what[name], value);
        }
    }
}

fn made(patch: &Value) -> Vec<Made> {
    let mut told = plain();
    lay_over(&mut told, patch);
    let producers = [("plan", "ci"), ("preflight", "chat"), ("execute", "ci"), ("verify", "ci")];
    let events = producers.into_iter().filter(|(phase, _)| told.get(phase).is_some());
    events.map(|(phase, producer)| by(producer, event(phase, &told[phase]))).collect()
}

fn share_of(measure: &str, events: &[Made], rules: &Rules) -> Option<bool> {
    let logged = logged(events);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    let samples = samples(&change(), &entries, rules, DAY_MS);
    let found: Vec<_> = samples.iter().filter(|sample| sample.metric == measure).collect();
    assert!(found.len() <= 1 && found.iter().all(|sample| sample.den == 1), "{measure}: {found:?}");
    found.first().map(|sample| sample.num == 1)
}

fn share(measure: &str, patch: &Value) -> Option<bool> {
    share_of(measure, &made(patch), &Rules::default())
}

fn in_plan(plan: &Value) -> Value {
    json!({"plan": {"plan": plan}})
}

fn in_preflight(preflight: &Value) -> Value {
    json!({"preflight": {"preflight": preflight}})
}

fn in_execution(execution: &Value) -> Value {
    json!({"execute": {"execution": execution}})
}

fn in_verification(verification: &Value) -> Value {
    json!({"verify": {"verification": verification}})
}

fn guards(guards: &Value) -> Value {
    in_execution(&json!({ "guards": guards }))
}

fn approved_by(names: &[&str]) -> Value {
    let approvals: Vec<_> = names.iter().map(|name| approval(&json!({ "approver": name }))).collect();
    in_preflight(&json!({ "approvals": approvals }))
}

/// Measure, what satisfies it, what does not.
#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<(&'static str, Value, Value)> {
    let as_is = || json!({});
    let window =
        |day: &str| in_plan(&json!({"window": {"from": format!("{day}T11:00:00Z"), "to": format!("{day}T13:00:00Z")}}));
    let claimed = in_preflight(&json!({"approvals": [{"approver": "bob", "decision": "approved"}]}));
    let low =
        |role: &str| in_preflight(&json!({"risk": {"level": "low"}, "approvals": [approval(&json!({"role": role}))]}));
    let of_policy = |patch: &Value| {
        let mut approval = approval(&json!({"approver": "lane:small", "role": "policy"}));
        lay_over(&mut approval, patch);
        in_preflight(&json!({"risk": "low", "approvals": [approval]}))
    };
    let by_agent = |guards: &Value| in_execution(&json!({"agent": "agent-session", "guards": guards}));
    let why = json!({"source": "api", "initiator": "ann", "tenant": "acme", "ticket": "OPS-1"});
    let asked = json!({"source": "api", "initiator": "ann", "tenant": "acme", "request": "Make it"});
    let endpoint = |verified: &str| json!({"execute": {"target": {"cluster_endpoint_id": "east"}}, "verify": {"target": {"cluster_endpoint_id": verified}}});
    vec![
        ("steps_recorded", as_is(), in_execution(&json!({"steps": [{"rc": 0}]}))),
        ("logged", as_is(), in_execution(&json!({"steps": [{"cmd": "a", "rc": 0}]}))),
        ("credentials_named", in_execution(&json!({"credentials": {"kind": "static"}})), as_is()),
        ("read_back", as_is(), json!({"verify": {"verification": {"checks": []}}})),
        ("planned", as_is(), json!({"plan": {"target": null, "plan": {"commands": []}}})),
        (
            "preflight_checked",
            in_preflight(&json!({"checks": [], "policies": [{"ok": true}]})),
            in_preflight(&json!({"checks": []})),
        ),
        ("existence_checked", as_is(), in_preflight(&json!({"checks": [], "policies": [{"ok": true}]}))),
        ("dry_run", in_preflight(&json!({"checks": [{"type": "what-if", "ok": true}]})), as_is()),
        ("dry_run", in_plan(&json!({"simulation": {"adds": 1}})), in_plan(&json!({"simulation": {}}))),
        ("mtls", in_execution(&json!({"mTLS": true})), in_execution(&json!({"mTLS": false}))),
        ("timeouts", guards(&json!({"timeout_s": 60})), guards(&json!({"timeout_s": 0}))),
        ("retries", guards(&json!({"max_retries": 3})), guards(&json!({"retries": false}))),
        (
            "drift_checked",
            in_verification(&json!({"drift": {"diff": []}})),
            in_verification(&json!({"drift": {"monitored": true}})),
        ),
        ("policy_evaluated", in_preflight(&json!({"policies": [{"name": "tags", "ok": false}]})), as_is()),
        ("peer_reviewed", claimed.clone(), approved_by(&[" ANN"])),
        ("peer_reviewed", approved_by(&["EVE", "bob"]), approved_by(&["EVE "])),
        ("peer_reviewed", as_is(), of_policy(&json!({}))),
        (
            "peer_reviewed",
            as_is(),
            in_preflight(&json!({"approvals": [approval(&json!({"plan_digest": "sha256:0"}))]})),
        ),
        ("peer_reviewed", as_is(), in_preflight(&json!({"approvals": [{"approver": "bob", "decision": "refused"}]}))),
        ("two_person", approved_by(&["bob", "carl"]), approved_by(&["bob", "Bob "])),
        ("two_person", approved_by(&["bob", "carl", "Eve"]), approved_by(&["bob", " ANN", "EVE"])),
        ("duties_separated", as_is(), approved_by(&["bob", "ANN"])),
        ("duties_separated", claimed.clone(), approved_by(&["bob", "Eve "])),
        (
            "ephemeral",
            in_execution(&json!({"credentials": {"kind": "oidc", "ttl_s": 900}})),
            in_execution(&json!({"credentials": {"kind": "oidc", "ttl_s": 50_000}})),
        ),
        (
            "pinned",
            in_execution(&json!({"tools": [{"name": "az", "version": "2.80.0"}]})),
            in_execution(&json!({"tools": [{"name": "az", "version": "2.80.0"}, {"name": "jq"}]})),
        ),
        ("telemetry", in_execution(&json!({"telemetry_ref": "otel://run"})), as_is()),
        (
            "rollback_planned",
            json!({"plan": {"rollback": {"plan": ["undo"]}}}),
            json!({"plan": {"rollback": {"plan": []}}}),
        ),
        ("plan_explicit", as_is(), json!({"plan": {"target": null}})),
        ("plan_explicit", as_is(), in_plan(&json!({"commands": []}))),
        (
            "annotated",
            json!({"plan": {"intent": why, "plan": {"window": "tonight"}}}),
            json!({"plan": {"intent": why}}),
        ),
        ("window_planned", in_plan(&json!({"window": "tonight"})), in_plan(&json!({"window": ""}))),
        ("impact", in_plan(&json!({"impact": {"description": "none"}})), as_is()),
        ("cost", in_preflight(&json!({"cost": {"monthly": 12}})), in_preflight(&json!({"cost": {}}))),
        (
            "from_words",
            json!({"plan": {"intent": asked, "plan": {"inputs_digest": "sha256:1"}}}),
            json!({"plan": {"intent": asked}}),
        ),
        ("simulated", in_plan(&json!({"simulation": {"adds": 1}})), in_plan(&json!({"simulation": false}))),
        ("graphed", in_plan(&json!({"dependency_graph": {"nodes": ["a"]}})), in_plan(&json!({"dependency_graph": {}}))),
        ("variant", in_plan(&json!({"variant": "cheapest"})), as_is()),
        ("in_window", window("2025-10-09"), window("2025-10-08")),
        ("auto_approved", low("policy"), low("owners")),
        ("auto_approved", low(" Lane"), of_policy(&json!({"at": null}))),
        ("auto_approved", of_policy(&json!({})), of_policy(&json!({"approver": "EVE"}))),
        ("auto_approved", low("auto"), of_policy(&json!({"plan_digest": "sha256:0"}))),
        ("risk_scored", in_preflight(&json!({"risk": "high"})), in_preflight(&json!({"risk": ""}))),
        (
            "progressive",
            in_execution(&json!({"waves": [{"name": "canary"}, {"name": "all"}]})),
            in_execution(&json!({"waves": [{"name": "all"}]})),
        ),
        ("rate_limited", guards(&json!({"rate_limit": "10/min"})), guards(&json!({"rate_limit": ""}))),
        ("backoff", guards(&json!({"backoff": {"base_s": 1}})), guards(&json!({"backoff": {}}))),
        ("blast_radius", guards(&json!({"max_resources": 5})), guards(&json!({"blast_radius": null}))),
        (
            "promotion_gated",
            in_execution(&json!({"waves": [{"gate": "slo"}, {"gate": "owner"}]})),
            in_execution(&json!({"waves": [{"gate": "slo"}, {"name": "all"}]})),
        ),
        (
            "health_gated",
            in_execution(&json!({"waves": [{"health": "ok"}]})),
            in_execution(&json!({"waves": [{"health": "ok"}, {"health": ""}]})),
        ),
        ("self_pause", guards(&json!({"pause_on_anomaly": true})), guards(&json!({"pause_on_anomaly": false}))),
        ("guarded_auto", by_agent(&json!({"timeout_s": 60})), guards(&json!({"timeout_s": 60}))),
        (
            "guarded_auto",
            in_execution(&json!({"agent": "agent-session", "executor": null, "guards": {"rate_limit": 5}})),
            by_agent(&json!({})),
        ),
        (
            "guarded_auto",
            by_agent(&json!({"timeout_s": 60})),
            in_execution(&json!({"agent": "eve", "guards": {"timeout_s": 60}})),
        ),
        ("health_checked", in_verification(&json!({"checks": [{"name": "Rollout of web", "ok": true}]})), as_is()),
        (
            "baseline",
            in_verification(&json!({"drift": {"baseline_hash": "sha256:1"}})),
            in_verification(&json!({"drift": {"diff": []}})),
        ),
        ("slo_checked", in_verification(&json!({"slo": [{"name": "latency", "ok": true}]})), as_is()),
        ("endpoint_scoped", endpoint("east"), endpoint("west")),
        (
            "output_bounded",
            in_execution(&json!({"steps": [{"rc": 0, "stdout_trunc": false}, {"rc": 0, "stderr_trunc": true}]})),
            in_execution(&json!({"steps": [{"rc": 0, "stdout_trunc": false}, {"rc": 0, "stdout": "done"}]})),
        ),
        ("exports", as_is(), claimed),
        ("exports", as_is(), in_preflight(&json!({"approvals": []}))),
        ("exports", as_is(), in_execution(&json!({"steps": [{"cmd": "a", "rc": 0}]}))),
        ("exports", as_is(), json!({"plan": null})),
    ]
}

#[test]
fn each_measure_tells_who_satisfies_it_from_who_does_not() {
    for (measure, yes, no) in cases() {
        assert_eq!(share(measure, &yes), Some(true), "{measure}: {yes}");
        assert_eq!(share(measure, &no), Some(false), "{measure}: {no}");
    }
    let told: BTreeSet<_> = cases().into_iter().map(|(measure, ..)| measure).collect();
    assert_eq!(told, SHARES.iter().map(|(id, _)| *id).collect());
}

#[test]
fn what_a_measure_is_not_about_does_not_count_against_it() {
    let unexecuted = json!({"execute": null, "verify": null});
    let unplanned = json!({"plan": null});
    for row in schemas::model::get().measures.iter().filter(|row| SHARES.iter().any(|(id, _)| *id == row.id)) {
        let without = if row.den.starts_with("changes with a plan") { &unplanned } else { &unexecuted };
        assert_eq!(share(&row.id, without), None, "{}", row.id);
    }
    for (measure, without) in [
        ("duties_separated", in_preflight(&json!({"approvals": []}))),
        ("in_window", in_plan(&json!({"window": "tonight"}))),
        ("auto_approved", in_preflight(&json!({"risk": "high"}))),
        ("promotion_gated", json!({})),
        ("health_gated", json!({})),
    ] {
        assert_eq!(share(measure, &without), None, "{measure}");
    }
}

/// Where the tenant's rule asks for no approval, none is missed; an attempt that needs one has to have its own.
#[test]
fn approvals_are_asked_where_they_are_needed() {
    let prod_only = Rule { environments: Some(["prod".to_owned()].into()), ..Rule::default() };
    let exempt = |mut made: Made| {
        made.header.env = Some(schemas::ids::Environment::parse("dev").unwrap());
        made
    };
    let bare: Vec<_> = made(&in_preflight(&json!({"approvals": []}))).into_iter().map(exempt).collect();
    let rules = Rules::always("l/acme", prod_only);
    assert_eq!(share_of("exports", &bare, &rules), Some(true));
    assert_eq!(share_of("two_person", &bare, &rules), None);
    assert_eq!(share_of("exports", &bare, &Rules::default()), Some(false));
    let mut twice = made(&approved_by(&["bob", "carl"]));
    assert_eq!(share_of("two_person", &twice, &Rules::default()), Some(true));
    let steps = json!([{"cmd": "b", "rc": 0, "stdout": "done"}]);
    twice.push(by("ci", event("execute", &json!({"attempt": 2, "execution": {"executor": "eve", "steps": steps}}))));
    assert_eq!(share_of("two_person", &twice, &Rules::default()), Some(false), "nobody approved the second attempt");
    assert_eq!(share_of("exports", &twice, &Rules::default()), Some(false));
}

/// Steps may come one by one, and not each says who; but what an executor did alone was no agent's.
#[test]
fn an_agent_executes_all_of_it() {
    let guarded = in_execution(&json!({"agent": "agent-session", "executor": "bot", "guards": {"timeout_s": 60}}));
    let with = |execution: Value| {
        let mut events = made(&guarded);
        events.insert(3, by("ci", event("execute", &json!({ "execution": execution }))));
        share_of("guarded_auto", &events, &Rules::default())
    };
    let steps = json!([{"cmd": "b", "rc": 0, "stdout": "done"}]);
    assert_eq!(with(json!({ "steps": steps })), Some(true));
    assert_eq!(with(json!({"steps": steps, "executor": "eve"})), Some(false));
}

/// The executing producer's own word that a policy approved is a claim.
#[test]
fn nobody_approves_automatically_what_he_executes() {
    let approvals = json!([approval(&json!({"approver": "lane:small", "role": "lane"}))]);
    let section = json!({"preflight": {"risk": {"level": "low"}, "approvals": approvals}});
    let told_by = |producer: &str| {
        let mut events = made(&json!({"preflight": null}));
        events.insert(1, by(producer, event("preflight", &section)));
        share_of("auto_approved", &events, &Rules::default())
    };
    assert_eq!(told_by("preflight"), Some(true));
    assert_eq!(told_by("ci"), Some(false));
}

/// What opens the gate to level 4: done, with its steps, and looked at behind it, within its attempt.
#[test]
fn a_rollback_is_evidence_once_it_was_looked_at() {
    let done = |steps: &Value, outcome: &str, more: &Value| {
        let mut sections = json!({"rollback": {"executed": {"steps": steps, "outcome": outcome}}});
        lay_over(&mut sections, more);
        by("ci", event("execute", &sections))
    };
    let looked = |attempt: u64, ok: bool| {
        by("ci", event("verify", &json!({"attempt": attempt, "verification": {"checks": [{"type": "up", "ok": ok}]}})))
    };
    let (steps, held) = (json!([{"cmd": "undo", "rc": 0}]), json!({"verification": {"checks": [{"ok": true}]}}));
    let good = || done(&steps, "passed", &json!({}));
    let share = |more: Vec<Made>| {
        let failed =
            json!({"execute": {"execution": {"steps": [{"cmd": "a", "rc": 1, "stdout": "x"}]}}, "verify": null});
        let events: Vec<_> = made(&failed).into_iter().chain(more).collect();
        share_of("rollback_executed", &events, &Rules::default())
    };
    assert_eq!(share(vec![good(), looked(1, true)]), Some(true));
    for (more, why) in [
        (vec![], "nothing was rolled back"),
        (vec![good()], "nobody looked"),
        (vec![looked(1, true), good()], "looked at before"),
        (vec![done(&steps, "passed", &held)], "looked at before, in the same event"),
        (vec![good(), looked(1, false)], "it did not hold"),
        (vec![good(), looked(2, true)], "another attempt"),
        (vec![done(&json!([]), "passed", &json!({})), looked(1, true)], "no steps"),
        (vec![done(&json!([{"cmd": "undo", "rc": 1}]), "passed", &json!({})), looked(1, true)], "a step failed"),
        (vec![done(&steps, "failed", &json!({})), looked(1, true)], "it failed"),
    ] {
        assert_eq!(share(more), Some(false), "{why}");
    }
}

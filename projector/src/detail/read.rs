//! One event, in rows.

use std::borrow::Cow;

use schemas::event::{self, Any, Check, Drift, Event, Executed, Policy, Step, Target, Text};

use super::loose::Loose;
use super::{Detail, From, TEXT_CHARS_MAX};
use crate::account::is_logged;
use crate::document::Seen;
use crate::facts;

/// Adds the rows of one entry. Nothing of a payload that cannot be read.
pub(super) fn add<'a>(detail: &mut Detail<'a>, seen: &Seen<'a>) {
    let Some(event) = &seen.event else { return };
    let from = From { entry: seen.index, attempt: seen.facts.attempt };
    if let Some(target) = &event.target {
        add_resources(detail, from, target);
    }
    if let Some(plan) = &event.plan {
        detail.plans.push(plan_row(from, plan, seen, event));
    }
    if let Some(preflight) = &event.preflight {
        add_checks(detail, from, "preflight", &preflight.checks);
        detail.policies.extend(preflight.policies.iter().map(|policy| policy_row(from, policy)));
    }
    if let Some(execution) = &event.execution {
        add_steps(detail, from, "execute", &execution.steps);
    }
    if let Some(verification) = &event.verification {
        add_checks(detail, from, "verify", &verification.checks);
        add_checks(detail, from, "slo", &verification.slo);
        detail.drift.extend(verification.drift.as_ref().map(|drift| drift_row(from, drift)));
    }
    if let Some(executed) = event.rollback.as_ref().and_then(|rollback| rollback.executed.as_ref()) {
        detail.rollbacks.push(rollback_row(from, executed));
        add_steps(detail, from, "rollback", &executed.steps);
    }
}

fn add_resources<'a>(detail: &mut Detail<'a>, from: From, target: &Target<'a>) {
    let (cloud, endpoint) = (cell(target.cloud.as_ref()), cell(target.cluster_endpoint_id.as_ref()));
    for resource in &target.resources {
        let row = super::Resource {
            from,
            cloud: cloud.clone(),
            endpoint: endpoint.clone(),
            kind: cell(resource.kind.as_ref()),
            name: cell(resource.name.as_ref()),
            scope: loose(resource.resource_group).or_else(|| loose(resource.namespace)),
            location: loose(resource.location),
            action: cell(resource.action.as_ref()),
        };
        detail.add_resource(row);
    }
}

fn plan_row<'a>(from: From, plan: &event::Plan<'a>, seen: &Seen<'a>, event: &Event<'a>) -> super::Plan<'a> {
    let required: Vec<&str> = plan.approvals.iter().map(Text::as_str).collect();
    let window = seen.facts.plan.as_ref().and_then(|plan| plan.window.as_ref());
    let end = |end: Option<&String>| end.map(|end| Cow::Owned(shortened(end)));
    super::Plan {
        from,
        digest: seen.plan_digest.clone().map(Cow::Owned),
        stated_digest: cell(plan.digest.as_ref()),
        inputs_digest: cell(plan.inputs_digest.as_ref()),
        commands: plan.commands.len() as u64,
        required_approvals: (!required.is_empty()).then(|| Cow::Owned(shortened(&required.join(",")))),
        window_from: end(window.and_then(|window| window.from.as_ref())),
        window_to: end(window.and_then(|window| window.to.as_ref())),
        compile_ms: plan.compile_ms,
        has_rollback: event.rollback.as_ref().is_some_and(|rollback| !rollback.plan.is_empty()),
    }
}

fn policy_row<'a>(from: From, policy: &Policy<'a>) -> super::Policy<'a> {
    let word = facts::decision(policy.decision.as_deref());
    // Asked as if it were mandatory: what it said, whatever follows from it.
    let result = match facts::policy_verdict(None, policy.ok, word) {
        Some(true) => "passed",
        Some(false) => "denied",
        None => "unclear",
    };
    let mandatory = policy.mandatory != Some(false);
    super::Policy { from, name: cell(policy.name.as_ref()), mandatory, result, message: cell(policy.message.as_ref()) }
}

fn add_checks<'a>(detail: &mut Detail<'a>, from: From, stage: &'static str, checks: &[Check<'a>]) {
    detail.checks.extend(checks.iter().map(|check| super::Check {
        from,
        stage,
        kind: cell(check.kind.as_ref()),
        name: cell(check.name.as_ref()),
        target: loose(check.target),
        ok: check.ok,
        message: cell(check.message.as_ref()),
    }));
}

fn add_steps<'a>(detail: &mut Detail<'a>, from: From, kind: &'static str, steps: &[Step<'a>]) {
    detail.steps.extend(steps.iter().zip(1..).map(|(step, number)| super::Step {
        logged: is_logged(step),
        from,
        kind,
        number,
        command: cell(step.cmd.as_ref()).or_else(|| joined(&step.argv)),
        rc: step.rc.and_then(whole),
        duration_ms: step.duration_ms,
        stdout_ref: cell(step.stdout_ref.as_ref()),
        stderr_ref: cell(step.stderr_ref.as_ref()),
        truncated: step.stdout_trunc == Some(true) || step.stderr_trunc == Some(true),
    }));
}

fn joined<'a>(argv: &[Text<'_>]) -> Option<Cow<'a, str>> {
    let words: Vec<&str> = argv.iter().map(Text::as_str).take(TEXT_CHARS_MAX).collect();
    (!words.is_empty()).then(|| Cow::Owned(shortened(&words.join(" "))))
}

/// Exit codes are integers, of which a number of JSON holds those up to 2^53.
#[expect(clippy::cast_possible_truncation, reason = "checked to be an integer up to 2^53")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

fn drift_row<'a>(from: From, drift: &Drift<'a>) -> super::Drift<'a> {
    super::Drift {
        from,
        differences: drift.diff.given().map(|diff| diff.len() as u64),
        baseline_hash: cell(drift.baseline_hash.as_ref()),
        current_hash: cell(drift.current_hash.as_ref()),
        monitored: drift.monitored.is_some_and(|monitored| monitored.json() != "false"),
    }
}

fn rollback_row<'a>(from: From, executed: &Executed<'a>) -> super::Rollback<'a> {
    let steps = &executed.steps;
    let failed_steps = steps.iter().filter(|step| step.rc.is_some_and(|rc| rc != 0.0)).count() as u64;
    let result = match executed.outcome.as_deref() {
        _ if failed_steps > 0 => "failed",
        None => "running",
        Some(word) if facts::is_failure(word) => "failed",
        Some(_) => "rolled_back",
    };
    super::Rollback { from, result, outcome: cell(executed.outcome.as_ref()), steps: steps.len() as u64, failed_steps }
}

fn cell<'a>(text: Option<&Text<'a>>) -> Option<Cow<'a, str>> {
    text.map(|text| beginning(text.to_cow()))
}

fn loose(value: Option<Any<'_>>) -> Option<Cow<'_, str>> {
    let Loose(text) = value.and_then(Any::read)?;
    text.map(beginning)
}

fn beginning(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end(text)]),
        Cow::Owned(text) => Cow::Owned(shortened(&text)),
    }
}

/// The first characters of a text.
pub(super) fn shortened(text: &str) -> String {
    text[..end(text)].to_owned()
}

/// Where a shortened text ends; no text has more characters than bytes.
fn end(text: &str) -> usize {
    if text.len() <= TEXT_CHARS_MAX {
        return text.len();
    }
    text.char_indices().nth(TEXT_CHARS_MAX).map_or(text.len(), |(end, _)| end)
}

//! One stored event, read into rows.

use schemas::event::{Policy, Step, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::loose::{Loose, Truth, Window};
use super::{Detail, From, TEXT_CHARS_MAX, decided};
use crate::facts;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    provisioning_event: Body<'a>,
}

#[derive(Deserialize)]
struct Body<'a> {
    attempt: Option<f64>,
    #[serde(borrow)]
    target: Option<Target<'a>>,
    #[serde(borrow)]
    plan: Option<Plan<'a>>,
    #[serde(borrow)]
    preflight: Option<Preflight<'a>>,
    #[serde(borrow)]
    execution: Option<Execution<'a>>,
    #[serde(borrow)]
    verification: Option<Verification<'a>>,
    #[serde(borrow)]
    rollback: Option<Rollback<'a>>,
}

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    cloud: Option<Text<'a>>,
    #[serde(borrow)]
    cluster_endpoint_id: Option<Text<'a>>,
    #[serde(borrow)]
    resources: Option<Vec<Resource<'a>>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    action: Option<Text<'a>>,
    #[serde(borrow, default, rename = "resource_group")]
    group: Loose<'a>,
    #[serde(borrow, default)]
    namespace: Loose<'a>,
    #[serde(borrow, default)]
    location: Loose<'a>,
}

#[derive(Deserialize)]
struct Plan<'a> {
    commands: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    approvals: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    digest: Option<Text<'a>>,
    #[serde(borrow)]
    inputs_digest: Option<Text<'a>>,
    #[serde(default)]
    window: Window,
    compile_ms: Option<f64>,
}

#[derive(Deserialize)]
struct Preflight<'a> {
    #[serde(borrow)]
    checks: Option<Vec<Check<'a>>>,
    #[serde(borrow)]
    policies: Option<Vec<Policy<'a>>>,
    #[serde(borrow)]
    approvals: Option<Vec<facts::Approval<'a>>>,
}

#[derive(Deserialize)]
struct Check<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    target: Loose<'a>,
    ok: Option<bool>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Execution<'a> {
    #[serde(borrow)]
    steps: Option<Vec<Step<'a>>>,
}

#[derive(Deserialize)]
struct Verification<'a> {
    #[serde(borrow)]
    checks: Option<Vec<Check<'a>>>,
    #[serde(borrow)]
    slo: Option<Vec<Check<'a>>>,
    #[serde(borrow)]
    drift: Option<Drift<'a>>,
}

#[derive(Deserialize)]
struct Drift<'a> {
    #[serde(borrow)]
    baseline_hash: Option<Text<'a>>,
    #[serde(borrow)]
    current_hash: Option<Text<'a>>,
    diff: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    monitored: Truth,
}

#[derive(Deserialize)]
struct Rollback<'a> {
    plan: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    executed: Option<Executed<'a>>,
}

#[derive(Deserialize)]
struct Executed<'a> {
    #[serde(borrow)]
    steps: Option<Vec<Step<'a>>>,
    #[serde(borrow)]
    outcome: Option<Text<'a>>,
}

/// Adds the rows of one entry. Nothing of a payload that cannot be read.
pub(super) fn add(detail: &mut Detail, entry: u64, payload: &[u8]) {
    let Ok(Document { provisioning_event: body }) = serde_json::from_slice(payload) else { return };
    let from = From { entry, attempt: facts::attempt(body.attempt) };
    if let Some(target) = body.target {
        add_resources(detail, from, target);
    }
    if let Some(plan) = body.plan {
        let has_rollback =
            body.rollback.as_ref().is_some_and(|rollback| !rollback.plan.as_deref().unwrap_or_default().is_empty());
        detail.plans.push(plan_row(from, plan, payload, has_rollback));
    }
    if let Some(preflight) = body.preflight {
        add_checks(detail, from, "preflight", preflight.checks);
        detail.policies.extend(preflight.policies.into_iter().flatten().map(|policy| policy_row(from, &policy)));
        detail.approvals.extend(preflight.approvals.into_iter().flatten().map(|given| approval_row(from, &given)));
    }
    if let Some(execution) = body.execution {
        add_steps(detail, from, "execute", execution.steps.unwrap_or_default());
    }
    if let Some(verification) = body.verification {
        add_checks(detail, from, "verify", verification.checks);
        add_checks(detail, from, "slo", verification.slo);
        detail.drift.extend(verification.drift.map(|drift| drift_row(from, &drift)));
    }
    if let Some(executed) = body.rollback.and_then(|rollback| rollback.executed) {
        detail.rollbacks.push(rollback_row(from, &executed));
        add_steps(detail, from, "rollback", executed.steps.unwrap_or_default());
    }
}

fn add_resources(detail: &mut Detail, from: From, target: Target<'_>) {
    let (cloud, endpoint) = (cell(target.cloud.as_ref()), cell(target.cluster_endpoint_id.as_ref()));
    for resource in target.resources.unwrap_or_default() {
        let row = super::Resource {
            from,
            cloud: cloud.clone(),
            endpoint: endpoint.clone(),
            kind: cell(resource.kind.as_ref()),
            name: cell(resource.name.as_ref()),
            scope: loose(resource.group).or_else(|| loose(resource.namespace)),
            location: loose(resource.location),
            action: cell(resource.action.as_ref()),
        };
        detail.resources.push(row);
    }
}

fn plan_row(from: From, plan: Plan<'_>, payload: &[u8], has_rollback: bool) -> super::Plan {
    let required: Vec<&str> = plan.approvals.iter().flatten().map(Text::as_str).collect();
    super::Plan {
        from,
        digest: schemas::plan::digest(payload),
        stated_digest: cell(plan.digest.as_ref()),
        inputs_digest: cell(plan.inputs_digest.as_ref()),
        commands: plan.commands.map_or(0, |commands| commands.len() as u64),
        required_approvals: (!required.is_empty()).then(|| shortened(&required.join(","))),
        window_from: plan.window.from.as_deref().map(shortened),
        window_to: plan.window.to.as_deref().map(shortened),
        compile_ms: plan.compile_ms,
        has_rollback,
    }
}

fn approval_row(from: From, given: &facts::Approval<'_>) -> super::Approval {
    let text = |text: &Option<facts::Text<'_>>| text.as_deref().map(shortened);
    super::Approval {
        from,
        approver: shortened(given.approver()),
        role: text(&given.role),
        decision: decided(given.decided()),
        word: text(&given.decision),
        decided_at: text(&given.at),
        plan_digest: text(&given.plan_digest),
        signature_attached: given.signature.is_some(),
    }
}

fn policy_row(from: From, policy: &Policy<'_>) -> super::Policy {
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

fn add_checks(detail: &mut Detail, from: From, stage: &'static str, checks: Option<Vec<Check<'_>>>) {
    detail.checks.extend(checks.into_iter().flatten().map(|check| super::Check {
        from,
        stage,
        kind: cell(check.kind.as_ref()),
        name: cell(check.name.as_ref()),
        target: loose(check.target),
        ok: check.ok,
        message: cell(check.message.as_ref()),
    }));
}

fn add_steps(detail: &mut Detail, from: From, kind: &'static str, steps: Vec<Step<'_>>) {
    detail.steps.extend(steps.into_iter().zip(1..).map(|(step, number)| super::Step {
        logged: is_logged(&step),
        from,
        kind,
        number,
        command: cell(step.cmd.as_ref()).or_else(|| joined(&step.argv)),
        rc: step.rc,
        duration_ms: step.duration_ms,
        stdout_ref: cell(step.stdout_ref.as_ref()),
        stderr_ref: cell(step.stderr_ref.as_ref()),
        truncated: step.stdout_trunc == Some(true) || step.stderr_trunc == Some(true),
    }));
}

fn is_logged(step: &Step<'_>) -> bool {
    let named = |place: &Option<Text<'_>>| place.as_ref().is_some_and(|place| place.contains("sha256:"));
    step.stdout.is_some() || step.stderr.is_some() || named(&step.stdout_ref) || named(&step.stderr_ref)
}

fn joined(argv: &[Text<'_>]) -> Option<String> {
    let words: Vec<&str> = argv.iter().map(Text::as_str).take(TEXT_CHARS_MAX).collect();
    (!words.is_empty()).then(|| shortened(&words.join(" ")))
}

fn drift_row(from: From, drift: &Drift<'_>) -> super::Drift {
    super::Drift {
        from,
        differences: drift.diff.as_ref().map(|diff| diff.len() as u64),
        baseline_hash: cell(drift.baseline_hash.as_ref()),
        current_hash: cell(drift.current_hash.as_ref()),
        monitored: drift.monitored.0,
    }
}

fn rollback_row(from: From, executed: &Executed<'_>) -> super::Rollback {
    let steps = executed.steps.as_deref().unwrap_or_default();
    let failed_steps = steps.iter().filter(|step| step.rc.is_some_and(|rc| rc != 0)).count() as u64;
    let result = match executed.outcome.as_deref() {
        _ if failed_steps > 0 => "failed",
        None => "running",
        Some(word) if facts::is_failure(word) => "failed",
        Some(_) => "rolled_back",
    };
    super::Rollback { from, result, outcome: cell(executed.outcome.as_ref()), steps: steps.len() as u64, failed_steps }
}

fn cell(text: Option<&Text<'_>>) -> Option<String> {
    text.map(|text| shortened(text))
}

fn loose(text: Loose<'_>) -> Option<String> {
    text.0.map(|text| shortened(&text))
}

/// The first characters of a text; no text has more characters than bytes.
fn shortened(text: &str) -> String {
    if text.len() <= TEXT_CHARS_MAX {
        return text.to_owned();
    }
    let end = text.char_indices().nth(TEXT_CHARS_MAX).map_or(text.len(), |(end, _)| end);
    text[..end].to_owned()
}

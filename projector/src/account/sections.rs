//! The sections of one entry as the account keeps them.

use super::read::{self, Body, Check};
use super::{Approval, Execution, Inputs, Plan, Policies, Preflight, Round, When};
use crate::document::Seen;
use crate::facts::{self, Decision, Facts, PlanFacts, Tests, Text};
use crate::fold::Marks;

pub(super) fn plan(
    when: When,
    seen: &Seen<'_>,
    plan: &PlanFacts<'_>,
    digest: &str,
    body: &Body<'_>,
    before: &[Plan],
) -> Plan {
    let section = body.plan.as_ref();
    let known = before.iter().any(|plan| plan.when.attempt == when.attempt && plan.digest == digest);
    let says = |pick: fn(&read::Plan<'_>) -> bool| section.is_some_and(pick);
    let artifacts = section.and_then(|plan| plan.artifacts.as_deref()).unwrap_or_default();
    Plan {
        made: seen.header.phase == schemas::ids::Phase::Plan || !known,
        probe: seen.header.probe,
        digest: digest.to_owned(),
        inputs: Inputs::of(body, seen.header.env.as_ref()),
        commands: plan.commands,
        resources: body
            .target
            .as_ref()
            .and_then(|target| target.resources.as_ref())
            .map_or(0, |resources| resources.len() as u64),
        compile_ms: section.and_then(|plan| plan.compile_ms).filter(|ms| *ms >= 0.0),
        approvers: plan.approvers.iter().map(|name| name.clone().into_owned()).collect(),
        artifacts: artifacts.iter().filter_map(|artifact| text(artifact.digest.as_ref())).collect(),
        graph: says(|plan| read::says(plan.dependency_graph)),
        impact: says(|plan| read::says(plan.impact)),
        window: says(|plan| read::says(plan.window)),
        simulation: says(|plan| read::says(plan.simulation)),
        variant: section.and_then(|plan| text(plan.variant.as_ref())),
        needs: says(|plan| read::says(plan.resources_needed)),
        when,
    }
}

pub(super) fn preflight(when: &When, seen: &Seen<'_>, body: &Body<'_>) -> Option<Preflight> {
    let section = body.preflight.as_ref()?;
    let mut policies = Policies::default();
    for policy in section.policies.as_deref().unwrap_or_default() {
        let mandatory = policy.mandatory != Some(false);
        let allowed = facts::policy_verdict(policy.mandatory, policy.ok, facts::decision(policy.decision.as_deref()));
        policies.count += 1;
        policies.mandatory += u64::from(mandatory);
        policies.mandatory_passed += u64::from(mandatory && allowed == Some(true));
    }
    Some(Preflight {
        when: when.clone(),
        checks: seen.facts.preflight_checks,
        kinds: kinds(section.checks.as_deref()),
        policies,
        risk: read::says(section.risk),
        cost: read::says(section.cost),
        quota: read::says(section.quota),
    })
}

pub(super) fn approval(when: &When, approval: &facts::Approval<'_>) -> Approval {
    Approval {
        when: when.clone(),
        approver: approval.approver().to_owned(),
        role: text(approval.role.as_ref()),
        approves: approval.decided() == Decision::Approved,
        refuses: approval.decided() == Decision::Refused,
        at: text(approval.at.as_ref()),
        plan_digest: text(approval.plan_digest.as_ref()),
        signature: approval.signature.is_some(),
    }
}

pub(super) fn execution(when: When, facts: &Facts<'_>, body: &Body<'_>) -> Execution {
    let nothing = read::Execution::default();
    let section = body.execution.as_ref().unwrap_or(&nothing);
    let tools = section.tools.as_deref().unwrap_or_default();
    let pinned = |tool: &&read::Tool<'_>| tool.version.is_some() || tool.sha256.is_some();
    let credentials = section.credentials.as_ref();
    let steps = section.steps.as_deref().unwrap_or_default();
    Execution {
        when,
        steps: facts.steps,
        logged: steps.iter().filter(|step| step.is_logged()).count() as u64,
        executor: facts.executor.as_deref().map(str::to_owned),
        agent: facts.agent.as_deref().map(str::to_owned),
        mtls: section.mtls,
        pipes_widened: !facts.widened_pipes.is_empty(),
        credentials: credentials.and_then(|credentials| text(credentials.kind.as_ref())),
        credentials_ttl_s: credentials.and_then(|credentials| credentials.ttl_s),
        tools: tools.len() as u64,
        tools_pinned: tools.iter().filter(pinned).count() as u64,
        guards: read::members(section.guards),
        guarded: read::says(section.guards),
        waves: section.waves.as_ref().map_or(0, |waves| waves.len() as u64),
        telemetry: section.telemetry_ref.as_ref().is_some_and(|text| !text.is_empty()),
    }
}

pub(super) fn round(when: When, facts: &Facts<'_>, body: &Body<'_>) -> Option<Round> {
    let section = body.verification.as_ref()?;
    let drift = section.drift.as_ref();
    let baseline = drift.is_some_and(|drift| drift.baseline_hash.is_some() && drift.current_hash.is_some());
    let mut kinds_of = kinds(section.checks.as_deref());
    kinds_of.extend(kinds(section.slo.as_deref()));
    Some(Round {
        when,
        checks: tests(section.checks.as_deref()),
        slo: tests(section.slo.as_deref()),
        kinds: kinds_of,
        passed: facts.marks.any(Marks::VERIFIED) && !facts.marks.any(Marks::VERIFY_FAILED),
        failed: facts.marks.any(Marks::VERIFY_FAILED),
        drift_checked: baseline || drift.is_some_and(|drift| drift.diff.is_some()),
        baseline,
        drift: drift.and_then(|drift| drift.diff.as_ref()).map(|diff| diff.len() as u64),
        monitored: drift.and_then(|drift| drift.monitored).map(|monitored| read::says(Some(monitored))),
        duration_ms: section.duration_ms.filter(|ms| *ms >= 0.0),
        wait_ms: section.wait_ms.filter(|ms| *ms >= 0.0),
    })
}

fn tests(checks: Option<&[Check<'_>]>) -> Tests {
    let mut tests = Tests::default();
    for check in checks.unwrap_or_default() {
        tests.count += 1;
        tests.passed += u64::from(check.ok == Some(true));
        tests.failed += u64::from(check.ok == Some(false));
    }
    tests
}

fn kinds(checks: Option<&[Check<'_>]>) -> Vec<String> {
    let kind = |check: &Check<'_>| text(check.kind.as_ref().or(check.name.as_ref()));
    checks.unwrap_or_default().iter().filter_map(kind).collect()
}

fn text(text: Option<&Text<'_>>) -> Option<String> {
    text.map(|text| text.0.clone().into_owned())
}

//! The sections of one entry as the account keeps them.

use schemas::event::{self, Any, Check, Event, Text};

use super::form::{is_logged, members, says};
use super::{Execution, Inputs, Plan, Policies, Preflight, Round, When};
use crate::document::Seen;
use crate::facts::{self, Facts, PlanFacts};
use crate::fold::Marks;

pub(super) fn plan(
    when: When,
    seen: &Seen<'_>,
    plan: &PlanFacts<'_>,
    digest: &str,
    event: &Event<'_>,
    before: &[Plan],
) -> Plan {
    let section = event.plan.as_ref();
    let known = before.iter().any(|plan| plan.when.attempt == when.attempt && plan.digest == digest);
    let form = |pick: for<'p, 'a> fn(&'p event::Plan<'a>) -> Option<Any<'a>>| says(section.and_then(pick));
    let artifacts = section.map(|plan| &*plan.artifacts).unwrap_or_default();
    Plan {
        made: seen.header.phase == schemas::ids::Phase::Plan || !known,
        probe: seen.header.probe,
        digest: digest.to_owned(),
        inputs: Inputs::of(event, seen.header.env.as_ref()),
        commands: plan.commands,
        resources: event.target.as_ref().map_or(0, |target| target.resources.len() as u64),
        compile_ms: section.and_then(|plan| plan.compile_ms).filter(|ms| *ms >= 0.0),
        approvers: plan.approvers.iter().map(|name| name.clone().into_owned()).collect(),
        artifacts: artifacts.iter().filter_map(|artifact| text(artifact.digest.as_ref())).collect(),
        graph: form(|plan| plan.dependency_graph),
        impact: form(|plan| plan.impact),
        window: form(|plan| plan.window),
        simulation: form(|plan| plan.simulation),
        variant: section.and_then(|plan| text(plan.variant.as_ref())),
        needs: section.is_some_and(|plan| !plan.resources_needed.is_empty()),
        when,
    }
}

pub(super) fn preflight(when: &When, seen: &Seen<'_>, event: &Event<'_>) -> Option<Preflight> {
    let section = event.preflight.as_ref()?;
    let mut policies = Policies::default();
    for policy in &section.policies {
        let mandatory = policy.mandatory != Some(false);
        policies.count += 1;
        policies.mandatory += u64::from(mandatory);
        policies.mandatory_passed += u64::from(mandatory && facts::verdict(policy) == Some(true));
    }
    Some(Preflight {
        when: when.clone(),
        checks: seen.facts.preflight_checks,
        kinds: kinds(&section.checks).collect(),
        policies,
        risk: says(section.risk),
        cost: says(section.cost),
        quota: says(section.quota),
    })
}

pub(super) fn execution(when: When, facts: &Facts<'_>, event: &Event<'_>) -> Execution {
    let nothing = event::Execution::default();
    let section = event.execution.as_ref().unwrap_or(&nothing);
    let pinned = |tool: &&event::Tool<'_>| tool.version.is_some() || tool.sha256.is_some();
    let credentials = section.credentials.as_ref();
    Execution {
        when,
        steps: facts.steps,
        logged: section.steps.iter().filter(|step| is_logged(step)).count() as u64,
        executor: facts.executor.as_deref().map(str::to_owned),
        agent: facts.agent.as_deref().map(str::to_owned),
        mtls: section.mtls,
        pipes_widened: !facts.widened_pipes.is_empty(),
        credentials: credentials.and_then(|credentials| text(credentials.kind.as_ref())),
        credentials_ttl_s: credentials.and_then(|credentials| credentials.ttl_s),
        tools: section.tools.len() as u64,
        tools_pinned: section.tools.iter().filter(pinned).count() as u64,
        guards: members(section.guards),
        guarded: says(section.guards),
        waves: section.waves.len() as u64,
        telemetry: section.telemetry_ref.as_ref().is_some_and(|text| !text.is_empty()),
    }
}

pub(super) fn round(when: When, facts: &Facts<'_>, event: &Event<'_>) -> Option<Round> {
    let section = event.verification.as_ref()?;
    let drift = section.drift.as_ref();
    let baseline = drift.is_some_and(|drift| drift.baseline_hash.is_some() && drift.current_hash.is_some());
    let diff = drift.and_then(|drift| drift.diff.given());
    Some(Round {
        when,
        checks: facts::tests(&section.checks),
        slo: facts::tests(&section.slo),
        kinds: kinds(&section.checks).chain(kinds(&section.slo)).collect(),
        passed: facts.marks.any(Marks::VERIFIED) && !facts.marks.any(Marks::VERIFY_FAILED),
        failed: facts.marks.any(Marks::VERIFY_FAILED),
        drift_checked: baseline || diff.is_some(),
        baseline,
        drift: diff.map(|diff| diff.len() as u64),
        monitored: drift.and_then(|drift| drift.monitored).map(|monitored| says(Some(monitored))),
        duration_ms: section.duration_ms.filter(|ms| *ms >= 0.0),
        wait_ms: section.wait_ms.filter(|ms| *ms >= 0.0),
    })
}

fn kinds(checks: &[Check<'_>]) -> impl Iterator<Item = String> {
    checks.iter().filter_map(|check| text(check.kind.as_ref().or(check.name.as_ref())))
}

fn text(text: Option<&Text<'_>>) -> Option<String> {
    text.map(|text| text.as_str().to_owned())
}

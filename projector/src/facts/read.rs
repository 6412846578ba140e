//! From an event to what the folds ask of it: words, counts, verdicts. Version 1 of the fold, frozen with it.

use std::borrow::Cow;

use schemas::event::{Any, Approval, Check, Event, Execution, List, Plan, Policy, Step, Text};
use serde::Deserialize;

use super::{Facts, OrderFacts, PlanFacts, RollbackFacts, Way, Window};
use crate::fold::Marks;

/// Results of checks, policies or service levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tests {
    /// All of them.
    pub count: u64,
    /// Those that say they held.
    pub passed: u64,
    /// Those that say they did not.
    pub failed: u64,
}

/// Steps by return code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// All of them.
    pub count: u64,
    /// Return code 0.
    pub succeeded: u64,
    /// Another return code; the rest has none yet.
    pub failed: u64,
}

/// What an approval's word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The plan may run.
    Approved,
    /// It may not.
    Refused,
    /// No word, or one that says neither.
    Unclear,
}

/// What an approval's word means. An unknown word approves nothing.
pub fn decided(approval: &Approval<'_>) -> Decision {
    decision(approval.decision.as_deref())
}

/// Words that approve. Version 1 of the fold, as all words here: frozen with it, and compared without regard to ASCII case.
const APPROVAL: [&str; 10] =
    ["approved", "approve", "accepted", "accept", "allowed", "allow", "granted", "pass", "passed", "yes"];

/// Words that refuse: those of rules 1. Later rules may know more, and then the outcome in an event's header says so.
const REFUSAL: [&str; 12] = [
    "refused",
    "refuse",
    "rejected",
    "reject",
    "denied",
    "deny",
    "declined",
    "decline",
    "disapproved",
    "no",
    "fail",
    "failed",
];

/// Words of a rollback that failed: those of rules 1.
const FAILURE: [&str; 13] = [
    "failed",
    "failure",
    "fail",
    "error",
    "errored",
    "rollback_failed",
    "partial",
    "incomplete",
    "aborted",
    "cancelled",
    "canceled",
    "timeout",
    "timed_out",
];

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

pub(crate) fn decision(word: Option<&str>) -> Decision {
    match word {
        Some(word) if is_one_of(word, &APPROVAL) => Decision::Approved,
        Some(word) if is_one_of(word, &REFUSAL) => Decision::Refused,
        _ => Decision::Unclear,
    }
}

/// Whether the outcome of an executed rollback is a failure.
pub(crate) fn is_failure(word: &str) -> bool {
    is_one_of(word, &FAILURE)
}

/// What an event says, but for its marks.
pub(super) fn of<'a>(event: &Event<'a>) -> Facts<'a> {
    let mut facts = Facts { attempt: attempt(event.attempt), readable: true, ..Facts::default() };
    if let Some(intent) = &event.intent {
        facts.request = cow(intent.request.as_ref());
        facts.source = cow(intent.source.as_ref());
        facts.initiator = cow(intent.initiator.as_ref());
    }
    if let Some(governance) = &event.governance {
        facts.owner = cow(governance.owner.as_ref());
        facts.visibility = cow(governance.visibility.as_ref());
        if governance.closed == Some(true) {
            facts.marks = Marks::CLOSED;
        }
    }
    facts.plan = event.plan.as_ref().map(plan_facts);
    if let Some(preflight) = &event.preflight {
        facts.approvals = preflight.approvals.to_vec();
        facts.preflight_checks = tests(&preflight.checks);
        facts.policies = Tests::of(preflight.policies.iter().map(verdict));
        facts.tls_unverified |= unverified(preflight.tls_verified);
    }
    if let Some(execution) = &event.execution {
        facts.agent = cow(execution.agent.as_ref());
        facts.executor = cow(execution.executor.as_ref());
        facts.steps = Steps::of(&execution.steps);
        facts.way = way(execution);
        facts.more_steps = execution.remaining.and_then(Any::read::<f64>).is_some_and(|number| number > 0.0);
        facts.tls_unverified |= unverified(execution.tls_verified);
        let allowed = &schemas::canonicals::get().pipe_allow_list;
        let widened =
            execution.pipe_allow_list.iter().filter(|pipe| !allowed.iter().any(|known| known == pipe.as_str()));
        facts.widened_pipes = widened.map(Text::to_cow).collect();
    }
    if let Some(verification) = &event.verification {
        facts.checks = Tests::of(verification.checks.iter().chain(&verification.slo).map(|check| check.ok));
        let diff = verification.drift.as_ref().and_then(|drift| drift.diff.given());
        facts.drift = diff.map(|diff| diff.len() as u64);
        facts.tls_unverified |= unverified(verification.tls_verified);
    }
    let executed = event.rollback.as_ref().and_then(|rollback| rollback.executed.as_ref());
    facts.rollback = executed
        .map(|executed| RollbackFacts { steps: Steps::of(&executed.steps), outcome: cow(executed.outcome.as_ref()) });
    facts.asked = event.request.and_then(asked);
    facts.order = event.order.and_then(order);
    facts
}

/// Whether a section says that certificates were not checked.
fn unverified(said: Option<Any<'_>>) -> bool {
    said.and_then(Any::read::<bool>) == Some(false)
}

impl Tests {
    fn of(verdicts: impl Iterator<Item = Option<bool>>) -> Self {
        let mut tests = Self::default();
        for verdict in verdicts {
            tests.count += 1;
            tests.passed += u64::from(verdict == Some(true));
            tests.failed += u64::from(verdict == Some(false));
        }
        tests
    }
}

/// Results of checks.
pub(crate) fn tests(checks: &[Check<'_>]) -> Tests {
    Tests::of(checks.iter().map(|check| check.ok))
}

impl Steps {
    fn of(steps: &[Step<'_>]) -> Self {
        let mut found = Self::default();
        for step in steps {
            found.count += 1;
            found.succeeded += u64::from(step.rc == Some(0.0));
            found.failed += u64::from(step.rc.is_some_and(|rc| rc != 0.0));
        }
        found
    }
}

/// `execution.started` and `execution.tried`.
#[derive(Deserialize)]
struct Begun<'a> {
    #[serde(borrow)]
    step: Option<Text<'a>>,
}

/// The one that ends it before the others.
fn way<'a>(execution: &Execution<'a>) -> Option<Way<'a>> {
    let step = |begun: Option<Any<'a>>| cow(begun?.read::<Begun<'a>>()?.step.as_ref());
    let begins = || step(execution.started).map(Way::Begins);
    let again = || step(execution.tried).map(Way::Again);
    let paused = || execution.paused.is_some().then_some(Way::Paused);
    execution.cancelled.is_some().then_some(Way::Cancelled).or_else(paused).or_else(again).or_else(begins)
}

/// `request`, as the door for requests writes it.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    resources: Option<Any<'a>>,
}

fn asked(request: Any<'_>) -> Option<u64> {
    let resources = request.read::<Asked<'_>>()?.resources;
    Some(resources.and_then(Any::read::<List<Any<'_>>>).map_or(0, |list| list.len() as u64))
}

/// `order`.
#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    by: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}

fn order(section: Any<'_>) -> Option<OrderFacts<'_>> {
    let Order { kind, by, reason } = section.read()?;
    Some(OrderFacts { kind: cow(kind.as_ref()), by: cow(by.as_ref()), reason: cow(reason.as_ref()) })
}

fn cow<'a>(text: Option<&Text<'a>>) -> Option<Cow<'a, str>> {
    text.map(Text::to_cow)
}

/// An attempt is a whole number from 1 to 2^53, as far as a number of JSON is exact; anything else is the first.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number up to 2^53")]
pub(crate) fn attempt(number: Option<f64>) -> u64 {
    match number {
        Some(number) if number.fract() == 0.0 && (1.0..=9_007_199_254_740_992.0).contains(&number) => number as u64,
        _ => 1,
    }
}

fn plan_facts<'a>(plan: &Plan<'a>) -> PlanFacts<'a> {
    PlanFacts {
        commands: plan.commands.len() as u64,
        digest: cow(plan.digest.as_ref()),
        needs_nothing: plan.resources_needed.given().is_some_and(<[_]>::is_empty),
        approvers: plan.approvals.iter().map(Text::to_cow).collect(),
        artifacts: plan.artifacts.iter().filter_map(|artifact| cow(artifact.digest.as_ref())).collect(),
        window: plan.window.and_then(Window::read),
    }
}

/// What a policy said for its change.
pub(crate) fn verdict(policy: &Policy<'_>) -> Option<bool> {
    policy_verdict(policy.mandatory, policy.ok, decision(policy.decision.as_deref()))
}

/// Mandatory unless it says otherwise; a policy that is not may deny without consequence.
pub(crate) fn policy_verdict(mandatory: Option<bool>, ok: Option<bool>, word: Decision) -> Option<bool> {
    if ok == Some(false) || word == Decision::Refused {
        return (mandatory != Some(false)).then_some(false);
    }
    (ok == Some(true) || word == Decision::Approved).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_bad_news_are_those_of_rules_1() {
        let rules: serde_json::Value = serde_json::from_str(schemas::rules::current().text).unwrap();
        assert_eq!(rules["rules"], 1, "later rules need a later fold, or stand in headers");
        assert_eq!(rules["outcome"]["refusal"], serde_json::json!(REFUSAL));
        assert_eq!(rules["outcome"]["failure"], serde_json::json!(FAILURE));
        assert!(APPROVAL.iter().all(|word| !REFUSAL.contains(word)));
        assert_eq!(decision(Some("REJECTED")), Decision::Refused);
        assert_eq!(decision(Some("maybe")), Decision::Unclear);
    }
}

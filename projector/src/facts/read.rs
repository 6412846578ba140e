//! The stored JSON of an event, read in one borrowed pass.
//!
//! Lists whose items only matter by number (checks, policies, steps) are counted while they stream by. Numbers are read as
//! `f64`, so that `1`, `1.0` and `1e0` are the same return code, as they are for JSON.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::{Facts, PlanFacts, RollbackFacts};
use crate::fold::Marks;

/// The pipes that the model allows by default.
const DEFAULT_PIPES: [&str; 8] = ["grep", "jq", "wc", "head", "tail", "cut", "sort", "uniq"];

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

/// One of `preflight.approvals`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Approval<'a> {
    /// Who decided.
    #[serde(borrow)]
    pub approver: Option<Text<'a>>,
    /// In which role.
    #[serde(borrow)]
    pub role: Option<Text<'a>>,
    /// The word of the decision, as sent.
    #[serde(borrow)]
    pub decision: Option<Text<'a>>,
    /// When, in the producer's own words.
    #[serde(borrow)]
    pub at: Option<Text<'a>>,
    /// Which plan was decided about.
    #[serde(borrow)]
    pub plan_digest: Option<Text<'a>>,
    /// Until when, in the producer's own words.
    #[serde(borrow)]
    pub expires: Option<Text<'a>>,
    /// The approver's own signature (it is not checked here).
    #[serde(borrow)]
    pub signature: Option<Text<'a>>,
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

impl Approval<'_> {
    /// Who decided; empty when the event does not say.
    pub fn approver(&self) -> &str {
        self.approver.as_deref().unwrap_or_default()
    }

    /// What the word means. An unknown word approves nothing.
    pub fn decided(&self) -> Decision {
        decision(self.decision.as_deref())
    }
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

/// Reads a stored event.
pub(super) fn read(payload: &[u8]) -> Result<Facts<'_>, serde_json::Error> {
    let Document { provisioning_event: body } = serde_json::from_slice(payload)?;
    let mut facts = Facts { attempt: attempt(body.attempt), readable: true, ..Facts::default() };
    if let Some(intent) = body.intent {
        facts.request = cow(intent.request);
        facts.source = cow(intent.source);
        facts.initiator = cow(intent.initiator);
    }
    if let Some(governance) = body.governance {
        facts.owner = cow(governance.owner);
        facts.visibility = cow(governance.visibility);
        if governance.closed == Some(true) {
            facts.marks = Marks::CLOSED;
        }
    }
    facts.plan = body.plan.map(plan_facts);
    if let Some(preflight) = body.preflight {
        facts.approvals = preflight.approvals.unwrap_or_default();
        facts.preflight_checks = preflight.checks.unwrap_or_default().0;
        facts.policies = preflight.policies.unwrap_or_default().0;
    }
    if let Some(execution) = body.execution {
        facts.agent = cow(execution.agent);
        facts.executor = cow(execution.executor);
        facts.steps = execution.steps.unwrap_or_default().0;
        facts.widened_pipes = execution.pipe_allow_list.unwrap_or_default().0;
    }
    if let Some(verification) = body.verification {
        facts.checks = sum(verification.checks, verification.slo);
        facts.drift = verification.drift.and_then(|drift| drift.diff).map(|diff| diff.0);
    }
    facts.rollback = body
        .rollback
        .and_then(|rollback| rollback.executed)
        .map(|executed| RollbackFacts { steps: executed.steps.unwrap_or_default().0, outcome: cow(executed.outcome) });
    Ok(facts)
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    provisioning_event: Body<'a>,
}

#[derive(Deserialize)]
struct Body<'a> {
    attempt: Option<f64>,
    #[serde(borrow)]
    intent: Option<Intent<'a>>,
    #[serde(borrow)]
    plan: Option<Plan<'a>>,
    #[serde(borrow)]
    preflight: Option<Preflight<'a>>,
    #[serde(borrow)]
    execution: Option<Execution<'a>>,
    verification: Option<Verification>,
    #[serde(borrow)]
    governance: Option<Governance<'a>>,
    #[serde(borrow)]
    rollback: Option<Rollback<'a>>,
}

#[derive(Deserialize)]
struct Intent<'a> {
    #[serde(borrow)]
    request: Option<Text<'a>>,
    #[serde(borrow)]
    source: Option<Text<'a>>,
    #[serde(borrow)]
    initiator: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Plan<'a> {
    commands: Option<Count>,
    resources_needed: Option<Count>,
    #[serde(borrow)]
    approvals: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    digest: Option<Text<'a>>,
    #[serde(borrow)]
    artifacts: Option<Vec<Artifact<'a>>>,
    window: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Artifact<'a> {
    #[serde(borrow)]
    digest: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Preflight<'a> {
    checks: Option<Tally<Checked>>,
    #[serde(borrow)]
    policies: Option<Tally<Policy<'a>>>,
    #[serde(borrow)]
    approvals: Option<Vec<Approval<'a>>>,
}

#[derive(Deserialize)]
struct Execution<'a> {
    #[serde(borrow)]
    agent: Option<Text<'a>>,
    #[serde(borrow)]
    executor: Option<Text<'a>>,
    #[serde(borrow)]
    pipe_allow_list: Option<WidenedPipes<'a>>,
    steps: Option<StepTally>,
}

#[derive(Deserialize)]
struct Verification {
    checks: Option<Tally<Checked>>,
    slo: Option<Tally<Checked>>,
    drift: Option<Drift>,
}

#[derive(Deserialize)]
struct Drift {
    diff: Option<Count>,
}

#[derive(Deserialize)]
struct Governance<'a> {
    #[serde(borrow)]
    owner: Option<Text<'a>>,
    #[serde(borrow)]
    visibility: Option<Text<'a>>,
    closed: Option<bool>,
}

#[derive(Deserialize)]
struct Rollback<'a> {
    #[serde(borrow)]
    executed: Option<Executed<'a>>,
}

#[derive(Deserialize)]
struct Executed<'a> {
    steps: Option<StepTally>,
    #[serde(borrow)]
    outcome: Option<Text<'a>>,
}

/// A string borrowed where it holds no escapes. (`Option<Cow<str>>` would always be copied by serde.)
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

fn cow(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|text| text.0)
}

/// An attempt is a whole number from 1 to 2^53, as far as a number of JSON is exact; anything else is the first.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number up to 2^53")]
pub(crate) fn attempt(number: Option<f64>) -> u64 {
    match number {
        Some(number) if number.fract() == 0.0 && (1.0..=9_007_199_254_740_992.0).contains(&number) => number as u64,
        _ => 1,
    }
}

fn plan_facts(plan: Plan<'_>) -> PlanFacts<'_> {
    PlanFacts {
        commands: plan.commands.map_or(0, |count| count.0),
        digest: cow(plan.digest),
        needs_nothing: plan.resources_needed.is_some_and(|needed| needed.0 == 0),
        approvers: plan.approvals.unwrap_or_default().into_iter().map(|name| name.0).collect(),
        artifacts: plan.artifacts.unwrap_or_default().into_iter().filter_map(|artifact| cow(artifact.digest)).collect(),
        window: plan.window.as_ref().and_then(window),
    }
}

/// A window is two times: `{start, end}` (also `from`, `to`), or `start/end` as ISO 8601 writes it. Any other form is no window that
/// can be judged.
fn window(value: &serde_json::Value) -> Option<(i64, i64)> {
    let member = |a: &str, b: &str| value.get(a).or_else(|| value.get(b))?.as_str();
    let (from, to) = match value.as_str() {
        Some(text) => text.split_once('/')?,
        None => (member("start", "from")?, member("end", "to")?),
    };
    Some((schemas::time::seconds(from)?, schemas::time::seconds(to)?))
}

fn sum(checks: Option<Tally<Checked>>, levels: Option<Tally<Checked>>) -> Tests {
    let (a, b) = (checks.unwrap_or_default().0, levels.unwrap_or_default().0);
    Tests { count: a.count + b.count, passed: a.passed + b.passed, failed: a.failed + b.failed }
}

/// An item that holds, fails, or says neither.
trait Verdict {
    fn verdict(&self) -> Option<bool>;
}

#[derive(Deserialize)]
struct Checked {
    ok: Option<bool>,
}

impl Verdict for Checked {
    fn verdict(&self) -> Option<bool> {
        self.ok
    }
}

#[derive(Deserialize)]
struct Policy<'a> {
    mandatory: Option<bool>,
    ok: Option<bool>,
    #[serde(borrow)]
    decision: Option<Text<'a>>,
}

impl Verdict for Policy<'_> {
    fn verdict(&self) -> Option<bool> {
        policy_verdict(self.mandatory, self.ok, decision(self.decision.as_deref()))
    }
}

/// Mandatory unless it says otherwise; a policy that is not may deny without consequence.
pub(crate) fn policy_verdict(mandatory: Option<bool>, ok: Option<bool>, word: Decision) -> Option<bool> {
    if ok == Some(false) || word == Decision::Refused {
        return (mandatory != Some(false)).then_some(false);
    }
    (ok == Some(true) || word == Decision::Approved).then_some(true)
}

#[derive(Deserialize)]
struct Step {
    rc: Option<f64>,
}

struct Tally<T>(Tests, PhantomData<T>);

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self(Tests::default(), PhantomData)
    }
}

#[derive(Default)]
struct StepTally(Steps);

#[derive(Default)]
struct Count(u64);

#[derive(Default)]
struct WidenedPipes<'a>(Vec<Cow<'a, str>>);

impl<'de, T: Verdict + Deserialize<'de>> Deserialize<'de> for Tally<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tests = Tests::default();
        each(deserializer, |item: T| {
            tests.count += 1;
            tests.passed += u64::from(item.verdict() == Some(true));
            tests.failed += u64::from(item.verdict() == Some(false));
        })?;
        Ok(Self(tests, PhantomData))
    }
}

impl<'de> Deserialize<'de> for StepTally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut steps = Steps::default();
        each(deserializer, |step: Step| {
            steps.count += 1;
            steps.succeeded += u64::from(step.rc == Some(0.0));
            steps.failed += u64::from(step.rc.is_some_and(|rc| rc != 0.0));
        })?;
        Ok(Self(steps))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut count = 0;
        each(deserializer, |_: IgnoredAny| count += 1)?;
        Ok(Self(count))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WidenedPipes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut widened = Vec::new();
        each(deserializer, |pipe: Text<'a>| {
            if !DEFAULT_PIPES.contains(&&*pipe) {
                widened.push(pipe.0);
            }
        })?;
        Ok(Self(widened))
    }
}

/// Hands over the items of a list one by one, keeping none.
fn each<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D, take: impl FnMut(T)) -> Result<(), D::Error> {
    struct Items<F, T>(F, PhantomData<T>);

    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Items<F, T> {
        type Value = ();

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            while let Some(item) = items.next_element()? {
                (self.0)(item);
            }
            Ok(())
        }
    }

    deserializer.deserialize_seq(Items(take, PhantomData))
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

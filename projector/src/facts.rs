//! What one event says about its change, as far as the folds ask.
//!
//! A payload that cannot be read (its rules were newer than this binary) falls back to its header, so that one entry never stops a view; bad
//! news in the header's `outcome` is kept in every case.
//!
//! Left out: judging several events together ([`crate::fold`], `judge`), and every section that no fold looks at.

use std::borrow::Cow;

use ledger::entry::EventHeader;
use schemas::admit::Outcome;
use schemas::event::{Approval, Event};
use schemas::ids::Phase;

use crate::fold::Marks;

mod gist;
mod read;
mod window;

pub use gist::{Gist, Said};
pub use read::{Decision, Steps, Tests, decided};
pub(crate) use read::{decision, is_failure, policy_verdict, tests, verdict};
pub use window::Window;

/// Who may see a change. The narrower, the smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Its owner alone; also what a missing or unknown word means.
    #[default]
    Private,
    /// The owner's team.
    Team,
    /// Everybody of the tenant.
    Org,
}

impl Visibility {
    /// The word of the model.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Team => "team",
            Self::Org => "org",
        }
    }

    /// The visibility a word stands for; `None` for a word the model does not have.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "private" => Some(Self::Private),
            "team" => Some(Self::Team),
            "org" => Some(Self::Org),
            _ => None,
        }
    }
}

/// What one event says, borrowed from its payload.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// The attempt it belongs to, from 1.
    pub attempt: u64,
    /// What it adds to the state of that attempt.
    pub marks: Marks,
    /// False when the payload could not be read and only the header spoke.
    pub readable: bool,
    /// `intent.request`.
    pub request: Option<Cow<'a, str>>,
    /// `intent.source`.
    pub source: Option<Cow<'a, str>>,
    /// `intent.initiator`.
    pub initiator: Option<Cow<'a, str>>,
    /// `governance.owner`.
    pub owner: Option<Cow<'a, str>>,
    /// `governance.visibility`, whatever word it is.
    pub visibility: Option<Cow<'a, str>>,
    /// `execution.agent`.
    pub agent: Option<Cow<'a, str>>,
    /// `execution.executor`.
    pub executor: Option<Cow<'a, str>>,
    /// The plan section, if there is one.
    pub plan: Option<PlanFacts<'a>>,
    /// Pipes that `execution.pipe_allow_list` allows beyond the model's default.
    pub widened_pipes: Vec<Cow<'a, str>>,
    /// `preflight.approvals`.
    pub approvals: Vec<Approval<'a>>,
    /// `preflight.checks`.
    pub preflight_checks: Tests,
    /// `preflight.policies`; failed = mandatory and denied.
    pub policies: Tests,
    /// `execution.steps`.
    pub steps: Steps,
    /// What an execution says beside its steps.
    pub way: Option<Way<'a>>,
    /// `execution.remaining` says that steps are not over yet.
    pub more_steps: bool,
    /// `tls_verified` of preflight, execution or verification is false: certificates were not checked.
    pub tls_unverified: bool,
    /// `verification.checks` and `verification.slo`.
    pub checks: Tests,
    /// `verification.drift.diff`: its length, absent without a diff.
    pub drift: Option<u64>,
    /// `rollback.executed`, if there is one.
    pub rollback: Option<RollbackFacts<'a>>,
    /// `request`: it came in by the door for requests, and asks for so many resources beside what its words say.
    pub asked: Option<u64>,
    /// `order`, if there is one.
    pub order: Option<OrderFacts<'a>>,
}

/// What an order to the workers says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFacts<'a> {
    /// pause, resume, …
    pub kind: Option<Cow<'a, str>>,
    /// Who gives it.
    pub by: Option<Cow<'a, str>>,
    /// Why.
    pub reason: Option<Cow<'a, str>>,
}

/// What an execution says beside its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// A try of this step begins.
    Begins(Cow<'a, str>),
    /// A try of this step is followed by another.
    Again(Cow<'a, str>),
    /// It goes no further until somebody says so.
    Paused,
    /// It goes no further.
    Cancelled,
}

/// What the plan section says.
#[derive(Clone, Debug, Default)]
pub struct PlanFacts<'a> {
    /// Number of commands.
    pub commands: u64,
    /// The digest its producer computed.
    pub digest: Option<Cow<'a, str>>,
    /// `resources_needed` is there and empty: nothing has to be checked before this plan runs.
    pub needs_nothing: bool,
    /// Who must approve, as the plan names them.
    pub approvers: Vec<Cow<'a, str>>,
    /// Digests of its artifacts, as the plan gives them.
    pub artifacts: Vec<Cow<'a, str>>,
    /// When it may run.
    pub window: Option<Window>,
}

/// What an executed rollback says.
#[derive(Clone, Debug, Default)]
pub struct RollbackFacts<'a> {
    /// Its steps.
    pub steps: Steps,
    /// Its outcome; absent while it is under way.
    pub outcome: Option<Cow<'a, str>>,
}

impl<'a> Facts<'a> {
    /// Reads an event. `payload` is the stored event, `None` when it was erased.
    pub fn of(header: &EventHeader, payload: Option<&'a [u8]>) -> Self {
        Self::of_event(header, payload.and_then(|bytes| Event::parse(bytes).ok()).as_ref())
    }

    /// What an event says that was read already; `None` when it was erased or cannot be read.
    pub fn of_event(header: &EventHeader, event: Option<&Event<'a>>) -> Self {
        let mut facts = event.map_or_else(|| Self { attempt: 1, ..Self::default() }, read::of);
        facts.marks = if facts.readable { Sections::of(&facts).marks(header.phase) } else { marks_of_header(header) };
        facts.marks = with_bad_news(facts.marks, header.outcome);
        facts
    }

    /// The same, whatever becomes of the payload.
    pub fn into_owned(self) -> Facts<'static> {
        Facts {
            attempt: self.attempt,
            marks: self.marks,
            readable: self.readable,
            request: owned(self.request),
            source: owned(self.source),
            initiator: owned(self.initiator),
            owner: owned(self.owner),
            visibility: owned(self.visibility),
            agent: owned(self.agent),
            executor: owned(self.executor),
            plan: self.plan.map(PlanFacts::into_owned),
            widened_pipes: all_owned(self.widened_pipes),
            approvals: self.approvals.into_iter().map(Approval::into_owned).collect(),
            preflight_checks: self.preflight_checks,
            policies: self.policies,
            steps: self.steps,
            way: self.way.map(Way::into_owned),
            more_steps: self.more_steps,
            tls_unverified: self.tls_unverified,
            checks: self.checks,
            drift: self.drift,
            rollback: self
                .rollback
                .map(|rollback| RollbackFacts { steps: rollback.steps, outcome: owned(rollback.outcome) }),
            asked: self.asked,
            order: self.order.map(|order| OrderFacts {
                kind: owned(order.kind),
                by: owned(order.by),
                reason: owned(order.reason),
            }),
        }
    }

    /// The visibility this event asks for: an unknown word asks for `private`, no word asks for nothing.
    pub fn asked_visibility(&self) -> Option<Visibility> {
        self.visibility.as_deref().map(|word| Visibility::parse(word).unwrap_or_default())
    }
}

impl Way<'_> {
    fn into_owned(self) -> Way<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Begins(step) => Way::Begins(own(step)),
            Self::Again(step) => Way::Again(own(step)),
            Self::Paused => Way::Paused,
            Self::Cancelled => Way::Cancelled,
        }
    }
}

impl PlanFacts<'_> {
    fn into_owned(self) -> PlanFacts<'static> {
        PlanFacts {
            commands: self.commands,
            digest: owned(self.digest),
            needs_nothing: self.needs_nothing,
            approvers: all_owned(self.approvers),
            artifacts: all_owned(self.artifacts),
            window: self.window,
        }
    }
}

fn owned(text: Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
    text.map(|text| Cow::Owned(text.into_owned()))
}

fn all_owned(texts: Vec<Cow<'_, str>>) -> Vec<Cow<'static, str>> {
    texts.into_iter().map(|text| Cow::Owned(text.into_owned())).collect()
}

/// What the sections of an event amount to.
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of its own, and they are independent")]
struct Sections {
    closed: bool,
    plan: bool,
    preflight: Tests,
    policies: Tests,
    approved: bool,
    refused: bool,
    steps: Steps,
    more_steps: bool,
    checks: Tests,
    no_drift: bool,
    /// Steps of an executed rollback, and whether its outcome is a failure; no outcome while it is under way.
    rollback: Option<(Steps, Option<bool>)>,
}

impl Sections {
    fn of(facts: &Facts<'_>) -> Self {
        let decided = |decision| facts.approvals.iter().any(|approval| read::decided(approval) == decision);
        Self {
            closed: facts.marks.any(Marks::CLOSED),
            plan: facts.plan.is_some(),
            preflight: facts.preflight_checks,
            policies: facts.policies,
            approved: decided(Decision::Approved),
            refused: decided(Decision::Refused),
            steps: facts.steps,
            more_steps: facts.more_steps,
            checks: facts.checks,
            no_drift: facts.drift == Some(0),
            rollback: facts
                .rollback
                .as_ref()
                .map(|rollback| (rollback.steps, rollback.outcome.as_deref().map(read::is_failure))),
        }
    }

    /// The sections in the order plan, preflight, approvals, execute, verify, rollback; only `closed` looks at `phase`.
    fn marks(&self, phase: Phase) -> Marks {
        let mut marks = Marks::NONE;
        let mut add = |holds: bool, mark| {
            if holds {
                marks |= mark;
            }
        };
        add(self.closed && phase == Phase::Audit, Marks::CLOSED);
        add(self.plan || phase == Phase::Plan, Marks::PLANNED);
        if self.preflight.failed > 0 {
            add(true, Marks::PREFLIGHT_FAILED);
        } else {
            add(self.preflight.passed + self.policies.passed > 0 && self.policies.failed == 0, Marks::PREFLIGHT_PASSED);
        }
        add(self.approved, Marks::APPROVED);
        add(self.refused || self.policies.failed > 0, Marks::REFUSED);
        if phase == Phase::Execute || self.steps.count > 0 {
            add(true, Marks::EXECUTING);
            add(self.steps.failed > 0, Marks::FAILED);
            let all_succeeded = self.steps.count > 0 && self.steps.succeeded == self.steps.count;
            add(all_succeeded && !self.more_steps, Marks::EXECUTED);
        }
        add(self.checks.failed > 0, Marks::VERIFY_FAILED);
        add(self.checks.failed == 0 && (self.checks.passed > 0 || self.no_drift), Marks::VERIFIED);
        if let Some((steps, failed)) = self.rollback {
            add(true, Marks::ROLLING_BACK);
            add(steps.failed > 0 || failed == Some(true), Marks::ROLLBACK_FAILED);
            add(steps.failed == 0 && failed == Some(false), Marks::ROLLED_BACK);
        }
        marks
    }
}

/// What a header alone tells: which sections there are, and never a success that the payload would have to show.
fn marks_of_header(header: &EventHeader) -> Marks {
    let mut marks = Marks::NONE;
    for (name, mark) in [("plan", Marks::PLANNED), ("execution", Marks::EXECUTING), ("rollback", Marks::ROLLING_BACK)] {
        if header.has.iter().any(|has| has == name) {
            marks |= mark;
        }
    }
    marks
}

/// The header's outcome follows the rules that admitted the event: what it calls bad stays bad whatever was read above.
fn with_bad_news(marks: Marks, outcome: Outcome) -> Marks {
    match outcome {
        Outcome::RollbackFailed => marks | Marks::ROLLING_BACK | Marks::ROLLBACK_FAILED,
        Outcome::Refused => marks | Marks::REFUSED,
        Outcome::Failed if !marks.any(Marks::BAD) => marks | furthest_failure(marks),
        Outcome::Failed | Outcome::RolledBack | Outcome::Passed | Outcome::None => marks,
    }
}

/// Where a failure of an unnamed section belongs: the furthest stage that the event reached.
fn furthest_failure(marks: Marks) -> Marks {
    if marks.any(Marks::VERIFIED) {
        Marks::VERIFY_FAILED
    } else if marks.any(Marks::EXECUTING) {
        Marks::FAILED
    } else {
        Marks::PREFLIGHT_FAILED
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::fold::State;
    use crate::testing::{event, raw};

    fn check(phase: &str, sections: &Value, expect: State) {
        let made = event(phase, sections);
        let facts = Facts::of(&made.header, Some(&made.payload));
        assert!(facts.readable, "{sections}");
        assert_eq!(facts.marks.state(), expect, "{phase} {sections}");
    }

    #[test]
    fn each_section_speaks_whatever_the_phase() {
        use State::{
            Approved, Closed, Executed, Executing, Failed, Planned, PreflightFailed, PreflightPassed, Refused,
            RollbackFailed, RolledBack, RollingBack, Verified, VerifyFailed,
        };
        let cases = [
            (json!({}), Planned),
            (json!({"plan": {"commands": ["a"]}}), Planned),
            (json!({"preflight": {}}), Planned),
            (json!({"preflight": {"checks": [{"name": "quota"}]}}), Planned),
            (json!({"preflight": {"checks": [{"ok": true}]}}), PreflightPassed),
            (json!({"preflight": {"checks": [{"ok": true}, {"ok": false}]}}), PreflightFailed),
            (json!({"preflight": {"approvals": [{"approver": "bob", "decision": "approved"}]}}), Approved),
            (json!({"preflight": {"approvals": [{"approver": "bob", "decision": "perhaps"}]}}), Planned),
            (json!({"preflight": {"approvals": [{"approver": "bob"}]}}), Planned),
            (
                json!({"preflight": {"approvals": [{"approver": "b", "decision": "approved"}, {"approver": "c", "decision": "refused"}]}}),
                Refused,
            ),
            (json!({"execution": {"steps": [{"rc": 0}]}}), Executed),
            (json!({"execution": {"steps": [{"rc": 0.0}, {"rc": 0e5}]}}), Executed),
            (json!({"execution": {"steps": [{"rc": 0}, {"cmd": "b"}]}}), Executing),
            (json!({"execution": {"steps": [{"rc": 0}], "remaining": 2}}), Executing),
            (json!({"execution": {"steps": [{"rc": 0}], "remaining": 0}}), Executed),
            (json!({"execution": {"steps": [{"rc": 1}], "remaining": 2}}), Failed),
            (json!({"execution": {"steps": [{"rc": 0}, {"rc": -1}, {"cmd": "b"}]}}), Failed),
            (json!({"verification": {}}), Planned),
            (json!({"verification": {"checks": [{"ok": true}]}}), Verified),
            (json!({"verification": {"checks": [{"ok": true}], "slo": [{"ok": false}]}}), VerifyFailed),
            (json!({"verification": {"drift": {"diff": []}}}), Verified),
            (json!({"verification": {"drift": {"diff": ["x"]}}}), Planned),
            (json!({"execution": {"steps": [{"rc": 1}]}, "verification": {"checks": [{"ok": true}]}}), Failed),
            (json!({"rollback": {"available": true, "plan": ["undo"]}}), Planned),
            (json!({"rollback": {"executed": {}}}), RollingBack),
            (json!({"rollback": {"executed": {"steps": [{"rc": 0}]}}}), RollingBack),
            (json!({"rollback": {"executed": {"outcome": "passed"}}}), RolledBack),
            (json!({"rollback": {"executed": {"outcome": "failed"}}}), RollbackFailed),
            (json!({"rollback": {"executed": {"steps": [{"rc": 3}]}}}), RollbackFailed),
            (json!({"governance": {"closed": false}}), Planned),
        ];
        for (sections, state) in cases {
            check("audit", &sections, state);
            check("plan", &sections, state);
        }
        check("audit", &json!({"governance": {"closed": true}}), Closed);
        check("plan", &json!({"governance": {"closed": true}}), Planned);
        check("execute", &json!({}), Executing);
    }

    #[test]
    fn an_attempt_is_a_whole_number_from_one() {
        for (value, expect) in [
            (json!(null), 1),
            (json!(1), 1),
            (json!(7), 7),
            (json!(7.0), 7),
            (json!(0), 1),
            (json!(-3), 1),
            (json!(1.5), 1),
            (json!(9_007_199_254_740_992_u64), 9_007_199_254_740_992),
            (json!(u64::MAX), 1),
        ] {
            let made = event("plan", &json!({ "attempt": value }));
            assert_eq!(Facts::of(&made.header, Some(&made.payload)).attempt, expect, "{value}");
        }
    }

    #[test]
    fn bad_news_of_the_header_is_kept_whatever_was_read() {
        let passed = json!({"execution": {"steps": [{"rc": 0}]}});
        for (outcome, expect) in [
            (Outcome::Passed, State::Executed),
            (Outcome::None, State::Executed),
            (Outcome::Failed, State::Failed),
            (Outcome::RollbackFailed, State::RollbackFailed),
        ] {
            let mut made = event("execute", &passed);
            made.header.outcome = outcome;
            assert_eq!(Facts::of(&made.header, Some(&made.payload)).marks.state(), expect);
        }
        let mut refused =
            event("preflight", &json!({"preflight": {"approvals": [{"approver": "b", "decision": "njet"}]}}));
        refused.header.outcome = Outcome::Refused;
        assert_eq!(Facts::of(&refused.header, Some(&refused.payload)).marks.state(), State::Refused);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_header() {
        let hostile: [&[u8]; 6] = [
            b"",
            b"[]",
            b"{\"provisioning_event\": 1}",
            b"\xff",
            b"{\"provisioning_event\":{\"plan\":\"x\"}}",
            b"null",
        ];
        for payload in hostile {
            let mut made = raw("execute", payload.to_vec());
            made.header.has = schemas::admit::Has::from_names(["execution", "verification"]).unwrap();
            made.header.outcome = Outcome::Passed;
            let facts = Facts::of(&made.header, Some(&made.payload));
            assert!(!facts.readable);
            assert_eq!(facts.marks.state(), State::Executing, "a success needs its payload");
        }
    }

    #[test]
    fn visibility_of_an_unknown_word_is_private() {
        for (word, expect) in [
            (json!({}), None),
            (json!({"governance": {"visibility": "team"}}), Some(Visibility::Team)),
            (json!({"governance": {"visibility": "org"}}), Some(Visibility::Org)),
            (json!({"governance": {"visibility": "ORG"}}), Some(Visibility::Private)),
            (json!({"governance": {"visibility": ""}}), Some(Visibility::Private)),
        ] {
            let made = event("plan", &word);
            assert_eq!(Facts::of(&made.header, Some(&made.payload)).asked_visibility(), expect, "{word}");
        }
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let made = event("plan", &json!({}));
        let facts = Facts::of(&made.header, Some(&made.payload));
        assert!(matches!(facts.initiator, Some(Cow::Borrowed("ann"))));
    }

    /// Values of every type, at places that the reader looks at and at one that it does not.
    fn places() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
        let places = vec![
            "/attempt",
            "/plan",
            "/plan/commands",
            "/plan/approvals",
            "/plan/resources_needed",
            "/plan/digest",
            "/preflight",
            "/preflight/checks",
            "/preflight/policies",
            "/preflight/approvals",
            "/execution/steps",
            "/execution/remaining",
            "/execution/started",
            "/execution/started/step",
            "/execution/tried",
            "/execution/paused",
            "/execution/cancelled",
            "/execution/tls_verified",
            "/execution/agent",
            "/execution/executor",
            "/execution/pipe_allow_list",
            "/verification/checks",
            "/verification/slo",
            "/verification/drift",
            "/verification/drift/diff",
            "/governance/owner",
            "/governance/visibility",
            "/governance/closed",
            "/rollback/executed",
            "/rollback/executed/steps",
            "/rollback/executed/outcome",
            "/other",
        ];
        let values = vec![
            json!(null),
            json!(true),
            json!(0),
            json!(1.0),
            json!(1e15),
            json!(-2.5),
            json!("x"),
            json!(""),
            json!([]),
            json!({}),
            json!([1]),
            json!(["x", "y"]),
            json!([{}]),
            json!([null]),
            json!([{"ok": 1}]),
            json!([{"ok": false}]),
            json!([{"rc": 1.0}]),
            json!([{"rc": 1.5}]),
            json!([{"rc": "0"}]),
            json!([{"approver": null}]),
            json!([{"approver": "a", "signature": {}}]),
            json!([{"approver": "a", "signature": "s", "decision": "no"}]),
            json!([{"mandatory": false, "decision": "deny"}]),
            json!({"outcome": "failed", "steps": [{"rc": 0}]}),
            json!([[[]]]),
        ];
        prop::collection::vec((prop::sample::select(places), prop::sample::select(values)), 1..4)
    }

    fn put(event: &mut Value, pointer: &str, value: Value) {
        let mut place = event;
        for name in pointer.split('/').skip(1) {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[name];
        }
        *place = value;
    }

    proptest! {
        #[test]
        fn whatever_is_admitted_has_a_gist_that_says_the_same(places in places(), phase in 0..Phase::ALL.len()) {
            let mut sections = json!({});
            for (place, value) in places {
                put(&mut sections, place, value);
            }
            let made = event(Phase::ALL[phase].as_str(), &sections);
            let mut tape = schemas::scan::Tape::default();
            let gist = Gist::scan(&made.payload, &mut tape, made.header.phase);
            let facts = Facts::of(&made.header, Some(&made.payload));
            let admitted = schemas::admit::derive(&made.payload, &mut schemas::admit::Scratch::default()).is_ok();
            prop_assert!(!admitted || gist.is_some(), "{}", sections);
            if admitted {
                let said = Said::by(&made.header, gist.as_ref());
                prop_assert_eq!(said, Said::from(&facts), "{}", sections);
            }
        }

        #[test]
        fn whatever_is_admitted_can_be_read(places in places()) {
            let mut sections = json!({});
            for (place, value) in places {
                put(&mut sections, place, value);
            }
            let made = event("execute", &sections);
            let admitted = schemas::admit::derive(&made.payload, &mut schemas::admit::Scratch::default()).is_ok();
            prop_assert!(!admitted || Facts::of(&made.header, Some(&made.payload)).readable, "{}", sections);
        }
    }
}

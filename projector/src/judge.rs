//! Which anomalies the entries of a change determine.
//!
//! Order here is the order of the log, never the producers' clocks; the one comparison of clocks is an anomaly of its own.
//! Names are compared as sent: nobody's identity is proved by a payload.

use std::collections::BTreeSet;

use crate::anomaly::{Anomaly, Code};
use crate::document::{Seen, Tried};
use crate::facts::{Approval, Decision, Visibility};
use crate::fold::Marks;
use crate::sentence::quote;

/// How far a producer's clock may be from the log's, milliseconds.
const CLOCKS_APART_MS_MAX: i128 = 5 * 60 * 1000;

/// The model's words for `intent.source`. As all words here they are version 1's own, so that no later list changes old verdicts.
const SOURCES: [&str; 3] = ["chatops", "api", "ticket"];

/// The model's words for `execution.agent`.
const AGENTS: [&str; 1] = ["agent-session"];

/// All anomalies, by index and then code, each once.
pub(crate) fn anomalies(seen: &[Seen<'_>], attempts: &[Tried<'_>]) -> Vec<Anomaly> {
    let mut found = Found::default();
    for seen in seen {
        of_entry(&mut found, seen);
    }
    for tried in attempts {
        of_execution(&mut found, tried);
        of_verification(&mut found, tried);
        of_approvals(&mut found, tried);
    }
    found.0.into_iter().map(|(index, code, attempt, text)| Anomaly { code, index, attempt, text }).collect()
}

/// Sorted by index, code, attempt, sentence.
#[derive(Default)]
struct Found(BTreeSet<(u64, Code, u64, String)>);

impl Found {
    fn add(&mut self, code: Code, seen: &Seen<'_>, text: impl Into<String>) {
        self.0.insert((seen.index, code, seen.facts.attempt, text.into()));
    }
}

/// What one entry shows by itself.
fn of_entry(found: &mut Found, seen: &Seen<'_>) {
    let facts = &seen.facts;
    if !facts.readable {
        found.add(Code::PayloadNotRead, seen, "The payload is gone or could not be read; only its header counts here.");
    }
    if let Some(source) = facts.source.as_deref().filter(|source| !SOURCES.contains(source)) {
        found.add(Code::UnknownSource, seen, format!("The source {} is none of the model's.", quote(source)));
    }
    if let Some(agent) = facts.agent.as_deref().filter(|agent| !AGENTS.contains(agent)) {
        found.add(Code::UnknownAgent, seen, format!("The agent {} is none of the model's.", quote(agent)));
    }
    if let Some(word) = facts.visibility.as_deref().filter(|word| Visibility::parse(word).is_none()) {
        found.add(
            Code::UnknownVisibility,
            seen,
            format!("The visibility {} is unknown and treated as private.", quote(word)),
        );
    }
    if let Some(pipe) = facts.widened_pipes.first() {
        let more = facts.widened_pipes.len() - 1;
        let text = format!("The pipe allow-list adds {} and {more} more to the model's default.", quote(pipe));
        found.add(Code::PipeAllowListWidened, seen, text);
    }
    of_clock(found, seen);
    let stated = facts.plan.as_ref().and_then(|plan| plan.digest.as_deref());
    if let (Some(stated), Some(computed)) = (stated, &seen.plan_digest)
        && stated != computed
    {
        let text = format!("The producer gives the plan digest {}; the plan as stored has {computed}.", quote(stated));
        found.add(Code::PlanDigestDiffers, seen, text);
    }
}

/// `ts` is floored to seconds, so the producer's time lies anywhere within that second.
fn of_clock(found: &mut Found, seen: &Seen<'_>) {
    let (at, earliest) = (i128::from(seen.header.at), i128::from(seen.header.ts) * 1000);
    let (behind, ahead) = (at - (earliest + 999), earliest - at);
    let (apart_ms, side) = if behind > ahead { (behind, "before") } else { (ahead, "after") };
    if apart_ms > CLOCKS_APART_MS_MAX {
        let text = format!("The producer's time is {} {side} the log's.", span(apart_ms / 1000));
        found.add(Code::ProducerTimeOff, seen, text);
    }
}

/// A span for people, in its two largest units.
fn span(seconds: i128) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// What an executed attempt lacks, shown by its first execution.
fn of_execution(found: &mut Found, tried: &Tried<'_>) {
    let Some(execution) = first(tried, Marks::EXECUTING) else {
        return;
    };
    if !tried.marks.any(Marks::APPROVED) {
        found.add(Code::NoApprovalRecorded, execution, "Executed; no approval of this attempt is recorded.");
    }
    let preflight = Marks::PREFLIGHT_PASSED | Marks::PREFLIGHT_FAILED;
    let policies = tried.seen.iter().any(|seen| seen.facts.policies.count + seen.facts.preflight_checks.count > 0);
    let needs_nothing = tried.seen.iter().any(|seen| seen.facts.plan.as_ref().is_some_and(|plan| plan.needs_nothing));
    if !tried.marks.any(preflight) && !policies && !needs_nothing {
        found.add(Code::ExecutedWithoutPreflight, execution, "Executed; no preflight check or policy is recorded.");
    }
    if tried.marks.any(Marks::PREFLIGHT_FAILED) {
        found.add(Code::ExecutedThoughPreflightFailed, execution, "Executed although a preflight check failed.");
    }
    if tried.marks.any(Marks::REFUSED) {
        found.add(Code::ExecutedThoughRefused, execution, "Executed although it was refused or denied by policy.");
    }
    let approval = first(tried, Marks::APPROVED);
    if let Some(approval) = approval.filter(|approval| approval.index > execution.index) {
        let text = format!("The first approval came after the execution in entry {}.", execution.index);
        found.add(Code::ApprovalAfterExecution, approval, text);
    }
    if approval.is_some() {
        of_required_approvals(found, tried, execution);
    }
}

/// `plan.approvals` names who must approve: a person or a role, compared with both.
fn of_required_approvals(found: &mut Found, tried: &Tried<'_>, execution: &Seen<'_>) {
    let given: BTreeSet<&str> = given(tried)
        .filter(|(_, approval)| approval.decided() == Decision::Approved)
        .flat_map(|(_, approval)| [Some(approval.approver()), approval.role.as_deref()])
        .flatten()
        .collect();
    let plans = tried.seen.iter().filter_map(|seen| seen.facts.plan.as_ref());
    if let Some(missing) = plans.flat_map(|plan| &plan.approvers).find(|name| !given.contains(&***name)) {
        let text = format!("Executed without the approval by {} that the plan asks for.", quote(missing));
        found.add(Code::RequiredApprovalMissing, execution, text);
    }
}

fn of_verification(found: &mut Found, tried: &Tried<'_>) {
    let verification = first(tried, Marks::VERIFIED | Marks::VERIFY_FAILED);
    let execution = first(tried, Marks::EXECUTING);
    if let Some(verification) = verification
        && execution.is_none_or(|execution| execution.index > verification.index)
    {
        found.add(
            Code::VerifiedBeforeExecuted,
            verification,
            "Verified before any execution of this attempt is recorded.",
        );
    }
}

fn of_approvals(found: &mut Found, tried: &Tried<'_>) {
    let (initiators, plan_in_force) = (initiators(tried), tried.plan_in_force());
    let executors: BTreeSet<&str> = tried.seen.iter().filter_map(|seen| seen.facts.executor.as_deref()).collect();
    for (seen, approval) in given(tried).filter(|(_, approval)| approval.decided() == Decision::Approved) {
        let approver = approval.approver();
        if initiators.contains(approver) {
            found.add(Code::ApproverIsInitiator, seen, format!("{} approved a change of their own.", quote(approver)));
        }
        if executors.contains(approver) {
            found.add(Code::ApproverIsExecutor, seen, format!("{} approved what they executed.", quote(approver)));
        }
        if let (Some(digest), Some(plan)) = (approval.plan_digest.as_deref(), plan_in_force)
            && digest != plan
        {
            let text = format!("{} approved the plan {}; in force is {plan}.", quote(approver), quote(digest));
            found.add(Code::ApprovedAnotherPlan, seen, text);
        }
    }
}

/// Who asked for the change. An entry that only records approvals may be sent in the approver's name, so it names an initiator
/// only where nothing else does.
fn initiators<'t>(tried: &'t Tried<'_>) -> BTreeSet<&'t str> {
    let names = |only_approves: bool| -> BTreeSet<&'t str> {
        let entries = tried.seen.iter().filter(|seen| {
            let acts = Marks::PLANNED | Marks::EXECUTING | Marks::ROLLING_BACK;
            let approves = !seen.facts.approvals.is_empty() && !seen.facts.marks.any(acts);
            approves == only_approves
        });
        entries.filter_map(|seen| seen.facts.initiator.as_deref()).collect()
    };
    let acting = names(false);
    if acting.is_empty() { names(true) } else { acting }
}

fn first<'t>(tried: &Tried<'t>, marks: Marks) -> Option<&'t Seen<'t>> {
    tried.seen.iter().copied().find(|seen| seen.facts.marks.any(marks))
}

fn given<'t>(tried: &'t Tried<'_>) -> impl Iterator<Item = (&'t Seen<'t>, &'t Approval<'t>)> {
    tried.seen.iter().flat_map(|seen| seen.facts.approvals.iter().map(move |approval| (*seen, approval)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{EXAMPLE, Made, event, raw, told};

    fn check(events: &[Made], expect: &[(u64, Code)]) {
        let found: Vec<_> = told(events).anomalies.iter().map(|anomaly| (anomaly.index, anomaly.code)).collect();
        assert_eq!(found, expect);
    }

    fn plan() -> Made {
        event("plan", &json!({"plan": {"commands": ["a"]}}))
    }

    fn preflight(approvals: &Value) -> Made {
        event("preflight", &json!({"preflight": {"checks": [{"ok": true}], "approvals": approvals}}))
    }

    fn bob() -> Made {
        preflight(&json!([{"approver": "bob", "role": "owners", "decision": "approved"}]))
    }

    fn execute() -> Made {
        event("execute", &json!({"execution": {"agent": "agent-session", "executor": "eve", "steps": [{"rc": 0}]}}))
    }

    fn verify() -> Made {
        event("verify", &json!({"verification": {"checks": [{"ok": true}]}}))
    }

    #[test]
    fn a_change_by_the_book_has_none() {
        let closed = event("audit", &json!({"governance": {"closed": true, "visibility": "team"}}));
        check(&[plan(), bob(), execute(), verify(), closed], &[]);
        check(&[], &[]);
    }

    #[test]
    fn what_an_execution_lacks() {
        check(&[plan(), preflight(&json!([])), execute()], &[(12, Code::NoApprovalRecorded)]);
        check(&[plan(), execute()], &[(11, Code::NoApprovalRecorded), (11, Code::ExecutedWithoutPreflight)]);
        let needs_nothing = event("plan", &json!({"plan": {"resources_needed": []}}));
        check(&[needs_nothing, execute()], &[(11, Code::NoApprovalRecorded)]);
        let needs = event("plan", &json!({"plan": {"resources_needed": ["vnet"]}}));
        check(&[needs, execute()], &[(11, Code::NoApprovalRecorded), (11, Code::ExecutedWithoutPreflight)]);
        check(&[plan(), bob(), execute(), verify()], &[]);
        let other_attempt = event("execute", &json!({"attempt": 2, "execution": {"steps": [{"rc": 0}]}}));
        check(&[bob(), other_attempt], &[(11, Code::NoApprovalRecorded), (11, Code::ExecutedWithoutPreflight)]);
    }

    #[test]
    fn executed_against_a_no() {
        let failed = event("preflight", &json!({"preflight": {"checks": [{"ok": false}]}}));
        check(&[bob(), failed, execute()], &[(12, Code::ExecutedThoughPreflightFailed)]);
        let refused = preflight(&json!([{"approver": "carl", "decision": "rejected"}]));
        check(&[bob(), refused, execute()], &[(12, Code::ExecutedThoughRefused)]);
        let denied = event("preflight", &json!({"preflight": {"policies": [{"name": "p", "ok": false}]}}));
        check(&[bob(), denied, execute()], &[(12, Code::ExecutedThoughRefused)]);
        let advised = event("preflight", &json!({"preflight": {"policies": [{"ok": false, "mandatory": false}]}}));
        check(&[bob(), advised, execute()], &[]);
    }

    #[test]
    fn order_in_the_log() {
        check(&[execute(), bob()], &[(11, Code::ApprovalAfterExecution)]);
        check(&[bob(), execute(), bob()], &[]);
        check(&[bob(), verify(), execute()], &[(11, Code::VerifiedBeforeExecuted)]);
        check(&[verify()], &[(10, Code::VerifiedBeforeExecuted)]);
        check(&[bob(), execute(), verify()], &[]);
    }

    #[test]
    fn who_must_approve_and_who_must_not() {
        let asks = |names: Value| event("plan", &json!({"plan": {"approvals": names}}));
        check(&[asks(json!(["owners"])), bob(), execute()], &[]);
        check(&[asks(json!(["bob"])), bob(), execute()], &[]);
        check(&[asks(json!(["owners", "security"])), bob(), execute()], &[(12, Code::RequiredApprovalMissing)]);
        let approve = |name: &str| preflight(&json!([{"approver": name, "decision": "approved"}]));
        check(&[plan(), approve("ann"), execute()], &[(11, Code::ApproverIsInitiator)]);
        check(&[plan(), approve("eve"), execute()], &[(11, Code::ApproverIsExecutor)]);
        let refuse = preflight(&json!([{"approver": "ann", "decision": "refused"}]));
        check(&[plan(), refuse], &[]);
    }

    #[test]
    fn an_approval_sent_in_the_approvers_own_name_is_no_self_approval() {
        let intent = json!({"source": "api", "initiator": "bob", "tenant": "acme"});
        let approvals = json!({"approvals": [{"approver": "bob", "decision": "approved"}]});
        let sent_by_bob = event("preflight", &json!({"intent": intent, "preflight": approvals}));
        check(&[plan(), sent_by_bob.clone()], &[]);
        check(&[sent_by_bob], &[(10, Code::ApproverIsInitiator)]);
    }

    #[test]
    fn words_that_the_model_lacks() {
        let intent = json!({"source": "ci", "initiator": "ann", "tenant": "acme"});
        check(&[event("plan", &json!({ "intent": intent }))], &[(10, Code::UnknownSource)]);
        check(&[event("plan", &json!({"execution": {"agent": "robot"}}))], &[(10, Code::UnknownAgent)]);
        check(&[event("plan", &json!({"governance": {"visibility": "world"}}))], &[(10, Code::UnknownVisibility)]);
        check(
            &[event("plan", &json!({"execution": {"pipe_allow_list": ["jq", "sh"]}}))],
            &[(10, Code::PipeAllowListWidened)],
        );
        check(&[event("plan", &json!({"execution": {"pipe_allow_list": ["jq", "grep"]}}))], &[]);
    }

    #[test]
    fn the_words_of_version_1_are_the_models() {
        let words = schemas::canonicals::get();
        assert_eq!(
            (words.source.as_slice(), words.agent.as_slice()),
            (&SOURCES.map(str::to_owned)[..], &AGENTS.map(str::to_owned)[..])
        );
        let visibilities: Vec<_> =
            [Visibility::Team, Visibility::Org, Visibility::Private].map(Visibility::as_str).into();
        assert_eq!(words.visibility, visibilities);
        let pipes = json!({"execution": {"pipe_allow_list": words.pipe_allow_list}});
        check(&[event("plan", &pipes)], &[]);
    }

    #[test]
    fn clocks_more_than_five_minutes_apart() {
        // Entry 10 is logged at the full second of `ts`, which stands for any moment of that second.
        for (shift, expect) in
            [(0, false), (300, false), (301, true), (-300, false), (-301, true), (i64::MAX / 2, true)]
        {
            let mut made = plan();
            made.header.ts = made.header.ts.saturating_add(shift);
            let found = told(&[made]).anomalies.iter().any(|anomaly| anomaly.code == Code::ProducerTimeOff);
            assert_eq!(found, expect, "{shift}");
        }
    }

    #[test]
    fn digests_of_plans() {
        let digest = schemas::plan::digest(&plan().payload).unwrap();
        let stated = |digest: &str| event("plan", &json!({"plan": {"commands": ["a"], "digest": digest}}));
        check(&[stated(&digest)], &[]);
        check(&[stated("sha256:00")], &[(10, Code::PlanDigestDiffers)]);
        let approve =
            |digest: &str| preflight(&json!([{"approver": "bob", "decision": "approved", "plan_digest": digest}]));
        check(&[plan(), approve(&digest), execute()], &[]);
        check(&[plan(), approve("sha256:00"), execute()], &[(11, Code::ApprovedAnotherPlan)]);
        let changed = event("plan", &json!({"plan": {"commands": ["b"]}}));
        check(&[plan(), approve(&digest), changed.clone(), execute()], &[(11, Code::ApprovedAnotherPlan)]);
        check(&[plan(), approve(&digest), execute(), changed], &[]);
        check(&[approve("sha256:00")], &[]);
    }

    #[test]
    fn every_code_has_a_word_and_can_be_told() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        let anomaly = &told(&[raw("execute", EXAMPLE.into())]).anomalies[0];
        assert_eq!((anomaly.attempt, &*anomaly.text), (1, "Executed; no approval of this attempt is recorded."));
    }

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (seconds, expect) in
            [(301, "5 min 1 s"), (3_600, "1 h 0 min"), (86_399, "23 h 59 min"), (17_488_621, "202 d 9 h")]
        {
            assert_eq!(span(seconds), expect, "{seconds}");
        }
    }
}

//! Which entries show which anomalies.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::document::{Context, Entry};
use crate::testing::{BORN_S, EXAMPLE, Made, approval, approving, by, change, event, logged, raw, told, told_with};

fn check(events: &[Made], expect: &[(u64, Code)]) {
    let found: Vec<_> = told(events).anomalies.iter().map(|anomaly| (anomaly.index, anomaly.code)).collect();
    assert_eq!(found, expect);
}

fn plan() -> Made {
    event("plan", &json!({"plan": {"commands": ["a"]}}))
}

fn bob() -> Made {
    approving(&json!([approval(&json!({}))]))
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
    check(&[plan(), approving(&json!([])), execute()], &[(12, Code::NoApprovalRecorded)]);
    check(&[plan(), execute()], &[(11, Code::NoApprovalRecorded), (11, Code::ExecutedWithoutPreflight)]);
    let needs_nothing = event("plan", &json!({"plan": {"resources_needed": []}}));
    check(&[needs_nothing, execute()], &[(11, Code::NoApprovalRecorded)]);
    let needs = event("plan", &json!({"plan": {"resources_needed": ["vnet"]}}));
    check(&[needs, execute()], &[(11, Code::NoApprovalRecorded), (11, Code::ExecutedWithoutPreflight)]);
    check(&[plan(), bob(), execute(), verify()], &[]);
    check(&[bob(), execute()], &[(11, Code::ExecutedWithoutPlan)]);
    let other_attempt = event("execute", &json!({"attempt": 2, "execution": {"steps": [{"rc": 0}]}}));
    let lacks = [Code::NoApprovalRecorded, Code::ExecutedWithoutPlan, Code::ExecutedWithoutPreflight];
    check(&[plan(), bob(), other_attempt], &lacks.map(|code| (12, code)));
}

#[test]
fn executed_against_a_no() {
    let failed = event("preflight", &json!({"preflight": {"checks": [{"ok": false}]}}));
    check(&[plan(), bob(), failed, execute()], &[(13, Code::ExecutedThoughPreflightFailed)]);
    let refused = approving(&json!([{"approver": "carl", "decision": "rejected"}]));
    check(&[plan(), bob(), refused, execute()], &[(13, Code::ExecutedThoughRefused)]);
    let denied = event("preflight", &json!({"preflight": {"policies": [{"name": "p", "ok": false}]}}));
    check(&[plan(), bob(), denied, execute()], &[(13, Code::ExecutedThoughRefused)]);
    let advised = event("preflight", &json!({"preflight": {"policies": [{"ok": false, "mandatory": false}]}}));
    check(&[plan(), bob(), advised, execute()], &[]);
}

#[test]
fn order_in_the_log() {
    let late = [(11, Code::RequiredApprovalMissing), (12, Code::ApprovalAfterExecution)];
    check(&[plan(), execute(), bob()], &late);
    check(&[plan(), bob(), execute(), bob()], &[]);
    check(&[plan(), bob(), verify(), execute()], &[(12, Code::VerifiedBeforeExecuted)]);
    check(&[verify()], &[(10, Code::VerifiedBeforeExecuted)]);
    check(&[plan(), bob(), execute(), verify()], &[]);
}

/// A verification is of what stands before it: what is executed behind the last one is verified by none.
#[test]
fn what_is_executed_again_is_verified_again() {
    let closed = event("audit", &json!({"governance": {"closed": true, "visibility": "team"}}));
    let again = (14, Code::ExecutedAfterVerification);
    let [done, sneaked] = [[plan(), bob(), execute(), verify()], [execute(), closed.clone(), verify(), closed.clone()]];
    let first = |count: usize| [&done[..], &sneaked[..count]].concat();
    check(&first(1), &[again]);
    check(&first(2), &[again, (15, Code::ClosedUnverified)]);
    check(&[&done[..], &[execute(), verify(), closed.clone()]].concat(), &[]);
    check(
        &[&done[..], &[closed, execute()]].concat(),
        &[(15, Code::ExecutedAfterVerification), (15, Code::ActedAfterClosing)],
    );
    assert_eq!(later(&first(1), 25), [again, (14, Code::VerificationMissing)]);
    assert_eq!(
        later(&[plan(), bob(), verify(), execute()], 25),
        [(12, Code::VerifiedBeforeExecuted), (13, Code::VerificationMissing)]
    );
    let text = &told(&first(1)).anomalies[0].text;
    assert_eq!(text, "Executed again after the verification in entry 13; nothing is verified since.");
    // Going back is no execution, and what fails and is done well afterwards in a later attempt has to be looked at there.
    let back = event("execute", &json!({"rollback": {"executed": {"outcome": "done", "steps": [{"rc": 0}]}}}));
    check(&[&done[..], &[back]].concat(), &[]);
}

#[test]
fn a_later_attempt_mends_only_when_it_is_verified_last() {
    let failed = event("execute", &json!({"execution": {"steps": [{"rc": 1}]}}));
    let second = |made: &str, sections: &Value| {
        let mut sections = sections.clone();
        sections["attempt"] = json!(2);
        event(made, &sections)
    };
    let ran = second("execute", &json!({"execution": {"steps": [{"rc": 0}]}}));
    let held = second("verify", &json!({"verification": {"checks": [{"ok": true}]}}));
    let standing = |events: &[Made]| later(events, 25).iter().any(|(_, code)| *code == Code::FailedNotRolledBack);
    assert!(!standing(&[failed.clone(), ran.clone(), held.clone()]));
    assert!(standing(&[failed.clone(), ran.clone(), held, ran]));
    assert!(standing(&[failed, second("plan", &json!({}))]));
}

/// The state of a change is that of its highest attempt, so a number far beyond hides all others for ever: it is told.
#[test]
fn attempts_that_are_skipped_are_told() {
    let of = |attempt: u64| event("audit", &json!({ "attempt": attempt }));
    let failed = event("execute", &json!({"execution": {"steps": [{"rc": 1}]}}));
    check(&[plan(), bob(), failed, of(9_007_199_254_740_992)], &[(13, Code::AttemptsSkipped)]);
    check(&[of(1), of(2), of(3), of(3)], &[]);
    check(&[of(3), of(2), of(1)], &[]);
    check(&[of(2), of(5), of(5)], &[(10, Code::AttemptsSkipped), (11, Code::AttemptsSkipped)]);
    let texts = |events: &[Made]| told(events).anomalies.into_iter().map(|anomaly| anomaly.text).collect::<Vec<_>>();
    let (one, two) =
        ("One attempt is not on record before attempt 2.", "2 attempts are not on record before attempt 5.");
    assert_eq!(texts(&[of(2), of(5)]), [one, two]);
}

#[test]
fn an_emergency_is_approved_afterwards() {
    let urgent = |mut made: Made| {
        made.header.class = Some(schemas::ids::ChangeClass::Emergency);
        made
    };
    check(&[plan(), urgent(execute()), bob()], &[]);
    check(
        &[plan(), execute(), urgent(bob())],
        &[(11, Code::RequiredApprovalMissing), (12, Code::ApprovalAfterExecution)],
    );
    let mut late = told(&[plan(), urgent(execute())]);
    assert_eq!(late.anomalies.remove(0).code, Code::NoApprovalRecorded);
}

#[test]
fn who_must_approve_and_who_must_not() {
    let asks = |names: Value| event("plan", &json!({"plan": {"approvals": names}}));
    check(&[asks(json!(["owners"])), bob(), execute()], &[]);
    check(&[asks(json!(["bob"])), bob(), execute()], &[]);
    check(&[asks(json!(["owners", "security"])), bob(), execute()], &[(12, Code::RequiredApprovalMissing)]);
    let approve = |name: &str| approving(&json!([approval(&json!({"approver": name}))]));
    let missing = (12, Code::RequiredApprovalMissing);
    check(&[plan(), approve("ann"), execute()], &[(11, Code::ApproverIsInitiator), missing]);
    check(&[plan(), approve(" Ann"), execute()], &[(11, Code::ApproverIsInitiator), missing]);
    check(&[plan(), approve("eve"), execute()], &[(11, Code::ApproverIsExecutor), missing]);
    let refuse = approving(&json!([{"approver": "ann", "decision": "refused"}]));
    check(&[plan(), refuse], &[]);
}

#[test]
fn an_approval_that_is_only_claimed() {
    let missing = (12, Code::RequiredApprovalMissing);
    let bare = approving(&json!([{"approver": "bob", "decision": "approved"}]));
    check(&[plan(), bare, execute()], &[missing]);
    check(&[plan(), bob(), by("chat", execute())], &[missing]);
    let expired = approving(&json!([approval(&json!({"expires": "2025-10-09T12:00:01Z"}))]));
    check(&[plan(), expired, execute()], &[(11, Code::ApprovalExpired), missing]);
    let ahead = approving(&json!([approval(&json!({"at": "2025-10-09T13:00:00Z"}))]));
    check(&[plan(), ahead, execute()], &[(11, Code::ApprovalTimeAhead), missing]);
    let forged = approving(&json!([approval(&json!({"signature": "x"}))]));
    check(&[plan(), forged, execute()], &[(11, Code::ApprovalSignatureBad)]);
}

fn later(events: &[Made], hours: u64) -> Vec<(u64, Code)> {
    let context = Context { as_of_ms: BORN_S.unsigned_abs() * 1000 + hours * 3_600_000, ..Context::default() };
    told_with(events, &context).anomalies.iter().map(|anomaly| (anomaly.index, anomaly.code)).collect()
}

#[test]
fn what_is_missing_a_day_after() {
    let done = [plan(), bob(), execute()];
    assert_eq!(later(&done, 23), []);
    assert_eq!(later(&done, 25), [(12, Code::VerificationMissing)]);
    assert_eq!(later(&[plan(), bob(), execute(), verify()], 25), []);
    let failed = event("execute", &json!({"execution": {"steps": [{"rc": 1}]}}));
    let lacks = [(12, Code::VerificationMissing), (12, Code::FailedNotRolledBack)];
    assert_eq!(later(&[plan(), bob(), failed.clone()], 25), lacks);
    let back = event("execute", &json!({"rollback": {"executed": {"outcome": "done", "steps": [{"rc": 0}]}}}));
    assert_eq!(later(&[plan(), bob(), failed.clone(), back.clone()], 25), [(13, Code::RollbackUnverified)]);
    assert_eq!(later(&[plan(), bob(), failed.clone(), back, verify()], 25), []);
    let again = event("verify", &json!({"attempt": 2, "verification": {"checks": [{"ok": true}]}}));
    let codes: Vec<_> = later(&[plan(), bob(), failed, again], 25);
    assert!(!codes.iter().any(|(_, code)| *code == Code::FailedNotRolledBack), "{codes:?}");
}

/// Whoever asks, and whenever: the document as of then, and the rows that wait for the log's time.
#[test]
fn an_approval_is_over_from_its_end_on() {
    let end_ms = 1_760_011_800_000;
    let events = [plan(), approving(&json!([approval(&json!({"expires": "2025-10-09T12:10:00Z"}))]))];
    let over = |events: &[Made], as_of_ms: u64| {
        let context = Context { as_of_ms, ..Context::default() };
        let told = told_with(events, &context).anomalies;
        told.into_iter().find(|anomaly| anomaly.code == Code::ApprovalExpired).map(|anomaly| anomaly.at)
    };
    assert_eq!((over(&events, end_ms), over(&events, end_ms + 1)), (None, Some(end_ms + 1)));
    assert_eq!(over(&events, end_ms * 2), Some(end_ms + 1));
    let logged = logged(&events);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    let waiting = crate::detail::detail(&change(), &entries, &crate::approval::Rules::default()).anomalies;
    assert!(waiting.iter().any(|anomaly| (anomaly.code, anomaly.at) == (Code::ApprovalExpired, end_ms + 1)));
    let late = [plan(), approving(&json!([approval(&json!({"expires": "2025-10-08T12:00:00Z"}))]))];
    assert_eq!(over(&late, end_ms), Some(told(&late).timeline[1].at), "never from before its entry");
}

#[test]
fn windows_closing_and_ids() {
    let within = |window: Value| event("plan", &json!({"plan": {"commands": ["a"], "window": window}}));
    let (open, over) = (
        "2025-10-09T11:00:00Z/2025-10-09T13:00:00Z",
        json!({"start": "2025-10-08T11:00:00Z", "end": "2025-10-08T13:00:00Z"}),
    );
    check(&[within(json!(open)), bob(), execute()], &[]);
    check(&[within(over), bob(), execute()], &[(12, Code::ExecutedOutsideWindow)]);
    check(&[within(json!("tuesdays")), bob(), execute()], &[]);
    let not_yet = json!({"not_before": "2025-10-10T11:00:00Z", "not_after": "2025-10-10T13:00:00Z"});
    let told = told(&[within(not_yet.clone()), bob(), execute()]).anomalies.remove(0);
    assert_eq!(told.text, "Executed before the window of its plan, “2025-10-10T11:00:00Z” to “2025-10-10T13:00:00Z”.");
    // Going back need not wait for a window.
    let back = event("execute", &json!({"rollback": {"executed": {"outcome": "done", "steps": [{"rc": 0}]}}}));
    check(&[within(not_yet), bob(), back, verify()], &[]);
    let closed = event("audit", &json!({"governance": {"closed": true, "visibility": "team"}}));
    check(&[plan(), bob(), execute(), closed.clone()], &[(13, Code::ClosedUnverified)]);
    check(&[plan(), bob(), closed, execute()], &[(12, Code::ClosedUnverified), (13, Code::ActedAfterClosing)]);
    let same = |mut made: Made| {
        made.header.id = EventId::parse("same").unwrap();
        made
    };
    let other = event("plan", &json!({"plan": {"commands": ["b"]}}));
    check(&[same(plan()), same(other.clone())], &[(11, Code::SameIdOtherBytes)]);
    check(&[same(plan()), same(plan()), same(bob())], &[]);
    check(&[plan(), other], &[]);
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
    for (phase, section) in [("plan", "execution"), ("preflight", "preflight"), ("verify", "verification")] {
        let says = |verified: Value| {
            let said = json!({ section: {"tls_verified": verified} });
            let anomalies = told(&[event(phase, &said)]).anomalies;
            anomalies.iter().any(|anomaly| anomaly.code == Code::TlsNotVerified)
        };
        assert!(says(json!(false)) && !says(json!(true)) && !says(json!("no")), "{section}");
    }
    check(&[event("plan", &json!({"execution": {"tls_verified": true}}))], &[]);
}

#[test]
fn the_words_of_version_1_are_the_models() {
    let words = schemas::canonicals::get();
    assert_eq!(
        (words.source.as_slice(), words.agent.as_slice()),
        (&SOURCES.map(str::to_owned)[..], &AGENTS.map(str::to_owned)[..])
    );
    let visibilities: Vec<_> = [Visibility::Team, Visibility::Org, Visibility::Private].map(Visibility::as_str).into();
    assert_eq!(words.visibility, visibilities);
    let pipes = json!({"execution": {"pipe_allow_list": words.pipe_allow_list}});
    check(&[event("plan", &pipes)], &[]);
}

#[test]
fn clocks_more_than_five_minutes_apart() {
    // Entry 10 is logged at the full second of `ts`, which stands for any moment of that second.
    for (shift, expect) in [(0, false), (300, false), (301, true), (-300, false), (-301, true), (i64::MAX / 2, true)] {
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
    let approve = |digest: &str| approving(&json!([approval(&json!({ "plan_digest": digest }))]));
    check(&[plan(), approve(&digest), execute()], &[]);
    let missing = |index| (index, Code::RequiredApprovalMissing);
    check(&[plan(), approve("sha256:00"), execute()], &[(11, Code::ApprovedAnotherPlan), missing(12)]);
    let changed = event("plan", &json!({"plan": {"commands": ["b"]}}));
    let another = [(11, Code::ApprovedAnotherPlan), missing(13)];
    check(&[plan(), approve(&digest), changed.clone(), execute()], &another);
    let unbound = [(11, Code::PlanChangedAfterApproval), missing(13)];
    check(&[plan(), bob(), changed.clone(), execute()], &unbound);
    check(&[plan(), approve(&digest), execute(), changed], &[(13, Code::PlanChangedAfterExecution)]);
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

proptest! {
    /// Nothing is ever dropped and nothing ever crashes: every entry of any order, repeated or missing, stands on the timeline, and every
    /// anomaly names an entry of the change.
    #[test]
    fn any_order_keeps_every_entry(order in prop::collection::vec(0_usize..8, 0..16), days in 0_u64..4) {
        let changed = event("plan", &json!({"plan": {"commands": ["b"]}}));
        let back = event("execute", &json!({"rollback": {"executed": {"outcome": "failed"}}}));
        let closed = event("audit", &json!({"governance": {"closed": true}}));
        let made = [plan(), changed, bob(), execute(), verify(), back, closed, raw("execute", b"{".to_vec())];
        let events: Vec<Made> = order.iter().map(|at| made[*at].clone()).collect();
        let context = Context { as_of_ms: BORN_S.unsigned_abs() * 1000 + days * DAY_MS, ..Context::default() };
        let document = told_with(&events, &context);
        let places: Vec<u64> = document.timeline.iter().map(|moment| moment.index).collect();
        prop_assert_eq!(&places, &(10..10 + events.len() as u64).collect::<Vec<_>>());
        prop_assert!(document.anomalies.iter().all(|anomaly| places.contains(&anomaly.index)));
        prop_assert!(document.anomalies.iter().all(|anomaly| !anomaly.text.is_empty()));
    }
}

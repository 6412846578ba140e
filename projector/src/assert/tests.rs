//! What passes the gate, and what an attacker tries.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::approval::{Grade, Rule, Rules};
use crate::testing::{BORN_S, Made, approval, approving, by, change, event, logged};

const ARTIFACT: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn ask(events: &[Made], context: &Context, question: &Question) -> Verdict {
    let logged = logged(events);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    assert(&change(), &entries, context, question)
}

fn now() -> Context {
    Context { as_of_ms: BORN_S.unsigned_abs() * 1000 + 60_000, rules: Rules::new("l/acme") }
}

fn planned(command: &str) -> Made {
    let plan = json!({"commands": [command], "artifacts": [{"name": "app", "digest": ARTIFACT}]});
    by("ci", event("plan", &json!({"plan": plan, "rollback": {"plan": ["undo"]}})))
}

fn digest_of(made: &Made) -> String {
    schemas::plan::digest(&made.payload).unwrap()
}

fn approved(members: &Value) -> Made {
    approving(&json!([approval(members)]))
}

fn bound() -> Made {
    approved(&json!({"plan_digest": digest_of(&planned("a"))}))
}

fn policies() -> Made {
    by("policy", event("preflight", &json!({"preflight": {"policies": [{"name": "p", "ok": true}]}})))
}

fn executed() -> Made {
    by("ci", event("execute", &json!({"execution": {"steps": [{"cmd": "a", "rc": 0, "stdout": "done"}]}})))
}

fn verified() -> Made {
    by("ci", event("verify", &json!({"verification": {"checks": [{"ok": true}]}})))
}

/// Which of the requirements do not hold.
fn fails(events: &[Made], requires: &[Requirement]) -> Vec<&'static str> {
    let verdict = ask(events, &now(), &Question { requires: requires.to_vec(), subject: None });
    assert_eq!(verdict.ok, verdict.reasons.iter().all(|reason| reason.ok));
    verdict.reasons.iter().filter(|reason| !reason.ok).map(|reason| reason.requires).collect()
}

use Requirement::{Approved, Evidence, Planned, Policy, Verified};

#[test]
fn a_change_by_the_book_passes_step_by_step() {
    let book = [planned("a"), policies(), bound(), executed(), verified()];
    assert_eq!(fails(&book[..1], &Requirement::ALL), ["approved", "policy", "verified", "evidence"]);
    assert_eq!(fails(&book[..2], &Requirement::ALL), ["approved", "verified", "evidence"]);
    assert_eq!(fails(&book[..3], &Requirement::ALL), ["verified", "evidence"]);
    assert_eq!(fails(&book[..4], &Requirement::ALL), ["verified", "evidence"]);
    assert_eq!(fails(&book, &Requirement::ALL), [""; 0]);
    assert_eq!(fails(&[], &Requirement::ALL), ["planned", "approved", "policy", "verified", "evidence"]);
}

#[test]
fn approvals_that_do_not_open_it() {
    let not = |events: &[Made]| assert_eq!(fails(events, &[Approved]), ["approved"]);
    assert_eq!(fails(&[planned("a"), bound()], &[Approved]), [""; 0]);
    assert_eq!(fails(&[planned("a"), approved(&json!({}))], &[Approved]), [""; 0]);
    // Claimed, by the planner's own producer, by who asked, of no known producer.
    not(&[planned("a"), approving(&json!([{"approver": "bob", "decision": "approved"}]))]);
    not(&[planned("a"), by("ci", bound())]);
    not(&[planned("a"), approved(&json!({"approver": "ann"}))]);
    let mut unnamed = bound();
    unnamed.header.producer = None;
    not(&[planned("a"), unnamed]);
    // Refused after approved, and approved after refused.
    let refused = approving(&json!([{"approver": "carl", "decision": "refused"}]));
    not(&[planned("a"), bound(), refused.clone()]);
    not(&[planned("a"), refused, bound()]);
    // Another plan came after the approval, with or without its digest.
    not(&[planned("a"), bound(), planned("b")]);
    not(&[planned("a"), approved(&json!({})), planned("b")]);
    // Before any plan, and of another attempt.
    not(&[approved(&json!({})), planned("a")]);
    let second = by("ci", event("plan", &json!({"attempt": 2, "plan": {"commands": ["a"]}})));
    not(&[planned("a"), bound(), second]);
    // Expired by now; a time that cannot be read.
    not(&[planned("a"), approved(&json!({"expires": "2025-10-09T12:00:59Z"}))]);
    not(&[planned("a"), approved(&json!({"expires": "never"}))]);
    assert_eq!(fails(&[planned("a"), approved(&json!({"expires": "2025-10-09T12:01:00Z"}))], &[Approved]), [""; 0]);
}

#[test]
fn an_execution_with_another_plan_closes_it() {
    let sneaked =
        by("ci", event("execute", &json!({"plan": {"commands": ["rm"]}, "execution": {"steps": [{"rc": 0}]}})));
    assert_eq!(fails(&[planned("a"), bound(), executed(), sneaked], &[Planned, Approved]), ["approved"]);
}

#[test]
fn policies_of_another_plan_do_not_count() {
    let denied = by("policy", event("preflight", &json!({"preflight": {"policies": [{"ok": false}]}})));
    let check = |ok: bool| by("policy", event("preflight", &json!({"preflight": {"checks": [{"ok": ok}]}})));
    assert_eq!(fails(&[policies(), planned("a")], &[Policy]), ["policy"]);
    assert_eq!(fails(&[planned("a"), policies(), planned("b")], &[Policy]), ["policy"]);
    assert_eq!(fails(&[planned("a"), policies(), planned("a")], &[Policy]), [""; 0], "the same plan again");
    assert_eq!(fails(&[planned("a"), policies(), denied], &[Policy]), ["policy"]);
    assert_eq!(fails(&[planned("a"), policies(), check(false)], &[Policy]), ["policy"]);
    assert_eq!(fails(&[planned("a"), check(true)], &[Policy]), ["policy"], "a check is no policy");
}

#[test]
fn a_verification_before_the_last_execution_is_none() {
    assert_eq!(fails(&[planned("a"), executed(), verified(), executed()], &[Verified]), ["verified"]);
    let failed = by("ci", event("verify", &json!({"verification": {"checks": [{"ok": false}]}})));
    assert_eq!(fails(&[planned("a"), executed(), failed, verified()], &[Verified]), ["verified"]);
}

#[test]
fn evidence_names_what_is_not_on_record() {
    let silent = by("ci", event("execute", &json!({"execution": {"steps": [{"rc": 0}]}})));
    let verdict = ask(&[planned("a"), bound(), silent], &now(), &Question { requires: vec![Evidence], subject: None });
    assert_eq!(verdict.reasons[0].text, "Not on record: the logs of every step, or their digests; a verification.");
}

fn with(events: &[Made], subject: Subject) -> Verdict {
    ask(events, &now(), &Question { requires: vec![], subject: Some(subject) })
}

#[test]
fn only_exactly_what_was_approved() {
    let ready = [planned("a"), bound()];
    let of = |text: &str| Subject::Artifact(digest(text).unwrap());
    let other = "b".repeat(64);
    assert!(with(&ready, of(ARTIFACT)).ok);
    assert!(with(&ready, Subject::Plan(digest_of(&planned("a")))).ok);
    assert!(!with(&ready, of(&other)).ok);
    assert!(!with(&ready, Subject::Plan(digest_of(&planned("b")))).ok);
    assert!(!with(&ready[..1], of(ARTIFACT)).ok, "planned, not approved");
    // Mentioned in an event that is no plan, or in an older plan only.
    let mentioned = by("ci", event("audit", &json!({"artifacts": [{"digest": format!("sha256:{other}")}]})));
    assert!(!with(&[planned("a"), bound(), mentioned], of(&other)).ok);
    let slim = by("ci", event("plan", &json!({"plan": {"commands": ["c"]}})));
    let of_slim = approved(&json!({"plan_digest": digest_of(&slim)}));
    let verdict = with(&[planned("a"), bound(), slim, of_slim], of(ARTIFACT));
    assert!(!verdict.ok);
    assert!(verdict.reasons.last().unwrap().text.contains("names no artifact"));
}

#[test]
fn the_tenants_rule_at_the_gate() {
    let rule = |rule: Rule| Context { rules: Rules::always("l/acme", rule), ..now() };
    let question = |subject| Question { requires: vec![Approved], subject };
    let dev = ["dev".to_owned()].into();
    let mut made = planned("a");
    made.header.env = Some(schemas::ids::Environment::parse("dev").unwrap());
    let prod_only = rule(Rule { environments: Some(["prod".to_owned()].into()), ..Rule::default() });
    assert!(ask(&[made.clone()], &prod_only, &question(None)).ok);
    let exact = question(Some(Subject::Artifact(ARTIFACT.to_owned())));
    assert!(!ask(&[made.clone()], &prod_only, &exact).ok, "an exemption is no approval of a file");
    let needed = rule(Rule { environments: Some(dev), ..Rule::default() });
    assert!(!ask(&[made], &needed, &question(None)).ok);
    let strict = rule(Rule { grade: Grade::Bound, ..Rule::default() });
    assert!(!ask(&[planned("a"), approved(&json!({}))], &strict, &question(None)).ok);
    assert!(ask(&[planned("a"), bound()], &strict, &question(None)).ok);
}

#[test]
fn digests_are_read_strictly() {
    assert_eq!(digest(&"AB".repeat(32)), Some(format!("sha256:{}", "ab".repeat(32))));
    for bad in ["", "sha256:", "sha512:00", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
        assert_eq!(digest(bad), None, "{bad}");
    }
}

proptest! {
    /// No set of entries without a counting approval of the newest plan opens the gate for it.
    #[test]
    fn nothing_but_the_approval_opens_it(order in prop::collection::vec(0_usize..7, 0..10)) {
        let made = [
            planned("a"), planned("b"), by("ci", bound()), policies(), executed(), verified(),
            approving(&json!([{"approver": "bob", "decision": "approved", "plan_digest": digest_of(&planned("a"))}])),
        ];
        let events: Vec<Made> = order.iter().map(|at| made[*at].clone()).collect();
        for subject in [digest_of(&planned("a")), digest_of(&planned("b"))] {
            prop_assert!(!with(&events, Subject::Plan(subject)).ok);
        }
    }
}

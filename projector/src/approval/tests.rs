//! What approvals are worth, and what an attacker cannot make of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use ledger::entry::EventHeader;

use super::*;
use crate::testing::{Made, approval, approving, by, change, event, logged};

fn graded(events: &[Made], rules: &Rules) -> Approvals {
    let logged = logged(events);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    approvals(&change(), &entries, rules, 0)
}

fn plan() -> Made {
    by("ci", event("plan", &json!({"plan": {"commands": ["a"]}})))
}

fn execute() -> Made {
    by("ci", event("execute", &json!({"execution": {"executor": "eve", "steps": [{"rc": 0}]}})))
}

fn digest() -> String {
    schemas::plan::digest(&plan().payload).unwrap()
}

/// One approval between a plan and an execution.
fn check(members: &Value, grade: Grade, counts: bool, lacks: &[Lack]) {
    let events = [plan(), approving(&json!([approval(members)])), execute()];
    let found = graded(&events, &Rules::new("ledger/acme"));
    let approval = &found.given[0];
    assert_eq!((approval.grade, approval.counts, &*approval.lacks), (grade, counts, lacks), "{members}");
    assert_eq!(found.attempts[0].approved, counts, "{members}");
}

#[test]
fn lacks_have_the_words_of_change_json() {
    use Lack::*;
    let all = [
        NoApprover,
        NoRole,
        NoDecision,
        NoTime,
        TimeAhead,
        NoProducer,
        ExecutingProducer,
        ByInitiator,
        ByExecutor,
        NotOfRole,
        Replayed,
        Expired,
        PlanChanged,
        OtherPlan,
        NoPlanDigest,
        PlanNotOnRecord,
        NoSignature,
        BadSignature,
        UnknownSigner,
    ];
    for lack in all {
        assert_eq!(serde_json::to_value(lack).unwrap(), lack.as_str());
    }
}

/// It lapses while nothing is executed; an execution looks once, and then for ever.
#[test]
fn what_lapses_by_time_alone() {
    let lapses = |members: Value, events: &[Made]| {
        let events = [&[plan(), approving(&json!([approval(&members)]))], events].concat();
        let found = graded(&events, &Rules::default());
        found.with_coverage().map(|(given, coverage)| given.lapses_at(coverage)).collect::<Vec<_>>()
    };
    let end = json!({"expires": "2025-10-09T12:00:02Z"});
    assert_eq!(lapses(end.clone(), &[]), [Some(1_760_011_202_001)]);
    assert_eq!(lapses(end, &[execute()]), [None]);
    assert_eq!(lapses(json!({"expires": "soon"}), &[]), [None], "it is over already");
    assert_eq!(lapses(json!({}), &[]), [None]);
}

#[test]
fn grades() {
    use Grade::{Bound, Claimed, Recorded};
    use Lack::{NoPlanDigest, NoSignature};
    check(&json!({}), Recorded, true, &[NoPlanDigest, NoSignature]);
    check(&json!({"plan_digest": digest()}), Bound, true, &[NoSignature]);
    check(&json!({"plan_digest": "sha256:00"}), Recorded, false, &[Lack::OtherPlan, NoSignature]);
    check(&json!({"role": " "}), Claimed, false, &[Lack::NoRole, NoPlanDigest, NoSignature]);
    check(&json!({"at": "yesterday"}), Claimed, false, &[Lack::NoTime, NoPlanDigest, NoSignature]);
    check(&json!({"at": "2025-10-09T12:06:00Z"}), Claimed, false, &[Lack::TimeAhead, NoPlanDigest, NoSignature]);
    check(&json!({"decision": "perhaps"}), Claimed, false, &[Lack::NoDecision, NoPlanDigest, NoSignature]);
    check(&json!({"approver": "ANN"}), Claimed, false, &[Lack::ByInitiator, NoPlanDigest, NoSignature]);
    check(&json!({"approver": "eve"}), Claimed, false, &[Lack::ByExecutor, NoPlanDigest, NoSignature]);
    check(&json!({"expires": "soon"}), Recorded, false, &[Lack::Expired, NoPlanDigest, NoSignature]);
    check(&json!({"expires": "2025-10-09T12:00:02Z"}), Recorded, true, &[NoPlanDigest, NoSignature]);
    check(&json!({"signature": "x"}), Recorded, true, &[NoPlanDigest, Lack::BadSignature]);
}

#[test]
fn the_executing_producers_own_word_is_a_claim() {
    let sent = |producer: Option<&str>| {
        let mut made = approving(&json!([approval(&json!({}))]));
        made.header.producer = producer.map(|name| Producer::parse(name).unwrap());
        made
    };
    let grade = |events: &[Made]| graded(events, &Rules::default()).given[0].grade;
    assert_eq!(grade(&[plan(), sent(Some("chat")), execute()]), Grade::Recorded);
    assert_eq!(grade(&[plan(), sent(Some("ci")), execute()]), Grade::Claimed);
    assert_eq!(grade(&[plan(), sent(Some("ci"))]), Grade::Claimed, "who plans is taken for who will execute");
    assert_eq!(grade(&[plan(), sent(None), execute()]), Grade::Claimed);
    let other_attempt = by("chat", event("execute", &json!({"attempt": 2, "execution": {"steps": [{"rc": 0}]}})));
    assert_eq!(grade(&[plan(), sent(Some("chat")), execute(), other_attempt]), Grade::Claimed);
}

/// A key made for this test, and `ssh-keygen -Y sign -n upm-approval` over the statement of [`signed_approval`].
const KEY: &str = include_str!("../../testdata/approval/bob.pub");
const SIGNATURE: &str = include_str!("../../testdata/approval/statement.sig");
const STATEMENT: &str = include_str!("../../testdata/approval/statement.json");

fn signed_approval(members: &Value) -> Made {
    let mut approval =
        approval(&json!({"plan_digest": digest(), "signature": SIGNATURE, "expires": "2025-10-10T12:00:00Z"}));
    for (name, value) in members.as_object().unwrap() {
        approval[name] = value.clone();
    }
    approving(&json!([approval]))
}

fn rules(origin: &str, approver: &str) -> Rules {
    let key = ledger::ssh::SshKey::parse(KEY).unwrap();
    let mut rule = Rule::default();
    rule.signers.insert(key.fingerprint(), approver.to_owned());
    Rules::always(origin, rule)
}

#[test]
fn a_signature_of_ssh_keygen() {
    let grade = |approval: Made, rules: &Rules| {
        let found = graded(&[plan(), approval, execute()], rules);
        (found.given[0].grade, found.given[0].lacks.clone())
    };
    let sent = signed_approval(&json!({}));
    let facts = crate::facts::Facts::of(&sent.header, Some(&sent.payload));
    let said = statement("ledger/acme", &change(), &facts.approvals[0]);
    assert_eq!(String::from_utf8(said).unwrap(), STATEMENT);
    let bob = rules("ledger/acme", "bob");
    assert_eq!(grade(sent.clone(), &bob), (Grade::Signed, vec![]));
    assert_eq!(grade(sent.clone(), &Rules::new("ledger/acme")), (Grade::Bound, vec![Lack::UnknownSigner]));
    assert_eq!(grade(sent.clone(), &rules("ledger/acme", "carl")), (Grade::Bound, vec![Lack::UnknownSigner]));
    assert_eq!(grade(sent, &rules("ledger/other", "bob")), (Grade::Bound, vec![Lack::BadSignature]));
    for other in [
        json!({"approver": "carl"}),
        json!({"role": "security"}),
        json!({"decision": "yes"}),
        json!({"at": "2025-10-09T12:00:01Z"}),
        json!({"expires": "2025-10-11T12:00:00Z"}),
    ] {
        let (grade, lacks) = grade(signed_approval(&other), &bob);
        assert_eq!((grade, lacks), (Grade::Bound, vec![Lack::BadSignature]), "{other}");
    }
}

#[test]
fn a_rule_of_two_persons_and_a_role() {
    let facts = |facts: &[(&str, &str)]| {
        facts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let rule =
        Rule::of(&facts(&[("approval.count", "2"), ("approval.roles", "owners, security"), ("owner", "platform")]));
    let rules = Rules::always("o", rule);
    let give = |name: &str, role: &str| approval(&json!({"approver": name, "role": role}));
    let covered = |approvals: Value| graded(&[plan(), approving(&approvals), execute()], &rules).attempts[0].clone();
    let full = covered(json!([give("bob", "owners"), give("carl", "security")]));
    assert_eq!((full.approved, full.grade, full.approved_by), (true, Some(Grade::Recorded), Some(11)));
    let twice = covered(json!([give("bob", "owners"), give("Bob ", "security")]));
    assert_eq!(twice.missing, ["1 of 2 approvals that count (recorded or better)"]);
    let no_role = covered(json!([give("bob", "owners"), give("carl", "owners")]));
    assert_eq!(no_role.missing, ["nobody approved as security"]);
    let refusal = json!({"approver": "dan", "decision": "no"});
    let refused = covered(json!([give("bob", "owners"), give("carl", "security"), refusal]));
    assert_eq!(
        (refused.approved, refused.refused, &*refused.missing[0]),
        (false, Some(11), "it was refused in entry 11")
    );
}

#[test]
fn rules_are_read_or_refused() {
    let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    for (name, value) in [
        ("approval.count", "0"),
        ("approval.count", "two"),
        ("approval.grade", "claimed"),
        ("approval.exempt-classes", "standard,small"),
        ("approval.environments", "prod,,dev"),
        ("approval.ended-after-hours", "0"),
        ("approval.emergency-hours", "-1"),
        ("approval.signer.x", "SHA256:short bob"),
        ("approval.colour", "red"),
        ("approval.role.", "bob"),
        ("approval.role.owners", "bob,,eve"),
    ] {
        let error = Rule::check(&one(name, value)).unwrap_err();
        assert!(error.to_string().contains(value), "{error}");
        assert_eq!(Rule::of(&one(name, value)), Rule::default(), "{name}");
    }
    let (name, value) = Rule::signer_fact(&ledger::ssh::SshKey::parse(KEY).unwrap(), "bob");
    assert_eq!(Rule::check(&one(&name, &value)), Ok(()));
    assert_eq!(Rule::of(&one(&name, &value)).signers.values().collect::<Vec<_>>(), ["bob"]);
}

#[test]
fn what_needs_approval() {
    let rule = Rule::of(&BTreeMap::from([
        ("approval.environments".to_owned(), "prod".to_owned()),
        ("approval.exempt-classes".to_owned(), "standard".to_owned()),
    ]));
    let header = |env: Option<&str>, class: Option<ChangeClass>| {
        let mut header = plan().header;
        header.env = env.map(|env| schemas::ids::Environment::parse(env).unwrap());
        header.class = class;
        header
    };
    let needs = |headers: &[EventHeader]| rule.needs(headers.iter());
    let standard = Some(ChangeClass::Standard);
    assert!(needs(&[header(Some("prod"), None)]));
    assert!(needs(&[header(None, None)]), "an environment that is not named is no exemption");
    assert!(!needs(&[header(Some("dev"), None), header(None, None)]));
    assert!(needs(&[header(Some("dev"), None), header(Some("prod"), None)]));
    assert!(!needs(&[header(Some("prod"), standard)]));
    assert!(needs(&[header(Some("prod"), standard), header(None, Some(ChangeClass::Normal))]));
    assert!(Rule::default().needs([header(Some("dev"), standard)].iter()));
}

#[test]
fn a_rule_holds_behind_the_entry_that_set_it() {
    let facts = |count: &str| BTreeMap::from([("approval.count".to_owned(), count.to_owned())]);
    let (none, two, one) = (BTreeMap::new(), facts("2"), facts("1"));
    let rules = Rules::of("o", &[(3, none), (11, two), (20, one)]);
    assert_eq!([0, 11, 12, 20, 21, u64::MAX].map(|index| rules.at(index).count), [1, 1, 2, 2, 1, 1]);
    assert_eq!(rules.changes().len(), 2);
    assert_eq!(Rules::from_changes("o", rules.changes().to_vec()), rules);
    // Entry 12 executes: the later, looser rule does not count.
    let covered = graded(&[plan(), approving(&json!([approval(&json!({}))])), execute()], &rules);
    assert!(!covered.attempts[0].approved);
}

#[test]
fn an_approval_is_of_its_attempt_alone() {
    let again = by("ci", event("execute", &json!({"attempt": 2, "execution": {"steps": [{"rc": 0}]}})));
    let found = graded(&[plan(), approving(&json!([approval(&json!({}))])), execute(), again], &Rules::default());
    assert_eq!(found.attempts.iter().map(|attempt| attempt.approved).collect::<Vec<_>>(), [true, false]);
}

proptest! {
    /// Whatever is taken away from a full approval, it never rises; and no mix of claims ever approves.
    #[test]
    fn claims_never_approve(bits in prop::collection::vec(0_u8..32, 0..6), count in 1_u64..3) {
        let claims: Vec<Value> = bits.iter().map(|bits| {
            let mut claim = approval(&json!({"plan_digest": digest()}));
            for (bit, name) in ["approver", "role", "decision", "at"].iter().enumerate() {
                if bits & (1 << bit) != 0 {
                    claim.as_object_mut().unwrap().remove(*name);
                }
            }
            if bits.trailing_zeros() >= 4 {
                claim["approver"] = json!("ann");
            }
            claim
        }).collect();
        let rules = Rules::always("o", Rule { count, ..Rule::default() });
        let found = graded(&[plan(), approving(&json!(claims)), execute()], &rules);
        prop_assert!(!found.attempts[0].approved);
        prop_assert!(found.given.iter().all(|given| !given.counts));
    }
}

/// A signature for change `c`, sent again for another one.
#[test]
fn an_approval_of_another_change_is_called_by_its_name() {
    let other = ChangeId::parse("d").unwrap();
    let moved = |mut made: Made| {
        made.header.change = other.clone();
        made
    };
    let logged = logged(&[moved(plan()), moved(signed_approval(&json!({})))]);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    let bob = rules("ledger/acme", "bob");
    let standing = |others: &[ChangeId]| standing(&other, &entries, &bob, 0, others).unwrap().given.remove(0);
    let (graded, of) = standing(&[ChangeId::parse("b").unwrap(), change()]);
    assert_eq!((graded.grade, graded.lacks, of), (Grade::Bound, vec![Lack::BadSignature], Some(change())));
    assert_eq!(standing(&[]).1, None);
    assert!(super::standing(&change(), &entries, &bob, 0, &[]).is_none());
}

/// Whoever asks before executing gets what the gate answers, with each approval.
#[test]
fn the_standing_is_the_gates() {
    let events = [plan(), approving(&json!([approval(&json!({"plan_digest": digest()}))]))];
    let logged = logged(&events);
    let entries: Vec<_> = logged
        .iter()
        .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
        .collect();
    let found = standing(&change(), &entries, &Rules::default(), 0, &[]).unwrap();
    assert!(found.coverage.approved && found.given.len() == 1);
    assert_eq!((found.plan_digest, found.given[0].0.grade), (Some(digest()), Grade::Bound));
}

#[test]
fn a_role_that_the_tenant_gave_to_somebody() {
    let rule = Rule::of(&BTreeMap::from([("approval.role.Owners".to_owned(), "carl, Dan".to_owned())]));
    let rules = Rules::always("o", rule);
    let grade = |name: &str, role: &str| {
        let given = approving(&json!([approval(&json!({"approver": name, "role": role}))]));
        let found = graded(&[plan(), given, execute()], &rules).given.remove(0);
        (found.counts, found.lacks.contains(&Lack::NotOfRole))
    };
    assert_eq!(grade("bob", "owners"), (false, true));
    assert_eq!(grade("dan", "owners"), (true, false));
    assert_eq!(grade("bob", "security"), (true, false), "a role that nobody was given");
}

#[test]
fn what_was_signed_for_one_attempt_is_nothing_in_the_next() {
    let again = |mut made: Made| {
        let mut event: Value = serde_json::from_slice(&made.payload).unwrap();
        event["provisioning_event"]["attempt"] = 2.into();
        made.payload = event.to_string().into_bytes();
        made
    };
    let bob = rules("ledger/acme", "bob");
    let (first, second) = (signed_approval(&json!({})), again(signed_approval(&json!({}))));
    let found = graded(&[plan(), first.clone(), execute(), again(plan()), second.clone()], &bob);
    assert_eq!((found.given[0].grade, found.given[0].counts), (Grade::Signed, true));
    assert_eq!((&*found.given[1].lacks, found.given[1].counts), (&[Lack::Replayed][..], false));
    assert!(found.attempts[0].approved && !found.attempts[1].approved);
    // The same words twice for one attempt say no more than once, and no less.
    let twice = graded(&[again(plan()), second.clone(), second], &bob);
    assert!(twice.attempts[0].approved && twice.given.iter().all(|given| given.counts));
}

/// What is told to whoever is about to approve: each reason, and nothing where it would count.
#[test]
fn an_approval_is_considered_before_it_is_given() {
    let facts = |facts: &[(&str, &str)]| {
        let mut rule = Rule::of(&facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        rule.signers.insert(ledger::ssh::SshKey::parse(KEY).unwrap().fingerprint(), "bob".to_owned());
        Rules::always("ledger/acme", rule)
    };
    let consider = |on_record: &[Made], given: Made, rules: &Rules, now_ms: u64| {
        let logged = logged(&[on_record, &[given]].concat());
        let entries: Vec<_> = logged
            .iter()
            .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
            .collect();
        let (given, on_record) = entries.split_last().unwrap();
        let found = super::consider(&change(), on_record, *given, rules, now_ms).unwrap();
        let codes: Vec<&str> = found.objections.iter().map(Objection::code).collect();
        (found.graded.grade, codes.join(" "), found.coverage.missing.join("; "))
    };
    let no_rule = facts(&[]);
    let check = |on_record: &[Made], given: Made, rules: &Rules, expect: &str| {
        let (_, codes, _) = consider(on_record, given, rules, 0);
        assert_eq!(codes, expect);
    };
    let signed = || signed_approval(&json!({}));
    assert_eq!(consider(&[plan()], signed(), &no_rule, 0), (Grade::Signed, String::new(), String::new()));
    let refusal =
        || approving(&json!([approval(&json!({"approver": "ann", "decision": "refused", "plan_digest": digest()}))]));
    check(&[plan()], approving(&json!([approval(&json!({"plan_digest": digest()}))])), &no_rule, "no_signature");
    check(&[plan()], signed_approval(&json!({"approver": "ann"})), &no_rule, "by_initiator bad_signature");
    check(&[plan()], refusal(), &no_rule, "no_signature");
    check(&[], signed(), &no_rule, "no_plan");
    check(&[plan(), refusal()], signed(), &no_rule, "refused_already");
    check(&[plan(), execute()], signed(), &no_rule, "executed_already");
    let other = by("ci", event("plan", &json!({"plan": {"commands": ["b"]}})));
    check(&[plan(), other], signed(), &no_rule, "other_plan");
    let late = consider(&[plan()], signed(), &no_rule, 1_760_400_000_000);
    assert_eq!(late.1, "expired");
    check(&[plan()], signed(), &Rules::new("ledger/acme"), "unknown_signer");
    check(&[plan()], by("ci", signed()), &no_rule, "executing_producer");
    check(&[plan()], signed(), &facts(&[("approval.roles", "security")]), "role_not_asked_for");
    check(&[plan()], signed(), &facts(&[("approval.roles", "security"), ("approval.count", "2")]), "");
    check(&[plan()], signed(), &facts(&[("approval.roles", "Owners")]), "");
    check(&[plan()], signed(), &facts(&[("approval.role.owners", "carl")]), "not_of_role");
    let named = by("ci", event("plan", &json!({"plan": {"commands": ["a"], "approvals": ["bob"]}})));
    check(&[named], signed(), &no_rule, "");
    let missing = consider(&[plan()], signed(), &facts(&[("approval.count", "2")]), 0).2;
    assert_eq!(missing, "1 of 2 approvals that count (recorded or better)");
}

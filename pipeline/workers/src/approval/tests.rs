use ledger::entry::{EventHeader, Road};
use ledger::hash::Hash;
use projector::approval::{Rules, standing};
use projector::document::Entry as Logged;
use schemas::admit::{Has, Outcome};
use schemas::ids::{EventId, Phase, Producer};
use serde_json::{Value, json};

use super::*;

/// 2025-10-09T12:00:00Z, the time of the entries and of the signed approval.
const NOW_MS: u64 = 1_760_011_200_000;
const KEY: &str = include_str!("../../../../projector/testdata/approval/bob.pub");
/// Of `ssh-keygen -Y sign` over bob's approval of change `c` in log `ledger/acme`.
const SIGNATURE: &str = include_str!("../../../../projector/testdata/approval/statement.sig");

fn change(name: &str) -> ChangeId {
    ChangeId::parse(name).unwrap()
}

fn event(change: &str, phase: &str, producer: &str, section: &str, value: &Value) -> (EventHeader, Vec<u8>) {
    let mut body = json!({"id": "e", "phase": phase, "timestamp": "2025-10-09T12:00:00Z",
        "intent": {"source": "api", "initiator": "ann", "tenant": "acme"}});
    body[section] = value.clone();
    let payload = json!({ "provisioning_event": body }).to_string().into_bytes();
    let header = EventHeader {
        change: self::change(change),
        seq: 0,
        prev: None,
        id: EventId::parse("e").unwrap(),
        phase: Phase::parse(phase).unwrap(),
        env: None,
        class: None,
        probe: false,
        producer: Some(Producer::parse(producer).unwrap()),
        has: Has::default(),
        outcome: Outcome::None,
        ts: 1_760_011_200,
        at: NOW_MS,
        road: Road { epoch: 0, sequence: 1 },
        commit: Hash([0; 32]),
        size: payload.len() as u64,
        masked: 0,
        rules: Hash([0; 32]),
    };
    (header, payload)
}

fn plan(change: &str) -> (EventHeader, Vec<u8>) {
    event(change, "plan", "planner", "plan", &json!({"commands": ["a"]}))
}

fn digest() -> String {
    schemas::plan::digest(&plan("c").1).unwrap()
}

/// An approval of the plan by `who`, with these members.
fn by(who: &str, members: &Value) -> Value {
    let mut approval = json!({"approver": who, "role": "owners", "decision": "approved", "at": "2025-10-09T12:00:00Z",
        "plan_digest": digest()});
    for (name, value) in members.as_object().unwrap() {
        approval[name] = value.clone();
    }
    approval
}

/// Bob's, with his signature.
fn signed(members: &Value) -> Value {
    let mut all = json!({"signature": SIGNATURE, "expires": "2025-10-10T12:00:00Z"});
    for (name, value) in members.as_object().unwrap() {
        all[name] = value.clone();
    }
    by("bob", &all)
}

struct World {
    change: &'static str,
    rule: Rule,
    lane: Option<&'static str>,
    now_ms: u64,
}

impl Default for World {
    fn default() -> Self {
        let mut rule = Rule::default();
        rule.signers.insert(ledger::ssh::SshKey::parse(KEY).unwrap().fingerprint(), "bob".to_owned());
        Self { change: "c", rule, lane: None, now_ms: NOW_MS }
    }
}

impl World {
    fn judge(&self, requirements: &[&Requirement], approvals: &[Value]) -> Judgement {
        let mut events = vec![plan(self.change)];
        if !approvals.is_empty() {
            events.push(event(self.change, "preflight", "chat", "preflight", &json!({ "approvals": approvals })));
        }
        let entries: Vec<Logged<'_>> = events
            .iter()
            .zip(10..)
            .map(|((header, payload), index)| Logged { index, header, payload: Some(payload) })
            .collect();
        let rules = Rules::always("ledger/acme", self.rule.clone());
        let others = [change("b"), change("c")];
        let standing = standing(&change(self.change), &entries, &rules, self.now_ms, &others);
        judge(
            requirements,
            &Asked {
                plan_digest: &digest(),
                executor: Some("eve"),
                lane: self.lane,
                standing: standing.as_ref(),
                rule: &self.rule,
                names: &[],
                now_ms: self.now_ms,
            },
        )
    }
}

/// Reasons against the only approval.
fn against(requirement: &Requirement, approval: Value) -> Vec<String> {
    let judgement = World::default().judge(&[requirement], &[approval]);
    assert_eq!(judgement.satisfied, judgement.refused.is_empty(), "{judgement:?}");
    assert_eq!(judgement.satisfied, judgement.missing.is_empty());
    judgement.refused.iter().flat_map(|refused| refused.reasons.iter().map(ToString::to_string)).collect()
}

#[test]
fn each_refusal_has_its_reason() {
    let one = Requirement::default();
    let signing = Requirement { grade: Grade::Signed, ..Requirement::default() };
    let only = Requirement { only_roles: Some(["security".to_owned()].into()), ..Requirement::default() };
    let young = Requirement { valid_hours: Some(1), ..Requirement::default() };
    let plan = digest();
    for (requirement, approval, expected) in [
        (&one, by("bob", &json!({})), vec![]),
        (&one, signed(&json!({})), vec![]),
        (&signing, signed(&json!({})), vec![]),
        (&only, by("bob", &json!({"role": " Security "})), vec![]),
        (&young, by("bob", &json!({"at": "2025-10-09T11:00:00.5Z"})), vec!["it is older than 1 h".to_owned()]),
        (&young, by("bob", &json!({"at": "2025-10-09T11:00:01Z"})), vec![]),
        (
            &one,
            by("bob", &json!({"plan_digest": "sha256:00"})),
            vec![format!("it is of another plan (sha256:00), not of {plan}")],
        ),
        (&one, by("ANN", &json!({})), vec!["the approver asked for the change".to_owned()]),
        (&one, by("Eve", &json!({})), vec!["the approver executes it".to_owned()]),
        (&only, by("bob", &json!({})), vec!["its role is \"owners\", expected security".to_owned()]),
        (
            &one,
            by("bob", &json!({"expires": "2025-10-09T11:59:59Z"})),
            vec!["it was valid until 2025-10-09T11:59:59Z".to_owned()],
        ),
        (&one, by("bob", &json!({"expires": "soon"})), vec!["it was valid until soon".to_owned()]),
        (&one, by("bob", &json!({"decision": "perhaps"})), vec!["its word is neither yes nor no".to_owned()]),
        (&one, by("bob", &json!({"signature": "x"})), vec!["its signature does not fit".to_owned()]),
        (&one, signed(&json!({"role": "security"})), vec!["its signature does not fit".to_owned()]),
        (&signing, by("bob", &json!({})), vec!["it is bound, expected signed: it is not signed".to_owned()]),
        (
            &one,
            by("bob", &json!({"role": ""})),
            vec!["it is claimed, expected bound: no role is named, it is not signed".to_owned()],
        ),
        (&one, by("Lane:small", &json!({"role": "lane"})), vec!["a lane is no person".to_owned()]),
        // All of them, not the first.
        (
            &only,
            by("ann", &json!({"plan_digest": "sha256:00", "expires": "2025-10-09T11:59:59Z"})),
            vec![
                format!("it is of another plan (sha256:00), not of {plan}"),
                "the approver asked for the change".to_owned(),
                "its role is \"owners\", expected security".to_owned(),
                "it was valid until 2025-10-09T11:59:59Z".to_owned(),
            ],
        ),
    ] {
        assert_eq!(against(requirement, approval.clone()), expected, "{approval}");
    }
}

/// Taken from change `c`, sent again for change `d`, whose plan is the same.
#[test]
fn a_replayed_approval_is_called_by_its_change() {
    let world = World { change: "d", ..World::default() };
    let judgement = world.judge(&[&Requirement::default()], &[signed(&json!({}))]);
    assert_eq!(judgement.refused[0].reasons, [Refusal::Replayed(change("c"))]);
    assert_eq!(judgement.missing, ["default: 0 of 1 approvals that count (one other person, bound)"]);
    // Without the signature it is somebody's own word for this plan.
    assert!(world.judge(&[&Requirement::default()], &[by("bob", &json!({}))]).satisfied);
}

#[test]
fn what_is_missing() {
    let roles = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let two = Requirement {
        name: "two".to_owned(),
        count: 2,
        two_person: true,
        roles: roles(&["a", "b"]),
        ..Requirement::default()
    };
    let check = |approvals: &[(&str, &str)], expected: &[&str]| {
        let approvals: Vec<Value> = approvals.iter().map(|(who, role)| by(who, &json!({ "role": role }))).collect();
        assert_eq!(World::default().judge(&[&two], &approvals).missing, expected, "{approvals:?}");
    };
    let asks = "(2 other persons, bound, as a, b)";
    let rule = "0 of 1 approval that count (recorded or better)";
    check(
        &[],
        &[
            rule,
            &format!("two: 0 of 2 approvals that count {asks}"),
            "two: nobody approved as a",
            "two: nobody approved as b",
        ],
    );
    check(&[("bob", "a")], &[&format!("two: 1 of 2 approvals that count {asks}"), "two: nobody approved as b"]);
    check(
        &[("bob", "a"), ("Bob ", "b")],
        &[
            &format!("two: 1 of 2 approvals that count {asks}"),
            "two: one person fills several of the roles a, b, a person each is asked for",
        ],
    );
    check(
        &[("bob", "a"), ("bob", "b"), ("carl", "c")],
        &["two: one person fills several of the roles a, b, a person each is asked for"],
    );
    check(&[("bob", "a"), ("carl", "b")], &[]);
    // Bob can do both, Carl one: there is a person for each.
    check(&[("bob", "a"), ("bob", "b"), ("carl", "a")], &[]);
    // Without two persons one may fill both roles.
    let one = Requirement { two_person: false, count: 1, ..two.clone() };
    assert!(
        World::default()
            .judge(&[&one], &[by("bob", &json!({"role": "a"})), by("bob", &json!({"role": "b"}))])
            .satisfied
    );
    // All requirements that are asked.
    let judgement = World::default().judge(&[&one, &two], &[by("bob", &json!({"role": "a"}))]);
    assert_eq!(judgement.missing.iter().filter(|text| text.ends_with("nobody approved as b")).count(), 2);
}

#[test]
fn the_record_stands() {
    let world = World::default();
    let refused =
        world.judge(&[&Requirement::default()], &[by("bob", &json!({})), by("carl", &json!({"decision": "refused"}))]);
    assert_eq!(refused.missing, ["it was refused in entry 11"]);
    let strict = World { rule: Rule { count: 2, ..World::default().rule }, ..World::default() };
    let judgement = strict.judge(&[&Requirement::default()], &[by("bob", &json!({}))]);
    assert_eq!(judgement.missing, ["1 of 2 approvals that count (recorded or better)"]);
    // Nothing on record, and a plan that is not the newest.
    let asked = Asked {
        plan_digest: "sha256:00",
        executor: None,
        lane: None,
        standing: None,
        rule: &Rule::default(),
        names: &[],
        now_ms: 0,
    };
    assert_eq!(judge(&[], &asked).missing, ["nothing is on record of the change"]);
    let (header, payload) = plan("c");
    let entries = [Logged { index: 1, header: &header, payload: Some(&payload) }];
    let standing = standing(&change("c"), &entries, &Rules::default(), 0, &[]);
    let missing = judge(&[], &Asked { standing: standing.as_ref(), ..asked }).missing;
    assert_eq!(missing[0], format!("the newest plan on record is {}, not sha256:00", digest()));
}

/// A lane stands in for the house's requirements, and for the tenant's rule as far as one approver without a role goes.
#[test]
fn what_a_lane_can_do() {
    let two = Requirement { count: 2, ..Requirement::default() };
    let check = |rule: Rule, approvals: &[Value], expected: &[&str]| {
        let world = World { lane: Some("small"), rule: rule.clone(), ..World::default() };
        assert_eq!(world.judge(&[&two], approvals).missing, expected);
    };
    check(Rule::default(), &[], &[]);
    check(
        Rule { count: 2, ..Rule::default() },
        &[],
        &[
            "0 of 2 approvals that count (recorded or better) (the lane small can't stand in: the tenant's rule asks for several persons)",
        ],
    );
    check(
        Rule { roles: ["a".to_owned()].into(), ..Rule::default() },
        &[],
        &[
            "0 of 1 approval that count (recorded or better) (the lane small can't stand in: the tenant's rule asks for roles)",
            "nobody approved as a (the lane small can't stand in: the tenant's rule asks for roles)",
        ],
    );
    check(
        Rule { grade: Grade::Signed, ..Rule::default() },
        &[],
        &[
            "0 of 1 approval that count (signed or better) (the lane small can't stand in: the tenant's rule asks for signatures)",
        ],
    );
    // A person's no is a no.
    check(Rule::default(), &[by("bob", &json!({"decision": "refused"}))], &["it was refused in entry 11"]);
}

#[test]
fn when_it_lapses() {
    let world = World::default();
    let young = Requirement { valid_hours: Some(1), ..Requirement::default() };
    let lapses = |requirement: &Requirement, approval: Value| world.judge(&[requirement], &[approval]).lapses_ms;
    assert_eq!(lapses(&Requirement::default(), by("bob", &json!({}))), None);
    assert_eq!(lapses(&young, by("bob", &json!({}))), Some(NOW_MS + 3_600_000));
    let ends = by("bob", &json!({"expires": "2025-10-09T12:10:00Z"}));
    assert_eq!(lapses(&young, ends), Some(NOW_MS + 600_001));
}

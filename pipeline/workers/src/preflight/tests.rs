use std::collections::BTreeSet;

use ledger::entry::{EventHeader, Road};
use ledger::hash::Hash;
use projector::approval::{Rule, Rules, Standing, standing};
use projector::document::Entry;
use proptest::prelude::*;
use schemas::admit::{Has, Outcome as Said};
use schemas::ids::{ChangeId, EventId, Phase, Producer};
use serde_json::json;

use super::answer::{Room, is_pinned, room, version};
use super::*;
use crate::build::{self, Fields};
use crate::catalogue::{Absent, When, shipped};
use crate::config::Config;
use crate::policy::{Decision, Files, Policies, PolicyResult, STEPS};

const KEY: &str = "with ssh key 'ssh-ed25519 AAAAC3Nz ops@x'";
const MISSING: &str =
    "create aks cluster aks-a in resource group rg-net in eastus with ssh key 'ssh-ed25519 AAAAC3Nz ops@x'";
/// Monday, 30 November 2026, noon.
const NOW_S: i64 = 1_796_040_000;

/// The event of phase plan for a request in words, as `upm plan --emit` makes it.
fn event(words: &str, more: &Value) -> Vec<u8> {
    let request = crate::request::Request { words: Some(words.to_owned()), ..Default::default() };
    let plan = crate::plan::plan(shipped(), &request, None).unwrap_or_else(|error| panic!("{words}: {error}"));
    let mut event = json!({"id": "p", "change_id": "c", "phase": "plan", "timestamp": "2026-11-30T11:00:00Z",
        "intent": {"source": "chatops", "initiator": "ann", "tenant": "acme", "request": words}});
    for document in [&plan.document(), more] {
        for (name, value) in document.as_object().unwrap() {
            match (event.get_mut(name).and_then(Value::as_object_mut), value) {
                (Some(known), Value::Object(members)) => known.extend(members.clone()),
                _ => event[name] = value.clone(),
            }
        }
    }
    json!({ "provisioning_event": event }).to_string().into_bytes()
}

fn planned(words: &str) -> Planned {
    Planned::read(&event(words, &json!({})), shipped()).unwrap()
}

fn answer(code: u64, stdout: &str, stderr: &str) -> Answer {
    Answer { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned(), problem: None }
}

/// A world in which nothing is there that is to be made, and everything that is needed.
fn good(planned: &Planned) -> Answers {
    let answers = planned.questions().into_iter().map(|question| {
        let line = crate::argv::render(&question.argv);
        let answer = match line.as_str() {
            "az version --output json" => answer(0, "{\"azure-cli\": \"2.64.0\"}", ""),
            line if line.starts_with("kubectl-1.29 version") => {
                answer(0, "{\"clientVersion\": {\"major\": \"1\", \"gitVersion\": \"v1.29.4\", \"goVersion\": \"go1.21.9\"}}", "")
            }
            line if line.starts_with("az vm list-usage") => answer(
                0,
                r#"[{"currentValue": 4, "limit": 10, "name": {"value": "standardDSv2Family", "localizedValue": "Standard DSv2 Family vCPUs"}}]"#,
                "",
            ),
            line if question.id.starts_with("needed ") && line.starts_with("az group exists") => answer(0, "true\n", ""),
            line if question.id.starts_with("needed ") && line.contains("get namespace") => answer(0, "namespace/x", ""),
            _ if question.id.starts_with("needed ") => answer(0, "ok", ""),
            line if line.starts_with("az group exists") => answer(0, "false\n", ""),
            line if line.starts_with("az aks show") => answer(3, "", "(ResourceNotFound) aks-a"),
            line if line.contains("--ignore-not-found") => answer(0, "", ""),
            line => panic!("{}: {line}", question.id),
        };
        (question.id, answer)
    });
    answers.collect()
}

fn see(planned: &Planned, answers: &Answers) -> Seen {
    let mut seen = Seen::of(planned, answers);
    let tries = planned.dry_runs(&seen).into_iter();
    let tries = tries
        .map(|question| (question.id.clone(), answers.get(&question.id).cloned().unwrap_or_else(|| answer(0, "", ""))));
    seen.add_dry_runs(planned, &tries.collect(), true);
    seen
}

/// The approvals on record, by these.
fn approved_by(payload: &[u8], approvals: &[&str]) -> Standing {
    let digest = schemas::plan::digest(payload);
    let given: Vec<Value> = approvals
        .iter()
        .map(|who| json!({"approver": who, "role": "owners", "decision": "approved", "at": "2026-11-30T11:30:00Z", "plan_digest": digest}))
        .collect();
    let body = json!({"id": "a", "phase": "preflight", "timestamp": "2026-11-30T11:30:00Z",
        "intent": {"source": "api", "initiator": "ann", "tenant": "acme"}, "preflight": {"approvals": given}});
    let approving = json!({ "provisioning_event": body }).to_string().into_bytes();
    let header = |phase: Phase, producer: &str, payload: &[u8]| EventHeader {
        change: ChangeId::parse("c").unwrap(),
        seq: 0,
        prev: None,
        id: EventId::parse("e").unwrap(),
        phase,
        env: None,
        class: None,
        probe: false,
        producer: Some(Producer::parse(producer).unwrap()),
        has: Has::default(),
        outcome: Said::None,
        ts: NOW_S,
        at: NOW_S.unsigned_abs() * 1000,
        road: Road { epoch: 0, sequence: 1 },
        commit: Hash([0; 32]),
        size: payload.len() as u64,
        masked: 0,
        rules: Hash([0; 32]),
    };
    let headers = [header(Phase::Plan, "planner", payload), header(Phase::Preflight, "chat", &approving)];
    let entries = [
        Entry { index: 1, header: &headers[0], payload: Some(payload) },
        Entry { index: 2, header: &headers[1], payload: Some(&approving) },
    ];
    let now_ms = NOW_S.unsigned_abs() * 1000;
    standing(&ChangeId::parse("c").unwrap(), &entries, &Rules::default(), now_ms, &[]).unwrap()
}

/// The event that asks for the plan of another one, as its door makes it.
fn asking(payload: &[u8]) -> Value {
    let event: Value = serde_json::from_slice(payload).unwrap();
    let mut asking = event["provisioning_event"].clone();
    let words = asking["intent"]["request"].clone();
    for section in ["plan", "rollback", "target"] {
        asking.as_object_mut().unwrap().remove(section);
    }
    asking["request"] = json!({"request": words});
    asking
}

struct World {
    payload: Vec<u8>,
    /// What was asked for: `provisioning_event`.
    asked: Value,
    config: Config,
    answers: Option<Answers>,
    policies: Vec<PolicyResult>,
    approvers: Vec<&'static str>,
    now_s: i64,
}

impl World {
    fn of(payload: Vec<u8>, config: &str) -> Self {
        let config = Config::read("work.toml", config).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let asked = asking(&payload);
        Self { payload, asked, config, answers: None, policies: Vec::new(), approvers: vec!["bob"], now_s: NOW_S }
    }

    fn planned(&self) -> Planned {
        let planned = Planned::read(&self.payload, shipped()).unwrap();
        Requested::of(&self.asked).map_or(planned.clone(), |asked| planned.asked_by(asked))
    }

    fn verdict(&self) -> Verdict {
        let planned = self.planned();
        let answers = self.answers.clone().unwrap_or_else(|| good(&planned));
        let seen = see(&planned, &answers);
        let standing = approved_by(&self.payload, &self.approvers);
        let inputs = Inputs {
            planned: &planned,
            requested: Requested::of(&self.asked),
            seen: &seen,
            config: &self.config,
            catalogue: shipped(),
            standing: Some(&standing),
            rule: &Rule::default(),
            executor: Some("agent-7"),
            now_s: self.now_s,
        };
        verdict(&inputs, &self.policies, None)
    }

    fn violations(&self) -> Vec<String> {
        self.verdict().violations.iter().map(ToString::to_string).collect()
    }
}

fn made(verdict: &Verdict) -> Value {
    verdict.sections.clone().into_map()["preflight"].clone()
}

/// The model's line: a plan halts when a check of `resources_needed` fails, with an explicit message.
#[test]
fn a_missing_prerequisite_says_what_where_and_how() {
    let mut world = World::of(event(MISSING, &json!({})), "");
    let mut answers = good(&planned(MISSING));
    answers.insert("needed az_resource_group/rg-net".to_owned(), answer(0, "false\n", ""));
    world.answers = Some(answers);
    assert_eq!(
        world.violations(),
        [
            "prerequisite, az_resource_group/rg-net: it is missing (exit code 0: false), needed by az_aks/aks-a; looked with: \
         az group exists --name rg-net; create it in the same request: create resource group rg-net"
        ]
    );
    let verdict = world.verdict();
    assert_eq!(verdict.outcome, Outcome::Halt);
    let checks = made(&verdict)["checks"].as_array().unwrap().clone();
    let failed: Vec<&Value> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((&failed[0]["type"], &failed[0]["name"]), (&json!("prerequisite"), &json!("az_resource_group/rg-net")));
}

#[test]
fn nothing_against_it_and_one_other_person() {
    let mut world =
        World::of(event(&format!("create aks cluster aks-a in eastus {KEY} and namespace team-alpha"), &json!({})), "");
    let verdict = world.verdict();
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.outcome, Outcome::Go);
    let preflight = made(&verdict);
    // A namespace in a cluster that is not there yet can't be tried.
    let tries: Vec<&Value> =
        preflight["checks"].as_array().unwrap().iter().filter(|check| check["type"] == "dry_run").collect();
    assert_eq!(tries.len(), 3);
    assert_eq!(tries[2]["message"], "az_aks/aks-a comes first, and is not done yet");
    assert_eq!(preflight["quota"], json!([{"name": "standardDSv2Family vCPUs", "units": 2, "used": 4, "limit": 10}]));
    // Nobody but whoever asked.
    world.approvers = vec!["ann"];
    let verdict = world.verdict();
    let Outcome::Wait { reasons, until_s: None } = &verdict.outcome else { panic!("{:?}", verdict.outcome) };
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!(made(&verdict)["approvals_refused"][0]["reasons"], json!(["the approver asked for the change"]));
    // Its event is accepted, and says that nothing failed.
    let admitted = |verdict: &Verdict| {
        let fields = Fields {
            id: "f".to_owned(),
            timestamp: "2026-11-30T12:00:00Z".to_owned(),
            phase: Phase::Preflight,
            change: Some("c".to_owned()),
            environment: None,
            class: None,
            attempt: None,
            probe: false,
            request: None,
            source: "chatops".to_owned(),
            initiator: "ann".to_owned(),
            tenant: "acme".to_owned(),
            reason: None,
            ticket: None,
        };
        let bytes = build::event(&fields, &verdict.sections);
        let (_, admitted) = schemas::admit::admit_unaddressed(&bytes, &mut schemas::admit::Scratch::default()).unwrap();
        assert_eq!(admitted.masked, 0);
        admitted.facts.outcome
    };
    assert_eq!(admitted(&verdict), Said::Passed);
    world.answers = Some(Answers::new());
    assert_eq!(admitted(&world.verdict()), Said::Failed);
}

/// All that is wrong, each with what to do.
#[test]
fn all_violations_are_told() {
    let words = format!("create aks cluster aks-a in resource group rg-net in eastus with 8 nodes {KEY}");
    let more = json!({"environment": "production", "plan": {"window": {"start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z"}}});
    let config = "[risk]\nmost = 20\n[[budgets]]\nname = \"house\"\nmonthly_usd = 100\n[policy]\ndirectory = \"p\"\n";
    let mut world = World::of(event(&words, &more), config);
    let mut answers = good(&Planned::read(&world.payload, shipped()).unwrap());
    answers.insert("tool az".to_owned(), answer(0, "{\"azure-cli\": \"3.0.1\"}", ""));
    answers.insert(
        "needed az_resource_group/rg-net".to_owned(),
        Answer { problem: Some("no answer within 60 s".to_owned()), ..Answer::default() },
    );
    answers.insert("exists az_aks/aks-a".to_owned(), answer(1, "", "ERROR: token=hunter2hunter2 expired\nmore"));
    world.answers = Some(answers);
    world.policies = vec![
        PolicyResult {
            id: "HOUSE-1".to_owned(),
            package: "house.a".to_owned(),
            mandatory: true,
            decision: Decision::Denied,
            message: "no clusters on Mondays".to_owned(),
        },
        PolicyResult {
            id: "HOUSE-2".to_owned(),
            package: "house.b".to_owned(),
            mandatory: false,
            decision: Decision::Warned,
            message: "many nodes".to_owned(),
        },
    ];
    let found = world.violations();
    for told in [
        "tool, az: version 3.0.1, ",
        "prerequisite, az_resource_group/rg-net: nobody knows whether it is there (no answer within 60 s), needed by az_aks/aks-a; looked with: az group exists",
        "existence, az_aks/aks-a: nobody knows whether it is there (exit code 1: ERROR: token=[masked:assignment] expired)",
        "quota, standardDSv2Family vCPUs: 8 more, 4 in use, 10 the limit; looked with: az vm list-usage",
        "window, when it may run: the plan's own window is over",
        "risk, risk: 41 points, medium; at most 20 may run",
        "budget, house: USD 560.64 a month are planned, the budget is USD 100.00",
        "policy, HOUSE-1: denied by package house.a: no clusters on Mondays",
    ] {
        assert!(found.iter().any(|violation| violation.starts_with(told)), "{told}\n{found:#?}");
    }
    assert_eq!(found.len(), 8, "{found:#?}");
    let verdict = world.verdict();
    assert_eq!(verdict.outcome, Outcome::Halt);
    let preflight = made(&verdict);
    assert_eq!(
        preflight["policies"].as_array().unwrap().len(),
        2,
        "each result is recorded, also those that bind nobody"
    );
    assert_eq!(preflight["policies"][1]["mandatory"], false);
    // Configured policies that nobody asked halt too.
    world.policies.clear();
    assert!(world.violations().iter().any(|text| text.starts_with("policy, the policies: ")));
}

#[test]
fn what_is_there_is_left_out() {
    let words = "create namespace a, delete namespace b and delete namespace d";
    let mut world = World::of(event(words, &json!({})), "");
    let planned = planned(words);
    let mut answers = good(&planned);
    for there in ["exists k8s_namespace/a", "exists k8s_namespace/d#delete"] {
        answers.insert(there.to_owned(), answer(0, "namespace/x\n", ""));
    }
    let seen = see(&planned, &answers);
    assert_eq!(seen.skipped.keys().collect::<Vec<_>>(), ["k8s_namespace/a", "k8s_namespace/b#delete"]);
    world.answers = Some(answers);
    let verdict = world.verdict();
    assert_eq!(verdict.violations, []);
    // What has nothing to do now may have when it runs: each counts.
    let reasons: Vec<(&str, u64)> =
        verdict.score.reasons.iter().map(|(factor, points, _)| (*factor, *points)).collect();
    assert_eq!(reasons, [("environment", 30), ("delete", 30), ("create", 1), ("lasting", 10), ("security", 10)]);
    // What is to be changed has to be there.
    let words = "scale deployment web in namespace shop to 3 replicas";
    let found = World::of(event(words, &json!({})), "").violations();
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("existence, k8s_deployment/web#scale: what is to be changed is not there; looked with: kubectl-1.29 get deployment web"));
}

/// Nobody has approved anything when they run.
#[test]
fn a_plans_checks_are_believed_as_far_as_the_catalogue_says_the_same() {
    let payload = |change: &dyn Fn(&mut Value)| {
        let mut event: Value = serde_json::from_slice(&event("create namespace a", &json!({}))).unwrap();
        change(&mut event["provisioning_event"]);
        event.to_string().into_bytes()
    };
    let check = |change: &dyn Fn(&mut Value), told: &str| {
        let planned = Planned::read(&payload(change), shipped()).unwrap();
        let found: Vec<String> = planned.violations.iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].contains(told), "{told}\n{found:#?}");
        let asked: Vec<String> =
            planned.questions().iter().map(|question| crate::argv::render(&question.argv)).collect();
        for line in ["delete", "exec", "--raw"] {
            assert!(asked.iter().all(|asked| !asked.contains(line) || asked.contains("/readyz")), "{asked:?}");
        }
    };
    let step =
        |member: &'static str, value: Value| move |event: &mut Value| event["plan"]["steps"][0][member] = value.clone();
    let none = "as a command that only looks, which is none of the catalogue's";
    check(&step("check", json!({"command": "kubectl-1.29 delete ns prod", "then": "x"})), none);
    check(
        &step("check", json!({"command": "kubectl-1.29 get namespace a --ignore-not-found --output name | jq ."})),
        none,
    );
    check(&step("check", json!({"command": "bash -c 'rm -rf /'"})), none);
    check(&step("dry_run", json!("kubectl-1.29 create namespace a")), none);
    check(&step("dry_run", json!("kubectl-1.29 exec a -- rm x")), none);
    check(&step("argv", json!(["kubectl-1.29", "delete", "ns", "prod"])), "approvals bind to the command");
    check(
        &|event| event["plan"]["resources_needed"][0]["check"] = "kubectl-1.29 get --raw /api/v1/secrets".into(),
        none,
    );
    check(
        &|event| {
            event["plan"]["commands"][0] = "kubectl-1.29 create namespace a; rm x".into();
            event["plan"]["steps"] = json!([]);
        },
        "a shell meta",
    );
    check(&|event| event["plan"]["tools"][0]["check"] = "kubectl-1.29 delete ns prod".into(), none);
    check(
        &|event| event["plan"]["tools"][0]["version"] = "1.28".into(),
        "version 1.28 pinned by the plan, 1.29 by the catalogue",
    );
    check(
        &|event| event["plan"]["quota"] = json!([{"name": "x", "units": 1, "read": "kubectl-1.29 delete ns prod"}]),
        none,
    );
    check(&|event| event["rollback"]["plan"] = json!(["kubectl-1.29 delete ns a && x"]), "the rollback");
    check(&|event| event["plan"]["steps"] = json!([{"id": "a"}, {"id": "b"}]), "2 steps beside 1 commands");
    check(&|event| event["plan"]["window"] = "weekend".into(), "the plan's own window");
    check(
        &|event| {
            let line = "az group create --name a --location '[masked:assignment]'";
            event["plan"]["commands"][0] = line.into();
            event["plan"]["steps"] = json!([]);
        },
        "of which a secret was masked",
    );
    // The model's placeholder key.
    let example = planned("Create AKS cluster aks-demo in eastus");
    assert!(example.violations[0].to_string().contains("the placeholder \"ssh-rsa AAAA...\" for its ssh_key"));
    // A planner that says commands alone: they can be judged, and nothing is looked at.
    let bare = planned_of(&json!({"commands": ["kubectl-1.29 create namespace a"]}));
    assert_eq!((bare.violations.len(), bare.questions().len(), bare.steps[0].id.as_str()), (0, 0, "command 1"));
    assert!(Planned::read(b"{\"provisioning_event\": {\"plan\": {\"commands\": []}}}", shipped()).is_err());
    assert!(Planned::read(b"{\"provisioning_event\": {\"plan\": {\"commands\": [1]}}}", shipped()).is_err());
}

fn planned_of(plan: &Value) -> Planned {
    let payload = json!({"provisioning_event": {"plan": plan}}).to_string();
    Planned::read(payload.as_bytes(), shipped()).unwrap()
}

/// Over all that is shipped: what looks is known to look, and nothing that acts is taken for it.
#[test]
fn nothing_that_acts_only_looks() {
    for words in [
        "create aks cluster aks-a in eastus with ssh key 'ssh-ed25519 AAAAC3Nz ops@x'",
        "create resource group rg-x in westeurope, then a storage account stx in westeurope",
        "create namespace a, namespace b and delete namespace d",
        "scale deployment web in namespace shop to 3 replicas",
        "create bucket logs-1 and bucket logs-2",
        "delete bucket logs-1",
        "set the tag owner=platform on resource group rg-x",
    ] {
        let request = crate::request::Request { words: Some(words.to_owned()), ..Default::default() };
        let plan = crate::plan::plan(shipped(), &request, None).unwrap_or_else(|error| panic!("{words}: {error}"));
        for step in &plan.steps {
            let looks = [&step.check.argv, &step.read_back].into_iter().chain(&step.dry_run);
            assert!(looks.clone().all(|argv| shipped().reads(argv)), "{words}: {:?}", looks.collect::<Vec<_>>());
            assert!(!shipped().reads(&step.argv), "{words}: {:?}", step.argv);
            // One word more, and it is another command.
            let more = [step.check.argv.as_slice(), &["x".to_owned()]].concat();
            assert!(!shipped().reads(&more), "{more:?}");
        }
        assert!(plan.rollback.iter().all(|undo| !shipped().reads(&undo.argv)), "{words}");
        assert!(plan.needed.iter().filter_map(|needed| needed.check.as_ref()).all(|argv| shipped().reads(argv)));
        assert!(plan.quotas.iter().filter_map(|quota| quota.read.as_ref()).all(|argv| shipped().reads(argv)));
        assert_eq!(Planned::read(&event(words, &json!({})), shipped()).unwrap().violations, [], "{words}");
    }
    for line in [
        "kubectl-1.29 get secret a --output json",
        "kubectl-1.29 get --raw /api/v1/secrets",
        "kubectl-1.29 get namespace --all-namespaces --ignore-not-found --output name",
        "kubectl-1.29 version --client --output json --kubeconfig x",
        "az group exists --name --debug",
        "az group show --name a;b --output json",
        "rm -rf x",
    ] {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert!(!shipped().reads(&argv), "{line}");
    }
    assert!(!shipped().reads(&[]));
}

/// The model's own event is one that can be looked at.
#[test]
fn the_models_event() {
    let planned = Planned::read(include_bytes!("../../../../schemas/examples/model.json"), shipped()).unwrap();
    assert_eq!((planned.steps.len(), planned.approvals.as_slice()), (3, &["platform-owners".to_owned()][..]));
    assert_eq!(planned.violations, []);
}

const LANES: &str = "[[lanes]]\nname = \"clusters\"\nenvironments = [\"test\"]\ntypes = [\"az_aks\"]\nmax_risk = 50\n\
                     [[lanes]]\nname = \"small\"\nenvironments = [\"test\"]\ntypes = [\"k8s_namespace\"]\nmax_risk = 20\nmax_steps = 2\n";

#[test]
fn a_lane_takes_what_is_within_its_rails() {
    let test = json!({"environment": "test"});
    let mut world = World::of(event("create namespace a", &test), LANES);
    world.approvers.clear();
    let verdict = world.verdict();
    assert_eq!((&verdict.outcome, verdict.lane.as_deref()), (&Outcome::Go, Some("small")));
    let preflight = made(&verdict);
    let digest = schemas::plan::digest(&world.payload).unwrap();
    assert_eq!(
        preflight["approvals"],
        json!([{"approver": "lane:small", "role": "lane", "decision": "approved", "at": "2026-11-30T12:00:00Z",
                "expires": "2026-12-01T12:00:00Z", "plan_digest": digest}])
    );
    assert_eq!(
        preflight["lanes"][0],
        json!({"name": "clusters", "takes": false, "against": ["k8s_namespace/a is of another type"]})
    );

    let check = |words: &str, more: &Value, against: &str| {
        let mut world = World::of(event(words, more), LANES);
        world.approvers.clear();
        let verdict = world.verdict();
        assert_eq!(verdict.lane, None, "{words}");
        assert!(matches!(verdict.outcome, Outcome::Wait { .. }), "{:?}", verdict.outcome);
        let told = made(&verdict)["lanes"][1]["against"].to_string();
        assert!(told.contains(against), "{told}");
        assert!(made(&verdict).get("approvals").is_none());
    };
    check("create namespace a", &json!({}), "it is not for no environment");
    check("create namespace a", &json!({"environment": "production"}), "it is not for the environment production");
    check("create namespace a, namespace b and namespace d", &test, "3 steps run, at most 2 here");
    check(
        "create namespace a",
        &json!({"environment": "test", "change_class": "emergency"}),
        "its risk is 31, at most 20",
    );
    // What only advises is no low risk either.
    world.policies = vec![PolicyResult {
        id: "W".to_owned(),
        package: "w".to_owned(),
        mandatory: false,
        decision: Decision::Warned,
        message: String::new(),
    }];
    let verdict = world.verdict();
    assert_eq!(made(&verdict)["lanes"][1]["against"], json!(["the policy W advises against it"]));
    assert!(matches!(verdict.outcome, Outcome::Wait { .. }));
    // And what halts, halts.
    world.policies[0].mandatory = true;
    world.policies[0].decision = Decision::Denied;
    let verdict = world.verdict();
    assert_eq!((&verdict.outcome, verdict.lane), (&Outcome::Halt, None));
}

/// Whoever may publish events may publish a plan that says of itself whatever opens the lane: it is held against the catalogue and the request.
#[test]
fn a_lane_does_not_believe_what_a_plan_says_of_itself() {
    let asked = event("create namespace a", &json!({"environment": "test"}));
    let against = |payload: Vec<u8>, asked: Value| {
        let planned = Planned::read(&payload, shipped()).unwrap();
        let answers = planned.questions().into_iter().map(|question| (question.id, answer(0, "", ""))).collect();
        let mut world = World { asked, approvers: Vec::new(), answers: Some(answers), ..World::of(payload, LANES) };
        world.config.preflight.dry_run = false;
        let verdict = world.verdict();
        assert_eq!(verdict.lane, None);
        assert!(made(&verdict).get("approvals").is_none(), "{verdict:?}");
        // And the executor, who asks again, is not told otherwise by a forged verdict.
        let go = json!({"verdict": "go", "plan_digest": schemas::plan::digest(&world.payload)});
        let standing = approved_by(&world.payload, &[]);
        let missing = crate::execute::gate::against(&crate::execute::gate::Asking {
            planned: &world.planned(),
            requested: Requested::of(&world.asked),
            catalogue: shipped(),
            verdict: &go,
            config: &world.config,
            standing: Some(&standing),
            rule: &Rule::default(),
            now_s: NOW_S,
        });
        assert!(!missing.is_empty());
        made(&verdict)["lanes"][1]["against"].to_string()
    };
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut event: Value = serde_json::from_slice(&asked).unwrap();
        change(&mut event["provisioning_event"]);
        event.to_string().into_bytes()
    };
    let says = |change: &dyn Fn(&mut Value), told: &str| {
        let found = against(forged(change), asking(&asked));
        assert!(found.contains(told), "{told}: {found}");
    };
    // A command that is none of the type and action that the step names.
    let line = "kubectl-1.29 delete ns prod --ignore-not-found";
    says(
        &|event| {
            event["plan"]["commands"][0] = line.into();
            event["plan"]["steps"][0]["argv"] = line.split(' ').collect();
        },
        "the catalogue makes \\\"kubectl-1.29 create namespace a\\\" of what was asked for",
    );
    // The same command under another name and action, with another way back, at another cost, at another place of a longer plan.
    says(&|event| event["plan"]["steps"][0]["id"] = "k8s_namespace/b".into(), "not the plan that the catalogue makes");
    says(&|event| event["rollback"]["plan"][0] = line.into(), "not the plan that the catalogue makes");
    says(&|event| event["plan"]["cost"] = json!({"monthly_usd_cents": 0}), "not the plan that the catalogue makes");
    let longer = event("create namespace a and namespace b", &json!({"environment": "test"}));
    let found = against(longer, asking(&asked));
    assert!(found.contains("it has 2 commands, and the catalogue makes 1 of what was asked for"), "{found}");
    // Without what its digest would have to cover, it halts as well.
    says(&|event| drop(event["plan"].as_object_mut().unwrap().remove("digest_version")), "not the plan");

    // Who asked, where and how urgently are the request's word.
    let mut production = asking(&asked);
    production["environment"] = "production".into();
    let found = against(asked.clone(), production.clone());
    assert!(found.contains("not the plan that the catalogue makes"), "{found}");
    let world = World { asked: production, ..World::of(asked.clone(), "") };
    assert_eq!(
        world.violations(),
        [
            "plan, environment: the environment test, and the request's is production; plan again for what was asked for, or ask for the other"
        ]
    );
    let urgent = forged(&|event| event["change_class"] = "emergency".into());
    let world = World { asked: asking(&asked), ..World::of(urgent, "") };
    assert!(
        world.violations()[0].contains("the class emergency, and the request's is none"),
        "{:?}",
        world.violations()
    );
    assert_eq!(world.planned().class, None);
    let mallory = forged(&|event| event["intent"]["initiator"] = "ines".into());
    let config = LANES.replace("max_steps = 2\n", "max_steps = 2\ninitiators = [\"ines\"]\n");
    let world = World { asked: asking(&asked), ..World::of(mallory, &config) };
    assert_eq!(made(&world.verdict())["lanes"][1]["against"], json!(["ann may not use it"]));

    // A plan that nobody asked for is nobody's.
    let found = against(asked.clone(), json!({}));
    assert!(found.contains("nobody's request is on record"), "{found}");
}

/// What has nothing to do when it is judged may have something to do when it runs.
#[test]
fn a_lane_judges_steps_that_have_nothing_to_do() {
    let words = "create namespace a and delete namespace prod";
    let mut world = World::of(event(words, &json!({"environment": "test"})), LANES);
    world.approvers.clear();
    let verdict = world.verdict();
    let planned = world.planned();
    let seen = see(&planned, &good(&planned));
    assert!(seen.skipped.contains_key("k8s_namespace/prod#delete"), "nobody has made it yet");
    assert_eq!(verdict.lane, None);
    let told = made(&verdict)["lanes"][1]["against"].to_string();
    assert!(told.contains("k8s_namespace/prod#delete is a step of action delete"), "{told}");
    assert!(told.contains("nothing takes k8s_namespace/prod#delete back"), "{told}");
}

/// What is acted upon is covered by the digest that approvals bind to, or the plan halts; and the graph that is approved is the order in which it runs.
#[test]
fn what_no_approval_covers_halts() {
    let whole = event("create namespace a and namespace b", &json!({}));
    let read = |change: &dyn Fn(&mut Value)| {
        let mut event: Value = serde_json::from_slice(&whole).unwrap();
        change(&mut event["provisioning_event"]);
        Planned::read(event.to_string().as_bytes(), shipped()).unwrap()
    };
    assert_eq!(read(&|_| ()).violations, []);
    let first = |event: &mut Value| drop(event["plan"].as_object_mut().unwrap().remove("digest_version"));
    let found = read(&first).violations[0].to_string();
    assert!(
        found.starts_with("plan, the plan: plan.cost, plan.steps, plan.tools, which its digest does not cover"),
        "{found}"
    );
    assert!(found.ends_with("plan again with \"digest_version\": 2 in the plan, which covers all of it"), "{found}");
    for (name, value) in [
        ("waves", json!([{"name": "all", "steps": ["command 1"]}])),
        ("window", json!({"start": "2026-11-30T00:00:00Z", "end": "2026-12-01T00:00:00Z"})),
    ] {
        let bare = json!({"commands": ["kubectl-1.29 create namespace a"], name: value});
        assert!(planned_of(&bare).violations[0].to_string().contains(&format!("plan.{name}, which")), "{name}");
    }
    let left = json!({"provisioning_event": {"plan": {"commands": ["kubectl-1.29 create namespace a"]},
        "rollback": {"left": [{"step": "command 1", "reason": "r"}]}}});
    let left = Planned::read(left.to_string().as_bytes(), shipped()).unwrap();
    assert!(left.violations[0].to_string().contains("rollback.left, which"), "{:?}", left.violations);
    // Whatever of it is exchanged, it is another plan.
    let digest = read(&|_| ()).digest;
    assert_ne!(read(&|event| event["plan"]["steps"][0]["check"]["prints_other_than"] = "x".into()).digest, digest);
    assert_ne!(read(&|event| event["plan"]["waves"] = json!([])).digest, digest);

    let edge = json!({"from": "k8s_namespace/a", "to": "k8s_namespace/b", "by": "depends_on"});
    let drawn = read(&|event| event["plan"]["dependency_graph"]["edges"] = json!([edge]));
    let found = drawn.violations[0].to_string();
    assert!(found.contains("k8s_namespace/a: it comes after k8s_namespace/b by the graph"), "{found}");
    let waits = read(&|event| event["plan"]["steps"][1]["depends_on"] = json!(["k8s_namespace/a"]));
    let found = waits.violations[0].to_string();
    assert!(found.contains("k8s_namespace/b: its step waits for k8s_namespace/a"), "{found}");
    let options = crate::config::Config::default().execute.waves;
    assert!(crate::execute::Runnable::read(&drawn, shipped(), &options).is_err());
}

#[test]
fn a_closed_window_waits() {
    let config = "[[windows]]\nname = \"evenings\"\nzone = \"Europe/Berlin\"\nfrom = \"20:00\"\nto = \"22:00\"\n";
    let mut world = World::of(event("create namespace a", &json!({})), config);
    let verdict = world.verdict();
    let Outcome::Wait { reasons, until_s } = &verdict.outcome else { panic!("{:?}", verdict.outcome) };
    assert_eq!(until_s.map(crate::calendar::rfc3339).as_deref(), Some("2026-11-30T19:00:00Z"));
    assert!(reasons[0].starts_with("outside of the windows evenings"), "{reasons:?}");
    assert_eq!(made(&verdict)["window"]["next"], "2026-11-30T19:00:00Z");
    // While somebody is missing, no time helps.
    world.approvers.clear();
    assert!(matches!(world.verdict().outcome, Outcome::Wait { until_s: None, .. }));
    world.now_s += 7 * 3600;
    world.approvers = vec!["bob"];
    assert_eq!(world.verdict().outcome, Outcome::Go);
}

#[test]
fn what_answers_mean() {
    let look = |when: When, absent: Absent| Look { argv: Vec::new(), when, absent };
    let check = |look: &Look, answer: &Answer, expected: &str| {
        assert_eq!(answer.presence(look).as_str(), expected, "{look:?} {answer:?}");
    };
    let plain = look(When::Success, Absent::default());
    check(&plain, &answer(0, "", ""), "there");
    check(&plain, &answer(1, "", "x"), "absent");
    check(&plain, &Answer::default(), "unknown");
    let code = look(When::Success, Absent { code: Some(3), says: None });
    check(&code, &answer(3, "", ""), "absent");
    check(&code, &answer(1, "", "not found"), "unknown");
    let says = look(When::Success, Absent { code: None, says: Some("NotFound".to_owned()) });
    check(&says, &answer(255, "", "error (NotFound)"), "absent");
    check(&says, &answer(255, "NotFound", "no network"), "unknown");
    let prints = look(When::Prints("true".to_owned()), Absent::default());
    check(&prints, &answer(0, " true\n", ""), "there");
    check(&prints, &answer(0, "false", ""), "absent");
    check(&prints, &answer(1, "true", ""), "unknown");
    let other = look(When::PrintsOtherThan(String::new()), Absent::default());
    check(&other, &answer(0, "\n", ""), "absent");
    check(&other, &answer(0, "namespace/a", ""), "there");
}

#[test]
fn versions_and_quotas() {
    for (text, found) in [
        ("aws-cli/2.15.0 Python/3.11.6 Linux/6.1", Some("2.15.0")),
        ("{\"azure-cli\": \"2.64.0\", \"azure-cli-core\": \"2.64.0\"}", Some("2.64.0")),
        (
            "{\"clientVersion\":{\"major\":\"1\",\"minor\":\"29\",\"gitVersion\":\"v1.29.4\",\"goVersion\":\"go1.21.9\"}}",
            Some("1.29.4"),
        ),
        ("{\"terraform_version\": \"1.8.2\"}", Some("1.8.2")),
        ("go1.21.9", None),
        ("version 7", None),
        ("v2.", None),
        ("ü1.2", None),
        ("", None),
    ] {
        assert_eq!(version(text), found, "{text}");
    }
    for (found, pinned, fits) in
        [("1.29.4", "1.29", true), ("1.29", "1.29", true), ("1.290", "1.29", false), ("1.2", "1.29", false)]
    {
        assert_eq!(is_pinned(found, pinned), fits, "{found} {pinned}");
    }
    let of = |used, limit| Some(Room { used, limit });
    for (text, found) in [
        ("42\n", of(Some(42), None)),
        ("{\"Quota\": {\"Value\": 32.0}}", of(None, Some(32))),
        ("{\"items\": []}", of(None, None)),
        (
            "{\"items\": [{\"status\": {\"hard\": {\"pods\": \"10\"}, \"used\": {\"pods\": \"4\"}}}, {\"status\": {\"hard\": {\"pods\": \"6\"}, \"used\": {\"pods\": \"4\"}}}, {\"status\": {\"hard\": {\"services\": \"1\"}}}]}",
            of(Some(4), Some(6)),
        ),
        ("[{\"name\": {\"value\": \"pods\"}, \"currentValue\": \"3\", \"limit\": \"9\"}]", of(Some(3), Some(9))),
        ("[{\"name\": {\"value\": \"other\"}, \"currentValue\": 3, \"limit\": 9}]", None),
        ("none", None),
        ("{\"x\": 1}", None),
    ] {
        assert_eq!(room("pods", text), found, "{text}");
    }
}

#[test]
fn policies_get_the_documented_members() {
    let world = World::of(event(MISSING, &json!({"environment": "test"})), "");
    let planned = Planned::read(&world.payload, shipped()).unwrap();
    let seen = see(&planned, &good(&planned));
    let inputs = Inputs {
        planned: &planned,
        requested: Requested::of(&world.asked),
        seen: &seen,
        config: &world.config,
        catalogue: shipped(),
        standing: None,
        rule: &Rule::default(),
        executor: None,
        now_s: NOW_S,
    };
    let input = policy_input(&inputs);
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(members(&input), ["facts", "plan", "request"].map(str::to_owned).into());
    for name in ["commands", "steps", "environment", "target", "rollback", "digest"] {
        assert!(input["plan"].get(name).is_some(), "{name}");
    }
    assert_eq!(input["plan"]["digest"], planned.digest);
    assert_eq!((&input["request"]["initiator"], &input["request"]["change_id"]), (&json!("ann"), &json!("c")));
    let facts = ["cost", "dry_runs", "now", "prerequisites", "quota", "risk", "steps", "tools", "window"];
    assert_eq!(members(&input["facts"]), facts.map(str::to_owned).into());
    assert_eq!(input["facts"]["prerequisites"], json!({"az_resource_group/rg-net": "there"}));
    assert_eq!(input["facts"]["steps"][0]["is"], "absent");
    assert_eq!(input["facts"]["tools"]["az"], "2.64.0");
}

/// Any order of an object's members.
fn shuffled(value: &Value, seed: &mut u64) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(u64, String)> = members
                .iter()
                .map(|(name, value)| {
                    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (*seed >> 7, format!("{}:{}", Value::from(name.as_str()), shuffled(value, seed)))
                })
                .collect();
            members.sort();
            format!("{{{}}}", members.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| shuffled(item, seed)).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

const HOUSE: &str = "package house\npolicy := {\"id\": \"H-1\"}\ndeny contains msg if {\n  some step in input.facts.steps\n  \
                     msg := sprintf(\"%s %s\", [step.id, step.is])\n}\nwarn contains key if some key, _ in input.plan\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The same plan, answers, policies and time give the same bytes, whatever the order of members or the order in which answers came.
    #[test]
    fn the_same_input_gives_the_same_bytes(seed in any::<u64>(), codes in prop::collection::vec(0_u64..4, 8), now in 0_i64..4_000_000_000) {
        let payload = event(&format!("create aks cluster aks-a in eastus {KEY} and namespaces a, b and d"), &json!({"environment": "test"}));
        let event: Value = serde_json::from_slice(&payload).unwrap();
        let files = Files::read([("h.rego", HOUSE.as_bytes())]).unwrap();
        let config = format!("{LANES}[[windows]]\nname = \"w\"\nzone = \"America/New_York\"\ndays = [\"tue\"]\nfrom = \"01:00\"\nto = \"03:00\"\n");
        let config = Config::read("work.toml", &config).unwrap();
        let told = |seed: u64| {
            let payload = shuffled(&event, &mut seed.clone());
            let planned = Planned::read(payload.as_bytes(), shipped()).unwrap();
            let mut answers: Vec<(String, Answer)> = good(&planned).into_iter().zip(codes.iter().cycle())
                .map(|((id, one), code)| (id, if *code == 0 { one } else { Answer { code: Some(*code), ..one } })).collect();
            answers.sort_by_key(|(id, _)| id.len() as u64 ^ seed);
            let seen = see(&planned, &answers.into_iter().collect());
            let standing = approved_by(payload.as_bytes(), &["bob"]);
            let inputs = Inputs { planned: &planned, requested: None, seen: &seen, config: &config, catalogue: shipped(), standing: Some(&standing), rule: &Rule::default(), executor: None, now_s: now };
            let policies = Policies::compile(&files, &BTreeSet::new(), STEPS).unwrap();
            let results = policies.evaluate(&policy_input(&inputs), now);
            let verdict = verdict(&inputs, &results, Some(policies.digest()));
            (serde_json::to_string(&verdict.sections.clone().into_map()).unwrap(), verdict)
        };
        prop_assert_eq!(told(seed), told(seed ^ 0x5555_5555));
    }

    /// No payload and no answer is more than a plan that halts.
    #[test]
    fn any_plan_and_answers_are_judged(
        lines in prop::collection::vec("(kubectl-1.29|az|rm|get|delete|namespace|a|\\||;|\\$|\"|'| |\\PC){0,12}", 1..4),
        outputs in prop::collection::vec("(\\{|\\}|\\[|\\]|\"|items|1\\.2|true|\\PC){0,12}", 4),
    ) {
        let payload = json!({"provisioning_event": {"plan": {"commands": lines, "resources_needed": ["x", {"type": "k8s_namespace", "name": "n", "check": lines[0]}],
            "quota": [{"name": "q", "units": 3, "read": "kubectl-1.29 get resourcequota --namespace a --output json"}]}}}).to_string();
        let planned = Planned::read(payload.as_bytes(), shipped()).unwrap();
        let answers = planned.questions().into_iter().zip(outputs.iter().cycle())
            .map(|(question, text)| (question.id, answer(0, text, text))).collect();
        let world = World { answers: Some(answers), ..World::of(payload.clone().into_bytes(), "") };
        let verdict = world.verdict();
        // A prerequisite without a command is never taken for granted.
        prop_assert_eq!(verdict.outcome, Outcome::Halt);
    }
}

/// The executor asks again right before the first step: what was let go may start, and no longer once an approval or a window is gone.
#[test]
fn what_was_let_go_may_start_as_long_as_that_is_true() {
    use crate::execute::gate::{Asking, against};
    let words = "create resource group rg-a in eastus";
    let day = "[[windows]]\nname = \"noon\"\nzone = \"UTC\"\ndays = [\"mon\"]\nfrom = \"11:00\"\nto = \"13:00\"\n";
    let mut world = World::of(event(words, &json!({"environment": "test"})), day);
    let said = made(&world.verdict());
    assert_eq!(said["verdict"], "go");
    let asked = |world: &World, said: &Value, now_s: i64| {
        let planned = world.planned();
        let standing = approved_by(&world.payload, &world.approvers);
        let rule = Rule::default();
        against(&Asking {
            planned: &planned,
            requested: Requested::of(&world.asked),
            catalogue: shipped(),
            verdict: said,
            config: &world.config,
            standing: Some(&standing),
            rule: &rule,
            now_s,
        })
    };
    assert_eq!(asked(&world, &said, NOW_S), Vec::<String>::new());
    let closed = asked(&world, &said, NOW_S + 7_200);
    assert!(closed.len() == 1 && closed[0].contains("noon"), "{closed:?}");
    let mut other = said.clone();
    other["plan_digest"] = "sha256:0".into();
    assert!(asked(&world, &other, NOW_S)[0].contains("the verdict is of the plan"));
    let mut waits = said.clone();
    waits["verdict"] = "wait".into();
    assert!(asked(&world, &waits, NOW_S)[0].contains("not go"));
    world.approvers = vec!["ann"];
    assert!(!asked(&world, &said, NOW_S).is_empty(), "whoever asked is nobody else");
    // What a lane let go needs no person, as long as the lane takes it.
    let lane =
        format!("{day}[[lanes]]\nname = \"small\"\nenvironments = [\"test\"]\nmax_risk = 20\nneeds_rollback = false\n");
    let mut world = World { config: Config::read("work.toml", &lane).unwrap(), ..world };
    world.approvers = Vec::new();
    let said = made(&world.verdict());
    assert_eq!(said["verdict"], "go", "{said}");
    assert_eq!(asked(&world, &said, NOW_S), Vec::<String>::new());
    world.config.lanes.clear();
    assert!(!asked(&world, &said, NOW_S).is_empty());
}

//! Generated histories: each level is reached by measuring alone, and one clause short of it the level below.

use std::collections::BTreeMap;

use schemas::ids::{ChangeClass, ChangeId, Environment, Producer};
use schemas::model::{self, ClauseKind, OVERALL};
use serde_json::{Value, json};

use super::evidence::{Count, Figures};
use super::report::{self, Standing, Verdict};
use super::samples::samples;
use crate::account::Account;
use crate::approval::Rules;
use crate::document::Entry;
use crate::kpi::figure::{Sums, Total};
use crate::kpi::scratch::{Filter, Scratch};
use crate::kpi::{DAY_MS, Day, Window};
use crate::testing::{BORN_S, Made, raw};

/// Changes of a history, half of them in each environment.
const CHANGES: u64 = 44;
const BORN_MS: u64 = BORN_S.unsigned_abs() * 1000;

/// Which clauses of the scale a history is to show.
struct Wish {
    level: u8,
    without: Option<&'static str>,
}

impl Wish {
    fn has(&self, clause: &str) -> bool {
        let level = model::get().clause(clause).unwrap_or_else(|| panic!("{clause}")).level;
        level <= self.level && self.without != Some(clause)
    }

    /// A value, where the clause is to be shown.
    fn if_has(&self, clause: &str, value: Value) -> Option<Value> {
        self.has(clause).then_some(value)
    }
}

/// An object of the members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn plan(wish: &Wish, number: u64) -> Value {
    object([
        ("commands", wish.if_has("scale.2.plans", json!(["az group create --name rg"]))),
        ("inputs_digest", wish.if_has("scale.4.nl", json!(format!("sha256:{number:064x}")))),
        ("simulation", wish.if_has("scale.4.simulation", json!({"adds": 1}))),
    ])
}

fn preflight(wish: &Wish) -> Value {
    let approval = json!([{"approver": "bob", "role": "owner", "decision": "approved", "at": "2025-10-09T12:00:00Z"}]);
    object([
        ("checks", wish.if_has("scale.2.preflight", json!([{"type": "quota", "ok": true}]))),
        ("policies", wish.if_has("scale.3.policy", json!([{"name": "tags", "ok": true}]))),
        ("approvals", wish.if_has("scale.3.approvals", approval)),
    ])
}

fn execution(wish: &Wish) -> Value {
    let credentials =
        if wish.has("scale.3.credentials") { json!({"kind": "oidc", "ttl_s": 900}) } else { json!({"kind": "static"}) };
    let step = object([
        ("cmd", wish.if_has("scale.1.scripts", json!("az group create --name rg"))),
        ("rc", Some(json!(0))),
        ("stdout", wish.if_has("scale.1.logs", json!("created"))),
    ]);
    object([
        ("steps", (wish.level > 0).then(|| json!([step]))),
        ("credentials", wish.if_has("scale.1.credentials", credentials)),
        ("mTLS", wish.if_has("scale.2.mtls", json!(true))),
        ("guards", wish.if_has("scale.2.timeouts", json!({"timeout_s": 60}))),
        ("tools", wish.if_has("scale.3.pins", json!([{"name": "az", "version": "2.80.0"}]))),
        ("telemetry_ref", wish.if_has("scale.3.telemetry", json!("otel://run"))),
        ("agent", wish.if_has("scale.4.auto", json!("agent-session"))),
        ("waves", wish.if_has("scale.4.progressive", json!([{"name": "canary"}, {"name": "all"}]))),
    ])
}

fn verification(wish: &Wish, ok: bool) -> Value {
    let checks = json!([{"type": "health", "ok": ok}]);
    object([
        ("checks", wish.if_has("scale.1.read_backs", checks)),
        ("slo", wish.if_has("scale.4.slos", json!([{"name": "latency", "ok": true}]))),
        (
            "drift",
            wish.if_has("scale.2.drift", json!({"baseline_hash": "sha256:a", "current_hash": "sha256:a", "diff": []})),
        ),
    ])
}

/// The events of a change: phase, producer, sections.
fn change(wish: &Wish, number: u64) -> Vec<(&'static str, &'static str, Value)> {
    let intent = json!({"source": "api", "initiator": "ann", "tenant": "acme", "request": "Create a resource group"});
    let intent =
        if wish.has("scale.4.nl") { intent } else { json!({"source": "api", "initiator": "ann", "tenant": "acme"}) };
    let target = |second: bool| {
        let named = [format!("rg-{number}"), format!("rg-{number}-b")];
        let resources: Vec<_> =
            named.iter().take(1 + usize::from(second)).map(|name| json!({"type": "rg", "name": name})).collect();
        json!({"cloud": "azure", "cluster_endpoint_id": "prod-east", "resources": resources})
    };
    // Half of the resources are compared, nine in ten, or all.
    let all_compared = wish.has("scale.3.drift") && (wish.has("scale.4.reconciliation") || !number.is_multiple_of(5));
    let rollback =
        wish.if_has("scale.3.rollback_plan", json!({"available": true, "plan": ["az group delete --name rg"]}));
    // The last two, one in each environment, go wrong and are rolled back.
    let rolled_back = number >= CHANGES - 2 && wish.has("scale.4.rollback");
    let mut events = Vec::new();
    let mut add = |phase, producer, sections: Value| {
        let mut sections = sections;
        sections["intent"] = intent.clone();
        sections["target"] = target(phase != "verify" || all_compared);
        events.push((phase, producer, sections));
    };
    if wish.level >= 2 && wish.has("scale.2.plans") {
        add("plan", "planner", object([("plan", Some(plan(wish, number))), ("rollback", rollback)]));
    }
    if wish.level >= 2 {
        add("preflight", "gate", json!({"preflight": preflight(wish)}));
    }
    if wish.level >= 1 {
        add("execute", "runner", json!({"execution": execution(wish)}));
        if rolled_back {
            add("verify", "checker", json!({"verification": verification(wish, false)}));
            add(
                "execute",
                "runner",
                json!({"rollback": {"executed": {"steps": [{"cmd": "az group delete --name rg", "rc": 0, "stdout": "gone"}], "outcome": "passed"}}}),
            );
        }
        add("verify", "checker", json!({"verification": verification(wish, true)}));
    }
    add("audit", "closer", json!({"governance": {"closed": true, "owner": "platform"}}));
    events
}

/// Entries of a whole history, one change after the other.
fn history(wish: &Wish) -> Vec<(ChangeId, Vec<(u64, Made)>)> {
    let mut index = 0;
    let one = |number: u64| {
        let id = ChangeId::parse(&format!("c-{number}")).unwrap();
        let made = change(wish, number).into_iter().enumerate().map(|(seq, (phase, producer, sections))| {
            index += 1;
            let mut body = sections;
            body["id"] = json!(format!("e-{index}"));
            body["change_id"] = json!(id);
            body["phase"] = json!(phase);
            body["timestamp"] = json!("2025-10-09T12:00:00Z");
            let mut made = raw(phase, json!({ "provisioning_event": body }).to_string().into_bytes());
            made.header.change = id.clone();
            made.header.seq = seq as u64;
            made.header.at = BORN_MS + number * 3_600_000 + seq as u64 * 1000;
            made.header.env =
                Some(Environment::parse(if number.is_multiple_of(2) { "staging" } else { "prod" }).unwrap());
            made.header.class = Some(ChangeClass::parse("normal").unwrap());
            made.header.producer = Some(Producer::parse(producer).unwrap());
            (index, made)
        });
        let made = made.collect();
        (id, made)
    };
    (0..CHANGES).map(one).collect()
}

/// What a ledger would say of this history, with all conformance cases passed but `failed`.
fn figures(wish: &Wish, failed: Option<&str>) -> Figures {
    let history = history(wish);
    let rules = Rules::new("ledger/acme");
    let (mut accounts, mut own) = (Vec::new(), Vec::new());
    for (id, made) in &history {
        let entries: Vec<_> = made
            .iter()
            .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
            .collect();
        accounts.push(Account::of(id, &entries, &rules).unwrap());
        own.push(samples(id, &entries, &rules, DAY_MS));
    }
    let window = Window { from: Day::of(BORN_MS), to: Day(Day::of(BORN_MS).0 + 90) };
    let mut sums: Sums = Scratch::of(&accounts).sums(window, &Filter::default());
    let mut environments: BTreeMap<String, Count> = BTreeMap::new();
    for (account, samples) in accounts.iter().zip(own) {
        for sample in samples.iter().filter(|sample| window.contains(sample.day)) {
            sums.totals.entry(sample.metric.to_owned()).or_default().add(&Total::of(sample));
            if sample.metric == "rollback_executed" {
                let name = account.group.environment.as_ref().map_or("", |name| name.as_str());
                let count = environments.entry(name.to_owned()).or_default();
                count.num += u64::from(sample.num);
                count.den += u64::from(sample.den);
            }
        }
    }
    let mut figures = Figures::of(&sums, environments);
    let cases = model::get().conformance.iter().filter(|_| wish.level >= 2);
    let run =
        cases.map(|case| (case.metric.as_str(), Count { num: u64::from(Some(case.id.as_str()) != failed), den: 1 }));
    figures.take_cases(run.collect::<Vec<_>>());
    figures
}

fn level(wish: &Wish, failed: Option<&str>) -> (u8, Vec<&'static str>) {
    let levels = report::measured(&figures(wish, failed));
    let unmet = levels.scale.next().collect();
    (levels.overall, unmet)
}

#[test]
fn histories_reach_every_level() {
    for wanted in 0..=model::TOP {
        let found = level(&Wish { level: wanted, without: None }, None);
        assert_eq!(found.0, wanted, "{:?}", found.1);
    }
}

/// The named clause and no other is what keeps the history from its level.
#[test]
fn one_named_clause_short_of_each_level() {
    for clause in model::get().clauses_of(OVERALL).filter(|clause| clause.level > 0) {
        let probe = match clause.id.as_str() {
            "scale.2.redaction" => Some("secret_redaction"),
            _ => None,
        };
        let wish = Wish { level: clause.level, without: Some(clause.id.as_str()).filter(|_| probe.is_none()) };
        let (found, unmet) = level(&wish, probe);
        assert_eq!(found, clause.level - 1, "without {}", clause.id);
        assert_eq!(unmet, [clause.id.as_str()], "without {}", clause.id);
        if clause.kind == ClauseKind::Floor {
            let above = level(&Wish { level: 2, without: Some(&clause.id) }, None);
            assert_eq!(above.0, 2, "{} is held by what is above it", clause.id);
        }
    }
}

#[test]
fn too_few_changes_measure_nothing() {
    let mut figures = figures(&Wish { level: 4, without: None }, None);
    for count in figures.counts.values_mut() {
        *count = Count { num: count.num.min(19), den: count.den.min(19) };
    }
    // What conformance cases and rollbacks show needs no count, and holds the floors.
    assert_eq!(report::measured(&figures).overall, 1);
    figures.cases.clear();
    figures.environments.clear();
    assert_eq!(report::measured(&figures).overall, 0);
}

#[test]
fn a_rollback_in_each_environment_for_level_4() {
    let mut figures = figures(&Wish { level: 4, without: None }, None);
    figures.environments.insert("dr".to_owned(), Count { num: 0, den: 1 });
    let report = report::report(&figures);
    assert_eq!((report.overall.measured.level, report.cap), (3, Some("rollback_evidence")));
    let gate = report.gates.iter().find(|gate| gate.id == "rollback_evidence").unwrap();
    assert_eq!(gate.needs[0].found, "2 of 3; none in dr");
}

#[test]
fn attestations_lift_clauses_but_never_gates() {
    let mut figures = figures(&Wish { level: 3, without: Some("scale.3.telemetry") }, None);
    let said = || super::attestation::Attested {
        index: 1,
        assessor: "dana".to_owned(),
        statement: "seen".to_owned(),
        expires: "2030-01-01T00:00:00Z".to_owned(),
    };
    figures.attested.insert("scale.3.telemetry".to_owned(), said());
    let report = report::report(&figures);
    assert_eq!((report.overall.measured.level, report.overall.with_attestations.level), (2, 3));
    let clause = report.clauses.iter().find(|clause| clause.id == "scale.3.telemetry").unwrap();
    assert_eq!(clause.standing, Standing::Attested);
    for clause in &model::get().clauses {
        figures.attested.insert(clause.id.clone(), said());
    }
    let report = report::report(&figures);
    assert_eq!(report.overall.with_attestations.level, 3, "no rollback was executed, whoever says so");
    assert!(report.phases.iter().all(|row| row.with_attestations.level == model::TOP));
}

#[test]
fn the_checklist_tells_pass_fail_and_unknown() {
    let of = |figures: &Figures, id: &str| {
        report::checklist(figures).into_iter().find(|item| item.id == id).unwrap().verdict
    };
    let full = figures(&Wish { level: 4, without: None }, None);
    assert_eq!(report::checklist(&full).len(), 7);
    assert_eq!(of(&full, "rollback"), Verdict::Pass);
    assert_eq!(of(&Figures::default(), "planning"), Verdict::Unknown);
    let failed = figures(&Wish { level: 4, without: None }, Some("meta_blocking"));
    assert_eq!(of(&failed, "guard_rails"), Verdict::Fail);
    // Of output truncation the scale says nothing, so histories of levels do not bound their output.
    let guarded = |bounded: u64| {
        let mut figures = full.clone();
        let whole = Count { num: 40, den: 40 };
        figures.counts.extend(["retries", "timeouts"].map(|measure| (measure.to_owned(), whole)));
        figures.counts.insert("output_bounded".to_owned(), Count { num: bounded, den: 40 });
        figures
    };
    assert_eq!(of(&full, "guard_rails"), Verdict::Fail);
    assert_eq!(of(&guarded(40), "guard_rails"), Verdict::Pass);
    assert_eq!(of(&guarded(20), "guard_rails"), Verdict::Fail);
    let mut unknown = guarded(40);
    unknown.counts.remove("output_bounded");
    assert_eq!(of(&unknown, "guard_rails"), Verdict::Unknown);
    let bare = figures(&Wish { level: 2, without: Some("scale.2.mtls") }, None);
    assert_eq!(of(&bare, "secure_execution"), Verdict::Fail);
}

/// Counter-examples and cases, in single changes.
#[test]
fn what_speaks_against_a_clause_is_counted() {
    let one = |sections: &[(&str, Value)]| {
        let made: Vec<_> = sections
            .iter()
            .enumerate()
            .map(|(at, (phase, sections))| {
                let mut made = crate::testing::event(phase, sections);
                made.header.at = BORN_MS + at as u64 * 1000;
                (at as u64, made)
            })
            .collect();
        let entries: Vec<_> = made
            .iter()
            .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
            .collect();
        samples(&crate::testing::change(), &entries, &Rules::default(), DAY_MS)
    };
    let count = |samples: &[crate::kpi::Sample], metric: &str| {
        samples.iter().filter(|sample| sample.metric == metric).map(|sample| sample.num).sum::<u32>()
    };
    let ran = one(&[(
        "execute",
        json!({"execution": {"steps": [
        {"cmd": "a && b", "rc": 0}, {"cmd": "a; b", "rc": 1}, {"cmd": "a | sh", "rc": 0}, {"cmd": "a | jq .", "rc": 0},
        {"argv": ["echo", "a && b"], "rc": 0}, {"argv": ["sh", "-c", "a > b"], "rc": 0}]}}),
    )]);
    assert_eq!((count(&ran, "step_with_metas"), count(&ran, "pipe_beyond_list")), (2, 1));
    let halted = [
        ("preflight", json!({"preflight": {"checks": [{"ok": false}]}})),
        ("execute", json!({"execution": {"steps": [{"rc": 0}]}})),
    ];
    assert_eq!(count(&one(&halted), "executed_though_halted"), 1);
    let mended =
        [halted[0].clone(), ("preflight", json!({"preflight": {"checks": [{"ok": true}]}})), halted[1].clone()];
    assert_eq!(count(&one(&mended), "executed_though_halted"), 0);
    let failed = [halted[1].clone(), ("verify", json!({"verification": {"checks": [{"ok": false}]}}))];
    assert_eq!((count(&one(&failed), "failed_left_standing"), count(&one(&failed), "failed_without_way_back")), (1, 1));
    let again = [failed[0].clone(), failed[1].clone(), ("verify", json!({"verification": {"checks": [{"ok": true}]}}))];
    assert_eq!(count(&one(&again), "failed_left_standing"), 0);
    let drift = [halted[1].clone(), ("verify", json!({"verification": {"drift": {"diff": ["x"]}}}))];
    assert_eq!(count(&one(&drift), "drift_left_open"), 1);
    let gone = [drift[0].clone(), drift[1].clone(), ("verify", json!({"verification": {"drift": {"diff": []}}}))];
    assert_eq!(count(&one(&gone), "drift_left_open"), 0);
}

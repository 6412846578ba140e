//! The verdict: everything that was seen and said about a plan, as one answer and as the preflight section of an event.

use projector::approval::{Rule, Standing};
use schemas::ids::ChangeClass;
use serde_json::{Map, Value, json};

use crate::approval::{self, Asked, Judgement, Requirement};
use crate::argv;
use crate::budget;
use crate::build::Sections;
use crate::calendar::{Opening, rfc3339};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::lane;
use crate::policy::{Decision, PolicyResult};
use crate::risk::{self, Score};

use super::{Check, Kind, Planned, Requested, Seen, Violation};

/// Everything that a verdict depends on, beside the policies' results.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The stored plan.
    pub planned: &'a Planned,
    /// What was asked for; without it no lane takes the plan.
    pub requested: Option<Requested<'a>>,
    /// What was seen.
    pub seen: &'a Seen,
    /// The house's configuration.
    pub config: &'a Config,
    /// Its catalogue.
    pub catalogue: &'a Catalogue,
    /// The approvals on record.
    pub standing: Option<&'a Standing>,
    /// The tenant's rule.
    pub rule: &'a Rule,
    /// Who will execute it, where that is known.
    pub executor: Option<&'a str>,
    /// The time, in seconds since 1970.
    pub now_s: i64,
}

/// Whether the plan may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Now.
    Go,
    /// Not yet.
    Wait {
        /// What for, each.
        reasons: Vec<String>,
        /// When it is worth asking again, where time alone decides.
        until_s: Option<i64>,
    },
    /// No.
    Halt,
}

impl Outcome {
    /// Its word in events: `go`, `wait` or `halt`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Wait { .. } => "wait",
            Self::Halt => "halt",
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// In a word.
    pub outcome: Outcome,
    /// All that halts it.
    pub violations: Vec<Violation>,
    /// All that was looked at, by kind and subject.
    pub checks: Vec<Check>,
    /// When it may run.
    pub opening: Opening,
    /// How risky it is.
    pub score: Score,
    /// The lane that takes it.
    pub lane: Option<String>,
    /// What the approvals amount to.
    pub judgement: Judgement,
    /// Section `preflight` of an event.
    pub sections: Sections,
}

/// The document that policies get; see `docs/policies.md`.
pub fn policy_input(inputs: &Inputs<'_>) -> Value {
    let Inputs { planned, seen, .. } = inputs;
    let mut facts = seen.document(planned);
    let opening = opening(inputs);
    facts.insert("now".to_owned(), rfc3339(inputs.now_s).into());
    facts.insert("risk".to_owned(), score(inputs).document());
    facts.insert("window".to_owned(), window_document(&opening));
    facts.extend(budget::document(planned).map(|cost| ("cost".to_owned(), cost)));
    let part = |name: &str| planned.event.get(name).cloned();
    let section = |name: &str| part(name).and_then(|section| section.as_object().cloned()).unwrap_or_default();
    let intent = inputs.requested.map_or_else(|| section("intent"), |requested| requested.intent());
    let (mut plan, mut request) = (section("plan"), intent);
    for name in ["environment", "change_class", "target", "rollback"] {
        plan.extend(part(name).map(|value| (name.to_owned(), value)));
    }
    // As the ledger computes it, whatever the event says.
    plan.insert("digest".to_owned(), planned.digest.as_str().into());
    request.extend(part("change_id").map(|value| ("change_id".to_owned(), value)));
    // As it was asked for, where that is on record.
    let class = planned.class.map(ChangeClass::as_str);
    request.extend(class.map(|class| ("change_class".to_owned(), class.into())));
    json!({"plan": plan, "request": request, "facts": facts})
}

fn opening(inputs: &Inputs<'_>) -> Opening {
    inputs.config.calendar.at(inputs.planned.case(), inputs.planned.window, inputs.now_s)
}

fn score(inputs: &Inputs<'_>) -> Score {
    risk::score(&inputs.config.risk, inputs.planned)
}

fn window_document(opening: &Opening) -> Value {
    let mut members = Map::new();
    members.insert("open".to_owned(), opening.open.into());
    members.insert("text".to_owned(), opening.text.as_str().into());
    members.extend(opening.window.as_deref().map(|name| ("window".to_owned(), name.into())));
    if !opening.freezes.is_empty() {
        members.insert("freezes".to_owned(), opening.freezes.clone().into());
    }
    members.extend(opening.closes_s.map(|at| ("closes".to_owned(), rfc3339(at).into())));
    members.extend(opening.next_s.map(|at| ("next".to_owned(), rfc3339(at).into())));
    Value::Object(members)
}

/// Decides. `policies` are the results over [`policy_input`], `policies_digest` names what was asked.
pub fn verdict(inputs: &Inputs<'_>, policies: &[PolicyResult], policies_digest: Option<&str>) -> Verdict {
    let Inputs { planned, seen, config, .. } = inputs;
    let (opening, score) = (opening(inputs), score(inputs));
    let mut violations: Vec<Violation> = planned.violations.iter().chain(&seen.violations).cloned().collect();
    let mut checks = seen.held.clone();
    violations.extend(narrowed(inputs));
    of_the_window(&opening, &mut violations, &mut checks);
    of_the_risk(inputs, &score, &mut violations, &mut checks);
    of_the_budgets(inputs, &mut violations, &mut checks);
    of_the_blast_radius(inputs, &mut violations, &mut checks);
    violations.extend(of_policies(inputs, policies));

    let advised: Vec<String> =
        policies.iter().filter(|result| result.decision != Decision::Allowed).map(|result| result.id.clone()).collect();
    let foreign =
        if config.lanes.is_empty() { None } else { lane::foreign(planned, inputs.requested, inputs.catalogue) };
    let lanes: Vec<(&str, Vec<String>)> = config
        .lanes
        .iter()
        .map(|lane| (lane.name.as_str(), lane.against(planned, &score, &advised, foreign.as_deref())))
        .collect();
    // What halts, halts; a lane has nothing to say about it.
    let lane = lanes.iter().position(|(_, against)| against.is_empty()).filter(|_| violations.is_empty());
    let lane = lane.map(|at| &config.lanes[at]);

    let requirements = config.requirements(planned.case(), &score);
    let judgement = approval::judge(
        &requirements,
        &Asked {
            plan_digest: &planned.digest,
            executor: inputs.executor,
            lane: lane.map(|lane| lane.name.as_str()),
            standing: inputs.standing,
            rule: inputs.rule,
            names: &planned.approvals,
            now_ms: u64::try_from(inputs.now_s).unwrap_or_default().saturating_mul(1000),
        },
    );
    checks.extend(violations.iter().filter(|violation| violation.kind != Kind::Policy).map(Violation::check));
    checks.sort();
    checks.dedup();
    let outcome = outcome(&violations, &opening, &judgement);
    let preflight = json!({
        "verdict": outcome.as_str(),
        "plan_digest": planned.digest,
        "checks": checks.iter().map(Check::document).collect::<Value>(),
        "policies": policies.iter().map(PolicyResult::document).collect::<Value>(),
        "risk": score.document(),
        "window": window_document(&opening),
        "approvals_needed": requirements.iter().map(|one| json!({"name": one.name, "asks": one.sentence()})).collect::<Value>(),
    });
    let mut sections = Sections::new();
    sections.add("preflight", preflight);
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            let mut members = Map::new();
            members.insert(name.to_owned(), value);
            sections.add("preflight", Value::Object(members));
        }
    };
    add("policies_digest", policies_digest.map(Into::into));
    add("cost", budget::document(planned));
    add("quota", Some(seen.quota_document()).filter(|_| !seen.quotas.is_empty()));
    let told = lanes.iter().map(|(name, against)| json!({"name": name, "takes": lane.is_some_and(|lane| lane.name == *name), "against": against}));
    add("lanes", Some(told.collect()).filter(|_| !lanes.is_empty()));
    add("approvals", lane.map(|lane| json!([lane.approval(&planned.digest, inputs.now_s)])));
    if let Outcome::Wait { reasons, until_s } = &outcome {
        add("waits_for", Some(reasons.clone().into()));
        add("looks_again", until_s.map(|at| rfc3339(at).into()));
    }
    add("approvals_refused", Some(refused(&judgement)).filter(|_| !judgement.refused.is_empty()));
    Verdict {
        outcome,
        violations,
        checks,
        opening,
        score,
        lane: lane.map(|lane| lane.name.clone()),
        judgement,
        sections,
    }
}

/// Approvals that do not count, each with its reasons.
fn refused(judgement: &Judgement) -> Value {
    let one = |refused: &approval::Refused| {
        let reasons: Vec<String> = refused.reasons.iter().map(ToString::to_string).collect();
        json!({"entry": refused.index, "approver": refused.approver, "requirement": refused.requirement, "reasons": reasons})
    };
    judgement.refused.iter().map(one).collect()
}

fn outcome(violations: &[Violation], opening: &Opening, judgement: &Judgement) -> Outcome {
    if !violations.is_empty() {
        return Outcome::Halt;
    }
    let mut reasons: Vec<String> = judgement.missing.clone();
    if !opening.open {
        reasons.push(opening.text.clone());
    }
    if reasons.is_empty() {
        return Outcome::Go;
    }
    Outcome::Wait { reasons, until_s: opening.next_s.filter(|_| judgement.satisfied) }
}

/// Pipes into programs that the house has taken off the list.
fn narrowed(inputs: &Inputs<'_>) -> Vec<Violation> {
    let commands = inputs.planned.steps.iter().map(|step| (step.id.as_str(), step.command.as_str()));
    let commands = commands.chain(inputs.planned.rollback.iter().map(|line| ("the rollback", line.as_str())));
    let refused = |(subject, line): (&str, &str)| {
        let program = inputs.config.guard.refuses(&argv::parse(line, inputs.catalogue).ok()?)?.to_owned();
        let found = format!("{line:?} pipes into {program}, which is not on this house's list");
        Some(Violation::new(Kind::Guard, subject, found, "plan again without the pipe"))
    };
    commands.filter_map(refused).collect()
}

/// A closed window waits; one that never opens again halts.
fn of_the_window(opening: &Opening, violations: &mut Vec<Violation>, checks: &mut Vec<Check>) {
    let subject = opening.window.as_deref().unwrap_or("when it may run");
    match (opening.open, opening.next_s) {
        (true, _) => checks.push(Check::held(Kind::Window, subject, &*opening.text)),
        (false, Some(_)) => checks.push(Check::noted(Kind::Window, subject, &*opening.text)),
        (false, None) => {
            let how = "plan again with a window in which it may run";
            violations.push(Violation::new(Kind::Window, subject, &*opening.text, how));
        }
    }
}

fn of_the_risk(inputs: &Inputs<'_>, score: &Score, violations: &mut Vec<Violation>, checks: &mut Vec<Check>) {
    let most = inputs.config.risk.most;
    let told = format!("{} points, {}", score.points, score.level);
    if score.points > most {
        let found = format!("{told}; at most {most} may run");
        violations.push(Violation::new(Kind::Risk, "risk", found, "split the change, or lower what counts"));
    } else {
        checks.push(Check::held(Kind::Risk, "risk", told));
    }
}

fn of_the_budgets(inputs: &Inputs<'_>, violations: &mut Vec<Violation>, checks: &mut Vec<Check>) {
    for budget in inputs.config.budgets.iter().filter(|budget| budget.scope.binds(inputs.planned.case())) {
        match budget.holds(inputs.planned) {
            (true, told) => checks.push(Check::held(Kind::Budget, &budget.name, told)),
            (false, told) => {
                let how = "plan for less, or have its owner raise it";
                violations.push(Violation::new(Kind::Budget, &budget.name, told, how));
            }
        }
    }
}

fn of_the_blast_radius(inputs: &Inputs<'_>, violations: &mut Vec<Violation>, checks: &mut Vec<Check>) {
    for limit in inputs.config.blast_radius.iter().filter(|limit| limit.scope.binds(inputs.planned.case())) {
        match limit.holds(inputs.planned, &|step| inputs.seen.runs(step)) {
            (true, told) => checks.push(Check::held(Kind::BlastRadius, &limit.name, told)),
            (false, told) => {
                let how = "split the change, or have the house raise the limit";
                violations.push(Violation::new(Kind::BlastRadius, &limit.name, told, how));
            }
        }
    }
}

fn of_policies(inputs: &Inputs<'_>, policies: &[PolicyResult]) -> Vec<Violation> {
    if policies.is_empty() && inputs.config.policy.source.is_some() {
        let found = "policies are configured, and none was asked";
        return vec![Violation::new(Kind::Policy, "the policies", found, "see to the policy worker")];
    }
    let halting = policies.iter().filter(|result| result.halts());
    halting
        .map(|result| {
            let found = format!("{} by package {}: {}", result.decision.as_str(), result.package, result.message);
            Violation::new(Kind::Policy, &result.id, found, "")
        })
        .collect()
}

impl Config {
    /// What is asked of a change: each requirement that is about it; the default where none is.
    pub fn requirements(&self, case: crate::scope::Case<'_>, score: &Score) -> Vec<&Requirement> {
        let asked: Vec<&Requirement> = self.approvals.iter().filter(|one| one.binds(case, score)).collect();
        if asked.is_empty() { vec![&self.default_approval] } else { asked }
    }
}

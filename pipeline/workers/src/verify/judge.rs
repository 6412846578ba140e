//! What the answers of a round amount to.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::looks::{self, Run};
use super::state::{self, Difference, State};
use super::{Bound, Look, Options, Wanted};
use crate::argv;
use crate::preflight::answer::Presence;
use crate::preflight::{Answers, Planned};

/// One answer of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// It answered as it has to.
    pub good: bool,
    /// What it answered, for people.
    pub message: String,
    /// How long it took.
    pub ms: u64,
    /// What it printed, where it is a command.
    pub printed: Option<String>,
}

/// Everything that was found in one round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// By the id of their looks.
    pub answers: Answers,
    /// By the id of their runs.
    pub probes: BTreeMap<String, Vec<Probed>>,
}

/// A round, judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Round {
    /// `verification.checks`.
    pub checks: Vec<Value>,
    /// `verification.slo`.
    pub slo: Vec<Value>,
    /// What was read back.
    pub state: State,
}

/// What the round is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long the round itself took.
    pub duration_ms: u64,
    /// How long it was waited for it, since everything was done.
    pub wait_ms: u64,
}

impl Found {
    /// Judges a round.
    pub fn round(&self, plan: &Planned, looks: &[Look], runs: &[Run], options: &Options) -> Round {
        let mut round = Round::default();
        for look in looks {
            round.look(self, look, options);
        }
        round.expect(plan, options);
        for run in runs.iter().filter(|run| !run.id.starts_with("slo:")) {
            let (good, message) = self.probe(run);
            let kind = match &run.way {
                Ok(super::Way::Tcp(_)) => "health_tcp",
                Ok(super::Way::Command { .. }) => "health_command",
                _ => "health_http",
            };
            round.checks.push(check(kind, &run.id["probe:".len()..], good, &message));
        }
        let asked = |name: &str| runs.iter().any(|run| run.id.starts_with(&format!("slo:{name}")));
        for slo in options.slos.iter().filter(|slo| slo.scope.binds(plan.case()) && asked(&slo.name)) {
            let (good, message) = self.level(&slo.name, &slo.bound, runs);
            round.slo.push(check("slo", &slo.name, good, &message));
        }
        round.state = std::mem::take(&mut round.state).kept();
        round
    }

    fn probe(&self, run: &Run) -> (bool, String) {
        if let Err(problem) = &run.way {
            return (false, problem.clone());
        }
        match self.probes.get(&run.id).and_then(|all| all.first()) {
            Some(probed) => (probed.good, format!("{} in {} ms", probed.message, probed.ms)),
            None => (false, "it was not asked".to_owned()),
        }
    }

    fn level(&self, name: &str, bound: &Bound, runs: &[Run]) -> (bool, String) {
        match bound {
            Bound::Probe { good_percent, p95_ms, .. } => {
                let start = format!("slo:{name}:");
                let own = runs.iter().filter(|run| run.id.starts_with(&start));
                let samples: Vec<&Probed> = own.filter_map(|run| self.probes.get(&run.id)).flatten().collect();
                let good = samples.iter().filter(|probed| probed.good).count() as u64;
                let count = samples.len() as u64;
                let mut times: Vec<u64> = samples.iter().map(|probed| probed.ms).collect();
                times.sort_unstable();
                let p95 = times.get((times.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
                let enough = count > 0 && good * 100 >= good_percent * count;
                let in_time = p95_ms.is_none_or(|most| p95 <= most);
                let most = p95_ms.map_or(String::new(), |most| format!(", at most {most} ms"));
                let message = format!("{good} of {count} good, at least {good_percent} %; P95 {p95} ms{most}");
                (enough && in_time, message)
            }
            Bound::Number { at_most, at_least, .. } => {
                let probed = self.probes.get(&format!("slo:{name}")).and_then(|all| all.first());
                let Some(probed) = probed else { return (false, "it was not asked".to_owned()) };
                let printed = probed.printed.as_deref().map(str::trim).unwrap_or_default();
                let Some(number) = printed.parse::<f64>().ok().filter(|number| number.is_finite() && probed.good)
                else {
                    return (false, format!("expected a number: {}", probed.message));
                };
                #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
                let limit = |thousandths: i64| thousandths as f64 / 1_000.0;
                let holds = at_most.is_none_or(|most| number <= limit(most))
                    && at_least.is_none_or(|least| number >= limit(least));
                let words = [("at most", at_most), ("at least", at_least)];
                let asked: Vec<String> =
                    words.iter().filter_map(|(word, bound)| Some(format!("{word} {}", limit((**bound)?)))).collect();
                (holds, format!("{number}, {}", asked.join(", ")))
            }
        }
    }
}

impl Round {
    /// Notes that there was nothing to take back, so that nothing has to be gone.
    pub fn nothing_to_take_back(&mut self) {
        self.checks.push(check("existence", "the change", true, "nothing was done that has to be taken back"));
    }

    /// Whether everything holds; `None` where nothing was looked at.
    pub fn holds(&self) -> Option<bool> {
        let mut all = self.checks.iter().chain(&self.slo).filter_map(|check| check["ok"].as_bool()).peekable();
        all.peek()?;
        Some(all.all(|ok| ok))
    }

    /// What does not hold, one sentence each.
    pub fn broken(&self) -> Vec<String> {
        let bad = self.checks.iter().chain(&self.slo).filter(|check| check["ok"] == false);
        bad.map(|check| {
            format!("{}: {}", check["name"].as_str().unwrap_or_default(), check["message"].as_str().unwrap_or_default())
        })
        .collect()
    }

    /// `verification`, compared with a baseline where there is one: else the round's own state becomes it. `monitored`: whether somebody
    /// watches on.
    pub fn document(&self, purpose: &str, baseline: Option<&State>, monitored: bool, timing: Timing) -> Value {
        let differences = baseline.map(|baseline| self.state.differences(baseline)).unwrap_or_default();
        let mut members = Map::new();
        members.insert("purpose".to_owned(), purpose.into());
        members.insert("checks".to_owned(), self.checks.clone().into());
        if !self.slo.is_empty() {
            members.insert("slo".to_owned(), self.slo.clone().into());
        }
        if !self.state.0.is_empty() {
            let against = baseline.unwrap_or(&self.state);
            members.insert("drift".to_owned(), drift(&self.state, against, &differences, monitored));
            members.insert("state".to_owned(), self.state.document());
        }
        let summary = match self.broken().as_slice() {
            [] => state::summary(&differences),
            broken => broken.join("; "),
        };
        members.insert("summary".to_owned(), summary.into());
        members.insert("duration_ms".to_owned(), timing.duration_ms.into());
        members.insert("wait_ms".to_owned(), timing.wait_ms.into());
        Value::Object(members)
    }

    fn look(&mut self, found: &Found, look: &Look, options: &Options) {
        let with = argv::render(&look.argv);
        let Some(answer) = found.answers.get(&look.id) else {
            self.checks.push(check("existence", &look.resource, false, &format!("not looked at: {with}")));
            return;
        };
        let (good, kind, message) = match &look.wanted {
            Wanted::There(how) => match answer.presence(how) {
                Presence::There => (true, "existence", "it is there".to_owned()),
                Presence::Absent => {
                    self.state.gone(&look.resource);
                    (false, "existence", format!("it is not there; looked with: {with}"))
                }
                Presence::Unknown(why) => (false, "existence", format!("nobody knows ({why}); looked with: {with}")),
            },
            Wanted::Absent(how) => match answer.presence(how) {
                Presence::Absent => (true, "existence", "it is gone".to_owned()),
                Presence::There => (false, "existence", format!("it is still there; looked with: {with}")),
                Presence::Unknown(why) => (false, "existence", format!("nobody knows ({why}); looked with: {with}")),
            },
            Wanted::State if answer.code == Some(0) => {
                self.state.add(&look.resource, &answer.stdout, &options.ignore);
                (true, "read_back", "its state was read back".to_owned())
            }
            Wanted::RolledOut if answer.code == Some(0) => (true, "rollout_status", "it is rolled out".to_owned()),
            Wanted::RolledOut => (false, "rollout_status", format!("{}; looked with: {with}", answer.shown())),
            Wanted::State => (false, "read_back", format!("{}; read with: {with}", answer.shown())),
        };
        self.checks.push(check(kind, &look.resource, good, &message));
    }

    /// Fields whose places in the read-back the house knows.
    fn expect(&mut self, plan: &Planned, options: &Options) {
        for (resource, fields) in looks::fields(plan) {
            let Some(state) = self.state.0.get(&resource).filter(|state| !state.is_null()) else { continue };
            let kind = fields.get("type").map(String::as_str).unwrap_or_default();
            let mut checks = Vec::new();
            for expectation in options.expectations.iter().filter(|one| one.kind == kind) {
                let Some(wanted) = fields.get(&expectation.field) else { continue };
                let found = state.pointer(&expectation.pointer);
                let same = found.is_some_and(|found| match found {
                    Value::String(text) => text == wanted,
                    Value::Bool(yes) => *wanted == if *yes { "true" } else { "false" },
                    Value::Number(number) => wanted.parse::<serde_json::Number>().is_ok_and(|wanted| wanted == *number),
                    _ => false,
                });
                let shown = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
                let message =
                    format!("{} is {shown}, asked for was {wanted:?} ({})", expectation.field, expectation.pointer);
                checks.push(check("expectation", &resource, same, &message));
            }
            self.checks.extend(checks);
        }
    }
}

/// `verification.drift`.
pub(crate) fn drift(state: &State, baseline: &State, differences: &[Difference], monitored: bool) -> Value {
    let listed: Vec<Value> = differences.iter().take(state::LISTED).map(Difference::document).collect();
    json!({
        "baseline_hash": baseline.hash(),
        "current_hash": state.hash(),
        "diff": listed,
        "summary": state::summary(differences),
        "monitored": monitored,
    })
}

fn check(kind: &str, name: &str, ok: bool, message: &str) -> Value {
    json!({"type": kind, "name": name, "ok": ok, "message": message})
}

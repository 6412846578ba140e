//! What is looked at after an execution, and after a rollback.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Options, Probe, Way};
use crate::argv;
use crate::catalogue::Catalogue;
use crate::course::{Course, Fate};
use crate::preflight::{self, Planned};
use crate::rollback;

/// How long a command may take that prints a service level's number.
const NUMBER_MS: u64 = 60_000;

/// A command that looks, and what its answer has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Names its answer.
    pub id: String,
    /// `type/name`, or the step where it names none.
    pub resource: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it has to say.
    pub wanted: Wanted,
}

/// What an answer has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The resource is there.
    There(preflight::Look),
    /// It is not.
    Absent(preflight::Look),
    /// Whatever its state is.
    State,
    /// It is at work: the command ends well.
    RolledOut,
}

/// One probe of the house, with a resource's fields in their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Names its answer.
    pub id: String,
    /// The probe's name.
    pub name: String,
    /// What is done; `Err`: why it can't be.
    pub way: Result<Way, String>,
    /// Milliseconds.
    pub within_ms: u64,
    /// How often: more than once for a service level.
    pub samples: u64,
}

/// What is looked at after an execution: each step that ran, or had nothing to do.
pub fn looks(course: &Course, catalogue: &Catalogue) -> Vec<Look> {
    let Some(plan) = &course.plan else { return Vec::new() };
    let mut all = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        if matches!(course.fates[at], Fate::Done | Fate::Skipped) {
            let resource = resource_of(&step.id);
            let stays = step.action != "delete";
            all.extend(step.check.as_ref().map(|look| presence(&step.id, resource, look, stays)));
            all.extend(
                reading(plan, at, "read_back", catalogue).filter(|_| stays).map(|argv| state(&step.id, resource, argv)),
            );
            all.extend(
                reading(plan, at, "rollout", catalogue).filter(|_| stays).map(|argv| rollout(&step.id, resource, argv)),
            );
        }
    }
    once(all)
}

/// What is looked at after a rollback: what was made is gone, what was set is there.
pub fn looks_after_rollback(course: &Course, way: &rollback::Way, catalogue: &Catalogue) -> Vec<Look> {
    let Some(plan) = &course.plan else { return Vec::new() };
    let mut all = Vec::new();
    for undo in &way.undos {
        let Some(step) = undo.at.and_then(|at| plan.steps.get(at)) else { continue };
        let resource = resource_of(&step.id);
        let stays = step.action != "create";
        all.extend(step.check.as_ref().map(|look| presence(&step.id, resource, look, stays)));
        let argv = undo.at.and_then(|at| reading(plan, at, "read_back", catalogue)).filter(|_| stays);
        all.extend(argv.map(|argv| state(&step.id, resource, argv)));
    }
    once(all)
}

/// The house's probes that are about a change, and the samples of its service levels.
pub fn probes(plan: &Planned, options: &Options) -> Vec<Run> {
    let about = options.probes.iter().filter(|probe| probe.scope.binds(plan.case()));
    let mut all: Vec<Run> = about.flat_map(|probe| runs(probe, plan, 1)).collect();
    for slo in options.slos.iter().filter(|slo| slo.scope.binds(plan.case())) {
        match &slo.bound {
            super::Bound::Probe { probe, samples, .. } => {
                let probes = options.probes.iter().filter(|known| known.name == *probe);
                for mut run in probes.flat_map(|probe| runs(probe, plan, *samples)) {
                    run.id = format!("slo:{}:{}", slo.name, run.id);
                    all.push(run);
                }
            }
            super::Bound::Number { line, .. } => all.push(Run {
                id: format!("slo:{}", slo.name),
                name: slo.name.clone(),
                way: Ok(Way::Command { line: line.clone(), prints: None }),
                within_ms: NUMBER_MS,
                samples: 1,
            }),
        }
    }
    all
}

/// The probes that have to answer whatever became of the change's resources: after a rollback, too.
pub fn probes_of_nothing(plan: &Planned, options: &Options) -> Vec<Run> {
    let about = options.probes.iter().filter(|probe| probe.types.is_none() && probe.scope.binds(plan.case()));
    about.flat_map(|probe| runs(probe, plan, 1)).collect()
}

/// The probes of these names that have to answer between two waves: those of the resources of these steps, and those that are about none.
pub fn probes_between_waves(plan: &Planned, options: &Options, names: &BTreeSet<String>, steps: &[&str]) -> Vec<Run> {
    let about = options.probes.iter().filter(|probe| names.contains(&probe.name) && probe.scope.binds(plan.case()));
    let made: BTreeSet<&str> = steps.iter().map(|step| resource_of(step)).collect();
    let all = about.flat_map(|probe| runs(probe, plan, 1).into_iter().map(move |run| (probe, run)));
    let is_theirs = |probe: &Probe, run: &Run| {
        let resource = run.id.strip_prefix(&format!("probe:{}:", probe.name));
        probe.types.is_none() || resource.is_some_and(|resource| made.contains(resource))
    };
    all.filter(|(probe, run)| is_theirs(probe, run)).map(|(_, run)| run).collect()
}

/// `type/name` of a step's id.
fn resource_of(step: &str) -> &str {
    step.split('#').next().unwrap_or(step)
}

/// The fields of each resource of the plan's target, by `type/name`.
pub(crate) fn fields(plan: &Planned) -> BTreeMap<String, BTreeMap<String, String>> {
    let resources = plan.event.pointer("/target/resources").and_then(Value::as_array);
    let mut all = BTreeMap::new();
    for resource in resources.into_iter().flatten() {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        let members = resource.as_object().into_iter().flatten();
        let said: BTreeMap<String, String> =
            members.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
        if let (Some(kind), Some(name)) = (said.get("type"), said.get("name")) {
            all.insert(format!("{kind}/{name}"), said);
        }
    }
    all
}

/// A step's command of this name, where it is one of the catalogue that only looks.
fn reading(plan: &Planned, at: usize, name: &str, catalogue: &Catalogue) -> Option<Vec<String>> {
    let line = plan.event.pointer(&format!("/plan/steps/{at}/{name}")).and_then(Value::as_str)?;
    let mut pipeline = argv::parse(line, catalogue).ok().filter(|pipeline| pipeline.commands.len() == 1)?;
    pipeline.commands.pop().filter(|argv| catalogue.reads(argv))
}

fn presence(step: &str, resource: &str, look: &preflight::Look, there: bool) -> Look {
    let wanted = if there { Wanted::There(look.clone()) } else { Wanted::Absent(look.clone()) };
    Look { id: format!("check:{step}"), resource: resource.to_owned(), argv: look.argv.clone(), wanted }
}

fn state(step: &str, resource: &str, argv: Vec<String>) -> Look {
    Look { id: format!("state:{step}"), resource: resource.to_owned(), argv, wanted: Wanted::State }
}

fn rollout(step: &str, resource: &str, argv: Vec<String>) -> Look {
    Look { id: format!("rollout:{step}"), resource: resource.to_owned(), argv, wanted: Wanted::RolledOut }
}

/// The last word about a resource counts: a twin that is switched to is looked at once.
fn once(all: Vec<Look>) -> Vec<Look> {
    let mut kept: Vec<Look> = Vec::new();
    for look in all {
        kept.retain(|known| known.argv != look.argv);
        kept.push(look);
    }
    kept
}

fn runs(probe: &Probe, plan: &Planned, samples: u64) -> Vec<Run> {
    let run = |id: String, way| Run { id, name: probe.name.clone(), way, within_ms: probe.within_ms, samples };
    let Some(types) = &probe.types else { return vec![run(format!("probe:{}", probe.name), filled(&probe.way, None))] };
    let all = fields(plan);
    let about = all.iter().filter(|(_, fields)| fields.get("type").is_some_and(|kind| types.contains(kind)));
    // Of what is deleted nothing answers.
    let about = about.filter(|(_, fields)| fields.get("action").is_none_or(|action| action != "delete"));
    about.map(|(id, fields)| run(format!("probe:{}:{id}", probe.name), filled(&probe.way, Some(fields)))).collect()
}

fn filled(way: &Way, fields: Option<&BTreeMap<String, String>>) -> Result<Way, String> {
    Ok(match way {
        Way::Http { url, status, contains } => {
            Way::Http { url: fill(url, fields)?, status: *status, contains: contains.clone() }
        }
        Way::Tcp(address) => Way::Tcp(fill(address, fields)?),
        Way::Command { line, prints } => Way::Command { line: fill(line, fields)?, prints: prints.clone() },
    })
}

/// A text with values in place of `{field}`. Only names go into it: what means something in a URL or on a command line does not.
fn fill(text: &str, fields: Option<&BTreeMap<String, String>>) -> Result<String, String> {
    let Some(fields) = fields else { return Ok(text.to_owned()) };
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once('{') {
        let Some((name, after)) = inner.split_once('}') else { break };
        let value = fields.get(name).ok_or_else(|| format!("the resource says no {name}"))?;
        let is_plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !is_plain || value.starts_with('-') {
            return Err(format!("its {name} {value:?} is no plain name"));
        }
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

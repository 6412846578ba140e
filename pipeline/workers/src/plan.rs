//! The planner: a request becomes ordered commands, each with its check, its way back and what it depends on. UPM v2, F1.
//!
//! Pure and deterministic: the same request over the same catalogue gives the same bytes, whatever the order of members in a map, the
//! machine or the day; the clock is not asked. All that is wrong is told at once. Every command passes the argv guard here, so that what
//! is approved is what may run.
//!
//! - [`resolve`](mod@self): values, implied resources, references (`resolve.rs`)
//! - [`graph`]: order, cycles, exports as DOT, Mermaid and SVG
//! - [`existing`]: what is there already, and the simulation over it
//! - [`glance`]: what has to be looked at for that
//! - [`waves`]: canary and blue-green
//! - [`document`]: the sections of an event, and the digest that approvals bind to
//!
//! Left out: whether prerequisites hold and policies allow it (preflight).

pub mod document;
pub mod existing;
pub mod glance;
pub mod graph;
mod hints;
mod resolve;
mod steps;
pub mod waves;

use std::collections::{BTreeMap, BTreeSet};

use schemas::ids::ChangeClass;
use serde_json::Value;

use crate::catalogue::{Absent, Catalogue, Tool, When};
use crate::request::{Action, Request, Variant, words};
pub use existing::{Existing, Simulation};
pub use graph::{Cycle, Graph};
pub(crate) use hints::ends as window_seconds;
pub use hints::{Cost, Quota};
pub use waves::Wave;

/// A plan, with every choice made.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// As it was put, in words.
    pub words: Option<String>,
    /// For instance `production`.
    pub environment: Option<String>,
    /// The class of the change. A request says it to the event, so whoever publishes the plan puts it here.
    pub class: Option<ChangeClass>,
    /// `target.cluster_endpoint_id`.
    pub endpoint: Option<String>,
    /// The one cloud of all resources that have one.
    pub cloud: Option<String>,
    /// When it may run, as given.
    pub window: Option<Value>,
    /// Roles that must approve.
    pub approvals: Vec<String>,
    /// How it is rolled out.
    pub variant: Option<Variant>,
    /// In the order of their steps.
    pub resources: Vec<Resource>,
    /// In order.
    pub steps: Vec<Step>,
    /// What must be there before, and how to see it.
    pub needed: Vec<Prerequisite>,
    /// Values that nobody gave: the plan can be read and approved by nobody's mistake, but not executed.
    pub placeholders: Vec<Placeholder>,
    /// What takes back, in reverse order.
    pub rollback: Vec<Undo>,
    /// What a rollback leaves, and why.
    pub left: Vec<(String, String)>,
    /// What it means for others, a sentence each.
    pub impact: Vec<String>,
    /// What it means for security.
    pub security: Vec<String>,
    /// What is to be said about the window.
    pub window_notes: Vec<String>,
    /// Hints.
    pub cost: Cost,
    /// Hints.
    pub quotas: Vec<Quota>,
    /// Of the variant; empty without one.
    pub waves: Vec<Wave>,
    /// Over what is there already, where that was given.
    pub simulation: Option<Simulation>,
    /// The tools of all its commands, as they are pinned.
    pub tools: Vec<Tool>,
    /// The catalogue it was made from.
    pub catalogue: String,
}

/// One resource of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Unique in the plan: `type/name`, with `#delete` or `#scale` where it is not made.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// What becomes of it.
    pub action: Action,
    /// What was said, as it stands in `target.resources`.
    pub said: BTreeMap<String, String>,
    /// What is known: what was said, references, defaults, placeholders.
    pub values: BTreeMap<String, String>,
    /// The resource that implies it.
    pub implied_by: Option<String>,
    pub(crate) depends_on: Vec<String>,
}

/// One command of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Of its resource; `…#switch` and `…#retire` in blue-green plans.
    pub id: String,
    /// create, update, delete or switch.
    pub action: &'static str,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Says whether there is anything to do.
    pub check: Check,
    /// Reads the state afterwards.
    pub read_back: Vec<String>,
    /// Says whether it is at work.
    pub rollout: Option<Vec<String>>,
    /// Tries it.
    pub dry_run: Option<Vec<String>>,
    /// Steps that come first, with the field that says so.
    pub depends_on: Vec<(String, String)>,
}

/// The idempotency check of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Says whether the resource is there.
    pub argv: Vec<String>,
    /// How its answer is read.
    pub when: When,
    /// How it says that there is none.
    pub absent: Absent,
    /// What then: the step is left out if the resource is there (create), if it is not (delete), or halts if it is not (update).
    pub then: &'static str,
}

/// What must be there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prerequisite {
    /// A type or role.
    pub kind: String,
    /// Its name; for a role, of the endpoint, where one was said.
    pub name: String,
    /// Who needs it.
    pub by: Vec<String>,
    /// The command that says whether it is there.
    pub check: Option<Vec<String>>,
    /// How its answer is read.
    pub when: When,
    /// How to get it.
    pub how: String,
}

/// A value that nobody gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// The resource.
    pub resource: String,
    /// Its field.
    pub field: String,
    /// What stands in its place.
    pub shown: String,
}

/// A command of the rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// The step that it takes back.
    pub step: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A piece of the words.
    #[error(transparent)]
    NotUnderstood(#[from] words::NotUnderstood),
    /// Everything that does not fit.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<Problem>),
    /// Dependencies in a circle.
    #[error(transparent)]
    Cycle(#[from] Cycle),
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{resource}, {field}: found {found}, expected {expected}")]
pub struct Problem {
    /// The resource, as `type/name`.
    pub resource: String,
    /// The field.
    pub field: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

impl Problem {
    pub(crate) fn new(
        resource: impl Into<String>,
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { resource: resource.into(), field: field.into(), found: found.into(), expected: expected.into() }
    }
}

/// Resources of one request. Who approves has to read them, and an event holds a million bytes.
pub const RESOURCES: usize = 500;

/// Plans a request. `existing` is what is there already, where that is known.
pub fn plan(catalogue: &Catalogue, request: &Request, existing: Option<&Existing>) -> Result<Plan, PlanError> {
    let mut request = request.clone();
    if let Some(text) = &request.words {
        let understood = words::compile(text, catalogue)?;
        request.resources.extend(understood.wanted);
        once("environment", &mut request.environment, understood.environment, String::as_str)?;
        once("variant", &mut request.variant, understood.variant, |variant| variant.as_str())?;
    }
    if request.resources.is_empty() {
        return Err(PlanError::Wrong(vec![Problem::new(
            "the request",
            "resources",
            "nothing",
            "at least one resource",
        )]));
    }
    if request.resources.len() > RESOURCES {
        let (found, expected) = (request.resources.len().to_string(), format!("at most {RESOURCES}; split the change"));
        return Err(PlanError::Wrong(vec![Problem::new("the request", "resources", found, expected)]));
    }
    let twins = waves::twins(catalogue, &mut request, existing).map_err(PlanError::Wrong)?;
    let resolved = resolve::resolve(catalogue, &request).map_err(PlanError::Wrong)?;
    let mut steps = steps::of(catalogue, &resolved, existing, &twins).map_err(PlanError::Wrong)?;
    let order = Graph::new(&steps.all).order()?;
    steps.put_in_order(&order);
    let resources = in_order_of(&steps.all, resolved.resources);
    let hints = hints::of(catalogue, &resources, &request);
    let waves = waves::of(request.variant, &steps.all);
    let tools = tools(catalogue, &steps.all);
    let mut plan = Plan {
        words: request.words,
        environment: request.environment,
        class: None,
        endpoint: request.endpoint,
        cloud: hints.cloud,
        window: request.window,
        approvals: request.approvals,
        variant: request.variant,
        resources,
        steps: steps.all,
        needed: resolved.needed,
        placeholders: steps.placeholders,
        rollback: steps.rollback,
        left: steps.left,
        impact: hints.impact,
        security: hints.security,
        window_notes: hints.window_notes,
        cost: hints.cost,
        quotas: hints.quotas,
        waves,
        simulation: None,
        tools,
        catalogue: catalogue.digest().to_owned(),
    };
    plan.simulation = existing.map(|existing| existing::simulate(catalogue, &plan, existing, &BTreeMap::new()));
    Ok(plan)
}

impl Plan {
    /// Goes through the plan over what was seen. Its digest stays: a simulation is told beside a plan, and changes none of its commands.
    pub fn simulate(&mut self, catalogue: &Catalogue, sight: &glance::Sight) {
        self.simulation = Some(existing::simulate(catalogue, self, &sight.existing, &sight.unknown));
    }
}

/// What words say beside the request has to be the same.
fn once<T>(field: &str, given: &mut Option<T>, said: Option<T>, text: impl Fn(&T) -> &str) -> Result<(), PlanError> {
    match (&*given, &said) {
        (Some(given), Some(said)) if text(given) != text(said) => {
            let found = format!("{}, beside {} in its words", text(given), text(said));
            Err(PlanError::Wrong(vec![Problem::new("the request", field, found, "one of them")]))
        }
        (None, Some(_)) => {
            *given = said;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn tools(catalogue: &Catalogue, steps: &[Step]) -> Vec<Tool> {
    let used: BTreeSet<&String> = steps
        .iter()
        .flat_map(|step| [&step.argv, &step.check.argv, &step.read_back])
        .filter_map(|argv| argv.first())
        .collect();
    used.into_iter().filter_map(|program| catalogue.tool_of(program).cloned()).collect()
}

/// Resources as their first steps come.
fn in_order_of(steps: &[Step], mut resources: Vec<Resource>) -> Vec<Resource> {
    let place: BTreeMap<&str, usize> = steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect();
    resources.sort_by_key(|resource| place.get(resource.id.as_str()).copied().unwrap_or(usize::MAX));
    resources
}

#[cfg(test)]
mod tests;

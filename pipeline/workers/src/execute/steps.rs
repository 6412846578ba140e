//! The stored plan as what runs: steps with their commands, checks and read-backs, in waves.
//!
//! A plan with steps or waves is let through only where the digest that approvals bind to covers them. A read-back has to be a command of the catalogue that only
//! reads all the same, and waves are only an order: each step in one of them, none before what it depends on.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::argv::{self, Pipeline};
use crate::catalogue::{Catalogue, When};
use crate::preflight::{Look, Planned};

use super::options::WaveOptions;

/// A plan that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runnable {
    /// In order.
    pub steps: Vec<Step>,
    /// In order; at least one.
    pub waves: Vec<Wave>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As the plan names it.
    pub id: String,
    /// create, update, delete or command.
    pub action: String,
    /// The line that the digest covers.
    pub line: String,
    /// The same as what is run.
    pub pipeline: Pipeline,
    /// Says whether there is anything to do.
    pub check: Option<Look>,
    /// Reads the state afterwards.
    pub read_back: Option<Vec<String>>,
    /// Says whether it is at work.
    pub rollout: Option<Vec<String>>,
    /// Places of steps that come first.
    pub after: BTreeSet<usize>,
}

/// Steps of which the next ones wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// For people.
    pub name: String,
    /// How far the plan is with it.
    pub percent: u64,
    /// Places of its steps, in order.
    pub steps: Vec<usize>,
    /// Places of steps whose read-backs have to hold before the next wave.
    pub gate: Vec<usize>,
}

#[derive(Deserialize)]
struct PlanPart {
    #[serde(default)]
    steps: Vec<StepPart>,
    #[serde(default)]
    waves: Vec<WavePart>,
}

#[derive(Deserialize)]
struct StepPart {
    id: String,
    read_back: Option<String>,
    rollout: Option<String>,
}

#[derive(Deserialize)]
struct WavePart {
    name: String,
    #[serde(default)]
    percent: u64,
    steps: Vec<String>,
    #[serde(default)]
    gate: GatePart,
}

#[derive(Deserialize, Default)]
struct GatePart {
    #[serde(default)]
    read_back: Vec<String>,
}

impl Step {
    /// Whether its check can tell whether it was done: then it may run again.
    pub fn is_idempotent(&self) -> bool {
        self.check.is_some() && matches!(self.action.as_str(), "create" | "delete")
    }

    /// What an answer of its check means: `Some(reason)` if there is nothing to do, `None` if there is, an error if nobody knows.
    pub fn nothing_to_do(&self, presence: &crate::preflight::Presence) -> Result<Option<&'static str>, String> {
        use crate::preflight::Presence::{Absent, There, Unknown};
        match (presence, self.action.as_str()) {
            (Unknown(why), _) => Err(format!("nobody knows whether it is there ({why})")),
            (There, "create") => Ok(Some("it is there")),
            (Absent, "delete") => Ok(Some("it is not there")),
            (Absent, "update") => Err("what is to be changed is not there".to_owned()),
            _ => Ok(None),
        }
    }
}

impl Runnable {
    /// Reads a plan that preflight let through; what is wrong is told.
    pub fn read(planned: &Planned, catalogue: &Catalogue, options: &WaveOptions) -> Result<Self, String> {
        if let Some(violation) = planned.violations.first() {
            return Err(violation.to_string());
        }
        let plan = planned.event.get("plan").cloned().unwrap_or(Value::Null);
        let part = PlanPart::deserialize(&plan).map_err(|error| format!("the plan can't be read: {error}"))?;
        let places: BTreeMap<&str, usize> =
            planned.steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect();
        if places.len() < planned.steps.len() {
            return Err("two steps of the plan have one name".to_owned());
        }
        let mut steps = Vec::with_capacity(planned.steps.len());
        for (at, step) in planned.steps.iter().enumerate() {
            let pipeline =
                argv::parse(&step.command, catalogue).map_err(|refusal| format!("{}: {refusal}", step.id))?;
            // A planner that names no steps has said no more than their order.
            let mut after: BTreeSet<usize> = at.checked_sub(1).filter(|_| part.steps.is_empty()).into_iter().collect();
            for id in &step.depends_on {
                let place = places.get(id.as_str()).filter(|place| **place < at);
                after
                    .insert(*place.ok_or_else(|| format!("{} waits for {id:?}, which is no step before it", step.id))?);
            }
            let own = part.steps.get(at).filter(|part| part.id == step.id);
            let look = |line: Option<&String>| line.map(|line| reading(&step.id, line, catalogue)).transpose();
            steps.push(Step {
                id: step.id.clone(),
                action: step.action.clone(),
                line: step.command.clone(),
                pipeline,
                check: step.check.clone(),
                read_back: look(own.and_then(|part| part.read_back.as_ref()))?,
                rollout: look(own.and_then(|part| part.rollout.as_ref()))?,
                after,
            });
        }
        let waves = waves(&part.waves, &places, &steps)?;
        Ok(Self { waves: cut(waves, options.most_steps), steps })
    }

    /// The first step alone, of a plan that [`Self::read`] refuses: so that it can be said where it halts. It can't be run.
    pub fn halting(planned: &Planned) -> Option<Self> {
        let first = planned.steps.first()?;
        let step = Step {
            id: first.id.clone(),
            action: first.action.clone(),
            line: first.command.clone(),
            pipeline: Pipeline { commands: Vec::new() },
            check: None,
            read_back: None,
            rollout: None,
            after: BTreeSet::new(),
        };
        let wave = Wave { name: "all".to_owned(), percent: 100, steps: vec![0], gate: Vec::new() };
        Some(Self { steps: vec![step], waves: vec![wave] })
    }
}

fn reading(step: &str, line: &str, catalogue: &Catalogue) -> Result<Vec<String>, String> {
    let parsed = argv::parse(line, catalogue).ok().filter(|pipeline| pipeline.commands.len() == 1);
    let argv = parsed.and_then(|mut pipeline| pipeline.commands.pop()).filter(|argv| catalogue.reads(argv));
    argv.ok_or_else(|| {
        format!("{step}: {line:?}, which is to look at it, is no command of the catalogue that only looks")
    })
}

/// How a read-back is read: it ends well.
pub fn read_back(argv: Vec<String>) -> Look {
    Look { argv, when: When::Success, absent: crate::catalogue::Absent::default() }
}

fn waves(parts: &[WavePart], places: &BTreeMap<&str, usize>, steps: &[Step]) -> Result<Vec<Wave>, String> {
    if parts.is_empty() {
        let all = (0..steps.len()).collect();
        return Ok(vec![Wave { name: "all".to_owned(), percent: 100, steps: all, gate: Vec::new() }]);
    }
    let mut waves = Vec::with_capacity(parts.len());
    let mut done = BTreeSet::new();
    for part in parts {
        let find = |ids: &[String]| -> Result<Vec<usize>, String> {
            let place = |id: &String| {
                places
                    .get(id.as_str())
                    .copied()
                    .ok_or_else(|| format!("wave {:?} has {id:?}, which is no step", part.name))
            };
            let mut found = ids.iter().map(place).collect::<Result<Vec<usize>, String>>()?;
            found.sort_unstable();
            Ok(found)
        };
        let (members, gate) = (find(&part.steps)?, find(&part.gate.read_back)?);
        for at in &members {
            let step = &steps[*at];
            let early = step.after.iter().find(|before| !done.contains(*before) && !members.contains(before));
            if let Some(before) = early {
                return Err(format!("wave {:?} has {} before {}", part.name, step.id, steps[*before].id));
            }
        }
        for at in &members {
            if !done.insert(*at) {
                return Err(format!("{} is in two waves", steps[*at].id));
            }
        }
        if let Some(at) = gate.iter().find(|at| !done.contains(*at)) {
            return Err(format!("the gate of wave {:?} reads {}, which comes later", part.name, steps[*at].id));
        }
        if let Some(at) = gate.iter().find(|at| steps[**at].read_back.is_none()) {
            return Err(format!("the gate of wave {:?} reads {}, which has no read-back", part.name, steps[*at].id));
        }
        waves.push(Wave { name: part.name.clone(), percent: part.percent, steps: members, gate });
    }
    if let Some(missing) = steps.iter().enumerate().find(|(at, _)| !done.contains(at)) {
        return Err(format!("{} is in no wave", missing.1.id));
    }
    Ok(waves)
}

/// Waves of at most so many steps: what one of them breaks is bounded. The steps are in order, so that each part stands on those before it; its gate reads what is
/// done by then.
fn cut(waves: Vec<Wave>, most: u64) -> Vec<Wave> {
    let Some(most) = usize::try_from(most).ok().filter(|most| *most > 0) else { return waves };
    let mut parts = Vec::new();
    for wave in waves {
        let count = wave.steps.len().div_ceil(most).max(1);
        if count == 1 {
            parts.push(wave);
            continue;
        }
        for (number, steps) in (1..).zip(wave.steps.chunks(most)) {
            let gate = wave.gate.iter().copied().filter(|at| steps.contains(at)).collect();
            parts.push(Wave {
                name: format!("{}, part {number} of {count}", wave.name),
                percent: wave.percent * number / count as u64,
                steps: steps.to_vec(),
                gate,
            });
        }
    }
    parts
}

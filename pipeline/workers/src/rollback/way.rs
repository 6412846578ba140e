//! The way back: which commands of the plan's rollback take back what was really done.
//!
//! The commands are those that the plan's digest covers, so whoever approved the plan approved them. Nothing is made up here: what has no
//! command is said to stand.

use serde_json::{Value, json};

use crate::course::{Course, Fate};
use crate::preflight::{Look, Planned};

/// What has to be taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// In order.
    pub undos: Vec<Undo>,
    /// Steps that did something which nothing takes back, and why.
    pub left: Vec<(String, String)>,
}

/// A command of the way back.
#[derive(Debug, Clone, PartialEq)]
pub struct Undo {
    /// The step that it takes back; `rollback N` where the plan does not tie it to one.
    pub step: String,
    /// Its position in the plan.
    pub at: Option<usize>,
    /// create, update or delete, of the step.
    pub action: String,
    /// The line that the digest covers.
    pub line: String,
    /// Says whether there is anything to take back.
    pub check: Option<Look>,
    /// The step ended well, so that there is something for sure.
    pub was_done: bool,
    /// Steps that need what this one takes back: they come first, and while one of them stands, this one stays.
    pub behind: Vec<String>,
}

/// Why there is no way back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// Nothing is on record that could be taken back.
    #[error("the change has no plan with commands")]
    NoPlan,
    /// Commands that belong to no step.
    #[error(
        "its rollback has {commands} commands for {steps} steps, of which {done} ran, and does not say which takes back which: take back by hand what ran"
    )]
    NotTied {
        /// Commands of the rollback.
        commands: usize,
        /// Steps of the plan.
        steps: usize,
        /// Of these ran.
        done: usize,
    },
}

impl Way {
    /// The way back of a course, for what was done so far.
    pub fn of(course: &Course) -> Result<Self, NoWay> {
        let plan = course.plan.as_ref().ok_or(NoWay::NoPlan)?;
        let touched: Vec<usize> = course.touched().collect();
        Self::over(plan, &touched, &|at| course.fates[at] == Fate::Done)
    }

    /// The way back of a plan of which everything ran: what a rollback would be, before anything is executed.
    pub fn of_plan(plan: &Planned) -> Result<Self, NoWay> {
        let all: Vec<usize> = (0..plan.steps.len()).collect();
        Self::over(plan, &all, &|_| true)
    }

    fn over(plan: &Planned, touched: &[usize], was_done: &dyn Fn(usize) -> bool) -> Result<Self, NoWay> {
        let Some(tied) = tied(plan) else { return Self::untied(plan, touched, was_done) };
        let mut way = Self { undos: Vec::new(), left: Vec::new() };
        for at in touched.iter().rev().copied() {
            let step = &plan.steps[at];
            match &tied[at] {
                Ok(line) => way.undos.push(Undo {
                    step: step.id.clone(),
                    at: Some(at),
                    action: step.action.clone(),
                    line: line.clone(),
                    check: step.check.clone(),
                    was_done: was_done(at),
                    behind: needing(plan, touched, &step.id),
                }),
                Err(reason) => way.left.push((step.id.clone(), reason.clone())),
            }
        }
        Ok(way)
    }

    /// Commands that belong to no step take back the whole, or nothing.
    fn untied(plan: &Planned, touched: &[usize], was_done: &dyn Fn(usize) -> bool) -> Result<Self, NoWay> {
        let (commands, steps, done) = (plan.rollback.len(), plan.steps.len(), touched.len());
        if done < steps || !touched.iter().all(|at| was_done(*at)) {
            return Err(NoWay::NotTied { commands, steps, done });
        }
        let mut behind = Vec::new();
        let mut undos = Vec::new();
        for (n, line) in plan.rollback.iter().enumerate() {
            let step = format!("rollback {}", n + 1);
            undos.push(Undo {
                step: step.clone(),
                at: None,
                action: "command".to_owned(),
                line: line.clone(),
                check: None,
                was_done: true,
                behind: behind.clone(),
            });
            behind.push(step);
        }
        Ok(Self { undos, left: Vec::new() })
    }

    /// The commands, in order.
    pub fn commands(&self) -> Vec<&str> {
        self.undos.iter().map(|undo| undo.line.as_str()).collect()
    }

    /// `rollback.{available, plan, left}` of an event that emits the way back.
    pub fn document(&self) -> Value {
        let mut section = json!({"available": !self.undos.is_empty(), "plan": self.commands()});
        if !self.left.is_empty() {
            section["left"] = self.left_document();
        }
        section
    }

    pub(crate) fn left_document(&self) -> Value {
        self.left.iter().map(|(step, reason)| json!({"step": step, "reason": reason})).collect()
    }
}

/// For each step the command that takes it back, or why there is none: the plan's rollback goes the steps backwards, but for those
/// that it leaves. `None` where the numbers say otherwise.
fn tied(plan: &Planned) -> Option<Vec<Result<String, String>>> {
    let mut lines = plan.rollback.iter().rev();
    let mut tied = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        match plan.left.iter().find(|(left, _)| *left == step.id) {
            Some((_, reason)) => tied.push(Err(reason.clone())),
            None => tied.push(Ok(lines.next()?.clone())),
        }
    }
    lines.next().is_none().then_some(tied)
}

/// Steps among those that were touched that need this one.
fn needing(plan: &Planned, touched: &[usize], id: &str) -> Vec<String> {
    let all = touched.iter().map(|at| &plan.steps[*at]);
    all.filter(|step| step.depends_on.iter().any(|on| on == id)).map(|step| step.id.clone()).collect()
}

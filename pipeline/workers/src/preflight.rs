//! Preflight: may this plan run? UPM v2, F2. Pure: what was looked at comes in as data, and the preflight section of an event comes out.
//!
//! In four steps, so that whoever runs commands decides nothing:
//!
//! 1. [`Planned::read`]: the stored plan, and what is wrong with it before anything is looked at; [`Planned::asked_by`] holds it against what was asked for;
//! 2. [`Planned::questions`]: commands that only read, whose answers are [`Seen::of`];
//! 3. [`Planned::dry_runs`]: tries of the steps that would run and whose predecessors are there;
//! 4. [`verdict`]: everything together, with policies, calendar, risk, budgets, lanes and approvals.
//!
//! All that is wrong is told, not the first. What is wrong halts; what is only not yet so (an approval, a window) waits.
//!
//! - [`answer`]: what the answers of reading commands mean.
//!
//! Left out: running commands, asking the clock, waiting.

pub mod answer;
mod facts;
mod planned;
mod requested;
mod verdict;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use answer::{Answer, Presence};
pub use facts::{Quota, Seen, Tried};
pub use planned::{Look, Needed, Pinned, Planned, PlannedError, Step, Taken};
pub use requested::Requested;
pub use verdict::{Inputs, Outcome, Verdict, policy_input, verdict};

/// Answers by the ids of their questions.
pub type Answers = BTreeMap<String, Answer>;

/// What kind of check something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The plan itself.
    Plan,
    /// A command that the guard refuses.
    Guard,
    /// A pinned tool.
    Tool,
    /// What must be there before.
    Prerequisite,
    /// Whether a step has anything to do.
    Existence,
    /// Room in a quota.
    Quota,
    /// A try.
    DryRun,
    /// Maintenance windows and freezes.
    Window,
    /// The risk.
    Risk,
    /// The budget.
    Budget,
    /// How much it touches.
    BlastRadius,
    /// A policy.
    Policy,
}

impl Kind {
    /// As it stands in `checks[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Guard => "guard",
            Self::Tool => "tool",
            Self::Prerequisite => "prerequisite",
            Self::Existence => "existence",
            Self::Quota => "quota",
            Self::DryRun => "dry_run",
            Self::Window => "window",
            Self::Risk => "risk",
            Self::Budget => "budget",
            Self::BlastRadius => "blast_radius",
            Self::Policy => "policy",
        }
    }
}

/// Something that halts the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What kind of check.
    pub kind: Kind,
    /// What it is about.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// The command that showed it.
    pub looked: Option<String>,
    /// What to do about it.
    pub how: String,
}

impl Violation {
    pub(crate) fn new(kind: Kind, subject: &str, found: impl Into<String>, how: impl Into<String>) -> Self {
        Self { kind, subject: subject.to_owned(), found: found.into(), looked: None, how: how.into() }
    }

    pub(crate) fn looked(mut self, argv: &[String]) -> Self {
        self.looked = Some(crate::argv::render(argv));
        self
    }

    /// As a failed check of the event.
    fn check(&self) -> Check {
        let looked = self.looked.as_ref().map(|looked| format!("looked with: {looked}"));
        let how = Some(&self.how).filter(|how| !how.is_empty()).cloned();
        let parts: Vec<String> = [Some(self.found.clone()), looked, how].into_iter().flatten().collect();
        Check { kind: self.kind, subject: self.subject.clone(), ok: Some(false), message: parts.join("; ") }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}, {}: {}", self.kind.as_str(), self.subject, self.check().message)
    }
}

/// One of the event's checks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// What kind.
    pub kind: Kind,
    /// What it is about.
    pub subject: String,
    /// Whether it holds; `None`: nothing could be said.
    pub ok: Option<bool>,
    /// For people.
    pub message: String,
}

impl Check {
    fn held(kind: Kind, subject: &str, message: impl Into<String>) -> Self {
        Self { kind, subject: subject.to_owned(), ok: Some(true), message: message.into() }
    }

    /// Neither good nor bad.
    fn noted(kind: Kind, subject: &str, message: impl Into<String>) -> Self {
        Self { kind, subject: subject.to_owned(), ok: None, message: message.into() }
    }

    /// As `preflight.checks` holds it.
    pub fn document(&self) -> Value {
        let mut members = Map::new();
        members.insert("type".to_owned(), self.kind.as_str().into());
        members.insert("name".to_owned(), self.subject.as_str().into());
        members.extend(self.ok.map(|ok| ("ok".to_owned(), ok.into())));
        members.insert("message".to_owned(), self.message.as_str().into());
        Value::Object(members)
    }
}

/// A command that only reads, and what its answer is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Names its answer; the same plan gives the same ids.
    pub id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

impl Planned {
    /// What has to be looked at before dry runs, each command once.
    pub fn questions(&self) -> Vec<Question> {
        let tools = self.tools.iter().filter_map(|tool| Some((facts::tool_id(tool), tool.argv.as_ref()?)));
        let needed =
            self.needed.iter().filter_map(|needed| Some((facts::needed_id(needed), &needed.look.as_ref()?.argv)));
        let steps = self.steps.iter().filter_map(|step| Some((facts::step_id(step), &step.check.as_ref()?.argv)));
        let quotas = self.quotas.iter().enumerate();
        let quotas = quotas.filter_map(|(at, quota)| Some((facts::quota_id(at, quota), quota.argv.as_ref()?)));
        let all = tools.chain(needed).chain(steps).chain(quotas);
        all.map(|(id, argv)| Question { id, argv: argv.clone() }).collect()
    }

    /// Tries of the steps that would run. A step behind one that would run too is not tried: what it needs is not there yet.
    pub fn dry_runs(&self, seen: &Seen) -> Vec<Question> {
        let tried = self.steps.iter().filter(|step| seen.runs(&step.id) && seen.waits_for(self, step).is_none());
        tried.filter_map(|step| Some(Question { id: facts::dry_run_id(step), argv: step.dry_run.clone()? })).collect()
    }
}

#[cfg(test)]
mod tests;

//! What the rollback worker says: sections of events of phase execute, the last of which has the outcome.
//!
//! | section | when |
//! |---|---|
//! | `rollback.{plan, left, dry_run}` and `rollback.executed` without steps | before the first command |
//! | `rollback.executed.steps`, one without `rc` | before a command: whoever reads it alone knows that nobody knows how it ended |
//! | `rollback.executed.steps`, one with `rc`, or with `stands` | a step is taken back, or stands |
//! | `rollback.executed.{outcome, taken_back, stands}` with all steps | it is over |
//!
//! Output stands in the event of its step, not again in the last one.

use serde_json::{Map, Value, json};

use super::{DryRun, Outcome, Undo, Way};
use crate::build::{Sections, rfc3339};
use crate::command::{Finished, step_of};
use crate::course::{Because, Undone};
use crate::preflight::Planned;

/// What every event of a rollback says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Which run of the attempt, from 1.
    pub run: usize,
    /// Why.
    pub because: Because,
    /// The worker, another one after each start.
    pub instance: String,
    /// Where it works: a worker at the same place can tell whether it still does.
    pub place: String,
    /// The digest of the plan whose rollback it is.
    pub plan_digest: String,
}

/// A command that is over.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How its last run went.
    pub finished: Finished,
    /// How often it ran.
    pub tries: u64,
    /// What its check says where the code alone would mislead: then it is taken back.
    pub note: Option<String>,
    /// Where long output is kept: of standard output and standard error.
    pub references: [Option<String>; 2],
    /// Whether certificates were checked.
    pub verified: bool,
}

impl Scene {
    fn executed(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("run".to_owned(), self.run.into());
        members.insert("because".to_owned(), self.because.reason.as_str().into());
        match &self.because.by {
            Some(by) => members.insert("ordered_by".to_owned(), by.as_str().into()),
            None => members.insert("automatic".to_owned(), true.into()),
        };
        members.insert("executor".to_owned(), EXECUTOR.into());
        members.insert("instance".to_owned(), self.instance.as_str().into());
        members.insert("plan_digest".to_owned(), self.plan_digest.as_str().into());
        members
    }

    /// It begins.
    pub fn begun(&self, way: &Way, dry_run: &DryRun, at_ms: u64) -> Sections {
        let mut rollback = way.document();
        rollback["dry_run"] = dry_run.document();
        let mut executed = self.executed();
        executed.insert("steps".to_owned(), json!([]));
        rollback["executed"] = executed.into();
        traced(rollback, at_ms, &format!("rollback begins: {}", self.because.reason))
    }

    /// A command is about to run.
    pub fn started(&self, undo: &Undo, at_ms: u64, until_ms: u64) -> Sections {
        let step = json!({"id": undo.step, "cmd": undo.line, "instance": self.instance, "place": self.place, "until_ms": until_ms});
        self.step(&step, at_ms, &format!("rollback of {} begins", undo.step))
    }

    /// A command is over.
    pub fn ended(&self, undo: &Undo, ended: &Ended, at_ms: u64) -> Sections {
        let mut step = step_of(undo.line.clone(), &ended.finished);
        step["id"] = undo.step.as_str().into();
        step["tries"] = ended.tries.into();
        for (name, reference) in ["stdout_ref", "stderr_ref"].into_iter().zip(&ended.references) {
            if let Some(reference) = reference {
                step[name] = reference.as_str().into();
            }
        }
        if let Some(note) = &ended.note {
            step["note"] = note.as_str().into();
            step["rc_of_command"] = step["rc"].take();
            step["rc"] = 0.into();
        }
        if !ended.verified {
            step["tls_verified"] = false.into();
        }
        let rc = step["rc"].as_i64().unwrap_or(-1);
        let message = match (rc, &ended.note) {
            (0, None) => format!("{} taken back", undo.step),
            (0, Some(note)) => format!("{} taken back: {note}", undo.step),
            (code, _) => format!("{} could not be taken back: exit code {code}", undo.step),
        };
        let mut sections = self.step(&step, at_ms, &message);
        if !ended.verified {
            // Where the fold looks for it: an anomaly of the change.
            sections.add("execution", json!({"tls_verified": false}));
        }
        sections
    }

    /// There is nothing to take back any more.
    pub fn gone(&self, undo: &Undo, at_ms: u64) -> Sections {
        let step =
            json!({"id": undo.step, "cmd": undo.line, "rc": 0, "skipped": "it is not there any more", "stdout": ""});
        self.step(&step, at_ms, &format!("{} is not there any more", undo.step))
    }

    /// It stands.
    pub fn stands(&self, undo: &Undo, reason: &str, at_ms: u64) -> Sections {
        let step = json!({"id": undo.step, "cmd": undo.line, "rc": -1, "stands": reason, "stderr": reason});
        self.step(&step, at_ms, &format!("{} stands: {reason}", undo.step))
    }

    /// It is over.
    pub fn over(&self, plan: &Planned, way: &Way, undone: &Undone, outcome: &Outcome, at_ms: u64) -> Sections {
        let steps = way.undos.iter().map(|undo| {
            let known = undone.steps.iter().find(|known| known.id == undo.step);
            let mut step = json!({"id": undo.step, "cmd": undo.line});
            if let Some(known) = known {
                step["rc"] = known.rc.unwrap_or(-1).into();
                step["entry"] = known.index.into();
                if let Some(stands) = &known.stands {
                    step["stands"] = stands.as_str().into();
                }
            }
            step
        });
        let mut executed = self.executed();
        executed.insert("steps".to_owned(), steps.collect());
        if let Value::Object(members) = outcome.document() {
            executed.extend(members);
        }
        let rollback = json!({"available": true, "plan": way.commands(), "executed": executed});
        let mut sections = traced(rollback, at_ms, &format!("rollback {}: {}", outcome.word, outcome.summary()));
        sections.add_some("target", removed(plan, way, outcome));
        sections
    }

    fn step(&self, step: &Value, at_ms: u64, message: &str) -> Sections {
        let mut executed = self.executed();
        executed.insert("steps".to_owned(), json!([step]));
        traced(json!({ "executed": executed }), at_ms, message)
    }
}

/// As `rollback.executed.executor`.
pub const EXECUTOR: &str = "upm rollback";

/// A rollback that can't begin, and why.
pub fn refused(way: Option<(&Way, &DryRun)>, reason: &str, at_ms: u64) -> Sections {
    let mut rollback = match way {
        Some((way, dry_run)) => {
            let mut rollback = way.document();
            rollback["dry_run"] = dry_run.document();
            rollback
        }
        None => json!({}),
    };
    rollback["refused"] = reason.into();
    traced(rollback, at_ms, &format!("no rollback: {reason}"))
}

/// A dry run that somebody ordered.
pub fn tried(way: &Way, dry_run: &DryRun, order: &str, at_ms: u64) -> Sections {
    let mut rollback = way.document();
    rollback["dry_run"] = dry_run.document();
    let mut sections = traced(rollback, at_ms, &format!("rollback dry run: {}", dry_run.summary()));
    sections.add("answers", order.into());
    sections
}

/// What the change made and is gone now: the resources of steps that made something and were taken back, to be deleted.
fn removed(plan: &Planned, way: &Way, outcome: &Outcome) -> Option<Value> {
    let made = |step: &str| {
        let undo = way.undos.iter().find(|undo| undo.step == step);
        undo.is_some_and(|undo| undo.action == "create") && outcome.taken_back.iter().any(|taken| taken == step)
    };
    let all = plan.event.pointer("/target/resources").and_then(Value::as_array)?;
    let gone: Vec<Value> = all
        .iter()
        .filter(|resource| {
            let text = |name: &str| resource[name].as_str().unwrap_or_default();
            made(&format!("{}/{}", text("type"), text("name")))
        })
        .map(|resource| {
            let mut resource = resource.clone();
            resource["action"] = "delete".into();
            resource
        })
        .collect();
    let mut target = plan.event.get("target")?.clone();
    target["resources"] = gone.into();
    (target["resources"] != json!([])).then_some(target)
}

fn traced(rollback: Value, at_ms: u64, message: &str) -> Sections {
    let mut sections = Sections::new();
    sections.add("rollback", rollback);
    let ts = rfc3339(i64::try_from(at_ms).unwrap_or(i64::MAX));
    sections.add("audit_trace", json!([{"ts": ts, "msg": message}]));
    sections
}

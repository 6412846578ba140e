//! Going the way back, step by step, over what is recorded of it. A worker that was killed anywhere goes on where its events end.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Undo, Way};
use crate::course::{Undone, UndoneStep};
use crate::preflight::answer::Presence;

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next<'w> {
    /// This one. `begun`: it was begun before, and nothing says how it ended.
    Undo {
        /// Which.
        undo: &'w Undo,
        /// Its place on the way, from 0.
        place: usize,
        /// Whether it was begun before.
        begun: bool,
    },
    /// This one stays, because others that need it stand.
    Stays {
        /// Which.
        undo: &'w Undo,
        /// Its place on the way, from 0.
        place: usize,
        /// Why.
        reason: String,
    },
    /// It is over.
    Over,
}

/// What the check of a step says about taking it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Run the command.
    Run,
    /// There is nothing to take back any more.
    Gone,
    /// It can't be taken back; why.
    Stands(String),
}

/// How a rollback ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `rolled_back`; `partial` where something stands that has a way back, `failed` where nothing was taken back of what was done.
    pub word: &'static str,
    /// Steps that were taken back.
    pub taken_back: Vec<String>,
    /// Steps that stand, and why: what could not be taken back, and what nothing takes back.
    pub stands: Vec<(String, String)>,
    /// Whether all that has a way back was taken back.
    pub complete: bool,
}

impl Way {
    /// The next step.
    pub fn next(&self, undone: &Undone) -> Next<'_> {
        let known = |step: &str| undone.steps.iter().find(|known| known.id == step);
        for (place, undo) in self.undos.iter().enumerate() {
            match known(&undo.step) {
                Some(step) if step.stands.is_some() || step.rc.is_some() => {}
                found => {
                    let blocking = undo.behind.iter().filter(|step| self.is_standing(step, undone));
                    let blocking: Vec<&str> = blocking.map(String::as_str).collect();
                    if found.is_none() && !blocking.is_empty() {
                        let reason = format!("{} stands and needs it", blocking.join(", "));
                        return Next::Stays { undo, place, reason };
                    }
                    return Next::Undo { undo, place, begun: found.is_some() };
                }
            }
        }
        Next::Over
    }

    /// A step that needs another stands if it was not taken back, or nothing takes it back.
    fn is_standing(&self, step: &str, undone: &Undone) -> bool {
        let left = self.left.iter().any(|(left, _)| left == step);
        left || undone.steps.iter().any(|known| known.id == step && !known.is_taken_back())
    }

    /// What stands and what does not.
    pub fn outcome(&self, undone: &Undone) -> Outcome {
        let mut outcome = Outcome { word: "rolled_back", taken_back: Vec::new(), stands: Vec::new(), complete: true };
        for undo in &self.undos {
            let known = undone.steps.iter().find(|known| known.id == undo.step);
            match known {
                Some(step) if step.is_taken_back() => outcome.taken_back.push(undo.step.clone()),
                Some(step) => {
                    let code = || step.rc.map_or("it was not tried".to_owned(), |rc| format!("exit code {rc}"));
                    outcome.stands.push((undo.step.clone(), step.stands.clone().unwrap_or_else(code)));
                }
                None => outcome.stands.push((undo.step.clone(), "it was not tried".to_owned())),
            }
        }
        outcome.complete = outcome.stands.is_empty();
        outcome.stands.extend(self.left.iter().cloned());
        outcome.word = match (outcome.taken_back.is_empty(), outcome.complete, outcome.stands.is_empty()) {
            (true, _, false) => "failed",
            (false, false, _) => "partial",
            _ => "rolled_back",
        };
        outcome
    }
}

impl UndoneStep {
    /// Its command ended well, or there was nothing to take back any more.
    pub fn is_taken_back(&self) -> bool {
        self.rc == Some(0) && self.stands.is_none()
    }
}

impl Undo {
    /// What its check says. `presence` is `None` where it has no check; `begun`: the command was begun before, and nothing says how it
    /// ended.
    pub fn decide(&self, presence: Option<&Presence>, begun: bool) -> Decision {
        match (presence, self.action.as_str()) {
            // What was made is deleted: nothing is left to do where it is gone.
            (Some(Presence::Absent), "create") => Decision::Gone,
            (Some(Presence::Absent), _) => {
                Decision::Stands("what it changed is not there any more, so nothing can be set back".to_owned())
            }
            (Some(Presence::Unknown(why)), _) => Decision::Stands(format!("nobody knows whether it is there: {why}")),
            (None, _) if begun => {
                Decision::Stands("it was begun, nothing says how it ended, and it has no check".to_owned())
            }
            (None, _) if !self.was_done => {
                Decision::Stands("the step did not end well, and it has no check that says what it left".to_owned())
            }
            (Some(Presence::There) | None, _) => Decision::Run,
        }
    }

    /// Whether the command may be tried again after it failed: where a check tells what is left.
    pub fn may_repeat(&self) -> bool {
        self.check.is_some()
    }
}

impl Outcome {
    /// One sentence.
    pub fn summary(&self) -> String {
        let list = |steps: &[String]| if steps.is_empty() { "nothing".to_owned() } else { steps.join(", ") };
        let mut text = format!("taken back: {}", list(&self.taken_back));
        if !self.stands.is_empty() {
            let stands: Vec<String> = self.stands.iter().map(|(step, why)| format!("{step} ({why})")).collect();
            // Writing into a string has no way to fail.
            let _ = write!(text, "; stands: {}", stands.join(", "));
        }
        text
    }

    /// Members of `rollback.executed` beside its steps.
    pub fn document(&self) -> Value {
        let stands: Vec<Value> = self.stands.iter().map(|(step, why)| json!({"step": step, "reason": why})).collect();
        json!({"outcome": self.word, "taken_back": self.taken_back, "stands": stands, "summary": self.summary()})
    }
}

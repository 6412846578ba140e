//! What the events of one attempt say was done, by whom, and what somebody ordered. Only events of the execute worker count as its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// An event of the attempt.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// Its place in the log.
    pub index: u64,
    /// The execute worker's own, by its token on the road.
    pub own: bool,
    /// What `provisioning_event` holds.
    pub event: &'a Value,
}

/// Where a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A try has begun and nobody has said how it ended.
    Started {
        /// Which try, from 1.
        number: u64,
        /// The worker that began it: another one after each of its starts.
        instance: String,
        /// Where it runs: a worker at the same place can tell whether it still does.
        place: String,
        /// When it is over at the latest, milliseconds since 1970.
        until_ms: u64,
    },
    /// A try ended without doing it, and there may be another one.
    Tried {
        /// Which try.
        number: u64,
        /// Not before this, milliseconds since 1970.
        again_ms: u64,
        /// The next one checks no certificate.
        insecure: bool,
    },
    /// It is over.
    Ended {
        /// Return code.
        rc: i64,
        /// Whether it changed anything.
        changed: bool,
    },
}

/// What is known of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Steps that were begun, by id.
    pub steps: BTreeMap<String, State>,
    /// Steps of which a try began: those that had something to do.
    pub begun: BTreeSet<String>,
    /// When steps began, milliseconds since 1970.
    pub starts_ms: Vec<u64>,
    /// Whether the gate of a wave held, by its name.
    pub gates: BTreeMap<String, bool>,
    /// How often anything was said of gates and pauses: what is said next has a name of its own.
    pub said: u64,
    /// Why it is paused.
    pub paused: Option<String>,
    /// Waves before which somebody has said "go on", or that were paused for once.
    pub promoted: BTreeMap<String, bool>,
    /// Who cancelled it, and why.
    pub cancelled: Option<(String, String)>,
    /// It was said that it is cancelled.
    pub ended_by_cancel: bool,
    /// Steps that were tried more than once.
    pub retried: u64,
    /// Steps of which a try checked no certificate.
    pub insecure: BTreeSet<String>,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

impl Progress {
    /// Of the events of an attempt, oldest first.
    pub fn read<'a>(events: impl IntoIterator<Item = Past<'a>>) -> Self {
        let mut progress = Self::default();
        for past in events {
            progress.order(&past.event["order"]);
            if past.own {
                progress.own(&past.event["execution"]);
            }
        }
        progress
    }

    fn order(&mut self, order: &Value) {
        let (by, reason) = (text(order, "by"), text(order, "reason"));
        match order["kind"].as_str() {
            Some("pause") => self.paused = Some(format!("{by} paused it: {reason}")),
            Some("resume") => {
                self.paused = None;
                // Whoever resumes has seen what paused it.
                for said in self.promoted.values_mut() {
                    *said = true;
                }
                self.gates.retain(|_, held| *held);
            }
            Some("cancel") if self.cancelled.is_none() => self.cancelled = Some((by, reason)),
            // What is taken back goes no further; of what has failed nobody needs to say so.
            Some("rollback") if self.cancelled.is_none() && !self.has_failed() => self.cancelled = Some((by, reason)),
            _ => {}
        }
    }

    fn own(&mut self, execution: &Value) {
        let started = &execution["started"];
        if let Some(step) = started["step"].as_str() {
            let number = started["try"].as_u64().unwrap_or(1);
            self.retried += u64::from(number > 1);
            if started["tls_verified"] == Value::Bool(false) {
                self.insecure.insert(step.to_owned());
            }
            self.begun.insert(step.to_owned());
            self.starts_ms.extend(started["at_ms"].as_u64());
            let state = State::Started {
                number,
                instance: text(started, "instance"),
                place: text(started, "place"),
                until_ms: started["until_ms"].as_u64().unwrap_or(0),
            };
            self.steps.insert(step.to_owned(), state);
        }
        let tried = &execution["tried"];
        if let Some(step) = tried["step"].as_str() {
            let state = State::Tried {
                number: tried["try"].as_u64().unwrap_or(1),
                again_ms: tried["again_ms"].as_u64().unwrap_or(0),
                insecure: tried["next"] == "without checking certificates",
            };
            self.steps.insert(step.to_owned(), state);
        }
        for step in execution["steps"].as_array().into_iter().flatten() {
            let (Some(id), Some(rc)) = (step["id"].as_str(), step["rc"].as_i64()) else { continue };
            let changed = step["changed"] == Value::Bool(true);
            self.steps.insert(id.to_owned(), State::Ended { rc, changed });
        }
        for wave in execution["waves"].as_array().into_iter().flatten() {
            if let (Some(name), Some(held)) = (wave["name"].as_str(), wave["held"].as_bool()) {
                self.said += 1;
                self.gates.insert(name.to_owned(), held);
            }
        }
        let paused = &execution["paused"];
        if let Some(reason) = paused["reason"].as_str() {
            self.said += 1;
            self.paused = Some(reason.to_owned());
            self.promoted.extend(paused["before"].as_str().map(|wave| (wave.to_owned(), false)));
        }
        self.ended_by_cancel |= execution["cancelled"].is_object();
    }

    /// Return code of a step that is over.
    pub fn rc(&self, step: &str) -> Option<i64> {
        match self.steps.get(step) {
            Some(State::Ended { rc, .. }) => Some(*rc),
            _ => None,
        }
    }

    /// Whether anything was changed by steps that are over.
    pub fn has_changed(&self) -> bool {
        self.steps.values().any(|state| matches!(state, State::Ended { changed: true, .. }))
    }

    /// Whether a step is over with another return code than 0.
    pub fn has_failed(&self) -> bool {
        self.steps.values().any(|state| matches!(state, State::Ended { rc, .. } if *rc != 0))
    }
}

//! What was seen of the world, from the answers of reading commands.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::{Room, is_pinned, room, version};
use super::{Answer, Answers, Check, Kind, Needed, Pinned, Planned, Presence, Step, Taken, Violation};

pub(super) fn tool_id(tool: &Pinned) -> String {
    format!("tool {}", tool.program)
}

pub(super) fn needed_id(needed: &Needed) -> String {
    format!("needed {}", needed.id)
}

pub(super) fn step_id(step: &Step) -> String {
    format!("exists {}", step.id)
}

/// Two quotas of a plan may have one name, in two regions.
pub(super) fn quota_id(at: usize, quota: &Taken) -> String {
    format!("quota {} {}", at + 1, quota.name)
}

pub(super) fn dry_run_id(step: &Step) -> String {
    format!("dry run {}", step.id)
}

/// A quota as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// As its owner calls it.
    pub name: String,
    /// What the plan takes.
    pub units: u64,
    /// What is known of it.
    pub room: Option<Room>,
}

impl Quota {
    /// Whether the plan's units fit; `None` where no limit is known.
    pub fn fits(&self) -> Option<bool> {
        let room = self.room?;
        Some(room.used.unwrap_or(0).saturating_add(self.units) <= room.limit?)
    }
}

/// A dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It ended well.
    Passed,
    /// It did not.
    Failed(String),
    /// Nobody tried, and why.
    Not(String),
}

/// What was seen. Same answers, same bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Versions found, by program.
    pub tools: BTreeMap<String, Option<String>>,
    /// Prerequisites, by id.
    pub needed: BTreeMap<String, Presence>,
    /// Steps with a check, by id.
    pub steps: BTreeMap<String, Presence>,
    /// Steps that have nothing to do.
    pub skipped: BTreeMap<String, &'static str>,
    /// In the plan's order.
    pub quotas: Vec<Quota>,
    /// Steps with a dry run, by id.
    pub tried: BTreeMap<String, Tried>,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// What holds, and what could not be said.
    pub held: Vec<Check>,
}

impl Seen {
    /// Of the answers to [`Planned::questions`].
    pub fn of(planned: &Planned, answers: &Answers) -> Self {
        let mut seen = Self::default();
        for tool in &planned.tools {
            seen.tool(tool, answers.get(&tool_id(tool)));
        }
        for needed in &planned.needed {
            seen.prerequisite(needed, answers.get(&needed_id(needed)));
        }
        for step in &planned.steps {
            seen.step(planned, step, answers.get(&step_id(step)));
        }
        for (at, quota) in planned.quotas.iter().enumerate() {
            seen.quota(quota, answers.get(&quota_id(at, quota)));
        }
        seen
    }

    /// Adds the answers to [`Planned::dry_runs`]; `wanted` is whether the house has steps tried.
    pub fn add_dry_runs(&mut self, planned: &Planned, answers: &Answers, wanted: bool) {
        for step in &planned.steps {
            if !self.runs(&step.id) {
                continue;
            }
            let tried = match (&step.dry_run, self.waits_for(planned, step)) {
                (None, _) => Tried::Not("its tool has no dry run for it".to_owned()),
                (Some(_), _) if !wanted => Tried::Not("dry runs are off".to_owned()),
                (Some(_), Some(other)) => Tried::Not(format!("{other} comes first, and is not done yet")),
                (Some(_), None) => match answers.get(&dry_run_id(step)) {
                    Some(answer) if answer.code == Some(0) => Tried::Passed,
                    Some(answer) => Tried::Failed(answer.shown()),
                    None => Tried::Failed("no answer".to_owned()),
                },
            };
            match &tried {
                Tried::Passed => self.held.push(Check::held(Kind::DryRun, &step.id, "tried")),
                Tried::Not(why) => self.held.push(Check::noted(Kind::DryRun, &step.id, why.clone())),
                Tried::Failed(why) => {
                    let violation =
                        Violation::new(Kind::DryRun, &step.id, why, "mend what the tool names, or plan again");
                    self.violations.push(violation.looked(step.dry_run.as_deref().unwrap_or_default()));
                }
            }
            self.tried.insert(step.id.clone(), tried);
        }
    }

    /// Whether a step would run: what has no check, or none that could be answered, would.
    pub fn runs(&self, step: &str) -> bool {
        !self.skipped.contains_key(step)
    }

    /// The first step that this one stands on and that would run before it.
    pub(super) fn waits_for<'p>(&self, planned: &'p Planned, step: &Step) -> Option<&'p str> {
        let mut open: Vec<&str> = step.depends_on.iter().map(String::as_str).collect();
        let mut gone_through = std::collections::BTreeSet::new();
        while let Some(id) = open.pop() {
            if !gone_through.insert(id.to_owned()) {
                continue;
            }
            let Some(other) = planned.steps.iter().find(|other| other.id == id) else { continue };
            if self.runs(&other.id) {
                return Some(&other.id);
            }
            open.extend(other.depends_on.iter().map(String::as_str));
        }
        None
    }

    fn tool(&mut self, tool: &Pinned, answer: Option<&Answer>) {
        let name = &tool.program;
        let Some(argv) = &tool.argv else {
            self.held.push(Check::noted(Kind::Tool, name, "the catalogue has no way to ask its version"));
            self.tools.insert(name.clone(), None);
            return;
        };
        let text = answer.map(|answer| format!("{}\n{}", answer.stdout, answer.stderr)).unwrap_or_default();
        let found = answer.filter(|answer| answer.code == Some(0)).and_then(|_| version(&text)).map(str::to_owned);
        let how =
            format!("put version {} of {name} on the executor's path, or pin another in the catalogue", tool.version);
        match &found {
            Some(found) if is_pinned(found, &tool.version) => {
                self.held.push(Check::held(Kind::Tool, name, format!("version {found}, {} is pinned", tool.version)));
            }
            Some(found) => {
                let found = format!("version {found}, {} is pinned", tool.version);
                self.violations.push(Violation::new(Kind::Tool, name, found, how).looked(argv));
            }
            None => {
                let found = answer.map_or("nobody asked".to_owned(), Answer::shown);
                self.violations.push(Violation::new(Kind::Tool, name, found, how).looked(argv));
            }
        }
        self.tools.insert(name.clone(), found);
    }

    fn prerequisite(&mut self, needed: &Needed, answer: Option<&Answer>) {
        let by = if needed.by.is_empty() { String::new() } else { format!(", needed by {}", needed.by.join(", ")) };
        let how = needed.how.clone().unwrap_or_else(|| "see to it, or plan again with it".to_owned());
        let Some(look) = &needed.look else {
            let found = format!("nobody can look for it: the plan says no command for it{by}");
            self.violations.push(Violation::new(Kind::Prerequisite, &needed.id, found, how));
            self.needed.insert(needed.id.clone(), Presence::Unknown("no command".to_owned()));
            return;
        };
        let presence = answer.map_or(Presence::Unknown("no answer".to_owned()), |answer| answer.presence(look));
        match &presence {
            Presence::There => self.held.push(Check::held(Kind::Prerequisite, &needed.id, format!("it is there{by}"))),
            Presence::Absent => {
                let told = answer.map(Answer::shown).unwrap_or_default();
                let found = format!("it is missing ({told}){by}");
                self.violations.push(Violation::new(Kind::Prerequisite, &needed.id, found, how).looked(&look.argv));
            }
            Presence::Unknown(why) => {
                let found = format!("nobody knows whether it is there ({why}){by}");
                self.violations.push(Violation::new(Kind::Prerequisite, &needed.id, found, how).looked(&look.argv));
            }
        }
        self.needed.insert(needed.id.clone(), presence);
    }

    fn step(&mut self, planned: &Planned, step: &Step, answer: Option<&Answer>) {
        let Some(look) = &step.check else {
            self.held.push(Check::noted(Kind::Existence, &step.id, "no check says whether there is anything to do"));
            return;
        };
        let presence = answer.map_or(Presence::Unknown("no answer".to_owned()), |answer| answer.presence(look));
        let message = match (&presence, step.action.as_str()) {
            (Presence::There, "create") => {
                self.skipped.insert(step.id.clone(), "it is there");
                Ok("it is there, so there is nothing to do")
            }
            (Presence::Absent, "delete") => {
                self.skipped.insert(step.id.clone(), "it is not there");
                Ok("it is not there, so there is nothing to do")
            }
            (Presence::There, _) => Ok("it is there"),
            (Presence::Absent, "create") => Ok("it is not there"),
            (Presence::Absent, _) => Err("what is to be changed is not there".to_owned()),
            (Presence::Unknown(why), _) => Err(format!("nobody knows whether it is there ({why})")),
        };
        // A step may change what an earlier one makes.
        let message = match message {
            Err(_) if presence == Presence::Absent && self.waits_for(planned, step).is_some() => {
                Ok("it is not there yet; an earlier step may make it")
            }
            message => message,
        };
        match message {
            Ok(message) => self.held.push(Check::held(Kind::Existence, &step.id, message)),
            Err(found) => {
                let how = "plan again over what is there, or give the executor the right to look";
                self.violations.push(Violation::new(Kind::Existence, &step.id, found, how).looked(&look.argv));
            }
        }
        self.steps.insert(step.id.clone(), presence);
    }

    fn quota(&mut self, taken: &Taken, answer: Option<&Answer>) {
        let read = answer.filter(|answer| answer.code == Some(0)).and_then(|answer| room(&taken.name, &answer.stdout));
        let quota = Quota { name: taken.name.clone(), units: taken.units, room: read };
        let room = read.unwrap_or_default();
        let known = |number: Option<u64>| number.map_or("unknown".to_owned(), |number| number.to_string());
        let told = format!("{} more, {} in use, {} the limit", taken.units, known(room.used), known(room.limit));
        let looked = taken.argv.as_deref().unwrap_or_default();
        match (quota.fits(), answer) {
            (Some(true), _) => self.held.push(Check::held(Kind::Quota, &taken.name, told)),
            (Some(false), _) => {
                let how = "ask its owner for more, or plan for less";
                self.violations.push(Violation::new(Kind::Quota, &taken.name, told, how).looked(looked));
            }
            (None, Some(answer)) if read.is_none() => {
                let note = format!("it could not be read ({})", answer.shown());
                self.held.push(Check::noted(Kind::Quota, &taken.name, note));
            }
            (None, Some(_)) => self.held.push(Check::noted(Kind::Quota, &taken.name, told)),
            (None, None) => self.held.push(Check::noted(Kind::Quota, &taken.name, "nobody looked at it")),
        }
        self.quotas.push(quota);
    }

    /// As `preflight.quota` and as policies get it.
    pub fn quota_document(&self) -> Value {
        let one = |quota: &Quota| {
            let mut members = Map::new();
            members.insert("name".to_owned(), quota.name.as_str().into());
            members.insert("units".to_owned(), quota.units.into());
            let room = quota.room.unwrap_or_default();
            members.extend(room.used.map(|used| ("used".to_owned(), used.into())));
            members.extend(room.limit.map(|limit| ("limit".to_owned(), limit.into())));
            Value::Object(members)
        };
        self.quotas.iter().map(one).collect()
    }

    /// As policies get it: `tools`, `prerequisites`, `steps`, `quota`, `dry_runs`.
    pub fn document(&self, planned: &Planned) -> Map<String, Value> {
        let presence = |known: &BTreeMap<String, Presence>| -> Map<String, Value> {
            known.iter().map(|(id, presence)| (id.clone(), presence.as_str().into())).collect()
        };
        let steps = planned.steps.iter().map(|step| {
            let is = self.steps.get(&step.id).map_or("unknown", Presence::as_str);
            json!({"id": step.id, "action": step.action, "command": step.command, "is": is, "runs": self.runs(&step.id)})
        });
        let tried = self.tried.iter().map(|(id, tried)| {
            let word = match tried {
                Tried::Passed => "passed",
                Tried::Failed(_) => "failed",
                Tried::Not(_) => "not tried",
            };
            (id.clone(), Value::from(word))
        });
        let tools: Map<String, Value> =
            self.tools.iter().filter_map(|(name, found)| Some((name.clone(), found.as_deref()?.into()))).collect();
        let mut members = Map::new();
        members.insert("tools".to_owned(), tools.into());
        members.insert("prerequisites".to_owned(), presence(&self.needed).into());
        members.insert("steps".to_owned(), steps.collect());
        members.insert("quota".to_owned(), self.quota_document());
        members.insert("dry_runs".to_owned(), tried.collect::<Map<String, Value>>().into());
        members
    }
}

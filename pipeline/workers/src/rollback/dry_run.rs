//! The rollback's dry run: before anything is taken back, each command is proved to be one that can run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Way;
use crate::argv::{self, Pipeline};
use crate::catalogue::{Catalogue, Tool};
use crate::config::Guard;
use crate::preflight::answer::{Answer, is_pinned, version};

/// What was found of programs on the machine that would run them, by their names.
pub type Machine = BTreeMap<String, ToolFound>;

/// What was found of one program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolFound {
    /// Where it is; `None`: nowhere.
    pub path: Option<String>,
    /// What it answered when asked for its version.
    pub version: Option<Answer>,
    /// Its SHA-256, hex, where it is pinned.
    pub sha256: Option<String>,
}

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRun {
    /// Of each command, in order.
    pub proofs: Vec<Proof>,
    /// What nothing takes back, and why.
    pub left: Vec<(String, String)>,
}

/// What was proved of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The step that it takes back.
    pub step: String,
    /// The line.
    pub command: String,
    /// It parses, and the guard lets it through.
    pub allowed: Result<(), String>,
    /// Each of its programs is there; where.
    pub exists: Result<Vec<String>, String>,
    /// Its tool is of the pinned version, and digest where that is pinned.
    pub pinned: Result<String, String>,
}

impl Way {
    /// The programs of its commands, and how each is asked for its version.
    pub fn programs(&self, catalogue: &Catalogue) -> BTreeMap<String, Option<Vec<String>>> {
        let mut all = BTreeMap::new();
        for pipeline in self.undos.iter().filter_map(|undo| argv::parse(&undo.line, catalogue).ok()) {
            for program in pipeline.commands.iter().filter_map(|argv| argv.first()) {
                let tool = catalogue.tool_of(program);
                let asks = tool
                    .filter(|tool| !tool.version_check.is_empty())
                    .map(|tool| [tool.program.clone()].into_iter().chain(tool.version_check.iter().cloned()).collect());
                all.insert(program.clone(), asks);
            }
        }
        all
    }

    /// Proves each command.
    pub fn dry_run(&self, catalogue: &Catalogue, guard: &Guard, machine: &Machine) -> DryRun {
        let proofs = self.undos.iter().map(|undo| {
            let mut proof = Proof {
                step: undo.step.clone(),
                command: undo.line.clone(),
                allowed: Ok(()),
                exists: Err("its programs are not known".to_owned()),
                pinned: Err("its tool is not known".to_owned()),
            };
            match pipeline(&undo.line, catalogue, guard) {
                Ok(pipeline) => {
                    proof.exists = exists(&pipeline, machine);
                    proof.pinned = pinned(&pipeline, catalogue, machine);
                }
                Err(reason) => proof.allowed = Err(reason),
            }
            proof
        });
        DryRun { proofs: proofs.collect(), left: self.left.clone() }
    }
}

impl DryRun {
    /// Whether all of it can run.
    pub fn ok(&self) -> bool {
        self.proofs.iter().all(Proof::ok)
    }

    /// One sentence.
    pub fn summary(&self) -> String {
        let good = self.proofs.iter().filter(|proof| proof.ok()).count();
        let all = self.proofs.len();
        let mut text = match all {
            0 => "there is nothing to take back".to_owned(),
            _ => format!("{good} of {all} commands can run: each exists, is pinned, parses and is allowed"),
        };
        for proof in self.proofs.iter().filter(|proof| !proof.ok()) {
            // Writing into a string has no way to fail.
            let _ = write!(text, "; {}: {}", proof.step, proof.problems().join(", "));
        }
        for (step, reason) in &self.left {
            let _ = write!(text, "; {step} stays: {reason}");
        }
        text
    }

    /// `rollback.dry_run`.
    pub fn document(&self) -> Value {
        let mut document = Map::new();
        document.insert("ok".to_owned(), self.ok().into());
        document.insert("summary".to_owned(), self.summary().into());
        document.insert("steps".to_owned(), self.proofs.iter().map(Proof::document).collect());
        if !self.left.is_empty() {
            let left = self.left.iter().map(|(step, reason)| json!({"step": step, "reason": reason})).collect();
            document.insert("left".to_owned(), left);
        }
        Value::Object(document)
    }
}

impl Proof {
    /// Whether the command can run.
    pub fn ok(&self) -> bool {
        self.allowed.is_ok() && self.exists.is_ok() && self.pinned.is_ok()
    }

    fn problems(&self) -> Vec<&str> {
        if let Err(reason) = &self.allowed {
            return vec![reason.as_str()];
        }
        let exists = self.exists.as_ref().err().map(String::as_str);
        exists.into_iter().chain(self.pinned.as_ref().err().map(String::as_str)).collect()
    }

    fn document(&self) -> Value {
        let mut document = Map::new();
        document.insert("step".to_owned(), self.step.as_str().into());
        document.insert("cmd".to_owned(), self.command.as_str().into());
        document.insert("ok".to_owned(), self.ok().into());
        document.insert("allowed".to_owned(), self.allowed.is_ok().into());
        document.insert("exists".to_owned(), self.exists.is_ok().into());
        document.insert("pinned".to_owned(), self.pinned.is_ok().into());
        if let Ok(paths) = &self.exists {
            document.insert("programs".to_owned(), paths.clone().into());
        }
        if let Ok(version) = &self.pinned {
            document.insert("version".to_owned(), version.as_str().into());
        }
        let problems = self.problems();
        if !problems.is_empty() {
            document.insert("problems".to_owned(), problems.into());
        }
        Value::Object(document)
    }
}

/// The line as it may run, or why it may not.
pub fn pipeline(line: &str, catalogue: &Catalogue, guard: &Guard) -> Result<Pipeline, String> {
    if schemas::redact::count_marks(line.as_bytes()) > 0 {
        return Err("a secret was masked in it, so it is not the command that was planned".to_owned());
    }
    let pipeline = argv::parse(line, catalogue).map_err(|refusal| refusal.to_string())?;
    match guard.refuses(&pipeline) {
        Some(program) => Err(format!("a pipe into {program:?}, which is not on this house's list")),
        None => Ok(pipeline),
    }
}

fn exists(pipeline: &Pipeline, machine: &Machine) -> Result<Vec<String>, String> {
    let programs: BTreeSet<&String> = pipeline.commands.iter().filter_map(|argv| argv.first()).collect();
    let mut paths = Vec::new();
    for program in programs {
        match machine.get(program).and_then(|found| found.path.as_ref()) {
            Some(path) => paths.push(path.clone()),
            None => return Err(format!("there is no program {program:?} on the search path of this machine")),
        }
    }
    Ok(paths)
}

fn pinned(pipeline: &Pipeline, catalogue: &Catalogue, machine: &Machine) -> Result<String, String> {
    let program = pipeline.commands.first().and_then(|argv| argv.first()).ok_or("it has no program")?;
    let tool = catalogue.tool_of(program).ok_or_else(|| format!("{program:?} is no tool of the catalogue"))?;
    let found = machine.get(program).filter(|found| found.path.is_some());
    let Some(found) = found else { return Err(format!("the version of {program:?} can't be told: it is not there")) };
    is_of_pin(tool, found)
}

/// Whether what was found of a tool is what is pinned; gives its version.
fn is_of_pin(tool: &Tool, found: &ToolFound) -> Result<String, String> {
    let program = &tool.program;
    if let Some(pin) = &tool.sha256
        && found.sha256.as_ref() != Some(pin)
    {
        let is = found.sha256.as_deref().unwrap_or("not known");
        return Err(format!("{program:?} has the SHA-256 {is}, pinned is {pin}"));
    }
    if tool.version_check.is_empty() {
        return Ok(tool.version.clone());
    }
    let Some(answer) = &found.version else { return Err(format!("{program:?} was not asked for its version")) };
    if answer.code != Some(0) {
        return Err(format!("{program:?} does not tell its version: {}", answer.shown()));
    }
    let printed = [&answer.stdout, &answer.stderr].into_iter().find_map(|text| version(text));
    match printed {
        Some(version) if is_pinned(version, &tool.version) => Ok(version.to_owned()),
        Some(version) => Err(format!("{program:?} is of version {version}, pinned is {}", tool.version)),
        None => Err(format!("{program:?} prints no version: {}", answer.shown())),
    }
}

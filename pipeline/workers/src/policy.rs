//! Policies in Rego, evaluated here (`regorus`) over one document: the plan, the request, and what was seen of the world. `docs/policies.md` has
//! the document and the rules that decide.
//!
//! A package decides by `deny`, `warn` or `allow`; one without any of them is a library. Each result is recorded with the policy's id, package,
//! decision and message. What can't be evaluated denies: a policy that is broken must not be one that is passed.
//!
//! The same policies over the same document give the same results on any machine: there is no clock (the time is a fact), no randomness, no
//! network, and what bounds an evaluation is a count of its steps, not a stopwatch. Memory is bounded as far as steps bound it; policies are
//! the house's own, and who has to run a stranger's asks an OPA server.
//!
//! - [`bundle`]: policies out of a bundle or a directory's files.

mod builtins;
pub mod bundle;
mod fuel;
mod source;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::Engine;
use serde_json::{Value, json};

pub use source::{Files, SourceError};

/// Steps of one rule's evaluation, where the configuration says nothing else.
pub const STEPS: u64 = 2_000_000;
/// Messages that one rule may give.
const MESSAGES: usize = 100;
/// Characters of one message.
const MESSAGE_CHARS: usize = 1_000;

/// Rules that decide, in the order of their results.
const RULES: [&str; 3] = ["deny", "warn", "allow"];
/// The rule that says what the policy is called, and whether it binds.
const ABOUT: &str = "policy";

/// Policies that were read and can be evaluated.
#[derive(Debug, Clone)]
pub struct Policies {
    engine: Engine,
    packages: Vec<Package>,
    digest: String,
}

/// A package that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    /// Without `data.`.
    name: String,
    /// The rules of [`RULES`] that it has.
    rules: Vec<&'static str>,
    has_about: bool,
    /// By the configuration.
    is_advisory: bool,
}

/// What a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Nothing against it.
    Allowed,
    /// It advises against it.
    Warned,
    /// No.
    Denied,
    /// It could not be evaluated, which is no.
    Failed,
}

impl Decision {
    /// Its word in events; `rules/1.json` knows which of them mean no.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Warned => "warned",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyResult {
    /// The policy's id: what its package says, or the package.
    pub id: String,
    /// Where it stands.
    pub package: String,
    /// Whether a no halts.
    pub mandatory: bool,
    /// What it says.
    pub decision: Decision,
    /// Why, for people.
    pub message: String,
}

impl PolicyResult {
    /// As `preflight.policies` holds it.
    pub fn document(&self) -> Value {
        json!({
            "name": self.id,
            "package": self.package,
            "mandatory": self.mandatory,
            "ok": self.decision == Decision::Allowed,
            "decision": self.decision.as_str(),
            "message": self.message,
        })
    }

    /// Whether it halts.
    pub fn halts(&self) -> bool {
        self.mandatory && self.decision != Decision::Allowed
    }
}

impl Policies {
    /// Reads policies. `advisory` are packages that never bind, whatever they say themselves. Each mistake is told with file and line.
    pub fn compile(files: &Files, advisory: &BTreeSet<String>, steps: u64) -> Result<Self, Vec<SourceError>> {
        fuel::install();
        let mut engine = Engine::new();
        engine.set_execution_timer_config(fuel::of(steps));
        // A builtin that fails is an error, not something undefined that nobody notices.
        engine.set_strict_builtin_errors(true);
        builtins::add(&mut engine).map_err(|error| vec![SourceError::of(&error.to_string(), "")])?;
        let (mut errors, mut names) = (Vec::new(), BTreeSet::new());
        for (path, text) in &files.rego {
            match guarded(|| engine.add_policy(path.clone(), text.clone())) {
                Ok(package) => drop(names.insert(package.trim_start_matches("data.").to_owned())),
                Err(error) => errors.push(SourceError::of(&error, path)),
            }
        }
        let data = serde_json::to_string(&files.data).unwrap_or_default();
        if let Err(error) = engine.add_data_json(&data) {
            errors.push(SourceError::of(&error.to_string(), "data.json"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // What can only be seen over all files (names that nobody defines, rules that call each other) is seen here.
        if let Err(error) = guarded(|| engine.eval_query("true".to_owned(), false)) {
            return Err(vec![SourceError::of(&error, "")]);
        }
        let mut packages = Vec::new();
        for name in names.into_iter().filter(|name| !name.ends_with("_test")) {
            let mut has = |rule: &str| has_rule(&mut engine, &format!("data.{name}.{rule}"));
            let rules: Vec<&'static str> = RULES.into_iter().filter(|rule| has(rule)).collect();
            let has_about = has(ABOUT);
            if !rules.is_empty() {
                let is_advisory = advisory.contains(&name);
                packages.push(Package { name, rules, has_about, is_advisory });
            }
        }
        if packages.is_empty() {
            let error = format!("no package has one of the rules {}", RULES.join(", "));
            return Err(vec![SourceError::of(&error, "the policies")]);
        }
        if let Some(unknown) = advisory.iter().find(|name| !packages.iter().any(|package| package.name == **name)) {
            let error = format!("package {unknown} is called advisory, and no package that decides has this name");
            return Err(vec![SourceError::of(&error, "the policies")]);
        }
        Ok(Self { engine, packages, digest: files.digest() })
    }

    /// SHA-256 over the files, so that a record says which policies were asked.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The packages that decide, in the order of their results.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().map(|package| package.name.as_str())
    }

    /// Asks each policy. `now_s` is what `time.now_ns` answers.
    pub fn evaluate(&self, input: &Value, now_s: i64) -> Vec<PolicyResult> {
        let mut engine = self.engine.clone();
        let prepared = builtins::add_clock(&mut engine, now_s)
            .map_err(|error| error.to_string())
            .and_then(|()| guarded(|| engine.set_input_json(&input.to_string())));
        let mut results = Vec::new();
        for package in &self.packages {
            match &prepared {
                Ok(()) => results.extend(package.ask(&engine)),
                Err(error) => results.push(package.failed(&SourceError::of(error, "the input"))),
            }
        }
        results
    }
}

impl Package {
    fn ask(&self, engine: &Engine) -> Vec<PolicyResult> {
        // Each rule from a fresh copy: what one could not finish does not spoil the next.
        let ask = |rule: &str| {
            let mut engine = engine.clone();
            guarded(|| engine.eval_rule(format!("data.{}.{rule}", self.name)))
                .and_then(|value| said(&value))
                .map_err(|error| SourceError::of(&error, &self.name))
        };
        let about = if self.has_about { ask(ABOUT) } else { Ok(None) };
        let about = match about {
            Ok(about) => About::of(self, about.as_ref()),
            Err(error) => return vec![self.failed(&error)],
        };
        let rules = self.rules.iter().map(|rule| ask(rule).map(|said| (*rule, said)));
        match rules.collect::<Result<Vec<_>, _>>() {
            Ok(said) => decided(&about, &said),
            Err(error) => vec![PolicyResult { id: about.id, mandatory: about.mandatory, ..self.failed(&error) }],
        }
    }

    fn failed(&self, error: &SourceError) -> PolicyResult {
        PolicyResult {
            id: self.name.clone(),
            package: self.name.clone(),
            mandatory: !self.is_advisory,
            decision: Decision::Failed,
            message: format!("it could not be evaluated: {error}"),
        }
    }
}

/// What a policy says of itself.
struct About {
    id: String,
    package: String,
    mandatory: bool,
}

impl About {
    fn of(package: &Package, said: Option<&Value>) -> Self {
        let id = said.and_then(|said| said.get("id")?.as_str()).unwrap_or(&package.name);
        let mandatory = said.and_then(|said| said.get("mandatory")?.as_bool()).unwrap_or(true);
        Self { id: id.to_owned(), package: package.name.clone(), mandatory: mandatory && !package.is_advisory }
    }

    fn result(&self, decision: Decision, message: impl Into<String>) -> PolicyResult {
        let mandatory = self.mandatory && decision != Decision::Warned;
        PolicyResult {
            id: self.id.clone(),
            package: self.package.clone(),
            mandatory,
            decision,
            message: message.into(),
        }
    }
}

/// The results of what a package's rules said; `None` is undefined. The same for answers of an OPA server.
fn decided(about: &About, said: &[(&str, Option<Value>)]) -> Vec<PolicyResult> {
    let mut results = Vec::new();
    for (rule, said) in said {
        match *rule {
            "allow" => {
                if *said != Some(Value::Bool(true)) {
                    let found = said.as_ref().map_or("undefined".to_owned(), ToString::to_string);
                    results.push(about.result(Decision::Denied, format!("allow is {found}")));
                }
            }
            rule => {
                let decision = if rule == "deny" { Decision::Denied } else { Decision::Warned };
                let told = messages(said.as_ref());
                let more = told.len().saturating_sub(MESSAGES);
                results.extend(told.into_iter().take(MESSAGES).map(|message| about.result(decision, message)));
                if more > 0 {
                    results.push(about.result(decision, format!("and {more} more")));
                }
            }
        }
    }
    if results.is_empty() {
        results.push(about.result(Decision::Allowed, "nothing against it"));
    }
    results
}

/// What an OPA server answers for a package: its document, as `{"deny": […], "warn": […], "allow": …}`. An empty document, which is also what
/// it answers for a package that it does not have, denies.
pub fn of_server(package: &str, mandatory: bool, document: &Value) -> Vec<PolicyResult> {
    let has: Vec<(&str, Option<Value>)> =
        RULES.into_iter().filter_map(|rule| Some((rule, Some(document.get(rule)?.clone())))).collect();
    let about = document.get(ABOUT);
    let package = Package { name: package.to_owned(), rules: Vec::new(), has_about: false, is_advisory: !mandatory };
    let about = About::of(&package, about);
    if has.is_empty() {
        return vec![
            about.result(Decision::Failed, format!("the server has none of the rules {} there", RULES.join(", "))),
        ];
    }
    decided(&about, &has)
}

/// The messages of a set, a list, the values of an object; true without one.
fn messages(said: Option<&Value>) -> Vec<String> {
    let one = |value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Object(members) => {
                let text = ["msg", "message"].into_iter().find_map(|name| members.get(name)?.as_str());
                text.map_or_else(|| value.to_string(), str::to_owned)
            }
            other => other.to_string(),
        };
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match clean.char_indices().nth(MESSAGE_CHARS) {
            Some((at, _)) => format!("{}…", &clean[..at]),
            None => clean,
        }
    };
    match said {
        None | Some(Value::Null | Value::Bool(false)) => Vec::new(),
        Some(Value::Bool(true)) => vec!["it says no without a reason".to_owned()],
        Some(Value::Array(items)) => items.iter().map(one).collect(),
        Some(Value::Object(members)) if !members.contains_key("msg") && !members.contains_key("message") => {
            members.values().map(one).collect()
        }
        Some(other) => vec![one(other)],
    }
}

/// What a rule gave; `None` where it is undefined.
fn said(value: &regorus::Value) -> Result<Option<Value>, String> {
    if *value == regorus::Value::Undefined {
        return Ok(None);
    }
    serde_json::to_value(value).map(Some).map_err(|error| format!("its value is no JSON: {error}"))
}

/// Whether a rule is there: without an input it may well fail, but not for having no such path.
fn has_rule(engine: &mut Engine, path: &str) -> bool {
    let mut engine = engine.clone();
    match guarded(|| engine.eval_rule(path.to_owned())) {
        Ok(_) => true,
        Err(error) => !error.contains("not a valid rule path"),
    }
}

/// Evaluates; a panic of the evaluator is an error of the policy that caused it.
fn guarded<T, E: std::fmt::Display>(evaluate: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    fuel::start();
    match catch_unwind(AssertUnwindSafe(evaluate)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the evaluator gave up on it".to_owned()),
    }
}

#[cfg(test)]
mod tests;

//! The workers' configuration: one TOML file, checked as a whole. `docs/workers.md` has every option.
//!
//! Without a file, and for each key that is not there, the model's defaults hold: guard-rails are on, the pipe allow-list is the model's, steps are tried where
//! their tool can, and each plan needs one approval by somebody else, bound to it. There is no key that turns a guard-rail off: metas stay
//! blocked because there is no shell, and the list of pipes can only be made shorter.
//!
//! Left out: reading files. Paths are as written, relative to the file; whoever reads it resolves them.

use std::collections::{BTreeMap, BTreeSet};

use crate::approval::Requirement;
use crate::argv::Pipeline;
use crate::blast_radius::BlastRadius;
use crate::budget::Budget;
use crate::calendar::{Calendar, Freeze, Window};
use crate::execute::ExecuteOptions;
use crate::execute::environment::{EXPECTED, may_be_named};
use crate::lane::Lane;
use crate::policy::STEPS;
use crate::risk::Weights;
use crate::table::{self, Entry, Mistake, Read};
use crate::{drift, rollback, verify};

/// All options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Catalogue files after the shipped ones, in order.
    pub catalogue: Vec<String>,
    /// Planning.
    pub plan: PlanOptions,
    /// Guard-rails of commands.
    pub guard: Guard,
    /// Looking before a plan runs.
    pub preflight: PreflightOptions,
    /// Policies.
    pub policy: PolicyOptions,
    /// Maintenance windows and freezes.
    pub calendar: Calendar,
    /// Who has to approve what.
    pub approvals: Vec<Requirement>,
    /// What is asked where none of `approvals` is about a change.
    pub default_approval: Requirement,
    /// What counts how much.
    pub risk: Weights,
    /// What may pass without a person, first match first.
    pub lanes: Vec<Lane>,
    /// What a change may cost.
    pub budgets: Vec<Budget>,
    /// How much a change may touch.
    pub blast_radius: Vec<BlastRadius>,
    /// Looking whether a change holds.
    pub verify: verify::Options,
    /// Taking back.
    pub rollback: rollback::Options,
    /// Watching what was verified.
    pub drift: drift::Options,
    /// Running steps.
    pub execute: ExecuteOptions,
}

/// `[plan]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// A program that turns a request in words into resources; what it answers passes the checks of any request.
    pub compiler: Option<Vec<String>>,
    /// A program that says what is there, who owns it and who uses it.
    pub inventory: Option<Vec<String>>,
    /// Whether each plan is gone through over what is there.
    pub simulate: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { compiler: None, inventory: None, simulate: true }
    }
}

/// `[guard]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Programs that a pipe may lead into.
    pub pipe_allow_list: BTreeSet<String>,
    /// Variables of the workers' own environment that commands get beside [`ALWAYS`].
    pub environment: BTreeSet<String>,
}

/// What every command gets of the workers' own environment.
pub const ALWAYS: [&str; 1] = ["PATH"];

/// Set for every command, so that it says the same on each machine.
const SET: [(&str, &str); 3] = [("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];

/// `[preflight]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightOptions {
    /// Whether steps are tried where their tool can.
    pub dry_run: bool,
    /// Seconds for each command that only reads.
    pub time_limit_s: u64,
}

/// `[policy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyOptions {
    /// Where they are.
    pub source: Option<PolicySource>,
    /// Packages that only advise.
    pub advisory: BTreeSet<String>,
    /// Steps of one rule's evaluation.
    pub steps: u64,
}

/// Where policies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A directory of Rego files.
    Directory(String),
    /// A bundle, `tar.gz`.
    Bundle {
        /// Its path.
        path: String,
        /// Its SHA-256, hex, where it is pinned.
        sha256: Option<String>,
    },
    /// An OPA server.
    Server {
        /// Its URL.
        url: String,
        /// Packages that are asked.
        packages: BTreeSet<String>,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            catalogue: Vec::new(),
            plan: PlanOptions::default(),
            guard: Guard {
                pipe_allow_list: schemas::canonicals::get().pipe_allow_list.iter().cloned().collect(),
                environment: BTreeSet::new(),
            },
            preflight: PreflightOptions { dry_run: true, time_limit_s: 60 },
            policy: PolicyOptions { source: None, advisory: BTreeSet::new(), steps: STEPS },
            calendar: Calendar::default(),
            approvals: Vec::new(),
            default_approval: Requirement::default(),
            risk: Weights::default(),
            lanes: Vec::new(),
            budgets: Vec::new(),
            blast_radius: Vec::new(),
            verify: verify::Options::default(),
            rollback: rollback::Options::default(),
            drift: drift::Options::default(),
            execute: ExecuteOptions::default(),
        }
    }
}

impl Guard {
    /// The whole environment of a command: a clean one. `own` is that of the worker; `home` stands in for a home directory where none is let
    /// through, so that no program reads somebody's settings unasked.
    pub fn environment(&self, own: &BTreeMap<String, String>, home: &str) -> BTreeMap<String, String> {
        let through = ALWAYS.into_iter().chain(self.environment.iter().map(String::as_str));
        let mut all: BTreeMap<String, String> =
            SET.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        all.insert("HOME".to_owned(), home.to_owned());
        all.extend(through.filter_map(|name| Some((name.to_owned(), own.get(name)?.clone()))));
        all
    }

    /// The first program behind a pipe that is not on the list.
    pub fn refuses<'p>(&self, pipeline: &'p Pipeline) -> Option<&'p str> {
        let behind = pipeline.commands.iter().skip(1).filter_map(|argv| argv.first());
        behind.map(String::as_str).find(|program| !self.pipe_allow_list.contains(*program))
    }
}

/// The file's top.
const SECTIONS: [&str; 13] = [
    "catalogue",
    "plan",
    "guard",
    "preflight",
    "policy",
    "windows",
    "freezes",
    "approvals",
    "risk",
    "lanes",
    "verify",
    "rollback",
    "drift",
];

impl Config {
    /// Reads a file's text; `file` is for messages. All mistakes are told, one of each section or entry.
    pub fn read(file: &str, text: &str) -> Result<Self, Vec<Mistake>> {
        let table = table::parse(file, text).map_err(|mistake| vec![mistake])?;
        let whole = Entry::whole(file, &table);
        let (mut config, mut mistakes) = (Self::default(), Vec::new());
        note(&mut mistakes, whole.only(&[&SECTIONS[..], &["budgets", "blast_radius", "execute"]].concat()));
        take(&mut mistakes, &mut config.catalogue, whole.texts("catalogue"));
        take(&mut mistakes, &mut config.plan, section(&whole, "plan", plan));
        take(&mut mistakes, &mut config.guard, section(&whole, "guard", guard));
        take(&mut mistakes, &mut config.preflight, section(&whole, "preflight", preflight));
        take(&mut mistakes, &mut config.policy, section(&whole, "policy", policy));
        take(&mut mistakes, &mut config.risk, section(&whole, "risk", Weights::read));
        take(&mut mistakes, &mut config.verify, section(&whole, "verify", verify::Options::read));
        take(&mut mistakes, &mut config.rollback, section(&whole, "rollback", rollback::Options::read));
        take(&mut mistakes, &mut config.drift, section(&whole, "drift", drift::Options::read));
        take(&mut mistakes, &mut config.execute, section(&whole, "execute", ExecuteOptions::read));
        config.calendar.windows = each(&mut mistakes, &whole, "windows", "window", Window::read);
        config.calendar.freezes = each(&mut mistakes, &whole, "freezes", "freeze", Freeze::read);
        config.approvals = each(&mut mistakes, &whole, "approvals", "approval", Requirement::read);
        config.lanes = each(&mut mistakes, &whole, "lanes", "lane", Lane::read);
        config.budgets = each(&mut mistakes, &whole, "budgets", "budget", Budget::read);
        config.blast_radius = each(&mut mistakes, &whole, "blast_radius", "blast radius", BlastRadius::read);
        note(&mut mistakes, gates_ask_what_there_is(&whole, &config));
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }
}

/// A gate that asks a probe which is none would hold for ever.
fn gates_ask_what_there_is(whole: &Entry<'_>, config: &Config) -> Read<()> {
    let is_known = |name: &&String| config.verify.probes.iter().any(|probe| probe.name == **name);
    match config.execute.waves.probes.iter().find(|name| !is_known(name)) {
        Some(name) => whole.wrong("execute.waves.probes", format!("the probe {name:?}"), "names of [[verify.probes]]"),
        None => Ok(()),
    }
}

fn note(mistakes: &mut Vec<Mistake>, read: Read<()>) {
    mistakes.extend(read.err());
}

/// Keeps the default where nothing, or nothing right, was read.
fn take<T>(mistakes: &mut Vec<Mistake>, place: &mut T, read: Read<impl Into<Option<T>>>) {
    match read.map(Into::into) {
        Ok(Some(value)) => *place = value,
        Ok(None) => {}
        Err(mistake) => mistakes.push(mistake),
    }
}

fn section<T>(whole: &Entry<'_>, key: &str, read: fn(&Entry<'_>) -> Read<T>) -> Read<Option<T>> {
    match whole.table.get(key) {
        None => Ok(None),
        Some(toml::Value::Table(table)) => {
            let entry = Entry { file: whole.file, name: format!("[{key}]"), table };
            read(&entry).map(Some)
        }
        Some(other) => whole.wrong(key, table::shown(other), format!("a table, [{key}]")),
    }
}

/// Entries of a list; names are unique in it, because messages and records name them.
fn each<T>(
    mistakes: &mut Vec<Mistake>,
    whole: &Entry<'_>,
    key: &str,
    called: &str,
    read: fn(&Entry<'_>) -> Read<T>,
) -> Vec<T> {
    let entries = match whole.list(key, called) {
        Ok(entries) => entries,
        Err(mistake) => {
            mistakes.push(mistake);
            return Vec::new();
        }
    };
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for entry in &entries {
        let is_new = names.insert(entry.name.clone());
        let once = if is_new { Ok(()) } else { entry.wrong("name", "a name twice", "a name of its own") };
        match once.and_then(|()| read(entry)) {
            Ok(option) => all.push(option),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    all
}

fn plan(entry: &Entry<'_>) -> Read<PlanOptions> {
    entry.only(&["compiler", "inventory", "simulate"])?;
    let program = |key: &str| -> Read<Option<Vec<String>>> {
        let argv = entry.texts(key)?;
        if entry.table.contains_key(key) && argv.first().is_none_or(String::is_empty) {
            return entry.wrong(key, "no program", "a program and its arguments, as a list of texts");
        }
        Ok(Some(argv).filter(|argv| !argv.is_empty()))
    };
    let simulate = if entry.table.contains_key("simulate") { entry.flag("simulate")? } else { true };
    Ok(PlanOptions { compiler: program("compiler")?, inventory: program("inventory")?, simulate })
}

fn guard(entry: &Entry<'_>) -> Read<Guard> {
    entry.only(&["pipe_allow_list", "environment"])?;
    let list: BTreeSet<String> = entry.texts("pipe_allow_list")?.into_iter().collect();
    if let Some(found) = list.iter().find(|program| !schemas::canonicals::is_pipe_allowed(program)) {
        let known = schemas::canonicals::get().pipe_allow_list.join(", ");
        return entry.wrong("pipe_allow_list", format!("{found:?}"), format!("some of the model's list: {known}"));
    }
    let environment = entry.names("environment")?.unwrap_or_default();
    if let Some(found) = environment.iter().find(|name| !may_be_named(name)) {
        return entry.wrong("environment", format!("{found:?}"), EXPECTED);
    }
    // An empty list is a wish: no pipes at all.
    let is_given = entry.table.contains_key("pipe_allow_list");
    let pipe_allow_list = if is_given { list } else { Config::default().guard.pipe_allow_list };
    Ok(Guard { pipe_allow_list, environment })
}

fn preflight(entry: &Entry<'_>) -> Read<PreflightOptions> {
    entry.only(&["dry_run", "time_limit_s"])?;
    let default = Config::default().preflight;
    let dry_run = if entry.table.contains_key("dry_run") { entry.flag("dry_run")? } else { default.dry_run };
    let time_limit_s = entry.number_within("time_limit_s", 1, 3_600)?.unwrap_or(default.time_limit_s);
    Ok(PreflightOptions { dry_run, time_limit_s })
}

fn policy(entry: &Entry<'_>) -> Read<PolicyOptions> {
    entry.only(&["directory", "bundle", "sha256", "server", "packages", "advisory", "steps"])?;
    let sha256 = entry.text("sha256")?;
    let is_hex =
        |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if let Some(found) = sha256.as_ref().filter(|text| !is_hex(text)) {
        return entry.wrong("sha256", format!("{found:?}"), "64 hexadecimal digits in lower case");
    }
    let packages = entry.names("packages")?;
    let (directory, bundle, server) = (entry.text("directory")?, entry.text("bundle")?, entry.text("server")?);
    let source = match (directory, bundle, server) {
        (None, None, None) => return entry.wrong("directory", "nothing", "one of directory, bundle and server"),
        (Some(path), None, None) => PolicySource::Directory(path),
        (None, Some(path), None) => PolicySource::Bundle { path, sha256: sha256.clone() },
        (None, None, Some(url)) => {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return entry.wrong("server", format!("{url:?}"), "a URL of an OPA server, http:// or https://");
            }
            let Some(packages) = packages.clone() else {
                return entry.wrong("packages", "nothing", "the packages that the server is asked for");
            };
            PolicySource::Server { url, packages }
        }
        _ => return entry.wrong("directory", "several of directory, bundle and server", "one of them"),
    };
    if sha256.is_some() && !matches!(source, PolicySource::Bundle { .. }) {
        return entry.wrong("sha256", "this without a bundle", "it beside bundle alone");
    }
    if packages.is_some() && !matches!(source, PolicySource::Server { .. }) {
        return entry.wrong(
            "packages",
            "this without a server",
            "it beside server alone: all packages that decide are asked",
        );
    }
    Ok(PolicyOptions {
        source: Some(source),
        advisory: entry.names("advisory")?.unwrap_or_default(),
        steps: entry.number_within("steps", 1_000, 1_000_000_000)?.unwrap_or(STEPS),
    })
}

#[cfg(test)]
mod tests;

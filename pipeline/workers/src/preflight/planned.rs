//! A plan as preflight reads it: out of the stored event, whoever sent it.
//!
//! Approvals bind to its digest. Where that covers the whole plan (`digest_version` 2, `schemas::plan`), what is read here is what was approved. Where it does not,
//! the plan may have nothing beside its commands that is acted upon: steps, waves, a window and the like could be exchanged behind the approval. A step has
//! to say what the command of its place says and wait for what the graph says; and what it wants to be run before an approval has to be a command of the
//! catalogue that only reads.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::argv;
use crate::catalogue::{Absent, Catalogue, When};
use crate::plan::window_seconds;
use crate::scope::Case;

use schemas::ids::ChangeClass;

use super::{Kind, Requested, Violation};

/// Members of a plan that are acted upon, and that only the digest of a whole plan covers.
const UNCOVERED: [&str; 7] = ["cost", "placeholders", "quota", "steps", "tools", "waves", "window"];

/// Why a payload can't be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlannedError {
    /// Not the form of an event.
    #[error("the event can't be read: {0}")]
    Unreadable(String),
    /// Without commands.
    #[error("the event has no plan with commands")]
    NoPlan,
}

/// A plan on record.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// As the ledger computes it.
    pub digest: String,
    /// The event, for policies.
    pub event: Value,
    /// `environment`.
    pub environment: Option<String>,
    /// `change_class`.
    pub class: Option<ChangeClass>,
    /// `intent.initiator`.
    pub initiator: Option<String>,
    /// `intent.risk`, in the requester's words.
    pub asked_risk: Option<String>,
    /// In order.
    pub steps: Vec<Step>,
    /// What must be there before.
    pub needed: Vec<Needed>,
    /// What it takes of quotas.
    pub quotas: Vec<Taken>,
    /// Pinned tools.
    pub tools: Vec<Pinned>,
    /// The estimate, in hundredths of a US dollar a month.
    pub monthly_cents: Option<u64>,
    /// Resources whose cost nobody knows.
    pub cost_unknown: Vec<String>,
    /// Whom it asks to approve.
    pub approvals: Vec<String>,
    /// First and last second of its own window.
    pub window: Option<(i64, i64)>,
    /// What takes it back.
    pub rollback: Vec<String>,
    /// Steps that the rollback leaves, and why.
    pub left: Vec<(String, String)>,
    /// Notes on security.
    pub security: Vec<String>,
    /// Who is affected, by its simulation.
    pub affected: Vec<String>,
    /// What of it is acted upon and not covered by its digest, so by no approval.
    pub uncovered: Vec<String>,
    /// What is wrong with it before anything is looked at.
    pub violations: Vec<Violation>,
}

/// A command that would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As the plan names it; `command N` where it names none.
    pub id: String,
    /// create, update or delete; `command` where the plan does not say.
    pub action: String,
    /// The line that the digest covers.
    pub command: String,
    /// Says whether there is anything to do.
    pub check: Option<Look>,
    /// Tries it.
    pub dry_run: Option<Vec<String>>,
    /// Steps that come first.
    pub depends_on: Vec<String>,
}

/// A command that says whether something is there, and how to read its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// When it is there.
    pub when: When,
    /// When it is not.
    pub absent: Absent,
}

/// Something outside of the plan that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// `type/name`, or the type alone.
    pub id: String,
    /// Who needs it.
    pub by: Vec<String>,
    /// Where to look.
    pub look: Option<Look>,
    /// How to get it.
    pub how: Option<String>,
}

/// Units of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// As its owner calls it.
    pub name: String,
    /// So many.
    pub units: u64,
    /// Reads usage and limit.
    pub argv: Option<Vec<String>>,
}

/// A tool as it is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Its program.
    pub program: String,
    /// Equal, or going on with a dot.
    pub version: String,
    /// SHA-256 of the program, hex.
    pub sha256: Option<String>,
    /// Prints its version.
    pub argv: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Document {
    provisioning_event: Value,
}

#[derive(Deserialize)]
struct Event {
    environment: Option<String>,
    change_class: Option<String>,
    #[serde(default)]
    intent: Intent,
    plan: Option<PlanPart>,
    #[serde(default)]
    rollback: Rollback,
}

#[derive(Deserialize, Default)]
struct Intent {
    initiator: Option<String>,
    risk: Option<String>,
}

#[derive(Deserialize)]
struct PlanPart {
    dependency_graph: Option<Value>,
    #[serde(default)]
    commands: Vec<String>,
    #[serde(default)]
    steps: Vec<StepPart>,
    #[serde(default)]
    resources_needed: Vec<Value>,
    #[serde(default)]
    quota: Vec<QuotaPart>,
    #[serde(default)]
    tools: Vec<ToolPart>,
    #[serde(default)]
    approvals: Vec<String>,
    cost: Option<CostPart>,
    window: Option<Value>,
    impact: Option<ImpactPart>,
    simulation: Option<SimulationPart>,
    #[serde(default)]
    placeholders: Vec<PlaceholderPart>,
}

#[derive(Deserialize)]
struct StepPart {
    id: String,
    action: Option<String>,
    argv: Option<Vec<String>>,
    check: Option<LookPart>,
    dry_run: Option<String>,
    #[serde(default)]
    depends_on: Vec<String>,
}

#[derive(Deserialize)]
struct EdgePart {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct LookPart {
    #[serde(alias = "check")]
    command: Option<String>,
    prints: Option<String>,
    prints_other_than: Option<String>,
    absent_code: Option<u64>,
    absent_says: Option<String>,
}

#[derive(Deserialize)]
struct NeededPart {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    #[serde(default)]
    needed_by: Vec<String>,
    how: Option<String>,
    #[serde(flatten)]
    look: LookPart,
}

#[derive(Deserialize)]
struct QuotaPart {
    name: String,
    units: u64,
    read: Option<String>,
}

#[derive(Deserialize)]
struct ToolPart {
    name: String,
    version: String,
    sha256: Option<String>,
    check: Option<String>,
}

#[derive(Deserialize)]
struct CostPart {
    monthly_usd_cents: Option<u64>,
    #[serde(default)]
    unknown: Vec<String>,
}

#[derive(Deserialize)]
struct ImpactPart {
    security: Option<String>,
}

#[derive(Deserialize)]
struct SimulationPart {
    #[serde(default)]
    affected: std::collections::BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct PlaceholderPart {
    resource: String,
    field: String,
    shown: String,
}

#[derive(Deserialize, Default)]
struct Rollback {
    #[serde(default)]
    plan: Vec<String>,
    #[serde(default)]
    left: Vec<LeftPart>,
}

#[derive(Deserialize)]
struct LeftPart {
    step: String,
    reason: String,
}

impl Planned {
    /// Reads a stored event of phase plan.
    pub fn read(payload: &[u8], catalogue: &Catalogue) -> Result<Self, PlannedError> {
        let unreadable = |error: serde_json::Error| PlannedError::Unreadable(error.to_string());
        let document: Document = serde_json::from_slice(payload).map_err(unreadable)?;
        let event = Event::deserialize(&document.provisioning_event).map_err(unreadable)?;
        let plan = event.plan.filter(|plan| !plan.commands.is_empty()).ok_or(PlannedError::NoPlan)?;
        let digest = schemas::plan::digest(payload).ok_or(PlannedError::NoPlan)?;
        let mut reader = Reader { catalogue, violations: Vec::new() };
        let uncovered = uncovered(&document.provisioning_event);
        reader.covered(&uncovered);
        let has_steps = plan.steps.len() == plan.commands.len();
        let steps = reader.steps(&plan.commands, plan.steps);
        if has_steps {
            reader.graph(plan.dependency_graph.as_ref(), &steps);
        }
        let needed = plan.resources_needed.into_iter().map(|part| reader.needed(part)).collect();
        let quotas = plan.quota.into_iter().map(|part| reader.quota(part)).collect();
        let tools = plan.tools.into_iter().map(|part| reader.tool(part)).collect();
        for command in &event.rollback.plan {
            reader.guarded("the rollback", command);
        }
        reader.placeholders(&plan.placeholders);
        let window = plan.window.as_ref().and_then(window_seconds);
        if plan.window.is_some() && window.is_none_or(|(from, to)| from > to) {
            let found = "a window without two ends in RFC 3339, or one that ends before it starts";
            reader.wrong(Kind::Window, "the plan's own window", found, "plan again with start and end");
        }
        Ok(Self {
            digest,
            environment: event.environment,
            class: event.change_class.as_deref().and_then(|word| ChangeClass::parse(word).ok()),
            initiator: event.intent.initiator,
            asked_risk: event.intent.risk,
            steps,
            needed,
            quotas,
            tools,
            monthly_cents: plan.cost.as_ref().and_then(|cost| cost.monthly_usd_cents),
            cost_unknown: plan.cost.map(|cost| cost.unknown).unwrap_or_default(),
            approvals: plan.approvals,
            window: window.filter(|(from, to)| from <= to),
            rollback: event.rollback.plan,
            left: event.rollback.left.into_iter().map(|left| (left.step, left.reason)).collect(),
            security: plan.impact.and_then(|impact| impact.security).into_iter().collect(),
            affected: plan.simulation.map(|told| told.affected.into_keys().collect()).unwrap_or_default(),
            uncovered,
            violations: reader.violations,
            event: document.provisioning_event,
        })
    }

    /// The same, held against what was asked for. Who asked, how urgently and at what risk is the request's to say; a plan that calls itself more urgent, or of
    /// another environment, halts.
    #[must_use]
    pub fn asked_by(mut self, requested: Requested<'_>) -> Self {
        let how = "plan again for what was asked for, or ask for the other";
        if self.class.is_some() && self.class != requested.class() {
            let shown = |class: Option<ChangeClass>| class.map_or("none", ChangeClass::as_str);
            let found = format!("the class {}, and the request's is {}", shown(self.class), shown(requested.class()));
            self.violations.push(Violation::new(Kind::Plan, "change_class", found, how));
        }
        if let (Some(own), Some(asked)) = (&self.environment, requested.environment())
            && own != asked
        {
            let found = format!("the environment {own}, and the request's is {asked}");
            self.violations.push(Violation::new(Kind::Plan, "environment", found, how));
        }
        self.class = requested.class();
        self.initiator = requested.initiator().map(str::to_owned);
        self.asked_risk = requested.risk().map(str::to_owned);
        self
    }

    /// The same, with whomever any plan of the attempt says to be affected: a simulation stands beside a plan, where no digest covers it, and leaving it out makes
    /// nothing less of a risk.
    #[must_use]
    pub fn affecting<'e>(mut self, events: impl Iterator<Item = &'e Value>) -> Self {
        let told = events.filter_map(|event| event.pointer("/plan/simulation/affected")?.as_object());
        let known: BTreeSet<String> = told.flat_map(|affected| affected.keys().cloned()).chain(self.affected).collect();
        self.affected = known.into_iter().collect();
        self
    }

    /// What scopes are asked about.
    pub fn case(&self) -> Case<'_> {
        Case { environment: self.environment.as_deref(), class: self.class }
    }
}

/// See [`Planned::uncovered`].
fn uncovered(event: &Value) -> Vec<String> {
    let plan = &event["plan"];
    if schemas::plan::is_whole(&plan["digest_version"]) {
        return Vec::new();
    }
    let is_there = |value: &Value| !value.is_null() && *value != Value::Array(Vec::new());
    let of_plan = UNCOVERED.iter().filter(|name| is_there(&plan[**name])).map(|name| format!("plan.{name}"));
    let left = is_there(&event["rollback"]["left"]).then(|| "rollback.left".to_owned());
    of_plan.chain(left).collect()
}

struct Reader<'a> {
    catalogue: &'a Catalogue,
    violations: Vec<Violation>,
}

impl Reader<'_> {
    fn wrong(&mut self, kind: Kind, subject: &str, found: impl Into<String>, how: &str) {
        self.violations.push(Violation::new(kind, subject, found, how));
    }

    /// What is acted upon has to be what approvals bind to.
    fn covered(&mut self, uncovered: &[String]) {
        if !uncovered.is_empty() {
            let found = format!("{}, which its digest does not cover, so no approval does", uncovered.join(", "));
            let how = "plan again with \"digest_version\": 2 in the plan, which covers all of it";
            self.wrong(Kind::Plan, "the plan", found, how);
        }
    }

    /// The graph says the same as the steps, where both say something: whoever approves reads the one, and the other is what runs. A graph in another form
    /// than the planner's own can't be compared; commands without steps run one after the other.
    fn graph(&mut self, graph: Option<&Value>, steps: &[Step]) {
        let Some(edges) = graph.and_then(|graph| Vec::<EdgePart>::deserialize(graph.get("edges")?).ok()) else {
            return;
        };
        let drawn: BTreeSet<(&str, &str)> = edges.iter().map(|edge| (edge.from.as_str(), edge.to.as_str())).collect();
        let waits = steps.iter().flat_map(|step| step.depends_on.iter().map(|on| (step.id.as_str(), on.as_str())));
        let said: BTreeSet<(&str, &str)> = waits.collect();
        let how = "plan again; what is approved as a graph is the order in which it runs";
        if let Some((from, to)) = drawn.difference(&said).next() {
            self.wrong(
                Kind::Plan,
                from,
                format!("it comes after {to} by the graph, and its step does not wait for it"),
                how,
            );
        }
        if let Some((from, to)) = said.difference(&drawn).next() {
            self.wrong(Kind::Plan, from, format!("its step waits for {to}, and the graph does not say so"), how);
        }
    }

    /// The commands, each with the step of its place where the plan has steps.
    fn steps(&mut self, commands: &[String], parts: Vec<StepPart>) -> Vec<Step> {
        if !parts.is_empty() && parts.len() != commands.len() {
            let found = format!("{} steps beside {} commands", parts.len(), commands.len());
            self.wrong(Kind::Plan, "the plan", found, "plan again; each command has one step");
            return commands.iter().enumerate().map(|(at, command)| self.bare(at, command)).collect();
        }
        let mut parts = parts.into_iter();
        commands
            .iter()
            .enumerate()
            .map(|(at, command)| match parts.next() {
                Some(part) => self.step(part, command),
                None => self.bare(at, command),
            })
            .collect()
    }

    /// A command of a planner that says nothing more about it.
    fn bare(&mut self, at: usize, command: &str) -> Step {
        let id = format!("command {}", at + 1);
        self.guarded(&id, command);
        Step {
            id,
            action: "command".to_owned(),
            command: command.to_owned(),
            check: None,
            dry_run: None,
            depends_on: Vec::new(),
        }
    }

    fn step(&mut self, part: StepPart, command: &str) -> Step {
        self.guarded(&part.id, command);
        if let Some(argv) = &part.argv
            && argv::render(argv) != command
        {
            let found = format!("arguments of {:?} beside the command {command:?}", argv::render(argv));
            self.wrong(Kind::Plan, &part.id, found, "plan again; approvals bind to the command");
        }
        let check = part.check.and_then(|check| self.look(&part.id, check));
        let dry_run = part.dry_run.and_then(|line| self.reading(&part.id, &line));
        let action = part.action.unwrap_or_else(|| "command".to_owned());
        Step { id: part.id, action, command: command.to_owned(), check, dry_run, depends_on: part.depends_on }
    }

    /// A command that would change something: as the guard lets it through, and with nothing masked.
    fn guarded(&mut self, subject: &str, command: &str) {
        if let Err(refusal) = argv::parse(command, self.catalogue) {
            self.wrong(Kind::Guard, subject, format!("{command:?}: {refusal}"), "plan again without it");
        }
        if schemas::redact::count_marks(command.as_bytes()) > 0 {
            let found = format!("{command:?}, of which a secret was masked");
            self.wrong(Kind::Guard, subject, found, "plan again with the credential left to the executor");
        }
    }

    /// A line that is run before anybody approved.
    fn reading(&mut self, subject: &str, line: &str) -> Option<Vec<String>> {
        let parsed = argv::parse(line, self.catalogue).ok().filter(|pipeline| pipeline.commands.len() == 1);
        let argv = parsed.and_then(|mut pipeline| pipeline.commands.pop());
        let argv = argv.filter(|argv| self.catalogue.reads(argv));
        if argv.is_none() {
            let found = format!("{line:?} as a command that only looks, which is none of the catalogue's");
            self.wrong(Kind::Guard, subject, found, "plan again over the catalogue that this preflight has");
        }
        argv
    }

    fn look(&mut self, subject: &str, part: LookPart) -> Option<Look> {
        let argv = self.reading(subject, &part.command?)?;
        let when = match (part.prints, part.prints_other_than) {
            (Some(text), _) => When::Prints(text),
            (None, Some(text)) => When::PrintsOtherThan(text),
            (None, None) => When::Success,
        };
        Some(Look { argv, when, absent: Absent { code: part.absent_code, says: part.absent_says } })
    }

    /// `resources_needed`: an object as plans of the catalogue have it, or a name alone.
    fn needed(&mut self, part: Value) -> Needed {
        if let Some(name) = part.as_str() {
            return Needed { id: name.to_owned(), by: Vec::new(), look: None, how: None };
        }
        match serde_json::from_value::<NeededPart>(part) {
            Ok(part) => {
                let name = part.name.map_or(String::new(), |name| format!("/{name}"));
                let id = format!("{}{name}", part.kind);
                let look = self.look(&id, part.look);
                Needed { id, by: part.needed_by, look, how: part.how }
            }
            Err(error) => {
                self.wrong(Kind::Plan, "resources_needed", error.to_string(), "plan again");
                Needed { id: "resources_needed".to_owned(), by: Vec::new(), look: None, how: None }
            }
        }
    }

    fn quota(&mut self, part: QuotaPart) -> Taken {
        let argv = part.read.and_then(|line| self.reading(&format!("quota {}", part.name), &line));
        Taken { name: part.name, units: part.units, argv }
    }

    fn tool(&mut self, part: ToolPart) -> Pinned {
        let argv = part.check.and_then(|line| self.reading(&format!("tool {}", part.name), &line));
        // What this preflight pins, the plan has to have been made for.
        if let Some(own) = self.catalogue.tool_of(&part.name)
            && (own.version != part.version || own.sha256 != part.sha256)
        {
            let found = format!("version {} pinned by the plan, {} by the catalogue", part.version, own.version);
            self.wrong(Kind::Tool, &part.name, found, "plan again over the catalogue that this preflight has");
        }
        Pinned { program: part.name, version: part.version, sha256: part.sha256, argv }
    }

    fn placeholders(&mut self, parts: &[PlaceholderPart]) {
        for part in parts {
            let found = format!("the placeholder {:?} for its {}", part.shown, part.field);
            let how = format!("say its {}, or set a default in the catalogue", part.field);
            self.wrong(Kind::Plan, &part.resource, found, &how);
        }
    }
}

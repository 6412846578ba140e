//! A plan as the sections of an event, and the digest that approvals bind to (`schemas::plan`).

use std::collections::BTreeMap;

use schemas::ids::ChangeClass;
use serde_json::{Map, Value, json};

use crate::argv;
use crate::build::Sections;
use crate::catalogue::{Tool, When};

use super::{Check, Graph, Plan, Prerequisite, Simulation, Step, Wave};

impl Plan {
    /// The commands as lines, in order.
    pub fn commands(&self) -> Vec<String> {
        self.steps.iter().map(|step| argv::render(&step.argv)).collect()
    }

    /// The rollback as lines, in order.
    pub fn rollback_commands(&self) -> Vec<String> {
        self.rollback.iter().map(|undo| argv::render(&undo.argv)).collect()
    }

    /// Its dependency graph.
    pub fn graph(&self) -> Graph {
        Graph::new(&self.steps)
    }

    /// Whether its commands may run as they stand: no placeholder is left.
    pub fn is_executable(&self) -> bool {
        self.placeholders.is_empty()
    }

    /// `sha256:…` over the whole plan, as the ledger computes it of the event.
    pub fn digest(&self) -> String {
        let mut event = self.undigested();
        event.extend(self.fields());
        let payload = json!({ "provisioning_event": event }).to_string();
        // There is a plan in it, so there is a digest.
        schemas::plan::digest(payload.as_bytes()).unwrap_or_default()
    }

    /// Sections `target`, `plan` and `rollback` of an event of phase plan.
    pub fn sections(&self) -> Sections {
        let mut sections = Sections::new();
        for (name, value) in self.members() {
            sections.add(&name, value);
        }
        sections
    }

    /// The plan as one JSON document: its sections, with the event's environment and class, which its digest covers.
    pub fn document(&self) -> Value {
        let mut document = self.members();
        document.extend(self.fields());
        Value::Object(document)
    }

    fn fields(&self) -> impl Iterator<Item = (String, Value)> {
        let class = self.class.map(ChangeClass::as_str);
        let fields = [("environment", self.environment.as_deref()), ("change_class", class)];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
    }

    fn members(&self) -> Map<String, Value> {
        let mut members = self.undigested();
        if let Some(plan) = members.get_mut("plan").and_then(Value::as_object_mut) {
            plan.insert("digest".to_owned(), self.digest().into());
        }
        members
    }

    fn undigested(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("target".to_owned(), self.target());
        members.insert("plan".to_owned(), self.plan());
        members.insert("rollback".to_owned(), self.rollback());
        members
    }

    fn target(&self) -> Value {
        let resources: Vec<Value> = self
            .resources
            .iter()
            .map(|resource| {
                let mut members: Map<String, Value> =
                    resource.said.iter().map(|(field, value)| (field.clone(), value.as_str().into())).collect();
                members.insert("type".to_owned(), resource.kind.as_str().into());
                // What is made is the rule; the model's example does not say it.
                if resource.action.kind() != "create" {
                    members.insert("action".to_owned(), resource.action.kind().into());
                }
                Value::Object(members)
            })
            .collect();
        object([
            ("cloud", text(self.cloud.as_ref())),
            ("cluster_endpoint_id", text(self.endpoint.as_ref())),
            ("resources", Some(resources.into())),
        ])
    }

    fn plan(&self) -> Value {
        let impact = object([("description", joined(&self.impact)), ("security", joined(&self.security))]);
        let placeholders: Vec<Value> = self
            .placeholders
            .iter()
            .map(|one| json!({"resource": one.resource, "field": one.field, "shown": one.shown}))
            .collect();
        let quotas: Vec<Value> = self
            .quotas
            .iter()
            .map(|quota| {
                let read = quota.read.as_deref().map(|argv| argv::render(argv).into());
                object([
                    ("name", Some(quota.name.as_str().into())),
                    ("units", Some(quota.units.into())),
                    ("read", read),
                    ("resources", Some(quota.by.clone().into())),
                ])
            })
            .collect();
        object([
            ("digest_version", Some(schemas::plan::WHOLE.into())),
            ("commands", Some(self.commands().into())),
            ("resources_needed", Some(self.needed.iter().map(prerequisite).collect())),
            ("approvals", list(&self.approvals)),
            ("dependency_graph", Some(self.graph().json())),
            ("steps", Some(self.steps.iter().map(step).collect())),
            ("tools", Some(self.tools.iter().map(tool).collect())),
            ("catalogue", Some(self.catalogue.as_str().into())),
            ("impact", Some(impact).filter(|impact| impact != &json!({}))),
            ("window", self.window.clone()),
            ("window_notes", list(&self.window_notes)),
            ("variant", self.variant.map(|variant| variant.as_str().into())),
            ("waves", Some(self.waves.iter().map(wave).collect()).filter(|_| !self.waves.is_empty())),
            ("cost", Some(self.cost_value())),
            ("quota", Some(Value::Array(quotas)).filter(|_| !self.quotas.is_empty())),
            ("simulation", self.simulation.as_ref().map(simulation)),
            ("placeholders", Some(Value::Array(placeholders)).filter(|_| !self.placeholders.is_empty())),
        ])
    }

    fn rollback(&self) -> Value {
        let left = pairs(&self.left, ["step", "reason"]);
        object([
            ("available", Some((!self.rollback.is_empty()).into())),
            ("plan", Some(self.rollback_commands().into())),
            ("left", Some(left).filter(|_| !self.left.is_empty())),
        ])
    }

    fn cost_value(&self) -> Value {
        let items: Vec<Value> = self
            .cost
            .items
            .iter()
            .map(|(resource, cents, note)| json!({"resource": resource, "monthly_usd_cents": cents, "note": note}))
            .collect();
        object([
            ("monthly_usd_cents", Some(self.cost.monthly_cents.into())),
            ("items", Some(items.into())),
            ("unknown", list(&self.cost.unknown)),
        ])
    }
}

fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn text(value: Option<&String>) -> Option<Value> {
    value.map(|value| value.as_str().into())
}

fn list(values: &[String]) -> Option<Value> {
    (!values.is_empty()).then(|| values.to_vec().into())
}

fn joined(sentences: &[String]) -> Option<Value> {
    (!sentences.is_empty()).then(|| sentences.join(" ").into())
}

fn pairs(pairs: &[(String, String)], [a, b]: [&str; 2]) -> Value {
    pairs.iter().map(|(one, other)| json!({a: one, b: other})).collect()
}

/// How a check is read: nothing for an exit code of 0 alone.
fn when(when: &When) -> (&'static str, Option<Value>) {
    match when {
        When::Success => ("prints", None),
        When::Prints(text) => ("prints", Some(text.as_str().into())),
        When::PrintsOtherThan(text) => ("prints_other_than", Some(text.as_str().into())),
    }
}

fn tool(tool: &Tool) -> Value {
    let check: Vec<String> = [tool.program.clone()].into_iter().chain(tool.version_check.iter().cloned()).collect();
    object([
        ("name", Some(tool.program.as_str().into())),
        ("version", Some(tool.version.as_str().into())),
        ("sha256", tool.sha256.as_deref().map(Into::into)),
        ("check", Some(argv::render(&check).into()).filter(|_| !tool.version_check.is_empty())),
    ])
}

fn check(check: &Check) -> Value {
    object([
        ("command", Some(argv::render(&check.argv).into())),
        when(&check.when),
        ("absent_code", check.absent.code.map(Into::into)),
        ("absent_says", check.absent.says.as_deref().map(Into::into)),
        ("then", Some(check.then.into())),
    ])
}

fn step(step: &Step) -> Value {
    let depends_on: Vec<Value> = step.depends_on.iter().map(|(id, _)| id.as_str().into()).collect();
    object([
        ("id", Some(step.id.as_str().into())),
        ("action", Some(step.action.into())),
        ("argv", Some(step.argv.clone().into())),
        ("check", Some(check(&step.check))),
        ("read_back", Some(argv::render(&step.read_back).into())),
        ("rollout", step.rollout.as_deref().map(|argv| argv::render(argv).into())),
        ("dry_run", step.dry_run.as_deref().map(|argv| argv::render(argv).into())),
        ("depends_on", Some(Value::Array(depends_on)).filter(|list| list != &json!([]))),
    ])
}

fn prerequisite(needed: &Prerequisite) -> Value {
    object([
        ("type", Some(needed.kind.as_str().into())),
        ("name", Some(needed.name.as_str().into()).filter(|_| !needed.name.is_empty())),
        ("needed_by", Some(needed.by.clone().into())),
        ("check", needed.check.as_deref().map(|argv| argv::render(argv).into())),
        when(&needed.when),
        ("how", Some(needed.how.as_str().into())),
    ])
}

fn wave(wave: &Wave) -> Value {
    json!({"name": wave.name, "percent": wave.percent, "steps": wave.steps, "gate": {"read_back": wave.gate}})
}

fn simulation(told: &Simulation) -> Value {
    let differs: Vec<Value> = told
        .differs
        .iter()
        .map(|(resource, field, there, wanted)| json!({"resource": resource, "field": field, "there": there, "wanted": wanted}))
        .collect();
    let affected: BTreeMap<&String, Vec<&String>> =
        told.affected.iter().map(|(who, what)| (who, what.iter().collect())).collect();
    let mut document = json!({
        "skipped": pairs(&told.skipped, ["step", "reason"]),
        "runs": told.runs,
        "differs": differs,
        "missing": pairs(&told.missing, ["resource", "how"]),
        "after": told.after,
        "affected": affected,
    });
    if !told.unknown.is_empty() {
        document["unknown"] = pairs(&told.unknown, ["resource", "reason"]);
    }
    document
}

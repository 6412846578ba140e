//! Commands: each resource's step with its check, read-back and dry run, what takes it back, and the guard over all of them.

use std::collections::BTreeMap;

use crate::argv;
use crate::catalogue::{Catalogue, Template, Type};
use crate::request::Action;

use super::resolve::{Resolved, command};
use super::waves::Twin;
use super::{Check, Existing, Placeholder, Problem, Resource, Step, Undo};

/// Steps with what takes them back.
pub(super) struct Steps {
    pub(super) all: Vec<Step>,
    /// For each step its way back, or why there is none.
    undo: Vec<Result<Vec<String>, String>>,
    pub(super) rollback: Vec<Undo>,
    pub(super) left: Vec<(String, String)>,
    pub(super) placeholders: Vec<Placeholder>,
}

/// The steps of resolved resources, and those that a switch of twins adds.
pub(super) fn of(
    catalogue: &Catalogue,
    resolved: &Resolved,
    existing: Option<&Existing>,
    twins: &[Twin],
) -> Result<Steps, Vec<Problem>> {
    let mut maker = Maker { catalogue, existing, problems: Vec::new() };
    let mut made =
        Steps { all: Vec::new(), undo: Vec::new(), rollback: Vec::new(), left: Vec::new(), placeholders: Vec::new() };
    for (at, resource) in resolved.resources.iter().enumerate() {
        let Some(kind) = catalogue.types.get(&resource.kind) else { continue };
        let mut step = maker.step(kind, resource);
        for (_, to, by) in resolved.edges.iter().filter(|(from, ..)| *from == at) {
            step.depends_on.push((resolved.resources[*to].id.clone(), by.clone()));
        }
        made.undo.push(maker.undo(kind, resource));
        made.all.push(step);
        made.placeholders.extend(placeholders(kind, resource));
    }
    for twin in twins {
        let Some(resource) = resolved.resources.iter().find(|resource| resource.id == twin.id()) else { continue };
        maker.switch(twin, resource, &mut made);
    }
    if maker.problems.is_empty() { Ok(made) } else { Err(maker.problems) }
}

impl Steps {
    /// Puts the steps into this order, and what takes them back into the opposite one.
    pub(super) fn put_in_order(&mut self, order: &[usize]) {
        let mut steps: Vec<Option<Step>> = std::mem::take(&mut self.all).into_iter().map(Some).collect();
        self.all = order.iter().filter_map(|at| steps[*at].take()).collect();
        for (step, at) in self.all.iter().zip(order).rev() {
            match &self.undo[*at] {
                Ok(argv) => self.rollback.push(Undo { step: step.id.clone(), argv: argv.clone() }),
                Err(reason) => self.left.push((step.id.clone(), reason.clone())),
            }
        }
    }
}

struct Maker<'a> {
    catalogue: &'a Catalogue,
    existing: Option<&'a Existing>,
    problems: Vec<Problem>,
}

impl Maker<'_> {
    fn step(&mut self, kind: &Type, resource: &Resource) -> Step {
        let values = &resource.values;
        let then = match resource.action {
            Action::Create => "skip if it is there",
            Action::Delete => "skip if it is not there",
            Action::Update(_) => "halt if it is not there",
        };
        let check = self.rendered(&kind.exists.command, values, &resource.id, "exists");
        let dry_run = kind.dry_run.as_ref().filter(|_| resource.action == Action::Create);
        let rollout = kind.rollout.as_ref().filter(|_| resource.action != Action::Delete);
        let argv = command(kind, &resource.action)
            .map(|template| self.rendered(template, values, &resource.id, resource.action.as_str()))
            .unwrap_or_default();
        Step {
            id: resource.id.clone(),
            action: resource.action.kind(),
            argv,
            check: Check { argv: check, when: kind.exists.when.clone(), absent: kind.exists.absent.clone(), then },
            read_back: self.rendered(&kind.read_back, values, &resource.id, "read_back"),
            rollout: rollout.map(|template| self.rendered(template, values, &resource.id, "rollout")),
            dry_run: dry_run.map(|template| self.rendered(template, values, &resource.id, "dry_run")),
            depends_on: Vec::new(),
        }
    }

    /// The command with its values, as the guard lets it through.
    fn rendered(
        &mut self,
        template: &Template,
        values: &BTreeMap<String, String>,
        resource: &str,
        what: &str,
    ) -> Vec<String> {
        let argv = match template.render(&self.catalogue.program(&template.tool), values) {
            Ok(argv) => argv,
            Err(missing) => {
                let expected = format!("values for {}", missing.join(", "));
                self.problems.push(Problem::new(resource, what, "nothing", expected));
                return Vec::new();
            }
        };
        let expected = "a command that the guard lets through";
        match argv::parse(&argv::render(&argv), self.catalogue) {
            Ok(pipeline) if pipeline.commands == [argv.as_slice()] => {}
            Ok(_) => self.problems.push(Problem::new(resource, what, "a pipeline", expected)),
            Err(refusal) => self.problems.push(Problem::new(resource, what, refusal.to_string(), expected)),
        }
        argv
    }

    /// What takes a step back: what was made is deleted, what was set is set as it was; what was deleted does not come back.
    fn undo(&mut self, kind: &Type, resource: &Resource) -> Result<Vec<String>, String> {
        match &resource.action {
            Action::Create => {
                let before = self.existing.and_then(|existing| existing.find(&resource.kind, &resource.values["name"]));
                if before.is_some() {
                    return Err("it was there before".to_owned());
                }
                if let Some(reason) = &kind.keep {
                    return Err(reason.clone());
                }
                let missing = |fields: Vec<String>| format!("{} is known only after it was made", fields.join(", "));
                // The problem of a guard that refuses is told; that of a value which comes later is no problem of the plan.
                kind.delete.render("", &resource.values).map_err(missing)?;
                Ok(self.rendered(&kind.delete, &resource.values, &resource.id, "delete"))
            }
            Action::Delete => Err("what was in it does not come back".to_owned()),
            Action::Update(name) => {
                let Some(update) = kind.updates.get(name) else { return Err(String::new()) };
                let known = self.existing.and_then(|existing| existing.find(&resource.kind, &resource.values["name"]));
                let mut before = resource.values.clone();
                for field in &update.sets {
                    let Some(value) = known.and_then(|known| known.fields.get(field)) else {
                        return Err(format!("its {field} before is not known to the plan"));
                    };
                    before.insert(field.clone(), value.clone());
                }
                Ok(self.rendered(&update.command, &before, &resource.id, name))
            }
        }
    }

    /// Points users at the new twin, and removes the old one.
    fn switch(&mut self, twin: &Twin, resource: &Resource, made: &mut Steps) {
        let Some(kind) = self.catalogue.types.get(&twin.kind) else { return };
        let Some(switch) = &kind.switch else { return };
        let Some(new) = made.all.iter().find(|step| step.id == resource.id).cloned() else { return };
        let values = |twin_name: &str| {
            let mut values = resource.values.clone();
            values.insert("name".to_owned(), twin.base.clone());
            values.insert("twin".to_owned(), twin_name.to_owned());
            values
        };
        let id = format!("{}/{}#switch", twin.kind, twin.base);
        let argv = self.rendered(switch, &values(&twin.new), &id, "switch");
        let back = twin.old.as_ref().map(|old| self.rendered(switch, &values(old), &id, "switch"));
        made.all.push(Step {
            id: id.clone(),
            action: "update",
            argv,
            check: Check { then: "halt if it is not there", ..new.check.clone() },
            read_back: new.read_back.clone(),
            rollout: new.rollout.clone(),
            dry_run: None,
            depends_on: vec![(new.id.clone(), "twin".to_owned())],
        });
        made.undo.push(back.ok_or_else(|| "there was no twin before".to_owned()));
        let Some(old) = &twin.old else { return };
        let retired = Resource {
            id: format!("{}/{old}#retire", twin.kind),
            action: Action::Delete,
            values: [resource.values.clone(), [("name".to_owned(), old.clone())].into()]
                .into_iter()
                .flatten()
                .collect(),
            ..resource.clone()
        };
        let mut step = self.step(kind, &retired);
        step.depends_on.push((id, "switch".to_owned()));
        made.all.push(step);
        made.undo.push(self.undo(kind, &retired));
    }
}

/// Placeholders that stand in a command of the resource, or in what takes it back.
fn placeholders(kind: &Type, resource: &Resource) -> Vec<Placeholder> {
    let undo = (resource.action == Action::Create && kind.keep.is_none()).then_some(&kind.delete);
    let templates =
        [&kind.exists.command, &kind.read_back].into_iter().chain(command(kind, &resource.action)).chain(undo);
    let used: Vec<&str> = templates.flat_map(|template| template.fields()).map(|(field, _)| field).collect();
    let stands = |(name, field): (&String, &crate::catalogue::Field)| {
        let shown = field.placeholder.as_ref().filter(|_| field.default.is_none())?;
        let is_said = resource.said.contains_key(name);
        (!is_said && used.contains(&name.as_str())).then(|| Placeholder {
            resource: resource.id.clone(),
            field: name.clone(),
            shown: shown.clone(),
        })
    };
    kind.fields.iter().filter_map(stands).collect()
}

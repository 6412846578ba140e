//! What has to be looked at so that a plan can be gone through over what is there: commands of the catalogue that only look, and what their answers make known.
//!
//! Left out: running them, and going through the plan ([`super::existing`]).

use std::collections::BTreeMap;

use crate::catalogue::{Absent, Catalogue};
use crate::preflight::{Answers, Look, Presence};
use crate::request::{Action, Request, Variant, words};

use super::{Check, Existing, Plan, plan, waves};

/// A look at one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Its type, or the role that it plays.
    pub kind: String,
    /// Its name; empty for a role of which nobody said which.
    pub name: String,
    /// Says whether it is there.
    pub look: Look,
}

impl Glance {
    /// `type/name`, or the role alone: names its answer.
    pub fn id(&self) -> String {
        super::existing::label(&self.kind, &self.name)
    }
}

/// What of looks is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sight {
    /// What is there.
    pub existing: Existing,
    /// Of what nobody could say whether it is there, by `type/name`, and why.
    pub unknown: BTreeMap<String, String>,
}

/// The looks that a simulation of a plan wants, each resource once: what steps act on, and what has to be there before.
pub fn of_plan(made: &Plan) -> Vec<Glance> {
    let mut all: BTreeMap<(String, String), Look> = BTreeMap::new();
    for step in &made.steps {
        let Some((kind, rest)) = step.id.split_once('/') else { continue };
        // A switch is of the name that twins share, and asks for the twin that is made before it.
        let (name, action) = rest.split_once('#').unwrap_or((rest, ""));
        if action != "switch" {
            all.insert((kind.to_owned(), name.to_owned()), look(&step.check));
        }
    }
    for needed in &made.needed {
        if let Some(argv) = &needed.check {
            let look = Look { argv: argv.clone(), when: needed.when.clone(), absent: Absent::default() };
            all.entry((needed.kind.clone(), needed.name.clone())).or_insert(look);
        }
    }
    all.into_iter().map(|((kind, name), look)| Glance { kind, name, look }).collect()
}

/// The looks that decide which twin a blue-green plan makes; none of any other request. What is wrong with the request is for [`plan`] to tell.
pub fn of_twins(catalogue: &Catalogue, request: &Request) -> Vec<Glance> {
    let understood = request.words.as_ref().and_then(|text| words::compile(text, catalogue).ok());
    let variant = request.variant.or_else(|| understood.as_ref().and_then(|understood| understood.variant));
    if variant != Some(Variant::BlueGreen) {
        return Vec::new();
    }
    let wanted = request.resources.iter().cloned().chain(understood.into_iter().flat_map(|said| said.wanted));
    let mut all = Vec::new();
    for resource in wanted {
        let switches = catalogue.types.get(&resource.kind).is_some_and(|kind| kind.switch.is_some());
        if !switches || resource.action != Action::Create {
            continue;
        }
        for name in waves::twin_names(resource.name()) {
            let mut twin = resource.clone();
            twin.fields.insert("name".to_owned(), name.clone());
            twin.depends_on.clear();
            let alone = Request { resources: vec![twin], ..Request::default() };
            let Ok(made) = plan(catalogue, &alone, None) else { continue };
            let id = format!("{}/{name}", resource.kind);
            let step = made.steps.into_iter().find(|step| step.id == id);
            all.extend(step.map(|step| Glance { kind: resource.kind.clone(), name, look: look(&step.check) }));
        }
    }
    all
}

impl Sight {
    /// Adds what was seen to what is known already: what was just looked at wins.
    pub fn see(&mut self, glances: &[Glance], answers: &Answers) {
        for glance in glances {
            let presence = answers.get(&glance.id()).map(|answer| answer.presence(&glance.look));
            match presence.unwrap_or_else(|| Presence::Unknown("no answer".to_owned())) {
                Presence::There => self.existing.add(&glance.kind, &glance.name),
                Presence::Absent => self.existing.remove(&glance.kind, &glance.name),
                Presence::Unknown(why) => drop(self.unknown.insert(glance.id(), why)),
            }
        }
    }
}

fn look(check: &Check) -> Look {
    Look { argv: check.argv.clone(), when: check.when.clone(), absent: check.absent.clone() }
}

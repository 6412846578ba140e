//! What is there already, as a file says, and what a plan would do over it: the simulation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::request::json::{JsonError, Place, resource};

use super::{Plan, Step};

/// Resources that are there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Existing {
    resources: BTreeMap<(String, String), Known>,
}

/// One resource that is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Its fields.
    pub fields: BTreeMap<String, String>,
    /// Who owns it.
    pub owner: Option<String>,
    /// Who uses it.
    pub used_by: Vec<String>,
}

/// What a plan would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Simulation {
    /// Steps that have nothing to do, and why.
    pub skipped: Vec<(String, String)>,
    /// Steps that would run, in order.
    pub runs: Vec<String>,
    /// Resources that are there but differ from what is wanted: resource, field, what is there, what is wanted.
    pub differs: Vec<(String, String, String, String)>,
    /// Prerequisites that are not there, with what to do.
    pub missing: Vec<(String, String)>,
    /// Of what nobody could say whether it is there, and why: it is taken for not there.
    pub unknown: Vec<(String, String)>,
    /// What is there afterwards: `type/name` with its fields.
    pub after: BTreeMap<String, BTreeMap<String, String>>,
    /// Who is affected, and by what.
    pub affected: BTreeMap<String, BTreeSet<String>>,
}

impl Existing {
    /// Reads `[{"type", "name", …fields, "owner", "used_by": […]}]`, or an object with that list in `resources`.
    pub fn read(bytes: &[u8]) -> Result<Self, JsonError> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| JsonError {
            path: "the document".to_owned(),
            found: format!("no JSON: {error}"),
            expected: "a list of resources".to_owned(),
        })?;
        let whole = if value.is_array() { serde_json::json!({ "resources": value }) } else { value };
        let document = Place { path: String::new(), value: &whole };
        document.object()?;
        let mut resources = BTreeMap::new();
        for place in document.items("resources")? {
            let owner = place.text("owner")?;
            let users = place.items("used_by")?;
            let used_by = users.iter().filter_map(|user| user.value.as_str().map(str::to_owned)).collect();
            let mut bare = place.value.clone();
            if let Some(members) = bare.as_object_mut() {
                members.remove("owner");
                members.remove("used_by");
            }
            let one = resource(&Place { path: place.path.clone(), value: &bare })?;
            let key = (one.kind.clone(), one.name().to_owned());
            resources.insert(key, Known { fields: one.fields, owner, used_by });
        }
        Ok(Self { resources })
    }

    /// One more, of which nothing else is known.
    pub fn add(&mut self, kind: &str, name: &str) {
        let fields = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        let known = Known { fields, ..Known::default() };
        self.resources.entry((kind.to_owned(), name.to_owned())).or_insert(known);
    }

    /// One less.
    pub fn remove(&mut self, kind: &str, name: &str) {
        self.resources.remove(&(kind.to_owned(), name.to_owned()));
    }

    /// As [`Self::read`] reads it, for a digest of what a plan was made from.
    pub fn document(&self) -> Value {
        let one = |((kind, name), known): (&(String, String), &Known)| {
            let mut members: serde_json::Map<String, Value> =
                known.fields.iter().map(|(field, value)| (field.clone(), value.as_str().into())).collect();
            members.insert("type".to_owned(), kind.as_str().into());
            members.insert("name".to_owned(), name.as_str().into());
            members.extend(known.owner.as_ref().map(|owner| ("owner".to_owned(), owner.as_str().into())));
            if !known.used_by.is_empty() {
                members.insert("used_by".to_owned(), known.used_by.clone().into());
            }
            Value::Object(members)
        };
        self.resources.iter().map(one).collect()
    }

    /// The resource of this type and name.
    pub fn find(&self, kind: &str, name: &str) -> Option<&Known> {
        self.resources.get(&(kind.to_owned(), name.to_owned()))
    }
}

/// Goes through a plan over what is there.
pub(super) fn simulate(
    catalogue: &Catalogue,
    plan: &Plan,
    existing: &Existing,
    unknown: &BTreeMap<String, String>,
) -> Simulation {
    let unknown = unknown.iter().map(|(id, why)| (id.clone(), why.clone())).collect();
    let told = Simulation { unknown, ..Simulation::default() };
    let mut run = Run { catalogue, plan, existing, now: existing.resources.clone(), told };
    for step in &plan.steps {
        run.step(step);
    }
    run.prerequisites();
    let Run { now, mut told, .. } = run;
    told.after = now.into_iter().map(|((kind, name), known)| (label(&kind, &name), known.fields)).collect();
    told
}

/// `type/name`; a role without a name is any that plays it.
pub(super) fn label(kind: &str, name: &str) -> String {
    if name.is_empty() { kind.to_owned() } else { format!("{kind}/{name}") }
}

struct Run<'a> {
    catalogue: &'a Catalogue,
    plan: &'a Plan,
    existing: &'a Existing,
    now: BTreeMap<(String, String), Known>,
    told: Simulation,
}

impl Run<'_> {
    fn step(&mut self, step: &Step) {
        let Some((kind, rest)) = step.id.split_once('/') else { return };
        // Names hold no `#`, so that what follows one is the action.
        let name = rest.split('#').next().unwrap_or(rest);
        let key = (kind.to_owned(), name.to_owned());
        let is_there = self.now.contains_key(&key);
        let wanted = self.plan.resources.iter().find(|resource| resource.id == step.id);
        match (step.action, is_there) {
            ("create", true) => {
                self.told.skipped.push((step.id.clone(), "it is there".to_owned()));
                let known = &self.now[&key].fields;
                let said = wanted.map(|wanted| &wanted.said);
                for (field, value) in said.into_iter().flatten() {
                    if let Some(found) = known.get(field).filter(|found| *found != value) {
                        self.told.differs.push((step.id.clone(), field.clone(), found.clone(), value.clone()));
                    }
                }
                return;
            }
            ("create", false) => {
                let fields = wanted.map(|wanted| wanted.values.clone()).unwrap_or_default();
                self.now.insert(key, Known { fields, ..Known::default() });
            }
            ("delete", false) => return self.told.skipped.push((step.id.clone(), "it is not there".to_owned())),
            ("delete", true) => {
                self.affect(&key, "is deleted");
                self.now.remove(&key);
            }
            (_, true) => {
                self.affect(&key, "is changed");
                if let (Some(wanted), Some(known)) = (wanted, self.now.get_mut(&key)) {
                    known.fields.extend(wanted.said.clone());
                }
            }
            // A switch is of the name that twins share: nothing of that name has to be there.
            (_, false) if step.id.ends_with("#switch") => {}
            (_, false) => {
                let how = "there is nothing to change: create it first";
                self.told.missing.push((format!("{kind}/{name}"), how.to_owned()));
            }
        }
        self.told.runs.push(step.id.clone());
    }

    /// Its owner, its users, and whatever else refers to it.
    fn affect(&mut self, key: &(String, String), what: &str) {
        let label = format!("{}/{}", key.0, key.1);
        let text = format!("{label} {what}");
        let Some(known) = self.existing.resources.get(key) else { return };
        let mut tell = |who: &str| {
            self.told.affected.entry(who.to_owned()).or_default().insert(text.clone());
        };
        known.owner.iter().chain(&known.used_by).for_each(|who| tell(who));
        for ((kind, name), other) in &self.existing.resources {
            let Some(spec) = self.catalogue.types.get(kind) else { continue };
            let refers = spec.fields.iter().any(|(field, spec)| {
                spec.refers_to.as_ref() == Some(&key.0) && other.fields.get(field) == Some(&key.1)
            });
            if refers {
                tell(&format!("{kind}/{name}"));
                other.owner.iter().chain(&other.used_by).for_each(|who| tell(who));
            }
        }
    }

    fn prerequisites(&mut self) {
        for needed in &self.plan.needed {
            let by_role =
                |kind: &str| self.catalogue.types.get(kind).is_some_and(|kind| kind.provides.contains(&needed.kind));
            let is_role = self.catalogue.roles.contains_key(&needed.kind);
            let is_there = self.existing.resources.keys().any(|(kind, name)| {
                let fits = *name == needed.name || needed.name.is_empty();
                if is_role { fits && (by_role(kind) || *kind == needed.kind) } else { *kind == needed.kind && fits }
            });
            let label = label(&needed.kind, &needed.name);
            let (missing, unknown) = (&self.told.missing, &self.told.unknown);
            let told = missing.iter().chain(unknown).any(|(known, _)| *known == label);
            if !is_there && !told {
                self.told.missing.push((label, needed.how.clone()));
            }
        }
    }
}

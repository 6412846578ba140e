//! Values: what was said is checked, what is implied is added, what refers to something becomes a dependency or a prerequisite.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::{Catalogue, Field, Template, Type, When};
use crate::request::{Action, Request, Wanted};

use super::{Prerequisite, Problem, Resource};

/// Resources with their values, in the order of the request; implied ones before those that imply them.
pub(super) struct Resolved {
    pub(super) resources: Vec<Resource>,
    /// From who depends, to whom, by which field; places in `resources`.
    pub(super) edges: Vec<(usize, usize, String)>,
    pub(super) needed: Vec<Prerequisite>,
}

/// Resolves a request, or tells everything that is wrong with it.
pub(super) fn resolve(catalogue: &Catalogue, request: &Request) -> Result<Resolved, Vec<Problem>> {
    let mut resolver = Resolver { catalogue, resources: Vec::new(), problems: Vec::new(), needed: BTreeMap::new() };
    for wanted in &request.resources {
        resolver.add(wanted);
    }
    if resolver.problems.is_empty() {
        resolver.imply();
        resolver.fill();
    }
    let edges = if resolver.problems.is_empty() { resolver.connect(request) } else { Vec::new() };
    if !resolver.problems.is_empty() {
        return Err(resolver.problems);
    }
    Ok(Resolved { resources: resolver.resources, edges, needed: resolver.needed.into_values().collect() })
}

struct Resolver<'a> {
    catalogue: &'a Catalogue,
    resources: Vec<Resource>,
    problems: Vec<Problem>,
    needed: BTreeMap<(String, String), Prerequisite>,
}

impl<'a> Resolver<'a> {
    fn problem(&mut self, resource: &str, field: &str, found: impl Into<String>, expected: impl Into<String>) {
        self.problems.push(Problem::new(resource, field, found, expected));
    }

    fn kind(&self, name: &str) -> Option<&'a Type> {
        self.catalogue.types.get(name)
    }

    fn add(&mut self, wanted: &Wanted) {
        let label = format!("{}/{}", wanted.kind, wanted.name());
        let Some(kind) = self.kind(&wanted.kind) else {
            let known: Vec<&str> = self.catalogue.types.keys().map(String::as_str).collect();
            return self.problem(&label, "type", format!("{:?}", wanted.kind), format!("one of {}", known.join(", ")));
        };
        if let Action::Update(update) = &wanted.action
            && !kind.updates.contains_key(update)
        {
            let known: Vec<&str> =
                ["create", "delete"].into_iter().chain(kind.updates.keys().map(String::as_str)).collect();
            return self.problem(&label, "action", format!("{update:?}"), format!("one of {}", known.join(", ")));
        }
        for (name, value) in &wanted.fields {
            match kind.fields.get(name) {
                None => {
                    let known: Vec<&str> = kind.fields.keys().map(String::as_str).collect();
                    self.problem(
                        &label,
                        name,
                        "a field that the type does not have",
                        format!("one of {}", known.join(", ")),
                    );
                }
                Some(field) => {
                    if let Err(expected) = field.check(value) {
                        self.problem(&label, name, format!("{value:?}"), expected);
                    }
                }
            }
        }
        let resource = Resource {
            id: id(&wanted.kind, wanted.name(), &wanted.action),
            kind: wanted.kind.clone(),
            action: wanted.action.clone(),
            said: wanted.fields.clone(),
            values: wanted.fields.clone(),
            implied_by: None,
            depends_on: wanted.depends_on.clone(),
        };
        self.put(resource);
    }

    /// The same wish twice is one; two different wishes for one resource are a mistake.
    fn put(&mut self, resource: Resource) {
        match self.resources.iter().find(|known| known.id == resource.id) {
            None => self.resources.push(resource),
            Some(known) if known.said == resource.said => {}
            Some(known) => {
                let differs = resource.said.iter().find(|(field, value)| known.said.get(*field) != Some(value));
                let field = differs.map_or("fields", |(field, _)| field.as_str()).to_owned();
                self.problem(&resource.id, &field, "two wishes that differ", "one");
            }
        }
    }

    /// References that nobody named, but the catalogue does: `rg-demo` for `aks-demo`.
    fn imply(&mut self) {
        let mut at = 0;
        while at < self.resources.len() {
            let Some(kind) =
                self.kind(&self.resources[at].kind).filter(|_| self.resources[at].action == Action::Create)
            else {
                at += 1;
                continue;
            };
            let mut added = 0;
            for (name, field) in &kind.fields {
                let Some((target, template)) = field.refers_to.as_ref().zip(field.implied.as_ref()) else { continue };
                if !self.resources[at + added].values.contains_key(name) {
                    added += self.imply_one(at + added, kind, name, target, template);
                }
            }
            // What was added may itself imply something: it is looked at next.
            at += usize::from(added == 0);
        }
    }

    /// Gives one reference its value; 1 where a resource was added before.
    fn imply_one(&mut self, at: usize, kind: &Type, name: &str, target: &str, template: &str) -> usize {
        let own = &self.resources[at];
        let derived = template.replace("{stem}", stem(kind, &own.said["name"])).replace("{name}", &own.said["name"]);
        let (place, added) = if let Some(place) = self.made(target, &derived) {
            (place, 0)
        } else {
            let implied_by = Some(own.id.clone());
            self.resources.insert(at, implied(target, &derived, implied_by));
            (at, 1)
        };
        let own = at + added;
        let handed = kind.fields.iter().filter(|(_, field)| field.hand_over.as_deref() == Some(name));
        for (field, _) in handed {
            self.hand_over(own, place, field);
        }
        let value = self.resources[place].values["name"].clone();
        self.resources[own].said.insert(name.to_owned(), value.clone());
        self.resources[own].values.insert(name.to_owned(), value);
        added
    }

    /// The one resource of a type that the request itself makes, else the one that has the derived name already.
    fn made(&self, target: &str, derived: &str) -> Option<usize> {
        let is_made = |resource: &Resource| resource.kind == target && resource.action == Action::Create;
        let made: Vec<usize> = (0..self.resources.len()).filter(|place| is_made(&self.resources[*place])).collect();
        let mut asked_for = made.iter().filter(|place| self.resources[**place].implied_by.is_none());
        match (asked_for.next(), asked_for.next()) {
            (Some(only), None) => Some(*only),
            _ => made.into_iter().find(|place| self.resources[*place].values["name"] == derived),
        }
    }

    /// Moves a value from one resource to another; where that one has a value of its own, ours says something else and stays.
    fn hand_over(&mut self, own: usize, place: usize, field: &str) {
        let Some(said) = self.resources[own].values.get(field).cloned() else { return };
        let taker = &mut self.resources[place];
        if taker.values.get(field).is_none_or(|value| *value == said) {
            taker.said.insert(field.to_owned(), said.clone());
            taker.values.insert(field.to_owned(), said);
            self.resources[own].said.remove(field);
            self.resources[own].values.remove(field);
        }
    }

    /// Defaults and placeholders; what is still missing is a problem.
    fn fill(&mut self) {
        for at in 0..self.resources.len() {
            let Some(kind) = self.kind(&self.resources[at].kind) else { continue };
            for (name, field) in &kind.fields {
                let value = field.default.as_ref().or(field.placeholder.as_ref());
                if let (Some(value), false) = (value, self.resources[at].values.contains_key(name)) {
                    self.resources[at].values.insert(name.clone(), value.clone());
                }
            }
            for name in missing(kind, &self.resources[at]) {
                let resource = &self.resources[at];
                let by = resource.implied_by.as_ref().map(|by| format!(" (implied by {by})")).unwrap_or_default();
                let label = format!("{}{by}", resource.id);
                let expected = how_to_say(&name, &kind.fields[&name]);
                self.problem(&label, &name, "nothing", expected);
            }
        }
    }

    /// Who depends on whom.
    fn connect(&mut self, request: &Request) -> Vec<(usize, usize, String)> {
        let mut edges = BTreeSet::new();
        let place: BTreeMap<String, usize> =
            self.resources.iter().enumerate().map(|(at, resource)| (resource.id.clone(), at)).collect();
        for at in 0..self.resources.len() {
            let Some(kind) = self.kind(&self.resources[at].kind) else { continue };
            self.same_resource(at, &place, &mut edges);
            self.references(at, kind, &place, &mut edges);
            self.role(at, kind, request, &mut edges);
            self.explicit(at, &place, &mut edges);
        }
        for (kind, name) in &request.needed {
            if !place.contains_key(&id(kind, name, &Action::Create)) {
                self.need(kind, name, "the request", &BTreeMap::new());
            }
        }
        edges.into_iter().collect()
    }

    /// Made, then changed; never made and removed in one plan.
    fn same_resource(
        &mut self,
        at: usize,
        place: &BTreeMap<String, usize>,
        edges: &mut BTreeSet<(usize, usize, String)>,
    ) {
        let resource = self.resources[at].clone();
        let name = &resource.values["name"];
        let made = place.get(&id(&resource.kind, name, &Action::Create)).copied();
        match (&resource.action, made) {
            (Action::Update(_), Some(made)) => {
                edges.insert((at, made, "name".to_owned()));
            }
            (Action::Update(_), None) => self.need(&resource.kind, name, &resource.id, &resource.values),
            (Action::Delete, _) => {
                let also = self.resources.iter().find(|other| {
                    other.kind == resource.kind && other.values["name"] == *name && other.action != Action::Delete
                });
                if let Some(also) = also {
                    let found = format!("delete and {}", also.action.as_str());
                    self.problem(&resource.id, "action", found, "one of them in a request");
                }
            }
            (Action::Create, _) => {}
        }
    }

    fn references(
        &mut self,
        at: usize,
        kind: &Type,
        place: &BTreeMap<String, usize>,
        edges: &mut BTreeSet<(usize, usize, String)>,
    ) {
        let resource = self.resources[at].clone();
        for (field, spec) in &kind.fields {
            let Some((target, name)) = spec.refers_to.as_ref().zip(resource.values.get(field)) else { continue };
            if self.catalogue.roles.contains_key(target) {
                self.need(target, name, &resource.id, &resource.values);
                continue;
            }
            let made = place.get(&id(target, name, &Action::Create)).copied();
            let removed = place.get(&id(target, name, &Action::Delete)).copied();
            match (&resource.action, made, removed) {
                (Action::Delete, _, Some(removed)) => {
                    edges.insert((removed, at, field.clone()));
                }
                (Action::Delete, _, None) => {}
                (_, Some(made), _) => {
                    edges.insert((at, made, field.clone()));
                }
                (_, None, Some(_)) => {
                    let found = format!("{target}/{name}, which the same request deletes");
                    self.problem(&resource.id, field, found, "something that stays");
                }
                (_, None, None) => self.need(target, name, &resource.id, &resource.values),
            }
        }
    }

    fn role(&mut self, at: usize, kind: &Type, request: &Request, edges: &mut BTreeSet<(usize, usize, String)>) {
        let Some(role) = &kind.runs_on else { return };
        let provides = |resource: &Resource| {
            self.catalogue.types.get(&resource.kind).is_some_and(|kind| kind.provides.contains(role))
        };
        let places = |action: &Action| -> Vec<usize> {
            (0..self.resources.len())
                .filter(|place| provides(&self.resources[*place]) && self.resources[*place].action == *action)
                .collect()
        };
        let resource = &self.resources[at];
        if resource.action == Action::Delete {
            edges.extend(places(&Action::Delete).into_iter().map(|removed| (removed, at, "runs_on".to_owned())));
            return;
        }
        let made = places(&Action::Create);
        if made.is_empty() {
            let said = resource.values.get("cluster").or(request.endpoint.as_ref()).cloned().unwrap_or_default();
            let by = resource.id.clone();
            return self.need(role, &said, &by, &BTreeMap::new());
        }
        edges.extend(made.into_iter().map(|made| (at, made, "runs_on".to_owned())));
    }

    fn explicit(&mut self, at: usize, place: &BTreeMap<String, usize>, edges: &mut BTreeSet<(usize, usize, String)>) {
        let resource = self.resources[at].clone();
        for other in &resource.depends_on {
            if let Some(other) = place.get(other) {
                edges.insert((at, *other, "depends_on".to_owned()));
                continue;
            }
            let known: Vec<&str> = place.keys().map(String::as_str).collect();
            let expected = format!("one of {}", known.join(", "));
            self.problem(&resource.id, "depends_on", format!("{other:?}"), expected);
        }
    }

    /// `values` are those of whoever needs it: what it shares with it (a namespace, a region) is said only once.
    fn need(&mut self, kind: &str, name: &str, by: &str, values: &BTreeMap<String, String>) {
        let key = (kind.to_owned(), name.to_owned());
        if let Some(known) = self.needed.get_mut(&key) {
            if !known.by.iter().any(|other| other == by) {
                known.by.push(by.to_owned());
            }
            return;
        }
        let Some(mut prerequisite) = self.prerequisite(kind, name, values) else {
            let found = format!("a prerequisite of type {kind:?}");
            let known: Vec<&str> =
                self.catalogue.types.keys().chain(self.catalogue.roles.keys()).map(String::as_str).collect();
            let expected = format!("a type or role of the catalogue, so that it can be checked: {}", known.join(", "));
            return self.problem(&format!("{kind}/{name}"), "resources_needed", found, expected);
        };
        prerequisite.by.push(by.to_owned());
        self.needed.insert(key, prerequisite);
    }

    fn prerequisite(&self, kind: &str, name: &str, values: &BTreeMap<String, String>) -> Option<Prerequisite> {
        let mut values = values.clone();
        values.insert("name".to_owned(), name.to_owned());
        let render = |template: &Template| template.render(&self.catalogue.program(&template.tool), &values).ok();
        let (check, when, how) = if let Some(role) = self.catalogue.roles.get(kind) {
            (render(&role.check), When::Success, role.how.clone())
        } else {
            let kind = self.kind(kind)?;
            let how = format!("create it in the same request: create {} {name}", kind.words[0]);
            (render(&kind.exists.command), kind.exists.when.clone(), how)
        };
        Some(Prerequisite { kind: kind.to_owned(), name: name.to_owned(), by: Vec::new(), check, when, how })
    }
}

/// `type/name`, with what becomes of it where it is not made.
pub(super) fn id(kind: &str, name: &str, action: &Action) -> String {
    match action {
        Action::Create => format!("{kind}/{name}"),
        other => format!("{kind}/{name}#{}", other.as_str()),
    }
}

fn implied(kind: &str, name: &str, implied_by: Option<String>) -> Resource {
    let fields: BTreeMap<String, String> = [("name".to_owned(), name.to_owned())].into();
    Resource {
        id: id(kind, name, &Action::Create),
        kind: kind.to_owned(),
        action: Action::Create,
        said: fields.clone(),
        values: fields,
        implied_by,
        depends_on: Vec::new(),
    }
}

/// A name without the prefix that names of its type often have.
fn stem<'a>(kind: &Type, name: &'a str) -> &'a str {
    let without = kind.prefixes.iter().find_map(|prefix| name.strip_prefix(prefix.as_str())?.strip_prefix('-'));
    without.filter(|stem| !stem.is_empty()).unwrap_or(name)
}

/// Fields without which the resource's commands can't be written.
fn missing(kind: &Type, resource: &Resource) -> BTreeSet<String> {
    let mut needed: BTreeSet<&str> = BTreeSet::from(["name"]);
    for template in [&kind.exists.command, &kind.read_back].into_iter().chain(command(kind, &resource.action)) {
        needed.extend(template.fields().into_iter().filter(|(_, needed)| *needed).map(|(field, _)| field));
    }
    if resource.action == Action::Create {
        needed.extend(kind.fields.iter().filter(|(_, field)| field.required).map(|(name, _)| name.as_str()));
    }
    let mut missing: BTreeSet<String> =
        needed.into_iter().filter(|field| !resource.values.contains_key(*field)).map(str::to_owned).collect();
    // A default is no wish: what an update sets has to be said.
    if let Action::Update(name) = &resource.action {
        let sets = kind.updates.get(name).map_or(&[][..], |update| &update.sets);
        missing.extend(sets.iter().filter(|field| !resource.said.contains_key(*field)).cloned());
    }
    missing
}

/// The command of an action.
pub(super) fn command<'a>(kind: &'a Type, action: &Action) -> Option<&'a Template> {
    match action {
        Action::Create => Some(&kind.create),
        Action::Delete => Some(&kind.delete),
        Action::Update(name) => kind.updates.get(name).map(|update| &update.command),
    }
}

fn how_to_say(name: &str, field: &Field) -> String {
    let said = field.phrases.first().map(|phrase| format!("; say “{}”", phrase.replace("{}", &name.to_uppercase())));
    format!("{}{}", field.form, said.unwrap_or_default())
}

//! What is said beside the commands: impact, security, the window, cost and quota. Hints of the catalogue, never facts.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::argv;
use crate::catalogue::{Catalogue, Type};
use crate::request::{Action, Request};

use super::Resource;

/// A monthly cost, in hundredths of a US dollar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// Of all items.
    pub monthly_cents: u64,
    /// Resource, its cost, and what that was taken from.
    pub items: Vec<(String, u64, String)>,
    /// New resources for which the catalogue has no hint.
    pub unknown: Vec<String>,
}

/// What is taken of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// As its owner calls it.
    pub name: String,
    /// By all resources of the plan that read it the same way.
    pub units: u64,
    /// Reads usage and limit.
    pub read: Option<Vec<String>>,
    /// Which resources.
    pub by: Vec<String>,
}

pub(super) struct Hints {
    pub(super) cloud: Option<String>,
    pub(super) impact: Vec<String>,
    pub(super) security: Vec<String>,
    pub(super) window_notes: Vec<String>,
    pub(super) cost: Cost,
    pub(super) quotas: Vec<Quota>,
}

/// Hints over resources in their order.
pub(super) fn of(catalogue: &Catalogue, resources: &[Resource], request: &Request) -> Hints {
    let mut hints = Hints {
        cloud: cloud(catalogue, resources),
        impact: Vec::new(),
        security: Vec::new(),
        window_notes: window_notes(resources, request.window.as_ref()),
        cost: Cost::default(),
        quotas: Vec::new(),
    };
    for resource in resources {
        let Some(kind) = catalogue.types.get(&resource.kind) else { continue };
        let of_update = match &resource.action {
            Action::Update(name) => kind.updates.get(name).and_then(|update| update.impact.as_ref()),
            _ => None,
        };
        let impact = of_update.or(kind.impact.as_ref()).map(|text| format!("{}: {text}", kind.title));
        let security = kind.security.as_ref().filter(|_| resource.action == Action::Create);
        add_once(&mut hints.impact, impact);
        add_once(&mut hints.security, security.map(|text| format!("{}: {text}", kind.title)));
        if resource.action == Action::Create {
            cost(&mut hints.cost, kind, resource);
            quota(&mut hints.quotas, catalogue, kind, resource, resources);
        }
    }
    hints
}

fn add_once(list: &mut Vec<String>, text: Option<String>) {
    list.extend(text.filter(|text| !list.contains(text)));
}

/// The one cloud that resources name; none where they name several.
fn cloud(catalogue: &Catalogue, resources: &[Resource]) -> Option<String> {
    let mut clouds = resources.iter().filter_map(|resource| catalogue.types.get(&resource.kind)?.cloud.clone());
    let first = clouds.next()?;
    clouds.all(|cloud| cloud == first).then_some(first)
}

/// A number that a field holds; 1 where it holds none.
fn count(resource: &Resource, field: &str) -> u64 {
    field.parse().ok().or_else(|| resource.values.get(field)?.parse().ok()).unwrap_or(1)
}

fn cost(cost: &mut Cost, kind: &Type, resource: &Resource) {
    let Some(hint) = &kind.cost else {
        cost.unknown.push(resource.id.clone());
        return;
    };
    let units = hint.per.as_ref().map_or(1, |field| count(resource, field));
    let cents = hint.monthly_cents.saturating_mul(units);
    cost.monthly_cents = cost.monthly_cents.saturating_add(cents);
    cost.items.push((resource.id.clone(), cents, hint.note.clone()));
}

fn quota(quotas: &mut Vec<Quota>, catalogue: &Catalogue, kind: &Type, resource: &Resource, all: &[Resource]) {
    let Some(hint) = &kind.quota else { return };
    let values = with_handed_over(kind, resource, all);
    let read = hint.read.render(&catalogue.program(&hint.read.tool), &values).ok();
    // What the guard would refuse is not offered.
    let read = read.filter(|argv| argv::parse(&argv::render(argv), catalogue).is_ok());
    let units = count(resource, &hint.units);
    match quotas.iter_mut().find(|quota| quota.name == hint.name && quota.read == read) {
        Some(quota) => {
            quota.units = quota.units.saturating_add(units);
            quota.by.push(resource.id.clone());
        }
        None => quotas.push(Quota { name: hint.name.clone(), units, read, by: vec![resource.id.clone()] }),
    }
}

/// The resource's values, and those that it handed over to a resource of the plan.
fn with_handed_over(kind: &Type, resource: &Resource, all: &[Resource]) -> BTreeMap<String, String> {
    let mut values = resource.values.clone();
    for (name, field) in &kind.fields {
        let Some(reference) = field.hand_over.as_ref().filter(|_| !values.contains_key(name)) else { continue };
        let taker = all.iter().find(|other| {
            kind.fields[reference].refers_to.as_ref() == Some(&other.kind)
                && other.values.get("name") == resource.values.get(reference)
        });
        let value = taker.and_then(|taker| taker.values.get(name)).cloned();
        values.extend(value.map(|value| (name.clone(), value)));
    }
    values
}

/// What is in use is better changed in a window; and a window has to be one.
fn window_notes(resources: &[Resource], window: Option<&Value>) -> Vec<String> {
    let in_use = resources.iter().filter(|resource| resource.action != Action::Create).count();
    let Some(window) = window else {
        let note = format!(
            "{in_use} of {} resources are changed or deleted while in use, and no window was given",
            resources.len()
        );
        return if in_use > 0 { vec![note] } else { Vec::new() };
    };
    match ends(window) {
        Some((from, to)) if from < to => Vec::new(),
        Some(_) => vec!["the window ends before it starts, so the plan can never run".to_owned()],
        None => vec!["the window has no two ends in RFC 3339, so nothing holds the plan to it".to_owned()],
    }
}

/// First and last second, by the names that the ledger reads a plan's window by.
pub(crate) fn ends(window: &Value) -> Option<(i64, i64)> {
    const ENDS: [[&str; 3]; 2] = [["start", "from", "not_before"], ["end", "to", "not_after"]];
    let seconds = |text: &str| schemas::time::seconds(text.trim());
    if let Some((from, to)) = window.as_str().and_then(|text| text.split_once('/')) {
        return Some((seconds(from)?, seconds(to)?));
    }
    let [from, to] = ENDS.map(|names| names.iter().find_map(|name| window.get(*name)?.as_str()));
    Some((seconds(from?)?, seconds(to?)?))
}

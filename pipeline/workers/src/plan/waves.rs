//! Variants of a plan as waves: canary, and blue-green.
//!
//! A canary is cut along what nobody depends on: the first wave makes a few of those and only what they need, so that each wave stands
//! on its own. Blue-green makes a twin beside what is there, switches to it, and removes the old one.

use std::collections::BTreeSet;

use crate::catalogue::Catalogue;
use crate::request::{Action, Request, Variant};

use super::{Existing, Problem, Step};

/// How far each wave of a canary goes, in per cent.
const CANARY: [u64; 3] = [10, 50, 100];

/// Steps that run together, and what has to hold before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// `canary 10 %`, `green`, `switch`, …
    pub name: String,
    /// How far the plan is with it, in per cent of what nobody depends on.
    pub percent: u64,
    /// In order.
    pub steps: Vec<String>,
    /// Steps whose read-backs have to hold before the next wave.
    pub gate: Vec<String>,
}

/// A resource that is made beside the one that it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Twin {
    pub(super) kind: String,
    /// The name that both share.
    pub(super) base: String,
    pub(super) new: String,
    pub(super) old: Option<String>,
}

impl Twin {
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.kind, self.new)
    }
}

/// What a resource with twins may be called: green, blue, and as it was before it had any.
pub(super) fn twin_names(base: &str) -> [String; 3] {
    [format!("{base}-green"), format!("{base}-blue"), base.to_owned()]
}

/// Makes the request's resources that can be switched into twins, where it wants blue-green.
pub(super) fn twins(
    catalogue: &Catalogue,
    request: &mut Request,
    existing: Option<&Existing>,
) -> Result<Vec<Twin>, Vec<Problem>> {
    if request.variant != Some(Variant::BlueGreen) {
        return Ok(Vec::new());
    }
    let mut twins = Vec::new();
    for wanted in &mut request.resources {
        let switches = catalogue.types.get(&wanted.kind).is_some_and(|kind| kind.switch.is_some());
        if !switches || wanted.action != Action::Create {
            continue;
        }
        let base = wanted.name().to_owned();
        let is_there = |name: &str| existing.is_some_and(|existing| existing.find(&wanted.kind, name).is_some());
        let [green, blue, plain] = twin_names(&base);
        if is_there(&green) && is_there(&blue) {
            let found = format!("both {green} and {blue}, so that neither name is free");
            let expected = "one of them: delete the one that nobody uses, and ask again";
            return Err(vec![Problem::new(format!("{}/{base}", wanted.kind), "variant", found, expected)]);
        }
        let old = [&green, &blue, &plain].into_iter().find(|name| is_there(name)).cloned();
        let new = if old.as_ref() == Some(&green) { blue } else { green };
        wanted.fields.insert("name".to_owned(), new.clone());
        twins.push(Twin { kind: wanted.kind.clone(), base, new, old });
    }
    if twins.is_empty() {
        let known: Vec<&str> =
            catalogue.types.values().filter(|kind| kind.switch.is_some()).map(|kind| kind.name.as_str()).collect();
        let expected = format!("a new resource of a type that can be switched: {}", known.join(", "));
        return Err(vec![Problem::new("the request", "variant", "blue-green without one", expected)]);
    }
    Ok(twins)
}

/// The waves of a variant over steps in order.
pub(super) fn of(variant: Option<Variant>, steps: &[Step]) -> Vec<Wave> {
    match variant {
        None => Vec::new(),
        Some(Variant::Canary) => canary(steps),
        Some(Variant::BlueGreen) => blue_green(steps),
    }
}

fn canary(steps: &[Step]) -> Vec<Wave> {
    let needed: BTreeSet<&str> = steps.iter().flat_map(|step| &step.depends_on).map(|(id, _)| id.as_str()).collect();
    let ends: Vec<&Step> = steps.iter().filter(|step| !needed.contains(step.id.as_str())).collect();
    let mut done = BTreeSet::new();
    let mut waves = Vec::new();
    for percent in CANARY {
        let count = (ends.len() as u64 * percent).div_ceil(100);
        let mut with = BTreeSet::new();
        for end in ends.iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            below(steps, &end.id, &mut with);
        }
        let members: Vec<String> =
            steps.iter().map(|step| &step.id).filter(|id| with.contains(*id) && !done.contains(*id)).cloned().collect();
        done.extend(members.iter().cloned());
        // With few resources two waves may be one.
        if !members.is_empty() {
            waves.push(Wave { name: format!("canary {percent} %"), percent, gate: members.clone(), steps: members });
        }
    }
    waves
}

/// A step, and all that it depends on.
fn below(steps: &[Step], id: &str, into: &mut BTreeSet<String>) {
    let mut open = vec![id.to_owned()];
    while let Some(id) = open.pop() {
        if let Some(step) = steps.iter().find(|step| step.id == id)
            && into.insert(id)
        {
            open.extend(step.depends_on.iter().map(|(id, _)| id.clone()));
        }
    }
}

fn blue_green(steps: &[Step]) -> Vec<Wave> {
    let switched: BTreeSet<&str> = steps
        .iter()
        .filter(|step| step.id.ends_with("#switch"))
        .flat_map(|step| &step.depends_on)
        .map(|(id, _)| id.as_str())
        .collect();
    let wave_of = |step: &Step| match step.id.rsplit_once('#') {
        Some((_, "switch")) => 2,
        Some((_, "retire")) => 3,
        _ if switched.contains(step.id.as_str()) => 1,
        _ => 0,
    };
    let names = [("prepare", 0), ("twin", 0), ("switch", 100), ("retire", 100)];
    let mut waves = Vec::new();
    for (at, (name, percent)) in names.into_iter().enumerate() {
        let members: Vec<String> =
            steps.iter().filter(|step| wave_of(step) == at).map(|step| step.id.clone()).collect();
        if !members.is_empty() {
            waves.push(Wave { name: name.to_owned(), percent, gate: members.clone(), steps: members });
        }
    }
    waves
}

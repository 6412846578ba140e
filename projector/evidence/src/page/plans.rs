//! What was planned: each plan once, and how it differs from the one before it.

use std::collections::HashMap;

use projector::document::{Attempt, ChangeDocument};

use super::Links;
use super::shown::{Cut, cut};
use crate::parts::number;
use crate::summary::diff::Change;
use crate::told::Event;

/// Most plans on the page.
const PLANS_MAX: usize = 50;

/// Most lines of a plan and of a difference on the page.
const LINES_MAX: usize = 200;

/// The plans of the events, collected.
#[derive(Default)]
pub(super) struct Plans {
    items: Vec<Plan>,
    /// Where each digest stands among the items; beyond them it is only counted.
    known: HashMap<String, usize>,
}

/// As they stand on the page.
pub(super) struct Shown {
    pub(super) items: Vec<Plan>,
    pub(super) more: usize,
}

pub(super) struct Plan {
    pub(super) index: u64,
    /// Files with all of it.
    pub(super) links: Vec<(&'static str, String)>,
    pub(super) attempt: u64,
    pub(super) digest: String,
    /// Whether it is the plan in force of an attempt.
    pub(super) in_force: bool,
    /// Other entries that bring the same plan again.
    pub(super) again: Vec<u64>,
    pub(super) commands: Cut<String>,
    /// The entry whose plan it is held against.
    pub(super) before: Option<u64>,
    /// Lines removed and added.
    pub(super) changed: Cut<String>,
    /// Window, variant and the like, where stated.
    pub(super) stated: Vec<(&'static str, String)>,
}

impl Plans {
    /// Takes the change's next event, and how its plan differs from the one before.
    pub(super) fn add(&mut self, event: &Event<'_>, change: Option<&Change>) {
        if !event.get("plan").exists() {
            return;
        }
        let digest = schemas::plan::digest(event.payload).unwrap_or_else(|| "none".to_owned());
        if let Some(at) = self.known.get(&digest) {
            if let Some(plan) = self.items.get_mut(*at) {
                plan.again.push(event.index());
            }
            return;
        }
        self.known.insert(digest.clone(), self.items.len());
        if self.items.len() < PLANS_MAX {
            self.items.push(plan(event, digest, change));
        }
    }

    /// With what only the whole change tells.
    pub(super) fn finish(mut self, document: &ChangeDocument, links: &Links<'_>) -> Shown {
        for plan in &mut self.items {
            let in_force = |attempt: &Attempt| attempt.plan_digest.as_deref() == Some(plan.digest.as_str());
            plan.in_force = document.attempts.iter().any(in_force);
            plan.links.retain(|(_, file)| links.has(file));
        }
        Shown { more: self.known.len() - self.items.len(), items: self.items }
    }
}

fn plan(event: &Event<'_>, digest: String, change: Option<&Change>) -> Plan {
    let n = number(event.index());
    let plan = event.get("plan");
    let stated = [
        ("Window", "window"),
        ("Variant", "variant"),
        ("Simulation", "simulation"),
        ("Must exist before", "resources_needed"),
        ("Made from", "inputs_digest"),
        ("Artifacts", "artifacts"),
    ];
    Plan {
        index: event.index(),
        links: [
            ("plan", "plan.json"),
            ("target", "target.json"),
            ("commands", "commands.txt"),
            ("difference", "diff.txt"),
        ]
        .into_iter()
        .map(|(word, file)| (word, format!("plan/{n}-{file}")))
        .collect(),
        attempt: event.attempt,
        in_force: false,
        digest,
        again: Vec::new(),
        commands: ended(plan.get("commands").texts().iter().map(|command| cut(command)).collect()),
        before: change.map(Change::before),
        changed: ended(change.into_iter().flat_map(Change::changed).map(|(_, line)| line).collect()),
        stated: stated
            .into_iter()
            .map(|(word, member)| (word, plan.get(member)))
            .filter(|(_, node)| node.exists() && node.text() != "[]")
            .map(|(word, node)| (word, cut(&node.describe(&[]))))
            .collect(),
    }
}

fn ended(mut lines: Vec<String>) -> Cut<String> {
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    Cut { items: lines, more }
}

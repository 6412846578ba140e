//! What was planned: each plan once, and how it differs from the one before it.

use std::collections::BTreeMap;

use projector::document::ChangeDocument;

use super::shown::{Cut, cut};
use super::{Event, Links};
use crate::chain::Opened;
use crate::parts::number;
use crate::summary::diff::{self, Change};

/// Most plans on the page.
const PLANS_MAX: usize = 50;

/// Most lines of a plan and of a difference on the page.
const LINES_MAX: usize = 200;

pub(super) struct Plans {
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

pub(super) fn plans(
    document: &ChangeDocument,
    entries: &[Opened<'_>],
    events: &[Event<'_>],
    links: &Links<'_>,
) -> Plans {
    let attempts: BTreeMap<u64, u64> = document.timeline.iter().map(|moment| (moment.index, moment.attempt)).collect();
    let attempt = |index: u64| attempts.get(&index).copied().unwrap_or(1);
    let changes = diff::all(entries.iter().map(|entry| (entry.index, attempt(entry.index), entry.payload)));
    let changes: BTreeMap<u64, Change> = changes.into_iter().map(|change| (change.index, change)).collect();
    let mut out: Vec<Plan> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event.get("plan").exists()) {
        let digest = schemas::plan::digest(event.entry.payload).unwrap_or_else(|| "none".to_owned());
        if let Some(at) = known.get(&digest) {
            out[*at].again.push(event.index);
            continue;
        }
        known.insert(digest.clone(), out.len());
        out.push(plan(document, event, attempt(event.index), digest, changes.get(&event.index), links));
    }
    let more = out.len().saturating_sub(PLANS_MAX);
    out.truncate(PLANS_MAX);
    Plans { items: out, more }
}

fn plan(
    document: &ChangeDocument,
    event: &Event<'_>,
    attempt: u64,
    digest: String,
    change: Option<&Change>,
    links: &Links<'_>,
) -> Plan {
    let n = number(event.index);
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
        index: event.index,
        links: [
            ("plan", "plan.json"),
            ("target", "target.json"),
            ("commands", "commands.txt"),
            ("difference", "diff.txt"),
        ]
        .into_iter()
        .filter_map(|(word, file)| Some((word, links.to(format!("plan/{n}-{file}"))?)))
        .collect(),
        attempt,
        in_force: document.attempts.iter().any(|attempt| attempt.plan_digest.as_deref() == Some(&digest)),
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

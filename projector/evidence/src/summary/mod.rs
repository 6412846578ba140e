//! What is told over several entries of a change: how its plan became another one, what its approvals are worth, what was verified and what was
//! rolled back.
//!
//! The JSON files are RFC 8785, made of `change.json` and of what the payloads say, by rules short enough to be written down whole
//! (`docs/evidence-pack.md`, "Extracts"). They are there for every change, empty where nothing is on record.

use std::collections::BTreeMap;

use projector::document::{ChangeDocument, Moment};

use crate::chain::Opened;
use crate::files::DeriveError;
use crate::json::Node;
use crate::parts::PackFile;

pub(crate) mod diff;
mod rollback;
mod trail;
mod verified;

/// An entry, what its payload says and what the fold says of it.
struct Told<'a> {
    moment: &'a Moment,
    payload: &'a [u8],
    sections: BTreeMap<String, Node<'a>>,
}

impl<'a> Told<'a> {
    /// A section of the event.
    fn get(&self, section: &str) -> Node<'a> {
        self.sections.get(section).copied().unwrap_or_default()
    }
}

/// All files of this kind, in no particular order.
pub(crate) fn files(document: &ChangeDocument, entries: &[Opened<'_>]) -> Result<Vec<PackFile>, DeriveError> {
    let moments: BTreeMap<u64, &Moment> = document.timeline.iter().map(|moment| (moment.index, moment)).collect();
    let told: Vec<Told<'_>> = entries
        .iter()
        .filter_map(|entry| {
            let sections = Node::parse(entry.payload).get("provisioning_event").sections();
            Some(Told { moment: moments.get(&entry.index)?, payload: entry.payload, sections })
        })
        .collect();
    let mut out = vec![
        ("approvals/trail.json".to_owned(), trail::json(document)?),
        ("verify/summary.json".to_owned(), verified::json(&told)?),
        ("rollback/summary.json".to_owned(), rollback::json(document, &told)?),
    ];
    let plans = told.iter().map(|told| (told.moment.index, told.moment.attempt, told.payload));
    out.extend(diff::all(plans).iter().filter_map(diff::Change::file));
    Ok(out)
}

//! What is told over several entries of a change: how its plan became another one, what its approvals are worth, what was verified and what was
//! rolled back.
//!
//! The JSON files are RFC 8785, made of `change.json` and of what the payloads say, by rules short enough to be written down whole
//! (`docs/evidence-pack.md`, "Extracts"). They are there for every change, empty where nothing is on record.

use projector::document::ChangeDocument;

use crate::parts::PackFile;
use crate::told::Event;

pub(crate) mod diff;
mod rollback;
mod trail;
mod verified;

/// What the summaries need of each event.
#[derive(Default)]
pub(crate) struct Summaries {
    rounds: Vec<verified::Round>,
    rollbacks: Vec<rollback::Said>,
}

impl Summaries {
    /// Takes the change's next event, in the order of the log.
    pub(crate) fn add(&mut self, event: &Event<'_>) {
        self.rounds.extend(verified::round(event));
        self.rollbacks.extend(rollback::Said::by(event));
    }

    /// The files of this kind but for the differences between plans, in no particular order.
    pub(crate) fn files(&self, document: &ChangeDocument) -> Result<[PackFile; 3], serde_json::Error> {
        Ok([
            ("approvals/trail.json".to_owned(), trail::json(document)?),
            ("verify/summary.json".to_owned(), verified::json(&self.rounds)?),
            ("rollback/summary.json".to_owned(), rollback::json(document, &self.rollbacks)?),
        ])
    }
}

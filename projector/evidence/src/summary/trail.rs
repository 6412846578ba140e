//! `approvals/trail.json`: who approved or refused what, what each of it is worth and why, and whether each attempt had what it needed.

use projector::approval::{Coverage, Graded};
use projector::document::ChangeDocument;
use serde::Serialize;

#[derive(Serialize)]
struct Trail<'a> {
    attempts: Vec<&'a Coverage>,
    given: &'a [Graded],
}

/// `approval` of each attempt and `approvals`, as `change.json` has them.
pub(super) fn json(document: &ChangeDocument) -> Result<Vec<u8>, serde_json::Error> {
    let attempts = document.attempts.iter().map(|attempt| &attempt.approval).collect();
    serde_json_canonicalizer::to_vec(&Trail { attempts, given: &document.approvals })
}

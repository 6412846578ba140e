//! Who approved what for which plan, what each approval is worth, and whether each attempt had what it needed.

use std::collections::BTreeSet;

use projector::approval::{Coverage, Graded};
use projector::document::{Attempt, ChangeDocument};

use super::Links;
use super::shown::{Cut, cut};
use crate::parts::number;

pub(super) struct Approvals {
    /// Who must approve, as the plans say.
    pub(super) required: Cut<String>,
    pub(super) attempts: Cut<Standing>,
    pub(super) given: Cut<Given>,
}

/// Whether an attempt was approved, in a sentence.
pub(super) struct Standing {
    pub(super) attempt: u64,
    pub(super) bad: bool,
    pub(super) text: String,
}

pub(super) struct Given {
    pub(super) index: u64,
    pub(super) attempt: u64,
    pub(super) approver: String,
    pub(super) role: String,
    pub(super) decision: String,
    pub(super) at: String,
    pub(super) plan: String,
    /// What that plan is to the attempt.
    pub(super) plan_note: &'static str,
    pub(super) grade: &'static str,
    pub(super) counts: bool,
    pub(super) lacks: String,
    /// The signed statement and its signature.
    pub(super) links: Vec<(&'static str, String)>,
}

pub(super) fn approvals(document: &ChangeDocument, required: BTreeSet<String>, links: &Links<'_>) -> Approvals {
    let mut given: Vec<Given> = Vec::new();
    let mut place = (0, 0);
    for approval in &document.approvals {
        // The fold lists them by entry and then as the event does.
        place = if place.0 == approval.index { (place.0, place.1 + 1) } else { (approval.index, 1) };
        let attempt = document.attempts.iter().find(|attempt| attempt.attempt == approval.attempt);
        let name = format!("approvals/{}-signed-{:03}", number(place.0), place.1);
        let signed = [("what was signed", "json"), ("signature", "sig")];
        let signed = signed.into_iter().filter_map(|(word, end)| Some((word, links.to(format!("{name}.{end}"))?)));
        given.push(one(approval, attempt, signed.collect()));
    }
    Approvals {
        required: Cut::from(required.into_iter().collect::<Vec<_>>()),
        attempts: Cut::from(document.attempts.iter().map(standing).collect::<Vec<_>>()),
        given: Cut::from(given),
    }
}

fn one(approval: &Graded, attempt: Option<&Attempt>, links: Vec<(&'static str, String)>) -> Given {
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "not stated".to_owned(), cut);
    let in_force = attempt.and_then(|attempt| attempt.plan_digest.as_deref());
    Given {
        index: approval.index,
        attempt: approval.attempt,
        approver: if approval.approver.is_empty() { "not stated".to_owned() } else { cut(&approval.approver) },
        role: text(&approval.role),
        decision: text(&approval.decision),
        at: text(&approval.at),
        plan: text(&approval.plan_digest),
        plan_note: match (approval.plan_digest.as_deref(), in_force) {
            (Some(named), Some(plan)) if named == plan => "the plan in force",
            (Some(_), Some(_)) => "not the plan in force",
            (Some(_), None) => "no plan on record to compare with",
            (None, _) => "",
        },
        grade: approval.grade.as_str(),
        counts: approval.counts,
        lacks: approval.lacks.iter().map(|lack| lack.as_text()).collect::<Vec<_>>().join("; "),
        links,
    }
}

fn standing(attempt: &Attempt) -> Standing {
    let approval: &Coverage = &attempt.approval;
    let grade = approval.grade.map_or("claimed", |grade| grade.as_str());
    let missing = approval.missing.iter().map(|clause| cut(clause)).collect::<Vec<_>>().join("; ");
    let text = match (approval.approved, approval.approved_by, approval.needed) {
        (true, Some(by), _) => format!("approved (grade {grade}) with entry {by}"),
        (true, None, _) => format!("approved (grade {grade})"),
        (false, _, true) => format!("not approved: {missing}"),
        (false, _, false) => "no approval was needed by the tenant's rule and the plan".to_owned(),
    };
    let when = match approval.executed {
        Some(index) => format!("; execution began with entry {index}"),
        None => "; nothing was executed".to_owned(),
    };
    let late = if approval.emergency { "; an emergency, which may be approved afterwards" } else { "" };
    let bad = approval.needed && !approval.approved && approval.executed.is_some() || approval.refused.is_some();
    Standing { attempt: attempt.attempt, bad, text: text + &when + late }
}

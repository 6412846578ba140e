//! Short sentences for the timeline.
//!
//! They are read by people on pages and terminals, so what they quote of an event is shortened and cannot turn, hide or
//! break the line: control characters and Unicode's direction and invisible marks are written as escapes.

use std::fmt::Write as _;

use schemas::ids::Phase;

use crate::facts::{self, Decision, Facts, OrderFacts, Steps, Tests, Way};
use crate::fold::Marks;
use crate::unseen::is_unseen;

/// Longest quotation, in characters.
const QUOTE_CHARS_MAX: usize = 64;

/// What an event says happened.
pub(crate) fn of(phase: Phase, facts: &Facts<'_>) -> String {
    if !facts.readable {
        return "The payload is gone or could not be read.".to_owned();
    }
    let mut parts = Vec::new();
    parts.extend(facts.asked.map(|resources| request(facts, resources)));
    parts.extend(facts.order.as_ref().map(order));
    if let Some(plan) = &facts.plan {
        parts.push(format!("plan of {}", count(plan.commands, "command")));
    }
    parts.extend(tests("preflight check", facts.preflight_checks, "failed"));
    parts.extend(policies(facts.policies));
    parts.extend(facts.approvals.iter().map(|approval| match facts::decided(approval) {
        Decision::Approved => format!("approved by {}", quote(approval.approver())),
        Decision::Refused => format!("refused by {}", quote(approval.approver())),
        Decision::Unclear => format!("unclear decision by {}", quote(approval.approver())),
    }));
    let way = facts.way.as_ref().map(|way| match way {
        Way::Begins(step) => format!("step {} begins", quote(step)),
        Way::Again(step) => format!("step {} is tried again", quote(step)),
        Way::Paused => "execution paused".to_owned(),
        Way::Cancelled => "execution cancelled".to_owned(),
    });
    if facts.marks.any(Marks::EXECUTING) && (way.is_none() || facts.steps.count > 0) {
        parts.push(steps("executed", facts.steps));
    }
    parts.extend(way);
    parts.extend(tests("check", facts.checks, "failed"));
    if let Some(differences) = facts.drift {
        parts.push(if differences == 0 {
            "no drift".to_owned()
        } else {
            format!("drift in {}", count(differences, "place"))
        });
    }
    if let Some(rollback) = &facts.rollback {
        let outcome = rollback.outcome.as_deref().map_or("under way".to_owned(), quote);
        parts.push(format!("{}, outcome {outcome}", steps("rolled back", rollback.steps)));
    }
    if facts.marks.any(Marks::CLOSED) {
        parts.push("closed".to_owned());
    }
    if parts.is_empty() {
        return format!("Event of phase {phase}.");
    }
    capital(&parts.join("; ")) + "."
}

/// A quotation of a producer's text: shortened, and with nothing in it that moves or hides other text.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("“");
    for (position, char) in text.chars().enumerate() {
        if position == QUOTE_CHARS_MAX {
            quoted.push('…');
            break;
        }
        if is_deceptive(char) {
            // Writing to a string cannot fail.
            let _ = write!(quoted, "\\u{{{:x}}}", u32::from(char));
        } else {
            quoted.push(char);
        }
    }
    quoted.push('”');
    quoted
}

/// What is not seen, and the marks of quotation itself.
fn is_deceptive(char: char) -> bool {
    is_unseen(char) || matches!(char, '“' | '”')
}

/// Who asks for what; what is planned for it comes later.
fn request(facts: &Facts<'_>, resources: u64) -> String {
    let who = facts.initiator.as_deref().map_or("somebody who is not named".to_owned(), quote);
    let words = facts.request.as_deref().filter(|words| !words.trim().is_empty()).map(quote);
    let resources = (resources > 0).then(|| count(resources, "resource"));
    match (words, resources) {
        (Some(words), Some(resources)) => format!("asked by {who}: {words}, and {resources}"),
        (Some(what), None) | (None, Some(what)) => format!("asked by {who}: {what}"),
        (None, None) => format!("asked by {who}, without saying for what"),
    }
}

/// What somebody tells the workers to do.
fn order(order: &OrderFacts<'_>) -> String {
    let what = match order.kind.as_deref() {
        Some("pause") => "pause".to_owned(),
        Some("resume") => "going on".to_owned(),
        Some("cancel") => "cancelling".to_owned(),
        Some("rollback") => "rollback".to_owned(),
        Some("rollback_dry_run") => "dry run of the rollback".to_owned(),
        Some("drift_check") => "look for drift".to_owned(),
        Some(other) => quote(other),
        None => "something that is not named".to_owned(),
    };
    let by = order.by.as_deref().map_or("somebody who is not named".to_owned(), quote);
    let reason = order.reason.as_deref().map(|reason| format!(": {}", quote(reason)));
    format!("{what} ordered by {by}{}", reason.unwrap_or_default())
}

fn tests(noun: &str, tests: Tests, failed: &str) -> Option<String> {
    match tests {
        Tests { count: 0, .. } => None,
        Tests { failed: 0, count: all, passed } if passed == all => Some(format!("{} passed", count(all, noun))),
        Tests { count: all, passed, failed: bad } => {
            Some(format!("{}: {passed} passed, {bad} {failed}", count(all, noun)))
        }
    }
}

fn policies(policies: Tests) -> Option<String> {
    match policies.count {
        0 => None,
        1 => Some(format!("1 policy: {} passed, {} denied", policies.passed, policies.failed)),
        all => Some(format!("{all} policies: {} passed, {} denied", policies.passed, policies.failed)),
    }
}

fn steps(verb: &str, steps: Steps) -> String {
    match steps {
        Steps { count: 0, .. } => format!("{verb}, no step recorded"),
        Steps { count: all, succeeded, .. } if succeeded == all => {
            format!("{verb} {}, all returned 0", count(all, "step"))
        }
        Steps { count: all, succeeded, failed } => {
            format!(
                "{verb} {}: {succeeded} returned 0, {failed} failed, {} open",
                count(all, "step"),
                all - succeeded - failed
            )
        }
    }
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

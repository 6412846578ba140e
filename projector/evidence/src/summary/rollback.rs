//! `rollback/summary.json`: for each attempt the thread from what failed over the way back to the check behind it, as indices of entries.

use projector::document::{Attempt, ChangeDocument};
use projector::fold::State;
use schemas::admit::Outcome;
use serde::Serialize;

use super::Told;

#[derive(Serialize)]
struct Summary {
    attempts: Vec<Thread>,
}

#[derive(Serialize)]
struct Thread {
    attempt: u64,
    /// Entries with a dry run of the way back.
    dry_runs: Vec<u64>,
    /// Entries with an executed rollback.
    executed: Vec<Executed>,
    /// Entries whose outcome is a failure, other than of a rollback.
    failed: Vec<u64>,
    /// Entries with a plan for the way back.
    planned: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<State>,
    state: State,
    /// Entries with a verification behind the last executed rollback.
    verified_after: Vec<u64>,
}

#[derive(Serialize)]
struct Executed {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    steps: usize,
    steps_failed: usize,
}

pub(super) fn json(document: &ChangeDocument, told: &[Told<'_>]) -> Result<Vec<u8>, serde_json::Error> {
    let attempts = document.attempts.iter().map(|attempt| thread(attempt, told)).collect();
    serde_json_canonicalizer::to_vec(&Summary { attempts })
}

fn thread(attempt: &Attempt, told: &[Told<'_>]) -> Thread {
    let own: Vec<&Told<'_>> = told.iter().filter(|told| told.moment.attempt == attempt.attempt).collect();
    let with = |section: &str, path: &[&str]| -> Vec<u64> {
        own.iter().filter(|told| told.get(section).at(path).exists()).map(|told| told.moment.index).collect()
    };
    let executed: Vec<Executed> = own.iter().filter_map(|told| executed(told)).collect();
    let last = executed.last().map(|executed| executed.index);
    Thread {
        attempt: attempt.attempt,
        dry_runs: with("rollback", &["dry_run"]),
        failed: own
            .iter()
            .filter(|told| told.moment.outcome == Outcome::Failed)
            .map(|told| told.moment.index)
            .collect(),
        planned: with("rollback", &["plan"]),
        reached: attempt.reached,
        state: attempt.state,
        verified_after: with("verification", &[])
            .into_iter()
            .filter(|index| last.is_some_and(|last| *index > last))
            .collect(),
        executed,
    }
}

fn executed(told: &Told<'_>) -> Option<Executed> {
    let executed = told.get("rollback").get("executed");
    let steps = executed.get("steps").list();
    let failed = |code: &str| !code.is_empty() && code.parse::<f64>().is_ok_and(|code| code != 0.0);
    executed.exists().then(|| Executed {
        index: told.moment.index,
        outcome: executed.get("outcome").is_text().then(|| executed.get("outcome").text()),
        steps: steps.len(),
        steps_failed: steps.iter().filter(|step| failed(&step.get("rc").text())).count(),
    })
}

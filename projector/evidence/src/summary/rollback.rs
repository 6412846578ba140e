//! `rollback/summary.json`: for each attempt the thread from what failed over the way back to the check behind it, as indices of entries.

use projector::document::{Attempt, ChangeDocument};
use projector::fold::State;
use schemas::admit::Outcome;
use serde::Serialize;

use crate::told::Event;

#[derive(Serialize)]
struct Summary<'a> {
    attempts: Vec<Thread<'a>>,
}

#[derive(Serialize)]
struct Thread<'a> {
    attempt: u64,
    /// Entries with a dry run of the way back.
    dry_runs: Vec<u64>,
    /// Entries with an executed rollback.
    executed: Vec<&'a Executed>,
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
pub(super) struct Executed {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    steps: usize,
    steps_failed: usize,
}

/// What one event says of the way back.
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of its own, and they are independent")]
pub(super) struct Said {
    index: u64,
    attempt: u64,
    failed: bool,
    planned: bool,
    tried: bool,
    executed: Option<Executed>,
    verified: bool,
}

impl Said {
    /// None where it says nothing.
    pub(super) fn by(event: &Event<'_>) -> Option<Self> {
        let rollback = event.get("rollback");
        let said = Self {
            index: event.index(),
            attempt: event.attempt,
            failed: event.entry.header.outcome == Outcome::Failed,
            planned: rollback.get("plan").exists(),
            tried: rollback.get("dry_run").exists(),
            executed: executed(event),
            verified: event.get("verification").exists(),
        };
        (said.failed || said.planned || said.tried || said.executed.is_some() || said.verified).then_some(said)
    }
}

pub(super) fn json(document: &ChangeDocument, said: &[Said]) -> Result<Vec<u8>, serde_json::Error> {
    let attempts = document.attempts.iter().map(|attempt| thread(attempt, said)).collect();
    serde_json_canonicalizer::to_vec(&Summary { attempts })
}

fn thread<'a>(attempt: &Attempt, said: &'a [Said]) -> Thread<'a> {
    let own: Vec<&Said> = said.iter().filter(|said| said.attempt == attempt.attempt).collect();
    let with =
        |says: fn(&Said) -> bool| -> Vec<u64> { own.iter().filter(|said| says(said)).map(|said| said.index).collect() };
    let executed: Vec<&Executed> = own.iter().filter_map(|said| said.executed.as_ref()).collect();
    let last = executed.last().map(|executed| executed.index);
    Thread {
        attempt: attempt.attempt,
        dry_runs: with(|said| said.tried),
        failed: with(|said| said.failed),
        planned: with(|said| said.planned),
        reached: attempt.reached,
        state: attempt.state,
        verified_after: with(|said| said.verified)
            .into_iter()
            .filter(|index| last.is_some_and(|last| *index > last))
            .collect(),
        executed,
    }
}

fn executed(event: &Event<'_>) -> Option<Executed> {
    let executed = event.get("rollback").get("executed");
    let steps = executed.get("steps").list();
    let failed = |code: &str| !code.is_empty() && code.parse::<f64>().is_ok_and(|code| code != 0.0);
    executed.exists().then(|| Executed {
        index: event.index(),
        outcome: executed.get("outcome").is_text().then(|| executed.get("outcome").text()),
        steps: steps.len(),
        steps_failed: steps.iter().filter(|step| failed(&step.get("rc").text())).count(),
    })
}

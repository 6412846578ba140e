//! The verify worker: does what was executed hold? And after a rollback: is what was taken back gone?
//!
//! What it decides is `workers::verify` and `workers::course`. What does not hold yet is looked at again until the deadline, counted from the last entry of
//! the execution, so that a worker that was killed meanwhile goes on waiting where it was. A round that fails carries the way back and its dry run; whether that
//! way is gone is the rollback worker's.

use futures::future::BoxFuture;
use schemas::ids::Phase;
use serde_json::Value;
use tokio::time::Instant;
use workers::build::Sections;
use workers::course::{Course, Due, due};
use workers::drift;
use workers::preflight::{Planned, Question};
use workers::rollback::Way;
use workers::verify::{self as decides, Found, Look, Run, State, Timing};

use super::aftermath::{close, course, goes_on, house};
use super::{Case, Emit, Next, Shop, WorkError, Worker, machine, probe};

/// The worker. See the module.
#[derive(Debug, Clone, Copy)]
pub struct Verifier;

impl Worker for Verifier {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn listens_to(&self) -> &'static [Phase] {
        &[Phase::Execute, Phase::Verify, Phase::Audit]
    }

    fn act<'a>(&'a self, shop: &'a Shop, case: &'a Case) -> BoxFuture<'a, Result<Next, WorkError>> {
        Box::pin(act(shop, case))
    }
}

async fn act(shop: &Shop, case: &Case) -> Result<Next, WorkError> {
    let mut newer;
    let mut case = case;
    loop {
        let Some(course) = course(shop, case) else { return Ok(Next::Nothing) };
        let next = match due(&course, house(shop)) {
            Due::Nothing | Due::RollBack(_) => return Ok(Next::Nothing),
            Due::Verify => after_execution(shop, case, &course).await?,
            Due::VerifyAgain => after_rollback(shop, case, &course).await?,
            Due::Close(because) => {
                close(shop, case, course.attempt, because).await?;
                None
            }
        };
        if let Some(next) = next {
            return Ok(next);
        }
        // Something was said, and what follows of it is due now.
        newer = case.again(&*shop.record).await?;
        case = &newer;
    }
}

/// A round after an execution. `None`: it was said how it went.
async fn after_execution(shop: &Shop, case: &Case, course: &Course) -> Result<Option<Next>, WorkError> {
    let (Some(plan), Some((_, executed_ms))) = (&course.plan, course.executed) else { return Ok(Some(Next::Nothing)) };
    let looks = decides::looks(course, &shop.catalogue);
    let runs = decides::probes(plan, &shop.config.verify);
    let seen = look(shop, plan, looks, runs, executed_ms).await?;
    match waits(shop, &seen, executed_ms) {
        Wait::Nothing => return Ok(Some(Next::Nothing)),
        Wait::Until(next) => return Ok(Some(next)),
        Wait::Over => {}
    }
    let baseline = course.baseline().and_then(|drift| State::read(drift.state.as_ref()?));
    let watched = drift::watched_after(&seen.round.state, plan, &shop.config.drift);
    let mut sections = seen.sections("change", baseline.as_ref(), watched);
    if seen.round.holds() == Some(false)
        && let Ok(way) = Way::of(course)
    {
        // The way back is on record the moment that it may be needed.
        let machine = machine::of(shop, &way).await?;
        let mut rollback = way.document();
        rollback["dry_run"] = way.dry_run(&shop.catalogue, &shop.config.guard, &machine).document();
        sections.add("rollback", rollback);
    }
    say(shop, case, course, sections).await
}

/// The same after a rollback.
async fn after_rollback(shop: &Shop, case: &Case, course: &Course) -> Result<Option<Next>, WorkError> {
    let (Some(plan), Some(end)) = (&course.plan, course.undone.ended.last()) else { return Ok(Some(Next::Nothing)) };
    let Ok(way) = Way::of(course) else { return Ok(Some(Next::Nothing)) };
    let looks = decides::looks_after_rollback(course, &way, &shop.catalogue);
    let runs = decides::probes_of_nothing(plan, &shop.config.verify);
    let mut seen = look(shop, plan, looks, runs, end.at_ms).await?;
    if way.undos.is_empty() {
        seen.round.nothing_to_take_back();
    }
    if seen.round.holds().is_none() {
        // Nothing tells whether what was taken back is gone; whoever knows can say so.
        return Ok(Some(Next::Nothing));
    }
    // What could not be taken back stands, and no waiting makes it go.
    if !end.failed {
        match waits(shop, &seen, end.at_ms) {
            Wait::Until(next) => return Ok(Some(next)),
            Wait::Nothing | Wait::Over => {}
        }
    }
    let sections = seen.sections("rollback", None, false);
    say(shop, case, course, sections).await
}

async fn say(shop: &Shop, case: &Case, course: &Course, sections: Sections) -> Result<Option<Next>, WorkError> {
    let attempt = course.attempt;
    let id = case.event_id(attempt, &format!("verify.{}", course.rounds.len() + 1));
    shop.emit_news(case, Emit { id, phase: Phase::Verify, attempt, sections }).await?;
    Ok(None)
}

/// What a round found.
struct Seen {
    round: decides::Round,
    timing: Timing,
    /// Somebody's certificate was not good.
    insecure: bool,
}

impl Seen {
    fn sections(&self, purpose: &str, baseline: Option<&State>, monitored: bool) -> Sections {
        let mut sections = Sections::new();
        let mut verification = self.round.document(purpose, baseline, monitored, self.timing);
        if self.insecure {
            verification["tls_verified"] = false.into();
        }
        sections.add("verification", verification);
        sections
    }
}

async fn look(shop: &Shop, plan: &Planned, looks: Vec<Look>, runs: Vec<Run>, since_ms: u64) -> Result<Seen, WorkError> {
    let options = &shop.config.verify;
    let wait_ms = shop.now_ms().saturating_sub(since_ms);
    let began = Instant::now();
    let questions = looks.iter().map(|look| Question { id: look.id.clone(), argv: look.argv.clone() }).collect();
    let looked = super::aftermath::look(shop, plan.environment.as_deref(), questions).await?;
    let mut found = Found { answers: looked.answers, ..Found::default() };
    for run in &runs {
        found.probes.insert(run.id.clone(), probe::all(shop, run).await?);
    }
    goes_on(shop, "verification")?;
    let round = found.round(plan, &looks, &runs, options);
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Seen { round, timing: Timing { duration_ms, wait_ms }, insecure: !looked.insecure.is_empty() })
}

enum Wait {
    /// There is nothing to look at.
    Nothing,
    /// It does not hold yet.
    Until(Next),
    /// It holds, or the deadline is over.
    Over,
}

fn waits(shop: &Shop, seen: &Seen, since_ms: u64) -> Wait {
    let now_ms = shop.now_ms();
    match (seen.round.holds(), shop.config.verify.pause_ms(now_ms.saturating_sub(since_ms))) {
        (None, _) => Wait::Nothing,
        (Some(false), Some(pause_ms)) => Wait::Until(Next::Again { at_ms: now_ms.saturating_add(pause_ms) }),
        _ => Wait::Over,
    }
}

/// Whether an event answers this order.
pub(crate) fn answered(case: &Case, order: &str) -> bool {
    case.events().any(|(_, event)| event.get("answers").and_then(Value::as_str) == Some(order))
}

//! The execute worker: runs the steps of a plan that preflight let go, in waves, each once.
//!
//! What is due is `workers::execute`: decided anew from the change's own events before each step. A step is claimed by the event that says it begins, durable
//! before it does; of two workers one claims it. Whoever is killed leaves a step that began and did not end: as long as its lock is held at
//! the same place it still runs; then, if its check can tell, it goes on from what is there, and if not, the change halts and says so.
//!
//! - `scene`: the change in hand, and what is said of it;
//! - `attempt`: one try of one step;
//! - `hand`: the environment of a step, with credentials;
//! - `tools`: that programs are those that are pinned;
//! - `keep`: long output, kept by reference.
//!
//! Left out: approvals beyond asking whether they still hold, verification, and the way back.

mod attempt;
pub(super) mod hand;
pub(super) mod keep;
mod scene;
mod tools;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use projector::approval::standing;
use schemas::ids::Phase;
use serde_json::Value;
use workers::execute::gate::{self, Asking};
use workers::execute::{Due, due};
use workers::preflight::Outcome;

use self::attempt::{Claim, Tried};
use self::scene::Job;
use super::process::CancellationToken;
use super::{Case, Next, Shop, WorkError, Worker, preflight};

/// The worker. See the module.
#[derive(Debug, Clone, Copy)]
pub struct Execute;

/// Its name, which is its producer token: only events of this producer say what was executed.
pub const NAME: &str = "execute";

/// How often a change whose steps run is looked at for orders.
const LOOK: Duration = Duration::from_millis(500);
/// How long steps may go on when work is to end.
const LAST: Duration = Duration::from_secs(20);
/// When somebody else has a step in hand.
const OTHERS_MS: u64 = 1_000;

impl Worker for Execute {
    fn name(&self) -> &'static str {
        NAME
    }

    fn listens_to(&self) -> &'static [Phase] {
        &[Phase::Preflight, Phase::Audit]
    }

    fn act<'a>(&'a self, shop: &'a Shop, case: &'a Case) -> BoxFuture<'a, Result<Next, WorkError>> {
        Box::pin(act(shop, case))
    }
}

async fn act(shop: &Shop, case: &Case) -> Result<Next, WorkError> {
    let attempt = case.attempt();
    if case.request(attempt).is_none() || case.is_closed(attempt) {
        return Ok(Next::Nothing);
    }
    let progress = scene::progress(case, attempt);
    if progress.steps.is_empty()
        && !progress.ended_by_cancel
        && let Some((by, reason)) = &progress.cancelled
    {
        scene::close_cancelled(shop, case, attempt, by, reason).await?;
        return Ok(Next::Nothing);
    }
    let Some(verdict) = verdict(case, attempt) else { return Ok(Next::Nothing) };
    let Some(job) = Job::read(shop, case, attempt, verdict).await? else { return Ok(Next::Nothing) };
    if let Some(next) = may_not(&job, case, verdict).await? {
        return Ok(next);
    }
    through(&job).await
}

/// The newest verdict of preflight, where it says *go*: section `preflight`.
fn verdict(case: &Case, attempt: u64) -> Option<&Value> {
    let of_preflight = case.of_attempt(attempt).rev().filter(|(stored, _)| stored.is_by(preflight::NAME));
    let verdicts = of_preflight.map(|(_, event)| &event["preflight"]);
    verdicts.into_iter().find(|said| said["verdict"].is_string()).filter(|said| said["verdict"] == "go")
}

/// When to look again, where what preflight said holds no longer. What has begun is not stopped by an approval that lapses: it is judged as of when it
/// began, by what was on record by then. That something began is an event like any other, and lets nothing go by itself.
async fn may_not(job: &Job<'_>, case: &Case, verdict: &Value) -> Result<Option<Next>, WorkError> {
    let shop = job.shop;
    let context = shop.record.context(&case.tenant).await?;
    let began =
        case.of_attempt(job.attempt).find(|(stored, event)| event["execution"].is_object() && stored.is_by(NAME));
    let (until, now_ms) = began.map_or((u64::MAX, shop.now_ms()), |(stored, _)| (stored.index, stored.header.at));
    let views: Vec<_> = case.views().into_iter().filter(|entry| entry.index < until).collect();
    let standing = standing(&case.change, &views, &context.rules, now_ms, &[]);
    let reasons = gate::against(&Asking {
        planned: &job.planned,
        requested: case.requested(job.attempt),
        catalogue: &shop.catalogue,
        verdict,
        config: &shop.config,
        standing: standing.as_ref(),
        rule: context.rules.at(u64::MAX),
        now_s: i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX),
    });
    if reasons.is_empty() {
        return Ok(None);
    }
    // Preflight says for how long, and whether what is missing has come since it began.
    match preflight::judged(shop, case, &job.payload).await?.1 {
        Outcome::Go => Ok(None),
        Outcome::Wait { until_s: Some(at), .. } => {
            Ok(Some(Next::Again { at_ms: u64::try_from(at).unwrap_or_default().saturating_mul(1_000) }))
        }
        Outcome::Wait { .. } | Outcome::Halt => {
            tracing::info!(change = %case.change, reasons = reasons.join("; "), "not started: what preflight said holds no longer");
            Ok(Some(Next::Nothing))
        }
    }
}

/// All that is due, until nothing is.
async fn through(job: &Job<'_>) -> Result<Next, WorkError> {
    let cancel = CancellationToken::new();
    let mut running = FuturesUnordered::new();
    let mut places = BTreeSet::new();
    // Steps that somebody else has in hand.
    let mut others = BTreeSet::new();
    // What went wrong with us, not with a step: nothing more is started, and what runs is not given up for it.
    let mut failed = None;
    let last = last_call(&job.shop.stop).fuse();
    tokio::pin!(last);
    loop {
        let in_hand: BTreeSet<usize> = places.union(&others).copied().collect();
        let due = decided(job, &in_hand, &cancel).await.unwrap_or_else(|error| {
            failed.get_or_insert(error);
            Due::Wait(None)
        });
        let due = if failed.is_some() { Due::Wait(None) } else { due };
        let wait_ms = match due {
            Due::Over => {
                job.leave();
                return Ok(Next::Nothing);
            }
            Due::Paused => return Ok(Next::Nothing),
            Due::Cancel | Due::Pause(..) | Due::Gate(_) => {
                job.between(due, &cancel).await?;
                continue;
            }
            Due::Start(starts) => {
                for start in starts {
                    let at = start.step;
                    match job.claim(&start) {
                        Ok(Claim::Ours(lock)) => {
                            places.insert(at);
                            running.push(attempt::run(job, start, lock, &cancel).map(move |done| (at, done)));
                        }
                        Ok(Claim::Others) => drop(others.insert(at)),
                        Err(error) => failed = Some(error),
                    }
                }
                continue;
            }
            Due::Wait(until_ms) => until_ms,
        };
        if running.is_empty() {
            return failed.map_or_else(|| Ok(leave(job, wait_ms, !others.is_empty())), Err);
        }
        tokio::select! {
            Some((at, done)) = running.next() => {
                places.remove(&at);
                match done {
                    Ok(Tried::Said) => {}
                    Ok(Tried::ByOthers) => drop(others.insert(at)),
                    Err(error) => failed = Some(error),
                }
            }
            () = tokio::time::sleep(LOOK) => others.clear(),
            () = &mut last => cancel.cancel(),
        }
    }
}

/// What is due by the change as it stands. An order to cancel reaches what runs by `cancel`.
async fn decided(job: &Job<'_>, in_hand: &BTreeSet<usize>, cancel: &CancellationToken) -> Result<Due, WorkError> {
    let case = job.case().await?;
    let progress = scene::progress(&case, job.attempt);
    if progress.cancelled.is_some() {
        cancel.cancel();
    }
    let options = &job.shop.config.execute.waves;
    let due = due::next(&job.runnable, &progress, options, in_hand, job.shop.now_ms());
    // When work is to end, nothing more begins.
    Ok(if job.shop.stop.is_cancelled() { Due::Wait(None) } else { due })
}

/// When to come back if nothing of ours runs.
fn leave(job: &Job<'_>, until_ms: Option<u64>, others: bool) -> Next {
    let others_ms = others.then(|| job.shop.now_ms() + OTHERS_MS);
    match [until_ms, others_ms].into_iter().flatten().min() {
        Some(at_ms) => Next::Again { at_ms },
        None => Next::Nothing,
    }
}

/// Ends a while after work is to end.
async fn last_call(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST).await;
}

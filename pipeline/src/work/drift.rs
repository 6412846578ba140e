//! The drift worker: looks on after a change was verified, and says when something is not as it was.
//!
//! What it decides is `workers::drift`. It looks when a resource is due and records what is new: an alarm when something differs, its end when it is as it was,
//! and now and then that it still looks. An alarm goes to the webhook before it is recorded, so that the record has what became of it; whoever is killed between the two
//! sends it again under the same id.
//!
//! A resource belongs to the last change that executed on it: what a later change did is no drift of an earlier one.
//!
//! - `look`: one look, and what it says;
//! - `list`: which changes are watched, kept below the working directory, since a verified change is closed and nobody else would bring it up after a restart;
//! - `webhook`: alarms, posted.

mod list;
mod look;
mod webhook;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use schemas::ids::{ChangeId, Phase, Tenant};
use workers::course::Course;
use workers::drift::{self as decides, Watched};

use self::look::Round;
use super::aftermath::course;
use super::verify::answered;
use super::{Case, Next, Shop, WorkError, Worker};

/// Its name, which is its producer token: only events of this producer are what monitors said.
pub const NAME: &str = super::own::DRIFT;

/// The worker. See the module.
#[derive(Debug, Default)]
pub struct Drift {
    known: Mutex<Known>,
}

/// What is remembered; all of it comes back from the log.
#[derive(Debug, Default)]
struct Known {
    /// When a change's resource was looked at last, milliseconds.
    looked: BTreeMap<(Tenant, ChangeId, String), u64>,
    /// The change that executed last on a resource, with the entry.
    owners: BTreeMap<(Tenant, String), (u64, ChangeId)>,
}

impl Worker for Drift {
    fn name(&self) -> &'static str {
        NAME
    }

    fn listens_to(&self) -> &'static [Phase] {
        &[Phase::Execute, Phase::Verify, Phase::Audit]
    }

    fn beside(&self, shop: &Shop, tenant: &Tenant) -> Vec<ChangeId> {
        list::read(&shop.workdir, tenant)
    }

    fn act<'a>(&'a self, shop: &'a Shop, case: &'a Case) -> BoxFuture<'a, Result<Next, WorkError>> {
        Box::pin(self.look_after(shop, case))
    }
}

impl Drift {
    async fn look_after(&self, shop: &Shop, case: &Case) -> Result<Next, WorkError> {
        let Some(course) = course(shop, case) else { return Ok(Next::Nothing) };
        self.own(case, &course);
        let mut watched = decides::watched(&course, &shop.catalogue, &shop.config.drift);
        watched.retain(|one| self.is_owner(case, &one.resource));
        list::keep(&shop.workdir, case, !watched.is_empty())?;
        let asked = course.orders.iter().find(|order| order.kind == "drift_check" && !answered(case, &order.id));
        let now_ms = shop.now_ms();
        let due: Vec<Watched> = watched
            .iter()
            .filter(|one| asked.is_some() || self.due_ms(shop, case, &course, one) <= now_ms)
            .cloned()
            .collect();
        if asked.is_some() || !due.is_empty() || decides::is_taken_over(&course, &watched) {
            let round = Round { course: &course, watched: &watched, due: &due };
            let now_ms = look::look(shop, case, &round, asked.map(|order| order.id.as_str())).await?;
            self.note(case, &due, now_ms);
        }
        let next = watched.iter().map(|one| self.due_ms(shop, case, &course, one)).min();
        Ok(next.map_or(Next::Nothing, |at_ms| Next::Again { at_ms }))
    }

    /// Notes what the change executed on.
    fn own(&self, case: &Case, course: &Course) {
        let Some((index, _)) = course.executed else { return };
        let steps = course.plan.iter().flat_map(|plan| &plan.steps);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !course.undone.ended.is_empty() {
            // What it did is taken back: whoever came before has the resource again.
            known.owners.retain(|_, (_, change)| *change != case.change);
            return;
        }
        for (step, _) in steps.zip(&course.fates).filter(|(_, fate)| **fate == workers::course::Fate::Done) {
            let resource = step.id.split('#').next().unwrap_or(&step.id).to_owned();
            let owner =
                known.owners.entry((case.tenant.clone(), resource)).or_insert_with(|| (index, case.change.clone()));
            if owner.0 < index {
                *owner = (index, case.change.clone());
            }
        }
    }

    fn is_owner(&self, case: &Case, resource: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = known.owners.get(&(case.tenant.clone(), resource.to_owned()));
        owner.is_none_or(|(_, change)| *change == case.change)
    }

    /// When a resource is due: counted from when it was looked at last, by this process or by the record.
    fn due_ms(&self, shop: &Shop, case: &Case, course: &Course, one: &Watched) -> u64 {
        let recorded = course.drifts.last().map_or(0, |drift| drift.at_ms);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = known.looked.get(&(case.tenant.clone(), case.change.clone(), one.resource.clone()));
        let last_ms = looked.copied().unwrap_or(recorded);
        one.due_ms(case.change.as_str(), last_ms, &shop.config.drift)
    }

    /// Notes what was looked at.
    fn note(&self, case: &Case, due: &[Watched], now_ms: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for one in due {
            known.looked.insert((case.tenant.clone(), case.change.clone(), one.resource.clone()), now_ms);
        }
    }
}

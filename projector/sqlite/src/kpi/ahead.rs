//! What spans changes and waits for its turn.
//!
//! Detail reads a change whole, also what it has past the chunk. Plans of inputs that nothing was planned from yet, and turns of resources, count in the order of
//! the log of all changes, so those past the chunk are kept until their entry is in it. A change that is touched again then has them itself.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use projector::account::{Group, Turn, TurnKind};
use projector::kpi::{Day, FirstPlan, Sample, metric};
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Touched, damaged};
use crate::error::ViewError;

/// What is due in a chunk, of changes that it does not touch.
#[derive(Default)]
pub(super) struct Due {
    pub(super) plans: Vec<Plan>,
    pub(super) turns: Vec<Turn>,
}

/// A plan that had nothing to be compared with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    #[serde(skip)]
    pub(super) first_index: u64,
    pub(super) inputs: [u8; 16],
    #[serde(with = "first_plan")]
    pub(super) made: FirstPlan,
    at: u64,
    weak: bool,
}

#[derive(Serialize, Deserialize)]
enum Waiting {
    Plan(Plan),
    Turn {
        at: u64,
        resource: String,
        kind: u8,
        owner: Option<String>,
        environment: Option<String>,
        class: Option<String>,
    },
}

const KINDS: [TurnKind; 5] =
    [TurnKind::Managed, TurnKind::Removed, TurnKind::Checked, TurnKind::Watched, TurnKind::Unwatched];

impl Plan {
    pub(super) fn of(first_index: u64, inputs: [u8; 16], made: FirstPlan, plan: &projector::account::Plan) -> Self {
        Self { first_index, inputs, made, at: plan.when.at, weak: plan.inputs.is_some_and(|inputs| inputs.weak) }
    }

    /// Its samples beside the first plan of its input.
    pub(super) fn samples(&self, first: FirstPlan) -> Vec<Sample> {
        if first.index >= self.made.index {
            return Vec::new();
        }
        let one = |metric| Sample::one(metric, Day::of(self.at), first.plan == self.made.plan);
        let weak = self.weak.then(|| one(metric::PLAN_DETERMINISM_WEAK));
        std::iter::once(one(metric::PLAN_DETERMINISM)).chain(weak).collect()
    }
}

/// Takes what is due in the chunk, and leaves out what the touched changes bring along themselves.
pub(super) fn take(
    transaction: &Transaction<'_>,
    chunk: &Range<u64>,
    touched: &[Touched<'_>],
) -> Result<Due, ViewError> {
    let own: BTreeSet<u64> = touched.iter().map(|one| one.first_index).collect();
    let mut select = transaction
        .prepare_cached("SELECT entry, first_index, body FROM kpi_ahead WHERE entry < ?1 ORDER BY entry, place")?;
    let mut due = Due::default();
    let mut rows = select.query([chunk.end])?;
    while let Some(row) = rows.next()? {
        let (index, first_index, body): (u64, u64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if own.contains(&first_index) {
            continue;
        }
        match serde_json::from_str(&body).map_err(|_| damaged("kpi_ahead", &body))? {
            Waiting::Plan(plan) => due.plans.push(Plan { first_index, ..plan }),
            Waiting::Turn { at, resource, kind, owner, environment, class } => {
                let kind = *KINDS.get(usize::from(kind)).ok_or_else(|| damaged("kpi_ahead", &body))?;
                let environment = environment.and_then(|name| schemas::ids::Environment::parse(&name).ok());
                let class = class.and_then(|word| schemas::ids::ChangeClass::parse(&word).ok());
                let group = Arc::new(Group { owner, environment, class });
                due.turns.push(Turn { index, at, resource: resource.into(), kind, group });
            }
        }
    }
    drop(rows);
    transaction.prepare_cached("DELETE FROM kpi_ahead WHERE entry < ?1")?.execute([chunk.end])?;
    Ok(due)
}

/// Keeps a plan past the chunk. Plans stand at place 0 of their entry, turns behind.
pub(super) fn put_plan(transaction: &Transaction<'_>, first_index: u64, plan: &Plan) -> Result<(), ViewError> {
    put(transaction, plan.made.index, 0, first_index, &Waiting::Plan(plan.clone()))
}

/// Keeps the turns of a change past the chunk.
pub(super) fn put_turns(transaction: &Transaction<'_>, one: &Touched<'_>, from: u64) -> Result<(), ViewError> {
    let mut place = (0, 0);
    for turn in one.account.turns.iter().filter(|turn| turn.index >= from) {
        place = if place.0 == turn.index { (turn.index, place.1 + 1) } else { (turn.index, 1) };
        let waiting = Waiting::Turn {
            at: turn.at,
            resource: turn.resource.as_str().to_owned(),
            kind: u8::try_from(KINDS.iter().position(|kind| *kind == turn.kind).unwrap_or(0)).unwrap_or(0),
            owner: turn.group.owner.clone(),
            environment: turn.group.environment.as_ref().map(|name| name.as_str().to_owned()),
            class: turn.group.class.map(|class| class.as_str().to_owned()),
        };
        put(transaction, turn.index, place.1, one.first_index, &waiting)?;
    }
    Ok(())
}

fn put(
    transaction: &Transaction<'_>,
    entry: u64,
    place: u64,
    first_index: u64,
    waiting: &Waiting,
) -> Result<(), ViewError> {
    let body = serde_json::to_string(waiting).map_err(|_| damaged("kpi_ahead", "what cannot be written"))?;
    transaction.prepare_cached("INSERT OR IGNORE INTO kpi_ahead VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        entry,
        place,
        first_index,
        body
    ])?;
    Ok(())
}

mod first_plan {
    use projector::kpi::FirstPlan;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(plan: &FirstPlan, serializer: S) -> Result<S::Ok, S::Error> {
        (plan.index, plan.plan).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FirstPlan, D::Error> {
        let (index, plan) = Deserialize::deserialize(deserializer)?;
        Ok(FirstPlan { index, plan })
    }
}

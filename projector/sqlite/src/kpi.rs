//! KPIs by day: the samples of the changes that a chunk of entries touched are replaced, and the sums of their days follow.
//!
//! What spans changes stays exact because it depends on no later entry, and is taken in the order of the log:
//! the first plan of an input is written once and never again; a resource's state takes each turn once, in the chunk that
//! has its entry (what a change has past that waits, see `ahead`); and the failures of a change are made again whenever a change that mends it
//! moves. A property test holds all
//! figures equal to [`projector::kpi::scratch`] for any histories, windows, filters and chunks.
//!
//! Left out: what a sample is ([`projector::kpi`]), and which changes a chunk touches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use projector::account::{Account, Group};
use projector::kpi::outage::{self, Trouble};
use projector::kpi::{Context, Day, FirstPlan, Sample, compared_plans, metric, samples};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use schemas::ids::ChangeId;

use crate::error::ViewError;
use crate::maturity::Moved;

mod ahead;
mod codec;
mod query;
mod resources;
mod stock;
mod sums;

pub use query::{Counted, CountedKey, Side, TrendPoint};

use sums::Deltas;

pub(crate) const SCHEMA: &str = include_str!("kpi.sql");

/// First plans stand in buckets of 2^20 entries.
const INPUT_BUCKET_BITS: u32 = 20;

/// A change that a chunk touched, with its account of all entries up to the chunk's end.
#[derive(Clone, Debug)]
pub(crate) struct Touched<'a> {
    /// Its key: the index of its first entry.
    pub(crate) first_index: u64,
    /// Nothing is stored of it yet.
    pub(crate) fresh: bool,
    /// Its account.
    pub(crate) account: &'a Account,
    /// Samples of other measures than KPIs.
    pub(crate) more: &'a [Sample],
}

/// Replaces the samples of the touched changes. `chunk` are the entries that are new, and chunks come in the order of the log; accounts may know more than
/// that. Notes in `moved` which days' figures it moves.
pub(crate) fn replace(
    transaction: &Transaction<'_>,
    chunk: &Range<u64>,
    touched: &[Touched<'_>],
    moved: &mut Moved,
) -> Result<(), ViewError> {
    let mut names = Names::load(transaction)?;
    let due = ahead::take(transaction, chunk, touched)?;
    let first_plans = note_first_plans(transaction, chunk, touched, &due)?;
    let also = note_mends(transaction, touched)?;
    let mut deltas = Deltas::default();
    for one in touched {
        let account = one.account;
        let troubles = outage::troubles(account);
        note_troubles(transaction, one, &troubles)?;
        // Where nothing failed there is nothing to mend.
        let mends = if troubles.is_empty() { Vec::new() } else { mends_of(transaction, &account.change)? };
        let found = compared_plans(account)
            .filter_map(|(inputs, _, _)| Some((inputs, first_plans.get(&inputs).copied().flatten()?)));
        let context = Context { first_plans: found.collect(), mends };
        let mut now = samples(account, &context);
        now.extend(one.more);
        if one.fresh {
            let group = names.group(transaction, &account.group)?;
            write_samples(transaction, &mut names, &mut deltas, one.first_index, (-1, &[], &[]), (group, now))?;
        } else {
            store(transaction, &mut names, &mut deltas, one.first_index, Some(&account.group), |_| now)?;
        }
    }
    for plan in &due.plans {
        let first = first_plans.get(&plan.inputs).copied().flatten();
        let more: Vec<Sample> = first.map(|first| plan.samples(first)).unwrap_or_default();
        store(transaction, &mut names, &mut deltas, plan.first_index, None, |before| [before, &more].concat())?;
    }
    let own: BTreeSet<&ChangeId> = touched.iter().map(|one| &one.account.change).collect();
    for change in also.iter().filter(|change| !own.contains(change)) {
        mend(transaction, &mut names, &mut deltas, change)?;
    }
    moved.days.extend(deltas.days());
    deltas.write(transaction)?;
    let first = stock::apply(transaction, &mut names, chunk, touched, &due.turns)?;
    moved.from = [moved.from, first].into_iter().flatten().min();
    Ok(())
}

/// The first plans of inputs, as far as the log has come; none of an input that nothing was planned from yet.
type FirstPlans = HashMap<[u8; 16], Option<FirstPlan>>;

/// Writes the first plans of inputs that nothing was planned from before, and returns those of all inputs of these changes. Plans past the chunk are
/// first of nothing yet: those that have none to be compared with wait.
fn note_first_plans(
    transaction: &Transaction<'_>,
    chunk: &Range<u64>,
    touched: &[Touched<'_>],
    due: &ahead::Due,
) -> Result<FirstPlans, ViewError> {
    let compared: Vec<_> =
        touched.iter().flat_map(|one| compared_plans(one.account).map(move |plan| (one.first_index, plan))).collect();
    let mut made: Vec<([u8; 16], FirstPlan)> = compared.iter().map(|(_, (inputs, plan, _))| (*inputs, *plan)).collect();
    made.extend(due.plans.iter().map(|plan| (plan.inputs, plan.made)));
    made.sort_unstable_by_key(|(inputs, plan)| (*inputs, plan.index));
    made.dedup_by_key(|(inputs, _)| *inputs);
    let last: Option<i64> = transaction.query_row("SELECT max(bucket) FROM plan_inputs", [], |row| row.get(0))?;
    let mut find =
        transaction.prepare_cached("SELECT entry, plan FROM plan_inputs WHERE bucket = ?1 AND inputs = ?2")?;
    let mut insert = transaction.prepare_cached("INSERT INTO plan_inputs VALUES (?1, ?2, ?3, ?4)")?;
    let mut first = FirstPlans::with_capacity(made.len());
    for (inputs, plan) in made {
        // Newest bucket first: who plans again does so soon.
        let mut known = None;
        for bucket in (0..=last.unwrap_or(-1)).rev() {
            let read = |row: &rusqlite::Row<'_>| Ok(FirstPlan { index: row.get(0)?, plan: row.get(1)? });
            known = find.query_row(params![bucket, inputs], read).optional()?;
            if known.is_some() {
                break;
            }
        }
        if known.is_none() && plan.index < chunk.end {
            insert.execute(params![plan.index >> INPUT_BUCKET_BITS, inputs, plan.index, plan.plan])?;
            known = Some(plan);
        }
        first.insert(inputs, known);
    }
    for (first_index, (inputs, plan, section)) in compared {
        if plan.index >= chunk.end && first.get(&inputs).copied().flatten().is_none() {
            ahead::put_plan(transaction, first_index, &ahead::Plan::of(first_index, inputs, plan, section))?;
        }
    }
    Ok(first)
}

/// Replaces what these changes mend, and returns the changes whose failures are to be made again.
fn note_mends(transaction: &Transaction<'_>, touched: &[Touched]) -> Result<BTreeSet<ChangeId>, ViewError> {
    let mut select =
        transaction.prepare_cached("SELECT fixed, entry FROM mends WHERE fixer = ?1 ORDER BY fixed, entry")?;
    let mut delete = transaction.prepare_cached("DELETE FROM mends WHERE fixer = ?1")?;
    let mut insert = transaction.prepare_cached("INSERT INTO mends VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut moved = BTreeSet::new();
    for one in touched {
        let mends = outage::mends(one.account);
        if one.fresh && mends.is_empty() {
            continue;
        }
        let fixes = one.account.fixes.iter().filter(|_| !mends.is_empty());
        let mut now: Vec<(String, u64)> =
            fixes.flat_map(|fixed| mends.iter().map(|mend| (fixed.as_str().to_owned(), mend.index))).collect();
        now.sort_unstable();
        let before: Vec<(String, u64)> =
            select.query_map([one.first_index], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        if now == before {
            continue;
        }
        delete.execute([one.first_index])?;
        for fixed in one.account.fixes.iter().filter(|_| !mends.is_empty()) {
            for mend in &mends {
                insert.execute(params![fixed.as_str(), mend.index, one.first_index, mend.at, mend.ts])?;
            }
        }
        moved.extend(now.into_iter().chain(before).filter_map(|(fixed, _)| ChangeId::parse(&fixed).ok()));
    }
    Ok(moved)
}

fn mends_of(connection: &Connection, change: &ChangeId) -> Result<Vec<Trouble>, ViewError> {
    let mut select = connection.prepare_cached("SELECT entry, at, ts FROM mends WHERE fixed = ?1 ORDER BY entry")?;
    let read =
        |row: &rusqlite::Row<'_>| Ok(Trouble { index: row.get(0)?, fails: false, at: row.get(1)?, ts: row.get(2)? });
    Ok(select.query_map([change.as_str()], read)?.collect::<Result<_, _>>()?)
}

fn note_troubles(transaction: &Transaction<'_>, one: &Touched<'_>, troubles: &[Trouble]) -> Result<(), ViewError> {
    if troubles.is_empty() {
        // Failures never go away, but for a change whose entries called themselves probes.
        return Ok(());
    }
    transaction
        .prepare_cached("INSERT INTO troubles VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = excluded.body")?
        .execute(params![one.first_index, one.account.change.as_str(), codec::troubles(troubles)])?;
    Ok(())
}

/// Makes the failures of a change again, which none of its own entries touched.
fn mend(
    transaction: &Transaction<'_>,
    names: &mut Names,
    deltas: &mut Deltas,
    change: &ChangeId,
) -> Result<(), ViewError> {
    let mut select = transaction.prepare_cached("SELECT first_index, body FROM troubles WHERE change = ?1")?;
    let found = select.query_row([change.as_str()], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)));
    let Some((first_index, body)) = found.optional()? else { return Ok(()) };
    let own = codec::read_troubles(&body).ok_or_else(|| damaged("troubles", change.as_str()))?;
    let now = outage::samples(&outage::outages(&own, &mends_of(transaction, change)?));
    store(transaction, names, deltas, first_index, None, |before| {
        let of_failure = [metric::MTTR, metric::MTTR_OPEN, metric::MTTR_CLOCKS_DIFFER];
        let others = before.iter().filter(|sample| !of_failure.contains(&sample.metric));
        others.copied().chain(now).collect()
    })
}

/// Replaces the samples of a change by what `make` makes of those before, in its group or, without one, in the one before.
fn store(
    transaction: &Transaction<'_>,
    names: &mut Names,
    deltas: &mut Deltas,
    first_index: u64,
    group: Option<&Group>,
    make: impl FnOnce(&[Sample]) -> Vec<Sample>,
) -> Result<(), ViewError> {
    let mut select = transaction.prepare_cached("SELECT grp, body FROM samples WHERE first_index = ?1")?;
    let found =
        select.query_row([first_index], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
    let (before_group, body) = found.unwrap_or((-1, Vec::new()));
    let before = names.read_samples(&body).ok_or_else(|| damaged("samples", &first_index.to_string()))?;
    let now = make(&before.iter().map(|(_, sample)| *sample).collect::<Vec<_>>());
    let group = group.map_or(Ok(before_group), |group| names.group(transaction, group))?;
    write_samples(transaction, names, deltas, first_index, (before_group, &body, &before), (group, now))
}

/// From samples of before, in their group and as they are stored, to those of now.
fn write_samples(
    transaction: &Transaction<'_>,
    names: &mut Names,
    deltas: &mut Deltas,
    first_index: u64,
    (before_group, body, before): (i64, &[u8], &[Numbered]),
    (group, now): (i64, Vec<Sample>),
) -> Result<(), ViewError> {
    let now = names.number(transaction, &now)?;
    let mut encoded = Vec::with_capacity(now.len() * 8);
    for (metric, sample) in &now {
        codec::push_sample(&mut encoded, *metric, sample);
    }
    if (group, &*encoded) == (before_group, body) {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT INTO samples VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET grp = excluded.grp, body = excluded.body",
        )?
        .execute(params![first_index, group, encoded])?;
    deltas.change(names, first_index, (before_group, before), (group, &now));
    Ok(())
}

pub(crate) fn damaged(what: &'static str, found: &str) -> ViewError {
    ViewError::Damaged { what, found: found.to_owned() }
}

/// A sample with its metric's number.
pub(crate) type Numbered = (i64, Sample);

/// Metrics and groups, by the numbers they are stored under.
pub(crate) struct Names {
    metrics: HashMap<&'static str, i64>,
    known: BTreeMap<i64, Metric>,
    groups: HashMap<Group, i64>,
}

/// A metric, and what is kept of it besides its sums.
#[derive(Clone, Copy)]
struct Metric {
    name: &'static str,
    /// The changes behind it.
    changes: bool,
    /// Its values, one by one.
    values: bool,
}

impl Names {
    /// Names of the file that this binary knows. A sample of a metric that it does not is of another version of views.
    pub(crate) fn load(connection: &Connection) -> Result<Self, ViewError> {
        let mut names = Self { metrics: HashMap::new(), known: BTreeMap::new(), groups: HashMap::new() };
        let mut select = connection.prepare_cached("SELECT metric, name FROM metrics")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (number, name): (i64, String) = (row.get(0)?, row.get(1)?);
            names.know(number, intern(name));
        }
        Ok(names)
    }

    fn know(&mut self, number: i64, name: &'static str) {
        let (changes, values) = (metric::names_changes(name), metric::DURATIONS.contains(&name));
        self.metrics.insert(name, number);
        self.known.insert(number, Metric { name, changes, values });
    }

    /// The number of a metric, if it has one.
    pub(crate) fn find(&self, name: &str) -> Option<i64> {
        self.metrics.get(name).copied()
    }

    fn metric(&mut self, connection: &Connection, name: &'static str) -> Result<i64, ViewError> {
        if let Some(number) = self.find(name) {
            return Ok(number);
        }
        connection.prepare_cached("INSERT INTO metrics (name) VALUES (?1)")?.execute([name])?;
        let number = connection.last_insert_rowid();
        self.know(number, name);
        Ok(number)
    }

    pub(crate) fn group(&mut self, connection: &Connection, group: &Group) -> Result<i64, ViewError> {
        if let Some(number) = self.groups.get(group) {
            return Ok(*number);
        }
        let environment = group.environment.as_ref().map(schemas::ids::Environment::as_str);
        let class = group.class.map(schemas::ids::ChangeClass::as_str);
        let key = codec::group_key(group.owner.as_deref(), environment, class);
        let mut select = connection.prepare_cached("SELECT grp FROM kpi_groups WHERE key = ?1")?;
        let found = select.query_row([&key], |row| row.get(0)).optional()?;
        let number = if let Some(number) = found {
            number
        } else {
            connection
                .prepare_cached("INSERT INTO kpi_groups (key, owner, environment, class) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![key, group.owner, environment, class])?;
            connection.last_insert_rowid()
        };
        self.groups.insert(group.clone(), number);
        Ok(number)
    }

    /// Samples under the numbers of their metrics, and in their order.
    fn number(&mut self, connection: &Connection, samples: &[Sample]) -> Result<Vec<Numbered>, ViewError> {
        let number = |sample: &Sample| Ok((self.metric(connection, sample.metric)?, *sample));
        let mut numbered = samples.iter().map(number).collect::<Result<Vec<_>, ViewError>>()?;
        numbered
            .sort_unstable_by_key(|(metric, sample)| (*metric, sample.day, sample.num, sample.den, sample.value_us));
        Ok(numbered)
    }

    pub(crate) fn read_samples(&self, mut bytes: &[u8]) -> Option<Vec<Numbered>> {
        let mut samples = Vec::new();
        while !bytes.is_empty() {
            samples.push(codec::take_sample(&mut bytes, |number| Some(self.known.get(&number)?.name))?);
        }
        Some(samples)
    }
}

/// A metric's name for as long as the process lives. There are as many as measures in the code.
fn intern(name: String) -> &'static str {
    use std::sync::Mutex;
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = names.get(name.as_str()) {
        return known;
    }
    let name: &'static str = Box::leak(name.into_boxed_str());
    names.insert(name);
    name
}

/// The day as it is stored.
pub(crate) fn day_number(day: Day) -> i64 {
    i64::from(day.0)
}

#[cfg(test)]
mod tests;

//! Questions to the KPI tables: the sums of a window, day by day, and the changes that count against a figure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use projector::kpi::drift::{Covered, Stock};
use projector::kpi::figure::{Sums, Total};
use projector::kpi::scratch::Filter;
use projector::kpi::values::Ranked;
use projector::kpi::{Day, Window, metric};
use rusqlite::{Connection, OptionalExtension, params};
use schemas::ids::{ChangeClass, ChangeId, Environment};
use serde::Serialize;

use super::{Names, damaged, day_number};
use crate::Reader;
use crate::error::ViewError;

/// Rows of misses that one page looks at.
const SCANNED_MAX: usize = 20_000;

/// The sums of one day.
#[derive(Clone, Debug)]
pub struct TrendPoint {
    /// The day.
    pub day: Day,
    /// Its sums.
    pub sums: Sums,
}

/// A change that counts against a figure, or a resource that nobody watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The change.
    pub change: ChangeId,
    /// Its first entry.
    pub first_index: u64,
    /// The day it counts on; of resources, the day they were last compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The resource, as RFC 8785.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// Where a page of misses ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissedKey(i64, i64);

impl fmt::Display for MissedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

impl FromStr for MissedKey {
    type Err = ViewError;

    fn from_str(text: &str) -> Result<Self, ViewError> {
        let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0);
        let parts = text.split_once('.').and_then(|(day, index)| Some(Self(number(day)?, number(index)?)));
        parts.ok_or_else(|| ViewError::PageKey { found: text.chars().take(64).collect() })
    }
}

impl Reader {
    /// The sums of a window. Days that have not come yet have none.
    pub fn kpis(&self, window: Window, filter: &Filter) -> Result<Sums, ViewError> {
        let transaction = self.connection.unchecked_transaction()?;
        let groups = Groups::matching(&transaction, filter)?;
        let names = Names::load(&transaction)?;
        let mut sums = Sums { drift: drift(&transaction, window, filter)?, ..Sums::default() };
        for (_, name, total) in totals(&transaction, &groups, window)? {
            sums.totals.entry(name).or_default().add(&total);
        }
        for name in metric::DURATIONS {
            let bodies = durations(&transaction, &names, name, filter, window)?;
            let ranked = ranked(bodies.iter().map(|(_, body)| body.as_slice()))?;
            sums.percentiles.insert(name.to_owned(), ranked);
        }
        Ok(sums)
    }

    /// The sums of each day of a window, in their order; each as if it were a window of its own.
    pub fn kpi_trend(&self, window: Window, filter: &Filter) -> Result<Vec<TrendPoint>, ViewError> {
        let transaction = self.connection.unchecked_transaction()?;
        let groups = Groups::matching(&transaction, filter)?;
        let names = Names::load(&transaction)?;
        let days = (window.from.0..window.to.0).map(Day);
        let mut points: BTreeMap<Day, Sums> = days.map(|day| (day, Sums::default())).collect();
        for (day, name, total) in totals(&transaction, &groups, window)? {
            if let Some(sums) = points.get_mut(&day) {
                sums.totals.entry(name).or_default().add(&total);
            }
        }
        for name in metric::DURATIONS {
            let mut of_day: BTreeMap<Day, Vec<Vec<u8>>> = BTreeMap::new();
            for (day, body) in durations(&transaction, &names, name, filter, window)? {
                of_day.entry(day).or_default().push(body);
            }
            for (day, sums) in &mut points {
                let bodies = of_day.get(day).map(Vec::as_slice).unwrap_or_default();
                sums.percentiles.insert(name.to_owned(), ranked(bodies.iter().map(Vec::as_slice))?);
            }
        }
        drift_by_day(&transaction, filter, &mut points)?;
        Ok(points.into_iter().map(|(day, sums)| TrendPoint { day, sums }).collect())
    }

    /// The first and the last day that have anything.
    pub fn kpi_days(&self) -> Result<Option<(Day, Day)>, ViewError> {
        let sql = "SELECT min(day), max(day) FROM kpi_sums WHERE grp = 0 AND den > 0";
        let found = self.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (first, last): (Option<u32>, Option<u32>) = found;
        Ok(first.zip(last).map(|(first, last)| (Day(first), Day(last))))
    }

    /// The changes that count against a metric, newest day first: up to `limit`, from behind `after`; and the key to go on with. Of
    /// drift coverage, the managed resources that are not covered as of the last entry.
    pub fn kpi_missed(
        &self,
        name: &str,
        window: Window,
        filter: &Filter,
        after: Option<MissedKey>,
        limit: usize,
    ) -> Result<(Vec<Missed>, Option<MissedKey>), ViewError> {
        let transaction = self.connection.unchecked_transaction()?;
        if name == metric::DRIFT_COVERAGE {
            return unwatched(&transaction, window, filter, limit).map(|missed| (missed, None));
        }
        let names = Names::load(&transaction)?;
        let numbers = metric::missed_by(name).into_iter().filter_map(|part| names.find(part));
        let (mut missed, mut behind) = (Vec::new(), None);
        for number in numbers {
            let (some, next) = misses(&transaction, number, window, filter, after, limit)?;
            missed.extend(some);
            // Whatever part ended first: the page goes no further.
            behind = behind.max(next);
        }
        missed.sort_unstable_by_key(|one: &Missed| Reverse((one.day, one.first_index)));
        missed.dedup_by_key(|one| (one.day, one.first_index));
        if let Some(behind) = behind {
            missed.retain(|one| one.key() >= behind);
        }
        if missed.len() > limit {
            missed.truncate(limit);
            behind = missed.last().map(Missed::key);
        }
        Ok((missed, behind))
    }
}

impl Missed {
    fn key(&self) -> MissedKey {
        MissedKey(self.day.map_or(0, day_number), i64::try_from(self.first_index).unwrap_or(i64::MAX))
    }
}

/// A page of the misses of one metric.
fn misses(
    connection: &Connection,
    number: i64,
    window: Window,
    filter: &Filter,
    after: Option<MissedKey>,
    limit: usize,
) -> Result<(Vec<Missed>, Option<MissedKey>), ViewError> {
    let mut select = connection.prepare_cached(
        "SELECT day, first_index, changes.change, g.owner, g.environment, g.class FROM kpi_misses JOIN change_rows changes USING (first_index) \
         JOIN samples USING (first_index) JOIN kpi_groups g USING (grp) WHERE metric = ?1 AND day >= ?2 AND day < ?3 \
         AND (day, first_index) < (?4, ?5) ORDER BY day DESC, first_index DESC",
    )?;
    let MissedKey(day, index) = after.unwrap_or(MissedKey(i64::MAX, i64::MAX));
    let (from, to) = (day_number(window.from), day_number(window.to));
    let mut rows = select.query(params![number, from, to, day, index])?;
    let (mut missed, mut scanned, mut behind) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        if missed.len() >= limit || scanned >= SCANNED_MAX {
            return Ok((missed, behind));
        }
        scanned += 1;
        behind = Some(MissedKey(row.get(0)?, row.get(1)?));
        if passes(row, 3, filter)? {
            let day = Some(Day(row.get(0)?));
            missed.push(Missed { change: change(row, 2)?, first_index: row.get(1)?, day, resource: None });
        }
    }
    Ok((missed, None))
}

/// Which groups to add up.
enum Groups {
    /// Group 0: everything together.
    All,
    These(Vec<i64>),
}

impl Groups {
    fn matching(connection: &Connection, filter: &Filter) -> Result<Self, ViewError> {
        if filter.is_empty() { Ok(Self::All) } else { matching(connection, filter).map(Self::These) }
    }

    fn numbers(&self) -> &[i64] {
        match self {
            Self::All => &[0],
            Self::These(numbers) => numbers,
        }
    }
}

fn matching(connection: &Connection, filter: &Filter) -> Result<Vec<i64>, ViewError> {
    let mut select = connection.prepare_cached(
        "SELECT grp FROM kpi_groups WHERE grp > 0 AND (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR environment = ?2) \
         AND (?3 IS NULL OR class = ?3)",
    )?;
    let environment = filter.environment.as_ref().map(Environment::as_str);
    let class = filter.class.map(ChangeClass::as_str);
    let numbers = select.query_map(params![filter.owner, environment, class], |row| row.get(0))?;
    Ok(numbers.collect::<Result<_, _>>()?)
}

fn totals(connection: &Connection, groups: &Groups, window: Window) -> Result<Vec<(Day, String, Total)>, ViewError> {
    let mut select = connection.prepare_cached(
        "SELECT day, name, num, den, sum_us FROM kpi_sums JOIN metrics USING (metric) WHERE grp = ?1 AND day >= ?2 AND day < ?3",
    )?;
    let mut found = Vec::new();
    for group in groups.numbers() {
        let mut rows = select.query(params![group, day_number(window.from), day_number(window.to)])?;
        while let Some(row) = rows.next()? {
            let total = Total { num: row.get(2)?, den: row.get(3)?, sum_us: row.get(4)? };
            found.push((Day(row.get(0)?), row.get(1)?, total));
        }
    }
    // What was taken back again is nothing.
    found.retain(|(_, _, total)| *total != Total::default());
    Ok(found)
}

fn durations(
    connection: &Connection,
    names: &Names,
    name: &str,
    filter: &Filter,
    window: Window,
) -> Result<Vec<(Day, Vec<u8>)>, ViewError> {
    let Some(number) = names.find(name) else { return Ok(Vec::new()) };
    let mut select = connection
        .prepare_cached("SELECT day, body FROM kpi_values WHERE metric = ?1 AND grp = ?2 AND day >= ?3 AND day < ?4")?;
    let mut bodies = Vec::new();
    for group in matching(connection, filter)? {
        let mut rows = select.query(params![number, group, day_number(window.from), day_number(window.to)])?;
        while let Some(row) = rows.next()? {
            bodies.push((Day(row.get(0)?), row.get(1)?));
        }
    }
    Ok(bodies)
}

fn ranked<'a>(bodies: impl Iterator<Item = &'a [u8]>) -> Result<[Option<u64>; 2], ViewError> {
    let ranked = Ranked::over(bodies).ok_or_else(|| damaged("durations", "bytes"))?;
    Ok([ranked.percentile(50), ranked.percentile(95)])
}

/// Each group's stock at the end of the window.
fn drift(connection: &Connection, window: Window, filter: &Filter) -> Result<Covered, ViewError> {
    let mut select = connection
        .prepare_cached("SELECT body FROM kpi_stock WHERE grp = ?1 AND day < ?2 ORDER BY day DESC LIMIT 1")?;
    let mut covered = Covered::default();
    for group in matching(connection, filter)? {
        let found = select.query_row(params![group, day_number(window.to)], |row| row.get::<_, Vec<u8>>(0));
        if let Some(body) = found.optional()? {
            covered += stock(&body)?.covered(window);
        }
    }
    Ok(covered)
}

/// The same for every day, each a window of its own: one walk over each group's rows.
fn drift_by_day(connection: &Connection, filter: &Filter, points: &mut BTreeMap<Day, Sums>) -> Result<(), ViewError> {
    let Some(last) = points.keys().next_back().copied() else { return Ok(()) };
    let mut select =
        connection.prepare_cached("SELECT day, body FROM kpi_stock WHERE grp = ?1 AND day <= ?2 ORDER BY day")?;
    for group in matching(connection, filter)? {
        let mut rows = select.query(params![group, day_number(last)])?;
        let mut stocks: Vec<(Day, Stock)> = Vec::new();
        while let Some(row) = rows.next()? {
            stocks.push((Day(row.get(0)?), stock(row.get_ref(1)?.as_blob().unwrap_or_default())?));
        }
        for (day, sums) in points.iter_mut() {
            let behind = stocks.partition_point(|(written, _)| written <= day);
            if let Some((_, stock)) = behind.checked_sub(1).and_then(|at| stocks.get(at)) {
                sums.drift += stock.covered(Window { from: *day, to: Day(day.0 + 1) });
            }
        }
    }
    Ok(())
}

fn stock(body: &[u8]) -> Result<Stock, ViewError> {
    Stock::decode(body).ok_or_else(|| damaged("stock", "bytes"))
}

fn unwatched(connection: &Connection, window: Window, filter: &Filter, limit: usize) -> Result<Vec<Missed>, ViewError> {
    let mut select = connection.prepare_cached(
        "SELECT changes.change, changes.first_index, checked, identity, g.owner, g.environment, g.class FROM managed_resources m \
         JOIN kpi_groups g USING (grp) JOIN event_rows ON event_rows.entry = m.entry JOIN change_rows changes ON changes.first_index = event_rows.first_index \
         WHERE managed AND NOT watched AND (checked IS NULL OR checked < ?1)",
    )?;
    let mut rows = select.query([day_number(window.from)])?;
    let mut missed = Vec::new();
    while let Some(row) = rows.next()?.filter(|_| missed.len() < limit) {
        if passes(row, 4, filter)? {
            let day = row.get::<_, Option<u32>>(2)?.map(Day);
            missed.push(Missed { change: change(row, 0)?, first_index: row.get(1)?, day, resource: row.get(3)? });
        }
    }
    Ok(missed)
}

/// Whether owner, environment and class from column `at` on pass.
fn passes(row: &rusqlite::Row<'_>, at: usize, filter: &Filter) -> Result<bool, ViewError> {
    let holds = |column: usize, wanted: Option<&str>| -> Result<bool, ViewError> {
        let found: Option<String> = row.get(column)?;
        Ok(wanted.is_none() || wanted == found.as_deref())
    };
    Ok(holds(at, filter.owner.as_deref())?
        && holds(at + 1, filter.environment.as_ref().map(Environment::as_str))?
        && holds(at + 2, filter.class.map(ChangeClass::as_str))?)
}

fn change(row: &rusqlite::Row<'_>, column: usize) -> Result<ChangeId, ViewError> {
    let text: String = row.get(column)?;
    ChangeId::parse(&text).map_err(|_| damaged("change", &text))
}

//! Questions to the KPI tables: the sums of a window, day by day, and the changes behind a figure.

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

/// Rows that one page looks at.
pub(super) const SCANNED_MAX: usize = 20_000;

/// The sums of one day.
#[derive(Clone, Debug)]
pub struct TrendPoint {
    /// The day.
    pub day: Day,
    /// Its sums.
    pub sums: Sums,
}

/// Which of the changes behind a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Those that count against it; of MTTR every failure.
    #[default]
    Against,
    /// The others.
    For,
    /// Both.
    All,
}

/// A change behind a figure, or a managed resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The change; of a resource, the one that spoke of it last.
    pub change: ChangeId,
    /// Its first entry.
    pub first_index: u64,
    /// The day it counts on; of resources, the day they were last compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// What it adds to numerator, denominator and microseconds.
    pub total: [u64; 3],
    /// Whether it counts against the figure.
    pub against: bool,
    /// The resource, as RFC 8785.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// Where a page of them ended: the day (-1 of a resource that never was compared), then the change's first entry or the resource's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountedKey(pub(super) i64, pub(super) u64);

impl fmt::Display for CountedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

impl FromStr for CountedKey {
    type Err = ViewError;

    fn from_str(text: &str) -> Result<Self, ViewError> {
        let parts = text.split_once('.').and_then(|(day, rest)| {
            let day = day.parse().ok().filter(|day| (-1..=i64::from(u32::MAX)).contains(day))?;
            Some(Self(day, rest.parse().ok()?))
        });
        // Only what a page gave: `+1.01` is the same number, and no key.
        parts
            .filter(|key| key.to_string() == text)
            .ok_or_else(|| ViewError::PageKey { found: text.chars().take(64).collect() })
    }
}

impl Reader {
    /// The sums of a window. Days that have not come yet have none.
    pub fn kpis(&self, window: Window, filter: &Filter) -> Result<Sums, ViewError> {
        self.at_once(|views| sums(&views.connection, window, filter))
    }

    /// The sums of each day of a window, in their order; each as if it were a window of its own.
    pub fn kpi_trend(&self, window: Window, filter: &Filter) -> Result<Vec<TrendPoint>, ViewError> {
        self.at_once(|views| trend(&views.connection, window, filter))
    }

    /// The first and the last day that have anything.
    pub fn kpi_days(&self) -> Result<Option<(Day, Day)>, ViewError> {
        let sql = "SELECT min(day), max(day) FROM kpi_sums WHERE grp = 0 AND den > 0";
        let found = self.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (first, last): (Option<u32>, Option<u32>) = found;
        Ok(first.zip(last).map(|(first, last)| (Day(first), Day(last))))
    }

    /// The changes behind a figure, newest day first: up to `limit`, from behind `after`; and the key to go on with. Of drift coverage, the managed
    /// resources as of the last entry.
    pub fn kpi_changes(
        &self,
        name: &str,
        window: Window,
        filter: &Filter,
        side: Side,
        after: Option<CountedKey>,
        limit: usize,
    ) -> Result<(Vec<Counted>, Option<CountedKey>), ViewError> {
        self.at_once(|views| {
            if name == metric::DRIFT_COVERAGE {
                return super::resources::page(&views.connection, window, filter, side, after, limit);
            }
            let names = Names::load(&views.connection)?;
            let numbers = metric::parts_of(name).into_iter().filter_map(|part| names.find(part));
            let (mut counted, mut behind) = (Vec::new(), None);
            for number in numbers {
                let (some, next) = counted_of(&views.connection, number, window, filter, side, after, limit)?;
                counted.extend(some);
                // Whatever part ended first: the page goes no further.
                behind = behind.max(next);
            }
            counted.sort_by_key(|one: &Counted| Reverse(one.key()));
            // One that counts in two parts on one day stands once.
            counted.dedup_by(|second, first| {
                let same = first.key() == second.key();
                if same {
                    first.against |= second.against;
                    first.total.iter_mut().zip(second.total).for_each(|(sum, part)| *sum += part);
                }
                same
            });
            if let Some(behind) = behind {
                counted.retain(|one| one.key() >= behind);
            }
            if counted.len() > limit {
                counted.truncate(limit);
                behind = counted.last().map(Counted::key);
            }
            Ok((counted, behind))
        })
    }
}

fn sums(connection: &Connection, window: Window, filter: &Filter) -> Result<Sums, ViewError> {
    let groups = Groups::matching(connection, filter)?;
    let names = Names::load(connection)?;
    let mut sums = Sums { drift: drift(connection, window, filter)?, ..Sums::default() };
    for (_, name, total) in totals(connection, &groups, window)? {
        sums.totals.entry(name).or_default().add(&total);
    }
    for name in metric::DURATIONS {
        let bodies = durations(connection, &names, name, filter, window)?;
        let ranked = ranked(bodies.iter().map(|(_, body)| body.as_slice()))?;
        sums.percentiles.insert(name.to_owned(), ranked);
    }
    Ok(sums)
}

fn trend(connection: &Connection, window: Window, filter: &Filter) -> Result<Vec<TrendPoint>, ViewError> {
    let groups = Groups::matching(connection, filter)?;
    let names = Names::load(connection)?;
    let days = (window.from.0..window.to.0).map(Day);
    let mut points: BTreeMap<Day, Sums> = days.map(|day| (day, Sums::default())).collect();
    for (day, name, total) in totals(connection, &groups, window)? {
        if let Some(sums) = points.get_mut(&day) {
            sums.totals.entry(name).or_default().add(&total);
        }
    }
    for name in metric::DURATIONS {
        let mut of_day: BTreeMap<Day, Vec<Vec<u8>>> = BTreeMap::new();
        for (day, body) in durations(connection, &names, name, filter, window)? {
            of_day.entry(day).or_default().push(body);
        }
        for (day, sums) in &mut points {
            let bodies = of_day.get(day).map(Vec::as_slice).unwrap_or_default();
            sums.percentiles.insert(name.to_owned(), ranked(bodies.iter().map(Vec::as_slice))?);
        }
    }
    drift_by_day(connection, filter, &mut points)?;
    Ok(points.into_iter().map(|(day, sums)| TrendPoint { day, sums }).collect())
}

impl Counted {
    fn key(&self) -> CountedKey {
        CountedKey(self.day.map_or(0, day_number), self.first_index)
    }
}

/// A page of what one metric counts.
fn counted_of(
    connection: &Connection,
    number: i64,
    window: Window,
    filter: &Filter,
    side: Side,
    after: Option<CountedKey>,
    limit: usize,
) -> Result<(Vec<Counted>, Option<CountedKey>), ViewError> {
    let (index, only) = match side {
        Side::Against => ("INDEXED BY kpi_changes_against", "AND against"),
        Side::For => ("NOT INDEXED", "AND NOT against"),
        Side::All => ("NOT INDEXED", ""),
    };
    let mut select = connection.prepare_cached(&format!(
        "SELECT day, k.first_index, changes.change, g.owner, g.environment, g.class, num, den, sum_us, against FROM kpi_change_rows k {index} \
         CROSS JOIN change_rows changes ON changes.first_index = k.first_index CROSS JOIN samples ON samples.first_index = k.first_index \
         CROSS JOIN kpi_groups g ON g.grp = samples.grp WHERE metric = ?1 AND day >= ?2 AND day < ?3 AND day <= ?4 \
         AND (day < ?4 OR k.first_index < ?5) {only} ORDER BY day DESC, k.first_index DESC"
    ))?;
    let CountedKey(day, index) = after.unwrap_or(CountedKey(i64::MAX, u64::MAX));
    let index = i64::try_from(index).unwrap_or(i64::MAX);
    let (from, to) = (day_number(window.from), day_number(window.to));
    let mut rows = select.query(params![number, from, to, day, index])?;
    let (mut counted, mut scanned, mut behind) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        if counted.len() >= limit || scanned >= SCANNED_MAX {
            return Ok((counted, behind));
        }
        scanned += 1;
        let first_index: u64 = row.get(1)?;
        behind = Some(CountedKey(row.get(0)?, first_index));
        if passes(row, 3, filter)? {
            counted.push(Counted {
                change: change(row, 2)?,
                first_index,
                day: Some(Day(row.get(0)?)),
                total: [row.get(6)?, row.get(7)?, row.get(8)?],
                against: row.get(9)?,
                resource: None,
            });
        }
    }
    Ok((counted, None))
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
    Ok(ranked.percentiles([50, 95]))
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

/// Whether owner, environment and class from column `at` on pass.
pub(super) fn passes(row: &rusqlite::Row<'_>, at: usize, filter: &Filter) -> Result<bool, ViewError> {
    let holds = |column: usize, wanted: Option<&str>| -> Result<bool, ViewError> {
        let found: Option<String> = row.get(column)?;
        Ok(wanted.is_none() || wanted == found.as_deref())
    };
    Ok(holds(at, filter.owner.as_deref())?
        && holds(at + 1, filter.environment.as_ref().map(Environment::as_str))?
        && holds(at + 2, filter.class.map(ChangeClass::as_str))?)
}

pub(super) fn change(row: &rusqlite::Row<'_>, column: usize) -> Result<ChangeId, ViewError> {
    let text: String = row.get(column)?;
    ChangeId::parse(&text).map_err(|_| damaged("change", &text))
}

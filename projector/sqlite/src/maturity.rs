//! What maturity asks of the KPI tables beyond sums: environments, runs of conformance cases; the attestations on record; and the levels of each day.
//!
//! The level of a day looks back over 90 days, so a late entry moves up to 90 of them. A chunk only marks the days that it moves as stale; whoever has
//! time settles a few of them, and whoever asks meanwhile gets stale days made on the spot: so the cost of a chunk does not depend on how long the
//! history is, and answers do not depend on what is settled.

use std::collections::{BTreeMap, BTreeSet};

use projector::kpi::figure::Sums;
use projector::kpi::scratch::Filter;
use projector::kpi::{DAY_MS, Day, Window};
use projector::maturity::attestation::{self, Recorded};
use projector::maturity::evidence::{Count, Figures};
use projector::maturity::{DayLevels, WINDOW_DAYS, day_levels};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::error::ViewError;
use crate::write::number;
use crate::{Reader, Views};

/// Attestations, change by change; and the levels of each day.
pub(crate) const SCHEMA: &str = include_str!("maturity.sql");

/// Replaces the attestations of a change, and gives the first day on which that changed anything.
pub(crate) fn replace(
    transaction: &Transaction<'_>,
    first_index: u64,
    recorded: &[Recorded],
) -> Result<Option<Day>, ViewError> {
    let mut select =
        transaction.prepare_cached("SELECT body FROM attestation_rows WHERE first_index = ?1 ORDER BY entry")?;
    let before: Vec<Recorded> = select
        .query_map([first_index], |row| row.get::<_, String>(0))?
        .map(|body| read(&body?))
        .collect::<Result<_, ViewError>>()?;
    if before == recorded {
        return Ok(None);
    }
    transaction.prepare_cached("DELETE FROM attestation_rows WHERE first_index = ?1")?.execute([first_index])?;
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO attestation_rows VALUES (?1, ?2, ?3)")?;
    for one in recorded {
        let body = serde_json::to_string(one).unwrap_or_default();
        insert.execute(params![one.index, first_index, body])?;
    }
    Ok(before.iter().chain(recorded).map(|one| Day::of(one.at)).min())
}

fn read(body: &str) -> Result<Recorded, ViewError> {
    let damaged = |_| ViewError::Damaged { what: "attestation", found: body.chars().take(64).collect() };
    serde_json::from_str(body).map_err(damaged)
}

/// What a chunk moves.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Days whose sums changed.
    pub(crate) days: BTreeSet<Day>,
    /// Something changed that stands from this day on: a resource or an attestation.
    pub(crate) from: Option<Day>,
}

/// Marks the days that a chunk moves as stale. The log's time went on from `before_ms` (`None`: this is its first chunk), through entries from
/// `first_ms` on, to `now_ms`.
pub(crate) fn note(
    transaction: &Transaction<'_>,
    moved: &Moved,
    assessors: &BTreeMap<String, String>,
    before_ms: Option<u64>,
    first_ms: u64,
    now_ms: u64,
) -> Result<(), ViewError> {
    let today = Day::of(now_ms);
    let last = Day::of(before_ms.unwrap_or(first_ms));
    let mut stale = BTreeSet::new();
    let mut mark = |from: Day, to: Day| stale.extend((from.0..=to.0.min(today.0)).map(Day));
    // Yesterday was told as of some hour of it, and today has not been told yet.
    if before_ms.is_none() || last < today {
        mark(last, today);
    }
    for day in &moved.days {
        mark(*day, Day(day.0.saturating_add(WINDOW_DAYS - 1)));
    }
    if let Some(from) = moved.from {
        mark(from, today);
    }
    // An attestation may have expired since.
    let first = first_attested(transaction)?;
    if first.is_some() && before_ms.is_some_and(|before| before < now_ms) {
        mark(today, today);
    }
    if replace_assessors(transaction, assessors)?
        && let Some(first) = first
    {
        mark(first, today);
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO maturity_days (day, stale) VALUES (?1, 1) ON CONFLICT DO UPDATE SET stale = 1 WHERE NOT stale",
    )?;
    for day in stale {
        insert.execute([day.0])?;
    }
    Ok(())
}

fn first_attested(connection: &Connection) -> Result<Option<Day>, ViewError> {
    let mut select = connection.prepare_cached("SELECT body FROM attestation_rows ORDER BY entry LIMIT 1")?;
    let body: Option<String> = select.query_row([], |row| row.get(0)).optional()?;
    body.map(|body| Ok(Day::of(read(&body)?.at))).transpose()
}

/// Whether they are others than before.
fn replace_assessors(transaction: &Transaction<'_>, assessors: &BTreeMap<String, String>) -> Result<bool, ViewError> {
    if assessors_of(transaction)? == *assessors {
        return Ok(false);
    }
    transaction.execute("DELETE FROM maturity_assessors", [])?;
    for (key, name) in assessors {
        transaction.execute("INSERT INTO maturity_assessors VALUES (?1, ?2)", [key, name])?;
    }
    Ok(true)
}

fn assessors_of(connection: &Connection) -> Result<BTreeMap<String, String>, ViewError> {
    let mut select = connection.prepare_cached("SELECT key, name FROM maturity_assessors")?;
    Ok(select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// By environment: changes that executed in the window, and those of them that were rolled back with evidence. One row a group and day is looked up: a
/// range of the table would hold all metrics of all days that there ever were.
const ENVIRONMENTS: &str = "WITH RECURSIVE days(day) AS (SELECT ?1 WHERE ?1 < ?2 UNION ALL SELECT day + 1 FROM days WHERE day + 1 < ?2) \
    SELECT coalesce(environment, ''), sum(num), sum(den) FROM metrics CROSS JOIN kpi_groups CROSS JOIN days \
    CROSS JOIN kpi_sums ON kpi_sums.grp = kpi_groups.grp AND kpi_sums.day = days.day AND kpi_sums.metric = metrics.metric \
    WHERE name = 'rollback_executed' GROUP BY 1";

const CASES: &str = "SELECT name, num, den FROM kpi_sums JOIN metrics USING (metric) \
    WHERE grp = 0 AND name LIKE 'case.%' AND day >= ?1 AND day < ?2 ORDER BY day";

impl Reader {
    /// By environment: rollbacks with evidence, of changes that executed.
    pub fn maturity_environments(&self, window: Window) -> Result<BTreeMap<String, Count>, ViewError> {
        let rows = counts(&self.connection, ENVIRONMENTS, window)?;
        Ok(rows
            .into_iter()
            .map(|(name, count)| (if name.is_empty() { "(no environment)".to_owned() } else { name }, count))
            .collect())
    }

    /// Runs of conformance cases by day, oldest first.
    pub fn maturity_cases(&self, window: Window) -> Result<Vec<(String, Count)>, ViewError> {
        counts(&self.connection, CASES, window)
    }

    /// Every attestation on record.
    pub fn attestations(&self) -> Result<Vec<Recorded>, ViewError> {
        let mut select = self.connection.prepare_cached("SELECT body FROM attestation_rows ORDER BY entry")?;
        let bodies: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        bodies.iter().map(|body| read(body)).collect()
    }

    /// What a window shows, with the attestations by these assessors that stood at `at_ms`.
    pub fn maturity(
        &self,
        window: Window,
        assessors: &BTreeMap<String, String>,
        at_ms: u64,
    ) -> Result<(Figures, Sums), ViewError> {
        self.at_once(|views| {
            let sums = views.kpis(window, &Filter::default())?;
            let mut figures = Figures::of(&sums, views.maturity_environments(window)?);
            let cases = views.maturity_cases(window)?;
            figures.take_cases(cases.iter().map(|(name, count)| (name.as_str(), *count)));
            figures.attested = attestation::standing(&views.attestations()?, assessors, at_ms);
            Ok((figures, sums))
        })
    }

    /// The levels of these days, in their order: as they stand in the table, or made now where they do not or are stale.
    pub fn maturity_daily(&self, days: impl IntoIterator<Item = Day>) -> Result<Vec<(Day, DayLevels)>, ViewError> {
        self.at_once(|views| {
            let assessors = assessors_of(&views.connection)?;
            let now_ms = log_time(&views.connection)?;
            let mut select = views.connection.prepare_cached(
                "SELECT level, level_with_attestations, cap, phases, phases_with_attestations FROM maturity_days WHERE day = ?1 AND NOT stale",
            )?;
            let mut told = Vec::new();
            for day in days {
                let found = select.query_row([day.0], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?, row.get::<_, String>(4)?))
                });
                let levels = match found.optional()? {
                    Some((level, with_attestations, cap, phases, attested)) => DayLevels {
                        level,
                        with_attestations,
                        cap,
                        phases: digits(&phases),
                        phases_with_attestations: digits(&attested),
                    },
                    None => views.levels_of(day, &assessors, now_ms)?,
                };
                told.push((day, levels));
            }
            Ok(told)
        })
    }

    /// The window that ends with a day, as of its end or, before that, of the log's time.
    fn levels_of(&self, day: Day, assessors: &BTreeMap<String, String>, now_ms: u64) -> Result<DayLevels, ViewError> {
        let to = day.0.saturating_add(1);
        let window = Window { from: Day(to.saturating_sub(WINDOW_DAYS)), to: Day(to) };
        let end_ms = u64::from(to) * DAY_MS - 1;
        Ok(day_levels(&self.maturity(window, assessors, end_ms.min(now_ms))?.0))
    }
}

impl Views {
    /// Settles up to so many stale days of `maturity_daily`, the newest first; whether more are left.
    pub fn settle_maturity(&mut self, days: usize) -> Result<bool, ViewError> {
        let limit = number("days", days as u64)?;
        let stale: Vec<u32> = {
            let mut select = self.connection.prepare_cached(
                "SELECT day FROM maturity_days INDEXED BY stale_maturity_days WHERE stale ORDER BY day DESC LIMIT ?1 + 1",
            )?;
            select.query_map([limit], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        let (assessors, now_ms) = (assessors_of(&self.connection)?, log_time(&self.connection)?);
        let made = stale.iter().take(days).map(|day| Ok((*day, self.levels_of(Day(*day), &assessors, now_ms)?)));
        let made = made.collect::<Result<Vec<_>, ViewError>>()?;
        let transaction = self.reader.connection.transaction()?;
        {
            let mut put =
                transaction.prepare_cached("REPLACE INTO maturity_days VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6)")?;
            for (day, levels) in made {
                let (phases, attested) = (text(&levels.phases), text(&levels.phases_with_attestations));
                put.execute(params![day, levels.level, levels.with_attestations, levels.cap, phases, attested])?;
            }
        }
        transaction.commit()?;
        Ok(stale.len() > days)
    }
}

/// A level has one digit.
fn text(levels: &[u8]) -> String {
    levels.iter().map(u8::to_string).collect()
}

fn digits(text: &str) -> Vec<u8> {
    text.bytes().map(|digit| digit.wrapping_sub(b'0')).collect()
}

fn log_time(connection: &Connection) -> Result<u64, ViewError> {
    let mut select = connection.prepare_cached("SELECT at FROM cursors WHERE name = 'detail'")?;
    Ok(select.query_row([], |row| row.get(0))?)
}

fn counts(connection: &Connection, sql: &str, window: Window) -> Result<Vec<(String, Count)>, ViewError> {
    let mut select = connection.prepare_cached(sql)?;
    let day = |day: Day| i64::from(day.0);
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Count { num: row.get(1)?, den: row.get(2)? }));
    Ok(select.query_map([day(window.from), day(window.to)], read)?.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After ten years a level costs as much as on the first day.
    #[test]
    fn environments_are_looked_up_day_by_day() {
        let dir = tempfile::TempDir::new().unwrap();
        let views = Views::open(&dir.path().join("v.db")).unwrap();
        let mut plan = views.connection.prepare(&format!("EXPLAIN QUERY PLAN {ENVIRONMENTS}")).unwrap();
        let steps: Vec<String> = plan.query_map([1, 2], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        let of_sums: Vec<_> = steps.iter().filter(|step| step.contains("kpi_sums")).collect();
        assert_eq!(of_sums, ["SEARCH kpi_sums USING PRIMARY KEY (grp=? AND day=? AND metric=?)"], "{steps:?}");
    }
}

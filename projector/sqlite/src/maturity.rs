//! What maturity asks of the KPI tables beyond sums: environments, runs of conformance cases; and the attestations on record.

use std::collections::BTreeMap;

use projector::kpi::{Day, Window};
use projector::maturity::attestation::Recorded;
use projector::maturity::evidence::Count;
use rusqlite::{Connection, Transaction, params};

use crate::Reader;
use crate::error::ViewError;

/// Attestations, change by change.
pub(crate) const SCHEMA: &str = "CREATE TABLE attestation_rows (
    entry INTEGER PRIMARY KEY,
    first_index INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX attestations_by_change ON attestation_rows (first_index);";

/// Replaces the attestations of a change.
pub(crate) fn replace(transaction: &Transaction<'_>, first_index: u64, recorded: &[Recorded]) -> Result<(), ViewError> {
    transaction.prepare_cached("DELETE FROM attestation_rows WHERE first_index = ?1")?.execute([first_index])?;
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO attestation_rows VALUES (?1, ?2, ?3)")?;
    for one in recorded {
        let body = serde_json::to_string(one).unwrap_or_default();
        insert.execute(params![one.index, first_index, body])?;
    }
    Ok(())
}

/// By environment: changes that executed in the window, and those of them that were rolled back with evidence.
const ENVIRONMENTS: &str = "SELECT coalesce(environment, ''), sum(num), sum(den) FROM kpi_sums \
    JOIN metrics USING (metric) JOIN kpi_groups USING (grp) \
    WHERE grp > 0 AND name = 'rollback_executed' AND day >= ?1 AND day < ?2 GROUP BY 1";

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
        let read = |body: &String| {
            serde_json::from_str(body)
                .map_err(|_| ViewError::Damaged { what: "attestation", found: body.chars().take(64).collect() })
        };
        bodies.iter().map(read).collect()
    }
}

fn counts(connection: &Connection, sql: &str, window: Window) -> Result<Vec<(String, Count)>, ViewError> {
    let mut select = connection.prepare_cached(sql)?;
    let day = |day: Day| i64::from(day.0);
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Count { num: row.get(1)?, den: row.get(2)? }));
    Ok(select.query_map([day(window.from), day(window.to)], read)?.collect::<Result<_, _>>()?)
}

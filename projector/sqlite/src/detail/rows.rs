//! Rows of the detail tables: those of a change as one thread makes them of what was told ([`ChangeRows`]), and another writes them ([`Writer`]).

mod cells;

use ledger::read::RejectedRow;
use projector::account::Account;
use projector::detail::{Detail, From};
use projector::kpi::Sample;
use projector::maturity::attestation::Recorded;
use rusqlite::types::ToSqlOutput;
use rusqlite::{CachedStatement, Transaction, params};

use cells::Cells;

use crate::error::ViewError;
use crate::rows::{BUCKET_BITS, id_key};
use crate::write::number;

/// The tables that hold rows of changes under `first_index`, which is the first column of each.
pub(crate) const TABLES: [&str; 11] = [
    "attempt_rows",
    "plan_rows",
    "approval_rows",
    "policy_rows",
    "step_rows",
    "check_rows",
    "resource_rows",
    "rollback_rows",
    "drift_rows",
    "anomaly_rows",
    "cut_changes",
];

/// Their columns behind that.
const COLUMNS: [usize; 11] = [12, 12, 15, 7, 12, 9, 10, 7, 7, 6, 0];

/// Places in [`TABLES`].
const ATTEMPTS: u8 = 0;
const PLANS: u8 = 1;
const APPROVALS: u8 = 2;
const POLICIES: u8 = 3;
const STEPS: u8 = 4;
const CHECKS: u8 = 5;
const RESOURCES: u8 = 6;
const ROLLBACKS: u8 = 7;
const DRIFT: u8 = 8;
const ANOMALIES: u8 = 9;
const CUT: u8 = 10;

const NAMES_OF: &str = "SELECT DISTINCT name FROM resource_rows WHERE first_index = ?1 AND name IS NOT NULL";

const DELETE_NAME: &str = "DELETE FROM resource_ids WHERE bucket = ?1 AND id_key = ?2 AND first_index = ?3";

/// All rows of one change, ready to be written, and what measures ask of it.
#[derive(Clone, Debug, Default)]
pub struct ChangeRows {
    cells: Cells,
    /// Keys of its resources' names, each once.
    names: Vec<i64>,
    pub(super) account: Option<Box<Account>>,
    pub(super) clauses: Vec<Sample>,
    pub(super) attestations: Vec<Recorded>,
}

impl ChangeRows {
    /// Of what its entries tell.
    pub fn of(detail: Detail<'_>) -> Result<Self, ViewError> {
        let mut rows = Self { cells: Cells::with_room(), ..Self::default() };
        rows.put_attempts(&detail)?;
        rows.put_before(&detail)?;
        rows.put_done(&detail)?;
        rows.put_found(&detail)?;
        rows.put_resources(&detail)?;
        if detail.cut {
            rows.cells.push(CUT, &[]);
        }
        rows.cells.shrink();
        let Detail { account, clauses, attestations, .. } = detail;
        Ok(Self { account, clauses, attestations, ..rows })
    }

    fn put_attempts(&mut self, detail: &Detail<'_>) -> Result<(), ViewError> {
        let entry = |index: Option<u64>| index.map(|index| number("entry", index)).transpose();
        for row in &detail.attempts {
            let attempt = number("attempt", row.attempt)?;
            let (executed, approved_by, refused_by) =
                (entry(row.executed)?, entry(row.approved_by)?, entry(row.refused_by)?);
            self.cells.push(
                ATTEMPTS,
                &[
                    &attempt,
                    &row.state,
                    &row.reached,
                    &executed,
                    &row.plan_digest,
                    &row.needs_approval,
                    &row.emergency,
                    &row.approved,
                    &approved_by,
                    &row.approval_grade,
                    &refused_by,
                    &row.missing,
                ],
            );
        }
        Ok(())
    }

    /// What is said before a change is executed.
    fn put_before(&mut self, detail: &Detail<'_>) -> Result<(), ViewError> {
        for (row, n) in detail.plans.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            let commands = number("commands", row.commands)?;
            self.cells.push(
                PLANS,
                &[
                    &n,
                    &entry,
                    &attempt,
                    &row.digest,
                    &row.stated_digest,
                    &row.inputs_digest,
                    &commands,
                    &row.required_approvals,
                    &row.window_from,
                    &row.window_to,
                    &row.compile_ms,
                    &row.has_rollback,
                ],
            );
        }
        for (row, n) in detail.approvals.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            let lapses_at = row.lapses_at.map(|at| number("time", at)).transpose()?;
            self.cells.push(
                APPROVALS,
                &[
                    &n,
                    &entry,
                    &attempt,
                    &row.approver,
                    &row.role,
                    &row.decision,
                    &row.word,
                    &row.decided_at,
                    &row.plan_digest,
                    &row.signature_attached,
                    &row.expires,
                    &row.grade,
                    &row.counts,
                    &row.lacks,
                    &lapses_at,
                ],
            );
        }
        for (row, n) in detail.policies.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.cells.push(POLICIES, &[&n, &entry, &attempt, &row.name, &row.mandatory, &row.result, &row.message]);
        }
        Ok(())
    }

    /// What was done.
    fn put_done(&mut self, detail: &Detail<'_>) -> Result<(), ViewError> {
        for (row, n) in detail.steps.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.cells.push(
                STEPS,
                &[
                    &n,
                    &entry,
                    &attempt,
                    &row.kind,
                    &number("step", row.number)?,
                    &row.command,
                    &row.rc,
                    &row.duration_ms,
                    &row.stdout_ref,
                    &row.stderr_ref,
                    &row.truncated,
                    &row.logged,
                ],
            );
        }
        for (row, n) in detail.rollbacks.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            let (steps, failed) = (number("steps", row.steps)?, number("steps", row.failed_steps)?);
            self.cells.push(ROLLBACKS, &[&n, &entry, &attempt, &row.result, &row.outcome, &steps, &failed]);
        }
        Ok(())
    }

    /// What was found.
    fn put_found(&mut self, detail: &Detail<'_>) -> Result<(), ViewError> {
        for (row, n) in detail.checks.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.cells.push(
                CHECKS,
                &[&n, &entry, &attempt, &row.stage, &row.kind, &row.name, &row.target, &row.ok, &row.message],
            );
        }
        for (row, n) in detail.drift.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            let differences = row.differences.map(|count| number("differences", count)).transpose()?;
            self.cells.push(
                DRIFT,
                &[&n, &entry, &attempt, &differences, &row.baseline_hash, &row.current_hash, &row.monitored],
            );
        }
        for (row, n) in detail.anomalies.iter().zip(0_i64..) {
            let (entry, attempt) = (number("entry", row.index)?, number("attempt", row.attempt)?);
            let since = number("time", row.at)?;
            self.cells.push(ANOMALIES, &[&n, &entry, &attempt, &row.code.as_str(), &row.text, &since]);
        }
        Ok(())
    }

    fn put_resources(&mut self, detail: &Detail<'_>) -> Result<(), ViewError> {
        for (row, n) in detail.resources.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.cells.push(
                RESOURCES,
                &[
                    &n,
                    &entry,
                    &attempt,
                    &row.cloud,
                    &row.endpoint,
                    &row.kind,
                    &row.name,
                    &row.scope,
                    &row.location,
                    &row.action,
                ],
            );
            self.names.extend(row.name.as_deref().map(id_key));
        }
        self.names.sort_unstable();
        self.names.dedup();
        Ok(())
    }
}

/// Writes the rows of one change after the other.
pub(super) struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    /// As [`TABLES`].
    inserts: Vec<CachedStatement<'t>>,
    /// Bucket, key and change of each resource's name, to be written in the order of their keys.
    names: Vec<[i64; 3]>,
}

impl<'t> Writer<'t> {
    pub(super) fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, ViewError> {
        let insert = |(table, columns): (&&str, usize)| {
            transaction.prepare_cached(&format!("INSERT INTO {table} VALUES (?{})", ", ?".repeat(columns)))
        };
        let inserts = TABLES.iter().zip(COLUMNS).map(insert).collect::<Result<_, _>>()?;
        Ok(Self { transaction, inserts, names: Vec::new() })
    }

    /// Takes out all rows of a change.
    pub(super) fn delete(&mut self, key: i64) -> Result<(), ViewError> {
        let mut names = self.transaction.prepare_cached(NAMES_OF)?;
        let mut forget = self.transaction.prepare_cached(DELETE_NAME)?;
        let mut rows = names.query([key])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            forget.execute([key >> BUCKET_BITS, id_key(&name), key])?;
        }
        for table in TABLES {
            let sql = format!("DELETE FROM {table} WHERE first_index = ?1");
            self.transaction.prepare_cached(&sql)?.execute([key])?;
        }
        Ok(())
    }

    /// Puts in all rows of a change that has none.
    pub(super) fn insert(&mut self, key: i64, rows: &ChangeRows) -> Result<(), ViewError> {
        let mut cells = rows.cells.read();
        while let Some(table) = cells.table() {
            let insert = &mut self.inserts[usize::from(table)];
            insert.raw_bind_parameter(1, key)?;
            for column in 0..COLUMNS[usize::from(table)] {
                insert.raw_bind_parameter(column + 2, ToSqlOutput::Borrowed(cells.cell()))?;
            }
            insert.raw_execute()?;
        }
        self.names.extend(rows.names.iter().map(|name| [key >> BUCKET_BITS, *name, key]));
        Ok(())
    }

    /// Writes what was kept to be sorted.
    pub(super) fn finish(mut self) -> Result<(), ViewError> {
        self.names.sort_unstable();
        let mut insert = self.transaction.prepare_cached("INSERT INTO resource_ids VALUES (?1, ?2, ?3)")?;
        for id in self.names {
            insert.execute(id)?;
        }
        Ok(())
    }
}

pub(super) fn insert_rejections(transaction: &Transaction<'_>, rejections: &[RejectedRow]) -> Result<(), ViewError> {
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO rejection_rows VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    for row in rejections {
        insert.execute(params![
            number("entry", row.index)?,
            number("time", row.at_ms)?,
            row.reason.as_str(),
            row.details.subject,
            row.details.path,
            row.details.found,
            row.details.expected,
            number("size", row.size)?,
            row.masked
        ])?;
    }
    Ok(())
}

fn place(from: From) -> Result<(i64, i64), ViewError> {
    Ok((number("entry", from.entry)?, number("attempt", from.attempt)?))
}

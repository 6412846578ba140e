//! Rows of the detail tables, one statement a table.

use ledger::read::RejectedRow;
use projector::detail::{Detail, From};
use rusqlite::{CachedStatement, Transaction, params};

use crate::error::ViewError;
use crate::rows::{BUCKET_BITS, id_key};
use crate::write::number;

/// The tables that hold rows of changes under `first_index`.
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

const NAMES_OF: &str = "SELECT DISTINCT name FROM resource_rows WHERE first_index = ?1 AND name IS NOT NULL";

const DELETE_NAME: &str = "DELETE FROM resource_ids WHERE bucket = ?1 AND id_key = ?2 AND first_index = ?3";

/// Writes the rows of one change after the other.
pub(super) struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    attempts: CachedStatement<'t>,
    plans: CachedStatement<'t>,
    approvals: CachedStatement<'t>,
    policies: CachedStatement<'t>,
    steps: CachedStatement<'t>,
    checks: CachedStatement<'t>,
    resources: CachedStatement<'t>,
    rollbacks: CachedStatement<'t>,
    drift: CachedStatement<'t>,
    anomalies: CachedStatement<'t>,
    /// Bucket, key and change of each resource's name, to be written in the order of their keys.
    names: Vec<[i64; 3]>,
}

impl<'t> Writer<'t> {
    pub(super) fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, ViewError> {
        let insert = |table: &str, columns: usize| {
            let places: Vec<String> = (1..=columns).map(|column| format!("?{column}")).collect();
            transaction.prepare_cached(&format!("INSERT INTO {table} VALUES ({})", places.join(", ")))
        };
        Ok(Self {
            transaction,
            attempts: insert("attempt_rows", 13)?,
            plans: insert("plan_rows", 13)?,
            approvals: insert("approval_rows", 16)?,
            policies: insert("policy_rows", 8)?,
            steps: insert("step_rows", 13)?,
            checks: insert("check_rows", 10)?,
            resources: insert("resource_rows", 11)?,
            rollbacks: insert("rollback_rows", 8)?,
            drift: insert("drift_rows", 8)?,
            anomalies: insert("anomaly_rows", 7)?,
            names: Vec::new(),
        })
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
    pub(super) fn insert(&mut self, key: i64, detail: &Detail) -> Result<(), ViewError> {
        self.insert_attempts(key, detail)?;
        self.insert_before(key, detail)?;
        self.insert_done(key, detail)?;
        self.insert_resources(key, detail)?;
        if detail.cut {
            self.transaction.prepare_cached("INSERT INTO cut_changes VALUES (?1)")?.execute([key])?;
        }
        Ok(())
    }

    fn insert_attempts(&mut self, key: i64, detail: &Detail) -> Result<(), ViewError> {
        let entry = |index: Option<u64>| index.map(|index| number("entry", index)).transpose();
        for row in &detail.attempts {
            self.attempts.execute(params![
                key,
                number("attempt", row.attempt)?,
                row.state,
                row.reached,
                entry(row.executed)?,
                row.plan_digest,
                row.needs_approval,
                row.emergency,
                row.approved,
                entry(row.approved_by)?,
                row.approval_grade,
                entry(row.refused_by)?,
                row.missing
            ])?;
        }
        Ok(())
    }

    /// Rows of what is said before a change is executed.
    fn insert_before(&mut self, key: i64, detail: &Detail) -> Result<(), ViewError> {
        for (row, n) in detail.plans.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.plans.execute(params![
                key,
                n,
                entry,
                attempt,
                row.digest,
                row.stated_digest,
                row.inputs_digest,
                number("commands", row.commands)?,
                row.required_approvals,
                row.window_from,
                row.window_to,
                row.compile_ms,
                row.has_rollback
            ])?;
        }
        for (row, n) in detail.approvals.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.approvals.execute(params![
                key,
                n,
                entry,
                attempt,
                row.approver,
                row.role,
                row.decision,
                row.word,
                row.decided_at,
                row.plan_digest,
                row.signature_attached,
                row.expires,
                row.grade,
                row.counts,
                row.lacks,
                row.lapses_at.map(|at| number("time", at)).transpose()?
            ])?;
        }
        for (row, n) in detail.policies.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.policies.execute(params![key, n, entry, attempt, row.name, row.mandatory, row.result, row.message])?;
        }
        Ok(())
    }

    /// Rows of what was done, and of what was found.
    fn insert_done(&mut self, key: i64, detail: &Detail) -> Result<(), ViewError> {
        for (row, n) in detail.steps.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.steps.execute(params![
                key,
                n,
                entry,
                attempt,
                row.kind,
                number("step", row.number)?,
                row.command,
                row.rc,
                row.duration_ms,
                row.stdout_ref,
                row.stderr_ref,
                row.truncated,
                row.logged
            ])?;
        }
        for (row, n) in detail.checks.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.checks.execute(params![
                key,
                n,
                entry,
                attempt,
                row.stage,
                row.kind,
                row.name,
                row.target,
                row.ok,
                row.message
            ])?;
        }
        for (row, n) in detail.rollbacks.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            let (steps, failed) = (number("steps", row.steps)?, number("steps", row.failed_steps)?);
            self.rollbacks.execute(params![key, n, entry, attempt, row.result, row.outcome, steps, failed])?;
        }
        for (row, n) in detail.drift.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            let differences = row.differences.map(|count| number("differences", count)).transpose()?;
            self.drift.execute(params![
                key,
                n,
                entry,
                attempt,
                differences,
                row.baseline_hash,
                row.current_hash,
                row.monitored
            ])?;
        }
        for (row, n) in detail.anomalies.iter().zip(0_i64..) {
            let (entry, attempt) = (number("entry", row.index)?, number("attempt", row.attempt)?);
            let since = number("time", row.at)?;
            self.anomalies.execute(params![key, n, entry, attempt, row.code.as_str(), row.text, since])?;
        }
        Ok(())
    }

    fn insert_resources(&mut self, key: i64, detail: &Detail) -> Result<(), ViewError> {
        let first = self.names.len();
        for (row, n) in detail.resources.iter().zip(0_i64..) {
            let (entry, attempt) = place(row.from)?;
            self.resources.execute(params![
                key,
                n,
                entry,
                attempt,
                row.cloud,
                row.endpoint,
                row.kind,
                row.name,
                row.scope,
                row.location,
                row.action
            ])?;
            let id = row.name.as_deref().map(|name| [key >> BUCKET_BITS, id_key(name), key]);
            self.names.extend(id.filter(|id| !self.names[first..].contains(id)));
        }
        Ok(())
    }

    /// Writes what was kept to be sorted.
    pub(super) fn finish(mut self) -> Result<(), ViewError> {
        self.names.sort_unstable();
        self.names.dedup();
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

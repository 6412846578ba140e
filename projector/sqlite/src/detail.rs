//! The detail tables: which changes are pending, and their rows anew.
//!
//! Detail follows core with a cursor of its own. A chunk takes the changes that its entries touch and gives each all its rows anew, made of
//! *all* its events that core knows: also of those past the chunk, so that a change with thousands of events in a backlog is read once, not once
//! for each chunk that it appears in ([`Reader::pending_detail`] leaves out what was covered ahead). Rows out, rows in and the cursor are one
//! transaction.
//!
//! Left out: reading entries ([`Pending`] says which) and what they mean ([`projector::detail`]).

use std::collections::{BTreeMap, HashMap, HashSet};

use ledger::read::RejectedRow;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use schemas::ids::ChangeId;

use crate::error::ViewError;
use crate::maturity::Moved;
use crate::rows::parsed;
use crate::write::number;
use crate::{Reader, Views};
use crate::{kpi, maturity};

mod rows;

pub use rows::ChangeRows;

/// In the words of the index `steps_by_reference`, or it is not used.
const REFERENCES: &str = "SELECT entry, stdout_ref, stderr_ref FROM step_rows WHERE entry >= ?1 AND entry < ?2 \
    AND (substr(stdout_ref, 1, 6) = 'obs://' OR substr(stderr_ref, 1, 6) = 'obs://') ORDER BY entry";

/// How much one chunk takes, at most; a single change is taken whole, however large.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLimits {
    /// Entries that the cursor moves.
    pub entries: u64,
    /// Events of the touched changes, which all have to be read.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// What the next chunk of detail needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The detail cursor.
    pub from: u64,
    /// Where it will be after this chunk, exclusive: never past the core cursor.
    pub to: u64,
    /// The changes that entries `from..to` touch, and whose rows do not cover them yet, by first entry.
    pub changes: Vec<Touched>,
}

/// A change whose rows are to be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Its first entry, which is its key in the tables.
    pub first: u64,
    /// The change.
    pub change: ChangeId,
    /// All its events that core knows, with the bytes of each payload, in the order of the log. Never empty.
    pub events: Vec<(u64, u64)>,
    /// It has no rows yet.
    pub fresh: bool,
}

/// What the entries of a pending chunk say.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Of its changes, in their order.
    pub details: &'a [ChangeRows],
    /// The rejections among its entries.
    pub rejections: &'a [RejectedRow],
    /// Whose attestations count, by the tenant's newest facts: names by fingerprints.
    pub assessors: &'a BTreeMap<String, String>,
    /// The log's time of its first entry, of whatever kind, milliseconds.
    pub first_ms: u64,
    /// The log's time of its last entry: what comes by time alone has come by then.
    pub at_ms: u64,
}

impl Touched {
    fn last(&self) -> u64 {
        self.events.last().map_or(self.first, |(index, _)| *index)
    }
}

impl Reader {
    /// The first entry that the detail tables do not cover yet.
    pub fn detail_cursor(&self) -> Result<u64, ViewError> {
        cursor(&self.connection)
    }

    /// References to objects (`obs://…`) that steps of the covered entries from `from` on have, each with its entry, and the first entry behind
    /// those that were looked at.
    pub fn references(&self, from: u64) -> Result<(Vec<(u64, String)>, u64), ViewError> {
        self.at_once(|views| {
            let covered = cursor(&views.connection)?;
            let mut statement = views.connection.prepare_cached(REFERENCES)?;
            let from_entry = number("entry", from)?;
            let rows = statement.query_map([from_entry, number("entry", covered)?], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(2)?))
            })?;
            let mut found = Vec::new();
            for row in rows {
                let (entry, stdout, stderr) = row?;
                let entry = u64::try_from(entry).unwrap_or_default();
                found.extend(stdout.into_iter().chain(stderr).map(|reference| (entry, reference)));
            }
            Ok((found, covered.max(from)))
        })
    }

    /// What the next chunk of detail needs; `from == to` when detail has caught up with core.
    pub fn pending_detail(&self, limits: &ChunkLimits) -> Result<Pending, ViewError> {
        self.pending_detail_after(&Unwritten::default(), limits)
    }

    /// The same as if chunks were written that are not yet: so one is read while the one before is written.
    pub fn pending_detail_after(&self, unwritten: &Unwritten, limits: &ChunkLimits) -> Result<Pending, ViewError> {
        self.at_once(|views| pending(&views.connection, unwritten, limits))
    }
}

/// Chunks that follow each other from the cursor on, whether they are written by now or not.
#[derive(Clone, Debug, Default)]
pub struct Unwritten {
    /// Where they end.
    to: u64,
    /// Changes that are covered past that: up to which entry, exclusive.
    ahead: HashMap<u64, u64>,
}

impl Unwritten {
    /// Adds the chunk behind the last one.
    pub fn add(&mut self, chunk: &Pending) {
        self.to = chunk.to;
        self.ahead.extend(chunk.changes.iter().map(|touched| (touched.first, touched.last() + 1)));
        self.ahead.retain(|_, upto| *upto > chunk.to);
    }
}

impl Views {
    /// Replaces the rows of the pending changes, adds rejections, and moves the detail cursor; gives the new cursor.
    ///
    /// Refused whole ([`ViewError::Hole`]) where the cursor is not at `pending.from` any more.
    pub fn project_detail(&mut self, pending: &Pending, told: &Told<'_>) -> Result<u64, ViewError> {
        let Told { details, rejections, assessors, first_ms, at_ms } = *told;
        let transaction = self.reader.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from = cursor(&transaction)?;
        if from != pending.from || details.len() != pending.changes.len() {
            return Err(ViewError::Hole { expected: from, found: pending.from });
        }
        let moved = replace(&transaction, pending, details)?;
        rows::insert_rejections(&transaction, rejections)?;
        note_ahead(&transaction, pending)?;
        let before_ms = transaction.query_row("SELECT at FROM cursors WHERE name = 'detail'", [], |row| row.get(0))?;
        maturity::note(
            &transaction,
            &moved,
            assessors,
            (from > 0).then_some(before_ms),
            first_ms,
            at_ms.max(before_ms),
        )?;
        let mut advance =
            transaction.prepare_cached("UPDATE cursors SET next_index = ?1, at = max(at, ?2) WHERE name = 'detail'")?;
        advance.execute([number("entry", pending.to)?, number("time", at_ms)?])?;
        drop(advance);
        transaction.commit()?;
        Ok(pending.to)
    }
}

/// Every touched change's rows out and in. What measures changes hooks in here: old samples out, new ones in.
fn replace(transaction: &Transaction<'_>, pending: &Pending, details: &[ChangeRows]) -> Result<Moved, ViewError> {
    let mut moved = Moved::default();
    let mut writer = rows::Writer::prepare(transaction)?;
    for (touched, detail) in pending.changes.iter().zip(details) {
        let key = number("entry", touched.first)?;
        if !touched.fresh {
            writer.delete(key)?;
        }
        writer.insert(key, detail)?;
        if !touched.fresh || !detail.attestations.is_empty() {
            let from = maturity::replace(transaction, touched.first, &detail.attestations)?;
            moved.from = [moved.from, from].into_iter().flatten().min();
        }
    }
    writer.finish()?;
    let measured = pending.changes.iter().zip(details).filter_map(|(touched, detail)| {
        let account = detail.account.as_deref()?;
        Some(kpi::Touched { first_index: touched.first, fresh: touched.fresh, account, more: &detail.clauses })
    });
    kpi::replace(transaction, &(pending.from..pending.to), &measured.collect::<Vec<_>>(), &mut moved)?;
    Ok(moved)
}

/// Remembers which changes are covered past the cursor, and forgets those that are not any more.
fn note_ahead(transaction: &Transaction<'_>, pending: &Pending) -> Result<(), ViewError> {
    let mut note = transaction.prepare_cached("INSERT OR REPLACE INTO ahead VALUES (?1, ?2)")?;
    for touched in pending.changes.iter().filter(|touched| touched.last() >= pending.to) {
        note.execute(params![number("entry", touched.first)?, number("entry", touched.last() + 1)?])?;
    }
    transaction.prepare_cached("DELETE FROM ahead WHERE upto <= ?1")?.execute([number("entry", pending.to)?])?;
    Ok(())
}

fn cursor(connection: &Connection) -> Result<u64, ViewError> {
    let mut statement = connection.prepare_cached("SELECT next_index FROM cursors WHERE name = 'detail'")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Events from the cursor on, and up to where the rows of their changes reach already.
const TOUCHED: &str = "SELECT entry, event_rows.first_index, coalesce(upto, 0) FROM event_rows \
    LEFT JOIN ahead ON ahead.first_index = event_rows.first_index WHERE entry >= ?1 AND entry < ?2 ORDER BY entry";

const EVENTS_OF: &str =
    "SELECT entry, size FROM event_rows INDEXED BY events_by_change WHERE first_index = ?1 ORDER BY entry";

const CHANGE_OF: &str = "SELECT change FROM change_rows WHERE first_index = ?1";

fn pending(connection: &Connection, unwritten: &Unwritten, limits: &ChunkLimits) -> Result<Pending, ViewError> {
    let from = cursor(connection)?.max(unwritten.to);
    let core = crate::write::cursor(connection)?;
    let mut pending =
        Pending { from, to: core.min(from.saturating_add(limits.entries)).max(from), changes: Vec::new() };
    let mut select = connection.prepare_cached(TOUCHED)?;
    let mut rows = select.query([number("entry", from)?, number("entry", pending.to)?])?;
    let (mut seen, mut events, mut bytes) = (HashSet::new(), 0, 0);
    while let Some(row) = rows.next()? {
        let (entry, first, upto): (u64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let upto = unwritten.ahead.get(&first).map_or(upto, |unwritten| upto.max(*unwritten));
        if entry < upto || seen.contains(&first) {
            continue;
        }
        if events >= limits.events || bytes >= limits.bytes {
            pending.to = entry;
            break;
        }
        let touched = Touched { fresh: first >= from && upto == 0, ..touched(connection, first)? };
        events += touched.events.len();
        bytes += touched.events.iter().map(|(_, size)| size).sum::<u64>();
        seen.insert(first);
        pending.changes.push(touched);
    }
    pending.changes.sort_unstable_by_key(|touched| touched.first);
    Ok(pending)
}

fn touched(connection: &Connection, first: u64) -> Result<Touched, ViewError> {
    let key = number("entry", first)?;
    let mut select = connection.prepare_cached(CHANGE_OF)?;
    let mut rows = select.query([key])?;
    let change = rows.next()?.map(|row| parsed(row, 0, "change", |text| ChangeId::parse(text).ok())).transpose()?;
    let mut select = connection.prepare_cached(EVENTS_OF)?;
    let events = select.query_map([key], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
    let change = change.filter(|_| !events.is_empty());
    let change = change.ok_or_else(|| ViewError::Damaged { what: "change", found: format!("no events of {first}") })?;
    Ok(Touched { first, change, events, fresh: false })
}

#[cfg(test)]
pub(crate) mod tests;

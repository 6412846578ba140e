//! Entries into the core views: one transaction per batch, one upsert per change in it.

use std::collections::HashMap;
use std::sync::mpsc;

use ledger::entry::{EventHeader, Header};
use projector::facts::{Gist, Said, Visibility};
use projector::fold::ChangeFold;
use rusqlite::{CachedStatement, Connection, Statement, Transaction, TransactionBehavior, params};
use schemas::ids::{ChangeClass, ChangeId, Environment, Producer};
use schemas::scan::Tape;

use crate::error::ViewError;
use crate::query::{change_of_event_sql, change_sql};
use crate::rows::{BUCKET_BITS, fold_of, id_key};
use crate::{Reader, Views};

/// Rows that are read at a time ahead of the inserts.
const READ_AHEAD_ROWS: usize = 256;

/// Such chunks that may wait.
const READ_AHEAD_CHUNKS: usize = 4;

/// One entry of the log, whatever its kind: the cursor counts them all.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Index in the log.
    pub index: u64,
    /// The entry's header.
    pub header: &'a Header,
    /// An event's stored payload; empty for other kinds, and for an event that was erased.
    pub payload: &'a [u8],
    /// What admission has read off an event's payload already; none where it is still to be read.
    pub gist: Option<&'a Gist>,
    /// Entry of the change's previous event, where the caller knows it: saves looking the change up by its id.
    pub previous: Option<u64>,
}

impl<'a> Row<'a> {
    /// An entry out of the store, of which nothing has been read yet.
    pub fn stored(index: u64, header: &'a Header, payload: &'a [u8]) -> Self {
        Self { index, header, payload, gist: None, previous: None }
    }

    /// The same, behind a known previous event of its change.
    #[must_use]
    pub fn after(self, previous: Option<u64>) -> Self {
        Self { previous, ..self }
    }
}

impl Reader {
    /// The first entry that the core views do not hold yet.
    pub fn core_cursor(&self) -> Result<u64, ViewError> {
        cursor(&self.connection)
    }
}

impl Views {
    /// Projects consecutive entries and returns the new cursor. Entries below the cursor are skipped, so a batch may be
    /// handed in again; one that begins past the cursor or leaves an entry out is refused whole ([`ViewError::Hole`]).
    pub fn project(&mut self, rows: &[Row<'_>]) -> Result<u64, ViewError> {
        let transaction = self.reader.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from = cursor(&transaction)?;
        let rows = unseen(rows, from)?;
        let Some(last) = rows.last() else {
            return Ok(from);
        };
        let next = last.index + 1;
        let folds = insert_events(&transaction, rows)?;
        insert_ids(&transaction, rows)?;
        upsert_changes(&transaction, folds)?;
        transaction
            .prepare_cached("UPDATE cursors SET next_index = ?1 WHERE name = 'core'")?
            .execute([number("entry", next)?])?;
        transaction.commit()?;
        Ok(next)
    }
}

/// A change of the batch, and what it was in the views before.
struct Folded {
    before: Option<ChangeFold>,
    now: ChangeFold,
}

pub(crate) fn cursor(connection: &Connection) -> Result<u64, ViewError> {
    let mut statement = connection.prepare_cached("SELECT next_index FROM cursors WHERE name = 'core'")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// The rows from the cursor on, if they go on without a hole.
fn unseen<'r, 'a>(rows: &'r [Row<'a>], from: u64) -> Result<&'r [Row<'a>], ViewError> {
    for pair in rows.windows(2) {
        if Some(pair[1].index) != pair[0].index.checked_add(1) {
            return Err(ViewError::Hole { expected: pair[0].index.saturating_add(1), found: pair[1].index });
        }
    }
    match rows.first() {
        Some(first) if first.index > from => Err(ViewError::Hole { expected: from, found: first.index }),
        Some(first) => {
            number("entry", rows[rows.len() - 1].index)?;
            let known = usize::try_from(from - first.index).unwrap_or(usize::MAX);
            Ok(rows.get(known..).unwrap_or_default())
        }
        None => Ok(&[]),
    }
}

/// Reads payloads on a thread of its own while this one talks to `SQLite`, where there are enough that nobody has read yet.
fn insert_events(transaction: &Transaction<'_>, rows: &[Row<'_>]) -> Result<Vec<Folded>, ViewError> {
    let mut events = Events::prepare(transaction, rows.len())?;
    let unread = rows.iter().filter(|row| row.gist.is_none() && !row.payload.is_empty()).count();
    if unread < 2 * READ_AHEAD_ROWS {
        events.insert(rows, &read(rows, &mut Tape::default()))?;
        return Ok(events.folds);
    }
    let (sender, receiver) = mpsc::sync_channel(READ_AHEAD_CHUNKS);
    std::thread::scope(|scope| {
        // Ends with the rows, or when the receiver is dropped because an insert failed.
        scope.spawn(move || {
            let mut tape = Tape::default();
            rows.chunks(READ_AHEAD_ROWS).try_for_each(|chunk| sender.send(read(chunk, &mut tape)))
        });
        rows.chunks(READ_AHEAD_ROWS).zip(receiver).try_for_each(|(chunk, read)| events.insert(chunk, &read))
    })?;
    Ok(events.folds)
}

/// The gists of the rows that nobody has read yet; none for the others.
fn read(rows: &[Row<'_>], tape: &mut Tape) -> Vec<Option<Gist>> {
    let mut gist = |row: &Row<'_>| match row.header {
        Header::Event(header) if row.gist.is_none() && !row.payload.is_empty() => {
            Gist::scan(row.payload, tape, header.phase)
        }
        _ => None,
    };
    rows.iter().map(&mut gist).collect()
}

/// The events of a batch on their way into the views, and the changes they belong to.
struct Events<'t, 'a> {
    select: CachedStatement<'t>,
    select_of_event: CachedStatement<'t>,
    insert: CachedStatement<'t>,
    places: HashMap<&'a ChangeId, usize>,
    folds: Vec<Folded>,
    has: String,
}

impl<'t, 'a> Events<'t, 'a> {
    fn prepare(transaction: &'t Transaction<'_>, rows: usize) -> Result<Self, ViewError> {
        Ok(Self {
            select: transaction.prepare_cached(&change_sql())?,
            select_of_event: transaction.prepare_cached(&change_of_event_sql())?,
            insert: transaction.prepare_cached(INSERT_EVENT)?,
            places: HashMap::with_capacity(rows),
            folds: Vec::new(),
            has: String::new(),
        })
    }

    /// `read` is what was read of these rows just now.
    fn insert(&mut self, rows: &[Row<'a>], read: &[Option<Gist>]) -> Result<(), ViewError> {
        for (row, read) in rows.iter().zip(read) {
            let Header::Event(header) = row.header else { continue };
            let said = Said::by(header, row.gist.or(read.as_ref()));
            let place = self.place(row, header)?;
            let fold = &mut self.folds[place].now;
            fold.apply(row.index, header, &said);
            list(&mut self.has, header);
            insert_event(&mut self.insert, row.index, header, said.attempt, fold.first.index, &self.has)?;
        }
        Ok(())
    }

    /// Where in `folds` the change of an event is, loaded when the batch first meets it.
    fn place(&mut self, row: &Row<'a>, header: &'a EventHeader) -> Result<usize, ViewError> {
        if let Some(place) = self.places.get(&header.change) {
            return Ok(*place);
        }
        let before = self.load(row, header)?;
        let now = before.clone().unwrap_or_else(|| ChangeFold::new(header.change.clone()));
        let place = self.folds.len();
        self.folds.push(Folded { before, now });
        self.places.insert(&header.change, place);
        Ok(place)
    }

    /// The change as the views know it. The first event of a change says by its position that there is nothing to look for.
    fn load(&mut self, row: &Row<'_>, header: &EventHeader) -> Result<Option<ChangeFold>, ViewError> {
        if header.seq == 0 {
            return Ok(None);
        }
        if let Some(previous) = row.previous {
            let mut rows = self.select_of_event.query([number("entry", previous)?])?;
            let found = rows.next()?.map(fold_of).transpose()?;
            if found.as_ref().is_some_and(|found| found.change == header.change) {
                return Ok(found);
            }
        }
        let change = header.change.as_str();
        let mut rows = self.select.query(params![change, id_key(change)])?;
        rows.next()?.map(fold_of).transpose()
    }
}

/// In the order of their keys, so that neighbours land on one page.
fn insert_ids(transaction: &Transaction<'_>, rows: &[Row<'_>]) -> Result<(), ViewError> {
    let mut ids = Vec::with_capacity(rows.len());
    for row in rows {
        if let Header::Event(header) = row.header
            && header.id.as_str() != header.change.as_str()
        {
            ids.push(place_of_id(header.id.as_str(), row.index)?);
        }
    }
    insert_sorted(transaction.prepare_cached("INSERT INTO event_ids VALUES (?1, ?2, ?3)")?, ids)
}

/// Bucket, key and entry of an id.
fn place_of_id(id: &str, entry: u64) -> Result<[i64; 3], ViewError> {
    let entry = number("entry", entry)?;
    Ok([entry >> BUCKET_BITS, id_key(id), entry])
}

fn insert_sorted(mut insert: CachedStatement<'_>, mut ids: Vec<[i64; 3]>) -> Result<(), ViewError> {
    ids.sort_unstable();
    for id in ids {
        insert.execute(id)?;
    }
    Ok(())
}

/// The sections of an event, sorted, separated by commas.
fn list(has: &mut String, header: &EventHeader) {
    has.clear();
    for name in header.has.iter() {
        if !has.is_empty() {
            has.push(',');
        }
        has.push_str(name);
    }
}

fn insert_event(
    insert: &mut Statement<'_>,
    index: u64,
    header: &EventHeader,
    attempt: u64,
    first_index: u64,
    has: &str,
) -> Result<(), ViewError> {
    insert.execute(params![
        number("entry", index)?,
        number("entry", first_index)?,
        number("position", header.seq)?,
        header.id.as_str(),
        header.phase.as_str(),
        number("attempt", attempt)?,
        number("time", header.at)?,
        header.ts,
        has,
        header.outcome.as_str(),
        header.env.as_ref().map(Environment::as_str),
        header.class.map(ChangeClass::as_str),
        header.probe,
        header.producer.as_ref().map(Producer::as_str),
        number("size", header.size)?,
        header.masked,
    ])?;
    Ok(())
}

const INSERT_EVENT: &str =
    "INSERT INTO event_rows VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

const INSERT_CHANGE: &str = "INSERT INTO change_rows (first_index, attempt, marks, events, last_index, last_at, request, class, \
    asked_visibility, reached, state, owner, initiator, environment, change, first_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

const ADVANCE_CHANGE: &str = "UPDATE change_rows SET attempt = ?2, marks = ?3, events = ?4, last_index = ?5, last_at = ?6, request = ?7, \
    class = ?8, asked_visibility = ?9, reached = ?10 WHERE first_index = ?1";

const RESTATE_CHANGE: &str = "UPDATE change_rows SET state = ?2 WHERE first_index = ?1";

const RENAME_CHANGE: &str =
    "UPDATE change_rows SET owner = ?2, initiator = ?3, environment = ?4 WHERE first_index = ?1";

/// Written in the order of their keys. Columns under an index are left alone where they did not change, because `SQLite`
/// rewrites the index of every column that an UPDATE names.
fn upsert_changes(transaction: &Transaction<'_>, mut folds: Vec<Folded>) -> Result<(), ViewError> {
    folds.sort_unstable_by_key(|folded| folded.now.first.index);
    let mut insert = transaction.prepare_cached(INSERT_CHANGE)?;
    let mut advance = transaction.prepare_cached(ADVANCE_CHANGE)?;
    let mut restate = transaction.prepare_cached(RESTATE_CHANGE)?;
    let mut rename = transaction.prepare_cached(RENAME_CHANGE)?;
    let mut ids = Vec::new();
    for Folded { before, now } in folds {
        let key = number("entry", now.first.index)?;
        let Some(before) = before else {
            insert_change(&mut insert, &now)?;
            ids.push(place_of_id(now.change.as_str(), now.first.index)?);
            continue;
        };
        advance_change(&mut advance, &now)?;
        if before.state() != now.state() {
            restate.execute(params![key, now.state().as_str()])?;
        }
        if (&before.owner, &before.initiator, &before.environment) != (&now.owner, &now.initiator, &now.environment) {
            rename.execute(params![
                key,
                now.owner,
                now.initiator,
                now.environment.as_ref().map(Environment::as_str)
            ])?;
        }
    }
    insert_sorted(transaction.prepare_cached("INSERT INTO change_ids VALUES (?1, ?2, ?3)")?, ids)
}

fn insert_change(insert: &mut Statement<'_>, fold: &ChangeFold) -> Result<(), ViewError> {
    insert.execute(params![
        number("entry", fold.first.index)?,
        number("attempt", fold.attempt)?,
        fold.marks.bits(),
        number("events", fold.events)?,
        number("entry", fold.last.index)?,
        number("time", fold.last.at)?,
        fold.request,
        fold.class.map(ChangeClass::as_str),
        fold.asked_visibility.map(Visibility::as_str),
        fold.reached().as_str(),
        fold.state().as_str(),
        fold.owner,
        fold.initiator,
        fold.environment.as_ref().map(Environment::as_str),
        fold.change.as_str(),
        number("time", fold.first.at)?,
    ])?;
    Ok(())
}

fn advance_change(advance: &mut Statement<'_>, fold: &ChangeFold) -> Result<(), ViewError> {
    advance.execute(params![
        number("entry", fold.first.index)?,
        number("attempt", fold.attempt)?,
        fold.marks.bits(),
        number("events", fold.events)?,
        number("entry", fold.last.index)?,
        number("time", fold.last.at)?,
        fold.request,
        fold.class.map(ChangeClass::as_str),
        fold.asked_visibility.map(Visibility::as_str),
        fold.reached().as_str(),
    ])?;
    Ok(())
}

pub(crate) fn number(what: &'static str, value: u64) -> Result<i64, ViewError> {
    i64::try_from(value).map_err(|_| ViewError::TooLarge { what, value })
}

//! Questions to the core views: lists of changes, one change, its events, events by id.
//!
//! Pages follow the index of a change's first entry, newest first. That key never changes, so a page is stable under load: what is
//! appended meanwhile lies before the first page, and nothing is seen twice or missed. A filter uses one index and looks at the
//! rest row by row; a page looks at no more than [`SCANNED_MAX`] rows and then ends early with a key to go on from,
//! so that no question holds a connection for long. A window of time means events: the changes first recorded in it come first, then those that are older
//! and go on in it, which a narrow window finds by its events, and a wide one among all older changes. Resources and anomalies are asked of the detail tables, which may be behind.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use projector::anomaly::Code;
use projector::fold::{Marks, State};
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId};

use crate::Reader;
use crate::error::ViewError;
use crate::rows::{BUCKET_BITS, CHANGE_COLUMNS, ChangeRow, EVENT_COLUMNS, EventRow, fold_of, id_key};

/// Rows that one page looks at: about 5 ms of work.
pub(crate) const SCANNED_MAX: usize = 4_096;

/// Entries of a window whose events are all looked at, to find the older changes that go on in it: about 5 ms of work. In a wider one the older changes
/// are looked at instead, one after the other.
const WINDOW_MAX: i64 = 16_384;

/// Which changes to list. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<State>,
    /// Of this owner, exactly.
    pub owner: Option<String>,
    /// Asked for by this initiator, exactly.
    pub initiator: Option<String>,
    /// In this environment.
    pub environment: Option<Environment>,
    /// Of this class.
    pub class: Option<ChangeClass>,
    /// With a resource of this name, exactly.
    pub resource: Option<String>,
    /// With an anomaly of this code.
    pub anomaly: Option<Code>,
    /// With an event recorded at or after this time (milliseconds, the log's) and, where both are given, before `to_ms`.
    pub from_ms: Option<u64>,
    /// With an event recorded before this time.
    pub to_ms: Option<u64>,
    /// With this text in change, request, initiator or owner, whatever the case.
    pub text: Option<String>,
    /// Without changes of which every event says that it is a probe.
    pub without_probes: bool,
}

/// Where a page ended: the next one goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey(u64);

impl fmt::Display for PageKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl FromStr for PageKey {
    type Err = ViewError;

    fn from_str(text: &str) -> Result<Self, ViewError> {
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit());
        let key = text.parse().ok().filter(|key: &u64| canonical && i64::try_from(*key).is_ok());
        key.map(Self).ok_or_else(|| ViewError::PageKey { found: text.chars().take(64).collect() })
    }
}

/// A page of changes.
#[derive(Clone, Debug)]
pub struct Page {
    /// The changes, newest first. May be fewer than asked for, even none, although there is a next page.
    pub rows: Vec<ChangeRow>,
    /// The next page's key; `None` at the end.
    pub next: Option<PageKey>,
}

impl Reader {
    /// The changes that pass `filter`: up to `limit` of them, from behind `after`.
    pub fn changes(&self, filter: &Filter, after: Option<PageKey>, limit: usize) -> Result<Page, ViewError> {
        self.at_once(|views| {
            let at = |ms: Option<u64>| ms.map(|ms| entry_at(&views.connection, ms)).transpose();
            let window = at(filter.from_ms)?.unwrap_or(0)..at(filter.to_ms)?.unwrap_or(i64::MAX);
            let behind = after.map_or(i64::MAX, |key| i64::try_from(key.0).unwrap_or(i64::MAX));
            scan(&views.connection, filter, window, behind, limit)
        })
    }

    /// The change of this id.
    pub fn change(&self, change: &ChangeId) -> Result<Option<ChangeRow>, ViewError> {
        let mut statement = self.connection.prepare_cached(&change_sql())?;
        let mut rows = statement.query(rusqlite::params![change.as_str(), id_key(change.as_str())])?;
        Ok(rows.next()?.map(fold_of).transpose()?.map(ChangeRow::from))
    }

    /// Events of a change in the order of the log: up to `limit`, from entry `from_index` on.
    pub fn events(&self, change: &ChangeId, from_index: u64, limit: usize) -> Result<Vec<EventRow>, ViewError> {
        let change = change.as_str();
        let parameters = rusqlite::params![change, id_key(change), clamp(from_index), clamp(limit as u64)];
        self.event_rows(&events_sql(), parameters)
    }

    /// Events that carry this id, in the order of the log: ids are not unique. Up to `limit`, from entry `from_index` on.
    pub fn events_by_id(&self, id: &EventId, from_index: u64, limit: usize) -> Result<Vec<EventRow>, ViewError> {
        let parameters = rusqlite::params![id.as_str(), id_key(id.as_str()), clamp(from_index), clamp(limit as u64)];
        let mut events = self.at_once(|views| {
            let mut events = views.event_rows(&events_by_id_sql(), parameters)?;
            events.extend(views.event_rows(&events_named_as_their_change_sql(), parameters)?);
            Ok(events)
        })?;
        events.sort_unstable_by_key(|event| event.index);
        events.truncate(limit);
        Ok(events)
    }

    /// The event of one entry; `None` when the entry is no event or not in the views yet.
    pub fn event(&self, index: u64) -> Result<Option<EventRow>, ViewError> {
        Ok(self.event_rows(&event_sql(), rusqlite::params![clamp(index)])?.pop())
    }

    fn event_rows(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<EventRow>, ViewError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            events.push(EventRow::read(row)?);
        }
        Ok(events)
    }
}

/// The one index that a list walks: the most telling of those its filter can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Resource,
    Initiator,
    Anomaly,
    Owner,
    State,
    Environment,
    All,
}

impl Walk {
    fn of(filter: &Filter) -> (Self, Value) {
        let text = |text: &str| Value::Text(text.to_owned());
        match filter {
            Filter { resource: Some(name), .. } => (Self::Resource, Value::Integer(id_key(name))),
            Filter { initiator: Some(initiator), .. } => (Self::Initiator, text(initiator)),
            Filter { anomaly: Some(code), .. } => (Self::Anomaly, text(code.as_str())),
            Filter { owner: Some(owner), .. } => (Self::Owner, text(owner)),
            Filter { state: Some(state), .. } => (Self::State, text(state.as_str())),
            Filter { environment: Some(environment), .. } => (Self::Environment, text(environment.as_str())),
            _ => (Self::All, Value::Null),
        }
    }

    /// Parameters: the value (`NULL` for all), from (inclusive), to (exclusive); of a resource also the bucket.
    fn sql(self) -> String {
        let own = |by: &str| {
            format!(
                "SELECT {CHANGE_COLUMNS} FROM change_rows {by} AND first_index >= ?2 AND first_index < ?3 ORDER BY first_index DESC"
            )
        };
        let through = |table: &str, by: &str| {
            format!(
                "SELECT {CHANGE_COLUMNS} FROM {table} CROSS JOIN change_rows ON change_rows.first_index = {table}.first_index \
                 WHERE {by} AND {table}.first_index >= ?2 AND {table}.first_index < ?3 ORDER BY {table}.first_index DESC"
            )
        };
        match self {
            Self::Resource => through("resource_ids", "bucket = ?4 AND id_key = ?1"),
            Self::Anomaly => through("anomaly_rows", &format!("code = ?1 AND {HOLDS}")),
            Self::Initiator => own("INDEXED BY changes_by_initiator WHERE initiator = ?1"),
            Self::Owner => own("INDEXED BY changes_by_owner WHERE owner = ?1"),
            Self::State => own("INDEXED BY changes_by_state WHERE state = ?1"),
            Self::Environment => own("INDEXED BY changes_by_environment WHERE environment = ?1"),
            Self::All => own("NOT INDEXED WHERE ?1 IS NULL"),
        }
    }
}

/// A page of what is below `behind`. The key of a change is the entry it was first recorded with, so the window bounds keys, too.
fn scan(
    connection: &Connection,
    filter: &Filter,
    window: Range<i64>,
    behind: i64,
    limit: usize,
) -> Result<Page, ViewError> {
    let mut scan = Scan::new(connection, filter, limit)?;
    scan.stretch(window.start..window.end.min(behind))?;
    let older = window.start.min(behind);
    if scan.ended || older == 0 || window.is_empty() {
        return Ok(scan.page);
    }
    if window.end.min(end(connection)?) - window.start > WINDOW_MAX {
        scan.window = Some(window);
        scan.stretch(0..older)?;
        return Ok(scan.page);
    }
    let mut touched = BTreeSet::new();
    let mut events = connection.prepare_cached(WINDOW_EVENTS)?;
    for first in events.query_map([window.start, window.end], |row| row.get::<_, i64>(0))? {
        touched.insert(first?);
    }
    let mut by_key = connection.prepare_cached(&by_key_sql())?;
    for first in touched.range(..older).rev() {
        if scan.ended {
            break;
        }
        scan.walk(by_key.query([first])?)?;
    }
    Ok(scan.page)
}

/// A page in the making.
struct Scan<'c, 'f> {
    connection: &'c Connection,
    filter: &'f Filter,
    /// Where the changes that are walked are older than the window: its entries.
    window: Option<Range<i64>>,
    /// In lower case.
    text: Option<String>,
    limit: usize,
    has_anomaly: CachedStatement<'c>,
    has_resource: CachedStatement<'c>,
    has_event: CachedStatement<'c>,
    is_real: CachedStatement<'c>,
    page: Page,
    scanned: usize,
    /// The last change looked at.
    behind: Option<u64>,
    ended: bool,
}

impl<'c, 'f> Scan<'c, 'f> {
    fn new(connection: &'c Connection, filter: &'f Filter, limit: usize) -> Result<Self, ViewError> {
        Ok(Self {
            connection,
            filter,
            window: None,
            text: filter.text.as_deref().map(str::to_lowercase),
            limit,
            has_anomaly: connection.prepare_cached(&has_anomaly_sql())?,
            has_resource: connection.prepare_cached(HAS_RESOURCE)?,
            has_event: connection.prepare_cached(HAS_EVENT)?,
            is_real: connection.prepare_cached(IS_REAL)?,
            page: Page { rows: Vec::new(), next: None },
            scanned: 0,
            behind: None,
            ended: false,
        })
    }

    /// Walks the changes whose keys are in this range by the index that tells most.
    fn stretch(&mut self, keys: Range<i64>) -> Result<(), ViewError> {
        let (walk, value) = Walk::of(self.filter);
        let (connection, from, to) = (self.connection, keys.start, keys.end);
        let mut statement = connection.prepare_cached(&walk.sql())?;
        if walk != Walk::Resource {
            return self.walk(statement.query(rusqlite::params![value, from, to])?);
        }
        // Names of resources stand in buckets: the newest first.
        let mut bucket = (to.min(end(connection)?) - 1) >> BUCKET_BITS;
        while bucket >= from >> BUCKET_BITS && bucket >= 0 && !self.ended {
            self.scanned += 1;
            self.walk(statement.query(rusqlite::params![value, from, to, bucket])?)?;
            bucket -= 1;
        }
        Ok(())
    }

    /// Looks at rows, newest first, until the page is full or has looked at enough.
    fn walk(&mut self, mut rows: rusqlite::Rows<'_>) -> Result<(), ViewError> {
        while let Some(row) = rows.next()? {
            let first: u64 = row.get(0)?;
            // A change has several rows of one anomaly.
            if self.behind == Some(first) {
                continue;
            }
            if self.page.rows.len() >= self.limit || self.scanned >= SCANNED_MAX {
                self.page.next = self.behind.map(PageKey);
                self.ended = true;
                return Ok(());
            }
            self.scanned += 1;
            self.behind = Some(first);
            if self.passes(row)? {
                self.page.rows.push(ChangeRow::from(fold_of(row)?));
            }
        }
        Ok(())
    }

    /// Whether a row of [`CHANGE_COLUMNS`] passes the whole filter; its times only where they do not bound the walk. Looks at the columns as they
    /// are, because most rows of a long walk do not.
    fn passes(&mut self, row: &rusqlite::Row<'_>) -> Result<bool, ViewError> {
        let filter = self.filter;
        let text = |column: usize| row.get_ref(column).map(|value| value.as_str().ok());
        let holds = |wanted: Option<&str>, column: usize| -> Result<bool, ViewError> {
            Ok(wanted.is_none() || wanted == text(column)?)
        };
        let plain =
            filter.state.is_none_or(|state| row.get(3).is_ok_and(|marks| Marks::from_bits(marks).state() == state))
                && holds(filter.owner.as_deref(), 10)?
                && holds(filter.initiator.as_deref(), 8)?
                && holds(filter.environment.as_ref().map(Environment::as_str), 11)?
                && holds(filter.class.map(ChangeClass::as_str), 12)?;
        if !plain {
            return Ok(false);
        }
        if let Some(wanted) = &self.text {
            let mut found = false;
            for column in [1, 9, 8, 10] {
                found = found || text(column)?.is_some_and(|text| contains(text, wanted));
            }
            if !found {
                return Ok(false);
            }
        }
        let first: i64 = row.get(0)?;
        if let Some(window) = &self.window {
            let last: i64 = row.get(6)?;
            let within = last >= window.start
                && (last < window.end || self.has_event.exists(rusqlite::params![first, window.start, window.end])?);
            if !within {
                return Ok(false);
            }
        }
        if let Some(code) = filter.anomaly
            && !self.has_anomaly.exists(rusqlite::params![first, code.as_str()])?
        {
            return Ok(false);
        }
        if let Some(name) = &filter.resource
            && !self.has_resource.exists(rusqlite::params![first, name])?
        {
            return Ok(false);
        }
        Ok(!filter.without_probes || self.is_real.exists([first])?)
    }
}

/// The log's time has come as far as an anomaly waits for.
const HOLDS: &str = "since <= (SELECT at FROM cursors WHERE name = 'detail')";

fn has_anomaly_sql() -> String {
    format!("SELECT 1 FROM anomaly_rows WHERE first_index = ?1 AND code = ?2 AND {HOLDS}")
}

const HAS_RESOURCE: &str = "SELECT 1 FROM resource_rows WHERE first_index = ?1 AND name = ?2";

const HAS_EVENT: &str =
    "SELECT 1 FROM event_rows INDEXED BY events_by_change WHERE first_index = ?1 AND entry >= ?2 AND entry < ?3";

/// An event of it that is no probe.
const IS_REAL: &str = "SELECT 1 FROM event_rows INDEXED BY events_by_change WHERE first_index = ?1 AND NOT probe";

/// The changes of the events of a window of entries.
const WINDOW_EVENTS: &str = "SELECT first_index FROM event_rows WHERE entry >= ?1 AND entry < ?2";

fn by_key_sql() -> String {
    format!("SELECT {CHANGE_COLUMNS} FROM change_rows WHERE first_index = ?1")
}

/// Whether a text holds another, which is in lower case, whatever its own case.
fn contains(text: &str, wanted: &str) -> bool {
    if !text.is_ascii() {
        return text.to_lowercase().contains(wanted);
    }
    let Some((first, rest)) = wanted.as_bytes().split_first() else { return true };
    let text = text.as_bytes();
    let mut places = 0..(text.len() + 1).saturating_sub(wanted.len());
    places
        .any(|at| text[at].to_ascii_lowercase() == *first && text[at + 1..at + wanted.len()].eq_ignore_ascii_case(rest))
}

/// Behind the newest event.
fn end(connection: &Connection) -> Result<i64, ViewError> {
    Ok(connection.query_row("SELECT coalesce(max(entry), -1) + 1 FROM event_rows", [], |row| row.get(0))?)
}

/// The first event recorded at or after a time. The log's time never falls, so entries and times rise together and a search by halves needs
/// no index.
fn entry_at(connection: &Connection, at_ms: u64) -> Result<i64, ViewError> {
    let mut after =
        connection.prepare_cached("SELECT entry, at FROM event_rows WHERE entry >= ?1 ORDER BY entry LIMIT 1")?;
    let mut low = 0_i64;
    let mut high = end(connection)?;
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, u64)> = after.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((entry, at)) if at < at_ms => low = entry + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The key of a change, by its id. Parameters: the id, and its key as ?2. Newest bucket first, because people ask for what is new.
fn first_index_sql() -> String {
    "WITH RECURSIVE buckets(bucket) AS (SELECT max(bucket) FROM change_ids UNION ALL SELECT bucket - 1 FROM buckets WHERE bucket > 0) \
     SELECT change_ids.first_index FROM buckets CROSS JOIN change_ids ON change_ids.bucket = buckets.bucket AND id_key = ?2 \
     CROSS JOIN change_rows ON change_rows.first_index = change_ids.first_index WHERE change_rows.change = ?1 LIMIT 1"
        .to_owned()
}

/// A change by its id. Parameters: the id, its key.
pub(crate) fn change_sql() -> String {
    format!("SELECT {CHANGE_COLUMNS} FROM change_rows WHERE first_index = ({})", first_index_sql())
}

/// The change that an event belongs to. Parameter: its entry.
pub(crate) fn change_of_event_sql() -> String {
    format!(
        "SELECT {CHANGE_COLUMNS} FROM change_rows WHERE first_index = (SELECT first_index FROM event_rows WHERE entry = ?1)"
    )
}

/// Parameters of the statements over events: an id, its key, from entry, limit.
fn events_sql() -> String {
    format!("{} ORDER BY event_rows.entry LIMIT ?4", events_of_change_sql())
}

fn events_named_as_their_change_sql() -> String {
    format!("{} AND event_rows.id = ?1 ORDER BY event_rows.entry LIMIT ?4", events_of_change_sql())
}

fn events_of_change_sql() -> String {
    format!(
        "SELECT {EVENT_COLUMNS} FROM event_rows INDEXED BY events_by_change CROSS JOIN change_rows ON change_rows.first_index = event_rows.first_index \
         WHERE event_rows.first_index = ({}) AND event_rows.entry >= ?3",
        first_index_sql()
    )
}

/// Oldest bucket first, and within a bucket one after the other: in the order of the log without being sorted.
fn events_by_id_sql() -> String {
    format!(
        "WITH RECURSIVE buckets(bucket) AS (SELECT ?3 >> {BUCKET_BITS} UNION ALL \
         SELECT bucket + 1 FROM buckets WHERE bucket < (SELECT max(bucket) FROM event_ids)) \
         SELECT {EVENT_COLUMNS} FROM buckets CROSS JOIN event_ids ON event_ids.bucket = buckets.bucket AND id_key = ?2 \
         CROSS JOIN event_rows ON event_rows.entry = event_ids.entry CROSS JOIN change_rows ON change_rows.first_index = event_rows.first_index \
         WHERE event_ids.entry >= ?3 AND event_rows.id = ?1 LIMIT ?4"
    )
}

fn event_sql() -> String {
    format!(
        "SELECT {EVENT_COLUMNS} FROM event_rows CROSS JOIN change_rows ON change_rows.first_index = event_rows.first_index WHERE event_rows.entry = ?1"
    )
}

fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan of a statement, one line a step.
    fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = vec![1_i64; statement.parameter_count()];
        let steps = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_question_uses_its_index_and_sorts_nothing() {
        let dir = tempfile::TempDir::new().unwrap();
        let views = crate::Views::open(&dir.path().join("v.db")).unwrap();
        let by_key = "SEARCH change_rows USING INTEGER PRIMARY KEY (rowid=?)";
        // One probe a bucket: neither bucket nor key is ever scanned.
        let by_id = "CO-ROUTINE buckets\nSETUP\nSEARCH change_ids USING PRIMARY KEY\nRECURSIVE STEP\nSCAN buckets\nSCAN buckets\n\
                     SEARCH change_ids USING PRIMARY KEY (bucket=? AND id_key=?)";
        let log_time = "SCALAR SUBQUERY 1\nSEARCH cursors USING PRIMARY KEY (name=?)";
        let of_change = format!(
            "SEARCH event_rows USING INDEX events_by_change (first_index=? AND rowid>?)\nSCALAR SUBQUERY 3\n{by_id}\n{by_key}\n{by_key}\nREUSE SUBQUERY 3"
        );
        let cases = [
            (
                Walk::Initiator.sql(),
                "SEARCH change_rows USING INDEX changes_by_initiator (initiator=? AND rowid>? AND rowid<?)".into(),
            ),
            (
                Walk::Owner.sql(),
                "SEARCH change_rows USING INDEX changes_by_owner (owner=? AND rowid>? AND rowid<?)".into(),
            ),
            (
                Walk::State.sql(),
                "SEARCH change_rows USING INDEX changes_by_state (state=? AND rowid>? AND rowid<?)".into(),
            ),
            (
                Walk::Environment.sql(),
                "SEARCH change_rows USING INDEX changes_by_environment (environment=? AND rowid>? AND rowid<?)".into(),
            ),
            (
                Walk::Anomaly.sql(),
                format!(
                    "SEARCH anomaly_rows USING COVERING INDEX anomalies_by_code (code=? AND first_index>? AND first_index<?)\n{log_time}\n{by_key}"
                ),
            ),
            (
                Walk::Resource.sql(),
                format!(
                    "SEARCH resource_ids USING PRIMARY KEY (bucket=? AND id_key=? AND first_index>? AND first_index<?)\n{by_key}"
                ),
            ),
            (
                has_anomaly_sql(),
                format!(
                    "SEARCH anomaly_rows USING COVERING INDEX anomalies_by_code (code=? AND first_index=? AND since<?)\n{log_time}"
                ),
            ),
            (
                HAS_EVENT.to_owned(),
                "SEARCH event_rows USING COVERING INDEX events_by_change (first_index=? AND rowid>? AND rowid<?)"
                    .to_owned(),
            ),
            (IS_REAL.to_owned(), "SEARCH event_rows USING INDEX events_by_change (first_index=?)".to_owned()),
            (WINDOW_EVENTS.to_owned(), "SEARCH event_rows USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)".to_owned()),
            (by_key_sql(), by_key.to_owned()),
            (HAS_RESOURCE.to_owned(), "SEARCH resource_rows USING PRIMARY KEY (first_index=?)".to_owned()),
            (Walk::All.sql(), "SEARCH change_rows USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)".to_owned()),
            (change_sql(), format!("{by_key}\nSCALAR SUBQUERY 3\n{by_id}\n{by_key}")),
            (
                change_of_event_sql(),
                format!("{by_key}\nSCALAR SUBQUERY 1\nSEARCH event_rows USING INTEGER PRIMARY KEY (rowid=?)"),
            ),
            (events_named_as_their_change_sql(), of_change.clone()),
            (events_sql(), of_change),
            (
                events_by_id_sql(),
                format!(
                    "CO-ROUTINE buckets\nSETUP\nSCAN CONSTANT ROW\nRECURSIVE STEP\nSCAN buckets\nSCALAR SUBQUERY 2\n\
                     SEARCH event_ids USING PRIMARY KEY\nSCAN buckets\n\
                     SEARCH event_ids USING PRIMARY KEY (bucket=? AND id_key=? AND entry>?)\n\
                     SEARCH event_rows USING INTEGER PRIMARY KEY (rowid=?)\n{by_key}"
                ),
            ),
            (event_sql(), format!("SEARCH event_rows USING INTEGER PRIMARY KEY (rowid=?)\n{by_key}")),
        ];
        for (sql, expect) in cases {
            assert_eq!(plan(&views.connection, &sql), expect, "{sql}");
        }
    }
}

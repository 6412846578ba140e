//! Rows as queries give them, and their columns.

use projector::facts::Visibility;
use projector::fold::{ChangeFold, Marks, Place, State};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::ViewError;

/// The columns of a change, in the order of [`fold_of`].
pub(crate) const CHANGE_COLUMNS: &str = "change_rows.first_index, change, change_rows.attempt, marks, events, first_at, last_index, last_at, initiator, \
    request, owner, environment, class, asked_visibility";

/// The columns of an event, in the order of [`EventRow::read`].
pub(crate) const EVENT_COLUMNS: &str = "event_rows.entry, change_rows.change, event_rows.seq, event_rows.id, event_rows.phase, event_rows.attempt, \
    event_rows.at, event_rows.ts, event_rows.has, event_rows.outcome, event_rows.environment, event_rows.class, event_rows.probe, event_rows.producer, \
    event_rows.size, event_rows.masked";

/// A change in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeRow {
    /// The change.
    pub change: ChangeId,
    /// The state of its highest attempt.
    pub state: State,
    /// That state, looking through a closing.
    pub reached: State,
    /// Its highest attempt.
    pub attempt: u64,
    /// Number of its entries.
    pub events: u64,
    /// Its first entry.
    pub first: Place,
    /// Its last entry.
    pub last: Place,
    /// Who asked, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// What was asked, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Who owns it, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Standard, normal or emergency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ChangeClass>,
    /// Who may see it.
    pub visibility: Visibility,
}

/// An event of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRow {
    /// Index of its entry in the log.
    pub index: u64,
    /// The change.
    pub change: ChangeId,
    /// Position in the change, from 0.
    pub seq: u64,
    /// Event id, as its producer chose it.
    pub id: EventId,
    /// Phase, as its producer gave it.
    pub phase: Phase,
    /// The attempt it belongs to.
    pub attempt: u64,
    /// The log's time, milliseconds.
    pub at: u64,
    /// The producer's time, seconds.
    pub ts: i64,
    /// Sections it has, sorted.
    pub has: Vec<String>,
    /// The outcome in its header.
    pub outcome: String,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Standard, normal or emergency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ChangeClass>,
    /// Whether it is a probe.
    pub probe: bool,
    /// Who the road says sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// Bytes of the payload as stored.
    pub size: u64,
    /// Masked places in it.
    pub masked: u32,
}

impl From<ChangeFold> for ChangeRow {
    fn from(fold: ChangeFold) -> Self {
        Self {
            state: fold.state(),
            reached: fold.reached(),
            visibility: fold.visibility(),
            change: fold.change,
            attempt: fold.attempt,
            events: fold.events,
            first: fold.first,
            last: fold.last,
            initiator: fold.initiator,
            request: fold.request,
            owner: fold.owner,
            environment: fold.environment,
            class: fold.class,
        }
    }
}

/// Ids stand in buckets of 2^16 entries.
pub(crate) const BUCKET_BITS: u32 = 16;

/// The number that an id stands under: the first eight bytes of its SHA-256. Not a weaker hash, because producers
/// choose ids, and thousands under one number would make looking one of them up slow.
pub(crate) fn id_key(id: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(id).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// The fold of a row of [`CHANGE_COLUMNS`].
pub(crate) fn fold_of(row: &rusqlite::Row<'_>) -> Result<ChangeFold, ViewError> {
    Ok(ChangeFold {
        first: Place { index: row.get(0)?, at: row.get(5)? },
        change: parsed(row, 1, "change", |text| ChangeId::parse(text).ok())?,
        attempt: row.get(2)?,
        marks: Marks::from_bits(row.get(3)?),
        events: row.get(4)?,
        last: Place { index: row.get(6)?, at: row.get(7)? },
        initiator: row.get(8)?,
        request: row.get(9)?,
        owner: row.get(10)?,
        environment: optional(row, 11, "environment", |text| Environment::parse(text).ok())?,
        class: optional(row, 12, "class", |text| ChangeClass::parse(text).ok())?,
        asked_visibility: optional(row, 13, "asked_visibility", Visibility::parse)?,
    })
}

impl EventRow {
    /// Reads a row of [`EVENT_COLUMNS`].
    pub(crate) fn read(row: &rusqlite::Row<'_>) -> Result<Self, ViewError> {
        let has: String = row.get(8)?;
        Ok(Self {
            index: row.get(0)?,
            change: parsed(row, 1, "change", |text| ChangeId::parse(text).ok())?,
            seq: row.get(2)?,
            id: parsed(row, 3, "id", |text| EventId::parse(text).ok())?,
            phase: parsed(row, 4, "phase", |text| Phase::parse(text).ok())?,
            attempt: row.get(5)?,
            at: row.get(6)?,
            ts: row.get(7)?,
            has: has.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            outcome: row.get(9)?,
            environment: optional(row, 10, "environment", |text| Environment::parse(text).ok())?,
            class: optional(row, 11, "class", |text| ChangeClass::parse(text).ok())?,
            probe: row.get(12)?,
            producer: row.get(13)?,
            size: row.get(14)?,
            masked: row.get(15)?,
        })
    }
}

pub(crate) fn parsed<T>(
    row: &rusqlite::Row<'_>,
    column: usize,
    what: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ViewError> {
    let text = row.get_ref(column)?;
    let text = text.as_str().map_err(|_| ViewError::Damaged { what, found: format!("{text:?}") })?;
    parse(text).ok_or_else(|| ViewError::Damaged { what, found: text.to_owned() })
}

fn optional<T>(
    row: &rusqlite::Row<'_>,
    column: usize,
    what: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ViewError> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => parsed(row, column, what, parse).map(Some),
    }
}

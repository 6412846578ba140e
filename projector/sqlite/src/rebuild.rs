//! Core views out of the log alone: one thread reads, decodes and looks into payloads, while the caller's talks to `SQLite`.
//!
//! Left out: detail, which follows core with a cursor of its own.

use std::ops::Range;
use std::sync::mpsc::{self, SyncSender};

use ledger::entry::Header;
use ledger::kv::Kv;
use ledger::read::{Log, ReadError};
use projector::facts::Gist;
use schemas::scan::Tape;

use crate::{Row, ViewError, Views};

/// Entries of one transaction: the more, the more rows share a page of an index.
const BATCH: u64 = 16_384;
/// Entries whose payloads are in memory at once; each may have a megabyte.
const STEP: u64 = 128;

/// Why a log could not be projected.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The views can't be written.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The store has a hole.
    #[error("entry {0} is missing from the store")]
    Missing(u64),
}

/// An entry of which all that core views keep has been read.
struct Loaded {
    index: u64,
    header: Header,
    gist: Option<Gist>,
    previous: Option<u64>,
}

impl Loaded {
    fn row(&self) -> Row<'_> {
        let Self { index, header, gist, previous } = self;
        Row { index: *index, header, payload: &[], gist: gist.as_ref(), previous: *previous }
    }
}

/// Projects what the core views lack of the log as it stands, and gives its size. `progress` hears how far they are after each
/// transaction.
pub(crate) fn project_log<K: Kv>(log: &Log<K>, views: &mut Views, progress: &dyn Fn(u64)) -> Result<u64, RebuildError> {
    let size = log.head()?.size;
    let mut next = views.core_cursor()?;
    // One batch waits while one is read and one is written.
    let (sender, batches) = mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        let wanted = next..size;
        scope.spawn(move || read_all(log, wanted, &sender));
        // Dropped on the way out, whichever it is, and that ends the reader.
        for batch in batches {
            let batch: Vec<Loaded> = batch?;
            let rows: Vec<Row<'_>> = batch.iter().map(Loaded::row).collect();
            next = views.project(&rows)?;
            progress(next);
        }
        if next < size { Err(RebuildError::Missing(next)) } else { Ok(size) }
    })
}

/// Sends the entries of `range` in batches, until nobody wants more, one is missing, or one can't be read.
fn read_all<K: Kv>(log: &Log<K>, range: Range<u64>, batches: &SyncSender<Result<Vec<Loaded>, ReadError>>) {
    let mut tape = Tape::default();
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min(from + BATCH);
        let batch = read_batch(log, from..to, &mut tape);
        let whole = batch.as_ref().is_ok_and(|batch| batch.len() as u64 == to - from);
        if batches.send(batch).is_err() || !whole {
            return;
        }
        from = to;
    }
}

fn read_batch<K: Kv>(log: &Log<K>, range: Range<u64>, tape: &mut Tape) -> Result<Vec<Loaded>, ReadError> {
    let mut loaded = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min(from + STEP);
        let mut stored = log.stored_range(from..to, usize::MAX)?.into_iter().peekable();
        for (index, entry) in log.entries(from..to, usize::MAX)? {
            let header = Header::decode(&entry);
            let header = header.map_err(|source| ReadError::Entry { log: log.id(), index, source })?;
            while stored.next_if(|(found, _)| *found < index).is_some() {}
            let beside = stored.next_if(|(found, _)| *found == index).map(|(_, beside)| beside);
            let (gist, previous) = match (&header, beside) {
                (Header::Event(event), Some(beside)) => {
                    (Gist::scan(&beside.payload, tape, event.phase), beside.previous)
                }
                _ => (None, None),
            };
            loaded.push(Loaded { index, header, gist, previous });
        }
        from = to;
    }
    Ok(loaded)
}

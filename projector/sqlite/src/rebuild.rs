//! Core views out of the log alone: threads read, decode and look into payloads, in turn, while the caller's talks to `SQLite`.
//!
//! Left out: detail, which follows core with a cursor of its own.

use std::ops::Range;
use std::sync::mpsc::{self, SyncSender};

use ledger::entry::Header;
use ledger::kv::Kv;
use ledger::read::{Log, Parts, ReadError};
use projector::facts::Gist;
use schemas::scan::Tape;

use crate::{Row, ViewError, Views};

/// Entries of one transaction: the more, the more rows share a page of an index.
const BATCH: usize = 16_384;
/// Threads that read: to read a batch takes longer than to write it.
const READERS: usize = 2;

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
    std::thread::scope(|scope| {
        // Dropped on the way out, whichever it is, and that ends the readers.
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                // One batch waits while one is read.
                let (sender, batches) = mpsc::sync_channel(1);
                let starts = (next..size).step_by(BATCH).skip(reader).step_by(READERS);
                scope.spawn(move || read_all(log, starts, size, &sender));
                batches
            })
            .collect();
        for batches in readers.iter().cycle() {
            if next >= size {
                break;
            }
            let end = size.min(next + BATCH as u64);
            let batch = batches.recv().map_err(|_| RebuildError::Missing(next))??;
            let rows: Vec<Row<'_>> = batch.iter().map(Loaded::row).collect();
            next = views.project(&rows)?;
            if next < end {
                return Err(RebuildError::Missing(next));
            }
            progress(next);
        }
        Ok(size)
    })
}

/// Sends the batches that begin at `starts`, until nobody wants more, an entry is missing, or one can't be read.
fn read_all<K: Kv>(
    log: &Log<K>,
    starts: impl Iterator<Item = u64>,
    size: u64,
    batches: &SyncSender<Result<Vec<Loaded>, ReadError>>,
) {
    let mut tape = Tape::default();
    for from in starts {
        let to = size.min(from + BATCH as u64);
        let batch = read_batch(log, from..to, &mut tape);
        let whole = batch.as_ref().is_ok_and(|batch| batch.len() as u64 == to - from);
        if batches.send(batch).is_err() || !whole {
            return;
        }
    }
}

fn read_batch<K: Kv>(log: &Log<K>, range: Range<u64>, tape: &mut Tape) -> Result<Vec<Loaded>, ReadError> {
    let mut loaded = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
    let mut damaged = None;
    log.scan_entries(range.clone(), |index, entry| match Header::decode(entry) {
        Ok(header) => loaded.push(Loaded { index, header, gist: None, previous: None }),
        Err(source) => damaged = damaged.take().or(Some(ReadError::Entry { log: log.id(), index, source })),
    })?;
    if let Some(error) = damaged {
        return Err(error);
    }
    let mut waiting = loaded.iter_mut().peekable();
    log.scan_payloads(range, |index, Parts { previous, payload, .. }| {
        while waiting.next_if(|entry| entry.index < index).is_some() {}
        if let Some(entry) = waiting.next_if(|entry| entry.index == index)
            && let Header::Event(event) = &entry.header
        {
            entry.gist = Gist::scan(payload, tape, event.phase);
            entry.previous = previous;
        }
    })?;
    Ok(loaded)
}

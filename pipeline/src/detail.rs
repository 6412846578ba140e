//! One chunk of the detail tables: the changes that entries touched, read whole out of the log, told anew.
//!
//! Shared by the `project` thread and `upm rebuild`. Which changes are pending, and their rows, are [`projector_sqlite`]'s; what the entries
//! mean is [`projector::detail`]'s.

use std::collections::BTreeMap;

use ledger::entry::{EntryError, EventHeader, Header};
use ledger::kv::Kv;
use ledger::read::{Log, ReadError, RejectedRow, Stored};
use projector::approval::Rules;
use projector::detail::{Detail, detail};
use projector::document::Entry;
use projector_sqlite::{ChunkLimits, Pending, Touched, ViewError, Views};

/// Payload bytes of one change that are read, at most. Whoever sends more into one change gets the rest told by its headers alone, as if the payloads
/// were gone, and the change is marked as cut: views must not fill the memory, however large a change grows.
pub const CHANGE_BYTES_MAX: u64 = 16 << 20;

/// Entries that are read together where no more than this many lie between them.
const GAP: u64 = 8;

/// Why a chunk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DetailError {
    /// The views.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The log.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An entry of the log.
    #[error("entry {0} is damaged: {1}")]
    Entry(u64, EntryError),
    /// A thread that read did not end well.
    #[error("a thread that reads changes failed")]
    Thread,
}

/// What a chunk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// The new cursor.
    pub to: u64,
    /// Events that were read for it.
    pub events: usize,
}

/// Makes the next chunk of detail, with so many threads that read; `to` is where the cursor was when there is none.
pub fn advance<K: Kv + Sync>(
    log: &Log<K>,
    views: &mut Views,
    limits: &ChunkLimits,
    threads: usize,
) -> Result<Advanced, DetailError> {
    let pending = views.pending_detail(limits)?;
    if pending.from == pending.to {
        return Ok(Advanced { to: pending.to, events: 0 });
    }
    let head = log.head()?;
    let rules = Rules::of(head.origin.as_str(), &log.facts_over_time(head.size)?);
    let details = tell_all(log, &pending.changes, &rules, threads)?;
    let to = views.project_detail(&pending, &details, &rejections(log, &pending)?)?;
    Ok(Advanced { to, events: pending.changes.iter().map(|touched| touched.events.len()).sum() })
}

fn rejections<K: Kv>(log: &Log<K>, pending: &Pending) -> Result<Vec<RejectedRow>, ReadError> {
    let limit = usize::try_from(pending.to - pending.from).unwrap_or(usize::MAX);
    let mut rows = log.rejections(pending.from, limit)?;
    rows.retain(|row| row.index < pending.to);
    Ok(rows)
}

/// The rows of all these changes, in their order.
fn tell_all<K: Kv + Sync>(
    log: &Log<K>,
    changes: &[Touched],
    rules: &Rules,
    threads: usize,
) -> Result<Vec<Detail>, DetailError> {
    if threads < 2 || changes.len() < 2 * threads {
        return tell(log, changes, rules);
    }
    let share = changes.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = changes.chunks(share).map(|part| scope.spawn(move || tell(log, part, rules))).collect();
        let mut details = Vec::with_capacity(changes.len());
        for thread in running {
            details.extend(thread.join().map_err(|_| DetailError::Thread)??);
        }
        Ok(details)
    })
}

/// The rows of these changes, whose events are read together in the order of the log.
fn tell<K: Kv>(log: &Log<K>, changes: &[Touched], rules: &Rules) -> Result<Vec<Detail>, DetailError> {
    let headers = read_headers(log, changes)?;
    let mut wanted: Vec<u64> = changes.iter().flat_map(readable).collect();
    wanted.sort_unstable();
    let payloads: BTreeMap<u64, Stored> = log.stored_at(&wanted)?.into_iter().collect();
    Ok(changes.iter().map(|touched| tell_one(touched, &headers, &payloads, rules)).collect())
}

/// The events of a change whose payloads are read: the first ones, while there is room for them.
fn readable(touched: &Touched) -> impl Iterator<Item = u64> {
    let mut bytes = 0;
    touched.events.iter().filter_map(move |(index, size)| {
        bytes += size;
        (bytes <= CHANGE_BYTES_MAX).then_some(*index)
    })
}

fn tell_one(
    touched: &Touched,
    headers: &BTreeMap<u64, EventHeader>,
    payloads: &BTreeMap<u64, Stored>,
    rules: &Rules,
) -> Detail {
    let entries: Vec<Entry<'_>> = touched
        .events
        .iter()
        .filter_map(|(index, _)| {
            let payload = payloads.get(index).map(|stored| stored.payload.as_slice());
            Some(Entry { index: *index, header: headers.get(index)?, payload })
        })
        .collect();
    let mut told = detail(&touched.change, &entries, rules);
    told.cut |= touched.events.iter().map(|(_, size)| size).sum::<u64>() > CHANGE_BYTES_MAX;
    told
}

/// The headers of all events of these changes, read in runs.
fn read_headers<K: Kv>(log: &Log<K>, changes: &[Touched]) -> Result<BTreeMap<u64, EventHeader>, DetailError> {
    let mut wanted: Vec<u64> =
        changes.iter().flat_map(|touched| touched.events.iter().map(|(index, _)| *index)).collect();
    wanted.sort_unstable();
    let mut headers = BTreeMap::new();
    for run in wanted.chunk_by(|a, b| b - a <= GAP) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let limit = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
        for (index, entry) in log.entries(*first..last + 1, limit)? {
            if run.binary_search(&index).is_ok()
                && let Header::Event(header) =
                    Header::decode(&entry).map_err(|error| DetailError::Entry(index, error))?
            {
                headers.insert(index, header);
            }
        }
    }
    Ok(headers)
}

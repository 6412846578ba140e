//! The detail tables out of the log: the changes that entries touched, read whole, told anew.
//!
//! A server takes a chunk when there is time ([`advance`]); a rebuild takes all of them, and reads one while another is written
//! ([`detail_log`]). Which changes are pending, and their rows, are `detail.rs`'s; what the entries mean is [`projector::detail`]'s.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, SyncSender};

use ledger::entry::{EntryError, EventHeader, Header};
use ledger::kv::Kv;
use ledger::read::{Log, ReadError, RejectedRow, Stored};
use projector::approval::Rules;
use projector::detail::detail;
use projector::document::Entry;
use projector::maturity::attestation;

use crate::{ChangeRows, ChunkLimits, Pending, Told, Touched, Unwritten, ViewError, Views};

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
}

/// What a chunk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// The new cursor.
    pub to: u64,
    /// Events that were read for it.
    pub events: usize,
}

/// Makes the next chunk of detail; `to` is where the cursor was when there is none.
pub fn advance<K: Kv>(log: &Log<K>, views: &mut Views, limits: &ChunkLimits) -> Result<Advanced, DetailError> {
    let pending = views.pending_detail(limits)?;
    if pending.from == pending.to {
        return Ok(Advanced { to: pending.to, events: 0 });
    }
    let chunk = read_chunk(log, pending, &governed(log)?)?;
    let to = chunk.write(views)?;
    Ok(Advanced { to, events: chunk.pending.changes.iter().map(|touched| touched.events.len()).sum() })
}

/// Makes all that detail lacks of what core has: one thread reads and tells, while the caller's looks up what is pending and writes. So nobody else has the
/// views open. `progress` hears how far detail is after each transaction.
pub(crate) fn detail_log<K: Kv + Sync>(
    log: &Log<K>,
    views: &mut Views,
    limits: &ChunkLimits,
    progress: &dyn Fn(u64),
) -> Result<(), DetailError> {
    // One chunk is read while another is written, and one waits to be.
    let (wanted, asked) = mpsc::sync_channel(2);
    let (sender, chunks) = mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Err(error) = read_all(log, &asked, &sender) {
                // Nobody listens any more where writing failed.
                let _ = sender.send(Err(error));
            }
        });
        let mut asking = Asking { sent: Unwritten::default(), wanted: Some(wanted), limits };
        asking.ask(views)?;
        asking.ask(views)?;
        // Dropped on the way out, whichever it is, and that ends the reader.
        for chunk in chunks {
            let chunk: Chunk = chunk?;
            asking.ask(views)?;
            progress(chunk.write(views)?);
        }
        Ok(())
    })
}

/// Asks for one chunk after the other.
struct Asking<'l> {
    sent: Unwritten,
    /// None behind the last.
    wanted: Option<SyncSender<Pending>>,
    limits: &'l ChunkLimits,
}

impl Asking<'_> {
    fn ask(&mut self, views: &Views) -> Result<(), ViewError> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let pending = views.pending_detail_after(&self.sent, self.limits)?;
        self.sent.add(&pending);
        // A reader that has gone says why itself.
        if pending.from == pending.to || wanted.send(pending).is_err() {
            self.wanted = None;
        }
        Ok(())
    }
}

/// What a chunk puts into the tables.
struct Chunk {
    pending: Pending,
    details: Vec<ChangeRows>,
    rejections: Vec<RejectedRow>,
    assessors: BTreeMap<String, String>,
    first_ms: u64,
    at_ms: u64,
}

impl Chunk {
    fn write(&self, views: &mut Views) -> Result<u64, ViewError> {
        let Self { pending, details, rejections, assessors, first_ms, at_ms } = self;
        let told = Told { details, rejections, assessors, first_ms: *first_ms, at_ms: *at_ms };
        views.project_detail(pending, &told)
    }
}

/// Reads the chunks that are asked for, until there is none left or nobody wants more.
fn read_all<K: Kv>(
    log: &Log<K>,
    asked: &Receiver<Pending>,
    chunks: &SyncSender<Result<Chunk, DetailError>>,
) -> Result<(), DetailError> {
    let governed = governed(log)?;
    for pending in asked {
        if chunks.send(Ok(read_chunk(log, pending, &governed)?)).is_err() {
            break;
        }
    }
    Ok(())
}

/// What the tenant's facts say.
struct Governed {
    rules: Rules,
    assessors: BTreeMap<String, String>,
}

fn governed<K: Kv>(log: &Log<K>) -> Result<Governed, ReadError> {
    let head = log.head()?;
    let facts = log.facts_over_time(head.size)?;
    let assessors = facts.last().map(|(_, facts)| attestation::assessors(facts)).unwrap_or_default();
    Ok(Governed { rules: Rules::of(head.origin.as_str(), &facts), assessors })
}

fn read_chunk<K: Kv>(log: &Log<K>, pending: Pending, governed: &Governed) -> Result<Chunk, DetailError> {
    let details = tell(log, &pending.changes, &governed.rules)?;
    let rejections = rejections(log, &pending)?;
    let at = |index| Ok::<u64, ReadError>(log.header(index)?.and_then(|header| header.at()).unwrap_or(0));
    let (first_ms, at_ms) = (at(pending.from)?, at(pending.to - 1)?);
    Ok(Chunk { pending, details, rejections, assessors: governed.assessors.clone(), first_ms, at_ms })
}

fn rejections<K: Kv>(log: &Log<K>, pending: &Pending) -> Result<Vec<RejectedRow>, ReadError> {
    let limit = usize::try_from(pending.to - pending.from).unwrap_or(usize::MAX);
    let mut rows = log.rejections(pending.from, limit)?;
    rows.retain(|row| row.index < pending.to);
    Ok(rows)
}

/// The rows of these changes, whose events are read together in the order of the log.
fn tell<K: Kv>(log: &Log<K>, changes: &[Touched], rules: &Rules) -> Result<Vec<ChangeRows>, DetailError> {
    let headers = read_headers(log, changes)?;
    let mut wanted: Vec<u64> = changes.iter().flat_map(readable).collect();
    wanted.sort_unstable();
    let payloads: BTreeMap<u64, Stored> = log.stored_at(&wanted)?.into_iter().collect();
    let told = changes.iter().map(|touched| tell_one(touched, &headers, &payloads, rules));
    Ok(told.collect::<Result<_, _>>()?)
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
) -> Result<ChangeRows, ViewError> {
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
    ChangeRows::of(told)
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

//! The `project` thread: durable entries → views, each tenant's with cursors of its own.
//!
//! *Core* comes first: it is what `at_least` waits for. *Detail* gets a chunk when core has nothing to do, and one in so many turns when it has. While
//! a backlog is drained it gets none, because admission wants the processor; but past [`DETAIL_LAG_MAX`] it gets as many entries as core, turn by
//! turn: so its lag is bounded however long the backlog, and nobody waits for all of it at once. Levels of days are settled when nothing else is to be
//! done.
//!
//! It takes rounds from the appender while it keeps up. When it does not, the appender drops rounds rather than wait for long, and the
//! entries are read from the store from the cursor on; so it is after a start, too. A view that fails says so in health and is tried
//! again; it never stops the ledger. Left out: rebuilding (`upm rebuild` deletes the file and starts us).

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use ledger::append::{CommittedLog, Disposition};
use ledger::entry::{EntryError, Header};
use ledger::kv::Kv;
use ledger::layout::LogId;
use ledger::read::{Log, ReadError};
use projector_sqlite::{ChunkLimits, DetailError, Row, ViewError, Views};

use crate::batch::{Durable, Gists, Projectable, View};
use crate::shared::Troubles;

/// Entries read from the store for one transaction.
const CHUNK: usize = 2_048;
/// Payload bytes after which a chunk ends early: a backlog of large events must not fill the memory.
const CHUNK_BYTES: usize = 16 << 20;
/// Entries read before their bytes are counted again.
const STEP: u64 = 64;
/// Rounds that are projected in one transaction, at most: when views are slow, more of them wait.
const TOGETHER: usize = 8;
/// How long a round that is durable may take to reach us before it is read from the store: it is surely not on its way any more.
const SOON: Duration = Duration::from_millis(2);
/// Entries that detail may be behind core; one chunk more while one is being made.
pub(crate) const DETAIL_LAG_MAX: u64 = 1_000_000;
/// How much is done at a time, and how far behind detail may be.
#[derive(Clone, Copy)]
struct Pace {
    /// Entries that core reads from the store for one transaction.
    core: u64,
    /// What one chunk of detail takes.
    detail: ChunkLimits,
    lag_max: u64,
}

const PACE: Pace = Pace {
    core: CHUNK as u64,
    detail: ChunkLimits { entries: 2 * CHUNK as u64, events: 2 * CHUNK, bytes: CHUNK_BYTES as u64 },
    lag_max: DETAIL_LAG_MAX,
};

/// Turns of core for one of detail, while core has something to do and detail is less far behind than that.
const CORE_TURNS: usize = 8;
/// Tenants that get a chunk of detail between two looks at core.
const CHUNKS: usize = 8;
/// How long nothing must come before a chunk of detail: shorter, and a trickle of events would be told one by one.
const QUIET: Duration = Duration::from_millis(20);
/// The same behind a round of a backlog: the next one is being made, and takes as long as it is large.
const BACKLOG_QUIET: Duration = Duration::from_millis(500);
/// Events read for a chunk that cost one turn of rest once detail has caught up: a change with thousands of events is not told anew for each of them.
const EVENTS_PER_REST: usize = 128;
/// How long nothing must come before levels of days are settled (`maturity_daily`), and how many days at a time: some ten milliseconds each.
const SETTLE: Duration = Duration::from_millis(500);
const SETTLE_DAYS: usize = 4;
/// Chunks of detail after which a day is settled though something comes all the time.
const CHUNKS_PER_DAY: usize = 64;
/// How long until a view that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum ProjectError {
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("entry {0} is damaged: {1}")]
    Entry(u64, EntryError),
    #[error("detail: {0}")]
    Detail(#[from] DetailError),
}

/// Projects until it is told to stop and has caught up, or nobody sends any more.
pub(crate) fn run<K: Kv + Sync>(kv: &Arc<K>, views_dir: PathBuf, rounds: &Receiver<Projectable>, troubles: &Troubles) {
    let mut projector = Projector::new(kv, views_dir, PACE, troubles);
    let mut stopping = false;
    // Taken from the channel behind a round.
    let mut next = None;
    let mut settling = false;
    let mut quiet = QUIET;
    loop {
        let behind = projector.is_behind();
        if stopping && !behind {
            return;
        }
        let trailing = projector.is_trailing();
        let patience = match (behind, trailing, projector.is_unsettled()) {
            (true, ..) => SOON,
            (false, true, _) => quiet,
            (false, false, true) if settling => QUIET,
            (false, false, true) => SETTLE,
            (false, false, false) => RETRY,
        };
        let received = next.take().map_or_else(|| rounds.recv_timeout(patience), Ok);
        match received {
            Ok(Projectable::Road(state)) => projector.follow(state),
            Ok(Projectable::Round(round)) => {
                let mut together = vec![round];
                while next.is_none() && together.len() < TOGETHER {
                    match rounds.try_recv() {
                        Ok(Projectable::Round(round)) => together.push(round),
                        Ok(other) => next = Some(other),
                        Err(_) => break,
                    }
                }
                projector.project_rounds(&together);
                let backlog = together.iter().any(Durable::is_of_backlog);
                quiet = if backlog { BACKLOG_QUIET } else { QUIET };
                projector.follow_with_detail(usize::from(!backlog));
            }
            Ok(Projectable::Stop) => stopping = true,
            Err(RecvTimeoutError::Timeout) if behind => {
                projector.catch_up_once();
                projector.follow_with_detail(0);
            }
            Err(RecvTimeoutError::Timeout) if trailing => {
                quiet = QUIET;
                projector.follow_with_detail(CORE_TURNS);
            }
            Err(RecvTimeoutError::Timeout) if projector.is_unsettled() => {
                projector.settle();
                settling = true;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => projector.forgive(),
            Err(RecvTimeoutError::Disconnected) => {
                stopping = true;
                projector.catch_up_once();
            }
        }
        settling = false;
    }
}

/// One log's part of a round.
type Part<'a> = (&'a CommittedLog, &'a Gists);

struct Projector<'a, K> {
    kv: &'a Arc<K>,
    views_dir: PathBuf,
    roads: BTreeMap<LogId, Viewed>,
    /// The tenant that got the last chunk of detail.
    told: LogId,
    pace: Pace,
    troubles: &'a Troubles,
}

/// A tenant and its views.
struct Viewed {
    state: View,
    views: Option<Views>,
    /// Index of the next entry to project.
    next: u64,
    /// The first entry that detail does not cover.
    detail: u64,
    /// Turns of core until the next chunk of detail.
    rest: usize,
    /// Entries that core took and detail has not made up for, since detail is too far behind.
    owed: u64,
    /// Levels of days may be stale.
    unsettled: bool,
    /// Chunks of detail since a day was settled.
    chunks: usize,
    pace: Pace,
    /// Set aside until the next retry.
    failed: bool,
}

impl<'a, K: Kv + Sync> Projector<'a, K> {
    fn new(kv: &'a Arc<K>, views_dir: PathBuf, pace: Pace, troubles: &'a Troubles) -> Self {
        Self { kv, views_dir, roads: BTreeMap::new(), told: LogId::LEDGER, pace, troubles }
    }

    fn follow(&mut self, state: View) {
        let log = state.log;
        let viewed = Viewed {
            state,
            views: None,
            next: 0,
            detail: 0,
            rest: 0,
            owed: 0,
            unsettled: true,
            chunks: 0,
            pace: self.pace,
            failed: false,
        };
        self.roads.insert(log, viewed);
    }

    /// Whether a tenant is behind whose views have not failed.
    fn is_behind(&self) -> bool {
        self.roads.values().any(|viewed| !viewed.failed && viewed.is_behind())
    }

    /// Whether a tenant's detail is behind its core.
    fn is_trailing(&self) -> bool {
        self.roads.values().any(|viewed| !viewed.failed && viewed.is_trailing())
    }

    /// Whether a tenant whose views are open has levels of days to settle.
    fn is_unsettled(&self) -> bool {
        self.roads.values().any(|viewed| !viewed.failed && viewed.views.is_some() && viewed.unsettled)
    }

    /// Settles a few days of one tenant.
    fn settle(&mut self) {
        let mut open = self.roads.values_mut().filter(|viewed| !viewed.failed && viewed.views.is_some());
        if let Some(viewed) = open.find(|viewed| viewed.unsettled) {
            let outcome = viewed.settle(SETTLE_DAYS);
            viewed.note(outcome, self.troubles);
        }
    }

    /// Counts turns, and makes a chunk of detail for tenants whose turn it is: not for all of a thousand at once, and for others next time. Without
    /// turns, only for those too far behind.
    fn follow_with_detail(&mut self, turns: usize) {
        let (before, after) = ((Unbounded, Included(self.told)), (Excluded(self.told), Unbounded));
        let logs: Vec<LogId> = self.roads.range(after).chain(self.roads.range(before)).map(|(log, _)| *log).collect();
        let mut chunks = 0;
        for log in logs {
            let Some(viewed) = self.roads.get_mut(&log).filter(|viewed| !viewed.failed && viewed.is_trailing()) else {
                continue;
            };
            viewed.rest = viewed.rest.saturating_sub(turns);
            let mut outcome = Ok(());
            if turns > 0 && viewed.rest == 0 && chunks < CHUNKS {
                (outcome, self.told) = (viewed.tell_chunk(self.kv), log);
                chunks += 1;
            }
            while outcome.is_ok() && viewed.owes_a_chunk() {
                outcome = viewed.tell_chunk(self.kv);
            }
            viewed.note(outcome, self.troubles);
        }
    }

    /// One chunk from the store for every tenant that is behind.
    fn catch_up_once(&mut self) {
        for viewed in self.roads.values_mut().filter(|viewed| !viewed.failed && viewed.is_behind()) {
            let outcome = viewed.open(&self.views_dir).and_then(|()| viewed.read_chunk(self.kv));
            viewed.note(outcome, self.troubles);
        }
    }

    /// The rows of rounds that follow each other, one transaction a log; from the store where earlier ones are missing too.
    fn project_rounds(&mut self, rounds: &[Durable]) {
        let mut logs: BTreeMap<LogId, Vec<Part<'_>>> = BTreeMap::new();
        for Durable { committed, shares } in rounds {
            for (log, (road, gists)) in committed.logs().iter().zip(shares) {
                logs.entry(road.log).or_default().push((log, gists));
            }
        }
        for (log, parts) in logs {
            let Some(viewed) = self.roads.get_mut(&log).filter(|viewed| !viewed.failed) else { continue };
            let outcome = viewed.open(&self.views_dir).and_then(|()| viewed.take(&parts, self.kv));
            viewed.note(outcome, self.troubles);
        }
    }

    fn forgive(&mut self) {
        self.roads.values_mut().for_each(|viewed| viewed.failed = false);
    }
}

impl Viewed {
    /// Views that were never opened count as behind, so that a cursor is known even where nothing is new.
    fn is_behind(&self) -> bool {
        self.views.is_none() || self.next < self.state.progress.borrow().committed
    }

    fn is_trailing(&self) -> bool {
        self.views.is_some() && self.detail < self.next
    }

    /// Whether detail is too far behind and has a chunk of entries to make up for.
    fn owes_a_chunk(&self) -> bool {
        self.next.saturating_sub(self.detail) > self.pace.lag_max && self.owed >= self.pace.detail.entries
    }

    fn open(&mut self, dir: &std::path::Path) -> Result<(), ProjectError> {
        if self.views.is_none() {
            let path = dir.join(format!("{}.db", self.state.tenant));
            let mut views = match Views::open(&path) {
                Err(ViewError::RebuildNeeded { found, expected }) => {
                    tracing::warn!(tenant = %self.state.tenant, found, expected, "views of another version: projecting again from entry 0");
                    Views::recreate(&path)?
                }
                opened => opened?,
            };
            // A store that was put back to an older copy: what the views know beyond it is not in the log.
            if views.core_cursor()? > self.state.progress.borrow().committed {
                tracing::warn!(tenant = %self.state.tenant, "views are ahead of the log: projecting again from entry 0");
                drop(views);
                views = Views::recreate(&path)?;
            }
            (self.next, self.detail) = (views.core_cursor()?, views.detail_cursor()?);
            self.views = Some(views);
        }
        Ok(())
    }

    /// The rows of rounds. Where earlier ones are missing, a chunk of those instead, and nothing of these: they are read from the store when it is
    /// their turn.
    fn take<K: Kv>(&mut self, parts: &[Part<'_>], kv: &Arc<K>) -> Result<(), ProjectError> {
        let mut rows = Vec::new();
        let mut next = self.next;
        for (log, gists) in parts {
            // Where the store was read past the beginning of a round, its end is read there too.
            if next == log.base_size {
                rows_of(log, gists, &mut rows);
                next = log.head.size;
            }
        }
        if rows.is_empty() { self.read_chunk(kv) } else { self.project(&rows) }
    }

    fn read_chunk<K: Kv>(&mut self, kv: &Arc<K>) -> Result<(), ProjectError> {
        let end = self.state.progress.borrow().committed.min(self.next + self.pace.core);
        if self.next >= end {
            return Ok(());
        }
        let log = Log::open(kv, self.state.log)?;
        let mut stored = BTreeMap::new();
        let (mut to, mut bytes) = (self.next, 0);
        while to < end && bytes < CHUNK_BYTES {
            let step = to..end.min(to + STEP);
            to = step.end;
            let read = log.stored_range(step, CHUNK)?;
            bytes += read.iter().map(|(_, stored)| stored.payload.len()).sum::<usize>();
            stored.extend(read);
        }
        let entries = log.entries(self.next..to, CHUNK)?;
        let mut headers = Vec::with_capacity(entries.len());
        for (index, entry) in &entries {
            headers.push((*index, Header::decode(entry).map_err(|error| ProjectError::Entry(*index, error))?));
        }
        let rows: Vec<Row<'_>> = headers
            .iter()
            .map(|(index, header)| {
                let stored = stored.get(index);
                let payload = stored.map_or(&[][..], |stored| &stored.payload);
                Row::stored(*index, header, payload_of(header, payload))
                    .after(stored.and_then(|stored| stored.previous))
            })
            .collect();
        self.project(&rows)
    }

    fn tell_chunk<K: Kv + Sync>(&mut self, kv: &Arc<K>) -> Result<(), ProjectError> {
        let Some(views) = &mut self.views else { return Ok(()) };
        let log = Log::open(kv, self.state.log)?;
        let advanced = projector_sqlite::advance(&log, views, &self.pace.detail)?;
        self.owed = self.owed.saturating_sub(advanced.to - self.detail);
        (self.detail, self.unsettled) = (advanced.to, true);
        self.chunks += 1;
        // What has caught up rests the longer, the more it has read.
        let caught_up = self.detail >= self.next;
        self.rest = CORE_TURNS + if caught_up { advanced.events / EVENTS_PER_REST } else { 0 };
        if caught_up && self.chunks >= CHUNKS_PER_DAY {
            self.settle(1)?;
        }
        Ok(())
    }

    fn settle(&mut self, days: usize) -> Result<(), ProjectError> {
        let Some(views) = &mut self.views else { return Ok(()) };
        self.unsettled = views.settle_maturity(days)?;
        self.chunks = 0;
        Ok(())
    }

    fn project(&mut self, rows: &[Row<'_>]) -> Result<(), ProjectError> {
        let Some(views) = &mut self.views else { return Ok(()) };
        let next = views.project(rows)?;
        let behind = next.saturating_sub(self.detail) > self.pace.lag_max;
        self.owed = if behind { self.owed + (next - self.next) } else { 0 };
        self.next = next;
        Ok(())
    }

    fn note(&mut self, outcome: Result<(), ProjectError>, troubles: &Troubles) {
        let who = format!("views {}", self.state.tenant);
        match outcome {
            Ok(()) => {
                troubles.clear(&who);
                let now = (self.next, self.detail);
                self.state.progress.send_if_modified(|progress| {
                    let before = (progress.core, progress.detail);
                    (progress.core, progress.detail) = now;
                    before != now
                });
            }
            Err(error) => {
                troubles.set(&who, format!("tenant {}: views: {error}", self.state.tenant));
                // Opened again at the next try: a broken connection would stay broken.
                (self.failed, self.views) = (true, None);
            }
        }
    }
}

/// The new entries of a log, each event with its gist.
fn rows_of<'a>(log: &'a CommittedLog, gists: &'a Gists, rows: &mut Vec<Row<'a>>) {
    let accepted = |(sequence, disposition): &(u64, Disposition)| match disposition {
        Disposition::Accepted { index } => Some((*index, *sequence)),
        _ => None,
    };
    // All three lists ascend.
    let mut accepted = log.dispositions.iter().filter_map(accepted).peekable();
    let mut gists = gists.iter().peekable();
    rows.extend(log.rows.iter().map(|row| {
        let sequence = accepted.next_if(|(index, _)| *index == row.index).map(|(_, sequence)| sequence);
        let gist = sequence.and_then(|sequence| {
            while gists.next_if(|(earlier, _)| *earlier < sequence).is_some() {}
            gists.next_if(|(found, _)| *found == sequence).map(|(_, gist)| gist)
        });
        Row { index: row.index, header: &row.header, payload: &[], gist, previous: row.previous }
    }));
}

/// Only events have a payload that views read.
fn payload_of<'a>(header: &Header, payload: &'a [u8]) -> &'a [u8] {
    if matches!(header, Header::Event(_)) { payload } else { &[] }
}

#[cfg(test)]
mod tests;

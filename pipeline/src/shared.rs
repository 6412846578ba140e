//! What the threads of the pipeline know together: each tenant's progress, and what is wrong right now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::append::{Cursor, Head, LogId};
use ledger::dedupe::DedupeKey;
use schemas::ids::Tenant;
use tokio::sync::watch;

use crate::batch::View;
use crate::config::{Clock, Entropy, Stopwatch, TenantSetup};
use crate::stats::{LogCounters, LogStats, RoundCounters, StreamStats};
use crate::sweep::Place;

/// How far a tenant's events have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of durable entries.
    pub committed: u64,
    /// Number of entries in the core views; what waits for `at_least` waits until this is larger.
    pub core: u64,
    /// Number of entries that the detail tables cover.
    pub detail: u64,
    /// The road's sequence up to which everything is durable.
    pub road: u64,
}

/// Whether everything works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Every road is followed and every round written.
    pub ready: bool,
    /// One line for each thing that is wrong, or not begun.
    pub reasons: Vec<String>,
}

/// One tenant, as all threads see it.
pub(crate) struct TenantState {
    pub(crate) tenant: Tenant,
    pub(crate) log: LogId,
    pub(crate) dedupe: DedupeKey,
    /// Creation of the stream as the log's first entry names it: what counts until a message was read.
    pub(crate) born_stream_ms: Option<u64>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) counters: LogCounters,
    /// Where admission stands: behind what intake has sent, before what is committed.
    admitted: Mutex<Position>,
    /// What is durable.
    committed: Mutex<Position>,
    /// The road that is being followed now; none while it has to be identified.
    followed: Mutex<Option<Place>>,
    /// The road as it was last looked at.
    stream: Mutex<Option<StreamStats>>,
    /// Up to where every answer was sent.
    answered: Mutex<Answered>,
}

/// A place on a road, with the number of cuts since we started: sequences of different roads don't compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) cuts: u32,
    pub(crate) cursor: Cursor,
}

#[derive(Clone, Copy)]
struct Answered {
    cuts: u32,
    sequence: u64,
}

impl TenantState {
    pub(crate) fn new(setup: TenantSetup, head: &Head, born_stream_ms: Option<u64>) -> Self {
        let progress = Progress { committed: head.size, core: 0, detail: 0, road: head.cursor.sequence };
        Self {
            tenant: setup.tenant,
            log: setup.log,
            dedupe: setup.dedupe,
            born_stream_ms,
            progress: watch::Sender::new(progress),
            counters: LogCounters::default(),
            admitted: Mutex::new(Position { cuts: 0, cursor: head.cursor }),
            committed: Mutex::new(Position { cuts: 0, cursor: head.cursor }),
            followed: Mutex::default(),
            stream: Mutex::default(),
            answered: Mutex::new(Answered { cuts: 0, sequence: head.answered }),
        }
    }

    /// What is projected.
    pub(crate) fn view(&self) -> View {
        View { tenant: self.tenant.clone(), log: self.log, progress: self.progress.clone() }
    }

    pub(crate) fn admitted(&self) -> Position {
        *lock(&self.admitted)
    }

    pub(crate) fn set_admitted(&self, position: Position) {
        *lock(&self.admitted) = position;
    }

    pub(crate) fn committed(&self) -> Position {
        *lock(&self.committed)
    }

    pub(crate) fn set_committed(&self, position: Position) {
        *lock(&self.committed) = position;
    }

    pub(crate) fn followed(&self) -> Option<Place> {
        lock(&self.followed).clone()
    }

    pub(crate) fn set_followed(&self, place: Option<Place>) {
        *lock(&self.followed) = place;
    }

    pub(crate) fn set_stream(&self, stream: StreamStats) {
        *lock(&self.stream) = Some(stream);
    }

    /// Everything counted of this log, and where it stands.
    pub(crate) fn stats(&self) -> LogStats {
        let Progress { committed: entries, core, detail, road } = *self.progress.borrow();
        let stream = *lock(&self.stream);
        LogStats { entries, core, detail, road, stream, ..self.counters.stats(self.tenant.clone()) }
    }

    /// The sequence that a turn may record as answered: on a new road nothing is.
    pub(crate) fn answered(&self, cuts: u32) -> u64 {
        let answered = *lock(&self.answered);
        if answered.cuts == cuts { answered.sequence } else { 0 }
    }

    pub(crate) fn set_answered(&self, cuts: u32, sequence: u64) {
        *lock(&self.answered) = Answered { cuts, sequence };
    }
}

/// What all threads share beside tenants.
pub(crate) struct Common {
    pub(crate) clock: Clock,
    pub(crate) stopwatch: Stopwatch,
    pub(crate) entropy: Entropy,
    pub(crate) troubles: Troubles,
    pub(crate) rounds: RoundCounters,
    /// Whether messages are taken in.
    pub(crate) open: watch::Sender<bool>,
    /// Bytes free on the watched disk; `u64::MAX` before it was looked at.
    pub(crate) disk_free: AtomicU64,
    /// Logs that the appender beats for.
    pub(crate) beating: Mutex<Vec<Arc<TenantState>>>,
    /// Number of roads: the more there are, the less is asked of each at once.
    pub(crate) roads: AtomicUsize,
}

impl Common {
    /// A log more that beats.
    pub(crate) fn beat_for(&self, road: Arc<TenantState>) {
        lock(&self.beating).push(road);
    }

    /// The logs that beat.
    pub(crate) fn beating(&self) -> Vec<Arc<TenantState>> {
        lock(&self.beating).clone()
    }

    pub(crate) fn road_count(&self) -> usize {
        self.roads.load(Ordering::Relaxed).max(1)
    }
}

/// What is wrong right now, by who says so.
#[derive(Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<String, String>>);

impl Troubles {
    /// Says that something is wrong, until [`Troubles::clear`]. True if it is news.
    pub(crate) fn set(&self, who: &str, reason: impl Into<String>) -> bool {
        let reason = reason.into();
        let news = lock(&self.0).insert(who.to_owned(), reason.clone()).as_ref() != Some(&reason);
        if news {
            tracing::warn!(%who, %reason, "not ready");
        }
        news
    }

    /// Says what is not there yet, and is no trouble: not ready, but nothing to warn of.
    pub(crate) fn await_first(&self, who: &str, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::debug!(%who, %reason, "not ready yet");
        lock(&self.0).insert(who.to_owned(), reason);
    }

    pub(crate) fn clear(&self, who: &str) {
        lock(&self.0).remove(who);
    }

    /// What somebody says is wrong.
    pub(crate) fn of(&self, who: &str) -> Option<String> {
        lock(&self.0).get(who).cloned()
    }

    pub(crate) fn health(&self) -> Health {
        let reasons: Vec<String> = lock(&self.0).values().cloned().collect();
        Health { ready: reasons.is_empty(), reasons }
    }
}

/// A lock whose holder panicked still guards plain values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tenants by name, as [`crate::Running`] knows them.
pub(crate) type Tenants = BTreeMap<Tenant, Arc<TenantState>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_ready_when_nobody_says_otherwise() {
        let troubles = Troubles::default();
        assert!(troubles.health().ready);
        assert!(troubles.set("a", "broken"));
        assert!(!troubles.set("a", "broken"), "the same again is no news");
        assert!(troubles.set("a", "worse"));
        assert_eq!(troubles.health(), Health { ready: false, reasons: vec!["worse".into()] });
        troubles.clear("a");
        assert!(troubles.health().ready);
    }
}

//! What the pipeline counts, and the snapshot that is shown of it. Names and formats of metrics are the service's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ledger::append::{CommittedLog, Disposition};
use ledger::entry::Header;
use schemas::ids::Tenant;

/// Upper bounds of the buckets of commit latency, seconds: a synced write takes 1 to 20 ms on a healthy disk.
pub const COMMIT_BOUNDS_S: [f64; 13] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 4.0, 16.0];

/// Everything that was counted since the start, and where things stand now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Synced writes.
    pub rounds: u64,
    /// How long they took.
    pub commit: Latency,
    /// Whether messages are taken in; not while the disk is short, or after a write has failed.
    pub intake_open: bool,
    /// Bytes free on the disk that is watched.
    pub disk_free_bytes: Option<u64>,
    /// How often the child server was started again; none without a child.
    pub child_restarts: Option<u64>,
    /// Log by log.
    pub logs: Vec<LogStats>,
}

/// Observations, counted by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    /// Observations up to each of [`COMMIT_BOUNDS_S`] and above the one before; the last is for all above.
    pub buckets: Vec<u64>,
    /// Sum of all, seconds.
    pub sum_s: f64,
}

/// One tenant's log, road and views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Whose.
    pub tenant: Tenant,
    /// Number of durable entries.
    pub entries: u64,
    /// Number of them in the core views.
    pub core: u64,
    /// Number of them that the detail tables cover.
    pub detail: u64,
    /// Events accepted since the start.
    pub accepted: u64,
    /// Messages rejected since the start.
    pub rejected: u64,
    /// Duplicates since the start.
    pub duplicates: u64,
    /// `gap` entries since the start.
    pub gaps: u64,
    /// `epoch` entries since the start.
    pub epochs: u64,
    /// Payload bytes committed since the start.
    pub payload_bytes: u64,
    /// `at` of the newest entry committed since the start, milliseconds since 1970.
    pub newest_at_ms: Option<u64>,
    /// `at` of the newest heartbeat committed since the start, milliseconds since 1970.
    pub heartbeat_at_ms: Option<u64>,
    /// The road's sequence up to which everything is durable.
    pub road: u64,
    /// The road as it was last looked at.
    pub stream: Option<StreamStats>,
    /// Sweeps that removed something, since the start.
    pub sweeps: u64,
    /// Messages they removed.
    pub swept: u64,
}

/// What a road holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Its oldest sequence.
    pub first: u64,
    /// Its newest sequence.
    pub last: u64,
    /// Bytes on it.
    pub bytes: u64,
    /// Bytes after which producers are refused; none without a limit.
    pub max_bytes: Option<u64>,
}

/// Counters of one log.
#[derive(Default)]
pub(crate) struct LogCounters {
    accepted: AtomicU64,
    rejected: AtomicU64,
    duplicates: AtomicU64,
    gaps: AtomicU64,
    epochs: AtomicU64,
    payload_bytes: AtomicU64,
    /// 0 for none yet, here and below.
    newest_at_ms: AtomicU64,
    heartbeat_at_ms: AtomicU64,
    sweeps: AtomicU64,
    swept: AtomicU64,
}

impl LogCounters {
    pub(crate) fn committed(&self, log: &CommittedLog) {
        let add = |counter: &AtomicU64, number: u64| {
            counter.fetch_add(number, Ordering::Relaxed);
        };
        for row in &log.rows {
            match &row.header {
                Header::Event(event) => {
                    add(&self.accepted, 1);
                    add(&self.payload_bytes, event.size);
                }
                Header::Rejection(rejection) => {
                    add(&self.rejected, 1);
                    add(&self.payload_bytes, rejection.size);
                }
                Header::Gap(_) => add(&self.gaps, 1),
                Header::Epoch(_) => add(&self.epochs, 1),
                Header::Heartbeat(_) => self.heartbeat_at_ms.store(log.head.at_ms, Ordering::Relaxed),
                Header::First(_) | Header::Control(_) | Header::Unknown { .. } => {}
            }
        }
        if !log.rows.is_empty() {
            self.newest_at_ms.store(log.head.at_ms, Ordering::Relaxed);
        }
        let duplicates = log.dispositions.iter().filter(|(_, what)| matches!(what, Disposition::Duplicate { .. }));
        add(&self.duplicates, duplicates.count() as u64);
    }

    pub(crate) fn swept(&self, messages: u64) {
        self.sweeps.fetch_add(1, Ordering::Relaxed);
        self.swept.fetch_add(messages, Ordering::Relaxed);
    }

    /// The counted half of a log's figures; where it stands is the caller's to fill in.
    pub(crate) fn stats(&self, tenant: Tenant) -> LogStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let some = |counter: &AtomicU64| Some(load(counter)).filter(|value| *value != 0);
        LogStats {
            tenant,
            entries: 0,
            core: 0,
            detail: 0,
            accepted: load(&self.accepted),
            rejected: load(&self.rejected),
            duplicates: load(&self.duplicates),
            gaps: load(&self.gaps),
            epochs: load(&self.epochs),
            payload_bytes: load(&self.payload_bytes),
            newest_at_ms: some(&self.newest_at_ms),
            heartbeat_at_ms: some(&self.heartbeat_at_ms),
            road: 0,
            stream: None,
            sweeps: load(&self.sweeps),
            swept: load(&self.swept),
        }
    }
}

/// Counters of rounds.
#[derive(Default)]
pub(crate) struct RoundCounters {
    rounds: AtomicU64,
    buckets: [AtomicU64; COMMIT_BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

impl RoundCounters {
    /// A round was written, which took this long.
    pub(crate) fn committed(&self, took: Duration) {
        let place = COMMIT_BOUNDS_S.iter().position(|bound| took.as_secs_f64() <= *bound);
        self.buckets[place.unwrap_or(COMMIT_BOUNDS_S.len())].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    pub(crate) fn latency(&self) -> Latency {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        Latency { buckets, sum_s: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_falls_into_the_bucket_that_bounds_it() {
        let counters = RoundCounters::default();
        for took_us in [0, 1_000, 1_001, 5_000, 16_000_000, 99_000_000] {
            counters.committed(Duration::from_micros(took_us));
        }
        let Latency { buckets, sum_s } = counters.latency();
        assert_eq!(buckets, [2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((counters.rounds(), sum_s), (6, 115.007_001));
    }
}

//! What a run measured, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// A whole run.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Events in the backlog.
    pub(crate) events: u64,
    /// Logs that they are spread over.
    pub(crate) tenants: usize,
    /// Their mean size in bytes.
    pub(crate) bytes_per_event: u64,
    /// What the backlog was made on.
    pub(crate) nats_server: String,
    /// Acknowledged publishes a second.
    pub(crate) publish_per_s: f64,
    /// Reading and draining the same backlog, again and again.
    pub(crate) rounds: Vec<Round>,
    /// Median of the rounds' ratios.
    pub(crate) ratio: f64,
}

/// One reading and one draining.
#[derive(Serialize)]
pub(crate) struct Round {
    /// What a bare consumer did.
    pub(crate) read: Figures,
    /// What the ledger did: admitted, committed, synced, signed, in the core views.
    pub(crate) drain: Figures,
    /// Rate of the drain ÷ rate of the bare reading.
    pub(crate) ratio: f64,
}

/// One of the two.
#[derive(Serialize)]
pub(crate) struct Figures {
    /// Wall time.
    pub(crate) seconds: f64,
    /// Rate.
    pub(crate) events_per_s: f64,
    /// CPU microseconds an event, by thread of ours, and `nats-server`.
    pub(crate) cpu_us_per_event: BTreeMap<String, f64>,
    /// Peak resident memory of ours, MiB.
    pub(crate) peak_mib: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} events of {} bytes for {} tenants on nats-server {}; published at {:.0}/s, acknowledged",
            self.events, self.bytes_per_event, self.tenants, self.nats_server, self.publish_per_s
        )?;
        for (number, round) in self.rounds.iter().enumerate() {
            writeln!(f, "\nround {}: drain ÷ bare read = {:.3}", number + 1, round.ratio)?;
            write!(f, "  bare read {}  drain     {}", round.read, round.drain)?;
        }
        writeln!(f, "\ndrain ÷ bare read, median of {}: {:.3}", self.rounds.len(), self.ratio)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>9.0} events/s  {:>6.2} s  peak {:>4.0} MiB", self.events_per_s, self.seconds, self.peak_mib)?;
        let mut threads: Vec<_> = self.cpu_us_per_event.iter().filter(|(_, us)| **us >= 0.05).collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        let total: f64 = self.cpu_us_per_event.values().sum();
        let list: Vec<String> = threads.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
        writeln!(f, "            CPU {total:.1} µs an event: {}", list.join(", "))
    }
}

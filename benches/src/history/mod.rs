//! Histories that look like a company's: teams, environments, failures, rollbacks, late events, retries, duplicates, wrong clocks, emergencies, self-approvals,
//! drift monitors. Seeded, and with the truth beside it: what every KPI and every planted anomaly is, told by the stories themselves.
//!
//! The truth is not computed by `projector`, nor by reading the events: each story knows what happened in it, and `truth` counts
//! that by the definitions of `docs/kpis.md`. Whoever measures the events must come to the same.
//!
//! Events come in the order in which they reach the road. Stories overlap, so a stream of millions needs the memory of a few thousand events.

mod emit;
mod random;
mod story;
pub(crate) mod truth;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use random::Random;
use story::Story;
pub(crate) use truth::Truth;

/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// What to make up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The same seed gives the same history everywhere.
    pub seed: u64,
    /// Whose.
    pub tenant: String,
    /// Changes, monitors' runs not counted.
    pub changes: u64,
    /// When it begins, milliseconds.
    pub from_ms: u64,
    /// Over how many days.
    pub days: u64,
    /// The time at which everything reaches the log, where it is not when it happens: a whole history played to a server at once.
    pub played_at_ms: Option<u64>,
    /// Whether to remember every planted anomaly.
    pub anomalies: bool,
    /// Signs an approval of a change, as `approval.signature` holds it; without it nobody signs.
    pub sign: Option<Sign>,
}

/// Of a change and an approval, its signature.
pub(crate) type Sign = fn(&str, &serde_json::Value) -> String;

/// An event on the road.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// When it reaches the log, milliseconds.
    pub at_ms: u64,
    /// The producer's time, seconds.
    pub ts: i64,
    /// The change it belongs to.
    pub change: String,
    /// The event's id.
    pub id: String,
    /// Its phase.
    pub phase: &'static str,
    /// The producer of its subject.
    pub producer: &'static str,
    /// Where.
    pub environment: &'static str,
    /// Standard, normal or emergency.
    pub class: &'static str,
    /// Its bytes.
    pub payload: String,
    /// It came before, byte for byte.
    pub duplicate: bool,
}

impl Told {
    /// Where it is published.
    pub(crate) fn subject(&self, tenant: &str) -> String {
        format!("upm.events.{tenant}.{}.{}", self.phase, self.producer)
    }
}

/// A history as it unfolds.
pub(crate) struct History {
    options: Options,
    random: Random,
    begun: u64,
    /// Events to come, by time and then in the order they were made.
    coming: BinaryHeap<Reverse<(u64, u64)>>,
    events: std::collections::HashMap<u64, (Told, Vec<truth::Happens>)>,
    numbered: u64,
    ready: VecDeque<Told>,
    truth: Truth,
}

impl History {
    /// The history of some options.
    pub(crate) fn new(options: Options) -> Self {
        let random = Random::new(options.seed);
        let truth = Truth::new(options.anomalies);
        Self {
            options,
            random,
            begun: 0,
            coming: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
            numbered: 0,
            ready: VecDeque::new(),
            truth,
        }
    }

    /// What is true of all that was told.
    pub(crate) fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The truth, once all is told.
    pub(crate) fn into_truth(self) -> Truth {
        self.truth
    }

    /// When the next change begins.
    fn next_start(&self) -> Option<u64> {
        let span = self.options.days * DAY_MS;
        (self.begun < self.options.changes)
            .then(|| self.options.from_ms + span * self.begun / self.options.changes.max(1))
    }

    fn begin(&mut self, start: u64) {
        let number = self.begun;
        self.begun += 1;
        let played = self.options.played_at_ms;
        let stories = Story::tell(&mut self.random, &self.options, number, start);
        for mut story in stories {
            story.events.sort_by_key(|event| event.told.at_ms);
            if let Some(at) = played {
                story.events.iter_mut().for_each(|event| event.at = at);
                story.fixed_at = story.fixed_at.map(|(_, ts)| (at, ts));
            }
            self.truth.count(&story);
            for event in story.events {
                let number = self.numbered;
                self.numbered += 1;
                self.coming.push(Reverse((event.told.at_ms, number)));
                let mut told = event.told;
                told.at_ms = event.at.max(played.unwrap_or(0));
                self.events.insert(number, (told, event.happens));
            }
        }
    }
}

impl Iterator for History {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            let start = self.next_start();
            let soonest = self.coming.peek().map(|Reverse((at, _))| *at);
            match (start, soonest) {
                (Some(start), soonest) if soonest.is_none_or(|at| start <= at) => self.begin(start),
                (_, Some(_)) => {
                    let Reverse((_, number)) = self.coming.pop()?;
                    let (told, happens) = self.events.remove(&number)?;
                    self.truth.happens(&told, happens);
                    self.ready.push_back(told);
                }
                (_, None) => return None,
            }
        }
    }
}

//! What the headers of a period say, entry by entry: which changes, which totals, which heartbeats stand around it, and whether time and
//! chains hold. The writer and the verifier share it, so that what is written is what is derived again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ledger::control::ControlOp;
use ledger::entry::{EntryError, EventView, Header, View};
use ledger::hash::Hash;
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeClass, Phase};
use serde::{Deserialize, Serialize};

use super::period::{Period, text_of};

/// Why headers are no population.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// A line is no entry.
    #[error("entry {index}: {source}")]
    Entry {
        /// Index in the log.
        index: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// The log's time falls.
    #[error("entry {index}: the log's time goes backwards, from {before} to {found}")]
    Time {
        /// Index in the log.
        index: u64,
        /// Time of the entry before it.
        before: String,
        /// Its time.
        found: String,
    },
    /// An event does not continue its change.
    #[error("entry {index} is number {found} of change {change:?}, expected {expected}: the change's chain is broken")]
    Chain {
        /// Index in the log.
        index: u64,
        /// The change.
        change: String,
        /// Its number and the leaf before it.
        found: String,
        /// What continues the change.
        expected: String,
    },
    /// No heartbeat stands before the period, though the log is older.
    #[error("no heartbeat before {from} is among the headers, and they do not start with the log")]
    NoBegin {
        /// Beginning of the period.
        from: String,
    },
    /// No heartbeat stands at or after the end of the period.
    #[error("no heartbeat at or after {to} is among the headers, so that the period is not over")]
    NoEnd {
        /// End of the period.
        to: String,
    },
    /// A file of headers has other lines than its place asks for.
    #[error("{file}: {found} lines, expected {expected}, each ended by a line feed")]
    Lines {
        /// The file.
        file: String,
        /// Lines found.
        found: u64,
        /// Lines expected.
        expected: u64,
    },
}

/// One change, as the headers of the period tell of it. Members in the order of RFC 8785.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, as the document states them")]
pub struct Change {
    /// The change.
    pub change: String,
    /// Its classes, sorted.
    pub classes: Vec<String>,
    /// An event of the period closes it.
    pub closed: bool,
    /// The environments that its events of the period name, sorted.
    pub environments: Vec<String>,
    /// Its events in the period.
    pub events: u64,
    /// An event of the period records an execution.
    pub executed: bool,
    /// Index of its first event in the period.
    pub first: u64,
    /// The log's time of that event, milliseconds since 1970.
    pub first_at: u64,
    /// The earliest time that a producer gave in the period, seconds since 1970.
    pub first_ts: i64,
    /// Index of its last event in the period.
    pub last: u64,
    /// The log's time of that event, milliseconds since 1970.
    pub last_at: u64,
    /// The latest time that a producer gave in the period, seconds since 1970.
    pub last_ts: i64,
    /// Outcomes of its events in the period, the worst first.
    pub outcomes: Vec<String>,
    /// Phases of its events in the period, in the model's order.
    pub phases: Vec<String>,
    /// All its events in the period are probes.
    pub probe: bool,
    /// Its first event of all lies in the period.
    pub started: bool,
}

/// Changes of one environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InEnvironment {
    /// How many; a change counts in each environment that it was executed in.
    pub changes: u64,
    /// The environment; absent where the events name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// Events whose producers' clocks and the log's time do not fall into the same period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// `ts` in the period, `at` at or after its end: among the headers shipped here, which end soon after the period.
    pub after: u64,
    /// `ts` at or after the end of the period, `at` in it.
    pub ahead: u64,
    /// `ts` before the period, `at` in it: they came late for an earlier period.
    pub before: u64,
}

/// Totals over the period, all derived from headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Changes with an event in the period.
    pub changes: u64,
    /// Events by class; those without are in no row.
    pub classes: BTreeMap<String, u64>,
    /// Changes closed.
    pub closed: u64,
    /// Acts on the log: changes of keys, holds, erasures, facts.
    pub controls: u64,
    /// Cuts of the road.
    pub epochs: u64,
    /// Erasures among the acts.
    pub erasures: u64,
    /// Events.
    pub events: u64,
    /// Changes executed, by environment.
    pub executed: Vec<InEnvironment>,
    /// Absences on the road.
    pub gaps: u64,
    /// Messages absent in them.
    pub gap_messages: u64,
    /// Heartbeats from the one before the period to the one after it, both counted.
    pub heartbeats: u64,
    /// Events by producers' time.
    pub late: Late,
    /// Longest time between two neighbours of these heartbeats, milliseconds.
    pub longest_silence_ms: u64,
    /// Events by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Events by phase.
    pub phases: BTreeMap<String, u64>,
    /// Events that are probes.
    pub probes: u64,
    /// Messages that were not admitted.
    pub rejections: u64,
    /// Changes started.
    pub started: u64,
    /// Entries of kinds that this version does not know.
    pub unknown: u64,
}

/// Everything that the headers said.
pub(crate) struct Tallied {
    /// Index of the last heartbeat before the period, or 0.
    pub(crate) begins: u64,
    /// Index of the first heartbeat at or after its end.
    pub(crate) ends: u64,
    pub(crate) totals: Totals,
    /// Entries of the change that was asked for, with their leaf hashes.
    pub(crate) watched: Vec<(u64, Hash)>,
    /// The first entry of a kind that this version does not know: nobody here can say of what change it is.
    pub(crate) unknown: Option<u64>,
    changes: Vec<(Box<str>, Record)>,
    environments: Environments,
}

impl Tallied {
    /// The changes of the period, in the order of their first events in it.
    pub(crate) fn changes(&self) -> impl ExactSizeIterator<Item = Change> {
        self.changes.iter().map(|(id, record)| record.change(id, &self.environments))
    }
}

/// The pass over the headers.
pub(crate) struct Tally {
    period: Period,
    first_size: u64,
    watch: Option<Box<str>>,
    watched: Vec<(u64, Hash)>,
    unknown: Option<u64>,
    last_at: u64,
    begins: Option<u64>,
    inside: bool,
    ends: Option<u64>,
    last_beat_at: Option<u64>,
    totals: Counters,
    ids: HashMap<Box<str>, u32>,
    records: Vec<Record>,
    environments: Environments,
}

/// Totals while they grow: by number, not by name.
#[derive(Default)]
struct Counters {
    totals: Totals,
    phases: [u64; 8],
    outcomes: [u64; 8],
    classes: [u64; 4],
}

struct Record {
    next_seq: u64,
    last_leaf: Hash,
    first: u64,
    last: u64,
    first_at: u64,
    last_at: u64,
    first_ts: i64,
    last_ts: i64,
    events: u32,
    phases: u8,
    outcomes: u8,
    classes: u8,
    started: bool,
    closed: bool,
    work: bool,
    named: Set,
    executed: Set,
}

/// A set of interned environments: nearly every change has one or two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Set {
    #[default]
    None,
    One(u32),
    #[expect(clippy::box_collection, reason = "rare; unboxed it would enlarge the set of every change")]
    Many(Box<BTreeSet<u32>>),
}

impl Set {
    fn insert(&mut self, id: u32) {
        match self {
            Self::None => *self = Self::One(id),
            Self::One(one) if *one == id => {}
            Self::One(one) => *self = Self::Many(Box::new([*one, id].into())),
            Self::Many(many) => {
                many.insert(id);
            }
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::None => Box::new(std::iter::empty()),
            Self::One(one) => Box::new(std::iter::once(*one)),
            Self::Many(many) => Box::new(many.iter().copied()),
        }
    }
}

/// Names of environments by number; 0 is none.
struct Environments {
    names: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
    last: (Box<str>, u32),
}

impl Environments {
    fn new() -> Self {
        Self { names: vec!["".into()], numbers: HashMap::new(), last: ("".into(), 0) }
    }

    fn number(&mut self, name: Option<&str>) -> u32 {
        let Some(name) = name else { return 0 };
        if *self.last.0 == *name {
            return self.last.1;
        }
        let number = if let Some(number) = self.numbers.get(name) {
            *number
        } else {
            // As many as there are entries at most.
            let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
            self.names.push(name.into());
            self.numbers.insert(name.into(), number);
            number
        };
        self.last = (name.into(), number);
        number
    }

    fn name(&self, number: u32) -> Option<String> {
        let name = self.names.get(number as usize).filter(|_| number > 0)?;
        Some(name.to_string())
    }
}

impl Tally {
    /// Over headers from the tree size `first_size` on; of the change `watch` all entries are kept.
    pub(crate) fn new(period: Period, first_size: u64, watch: Option<&str>) -> Self {
        Self {
            period,
            first_size,
            watch: watch.map(Into::into),
            watched: Vec::new(),
            unknown: None,
            last_at: 0,
            begins: None,
            inside: false,
            ends: None,
            last_beat_at: None,
            totals: Counters::default(),
            ids: HashMap::new(),
            records: Vec::new(),
            environments: Environments::new(),
        }
    }

    /// The next entry.
    pub(crate) fn push(&mut self, index: u64, leaf: Hash, entry: &[u8]) -> Result<(), Wrong> {
        let view = View::read(entry).map_err(|source| Wrong::Entry { index, source })?;
        // An entry of an unknown kind tells no time.
        let at = view.at().unwrap_or(self.last_at);
        if at < self.last_at {
            return Err(Wrong::Time { index, before: text_of(self.last_at), found: text_of(at) });
        }
        self.last_at = at;
        if at >= self.period.from_ms() && !self.inside {
            self.inside = true;
            if self.begins.is_none() && self.first_size == 0 {
                self.begins = Some(0);
            }
        }
        match view {
            View::Event(event) => self.event(index, leaf, &event),
            View::Other(header) => {
                self.other(index, at, &header);
                Ok(())
            }
        }
    }

    fn other(&mut self, index: u64, at: u64, header: &Header) {
        if let Header::Heartbeat(_) = header {
            self.heartbeat(index, at);
        }
        if let Header::Unknown { .. } = header {
            self.unknown = self.unknown.or(Some(index));
        }
        if !self.period.contains(at) {
            return;
        }
        let totals = &mut self.totals.totals;
        match header {
            Header::Rejection(_) => totals.rejections += 1,
            Header::Control(control) => {
                totals.controls += 1;
                totals.erasures += u64::from(control.op == ControlOp::Erase);
            }
            Header::Epoch(_) => totals.epochs += 1,
            Header::Gap(gap) => {
                totals.gaps += 1;
                totals.gap_messages = totals.gap_messages.saturating_add((gap.to - gap.from).saturating_add(1));
            }
            Header::Unknown { .. } => totals.unknown += 1,
            Header::First(_) | Header::Heartbeat(_) | Header::Event(_) => {}
        }
    }

    fn heartbeat(&mut self, index: u64, at: u64) {
        if self.ends.is_some() {
            return;
        }
        let totals = &mut self.totals.totals;
        if self.inside {
            totals.heartbeats += 1;
            let silence = self.last_beat_at.map_or(0, |last| at - last);
            totals.longest_silence_ms = totals.longest_silence_ms.max(silence);
        } else {
            self.begins = Some(index);
            totals.heartbeats = 1;
        }
        self.last_beat_at = Some(at);
        if at >= self.period.to_ms() {
            self.ends = Some(index);
        }
    }

    fn event(&mut self, index: u64, leaf: Hash, event: &EventView<'_>) -> Result<(), Wrong> {
        let number = self.chained(index, leaf, event)?;
        if self.watch.as_deref().is_some_and(|watch| *watch == *event.change) {
            self.watched.push((index, leaf));
        }
        let (from, to) = (self.period.from_ms().cast_signed(), self.period.to_ms().cast_signed());
        // Seconds of a header stay below 2^53, so that milliseconds do not overflow.
        let ts_ms = event.ts * 1_000;
        let totals = &mut self.totals.totals;
        if event.at >= self.period.to_ms() {
            totals.late.after += u64::from((from..to).contains(&ts_ms));
        }
        if !self.period.contains(event.at) {
            return Ok(());
        }
        totals.late.before += u64::from(ts_ms < from);
        totals.late.ahead += u64::from(ts_ms >= to);
        totals.events += 1;
        totals.probes += u64::from(event.probe);
        self.totals.phases[event.phase as usize] += 1;
        self.totals.outcomes[event.outcome as usize] += 1;
        if let Some(class) = event.class {
            self.totals.classes[class as usize] += 1;
        }
        let environment = self.environments.number(event.env.as_deref());
        self.records[number].count(index, event, environment);
        Ok(())
    }

    /// Checks that the event continues its change, and gives the number of the change's record.
    fn chained(&mut self, index: u64, leaf: Hash, event: &EventView<'_>) -> Result<usize, Wrong> {
        let broken = |expected: String| {
            let found = format!("{} behind {}", event.seq, shown(event.prev.as_ref()));
            Err(Wrong::Chain { index, change: event.change.to_string(), found, expected })
        };
        if let Some(number) = self.ids.get(&*event.change) {
            let number = *number as usize;
            let record = &mut self.records[number];
            if event.seq != record.next_seq || event.prev != Some(record.last_leaf) {
                return broken(format!("{} behind {}", record.next_seq, record.last_leaf));
            }
            (record.next_seq, record.last_leaf) = (event.seq + 1, leaf);
            return Ok(number);
        }
        if self.first_size == 0 && event.seq != 0 {
            return broken("0, its first".to_owned());
        }
        let number = self.records.len();
        // A log of more changes than this does not fit into memory anyway.
        self.ids.insert((*event.change).into(), u32::try_from(number).unwrap_or(u32::MAX));
        self.records.push(Record::new(event.seq + 1, leaf));
        Ok(number)
    }

    /// What the headers said, after the last one.
    pub(crate) fn finish(self) -> Result<Tallied, Wrong> {
        let ends = self.ends.ok_or_else(|| Wrong::NoEnd { to: self.period.to_text() })?;
        let begins = self.begins.ok_or_else(|| Wrong::NoBegin { from: self.period.from_text() })?;
        let mut records: Vec<Option<Record>> = self.records.into_iter().map(Some).collect();
        let mut changes: Vec<(Box<str>, Record)> = Vec::with_capacity(records.len());
        for (id, number) in self.ids {
            if let Some(record) = records[number as usize].take().filter(|record| record.events > 0) {
                changes.push((id, record));
            }
        }
        changes.sort_unstable_by_key(|(_, record)| record.first);
        let totals = self.totals.finish(&changes, &self.environments);
        let Self { watched, unknown, environments, .. } = self;
        Ok(Tallied { begins, ends, totals, watched, unknown, changes, environments })
    }
}

fn shown(hash: Option<&Hash>) -> String {
    hash.map_or_else(|| "none".to_owned(), Hash::to_string)
}

impl Record {
    fn new(next_seq: u64, last_leaf: Hash) -> Self {
        Self {
            next_seq,
            last_leaf,
            first: 0,
            last: 0,
            first_at: 0,
            last_at: 0,
            first_ts: i64::MAX,
            last_ts: i64::MIN,
            events: 0,
            phases: 0,
            outcomes: 0,
            classes: 0,
            started: false,
            closed: false,
            work: false,
            named: Set::None,
            executed: Set::None,
        }
    }

    fn count(&mut self, index: u64, event: &EventView<'_>, environment: u32) {
        if self.events == 0 {
            (self.first, self.first_at) = (index, event.at);
        }
        (self.last, self.last_at) = (index, event.at);
        self.first_ts = self.first_ts.min(event.ts);
        self.last_ts = self.last_ts.max(event.ts);
        self.events = self.events.saturating_add(1);
        self.phases |= 1 << event.phase as u8;
        self.outcomes |= 1 << event.outcome as u8;
        self.classes |= event.class.map_or(0, |class| 1 << class as u8);
        self.started |= event.seq == 0;
        self.closed |= event.has.includes(Has::CLOSED);
        self.work |= !event.probe;
        if environment > 0 {
            self.named.insert(environment);
        }
        if event.has.includes(Has::EXECUTION) {
            self.executed.insert(environment);
        }
    }

    fn change(&self, id: &str, environments: &Environments) -> Change {
        let mut names: Vec<String> = self.named.iter().filter_map(|number| environments.name(number)).collect();
        names.sort_unstable();
        Change {
            change: id.to_owned(),
            classes: words(ChangeClass::ALL, self.classes, ChangeClass::as_str),
            closed: self.closed,
            environments: names,
            events: u64::from(self.events),
            executed: self.executed != Set::None,
            first: self.first,
            first_at: self.first_at,
            first_ts: self.first_ts,
            last: self.last,
            last_at: self.last_at,
            last_ts: self.last_ts,
            outcomes: words(Outcome::ALL, self.outcomes, Outcome::as_str),
            phases: words(Phase::ALL, self.phases, Phase::as_str),
            probe: !self.work,
            started: self.started,
        }
    }
}

/// The words of a set of bits. `all` is in the order of its own numbers.
fn words<T: Copy>(all: &[T], bits: u8, word: fn(T) -> &'static str) -> Vec<String> {
    all.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, one)| word(*one).to_owned()).collect()
}

impl Counters {
    fn finish(self, changes: &[(Box<str>, Record)], environments: &Environments) -> Totals {
        let mut executed: BTreeMap<Option<String>, u64> = BTreeMap::new();
        for (_, record) in changes {
            for number in record.executed.iter() {
                *executed.entry(environments.name(number)).or_default() += 1;
            }
        }
        let count = |pick: fn(&Record) -> bool| changes.iter().filter(|(_, record)| pick(record)).count() as u64;
        Totals {
            changes: changes.len() as u64,
            started: count(|record| record.started),
            closed: count(|record| record.closed),
            executed: executed
                .into_iter()
                .map(|(environment, changes)| InEnvironment { changes, environment })
                .collect(),
            phases: counts(Phase::ALL, &self.phases, Phase::as_str),
            outcomes: counts(Outcome::ALL, &self.outcomes, Outcome::as_str),
            classes: counts(ChangeClass::ALL, &self.classes, ChangeClass::as_str),
            ..self.totals
        }
    }
}

fn counts<T: Copy>(all: &[T], counted: &[u64], word: fn(T) -> &'static str) -> BTreeMap<String, u64> {
    all.iter().zip(counted).filter(|(_, n)| **n > 0).map(|(one, n)| (word(*one).to_owned(), *n)).collect()
}

//! fsck: everything in a store derived again from raw entries and payloads, and compared. Any flipped bit is found, and its place
//! named; so is any row that was deleted, added or put elsewhere.
//!
//! Read are raw rows; shared with the writer are hashing and formats (headers, rows, notes, envelopes and bodies of control
//! messages, marks of what was masked), nothing of deciding or appending: tree, chains, road, acts, keys and heads are followed by code
//! of its own. With [`Options::deep`] admission is asked again, which is the writer's. What is checked: keys of all rows; entries in their only
//! form, without a hole; leaf hashes → tiles of every level → head → the root of every checkpoint ever signed, each signed by the
//! log's key; payloads and salts against commitments, sizes, masked marks; time, road and control chain in order; each change's
//! chain; dedupe and chain rows against the events, both ways; details of rejections; openings of `_ledger` and the logs that they
//! name; heads, names, numbers.
//!
//! What it can't know: the bytes as received of a masked event, so its fingerprint is only compared with the dedupe index; without
//! a tenant's dedupe key, to which change a chain's key belongs. That payloads would be admitted again as they are is asked with
//! [`Options::deep`] only: nothing that a flipped bit could do escapes the commitment.
//!
//! Memory stays flat: a log is checked in stretches of 1,024 entries, on several threads, and sets of rows are compared by sums.

mod acts;
mod index;
mod log;
mod report;
mod scan;
mod store;
mod tally;
mod tree;
mod unit;

pub use report::{FINDINGS, Finding, LogSummary, Report};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use schemas::admit::Scratch;
use schemas::ids::Tenant;

use crate::append::Head;
use crate::birth::Opening;
use crate::dedupe::DedupeKey;
use crate::entry::Header;
use crate::hash::leaf;
use crate::kv::{Kv, Space};
use crate::layout::{Key, LogId, LogRow, decode_head};
use acts::{Acts, Signers};
use log::{Known, LogState};
use report::Findings;
use store::Store;
use tally::Tally;
use unit::{LogFacts, UNIT};

/// How to check.
pub struct Options<'a> {
    /// Threads to use.
    pub threads: usize,
    /// Payloads are admitted again as well, and fingerprints of unmasked events made again: several times as slow.
    pub deep: bool,
    /// Tenants whose logs are checked; all logs and all rows of the store where empty.
    pub tenants: &'a [Tenant],
    /// The tenants' dedupe keys that are at hand.
    pub dedupe: &'a (dyn Fn(&Tenant) -> Option<DedupeKey> + Sync),
    /// Hears of entries that were checked, from any thread: how many more.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// A log, where its rows are read and findings go.
struct Place<'a, K> {
    kv: &'a K,
    log: LogId,
    name: Option<String>,
    findings: &'a Findings,
}

impl<K> Place<'_, K> {
    fn called(&self) -> String {
        self.name.clone().unwrap_or_else(|| "the store".to_owned())
    }
}

/// A log while it is checked.
struct Job<'a, K> {
    place: Place<'a, K>,
    facts: LogFacts<'a>,
    state: Mutex<LogState>,
}

/// One thing that a thread does.
enum Task {
    Chains { job: usize, part: u8 },
    Dedupes { job: usize, part: u8 },
    Entries { job: usize, number: u64 },
}

/// Number of entries in all logs of the store, for showing progress; heads that can't be read count nothing.
pub fn total<K: Kv>(kv: &K) -> u64 {
    let (from, to) = (Key::Head(LogId(0)).bytes(), Key::Head(LogId(u32::MAX)).bytes());
    let rows = kv.range(Space::Meta, &from, &to, usize::MAX).unwrap_or_default();
    let size = |(key, row): &(Vec<u8>, Vec<u8>)| match Key::decode(Space::Meta, key) {
        Ok(Key::Head(log)) => decode_head(log, row).map_or(0, |head| head.size),
        _ => 0,
    };
    rows.iter().map(size).sum()
}

/// Checks the store. That it could not be read somewhere is a finding too.
pub fn check<K: Kv>(kv: &K, options: &Options<'_>) -> Report {
    check_keeping(kv, options, FINDINGS)
}

/// [`check`] that lists up to `most` findings, whatever memory they take.
pub fn check_keeping<K: Kv>(kv: &K, options: &Options<'_>, most: usize) -> Report {
    let findings = Findings::at_most(most);
    let whole = Place { kv, log: LogId::LEDGER, name: None, findings: &findings };
    let store = Store::read(&whole);
    let jobs: Vec<Job<'_, K>> = store
        .heads
        .iter()
        .filter(|(log, _)| {
            options.tenants.is_empty() || tenant_of(&store, **log).is_some_and(|t| options.tenants.contains(t))
        })
        .map(|(log, head)| job(kv, &findings, &store, *log, head, options))
        .collect();
    // Chain rows first: whether an event ends its chain decides where it is counted.
    let parts = |task: fn(usize, u8) -> Task| {
        (0..jobs.len()).flat_map(move |job| (0..index::PARTS).map(move |part| task(job, part)))
    };
    run(&jobs, options, &parts(|job, part| Task::Chains { job, part }).collect::<Vec<_>>());
    let mut tasks = Vec::new();
    for (job, log) in jobs.iter().enumerate() {
        tasks.extend((0..log.facts.head.size.div_ceil(UNIT)).map(|number| Task::Entries { job, number }));
    }
    tasks.extend(parts(|job, part| Task::Dedupes { job, part }));
    run(&jobs, options, &tasks);
    let mut logs = Vec::with_capacity(jobs.len());
    let (mut listed, mut listed_acts, mut acts) = (Vec::new(), BTreeMap::new(), Vec::new());
    for job in &jobs {
        let mut state = job.state.lock().unwrap_or_else(PoisonError::into_inner);
        logs.push(state.finish(&job.known()));
        if state.tally != Tally::default() {
            index::locate(&job.place, &job.facts, &state.tally);
        }
        listed.append(&mut state.listed);
        listed_acts.append(&mut state.listed_acts);
        acts.extend(state.acts.drain(..).map(|(index, opening)| (job, index, opening)));
    }
    if options.tenants.is_empty() {
        store.check(&whole);
        store.strangers(&whole);
        check_listed(&jobs, &listed);
        check_listed_acts(&jobs, listed_acts, acts);
    }
    findings.into_report(logs)
}

fn tenant_of(store: &Store, log: LogId) -> Option<&Tenant> {
    match store.rows.get(&log)? {
        LogRow::Tenant { tenant, .. } => Some(tenant),
        LogRow::Ledger => None,
    }
}

fn job<'a, K: Kv>(
    kv: &'a K,
    findings: &'a Findings,
    store: &'a Store,
    log: LogId,
    head: &'a Head,
    options: &Options<'_>,
) -> Job<'a, K> {
    let place = Place { kv, log, name: Some(head.origin.to_string()), findings };
    let entry = kv.get(Space::Entries, &Key::Entry(log, 0).bytes()).ok().flatten();
    let first = match entry.as_ref().map(|entry| Header::decode(entry)) {
        Some(Ok(Header::First(first))) => Some(first),
        // What is wrong with it is found with the other entries.
        _ => None,
    };
    if let Some(first) = first.as_ref().filter(|first| first.origin != head.origin) {
        place.finding("entry", 0, format!("the origin {}, as the head", head.origin), first.origin.to_string());
    }
    let tenant = tenant_of(store, log);
    let facts = LogFacts {
        head,
        tenant,
        dedupe: tenant.and_then(|tenant| dedupe_key(&place, store, tenant, options)),
        signers: first.as_ref().map(|first| Signers::of(&place, first, head)),
        chain_heads: (0..head.size.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        deep: options.deep,
    };
    let acts = first.as_ref().zip(entry).map(|(first, entry)| Acts::born(first, leaf(&entry)));
    Job { place, facts, state: Mutex::new(LogState::new(acts)) }
}

/// The tenant's dedupe key, if it is at hand and the one that the log was born with.
fn dedupe_key<K: Kv>(place: &Place<'_, K>, store: &Store, tenant: &Tenant, options: &Options<'_>) -> Option<DedupeKey> {
    let Some(key) = (options.dedupe)(tenant) else {
        place
            .findings
            .unchecked(format!("{}: keys of its chain rows, for lack of the key keys/{tenant}.dedupe", place.called()));
        return None;
    };
    match store.rows.get(&place.log) {
        Some(LogRow::Tenant { dedupe_check, .. }) if *dedupe_check == key.check_value() => Some(key),
        _ => {
            // One way: whoever reads it learns nothing of the key.
            let expected =
                format!("{}, the check value of the key keys/{tenant}.dedupe", hex::encode(key.check_value()));
            let found = match store.rows.get(&place.log) {
                Some(LogRow::Tenant { dedupe_check, .. }) => hex::encode(dedupe_check),
                _ => "no row of a tenant".to_owned(),
            };
            place.finding("log row", place.log, expected, format!("{found}: one of the two is not this log's"));
            None
        }
    }
}

impl<K: Kv> Job<'_, K> {
    fn known(&self) -> Known<'_, K> {
        Known { place: &self.place, facts: &self.facts }
    }

    fn add(&self, tally: &Tally) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tally.add(tally);
    }
}

/// Does the tasks, in their order as far as threads allow.
fn run<K: Kv>(jobs: &[Job<'_, K>], options: &Options<'_>, tasks: &[Task]) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut scratch = Scratch::default();
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            perform(jobs, options, task, &mut scratch);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.threads.max(1).min(tasks.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
}

fn perform<K: Kv>(jobs: &[Job<'_, K>], options: &Options<'_>, task: &Task, scratch: &mut Scratch) {
    match task {
        Task::Chains { job, part } => {
            let job = &jobs[*job];
            job.add(&index::chains(&job.place, &job.facts, *part));
        }
        Task::Dedupes { job, part } => {
            let job = &jobs[*job];
            job.add(&index::dedupes(&job.place, *part));
        }
        Task::Entries { job, number } => {
            let job = &jobs[*job];
            let (from, to) = (number * UNIT, ((number + 1) * UNIT).min(job.facts.head.size));
            let checked = unit::check(&job.place, &job.facts, from, to, scratch);
            job.state.lock().unwrap_or_else(PoisonError::into_inner).take(&job.known(), *number, checked);
            (options.progress)(to - from);
        }
    }
}

/// Every log is listed in `_ledger`, and as what it is.
fn check_listed<K: Kv>(jobs: &[Job<'_, K>], listed: &[(u64, Opening)]) {
    let Some(own) = jobs.iter().find(|job| job.place.log == LogId::LEDGER) else { return };
    let mut seen = BTreeSet::new();
    for (index, opening) in listed {
        let origin = |job: &&Job<'_, K>| job.facts.head.origin.as_str() == opening.origin;
        let Some(job) = jobs.iter().find(origin) else {
            own.place.finding(
                "log",
                &opening.origin,
                format!("the log that entry {index} of this one lists"),
                "nothing",
            );
            continue;
        };
        seen.insert(job.place.log);
        let entry = job.place.kv.get(Space::Entries, &Key::Entry(job.place.log, 0).bytes()).ok().flatten();
        let found = entry.map_or("nothing".to_owned(), |entry| leaf(&entry).to_string());
        if found != opening.first {
            job.place.finding(
                "entry",
                0,
                format!("leaf hash {}, as listed in the ledger's own log", opening.first),
                found,
            );
        }
    }
    for job in jobs.iter().filter(|job| job.place.log != LogId::LEDGER && !seen.contains(&job.place.log)) {
        job.place.finding("log", job.place.log, "a listing in the ledger's own log", "none");
    }
}

/// Every act on a tenant's log is listed in `_ledger`, and nothing else is.
fn check_listed_acts<K: Kv>(
    jobs: &[Job<'_, K>],
    mut listed: BTreeMap<Vec<u8>, u64>,
    acts: Vec<(&Job<'_, K>, u64, Vec<u8>)>,
) {
    for (job, index, opening) in acts {
        if listed.remove(&opening).is_none() {
            job.place.finding("entry", index, "a listing in the ledger's own log", "none");
        }
    }
    let Some(own) = jobs.iter().find(|job| job.place.log == LogId::LEDGER) else { return };
    for index in listed.into_values() {
        own.place.finding("entry", index, "the act that it lists", "none in any log");
    }
}

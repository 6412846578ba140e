//! What views cost on a made-up history: `cargo run --release -p upm-projector-sqlite --example views_rate [EVENTS] [CHUNK] [DAYS] [KEEP]`.
//!
//! `DAYS` 0 takes the events that the harness publishes (`benches/src/events.rs`: 1.4 KB, five to a change, all of one day) instead of a history. `KEEP` names a
//! file for the rebuilt views, so that one can look at them.
//!
//! CPU of one thread, by step, because others use the machine, too; no log, no server: entries are in memory. First as `upm rebuild` goes (core
//! for all, then detail for all), then as a server does that is never behind (detail after each chunk of core, so that changes are told again and again).
//! The figures of both are compared with the truth that the history knows of itself.

#![expect(clippy::disallowed_methods, reason = "it measures")]

#[path = "../../../benches/src/history/against.rs"]
mod against;
#[path = "../../../benches/src/events.rs"]
#[allow(dead_code, reason = "made for the harness, which uses all of it")]
mod events;
#[path = "../../../benches/src/history/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "made for the harness, which uses all of it")]
mod history;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use against::{header, window};
use events::{Random, event};
use history::{DAY_MS, History, Options, Told, Truth};
use ledger::entry::Header;
use projector::approval::Rules;
use projector::detail::detail;
use projector::document::Entry;
use projector::facts::Gist;
use projector::kpi::scratch::Filter;
use projector_sqlite::{ChangeRows, ChunkLimits, Row, Touched, ViewError, Views};
use schemas::admit::{Scratch, derive};
use schemas::scan::Tape;

type Failure = Box<dyn std::error::Error>;

/// 2026-01-01.
const FROM_DAY: u64 = 20_454;
/// Entries of a chunk where nothing is behind: as many as `upm serve` takes.
const FOLLOWED: usize = 2_048;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |place: usize, default| arguments.get(place).map_or(Ok(default), |text| text.parse::<usize>());
    // Twenty thousand events a day: ten million are a year and a half of them.
    let (events, chunk, days) = (argument(0, 240_000)?, argument(1, 16_384)?, argument(2, 12)? as u64);
    let played = if days == 0 { published(events)? } else { made_up(events, days)? };
    let bytes: usize = played.entries.iter().map(|(_, payload)| payload.len()).sum();
    println!("{} events of {} bytes", played.entries.len(), bytes / played.entries.len().max(1));
    let dir = tempfile::TempDir::new()?;
    let kept = arguments.get(3).map_or_else(|| dir.path().join("rebuilt.db"), PathBuf::from);
    println!("rebuild, {chunk} entries a chunk: {}", rebuild(&kept, &played, chunk)?.of(played.entries.len()));
    let followed = follow(&dir.path().join("followed.db"), &played)?;
    println!("following, {FOLLOWED} entries a chunk: {}", followed.of(played.entries.len()));
    Ok(())
}

/// What is projected, and the truth about it where it knows one.
struct Played {
    entries: Vec<(Header, String)>,
    truth: Option<Truth>,
    days: u64,
}

/// Core for all, then detail for all.
fn rebuild(path: &Path, played: &Played, chunk: usize) -> Result<Spent, Failure> {
    let mut views = Views::recreate(path)?;
    let mut spent = Spent::default();
    for (part, from) in played.entries.chunks(chunk).zip((0..).step_by(chunk)) {
        core(&mut views, part, from, &mut spent)?;
    }
    let limits = ChunkLimits { entries: chunk as u64, events: 2 * chunk, bytes: 64 << 20 };
    while told(&mut views, &played.entries, &limits, &mut spent)? {}
    check(&views, played)?;
    Ok(spent)
}

/// Detail behind each chunk of core.
fn follow(path: &Path, played: &Played) -> Result<Spent, Failure> {
    let mut views = Views::recreate(path)?;
    let mut spent = Spent::default();
    let limits = ChunkLimits { entries: FOLLOWED as u64, events: 8 * FOLLOWED, bytes: 64 << 20 };
    for (part, from) in played.entries.chunks(FOLLOWED).zip((0..).step_by(FOLLOWED)) {
        core(&mut views, part, from, &mut spent)?;
        while told(&mut views, &played.entries, &limits, &mut spent)? {}
    }
    check(&views, played)?;
    Ok(spent)
}

/// CPU nanoseconds by step.
#[derive(Default)]
struct Spent {
    read: u64,
    core: u64,
    tell: u64,
    look: u64,
    detail: u64,
    drop: u64,
    clock: f64,
    told: usize,
}

fn core(views: &mut Views, part: &[(Header, String)], from: u64, spent: &mut Spent) -> Result<(), Failure> {
    let (clock, start) = (Instant::now(), cpu_ns()?);
    let mut tape = Tape::default();
    let gist = |(header, payload): &(Header, String)| match header {
        Header::Event(event) => Gist::scan(payload.as_bytes(), &mut tape, event.phase),
        _ => None,
    };
    let gists: Vec<_> = part.iter().map(gist).collect();
    let read = cpu_ns()?;
    let rows: Vec<_> = (from..)
        .zip(part.iter().zip(&gists))
        .map(|(index, ((header, _), gist))| Row { index, header, payload: &[], gist: gist.as_ref(), previous: None })
        .collect();
    views.project(&rows)?;
    spent.read += read - start;
    spent.core += cpu_ns()? - read;
    spent.clock += clock.elapsed().as_secs_f64();
    Ok(())
}

/// A chunk of detail; false where there is none.
fn told(
    views: &mut Views,
    entries: &[(Header, String)],
    limits: &ChunkLimits,
    spent: &mut Spent,
) -> Result<bool, Failure> {
    let (clock, start) = (Instant::now(), cpu_ns()?);
    let pending = views.pending_detail(limits)?;
    let looked = cpu_ns()?;
    let rules = Rules::default();
    let details: Vec<ChangeRows> =
        pending.changes.iter().map(|touched| tell(touched, entries, &rules)).collect::<Result<_, _>>()?;
    let read = cpu_ns()?;
    spent.tell += read - looked;
    if pending.from < pending.to {
        let at = |index: u64| usize::try_from(index).ok().and_then(|index| entries.get(index)?.0.at()).unwrap_or(0);
        let heard = projector_sqlite::Told {
            details: &details,
            rejections: &[],
            assessors: &BTreeMap::new(),
            first_ms: at(pending.from),
            at_ms: at(pending.to - 1),
        };
        views.project_detail(&pending, &heard)?;
    }
    let written = cpu_ns()?;
    drop(details);
    spent.look += looked - start;
    spent.detail += written - read;
    spent.drop += cpu_ns()? - written;
    spent.clock += clock.elapsed().as_secs_f64();
    spent.told += pending.changes.iter().map(|touched| touched.events.len()).sum::<usize>();
    Ok(pending.from < pending.to)
}

fn tell(touched: &Touched, entries: &[(Header, String)], rules: &Rules) -> Result<ChangeRows, ViewError> {
    let own = touched.events.iter().filter_map(|(index, _)| match entries.get(usize::try_from(*index).ok()?)? {
        (Header::Event(header), payload) => Some(Entry { index: *index, header, payload: Some(payload.as_bytes()) }),
        _ => None,
    });
    ChangeRows::of(detail(&touched.change, &own.collect::<Vec<_>>(), rules))
}

impl Spent {
    fn of(&self, events: usize) -> Shares<'_> {
        Shares { spent: self, events }
    }
}

struct Shares<'a> {
    spent: &'a Spent,
    events: usize,
}

#[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
impl fmt::Display for Shares<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spent, events } = self;
        let us = |ns: u64| ns as f64 / 1e3 / *events as f64;
        writeln!(out, "{:.0} events/s by the clock, one thread", *events as f64 / spent.clock)?;
        writeln!(out, "  core    read {:.2} µs CPU an event, write {:.2}", us(spent.read), us(spent.core))?;
        write!(out, "  detail  look up {:.2} µs CPU an event, tell {:.2}", us(spent.look), us(spent.tell))?;
        write!(out, ", write {:.2}, drop {:.2}", us(spent.detail), us(spent.drop))?;
        write!(out, "; each event told {:.2} times", spent.told as f64 / *events as f64)
    }
}

/// CPU time of this thread: what counts on a machine that others use, too.
fn cpu_ns() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split(' ').next().unwrap_or_default().parse()?)
}

/// The events of a history as a log would hold them, and its truth.
fn made_up(events: usize, days: u64) -> Result<Played, Failure> {
    let options = Options {
        seed: 1,
        tenant: "acme".to_owned(),
        changes: events as u64 / 6,
        from_ms: FROM_DAY * DAY_MS,
        days,
        played_at_ms: None,
        anomalies: false,
        sign: None,
    };
    let mut history = History::new(options);
    let mut scratch = Scratch::default();
    let mut entries = Vec::with_capacity(events);
    for told in history.by_ref().filter(|told| !told.duplicate) {
        entries.push((Header::Event(header(&told, &mut scratch)?), told.payload));
    }
    Ok(Played { entries, truth: Some(history.into_truth()), days })
}

/// The events that the harness publishes, as a log would hold them that takes 50,000 a second.
fn published(events: usize) -> Result<Played, Failure> {
    let (mut random, mut scratch) = (Random::new(1), Scratch::default());
    let one = |number: u64| -> Result<_, Failure> {
        let (phase, payload) = event(&mut random, "acme", number);
        let facts = derive(payload.as_bytes(), &mut scratch).map_err(|_| format!("not admitted: {payload}"))?.3;
        let told = Told {
            at_ms: FROM_DAY * DAY_MS + number / 50,
            ts: facts.ts,
            change: facts.change.as_str().to_owned(),
            // By its end the header knows the first event of a change.
            id: format!("{}-{}", facts.change, number % 5),
            phase: phase.as_str(),
            producer: "harness",
            environment: "",
            class: "",
            payload,
            duplicate: false,
        };
        Ok((Header::Event(header(&told, &mut scratch)?), told.payload))
    };
    let entries = (0..events as u64).map(one).collect::<Result<_, _>>()?;
    Ok(Played { entries, truth: None, days: 0 })
}

/// A benchmark of wrong figures would time nothing.
fn check(views: &Views, played: &Played) -> Result<(), Failure> {
    let Some(truth) = &played.truth else {
        let told = views.kpis(window(FROM_DAY, FROM_DAY + 3), &Filter::default())?;
        let changes = told.totals.get("evidence_completeness").map_or(0, |total| total.den);
        return if changes == played.entries.len() as u64 / 5 {
            Ok(())
        } else {
            Err(format!("{changes} ended").into())
        };
    };
    let (from, to) = (FROM_DAY, FROM_DAY + played.days + 10);
    let sums = views.kpis(window(from, to), &Filter::default())?;
    against::figures(&sums, truth, from, to)?;
    Ok(against::drift(&sums, truth, from)?)
}

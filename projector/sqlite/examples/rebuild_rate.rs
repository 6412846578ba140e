//! How fast entries become core views: `cargo run --release -p upm-projector-sqlite --example rebuild_rate [EVENTS] [BATCH] [PER_CHANGE]`.
//!
//! Events are the model's example (about 2 KB) with ids of their own, `PER_CHANGE` to a change, in an order that spreads a change over
//! the log. Memory holds no more than a batch. The result is checked: every event and change must be there.

#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::time::{Duration, Instant};

use ledger::entry::{EventHeader, Header, Road};
use ledger::hash::Hash;
use projector_sqlite::{Filter, Row, Views};
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeId, Environment, EventId, Phase};

const EXAMPLE: &str = include_str!("../../testdata/example.json");

/// Changes that are under way at the same time.
const OPEN: u64 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut argument = |default| arguments.next().unwrap_or(Ok(default));
    let (events, batch, per_change) = (argument(1_000_000)?, argument(4_096)?, argument(5)?);
    let dir = tempfile::TempDir::new()?;
    let path = dir.path().join("views.db");
    let mut views = Views::open(&path)?;
    let mut spent = Duration::ZERO;
    let mut spent_cpu_ns = 0;
    let mut from = 0;
    while from < events {
        let to = events.min(from + batch);
        let made: Vec<_> = (from..to).map(|index| make(index, per_change)).collect();
        let rows: Vec<_> =
            made.iter().map(|(index, header, payload)| Row::stored(*index, header, payload.as_bytes())).collect();
        let (started, cpu) = (Instant::now(), cpu_ns()?);
        views.project(&rows)?;
        spent += started.elapsed();
        spent_cpu_ns += cpu_ns()? - cpu;
        from = to;
    }
    assert_eq!(views.core_cursor()?, events, "every event is projected");
    assert!(views.change(&change(0, per_change))?.is_some(), "and can be asked for");
    report(events, per_change, spent, spent_cpu_ns, std::fs::metadata(&path)?.len());
    ask(&views, events, per_change)
}

fn report(events: u64, per_change: u64, spent: Duration, cpu_ns: u64, bytes: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
    let rate = events as f64 / spent.as_secs_f64();
    println!("{events} events, {per_change} per change: {spent:.2?}, {rate:.0} events/s, {bytes} bytes");
    println!("{} ns CPU per event on the thread that writes; payloads are read on another", cpu_ns / events);
}

/// CPU time of this thread: what counts on a machine that others use too.
fn cpu_ns() -> Result<u64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split(' ').next().unwrap_or_default().parse()?)
}

/// Times look-ups spread over the log.
fn ask(views: &Views, events: u64, per_change: u64) -> Result<(), Box<dyn std::error::Error>> {
    const QUESTIONS: u64 = 2_000;
    let started = Instant::now();
    for question in 0..QUESTIONS {
        let change = change(events / QUESTIONS * question, per_change);
        assert!(!views.events(&change, 0, 100)?.is_empty(), "each change has events");
    }
    println!("events of a change: {:.1?} each", started.elapsed() / u32::try_from(QUESTIONS)?);
    let started = Instant::now();
    let page = views.changes(&Filter { owner: Some("platform".to_owned()), ..Filter::default() }, None, 50)?;
    println!("a page of {}: {:.1?}", page.rows.len(), started.elapsed());
    Ok(())
}

/// Spreads numbers so that ids look random, as UUIDs do.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn id(number: u64) -> String {
    let (a, b) = (mix(number + 1), mix(number + 0x9e37_79b9));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

fn change(index: u64, per_change: u64) -> ChangeId {
    let round = OPEN * per_change;
    let number = index / round * OPEN + index % OPEN;
    ChangeId::parse(&id(number << 20)).expect("hexadecimal digits and dashes")
}

fn make(index: u64, per_change: u64) -> (u64, Header, String) {
    let event_id = id(index);
    let payload = EXAMPLE.replace("e5f2a4a2-86d1-41b6-a6f3-7a7e2b1c7f10", &event_id);
    let header = EventHeader {
        change: change(index, per_change),
        seq: index % (OPEN * per_change) / OPEN,
        prev: None,
        id: EventId::parse(&event_id).expect("hexadecimal digits and dashes"),
        phase: Phase::Execute,
        env: Environment::parse("prod").ok(),
        class: None,
        probe: false,
        producer: None,
        has: Has::from_names(["execution", "plan", "verification"]).expect("known names"),
        outcome: Outcome::Passed,
        ts: 1_760_011_200,
        at: 1_760_011_200_000 + index,
        road: Road { epoch: 0, sequence: index + 1 },
        commit: Hash([0; 32]),
        size: payload.len() as u64,
        masked: 0,
        rules: Hash([0; 32]),
    };
    (index, Header::Event(header), payload)
}

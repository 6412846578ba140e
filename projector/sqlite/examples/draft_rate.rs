//! What a rebuild costs, the log's reading among it: `cargo run --release -p upm-projector-sqlite --example draft_rate [EVENTS]`.
//!
//! A log in memory, of the events that the harness publishes (`benches/src/events.rs`), is made views of as `upm rebuild` does. CPU of all threads by step.
//! `RocksDB` comes on top. The result is checked: every event and change must be there.

#[path = "../../../benches/src/events.rs"]
#[allow(dead_code, reason = "made for the harness, which uses all of it")]
mod events;
#[path = "../../../ledger/tests/store/world.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "made for the store's own tests, which use all of it"
)]
mod world;

use ledger::birth;
use ledger::kv::MemKv;
use ledger::read::Log;
use projector_sqlite::{ChunkLimits, Draft, Views};
use schemas::ids::ChangeId;
use world::{Rng, World};

type Failure = Box<dyn std::error::Error>;

/// As `upm rebuild` takes them.
const CHUNK: ChunkLimits = ChunkLimits { entries: 16_384, events: 2 * 16_384, bytes: 64 << 20 };

fn main() -> Result<(), Failure> {
    let events = std::env::args().nth(1).map_or(Ok(60_000), |text| text.parse())?;
    let kv = MemKv::new();
    let log = made(&kv, events)?;
    let dir = tempfile::TempDir::new()?;
    let path = dir.path().join("views.db");
    let mut draft = Draft::begin(&path)?;
    let begun = cpu_us()?;
    let size = draft.core(&log, &|_| ())?;
    let core = cpu_us()?;
    draft.detail(&log, &CHUNK, &|_| ())?;
    let detail = cpu_us()?;
    draft.publish()?;
    let views = Views::open_read_only(&path)?;
    assert_eq!((views.core_cursor()?, views.detail_cursor()?), (size, size), "every entry is projected");
    #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
    let each = |us: u64| us as f64 / size as f64;
    println!("{size} entries, {} bytes of views", std::fs::metadata(&path)?.len());
    println!("  core {:.2} µs CPU an entry, detail {:.2}", each(core - begun), each(detail - core));
    Ok(())
}

/// A log of the harness's events, each of its own change's.
fn made(kv: &MemKv, events: u64) -> Result<Log<&MemKv>, Failure> {
    let mut world = World::new(3, 1, events);
    let mut random = events::Random::new(1);
    let messages = world.tenants[0].streams.iter_mut().flat_map(|stream| stream.messages.values_mut());
    for (message, number) in messages.zip(0..) {
        message.payload = events::event(&mut random, "acme", number).1.into_bytes();
        message.change = ChangeId::parse(&format!("CHG-{:08}", number / 5)).map_err(|_| "no change ID")?;
        (message.good, message.masked) = (true, 0);
    }
    world.live(kv, &mut Rng(3), &mut Vec::new()).map_err(|_| "the store in memory failed")?;
    let id = birth::log_of(kv, &world.tenants[0].tenant)?.ok_or("no log")?;
    Ok(Log::open(kv, id)?)
}

/// CPU time of the process, of threads that have ended too, microseconds: `/proc/self/stat` counts hundredths of a second.
fn cpu_us() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may have spaces, utime and stime are the 12th and 13th.
    let (_, rest) = stat.rsplit_once(") ").ok_or("no name")?;
    let ticks: Result<Vec<u64>, _> = rest.split(' ').skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<u64>() * 10_000)
}

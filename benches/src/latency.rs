//! How long a producer waits for its receipt, beside how long the disk takes to sync at all.
//!
//! Events leave at a fixed rate whether or not earlier ones were answered, and are timed from when they were due: a ledger that
//! stalls is not excused by a producer that waits with it. The disk is asked meanwhile, on a file of its own, and so is the scheduler:
//! how much later than it asked for a thread wakes up is what every hop between threads waits for, whoever else is busy.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use pipeline::answer::Status;
use pipeline::produce::{Outgoing, Patience, Producer};
use pipeline::streams::{self, StreamLimits};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::LatencyArguments;
use crate::events::{Random, event};
use crate::world::{self, Failure};

/// Between two syncs, and two naps.
const PAUSE: Duration = Duration::from_millis(5);

/// What a run measured.
#[derive(Serialize)]
struct Latencies {
    events_per_s: u64,
    events: u64,
    receipt: Quantiles,
    fsync: Quantiles,
    /// Lateness of a thread that sleeps.
    wake_up: Quantiles,
    /// p99 of receipts ÷ p99 of fsync.
    ratio: f64,
}

/// Milliseconds.
#[derive(Serialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
    max: f64,
}

/// Runs the measurement, prints it, and writes it as JSON where asked.
pub(crate) fn run(arguments: &LatencyArguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().thread_name("bench").enable_all().build()?;
    let found = runtime.block_on(measure(arguments))?;
    let line = |name: &str, found: &Quantiles| {
        println!("{name:<18} p50 {:>8.2} ms  p99 {:>8.2} ms  max {:>8.2} ms", found.p50, found.p99, found.max);
    };
    println!("{} events at {}/s, each with a receipt", found.events, found.events_per_s);
    line("publish → receipt", &found.receipt);
    line("fsync of the disk", &found.fsync);
    line("lateness of a nap", &found.wake_up);
    println!("p99 ÷ p99: {:.2}", found.ratio);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&found)?)?;
    }
    Ok(())
}

async fn measure(arguments: &LatencyArguments) -> Result<Latencies, Failure> {
    let folder = world::folder(arguments.dir.as_deref())?;
    let (child, _) = world::nats(&arguments.nats_server, folder.path()).await?;
    let client = child.target().connect("bench").await?;
    let tenants = world::tenants(1)?;
    let stream = streams::ensure(&client, &tenants[0], &StreamLimits::default()).await?;
    let dir = folder.path().join("ledger");
    let world = world::found(&dir, &tenants, &[stream.created_ns])?;
    let running = pipeline::start(world::config(world, &child, &dir)).await?;
    while !running.health().ready {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let producer = Producer::new(client, Patience { window: usize::from(u16::MAX), ..Patience::default() }).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let syncing = beside("fsync", &stop, sync(dir.join("sync"))?)?;
    let napping = beside("nap", &stop, || Ok(nap()))?;
    let receipts = send(&producer, arguments, tenants[0].as_str()).await;
    stop.store(true, Ordering::Relaxed);
    let (syncs, naps) = (joined(syncing)?, joined(napping)?);
    running.shutdown().await;
    child.stop().await;
    let (receipts, fsync, wake_up) = (receipts?, quantiles(&syncs), quantiles(&naps));
    let receipt = quantiles(&receipts);
    let ratio = receipt.p99 / fsync.p99;
    Ok(Latencies { events_per_s: arguments.rate, events: receipts.len(), receipt, fsync, wake_up, ratio })
}

/// Microseconds from when each event was due until its receipt had come.
async fn send(producer: &Producer, arguments: &LatencyArguments, tenant: &str) -> Result<Histogram<u64>, Failure> {
    let mut random = Random::new(arguments.seed);
    let (mut receipts, mut waiting) = (histogram()?, JoinSet::new());
    let start = Instant::now();
    let events = arguments.rate * arguments.seconds;
    for number in 0..events {
        let due =
            start + Duration::from_secs_f64(world::per_second(number, 1.0) / world::per_second(arguments.rate, 1.0));
        let now = Instant::now();
        if now < due {
            tokio::time::sleep(due - now).await;
        } else if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
        let (phase, text) = event(&mut random, tenant, number);
        let event = Outgoing { subject: format!("upm.events.{tenant}.{phase}.bench"), payload: Bytes::from(text) };
        let producer = producer.clone();
        waiting.spawn(async move {
            let answer = producer.send(&event).await?;
            Ok::<_, pipeline::produce::ProduceError>((answer.status, due.elapsed()))
        });
    }
    while let Some(done) = waiting.join_next().await {
        let (status, took) = done??;
        if status != Status::Accepted {
            return Err(format!("an event was answered with {status:?}").into());
        }
        receipts.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    Ok(receipts)
}

/// A thread that takes a time again and again, until it is told to stop.
fn beside(
    name: &str,
    stop: &Arc<AtomicBool>,
    mut once: impl FnMut() -> std::io::Result<Duration> + Send + 'static,
) -> Result<JoinHandle<Result<Histogram<u64>, Failure>>, Failure> {
    let stop = Arc::clone(stop);
    let thread = std::thread::Builder::new().name(name.to_owned());
    Ok(thread.spawn(move || {
        let mut took = histogram()?;
        while !stop.load(Ordering::Relaxed) {
            took.saturating_record(u64::try_from(once()?.as_micros()).unwrap_or(u64::MAX));
            std::thread::sleep(PAUSE);
        }
        Ok(took)
    })?)
}

fn joined(thread: JoinHandle<Result<Histogram<u64>, Failure>>) -> Result<Histogram<u64>, Failure> {
    thread.join().map_err(|_| "a thread that measures panicked")?
}

/// Appends 4 KiB and syncs.
fn sync(path: PathBuf) -> std::io::Result<impl FnMut() -> std::io::Result<Duration>> {
    let mut file = File::create(path)?;
    Ok(move || {
        file.write_all(&[7; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        Ok(start.elapsed())
    })
}

/// Sleeps, and says how much too long.
fn nap() -> Duration {
    let start = Instant::now();
    std::thread::sleep(PAUSE);
    start.elapsed().saturating_sub(PAUSE)
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Ok(Histogram::new_with_bounds(1, 120_000_000, 3)?)
}

fn quantiles(found: &Histogram<u64>) -> Quantiles {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^53")]
    let ms = |quantile| found.value_at_quantile(quantile) as f64 / 1e3;
    Quantiles { p50: ms(0.5), p99: ms(0.99), max: ms(1.0) }
}

//! The measurement: one backlog, on the nats-server that `upm serve` would run; read bare, then drained into a new ledger.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bytes::Bytes;
use futures::StreamExt;
use ledger::birth::{LedgerBirth, LogBirth, found_ledger, found_log};
use ledger::checkpoint::Origin;
use ledger::dedupe::DedupeKey;
use ledger::entry::Salt;
use ledger::hash::Hash;
use ledger::signing::Signer;
use ledger_rocks::Rocks;
use pipeline::produce::{Outgoing, Patience, Producer};
use pipeline::server::{ChildConfig, NatsChild, find};
use pipeline::streams::{self, StreamFacts, StreamLimits};
use pipeline::{Config, FindSigner, Signing, Stopwatch, Sweep, TenantSetup};
use schemas::ids::{Tenant, stream_name};

use crate::DrainArguments;
use crate::events::{Random, event};
use crate::report::{Figures, Report, Round};
use crate::usage;

const TENANT: &str = "bench";
const LEDGER: &str = "bench";
const READ_BATCH: usize = 2_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the measurement, prints it, and writes it as JSON where asked.
pub(crate) fn run(arguments: &DrainArguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().thread_name("bench").enable_all().build()?;
    let report = runtime.block_on(measure(arguments))?;
    print!("{report}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

async fn measure(arguments: &DrainArguments) -> Result<Report, Failure> {
    let folder = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let program = find(Some(&arguments.nats_server), &[])?;
    let nats_server = program.version.clone();
    let child = NatsChild::start(ChildConfig {
        program,
        launcher: vec![std::env::current_exe()?.into(), "nats-child".into()],
        dir: folder.path().join("nats"),
        store_key: "a key for figures that nobody keeps".to_owned(),
        port: None,
    })
    .await?;
    let client = child.target().connect("bench").await?;
    let tenant = Tenant::parse(TENANT)?;
    let stream = streams::ensure(&client, &tenant, &StreamLimits::default()).await?;

    let (publish_s, bytes) = publish(&client, arguments).await?;
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds.max(1) {
        let nats = child.state().pid.ok_or("nats-server is not running")?;
        let read = watched(arguments.events, nats, bare_read(&client, &tenant, arguments.events)).await?;
        let dir = folder.path().join(format!("ledger-{number}"));
        let drain = Box::pin(drain(&child, &tenant, &stream, &dir, nats, arguments.events)).await?;
        std::fs::remove_dir_all(&dir)?;
        rounds.push(Round { ratio: drain.events_per_s / read.events_per_s, read, drain });
    }
    child.stop().await;
    let mut ratios: Vec<f64> = rounds.iter().map(|round| round.ratio).collect();
    ratios.sort_by(f64::total_cmp);
    Ok(Report {
        events: arguments.events,
        bytes_per_event: bytes / arguments.events.max(1),
        nats_server,
        publish_per_s: per_second(arguments.events, publish_s),
        ratio: ratios[ratios.len() / 2],
        rounds,
    })
}

/// Publishes the backlog, acknowledged. Seconds and bytes.
async fn publish(client: &Client, arguments: &DrainArguments) -> Result<(f64, u64), Failure> {
    let producer = Producer::new(client.clone(), Patience { window: 2_000, ..Patience::default() }).await?;
    let mut random = Random::new(arguments.seed);
    let mut bytes = 0;
    let mut failed = None;
    let start = Instant::now();
    let events = (0..arguments.events).map(|number| {
        let (phase, text) = event(&mut random, TENANT, number);
        bytes += text.len() as u64;
        Outgoing { subject: format!("upm.events.{TENANT}.{phase}.bench"), payload: Bytes::from(text) }
    });
    producer.publish_all(events, |_, result| failed = failed.take().or(result.err())).await;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok((start.elapsed().as_secs_f64(), bytes)),
    }
}

/// Reads the whole stream, and does nothing with it.
async fn bare_read(client: &Client, tenant: &Tenant, events: u64) -> Result<(), Failure> {
    let stream = async_nats::jetstream::new(client.clone()).get_stream(stream_name(tenant)).await?;
    let config =
        pull::Config { ack_policy: AckPolicy::None, deliver_policy: DeliverPolicy::All, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = consumer.stream().max_messages_per_batch(READ_BATCH).messages().await?;
    for expected in 1..=events {
        let message = messages.next().await.ok_or("the stream ended early")??;
        let found = message.info()?.stream_sequence;
        if found != expected {
            return Err(format!("the bare reading got message {found}, not {expected}").into());
        }
    }
    Ok(())
}

/// Drains the whole stream into a new ledger below `dir`, until each event is in the core views.
async fn drain(
    child: &NatsChild,
    tenant: &Tenant,
    stream: &StreamFacts,
    dir: &Path,
    nats: u32,
    events: u64,
) -> Result<Figures, Failure> {
    std::fs::create_dir_all(dir)?;
    let kv = Arc::new(Rocks::open(&dir.join("ledger"))?);
    let (setup, find) = found(&kv, tenant, stream)?;
    let config = Config {
        kv: Arc::clone(&kv),
        views_dir: dir.join("views"),
        nats: child.target(),
        child: None,
        tenants: vec![setup],
        stream_limits: StreamLimits::default(),
        sweep: Sweep::default(),
        kept: None,
        disk: None,
        signing: Signing::quiet(find),
        stopwatch: stopwatch(),
        clock: Arc::new(unix_ms),
        entropy: Arc::new(fill),
    };
    let mut running = None;
    let drained = Box::pin(async {
        let started = pipeline::start(config).await?;
        let mut progress = started.progress(tenant).ok_or("the tenant is not followed")?;
        // Entry 0 is the log's own.
        progress.wait_for(|progress| progress.core > events).await?;
        running = Some(started);
        Ok(())
    });
    let figures = watched(events, nats, drained).await?;
    if let Some(running) = running {
        let last = running.progress(tenant).map(|progress| progress.borrow().committed);
        running.shutdown().await;
        if last != Some(events + 1) {
            return Err(format!("the ledger has {last:?} entries, not {}", events + 1).into());
        }
    }
    Ok(figures)
}

/// A new ledger and the tenant's log in it, with keys for this run.
fn found(kv: &Arc<Rocks>, tenant: &Tenant, stream: &StreamFacts) -> Result<(TenantSetup, FindSigner), Failure> {
    let seed = || {
        let mut seed = [0; 32];
        fill(&mut seed);
        seed
    };
    let seeds = [seed(), seed()];
    let ledger_signer = Signer::from_seed(&Origin::of(LEDGER, "_ledger")?, seeds[0]);
    let signer = Signer::from_seed(&Origin::of(LEDGER, TENANT)?, seeds[1]);
    let find: FindSigner = Arc::new(move |origin, key| {
        let signers = seeds.iter().map(|seed| Signer::from_seed(origin, *seed));
        signers.into_iter().find(|signer| signer.public_key() == *key)
    });
    let admin = Signer::from_seed(&Origin::of(LEDGER, "_ledger")?, seed());
    let recovery = Signer::from_seed(&Origin::of(LEDGER, "_ledger")?, seed());
    let dedupe = DedupeKey::new(seed());
    let rules = Hash(schemas::rules::current().name);
    found_ledger(
        kv.as_ref(),
        &LedgerBirth {
            name: LEDGER,
            signer: &ledger_signer,
            admin_keys: &[admin.public_key()],
            recovery_key: recovery.public_key(),
            rules,
            at_ms: unix_ms(),
        },
    )?;
    let salt = || {
        let mut salt = [0; 16];
        fill(&mut salt);
        Salt(salt)
    };
    let head = found_log(
        kv.as_ref(),
        &LogBirth {
            tenant,
            signer: &signer,
            dedupe: &dedupe,
            ledger_signer: &ledger_signer,
            admin: &admin,
            rules,
            stream_created_ms: Some(stream.created_ns / 1_000_000),
            at_ms: unix_ms(),
            opening_salt: salt(),
            envelope_salt: salt(),
        },
    )?;
    Ok((TenantSetup { tenant: tenant.clone(), log: head.log, signer, dedupe }, find))
}

/// Runs `work` and takes its time, its CPU by thread and its peak of memory.
async fn watched(events: u64, nats: u32, work: impl Future<Output = Result<(), Failure>>) -> Result<Figures, Failure> {
    usage::forget_peak();
    let (threads, server) = (usage::by_thread(), usage::of_process(nats));
    let start = Instant::now();
    work.await?;
    let seconds = start.elapsed().as_secs_f64();
    let mut cpu_us_per_event: BTreeMap<String, f64> = usage::by_thread()
        .into_iter()
        .map(|(name, after)| {
            let before = threads.get(&name).copied().unwrap_or_default();
            (name, micros(after - before, events))
        })
        .collect();
    cpu_us_per_event.insert("nats-server".to_owned(), micros(usage::of_process(nats) - server, events));
    Ok(Figures {
        seconds,
        events_per_s: per_second(events, seconds),
        cpu_us_per_event,
        peak_mib: usage::peak_mib(std::process::id()),
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people: counts are far below 2^53")]
fn per_second(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds
}

#[expect(clippy::cast_precision_loss, reason = "figures for people: counts are far below 2^53")]
fn micros(seconds: f64, events: u64) -> f64 {
    seconds * 1e6 / events.max(1) as f64
}

fn stopwatch() -> Stopwatch {
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::expect_used, reason = "without randomness there is nothing to measure")]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives randomness");
}

//! The measurement: one backlog, on the nats-server that `upm serve` would run; read bare, then drained into a new ledger.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bytes::Bytes;
use futures::StreamExt;
use pipeline::produce::{Outgoing, Patience, Producer};
use pipeline::server::NatsChild;
use pipeline::streams::{self, StreamLimits};
use schemas::ids::{Tenant, stream_name};

use crate::DrainArguments;
use crate::events::{Random, event};
use crate::report::{Figures, Report, Round};
use crate::usage;
use crate::world::{self, Failure, micros, per_second};

const READ_BATCH: usize = 2_000;

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
    let folder = world::folder(arguments.dir.as_deref())?;
    let (child, nats_server) = world::nats(&arguments.nats_server, folder.path()).await?;
    let client = child.target().connect("bench").await?;
    let tenants = world::tenants(arguments.tenants)?;
    let mut streams_ns = Vec::with_capacity(tenants.len());
    for tenant in &tenants {
        streams_ns.push(streams::ensure(&client, tenant, &StreamLimits::default()).await?.created_ns);
    }

    let (publish_s, bytes) = publish(&client, &tenants, arguments).await?;
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds.max(1) {
        let nats = child.state().pid.ok_or("nats-server is not running")?;
        let read = watched(arguments.events, nats, bare_read(&client, &tenants, arguments.events)).await?;
        let dir = folder.path().join(format!("ledger-{number}"));
        let drain = Box::pin(drain(&child, &tenants, &streams_ns, &dir, nats, arguments.events)).await?;
        std::fs::remove_dir_all(&dir)?;
        rounds.push(Round { ratio: drain.events_per_s / read.events_per_s, read, drain });
    }
    child.stop().await;
    let mut ratios: Vec<f64> = rounds.iter().map(|round| round.ratio).collect();
    ratios.sort_by(f64::total_cmp);
    Ok(Report {
        events: arguments.events,
        tenants: tenants.len(),
        bytes_per_event: bytes / arguments.events.max(1),
        nats_server,
        publish_per_s: per_second(arguments.events, publish_s),
        ratio: ratios[ratios.len() / 2],
        rounds,
    })
}

/// Publishes the backlog, acknowledged. Seconds and bytes.
async fn publish(client: &Client, tenants: &[Tenant], arguments: &DrainArguments) -> Result<(f64, u64), Failure> {
    let producer = Producer::new(client.clone(), Patience { window: 2_000, ..Patience::default() }).await?;
    let mut random = Random::new(arguments.seed);
    let mut bytes = 0;
    let mut failed = None;
    let start = Instant::now();
    let events = (0..arguments.events).map(|number| {
        let (tenant, number) = share(tenants, number);
        let (phase, text) = event(&mut random, tenant.as_str(), number);
        bytes += text.len() as u64;
        Outgoing { subject: format!("upm.events.{tenant}.{phase}.bench"), payload: Bytes::from(text) }
    });
    producer.publish_all(events, |_, result| failed = failed.take().or(result.err())).await;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok((start.elapsed().as_secs_f64(), bytes)),
    }
}

/// Whose event `number` of a backlog is, and its number among that tenant's: evenly, one after the other.
fn share(tenants: &[Tenant], number: u64) -> (&Tenant, u64) {
    let count = tenants.len() as u64;
    (&tenants[usize::try_from(number % count).unwrap_or_default()], number / count)
}

/// Reads all streams, one after the other, and does nothing with them.
async fn bare_read(client: &Client, tenants: &[Tenant], events: u64) -> Result<(), Failure> {
    let context = async_nats::jetstream::new(client.clone());
    let count = tenants.len() as u64;
    for (tenant, place) in tenants.iter().zip(0..) {
        let own = events / count + u64::from(place < events % count);
        let stream = context.get_stream(stream_name(tenant)).await?;
        let config =
            pull::Config { ack_policy: AckPolicy::None, deliver_policy: DeliverPolicy::All, ..pull::Config::default() };
        let consumer = stream.create_consumer(config).await?;
        let mut messages = consumer.stream().max_messages_per_batch(READ_BATCH).messages().await?;
        for expected in 1..=own {
            let message = messages.next().await.ok_or("the stream ended early")??;
            let found = message.info()?.stream_sequence;
            if found != expected {
                return Err(format!("the bare reading got message {found}, not {expected}").into());
            }
        }
    }
    Ok(())
}

/// Drains all streams into a new ledger below `dir`, until each event is in the core views.
async fn drain(
    child: &NatsChild,
    tenants: &[Tenant],
    streams_ns: &[u64],
    dir: &Path,
    nats: u32,
    events: u64,
) -> Result<Figures, Failure> {
    let world = world::found(dir, tenants, streams_ns)?;
    let config = world::config(world, child, dir);
    let mut running = None;
    let drained = Box::pin(async {
        let started = pipeline::start(config).await?;
        let count = tenants.len() as u64;
        for (tenant, place) in tenants.iter().zip(0..) {
            let own = events / count + u64::from(place < events % count);
            let mut progress = started.progress(tenant).ok_or("the tenant is not followed")?;
            // Entry 0 is the log's own.
            progress.wait_for(|progress| progress.core > own).await?;
        }
        running = Some(started);
        Ok(())
    });
    let figures = watched(events, nats, drained).await?;
    if let Some(running) = running {
        let committed = |tenant| running.progress(tenant).map_or(0, |progress| progress.borrow().committed);
        let entries: u64 = tenants.iter().map(committed).sum();
        running.shutdown().await;
        if entries != events + tenants.len() as u64 {
            return Err(format!("the logs have {entries} entries, not {}", events + tenants.len() as u64).into());
        }
    }
    Ok(figures)
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

//! How fast answers come: the real `upm serve` is filled over its road, then asked over HTTP, then stopped and its views made again.
//!
//! Besides, how far the detail tables fall behind while events come in, and how long they take to catch up.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use pipeline::NatsTarget;
use pipeline::produce::{Outgoing, Patience, Producer};
use serde::Serialize;

use crate::ViewsArguments;
use crate::events::{Random, event, resource};
use crate::server::{Quantiles, Server, quantiles, upm};
use crate::world::{self, Failure, micros, per_second};

const TENANT: &str = "bench";
/// Questions of each kind.
const QUESTIONS: u64 = 1_000;

/// What a run measured.
#[derive(Serialize)]
struct Figures {
    events: u64,
    /// Events published until the core views hold them, a second.
    filled_per_s: f64,
    /// Entries that detail was behind core, at most, when looked at.
    detail_lag_max: u64,
    /// Seconds after core until detail had caught up.
    detail_caught_up_s: f64,
    views_bytes_per_event: u64,
    /// By question.
    questions: BTreeMap<&'static str, Quantiles>,
    /// Of `upm rebuild`, all tables.
    rebuild: Option<Rebuilt>,
}

#[derive(Serialize)]
struct Rebuilt {
    per_s: f64,
    cpu_us_per_event: f64,
}

/// Runs the measurement, prints it, and writes it as JSON where asked.
pub(crate) fn run(arguments: &ViewsArguments) -> Result<(), Failure> {
    let folder = world::folder(arguments.dir.as_deref())?;
    let data = folder.path().join("data");
    let server = Server::start(&arguments.nats_server, TENANT, &data, &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let start = Instant::now();
    let before = server.standing()?.entries;
    let publishing = runtime.spawn(publish(server.nats.clone(), arguments.events, arguments.seed));
    let mut detail_lag_max = 0;
    while server.standing()?.core < before + arguments.events {
        let now = server.standing()?;
        detail_lag_max = detail_lag_max.max(now.core.saturating_sub(now.detail));
        server.patient(start)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    runtime.block_on(publishing)??;
    let (filled, caught_up) = (start.elapsed(), Instant::now());
    while server.standing()?.detail < server.standing()?.entries {
        server.patient(start)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let detail_caught_up_s = caught_up.elapsed().as_secs_f64();
    let questions = ask_all(&server, arguments)?;
    server.stop()?;
    let views = std::fs::metadata(data.join(format!("views/{TENANT}.db")))?.len();
    let rebuild = (!arguments.without_rebuild).then(|| rebuild(arguments, &data)).transpose()?;
    let figures = Figures {
        events: arguments.events,
        filled_per_s: per_second(arguments.events, filled.as_secs_f64()),
        detail_lag_max,
        detail_caught_up_s,
        views_bytes_per_event: views / arguments.events.max(1),
        questions,
        rebuild,
    };
    print!("{figures}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

async fn publish(nats: String, events: u64, seed: u64) -> Result<(), Failure> {
    let client = NatsTarget::plain(nats).connect("bench").await?;
    let producer = Producer::new(client, Patience { window: 2_000, ..Patience::default() }).await?;
    let mut random = Random::new(seed);
    let mut failed = None;
    let outgoing = (0..events).map(|number| {
        let (phase, text) = event(&mut random, TENANT, number);
        Outgoing { subject: format!("upm.events.{TENANT}.{phase}.bench"), payload: Bytes::from(text) }
    });
    producer.publish_all(outgoing, |_, result| failed = failed.take().or(result.err())).await;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Every kind of question, asked of things that are there, each time another one where there are many.
fn ask_all(server: &Server, arguments: &ViewsArguments) -> Result<BTreeMap<&'static str, Quantiles>, Failure> {
    let mut random = Random::new(arguments.seed);
    let changes = arguments.events.div_ceil(5);
    let base = format!("/v1/tenants/{TENANT}");
    let teams = ["payments", "identity", "search", "ledger", "platform", "media", "logistics", "growth"];
    let team = |number: u64| teams[usize::try_from(number % 8).unwrap_or_default()];
    let mut found = BTreeMap::new();
    let mut ask = |name: &'static str, path: &mut dyn FnMut(u64) -> String| -> Result<(), Failure> {
        // What does not exist yet is left out.
        if server.get(&path(random.next()))?.0 == 404 {
            return Ok(());
        }
        let mut took = Histogram::<u64>::new(3)?;
        for _ in 0..QUESTIONS {
            let path = path(random.next());
            let start = Instant::now();
            let (status, body) = server.get(&path)?;
            took.record(u64::try_from(start.elapsed().as_micros())?)?;
            if status != 200 {
                return Err(format!("GET {path}: {status} {body}").into());
            }
        }
        found.insert(name, quantiles(&took));
        Ok(())
    };
    ask("change by id", &mut |number| format!("{base}/changes/CHG-{:08}", number % changes))?;
    ask("events of a change", &mut |number| format!("{base}/changes/CHG-{:08}/events", number % changes))?;
    ask("page: newest", &mut |_| format!("{base}/changes?limit=50"))?;
    ask("page: owner, environment", &mut |number| {
        format!("{base}/changes?limit=50&owner={}&env=production", team(number))
    })?;
    ask("page: state, class", &mut |_| format!("{base}/changes?limit=50&state=verified&class=emergency"))?;
    ask("page: initiator, text", &mut |number| {
        format!("{base}/changes?limit=50&initiator={}-pipeline&q=rotate%20az_key", team(number))
    })?;
    ask("page: text nowhere", &mut |number| format!("{base}/changes?limit=50&q=nowhere{number}"))?;
    ask("page: anomaly", &mut |_| format!("{base}/changes?limit=50&anomaly=producer_time_off"))?;
    ask("page: resource", &mut |number| format!("{base}/changes?limit=50&resource={}", resource(number)))?;
    ask("kpis, 90 days", &mut |_| format!("{base}/kpis"))?;
    ask("maturity", &mut |_| format!("{base}/maturity"))?;
    Ok(found)
}

/// `upm rebuild` of everything.
fn rebuild(arguments: &ViewsArguments, data: &Path) -> Result<Rebuilt, Failure> {
    let spent = || -> Result<f64, Failure> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Ok(Duration::from_micros(u64::try_from(micros)?).as_secs_f64())
    };
    let (before, start) = (spent()?, Instant::now());
    let status = upm(&arguments.nats_server)?.args(["rebuild", "--tenant", TENANT, "--data"]).arg(data).status()?;
    if !status.success() {
        return Err(format!("upm rebuild ended with {status}").into());
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Rebuilt {
        per_s: per_second(arguments.events, seconds),
        cpu_us_per_event: micros(spent()? - before, arguments.events),
    })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} events over the road into core views: {:.0}/s; views {} bytes an event",
            self.events, self.filled_per_s, self.views_bytes_per_event
        )?;
        writeln!(
            f,
            "detail: at most {} entries behind core, caught up {:.2} s after it",
            self.detail_lag_max, self.detail_caught_up_s
        )?;
        for (name, found) in &self.questions {
            writeln!(f, "{name:<26} p50 {:>7.2} ms  p99 {:>7.2} ms  max {:>7.2} ms", found.p50, found.p99, found.max)?;
        }
        let Some(Rebuilt { per_s, cpu_us_per_event }) = &self.rebuild else { return Ok(()) };
        writeln!(f, "rebuild, all tables        {per_s:.0} events/s, {cpu_us_per_event:.1} µs CPU an event")
    }
}

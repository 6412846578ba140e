//! How long a change takes through all phases: the real `upm serve --workers` with a type of the smallest real commands (`test -d`, `mkdir`, `realpath -e`), run like any others.
//! A lane approves, check and read-back verify, and the change is closed, each event in a synced write before the next step acts on it.
//!
//! Two kinds of changes: one that finds what it is to make (a *no-op*: its step is skipped by its check, which is asked for real, as are preflight's and the two of
//! verification), and one that makes it. First one change after the other, timed from the request until the views have its last event; then many at once, which share writes. What
//! a phase takes is read from the log's own times of a change's events, and what all of it costs from the CPU time of the server, its commands and its nats-server.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Value, json};

use crate::WorkArguments;
use crate::server::{Quantiles, Server, quantiles};
use crate::world::{self, Failure, per_second};

const TENANT: &str = "bench";
/// The smallest resource that can be told to be there: a check, a command, a read-back.
const TYPE: &str = r#"[types.small]
title = "small thing"
words = ["small thing"]
create = ["mkdir", "LAND/{name}"]
exists = { command = ["test", "-d", "LAND/{name}"] }
read_back = ["realpath", "-e", "LAND/{name}"]
delete = ["rmdir", "LAND/{name}"]

[types.small.fields]
name = { pattern = "[a-z][a-z0-9-]*" }
"#;
/// Nobody is asked.
const OPTIONS: &str = r#"catalogue = ["small.toml"]

[[lanes]]
name = "small"
environments = ["test"]
types = ["small"]
max_risk = 50
"#;
/// Where resources are, below the bench's folder.
const LAND: &str = "land";
/// Between two looks whether a change is closed: alone, and where others are under way, for which looking takes the processor.
const LOOK: Duration = Duration::from_millis(1);
const LOOK_OF_MANY: Duration = Duration::from_millis(10);
/// After which a change is given up.
const PATIENCE: Duration = Duration::from_mins(2);
/// Changes that nobody counts: programs are hashed, tables and pages are met for the first time.
const WARM_UP: u64 = 20;
/// Connections that ask for many changes at once.
const HANDS: u64 = 8;

/// Bursts of many changes: one of 100 is over in half a second.
const BURSTS: u64 = 5;
/// What a no-op change says: request, plan, verdict, that its step was skipped, verification, end. One that makes something says also that its step begins.
const EVENTS_OF_NO_OP: usize = 6;

/// What a run measured.
#[derive(Serialize)]
struct Figures {
    no_op: OfKind,
    making: OfKind,
}

/// Changes of one kind.
#[derive(Serialize)]
struct OfKind {
    changes: u64,
    /// From the request until the closing event can be read.
    closed: Quantiles,
    /// Milliseconds until an event, from the one before it.
    phases: BTreeMap<String, Quantiles>,
    /// Synced writes a change, one after the other.
    rounds_each: f64,
    events_each: f64,
    /// CPU of a change, of everything that the server runs.
    cpu_ms_each: f64,
    at_once: AtOnce,
}

/// Many changes, asked for together.
#[derive(Serialize)]
struct AtOnce {
    changes: u64,
    bursts: u64,
    seconds: f64,
    per_s: f64,
    rounds: u64,
    events: u64,
    cpu_ms_each: f64,
}

/// What is measured.
struct Bench<'a> {
    server: &'a Server,
    /// Where resources are.
    land: PathBuf,
    kind: &'static str,
    /// Whether a change finds what it is to make.
    no_op: bool,
}

/// Runs the measurement, prints it, and writes it as JSON where asked.
pub(crate) fn run(arguments: &WorkArguments) -> Result<(), Failure> {
    let folder = world::folder(arguments.dir.as_deref())?;
    let options = house(folder.path())?;
    let data = folder.path().join("data");
    let server = Server::start(&arguments.nats_server, TENANT, &data, &["--workers", &options])?;
    let of_kind = |kind, no_op| Bench { server: &server, land: folder.path().join(LAND), kind, no_op };
    let figures =
        Figures { no_op: of_kind("no-op", true).run(arguments)?, making: of_kind("making", false).run(arguments)? };
    server.stop()?;
    print!("{figures}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

/// Writes catalogue and options; the path of the options.
fn house(folder: &Path) -> Result<String, Failure> {
    let land = folder.join(LAND);
    std::fs::create_dir(&land)?;
    let mut catalogue = String::new();
    for program in ["mkdir", "realpath", "rmdir"] {
        let version = version(program)?;
        write!(
            catalogue,
            "[tools.{program}]\nprogram = \"{program}\"\nversion = \"{version}\"\nversion_check = [\"--version\"]\n\n"
        )?;
    }
    // It says no version.
    write!(catalogue, "[tools.test]\nprogram = \"test\"\nversion = \"{}\"\n\n", version("realpath")?)?;
    catalogue.push_str(&TYPE.replace("LAND", &land.display().to_string()));
    std::fs::write(folder.join("small.toml"), catalogue)?;
    let path = folder.join("workers.toml");
    std::fs::write(&path, OPTIONS)?;
    Ok(path.display().to_string())
}

/// The version that a program of coreutils says.
fn version(program: &str) -> Result<String, Failure> {
    let said = String::from_utf8(Command::new(program).arg("--version").output()?.stdout)?;
    let version = said.lines().next().and_then(|line| line.rsplit(' ').next());
    Ok(version.ok_or_else(|| format!("{program} does not say its version"))?.to_owned())
}

impl Bench<'_> {
    fn run(&self, arguments: &WorkArguments) -> Result<OfKind, Failure> {
        for number in 0..WARM_UP {
            self.one(&format!("{}-warm-{number}", self.kind))?;
        }
        let before = Count::of(self.server)?;
        let mut took = Histogram::<u64>::new(3)?;
        let mut phases = BTreeMap::<String, Histogram<u64>>::new();
        for number in 0..arguments.changes {
            let change = format!("{}-alone-{number}", self.kind);
            let time = self.one(&change)?;
            took.record(u64::try_from(time.as_micros())?)?;
            self.split(&change, &mut phases)?;
        }
        let after = Count::of(self.server)?;
        let each = |count: u64| per_second(count, per_second(arguments.changes.max(1), 1.0));
        Ok(OfKind {
            changes: arguments.changes,
            closed: quantiles(&took),
            phases: phases.iter().map(|(name, took)| (name.clone(), quantiles(took))).collect(),
            rounds_each: each(after.rounds - before.rounds),
            events_each: each(after.events - before.events),
            cpu_ms_each: before.cpu_ms_each(&after, arguments.changes),
            at_once: self.bursts(arguments.at_once)?,
        })
    }

    /// Asks for a change and waits until it is closed.
    fn one(&self, change: &str) -> Result<Duration, Failure> {
        self.prepare(change)?;
        let start = Instant::now();
        self.ask(change)?;
        self.closed(change, start, LOOK)?;
        Ok(start.elapsed())
    }

    /// Makes what a no-op change is to find.
    fn prepare(&self, change: &str) -> Result<(), Failure> {
        if self.no_op {
            std::fs::create_dir(self.land.join(change))?;
        }
        Ok(())
    }

    fn ask(&self, change: &str) -> Result<(), Failure> {
        let request = json!({
            "change_id": change,
            "resources": [{"type": "small", "name": change}],
            "environment": "test",
            "initiator": "ines",
        });
        let (status, body) = self.server.post(&format!("/v1/tenants/{TENANT}/requests"), &request)?;
        if status == 202 { Ok(()) } else { Err(format!("the request of {change}: {status} {body}").into()) }
    }

    fn closed(&self, change: &str, start: Instant, pause: Duration) -> Result<(), Failure> {
        let path = format!("/v1/tenants/{TENANT}/events?id={change}.closed");
        loop {
            let (status, body) = self.server.get(&path)?;
            let found: Value = serde_json::from_str(&body)?;
            if found["events"].as_array().is_some_and(|events| !events.is_empty()) {
                return Ok(());
            }
            if status != 200 || start.elapsed() > PATIENCE {
                let (_, shown) = self.server.get(&format!("/v1/tenants/{TENANT}/changes/{change}"))?;
                return Err(format!("{change} is not closed: {status} {body}; it is {shown}").into());
            }
            std::thread::sleep(pause);
        }
    }

    /// Adds what each event of a change took, by the log's times, and asserts that the change was what it is called.
    fn split(&self, change: &str, phases: &mut BTreeMap<String, Histogram<u64>>) -> Result<(), Failure> {
        let (_, body) = self.server.get(&format!("/v1/tenants/{TENANT}/changes/{change}"))?;
        let shown: Value = serde_json::from_str(&body)?;
        let timeline = shown["timeline"].as_array().map_or(&[][..], Vec::as_slice);
        if (timeline.len() == EVENTS_OF_NO_OP) != self.no_op || !self.land.join(change).is_dir() {
            return Err(format!("{change} is no change that is {}: {shown}", self.kind).into());
        }
        let mut before = None;
        for (number, moment) in timeline.iter().enumerate() {
            let at = moment["at"].as_u64().ok_or("an entry without a time")?;
            if let Some(before) = before.replace(at) {
                let id = moment["id"].as_str().unwrap_or_default();
                let what = id.strip_prefix(change).unwrap_or(id).trim_start_matches('.');
                let took = match phases.entry(format!("{number} {what}")) {
                    std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
                    std::collections::btree_map::Entry::Vacant(new) => new.insert(Histogram::<u64>::new(3)?),
                };
                took.record(at.saturating_sub(before) * 1_000)?;
            }
        }
        Ok(())
    }

    /// Bursts of many changes, one burst after the other.
    fn bursts(&self, changes: u64) -> Result<AtOnce, Failure> {
        let before = Count::of(self.server)?;
        let mut seconds = 0.0;
        for burst in 0..BURSTS {
            let names: Vec<String> =
                (0..changes).map(|number| format!("{}-many-{burst}-{number}", self.kind)).collect();
            names.iter().try_for_each(|change| self.prepare(change))?;
            let start = Instant::now();
            self.together(&names, start)?;
            seconds += start.elapsed().as_secs_f64();
        }
        let after = Count::of(self.server)?;
        Ok(AtOnce {
            changes,
            bursts: BURSTS,
            seconds,
            per_s: per_second(changes * BURSTS, seconds),
            rounds: after.rounds - before.rounds,
            events: after.events - before.events,
            cpu_ms_each: before.cpu_ms_each(&after, changes * BURSTS),
        })
    }

    /// Asks for many at once, and waits until all are closed.
    fn together(&self, names: &[String], start: Instant) -> Result<(), Failure> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| -> Result<(), Failure> {
            let hand = || -> Result<(), Failure> {
                while let Some(change) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    self.ask(change)?;
                }
                Ok(())
            };
            let hands: Vec<_> = (0..HANDS).map(|_| scope.spawn(hand)).collect();
            hands.into_iter().try_for_each(|hand| hand.join().map_err(|_| "a thread that asks ended early")?)
        })?;
        names.iter().try_for_each(|change| self.closed(change, start, LOOK_OF_MANY))
    }
}

/// What the server has counted since its start.
struct Count {
    rounds: u64,
    events: u64,
    cpu_s: f64,
}

impl Count {
    fn of(server: &Server) -> Result<Self, Failure> {
        let text = server.get("/metrics")?.1;
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|number| number.parse().ok()).ok_or(format!("/metrics has no {name}"))
        };
        Ok(Self {
            rounds: count("upm_rounds_total")?,
            events: count(&format!("upm_events_accepted_total{{tenant=\"{TENANT}\"}}"))?,
            cpu_s: server.cpu_s(),
        })
    }

    fn cpu_ms_each(&self, after: &Self, changes: u64) -> f64 {
        (after.cpu_s - self.cpu_s) * 1e3 / per_second(changes.max(1), 1.0)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a change that finds what it is to make:\n{}", self.no_op)?;
        writeln!(f, "a change that makes it:\n{}", self.making)
    }
}

impl fmt::Display for OfKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, found: &Quantiles| {
            writeln!(f, "{name:<30} p50 {:>8.2} ms  p99 {:>8.2} ms  max {:>8.2} ms", found.p50, found.p99, found.max)
        };
        line("request → closed", &self.closed)?;
        for (name, found) in &self.phases {
            line(&format!("  {name}"), found)?;
        }
        writeln!(
            f,
            "{} changes one after the other: {:.1} events, {:.1} synced writes and {:.1} ms of CPU each",
            self.changes, self.events_each, self.rounds_each, self.cpu_ms_each
        )?;
        let AtOnce { changes, bursts, seconds, per_s, rounds, events, cpu_ms_each } = &self.at_once;
        writeln!(
            f,
            "{changes} changes at once, {bursts} times: {seconds:.2} s, {per_s:.0} changes/s; {events} events in {rounds} synced writes, {cpu_ms_each:.1} ms of CPU a change"
        )
    }
}

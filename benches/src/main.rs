//! `upm-bench`: how fast a ledger drains a `JetStream` backlog, beside how fast the same stream can be read at all.
//!
//! Figures of one machine mean little; the ratio of two figures of one run means something. Nothing here is a test: no
//! figure fails anything. Leaves out what a round costs inside (profile the running process: its threads carry names).
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and draws salts like the service does")]

#[path = "history/against.rs"]
mod against;
mod asked;
mod drain;
mod events;
mod grow;
#[expect(dead_code, reason = "kept whole for the tests that include it")]
mod history;
mod kpis;
mod latency;
mod pack;
mod population;
mod report;
mod served;
mod server;
mod tell;
mod usage;
mod views;
mod work;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load harness of UPM Ledger.
#[derive(Parser)]
#[command(name = "upm-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish a backlog, read it with a bare consumer, then drain it into a ledger.
    #[command(after_help = "Example:\n  upm-bench drain --events 600000 --rounds 3 --json drain.json")]
    Drain(DrainArguments),
    /// Without a nats-server: append on one thread, stage by stage, to see what an event costs as the log grows; then prove, check, rebuild.
    #[command(after_help = "Example:\n  upm-bench grow --events 10000000 --json grow.json")]
    Grow(GrowArguments),
    /// Publish at a given rate and wait for receipts, beside the disk's own fsync.
    #[command(after_help = "Example:\n  upm-bench latency --rate 20000 --seconds 20")]
    Latency(LatencyArguments),
    /// Make up a history: teams, failures, rollbacks, late events, retries, repeats, wrong clocks; and say what is true of it.
    #[command(after_help = "Example:\n  upm-bench history --changes 1000 -o history.ndjson --truth truth.json")]
    History(HistoryArguments),
    /// Fill views with a made-up history that ends today, ask them for KPIs, then let a real `upm serve` answer from them over HTTP.
    #[command(after_help = "Example:\n  upm-bench kpis --events 10000000 --json kpis.json")]
    Kpis(KpiArguments),
    /// Fill a real `upm serve`, ask it over HTTP, then make its views again.
    #[command(after_help = "Example:\n  upm-bench views --events 10000000 --json views.json")]
    Views(ViewsArguments),
    /// Make and verify a population of made-up headers, without a store.
    #[command(after_help = "Example:\n  upm-bench population --headers 10000000 --json population.json")]
    Population(PopulationArguments),
    /// Make and verify the evidence pack of a change of six events, without a store.
    #[command(after_help = "Example:\n  upm-bench pack --packs 2000 --json pack.json")]
    Pack(PackArguments),
    /// Take changes of the smallest real commands through all phases of a real `upm serve --workers`, no-ops and others: one after the other, then many at once.
    #[command(after_help = "Example:\n  upm-bench work --changes 500 --at-once 100 --json work.json")]
    Work(WorkArguments),
    /// Becomes the nats-server; for the other commands alone.
    #[command(hide = true)]
    NatsChild {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

/// What to measure.
#[derive(clap::Args, Clone)]
struct DrainArguments {
    /// Events in the backlog, about 1.3 KB each.
    #[arg(long, default_value_t = 300_000)]
    events: u64,
    /// Logs to spread it over, evenly.
    #[arg(long, default_value_t = 1)]
    tenants: u64,
    /// How often to read and drain the same backlog; the report holds each round and the median ratio.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seed of the events.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The nats-server to run.
    #[arg(long, env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Where the stores go (a temporary folder there, removed at the end).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What to grow.
#[derive(clap::Args, Clone)]
struct GrowArguments {
    /// Events to append, about 1.3 KB each.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Logs to spread them over, evenly.
    #[arg(long, default_value_t = 1)]
    tenants: u64,
    /// Seed of the events.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where the stores go (a temporary folder there, removed at the end).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What to time.
#[derive(clap::Args, Clone)]
struct LatencyArguments {
    /// Events a second; half of what `drain` reached is the load to look at.
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// For how long.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Seed of the events.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The nats-server to run.
    #[arg(long, env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Where the stores go (a temporary folder there, removed at the end).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What to make up.
#[derive(clap::Args, Clone)]
struct HistoryArguments {
    /// Seed: the same one gives the same history everywhere.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Changes, about six events each.
    #[arg(long, default_value_t = 1_000)]
    changes: u64,
    /// Whose.
    #[arg(long, default_value = "default")]
    tenant: String,
    /// The first day, counted from 1970-01-01.
    #[arg(long, default_value_t = 20_454)]
    from_day: u64,
    /// Over how many days.
    #[arg(long, default_value_t = 365)]
    days: u64,
    /// Write lines of {"subject", "payload"} here instead of to standard output.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Publish to this nats-server instead.
    #[arg(long, value_name = "URL", conflicts_with = "output")]
    emit: Option<String>,
    /// Write what is true of it here, as JSON.
    #[arg(long)]
    truth: Option<PathBuf>,
}

/// What to ask.
#[derive(clap::Args, Clone)]
struct KpiArguments {
    /// Events, about.
    #[arg(long, default_value_t = 600_000)]
    events: u64,
    /// Over how many days.
    #[arg(long, default_value_t = 365)]
    days: u64,
    /// Seed of the history.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The nats-server to run.
    #[arg(long, env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Where the views go (a temporary folder there, removed at the end).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What to ask of.
#[derive(clap::Args, Clone)]
struct ViewsArguments {
    /// Events to fill it with, about 1.3 KB each, five to a change.
    #[arg(long, default_value_t = 300_000)]
    events: u64,
    /// Seed of the events and of the questions.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The nats-server to run.
    #[arg(long, env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Where the data directory goes (in a temporary folder there, removed at the end).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only fill and ask: making all tables of ten million events again takes longer than the rest
    #[arg(long)]
    without_rebuild: bool,
    /// Write the figures here too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What to make a population of.
#[derive(clap::Args, Clone)]
struct PopulationArguments {
    /// Headers in it.
    #[arg(long, default_value_t = 1_000_000)]
    headers: u64,
    /// Where the file goes (a temporary folder there, removed at the end).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How many packs to make.
#[derive(clap::Args, Clone)]
struct PackArguments {
    /// Packs, each made and verified.
    #[arg(long, default_value_t = 2_000)]
    packs: u64,
    /// Write the figures here too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How many changes to take through all phases.
#[derive(clap::Args, Clone)]
struct WorkArguments {
    /// Changes of each kind one after the other.
    #[arg(long, default_value_t = 200)]
    changes: u64,
    /// Changes of each kind at once, after them, five times.
    #[arg(long, default_value_t = 100)]
    at_once: u64,
    /// The nats-server to run.
    #[arg(long, env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Where the data directory goes (in a temporary folder there, removed at the end).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures here too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Drain(arguments) => drain::run(&arguments),
        Command::Grow(arguments) => grow::run(&arguments),
        Command::Latency(arguments) => latency::run(&arguments),
        Command::History(arguments) => tell::run(&arguments),
        Command::Kpis(arguments) => kpis::run(&arguments),
        Command::Views(arguments) => views::run(&arguments),
        Command::Population(arguments) => population::run(&arguments),
        Command::Pack(arguments) => pack::run(&arguments),
        Command::Work(arguments) => work::run(&arguments),
        Command::NatsChild { arguments } => Err(pipeline::server::run_child(&arguments).into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("upm-bench: {error}");
            ExitCode::from(2)
        }
    }
}

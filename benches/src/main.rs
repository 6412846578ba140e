//! `upm-bench`: how fast a ledger drains a `JetStream` backlog, beside how fast the same stream can be read at all.
//!
//! Figures of one machine mean little; the ratio of two figures of one run means something. Nothing here is a test: no
//! figure fails anything. Leaves out what a round costs inside (profile the running process: its threads carry names).
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and draws salts like the service does")]

mod drain;
mod events;
mod report;
mod usage;

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
    /// Becomes the nats-server; for `drain` alone.
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

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Drain(arguments) => drain::run(&arguments),
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

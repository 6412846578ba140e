//! `upm serve`: everything in one process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{CliError, Globals};

/// Options of `upm serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm serve --tenant acme --tenant beta\n  upm serve --data /var/lib/upm --listen 127.0.0.1:0\n  \
                  upm serve --nats tls://nats.example.org --nats-creds upm.creds --nats-ca ca.pem"
)]
pub struct Args {
    /// Address to serve HTTP on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Listen on an address that others can reach, without tokens and TLS
    #[arg(long)]
    insecure: bool,
    /// Join this NATS server or cluster instead of starting one
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Credentials file for --nats
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_creds: Option<PathBuf>,
    /// Certificates of the authority that --nats is checked against (PEM)
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_ca: Option<PathBuf>,
    /// The nats-server to start [default: beside upm, else on the PATH]
    #[arg(
        long,
        value_name = "PATH",
        env = "NATS_SERVER",
        conflicts_with = "nats"
    )]
    nats_server: Option<PathBuf>,
    /// Name of a new ledger, fixed at its birth [default: <hostname>-<8 hex digits>]
    #[arg(long, value_name = "LEDGER")]
    name: Option<String>,
}

/// Runs the ledger until it is told to stop.
pub fn run(_globals: &Globals, _args: Args) -> Result<ExitCode, CliError> {
    Err(CliError::could_not("serve is not built yet"))
}

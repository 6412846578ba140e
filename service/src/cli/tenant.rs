//! `upm tenant`: add and list tenants, through the running server or directly on the store.

use std::process::ExitCode;

use clap::Subcommand;
use schemas::ids::Tenant;

use super::{CliError, Globals};

/// Options of `upm tenant`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  upm tenant add acme")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a tenant: its log, its keys and its stream
    Add {
        /// The new tenant
        name: Tenant,
    },
    /// List the tenants and the keys of their logs
    List,
}

/// Runs the command.
pub fn run(_globals: &Globals, _args: Args) -> Result<ExitCode, CliError> {
    Err(CliError::could_not("tenant is not built yet"))
}

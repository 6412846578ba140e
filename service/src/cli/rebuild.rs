//! `upm rebuild`: derives all views again from the ledger, with no server running.

use std::process::ExitCode;

use super::{CliError, Globals};

/// Options of `upm rebuild`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  upm rebuild --tenant acme")]
pub struct Args {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: Args) -> Result<ExitCode, CliError> {
    Err(CliError::could_not("rebuild is not built yet"))
}

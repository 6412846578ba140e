//! `upm run`.

use std::process::ExitCode;

use super::{CliError, Globals};

/// Options of `upm run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: Args) -> Result<ExitCode, CliError> {
    Err(CliError::could_not("run is not built yet"))
}

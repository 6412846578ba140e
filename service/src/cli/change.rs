//! `upm change`.

use std::process::ExitCode;

use super::{CliError, Globals};

/// Options of `upm change`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: Args) -> Result<ExitCode, CliError> {
    Err(CliError::could_not("change is not built yet"))
}

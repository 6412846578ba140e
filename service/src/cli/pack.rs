//! `upm pack`.

use std::process::ExitCode;

use super::{CliError, Globals};

/// Options of `upm pack`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_globals: &Globals, _args: Args) -> Result<ExitCode, CliError> {
    Err(CliError::could_not("pack is not built yet"))
}

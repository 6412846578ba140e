//! `upm nats-child`: becomes nats-server, after asking the kernel to end it when we are gone.

use std::ffi::OsString;
use std::process::ExitCode;

use super::{CliError, Globals};

/// Options of `upm nats-child`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to run, with its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command.
pub fn run(_globals: &Globals, _args: Args) -> Result<ExitCode, CliError> {
    Err(CliError::could_not("nats-child is not built yet"))
}

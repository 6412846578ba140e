//! `upm nats-child`: what `serve` starts in order to become nats-server; not for people. All of it is
//! [`pipeline::server::run_child`]; this is its place on the command line.

use std::ffi::OsString;
use std::process::ExitCode;

use super::{CliError, Globals};

/// Options of `upm nats-child`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Our parent's process id, the program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the server; returns only when that failed.
pub fn run(_globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let error = pipeline::server::run_child(&args.command);
    Err(CliError::of(&error))
}

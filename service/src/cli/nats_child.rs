//! `upm nats-child PARENT PROGRAM ARGS`: what `serve` starts in order to become nats-server; not for people. All of it is
//! [`pipeline::server::run_child`]; this is its place on the command line.

use std::ffi::OsString;

use super::CliError;

/// The word after `upm`.
pub const NAME: &str = "nats-child";

/// Becomes the server; returns only when that failed.
pub fn run(words: &[OsString]) -> CliError {
    CliError::of(&pipeline::server::run_child(words))
}

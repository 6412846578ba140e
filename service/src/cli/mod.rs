//! The command line: one root, one file for each command, global options, exit codes and how an error is printed.
//!
//! A command is a module with `Args` and `run(&Globals, Args) -> Result<ExitCode, CliError>`. Exit codes are the same
//! everywhere: 0 yes, 1 no (rejected, refuted, not found, unhealthy), 2 could not do it (usage, I/O). Results go to
//! standard output, errors to standard error: one line first, then the detail.

#![expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "every command has the same form, whether it consumes its options and can fail or not"
)]

pub mod adapt;
pub mod change;
pub mod check;
pub mod completions;
pub mod emit;
pub mod keys;
pub mod nats_child;
pub mod pack;
pub mod rebuild;
pub mod rejected;
pub mod run;
pub mod serve;
pub mod tenant;
pub mod verify;

mod client;
mod error;
mod globals;

pub use error::CliError;
pub use globals::Globals;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// The root of the command line.
#[derive(Debug, Parser)]
#[command(
    name = "upm",
    version,
    about = "A signed, provable record of every infrastructure change",
    after_help = "Examples:\n  upm serve --tenant acme\n  upm emit event.json --wait\n  upm change show c-42 --tenant acme\n  \
                  upm pack c-42 --tenant acme -o c-42.zip && upm verify c-42.zip --key acme.vkey\n\n\
                  Exit codes: 0 yes, 1 no (rejected, refuted, not found), 2 could not do it.",
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    globals: globals::GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Every command of `upm`.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a ledger: NATS, intake, views and HTTP in one process
    Serve(serve::Args),
    /// Add or list tenants
    Tenant(tenant::Args),
    /// Publish events from a file, from standard input or built from flags
    Emit(emit::Args),
    /// Run a command and record it as an event
    Run(run::Args),
    /// Say what admission would say, without a server
    Check(check::Args),
    /// Turn a foreign document into events
    Adapt(adapt::Args),
    /// Show what happened: changes, their state and their events
    Change(change::Args),
    /// List, show or retry what admission refused
    Rejected(rejected::Args),
    /// Write the evidence pack of one change
    Pack(pack::Args),
    /// Verify an evidence pack or a receipt, offline
    Verify(verify::Args),
    /// Show the keys that others verify with
    Keys(keys::Args),
    /// Derive all views again from the ledger
    Rebuild(rebuild::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Start nats-server so that it cannot outlive us (internal)
    #[command(hide = true)]
    NatsChild(nats_child::Args),
}

/// Parses the command line, runs the command and turns what it says into an exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return not_run(&told),
    };
    let json = cli.globals.json;
    let done = Globals::new(cli.globals, matches!(cli.command, Command::Serve(_) | Command::Rebuild(_)))
        .and_then(|globals| dispatch(&globals, cli.command));
    done.unwrap_or_else(|error| fail(&error, json))
}

fn fail(error: &CliError, json: bool) -> ExitCode {
    error.print(json);
    error.exit_code()
}

/// Help and versions as clap prints them; what it refuses like any other error of ours: one line, then the detail.
fn not_run(told: &clap::Error) -> ExitCode {
    let code = if told.use_stderr() { 2 } else { 0 };
    if code == 0 || told.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nobody is left to tell where printing fails.
        let _ = told.print();
        return ExitCode::from(code);
    }
    let failed = fail(&usage(&told.to_string()), std::env::args_os().any(|arg| arg == "--json"));
    // Whoever wraps a command can't take 2 for ours: it may be the command's own.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "run") { ExitCode::from(run::NOT_STARTED) } else { failed }
}

fn usage(text: &str) -> CliError {
    let text = text.trim();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    // The reason may go on over the next lines, as with a list of missing arguments.
    let (line, detail) = text.split_once("\n\n").unwrap_or((text, ""));
    let line = line.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    CliError::could_not(line).with_detail(detail)
}

fn dispatch(globals: &Globals, command: Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Serve(args) => serve::run(globals, args),
        Command::Tenant(args) => tenant::run(globals, args),
        Command::Emit(args) => emit::run(globals, args),
        Command::Run(args) => run::run(globals, args),
        Command::Check(args) => check::run(globals, args),
        Command::Adapt(args) => adapt::run(globals, args),
        Command::Change(args) => change::run(globals, args),
        Command::Rejected(args) => rejected::run(globals, args),
        Command::Pack(args) => pack::run(globals, args),
        Command::Verify(args) => verify::run(globals, args),
        Command::Keys(args) => keys::run(globals, args),
        Command::Rebuild(args) => rebuild::run(globals, args),
        Command::Completions(args) => completions::run(globals, args),
        Command::NatsChild(args) => nats_child::run(globals, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_wrong_command_line_is_one_line_then_the_detail() {
        let check = |arguments: &[&str], starts: &str, holds: &str| {
            let told = Cli::try_parse_from(arguments).unwrap_err();
            let CliError::CouldNot { line, detail } = usage(&told.to_string()) else { panic!("{told}") };
            assert!(line.starts_with(starts) && !line.contains('\n'), "{line}");
            assert!(detail.contains(holds), "{detail}");
        };
        check(
            &["upm", "serve", "--tenant", "Not A Tenant"],
            "invalid value 'Not A Tenant' for '--tenant <NAME>'",
            "--help",
        );
        check(&["upm", "nonsense"], "unrecognized subcommand 'nonsense'", "Usage: upm");
        check(&["upm", "tenant", "add"], "the following required arguments were not provided: <NAME>", "Usage:");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}

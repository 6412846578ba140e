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
pub mod approve;
pub mod assert;
mod attach;
pub mod backup;
pub mod catalogue;
pub mod catch_up;
pub mod change;
pub mod check;
pub mod checklist;
pub mod compare;
pub mod completions;
pub mod conformance;
mod drift;
pub mod emit;
mod following;
pub mod fsck;
pub mod hold;
pub mod keys;
pub mod kpi;
mod limits;
pub mod log;
pub mod maturity;
pub mod monitor;
pub mod nats_child;
pub mod pack;
pub mod plan;
pub mod population;
pub mod rebuild;
pub mod reconcile;
pub mod rejected;
pub mod request;
pub mod restore;
mod rollback;
pub mod rules;
pub mod run;
pub mod sample;
pub mod serve;
pub mod sql;
pub mod tenant;
pub mod verify;
pub mod witness;
pub mod work;

pub mod client;
mod error;
mod globals;

pub use error::{CliError, say, say_event};
pub use globals::Globals;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use schemas::redact::mask_text;

use crate::env;

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
    /// Add or list tenants, and set facts about them
    Tenant(tenant::Args),
    /// Publish events from a file, from standard input or built from flags
    Emit(emit::Args),
    /// Run a command and record it as an event
    Run(run::Args),
    /// Say what admission would say, without a server
    Check(check::Args),
    /// Turn a foreign document into events
    Adapt(adapt::Args),
    /// Ask the workers for something, in words or as resources
    Request(request::Args),
    /// Plan a request: ordered commands with checks, ways back and a digest to approve
    Plan(plan::Args),
    /// List what can be asked for, and the commands behind it
    Catalogue(catalogue::Args),
    /// Show what happened: changes, their state and their events
    Change(change::Args),
    /// Ask questions in SQL, or saved ones
    Sql(sql::Args),
    /// Approve a change's plan, signed with your own SSH key
    Approve(approve::Args),
    /// Refuse a change's plan, signed with your own SSH key; it stands for the attempt
    Refuse(approve::Args),
    /// A gate for pipelines: may this change go ahead?
    Assert(assert::Args),
    /// List, show or retry what admission refused
    Rejected(rejected::Args),
    /// Write the evidence pack of one change
    Pack(pack::Args),
    /// Write the population of a period: every header, and so the provably complete list of changes
    Population(population::Args),
    /// Draw a sample of a population that anybody draws again, and fill its work sheet
    Sample(sample::Args),
    /// Compare a cloud's own log with the changes, both ways
    Reconcile(reconcile::Args),
    /// Take back what a change did, or prove that it could be
    Rollback(rollback::Args),
    /// Compare what was verified with what is there, and ask for what mends it
    Drift(drift::Args),
    /// Verify an evidence pack, a population or a receipt, offline
    Verify(verify::Args),
    /// Checkpoints, proofs and entries of a log; the whole of it as files
    Log(log::Args),
    /// The ten KPIs of the model, with bands
    Kpi(kpi::Args),
    /// Show the keys that others verify with, and replace them
    Keys(keys::Args),
    /// Add, release and list legal holds
    Hold(hold::Args),
    /// Show the rules of admission, and record that they are adopted
    Rules(rules::Args),
    /// Watch a published log: prove at each look that it only grew, and cry when it did not
    Monitor(monitor::Args),
    /// Fill the model's comparison template: our row, and those of platforms
    Compare(compare::Args),
    /// Say which level is reached, with what holds it and what is missing
    Maturity(maturity::Args),
    /// Say how the seven items of the conformance checklist stand
    Checklist(checklist::Args),
    /// Try the fixed conformance set and record what happened
    Conformance(conformance::Args),
    /// Copy what this data directory lacks from another copy of the ledger
    CatchUp(catch_up::Args),
    /// Derive all views again from the ledger
    Rebuild(rebuild::Args),
    /// Check the whole ledger: every row, every signature, every bit
    Fsck(fsck::Args),
    /// Copy the ledger into a backup, beside a running server
    Backup(backup::Args),
    /// Make a data directory of a backup, checked before it is used
    Restore(restore::Args),
    /// Cosign the checkpoints of others' logs
    Witness(witness::Args),
    /// Run workers, from a request to its verified end
    Work(work::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Parses the command line, runs the command and turns what it says into an exit code.
pub fn main() -> ExitCode {
    // No command for people, so that no help, hint or completion names it.
    if std::env::args_os().nth(1).is_some_and(|word| word == nats_child::NAME) {
        return fail(&nats_child::run(&std::env::args_os().skip(2).collect::<Vec<_>>()), false);
    }
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(told) => return not_run(&told),
    };
    let json = cli.globals.json;
    let done = Globals::new(
        cli.globals,
        matches!(cli.command, Command::Serve(_) | Command::Rebuild(_) | Command::Fsck(_) | Command::Work(_)),
    )
    .and_then(|globals| dispatch(&globals, cli.command));
    done.unwrap_or_else(|error| fail(&error, json))
}

fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = without_empty_variables(Cli::command());
    let matches = command.try_get_matches_from_mut(words);
    let parsed = matches
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command)));
    parsed.map_err(|mut error| {
        with_whole_usage(&mut command, &mut error);
        error
    })
}

/// A variable that is set to nothing says nothing.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| if arg.get_env().is_some_and(env::is_empty) { arg.env(None) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

/// clap's own usage of an error names whatever was given, by variables too, as if it had to be: here it is that of the help.
fn with_whole_usage(root: &mut clap::Command, error: &mut clap::Error) {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return };
    let usage = usage.to_string();
    // `Usage: upm change show …`: the words up to the first that is no command.
    let whole = usage_of(root, usage.split_whitespace().skip(2));
    error.insert(ContextKind::Usage, ContextValue::StyledStr(whole));
}

fn usage_of<'a>(command: &mut clap::Command, mut words: impl Iterator<Item = &'a str>) -> StyledStr {
    match words.next() {
        Some(word) if command.find_subcommand(word).is_some() => {
            command.find_subcommand_mut(word).map(|inner| usage_of(inner, words)).unwrap_or_default()
        }
        _ => command.render_usage(),
    }
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
    // It repeats what was given, and whoever mistypes an option may have given a secret with it.
    let (text, _) = mask_text(text.trim());
    let text = text.strip_prefix("error: ").unwrap_or(&text);
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
        Command::Request(args) => request::run(globals, args),
        Command::Plan(args) => plan::run(globals, args),
        Command::Catalogue(args) => catalogue::run(globals, args),
        Command::Change(args) => change::run(globals, args),
        Command::Sql(args) => sql::run(globals, args),
        Command::Approve(args) => approve::run(globals, args),
        Command::Refuse(args) => approve::refuse(globals, args),
        Command::Assert(args) => assert::run(globals, args),
        Command::Rejected(args) => rejected::run(globals, args),
        Command::Pack(args) => pack::run(globals, args),
        Command::Population(args) => population::run(globals, args),
        Command::Sample(args) => sample::run(globals, args),
        Command::Reconcile(args) => reconcile::run(globals, args),
        Command::Rollback(args) => rollback::run(globals, &args),
        Command::Drift(args) => drift::run(globals, args),
        Command::Verify(args) => verify::run(globals, args),
        Command::Log(args) => log::run(globals, args),
        Command::Kpi(args) => kpi::run(globals, args),
        Command::Keys(args) => keys::run(globals, args),
        Command::Hold(args) => hold::run(globals, args),
        Command::Rules(args) => rules::run(globals, args),
        Command::Monitor(args) => monitor::run(globals, args),
        Command::Maturity(args) => maturity::run(globals, args),
        Command::Checklist(args) => checklist::run(globals, args),
        Command::Compare(args) => compare::run(globals, args),
        Command::Conformance(args) => conformance::run(globals, args),
        Command::CatchUp(args) => catch_up::run(globals, args),
        Command::Rebuild(args) => rebuild::run(globals, args),
        Command::Fsck(args) => fsck::run(globals, args),
        Command::Backup(args) => backup::run(globals, args),
        Command::Restore(args) => restore::run(globals, args),
        Command::Witness(args) => witness::run(globals, args),
        Command::Work(args) => work::run(globals, args),
        Command::Completions(args) => completions::run(globals, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_one_line_then_the_detail() {
        let check = |arguments: &[&str], starts: &str, holds: &str| {
            let told = parse(arguments.iter().map(OsString::from)).unwrap_err();
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
        check(
            &["upm", "--data", "x", "change", "show"],
            "the following required arguments were not provided: <ID>",
            "Usage: upm change show [OPTIONS] <ID>",
        );
        check(&["upm", "--data", "x", "emit"], "the following required", "Usage: upm emit FILE|- [--wait] [OPTIONS]\n");
        check(&["upm", "tenant", "add"], "the following required arguments were not provided: <NAME>", "Usage:");
    }

    #[test]
    fn a_secret_in_a_wrong_command_line_is_not_repeated() {
        let told = parse(["upm", "serve", "--password=hunter2"].map(OsString::from)).unwrap_err();
        let CliError::CouldNot { line, .. } = usage(&told.to_string()) else { panic!("{told}") };
        assert!(!line.contains("hunter2"), "{line}");
    }

    #[test]
    fn what_serve_starts_is_no_command_for_people() {
        for words in [&["upm", "--data", "x"][..], &["upm", "nats-chil"]] {
            let told = parse(words.iter().map(OsString::from)).unwrap_err().to_string();
            assert!(!told.contains("nats-child"), "{told}");
        }
    }

    #[test]
    fn addresses_out_of_variables_are_not_shown() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
                let address = ["server", "nats"].contains(&arg.get_id().as_str());
                assert_eq!(arg.is_hide_env_values_set(), address, "{}", arg.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}

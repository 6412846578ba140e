//! `upm completions`: a completion script for a shell.

use std::io;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, CliError, Globals};

/// Options of `upm completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm completions bash > ~/.local/share/bash-completion/completions/upm\n  upm completions fish > ~/.config/fish/completions/upm.fish"
)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub fn run(_globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "upm", &mut script);
    match io::Write::write_all(&mut io::stdout().lock(), &script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::because("can't write to standard output", &error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

//! `upm verify`: the same verification as the small `upm-verify`, offline.

use std::io;
use std::process::ExitCode;

use evidence::cli::VerifyArgs;

use super::{CliError, Globals};

/// Options of `upm verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(flatten)]
    verify: VerifyArgs,
}

const EXAMPLE: &str = "\
Examples:
  upm verify pack.zip --key my-copy.vkey
  upm verify acme-0000000042.tlog-proof --key my-copy.pub --event event.json

The key must come from elsewhere than the pack. Needs no server and no network.
Exit codes: 0 every check held; 1 refuted, wrong key or unmet --require; 2 could not decide.";

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let code = evidence::cli::run(&args.verify, globals.json, &mut io::stdout().lock());
    code.map(ExitCode::from).map_err(|error| CliError::because("nothing was verified", &error))
}

//! `upm-verify`: checks an evidence pack or a receipt, offline, with nothing but a public key.
//!
//! The same checks as `upm verify`, in a binary without a database, a network or a server in it. All of it is
//! [`evidence::cli`].

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "upm-verify", version, about = "Check an evidence pack or a receipt of UPM Ledger", after_help = evidence::cli::EXAMPLE)]
struct Cli {
    #[command(flatten)]
    verify: evidence::cli::VerifyArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            return could_not(&evidence::cli::usage("upm-verify", &error));
        }
        Err(help) => help.exit(),
    };
    match evidence::cli::run(&cli.verify, cli.json, &mut io::stdout().lock()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => could_not(&format!("upm-verify: {error}\n")),
    }
}

/// Says why, to whoever still listens.
fn could_not(why: &str) -> ExitCode {
    let _ = io::stderr().write_all(why.as_bytes());
    ExitCode::from(2)
}

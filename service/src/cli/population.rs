//! `upm population`: fetch the population of a period. The file is there whole or not at all.

use std::path::PathBuf;
use std::process::ExitCode;

use evidence::population::Period;
use serde_json::json;

use super::client::http::{Client, segment};
use super::client::print;
use super::pack::{bar, takes_file, write};
use super::{CliError, Globals};

/// Options of `upm population`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  upm population --from 2026-01-01 --to 2026-03-31 --tenant acme -o q1.zip\n  \
                        upm verify q1.zip --key my-copy.vkey --known-checkpoint kept.txt\n\n\
                        The period is over when a heartbeat of the log stands at or after its end: by default one is written at every hour and at \
                        midnight UTC. See docs/population.md.")]
pub struct Args {
    /// Beginning: a day (UTC) or an RFC 3339 time, by the log's own time
    #[arg(long, value_name = "TIME")]
    from: String,
    /// End: a day, which counts whole, or an RFC 3339 time, which is no part of it
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Where to write it
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Leave out what only payloads say (owner, initiator, resources): faster, and less to hand over
    #[arg(long)]
    no_details: bool,
    /// Replace FILE if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let period = Period::parse(&args.from, &args.to).map_err(|error| CliError::of(&error))?;
    takes_file(&args.output, args.force, "population.zip")?;
    let tenant = globals.tenant_or_default()?;
    let client = Client::new(globals);
    let body = client.download(&path(tenant.as_str(), &period, !args.no_details))?;
    let bytes = write(&args.output, args.force, &mut bar(globals, body.length).wrap_read(body))?;
    let (from, to) = (period.from_text(), period.to_text());
    if globals.json {
        print::json_line(
            &json!({"file": args.output, "bytes": bytes, "tenant": tenant.as_str(), "from": from, "to": to}),
        )?;
    } else {
        let file = args.output.display();
        print::line(&format!(
            "wrote {file} ({bytes} bytes), {from} to before {to}; check it with: upm verify {file} --key KEY"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The path of a population.
pub(super) fn path(tenant: &str, period: &Period, details: bool) -> String {
    let (from, to) = (segment(&period.from_text()), segment(&period.to_text()));
    format!("/v1/tenants/{}/population?from={from}&to={to}&details={details}", segment(tenant))
}

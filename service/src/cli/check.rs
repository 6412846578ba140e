//! `upm check`: what admission would say, without a server. The same code decides as in the ledger.

use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::answer::Problem;
use schemas::admit::{self, Rejection, Scratch};
use serde_json::json;

use super::client::{input, print};
use super::emit::reason;
use super::{CliError, Globals};

/// Options of `upm check`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm check event.json\n  my-producer | upm check -\n\nExit codes: 0 all accepted, 1 some rejected, 2 can't read it."
)]
pub struct Args {
    /// Events in JSON: one, an array, or one a line; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let mut scratch = Scratch::default();
    let (mut total, mut rejected) = (0_u64, 0_u64);
    for document in input::documents(&args.file)? {
        let document = document.map_err(|error| CliError::because("the input broke off", &error))?;
        total += 1;
        match admit::admit_unaddressed(&document.bytes, &mut scratch) {
            Ok((subject, admitted)) => accepted(globals.json, document.line, &subject, &admitted)?,
            Err(rejection) => {
                rejected += 1;
                refused(globals.json, document.line, &rejection)?;
            }
        }
    }
    if rejected > 0 {
        return Err(CliError::no(format!("{rejected} of {total} events would be rejected")));
    }
    Ok(ExitCode::SUCCESS)
}

fn accepted(
    as_json: bool,
    line: u64,
    subject: &schemas::ids::Subject,
    admitted: &admit::Admitted<'_>,
) -> Result<(), CliError> {
    let facts = &admitted.facts;
    if as_json {
        let has: Vec<&str> = facts.has.iter().collect();
        return print::json_line(&json!({
            "line": line, "status": "accepted", "tenant": subject.tenant.as_str(), "phase": subject.phase.as_str(), "change": facts.change.as_str(),
            "id": facts.id.as_str(), "has": has, "outcome": facts.outcome.as_str(), "size": admitted.payload.len(), "masked": admitted.masked,
        }));
    }
    let has: Vec<&str> = facts.has.iter().collect();
    let has = if has.is_empty() { String::new() } else { format!("  has {}", has.join(", ")) };
    let masked = match admitted.masked {
        0 => String::new(),
        1 => "  1 secret masked".to_owned(),
        n => format!("  {n} secrets masked"),
    };
    print::line(&format!(
        "accepted   line {line}: {} {}  change {}  event {}{has}  outcome {}{masked}",
        subject.tenant,
        subject.phase,
        print::clean(facts.change.as_str()),
        print::clean(facts.id.as_str()),
        facts.outcome.as_str(),
    ))
}

fn refused(as_json: bool, line: u64, rejection: &Rejection) -> Result<(), CliError> {
    let problem = Problem::of(rejection);
    if as_json {
        return print::json_line(&json!({"line": line, "status": "rejected", "problem": problem}));
    }
    print::line(&format!("rejected   line {line}: {}", reason(&problem)))
}

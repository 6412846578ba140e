//! `upm checklist`: the seven items of the conformance checklist, each pass, fail or unknown, with the evidence; and of this program, the acceptance
//! criteria of F1 to F5 with the tests that show each.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::client::http::{Client, segment};
use super::client::print;
use super::{CliError, Globals};

/// Options of `upm checklist`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  upm checklist --tenant acme\n  upm checklist --tenant acme --json")]
pub struct Args {
    /// Wait until this entry is in the views
    #[arg(long, value_name = "INDEX")]
    at_least: Option<u64>,
}

/// Runs the command: 0 if every item passes, else 1. What this program's tests show decides nothing about a tenant.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let tenant = globals.tenant_or_default()?;
    let at_least = args.at_least.map_or_else(String::new, |index| format!("?at_least={index}"));
    let path = format!("/v1/tenants/{}/maturity/checklist{at_least}", segment(tenant.as_str()));
    let answer = Client::new(globals).get(&path)?;
    if globals.json {
        print::json(&answer)?;
    } else {
        print::line(&told(&answer))?;
    }
    let items = || answer["items"].as_array().into_iter().flatten();
    let all = items().count() > 0 && items().all(|item| item["verdict"] == "pass");
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn told(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    for item in answer["items"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "{:<8} {}", text(&item["verdict"]), text(&item["words"]));
        for clause in item["clauses"].as_array().into_iter().flatten() {
            let needs = clause["needs"].as_array().into_iter().flatten();
            let found: Vec<_> = needs.map(|need| format!("{}: {}", text(&need["id"]), text(&need["found"]))).collect();
            let said = clause["attestation"]["assessor"].as_str().map(|name| format!("attested by {name}"));
            let evidence =
                said.or_else(|| clause["attest_only"].as_str().map(|_| "only an attestation shows it".to_owned()));
            let evidence = evidence.unwrap_or_else(|| found.join("; "));
            let _ = writeln!(out, "           {} {}: {evidence}", text(&clause["standing"]), text(&clause["id"]));
        }
        for need in item["measures"].as_array().into_iter().flatten() {
            let word = if need["met"] == true { "measured" } else { "unmet" };
            let _ = writeln!(out, "           {word} {}: {}", text(&need["id"]), text(&need["found"]));
        }
    }
    out.push_str("\nacceptance criteria of this program, each with the tests that show it\n");
    for criterion in answer["criteria"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "{:<8} {}: {}",
            text(&criterion["verdict"]),
            text(&criterion["id"]),
            text(&criterion["words"])
        );
        for test in criterion["tests"].as_array().into_iter().flatten().chain(criterion.get("unknown")) {
            let _ = writeln!(out, "           {}", text(test));
        }
    }
    out.trim_end().to_owned()
}

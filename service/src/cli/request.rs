//! `upm request`: what is wanted, handed to the workers. The change that answers it is followed with `upm change watch`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use workers::ci;

use super::change::watch;
use super::client::flags::Intent;
use super::client::http::{Client, segment};
use super::client::send::{self, NatsFlags, Route};
use super::client::{input, print};
use super::{CliError, Globals};
use crate::env;

/// Options of `upm request`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "upm request WORDS [OPTIONS]\n       upm request -f FILE|- [OPTIONS]",
    after_help = "Examples:\n  upm request \"Create AKS cluster aks-demo in eastus and namespace team-alpha\" --initiator ines --tenant acme\n  \
                  upm request -f request.json --watch\n  upm request \"create bucket logs-1\" --env staging --risk low --ticket OPS-7\n\n\
                  `upm serve --workers FILE` or `upm work all` does what is asked for; `upm plan` plans without asking anybody.\n\
                  Exit codes: 0 on record (with --watch: see `upm change watch`), 1 refused, 2 could not do it."
)]
pub struct Args {
    /// What is wanted, in words
    #[arg(value_name = "WORDS", required_unless_present_any = ["file", "request"], conflicts_with_all = ["file", "request"])]
    words: Option<String>,
    /// A request as JSON, or an event with an intent; `-` for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "request")]
    file: Option<PathBuf>,
    /// How risky it is, in your own words
    #[arg(long, value_name = "TEXT")]
    risk: Option<String>,
    /// How it is rolled out
    #[arg(long, value_parser = ["canary", "blue-green"])]
    variant: Option<String>,
    /// Role that must approve the plan; repeatable
    #[arg(long = "needs-approval", value_name = "ROLE")]
    needs_approval: Vec<String>,
    /// Go on watching the change
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    nats: NatsFlags,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let tenant = globals.tenant_or_default()?;
    let body = document(&args)?.to_string();
    let answer: Value = if args.nats.nats.is_some() {
        let answer = send::ask(&Route::find(globals, &args.nats), format!("upm.requests.{tenant}"), body.into())?;
        serde_json::from_slice(&answer).map_err(|error| CliError::because("the answer is no JSON", &error))?
    } else {
        let path = format!("/v1/tenants/{}/requests", segment(tenant.as_str()));
        // What is wrong with the request, or with its change, is an answer about it.
        Client::new(globals).post_asking(&path, "application/json", body.as_bytes(), &[409, 422])?
    };
    let Some(change) = answer["change"].as_str().filter(|_| answer["status"] != "refused") else {
        let said = answer["reason"].as_str().unwrap_or("the request was refused without a reason");
        return Err(CliError::no(print::clean(said)));
    };
    if globals.json {
        print::json_line(&answer)?;
    } else {
        let before = if answer["status"] == "duplicate" { ", asked for before" } else { "" };
        print::line(&format!(
            "change {} (entry {} of {tenant}'s log{before})",
            print::clean(change),
            answer["index"].as_u64().unwrap_or_default()
        ))?;
        if !args.watch {
            print::line(&format!("  follow it: upm change watch {} --tenant {tenant}", print::clean(change)))?;
        }
    }
    if args.watch { watch::follow(globals, &tenant, change, &watch::Until::default()) } else { Ok(ExitCode::SUCCESS) }
}

/// The request: flags win over the file, and that over what the CI says.
fn document(args: &Args) -> Result<Value, CliError> {
    let Args { intent, .. } = args;
    let words = args.words.clone().or_else(|| intent.request.clone());
    let mut members = match &args.file {
        None => Map::from_iter(words.map(|words| ("request".to_owned(), Value::from(words)))),
        Some(path) => {
            let bytes = input::whole(path)?;
            let shown = path.display().to_string();
            match serde_json::from_slice(&bytes).map_err(|error| CliError::because(&shown, &error))? {
                Value::Object(members) => members,
                _ => return Err(CliError::could_not(format!("{shown}: found no object, expected a request as JSON"))),
            }
        }
    };
    if members.contains_key("provisioning_event") {
        // An event says all this itself.
        return Ok(Value::Object(members));
    }
    let ci = ci::defaults(&env::variables());
    let text = |value: &Option<String>| value.as_deref().map(Value::from);
    let said = [
        ("change_id", intent.change.as_ref().map(|change| change.as_str().into())),
        ("change_class", text(&intent.class)),
        ("attempt", intent.attempt.map(Value::from)),
        ("owner", text(&intent.owner)),
        ("visibility", text(&intent.visibility)),
        ("environment", intent.environment.as_ref().map(|name| name.as_str().into())),
        ("endpoint", text(&intent.endpoint)),
        ("initiator", text(&intent.initiator)),
        ("source", text(&intent.source)),
        ("reason", text(&intent.reason)),
        ("ticket", text(&intent.ticket)),
        ("risk", text(&args.risk)),
        ("variant", text(&args.variant)),
        ("approvals", (!args.needs_approval.is_empty()).then(|| json!(args.needs_approval))),
    ];
    members.extend(said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    for (name, value) in [
        ("initiator", ci.initiator.map(Value::from)),
        ("environment", ci.environment.map(Value::from)),
        ("source", ci.source.map(Value::from)),
        ("reason", ci.reason.map(Value::from)),
        ("ticket", ci.ticket.map(Value::from)),
    ] {
        if let Some(value) = value {
            members.entry(name).or_insert(value);
        }
    }
    Ok(Value::Object(members))
}

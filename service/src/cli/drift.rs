//! `upm drift`: what was verified against what is there now, and the request that mends it.

use std::process::ExitCode;
use std::time::Duration;

use pipeline::work::own;
use schemas::ids::ChangeId;
use serde_json::{Value, json};
use workers::course::{Course, Entry};
use workers::drift::repair;
use workers::verify::Difference;

use super::change::order::{self, Kind};
use super::client::answered::{self, Event};
use super::client::http::{Client, segment};
use super::client::lookup::tenant_of;
use super::client::print;
use super::{CliError, Globals, limits};
use crate::work::options;

/// Options of `upm drift`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The drift worker looks by itself, as [drift] of its options says. These two are for whoever wants to know, or to mend it, now. A repair is a change of its own:\n\
                  planned, looked at, approved, executed and verified like any other.\n\n\
                  Examples:\n  upm drift check c-42 --tenant acme\n  upm drift repair c-42 --by olga\n  upm drift repair c-42 --by olga --print | jq ."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Look now: exit code 0 nothing differs, 1 something does
    Check(Check),
    /// Ask for the change that brings back what was asked for
    Repair(Repair),
}

#[derive(Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    order: order::Args,
    /// How long to wait for the worker: 90s, 10m
    #[arg(long, value_name = "TIME", value_parser = limits::time, default_value = "5m")]
    wait: Duration,
}

#[derive(Debug, clap::Args)]
struct Repair {
    /// The change
    #[arg(value_name = "ID")]
    change: ChangeId,
    /// Who asks
    #[arg(long, value_name = "NAME")]
    by: String,
    /// The workers' options, TOML: the catalogue, and which places of read-backs are which fields [default: the model's]
    #[arg(long, value_name = "FILE")]
    workers: Option<std::path::PathBuf>,
    /// The ID of the change that mends it [default: the ledger makes one]
    #[arg(long, value_name = "ID")]
    r#as: Option<ChangeId>,
    /// Print the request and ask for nothing
    #[arg(long)]
    print: bool,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Check(args) => check(globals, &args),
        Action::Repair(args) => repair(globals, &args),
    }
}

fn check(globals: &Globals, args: &Check) -> Result<ExitCode, CliError> {
    let given = order::record(globals, Kind::DriftCheck, &args.order)?;
    let change = &args.order.change;
    let read =
        |event: &Event| (event.is_by(own::DRIFT) && event.said["answers"] == given.id.as_str()).then(|| event.clone());
    let answer = answered::wait(globals, &given.tenant, change, given.index, args.wait, read)?;
    let verification = &answer.said["verification"];
    let nothing = answer.said["drift_check"]["message"].as_str();
    let ok = nothing.is_none() && verification["drift"]["diff"] == json!([]) && verification["not_looked_at"].is_null();
    if globals.json {
        print::json(&json!({"tenant": given.tenant, "change": change, "entry": answer.index, "ok": ok,
            "drift": verification["drift"], "not_looked_at": verification["not_looked_at"], "message": nothing}))?;
    } else {
        let said = nothing.or_else(|| verification["summary"].as_str()).unwrap_or("the worker said nothing");
        print::line(&print::clean(said).replace("; ", "\n  "))?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn repair(globals: &Globals, args: &Repair) -> Result<ExitCode, CliError> {
    let client = Client::new(globals);
    let tenant = tenant_of(&client, globals, &args.change)?;
    let options = options::read(args.workers.as_deref())?;
    let events = of_change(&client, &tenant, &args.change)?;
    let payloads: Vec<Vec<u8>> =
        events.iter().map(|event| json!({"provisioning_event": event.said}).to_string().into_bytes()).collect();
    let entries: Vec<Entry<'_>> = events
        .iter()
        .zip(&payloads)
        .filter_map(|(event, payload)| {
            let phase = schemas::ids::Phase::parse(event.said["phase"].as_str()?).ok()?;
            let takes_back = event
                .producer
                .as_deref()
                .is_some_and(|name| name == own::ROLLBACK || options.config.rollback.producers.contains(name));
            Some(Entry { index: event.index, at_ms: 0, phase, takes_back, payload })
        })
        .collect();
    let course = Course::read(&entries, &options.catalogue);
    let course = course.ok_or_else(|| CliError::no("the change says nothing that can be read"))?;
    let Some(last) = course.drifts.iter().rev().find(|drift| drift.by_monitor) else {
        return Err(CliError::no("nobody has looked for drift since it was verified")
            .with_detail(format!("look now: upm drift check {}", print::clean(args.change.as_str()))));
    };
    let differences: Vec<Difference> = last.diff.iter().filter_map(Difference::read).collect();
    if differences.is_empty() {
        return Err(CliError::no(format!("nothing differs, by entry {}", last.index)));
    }
    let reason = format!("drift of {}, entry {}", args.change, last.index);
    let made = repair::repair(&course, &differences, &options.catalogue, &options.config.verify.expectations, &reason);
    let leaves: Vec<String> = made
        .leaves
        .iter()
        .map(|(resource, why)| format!("{}: {}", print::clean(resource), print::clean(why)))
        .collect();
    let Some(mut request) = made.request else {
        return Err(CliError::no("nothing of it can be asked for").with_detail(leaves.join("\n")));
    };
    request["initiator"] = args.by.as_str().into();
    request["fixes"] = args.change.as_str().into();
    if let Some(change) = &args.r#as {
        request["change_id"] = change.as_str().into();
    }
    if args.print {
        print::json(&request)?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = format!("/v1/tenants/{}/requests", segment(tenant.as_str()));
    let answer = client.post(&path, "application/json", request.to_string().as_bytes(), &[])?;
    if globals.json {
        print::json(&json!({"request": request, "answer": answer, "mends": made.mends, "leaves": made.leaves}))?;
    } else {
        let change = print::clean(answer["change"].as_str().unwrap_or_default());
        let mut lines = vec![format!("change {change} is asked for; it mends {}", made.mends.join(", "))];
        lines.extend(leaves.iter().map(|leaves| format!("  for a person: {leaves}")));
        lines.push(format!("  follow it: upm change watch {change} --tenant {tenant}"));
        print::line(&lines.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All events of a change.
fn of_change(client: &Client, tenant: &schemas::ids::Tenant, change: &ChangeId) -> Result<Vec<Event>, CliError> {
    let path = format!("/v1/tenants/{}/changes/{}/events", segment(tenant.as_str()), segment(change.as_str()));
    let listed = client.get(&format!("{path}?limit=1"))?;
    let first = listed["events"].as_array().and_then(|rows| rows.first()).and_then(|row: &Value| row["index"].as_u64());
    let Some(first) = first else {
        return Err(CliError::no(format!("there is no change {}", print::clean(change.as_str()))));
    };
    let mut all = Vec::new();
    if first == 0 {
        let stored = client.get(&format!("/v1/tenants/{}/events/0", segment(tenant.as_str())))?;
        all.push(Event::of(0, &stored));
    }
    all.extend(answered::behind(client, tenant, change, first.saturating_sub(1))?);
    Ok(all)
}

//! `upm emit`: publish events from a file or standard input, or one that is built from flags.
//!
//! Each event goes to its own tenant and phase, byte for byte as it stands. What admission would refuse is not sent but reported
//! with its line and reason (the same code that the ledger runs), and the others still go.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use pipeline::answer::{Problem, Status};
use pipeline::produce::Patience;
use schemas::admit::{self, Scratch};
use schemas::ids::{Phase, Producer, Subject, Tenant};
use serde_json::{Map, Value};
use workers::build::{self, Approval, Check};
use workers::ci;

use super::attach::{self, Attach, Attached};
use super::client::flags::Intent;
use super::client::input::{self, Document, Documents};
use super::client::print;
use super::client::send::{self, Done, Event, Item, NatsFlags, Outcome, Route};
use super::{CliError, Globals};
use crate::env;

/// Options of `upm emit`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "upm emit FILE|- [--wait] [OPTIONS]\n       upm emit --phase PHASE [--change ID] [EVENT OPTIONS]",
    after_help = "Examples:\n  upm emit event.json --wait\n  my-producer | upm emit - --wait --receipts receipts/\n  \
                  upm emit --phase preflight --change c-42 --initiator ines --approval bob:platform-owners --wait\n  \
                  upm emit executed.json --wait --attach build.log\n\n\
                  FILE holds one event, an array of them, or one a line (NDJSON).\n\
                  Exit codes: 0 all sent (with --wait: all in the ledger), 1 some rejected, 2 some or all could not be sent."
)]
pub struct Args {
    /// Events in JSON; `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "phase", conflicts_with_all = ["Build", "Intent"])]
    file: Option<PathBuf>,
    /// Wait until the ledger has answered each event, and print one line for each
    #[arg(long)]
    wait: bool,
    /// Put this text file, secrets masked, into the tenant's object store, and have the event's only step refer to it by digest (`stdout_ref`);
    /// `2=FILE` and `2.stderr=FILE` name another step or stream; repeatable
    #[arg(long = "attach", value_name = "[STEP[.stderr]=]FILE")]
    attach: Vec<Attach>,
    /// Write each receipt to `DIR/<tenant>-<index>.tlog-proof` (implies --wait)
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// Send as it is what admission would refuse; what names no tenant goes to --tenant
    #[arg(long)]
    no_check: bool,
    /// Publish as this producer: the last token of the subject, which the broker's permissions bind (over NATS)
    #[arg(long, value_name = "NAME")]
    producer: Option<Producer>,
    #[command(flatten)]
    nats: NatsFlags,
    #[command(flatten)]
    build: Build,
    #[command(flatten)]
    intent: Intent,
}

/// What an event built from flags says beyond its intent.
#[derive(Debug, Clone, Default, clap::Args)]
struct Build {
    /// Build the event from flags: its phase (plan, preflight, execute, verify, audit)
    #[arg(long, value_name = "PHASE", help_heading = "Event")]
    phase: Option<Phase>,
    /// When it happened, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", help_heading = "Event")]
    timestamp: Option<String>,
    /// A command of the plan; repeat in order
    #[arg(long = "command", value_name = "CMD", help_heading = "Event")]
    commands: Vec<String>,
    /// Who must approve the plan; repeatable
    #[arg(long = "needs-approval", value_name = "ROLE", help_heading = "Event")]
    needs_approval: Vec<String>,
    /// An approval that was given: APPROVER[:ROLE[:approved|refused]]; repeatable
    #[arg(long = "approval", value_name = "WHO", help_heading = "Event")]
    approvals: Vec<Approval>,
    /// A check: NAME, NAME=ok or NAME=failed; repeatable
    #[arg(long = "check", value_name = "NAME", help_heading = "Event")]
    checks: Vec<Check>,
    /// A command of the rollback plan; repeat in order
    #[arg(long = "rollback", value_name = "CMD", help_heading = "Event")]
    rollback: Vec<String>,
    /// Close the change
    #[arg(long, help_heading = "Event")]
    close: bool,
    /// It only tries the road
    #[arg(long, help_heading = "Event")]
    probe: bool,
    /// Another section: NAME=JSON or NAME=@FILE; repeatable
    #[arg(long = "section", value_name = "NAME=JSON", help_heading = "Event")]
    sections: Vec<String>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let wait = args.wait || args.receipts.is_some();
    if let Some(folder) = &args.receipts {
        fs::create_dir_all(folder)
            .map_err(|error| CliError::because(format!("can't make {}", folder.display()), &error))?;
    }
    let documents = match &args.file {
        Some(path) => input::documents(path)?,
        None => built(globals, &args)?,
    };
    let route = Route::find(globals, &args.nats);
    let documents = if args.attach.is_empty() { documents } else { attached(documents, &args.attach, &route)? };
    let items =
        Items { documents, check: !args.no_check, tenant: globals.tenant_or_default()?, scratch: Scratch::default() };
    named_by_the_road(&route, args.producer.as_ref())?;
    let producer = args.producer;
    let items = items.map(move |item| sent_by(item, producer.as_ref()));
    emit(&route, items, &Report { wait, json: globals.json, receipts: args.receipts })
}

/// The one event of `documents` with what is attached to it, which is in the tenant's object store by then.
fn attached(mut documents: Documents, files: &[Attach], route: &Route) -> Result<Documents, CliError> {
    let broken = |error: std::io::Error| CliError::because("the input broke off", &error);
    let Some(first) = documents.next() else { return Ok(documents) };
    let Document { line, bytes } = first.map_err(broken)?;
    if documents.next().is_some() {
        return Err(CliError::could_not("--attach goes with one event, and there are several"));
    }
    let (subject, _) = admit::admit_unaddressed(&bytes, &mut Scratch::default())
        .map_err(|rejection| CliError::no(format!("rejected, not sent: {}", reason(&Problem::of(&rejection)))))?;
    let Attached { event, objects } = attach::attach(bytes, &subject.tenant, files)?;
    send::put_objects(route, &objects)?;
    Ok(Box::new(std::iter::once(Ok(Document { line, bytes: event }))))
}

/// Over HTTP it is the credential that says who sends.
pub(super) fn named_by_the_road(route: &Route, producer: Option<&Producer>) -> Result<(), CliError> {
    match (route, producer) {
        (Route::Http(_), Some(name)) => Err(CliError::could_not(format!(
            "--producer {name}: over HTTP the credential names the producer"
        ))
        .with_detail(
            "name the ledger's NATS with --nats URL (UPM_NATS), or its data directory with --data DIR (UPM_DATA)",
        )),
        _ => Ok(()),
    }
}

/// The item with this producer in its subject.
pub(super) fn sent_by(item: Item, producer: Option<&Producer>) -> Item {
    match item {
        Item::Event(mut event) => {
            event.subject.producer = producer.cloned().or(event.subject.producer);
            Item::Event(event)
        }
        other => other,
    }
}

/// How to tell what became of the events.
#[derive(Debug)]
pub(super) struct Report {
    /// Whether the ledger's answer is waited for.
    pub(super) wait: bool,
    /// One JSON object a line.
    pub(super) json: bool,
    /// Where receipts are kept.
    pub(super) receipts: Option<PathBuf>,
}

/// Sends all of `items` and tells what became of each.
pub(super) fn emit(
    route: &Route,
    items: impl Iterator<Item = Item> + Send + 'static,
    report: &Report,
) -> Result<ExitCode, CliError> {
    // A restart of the server takes seconds; the same bytes may be published again as often as needed.
    let patience =
        Patience { ack: Duration::from_secs(5), answer: Duration::from_secs(20), attempts: 24, ..Patience::default() };
    let bar = progress();
    let mut tally = Tally::default();
    let sent = send::send(route, items, report.wait, &patience, |done| {
        bar.inc(1);
        bar.suspend(|| tell(&done, report))?;
        tally.count(&done.2);
        Ok(())
    });
    bar.finish_and_clear();
    sent?;
    tally.end(report)
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// The documents of the input as items to send.
struct Items {
    documents: Documents,
    check: bool,
    tenant: Tenant,
    scratch: Scratch,
}

impl Iterator for Items {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        Some(match self.documents.next()? {
            Err(error) => Item::Broken(error),
            Ok(document) if self.check => checked(document, &mut self.scratch),
            Ok(document) => unchecked(document, &self.tenant),
        })
    }
}

/// A document as an item: an event, or why it is none.
pub(super) fn checked(document: Document, scratch: &mut Scratch) -> Item {
    let read = match admit::admit_unaddressed(&document.bytes, scratch) {
        Ok((subject, admitted)) => Ok((subject, admitted.facts.change.to_string(), admitted.facts.id.to_string())),
        Err(rejection) => Err(rejection),
    };
    match read {
        Err(rejection) => Item::Unfit(document.line, Box::new(rejection)),
        Ok((subject, change, id)) => {
            Item::Event(Event { line: document.line, subject, names: Some((change, id)), bytes: document.bytes.into() })
        }
    }
}

/// A document as an event whatever it holds, for the door to judge: to the tenant and phase it names, else to `tenant` and audit.
fn unchecked(document: Document, tenant: &Tenant) -> Item {
    let peek: Value = serde_json::from_slice(&document.bytes).unwrap_or_default();
    let event = &peek["provisioning_event"];
    let subject = Subject {
        tenant: event["intent"]["tenant"]
            .as_str()
            .and_then(|name| Tenant::parse(name).ok())
            .unwrap_or_else(|| tenant.clone()),
        phase: event["phase"].as_str().and_then(|name| Phase::parse(name).ok()).unwrap_or(Phase::Audit),
        producer: None,
    };
    Item::Event(Event { line: document.line, subject, names: None, bytes: document.bytes.into() })
}

/// The one event that flags describe. What it says is masked before it leaves.
fn built(globals: &Globals, args: &Args) -> Result<Documents, CliError> {
    let Some(phase) = args.build.phase else {
        return Err(CliError::could_not("nothing to emit: name a FILE, or build an event with --phase"));
    };
    let ci = ci::defaults(&env::variables());
    let mut fields = args.intent.fields(&ci, &globals.tenant_or_default()?, phase)?;
    fields.probe = args.build.probe;
    if let Some(timestamp) = &args.build.timestamp {
        fields.timestamp.clone_from(timestamp);
    }
    let mut said = args.intent.said();
    said.commands.clone_from(&args.build.commands);
    said.approvals_needed.clone_from(&args.build.needs_approval);
    said.approvals.clone_from(&args.build.approvals);
    said.checks.clone_from(&args.build.checks);
    said.rollback.clone_from(&args.build.rollback);
    said.closed = args.build.close;
    let mut sections = said.sections(phase, &fields.timestamp);
    for flag in &args.build.sections {
        let (name, value) = section(flag)?;
        sections.add(&name, value);
    }
    sections.add_some("ci", ci.section());
    let event = build::event(&fields, &sections);
    let bytes = match admit::admit_unaddressed(&event, &mut Scratch::default()) {
        Ok((_, admitted)) => admitted.payload.into_owned(),
        // It is reported like any other event that does not fit.
        Err(_) => event.clone(),
    };
    Ok(Box::new(std::iter::once(Ok(Document { line: 1, bytes }))))
}

/// `NAME=JSON` or `NAME=@FILE`.
fn section(flag: &str) -> Result<(String, Value), CliError> {
    let wrong = |why: &str| CliError::could_not(format!("--section {}: {why}", print::short(flag, 60)));
    let (name, value) = flag.split_once('=').ok_or_else(|| wrong("expected NAME=JSON or NAME=@FILE"))?;
    let text = match value.strip_prefix('@') {
        Some(path) => input::whole(Path::new(path))?,
        None => value.as_bytes().to_vec(),
    };
    let value = serde_json::from_slice(&text).map_err(|error| wrong(&format!("not JSON: {error}")))?;
    if name.is_empty() || ["id", "timestamp", "phase", "intent"].contains(&name) {
        return Err(wrong("the name of a section, such as verification, is expected"));
    }
    Ok((name.to_owned(), value))
}

/// Prints what became of one item, and keeps its receipt.
fn tell((line, event, outcome): &Done, report: &Report) -> Result<(), CliError> {
    if let (Some(folder), Some(event), Outcome::Answered { index, receipt: Some(receipt), .. }) =
        (&report.receipts, event, outcome)
    {
        let path = folder.join(format!("{}-{index:010}.tlog-proof", event.subject.tenant));
        fs::write(&path, receipt)
            .map_err(|error| CliError::because(format!("can't write {}", path.display()), &error))?;
    }
    if report.json {
        return print::json_line(&as_json(*line, event.as_ref(), outcome));
    }
    match (outcome, event) {
        (Outcome::OnRoad, _) => Ok(()),
        (Outcome::Answered { status, index, problem: None, .. }, Some(event)) => {
            let names = event.names.as_ref().map_or_else(String::new, |(change, id)| {
                format!("  change {}  event {}", print::clean(change), print::clean(id))
            });
            print::line(&format!(
                "{:<9}  {} {index}  {}{names}",
                status.as_str(),
                event.subject.tenant,
                event.subject.phase
            ))
        }
        (Outcome::Answered { index, problem: Some(problem), .. }, _) => {
            print::line(&format!("rejected   line {line}, kept as {index}: {}", reason(problem)))
        }
        (Outcome::Answered { status, index, .. }, None) => print::line(&format!("{:<9}  {index}", status.as_str())),
        (Outcome::Unfit(problem), _) => print::line(&format!("rejected   line {line}, not sent: {}", reason(problem))),
        (Outcome::Failed(why), _) => print::line(&format!("failed     line {line}: {}", print::clean(why))),
    }
}

/// A problem in one line.
pub(super) fn reason(problem: &Problem) -> String {
    let place = if problem.path.is_empty() { String::new() } else { format!(" at {}", print::clean(&problem.path)) };
    format!(
        "{}{place}: found {}, expected {}",
        problem.reason,
        print::clean(&problem.found),
        print::clean(&problem.expected)
    )
}

fn as_json(line: u64, event: Option<&Event>, outcome: &Outcome) -> Value {
    let mut row = Map::new();
    row.insert("line".into(), line.into());
    if let Some(event) = event {
        row.insert("tenant".into(), event.subject.tenant.as_str().into());
        row.insert("phase".into(), event.subject.phase.as_str().into());
        if let Some((change, id)) = &event.names {
            row.insert("change".into(), change.as_str().into());
            row.insert("id".into(), id.as_str().into());
        }
    }
    let problem = |problem: &Problem| serde_json::to_value(problem).unwrap_or_default();
    let status = match outcome {
        Outcome::OnRoad => "published",
        Outcome::Failed(why) => {
            row.insert("error".into(), why.as_str().into());
            "failed"
        }
        Outcome::Unfit(why) => {
            row.insert("problem".into(), problem(why));
            "rejected"
        }
        Outcome::Answered { status, index, receipt, problem: why } => {
            row.insert("index".into(), (*index).into());
            if let Some(receipt) = receipt {
                row.insert("receipt".into(), receipt.as_str().into());
            }
            if let Some(why) = why {
                row.insert("problem".into(), problem(why));
            }
            status.as_str()
        }
    };
    row.insert("status".into(), status.into());
    Value::Object(row)
}

#[derive(Debug, Default)]
struct Tally {
    good: u64,
    rejected: u64,
    failed: u64,
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Answered { status: Status::Rejected, .. } | Outcome::Unfit(_) => self.rejected += 1,
            Outcome::Failed(_) => self.failed += 1,
            Outcome::OnRoad | Outcome::Answered { .. } => self.good += 1,
        }
    }

    fn end(&self, report: &Report) -> Result<ExitCode, CliError> {
        let total = self.good + self.rejected + self.failed;
        if self.failed > 0 {
            let more = if self.rejected > 0 { format!(", {} rejected", self.rejected) } else { String::new() };
            return Err(CliError::could_not(format!("{} of {total} events could not be sent{more}", self.failed))
                .with_detail("it is safe to emit the same file again: what the ledger has gets the same receipt"));
        }
        if self.rejected > 0 {
            return Err(CliError::no(format!("{} of {total} events rejected", self.rejected)));
        }
        if !report.wait && !report.json {
            print::line(&format!(
                "{total} {} on the road; --wait waits until they are in the ledger",
                if total == 1 { "event" } else { "events" }
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_admitted_still_finds_a_road() {
        let acme = Tenant::parse("acme").unwrap();
        for (bytes, expect) in [
            (&b"nonsense"[..], "upm.events.acme.audit"),
            (br#"{"provisioning_event":{"phase":"plan"}}"#, "upm.events.acme.plan"),
            (br#"{"provisioning_event":{"phase":"deploy","intent":{"tenant":"other"}}}"#, "upm.events.other.audit"),
            (br#"{"provisioning_event":{"intent":{"tenant":"upm.>"}}}"#, "upm.events.acme.audit"),
        ] {
            let Item::Event(event) = unchecked(Document { line: 1, bytes: bytes.to_vec() }, &acme) else { panic!() };
            assert_eq!(event.subject.to_string(), expect);
        }
    }

    #[test]
    fn sections_are_json_with_a_name() {
        assert_eq!(section("drift={\"a\":1}").unwrap(), ("drift".to_owned(), serde_json::json!({"a": 1})));
        for bad in ["drift", "=1", "intent={}", "drift={", "drift=@/nowhere/at/all"] {
            assert!(section(bad).is_err(), "{bad}");
        }
    }
}

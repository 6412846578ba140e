//! `upm adapt`: a foreign document becomes events, by an embedded jq program or one's own; with `--emit` they are published.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use adapters::{ADAPTERS, AdaptError, Adapted, Adapter, Given, Program};

use schemas::ids::Producer;

use super::client::flags::Intent;
use super::client::send::{Event, Item, NatsFlags, Route};
use super::client::{input, print};
use super::{CliError, Globals, emit};
use crate::bounded::NOTE_MAX;

mod subscribe;

/// Options of `upm adapt`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "upm adapt KIND FILE|- [OPTIONS]\n       upm adapt --program PROGRAM FILE|- [OPTIONS]",
    after_help = help()
)]
pub struct Args {
    /// The adapter (see below; not with --program), then the document or `-` for standard input
    #[arg(value_name = "KIND FILE", required_unless_present_any = ["show", "subscribe"], num_args = 1..=2)]
    what: Vec<String>,
    /// A jq program of your own instead of an adapter
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Publish the events and wait for their receipts, instead of printing them
    #[arg(long)]
    emit: bool,
    /// Write each receipt to `DIR/<tenant>-<index>.tlog-proof` (with --emit)
    #[arg(long, value_name = "DIR", requires = "emit")]
    receipts: Option<PathBuf>,
    /// Print the program of an adapter, to start your own from
    #[arg(long, value_name = "KIND", conflicts_with_all = ["what", "program", "emit"])]
    show: Option<String>,
    /// When it happened, RFC 3339, where the document does not say
    #[arg(long, value_name = "TIME", help_heading = "Event")]
    timestamp: Option<String>,
    /// A command that carries the plan out; repeat in order
    #[arg(long = "command", value_name = "CMD", help_heading = "Event")]
    commands: Vec<String>,
    /// Instead of a file: take each message on this NATS subject (wildcards allowed), and publish what it becomes
    #[arg(long, value_name = "SUBJECT", requires = "emit")]
    subscribe: Option<String>,
    /// The NATS to listen to [default: the ledger's own; the one that `upm serve` starts takes nothing but events]
    #[arg(long, value_name = "URL", requires = "subscribe", hide_env_values = true)]
    from: Option<String>,
    /// Share the messages of the subject with others of this name
    #[arg(long, value_name = "NAME", requires = "subscribe")]
    queue: Option<String>,
    /// End after so many messages
    #[arg(long, value_name = "N", requires = "subscribe")]
    count: Option<u64>,
    /// Publish as this producer: the last token of the subject, which the broker's permissions bind (over NATS)
    #[arg(long, value_name = "NAME", requires = "emit")]
    producer: Option<Producer>,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    nats: NatsFlags,
}

fn help() -> String {
    let width = ADAPTERS.iter().map(|adapter| adapter.name.len()).max().unwrap_or(0);
    let adapters: Vec<String> =
        ADAPTERS.iter().map(|adapter| format!("  {:width$}  {}", adapter.name, adapter.takes)).collect();
    format!(
        "Adapters:\n{}\n\nExamples:\n  terraform show -json tfplan | upm adapt terraform-plan - --change c-42 --initiator ines --emit\n  \
         upm adapt cloudevents --from nats://bus:4222 --subscribe 'ci.events.>' --emit --tenant acme --producer ci\n  \
         upm adapt --program my.jq record.json --tenant acme\n  upm adapt --show k8s-audit > my.jq\n\n\
         Options win over what the document says; what an adapter does not map is kept in a section named after the source.\n\
         Ids derive from the masked document: adapting the same file again gives the same events.",
        adapters.join("\n")
    )
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    if let Some(kind) = &args.show {
        print::line(known(kind)?.program().source().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(subject) = &args.subscribe {
        return subscribe::run(globals, &args, subject);
    }
    let (program, file) = chosen(&args)?;
    let document = input::whole(Path::new(&file))?;
    let given = given(globals, &args)?;
    let adapted = adapters::adapt(&program, &document, &given).map_err(|error| refusal(&file, &error))?;
    if args.emit {
        let report = emit::Report { wait: true, json: globals.json, receipts: args.receipts.clone() };
        if let Some(folder) = &report.receipts {
            fs::create_dir_all(folder)
                .map_err(|error| CliError::because(format!("can't make {}", folder.display()), &error))?;
        }
        let (route, producer) = (Route::find(globals, &args.nats), args.producer.clone());
        emit::named_by_the_road(&route, producer.as_ref())?;
        let items = adapted.into_iter().map(item).map(move |item| emit::sent_by(item, producer.as_ref()));
        return emit::emit(&route, items, &report);
    }
    for one in &adapted {
        let text =
            std::str::from_utf8(&one.event).map_err(|error| CliError::because("an event that is not text", &error))?;
        print::raw_line(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the caller has to mend is a "could not", what the document lacks a "no".
fn refusal(file: &str, error: &AdaptError) -> CliError {
    let line = print::clean(&format!("{file}: {error}"));
    match error {
        AdaptError::Missing { .. } | AdaptError::Program { .. } => CliError::could_not(line),
        _ => CliError::no(line),
    }
}

/// The program and the name of the document's file.
fn chosen(args: &Args) -> Result<(Program, String), CliError> {
    match (args.program.as_ref(), args.what.as_slice()) {
        (Some(path), [file]) => {
            let source = input::text(path, NOTE_MAX)?;
            Ok((Program::new(path.display().to_string(), source), file.clone()))
        }
        (Some(_), _) => {
            Err(CliError::could_not("with --program, name the document only: upm adapt --program PROGRAM FILE"))
        }
        (None, [kind, file]) => Ok((known(kind)?.program(), file.clone())),
        (None, [only]) if Adapter::find(only).is_some() => {
            Err(CliError::could_not(format!("name the document too: upm adapt {only} FILE (`-` for standard input)")))
        }
        (None, _) => Err(CliError::could_not("name the adapter and the document: upm adapt KIND FILE")
            .with_detail(format!("adapters: {}; or --program with a jq program of your own", names()))),
    }
}

fn known(kind: &str) -> Result<&'static Adapter, CliError> {
    Adapter::find(kind).ok_or_else(|| {
        CliError::could_not(format!("there is no adapter {}", print::clean(kind)))
            .with_detail(format!("adapters: {}; or --program with a jq program of your own", names()))
    })
}

fn names() -> String {
    let names: Vec<&str> = ADAPTERS.iter().map(|adapter| adapter.name).collect();
    names.join(", ")
}

/// What the flags say. CI variables are left out here: a document's own word is better than who happened to adapt it.
fn given(globals: &Globals, args: &Args) -> Result<Given, CliError> {
    let intent = &args.intent;
    Ok(Given {
        timestamp: args.timestamp.clone(),
        change: intent.change.as_ref().map(|change| change.as_str().to_owned()),
        attempt: intent.attempt,
        environment: intent.environment.as_ref().map(|name| name.as_str().to_owned()),
        class: intent.class.clone(),
        request: intent.request.clone(),
        source: intent.source.clone(),
        initiator: intent.initiator.clone(),
        tenant: Some(globals.tenant_or_default()?.as_str().to_owned()),
        reason: intent.reason.clone(),
        ticket: intent.ticket.clone(),
        owner: intent.owner.clone(),
        visibility: intent.visibility.clone(),
        cloud: intent.cloud.clone(),
        endpoint: intent.endpoint.clone(),
        commands: args.commands.clone(),
    })
}

fn item(adapted: Adapted) -> Item {
    let names = Some((adapted.facts.change.to_string(), adapted.facts.id.to_string()));
    Item::Event(Event { line: adapted.line as u64, subject: adapted.subject, names, bytes: adapted.event.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_adapter() {
        for adapter in ADAPTERS {
            assert!(help().contains(adapter.name), "{}", adapter.name);
        }
    }
}

//! `upm plan`: a request in words or as JSON becomes a plan; with `--emit` it is published as the event of phase plan.
//!
//! Deciding is `workers::plan`; here files are read, the plan is printed, and what nobody may run is not published.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use schemas::admit::{self, Scratch};
use schemas::ids::{ChangeClass, Phase, Producer};
use serde_json::json;
use workers::build::{self, Fields, Said};
use workers::ci;
use workers::plan::{Existing, Plan, PlanError, plan};
use workers::request::{Request, Variant, json as request_json};

use super::catalogue::Files;
use super::client::flags::Intent;
use super::client::input::Document;
use super::client::send::{NatsFlags, Route};
use super::client::{input, print};
use super::{CliError, Globals, emit};
use crate::{clock, env};

mod table;

/// Options of `upm plan`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "upm plan WORDS [OPTIONS]\n       upm plan -f FILE|- [OPTIONS]",
    after_help = "Examples:\n  upm plan \"Create AKS cluster aks-demo in eastus and namespace team-alpha\"\n  \
                  upm plan -f request.json --existing there.json --format json\n  \
                  upm plan \"create namespace team-alpha\" --format svg > plan.svg\n  \
                  upm plan \"create bucket logs-1\" --emit --change c-42 --initiator ines --tenant acme\n\n\
                  Without a server and without touching anything: `upm catalogue` lists what can be asked for.\n\
                  Exit codes: 0 planned (with --emit: in the ledger), 1 no plan (not understood, does not fit, a prerequisite is missing), \
                  2 could not do it."
)]
pub struct Args {
    /// What is wanted, in words
    #[arg(value_name = "WORDS", required_unless_present_any = ["file", "request"], conflicts_with_all = ["file", "request"])]
    words: Option<String>,
    /// A request as JSON, or an event with an intent; `-` for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "request")]
    file: Option<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// What is there already (JSON): simulate the plan over it
    #[arg(long, value_name = "FILE")]
    existing: Option<PathBuf>,
    /// How it is rolled out
    #[arg(long, value_parser = ["canary", "blue-green"])]
    variant: Option<String>,
    /// Role that must approve the plan; repeatable
    #[arg(long = "needs-approval", value_name = "ROLE")]
    needs_approval: Vec<String>,
    /// How it is printed: for people, as sections of an event, or its dependency graph for Graphviz, for Mermaid or as a drawing
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Publish it as an event of phase plan, and wait for the receipt
    #[arg(long)]
    emit: bool,
    /// Publish as this producer: the last token of the subject, which the broker's permissions bind (over NATS)
    #[arg(long, value_name = "NAME", requires = "emit")]
    producer: Option<Producer>,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    nats: NatsFlags,
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Dot,
    Mermaid,
    Svg,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let catalogue = args.files.read()?;
    let existing = args.existing.as_deref().map(read_existing).transpose()?;
    let mut request = read_request(&args)?;
    let fields = if args.emit { Some(fields(globals, &args, &mut request)?) } else { None };
    let began = clock::now();
    let mut made = plan(&catalogue, &request, existing.as_ref()).map_err(|error| refusal(&error))?;
    let took_ms = build::milliseconds(began.elapsed());
    made.cloud = args.intent.cloud.clone().or(made.cloud);
    made.class = fields.as_ref().and_then(|fields| ChangeClass::parse(fields.class.as_deref()?).ok());
    let Some(fields) = fields else {
        print(&made, if globals.json { Format::Json } else { args.format })?;
        return prerequisites(&made).map(|()| ExitCode::SUCCESS);
    };
    prerequisites(&made)?;
    publish(globals, &args, fields, &made, took_ms)
}

fn read_existing(path: &Path) -> Result<Existing, CliError> {
    let bytes = input::whole(path)?;
    Existing::read(&bytes).map_err(|error| CliError::because(path.display().to_string(), &error))
}

fn read_request(args: &Args) -> Result<Request, CliError> {
    let mut request = match &args.file {
        Some(path) => {
            let bytes = input::whole(path)?;
            request_json::read(&bytes).map_err(|error| CliError::because(path.display().to_string(), &error))?
        }
        None => Request { words: args.words.clone().or_else(|| args.intent.request.clone()), ..Request::default() },
    };
    let environment = args.intent.environment.as_ref().map(|name| name.as_str().to_owned());
    request.environment = environment.or(request.environment);
    request.endpoint = args.intent.endpoint.clone().or(request.endpoint);
    request.variant = args.variant.as_deref().and_then(Variant::parse).or(request.variant);
    request.approvals.extend(args.needs_approval.iter().cloned());
    Ok(request)
}

/// The event's fields: flags win over the request, and that over what the CI says. The environment is the plan's too.
fn fields(globals: &Globals, args: &Args, request: &mut Request) -> Result<Fields, CliError> {
    let mut intent = args.intent.clone();
    let about = &request.about;
    intent.initiator = intent.initiator.or_else(|| about.initiator.clone());
    intent.source = intent.source.or_else(|| about.source.clone());
    intent.reason = intent.reason.or_else(|| about.reason.clone());
    intent.ticket = intent.ticket.or_else(|| about.ticket.clone());
    intent.request.clone_from(&request.words);
    let fields = intent.fields(&ci::defaults(&env::variables()), &globals.tenant_or_default()?, Phase::Plan)?;
    if request.environment.is_none() {
        request.environment.clone_from(&fields.environment);
    }
    Ok(fields)
}

/// That there is no plan is an answer; each thing wrong is a line of its own.
fn refusal(error: &PlanError) -> CliError {
    let lines: Vec<String> = match error {
        PlanError::NotUnderstood(not) => {
            let pieces = not.pieces.iter().map(|piece| {
                format!("not understood, at byte {}: “{}”; expected {}", piece.at, piece.text, piece.expected)
            });
            let understood = not.understood.iter().map(|line| format!("understood: {line}"));
            pieces.chain(understood).collect()
        }
        PlanError::Wrong(problems) => problems.iter().map(ToString::to_string).collect(),
        PlanError::Cycle(cycle) => vec![cycle.to_string()],
    };
    let line = match (error, lines.as_slice()) {
        (PlanError::NotUnderstood(_), _) => {
            "the request was not understood as a whole, so nothing is planned".to_owned()
        }
        (_, [only]) => return CliError::no(only),
        (_, lines) => format!("{} things do not fit, so nothing is planned", lines.len()),
    };
    CliError::no(line).with_detail(lines.join("\n"))
}

/// Where what is there is known, what is missing halts the plan.
fn prerequisites(made: &Plan) -> Result<(), CliError> {
    let missing = made.simulation.as_ref().map_or(&[][..], |told| &told.missing);
    let line = |(what, how): &(String, String)| format!("missing: {what}; {how}");
    match missing {
        [] => Ok(()),
        [only] => Err(CliError::no(line(only))),
        several => Err(CliError::no(format!("{} prerequisites are missing", several.len()))
            .with_detail(several.iter().map(line).collect::<Vec<_>>().join("\n"))),
    }
}

fn print(made: &Plan, format: Format) -> Result<(), CliError> {
    match format {
        Format::Table => print::line(&table::of(made)),
        Format::Json => print::json(&made.document()),
        Format::Dot => print::raw_lines(&made.graph().dot()),
        Format::Mermaid => print::raw_lines(&made.graph().mermaid()),
        Format::Svg => print::raw_lines(&made.graph().svg()),
    }
}

/// Publishes the plan, unless it could never be executed as it stands.
fn publish(
    globals: &Globals,
    args: &Args,
    mut fields: Fields,
    made: &Plan,
    took_ms: f64,
) -> Result<ExitCode, CliError> {
    if !made.is_executable() {
        let lines: Vec<String> = made.placeholders.iter().map(table::placeholder).collect();
        return Err(
            CliError::no("the plan has values that nobody gave, so it is not published").with_detail(lines.join("\n"))
        );
    }
    fields.environment.clone_from(&made.environment);
    let said = Said { owner: args.intent.owner.clone(), visibility: args.intent.visibility.clone(), ..Said::default() };
    let mut sections = made.sections();
    sections.extend(said.sections(Phase::Plan, &fields.timestamp));
    sections.add("plan", json!({ "compile_ms": took_ms }));
    let event = build::event(&fields, &sections);
    if let Ok((_, admitted)) = admit::admit_unaddressed(&event, &mut Scratch::default())
        && admitted.masked > 0
    {
        let line = format!("the plan has {} places that look like secrets, so it is not published", admitted.masked);
        return Err(CliError::no(line).with_detail(
            "they would be masked, and a plan with a masked place can't be executed: have the tool read them from where it keeps them",
        ));
    }
    let (route, producer) = (Route::find(globals, &args.nats), args.producer.clone());
    emit::named_by_the_road(&route, producer.as_ref())?;
    let item = emit::checked(Document { line: 1, bytes: event }, &mut Scratch::default());
    let items = std::iter::once(emit::sent_by(item, producer.as_ref()));
    emit::emit(&route, items, &emit::Report { wait: true, json: globals.json, receipts: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_then_each_thing() {
        let of = |words: &str| {
            let request = Request { words: Some(words.to_owned()), ..Request::default() };
            refusal(&plan(workers::catalogue::shipped(), &request, None).unwrap_err())
        };
        let CliError::No { line, detail } = of("create namespace a with a roof and namespace b") else { panic!() };
        assert!(line.starts_with("the request was not understood"), "{line}");
        assert_eq!(detail.lines().count(), 3, "{detail}");
        assert!(detail.contains("“with a roof”") && detail.contains("understood: create k8s_namespace b"), "{detail}");
        let CliError::No { line, .. } = of("create aks cluster a") else { panic!() };
        assert!(line.contains("location: found nothing"), "{line}");
    }
}

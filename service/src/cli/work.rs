//! `upm work`: workers beside a server, each kind alone or all at once, in as many processes as one likes. Here is what they are given; the work is
//! `pipeline::work`'s.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pipeline::NatsTarget;
use pipeline::produce::{Patience, Producer};
use pipeline::work::Policies;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use workers::drift;
use workers::rollback::Automatic;

use super::client::send::{NatsFlags, Route};
use super::client::{login, print};
use super::{CliError, Globals};
use crate::logging;
use crate::stop::Stop;
use crate::work::remote::Remote;
use crate::work::{self, Kind, Place, options};

/// Options of `upm work`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm work check workers.toml\n  upm work all --workers workers.toml\n  upm work preflight --workers workers.toml --tenant acme\n\n\
                  Workers may be started many times: each piece of work is done once. `upm serve --workers FILE` runs them in the server's own process."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say what is wrong in a file of options, or what it amounts to
    Check(Check),
    /// Run all workers
    All(Run),
    /// Requests become plans
    Plan(Run),
    /// Plans are looked at: may they run?
    Preflight(Run),
    /// Plans that may run are run
    Execute(Run),
    /// What was executed is looked at: does it hold?
    Verify(Run),
    /// What failed is taken back, where the options or somebody say so
    Rollback(Run),
    /// What was verified is watched
    Drift(Run),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  upm work check workers.toml\n\nExit codes: 0 it can be used, 1 it can't, 2 it could not be read."
)]
struct Check {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm work all --workers workers.toml\n  upm work plan --data /var/lib/upm --tenant acme\n\nCtrl-C or SIGTERM finishes what is in hand; a second one stops at once."
)]
struct Run {
    /// The workers' options, TOML [default: the model's]
    #[arg(long, value_name = "FILE")]
    workers: Option<PathBuf>,
    /// Where commands run [default: work/ in the data directory]
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    #[command(flatten)]
    nats: NatsFlags,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Check(args) => check(globals, &args),
        Action::All(args) => serve(globals, &args, &Kind::ALL),
        Action::Plan(args) => serve(globals, &args, &[Kind::Plan]),
        Action::Preflight(args) => serve(globals, &args, &[Kind::Preflight]),
        Action::Execute(args) => serve(globals, &args, &[Kind::Execute]),
        Action::Verify(args) => serve(globals, &args, &[Kind::Verify]),
        Action::Rollback(args) => serve(globals, &args, &[Kind::Rollback]),
        Action::Drift(args) => serve(globals, &args, &[Kind::Drift]),
    }
}

/// That a file is wrong is an answer: exit code 1.
fn check(globals: &Globals, args: &Check) -> Result<ExitCode, CliError> {
    let read = options::read(Some(&args.file)).map_err(|error| match error {
        CliError::CouldNot { line, detail } if args.file.is_file() => CliError::No { line, detail },
        other => other,
    })?;
    let packages = read.policies.as_ref().map(Policies::packages).unwrap_or_default();
    let types = read.catalogue.types.len();
    let config = &read.config;
    if globals.json {
        print::json(&json!({
            "ok": true, "types": types, "catalogue": read.catalogue.digest(), "policies": packages,
            "windows": config.calendar.windows.len(), "freezes": config.calendar.freezes.len(),
            "approvals": config.approvals.len(), "lanes": config.lanes.len(), "budgets": config.budgets.len(),
            "blast_radius": config.blast_radius.len(),
            "probes": config.verify.probes.len(), "slos": config.verify.slos.len(),
            "rolls_back": rolls_back(&config.rollback.automatic), "drift": watches(&config.drift),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = [
        ("types in the catalogue", types.to_string()),
        ("policies that decide", if packages.is_empty() { "none".to_owned() } else { packages.join(", ") }),
        ("windows, freezes", format!("{}, {}", config.calendar.windows.len(), config.calendar.freezes.len())),
        ("approvals asked for", config.approvals.len().to_string()),
        ("lanes", config.lanes.len().to_string()),
        ("budgets", config.budgets.len().to_string()),
        ("blast radius", config.blast_radius.len().to_string()),
        ("probes, service levels", format!("{}, {}", config.verify.probes.len(), config.verify.slos.len())),
        ("rolls back by itself", rolls_back(&config.rollback.automatic)),
        ("looks for drift", watches(&config.drift)),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    print::line(&format!("{} can be used\n{}", args.file.display(), print::columns(&rows)))?;
    Ok(ExitCode::SUCCESS)
}

fn rolls_back(automatic: &Automatic) -> String {
    let after = match (automatic.after_verification, automatic.after_execution) {
        (false, false) => return "never: upm rollback orders it".to_owned(),
        (true, false) => "a verification that failed",
        (false, true) => "an execution that failed",
        (true, true) => "whatever failed",
    };
    match &automatic.scope.environments {
        None => format!("after {after}, in every environment"),
        Some(names) => format!("after {after}, in {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
    }
}

fn watches(options: &drift::Options) -> String {
    match (options.every_s, options.monitors.len()) {
        (0, 0) => "never".to_owned(),
        (0, monitors) => format!("where one of {monitors} monitors says so"),
        (every_s, 0) => format!("every {every_s} s"),
        (every_s, monitors) => format!("every {every_s} s, or as {monitors} monitors say"),
    }
}

fn serve(globals: &Globals, args: &Run, kinds: &[Kind]) -> Result<ExitCode, CliError> {
    logging::init(globals.json);
    let options = options::read(args.workers.as_deref())?;
    let kinds: BTreeSet<Kind> = kinds.iter().copied().collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("work").enable_all().build();
    let runtime = runtime.map_err(|error| CliError::because("can't start threads", &error))?;
    runtime.block_on(async {
        let mut signals = Stop::listen().map_err(|error| CliError::because("can't listen for signals", &error))?;
        let target = target(globals, &args.nats)?;
        let connected = target.connect_hearing("upm work").await;
        let (client, refusals) = connected.map_err(|error| CliError::because("no road to read", &error))?;
        let patience = Patience { answer: Duration::from_secs(10), ..Patience::default() };
        let producer = Producer::hearing(client.clone(), refusals, patience).await;
        let producer = producer.map_err(|error| CliError::because("can't publish", &error))?;
        let stop = CancellationToken::new();
        let place = Place {
            record: Arc::new(Remote::new(globals)),
            client,
            producer,
            workdir: args.workdir.clone().unwrap_or_else(|| globals.data.join("work")),
            tally: Arc::default(),
            stop: stop.clone(),
        };
        tracing::info!(server = globals.server_url(), workers = ?kinds, "working");
        tokio::spawn(async move {
            let name = signals.wait().await;
            tracing::info!("{name}: finishing what is in hand; once more to stop at once");
            stop.cancel();
            signals.hurry();
        });
        let done = work::run(place, options, &kinds).await;
        done.map_err(|error| CliError::because("the system gives no randomness", &error))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The NATS whose roads are read: the one named, else that of the server on the data directory, where the login of its workers lies.
fn target(globals: &Globals, flags: &NatsFlags) -> Result<NatsTarget, CliError> {
    let Route::Nats { target, data } = Route::find(globals, flags) else {
        let error = CliError::could_not("workers read the road, and only a server's URL is known");
        return Err(error.with_detail(
            "name the ledger's data directory with --data DIR (UPM_DATA), or its NATS with --nats-file FILE or --nats URL (UPM_NATS)",
        ));
    };
    let Some(data) = data else { return Ok(target) };
    // Without one the server has joined somebody else's NATS, which lets us in or not.
    let own = login::of_workers(&data, &target.url).map_err(|why| CliError::could_not(why).with_detail(LOGIN))?;
    Ok(own.unwrap_or(target))
}

const LOGIN: &str = "it holds the workers' login, and `upm serve` writes it at each start";

//! `upm conformance`: tries the fixed conformance set and records what happened as a probe event.
//!
//! The ledger's own cases go through the server like any producer's events: secrets are sent to be masked, a foreign tenant's event to be refused, and what
//! was signed before and after is joined by a consistency proof, which is checked here. Planner and executor are programs of the stack that is tried;
//! without them their cases do not run.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::checkpoint;
use ledger::proof::verify_consistency;
use schemas::ids::Tenant;
use schemas::model::{self, Case, Driver};
use serde_json::{Value, json};
use workers::build;
use workers::conformance::{self, Ran, Verdict};

use super::client::http::{Client, segment};
use super::client::print;
use super::client::tiles::HttpLog;
use super::{CliError, Globals};
use crate::clock;
use crate::proofs::Consistency;

/// How long a planner or executor may take for one document.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long its output is waited for once it has ended.
const LEFT_BEHIND: Duration = Duration::from_secs(1);
/// What is read of its output.
const OUTPUT_MAX: u64 = 4 * 1024 * 1024;

/// Options of `upm conformance`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  upm conformance list\n  upm conformance run --tenant acme\n  \
                  upm conformance run --tenant acme --planner ./plan --executor ./execute")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the cases, and the documents that a planner or executor is given
    List,
    /// Run the cases and record the result; 1 if a case failed
    Run {
        /// A program that reads a request (JSON) and prints a plan (JSON), or refuses with an exit code
        #[arg(long, value_name = "PROGRAM")]
        planner: Option<PathBuf>,
        /// A program that reads a plan (JSON), executes it and prints whether it changed anything (JSON), or refuses with an exit code
        #[arg(long, value_name = "PROGRAM")]
        executor: Option<PathBuf>,
        /// Who runs it
        #[arg(long, value_name = "NAME", default_value = "upm-conformance")]
        initiator: String,
    },
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::List => list(globals),
        Action::Run { planner, executor, initiator } => {
            try_all(globals, planner.as_deref(), executor.as_deref(), &initiator)
        }
    }
}

fn list(globals: &Globals) -> Result<ExitCode, CliError> {
    let cases = &model::get().conformance;
    if globals.json {
        let shown = |case: &Case| json!({"id": case.id, "driver": case.driver, "words": case.words, "inputs": conformance::inputs(case, "RUN")});
        print::json(&cases.iter().map(shown).collect::<Vec<_>>())?;
    } else {
        let driver = |case: &Case| format!("{:?}", case.driver).to_lowercase();
        let rows: Vec<_> = cases.iter().map(|case| vec![case.id.clone(), driver(case), case.words.clone()]).collect();
        print::line(&print::columns(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn try_all(
    globals: &Globals,
    planner: Option<&Path>,
    executor: Option<&Path>,
    initiator: &str,
) -> Result<ExitCode, CliError> {
    let probe = Probe::new(globals, initiator)?;
    let mut verdicts: Vec<(&'static str, Verdict)> = Vec::new();
    for case in &model::get().conformance {
        let verdict = match case.driver {
            Driver::Ledger => Some(probe.of_ledger(&case.id)?),
            Driver::Planner => planner.map(|program| drive(program, case, &probe.change)).transpose()?,
            Driver::Executor => executor.map(|program| drive(program, case, &probe.change)).transpose()?,
        };
        verdicts.extend(verdict.map(|verdict| (case.id.as_str(), verdict)));
    }
    let recorded = probe.record(&verdicts)?;
    tell(globals, &probe.change, recorded, &verdicts)?;
    let all = verdicts.iter().all(|(_, verdict)| verdict.ok);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn tell(globals: &Globals, change: &str, index: u64, verdicts: &[(&'static str, Verdict)]) -> Result<(), CliError> {
    let found = |case: &Case| verdicts.iter().find(|(id, _)| *id == case.id).map(|(_, verdict)| verdict);
    let word =
        |verdict: Option<&Verdict>| verdict.map_or("not run", |verdict| if verdict.ok { "pass" } else { "fail" });
    if globals.json {
        let shown = |case: &'static Case| {
            let verdict = found(case);
            json!({"case": case.id, "result": word(verdict), "message": verdict.map(|verdict| &verdict.message)})
        };
        let cases: Vec<_> = model::get().conformance.iter().map(shown).collect();
        return print::json(&json!({"change": change, "index": index, "cases": cases}));
    }
    let mut rows = Vec::new();
    for case in &model::get().conformance {
        let verdict = found(case);
        let message = verdict.map_or_else(
            || format!("needs --{}", format!("{:?}", case.driver).to_lowercase()),
            |verdict| verdict.message.clone(),
        );
        rows.push(vec![word(verdict).to_owned(), case.id.clone(), message]);
    }
    print::line(&format!("{}\nrecorded as entry {index}, change {change}", print::columns(&rows)))
}

/// One run against one tenant's ledger.
struct Probe {
    client: Client,
    published: HttpLog,
    tenant: Tenant,
    change: String,
    at: String,
    initiator: String,
    before: (u64, String),
}

impl Probe {
    fn new(globals: &Globals, initiator: &str) -> Result<Self, CliError> {
        let tenant = globals.tenant_or_default()?;
        let now = clock::unix_ms();
        let published = HttpLog::new(&format!("{}/logs/{}", globals.server_url(), segment(tenant.as_str())));
        let before = newest(&published)?;
        Ok(Self {
            client: Client::new(globals),
            published,
            tenant,
            change: format!("conformance-{now}"),
            at: build::rfc3339(i64::try_from(now).unwrap_or(i64::MAX)),
            initiator: initiator.to_owned(),
            before,
        })
    }

    fn of_ledger(&self, case: &str) -> Result<Verdict, CliError> {
        match case {
            "secret_redaction" => self.redaction(),
            "tenant_scoping" => self.scoping(),
            "append_only" => self.append_only(),
            _ => Ok(Verdict::new(false, "this program does not know the case")),
        }
    }

    fn post(&self, event: &Value) -> Result<Value, CliError> {
        let path = format!("/v1/tenants/{}/events", segment(self.tenant.as_str()));
        self.client.post(&path, "application/json", event.to_string().as_bytes(), &[422])
    }

    fn redaction(&self) -> Result<Verdict, CliError> {
        let event = conformance::leaking_event(self.tenant.as_str(), &self.change, &self.initiator, &self.at);
        let answer = self.post(&event)?;
        let Some(index) = answer["index"].as_u64().filter(|_| answer["status"] == "accepted") else {
            return Ok(Verdict::new(false, format!("the event was {}", answer["status"])));
        };
        let entry = self.client.get(&format!("/v1/tenants/{}/events/{index}", segment(self.tenant.as_str())))?;
        let stored = entry["payload"].as_str().and_then(|text| STANDARD.decode(text).ok());
        Ok(stored.map_or_else(
            || Verdict::new(false, "the stored event could not be read"),
            |bytes| conformance::redacted(&bytes),
        ))
    }

    fn scoping(&self) -> Result<Verdict, CliError> {
        let other = format!("{}-x", &self.tenant.as_str()[..self.tenant.as_str().len().min(60)]);
        let event = conformance::event(&other, &self.change, &self.initiator, &self.at, &[]);
        let answer = self.post(&event)?;
        let reason = answer["problem"]["reason"].as_str().unwrap_or_default().to_owned();
        let refused = answer["status"] == "rejected" && reason.contains("tenant_mismatch");
        let seen = if refused {
            "an event of another tenant was refused".to_owned()
        } else {
            format!("it was {}: {reason}", answer["status"])
        };
        Ok(Verdict::new(refused, seen))
    }

    /// The roots are those of the checkpoints, not those that come with the proof.
    fn append_only(&self) -> Result<Verdict, CliError> {
        let (old, old_note) = &self.before;
        let (new, new_note) = newest(&self.published)?;
        let proofs = format!("/v1/tenants/{}/proofs", segment(self.tenant.as_str()));
        let answer = self.client.get(&format!("{proofs}/consistency?from={old}&to={new}"))?;
        let proof: Consistency = serde_json::from_value(answer)
            .map_err(|error| CliError::because("the server's proof can't be read", &error))?;
        let root = |note: &str| {
            checkpoint::peek(note).map(|head| head.root).map_err(|error| CliError::because("checkpoint", &error))
        };
        let joined = verify_consistency(*old, new, &root(old_note)?, &root(&new_note)?, &proof.path);
        let message = match &joined {
            Ok(()) => format!("the tree of {old} entries is the beginning of that of {new}"),
            Err(error) => error.to_string(),
        };
        Ok(Verdict::new(joined.is_ok(), message))
    }

    fn record(&self, verdicts: &[(&str, Verdict)]) -> Result<u64, CliError> {
        let event = conformance::event(self.tenant.as_str(), &self.change, &self.initiator, &self.at, verdicts);
        let answer = self.post(&event)?;
        let index = answer["index"].as_u64().filter(|_| answer["status"] == "accepted");
        index.ok_or_else(|| {
            CliError::could_not(format!("the result was not recorded: {}", answer["status"]))
                .with_detail(answer["problem"].to_string())
        })
    }
}

fn newest(published: &HttpLog) -> Result<(u64, String), CliError> {
    let note = published.checkpoint()?.ok_or_else(|| CliError::no("there is no such log here"))?;
    let head = checkpoint::peek(&note).map_err(|error| CliError::because("the checkpoint can't be read", &error))?;
    Ok((head.size, note))
}

fn drive(program: &Path, case: &Case, change: &str) -> Result<Verdict, CliError> {
    let (inputs, mut ran) = (conformance::inputs(case, change), Vec::new());
    for input in &inputs {
        let cannot = |error: &std::io::Error| CliError::because(program.display().to_string(), error);
        let Some(one) = run_once(program, input).map_err(|error| cannot(&error))? else {
            return Ok(Verdict::new(false, format!("no answer in {} seconds", PATIENCE.as_secs())));
        };
        ran.push(one);
    }
    Ok(conformance::judge(case, &inputs, &ran))
}

/// Runs a program with a document on standard input. `None` where it had to be stopped.
fn run_once(program: &Path, input: &Value) -> Result<Option<Ran>, std::io::Error> {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that refuses without reading has closed it.
        let _ = stdin.write_all(input.to_string().as_bytes());
    }
    let reading = [Reading::of(child.stdout.take()), Reading::of(child.stderr.take())];
    let ended = wait(&mut child)?;
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
        return Ok(None);
    }
    let since = clock::now();
    let [stdout, stderr] = reading.map(|reading| reading.end(LEFT_BEHIND.saturating_sub(since.elapsed())));
    let spoke = [&stdout, &stderr].iter().any(|text| !text.trim_ascii().is_empty());
    Ok(Some(Ran { well: ended == Some(true), stdout, spoke }))
}

/// What a program says, read beside it.
struct Reading {
    said: Arc<Mutex<Vec<u8>>>,
    over: Receiver<()>,
}

impl Reading {
    fn of(from: Option<impl Read + Send + 'static>) -> Self {
        let (said, (sender, over)) = (Arc::new(Mutex::new(Vec::new())), mpsc::channel());
        let text = Arc::clone(&said);
        thread::spawn(move || {
            let (mut from, mut piece) = (from.map(|from| from.take(OUTPUT_MAX)), vec![0; 1 << 16]);
            // What was read before a failure is what it said.
            while let Some(Ok(read @ 1..)) = from.as_mut().map(|from| from.read(&mut piece)) {
                text.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..read]);
            }
            let _ = sender.send(());
        });
        Self { said, over }
    }

    /// What was said by a program that has ended. A child that it left behind may hold the pipe open for as long as it likes.
    fn end(self, patience: Duration) -> Vec<u8> {
        let _ = self.over.recv_timeout(patience);
        std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn wait(child: &mut Child) -> Result<Option<bool>, std::io::Error> {
    let start = clock::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

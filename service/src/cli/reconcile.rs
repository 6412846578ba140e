//! `upm reconcile`: a cloud's own log against the changes of a population, both ways. The matching is `evidence::reconcile`'s; the result is
//! published as an event, so that it stands in the log itself.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use evidence::population::{Change, Details, Period, PopulationDocument, read_changes, read_details};
use evidence::reconcile::{Match, Mutation, Read as Records, Reconciliation, Source, Unseen, reconcile};
use evidence::{Trust, Verdict, cli};
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::client::http::{Client, segment};
use super::client::print;
use super::error::say;
use super::{CliError, Globals, population};
use crate::clock;

/// Largest log, unpacked, and largest population that is fetched into memory, in bytes.
const MAX_BYTES: u64 = 2 << 30;
/// Ids of records or changes that the event names of each kind: it has to stay below a million bytes.
const NAMED: usize = 500;

/// Options of `upm reconcile`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm reconcile --source cloudtrail trail/*.json.gz --from 2026-01-01 --to 2026-01-31 --tenant acme\n  \
                        upm reconcile --source k8s-audit audit.log --population january.zip --key my-copy.vkey --no-emit\n\n\
                        Exit codes: 0 both sides agree; 1 a mutation without a change, or a change without a mutation; 2 could not.\n\
                        Which records count, and what matches: docs/reconcile.md."
)]
pub struct Args {
    /// Files of the cloud's log, gzipped or not
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Which log: cloudtrail or k8s-audit
    #[arg(long, value_name = "SOURCE", value_parser = source)]
    source: Source,
    /// Beginning of the period: a day (UTC) or an RFC 3339 time
    #[arg(long, value_name = "TIME", requires = "to", required_unless_present = "population")]
    from: Option<String>,
    /// End of the period: a day, which counts whole, or an RFC 3339 time, which is no part of it
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// The population to compare with, instead of one from the server
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to"])]
    population: Option<PathBuf>,
    /// The log's public key, from elsewhere, to check the population with
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// How far clocks may differ and events may come late, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    slack: u64,
    /// Do not publish the result as an event
    #[arg(long)]
    no_emit: bool,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let trust = cli::trust_in(args.key.as_deref()).map_err(|error| CliError::of(&error))?;
    let (records, digests) = records(args.source, &args.files)?;
    let (document, changes) = match (&args.population, args.from.as_deref().zip(args.to.as_deref())) {
        (Some(path), _) => {
            let file = File::open(path).map_err(|error| unread(path, &error))?;
            compared_with(file, &trust, globals.json)?
        }
        (None, Some((from, to))) => {
            let period = Period::parse(from, to).map_err(|error| CliError::of(&error))?;
            compared_with(Cursor::new(fetched(globals, &period)?), &trust, globals.json)?
        }
        // clap asks for one of them.
        (None, None) => return Err(CliError::could_not("name a period with --from and --to, or a population")),
    };
    let period = document.period().map_err(CliError::could_not)?;
    let slack_ms = args.slack.saturating_mul(60_000);
    let result = reconcile(args.source, records, &changes, (period.from_ms(), period.to_ms()), slack_ms);
    let published = if args.no_emit { None } else { Some(publish(globals, &args, &document, &digests, &result)?) };
    tell(globals, &args, &document, &result, published.as_deref())?;
    Ok(ExitCode::from(u8::from(!result.agrees())))
}

/// All records of all files, and the digest of each file.
fn records(source: Source, files: &[PathBuf]) -> Result<(Records, Vec<Value>), CliError> {
    let mut all = Records::default();
    let mut digests = Vec::new();
    for path in files {
        let bytes = unpacked(path)?;
        let read = source.read(&bytes.text).map_err(|error| {
            CliError::could_not(format!("{} is no {} log: {error}", path.display(), source.as_str()))
        })?;
        all.append(read);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        digests.push(json!({"name": name, "sha256": bytes.digest}));
    }
    Ok((all, digests))
}

/// A file's text, and the digest of the file as it lies there.
struct Unpacked {
    text: Vec<u8>,
    digest: String,
}

fn unpacked(path: &Path) -> Result<Unpacked, CliError> {
    let cannot = |error: &io::Error| unread(path, error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot(&error))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    let digest = hex::encode(Sha256::digest(&bytes));
    let mut text = bytes;
    if text.starts_with(&[0x1f, 0x8b]) {
        let mut out = Vec::new();
        MultiGzDecoder::new(text.as_slice())
            .take(MAX_BYTES + 1)
            .read_to_end(&mut out)
            .map_err(|error| cannot(&error))?;
        text = out;
    }
    if text.len() as u64 > MAX_BYTES {
        let limit = MAX_BYTES;
        return Err(CliError::could_not(format!("{} has more than {limit} bytes: split it", path.display())));
    }
    Ok(Unpacked { text, digest })
}

fn unread(path: &Path, error: &io::Error) -> CliError {
    CliError::because(format!("can't read {}", path.display()), error)
}

/// The population of a period, from the server.
fn fetched(globals: &Globals, period: &Period) -> Result<Vec<u8>, CliError> {
    let tenant = globals.tenant_or_default()?;
    let body = Client::new(globals).download(&population::path(tenant.as_str(), period, true))?;
    let mut bytes = Vec::new();
    body.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::because("the population broke off", &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(CliError::could_not("the population is too large to be held in memory")
            .with_detail("write it to a file with `upm population`, and name it with --population"));
    }
    Ok(bytes)
}

/// The changes of a population, with what payloads say of them.
fn compared_with<R: Read + Seek>(
    mut source: R,
    trust: &Trust,
    json: bool,
) -> Result<(PopulationDocument, Vec<(Change, Details)>), CliError> {
    let population = read_changes(&mut source, trust, &mut cli::progress(json));
    let report = &population.report;
    let document = population.document.clone().filter(|_| report.verdict != Verdict::Refuted);
    let Some(document) = document else {
        return Err(CliError::could_not("the population is refuted").with_detail(report.to_string()));
    };
    if !document.details {
        return Err(CliError::could_not("the population has no details, so that no resource of a change is known")
            .with_detail("make it without --no-details"));
    }
    let details = read_details(&mut source).map_err(CliError::could_not)?;
    let changes: Vec<(Change, Details)> = population.changes().zip(details).collect();
    if changes.len() as u64 != document.totals.changes || changes.iter().any(|(a, b)| a.change != b.change) {
        return Err(CliError::could_not("the population's details are not those of its changes"));
    }
    if report.verdict == Verdict::Undecided && trust.key.is_some() {
        say("upm: not every check of the population could be done; `upm verify` says which");
    }
    Ok((document, changes))
}

/// Publishes the result as an event of phase audit. Gives the event's id.
fn publish(
    globals: &Globals,
    args: &Args,
    document: &PopulationDocument,
    digests: &[Value],
    result: &Reconciliation,
) -> Result<String, CliError> {
    let tenant = document.origin.rsplit('/').next().unwrap_or_default();
    let source = args.source.as_str();
    let named = |ids: Vec<&str>| json!({"count": ids.len(), "ids": ids.into_iter().take(NAMED).collect::<Vec<_>>()});
    let section = json!({
        "source": source,
        "files": digests,
        "population": {"from": document.from, "to": document.to, "size": document.last.size, "root": document.last.root},
        "slack_minutes": args.slack,
        "matches": result.matches.len(),
        "unrecorded": named(result.unrecorded.iter().map(|one| one.id.as_str()).collect()),
        "unseen": named(result.unseen.iter().map(|one| one.change.as_str()).collect()),
        "elsewhere": result.elsewhere,
        "left_out": result.left_out,
        "agrees": result.agrees(),
    });
    // The same comparison again is the same change.
    let digest = hex::encode(Sha256::digest(section.to_string()));
    let id = format!("reconcile-{source}-{}", &digest[..32]);
    let now =
        i64::try_from(clock::unix_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let event = json!({"provisioning_event": {
        "id": id,
        "timestamp": now.to_string(),
        "phase": "audit",
        "intent": {
            "request": format!("Reconcile {source} with the changes from {} to before {}", document.from, document.to),
            "source": "api", "initiator": "upm-reconcile", "tenant": tenant,
        },
        "reconciliation": section,
    }});
    let path = format!("/v1/tenants/{}/events", segment(tenant));
    let answer = Client::new(globals).post(&path, "application/json", event.to_string().as_bytes(), &[422])?;
    let status = answer[0]["status"].as_str().or(answer["status"].as_str()).unwrap_or("unknown").to_owned();
    if ["accepted", "duplicate"].contains(&status.as_str()) {
        return Ok(id);
    }
    Err(CliError::could_not(format!("the result could not be published: {status}")).with_detail(answer.to_string()))
}

fn tell(
    globals: &Globals,
    args: &Args,
    document: &PopulationDocument,
    result: &Reconciliation,
    published: Option<&str>,
) -> Result<(), CliError> {
    if globals.json {
        let mut told = json!(result);
        told["source"] = json!(args.source);
        told["from"] = json!(document.from);
        told["to"] = json!(document.to);
        told["agrees"] = json!(result.agrees());
        told["event"] = json!(published);
        return print::json(&told);
    }
    let Reconciliation { matches, unrecorded, unseen, elsewhere, left_out } = result;
    table("Mutations without a change", unrecorded.iter().map(mutation_row))?;
    table("Changes without a mutation", unseen.iter().map(unseen_row))?;
    table("Matches", matches.iter().map(match_row))?;
    let left: Vec<String> = left_out.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if !left.is_empty() {
        print::line(&format!("Records left out: {}", left.join(", ")))?;
    }
    if *elsewhere > 0 {
        print::line(&format!("Changes that name another cloud: {elsewhere}"))?;
    }
    if let Some(id) = published {
        print::line(&format!("Published as event {id}"))?;
    }
    print::line(&format!(
        "{}: {} matched, {} mutations without a change, {} changes without a mutation",
        if result.agrees() { "AGREES" } else { "GAPS" },
        matches.len(),
        unrecorded.len(),
        unseen.len()
    ))
}

/// Rows of cells below a title, in columns; nothing where there are none.
fn table(title: &str, rows: impl Iterator<Item = Vec<String>>) -> Result<(), CliError> {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|cell| print::short(cell, 60)).collect()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    print::line(&format!("{title} ({})", rows.len()))?;
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0)).filter_map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        print::line(&format!("  {}", cells.join("  ").trim_end()))?;
    }
    print::line("")
}

fn mutation_row(mutation: &Mutation) -> Vec<String> {
    let resource = mutation.resources.iter().next().cloned().unwrap_or_default();
    vec![time(mutation.at_ms), mutation.action.clone(), resource, mutation.principal.clone(), mutation.id.clone()]
}

fn unseen_row(unseen: &Unseen) -> Vec<String> {
    vec![time(unseen.first_at), unseen.change.clone(), unseen.resources.join(", ")]
}

fn match_row(found: &Match) -> Vec<String> {
    let Match { mutation, change, rule } = found;
    vec![time(mutation.at_ms), mutation.action.clone(), change.clone(), rule.words().to_owned()]
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn source(word: &str) -> Result<Source, String> {
    Source::parse(word).ok_or_else(|| "expected cloudtrail or k8s-audit".to_owned())
}

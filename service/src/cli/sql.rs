//! `upm sql`: questions in SQL about one tenant, to a server or to a file of views.
//!
//! A server answers each question by this same command, in a process of its own (`--confined`), so that what a question costs is bounded by
//! what that process may use, and ends with it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use projector_sqlite::TABLES;
use projector_sqlite::ask::{self, AnswerLimits, AskError, Param, SQL_BYTES_MAX};
use projector_sqlite::saved::{self, SAVED};
use serde_json::{Value, json};

use super::client::http::{Client, segment};
use super::client::print;
use super::{CliError, Globals};
use crate::answers::{Answer, Format};
use crate::clock;

/// Rows of an answer where nobody says how many, and at most.
pub const ROWS: usize = 10_000;
pub const ROWS_MAX: usize = 1_000_000;
/// Seconds for a question where nobody says how many, and at most.
pub const TIMEOUT_S: u64 = 10;
pub const TIMEOUT_S_MAX: u64 = 60;
/// Bytes of an answer from a file, and from a server.
const FILE_BYTES_MAX: usize = 256 << 20;
pub const SERVER_BYTES_MAX: usize = 16 << 20;
/// What a confined question may use: address space, which holds the program too, and bytes of each file that it sorts in.
const CONFINED_MEMORY_BYTES: u64 = 1 << 30;
const CONFINED_FILE_BYTES: u64 = 256 << 20;

/// Options of `upm sql`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm sql --tenant acme \"SELECT state, count(*) FROM changes GROUP BY state\"\n  upm sql --tenant acme @changes-without-approval --param days=30\n  \
                  upm sql --file acme.db --format csv \"SELECT * FROM approvals\" > approvals.csv\n\n\
                  --list names the saved questions, --schema describes the tables. Only SELECT is possible."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// One SELECT statement, @NAME for a saved question, or - to read it from standard input
    #[arg(value_name = "SQL|@NAME|-", required_unless_present_any = ["list", "schema"])]
    question: Option<String>,
    /// List the saved questions and their parameters
    #[arg(long, conflicts_with_all = ["question", "schema"])]
    list: bool,
    /// Describe the tables
    #[arg(long, conflicts_with = "question")]
    schema: bool,
    /// A value for :NAME in the question; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, Param)>,
    /// How to print the answer [default: table; json with --json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Ask this file of views, not a server
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Refuse an answer with more rows
    #[arg(long, value_name = "N", default_value_t = ROWS, value_parser = rows)]
    max_rows: usize,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_S, value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_S_MAX))]
    timeout: u64,
    /// Wait until this entry is in changes and events
    #[arg(long, value_name = "INDEX", conflicts_with = "file")]
    at_least: Option<u64>,
    /// Exit with 1 where the answer has rows: for questions whose answer should be nothing
    #[arg(long)]
    expect_none: bool,
    /// Answer a server: one JSON document, within limits of the process
    #[arg(long, hide = true, requires = "file")]
    confined: bool,
}

fn param(text: &str) -> Result<(String, Param), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if word { Ok((name.to_owned(), Param::parse(value))) } else { Err("the name is no word".to_owned()) }
}

fn rows(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=ROWS_MAX).contains(number));
    number.ok_or_else(|| format!("expected 1 to {ROWS_MAX}"))
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    if args.list {
        return list(globals);
    }
    if args.schema {
        return if globals.json { print::json(&json!({ "schema": TABLES })) } else { print::raw(TABLES) }
            .map(|()| ExitCode::SUCCESS);
    }
    let question = text(args.question.as_deref().unwrap_or_default())?;
    if args.confined {
        return confined(&args, &question);
    }
    let answer = match &args.file {
        Some(file) => of_file(file, &args, &question, FILE_BYTES_MAX).map_err(|error| refused(&error))?,
        None => of_server(globals, &args, &question)?,
    };
    let format = args.format.unwrap_or(if globals.json { Format::Json } else { Format::Table });
    show(&answer, format)?;
    let found = args.expect_none && !answer.rows.is_empty();
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The question as given, or out of standard input.
fn text(given: &str) -> Result<String, CliError> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(SQL_BYTES_MAX as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| CliError::because("can't read the question from standard input", &error))?;
    Ok(text)
}

fn list(globals: &Globals) -> Result<ExitCode, CliError> {
    if globals.json {
        let one = |saved: &saved::Saved| {
            let parameters: Vec<Value> = saved
                .parameters()
                .map(|found| json!({"name": found.name, "default": found.value, "about": found.about}))
                .collect();
            json!({"name": saved.name, "about": saved.about(), "parameters": parameters, "sql": saved.sql})
        };
        print::json(&json!({ "saved": SAVED.iter().map(one).collect::<Vec<_>>() }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |saved: &saved::Saved| {
        let parameters: Vec<String> =
            saved.parameters().map(|found| format!("{}={}", found.name, found.value)).collect();
        vec![format!("@{}", saved.name), parameters.join(" "), saved.about().to_owned()]
    };
    print::line(&print::columns(&SAVED.iter().map(row).collect::<Vec<_>>()))?;
    Ok(ExitCode::SUCCESS)
}

fn of_server(globals: &Globals, args: &Args, question: &str) -> Result<Answer, CliError> {
    let tenant = globals.tenant_or_default()?;
    let params: serde_json::Map<String, Value> =
        args.params.iter().map(|(name, value)| (name.clone(), param_json(value))).collect();
    let asked =
        json!({"sql": question, "params": params, "max_rows": args.max_rows, "timeout_ms": args.timeout * 1000});
    let at_least = args.at_least.map_or_else(String::new, |index| format!("?at_least={index}"));
    let path = format!("/v1/tenants/{}/sql{at_least}", segment(tenant.as_str()));
    let document = Client::new(globals).post(&path, "application/json", asked.to_string().as_bytes(), &[])?;
    Answer::of_document(&document).ok_or_else(|| CliError::could_not("the server's answer has no columns and rows"))
}

fn param_json(param: &Param) -> Value {
    match param {
        Param::Null => Value::Null,
        Param::Integer(number) => (*number).into(),
        Param::Real(number) => (*number).into(),
        Param::Text(text) => text.as_str().into(),
    }
}

type Refused = AskError<std::convert::Infallible>;

fn of_file(file: &Path, args: &Args, question: &str, bytes: usize) -> Result<Answer, Refused> {
    let params: BTreeMap<String, Param> = args.params.iter().cloned().collect();
    let now_ms = i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX);
    let question = saved::question(question, params, now_ms).map_err(AskError::Unknown)?;
    let (since, patience) = (clock::now(), Duration::from_secs(args.timeout));
    let limits = AnswerLimits { rows: args.max_rows, bytes };
    let mut answer = Answer::default();
    ask::ask(file, &question, limits, move || since.elapsed() < patience, &mut answer)?;
    Ok(answer)
}

/// For a server: the answer or the refusal as JSON.
fn confined(args: &Args, question: &str) -> Result<ExitCode, CliError> {
    let limit = |resource, most| {
        setrlimit(resource, most, most).map_err(|error| CliError::because("can't confine the question", &error))
    };
    limit(Resource::RLIMIT_AS, CONFINED_MEMORY_BYTES)?;
    limit(Resource::RLIMIT_FSIZE, CONFINED_FILE_BYTES)?;
    limit(Resource::RLIMIT_CPU, args.timeout + 1)?;
    let file = args.file.as_deref().unwrap_or(Path::new(""));
    let told = match of_file(file, args, question, SERVER_BYTES_MAX) {
        Ok(answer) => json!({ "answer": answer }),
        Err(error) => json!({ "refused": kind(&error), "detail": error.to_string() }),
    };
    print::line(&told.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// What kind of refusal it is, for the API.
fn kind(error: &Refused) -> &'static str {
    match error {
        AskError::Views(_) => "views",
        AskError::Refused(_) | AskError::Several => "not_allowed",
        AskError::Stopped | AskError::Rows(_) | AskError::Bytes(_) | AskError::Value | AskError::Long { .. } => "limit",
        _ => "sql",
    }
}

fn refused(error: &Refused) -> CliError {
    let line = CliError::could_not(print::clean(&error.to_string()));
    match error {
        AskError::Unknown(_) => line.with_detail(format!("{}\nsee upm sql --list", names())),
        AskError::Rows(_) => line.with_detail("--max-rows N allows more"),
        AskError::Stopped => line.with_detail(format!("--timeout SECONDS allows up to {TIMEOUT_S_MAX}")),
        AskError::Sql(_) => line.with_detail("see upm sql --schema"),
        _ => line,
    }
}

/// The saved questions in a line.
pub fn names() -> String {
    SAVED.iter().map(|saved| format!("@{}", saved.name)).collect::<Vec<_>>().join(", ")
}

fn show(answer: &Answer, format: Format) -> Result<(), CliError> {
    match format {
        Format::Json => print::json(&answer.document(0)),
        Format::Csv => print::raw_lines(&answer.csv()),
        Format::Ndjson => print::raw_lines(&answer.ndjson()),
        Format::Table => {
            print::line(&answer.reach())?;
            if answer.rows.is_empty() {
                return print::line("no rows");
            }
            print::line(&print::columns(&answer.cells()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_named_values() {
        assert_eq!(param("days=30"), Ok(("days".into(), Param::Integer(30))));
        assert_eq!(param("x=a=b"), Ok(("x".into(), Param::Text("a=b".into()))));
        assert_eq!(param("x="), Ok(("x".into(), Param::Text(String::new()))));
        assert_eq!(param("r=1.5"), Ok(("r".into(), Param::Real(1.5))));
        for text in ["days", "=1", "a b=1", ":now=1"] {
            assert!(param(text).is_err(), "{text}");
        }
        assert!(rows("0").is_err() && rows("1000001").is_err() && rows("5") == Ok(5));
    }
}

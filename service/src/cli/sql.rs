//! `upm sql`: questions in SQL about one tenant, to a server or to a file of views.
//!
//! A server answers each question by this same command, in a process of its own (`--confined`), so that what a question costs is bounded by
//! what that process may use, and ends with it.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use projector_sqlite::TABLES;
use projector_sqlite::ask::{self, AnswerLimits, AskError, Param, SQL_BYTES_MAX, Sink};
use projector_sqlite::saved::{self, SAVED};
use serde_json::{Value, json};

use super::client::http::{Client, segment};
use super::client::print;
use super::{CliError, Globals};
use crate::answers::{Answer, Format};
use crate::clock;

pub mod confined;

/// Rows of an answer where nobody says how many, and at most.
pub const ROWS: usize = 10_000;
pub const ROWS_MAX: usize = 1_000_000;
/// Seconds for a question where nobody says how many, and at most.
pub const TIMEOUT_S: u64 = 10;
pub const TIMEOUT_S_MAX: u64 = 60;
/// Bytes of an answer from a file.
const FILE_BYTES_MAX: usize = 256 << 20;

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
    #[arg(value_name = "SQL|@NAME|-", required_unless_present_any = ["list", "schema", "confined"])]
    question: Option<String>,
    /// List the saved questions and their parameters
    #[arg(long, conflicts_with_all = ["question", "schema"])]
    list: bool,
    /// Describe the tables
    #[arg(long, conflicts_with = "question")]
    schema: bool,
    /// A value for :NAME in the question; may be repeated. 42, -1 and 1.5 are numbers, everything else (0042, CHG-1) is text; NAME:text=42 and
    /// NAME:number=42 say which
    #[arg(long = "param", value_name = "NAME[:text|:number]=VALUE", value_parser = param)]
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
    /// Answer a server, which hands the question in on standard input, within limits of the process
    #[arg(long, hide = true, requires = "file", conflicts_with_all = ["question", "list", "schema"])]
    confined: bool,
}

fn param(text: &str) -> Result<(String, Param), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let (name, kind) = name.split_once(':').map_or((name, None), |(name, kind)| (name, Some(kind)));
    if !ask::is_name(name) {
        return Err(format!("the name is {name:?}, expected letters, digits and _"));
    }
    let param = match kind {
        None => Param::parse(value),
        Some("text") => Param::Text(value.to_owned()),
        Some("number") => {
            Param::number(value).ok_or("expected a number such as 42 or 1.5, a whole one of at most 64 bits")?
        }
        Some(kind) => return Err(format!("found :{kind}, expected :text or :number")),
    };
    Ok((name.to_owned(), param))
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
    if args.confined {
        return confined::answer(args.file.as_deref().unwrap_or(Path::new("")));
    }
    let question = text(args.question.as_deref().unwrap_or_default())?;
    let answer = match &args.file {
        Some(file) => of_file(file, &args, &question).map_err(|error| refused(&error))?,
        None => of_server(globals, &args, &question)?,
    };
    let format = args.format.unwrap_or(if globals.json { Format::Json } else { Format::Table });
    show(&answer, format)?;
    let found = args.expect_none && !answer.rows.is_empty();
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The question as given, or out of standard input.
fn text(given: &str) -> Result<String, CliError> {
    let (mut text, mut found) = (given.as_bytes().to_vec(), given.len() as u64);
    if given == "-" {
        let cannot = |error: io::Error| CliError::because("can't read the question from standard input", &error);
        let mut stdin = io::stdin().lock();
        text.clear();
        (&mut stdin).take(SQL_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(cannot)?;
        // Its true length is told, and not kept.
        found = text.len() as u64 + io::copy(&mut stdin, &mut io::sink()).map_err(cannot)?;
    }
    if found > SQL_BYTES_MAX as u64 {
        return Err(refused(&AskError::Long { found: usize::try_from(found).unwrap_or(usize::MAX) }));
    }
    String::from_utf8(text).map_err(|error| CliError::because("the question is no text", &error))
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
        args.params.iter().map(|(name, value)| (name.clone(), confined::param_json(value))).collect();
    let asked =
        json!({"sql": question, "params": params, "max_rows": args.max_rows, "timeout_ms": args.timeout * 1000});
    let at_least = args.at_least.map_or_else(String::new, |index| format!("?at_least={index}"));
    let path = format!("/v1/tenants/{}/sql{at_least}", segment(tenant.as_str()));
    let document = Client::new(globals).post(&path, "application/json", asked.to_string().as_bytes(), &[])?;
    Answer::of_document(&document).ok_or_else(|| CliError::could_not("the server's answer has no columns and rows"))
}

type Refused = AskError<std::convert::Infallible>;

fn of_file(file: &Path, args: &Args, question: &str) -> Result<Answer, Refused> {
    let params: BTreeMap<String, Param> = args.params.iter().cloned().collect();
    let (since, patience) = (clock::now(), Duration::from_secs(args.timeout));
    let limits = AnswerLimits { rows: args.max_rows, bytes: FILE_BYTES_MAX };
    let mut answer = Answer::default();
    ask_file(file, (question, params), limits, move || since.elapsed() < patience, &mut answer)?;
    Ok(answer)
}

/// Asks a file, in words or by the name of a saved question.
fn ask_file<S: Sink>(
    file: &Path,
    (question, params): (&str, BTreeMap<String, Param>),
    limits: AnswerLimits,
    go_on: impl FnMut() -> bool + Send + 'static,
    sink: &mut S,
) -> Result<(), AskError<S::Error>> {
    let now_ms = i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX);
    let question = saved::question(question, params, now_ms)?;
    ask::ask(file, &question, limits, go_on, sink).map(drop)
}

fn refused(error: &Refused) -> CliError {
    let line = CliError::could_not(print::clean(&error.to_string()));
    match error {
        AskError::Unknown(_) | AskError::Parameter(_) => {
            line.with_detail("upm sql --list tells what each finds, and its parameters")
        }
        AskError::Rows(_) => line.with_detail("--max-rows N allows more"),
        AskError::Stopped => line.with_detail(format!("--timeout SECONDS allows up to {TIMEOUT_S_MAX}")),
        AskError::Sql(_) => line.with_detail("see upm sql --schema"),
        _ => line,
    }
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
        assert_eq!(param("id=0042"), Ok(("id".into(), Param::Text("0042".into()))));
        assert_eq!(param("id:text=42"), Ok(("id".into(), Param::Text("42".into()))));
        assert_eq!(param("n:number=042"), Ok(("n".into(), Param::Integer(42))));
        for text in ["days", "=1", "a b=1", ":now=1", "n:number=x", "n:number=9223372036854775808", "n:date=1"] {
            assert!(param(text).is_err(), "{text}");
        }
        assert!(rows("0").is_err() && rows("1000001").is_err() && rows("5") == Ok(5));
    }
}

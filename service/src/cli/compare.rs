//! `upm compare`: the model's comparison template, all 18 columns. Our stack's row comes from the ledger, a platform's from its assessment.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use projector::maturity::compare::{self, NOT_MEASURED, Row};
use projector::maturity::rating;
use schemas::assessment::{self, Assessment, Exception, Says};
use schemas::ids::ChangeId;
use schemas::model::{self, OVERALL};
use serde_json::{Value, json};

use super::client::http::{Client, segment};
use super::client::print;
use super::{CliError, Globals};
use crate::bounded::{self, DOCUMENT_MAX};

/// Options of `upm compare`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm compare --tenant acme --markdown\n  upm compare --platforms --csv > platforms.csv\n  \
                  upm compare --platform \"IBM AskIAM (Saviynt)\" --json\n  upm compare --assessment ours.json\n  \
                  upm compare --tenant acme --change-set changes.txt"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// The row of a platform that the model rates, by name or id; may be given several times
    #[arg(long, value_name = "NAME")]
    platform: Vec<String>,
    /// The rows of all platforms that the model rates
    #[arg(long, conflicts_with = "platform")]
    platforms: bool,
    /// The row of an assessment file; may be given several times
    #[arg(long, value_name = "FILE")]
    assessment: Vec<PathBuf>,
    /// Our own row from these changes only: a file with an ID a line, or a JSON list of IDs
    #[arg(long, value_name = "FILE")]
    change_set: Option<PathBuf>,
    /// Our own row too, beside those of platforms and assessments
    #[arg(long)]
    with_own: bool,
    /// Print a Markdown table, as the model has it
    #[arg(long, conflicts_with = "csv")]
    markdown: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let mut files = Vec::new();
    for path in &args.assessment {
        files.push(read(path)?);
    }
    if args.platforms {
        files.extend(assessment::all().iter().map(|(_, file)| file.clone()));
    }
    for name in &args.platform {
        files.push(platform(name)?.clone());
    }
    let own = files.is_empty() || args.with_own || args.change_set.is_some();
    let mut rows = if own { vec![own_row(globals, args.change_set.as_deref())?] } else { Vec::new() };
    rows.extend(files.iter().map(Row::of));
    if globals.json {
        let mut shown: Vec<Value> = rows.iter().map(Row::json).collect();
        let from = shown.len() - files.len();
        for (row, file) in shown[from..].iter_mut().zip(&files) {
            row["assessment"] = basis(file);
        }
        print::json(&shown)?;
    } else if args.csv {
        print::raw(&csv(&rows, &files))?;
    } else if args.markdown {
        let table = format!("{}{}", compare::markdown(&rows), notes(&files, "\n- **", "**: "));
        print::raw(&print::clean_lines(&table))?;
        print::raw("\n")?;
    } else {
        print::line(&cards(&rows, &files))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn platform(name: &str) -> Result<&'static Assessment, CliError> {
    let found = model::get().platform(name).and_then(|platform| assessment::of(&platform.id));
    found.ok_or_else(|| {
        let known: Vec<_> =
            model::get().platforms.iter().map(|platform| format!("  {}  ({})", platform.name, platform.id)).collect();
        CliError::could_not(format!("there is no platform {name:?} in the model"))
            .with_detail(format!("there are:\n{}", known.join("\n")))
    })
}

fn read(path: &Path) -> Result<Assessment, CliError> {
    let what = || path.display().to_string();
    let text = bounded::text(path, DOCUMENT_MAX).map_err(|error| CliError::because(what(), &error))?;
    Assessment::parse(&text).map_err(|error| CliError::because(what(), &error))
}

/// Asks the server for the levels and figures, of all changes or of some.
fn own_row(globals: &Globals, change_set: Option<&Path>) -> Result<Row, CliError> {
    let tenant = globals.tenant_or_default()?;
    let path = format!("/v1/tenants/{}/maturity/row", segment(tenant.as_str()));
    let client = Client::new(globals);
    let mut answer = match change_set {
        None => client.get(&path)?,
        Some(file) => {
            let body = json!({ "changes": changes(file)? }).to_string();
            client.post(&path, "application/json", body.as_bytes(), &[])?
        }
    };
    // The server names paths: a table that is sent to somebody needs to say where.
    for link in answer["evidence"].as_array_mut().into_iter().flatten() {
        if let Some(path) = link.as_str().filter(|path| path.starts_with('/')) {
            *link = client.link(path).into();
        }
    }
    row(&answer).ok_or_else(|| CliError::could_not("the server's row can't be read"))
}

fn changes(file: &Path) -> Result<Vec<ChangeId>, CliError> {
    let what = || file.display().to_string();
    let text = bounded::text(file, DOCUMENT_MAX).map_err(|error| CliError::because(what(), &error))?;
    let words: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(|error| CliError::because(what(), &error))?
    } else {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    if words.is_empty() {
        return Err(CliError::could_not(format!("{}: found no change, expected one ID a line or a JSON list", what())));
    }
    let parse = |word: &String| {
        ChangeId::parse(word).map_err(|error| CliError::because(format!("{}: {word:?}", what()), &error))
    };
    words.iter().map(parse).collect()
}

fn row(answer: &Value) -> Option<Row> {
    let level = |value: &Value| value.as_u64().and_then(|level| u8::try_from(level).ok());
    let links = answer["evidence"].as_array()?;
    Some(Row {
        platform: answer["platform"].as_str()?.to_owned(),
        overall: level(&answer["overall"])?,
        phases: model::get().phases.iter().map(|phase| level(&answer[&phase.id])).collect::<Option<_>>()?,
        kpis: model::get().kpis.iter().map(|kpi| answer[&kpi.id].as_f64()).collect(),
        evidence: links.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        reason: answer["reason"].as_str().unwrap_or_default().to_owned(),
    })
}

/// How much of a rating is somebody's word.
fn basis(file: &Assessment) -> Value {
    let rating = rating::rate(file);
    json!({
        "presumed_to": file.presumed_to,
        "presumed": rating.presumed,
        "denied": said(file, Says::Denied),
        "supported": said(file, Says::Supported),
        "exports": file.exports,
        "exceptions": file.exceptions,
        "derived_reason": rating.reason,
    })
}

fn said(file: &Assessment, says: Says) -> Vec<&str> {
    file.clauses.iter().filter(|said| said.says == says).map(|said| said.clause.as_str()).collect()
}

/// The template's 18 columns; where there are assessments, how much of a row is somebody's word in two more.
fn csv(rows: &[Row], files: &[Assessment]) -> String {
    if files.is_empty() {
        return compare::csv(rows);
    }
    let own = rows.len() - files.len();
    let said = files.iter().map(|file| [rating::rate(file).presumed.join(" "), exceptions(file).join(" ")]);
    let none = std::iter::repeat_n([String::new(), String::new()], own);
    compare::csv_with(["Presumed clauses", "Exceptions"], rows.iter().zip(none.chain(said)))
}

/// What of the ratings is somebody's word, a paragraph for each that has any: by name what decides the overall level.
fn notes(files: &[Assessment], before: &str, behind: &str) -> String {
    let mut text = String::new();
    for file in files {
        let presumed = rating::rate(file).presumed;
        let of_scale =
            |id: &str| model::get().clause(id).is_some_and(|clause| clause.row == OVERALL && clause.level > 0);
        let (scale, others): (Vec<&str>, Vec<&str>) = presumed.into_iter().partition(|id| of_scale(id));
        let mut parts = exceptions(file);
        if !others.is_empty() {
            parts.insert(0, format!("{} more of floors and phases (--json names them)", others.len()));
        }
        if !scale.is_empty() {
            parts.insert(0, format!("presumed of the scale, the note is silent: {}", scale.join(", ")));
        }
        if !parts.is_empty() {
            let _ = write!(text, "{before}{}{behind}{}", file.platform, parts.join("; "));
        }
    }
    text
}

/// Where the model stands against its own note, in words.
fn exceptions(file: &Assessment) -> Vec<String> {
    let what = |exception: &Exception| exception.clause.clone().or_else(|| exception.gate.clone()).unwrap_or_default();
    let told = |exception: &Exception| {
        format!("exception {}: “{}” against “{}”. {}", what(exception), exception.note, exception.model, exception.why)
    };
    file.exceptions.iter().map(told).collect()
}

/// For a terminal, 18 columns are too wide: a block for one row, else the levels as a table.
fn cards(rows: &[Row], files: &[Assessment]) -> String {
    if let [row] = rows {
        let cells = compare::headers().into_iter().map(str::to_owned).zip(row.cells());
        let lines: Vec<_> = cells.map(|(header, cell)| vec![header, cell]).collect();
        let mut text = print::columns(&lines);
        if !row.reason.is_empty() {
            let _ = write!(text, "\nnot higher because: {}", row.reason);
        }
        if let [file] = files {
            text.push_str(&told(file));
        }
        return text;
    }
    let mut lines = vec![["platform", "overall", "phases", "kpis", "not higher because"].map(str::to_owned).to_vec()];
    for row in rows {
        let phases: Vec<_> = row.phases.iter().map(u8::to_string).collect();
        let measured = row.kpis.iter().flatten().count();
        let kpis = if measured == 0 { NOT_MEASURED.to_owned() } else { format!("{measured} of {}", row.kpis.len()) };
        lines.push(vec![row.platform.clone(), row.overall.to_string(), phases.join(" "), kpis, row.reason.clone()]);
    }
    let notes = print::clean_lines(&notes(files, "\n  ", ": "));
    let beside = if notes.is_empty() { String::new() } else { format!("\nnot of a note, but somebody's word:{notes}") };
    format!("{}{beside}\nall 18 columns: --markdown, --csv or --json", print::columns(&lines))
}

fn told(file: &Assessment) -> String {
    let mut text = String::new();
    let rating = rating::rate(file);
    let mut list = |name: &str, ids: &[&str]| {
        if !ids.is_empty() {
            let _ = write!(text, "\n{name}: {}", ids.join(", "));
        }
    };
    list("supported", &said(file, Says::Supported));
    list("denied", &said(file, Says::Denied));
    list("presumed, the note is silent", &rating.presumed);
    for exception in exceptions(file) {
        let _ = write!(text, "\n{exception}");
    }
    text
}

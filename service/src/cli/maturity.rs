//! `upm maturity`: which level, which cap, why not the next and what would satisfy it; by day; Atlas tokens; and attestations.

use std::fmt::Write as _;
use std::process::ExitCode;

use schemas::assessment;
use schemas::model::{self, TOP};
use serde_json::{Value, json};

use super::client::http::{Client, segment};
use super::client::print;
use super::{CliError, Globals};

mod attest;

/// Options of `upm maturity`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm maturity --tenant acme\n  upm maturity --tenant acme --clause scale.3.approvals\n  \
                  upm maturity --tenant acme --history --days 30\n  upm maturity --atlas Y/M",
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Say which level an Atlas token stands for, or which token a level has
    #[arg(long, value_name = "TOKEN|LEVEL", conflicts_with_all = ["history", "clause", "row"])]
    atlas: Option<String>,
    /// Show the level of each day
    #[arg(long, conflicts_with_all = ["clause", "row"])]
    history: bool,
    /// So many days of history
    #[arg(long, value_name = "N", default_value = "90", requires = "history", value_parser = clap::value_parser!(u32).range(1..=3660))]
    days: u32,
    /// Only this clause, with everything that was counted for it
    #[arg(long, value_name = "ID")]
    clause: Option<String>,
    /// Only the clauses of `overall` or of a phase
    #[arg(long, value_name = "ROW", conflicts_with = "clause")]
    row: Option<String>,
    /// Wait until this entry is in the views
    #[arg(long, value_name = "INDEX")]
    at_least: Option<u64>,
}

/// What else there is to do.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say, signed with your own SSH key, that a clause holds
    Attest(attest::Args),
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    if let Some(Action::Attest(args)) = &args.action {
        return attest::run(globals, args);
    }
    if let Some(word) = &args.atlas {
        return atlas(globals, word);
    }
    known("clause", args.clause.as_deref(), |id| model::get().clause(id).is_some(), &assessment::clause_ids())?;
    let rows: Vec<_> = model::get().rows().collect();
    known("row", args.row.as_deref(), |row| rows.contains(&row), &rows.join(", "))?;
    let tenant = globals.tenant_or_default()?;
    let client = Client::new(globals);
    let path = format!("/v1/tenants/{}/maturity", segment(tenant.as_str()));
    if args.history {
        let answer = client.get(&format!("{path}/history?days={}", args.days))?;
        if globals.json {
            print::json(&answer)?;
        } else {
            print::line(&days(&answer))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let at_least = args.at_least.map_or_else(String::new, |index| format!("?at_least={index}"));
    let mut answer = client.get(&format!("{path}{at_least}"))?;
    let of = |clause: &Value| {
        args.clause.as_deref().is_none_or(|id| clause["id"] == id)
            && args.row.as_deref().is_none_or(|row| clause["row"] == row)
    };
    let filtered = args.clause.is_some() || args.row.is_some();
    if filtered && let Some(clauses) = answer["clauses"].as_array_mut() {
        clauses.retain(of);
    }
    match (globals.json, filtered) {
        (true, _) => print::json(&answer)?,
        (false, true) => print::line(&clauses(&answer))?,
        (false, false) => print::line(&told(&answer))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn known(what: &str, word: Option<&str>, is_known: impl Fn(&str) -> bool, all: &str) -> Result<(), CliError> {
    match word {
        Some(word) if !is_known(word) => {
            Err(CliError::could_not(format!("there is no {what} {word:?}")).with_detail(format!("there are: {all}")))
        }
        _ => Ok(()),
    }
}

fn atlas(globals: &Globals, word: &str) -> Result<ExitCode, CliError> {
    let level = match word.parse::<u8>() {
        Ok(level) => Some(level).filter(|level| *level <= TOP),
        Err(_) => model::get().level_of_token(word),
    };
    let Some(level) = level else {
        return Err(CliError::could_not(format!("{word:?} is neither a level nor an Atlas token"))
            .with_detail(format!("found {word:?}, expected 0 to {TOP}, or one of {}", assessment::tokens())));
    };
    let (token, label) = (model::get().token_of_level(level), model::get().label(level));
    if globals.json {
        print::json(&json!({"token": token, "level": level, "label": label}))?;
    } else {
        print::line(&format!("{token} is level {level} ({label})"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn level(named: &Value) -> String {
    format!("{} {} ({})", named["level"], text(&named["label"]), text(&named["atlas"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

/// The answer for a person.
fn told(answer: &Value) -> String {
    let overall = &answer["overall"];
    let mut out = format!("measured level       {}\n", level(&overall["measured"]));
    let _ = writeln!(out, "with attestations    {}", level(&overall["with_attestations"]));
    let reason = text(&answer["reason"]);
    if !reason.is_empty() {
        let _ = writeln!(out, "not higher because   {reason}");
    }
    if answer["behind"].as_u64().is_some_and(|behind| behind > 0) {
        let _ = writeln!(out, "{} entries are not counted yet", answer["behind"]);
    }
    let mut rows = vec![["", "measured", "with attestations"].map(str::to_owned).to_vec()];
    for phase in list(answer, "phases") {
        rows.push(vec![text(&phase["row"]).to_owned(), level(&phase["measured"]), level(&phase["with_attestations"])]);
    }
    let _ = writeln!(out, "\n{}", print::columns(&rows));
    for gate in list(answer, "gates").filter(|gate| gate["open"] == false) {
        let _ = writeln!(out, "\ngate {} is shut: at most level {}", text(&gate["id"]), gate["cap"]);
        out.push_str(&needs(gate));
    }
    let next = overall["measured"]["level"].as_u64().map_or(1, |level| level + 1);
    let unmet = list(answer, "clauses").filter(|clause| {
        clause["row"] == "overall"
            && ["unmet", "attested"].contains(&text(&clause["standing"]))
            && clause["level"].as_u64() <= Some(next)
    });
    for clause in unmet {
        out.push_str(&one(clause));
    }
    for advice in model::get().guidance.iter().filter(|row| row.level.map(u64::from) == Some(next)) {
        let _ = writeln!(out, "\nthe model says: {}", advice.words);
    }
    out.trim_end().to_owned()
}

fn clauses(answer: &Value) -> String {
    list(answer, "clauses").map(one).collect::<String>().trim().to_owned()
}

fn one(clause: &Value) -> String {
    let standing = text(&clause["standing"]).replace('_', " ");
    let mut out =
        format!("\n{} “{}”, level {}: {standing}\n", text(&clause["id"]), text(&clause["words"]), clause["level"]);
    out.push_str(&needs(clause));
    if let Some(why) = clause["attest_only"].as_str() {
        let _ = writeln!(out, "  only an attestation shows it: {why}");
    }
    if let Some(said) = clause.get("attestation") {
        let (assessor, statement, until) = (text(&said["assessor"]), text(&said["statement"]), text(&said["expires"]));
        let _ = writeln!(out, "  {assessor} attests until {until} (entry {}): {statement}", said["index"]);
    }
    out
}

fn needs(of: &Value) -> String {
    let line = |need: &Value| {
        let mark = if need["met"] == true { "met  " } else { "needs" };
        format!("  {mark} {}: {}\n        found {}\n", text(&need["id"]), text(&need["asks"]), text(&need["found"]))
    };
    list(of, "needs").map(line).collect()
}

fn days(answer: &Value) -> String {
    let mut rows = vec![["day", "level", "with attestations", "cap"].map(str::to_owned).to_vec()];
    for day in list(answer, "days") {
        rows.push(vec![
            text(&day["day"]).to_owned(),
            day["level"].to_string(),
            day["with_attestations"].to_string(),
            day["cap"].as_str().unwrap_or("-").to_owned(),
        ]);
    }
    if rows.len() == 1 {
        return "nothing was recorded in these days".to_owned();
    }
    print::columns(&rows)
}

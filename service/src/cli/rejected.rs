//! `upm rejected`: what admission refused, why, and sending it once more.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pipeline::answer::Problem;
use serde_json::{Value, json};

use super::change::{rows, time};
use super::client::http::{Client, segment};
use super::client::print;
use super::emit::reason;
use super::{CliError, Globals};

/// Options of `upm rejected`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm rejected list --tenant acme\n  upm rejected show 17 --tenant acme\n  upm rejected show 17 --tenant acme --payload > event.json\n  upm rejected retry 17 --tenant acme"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List rejections, oldest first
    List {
        /// From this entry on
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
        /// At most so many [default: all]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Show one rejection, with the bytes as they are kept (masked)
    Show {
        /// Index of its entry
        index: u64,
        /// Only the bytes
        #[arg(long)]
        payload: bool,
    },
    /// Send the kept bytes once more, for instance after `upm tenant add` or with newer rules
    Retry {
        /// Index of its entry
        index: u64,
    },
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let client = Client::new(globals);
    let tenant = globals.tenant_or_default()?;
    let base = format!("/v1/tenants/{}/rejected", segment(tenant.as_str()));
    match args.action {
        Action::List { from, limit } => list(globals, &client, &base, tenant.as_str(), from, limit),
        Action::Show { index, payload } => show(globals, &client.get(&format!("{base}/{index}"))?, payload),
        Action::Retry { index } => {
            retry(globals, &client.post(&format!("{base}/{index}/retry"), "application/json", b"", &[422, 503])?, index)
        }
    }
}

fn list(
    globals: &Globals,
    client: &Client,
    base: &str,
    tenant: &str,
    mut from: Option<u64>,
    limit: Option<u64>,
) -> Result<ExitCode, CliError> {
    /// What the server gives at most at once.
    const PAGE: u64 = 500;
    let mut found = Vec::new();
    loop {
        let wanted = limit.map_or(PAGE, |limit| (limit - found.len() as u64).min(PAGE));
        let from_index = from.map_or_else(String::new, |index| format!("&from={index}"));
        let mut page = client.get(&format!("{base}?limit={wanted}{from_index}"))?;
        found.append(&mut rows(&mut page, "rejected"));
        from = page["next"].as_u64();
        if from.is_none() || limit.is_some_and(|limit| found.len() as u64 >= limit) {
            break;
        }
    }
    if globals.json {
        print::json(&json!({ "rejected": found, "next": from }))?;
    } else if found.is_empty() {
        print::line(&format!("nothing was rejected in tenant {tenant}"))?;
    } else {
        print::line(&table(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(found: &[Value]) -> String {
    let mut table = vec![["INDEX", "AT", "REASON", "PATH", "FOUND", "EXPECTED"].map(str::to_owned).to_vec()];
    let text = |row: &Value, name: &str, width| print::short(row[name].as_str().unwrap_or_default(), width);
    for row in found {
        table.push(vec![
            row["index"].to_string(),
            time(&row["at"]),
            text(row, "reason", 24),
            text(row, "path", 40),
            text(row, "found", 32),
            text(row, "expected", 48),
        ]);
    }
    print::columns(&table)
}

/// The bytes as they are kept.
fn payload_of(row: &Value) -> Vec<u8> {
    row["payload"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default()
}

fn show(globals: &Globals, row: &Value, payload: bool) -> Result<ExitCode, CliError> {
    let bytes = payload_of(row);
    if payload && !io::stdout().is_terminal() {
        return match io::stdout().lock().write_all(&bytes) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::because("can't write to standard output", &error))
            }
            _ => Ok(ExitCode::SUCCESS),
        };
    }
    let text = print::clean_lines(&String::from_utf8_lossy(&bytes));
    if payload {
        print::line(&text)?;
    } else if globals.json {
        print::json(row)?;
    } else {
        print::line(&told(row))?;
        print::line(&format!("\n{text}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(row: &Value) -> String {
    let lines = ["reason", "path", "found", "expected", "subject"];
    let mut table = vec![vec!["entry".to_owned(), row["index"].to_string()], vec!["at".to_owned(), time(&row["at"])]];
    for name in lines {
        if let Some(value) = row[name].as_str().filter(|value| !value.is_empty()) {
            table.push(vec![name.to_owned(), value.to_owned()]);
        }
    }
    table.push(vec!["kept".to_owned(), format!("{} bytes, {} masked places", row["size"], row["masked"])]);
    print::columns(&table)
}

fn retry(globals: &Globals, row: &Value, index: u64) -> Result<ExitCode, CliError> {
    if globals.json {
        print::json(row)?;
    }
    let now = row["index"].to_string();
    match row["status"].as_str() {
        Some(status @ ("accepted" | "duplicate")) => {
            if !globals.json {
                print::line(&format!("{status}: the event of rejection {index} is entry {now}"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Some("rejected") => {
            let problem = &row["problem"];
            let why = serde_json::from_value::<Problem>(problem.clone())
                .map_or_else(|_| "for no reason given".into(), |why| reason(&why));
            Err(CliError::no(format!("rejected again, as entry {now}: {why}")))
        }
        _ => {
            let said = row["problem"]["detail"]
                .as_str()
                .map_or_else(|| "the server's answer can't be read".to_owned(), print::clean);
            Err(CliError::could_not(said))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_told_and_nothing_in_it_steers_the_terminal() {
        let row = json!({"index": 7, "at": 0, "reason": "bad_id", "path": "/provisioning_event/id", "found": "\u{1b}[2J", "expected": "an id", "subject": "upm.events.acme.plan", "size": 3, "masked": 0, "payload": "G1tKaGk="});
        insta::assert_snapshot!(told(&row), @r"
        entry     7
        at        1970-01-01 00:00:00Z
        reason    bad_id
        path      /provisioning_event/id
        found     \u{1b}[2J
        expected  an id
        subject   upm.events.acme.plan
        kept      3 bytes, 0 masked places
        ");
        assert_eq!(print::clean_lines(&String::from_utf8_lossy(&payload_of(&row))), "\\u{1b}[Jhi");
        assert!(!table(&[row, json!(null)]).contains('\u{1b}'));
    }

    #[test]
    fn what_a_retry_says_decides_the_exit() {
        let globals = |json| Globals { tenants: Vec::new(), server: None, data: "x".into(), json };
        for (row, expect) in [
            (json!({"status": "accepted", "index": 9}), None),
            (
                json!({"status": "rejected", "index": 9, "problem": {"type": "t", "title": "t", "status": 422, "reason": "bad_id", "path": "/a", "found": "b", "expected": "c"}}),
                Some("rejected again, as entry 9: bad_id at /a: found b, expected c"),
            ),
            (json!({}), Some("the server's answer can't be read")),
        ] {
            assert_eq!(retry(&globals(false), &row, 3).err().map(|error| error.to_string()).as_deref(), expect);
        }
    }
}

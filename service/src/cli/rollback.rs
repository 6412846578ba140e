//! `upm rollback`: takes back what a change did, or proves that it could be. The order stands in the log; the workers carry it out, and what they
//! say of it is printed here.

use std::process::ExitCode;
use std::time::Duration;

use pipeline::work::own;
use serde_json::{Value, json};

use super::change::order::{self, Given, Kind};
use super::client::answered::{self, Event};
use super::client::print;
use super::{CliError, Globals, limits};

/// Options of `upm rollback`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is taken back is what the steps of the change really did, in reverse, by the commands of the plan that was approved. --dry-run proves that each of them parses,\n\
                  is allowed, exists and is of the pinned version; the proof stands in the log and in the evidence pack.\n\
                  Of what was never executed nothing is taken back, and nothing is recorded: upm change cancel.\n\n\
                  Examples:\n  upm rollback c-42 --dry-run\n  upm rollback c-42 --reason \"orders fail since\" --by olga\n  upm rollback c-42 --no-wait\n\n\
                  Exit codes: 0 taken back (--dry-run: it could be), 1 not, or not all of it, 2 could not find out."
)]
pub struct Args {
    #[command(flatten)]
    order: order::Args,
    /// Only prove that it could be taken back
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for what becomes of it
    #[arg(long)]
    no_wait: bool,
    /// How long to wait: 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = limits::time, default_value = "15m", conflicts_with = "no_wait")]
    wait: Duration,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &Args) -> Result<ExitCode, CliError> {
    let kind = if args.dry_run { Kind::RollbackDryRun } else { Kind::Rollback };
    if args.no_wait {
        return order::give(globals, kind, &args.order);
    }
    let given = order::record(globals, kind, &args.order)?;
    let read = |event: &Event| if args.dry_run { proof(event, &given) } else { end(event) };
    let (ok, rollback) = answered::wait(globals, &given.tenant, &args.order.change, given.index, args.wait, read)?;
    if globals.json {
        let change = &args.order.change;
        print::json(
            &json!({"tenant": given.tenant, "change": change, "order": given.index, "ok": ok, "rollback": rollback}),
        )?;
    } else {
        print::line(&told(&rollback))?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The answer to a dry run.
fn proof(event: &Event, given: &Given) -> Option<(bool, Value)> {
    (event.is_by(own::ROLLBACK) && event.said["answers"] == given.id.as_str()).then(|| {
        let rollback = event.said["rollback"].clone();
        (rollback["dry_run"]["ok"] == true, rollback)
    })
}

/// The end of a rollback, or why there is none.
fn end(event: &Event) -> Option<(bool, Value)> {
    if event.said["governance"]["closed"] == true {
        return Some((false, json!({"refused": "the change was closed, and nothing of it was taken back"})));
    }
    if !event.is_by(own::ROLLBACK) {
        return None;
    }
    let rollback = &event.said["rollback"];
    if let Some(outcome) = rollback["executed"]["outcome"].as_str() {
        return Some((!schemas::rules::is_failure(outcome), rollback.clone()));
    }
    rollback["refused"].is_string().then(|| (false, rollback.clone()))
}

fn told(rollback: &Value) -> String {
    let word = |value: &Value| print::clean(value.as_str().unwrap_or_default());
    let mut lines = Vec::new();
    let executed = &rollback["executed"];
    if let Some(outcome) = executed["outcome"].as_str() {
        lines.push(format!("{}: {}", print::clean(outcome).replace('_', " "), word(&executed["summary"])));
        lines.push(rows(&executed["steps"], |step| step["rc"] == 0));
    } else {
        if rollback["refused"].is_string() {
            lines.push(format!("not begun: {}", word(&rollback["refused"])));
        }
        let dry_run = &rollback["dry_run"];
        if dry_run.is_object() {
            if !rollback["refused"].is_string() {
                lines.push(word(&dry_run["summary"]));
            }
            lines.push(rows(&dry_run["steps"], |step| step["ok"] == true));
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

fn rows(steps: &Value, good: impl Fn(&Value) -> bool) -> String {
    let word = |value: &Value| print::clean(value.as_str().unwrap_or_default());
    let steps = steps.as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            let mark = if good(step) { "  ✓" } else { "  ✗" };
            let name = if step["step"].is_string() { word(&step["step"]) } else { word(&step["id"]) };
            vec![mark.to_owned(), name, word(&step["cmd"])]
        })
        .collect();
    print::columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_is_told_with_each_command() {
        let rollback = json!({"executed": {"outcome": "partial", "summary": "taken back: a/b; stands: a/c (exit code 1)",
            "steps": [{"id": "a/b", "cmd": "rmdir b", "rc": 0}, {"id": "a/c", "cmd": "rmdir c\u{1b}[2J", "rc": 1}]}});
        insta::assert_snapshot!(told(&rollback), @r"
        partial: taken back: a/b; stands: a/c (exit code 1)
          ✓  a/b  rmdir b
          ✗  a/c  rmdir c\u{1b}[2J
        ");
        let refused = json!({"refused": "no program", "dry_run": {"ok": false, "steps": [{"step": "a/b", "cmd": "rmdir b", "ok": false}]}});
        insta::assert_snapshot!(told(&refused), @r"
        not begun: no program
          ✗  a/b  rmdir b
        ");
    }

    #[test]
    fn an_end_is_an_outcome_or_a_refusal() {
        let event = |rollback: Value| Event {
            index: 7,
            said: json!({ "rollback": rollback }),
            producer: Some("rollback".to_owned()),
        };
        let ok = |rollback| end(&event(rollback)).map(|(ok, _)| ok);
        assert_eq!(ok(json!({"executed": {"steps": []}})), None);
        assert_eq!(ok(json!({"executed": {"outcome": "rolled_back"}})), Some(true));
        assert_eq!(ok(json!({"executed": {"outcome": "partial"}})), Some(false));
        assert_eq!(ok(json!({"refused": "why"})), Some(false));
        let forged =
            Event { producer: Some("mallory".to_owned()), ..event(json!({"executed": {"outcome": "rolled_back"}})) };
        assert_eq!(end(&forged), None);
    }
}

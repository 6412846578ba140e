//! `upm change`: what happened to a change, for a person or as the server's JSON.

use std::collections::BTreeMap;
use std::process::ExitCode;

use schemas::ids::{ChangeId, Environment};
use serde_json::{Value, json};

use super::client::http::{Client, segment};
use super::client::lookup::tenant_of;
use super::client::print::{self, Look};
use super::{CliError, Globals};

pub mod order;
mod story;
pub mod watch;

/// Options of `upm change`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm change list --tenant acme --state failed\n  upm change show c-42\n  upm change events c-42 --json\n  \
                  upm change watch c-42 --until verified\n  upm change pause c-42 --reason \"the pager rings\" --by olga\n  \
                  upm change resume c-42 --by olga\n  upm change cancel c-42 --reason \"another way was found\" --by olga"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List changes, newest first
    List(List),
    /// Show one change: its state, its timeline, approvals, anomalies
    Show(One),
    /// List the events of one change
    Events(One),
    /// Show a change as it happens
    Watch(watch::Args),
    /// Start nothing more of it until it is resumed
    #[command(after_help = "What runs ends; nothing else begins.\n\n\
                            Examples:\n  upm change pause c-42 --reason \"the pager rings\" --by olga\n\n\
                            Exit codes: 0 the order is on record, 1 refused, 2 could not find out.")]
    Pause(order::Args),
    /// Go on with one that was paused, or that paused itself
    #[command(
        after_help = "A gate that did not hold is asked again. With waves that are promoted by hand, this is what promotes.\n\n\
                            Examples:\n  upm change resume c-42 --by olga\n\n\
                            Exit codes: 0 the order is on record, 1 refused, 2 could not find out."
    )]
    Resume(order::Args),
    /// End what runs of it, and start nothing more; what was done stands
    #[command(after_help = "One of which nothing began is closed. What was done is taken back by upm rollback.\n\n\
                            Examples:\n  upm change cancel c-42 --reason \"another way was found\" --by olga\n\n\
                            Exit codes: 0 the order is on record, 1 refused, 2 could not find out.")]
    Cancel(order::Args),
    /// List the logs that its steps refer to by digest, and whether the ledger has them
    Logs(One),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only changes in this state, for instance verified or failed
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only those of this owner
    #[arg(long, value_name = "TEAM")]
    owner: Option<String>,
    /// Only those this one asked for
    #[arg(long, value_name = "NAME")]
    initiator: Option<String>,
    /// Only those in this environment
    #[arg(long = "env", visible_alias = "environment", value_name = "NAME")]
    environment: Option<Environment>,
    /// Only those of this class: standard, normal or emergency
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only those with a resource of this name
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    #[arg(long, value_name = "CODE", help = "Only those with this anomaly, for instance no_approval_recorded")]
    anomaly: Option<String>,
    /// Only those with events since then, by the log's time: RFC 3339, or milliseconds since 1970
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only those with events before then; with --from, with events in between
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only those with this text in ID, request, initiator or owner
    #[arg(short, long, value_name = "TEXT")]
    q: Option<String>,
    /// With --anomaly, those too of which every event says that it is a probe
    #[arg(long)]
    probes: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on behind this place of the list: what an earlier list named as `next`
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// Wait until this entry is in the views
    #[arg(long, value_name = "INDEX")]
    at_least: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The change
    #[arg(value_name = "ID")]
    change: ChangeId,
    /// Wait until this entry is in the views
    #[arg(long, value_name = "INDEX")]
    at_least: Option<u64>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let client = Client::new(globals);
    match args.action {
        Action::Watch(args) => return watch::run(globals, args),
        Action::Pause(args) => return order::give(globals, order::Kind::Pause, &args),
        Action::Resume(args) => return order::give(globals, order::Kind::Resume, &args),
        Action::Cancel(args) => return order::give(globals, order::Kind::Cancel, &args),
        Action::List(list) => list_changes(globals, &client, &list)?,
        Action::Show(one) => {
            let document = client.get(&path_of(globals, &client, &one, "", &[])?)?;
            if globals.json {
                print::json(&document)?;
            } else {
                print::line(&story::tell(&document, Look::of_stdout()))?;
                let logs = rows(&mut client.get(&path_of(globals, &client, &one, "/logs", &[])?)?, "logs");
                if !logs.is_empty() {
                    print::line(&format!("\nlogs kept by reference: {}; upm change logs lists them", counted(&logs)))?;
                }
            }
        }
        Action::Logs(one) => {
            let mut document = client.get(&path_of(globals, &client, &one, "/logs", &[])?)?;
            if globals.json {
                print::json(&document)?;
            } else {
                print::line(&log_table(&rows(&mut document, "logs")))?;
            }
        }
        Action::Events(one) => {
            let path = |from: Option<u64>| {
                let from = from.map(|index| ("from", index.to_string()));
                path_of(globals, &client, &one, "/events", from.as_slice())
            };
            let mut events = Vec::new();
            let mut from = None;
            loop {
                let mut page = client.get(&path(from)?)?;
                events.append(&mut rows(&mut page, "events"));
                from = page["next"].as_u64();
                if from.is_none() {
                    break;
                }
            }
            if globals.json { print::json(&json!({ "events": events }))? } else { print::line(&event_table(&events))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(
    globals: &Globals,
    client: &Client,
    one: &One,
    rest: &str,
    more: &[(&str, String)],
) -> Result<String, CliError> {
    let tenant = tenant_of(client, globals, &one.change)?;
    let mut query = more.to_vec();
    query.extend(one.at_least.map(|index| ("at_least", index.to_string())));
    let path = format!("/v1/tenants/{}/changes/{}{rest}", segment(tenant.as_str()), segment(one.change.as_str()));
    Ok(with_query(&path, &query))
}

fn with_query(path: &str, query: &[(&str, String)]) -> String {
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", segment(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// The rows under `name`, taken out.
pub(super) fn rows(page: &mut Value, name: &str) -> Vec<Value> {
    match page.get_mut(name).map(Value::take) {
        Some(Value::Array(rows)) => rows,
        _ => Vec::new(),
    }
}

fn list_changes(globals: &Globals, client: &Client, list: &List) -> Result<(), CliError> {
    /// What the server gives at most at once.
    const PAGE: u64 = 500;
    let tenant = globals.tenant_or_default()?;
    let filters = [
        ("state", list.state.clone()),
        ("owner", list.owner.clone()),
        ("class", list.class.clone()),
        ("resource", list.resource.clone()),
        ("anomaly", list.anomaly.clone()),
        ("initiator", list.initiator.clone()),
        ("env", list.environment.as_ref().map(|name| name.as_str().to_owned())),
        ("from", list.from.clone()),
        ("to", list.to.clone()),
        ("q", list.q.clone()),
        ("probes", list.probes.then(|| "true".to_owned())),
        ("at_least", list.at_least.map(|index| index.to_string())),
    ];
    let filters: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let mut listed = json!({ "changes": [] });
    let mut changes = Vec::new();
    let mut after = list.after.clone();
    loop {
        let wanted = list.limit - changes.len() as u64;
        let mut query = filters.clone();
        query.push(("limit", wanted.min(PAGE).to_string()));
        query.extend(after.take().map(|key| ("after", key)));
        let mut page = client.get(&with_query(&format!("/v1/tenants/{}/changes", segment(tenant.as_str())), &query))?;
        changes.append(&mut rows(&mut page, "changes"));
        after = page["next"].as_str().map(str::to_owned);
        if let Some(behind) = page.get_mut("detail_behind") {
            listed["detail_behind"] = behind.take();
        }
        if after.is_none() || changes.len() as u64 >= list.limit {
            break;
        }
    }
    if globals.json {
        listed["changes"] = changes.into();
        listed["more"] = after.is_some().into();
        if let Some(after) = after {
            listed["next"] = after.into();
        }
        return print::json(&listed);
    }
    print::line(&change_table(&changes, tenant.as_str()))?;
    if let Some(behind) = listed["detail_behind"].as_u64().filter(|behind| *behind > 0) {
        super::say(&format!("upm: resources and anomalies are {behind} entries behind"));
    }
    if let Some(after) = after {
        super::say(&format!("upm: there are more; --limit N shows more at once, --after {after} goes on"));
    }
    Ok(())
}

fn change_table(changes: &[Value], tenant: &str) -> String {
    if changes.is_empty() {
        return format!("no such changes in tenant {tenant}");
    }
    let mut table =
        vec![["CHANGE", "STATE", "LAST", "EVENTS", "ENV", "INITIATOR", "REQUEST"].map(str::to_owned).to_vec()];
    for row in changes {
        let state = match (word(row, "state"), word(row, "reached")) {
            ("closed", reached) if !reached.is_empty() && reached != "closed" => format!("closed ({reached})"),
            (state, _) => state.to_owned(),
        };
        table.push(vec![
            print::short(word(row, "change"), 48),
            state,
            time(&row["last"]["at"]),
            row["events"].to_string(),
            or_dash(word(row, "environment")),
            print::short(&or_dash(word(row, "initiator")), 24),
            print::short(word(row, "request"), 60),
        ]);
    }
    print::columns(&table)
}

fn event_table(events: &[Value]) -> String {
    let mut table = vec![["INDEX", "AT", "PHASE", "OUTCOME", "HAS", "BYTES", "EVENT"].map(str::to_owned).to_vec()];
    for row in events {
        let has: Vec<&str> = row["has"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        table.push(vec![
            row["index"].to_string(),
            time(&row["at"]),
            word(row, "phase").to_owned(),
            word(row, "outcome").to_owned(),
            or_dash(&has.join(",")),
            row["size"].to_string(),
            print::short(word(row, "id"), 48),
        ]);
    }
    print::columns(&table)
}

/// How many of the logs are where: `2 here, 1 missing`.
fn counted(logs: &[Value]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for log in logs {
        *counts.entry(word(log, "standing")).or_default() += 1;
    }
    counts.iter().map(|(standing, count)| format!("{count} {}", print::clean(standing))).collect::<Vec<_>>().join(", ")
}

fn log_table(logs: &[Value]) -> String {
    if logs.is_empty() {
        return "no step refers to a log by digest".to_owned();
    }
    let mut table =
        vec![["INDEX", "OF", "STEP", "STREAM", "BYTES", "STANDING", "SHA-256", "WHY"].map(str::to_owned).to_vec()];
    for row in logs {
        table.push(vec![
            row["index"].to_string(),
            word(row, "section").to_owned(),
            row["step"].to_string(),
            word(row, "stream").to_owned(),
            row["size"].to_string(),
            word(row, "standing").to_owned(),
            word(row, "sha256").to_owned(),
            print::short(word(row, "why"), 100),
        ]);
    }
    print::columns(&table)
}

fn word<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

fn list_of<'a>(row: &'a Value, name: &str) -> &'a [Value] {
    row[name].as_array().map_or(&[], Vec::as_slice)
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Milliseconds since 1970 as `2026-05-04 09:00:00Z`.
pub(super) fn time(ms: &Value) -> String {
    let at = ms.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A length of time in its two largest units.
fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (ms, expect) in [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (61_000, "1m01s"),
            (3_600_000, "1h00m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(span(ms), expect);
        }
    }

    #[test]
    fn a_document_of_another_shape_is_no_panic() {
        for document in
            [json!(null), json!({}), json!({"timeline": 1, "attempts": [null], "approvals": [1], "anomalies": [[]]})]
        {
            story::tell(&document, Look::plain());
            change_table(std::slice::from_ref(&document), "acme");
            log_table(std::slice::from_ref(&document));
            event_table(&[document]);
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(with_query("/x", &[("q", "a&b=c".into()), ("after", "k".into())]), "/x?q=a%26b%3Dc&after=k");
        assert_eq!(with_query("/x", &[]), "/x");
    }
}

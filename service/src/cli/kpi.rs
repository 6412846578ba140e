//! `upm kpi`: the model's ten KPIs over a window of days, with bands and how each went.

use std::fmt::Write as _;
use std::process::ExitCode;

use projector::kpi::metric::KPIS;
use schemas::ids::Environment;
use serde_json::Value;

use super::client::http::{Client, segment};
use super::client::print;
use super::{CliError, Globals};

/// Options of `upm kpi`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  upm kpi --tenant acme\n  upm kpi --last 365d --env production --csv\n  \
                  upm kpi evidence_completeness --from 2026-09-01 --to 2026-12-01 --json\n  upm kpi approval_coverage --changes all\n\n\
                  Days are UTC. docs/kpis.md defines each figure. What nothing measured is `not measured`, never 0 or 100 %.")]
pub struct Args {
    /// One of them, with its days and all changes that count against it (or behind it: --changes)
    #[arg(value_name = "KPI")]
    kpi: Option<String>,
    /// The first day of the window, for instance 2026-09-01
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The first day after it [default: tomorrow]
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// So many days up to today, instead of --from and --to [default: 90d]
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["from", "to"])]
    last: Option<String>,
    /// Only changes of this owner
    #[arg(long, value_name = "TEAM")]
    owner: Option<String>,
    /// Only those in this environment
    #[arg(long = "env", visible_alias = "environment", value_name = "NAME")]
    environment: Option<Environment>,
    /// Only those of this class: standard, normal or emergency
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Which changes behind the KPI to list
    #[arg(long, value_name = "SIDE", default_value = "against", value_parser = ["against", "for", "all"], requires = "kpi")]
    changes: String,
    /// Print comma-separated values
    #[arg(long)]
    csv: bool,
    /// Wait until this entry is in the views
    #[arg(long, value_name = "INDEX")]
    at_least: Option<u64>,
}

/// Changes that one page holds, at most.
const PAGE: &str = "500";

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    if let Some(kpi) = args.kpi.as_deref().filter(|kpi| !KPIS.contains(kpi)) {
        return Err(CliError::could_not(format!("there is no KPI {kpi:?}"))
            .with_detail(format!("there are: {}", KPIS.join(", "))));
    }
    let client = Client::new(globals);
    let tenant = globals.tenant_or_default()?;
    let path = format!("/v1/tenants/{}/kpis", segment(tenant.as_str()));
    let mut query = vec![
        ("from", args.from),
        ("to", args.to),
        ("last", args.last),
        ("owner", args.owner),
        ("env", args.environment.map(|name| name.as_str().to_owned())),
        ("class", args.class),
        ("at_least", args.at_least.map(|index| index.to_string())),
    ];
    let mut answer = if let Some(kpi) = &args.kpi {
        query.push(("changes", Some(args.changes)));
        whole(&client, &format!("{path}/{}", segment(kpi)), &query)?
    } else {
        query.push(("trend", Some("true".to_owned())));
        client.get(&with_query(&path, &query))?
    };
    link(&client, &mut answer);
    match (globals.json, args.csv) {
        (true, _) => print::json(&answer)?,
        (false, true) => print::raw(&csv(&answer))?,
        (false, false) => print::line(&report(&answer))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The server names paths; a permalink that is sent to somebody says where.
fn link(client: &Client, answer: &mut Value) {
    let figures: Vec<&mut Value> = match answer.get_mut("kpis") {
        Some(Value::Array(figures)) => figures.iter_mut().collect(),
        _ => Vec::from_iter(answer.get_mut("kpi")),
    };
    let absolute = |link: &mut Value| {
        if let Some(path) = link.as_str().filter(|path| path.starts_with('/')) {
            *link = client.link(path).into();
        }
    };
    for figure in figures {
        if let Some(link) = figure.get_mut("changes_href") {
            absolute(link);
        }
        for list in ["missed", "changes"] {
            let rows = figure.get_mut(list).and_then(Value::as_array_mut);
            rows.into_iter().flatten().filter_map(|row| row.get_mut("href")).for_each(absolute);
        }
    }
}

/// One KPI with all pages of its changes.
fn whole(client: &Client, path: &str, query: &[(&str, Option<String>)]) -> Result<Value, CliError> {
    let page = |after: Option<String>| {
        let mut query = query.to_vec();
        query.extend([("limit", Some(PAGE.to_owned())), ("after", after)]);
        client.get(&with_query(path, &query))
    };
    let mut answer = page(None)?;
    while let Some(after) = answer["next"].as_str().map(str::to_owned) {
        let mut more = page(Some(after))?;
        let next = more["next"].take();
        for list in ["missed", "changes"] {
            let rows = more["kpi"].get_mut(list).and_then(Value::as_array_mut);
            if let (Some(all), Some(rows)) = (answer["kpi"].get_mut(list).and_then(Value::as_array_mut), rows) {
                all.append(rows);
            }
        }
        answer["next"] = next;
    }
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("next");
    }
    Ok(answer)
}

fn with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let given = query.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))));
    let pairs: Vec<String> = given.collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

fn figures(answer: &Value) -> Vec<&Value> {
    match answer["kpis"].as_array() {
        Some(kpis) => kpis.iter().collect(),
        None => vec![&answer["kpi"]],
    }
}

fn report(answer: &Value) -> String {
    let mut out = format!("{}\n\n", head(answer));
    let mut table = vec![["KPI", "VALUE", "BAND", "L3", "L4", "COUNT", "TREND"].map(str::to_owned).to_vec()];
    for figure in figures(answer) {
        table.push(row(answer, figure));
    }
    out.push_str(&print::columns(&table));
    for figure in figures(answer) {
        let _ = write!(out, "{}", beside(figure, answer["kpi"].is_object()));
    }
    if answer["measured"] == false {
        match (text(&answer["days_with_data"], "from"), text(&answer["days_with_data"], "to")) {
            ("", _) => out.push_str("\n\nNothing is measured yet: no change of this tenant has come so far."),
            (from, to) => {
                let _ = write!(
                    out,
                    "\n\nNothing was measured in this window. There is something from {from} to before {to}."
                );
            }
        }
    }
    let behind = answer["as_of"]["behind"].as_u64().unwrap_or(0);
    if behind > 0 {
        let _ = write!(out, "\n\n{behind} entries are not counted yet.");
    }
    out
}

fn head(answer: &Value) -> String {
    let window = &answer["window"];
    let days = window["days"].as_u64().unwrap_or(0);
    let plural = if days == 1 { "" } else { "s" };
    let mut head = format!(
        "{}, {days} UTC day{plural} from {} to before {}",
        print::clean(text(answer, "tenant")),
        text(window, "from"),
        text(window, "to")
    );
    for (name, value) in answer["filter"].as_object().into_iter().flatten() {
        let _ = write!(head, ", {name} {}", print::short(value.as_str().unwrap_or_default(), 48));
    }
    let settings = &answer["settings"];
    let hours = |name: &str| settings[name].as_u64().map_or_else(|| "?".to_owned(), |hours| hours.to_string());
    let (ended, emergency) = (hours("ended_after_h"), hours("emergency_within_h"));
    let _ = write!(
        head,
        "\na change has ended {ended} h after its last execution; an emergency has to be approved within {emergency} h"
    );
    head
}

fn row(answer: &Value, figure: &Value) -> Vec<String> {
    let (unit, mark) = match text(figure, "unit") {
        "percent" => (" %", "≥ "),
        "minutes" => (" min", "≤ "),
        _ => (" ms", "≤ "),
    };
    let value = figure["value"].as_f64().map_or("not measured".to_owned(), |value| format!("{value}{unit}"));
    let band = match text(figure, "band") {
        "" => "–",
        band => band,
    };
    let count = match text(figure, "unit") {
        "percent" => format!("{} of {}", figure["numerator"], figure["denominator"]),
        _ => figure["denominator"].to_string(),
    };
    let bound = |name: &str| format!("{mark}{}{unit}", figure[name]);
    let trend = sparkline(&days(answer, text(figure, "kpi")), text(figure, "unit") == "percent");
    vec![text(figure, "name").to_owned(), value, band.to_owned(), bound("l3"), bound("l4"), count, trend]
}

/// What stands beside a figure, one line each; the changes that count against it, a few of them or all.
fn beside(figure: &Value, all: bool) -> String {
    let mut out = String::new();
    let apart = figure["apart"].as_object().into_iter().flatten();
    let apart: Vec<String> = apart
        .filter_map(|(name, number)| Some((name, number.as_f64()?)))
        .filter(|(_, number)| *number > 0.0)
        .map(|(name, number)| format!("{} {number}", name.replace('_', " ")))
        .collect();
    let list = if figure["changes"].is_array() { "changes" } else { "missed" };
    let missed = figure[list].as_array().map(Vec::as_slice).unwrap_or_default();
    if apart.is_empty() && missed.is_empty() {
        return out;
    }
    let _ = write!(out, "\n\n{}", text(figure, "name"));
    if !apart.is_empty() {
        let _ = write!(out, ": {}", apart.join(", "));
    }
    for one in missed {
        let resource = if one["resource"].is_null() { String::new() } else { format!("  {}", one["resource"]) };
        let (day, side) = (text(one, "day"), text(one, "counts"));
        let side = if side.is_empty() { String::new() } else { format!("  {side}") };
        let _ = write!(out, "\n  {}  {day}{side}{}", print::short(text(one, "change"), 64), print::clean(&resource));
    }
    if !all && missed.len() == 5 {
        let _ = write!(out, "\n  … all: upm kpi {}", text(figure, "kpi"));
    }
    out
}

/// The values of a KPI by day.
fn days(answer: &Value, kpi: &str) -> Vec<Option<f64>> {
    let trend = answer["trend"].as_array().map(Vec::as_slice).unwrap_or_default();
    let value = |day: &Value| day["values"][kpi].as_f64().or_else(|| day["value"].as_f64());
    trend.iter().map(value).collect()
}

/// At most 30 bars, each the mean of its days; days without a value are blank. Percentages stand between 0 and 100, the others between 0 and the
/// highest.
fn sparkline(values: &[Option<f64>], percent: bool) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const WIDTH: usize = 30;
    let top = if percent { 100.0 } else { values.iter().flatten().copied().fold(0.0, f64::max) };
    let bar = |part: &[Option<f64>]| {
        let known: Vec<f64> = part.iter().flatten().copied().collect();
        if known.is_empty() {
            return ' ';
        }
        #[expect(clippy::cast_precision_loss, reason = "a few days")]
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
        let step = if top > 0.0 { (mean / top * 7.0).round().clamp(0.0, 7.0) as usize } else { 0 };
        BARS[step]
    };
    let width = values.len().div_ceil(WIDTH).max(1);
    values.chunks(width).map(bar).collect::<String>().trim_end().to_owned()
}

/// One row a KPI: what a spreadsheet or the comparison wants.
fn csv(answer: &Value) -> String {
    let mut out = String::from("kpi,value,unit,band,numerator,denominator,l3,l4,from,to\n");
    let window = &answer["window"];
    for figure in figures(answer) {
        let value = figure["value"].as_f64().map_or("not measured".to_owned(), |value| value.to_string());
        let _ = writeln!(
            out,
            "{},{value},{},{},{},{},{},{},{},{}",
            text(figure, "kpi"),
            text(figure, "unit"),
            text(figure, "band"),
            figure["numerator"],
            figure["denominator"],
            figure["l3"],
            figure["l4"],
            text(window, "from"),
            text(window, "to")
        );
    }
    out
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines_are_short_and_leave_blanks() {
        assert_eq!(sparkline(&[], true), "");
        assert_eq!(sparkline(&[Some(0.0), None, Some(50.0), Some(100.0)], true), "▁ ▅█");
        assert_eq!(sparkline(&[Some(0.0), Some(0.0)], false), "▁▁");
        assert_eq!(sparkline(&[Some(5.0), Some(10.0)], false), "▅█");
        assert_eq!(sparkline(&vec![Some(100.0); 365], true).chars().count(), 29);
    }
}

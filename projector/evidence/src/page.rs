//! `index.html` and `VERIFY.md`: what happened, for a person.
//!
//! A pure function of the change document and the stored payloads; report version 1 ([`crate::document::REPORT_VERSION`]) freezes
//! its bytes. The template escapes everything, links only to files whose names the pack chose itself, and runs no script; the whole page is
//! written through [`VisibleLines`], so that nothing unseen gets into it, and a value has no line feed either.
//! Leaves out judging: state, attempts and anomalies are the fold's.

use askama::Template;
use ledger::hash::Hash;
use projector::approval::Graded;
use projector::document::ChangeDocument;
use schemas::admit::Outcome;

use crate::chain::Opened;
use crate::json::Node;
use crate::parts::number;
use crate::report::counted;
use crate::text::{VisibleLines, visible};

/// `VERIFY.md`. The same in every pack: it holds nothing of an event, so that its commands can be pasted.
pub(crate) const GUIDE: &str = include_str!("../templates/VERIFY.md");

/// Renders `index.html`.
pub(crate) fn render(
    origin: &str,
    size: u64,
    root: &Hash,
    document: &ChangeDocument,
    entries: &[Opened<'_>],
) -> Result<String, askama::Error> {
    let events: Vec<Event<'_>> = entries
        .iter()
        .map(|entry| Event { index: entry.index, node: Node::parse(entry.payload).get("provisioning_event"), entry })
        .collect();
    let page = Page {
        origin,
        size,
        root: root.to_string(),
        summary: summary(document),
        moments: moments(document, entries),
        plans: plans(&events),
        required: required(&events),
        sections: vec![
            preflight(&events),
            steps(&events),
            checks(&events),
            drift(&events),
            rollback(&events),
            trace(&events),
        ],
        approvals: document.approvals.iter().map(approval).collect(),
        document,
    };
    let mut out = VisibleLines::default();
    page.render_into(&mut out)?;
    Ok(out.0)
}

#[derive(Template)]
#[template(path = "index.html")]
struct Page<'a> {
    origin: &'a str,
    size: u64,
    root: String,
    document: &'a ChangeDocument,
    summary: Vec<(&'static str, String)>,
    moments: Vec<Moment>,
    plans: Vec<Plan>,
    required: Vec<(u64, String)>,
    approvals: Vec<Approval>,
    sections: Vec<Section>,
}

struct Event<'a> {
    index: u64,
    node: Node<'a>,
    entry: &'a Opened<'a>,
}

struct Moment {
    index: u64,
    n: String,
    file: String,
    seq: u64,
    at: String,
    phase: &'static str,
    text: String,
    outcome: &'static str,
    bad: bool,
    id: String,
    commit: String,
    masked: u32,
}

struct Plan {
    index: u64,
    n: String,
    digest: String,
    resources: Vec<String>,
    commands: Vec<String>,
    /// Whether there is a plan before it in this change.
    compared: bool,
    added: Vec<String>,
    removed: Vec<String>,
}

struct Approval {
    index: u64,
    approver: String,
    role: String,
    decision: String,
    at: String,
    plan: String,
}

struct Section {
    title: &'static str,
    /// What to say when nothing is on record.
    none: &'static str,
    rows: Vec<Row>,
}

#[derive(Default)]
struct Row {
    index: u64,
    what: String,
    result: String,
    bad: bool,
    detail: String,
    links: Vec<(&'static str, String)>,
}

fn summary(document: &ChangeDocument) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "not stated".to_owned(), visible);
    vec![
        ("Request", text(&document.request)),
        ("Initiator", text(&document.initiator)),
        ("Through", text(&document.source)),
        ("Owner", text(&document.owner)),
        ("Environment", text(&document.environment.as_ref().map(ToString::to_string))),
        ("Class", text(&document.class.as_ref().map(ToString::to_string))),
        ("Visibility", document.visibility.as_str().to_owned()),
    ]
}

fn moments(document: &ChangeDocument, entries: &[Opened<'_>]) -> Vec<Moment> {
    let moment = |entry: &Opened<'_>| {
        let header = &entry.header;
        let told = document.timeline.iter().find(|moment| moment.index == entry.index);
        let n = number(entry.index);
        Moment {
            index: entry.index,
            file: format!("{n}-{}", header.phase.as_str()),
            n,
            seq: header.seq,
            at: time(header.at),
            phase: header.phase.as_str(),
            text: told.map(|moment| visible(&moment.text)).unwrap_or_default(),
            outcome: header.outcome.as_str(),
            bad: !matches!(header.outcome, Outcome::Passed | Outcome::None | Outcome::RolledBack),
            id: header.id.to_string(),
            commit: header.commit.to_string(),
            masked: header.masked,
        }
    };
    entries.iter().map(moment).collect()
}

fn plans(events: &[Event<'_>]) -> Vec<Plan> {
    let mut out: Vec<Plan> = Vec::new();
    let mut before: Vec<String> = Vec::new();
    for event in events {
        let plan = event.node.get("plan");
        if !plan.exists() {
            continue;
        }
        let commands = plan.get("commands").texts();
        // Compared as they are: two commands may look the same once shown.
        let only = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).map(|c| visible(c)).collect();
        out.push(Plan {
            index: event.index,
            n: number(event.index),
            digest: schemas::plan::digest(event.entry.payload).unwrap_or_else(|| "none".to_owned()),
            resources: event
                .node
                .at(&["target", "resources"])
                .list()
                .iter()
                .map(|r| visible(&r.describe(&[])))
                .collect(),
            compared: !out.is_empty(),
            added: only(&commands, &before),
            removed: only(&before, &commands),
            commands: commands.iter().map(|command| visible(command)).collect(),
        });
        before = commands;
    }
    out
}

fn required(events: &[Event<'_>]) -> Vec<(u64, String)> {
    let of = |event: &Event<'_>| {
        let index = event.index;
        event
            .node
            .at(&["plan", "approvals"])
            .texts()
            .into_iter()
            .map(move |name| (index, visible(&name)))
            .collect::<Vec<_>>()
    };
    events.iter().flat_map(of).collect()
}

fn approval(given: &Graded) -> Approval {
    let text = |value: &Option<String>| value.as_deref().map(visible).unwrap_or_default();
    Approval {
        index: given.index,
        approver: visible(&given.approver),
        role: text(&given.role),
        decision: text(&given.decision),
        at: text(&given.at),
        plan: given.plan_digest.as_deref().map_or_else(|| "not stated".to_owned(), visible),
    }
}

fn preflight(events: &[Event<'_>]) -> Section {
    let rows = rows(events, |event, out| {
        for (kind, list) in [("check", "checks"), ("policy", "policies")] {
            for item in event.node.at(&["preflight", list]).list() {
                out.push(judged(event.index, kind, item));
            }
        }
    });
    Section { title: "Checks before", none: "No check or policy before execution is on record.", rows }
}

fn steps(events: &[Event<'_>]) -> Section {
    let rows = rows(events, |event, out| {
        for (n, step) in event.node.at(&["execution", "steps"]).list().into_iter().enumerate() {
            let (code, reference) = (step.get("rc"), step.get("stdout_ref").text());
            let mut links = Vec::new();
            for stream in ["stdout", "stderr"] {
                if step.get(stream).is_text() {
                    links.push((stream, format!("logs/{}-step-{:03}-{stream}.txt", number(event.index), n + 1)));
                }
            }
            out.push(Row {
                index: event.index,
                what: step.get("cmd").text(),
                result: if code.exists() { format!("exit code {}", code.text()) } else { "no exit code".to_owned() },
                bad: code.exists() && code.text() != "0",
                detail: if reference.is_empty() { String::new() } else { format!("output kept at {reference}") },
                links,
            });
        }
    });
    Section { title: "Steps executed", none: "No executed step is on record.", rows }
}

fn checks(events: &[Event<'_>]) -> Section {
    let rows = rows(events, |event, out| {
        for (kind, list) in [("check", "checks"), ("service level", "slo")] {
            for item in event.node.at(&["verification", list]).list() {
                out.push(judged(event.index, kind, item));
            }
        }
    });
    Section { title: "Checks after", none: "No check after execution is on record.", rows }
}

fn drift(events: &[Event<'_>]) -> Section {
    let rows = rows(events, |event, out| {
        let drift = event.node.at(&["verification", "drift"]);
        if drift.exists() {
            let diff = drift.get("diff").list();
            out.push(Row {
                index: event.index,
                what: drift.describe(&["diff"]),
                result: if diff.is_empty() {
                    "no difference listed".into()
                } else {
                    counted(diff.len(), "difference", "differences")
                },
                bad: !diff.is_empty(),
                detail: diff.iter().map(|item| item.describe(&[])).collect::<Vec<_>>().join("; "),
                links: Vec::new(),
            });
        }
    });
    Section { title: "Drift", none: "No comparison with a baseline is on record.", rows }
}

fn rollback(events: &[Event<'_>]) -> Section {
    let rows = rows(events, |event, out| {
        let rollback = event.node.get("rollback");
        let row =
            |what: &str, result: String| Row { index: event.index, what: what.to_owned(), result, ..Row::default() };
        for command in rollback.get("plan").texts() {
            out.push(row(&command, "planned".to_owned()));
        }
        let executed = rollback.get("executed");
        if executed.exists() {
            let outcome = executed.get("outcome").text();
            let bad = event.entry.header.outcome == Outcome::RollbackFailed;
            out.push(Row { bad, ..row("rollback executed", outcome) });
            for step in executed.get("steps").list() {
                let code = step.get("rc").text();
                let bad = !code.is_empty() && code != "0";
                out.push(Row { bad, ..row(&step.describe(&["rc"]), format!("exit code {code}")) });
            }
        }
    });
    Section { title: "Rollback", none: "No rollback, planned or executed, is on record.", rows }
}

fn trace(events: &[Event<'_>]) -> Section {
    let rows = rows(events, |event, out| {
        for item in event.node.get("audit_trace").list() {
            let (what, result) = (item.get("msg").text(), item.get("ts").text());
            out.push(Row { index: event.index, what, result, detail: item.describe(&["msg", "ts"]), ..Row::default() });
        }
    });
    Section { title: "Trace, as sent", none: "No trace is on record.", rows }
}

fn rows(events: &[Event<'_>], mut of: impl FnMut(&Event<'_>, &mut Vec<Row>)) -> Vec<Row> {
    let mut out = Vec::new();
    for event in events {
        of(event, &mut out);
    }
    for row in &mut out {
        for text in [&mut row.what, &mut row.result, &mut row.detail] {
            *text = visible(text);
        }
    }
    out
}

/// A row for something with a verdict in `ok`, `result`, `decision` or `outcome`.
fn judged(index: u64, kind: &str, item: Node<'_>) -> Row {
    let ok = item.get("ok").text();
    let word =
        ["result", "decision", "outcome", "status"].map(|key| item.get(key).text()).into_iter().find(|w| !w.is_empty());
    let result = match ok.as_str() {
        "true" => "ok".to_owned(),
        "false" => "failed".to_owned(),
        _ => word.unwrap_or_else(|| "no result".to_owned()),
    };
    let name = ["type", "name", "id"].map(|key| item.get(key).text()).into_iter().find(|w| !w.is_empty());
    let what = name.map_or_else(|| kind.to_owned(), |name| format!("{kind} {name}"));
    let bad = ok == "false" || matches!(result.as_str(), "deny" | "denied" | "fail" | "failed" | "refused");
    let detail = item.describe(&["type", "name", "id", "ok", "result", "decision", "outcome", "status"]);
    Row { index, what, result, bad, detail, links: Vec::new() }
}

/// Milliseconds since 1970 as `2025-10-09 12:00:00 UTC`; the number itself beyond the calendar's range.
fn time(ms: u64) -> String {
    let timestamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| format!("{ms} ms"), |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

//! What was checked, run, verified, found drifted and rolled back, as rows: each section lists what the events say, in the order of the log.

use schemas::admit::Outcome;

use super::Links;
use super::shown::{Cut, ITEMS_MAX, cut};
use crate::json::Node;
use crate::kept;
use crate::parts::number;
use crate::report::counted;
use crate::told::Event;

/// Differences that a drift's row lists.
const DIFFERENCES_MAX: usize = 50;

pub(super) struct Section {
    /// Name of its place on the page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What it lists, in a sentence.
    pub(super) about: &'static str,
    /// What to say when nothing is on record.
    pub(super) none: &'static str,
    pub(super) rows: Cut<Row>,
}

#[derive(Default)]
pub(super) struct Row {
    pub(super) index: u64,
    pub(super) what: String,
    pub(super) result: String,
    pub(super) bad: bool,
    pub(super) detail: String,
    pub(super) links: Vec<(&'static str, String)>,
}

/// Adds to a section what one event says.
type Of = fn(&Event<'_>, &mut Rows);

/// The sections, collected one event after the other.
pub(super) struct Sections(Vec<(Section, Of, Rows)>);

impl Default for Sections {
    fn default() -> Self {
        Self(empty().into_iter().map(|(section, of)| (section, of, Rows::default())).collect())
    }
}

impl Sections {
    /// Takes the change's next event.
    pub(super) fn add(&mut self, event: &Event<'_>) {
        for (_, of, rows) in &mut self.0 {
            of(event, rows);
        }
    }

    /// With links to what is there.
    pub(super) fn finish(self, links: &Links<'_>) -> Vec<Section> {
        let finish = |(section, _, Rows { mut items, count }): (Section, Of, Rows)| {
            for row in &mut items {
                let (here, gone): (Vec<_>, Vec<_>) = row.links.drain(..).partition(|(_, file)| links.has(file));
                row.links = here;
                for (stream, _) in gone.iter().filter(|(_, file)| kept::is_object(file)) {
                    row.detail = format!("{stream}: not in this pack; {}", row.detail);
                }
            }
            let more = count - items.len();
            Section { rows: Cut { items, more }, ..section }
        };
        self.0.into_iter().map(finish).collect()
    }
}

/// Rows under construction: as many as are shown, and the number of all.
#[derive(Default)]
struct Rows {
    items: Vec<Row>,
    count: usize,
}

impl Rows {
    fn add(&mut self, make: impl FnOnce() -> Row) {
        self.count += 1;
        if self.items.len() < ITEMS_MAX {
            let Row { index, what, result, bad, detail, links } = make();
            let (what, result, detail) = (cut(&what), cut(&result), cut(&detail));
            self.items.push(Row { index, what, result, bad, detail, links });
        }
    }
}

fn empty() -> Vec<(Section, Of)> {
    let section = |id, title, about, none, of: Of| {
        (Section { id, title, about, none, rows: Cut { items: Vec::new(), more: 0 } }, of)
    };
    vec![
        section(
            "before",
            "Checked before",
            "Checks and policies before anything was run.",
            "No check or policy before execution is on record.",
            before,
        ),
        section(
            "run",
            "What was run",
            "Each step with its result, by the word of the program that ran it.",
            "No executed step is on record.",
            run,
        ),
        section(
            "verified",
            "What was verified",
            "Checks, health checks and service levels after execution.",
            "No check after execution is on record.",
            verified,
        ),
        section(
            "drifted",
            "What drifted",
            "Comparisons of what is with what should be.",
            "No comparison with a baseline is on record.",
            drifted,
        ),
        section(
            "rolled-back",
            "What was rolled back",
            "Plans for the way back, dry runs of them, and rollbacks that were executed.",
            "No rollback, planned or executed, is on record.",
            rolled_back,
        ),
        section(
            "trace",
            "The producer's own trace",
            "As sent; the times are the producer's.",
            "No trace is on record.",
            trace,
        ),
    ]
}

fn before(event: &Event<'_>, out: &mut Rows) {
    let preflight = event.get("preflight");
    for (kind, list) in [("check", "checks"), ("policy", "policies")] {
        for item in preflight.get(list).list() {
            out.add(|| judged(event.index(), kind, item));
        }
    }
    for (what, member) in [("risk", "risk"), ("cost", "cost"), ("quota", "quota")] {
        let said = preflight.get(member);
        if said.exists() {
            out.add(|| Row { result: "stated".to_owned(), detail: said.describe(&[]), ..row(event, what) });
        }
    }
}

fn run(event: &Event<'_>, out: &mut Rows) {
    let execution = event.get("execution");
    let circumstances = execution.describe(&["steps"]);
    if !circumstances.is_empty() {
        out.add(|| Row { result: "stated".to_owned(), detail: circumstances, ..row(event, "by whom and how") });
    }
    steps(event, "logs", execution, out);
}

/// The steps of an execution or an executed rollback, each with links to what it printed.
fn steps(event: &Event<'_>, folder: &str, section: Node<'_>, out: &mut Rows) {
    for (place, step) in (1..).zip(section.get("steps").list()) {
        out.add(|| run_step(event, folder, place, step));
    }
}

fn run_step(event: &Event<'_>, folder: &str, place: usize, step: Node<'_>) -> Row {
    let (command, code) = (step.get("cmd").text(), step.get("rc").text());
    let argv = step.get("argv").texts().join(" ");
    let printed = |stream: &'static str| {
        let file = format!("{folder}/{}-step-{place:03}-{stream}.txt", number(event.index()));
        step.get(stream).is_text().then_some((stream, file))
    };
    let full = |stream, named| kept::reference(step, stream).map(|at| (named, kept::object_name(&at.hex())));
    Row {
        what: format!("step {place}: {}", if command.is_empty() { argv } else { command }),
        result: if code.is_empty() { "no exit code".to_owned() } else { format!("exit code {code}") },
        bad: !code.is_empty() && code.parse::<f64>() != Ok(0.0),
        detail: step.describe(&["cmd", "argv", "rc", "stdout", "stderr"]),
        links: [printed("stdout"), printed("stderr"), full("stdout", "full stdout"), full("stderr", "full stderr")]
            .into_iter()
            .flatten()
            .collect(),
        ..row(event, "")
    }
}

fn verified(event: &Event<'_>, out: &mut Rows) {
    for (kind, list) in [("check", "checks"), ("service level", "slo")] {
        let items = event.at("verification", list).list();
        for item in items {
            out.add(|| judged(event.index(), kind, item));
        }
    }
}

fn drifted(event: &Event<'_>, out: &mut Rows) {
    let drift = event.at("verification", "drift");
    if !drift.exists() {
        return;
    }
    let diff = drift.get("diff").list();
    let found = diff.len();
    let mut listed: Vec<String> = diff.iter().take(DIFFERENCES_MAX).map(|item| item.describe(&[])).collect();
    if found > DIFFERENCES_MAX {
        listed.push(format!("and {} more", found - DIFFERENCES_MAX));
    }
    out.add(|| Row {
        what: drift.describe(&["diff"]),
        result: if found == 0 {
            "no difference listed".to_owned()
        } else {
            counted(found, "difference", "differences")
        },
        bad: found > 0,
        detail: listed.join("; "),
        ..row(event, "")
    });
}

fn rolled_back(event: &Event<'_>, out: &mut Rows) {
    let rollback = event.get("rollback");
    for command in rollback.get("plan").texts() {
        out.add(|| Row { result: "planned".to_owned(), ..row(event, &command) });
    }
    let tried = rollback.get("dry_run");
    if tried.exists() {
        out.add(|| judged(event.index(), "dry run", tried));
    }
    let executed = rollback.get("executed");
    if executed.exists() {
        let outcome = executed.get("outcome").text();
        out.add(|| Row {
            bad: event.entry.header.outcome == Outcome::RollbackFailed,
            result: if outcome.is_empty() { "no outcome".to_owned() } else { format!("outcome {outcome}") },
            detail: executed.describe(&["steps", "outcome"]),
            ..row(event, "rollback executed")
        });
        steps(event, "rollback", executed, out);
    }
}

fn trace(event: &Event<'_>, out: &mut Rows) {
    for item in event.get("audit_trace").list() {
        out.add(|| Row {
            result: item.get("ts").text(),
            detail: item.describe(&["msg", "ts"]),
            ..row(event, &item.get("msg").text())
        });
    }
}

fn row(event: &Event<'_>, what: &str) -> Row {
    Row { index: event.index(), what: what.to_owned(), ..Row::default() }
}

/// A row for something with a verdict in `ok`, `result`, `decision`, `outcome` or `status`.
fn judged(index: u64, kind: &str, item: Node<'_>) -> Row {
    let ok = item.get("ok").text();
    let first = |keys: &[&str]| keys.iter().map(|key| item.get(key).text()).find(|word| !word.is_empty());
    let result = match ok.as_str() {
        "true" => "ok".to_owned(),
        "false" => "failed".to_owned(),
        _ => first(&["result", "decision", "outcome", "status"]).unwrap_or_else(|| "no result".to_owned()),
    };
    let names = ["type", "name", "id"].map(|key| item.get(key).text());
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let what = format!("{kind} {}", names.join(": "));
    let bad = ok == "false" || matches!(result.as_str(), "deny" | "denied" | "fail" | "failed" | "refused");
    let detail = item.describe(&["type", "name", "id", "ok", "result", "decision", "outcome", "status"]);
    Row { index, what, result, bad, detail, links: Vec::new() }
}

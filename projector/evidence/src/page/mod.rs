//! `index.html` and `VERIFY.md`: what happened, for a person who does not know us. The same page stands in the pack and is served as the
//! page of a change.
//!
//! A pure function of `pack.json`, the change document and the stored payloads; report version 1 ([`crate::document::REPORT_VERSION`])
//! freezes its bytes. The template escapes everything, links only to files whose names the pack chose itself, loads nothing and runs no script;
//! the whole page is written through [`VisibleLines`], so that nothing unseen gets into it. Long texts and lists are ended here and are whole
//! in the pack's other files ([`shown`]).
//! Leaves out judging: state, attempts, grades and anomalies are the fold's.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use projector::anomaly::Anomaly;
use projector::document::ChangeDocument;
use projector::fold::State;
use projector::fold::table::TABLE;

use crate::chain::Opened;
use crate::document::PackDocument;
use crate::json::Node;
use crate::parts::PackFile;
use crate::report::counted;
use crate::text::VisibleLines;
use approvals::{Approvals, approvals};
use others::{Other, others};
use plans::{Plans, plans};
use rows::{Section, sections};
use shown::{Cut, cut, time};
use timeline::{Timeline, timeline};

mod approvals;
mod others;
mod plans;
mod rows;
mod shown;
mod timeline;

/// `VERIFY.md`. The same in every pack: it holds nothing of an event, so that its commands can be pasted.
pub(crate) const GUIDE: &str = include_str!("../../templates/VERIFY.md");

/// Renders `index.html`.
pub(crate) fn render(
    pack: &PackDocument,
    document: &ChangeDocument,
    entries: &[Opened<'_>],
    parts: &[PackFile],
) -> Result<String, askama::Error> {
    let parts: BTreeSet<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let links = Links(&parts);
    let events: Vec<Event<'_>> = entries.iter().map(Event::of).collect();
    let page = Page {
        pack,
        document,
        why: TABLE.iter().find(|row| row.state == document.state).map_or("", |row| row.by),
        reached: document.attempts.last().and_then(|attempt| attempt.reached),
        summary: summary(document, &events),
        anomalies: Cut::of(&document.anomalies),
        asked: asked(document, &events),
        resources: resources(&events),
        timeline: timeline(document, entries),
        plans: plans(document, entries, &events, &links),
        approvals: approvals(document, &events, &links),
        sections: sections(&events, &links),
        others: others(document),
        as_of: time(pack.as_of_ms),
        witnesses: pack.cosignatures.iter().filter_map(|line| witness(line.as_str()?)).collect(),
    };
    let mut out = VisibleLines::default();
    page.render_into(&mut out)?;
    Ok(out.0)
}

#[derive(Template)]
#[template(path = "index.html")]
struct Page<'a> {
    pack: &'a PackDocument,
    document: &'a ChangeDocument,
    /// What an attempt is in this state with.
    why: &'static str,
    /// What the last attempt had reached when it was closed.
    reached: Option<State>,
    summary: String,
    anomalies: Cut<&'a Anomaly>,
    asked: Vec<(&'static str, String)>,
    resources: Cut<String>,
    timeline: Timeline,
    plans: Plans,
    approvals: Approvals,
    sections: Vec<Section>,
    /// Told only where there is any: most changes have none.
    others: Cut<Other>,
    as_of: String,
    witnesses: Vec<String>,
}

/// The files that the page may link to beside the log's own.
struct Links<'a>(&'a BTreeSet<&'a str>);

impl Links<'_> {
    /// The name, if there is such a file.
    fn to(&self, name: String) -> Option<String> {
        self.has(&name).then_some(name)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// An entry and the sections of its event.
struct Event<'a> {
    index: u64,
    entry: &'a Opened<'a>,
    sections: BTreeMap<String, Node<'a>>,
}

impl<'a> Event<'a> {
    fn of(entry: &'a Opened<'a>) -> Self {
        let sections = Node::parse(entry.payload).get("provisioning_event").sections();
        Self { index: entry.index, entry, sections }
    }

    /// A section of the event.
    fn get(&self, section: &str) -> Node<'a> {
        self.sections.get(section).copied().unwrap_or_default()
    }

    /// A member of a section.
    fn at(&self, section: &str, member: &str) -> Node<'a> {
        self.get(section).get(member)
    }
}

fn summary(document: &ChangeDocument, events: &[Event<'_>]) -> String {
    let at = |event: Option<&Event<'_>>| event.map_or_else(String::new, |event| time(event.entry.header.at));
    format!(
        "{} in {}, taken in from {} to {}",
        counted(events.len(), "event", "events"),
        counted(document.attempts.len(), "attempt", "attempts"),
        at(events.first()),
        at(events.last())
    )
}

/// What, why, by whom, where: as the events say.
fn asked(document: &ChangeDocument, events: &[Event<'_>]) -> Vec<(&'static str, String)> {
    let said = |value: &Option<String>| value.as_deref().map_or_else(|| "not stated".to_owned(), cut);
    let first = |section: &str, member: &str| {
        let found = events.iter().map(|event| event.at(section, member)).find(|node| node.exists());
        found.map(Node::text)
    };
    vec![
        ("Request", said(&document.request)),
        ("Reason", said(&first("intent", "reason"))),
        ("Ticket", said(&first("intent", "ticket"))),
        ("Asked for by", said(&document.initiator)),
        ("Asked through", said(&document.source)),
        ("Owner", said(&document.owner)),
        ("Environment", said(&document.environment.as_ref().map(ToString::to_string))),
        ("Class of change", said(&document.class.as_ref().map(ToString::to_string))),
        ("Impact", said(&first("plan", "impact").map(|_| impact(events)))),
        ("Visible to", document.visibility.as_str().to_owned()),
    ]
}

fn impact(events: &[Event<'_>]) -> String {
    let found = events.iter().map(|event| event.at("plan", "impact")).find(|node| node.exists());
    found.map(|node| node.describe(&[])).unwrap_or_default()
}

/// What the change is about, each resource once, as the first event that names it says.
fn resources(events: &[Event<'_>]) -> Cut<String> {
    let mut out: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for event in events {
        for resource in event.at("target", "resources").list() {
            let text = cut(&resource.describe(&[]));
            if seen.insert(text.clone()) {
                out.push(text);
            }
        }
    }
    Cut::from(out)
}

/// Who a cosignature says it is by: the name in its line, which the page does not check.
fn witness(line: &str) -> Option<String> {
    line.split(' ').nth(1).map(cut)
}

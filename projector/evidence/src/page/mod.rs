//! `index.html` and `VERIFY.md`: what happened, for a person who does not know us. The same page stands in the pack and is served as the
//! page of a change.
//!
//! A pure function of `pack.json`, the change document and the stored payloads; report version 1 ([`crate::document::REPORT_VERSION`])
//! freezes its bytes. The template escapes everything, links only to files whose names the pack chose itself, loads nothing and runs no script;
//! the whole page is written through [`VisibleLines`], so that nothing unseen gets into it. Long texts and lists are ended here and are whole
//! in the pack's other files ([`shown`]).
//! Leaves out judging: state, attempts, grades and anomalies are the fold's.

use std::collections::{BTreeSet, HashSet};

use askama::Template;
use projector::anomaly::Anomaly;
use projector::document::ChangeDocument;
use projector::fold::State;
use projector::fold::table::TABLE;
use sha2::{Digest as _, Sha256};

use crate::chain::Opened;
use crate::document::PackDocument;
use crate::json::Node;
use crate::report::counted;
use crate::summary::diff::Change;
use crate::text::VisibleLines;
use crate::told::Event;
use approvals::{Approvals, approvals};
use others::{Other, others};
use plans::Plans;
use rows::{Section, Sections};
use shown::{Cut, ITEMS_MAX, cut, time};
use timeline::{Timeline, timeline};

mod approvals;
mod others;
mod plans;
mod rows;
mod shown;
mod timeline;

/// `VERIFY.md`. The same in every pack: it holds nothing of an event, so that its commands can be pasted.
pub(crate) const GUIDE: &str = include_str!("../../templates/VERIFY.md");

/// What the page tells of the events, collected one event after the other.
#[derive(Default)]
pub(crate) struct Pages {
    reason: Option<String>,
    ticket: Option<String>,
    impact: Option<String>,
    resources: Distinct,
    required: BTreeSet<String>,
    plans: Plans,
    sections: Sections,
}

impl Pages {
    /// Takes the change's next event, in the order of the log, and how its plan differs from the one before.
    pub(crate) fn add(&mut self, event: &Event<'_>, change: Option<&Change>) {
        let first = |kept: &mut Option<String>, node: Node<'_>| {
            if kept.is_none() && node.exists() {
                *kept = Some(cut(&node.text()));
            }
        };
        first(&mut self.reason, event.at("intent", "reason"));
        first(&mut self.ticket, event.at("intent", "ticket"));
        let impact = event.at("plan", "impact");
        if self.impact.is_none() && impact.exists() {
            self.impact = Some(cut(&impact.describe(&[])));
        }
        for resource in event.at("target", "resources").list() {
            self.resources.add(cut(&resource.describe(&[])));
        }
        self.required.extend(event.at("plan", "approvals").texts().iter().map(|name| cut(name)));
        self.plans.add(event, change);
        self.sections.add(event);
    }

    /// Renders `index.html`, which shows the folded change and links to `files` beside the log's own.
    pub(crate) fn render<'f>(
        self,
        pack: &PackDocument,
        document: &ChangeDocument,
        entries: &[Opened],
        files: impl Iterator<Item = &'f str>,
    ) -> Result<String, askama::Error> {
        let links = Links(files.collect());
        let page = Page {
            pack,
            document,
            why: TABLE.iter().find(|row| row.state == document.state).map_or("", |row| row.by),
            reached: document.attempts.last().and_then(|attempt| attempt.reached),
            summary: summary(document, entries),
            anomalies: Cut::of(&document.anomalies),
            asked: asked(document, self.reason, self.ticket, self.impact),
            resources: self.resources.into_cut(),
            timeline: timeline(document, entries),
            plans: self.plans.finish(document, &links),
            approvals: approvals(document, self.required, &links),
            sections: self.sections.finish(&links),
            others: others(document),
            as_of: time(pack.as_of_ms),
            witnesses: pack.cosignatures.iter().filter_map(|line| witness(line.as_str()?)).collect(),
        };
        let mut out = VisibleLines::default();
        page.render_into(&mut out)?;
        Ok(out.0)
    }
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
    plans: plans::Shown,
    approvals: Approvals,
    sections: Vec<Section>,
    /// Told only where there is any: most changes have none.
    others: Cut<Other>,
    as_of: String,
    witnesses: Vec<String>,
}

/// The files that the page may link to beside the log's own.
struct Links<'a>(HashSet<&'a str>);

impl Links<'_> {
    /// The name, if there is such a file.
    fn to(&self, name: String) -> Option<String> {
        self.has(&name).then_some(name)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

fn summary(document: &ChangeDocument, entries: &[Opened]) -> String {
    let at = |entry: Option<&Opened>| entry.map_or_else(String::new, |entry| time(entry.header.at));
    format!(
        "{} in {}, taken in from {} to {}",
        counted(entries.len(), "event", "events"),
        counted(document.attempts.len(), "attempt", "attempts"),
        at(entries.first()),
        at(entries.last())
    )
}

/// What, why, by whom, where: as the events say.
fn asked(
    document: &ChangeDocument,
    reason: Option<String>,
    ticket: Option<String>,
    impact: Option<String>,
) -> Vec<(&'static str, String)> {
    let or_not = |text: Option<String>| text.unwrap_or_else(|| "not stated".to_owned());
    let said = |value: &Option<String>| or_not(value.as_deref().map(cut));
    let probe = document.probe.then(|| ("Probe", "every event says so; no figure counts this change".to_owned()));
    let told = vec![
        ("Request", said(&document.request)),
        ("Reason", or_not(reason)),
        ("Ticket", or_not(ticket)),
        ("Asked for by", said(&document.initiator)),
        ("Asked through", said(&document.source)),
        ("Owner", said(&document.owner)),
        ("Environment", said(&document.environment.as_ref().map(ToString::to_string))),
        ("Class of change", said(&document.class.as_ref().map(ToString::to_string))),
        ("Impact", or_not(impact)),
        ("Visible to", document.visibility.as_str().to_owned()),
    ];
    told.into_iter().chain(probe).collect()
}

/// Texts, each once, in the order in which they came; and no more of them than are shown.
#[derive(Default)]
struct Distinct {
    items: Vec<String>,
    /// The beginnings of the digests of all of them: enough to tell texts apart, and far smaller than they are.
    seen: HashSet<[u8; 16]>,
}

impl Distinct {
    fn add(&mut self, text: String) {
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(&text)[..16]);
        if self.seen.insert(digest) && self.items.len() < ITEMS_MAX {
            self.items.push(text);
        }
    }

    fn into_cut(self) -> Cut<String> {
        Cut { more: self.seen.len() - self.items.len(), items: self.items }
    }
}

/// Who a cosignature says it is by: the name in its line, which the page does not check.
fn witness(line: &str) -> Option<String> {
    line.split(' ').nth(1).map(cut)
}

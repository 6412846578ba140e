//! Everything that a pack derives from its events, in one reading of them: `change.json`, the page, the extracts and the summaries.
//!
//! One payload is in memory at a time. Writer and verifier share this, so that what is written is what is derived again.

use std::collections::BTreeMap;

use projector::document::{ChangeDocument, Context, Telling};
use schemas::ids::ChangeId;

use crate::chain::Opened;
use crate::document::PackDocument;
use crate::files::{self, DeriveError};
use crate::json::Node;
use crate::kept::{self, References};
use crate::page::{self, Pages};
use crate::parts::{self, Room};
use crate::planned::{Pair, Planned, Shelf, Source};
use crate::summary::Summaries;
use crate::summary::diff::{At, Differ};

/// What is told of.
pub(crate) struct Subject<'a> {
    pub(crate) pack: &'a PackDocument,
    pub(crate) change: &'a ChangeId,
    pub(crate) context: &'a Context,
    /// The entries, oldest first.
    pub(crate) entries: &'a [Opened],
}

/// What was told.
pub(crate) struct Told {
    /// `change.json`.
    pub(crate) change: Planned,
    /// `VERIFY.md`, the extracts and the summaries, in no particular order.
    pub(crate) parts: Result<Vec<Planned>, DeriveError>,
    /// `index.html`; none without the parts, to which it links.
    pub(crate) page: Result<Option<Planned>, DeriveError>,
}

/// An event of the change, while it is looked at.
pub(crate) struct Event<'a> {
    pub(crate) entry: &'a Opened,
    pub(crate) attempt: u64,
    pub(crate) payload: &'a [u8],
    sections: BTreeMap<String, Node<'a>>,
}

impl<'a> Event<'a> {
    fn of(entry: &'a Opened, attempt: u64, payload: &'a [u8]) -> Self {
        let sections = Node::parse(payload).get("provisioning_event").sections();
        Self { entry, attempt, payload, sections }
    }

    /// Its entry's index in the log.
    pub(crate) fn index(&self) -> u64 {
        self.entry.index
    }

    /// A section.
    pub(crate) fn get(&self, section: &str) -> Node<'a> {
        self.sections.get(section).copied().unwrap_or_default()
    }

    /// A member of a section.
    pub(crate) fn at(&self, section: &str, member: &str) -> Node<'a> {
        self.get(section).get(member)
    }
}

/// Tells of all entries. `payload` gives the payload of the entry at a place, and what is planned stays on the `shelf` while there is room.
pub(crate) fn tell<E>(
    subject: &Subject<'_>,
    payload: &mut dyn FnMut(usize) -> Result<Vec<u8>, E>,
    shelf: &mut Shelf,
) -> Result<Told, E> {
    let mut telling = Telling::new(subject.change, subject.context);
    let (mut pages, mut summaries) = (Pages::default(), Summaries::default());
    let mut references = References::default();
    let mut cut = Cut::of(subject.entries.len(), subject.pack.objects.len());
    for (place, entry) in subject.entries.iter().enumerate() {
        let bytes = payload(place)?;
        let attempt = telling.add(entry.index, &entry.header, Some(&bytes));
        let event = Event::of(entry, attempt, &bytes);
        cut.add(subject, place, &event, &mut pages, shelf);
        summaries.add(&event);
        if kept::may_refer(&entry.header) {
            references.add(&event);
        }
    }
    let document = telling.document();
    let change = Planned::kept(files::CHANGE, document.to_json());
    let parts = cut.made.and_then(|mut made| {
        made.push(Planned::kept("VERIFY.md", page::GUIDE.as_bytes().to_vec()));
        made.extend(summaries.files(&document)?.map(|(name, bytes)| Planned::kept(name, bytes)));
        made.extend(references.file(subject.pack)?.map(|(name, bytes)| Planned::kept(name, bytes)));
        Ok(made)
    });
    let page = parts.as_ref().ok().map(|parts| page_of(pages, subject, &document, parts)).transpose();
    Ok(Told { change, parts, page })
}

fn page_of(
    pages: Pages,
    subject: &Subject<'_>,
    document: &ChangeDocument,
    parts: &[Planned],
) -> Result<Planned, DeriveError> {
    let objects: Vec<String> = subject.pack.objects.iter().map(|object| kept::object_name(&object.hex())).collect();
    let names = parts.iter().map(|part| part.name.as_str()).chain(objects.iter().map(String::as_str));
    let text = pages.render(subject.pack, document, subject.entries, names)?;
    Ok(Planned::kept(files::PAGE, text.into_bytes()))
}

/// What is cut out of the events, and how their plans differ.
struct Cut {
    differ: Differ,
    room: Room,
    /// Whether an entry's files did not fit: it has none, nor has any entry behind it.
    full: bool,
    made: Result<Vec<Planned>, DeriveError>,
}

impl Cut {
    fn of(entries: usize, objects: usize) -> Self {
        Self { differ: Differ::default(), room: Room::of(entries, objects), full: false, made: Ok(Vec::new()) }
    }

    /// Takes the event at a place and shows it to the page.
    fn add(&mut self, subject: &Subject<'_>, place: usize, event: &Event<'_>, pages: &mut Pages, planned: &mut Shelf) {
        let (index, attempt, payload) = (event.index(), event.attempt, event.payload);
        let change = self.differ.next(At { place, index, attempt, payload });
        pages.add(event, change.as_ref());
        let Ok(made) = &mut self.made else { return };
        if self.room.diffs > 0
            && let Some(change) = &change
            && let Some((name, bytes)) = change.file()
        {
            self.room.diffs -= 1;
            let pair = Pair { before: change.against(), now: (place, attempt) };
            made.push(planned.plan(name, bytes, Source::Diff(Box::new(pair))));
        }
        if self.full {
            return;
        }
        match parts::files(&subject.pack.origin, subject.change, index, payload) {
            Ok(parts) if parts.len() <= self.room.parts => {
                self.room.parts -= parts.len();
                made.extend(parts.into_iter().map(|(name, bytes)| planned.plan(name, bytes, Source::Part(place))));
            }
            Ok(_) => self.full = true,
            Err(source) => self.made = Err(DeriveError::Payload { index, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use ledger::entry::{Road, Salt};
    use ledger::hash::Hash;
    use schemas::admit::{Has, Outcome};
    use schemas::ids::{EventId, Phase};

    use super::*;
    use crate::document::{FORMAT, REPORT_VERSION};
    use crate::parts::FILES_MAX;

    fn entry(change: &ChangeId, index: u64) -> Opened {
        let header = ledger::entry::EventHeader {
            change: change.clone(),
            seq: index,
            prev: None,
            id: EventId::parse("e").unwrap(),
            phase: Phase::Plan,
            env: None,
            class: None,
            probe: false,
            producer: None,
            has: Has::default(),
            outcome: Outcome::None,
            ts: 0,
            at: index,
            road: Road { epoch: 0, sequence: index },
            commit: Hash([0; 32]),
            size: 0,
            masked: 0,
            rules: Hash([0; 32]),
        };
        Opened { index, leaf: Hash([0; 32]), header, salt: Salt([0; 16]) }
    }

    /// How many files of each kind the events of these payloads give.
    fn made(payloads: &[Vec<u8>]) -> (usize, usize) {
        let change = ChangeId::parse("c").unwrap();
        let entries: Vec<Opened> = (0..).zip(payloads).map(|(index, _)| entry(&change, index)).collect();
        let pack = PackDocument {
            format: FORMAT,
            fold: 1,
            report: REPORT_VERSION,
            origin: "l/acme".to_owned(),
            change: change.to_string(),
            as_of_ms: 0,
            approval_rules: Vec::new(),
            size: 1,
            root: String::new(),
            entries: Vec::new(),
            cosignatures: Vec::new(),
            erasures: Vec::new(),
            objects: Vec::new(),
        };
        let context = Context::default();
        let subject = Subject { pack: &pack, change: &change, context: &context, entries: &entries };
        let mut payload = |place: usize| Ok::<_, Infallible>(payloads[place].clone());
        let told = tell(&subject, &mut payload, &mut Shelf::none()).unwrap();
        let parts = told.parts.unwrap();
        let diffs = parts.iter().filter(|part| part.name.ends_with("-diff.txt")).count();
        // Four are there for every change.
        (parts.len() - diffs - 4, diffs)
    }

    #[test]
    fn more_files_than_a_pack_has_room_for_are_left_in_their_payloads() {
        let steps = |count: usize| {
            let steps = vec![r#"{"stdout":""}"#; count].join(",");
            format!(r#"{{"provisioning_event":{{"execution":{{"steps":[{steps}]}}}}}}"#).into_bytes()
        };
        let parts = |counts: &[usize]| made(&counts.iter().map(|count| steps(*count)).collect::<Vec<_>>()).0;
        assert_eq!(parts(&[FILES_MAX - 1]), FILES_MAX);
        assert_eq!(parts(&[FILES_MAX]), 0);
        assert_eq!(parts(&[9, FILES_MAX - 11, 1]), FILES_MAX);
        assert_eq!(parts(&[9, FILES_MAX - 10, 1]), 10, "none behind the first that is left out");
    }

    #[test]
    fn plans_that_change_too_often_have_no_more_differences() {
        let plans: Vec<Vec<u8>> = (0..11_000)
            .map(|n| format!(r#"{{"provisioning_event":{{"plan":{{"commands":["{n}"]}}}}}}"#).into_bytes())
            .collect();
        // plan.json, commands.txt and digest.txt of each, and what is left of 32,474 for differences.
        assert_eq!(made(&plans), (30_000, 2_474));
    }
}

//! `change.json`: what the entries of one change say, and nothing else.
//!
//! A pure function of the entries handed in: the same entries give the same bytes on any machine in any year, because packs ship
//! them and verifiers derive them again. Values of events are kept as data, however hostile; only the sentences are
//! cleaned, being made to be read.

use std::collections::BTreeMap;

use ledger::entry::EventHeader;
use schemas::admit::{Has, Outcome};
use schemas::event::Event;
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase, Producer};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::anomaly::Anomaly;
use crate::approval::{self, Coverage, Graded, Rules};
use crate::facts::{Facts, Visibility, Window};
use crate::fold::{FOLD_VERSION, Marks, State};
use crate::foreign::Foreign;
use crate::{foreign, judge, sentence};

/// The version of the document's shape.
pub const DOCUMENT_FORMAT: u32 = 1;

/// What is known beside the entries of a change.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The tenant's rule of approvals over the life of the log, and the log's origin.
    pub rules: Rules,
    /// The log's time of the newest entry that is looked at, of whatever change, in milliseconds. What is missing after a day is told by it,
    /// never by a clock.
    pub as_of_ms: u64,
}

/// One event entry of a change, as the log holds it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Index in the log.
    pub index: u64,
    /// The entry's header.
    pub header: &'a EventHeader,
    /// The stored event; `None` when it was erased.
    pub payload: Option<&'a [u8]>,
}

/// A change: `change.json`.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeDocument {
    /// [`DOCUMENT_FORMAT`].
    pub format: u32,
    /// The fold's version.
    pub fold: u32,
    /// The change.
    pub change: ChangeId,
    /// The state of its highest attempt.
    pub state: State,
    /// Every entry says that it is a probe, so that no figure counts the change; absent where it is none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
    /// Who asked: the first entry that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// Through what: the first entry that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What was asked: the first entry that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Who owns it: the last entry that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where: the last entry that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Standard, normal or emergency: the last entry that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ChangeClass>,
    /// The narrowest that any entry asked for; private if none did.
    pub visibility: Visibility,
    /// By number.
    pub attempts: Vec<Attempt>,
    /// By index.
    pub timeline: Vec<Moment>,
    /// By index, then as listed in the event, each with what it is worth.
    pub approvals: Vec<Graded>,
    /// Evidence of others inside the events, by index, then as it stands there; each held against the keys that the tenant had named
    /// by then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<Foreign>,
    /// By index, then by code.
    pub anomalies: Vec<Anomaly>,
}

/// One attempt at the change.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Its number.
    pub attempt: u64,
    /// Its state.
    pub state: State,
    /// What it had reached when it was closed; absent while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<State>,
    /// Digest of the plan in force: the last one recorded before or with the first execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// Whether it had the approvals that it needed.
    pub approval: Coverage,
    /// Its entries, by index.
    pub entries: Vec<u64>,
}

/// One entry on the timeline.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// Index in the log.
    pub index: u64,
    /// Position in the change, from 0.
    pub seq: u64,
    /// The log's time, milliseconds.
    pub at: u64,
    /// The producer's time, seconds.
    pub ts: i64,
    /// Phase the producer gave.
    pub phase: Phase,
    /// Event id.
    pub id: EventId,
    /// The attempt it belongs to.
    pub attempt: u64,
    /// The outcome in its header.
    pub outcome: Outcome,
    /// The sections in its header.
    pub has: Has,
    /// It says that it is a probe; absent where it does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
    /// Who the road says sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<Producer>,
    /// What happened, in a short sentence.
    pub text: String,
}

/// An entry and what was read of it.
pub(crate) struct Seen<'a> {
    pub(crate) index: u64,
    pub(crate) header: &'a EventHeader,
    /// None where it was erased.
    pub(crate) content: Option<Content<'a>>,
    /// Its sections; none where the payload is gone, cannot be read or is not kept.
    pub(crate) event: Option<Event<'a>>,
    pub(crate) facts: Facts<'a>,
    /// Digest of the plan as stored; absent without a plan.
    pub(crate) plan_digest: Option<String>,
}

/// What stands for a payload where two are compared: all those of one change are held in the same way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Whole(&'a [u8]),
    Digest([u8; 32]),
}

/// An attempt's entries in the order of the log.
pub(crate) struct Tried<'a> {
    pub(crate) number: u64,
    pub(crate) marks: Marks,
    pub(crate) seen: Vec<&'a Seen<'a>>,
}

/// Derives the document of a change. Entries may come in any order and repeat; those of another change are left out.
pub fn document(change: &ChangeId, entries: &[Entry<'_>], context: &Context) -> ChangeDocument {
    let seen = read(change, entries);
    let foreign = foreign(&seen, &context.rules);
    tell(change, &seen, foreign, context)
}

/// Derives the document of a change from entries that come one after the other, and keeps of a payload only what it says: so a change that is
/// larger than memory has a document too. The same bytes as [`document()`] gives.
pub struct Telling<'a> {
    change: &'a ChangeId,
    context: &'a Context,
    seen: Vec<Seen<'a>>,
    foreign: Vec<Foreign>,
    /// Whether an entry has said what was asked.
    asked: bool,
    /// The place of the last entry that named an owner.
    owned: Option<usize>,
}

impl<'a> Telling<'a> {
    /// Of a change of which nothing is known yet.
    pub fn new(change: &'a ChangeId, context: &'a Context) -> Self {
        Self { change, context, seen: Vec::new(), foreign: Vec::new(), asked: false, owned: None }
    }

    /// Takes the next entry and gives the attempt that it belongs to. Entries come in the order of the log; what is of another change, or does
    /// not come behind the last one, is left out.
    pub fn add(&mut self, index: u64, header: &'a EventHeader, payload: Option<&[u8]>) -> u64 {
        let Seen { facts, plan_digest, .. } = see(Entry { index, header, payload });
        let attempt = facts.attempt;
        if header.change != *self.change || self.seen.last().is_some_and(|last| last.index >= index) {
            return attempt;
        }
        let content = payload.map(|payload| Content::Digest(Sha256::digest(payload).into()));
        self.foreign.extend(foreign_of(index, payload, &self.context.rules));
        let mut facts = facts.into_owned();
        // Of what was asked the document shows the first, of the owner the last: a megabyte of either in each event is not kept.
        if self.asked {
            facts.request = None;
        }
        self.asked |= facts.request.is_some();
        if facts.owner.is_some()
            && let Some(earlier) = self.owned.replace(self.seen.len()).and_then(|place| self.seen.get_mut(place))
        {
            earlier.facts.owner = None;
        }
        self.seen.push(Seen { index, header, content, event: None, facts, plan_digest });
        attempt
    }

    /// The document of what was taken.
    pub fn document(self) -> ChangeDocument {
        tell(self.change, &self.seen, self.foreign, self.context)
    }
}

fn tell(change: &ChangeId, seen: &[Seen<'_>], foreign: Vec<Foreign>, context: &Context) -> ChangeDocument {
    let attempts = group(seen);
    let as_of_ms = seen.iter().map(|seen| seen.header.at).max().unwrap_or_default().max(context.as_of_ms);
    let approvals = approval::of(change, seen, &attempts, &context.rules, as_of_ms);
    let case = judge::Case { seen, attempts: &attempts, approvals: &approvals, foreign: &foreign, as_of_ms };
    let anomalies = judge::anomalies(&case);
    let last = |pick: fn(&Seen<'_>) -> Option<String>| seen.iter().rev().find_map(pick);
    let first = |pick: fn(&Seen<'_>) -> Option<String>| seen.iter().find_map(pick);
    ChangeDocument {
        format: DOCUMENT_FORMAT,
        fold: FOLD_VERSION,
        change: change.clone(),
        state: attempts.last().map_or(State::Planned, |attempt| attempt.marks.state()),
        probe: is_probe(seen),
        initiator: first(|seen| seen.facts.initiator.as_deref().map(str::to_owned)),
        source: first(|seen| seen.facts.source.as_deref().map(str::to_owned)),
        request: first(|seen| seen.facts.request.as_deref().map(str::to_owned)),
        owner: last(|seen| seen.facts.owner.as_deref().map(str::to_owned)),
        environment: seen.iter().rev().find_map(|seen| seen.header.env.clone()),
        class: seen.iter().rev().find_map(|seen| seen.header.class),
        visibility: seen.iter().filter_map(|seen| seen.facts.asked_visibility()).min().unwrap_or_default(),
        attempts: attempts.iter().zip(approvals.attempts).map(|(tried, coverage)| attempt(tried, coverage)).collect(),
        timeline: seen.iter().map(moment).collect(),
        approvals: approvals.given,
        foreign,
        anomalies,
    }
}

impl ChangeDocument {
    /// Its bytes: indented JSON in the order of the fields, ending in LF.
    pub fn to_json(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "strings, numbers and lists of them always serialise into memory")]
        let mut bytes = serde_json::to_vec_pretty(self).expect("a document of plain values");
        bytes.push(b'\n');
        bytes
    }
}

impl Tried<'_> {
    /// The last plan recorded before or with the first execution; the last of all while there is none.
    pub(crate) fn plan_in_force(&self) -> Option<&str> {
        let executed = self.seen.iter().find(|seen| seen.facts.marks.any(Marks::EXECUTING)).map(|seen| seen.index);
        let before = self.seen.iter().rev().filter(|seen| executed.is_none_or(|index| seen.index <= index));
        before.into_iter().find_map(|seen| seen.plan_digest.as_deref())
    }

    /// The last window that can be judged by, recorded before or with the first execution; `None` also where nothing is executed.
    pub(crate) fn window_in_force(&self) -> Option<(&Window, (i64, i64))> {
        let executed = self.seen.iter().find(|seen| seen.facts.marks.any(Marks::EXECUTING))?.index;
        let before = self.seen.iter().rev().filter(|seen| seen.index <= executed);
        before.into_iter().find_map(|seen| {
            let window = seen.facts.plan.as_ref()?.window.as_ref()?;
            Some((window, window.seconds()?))
        })
    }

    /// What executed outside of a window, by the producers' time. Going back is no matter of windows.
    pub(crate) fn outside(&self, (from, to): (i64, i64)) -> impl Iterator<Item = &Seen<'_>> {
        let acts = self.seen.iter().copied().filter(|seen| seen.is_execution());
        acts.filter(move |seen| !(from..=to).contains(&seen.header.ts))
    }
}

/// Reads each entry of the change once, in the order of the log: what documents, accounts, rows and measures all stand on.
pub(crate) fn read<'a>(change: &ChangeId, entries: &[Entry<'a>]) -> Vec<Seen<'a>> {
    let mut own: Vec<&Entry<'a>> = entries.iter().filter(|entry| entry.header.change == *change).collect();
    own.sort_by_key(|entry| entry.index);
    own.dedup_by_key(|entry| entry.index);
    own.into_iter().map(|entry| see(*entry)).collect()
}

fn see(entry: Entry<'_>) -> Seen<'_> {
    let event = entry.payload.and_then(|payload| Event::parse(payload).ok());
    let facts = Facts::of_event(entry.header, event.as_ref());
    let plan_digest = facts.plan.as_ref().and(entry.payload).and_then(schemas::plan::digest);
    let content = entry.payload.map(Content::Whole);
    Seen { index: entry.index, header: entry.header, content, event, facts, plan_digest }
}

/// The foreign evidence of entries, each held against the keys of the rule that held for its entry.
pub(crate) fn foreign(seen: &[Seen<'_>], rules: &Rules) -> Vec<Foreign> {
    let of = |seen: &Seen<'_>| match seen.content {
        Some(Content::Whole(payload)) => foreign_of(seen.index, Some(payload), rules),
        Some(Content::Digest(_)) | None => Vec::new(),
    };
    seen.iter().flat_map(of).collect()
}

fn foreign_of(index: u64, payload: Option<&[u8]>, rules: &Rules) -> Vec<Foreign> {
    payload.map_or_else(Vec::new, |payload| foreign::of_named(index, payload, &rules.at(index).evidence_keys))
}

pub(crate) fn group<'a>(seen: &'a [Seen<'a>]) -> Vec<Tried<'a>> {
    let mut attempts: BTreeMap<u64, Tried<'a>> = BTreeMap::new();
    for seen in seen {
        let number = seen.facts.attempt;
        let tried = attempts.entry(number).or_insert_with(|| Tried { number, marks: Marks::NONE, seen: Vec::new() });
        tried.marks |= seen.facts.marks;
        tried.seen.push(seen);
    }
    attempts.into_values().collect()
}

/// Whether every entry of a change says that it is a probe. One that does not makes it a change like all others: bad news is not hidden by a word.
pub(crate) fn is_probe(seen: &[Seen<'_>]) -> bool {
    !seen.is_empty() && seen.iter().all(|seen| seen.header.probe)
}

fn attempt(tried: &Tried<'_>, approval: Coverage) -> Attempt {
    let state = tried.marks.state();
    Attempt {
        attempt: tried.number,
        state,
        reached: (state == State::Closed).then(|| tried.marks.reached()),
        plan_digest: tried.plan_in_force().map(str::to_owned),
        approval,
        entries: tried.seen.iter().map(|seen| seen.index).collect(),
    }
}

fn moment(seen: &Seen<'_>) -> Moment {
    let header = seen.header;
    Moment {
        index: seen.index,
        seq: header.seq,
        at: header.at,
        ts: header.ts,
        phase: header.phase,
        id: header.id.clone(),
        attempt: seen.facts.attempt,
        outcome: header.outcome,
        has: header.has,
        probe: header.probe,
        producer: header.producer.clone(),
        text: sentence::of(header.phase, &seen.facts),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::anomaly::Code;
    use crate::testing::{EXAMPLE, Made, by, change, event, logged, raw, told};

    #[test]
    fn the_models_example_is_verified_without_a_recorded_approval() {
        let document = told(&[raw("execute", EXAMPLE.into())]);
        assert_eq!(document.state, State::Verified);
        let codes: Vec<_> = document.anomalies.iter().map(|anomaly| anomaly.code).collect();
        assert_eq!(codes, [Code::NoApprovalRecorded]);
        assert_eq!(
            document.timeline[0].text,
            "Plan of 3 commands; executed 3 steps, all returned 0; 2 checks passed; no drift."
        );
        assert_eq!(document.owner.as_deref(), Some("platform"));
        assert_eq!(document.visibility, Visibility::Team);
    }

    #[test]
    fn the_way_of_an_execution_is_told() {
        for (execution, text) in [
            (json!({"started": {"step": "a/b"}}), "Step “a/b” begins."),
            (json!({"tried": {"step": "a/b"}}), "Step “a/b” is tried again."),
            (json!({"steps": [{"rc": 0}], "remaining": 1}), "Executed 1 step, all returned 0."),
            (json!({"paused": {"reason": "x"}}), "Execution paused."),
            (json!({"cancelled": {"by": "ann"}}), "Execution cancelled."),
            (json!({}), "Executed, no step recorded."),
        ] {
            let document = told(&[event("execute", &json!({"execution": execution}))]);
            assert_eq!(document.timeline[0].text, text);
        }
    }

    #[test]
    fn who_asks_and_who_orders_is_told() {
        let asked = |request: Value, words: &str| {
            let intent = json!({"source": "api", "initiator": "ines", "tenant": "acme", "request": words});
            told(&[event("plan", &json!({"intent": intent, "request": request}))]).timeline[0].text.clone()
        };
        let two = json!({"resources": [{"type": "a"}, {"type": "b"}]});
        assert_eq!(asked(json!({"request": "create a"}), "create a"), "Asked by “ines”: “create a”.");
        assert_eq!(asked(two.clone(), ""), "Asked by “ines”: 2 resources.");
        assert_eq!(asked(two, "as last week"), "Asked by “ines”: “as last week”, and 2 resources.");
        assert_eq!(asked(json!({"resources": "many"}), ""), "Asked by “ines”, without saying for what.");
        assert_eq!(asked(json!("words"), "words"), "Event of phase plan.", "no request of the door");
        for (order, text) in [
            (
                json!({"kind": "pause", "by": "olga", "reason": "the pager rings"}),
                "Pause ordered by “olga”: “the pager rings”.",
            ),
            (json!({"kind": "rollback_dry_run", "by": "olga"}), "Dry run of the rollback ordered by “olga”."),
            (json!({"kind": "dance"}), "“dance” ordered by “somebody”."),
            (json!({"by": 7}), "Event of phase audit."),
        ] {
            let text = text.replace("“somebody”", "somebody who is not named");
            assert_eq!(told(&[event("audit", &json!({ "order": order }))]).timeline[0].text, text);
        }
    }

    #[test]
    fn its_bytes_are_these() {
        let approval = json!({"approver": "bob", "role": "owners", "decision": "approved", "at": "2025-10-09T12:00:00Z", "signature": "x"});
        let approved = by("chat", event("preflight", &json!({"preflight": {"approvals": [approval]}})));
        let closed = event("audit", &json!({"governance": {"closed": true}}));
        let text = String::from_utf8(told(&[approved, closed]).to_json()).unwrap();
        assert_eq!(text, include_str!("../testdata/change.json"));
    }

    #[test]
    fn entries_may_come_in_any_order_and_twice() {
        let events = [
            event("plan", &json!({"plan": {}})),
            event("execute", &json!({})),
            event("verify", &json!({"attempt": 2})),
        ];
        let logged = logged(&events);
        let entry = |(index, made): &(u64, Made)| (*index, made.clone());
        let straight: Vec<_> = logged.iter().map(entry).collect();
        let mixed: Vec<_> = logged.iter().rev().chain(&logged).map(entry).collect();
        let tell = |logged: &[(u64, Made)]| {
            let entries: Vec<_> = logged
                .iter()
                .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
                .collect();
            document(&change(), &entries, &Context::default()).to_json()
        };
        assert_eq!(tell(&straight), tell(&mixed));
    }

    #[test]
    fn one_after_the_other_they_tell_the_same() {
        let approval =
            json!({"approver": "bob", "role": "owners", "decision": "approved", "at": "2025-10-09T12:00:00Z"});
        let plan = json!({"intent": {"request": "a", "initiator": "ann"}, "governance": {"owner": "x"}, "plan": {"commands": ["a"], "digest": "no"}});
        let again = json!({"intent": {"request": "b"}, "governance": {"owner": "y"}, "plan": {"commands": ["b"]}});
        let mut events = vec![
            event("plan", &plan),
            event("plan", &again),
            by("chat", event("preflight", &json!({"preflight": {"approvals": [approval]}}))),
            event(
                "execute",
                &json!({"attempt": 2, "execution": {"steps": [{"rc": 1}], "agent": "?", "pipe_allow_list": ["rm"]}}),
            ),
            event("verify", &json!({"governance": {"owner": "z"}, "verification": {"drift": {"diff": ["x"]}}})),
            raw("execute", b"{".to_vec()),
            raw("execute", EXAMPLE.into()),
        ];
        events.push(events[0].clone());
        events.push(event("plan", &json!({"intent": {"request": "c"}})));
        let logged = logged(&events);
        let change = change();
        let entries: Vec<_> = logged
            .iter()
            .map(|(index, made)| Entry { index: *index, header: &made.header, payload: Some(&made.payload) })
            .collect();
        let context = Context::default();
        let mut telling = Telling::new(&change, &context);
        for (index, made) in &logged {
            telling.add(*index, &made.header, Some(&made.payload.clone()));
            telling.add(*index, &made.header, None);
        }
        let told = document(&change, &entries, &context);
        assert!(!told.anomalies.is_empty());
        assert_eq!(telling.document().to_json(), told.to_json());
    }

    #[test]
    fn a_change_says_that_it_calls_itself_a_probe() {
        let run = |probe: bool| {
            let mut made = event("execute", &json!({"execution": {"steps": [{"cmd": "drop", "rc": 0}]}}));
            made.header.probe = probe;
            made
        };
        let said = |probes: &[bool]| {
            let events: Vec<_> = probes.iter().map(|probe| run(*probe)).collect();
            let document: serde_json::Value = serde_json::from_slice(&told(&events).to_json()).unwrap();
            let moments = document["timeline"].as_array().unwrap().iter().map(|moment| moment.get("probe").cloned());
            (document.get("probe").cloned(), moments.collect::<Vec<_>>())
        };
        let yes = || Some(json!(true));
        assert_eq!(said(&[true, true]), (yes(), vec![yes(), yes()]));
        assert_eq!(said(&[true, false]), (None, vec![yes(), None]), "one that is none makes the change none");
        assert_eq!(said(&[false]), (None, vec![None]));
    }

    #[test]
    fn entries_of_another_change_are_left_out() {
        let other = ChangeId::parse("d").unwrap();
        let logged = logged(&[event("plan", &json!({"plan": {}}))]);
        let entries = [Entry { index: 10, header: &logged[0].1.header, payload: Some(&logged[0].1.payload) }];
        assert!(document(&other, &entries, &Context::default()).timeline.is_empty());
    }

    #[test]
    fn an_erased_payload_leaves_its_moment_and_an_anomaly() {
        let logged = logged(&[event("plan", &json!({"plan": {}}))]);
        let entry = Entry { index: 10, header: &logged[0].1.header, payload: None };
        let document = document(&change(), &[entry], &Context::default());
        assert_eq!(document.timeline.len(), 1);
        assert_eq!(document.anomalies[0].code, Code::PayloadNotRead);
        assert_eq!(document.initiator, None);
    }

    #[test]
    fn hostile_text_is_kept_as_data_and_harmless_in_sentences() {
        let approver = "\u{202e}ecila\u{0}\n” and “root".to_owned() + &"x".repeat(100_000);
        let approval = json!({"approver": approver, "decision": "approved"});
        let document = told(&[event("preflight", &json!({"preflight": {"approvals": [approval]}}))]);
        assert_eq!(document.approvals[0].approver, approver);
        let text = &document.timeline[0].text;
        assert!(text.starts_with("Approved by “\\u{202e}ecila\\u{0}\\u{a}\\u{201d} and \\u{201c}rootx"), "{text}");
        assert!(text.chars().count() < 200);
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_document(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..4)) {
            let events: Vec<_> = payloads.into_iter().map(|payload| raw("execute", payload)).collect();
            let bytes = told(&events).to_json();
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            prop_assert_eq!(bytes.last(), Some(&b'\n'));
        }
    }
}

//! The work sheet of a sample: for each change drawn, the attributes that auditors of change management test, each with what was found, the
//! entry and the JSON pointer behind it. Pure; it reads evidence packs.
//!
//! `pass` and `exception` rest on what an event says; `not evidenced` means that none says it. A person decides what follows: the sheet saves
//! the looking up, not the judgement.

use std::io::{Cursor, Read, Seek};

use ledger::entry::{EventHeader, Header};
use projector::approval::Rules;
use projector::document::{ChangeDocument, Context, Entry, document};
use projector::facts::Decision;
use projector::fold::State;
use schemas::ids::{ChangeClass, ChangeId};
use serde::Serialize;
use serde_json::Value;

use crate::document::PackDocument;
use crate::files;
use crate::report::Verdict;
use crate::sample::{Drawn, Sample, line};
use crate::trust::Trust;
use crate::verify::{Files, verify_pack};

/// What a test of an attribute found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The evidence says that it was so.
    Pass,
    /// The evidence says that it was not so.
    Exception,
    /// No event says it.
    NotEvidenced,
    /// It is not asked of this change.
    NotApplicable,
}

impl Found {
    /// Its words.
    pub fn words(self) -> &'static str {
        match self {
            Found::Pass => "pass",
            Found::Exception => "exception",
            Found::NotEvidenced => "not evidenced",
            Found::NotApplicable => "not applicable",
        }
    }
}

/// One attribute of one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tested {
    /// The attribute's name.
    pub attribute: &'static str,
    /// What is asked.
    pub question: &'static str,
    /// Where it is asked: SOC 2, PCI DSS v4, DORA.
    pub asked_by: &'static str,
    /// The answer.
    pub found: Found,
    /// What was seen, for a person.
    pub seen: String,
    /// Index of the entry behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// JSON pointer into that entry's event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// The rows of one change.
#[derive(Clone, Debug, Serialize)]
pub struct Sheet {
    /// The change, as drawn.
    pub drawn: Drawn,
    /// How the verification of its pack ended; none where there is no pack.
    pub pack: Option<Verdict>,
    /// Its attributes.
    pub tested: Vec<Tested>,
}

/// Reason, question, who asks: in the order of the sheet.
const ATTRIBUTES: [(&str, &str, &str); 8] = [
    ("reason", "Is the reason on record?", "SOC 2 CC8.1; PCI DSS 6.5.1 (reason for the change); DORA Art. 9(4)(e)"),
    (
        "impact",
        "Is the impact, on security too, on record?",
        "PCI DSS 6.5.1 (security impact); SOC 2 CC8.1; DORA Art. 9(4)(e)",
    ),
    ("tested", "Was it tested before it was approved?", "PCI DSS 6.5.1 (testing); SOC 2 CC8.1; DORA Art. 9(4)(e)"),
    (
        "separation",
        "Are approver, initiator and executor different?",
        "SOC 2 CC8.1; PCI DSS 6.5.1 (authorised parties); DORA Art. 9(4)(e)",
    ),
    (
        "digest",
        "Was the plan that was approved the plan that ran?",
        "SOC 2 CC8.1; PCI DSS 6.5.1 (approval); DORA Art. 9(4)(e)",
    ),
    (
        "back-out",
        "Is there a back-out plan?",
        "PCI DSS 6.5.1 (procedures for failures); SOC 2 CC8.1; DORA Art. 9(4)(e)",
    ),
    ("verified", "Was the result verified?", "SOC 2 CC8.1; PCI DSS 6.5.1; DORA Art. 9(4)(e)"),
    ("emergency", "If it was an emergency: was it approved, if afterwards?", "SOC 2 CC8.1; DORA Art. 9(4)(e)"),
];

/// The sheet of a sample. `pack` gives the evidence pack of a change drawn, if it is there; it is verified with `trust`.
pub fn sheet(sample: &Sample, trust: &Trust, mut pack: impl FnMut(&Drawn) -> Option<Vec<u8>>) -> Vec<Sheet> {
    let rows = |drawn: &Drawn| match pack(drawn) {
        None => Sheet { drawn: drawn.clone(), pack: None, tested: unseen("there is no evidence pack of it here") },
        Some(bytes) => {
            let report = verify_pack(Cursor::new(&bytes), trust);
            let tested = match Evidence::read(Cursor::new(&bytes), &drawn.change.change) {
                Ok(_) if report.verdict == Verdict::Refuted => unseen("its evidence pack is refuted"),
                Ok(evidence) => evidence.tested(),
                Err(why) => unseen(&why),
            };
            Sheet { drawn: drawn.clone(), pack: Some(report.verdict), tested }
        }
    };
    sample.drawn.iter().map(rows).collect()
}

/// The sheet as CSV (RFC 4180), with an empty column for the auditor's remarks.
pub fn to_csv(sheets: &[Sheet]) -> String {
    let mut out = line(&[
        "number",
        "change",
        "attribute",
        "question",
        "found",
        "seen",
        "entry",
        "pointer",
        "asked by",
        "pack",
        "remarks",
    ]);
    for Sheet { drawn, pack, tested } in sheets {
        let verdict = match pack {
            None => "none",
            Some(Verdict::Ok) => "verified",
            Some(Verdict::Refuted) => "refuted",
            Some(Verdict::Undecided) => "undecided",
        };
        for one in tested {
            let (number, entry) =
                (drawn.number.to_string(), one.entry.map(|entry| entry.to_string()).unwrap_or_default());
            let pointer = one.pointer.clone().unwrap_or_default();
            let seen = crate::text::visible(&one.seen);
            out.push_str(&line(&[
                &number,
                &drawn.change.change,
                one.attribute,
                one.question,
                one.found.words(),
                &seen,
                &entry,
                &pointer,
                one.asked_by,
                verdict,
                "",
            ]));
        }
    }
    out
}

fn unseen(why: &str) -> Vec<Tested> {
    (0..ATTRIBUTES.len()).map(|number| row(number, Found::NotEvidenced, why.to_owned(), None)).collect()
}

fn row(number: usize, found: Found, seen: String, at: Option<(u64, &str)>) -> Tested {
    let (attribute, question, asked_by) = ATTRIBUTES[number];
    let pointer = at.map(|(_, pointer)| format!("/provisioning_event{pointer}"));
    Tested { attribute, question, asked_by, found, seen, entry: at.map(|(entry, _)| entry), pointer }
}

/// The events of one change, out of its pack.
struct Evidence {
    document: ChangeDocument,
    events: Vec<(u64, Value)>,
}

impl Evidence {
    fn read(pack: impl Read + Seek, change: &str) -> Result<Evidence, String> {
        let files = Files::scan(pack).map_err(|error| format!("its evidence pack cannot be read: {error}"))?;
        let missing = |name: &str| format!("its evidence pack has no {name}");
        let described = files.get(files::PACK).ok_or_else(|| missing(files::PACK))?;
        let described = PackDocument::parse(&described).map_err(|error| error.to_string())?;
        let id = ChangeId::parse(change).map_err(|error| error.to_string())?;
        if described.change != change {
            return Err(format!("its evidence pack is of {}", described.change));
        }
        let mut read: Vec<(u64, EventHeader, Vec<u8>)> = Vec::new();
        for entry in &described.entries {
            let name = files::entry_name(entry.index);
            let bytes = files.get(&name).ok_or_else(|| missing(&name))?;
            let Ok(Header::Event(header)) = Header::decode(&bytes) else { return Err(format!("{name} is no event")) };
            let event = files::event_name(entry.index, header.phase);
            // An event that was erased says nothing any more.
            read.extend(files.get(&event).map(|payload| (entry.index, header, payload)));
        }
        let entries: Vec<Entry<'_>> = read
            .iter()
            .map(|(index, header, payload)| Entry { index: *index, header, payload: Some(payload) })
            .collect();
        let event = |payload: &[u8]| {
            let mut document: Value = serde_json::from_slice(payload).unwrap_or_default();
            document["provisioning_event"].take()
        };
        let events = read.iter().map(|(index, _, payload)| (*index, event(payload))).collect();
        let rules = Rules::from_changes(&described.origin, described.approval_rules.clone());
        let context = Context { rules, as_of_ms: described.as_of_ms };
        Ok(Evidence { document: document(&id, &entries, &context), events })
    }

    fn tested(&self) -> Vec<Tested> {
        vec![
            self.reason(),
            self.impact(),
            self.tested_before(),
            self.separation(),
            self.digest(),
            self.back_out(),
            self.verified(),
            self.emergency(),
        ]
    }

    /// The first event that has something other than nothing at a pointer: a text that is not blank, or a list that is not empty.
    fn first<'a>(&'a self, pointers: &[&'static str]) -> Option<(u64, &'static str, &'a Value)> {
        self.events.iter().find_map(|(index, event)| {
            pointers.iter().find_map(|pointer| {
                let value = event.pointer(pointer).filter(|value| says_something(value))?;
                Some((*index, *pointer, value))
            })
        })
    }

    fn there(&self, number: usize, pointers: &[&'static str], absent: &str) -> Tested {
        match self.first(pointers) {
            Some((entry, pointer, value)) => row(number, Found::Pass, shown(value), Some((entry, pointer))),
            None => row(number, Found::NotEvidenced, absent.to_owned(), None),
        }
    }

    fn reason(&self) -> Tested {
        self.there(0, &["/intent/reason", "/intent/ticket"], "no event gives a reason or a ticket")
    }

    fn impact(&self) -> Tested {
        self.there(1, &["/plan/impact/security", "/plan/impact/description"], "no plan describes its impact")
    }

    /// Index of the first approval; a refusal is none.
    fn approved_at(&self) -> Option<u64> {
        self.document.approvals.iter().find(|given| given.decided == Decision::Approved).map(|given| given.index)
    }

    fn tested_before(&self) -> Tested {
        let tests = ["/preflight/checks", "/plan/simulation", "/preflight/policies"];
        let Some((entry, pointer, value)) = self.first(&tests) else {
            return row(2, Found::NotEvidenced, "no checks, policies or simulation are on record".to_owned(), None);
        };
        let failed = value.as_array().is_some_and(|list| list.iter().any(|one| one["ok"] == false));
        let at = Some((entry, pointer));
        match self.approved_at() {
            None => row(2, Found::NotEvidenced, format!("tested in entry {entry}; no approval is on record"), at),
            // Within one event the checks stand before the approvals.
            Some(approved) if approved < entry => {
                row(2, Found::Exception, format!("approved in entry {approved}, tested in entry {entry}"), at)
            }
            Some(approved) if failed => {
                row(2, Found::Exception, format!("a test failed, and entry {approved} approves"), at)
            }
            Some(approved) => row(2, Found::Pass, format!("tested in entry {entry}, approved in entry {approved}"), at),
        }
    }

    fn separation(&self) -> Tested {
        let initiator = self.document.initiator.as_deref();
        let executor = self.first(&["/execution/executor", "/execution/agent"]);
        let approvers: Vec<&str> = self.document.approvals.iter().map(|given| given.approver.as_str()).collect();
        let named = executor.map(|(_, _, value)| shown(value));
        let seen = format!(
            "initiator {}, approvers {}, executor {}",
            initiator.unwrap_or("unknown"),
            if approvers.is_empty() { "none".to_owned() } else { approvers.join(", ") },
            named.as_deref().unwrap_or("unknown")
        );
        let at = self.document.approvals.first().map(|given| (given.index, "/preflight/approvals"));
        let same = |a: Option<&str>, b: Option<&str>| a.is_some() && a == b;
        let clash =
            approvers.iter().any(|approver| same(Some(approver), initiator) || same(Some(approver), named.as_deref()))
                || same(initiator, named.as_deref());
        let found = if clash {
            Found::Exception
        } else if approvers.is_empty() || initiator.is_none() || named.is_none() {
            Found::NotEvidenced
        } else {
            Found::Pass
        };
        row(3, found, seen, at)
    }

    fn digest(&self) -> Tested {
        let attempt = self.document.attempts.iter().rev().find(|attempt| attempt.plan_digest.is_some());
        let Some(ran) = attempt.and_then(|attempt| attempt.plan_digest.as_deref()) else {
            return row(4, Found::NotEvidenced, "no plan is on record".to_owned(), None);
        };
        let named = self.document.approvals.iter().rev().find(|given| given.plan_digest.is_some());
        match named {
            None => row(4, Found::NotEvidenced, format!("no approval names a plan; {ran} was in force"), None),
            Some(given) => {
                let approved = given.plan_digest.as_deref().unwrap_or_default();
                let found = if approved == ran { Found::Pass } else { Found::Exception };
                let seen = format!("{} approved {approved}; {ran} was in force", given.approver);
                row(4, found, seen, Some((given.index, "/preflight/approvals")))
            }
        }
    }

    fn back_out(&self) -> Tested {
        self.there(5, &["/rollback/plan"], "no rollback plan is on record")
    }

    fn verified(&self) -> Tested {
        let checks = self.first(&["/verification/checks", "/verification/slo", "/verification/drift"]);
        let at = checks.map(|(entry, pointer, _)| (entry, pointer));
        let state = self.document.attempts.last().map(|attempt| attempt.reached.unwrap_or(attempt.state));
        let word = state.map_or("unknown", State::as_str);
        match state {
            Some(State::Verified) => row(6, Found::Pass, "the checks after it held".to_owned(), at),
            Some(State::VerifyFailed | State::RollingBack | State::RolledBack | State::RollbackFailed) => {
                row(6, Found::Exception, format!("it is {word}"), at)
            }
            _ => row(6, Found::NotEvidenced, format!("it is {word}; no verification that held is on record"), at),
        }
    }

    fn emergency(&self) -> Tested {
        if self.document.class != Some(ChangeClass::Emergency) {
            return row(7, Found::NotApplicable, "it is no emergency".to_owned(), None);
        }
        match self.approved_at() {
            Some(entry) => {
                row(7, Found::Pass, format!("approved in entry {entry}"), Some((entry, "/preflight/approvals")))
            }
            None => row(7, Found::Exception, "an emergency that nobody approved, not even afterwards".to_owned(), None),
        }
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A value for a person: a text as it is, anything else as JSON, not too long.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= 200 { text } else { text.chars().take(199).chain(['…']).collect() }
}

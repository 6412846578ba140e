//! The work sheet of a sample: for each change drawn, the attributes that auditors of change management test, each with what was found, the
//! entry and the JSON pointer behind it. Pure; it reads evidence packs.
//!
//! `pass` and `exception` rest on what an event says; `not evidenced` means that none says it. A person decides what follows: the sheet saves
//! the looking up, not the judgement. Of a pack no more is in memory than one of its events.

mod tests_done;

use std::io::{self, Read, Seek};

use ledger::entry::{EventHeader, Header};
use projector::approval::Rules;
use projector::document::{ChangeDocument, Context, Telling};
use projector::facts::Decision;
use projector::fold::State;
use schemas::ids::{ChangeClass, ChangeId};
use serde::Serialize;
use serde_json::Value;

use crate::document::PackDocument;
use crate::files;
use crate::population::Change;
use crate::report::Verdict;
use crate::sample::{Drawn, Sample, line};
use crate::trust::Trust;
use crate::verify::{Files, verify_pack};
use tests_done::{Failed, Place, Standing, TestsDone};

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

/// The sheet of a sample. `pack` opens the evidence pack of a change drawn, which is verified with `trust`; that it is not there is
/// [`io::ErrorKind::NotFound`].
pub fn sheet<P: Read + Seek>(
    sample: &Sample,
    trust: &Trust,
    mut pack: impl FnMut(&Drawn) -> io::Result<P>,
) -> Vec<Sheet> {
    let rows = |drawn: &Drawn| {
        let (verdict, tested) = match pack(drawn) {
            Ok(pack) => examined(pack, &drawn.change, sample, trust),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (None, Err("there is no evidence pack of it here".to_owned()))
            }
            Err(error) => (Some(Verdict::Undecided), Err(format!("its evidence pack cannot be read: {error}"))),
        };
        Sheet { drawn: drawn.clone(), pack: verdict, tested: tested.unwrap_or_else(|why| unseen(&why)) }
    };
    sample.drawn.iter().map(rows).collect()
}

fn examined<P: Read + Seek>(
    mut pack: P,
    change: &Change,
    sample: &Sample,
    trust: &Trust,
) -> (Option<Verdict>, Result<Vec<Tested>, String>) {
    let verdict = verify_pack(&mut pack, trust).verdict;
    let tested = match verdict {
        Verdict::Refuted => Err("its evidence pack is refuted".to_owned()),
        Verdict::Ok | Verdict::Undecided => Evidence::read(&mut pack, change, sample).map(|evidence| evidence.tested()),
    };
    (Some(verdict), tested)
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

/// What is looked for in the events.
#[derive(Clone, Copy)]
enum What {
    Reason,
    Impact,
    Executor,
    BackOut,
    Checks,
}

impl What {
    const ALL: [What; 5] = [What::Reason, What::Impact, What::Executor, What::BackOut, What::Checks];

    /// Where it may stand, the place that says most first.
    fn pointers(self) -> &'static [&'static str] {
        match self {
            What::Reason => &["/intent/reason", "/intent/ticket"],
            What::Impact => &["/plan/impact/security", "/plan/impact/description"],
            What::Executor => &["/execution/executor", "/execution/agent"],
            What::BackOut => &["/rollback/plan"],
            What::Checks => &["/verification/checks", "/verification/slo", "/verification/drift"],
        }
    }

    /// What an event says of it: something other than nothing.
    fn said_by(self, entry: u64, event: &Value) -> Option<Said> {
        self.pointers().iter().find_map(|pointer| {
            let value = event.pointer(pointer).filter(|value| says_something(value))?;
            Some(Said { entry, pointer, shown: shown(value) })
        })
    }
}

/// The first that the events say of something.
struct Said {
    entry: u64,
    pointer: &'static str,
    shown: String,
}

impl Said {
    fn at(&self) -> (u64, &'static str) {
        (self.entry, self.pointer)
    }
}

/// What the events of one change say, out of its pack.
struct Evidence {
    document: ChangeDocument,
    said: [Option<Said>; What::ALL.len()],
    tests: TestsDone,
}

impl Evidence {
    fn read(pack: impl Read + Seek, change: &Change, sample: &Sample) -> Result<Evidence, String> {
        let files = Files::scan(pack).map_err(|error| format!("its evidence pack cannot be read: {error}"))?;
        let missing = |name: &str| format!("its evidence pack has no {name}");
        let described = files.get(files::PACK).ok_or_else(|| missing(files::PACK))?;
        let described = PackDocument::parse(&described).map_err(|error| error.to_string())?;
        let id = ChangeId::parse(&change.change).map_err(|error| error.to_string())?;
        if described.change != change.change {
            return Err(format!("its evidence pack is of {}", described.change));
        }
        holds_all(&described, change)?;
        of_same_tree(&described, sample)?;
        let mut headers: Vec<(u64, EventHeader)> = Vec::new();
        for entry in &described.entries {
            let name = files::entry_name(entry.index);
            let bytes = files.get(&name).ok_or_else(|| missing(&name))?;
            let Ok(Header::Event(header)) = Header::decode(&bytes) else { return Err(format!("{name} is no event")) };
            headers.push((entry.index, header));
        }
        let rules = Rules::from_changes(&described.origin, described.approval_rules.clone());
        let context = Context { rules, as_of_ms: described.as_of_ms };
        let mut telling = Telling::new(&id, &context);
        let mut said = [const { None }; What::ALL.len()];
        let mut tests = TestsDone::default();
        for (index, header) in &headers {
            // An event that was erased says nothing any more.
            let Some(payload) = files.get(&files::event_name(*index, header.phase)) else { continue };
            let attempt = telling.add(*index, header, Some(&payload));
            let mut document: Value = serde_json::from_slice(&payload).unwrap_or_default();
            let event = document["provisioning_event"].take();
            for (what, said) in What::ALL.into_iter().zip(&mut said).filter(|(_, said)| said.is_none()) {
                *said = what.said_by(*index, &event);
            }
            tests.add(*index, attempt, &event);
        }
        if files.broke() {
            return Err("its evidence pack could not be read a second time".to_owned());
        }
        Ok(Evidence { document: telling.document(), said, tests })
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

    fn first(&self, what: What) -> Option<&Said> {
        self.said[what as usize].as_ref()
    }

    fn there(&self, number: usize, what: What, absent: &str) -> Tested {
        match self.first(what) {
            Some(said) => row(number, Found::Pass, said.shown.clone(), Some(said.at())),
            None => row(number, Found::NotEvidenced, absent.to_owned(), None),
        }
    }

    fn reason(&self) -> Tested {
        self.there(0, What::Reason, "no event gives a reason or a ticket")
    }

    fn impact(&self) -> Tested {
        self.there(1, What::Impact, "no plan describes its impact")
    }

    /// Index of the first approval; a refusal is none.
    fn approved_at(&self) -> Option<u64> {
        self.document.approvals.iter().find(|given| given.decided == Decision::Approved).map(|given| given.index)
    }

    /// Asked of each approval, of which the worst answer counts: an exception, then none, then a pass.
    fn tested_before(&self) -> Tested {
        let Some(last) = self.tests.last() else {
            return row(2, Found::NotEvidenced, "no checks, policies or simulation are on record".to_owned(), None);
        };
        let at = |place: &Place, found: Found, seen: String| row(2, found, seen, Some((place.entry, &place.pointer)));
        let mut worst: Option<Tested> = None;
        for given in self.document.approvals.iter().filter(|given| given.decided == Decision::Approved) {
            let (approved, attempt) = (given.index, given.attempt);
            let standing = self.tests.when_approved(attempt, approved);
            let tested = match (standing, self.tests.first_of(attempt)) {
                (Standing { failed: Some(failed), .. }, _) => {
                    let Failed { place, name } = failed;
                    let seen = format!("{name} failed in entry {}, and entry {approved} approves", place.entry);
                    at(&place, Found::Exception, seen)
                }
                (Standing { last: Some(last), .. }, _) => {
                    let seen = format!("tested in entry {}, approved in entry {approved}", last.entry);
                    at(&last, Found::Pass, seen)
                }
                (Standing { last: None, .. }, Some(first)) => {
                    let seen = format!("approved in entry {approved}, tested in entry {}", first.entry);
                    at(first, Found::Exception, seen)
                }
                (Standing { last: None, .. }, None) => {
                    let seen =
                        format!("attempt {attempt} was approved in entry {approved}, and no test of it is on record");
                    row(2, Found::NotEvidenced, seen, Some((approved, "/preflight/approvals")))
                }
            };
            let rank = |found: Found| {
                [Found::Exception, Found::NotEvidenced].iter().position(|bad| *bad == found).unwrap_or(2)
            };
            if worst.as_ref().is_none_or(|worst| rank(tested.found) < rank(worst.found)) {
                worst = Some(tested);
            }
        }
        worst.unwrap_or_else(|| {
            at(last, Found::NotEvidenced, format!("tested in entry {}; no approval is on record", last.entry))
        })
    }

    fn separation(&self) -> Tested {
        let initiator = self.document.initiator.as_deref();
        let named = self.first(What::Executor).map(|said| said.shown.as_str());
        let approvers: Vec<&str> = self.document.approvals.iter().map(|given| given.approver.as_str()).collect();
        let seen = format!(
            "initiator {}, approvers {}, executor {}",
            initiator.unwrap_or("unknown"),
            if approvers.is_empty() { "none".to_owned() } else { approvers.join(", ") },
            named.unwrap_or("unknown")
        );
        let at = self.document.approvals.first().map(|given| (given.index, "/preflight/approvals"));
        let same = |a: Option<&str>, b: Option<&str>| a.is_some() && a == b;
        let clash = approvers.iter().any(|approver| same(Some(approver), initiator) || same(Some(approver), named))
            || same(initiator, named);
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
        self.there(5, What::BackOut, "no rollback plan is on record")
    }

    fn verified(&self) -> Tested {
        let at = self.first(What::Checks).map(Said::at);
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

/// Whether a pack has the entries that the population counts of its change: one that was cut short before a failure is sound, and says less.
fn holds_all(pack: &PackDocument, change: &Change) -> Result<(), String> {
    let counted = change.first..=change.last;
    let held = pack.entries.iter().filter(|entry| counted.contains(&entry.index)).count() as u64;
    if held == change.events {
        return Ok(());
    }
    let (events, first, last) = (change.events, change.first, change.last);
    Err(format!(
        "its evidence pack leaves out entries: it has {held} of the {events} that the population counts from {first} to {last}; make it anew \
         (`upm pack --sample`)"
    ))
}

/// Whether a pack is of the tree that the population is proved under: of another one, it may be of a history that was made up for it.
fn of_same_tree(pack: &PackDocument, sample: &Sample) -> Result<(), String> {
    if (&pack.origin, pack.size, &pack.root) == (&sample.origin, sample.tree_size, &sample.root) {
        return Ok(());
    }
    let (size, expected) = (pack.size, sample.tree_size);
    let whose = if pack.origin != sample.origin {
        format!("of the log {}, the population is of {}", pack.origin, sample.origin)
    } else if size == expected {
        format!("of another history than the population: at size {size} they have two roots")
    } else {
        format!("of the tree of size {size}, the population of {expected}, and nothing ties them together")
    };
    Err(format!("its evidence pack is {whose}; make it anew (`upm pack --sample`)"))
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

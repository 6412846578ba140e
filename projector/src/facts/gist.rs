//! What the fold of a change asks of one event, read off the tape that admission has made already.
//!
//! [`Facts`] reads the whole event for its document. The fold needs a few words and the marks, and every event of a drain and of a
//! rebuild goes through here: one walk over the tape. That both say the same of every event that is admitted is held by a
//! property test.

use std::borrow::Cow;
use std::ops::Range;

use ledger::entry::EventHeader;
use schemas::ids::Phase;
use schemas::scan::{Kind, Tape, Token};

use super::read::{Decision, Steps, Tests, attempt, decision, is_failure};
use super::{Facts, Visibility, marks_of_header, with_bad_news};
use crate::fold::{Marks, shorten};

/// The gist of one payload: it needs the payload no more.
#[derive(Clone, Debug)]
pub struct Gist {
    attempt: u64,
    marks: Marks,
    asked_visibility: Option<Visibility>,
    /// Request, initiator and owner, shortened, one after the other: one allocation for all three.
    texts: Box<str>,
    request: Option<Range<usize>>,
    initiator: Option<Range<usize>>,
    owner: Option<Range<usize>>,
}

/// What one event says to the fold of its change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said<'a> {
    /// The attempt it belongs to, from 1.
    pub attempt: u64,
    /// What it adds to the state of that attempt.
    pub marks: Marks,
    /// The visibility it asks for: an unknown word asks for `private`, no word for nothing.
    pub asked_visibility: Option<Visibility>,
    /// `intent.request`, shortened.
    pub request: Option<&'a str>,
    /// `intent.initiator`, shortened.
    pub initiator: Option<&'a str>,
    /// `governance.owner`, shortened.
    pub owner: Option<&'a str>,
}

impl Gist {
    /// The gist of a payload that is on the tape, sent in `phase`; none where it holds something else than the schema allows.
    pub fn of(payload: &[u8], tape: &Tape, phase: Phase) -> Option<Self> {
        let tape = Walk { payload, tokens: tape.tokens() };
        let mut event = None;
        tape.members(0, |name, value| {
            if name == b"provisioning_event" {
                event = Some(value);
            }
            Some(())
        })?;
        let mut seen = Seen { attempt: 1.0, ..Seen::default() };
        tape.members(event?, |name, value| tape.section(name, value, &mut seen))?;
        let mut texts = String::new();
        let mut keep = |token: Option<Token>| {
            let text = token?.text(payload);
            let start = texts.len();
            texts.push_str(shorten(&text));
            Some(start..texts.len())
        };
        let (request, initiator, owner) = (keep(seen.request), keep(seen.initiator), keep(seen.owner));
        let (attempt, marks) = (attempt(Some(seen.attempt)), seen.marks(phase));
        let texts = texts.into_boxed_str();
        Some(Self { attempt, marks, asked_visibility: seen.visibility, texts, request, initiator, owner })
    }

    /// Scans a payload and takes its gist.
    pub fn scan(payload: &[u8], tape: &mut Tape, phase: Phase) -> Option<Self> {
        tape.scan(payload, schemas::admit::LIMITS).ok()?;
        Self::of(payload, tape, phase)
    }
}

impl<'a> Said<'a> {
    /// What an event says. Without a gist (its payload was erased or could not be read) the header alone speaks.
    pub fn by(header: &EventHeader, gist: Option<&'a Gist>) -> Self {
        let Some(gist) = gist else {
            let marks = with_bad_news(marks_of_header(header), header.outcome);
            return Self { attempt: 1, marks, ..Self::default() };
        };
        let text = |range: &Option<Range<usize>>| range.clone().and_then(|range| gist.texts.get(range));
        Self {
            attempt: gist.attempt,
            marks: with_bad_news(gist.marks, header.outcome),
            asked_visibility: gist.asked_visibility,
            request: text(&gist.request),
            initiator: text(&gist.initiator),
            owner: text(&gist.owner),
        }
    }
}

impl<'a> From<&'a Facts<'_>> for Said<'a> {
    fn from(facts: &'a Facts<'_>) -> Self {
        let text = |text: &'a Option<Cow<'_, str>>| text.as_deref().map(shorten);
        Self {
            attempt: facts.attempt,
            marks: facts.marks,
            asked_visibility: facts.asked_visibility(),
            request: text(&facts.request),
            initiator: text(&facts.initiator),
            owner: text(&facts.owner),
        }
    }
}

/// What the walk came across.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of its own, and they are independent")]
struct Seen {
    attempt: f64,
    request: Option<Token>,
    initiator: Option<Token>,
    owner: Option<Token>,
    visibility: Option<Visibility>,
    closed: bool,
    plan: bool,
    preflight: Tests,
    policies: Tests,
    approved: bool,
    refused: bool,
    steps: Steps,
    more_steps: bool,
    checks: Tests,
    no_drift: bool,
    rollback: Option<Undone>,
}

/// Whether an item held; none where it does not say.
struct Verdict(Option<bool>);

/// An executed rollback: its steps, and whether its outcome is a failure.
#[derive(Default)]
struct Undone {
    steps: Steps,
    failed: Option<bool>,
}

impl Seen {
    fn marks(&self, phase: Phase) -> Marks {
        let sections = super::Sections {
            closed: self.closed,
            plan: self.plan,
            preflight: self.preflight,
            policies: self.policies,
            approved: self.approved,
            refused: self.refused,
            steps: self.steps,
            more_steps: self.more_steps,
            checks: self.checks,
            no_drift: self.no_drift,
            rollback: self.rollback.as_ref().map(|undone| (undone.steps, undone.failed)),
        };
        sections.marks(phase)
    }
}

struct Walk<'a> {
    payload: &'a [u8],
    tokens: &'a [Token],
}

/// `None` anywhere below: not what the schema allows.
impl Walk<'_> {
    fn token(&self, at: usize) -> Option<Token> {
        self.tokens.get(at).copied()
    }

    /// Hands over name and place of each member of an object; a member that is null is none.
    fn members(&self, object: usize, mut take: impl FnMut(&[u8], usize) -> Option<()>) -> Option<()> {
        let parent = self.token(object).filter(|token| token.kind == Kind::Object)?;
        let mut at = object + 1;
        while at < parent.next as usize {
            let (name, value) = (self.token(at)?, self.token(at + 1)?);
            if value.kind != Kind::Null {
                if name.escaped {
                    take(name.text(self.payload).as_bytes(), at + 1)?;
                } else {
                    take(name.raw(self.payload), at + 1)?;
                }
            }
            at = value.next as usize;
        }
        Some(())
    }

    /// Hands over the place of each item of a list.
    fn items(&self, list: usize, mut take: impl FnMut(usize) -> Option<()>) -> Option<()> {
        let parent = self.token(list).filter(|token| token.kind == Kind::Array)?;
        let mut at = list + 1;
        while at < parent.next as usize {
            take(at)?;
            at = self.token(at)?.next as usize;
        }
        Some(())
    }

    fn text(&self, at: usize) -> Option<Token> {
        self.token(at).filter(|token| token.kind == Kind::String)
    }

    fn boolean(&self, at: usize) -> Option<bool> {
        match self.token(at)?.kind {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    fn number(&self, at: usize) -> Option<f64> {
        let token = self.token(at).filter(|token| token.kind == Kind::Number)?;
        match token.raw(self.payload) {
            b"0" => Some(0.0),
            raw => std::str::from_utf8(raw).ok()?.parse().ok(),
        }
    }

    fn section(&self, name: &[u8], at: usize, seen: &mut Seen) -> Option<()> {
        match name {
            b"attempt" => seen.attempt = self.number(at)?,
            b"intent" => self.members(at, |name, at| {
                match name {
                    b"request" => seen.request = Some(self.text(at)?),
                    b"initiator" => seen.initiator = Some(self.text(at)?),
                    _ => {}
                }
                Some(())
            })?,
            b"governance" => self.governance(at, seen)?,
            b"plan" => seen.plan = self.token(at)?.kind == Kind::Object,
            b"preflight" => self.preflight(at, seen)?,
            b"execution" => self.members(at, |name, at| {
                match name {
                    b"steps" => seen.steps = self.steps(at)?,
                    // It may have any form.
                    b"remaining" => {
                        seen.more_steps = self.number(at).is_some_and(|number| number.is_finite() && number > 0.0);
                    }
                    _ => {}
                }
                Some(())
            })?,
            b"verification" => self.verification(at, seen)?,
            b"rollback" => self.members(at, |name, at| {
                if name == b"executed" {
                    seen.rollback = Some(self.undone(at)?);
                }
                Some(())
            })?,
            _ => {}
        }
        Some(())
    }

    fn governance(&self, at: usize, seen: &mut Seen) -> Option<()> {
        self.members(at, |name, at| {
            match name {
                b"owner" => seen.owner = Some(self.text(at)?),
                b"visibility" => {
                    let word = self.text(at)?;
                    seen.visibility = Some(Visibility::parse(&word.text(self.payload)).unwrap_or_default());
                }
                b"closed" => seen.closed = self.boolean(at)?,
                _ => {}
            }
            Some(())
        })
    }

    fn preflight(&self, at: usize, seen: &mut Seen) -> Option<()> {
        self.members(at, |name, at| {
            match name {
                b"checks" => seen.preflight = self.tests(at, |at| self.ok(at))?,
                b"policies" => seen.policies = self.tests(at, |at| self.policy(at))?,
                b"approvals" => self.items(at, |at| {
                    let decided = self.decided(at)?;
                    seen.approved |= decided == Decision::Approved;
                    seen.refused |= decided == Decision::Refused;
                    Some(())
                })?,
                _ => {}
            }
            Some(())
        })
    }

    fn verification(&self, at: usize, seen: &mut Seen) -> Option<()> {
        self.members(at, |name, at| {
            match name {
                b"checks" | b"slo" => {
                    let more = self.tests(at, |at| self.ok(at))?;
                    seen.checks.count += more.count;
                    seen.checks.passed += more.passed;
                    seen.checks.failed += more.failed;
                }
                b"drift" => self.members(at, |name, at| {
                    if name == b"diff" {
                        let list = self.token(at).filter(|token| token.kind == Kind::Array)?;
                        seen.no_drift = list.next as usize == at + 1;
                    }
                    Some(())
                })?,
                _ => {}
            }
            Some(())
        })
    }

    fn undone(&self, at: usize) -> Option<Undone> {
        let mut undone = Undone::default();
        self.members(at, |name, at| {
            match name {
                b"steps" => undone.steps = self.steps(at)?,
                b"outcome" => undone.failed = Some(is_failure(&self.text(at)?.text(self.payload))),
                _ => {}
            }
            Some(())
        })?;
        Some(undone)
    }

    fn steps(&self, list: usize) -> Option<Steps> {
        let mut steps = Steps::default();
        self.items(list, |at| {
            steps.count += 1;
            self.members(at, |name, at| {
                if name == b"rc" {
                    let succeeded = self.number(at)? == 0.0;
                    steps.succeeded += u64::from(succeeded);
                    steps.failed += u64::from(!succeeded);
                }
                Some(())
            })
        })?;
        Some(steps)
    }

    fn tests(&self, list: usize, verdict: impl Fn(usize) -> Option<Verdict>) -> Option<Tests> {
        let mut tests = Tests::default();
        self.items(list, |at| {
            let Verdict(held) = verdict(at)?;
            tests.count += 1;
            tests.passed += u64::from(held == Some(true));
            tests.failed += u64::from(held == Some(false));
            Some(())
        })?;
        Some(tests)
    }

    fn ok(&self, at: usize) -> Option<Verdict> {
        let mut ok = None;
        self.members(at, |name, at| {
            if name == b"ok" {
                ok = Some(self.boolean(at)?);
            }
            Some(())
        })?;
        Some(Verdict(ok))
    }

    fn policy(&self, at: usize) -> Option<Verdict> {
        let (mut mandatory, mut ok, mut word) = (None, None, Decision::Unclear);
        self.members(at, |name, at| {
            match name {
                b"mandatory" => mandatory = Some(self.boolean(at)?),
                b"ok" => ok = Some(self.boolean(at)?),
                b"decision" => word = decision(Some(&self.text(at)?.text(self.payload))),
                _ => {}
            }
            Some(())
        })?;
        Some(Verdict(super::read::policy_verdict(mandatory, ok, word)))
    }

    fn decided(&self, at: usize) -> Option<Decision> {
        let mut decided = Decision::Unclear;
        self.members(at, |name, at| {
            if name == b"decision" {
                decided = decision(Some(&self.text(at)?.text(self.payload)));
            }
            Some(())
        })?;
        Some(decided)
    }
}

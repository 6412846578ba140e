//! The state of a change, folded from its entries.
//!
//! Each event adds *marks* to the attempt it belongs to; marks are only ever joined, and the state is read off them by precedence, so
//! every order of the same entries, with repeats, gives the same state. The change's state is that of its highest attempt.
//!
//! Precedence is [`table::TABLE`]. A stage outranks the stages before it, but good news never hides bad news:
//! a failed step stays `failed` though a later check passes, and a failed check is not approved away.
//!
//! Version 1. A version is never altered once shipped: packs name it, and verifiers re-derive by it.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use ledger::entry::EventHeader;
use schemas::ids::{ChangeClass, ChangeId, Environment};
use serde::{Deserialize, Serialize};

use crate::facts::{Said, Visibility};

pub mod table;

/// The version of this fold.
pub const FOLD_VERSION: u32 = 1;

/// Longest text that a [`ChangeFold`] keeps of a request, owner or initiator, in characters. Views list changes, so a megabyte
/// in a request must not be rewritten with every batch; the whole text is in the payload.
pub const SUMMARY_CHARS_MAX: usize = 256;

/// The state of a change or of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is on record; nothing further is known of it.
    Planned,
    /// At least one check or policy held and none failed.
    PreflightPassed,
    /// A check before the change failed.
    PreflightFailed,
    /// At least one approval, and none refused.
    Approved,
    /// An approval was refused or a mandatory policy denied it.
    Refused,
    /// Execution began; not every step has a return code.
    Executing,
    /// All steps returned 0.
    Executed,
    /// A step returned something else.
    Failed,
    /// Checks after the change held.
    Verified,
    /// A check or service level after the change did not hold.
    VerifyFailed,
    /// A rollback began; its outcome is not on record.
    RollingBack,
    /// A rollback was executed.
    RolledBack,
    /// A rollback was executed and failed.
    RollbackFailed,
    /// An audit event closed it.
    Closed,
}

impl State {
    /// All states, in the order of the model.
    pub const ALL: [Self; 14] = [
        Self::Planned,
        Self::PreflightPassed,
        Self::PreflightFailed,
        Self::Approved,
        Self::Refused,
        Self::Executing,
        Self::Executed,
        Self::Failed,
        Self::Verified,
        Self::VerifyFailed,
        Self::RollingBack,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::Closed,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::PreflightPassed => "preflight_passed",
            Self::PreflightFailed => "preflight_failed",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Executing => "executing",
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::Verified => "verified",
            Self::VerifyFailed => "verify_failed",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Closed => "closed",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What is known of an attempt: a set that only grows. Stored as its number in views, so a bit keeps its meaning for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(u32);

impl Marks {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A plan section, or an event of phase plan.
    pub const PLANNED: Self = Self(1);
    /// A preflight check or policy held, in an event where none failed.
    pub const PREFLIGHT_PASSED: Self = Self(1 << 1);
    /// A preflight check failed.
    pub const PREFLIGHT_FAILED: Self = Self(1 << 2);
    /// An approval was given.
    pub const APPROVED: Self = Self(1 << 3);
    /// An approval was refused, or a mandatory policy denied.
    pub const REFUSED: Self = Self(1 << 4);
    /// Steps, or an event of phase execute.
    pub const EXECUTING: Self = Self(1 << 5);
    /// All steps of an event returned 0.
    pub const EXECUTED: Self = Self(1 << 6);
    /// A step returned something else.
    pub const FAILED: Self = Self(1 << 7);
    /// Checks held.
    pub const VERIFIED: Self = Self(1 << 8);
    /// A check did not.
    pub const VERIFY_FAILED: Self = Self(1 << 9);
    /// A rollback was begun.
    pub const ROLLING_BACK: Self = Self(1 << 10);
    /// It has an outcome that is no failure.
    pub const ROLLED_BACK: Self = Self(1 << 11);
    /// It failed.
    pub const ROLLBACK_FAILED: Self = Self(1 << 12);
    /// An audit event closed the attempt.
    pub const CLOSED: Self = Self(1 << 13);
    /// Checks after the change, whatever they found.
    pub const CHECKED: Self = Self(Self::VERIFIED.0 | Self::VERIFY_FAILED.0);
    /// Every mark of bad news.
    pub const BAD: Self = Self(
        Self::PREFLIGHT_FAILED.0 | Self::REFUSED.0 | Self::FAILED.0 | Self::VERIFY_FAILED.0 | Self::ROLLBACK_FAILED.0,
    );

    /// Whether any mark of `other` is in this set.
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// This set without those of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set as a number, to be stored.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The set of a stored number.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The state these marks amount to.
    pub fn state(self) -> State {
        if self.any(Self::CLOSED) { State::Closed } else { self.reached() }
    }

    /// The state without regard to closing: what was reached when it was closed.
    pub fn reached(self) -> State {
        let rows = table::TABLE.iter().filter(|row| row.state != State::Closed);
        let found = rows.into_iter().find(|row| self.any(row.mark));
        found.map_or(State::Planned, |row| row.state)
    }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Marks {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// An entry's place in the log and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Index in the log.
    pub index: u64,
    /// The log's time, milliseconds.
    pub at: u64,
}

/// A change as views keep it: of fixed size, whatever its entries hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeFold {
    /// The change.
    pub change: ChangeId,
    /// Its first entry.
    pub first: Place,
    /// Its last entry so far.
    pub last: Place,
    /// Number of entries.
    pub events: u64,
    /// Its highest attempt.
    pub attempt: u64,
    /// What is known of that attempt.
    pub marks: Marks,
    /// Who asked: of the first entry that says so.
    pub initiator: Option<String>,
    /// What was asked: of the first entry that says so.
    pub request: Option<String>,
    /// Who owns it: of the last entry that says so.
    pub owner: Option<String>,
    /// Where: of the last entry that says so.
    pub environment: Option<Environment>,
    /// Standard, normal or emergency: of the last entry that says so.
    pub class: Option<ChangeClass>,
    /// The narrowest that any entry asked for; `None` (nobody asked) is to be treated as private.
    pub asked_visibility: Option<Visibility>,
}

impl ChangeFold {
    /// A change without entries.
    pub fn new(change: ChangeId) -> Self {
        Self {
            change,
            first: Place::default(),
            last: Place::default(),
            events: 0,
            attempt: 1,
            marks: Marks::NONE,
            initiator: None,
            request: None,
            owner: None,
            environment: None,
            class: None,
            asked_visibility: None,
        }
    }

    /// Adds an entry. The state does not depend on the order; the summary (who, what, where) follows the order of
    /// the log, so callers fold in that order.
    pub fn apply(&mut self, index: u64, header: &EventHeader, said: &Said<'_>) {
        let place = Place { index, at: header.at };
        if self.events == 0 || index < self.first.index {
            self.first = place;
        }
        if self.events == 0 || index >= self.last.index {
            self.last = place;
        }
        // `seq` counts from 0 within the change, so a repeat is not counted twice.
        self.events = self.events.max(header.seq.saturating_add(1));
        match said.attempt.cmp(&self.attempt) {
            std::cmp::Ordering::Greater => (self.attempt, self.marks) = (said.attempt, said.marks),
            std::cmp::Ordering::Equal => self.marks |= said.marks,
            std::cmp::Ordering::Less => {}
        }
        self.summarise(header, said);
    }

    /// The state of the highest attempt.
    pub fn state(&self) -> State {
        self.marks.state()
    }

    /// That state, looking through a closing.
    pub fn reached(&self) -> State {
        self.marks.reached()
    }

    /// Who may see the change.
    pub fn visibility(&self) -> Visibility {
        self.asked_visibility.unwrap_or_default()
    }

    fn summarise(&mut self, header: &EventHeader, said: &Said<'_>) {
        if self.initiator.is_none() {
            self.initiator = said.initiator.map(str::to_owned);
        }
        if self.request.is_none() {
            self.request = said.request.map(str::to_owned);
        }
        if said.owner.is_some() && self.owner.as_deref() != said.owner {
            self.owner = said.owner.map(str::to_owned);
        }
        if header.env.is_some() && self.environment != header.env {
            self.environment.clone_from(&header.env);
        }
        self.class = header.class.or(self.class);
        self.asked_visibility = match (self.asked_visibility, said.asked_visibility) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

/// The first characters of a text.
pub(crate) fn shorten(text: &str) -> &str {
    // No text has more characters than bytes.
    if text.len() <= SUMMARY_CHARS_MAX {
        return text;
    }
    text.char_indices().nth(SUMMARY_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::admit::{Has, Outcome, Scratch};
    use schemas::scan::Tape;
    use serde_json::{Value, json};

    use super::*;
    use crate::facts::{Facts, Gist};
    use crate::testing::{Made, change, event, logged, told};

    fn folded(events: &[Made]) -> ChangeFold {
        let mut fold = ChangeFold::new(change());
        for (index, made) in logged(events) {
            fold.apply(index, &made.header, &Said::from(&Facts::of(&made.header, Some(&made.payload))));
        }
        fold
    }

    fn section() -> impl Strategy<Value = Value> {
        let parts = vec![
            json!({}),
            json!({"plan": {"commands": ["a"]}}),
            json!({"preflight": {"checks": [{"ok": true}]}}),
            json!({"preflight": {"checks": [{"ok": false}]}}),
            json!({"preflight": {"approvals": [{"approver": "bob", "decision": "approved"}]}}),
            json!({"preflight": {"approvals": [{"approver": "bob", "decision": "refused"}]}}),
            json!({"execution": {"steps": [{"cmd": "a"}]}}),
            json!({"execution": {"steps": [{"rc": 0}]}}),
            json!({"execution": {"steps": [{"rc": 2}]}}),
            json!({"verification": {"checks": [{"ok": true}]}}),
            json!({"verification": {"checks": [{"ok": false}]}}),
            json!({"rollback": {"executed": {}}}),
            json!({"rollback": {"executed": {"outcome": "passed"}}}),
            json!({"rollback": {"executed": {"outcome": "failed"}}}),
            json!({"governance": {"closed": true}}),
        ];
        prop::sample::select(parts)
    }

    fn events() -> impl Strategy<Value = Vec<Made>> {
        let phase = prop::sample::select(vec!["plan", "preflight", "execute", "verify", "audit"]);
        let one = (phase, section(), section(), 0..4_u8).prop_map(|(phase, a, b, attempt)| {
            let mut sections = a;
            for (name, part) in b.as_object().unwrap() {
                sections[name] = part.clone();
            }
            if attempt > 0 {
                sections["attempt"] = json!(attempt);
            }
            event(phase, &sections)
        });
        prop::collection::vec(one, 1..8)
    }

    proptest! {
        #[test]
        fn marks_agree_with_what_admission_says_of_an_event(events in events()) {
            for made in events {
                let (_, phase, _, said) = schemas::admit::derive(&made.payload, &mut Scratch::default()).unwrap();
                let marks = Facts::of(&made.header, Some(&made.payload)).marks;
                let outcome = match said.outcome {
                    Outcome::RollbackFailed => marks.any(Marks::ROLLBACK_FAILED),
                    Outcome::RolledBack => marks.any(Marks::ROLLING_BACK) && !marks.any(Marks::ROLLBACK_FAILED),
                    Outcome::Failed => marks.any(Marks::PREFLIGHT_FAILED | Marks::FAILED | Marks::VERIFY_FAILED),
                    Outcome::Refused => marks.any(Marks::REFUSED),
                    Outcome::Passed | Outcome::None => !marks.any(Marks::BAD),
                };
                prop_assert!(outcome, "{:?} {:?}", said.outcome, marks);
                prop_assert_eq!(phase, made.header.phase);
                prop_assert_eq!(said.has.includes(Has::EXECUTION), marks.any(Marks::EXECUTING));
                prop_assert_eq!(said.has.includes(Has::ROLLBACK), marks.any(Marks::ROLLING_BACK));
                let gist = Gist::scan(&made.payload, &mut Tape::default(), phase);
                prop_assert!(gist.is_some());
                let facts = Facts::of(&made.header, Some(&made.payload));
                prop_assert_eq!(Said::by(&made.header, gist.as_ref()), Said::from(&facts));
            }
        }

        #[test]
        fn every_order_with_repeats_gives_the_same_state(
            (events, shuffled) in events().prop_flat_map(|events| {
                let twice: Vec<_> = events.iter().chain(&events).cloned().collect();
                (Just(events), Just(twice).prop_shuffle())
            }),
        ) {
            let (straight, mixed) = (folded(&events), folded(&shuffled));
            prop_assert_eq!(straight.state(), mixed.state());
            prop_assert_eq!((straight.attempt, straight.marks), (mixed.attempt, mixed.marks));
            let (told_straight, told_mixed) = (told(&events), told(&shuffled));
            prop_assert_eq!(told_straight.state, straight.state());
            let states = |document: &crate::document::ChangeDocument| -> Vec<_> {
                document.attempts.iter().map(|attempt| (attempt.attempt, attempt.state, attempt.reached)).collect()
            };
            prop_assert_eq!(states(&told_straight), states(&told_mixed));
        }

        #[test]
        fn applying_in_any_order_finds_the_same_first_and_last(events in events(), turn in 0..8_usize) {
            let mut logged = logged(&events);
            let turn = turn % logged.len();
            logged.rotate_left(turn);
            let mut fold = ChangeFold::new(change());
            for (index, made) in logged.iter().chain(&logged) {
                fold.apply(*index, &made.header, &Said::from(&Facts::of(&made.header, Some(&made.payload))));
            }
            prop_assert_eq!(fold.events, events.len() as u64);
            prop_assert_eq!(fold.first.index, 10);
            prop_assert_eq!(fold.last.index, 9 + events.len() as u64);
        }
    }

    #[test]
    fn the_highest_attempt_counts() {
        let failed = event("execute", &json!({"execution": {"steps": [{"rc": 1}]}}));
        let second = event("plan", &json!({"attempt": 2, "plan": {"commands": []}}));
        assert_eq!(folded(&[failed.clone(), second.clone()]).state(), State::Planned);
        assert_eq!(folded(&[second, failed]).attempt, 2);
    }

    #[test]
    fn good_news_never_hides_bad_news() {
        for (marks, expect) in [
            (Marks::FAILED | Marks::VERIFIED | Marks::EXECUTED, State::Failed),
            (Marks::VERIFIED | Marks::VERIFY_FAILED, State::VerifyFailed),
            (Marks::PREFLIGHT_FAILED | Marks::APPROVED, State::PreflightFailed),
            (Marks::REFUSED | Marks::APPROVED, State::Refused),
            (Marks::ROLLED_BACK | Marks::ROLLBACK_FAILED, State::RollbackFailed),
            (Marks::ROLLED_BACK | Marks::FAILED | Marks::VERIFIED, State::RolledBack),
            (Marks::EXECUTED | Marks::REFUSED, State::Executed),
        ] {
            assert_eq!(marks.state(), expect);
            assert_eq!((marks | Marks::CLOSED).state(), State::Closed);
            assert_eq!((marks | Marks::CLOSED).reached(), expect);
        }
    }

    #[test]
    fn a_summary_is_short_and_follows_the_log() {
        let first = event("plan", &json!({"governance": {"owner": "a", "visibility": "org"}}));
        let request = "ä".repeat(1000);
        let intent = json!({"source": "api", "initiator": "mallory", "tenant": "acme", "request": request});
        let second = event("plan", &json!({"intent": intent, "governance": {"owner": "b", "visibility": "team"}}));
        let fold = folded(&[first, second]);
        assert_eq!(fold.owner.as_deref(), Some("b"));
        assert_eq!(fold.initiator.as_deref(), Some("ann"));
        assert_eq!(fold.request.unwrap().chars().count(), SUMMARY_CHARS_MAX);
        assert_eq!(fold.asked_visibility, Some(Visibility::Team));
        assert_eq!(ChangeFold::new(change()).visibility(), Visibility::Private);
    }

    #[test]
    fn states_and_marks_read_back() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert_eq!(State::parse("Planned"), None);
        let marks = Marks::PLANNED | Marks::CLOSED;
        assert_eq!(marks.bits(), 0b10_0000_0000_0001, "stored in views");
        assert_eq!(Marks::from_bits(marks.bits()), marks);
    }

    #[test]
    fn a_fold_survives_json() {
        let fold = folded(&[event("plan", &json!({"plan": {}}))]);
        let text = serde_json::to_string(&fold).unwrap();
        assert_eq!(serde_json::from_str::<ChangeFold>(&text).unwrap(), fold);
    }
}

//! Which tests were on record when somebody approved, and which of them had failed and not been done again. Pure.
//!
//! Tests are the checks and policies of `preflight` and the simulation of a plan. Each attempt has tests of its own: a new attempt has a new
//! plan. A test that failed stands until the same one (same list, type, name and target) is on record again.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{says_something, shown};

/// Where tests stand in an event, in the order of the phases.
const PLACES: [&str; 3] = ["/plan/simulation", "/preflight/checks", "/preflight/policies"];

/// The place of tests, or of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) entry: u64,
    /// JSON pointer into the event.
    pub(super) pointer: String,
}

/// A test that failed.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) place: Place,
    /// Its name, for a person.
    pub(super) name: String,
}

/// How the tests of an attempt stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// The last that were on record; none where there are none.
    pub(super) last: Option<Place>,
    /// The first of those that failed and were not done again.
    pub(super) failed: Option<Failed>,
}

#[derive(Default)]
struct Attempt {
    first: Option<Place>,
    last: Option<Place>,
    /// By what makes it the same test.
    failing: BTreeMap<[u8; 32], Failed>,
    /// By the entry that records approvals.
    when_approved: BTreeMap<u64, Standing>,
}

/// The tests of a change. Events are taken in one by one; of them stay a line for each test that failed and one for each event with approvals.
#[derive(Default)]
pub(super) struct TestsDone {
    attempts: BTreeMap<u64, Attempt>,
}

impl TestsDone {
    /// Takes the next event.
    pub(super) fn add(&mut self, entry: u64, attempt: u64, event: &Value) {
        let attempt = self.attempts.entry(attempt).or_default();
        for pointer in PLACES {
            let Some(tests) = event.pointer(pointer).filter(|tests| says_something(tests)) else { continue };
            let place = Place { entry, pointer: pointer.to_owned() };
            attempt.first.get_or_insert_with(|| place.clone());
            attempt.last = Some(place);
            match tests.as_array() {
                Some(list) => {
                    for (number, test) in list.iter().enumerate() {
                        attempt.one(Place { entry, pointer: format!("{pointer}/{number}") }, pointer, test);
                    }
                }
                None => attempt.one(Place { entry, pointer: pointer.to_owned() }, pointer, tests),
            }
        }
        // Within one event the tests stand before the approvals.
        if event.pointer("/preflight/approvals").is_some_and(says_something) {
            let standing = attempt.standing();
            attempt.when_approved.insert(entry, standing);
        }
    }

    /// How the tests of an attempt stood when an entry recorded approvals.
    pub(super) fn when_approved(&self, attempt: u64, entry: u64) -> Standing {
        let found = self.attempts.get(&attempt).and_then(|attempt| attempt.when_approved.get(&entry));
        found.cloned().unwrap_or_default()
    }

    /// The first tests of an attempt.
    pub(super) fn first_of(&self, attempt: u64) -> Option<&Place> {
        self.attempts.get(&attempt)?.first.as_ref()
    }

    /// The last tests of the last attempt that has any.
    pub(super) fn last(&self) -> Option<&Place> {
        self.attempts.values().rev().find_map(|attempt| attempt.last.as_ref())
    }
}

impl Attempt {
    fn one(&mut self, place: Place, list: &str, test: &Value) {
        let same = same(list, test);
        if failed(test) {
            let said = ["name", "type"].into_iter().find_map(|member| test[member].as_str());
            let name = said.map_or_else(|| list.to_owned(), |name| shown(&Value::from(name)));
            self.failing.insert(same, Failed { place, name });
        } else {
            self.failing.remove(&same);
        }
    }

    fn standing(&self) -> Standing {
        let first = self.failing.values().min_by_key(|failed| (failed.place.entry, &failed.place.pointer));
        Standing { last: self.last.clone(), failed: first.cloned() }
    }
}

/// What makes it the same test: never its result or its words.
fn same(list: &str, test: &Value) -> [u8; 32] {
    Sha256::digest(
        Value::from(vec![Value::from(list), test["type"].clone(), test["name"].clone(), test["target"].clone()])
            .to_string(),
    )
    .into()
}

/// `ok: false`, or a decision that refuses. A policy that is not mandatory may say so without consequence.
fn failed(test: &Value) -> bool {
    let refused = test["decision"].as_str().is_some_and(schemas::rules::is_refusal);
    (test["ok"] == false || refused) && test["mandatory"] != false
}

//! Answers that the plan worker got when it went through its plan, for preflight, which puts the same questions a moment later: a question is a process, and
//! processes are most of what a change takes.
//!
//! Handed over once, to the same change, within the same process, and for so short a time that it makes no difference to what an answer is worth: a step's own check
//! is asked again right before it runs. Without them preflight asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use schemas::ids::{ChangeId, Tenant};
use workers::preflight::Answer;

use super::Case;

/// How long an answer is handed over.
const FRESH_MS: u64 = 2_000;

type Key = (Tenant, ChangeId);

/// Answers by the arguments that they answer.
pub(super) type ByArgv = BTreeMap<Vec<String>, Answer>;

/// Answers of changes that were just planned.
#[derive(Default)]
pub struct Fresh(Mutex<BTreeMap<Key, (u64, ByArgv)>>);

impl Fresh {
    /// Keeps answers for whoever looks next.
    pub(super) fn put(&self, case: &Case, now_ms: u64, answers: ByArgv) {
        let mut kept = self.lock();
        kept.retain(|_, (at_ms, _)| now_ms.saturating_sub(*at_ms) <= FRESH_MS);
        kept.insert((case.tenant.clone(), case.change.clone()), (now_ms, answers));
    }

    /// Hands them over; they are gone then.
    pub(super) fn take(&self, case: &Case, now_ms: u64) -> ByArgv {
        let kept = self.lock().remove(&(case.tenant.clone(), case.change.clone()));
        kept.filter(|(at_ms, _)| now_ms.saturating_sub(*at_ms) <= FRESH_MS)
            .map(|(_, answers)| answers)
            .unwrap_or_default()
    }

    /// A lock whose holder panicked still guards plain values.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, (u64, ByArgv)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_handed_over_once_and_only_while_they_are_fresh() {
        let case = |change: &str| {
            Case::new(Tenant::parse("acme").expect("a name"), ChangeId::parse(change).expect("an id"), Vec::new())
        };
        let answers = || ByArgv::from([(vec!["ls".to_owned()], Answer { code: Some(0), ..Answer::default() })]);
        let fresh = Fresh::default();
        fresh.put(&case("c-1"), 1_000, answers());
        assert_eq!(fresh.take(&case("c-2"), 1_000), ByArgv::new(), "those of another change are not one's own");
        assert_eq!(fresh.take(&case("c-1"), 3_000), answers());
        assert_eq!(fresh.take(&case("c-1"), 3_000), ByArgv::new(), "once");
        fresh.put(&case("c-1"), 1_000, answers());
        assert_eq!(fresh.take(&case("c-1"), 3_001), ByArgv::new(), "the world may be another one by now");
    }
}

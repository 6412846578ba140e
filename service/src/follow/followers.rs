//! The leader's side of following: the copies that sweeping waits for (`serve --follower NAME`), and how far each said it is.
//!
//! What they said is not kept: after a restart the road waits until each has said it again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::kv::Kv;
use ledger::read::Log;
use pipeline::Followers as Hook;
use schemas::ids::Tenant;

use crate::http::Report;

/// Epoch and sequence of the road that a follower has, by log.
type Standings = BTreeMap<u32, (u32, u64)>;

/// Known followers, and where each log of theirs stands: epoch and sequence of the road, by log.
#[derive(Debug, Default)]
pub struct Followers {
    known: Mutex<BTreeMap<String, Standings>>,
}

impl Followers {
    /// These, none of which has said anything yet.
    pub fn named(names: &[String]) -> Self {
        Self { known: Mutex::new(names.iter().map(|name| (name.clone(), BTreeMap::new())).collect()) }
    }

    /// Takes a report. False if nobody of this name is known.
    pub fn report(&self, report: &Report) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(logs) = known.get_mut(&report.follower) else { return false };
        logs.extend(report.logs.iter().map(|log| (log.log, (log.epoch, log.road))));
        true
    }

    /// The lowest sequence of the road `epoch` that any of them has; 0 for one that is on another or said nothing.
    pub fn lowest(&self, log: u32, epoch: u32) -> Option<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |logs: &Standings| match logs.get(&log) {
            Some((at, sequence)) if *at == epoch => *sequence,
            _ => 0,
        };
        known.values().map(at).min()
    }

    /// What sweeping asks.
    pub fn hook<K: Kv + 'static>(self: &Arc<Self>, kv: &Arc<K>) -> Hook {
        let (followers, kv) = (Arc::clone(self), Arc::clone(kv));
        Arc::new(move |tenant: &Tenant| {
            if followers.known.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return None;
            }
            // What can't be read is not swept.
            let log = ledger::birth::log_of(&*kv, tenant).ok().flatten()?;
            let head = Log::open(&*kv, log).and_then(|log| log.head());
            head.map_or(Some(0), |head| followers.lowest(log.0, head.epoch))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ReportedLog;

    #[test]
    fn sweeping_waits_for_the_slowest_on_the_same_road() {
        let followers = Followers::named(&["a".to_owned(), "b".to_owned()]);
        let report = |follower: &str, epoch, road| {
            let logs = vec![ReportedLog { log: 1, epoch, road }];
            followers.report(&Report { follower: follower.to_owned(), logs })
        };
        assert_eq!(followers.lowest(1, 0), Some(0), "nobody said anything");
        assert!(report("a", 0, 9));
        assert_eq!(followers.lowest(1, 0), Some(0));
        assert!(report("b", 0, 5));
        assert_eq!(followers.lowest(1, 0), Some(5));
        assert!(report("b", 1, 2));
        assert_eq!((followers.lowest(1, 0), followers.lowest(1, 1)), (Some(0), Some(0)), "on different roads");
        assert!(!report("c", 0, 99), "a stranger holds nothing back");
        assert_eq!(Followers::named(&[]).lowest(1, 0), None);
    }
}

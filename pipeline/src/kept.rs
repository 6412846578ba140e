//! The highest signed head of each log, kept where a lost or restored store does not take it along. Between commit and release: a
//! head that nobody has seen may be lost, one that somebody has seen must not be.
//!
//! Left out: where they are kept, and what is compared when a ledger is opened (`service`).

use std::time::Duration;

use ledger::append::{Committed, LogId};
use ledger::checkpoint::Origin;
use tokio::sync::watch;

use crate::shared::Common;

/// Where the highest signed heads are kept.
///
/// Contract: [`keep`](Self::keep) replaces the head that it kept last by a newer one of the same log, durably, or changes nothing;
/// what is kept by anybody else meanwhile is a [`KeepError::Conflict`]. Called by one thread.
pub trait KeptHeads: Send + Sync {
    /// Keeps the note over the newest head of a log, of `size` entries.
    fn keep(&self, origin: &Origin, size: u64, note: &str) -> Result<(), KeepError>;
}

/// Why a head was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The place can't be written to now; tried again.
    #[error("the signed head of {origin} can't be kept: {reason}")]
    Unavailable {
        /// Which log.
        origin: Origin,
        /// What the system said.
        reason: String,
    },
    /// Another head is kept than we kept last: somebody else goes on with this log. Never tried again.
    #[error("another head of {origin} is kept than we kept last: {reason}")]
    Conflict {
        /// Which log.
        origin: Origin,
        /// What is there.
        reason: String,
    },
}

/// Under this name it is said that nothing can be released.
pub(crate) const WHO: &str = "kept heads";
/// How long until it is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Why a durable round is not released.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    #[error(transparent)]
    Conflict(KeepError),
    #[error("stopping, and the last round's heads could not be kept; they are released after the next start")]
    Stopping,
}

/// Keeps the heads of a durable round. Where the place is gone it waits for it, and says so: meanwhile nothing is released and
/// nothing more is appended.
pub(crate) fn keep(
    kept: &dyn KeptHeads,
    committed: &Committed,
    common: &Common,
    stop: &watch::Receiver<bool>,
) -> Result<(), NotKept> {
    // `_ledger` first: no act is shown before its listing is.
    let (own, others): (Vec<_>, Vec<_>) = committed.logs().iter().partition(|log| log.head.log == LogId::LEDGER);
    for log in own.into_iter().chain(others).filter(|log| log.head.size != log.base_size) {
        loop {
            match kept.keep(&log.head.origin, log.head.size, &log.checkpoint) {
                Ok(()) => break,
                Err(conflict @ KeepError::Conflict { .. }) => return Err(NotKept::Conflict(conflict)),
                Err(error) => {
                    common.troubles.set(WHO, format!("nothing is released until heads can be kept again: {error}"));
                    if *stop.borrow() {
                        return Err(NotKept::Stopping);
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }
    common.troubles.clear(WHO);
    Ok(())
}

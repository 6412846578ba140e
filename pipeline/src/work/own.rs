//! Whose word counts: the producer tokens that are the ledger's own (`workers::own`). The child server refuses to carry what anybody else publishes under them
//! (`crate::server`); on a NATS of somebody else its permissions have to (`docs/workers.md`).

pub use workers::own::{APPROVALS, DRIFT, ORDERS, PRODUCERS, REQUEST, ROLLBACK};

use super::Stored;

/// Whether an entry may be a request.
pub fn may_ask(stored: &Stored) -> bool {
    stored.header.producer.as_ref().is_some_and(|name| workers::own::may_ask(name.as_str()))
}

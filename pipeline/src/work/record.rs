//! The ledger as workers see it. `service` implements it twice: over the open logs in one process, and over HTTP for `upm work` beside a server.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use ledger::entry::EventHeader;
use projector::document::Context;
use schemas::ids::{ChangeId, Tenant};
use serde_json::Value;

/// Reads what workers act on.
pub trait Record: Send + Sync + 'static {
    /// Accepted events of a change, oldest first, payloads as stored; none where the change is not known. All that workers and doors have said; of what anybody else
    /// may publish only so much.
    fn change<'a>(
        &'a self,
        tenant: &'a Tenant,
        change: &'a ChangeId,
    ) -> BoxFuture<'a, Result<Vec<Stored>, RecordError>>;

    /// Returns once the message with this sequence on the tenant's road is an entry or a rejection, with the change that its event belongs to;
    /// none for what is no new event: rejections, duplicates and administrative acts.
    fn decided<'a>(
        &'a self,
        tenant: &'a Tenant,
        road_sequence: u64,
    ) -> BoxFuture<'a, Result<Option<ChangeId>, RecordError>>;

    /// The tenant's approval rule over the life of the log, and the log's time.
    fn context<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Context, RecordError>>;

    /// Changes that are under way: begun, and neither closed nor at another end. Whoever starts looks at them, whatever became of the messages
    /// that woke for them; at most some thousands, the newest first.
    fn open<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Vec<ChangeId>, RecordError>>;

    /// The tenants that are worked for.
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, RecordError>>;
}

/// Why the ledger could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The server does not answer, or is stopping.
    #[error("the ledger does not answer: {0}")]
    Away(String),
    /// It answers, and can't tell.
    #[error("the ledger could not be read: {0}")]
    Unreadable(String),
    /// The change has more than can be read of one, and trying again does not help.
    #[error("the change is too large: {0}")]
    TooLarge(String),
}

/// One accepted event of a change. Cheap to clone; clones share what was read of it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Index of its entry.
    pub index: u64,
    /// The entry's header.
    pub header: Arc<EventHeader>,
    /// The event as stored; none where it was erased.
    pub payload: Option<Bytes>,
    /// What the payload says, once somebody has asked.
    event: Arc<OnceLock<Value>>,
}

impl Stored {
    /// An event as the log has it.
    pub fn new(index: u64, header: EventHeader, payload: Option<Bytes>) -> Self {
        Self { index, header: Arc::new(header), payload, event: Arc::default() }
    }

    /// Whether its subject names this producer. On a road without credentials that is a claim.
    pub fn is_by(&self, producer: &str) -> bool {
        self.header.producer.as_ref().is_some_and(|name| name.as_str() == producer)
    }

    /// The event: what `provisioning_event` holds. Null where it is gone or can't be read. Read once, however many workers ask.
    pub fn event(&self) -> &Value {
        self.event.get_or_init(|| {
            let mut document: Value =
                self.payload.as_ref().and_then(|payload| serde_json::from_slice(payload).ok()).unwrap_or_default();
            document.get_mut("provisioning_event").map(Value::take).unwrap_or_default()
        })
    }
}

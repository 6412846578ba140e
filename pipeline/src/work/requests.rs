//! The door for requests: over HTTP, on `upm.requests.<tenant>`, and by `upm request`. A request becomes an event on the tenant's road, like any
//! other, and is answered with its change once that is durable. What is done about it is the workers'.
//!
//! Asking again with the same `change_id` and the same words is answered with the same entry; with other words it is refused, because the change
//! is another one.

use std::sync::Arc;

use async_nats::Client;
use bytes::Bytes;
use futures::StreamExt as _;
use schemas::admit::{self, Scratch};
use schemas::ids::{ChangeId, Producer as ProducerName, Tenant};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use workers::build;
use workers::request::json::JsonError;
use workers::request::put::{Naming, Put};

use super::case::event_id;
use super::{Case, Record, RecordError};
use crate::answer::may_answer_to;
use crate::config::{Clock, Entropy};
use crate::produce::{OnRoad, Outgoing, ProduceError, Producer};

/// What producers of request events are called on the road.
pub const PRODUCER: &str = super::own::REQUEST;

/// Where requests arrive over NATS; the last token is the tenant.
pub const SUBJECTS: &str = "upm.requests.*";

/// All servers on one NATS answer as one.
const QUEUE: &str = "upm-requests";

/// Requests that are worked on at once.
const AT_ONCE: usize = 64;

/// Takes requests.
#[derive(Clone)]
pub struct Door {
    /// The ledger.
    pub record: Arc<dyn Record>,
    /// The road.
    pub producer: Producer,
    /// The clock.
    pub clock: Clock,
    /// Randomness for ids of changes.
    pub entropy: Entropy,
}

/// A request that is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its change.
    pub change: ChangeId,
    /// Index of its entry.
    pub index: u64,
    /// False where the same was asked before.
    pub is_new: bool,
}

/// Why a request is not on record.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It can't be read.
    #[error("the request, {0}")]
    Wrong(#[from] JsonError),
    /// Admission would not let its event in.
    #[error("the request can't be recorded: {0}")]
    Refused(String),
    /// The change is another one already.
    #[error("change {change} is there already, {how}")]
    Taken {
        /// The change.
        change: ChangeId,
        /// What it is.
        how: String,
    },
    /// There is no such tenant.
    #[error("there is no tenant {0}; `upm tenant add {0}` makes it")]
    UnknownTenant(Tenant),
    /// The ledger could not be asked.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The event could not be published.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

impl Taken {
    /// As it is answered: `{"change", "index", "status", "tenant"}`.
    pub fn document(&self, tenant: &Tenant) -> Value {
        let status = if self.is_new { "accepted" } else { "duplicate" };
        json!({ "tenant": tenant, "change": self.change, "index": self.index, "status": status })
    }
}

impl Door {
    /// Puts a request on record.
    pub async fn put(&self, tenant: &Tenant, body: &[u8]) -> Result<Taken, RequestError> {
        if !self.record.tenants().await?.contains(tenant) {
            return Err(RequestError::UnknownTenant(tenant.clone()));
        }
        let put = Put::read(body)?;
        let (change, is_named) = match &put.change {
            Some(change) => (change.clone(), true),
            None => (self.new_change()?, false),
        };
        let attempt = u64::from(put.attempt);
        let id = event_id(&change, attempt, "request");
        let timestamp = build::rfc3339(i64::try_from((self.clock)()).unwrap_or(i64::MAX));
        let naming = Naming { id: &id, change: &change, tenant: tenant.as_str(), timestamp: &timestamp };
        let (fields, sections) = put.event(&naming);
        let outgoing = outgoing(&build::event(&fields, &sections))?;
        if is_named && let Some(taken) = self.before(tenant, &change, attempt, &id, &outgoing).await? {
            return Ok(taken);
        }
        let on_road = self.producer.publish_once(&outgoing, &id).await?;
        let mut case = self.decided(tenant, &change, on_road).await?;
        if on_road.is_repeated && case.request_by_id(&id).is_none() {
            // A message of somebody else has the name.
            let on_road = self.producer.publish(&outgoing).await?;
            case = self.decided(tenant, &change, on_road).await?;
        }
        let (stored, event) = case
            .request_by_id(&id)
            .ok_or_else(|| RequestError::Refused(format!("message {} of the road is no entry", on_road.sequence)))?;
        same(&change, event, &outgoing)?;
        Ok(Taken { change, index: stored.index, is_new: stored.payload.as_deref() == Some(&*outgoing.payload) })
    }

    /// The change once a message is decided.
    async fn decided(&self, tenant: &Tenant, change: &ChangeId, on_road: OnRoad) -> Result<Case, RequestError> {
        self.record.decided(tenant, on_road.sequence).await?;
        Ok(Case::read(&*self.record, tenant, change).await?)
    }

    /// The same asked before, if so; refused where the change is something else already.
    async fn before(
        &self,
        tenant: &Tenant,
        change: &ChangeId,
        attempt: u64,
        id: &str,
        outgoing: &Outgoing,
    ) -> Result<Option<Taken>, RequestError> {
        let case = Case::read(&*self.record, tenant, change).await?;
        if let Some((stored, event)) = case.request_by_id(id) {
            same(change, event, outgoing)?;
            return Ok(Some(Taken { change: change.clone(), index: stored.index, is_new: false }));
        }
        if let Some((stored, _)) = case.plan(attempt) {
            let how = format!(
                "with a plan (entry {}); ask for its next attempt with \"attempt\": {}",
                stored.index,
                attempt + 1
            );
            return Err(RequestError::Taken { change: change.clone(), how });
        }
        let reached = case.reached();
        if reached > 0 && attempt > reached + 1 {
            let how = format!("at attempt {reached}; found \"attempt\": {attempt}, expected at most {}", reached + 1);
            return Err(RequestError::Taken { change: change.clone(), how });
        }
        Ok(None)
    }

    /// A UUID version 7.
    fn new_change(&self) -> Result<ChangeId, RequestError> {
        let mut random = [0; 10];
        (self.entropy)(&mut random);
        let text = build::uuid_v7((self.clock)(), random);
        ChangeId::parse(&text).map_err(|error| RequestError::Refused(error.to_string()))
    }

    /// Answers requests over NATS until `stop` is cancelled.
    pub async fn listen(self, client: Client, stop: CancellationToken) -> Result<(), async_nats::SubscribeError> {
        let mut requests = client.queue_subscribe(SUBJECTS, QUEUE.to_owned()).await?;
        let room = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = requests.next() => message,
            };
            let Some(message) = message else { return Ok(()) };
            let Ok(held) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
            let (door, client) = (self.clone(), client.clone());
            tokio::spawn(async move {
                door.answer(&client, &message).await;
                drop(held);
            });
        }
    }

    async fn answer(&self, client: &Client, message: &async_nats::Message) {
        let tenant = message.subject.rsplit('.').next().map(Tenant::parse);
        let Some(Ok(tenant)) = tenant else { return };
        let document = match self.put(&tenant, &message.payload).await {
            Ok(taken) => taken.document(&tenant),
            Err(error) => {
                tracing::info!(%tenant, %error, "a request over NATS was not taken");
                json!({ "tenant": tenant, "status": "refused", "reason": error.to_string() })
            }
        };
        let Some(reply) = message.reply.as_ref().filter(|reply| may_answer_to(reply, &tenant)) else { return };
        if let Err(error) = client.publish(reply.clone(), Bytes::from(document.to_string())).await {
            tracing::warn!(%tenant, %error, "a request over NATS could not be answered");
        }
    }
}

/// The event as it will be stored, and its subject.
fn outgoing(event: &[u8]) -> Result<Outgoing, RequestError> {
    let refused = |reason: String| RequestError::Refused(reason);
    let mut scratch = Scratch::default();
    let (mut subject, admitted) =
        admit::admit_unaddressed(event, &mut scratch).map_err(|rejection| refused(rejection.to_string()))?;
    subject.producer = Some(ProducerName::parse(PRODUCER).map_err(|error| refused(error.to_string()))?);
    Ok(Outgoing { subject: subject.to_string(), payload: admitted.payload.into_owned().into() })
}

/// Refused where another request has the change: what was asked is compared, not when.
fn same(change: &ChangeId, event: &Value, outgoing: &Outgoing) -> Result<(), RequestError> {
    let asked: Value = serde_json::from_slice(&outgoing.payload).unwrap_or_default();
    if asked["provisioning_event"]["request"] == event["request"] {
        return Ok(());
    }
    let how = "and something else was asked for in it; leave change_id out, or name another one".to_owned();
    Err(RequestError::Taken { change: change.clone(), how })
}

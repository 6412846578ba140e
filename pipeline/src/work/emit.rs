//! How a worker publishes: each event once, whoever else works on the same change.
//!
//! Three things together make it once. What is on record under this id already is not said again. What is published carries its id as
//! `Nats-Msg-Id`, so that of two workers in the same moment the road takes one. And whoever lost is told: what counts is what is on record.

use schemas::admit::{self, Scratch};
use schemas::ids::{Phase, Producer, Subject};
use serde_json::Value;
use workers::build::{self, Fields, Sections};

use super::{Case, Shop, Stored, WorkError};
use crate::produce::Outgoing;

/// An event to publish.
#[derive(Debug, Clone)]
pub struct Emit {
    /// [`Case::event_id`].
    pub id: String,
    /// Its phase.
    pub phase: Phase,
    /// Which attempt it is of.
    pub attempt: u64,
    /// What it says. One named `environment` is the event's; without it, it is the change's.
    pub sections: Sections,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emitted {
    /// Index of the entry with its id.
    pub index: u64,
    /// Whether that entry is what this call published. False where another worker, or this one before a restart, said it first in other words:
    /// whoever needs to know puts [`Shop::instance`] into the event.
    pub ours: bool,
}

impl Shop {
    /// Publishes an event of the change, once, and returns when it is durable. Who asked, where and why are those of the change.
    pub async fn emit(&self, case: &Case, event: Emit) -> Result<Emitted, WorkError> {
        if let Some(stored) = self.said(&case.entries, &event) {
            return Ok(Emitted { index: stored.index, ours: false });
        }
        let (subject, payload) = self.bytes(case, &event)?;
        let outgoing = Outgoing { subject: subject.to_string(), payload: payload.clone().into() };
        let on_road = self.producer.publish_once(&outgoing, &event.id).await?;
        self.record.decided(&case.tenant, on_road.sequence).await?;
        let recorded = self.record.change(&case.tenant, &case.change).await?;
        let stored = self.said(&recorded, &event).ok_or_else(|| WorkError::Refused {
            id: event.id.clone(),
            reason: format!(
                "message {} of the road is not the entry that it should be; `upm rejected list` may say why",
                on_road.sequence
            ),
        })?;
        let ours = stored.payload.as_deref() == Some(payload.as_slice());
        Ok(Emitted { index: stored.index, ours })
    }

    /// The entry in which this worker, in whatever process, said it. Ids are not unique, and an event of somebody else that has taken one says nothing for us.
    fn said<'a>(&self, entries: &'a [Stored], event: &Emit) -> Option<&'a Stored> {
        let is_ours = |stored: &&Stored| stored.header.phase == event.phase && stored.is_by(self.worker);
        entries.iter().filter(is_ours).find(|stored| stored.header.id.as_str() == event.id)
    }

    /// The event as the ledger will store it: secrets are masked before they leave this process.
    fn bytes(&self, case: &Case, event: &Emit) -> Result<(Subject, Vec<u8>), WorkError> {
        let refused = |reason: String| WorkError::Refused { id: event.id.clone(), reason };
        let (mut fields, mut sections) = (self.fields(case, event), event.sections.clone());
        if let Some(environment) = sections.take("environment") {
            fields.environment = environment.as_str().map(str::to_owned);
        }
        let bytes = build::event(&fields, &sections);
        let mut scratch = Scratch::default();
        let admitted =
            admit::admit_unaddressed(&bytes, &mut scratch).map_err(|rejection| refused(rejection.to_string()))?;
        let (mut subject, admitted) = admitted;
        subject.producer = Some(Producer::parse(self.worker).map_err(|error| refused(error.to_string()))?);
        Ok((subject, admitted.payload.into_owned()))
    }

    fn fields(&self, case: &Case, event: &Emit) -> Fields {
        let said = |pointer: &str| {
            let mut events = case.events().filter_map(|(_, event)| event.pointer(pointer)?.as_str());
            events.next().map(str::to_owned)
        };
        let newest = |name: &str| {
            let mut events = case.events().rev().filter_map(|(_, event)| event[name].as_str());
            events.next().map(str::to_owned)
        };
        Fields {
            id: event.id.clone(),
            timestamp: build::rfc3339(i64::try_from(self.now_ms()).unwrap_or(i64::MAX)),
            phase: event.phase,
            change: Some(case.change.to_string()),
            environment: newest("environment"),
            class: newest("change_class"),
            attempt: (event.attempt > 1).then(|| u32::try_from(event.attempt).unwrap_or(u32::MAX)),
            probe: !case.entries.is_empty() && case.events().all(|(_, event)| event["probe"] == Value::Bool(true)),
            request: None,
            source: said("/intent/source").unwrap_or_else(|| "api".to_owned()),
            initiator: said("/intent/initiator").unwrap_or_else(|| self.worker.to_owned()),
            tenant: case.tenant.to_string(),
            reason: None,
            ticket: said("/intent/ticket"),
        }
    }
}

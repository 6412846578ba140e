//! How a worker publishes: each event once, whoever else works on the same change.
//!
//! Three things together make it once. What is on record under this id already is not said again. What is published carries its id as
//! `Nats-Msg-Id`, so that of two workers in the same moment the road takes one. And whoever lost is told: what counts is what is on record.
//!
//! That name may be taken by a message of somebody else, who sees ids on record and can guess the next one. Then the event is published without it: two workers in
//! the same moment are on record twice, and the first of the two counts.

use schemas::admit::{self, Scratch};
use schemas::ids::{ChangeId, Phase, Producer, Subject, Tenant};
use serde_json::{Value, json};
use workers::build::{self, Fields, Sections};

use super::{Case, Shop, Stored, WorkError};
use crate::produce::{OnRoad, Outgoing};

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
    /// It stood in the case as the caller had it.
    pub was_known: bool,
}

impl Shop {
    /// Publishes an event of the change, once, and returns when it is durable. Who asked, where and why are those of the change.
    pub async fn emit(&self, case: &Case, event: Emit) -> Result<Emitted, WorkError> {
        if let Some(stored) = self.said(&case.entries, &event) {
            return Ok(Emitted { index: stored.index, ours: false, was_known: true });
        }
        let (subject, payload) = self.bytes(case, &event)?;
        let outgoing = Outgoing { subject: subject.to_string(), payload: payload.into() };
        let mut on_road = self.producer.publish_once(&outgoing, &event.id).await?;
        let mut emitted = self.recorded(case, &event, &outgoing, on_road).await?;
        if emitted.is_none() && on_road.is_repeated {
            on_road = self.producer.publish(&outgoing).await?;
            emitted = self.recorded(case, &event, &outgoing, on_road).await?;
        }
        emitted.ok_or_else(|| WorkError::Refused {
            id: event.id.clone(),
            reason: format!(
                "message {} of the road is not the entry that it should be; `upm rejected list` may say why",
                on_road.sequence
            ),
        })
    }

    /// The same for whoever looks again at what is due and goes on from there: what he says has to be news. Where it stood in the case already and was found due
    /// all the same, saying it changes nothing, however often, and that is an error.
    pub async fn emit_news(&self, case: &Case, event: Emit) -> Result<Emitted, WorkError> {
        let id = event.id.clone();
        let emitted = self.emit(case, event).await?;
        if emitted.was_known { Err(WorkError::Stuck { id, index: emitted.index }) } else { Ok(emitted) }
    }

    /// Says of a change that can't be read why nothing more is done about it. Once in a process: what else is on record of it nobody can tell.
    pub async fn give_up(&self, tenant: &Tenant, change: &ChangeId, why: &str) -> Result<(), WorkError> {
        let case = Case::new(tenant.clone(), change.clone(), Vec::new());
        let mut sections = Sections::new();
        sections.add("given_up", json!({ "worker": self.worker, "reason": why }));
        let id = case.event_id(1, &format!("{}.given-up", self.worker));
        let event = Emit { id, phase: Phase::Audit, attempt: 1, sections };
        let (subject, payload) = self.bytes(&case, &event)?;
        let outgoing = Outgoing { subject: subject.to_string(), payload: payload.into() };
        if self.producer.publish_once(&outgoing, &event.id).await?.is_repeated {
            self.producer.publish(&outgoing).await?;
        }
        Ok(())
    }

    /// The entry that it is by now, if it is one.
    async fn recorded(
        &self,
        case: &Case,
        event: &Emit,
        outgoing: &Outgoing,
        on_road: OnRoad,
    ) -> Result<Option<Emitted>, WorkError> {
        self.record.decided(&case.tenant, on_road.sequence).await?;
        let recorded = self.record.change(&case.tenant, &case.change).await?;
        Ok(self.said(&recorded, event).map(|stored| Emitted {
            index: stored.index,
            ours: stored.payload.as_deref() == Some(&*outgoing.payload),
            was_known: false,
        }))
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

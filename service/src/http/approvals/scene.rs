//! By what approvals are judged over HTTP: the rule and the time of now, the events on record, and one that is not there yet.

use ledger::entry::{EventHeader, Road};
use ledger::hash::Hash;
use projector::approval::{Considered, Standing, approvals, consider, standing};
use projector::document::{Context, Entry, document};
use projector::facts::Decision;
use schemas::admit::{self, Scratch};
use schemas::ids::{ChangeId, Phase, Producer};
use serde_json::{Value, json};
use workers::build;

use super::PRODUCER;
use crate::clock;
use crate::http::app::{OpenTenant, log_failed};
use crate::http::changes::{Recorded, circumstances};
use crate::http::problem::Problem;

/// By what approvals are judged now.
pub(super) struct Scene {
    pub(super) context: Context,
    pub(super) now_ms: u64,
    size: u64,
}

impl Scene {
    pub(super) fn of(open: &OpenTenant) -> Result<Self, Problem> {
        let context = circumstances(open)?;
        let size = open.log.head().map_err(|error| log_failed(&error))?.size;
        let now_ms = context.as_of_ms.max(clock::unix_ms());
        Ok(Self { context, now_ms, size })
    }

    /// The approvals of the highest attempt.
    pub(super) fn standing(&self, change: &ChangeId, recorded: &Recorded) -> Result<Standing, Problem> {
        let found = standing(change, &recorded.views(), &self.context.rules, self.now_ms, &[]);
        found.ok_or_else(|| Problem::not_found(format!("nothing is on record of the change {change}")))
    }

    /// An event as if it were the log's next entry.
    pub(super) fn considered(
        &self,
        change: &ChangeId,
        recorded: &Recorded,
        event: &[u8],
    ) -> Result<Considered, Problem> {
        let (_, admitted) = admit::admit_unaddressed(event, &mut Scratch::default()).map_err(|rejection| {
            let (path, found, expected) = (rejection.path, rejection.found, rejection.expected);
            Problem::bad_request(format!("the approval makes no event: {path}: found {found}, expected {expected}"))
        })?;
        let facts = admitted.facts;
        let header = EventHeader {
            change: facts.change,
            seq: 0,
            prev: None,
            id: facts.id,
            phase: facts.phase,
            env: facts.environment,
            class: facts.class,
            probe: facts.probe,
            producer: Producer::parse(PRODUCER).ok(),
            has: facts.has,
            outcome: facts.outcome,
            ts: facts.ts,
            at: self.now_ms,
            road: Road { epoch: 0, sequence: 0 },
            commit: Hash([0; 32]),
            size: event.len() as u64,
            masked: admitted.masked,
            rules: Hash([0; 32]),
        };
        let index = recorded.entries.last().map_or(self.size, |(last, ..)| self.size.max(last + 1));
        let entry = Entry { index, header: &header, payload: Some(&admitted.payload) };
        consider(change, &recorded.views(), entry, &self.context.rules, self.now_ms)
            .ok_or_else(|| Problem::bad_request("the approval says nothing"))
    }

    /// What a recorded approval is worth, and what is missing with it.
    pub(super) fn worth(&self, change: &ChangeId, recorded: &Recorded, index: u64) -> Result<Value, Problem> {
        let found = self.standing(change, recorded)?;
        let coverage = &found.coverage;
        let mut worth = json!({"attempt": found.attempt, "approved": coverage.approved, "missing": coverage.missing});
        if let Some((graded, _)) = found.given.iter().find(|(graded, _)| graded.index == index) {
            worth["grade"] = json!(graded.grade);
            worth["counts"] = json!(graded.counts || graded.decided == Decision::Refused);
            worth["lacks"] = json!(graded.lacks);
        }
        Ok(worth)
    }

    pub(super) fn told(&self, change: &ChangeId, recorded: &Recorded) -> Result<Value, Problem> {
        let entries = recorded.views();
        let rules = &self.context.rules;
        let found = self.standing(change, recorded)?;
        let document = document(change, &entries, &self.context);
        let executed = approvals(change, &entries, rules, self.now_ms).attempts.last().and_then(|last| last.executed);
        let plan = found.plan_digest.as_ref().and_then(|digest| {
            let planned = |entry: &&Entry<'_>| entry.payload.and_then(schemas::plan::digest).as_ref() == Some(digest);
            entries.iter().rev().find(planned)
        });
        // The newest one before it that is another, so that whoever read that one sees what became of it.
        let before = plan.and_then(|plan| {
            let earlier = entries.iter().rev().filter(|entry| entry.index < plan.index);
            let is_other = |entry: &&Entry<'_>| {
                let digest = entry.payload.and_then(schemas::plan::digest);
                digest.is_some() && digest != found.plan_digest
            };
            earlier.into_iter().find(is_other)
        });
        let (rule, coverage) = (rules.at(u64::MAX), &found.coverage);
        let given: Vec<Value> = found.given.iter().map(|(graded, _)| json!(graded)).collect();
        let mut told = json!({
            "change": change, "origin": rules.origin, "attempt": found.attempt, "state": document.state,
            "plan_digest": found.plan_digest, "plan_entry": plan.map(|entry| entry.index),
            "request": document.request, "initiator": document.initiator, "environment": document.environment,
            "executed": executed, "refused": coverage.refused, "needed": coverage.needed, "approved": coverage.approved,
            "missing": coverage.missing, "given": given,
            "rule": {"count": rule.count, "roles": rule.roles, "grade": rule.grade, "holders": rule.holders},
            "now": whole_seconds(self.now_ms),
        });
        if let Some(before) = before {
            told["plan_before"] = before.index.into();
        }
        if let Some(preflight) = found.plan_digest.as_deref().and_then(|digest| preflight(&entries, digest)) {
            told["preflight"] = preflight;
        }
        Ok(told)
    }
}

/// What the newest preflight of a plan says that an approver wants to know: what the house asks for on top, what it waits for, risk, window and cost.
fn preflight(entries: &[Entry<'_>], digest: &str) -> Option<Value> {
    let of_plan = |entry: &Entry<'_>| {
        let event: Value = serde_json::from_slice(entry.payload?).ok()?;
        let preflight = event.pointer("/provisioning_event/preflight")?;
        (preflight["plan_digest"] == *digest).then(|| preflight.clone())
    };
    let preflights = entries.iter().rev().filter(|entry| entry.header.phase == Phase::Preflight);
    let found = preflights.into_iter().find_map(of_plan)?;
    let wanted = ["approvals_needed", "approvals_refused", "waits_for", "risk", "window", "cost"];
    let members = wanted.into_iter().filter_map(|name| Some((name.to_owned(), found.get(name)?.clone())));
    Some(Value::Object(members.collect()))
}

/// `2026-01-02T03:04:05Z`.
pub(super) fn whole_seconds(unix_ms: u64) -> String {
    let text = build::rfc3339(i64::try_from(unix_ms).unwrap_or(i64::MAX));
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}

//! One change as the measures of maturity see it: its entries in the order of the log, and which of them executed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemas::event::{Any, Event, Execution, Plan, Preflight, Step, Verification};

use crate::document::Seen;
use crate::facts::{self, Decision};

/// A change.
pub(super) struct Story<'a> {
    pub(super) parts: &'a [Seen<'a>],
    /// Index of the first entry that executes.
    pub(super) executed: Option<u64>,
}

impl<'a> Story<'a> {
    pub(super) fn of(parts: &'a [Seen<'a>]) -> Self {
        let executed = parts.iter().find(|part| part.is_execution()).map(|part| part.index);
        Self { parts, executed }
    }

    /// Every entry says it is a probe.
    pub(super) fn is_probe(&self) -> bool {
        self.parts.iter().all(|part| part.header.probe)
    }

    /// Entries up to and with the first that executes; all where none does. Sections of one event are folded in the order of the phases, so
    /// what it says of plan and preflight comes before what it executes.
    pub(super) fn before(&self) -> impl Iterator<Item = &'a Seen<'a>> {
        let end = self.executed.unwrap_or(u64::MAX);
        self.parts.iter().filter(move |part| part.index <= end)
    }

    /// Entries from the first that executes on.
    pub(super) fn after(&self) -> impl Iterator<Item = &'a Seen<'a>> {
        let start = self.executed.unwrap_or(u64::MAX);
        self.parts.iter().filter(move |part| part.index >= start)
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &'a Event<'a>> {
        self.parts.iter().filter_map(|part| part.event.as_ref())
    }

    pub(super) fn plans(&self) -> impl Iterator<Item = &'a Plan<'a>> {
        self.events().filter_map(|event| event.plan.as_ref())
    }

    pub(super) fn plans_before(&self) -> impl Iterator<Item = &'a Event<'a>> {
        self.before().filter_map(|part| part.event.as_ref()).filter(|event| event.plan.is_some())
    }

    pub(super) fn preflights(&self) -> impl Iterator<Item = &'a Preflight<'a>> {
        self.before().filter_map(|part| part.event.as_ref()?.preflight.as_ref())
    }

    pub(super) fn executions(&self) -> impl Iterator<Item = &'a Execution<'a>> {
        self.parts.iter().filter(|part| part.is_execution()).filter_map(|part| part.event.as_ref()?.execution.as_ref())
    }

    /// Entries that execute.
    pub(super) fn acts(&self) -> impl Iterator<Item = &'a Seen<'a>> {
        self.parts.iter().filter(|part| part.is_execution())
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &'a Step<'a>> {
        self.executions().flat_map(|execution| &execution.steps)
    }

    /// Verifications that looked at something.
    pub(super) fn rounds(&self) -> impl Iterator<Item = &'a Verification<'a>> {
        let rounds = self.after().filter_map(|part| part.event.as_ref()?.verification.as_ref());
        rounds.filter(|round| !round.checks.is_empty() || !round.slo.is_empty() || round.drift.is_some())
    }

    pub(super) fn initiator(&self) -> Option<&str> {
        self.events().next().and_then(|event| event.intent.as_ref()?.initiator.as_deref())
    }

    fn executors(&self) -> impl Iterator<Item = &str> {
        self.executions().filter_map(|execution| execution.executor.as_deref())
    }

    /// Whether a name asked for the change or carried it out.
    pub(super) fn is_party(&self, name: &str) -> bool {
        self.initiator() == Some(name) || self.executors().any(|executor| executor == name)
    }

    /// Who approved, of the entries up to the first execution; names that say nothing are left out.
    pub(super) fn approvers(&self) -> impl Iterator<Item = &str> {
        let approvals = self.before().flat_map(|part| &part.facts.approvals);
        let given = approvals.filter(|approval| facts::decided(approval) == Decision::Approved);
        given.map(schemas::event::Approval::approver).filter(|name| !name.trim().is_empty())
    }

    /// Whether a guard is set in some execution and switched off in none.
    pub(super) fn guarded(&self, names: &[&str]) -> bool {
        let (mut set, mut off) = (false, false);
        for guards in self.executions().filter_map(|execution| execution.guards) {
            for found in names.iter().filter_map(|name| member(guards, name)) {
                set |= says(found);
                off |= !says(found);
            }
        }
        set && !off
    }
}

/// A member of an object; none of any other form. Null is a member that says nothing.
#[expect(clippy::option_option, reason = "no member, and one that is null, are two answers")]
pub(super) fn member<'a>(object: Any<'a>, name: &str) -> Option<Option<Any<'a>>> {
    object.read::<BTreeMap<Cow<'a, str>, Option<Any<'a>>>>()?.remove(name)
}

/// Whether a value in any form says something: neither nothing, nor no, nor empty.
pub(super) fn says(value: Option<Any<'_>>) -> bool {
    let Some(value) = value else { return false };
    let hollow = |text: &str| text[1..text.len() - 1].trim().is_empty();
    match value.json().as_bytes().first() {
        Some(b't') => true,
        Some(b'"') => value.read::<String>().is_some_and(|text| !text.trim().is_empty()),
        Some(b'[' | b'{') => !hollow(value.json()),
        Some(b'-' | b'0'..=b'9') => value.json().parse::<f64>() != Ok(0.0),
        _ => false,
    }
}

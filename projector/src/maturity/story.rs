//! One change as the measures of maturity see it: its entries in the order of the log, and which of them executed.

use ledger::entry::EventHeader;
use schemas::event::{Event, Execution, Plan, Preflight, Step, Verification};
use schemas::ids::ChangeId;
use serde_json::Value;

use crate::document::Entry;
use crate::facts::{Decision, Facts};
use crate::fold::Marks;

/// An entry, read twice: what the fold makes of it, and its sections whole.
pub(super) struct Part<'a> {
    pub(super) index: u64,
    pub(super) header: &'a EventHeader,
    pub(super) facts: Facts<'a>,
    pub(super) event: Option<Event<'a>>,
}

/// A change.
pub(super) struct Story<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// Index of the first entry that executes.
    pub(super) executed: Option<u64>,
}

impl Part<'_> {
    /// Steps ran, or it is of phase execute and is not only a rollback.
    fn executes(&self) -> bool {
        let marks = self.facts.marks;
        marks.any(Marks::EXECUTING) && (self.facts.steps.count > 0 || !marks.any(Marks::ROLLING_BACK))
    }
}

impl<'a> Story<'a> {
    /// Entries of other changes and repeats are left out.
    pub(super) fn of(change: &ChangeId, entries: &[Entry<'a>]) -> Self {
        let mut entries: Vec<_> = entries.iter().filter(|entry| entry.header.change == *change).collect();
        entries.sort_unstable_by_key(|entry| entry.index);
        entries.dedup_by_key(|entry| entry.index);
        let part = |entry: &&Entry<'a>| Part {
            index: entry.index,
            header: entry.header,
            facts: Facts::of(entry.header, entry.payload),
            event: entry.payload.and_then(|payload| Event::parse(payload).ok()),
        };
        let parts: Vec<_> = entries.iter().map(part).collect();
        let executed = parts.iter().find(|part| part.executes()).map(|part| part.index);
        Self { parts, executed }
    }

    /// Every entry says it is a probe.
    pub(super) fn is_probe(&self) -> bool {
        self.parts.iter().all(|part| part.header.probe)
    }

    /// Entries up to and with the first that executes; all where none does. Sections of one event are folded in the order of the phases, so
    /// what it says of plan and preflight comes before what it executes.
    pub(super) fn before(&self) -> impl Iterator<Item = &Part<'a>> {
        let end = self.executed.unwrap_or(u64::MAX);
        self.parts.iter().filter(move |part| part.index <= end)
    }

    /// Entries from the first that executes on.
    pub(super) fn after(&self) -> impl Iterator<Item = &Part<'a>> {
        let start = self.executed.unwrap_or(u64::MAX);
        self.parts.iter().filter(move |part| part.index >= start)
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &Event<'a>> {
        self.parts.iter().filter_map(|part| part.event.as_ref())
    }

    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan<'a>> {
        self.events().filter_map(|event| event.plan.as_ref())
    }

    pub(super) fn plans_before(&self) -> impl Iterator<Item = &Event<'a>> {
        self.before().filter_map(|part| part.event.as_ref()).filter(|event| event.plan.is_some())
    }

    pub(super) fn preflights(&self) -> impl Iterator<Item = &Preflight<'a>> {
        self.before().filter_map(|part| part.event.as_ref()?.preflight.as_ref())
    }

    pub(super) fn executions(&self) -> impl Iterator<Item = &Execution<'a>> {
        self.parts.iter().filter(|part| part.executes()).filter_map(|part| part.event.as_ref()?.execution.as_ref())
    }

    /// Entries that execute.
    pub(super) fn acts(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.executes())
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &Step<'a>> {
        self.executions().flat_map(|execution| &execution.steps)
    }

    /// Verifications that looked at something.
    pub(super) fn rounds(&self) -> impl Iterator<Item = &Verification<'a>> {
        let rounds = self.after().filter_map(|part| part.event.as_ref()?.verification.as_ref());
        rounds.filter(|round| !round.checks.is_empty() || !round.slo.is_empty() || round.drift.is_some())
    }

    pub(super) fn initiator(&self) -> Option<&str> {
        self.events().next().map(|event| &*event.intent.initiator)
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
        let given = approvals.filter(|approval| approval.decided() == Decision::Approved);
        given.map(crate::facts::Approval::approver).filter(|name| !name.trim().is_empty())
    }

    /// Whether a guard is set in some execution and switched off in none.
    pub(super) fn guarded(&self, names: &[&str]) -> bool {
        let guards = || self.executions().filter_map(|execution| execution.guards.as_ref());
        let found = |value: &Value| names.iter().filter_map(|name| value.get(name)).map(says).collect::<Vec<_>>();
        let all: Vec<bool> = guards().flat_map(found).collect();
        !all.is_empty() && all.iter().all(|set| *set)
    }
}

/// Whether a value in any form says something: neither nothing, nor no, nor empty.
pub(super) fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// Whether a value in any form is there and says something.
pub(super) fn given(value: Option<&Value>) -> bool {
    value.is_some_and(says)
}

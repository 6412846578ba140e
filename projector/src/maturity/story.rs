//! One change as the measures of maturity see it: its entries in the order of the log, and which of them executed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemas::event::{Any, Event, Execution, Plan, Preflight, Step, Verification};

use crate::account::Account;
use crate::approval::{Coverage, Graded};
use crate::document::Seen;
use crate::facts::Decision;

/// A change.
pub(super) struct Story<'a> {
    pub(super) parts: &'a [Seen<'a>],
    /// Index of the first entry that executes.
    pub(super) executed: Option<u64>,
    /// What its approvals are worth, and what each of its attempts needed: the same that gate and KPIs go by.
    account: &'a Account,
}

impl<'a> Story<'a> {
    pub(super) fn of(parts: &'a [Seen<'a>], account: &'a Account) -> Self {
        let executed = parts.iter().find(|part| part.is_execution()).map(|part| part.index);
        Self { parts, executed, account }
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

    /// Approvals that name somebody, of whatever grade.
    pub(super) fn approvals(&self) -> impl Iterator<Item = &'a Graded> {
        let given = self.account.graded.given.iter();
        given.filter(|given| given.decided == Decision::Approved && !given.approver.trim().is_empty())
    }

    /// The attempts that executed and needed approval.
    pub(super) fn needed(&self) -> impl Iterator<Item = &'a Coverage> {
        self.account.executed_attempts().filter(|attempt| attempt.needed)
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

//! The account of one change: everything that measures ask of it, taken once from all its entries.
//!
//! KPIs, clauses of the model and evidence completeness stand on it, so that each of them counts the same approvals, executions and
//! rollbacks. It says what is on record and judges nothing; [`crate::kpi`] does. Order is the order of the log. `at` is the log's time, `ts` the
//! producer's.
//!
//! What concerns resources depends on no later entry: a resource is managed from the entry on that both names it and stands in a change
//! that executed, so that a view that only ever appends stays equal to one made from scratch.

use std::collections::{BTreeMap, BTreeSet};

use schemas::event::{Event, Text};
use schemas::ids::{ChangeClass, ChangeId, Environment, Phase, Producer};

use crate::anomaly::Anomaly;
use crate::approval::{self, Approvals, Coverage, Rules};
use crate::document::{self, Entry, Seen};
use crate::facts::{Steps, Tests};
use crate::fold::{Marks, Place, State, shorten};
use crate::judge;
use crate::kpi::Settings;

mod form;
mod inputs;
mod resources;
mod sections;

pub(crate) use form::is_logged;
pub use inputs::Inputs;
pub use resources::{Identity, Turn, TurnKind};

/// One change, for measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The change.
    pub change: ChangeId,
    /// Every entry says it is a probe. One that calls itself a probe among others that do not counts like them: bad news is not
    /// hidden by a word.
    pub probe: bool,
    /// Its first entry.
    pub first: Place,
    /// Its last entry.
    pub last: Place,
    /// Where it belongs: of the last entries that say so.
    pub group: Group,
    /// Who asked: of the first entry that says so, shortened.
    pub initiator: Option<String>,
    /// Why: some entry gives `intent.reason` or `intent.ticket`.
    pub reasoned: bool,
    /// The changes that this one says it mends, each once.
    pub fixes: Vec<ChangeId>,
    /// The state of its highest attempt.
    pub state: State,
    /// Its entries.
    pub entries: Vec<EntryFacts>,
    /// Entries with a plan section.
    pub plans: Vec<Plan>,
    /// Entries with a preflight section.
    pub preflights: Vec<Preflight>,
    /// Entries that execute (and do more than roll back).
    pub executions: Vec<Execution>,
    /// Entries with a verification section.
    pub rounds: Vec<Round>,
    /// Executed rollbacks, one an attempt.
    pub rollbacks: Vec<Rollback>,
    /// An entry carries a rollback plan with a command in it.
    pub rollback_plan: bool,
    /// What happened to resources.
    pub turns: Vec<Turn>,
    /// What time-driven measures of it go by: of the tenant's rule as it held when the change executed last.
    pub settings: Settings,
    /// The approvals given or refused, what each is worth, and whether each attempt had those that it needed.
    pub graded: Approvals,
    /// Digest of the plan in force of each of these attempts.
    pub in_force: Vec<Option<String>>,
    /// What an auditor should look at.
    pub anomalies: Vec<Anomaly>,
}

/// What figures can be asked by.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// `governance.owner`, shortened.
    pub owner: Option<String>,
    /// `environment`.
    pub environment: Option<Environment>,
    /// `change_class`.
    pub class: Option<ChangeClass>,
}

/// Where and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// Index in the log.
    pub index: u64,
    /// The log's time, milliseconds.
    pub at: u64,
    /// The producer's time, seconds.
    pub ts: i64,
    /// The attempt, from 1.
    pub attempt: u64,
    /// Who the road says sent it.
    pub producer: Option<Producer>,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFacts {
    /// Where and when.
    pub when: When,
    /// Phase the producer gave.
    pub phase: Phase,
    /// What it adds to the state of its attempt.
    pub marks: Marks,
    /// Whether its payload could be read.
    pub readable: bool,
    /// Masked places in its payload.
    pub masked: u32,
}

/// A plan section.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of its own, and they are independent")]
pub struct Plan {
    /// Where and when.
    pub when: When,
    /// A plan of its own, and no copy of one: it came in phase plan, or no plan of its attempt before it has its digest.
    pub made: bool,
    /// Its entry says it is a probe.
    pub probe: bool,
    /// Its digest, as computed from the stored event.
    pub digest: String,
    /// What it was made from, where that is known.
    pub inputs: Option<Inputs>,
    /// Number of commands.
    pub commands: u64,
    /// Resources that its event names.
    pub resources: u64,
    /// Time to make it, milliseconds.
    pub compile_ms: Option<f64>,
    /// Who must approve.
    pub approvers: Vec<String>,
    /// Digests of what it ships.
    pub artifacts: Vec<String>,
    /// `dependency_graph` says something.
    pub graph: bool,
    /// `impact` says something.
    pub impact: bool,
    /// `window` says something.
    pub window: bool,
    /// `simulation` says something.
    pub simulation: bool,
    /// `variant`.
    pub variant: Option<String>,
    /// `resources_needed` says something.
    pub needs: bool,
}

/// A preflight section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// Where and when.
    pub when: When,
    /// Its checks.
    pub checks: Tests,
    /// Types (else names) of its checks.
    pub kinds: Vec<String>,
    /// Its policies.
    pub policies: Policies,
    /// `risk` says something.
    pub risk: bool,
    /// `cost` says something.
    pub cost: bool,
    /// `quota` says something.
    pub quota: bool,
}

/// What policies said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// All of them.
    pub count: u64,
    /// Those that bind.
    pub mandatory: u64,
    /// Those that bind and allowed.
    pub mandatory_passed: u64,
}

/// What was executed.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Where and when.
    pub when: When,
    /// Its steps.
    pub steps: Steps,
    /// Steps whose output, or its digest, is in the ledger.
    pub logged: u64,
    /// Who executed.
    pub executor: Option<String>,
    /// `execution.agent`.
    pub agent: Option<String>,
    /// `mTLS`.
    pub mtls: Option<bool>,
    /// The pipe allow-list is wider than the model's.
    pub pipes_widened: bool,
    /// `credentials.kind`.
    pub credentials: Option<String>,
    /// `credentials.ttl_s`.
    pub credentials_ttl_s: Option<f64>,
    /// Tools it names.
    pub tools: u64,
    /// Those with a version or a digest.
    pub tools_pinned: u64,
    /// Members of `guards` that say something.
    pub guards: Vec<String>,
    /// `guards` says something.
    pub guarded: bool,
    /// Number of waves.
    pub waves: u64,
    /// `telemetry_ref` is given.
    pub telemetry: bool,
}

/// A round of checks after the change.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of its own, and they are independent")]
pub struct Round {
    /// Where and when.
    pub when: When,
    /// Checks.
    pub checks: Tests,
    /// Service levels.
    pub slo: Tests,
    /// Types (else names) of its checks.
    pub kinds: Vec<String>,
    /// It held: something was checked, or compared without a difference, and nothing failed.
    pub passed: bool,
    /// Something did not hold.
    pub failed: bool,
    /// It compared with a baseline.
    pub drift_checked: bool,
    /// Both hashes of that comparison are given.
    pub baseline: bool,
    /// Number of differences, where it says.
    pub drift: Option<u64>,
    /// Somebody watches on; `false` where it says that nobody does.
    pub monitored: Option<bool>,
    /// How long it took, milliseconds.
    pub duration_ms: Option<f64>,
    /// How long it waited for convergence, milliseconds.
    pub wait_ms: Option<f64>,
}

/// The executed rollback of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// Its first entry.
    pub started: When,
    /// Its last entry.
    pub last: When,
    /// The first entry that says that it succeeded.
    pub done: Option<When>,
    /// The first entry that says that it failed.
    pub failed: Option<When>,
    /// The first round behind `done` that held, of the same attempt.
    pub verified: Option<When>,
}

impl Account {
    /// The account of a change. Entries may come in any order and repeat; those of another change are left out. `None` without any.
    ///
    /// Anomalies of what is missing are all told, with the time from which each holds.
    pub fn of(change: &ChangeId, entries: &[Entry<'_>], rules: &Rules) -> Option<Self> {
        Self::of_seen(change, &document::read(change, entries), rules)
    }

    /// The same of entries that were read already.
    pub(crate) fn of_seen(change: &ChangeId, seen: &[Seen<'_>], rules: &Rules) -> Option<Self> {
        let (first, last) = (seen.first()?, seen.last()?);
        let place = |seen: &Seen<'_>| Place { index: seen.index, at: seen.header.at };
        let attempts = document::group(seen);
        let graded = approval::of(change, seen, &attempts, rules, last.header.at);
        let foreign = document::foreign(seen, rules);
        let case = judge::Case { seen, attempts: &attempts, approvals: &graded, foreign: &foreign, as_of_ms: u64::MAX };
        let anomalies = judge::anomalies(&case);
        let mut account = Self {
            change: change.clone(),
            probe: document::is_probe(seen),
            first: place(first),
            last: place(last),
            group: Group::default(),
            initiator: None,
            reasoned: false,
            fixes: Vec::new(),
            state: attempts.last().map_or(State::Planned, |attempt| attempt.marks.state()),
            entries: Vec::with_capacity(seen.len()),
            plans: Vec::new(),
            preflights: Vec::new(),
            executions: Vec::new(),
            rounds: Vec::new(),
            rollbacks: Vec::new(),
            rollback_plan: false,
            turns: Vec::new(),
            in_force: attempts.iter().map(|tried| tried.plan_in_force().map(str::to_owned)).collect(),
            anomalies,
            graded,
            settings: Settings::default(),
        };
        let mut resources = resources::Known::default();
        let nothing = Event::default();
        for seen in seen {
            let event = seen.event.as_ref().unwrap_or(&nothing);
            account.add(seen, event);
            // A probe changes no resource.
            if !seen.header.probe {
                resources.add(&mut account.turns, &account.group, seen, event);
            }
        }
        account.rollbacks = rollbacks(&account.entries, &account.rounds);
        let judged = account.executions.last().map_or(account.last.index, |execution| execution.when.index);
        account.settings = Settings::of(rules.at(judged));
        Some(account)
    }

    /// Names that act in the change without approving it, as sent.
    pub fn executors(&self) -> BTreeSet<&str> {
        self.executions.iter().filter_map(|execution| execution.executor.as_deref()).collect()
    }

    /// The attempts that executed, each with whether it had the approvals that it needed.
    pub fn executed_attempts(&self) -> impl Iterator<Item = &Coverage> {
        let executed: BTreeSet<u64> = self.executions.iter().map(|execution| execution.when.attempt).collect();
        self.graded.attempts.iter().filter(move |attempt| executed.contains(&attempt.attempt))
    }

    /// The first entry that executes.
    pub fn executed(&self) -> Option<&When> {
        self.executions.first().map(|execution| &execution.when)
    }

    /// The first entry that shows a failure: a step, a check after the change, or a rollback that failed.
    pub fn failed(&self) -> Option<&When> {
        self.entries.iter().find(|entry| entry.failed()).map(|entry| &entry.when)
    }

    fn add(&mut self, seen: &Seen<'_>, event: &Event<'_>) {
        let facts = &seen.facts;
        if let Some(owner) = facts.owner.as_deref() {
            self.group.owner = Some(shorten(owner).to_owned());
        }
        self.group.environment = seen.header.env.clone().or(self.group.environment.take());
        self.group.class = seen.header.class.or(self.group.class);
        if self.initiator.is_none() {
            self.initiator = facts.initiator.as_deref().map(|name| shorten(name).to_owned());
        }
        let intent = event.intent.as_ref();
        let given = |text: Option<&Text<'_>>| text.is_some_and(|text| !text.trim().is_empty());
        self.reasoned |= intent.is_some_and(|intent| given(intent.reason.as_ref()) || given(intent.ticket.as_ref()));
        let fixed = event.fixes.as_ref().and_then(|id| ChangeId::parse(id).ok());
        self.fixes.extend(fixed.filter(|id| *id != self.change && !self.fixes.contains(id)));
        let when = When::of(seen);
        self.entries.push(EntryFacts {
            when: when.clone(),
            phase: seen.header.phase,
            marks: facts.marks,
            readable: facts.readable,
            masked: seen.header.masked,
        });
        if let (Some(plan), Some(digest)) = (&facts.plan, &seen.plan_digest) {
            self.plans.push(sections::plan(when.clone(), seen, plan, digest, event, &self.plans));
        }
        self.preflights.extend(sections::preflight(&when, seen, event));
        if seen.is_execution() {
            self.executions.push(sections::execution(when.clone(), facts, event));
        }
        self.rounds.extend(sections::round(when, facts, event));
        let undo = event.rollback.as_ref().filter(|undo| undo.available != Some(false));
        self.rollback_plan |= undo.is_some_and(|undo| !undo.plan.is_empty());
    }
}

impl When {
    fn of(seen: &Seen<'_>) -> Self {
        Self {
            index: seen.index,
            at: seen.header.at,
            ts: seen.header.ts,
            attempt: seen.facts.attempt,
            producer: seen.header.producer.clone(),
        }
    }
}

impl EntryFacts {
    /// A step, a check after the change or a rollback did not succeed.
    pub fn failed(&self) -> bool {
        self.marks.any(Marks::FAILED | Marks::VERIFY_FAILED | Marks::ROLLBACK_FAILED)
    }
}

impl Seen<'_> {
    /// Steps ran, or it is of phase execute and is not only a rollback.
    pub(crate) fn is_execution(&self) -> bool {
        let executes = self.facts.marks.any(Marks::EXECUTING);
        executes && (self.facts.steps.count > 0 || !self.facts.marks.any(Marks::ROLLING_BACK))
    }
}

/// One rollback for each attempt that has any.
fn rollbacks(entries: &[EntryFacts], rounds: &[Round]) -> Vec<Rollback> {
    let mut found: BTreeMap<u64, Rollback> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.marks.any(Marks::ROLLING_BACK)) {
        let when = &entry.when;
        let rollback = found.entry(when.attempt).or_insert_with(|| Rollback {
            started: when.clone(),
            last: when.clone(),
            done: None,
            failed: None,
            verified: None,
        });
        rollback.last = when.clone();
        let note = |mark, seen: &mut Option<When>| {
            if seen.is_none() && entry.marks.any(mark) {
                *seen = Some(when.clone());
            }
        };
        note(Marks::ROLLED_BACK, &mut rollback.done);
        note(Marks::ROLLBACK_FAILED, &mut rollback.failed);
    }
    for rollback in found.values_mut() {
        let Some(done) = &rollback.done else { continue };
        let held = |round: &&Round| round.passed && round.when.attempt == done.attempt && round.when.index > done.index;
        rollback.verified = rounds.iter().find(held).map(|round| round.when.clone());
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests;

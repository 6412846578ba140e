//! What the entries of one change say, as rows of the detail tables: attempts, plans, approvals, policies, steps, checks, resources, rollbacks,
//! drift, anomalies.
//!
//! A pure function of the same entries that [`crate::document`] takes, so a change's rows can be thrown away and made again at any time: that
//! is how views follow the log. Text is shortened to [`TEXT_CHARS_MAX`] characters and a list ends after [`ROWS_MAX`] rows, because a row is
//! there to be searched; the whole text is in the payload, and a list that was ended says so ([`Detail::cut`]).
//!
//! Left out: payloads that cannot be read (the anomaly `payload_not_read` names them), output of commands, and what measures need
//! of a change.

use std::borrow::Cow;
use std::collections::HashSet;

use schemas::ids::ChangeId;

use crate::account::Account;
use crate::anomaly::Anomaly;
use crate::approval::Rules;
use crate::document::{self, Entry};
use crate::kpi::{Sample, Settings};
use crate::maturity;
use crate::maturity::attestation::{Recorded, recorded};

mod judged;
mod loose;
mod read;

/// Longest text of a cell, in characters.
pub const TEXT_CHARS_MAX: usize = 512;

/// Most rows of one table that a change gets. A payload of a megabyte can hold 300,000 empty steps.
pub const ROWS_MAX: usize = 10_000;

/// With up to so many resources the next one is compared, which takes less than hashing it; with more, it would take the square of their number.
const COMPARED_MAX: usize = 64;

/// The rows of one change, each list in the order of the log and then as sent. Texts are borrowed from the payloads where they can be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detail<'a> {
    /// Attempts, by number.
    pub attempts: Vec<Attempt>,
    /// Plans.
    pub plans: Vec<Plan<'a>>,
    /// Approvals given or refused.
    pub approvals: Vec<Approval>,
    /// Results of policies.
    pub policies: Vec<Policy<'a>>,
    /// Steps executed, forwards and back.
    pub steps: Vec<Step<'a>>,
    /// Checks before and after, and service levels.
    pub checks: Vec<Check<'a>>,
    /// Resources named, each with each action once.
    pub resources: Vec<Resource<'a>>,
    /// Executed rollbacks.
    pub rollbacks: Vec<Rollback<'a>>,
    /// Comparisons with a baseline.
    pub drift: Vec<Drift<'a>>,
    /// What an auditor should look at, by index and code; of what comes by time alone also what is still to come, with the time from which it holds.
    pub anomalies: Vec<Anomaly>,
    /// A list was ended at [`ROWS_MAX`].
    pub cut: bool,
    /// What measures ask of the change.
    pub account: Option<Box<Account>>,
    /// What it adds to the measures of maturity.
    pub clauses: Vec<Sample>,
    /// Attestations that it carries.
    pub attestations: Vec<Recorded>,
}

/// Which entry a row comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct From {
    /// Index in the log.
    pub entry: u64,
    /// The attempt it belongs to.
    pub attempt: u64,
}

/// An attempt, and whether it had the approvals that it needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Its number.
    pub attempt: u64,
    /// Its state.
    pub state: &'static str,
    /// That state, looking through a closing.
    pub reached: &'static str,
    /// Its first execution.
    pub executed: Option<u64>,
    /// Digest of the plan that approvals are held against: the last before the first execution, or the last of all.
    pub plan_digest: Option<String>,
    /// Whether the rule or its plan asks for an approval.
    pub needs_approval: bool,
    /// An emergency may be approved afterwards.
    pub emergency: bool,
    /// Approved in time, as the rule asks for; none while it is not executed, because only the gate knows then.
    pub approved: Option<bool>,
    /// The entry with which it was.
    pub approved_by: Option<u64>,
    /// The best grade at which approvals met what is asked for.
    pub approval_grade: Option<&'static str>,
    /// The entry that refused it in time.
    pub refused_by: Option<u64>,
    /// What is missing, in words.
    pub missing: Option<String>,
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan<'a> {
    /// Where it is recorded.
    pub from: From,
    /// The ledger's own digest of it.
    pub digest: Option<Cow<'a, str>>,
    /// The digest that its producer gave.
    pub stated_digest: Option<Cow<'a, str>>,
    /// Of what it was made from.
    pub inputs_digest: Option<Cow<'a, str>>,
    /// Number of its commands.
    pub commands: u64,
    /// Who must approve, separated by commas.
    pub required_approvals: Option<Cow<'a, str>>,
    /// From when it may run, as sent.
    pub window_from: Option<Cow<'a, str>>,
    /// Until when it may run, as sent.
    pub window_to: Option<Cow<'a, str>>,
    /// How long it took to make, milliseconds.
    pub compile_ms: Option<f64>,
    /// It says how to go back.
    pub has_rollback: bool,
}

/// An approval or refusal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Approval {
    /// Where it is recorded.
    pub from: From,
    /// Who.
    pub approver: String,
    /// As what.
    pub role: Option<String>,
    /// `approved`, `refused`, or `unclear`.
    pub decision: &'static str,
    /// The word as sent.
    pub word: Option<String>,
    /// When, as sent.
    pub decided_at: Option<String>,
    /// Which plan, as sent.
    pub plan_digest: Option<String>,
    /// A signature came with it; its worth is in the grade.
    pub signature_attached: bool,
    /// Until when, as sent.
    pub expires: Option<String>,
    /// `claimed`, `recorded`, `bound` or `signed`.
    pub grade: &'static str,
    /// Whether it may count towards what the rule asks for.
    pub counts: bool,
    /// What keeps it from counting or from a better grade: words of [`crate::approval::Lack`], separated by commas.
    pub lacks: Option<String>,
    /// From when on, in milliseconds, it is over by time alone.
    pub lapses_at: Option<u64>,
}

/// A policy's result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy<'a> {
    /// Where it is recorded.
    pub from: From,
    /// What it is called.
    pub name: Option<Cow<'a, str>>,
    /// Whether its denial stops the change.
    pub mandatory: bool,
    /// `passed`, `denied`, or `unclear`.
    pub result: &'static str,
    /// In words.
    pub message: Option<Cow<'a, str>>,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step<'a> {
    /// Where it is recorded.
    pub from: From,
    /// `execute` or `rollback`.
    pub kind: &'static str,
    /// Its place in the event's list, from 1.
    pub number: u64,
    /// The command, its arguments separated by spaces.
    pub command: Option<Cow<'a, str>>,
    /// Exit code; none while it has not ended.
    pub rc: Option<i64>,
    /// How long it took, milliseconds.
    pub duration_ms: Option<f64>,
    /// Where its full output lies.
    pub stdout_ref: Option<Cow<'a, str>>,
    /// Where its full errors lie.
    pub stderr_ref: Option<Cow<'a, str>>,
    /// Output or errors were cut.
    pub truncated: bool,
    /// Its output is in the event, or named there by digest.
    pub logged: bool,
}

/// A check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check<'a> {
    /// Where it is recorded.
    pub from: From,
    /// `preflight`, `verify` or `slo`.
    pub stage: &'static str,
    /// What kind, as sent.
    pub kind: Option<Cow<'a, str>>,
    /// What it is called.
    pub name: Option<Cow<'a, str>>,
    /// Of what.
    pub target: Option<Cow<'a, str>>,
    /// Whether it held; none where the event does not say.
    pub ok: Option<bool>,
    /// In words.
    pub message: Option<Cow<'a, str>>,
}

/// A resource that a change names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resource<'a> {
    /// The first entry that names it so.
    pub from: From,
    /// Which cloud.
    pub cloud: Option<Cow<'a, str>>,
    /// Which endpoint.
    pub endpoint: Option<Cow<'a, str>>,
    /// What kind of resource.
    pub kind: Option<Cow<'a, str>>,
    /// What it is called.
    pub name: Option<Cow<'a, str>>,
    /// Its resource group, or its namespace.
    pub scope: Option<Cow<'a, str>>,
    /// Where it is.
    pub location: Option<Cow<'a, str>>,
    /// create, update, delete or read, as sent.
    pub action: Option<Cow<'a, str>>,
}

/// An executed rollback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollback<'a> {
    /// Where it is recorded.
    pub from: From,
    /// `rolled_back`, `failed`, or `running` while it has no outcome.
    pub result: &'static str,
    /// The outcome as sent.
    pub outcome: Option<Cow<'a, str>>,
    /// Number of its steps.
    pub steps: u64,
    /// Steps that returned something else than 0.
    pub failed_steps: u64,
}

/// A comparison with a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift<'a> {
    /// Where it is recorded.
    pub from: From,
    /// Number of differences; none where the event has no list of them.
    pub differences: Option<u64>,
    /// Of what should be.
    pub baseline_hash: Option<Cow<'a, str>>,
    /// Of what is.
    pub current_hash: Option<Cow<'a, str>>,
    /// Somebody watches on.
    pub monitored: bool,
}

/// The rows of a change. Entries may come in any order and repeat; those of another change are left out.
pub fn detail<'a>(change: &ChangeId, entries: &[Entry<'a>], rules: &Rules) -> Detail<'a> {
    let seen = document::read(change, entries);
    let mut detail = Detail::default();
    for seen in &seen {
        read::add(&mut detail, seen);
    }
    detail.keep_resources_once();
    if let Some(account) = Account::of_seen(change, &seen, rules) {
        detail.attempts = judged::attempts(&account);
        detail.approvals = judged::approvals(&account);
        detail.anomalies.clone_from(&account.anomalies);
        let ended_after_ms = Settings::of(rules.at(account.last.index)).ended_after_ms;
        detail.clauses = maturity::samples::samples_of(&seen, &account, ended_after_ms);
        detail.account = Some(Box::new(account));
    }
    detail.attestations = seen.iter().filter_map(|seen| recorded(&rules.origin, seen)).collect();
    detail.end_lists();
    detail
}

impl Resource<'_> {
    /// Whether another entry names the same, with the same action. Names first: they differ.
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.action == other.action
            && self.kind == other.kind
            && self.scope == other.scope
            && self.location == other.location
            && self.cloud == other.cloud
            && self.endpoint == other.endpoint
    }
}

impl<'a> Detail<'a> {
    /// Adds a resource unless it is there: all phases of a change name its resources, and the first entry that does so stands for all.
    fn add_resource(&mut self, resource: Resource<'a>) {
        let compared = self.resources.len() <= COMPARED_MAX;
        if !compared || !self.resources.iter().any(|known| known.is(&resource)) {
            self.resources.push(resource);
        }
    }

    /// The same of those that were too many to be compared.
    fn keep_resources_once(&mut self) {
        if self.resources.len() > COMPARED_MAX {
            let mut seen = HashSet::with_capacity(self.resources.len());
            self.resources.retain(|resource| seen.insert(Resource { from: From::default(), ..resource.clone() }));
        }
    }

    fn end_lists(&mut self) {
        let mut cut = false;
        end(&mut self.attempts, &mut cut);
        end(&mut self.plans, &mut cut);
        end(&mut self.approvals, &mut cut);
        end(&mut self.policies, &mut cut);
        end(&mut self.steps, &mut cut);
        end(&mut self.checks, &mut cut);
        end(&mut self.resources, &mut cut);
        end(&mut self.rollbacks, &mut cut);
        end(&mut self.drift, &mut cut);
        end(&mut self.anomalies, &mut cut);
        self.cut |= cut;
    }
}

fn end<T>(rows: &mut Vec<T>, cut: &mut bool) {
    *cut |= rows.len() > ROWS_MAX;
    rows.truncate(ROWS_MAX);
}

#[cfg(test)]
mod tests;

//! The gate: may this go ahead? A pure decision over the entries of one change, with each reason.
//!
//! A pipeline asks before it deploys, so this is stricter than the record of what was done ([`crate::approval`]): everything is asked of the highest
//! attempt; the newest rule of the tenant counts and the newest plan, whatever was executed before; whoever plans counts as executing; and what
//! has expired at the time of asking counts no more. An artifact has to be in the plan that was approved, by its digest: to be mentioned
//! elsewhere is nothing.

use schemas::ids::ChangeId;
use serde::Serialize;

use crate::account::Account;
use crate::approval::{self, Coverage};
use crate::document::{Context, Entry, Seen, Tried, group, read};
use crate::fold::{Marks, State};
use crate::kpi::ended::{Lack, lacks_of};
use crate::sentence::quote;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// The attempt has a plan.
    Planned,
    /// That plan has the approvals that the tenant's rule and the plan ask for.
    Approved,
    /// Policies were evaluated on that plan, and nothing denied or failed.
    Policy,
    /// It was executed and checked, and everything held.
    Verified,
    /// Everything that a full evidence pack has is on record.
    Evidence,
}

impl Requirement {
    /// All, in the order of a change.
    pub const ALL: [Self; 5] = [Self::Planned, Self::Approved, Self::Policy, Self::Verified, Self::Evidence];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Approved => "approved",
            Self::Policy => "policy",
            Self::Verified => "verified",
            Self::Evidence => "evidence",
        }
    }

    /// The requirement of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|requirement| requirement.as_str() == word)
    }
}

/// Exactly what was approved, `sha256:` and 64 lowercase hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A plan, by its digest.
    Plan(String),
    /// A file that the plan ships, by its digest.
    Artifact(String),
}

/// A question to the gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What has to hold. A subject asks for `planned` and `approved` in any case.
    pub requires: Vec<Requirement>,
    /// What is about to be deployed.
    pub subject: Option<Subject>,
}

/// One answer in a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// `planned`, `approved`, `policy`, `verified`, `evidence`, `artifact` or `plan_digest`.
    pub requires: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// Why, in a sentence.
    pub text: String,
}

/// The answer of the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The change.
    pub change: ChangeId,
    /// Everything that was asked for holds.
    pub ok: bool,
    /// The attempt that was judged; absent where nothing is on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// Its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Digest of its newest plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// The entry with which the plan was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<u64>,
    /// Each requirement, in the order of a change, then the subject.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether more entries could turn a no into a yes: a refusal, a denial and a failed check stand.
    pub fn may_still_hold(&self) -> bool {
        let lost = [State::Refused, State::PreflightFailed, State::Failed, State::VerifyFailed, State::Closed];
        !self.state.is_some_and(|state| lost.contains(&state))
    }
}

/// The digest of a text that may or may not begin with `sha256:`; `None` for anything but 64 hex digits.
pub fn digest(text: &str) -> Option<String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    let fits = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| format!("sha256:{digits}"))
}

/// Decides. `context.as_of_ms` is the time of asking: expiry is judged by it.
pub fn assert(change: &ChangeId, entries: &[Entry<'_>], context: &Context, question: &Question) -> Verdict {
    let seen = read(change, entries);
    let attempts = group(&seen);
    let mut requires = question.requires.clone();
    if question.subject.is_some() {
        requires.extend([Requirement::Planned, Requirement::Approved]);
    }
    requires.sort_unstable();
    requires.dedup();
    let (Some(tried), Some(account)) = (attempts.last(), Account::of_seen(change, &seen, &context.rules)) else {
        return nothing(change, &requires);
    };
    let gate = Gate {
        tried,
        plan: newest_plan(tried),
        coverage: approval::at_gate(change, &seen, tried, &context.rules, context.as_of_ms),
        exact: question.subject.is_some(),
        account,
    };
    let mut reasons: Vec<Reason> = requires.into_iter().map(|requirement| gate.reason(requirement)).collect();
    reasons.extend(question.subject.as_ref().map(|subject| gate.subject(subject)));
    Verdict {
        change: change.clone(),
        ok: reasons.iter().all(|reason| reason.ok),
        attempt: Some(tried.number),
        state: Some(tried.marks.state()),
        plan_digest: gate.plan.and_then(|plan| plan.plan_digest.clone()),
        approved_by: gate.coverage.approved_by,
        reasons,
    }
}

fn nothing(change: &ChangeId, requires: &[Requirement]) -> Verdict {
    let reason = |requirement: &Requirement| Reason {
        requires: requirement.as_str(),
        ok: false,
        text: "Nothing is on record of this change.".to_owned(),
    };
    let reasons = requires.iter().map(reason).collect();
    Verdict {
        change: change.clone(),
        ok: false,
        attempt: None,
        state: None,
        plan_digest: None,
        approved_by: None,
        reasons,
    }
}

/// What the gate looks at.
struct Gate<'g> {
    tried: &'g Tried<'g>,
    /// The newest entry with a plan.
    plan: Option<&'g Seen<'g>>,
    coverage: Coverage,
    /// Something exact is about to be deployed, so that an exemption is no approval of it.
    exact: bool,
    account: Account,
}

impl Gate<'_> {
    fn reason(&self, requirement: Requirement) -> Reason {
        let (ok, text) = match requirement {
            Requirement::Planned => self.planned(),
            Requirement::Approved => self.approved(),
            Requirement::Policy => self.policy(),
            Requirement::Verified => self.verified(),
            Requirement::Evidence => self.evidence(),
        };
        Reason { requires: requirement.as_str(), ok, text }
    }

    fn planned(&self) -> (bool, String) {
        match self.plan {
            Some(plan) => {
                let digest = plan.plan_digest.as_deref().unwrap_or_default();
                (true, format!("Entry {} plans attempt {}: {digest}.", plan.index, self.tried.number))
            }
            None => (false, format!("No plan of attempt {} is on record.", self.tried.number)),
        }
    }

    fn approved(&self) -> (bool, String) {
        let coverage = &self.coverage;
        if coverage.approved {
            let grade = coverage.grade.map_or("", approval::Grade::as_str);
            let by = coverage.approved_by.map_or_else(String::new, |index| format!(" with entry {index}"));
            return (true, format!("Approved{by}, {grade}."));
        }
        if !coverage.needed && coverage.refused.is_none() && !self.exact {
            return (true, "The tenant's rule asks for no approval here.".to_owned());
        }
        (false, format!("Not approved: {}.", coverage.missing.join("; ")))
    }

    /// Policies that were evaluated before the newest plan came are of another plan.
    fn policy(&self) -> (bool, String) {
        let since = self.plan.map_or(0, |plan| first_of(self.tried, plan));
        let of_plan = self.tried.seen.iter().filter(|seen| seen.index >= since);
        let (mut count, mut passed) = (0, 0);
        for seen in of_plan {
            count += seen.facts.policies.count;
            passed += seen.facts.policies.passed;
        }
        if self.tried.marks.any(Marks::PREFLIGHT_FAILED) {
            return (false, "A preflight check of this attempt failed.".to_owned());
        }
        if let Some(denied) = self.tried.seen.iter().find(|seen| seen.facts.policies.failed > 0) {
            return (false, format!("A mandatory policy denied it in entry {}.", denied.index));
        }
        match (count, passed) {
            (0, _) => (false, "No policy was evaluated on the newest plan.".to_owned()),
            (count, 0) => (false, format!("{count} policies were evaluated; none says that it passed.")),
            (count, passed) => (true, format!("{passed} of {count} policies passed, none that binds denied.")),
        }
    }

    fn verified(&self) -> (bool, String) {
        let executed = self.tried.seen.iter().rev().find(|seen| seen.facts.marks.any(Marks::EXECUTING));
        let Some(executed) = executed else {
            return (false, "No execution of this attempt is on record.".to_owned());
        };
        let reached = self.tried.marks.reached();
        if reached != State::Verified {
            return (false, format!("The attempt is {}.", reached.as_str().replace('_', " ")));
        }
        let check = self.tried.seen.iter().rev().find(|seen| seen.facts.marks.any(Marks::VERIFIED));
        match check.filter(|check| check.index >= executed.index) {
            Some(check) => (true, format!("Entry {} verified it.", check.index)),
            None => (false, format!("Nothing is verified since the execution in entry {}.", executed.index)),
        }
    }

    /// The same that evidence completeness counts, of all attempts: a pack is of a change.
    fn evidence(&self) -> (bool, String) {
        let approved = self.coverage.approved || !self.coverage.needed;
        let lacks = lacks_of(&self.account, self.plan.is_some(), approved);
        let lacks: Vec<_> = lacks.into_iter().map(Lack::as_text).collect();
        if lacks.is_empty() {
            (true, "Plan, approvals, logs, verification and rollback are on record.".to_owned())
        } else {
            (false, format!("Not on record: {}.", lacks.join("; ")))
        }
    }

    /// Exactly that, in the newest plan; whether that plan is approved is a reason of its own.
    fn subject(&self, subject: &Subject) -> Reason {
        let planned = self.plan.and_then(|plan| plan.plan_digest.as_deref());
        match subject {
            Subject::Plan(wanted) => {
                let ok = planned == Some(wanted.as_str());
                let text = match planned {
                    Some(_) if ok => "It is the newest plan of the change.".to_owned(),
                    Some(planned) => format!("The newest plan is {planned}, not {wanted}."),
                    None => "There is no plan that it could be.".to_owned(),
                };
                Reason { requires: "plan_digest", ok, text }
            }
            Subject::Artifact(wanted) => {
                let shipped = self.plan.and_then(|plan| plan.facts.plan.as_ref()).map(|plan| plan.artifacts.as_slice());
                let shipped = shipped.unwrap_or_default();
                let ok = shipped.iter().any(|shipped| digest(shipped).as_deref() == Some(wanted));
                let text = match shipped {
                    _ if ok => format!("The newest plan ships {wanted}."),
                    [] => format!("The newest plan names no artifact by digest, so {wanted} is not part of it."),
                    [only] => format!("The newest plan ships {}, not {wanted}.", named(only)),
                    [first, ..] => {
                        format!("The newest plan ships {} and {} more, not {wanted}.", named(first), shipped.len() - 1)
                    }
                };
                Reason { requires: "artifact", ok, text }
            }
        }
    }
}

/// A digest as it is, anything else as a quotation.
fn named(text: &str) -> String {
    digest(text).unwrap_or_else(|| quote(text))
}

/// The newest entry of an attempt that carries a plan.
fn newest_plan<'t>(tried: &'t Tried<'_>) -> Option<&'t Seen<'t>> {
    tried.seen.iter().rev().copied().find(|seen| seen.plan_digest.is_some())
}

/// From where on the newest plan has been the plan: the first entry of the unbroken run of entries that carry it.
fn first_of(tried: &Tried<'_>, plan: &Seen<'_>) -> u64 {
    let carriers = tried.seen.iter().rev().filter(|seen| seen.plan_digest.is_some());
    let same = carriers.take_while(|seen| seen.plan_digest == plan.plan_digest);
    same.last().map_or(plan.index, |seen| seen.index)
}

#[cfg(test)]
mod tests;

//! Approvals: what each one is worth, and whether an attempt had those that it needed.
//!
//! | grade | what it takes |
//! |---|---|
//! | claimed | a name, or the executing producer's own word. Never counts |
//! | recorded | who, in which role, what, when; from a producer other than the one that executes |
//! | bound | recorded, and it names the digest of the plan in force |
//! | signed | bound, and carries an SSH signature over all of that by a key that the tenant allows for this approver |
//!
//! The word of whoever asked for or executed the change never counts. An approval without a digest is of the plan that was on record before it; when
//! another plan came into force later, it is of nothing. Order is the order of the log. A refusal stands: what was refused in an attempt needs a new one.
//!
//! What needs approval, by how many and of which grade is the tenant's [`Rule`], as it held when the attempt was executed; `plan.approvals` only adds to it.
//! FORMATS, "Plan digest and approval".

use std::collections::{BTreeMap, BTreeSet};

use schemas::event::{Approval, Text};
use schemas::ids::{ChangeClass, ChangeId, Producer};
use serde::{Deserialize, Serialize};

use crate::document::{Entry, Seen, Tried, group, read};
use crate::facts::{self, Decision};
use crate::fold::Marks;

mod giving;
mod grade;
mod rule;
mod signers;
mod statement;
#[cfg(test)]
mod tests;

pub use giving::{Considered, Objection, consider};
pub use grade::NAMESPACE;
pub use rule::{FACTS, Rule, RuleError, Rules, Since};
pub(crate) use signers::named_key;
pub use signers::{Signer, allowed_signers, signers};
pub use statement::{Statement, StatementError, statement};

/// Milliseconds of an hour.
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// What an approval is worth. The better, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// A name, or the executing producer's own word.
    Claimed,
    /// Who, role, decision and time, from another producer.
    Recorded,
    /// Of a named plan.
    Bound,
    /// Signed by the approver's own key.
    Signed,
}

impl Grade {
    /// All, worst first.
    pub const ALL: [Self; 4] = [Self::Claimed, Self::Recorded, Self::Bound, Self::Signed];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Recorded => "recorded",
            Self::Bound => "bound",
            Self::Signed => "signed",
        }
    }

    /// The grade of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grade| grade.as_str() == word)
    }
}

/// What keeps an approval from counting, or from a better grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Nobody is named.
    NoApprover,
    /// No role is named.
    NoRole,
    /// The decision is no word that approves or refuses.
    NoDecision,
    /// No time, or none that can be read.
    NoTime,
    /// Its time lies more than five minutes behind its own entry in the log: it was written down before it was given.
    TimeAhead,
    /// The road does not say who sent it.
    NoProducer,
    /// Sent by the producer that executes (or, before any execution, that plans).
    ExecutingProducer,
    /// The approver asked for the change.
    ByInitiator,
    /// The approver executed it.
    ByExecutor,
    /// The tenant names who may approve in its role, and the approver is none of them.
    NotOfRole,
    /// The same words were signed for an earlier attempt.
    Replayed,
    /// It was over when the attempt was executed.
    Expired,
    /// It names no plan, and another plan came into force after it.
    PlanChanged,
    /// It names another plan than the one in force.
    OtherPlan,
    /// It names no plan.
    NoPlanDigest,
    /// It names a plan, and none is on record that could be compared.
    PlanNotOnRecord,
    /// No signature.
    NoSignature,
    /// A signature that does not fit.
    BadSignature,
    /// Signed by a key that the tenant does not allow for this approver.
    UnknownSigner,
}

impl Lack {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoApprover => "no_approver",
            Self::NoRole => "no_role",
            Self::NoDecision => "no_decision",
            Self::NoTime => "no_time",
            Self::TimeAhead => "time_ahead",
            Self::NoProducer => "no_producer",
            Self::ExecutingProducer => "executing_producer",
            Self::ByInitiator => "by_initiator",
            Self::ByExecutor => "by_executor",
            Self::NotOfRole => "not_of_role",
            Self::Replayed => "replayed",
            Self::Expired => "expired",
            Self::PlanChanged => "plan_changed",
            Self::OtherPlan => "other_plan",
            Self::NoPlanDigest => "no_plan_digest",
            Self::PlanNotOnRecord => "plan_not_on_record",
            Self::NoSignature => "no_signature",
            Self::BadSignature => "bad_signature",
            Self::UnknownSigner => "unknown_signer",
        }
    }

    /// One clause for a person.
    pub fn as_text(self) -> &'static str {
        match self {
            Self::NoApprover => "nobody is named",
            Self::NoRole => "no role is named",
            Self::NoDecision => "its word is neither yes nor no",
            Self::NoTime => "it has no time",
            Self::TimeAhead => "its time lies ahead of its entry",
            Self::NoProducer => "the road does not say who sent it",
            Self::ExecutingProducer => "it is the executing producer's own word",
            Self::ByInitiator => "the approver asked for the change",
            Self::ByExecutor => "the approver executed it",
            Self::NotOfRole => "its role is held by others",
            Self::Replayed => "it was signed for an earlier attempt",
            Self::Expired => "it had expired",
            Self::PlanChanged => "another plan came after it",
            Self::OtherPlan => "it is of another plan",
            Self::NoPlanDigest => "it names no plan",
            Self::PlanNotOnRecord => "the plan that it names is not on record",
            Self::NoSignature => "it is not signed",
            Self::BadSignature => "its signature does not fit",
            Self::UnknownSigner => "its key is not allowed for this approver",
        }
    }

    /// Whether it makes an approval worthless, whatever its grade.
    pub fn is_fatal(self) -> bool {
        matches!(
            self,
            Self::ByInitiator
                | Self::ByExecutor
                | Self::NotOfRole
                | Self::Replayed
                | Self::Expired
                | Self::PlanChanged
                | Self::OtherPlan
        )
    }
}

/// One approval or refusal, graded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Graded {
    /// The entry that records it.
    pub index: u64,
    /// The attempt it belongs to.
    pub attempt: u64,
    /// Who, as sent.
    pub approver: String,
    /// In which role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The decision, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What that means.
    pub decided: Decision,
    /// When, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Until when, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Of which plan, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// What it is worth.
    pub grade: Grade,
    /// Whether it may count towards the rule's number: an approval of at least [`Grade::Recorded`] with nothing fatal.
    pub counts: bool,
    /// What keeps it from counting or from a better grade, in the order of [`Lack`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Lack>,
}

impl Graded {
    /// From when on, in milliseconds, it is over by time alone. `None` where it never is: it says no end, it is over already, or its attempt was
    /// executed, which is when its end was looked at.
    pub fn lapses_at(&self, coverage: &Coverage) -> Option<u64> {
        let open = coverage.executed.is_none() && !self.lacks.contains(&Lack::Expired);
        self.over_at().filter(|_| open)
    }

    /// The first millisecond after its end. `None` without an end that can be read.
    pub(crate) fn over_at(&self) -> Option<u64> {
        time_ms(self.expires.as_deref()).map(|end| end.saturating_add(1))
    }
}

/// Whether an attempt had the approvals that it needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The attempt.
    pub attempt: u64,
    /// Its first execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executed: Option<u64>,
    /// Whether the tenant's rule (or its plan) asks for an approval.
    pub needed: bool,
    /// An emergency may be approved afterwards, for some hours.
    pub emergency: bool,
    /// The entry that refused it in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// The best grade at which the approvals given in time meet what is asked for; `None`: not even names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// Approved in time, with the grade that the rule asks for, and not refused.
    pub approved: bool,
    /// The entry with which it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<u64>,
    /// What is missing, in clauses for a person; empty when approved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Persons whose approvals came in time and count, whatever grade the rule asks for. Not in `change.json`, which has the approvals themselves.
    #[serde(skip)]
    pub persons: u64,
}

/// All approvals of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Approvals {
    /// By index, then as listed in the event.
    pub given: Vec<Graded>,
    /// By attempt.
    pub attempts: Vec<Coverage>,
}

impl Approvals {
    /// The approvals given, each with the coverage of its attempt.
    pub fn with_coverage(&self) -> impl Iterator<Item = (&Graded, &Coverage)> {
        self.given.iter().filter_map(|graded| {
            let place = self.attempts.binary_search_by_key(&graded.attempt, |coverage| coverage.attempt).ok()?;
            Some((graded, &self.attempts[place]))
        })
    }
}

/// Grades the approvals of a change. Entries may come in any order and repeat; those of another change are left out.
///
/// `as_of_ms` is the time that decides whether an approval has expired while nothing is executed yet.
pub fn approvals(change: &ChangeId, entries: &[Entry<'_>], rules: &Rules, as_of_ms: u64) -> Approvals {
    let seen = read(change, entries);
    of(change, &seen, &group(&seen), rules, as_of_ms)
}

pub(crate) fn of(
    change: &ChangeId,
    seen: &[Seen<'_>],
    attempts: &[Tried<'_>],
    rules: &Rules,
    as_of_ms: u64,
) -> Approvals {
    let parties = Parties::of(seen);
    let mut given = Vec::new();
    let mut covered = Vec::new();
    for tried in attempts {
        let scene = Scene::of(tried, rules, as_of_ms);
        let graded = graded(change, tried, &parties, &scene, rules);
        covered.push(coverage(seen, tried, &scene, &graded));
        given.extend(graded);
    }
    // Stable: approvals of one event stay as listed.
    given.sort_by_key(|approval| approval.index);
    Approvals { given, attempts: covered }
}

/// Whether an attempt is approved for somebody who asks before executing: the newest rule and the newest plan count, whoever plans counts as
/// executing, everything given by now is in time, and `now_ms` decides about expiry.
pub(crate) fn at_gate(change: &ChangeId, seen: &[Seen<'_>], tried: &Tried<'_>, rules: &Rules, now_ms: u64) -> Coverage {
    let (scene, parties) = (Scene::at_gate(tried, rules, now_ms), Parties::at_gate(seen));
    let graded = graded(change, tried, &parties, &scene, rules);
    coverage(seen, tried, &scene, &graded)
}

/// The approvals of a change as they stand for whoever is about to execute it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The highest attempt, which is the one that is asked about.
    pub attempt: u64,
    /// Digest of its newest plan.
    pub plan_digest: Option<String>,
    /// Its approvals and refusals, as recorded; each with the change that its signature is for, where that is another one.
    pub given: Vec<(Graded, Option<ChangeId>)>,
    /// Whether they are what the tenant's rule and the plans ask for.
    pub coverage: Coverage,
}

/// Grades the approvals of a change's highest attempt as the gate does ([`crate::assert`]). An approval whose signature does not fit is held against
/// `others` too, so that one taken from another change can be called by its name. `None` where nothing is on record of the change.
pub fn standing(
    change: &ChangeId,
    entries: &[Entry<'_>],
    rules: &Rules,
    now_ms: u64,
    others: &[ChangeId],
) -> Option<Standing> {
    let seen = read(change, entries);
    let attempts = group(&seen);
    let tried = attempts.last()?;
    let (scene, parties) = (Scene::at_gate(tried, rules, now_ms), Parties::at_gate(&seen));
    let graded = graded(change, tried, &parties, &scene, rules);
    let coverage = coverage(&seen, tried, &scene, &graded);
    let of_other = |(graded, approval): (Graded, &Approval<'_>)| {
        let fits_not = graded.lacks.contains(&Lack::BadSignature);
        let other = if fits_not { grade::signed_for(others, approval, rules) } else { None };
        (graded, other.cloned())
    };
    let given = graded.into_iter().zip(tried.seen.iter().flat_map(|seen| &seen.facts.approvals)).map(of_other);
    let plan_digest = scene.plan.map(str::to_owned);
    Some(Standing { attempt: tried.number, plan_digest, given: given.collect(), coverage })
}

fn graded(
    change: &ChangeId,
    tried: &Tried<'_>,
    parties: &Parties<'_>,
    scene: &Scene<'_>,
    rules: &Rules,
) -> Vec<Graded> {
    let given = tried.seen.iter().flat_map(|seen| seen.facts.approvals.iter().map(move |approval| (*seen, approval)));
    given.map(|(seen, approval)| grade::grade(change, seen, approval, parties, scene, rules)).collect()
}

fn plans_of<'t>(tried: &'t Tried<'_>) -> Vec<(u64, &'t str)> {
    tried.seen.iter().filter_map(|seen| Some((seen.index, seen.plan_digest.as_deref()?))).collect()
}

/// Who had a hand in the change, over all of its attempts.
pub(crate) struct Parties<'a> {
    initiators: BTreeSet<String>,
    executors: BTreeSet<String>,
    /// The producers that execute; before any execution, those that plan, which are taken for them.
    acting: BTreeSet<Option<&'a Producer>>,
    /// What was signed, with the attempt in whose entry it stood first.
    signed: BTreeMap<Words<'a>, u64>,
}

/// What an approval says, as far as it is signed.
type Words<'a> = [Option<&'a str>; 6];

fn words<'a>(approval: &'a Approval<'_>) -> Words<'a> {
    [
        approval.approver.as_deref(),
        approval.role.as_deref(),
        approval.decision.as_deref(),
        approval.at.as_deref(),
        approval.expires.as_deref(),
        approval.plan_digest.as_deref(),
    ]
}

impl<'a> Parties<'a> {
    pub(crate) fn of(seen: &'a [Seen<'a>]) -> Self {
        let producers = |marks| {
            let acting = seen.iter().filter(|seen| seen.facts.marks.any(marks));
            acting.map(|seen| seen.header.producer.as_ref()).collect::<BTreeSet<_>>()
        };
        let executing = producers(Marks::EXECUTING);
        let mut signed = BTreeMap::new();
        for seen in seen {
            for approval in seen.facts.approvals.iter().filter(|approval| approval.signature.is_some()) {
                signed.entry(words(approval)).or_insert(seen.facts.attempt);
            }
        }
        Self {
            initiators: initiators(seen),
            executors: seen.iter().filter_map(|seen| seen.facts.executor.as_deref()).map(same_name).collect(),
            acting: if executing.is_empty() { producers(Marks::PLANNED) } else { executing },
            signed,
        }
    }

    /// Before an execution: nobody knows who will execute, so whoever planned or executed before is taken for them.
    fn at_gate(seen: &'a [Seen<'a>]) -> Self {
        let acting = seen.iter().filter(|seen| seen.facts.marks.any(Marks::PLANNED | Marks::EXECUTING));
        let acting = acting.map(|seen| seen.header.producer.as_ref()).collect();
        Self { acting, ..Self::of(seen) }
    }

    pub(crate) fn asked(&self, name: &str) -> bool {
        self.initiators.contains(&same_name(name))
    }

    pub(crate) fn executed(&self, name: &str) -> bool {
        self.executors.contains(&same_name(name))
    }

    /// Whether the same words were signed before, for another attempt. A statement names no attempt, so its signature would fit there too.
    fn signed_before(&self, approval: &Approval<'_>, attempt: u64) -> bool {
        approval.signature.is_some() && self.signed.get(&words(approval)).is_some_and(|first| *first != attempt)
    }
}

/// Who asked for the change. An entry that only records approvals may be sent in the approver's name, so it names an initiator only where
/// nothing else does.
fn initiators(seen: &[Seen<'_>]) -> BTreeSet<String> {
    let names = |only_approves: bool| -> BTreeSet<String> {
        let entries = seen.iter().filter(|seen| {
            let acts = Marks::PLANNED | Marks::EXECUTING | Marks::ROLLING_BACK;
            let approves = !seen.facts.approvals.is_empty() && !seen.facts.marks.any(acts);
            approves == only_approves
        });
        entries.filter_map(|seen| seen.facts.initiator.as_deref()).map(same_name).collect()
    };
    let acting = names(false);
    if acting.is_empty() { names(true) } else { acting }
}

/// A name as names are compared: without regard to case and outer spaces, so that `Ann` cannot approve what `ann` asked for.
pub fn same_name(name: &str) -> String {
    name.trim().to_lowercase()
}

/// What the approvals of one attempt are measured against.
pub(crate) struct Scene<'a> {
    rule: &'a Rule,
    execution: Option<(u64, u64)>,
    emergency: bool,
    /// Digest of the plan in force.
    plan: Option<&'a str>,
    /// Digests of the attempt's plans, by index.
    plans: Vec<(u64, &'a str)>,
    /// The time that decides about expiry, milliseconds.
    expiry_ms: u64,
}

impl<'a> Scene<'a> {
    pub(crate) fn of(tried: &'a Tried<'_>, rules: &'a Rules, as_of_ms: u64) -> Self {
        let first = tried.seen.iter().find(|seen| seen.facts.marks.any(Marks::EXECUTING));
        let execution = first.map(|seen| (seen.index, seen.header.at));
        let until = execution.map_or(u64::MAX, |(index, _)| index);
        let before = tried.seen.iter().rev().filter(|seen| seen.index <= until);
        let class = before.into_iter().find_map(|seen| seen.header.class);
        Self {
            rule: rules.at(until),
            execution,
            emergency: class == Some(ChangeClass::Emergency),
            plan: tried.plan_in_force(),
            plans: plans_of(tried),
            expiry_ms: execution.map_or(as_of_ms, |(_, at)| at),
        }
    }

    /// Before an execution: see [`at_gate`].
    fn at_gate(tried: &'a Tried<'_>, rules: &'a Rules, now_ms: u64) -> Self {
        let plans = plans_of(tried);
        Self {
            rule: rules.at(u64::MAX),
            execution: None,
            emergency: false,
            plan: plans.last().map(|(_, digest)| *digest),
            plans,
            expiry_ms: now_ms,
        }
    }

    /// Whether an entry came early enough to approve the execution. What executes and approves in one entry is in time.
    fn in_time(&self, index: u64, at_ms: u64) -> bool {
        match self.execution {
            None => true,
            Some((_, executed_ms)) if self.emergency => {
                at_ms <= executed_ms.saturating_add(self.rule.emergency_h.saturating_mul(HOUR_MS))
            }
            Some((executed, _)) => index <= executed,
        }
    }
}

fn coverage(all: &[Seen<'_>], tried: &Tried<'_>, scene: &Scene<'_>, graded: &[Graded]) -> Coverage {
    let at_ms = |index: u64| {
        let position = tried.seen.binary_search_by_key(&index, |seen| seen.index);
        position.map_or(u64::MAX, |position| tried.seen[position].header.at)
    };
    let in_time: Vec<&Graded> =
        graded.iter().filter(|approval| scene.in_time(approval.index, at_ms(approval.index))).collect();
    let names = required_names(tried, scene);
    let refused = in_time.iter().find(|approval| approval.decided == Decision::Refused).map(|refusal| refusal.index);
    let met = |grade: Grade, until: u64| Counting::of(&in_time, grade, until).meets(scene.rule, &names);
    let asked = scene.rule.grade.max(Grade::Recorded);
    let grade = Grade::ALL.into_iter().rev().find(|grade| met(*grade, u64::MAX));
    let approved = refused.is_none() && grade >= Some(asked);
    let mut lacking = Vec::new();
    if !approved {
        lacking.extend(refused.map(|index| format!("it was refused in entry {index}")));
        lacking.extend(Counting::of(&in_time, asked, u64::MAX).leaves_open(scene.rule, &names, asked));
    }
    Coverage {
        attempt: tried.number,
        executed: scene.execution.map(|(index, _)| index),
        needed: !names.is_empty() || scene.rule.needs(all.iter().map(|seen| seen.header)),
        emergency: scene.emergency,
        refused,
        grade,
        approved,
        // More entries never leave more open, so the first that suffices is found by halving.
        approved_by: in_time
            .get(in_time.partition_point(|approval| approved && !met(asked, approval.index)))
            .filter(|_| approved)
            .map(|approval| approval.index),
        missing: lacking,
        persons: Counting::of(&in_time, Grade::Recorded, u64::MAX).persons.len() as u64,
    }
}

/// Whom the attempt's plans ask for, up to its execution: persons or roles.
fn required_names<'t>(tried: &'t Tried<'_>, scene: &Scene<'_>) -> BTreeSet<&'t str> {
    let until = scene.execution.map_or(u64::MAX, |(index, _)| index);
    let plans = tried.seen.iter().filter(|seen| seen.index <= until).filter_map(|seen| seen.facts.plan.as_ref());
    plans.flat_map(|plan| plan.approvers.iter().map(|name| &**name)).collect()
}

/// Who approved, and as what, by approvals that count.
struct Counting {
    persons: BTreeSet<String>,
    roles: BTreeSet<String>,
}

impl Counting {
    /// Those of at least `grade`, up to entry `until`.
    fn of(given: &[&Graded], grade: Grade, until: u64) -> Self {
        let counting = |approval: &&&Graded| {
            let fatal = || approval.lacks.iter().any(|lack| lack.is_fatal());
            approval.index <= until && approval.grade >= grade && approval.decided == Decision::Approved && !fatal()
        };
        let (mut persons, mut roles) = (BTreeSet::new(), BTreeSet::new());
        for approval in given.iter().filter(counting) {
            persons.insert(same_name(&approval.approver));
            roles.extend(approval.role.as_deref().map(same_name));
        }
        Self { persons, roles }
    }

    /// An approval that names nobody is one person's at most.
    fn are_enough(&self, rule: &Rule) -> bool {
        self.persons.len() as u64 >= rule.count.max(1)
    }

    fn has_role(&self, role: &str) -> bool {
        self.roles.contains(&same_name(role))
    }

    fn has(&self, name: &str) -> bool {
        self.persons.contains(&same_name(name)) || self.has_role(name)
    }

    /// Whether they are what the rule and the plans ask for.
    fn meets(&self, rule: &Rule, names: &BTreeSet<&str>) -> bool {
        self.are_enough(rule)
            && rule.roles.iter().all(|role| self.has_role(role))
            && names.iter().all(|name| self.has(name))
    }

    /// What they lack of it, where `grade` is asked for.
    fn leaves_open(&self, rule: &Rule, names: &BTreeSet<&str>, grade: Grade) -> Vec<String> {
        let mut open = Vec::new();
        if !self.are_enough(rule) {
            let (found, asked) = (self.persons.len(), rule.count.max(1));
            let word = if rule.count > 1 { "approvals" } else { "approval" };
            open.push(format!("{found} of {asked} {word} that count ({} or better)", grade.as_str()));
        }
        let roles = rule.roles.iter().filter(|role| !self.has_role(role));
        open.extend(roles.map(|role| format!("nobody approved as {role}")));
        let names = names.iter().filter(|name| !self.has(name));
        open.extend(names.map(|name| format!("the plan asks for {}", crate::sentence::quote(name))));
        open
    }
}

/// The time that an approval's text gives, in milliseconds; `None` where there is none before 1970 or none at all.
fn time_ms(text: Option<&str>) -> Option<u64> {
    let seconds = schemas::time::seconds(text?)?;
    u64::try_from(seconds).ok()?.checked_mul(1000)
}

fn owned(text: Option<&Text<'_>>) -> Option<String> {
    text.map(|text| text.as_str().to_owned())
}

fn bare(approval: &Approval<'_>, seen: &Seen<'_>) -> Graded {
    Graded {
        index: seen.index,
        attempt: seen.facts.attempt,
        approver: approval.approver().to_owned(),
        role: owned(approval.role.as_ref()),
        decision: owned(approval.decision.as_ref()),
        decided: facts::decided(approval),
        at: owned(approval.at.as_ref()),
        expires: owned(approval.expires.as_ref()),
        plan_digest: owned(approval.plan_digest.as_ref()),
        grade: Grade::Claimed,
        counts: false,
        lacks: Vec::new(),
    }
}

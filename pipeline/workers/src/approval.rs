//! Which approvals the house asks for beside the tenant's rule, and whether those on record are they.
//!
//! What an approval is worth is graded where the log is read (`projector::approval`): claimed, recorded, bound, signed. Here the graded ones are
//! held against requirements of the configuration: how many persons, in which roles, of which grade, how old at most. The word of whoever asked for
//! the change or executes it never counts, and none counts for another plan than the one that is about to run. The tenant's rule and the names
//! that the plan asks for are never loosened: requirements only add to them.
//!
//! Pure: the executor asks again with the same function right before its first step.

use std::collections::{BTreeMap, BTreeSet};

use projector::approval::{Grade, Graded, Lack, Rule, Standing, same_name};
use projector::facts::Decision;
use schemas::ids::ChangeId;

use crate::risk::Score;
use crate::scope::{self, Case, Scope};
use crate::table::{Entry, Read};

/// What approvers that are no persons begin with; see [`crate::lane`].
pub const LANE: &str = "lane:";

/// Persons of one requirement, at most.
const COUNT_MAX: u64 = 16;
/// Ten years.
const HOURS_MAX: u64 = 87_600;
/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// What the house asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// For messages.
    pub name: String,
    /// Which changes it is about.
    pub scope: Scope,
    /// Only changes with at least this risk.
    pub from_risk: u64,
    /// So many different persons.
    pub count: u64,
    /// Each of these roles among them.
    pub roles: BTreeSet<String>,
    /// Only these roles count; `None`: every one.
    pub only_roles: Option<BTreeSet<String>>,
    /// Two persons at least, and nobody fills two of the roles.
    pub two_person: bool,
    /// The least grade that counts.
    pub grade: Grade,
    /// Hours after which an approval is over, whatever it says itself.
    pub valid_hours: Option<u64>,
}

impl Default for Requirement {
    /// One other person, for this plan.
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            scope: Scope::default(),
            from_risk: 0,
            count: 1,
            roles: BTreeSet::new(),
            only_roles: None,
            two_person: false,
            grade: Grade::Bound,
            valid_hours: None,
        }
    }
}

impl Requirement {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        let own = ["name", "from_risk", "count", "roles", "only_roles", "two_person", "grade", "valid_hours"];
        entry.only(&[&own[..], &scope::KEYS].concat())?;
        let two_person = entry.flag("two_person")?;
        let (roles, only_roles) = (entry.names("roles")?.unwrap_or_default(), entry.names("only_roles")?);
        if let (Some(only), Some(found)) = (&only_roles, roles.iter().find(|role| !has(only_roles.as_ref(), role))) {
            let known: Vec<&str> = only.iter().map(String::as_str).collect();
            return entry.wrong("roles", format!("{found:?}"), format!("roles of only_roles: {}", known.join(", ")));
        }
        let count = entry.number_within("count", 1, COUNT_MAX)?.unwrap_or(if two_person { 2 } else { 1 });
        if two_person && count < 2 {
            return entry.wrong("count", count.to_string(), "2 or more, beside two_person");
        }
        let grades = [("bound", Grade::Bound), ("signed", Grade::Signed)];
        Ok(Self {
            name: entry.needed_text("name")?,
            scope: Scope::read(entry)?,
            from_risk: entry.number_within("from_risk", 0, crate::risk::MOST)?.unwrap_or(0),
            count,
            roles,
            only_roles,
            two_person,
            grade: entry.word("grade", &grades)?.unwrap_or(Grade::Bound),
            valid_hours: entry.number_within("valid_hours", 1, HOURS_MAX)?,
        })
    }

    /// Whether it is asked of a change.
    pub fn binds(&self, case: Case<'_>, score: &Score) -> bool {
        self.scope.binds(case) && score.points >= self.from_risk
    }

    /// In a clause, for people.
    pub fn sentence(&self) -> String {
        let persons =
            if self.count == 1 { "one other person".to_owned() } else { format!("{} other persons", self.count) };
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let as_roles = Some(&self.roles).filter(|roles| !roles.is_empty()).map(|roles| format!("as {}", list(roles)));
        let only = self.only_roles.as_ref().map(|only| format!("only as {}", list(only)));
        let within = self.valid_hours.map(|hours| format!("within {hours} h"));
        let parts = [Some(persons), Some(self.grade.as_str().to_owned()), as_roles, only, within];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

fn has(names: Option<&BTreeSet<String>>, role: &str) -> bool {
    names.is_none_or(|names| names.iter().any(|name| same_name(name) == same_name(role)))
}

/// What the approvals are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Digest of the plan that is about to run.
    pub plan_digest: &'a str,
    /// Who executes it, where that is known.
    pub executor: Option<&'a str>,
    /// The lane that takes the change, as it was worked out now; what the record says of lanes is not believed.
    pub lane: Option<&'a str>,
    /// The approvals on record; `None` where nothing is.
    pub standing: Option<&'a Standing>,
    /// The tenant's rule.
    pub rule: &'a Rule,
    /// Whom the plan asks for.
    pub names: &'a [String],
    /// The time of asking, milliseconds since 1970.
    pub now_ms: u64,
}

/// Why an approval does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Given for another plan, or for one that nobody named while another came after it.
    #[error("it is of another plan ({found}), not of {expected}")]
    OtherPlan {
        /// As it names it.
        found: String,
        /// The one that is about to run.
        expected: String,
    },
    /// Its signature is one for another change.
    #[error("it was given for change {0} and is sent again for this one")]
    Replayed(ChangeId),
    /// Whoever asked approves nothing.
    #[error("the approver asked for the change")]
    Initiator,
    /// Whoever executes approves nothing.
    #[error("the approver executes it")]
    Executor,
    /// Given in a role that does not count.
    #[error("its role is {found}, expected {expected}")]
    Role {
        /// As it names it.
        found: String,
        /// Those that count.
        expected: String,
    },
    /// Given in a role that the tenant gave to others.
    #[error("its role {0} is held by others")]
    Holder(String),
    /// Signed for an earlier attempt of the change.
    #[error("it was signed for an earlier attempt and is sent again for this one")]
    Attempt,
    /// Over by its own word.
    #[error("it was valid until {0}")]
    Expired(String),
    /// Over by the requirement's.
    #[error("it is older than {0} h")]
    TooOld(u64),
    /// Not well enough recorded, bound or signed.
    #[error("it is {found}, expected {expected}: {lacks}")]
    Grade {
        /// What it is worth.
        found: &'static str,
        /// What is asked for.
        expected: &'static str,
        /// What it lacks.
        lacks: String,
    },
    /// A signature that is none of what it stands beside.
    #[error("its signature does not fit")]
    Signature,
    /// Its word is neither yes nor no.
    #[error("its word is neither yes nor no")]
    Unclear,
    /// Somebody's note of a lane.
    #[error("a lane is no person")]
    Lane,
}

/// An approval that does not count, and each reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The entry that records it.
    pub index: u64,
    /// Who.
    pub approver: String,
    /// Under which requirement.
    pub requirement: String,
    /// Why.
    pub reasons: Vec<Refusal>,
}

/// Whether a plan may run as far as approvals go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// It may.
    pub satisfied: bool,
    /// Entries and approvers that count.
    pub counted: BTreeSet<(u64, String)>,
    /// What does not count.
    pub refused: Vec<Refused>,
    /// Each thing that is missing, in clauses; empty exactly where satisfied.
    pub missing: Vec<String>,
    /// From when on it is over by time alone, milliseconds since 1970.
    pub lapses_ms: Option<u64>,
}

/// Judges the approvals on record by each requirement, by the tenant's rule, and by the plan.
pub fn judge(requirements: &[&Requirement], asked: &Asked<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    let given = asked.standing.map_or(&[][..], |standing| &standing.given);
    if let Some(standing) = asked.standing {
        judgement.missing.extend(of_the_record(standing, asked));
    } else {
        judgement.missing.push("nothing is on record of the change".to_owned());
    }
    for requirement in requirements {
        let mut persons: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (graded, other) in given.iter().filter(|(graded, _)| graded.decided != Decision::Refused) {
            let reasons = reasons(requirement, graded, other.as_ref(), asked);
            if !reasons.is_empty() {
                let (index, approver) = (graded.index, graded.approver.clone());
                judgement.refused.push(Refused { index, approver, requirement: requirement.name.clone(), reasons });
                continue;
            }
            judgement.counted.insert((graded.index, graded.approver.clone()));
            let over = over_ms(requirement, graded, asked);
            judgement.lapses_ms = [judgement.lapses_ms, over].into_iter().flatten().min();
            let roles = persons.entry(same_name(&graded.approver)).or_default();
            roles.extend(graded.role.as_deref().map(same_name));
        }
        // A lane stands in for persons, not for a record that says no.
        if asked.lane.is_none() {
            judgement.missing.extend(missing(requirement, &persons));
        }
    }
    judgement.satisfied = judgement.missing.is_empty();
    judgement
}

/// What the record itself leaves open: another plan, a refusal, and what the tenant's rule and the plan ask for.
fn of_the_record(standing: &Standing, asked: &Asked<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    match standing.plan_digest.as_deref() {
        Some(newest) if newest == asked.plan_digest => {}
        Some(newest) => {
            missing.push(format!("the newest plan on record is {newest}, not {}", asked.plan_digest));
        }
        None => missing.push("no plan is on record".to_owned()),
    }
    let coverage = &standing.coverage;
    if !coverage.needed || coverage.approved {
        // A refusal stands even where no approval is needed.
        missing.extend(coverage.refused.map(|index| format!("it was refused in entry {index}")));
        return missing;
    }
    match asked.lane.map(|lane| (lane, beyond_a_lane(asked))) {
        Some((_, None)) => missing.extend(coverage.refused.map(|index| format!("it was refused in entry {index}"))),
        Some((lane, Some(why))) => {
            missing.extend(
                coverage.missing.iter().map(|clause| format!("{clause} (the lane {lane} can't stand in: {why})")),
            );
        }
        None => missing.extend(coverage.missing.iter().cloned()),
    }
    missing
}

/// Why a lane is no approval by the tenant's rule and the plan: it is one approver, bound to the plan, in no role, and signs nothing.
pub fn beyond_a_lane(asked: &Asked<'_>) -> Option<&'static str> {
    if !asked.names.is_empty() {
        return Some("the plan asks for somebody by name or role");
    }
    let rule = asked.rule;
    match () {
        () if !rule.roles.is_empty() => Some("the tenant's rule asks for roles"),
        () if rule.count > 1 => Some("the tenant's rule asks for several persons"),
        () if rule.grade > Grade::Bound => Some("the tenant's rule asks for signatures"),
        () => None,
    }
}

/// Each reason why an approval does not count under a requirement.
fn reasons(requirement: &Requirement, graded: &Graded, other: Option<&ChangeId>, asked: &Asked<'_>) -> Vec<Refusal> {
    let lacks = |lack: Lack| graded.lacks.contains(&lack);
    let mut reasons = Vec::new();
    if same_name(&graded.approver).starts_with(LANE) {
        return vec![Refusal::Lane];
    }
    if graded.decided != Decision::Approved {
        reasons.push(Refusal::Unclear);
    }
    let named = graded.plan_digest.as_deref();
    if named.is_some_and(|named| named != asked.plan_digest) || lacks(Lack::PlanChanged) {
        let found = named.unwrap_or("none is named").to_owned();
        reasons.push(Refusal::OtherPlan { found, expected: asked.plan_digest.to_owned() });
    }
    match other {
        Some(other) => reasons.push(Refusal::Replayed(other.clone())),
        None if lacks(Lack::BadSignature) => reasons.push(Refusal::Signature),
        None => {}
    }
    if lacks(Lack::ByInitiator) {
        reasons.push(Refusal::Initiator);
    }
    let executes = asked.executor.is_some_and(|executor| same_name(executor) == same_name(&graded.approver));
    if lacks(Lack::ByExecutor) || executes {
        reasons.push(Refusal::Executor);
    }
    let role = graded.role.as_deref().unwrap_or_default();
    if lacks(Lack::NotOfRole) {
        reasons.push(Refusal::Holder(format!("{role:?}")));
    }
    if lacks(Lack::Replayed) {
        reasons.push(Refusal::Attempt);
    }
    if let Some(only) = requirement.only_roles.as_ref().filter(|only| !has(Some(*only), role)) {
        let expected = only.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
        reasons.push(Refusal::Role { found: format!("{role:?}"), expected });
    }
    if lacks(Lack::Expired) {
        reasons.push(Refusal::Expired(graded.expires.clone().unwrap_or_default()));
    } else if let Some(hours) = requirement.valid_hours
        && too_old_ms(hours, graded).is_none_or(|end| end <= asked.now_ms)
    {
        reasons.push(Refusal::TooOld(hours));
    }
    // What was told above says more than its grade.
    if reasons.is_empty() && graded.grade < requirement.grade {
        let lacks = graded.lacks.iter().map(|lack| lack.as_text()).collect::<Vec<_>>().join(", ");
        let (found, expected) = (graded.grade.as_str(), requirement.grade.as_str());
        reasons.push(Refusal::Grade { found, expected, lacks });
    }
    reasons
}

/// The first millisecond at which it is too old; `None` without a time that can be read.
fn too_old_ms(hours: u64, graded: &Graded) -> Option<u64> {
    let at_s = u64::try_from(schemas::time::seconds(graded.at.as_deref()?)?).ok()?;
    at_s.checked_mul(1000)?.checked_add(hours.checked_mul(HOUR_MS)?)
}

fn over_ms(requirement: &Requirement, graded: &Graded, asked: &Asked<'_>) -> Option<u64> {
    let own = asked.standing.and_then(|standing| graded.lapses_at(&standing.coverage));
    let old = requirement.valid_hours.and_then(|hours| too_old_ms(hours, graded));
    [own, old].into_iter().flatten().min()
}

/// What these persons, with their roles, leave open.
fn missing(requirement: &Requirement, persons: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut missing = Vec::new();
    let (name, found, count) = (&requirement.name, persons.len(), requirement.count);
    if (found as u64) < count {
        missing.push(format!("{name}: {found} of {count} approvals that count ({})", requirement.sentence()));
    }
    let filled = |role: &String| persons.values().any(|roles| roles.contains(&same_name(role)));
    let open: Vec<&String> = requirement.roles.iter().filter(|role| !filled(role)).collect();
    missing.extend(open.iter().map(|role| format!("{name}: nobody approved as {role}")));
    if requirement.two_person && open.is_empty() && !has_person_each(&requirement.roles, persons) {
        let roles = requirement.roles.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        missing.push(format!("{name}: one person fills several of the roles {roles}, a person each is asked for"));
    }
    missing
}

/// Whether each role can be given to a person of its own: a matching, by augmenting paths.
fn has_person_each(roles: &BTreeSet<String>, persons: &BTreeMap<String, BTreeSet<String>>) -> bool {
    fn place<'a>(
        role: &'a str,
        persons: &'a BTreeMap<String, BTreeSet<String>>,
        taken: &mut BTreeMap<&'a str, &'a str>,
        tried: &mut BTreeSet<&'a str>,
    ) -> bool {
        let able = persons.iter().filter(|(_, has)| has.contains(&same_name(role)));
        able.map(|(person, _)| person.as_str()).collect::<Vec<_>>().into_iter().any(|person| {
            if !tried.insert(person) {
                return false;
            }
            let free = match taken.get(person).copied() {
                Some(other) => place(other, persons, taken, tried),
                None => true,
            };
            if free {
                taken.insert(person, role);
            }
            free
        })
    }
    let mut taken = BTreeMap::new();
    roles.iter().all(|role| place(role, persons, &mut taken, &mut BTreeSet::new()))
}

#[cfg(test)]
mod tests;

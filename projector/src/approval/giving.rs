//! Whether an approval that somebody is about to give would count: asked before it is published, so that its giver is told at once. What is published
//! anyway is graded in the same way, and stands in the record for what it is worth.

use std::collections::BTreeSet;

use schemas::ids::ChangeId;

use super::{Coverage, Graded, Lack, Parties, Rules, Scene, coverage, graded, required_names, same_name};
use crate::document::{Entry, group, read};
use crate::facts::Decision;

/// Why an approval would be of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// There is nothing to approve.
    #[error("attempt {attempt} has no plan on record, so there is nothing to approve")]
    NoPlan {
        /// The highest attempt.
        attempt: u64,
    },
    /// It is of another plan.
    #[error("it is of the plan {found}; the newest plan of attempt {attempt} is {expected}")]
    OtherPlan {
        /// As it names it.
        found: String,
        /// The one that would run.
        expected: String,
        /// Of this attempt.
        attempt: u64,
    },
    /// Somebody said no, and that stands.
    #[error("attempt {attempt} was refused in entry {index}: a refusal stands, so another attempt is needed")]
    Refused {
        /// The entry.
        index: u64,
        /// Its attempt.
        attempt: u64,
    },
    /// It comes too late.
    #[error("attempt {attempt} was executed in entry {index}: an approval now comes too late")]
    Executed {
        /// The entry.
        index: u64,
        /// Its attempt.
        attempt: u64,
    },
    /// Nobody asks for this role.
    #[error("its role is {found}, asked for: {expected}")]
    Role {
        /// As it names it.
        found: String,
        /// What the tenant's rule and the plan ask for.
        expected: String,
    },
    /// The role is asked for, and others hold it.
    #[error("{approver} does not hold the role {role}: by the tenant's rule {holders} do")]
    Holder {
        /// Who decides.
        approver: String,
        /// As what.
        role: String,
        /// Who may.
        holders: String,
    },
    /// Anything else that keeps it from being signed and counted.
    #[error("{}", .0.as_text())]
    Lack(Lack),
}

impl Objection {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPlan { .. } => "no_plan",
            Self::OtherPlan { .. } => "other_plan",
            Self::Refused { .. } => "refused_already",
            Self::Executed { .. } => "executed_already",
            Self::Role { .. } => "role_not_asked_for",
            Self::Holder { .. } => "not_of_role",
            Self::Lack(lack) => lack.as_str(),
        }
    }
}

/// An approval that is not published yet, as it would be graded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// What it would be worth.
    pub graded: Graded,
    /// What would still be missing with it.
    pub coverage: Coverage,
    /// Why it would be of no use; empty where it would count, signed.
    pub objections: Vec<Objection>,
}

/// Grades the one approval of `given`, an entry that is not in the log yet, behind what is on record. `None` where it gives none, or is of another
/// change.
pub fn consider(
    change: &ChangeId,
    on_record: &[Entry<'_>],
    given: Entry<'_>,
    rules: &Rules,
    now_ms: u64,
) -> Option<Considered> {
    let all: Vec<Entry<'_>> = on_record.iter().copied().chain([given]).collect();
    let seen = read(change, &all);
    let attempts = group(&seen);
    let tried = attempts.iter().find(|tried| tried.seen.iter().any(|seen| seen.index == given.index))?;
    let (scene, parties) = (Scene::at_gate(tried, rules, now_ms), Parties::at_gate(&seen));
    let all = graded(change, tried, &parties, &scene, rules);
    let coverage = coverage(&seen, tried, &scene, &all);
    let graded = all.into_iter().find(|graded| graded.index == given.index)?;
    // As the record judges it, which knows when it was executed.
    let judged = Scene::of(tried, rules, now_ms);
    let attempt = tried.number;
    let mut objections = Vec::new();
    let refuses = graded.decided == Decision::Refused;
    if let Some((index, _)) = judged.execution.filter(|_| !judged.in_time(given.index, given.header.at)) {
        objections.push(Objection::Executed { index, attempt });
    }
    // Its own refusal stands behind all that is on record.
    if let Some(index) = coverage.refused.filter(|index| *index != given.index && !refuses) {
        objections.push(Objection::Refused { index, attempt });
    }
    match (graded.plan_digest.as_deref(), scene.plan) {
        (_, None) => objections.push(Objection::NoPlan { attempt }),
        (Some(found), Some(expected)) if found != expected => {
            let (found, expected) = (found.to_owned(), expected.to_owned());
            objections.push(Objection::OtherPlan { found, expected, attempt });
        }
        _ => {}
    }
    let names = required_names(tried, &scene);
    if !refuses {
        objections.extend(of_role(&graded, rules, &names));
    }
    let told = |lack: &Lack| matches!(lack, Lack::OtherPlan | Lack::PlanNotOnRecord | Lack::NotOfRole);
    // Whoever asked for a change, or executes it, may well say no to it; so may somebody in whatever role.
    let harmless = |lack: &Lack| {
        refuses && matches!(lack, Lack::ByInitiator | Lack::ByExecutor | Lack::NotOfRole | Lack::Replayed)
    };
    let others = graded.lacks.iter().filter(|lack| !told(lack) && !harmless(lack));
    objections.extend(others.map(|lack| Objection::Lack(*lack)));
    Some(Considered { graded, coverage, objections })
}

/// What is wrong with the role of an approval.
fn of_role(graded: &Graded, rules: &Rules, names: &BTreeSet<&str>) -> Vec<Objection> {
    let newest = rules.at(u64::MAX);
    let role = graded.role.as_deref().unwrap_or_default();
    if graded.lacks.contains(&Lack::NotOfRole) {
        let held = newest.holders.iter().filter(|(held, _)| same_name(held) == same_name(role));
        let holders: Vec<&str> = held.flat_map(|(_, names)| names.iter().map(String::as_str)).collect();
        let (approver, role, holders) = (graded.approver.clone(), role.to_owned(), holders.join(", "));
        return vec![Objection::Holder { approver, role, holders }];
    }
    let asked: BTreeSet<&str> = newest.roles.iter().map(String::as_str).chain(names.iter().copied()).collect();
    let is_asked = |asked: &&str| [role, &graded.approver].iter().any(|own| same_name(own) == same_name(asked));
    // Where more persons are asked for than roles, somebody in another role makes up the number.
    if asked.is_empty() || asked.iter().any(is_asked) || newest.count > asked.len() as u64 {
        return Vec::new();
    }
    let expected = asked.into_iter().collect::<Vec<_>>().join(", ");
    vec![Objection::Role { found: role.to_owned(), expected }]
}

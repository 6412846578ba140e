//! Low-risk lanes: changes that the house lets through without a person, within guard-rails that it wrote down before.
//!
//! A lane approves as `lane:NAME` in the role `lane`, bound to the plan's digest, so that the record never shows a person who was not there.
//! It stands in for the house's own requirements, and for the tenant's rule only where that asks for one approver in no role and without a
//! signature. Whatever halts, halts a lane's change too; what a policy only advises against is no low risk.
//!
//! Nothing that a plan says of itself opens a lane: the plan has to be the one that the catalogue makes of the request ([`Requested::differs`]), so that types,
//! actions, cost and way back are the catalogue's word, and initiator and environment those of whoever asked. Every step is judged, also one that had
//! nothing to do when it was looked at: by the time it runs it may have.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::approval::LANE;
use crate::calendar::rfc3339;
use crate::catalogue::Catalogue;
use crate::preflight::{Planned, Requested};
use crate::risk::{MOST, Score};
use crate::scope::{self, Case, Scope};
use crate::table::{Entry, Read};

/// The role that lanes approve in.
pub const ROLE: &str = "lane";

/// What changes a lane takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// It approves as `lane:NAME`.
    pub name: String,
    /// A change that names no environment is never taken.
    pub scope: Scope,
    /// Only steps of these types; `None`: every one of the catalogue.
    pub types: Option<BTreeSet<String>>,
    /// Only these of create, update, delete.
    pub actions: BTreeSet<String>,
    /// At most so many points.
    pub max_risk: u64,
    /// At most so many steps.
    pub max_steps: Option<u64>,
    /// At most so much a month, known, in hundredths of a US dollar.
    pub max_monthly_cents: Option<u64>,
    /// Only what these ask for.
    pub initiators: Option<BTreeSet<String>>,
    /// Whether each step has to have its way back.
    pub needs_rollback: bool,
    /// Hours after which its approval is over.
    pub valid_hours: u64,
}

/// What actions are called.
const ACTIONS: [&str; 3] = ["create", "update", "delete"];

impl Lane {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        let own = [
            "name",
            "types",
            "actions",
            "max_risk",
            "max_steps",
            "max_monthly_usd",
            "initiators",
            "needs_rollback",
            "valid_hours",
        ];
        entry.only(&[&own[..], &scope::KEYS].concat())?;
        let name = entry.needed_text("name")?;
        if name.contains(char::is_whitespace) {
            return entry.wrong("name", format!("{name:?}"), "a name without spaces: it approves as lane:NAME");
        }
        let actions = entry.names("actions")?.unwrap_or_else(|| [ACTIONS[0].to_owned()].into());
        if let Some(found) = actions.iter().find(|action| !ACTIONS.contains(&action.as_str())) {
            return entry.wrong("actions", format!("{found:?}"), ACTIONS.join(", "));
        }
        let Some(max_risk) = entry.number_within("max_risk", 0, MOST)? else {
            return entry.wrong("max_risk", "nothing", format!("the most points that are low risk here, 0 to {MOST}"));
        };
        Ok(Self {
            name,
            scope: Scope::read(entry)?,
            types: entry.names("types")?,
            actions,
            max_risk,
            max_steps: entry.number("max_steps")?,
            max_monthly_cents: entry.number_within("max_monthly_usd", 0, 1_000_000_000)?.map(|usd| usd * 100),
            initiators: entry.names("initiators")?,
            needs_rollback: if entry.table.contains_key("needs_rollback") {
                entry.flag("needs_rollback")?
            } else {
                true
            },
            valid_hours: entry.number_within("valid_hours", 1, 8_760)?.unwrap_or(24),
        })
    }

    /// Why it does not take the change; empty where it does. `advised` are policies that advise against it, `foreign` is what [`foreign`] says.
    pub fn against(&self, planned: &Planned, score: &Score, advised: &[String], foreign: Option<&str>) -> Vec<String> {
        let mut against: Vec<String> = foreign.map(str::to_owned).into_iter().collect();
        let case = planned.case();
        if !self.scope.admits(case) {
            against.push(elsewhere(case));
        }
        if score.points > self.max_risk {
            against.push(format!("its risk is {}, at most {} is low here", score.points, self.max_risk));
        }
        for step in &planned.steps {
            if !self.actions.contains(&step.action) {
                against.push(format!("{} is a step of action {}", step.id, step.action));
            }
            let kind = step.id.split('/').next().unwrap_or_default();
            if step.check.is_none() {
                against.push(format!("{} has no check of the catalogue", step.id));
            } else if self.types.as_ref().is_some_and(|types| !types.contains(kind)) {
                against.push(format!("{} is of another type", step.id));
            }
        }
        let count = planned.steps.len();
        if let Some(most) = self.max_steps
            && count as u64 > most
        {
            against.push(format!("{count} steps run, at most {most} here"));
        }
        if let Some(most) = self.max_monthly_cents {
            match planned.monthly_cents {
                Some(cents) if cents <= most && planned.cost_unknown.is_empty() => {}
                Some(cents) if cents > most => {
                    against.push(format!("it costs {} a month", crate::budget::usd(cents)));
                }
                _ => against.push("its cost is not known".to_owned()),
            }
        }
        if let Some(initiators) = &self.initiators
            && !planned.initiator.as_ref().is_some_and(|who| initiators.contains(who))
        {
            against.push(format!("{} may not use it", planned.initiator.as_deref().unwrap_or("nobody")));
        }
        if self.needs_rollback {
            let left = planned.left.iter();
            against.extend(left.map(|(step, reason)| format!("nothing takes {step} back: {reason}")));
            if planned.rollback.is_empty() && count > 0 {
                against.push("the plan has no rollback".to_owned());
            }
        }
        against.extend(advised.iter().map(|policy| format!("the policy {policy} advises against it")));
        against
    }

    /// Its approval, as it stands in `preflight.approvals`.
    pub fn approval(&self, plan_digest: &str, now_s: i64) -> Value {
        let hours = i64::try_from(self.valid_hours).unwrap_or(i64::MAX);
        json!({
            "approver": format!("{LANE}{}", self.name),
            "role": ROLE,
            "decision": "approved",
            "at": rfc3339(now_s),
            "expires": rfc3339(now_s.saturating_add(hours.saturating_mul(3600))),
            "plan_digest": plan_digest,
        })
    }
}

/// Why no lane takes a plan, whatever its rails: it is not the one that the catalogue makes of what was asked for. None where it is.
pub fn foreign(planned: &Planned, requested: Option<Requested<'_>>, catalogue: &Catalogue) -> Option<String> {
    match requested {
        Some(requested) => requested.differs(planned, catalogue),
        None => Some("nobody's request is on record".to_owned()),
    }
}

fn elsewhere(case: Case<'_>) -> String {
    let environment = case.environment.map_or("no environment".to_owned(), |name| format!("the environment {name}"));
    let class = case.class.map_or(String::new(), |class| format!(", class {}", class.as_str()));
    format!("it is not for {environment}{class}")
}

//! How much one change may touch: resources that it acts on, and those that it deletes.
//!
//! Preflight halts a plan that reaches further, by the steps that have something to do; the executor counts again what it begins, since the world may be another one
//! by then. How much of that goes before somebody looks is `execute.waves.most_steps`.

use crate::preflight::{Planned, Step};
use crate::scope::{self, Case, Scope};
use crate::table::{Entry, Read};

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlastRadius {
    /// For messages.
    pub name: String,
    /// Which changes it is about.
    pub scope: Scope,
    /// Steps that have something to do.
    pub max_resources: Option<u64>,
    /// Of those, steps that delete.
    pub max_deletes: Option<u64>,
}

impl BlastRadius {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&[&["name", "max_resources", "max_deletes"][..], &scope::KEYS].concat())?;
        let (max_resources, max_deletes) = (entry.number("max_resources")?, entry.number("max_deletes")?);
        if max_resources.is_none() && max_deletes.is_none() {
            return entry.wrong("max_resources", "nothing", "max_resources, max_deletes, or both");
        }
        Ok(Self { name: entry.needed_text("name")?, scope: Scope::read(entry)?, max_resources, max_deletes })
    }

    /// Whether a plan stays within it, and the sentence that says so. `runs` says which steps have something to do.
    pub fn holds(&self, planned: &Planned, runs: &dyn Fn(&str) -> bool) -> (bool, String) {
        let count =
            |is: &dyn Fn(&Step) -> bool| planned.steps.iter().filter(|step| runs(&step.id) && is(step)).count() as u64;
        let (all, gone) = (count(&|_| true), count(&|step| step.action == "delete"));
        let of = |found: u64, most: Option<u64>, what: &str| match most {
            Some(most) => (found <= most, Some(format!("{found} {what}, at most {most}"))),
            None => (true, None),
        };
        let (within, resources) = of(all, self.max_resources, "steps have something to do");
        let (is_sparing, told_gone) = of(gone, self.max_deletes, "of them delete");
        let told: Vec<String> = [resources, told_gone].into_iter().flatten().collect();
        (within && is_sparing, told.join("; "))
    }
}

/// The fewest steps that any limit about a change allows.
pub fn most(limits: &[BlastRadius], case: Case<'_>) -> Option<u64> {
    limits.iter().filter(|limit| limit.scope.binds(case)).filter_map(|limit| limit.max_resources).min()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalogue::shipped;
    use crate::config::Config;

    #[test]
    fn what_reaches_further_is_told() {
        let config = Config::read(
            "work.toml",
            "[[blast_radius]]\nname = \"a few\"\nmax_resources = 3\nmax_deletes = 1\n[[blast_radius]]\nname = \"fewer\"\nenvironments = [\"production\"]\nmax_resources = 2\n",
        );
        let limits = config.unwrap().blast_radius;
        let planned = |actions: &[&str]| {
            let steps: Vec<_> = actions
                .iter()
                .enumerate()
                .map(|(at, action)| json!({"id": format!("s/{at}"), "action": action}))
                .collect();
            let commands = vec!["kubectl-1.29 get ns"; actions.len()];
            let event = json!({"provisioning_event": {"plan": {"commands": commands, "steps": steps}}});
            Planned::read(event.to_string().as_bytes(), shipped()).unwrap()
        };
        for (actions, holds, told) in [
            (
                &["create", "create", "delete"][..],
                true,
                "3 steps have something to do, at most 3; 1 of them delete, at most 1",
            ),
            (
                &["create", "create", "create", "create"],
                false,
                "4 steps have something to do, at most 3; 0 of them delete, at most 1",
            ),
            (&["delete", "delete"], false, "2 steps have something to do, at most 3; 2 of them delete, at most 1"),
        ] {
            assert_eq!(limits[0].holds(&planned(actions), &|_| true), (holds, told.to_owned()), "{actions:?}");
        }
        assert!(
            limits[0].holds(&planned(&["create"; 9]), &|step| step == "s/0").0,
            "what has nothing to do is not counted"
        );
        let case = |environment| Case { environment, class: None };
        assert_eq!(most(&limits, case(Some("test"))), Some(3));
        assert_eq!((most(&limits, case(Some("production"))), most(&limits, case(None))), (Some(2), Some(2)));
        assert_eq!(most(&[], case(None)), None);
    }
}

//! Which changes a rule of the house is about: by environment and class.
//!
//! A rule that restricts (a window, a freeze, approvals, a budget) also binds a change that names no environment: leaving it out
//! loosens nothing. A rule that permits (a lane) never takes such a change.

use std::collections::BTreeSet;

use schemas::ids::{ChangeClass, Environment};

use crate::table::{Entry, Read};

/// What a scope is asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Case<'a> {
    /// The change's environment.
    pub environment: Option<&'a str>,
    /// Its class.
    pub class: Option<ChangeClass>,
}

/// Environments that a rule is about, and classes that it is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// `None`: every one.
    pub environments: Option<BTreeSet<String>>,
    /// Classes that it leaves alone.
    pub except_classes: BTreeSet<ChangeClass>,
}

/// The keys that [`Scope::read`] reads.
pub(crate) const KEYS: [&str; 2] = ["environments", "except_classes"];

impl Scope {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        let environments = entry.names("environments")?;
        if let Some(found) = environments.iter().flatten().find(|name| Environment::parse(name).is_err()) {
            return entry.wrong("environments", format!("{found:?}"), "names of environments, such as \"production\"");
        }
        let mut except_classes = BTreeSet::new();
        for name in entry.names("except_classes")?.into_iter().flatten() {
            match ChangeClass::parse(&name) {
                Ok(class) => except_classes.insert(class),
                Err(_) => return entry.wrong("except_classes", format!("{name:?}"), "standard, normal or emergency"),
            };
        }
        Ok(Self { environments, except_classes })
    }

    /// Whether a rule that restricts holds for the change.
    pub fn binds(&self, case: Case<'_>) -> bool {
        let elsewhere = match (&self.environments, case.environment) {
            (Some(within), Some(environment)) => !within.contains(environment),
            _ => false,
        };
        !elsewhere && !self.is_excepted(case)
    }

    /// Whether a rule that permits may take the change.
    pub fn admits(&self, case: Case<'_>) -> bool {
        let named = case
            .environment
            .is_some_and(|environment| self.environments.as_ref().is_none_or(|within| within.contains(environment)));
        named && !self.is_excepted(case)
    }

    fn is_excepted(&self, case: Case<'_>) -> bool {
        case.class.is_some_and(|class| self.except_classes.contains(&class))
    }
}

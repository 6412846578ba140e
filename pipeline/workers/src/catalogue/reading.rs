//! Which commands only read: those that the catalogue has for looking, trying and asking versions, with values that its fields allow.
//!
//! They are run before anybody has approved anything. So what a plan says about its checks is believed only as far as the catalogue says
//! the same.

use super::template::Template;
use super::{Catalogue, Field, Type};

impl Catalogue {
    /// Whether this is a command of the catalogue that changes nothing: a check, a read-back, a quota's, a role's, a tool's version, a dry run, a rollout's.
    pub fn reads(&self, argv: &[String]) -> bool {
        let Some((program, arguments)) = argv.split_first() else { return false };
        let version = || {
            self.tool_of(program).is_some_and(|tool| !tool.version_check.is_empty() && tool.version_check == arguments)
        };
        let is = |template: &Template, allows: &dyn Fn(&str, &str) -> bool| {
            self.program(&template.tool) == *program && template.takes(arguments, allows)
        };
        let of_type = |kind: &Type| {
            let allows =
                |name: &str, value: &str| kind.fields.get(name).is_some_and(|field| field.check(value).is_ok());
            let quota = kind.quota.as_ref().map(|quota| &quota.read);
            let all = [&kind.exists.command, &kind.read_back]
                .into_iter()
                .chain(&kind.dry_run)
                .chain(&kind.rollout)
                .chain(quota);
            all.into_iter().any(|template| is(template, &allows))
        };
        version()
            || self.types.values().any(of_type)
            || self.roles.values().any(|role| is(&role.check, &|_, value| Field::is_harmless(value)))
    }
}

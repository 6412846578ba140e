//! `upm tenant rule`: the tenant's rule of approvals. It is made of facts in the tenant's log (`projector::approval::Rule`), so that every change of it is
//! signed, listed and kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ledger::governance::Act;
use projector::approval::{FACTS, Rule, Signer};
use schemas::ids::Tenant;
use serde_json::{Value, json};

use crate::cli::client::act::{self, ActArgs};
use crate::cli::client::print;
use crate::cli::client::ssh::public_key;
use crate::cli::{CliError, Globals};

/// Options of `upm tenant rule`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without options it shows the rule. A rule holds for what is executed after it was set; nothing that was judged changes.\n\nExamples:\n  upm tenant rule acme\n  upm tenant rule acme --environments prod,staging --count 2 --role owners --grade bound\n  upm tenant rule acme --allow bob=bob.pub        whose approvals this SSH key signs\n  upm tenant rule acme --holders owners=bob,eve     who may approve in a role\n  upm tenant rule acme --default count --default role.owners --revoke SHA256:…\n  upm tenant signers acme > allowed_signers          for ssh-keygen -Y verify\n\nApprovers are kept for ever: account names, no personal data."
)]
pub struct Args {
    /// The tenant
    name: Tenant,
    /// Only changes of these environments need approval, with commas between
    #[arg(long, value_name = "LIST")]
    environments: Option<String>,
    /// Changes of these classes need none: standard, normal, emergency
    #[arg(long, value_name = "LIST")]
    exempt_classes: Option<String>,
    /// So many different persons
    #[arg(long, value_name = "N")]
    count: Option<String>,
    /// These roles among them, with commas between
    #[arg(long = "roles", visible_alias = "role", value_name = "LIST")]
    roles: Option<String>,
    /// The least grade that counts: recorded, bound or signed
    #[arg(long, value_name = "GRADE")]
    grade: Option<String>,
    /// An emergency may be approved so long after its execution
    #[arg(long, value_name = "HOURS")]
    emergency_hours: Option<String>,
    /// A change is ended so long after its last execute entry
    #[arg(long, value_name = "HOURS")]
    ended_after_hours: Option<String>,
    /// Only these approve in this role; may be given several times
    #[arg(long, value_name = "ROLE=NAME,…")]
    holders: Vec<String>,
    /// Allow an SSH public key to sign approvals of this approver; may be given several times
    #[arg(long, value_name = "APPROVER=FILE.pub")]
    allow: Vec<String>,
    /// Take back a key by its fingerprint, or all keys of an approver; may be given several times
    #[arg(long, value_name = "SHA256:…|APPROVER")]
    revoke: Vec<String>,
    /// Take back what was set: environments, exempt-classes, count, roles, grade, emergency-hours, ended-after-hours, role.ROLE
    #[arg(long = "default", value_name = "NAME")]
    defaults: Vec<String>,
    #[command(flatten)]
    how: ActArgs,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<(), CliError> {
    let set = set(&args)?;
    if set.is_empty() && args.revoke.is_empty() && args.defaults.is_empty() {
        return show(globals, &args.name);
    }
    let make = |holds: &Value, _| {
        let facts = facts(holds);
        let unset = unset(&args, &facts)?;
        Ok(Act::Facts { set: set.clone(), unset })
    };
    let done = act::perform(globals, &args.name, &args.how, None, make)?;
    act::told(globals, &args.name, &done, &format!("the approval rule of {} is set", args.name))
}

/// The facts to set, each checked.
fn set(args: &Args) -> Result<BTreeMap<String, String>, CliError> {
    let given = [
        ("environments", &args.environments),
        ("exempt-classes", &args.exempt_classes),
        ("count", &args.count),
        ("roles", &args.roles),
        ("grade", &args.grade),
        ("emergency-hours", &args.emergency_hours),
        ("ended-after-hours", &args.ended_after_hours),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((format!("{FACTS}{name}"), value.clone()?)));
    let mut set: BTreeMap<String, String> = given.collect();
    for allowed in &args.allow {
        let (approver, file) = allowed
            .split_once('=')
            .ok_or_else(|| CliError::could_not(format!("--allow: found {allowed:?}, expected APPROVER=FILE.pub")))?;
        set.extend([Rule::signer_fact(&public_key(Path::new(file))?, approver)]);
    }
    for held in &args.holders {
        let (role, names) = held
            .split_once('=')
            .ok_or_else(|| CliError::could_not(format!("--holders: found {held:?}, expected ROLE=NAME,…")))?;
        set.insert(Rule::role_fact(role), names.to_owned());
    }
    Rule::check(&set).map_err(|error| CliError::could_not(error.to_string()))?;
    Ok(set)
}

/// The facts to take away: what is to be as by default, and keys that are revoked.
fn unset(args: &Args, facts: &BTreeMap<String, String>) -> Result<BTreeSet<String>, CliError> {
    let mut unset = BTreeSet::new();
    for name in &args.defaults {
        let fact = format!("{FACTS}{name}");
        if !facts.contains_key(&fact) {
            let known: Vec<&str> = facts.keys().filter_map(|fact| fact.strip_prefix(FACTS)).collect();
            return Err(CliError::no(format!("{name} is as by default already"))
                .with_detail(format!("set are: {}", known.join(", "))));
        }
        unset.insert(fact);
    }
    for revoked in &args.revoke {
        let of = |value: &str| {
            Signer::read(value).is_some_and(|key| key.fingerprint == *revoked || key.approver == *revoked)
        };
        let signer = format!("{FACTS}signer.");
        let found = facts.iter().filter(|(name, value)| name.starts_with(&signer) && of(value));
        let before = unset.len();
        unset.extend(found.map(|(name, _)| name.clone()));
        if unset.len() == before {
            return Err(CliError::no(format!("no key of or named {} is allowed", print::clean(revoked))));
        }
    }
    Ok(unset)
}

pub(super) fn facts(holds: &Value) -> BTreeMap<String, String> {
    let facts = holds["facts"].as_object().into_iter().flatten();
    facts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn show(globals: &Globals, tenant: &Tenant) -> Result<(), CliError> {
    let rule = Rule::of(&facts(&act::governance(globals, tenant)?));
    if globals.json {
        return print::json(&json!({ "tenant": tenant, "rule": rule }));
    }
    print::line(&print::columns(&rows(&rule)))
}

fn rows(rule: &Rule) -> Vec<Vec<String>> {
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    let needed = rule.environments.as_ref().map_or_else(
        || "everything that executes".to_owned(),
        |names| format!("what executes in {}, or names no environment", list(names)),
    );
    let mut rows = vec![
        vec!["needs approval".to_owned(), needed],
        vec!["exempt classes".to_owned(), or(list(&rule.exempt_classes), "none")],
        vec!["persons".to_owned(), rule.count.to_string()],
        vec!["roles".to_owned(), or(list(&rule.roles), "any")],
        vec!["grade".to_owned(), format!("{} or better", rule.grade.as_str())],
        vec!["emergency".to_owned(), format!("within {} h after execution", rule.emergency_h)],
        vec!["ended".to_owned(), format!("{} h after the last execute entry", rule.ended_after_h)],
    ];
    rows.extend(rule.holders.iter().map(|(role, names)| vec![format!("role {role}"), format!("only {}", list(names))]));
    rows.extend(rule.signers.iter().map(|(key, name)| vec![format!("signer {name}"), key.clone()]));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_told_in_words() {
        let mut rule = Rule::default();
        rule.signers.insert("SHA256:x".to_owned(), "bob".to_owned());
        rule.holders.insert("owners".to_owned(), ["bob".to_owned(), "eve".to_owned()].into());
        insta::assert_snapshot!(print::columns(&rows(&rule)), @r"
        needs approval  everything that executes
        exempt classes  none
        persons         1
        roles           any
        grade           recorded or better
        emergency       within 72 h after execution
        ended           24 h after the last execute entry
        role owners     only bob, eve
        signer bob      SHA256:x
        ");
    }
}

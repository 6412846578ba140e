//! The tenant's rule of approvals, read off the facts in its log's control entries, and how it changed.
//!
//! | fact | default | meaning |
//! |---|---|---|
//! | `approval.environments` | every one | only changes of these environments need approval; one that names none always does |
//! | `approval.exempt-classes` | none | changes of these classes need none |
//! | `approval.count` | 1 | so many different persons |
//! | `approval.roles` | none | each of these roles among them |
//! | `approval.grade` | `recorded` | the least grade that counts: `recorded`, `bound` or `signed` |
//! | `approval.emergency-hours` | 72 | an emergency may be approved so long after its execution |
//! | `approval.ended-after-hours` | 24 | a change is ended so long after its last execute entry |
//! | `approval.signer.…` | none | `SHA256:… [TYPE BASE64] NAME`: this SSH key signs approvals of this approver ([`super::signers`]) |
//! | `approval.role.ROLE` | whoever says so | only these approve in this role |
//! | `evidence.key.NAME` | none | base64 of a public key (ECDSA P-256 or Ed25519): foreign evidence inside events is held against it |
//!
//! A fold cannot fail, so a value that cannot be read counts as its default, and the command line does not write one. A rule holds for the
//! entries behind the control entry that set it: an attempt is judged by the rule that held when it was executed, and no later act
//! changes what was judged.

use std::collections::{BTreeMap, BTreeSet};

use ledger::entry::EventHeader;
use schemas::ids::{ChangeClass, Environment};
use serde::{Deserialize, Serialize};

use super::signers::{SIGNER, Signer};
use super::{Grade, same_name};
use crate::foreign::ForeignKey;

/// What the name of each fact begins with.
pub const FACTS: &str = "approval.";
const ROLE: &str = "role.";
/// The keys of foreign evidence are no approvals, but what holds of them when is told as of the rule.
const EVIDENCE: &str = "evidence.";
const EVIDENCE_KEY: &str = "key.";
/// Ten years.
const HOURS_MAX: u64 = 87_600;
/// More persons than a fact could name.
const COUNT_MAX: u64 = 64;

/// What an approval rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Environments whose changes need approval; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environments: Option<BTreeSet<String>>,
    /// Classes that need none.
    pub exempt_classes: BTreeSet<String>,
    /// How many different persons.
    pub count: u64,
    /// Each of these roles.
    pub roles: BTreeSet<String>,
    /// The least grade that counts.
    pub grade: Grade,
    /// Hours after the first execution in which an emergency may still be approved.
    pub emergency_h: u64,
    /// Hours after its last execute entry with which a change is ended.
    pub ended_after_h: u64,
    /// Keys of foreign evidence by name, each the base64 of its `SubjectPublicKeyInfo`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence_keys: BTreeMap<String, String>,
    /// Whose approvals a key signs, by its SHA-256 fingerprint.
    pub signers: BTreeMap<String, String>,
    /// Who may approve in a role, by the role; in one that is not named here, whoever says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub holders: BTreeMap<String, BTreeSet<String>>,
}

/// A fact that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: found {found:?}, expected {expected}")]
pub struct RuleError {
    /// The fact.
    pub name: String,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            environments: None,
            exempt_classes: BTreeSet::new(),
            count: 1,
            roles: BTreeSet::new(),
            grade: Grade::Recorded,
            emergency_h: 72,
            ended_after_h: 24,
            evidence_keys: BTreeMap::new(),
            signers: BTreeMap::new(),
            holders: BTreeMap::new(),
        }
    }
}

impl Rule {
    /// The rule of a tenant's facts.
    pub fn of(facts: &BTreeMap<String, String>) -> Self {
        let mut rule = Self::default();
        for (name, value) in facts {
            // What cannot be read leaves the default, see the module.
            let _ = rule.take(name, value);
        }
        rule
    }

    /// Whether facts that are about to be set can be read.
    ///
    /// # Errors
    /// The first that cannot: a name that is none of the table, or a value that it cannot have.
    pub fn check(facts: &BTreeMap<String, String>) -> Result<(), RuleError> {
        let mut rule = Self::default();
        facts.iter().try_for_each(|(name, value)| rule.take(name, value))
    }

    /// The name of the fact that says who may approve in a role.
    pub fn role_fact(role: &str) -> String {
        format!("{FACTS}{ROLE}{role}")
    }

    /// Whether this person may approve in this role. Names and roles are compared as [`same_name`] does.
    pub fn may_hold(&self, role: &str, name: &str) -> bool {
        let mut named = self.holders.iter().filter(|(held, _)| same_name(held) == same_name(role)).peekable();
        named.peek().is_none()
            || named.any(|(_, names)| names.iter().any(|holder| same_name(holder) == same_name(name)))
    }

    /// Whether a change with these entries needs approval. What only one entry says never loosens it.
    pub fn needs<'h>(&self, headers: impl Iterator<Item = &'h EventHeader> + Clone) -> bool {
        let outside = self.environments.as_ref().is_some_and(|within| {
            let mut named =
                headers.clone().filter_map(|header| header.env.as_ref()).map(Environment::as_str).peekable();
            named.peek().is_some() && named.all(|env| !within.contains(env))
        });
        let mut classes = headers.filter_map(|header| header.class).map(ChangeClass::as_str).peekable();
        let exempt = classes.peek().is_some() && classes.all(|class| self.exempt_classes.contains(class));
        !outside && !exempt
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), RuleError> {
        let error = |expected| RuleError { name: name.to_owned(), found: value.chars().take(80).collect(), expected };
        if name.starts_with(SIGNER) {
            let signer = Signer::read(value).ok_or_else(|| {
                error("`SHA256:FINGERPRINT [TYPE BASE64] APPROVER`, with the key of that fingerprint")
            })?;
            self.signers.insert(signer.fingerprint, signer.approver);
            return Ok(());
        }
        if let Some(name) = name.strip_prefix(EVIDENCE) {
            let name = name.strip_prefix(EVIDENCE_KEY).filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| error("the fact evidence.key.NAME"))?;
            let key = ForeignKey::parse(value).map_err(|_| {
                error(
                    "base64 of a public key of ECDSA P-256 or Ed25519 (openssl pkey -pubin -outform DER | base64 -w0)",
                )
            })?;
            self.evidence_keys.insert(name.to_owned(), key.to_base64());
            return Ok(());
        }
        match name.strip_prefix(FACTS) {
            None => return Ok(()),
            Some("environments") => {
                self.environments = Some(list(value).ok_or_else(|| error("names with commas between"))?);
            }
            Some("exempt-classes") => {
                let classes = list(value).filter(|list| list.iter().all(|word| ChangeClass::parse(word).is_ok()));
                self.exempt_classes = classes.ok_or_else(|| error("of standard, normal, emergency"))?;
            }
            Some("count") => self.count = number(value, 1, COUNT_MAX).ok_or_else(|| error("a number from 1 to 64"))?,
            Some("roles") => self.roles = list(value).ok_or_else(|| error("names with commas between"))?,
            Some("grade") => {
                let grade = Grade::parse(value).filter(|grade| *grade > Grade::Claimed);
                self.grade = grade.ok_or_else(|| error("recorded, bound or signed"))?;
            }
            Some("emergency-hours") => {
                self.emergency_h = number(value, 0, HOURS_MAX).ok_or_else(|| error("hours from 0 to 87600"))?;
            }
            Some("ended-after-hours") => {
                self.ended_after_h = number(value, 1, HOURS_MAX).ok_or_else(|| error("hours from 1 to 87600"))?;
            }
            Some(other) => match other.strip_prefix(ROLE).filter(|role| !role.is_empty()) {
                Some(role) => {
                    let names = list(value).ok_or_else(|| error("names with commas between"))?;
                    self.holders.insert(role.to_owned(), names);
                }
                None => {
                    return Err(error(
                        "a fact of environments, exempt-classes, count, roles, grade, emergency-hours, ended-after-hours, signer.*, role.*",
                    ));
                }
            },
        }
        Ok(())
    }
}

fn list(value: &str) -> Option<BTreeSet<String>> {
    let names: BTreeSet<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    (!names.contains("")).then_some(names)
}

fn number(value: &str, min: u64, max: u64) -> Option<u64> {
    value.parse().ok().filter(|number| (min..=max).contains(number))
}

/// A rule and the control entry that set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Index of the control entry: the rule holds for the entries behind it.
    pub entry: u64,
    /// What it says.
    pub rule: Rule,
}

/// The rule over the life of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The log: part of what an approver signs.
    pub origin: String,
    since: Vec<Since>,
    first: Rule,
}

impl Rules {
    /// The default rule, since ever.
    pub fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), ..Self::default() }
    }

    /// One rule since ever.
    pub fn always(origin: &str, rule: Rule) -> Self {
        Self { origin: origin.to_owned(), since: Vec::new(), first: rule }
    }

    /// The rules of a log whose facts stood so behind each of these control entries, oldest first.
    pub fn of(origin: &str, facts: &[(u64, BTreeMap<String, String>)]) -> Self {
        let mut rules = Self::new(origin);
        for &(index, ref facts) in facts {
            let rule = Rule::of(facts);
            if *rules.at(u64::MAX) != rule {
                rules.since.push(Since { entry: index, rule });
            }
        }
        rules
    }

    /// The rule that held for the entry at `index`; `u64::MAX` for the newest.
    pub fn at(&self, index: u64) -> &Rule {
        self.since.iter().rev().find(|since| since.entry < index).map_or(&self.first, |since| &since.rule)
    }

    /// These rules as they stood for the entry at `index`: what was changed afterwards is not known yet.
    #[must_use]
    pub fn until(&self, index: u64) -> Self {
        let since = self.since.iter().filter(|since| since.entry < index).cloned().collect();
        Self { since, ..self.clone() }
    }

    /// The rules that [`Rules::changes`] gave.
    pub fn from_changes(origin: &str, since: Vec<Since>) -> Self {
        Self { origin: origin.to_owned(), since, first: Rule::default() }
    }

    /// The control entries that changed the rule, with what held behind each.
    pub fn changes(&self) -> &[Since] {
        &self.since
    }
}

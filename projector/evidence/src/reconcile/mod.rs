//! Both ways: what a cloud's own log says was changed, against the changes of a population. A mutation without a change went past the ledger;
//! a change without a mutation did not do what it says. Pure.
//!
//! The readers of the two logs ([`cloudtrail`], [`k8s`]) say which records mutate anything; here they are matched. A rule that matched stands
//! with each match, from the strongest on: the change's own name in the record; a resource, the time and the principal; a resource and
//! the time; the principal and the time, where the change names no resource. `docs/reconcile.md` has the rules for people.

pub mod cloudtrail;
pub mod k8s;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::population::{Change, Details};

/// A record of a cloud's own log that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mutation {
    /// The record's own id.
    pub id: String,
    /// When, milliseconds since 1970, by the cloud.
    pub at_ms: u64,
    /// What was done.
    pub action: String,
    /// Who did it, as the cloud names them.
    pub principal: String,
    /// What it was done to, as the cloud names it; the names that a change may give it too.
    pub resources: BTreeSet<String>,
    /// Other names of the principal.
    #[serde(skip)]
    pub aliases: BTreeSet<String>,
    /// Other texts of the record in which a change may be named.
    #[serde(skip)]
    pub texts: BTreeSet<String>,
    /// Kind of resource, where the log has one (Kubernetes).
    #[serde(skip)]
    pub kind: Option<String>,
}

/// What a file of a cloud's log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Records that changed something.
    pub mutations: Vec<Mutation>,
    /// Records that did not, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

impl Read {
    /// Adds what another file holds.
    pub fn append(&mut self, mut other: Read) {
        self.mutations.append(&mut other.mutations);
        for (reason, count) in other.left_out {
            *self.left_out.entry(reason).or_default() += count;
        }
    }

    pub(crate) fn leave(&mut self, reason: &'static str) {
        *self.left_out.entry(reason).or_default() += 1;
    }
}

/// A log that cannot be read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: found {found}, expected {expected}")]
pub struct Unread {
    /// Where.
    pub place: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: &'static str,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// AWS `CloudTrail`.
    Cloudtrail,
    /// The audit log of a Kubernetes API server.
    K8sAudit,
}

impl Source {
    /// The one of this word.
    pub fn parse(word: &str) -> Option<Source> {
        [("cloudtrail", Source::Cloudtrail), ("k8s-audit", Source::K8sAudit)]
            .into_iter()
            .find_map(|(name, source)| (name == word).then_some(source))
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Cloudtrail => "cloudtrail",
            Source::K8sAudit => "k8s-audit",
        }
    }

    /// The records of a file.
    pub fn read(self, text: &[u8]) -> Result<Read, Unread> {
        match self {
            Source::Cloudtrail => cloudtrail::read(text),
            Source::K8sAudit => k8s::read(text),
        }
    }

    /// Whether a change can be expected in this log: false only where it names another cloud.
    fn concerns(self, details: &Details) -> bool {
        let Some(cloud) = details.cloud.as_deref().map(str::to_ascii_lowercase) else { return true };
        let ours: &[&str] = match self {
            Source::Cloudtrail => &["aws", "amazon"],
            Source::K8sAudit => &["k8s", "kubernetes", "eks", "aks", "gke", "openshift"],
        };
        let kinds: &[&str] = match self {
            Source::Cloudtrail => &["aws"],
            Source::K8sAudit => &["k8s", "kubernetes"],
        };
        ours.iter().any(|word| cloud.contains(word))
            || details.resources.iter().any(|resource| kinds.iter().any(|kind| resource.starts_with(kind)))
    }
}

/// How a mutation and a change were brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Rule {
    /// The record names the change.
    #[serde(rename = "change id")]
    ChangeId,
    /// The same resource, at the time, by the same principal.
    #[serde(rename = "resource, time and principal")]
    ResourceTimePrincipal,
    /// The same resource, at the time.
    #[serde(rename = "resource and time")]
    ResourceTime,
    /// The same principal, at the time; the change names no resource.
    #[serde(rename = "principal and time")]
    PrincipalTime,
}

impl Rule {
    /// Its words.
    pub fn words(self) -> &'static str {
        match self {
            Rule::ChangeId => "change id",
            Rule::ResourceTimePrincipal => "resource, time and principal",
            Rule::ResourceTime => "resource and time",
            Rule::PrincipalTime => "principal and time",
        }
    }
}

/// A mutation with its change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The record.
    pub mutation: Mutation,
    /// The change.
    pub change: String,
    /// What brought them together.
    pub rule: Rule,
}

/// A change that the cloud's log knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// The change.
    pub change: String,
    /// Its first and last event, by the log's time.
    pub first_at: u64,
    /// The last.
    pub last_at: u64,
    /// What it touches, as its payloads say.
    pub resources: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Reconciliation {
    /// Mutations with a change.
    pub matches: Vec<Match>,
    /// Mutations without a change.
    pub unrecorded: Vec<Mutation>,
    /// Executed changes without a mutation.
    pub unseen: Vec<Unseen>,
    /// Executed changes that name another cloud, of which this log cannot know.
    pub elsewhere: u64,
    /// Records that changed nothing, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

impl Reconciliation {
    /// Whether nothing is missing on either side.
    pub fn agrees(&self) -> bool {
        self.unrecorded.is_empty() && self.unseen.is_empty()
    }
}

/// An executed change and how it may be found.
struct Executed<'a> {
    change: &'a Change,
    details: &'a Details,
    from_ms: u64,
    to_ms: u64,
    principals: BTreeSet<String>,
    hit: bool,
}

/// Compares. `changes` are those of a population with what payloads say of them; `slack_ms` is how far apart the clocks of a cloud and of
/// the producers may be, and how late an event may come.
pub fn reconcile(
    source: Source,
    read: Read,
    changes: &[(Change, Details)],
    period: (u64, u64),
    slack_ms: u64,
) -> Reconciliation {
    let executed = |(change, _): &&(Change, Details)| change.executed && !change.probe;
    let (ours, others): (Vec<_>, Vec<_>) =
        changes.iter().filter(executed).partition(|(_, details)| source.concerns(details));
    let mut executed: Vec<Executed<'_>> =
        ours.iter().map(|(change, details)| Executed::of(change, details, slack_ms)).collect();
    let index = Index::over(&executed);
    let mut out = Reconciliation {
        matches: Vec::new(),
        unrecorded: Vec::new(),
        unseen: Vec::new(),
        elsewhere: others.len() as u64,
        left_out: read.left_out,
    };
    for mutation in read.mutations {
        let found = index.best(&mutation, &executed);
        // What the cloud did outside the period is no gap, but it may be the work of a change in it.
        let inside = (period.0..period.1).contains(&mutation.at_ms);
        match found {
            Some((rule, at)) => {
                executed[at].hit = true;
                out.matches.push(Match { mutation, change: executed[at].change.change.clone(), rule });
            }
            None if inside => out.unrecorded.push(mutation),
            None => *out.left_out.entry("outside the period").or_default() += 1,
        }
    }
    out.unseen = executed.iter().filter(|one| !one.hit).map(Executed::unseen).collect();
    out
}

impl<'a> Executed<'a> {
    fn of(change: &'a Change, details: &'a Details, slack_ms: u64) -> Self {
        let ms = |seconds: i64| u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000);
        let principals = details.executors.iter().chain(&details.initiator).map(|name| name.to_lowercase()).collect();
        Self {
            change,
            details,
            from_ms: change.first_at.min(ms(change.first_ts)).saturating_sub(slack_ms),
            // A second of a producer's clock lasts to its end.
            to_ms: change.last_at.max(ms(change.last_ts).saturating_add(999)).saturating_add(slack_ms),
            principals,
            hit: false,
        }
    }

    fn unseen(&self) -> Unseen {
        Unseen {
            change: self.change.change.clone(),
            first_at: self.change.first_at,
            last_at: self.change.last_at,
            resources: self.details.resources.clone(),
        }
    }

    fn is_by(&self, mutation: &Mutation) -> bool {
        let names = std::iter::once(&mutation.principal).chain(&mutation.aliases);
        names.map(|name| name.to_lowercase()).any(|name| self.principals.contains(&name))
    }
}

/// Executed changes by what a record may say of them.
struct Index<'a> {
    by_id: HashMap<&'a str, usize>,
    by_resource: HashMap<&'a str, Vec<(usize, &'a str)>>,
    without_resource: Vec<usize>,
}

impl<'a> Index<'a> {
    fn over(executed: &[Executed<'a>]) -> Self {
        let mut index = Self { by_id: HashMap::new(), by_resource: HashMap::new(), without_resource: Vec::new() };
        for (at, one) in executed.iter().enumerate() {
            index.by_id.insert(&one.change.change, at);
            if one.details.resources.is_empty() {
                index.without_resource.push(at);
            }
            for resource in &one.details.resources {
                let (kind, name) = resource.split_once('/').unwrap_or(("", resource));
                index.by_resource.entry(name).or_default().push((at, kind));
            }
        }
        index
    }

    /// The change with the strongest rule; of several the one whose first event is nearest.
    fn best(&self, mutation: &Mutation, executed: &[Executed<'_>]) -> Option<(Rule, usize)> {
        if let Some(at) = mutation.texts.iter().find_map(|text| self.by_id.get(text.as_str())) {
            return Some((Rule::ChangeId, *at));
        }
        let in_time = |at: &usize| (executed[*at].from_ms..=executed[*at].to_ms).contains(&mutation.at_ms);
        let mut found: Vec<(Rule, u64, usize)> = Vec::new();
        let mut add = |rule, at: usize| found.push((rule, executed[at].change.first_at.abs_diff(mutation.at_ms), at));
        for name in &mutation.resources {
            let hits = self.by_resource.get(name.as_str()).into_iter().flatten();
            for (at, _) in hits.filter(|(at, kind)| in_time(at) && same_kind(kind, mutation.kind.as_deref())) {
                let rule = if executed[*at].is_by(mutation) { Rule::ResourceTimePrincipal } else { Rule::ResourceTime };
                add(rule, *at);
            }
        }
        for at in self.without_resource.iter().filter(|at| in_time(at) && executed[**at].is_by(mutation)) {
            add(Rule::PrincipalTime, *at);
        }
        found.into_iter().min().map(|(rule, _, at)| (rule, at))
    }
}

/// Whether a change's kind of resource can be a log's: `k8s_deployment` is `deployments`; a kind that either side leaves open fits all.
fn same_kind(ours: &str, theirs: Option<&str>) -> bool {
    let Some(theirs) = theirs else { return true };
    let plain = |kind: &str| {
        let kind = kind.to_ascii_lowercase();
        let kind = kind.strip_prefix("kubernetes_").or(kind.strip_prefix("k8s_")).unwrap_or(&kind).replace('_', "");
        let kind = kind.strip_suffix("v1").unwrap_or(&kind).to_owned();
        if let Some(stem) = kind.strip_suffix("ies") {
            return format!("{stem}y");
        }
        if let Some(stem) = kind.strip_suffix("sses") {
            return format!("{stem}ss");
        }
        match kind.strip_suffix('s') {
            Some(stem) if !stem.ends_with('s') => stem.to_owned(),
            _ => kind,
        }
    };
    ours.is_empty() || plain(ours) == plain(theirs)
}

/// Records of a log in JSON: one document, an array or list within one, or one a line. `list` is the member that holds the list.
pub(crate) fn records(text: &[u8], list: &str, expected: &'static str) -> Result<Vec<serde_json::Value>, Unread> {
    use serde_json::Value;
    let mut out = Vec::new();
    let values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let mut document = 0;
    for value in values {
        document += 1;
        let value = value.map_err(|error| Unread {
            place: format!("document {document}"),
            found: error.to_string(),
            expected,
        })?;
        match value {
            Value::Array(items) => out.extend(items),
            Value::Object(mut members) => match members.remove(list) {
                Some(Value::Array(items)) => out.extend(items),
                Some(other) => {
                    members.insert(list.to_owned(), other);
                    out.push(Value::Object(members));
                }
                None => out.push(Value::Object(members)),
            },
            other => {
                let found = other.to_string().chars().take(60).collect();
                return Err(Unread { place: format!("document {document}"), found, expected });
            }
        }
    }
    if document == 0 {
        return Err(Unread { place: "the file".to_owned(), found: "nothing".to_owned(), expected });
    }
    Ok(out)
}

/// Milliseconds since 1970 of an RFC 3339 text.
pub(crate) fn time_ms(text: &str) -> Option<u64> {
    let (seconds, fraction) = schemas::time::seconds_and_fraction(text)?;
    let ms: String = fraction.chars().chain("000".chars()).take(3).collect();
    u64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(ms.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_compared_as_kubernetes_and_terraform_spell_them() {
        for (ours, theirs, same) in [
            ("k8s_deployment", "deployments", true),
            ("kubernetes_deployment_v1", "deployments", true),
            ("kubernetes_network_policy", "networkpolicies", true),
            ("k8s_ingress", "ingresses", true),
            ("", "deployments", true),
            ("k8s_service", "deployments", false),
        ] {
            assert_eq!(same_kind(ours, Some(theirs)), same, "{ours} {theirs}");
        }
        assert!(same_kind("aws_vpc", None));
    }

    #[test]
    fn records_come_in_every_form_that_logs_have() {
        let count = |text: &str| records(text.as_bytes(), "Records", "records").map(|list| list.len());
        assert_eq!(count(r#"{"Records":[{"a":1},{"a":2}]}"#), Ok(2));
        assert_eq!(count("{\"a\":1}\n{\"a\":2}\n"), Ok(2));
        assert_eq!(count(r#"[{"a":1}]"#), Ok(1));
        assert!(count("").unwrap_err().to_string().contains("nothing"));
        assert!(count("{\"a\":1}\nnot json").unwrap_err().to_string().starts_with("document 2"));
        assert!(count("7").unwrap_err().to_string().contains("found 7"));
    }
}

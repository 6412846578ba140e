//! Assessments: what somebody says about a platform, clause by clause, and the 26 files for the platforms that the model rates.
//!
//! Each statement is `supported` or `denied`, with a quote; a clause without a statement is `presumed` to hold up to the level `presumed_to`,
//! which for the model's platforms is its own rating: the assessor's word. An exception records where the model's table stands against its own note or
//! gate, with both texts. Levels are not in these files: `projector::maturity` derives them.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{self, TOP};

/// What an assessment says of a clause or an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Says {
    /// It holds, in the words of the quote.
    Supported,
    /// It does not.
    Denied,
    /// Nothing is said.
    Presumed,
}

/// What can be exported, as the evidence gates ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Export {
    /// Plan diffs.
    PlanDiff,
    /// Who approved.
    ApprovalTrail,
    /// What ran.
    ExecutionLogs,
    /// Evidence of a successful executed rollback.
    Rollback,
}

impl Export {
    /// All, in the order of the gates.
    pub const ALL: [Self; 4] = [Self::PlanDiff, Self::ApprovalTrail, Self::ExecutionLogs, Self::Rollback];

    /// Its word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlanDiff => "plan_diff",
            Self::ApprovalTrail => "approval_trail",
            Self::ExecutionLogs => "execution_logs",
            Self::Rollback => "rollback",
        }
    }
}

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Statement {
    /// Its id.
    pub clause: String,
    /// What is said.
    pub says: Says,
    /// In whose words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Exported {
    /// Which.
    pub export: Export,
    /// What is said.
    pub says: Says,
    /// In whose words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
}

/// Where a rating stands against its own note or against a gate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Exception {
    /// A clause that the note denies and that is taken to hold all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clause: Option<String>,
    /// A gate that the rating's cap reason contradicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// What is said of the platform.
    pub note: String,
    /// What stands against it.
    pub model: String,
    /// What follows.
    pub why: String,
}

/// An assessment file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Assessment {
    /// Who is assessed.
    pub platform: String,
    /// Clauses up to this level are presumed where nothing is said.
    pub presumed_to: u8,
    /// An Atlas token stated for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atlas: Option<String>,
    /// Clauses of which something is said.
    pub clauses: Vec<Statement>,
    /// The four exports; one that is missing is presumed.
    #[serde(default)]
    pub exports: Vec<Exported>,
    /// Contradictions.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
}

/// Why a file is no assessment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: found {found}; expected {expected}")]
pub struct AssessmentError {
    /// JSON pointer.
    pub path: String,
    /// What is there.
    pub found: String,
    /// What may be there.
    pub expected: String,
}

impl Assessment {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, AssessmentError> {
        let error = |path: &str, found: String, expected: &str| AssessmentError {
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            found,
            expected: expected.to_owned(),
        };
        let value: Value = serde_json::from_str(text).map_err(|cause| error("", cause.to_string(), "a JSON object"))?;
        check(&value)?;
        serde_json::from_value(value).map_err(|cause| error("", cause.to_string(), "an assessment"))
    }

    /// What it says of a clause.
    pub fn says(&self, clause: &str) -> Says {
        self.clauses.iter().find(|said| said.clause == clause).map_or(Says::Presumed, |said| said.says)
    }

    /// What it says of an export.
    pub fn exports(&self, export: Export) -> Says {
        self.exports.iter().find(|said| said.export == export).map_or(Says::Presumed, |said| said.says)
    }

    /// Whether an exception takes a clause to hold.
    pub fn excepts(&self, clause: &str) -> bool {
        self.exceptions.iter().any(|exception| exception.clause.as_deref() == Some(clause))
    }
}

/// Looks at each member by its path, so that whoever wrote the file is told where.
fn check(value: &Value) -> Result<(), AssessmentError> {
    let wrong =
        |path: String, found: &Value, expected: String| Err(AssessmentError { path, found: shown(found), expected });
    let Some(object) = value.as_object() else { return wrong("/".to_owned(), value, "a JSON object".to_owned()) };
    for name in object.keys() {
        if !["platform", "presumed_to", "atlas", "clauses", "exports", "exceptions"].contains(&name.as_str()) {
            let known = "platform, presumed_to, atlas, clauses, exports or exceptions".to_owned();
            return wrong(format!("/{name}"), &Value::String(name.clone()), known);
        }
    }
    match value.get("platform") {
        Some(Value::String(name)) if !name.trim().is_empty() => {}
        found => return wrong("/platform".to_owned(), found.unwrap_or(&Value::Null), "its name".to_owned()),
    }
    let level = value.get("presumed_to").unwrap_or(&Value::Null);
    if level.as_u64().is_none_or(|level| level > u64::from(TOP)) {
        return wrong("/presumed_to".to_owned(), level, format!("a level from 0 to {TOP}"));
    }
    if let Some(token) = value.get("atlas")
        && token.as_str().is_none_or(|token| model::get().level_of_token(token).is_none())
    {
        return wrong("/atlas".to_owned(), token, tokens());
    }
    let clauses = list(value, "clauses")?;
    for (at, said) in clauses.iter().enumerate() {
        statement(said, &format!("/clauses/{at}"), "clause", |id| model::get().clause(id).is_some(), &clause_ids())?;
        let id = said.get("clause");
        if clauses[..at].iter().any(|other| other.get("clause") == id) {
            return wrong(format!("/clauses/{at}/clause"), id.unwrap_or(&Value::Null), "each clause once".to_owned());
        }
    }
    let exports: Vec<_> = Export::ALL.iter().map(|export| export.as_str()).collect();
    for (at, said) in list(value, "exports")?.iter().enumerate() {
        statement(said, &format!("/exports/{at}"), "export", |id| exports.contains(&id), &exports.join(", "))?;
    }
    exceptions(list(value, "exceptions")?)
}

fn exceptions(list: &[Value]) -> Result<(), AssessmentError> {
    for (at, exception) in list.iter().enumerate() {
        let wrong = |member: &str, expected: &str| AssessmentError {
            path: format!("/exceptions/{at}/{member}"),
            found: shown(exception.get(member).unwrap_or(&Value::Null)),
            expected: expected.to_owned(),
        };
        if exception.get("clause").is_some_and(|id| id.as_str().is_none_or(|id| model::get().clause(id).is_none())) {
            return Err(wrong("clause", &clause_ids()));
        }
        if let Some(member) =
            ["note", "model", "why"].iter().find(|member| exception.get(**member).is_none_or(|text| !text.is_string()))
        {
            return Err(wrong(member, "words"));
        }
    }
    Ok(())
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], AssessmentError> {
    match value.get(name) {
        Some(Value::Array(list)) => Ok(list),
        None if name != "clauses" => Ok(&[]),
        found => Err(AssessmentError {
            path: format!("/{name}"),
            found: shown(found.unwrap_or(&Value::Null)),
            expected: "a list".to_owned(),
        }),
    }
}

fn statement(
    said: &Value,
    path: &str,
    member: &str,
    known: impl Fn(&str) -> bool,
    all: &str,
) -> Result<(), AssessmentError> {
    let wrong = |member: &str, expected: String| AssessmentError {
        path: format!("{path}/{member}"),
        found: shown(said.get(member).unwrap_or(&Value::Null)),
        expected,
    };
    if said.get(member).and_then(Value::as_str).is_none_or(|id| !known(id)) {
        return Err(wrong(member, all.to_owned()));
    }
    let says = said.get("says").and_then(Value::as_str);
    if says.is_none_or(|says| !["supported", "denied", "presumed"].contains(&says)) {
        return Err(wrong("says", "supported, denied or presumed".to_owned()));
    }
    let quoted = said.get("quote").and_then(Value::as_str).is_some_and(|quote| !quote.trim().is_empty());
    if says != Some("presumed") && !quoted {
        return Err(wrong("quote", "the words that say so".to_owned()));
    }
    Ok(())
}

/// At most 64 characters of what was found.
fn shown(value: &Value) -> String {
    if value.is_null() {
        return "nothing".to_owned();
    }
    let text = value.to_string();
    if text.chars().count() <= 64 { text } else { text.chars().take(63).chain(['…']).collect() }
}

/// Every clause, for whoever named one that does not exist.
pub fn clause_ids() -> String {
    let ids: Vec<_> = model::get().clauses.iter().map(|clause| clause.id.as_str()).collect();
    ids.join(", ")
}

/// Every Atlas token.
pub fn tokens() -> String {
    let tokens: Vec<_> = model::get().atlas.iter().map(|row| row.token.as_str()).collect();
    tokens.join(", ")
}

macro_rules! files {
    ($($id:literal),* $(,)?) => { [$(($id, include_str!(concat!("../assessments/", $id, ".json")))),*] };
}

const FILES: [(&str, &str); 26] = files![
    "atlassian-rovo-dev",
    "aws-strands-sdk-agentcore",
    "cisco-splunk-ai-assist",
    "databricks-agent-bricks",
    "datadog-bits-ai",
    "dataiku-ai-assistant",
    "duplocloud-ai-help-desk",
    "dynatrace-davis-ai",
    "elastic-observability-ai-assistant",
    "github-copilot-agent-mode",
    "google-vertex-ai-agents",
    "ibm-askiam-saviynt",
    "jfrog-fly-agentic-repo",
    "solo-io-kagent",
    "kuberns-ai-paas",
    "microsoft-azure-foundry",
    "microsoft-azure-copilot",
    "new-relic-ai",
    "opsera-hummingbird",
    "pagerduty-aiops",
    "qovery-migration-ai",
    "salesforce-agentforce",
    "servicenow-ai-orchestrator",
    "snowflake-cortex-agents",
    "termius-gloria",
    "zencoder-ai-agents",
];

static ALL: LazyLock<Vec<(&'static str, Assessment)>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the files are compiled in, and a test reads them all")]
    FILES.iter().map(|(id, text)| (*id, Assessment::parse(text).expect("an assessment"))).collect()
});

/// The assessments of the model's platforms by their ids, in the model's order.
pub fn all() -> &'static [(&'static str, Assessment)] {
    &ALL
}

/// The assessment of one of the model's platforms.
pub fn of(platform: &str) -> Option<&'static Assessment> {
    all().iter().find(|(id, _)| *id == platform).map(|(_, assessment)| assessment)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn one_file_for_each_platform_in_its_own_words() {
        let platforms = &model::get().platforms;
        assert_eq!(
            platforms.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(),
            all().iter().map(|(id, _)| *id).collect::<Vec<_>>()
        );
        for (platform, (id, assessment)) in platforms.iter().zip(all()) {
            assert_eq!((&assessment.platform, assessment.presumed_to), (&platform.name, platform.overall), "{id}");
            let own = |quote: &String| platform.notes.iter().any(|note| note.words.contains(quote));
            for said in &assessment.clauses {
                assert!(said.quote.as_ref().is_some_and(own), "{id} {}: {:?}", said.clause, said.quote);
            }
            assert_eq!(assessment.exports.iter().map(|said| said.export).collect::<Vec<_>>(), Export::ALL, "{id}");
            assert!(
                assessment.exports.iter().all(|said| said.quote.as_ref().map_or(said.says == Says::Presumed, own)),
                "{id}"
            );
        }
    }

    #[test]
    fn an_exception_quotes_both_texts_and_is_needed() {
        for (id, assessment) in all() {
            let mut seen = BTreeSet::new();
            for exception in &assessment.exceptions {
                assert!(
                    model::TEXT.contains(&exception.note) && model::TEXT.contains(&exception.model),
                    "{id}: {exception:?}"
                );
                assert_eq!(exception.clause.is_some(), exception.gate.is_none(), "{id}");
                assert!(
                    exception.gate.as_ref().is_none_or(|gate| model::get().gates.iter().any(|known| known.id == *gate))
                );
                if let Some(clause) = &exception.clause {
                    assert!(seen.insert(clause), "{id}: {clause} twice");
                    assert_eq!(assessment.says(clause), Says::Denied, "{id}: {clause} needs no exception");
                }
            }
        }
    }

    fn refused(text: &str, path: &str, found: &str, expected: &str) {
        let error = Assessment::parse(text).unwrap_err();
        assert_eq!((error.path.as_str(), error.found.as_str()), (path, found), "{error}");
        assert!(error.expected.contains(expected), "{error}");
    }

    #[test]
    fn what_is_no_assessment_is_told_where() {
        refused("[", "/", "EOF while parsing a list at line 1 column 1", "JSON");
        refused("[]", "/", "[]", "object");
        refused(r#"{"platform":"P","presumed_to":5,"clauses":[]}"#, "/presumed_to", "5", "0 to 4");
        refused(r#"{"platform":"P","presumed_to":1}"#, "/clauses", "nothing", "list");
        refused(
            r#"{"platform":"P","presumed_to":1,"clauses":[],"atlas":"Z/Z"}"#,
            "/atlas",
            "\"Z/Z\"",
            "N/L, P/L, P/M, Y/M, Y/H",
        );
        refused(r#"{"platform":"P","presumed_to":1,"clauses":[],"colour":1}"#, "/colour", "\"colour\"", "platform");
        let clause = |rest: &str| format!(r#"{{"platform":"P","presumed_to":1,"clauses":[{{{rest}}}]}}"#);
        refused(
            &clause(r#""clause":"scale.9.x","says":"denied""#),
            "/clauses/0/clause",
            "\"scale.9.x\"",
            "scale.2.plans",
        );
        refused(&clause(r#""clause":"scale.2.plans","says":"maybe""#), "/clauses/0/says", "\"maybe\"", "denied");
        refused(&clause(r#""clause":"scale.2.plans","says":"denied""#), "/clauses/0/quote", "nothing", "words");
        refused(
            r#"{"platform":"P","presumed_to":1,"clauses":[],"exports":[{"export":"x"}]}"#,
            "/exports/0/export",
            "\"x\"",
            "plan_diff",
        );
    }
}

//! What CI variables say about a change, as defaults for an event's fields. Explicit flags win over all of it.
//!
//! GitHub: <https://docs.github.com/actions/reference/workflows-and-actions/variables>.
//! GitLab: <https://docs.gitlab.com/ci/variables/predefined_variables/>.
//!
//! The variables are whatever the job's environment holds: they say what the job claims, and prove nothing.

use crate::build::object;
use schemas::ids::{ChangeId, Environment};
use serde_json::Value;
use std::collections::BTreeMap;

/// What can be known from the environment. An absent member is not said there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `github`, `gitlab`, or absent outside both.
    pub system: Option<&'static str>,
    /// Who started the run; outside CI, the login name.
    pub initiator: Option<String>,
    /// The workflow or pipeline, the job and the branch, in words.
    pub request: Option<String>,
    /// One change a run, so that all its jobs and phases meet in it.
    pub change: Option<String>,
    /// Re-running a run is another attempt of its change. Only meaningful together with [`Self::change`].
    pub attempt: Option<u32>,
    /// Why: the title of the merge request or commit (GitLab only: GitHub sets no variable for it).
    pub reason: Option<String>,
    /// A ticket key (`OPS-123`) in the branch's name.
    pub ticket: Option<String>,
    /// The environment deployed to (GitLab only).
    pub environment: Option<String>,
    /// `api`, or `chatops` for a pipeline started from a chat.
    pub source: Option<&'static str>,
    /// Where a person finds the run.
    pub url: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// The branch or tag.
    pub branch: Option<String>,
}

/// Reads the variables of GitHub Actions or GitLab CI; with neither, only `USER` or `LOGNAME`.
pub fn defaults(variables: &BTreeMap<String, String>) -> Defaults {
    let vars = Vars(variables);
    let mut found = if vars.is("GITHUB_ACTIONS") {
        github(&vars)
    } else if vars.is("GITLAB_CI") {
        gitlab(&vars)
    } else {
        Defaults { initiator: vars.get("USER").or_else(|| vars.get("LOGNAME")), ..Defaults::default() }
    };
    found.ticket = found.branch.as_deref().and_then(ticket);
    // A default must never be the reason for a rejection.
    found.change = found.change.filter(|id| ChangeId::parse(id).is_ok());
    found.attempt = found.change.as_ref().and(found.attempt);
    found.environment = found.environment.filter(|name| Environment::parse(name).is_ok());
    found
}

impl Defaults {
    /// The additional section `ci` of an event: where the run can be read. Absent outside CI.
    pub fn section(&self) -> Option<Value> {
        self.system?;
        let text = |value: Option<&String>| value.map(|value| Value::String(value.clone()));
        object([
            ("system", self.system.map(Value::from)),
            ("url", text(self.url.as_ref())),
            ("commit", text(self.commit.as_ref())),
            ("ref", text(self.branch.as_ref())),
        ])
    }
}

fn github(vars: &Vars) -> Defaults {
    let repository = vars.get("GITHUB_REPOSITORY");
    let run = vars.get("GITHUB_RUN_ID");
    let attempt = vars.get("GITHUB_RUN_ATTEMPT").and_then(|n| n.parse().ok()).filter(|n| *n >= 1);
    let server = vars.get("GITHUB_SERVER_URL").unwrap_or_else(|| "https://github.com".to_owned());
    // On a pull request GITHUB_REF_NAME is `12/merge`; the branch is GITHUB_HEAD_REF.
    let branch = vars.get("GITHUB_HEAD_REF").or_else(|| vars.get("GITHUB_REF_NAME"));
    Defaults {
        system: Some("github"),
        initiator: vars.get("GITHUB_TRIGGERING_ACTOR").or_else(|| vars.get("GITHUB_ACTOR")),
        request: sentence(&[
            ("workflow", vars.get("GITHUB_WORKFLOW")),
            ("job", vars.get("GITHUB_JOB")),
            ("on", branch.clone()),
        ]),
        change: run.as_ref().map(|run| run_change("github", repository.as_deref(), run)),
        attempt,
        source: Some("api"),
        url: repository.zip(run).map(|(repository, run)| {
            let base = format!("{server}/{repository}/actions/runs/{run}");
            attempt.filter(|n: &u32| *n > 1).map_or_else(|| base.clone(), |n| format!("{base}/attempts/{n}"))
        }),
        commit: vars.get("GITHUB_SHA"),
        branch,
        ..Defaults::default()
    }
}

fn gitlab(vars: &Vars) -> Defaults {
    let branch = vars.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME").or_else(|| vars.get("CI_COMMIT_REF_NAME"));
    let pipeline = vars.get("CI_PIPELINE_NAME").or_else(|| vars.get("CI_PROJECT_PATH"));
    let environment = vars.get("CI_ENVIRONMENT_NAME").filter(|name| Environment::parse(name).is_ok());
    Defaults {
        system: Some("gitlab"),
        initiator: vars.get("GITLAB_USER_LOGIN"),
        request: sentence(&[("pipeline", pipeline), ("job", vars.get("CI_JOB_NAME")), ("on", branch.clone())]),
        change: vars.get("CI_PIPELINE_ID").map(|id| run_change("gitlab", vars.get("CI_PROJECT_PATH").as_deref(), &id)),
        attempt: None,
        reason: vars.get("CI_MERGE_REQUEST_TITLE").or_else(|| vars.get("CI_COMMIT_TITLE")),
        environment: environment.or_else(|| vars.get("CI_ENVIRONMENT_SLUG")),
        source: Some(if vars.get("CI_PIPELINE_SOURCE").as_deref() == Some("chat") { "chatops" } else { "api" }),
        url: vars.get("CI_JOB_URL").or_else(|| vars.get("CI_PIPELINE_URL")),
        commit: vars.get("CI_COMMIT_SHA"),
        branch,
        ..Defaults::default()
    }
}

/// `github-octo-org-octo-repo-289782451`; without the repository where that would not be a valid change ID.
fn run_change(system: &str, repository: Option<&str>, run: &str) -> String {
    let short = format!("{system}-{run}");
    let Some(repository) = repository else { return short };
    let long = format!("{system}-{}-{run}", repository.replace('/', "-"));
    if ChangeId::parse(&long).is_ok() { long } else { short }
}

fn sentence(parts: &[(&str, Option<String>)]) -> Option<String> {
    let said: Vec<String> =
        parts.iter().filter_map(|(word, value)| Some(format!("{word} {}", value.as_ref()?))).collect();
    (!said.is_empty()).then(|| said.join(", ").replace(", on ", " on "))
}

/// The first `ABC-123` of a branch name that stands alone between its separators (`/`, `_`, `.`; `-` after the number).
fn ticket(branch: &str) -> Option<String> {
    branch.split(['/', '_', '.', '#']).find_map(|part| {
        let (project, rest) = part.split_once('-')?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let ends = rest[number.len()..].chars().next().is_none_or(|next| next == '-');
        let named = project.len() >= 2
            && project.starts_with(|first: char| first.is_ascii_uppercase())
            && project.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        (named && ends && !number.is_empty()).then(|| format!("{project}-{number}"))
    })
}

struct Vars<'a>(&'a BTreeMap<String, String>);

impl Vars<'_> {
    /// CI systems set what they don't know to the empty string.
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn is(&self, name: &str) -> bool {
        self.get(name).as_deref() == Some("true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expect: &Defaults) {
        let map = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(defaults(&map), *expect);
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn github_says_who_what_and_where() {
        check(
            &[
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_ACTOR", "octocat"),
                ("GITHUB_TRIGGERING_ACTOR", "hubot"),
                ("GITHUB_REPOSITORY", "octo-org/octo-repo"),
                ("GITHUB_RUN_ID", "289782451"),
                ("GITHUB_RUN_ATTEMPT", "2"),
                ("GITHUB_SERVER_URL", "https://ghe.example"),
                ("GITHUB_WORKFLOW", "deploy"),
                ("GITHUB_JOB", "apply"),
                ("GITHUB_HEAD_REF", "feature/OPS-123-bigger-nodes"),
                ("GITHUB_REF_NAME", "12/merge"),
                ("GITHUB_SHA", "3484a3f"),
                ("USER", "runner"),
            ],
            &Defaults {
                system: Some("github"),
                initiator: Some(text("hubot")),
                request: Some(text("workflow deploy, job apply on feature/OPS-123-bigger-nodes")),
                change: Some(text("github-octo-org-octo-repo-289782451")),
                attempt: Some(2),
                ticket: Some(text("OPS-123")),
                source: Some("api"),
                url: Some(text("https://ghe.example/octo-org/octo-repo/actions/runs/289782451/attempts/2")),
                commit: Some(text("3484a3f")),
                branch: Some(text("feature/OPS-123-bigger-nodes")),
                ..Defaults::default()
            },
        );
    }

    #[test]
    fn gitlab_says_also_why_and_which_environment() {
        check(
            &[
                ("GITLAB_CI", "true"),
                ("GITLAB_USER_LOGIN", "ada"),
                ("CI_PROJECT_PATH", "group/infra"),
                ("CI_PIPELINE_ID", "77"),
                ("CI_JOB_NAME", "apply: prod"),
                ("CI_COMMIT_REF_NAME", "main"),
                ("CI_COMMIT_TITLE", "Raise quota"),
                ("CI_ENVIRONMENT_NAME", "review/a-name-that-is-longer-than-32-bytes"),
                ("CI_ENVIRONMENT_SLUG", "review-a-name-x1y2z3"),
                ("CI_PIPELINE_SOURCE", "chat"),
                ("CI_JOB_URL", "https://gitlab.example/j/9"),
                ("CI_COMMIT_SHA", "abc"),
                ("CI_MERGE_REQUEST_TITLE", ""),
            ],
            &Defaults {
                system: Some("gitlab"),
                initiator: Some(text("ada")),
                request: Some(text("pipeline group/infra, job apply: prod on main")),
                change: Some(text("gitlab-group-infra-77")),
                reason: Some(text("Raise quota")),
                environment: Some(text("review-a-name-x1y2z3")),
                source: Some("chatops"),
                url: Some(text("https://gitlab.example/j/9")),
                commit: Some(text("abc")),
                branch: Some(text("main")),
                ..Defaults::default()
            },
        );
    }

    #[test]
    fn a_default_is_never_the_reason_for_a_rejection() {
        let long = "x".repeat(200);
        check(
            &[
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_REPOSITORY", &long),
                ("GITHUB_RUN_ID", "7"),
                ("GITHUB_RUN_ATTEMPT", "0"),
            ],
            &Defaults {
                system: Some("github"),
                change: Some(text("github-7")),
                source: Some("api"),
                url: Some(format!("https://github.com/{long}/actions/runs/7")),
                ..Defaults::default()
            },
        );
        check(
            &[("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "7 8"), ("GITHUB_RUN_ATTEMPT", "3")],
            &Defaults { system: Some("github"), source: Some("api"), ..Defaults::default() },
        );
    }

    #[test]
    fn outside_ci_only_the_login_name() {
        check(
            &[("USER", "ada"), ("GITHUB_RUN_ID", "7"), ("GITLAB_CI", "false")],
            &Defaults { initiator: Some(text("ada")), ..Defaults::default() },
        );
        check(&[], &Defaults::default());
        assert_eq!(defaults(&BTreeMap::new()).section(), None);
    }

    #[test]
    fn tickets_stand_alone() {
        for (branch, expect) in [
            ("OPS-12", Some("OPS-12")),
            ("fix/AB2-7-x", Some("AB2-7")),
            ("x_OPS-12", Some("OPS-12")),
            ("main", None),
            ("ops-12", None),
            ("O-1", None),
            ("OPS-", None),
            ("OPS-12a", None),
            ("2X-1", None),
            ("é-1", None),
        ] {
            assert_eq!(ticket(branch).as_deref(), expect, "{branch}");
        }
    }
}

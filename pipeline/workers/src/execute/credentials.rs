//! Credentials for one step, as a helper program prints them or a file holds them. They reach the step's environment and files of its own, and nothing else:
//! an event says their kind and how long they are good for.
//!
//! Two forms: `{"environment": {…}, "files": {…}, "ttl_s": 900}` (or `"expires"`, RFC 3339), where `{files}` in a value, or in a file, stands for the directory that
//! the files are in; and what AWS calls `credential_process` (`{"Version": 1, "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::scope::Case;

use super::environment::may_be_named;
use super::options::{ExecuteOptions, Helper};

/// What is handed over.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Variables.
    pub environment: BTreeMap<String, String>,
    /// Files by name.
    pub files: BTreeMap<String, String>,
    /// Seconds for which they are good; none if nobody says.
    pub ttl_s: Option<u64>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.environment.keys().chain(self.files.keys()).collect();
        out.debug_struct("Credentials").field("names", &names).field("ttl_s", &self.ttl_s).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    ttl_s: Option<u64>,
    expires: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Aws {
    version: u64,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

/// Reads what a helper gave. Complaints never quote it.
pub fn read(helper: &Helper, text: &str, now_s: i64) -> Result<Credentials, String> {
    let (credentials, expires) = match serde_json::from_str::<Aws>(text) {
        Ok(aws) => of_aws(aws)?,
        Err(_) => of_own(text)?,
    };
    let ends_s = expires.map(|text| text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second));
    let ends_s = ends_s.transpose().map_err(|_| "its end is no time in RFC 3339".to_owned())?;
    let left = |end: i64| u64::try_from(end.saturating_sub(now_s)).unwrap_or(0);
    let ttl_s = credentials.ttl_s.or(ends_s.map(left));
    match (ttl_s, helper.most_ttl_s) {
        (Some(0), _) => return Err("they are over already".to_owned()),
        (None, Some(most)) => return Err(format!("they have no end; expected one within {most} s")),
        (Some(found), Some(most)) if found > most => {
            return Err(format!("they are good for {found} s; expected at most {most} s"));
        }
        _ => {}
    }
    Ok(Credentials { ttl_s, ..credentials })
}

fn of_aws(aws: Aws) -> Result<(Credentials, Option<String>), String> {
    if aws.version != 1 {
        return Err(format!("a credential_process answer of version {}, expected 1", aws.version));
    }
    let mut environment = BTreeMap::from([
        ("AWS_ACCESS_KEY_ID".to_owned(), aws.access_key_id),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), aws.secret_access_key),
    ]);
    environment.extend(aws.session_token.map(|token| ("AWS_SESSION_TOKEN".to_owned(), token)));
    Ok((Credentials { environment, ..Credentials::default() }, aws.expiration))
}

fn of_own(text: &str) -> Result<(Credentials, Option<String>), String> {
    // The message of the parser may quote a value.
    let own: Own = serde_json::from_str(text).map_err(|error| {
        format!("line {}, column {}: expected {{\"environment\", \"files\", \"ttl_s\"}}", error.line(), error.column())
    })?;
    if own.environment.is_empty() && own.files.is_empty() {
        return Err("neither environment nor files".to_owned());
    }
    if let Some(name) = own.environment.keys().find(|name| !may_be_named(name) || *name == "PATH") {
        return Err(format!("the variable {name:?}; expected {}", super::environment::EXPECTED));
    }
    if own.environment.values().any(|value| value.contains('\0')) {
        return Err("a variable with a NUL byte".to_owned());
    }
    let is_file = |name: &str| {
        !name.is_empty()
            && !name.starts_with("..")
            && name != "."
            && name.len() <= 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if let Some(name) = own.files.keys().find(|name| !is_file(name)) {
        return Err(format!("the file {name:?}; expected a plain name"));
    }
    Ok((Credentials { environment: own.environment, files: own.files, ttl_s: own.ttl_s }, own.expires))
}

impl Credentials {
    /// What must be masked wherever it appears: every value, and every file with its parts.
    pub fn secrets(&self) -> Vec<String> {
        let files = self.files.values().flat_map(|text| {
            let words = text.split(|c: char| c.is_whitespace() || "\"':,".contains(c)).filter(|word| word.len() >= 16);
            words.map(str::to_owned)
        });
        self.environment.values().filter(|value| !value.contains("{files}")).cloned().chain(files).collect()
    }

    /// The variables, with files in this directory.
    pub fn variables(&self, files: &str) -> BTreeMap<String, String> {
        self.environment.iter().map(|(name, value)| (name.clone(), value.replace("{files}", files))).collect()
    }
}

impl ExecuteOptions {
    /// The helper of a program in a change.
    pub fn helper(&self, program: &str, case: Case<'_>) -> Option<&Helper> {
        self.credentials.iter().find(|helper| {
            // Handing something over permits: a change that names no environment gets nothing that is for one.
            let known = helper.scope.environments.is_none() || case.environment.is_some();
            (helper.programs.is_empty() || helper.programs.contains(program)) && known && helper.scope.binds(case)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::options::Source;
    use crate::scope::Scope;

    fn helper(most_ttl_s: Option<u64>) -> Helper {
        Helper {
            name: "h".to_owned(),
            scope: Scope::default(),
            programs: ["aws".to_owned()].into(),
            source: Source::File("x".to_owned()),
            most_ttl_s,
            mtls: false,
        }
    }

    #[test]
    fn both_forms_are_read() {
        let now_s = 1_760_000_000;
        let own = r#"{"environment": {"KUBECONFIG": "{files}/config", "TOKEN": "correct-horse"}, "files": {"config": "token: abcdefghijklmnopqrstuvwxyz"}, "ttl_s": 60}"#;
        let own = read(&helper(Some(60)), own, now_s).unwrap();
        assert_eq!(own.ttl_s, Some(60));
        assert_eq!(own.variables("/w/1")["KUBECONFIG"], "/w/1/config");
        assert_eq!(own.secrets(), ["correct-horse", "abcdefghijklmnopqrstuvwxyz"]);
        let shown = format!("{own:?}");
        assert!(shown.contains("KUBECONFIG") && !shown.contains("horse"), "{shown}");
        let aws = r#"{"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2025-10-09T09:03:20Z"}"#;
        let aws = read(&helper(Some(3_600)), aws, now_s).unwrap();
        assert_eq!((aws.environment.len(), aws.ttl_s), (3, Some(600)));
    }

    #[test]
    fn what_does_not_fit_is_told_without_being_quoted() {
        let now_s = 1_760_000_000;
        for (text, most, told) in [
            ("not json: hunter2", Some(60), "line 1, column 2"),
            (r#"{"environment": {"A": 5}}"#, Some(60), "expected {\"environment\""),
            (r#"{"secret": "hunter2"}"#, Some(60), "expected {\"environment\""),
            (r"{}", Some(60), "neither environment nor files"),
            (r#"{"environment": {"A": "hunter2"}}"#, Some(60), "they have no end; expected one within 60 s"),
            (r#"{"environment": {"A": "hunter2"}, "ttl_s": 61}"#, Some(60), "good for 61 s; expected at most 60 s"),
            (r#"{"environment": {"A": "hunter2"}, "ttl_s": 0}"#, None, "over already"),
            (r#"{"environment": {"A": "hunter2"}, "expires": "2025-10-09T08:53:19Z"}"#, None, "over already"),
            (r#"{"environment": {"A": "hunter2"}, "expires": "tomorrow"}"#, None, "no time in RFC 3339"),
            (r#"{"environment": {"LD_PRELOAD": "hunter2"}, "ttl_s": 5}"#, Some(60), "LD_PRELOAD"),
            (r#"{"environment": {"PATH": "hunter2"}, "ttl_s": 5}"#, Some(60), "PATH"),
            (r#"{"files": {"../x": "hunter2"}, "ttl_s": 5}"#, Some(60), "a plain name"),
            (r#"{"Version": 2, "AccessKeyId": "a", "SecretAccessKey": "hunter2"}"#, Some(60), "version 2, expected 1"),
        ] {
            let error = read(&helper(most), text, now_s).unwrap_err();
            assert!(error.contains(told) && !error.contains("hunter2"), "{text}: {error}");
        }
        assert!(read(&helper(None), r#"{"environment": {"A": "b"}}"#, now_s).is_ok());
    }

    #[test]
    fn the_first_helper_that_fits_is_asked() {
        let any = Helper { name: "any".to_owned(), programs: [].into(), ..helper(None) };
        let options = ExecuteOptions { credentials: vec![helper(None), any], ..ExecuteOptions::default() };
        let name = |program| options.helper(program, Case::default()).map(|helper| helper.name.as_str());
        assert_eq!((name("aws"), name("kubectl-1.29")), (Some("h"), Some("any")));
    }
}

//! Where policies are, and asking them: files of the house, evaluated here, or an OPA server.
//!
//! Whoever can't be asked says no: a policy that is not heard is none that was passed.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use workers::config::{PolicyOptions, PolicySource};
use workers::policy::{self, Decision, Files, PolicyResult, SourceError, bundle};

/// Files and bytes of a directory of policies.
const FILES: usize = 2_000;
const BYTES: u64 = 64 << 20;
/// How long an OPA server may take.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer of an OPA server for one package.
const ANSWER_BYTES: u64 = 4 << 20;

/// Policies that can be asked.
pub enum Policies {
    /// Evaluated here.
    Here(Box<policy::Policies>),
    /// An OPA server.
    Server(Server),
}

/// An OPA server.
pub struct Server {
    agent: ureq::Agent,
    url: String,
    packages: BTreeSet<String>,
    advisory: BTreeSet<String>,
}

/// Why there are no policies to ask.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    /// A file or directory.
    #[error("{path}: {source}")]
    Io {
        /// Its path.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// More than is read.
    #[error("{path}: found more than {limit}, which are no policies")]
    TooMuch {
        /// The directory.
        path: PathBuf,
        /// So much.
        limit: String,
    },
    /// A bundle that is not the pinned one.
    #[error("{path}: found SHA-256 {found}, expected {expected}")]
    OtherBundle {
        /// The bundle.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The pinned one.
        expected: String,
    },
    /// What is wrong in the policies.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Source(Vec<SourceError>),
}

impl Policies {
    /// Reads what the options name; paths start at `base`. None where they name nothing.
    pub fn read(options: &PolicyOptions, base: &Path) -> Result<Option<Self>, PoliciesError> {
        let files = match &options.source {
            None => return Ok(None),
            Some(PolicySource::Directory(path)) => directory(&base.join(path))?,
            Some(PolicySource::Bundle { path, sha256 }) => packed(&base.join(path), sha256.as_deref())?,
            Some(PolicySource::Server { url, packages }) => {
                let config = ureq::Agent::config_builder().http_status_as_error(false);
                let agent = config.timeout_global(Some(SERVER_PATIENCE)).build().into();
                let url = url.trim_end_matches('/').to_owned();
                let (packages, advisory) = (packages.clone(), options.advisory.clone());
                return Ok(Some(Self::Server(Server { agent, url, packages, advisory })));
            }
        };
        let compiled = policy::Policies::compile(&files, &options.advisory, options.steps);
        Ok(Some(Self::Here(Box::new(compiled.map_err(PoliciesError::Source)?))))
    }

    /// Names what is asked: SHA-256 over the files; none for a server.
    pub fn digest(&self) -> Option<&str> {
        match self {
            Self::Here(policies) => Some(policies.digest()),
            Self::Server(_) => None,
        }
    }

    /// The packages that decide.
    pub fn packages(&self) -> Vec<String> {
        match self {
            Self::Here(policies) => policies.packages().map(str::to_owned).collect(),
            Self::Server(server) => server.packages.iter().cloned().collect(),
        }
    }

    /// Asks each policy. Blocking.
    pub fn ask(&self, input: &Value, now_s: i64) -> Vec<PolicyResult> {
        match self {
            Self::Here(policies) => policies.evaluate(input, now_s),
            Self::Server(server) => server.packages.iter().flat_map(|package| server.ask(package, input)).collect(),
        }
    }
}

impl Server {
    fn ask(&self, package: &str, input: &Value) -> Vec<PolicyResult> {
        let mandatory = !self.advisory.contains(package);
        match self.document(package, input) {
            Ok(document) => policy::of_server(package, mandatory, &document),
            Err(why) => vec![PolicyResult {
                id: package.to_owned(),
                package: package.to_owned(),
                mandatory,
                decision: Decision::Failed,
                message: format!("the server at {} can't be asked: {why}", self.url),
            }],
        }
    }

    /// The package's document (OPA's data API); one that it has not is empty.
    fn document(&self, package: &str, input: &Value) -> Result<Value, String> {
        let url = format!("{}/v1/data/{}", self.url, package.replace('.', "/"));
        let sent = self.agent.post(&url).send_json(json!({ "input": input }));
        let mut answer = sent.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        let body: Value = body.map_err(|error| error.to_string()).and_then(|body| {
            serde_json::from_slice(&body).map_err(|error| format!("its answer is no JSON: {error}"))
        })?;
        if !status.is_success() {
            let said = body["message"].as_str().unwrap_or_default();
            return Err(format!("it answers {status} {said}"));
        }
        Ok(body.get("result").cloned().unwrap_or_else(|| json!({})))
    }
}

fn packed(path: &Path, sha256: Option<&str>) -> Result<Files, PoliciesError> {
    let bytes = whole(path, BYTES)?;
    if let Some(expected) = sha256 {
        let found = hex::encode(Sha256::digest(&bytes));
        if found != expected {
            return Err(PoliciesError::OtherBundle { path: path.to_owned(), found, expected: expected.to_owned() });
        }
    }
    bundle::read(&path.display().to_string(), &bytes).map_err(PoliciesError::Source)
}

/// The files of a directory and of those in it, by their paths from its top. What begins with a dot is not looked at.
fn directory(top: &Path) -> Result<Files, PoliciesError> {
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    let mut open = vec![(top.to_owned(), String::new())];
    let (mut left, mut seen) = (BYTES, 0_usize);
    while let Some((path, name)) = open.pop() {
        let failed = |source| PoliciesError::Io { path: path.clone(), source };
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let own = entry.file_name().to_string_lossy().into_owned();
            if own.starts_with('.') {
                continue;
            }
            seen += 1;
            if seen > FILES {
                return Err(PoliciesError::TooMuch { path: top.to_owned(), limit: format!("{FILES} files") });
            }
            let inner = if name.is_empty() { own } else { format!("{name}/{own}") };
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                open.push((entry.path(), inner));
            } else if is_read(&entry.path()) {
                let bytes = whole(&entry.path(), left)?;
                left = left.saturating_sub(bytes.len() as u64);
                found.push((inner, bytes));
            }
        }
    }
    let files = found.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    Files::read(files).map_err(PoliciesError::Source)
}

/// Policies and data. YAML too, so that whoever keeps data in it is told.
fn is_read(path: &Path) -> bool {
    path.extension().is_some_and(|end| ["rego", "json", "yaml", "yml"].iter().any(|known| end == *known))
}

fn whole(path: &Path, most: u64) -> Result<Vec<u8>, PoliciesError> {
    let failed = |source| PoliciesError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(PoliciesError::TooMuch { path: path.to_owned(), limit: format!("{most} bytes") });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGO: &str =
        "package house.names\nimport rego.v1\ndeny contains \"no\" if input.plan.environment == \"production\"\n";

    fn options(source: PolicySource) -> PolicyOptions {
        PolicyOptions { source: Some(source), advisory: BTreeSet::new(), steps: policy::STEPS }
    }

    #[test]
    fn a_directory_is_asked() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("house")).expect("a directory");
        std::fs::write(dir.path().join("house/names.rego"), REGO).expect("written");
        std::fs::write(dir.path().join("house/names_test.rego"), "not rego").expect("written");
        std::fs::write(dir.path().join(".hidden.rego"), "not rego").expect("written");
        let options = options(PolicySource::Directory("house".to_owned()));
        let policies = Policies::read(&options, dir.path()).expect("policies").expect("some");
        assert_eq!(policies.packages(), ["house.names"]);
        let asked = |environment: &str| policies.ask(&json!({"plan": {"environment": environment}}), 0)[0].decision;
        assert_eq!((asked("production"), asked("test")), (Decision::Denied, Decision::Allowed));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let told = |source| Policies::read(&options(source), dir.path()).map(drop).expect_err("a mistake").to_string();
        assert!(told(PolicySource::Directory("none".to_owned())).contains("/none: No such file"));
        std::fs::write(dir.path().join("b.tar.gz"), "x").expect("written");
        let bundle = |sha256: Option<String>| PolicySource::Bundle { path: "b.tar.gz".to_owned(), sha256 };
        assert!(told(bundle(Some("0".repeat(64)))).contains("expected 0000"), "{}", told(bundle(Some("0".repeat(64)))));
        assert!(told(bundle(None)).contains("found no tar.gz"));
    }

    #[test]
    fn a_server_that_does_not_answer_denies() {
        // Port 1 on loopback: nothing listens there.
        let packages = BTreeSet::from(["house.names".to_owned()]);
        let options = options(PolicySource::Server { url: "http://127.0.0.1:1".to_owned(), packages });
        let policies = Policies::read(&options, Path::new(".")).expect("policies").expect("some");
        let results = policies.ask(&json!({}), 0);
        assert!(results.len() == 1 && results[0].halts(), "{results:?}");
        assert!(results[0].message.contains("http://127.0.0.1:1"), "{results:?}");
    }
}

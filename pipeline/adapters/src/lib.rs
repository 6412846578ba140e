//! Foreign documents become events: each adapter is one jq program (run by jaq) that maps a document to
//! `{"provisioning_event": …}`, embedded from `programs/`; people bring their own with [`Program::new`].
//!
//! The document is masked first (`schemas::redact`), so neither an event nor an id derived from the document can carry or
//! confirm a secret. Then the program runs, and each event it yields is admitted as the ledger would, so that what comes
//! out here is what will be accepted there. Required fields that the document lacks come from [`Given`].
//!
//! What an adapter does not map is kept: in an additional section of the event, named after the source
//! (`terraform_plan`, `github_workflow_run`, `github_deployment_review`, `k8s_audit`, `cdevent`, `cloudevent`, `cloudtrail`), which admission stores untouched like every unknown field.
//!
//! Left out: files, flags and publishing (`service`); clock, environment and further input for programs, which are
//! functions of document and flags.

pub mod cloudevent;
mod error;
mod jq;
mod split;

pub use error::AdaptError;

use schemas::admit::{self, Facts, Scratch};
use schemas::ids::Subject;
use sha2::{Digest, Sha256};

/// An adapter that comes with UPM Ledger.
#[derive(Debug, Clone, Copy)]
pub struct Adapter {
    /// What it is called on the command line.
    pub name: &'static str,
    /// One line: the document it takes.
    pub takes: &'static str,
    source: &'static str,
}

/// All embedded adapters, by name.
pub const ADAPTERS: &[Adapter] = &[
    Adapter {
        name: "cdevents",
        takes: "a CDEvent: approvals, changes, deployments, tests, incidents -> preflight, plan, execute, verify",
        source: concat!(include_str!("../programs/cdevents.jq"), include_str!("../programs/cdevents-one.jq")),
    },
    Adapter {
        name: "cloudevents",
        takes: "a CloudEvent in structured form, or a batch: a carried event, a CDEvent, or what its type says",
        source: concat!(include_str!("../programs/cdevents.jq"), include_str!("../programs/cloudevents.jq")),
    },
    Adapter {
        name: "cloudtrail",
        takes: "AWS CloudTrail: a log file, or one record -> execute (verify for calls that only read)",
        source: include_str!("../programs/cloudtrail.jq"),
    },
    Adapter {
        name: "github-deployment-review",
        takes: "GitHub's deployment_review webhook payload, approved or rejected -> preflight (an approval)",
        source: include_str!("../programs/github-deployment-review.jq"),
    },
    Adapter {
        name: "github-workflow-run",
        takes: "GitHub's workflow_run webhook payload, or a run as the REST API gives it -> execute",
        source: include_str!("../programs/github-workflow-run.jq"),
    },
    Adapter {
        name: "k8s-audit",
        takes: "Kubernetes audit events: one, an EventList, or an audit log (one a line) -> execute",
        source: include_str!("../programs/k8s-audit.jq"),
    },
    Adapter {
        name: "terraform-plan",
        takes: "`terraform show -json PLANFILE` (or `tofu show -json`) -> plan",
        source: include_str!("../programs/terraform-plan.jq"),
    },
];

impl Adapter {
    /// The embedded adapter of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ADAPTERS.iter().find(|adapter| adapter.name == name)
    }

    /// Its jq program: also the pattern to start one's own from.
    pub fn program(&self) -> Program {
        Program::new(self.name, self.source)
    }
}

/// A jq program and the name that errors call it by.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    source: String,
}

impl Program {
    /// `source` is compiled when it is used; the definitions of `programs/prelude.jq` are in its scope.
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self { name: name.into(), source: source.into() }
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of the program.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// What the caller knows and the document may lack. What is given here wins over what the document says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// RFC 3339.
    pub timestamp: Option<String>,
    /// The change the events belong to.
    pub change: Option<String>,
    /// Which attempt of the change, from 1.
    pub attempt: Option<u32>,
    /// For instance `staging`.
    pub environment: Option<String>,
    /// `standard`, `normal` or `emergency`.
    pub class: Option<String>,
    /// What was asked for, in words.
    pub request: Option<String>,
    /// `chatops`, `api` or `ticket`.
    pub source: Option<String>,
    /// Who asked for it.
    pub initiator: Option<String>,
    /// Whose log it goes to.
    pub tenant: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// For instance `CHG-1042`.
    pub ticket: Option<String>,
    /// The team that owns what is changed.
    pub owner: Option<String>,
    /// `team`, `org` or `private`.
    pub visibility: Option<String>,
    /// For instance `aws`.
    pub cloud: Option<String>,
    /// `target.cluster_endpoint_id`.
    pub endpoint: Option<String>,
    /// The commands that carry the plan out.
    pub commands: Vec<String>,
}

/// An event made from a foreign document, as the ledger would store it.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// The line of the file on which its document starts, from 1.
    pub line: usize,
    /// Where it belongs.
    pub subject: Subject,
    /// What admission read from it.
    pub facts: Facts,
    /// The event, secrets masked: one line of JSON.
    pub event: Vec<u8>,
    /// How many marks `[masked:RULE]` it carries.
    pub masked: u32,
}

/// A program that yields more than this from one document runs away rather than adapts.
pub const MAX_EVENTS_A_DOCUMENT: usize = 10_000;

/// The events of `file`, which holds one JSON document or one a line.
///
/// The same file, program and flags give the same bytes: ids are derived from the masked document.
pub fn adapt(program: &Program, file: &[u8], given: &Given) -> Result<Vec<Adapted>, AdaptError> {
    let documents = split::documents(file)?;
    let sources: Vec<&[u8]> = documents.iter().map(|d| d.masked.as_slice()).collect();
    let ids: Vec<String> = sources.iter().map(|bytes| derived_id(bytes)).collect();
    let mut scratch = Scratch::default();
    let mut adapted = Vec::new();
    jq::run(program, given, &sources, &ids, |n, event| {
        let line = documents[n].line;
        adapted.push(admitted(program, line, &event, &mut scratch)?);
        Ok(())
    })
    .map_err(|error| error.at_line_of(&documents))?;
    Ok(adapted)
}

/// `adapt-` and the first 128 bits of the SHA-256 of the masked document: short enough to read, too long to collide.
fn derived_id(masked: &[u8]) -> String {
    format!("adapt-{}", hex::encode(&Sha256::digest(masked)[..16]))
}

fn admitted(program: &Program, line: usize, event: &[u8], scratch: &mut Scratch) -> Result<Adapted, AdaptError> {
    match admit::admit_unaddressed(event, scratch) {
        Ok((subject, admitted)) => Ok(Adapted {
            line,
            subject,
            masked: admitted.masked,
            facts: admitted.facts,
            event: admitted.payload.into_owned(),
        }),
        Err(rejection) => Err(AdaptError::refused(program.name(), line, rejection, event)),
    }
}

#[cfg(test)]
mod tests;

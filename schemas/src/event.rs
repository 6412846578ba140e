//! Typed reading of a stored payload: every section optional, borrowed where it pays.
//!
//! For views, workers and packs, after admission; admission itself reads the tape ([`crate::scan`]). Every payload that
//! was admitted reads (a property test holds that), and members that are not named here are passed over. Names and types
//! are those of `provisioning_event.v1.schema.json`.

mod text;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use text::Text;

/// One `provisioning_event`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event<'a> {
    /// The producer's id of the event.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// RFC 3339.
    #[serde(borrow)]
    pub timestamp: Text<'a>,
    /// plan, preflight, execute, verify or audit.
    #[serde(borrow)]
    pub phase: Text<'a>,
    /// The change it belongs to; without it, `id`.
    #[serde(borrow, default)]
    pub change_id: Option<Text<'a>>,
    /// Where.
    #[serde(borrow, default)]
    pub environment: Option<Text<'a>>,
    /// standard, normal, emergency; other words are possible.
    #[serde(borrow, default)]
    pub change_class: Option<Text<'a>>,
    /// The change that this one mends.
    #[serde(borrow, default)]
    pub fixes: Option<Text<'a>>,
    /// Counts attempts of the same change.
    #[serde(default, deserialize_with = "whole")]
    pub attempt: Option<i64>,
    /// Sent to try the road.
    #[serde(default)]
    pub probe: Option<bool>,
    /// Who wants what.
    #[serde(borrow)]
    pub intent: Intent<'a>,
    /// Where it is to happen.
    #[serde(borrow, default)]
    pub target: Option<Target<'a>>,
    /// What is to happen.
    #[serde(borrow, default)]
    pub plan: Option<Plan<'a>>,
    /// What was checked and approved beforehand.
    #[serde(borrow, default)]
    pub preflight: Option<Preflight<'a>>,
    /// What was done.
    #[serde(borrow, default)]
    pub execution: Option<Execution<'a>>,
    /// What was found afterwards.
    #[serde(borrow, default)]
    pub verification: Option<Verification<'a>>,
    /// Who may see it, who owns it.
    #[serde(borrow, default)]
    pub governance: Option<Governance<'a>>,
    /// The producer's own trace.
    #[serde(borrow, default)]
    pub audit_trace: Vec<Trace<'a>>,
    /// The way back.
    #[serde(borrow, default)]
    pub rollback: Option<Rollback<'a>>,
    /// A statement about a clause of the model.
    #[serde(borrow, default)]
    pub attestation: Option<Attestation<'a>>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    provisioning_event: Event<'a>,
}

impl<'a> Event<'a> {
    /// Reads a stored payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Document<'a>>(payload).map(|document| document.provisioning_event)
    }

    /// The change that the event belongs to.
    pub fn change(&self) -> &str {
        self.change_id.as_deref().unwrap_or(&self.id)
    }
}

/// `intent`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Intent<'a> {
    /// In words.
    #[serde(borrow, default)]
    pub request: Option<Text<'a>>,
    /// chatops, api, ticket; other words are possible.
    #[serde(borrow)]
    pub source: Text<'a>,
    /// Who asked.
    #[serde(borrow)]
    pub initiator: Text<'a>,
    /// Whose it is.
    #[serde(borrow)]
    pub tenant: Text<'a>,
    /// Why.
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
    /// Where it was asked for.
    #[serde(borrow, default)]
    pub ticket: Option<Text<'a>>,
}

/// `target`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Target<'a> {
    /// azure, aws, …
    #[serde(borrow, default)]
    pub cloud: Option<Text<'a>>,
    /// Which endpoint.
    #[serde(borrow, default)]
    pub cluster_endpoint_id: Option<Text<'a>>,
    /// Objects, each with what its producer knows of it.
    #[serde(default)]
    pub resources: Vec<Value>,
}

/// `plan`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Plan<'a> {
    /// In order.
    #[serde(borrow, default)]
    pub commands: Vec<Text<'a>>,
    /// What must exist beforehand.
    #[serde(default)]
    pub resources_needed: Vec<Value>,
    /// Who must approve; never that they did.
    #[serde(borrow, default)]
    pub approvals: Vec<Text<'a>>,
    /// The producer's own; the ledger computes its own ([`crate::plan::digest`]).
    #[serde(borrow, default)]
    pub digest: Option<Text<'a>>,
    /// Of what the plan was made from.
    #[serde(borrow, default)]
    pub inputs_digest: Option<Text<'a>>,
    /// In any shape.
    #[serde(default)]
    pub dependency_graph: Option<Value>,
    /// What the plan ships.
    #[serde(borrow, default)]
    pub artifacts: Vec<Artifact<'a>>,
    /// What it does to whom.
    #[serde(borrow, default)]
    pub impact: Option<Impact<'a>>,
    /// When it may run, in any shape.
    #[serde(default)]
    pub window: Option<Value>,
    /// canary, blue-green, …
    #[serde(borrow, default)]
    pub variant: Option<Text<'a>>,
    /// What a simulation said, in any shape.
    #[serde(default)]
    pub simulation: Option<Value>,
    /// Time to make the plan.
    #[serde(default)]
    pub compile_ms: Option<f64>,
}

/// `plan.artifacts[]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Artifact<'a> {
    /// What it is called.
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    /// `sha256:…`.
    #[serde(borrow, default)]
    pub digest: Option<Text<'a>>,
    /// In bytes.
    #[serde(default, deserialize_with = "whole")]
    pub size: Option<i64>,
}

/// `plan.impact`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Impact<'a> {
    /// In words.
    #[serde(borrow, default)]
    pub description: Option<Text<'a>>,
    /// In words.
    #[serde(borrow, default)]
    pub security: Option<Text<'a>>,
}

/// `preflight`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Preflight<'a> {
    /// Prerequisites.
    #[serde(borrow, default)]
    pub checks: Vec<Check<'a>>,
    /// What policies said.
    #[serde(borrow, default)]
    pub policies: Vec<Policy<'a>>,
    /// Approvals given or refused.
    #[serde(borrow, default)]
    pub approvals: Vec<Approval<'a>>,
    /// In any shape.
    #[serde(default)]
    pub risk: Option<Value>,
    /// In any shape.
    #[serde(default)]
    pub cost: Option<Value>,
    /// In any shape.
    #[serde(default)]
    pub quota: Option<Value>,
}

/// One of `preflight.checks[]`, `verification.checks[]`, `verification.slo[]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Check<'a> {
    /// What kind.
    #[serde(borrow, default, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// What it is called.
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    /// `false` is a failure; absent is neither.
    #[serde(default)]
    pub ok: Option<bool>,
    /// In words.
    #[serde(borrow, default)]
    pub message: Option<Text<'a>>,
}

/// `preflight.policies[]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Policy<'a> {
    /// What it is called.
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    /// Absent means mandatory.
    #[serde(default)]
    pub mandatory: Option<bool>,
    /// `false` is a denial.
    #[serde(default)]
    pub ok: Option<bool>,
    /// A word; see [`crate::rules::is_refusal`].
    #[serde(borrow, default)]
    pub decision: Option<Text<'a>>,
    /// In words.
    #[serde(borrow, default)]
    pub message: Option<Text<'a>>,
}

/// `preflight.approvals[]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Approval<'a> {
    /// Who.
    #[serde(borrow, default)]
    pub approver: Option<Text<'a>>,
    /// As what.
    #[serde(borrow, default)]
    pub role: Option<Text<'a>>,
    /// A word; see [`crate::rules::is_refusal`].
    #[serde(borrow, default)]
    pub decision: Option<Text<'a>>,
    /// RFC 3339.
    #[serde(borrow, default)]
    pub at: Option<Text<'a>>,
    /// RFC 3339.
    #[serde(borrow, default)]
    pub expires: Option<Text<'a>>,
    /// Which plan.
    #[serde(borrow, default)]
    pub plan_digest: Option<Text<'a>>,
    /// An SSH signature.
    #[serde(borrow, default)]
    pub signature: Option<Text<'a>>,
}

/// `execution`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Execution<'a> {
    /// agent-session; other words are possible.
    #[serde(borrow, default)]
    pub agent: Option<Text<'a>>,
    /// What ran it.
    #[serde(borrow, default)]
    pub executor: Option<Text<'a>>,
    /// Mutual TLS to the endpoint.
    #[serde(default, rename = "mTLS")]
    pub mtls: Option<bool>,
    /// Commands allowed after a pipe.
    #[serde(borrow, default)]
    pub pipe_allow_list: Vec<Text<'a>>,
    /// Which kind of credentials, never the credentials.
    #[serde(borrow, default)]
    pub credentials: Option<Credentials<'a>>,
    /// Pinned tools.
    #[serde(borrow, default)]
    pub tools: Vec<Tool<'a>>,
    /// In any shape.
    #[serde(default)]
    pub guards: Option<Value>,
    /// In any shape.
    #[serde(default)]
    pub waves: Vec<Value>,
    /// Where telemetry lies.
    #[serde(borrow, default)]
    pub telemetry_ref: Option<Text<'a>>,
    /// In order.
    #[serde(borrow, default)]
    pub steps: Vec<Step<'a>>,
}

/// `execution.credentials`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Credentials<'a> {
    /// oidc, static, …
    #[serde(borrow, default)]
    pub kind: Option<Text<'a>>,
    /// How long they live, in seconds.
    #[serde(default)]
    pub ttl_s: Option<f64>,
}

/// `execution.tools[]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Tool<'a> {
    /// What it is called.
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    /// Which version.
    #[serde(borrow, default)]
    pub version: Option<Text<'a>>,
    /// Of the binary.
    #[serde(borrow, default)]
    pub sha256: Option<Text<'a>>,
}

/// One of `execution.steps[]` and `rollback.executed.steps[]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Step<'a> {
    /// The command as one text.
    #[serde(borrow, default)]
    pub cmd: Option<Text<'a>>,
    /// The command as arguments.
    #[serde(borrow, default)]
    pub argv: Vec<Text<'a>>,
    /// Exit code; another than 0 is a failure, absent is neither.
    #[serde(default, deserialize_with = "whole")]
    pub rc: Option<i64>,
    /// Output.
    #[serde(borrow, default)]
    pub stdout: Option<Text<'a>>,
    /// Errors.
    #[serde(borrow, default)]
    pub stderr: Option<Text<'a>>,
    /// Where the full output lies.
    #[serde(borrow, default)]
    pub stdout_ref: Option<Text<'a>>,
    /// Where the full errors lie.
    #[serde(borrow, default)]
    pub stderr_ref: Option<Text<'a>>,
    /// Output was cut.
    #[serde(default)]
    pub stdout_trunc: Option<bool>,
    /// Errors were cut.
    #[serde(default)]
    pub stderr_trunc: Option<bool>,
    /// How long it took.
    #[serde(default)]
    pub duration_ms: Option<f64>,
}

/// `verification`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Verification<'a> {
    /// Read-backs and probes.
    #[serde(borrow, default)]
    pub checks: Vec<Check<'a>>,
    /// Objectives after the change.
    #[serde(borrow, default)]
    pub slo: Vec<Check<'a>>,
    /// What differs from the baseline.
    #[serde(borrow, default)]
    pub drift: Option<Drift<'a>>,
    /// How long verifying took.
    #[serde(default)]
    pub duration_ms: Option<f64>,
    /// How long it waited.
    #[serde(default)]
    pub wait_ms: Option<f64>,
}

/// `verification.drift`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Drift<'a> {
    /// Of what should be.
    #[serde(borrow, default)]
    pub baseline_hash: Option<Text<'a>>,
    /// Of what is.
    #[serde(borrow, default)]
    pub current_hash: Option<Text<'a>>,
    /// Differences, in any shape.
    #[serde(default)]
    pub diff: Vec<Value>,
    /// Somebody watches on.
    #[serde(default)]
    pub monitored: Option<Value>,
}

/// `governance`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Governance<'a> {
    /// team, org, private; anything else is treated as private.
    #[serde(borrow, default)]
    pub visibility: Option<Text<'a>>,
    /// Who owns it.
    #[serde(borrow, default)]
    pub owner: Option<Text<'a>>,
    /// What the producer masked itself.
    #[serde(borrow, default)]
    pub redactions: Vec<Text<'a>>,
    /// The change is closed.
    #[serde(default)]
    pub closed: Option<bool>,
}

/// `audit_trace[]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Trace<'a> {
    /// RFC 3339.
    #[serde(borrow, default)]
    pub ts: Option<Text<'a>>,
    /// In words.
    #[serde(borrow, default)]
    pub msg: Option<Text<'a>>,
}

/// `rollback`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Rollback<'a> {
    /// There is a way back.
    #[serde(default)]
    pub available: Option<bool>,
    /// Commands, in order.
    #[serde(borrow, default)]
    pub plan: Vec<Text<'a>>,
    /// It was gone.
    #[serde(borrow, default)]
    pub executed: Option<Executed<'a>>,
}

/// `rollback.executed`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Executed<'a> {
    /// In order.
    #[serde(borrow, default)]
    pub steps: Vec<Step<'a>>,
    /// A word; see [`crate::rules::is_failure`].
    #[serde(borrow, default)]
    pub outcome: Option<Text<'a>>,
}

/// `attestation`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Attestation<'a> {
    /// Of the model.
    #[serde(borrow, default)]
    pub clause: Option<Text<'a>>,
    /// Who says so.
    #[serde(borrow, default)]
    pub assessor: Option<Text<'a>>,
    /// What is said.
    #[serde(borrow, default)]
    pub statement: Option<Text<'a>>,
    /// RFC 3339.
    #[serde(borrow, default)]
    pub expires: Option<Text<'a>>,
    /// Over the statement.
    #[serde(borrow, default)]
    pub signature: Option<Text<'a>>,
}

/// An integer, also where it is written `1.0` or `1e2`, which is one to the JSON Schema and to RFC 8785.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    number.map(|number| to_whole(&number).ok_or_else(|| serde::de::Error::custom("not an integer"))).transpose()
}

fn to_whole(number: &serde_json::Number) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    if let Some(integer) = number.as_i64() {
        return Some(integer);
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= LIMIT)?;
    #[expect(clippy::cast_possible_truncation, reason = "integral and at most 2^53, which i64 holds exactly")]
    Some(float as i64)
}

//! Typed reading of a stored payload, in one borrowed pass: whatever views, documents and measures ask of an event, they take from here.
//!
//! Every section is optional, and `null` is as absent. Only what somebody asks for is named here; other members are passed over, and lists that
//! matter by their number alone are counted, not kept. What the schema leaves open stays as it was sent ([`Any`]). Every payload that was
//! admitted reads (a property test of `projector` holds that); admission itself reads the tape ([`crate::scan`]). Names and types are those of
//! `provisioning_event.v1.schema.json`; numbers are read as `f64`, so that `1`, `1.0` and `1e0` are the same return code, as they are
//! for JSON.

mod any;
mod text;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub use any::Any;
pub use text::Text;

/// One `provisioning_event`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Event<'a> {
    /// Counts attempts of the same change.
    pub attempt: Option<f64>,
    /// The change that this one mends.
    #[serde(borrow)]
    pub fixes: Option<Text<'a>>,
    /// Who wants what.
    #[serde(borrow)]
    pub intent: Option<Intent<'a>>,
    /// Where it is to happen.
    #[serde(borrow)]
    pub target: Option<Target<'a>>,
    /// What is to happen.
    #[serde(borrow)]
    pub plan: Option<Plan<'a>>,
    /// What was checked and approved beforehand.
    #[serde(borrow)]
    pub preflight: Option<Preflight<'a>>,
    /// What was done.
    #[serde(borrow)]
    pub execution: Option<Execution<'a>>,
    /// What was found afterwards.
    #[serde(borrow)]
    pub verification: Option<Verification<'a>>,
    /// Who may see it, who owns it.
    #[serde(borrow)]
    pub governance: Option<Governance<'a>>,
    /// The way back.
    #[serde(borrow)]
    pub rollback: Option<Rollback<'a>>,
    /// A statement about a clause of the model.
    #[serde(borrow)]
    pub attestation: Option<Attestation<'a>>,
    /// What came in by the door for requests.
    #[serde(borrow)]
    pub request: Option<Any<'a>>,
    /// What somebody told the workers to do.
    #[serde(borrow)]
    pub order: Option<Any<'a>>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    provisioning_event: Event<'a>,
}

impl<'a> Event<'a> {
    /// Reads a stored payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, serde_json::Error> {
        // Looked through once, and not each text by itself.
        let text = std::str::from_utf8(payload).map_err(serde::de::Error::custom)?;
        serde_json::from_str::<Document<'a>>(text).map(|document| document.provisioning_event)
    }
}

/// A list; one that is absent or null is empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct List<T>(Option<Vec<T>>);

impl<T> List<T> {
    /// The list, where there is one.
    pub fn given(&self) -> Option<&[T]> {
        self.0.as_deref()
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'l, T> IntoIterator for &'l List<T> {
    type Item = &'l T;
    type IntoIter = std::slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// `intent`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Intent<'a> {
    /// In words.
    #[serde(borrow)]
    pub request: Option<Text<'a>>,
    /// chatops, api, ticket; other words are possible.
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
    /// Who asked.
    #[serde(borrow)]
    pub initiator: Option<Text<'a>>,
    /// Why.
    #[serde(borrow)]
    pub reason: Option<Text<'a>>,
    /// Where it was asked for.
    #[serde(borrow)]
    pub ticket: Option<Text<'a>>,
}

/// `target`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Target<'a> {
    /// azure, aws, …
    #[serde(borrow)]
    pub cloud: Option<Text<'a>>,
    /// Which endpoint.
    #[serde(borrow)]
    pub cluster_endpoint_id: Option<Text<'a>>,
    /// What it is about.
    #[serde(borrow)]
    pub resources: List<Resource<'a>>,
}

/// `target.resources[]`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Resource<'a> {
    /// What kind.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// What it is called.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// create, update, delete, read; other words are possible.
    #[serde(borrow)]
    pub action: Option<Text<'a>>,
    /// Not of the schema, so of any form.
    #[serde(borrow)]
    pub resource_group: Option<Any<'a>>,
    /// Not of the schema, so of any form.
    #[serde(borrow)]
    pub namespace: Option<Any<'a>>,
    /// Not of the schema, so of any form.
    #[serde(borrow)]
    pub location: Option<Any<'a>>,
}

/// `plan`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Plan<'a> {
    /// In order.
    pub commands: List<IgnoredAny>,
    /// What must exist beforehand.
    pub resources_needed: List<IgnoredAny>,
    /// Who must approve; never that they did.
    #[serde(borrow)]
    pub approvals: List<Text<'a>>,
    /// The producer's own; the ledger computes its own ([`crate::plan::digest`]).
    #[serde(borrow)]
    pub digest: Option<Text<'a>>,
    /// Of what the plan was made from.
    #[serde(borrow)]
    pub inputs_digest: Option<Text<'a>>,
    /// In any form.
    #[serde(borrow)]
    pub dependency_graph: Option<Any<'a>>,
    /// What the plan ships.
    #[serde(borrow)]
    pub artifacts: List<Artifact<'a>>,
    /// What it does to whom.
    #[serde(borrow)]
    pub impact: Option<Any<'a>>,
    /// When it may run, in any form.
    #[serde(borrow)]
    pub window: Option<Any<'a>>,
    /// canary, blue-green, …
    #[serde(borrow)]
    pub variant: Option<Text<'a>>,
    /// What a simulation said, in any form.
    #[serde(borrow)]
    pub simulation: Option<Any<'a>>,
    /// Time to make the plan.
    pub compile_ms: Option<f64>,
}

/// `plan.artifacts[]`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Artifact<'a> {
    /// `sha256:…`.
    #[serde(borrow)]
    pub digest: Option<Text<'a>>,
}

/// `preflight`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Preflight<'a> {
    /// Prerequisites.
    #[serde(borrow)]
    pub checks: List<Check<'a>>,
    /// What policies said.
    #[serde(borrow)]
    pub policies: List<Policy<'a>>,
    /// Approvals given or refused.
    #[serde(borrow)]
    pub approvals: List<Approval<'a>>,
    /// In any form.
    #[serde(borrow)]
    pub risk: Option<Any<'a>>,
    /// In any form.
    #[serde(borrow)]
    pub cost: Option<Any<'a>>,
    /// In any form.
    #[serde(borrow)]
    pub quota: Option<Any<'a>>,
    /// False: something was looked at without checking the certificate of whom was asked.
    #[serde(borrow)]
    pub tls_verified: Option<Any<'a>>,
}

/// One of `preflight.checks[]`, `verification.checks[]`, `verification.slo[]`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Check<'a> {
    /// What kind.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// What it is called.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// Of what. Not of the schema, so of any form.
    #[serde(borrow)]
    pub target: Option<Any<'a>>,
    /// `false` is a failure; absent is neither.
    pub ok: Option<bool>,
    /// In words.
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
}

/// `preflight.policies[]`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Policy<'a> {
    /// What it is called.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// Absent means mandatory.
    pub mandatory: Option<bool>,
    /// `false` is a denial.
    pub ok: Option<bool>,
    /// A word; see [`crate::rules::is_refusal`].
    #[serde(borrow)]
    pub decision: Option<Text<'a>>,
    /// In words.
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
}

/// `preflight.approvals[]`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Approval<'a> {
    /// Who decided.
    #[serde(borrow)]
    pub approver: Option<Text<'a>>,
    /// In which role.
    #[serde(borrow)]
    pub role: Option<Text<'a>>,
    /// The word of the decision, as sent; see [`crate::rules::is_refusal`].
    #[serde(borrow)]
    pub decision: Option<Text<'a>>,
    /// When, in the producer's own words.
    #[serde(borrow)]
    pub at: Option<Text<'a>>,
    /// Until when, in the producer's own words.
    #[serde(borrow)]
    pub expires: Option<Text<'a>>,
    /// Which plan was decided about.
    #[serde(borrow)]
    pub plan_digest: Option<Text<'a>>,
    /// The approver's own SSH signature (it is not checked here).
    #[serde(borrow)]
    pub signature: Option<Text<'a>>,
}

impl Approval<'_> {
    /// Who decided; empty when the event does not say.
    pub fn approver(&self) -> &str {
        self.approver.as_deref().unwrap_or_default()
    }

    /// The same, whatever becomes of the payload.
    pub fn into_owned(self) -> Approval<'static> {
        Approval {
            approver: self.approver.map(Text::into_owned),
            role: self.role.map(Text::into_owned),
            decision: self.decision.map(Text::into_owned),
            at: self.at.map(Text::into_owned),
            expires: self.expires.map(Text::into_owned),
            plan_digest: self.plan_digest.map(Text::into_owned),
            signature: self.signature.map(Text::into_owned),
        }
    }
}

/// `execution`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Execution<'a> {
    /// agent-session; other words are possible.
    #[serde(borrow)]
    pub agent: Option<Text<'a>>,
    /// What ran it.
    #[serde(borrow)]
    pub executor: Option<Text<'a>>,
    /// Mutual TLS to the endpoint.
    #[serde(rename = "mTLS")]
    pub mtls: Option<bool>,
    /// Commands allowed after a pipe.
    #[serde(borrow)]
    pub pipe_allow_list: List<Text<'a>>,
    /// Which kind of credentials, never the credentials.
    #[serde(borrow)]
    pub credentials: Option<Credentials<'a>>,
    /// Pinned tools.
    #[serde(borrow)]
    pub tools: List<Tool<'a>>,
    /// In any form.
    #[serde(borrow)]
    pub guards: Option<Any<'a>>,
    /// In any form.
    #[serde(borrow)]
    pub waves: List<Any<'a>>,
    /// Where telemetry lies.
    #[serde(borrow)]
    pub telemetry_ref: Option<Text<'a>>,
    /// False where certificates were not checked. What follows is none of the schema's, so each may have any form.
    #[serde(borrow)]
    pub tls_verified: Option<Any<'a>>,
    /// Steps of the plan that are not over yet; without it, or 0, what `steps` says is all.
    #[serde(borrow)]
    pub remaining: Option<Any<'a>>,
    /// A try of a step that begins.
    #[serde(borrow)]
    pub started: Option<Any<'a>>,
    /// A try that is followed by another.
    #[serde(borrow)]
    pub tried: Option<Any<'a>>,
    /// It goes no further until somebody says so.
    #[serde(borrow)]
    pub paused: Option<Any<'a>>,
    /// It goes no further.
    #[serde(borrow)]
    pub cancelled: Option<Any<'a>>,
    /// In order.
    #[serde(borrow)]
    pub steps: List<Step<'a>>,
}

/// `execution.credentials`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Credentials<'a> {
    /// oidc, static, …
    #[serde(borrow)]
    pub kind: Option<Text<'a>>,
    /// How long they live, in seconds.
    pub ttl_s: Option<f64>,
}

/// `execution.tools[]`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Tool<'a> {
    /// Which version.
    #[serde(borrow)]
    pub version: Option<Text<'a>>,
    /// Of the binary.
    #[serde(borrow)]
    pub sha256: Option<Text<'a>>,
}

/// One of `execution.steps[]` and `rollback.executed.steps[]`. What it printed is not read, only that it is there.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Step<'a> {
    /// The command as one text.
    #[serde(borrow)]
    pub cmd: Option<Text<'a>>,
    /// The command as arguments.
    #[serde(borrow)]
    pub argv: List<Text<'a>>,
    /// Exit code; another than 0 is a failure, absent is neither.
    pub rc: Option<f64>,
    /// Output.
    pub stdout: Option<IgnoredAny>,
    /// Errors.
    pub stderr: Option<IgnoredAny>,
    /// Where the full output lies.
    #[serde(borrow)]
    pub stdout_ref: Option<Text<'a>>,
    /// Where the full errors lie.
    #[serde(borrow)]
    pub stderr_ref: Option<Text<'a>>,
    /// Digest of the whole output, as masked.
    #[serde(borrow)]
    pub stdout_masked_sha256: Option<Any<'a>>,
    /// Digest of the whole errors, as masked.
    #[serde(borrow)]
    pub stderr_masked_sha256: Option<Any<'a>>,
    /// How much there was of output, in bytes.
    #[serde(borrow)]
    pub stdout_bytes: Option<Any<'a>>,
    /// How much there was of errors, in bytes.
    #[serde(borrow)]
    pub stderr_bytes: Option<Any<'a>>,
    /// Output was cut.
    pub stdout_trunc: Option<bool>,
    /// Errors were cut.
    pub stderr_trunc: Option<bool>,
    /// How long it took.
    pub duration_ms: Option<f64>,
}

/// `verification`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Verification<'a> {
    /// Read-backs and probes.
    #[serde(borrow)]
    pub checks: List<Check<'a>>,
    /// Objectives after the change.
    #[serde(borrow)]
    pub slo: List<Check<'a>>,
    /// What differs from the baseline.
    #[serde(borrow)]
    pub drift: Option<Drift<'a>>,
    /// How long verifying took.
    pub duration_ms: Option<f64>,
    /// How long it waited.
    pub wait_ms: Option<f64>,
    /// False: something was looked at without checking the certificate of whom was asked.
    #[serde(borrow)]
    pub tls_verified: Option<Any<'a>>,
}

/// `verification.drift`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Drift<'a> {
    /// Of what should be.
    #[serde(borrow)]
    pub baseline_hash: Option<Text<'a>>,
    /// Of what is.
    #[serde(borrow)]
    pub current_hash: Option<Text<'a>>,
    /// Differences, in any form.
    pub diff: List<IgnoredAny>,
    /// Somebody watches on, in any form.
    #[serde(borrow)]
    pub monitored: Option<Any<'a>>,
}

/// `governance`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Governance<'a> {
    /// team, org, private; anything else is treated as private.
    #[serde(borrow)]
    pub visibility: Option<Text<'a>>,
    /// Who owns it.
    #[serde(borrow)]
    pub owner: Option<Text<'a>>,
    /// The change is closed.
    pub closed: Option<bool>,
}

/// `rollback`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Rollback<'a> {
    /// There is a way back.
    pub available: Option<bool>,
    /// Commands, in order.
    pub plan: List<IgnoredAny>,
    /// It was gone.
    #[serde(borrow)]
    pub executed: Option<Executed<'a>>,
}

/// `rollback.executed`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Executed<'a> {
    /// In order.
    #[serde(borrow)]
    pub steps: List<Step<'a>>,
    /// A word; see [`crate::rules::is_failure`].
    #[serde(borrow)]
    pub outcome: Option<Text<'a>>,
}

/// `attestation`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Attestation<'a> {
    /// Of the model.
    #[serde(borrow)]
    pub clause: Option<Text<'a>>,
    /// Who says so.
    #[serde(borrow)]
    pub assessor: Option<Text<'a>>,
    /// What is said.
    #[serde(borrow)]
    pub statement: Option<Text<'a>>,
    /// RFC 3339.
    #[serde(borrow)]
    pub expires: Option<Text<'a>>,
    /// Over the statement.
    #[serde(borrow)]
    pub signature: Option<Text<'a>>,
}

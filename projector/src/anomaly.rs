//! What an auditor should look at: a closed list of codes, each with one sentence.
//!
//! An anomaly is no verdict. It is a fact that the entries of one change determine among themselves, in the order of the log, without a
//! clock. The list belongs to the fold's version: a new code is a new version.

use serde::{Deserialize, Serialize};

/// What is out of the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The attempt was executed; no approval of it is recorded.
    NoApprovalRecorded,
    /// Approvals are recorded, but none by a name that the plan asks for.
    RequiredApprovalMissing,
    /// The attempt was executed; no preflight check or policy is recorded, and its plan does not say that it needs nothing.
    ExecutedWithoutPreflight,
    /// The attempt was executed although a preflight check failed.
    ExecutedThoughPreflightFailed,
    /// The attempt was executed although an approval was refused or a mandatory policy denied it.
    ExecutedThoughRefused,
    /// The first approval stands behind the first execution in the log.
    ApprovalAfterExecution,
    /// The approved digest is not that of the plan in force.
    ApprovedAnotherPlan,
    /// The approver asked for the change.
    ApproverIsInitiator,
    /// The approver executed the change.
    ApproverIsExecutor,
    /// The digest that the producer gives is not the plan's.
    PlanDigestDiffers,
    /// A verification stands before any execution in the log.
    VerifiedBeforeExecuted,
    /// The producer's time and the log's are more than five minutes apart.
    ProducerTimeOff,
    /// `intent.source` is none of the model's words.
    UnknownSource,
    /// `execution.agent` is none of the model's words.
    UnknownAgent,
    /// `governance.visibility` is none of the model's words.
    UnknownVisibility,
    /// `execution.pipe_allow_list` allows more than the model's default.
    PipeAllowListWidened,
    /// The payload is gone or could not be read; only the header spoke.
    PayloadNotRead,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 17] = [
        Self::NoApprovalRecorded,
        Self::RequiredApprovalMissing,
        Self::ExecutedWithoutPreflight,
        Self::ExecutedThoughPreflightFailed,
        Self::ExecutedThoughRefused,
        Self::ApprovalAfterExecution,
        Self::ApprovedAnotherPlan,
        Self::ApproverIsInitiator,
        Self::ApproverIsExecutor,
        Self::PlanDigestDiffers,
        Self::VerifiedBeforeExecuted,
        Self::ProducerTimeOff,
        Self::UnknownSource,
        Self::UnknownAgent,
        Self::UnknownVisibility,
        Self::PipeAllowListWidened,
        Self::PayloadNotRead,
    ];

    /// Its word, as in `change.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoApprovalRecorded => "no_approval_recorded",
            Self::RequiredApprovalMissing => "required_approval_missing",
            Self::ExecutedWithoutPreflight => "executed_without_preflight",
            Self::ExecutedThoughPreflightFailed => "executed_though_preflight_failed",
            Self::ExecutedThoughRefused => "executed_though_refused",
            Self::ApprovalAfterExecution => "approval_after_execution",
            Self::ApprovedAnotherPlan => "approved_another_plan",
            Self::ApproverIsInitiator => "approver_is_initiator",
            Self::ApproverIsExecutor => "approver_is_executor",
            Self::PlanDigestDiffers => "plan_digest_differs",
            Self::VerifiedBeforeExecuted => "verified_before_executed",
            Self::ProducerTimeOff => "producer_time_off",
            Self::UnknownSource => "unknown_source",
            Self::UnknownAgent => "unknown_agent",
            Self::UnknownVisibility => "unknown_visibility",
            Self::PipeAllowListWidened => "pipe_allow_list_widened",
            Self::PayloadNotRead => "payload_not_read",
        }
    }
}

/// An anomaly of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// What it is.
    pub code: Code,
    /// The entry that shows it.
    pub index: u64,
    /// The attempt it belongs to.
    pub attempt: u64,
    /// One sentence for a person. What it quotes of an event is shortened, with control and direction characters escaped.
    pub text: String,
}

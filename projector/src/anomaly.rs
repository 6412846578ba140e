//! What an auditor should look at: a closed list of codes, each with one sentence.
//!
//! An anomaly is no verdict. It is a fact that the entries of one change determine, in the order of the log, with the tenant's rule and the
//! log's newest time beside them, without a clock. The list belongs to the fold's version: a new code is a new version.

use serde::{Deserialize, Serialize};

/// What is out of the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The attempt was executed and needed an approval; none of it is recorded.
    NoApprovalRecorded,
    /// Approvals are recorded, but not those that the tenant's rule and the plan ask for.
    RequiredApprovalMissing,
    /// The first approval stands behind the first execution in the log.
    ApprovalAfterExecution,
    /// The approval was over when it was needed.
    ApprovalExpired,
    /// The approval bears a time after its own entry.
    ApprovalTimeAhead,
    /// The signature does not fit, or its key is not allowed for the approver.
    ApprovalSignatureBad,
    /// The approved digest is not that of the plan in force.
    ApprovedAnotherPlan,
    /// The approval names no plan, and another plan came into force after it.
    PlanChangedAfterApproval,
    /// The approver asked for the change.
    ApproverIsInitiator,
    /// The approver executed the change.
    ApproverIsExecutor,
    /// The attempt was executed; no plan of it is recorded.
    ExecutedWithoutPlan,
    /// The attempt was executed; no preflight check or policy is recorded, and its plan does not say that it needs nothing.
    ExecutedWithoutPreflight,
    /// The attempt was executed although a preflight check failed.
    ExecutedThoughPreflightFailed,
    /// The attempt was executed although an approval was refused or a mandatory policy denied it.
    ExecutedThoughRefused,
    /// Executed before or after the window of its plan, by the producer's time.
    ExecutedOutsideWindow,
    /// The digest that the producer gives is not the plan's.
    PlanDigestDiffers,
    /// Another plan was recorded after the execution had begun.
    PlanChangedAfterExecution,
    /// A verification stands before any execution in the log.
    VerifiedBeforeExecuted,
    /// Executed again behind the last verification of its attempt.
    ExecutedAfterVerification,
    /// A day after its last execute entry no verification behind it is recorded.
    VerificationMissing,
    /// A day after a failure neither a rollback nor a later success is recorded.
    FailedNotRolledBack,
    /// A day after a rollback no check behind it is recorded.
    RollbackUnverified,
    /// Closed, executed, and neither verified since its last execution nor rolled back.
    ClosedUnverified,
    /// Planned, executed or rolled back after it was closed.
    ActedAfterClosing,
    /// Attempts before this one are not on record.
    AttemptsSkipped,
    /// The same event id, phase and attempt with other content.
    SameIdOtherBytes,
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
    /// A command ran without checking the certificate of whom it spoke to.
    TlsNotVerified,
    /// The payload is gone or could not be read; only the header spoke.
    PayloadNotRead,
    /// Foreign evidence in an event is signed with none of the keys that the tenant named for it.
    ForeignSignatureBad,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 34] = [
        Self::NoApprovalRecorded,
        Self::RequiredApprovalMissing,
        Self::ApprovalAfterExecution,
        Self::ApprovalExpired,
        Self::ApprovalTimeAhead,
        Self::ApprovalSignatureBad,
        Self::ApprovedAnotherPlan,
        Self::PlanChangedAfterApproval,
        Self::ApproverIsInitiator,
        Self::ApproverIsExecutor,
        Self::ExecutedWithoutPlan,
        Self::ExecutedWithoutPreflight,
        Self::ExecutedThoughPreflightFailed,
        Self::ExecutedThoughRefused,
        Self::ExecutedOutsideWindow,
        Self::PlanDigestDiffers,
        Self::PlanChangedAfterExecution,
        Self::VerifiedBeforeExecuted,
        Self::ExecutedAfterVerification,
        Self::VerificationMissing,
        Self::FailedNotRolledBack,
        Self::RollbackUnverified,
        Self::ClosedUnverified,
        Self::ActedAfterClosing,
        Self::AttemptsSkipped,
        Self::SameIdOtherBytes,
        Self::ProducerTimeOff,
        Self::UnknownSource,
        Self::UnknownAgent,
        Self::UnknownVisibility,
        Self::PipeAllowListWidened,
        Self::TlsNotVerified,
        Self::PayloadNotRead,
        Self::ForeignSignatureBad,
    ];

    /// Its word, as in `change.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoApprovalRecorded => "no_approval_recorded",
            Self::RequiredApprovalMissing => "required_approval_missing",
            Self::ApprovalAfterExecution => "approval_after_execution",
            Self::ApprovalExpired => "approval_expired",
            Self::ApprovalTimeAhead => "approval_time_ahead",
            Self::ApprovalSignatureBad => "approval_signature_bad",
            Self::ApprovedAnotherPlan => "approved_another_plan",
            Self::PlanChangedAfterApproval => "plan_changed_after_approval",
            Self::ApproverIsInitiator => "approver_is_initiator",
            Self::ApproverIsExecutor => "approver_is_executor",
            Self::ExecutedWithoutPlan => "executed_without_plan",
            Self::ExecutedWithoutPreflight => "executed_without_preflight",
            Self::ExecutedThoughPreflightFailed => "executed_though_preflight_failed",
            Self::ExecutedThoughRefused => "executed_though_refused",
            Self::ExecutedOutsideWindow => "executed_outside_window",
            Self::PlanDigestDiffers => "plan_digest_differs",
            Self::PlanChangedAfterExecution => "plan_changed_after_execution",
            Self::VerifiedBeforeExecuted => "verified_before_executed",
            Self::ExecutedAfterVerification => "executed_after_verification",
            Self::VerificationMissing => "verification_missing",
            Self::FailedNotRolledBack => "failed_not_rolled_back",
            Self::RollbackUnverified => "rollback_unverified",
            Self::ClosedUnverified => "closed_unverified",
            Self::ActedAfterClosing => "acted_after_closing",
            Self::AttemptsSkipped => "attempts_skipped",
            Self::SameIdOtherBytes => "same_id_other_bytes",
            Self::ProducerTimeOff => "producer_time_off",
            Self::UnknownSource => "unknown_source",
            Self::UnknownAgent => "unknown_agent",
            Self::UnknownVisibility => "unknown_visibility",
            Self::PipeAllowListWidened => "pipe_allow_list_widened",
            Self::TlsNotVerified => "tls_not_verified",
            Self::PayloadNotRead => "payload_not_read",
            Self::ForeignSignatureBad => "foreign_signature_bad",
        }
    }

    /// The code of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// What it means, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::NoApprovalRecorded => "The attempt was executed and needed an approval; none of it is recorded.",
            Self::RequiredApprovalMissing => {
                "Approvals are recorded, but not those that the tenant's rule and the plan ask for."
            }
            Self::ApprovalAfterExecution => "The first approval stands behind the first execution in the log.",
            Self::ApprovalExpired => "The approval was over when it was needed.",
            Self::ApprovalTimeAhead => "The approval bears a time after its own entry.",
            Self::ApprovalSignatureBad => "The signature does not fit, or its key is not allowed for the approver.",
            Self::ApprovedAnotherPlan => "The approved digest is not that of the plan in force.",
            Self::PlanChangedAfterApproval => "The approval names no plan, and another plan came into force after it.",
            Self::ApproverIsInitiator => "The approver asked for the change.",
            Self::ApproverIsExecutor => "The approver executed the change.",
            Self::ExecutedWithoutPlan => "The attempt was executed; no plan of it is recorded.",
            Self::ExecutedWithoutPreflight => {
                "The attempt was executed; no preflight check or policy is recorded, and its plan does not say that it needs nothing."
            }
            Self::ExecutedThoughPreflightFailed => "The attempt was executed although a preflight check failed.",
            Self::ExecutedThoughRefused => {
                "The attempt was executed although an approval was refused or a mandatory policy denied it."
            }
            Self::ExecutedOutsideWindow => "Executed before or after the window of its plan, by the producer's time.",
            Self::PlanDigestDiffers => "The digest that the producer gives is not the plan's.",
            Self::PlanChangedAfterExecution => "Another plan was recorded after the execution had begun.",
            Self::VerifiedBeforeExecuted => "A verification stands before any execution in the log.",
            Self::ExecutedAfterVerification => "Executed again behind the last verification of its attempt.",
            Self::VerificationMissing => "A day after its last execute entry no verification behind it is recorded.",
            Self::FailedNotRolledBack => "A day after a failure neither a rollback nor a later success is recorded.",
            Self::RollbackUnverified => "A day after a rollback no check behind it is recorded.",
            Self::ClosedUnverified => {
                "Closed, executed, and neither verified since its last execution nor rolled back."
            }
            Self::ActedAfterClosing => "Planned, executed or rolled back after it was closed.",
            Self::AttemptsSkipped => {
                "Attempts before this one are not on record; the state of a change is that of its highest."
            }
            Self::SameIdOtherBytes => "The same event id, phase and attempt with other content.",
            Self::ProducerTimeOff => "The producer's time and the log's are more than five minutes apart.",
            Self::UnknownSource => "intent.source is none of the model's words.",
            Self::UnknownAgent => "execution.agent is none of the model's words.",
            Self::UnknownVisibility => "governance.visibility is none of the model's words.",
            Self::PipeAllowListWidened => "execution.pipe_allow_list allows more than the model's default.",
            Self::TlsNotVerified => "A command ran without checking the certificate of whom it spoke to.",
            Self::PayloadNotRead => "The payload is gone or could not be read; only the header spoke.",
            Self::ForeignSignatureBad => {
                "Foreign evidence in an event is signed with none of the keys that the tenant named for it."
            }
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
    /// The log's time from which it holds, milliseconds: of its entry; of what is missing, a day later; of an approval that
    /// is over, its end, where that is later.
    pub at: u64,
    /// One sentence for a person. What it quotes of an event is shortened, with control and direction characters escaped.
    pub text: String,
}

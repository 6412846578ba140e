//! Names of what is counted: the model's ten KPIs by their ids, and what is shown apart beside each.

/// Re-plans that equal the first plan.
pub const PLAN_DETERMINISM: &str = "plan_determinism";
/// Those told by request and target only.
pub const PLAN_DETERMINISM_WEAK: &str = "plan_determinism.weak";
/// Changes approved as required before they executed.
pub const APPROVAL_COVERAGE: &str = "approval_coverage";
/// Emergencies approved in time.
pub const APPROVAL_EMERGENCY: &str = "approval_coverage.emergency";
/// Changes whose best approvals are signed.
pub const APPROVAL_SIGNED: &str = "approval_coverage.signed";
/// Changes whose best approvals name the plan.
pub const APPROVAL_BOUND: &str = "approval_coverage.bound";
/// Changes whose best approvals are recorded.
pub const APPROVAL_RECORDED: &str = "approval_coverage.recorded";
/// Changes whose best approvals are only claimed.
pub const APPROVAL_CLAIMED: &str = "approval_coverage.claimed";
/// Changes without the approvals they need.
pub const APPROVAL_NONE: &str = "approval_coverage.none";
/// Changes whose first evaluation passed.
pub const POLICY_PASS: &str = "policy_pass";
/// Ended changes that were verified without failure.
pub const CHANGE_SUCCESS: &str = "change_success";
/// Rollbacks completed and verified.
pub const ROLLBACK_SUCCESS: &str = "rollback_success";
/// Time from failure to restored service.
pub const MTTR: &str = "mttr";
/// Failures that are not mended yet.
pub const MTTR_OPEN: &str = "mttr.open";
/// Mended failures whose clocks differ.
pub const MTTR_CLOCKS_DIFFER: &str = "mttr.clocks_differ";
/// Time to compile a plan.
pub const PLAN_P95: &str = "plan_p95";
/// Time of the last round of checks.
pub const VERIFY_P95: &str = "verify_p95";
/// Managed resources that are watched or were compared. No samples: see [`super::drift`].
pub const DRIFT_COVERAGE: &str = "drift_coverage";
/// Ended changes whose pack is full.
pub const EVIDENCE: &str = "evidence_completeness";
/// Ended changes without a plan.
pub const EVIDENCE_NO_PLAN: &str = "evidence_completeness.plan";
/// Ended changes without the approvals they need.
pub const EVIDENCE_NO_APPROVAL: &str = "evidence_completeness.approvals";
/// Ended changes with a step whose output is not in the ledger.
pub const EVIDENCE_NO_LOGS: &str = "evidence_completeness.logs";
/// Ended changes without a verification.
pub const EVIDENCE_NO_VERIFICATION: &str = "evidence_completeness.verification";
/// Ended changes without a way back.
pub const EVIDENCE_NO_ROLLBACK: &str = "evidence_completeness.rollback";

/// The model's ten, in its order.
pub const KPIS: [&str; 10] = [
    PLAN_DETERMINISM,
    APPROVAL_COVERAGE,
    POLICY_PASS,
    CHANGE_SUCCESS,
    ROLLBACK_SUCCESS,
    MTTR,
    PLAN_P95,
    VERIFY_P95,
    DRIFT_COVERAGE,
    EVIDENCE,
];

/// Grades of approvals, best first.
pub const GRADES: [&str; 5] = [APPROVAL_SIGNED, APPROVAL_BOUND, APPROVAL_RECORDED, APPROVAL_CLAIMED, APPROVAL_NONE];

/// What an incomplete pack lacks.
pub const LACKS: [&str; 5] =
    [EVIDENCE_NO_PLAN, EVIDENCE_NO_APPROVAL, EVIDENCE_NO_LOGS, EVIDENCE_NO_VERIFICATION, EVIDENCE_NO_ROLLBACK];

/// Metrics whose values are kept one by one, for exact percentiles.
pub const DURATIONS: [&str; 3] = [MTTR, PLAN_P95, VERIFY_P95];

/// Whose changes stand under a KPI's name: failures, open or mended, under its recovery; emergencies under approvals.
pub fn parts_of(kpi: &str) -> Vec<&str> {
    match kpi {
        MTTR => vec![MTTR_OPEN, MTTR],
        APPROVAL_COVERAGE => vec![APPROVAL_COVERAGE, APPROVAL_EMERGENCY],
        kpi => vec![kpi],
    }
}

/// Whether the changes behind a metric are kept by name: of the ten, of emergencies, open failures and what packs lack.
pub fn names_changes(metric: &str) -> bool {
    KPIS.contains(&metric) || matches!(metric, APPROVAL_EMERGENCY | MTTR_OPEN) || LACKS.contains(&metric)
}

/// Whether so much of a metric counts against its figure. Every failure does.
pub fn counts_against(metric: &str, num: u64, den: u64) -> bool {
    num < den || metric == MTTR
}

//! Rows of what is judged over all entries of a change: its attempts, and what each approval is worth. Gate, KPIs and rows have it from one account.

use super::read::shortened;
use super::{Approval, Attempt, From};
use crate::account::Account;
use crate::approval::{Coverage, Grade, Graded, Lack};
use crate::facts::Decision;
use crate::fold::Marks;

pub(super) fn attempts(account: &Account) -> Vec<Attempt> {
    let row = |(coverage, plan): (&Coverage, &Option<String>)| {
        let own = account.entries.iter().filter(|entry| entry.when.attempt == coverage.attempt);
        let marks = own.fold(Marks::NONE, |marks, entry| marks | entry.marks);
        // Before an execution the word depends on who asks and when.
        let judged = coverage.executed.is_some();
        Attempt {
            attempt: coverage.attempt,
            state: marks.state().as_str(),
            reached: marks.reached().as_str(),
            executed: coverage.executed,
            plan_digest: plan.clone(),
            needs_approval: coverage.needed,
            emergency: coverage.emergency,
            approved: judged.then_some(coverage.approved),
            approved_by: coverage.approved_by.filter(|_| judged),
            approval_grade: coverage.grade.filter(|_| judged).map(Grade::as_str),
            refused_by: coverage.refused,
            missing: (judged && !coverage.missing.is_empty()).then(|| shortened(&coverage.missing.join("; "))),
        }
    };
    account.graded.attempts.iter().zip(&account.in_force).map(row).collect()
}

pub(super) fn approvals(account: &Account) -> Vec<Approval> {
    let text = |text: &Option<String>| text.as_deref().map(shortened);
    let row = |(graded, coverage): (&Graded, &Coverage)| Approval {
        from: From { entry: graded.index, attempt: graded.attempt },
        approver: shortened(&graded.approver),
        role: text(&graded.role),
        decision: decided(graded.decided),
        word: text(&graded.decision),
        decided_at: text(&graded.at),
        plan_digest: text(&graded.plan_digest),
        signature_attached: !graded.lacks.contains(&Lack::NoSignature),
        expires: text(&graded.expires),
        grade: graded.grade.as_str(),
        counts: graded.counts,
        lacks: listed(&graded.lacks),
        lapses_at: graded.lapses_at(coverage),
    };
    account.graded.with_coverage().map(row).collect()
}

fn listed(lacks: &[Lack]) -> Option<String> {
    let words: Vec<&str> = lacks.iter().map(|lack| lack.as_str()).collect();
    (!words.is_empty()).then(|| words.join(","))
}

fn decided(decision: Decision) -> &'static str {
    match decision {
        Decision::Approved => "approved",
        Decision::Refused => "refused",
        Decision::Unclear => "unclear",
    }
}

//! Which anomalies the entries of a change determine, with the tenant's rule and the newest time of the log beside them.
//!
//! Order here is the order of the log, never the producers' clocks; the comparison of clocks is an anomaly of its own. Names are
//! compared without regard to case: nobody's identity is proved by a payload.

use std::collections::{BTreeMap, BTreeSet};

use schemas::ids::{EventId, Phase};

use crate::anomaly::{Anomaly, Code};
use crate::approval::{Approvals, Coverage, HOUR_MS, Lack};
use crate::document::{Seen, Tried};
use crate::facts::{Decision, Visibility};
use crate::fold::Marks;
use crate::foreign::{Foreign, Standing};
use crate::sentence::quote;

/// How far a producer's clock may be from the log's, milliseconds.
const CLOCKS_APART_MS_MAX: i128 = 5 * 60 * 1000;

/// What is still missing so long after an execution is told, milliseconds.
const DAY_MS: u64 = 24 * HOUR_MS;

/// The model's words for `intent.source`. As all words here they are version 1's own, so that no later list changes old verdicts.
const SOURCES: [&str; 3] = ["chatops", "api", "ticket"];

/// The model's words for `execution.agent`.
const AGENTS: [&str; 1] = ["agent-session"];

/// All that is judged.
pub(crate) struct Case<'c> {
    pub(crate) seen: &'c [Seen<'c>],
    pub(crate) attempts: &'c [Tried<'c>],
    pub(crate) approvals: &'c Approvals,
    /// Foreign evidence in the events.
    pub(crate) foreign: &'c [Foreign],
    /// The log's newest time, milliseconds.
    pub(crate) as_of_ms: u64,
}

/// All anomalies, by index and then code, each once.
pub(crate) fn anomalies(case: &Case<'_>) -> Vec<Anomaly> {
    let mut found = Found::default();
    for seen in case.seen {
        of_entry(&mut found, seen);
        for foreign in case.foreign.iter().filter(|foreign| foreign.index == seen.index) {
            if let Standing::Bad { .. } = foreign.standing {
                found.add(Code::ForeignSignatureBad, seen, foreign.sentence());
            }
        }
    }
    of_ids(&mut found, case.seen);
    for (tried, coverage) in case.attempts.iter().zip(&case.approvals.attempts) {
        of_execution(&mut found, tried);
        of_coverage(&mut found, tried, coverage);
        of_plans(&mut found, tried);
        of_verification(&mut found, tried);
        of_closing(&mut found, tried);
    }
    of_attempts(&mut found, case.attempts);
    of_silence(&mut found, case);
    of_approvals(&mut found, case);
    of_lapses(&mut found, case);
    let told = found.0.into_iter().filter(|(_, _, _, _, at)| *at <= case.as_of_ms);
    told.map(|(index, code, attempt, text, at)| Anomaly { code, index, attempt, at, text }).collect()
}

/// Sorted by index, code, attempt, sentence; then the time from which it holds.
#[derive(Default)]
struct Found(BTreeSet<(u64, Code, u64, String, u64)>);

impl Found {
    fn add(&mut self, code: Code, seen: &Seen<'_>, text: impl Into<String>) {
        self.add_since(code, seen, text, seen.header.at);
    }

    /// What holds only from a time on; never from before its entry.
    fn add_since(&mut self, code: Code, seen: &Seen<'_>, text: impl Into<String>, since_ms: u64) {
        self.0.insert((seen.index, code, seen.facts.attempt, text.into(), since_ms.max(seen.header.at)));
    }

    /// What is missing a day after an entry.
    fn add_missing(&mut self, code: Code, seen: &Seen<'_>, text: &str) {
        self.add_since(code, seen, text, seen.header.at.saturating_add(DAY_MS));
    }
}

/// What one entry shows by itself.
fn of_entry(found: &mut Found, seen: &Seen<'_>) {
    let facts = &seen.facts;
    if !facts.readable {
        found.add(Code::PayloadNotRead, seen, "The payload is gone or could not be read; only its header counts here.");
    }
    if let Some(source) = facts.source.as_deref().filter(|source| !SOURCES.contains(source)) {
        found.add(Code::UnknownSource, seen, format!("The source {} is none of the model's.", quote(source)));
    }
    if let Some(agent) = facts.agent.as_deref().filter(|agent| !AGENTS.contains(agent)) {
        found.add(Code::UnknownAgent, seen, format!("The agent {} is none of the model's.", quote(agent)));
    }
    if let Some(word) = facts.visibility.as_deref().filter(|word| Visibility::parse(word).is_none()) {
        found.add(
            Code::UnknownVisibility,
            seen,
            format!("The visibility {} is unknown and treated as private.", quote(word)),
        );
    }
    if let Some(pipe) = facts.widened_pipes.first() {
        let more = facts.widened_pipes.len() - 1;
        let text = format!("The pipe allow-list adds {} and {more} more to the model's default.", quote(pipe));
        found.add(Code::PipeAllowListWidened, seen, text);
    }
    if facts.tls_unverified {
        found.add(Code::TlsNotVerified, seen, "A command ran without checking the certificate of whom it spoke to.");
    }
    of_clock(found, seen);
    let stated = facts.plan.as_ref().and_then(|plan| plan.digest.as_deref());
    if let (Some(stated), Some(computed)) = (stated, &seen.plan_digest)
        && stated != computed
    {
        let text = format!("The producer gives the plan digest {}; the plan as stored has {computed}.", quote(stated));
        found.add(Code::PlanDigestDiffers, seen, text);
    }
}

/// `ts` is floored to seconds, so the producer's time lies anywhere within that second.
fn of_clock(found: &mut Found, seen: &Seen<'_>) {
    let (at, earliest) = (i128::from(seen.header.at), i128::from(seen.header.ts) * 1000);
    let (behind, ahead) = (at - (earliest + 999), earliest - at);
    let (apart_ms, side) = if behind > ahead { (behind, "before") } else { (ahead, "after") };
    if apart_ms > CLOCKS_APART_MS_MAX {
        let text = format!("The producer's time is {} {side} the log's.", span(apart_ms / 1000));
        found.add(Code::ProducerTimeOff, seen, text);
    }
}

/// A span for people, in its two largest units.
fn span(seconds: i128) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// One id may name the events of several phases and attempts; within one phase of one attempt it says one thing.
fn of_ids(found: &mut Found, seen: &[Seen<'_>]) {
    let mut first: BTreeMap<(&EventId, Phase, u64), &Seen<'_>> = BTreeMap::new();
    for seen in seen {
        let known = *first.entry((&seen.header.id, seen.header.phase, seen.facts.attempt)).or_insert(seen);
        // Without payloads it cannot be told: every commitment has a salt of its own.
        if let (Some(before), Some(now)) = (known.content, seen.content)
            && before != now
        {
            let id = quote(seen.header.id.as_str());
            let text = format!("The id {id} came with other content in entry {}.", known.index);
            found.add(Code::SameIdOtherBytes, seen, text);
        }
    }
}

/// What an executed attempt lacks, shown by its first execution.
fn of_execution(found: &mut Found, tried: &Tried<'_>) {
    let Some(execution) = first(tried, Marks::EXECUTING) else {
        return;
    };
    let preflight = Marks::PREFLIGHT_PASSED | Marks::PREFLIGHT_FAILED;
    let policies = tried.seen.iter().any(|seen| seen.facts.policies.count + seen.facts.preflight_checks.count > 0);
    let needs_nothing = tried.seen.iter().any(|seen| seen.facts.plan.as_ref().is_some_and(|plan| plan.needs_nothing));
    if !tried.marks.any(preflight) && !policies && !needs_nothing {
        found.add(Code::ExecutedWithoutPreflight, execution, "Executed; no preflight check or policy is recorded.");
    }
    if !tried.marks.any(Marks::PLANNED) {
        found.add(Code::ExecutedWithoutPlan, execution, "Executed; no plan of this attempt is recorded.");
    }
    if tried.marks.any(Marks::PREFLIGHT_FAILED) {
        found.add(Code::ExecutedThoughPreflightFailed, execution, "Executed although a preflight check failed.");
    }
    if tried.marks.any(Marks::REFUSED) {
        found.add(Code::ExecutedThoughRefused, execution, "Executed although it was refused or denied by policy.");
    }
    if let Some((window, span)) = tried.window_in_force() {
        let [from, to] = [&window.from, &window.to].map(|end| quote(end.as_deref().unwrap_or_default()));
        for seen in tried.outside(span) {
            let side = if seen.header.ts < span.0 { "before" } else { "after" };
            let text = format!("Executed {side} the window of its plan, {from} to {to}.");
            found.add(Code::ExecutedOutsideWindow, seen, text);
        }
    }
}

/// Whether an executed attempt had the approvals that the tenant's rule and its plan ask for.
fn of_coverage(found: &mut Found, tried: &Tried<'_>, coverage: &Coverage) {
    let Some(execution) = first(tried, Marks::EXECUTING) else {
        return;
    };
    let approval = first(tried, Marks::APPROVED);
    if let Some(late) = approval.filter(|approval| approval.index > execution.index && !coverage.emergency) {
        let text = format!("The first approval came after the execution in entry {}.", execution.index);
        found.add(Code::ApprovalAfterExecution, late, text);
    }
    if !coverage.needed || coverage.approved {
        return;
    }
    if approval.is_none() {
        found.add(Code::NoApprovalRecorded, execution, "Executed; no approval of this attempt is recorded.");
    } else if coverage.refused.is_none() {
        let text = format!("Executed without the approvals that are asked for: {}.", coverage.missing.join("; "));
        found.add(Code::RequiredApprovalMissing, execution, text);
    }
}

/// The plan in force is fixed with the first execution.
fn of_plans(found: &mut Found, tried: &Tried<'_>) {
    let (Some(execution), Some(plan)) = (first(tried, Marks::EXECUTING), tried.plan_in_force()) else {
        return;
    };
    for seen in tried.seen.iter().filter(|seen| seen.index > execution.index) {
        if let Some(other) = seen.plan_digest.as_deref().filter(|digest| *digest != plan) {
            let text = format!("The plan {other} came after the execution of {plan} had begun.");
            found.add(Code::PlanChangedAfterExecution, seen, text);
        }
    }
}

/// A verification is of what was executed before it: nothing, or not all, is told.
fn of_verification(found: &mut Found, tried: &Tried<'_>) {
    let execution = first(tried, Marks::EXECUTING | Marks::ROLLING_BACK);
    if let Some(verification) = first(tried, Marks::CHECKED)
        && execution.is_none_or(|execution| execution.index > verification.index)
    {
        found.add(
            Code::VerifiedBeforeExecuted,
            verification,
            "Verified before any execution of this attempt is recorded.",
        );
    }
    let executions = || tried.seen.iter().copied().filter(|seen| seen.is_execution());
    if let Some(verification) = last(tried, Marks::CHECKED)
        && executions().any(|execution| execution.index <= verification.index)
        && let Some(again) = executions().find(|execution| execution.index > verification.index)
    {
        let text = format!(
            "Executed again after the verification in entry {}; nothing is verified since.",
            verification.index
        );
        found.add(Code::ExecutedAfterVerification, again, text);
    }
}

/// What closes an attempt ends it, and looks at what it ends.
fn of_closing(found: &mut Found, tried: &Tried<'_>) {
    let Some(closing) = first(tried, Marks::CLOSED) else {
        return;
    };
    let before = tried.seen.iter().rev().copied().find(|seen| seen.index <= closing.index && seen.is_execution());
    let executed = before.or_else(|| last(tried, Marks::EXECUTING));
    if executed.is_some_and(|executed| !is_checked_since(tried, executed)) && !tried.marks.any(Marks::ROLLED_BACK) {
        let text = "Closed; neither verified since it was executed last nor rolled back.";
        found.add(Code::ClosedUnverified, closing, text);
    }
    let acts = Marks::PLANNED | Marks::EXECUTING | Marks::ROLLING_BACK;
    for late in tried.seen.iter().filter(|seen| seen.index > closing.index && seen.facts.marks.any(acts)) {
        found.add(Code::ActedAfterClosing, late, format!("It was closed by entry {}.", closing.index));
    }
}

/// Attempts are counted from 1 by ones: whoever skips some makes a state that no event of the others can move any more.
fn of_attempts(found: &mut Found, attempts: &[Tried<'_>]) {
    let mut before = 0;
    for tried in attempts {
        let skipped = tried.number.saturating_sub(before).saturating_sub(1);
        if let Some(seen) = tried.seen.first().filter(|_| skipped > 0) {
            let those = if skipped == 1 { "One attempt is".to_owned() } else { format!("{skipped} attempts are") };
            let text = format!("{those} not on record before attempt {}.", tried.number);
            found.add(Code::AttemptsSkipped, seen, text);
        }
        before = tried.number;
    }
}

/// What is missing a day after, by the log's own time.
fn of_silence(found: &mut Found, case: &Case<'_>) {
    let later_success = |number: u64| {
        let mut later = case.attempts.iter().filter(|tried| tried.number > number);
        later.any(|tried| {
            let all = last(tried, Marks::EXECUTING).is_none_or(|executed| is_checked_since(tried, executed));
            all && tried.marks.any(Marks::VERIFIED) && !tried.marks.any(Marks::BAD)
        })
    };
    for tried in case.attempts {
        let rolling = last(tried, Marks::ROLLING_BACK);
        if let Some(execution) = last(tried, Marks::EXECUTING)
            && rolling.is_none()
            && !is_checked_since(tried, execution)
        {
            let text = "Executed; a day later no verification behind it is recorded.";
            found.add_missing(Code::VerificationMissing, execution, text);
        }
        if let Some(failure) = last(tried, Marks::FAILED | Marks::VERIFY_FAILED)
            && rolling.is_none()
            && !later_success(tried.number)
        {
            let text = "Failed; a day later neither a rollback nor a success is recorded.";
            found.add_missing(Code::FailedNotRolledBack, failure, text);
        }
        if let Some(rollback) = rolling
            && !is_checked_since(tried, rollback)
        {
            found.add_missing(
                Code::RollbackUnverified,
                rollback,
                "Rolled back; a day later no check behind it is recorded.",
            );
        }
    }
}

/// What will be over by time alone; once it is, its lacks say so themselves.
fn of_lapses(found: &mut Found, case: &Case<'_>) {
    let approved = case.approvals.with_coverage().filter(|(approval, _)| approval.decided == Decision::Approved);
    for (approval, coverage) in approved {
        if let Some(at) = approval.lapses_at(coverage) {
            found.0.insert((approval.index, Code::ApprovalExpired, approval.attempt, expired(&approval.approver), at));
        }
    }
}

fn expired(approver: &str) -> String {
    format!("The approval by {} was over when it was needed.", quote(approver))
}

fn of_approvals(found: &mut Found, case: &Case<'_>) {
    for approval in &case.approvals.given {
        let Ok(position) = case.seen.binary_search_by_key(&approval.index, |seen| seen.index) else { continue };
        let seen = &case.seen[position];
        let who = quote(&approval.approver);
        for lack in &approval.lacks {
            let bad_signature = matches!(lack, Lack::BadSignature | Lack::UnknownSigner);
            let (code, text) = match lack {
                Lack::BadSignature => (Code::ApprovalSignatureBad, format!("The signature of {who} does not fit.")),
                Lack::UnknownSigner => {
                    (Code::ApprovalSignatureBad, format!("The key that signed for {who} is not allowed for them."))
                }
                Lack::ByInitiator => (Code::ApproverIsInitiator, format!("{who} approved a change of their own.")),
                Lack::ByExecutor => (Code::ApproverIsExecutor, format!("{who} approved what they executed.")),
                Lack::Expired => (Code::ApprovalExpired, expired(&approval.approver)),
                Lack::PlanChanged => {
                    (Code::PlanChangedAfterApproval, format!("{who} approved before the plan in force was on record."))
                }
                Lack::OtherPlan => {
                    let named = quote(approval.plan_digest.as_deref().unwrap_or_default());
                    (
                        Code::ApprovedAnotherPlan,
                        format!("{who} approved the plan {named}, which is not the one in force."),
                    )
                }
                Lack::TimeAhead => {
                    (Code::ApprovalTimeAhead, format!("The approval by {who} bears a time after its own entry."))
                }
                _ => continue,
            };
            // A refusal by whoever it was is no self-approval; a forged signature is told of either.
            if approval.decided == Decision::Approved || bad_signature {
                let over = approval.over_at().filter(|_| *lack == Lack::Expired);
                found.add_since(code, seen, text, over.unwrap_or(seen.header.at));
            }
        }
    }
}

/// Whether a check stands behind an entry of its attempt, or in it.
fn is_checked_since(tried: &Tried<'_>, seen: &Seen<'_>) -> bool {
    last(tried, Marks::CHECKED).is_some_and(|check| check.index >= seen.index)
}

fn first<'t>(tried: &Tried<'t>, marks: Marks) -> Option<&'t Seen<'t>> {
    tried.seen.iter().copied().find(|seen| seen.facts.marks.any(marks))
}

fn last<'t>(tried: &Tried<'t>, marks: Marks) -> Option<&'t Seen<'t>> {
    tried.seen.iter().rev().copied().find(|seen| seen.facts.marks.any(marks))
}

#[cfg(test)]
mod tests;

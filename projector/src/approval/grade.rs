//! The grade of one approval: what it has, what it lacks, and whether its signature is one that the tenant allows.

use ledger::ssh;
use schemas::event::Approval;
use schemas::ids::ChangeId;

use super::{Grade, Graded, Lack, Parties, Rules, Scene, bare, statement, time_ms};
use crate::document::Seen;
use crate::facts::{self, Decision};

/// The namespace of an approval's SSH signature.
pub const NAMESPACE: &str = "upm-approval";

/// How far an approval's time may lie behind its own entry in the log, milliseconds.
const AHEAD_MS_MAX: u64 = 5 * 60 * 1000;

pub(super) fn grade(
    change: &ChangeId,
    seen: &Seen<'_>,
    approval: &Approval<'_>,
    parties: &Parties<'_>,
    scene: &Scene<'_>,
    rules: &Rules,
) -> Graded {
    let mut graded = bare(approval, seen);
    let lacks = &mut graded.lacks;
    record(lacks, seen, approval, parties);
    let recorded = lacks.is_empty();
    standing(lacks, seen, approval, parties, scene);
    let bound = bind(lacks, approval, scene);
    let signed = sign(lacks, change, seen, approval, rules);
    graded.grade = match (recorded, bound, signed) {
        (false, ..) => Grade::Claimed,
        (true, false, _) => Grade::Recorded,
        (true, true, false) => Grade::Bound,
        (true, true, true) => Grade::Signed,
    };
    if lacks.iter().any(|lack| matches!(lack, Lack::ByInitiator | Lack::ByExecutor)) {
        graded.grade = Grade::Claimed;
    }
    lacks.sort_unstable();
    let fatal = lacks.iter().any(|lack| lack.is_fatal());
    graded.counts = graded.grade > Grade::Claimed && graded.decided == Decision::Approved && !fatal;
    graded
}

/// Who, as what, what, when, and by whom it was sent.
fn record(lacks: &mut Vec<Lack>, seen: &Seen<'_>, approval: &Approval<'_>, parties: &Parties<'_>) {
    let is_blank = |text: Option<&str>| text.is_none_or(|text| text.trim().is_empty());
    let mut add = |holds: bool, lack| {
        if holds {
            lacks.push(lack);
        }
    };
    add(is_blank(approval.approver.as_deref()), Lack::NoApprover);
    add(is_blank(approval.role.as_deref()), Lack::NoRole);
    add(facts::decided(approval) == Decision::Unclear, Lack::NoDecision);
    match time_ms(approval.at.as_deref()) {
        None => add(true, Lack::NoTime),
        Some(at) => add(at > seen.header.at.saturating_add(AHEAD_MS_MAX), Lack::TimeAhead),
    }
    match seen.header.producer.as_ref() {
        None => add(true, Lack::NoProducer),
        producer => add(parties.acting.contains(&producer), Lack::ExecutingProducer),
    }
}

/// What takes its worth away, however well it is recorded.
fn standing(lacks: &mut Vec<Lack>, seen: &Seen<'_>, approval: &Approval<'_>, parties: &Parties<'_>, scene: &Scene<'_>) {
    if parties.asked(approval.approver()) {
        lacks.push(Lack::ByInitiator);
    }
    if parties.executed(approval.approver()) {
        lacks.push(Lack::ByExecutor);
    }
    if approval.role.as_deref().is_some_and(|role| !scene.rule.may_hold(role, approval.approver())) {
        lacks.push(Lack::NotOfRole);
    }
    if parties.signed_before(approval, seen.facts.attempt) {
        lacks.push(Lack::Replayed);
    }
    // A time that cannot be read is over already.
    if approval.expires.is_some() && time_ms(approval.expires.as_deref()).is_none_or(|end| end < scene.expiry_ms) {
        lacks.push(Lack::Expired);
    }
    if approval.plan_digest.is_none() {
        let known = scene.plans.iter().rev().find(|(index, _)| *index <= seen.index).map(|(_, digest)| *digest);
        if scene.plan.is_some() && known != scene.plan {
            lacks.push(Lack::PlanChanged);
        }
    }
}

fn bind(lacks: &mut Vec<Lack>, approval: &Approval<'_>, scene: &Scene<'_>) -> bool {
    let lack = match (approval.plan_digest.as_deref(), scene.plan) {
        (Some(named), Some(plan)) if named == plan => return true,
        (Some(_), Some(_)) => Lack::OtherPlan,
        (Some(_), None) => Lack::PlanNotOnRecord,
        (None, _) => Lack::NoPlanDigest,
    };
    lacks.push(lack);
    false
}

fn sign(lacks: &mut Vec<Lack>, change: &ChangeId, seen: &Seen<'_>, approval: &Approval<'_>, rules: &Rules) -> bool {
    let Some(signature) = approval.signature.as_deref() else {
        lacks.push(Lack::NoSignature);
        return false;
    };
    let said = statement(&rules.origin, change, approval);
    let Ok(key) = ssh::verify(signature, NAMESPACE, &said) else {
        lacks.push(Lack::BadSignature);
        return false;
    };
    let allowed = rules.at(seen.index).signers.get(&key.fingerprint()).is_some_and(|name| name == approval.approver());
    if !allowed {
        lacks.push(Lack::UnknownSigner);
    }
    allowed
}

/// The first of these changes that the approval's signature is for.
pub(super) fn signed_for<'c>(changes: &'c [ChangeId], approval: &Approval<'_>, rules: &Rules) -> Option<&'c ChangeId> {
    let signature = approval.signature.as_deref()?;
    let fits =
        |other: &&ChangeId| ssh::verify(signature, NAMESPACE, &statement(&rules.origin, other, approval)).is_ok();
    changes.iter().find(fits)
}

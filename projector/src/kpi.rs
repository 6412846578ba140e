//! The ten KPIs of the model, measured from accounts of changes.
//!
//! From each [`Account`] come [`Sample`]s: this much of that metric on this UTC day. A figure is the sum of the samples of a window of days,
//! so days can be added up beforehand, and a change that goes on only replaces its own samples. What falls due by time alone (a change that
//! ended because nothing happened for a day, an emergency that nobody approved) counts from the midnight after it fell due: so
//! nothing in a day that has begun depends on the hour, and no timer is needed.
//!
//! Three KPIs look beyond one change, and each asks for one small thing that only ever grows: determinism for the first plan of an input
//! ([`FirstPlan`]), mending for the changes that mend others ([`outage`]), drift coverage for the state of a resource ([`drift`]).
//!
//! `docs/kpis.md` has each definition with a worked example, and tests run those. Bands are the model's (`schemas::model`).

use std::collections::BTreeMap;

use crate::account::{Account, Plan};
use crate::approval::{Grade, Rule};

pub mod approved;
pub mod drift;
pub mod ended;
pub mod figure;
pub mod metric;
pub mod outage;
pub mod scratch;
pub mod values;

use ended::Lack;
use outage::Trouble;

/// Milliseconds of a UTC day.
pub const DAY_MS: u64 = 86_400_000;

/// What the figures of a tenant are measured by; shown beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Settings {
    /// A change has ended this long after its last execute entry, milliseconds.
    pub ended_after_ms: u64,
    /// An emergency has to be approved this long after its first execute entry, milliseconds.
    pub emergency_within_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ended_after_ms: DAY_MS, emergency_within_ms: 3 * DAY_MS }
    }
}

impl Settings {
    /// Those of a tenant's rule.
    pub fn of(rule: &Rule) -> Self {
        const HOUR_MS: u64 = 3_600_000;
        Self {
            ended_after_ms: rule.ended_after_h.saturating_mul(HOUR_MS),
            emergency_within_ms: rule.emergency_h.saturating_mul(HOUR_MS),
        }
    }
}

/// A day, counted from 1970-01-01 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Day(pub u32);

impl Day {
    /// The day of an instant in milliseconds.
    pub fn of(at_ms: u64) -> Self {
        Self(u32::try_from(at_ms / DAY_MS).unwrap_or(u32::MAX))
    }

    /// The first day that begins at or after an instant.
    pub fn from_midnight_after(at_ms: u64) -> Self {
        Self(u32::try_from(at_ms.div_ceil(DAY_MS)).unwrap_or(u32::MAX))
    }
}

/// A window of whole UTC days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Window {
    /// The first day in it.
    pub from: Day,
    /// The first day after it.
    pub to: Day,
}

impl Window {
    /// Whether a day is in it.
    pub fn contains(self, day: Day) -> bool {
        self.from <= day && day < self.to
    }
}

/// So much of a metric on a day, from one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// A metric's id: of [`metric`], or of whoever else measures by samples.
    pub metric: &'static str,
    /// The day it counts on.
    pub day: Day,
    /// What was reached.
    pub num: u32,
    /// Of how much.
    pub den: u32,
    /// A duration, microseconds, where the metric is one.
    pub value_us: Option<u64>,
}

impl Sample {
    /// One of one, reached or not.
    pub fn one(metric: &'static str, day: Day, reached: bool) -> Self {
        Self { metric, day, num: u32::from(reached), den: 1, value_us: None }
    }

    /// One duration.
    pub fn duration(metric: &'static str, day: Day, value_us: u64) -> Self {
        Self { metric, day, num: 1, den: 1, value_us: Some(value_us) }
    }
}

/// The first plan that was made from an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPlan {
    /// The entry that made it.
    pub index: u64,
    /// The plan, by the first 16 bytes of its digest.
    pub plan: [u8; 16],
}

/// What a change's samples need of other changes.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The first plan of each input that the change's plans were made from.
    pub first_plans: BTreeMap<[u8; 16], FirstPlan>,
    /// Rounds that held of changes that mend this one, in the order of the log.
    pub mends: Vec<Trouble>,
}

/// The plans of a change that take part in determinism: made, from something known, by entries that are no probes. They depend on no
/// later entry.
pub fn compared_plans(account: &Account) -> impl Iterator<Item = ([u8; 16], FirstPlan, &Plan)> {
    let plans = account.plans.iter().filter(|plan| plan.made && !plan.probe);
    plans.filter_map(|plan| {
        Some((plan.inputs?.key, FirstPlan { index: plan.when.index, plan: plan_key(&plan.digest) }, plan))
    })
}

/// The samples of one change, sorted. A probe has none.
pub fn samples(account: &Account, context: &Context) -> Vec<Sample> {
    let (mut samples, settings) = (Vec::new(), &account.settings);
    if account.probe {
        return samples;
    }
    plans(&mut samples, account, context);
    policies(&mut samples, account);
    approvals(&mut samples, account, settings);
    endings(&mut samples, account, settings);
    rollbacks(&mut samples, account, settings);
    samples.extend(outage::samples(&outage::outages(&outage::troubles(account), &context.mends)));
    rounds(&mut samples, account);
    samples.sort_unstable();
    samples
}

fn plans(samples: &mut Vec<Sample>, account: &Account, context: &Context) {
    for (inputs, made, plan) in compared_plans(account) {
        let first = context.first_plans.get(&inputs).copied().unwrap_or(made);
        if first.index < made.index {
            let day = Day::of(plan.when.at);
            samples.push(Sample::one(metric::PLAN_DETERMINISM, day, first.plan == made.plan));
            if plan.inputs.is_some_and(|inputs| inputs.weak) {
                samples.push(Sample::one(metric::PLAN_DETERMINISM_WEAK, day, first.plan == made.plan));
            }
        }
    }
    for plan in account.plans.iter().filter(|plan| plan.made) {
        let value = plan.compile_ms.map(microseconds);
        samples.extend(value.map(|value| Sample::duration(metric::PLAN_P95, Day::of(plan.when.at), value)));
    }
}

/// The first preflight that evaluated any policy counts, whatever later ones say.
fn policies(samples: &mut Vec<Sample>, account: &Account) {
    if let Some(first) = account.preflights.iter().find(|preflight| preflight.policies.count > 0) {
        let passed = first.policies.mandatory_passed == first.policies.mandatory;
        samples.push(Sample::one(metric::POLICY_PASS, Day::of(first.when.at), passed));
    }
}

fn approvals(samples: &mut Vec<Sample>, account: &Account, settings: &Settings) {
    let Some(coverage) = approved::coverage(account, settings) else { return };
    let name = if coverage.emergency { metric::APPROVAL_EMERGENCY } else { metric::APPROVAL_COVERAGE };
    samples.push(Sample::one(name, coverage.day, coverage.covered));
    let grade = match coverage.grade {
        _ if coverage.emergency => return,
        None => metric::APPROVAL_NONE,
        Some(Grade::Claimed) => metric::APPROVAL_CLAIMED,
        Some(Grade::Recorded) => metric::APPROVAL_RECORDED,
        Some(Grade::Bound) => metric::APPROVAL_BOUND,
        Some(Grade::Signed) => metric::APPROVAL_SIGNED,
    };
    samples.push(Sample::one(grade, coverage.day, true));
}

fn endings(samples: &mut Vec<Sample>, account: &Account, settings: &Settings) {
    let Some(ended) = ended::ended(account, settings) else { return };
    if account.executed().is_some() {
        samples.push(Sample::one(metric::CHANGE_SUCCESS, ended.day, ended::succeeded(account, &ended, settings)));
    }
    let lacks = ended::lacks(account, settings);
    samples.push(Sample::one(metric::EVIDENCE, ended.day, lacks.is_empty()));
    for lack in lacks {
        let name = match lack {
            Lack::Plan => metric::EVIDENCE_NO_PLAN,
            Lack::Approval => metric::EVIDENCE_NO_APPROVAL,
            Lack::Logs => metric::EVIDENCE_NO_LOGS,
            Lack::Verification => metric::EVIDENCE_NO_VERIFICATION,
            Lack::Rollback => metric::EVIDENCE_NO_ROLLBACK,
        };
        samples.push(Sample::one(name, ended.day, true));
    }
}

/// A rollback is settled when it was verified or failed, or nothing was heard of it as long as after which a change has ended.
fn rollbacks(samples: &mut Vec<Sample>, account: &Account, settings: &Settings) {
    for rollback in &account.rollbacks {
        let (day, succeeded) = match (&rollback.failed, &rollback.verified) {
            (Some(failed), _) => (Day::of(failed.at), false),
            (None, Some(verified)) => (Day::of(verified.at), true),
            (None, None) => (Day::from_midnight_after(rollback.last.at + settings.ended_after_ms), false),
        };
        samples.push(Sample::one(metric::ROLLBACK_SUCCESS, day, succeeded));
    }
}

/// The last round that checked something, of a change that executed before it.
fn rounds(samples: &mut Vec<Sample>, account: &Account) {
    let Some(executed) = account.executed() else { return };
    let mut rounds = account.rounds.iter().filter(|round| round.when.index >= executed.index);
    let last = rounds.rfind(|round| round.passed || round.failed);
    if let Some((round, ms)) = last.and_then(|round| Some((round, round.duration_ms?))) {
        samples.push(Sample::duration(metric::VERIFY_P95, Day::of(round.when.at), microseconds(ms)));
    }
}

/// Rounded to the microsecond; far more than any duration that is meant is as much as there can be.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits exactly")]
fn microseconds(ms: f64) -> u64 {
    (ms * 1000.0).round().clamp(0.0, 9_007_199_254_740_992.0) as u64
}

/// The first 16 bytes of a plan's digest.
fn plan_key(digest: &str) -> [u8; 16] {
    let mut key = [0; 16];
    let digits = digest.strip_prefix("sha256:").unwrap_or_default().as_bytes();
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let half = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default();
        *byte = u8::try_from(half(pair[0]) << 4 | half(pair[1])).unwrap_or_default();
    }
    key
}

#[cfg(test)]
mod tests;

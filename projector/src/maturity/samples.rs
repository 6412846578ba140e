//! Samples of one change: what it adds to each measure, and on which day.
//!
//! A change counts from the day it has ended (closed, rolled back, or a day after its last execution, from the midnight after, as for the KPIs), because
//! until then what it lacks may still come; one that only has a plan counts on the day of the plan. Probes have no measures: their
//! checks of the type `conformance` are the runs of the conformance set, under the case's name.

use schemas::ids::ChangeId;
use schemas::model;

use super::measures::{ROLLBACK_EXECUTED, SHARES, rolled_back, unguarded};
use super::story::Story;
use crate::account::Account;
use crate::approval::Rules;
use crate::document::{self, Entry, Seen};
use crate::fold::Marks;
use crate::kpi::{DAY_MS, Day, Sample};

/// The type of a check that says how a conformance case went.
pub const CONFORMANCE: &str = "conformance";

/// Samples of all measures of maturity, by the tenant's rules. `ended_after_ms`: how long after its last execution a change has ended.
pub fn samples(change: &ChangeId, entries: &[Entry<'_>], rules: &Rules, ended_after_ms: u64) -> Vec<Sample> {
    let seen = document::read(change, entries);
    let account = Account::of_seen(change, &seen, rules);
    account.map_or_else(Vec::new, |account| samples_of(&seen, &account, ended_after_ms))
}

/// The same of entries that were read already, and what the account says of them.
pub(crate) fn samples_of(seen: &[Seen<'_>], account: &Account, ended_after_ms: u64) -> Vec<Sample> {
    let story = Story::of(seen, account);
    if account.probe {
        return cases(&story);
    }
    let day = ended(&story, ended_after_ms);
    let shares = SHARES.iter().filter_map(|(id, share)| Some(Sample::one(id, day?, share(&story)?)));
    let mut samples: Vec<_> = shares.collect();
    if let (Some(_), Some(day)) = (story.executed, day) {
        samples.push(Sample::one(ROLLBACK_EXECUTED, day, rolled_back(&story)));
    }
    counter_examples(&mut samples, &story, ended_after_ms);
    samples
}

/// The day from which a change counts.
fn ended(story: &Story<'_>, ended_after_ms: u64) -> Option<Day> {
    let Some(last) = story.acts().last() else { return story.parts.first().map(|part| Day::of(part.header.at)) };
    let settled = Marks::CLOSED | Marks::ROLLED_BACK;
    let closed = story.parts.iter().filter(|part| part.index >= last.index);
    let closed = closed.into_iter().find(|part| part.facts.marks.any(settled)).map(|part| Day::of(part.header.at));
    Some(closed.unwrap_or_else(|| Day::from_midnight_after(last.header.at.saturating_add(ended_after_ms))))
}

fn counter_examples(samples: &mut Vec<Sample>, story: &Story<'_>, due_ms: u64) {
    let mut found = |metric, day, count: u32| {
        samples.extend((count > 0).then_some(Sample { metric, day, num: count, den: count, value_us: None }));
    };
    if let Some(act) = story.acts().next() {
        let day = Day::of(act.header.at);
        let (metas, pipes) = unguarded(story);
        found("step_with_metas", day, metas);
        found("pipe_beyond_list", day, pipes);
        found("executed_though_halted", day, u32::from(though_halted(story)));
    }
    let due = |at: u64| Day::from_midnight_after(at.saturating_add(due_ms));
    if let Some(at) = left(story, |marks| marks.any(Marks::VERIFY_FAILED), settles, due_ms) {
        found("failed_left_standing", due(at), 1);
    }
    if let Some(failed) = story.parts.iter().find(|part| part.facts.marks.any(Marks::VERIFY_FAILED)) {
        let way_back = story
            .events()
            .any(|event| event.rollback.as_ref().is_some_and(|way| !way.plan.is_empty() || way.executed.is_some()));
        found("failed_without_way_back", due(failed.header.at), u32::from(!way_back));
    }
    let drifts: Vec<_> = story.parts.iter().filter_map(|part| Some((part.header.at, part.facts.drift?))).collect();
    let open = drifts.iter().find(|(at, found)| {
        *found > 0 && !drifts.iter().any(|(later, found)| *found == 0 && *later > *at && *later - *at <= DAY_MS)
    });
    if let Some((at, _)) = open {
        found("drift_left_open", Day::from_midnight_after(at + DAY_MS), 1);
    }
}

fn settles(marks: Marks) -> bool {
    marks.any(Marks::ROLLED_BACK) || marks.any(Marks::VERIFIED) && !marks.any(Marks::VERIFY_FAILED)
}

/// When the first entry that opens something was recorded, if nothing settles it within `within_ms`.
fn left(
    story: &Story<'_>,
    opens: impl Fn(Marks) -> bool,
    settles: impl Fn(Marks) -> bool,
    within_ms: u64,
) -> Option<u64> {
    let opened = story.parts.iter().find(|part| opens(part.facts.marks))?;
    let later = story.parts.iter().filter(|part| part.index > opened.index);
    let mut in_time = later.filter(|part| part.header.at - opened.header.at <= within_ms);
    (!in_time.any(|part| settles(part.facts.marks))).then_some(opened.header.at)
}

/// It executed in an attempt whose last word of preflight, before it, was that a check failed.
fn though_halted(story: &Story<'_>) -> bool {
    story.acts().any(|act| {
        let same = story.parts.iter().filter(|part| part.facts.attempt == act.facts.attempt && part.index <= act.index);
        let preflights = same.filter(|part| part.facts.preflight_checks.count > 0);
        preflights.into_iter().next_back().is_some_and(|part| part.facts.preflight_checks.failed > 0)
    })
}

/// How the cases of the conformance set went, as this probe says.
fn cases(story: &Story<'_>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for part in story.parts {
        let checks = part.event.iter().flat_map(|event| event.verification.iter().flat_map(|round| &round.checks));
        let checks = checks.filter(|check| check.kind.as_deref() == Some(CONFORMANCE));
        for check in checks {
            let case = check.name.as_deref().and_then(|name| model::get().case(name));
            if let (Some(case), Some(ok)) = (case, check.ok) {
                samples.push(Sample::one(&case.metric, Day::of(part.header.at), ok));
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemas::model::Form;

    use super::*;

    /// Each measure of the table is counted, and nothing that is not in it.
    #[test]
    fn measures_are_those_of_the_table() {
        let of = |form| model::get().measures.iter().filter(move |row| row.form == form).map(|row| row.id.as_str());
        let coded: BTreeSet<_> = SHARES.iter().map(|(id, _)| *id).collect();
        assert_eq!(coded.len(), SHARES.len());
        assert_eq!(of(Form::Share).collect::<BTreeSet<_>>(), coded);
        assert_eq!(of(Form::Every).collect::<Vec<_>>(), [ROLLBACK_EXECUTED]);
        let counters = [
            "step_with_metas",
            "pipe_beyond_list",
            "executed_though_halted",
            "failed_without_way_back",
            "failed_left_standing",
            "drift_left_open",
        ];
        assert_eq!(of(Form::None).collect::<BTreeSet<_>>(), counters.into());
    }
}

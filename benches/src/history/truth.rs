//! What is true of a history, by the definitions of `docs/kpis.md`, counted from what stories know of themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::story::{Course, Event, Story, What, Word};
use super::{DAY_MS, Told};

const HOUR_MS: u64 = 3_600_000;

/// What happens by an event to what changes share.
#[derive(Clone, Debug)]
pub(super) enum Happens {
    Nothing,
    Planned { inputs: String, variant: u64, weak: bool },
    Managed(String),
    Removed(String),
    Compared(String),
    Watched(String, bool),
}

#[derive(Clone, Copy, Default)]
struct Service {
    managed: bool,
    watched: bool,
    compared_on: Option<u64>,
}

/// The truth of everything told so far.
#[derive(Default)]
pub(crate) struct Truth {
    /// By what and day: reached, of how many.
    counts: BTreeMap<(&'static str, u64), (u64, u64)>,
    /// By what: day and microseconds.
    durations: HashMap<&'static str, Vec<(u64, u64)>>,
    first_plans: HashMap<String, u64>,
    services: HashMap<String, Service>,
    /// Planted: change and code.
    pub anomalies: BTreeSet<(String, &'static str)>,
    /// The same of what falls due.
    pub due: BTreeSet<(String, &'static str)>,
    keep_anomalies: bool,
    /// Changes, monitors' runs included.
    pub changes: u64,
    /// Events that are no repeats.
    pub events: u64,
    /// Repeats.
    pub duplicates: u64,
}

/// What is to be found in a window of days.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    /// The KPI's id, or what stands beside one (`mttr.open`).
    pub what: &'static str,
    /// Reached; of durations, how many.
    pub numerator: u64,
    /// Of how many.
    pub denominator: u64,
    /// Sum of durations, microseconds.
    pub sum_us: u64,
    /// Nearest-rank 95th percentile, microseconds.
    pub p95_us: Option<u64>,
}

/// The codes that are planted; whatever else is found is nobody's plan. Two cannot be planted by events alone: `payload_not_read` takes an erasure, and
/// `foreign_signature_bad` a tenant's keys; those are tried where they are judged.
pub(crate) const PLANTED: [&str; 28] = [
    "approver_is_initiator",
    "approver_is_executor",
    "approval_after_execution",
    "approval_expired",
    "approval_time_ahead",
    "approval_signature_bad",
    "approved_another_plan",
    "plan_changed_after_approval",
    "no_approval_recorded",
    "required_approval_missing",
    "executed_without_plan",
    "executed_without_preflight",
    "executed_though_preflight_failed",
    "executed_though_refused",
    "executed_outside_window",
    "plan_digest_differs",
    "plan_changed_after_execution",
    "verified_before_executed",
    "executed_after_verification",
    "closed_unverified",
    "acted_after_closing",
    "attempts_skipped",
    "same_id_other_bytes",
    "unknown_source",
    "unknown_agent",
    "unknown_visibility",
    "pipe_allow_list_widened",
    "producer_time_off",
];

/// The same of what comes a day later by the passing of the log's time alone.
pub(crate) const DUE: [&str; 3] = ["verification_missing", "failed_not_rolled_back", "rollback_unverified"];

/// Everything that is counted.
pub(super) const COUNTED: [&str; 20] = [
    "plan_determinism",
    "plan_determinism.weak",
    "approval_coverage",
    "approval_coverage.emergency",
    "approval_coverage.signed",
    "approval_coverage.bound",
    "approval_coverage.recorded",
    "approval_coverage.claimed",
    "approval_coverage.none",
    "policy_pass",
    "change_success",
    "rollback_success",
    "mttr.open",
    "mttr.clocks_differ",
    "evidence_completeness",
    "evidence_completeness.plan",
    "evidence_completeness.approvals",
    "evidence_completeness.logs",
    "evidence_completeness.verification",
    "evidence_completeness.rollback",
];

/// Everything that is timed.
pub(super) const TIMED: [&str; 3] = ["mttr", "plan_p95", "verify_p95"];

impl Truth {
    pub(super) fn new(keep_anomalies: bool) -> Self {
        Self { keep_anomalies, ..Self::default() }
    }

    /// What a window holds, from its first day (since 1970) to before `to`.
    pub(crate) fn expected(&self, from: u64, to: u64) -> Vec<Expected> {
        let mut all: Vec<Expected> = COUNTED
            .iter()
            .map(|what| {
                let days = self.counts.range((*what, from)..(*what, to)).map(|(_, counts)| counts);
                let (numerator, denominator) = days.fold((0, 0), |sum, day| (sum.0 + day.0, sum.1 + day.1));
                Expected { what, numerator, denominator, sum_us: 0, p95_us: None }
            })
            .collect();
        all.extend(TIMED.iter().map(|what| {
            let known = self.durations.get(what).map(Vec::as_slice).unwrap_or_default();
            let inside = known.iter().filter(|(day, _)| (from..to).contains(day)).map(|(_, us)| *us);
            let mut values: Vec<u64> = inside.collect();
            values.sort_unstable();
            // 95 % of them do not exceed it: the rank is rounded up, and counted from 1.
            let p95_us = (values.len() * 95).div_ceil(100).checked_sub(1).and_then(|at| values.get(at).copied());
            let count = values.len() as u64;
            Expected { what, numerator: count, denominator: count, sum_us: values.iter().sum(), p95_us }
        }));
        all
    }

    /// Covered and managed services at the end of all that was told, for a window that began with day `from`.
    pub(crate) fn drift(&self, from: u64) -> (u64, u64) {
        let managed = self.services.values().filter(|service| service.managed);
        let covered = managed.clone().filter(|one| one.watched || one.compared_on.is_some_and(|day| day >= from));
        (covered.count() as u64, managed.count() as u64)
    }

    /// What happens by an event as it reaches the log.
    pub(super) fn happens(&mut self, told: &Told, happens: Vec<Happens>) {
        if told.duplicate {
            self.duplicates += 1;
            return;
        }
        self.events += 1;
        let day = told.at_ms / DAY_MS;
        for one in happens {
            let name = |name: String| format!("{}/{name}", told.environment);
            match one {
                Happens::Nothing => {}
                Happens::Planned { inputs, variant, weak } => match self.first_plans.get(&inputs).copied() {
                    None => {
                        self.first_plans.insert(inputs, variant);
                    }
                    Some(first) => {
                        self.add("plan_determinism", day, first == variant);
                        if weak {
                            self.add("plan_determinism.weak", day, first == variant);
                        }
                    }
                },
                Happens::Managed(service) => self.services.entry(name(service)).or_default().managed = true,
                Happens::Removed(service) => *self.services.entry(name(service)).or_default() = Service::default(),
                Happens::Compared(service) => {
                    self.services.entry(name(service)).or_default().compared_on = Some(day);
                }
                Happens::Watched(service, on) => self.services.entry(name(service)).or_default().watched = on,
            }
        }
    }

    /// What one story is worth.
    pub(super) fn count(&mut self, story: &Story) {
        self.changes += 1;
        self.plant(story);
        if story.monitor {
            return;
        }
        let timeline = Timeline(&story.events);
        for event in &story.events {
            if let What::Plan { compile_us: Some(us) } = event.what {
                self.time("plan_p95", event.at / DAY_MS, us);
            }
        }
        let policies = story.events.iter().find(|event| matches!(event.what, What::Policies { .. }));
        if let Some((event, What::Policies { passed })) = policies.map(|event| (event, event.what)) {
            self.add("policy_pass", event.at / DAY_MS, passed);
        }
        let covered = timeline.executed().map(|executed| self.approval(story, &timeline, executed));
        self.ending(story, &timeline, covered);
        self.failures(story, &timeline);
        let last_look = timeline.of(|what| matches!(what, What::Verify { .. })).last();
        if let (Some(event), true) = (last_look, timeline.executed().is_some())
            && let What::Verify { duration_us, .. } = event.what
        {
            self.time("verify_p95", event.at / DAY_MS, duration_us);
        }
    }

    /// A change is as well approved as its worst attempt. The second attempt, where there is one, is approved before it begins or never.
    fn approval(&mut self, story: &Story, timeline: &Timeline<'_>, executed: &Event) -> bool {
        let given = timeline.of(|what| matches!(what, What::Approval { counts: true })).next();
        let again = match story.course {
            Course::Retried { approved } => Some(approved),
            _ => None,
        };
        if story.emergency {
            return self.afterwards(timeline, executed, given, again);
        }
        let day = executed.at / DAY_MS;
        let covered = given.is_some() && story.word != Word::Late && again != Some(false);
        self.add("approval_coverage", day, covered);
        let grade = match story.word {
            _ if again == Some(false) || story.moved => "approval_coverage.none",
            Word::Signed if again.is_none() => "approval_coverage.signed",
            Word::Bound | Word::Forged if again.is_none() => "approval_coverage.bound",
            Word::Signed | Word::Bound | Word::Forged | Word::Recorded => "approval_coverage.recorded",
            Word::Claimed | Word::Ahead => "approval_coverage.claimed",
            Word::Own | Word::None | Word::Late | Word::Runner | Word::Expired => "approval_coverage.none",
        };
        self.add(grade, day, true);
        covered
    }

    /// Of an emergency, which has 72 hours for each attempt: counted with the last word in time, or the first that did not come.
    fn afterwards(
        &mut self,
        timeline: &Timeline<'_>,
        executed: &Event,
        given: Option<&Event>,
        again: Option<bool>,
    ) -> bool {
        let deadline = |executed: &Event| executed.at + 72 * HOUR_MS;
        let last = timeline.of(|what| matches!(what, What::Execute { .. })).last().unwrap_or(executed);
        let given = given.filter(|given| given.at <= deadline(executed));
        let first_day = given.map(|given| given.at.max(executed.at) / DAY_MS);
        let second_day = again.map(|approved| approved.then_some(last.at / DAY_MS));
        let (covered, day) = match (first_day, second_day) {
            (None, _) => (false, deadline(executed).div_ceil(DAY_MS)),
            (Some(_), Some(None)) => (false, deadline(last).div_ceil(DAY_MS)),
            (Some(first), second) => (true, first.max(second.flatten().unwrap_or(0))),
        };
        self.add("approval_coverage.emergency", day, covered);
        covered
    }

    fn ending(&mut self, story: &Story, timeline: &Timeline<'_>, covered: Option<bool>) {
        let last = timeline.of(|what| matches!(what, What::Execute { .. })).last();
        let due = last.map(|last| last.at + DAY_MS);
        let said =
            timeline.of(|what| matches!(what, What::Close | What::Rollback { good: true })).map(|event| event.at).min();
        let (ended, day) = match (said, due) {
            (Some(said), due) if due.is_none_or(|due| said <= due) => (said, said / DAY_MS),
            (_, Some(due)) => (due, due.div_ceil(DAY_MS)),
            (_, None) => return,
        };
        if let (Some(_), Some(last)) = (covered, last) {
            let clean = matches!(story.course, Course::Good | Course::LateLook);
            let in_time = timeline
                .of(|what| matches!(what, What::Verify { good: true, .. }))
                .any(|event| timeline.comes_after(event, last) && event.at <= ended.max(due.unwrap_or(0)));
            self.add("change_success", day, clean && in_time);
        }
        self.pack(story, timeline, covered.zip(last), day);
    }

    /// What the pack of an ended change lacks.
    fn pack(&mut self, story: &Story, timeline: &Timeline<'_>, ran: Option<(bool, &Event)>, day: u64) {
        let mut lacks = vec![("evidence_completeness.plan", story.planless)];
        if let Some((covered, last)) = ran {
            let mut looks = timeline.of(|what| matches!(what, What::Verify { .. }));
            let undone = timeline.of(|what| matches!(what, What::Rollback { .. })).next().is_some();
            lacks.extend([
                ("evidence_completeness.approvals", !covered),
                ("evidence_completeness.logs", !story.logs),
                ("evidence_completeness.verification", !looks.any(|look| timeline.comes_after(look, last))),
                ("evidence_completeness.rollback", !story.rollback_plan && !undone),
            ]);
        }
        lacks.retain(|(_, lacks)| *lacks);
        self.add("evidence_completeness", day, lacks.is_empty());
        for (lack, _) in lacks {
            self.add(lack, day, true);
        }
    }

    fn failures(&mut self, story: &Story, timeline: &Timeline<'_>) {
        let looked_well = timeline.of(|what| matches!(what, What::Verify { good: true, .. })).next();
        for event in timeline.of(|what| matches!(what, What::Rollback { .. })) {
            match (event.what, looked_well) {
                (What::Rollback { good: false }, _) => self.add("rollback_success", event.at / DAY_MS, false),
                (_, Some(look)) => self.add("rollback_success", look.at / DAY_MS, true),
                (_, None) => self.add("rollback_success", (event.at + DAY_MS).div_ceil(DAY_MS), false),
            }
        }
        let bad = |what| matches!(what, What::Execute { failed: true } | What::Verify { good: false, .. });
        let Some(failed) = timeline.of(bad).next() else { return };
        let day = failed.at / DAY_MS;
        let restored = looked_well.map(|event| (event.at, event.told.ts)).or(story.fixed_at);
        let Some((at, ts)) = restored else {
            self.add("mttr.open", day, false);
            return;
        };
        let seconds = u64::try_from(ts - failed.told.ts).unwrap_or(0);
        self.time("mttr", day, seconds * 1_000_000);
        if off(failed.at, failed.told.ts) || off(at, ts) {
            self.add("mttr.clocks_differ", day, true);
        }
    }

    fn plant(&mut self, story: &Story) {
        if !self.keep_anomalies {
            return;
        }
        let timeline = Timeline(&story.events);
        let executed = timeline.executed();
        let approval = timeline.of(|what| matches!(what, What::Approval { .. })).next();
        let runs = executed.is_some();
        let second = match story.course {
            Course::Retried { approved } => Some(approved),
            _ => None,
        };
        let late = executed.zip(approval).is_some_and(|(executed, given)| timeline.comes_after(given, executed));
        let counts = approval.filter(|given| matches!(given.what, What::Approval { counts: true }));
        let covered = executed.zip(counts).is_some_and(|(executed, given)| {
            if story.emergency { given.at <= executed.at + 72 * HOUR_MS } else { !late }
        });
        let off = story.events.iter().any(|event| off(event.at, event.told.ts) && event.what != What::Duplicate);
        let reworked = story.course == Course::Reworked;
        let closed = timeline.of(|what| what == What::Close).next().is_some();
        let given = runs && approval.is_some();
        let plans_behind = |wanted: fn(What) -> bool| {
            let before = timeline.of(wanted).next();
            let mut plans = timeline.of(|what| matches!(what, What::Plan { .. }));
            before.is_some_and(|before| plans.any(|plan| timeline.comes_after(plan, before)))
        };
        let planted = [
            ("approver_is_initiator", story.word == Word::Own && given),
            ("approver_is_executor", story.word == Word::Runner && given),
            ("approval_after_execution", late && !story.emergency),
            ("approval_expired", story.word == Word::Expired && given),
            ("approval_time_ahead", story.word == Word::Ahead && approval.is_some() && story.course != Course::Refused),
            (
                "approval_signature_bad",
                story.word == Word::Forged && approval.is_some() && story.course != Course::Refused,
            ),
            ("approved_another_plan", story.moved && story.word == Word::Bound && given),
            ("plan_changed_after_approval", story.moved && story.word == Word::Recorded && given),
            ("no_approval_recorded", runs && (approval.is_none() || second == Some(false))),
            ("required_approval_missing", given && !covered),
            ("executed_without_plan", runs && (story.planless || second.is_some())),
            ("executed_without_preflight", runs && (!story.has_preflight || second.is_some())),
            ("executed_though_preflight_failed", runs && story.halted),
            ("executed_though_refused", runs && story.denied_first),
            ("executed_outside_window", runs && story.outside),
            ("plan_digest_differs", story.wrong_digest),
            ("plan_changed_after_execution", plans_behind(|what| matches!(what, What::Execute { .. }))),
            ("verified_before_executed", story.monitor),
            ("executed_after_verification", reworked),
            ("closed_unverified", reworked && closed),
            ("acted_after_closing", plans_behind(|what| what == What::Close)),
            ("same_id_other_bytes", timeline.of(|what| what == What::Note).next().is_some()),
            ("attempts_skipped", timeline.of(|what| what == What::Stray).next().is_some()),
            ("unknown_source", story.odd_source),
            ("unknown_agent", runs && story.odd_agent),
            ("unknown_visibility", story.odd_visibility),
            ("pipe_allow_list_widened", runs && story.wide_pipes),
            ("producer_time_off", off),
        ];
        let standing = matches!(story.course, Course::LeftOpen | Course::Fixed);
        let unseen = matches!(story.course, Course::Unverified | Course::Reworked);
        let due = [
            ("verification_missing", standing || unseen),
            ("failed_not_rolled_back", standing),
            (
                "rollback_unverified",
                matches!(story.course, Course::RolledBack { verified: false } | Course::RollbackFails),
            ),
        ];
        let found = |all: &[(&'static str, bool)]| {
            let holding = all.iter().filter(|(_, holds)| *holds);
            holding.map(|(code, _)| (story.change.clone(), *code)).collect::<Vec<_>>()
        };
        self.anomalies.extend(found(&planted));
        self.due.extend(found(&due).into_iter().filter(|_| runs));
    }

    fn add(&mut self, what: &'static str, day: u64, reached: bool) {
        let counts = self.counts.entry((what, day)).or_default();
        counts.0 += u64::from(reached);
        counts.1 += 1;
    }

    fn time(&mut self, what: &'static str, day: u64, us: u64) {
        self.durations.entry(what).or_default().push((day, us));
    }
}

/// More than five minutes apart, where the producer's time is any within its second.
fn off(at: u64, ts: i64) -> bool {
    let (at, ts) = (i64::try_from(at).unwrap_or(i64::MAX), ts * 1000);
    at - (ts + 999) > 300_000 || ts - at > 300_000
}

/// The events of a story in the order of the log.
struct Timeline<'a>(&'a [Event]);

impl<'a> Timeline<'a> {
    fn of<F: Fn(What) -> bool>(&self, wanted: F) -> impl Iterator<Item = &'a Event> + use<'a, F> {
        self.0.iter().filter(move |event| wanted(event.what))
    }

    fn executed(&self) -> Option<&'a Event> {
        self.0.iter().find(|event| matches!(event.what, What::Execute { .. }))
    }

    fn comes_after(&self, one: &Event, other: &Event) -> bool {
        let place = |wanted: &Event| self.0.iter().position(|event| std::ptr::eq(event, wanted));
        place(one) > place(other)
    }
}

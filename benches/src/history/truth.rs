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

/// The codes that are planted; whatever else is found is nobody's plan.
pub(crate) const PLANTED: [&str; 9] = [
    "approver_is_initiator",
    "approval_after_execution",
    "no_approval_recorded",
    "required_approval_missing",
    "executed_without_preflight",
    "executed_though_refused",
    "unknown_source",
    "producer_time_off",
    "verified_before_executed",
];

/// Everything that is counted.
pub(super) const COUNTED: [&str; 14] = [
    "plan_determinism",
    "plan_determinism.weak",
    "approval_coverage",
    "approval_coverage.emergency",
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

    fn approval(&mut self, story: &Story, timeline: &Timeline<'_>, executed: &Event) -> bool {
        let given = timeline.of(|what| matches!(what, What::Approval { counts: true })).next();
        if story.emergency {
            let deadline = executed.at + 72 * HOUR_MS;
            let given = given.filter(|given| given.at <= deadline);
            let day = given.map_or(deadline.div_ceil(DAY_MS), |given| given.at.max(executed.at) / DAY_MS);
            self.add("approval_coverage.emergency", day, given.is_some());
            return given.is_some();
        }
        let day = executed.at / DAY_MS;
        let covered = given.is_some() && story.word != Word::Late;
        self.add("approval_coverage", day, covered);
        let grade = match story.word {
            Word::Bound => "approval_coverage.bound",
            Word::Recorded => "approval_coverage.recorded",
            Word::Claimed => "approval_coverage.claimed",
            Word::Own | Word::None | Word::Late => "approval_coverage.none",
        };
        self.add(grade, day, true);
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
        let looked = timeline.of(|what| matches!(what, What::Verify { .. })).next().is_some();
        let Some(covered) = covered else {
            self.add("evidence_completeness", day, true);
            return;
        };
        let clean = matches!(story.course, Course::Good | Course::LateLook);
        let in_time = timeline
            .of(|what| matches!(what, What::Verify { good: true, .. }))
            .any(|event| event.at <= ended.max(due.unwrap_or(0)));
        self.add("change_success", day, clean && in_time);
        let undone = timeline.of(|what| matches!(what, What::Rollback { .. })).next().is_some();
        let full = covered && story.logs && looked && (story.rollback_plan || undone);
        self.add("evidence_completeness", day, full);
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
        let retried = story.course == Course::Retried;
        let late = executed.zip(approval).is_some_and(|(executed, given)| timeline.comes_after(given, executed));
        let counts = approval.filter(|given| matches!(given.what, What::Approval { counts: true }));
        let covered = executed.zip(counts).is_some_and(|(executed, given)| {
            if story.emergency { given.at <= executed.at + 72 * HOUR_MS } else { !late }
        });
        let off = story.events.iter().any(|event| off(event.at, event.told.ts) && event.what != What::Duplicate);
        let planted = [
            ("approver_is_initiator", story.word == Word::Own && runs),
            ("approval_after_execution", runs && late && !story.emergency),
            ("no_approval_recorded", runs && (approval.is_none() || retried)),
            ("required_approval_missing", runs && approval.is_some() && !covered),
            ("executed_without_preflight", runs && (!story.has_preflight || retried)),
            ("executed_though_refused", runs && story.denied_first),
            ("unknown_source", story.odd_source),
            ("producer_time_off", off),
            ("verified_before_executed", story.monitor),
        ];
        let found = planted.into_iter().filter(|(_, holds)| *holds);
        self.anomalies.extend(found.map(|(code, _)| (story.change.clone(), code)));
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

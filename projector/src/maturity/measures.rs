//! What the measures of `schemas/model/measures.json` count in one change.
//!
//! A share is `None` where the change is not of its denominator, else whether it counts. Each has its line here under the id it has there, and a test
//! holds both lists equal. Names of `execution.guards` are given in the table's words.

use schemas::event::{Any, Check, Execution};
use schemas::{canonicals, guard};

use super::story::{Story, member, says};
use crate::approval::{Grade, Graded, Lack, same_name};
use crate::document::group;
use crate::fold::Marks;

/// How long credentials may live to be called ephemeral, in seconds: a working day and a half, the longest session that cloud providers' token
/// services give to a role.
const EPHEMERAL_S_MAX: f64 = 43_200.0;

/// Words of a check that looks at health.
const HEALTH: [&str; 7] = ["health", "rollout", "status", "connectivity", "ready", "probe", "alive"];

/// Words of a check that tries without doing.
const DRY_RUN: [&str; 5] = ["dry-run", "dry_run", "dryrun", "what-if", "simulat"];

/// Roles in which a policy or a lane approves by itself; `lane` is that of our own preflight.
const AUTOMATIC: [&str; 3] = ["policy", "auto", "lane"];

type Share = fn(&Story<'_>) -> Option<bool>;

/// Every share of one change.
pub(super) const SHARES: &[(&str, Share)] = &[
    ("steps_recorded", |story| {
        executed(story, |story| story.steps().any(|step| step.cmd.is_some() || !step.argv.is_empty()))
    }),
    ("logged", |story| executed(story, logged)),
    ("credentials_named", |story| executed(story, |story| credentials(story).any(|found| found.kind.is_some()))),
    ("read_back", |story| executed(story, |story| story.rounds().next().is_some())),
    ("planned", |story| executed(story, planned)),
    ("preflight_checked", |story| executed(story, |story| checked(story) || evaluated(story))),
    ("existence_checked", |story| executed(story, checked)),
    ("dry_run", |story| executed(story, dry_run)),
    ("mtls", |story| executed(story, |story| all_and_any(story.executions().filter_map(|execution| execution.mtls)))),
    ("timeouts", |story| executed(story, |story| story.guarded(&["timeout_s", "timeout", "timeouts"]))),
    ("retries", |story| executed(story, |story| story.guarded(&["retries", "max_retries"]))),
    ("drift_checked", |story| executed(story, drift_checked)),
    ("policy_evaluated", |story| executed(story, evaluated)),
    ("peer_reviewed", |story| executed(story, peer_reviewed)),
    ("two_person", two_person),
    ("duties_separated", duties_separated),
    ("ephemeral", |story| executed(story, ephemeral)),
    ("pinned", |story| executed(story, pinned)),
    ("telemetry", |story| {
        executed(story, |story| story.executions().any(|execution| execution.telemetry_ref.is_some()))
    }),
    ("rollback_planned", |story| executed(story, rollback_planned)),
    ("plan_explicit", |story| with_plan(story, plan_explicit)),
    ("annotated", |story| with_plan(story, annotated)),
    ("window_planned", |story| with_plan(story, |story| story.plans().any(|plan| says(plan.window)))),
    ("impact", |story| with_plan(story, |story| story.plans().any(|plan| plan.impact.is_some()))),
    ("cost", |story| with_plan(story, |story| story.preflights().any(|preflight| says(preflight.cost)))),
    ("from_words", |story| with_plan(story, from_words)),
    ("simulated", |story| with_plan(story, |story| story.plans().any(|plan| says(plan.simulation)))),
    ("graphed", |story| with_plan(story, |story| story.plans().any(|plan| says(plan.dependency_graph)))),
    ("variant", |story| with_plan(story, |story| story.plans().any(|plan| plan.variant.is_some()))),
    ("in_window", in_window),
    ("auto_approved", auto_approved),
    ("risk_scored", |story| executed(story, risk_scored)),
    ("progressive", |story| executed(story, |story| waves(story).count() >= 2)),
    ("rate_limited", |story| executed(story, |story| story.guarded(&["rate_limit"]))),
    ("backoff", |story| executed(story, |story| story.guarded(&["backoff"]))),
    ("blast_radius", |story| executed(story, |story| story.guarded(&["blast_radius", "max_resources"]))),
    ("promotion_gated", |story| in_waves(story, "gate")),
    ("health_gated", |story| in_waves(story, "health")),
    ("self_pause", |story| executed(story, |story| story.guarded(&["pause_on_anomaly"]))),
    ("guarded_auto", |story| executed(story, guarded_auto)),
    ("health_checked", |story| {
        executed(story, |story| story.rounds().any(|round| round.checks.iter().any(|check| names(check, &HEALTH))))
    }),
    ("baseline", |story| executed(story, baseline)),
    ("slo_checked", |story| executed(story, |story| story.rounds().any(|round| !round.slo.is_empty()))),
    ("endpoint_scoped", |story| executed(story, |story| endpoints(story) == 1)),
    ("output_bounded", |story| executed(story, output_bounded)),
    ("exports", |story| executed(story, exports)),
];

/// The environment's measure: `rolled_back` of changes that executed.
pub const ROLLBACK_EXECUTED: &str = "rollback_executed";

fn executed(story: &Story<'_>, counts: impl Fn(&Story<'_>) -> bool) -> Option<bool> {
    story.executed.map(|_| counts(story))
}

fn with_plan(story: &Story<'_>, counts: impl Fn(&Story<'_>) -> bool) -> Option<bool> {
    story.plans().next().map(|_| counts(story))
}

fn all_and_any(list: impl Iterator<Item = bool>) -> bool {
    let list: Vec<bool> = list.collect();
    !list.is_empty() && list.iter().all(|yes| *yes)
}

fn logged(story: &Story<'_>) -> bool {
    all_and_any(story.steps().map(|step| {
        let here = step.stdout.is_some() || step.stderr.is_some();
        step.rc.is_some() && (here || step.stdout_ref.is_some() || step.stderr_ref.is_some())
    }))
}

fn credentials<'a>(story: &Story<'a>) -> impl Iterator<Item = &'a schemas::event::Credentials<'a>> {
    story.executions().filter_map(|execution: &'a Execution<'a>| execution.credentials.as_ref())
}

fn ephemeral(story: &Story<'_>) -> bool {
    let short = |ttl: f64| ttl > 0.0 && ttl <= EPHEMERAL_S_MAX;
    let fixed =
        credentials(story).any(|found| found.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("static")));
    !fixed && all_and_any(credentials(story).filter_map(|found| found.ttl_s).map(short))
}

fn pinned(story: &Story<'_>) -> bool {
    let full = |text: Option<&str>| text.is_some_and(|text| !text.trim().is_empty());
    let tools = story.executions().flat_map(|execution| &execution.tools);
    all_and_any(tools.map(|tool| full(tool.version.as_deref()) || full(tool.sha256.as_deref())))
}

fn planned(story: &Story<'_>) -> bool {
    story.plans_before().any(|event| {
        let resources = event.target.as_ref().is_some_and(|target| !target.resources.is_empty());
        resources || event.plan.as_ref().is_some_and(|plan| !plan.commands.is_empty())
    })
}

fn plan_explicit(story: &Story<'_>) -> bool {
    let commands = story.plans().any(|plan| !plan.commands.is_empty());
    commands && story.events().any(|event| event.target.as_ref().is_some_and(|target| !target.resources.is_empty()))
}

fn annotated(story: &Story<'_>) -> bool {
    let why = story
        .events()
        .any(|event| event.intent.as_ref().is_some_and(|intent| intent.reason.is_some() || intent.ticket.is_some()));
    why && story.plans().any(|plan| says(plan.window))
}

fn from_words(story: &Story<'_>) -> bool {
    story.events().any(|event| {
        let words = event
            .intent
            .as_ref()
            .and_then(|intent| intent.request.as_deref())
            .is_some_and(|words| !words.trim().is_empty());
        words && event.plan.as_ref().is_some_and(|plan| plan.inputs_digest.is_some())
    })
}

fn checked(story: &Story<'_>) -> bool {
    story.preflights().any(|preflight| !preflight.checks.is_empty())
}

fn evaluated(story: &Story<'_>) -> bool {
    story.preflights().any(|preflight| !preflight.policies.is_empty())
}

fn dry_run(story: &Story<'_>) -> bool {
    let simulated = story.before().filter_map(|part| part.event.as_ref()?.plan.as_ref());
    simulated.into_iter().any(|plan| says(plan.simulation))
        || story.preflights().any(|preflight| preflight.checks.iter().any(|check| names(check, &DRY_RUN)))
}

fn names(check: &Check<'_>, words: &[&str]) -> bool {
    let text = [check.kind.as_deref(), check.name.as_deref()].map(|text| text.unwrap_or_default().to_lowercase());
    words.iter().any(|word| text.iter().any(|text| text.contains(word)))
}

/// Given before or with the first execution.
fn approved_before<'a>(story: &Story<'a>) -> impl Iterator<Item = &'a Graded> {
    let end = story.executed.unwrap_or(u64::MAX);
    story.approvals().filter(move |given| given.index <= end)
}

/// By a policy or a lane, and by no person.
fn is_automatic(given: &Graded) -> bool {
    given.role.as_deref().is_some_and(|role| AUTOMATIC.contains(&same_name(role).as_str()))
}

/// Informal, so a claim is enough, whoever sent it; but by a person, and nothing that is worthless at any grade: a peer is neither who asked nor who
/// executes, and looked at this plan.
fn peer_reviewed(story: &Story<'_>) -> bool {
    approved_before(story).any(|given| !is_automatic(given) && !given.lacks.iter().any(|lack| lack.is_fatal()))
}

fn two_person(story: &Story<'_>) -> Option<bool> {
    story.executed?;
    story.needed().next()?;
    Some(story.needed().all(|attempt| attempt.persons >= 2))
}

fn duties_separated(story: &Story<'_>) -> Option<bool> {
    story.executed?;
    story.approvals().next()?;
    let mixed = |given: &Graded| given.lacks.iter().any(|lack| matches!(lack, Lack::ByInitiator | Lack::ByExecutor));
    Some(!story.approvals().any(mixed))
}

fn rollback_planned(story: &Story<'_>) -> bool {
    story.events().any(|event| event.rollback.as_ref().is_some_and(|rollback| !rollback.plan.is_empty()))
}

fn risk_scored(story: &Story<'_>) -> bool {
    story.preflights().any(|preflight| says(preflight.risk) || says(preflight.cost))
}

fn auto_approved(story: &Story<'_>) -> Option<bool> {
    let is_low = |risk: Any<'_>| {
        let of = |name: &&str| member(risk, name)??.read::<String>();
        let word = risk.read::<String>().or_else(|| ["level", "lane", "class"].iter().find_map(of));
        word.is_some_and(|word| word.eq_ignore_ascii_case("low"))
    };
    story.executed?;
    story.preflights().find(|preflight| preflight.risk.is_some_and(is_low))?;
    Some(approved_before(story).any(|given| is_automatic(given) && given.counts))
}

fn in_window(story: &Story<'_>) -> Option<bool> {
    story.executed?;
    let attempts = group(story.parts);
    let mut windowed = attempts.iter().filter_map(|tried| Some((tried, tried.window_in_force()?.1))).peekable();
    windowed.peek()?;
    Some(windowed.all(|(tried, span)| tried.outside(span).next().is_none()))
}

fn waves<'a>(story: &Story<'a>) -> impl Iterator<Item = Any<'a>> {
    story.executions().flat_map(|execution| execution.waves.iter().copied())
}

fn in_waves(story: &Story<'_>, name: &str) -> Option<bool> {
    waves(story).next()?;
    Some(waves(story).all(|wave| says(member(wave, name).flatten())))
}

/// By an agent: an executor's name says who it was, not that no person had a hand in it. An execution that says neither says nothing against it,
/// because some producers send an event for each step.
fn guarded_auto(story: &Story<'_>) -> bool {
    let told = story.executions().filter(|execution| execution.agent.is_some() || execution.executor.is_some());
    let by_agent = told.map(|execution| execution.agent.as_deref().is_some_and(canonicals::is_agent));
    all_and_any(by_agent) && story.executions().any(|execution| says(execution.guards))
}

/// A list of differences, or both hashes.
fn drift_checked(story: &Story<'_>) -> bool {
    let hashes = |round: &schemas::event::Verification<'_>| {
        round.drift.as_ref().is_some_and(|drift| drift.baseline_hash.is_some() && drift.current_hash.is_some())
    };
    story.after().any(|part| part.facts.drift.is_some()) || story.rounds().any(hashes)
}

fn baseline(story: &Story<'_>) -> bool {
    story.rounds().any(|round| round.drift.as_ref().is_some_and(|drift| drift.baseline_hash.is_some()))
}

/// Distinct endpoints that its entries name.
fn endpoints(story: &Story<'_>) -> usize {
    let named = story.events().filter_map(|event| event.target.as_ref()?.cluster_endpoint_id.as_deref());
    named.filter(|name| !name.trim().is_empty()).collect::<std::collections::BTreeSet<_>>().len()
}

/// Who says that nothing was cut has a bound, too.
fn output_bounded(story: &Story<'_>) -> bool {
    all_and_any(story.steps().map(|step| step.stdout_trunc.is_some() || step.stderr_trunc.is_some()))
}

/// Plan, approval trail and logs of it can be had from its entries. A claim is no trail: nobody but the executing producer says it.
fn exports(story: &Story<'_>) -> bool {
    let readable = story.parts.iter().all(|part| part.event.is_some());
    let recorded = story.approvals().filter(|given| given.grade >= Grade::Recorded);
    let recorded: std::collections::BTreeSet<u64> = recorded.map(|given| given.attempt).collect();
    let trail = story.needed().all(|attempt| recorded.contains(&attempt.attempt));
    readable && planned(story) && trail && logged(story)
}

/// A rollback that was executed, succeeded, left its steps, and was followed by a verification that held. Within one event a verification comes before a
/// rollback, so it takes another one.
pub(super) fn rolled_back(story: &Story<'_>) -> bool {
    let done = story.parts.iter().find(|part| {
        let steps = part
            .event
            .as_ref()
            .and_then(|event| event.rollback.as_ref()?.executed.as_ref())
            .is_some_and(|done| !done.steps.is_empty());
        steps && part.facts.marks.any(Marks::ROLLED_BACK) && !part.facts.marks.any(Marks::ROLLBACK_FAILED)
    });
    let held = |index: u64, attempt: u64| {
        let later = story.parts.iter().filter(move |part| part.index > index && part.facts.attempt == attempt);
        later
            .into_iter()
            .any(|part| part.facts.marks.any(Marks::VERIFIED) && !part.facts.marks.any(Marks::VERIFY_FAILED))
    };
    done.is_some_and(|part| held(part.index, part.facts.attempt))
}

/// Executed steps that succeeded and that the model's guards would have refused: with metas, and past the pipes.
pub(super) fn unguarded(story: &Story<'_>) -> (u32, u32) {
    let (mut metas, mut pipes) = (0, 0);
    for step in story.steps().filter(|step| step.rc == Some(0.0)) {
        let blocked = match &step.cmd {
            _ if !step.argv.is_empty() => guard::of_arguments(step.argv.iter().map(|word| &**word)),
            Some(line) => guard::of_line(line),
            None => Vec::new(),
        };
        metas += u32::from(blocked.iter().any(|found| matches!(found, guard::Blocked::Meta(_))));
        pipes += u32::from(blocked.iter().any(|found| matches!(found, guard::Blocked::Pipe(_))));
    }
    (metas, pipes)
}

#[cfg(test)]
mod tests;

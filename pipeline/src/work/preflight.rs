//! The preflight worker: looks, tries, asks policies and approvals, and says whether a plan may run.
//!
//! What it decides is `workers::preflight`. An event is emitted when the verdict is another than the last one of the same plan, so that a change
//! that waits says so once. `preflight.verdict` is `go`, `wait` or `halt`. Whoever executes holds a *go* against what is true by then.
//!
//! It looks only at changes that came in by a request, and at none of which anything was executed.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use projector::approval::standing;
use schemas::ids::Phase;
use serde_json::{Value, json};
use workers::build::Sections;
use workers::policy::PolicyResult;
use workers::preflight::{self as decides, Answers, Check, Inputs, Kind, Outcome, PlannedError, Seen};

use super::aftermath::look;
use super::{Case, Emit, Next, Shop, WorkError, Worker};

/// The worker. See the module.
#[derive(Debug, Clone, Copy)]
pub struct Preflight;

/// Its name, which is its producer token: lanes' approvals come from it, so it is neither who plans nor who executes.
pub const NAME: &str = "preflight";

impl Worker for Preflight {
    fn name(&self) -> &'static str {
        NAME
    }

    fn listens_to(&self) -> &'static [Phase] {
        &[Phase::Plan, Phase::Preflight, Phase::Audit]
    }

    fn act<'a>(&'a self, shop: &'a Shop, case: &'a Case) -> BoxFuture<'a, Result<Next, WorkError>> {
        Box::pin(act(shop, case))
    }
}

async fn act(shop: &Shop, case: &Case) -> Result<Next, WorkError> {
    let attempt = case.attempt();
    let Some(payload) = due(case, attempt) else { return Ok(Next::Nothing) };
    let own: Vec<(u64, &Value)> = own(case, attempt).collect();
    let newest = case.entries.last().map(|stored| stored.index);
    if let Some((index, said)) = own.last()
        && Some(*index) == newest
        && let Some(next) = rests(said, shop.now_s())
    {
        return Ok(next);
    }
    let (sections, outcome) = judged(shop, case, payload).await?;
    let next = match &outcome {
        Outcome::Wait { until_s: Some(at), .. } => again(*at),
        _ => Next::Nothing,
    };
    let verdict = sections.get("preflight").cloned().unwrap_or_default();
    if own.last().is_some_and(|(_, said)| same(said, &verdict)) {
        return Ok(next);
    }
    let id = case.event_id(attempt, &format!("{NAME}.{}", own.len() + 1));
    shop.emit(case, Emit { id, phase: Phase::Preflight, attempt, sections }).await?;
    Ok(next)
}

/// The stored plan that is to be looked at, if there is one.
fn due(case: &Case, attempt: u64) -> Option<&Bytes> {
    case.request(attempt)?;
    if case.is_closed(attempt) || case.order(attempt).is_some_and(|(_, kind)| kind == "cancel") {
        return None;
    }
    // What has begun is the executor's.
    if case.of_attempt(attempt).any(|(_, event)| event["execution"].is_object()) {
        return None;
    }
    case.plan(attempt)?.0.payload.as_ref()
}

/// Verdicts of ours in an attempt, oldest first.
fn own(case: &Case, attempt: u64) -> impl Iterator<Item = (u64, &Value)> {
    let ours = case
        .of_attempt(attempt)
        .filter(|(stored, event)| stored.is_by(NAME) && event["preflight"]["verdict"].is_string());
    ours.map(|(stored, event)| (stored.index, &event["preflight"]))
}

/// What follows of a verdict behind which nothing has happened; none where its time has come.
fn rests(said: &Value, now_s: i64) -> Option<Next> {
    let Some(text) = said["looks_again"].as_str() else { return Some(Next::Nothing) };
    let at_s = schemas::time::seconds(text)?;
    (now_s < at_s).then(|| again(at_s))
}

fn again(at_s: i64) -> Next {
    Next::Again { at_ms: u64::try_from(at_s).unwrap_or_default().saturating_mul(1000) }
}

/// Whether two verdicts say the same: of the same plan, with the same reasons. Times and figures that move are not compared.
fn same(one: &Value, other: &Value) -> bool {
    let failed = |verdict: &Value| -> Vec<Value> {
        let checks = verdict["checks"].as_array().into_iter().flatten();
        checks.filter(|check| check["ok"] == Value::Bool(false)).cloned().collect()
    };
    let policies = |verdict: &Value| -> Vec<Value> {
        let results = verdict["policies"].as_array().into_iter().flatten();
        results
            .map(|result| json!([result["name"], result["package"], result["decision"], result["message"]]))
            .collect()
    };
    ["verdict", "plan_digest", "waits_for", "approvals_refused"].iter().all(|name| one[*name] == other[*name])
        && failed(one) == failed(other)
        && policies(one) == policies(other)
}

/// Looks at everything, and decides.
pub(super) async fn judged(shop: &Shop, case: &Case, payload: &Bytes) -> Result<(Sections, Outcome), WorkError> {
    let attempt = case.attempt();
    let planned = match shop.planned(payload) {
        Ok(planned) => case.held(attempt, Arc::unwrap_or_clone(planned)),
        Err(error) => return Ok((unreadable(payload, &error), Outcome::Halt)),
    };
    let environment = planned.environment.as_deref();
    // What the plan worker saw a moment ago, and everything else.
    let mut fresh = shop.fresh.take(case, shop.now_ms());
    let (mut known, mut open) = (Answers::new(), Vec::new());
    for question in planned.questions() {
        match fresh.remove(&question.argv) {
            Some(answer) => drop(known.insert(question.id, answer)),
            None => open.push(question),
        }
    }
    let mut looked = look(shop, environment, open).await?;
    looked.answers.extend(known);
    let mut seen = Seen::of(&planned, &looked.answers);
    let wanted = shop.config.preflight.dry_run;
    let dry_runs = if wanted { planned.dry_runs(&seen) } else { Vec::new() };
    let tried = look(shop, environment, dry_runs).await?;
    seen.held.extend(looked.insecure.union(&tried.insecure).map(|question| unchecked(question)));
    // Answers that were cut off say nothing about the world.
    if shop.stop.is_cancelled() {
        return Err(WorkError::Failed { what: "preflight".to_owned(), reason: "work is to end".to_owned() });
    }
    seen.add_dry_runs(&planned, &tried.answers, wanted);
    let context = shop.record.context(&case.tenant).await?;
    let now_ms = shop.now_ms();
    let standing = standing(&case.change, &case.views(), &context.rules, now_ms, &[]);
    let inputs = Inputs {
        planned: &planned,
        requested: case.requested(attempt),
        seen: &seen,
        config: &shop.config,
        catalogue: &shop.catalogue,
        standing: standing.as_ref(),
        rule: context.rules.at(u64::MAX),
        executor: None,
        now_s: i64::try_from(now_ms / 1000).unwrap_or(i64::MAX),
    };
    let policies = policies(shop, &inputs).await?;
    let digest = shop.policies.as_ref().and_then(|policies| policies.digest());
    let mut verdict = decides::verdict(&inputs, &policies, digest);
    if !looked.insecure.is_empty() || !tried.insecure.is_empty() {
        verdict.sections.add("preflight", json!({"tls_verified": false}));
    }
    Ok((verdict.sections, verdict.outcome))
}

/// A question that was answered by somebody whose certificate is not good.
fn unchecked(question: &str) -> Check {
    let message = "the certificate of whom was asked is not good; asked once more without checking certificates";
    Check { kind: Kind::Tool, subject: question.to_owned(), ok: None, message: message.to_owned() }
}

/// Evaluating takes its time, and a server more: not where others wait.
async fn policies(shop: &Shop, inputs: &Inputs<'_>) -> Result<Vec<PolicyResult>, WorkError> {
    let Some(policies) = shop.policies.clone() else { return Ok(Vec::new()) };
    let (input, now_s) = (decides::policy_input(inputs), inputs.now_s);
    let asked = tokio::task::spawn_blocking(move || policies.ask(&input, now_s)).await;
    asked.map_err(|error| WorkError::failed("the policies", &error))
}

/// A plan that nobody can look at halts, and says why.
fn unreadable(payload: &[u8], error: &PlannedError) -> Sections {
    let message = format!("{error}; plan again");
    let mut preflight = json!({
        "verdict": "halt",
        "checks": [{"type": "plan", "name": "the plan", "ok": false, "message": message}],
    });
    if let Some(digest) = schemas::plan::digest(payload) {
        preflight["plan_digest"] = digest.into();
    }
    let mut sections = Sections::new();
    sections.add("preflight", preflight);
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_compared_by_what_they_say() {
        let verdict = |word: &str, message: &str, risk: u64| {
            json!({"verdict": word, "plan_digest": "sha256:1", "risk": {"points": risk},
                "checks": [{"type": "tool", "name": "kubectl", "ok": false, "message": message}, {"type": "risk", "name": "risk", "ok": true}]})
        };
        assert!(same(&verdict("halt", "missing", 1), &verdict("halt", "missing", 2)));
        assert!(!same(&verdict("halt", "missing", 1), &verdict("wait", "missing", 1)));
        assert!(!same(&verdict("halt", "missing", 1), &verdict("halt", "too old", 1)));
    }

    #[test]
    fn a_verdict_with_a_time_rests_until_then() {
        let until = json!({"verdict": "wait", "looks_again": "2026-01-01T00:00:10Z"});
        let at_s = 1_767_225_610;
        assert_eq!(rests(&until, at_s - 1), Some(Next::Again { at_ms: 1_767_225_610_000 }));
        assert_eq!(rests(&until, at_s), None);
        assert_eq!(rests(&json!({"verdict": "halt"}), at_s), Some(Next::Nothing));
    }
}

//! Whether what preflight let go may still start: asked again right before, because approvals lapse and windows close.
//!
//! Nothing is looked at in the world here, so the risk is counted as if each step had something to do: it is never less than what preflight counted. Where that
//! asks for more than is there, preflight is asked again as a whole.

use projector::approval::{Rule, Standing};
use serde_json::Value;

use crate::approval::{self, Asked};
use crate::config::Config;
use crate::preflight::Planned;
use crate::risk;

use super::event::EXECUTOR;

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The stored plan.
    pub planned: &'a Planned,
    /// Section `preflight` of the verdict.
    pub verdict: &'a Value,
    /// The house's options.
    pub config: &'a Config,
    /// Approvals on record.
    pub standing: Option<&'a Standing>,
    /// The tenant's rule.
    pub rule: &'a Rule,
    /// Seconds since 1970.
    pub now_s: i64,
}

/// The answer: why it may not start, each; none where it may.
pub fn against(asking: &Asking<'_>) -> Vec<String> {
    let Asking { planned, verdict, config, .. } = asking;
    let mut reasons = Vec::new();
    if verdict["verdict"] != "go" {
        reasons.push(format!("the newest verdict of preflight is {}, not go", verdict["verdict"]));
    }
    if verdict["plan_digest"].as_str() != Some(&planned.digest) {
        reasons.push(format!("the verdict is of the plan {}, not of {}", verdict["plan_digest"], planned.digest));
    }
    let opening = config.calendar.at(planned.case(), planned.window, asking.now_s);
    if !opening.open {
        reasons.push(opening.text);
    }
    let all = |_: &str| true;
    let score = risk::score(&config.risk, planned, &all);
    let decided = verdict["policies"].as_array().into_iter().flatten();
    let advised: Vec<String> = decided
        .filter(|result| !matches!(result["decision"].as_str(), Some("allowed")))
        .map(|result| result["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    let lane = config.lanes.iter().find(|lane| lane.against(planned, &score, &advised, &all).is_empty());
    let judgement = approval::judge(
        &config.requirements(planned.case(), &score),
        &Asked {
            plan_digest: &planned.digest,
            executor: Some(EXECUTOR),
            lane: lane.map(|lane| lane.name.as_str()),
            standing: asking.standing,
            rule: asking.rule,
            names: &planned.approvals,
            now_ms: u64::try_from(asking.now_s).unwrap_or_default().saturating_mul(1000),
        },
    );
    reasons.extend(judgement.missing);
    reasons
}

//! Whether what preflight let go may still start: asked again right before, because approvals lapse and windows close.
//!
//! Nothing is looked at in the world here. What the record says of lanes is not believed: the lane is worked out again, over the plan that the catalogue makes of
//! what was asked for.

use projector::approval::{Rule, Standing};
use serde_json::Value;

use crate::approval::{self, Asked};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::lane;
use crate::preflight::{Planned, Requested};
use crate::risk;

use super::event::EXECUTOR;

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The stored plan.
    pub planned: &'a Planned,
    /// What was asked for.
    pub requested: Option<Requested<'a>>,
    /// The house's catalogue.
    pub catalogue: &'a Catalogue,
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
    reasons.extend(missing(asking));
    reasons
}

/// What is missing of the approvals that the house's options, the tenant's rule and the plan ask for. A lane stands in where it takes the plan.
pub fn missing(asking: &Asking<'_>) -> Vec<String> {
    let Asking { planned, verdict, config, .. } = asking;
    let score = risk::score(&config.risk, planned);
    let decided = verdict["policies"].as_array().into_iter().flatten();
    let advised: Vec<String> = decided
        .filter(|result| !matches!(result["decision"].as_str(), Some("allowed")))
        .map(|result| result["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    let foreign =
        if config.lanes.is_empty() { None } else { lane::foreign(planned, asking.requested, asking.catalogue) };
    let takes = |lane: &&lane::Lane| lane.against(planned, &score, &advised, foreign.as_deref()).is_empty();
    let lane = config.lanes.iter().find(takes).filter(|_| planned.violations.is_empty());
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
    judgement.missing
}

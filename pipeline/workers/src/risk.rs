//! The risk of a plan: points from 0 to 100, each with its reason. What counts how much is the house's (`[risk]`).
//!
//! Points are added up by factor, each factor up to a most of its own, so that many small steps never outweigh one deletion for ever.
//! Every step counts, also one that had nothing to do when it was looked at: by the time it runs it may have. It is a rule of thumb that decides who looks, never whether something is safe.

use std::collections::BTreeMap;

use schemas::ids::{ChangeClass, Environment};
use serde_json::{Value, json};

use crate::preflight::Planned;
use crate::table::{Entry, Read};

/// The most points.
pub const MOST: u64 = 100;

/// What is counted: its key, points for each, the most, and what each is.
const FACTORS: [(&str, u64, u64, &str); 9] = [
    ("delete", 15, 45, "deleted"),
    ("update", 5, 20, "changed while in use"),
    ("create", 1, 10, "made"),
    ("lasting", 5, 20, "not taken back by the rollback"),
    ("unchecked", 20, 40, "without a check of the catalogue"),
    ("affected", 5, 20, "affected"),
    ("security", 10, 10, "to note about security"),
    ("emergency", 20, 20, "an emergency"),
    ("asked", 20, 20, "of high risk, says whoever asked"),
];

/// What counts how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// Points of each factor's one.
    points: BTreeMap<&'static str, u64>,
    /// Points of environments.
    environments: BTreeMap<String, u64>,
    /// Points of an environment without some of its own.
    other: u64,
    /// From so many points on it is medium.
    pub medium: u64,
    /// From so many points on it is high.
    pub high: u64,
    /// With more points nothing runs.
    pub most: u64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            points: FACTORS.iter().map(|(key, points, ..)| (*key, *points)).collect(),
            environments: [("production".to_owned(), 30), ("prod".to_owned(), 30), ("staging".to_owned(), 10)].into(),
            other: 0,
            medium: 30,
            high: 60,
            most: MOST,
        }
    }
}

impl Weights {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        let factors = FACTORS.map(|(key, ..)| key);
        entry.only(&[&["environments", "other_environments", "medium", "high", "most"][..], &factors].concat())?;
        let mut weights = Self::default();
        for key in factors {
            if let Some(points) = entry.number_within(key, 0, MOST)? {
                weights.points.insert(key, points);
            }
        }
        if let Some(inner) = entry.inner("environments")? {
            for name in inner.table.keys() {
                if Environment::parse(name).is_err() {
                    return inner.wrong(name, format!("{name:?}"), "a name of an environment");
                }
                weights.environments.extend(inner.number_within(name, 0, MOST)?.map(|points| (name.clone(), points)));
            }
        }
        let own = [
            ("other_environments", &mut weights.other),
            ("medium", &mut weights.medium),
            ("high", &mut weights.high),
            ("most", &mut weights.most),
        ];
        for (key, place) in own {
            if let Some(found) = entry.number_within(key, 0, MOST)? {
                *place = found;
            }
        }
        if weights.medium > weights.high {
            return entry.wrong("medium", weights.medium.to_string(), format!("at most high, {}", weights.high));
        }
        Ok(weights)
    }
}

/// How risky.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    /// 0 to [`MOST`].
    pub points: u64,
    /// `low`, `medium` or `high`.
    pub level: &'static str,
    /// Factor, points, and why, in the order of the table.
    pub reasons: Vec<(&'static str, u64, String)>,
}

impl Score {
    /// As it stands in `preflight.risk`.
    pub fn document(&self) -> Value {
        let reason =
            |(factor, points, why): &(&str, u64, String)| json!({"factor": factor, "points": points, "why": why});
        json!({"points": self.points, "level": self.level, "reasons": self.reasons.iter().map(reason).collect::<Value>()})
    }
}

/// The risk of a plan.
pub fn score(weights: &Weights, planned: &Planned) -> Score {
    let mut score = Score::default();
    let (environment, points) = match planned.environment.as_deref() {
        Some(name) => {
            (format!("the environment is {name}"), weights.environments.get(name).copied().unwrap_or(weights.other))
        }
        // Whoever leaves it out gains nothing.
        None => {
            ("no environment is named".to_owned(), weights.environments.values().copied().max().unwrap_or_default())
        }
    };
    if points > 0 {
        score.reasons.push(("environment", points, environment));
    }
    for (key, _, most, is) in FACTORS {
        let who = counted(key, planned);
        let points = weights.points[key].saturating_mul(who.len() as u64).min(most.max(weights.points[key]));
        if points > 0 {
            let shown: Vec<&str> = who.iter().take(3).map(String::as_str).collect();
            let more = if who.len() > 3 { ", …" } else { "" };
            score.reasons.push((key, points, format!("{} {is}: {}{more}", who.len(), shown.join(", "))));
        }
    }
    score.points = score.reasons.iter().map(|(_, points, _)| points).sum::<u64>().min(MOST);
    score.level = match score.points {
        points if points >= weights.high => "high",
        points if points >= weights.medium => "medium",
        _ => "low",
    };
    score
}

/// What a factor counts, each by its name.
fn counted(factor: &str, planned: &Planned) -> Vec<String> {
    let steps = |wanted: &dyn Fn(&crate::preflight::Step) -> bool| {
        planned.steps.iter().filter(|step| wanted(step)).map(|step| step.id.clone()).collect()
    };
    match factor {
        "delete" | "update" | "create" => steps(&|step| step.action == factor),
        "unchecked" => steps(&|step| step.check.is_none()),
        "lasting" => planned.left.iter().map(|(step, _)| step.clone()).collect(),
        "affected" => planned.affected.clone(),
        "security" => planned.security.clone(),
        "emergency" if planned.class == Some(ChangeClass::Emergency) => vec!["the change".to_owned()],
        "asked" => {
            let word = planned.asked_risk.as_deref().map(str::to_lowercase);
            let is_high = word.as_deref().is_some_and(|word| ["high", "very high", "critical"].contains(&word));
            is_high.then(|| "the change".to_owned()).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::shipped;

    fn planned(event: &Value) -> Planned {
        let payload = json!({ "provisioning_event": event }).to_string();
        Planned::read(payload.as_bytes(), shipped()).unwrap()
    }

    fn told(weights: &str, event: &Value) -> (u64, &'static str, Vec<String>) {
        let table = crate::table::parse("test.toml", weights).unwrap();
        let weights = Weights::read(&Entry::whole("test.toml", &table)).unwrap();
        let score = score(&weights, &planned(event));
        let reasons = score.reasons.into_iter().map(|(factor, points, why)| format!("{factor} {points}: {why}"));
        (score.points, score.level, reasons.collect())
    }

    #[test]
    fn each_point_has_its_reason() {
        let step = |id: &str, action: &str| json!({"id": id, "action": action, "check": {"command": "kubectl-1.29 get --raw /readyz"}});
        let command = "kubectl-1.29 delete ns a";
        let event = json!({
            "environment": "production", "change_class": "emergency", "intent": {"risk": "HIGH"},
            "plan": {
                "commands": [command, command, command, command, command],
                "steps": [step("s/a", "delete"), step("s/b", "delete"), step("s/c", "delete"), step("s/d", "delete"), step("s/e", "create")],
                "impact": {"security": "Open to all."},
                "simulation": {"affected": {"shop": ["s/a"]}},
            },
            "rollback": {"plan": [], "left": [{"step": "s/a", "reason": "gone"}]},
        });
        let (points, level, reasons) = told("", &event);
        assert_eq!((points, level), (100, "high"));
        assert_eq!(
            reasons,
            [
                "environment 30: the environment is production",
                "delete 45: 4 deleted: s/a, s/b, s/c, …",
                "create 1: 1 made: s/e",
                "lasting 5: 1 not taken back by the rollback: s/a",
                "affected 5: 1 affected: shop",
                "security 10: 1 to note about security: Open to all.",
                "emergency 20: 1 an emergency: the change",
                "asked 20: 1 of high risk, says whoever asked: the change",
            ]
        );
    }

    #[test]
    fn weights_are_the_houses() {
        let bare = json!({"environment": "edge", "plan": {"commands": ["kubectl-1.29 delete ns a"]}});
        assert_eq!(
            told("", &bare),
            (20, "low", vec!["unchecked 20: 1 without a check of the catalogue: command 1".to_owned()])
        );
        let own = "unchecked = 50\nmedium = 60\nhigh = 90\n[environments]\nedge = 12\n";
        assert_eq!(told(own, &bare).0, 62);
        assert_eq!(told(own, &bare).1, "medium");
        assert_eq!(told("unchecked = 0\nother_environments = 7\n", &bare).0, 7);
        // Whoever names no environment gains nothing by it.
        let unnamed = json!({"plan": {"commands": ["kubectl-1.29 delete ns a"]}});
        assert_eq!(told("", &unnamed).2[0], "environment 30: no environment is named");
    }
}

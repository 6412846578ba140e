//! `verify/summary.json`: for each entry with a verification, how many checks, health checks and service levels held, and what drifted.

use serde::Serialize;

use crate::json::Node;
use crate::told::Event;

/// Words in the type or name of a check that looks at health, as the model's measures know them. Frozen with the report's version, so the
/// measures may learn more.
const HEALTH: [&str; 7] = ["health", "rollout", "status", "connectivity", "ready", "probe", "alive"];

#[derive(Serialize)]
struct Summary<'a> {
    rounds: &'a [Round],
}

/// One entry with a verification.
#[derive(Serialize)]
pub(super) struct Round {
    attempt: u64,
    checks: Tests,
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<Drift>,
    health: Tests,
    index: u64,
    slo: Tests,
}

#[derive(Default, Serialize)]
struct Tests {
    count: usize,
    failed: usize,
    passed: usize,
}

#[derive(Serialize)]
struct Drift {
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<usize>,
}

pub(super) fn json(rounds: &[Round]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json_canonicalizer::to_vec(&Summary { rounds })
}

/// What an event says of its verification.
pub(super) fn round(event: &Event<'_>) -> Option<Round> {
    let verification = event.get("verification");
    if !verification.exists() {
        return None;
    }
    let checks = verification.get("checks").list();
    let drift = verification.get("drift");
    Some(Round {
        attempt: event.attempt,
        drift: drift.exists().then(|| Drift {
            baseline_hash: text(drift.get("baseline_hash")),
            current_hash: text(drift.get("current_hash")),
            differences: drift.get("diff").exists().then(|| drift.get("diff").list().len()),
        }),
        health: Tests::of(checks.iter().filter(|check| looks_at_health(**check))),
        checks: Tests::of(checks.iter()),
        index: event.index(),
        slo: Tests::of(verification.get("slo").list().iter()),
    })
}

impl Tests {
    fn of<'n>(checks: impl Iterator<Item = &'n Node<'n>>) -> Self {
        let mut out = Self::default();
        for check in checks {
            let ok = check.get("ok").text();
            out.count += 1;
            out.passed += usize::from(ok == "true");
            out.failed += usize::from(ok == "false");
        }
        out
    }
}

fn looks_at_health(check: Node<'_>) -> bool {
    let said = ["type", "name"].map(|key| check.get(key).text().to_ascii_lowercase());
    HEALTH.iter().any(|word| said.iter().any(|text| text.contains(word)))
}

fn text(node: Node<'_>) -> Option<String> {
    node.is_text().then(|| node.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_counted_by_what_they_say() {
        let payload =
            br#"[{"type":"k8s_rollout_status","ok":true},{"name":"HEALTH","ok":false},{"ok":true},{"ok":null},{}]"#;
        let checks = Node::parse(payload).list();
        let all = Tests::of(checks.iter());
        let health = Tests::of(checks.iter().filter(|check| looks_at_health(**check)));
        assert_eq!((all.count, all.passed, all.failed), (5, 2, 1));
        assert_eq!((health.count, health.passed, health.failed), (2, 1, 1));
    }
}

//! The plan digest: what an approval binds to. FORMATS "Plan digest and approval".
//!
//! `sha256:` + hex SHA-256 of RFC 8785 of `{v:1, environment, target:{cloud, cluster_endpoint_id, resources}, commands,
//! dependency_graph, artifacts:[digests in order], rollback_plan}` of the event *as stored*. What the event does not have
//! is absent (a target without any of the three, too); an artifact without a digest holds its position as null.
//! Vectors with the canonical text: `vectors/plan_digest.json`.

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Document {
    provisioning_event: Event,
}

#[derive(Deserialize)]
struct Event {
    environment: Option<Value>,
    target: Option<Target>,
    plan: Option<Plan>,
    rollback: Option<Rollback>,
}

#[derive(Deserialize)]
struct Target {
    cloud: Option<Value>,
    cluster_endpoint_id: Option<Value>,
    resources: Option<Value>,
}

#[derive(Deserialize)]
struct Plan {
    commands: Option<Value>,
    dependency_graph: Option<Value>,
    artifacts: Option<Vec<Artifact>>,
}

#[derive(Deserialize)]
struct Artifact {
    digest: Option<String>,
}

#[derive(Deserialize)]
struct Rollback {
    plan: Option<Value>,
}

/// `sha256:…` of the plan in a stored event; `None` without a `plan`, or if the payload is no event.
pub fn digest(payload: &[u8]) -> Option<String> {
    let canonical = serde_json_canonicalizer::to_vec(&subject(payload)?).ok()?;
    let hash = Sha256::digest(&canonical);
    let mut text = String::from("sha256:");
    for byte in hash {
        text.extend([byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16).unwrap_or_default()));
    }
    Some(text)
}

/// What the digest is taken of.
fn subject(payload: &[u8]) -> Option<Value> {
    let event = serde_json::from_slice::<Document>(payload).ok()?.provisioning_event;
    let plan = event.plan?;
    let target = event.target.and_then(|target| {
        let target = present([
            ("cloud", target.cloud),
            ("cluster_endpoint_id", target.cluster_endpoint_id),
            ("resources", target.resources),
        ]);
        (!target.is_empty()).then_some(Value::Object(target))
    });
    let artifacts = plan.artifacts.map(|list| list.into_iter().map(|artifact| artifact.digest.map(Value::String)));
    let artifacts = artifacts.map(|digests| digests.map(Option::unwrap_or_default).collect());
    Some(Value::Object(present([
        ("v", Some(1.into())),
        ("environment", event.environment),
        ("target", target),
        ("commands", plan.commands),
        ("dependency_graph", plan.dependency_graph),
        ("artifacts", artifacts),
        ("rollback_plan", event.rollback.and_then(|rollback| rollback.plan)),
    ])))
}

fn present<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        event: Value,
        canonical: Option<String>,
        digest: Option<String>,
    }

    #[test]
    fn vectors() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("../vectors/plan_digest.json")).unwrap();
        for vector in vectors {
            let payload = serde_json::json!({"provisioning_event": vector.event}).to_string();
            let canonical =
                subject(payload.as_bytes()).map(|value| serde_json_canonicalizer::to_string(&value).unwrap());
            assert_eq!(canonical, vector.canonical, "{}", vector.name);
            assert_eq!(digest(payload.as_bytes()), vector.digest, "{}", vector.name);
        }
    }

    #[test]
    fn formatting_does_not_count_and_content_does() {
        let of = |text: &str| digest(text.as_bytes());
        let plain = of(r#"{"provisioning_event":{"environment":"prod","plan":{"commands":["a-b"]}}}"#);
        assert!(plain.is_some());
        assert_eq!(
            plain,
            of(
                "{ \"provisioning_event\" : {\"plan\":{\"commands\":[\"a\\u002db\"]},\"environment\":\"prod\",\"id\":\"x\"}}"
            )
        );
        assert_ne!(plain, of(r#"{"provisioning_event":{"environment":"staging","plan":{"commands":["a-b"]}}}"#));
        assert_ne!(plain, of(r#"{"provisioning_event":{"plan":{"commands":["a-b"]}}}"#));
    }

    #[test]
    fn without_a_plan() {
        assert_eq!(digest(br#"{"provisioning_event":{"id":"x"}}"#), None);
        assert_eq!(digest(b"[]"), None);
        assert_eq!(digest(b"\xff"), None);
    }
}

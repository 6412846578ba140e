//! The plan digest: what an approval binds to. FORMATS "Plan digest and approval".
//!
//! `sha256:` + hex SHA-256 of RFC 8785 of `{v:1, environment, target:{cloud, cluster_endpoint_id, resources}, commands,
//! dependency_graph, artifacts:[digests in order], rollback_plan}` of the event *as stored*. What the event does not have
//! is absent (a target without any of the three, too); an artifact without a digest holds its position as null.
//!
//! That leaves out what workers act on beside the commands: checks, waves, window, class, what a rollback leaves. A plan that states `digest_version: 2`
//! is covered whole: RFC 8785 of `{v:2, change_class, environment, plan, rollback, target}`, each as stored and absent where it is, of `plan` all but
//! [`BESIDE`]. The version is hashed, so no plan of one version has the digest of one of the other. A plan that states another version has no digest.
//! Vectors with the canonical text: `vectors/plan_digest.json`.

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// `plan.digest_version` of a plan that its digest covers whole.
pub const WHOLE: u64 = 2;

/// Members of `plan` that stand beside it, which [`WHOLE`] leaves out: its digest itself, how long it took and from what it was made, and what was seen of the world
/// when it was gone through. The same commands, run alike, have the same digest, whatever is there.
pub const BESIDE: [&str; 5] = ["catalogue", "compile_ms", "digest", "inputs_digest", "simulation"];

#[derive(Deserialize)]
struct Document<E> {
    provisioning_event: E,
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
struct Whole {
    change_class: Option<Value>,
    environment: Option<Value>,
    plan: Map<String, Value>,
    rollback: Option<Value>,
    target: Option<Value>,
}

#[derive(Deserialize)]
struct Plan {
    digest_version: Option<Value>,
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
    let hash = Sha256::digest(subject(payload)?);
    let mut text = String::from("sha256:");
    for byte in hash {
        text.extend([byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16).unwrap_or_default()));
    }
    Some(text)
}

/// What the digest is taken of, RFC 8785; `None` as for [`digest`].
pub fn subject(payload: &[u8]) -> Option<Vec<u8>> {
    let event: Event = read(payload)?;
    let plan = event.plan?;
    if let Some(version) = &plan.digest_version {
        return if is_whole(version) { whole(read(payload)?) } else { None };
    }
    let artifacts = plan.artifacts.map(|list| list.into_iter().map(|artifact| artifact.digest.map(Value::String)));
    let artifacts = artifacts.map(|digests| digests.map(Option::unwrap_or_default).collect());
    let mut out = Vec::with_capacity(512);
    out.push(b'{');
    member(&mut out, "artifacts", artifacts.as_ref())?;
    member(&mut out, "commands", plan.commands.as_ref())?;
    member(&mut out, "dependency_graph", plan.dependency_graph.as_ref())?;
    member(&mut out, "environment", event.environment.as_ref())?;
    member(&mut out, "rollback_plan", event.rollback.and_then(|rollback| rollback.plan).as_ref())?;
    if let Some(Target { cloud, cluster_endpoint_id, resources }) = &event.target
        && (cloud.is_some() || cluster_endpoint_id.is_some() || resources.is_some())
    {
        name(&mut out, "target");
        out.push(b'{');
        member(&mut out, "cloud", cloud.as_ref())?;
        member(&mut out, "cluster_endpoint_id", cluster_endpoint_id.as_ref())?;
        member(&mut out, "resources", resources.as_ref())?;
        out.push(b'}');
    }
    name(&mut out, "v");
    out.extend_from_slice(b"1}");
    Some(out)
}

/// Whether `plan.digest_version` says that the digest covers the whole plan.
pub fn is_whole(version: &Value) -> bool {
    version.as_u64() == Some(WHOLE)
}

fn read<E: for<'de> Deserialize<'de>>(payload: &[u8]) -> Option<E> {
    let document: Document<E> = serde_json::from_str(std::str::from_utf8(payload).ok()?).ok()?;
    Some(document.provisioning_event)
}

fn whole(event: Whole) -> Option<Vec<u8>> {
    let mut plan = event.plan;
    plan.retain(|name, _| !BESIDE.contains(&name.as_str()));
    let mut out = Vec::with_capacity(4096);
    out.push(b'{');
    member(&mut out, "change_class", event.change_class.as_ref())?;
    member(&mut out, "environment", event.environment.as_ref())?;
    member(&mut out, "plan", Some(&plan.into()))?;
    member(&mut out, "rollback", event.rollback.as_ref())?;
    member(&mut out, "target", event.target.as_ref())?;
    name(&mut out, "v");
    out.extend_from_slice(b"2}");
    Some(out)
}

/// A member of the object that is open.
fn member(out: &mut Vec<u8>, named: &str, value: Option<&Value>) -> Option<()> {
    let Some(value) = value else { return Some(()) };
    name(out, named);
    canonical(out, value)
}

fn name(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// RFC 8785 of a value. `serde_json_canonicalizer` writes the same (a test holds them equal) and was a quarter of the time in which views tell a
/// change; it is left what is easy to slip on, numbers.
fn canonical(out: &mut Vec<u8>, value: &Value) -> Option<()> {
    match value {
        Value::Number(_) => out.extend(serde_json_canonicalizer::to_vec(value).ok()?),
        Value::Array(items) => {
            out.push(b'[');
            for (item, place) in items.iter().zip(0..) {
                if place > 0 {
                    out.push(b',');
                }
                canonical(out, item)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for ((name, value), place) in members.into_iter().zip(0..) {
                if place > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name).ok()?;
                out.push(b':');
                canonical(out, value)?;
            }
            out.push(b'}');
        }
        // What a text escapes is the same in RFC 8785.
        Value::String(_) | Value::Bool(_) | Value::Null => serde_json::to_writer(out, value).ok()?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            let canonical = subject(payload.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
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

    /// Whatever an approver has not seen is another plan; how and when it was made is not.
    #[test]
    fn a_whole_plan_is_covered_whole() {
        let plain = serde_json::json!({"environment": "prod", "change_class": "normal", "target": {"cloud": "aws", "zone": "a"},
            "plan": {"digest_version": 2, "commands": ["a"], "steps": [{"id": "x/a", "check": {"command": "b", "then": "skip"}}],
                     "waves": [{"name": "one", "steps": ["x/a"]}], "window": {"start": "s", "end": "e"}, "approvals": ["owners"]},
            "rollback": {"plan": ["u"], "left": [{"step": "x/b", "reason": "r"}]}});
        let of = |event: &Value| digest(serde_json::json!({ "provisioning_event": event }).to_string().as_bytes());
        let covered = of(&plain);
        assert!(covered.is_some());
        let check = |pointer: &str, value: Value, covers: bool| {
            let mut event = plain.clone();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            event.pointer_mut(parent).unwrap()[member] = value;
            assert_eq!(of(&event) == covered, !covers, "{pointer}");
        };
        for pointer in [
            "/environment",
            "/change_class",
            "/target/zone",
            "/plan/commands",
            "/plan/steps/0/check/command",
            "/plan/steps/0/read_back",
            "/plan/steps/0/depends_on",
            "/plan/waves/0/steps",
            "/plan/window/end",
            "/plan/approvals",
            "/plan/anything",
            "/rollback/plan",
            "/rollback/left/0/step",
        ] {
            check(pointer, "other".into(), true);
        }
        for pointer in [
            "/plan/digest",
            "/plan/catalogue",
            "/plan/compile_ms",
            "/plan/inputs_digest",
            "/plan/simulation",
            "/id",
            "/intent",
        ] {
            check(pointer, "other".into(), false);
        }
        // Another version is none that anybody could have approved, and the first covers less.
        for version in [serde_json::json!(3), serde_json::json!("2"), serde_json::json!(1), serde_json::json!({})] {
            let mut event = plain.clone();
            event["plan"]["digest_version"] = version;
            assert_eq!(of(&event), None);
        }
        check("/plan/digest_version", Value::Null, true);
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,4}|[\u{0}-\u{20}\"\\\\\u{7f}\u{2028}]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            let name = "[a-cA-C]{0,2}|[\u{e000}-\u{ffff}\u{10000}-\u{10010}é\u{1}]{0,2}";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_is_what_the_library_writes(value in anything()) {
            let mut ours = Vec::new();
            canonical(&mut ours, &value).unwrap();
            prop_assert_eq!(String::from_utf8(ours).unwrap(), serde_json_canonicalizer::to_string(&value).unwrap());
        }
    }

    #[test]
    fn without_a_plan() {
        assert_eq!(digest(br#"{"provisioning_event":{"id":"x"}}"#), None);
        assert_eq!(digest(b"[]"), None);
        assert_eq!(digest(b"\xff"), None);
    }
}

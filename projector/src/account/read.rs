//! The sections of an event that measures look at and no fold does, read in one borrowed pass.
//!
//! What the model leaves open ("in any form") is only asked whether it says something: `null`, `false`, empty text, an empty list and
//! an empty object say nothing. A payload that holds another type than the schema allows gives nothing at all, as an erased one.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::facts::Text;

/// Reads a stored event; `None` where it cannot be read.
pub(super) fn read(payload: &[u8]) -> Option<Body<'_>> {
    serde_json::from_slice::<Document<'_>>(payload).ok().map(|document| document.provisioning_event)
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    provisioning_event: Body<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) fixes: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) intent: Option<Intent<'a>>,
    #[serde(borrow)]
    pub(super) target: Option<Target<'a>>,
    #[serde(borrow)]
    pub(super) plan: Option<Plan<'a>>,
    #[serde(borrow)]
    pub(super) preflight: Option<Preflight<'a>>,
    #[serde(borrow)]
    pub(super) execution: Option<Execution<'a>>,
    #[serde(borrow)]
    pub(super) verification: Option<Verification<'a>>,
    #[serde(borrow)]
    pub(super) rollback: Option<Rollback<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Intent<'a> {
    #[serde(borrow)]
    pub(super) request: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) ticket: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Target<'a> {
    #[serde(borrow)]
    pub(super) cloud: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) cluster_endpoint_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) resources: Option<Vec<Resource<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "`resource_group` is its name in events")]
pub(super) struct Resource<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) action: Option<Text<'a>>,
    /// Not of the schema, so of any type.
    #[serde(borrow)]
    pub(super) resource_group: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) namespace: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Plan<'a> {
    #[serde(borrow)]
    pub(super) inputs_digest: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) dependency_graph: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) artifacts: Option<Vec<Artifact<'a>>>,
    #[serde(borrow)]
    pub(super) impact: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) window: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) variant: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) simulation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) resources_needed: Option<&'a RawValue>,
    pub(super) compile_ms: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Artifact<'a> {
    #[serde(borrow)]
    pub(super) digest: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Preflight<'a> {
    #[serde(borrow)]
    pub(super) checks: Option<Vec<Check<'a>>>,
    #[serde(borrow)]
    pub(super) policies: Option<Vec<Policy<'a>>>,
    #[serde(borrow)]
    pub(super) risk: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) cost: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) quota: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Check<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    pub(super) ok: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Policy<'a> {
    pub(super) mandatory: Option<bool>,
    pub(super) ok: Option<bool>,
    #[serde(borrow)]
    pub(super) decision: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Execution<'a> {
    #[serde(rename = "mTLS")]
    pub(super) mtls: Option<bool>,
    #[serde(borrow)]
    pub(super) credentials: Option<Credentials<'a>>,
    #[serde(borrow)]
    pub(super) tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow)]
    pub(super) guards: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) waves: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) telemetry_ref: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) steps: Option<Vec<Step<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Credentials<'a> {
    #[serde(borrow)]
    pub(super) kind: Option<Text<'a>>,
    pub(super) ttl_s: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tool<'a> {
    #[serde(borrow)]
    pub(super) version: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) sha256: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Step<'a> {
    #[serde(borrow)]
    stdout: Option<&'a RawValue>,
    #[serde(borrow)]
    stderr: Option<&'a RawValue>,
    #[serde(borrow)]
    stdout_ref: Option<Text<'a>>,
    #[serde(borrow)]
    stderr_ref: Option<Text<'a>>,
    #[serde(borrow)]
    stdout_masked_sha256: Option<&'a RawValue>,
    #[serde(borrow)]
    stderr_masked_sha256: Option<&'a RawValue>,
}

impl Step<'_> {
    /// Whether what the step printed is in the ledger: its bytes (none is an answer, too), its digest, or a reference that holds one.
    pub(super) fn is_logged(&self) -> bool {
        let here = [self.stdout, self.stderr, self.stdout_masked_sha256, self.stderr_masked_sha256];
        let referred = [&self.stdout_ref, &self.stderr_ref];
        here.iter().any(Option::is_some) || referred.into_iter().flatten().any(|text| names_a_digest(text))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Verification<'a> {
    #[serde(borrow)]
    pub(super) checks: Option<Vec<Check<'a>>>,
    #[serde(borrow)]
    pub(super) slo: Option<Vec<Check<'a>>>,
    #[serde(borrow)]
    pub(super) drift: Option<Drift<'a>>,
    pub(super) duration_ms: Option<f64>,
    pub(super) wait_ms: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Drift<'a> {
    #[serde(borrow)]
    pub(super) baseline_hash: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) current_hash: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) diff: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) monitored: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Rollback<'a> {
    pub(super) available: Option<bool>,
    #[serde(borrow)]
    pub(super) plan: Option<Vec<Text<'a>>>,
}

/// Whether something of any form says anything.
pub(super) fn says(value: Option<&RawValue>) -> bool {
    let text = value.map_or("null", RawValue::get);
    let hollow = |open: char, close: char| {
        text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).is_some_and(|rest| rest.trim().is_empty())
    };
    !matches!(text, "null" | "false" | "\"\"") && !hollow('[', ']') && !hollow('{', '}')
}

/// The members of an object that say something; none where it is no object.
pub(super) fn members(value: Option<&RawValue>) -> Vec<String> {
    let object = value.and_then(|value| serde_json::from_str(value.get()).ok());
    let object: std::collections::BTreeMap<String, &RawValue> = object.unwrap_or_default();
    object.into_iter().filter(|(_, value)| says(Some(value))).map(|(name, _)| name).collect()
}

/// `sha256:` and 64 hex digits, anywhere in a reference.
fn names_a_digest(reference: &str) -> bool {
    reference.match_indices("sha256:").any(|(at, word)| {
        let digits = reference[at + word.len()..].bytes().take_while(u8::is_ascii_hexdigit).count();
        digits >= 64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for hollow in ["null", "false", "\"\"", "[]", "[ ]", "{}", "{ \n}"] {
            assert!(!says(Some(&raw(hollow))), "{hollow}");
        }
        for full in ["true", "0", "\"x\"", "[0]", "{\"a\":1}", "\"false\""] {
            assert!(says(Some(&raw(full))), "{full}");
        }
        assert!(!says(None));
        assert_eq!(members(Some(&raw(r#"{"retries":3,"off":false,"timeout_s":30}"#))), ["retries", "timeout_s"]);
        assert!(members(Some(&raw("[1]"))).is_empty());
    }

    #[test]
    fn a_log_is_bytes_or_a_digest() {
        let logged = |text: &str| serde_json::from_str::<Step<'_>>(text).unwrap().is_logged();
        let digest = "ab".repeat(32);
        assert!(logged(r#"{"stdout":""}"#));
        assert!(logged(r#"{"stderr":"x"}"#));
        assert!(logged(&format!(r#"{{"stdout_masked_sha256":"{digest}"}}"#)));
        assert!(logged(&format!(r#"{{"stdout_ref":"obs://logs/rg#sha256:{digest}"}}"#)));
        assert!(!logged(r#"{"stdout_ref":"obs://logs/rg"}"#));
        assert!(!logged(r#"{"stdout_ref":"sha256:abcd"}"#));
        assert!(!logged(r#"{"rc":0}"#));
    }
}

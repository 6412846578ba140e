//! Whether what an event gives in any form says something.
//!
//! `null`, `false`, empty text, an empty list and an empty object say nothing.

use std::collections::BTreeMap;

use schemas::event::{Any, Step};

/// Whether something of any form says anything.
pub(super) fn says(value: Option<Any<'_>>) -> bool {
    let text = value.map_or("null", Any::json);
    let hollow = |open: char, close: char| {
        text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).is_some_and(|rest| rest.trim().is_empty())
    };
    !matches!(text, "null" | "false" | "\"\"") && !hollow('[', ']') && !hollow('{', '}')
}

/// The members of an object that say something; none where it is no object.
pub(super) fn members(value: Option<Any<'_>>) -> Vec<String> {
    let object: BTreeMap<String, Option<Any<'_>>> = value.and_then(Any::read).unwrap_or_default();
    object.into_iter().filter(|(_, value)| says(*value)).map(|(name, _)| name).collect()
}

/// Whether what a step printed is in the ledger: its bytes (none is an answer, too), its digest, or a reference that holds one.
pub(crate) fn is_logged(step: &Step<'_>) -> bool {
    let here = [step.stdout, step.stderr, step.stdout_masked_sha256, step.stderr_masked_sha256];
    let referred = [&step.stdout_ref, &step.stderr_ref];
    here.iter().any(Option::is_some) || referred.into_iter().flatten().any(|text| names_a_digest(text))
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
        let any = |text: &'static str| serde_json::from_str::<Option<Any<'_>>>(text).unwrap();
        for hollow in ["null", "false", "\"\"", "[]", "[ ]", "{}", "{ \n}"] {
            assert!(!says(any(hollow)), "{hollow}");
        }
        for full in ["true", "0", "\"x\"", "[0]", "{\"a\":1}", "\"false\""] {
            assert!(says(any(full)), "{full}");
        }
        assert!(!says(None));
        assert_eq!(members(any(r#"{"retries":3,"off":false,"timeout_s":30}"#)), ["retries", "timeout_s"]);
        assert!(members(any("[1]")).is_empty());
    }

    #[test]
    fn a_log_is_bytes_or_a_digest() {
        let logged = |text: &str| is_logged(&serde_json::from_str(text).unwrap());
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

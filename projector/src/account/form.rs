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

/// Whether what a step printed is in the ledger: each stream that it states (one at least) whole, or by its digest. That nothing was printed is an empty
/// text, or 0 bytes.
pub(crate) fn is_logged(step: &Step<'_>) -> bool {
    let streams = [
        Stream {
            text: step.stdout.is_some(),
            cut: step.stdout_trunc == Some(true),
            digest: step.stdout_masked_sha256,
            bytes: step.stdout_bytes,
            reference: step.stdout_ref.as_deref(),
        },
        Stream {
            text: step.stderr.is_some(),
            cut: step.stderr_trunc == Some(true),
            digest: step.stderr_masked_sha256,
            bytes: step.stderr_bytes,
            reference: step.stderr_ref.as_deref(),
        },
    ];
    let mut stated = streams.iter().filter(|stream| stream.is_stated()).peekable();
    stated.peek().is_some() && stated.all(Stream::is_kept)
}

/// What a step says of its output, or of its errors.
struct Stream<'a> {
    text: bool,
    cut: bool,
    digest: Option<Any<'a>>,
    bytes: Option<Any<'a>>,
    reference: Option<&'a str>,
}

impl Stream<'_> {
    fn is_stated(&self) -> bool {
        self.text || self.cut || self.digest.is_some() || self.bytes.is_some() || self.reference.is_some()
    }

    fn is_kept(&self) -> bool {
        let digest = self.digest.and_then(Any::read::<String>);
        self.text && !self.cut
            || digest.is_some_and(|text| is_digest(text.strip_prefix("sha256:").unwrap_or(&text)))
            || self.reference.is_some_and(names_a_digest)
            || self.bytes.is_some_and(|bytes| bytes.read::<f64>() == Some(0.0))
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
        assert!(logged(r#"{"stdout_bytes":0,"stdout_trunc":false,"stderr":"x"}"#));
        assert!(!logged(r#"{"stdout_trunc":false}"#));
    }

    /// One stream that is kept says nothing of the other, and a beginning is not the whole.
    #[test]
    fn every_stream_that_is_stated_is_whole_or_by_digest() {
        let logged = |text: &str| is_logged(&serde_json::from_str(text).unwrap());
        let digest = "ab".repeat(32);
        assert!(!logged(r#"{"stdout_ref":"obs://logs/1","stderr":""}"#));
        assert!(!logged(r#"{"stdout":"first","stdout_trunc":true}"#));
        assert!(!logged(r#"{"stdout":"all","stderr_trunc":true}"#));
        assert!(!logged(r#"{"stdout":"all","stderr_bytes":17}"#));
        assert!(!logged(r#"{"stdout_masked_sha256":""}"#));
        assert!(!logged(r#"{"stdout_masked_sha256":7}"#));
        assert!(logged(&format!(r#"{{"stdout":"first","stdout_trunc":true,"stdout_masked_sha256":"{digest}"}}"#)));
        assert!(logged(&format!(r#"{{"stdout":"","stderr_trunc":true,"stderr_ref":"obs://e#sha256:{digest}"}}"#)));
        assert!(!logged(&format!(r#"{{"stderr":"x","stdout_ref":"obs://a","stderr_masked_sha256":"{digest}"}}"#)));
    }
}

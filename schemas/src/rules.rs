//! The published rules, by the SHA-256 of their file: the name that entry headers carry.
//!
//! A header says by which rules its payload was admitted, so every file that was ever published stays in the binary and
//! is never altered. What the newest one says about words and redaction is read from it, here and in [`crate::redact`].

use std::sync::LazyLock;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One published version of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// SHA-256 of the file.
    pub name: [u8; 32],
    /// The file.
    pub text: &'static str,
}

/// Every file that was published, oldest first.
const PUBLISHED: [&str; 1] = [include_str!("../rules/1.json")];

static ALL: LazyLock<[Rules; PUBLISHED.len()]> =
    LazyLock::new(|| PUBLISHED.map(|text| Rules { name: Sha256::digest(text.as_bytes()).into(), text }));

/// The rules that this version admits by: the newest.
pub fn current() -> &'static Rules {
    &ALL[PUBLISHED.len() - 1]
}

/// A published version by its name; `None` if this binary does not carry it.
pub fn by_name(name: &[u8; 32]) -> Option<&'static Rules> {
    ALL.iter().find(|rules| rules.name == *name)
}

#[derive(Deserialize)]
struct Document {
    outcome: Words,
}

#[derive(Deserialize)]
struct Words {
    refusal: Vec<String>,
    failure: Vec<String>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is compiled in, and tests read it")]
    let document: Document = serde_json::from_str(current().text).expect("the rules file has its lists of words");
    document.outcome
});

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a word of a decision (an approval's, a policy's) means no.
pub fn is_refusal(word: &str) -> bool {
    has(&WORDS.refusal, word)
}

/// Whether a word of an executed rollback's outcome means that it failed.
pub fn is_failure(word: &str) -> bool {
    has(&WORDS.failure, word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{self, ChangeId, Environment, EventId, Tenant};
    use crate::reason::Reason;

    #[test]
    fn a_name_leads_to_its_file() {
        let rules = current();
        assert_eq!(by_name(&rules.name), Some(rules));
        assert_eq!(by_name(&[0; 32]), None);
    }

    #[test]
    fn words_without_case() {
        assert!(is_refusal("Rejected") && !is_refusal("approved") && !is_refusal(""));
        assert!(is_failure("FAILED") && !is_failure("succeeded"));
    }

    #[test]
    fn the_file_says_what_the_code_does() {
        let file: serde_json::Value = serde_json::from_str(current().text).unwrap();
        let limits = serde_json::json!({
            "bytes": ids::MAX_EVENT_BYTES, "depth": crate::admit::MAX_DEPTH, "integer": 1_u64 << 53,
            "id_bytes": EventId::MAX_BYTES, "change_id_bytes": ChangeId::MAX_BYTES,
            "environment_bytes": Environment::MAX_BYTES, "tenant_bytes": Tenant::MAX_BYTES,
        });
        assert_eq!(file["limits"], limits);
        let reasons: Vec<_> =
            Reason::ALL.iter().map(|reason| reason.as_str()).filter(|word| !word.starts_with("control_")).collect();
        assert_eq!(file["reasons"], serde_json::json!(reasons));
        let schema = Sha256::digest(crate::admit::SCHEMA.as_bytes());
        let named = file["schema"]["sha256"].as_str().unwrap();
        let bytes: Vec<_> = (0..32).map(|at| u8::from_str_radix(&named[2 * at..2 * at + 2], 16).unwrap()).collect();
        assert_eq!((bytes.as_slice(), named.len()), (&schema[..], 64));
        let schema: serde_json::Value = serde_json::from_str(crate::admit::SCHEMA).unwrap();
        assert_eq!(file["schema"]["$id"], schema["$id"]);
    }
}

//! `pack.json`: what a pack is and of what it is a function (FORMATS, "Receipt, pack, population").
//!
//! Its bytes are RFC 8785, so there is one text for one meaning. Members that a later pack may carry and this version never
//! writes (`erasures`) are kept as they are and make a verification undecided, never refuted.

use projector::approval::Since;
use schemas::admit::MAX_DEPTH;
use schemas::object::{ObjectRef, parse_digest};
use schemas::scan::{Limits, Tape};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Format of packs written here.
pub const FORMAT: u32 = 1;
/// Version of everything derived for people and scripts but `change.json`: `index.html`, `VERIFY.md` and the five parts.
/// Frozen: a change to their bytes is a new version.
pub const REPORT_VERSION: u32 = 1;

/// The content of `pack.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackDocument {
    /// Format of the pack: [`FORMAT`].
    pub format: u32,
    /// Version of the fold behind `change.json`.
    pub fold: u32,
    /// Version of the derived files: [`REPORT_VERSION`].
    pub report: u32,
    /// Origin of the log.
    pub origin: String,
    /// The change.
    pub change: String,
    /// The log's time of its entry `size − 1`, in milliseconds: what `change.json` says to be missing, it says as of then.
    pub as_of_ms: u64,
    /// The tenant's rule of approvals over the life of the log, by which `change.json` judges; empty: the default. The log's holder says so.
    pub approval_rules: Vec<Since>,
    /// Size of the tree under which everything is proved.
    pub size: u64,
    /// Its root, lowercase hex.
    pub root: String,
    /// The entries of the change below `size`, oldest first.
    pub entries: Vec<EntryRef>,
    /// Cosignatures that the checkpoint carries below the log's own line: each line as a text, without its newline.
    pub cosignatures: Vec<Value>,
    /// Erasures that concern these entries; none are written yet.
    pub erasures: Vec<Value>,
    /// Objects that events refer to and that the pack carries, by digest.
    pub objects: Vec<Object>,
}

/// One entry of the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryRef {
    /// Its index in the log.
    pub index: u64,
    /// Salt of its commitment, 16 bytes as lowercase hex; absent when the payload was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// An object that is kept beside events, such as a step's full output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// SHA-256 of its bytes, as lowercase hex.
    #[serde(serialize_with = "as_hex", deserialize_with = "from_hex")]
    pub sha256: [u8; 32],
    /// Their number.
    pub size: u64,
}

impl Object {
    /// What a reference says of its object.
    pub fn of(reference: &ObjectRef) -> Self {
        Self { sha256: reference.sha256, size: reference.size }
    }

    /// Its digest in lowercase hex.
    pub fn hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

fn as_hex<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(digest))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_digest(&text).ok_or_else(|| serde::de::Error::custom("sha256: expected 64 lowercase hex digits"))
}

/// Why a `pack.json` cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A format this version does not know: cannot be decided here.
    #[error("pack format {found}, this verifier knows {FORMAT}: check the pack with a newer one")]
    NewerFormat {
        /// The format found.
        found: u64,
    },
    /// Not a pack.json.
    #[error("pack.json is malformed: {0}")]
    Malformed(String),
    /// The right content in other bytes.
    #[error("pack.json is not RFC 8785 JSON: other bytes for the same content")]
    NotCanonical,
}

impl PackDocument {
    /// The bytes of `pack.json`.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json_canonicalizer::to_vec(self)
    }

    /// Reads a `pack.json`: closed, canonical, of the known format.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let malformed = |error: serde_json::Error| DocumentError::Malformed(error.to_string());
        // What may hold any JSON (cosignatures, erasures) is no deeper and no more ambiguous than an event.
        let limits = Limits { bytes: bytes.len(), depth: MAX_DEPTH };
        Tape::default().scan(bytes, limits).map_err(|fault| DocumentError::Malformed(fault.to_string()))?;
        let Format { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format > u64::from(FORMAT) {
            return Err(DocumentError::NewerFormat { found: format });
        }
        let document: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if document.format != FORMAT {
            return Err(DocumentError::Malformed(format!("format {format} never existed")));
        }
        // What was never written needs no newer verifier.
        if document.fold == 0 || document.report == 0 {
            return Err(DocumentError::Malformed("version 0 of fold or report never existed".to_owned()));
        }
        if document.to_json().map_err(malformed)? != bytes {
            return Err(DocumentError::NotCanonical);
        }
        Ok(document)
    }
}

/// The one member that every future format keeps.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"approval_rules":[],"as_of_ms":1,"change":"c-1","cosignatures":[],"entries":[{"index":3,"salt":"000102030405060708090a0b0c0d0e0f"},{"index":9}],"erasures":[],"fold":1,"format":1,"objects":[],"origin":"l/acme","report":1,"root":"00","size":10}"#;

    #[test]
    fn one_text_for_one_meaning() {
        let document = PackDocument::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(document.entries[1], EntryRef { index: 9, salt: None });
        assert_eq!(document.to_json().unwrap(), GOOD.as_bytes());
    }

    #[test]
    fn hostile_documents_are_refused() {
        fn check(from: &str, to: &str, expect: &str) {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "the case {from:?} changes nothing");
            let error = PackDocument::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
        check(r#""format":1"#, r#""format":2"#, "pack format 2");
        check(r#""format":1"#, r#""format":0"#, "never existed");
        check(r#""fold":1"#, r#""fold":0"#, "never existed");
        check(r#""report":1"#, r#""report":0"#, "never existed");
        check(r#""format":1"#, r#""format":1,"format":1"#, "duplicate_key");
        check(r#""fold":1"#, r#""fold":1,"extra":1"#, "unknown field");
        check(r#""index":9"#, r#""index":9,"salt":null"#, "not RFC 8785");
        check(r#""fold":1"#, r#""fold": 1"#, "not RFC 8785");
        check(r#""size":10"#, r#""size":10.0"#, "malformed");
        check(r#""size":10"#, r#""size":-1"#, "malformed");
        check("}", "}x", "malformed");
    }
}

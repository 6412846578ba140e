//! `attestation.sigstore.json`: a Sigstore bundle v0.3 with one DSSE signature over an in-toto Statement v1 whose only
//! subject is `SHA256SUMS`, so that `cosign verify-blob-attestation` can check a pack without us.
//!
//! Follows sigstore/protobuf-specs `sigstore_bundle.proto` (media type v0.3), secure-systems-lab/dsse and in-toto/attestation
//! `spec/v1/statement.md`. The bytes are RFC 8785 and everything in them but the signature follows from the pack, so the
//! reader accepts one text only. Leaves out certificates, transparency-log entries and time stamps: the key is managed.

use base64::{Engine, prelude::BASE64_STANDARD};
use ledger::key::PublicKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of the file in a pack.
pub(crate) const NAME: &str = "attestation.sigstore.json";
/// Type of the predicate, as given to `cosign … --type`.
pub const PREDICATE_TYPE: &str = "urn:upm-ledger:evidence-pack:v1";
/// DSSE payload type of an in-toto statement.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What the statement says about `SHA256SUMS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Predicate {
    pub(crate) origin: String,
    pub(crate) change: String,
    pub(crate) size: u64,
    /// Root of the log's tree at `size`, lowercase hex.
    pub(crate) root: String,
    pub(crate) format: u32,
    /// RFC 6962 root over the lines of `SHA256SUMS`, lowercase hex.
    pub(crate) files_root: String,
}

/// A bundle, read: what was signed and the signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attestation {
    /// The statement's bytes, as signed.
    pub(crate) statement: Vec<u8>,
    pub(crate) signature: [u8; 64],
    /// Base64 SHA-256 of the signer's `SubjectPublicKeyInfo`.
    pub(crate) hint: String,
}

/// Why a bundle is not one of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    #[error("malformed: {0}")]
    Malformed(String),
    #[error("{field} is {found:?}, expected {expected:?}")]
    Field { field: &'static str, found: String, expected: String },
    #[error("it has {found} signatures, expected exactly one")]
    Signatures { found: usize },
    #[error("{field} is not standard base64")]
    Base64 { field: &'static str },
    #[error("the signature has {found} bytes, expected 64")]
    SignatureLength { found: usize },
    #[error("the same bundle in other bytes: not RFC 8785 JSON")]
    NotCanonical,
}

/// The statement over `sums`, the bytes of `SHA256SUMS`.
pub(crate) fn statement(sums: &[u8], predicate: &Predicate) -> Result<Vec<u8>, serde_json::Error> {
    statement_of(sums, PREDICATE_TYPE, predicate)
}

/// The statement over `sums` with a predicate of another type.
pub(crate) fn statement_of<P: Serialize>(
    sums: &[u8],
    predicate_type: &str,
    predicate: &P,
) -> Result<Vec<u8>, serde_json::Error> {
    let digest = hex::encode(Sha256::digest(sums));
    serde_json_canonicalizer::to_vec(&Statement {
        type_: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject { name: crate::sums::NAME.to_owned(), digest: SubjectDigest { sha256: digest } }],
        predicate_type: predicate_type.to_owned(),
        predicate,
    })
}

/// The hint by which a bundle names its key.
pub(crate) fn hint(key: &PublicKey) -> String {
    BASE64_STANDARD.encode(Sha256::digest(key.spki_der()))
}

impl Attestation {
    /// The bytes of the bundle.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json_canonicalizer::to_vec(&Bundle {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material { public_key: PublicKeyHint { hint: self.hint.clone() } },
            dsse_envelope: Envelope {
                payload: BASE64_STANDARD.encode(&self.statement),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: vec![Signature { sig: BASE64_STANDARD.encode(self.signature) }],
            },
        })
    }

    /// Reads a bundle; accepts only what [`Attestation::to_json`] gives.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, AttestError> {
        let malformed = |error: serde_json::Error| AttestError::Malformed(error.to_string());
        let bundle: Bundle = serde_json::from_slice(bytes).map_err(malformed)?;
        field("mediaType", &bundle.media_type, MEDIA_TYPE)?;
        field("payloadType", &bundle.dsse_envelope.payload_type, PAYLOAD_TYPE)?;
        let [signature] = bundle.dsse_envelope.signatures.as_slice() else {
            return Err(AttestError::Signatures { found: bundle.dsse_envelope.signatures.len() });
        };
        let decode = |field, text: &str| BASE64_STANDARD.decode(text).map_err(|_| AttestError::Base64 { field });
        let signature = decode("sig", &signature.sig)?;
        let attestation = Self {
            statement: decode("payload", &bundle.dsse_envelope.payload)?,
            signature: signature.try_into().map_err(|s: Vec<u8>| AttestError::SignatureLength { found: s.len() })?,
            hint: bundle.verification_material.public_key.hint,
        };
        if attestation.to_json().map_err(malformed)? != bytes {
            return Err(AttestError::NotCanonical);
        }
        Ok(attestation)
    }
}

fn field(field: &'static str, found: &str, expected: &str) -> Result<(), AttestError> {
    if found == expected {
        return Ok(());
    }
    Err(AttestError::Field { field, found: found.to_owned(), expected: expected.to_owned() })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: PublicKeyHint,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyHint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

/// Without `keyid`: cosign skips a signature whose key id it does not know.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
}

#[derive(Serialize)]
struct Statement<'a, P> {
    #[serde(rename = "_type")]
    type_: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: &'a P,
}

#[derive(Serialize)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Serialize)]
struct SubjectDigest {
    sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Attestation {
        Attestation { statement: b"{}".to_vec(), signature: [7; 64], hint: "aGludA==".to_owned() }
    }

    #[test]
    fn json_and_parse_are_inverse() {
        let bytes = example().to_json().unwrap();
        assert_eq!(Attestation::parse(&bytes).unwrap(), example());
    }

    #[test]
    fn other_bundles_are_refused() {
        let good = String::from_utf8(example().to_json().unwrap()).unwrap();
        let check = |from: &str, to: &str, expect: &str| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "the case {from:?} changes nothing");
            let error = Attestation::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        };
        check("v0.3", "v0.4", "mediaType");
        check("in-toto", "in-tata", "payloadType");
        check(r#""signatures":[{"#, r#""signatures":[{"sig":""},{"#, "2 signatures");
        check(r#""signatures":[{"#, r#""signatures":[{"keyid":"","#, "unknown field");
        check(r#""payload":"e30=""#, r#""payload":"e30""#, "payload is not standard base64");
        check(r#""payload":"e30=""#, r#""payload":"e31=""#, "payload is not standard base64");
        check(r#""payload":"e30=""#, r#""payload":"e30=","payload":"e30=""#, "duplicate field");
        check(r#"{"dsse"#, r#"{ "dsse"#, "not RFC 8785");
        check("BwcH", "", "61 bytes");
    }

    #[test]
    fn the_statement_has_one_subject_and_the_predicate_of_formats() {
        let predicate = Predicate {
            origin: "l/acme".into(),
            change: "c-1".into(),
            size: 9,
            root: "00".into(),
            format: 1,
            files_root: "11".into(),
        };
        assert_eq!(
            String::from_utf8(statement(b"", &predicate).unwrap()).unwrap(),
            concat!(
                r#"{"_type":"https://in-toto.io/Statement/v1","predicate":{"change":"c-1","files_root":"11","format":1,"#,
                r#""origin":"l/acme","root":"00","size":9},"predicateType":"urn:upm-ledger:evidence-pack:v1","subject":[{"digest":"#,
                r#"{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"name":"SHA256SUMS"}]}"#
            )
        );
    }
}

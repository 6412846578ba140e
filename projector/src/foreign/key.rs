//! A managed key of somebody else: ECDSA over P-256 or Ed25519, as a `SubjectPublicKeyInfo`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ledger::key::PublicKey;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use sha2::{Digest as _, Sha256};

/// What the DER of an Ed25519 `SubjectPublicKeyInfo` begins with (RFC 8410); 32 bytes of key follow.
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A public key that foreign evidence may be signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    der: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    P256(VerifyingKey),
    Ed25519(PublicKey),
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a public key of ECDSA P-256 or Ed25519, as PEM `PUBLIC KEY` or its base64 alone")]
pub struct ForeignKeyError;

impl ForeignKey {
    /// Reads a PEM `PUBLIC KEY`, or the base64 between its lines.
    pub fn parse(text: &str) -> Result<Self, ForeignKeyError> {
        let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
        let der = BASE64_STANDARD.decode(body).map_err(|_| ForeignKeyError)?;
        let kind = match der.strip_prefix(ED25519_SPKI) {
            Some(key) => {
                let key = key.try_into().map_err(|_| ForeignKeyError)?;
                Kind::Ed25519(PublicKey::from_bytes(key).map_err(|_| ForeignKeyError)?)
            }
            None => Kind::P256(VerifyingKey::from_public_key_der(&der).map_err(|_| ForeignKeyError)?),
        };
        Ok(Self { der, kind })
    }

    /// The key on one line: base64 of its `SubjectPublicKeyInfo`.
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(&self.der)
    }

    /// How a Sigstore bundle names it: base64 of the SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn hint(&self) -> String {
        BASE64_STANDARD.encode(Sha256::digest(&self.der))
    }

    /// Whether it signed these bytes: ECDSA in ASN.1 over their SHA-256, or Ed25519.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::P256(key) => {
                Signature::from_der(signature).is_ok_and(|signature| key.verify(signed, &signature).is_ok())
            }
            Kind::Ed25519(key) => signature.try_into().is_ok_and(|signature| key.verify(signed, signature).is_ok()),
        }
    }

    /// Whether a signature by it can be checked by the SHA-256 of what was signed.
    pub(super) fn signs_digests(&self) -> bool {
        matches!(self.kind, Kind::P256(_))
    }

    /// Whether it signed what has this SHA-256.
    pub(super) fn verify_digest(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        let Kind::P256(key) = &self.kind else { return false };
        Signature::from_der(signature).is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
    }
}

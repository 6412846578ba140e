//! Ed25519 public keys, and the texts they travel in: typed base64 (C2SP vkeys, the log's first entry) and SPKI PEM.
//!
//! Signatures are checked with `verify_strict`, which refuses the small-order keys and points that would let one signature
//! fit several messages. Secret keys are in [`crate::signing`].

use std::fmt;

use ed25519_dalek::pkcs8::DecodePublicKey;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding;

/// The byte that C2SP signed-note puts before an Ed25519 public key.
pub const ED25519: u8 = 0x01;

/// DER of an Ed25519 `SubjectPublicKeyInfo` (RFC 8410 §4) up to the 32 bytes of the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key: the 32 bytes of a point on the curve that is not of small order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// A text or bytes that are no Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64 of a type byte and 32 bytes.
    #[error("a public key is base64 of the byte 01 and 32 bytes; found {0:?}")]
    NotTyped(String),
    /// A key of a type that is not known here.
    #[error("key type {0:#04x} is not supported, only 0x01 (Ed25519) is")]
    Type(u8),
    /// Not a point on the curve, or one of small order.
    #[error("the 32 bytes are no usable Ed25519 public key")]
    Point,
    /// Not an SPKI PEM of an Ed25519 key.
    #[error("not a PEM public key (SPKI) of Ed25519: {0}")]
    Pem(String),
}

/// The signature does not fit key and message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit key and message")]
pub struct BadSignature;

impl PublicKey {
    /// A key of its 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() { Err(KeyError::Point) } else { Ok(PublicKey(*bytes)) }
    }

    /// The 32 bytes, RFC 8032 §5.1.5.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Base64 of 01 ‖ key, as a log's first entry and a vkey write it.
    pub fn typed_base64(&self) -> String {
        let mut typed = [ED25519; 33];
        typed[1..].copy_from_slice(self.as_bytes());
        encoding::to_base64(&typed)
    }

    /// The key that [`PublicKey::typed_base64`] wrote.
    pub fn from_typed_base64(text: &str) -> Result<PublicKey, KeyError> {
        let not_typed = || KeyError::NotTyped(text.chars().take(80).collect());
        let bytes = encoding::from_base64(text).ok_or_else(not_typed)?;
        match bytes.split_first() {
            Some((&ED25519, key)) => PublicKey::from_bytes(key.try_into().map_err(|_| not_typed())?),
            Some((&other, _)) => Err(KeyError::Type(other)),
            None => Err(not_typed()),
        }
    }

    /// DER of the `SubjectPublicKeyInfo`, RFC 8410.
    pub fn spki_der(&self) -> [u8; 44] {
        let mut der = [0; 44];
        der[..12].copy_from_slice(&SPKI_PREFIX);
        der[12..].copy_from_slice(self.as_bytes());
        der
    }

    /// PEM of the `SubjectPublicKeyInfo`, as `openssl pkey -pubout` writes it and cosign reads it.
    pub fn spki_pem(&self) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", encoding::to_base64(&self.spki_der()))
    }

    /// The key of an SPKI PEM.
    pub fn from_spki_pem(pem: &str) -> Result<PublicKey, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem.trim()).map_err(|error| KeyError::Pem(error.to_string()))?;
        PublicKey::from_bytes(key.as_bytes())
    }

    /// Checks a signature over `message`, RFC 8032 §5.1.7, strictly.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| BadSignature)
    }
}

impl From<VerifyingKey> for PublicKey {
    /// For keys that come from a secret key, which are never weak.
    fn from(key: VerifyingKey) -> PublicKey {
        PublicKey(key.to_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        PublicKey::from_typed_base64(&text).map_err(serde::de::Error::custom)
    }
}

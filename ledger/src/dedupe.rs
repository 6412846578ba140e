//! Keyed short hashes: what recognises a message that was already accepted, and what finds the head of a change's chain.
//!
//! FORMATS, "Entry header": duplicate = same HMAC-SHA-256(k, subject ‖ 00 ‖ bytes as received)\[..16\] among accepted events.
//! Keyed, because these values stay in the store when a payload is erased: whoever has the store but not the key confirms no
//! guess. One key per tenant, kept as a file outside the store; the store holds a check value of it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use schemas::ids::ChangeId;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroize;

/// A tenant's key for fingerprints. Never printed.
#[derive(Clone)]
pub struct DedupeKey {
    bytes: [u8; 32],
    /// The hash with the key taken in, which every value begins from: two of the six blocks of a short one. As much a secret as the
    /// key; unlike it, it is not wiped, as it never was on the stack of each call.
    begun: Hmac<Sha256>,
}

/// Recognises a message: subject and bytes as received, under the tenant's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint(pub [u8; 16]);

/// A text that is no dedupe key.
#[derive(Debug, Error)]
#[error("a dedupe key is 64 hexadecimal digits, found {found} characters")]
pub struct BadDedupeKey {
    /// Length of what was found; its text is a secret.
    pub found: usize,
}

// The first part of every hashed message. Subjects start with `upm.`, so the other two can't be subjects.
const CHANGE: &str = "change";
const CHECK: &str = "check";

impl DedupeKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length; this one has 32 bytes")]
        let begun = Hmac::<Sha256>::new_from_slice(&bytes).expect("HMAC takes keys of any length");
        Self { bytes, begun }
    }

    /// Reads 64 hexadecimal digits; white space around them is ignored.
    pub fn from_hex(text: &str) -> Result<Self, BadDedupeKey> {
        let text = text.trim();
        let mut key = [0; 32];
        hex::decode_to_slice(text, &mut key).map_err(|_| BadDedupeKey { found: text.chars().count() })?;
        Ok(Self::new(key))
    }

    /// The key as 64 hexadecimal digits, to be kept in a file.
    pub fn to_hex(&self) -> String {
        hex::encode(self.bytes)
    }

    /// Recognises a message by its subject and its bytes as received.
    pub fn fingerprint(&self, subject: &str, bytes: &[u8]) -> Fingerprint {
        Fingerprint(self.mac(subject, bytes))
    }

    /// The key of a change's chain in the index.
    pub fn change_key(&self, change: &ChangeId) -> [u8; 16] {
        self.mac(CHANGE, change.as_str().as_bytes())
    }

    /// What the store keeps to refuse another key: start with the wrong one would accept every duplicate again.
    pub fn check_value(&self) -> [u8; 16] {
        self.mac(CHECK, b"")
    }

    fn mac(&self, domain: &str, bytes: &[u8]) -> [u8; 16] {
        let mut mac = self.begun.clone();
        mac.update(domain.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        let full = mac.finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        short
    }
}

impl Drop for DedupeKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for DedupeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DedupeKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DedupeKey {
        DedupeKey::from_hex(&"0b".repeat(32)).unwrap()
    }

    #[test]
    fn fingerprints_follow_the_published_formula() {
        // HMAC-SHA-256 by another implementation: Python's hmac over "upm.events.acme.plan" ‖ 00 ‖ "{}".
        let found = key().fingerprint("upm.events.acme.plan", b"{}");
        assert_eq!(hex::encode(found.0), "a7f59e8c98c2975af1d8ba7a2405c686");
        assert_eq!(hex::encode(key().check_value()), "e87aa1ff01ba4d3d69737c4d7e1126ae");
    }

    #[test]
    fn subject_bytes_and_key_all_matter() {
        let base = key().fingerprint("upm.events.a.plan", b"x");
        assert_ne!(base, key().fingerprint("upm.events.a.plan", b"y"));
        assert_ne!(base, key().fingerprint("upm.events.b.plan", b"x"));
        assert_ne!(base, DedupeKey::new([1; 32]).fingerprint("upm.events.a.plan", b"x"));
    }

    #[test]
    fn a_key_reads_back_and_hides_itself() {
        assert_eq!(DedupeKey::from_hex(&format!(" {}\n", key().to_hex())).unwrap().bytes, key().bytes);
        assert!(!format!("{:?}", key()).contains("0b"));
        for bad in ["", "0b", &"zz".repeat(32), &"0b".repeat(33)] {
            assert!(DedupeKey::from_hex(bad).is_err(), "{bad}");
        }
    }
}

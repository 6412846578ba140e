//! SHA-256 as RFC 6962 §2.1 uses it: a prefix byte tells a leaf from a node, so that no entry can pass for a node.
//!
//! Left out: trees ([`crate::tree`]) and proofs ([`crate::proof`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::encoding;

/// A SHA-256 hash. Shown, parsed and serialised as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

/// A text that is no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 hash in {expected}: {found:?}")]
pub struct HashError {
    /// The encoding that was expected.
    pub expected: &'static str,
    /// The text, cut to 80 characters.
    pub found: String,
}

impl Hash {
    /// SHA-256 of bytes, without any prefix.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }

    /// The hash of 64 lowercase hex digits.
    pub fn parse(hex: &str) -> Result<Hash, HashError> {
        encoding::array_from_hex(hex).map(Hash).ok_or_else(|| HashError::new("lowercase hex", hex))
    }

    /// The hash of 44 characters of standard base64, as C2SP checkpoints and proofs write it.
    pub fn from_base64(text: &str) -> Result<Hash, HashError> {
        encoding::array_from_base64(text).map(Hash).ok_or_else(|| HashError::new("base64", text))
    }

    /// Standard base64, as C2SP checkpoints and proofs write it.
    pub fn to_base64(&self) -> String {
        encoding::to_base64(&self.0)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The hash of a leaf: SHA-256(00 ‖ entry), RFC 6962 §2.1.
pub fn leaf(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The hash of an inner node: SHA-256(01 ‖ left ‖ right), RFC 6962 §2.1.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut input = [1; 65];
    input[1..33].copy_from_slice(&left.0);
    input[33..].copy_from_slice(&right.0);
    Hash::of(&input)
}

/// The root of the tree without leaves: SHA-256 of nothing, RFC 6962 §2.1.
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

impl HashError {
    fn new(expected: &'static str, found: &str) -> HashError {
        HashError { expected, found: found.chars().take(80).collect() }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&encoding::hex_digits(&self.0)).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Hash, HashError> {
        Hash::parse(text)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Hash::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // RFC 6962 reference values, as transparency-dev/merkle tests them.
        assert_eq!(empty_root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(leaf(b"").to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(leaf(b"L123456").to_string(), "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56");
        assert_eq!(leaf(b"ab"), Hash::of(b"\0ab"));
        let (l, r) = (Hash::of(b"N123"), Hash::of(b"N456"));
        assert_eq!(node(&l, &r), Hash::of(&[&[1], &l.0[..], &r.0[..]].concat()));
    }

    #[test]
    fn texts_round_trip_and_only_one_is_read() {
        let hash = leaf(b"x");
        assert_eq!(Hash::parse(&hash.to_string()), Ok(hash));
        assert_eq!(Hash::from_base64(&hash.to_base64()), Ok(hash));
        assert_eq!(serde_json::from_str::<Hash>(&serde_json::to_string(&hash).unwrap()).unwrap(), hash);
        assert!(Hash::parse(&hash.to_string().to_uppercase()).is_err());
        assert!(Hash::parse("e3b0").is_err());
        assert!(Hash::from_base64("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=").is_err(), "trailing bits");
        assert!(Hash::from_base64("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU").is_err(), "no padding");
    }
}

//! SSH signatures, as `ssh-keygen -Y sign` makes them: OpenSSH `PROTOCOL.sshsig`, and `PROTOCOL.u2f` for keys in hardware.
//!
//! ```text
//! -----BEGIN SSH SIGNATURE-----      base64 of: "SSHSIG" ‖ u32 1 ‖ s(public key) ‖ s(namespace) ‖ s("") ‖ s(hash) ‖ s(signature)
//! -----END SSH SIGNATURE-----        s(x) = u32 length, big endian ‖ x
//! signed: "SSHSIG" ‖ s(namespace) ‖ s("") ‖ s(hash) ‖ s(H(message)),  H: sha256 or sha512
//! ```
//!
//! Two kinds of key are known: `ssh-ed25519`, and `sk-ssh-ed25519@openssh.com` (FIDO), of which the token signs
//! SHA-256(application) ‖ flags ‖ counter ‖ SHA-256(signed), with the flag that somebody touched it. ECDSA and RSA keys are refused by name:
//! there is no audited crate for them in pure Rust that shares our dependencies.
//!
//! Left out: whose key it is. A caller compares [`SshKey::fingerprint`] with those that it allows.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256, Sha512};

use crate::encoding;
use crate::key::PublicKey;

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
const MAGIC: &[u8; 6] = b"SSHSIG";
const ED25519: &str = "ssh-ed25519";
const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";
/// FIDO: a person was there and touched the token.
const USER_PRESENT: u8 = 0x01;
/// Longest text that is looked at: ten times what a signature of a known kind needs.
const MAX_TEXT: usize = 8_192;

/// Why a text is no good SSH signature of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// The text is no armoured signature, or its parts are not where they belong.
    #[error("not an SSH signature: {0}")]
    Malformed(&'static str),
    /// A key of a kind that is not known here.
    #[error("key type {0:?} is not supported, only {ED25519} and {SK_ED25519} are")]
    KeyType(String),
    /// A signature for another purpose.
    #[error("signed in the namespace {found:?}, expected {expected:?}")]
    Namespace {
        /// In the signature.
        found: String,
        /// Asked for.
        expected: String,
    },
    /// It does not fit.
    #[error("the signature does not fit key and message")]
    Bad,
}

/// An SSH public key of a known kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    key: PublicKey,
    /// Of a FIDO token: the application that the key is for.
    application: Option<Vec<u8>>,
    /// As SSH writes it.
    blob: Vec<u8>,
}

impl SshKey {
    /// The key of a line of an `authorized_keys` or `.pub` file: `ssh-ed25519 AAAA… comment`.
    pub fn parse(line: &str) -> Result<Self, SshError> {
        let mut words = line.split_whitespace();
        let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
            return Err(SshError::Malformed("a public key is a line `TYPE BASE64 [comment]`"));
        };
        if ![ED25519, SK_ED25519].contains(&kind) {
            return Err(SshError::KeyType(shown(kind.as_bytes())));
        }
        let blob = encoding::from_base64(blob).ok_or(SshError::Malformed("the key is not base64"))?;
        Self::of(&blob)
    }

    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }

    fn of(blob: &[u8]) -> Result<Self, SshError> {
        let mut parts = Parts(blob);
        let kind = parts.string()?;
        let is_sk = kind == SK_ED25519.as_bytes();
        if !is_sk && kind != ED25519.as_bytes() {
            return Err(SshError::KeyType(shown(kind)));
        }
        let bytes = parts.string()?.try_into().map_err(|_| SshError::Malformed("the key is not 32 bytes"))?;
        let key = PublicKey::from_bytes(bytes).map_err(|_| SshError::Malformed("the key is no usable Ed25519 key"))?;
        let application = if is_sk { Some(parts.string()?.to_vec()) } else { None };
        parts.end()?;
        Ok(Self { key, application, blob: blob.to_vec() })
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), SshError> {
        let mut parts = Parts(signature);
        let kind = if self.application.is_some() { SK_ED25519 } else { ED25519 };
        if parts.string()? != kind.as_bytes() {
            return Err(SshError::Malformed("the signature is of another kind than the key"));
        }
        let bytes = parts.string()?.try_into().map_err(|_| SshError::Malformed("the signature is not 64 bytes"))?;
        let Some(application) = &self.application else {
            parts.end()?;
            return self.key.verify(signed, bytes).map_err(|_| SshError::Bad);
        };
        let token = parts.take(5)?;
        parts.end()?;
        if token[0] & USER_PRESENT == 0 {
            return Err(SshError::Malformed("nobody touched the token that signed"));
        }
        let said = [&Sha256::digest(application)[..], token, &Sha256::digest(signed)[..]].concat();
        self.key.verify(&said, bytes).map_err(|_| SshError::Bad)
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.fingerprint())
    }
}

/// Checks an armoured signature over `message` in `namespace`, and says by which key it is.
///
/// # Errors
/// Another namespace, an unknown kind of key, a malformed text, or a signature that does not fit.
pub fn verify(armoured: &str, namespace: &str, message: &[u8]) -> Result<SshKey, SshError> {
    let blob = unarmour(armoured)?;
    let mut parts = Parts(&blob);
    if parts.take(MAGIC.len())? != MAGIC {
        return Err(SshError::Malformed("it does not begin with SSHSIG"));
    }
    if parts.take(4)? != 1_u32.to_be_bytes() {
        return Err(SshError::Malformed("its version is not 1"));
    }
    let key = SshKey::of(parts.string()?)?;
    let found = parts.string()?;
    if found != namespace.as_bytes() {
        return Err(SshError::Namespace { found: shown(found), expected: namespace.to_owned() });
    }
    // Reserved: verifiers ignore what is in it, but it is signed.
    let (reserved, hash, signature) = (parts.string()?, parts.string()?, parts.string()?);
    parts.end()?;
    let digest = match hash {
        b"sha512" => Sha512::digest(message).to_vec(),
        b"sha256" => Sha256::digest(message).to_vec(),
        _ => return Err(SshError::Malformed("its hash is neither sha256 nor sha512")),
    };
    let mut signed = MAGIC.to_vec();
    for part in [found, reserved, hash, &digest] {
        put(&mut signed, part);
    }
    key.verify(&signed, signature)?;
    Ok(key)
}

/// The bytes between the marks; a text without marks is taken for the base64 itself.
fn unarmour(text: &str) -> Result<Vec<u8>, SshError> {
    if text.len() > MAX_TEXT {
        return Err(SshError::Malformed("longer than any signature"));
    }
    let text = text.trim();
    let inner = match text.strip_prefix(BEGIN) {
        Some(rest) => rest.strip_suffix(END).ok_or(SshError::Malformed("its end mark is missing"))?,
        None => text,
    };
    let base64: String = inner.split_ascii_whitespace().collect();
    encoding::from_base64(&base64).ok_or(SshError::Malformed("not base64 between its marks"))
}

/// SSH's wire format, read strictly.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SshError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SshError::Malformed("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn string(&mut self) -> Result<&'a [u8], SshError> {
        let length = self.take(4)?.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }

    fn end(&self) -> Result<(), SshError> {
        if self.0.is_empty() { Ok(()) } else { Err(SshError::Malformed("there are bytes behind its end")) }
    }
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    // A namespace, a hash's name and a digest: far below 4 GiB.
    out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(part);
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;

    use super::*;

    const SHA512: &str = include_str!("../testdata/ssh/ed25519-sha512.sig");
    const SHA256: &str = include_str!("../testdata/ssh/ed25519-sha256.sig");
    const ECDSA: &str = include_str!("../testdata/ssh/ecdsa.sig");
    const KEY: &str = include_str!("../testdata/ssh/ed25519.pub");
    /// What `ssh-keygen -lf` prints of it.
    const FINGERPRINT: &str = "SHA256:bKcXBSG82gtcArg0y7jFLhuvWu2KHlKgx/TLg7atSsE";
    const NAMESPACE: &str = "upm-approval";

    #[test]
    fn what_ssh_keygen_signed() {
        for signature in [SHA512, SHA256] {
            assert_eq!(verify(signature, NAMESPACE, b"hello").unwrap().fingerprint(), FINGERPRINT);
            assert_eq!(verify(signature, NAMESPACE, b"hullo"), Err(SshError::Bad));
            assert!(matches!(verify(signature, "file", b"hello"), Err(SshError::Namespace { .. })));
        }
        let bare: String = SHA512.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(verify(&bare, NAMESPACE, b"hello").is_ok());
        assert_eq!(SshKey::parse(KEY).unwrap().fingerprint(), FINGERPRINT);
    }

    #[test]
    fn other_kinds_of_key_are_named() {
        let ecdsa = || SshError::KeyType("ecdsa-sha2-nistp256".to_owned());
        assert_eq!(verify(ECDSA, NAMESPACE, b"hello"), Err(ecdsa()));
        assert_eq!(SshKey::parse(include_str!("../testdata/ssh/ecdsa.pub")), Err(ecdsa()));
        for bad in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 ?"] {
            assert!(matches!(SshKey::parse(bad), Err(SshError::Malformed(_))), "{bad}");
        }
    }

    fn s(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for part in parts {
            put(&mut out, part);
        }
        out
    }

    /// What a FIDO token would have made: `PROTOCOL.u2f`, with the key in our hand.
    fn by_token(flags: u8, message: &[u8]) -> String {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let application = b"ssh:".as_slice();
        let key = s(&[SK_ED25519.as_bytes(), secret.verifying_key().as_bytes(), application]);
        let digest = Sha512::digest(message);
        let signed = [MAGIC.as_slice(), &s(&[NAMESPACE.as_bytes(), b"", b"sha512", &digest])].concat();
        let token = [flags, 0, 0, 0, 42];
        let said = [&Sha256::digest(application)[..], &token, &Sha256::digest(&signed)[..]].concat();
        let signature = [s(&[SK_ED25519.as_bytes(), &secret.sign(&said).to_bytes()]), token.to_vec()].concat();
        let rest = s(&[&key, NAMESPACE.as_bytes(), b"", b"sha512", &signature]);
        encoding::to_base64(&[MAGIC.as_slice(), &1_u32.to_be_bytes(), &rest].concat())
    }

    #[test]
    fn a_token_has_to_be_touched() {
        assert!(verify(&by_token(0x01, b"hello"), NAMESPACE, b"hello").is_ok());
        assert!(verify(&by_token(0x05, b"hello"), NAMESPACE, b"hello").is_ok(), "with a PIN, too");
        assert!(matches!(verify(&by_token(0x00, b"hello"), NAMESPACE, b"hello"), Err(SshError::Malformed(_))));
        assert_eq!(verify(&by_token(0x01, b"hello"), NAMESPACE, b"x"), Err(SshError::Bad));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_passes(at in 0_usize..2_000, by_hardware: bool) {
            let text = if by_hardware { by_token(1, b"hello") } else { SHA256.to_owned() };
            let mut blob = unarmour(&text).unwrap();
            let bit = at % (blob.len() * 8);
            blob[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify(&encoding::to_base64(&blob), NAMESPACE, b"hello").is_err(), "bit {}", bit);
        }

        #[test]
        fn any_bytes_are_refused_calmly(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = encoding::to_base64(&[MAGIC.as_slice(), &bytes].concat());
            prop_assert!(verify(&text, NAMESPACE, b"").is_err());
        }
    }
}

//! SSH signatures, as `ssh-keygen -Y sign` makes them: OpenSSH `PROTOCOL.sshsig`, and `PROTOCOL.u2f` for keys in hardware.
//!
//! ```text
//! -----BEGIN SSH SIGNATURE-----      base64 of: "SSHSIG" ‖ u32 1 ‖ s(public key) ‖ s(namespace) ‖ s("") ‖ s(hash) ‖ s(signature)
//! -----END SSH SIGNATURE-----        s(x) = u32 length, big endian ‖ x
//! signed: "SSHSIG" ‖ s(namespace) ‖ s("") ‖ s(hash) ‖ s(H(message)),  H: sha256 or sha512
//! ```
//!
//! Known are keys on Ed25519 and on P-256, each by itself (`ssh-ed25519`, `ecdsa-sha2-nistp256`) or in a FIDO token (`sk-…@openssh.com`),
//! which signs SHA-256(application) ‖ flags ‖ counter ‖ SHA-256(signed), with the flag that somebody touched it. RSA keys are refused by
//! name (decision 0130), and so are tokens behind a browser (`webauthn-…`).
//!
//! Left out: whose key it is. A caller compares [`SshKey::fingerprint`] with those that it allows.

mod allowed;
mod key;

use sha2::{Digest, Sha256, Sha512};

use crate::encoding;
pub use allowed::{AllowedError, AllowedSigners};
pub use key::SshKey;

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
const MAGIC: &[u8; 6] = b"SSHSIG";
/// Longest text that is looked at: ten times what a signature of a known kind needs.
const MAX_TEXT: usize = 8_192;

/// Why a text is no good SSH signature of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// The text is no armoured signature, or its parts are not where they belong.
    #[error("not an SSH signature: {0}")]
    Malformed(&'static str),
    /// A key of a kind that is not known here.
    #[error("key type {0:?} is not supported, {known}", known = key::known(.0))]
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
mod tests;

//! Public keys of SSH, and what each kind of them signs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::{Parts, SshError, shown};
use crate::encoding;
use crate::key::PublicKey;

const ED25519: &str = "ssh-ed25519";
const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";
const ECDSA: &str = "ecdsa-sha2-nistp256";
const SK_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";
/// SSH names the curve of an ECDSA key once more, behind the kind.
const CURVE: &[u8] = b"nistp256";
/// What a point begins with that is written with both of its coordinates. SSH knows no other form.
const UNCOMPRESSED: u8 = 0x04;
const POINT_BYTES: usize = 65;
/// FIDO: a person was there and touched the token.
const USER_PRESENT: u8 = 0x01;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Curve {
    Ed25519,
    P256,
}

/// A kind of key: its name, its curve, and whether it lives in a FIDO token.
type Kind = (&'static str, Curve, bool);

const KINDS: [Kind; 4] = [
    (ED25519, Curve::Ed25519, false),
    (SK_ED25519, Curve::Ed25519, true),
    (ECDSA, Curve::P256, false),
    (SK_ECDSA, Curve::P256, true),
];

/// The known kinds in words, and why one that many people have is not among them.
pub(super) fn known(found: &str) -> String {
    let known = KINDS.map(|(name, ..)| name).join(", ");
    // Also `rsa-sha2-256` and `-512`, by which signatures name themselves.
    let rsa = found.starts_with("ssh-rsa") || found.starts_with("rsa-");
    let why = if rsa { "; for RSA there is no crate in pure Rust without an open security advisory" } else { "" };
    format!("only {known} are{why}")
}

/// An SSH public key of a known kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    kind: &'static str,
    point: Point,
    /// Of a FIDO token: the application that the key is for.
    application: Option<Vec<u8>>,
    /// As SSH writes it.
    blob: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Point {
    Ed25519(PublicKey),
    P256(VerifyingKey),
}

impl SshKey {
    /// The key of a line of an `authorized_keys` or `.pub` file: `ssh-ed25519 AAAA… comment`.
    pub fn parse(line: &str) -> Result<Self, SshError> {
        let mut words = line.split_whitespace();
        let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
            return Err(SshError::Malformed("a public key is a line `TYPE BASE64 [comment]`"));
        };
        let (named, ..) = kind_of(kind.as_bytes())?;
        let blob = encoding::from_base64(blob).ok_or(SshError::Malformed("the key is not base64"))?;
        let key = Self::of(&blob)?;
        if key.kind == named {
            Ok(key)
        } else {
            Err(SshError::Malformed("the key is of another kind than its line says"))
        }
    }

    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }

    /// `TYPE BASE64`: the line of a public key file, without its comment.
    pub fn line(&self) -> String {
        format!("{} {}", self.kind, encoding::to_base64(&self.blob))
    }

    pub(super) fn of(blob: &[u8]) -> Result<Self, SshError> {
        let mut parts = Parts(blob);
        let (kind, curve, in_token) = kind_of(parts.string()?)?;
        let point = match curve {
            Curve::Ed25519 => Point::Ed25519(ed25519(parts.string()?)?),
            Curve::P256 => {
                if parts.string()? != CURVE {
                    return Err(SshError::Malformed("the key's curve is not nistp256"));
                }
                Point::P256(p256(parts.string()?)?)
            }
        };
        let application = if in_token { Some(parts.string()?.to_vec()) } else { None };
        parts.end()?;
        Ok(Self { kind, point, application, blob: blob.to_vec() })
    }

    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), SshError> {
        let mut parts = Parts(signature);
        if parts.string()? != self.kind.as_bytes() {
            return Err(SshError::Malformed("the signature is of another kind than the key"));
        }
        let inner = parts.string()?;
        let Some(application) = &self.application else {
            parts.end()?;
            return self.point.verify(signed, inner);
        };
        // Flags and counter. How often a token has signed is its owner's business.
        let token = parts.take(5)?;
        parts.end()?;
        if token[0] & USER_PRESENT == 0 {
            return Err(SshError::Malformed("nobody touched the token that signed"));
        }
        let said = [&Sha256::digest(application)[..], token, &Sha256::digest(signed)[..]].concat();
        self.point.verify(&said, inner)
    }
}

impl Point {
    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), SshError> {
        match self {
            Self::Ed25519(key) => {
                let bytes = signature.try_into().map_err(|_| SshError::Malformed("the signature is not 64 bytes"))?;
                key.verify(signed, bytes).map_err(|_| SshError::Bad)
            }
            Self::P256(key) => key.verify(signed, &ecdsa(signature)?).map_err(|_| SshError::Bad),
        }
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.fingerprint())
    }
}

fn kind_of(name: &[u8]) -> Result<Kind, SshError> {
    let known = KINDS.into_iter().find(|(known, ..)| known.as_bytes() == name);
    known.ok_or_else(|| SshError::KeyType(shown(name)))
}

fn ed25519(bytes: &[u8]) -> Result<PublicKey, SshError> {
    let bytes = bytes.try_into().map_err(|_| SshError::Malformed("the key is not 32 bytes"))?;
    PublicKey::from_bytes(bytes).map_err(|_| SshError::Malformed("the key is no usable Ed25519 key"))
}

fn p256(bytes: &[u8]) -> Result<VerifyingKey, SshError> {
    if bytes.len() != POINT_BYTES || bytes[0] != UNCOMPRESSED {
        return Err(SshError::Malformed("the key is no uncompressed point of 65 bytes"));
    }
    VerifyingKey::from_sec1_bytes(bytes).map_err(|_| SshError::Malformed("the key is no point of P-256"))
}

/// RFC 5656 §3.1.2: two `mpint`s.
fn ecdsa(bytes: &[u8]) -> Result<Signature, SshError> {
    let mut parts = Parts(bytes);
    let (r, s) = (scalar(parts.string()?)?, scalar(parts.string()?)?);
    parts.end()?;
    Signature::from_scalars(r, s).map_err(|_| SshError::Bad)
}

/// RFC 4251 §5: a positive `mpint` of at most 32 bytes, in its only shortest form.
fn scalar(mpint: &[u8]) -> Result<[u8; 32], SshError> {
    let bytes = match mpint {
        [0, rest @ ..] if rest.first().is_some_and(|first| first & 0x80 != 0) => rest,
        [first, ..] if *first != 0 && first & 0x80 == 0 => mpint,
        _ => return Err(SshError::Malformed("a number of the signature is not positive, or not written as SSH does")),
    };
    let mut scalar = [0; 32];
    let start = scalar.len().checked_sub(bytes.len()).ok_or(SshError::Bad)?;
    scalar[start..].copy_from_slice(bytes);
    Ok(scalar)
}

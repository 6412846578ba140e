//! Ed25519 secret keys: PKCS#8 PEM in and out, checkpoints and bytes signed.
//!
//! Secrets are wiped from memory when dropped and never shown. Where a key file lies and who may read it is the service's
//! matter, and so is the randomness of a seed.

use std::fmt;

use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::checkpoint::{Checkpoint, Origin};
use crate::encoding;
pub use crate::key::PublicKey;
use crate::note::{NoteSignature, VerifierKey};

/// DER of a PKCS#8 v1 Ed25519 key (RFC 8410 §7) up to the 32 bytes of the seed. Version 1 because it is what every `openssl`
/// reads; version 2, with the public key inside, is refused by 1.1.1 and by some builds of 3.
pub(crate) const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A secret key that signs under the name of a log.
pub struct Signer {
    name: Origin,
    key: SigningKey,
}

/// A text that is no usable secret key. Never carries any of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretKeyError {
    /// Encrypted, and nothing to decrypt it with.
    #[error("the key file is encrypted (PKCS#8 `ENCRYPTED PRIVATE KEY`)")]
    Encrypted,
    /// Not PKCS#8 PEM of an Ed25519 key.
    #[error("not an Ed25519 secret key in PKCS#8 PEM: {0}")]
    NotEd25519(String),
}

impl Signer {
    /// The key of a PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` or [`Signer::to_pkcs8_pem`] writes it.
    pub fn from_pkcs8_pem(name: &Origin, pem: &str) -> Result<Signer, SecretKeyError> {
        if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return Err(SecretKeyError::Encrypted);
        }
        let key = SigningKey::from_pkcs8_pem(pem.trim());
        let key = key.map_err(|error| SecretKeyError::NotEd25519(error.to_string()))?;
        Ok(Signer { name: name.clone(), key })
    }

    /// The key of a seed: 32 bytes from a generator fit for keys.
    pub fn from_seed(name: &Origin, seed: [u8; 32]) -> Signer {
        let seed = Zeroizing::new(seed);
        Signer { name: name.clone(), key: SigningKey::from_bytes(&seed) }
    }

    /// PKCS#8 v1 PEM, readable by `openssl pkey`.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pkcs8_pem(&PKCS8_PREFIX, self.key.as_bytes())
    }

    /// The log that this key signs for.
    pub fn name(&self) -> &Origin {
        &self.name
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from(self.key.verifying_key())
    }

    /// The public half under the key's name: what others check with.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey::new(self.name.key_name().clone(), self.public_key())
    }

    /// The signed note of a checkpoint.
    ///
    /// # Panics
    /// If the checkpoint is of another log: no caller has a reason to ask for it, and such a signature, once made, is for ever.
    pub fn sign_checkpoint(&self, checkpoint: &Checkpoint) -> String {
        Signer::sign_checkpoint_by(&[self], checkpoint)
    }

    /// The note of a checkpoint that several keys of its log sign together, a line each, in their order.
    ///
    /// # Panics
    /// As [`Signer::sign_checkpoint`].
    pub fn sign_checkpoint_by(signers: &[&Signer], checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let mut note = format!("{text}\n");
        for signer in signers {
            assert_eq!(checkpoint.origin, signer.name, "a key signs heads of its own log only");
            let verifier = signer.verifier();
            let signature = NoteSignature {
                name: verifier.name().clone(),
                id: verifier.id(),
                signature: signer.sign_bytes(text.as_bytes()).to_vec(),
            };
            note.push_str(&signature.to_line());
        }
        note
    }

    /// The signature over bytes as they are. The caller separates domains (DSSE's PAE, a checkpoint's form).
    pub fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }
}

/// PEM of a PKCS#8 key: everything before its seed, and the seed.
pub(crate) fn pkcs8_pem(prefix: &[u8], seed: &[u8; 32]) -> Zeroizing<String> {
    let mut der = Zeroizing::new(vec![0; prefix.len() + seed.len()]);
    der[..prefix.len()].copy_from_slice(prefix);
    der[prefix.len()..].copy_from_slice(seed);
    let body = Zeroizing::new(encoding::to_base64(&der));
    // One line of at most 64 characters is PEM for Ed25519; a longer key is wrapped as RFC 7468 asks.
    let mut pem = Zeroizing::new(String::with_capacity(256));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, secret)", self.verifier())
    }
}

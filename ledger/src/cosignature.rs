//! Cosignatures: what a witness says of a checkpoint, C2SP tlog-cosignature, Ed25519 (0x04) and ML-DSA-44 (0x06).
//!
//! ```text
//! — <witness name> base64(key id ‖ time, u64 big-endian seconds ‖ signature)
//!
//! Ed25519 signs      cosignature/v1\ntime <t>\n ‖ the checkpoint's text, extension lines included
//! ML-DSA-44 signs    subtree/v1\n\0 ‖ name ‖ time ‖ origin ‖ 0 ‖ size ‖ root        (names with a length byte)
//! ```
//!
//! Such a line stands below the log's own signature in the same note. Witnesses cosign any log, so the text is read here as
//! C2SP writes it ([`Statement`]) and not as strictly as [`crate::checkpoint`] reads our own. Left out: subtrees that do not
//! begin at 0. Who has to cosign is said by [`crate::policy`], how a cosignature is asked for by [`crate::witness`].

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::{DecodePrivateKey, SecretDocument};
use ed25519_dalek::{Signer as _, SigningKey};
use ml_dsa::signature::Keypair as _;
use ml_dsa::{EncodedVerifyingKey, MlDsa44, Seed};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::encoding;
use crate::hash::Hash;
use crate::key::{KeyError, PublicKey};
use crate::note::{KeyName, NoteSignature, SignedNote, VerifierKeyError};
use crate::signing::{self, SecretKeyError};

/// Type byte of an Ed25519 cosigner's key.
pub const ED25519_COSIGNER: u8 = 0x04;

/// Type byte of an ML-DSA-44 cosigner's key.
pub const ML_DSA_44_COSIGNER: u8 = 0x06;

/// Bytes of an ML-DSA-44 public key, FIPS 204 table 2.
const ML_DSA_44_KEY_BYTES: usize = 1312;

/// Bytes of an ML-DSA-44 signature, FIPS 204 table 2.
const ML_DSA_44_SIGNATURE_BYTES: usize = 2420;

/// DER of a PKCS#8 ML-DSA-44 key (RFC 9881 §6, the seed alone) up to the 32 bytes of the seed.
const ML_DSA_44_PKCS8_PREFIX: [u8; 22] = [
    0x30, 0x34, 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11, 0x04,
    0x22, 0x80, 0x20,
];

/// How a cosigner signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519, type 0x04.
    Ed25519,
    /// ML-DSA-44, type 0x06: safe from quantum computers.
    MlDsa44,
}

/// A witness as others know it: its name and a public key.
#[derive(Clone, PartialEq, Eq)]
pub struct CosignerKey {
    name: KeyName,
    id: [u8; 4],
    key: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Ed25519(PublicKey),
    /// As encoded: 1,312 bytes, expanded when a signature is checked.
    MlDsa44(Box<EncodedVerifyingKey<MlDsa44>>),
}

/// A text that is no cosigner's vkey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignerKeyError {
    /// Name or form.
    #[error(transparent)]
    Form(#[from] VerifierKeyError),
    /// Not a type that cosigns.
    #[error(
        "key type {0:#04x} does not cosign; a witness key is of type 0x04 (Ed25519) or 0x06 (ML-DSA-44){hint}",
        hint = if *.0 == 1 { ", while 0x01 is the type of a log's key" } else { "" }
    )]
    Type(u8),
    /// The bytes behind the type.
    #[error("{found} bytes of key, where type {kind:#04x} has {expected}")]
    Length {
        /// The type byte.
        kind: u8,
        /// Bytes that it has.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
}

/// What a checkpoint's text says, as any log on earth may write it: nothing in it has been verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'t> {
    /// The whole text, extension lines included, with its last newline.
    pub text: &'t str,
    /// The log; any non-empty line.
    pub origin: &'t str,
    /// Number of leaves.
    pub size: u64,
    /// Root hash.
    pub root: Hash,
}

/// A text that is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Fewer than three lines, an empty one, or no newline at the end.
    #[error("a checkpoint has at least three lines, none of them empty: origin, size, root")]
    Lines,
    /// The second line.
    #[error("the second line of a checkpoint is its size in decimal")]
    Size,
    /// The third line.
    #[error("the third line of a checkpoint is its root hash in base64")]
    Root,
}

/// A cosignature that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature<'k> {
    /// Whose it is.
    pub key: &'k CosignerKey,
    /// When it was made, Unix seconds by the witness's clock; 0 where an ML-DSA-44 cosigner says nothing of time.
    pub time: u64,
}

/// Why a cosignature in the name of a known witness is refused. Such a note is malformed as a whole (C2SP signed-note).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// The text of the note.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Length or time.
    #[error("the cosignature by {name} ({}) is malformed: {reason}", hex::encode(id))]
    Malformed {
        /// Name of the witness.
        name: KeyName,
        /// Id of its key.
        id: [u8; 4],
        /// What is wrong.
        reason: &'static str,
    },
    /// The signature does not fit.
    #[error("the cosignature by {name} ({}) does not fit", hex::encode(id))]
    Bad {
        /// Name of the witness.
        name: KeyName,
        /// Id of its key.
        id: [u8; 4],
    },
    /// Two different known witnesses share name and id.
    #[error("two known witness keys share the name {name} and the id {}", hex::encode(id))]
    Ambiguous {
        /// Name of both.
        name: KeyName,
        /// Id of both.
        id: [u8; 4],
    },
}

/// A witness's secret key.
pub struct Cosigner {
    name: KeyName,
    secret: Secret,
}

enum Secret {
    Ed25519(Box<SigningKey>),
    MlDsa44(Box<ml_dsa::SigningKey<MlDsa44>>),
}

impl CosignerKey {
    /// An Ed25519 witness.
    pub fn ed25519(name: KeyName, key: PublicKey) -> CosignerKey {
        CosignerKey::new(name, Material::Ed25519(key))
    }

    /// A vkey, `<name>+<hex id>+<base64 of type ‖ key>`; the id must be that of name and key.
    pub fn parse(vkey: &str) -> Result<CosignerKey, CosignerKeyError> {
        let form = || VerifierKeyError::Form(vkey.chars().take(160).collect());
        let (name, rest) = vkey.split_once('+').ok_or_else(form)?;
        let (id, typed) = rest.split_once('+').ok_or_else(form)?;
        let found = encoding::array_from_hex::<4>(id).ok_or_else(form)?;
        let typed = encoding::from_base64(typed).ok_or_else(form)?;
        let key = CosignerKey::new(KeyName::parse(name)?, Material::of_typed(&typed, form)?);
        if found == key.id { Ok(key) } else { Err(VerifierKeyError::Id { expected: key.id, found }.into()) }
    }

    /// The vkey.
    pub fn to_vkey(&self) -> String {
        format!("{}+{}+{}", self.name, hex::encode(self.id), encoding::to_base64(&self.key.typed()))
    }

    /// The name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id that its lines carry.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.key {
            Material::Ed25519(_) => Algorithm::Ed25519,
            Material::MlDsa44(_) => Algorithm::MlDsa44,
        }
    }

    /// Whether both wrap the same public key, whatever their names (C2SP tlog-policy: duplicates).
    pub fn same_key(&self, other: &CosignerKey) -> bool {
        self.key == other.key
    }

    /// Checks one line in this key's name, and gives the time in it.
    pub fn verify(&self, statement: &Statement<'_>, line: &NoteSignature) -> Result<u64, CosignatureError> {
        let malformed = |reason| CosignatureError::Malformed { name: self.name.clone(), id: self.id, reason };
        let (time, signature) = line.signature.split_first_chunk::<8>().ok_or(malformed("shorter than its time"))?;
        let time = u64::from_be_bytes(*time);
        if i64::try_from(time).is_err() {
            return Err(malformed("its time is past 2^63 - 1"));
        }
        if time == 0 && self.algorithm() == Algorithm::Ed25519 {
            return Err(malformed("it has no time, which only an ML-DSA-44 cosignature may leave out"));
        }
        let expected = self.algorithm().signature_bytes();
        if signature.len() != expected {
            return Err(malformed("its length is not that of a signature of its type"));
        }
        let message = signed_message(self.algorithm(), &self.name, statement, time).map_err(malformed)?;
        if self.key.fits(&message, signature) {
            Ok(time)
        } else {
            Err(CosignatureError::Bad { name: self.name.clone(), id: self.id })
        }
    }

    fn new(name: KeyName, key: Material) -> CosignerKey {
        let digest = Sha256::new().chain_update(name.as_str()).chain_update(b"\n").chain_update(key.typed()).finalize();
        CosignerKey { id: [digest[0], digest[1], digest[2], digest[3]], name, key }
    }
}

/// The cosignatures of a note by known witnesses, one a key: of several by one key the earliest, which says the most. Lines
/// by unknown keys, the log's own among them, are passed over; a line by a known key that does not fit refuses the note.
pub fn cosignatures<'k>(note: &SignedNote, known: &'k [CosignerKey]) -> Result<Vec<Cosignature<'k>>, CosignatureError> {
    let statement = Statement::parse(note.text())?;
    let mut found: Vec<Cosignature<'k>> = Vec::new();
    for line in note.signatures() {
        let Some(key) = key_of(line, known)? else {
            continue;
        };
        let time = key.verify(&statement, line)?;
        match found.iter_mut().find(|earlier| earlier.key == key) {
            Some(earlier) => earlier.time = earlier.time.min(time),
            None => found.push(Cosignature { key, time }),
        }
    }
    Ok(found)
}

fn key_of<'k>(line: &NoteSignature, known: &'k [CosignerKey]) -> Result<Option<&'k CosignerKey>, CosignatureError> {
    let mut matching = known.iter().filter(|key| key.id == line.id && key.name == line.name);
    let first = matching.next();
    if matching.any(|other| Some(other) != first) {
        return Err(CosignatureError::Ambiguous { name: line.name.clone(), id: line.id });
    }
    Ok(first)
}

impl<'t> Statement<'t> {
    /// Takes a checkpoint's text apart, C2SP tlog-checkpoint: three lines or more, the rest extensions.
    pub fn parse(text: &'t str) -> Result<Statement<'t>, StatementError> {
        let lines = text.strip_suffix('\n').ok_or(StatementError::Lines)?;
        if lines.split('\n').any(str::is_empty) {
            return Err(StatementError::Lines);
        }
        let mut lines = lines.split('\n');
        let mut next = || lines.next().ok_or(StatementError::Lines);
        let (origin, size, root) = (next()?, next()?, next()?);
        let size = encoding::from_decimal(size).ok_or(StatementError::Size)?;
        let root = Hash::from_base64(root).map_err(|_| StatementError::Root)?;
        Ok(Statement { text, origin, size, root })
    }
}

impl Cosigner {
    /// An Ed25519 key of a seed: 32 bytes from a generator fit for keys.
    pub fn ed25519(name: KeyName, seed: [u8; 32]) -> Cosigner {
        let seed = Zeroizing::new(seed);
        Cosigner { name, secret: Secret::Ed25519(Box::new(SigningKey::from_bytes(&seed))) }
    }

    /// An ML-DSA-44 key of a seed (FIPS 204 algorithm 1): 32 bytes from a generator fit for keys.
    pub fn ml_dsa_44(name: KeyName, seed: [u8; 32]) -> Cosigner {
        let seed = Zeroizing::new(Seed::from(seed));
        Cosigner { name, secret: Secret::MlDsa44(Box::new(ml_dsa::SigningKey::from_seed(&seed))) }
    }

    /// The key of a PKCS#8 PEM, as [`Cosigner::to_pkcs8_pem`] or `openssl genpkey` writes it.
    pub fn from_pkcs8_pem(name: KeyName, pem: &str) -> Result<Cosigner, SecretKeyError> {
        if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return Err(SecretKeyError::Encrypted);
        }
        if let Ok((_, der)) = SecretDocument::from_pem(pem.trim())
            && let Some(seed) = der.as_bytes().strip_prefix(&ML_DSA_44_PKCS8_PREFIX)
            && let Ok(seed) = <[u8; 32]>::try_from(seed)
        {
            return Ok(Cosigner::ml_dsa_44(name, seed));
        }
        let key = SigningKey::from_pkcs8_pem(pem.trim());
        let key = key.map_err(|error| SecretKeyError::NotEd25519(error.to_string()))?;
        Ok(Cosigner { name, secret: Secret::Ed25519(Box::new(key)) })
    }

    /// PKCS#8 PEM, readable by `openssl pkey` (ML-DSA-44 from version 3.5).
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        match &self.secret {
            Secret::Ed25519(key) => signing::pkcs8_pem(&signing::PKCS8_PREFIX, key.as_bytes()),
            Secret::MlDsa44(key) => signing::pkcs8_pem(&ML_DSA_44_PKCS8_PREFIX, &Zeroizing::new(key.to_seed().into())),
        }
    }

    /// The public half under the witness's name.
    pub fn verifier(&self) -> CosignerKey {
        let key = match &self.secret {
            Secret::Ed25519(key) => Material::Ed25519(PublicKey::from(key.verifying_key())),
            Secret::MlDsa44(key) => Material::MlDsa44(Box::new(key.verifying_key().encode())),
        };
        CosignerKey::new(self.name.clone(), key)
    }

    /// The cosignature of a checkpoint at a time, Unix seconds. Whoever asks has made sure that the checkpoint extends every
    /// other one that this witness has seen of the log: such a line, once out, cannot be taken back.
    pub fn cosign(&self, statement: &Statement<'_>, time: u64) -> Result<NoteSignature, CosignatureError> {
        let key = self.verifier();
        let malformed = |reason| CosignatureError::Malformed { name: self.name.clone(), id: key.id, reason };
        if i64::try_from(time).is_err() {
            return Err(malformed("its time is past 2^63 - 1"));
        }
        let message = signed_message(key.algorithm(), &self.name, statement, time).map_err(malformed)?;
        let signature = match &self.secret {
            Secret::Ed25519(secret) => secret.sign(&message).to_bytes().to_vec(),
            Secret::MlDsa44(secret) => {
                let signature = secret.expanded_key().sign_deterministic(&message, &[]);
                signature.map_err(|_| malformed("ML-DSA-44 found no signature"))?.encode().to_vec()
            }
        };
        let signature = [&time.to_be_bytes()[..], &signature].concat();
        Ok(NoteSignature { name: self.name.clone(), id: key.id, signature })
    }
}

/// The bytes that a cosigner signs.
fn signed_message(
    algorithm: Algorithm,
    name: &KeyName,
    statement: &Statement<'_>,
    time: u64,
) -> Result<Vec<u8>, &'static str> {
    if algorithm == Algorithm::Ed25519 {
        return Ok(format!("cosignature/v1\ntime {time}\n{}", statement.text).into_bytes());
    }
    let length = |text: &str| u8::try_from(text.len()).map_err(|_| "a name or an origin of more than 255 bytes");
    let mut message = b"subtree/v1\n\0".to_vec();
    message.push(length(name.as_str())?);
    message.extend_from_slice(name.as_str().as_bytes());
    message.extend_from_slice(&time.to_be_bytes());
    message.push(length(statement.origin)?);
    message.extend_from_slice(statement.origin.as_bytes());
    message.extend_from_slice(&0_u64.to_be_bytes());
    message.extend_from_slice(&statement.size.to_be_bytes());
    message.extend_from_slice(&statement.root.0);
    Ok(message)
}

impl Algorithm {
    /// Bytes of a signature, without its time.
    fn signature_bytes(self) -> usize {
        match self {
            Algorithm::Ed25519 => 64,
            Algorithm::MlDsa44 => ML_DSA_44_SIGNATURE_BYTES,
        }
    }
}

impl Material {
    fn of_typed(typed: &[u8], form: impl Fn() -> VerifierKeyError) -> Result<Material, CosignerKeyError> {
        let (&kind, key) = typed.split_first().ok_or_else(&form)?;
        let length = |expected| CosignerKeyError::Length { kind, expected, found: key.len() };
        match kind {
            ED25519_COSIGNER => {
                let bytes = key.try_into().map_err(|_| length(32))?;
                let key = PublicKey::from_bytes(bytes).map_err(|error: KeyError| VerifierKeyError::from(error))?;
                Ok(Material::Ed25519(key))
            }
            ML_DSA_44_COSIGNER => {
                let key = EncodedVerifyingKey::<MlDsa44>::try_from(key).map_err(|_| length(ML_DSA_44_KEY_BYTES))?;
                Ok(Material::MlDsa44(Box::new(key)))
            }
            other => Err(CosignerKeyError::Type(other)),
        }
    }

    fn typed(&self) -> Vec<u8> {
        match self {
            Material::Ed25519(key) => [&[ED25519_COSIGNER][..], key.as_bytes()].concat(),
            Material::MlDsa44(key) => [&[ML_DSA_44_COSIGNER][..], key.as_slice()].concat(),
        }
    }

    fn fits(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Material::Ed25519(key) => signature.try_into().is_ok_and(|bytes| key.verify(message, bytes).is_ok()),
            Material::MlDsa44(key) => {
                let key = ml_dsa::VerifyingKey::<MlDsa44>::decode(key);
                ml_dsa::Signature::try_from(signature).is_ok_and(|it| key.verify_with_context(message, &[], &it))
            }
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::MlDsa44 => "ML-DSA-44",
        })
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_vkey())
    }
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignerKey({} {} {})", self.name, hex::encode(self.id), self.algorithm())
    }
}

impl FromStr for CosignerKey {
    type Err = CosignerKeyError;

    fn from_str(vkey: &str) -> Result<CosignerKey, CosignerKeyError> {
        CosignerKey::parse(vkey)
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({:?}, secret)", self.verifier())
    }
}

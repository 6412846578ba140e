//! Signed notes and verifier keys, C2SP signed-note, for Ed25519 (type 0x01).
//!
//! ```text
//! text, one or more lines
//!                                     <- the last empty line separates
//! — <key name> base64(key id ‖ signature)
//! ```
//!
//! A signature by an unknown key is kept and ignored; a known key whose signature fails refuses the whole note. Other
//! signature types (cosignatures, ML-DSA) are unknown keys here. What a note's text means is [`crate::checkpoint`]'s matter.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::encoding;
use crate::key::{ED25519, KeyError, PublicKey};

/// Signatures that a note may carry. C2SP asks for at least 16; more would only make a verifier work for an attacker.
pub const MAX_SIGNATURES: usize = 64;

/// Bytes of a note. A checkpoint with 64 post-quantum signatures stays below half of it.
pub const MAX_NOTE_BYTES: usize = 1 << 20;

/// The name of a key: not empty, no Unicode space, no control character, no `+`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// A key that signatures are checked with, together with the name and id that signature lines carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: [u8; 4],
    key: PublicKey,
}

/// A parsed note. Nothing in it is to be believed before [`SignedNote::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key that is said to have signed.
    pub name: KeyName,
    /// Its id.
    pub id: [u8; 4],
    /// What follows the id: for an Ed25519 note key the 64 bytes of the signature.
    pub signature: Vec<u8>,
}

/// Why a note is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// More than [`MAX_NOTE_BYTES`].
    #[error("a note of {0} bytes, more than {MAX_NOTE_BYTES}")]
    TooLong(usize),
    /// A control character other than the newline.
    #[error("control character {0:#04x} in a note")]
    ControlCharacter(u8),
    /// No empty line, no text, no signature, or no newline at the end.
    #[error("not a signed note: {0}")]
    Form(&'static str),
    /// A line below the last empty line that is no signature line.
    #[error("signature line {line}: {reason}")]
    SignatureLine {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More than [`MAX_SIGNATURES`].
    #[error("{0} signatures, more than {MAX_SIGNATURES}")]
    TooManySignatures(usize),
    /// A key that is known signed something else, or somebody else signed in its name.
    #[error("the signature by {name} ({}) does not fit", hex::encode(id))]
    BadSignature {
        /// Name of the key.
        name: KeyName,
        /// Its id.
        id: [u8; 4],
    },
    /// Two different known keys share name and id.
    #[error("two known keys share the name {name} and the id {}", hex::encode(id))]
    AmbiguousKey {
        /// Name of both.
        name: KeyName,
        /// Id of both.
        id: [u8; 4],
    },
    /// None of the known keys signed.
    #[error("not signed by a known key; signed by: {}", found.join(", "))]
    Unsigned {
        /// The names and ids in the note.
        found: Vec<String>,
    },
}

/// A text that is no key name or verifier key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// Empty, or with a space, a control character or a plus.
    #[error("not a key name (not empty, no spaces, no control characters, no '+'): {0:?}")]
    Name(String),
    /// Not `<name>+<8 hex digits>+<base64>`.
    #[error("not a verifier key `<name>+<8 hex digits>+<base64>`: {0:?}")]
    Form(String),
    /// The id is not that of name and key.
    #[error("key id {} does not belong to this name and key, which have {}", hex::encode(found), hex::encode(expected))]
    Id {
        /// The id that name and key have.
        expected: [u8; 4],
        /// The id in the text.
        found: [u8; 4],
    },
    /// The public key in it.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl KeyName {
    /// The only way to a name.
    pub fn parse(text: &str) -> Result<KeyName, VerifierKeyError> {
        let refused = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.chars().any(refused) {
            return Err(VerifierKeyError::Name(text.chars().take(80).collect()));
        }
        Ok(KeyName(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of an Ed25519 note key: SHA-256(name ‖ 0A ‖ 01 ‖ key)[..4].
pub fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl VerifierKey {
    /// A key under a name.
    pub fn new(name: KeyName, key: PublicKey) -> VerifierKey {
        VerifierKey { id: key_id(name.as_str(), &key), name, key }
    }

    /// A vkey, `<name>+<hex id>+<base64 of type ‖ key>`; the id must be that of name and key.
    pub fn parse(vkey: &str) -> Result<VerifierKey, VerifierKeyError> {
        let form = || VerifierKeyError::Form(vkey.chars().take(160).collect());
        // Base64 may contain a plus, a name may not.
        let (name, rest) = vkey.split_once('+').ok_or_else(form)?;
        let (id, key) = rest.split_once('+').ok_or_else(form)?;
        let found = encoding::array_from_hex::<4>(id).ok_or_else(form)?;
        let key = VerifierKey::new(KeyName::parse(name)?, PublicKey::from_typed_base64(key)?);
        if found == key.id { Ok(key) } else { Err(VerifierKeyError::Id { expected: key.id, found }) }
    }

    /// The key of an SPKI PEM, which holds no name: the caller says whose it is.
    pub fn from_pem(name: KeyName, pem: &str) -> Result<VerifierKey, VerifierKeyError> {
        Ok(VerifierKey::new(name, PublicKey::from_spki_pem(pem)?))
    }

    /// The vkey.
    pub fn to_vkey(&self) -> String {
        format!("{}+{}+{}", self.name, hex::encode(self.id), self.key.typed_base64())
    }

    /// The key without its name, as SPKI PEM.
    pub fn spki_pem(&self) -> String {
        self.key.spki_pem()
    }

    /// The name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl SignedNote {
    /// Takes a note apart. Only one text gives one parsed note: [`SignedNote::to_text`] returns it to the byte.
    pub fn parse(note: &str) -> Result<SignedNote, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong(note.len()));
        }
        if let Some(control) = note.bytes().find(|b| *b < 0x20 && *b != b'\n') {
            return Err(NoteError::ControlCharacter(control));
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Form("no empty line"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        if text == "\n" {
            return Err(NoteError::Form("no text"));
        }
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form("no signature, or no newline after it"))?;
        let count = lines.split('\n').count();
        if count > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures(count));
        }
        let signatures = lines.split('\n').enumerate().map(|(at, line)| {
            NoteSignature::parse(line).map_err(|reason| NoteError::SignatureLine { line: at + 1, reason })
        });
        Ok(SignedNote { text: text.to_owned(), signatures: signatures.collect::<Result<_, _>>()? })
    }

    /// The text that was signed, its last newline included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in the note's order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The whole note.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n", self.text);
        for signature in &self.signatures {
            out.push_str(&signature.to_line());
        }
        out
    }

    /// The known keys that signed, each once. Every signature in the name and id of a known key must fit.
    pub fn verify<'k>(&self, known: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = signature.find_key(known)? else {
                continue;
            };
            signature.verify(key, &self.text)?;
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        if signers.is_empty() {
            let found = self.signatures.iter().map(|s| format!("{} ({})", s.name, hex::encode(s.id))).collect();
            return Err(NoteError::Unsigned { found });
        }
        Ok(signers)
    }
}

impl NoteSignature {
    /// The line, its newline included.
    pub fn to_line(&self) -> String {
        let blob = [&self.id[..], &self.signature].concat();
        format!("\u{2014} {} {}\n", self.name, encoding::to_base64(&blob))
    }

    fn parse(line: &str) -> Result<NoteSignature, &'static str> {
        let rest = line.strip_prefix("\u{2014} ").ok_or("does not begin with an em dash and a space")?;
        let (name, blob) = rest.split_once(' ').ok_or("no space between key name and signature")?;
        let name = KeyName::parse(name).map_err(|_| "not a key name")?;
        let blob = encoding::from_base64(blob).ok_or("the signature is not base64")?;
        match blob.split_first_chunk::<4>() {
            Some((id, signature)) if !signature.is_empty() => {
                Ok(NoteSignature { name, id: *id, signature: signature.to_vec() })
            }
            _ => Err("too short for a key id and a signature"),
        }
    }

    fn find_key<'k>(&self, known: &'k [VerifierKey]) -> Result<Option<&'k VerifierKey>, NoteError> {
        let mut matching = known.iter().filter(|key| key.id == self.id && key.name == self.name);
        let first = matching.next();
        if matching.any(|other| Some(other) != first) {
            return Err(NoteError::AmbiguousKey { name: self.name.clone(), id: self.id });
        }
        Ok(first)
    }

    fn verify(&self, key: &VerifierKey, text: &str) -> Result<(), NoteError> {
        let bad = || NoteError::BadSignature { name: self.name.clone(), id: self.id };
        let signature = self.signature.as_slice().try_into().map_err(|_| bad())?;
        key.key.verify(text.as_bytes(), signature).map_err(|_| bad())
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_vkey())
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(vkey: &str) -> Result<VerifierKey, VerifierKeyError> {
        VerifierKey::parse(vkey)
    }
}

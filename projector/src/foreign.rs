//! Foreign evidence inside events: Sigstore bundles v0.3 and plain DSSE envelopes, found wherever they stand in a payload, and held
//! against managed keys that somebody named.
//!
//! Follows sigstore/protobuf-specs `sigstore_bundle.proto` (media type v0.3), secure-systems-lab/dsse and in-toto/attestation
//! `spec/v1/statement.md`. Left out: certificates and the transparency log of Sigstore (a managed key needs neither), and evidence that
//! stands inside of text. What is not understood is told, never passed over.
//!
//! What a fitting signature shows: who has that key signed these bytes. Whether what they say is so, and whether it is about this
//! change, stays the reader's judgement; the subjects are named for it.

mod find;
mod key;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use ledger::dsse;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sentence::quote;
pub use key::{ForeignKey, ForeignKeyError};

/// Subjects of one statement that are named.
const SUBJECTS_MAX: usize = 8;
/// What the media type of a bundle begins with, whatever its version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// The two spellings of the version that is understood.
const BUNDLE_V0_3: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.3"];
/// What is said of evidence whose form is broken. The words of a JSON library would change with it.
const UNREAD: &str = "it cannot be read as one";
/// DSSE payload type of an in-toto statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What form a piece of foreign evidence has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A DSSE envelope by itself.
    Dsse,
    /// A Sigstore bundle, over a DSSE envelope or over the digest of a file.
    SigstoreBundle,
}

impl Form {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Dsse => "DSSE envelope",
            Self::SigstoreBundle => "Sigstore bundle",
        }
    }
}

/// What became of holding it against the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "standing")]
pub enum Standing {
    /// A key that was named signed it.
    Signed {
        /// The key's name.
        by: String,
    },
    /// Keys were named, and none of them signed it.
    Bad {
        /// What does not fit.
        why: String,
    },
    /// No key was named, so nothing was checked.
    NotChecked,
    /// Of a kind that this version does not check.
    Unsupported {
        /// What it is.
        why: String,
    },
}

/// A piece of foreign evidence in an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// Index of the entry in the log.
    pub index: u64,
    /// Where it stands in the event, as a JSON pointer.
    pub pointer: String,
    /// Its form.
    pub form: Form,
    /// What it is about, in its own words: subjects of a statement with their digests, or the digest of a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<String>,
    /// Whether it is signed.
    #[serde(flatten)]
    pub standing: Standing,
}

impl Foreign {
    /// One sentence for a person.
    pub fn sentence(&self) -> String {
        let what = self.form.words();
        let about = match self.about.split_first() {
            None => String::new(),
            Some((one, [])) => format!(" about {}", quote(one)),
            Some((one, more)) => format!(" about {} and {} more", quote(one), more.len()),
        };
        let place = quote(&self.pointer);
        match &self.standing {
            Standing::Signed { by } => format!("The {what} at {place}{about} is signed with the key {}.", quote(by)),
            Standing::Bad { why } => format!("The {what} at {place}{about} is not to be believed: {why}."),
            Standing::NotChecked => format!("The {what} at {place}{about} was not checked: no key is named for it."),
            Standing::Unsupported { why } => format!("The {what} at {place}{about} was not checked: {why}."),
        }
    }
}

/// Keys by the names that somebody gave them.
pub type Keys = [(String, ForeignKey)];

/// The same by keys as a tenant's rule has them; those that cannot be read are none, and no rule has one.
pub(crate) fn of_named(index: u64, payload: &[u8], keys: &BTreeMap<String, String>) -> Vec<Foreign> {
    // Nearly no event has any, and a key takes a while to be read.
    let found = find::all(payload);
    if found.is_empty() {
        return Vec::new();
    }
    let read = |(name, key): (&String, &String)| Some((name.clone(), ForeignKey::parse(key).ok()?));
    judged(index, found, &keys.iter().filter_map(read).collect::<Vec<_>>())
}

/// All foreign evidence in a payload, in the order of the payload.
pub fn of(index: u64, payload: &[u8], keys: &Keys) -> Vec<Foreign> {
    judged(index, find::all(payload), keys)
}

fn judged(index: u64, found: Vec<find::Found<'_>>, keys: &Keys) -> Vec<Foreign> {
    let judged = |found: find::Found<'_>| {
        let (about, standing) = match found.form {
            Form::Dsse => dsse_standing(read(found.json).as_ref(), None, keys),
            Form::SigstoreBundle => bundle_standing(found.json, keys),
        };
        Foreign { index, pointer: found.pointer, form: found.form, about, standing }
    };
    found.into_iter().map(judged).collect()
}

type Judged = (Vec<String>, Standing);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Option<Value>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<Hint>,
}

#[derive(Deserialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    message_digest: Option<MessageDigest>,
    signature: String,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

fn bundle_standing(json: &[u8], keys: &Keys) -> Judged {
    let Some(bundle) = read::<Bundle>(json) else { return unread(UNREAD, keys) };
    if !BUNDLE_V0_3.contains(&bundle.media_type.as_str()) {
        let why = format!("its media type is {}, v0.3 is understood", quote(&bundle.media_type));
        return (Vec::new(), Standing::Unsupported { why });
    }
    let Some(Hint { hint }) = bundle.verification_material.public_key else {
        let why = "it names a certificate, no managed key".to_owned();
        return (Vec::new(), Standing::Unsupported { why });
    };
    match (bundle.dsse_envelope, bundle.message_signature) {
        (Some(envelope), None) => dsse_standing(serde_json::from_value(envelope).ok().as_ref(), Some(&hint), keys),
        (None, Some(message)) => message_standing(&message, &hint, keys),
        _ => unread("it has not exactly one of dsseEnvelope and messageSignature", keys),
    }
}

/// Evidence that nobody could check is bad where somebody named keys to check it with.
fn unread(why: &str, keys: &Keys) -> Judged {
    let why = why.to_owned();
    let standing = if keys.is_empty() { Standing::Unsupported { why } } else { Standing::Bad { why } };
    (Vec::new(), standing)
}

fn dsse_standing(envelope: Option<&Envelope>, hint: Option<&str>, keys: &Keys) -> Judged {
    let decoded = envelope.ok_or(UNREAD).and_then(|envelope| {
        let payload = decode(&envelope.payload).ok_or("its payload is not base64")?;
        let signatures = envelope.signatures.iter().map(|signature| decode(&signature.sig));
        let signatures: Vec<Vec<u8>> = signatures.collect::<Option<_>>().ok_or("a signature is not base64")?;
        match signatures.len() {
            0 => Err("it has no signature"),
            // Sigstore asks for exactly one, so that nobody reads another than is checked.
            2.. if hint.is_some() => Err("it has several signatures, a bundle has one"),
            _ => Ok((envelope, payload, signatures)),
        }
    });
    let (envelope, payload, signatures) = match decoded {
        Ok(decoded) => decoded,
        Err(why) => return unread(why, keys),
    };
    let signed = dsse::pae(&envelope.payload_type, &payload);
    let fits = |key: &ForeignKey| signatures.iter().any(|signature| key.verify(&signed, signature));
    let about = if envelope.payload_type == IN_TOTO { subjects(&payload) } else { Vec::new() };
    (about, judge(keys, hint, fits))
}

fn message_standing(message: &MessageSignature, hint: &str, keys: &Keys) -> Judged {
    let digest = message.message_digest.as_ref().filter(|digest| digest.algorithm == "SHA2_256");
    let digest: Option<[u8; 32]> = digest.and_then(|digest| decode(&digest.digest)?.try_into().ok());
    let Some(digest) = digest else {
        return (Vec::new(), Standing::Unsupported { why: "it names no SHA-256 of what was signed".to_owned() });
    };
    let about = vec![format!("sha256:{}", hex::encode(digest))];
    let Some(signature) = decode(&message.signature) else {
        let (_, standing) = unread("its signature is not base64", keys);
        return (about, standing);
    };
    // Ed25519 signs the file itself, which is not here.
    if !keys.is_empty() && keys.iter().all(|(_, key)| !key.signs_digests()) {
        let why = "a file's Ed25519 signature cannot be checked without the file".to_owned();
        return (about, Standing::Unsupported { why });
    }
    (about, judge(keys, Some(hint), |key| key.verify_digest(&digest, &signature)))
}

fn judge(keys: &Keys, hint: Option<&str>, fits: impl Fn(&ForeignKey) -> bool) -> Standing {
    if keys.is_empty() {
        return Standing::NotChecked;
    }
    if let Some((name, _)) = keys.iter().find(|(_, key)| fits(key)) {
        return Standing::Signed { by: name.clone() };
    }
    let named = keys.iter().find(|(_, key)| hint.is_some_and(|hint| hint == key.hint()));
    let why = match named {
        Some((name, _)) => format!("it names the key {}, and the signature does not fit", quote(name)),
        None => format!("none of the {} keys that are named signed it", keys.len()),
    };
    Standing::Bad { why }
}

/// The subjects of an in-toto statement, as far as it is one.
fn subjects(payload: &[u8]) -> Vec<String> {
    let statement: Value = serde_json::from_slice(payload).unwrap_or_default();
    let subject = |subject: &Value| {
        let name = subject["name"].as_str().unwrap_or_default();
        let digest =
            subject["digest"].as_object()?.iter().find_map(|(kind, hex)| Some(format!("{kind}:{}", hex.as_str()?)))?;
        Some(format!("{name} {digest}").trim_start().to_owned())
    };
    statement["subject"].as_array().into_iter().flatten().take(SUBJECTS_MAX).filter_map(subject).collect()
}

/// Protocol buffers read both alphabets of base64 in JSON, and DSSE says so too.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests;

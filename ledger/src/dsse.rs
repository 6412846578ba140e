//! DSSE: signatures over typed bytes (github.com/secure-systems-lab/dsse, protocol and envelope v1.0).
//!
//! Control messages and an evidence pack's attestation are such envelopes. Envelopes are read strictly: a closed object,
//! no member twice, standard base64 only.

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::encoding;
use crate::key::{BadSignature, PublicKey};

/// Signatures that an envelope may carry here.
pub const MAX_SIGNATURES: usize = 16;

/// An envelope: payload, its type, and who signed both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The bytes.
    pub payload: Vec<u8>,
    /// What they are, a media type.
    pub payload_type: String,
    /// Signatures over [`pae`] of both.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// A hint which key it is, never to be trusted.
    pub keyid: Option<String>,
    /// The signature.
    pub sig: Vec<u8>,
}

/// Bytes that are no envelope.
#[derive(Debug, thiserror::Error)]
#[error("not a DSSE envelope: {0}")]
pub struct EnvelopeError(#[from] serde_json::Error);

/// The bytes that are signed: `DSSEv1 <len(type)> <type> <len(payload)> <payload>`.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Envelope {
    /// Reads an envelope.
    pub fn parse(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The envelope in RFC 8785 form.
    pub fn print(&self) -> Vec<u8> {
        // Members are serialised in sorted order, so plain JSON is the canonical form; texts cannot fail to serialise.
        serde_json::to_vec(self).expect("texts serialise")
    }

    /// Whether `key` signed. `keyid` is not asked: it is a hint for finding keys, not a statement.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        let signed = pae(&self.payload_type, &self.payload);
        let fits = |one: &EnvelopeSignature| {
            one.sig.as_slice().try_into().is_ok_and(|sig: &[u8; 64]| key.verify(&signed, sig).is_ok())
        };
        if self.signatures.iter().any(fits) { Ok(()) } else { Err(BadSignature) }
    }
}

impl Serialize for Envelope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut object = serializer.serialize_struct("Envelope", 3)?;
        object.serialize_field("payload", &encoding::to_base64(&self.payload))?;
        object.serialize_field("payloadType", &self.payload_type)?;
        object.serialize_field("signatures", &self.signatures)?;
        object.end()
    }
}

impl Serialize for EnvelopeSignature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut object = serializer.serialize_struct("EnvelopeSignature", 2)?;
        if let Some(keyid) = &self.keyid {
            object.serialize_field("keyid", keyid)?;
        }
        object.serialize_field("sig", &encoding::to_base64(&self.sig))?;
        object.end()
    }
}

// Written by hand because a derived struct also reads an array of its fields, which would be a second spelling.

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

impl<'de> Deserialize<'de> for EnvelopeSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EnvelopeSignature, D::Error> {
        deserializer.deserialize_map(SignatureVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with payload, payloadType and signatures")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let (mut payload, mut payload_type, mut signatures) = (None, None, None);
        while let Some(member) = map.next_key::<String>()? {
            match member.as_str() {
                "payload" => once("payload", &mut payload, map.next_value::<Base64>()?.0)?,
                "payloadType" => once("payloadType", &mut payload_type, map.next_value()?)?,
                "signatures" => once("signatures", &mut signatures, map.next_value::<Signatures>()?.0)?,
                other => return Err(unknown(other)),
            }
        }
        Ok(Envelope {
            payload: payload.ok_or_else(|| de::Error::missing_field("payload"))?,
            payload_type: payload_type.ok_or_else(|| de::Error::missing_field("payloadType"))?,
            signatures: signatures.ok_or_else(|| de::Error::missing_field("signatures"))?,
        })
    }
}

struct SignatureVisitor;

impl<'de> Visitor<'de> for SignatureVisitor {
    type Value = EnvelopeSignature;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with sig and perhaps keyid")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EnvelopeSignature, A::Error> {
        let (mut keyid, mut sig) = (None, None);
        while let Some(member) = map.next_key::<String>()? {
            match member.as_str() {
                "keyid" => once("keyid", &mut keyid, map.next_value()?)?,
                "sig" => once("sig", &mut sig, map.next_value::<Base64>()?.0)?,
                other => return Err(unknown(other)),
            }
        }
        Ok(EnvelopeSignature { keyid, sig: sig.ok_or_else(|| de::Error::missing_field("sig"))? })
    }
}

fn once<T, E: de::Error>(member: &'static str, slot: &mut Option<T>, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() { Err(E::duplicate_field(member)) } else { Ok(()) }
}

fn unknown<E: de::Error>(member: &str) -> E {
    E::custom(format_args!("unknown member {:?}", member.chars().take(40).collect::<String>()))
}

/// Bytes in standard base64.
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        encoding::from_base64(&text).map(Base64).ok_or_else(|| de::Error::custom("not standard base64"))
    }
}

/// At most [`MAX_SIGNATURES`] signatures.
struct Signatures(Vec<EnvelopeSignature>);

impl<'de> Deserialize<'de> for Signatures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Signatures, D::Error> {
        deserializer.deserialize_seq(SignaturesVisitor)
    }
}

struct SignaturesVisitor;

impl<'de> Visitor<'de> for SignaturesVisitor {
    type Value = Signatures;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {MAX_SIGNATURES} signatures")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Signatures, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = seq.next_element()? {
            if all.len() == MAX_SIGNATURES {
                return Err(de::Error::invalid_length(all.len() + 1, &self));
            }
            all.push(one);
        }
        Ok(Signatures(all))
    }
}

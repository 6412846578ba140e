//! References to what is kept beside an event, such as a step's full output:
//! `obs://BUCKET/NAME?size=BYTES#sha256:HEX`, an object in a NATS object store (ADR-20) with its length and digest.
//!
//! The digest is what the log commits to, since it stands in the event: wherever the object comes from later, it is proved by its bytes.
//! A reference in any other form names something elsewhere, which nobody fetches. Left out: fetching.

use std::fmt;

use crate::ids::Tenant;

/// Longest bucket and longest name, in bytes.
const BUCKET_BYTES_MAX: usize = 80;
const NAME_BYTES_MAX: usize = 128;

/// The largest object that can be named, in bytes: sizes stay whole numbers in every JSON reader.
const SIZE_MAX: u64 = 1 << 50;

/// A reference to an object, with what its bytes must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// Their number.
    pub size: u64,
    /// Which object store.
    pub bucket: String,
    /// The object's name in it.
    pub name: String,
}

impl ObjectRef {
    /// What every such reference begins with.
    pub const SCHEME: &str = "obs://";

    /// A reference to an object that lies under its digest in the tenant's own bucket.
    pub fn own(tenant: &Tenant, sha256: [u8; 32], size: u64) -> Self {
        Self { sha256, size, bucket: bucket(tenant), name: hex(&sha256) }
    }

    /// Reads a reference; none where the text has another form. There is one text for one reference.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, digest) = text.strip_prefix(Self::SCHEME)?.split_once("#sha256:")?;
        let (place, size) = place.split_once("?size=")?;
        let (bucket, name) = place.split_once('/')?;
        let size = size.parse().ok().filter(|parsed: &u64| *parsed <= SIZE_MAX && parsed.to_string() == size)?;
        let bucket_fits = bucket.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c));
        let name_fits = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./=".contains(&c));
        let long = |text: &str, most| (1..=most).contains(&text.len());
        let fits = bucket_fits && name_fits && long(bucket, BUCKET_BYTES_MAX) && long(name, NAME_BYTES_MAX);
        let sha256 = parse_digest(digest).filter(|_| fits)?;
        Some(Self { sha256, size, bucket: bucket.to_owned(), name: name.to_owned() })
    }

    /// The digest as lowercase hex.
    pub fn hex(&self) -> String {
        hex(&self.sha256)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}?size={}#sha256:{}", Self::SCHEME, self.bucket, self.name, self.size, self.hex())
    }
}

/// The object store that a tenant's ledger takes objects out of.
pub fn bucket(tenant: &Tenant) -> String {
    format!("upm-{tenant}")
}

/// 64 lowercase hex digits as a digest.
pub fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut digest = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut out, byte| {
        for nibble in [byte >> 4, byte & 15] {
            out.extend(char::from_digit(u32::from(nibble), 16));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::{self, Scratch};

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn one_text_for_one_reference() {
        let acme = Tenant::parse("acme").unwrap();
        let own = ObjectRef::own(&acme, parse_digest(DIGEST).unwrap(), 52_428_800);
        let text = format!("obs://upm-acme/{DIGEST}?size=52428800#sha256:{DIGEST}");
        assert_eq!(own.to_string(), text);
        assert_eq!(ObjectRef::parse(&text), Some(own));
        let other = format!("obs://b/logs/x=1/aks.log?size=0#sha256:{DIGEST}");
        assert_eq!(ObjectRef::parse(&other).unwrap().to_string(), other);
    }

    #[test]
    fn anything_else_is_elsewhere() {
        let upper = DIGEST.to_uppercase();
        let long = "x".repeat(129);
        for text in [
            String::new(),
            "obs://logs/rg".to_owned(),
            format!("obs://logs/rg#sha256:{DIGEST}"),
            format!("obs://logs/rg?size=01#sha256:{DIGEST}"),
            format!("obs://logs/rg?size=+1#sha256:{DIGEST}"),
            format!("obs://logs/rg?size=-1#sha256:{DIGEST}"),
            format!("obs://logs/rg?size=1e3#sha256:{DIGEST}"),
            format!("obs://logs/rg?size=1125899906842625#sha256:{DIGEST}"),
            format!("obs://logs/rg?size=1#sha256:{upper}"),
            format!("obs://logs/rg?size=1#sha256:{DIGEST}0"),
            format!("obs://logs/rg?size=1#sha256:{DIGEST} "),
            format!("obs://logs/rg?size=1&x=2#sha256:{DIGEST}"),
            format!("obs:///rg?size=1#sha256:{DIGEST}"),
            format!("obs://logs/?size=1#sha256:{DIGEST}"),
            format!("obs://logs?size=1#sha256:{DIGEST}"),
            format!("obs://lo.gs/rg?size=1#sha256:{DIGEST}"),
            format!("obs://logs/r g?size=1#sha256:{DIGEST}"),
            format!("obs://logs/{long}?size=1#sha256:{DIGEST}"),
            format!("https://logs/rg?size=1#sha256:{DIGEST}"),
            format!(" obs://logs/rg?size=1#sha256:{DIGEST}"),
        ] {
            assert_eq!(ObjectRef::parse(&text), None, "{text}");
        }
    }

    /// A reference that was masked would name nothing any more.
    #[test]
    fn no_rule_masks_a_reference() {
        let acme = Tenant::parse("acme").unwrap();
        let reference = ObjectRef::own(&acme, parse_digest(DIGEST).unwrap(), 1).to_string();
        let event = format!(
            r#"{{"provisioning_event":{{"id":"e","timestamp":"2026-05-04T09:00:00Z","phase":"execute","intent":{{"source":"api","initiator":"ines","tenant":"acme"}},"execution":{{"steps":[{{"rc":0,"stdout_ref":"{reference}","stderr_ref":"{reference}"}}]}}}}}}"#
        );
        let mut scratch = Scratch::default();
        let (_, admitted) = admit::admit_unaddressed(event.as_bytes(), &mut scratch).unwrap();
        assert_eq!(admitted.payload, event.as_bytes());
    }
}

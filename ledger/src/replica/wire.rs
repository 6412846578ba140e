//! Chunks and listings as bytes, for a copy that is fetched over a network.
//!
//! A chunk, all numbers big-endian: `upm-chunk-1\n`, log (u32), from, available (u64), a byte 0 or 1 and with 1 the position (stream
//! created ns, sequence, at ns, fingerprint, answered), number of rows (u32) and the rows, number of checkpoints (u32) and of each its
//! size (u64) and note, and the SHA-256 of everything before. A row: its entry; a byte of flags (1 payload, 2 change key, 4 details,
//! 8 opening); then what they say: salt, fingerprint, change key, payload; subject,
//! path, found and expected of a rejection; salt and opening. Texts and bytes of any
//! length stand behind their length (u32). One encoding for each chunk. A listing is JSON.

use schemas::ids::Tenant;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{Chunk, Copied, CopiedRow, ListedLog, ListedTenant, Listing, Position};
use crate::append::Cursor;
use crate::dedupe::Fingerprint;
use crate::encoding;
use crate::entry::Salt;
use crate::hash::Hash;
use crate::layout::{Details, LogId};

const MAGIC: &[u8] = b"upm-chunk-1\n";
const PAYLOAD: u8 = 1;
const CHANGE_KEY: u8 = 2;
const DETAILS: u8 = 4;
const OPENING: u8 = 8;

/// Bytes that are no chunk or no listing.
#[derive(Debug, Error)]
pub enum WireError {
    /// Cut off, changed on the way, or something else altogether.
    #[error("no chunk of a ledger, or one that was changed on its way: {0}")]
    Chunk(&'static str),
    /// No listing.
    #[error("no listing of a ledger: {0}")]
    Listing(String),
}

impl Chunk {
    /// The chunk's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let payloads = self.rows.iter().map(|row| row.entry.len() + row.beside.as_ref().map_or(0, |b| b.payload.len()));
        let mut out = Vec::with_capacity(payloads.sum::<usize>() + self.rows.len() * 64 + 1_024);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.log.0.to_be_bytes());
        out.extend_from_slice(&self.from.to_be_bytes());
        out.extend_from_slice(&self.available.to_be_bytes());
        out.push(u8::from(self.position.is_some()));
        if let Some(Position { cursor, answered }) = &self.position {
            for number in [cursor.stream_created_ns, cursor.sequence, cursor.at_ns] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            out.extend_from_slice(&cursor.digest.0);
            out.extend_from_slice(&answered.to_be_bytes());
        }
        put_length(&mut out, self.rows.len());
        self.rows.iter().for_each(|row| put_row(&mut out, row));
        put_length(&mut out, self.checkpoints.len());
        for (size, note) in &self.checkpoints {
            out.extend_from_slice(&size.to_be_bytes());
            put_bytes(&mut out, note.as_bytes());
        }
        let digest = Sha256::digest(&out);
        out.extend_from_slice(&digest);
        out
    }

    /// The inverse of [`encode`](Self::encode).
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (body, digest) = bytes.split_last_chunk::<32>().ok_or(WireError::Chunk("too short"))?;
        if Sha256::digest(body)[..] != *digest {
            return Err(WireError::Chunk("its digest is another"));
        }
        let body = body.strip_prefix(MAGIC).ok_or(WireError::Chunk("it begins otherwise"))?;
        let mut fields = Fields(body);
        let log = LogId(u32::from_be_bytes(fields.array()?));
        let (from, available) = (fields.number()?, fields.number()?);
        let position = fields.flag()?.then(|| fields.position()).transpose()?;
        let count = fields.length()?;
        let rows = (0..count).map(|_| fields.row()).collect::<Result<_, _>>()?;
        let count = fields.length()?;
        let checkpoints = (0..count).map(|_| Ok((fields.number()?, fields.text()?))).collect::<Result<_, _>>()?;
        if !fields.0.is_empty() {
            return Err(WireError::Chunk("something follows"));
        }
        Ok(Self { log, from, rows, checkpoints, position, available })
    }
}

fn put_row(out: &mut Vec<u8>, row: &CopiedRow) {
    put_bytes(out, &row.entry);
    let change_key = row.beside.as_ref().and_then(|beside| beside.change_key);
    let flags = [
        (PAYLOAD, row.beside.is_some()),
        (CHANGE_KEY, change_key.is_some()),
        (DETAILS, row.details.is_some()),
        (OPENING, row.opening.is_some()),
    ];
    out.push(flags.into_iter().filter(|(_, is)| *is).map(|(flag, _)| flag).sum());
    if let Some(beside) = &row.beside {
        out.extend_from_slice(&beside.salt.0);
        out.extend_from_slice(&beside.fingerprint.0);
        out.extend_from_slice(change_key.as_ref().map_or(&[], |key| &key[..]));
        put_bytes(out, &beside.payload);
    }
    if let Some(details) = &row.details {
        for text in [&details.subject, &details.path, &details.found, &details.expected] {
            put_bytes(out, text.as_bytes());
        }
    }
    if let Some((salt, opening)) = &row.opening {
        out.extend_from_slice(&salt.0);
        put_bytes(out, opening);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    // No chunk comes near 4 GiB: a round has at most 8,192 items and 16 MiB of payloads.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Chunk("cut off"))?;
        self.0 = rest;
        Ok(*field)
    }

    fn number(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    fn length(&mut self) -> Result<usize, WireError> {
        Ok(u32::from_be_bytes(self.array()?) as usize)
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(WireError::Chunk("a flag is 0 or 1")),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, WireError> {
        let length = self.length()?;
        let (field, rest) = self.0.split_at_checked(length).ok_or(WireError::Chunk("cut off"))?;
        self.0 = rest;
        Ok(field.to_vec())
    }

    fn text(&mut self) -> Result<String, WireError> {
        String::from_utf8(self.bytes()?).map_err(|_| WireError::Chunk("a text is UTF-8"))
    }

    fn position(&mut self) -> Result<Position, WireError> {
        let (stream_created_ns, sequence, at_ns) = (self.number()?, self.number()?, self.number()?);
        let digest = Fingerprint(self.array()?);
        Ok(Position { cursor: Cursor { stream_created_ns, sequence, at_ns, digest }, answered: self.number()? })
    }

    fn row(&mut self) -> Result<CopiedRow, WireError> {
        let entry = self.bytes()?;
        let [flags] = self.array()?;
        let has = |flag: u8| flags & flag != 0;
        if flags > 15 || (has(CHANGE_KEY) && !has(PAYLOAD)) {
            return Err(WireError::Chunk("unknown flags of a row"));
        }
        let beside = if has(PAYLOAD) { Some(self.beside(has(CHANGE_KEY))?) } else { None };
        let details = if has(DETAILS) { Some(self.details()?) } else { None };
        let opening = if has(OPENING) { Some((Salt(self.array()?), self.bytes()?)) } else { None };
        Ok(CopiedRow { entry, beside, details, opening })
    }

    fn beside(&mut self, with_key: bool) -> Result<Copied, WireError> {
        let (salt, fingerprint) = (Salt(self.array()?), Fingerprint(self.array()?));
        let change_key = with_key.then(|| self.array()).transpose()?;
        Ok(Copied { salt, fingerprint, change_key, payload: self.bytes()? })
    }

    fn details(&mut self) -> Result<Details, WireError> {
        Ok(Details { subject: self.text()?, path: self.text()?, found: self.text()?, expected: self.text()? })
    }
}

#[derive(Serialize, Deserialize)]
struct WireListing {
    name: String,
    logs: Vec<WireLog>,
}

#[derive(Serialize, Deserialize)]
struct WireLog {
    log: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dedupe_check: Option<String>,
    size: u64,
    root: Hash,
    road: u64,
    answered: u64,
}

impl Listing {
    /// The listing as JSON.
    pub fn to_json(&self) -> String {
        let logs = self.logs.iter().map(|listed| WireLog {
            log: listed.log.0,
            tenant: listed.tenant.as_ref().map(|tenant| tenant.name.to_string()),
            dedupe_check: listed.tenant.as_ref().map(|tenant| hex::encode(tenant.dedupe_check)),
            size: listed.size,
            root: listed.root,
            road: listed.road,
            answered: listed.answered,
        });
        let listing = WireListing { name: self.name.clone(), logs: logs.collect() };
        // Texts and numbers only: nothing in it can fail to serialise.
        serde_json::to_string(&listing).unwrap_or_default()
    }

    /// The inverse of [`to_json`](Self::to_json).
    pub fn from_json(json: &[u8]) -> Result<Self, WireError> {
        let listing: WireListing =
            serde_json::from_slice(json).map_err(|error| WireError::Listing(error.to_string()))?;
        let mut logs = Vec::with_capacity(listing.logs.len());
        for listed in listing.logs {
            let tenant = match (listed.tenant, listed.dedupe_check) {
                (Some(name), Some(check)) => Some(listed_tenant(&name, &check)?),
                (None, None) => None,
                _ => return Err(WireError::Listing("a tenant has a name and a check value".to_owned())),
            };
            if tenant.is_none() != (listed.log == LogId::LEDGER.0) {
                return Err(WireError::Listing(format!("log {}: every log but 0 has a tenant", listed.log)));
            }
            let WireLog { log, size, root, road, answered, .. } = listed;
            logs.push(ListedLog { log: LogId(log), tenant, size, root, road, answered });
        }
        Ok(Self { name: listing.name, logs })
    }
}

fn listed_tenant(name: &str, check: &str) -> Result<ListedTenant, WireError> {
    let name = Tenant::parse(name).map_err(|error| WireError::Listing(error.to_string()))?;
    let check = encoding::array_from_hex(check);
    let dedupe_check = check.ok_or_else(|| WireError::Listing("a check value is 32 hex digits".to_owned()))?;
    Ok(ListedTenant { name, dedupe_check })
}

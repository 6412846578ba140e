//! Keys of all rows. `Key::bytes` and `Key::decode` are each other's inverse.

use std::fmt;
use std::ops::Deref;

use schemas::ids::Tenant;

use super::LayoutError;
use crate::dedupe::Fingerprint;
use crate::kv::Space;
use crate::tree::TileId;

/// Number of a log in its store. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

impl LogId {
    /// The ledger's own log, `_ledger`.
    pub const LEDGER: Self = Self(0);
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {}", self.0)
    }
}

/// The key of a row; the table is in [the module above](super).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// An entry's header bytes, by index.
    Entry(LogId, u64),
    /// A block of payloads, by the index of its last.
    Payload(LogId, u64),
    /// A full tile.
    Tile(LogId, TileId),
    /// A checkpoint, by tree size.
    Checkpoint(LogId, u64),
    /// Details of a rejection, by index.
    Details(LogId, u64),
    /// What a tenant's commitment opens to, by index in `_ledger`.
    Opening(LogId, u64),
    /// Cosignature lines of a checkpoint, by tree size.
    Cosignatures(LogId, u64),
    /// Index of a control entry, by its counter.
    Control(LogId, u64),
    /// Index of an accepted event, by fingerprint.
    Dedupe(LogId, Fingerprint),
    /// Head of a change's chain, by change key.
    Chain(LogId, [u8; 16]),
    /// Format version.
    Format,
    /// Ledger name.
    LedgerName,
    /// Next log number.
    NextLog,
    /// What is known of a log since its birth.
    Log(LogId),
    /// A log's head.
    Head(LogId),
    /// Log number of a tenant.
    Tenant(Tenant),
    /// Size of a log's newest checkpoint with enough cosignatures.
    NewestCosigned(LogId),
}

const ENTRY: u8 = 1;
const PAYLOAD: u8 = 2;
const TILE: u8 = 3;
const CHECKPOINT: u8 = 4;
const DETAILS: u8 = 5;
const OPENING: u8 = 6;
const COSIGNATURES: u8 = 8;
const CONTROL: u8 = 7;

const DEDUPE: u8 = 1;
const CHAIN: u8 = 2;

const FORMAT: u8 = 0;
const LEDGER_NAME: u8 = 1;
const NEXT_LOG: u8 = 2;
const LOG: u8 = 3;
const HEAD: u8 = 4;
const TENANT: u8 = 5;
const NEWEST_COSIGNED: u8 = 6;

impl Key {
    /// Where the row lives.
    pub fn space(&self) -> Space {
        match self {
            Self::Entry(..) => Space::Entries,
            Self::Payload(..) => Space::Payloads,
            Self::Tile(..)
            | Self::Checkpoint(..)
            | Self::Details(..)
            | Self::Opening(..)
            | Self::Control(..)
            | Self::Cosignatures(..) => Space::Tree,
            Self::Dedupe(..) | Self::Chain(..) => Space::Index,
            Self::Format | Self::LedgerName | Self::NextLog | Self::Log(_) | Self::Head(_) | Self::Tenant(_) => {
                Space::Meta
            }
            Self::NewestCosigned(_) => Space::Meta,
        }
    }

    /// The key as stored.
    pub fn bytes(&self) -> KeyBytes {
        match self {
            Self::Entry(log, index) => numbered(ENTRY, *log, *index),
            Self::Payload(log, index) => numbered(PAYLOAD, *log, *index),
            Self::Tile(log, tile) => KeyBytes::of_log(TILE, *log).with(&[tile.level]).with(&tile.index.to_be_bytes()),
            Self::Checkpoint(log, size) => numbered(CHECKPOINT, *log, *size),
            Self::Details(log, index) => numbered(DETAILS, *log, *index),
            Self::Opening(log, index) => numbered(OPENING, *log, *index),
            Self::Cosignatures(log, size) => numbered(COSIGNATURES, *log, *size),
            Self::Control(log, counter) => numbered(CONTROL, *log, *counter),
            Self::Dedupe(log, fingerprint) => KeyBytes::of_log(DEDUPE, *log).with(&fingerprint.0),
            Self::Chain(log, change) => KeyBytes::of_log(CHAIN, *log).with(change),
            Self::Format => KeyBytes::of_kind(FORMAT),
            Self::LedgerName => KeyBytes::of_kind(LEDGER_NAME),
            Self::NextLog => KeyBytes::of_kind(NEXT_LOG),
            Self::Log(log) => KeyBytes::of_log(LOG, *log),
            Self::Head(log) => KeyBytes::of_log(HEAD, *log),
            Self::Tenant(tenant) => KeyBytes::of_kind(TENANT).with(tenant.as_str().as_bytes()),
            Self::NewestCosigned(log) => KeyBytes::of_log(NEWEST_COSIGNED, *log),
        }
    }

    /// The inverse of [`bytes`](Self::bytes).
    pub fn decode(space: Space, bytes: &[u8]) -> Result<Self, LayoutError> {
        let refused = LayoutError { what: space.name(), expected: "a known kind and its length", found: bytes.len() };
        let (&kind, rest) = bytes.split_first().ok_or(refused.clone())?;
        let key = match space {
            Space::Entries | Space::Payloads | Space::Tree => decode_numbered(kind, rest),
            Space::Index => decode_index(kind, rest),
            Space::Meta => decode_meta(kind, rest),
        };
        key.filter(|key| key.space() == space).ok_or(refused)
    }
}

fn decode_numbered(kind: u8, rest: &[u8]) -> Option<Key> {
    if kind == TILE {
        let (log, tail) = log_and::<9>(rest)?;
        let (&level, index) = tail.split_first()?;
        return Some(Key::Tile(log, TileId { level, index: u64::from_be_bytes(index.try_into().ok()?) }));
    }
    let (log, number) = log_and(rest)?;
    let number = u64::from_be_bytes(number);
    Some(match kind {
        ENTRY => Key::Entry(log, number),
        PAYLOAD => Key::Payload(log, number),
        CHECKPOINT => Key::Checkpoint(log, number),
        DETAILS => Key::Details(log, number),
        OPENING => Key::Opening(log, number),
        COSIGNATURES => Key::Cosignatures(log, number),
        CONTROL => Key::Control(log, number),
        _ => return None,
    })
}

fn decode_index(kind: u8, rest: &[u8]) -> Option<Key> {
    match kind {
        DEDUPE => log_and(rest).map(|(log, key)| Key::Dedupe(log, Fingerprint(key))),
        CHAIN => log_and(rest).map(|(log, key)| Key::Chain(log, key)),
        _ => None,
    }
}

fn decode_meta(kind: u8, rest: &[u8]) -> Option<Key> {
    match (kind, rest) {
        (FORMAT, []) => Some(Key::Format),
        (LEDGER_NAME, []) => Some(Key::LedgerName),
        (NEXT_LOG, []) => Some(Key::NextLog),
        (LOG, _) => log_and::<0>(rest).map(|(log, _)| Key::Log(log)),
        (HEAD, _) => log_and::<0>(rest).map(|(log, _)| Key::Head(log)),
        (NEWEST_COSIGNED, _) => log_and::<0>(rest).map(|(log, _)| Key::NewestCosigned(log)),
        (TENANT, _) => Tenant::parse(std::str::from_utf8(rest).ok()?).ok().map(Key::Tenant),
        _ => None,
    }
}

/// A log number and exactly `N` bytes behind it.
fn log_and<const N: usize>(rest: &[u8]) -> Option<(LogId, [u8; N])> {
    let (log, tail) = rest.split_first_chunk::<4>()?;
    Some((LogId(u32::from_be_bytes(*log)), tail.try_into().ok()?))
}

fn numbered(kind: u8, log: LogId, number: u64) -> KeyBytes {
    KeyBytes::of_log(kind, log).with(&number.to_be_bytes())
}

/// A key's bytes, on the stack: a round makes thousands. The longest is a tenant's: 1 + 63.
#[derive(Clone, Copy)]
pub struct KeyBytes {
    bytes: [u8; 64],
    len: usize,
}

impl KeyBytes {
    fn of_kind(kind: u8) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = kind;
        Self { bytes, len: 1 }
    }

    fn of_log(kind: u8, log: LogId) -> Self {
        Self::of_kind(kind).with(&log.0.to_be_bytes())
    }

    fn with(mut self, part: &[u8]) -> Self {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&**self))
    }
}

//! Where chunks come from: the seam, and the store of another copy behind it.

use std::error::Error;

use schemas::ids::Tenant;
use thiserror::Error;

use super::wire::WireError;
use super::{Chunk, Copied, CopiedRow, Limits, ListedLog, ListedTenant, Listing, Position};
use crate::birth::{self, BirthError};
use crate::checkpoint::Origin;
use crate::dedupe::DedupeKey;
use crate::entry::{EntryError, Header, Salt};
use crate::governance::KeyChain;
use crate::kv::{Kv, KvError, Space};
use crate::layout::{Details, Key, LayoutError, LogId, LogRow, SignedAt};
use crate::read::{Ceiling, Log, ReadError};

/// Entries that are read at once, at least.
const STEP: u64 = 256;

/// Another copy of a ledger. Asked again after an error it may answer; what it answers is believed only where it is proved.
pub trait Source {
    /// What the ledger consists of. `_ledger` is read last: it lists at least every log that is in the answer.
    fn listing(&self) -> Result<Listing, SourceError>;

    /// Entries of a log from `from` on, see [`Chunk`]. Of `from` = 0 the first entry alone; past the end an error.
    fn chunk(&self, log: LogId, from: u64, limits: Limits) -> Result<Chunk, SourceError>;

    /// How the keys of a log lead to the one that signs its newest checkpoint, as [`KeyChain::print`] writes it; none for a log
    /// that has had one key only.
    fn key_chain(&self, log: LogId, origin: &Origin) -> Result<Option<Vec<u8>>, SourceError>;
}

/// Why a copy could not be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Its store failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row of its store is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It holds no ledger, or one of a newer version.
    #[error(transparent)]
    Birth(#[from] BirthError),
    /// An entry of it is damaged.
    #[error("{log}: entry {index} is damaged: {source}")]
    Entry {
        /// Which log.
        log: LogId,
        /// Which entry.
        index: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// It has no such log.
    #[error("there is no {0} here")]
    NoLog(LogId),
    /// It has fewer entries than it was asked to go on from.
    #[error("{log}: asked for entries from {from} on, there are only {size}")]
    Beyond {
        /// Which log.
        log: LogId,
        /// The first entry asked for.
        from: u64,
        /// Its entries.
        size: u64,
    },
    /// What arrived is no chunk or listing, or was changed on its way.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It could not be reached, or said no.
    #[error("{0}")]
    Remote(Box<dyn Error + Send + Sync>),
}

/// Up to where each log may be shown.
type Ceilings<'a> = Box<dyn Fn(LogId) -> Option<Ceiling> + Send + Sync + 'a>;

/// The tenants' dedupe keys that are at hand.
type DedupeKeys<'a> = Box<dyn Fn(&Tenant) -> Option<DedupeKey> + Send + Sync + 'a>;

/// A copy in a store of this process: a leader's own, a backup's.
pub struct KvSource<'a, K> {
    kv: K,
    ceilings: Ceilings<'a>,
    dedupe: DedupeKeys<'a>,
}

impl<'a, K: Kv> KvSource<'a, K> {
    /// The store `kv`; `dedupe` gives the tenants' dedupe keys, of which the copy's change index is made. Whoever copies without
    /// having them needs them here.
    pub fn new(kv: K, dedupe: impl Fn(&Tenant) -> Option<DedupeKey> + Send + Sync + 'a) -> Self {
        Self { kv, ceilings: Box::new(|_| None), dedupe: Box::new(dedupe) }
    }

    /// Gives nothing past the ceilings of the logs that have one.
    #[must_use]
    pub fn below(self, ceilings: impl Fn(LogId) -> Option<Ceiling> + Send + Sync + 'a) -> Self {
        Self { ceilings: Box::new(ceilings), ..self }
    }

    /// The store.
    pub fn kv(&self) -> &K {
        &self.kv
    }

    fn log(&self, log: LogId) -> Result<Log<&K>, SourceError> {
        let open = Log::open(&self.kv, log)?;
        Ok(match (self.ceilings)(log) {
            Some(ceiling) => open.below(ceiling),
            None => open,
        })
    }

    fn listed(&self, log: LogId, tenant: Option<ListedTenant>) -> Result<ListedLog, SourceError> {
        let head = self.log(log)?.head()?;
        let (road, answered) = (head.cursor.sequence, head.answered);
        Ok(ListedLog { log, tenant, size: head.size, root: head.edge.root(), road, answered })
    }

    /// Sizes past `from` at which the chunk may end: those wanted, or the next one.
    fn ends(&self, log: LogId, from: u64, size: u64, limits: Limits) -> Result<Vec<(u64, String)>, SourceError> {
        let last = from.saturating_add(limits.entries.max(1)).min(size);
        let wanted = self.checkpoints(log, from + 1, last, usize::MAX)?;
        if wanted.is_empty() { self.checkpoints(log, from + 1, size, 1) } else { Ok(wanted) }
    }

    fn checkpoints(&self, log: LogId, from: u64, to: u64, limit: usize) -> Result<Vec<(u64, String)>, SourceError> {
        let (from, to) = (Key::Checkpoint(log, from).bytes(), Key::Checkpoint(log, to.saturating_add(1)).bytes());
        let rows = self.kv.range(Space::Tree, &from, &to, limit)?;
        let read = |(key, row): (Vec<u8>, Vec<u8>)| match Key::decode(Space::Tree, &key)? {
            Key::Checkpoint(_, size) => Ok((size, SignedAt::decode(&row)?.note)),
            _ => Err(LayoutError { what: "tree", expected: "a checkpoint", found: key.len() }.into()),
        };
        rows.into_iter().map(read).collect()
    }

    fn rows(&self, log: LogId, from: u64, to: u64, key: Option<&DedupeKey>) -> Result<Vec<CopiedRow>, SourceError> {
        let reader = Log::open(&self.kv, log)?;
        let entries = reader.entries(from..to, usize::MAX)?;
        let mut stored = reader.stored_range(from..to, usize::MAX)?.into_iter().peekable();
        let mut rows = Vec::with_capacity(entries.len());
        for (expected, (index, entry)) in (from..to).zip(entries) {
            if index != expected {
                return Err(ReadError::Missing { what: "entry", log, number: expected }.into());
            }
            let header = Header::decode(&entry).map_err(|source| SourceError::Entry { log, index, source })?;
            let beside = stored.next_if(|(at, _)| *at == index).map(|(_, stored)| Copied {
                salt: stored.salt,
                fingerprint: stored.fingerprint,
                change_key: match &header {
                    Header::Event(event) => key.map(|key| key.change_key(&event.change)),
                    _ => None,
                },
                payload: stored.payload,
            });
            let details = match &header {
                Header::Rejection(_) => self.details(log, index)?,
                _ => None,
            };
            let opening = match &header {
                Header::Control(_) if log == LogId::LEDGER => self.opening(index)?,
                _ => None,
            };
            rows.push(CopiedRow { entry, beside, details, opening });
        }
        if (rows.len() as u64) < to - from {
            return Err(ReadError::Missing { what: "entry", log, number: from + rows.len() as u64 }.into());
        }
        Ok(rows)
    }

    fn details(&self, log: LogId, index: u64) -> Result<Option<Details>, SourceError> {
        let key = Key::Details(log, index);
        let row = self.kv.get(Space::Tree, &key.bytes())?;
        Ok(row.map(|row| Details::decode(&key, &row)).transpose()?)
    }

    fn opening(&self, index: u64) -> Result<Option<(Salt, Vec<u8>)>, SourceError> {
        Ok(birth::opening(&self.kv, index)?)
    }

    /// The dedupe key of a log's tenant, if it is the one that the log was born with.
    fn dedupe_of(&self, log: LogId) -> Result<Option<DedupeKey>, SourceError> {
        let row = self.kv.get(Space::Meta, &Key::Log(log).bytes())?.unwrap_or_default();
        Ok(match LogRow::decode(log, &row)? {
            LogRow::Ledger => None,
            LogRow::Tenant { tenant, dedupe_check } => {
                (self.dedupe)(&tenant).filter(|key| key.check_value() == dedupe_check)
            }
        })
    }
}

impl<K: Kv> Source for KvSource<'_, K> {
    fn key_chain(&self, log: LogId, _: &Origin) -> Result<Option<Vec<u8>>, SourceError> {
        let log = self.log(log)?;
        Ok(KeyChain::build(&log, log.head()?.size)?.map(|chain| chain.print()))
    }

    fn listing(&self) -> Result<Listing, SourceError> {
        let name = birth::ledger_name(&self.kv)?.ok_or(BirthError::NoLedger)?;
        let (from, to) = (Key::Log(LogId(0)).bytes(), Key::Log(LogId(u32::MAX)).bytes());
        let mut logs = Vec::new();
        for (key, row) in self.kv.range(Space::Meta, &from, &to, usize::MAX)? {
            let Key::Log(log) = Key::decode(Space::Meta, &key)? else { continue };
            if let LogRow::Tenant { tenant: name, dedupe_check } = LogRow::decode(log, &row)? {
                logs.push(self.listed(log, Some(ListedTenant { name, dedupe_check }))?);
            }
        }
        logs.insert(0, self.listed(LogId::LEDGER, None)?);
        Ok(Listing { name, logs })
    }

    fn chunk(&self, log: LogId, from: u64, limits: Limits) -> Result<Chunk, SourceError> {
        // The head first: rows under it never change, and its cursor belongs to exactly this size.
        let newest = match Log::open(&self.kv, log) {
            // A log has a row of its own beside its head: without both it never was.
            Err(ReadError::Missing { .. }) if self.kv.get(Space::Meta, &Key::Log(log).bytes())?.is_none() => {
                return Err(SourceError::NoLog(log));
            }
            open => open?.head()?,
        };
        let head = self.log(log)?.head()?;
        if from > head.size {
            return Err(SourceError::Beyond { log, from, size: head.size });
        }
        let limits = if from == 0 { Limits { entries: 1, bytes: 0 } } else { limits };
        let (mut rows, mut checkpoints) = (Vec::new(), Vec::new());
        if from == head.size {
            checkpoints = self.checkpoints(log, from, from, 1)?;
        } else {
            let key = self.dedupe_of(log)?;
            let (mut at, mut bytes) = (from, 0);
            let mut ends = self.ends(log, from, head.size, limits)?.into_iter().peekable();
            while let Some((end, note)) = ends.next() {
                checkpoints.push((end, note));
                if end - at < STEP && ends.peek().is_some() {
                    continue;
                }
                let read = self.rows(log, at, end, key.as_ref())?;
                bytes += read.iter().filter_map(|row| row.beside.as_ref()).map(|b| b.payload.len()).sum::<usize>();
                rows.extend(read);
                at = end;
                if bytes >= limits.bytes {
                    break;
                }
            }
        }
        let end = from + rows.len() as u64;
        // Below a ceiling nobody knows how far the road was read for just these entries.
        let whole = end == newest.size;
        let position = whole.then_some(Position { cursor: newest.cursor, answered: newest.answered });
        Ok(Chunk { log, from, rows, checkpoints, position, available: head.size })
    }
}

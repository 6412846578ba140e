//! The evidence pack of a change, out of a log: reads, plans, seals. What is in a pack and why is `evidence`'s.

use std::cell::RefCell;
use std::io::{self, Read};
use std::ops::Range;

use ledger::checkpoint::Origin;
use ledger::entry::Salt;
use ledger::frontier::Frontier;
use ledger::governance::KeyChain;
use ledger::hash::Hash;
use ledger::kv::Kv;
use ledger::note::VerifierKey;
use ledger::read::{Log, ReadError};
use projector::approval::Rules;
use projector::document::Context;
use schemas::ids::ChangeId;

use evidence::{KeptObject, PackError, PackInput, PackLog, PackPlan};

use crate::objects_dir::ObjectDir;

/// Headers that a pack carries behind the change's last entry: some 200 MB.
const MAX_LATER_HEADERS: u64 = 500_000;

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum PackingError {
    /// No event of the change is in the log, or none below the size asked for.
    #[error("there is no change {change} among the first {size} entries")]
    NoChange {
        /// The change.
        change: ChangeId,
        /// The tree size.
        size: u64,
    },
    /// The size lies beyond the newest checkpoint.
    #[error("the log has no checkpoint of {size} or more entries yet")]
    NotSigned {
        /// The size asked for.
        size: u64,
    },
    /// So many entries behind the change's last one make no pack that anybody wants to open.
    #[error(
        "{count} entries stand behind the change's last one, at most {MAX_LATER_HEADERS} go into a pack: make a population of the time since, and \
         verify the pack with --population"
    )]
    TooManyHeaders {
        /// How many there are.
        count: u64,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The entries make no pack.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// Inclusion proofs that are made at once, which is cheaper than one by one.
const PATHS_AT_ONCE: usize = 256;

/// The events of a change in a log, for the pack that is made of them.
#[derive(Clone, Debug)]
pub struct Events<K> {
    log: Log<K>,
    indices: Vec<u64>,
    size: u64,
    objects: ObjectDir,
    /// The last proofs that were made, and the place of the first of them.
    paths: RefCell<(usize, Vec<Vec<Hash>>)>,
}

impl<K: Kv> Events<K> {
    fn index(&self, place: usize) -> Result<u64, ReadError> {
        let missing = ReadError::Missing { what: "event", log: self.log.id(), number: place as u64 };
        self.indices.get(place).copied().ok_or(missing)
    }
}

impl<K: Kv + Clone> PackLog for Events<K> {
    type Error = ReadError;

    fn indices(&self) -> Vec<u64> {
        self.indices.clone()
    }

    fn entry(&self, place: usize) -> Result<Vec<u8>, ReadError> {
        let number = self.index(place)?;
        self.log.entry(number)?.ok_or(ReadError::Missing { what: "entry", log: self.log.id(), number })
    }

    fn stored(&self, place: usize) -> Result<(Salt, Vec<u8>), ReadError> {
        let number = self.index(place)?;
        let missing = ReadError::Missing { what: "payload", log: self.log.id(), number };
        let stored = self.log.stored(number)?.ok_or(missing)?;
        Ok((stored.salt, stored.payload))
    }

    fn path(&self, place: usize) -> Result<Vec<Hash>, ReadError> {
        let known = |(first, paths): &(usize, Vec<Vec<Hash>>)| paths.get(place.checked_sub(*first)?).cloned();
        if let Some(path) = known(&self.paths.borrow()) {
            return Ok(path);
        }
        let until = self.indices.len().min(place.saturating_add(PATHS_AT_ONCE));
        let indices = self.indices.get(place..until).unwrap_or_default();
        let made = self.log.inclusions(indices, self.size)?;
        let first = made.first().cloned().unwrap_or_default();
        *self.paths.borrow_mut() = (place, made);
        Ok(first)
    }

    fn behind(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError> {
        Ok(self.log.entries(range, usize::MAX)?.into_iter().map(|(_, entry)| entry).collect())
    }

    fn object(&self, sha256: &[u8; 32]) -> Result<Option<KeptObject>, ReadError> {
        // One that can't be looked at is not here; `upm fsck` says what is wrong with it.
        let kept = self.objects.kept(&hex::encode(sha256)).unwrap_or_else(|error| {
            tracing::warn!(%error, object = hex::encode(sha256), "an object can't be looked at");
            None
        });
        Ok(kept.map(|(size, crc)| KeptObject { size, crc }))
    }

    fn open_object(&self, sha256: &[u8; 32]) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(self.objects.open(&hex::encode(sha256))?))
    }
}

/// The first signed size that is at least `at`; without one, the newest.
pub fn signed_size<K: Kv>(log: &Log<K>, at: Option<u64>) -> Result<u64, PackingError> {
    match at {
        None => Ok(log.head()?.size),
        Some(size) => {
            log.checkpoint_at_or_after(size)?.map(|(signed, _)| signed).ok_or(PackingError::NotSigned { size })
        }
    }
}

/// Plans the pack of `change`, whose events stand at `indices`, under the checkpoint of exactly `size` entries, with what is kept beside the log.
pub fn plan<K: Kv + Clone>(
    (log, objects): (&Log<K>, &ObjectDir),
    origin: &Origin,
    indices: Vec<u64>,
    change: &ChangeId,
    size: u64,
    with_headers: bool,
) -> Result<PackPlan<Events<K>>, PackingError> {
    let checkpoint = log.checkpoint(size)?.ok_or(PackingError::NotSigned { size })?;
    if indices.is_empty() {
        return Err(PackingError::NoChange { change: change.clone(), size });
    }
    // Those that sign this size, as the log itself knew them by then: what comes later must not change a pack.
    let keys = log.governance_at(size)?;
    let keys = keys.log_keys();
    let signing = keys.signing(size).last().map_or(*keys.current(), |key| key.key);
    let input = PackInput {
        origin: origin.clone(),
        change: change.clone(),
        size,
        root: log.root(size)?,
        checkpoint,
        cosignatures: log.cosignature_lines(size)?,
        context: circumstances(log, origin, size)?,
        headers: if with_headers { Some(up_to_last(log, &indices, size)?) } else { None },
        log: Events { log: log.clone(), indices, size, objects: objects.clone(), paths: RefCell::default() },
        keys: KeyChain::build(log, size)?,
        verifier: VerifierKey::new(origin.key_name().clone(), signing),
    };
    Ok(evidence::plan(&input)?)
}

/// By what a change is judged at this size of its log: the tenant's rules of approvals, and the newest entry's time.
pub fn circumstances<K: Kv>(log: &Log<K>, origin: &Origin, size: u64) -> Result<Context, ReadError> {
    let rules = Rules::of(origin.as_str(), &log.facts_over_time(size)?);
    let last = size.checked_sub(1).map(|index| log.header(index)).transpose()?.flatten();
    Ok(Context { rules, as_of_ms: last.and_then(|header| header.at()).unwrap_or_default() })
}

/// The tree up to and with the change's last entry, behind which every entry is to be in the pack.
fn up_to_last<K: Kv>(log: &Log<K>, indices: &[u64], size: u64) -> Result<Frontier, PackingError> {
    let first = indices.last().map_or(0, |last| last + 1);
    if size - first > MAX_LATER_HEADERS {
        return Err(PackingError::TooManyHeaders { count: size - first });
    }
    Ok(log.frontier(first)?)
}

//! The evidence pack of a change, out of a log: reads, plans, seals. What is in a pack and why is `evidence`'s.

use ledger::checkpoint::Origin;
use ledger::governance::KeyChain;
use ledger::kv::Kv;
use ledger::note::VerifierKey;
use ledger::read::{Log, ReadError};
use ledger::signing::Signer;
use projector::approval::Rules;
use projector::document::Context;
use schemas::ids::ChangeId;

use evidence::{LaterHeaders, PackEntry, PackError, PackInput, PackPlan};

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
    /// The zip could not be written.
    #[error(transparent)]
    Write(#[from] evidence::zip::WriteError),
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

/// Plans the pack of `change`, whose events stand at `indices`, under the checkpoint of exactly `size` entries.
pub fn plan<K: Kv>(
    log: &Log<K>,
    origin: &Origin,
    indices: &[u64],
    change: &ChangeId,
    size: u64,
    with_headers: bool,
) -> Result<PackPlan, PackingError> {
    let checkpoint = log.checkpoint(size)?.ok_or(PackingError::NotSigned { size })?;
    if indices.is_empty() {
        return Err(PackingError::NoChange { change: change.clone(), size });
    }
    let mut entries = Vec::with_capacity(indices.len());
    for (index, path) in indices.iter().copied().zip(log.inclusions(indices, size)?) {
        let missing = |what| ReadError::Missing { what, log: log.id(), number: index };
        let entry = log.entry(index)?.ok_or_else(|| missing("entry"))?;
        let stored = log.stored(index)?.ok_or_else(|| missing("payload"))?;
        entries.push(PackEntry { index, entry, salt: stored.salt, payload: stored.payload, path });
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
        entries,
        keys: KeyChain::build(log, size)?,
        verifier: VerifierKey::new(origin.key_name().clone(), signing),
        headers: if with_headers { Some(later(log, indices, size)?) } else { None },
    };
    Ok(evidence::plan(&input)?)
}

/// By what a change is judged at this size of its log: the tenant's rules of approvals, and the newest entry's time.
pub fn circumstances<K: Kv>(log: &Log<K>, origin: &Origin, size: u64) -> Result<Context, ReadError> {
    let rules = Rules::of(origin.as_str(), &log.facts_over_time(size)?);
    let last = size.checked_sub(1).map(|index| log.header(index)).transpose()?.flatten();
    Ok(Context { rules, as_of_ms: last.and_then(|header| header.at()).unwrap_or_default() })
}

/// Every entry behind the change's last one, up to `size`.
fn later<K: Kv>(log: &Log<K>, indices: &[u64], size: u64) -> Result<LaterHeaders, PackingError> {
    let first = indices.last().map_or(0, |last| last + 1);
    if size - first > MAX_LATER_HEADERS {
        return Err(PackingError::TooManyHeaders { count: size - first });
    }
    let entries = log.entries(first..size, usize::MAX)?.into_iter().map(|(_, entry)| entry).collect();
    Ok(LaterHeaders { frontier: log.frontier(first)?, entries })
}

/// Signs a plan and writes it as a zip.
pub fn seal(plan: PackPlan, signer: &Signer) -> Result<Vec<u8>, PackingError> {
    let sealed = plan.seal(signer)?;
    let mut zip = Vec::new();
    evidence::write(&sealed, &mut zip)?;
    Ok(zip)
}

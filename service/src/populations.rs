//! A population, out of a ledger: which heartbeats and tree heads stand around the period, and everything but the entries themselves. What is
//! in a population and why is `evidence`'s.

use std::io::Write;
use std::ops::Range;

use evidence::population::{
    Change, Details, MakeError, OwnListing, Period, PopulationInput, TenantsInput, Written, write,
};
use ledger::birth::{BirthError, LEDGER_LOG, Opening};
use ledger::checkpoint::{self, CheckpointError, Origin, OriginError};
use ledger::control::ControlOp;
use ledger::governance::KeyChain;
use ledger::kv::Kv;
use ledger::note::VerifierKey;
use ledger::read::{Log, ReadError};
use ledger::signing::Signer;

/// Why there is no population.
#[derive(Debug, thiserror::Error)]
pub enum PopulatingError {
    /// The period is not over yet, as far as the log can tell.
    #[error(
        "no heartbeat at or after {to} is in the log yet, so that nothing shows that the period is over: ask again when there is one \
         (by default at every hour and at midnight UTC), or for an earlier end"
    )]
    NotOver {
        /// End of the period.
        to: String,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger's own log could not be read.
    #[error(transparent)]
    Ledger(#[from] BirthError),
    /// A checkpoint is damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The ledger's name makes no origin.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// It could not be made.
    #[error(transparent)]
    Make(#[from] MakeError<ReadError>),
}

/// Plans the population of a log over a period: from the last heartbeat before it (else entry 0) to the first at or after its end, between
/// the signed tree heads next to them. The second one is a cosigned one where there is any.
pub fn plan<K: Kv>(
    log: &Log<K>,
    origin: &Origin,
    ledger: &Log<K>,
    period: Period,
) -> Result<PopulationInput, PopulatingError> {
    let not_over = || PopulatingError::NotOver { to: period.to_text() };
    let begins = log.heartbeat_before(log.index_at(period.from_ms())?)?.unwrap_or(0);
    let ends = log.heartbeat_from(log.index_at(period.to_ms())?)?.ok_or_else(not_over)?;
    let (first, first_checkpoint) = match log.checkpoint_at_or_before(begins)? {
        Some((size, note)) if size > 0 => (size, Some(note)),
        _ => (0, None),
    };
    let size = match log.cosigned_at_or_after(ends + 1)? {
        Some(size) => size,
        None => log.checkpoint_at_or_after(ends + 1)?.ok_or_else(not_over)?.0,
    };
    let checkpoint = log.checkpoint(size)?.ok_or(ReadError::NotSigned { size })?;
    let governance = log.governance_at(size)?;
    let keys = governance.log_keys();
    let signing = keys.signing(size).last().map_or(*keys.current(), |key| key.key);
    Ok(PopulationInput {
        origin: origin.clone(),
        period,
        first: log.frontier(first)?,
        first_checkpoint,
        checkpoint,
        cosignatures: log.cosignature_lines(size)?,
        consistency: log.consistency(first, size)?,
        verifier: VerifierKey::new(origin.key_name().clone(), signing),
        keys: KeyChain::build(log, size)?,
        tenants: tenants(ledger, origin)?,
    })
}

/// Writes a planned population.
pub fn write_to<K: Kv, W: Write>(
    log: &Log<K>,
    input: &PopulationInput,
    signer: &Signer,
    indices: Option<IndicesOf<'_>>,
    out: W,
) -> Result<Written, PopulatingError> {
    let mut entries = |range: Range<u64>| {
        let found = log.entries(range.clone(), usize::MAX)?;
        let hole = range.zip(&found).find(|(index, (found, _))| index != found).map(|(index, _)| index);
        match hole {
            Some(number) => Err(ReadError::Missing { what: "entry", log: log.id(), number }),
            None => Ok(found.into_iter().map(|(_, entry)| entry).collect()),
        }
    };
    let size = checkpoint::peek(&input.checkpoint)?.size;
    let Some(indices) = indices else { return Ok(write(input, signer, &mut entries, None, &mut |_| {}, out)?) };
    let mut details = |change: &Change| {
        let mut payloads = Vec::new();
        for index in indices(&change.change, size)? {
            payloads.extend(log.stored(index)?.map(|stored| stored.payload));
        }
        Ok(Details::of(&change.change, &payloads))
    };
    Ok(write(input, signer, &mut entries, Some(&mut details), &mut |_| {}, out)?)
}

/// Gives the indices of a change's events below a tree size.
pub type IndicesOf<'a> = &'a dyn Fn(&str, u64) -> Result<Vec<u64>, ReadError>;

/// `_ledger` as it stands, with what opens the listing of this log.
fn tenants<K: Kv>(ledger: &Log<K>, origin: &Origin) -> Result<TenantsInput, PopulatingError> {
    let size = ledger.head()?.size;
    let checkpoint = ledger.checkpoint(size)?.ok_or(ReadError::NotSigned { size })?;
    let governance = ledger.governance_at(size)?;
    let keys = governance.log_keys();
    let signing = keys.signing(size).last().map_or(*keys.current(), |key| key.key);
    let own_log = Origin::of(origin.ledger(), LEDGER_LOG)?;
    let mut own = None;
    for index in ledger.control_indices()?.into_iter().filter(|index| *index < size) {
        let (_, header, stored) = ledger.control(index)?;
        if header.op != ControlOp::Tenant {
            continue;
        }
        let Some((opening_salt, opening)) = ledger.opening(index)? else { continue };
        // Acts on a log are listed alike; only its birth opens to its origin.
        let opened: Option<Opening> = serde_json::from_slice(&opening).ok();
        if opened.is_some_and(|opened| opened.origin == origin.as_str()) {
            own =
                Some(OwnListing { index, envelope: stored.payload, envelope_salt: stored.salt, opening, opening_salt });
            break;
        }
    }
    Ok(TenantsInput {
        checkpoint,
        entries: ledger.entries(0..size, usize::MAX)?.into_iter().map(|(_, entry)| entry).collect(),
        verifier: VerifierKey::new(own_log.key_name().clone(), signing),
        own,
    })
}

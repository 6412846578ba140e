//! What the pipeline is given: everything it touches is named here, and what decides nothing (clock, randomness) is passed in.

use std::path::PathBuf;
use std::sync::Arc;

use ledger::append::LogId;
use ledger::dedupe::DedupeKey;
use ledger::signing::Signer;
use schemas::ids::Tenant;

use crate::server::NatsChild;
use crate::streams::StreamLimits;
use crate::target::NatsTarget;

/// The clock: milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Fills a buffer with random bytes that nobody can guess.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Everything that [`crate::start`] needs.
pub struct Config<K> {
    /// The opened store of the ledger.
    pub kv: Arc<K>,
    /// Directory of the views, one file per tenant. Made when missing.
    pub views_dir: PathBuf,
    /// The server that the roads are on.
    pub nats: NatsTarget,
    /// The child that `nats` leads to, if it is ours: stopped last, and its troubles are ours.
    pub child: Option<NatsChild>,
    /// Whose roads to follow. Their logs are born already.
    pub tenants: Vec<TenantSetup>,
    /// Limits of streams that must be made.
    pub stream_limits: StreamLimits,
    /// The clock.
    pub clock: Clock,
    /// Randomness for salts.
    pub entropy: Entropy,
}

/// One tenant: whose road, into which log, signed by whom.
pub struct TenantSetup {
    /// The tenant.
    pub tenant: Tenant,
    /// Its log in the store.
    pub log: LogId,
    /// The log's key.
    pub signer: Signer,
    /// The tenant's key for duplicates.
    pub dedupe: DedupeKey,
}

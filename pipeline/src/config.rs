//! What the pipeline is given: everything it touches is named here, and what decides nothing (clock, randomness) is passed in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ledger::append::{Committed, LogId};
use ledger::checkpoint::Origin;
use ledger::dedupe::DedupeKey;
use ledger::entry::Cosigned;
use ledger::signing::{PublicKey, Signer};
use schemas::ids::Tenant;

use crate::kept::KeptHeads;
use crate::server::NatsChild;
use crate::streams::StreamLimits;
use crate::target::NatsTarget;

/// The clock: milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Fills a buffer with random bytes that nobody can guess.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// A monotonic clock: the time since a moment that stays the same while we run. For durations.
pub type Stopwatch = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The lowest sequence, on the road that the tenant's log stands on now, that a known follower has; none where nobody follows,
/// 0 for one that is on an earlier road. Asked before every sweep: nothing behind it is purged.
pub type Followers = Arc<dyn Fn(&Tenant) -> Option<u64> + Send + Sync>;

/// When messages that are in the log leave the road.
#[derive(Clone)]
pub struct Sweep {
    /// How old they have to be; zero sweeps as soon as they are committed and answered. A road that is nearly full does not wait.
    pub after: Duration,
    /// Whom to wait for.
    pub followers: Followers,
}

impl Default for Sweep {
    /// After three days, with no follower.
    fn default() -> Self {
        Self { after: Duration::from_hours(72), followers: Arc::new(|_| None) }
    }
}

/// The secret of a log's key, wherever it is kept; none where it is not here. Asked when a key is to be replaced, and while two
/// keys sign together.
pub type FindSigner = Arc<dyn Fn(&Origin, &PublicKey) -> Option<Signer> + Send + Sync>;

/// The newest checkpoint of a log that a witness cosigned; none without one.
pub type NewestCosigned = Arc<dyn Fn(LogId) -> Option<Cosigned> + Send + Sync>;

/// What the ledger signs beside events: its own log `_ledger`, and signs of life.
#[derive(Clone)]
pub struct Signing {
    /// Finds the keys of all logs, that of `_ledger` among them.
    pub find: FindSigner,
    /// How far signs of life are apart, in every tenant's log and in `_ledger`; none writes none. There is one at midnight UTC too.
    pub heartbeat: Option<Duration>,
    /// What a sign of life names.
    pub cosigned: NewestCosigned,
    /// Told that the keys of some log are others now. Must not block.
    pub rekeyed: Arc<dyn Fn() + Send + Sync>,
    /// Told of each round that is durable, before anybody else hears of it. Must be quick.
    pub committed: Arc<dyn Fn(&Committed) + Send + Sync>,
}

impl Signing {
    /// Without signs of life.
    pub fn quiet(find: FindSigner) -> Self {
        Self {
            find,
            heartbeat: None,
            cosigned: Arc::new(|_| None),
            rekeyed: Arc::new(|| ()),
            committed: Arc::new(|_| ()),
        }
    }
}

/// The file system that store, views and a child's road lie on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// A directory on it.
    pub dir: PathBuf,
    /// With less free than this many bytes nothing is taken in: a store that fails in mid-write has to be opened again, one that
    /// stopped before has not.
    pub reserve_bytes: u64,
}

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
    /// When roads are swept.
    pub sweep: Sweep,
    /// Where the highest signed heads are kept, if they are.
    pub kept: Option<Arc<dyn KeptHeads>>,
    /// The disk to watch, where there is one.
    pub disk: Option<Disk>,
    /// What is signed beside events.
    pub signing: Signing,
    /// The clock.
    pub clock: Clock,
    /// The clock for durations.
    pub stopwatch: Stopwatch,
    /// Randomness for salts.
    pub entropy: Entropy,
}

/// One tenant: whose road, into which log, signed by whom.
pub struct TenantSetup {
    /// The tenant.
    pub tenant: Tenant,
    /// Its log in the store.
    pub log: LogId,
    /// The log's newest key.
    pub signer: Signer,
    /// The tenant's key for duplicates.
    pub dedupe: DedupeKey,
}

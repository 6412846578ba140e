//! Workers: what consumes events and produces those of the next phase, through the same door as everybody else (DESIGN §8).
//!
//! What they decide is pure and lies in `workers`; here is the frame that wakes them ([`wake`]), what they know of the ledger ([`Record`]), and
//! how they publish ([`Shop::emit`]). One worker, one file. A message only wakes: what is acted on is the change as it stands in the log, so a
//! message that comes twice, late or for nothing does no harm.
//!
//! | worker | wakes at | emits |
//! |---|---|---|
//! | [`plan`] | a request | the plan, or the end of the change with what was not understood |
//! | [`preflight`] | a plan, an approval, an order | a verdict that is another than the last one |
//! | [`execute`] | a verdict, an order | how each step begins and ends, gates between waves, pauses |
//! | [`verify`] | an execution, a rollback, a verification | whether it holds, with the way back where it does not; the end of the change |
//! | [`rollback`] | a failed step or verification, an order | each step that is taken back, and what stands |
//! | [`drift`] | a verification, an order, its schedule | what differs from what was verified |
//!
//! Left out: where the ledger is, the clock, the environment and files of options (`service`).

pub mod case;
pub mod drift;
pub mod execute;
pub mod own;
pub mod plan;
pub mod preflight;
pub mod process;
pub mod record;
pub mod requests;
pub mod rollback;
pub mod tally;
pub mod verify;
pub mod wake;

mod aftermath;
mod ask;
mod emit;
mod fresh;
mod machine;
mod plans;
mod policies;
mod probe;
mod programs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use schemas::ids::{ChangeId, Phase, Tenant};
use tokio_util::sync::CancellationToken;
use workers::catalogue::Catalogue;
use workers::config::Config;
use workers::preflight::{Planned, PlannedError};

pub use case::Case;
pub use emit::{Emit, Emitted};
pub use fresh::Fresh;
pub use plans::Plans;
pub use policies::{Policies, PoliciesError};
pub use programs::Programs;
pub use record::{Record, RecordError, Stored};

use crate::config::Clock;
use crate::produce::{ProduceError, Producer};

/// One kind of worker. Acting twice on the same case does the same as once: ids of what it emits derive from change, attempt and step.
pub trait Worker: Send + Sync + 'static {
    /// For instance `plan`: names its durable consumer, and is its producer token on the road.
    fn name(&self) -> &'static str;

    /// The phases whose events wake it.
    fn listens_to(&self) -> &'static [Phase];

    /// Changes that it looks at beside those that are under way, when it starts and now and then.
    fn beside(&self, _shop: &Shop, _tenant: &Tenant) -> Vec<ChangeId> {
        Vec::new()
    }

    /// Does what is due of a change, if anything is.
    fn act<'a>(&'a self, shop: &'a Shop, case: &'a Case) -> BoxFuture<'a, Result<Next, WorkError>>;
}

/// When a worker wants to look at a change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When something happens to it.
    Nothing,
    /// At this time at the latest, milliseconds since 1970.
    Again {
        /// The time.
        at_ms: u64,
    },
}

/// Why a worker could not do what is due. It is woken again after a while.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The ledger could not be asked.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// An event could not be published.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// An event of ours is none that admission lets in: a mistake of ours, or of what it was made from.
    #[error("event {id}: {reason}")]
    Refused {
        /// Its id.
        id: String,
        /// Why.
        reason: String,
    },
    /// What was found due is on record already: whoever said it again would find it due for ever.
    #[error(
        "event {id} is on record already (entry {index}), and what it says was due all the same: nothing comes of saying it again"
    )]
    Stuck {
        /// Its id.
        id: String,
        /// Its entry.
        index: u64,
    },
    /// Something that it needs is not there or does not work.
    #[error("{what}: {reason}")]
    Failed {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
}

impl WorkError {
    /// Something failed.
    pub fn failed(what: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self::Failed { what: what.into(), reason: error.to_string() }
    }
}

/// What every worker has at hand. Cheap to clone.
#[derive(Clone)]
pub struct Shop {
    /// The ledger.
    pub record: Arc<dyn Record>,
    /// The road.
    pub producer: Producer,
    /// The connection that the producer has, for object stores.
    pub client: async_nats::Client,
    /// The clock.
    pub clock: Clock,
    /// The house's options.
    pub config: Arc<Config>,
    /// The catalogue that the options name.
    pub catalogue: Arc<Catalogue>,
    /// The policies that the options name; none where they name none.
    pub policies: Option<Arc<Policies>>,
    /// Plans that were read over this catalogue.
    pub plans: Arc<Plans>,
    /// What is known of programs.
    pub programs: Arc<Programs>,
    /// Where paths of the options start: the directory of their file.
    pub base: PathBuf,
    /// Where commands run, each in a directory of its own below it.
    pub workdir: PathBuf,
    /// The environment of this process. What of it a command gets is the options' to say.
    pub variables: Arc<BTreeMap<String, String>>,
    /// The worker's name: the producer that the road shows.
    pub worker: &'static str,
    /// Names this process among others that do the same, and is another one after a restart.
    pub instance: Arc<str>,
    /// Counts what is done.
    pub tally: Arc<tally::Tally>,
    /// What was just looked at, from one worker to the next in this process.
    pub fresh: Arc<Fresh>,
    /// Cancelled when work is to end. What takes long looks at it.
    pub stop: CancellationToken,
}

impl Shop {
    /// The same for another worker.
    #[must_use]
    pub fn of(&self, worker: &dyn Worker) -> Self {
        Self { worker: worker.name(), ..self.clone() }
    }

    /// The whole environment of a command that works in `directory`: clean, with what the options let through.
    pub fn environment(&self, directory: &Path) -> BTreeMap<String, String> {
        self.config.guard.environment(&self.variables, &directory.display().to_string())
    }

    /// A stored event as a plan.
    pub(crate) fn planned(&self, payload: &Bytes) -> Result<Arc<Planned>, PlannedError> {
        self.plans.read(payload, &self.catalogue)
    }

    /// Counts a command of a step, or of its way back.
    pub(crate) fn count_step(&self, ran: Result<&process::Ran, &process::ProcessError>) {
        self.tally.step(self.worker, ran.is_ok_and(|ran| ran.ending.rc() == 0 && ran.stopped.is_none()));
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// Seconds since 1970.
    pub fn now_s(&self) -> i64 {
        i64::try_from(self.now_ms() / 1000).unwrap_or(i64::MAX)
    }
}

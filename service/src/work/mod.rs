//! Workers beside the ledger: what they are given. The frame and the workers themselves are `pipeline::work`'s.
//!
//! - [`believed`]: which events of a change are read;
//! - [`local`]: the ledger of this process, as workers see it;
//! - [`remote`]: that of a server, over HTTP;
//! - [`recent`]: the newest entries of its logs, in memory;
//! - [`options`]: their one file of options, with what it names.

pub mod believed;
pub mod local;
pub mod options;
pub mod recent;
pub mod remote;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use pipeline::produce::Producer;
use pipeline::work::drift::Drift;
use pipeline::work::execute::Execute;
use pipeline::work::plan::Planner;
use pipeline::work::preflight::Preflight;
use pipeline::work::rollback::RollingBack;
use pipeline::work::tally::Tally;
use pipeline::work::verify::Verifier;
use pipeline::work::{Record, Shop, Worker, wake};
use tokio_util::sync::CancellationToken;

use crate::{clock, env};
use options::Options;

/// A kind of worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// Requests become plans
    Plan,
    /// Plans are looked at: may they run?
    Preflight,
    /// Plans that may run are run.
    Execute,
    /// What was executed is looked at: does it hold?
    Verify,
    /// What failed is taken back
    Rollback,
    /// What was verified is watched
    Drift,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Plan, Self::Preflight, Self::Execute, Self::Verify, Self::Rollback, Self::Drift];

    fn worker(self) -> Arc<dyn Worker> {
        match self {
            Self::Plan => Arc::new(Planner),
            Self::Preflight => Arc::new(Preflight),
            Self::Execute => Arc::new(Execute),
            Self::Verify => Arc::new(Verifier),
            Self::Rollback => Arc::new(RollingBack),
            Self::Drift => Arc::new(Drift::default()),
        }
    }
}

/// Where workers work.
pub struct Place {
    /// The ledger.
    pub record: Arc<dyn Record>,
    /// A connection that may read roads.
    pub client: async_nats::Client,
    /// What they publish with.
    pub producer: Producer,
    /// Where commands run.
    pub workdir: PathBuf,
    /// Counts what they do.
    pub tally: Arc<Tally>,
    /// Ends them.
    pub stop: CancellationToken,
}

/// Runs workers until `place.stop` is cancelled and what they have in hand is done.
pub async fn run(place: Place, options: Options, kinds: &BTreeSet<Kind>) -> Result<(), getrandom::Error> {
    let mut random = [0; 10];
    clock::fill(&mut random)?;
    let Options { config, catalogue, policies, base } = options;
    let shop = Shop {
        record: place.record,
        producer: place.producer,
        client: place.client.clone(),
        clock: clock::clock(),
        config: Arc::new(config),
        catalogue: Arc::new(catalogue),
        policies: policies.map(Arc::new),
        plans: Arc::default(),
        programs: Arc::default(),
        base,
        // Commands have working directories of their own, and are told paths below it.
        workdir: std::path::absolute(&place.workdir).unwrap_or(place.workdir),
        variables: Arc::new(env::variables()),
        worker: "",
        instance: workers::build::uuid_v7(clock::unix_ms(), random).into(),
        tally: place.tally,
        fresh: Arc::default(),
        stop: place.stop,
    };
    wake::run(place.client, shop, kinds.iter().map(|kind| kind.worker()).collect()).await;
    Ok(())
}

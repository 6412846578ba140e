//! Starting, watching and stopping the pipeline.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_nats::Client;
use ledger::append::{LoadError, load_head};
use ledger::kv::Kv;
use ledger::read::{Log, ReadError};
use schemas::ids::Tenant;
use tokio::sync::{mpsc, watch as channel};

use crate::batch::{Answers, Projectable};
use crate::config::{Config, TenantSetup};
use crate::intake::Intake;
use crate::server::NatsChild;
use crate::shared::{Common, Health, Progress, TenantState, Tenants, Troubles};
use crate::stats::{RoundCounters, Stats};
use crate::target::{ConnectError, NatsTarget};
use crate::{admit, append, kept, project, reply, road, watch};

/// Batches between two threads: enough that neither waits for the other's every breath, few enough to bound memory.
const BATCHES: usize = 16;
/// Rounds that wait for their answers, or for their projection.
pub(crate) const ROUNDS: usize = 4;

/// Why the pipeline does not start, or does not take a tenant.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The NATS server can't be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A log's head is not to be appended to.
    #[error("tenant {tenant}: {source}")]
    Head {
        /// Whose log.
        tenant: Tenant,
        /// What is wrong with it.
        source: LoadError,
    },
    /// A log's first entry can't be read.
    #[error("tenant {tenant}: {source}")]
    First {
        /// Whose log.
        tenant: Tenant,
        /// What is wrong with it.
        source: ReadError,
    },
    /// The signer is for another log.
    #[error("tenant {tenant}: the log key is named {found}, the log {expected}")]
    OtherKey {
        /// Whose log.
        tenant: Tenant,
        /// Name of the key.
        found: String,
        /// Name of the log.
        expected: String,
    },
    /// A tenant twice.
    #[error("tenant {0} is followed already")]
    Twice(Tenant),
    /// The directory of the views can't be made.
    #[error("{path}: {source}")]
    Views {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The operating system gave no thread.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
    /// It has been shut down, or its threads have ended.
    #[error("the pipeline has ended")]
    Ended,
}

/// A pipeline at work. [`Running::shutdown`] ends it in order; merely dropping it stops the intake and lets the threads drain
/// behind our back.
pub struct Running<K> {
    kv: Arc<K>,
    client: Client,
    child: Option<NatsChild>,
    watches_disk: bool,
    common: Arc<Common>,
    tenants: Mutex<Tenants>,
    roads: mpsc::UnboundedSender<Arc<TenantState>>,
    project: SyncSender<Projectable>,
    stop: channel::Sender<bool>,
    /// In the order in which they end.
    threads: Vec<JoinHandle<()>>,
    projecting: Option<JoinHandle<()>>,
}

/// Starts all threads and returns when the server is connected. Roads are identified afterwards: [`Running::health`] tells.
pub async fn start<K: Kv + 'static>(config: Config<K>) -> Result<Running<K>, StartError> {
    let Config {
        kv,
        views_dir,
        nats,
        child,
        tenants,
        stream_limits,
        sweep,
        kept: kept_heads,
        disk,
        clock,
        stopwatch,
        entropy,
        signing,
    } = config;
    let made = std::fs::create_dir_all(&views_dir);
    made.map_err(|source| StartError::Views { path: views_dir.clone(), source })?;
    let common = Arc::new(Common {
        clock,
        stopwatch,
        entropy,
        troubles: Troubles::default(),
        rounds: RoundCounters::default(),
        open: channel::Sender::new(true),
        disk_free: AtomicU64::new(u64::MAX),
        beating: Mutex::default(),
        roads: AtomicUsize::new(0),
    });
    let watches_disk = disk.is_some();
    let client = nats.connect("upm").await?;

    let (to_admit, arrived) = mpsc::channel(BATCHES);
    let (to_append, admitted) = sync_channel(BATCHES);
    let (to_answer, answers) = mpsc::channel(ROUNDS);
    let (to_project, rounds) = sync_channel(ROUNDS);
    let (roads, new_roads) = mpsc::unbounded_channel();
    let (stop, stopped) = channel::channel(false);

    let outlets = append::Outlets { answers: to_answer.clone(), project: to_project.clone() };
    let intake = Intake {
        target: nats.clone(),
        limits: stream_limits,
        common: Arc::clone(&common),
        to_admit,
        to_answer,
        roads: new_roads,
        stop: stopped,
        sweep,
        disk,
        child: child.as_ref().map(NatsChild::handle),
    };
    let (intake, connected) = intake.start()?;
    connected.await.map_err(|_| StartError::Ended)??;
    let shared = Arc::clone(&common);
    let admit = spawn("admit", move || admit::run(arrived, &to_append, &shared))?;
    let (store, shared) = (Arc::clone(&kv), Arc::clone(&common));
    let keeping = kept_heads.map(|kept| append::Keeping { kept, stop: stop.subscribe() });
    let append =
        spawn("append", move || append::run(&*store, admitted, &outlets, keeping.as_ref(), &shared, &signing))?;
    let answer = start_answering(Arc::clone(&kv), &nats, answers, Arc::clone(&common), stop.subscribe()).await?;
    let (store, shared) = (Arc::clone(&kv), Arc::clone(&common));
    let projecting = spawn("project", move || project::run(&store, views_dir, &rounds, &shared.troubles))?;

    let running = Running {
        kv,
        client,
        child,
        watches_disk,
        common,
        tenants: Mutex::default(),
        roads,
        project: to_project,
        stop,
        threads: vec![intake, admit, append, answer],
        projecting: Some(projecting),
    };
    for setup in tenants {
        running.add_tenant(setup)?;
    }
    Ok(running)
}

impl<K: Kv + 'static> Running<K> {
    /// Follows one more road. Its log is born already; its stream is made if it is missing.
    pub fn add_tenant(&self, setup: TenantSetup) -> Result<(), StartError> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.contains_key(&setup.tenant) {
            return Err(StartError::Twice(setup.tenant));
        }
        let state = Arc::new(tenant_state(&*self.kv, setup)?);
        let reason = format!("tenant {}: its road is not followed yet", state.tenant);
        self.common.troubles.await_first(&road::who(&state), reason);
        self.common.roads.fetch_add(1, Ordering::Relaxed);
        self.common.beat_for(Arc::clone(&state));
        self.project.send(Projectable::Road(state.view())).map_err(|_| StartError::Ended)?;
        self.roads.send(Arc::clone(&state)).map_err(|_| StartError::Ended)?;
        tenants.insert(state.tenant.clone(), state);
        Ok(())
    }

    /// How far a tenant has come, now and from now on; none for a tenant that is not followed.
    pub fn progress(&self, tenant: &Tenant) -> Option<channel::Receiver<Progress>> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(tenant).map(|state| state.progress.subscribe())
    }

    /// The tenants that are followed.
    pub fn tenants(&self) -> Vec<Tenant> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Waits until everything up to `sequence` of a tenant's road is durable and in the core views. False for a tenant that is not
    /// followed. For load harnesses: the end of a backlog.
    pub async fn drained(&self, tenant: &Tenant, sequence: u64) -> bool {
        let Some(mut progress) = self.progress(tenant) else { return false };
        let done = |progress: &Progress| progress.road >= sequence && progress.core >= progress.committed;
        progress.wait_for(done).await.is_ok()
    }

    /// Whether everything works, and if not, what does not.
    pub fn health(&self) -> Health {
        let mut health = self.common.troubles.health();
        if let Some(trouble) = self.child.as_ref().and_then(|child| child.state().trouble) {
            health.reasons.push(format!("nats-server is down: {trouble}"));
        }
        if self.threads.iter().chain(&self.projecting).any(JoinHandle::is_finished) {
            health.reasons.push("a thread of the pipeline has ended; restart to go on".to_owned());
        }
        health.ready = health.reasons.is_empty();
        health
    }

    /// Why nothing that is published now would be answered, if so. A producer who is told need not wait in vain.
    pub fn refusal(&self) -> Option<String> {
        let stands = [append::WHO, kept::WHO, watch::DISK, watch::CHILD];
        let reasons: Vec<_> = stands.iter().filter_map(|who| self.common.troubles.of(who)).collect();
        if reasons.is_empty() { None } else { Some(reasons.join("; ")) }
    }

    /// What was counted since the start, and where everything stands.
    pub fn stats(&self) -> Stats {
        let common = &self.common;
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        Stats {
            rounds: common.rounds.rounds(),
            commit: common.rounds.latency(),
            intake_open: *common.open.borrow() && !self.threads.iter().any(JoinHandle::is_finished),
            disk_free_bytes: self
                .watches_disk
                .then(|| common.disk_free.load(Ordering::Relaxed))
                .filter(|free| *free != u64::MAX),
            child_restarts: self.child.as_ref().map(|child| u64::from(child.state().restarts)),
            logs: tenants.values().map(|tenant| tenant.stats()).collect(),
        }
    }

    /// A client of the service's own, on the runtime that [`start`] was called from.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The child server, if there is one.
    pub fn child(&self) -> Option<&NatsChild> {
        self.child.as_ref()
    }

    /// Stops the intake, appends, answers and projects what was read, and stops the child.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        let (threads, projecting, project) =
            (std::mem::take(&mut self.threads), self.projecting.take(), self.project.clone());
        let ending = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
            // Nothing new comes: whatever is durable is to be projected, then it may end.
            let _ = project.send(Projectable::Stop);
            projecting.map(JoinHandle::join)
        });
        let _ = ending.await;
        if let Some(child) = self.child.take() {
            child.stop().await;
        }
    }
}

impl<K> Drop for Running<K> {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(StartError::Thread)
}

/// The answering thread, with a runtime and a connection of its own.
async fn start_answering<K: Kv + 'static>(
    kv: Arc<K>,
    nats: &NatsTarget,
    answers: mpsc::Receiver<Answers>,
    common: Arc<Common>,
    stop: channel::Receiver<bool>,
) -> Result<JoinHandle<()>, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let (connected, connecting) = tokio::sync::oneshot::channel();
    let target = nats.clone();
    let thread = spawn("answer", move || {
        runtime.block_on(async {
            match target.connect("upm answer").await {
                Ok(client) => {
                    let _ = connected.send(Ok(()));
                    reply::run(kv, client, answers, common, stop).await;
                }
                Err(error) => drop(connected.send(Err(error))),
            }
        });
    })?;
    connecting.await.map_err(|_| StartError::Ended)??;
    Ok(thread)
}

/// Reads back where a tenant's log stands.
fn tenant_state<K: Kv>(kv: &K, setup: TenantSetup) -> Result<TenantState, StartError> {
    let tenant = setup.tenant.clone();
    let head = load_head(kv, setup.log).map_err(|source| StartError::Head { tenant: tenant.clone(), source })?;
    if setup.signer.name() != &head.origin {
        let (found, expected) = (setup.signer.name().to_string(), head.origin.to_string());
        return Err(StartError::OtherKey { tenant, found, expected });
    }
    let first = Log::open(kv, setup.log).and_then(|log| log.first());
    let first = first.map_err(|source| StartError::First { tenant, source })?;
    Ok(TenantState::new(setup, &head, first.stream_created_ms))
}

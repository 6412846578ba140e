//! What all handlers share: the opened ledger, the pipeline at work, a producer, the tenants with their views.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use ledger::checkpoint::Origin;
use ledger::dedupe::DedupeKey;
use ledger::note::VerifierKey;
use ledger::read::{Log, ReadError};
use ledger::replica::KvSource;
use ledger::signing::Signer;
use ledger_rocks::Rocks;
use pipeline::produce::Producer;
use pipeline::stats::Stats;
use pipeline::streams::{self, StreamLimits};
use pipeline::{Health, Running, TenantSetup};
use projector_sqlite::{Reader, ViewError, Views};
use schemas::ids::Tenant;

use super::logs::LogName;
use super::problem::Problem;
use crate::data_dir::ServeFile;
use crate::follow::Followers;
use crate::home::{Home, HomeError};
use crate::keys_on_disk::{KeyFileError, Keys};

/// How long a request waits for the views to cover what it asks for.
const VIEWS_PATIENCE: Duration = Duration::from_secs(10);
/// Connections to a tenant's views that are kept open; more are opened while more are asked at once.
const READERS_KEPT: usize = 4;

/// The state of all handlers. Handlers hold it by `Arc`.
pub struct App {
    home: Home,
    /// Copies that sweeping waits for.
    followers: Arc<Followers>,
    producer: Producer,
    limits: StreamLimits,
    /// None once the pipeline is shut down.
    running: RwLock<Option<Running<Rocks>>>,
    tenants: RwLock<BTreeMap<Tenant, Arc<OpenTenant>>>,
    /// What `serve.json` says; none before it is written.
    published: Mutex<Option<ServeFile>>,
    /// One tenant is added at a time.
    adding: tokio::sync::Mutex<()>,
}

/// A tenant, ready to be asked.
pub struct OpenTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its log.
    pub log: Log<Arc<Rocks>>,
    /// The log's name.
    pub origin: Origin,
    /// Finds a change in the log.
    pub dedupe: DedupeKey,
    /// The log's key when it was opened.
    opened_with: VerifierKey,
    keys: Keys,
    views: PathBuf,
    readers: Mutex<Vec<Reader>>,
}

impl OpenTenant {
    /// Opens the log of a tenant that has one.
    pub fn new(home: &Home, tenant: &Tenant) -> Result<Self, HomeError> {
        let TenantSetup { tenant, log, signer, dedupe } = home.tenant(tenant)?;
        Ok(Self {
            log: home.shown(log, signer.name())?,
            origin: signer.name().clone(),
            opened_with: signer.verifier(),
            keys: home.keys.clone(),
            dedupe,
            views: home.dir.view(&tenant),
            readers: Mutex::default(),
            tenant,
        })
    }

    /// The key that others verify with: the newest one of the log.
    pub fn verifier(&self) -> VerifierKey {
        self.log.governance().map_or_else(|_| self.opened_with.clone(), |governance| governance.log_keys().verifier())
    }

    /// The secret of one of the log's keys, for packs.
    pub fn signer(&self, key: &VerifierKey) -> Result<Signer, KeyFileError> {
        self.keys.log_signer(&self.origin, key.key())
    }

    /// Asks the views. Blocking.
    pub fn ask<T>(&self, question: impl FnOnce(&Reader) -> Result<T, ViewError>) -> Result<T, Problem> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match kept {
            Some(reader) => reader,
            None => Views::open_read_only(&self.views).map_err(|error| views_failed(&error))?,
        };
        let answer = question(&reader).map_err(|error| views_failed(&error))?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_KEPT {
            readers.push(reader);
        }
        Ok(answer)
    }
}

impl App {
    /// The state over a running pipeline that follows `tenants`.
    pub fn new(
        home: Home,
        followers: Arc<Followers>,
        running: Running<Rocks>,
        producer: Producer,
        limits: StreamLimits,
        tenants: Vec<OpenTenant>,
    ) -> Self {
        let tenants = tenants.into_iter().map(|open| (open.tenant.clone(), Arc::new(open))).collect();
        Self {
            home,
            followers,
            producer,
            limits,
            running: RwLock::new(Some(running)),
            tenants: RwLock::new(tenants),
            published: Mutex::default(),
            adding: tokio::sync::Mutex::default(),
        }
    }

    /// The producer that everything posted goes through.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// The copies that sweeping waits for.
    pub fn followers(&self) -> &Followers {
        &self.followers
    }

    /// What another copy copies from. Blocking.
    pub fn source(&self) -> KvSource<'_, &Rocks> {
        self.home.source()
    }

    /// The tenants that are served, by name.
    pub fn tenants(&self) -> Vec<Arc<OpenTenant>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A tenant, or the problem that names the command that makes it.
    pub fn tenant(&self, tenant: &Tenant) -> Result<Arc<OpenTenant>, Problem> {
        let found = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned();
        found.ok_or_else(|| {
            let detail = format!("there is no tenant {tenant}; `upm tenant add {tenant}` makes it");
            Problem::new(StatusCode::NOT_FOUND, "unknown_tenant", "No such tenant", detail)
                .with("tenant", tenant.as_str())
        })
    }

    /// A log of the ledger, to read what is published of it. Blocking.
    pub fn log(&self, name: &LogName) -> Result<Log<Arc<Rocks>>, Problem> {
        match name {
            LogName::Of(tenant) => Ok(self.tenant(tenant)?.log.clone()),
            LogName::Ledger => {
                self.home.own_log().map_err(|error| Problem::internal("the ledger's own log could not be read", &error))
            }
        }
    }

    /// Whether everything works.
    pub fn health(&self) -> Health {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let stopped = || Health { ready: false, reasons: vec!["the server is stopping".to_owned()] };
        running.as_ref().map_or_else(stopped, Running::health)
    }

    /// What was counted since the start, and where everything stands.
    pub fn stats(&self) -> Stats {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(Running::stats).unwrap_or_default()
    }

    /// Why nothing is taken in now, if so: then whoever posts is told at once.
    pub fn refuse_intake(&self) -> Result<(), Problem> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        match running.as_ref().map(Running::refusal) {
            Some(None) => Ok(()),
            Some(Some(reason)) => Err(Problem::unavailable(reason)),
            None => Err(Problem::unavailable("the server is stopping")),
        }
    }

    /// The parts of the data directory that grow.
    pub fn directories(&self) -> [(&'static str, PathBuf); 3] {
        let dir = &self.home.dir;
        [("ledger", dir.ledger()), ("views", dir.views()), ("nats", dir.nats())]
    }

    /// Waits until the tenant's core views hold entry `at_least`, if that is asked for.
    pub async fn covered(&self, tenant: &Tenant, at_least: Option<u64>) -> Result<(), Problem> {
        let Some(index) = at_least else { return Ok(()) };
        let progress = {
            let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
            running.as_ref().and_then(|running| running.progress(tenant))
        };
        let mut progress = progress.ok_or_else(|| Problem::unavailable("the server is stopping"))?;
        let reaching = async { progress.wait_for(|progress| progress.core > index).await.map(drop) };
        let reached = tokio::time::timeout(VIEWS_PATIENCE, reaching).await;
        match reached {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Problem::unavailable("the server is stopping")),
            Err(_) => {
                let now = *progress.borrow();
                let detail = format!(
                    "entry {index} is not in the views after {} s; they hold {} of {} entries",
                    VIEWS_PATIENCE.as_secs(),
                    now.core,
                    now.committed
                );
                Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "views_behind", "The views don't cover this yet", detail))
            }
        }
    }

    /// Adds a tenant: its stream, its log with keys, its place in the pipeline. True if it is new.
    pub async fn add_tenant(self: &Arc<Self>, tenant: &Tenant) -> Result<(Arc<OpenTenant>, bool), Problem> {
        let _one = self.adding.lock().await;
        if let Ok(open) = self.tenant(tenant) {
            return Ok((open, false));
        }
        let client = {
            let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
            running.as_ref().map(Running::client).ok_or_else(|| Problem::unavailable("the server is stopping"))?
        };
        let stream = streams::ensure(&client, tenant, &self.limits).await;
        let stream = stream.map_err(|error| Problem::unavailable(format!("the tenant's road: {error}")))?;
        let (app, name) = (Arc::clone(self), tenant.clone());
        let open = blocking(move || app.follow(&name, stream.created_ns / 1_000_000)).await?;
        Ok((open, true))
    }

    /// Publishes where the server is, from now on with every tenant that is added.
    pub fn publish(&self, file: ServeFile) -> Result<(), HomeError> {
        self.home.dir.write_serve_file(&file)?;
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    /// Writes `serve.json` again, with the keys of today. Blocking.
    pub fn republish(&self) -> Result<(), HomeError> {
        let keys: Vec<_> =
            self.tenants().iter().map(|open| (open.tenant.to_string(), open.verifier().to_vkey())).collect();
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = published.as_mut() {
            file.logs.extend(keys);
            self.home.dir.write_serve_file(file)?;
        }
        Ok(())
    }

    /// Takes `serve.json` away.
    pub fn unpublish(&self) -> Result<(), HomeError> {
        // The lock first: a tenant that is being added must not write the file again.
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(self.home.dir.remove_serve_file()?)
    }

    /// Shuts the pipeline down: what was read is appended, answered and projected.
    pub async fn shutdown(&self) {
        let running = self.running.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.shutdown().await;
        }
    }

    /// The blocking half of adding a tenant.
    fn follow(&self, tenant: &Tenant, stream_created_ms: u64) -> Result<Arc<OpenTenant>, Problem> {
        let failed = |error: &dyn std::error::Error| Problem::internal("the tenant could not be added", error);
        let setup = self.home.tenant_or_new(tenant, Some(stream_created_ms)).map_err(|error| failed(&error))?;
        let open = Arc::new(OpenTenant::new(&self.home, tenant).map_err(|error| failed(&error))?);
        {
            let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
            let running = running.as_ref().ok_or_else(|| Problem::unavailable("the server is stopping"))?;
            running.add_tenant(setup).map_err(|error| failed(&error))?;
        }
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), Arc::clone(&open));
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = published.as_mut() {
            file.logs.insert(tenant.to_string(), open.verifier().to_vkey());
            self.home.dir.write_serve_file(file).map_err(|error| failed(&error))?;
        }
        Ok(open)
    }
}

/// Runs what waits for the disk where it blocks no other request.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::internal("a request could not be worked on", &error))?
}

/// A log that can't be read, as a problem. Asking beyond its end is the client's mistake.
pub fn log_failed(error: &ReadError) -> Problem {
    match error {
        ReadError::BeyondSize { .. } | ReadError::NotSigned { .. } => Problem::not_found(error.to_string()),
        _ => Problem::internal("the log could not be read", error),
    }
}

/// Views that can't be read, as a problem.
pub fn views_failed(error: &ViewError) -> Problem {
    match error {
        ViewError::PageKey { .. } | ViewError::TooLarge { .. } => Problem::bad_request(error.to_string()),
        _ => Problem::internal("the views could not be read", error),
    }
}

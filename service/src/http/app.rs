//! What all handlers share: the opened ledger, the pipeline at work, a producer, the tenants with their views.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use ledger::append::LogId;
use ledger::birth::LEDGER_LOG;
use ledger::checkpoint::Origin;
use ledger::dedupe::DedupeKey;
use ledger::note::VerifierKey;
use ledger::policy::Policy;
use ledger::read::{Log, ReadError};
use ledger::replica::KvSource;
use ledger::signing::Signer;
use ledger_rocks::Rocks;
use pipeline::produce::Producer;
use pipeline::stats::Stats;
use pipeline::streams::{self, StreamLimits};
use pipeline::work::requests::Door;
use pipeline::work::tally::Tally;
use pipeline::{Following, Health, Progress, Running, TenantSetup};
use projector_sqlite::{Reader, ViewError, Views};
use schemas::ids::{ChangeId, Tenant};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::logs::LogName;
use super::problem::Problem;
use super::room::Room;
use super::turns::Turns;
use super::watchers::Watchers;
use crate::cosigning::{Cosigning, Released, WitnessStatus};
use crate::data_dir::ServeFile;
use crate::follow::Followers;
use crate::home::{Home, HomeError};
use crate::keys_on_disk::{KeyFileError, Keys};
use crate::objects_dir::ObjectDir;
use crate::taking::{Roads, Taking, TakingLimits};
use crate::work::local::Local;
use crate::work::recent::Recent;
use crate::{clock, governed};

/// How long a request waits for the views to cover what it asks for.
const VIEWS_PATIENCE: Duration = Duration::from_secs(10);
/// Connections to a tenant's views that are kept open; more are opened while more are asked at once.
const READERS_KEPT: usize = 4;
/// Rows of the views that are read at once.
const VIEWS_PAGE: usize = 500;

/// The state of all handlers. Handlers hold it by `Arc`.
pub struct App {
    home: Home,
    /// Copies that sweeping waits for.
    followers: Arc<Followers>,
    /// What makes it go on; none once it is shut down.
    engine: RwLock<Option<Engine>>,
    /// None on a follower, with where it copies from instead.
    writes: Result<Writes, String>,
    tenants: RwLock<BTreeMap<Tenant, Arc<OpenTenant>>>,
    /// What `serve.json` says; none before it is written.
    published: Mutex<Option<ServeFile>>,
    /// One tenant is added at a time.
    adding: tokio::sync::Mutex<()>,
    /// Whose question in SQL is answered next.
    pub questions: Turns,
    /// Room for the events of changes that are judged.
    pub room: Room,
    /// The newest entries of the logs.
    pub recent: Recent,
    /// Places for whoever watches changes.
    pub watchers: Watchers,
    /// What the workers of this process did; nothing where it has none.
    pub tally: Arc<Tally>,
    /// None where no witness is asked.
    cosigning: Mutex<Option<Cosigning>>,
    /// None where objects are not taken in: on a follower, and where that is not wanted.
    taking: Mutex<Option<Taking>>,
    /// Cancelled when the server begins to stop: what would go on for ever ends.
    ending: CancellationToken,
}

/// What a leader publishes with.
struct Writes {
    producer: Producer,
    limits: StreamLimits,
}

/// What makes a ledger go on.
enum Engine {
    /// The pipeline: it reads roads and signs.
    Leads(Box<Running<Rocks>>),
    /// Another copy: it neither reads roads nor signs.
    Follows(Following),
}

/// A tenant, ready to be asked.
pub struct OpenTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its log.
    pub log: Log<Arc<Rocks>>,
    /// The log's name.
    pub origin: Origin,
    /// Finds a change in the log; a follower may be without it.
    dedupe: Option<DedupeKey>,
    /// The log's key when it was opened.
    opened_with: VerifierKey,
    keys: Keys,
    views: PathBuf,
    objects: ObjectDir,
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
            dedupe: Some(dedupe),
            views: home.dir.view(&tenant),
            objects: ObjectDir::of(home.dir.root(), &tenant),
            readers: Mutex::default(),
            tenant,
        })
    }

    /// The log of a tenant in a copy, for which no key is needed.
    pub fn of_copy(home: &Home, tenant: &Tenant, log: LogId) -> Result<Self, HomeError> {
        let origin = home.origin(tenant.as_str())?;
        let log = home.shown(log, &origin)?;
        let opened_with = VerifierKey::new(origin.key_name().clone(), log.first()?.log_key);
        Ok(Self {
            log,
            origin,
            opened_with,
            keys: home.keys.clone(),
            dedupe: home.keys.dedupe(tenant.as_str()).ok(),
            views: home.dir.view(tenant),
            objects: ObjectDir::of(home.dir.root(), tenant),
            readers: Mutex::default(),
            tenant: tenant.clone(),
        })
    }

    /// Indices of a change's events among the first `size` entries, oldest first; without the dedupe key, as the views have them.
    /// Blocking.
    pub fn change_indices(&self, change: &ChangeId, size: u64) -> Result<Vec<u64>, Problem> {
        if let Some(key) = &self.dedupe {
            return self.log.change_indices(change, key, size).map_err(|error| log_failed(&error));
        }
        let mut indices = Vec::new();
        loop {
            let from = indices.last().map_or(0, |last| last + 1);
            let rows = self.ask(|views| views.events(change, from, VIEWS_PAGE))?;
            indices.extend(rows.iter().map(|row| row.index).take_while(|index| *index < size));
            if rows.len() < VIEWS_PAGE || indices.last().is_none_or(|last| *last < from) {
                return Ok(indices);
            }
        }
    }

    /// Tells which entry was made from which bytes; a follower may be without it.
    pub fn dedupe(&self) -> Option<&DedupeKey> {
        self.dedupe.as_ref()
    }

    /// The key that others verify with: the newest one of the log.
    pub fn verifier(&self) -> VerifierKey {
        self.log.governance().map_or_else(|_| self.opened_with.clone(), |governance| governance.log_keys().verifier())
    }

    /// The tenant with all keys of its log, where there were several.
    pub fn key_history(&self) -> Option<(String, Value)> {
        let governance = self.log.governance().ok()?;
        let keys = governance.log_keys();
        (keys.history().len() > 1).then(|| (self.tenant.to_string(), governed::keys(keys)))
    }

    /// The secret of one of the log's keys, for packs.
    pub fn signer(&self, key: &VerifierKey) -> Result<Signer, KeyFileError> {
        self.keys.log_signer(&self.origin, key.key())
    }

    /// What is kept beside its log.
    pub fn objects(&self) -> &ObjectDir {
        &self.objects
    }

    /// The file of its views.
    pub fn views_path(&self) -> &std::path::Path {
        &self.views
    }

    /// Asks the views. Blocking.
    pub fn ask<T>(&self, question: impl FnOnce(&Reader) -> Result<T, ViewError>) -> Result<T, Problem> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match kept {
            Some(reader) => reader,
            None => Views::open_read_only(&self.views).map_err(|error| views_failed(&error))?,
        };
        let answer = reader.at_once(question).map_err(|error| views_failed(&error))?;
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
        let engine = RwLock::new(Some(Engine::Leads(Box::new(running))));
        let writes = Ok(Writes { producer, limits });
        let tenants = tenants.into_iter().map(|open| (open.tenant.clone(), Arc::new(open))).collect();
        Self {
            home,
            followers,
            engine,
            writes,
            tenants: RwLock::new(tenants),
            published: Mutex::default(),
            adding: tokio::sync::Mutex::default(),
            questions: Turns::new(),
            room: Room::new(),
            recent: Recent::default(),
            watchers: Watchers::new(0),
            tally: Arc::default(),
            cosigning: Mutex::default(),
            taking: Mutex::default(),
            ending: CancellationToken::new(),
        }
    }

    /// The state over a copy of what is at `leader`. It goes on once it is [`engaged`](Self::engage).
    pub fn following(home: Home, leader: String) -> Self {
        Self {
            home,
            followers: Arc::default(),
            engine: RwLock::new(None),
            writes: Err(leader),
            tenants: RwLock::default(),
            published: Mutex::default(),
            adding: tokio::sync::Mutex::default(),
            questions: Turns::new(),
            room: Room::new(),
            recent: Recent::default(),
            watchers: Watchers::new(0),
            tally: Arc::default(),
            cosigning: Mutex::default(),
            taking: Mutex::default(),
            ending: CancellationToken::new(),
        }
    }

    /// With so many places for whoever watches changes.
    #[must_use]
    pub fn watched_by(self, most: usize) -> Self {
        Self { watchers: Watchers::new(most), ..self }
    }

    /// From now on what `following` copies is here.
    pub fn engage(&self, following: Following) {
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(Engine::Follows(following));
    }

    /// A tenant whose log was copied for the first time, or was here at the start. Blocking.
    pub fn found(&self, tenant: &Tenant, log: LogId) -> Result<(), HomeError> {
        let open = OpenTenant::of_copy(&self.home, tenant, log)?;
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), Arc::new(open));
        self.republish()
    }

    /// The producer that everything posted goes through.
    pub fn producer(&self) -> Result<&Producer, Problem> {
        Ok(&self.writes()?.producer)
    }

    /// Refused by a follower, which has no key to sign a pack's attestation with.
    pub fn may_seal(&self) -> Result<(), Problem> {
        self.writes.as_ref().map(|_| ()).map_err(|leader| {
            read_only(leader, "a pack is sealed by the log's key, and this server only follows: it holds none")
        })
    }

    fn writes(&self) -> Result<&Writes, Problem> {
        self.writes
            .as_ref()
            .map_err(|leader| read_only(leader, "this server only follows another one: it takes nothing in"))
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

    /// Asks the witnesses of `policy` to cosign every log from now on.
    pub fn ask_witnesses(self: &Arc<Self>, policy: Policy) -> std::io::Result<()> {
        // Weak: the threads must not keep the store open.
        let app = Arc::downgrade(self);
        let source = Arc::new(move || app.upgrade().map(|app| app.released()).unwrap_or_default());
        let cosigning = Cosigning::start(policy, source)?;
        *self.cosigning.lock().unwrap_or_else(PoisonError::into_inner) = Some(cosigning);
        Ok(())
    }

    /// Takes in what events refer to from now on.
    pub fn take_objects(self: &Arc<Self>, limits: TakingLimits) -> std::io::Result<()> {
        // Weak: the thread must not keep the store open.
        let app = Arc::downgrade(self);
        let source = Arc::new(move || app.upgrade().and_then(|app| app.takes()));
        let taking = Taking::start(source, limits)?;
        *self.taking.lock().unwrap_or_else(PoisonError::into_inner) = Some(taking);
        Ok(())
    }

    /// Whether objects are taken in here.
    pub fn takes_objects(&self) -> bool {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What objects are taken by, and every tenant with the first entry that its detail tables do not cover.
    fn takes(&self) -> Option<Roads> {
        let client = self.running(|running| Ok(running.client())).ok()?;
        let detail = |open: Arc<OpenTenant>| {
            let detail = self.progress(&open.tenant)?.detail;
            Some((open, detail))
        };
        Some((client, self.tenants().into_iter().filter_map(detail).collect()))
    }

    /// How each witness does; none where none is asked.
    pub fn witnesses(&self) -> Option<Vec<WitnessStatus>> {
        self.cosigning.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Cosigning::status)
    }

    /// Every log with the size that is released of it: what may be shown to a witness.
    fn released(&self) -> Vec<Released> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Engine::Leads(running)) = engine.as_ref() else { return Vec::new() };
        let mut all = Vec::new();
        for open in self.tenants() {
            if let Some(progress) = running.progress(&open.tenant) {
                let size = progress.borrow().committed;
                all.push(Released { name: open.tenant.to_string(), log: open.log.clone(), size });
            }
        }
        // The ledger's own log grows where tenants are made, not on a road.
        if let Ok(log) = self.home.own_log()
            && let Ok(head) = log.head()
        {
            all.push(Released { name: LEDGER_LOG.to_owned(), log, size: head.size });
        }
        all
    }

    /// Whether everything works.
    pub fn health(&self) -> Health {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        match engine.as_ref() {
            Some(Engine::Leads(running)) => running.health(),
            Some(Engine::Follows(following)) => following.health(),
            None => Health { ready: false, reasons: vec!["the server is stopping".to_owned()] },
        }
    }

    /// What was counted since the start, and where everything stands.
    pub fn stats(&self) -> Stats {
        match self.engine.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Engine::Leads(running)) => running.stats(),
            Some(Engine::Follows(_)) | None => Stats::default(),
        }
    }

    /// Why an answer would be waited for in vain now, if so.
    pub fn refusal(&self) -> Option<String> {
        match self.engine.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Engine::Leads(running)) => running.refusal(),
            Some(Engine::Follows(_)) | None => None,
        }
    }

    /// Why nothing is taken in now, if so: then whoever posts is told at once.
    pub fn refuse_intake(&self) -> Result<(), Problem> {
        match self.engine.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Engine::Leads(running)) => {
                running.refusal().map_or(Ok(()), |reason| Err(Problem::unavailable(reason)))
            }
            Some(Engine::Follows(_)) => self.writes().map(drop),
            None => Err(Problem::unavailable("the server is stopping")),
        }
    }

    /// The parts of the data directory that grow.
    pub fn directories(&self) -> [(&'static str, PathBuf); 4] {
        let dir = &self.home.dir;
        [("ledger", dir.ledger()), ("views", dir.views()), ("nats", dir.nats()), ("objects", dir.objects())]
    }

    /// Waits until the tenant's core views hold entry `at_least`, if that is asked for.
    pub async fn covered(&self, tenant: &Tenant, at_least: Option<u64>) -> Result<(), Problem> {
        let Some(index) = at_least else { return Ok(()) };
        let mut progress = self.watched(tenant).ok_or_else(|| Problem::unavailable("the server is stopping"))?;
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

    /// How far the tenant's log and views have come; none while the server stops.
    pub fn progress(&self, tenant: &Tenant) -> Option<Progress> {
        self.watched(tenant).map(|progress| *progress.borrow())
    }

    /// How far the tenant has come, now and from now on; none while the server stops.
    pub fn watched(&self, tenant: &Tenant) -> Option<tokio::sync::watch::Receiver<Progress>> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        engine.as_ref().and_then(|engine| match engine {
            Engine::Leads(running) => running.progress(tenant),
            Engine::Follows(following) => following.progress(tenant),
        })
    }

    /// Adds a tenant: its stream, its log with keys, its place in the pipeline. True if it is new.
    pub async fn add_tenant(self: &Arc<Self>, tenant: &Tenant) -> Result<(Arc<OpenTenant>, bool), Problem> {
        let _one = self.adding.lock().await;
        if let Ok(open) = self.tenant(tenant) {
            return Ok((open, false));
        }
        let limits = &self.writes()?.limits;
        let client = self.running(|running| Ok(running.client()))?;
        let stream = streams::ensure(&client, tenant, limits).await;
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
        let history: Vec<_> = self.tenants().iter().filter_map(|open| open.key_history()).collect();
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = published.as_mut() {
            file.logs.extend(keys);
            file.keys.extend(history);
            self.home.dir.write_serve_file(file)?;
        }
        Ok(())
    }

    /// Cancelled when the server begins to stop.
    pub fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// The door for requests; refused by a follower.
    pub fn door(self: &Arc<Self>) -> Result<Door, Problem> {
        let entropy = clock::entropy().map_err(|error| Problem::internal("no randomness", &error))?;
        Ok(Door {
            record: Arc::new(Local::new(self)),
            producer: self.producer()?.clone(),
            clock: clock::clock(),
            entropy,
        })
    }

    /// The service's own connection; it may read roads.
    pub fn client(&self) -> Result<async_nats::Client, Problem> {
        self.running(|running| Ok(running.client()))
    }

    /// Where the commands of workers run.
    pub fn workdir(&self) -> PathBuf {
        self.home.dir.root().join("work")
    }

    /// Takes `serve.json` away: the server begins to stop.
    pub fn unpublish(&self) -> Result<(), HomeError> {
        self.ending.cancel();
        // The lock first: a tenant that is being added must not write the file again.
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(self.home.dir.remove_serve_file()?)
    }

    /// Shuts the pipeline down: what was read is appended, answered and projected.
    pub async fn shutdown(&self) {
        let cosigning = self.cosigning.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(cosigning) = cosigning {
            let _ = tokio::task::spawn_blocking(move || cosigning.stop()).await;
        }
        let taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(taking) = taking {
            let _ = tokio::task::spawn_blocking(move || taking.stop()).await;
        }
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        match engine {
            Some(Engine::Leads(running)) => running.shutdown().await,
            Some(Engine::Follows(following)) => drop(tokio::task::spawn_blocking(|| following.shutdown()).await),
            None => {}
        }
    }

    /// Something that only a pipeline at work can do.
    fn running<T>(&self, work: impl FnOnce(&Running<Rocks>) -> Result<T, Problem>) -> Result<T, Problem> {
        match self.engine.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Engine::Leads(running)) => work(running),
            _ => Err(Problem::unavailable("the server is stopping")),
        }
    }

    /// The blocking half of adding a tenant.
    fn follow(&self, tenant: &Tenant, stream_created_ms: u64) -> Result<Arc<OpenTenant>, Problem> {
        let failed = |error: &dyn std::error::Error| Problem::internal("the tenant could not be added", error);
        let setup = self.home.tenant_or_new(tenant, Some(stream_created_ms)).map_err(|error| match &error {
            // Whoever adds tenants may well be who can mend it.
            HomeError::OtherAdmin { log, .. } => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "other_admin_key",
                "No admin key that may list a tenant",
                format!(
                    "keys/admin.pem of the server is none of the admin keys that {log} names: put the secret of one that it \
                     names there (mode 0600), and add the tenant again; `upm keys admin list --ledger` shows them"
                ),
            ),
            _ => failed(&error),
        })?;
        let open = Arc::new(OpenTenant::new(&self.home, tenant).map_err(|error| failed(&error))?);
        self.running(|running| running.add_tenant(setup).map_err(|error| failed(&error)))?;
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), Arc::clone(&open));
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = published.as_mut() {
            file.logs.insert(tenant.to_string(), open.verifier().to_vkey());
            self.home.dir.write_serve_file(file).map_err(|error| failed(&error))?;
        }
        Ok(open)
    }
}

/// What a follower says to whoever wants more than to read.
fn read_only(leader: &str, why: &str) -> Problem {
    let detail = format!("{why}; ask {leader}");
    Problem::new(StatusCode::CONFLICT, "follower", "Only a follower", detail).with("leader", leader)
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

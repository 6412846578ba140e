//! Taking in what events refer to: one thread, beside the pipeline, that nothing waits for.
//!
//! It follows the detail tables, notes each reference to the tenant's own object store (`objects_dir`), and fetches what it names: hashed on the
//! way, synced, and only then removed from the object store. What is not there yet is asked for again, later and later, until its time is
//! over; then it is missing, with the last reason, and a later event that refers to it starts anew. Events that name one digest by several
//! names or lengths are all believed until one leads to the bytes. What the log commits to is the digest in the
//! event, so nothing that is decided here can make a proof false: an object is the right one or it is not here.
//!
//! Left out: objects of other object stores than the tenant's own. Who may publish events of one tenant must not be handed what another's left.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::connection::State;
use nix::sys::statvfs::statvfs;
use pipeline::objects::{self, BucketLimits, FetchError};
use schemas::ids::Tenant;
use schemas::object::{ObjectRef, bucket};

use crate::clock;
use crate::http::OpenTenant;
use crate::objects_dir::{ObjectDir, Record};

/// How often it looks for something to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pauses between two attempts at an object, doubled from the first to the last; and after an object store could not be made.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(30);
/// What one attempt may take: this, and the time in which a slow line brings so many bytes.
const ATTEMPT: Duration = Duration::from_mins(1);
const SLOW_BYTES_PER_SECOND: u64 = 1 << 20;
/// References of a tenant that are looked for at once: who names more has made them up.
const WAITING_MAX: usize = 10_000;

/// How much is taken, and how long it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakingLimits {
    /// The largest object, in bytes.
    pub object_bytes: u64,
    /// How long an object is looked for that an event refers to.
    pub patience: Duration,
    /// What must stay free on the disk, in bytes.
    pub reserve_bytes: u64,
}

/// What there is to look at: the connection, and each tenant with the first entry that its detail tables do not cover.
pub type Roads = (Client, Vec<(Arc<OpenTenant>, u64)>);

/// Where it comes from. None while the server stops.
pub type Source = Arc<dyn Fn() -> Option<Roads> + Send + Sync>;

/// The thread at work.
pub struct Taking {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    stopped: AtomicBool,
    waking: (Mutex<()>, Condvar),
}

/// The thread's own.
struct Taker {
    shared: Arc<Shared>,
    source: Source,
    limits: TakingLimits,
    tenants: BTreeMap<Tenant, Tended>,
}

/// A tenant that is looked after.
struct Tended {
    dir: ObjectDir,
    /// The first entry whose references are not noted.
    next: u64,
    waiting: BTreeMap<String, Wanted>,
    /// Its object store is there.
    bucket: bool,
    pause: Pause,
}

/// An object that is looked for.
struct Wanted {
    record: Record,
    /// What may lead to it, tried in turn.
    references: VecDeque<ObjectRef>,
    /// How many were tried since the last pause.
    tried: usize,
    pause: Pause,
}

impl Wanted {
    /// None where the record was not written by us.
    fn of(record: Record) -> Option<(String, Self)> {
        let references = VecDeque::from(record.references());
        let hex = references.front()?.hex();
        Some((hex, Self { record, references, tried: 0, pause: Pause::default() }))
    }

    /// The one whose turn it is did not lead to the object. Says whether all have had their turn.
    fn next(&mut self) -> bool {
        self.references.rotate_left(1);
        self.tried += 1;
        self.tried >= self.references.len()
    }
}

#[derive(Default)]
struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn lengthen(&mut self) {
        let pause = PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(PAUSE_LAST);
        self.failures += 1;
        self.until = Some(clock::now() + pause);
    }
}

/// How an attempt ended.
enum Attempt {
    Taken,
    /// It can never be taken.
    Never(String),
    /// Not there, or not it.
    Failed(String),
    /// Nobody could be asked, or there is no room: not the object's fault, however long it takes.
    Held(String),
    Stopped,
}

impl Taking {
    /// Starts the thread.
    pub fn start(source: Source, limits: TakingLimits) -> io::Result<Self> {
        let shared = Arc::new(Shared { stopped: AtomicBool::new(false), waking: (Mutex::default(), Condvar::new()) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut taker = Taker { shared: Arc::clone(&shared), source, limits, tenants: BTreeMap::new() };
        let thread = std::thread::Builder::new().name("objects".into()).spawn(move || runtime.block_on(taker.run()))?;
        Ok(Self { shared, thread })
    }

    /// Ends the thread; an object that is being copied is copied anew after the next start.
    pub fn stop(self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.waking.1.notify_all();
        let _ = self.thread.join();
    }
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn pause(&self) {
        let guard = self.waking.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken early or late, the loop looks again.
        drop(self.waking.1.wait_timeout(guard, LOOK_EVERY));
    }
}

impl Taker {
    async fn run(&mut self) {
        while !self.shared.is_stopped() {
            if let Some((client, tenants)) = (self.source)() {
                for (open, detail) in tenants {
                    if self.shared.is_stopped() {
                        return;
                    }
                    self.tend(&client, &open, detail).await;
                }
            }
            self.shared.pause();
        }
    }

    /// Notes what a tenant's new entries refer to, and makes one attempt at each object whose turn it is.
    async fn tend(&mut self, client: &Client, open: &OpenTenant, detail: u64) {
        let tenant = &open.tenant;
        if !self.tenants.contains_key(tenant) {
            match Tended::new(open) {
                Ok(tended) => drop(self.tenants.insert(tenant.clone(), tended)),
                Err(error) => return tracing::warn!(%tenant, %error, "objects can't be kept"),
            }
        }
        let Some(tended) = self.tenants.get_mut(tenant) else { return };
        if !tended.bucket && !tended.pause.is_on(clock::now()) {
            match objects::ensure(client, tenant, &BucketLimits::default()).await {
                Ok(()) => tended.bucket = true,
                Err(error) => {
                    if tended.pause.failures == 0 {
                        tracing::warn!(%tenant, %error, "the object store can't be used; it is tried again");
                    }
                    tended.pause.lengthen();
                }
            }
        }
        if detail > tended.next
            && let Err(error) = tended.note_new(open)
        {
            tracing::warn!(%tenant, error, "what events refer to can't be noted");
        }
        let now = clock::now();
        let due: Vec<String> =
            tended.waiting.iter().filter(|(_, wanted)| !wanted.pause.is_on(now)).map(|(hex, _)| hex.clone()).collect();
        for hex in due {
            let Some(wanted) = tended.waiting.get(&hex) else { continue };
            let attempt = attempt(client, &tended.dir, wanted, &self.limits, &self.shared).await;
            if matches!(attempt, Attempt::Stopped) || self.shared.is_stopped() {
                return;
            }
            tended.settle(tenant, &hex, attempt, self.limits.patience);
        }
    }
}

impl Tended {
    fn new(open: &OpenTenant) -> io::Result<Self> {
        let dir = open.objects().clone();
        dir.prepare()?;
        let size = open.log.head().map_err(io::Error::other)?.size;
        let mut waiting = BTreeMap::new();
        for record in dir.waiting()? {
            waiting.extend(Wanted::of(record));
        }
        // A log that was restored from an older backup is shorter than it was.
        let next = dir.next()?.min(size);
        Ok(Self { dir, next, waiting, bucket: false, pause: Pause::default() })
    }

    /// Notes the references of entries that the detail tables have come to cover.
    fn note_new(&mut self, open: &OpenTenant) -> Result<(), String> {
        let own = bucket(&open.tenant);
        let (rows, next) =
            open.ask(|views| views.references(self.next)).map_err(|problem| problem.to_json().to_string())?;
        for (entry, text) in rows {
            let Some(reference) = ObjectRef::parse(&text).filter(|reference| reference.bucket == own) else { continue };
            let record = Record::waiting(&reference, entry, clock::unix_ms());
            let Some(record) = self.dir.note(&record).map_err(|error| error.to_string())? else { continue };
            if self.waiting.len() < WAITING_MAX || self.waiting.contains_key(&reference.hex()) {
                self.waiting.extend(Wanted::of(record));
            } else {
                let why = format!("{WAITING_MAX} others were looked for already");
                self.dir.give_up(&record, &why).map_err(|error| error.to_string())?;
            }
        }
        if next > self.next {
            self.dir.set_next(next).map_err(|error| error.to_string())?;
            self.next = next;
        }
        Ok(())
    }

    /// Draws the consequence of an attempt.
    fn settle(&mut self, tenant: &Tenant, hex: &str, attempt: Attempt, patience: Duration) {
        let Some(wanted) = self.waiting.get_mut(hex) else { return };
        let age = Duration::from_millis(clock::unix_ms().saturating_sub(wanted.record.since_ms));
        let why = match attempt {
            Attempt::Taken => {
                tracing::info!(%tenant, object = hex, "an object was taken in");
                self.waiting.remove(hex);
                return;
            }
            Attempt::Never(_) if wanted.references.len() > 1 => {
                wanted.references.pop_front();
                return;
            }
            Attempt::Never(why) => why,
            Attempt::Failed(why) => {
                tracing::debug!(%tenant, object = hex, why, "an object was not taken in yet");
                if !wanted.next() {
                    return;
                }
                wanted.tried = 0;
                if age < patience {
                    return wanted.pause.lengthen();
                }
                why
            }
            Attempt::Held(why) => {
                tracing::debug!(%tenant, object = hex, why, "an object was not taken in yet");
                return wanted.pause.lengthen();
            }
            Attempt::Stopped => return,
        };
        tracing::warn!(%tenant, object = hex, why, "an object is missing");
        match self.dir.give_up(&wanted.record, &why) {
            Ok(()) => drop(self.waiting.remove(hex)),
            Err(error) => {
                tracing::warn!(%tenant, object = hex, %error, "what became of an object can't be noted");
                wanted.pause.lengthen();
            }
        }
    }
}

/// One attempt at an object.
async fn attempt(client: &Client, dir: &ObjectDir, wanted: &Wanted, limits: &TakingLimits, shared: &Shared) -> Attempt {
    let Some(reference) = wanted.references.front() else { return Attempt::Never("nothing refers to it".to_owned()) };
    if reference.size > limits.object_bytes {
        return Attempt::Never(format!(
            "too large: it has {} bytes, and at most {} are taken (upm serve --object-bytes)",
            reference.size, limits.object_bytes
        ));
    }
    if client.connection_state() != State::Connected {
        return Attempt::Held("there is no connection to NATS".to_owned());
    }
    match dir.free_bytes() {
        Ok(free) if free < limits.reserve_bytes.saturating_add(reference.size) => {
            return Attempt::Held(format!("the disk is full: {free} bytes are free"));
        }
        Err(error) => return Attempt::Held(format!("the disk can't be looked at: {error}")),
        Ok(_) => {}
    }
    let most = ATTEMPT + Duration::from_secs(reference.size / SLOW_BYTES_PER_SECOND);
    match tokio::time::timeout(most, copy(client, dir, &wanted.record, reference, shared)).await {
        Ok(attempt) => attempt,
        Err(_) => Attempt::Failed(format!("timed out after {} s", most.as_secs())),
    }
}

/// Copies an object, compares it with its digest and keeps it.
async fn copy(client: &Client, dir: &ObjectDir, record: &Record, reference: &ObjectRef, shared: &Shared) -> Attempt {
    let mut copying = match dir.begin() {
        Ok(copying) => copying,
        Err(error) => return Attempt::Held(format!("it can't be written: {error}")),
    };
    let sink = |piece: &[u8]| {
        if shared.is_stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        copying.write_all(piece)
    };
    match objects::fetch(client, reference, sink).await {
        Ok(()) => {}
        Err(FetchError::Sink(error)) if error.kind() == io::ErrorKind::Interrupted => return Attempt::Stopped,
        Err(FetchError::Sink(error)) => return Attempt::Held(format!("it can't be written: {error}")),
        Err(error) => return Attempt::Failed(error.to_string()),
    }
    let kept = copying.end().and_then(|done| {
        if done.sha256 != reference.sha256 {
            return Ok(Some(hex::encode(done.sha256)));
        }
        let record = Record { reference: reference.to_string(), others: Vec::new(), ..record.clone() };
        dir.keep(&record, &done.file, done.crc32).map(|()| None)
    });
    match kept {
        Ok(None) => {}
        Ok(Some(found)) => return Attempt::Failed(format!("its bytes have SHA-256 {found}")),
        Err(error) => return Attempt::Held(format!("it can't be written: {error}")),
    }
    // Nobody needs it there any more; what can't be removed goes by age.
    if let Err(error) = objects::remove(client, reference).await {
        tracing::debug!(%error, "an object that was taken stays in its object store until it is too old");
    }
    Attempt::Taken
}

impl ObjectDir {
    /// Bytes that are free where objects are kept.
    fn free_bytes(&self) -> io::Result<u64> {
        let found = statvfs(self.root()).map_err(io::Error::from)?;
        Ok(found.blocks_available().saturating_mul(found.fragment_size()))
    }
}

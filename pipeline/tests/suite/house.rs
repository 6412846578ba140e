//! A house for one test: directory, child server, store, keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use ledger::append::load_head;
use ledger::birth::{LedgerBirth, LogBirth, found_ledger, found_log};
use ledger::checkpoint::Origin;
use ledger::dedupe::DedupeKey;
use ledger::entry::{Header, Salt};
use ledger::hash::Hash;
use ledger::kv::{Kv, MemKv};
use ledger::read::Log;
use ledger::receipt::Receipt;
use ledger::signing::{PublicKey, Signer};
use pipeline::answer::{Answer, RECEIPT_HEADER};
use pipeline::produce::{Outgoing, Patience, Producer, Turn};
use pipeline::server::{ChildConfig, NatsChild, find};
use pipeline::streams::{self, StreamLimits};
use pipeline::{Config, Disk, NatsTarget, Running, Signing, Stopwatch, Sweep, TenantSetup};
use schemas::ids::Tenant;

/// Longest wait for anything that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const LEDGER: &str = "test-ledger";

pub(crate) struct House<K = MemKv> {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) child: NatsChild,
    /// With the service's rights.
    pub(crate) admin: Client,
    /// With a producer's rights.
    pub(crate) plain: Client,
    pub(crate) kv: Arc<K>,
    /// Milliseconds that the pipeline's clock is off.
    pub(crate) clock_off: Arc<AtomicI64>,
    pub(crate) limits: StreamLimits,
    pub(crate) sweep: Sweep,
    /// Where the pipeline's clock stands still, milliseconds since 1970; 0 lets it go.
    pub(crate) clock_stands: Arc<AtomicU64>,
    /// Another way to the server, for the pipeline.
    pub(crate) through: Option<String>,
    pub(crate) disk: Option<Disk>,
    /// Where signed heads are kept.
    pub(crate) kept: Option<Arc<dyn pipeline::KeptHeads>>,
    /// How far signs of life are apart.
    pub(crate) heartbeat: Option<Duration>,
}

pub(crate) fn nats_server() -> PathBuf {
    std::env::var_os("NATS_SERVER").map_or_else(
        || {
            PathBuf::from(std::env::var_os("HOME").expect("HOME is set"))
                .join(".cache/upm-ledger/tools/nats-server-2.15.1")
        },
        PathBuf::from,
    )
}

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).expect("a tenant")
}

pub(crate) fn child_config(dir: &std::path::Path) -> ChildConfig {
    ChildConfig {
        program: find(Some(&nats_server()), &[]).expect("a nats-server; `scripts/setup serve` installs it"),
        launcher: Vec::new(),
        dir: dir.join("nats"),
        store_key: "1e5-a-key-that-looks-like-a-number".into(),
        port: None,
    }
}

pub(crate) fn signer(log: &str, seed: u8) -> Signer {
    Signer::from_seed(&Origin::of(LEDGER, log).expect("an origin"), [seed; 32])
}

pub(crate) fn admin_key() -> Signer {
    signer("_ledger", 2)
}

impl House<MemKv> {
    pub(crate) async fn new() -> Self {
        Self::over(MemKv::default()).await
    }
}

impl<K: Kv + 'static> House<K> {
    pub(crate) async fn over(kv: K) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let child = NatsChild::start(child_config(dir.path())).await.expect("the server starts");
        let admin = child.target().connect("test").await.expect("the service connects");
        let plain = NatsTarget::plain(child.url()).connect("producer").await.expect("a producer connects");
        let house = Self {
            dir,
            child,
            admin,
            plain,
            kv: Arc::new(kv),
            clock_off: Arc::default(),
            limits: StreamLimits::default(),
            sweep: Sweep::default(),
            clock_stands: Arc::default(),
            through: None,
            kept: None,
            disk: None,
            heartbeat: None,
        };
        let (ledger, admin, recovery) = (signer("_ledger", 1), admin_key(), signer("_ledger", 3));
        let birth = LedgerBirth {
            name: LEDGER,
            signer: &ledger,
            admin_keys: &[admin.public_key()],
            recovery_key: recovery.public_key(),
            rules: Hash(schemas::rules::current().name),
            at_ms: now_ms(),
        };
        found_ledger(&*house.kv, &birth).expect("a ledger is born");
        house
    }

    /// The tenant's stream and log, made if they are not there, and what the pipeline needs of them.
    pub(crate) async fn found(&self, name: &str) -> TenantSetup {
        let tenant = tenant(name);
        let seed = name.bytes().fold(100_u8, u8::wrapping_add);
        let (mut signer, dedupe) = (signer(name, seed), DedupeKey::new([seed; 32]));
        if let Some(log) = ledger::birth::log_of(&*self.kv, &tenant).expect("the store is read") {
            let governance = Log::open(&*self.kv, log).and_then(|log| log.governance()).expect("it holds");
            signer = find_signer(governance.origin(), governance.log_keys().current()).expect("the newest key");
        }
        let stream = streams::ensure(&self.admin, &tenant, &self.limits).await.expect("a stream");
        let birth = LogBirth {
            tenant: &tenant,
            signer: &signer,
            dedupe: &dedupe,
            ledger_signer: &self::signer("_ledger", 1),
            admin: &admin_key(),
            rules: Hash(schemas::rules::current().name),
            stream_created_ms: Some(stream.created_ns / 1_000_000),
            opening_salt: Salt([seed; 16]),
            envelope_salt: Salt([!seed; 16]),
            at_ms: now_ms(),
        };
        let head = found_log(&*self.kv, &birth).expect("a log is born");
        TenantSetup { tenant, log: head.log, signer, dedupe }
    }

    /// Starts the pipeline for these tenants and waits until it is ready.
    pub(crate) async fn run(&self, tenants: &[&str]) -> Running<K> {
        let running = self.start(tenants).await;
        ready(&running).await;
        running
    }

    /// Starts the pipeline without waiting for anything.
    pub(crate) async fn start(&self, tenants: &[&str]) -> Running<K> {
        let mut setups = Vec::new();
        for name in tenants {
            setups.push(self.found(name).await);
        }
        let (off, stands) = (Arc::clone(&self.clock_off), Arc::clone(&self.clock_stands));
        let mut nats = self.child.target();
        if let Some(url) = &self.through {
            nats.url.clone_from(url);
        }
        let salts = AtomicU64::new(1);
        let config = Config {
            kv: Arc::clone(&self.kv),
            views_dir: self.dir.path().join("views"),
            nats,
            child: None,
            tenants: setups,
            stream_limits: self.limits.clone(),
            sweep: self.sweep.clone(),
            kept: self.kept.clone(),
            disk: self.disk.clone(),
            signing: Signing { heartbeat: self.heartbeat, ..Signing::quiet(Arc::new(find_signer)) },
            stopwatch: stopwatch(),
            clock: Arc::new(move || match stands.load(Ordering::Relaxed) {
                0 => now_ms().saturating_add_signed(off.load(Ordering::Relaxed)),
                at_ms => at_ms,
            }),
            entropy: Arc::new(move |bytes| {
                for chunk in bytes.chunks_mut(8) {
                    let number = salts.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    chunk.copy_from_slice(&number.to_be_bytes()[..chunk.len()]);
                }
            }),
        };
        pipeline::start(config).await.expect("the pipeline starts")
    }

    /// Ends the server, lets `meanwhile` at its directory, and starts it again.
    pub(crate) async fn reopen(self, meanwhile: impl FnOnce(&std::path::Path)) -> Self {
        self.child.stop().await;
        meanwhile(&self.dir.path().join("nats/store"));
        let child = NatsChild::start(child_config(self.dir.path())).await.expect("the server starts again");
        let admin = child.target().connect("test").await.expect("the service connects");
        let plain = NatsTarget::plain(child.url()).connect("producer").await.expect("a producer connects");
        Self { child, admin, plain, ..self }
    }

    /// A producer without credentials.
    pub(crate) async fn producer(&self) -> Producer {
        let patience = Patience { ack: Duration::from_secs(2), answer: Duration::from_secs(5), ..Patience::default() };
        Producer::new(self.plain.clone(), patience).await.expect("a producer")
    }

    pub(crate) fn log(&self, name: &str) -> Log<Arc<K>> {
        let log = ledger::birth::log_of(&*self.kv, &tenant(name)).expect("the store is read").expect("a log");
        Log::open(Arc::clone(&self.kv), log).expect("the log is read")
    }

    /// Kinds of all entries, such as `first event gap`.
    pub(crate) fn kinds(&self, name: &str) -> String {
        let log = self.log(name);
        // Checks the tail too.
        let size = load_head(&*self.kv, log.id()).expect("a sound head").size;
        let kinds = (0..size).map(|index| self.header(name, index).kind().to_owned());
        kinds.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn header(&self, name: &str, index: u64) -> Header {
        self.log(name).header(index).expect("the entry is read").expect("there is an entry")
    }

    /// Publishes with a receipt request of our own, and gives the subscription on which the answer comes.
    pub(crate) async fn ask(&self, subject: &str, payload: &[u8], reply: &str) -> Subscriber {
        let subscriber = self.plain.subscribe(reply.to_owned()).await.expect("a subscription");
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(RECEIPT_HEADER, reply);
        let ack = self.plain.new_inbox();
        let mut acks = self.plain.subscribe(ack.clone()).await.expect("a subscription");
        let published = self.plain.publish_with_reply_and_headers(
            subject.to_owned(),
            ack,
            headers,
            Bytes::copy_from_slice(payload),
        );
        published.await.expect("published");
        next(&mut acks).await.expect("JetStream acknowledges");
        subscriber
    }
}

/// Seed of the key that takes the place of every tenant's first one.
pub(crate) const NEXT_KEY: u8 = 77;

/// The secrets that this house holds: those of birth, and the next one of every tenant.
fn find_signer(origin: &Origin, key: &PublicKey) -> Option<Signer> {
    let log = origin.log();
    let born = if log == "_ledger" { 1 } else { log.bytes().fold(100_u8, u8::wrapping_add) };
    [born, NEXT_KEY].into_iter().map(|seed| signer(log, seed)).find(|signer| signer.public_key() == *key)
}

/// What a verifier who holds only the answer and the event can check.
pub(crate) fn verify(name: &str, answer: &Answer, payload: &[u8]) {
    let receipt = Receipt::parse(answer.receipt().expect("a receipt")).expect("a well-formed receipt");
    assert_eq!(receipt.index, answer.index);
    let seed = name.bytes().fold(100_u8, u8::wrapping_add);
    receipt.verify(&signer(name, seed).verifier(), payload).expect("the receipt proves the event");
}

pub(crate) async fn next(subscriber: &mut Subscriber) -> Option<Message> {
    tokio::time::timeout(PATIENCE, subscriber.next()).await.ok().flatten()
}

pub(crate) async fn next_answer(subscriber: &mut Subscriber) -> Answer {
    let message = next(subscriber).await.expect("an answer comes");
    Answer::parse(message.headers.as_ref(), &message.payload).expect("it is an answer")
}

/// Nothing comes for a while.
pub(crate) async fn silence(subscriber: &mut Subscriber) {
    let came = tokio::time::timeout(Duration::from_millis(700), subscriber.next()).await;
    assert!(came.is_err(), "{came:?}");
}

pub(crate) async fn ready<K: Kv + 'static>(running: &Running<K>) {
    until("the pipeline is ready", || running.health().ready).await;
}

pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// Events that may come in any order.
pub(crate) fn free(events: Vec<Outgoing>) -> impl Iterator<Item = (Outgoing, Turn)> {
    events.into_iter().map(|event| (event, Turn::default()))
}

pub(crate) fn outgoing(tenant: &str, phase: &str, id: &str) -> Outgoing {
    Outgoing { subject: format!("upm.events.{tenant}.{phase}.ci"), payload: event(tenant, phase, id).into() }
}

pub(crate) fn event(tenant: &str, phase: &str, id: &str) -> String {
    format!(
        r#"{{"provisioning_event":{{"id":"{id}","timestamp":"2026-11-22T10:00:00Z","phase":"{phase}","intent":{{"source":"api","initiator":"ada@example.org","tenant":"{tenant}"}}}}}}"#
    )
}

fn stopwatch() -> Stopwatch {
    let start = std::time::Instant::now();
    Arc::new(move || start.elapsed())
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 500 million")
}

//! What every measurement stands on: a nats-server as `upm serve` runs it, a new ledger with logs in it, a clock, randomness.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ledger::birth::{LedgerBirth, LogBirth, found_ledger, found_log};
use ledger::checkpoint::Origin;
use ledger::dedupe::DedupeKey;
use ledger::entry::Salt;
use ledger::hash::Hash;
use ledger::signing::Signer;
use ledger_rocks::Rocks;
use pipeline::server::{ChildConfig, NatsChild, find};
use pipeline::streams::StreamLimits;
use pipeline::{Config, FindSigner, Signing, Stopwatch, Sweep, TenantSetup};
use schemas::ids::Tenant;

const LEDGER: &str = "bench";

/// Whatever went wrong.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A folder for the stores, removed at the end.
pub(crate) fn folder(dir: Option<&Path>) -> Result<tempfile::TempDir, Failure> {
    Ok(match dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    })
}

/// The nats-server, and its version.
pub(crate) async fn nats(program: &Path, dir: &Path) -> Result<(NatsChild, String), Failure> {
    let program = find(Some(program), &[])?;
    let version = program.version.clone();
    let child = NatsChild::start(ChildConfig {
        program,
        launcher: vec![std::env::current_exe()?.into(), "nats-child".into()],
        dir: dir.join("nats"),
        store_key: "a key for figures that nobody keeps".to_owned(),
        port: None,
    })
    .await?;
    Ok((child, version))
}

/// Tenants by number.
pub(crate) fn tenants(count: u64) -> Result<Vec<Tenant>, Failure> {
    (0..count.max(1)).map(|number| Ok(Tenant::parse(&format!("bench-{number}"))?)).collect()
}

/// A new ledger with a log for each tenant.
pub(crate) struct World {
    pub(crate) kv: Arc<Rocks>,
    pub(crate) setups: Vec<TenantSetup>,
    pub(crate) signing: Signing,
}

/// Founds a ledger below `dir`; `streams_ns` are the creation times of the tenants' streams, where there are streams.
pub(crate) fn found(dir: &Path, tenants: &[Tenant], streams_ns: &[u64]) -> Result<World, Failure> {
    std::fs::create_dir_all(dir)?;
    let kv = Arc::new(Rocks::open(&dir.join("ledger"))?);
    let seed = random();
    let signer = |name: &str| -> Result<Signer, Failure> { Ok(Signer::from_seed(&Origin::of(LEDGER, name)?, seed)) };
    let (ledger_signer, admin) = (signer("_ledger")?, signer("_ledger")?);
    let rules = Hash(schemas::rules::current().name);
    let admin_keys = [admin.public_key()];
    found_ledger(
        kv.as_ref(),
        &LedgerBirth {
            name: LEDGER,
            signer: &ledger_signer,
            admin_keys: &admin_keys,
            recovery_key: Signer::from_seed(&Origin::of(LEDGER, "_ledger")?, random()).public_key(),
            rules,
            at_ms: unix_ms(),
        },
    )?;
    let mut setups = Vec::with_capacity(tenants.len());
    for (place, tenant) in tenants.iter().enumerate() {
        let (signer, dedupe) = (signer(tenant.as_str())?, DedupeKey::new(random()));
        let birth = LogBirth {
            tenant,
            signer: &signer,
            dedupe: &dedupe,
            ledger_signer: &ledger_signer,
            admin: &admin,
            rules,
            stream_created_ms: streams_ns.get(place).map(|created_ns| created_ns / 1_000_000),
            at_ms: unix_ms(),
            opening_salt: Salt(random()),
            envelope_salt: Salt(random()),
        };
        let log = found_log(kv.as_ref(), &birth)?.log;
        setups.push(TenantSetup { tenant: tenant.clone(), log, signer, dedupe });
    }
    let find: FindSigner = Arc::new(move |origin, key| {
        let signer = Signer::from_seed(origin, seed);
        (signer.public_key() == *key).then_some(signer)
    });
    Ok(World { kv, setups, signing: Signing::quiet(find) })
}

/// The pipeline over a world, with views below `dir`.
pub(crate) fn config(world: World, child: &NatsChild, dir: &Path) -> Config<Rocks> {
    Config {
        kv: world.kv,
        views_dir: dir.join("views"),
        nats: child.target(),
        child: None,
        tenants: world.setups,
        stream_limits: StreamLimits::default(),
        sweep: Sweep::default(),
        kept: None,
        disk: None,
        signing: world.signing,
        stopwatch: stopwatch(),
        clock: Arc::new(unix_ms),
        entropy: Arc::new(fill),
    }
}

fn stopwatch() -> Stopwatch {
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// Salts, in one draw.
pub(crate) fn salts(count: usize) -> Vec<[u8; 16]> {
    let mut salts = vec![[0; 16]; count];
    fill(salts.as_flattened_mut());
    salts
}

#[expect(clippy::expect_used, reason = "without randomness there is nothing to measure")]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives randomness");
}

/// A rate.
#[expect(clippy::cast_precision_loss, reason = "figures for people: counts are far below 2^53")]
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Microseconds each.
#[expect(clippy::cast_precision_loss, reason = "figures for people: counts are far below 2^53")]
pub(crate) fn micros(seconds: f64, count: u64) -> f64 {
    seconds * 1e6 / count.max(1) as f64
}

//! `upm serve`: everything in one process. Here is the order in which things start and stop; each thing lies elsewhere.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ledger::birth::LEDGER_LOG;
use ledger::note::VerifierKey;
use ledger::policy::Policy;
use ledger::read::Log;
use pipeline::produce::{Patience, Producer};
use pipeline::server::{self, ChildConfig, NatsChild, Program};
use pipeline::streams::{self, StreamLimits};
use pipeline::{Config, KeptHeads, NatsAuth, NatsTarget, Signing, Sweep, TenantSetup};
use projector_sqlite::{Reader, ViewError, Views};
use schemas::ids::Tenant;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::client::print;
use super::following::{self, FollowArgs};
use super::limits::LimitArgs;
use super::{CliError, Globals};
use crate::data_dir::{DataDir, ServeFile};
use crate::follow::Followers;
use crate::head_file::LostError;
use crate::home::{Home, HomeError};
use crate::http::{self, App, Guard, OpenTenant};
use crate::stop::Stop;
use crate::work::local::Local;
use crate::work::options::{self, Options};
use crate::work::{self, Kind, Place};
use crate::{clock, cosigning, env, kept_heads, logging};

/// Options of `upm serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm serve --tenant acme --tenant beta\n  upm serve --data /var/lib/upm --listen 127.0.0.1:0\n  \
                  upm serve --nats tls://nats.example.org --nats-creds upm.creds --nats-ca ca.pem\n  upm serve --tenant acme --workers workers.toml\n\n\
                  Ctrl-C or SIGTERM drains and stops; a second one stops at once. UPM_LOG sets what is logged (info, debug, …)."
)]
pub struct Args {
    /// Address to serve HTTP on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Listen on an address that others can reach, without tokens and TLS
    #[arg(long)]
    insecure: bool,
    /// Join this NATS server or cluster instead of starting one
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Credentials file for --nats
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_creds: Option<PathBuf>,
    /// Certificates of the authority that --nats is checked against (PEM)
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_ca: Option<PathBuf>,
    /// The nats-server to start [default: beside upm, else on the PATH]
    #[arg(long, value_name = "PATH", env = "NATS_SERVER")]
    nats_server: Option<PathBuf>,
    /// Name of a new ledger, fixed at its birth; by default `<hostname>-<8 hex digits>`
    #[arg(long, value_name = "LEDGER")]
    name: Option<String>,
    /// Keep the highest signed head of each log in this directory too, outside the data, and refuse a store that is behind it
    #[arg(long, value_name = "DIR")]
    kept_heads: Option<PathBuf>,
    /// A copy of this ledger (`upm serve --follow URL --follow-as NAME`) that messages stay on the road for; may be given several times
    #[arg(long = "follower", value_name = "NAME")]
    followers: Vec<String>,
    /// Run the workers too, with these options (TOML)
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    workers: Option<PathBuf>,
    /// Have every checkpoint cosigned by the witnesses of this policy that have a URL (C2SP tlog-policy)
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    witness_policy: Option<PathBuf>,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// How long requests that are being answered may take when we stop.
const HTTP_PATIENCE: Duration = Duration::from_secs(5);
/// How long workers may take to come to an end: a command that runs is ended first.
const WORK_PATIENCE: Duration = Duration::from_secs(20);
/// How often readiness is looked at while starting, and how often what is missing is said.
const READY_POLL: Duration = Duration::from_millis(20);
const READY_SAY: u32 = 250;

/// Where the road is.
enum Road {
    /// A child of ours.
    Child(Program),
    /// A server that runs without us.
    Joined(NatsTarget),
}

/// What runs beside the ledger where it is wanted.
struct Beside {
    /// Witnesses that are asked.
    policy: Option<Policy>,
    /// The workers' options.
    workers: Option<Options>,
}

/// A server at work.
pub struct Serving {
    /// The state of all handlers.
    pub app: Arc<App>,
    /// What answers requests.
    pub http: JoinHandle<std::io::Result<()>>,
    /// Stops it.
    pub stop_http: watch::Sender<bool>,
}

/// Runs the ledger until it is told to stop.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    logging::init(globals.json);
    refuse_open_address(&args)?;
    let policy = args.witness_policy.as_deref().map(super::witness::read_policy).transpose()?;
    let workers = args.workers.as_deref().map(|file| options::read(Some(file))).transpose()?;
    let dir = DataDir::create(&globals.data).map_err(|error| could_not(&error))?;
    let lock = dir.lock().map_err(|error| could_not(&error))?;
    let listener = bind(args.listen)?;
    if let Some(url) = &args.follow.follow {
        let following = following::serve(globals, dir, lock, listener, url, (&args.follow, &args.limits));
        return runtime()?.block_on(following).map(|()| ExitCode::SUCCESS);
    }
    let road = road(&args)?;
    let mut home = Home::open_or_found(dir, lock, args.name.as_deref()).map_err(|error| super::keys::lost(&error))?;
    keep_heads(&mut home, args.kept_heads.as_deref())?;
    let tenants = tenants(&home, &globals.tenants)?;
    check_views(&home, &tenants)?;
    warn_of_keys(&home);
    let runtime = runtime()?;
    let beside = Beside { policy, workers };
    runtime.block_on(serve(home, listener, road, (args.limits, args.followers), tenants, beside, globals.json))?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| CliError::because("can't start threads", &error))
}

async fn serve(
    home: Home,
    listener: TcpListener,
    road: Road,
    options: (LimitArgs, Vec<String>),
    tenants: Vec<Tenant>,
    beside: Beside,
    json: bool,
) -> Result<(), CliError> {
    let mut stop = Stop::listen().map_err(|error| CliError::because("can't listen for signals", &error))?;
    let started = tokio::select! {
        started = start(home, listener, road, options, tenants, json) => Some(started?),
        name = stop.wait() => {
            tracing::info!("{name} before everything was ready: stopping");
            None
        }
    };
    let Some(serving) = started else { return Ok(()) };
    if let Some(policy) = beside.policy {
        let asking = serving.app.ask_witnesses(policy);
        asking.map_err(|error| CliError::because("can't start the threads that ask witnesses", &error))?;
    }
    let working = beside.workers.map(|options| work(&serving.app, options)).transpose()?;
    let name = stop.wait().await;
    tracing::info!("{name}: draining; once more to stop at once");
    stop.hurry();
    if let Some(working) = working {
        finish(&serving.app, working).await;
    }
    drain(serving).await
}

/// Starts the workers in this process.
fn work(app: &Arc<App>, options: Options) -> Result<JoinHandle<()>, CliError> {
    let refused =
        |problem: http::Problem| CliError::could_not(problem.to_json()["detail"].as_str().unwrap_or_default());
    let place = Place {
        record: Arc::new(Local::new(app)),
        client: app.client().map_err(refused)?,
        producer: app.producer().map_err(refused)?.clone(),
        workdir: app.workdir(),
        tally: Arc::clone(&app.tally),
        stop: app.ending().clone(),
    };
    let kinds = Kind::ALL.into_iter().collect();
    Ok(tokio::spawn(async move {
        if let Err(error) = work::run(place, options, &kinds).await {
            tracing::error!(%error, "the workers could not be started");
        }
    }))
}

/// Lets workers finish what they have in hand, while events are still taken in.
async fn finish(app: &App, working: JoinHandle<()>) {
    app.ending().cancel();
    if tokio::time::timeout(WORK_PATIENCE, working).await.is_err() {
        tracing::warn!(
            "work that took longer than {} s was cut off; it goes on after the next start",
            WORK_PATIENCE.as_secs()
        );
    }
}

/// Starts everything and returns when it is ready.
async fn start(
    home: Home,
    listener: TcpListener,
    road: Road,
    options: (LimitArgs, Vec<String>),
    tenants: Vec<Tenant>,
    json: bool,
) -> Result<Serving, CliError> {
    let (target, child) = reach(&home, road).await?;
    let nats_url = without_credentials(&target.url);
    let (limits, followers) = options;
    let followers = Arc::new(Followers::named(&followers));
    let sweep = Sweep { after: limits.sweep_after, followers: followers.hook(&home.kv) };
    let disk = limits.disk(home.dir.root().to_owned());
    let heartbeat = limits.heartbeat();
    let (body_time, watchers) = (limits.body_time, limits.watchers);
    let taking = limits.objects();
    let limits = limits.streams(child.is_some());
    let setups = set_up(&home, &target, &limits, &tenants).await?;
    let open: Result<Vec<_>, _> = tenants.iter().map(|tenant| OpenTenant::new(&home, tenant)).collect();
    let open = open.map_err(|error| could_not(&error))?;
    let rekeyed = Arc::new(Notify::new());
    let config = Config {
        kv: Arc::clone(&home.kv),
        views_dir: home.dir.views(),
        nats: target,
        child,
        tenants: setups,
        stream_limits: limits.clone(),
        sweep,
        kept: home.kept.clone().map(|kept| kept as Arc<dyn KeptHeads>),
        disk: Some(disk),
        signing: signing(&home, heartbeat, &rekeyed),
        clock: clock::clock(),
        stopwatch: clock::stopwatch(),
        entropy: clock::entropy().map_err(|error| CliError::because("no randomness", &error))?,
    };
    let running = pipeline::start(config).await.map_err(|error| could_not(&error))?;
    let patience = Patience { answer: Duration::from_secs(10), attempts: 3, ..Patience::default() };
    let producer = Producer::new(running.client(), patience).await.map_err(|error| could_not(&error))?;

    let listen = listener.local_addr().map_err(|error| could_not(&error))?;
    let own = home.verifier().map_err(|error| could_not(&error))?;
    let file = serve_file(&home, listen, nats_url, &open, &own);
    let banner = if json { as_json(&file) } else { banner(&home, &file, &open, &own) };
    let app = Arc::new(App::new(home, followers, running, producer, limits, open).watched_by(watchers));
    let (http, stop_http) = answer_in_background(listener, &app, body_time);
    ready(&app).await;
    if let Some(taking) = taking {
        let started = app.take_objects(taking);
        started.map_err(|error| CliError::because("can't start the thread that takes objects in", &error))?;
    }
    app.publish(file).map_err(|error| could_not(&error))?;
    tokio::spawn(republish(Arc::downgrade(&app), rekeyed));
    tokio::spawn(take_requests(Arc::downgrade(&app)));
    if let Err(error) = print::line(&banner) {
        // Where it is also stands in `serve.json`.
        tracing::warn!(%error, "nobody was told that it is ready");
    }
    Ok(Serving { app, http, stop_http })
}

/// What is signed beside events: with keys out of `keys/`, which are looked for when a log names them.
fn signing(home: &Home, heartbeat: Option<Duration>, rekeyed: &Arc<Notify>) -> Signing {
    let rekeyed = Arc::clone(rekeyed);
    let quiet = Signing::quiet(home.find_signer());
    Signing {
        heartbeat,
        rekeyed: Arc::new(move || rekeyed.notify_one()),
        committed: home
            .heads
            .clone()
            .map_or_else(|| quiet.committed.clone(), |heads| Arc::new(move |round| heads.committed(round))),
        cosigned: cosigning::newest_cosigned(&home.kv),
        ..quiet
    }
}

/// Answers requests that come over NATS.
async fn take_requests(app: Weak<App>) {
    let Some((door, client, ending)) = app.upgrade().and_then(|app| {
        let (door, client) = (app.door().ok()?, app.client().ok()?);
        Some((door, client, app.ending().clone()))
    }) else {
        return;
    };
    if let Err(error) = door.listen(client, ending).await {
        tracing::warn!(%error, "requests over NATS are not taken; over HTTP they are");
    }
}

/// Writes `serve.json` again whenever a log has other keys.
async fn republish(app: Weak<App>, rekeyed: Arc<Notify>) {
    loop {
        rekeyed.notified().await;
        let Some(app) = app.upgrade() else { return };
        // It reads the store and writes a file: where it blocks no request.
        match tokio::task::spawn_blocking(move || app.republish()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "serve.json could not be written again after a change of keys"),
            Err(error) => tracing::warn!(%error, "serve.json could not be written again after a change of keys"),
        }
    }
}

/// Stops everything in order: nobody is sent here any more, requests are answered, what was read is made durable and answered.
pub async fn drain(serving: Serving) -> Result<(), CliError> {
    let Serving { app, http, stop_http } = serving;
    let unpublished = app.unpublish();
    stop_http.send_replace(true);
    if tokio::time::timeout(HTTP_PATIENCE, http).await.is_err() {
        tracing::warn!("requests that took longer than {} s were cut off", HTTP_PATIENCE.as_secs());
    }
    app.shutdown().await;
    tracing::info!("stopped");
    unpublished.map_err(|error| could_not(&error))
}

/// Answers requests, whose headers and then whose bodies may take `body_time` to arrive, until it is told to stop.
pub fn answer_in_background(
    listener: TcpListener,
    app: &Arc<App>,
    body_time: Duration,
) -> (JoinHandle<std::io::Result<()>>, watch::Sender<bool>) {
    let loopback = listener.local_addr().is_ok_and(|listen| listen.ip().is_loopback());
    let (stop_http, stopped) = watch::channel(false);
    let router = http::router(Arc::clone(app), Guard { loopback }, body_time);
    let answering = async move {
        listener.set_nonblocking(true)?;
        let listener = http::Patient(tokio::net::TcpListener::from_std(listener)?);
        http::answer(listener, router, body_time, stopped).await
    };
    (tokio::spawn(answering), stop_http)
}

async fn ready(app: &App) {
    for round in 1_u32.. {
        let health = app.health();
        if health.ready {
            return;
        }
        if round % READY_SAY == 0 {
            tracing::info!(reasons = health.reasons.join("; "), "not ready yet");
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// The NATS server to use: started if it is ours.
async fn reach(home: &Home, road: Road) -> Result<(NatsTarget, Option<NatsChild>), CliError> {
    let program = match road {
        Road::Joined(target) => return Ok((target, None)),
        Road::Child(program) => program,
    };
    let own =
        env::own_program().ok_or_else(|| CliError::could_not("the system doesn't tell where our own program is"))?;
    let child = NatsChild::start(ChildConfig {
        program,
        launcher: vec![own.into(), "nats-child".into()],
        dir: home.dir.nats(),
        store_key: home.keys.nats_or_new().map_err(|error| could_not(&error))?.to_string(),
        port: None,
    });
    let child = child.await.map_err(|error| could_not(&error))?;
    Ok((child.target(), Some(child)))
}

/// Makes the streams of tenants that are new, then their logs, and reads the keys of all.
async fn set_up(
    home: &Home,
    target: &NatsTarget,
    limits: &StreamLimits,
    tenants: &[Tenant],
) -> Result<Vec<TenantSetup>, CliError> {
    let known: Vec<Tenant> =
        home.tenants().map_err(|error| could_not(&error))?.into_iter().map(|(tenant, ..)| tenant).collect();
    let client = target.connect("upm start").await.map_err(|error| could_not(&error))?;
    let mut setups = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        let setup = if known.contains(tenant) {
            home.tenant(tenant)
        } else {
            let stream = streams::ensure(&client, tenant, limits).await.map_err(|error| could_not(&error))?;
            home.tenant_or_new(tenant, Some(stream.created_ns / 1_000_000))
        };
        setups.push(setup.map_err(|error| could_not(&error))?);
    }
    Ok(setups)
}

/// Nothing is signed by a store that is older than what was shown of it.
fn keep_heads(home: &mut Home, dir: Option<&Path>) -> Result<(), CliError> {
    let marker = kept_heads::marker(home.dir.root());
    let Some(dir) = dir else {
        if marker.exists() {
            let line = format!("the heads of this ledger were kept elsewhere, as {} says", marker.display());
            return Err(CliError::could_not(line)
                .with_detail("pass --kept-heads with that directory, or remove the file to keep heads no more"));
        }
        return Ok(());
    };
    home.keep_heads(dir).map_err(|error| match &error {
        HomeError::Kept(kept) if !kept.ways_out().is_empty() => CliError::of(&error).with_detail(kept.ways_out()),
        _ => could_not(&error),
    })
}

/// Whoever reaches an address that is not loopback could publish and read everything.
fn refuse_open_address(args: &Args) -> Result<(), CliError> {
    if args.listen.ip().is_loopback() || args.insecure {
        return Ok(());
    }
    let line = format!(
        "{} can be reached by others, and there are no tokens and no TLS yet; --insecure says that you mean it",
        args.listen
    );
    Err(CliError::could_not(line))
}

fn bind(listen: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(listen).map_err(|error| {
        let why = if error.kind() == std::io::ErrorKind::AddrInUse {
            "the port is taken".to_owned()
        } else {
            error.to_string()
        };
        CliError::could_not(format!(
            "can't listen on {listen}: {why}; --listen takes another address, port 0 picks a free one"
        ))
    })
}

fn road(args: &Args) -> Result<Road, CliError> {
    if let Some(urls) = &args.nats {
        return Ok(Road::Joined(joined(urls, args.nats_creds.clone(), args.nats_ca.clone())?));
    }
    let found = server::find(args.nats_server.as_deref(), &env::candidates("nats-server"));
    found.map(Road::Child).map_err(|error| could_not(&error))
}

/// A server of somebody else. A user and password in its address are taken out of it, so that they are never printed.
fn joined(urls: &str, creds: Option<PathBuf>, ca: Option<PathBuf>) -> Result<NatsTarget, CliError> {
    let mut target = NatsTarget::plain(without_credentials(urls));
    target.ca = ca;
    target.auth = match (user_in(urls), creds) {
        (None, None) => NatsAuth::None,
        (None, Some(file)) => NatsAuth::Creds(file),
        (Some(_), Some(_)) => {
            return Err(CliError::could_not("--nats names a user, and --nats-creds another; give one"));
        }
        (Some(user), None) => {
            let (user, password) = user.split_once(':').ok_or_else(|| {
                CliError::could_not("--nats: expected nats://USER:PASSWORD@HOST:PORT, or --nats-creds FILE")
            })?;
            NatsAuth::Password { user: user.to_owned(), password: password.to_owned() }
        }
    };
    Ok(target)
}

/// What stands before the `@` of the first address that has one.
fn user_in(urls: &str) -> Option<&str> {
    urls.split(',').find_map(|url| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.rsplit_once('@').map(|(user, _)| user)
    })
}

/// Who is served: everybody who has a log, and who is named; `default` where that is nobody.
fn tenants(home: &Home, named: &[Tenant]) -> Result<Vec<Tenant>, CliError> {
    let known = home.tenants().map_err(|error| could_not(&error))?;
    let mut tenants: Vec<Tenant> = known.into_iter().map(|(tenant, ..)| tenant).collect();
    for tenant in named {
        if !tenants.contains(tenant) {
            tenants.push(tenant.clone());
        }
    }
    if tenants.is_empty() {
        tenants.push(Tenant::parse("default").map_err(|error| could_not(&error))?);
    }
    Ok(tenants)
}

/// Views of another version would be derived anew while people ask them; a person decides when.
fn check_views(home: &Home, tenants: &[Tenant]) -> Result<(), CliError> {
    for tenant in tenants {
        let path = home.dir.view(tenant);
        if !path.exists() {
            continue;
        }
        match Views::open_read_only(&path) {
            Ok(views) => refuse_views_ahead(home, tenant, &views, &path)?,
            // Nothing is in it yet: we were killed while making it.
            Err(ViewError::NotViews { found: 0 }) => {}
            Err(error) => return Err(unusable(home, tenant, &error)),
        }
    }
    Ok(())
}

fn unusable(home: &Home, tenant: &Tenant, error: &ViewError) -> CliError {
    let command = format!("upm rebuild --data {} --tenant {tenant}", home.dir.root().display());
    CliError::because(format!("the views of tenant {tenant} can't be used; `{command}` derives them again"), error)
}

/// Views are written after the log: where they know more, the log has lost what it had.
fn refuse_views_ahead(home: &Home, tenant: &Tenant, views: &Reader, path: &Path) -> Result<(), CliError> {
    let Some(log) = ledger::birth::log_of(&*home.kv, tenant).map_err(|error| could_not(&error))? else { return Ok(()) };
    let found = Log::open(&*home.kv, log).and_then(|log| log.head()).map_err(|error| could_not(&error))?.size;
    let noted = views.core_cursor().map_err(|error| unusable(home, tenant, &error))?;
    if noted <= found {
        return Ok(());
    }
    let (origin, evidence) = (home.origin(tenant.as_str()).map_err(|error| could_not(&error))?, path.to_owned());
    let lost = LostError::Behind { origin: origin.to_string(), found, noted, evidence };
    Err(CliError::of(&lost).with_detail(lost.ways_out()))
}

fn warn_of_keys(home: &Home) {
    match home.unused_keys() {
        Ok(unused) => {
            for path in unused {
                tracing::warn!(path = %path.display(), "a log key that no log names, left by a rotation that failed; `upm keys unused --remove` removes it");
            }
        }
        Err(error) => tracing::warn!(%error, "which key files are used can't be told"),
    }
    if let Err(error @ HomeError::OtherAdmin { .. }) = home.admin() {
        tracing::warn!("{error}");
    }
    let path = home.keys.recovery_path();
    if path.exists() {
        tracing::warn!(path = %path.display(), "the recovery key is still here; whoever has it can replace every other key: move it offline");
    }
}

fn serve_file(home: &Home, listen: SocketAddr, nats: String, open: &[OpenTenant], own: &VerifierKey) -> ServeFile {
    let tenants = open.iter().map(|open| (open.tenant.to_string(), open.verifier().to_vkey()));
    ServeFile {
        pid: std::process::id(),
        http: format!("http://{listen}"),
        nats,
        ledger: home.name.clone(),
        logs: tenants.chain([(LEDGER_LOG.to_owned(), own.to_vkey())]).collect(),
        keys: open.iter().filter_map(OpenTenant::key_history).collect(),
    }
}

fn as_json(file: &ServeFile) -> String {
    serde_json::to_string(file).unwrap_or_default()
}

/// Where things are, for a person.
fn banner(home: &Home, file: &ServeFile, open: &[OpenTenant], own: &VerifierKey) -> String {
    let mut lines = vec![
        format!("ledger {} is ready", file.ledger),
        format!("  HTTP   {}", file.http),
        format!("  NATS   {}", file.nats),
        format!("  data   {}", home.dir.root().display()),
    ];
    for open in open {
        lines.push(format!("  log    {}\n         {}", open.origin, open.verifier().to_vkey()));
    }
    lines.push(format!("  log    {}\n         {}", own.name().as_str(), own.to_vkey()));
    lines.join("\n")
}

/// Server addresses without the user and password that they may carry.
fn without_credentials(urls: &str) -> String {
    let strip = |url: &str| match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => url.rsplit('@').next().unwrap_or_default().to_owned(),
    };
    urls.split(',').map(strip).collect::<Vec<_>>().join(",")
}

/// The error's own line is the reason; what lies behind it is the detail.
fn could_not(error: &dyn std::error::Error) -> CliError {
    CliError::of(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_published() {
        for (url, expect) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://upm:p@ss@host:1", "nats://host:1"),
            ("tls://token@a:1,nats://u:p@b:2", "tls://a:1,nats://b:2"),
            ("u:p@host", "host"),
        ] {
            assert_eq!(without_credentials(url), expect);
        }
    }

    #[test]
    fn a_user_in_the_address_is_used_and_taken_out() {
        let target = joined("nats://upm:p@ss:word@host:1", None, None).unwrap();
        assert_eq!(target.url, "nats://host:1");
        assert!(
            matches!(&target.auth, NatsAuth::Password { user, password } if user == "upm" && password == "p@ss:word")
        );
        let target = joined("nats://a:1,nats://b:2", Some("x.creds".into()), None).unwrap();
        assert!(matches!(target.auth, NatsAuth::Creds(_)));
        for (url, creds) in [("nats://token@host", None), ("nats://u:p@host", Some("x.creds".into()))] {
            let text = joined(url, creds, None).unwrap_err().to_string();
            assert!(!text.contains("token"), "{text}");
        }
    }

    #[test]
    fn an_open_address_needs_a_person_who_means_it() {
        let check = |listen: &str, insecure, expect| {
            let args = Args {
                listen: listen.parse().unwrap(),
                insecure,
                nats: None,
                nats_creds: None,
                nats_ca: None,
                nats_server: None,
                workers: None,
                witness_policy: None,
                limits: LimitArgs::default(),
                name: None,
                kept_heads: None,
                followers: Vec::new(),
                follow: FollowArgs::default(),
            };
            assert_eq!(refuse_open_address(&args).is_ok(), expect, "{listen} {insecure}");
        };
        check("127.0.0.1:0", false, true);
        check("[::1]:0", false, true);
        check("127.9.9.9:80", false, true);
        check("0.0.0.0:0", false, false);
        check("[::]:0", false, false);
        check("192.168.0.1:80", false, false);
        check("0.0.0.0:0", true, true);
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let text = bind(address).unwrap_err().to_string();
        assert!(text.starts_with(&format!("can't listen on {address}: the port is taken")), "{text}");
    }
}

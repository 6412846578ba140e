//! `upm serve --follow URL`: a copy of another server's ledger, kept up to date, for reading. It has no NATS and no key that signs.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use ledger::birth::LEDGER_LOG;
use ledger::layout::LogId;
use ledger::replica::Trust;
use pipeline::{Disk, FollowConfig, Standing};
use schemas::ids::Tenant;

use super::client::print;
use super::limits::LimitArgs;
use super::{CliError, Globals};
use crate::data_dir::{DataDir, Lock, ServeFile};
use crate::follow::{HttpSource, read_vkeys};
use crate::home::Home;
use crate::http::{App, Report, ReportedLog};
use crate::keys_on_disk::Keys;
use crate::stop::Stop;

/// What `upm serve` is told of following.
#[derive(Debug, Default, clap::Args)]
pub struct FollowArgs {
    /// Follow the server at this URL: copy its ledger, check every entry, serve reads, sign nothing
    #[arg(long, value_name = "URL", conflicts_with_all = ["nats", "name", "kept_heads", "followers"])]
    pub follow: Option<String>,
    /// Verifier key (vkey) of the followed ledger's own log; without it, what is met first counts
    #[arg(long = "follow-key", value_name = "VKEYFILE", requires = "follow")]
    pub follow_keys: Vec<PathBuf>,
    /// Name under which the followed server waits for us before it sweeps its roads (its `--follower NAME`)
    #[arg(long = "follow-as", value_name = "NAME", requires = "follow")]
    pub follow_as: Option<String>,
}

/// Runs a follower until it is told to stop.
pub async fn serve(
    globals: &Globals,
    dir: DataDir,
    lock: Lock,
    listener: TcpListener,
    url: &str,
    (args, limits): (&FollowArgs, &LimitArgs),
) -> Result<(), CliError> {
    let mut stop = Stop::listen().map_err(|error| CliError::because("can't listen for signals", &error))?;
    let source = HttpSource::new(url);
    let trust = trust(args)?;
    let begun = {
        let (source, trust) = (source.clone(), trust.clone());
        tokio::task::spawn_blocking(move || Home::open_or_copy(dir, lock, source, trust)).await
    };
    let home = begun.map_err(|error| CliError::because("can't start threads", &error))?;
    let home = home.map_err(|error| CliError::of(&error))?;
    let listen = listener.local_addr().map_err(|error| CliError::of(&error))?;
    let own = home.verifier().map_err(|error| CliError::of(&error))?;
    let file = ServeFile {
        pid: std::process::id(),
        http: format!("http://{listen}"),
        nats: String::new(),
        ledger: home.name.clone(),
        logs: [(LEDGER_LOG.to_owned(), own.to_vkey())].into(),
        keys: std::collections::BTreeMap::new(),
    };
    let told = if globals.json {
        serde_json::to_string(&file).unwrap_or_default()
    } else {
        format!(
            "following ledger {} at {}\n  HTTP   {}\n  data   {}\n  log    {}\n         {}",
            file.ledger,
            source.shown(),
            file.http,
            home.dir.root().display(),
            own.name().as_str(),
            own.to_vkey()
        )
    };
    let disk = limits.disk(home.dir.root().to_owned());
    let config = (Arc::clone(&home.kv), home.dir.views(), home.keys.clone(), disk);
    let app = Arc::new(App::following(home, source.shown()).watched_by(limits.watchers));
    app.publish(file).map_err(|error| CliError::of(&error))?;
    let following = follow(config, source, trust, args.follow_as.clone(), &app)?;
    app.engage(following);
    let (http, stop_http) = super::serve::answer_in_background(listener, &app, limits.body_time);
    if let Err(error) = print::line(&told) {
        tracing::warn!(%error, "nobody was told that it is there");
    }
    let name = stop.wait().await;
    tracing::info!("{name}: stopping; once more to stop at once");
    stop.hurry();
    super::serve::drain(super::serve::Serving { app, http, stop_http }).await
}

fn trust(args: &FollowArgs) -> Result<Trust, CliError> {
    let keys = read_vkeys(&args.follow_keys).map_err(|error| CliError::of(&error))?;
    if !keys.is_empty() {
        return Ok(Trust::of(keys));
    }
    tracing::warn!("no --follow-key: the keys that are met at first count from then on");
    Ok(Trust::on_first_use())
}

fn follow(
    (kv, views_dir, keys, disk): (Arc<ledger_rocks::Rocks>, PathBuf, Keys, Disk),
    source: HttpSource,
    trust: Trust,
    name: Option<String>,
    app: &Arc<App>,
) -> Result<pipeline::Following, CliError> {
    let app: Weak<App> = Arc::downgrade(app);
    let config = FollowConfig {
        kv,
        views_dir,
        source,
        trust,
        disk: Some(disk),
        dedupe: Box::new(move |tenant: &Tenant| keys.dedupe(tenant.as_str()).ok()),
        report: Box::new(move |source: &HttpSource, standings: &[Standing]| {
            let Some(follower) = name.clone() else { return Ok(()) };
            let logs =
                standings.iter().map(|(log, epoch, road)| ReportedLog { log: log.0, epoch: *epoch, road: *road });
            let report = Report { follower, logs: logs.collect() };
            source.report(&report).map_err(|error| error.to_string())
        }),
        found: Box::new(move |tenant: &Tenant, log: LogId| {
            let Some(app) = app.upgrade() else { return };
            if let Err(error) = app.found(tenant, log) {
                tracing::warn!(%tenant, %error, "a copied log can't be served");
            }
        }),
    };
    pipeline::follow(config).map_err(|error| CliError::of(&error))
}

//! Following: a copy of another ledger kept up to date and projected. It reads no road, signs nothing and answers nobody.
//!
//! Two threads: `follow` copies (see [`ledger::replica`]) and `project` derives the views. Trouble with the source is tried again;
//! a difference between the copies ends the copying, and health says so. What is durable was checked, so reads stay good.
//!
//! Left out: where the other copy is and what is told it (`service`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ledger::append::LogId;
use ledger::birth::{self, BirthError};
use ledger::dedupe::DedupeKey;
use ledger::kv::{Kv, KvError};
use ledger::read::Log;
use ledger::replica::{Copier, Limits, Progress as Round, ReplicaError, Source, Trust};
use schemas::ids::Tenant;
use tokio::sync::watch;

use crate::append::with_causes;
use crate::batch::{Projectable, View};
use crate::config::Disk;
use crate::project;
use crate::running::{ROUNDS, StartError, spawn};
use crate::shared::{Health, Progress, Troubles};
use crate::watch::{DISK, Gauge};

/// How long until the source is asked again when nothing was new.
const LOOK: Duration = Duration::from_millis(200);
/// How long until it is asked again after trouble, at first and at most.
const TROUBLE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Looks in a row that something listed may wait for what it lists: it comes with the next heads that a leader keeps elsewhere.
const WAITS: u32 = 150;
/// Under this name the follower's trouble is kept.
const WHO: &str = "follow";

/// Under this name it is said that the leader does not wait for us.
const REPORT: &str = "report";
/// Looks after which the same is reported again, and after which a report is tried again that was refused.
const TOLD_AGAIN: u32 = 150;
const REFUSED_AGAIN: u32 = 25;

/// Where a log of the copy stands: its number, the road's number, the sequence up to which the copy has everything.
pub type Standing = (LogId, u32, u64);

/// Gives a tenant's dedupe key, where it is at hand.
pub type DedupeKeys = Box<dyn Fn(&Tenant) -> Option<DedupeKey> + Send>;

/// Tells the source how far we are; the error in a sentence.
pub type Reporter<S> = Box<dyn Fn(&S, &[Standing]) -> Result<(), String> + Send>;

/// Hears of a log that is here now.
pub type Finder = Box<dyn Fn(&Tenant, LogId) + Send>;

/// Everything that [`follow`] needs.
pub struct FollowConfig<K, S> {
    /// The store of the copy, empty or a copy already. Nobody else writes to it.
    pub kv: Arc<K>,
    /// Directory of the views, one file per tenant. Made when missing.
    pub views_dir: PathBuf,
    /// The other copy.
    pub source: S,
    /// Whose signatures count.
    pub trust: Trust,
    /// The tenants' dedupe keys that are at hand.
    pub dedupe: DedupeKeys,
    /// Told how far the copy is, whenever it has moved or a while has passed; an error is said and tried again.
    pub report: Reporter<S>,
    /// Told of a tenant whose log is here now.
    pub found: Finder,
    /// What the copy lies on; with less free than its reserve nothing is copied. None where nobody looks.
    pub disk: Option<Disk>,
}

/// A copy that is kept.
pub struct Following {
    troubles: Arc<Troubles>,
    tenants: Arc<Tenants>,
    project: SyncSender<Projectable>,
    stop: watch::Sender<bool>,
    copying: Option<JoinHandle<()>>,
    projecting: Option<JoinHandle<()>>,
}

type Tenants = Mutex<BTreeMap<Tenant, (LogId, watch::Sender<Progress>)>>;

/// Starts copying and projecting. What is here already is found before it returns.
pub fn follow<K, S>(config: FollowConfig<K, S>) -> Result<Following, StartError>
where
    K: Kv + 'static,
    S: Source + Send + 'static,
{
    let FollowConfig { kv, views_dir, source, trust, dedupe, report, found, disk } = config;
    let made = std::fs::create_dir_all(&views_dir);
    made.map_err(|source| StartError::Views { path: views_dir.clone(), source })?;
    let (troubles, tenants) = (Arc::new(Troubles::default()), Arc::new(Tenants::default()));
    let (to_project, rounds) = sync_channel(ROUNDS);
    let (stop, stopped) = watch::channel(false);
    troubles.await_first(WHO, "nothing was copied yet");
    let (store, shared) = (Arc::clone(&kv), Arc::clone(&troubles));
    let projecting = spawn("project", move || project::run(&store, views_dir, &rounds, &shared))?;
    let (shared, project) = (Arc::clone(&troubles), to_project.clone());
    let known = Arc::clone(&tenants);
    let copying = spawn("follow", move || {
        let mut copying =
            Copying { kv: &*kv, tenants: &known, project: &project, troubles: &shared, found, stop: stopped };
        let disk = disk.map(Gauge::new);
        copying.run(Copier::new(&*kv, source, trust, dedupe), &report, disk);
    })?;
    Ok(Following { troubles, tenants, project: to_project, stop, copying: Some(copying), projecting: Some(projecting) })
}

impl Following {
    /// Whether all is copied and the other copy can be reached, and if not, why.
    pub fn health(&self) -> Health {
        self.troubles.health()
    }

    /// How far a tenant has come, now and from now on; none for one that is not here.
    pub fn progress(&self, tenant: &Tenant) -> Option<watch::Receiver<Progress>> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(tenant).map(|(_, progress)| progress.subscribe())
    }

    /// Ends the copying after the chunk at hand, and projects what is here.
    pub fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(copying) = self.copying.take() {
            let _ = copying.join();
        }
        let _ = self.project.send(Projectable::Stop);
        if let Some(projecting) = self.projecting.take() {
            let _ = projecting.join();
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

struct Copying<'a, K> {
    kv: &'a K,
    tenants: &'a Tenants,
    project: &'a SyncSender<Projectable>,
    troubles: &'a Troubles,
    found: Finder,
    stop: watch::Receiver<bool>,
}

impl<K: Kv> Copying<'_, K> {
    fn run<S: Source>(&mut self, mut copier: Copier<'_, K, S>, report: &Reporter<S>, mut disk: Option<Gauge>) {
        let mut delay = TROUBLE.0;
        let mut told: Option<Vec<Standing>> = None;
        let (mut silence, mut waited) = (0, 0);
        if let Err(error) = self.note_progress() {
            self.troubles.set(WHO, format!("the copy can't be read: {error}"));
        }
        while !*self.stop.borrow() {
            if let Some(shortage) = disk.as_mut().and_then(|disk| disk.shortage("copied")) {
                self.troubles.set(DISK, shortage);
                self.wait(LOOK);
                continue;
            }
            self.troubles.clear(DISK);
            let round = copier.round(Limits::default()).and_then(|round| Ok((round, self.note_progress()?)));
            match round {
                Ok((round, standings)) => {
                    delay = TROUBLE.0;
                    (told, silence) = self.tell(&copier, report, standings, told, silence);
                    waited = if round.waiting > 0 && round.copied == 0 { waited + 1 } else { 0 };
                    self.say(&round, waited);
                    if round.behind == 0 {
                        self.wait(LOOK);
                    }
                }
                Err(error) if error.is_difference() => {
                    self.troubles.set(WHO, format!("nothing is copied any more: {error}"));
                    return;
                }
                Err(error) if is_final(&error) => {
                    let cause = with_causes(&error);
                    let reason =
                        format!("nothing is copied any more, restart to go on; what was copied is whole: {cause}");
                    self.troubles.set(WHO, reason);
                    return;
                }
                Err(error) => {
                    self.troubles.set(WHO, format!("can't copy, trying again: {error}"));
                    // Whoever was there may have been started again, and has forgotten what it was told.
                    (told, silence) = (None, 0);
                    self.wait(delay);
                    delay = (delay * 2).min(TROUBLE.1);
                }
            }
        }
    }

    /// Reports where the copy stands: when it has moved, and now and then all the same, because whoever hears it may have been started
    /// again. After a refusal it is silent for a while. Gives what was told, and for how many looks nothing is said.
    fn tell<S: Source>(
        &self,
        copier: &Copier<'_, K, S>,
        report: &Reporter<S>,
        standings: Vec<Standing>,
        told: Option<Vec<Standing>>,
        silence: u32,
    ) -> (Option<Vec<Standing>>, u32) {
        if silence > 0 && (told.is_none() || told.as_ref() == Some(&standings)) {
            return (told, silence - 1);
        }
        match report(copier.source(), &standings) {
            Ok(()) => {
                self.troubles.clear(REPORT);
                (Some(standings), TOLD_AGAIN)
            }
            Err(error) => {
                self.troubles.set(REPORT, format!("the other copy does not take our report: {error}"));
                (None, REFUSED_AGAIN)
            }
        }
    }

    /// What the last round means for health; `waited` looks before it copied nothing, and waited.
    fn say(&self, round: &Round, waited: u32) {
        if let Some(set_back) = round.set_back.first() {
            let reason = format!(
                "{}: the other copy has {} entries, we have {}: it was set back; `upm catch-up --from` us brings it up to date",
                set_back.origin, set_back.found, set_back.ours
            );
            self.troubles.set(WHO, reason);
        } else if waited > WAITS {
            let reason = format!(
                "{} entries wait: the other copy's own log lists an act or a log that it does not show; run `upm fsck` there",
                round.waiting
            );
            self.troubles.set(WHO, reason);
        } else if round.behind > 0 {
            self.troubles.await_first(WHO, format!("copying: {} entries to go", round.behind + round.waiting));
        } else if round.waiting == 0 {
            self.troubles.clear(WHO);
        }
    }

    /// Hands on to be projected what is here now, and says where it stands.
    fn note_progress(&self) -> Result<Vec<Standing>, ReplicaError> {
        let logs = match birth::list_tenants(self.kv) {
            Err(BirthError::NoLedger) => return Ok(Vec::new()),
            logs => logs?,
        };
        let mut standings = Vec::with_capacity(logs.len());
        for (tenant, log, _) in logs {
            let head = Log::open(self.kv, log)?.head()?;
            standings.push((log, head.epoch, head.cursor.sequence));
            let (committed, road) = (head.size, head.cursor.sequence);
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, progress)) = tenants.get(&tenant) {
                progress.send_if_modified(|now| {
                    let moved = (now.committed, now.road) != (committed, road);
                    (now.committed, now.road) = (committed, road);
                    moved
                });
                continue;
            }
            let progress = watch::Sender::new(Progress { committed, core: 0, detail: 0, road });
            tenants.insert(tenant.clone(), (log, progress.clone()));
            drop(tenants);
            (self.found)(&tenant, log);
            // Gone only when we are stopping.
            let _ = self.project.send(Projectable::Road(View { tenant, log, progress }));
        }
        Ok(standings)
    }

    /// Sleeps, but not past being told to stop.
    fn wait(&self, time: Duration) {
        let step = Duration::from_millis(20);
        let mut left = time;
        while !left.is_zero() && !*self.stop.borrow() {
            std::thread::sleep(step.min(left));
            left = left.saturating_sub(step);
        }
    }
}

/// What trying again can't mend: what our own write left behind is unknown until the store is opened again.
fn is_final(error: &ReplicaError) -> bool {
    matches!(error, ReplicaError::Kv(KvError::Write { .. } | KvError::WriteAfterFailure) | ReplicaError::Stale { .. })
}

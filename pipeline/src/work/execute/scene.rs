//! A change in hand: its plan as steps, what is said of every step, and the events that are about none.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use schemas::ids::Phase;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use workers::build::Sections;
use workers::execute::event::{AGENT, EXECUTOR, Scene};
use workers::execute::{Due, Past, Progress, Runnable, Start, Why};
use workers::preflight::Planned;

use super::attempt::{self, Claim};
use super::{NAME, tools};
use crate::work::process::CancellationToken;
use crate::work::{Case, Emit, Emitted, Shop, WorkError};

/// A change in hand.
pub(super) struct Job<'a> {
    pub(super) shop: &'a Shop,
    /// As it was when the worker was woken.
    woken: &'a Case,
    pub(super) attempt: u64,
    pub(super) payload: Bytes,
    pub(super) planned: Planned,
    pub(super) runnable: Runnable,
    pub(super) scene: Scene,
    /// Why it can't be run as it is; said at its first step.
    pub(super) trouble: Option<String>,
    /// Where steps run.
    steps: PathBuf,
    /// How what belongs to this attempt begins there.
    name: String,
}

/// What the events of an attempt say was done.
pub(super) fn progress(case: &Case, attempt: u64) -> Progress {
    Progress::read(case.of_attempt(attempt).map(|(stored, event)| Past {
        index: stored.index,
        own: stored.is_by(NAME),
        event,
    }))
}

impl<'a> Job<'a> {
    /// Reads the plan that the verdict is of; none where there is none any more.
    pub(super) async fn read(
        shop: &'a Shop,
        case: &'a Case,
        attempt: u64,
        verdict: &Value,
    ) -> Result<Option<Self>, WorkError> {
        let plan = case.plan_in_force(attempt).and_then(|(stored, _)| stored.payload.clone());
        let Some(payload) = plan else { return Ok(None) };
        let Ok(planned) = shop.planned(&payload) else { return Ok(None) };
        let planned = case.held(attempt, Arc::unwrap_or_clone(planned));
        if verdict["plan_digest"].as_str() != Some(&planned.digest) {
            return Ok(None);
        }
        let (runnable, wrong) = match Runnable::read(&planned, &shop.catalogue, &shop.config.execute.waves) {
            Ok(runnable) => (runnable, None),
            Err(reason) => match Runnable::halting(&planned) {
                Some(first) => (first, Some(reason)),
                None => return Ok(None),
            },
        };
        let (steps, name) = (directory(&shop.workdir)?, name(case, attempt));
        let (found, other) = tools::found(shop, &runnable).await;
        let trouble = wrong.or(other);
        let scene = Scene {
            plan_digest: planned.digest.clone(),
            instance: shop.instance.to_string(),
            place: place(&shop.workdir),
            tools: found,
            guards: Scene::guards(&shop.config, &planned, &runnable.waves),
            pipes: shop.config.guard.pipe_allow_list.iter().cloned().collect(),
            gate_s: shop.config.execute.waves.gate_s,
            telemetry: format!("/v1/tenants/{}/changes/{}/watch", case.tenant, segment(case.change.as_str())),
        };
        Ok(Some(Self { shop, woken: case, attempt, payload, planned, runnable, scene, trouble, steps, name }))
    }

    /// The change as it stands.
    pub(super) async fn case(&self) -> Result<Case, WorkError> {
        Ok(self.woken.again(&*self.shop.record).await?)
    }

    /// Says something in phase execute.
    pub(super) async fn say(&self, case: &Case, what: &str, sections: Sections) -> Result<Emitted, WorkError> {
        let id = case.event_id(self.attempt, &format!("{NAME}.{what}"));
        self.shop.emit_news(case, Emit { id, phase: Phase::Execute, attempt: self.attempt, sections }).await
    }

    /// What is due between steps, when none runs.
    pub(super) async fn between(&self, due: Due, cancel: &CancellationToken) -> Result<(), WorkError> {
        let case = self.case().await?;
        let progress = progress(&case, self.attempt);
        match due {
            Due::Gate(at) => attempt::gate(self, &case, &progress, at, cancel).await,
            Due::Pause(before, reason) => {
                let said = self.scene.paused(&self.runnable.waves[before], &reason, self.shop.now_ms());
                self.say(&case, &format!("pause.{}", progress.said + 1), said).await.map(drop)
            }
            Due::Cancel => self.say_cancelled(&case, &progress).await,
            Due::Over | Due::Start(_) | Due::Paused | Due::Wait(_) => Ok(()),
        }
    }

    /// Some steps were begun: what was done stands until somebody rolls it back.
    async fn say_cancelled(&self, case: &Case, progress: &Progress) -> Result<(), WorkError> {
        let Some((by, reason)) = &progress.cancelled else { return Ok(()) };
        if progress.steps.is_empty() {
            return close_cancelled(self.shop, case, self.attempt, by, reason).await;
        }
        let (done, left): (Vec<&str>, Vec<&str>) =
            self.runnable.steps.iter().map(|step| step.id.as_str()).partition(|id| progress.rc(id) == Some(0));
        let said = self.scene.cancelled(by, reason, &done, &left, self.shop.now_ms());
        self.say(case, "cancelled", said).await?;
        Ok(())
    }

    /// Steps that are not over when this one is.
    pub(super) fn remaining(&self, progress: &Progress, step: &str) -> u64 {
        let open = self.runnable.steps.iter().filter(|other| other.id != step && progress.rc(&other.id).is_none());
        open.count() as u64
    }

    /// Takes a step in hand, if nobody else has it.
    pub(super) fn claim(&self, start: &Start) -> Result<Claim, WorkError> {
        if let Why::Lost { place, until_ms, .. } = &start.why
            && *place != self.scene.place
            && self.shop.now_ms() <= *until_ms
        {
            // Elsewhere; nobody here can tell whether it still runs.
            return Ok(Claim::Others);
        }
        let path = self.path(start.step, ".lock");
        let failed = |error: &dyn std::error::Error| WorkError::failed(path.display().to_string(), error);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Claim::Ours(Some(Arc::new(file)))),
            Err(TryLockError::WouldBlock) => match &start.why {
                Why::Lost { until_ms, .. } if self.shop.now_ms() > *until_ms => Ok(Claim::Ours(None)),
                _ => Ok(Claim::Others),
            },
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// Removes what a step left in its directory.
    pub(super) fn clear(&self, step: usize) {
        removed(&self.path(step, ""), std::fs::remove_dir_all);
    }

    /// What belongs to a step. A path each, so that a step makes and removes no more files than it needs.
    fn path(&self, step: usize, end: &str) -> PathBuf {
        self.steps.join(format!("{}-{step}{end}", self.name))
    }

    /// Removes what all steps left, locks too: nothing of this attempt is run any more.
    pub(super) fn leave(&self) {
        for step in 0..self.runnable.steps.len() {
            self.clear(step);
            // Of a worker that was killed.
            removed(&self.path(step, ".credentials"), std::fs::remove_dir_all);
            removed(&self.path(step, ".lock"), std::fs::remove_file);
        }
    }

    /// A directory of its own for a step, empty.
    pub(super) fn step_directory(&self, step: usize) -> Result<PathBuf, WorkError> {
        let path = self.path(step, "");
        let failed = |error| WorkError::failed(path.display().to_string(), &error);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        Ok(path)
    }
}

fn removed<'p>(path: &'p Path, remove: impl FnOnce(&'p Path) -> std::io::Result<()>) {
    match remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "what a step left can't be removed");
        }
        _ => {}
    }
}

/// Nothing of it was begun: that is its end.
pub(super) async fn close_cancelled(
    shop: &Shop,
    case: &Case,
    attempt: u64,
    by: &str,
    reason: &str,
) -> Result<(), WorkError> {
    let mut sections = Sections::new();
    let cancelled = json!({"by": by, "reason": reason, "done": []});
    sections.add("execution", json!({"executor": EXECUTOR, "agent": AGENT, "cancelled": cancelled, "changed": false}));
    sections.add("governance", json!({"closed": true}));
    let id = case.event_id(attempt, &format!("{NAME}.cancelled"));
    shop.emit(case, Emit { id, phase: Phase::Audit, attempt, sections }).await?;
    Ok(())
}

/// Where steps run: the same path for every worker over one directory.
fn directory(workdir: &Path) -> Result<PathBuf, WorkError> {
    let path = workdir.join("steps");
    let made =
        if path.is_dir() { Ok(()) } else { std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path) };
    // Commands are run in it by its whole path.
    let whole = made.and_then(|()| path.canonicalize());
    whole.map_err(|error| WorkError::failed(path.display().to_string(), &error))
}

/// Names an attempt, for every worker the same.
fn name(case: &Case, attempt: u64) -> String {
    let digest = Sha256::digest(format!("{}\0{}\0{attempt}", case.tenant, case.change).as_bytes());
    hex::encode(&digest[..16])
}

/// A text as one segment of a URL's path (RFC 3986).
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Names machine and directory: whoever is at the same place can see whether a lock is held.
fn place(workdir: &Path) -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let path = workdir.canonicalize().unwrap_or_else(|_| workdir.to_owned());
    format!("{host}:{}", path.display())
}

/// A lock that is held while somebody has it open.
pub(super) type Lock = Arc<File>;

/// Variables by name.
pub(in crate::work) type Variables = BTreeMap<String, String>;

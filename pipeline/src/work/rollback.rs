//! The rollback worker: takes back what was done, in reverse, by the commands of the plan that was approved.
//!
//! What it decides is `workers::rollback` and `workers::course`. Before the first command each of them is proved to be one that can run, and the record has to show
//! that the plan had the approvals that it needed: whoever can publish events must not get anything deleted by them. Every command is announced before it
//! runs. A worker that was killed goes on where its events end: what was begun runs again only where a check says that there is something left.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use projector::account::Account;
use projector::approval::{Rules, standing};
use schemas::ids::Phase;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use workers::build::Sections;
use workers::course::{Because, Course, Due, due};
use workers::execute::gate;
use workers::preflight::{Planned, Presence, Question};
use workers::rollback::{self as decides, Decision, DryRun, Next as Step, Undo, Way, event};

use super::aftermath::{course, fallback, goes_on, house, look};
use super::execute::hand::Hand;
use super::execute::keep;
use super::process::{self, Limits, Place, Ran};
use super::verify::answered;
use super::{Case, Emit, Emitted, Next, Shop, WorkError, Worker, machine, own, preflight};

/// The worker. See the module.
#[derive(Debug, Clone, Copy)]
pub struct RollingBack;

/// How long until it is looked again whether a rollback can begin that could not.
const AGAIN_MS: u64 = 60_000;
/// How long until it is looked again whether another worker is done.
const BUSY_MS: u64 = 1_000;

impl Worker for RollingBack {
    fn name(&self) -> &'static str {
        own::ROLLBACK
    }

    fn listens_to(&self) -> &'static [Phase] {
        &[Phase::Execute, Phase::Verify, Phase::Audit]
    }

    fn act<'a>(&'a self, shop: &'a Shop, case: &'a Case) -> BoxFuture<'a, Result<Next, WorkError>> {
        Box::pin(act(shop, case))
    }
}

async fn act(shop: &Shop, case: &Case) -> Result<Next, WorkError> {
    let Some(course) = course(shop, case) else { return Ok(Next::Nothing) };
    dry_runs(shop, case, &course).await?;
    match due(&course, house(shop)) {
        Due::RollBack(because) => roll_back(shop, case, &course, because).await,
        _ => Ok(Next::Nothing),
    }
}

/// Answers whoever ordered a dry run.
async fn dry_runs(shop: &Shop, case: &Case, course: &Course) -> Result<(), WorkError> {
    let Some(plan) = &course.plan else { return Ok(()) };
    let open = course.orders.iter().filter(|order| order.kind == "rollback_dry_run" && !answered(case, &order.id));
    for order in open {
        // Before anything is executed it is of what would be.
        let way = if course.executed.is_some() { Way::of(course) } else { Way::of_plan(plan) };
        let at_ms = shop.now_ms();
        let sections = match way {
            Ok(way) => {
                let dry_run = tried(shop, &way).await?;
                event::tried(&way, &dry_run, &order.id, at_ms)
            }
            Err(why) => {
                let mut sections = event::refused(None, &why.to_string(), at_ms);
                sections.add("answers", order.id.as_str().into());
                sections
            }
        };
        let id = case.event_id(course.attempt, &format!("rollback.dry-run.{}", order.index));
        shop.emit(case, Emit { id, phase: Phase::Audit, attempt: course.attempt, sections }).await?;
    }
    Ok(())
}

async fn tried(shop: &Shop, way: &Way) -> Result<DryRun, WorkError> {
    let machine = machine::of(shop, way).await?;
    Ok(way.dry_run(&shop.catalogue, &shop.config.guard, &machine))
}

async fn roll_back(shop: &Shop, case: &Case, course: &Course, because: Because) -> Result<Next, WorkError> {
    let Some(plan) = &course.plan else { return Ok(Next::Nothing) };
    let way = match Way::of(course) {
        Ok(way) => way,
        Err(why) => return refuse(shop, case, course, None, &why.to_string()).await,
    };
    if !plan.uncovered.is_empty() {
        let reason =
            format!("the plan has {}, which no approval covers: take back by hand what ran", plan.uncovered.join(", "));
        return refuse(shop, case, course, None, &reason).await;
    }
    // Two workers of this machine never go the same way at once.
    let Some(lock) = alone(shop, case)? else { return Ok(later(shop, BUSY_MS)) };
    let scene = event::Scene {
        run: course.undone.ended.len() + 1,
        because,
        instance: shop.instance.to_string(),
        place: place(shop),
        plan_digest: plan.digest.clone(),
    };
    let back = Back {
        shop,
        plan,
        way: &way,
        scene: &scene,
        attempt: course.attempt,
        lock,
        looked_unverified: AtomicBool::new(false),
    };
    // Asked of one that is under way, too: that it began is an event like any other.
    if let Some(missing) = unapproved(shop, case, course.attempt, plan).await? {
        let reason = format!("the plan never had the approvals that it needed, so nothing is undone by it: {missing}");
        return refuse(shop, case, course, None, &reason).await;
    }
    let dry_run = tried(shop, &way).await?;
    if !dry_run.ok() {
        return refuse(shop, case, course, Some((&way, &dry_run)), &dry_run.summary()).await;
    }
    if !course.undone.open {
        back.say(case, "begin", scene.begun(&way, &dry_run, shop.now_ms())).await?;
    }
    back.go(case).await
}

/// Says once why a rollback does not begin, and looks again later: a program may come back, and somebody may approve.
async fn refuse(
    shop: &Shop,
    case: &Case,
    course: &Course,
    way: Option<(&Way, &DryRun)>,
    reason: &str,
) -> Result<Next, WorkError> {
    let sections = event::refused(way, reason, shop.now_ms());
    let told = hex::encode(&Sha256::digest(reason.as_bytes())[..4]);
    let id = case.event_id(course.attempt, &format!("rollback.{}.refused.{told}", course.undone.ended.len() + 1));
    shop.emit(case, Emit { id, phase: Phase::Audit, attempt: course.attempt, sections }).await?;
    Ok(later(shop, AGAIN_MS))
}

fn later(shop: &Shop, ms: u64) -> Next {
    Next::Again { at_ms: shop.now_ms().saturating_add(ms) }
}

/// What the executed attempt lacked of the approvals that it needed: by the log and the tenant's rule, and by the house's options, as before an execution. None
/// where it had them. They are of the plan's digest, which covers its way back, so whoever approved the plan approved what is run here.
async fn unapproved(shop: &Shop, case: &Case, attempt: u64, plan: &Planned) -> Result<Option<String>, WorkError> {
    let context = shop.record.context(&case.tenant).await?;
    let account = Account::of(&case.change, &case.views(), &context.rules);
    let account = account.ok_or_else(|| WorkError::Failed {
        what: case.change.to_string(),
        reason: "the change has no entries".to_owned(),
    })?;
    let coverage = account.executed_attempts().find(|coverage| coverage.attempt == attempt);
    let executed = match coverage {
        Some(coverage) if coverage.needed && !coverage.approved => {
            let refused = coverage.missing.is_empty();
            return Ok(Some(if refused { "it was refused".to_owned() } else { coverage.missing.join("; ") }));
        }
        Some(coverage) => coverage.executed,
        None => None,
    };
    let Some(index) = executed else { return Ok(Some("nothing was executed".to_owned())) };
    let at_ms = case.entries.iter().find(|stored| stored.index == index).map_or(0, |stored| stored.header.at);
    let mut missing = lacking(shop, case, attempt, plan, &context.rules, (index, at_ms));
    if !missing.is_empty() {
        // An emergency's may have come afterwards.
        missing = lacking(shop, case, attempt, plan, &context.rules, (u64::MAX, shop.now_ms()));
    }
    Ok((!missing.is_empty()).then(|| missing.join("; ")))
}

/// What was missing by the house's `[[approvals]]` and lanes, the plan and the tenant's rule, over what was on record before an entry; nothing where the plan had
/// all that it needed.
fn lacking(
    shop: &Shop,
    case: &Case,
    attempt: u64,
    plan: &Planned,
    rules: &Rules,
    (before, at_ms): (u64, u64),
) -> Vec<String> {
    let rules = rules.until(before);
    let views: Vec<_> = case.views().into_iter().filter(|entry| entry.index < before).collect();
    let standing = standing(&case.change, &views, &rules, at_ms, &[]);
    let verdicts =
        case.of_attempt(attempt).filter(|(stored, _)| stored.index < before && stored.is_by(preflight::NAME));
    let verdict = verdicts.map(|(_, event)| &event["preflight"]).rfind(|said| said["verdict"].is_string());
    gate::missing(&gate::Asking {
        planned: &case.held(attempt, plan.clone()),
        requested: case.requested(attempt),
        catalogue: &shop.catalogue,
        verdict: verdict.unwrap_or(&Value::Null),
        config: &shop.config,
        standing: standing.as_ref(),
        rule: rules.at(u64::MAX),
        now_s: i64::try_from(at_ms / 1_000).unwrap_or(i64::MAX),
    })
}

/// Held while one worker of this machine goes the way back of a change, or a command lives that it began: commands get it as their standard
/// input, so that one that outlives its worker is known to whoever comes next.
fn alone(shop: &Shop, case: &Case) -> Result<Option<Arc<File>>, WorkError> {
    let directory = shop.workdir.join("rollback");
    let failed = |error: &std::io::Error| WorkError::failed(directory.display().to_string(), error);
    std::fs::create_dir_all(&directory).map_err(|error| failed(&error))?;
    let name = hex::encode(&Sha256::digest(format!("{}\0{}", case.tenant, case.change))[..16]);
    let path = directory.join(format!("{name}.lock"));
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = options.map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Arc::new(file))),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Names the machine and the directory: who holds the lock there knows that nobody else does.
fn place(shop: &Shop) -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let directory: PathBuf = shop.workdir.canonicalize().unwrap_or_else(|_| shop.workdir.clone());
    format!("{}:{}", host.to_string_lossy(), directory.display())
}

/// A rollback under way.
struct Back<'a> {
    shop: &'a Shop,
    plan: &'a Planned,
    way: &'a Way,
    scene: &'a event::Scene,
    attempt: u64,
    lock: Arc<File>,
    /// Something was looked at without checking the certificate of whom was asked; said with the step that it was for.
    looked_unverified: AtomicBool,
}

impl Back<'_> {
    /// Says what nobody has said yet.
    async fn say(&self, case: &Case, what: &str, sections: Sections) -> Result<Emitted, WorkError> {
        self.shop.emit_news(case, self.emit(case, what, sections)).await
    }

    fn emit(&self, case: &Case, what: &str, sections: Sections) -> Emit {
        let id = case.event_id(self.attempt, &format!("rollback.{}.{what}", self.scene.run));
        Emit { id, phase: Phase::Execute, attempt: self.attempt, sections }
    }

    /// Step by step, each from what is on record by then.
    async fn go(&self, case: &Case) -> Result<Next, WorkError> {
        loop {
            goes_on(self.shop, "rollback")?;
            let case = case.again(&*self.shop.record).await?;
            let Some(course) = course(self.shop, &case) else { return Ok(Next::Nothing) };
            if !course.undone.open {
                return Ok(Next::Nothing);
            }
            match self.way.next(&course.undone) {
                Step::Undo { undo, place, begun } => {
                    if let Some(next) = self.elsewhere(&course, undo, begun) {
                        return Ok(next);
                    }
                    if !self.undo(&case, undo, place, begun).await? {
                        return Ok(later(self.shop, BUSY_MS));
                    }
                }
                Step::Stays { undo, place, reason } => {
                    let sections = self.scene.stands(undo, &reason, self.shop.now_ms());
                    self.say(&case, &format!("{place}.end"), sections).await?;
                }
                Step::Over => {
                    let outcome = self.way.outcome(&course.undone);
                    let sections = self.scene.over(self.plan, self.way, &course.undone, &outcome, self.shop.now_ms());
                    self.say(&case, "end", sections).await?;
                    return Ok(Next::Nothing);
                }
            }
        }
    }

    /// A command that a worker of another machine began may still run there, until its time is over.
    fn elsewhere(&self, course: &Course, undo: &Undo, begun: bool) -> Option<Next> {
        let known = course.undone.steps.iter().find(|step| step.id == undo.step).filter(|_| begun)?;
        let here = known.place.as_deref() == Some(self.scene.place.as_str());
        (!here && self.shop.now_ms() < known.until_ms).then_some(Next::Again { at_ms: known.until_ms })
    }

    /// False where a worker of another machine was quicker to begin: it has the step.
    async fn undo(&self, case: &Case, undo: &Undo, place: usize, begun: bool) -> Result<bool, WorkError> {
        let presence = self.presence(undo).await?;
        let end = format!("{place}.end");
        let mut sections = match undo.decide(presence.as_ref(), begun) {
            Decision::Gone => self.scene.gone(undo, self.shop.now_ms()),
            Decision::Stands(why) => self.scene.stands(undo, &why, self.shop.now_ms()),
            Decision::Run => {
                let now_ms = self.shop.now_ms();
                let until_ms = now_ms.saturating_add(self.longest_ms());
                let started = self.scene.started(undo, now_ms, until_ms);
                let start = format!("{place}.start");
                // One that was begun before has its event already, and nobody is at it any more.
                if begun {
                    self.shop.emit(case, self.emit(case, &start, started)).await?;
                } else if !self.say(case, &start, started).await?.ours {
                    return Ok(false);
                }
                self.run(case, undo).await?
            }
        };
        if self.looked_unverified.swap(false, Ordering::Relaxed) {
            sections.add("execution", json!({"tls_verified": false}));
        }
        self.say(case, &end, sections).await?;
        Ok(true)
    }

    /// All tries of one command with their pauses.
    fn longest_ms(&self) -> u64 {
        let options = &self.shop.config.rollback;
        let tries = options.retries.saturating_add(1);
        tries.saturating_mul(options.time_limit_s.saturating_mul(1_000).saturating_add(70_000))
    }

    async fn presence(&self, undo: &Undo) -> Result<Option<Presence>, WorkError> {
        let Some(check) = &undo.check else { return Ok(None) };
        let question = Question { id: undo.step.clone(), argv: check.argv.clone() };
        let looked = look(self.shop, self.plan.environment.as_deref(), vec![question]).await?;
        self.looked_unverified.fetch_or(!looked.insecure.is_empty(), Ordering::Relaxed);
        goes_on(self.shop, "rollback")?;
        Ok(looked.answers.get(&undo.step).map(|answer| answer.presence(check)))
    }

    /// Runs a command, again where it failed and its check says that there is still something to take back.
    async fn run(&self, case: &Case, undo: &Undo) -> Result<Sections, WorkError> {
        let options = &self.shop.config.rollback;
        let (mut tries, mut verified) = (0, true);
        loop {
            tries += 1;
            let (argv, ran) = match self.once(undo, verified).await? {
                Ok(ran) => ran,
                Err(why) => return Ok(self.scene.stands(undo, &why, self.shop.now_ms())),
            };
            goes_on(self.shop, "rollback")?;
            let rc = ran.ending.rc();
            let succeeded = rc == 0 && ran.stopped.is_none();
            if !succeeded && verified && self.is_certificate(&argv, &ran) {
                verified = false;
                continue;
            }
            let is_gone = !succeeded
                && undo.may_repeat()
                && undo.action == "create"
                && self.presence(undo).await? == Some(Presence::Absent);
            let note = is_gone.then(|| format!("the command ended with {rc}, and what it takes back is gone"));
            // Without checking certificates it is tried once, however that ends.
            if succeeded || is_gone || !verified || !undo.may_repeat() || tries > options.retries {
                let references = keep::long(self.shop, &case.tenant, &ran).await;
                let ended = event::Ended { finished: ran.finished(&argv), tries, note, references, verified };
                return Ok(self.scene.ended(undo, &ended, self.shop.now_ms()));
            }
            let pause = Duration::from_millis(options.pause_before(u32::try_from(tries).unwrap_or(u32::MAX)));
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shop.stop.cancelled() => goes_on(self.shop, "rollback")?,
            }
        }
    }

    /// Whether a command failed for a certificate, and may be tried once without checking it.
    fn is_certificate(&self, argv: &[String], ran: &Ran) -> bool {
        let program = argv.first().map_or("", String::as_str);
        let way_round = fallback(self.shop, self.plan.environment.as_deref(), program);
        way_round.is_some_and(|way_round| way_round.is_meant(&ran.stderr.output.text))
    }

    /// One run of a command; `Err`: why it may not run.
    async fn once(&self, undo: &Undo, verified: bool) -> Result<Result<(Vec<String>, Ran), String>, WorkError> {
        let mut pipeline = match decides::pipeline(&undo.line, &self.shop.catalogue, &self.shop.config.guard) {
            Ok(pipeline) => pipeline,
            Err(why) => return Ok(Err(why)),
        };
        let name = hex::encode(&Sha256::digest(format!("{}\0{}", self.scene.plan_digest, undo.step))[..8]);
        let directory = self.shop.workdir.join("rollback").join(name);
        let failed = |error: &std::io::Error| WorkError::failed(directory.display().to_string(), error);
        std::fs::create_dir_all(&directory).map_err(|error| failed(&error))?;
        let program = pipeline.commands.first().and_then(|argv| argv.first()).cloned().unwrap_or_default();
        let hand = match Hand::for_plan(self.shop, self.plan, &program, &directory).await {
            Ok(hand) => hand,
            Err(why) => return Ok(Err(why)),
        };
        let mut environment = hand.environment.clone();
        let way_round = fallback(self.shop, self.plan.environment.as_deref(), &program).filter(|_| !verified);
        if let (Some(way_round), Some(first)) = (way_round, pipeline.commands.first_mut()) {
            *first = way_round.apply(first);
            environment.extend(way_round.environment.clone());
        }
        let place = Place {
            secrets: hand.secrets.clone(),
            keep: Some(directory.join("output")),
            input: Some(Arc::clone(&self.lock)),
            ..Place::new(&directory, environment, self.shop.clock.clone())
        };
        let options = &self.shop.config.execute;
        let limits = Limits::of_steps(options, self.shop.config.rollback.time_limit_s);
        let ran = process::run(&pipeline.commands, &place, &limits, &self.shop.stop).await;
        self.shop.count_step(ran.as_ref());
        let ran = ran.map_err(|error| WorkError::failed(&undo.step, &error))?;
        Ok(Ok((pipeline.commands.concat(), ran)))
    }
}

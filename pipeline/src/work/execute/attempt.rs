//! One try of one step: ask whether there is anything to do, say that it begins, run it, say how it ended.

use std::path::Path;
use std::time::Duration;

use schemas::redact;
use workers::blast_radius;
use workers::build::{Sections, rfc3339};
use workers::catalogue::Tool;
use workers::command::{Capture, Ending, Finished};
use workers::execute::class::{self, Class, Exit};
use workers::execute::event::{Beside, Done, Manner};
use workers::execute::steps::{self, Step};
use workers::execute::tls::Fallback;
use workers::execute::{Progress, Start, State, Wave, Why};
use workers::preflight::{Answer, Look, Presence};
use workers::verify::probes_between_waves;

use super::hand::Hand;
use super::scene::{Job, Lock, progress};
use super::{NAME, keep};
use crate::work::process::{self, CancellationToken, Limits, Place, ProcessError, Ran, Stop};
use crate::work::{Case, WorkError, ask, probe};

/// Whether a step could be taken in hand.
pub(super) enum Claim {
    /// It was, and nobody else has it while this lives. Without a lock, something that a lost try started has it still, long after its time: so it can only be
    /// said that it halts.
    Ours(Option<Lock>),
    /// Somebody else has it.
    Others,
}

/// What became of a try.
pub(super) enum Tried {
    /// It is said how it ended.
    Said,
    /// Somebody else is at it.
    ByOthers,
}

/// Beyond its time a step has this long to end, and we to say so.
const SLACK: Duration = Duration::from_mins(1);
/// Between two looks of a gate.
const GATE_PAUSE: Duration = Duration::from_secs(2);

/// A step in hand.
struct Tryout<'a> {
    job: &'a Job<'a>,
    step: &'a Step,
    start: Start,
    lock: Option<Lock>,
    case: Case,
    progress: Progress,
    cancel: &'a CancellationToken,
}

/// Tries a step.
pub(super) async fn run(
    job: &Job<'_>,
    start: Start,
    lock: Option<Lock>,
    cancel: &CancellationToken,
) -> Result<Tried, WorkError> {
    let case = job.case().await?;
    let progress = progress(&case, job.attempt);
    let step = &job.runnable.steps[start.step];
    // Between the decision and the lock somebody may have been at it.
    let tries = match progress.steps.get(&step.id) {
        None => 0,
        Some(State::Started { number, .. } | State::Tried { number, .. }) => *number,
        Some(State::Ended { .. }) => return Ok(Tried::Said),
    };
    if tries + 1 != start.number {
        return Ok(Tried::ByOthers);
    }
    let place = start.step;
    let done = Tryout { job, step, start, lock, case, progress, cancel }.go().await;
    job.clear(place);
    done
}

impl Tryout<'_> {
    async fn go(self) -> Result<Tried, WorkError> {
        if let Some(why) = self.halts() {
            return self.halt(&why).await;
        }
        let directory = self.job.step_directory(self.start.step)?;
        let program = self.step.pipeline.commands[0][0].clone();
        let hand = match Hand::of(self.job, &program, &directory).await {
            Ok(hand) => hand,
            Err(why) => return self.halt(&why).await,
        };
        let mut eyes =
            Eyes { job: self.job, hand: &hand, directory: &directory, verified: self.verified(), cancel: self.cancel };
        if let Some(look) = &self.step.check {
            let answer = eyes.look(&look.argv, self.may_fall_back()).await;
            let presence = answer.presence(look);
            match self.step.nothing_to_do(&presence) {
                Ok(Some(reason)) => return self.skip(reason, eyes.verified, &hand).await,
                Ok(None) => {}
                Err(why) => {
                    return self.halt(&format!("{why}; looked with: {}", workers::argv::render(&look.argv))).await;
                }
            }
        }
        if let Some(why) = self.reaches_too_far() {
            return self.halt(&why).await;
        }
        let manner = self.manner(eyes.verified, &hand);
        if !self.begin(&manner).await? {
            return Ok(Tried::ByOthers);
        }
        let ran = self.ran(&manner, &hand, &directory).await;
        self.end(ran, &manner, &mut eyes).await
    }

    /// Why it can't even be tried.
    fn halts(&self) -> Option<String> {
        if self.lock.is_none() {
            let number = self.start.number - 1;
            return Some(format!(
                "something that try {number} started still runs, long after its time was over; end it, and start a new attempt"
            ));
        }
        if let Why::Lost { instance, .. } = &self.start.why
            && !self.step.is_idempotent()
        {
            let number = self.start.number - 1;
            return Some(format!(
                "worker {instance} began try {number} and ended before it was over; no check of this step can tell how far it came, so it is not run again"
            ));
        }
        self.job.trouble.clone()
    }

    /// Preflight counted what had something to do then. The world may be another one by now.
    fn reaches_too_far(&self) -> Option<String> {
        let most = blast_radius::most(&self.job.shop.config.blast_radius, self.job.planned.case())?;
        let begun = &self.progress.begun;
        let is_over = !begun.contains(&self.step.id) && begun.len() as u64 >= most;
        is_over.then(|| format!("{} steps have been begun, and at most {most} may be; split the change", begun.len()))
    }

    /// Whether certificates are checked from the start.
    fn verified(&self) -> bool {
        self.start.why != Why::Insecure
    }

    fn tool(&self) -> Option<&Tool> {
        self.job.shop.catalogue.tool_of(&self.step.pipeline.commands[0][0])
    }

    /// The way round a certificate that is not good, if there is one that was not gone yet.
    fn may_fall_back(&self) -> Option<&Fallback> {
        let allowed = self.job.shop.config.execute.may_fall_back(self.job.planned.environment.as_deref());
        let first = !self.progress.insecure.contains(&self.step.id);
        self.tool()?.tls_fallback.as_ref().filter(|_| allowed && first && self.verified())
    }

    fn manner(&self, verified: bool, hand: &Hand) -> Manner {
        let pipeline = workers::argv::Pipeline { commands: self.commands(verified) };
        Manner { number: self.start.number, line: pipeline.render(), verified, handed: hand.handed.clone() }
    }

    /// What is run: the approved commands, the first with its tool's own option where certificates are not checked.
    fn commands(&self, verified: bool) -> Vec<Vec<String>> {
        let mut commands = self.step.pipeline.commands.clone();
        if let Some(fallback) = self.tool().and_then(|tool| tool.tls_fallback.as_ref()).filter(|_| !verified) {
            commands[0] = fallback.apply(&commands[0]);
        }
        commands
    }

    fn id(&self, what: &str) -> String {
        format!("{}.{}.{what}", self.start.step + 1, self.start.number)
    }

    /// Says that it begins. False where somebody else said so.
    async fn begin(&self, manner: &Manner) -> Result<bool, WorkError> {
        let now_ms = self.job.shop.now_ms();
        let limit = Duration::from_secs(self.job.shop.config.execute.time_limit_s) + SLACK;
        let until_ms = now_ms + u64::try_from(limit.as_millis()).unwrap_or(u64::MAX / 2);
        let said = self.job.scene.started(self.step, manner, now_ms, until_ms);
        Ok(self.job.say(&self.case, &self.id("begins"), said).await?.ours)
    }

    async fn ran(&self, manner: &Manner, hand: &Hand, directory: &Path) -> Result<Ran, ProcessError> {
        let options = &self.job.shop.config.execute;
        let place = Place {
            secrets: hand.secrets.clone(),
            keep: Some(directory.join("output")),
            input: self.lock.clone(),
            ..Place::new(directory, environment(self.tool(), hand, manner.verified), self.job.shop.clock.clone())
        };
        let limits = Limits::of_steps(options, options.time_limit_s);
        let ran = process::run(&self.commands(manner.verified), &place, &limits, self.cancel).await;
        self.job.shop.count_step(ran.as_ref());
        ran
    }

    /// Says how it ended.
    async fn end(
        self,
        ran: Result<Ran, ProcessError>,
        manner: &Manner,
        eyes: &mut Eyes<'_>,
    ) -> Result<Tried, WorkError> {
        let shop = self.job.shop;
        let (finished, beside, exit) = match &ran {
            Ok(ran) => {
                if ran.stopped == Some(Stop::Cancelled) && shop.stop.is_cancelled() {
                    // How far it came is for its check to say when work goes on.
                    return Err(WorkError::Failed { what: self.step.id.clone(), reason: "work is to end".to_owned() });
                }
                let [stdout, stderr] = keep::long(shop, &self.case.tenant, ran).await;
                let rcs = ran.endings.iter().map(|ending| ending.rc()).collect();
                let beside = Beside { stdout, stderr, stopped: ran.stopped.map(word), rcs };
                (ran.finished(&self.step.pipeline.commands[0]), beside, (ran.ending, ran.timed_out, ran.stopped))
            }
            Err(error) => {
                let ending = Ending::NotStarted(126);
                (not_run(&error.to_string(), shop.now_ms()), Beside::default(), (ending, false, None))
            }
        };
        let class = class::of(
            &shop.config.execute,
            self.may_fall_back().filter(|_| manner.verified),
            &Exit {
                program: &self.step.pipeline.commands[0][0],
                ending: exit.0,
                timed_out: exit.1,
                stopped: exit.2.is_some_and(|stop| stop != Stop::Time),
                stderr: &finished.stderr.text,
            },
        );
        if let Some(again_ms) = self.again_ms(&class) {
            let said = self.job.scene.tried(self.step, manner, &finished, &beside, &class, again_ms);
            self.say("ends", said).await?;
            return Ok(Tried::Said);
        }
        let changed = match &class {
            Class::Done => Some(true),
            _ => self.changed(eyes).await,
        };
        let said = self.job.scene.ended(self.step, manner, &finished, &beside, &class, &self.done(changed).await?);
        self.say("ends", said).await?;
        Ok(Tried::Said)
    }

    /// When it is tried again, where it is: without certificates at once and once; else only if its check can tell whether it is done.
    fn again_ms(&self, class: &Class) -> Option<u64> {
        let retries = &self.job.shop.config.execute.retries;
        let now_ms = self.job.shop.now_ms();
        match class {
            Class::Certificate => Some(now_ms),
            Class::Passing(_) if self.step.is_idempotent() && self.start.number < retries.tries => {
                let seed = format!("{}\0{}\0{}", self.case.change, self.job.attempt, self.step.id);
                Some(now_ms + retries.wait_ms(self.start.number, &seed))
            }
            Class::Done | Class::Passing(_) | Class::Final => None,
        }
    }

    /// Whether a step that failed changed anything, as far as its check can tell.
    async fn changed(&self, eyes: &mut Eyes<'_>) -> Option<bool> {
        let look = self.step.check.as_ref().filter(|_| self.step.is_idempotent())?;
        // Also of a step that was cancelled.
        eyes.cancel = &eyes.job.shop.stop;
        let presence = eyes.look(&look.argv, None).await.presence(look);
        self.step.nothing_to_do(&presence).ok().map(|nothing| nothing.is_some())
    }

    async fn done(&self, changed: Option<bool>) -> Result<Done<'_>, WorkError> {
        // Others of its wave may have ended meanwhile.
        let case = self.job.case().await?;
        let progress = progress(&case, self.job.attempt);
        let remaining = self.job.remaining(&progress, &self.step.id);
        let waves = &self.job.runnable.waves;
        Ok(Done {
            changed,
            changed_before: progress.has_changed(),
            remaining,
            last_wave: waves.last().filter(|_| remaining == 0 && waves.len() > 1),
            at_ms: self.job.shop.now_ms(),
        })
    }

    async fn say(&self, what: &str, sections: Sections) -> Result<(), WorkError> {
        self.job.say(&self.case, &self.id(what), sections).await?;
        Ok(())
    }

    /// There is nothing to do. If there was before, an earlier try did it.
    async fn skip(self, reason: &str, verified: bool, hand: &Hand) -> Result<Tried, WorkError> {
        let done = self.done(Some(self.start.number > 1)).await?;
        let said = self.job.scene.skipped(self.step, &self.manner(verified, hand), reason, &done);
        self.say("ends", said).await?;
        Ok(Tried::Said)
    }

    /// The change goes no further.
    async fn halt(self, why: &str) -> Result<Tried, WorkError> {
        let begun = self.start.number > 1;
        let done = self.done(if begun { None } else { Some(false) }).await?;
        let manner =
            Manner { number: self.start.number, line: self.step.line.clone(), verified: self.verified(), handed: None };
        let why = redact::mask_text(why).0;
        let said = self.job.scene.halted(self.step, &manner, &why, &done);
        self.say("ends", said).await?;
        Ok(Tried::Said)
    }
}

/// The environment of a command, with the tool's own variables where certificates are not checked.
fn environment(tool: Option<&Tool>, hand: &Hand, verified: bool) -> super::scene::Variables {
    let mut environment = hand.environment.clone();
    if let Some(fallback) = tool.and_then(|tool| tool.tls_fallback.as_ref()).filter(|_| !verified) {
        environment.extend(fallback.environment.clone());
    }
    environment
}

/// Looks with a step's own hand: what it may see, its check may.
struct Eyes<'a> {
    job: &'a Job<'a>,
    hand: &'a Hand,
    directory: &'a Path,
    /// Whether certificates are checked; a certificate that is not good ends that, once.
    verified: bool,
    cancel: &'a CancellationToken,
}

impl Eyes<'_> {
    async fn look(&mut self, argv: &[String], fallback: Option<&Fallback>) -> Answer {
        let answer = self.once(argv).await;
        let bad = self.verified && answer.code != Some(0) && fallback.is_some_and(|way| way.is_meant(&answer.stderr));
        if !bad {
            return answer;
        }
        self.verified = false;
        self.once(argv).await
    }

    async fn once(&self, argv: &[String]) -> Answer {
        let shop = self.job.shop;
        let tool = argv.first().and_then(|program| shop.catalogue.tool_of(program));
        let fallback = tool.and_then(|tool| tool.tls_fallback.as_ref()).filter(|_| !self.verified);
        let argv = fallback.map_or_else(|| argv.to_vec(), |fallback| fallback.apply(argv));
        let place = Place {
            secrets: self.hand.secrets.clone(),
            keep: Some(self.directory.join("look")),
            ..Place::new(self.directory, environment(tool, self.hand, self.verified), shop.clock.clone())
        };
        let limits = Limits::of_steps(&shop.config.execute, shop.config.preflight.time_limit_s);
        match process::run(&[argv], &place, &limits, self.cancel).await {
            Ok(ran) => ask::answer(&ran, &limits),
            Err(error) => Answer { problem: Some(error.to_string()), ..Answer::default() },
        }
    }
}

/// Looks at the wave's read-backs and probes until they hold or the gate's time is over, and says which do.
pub(super) async fn gate(
    job: &Job<'_>,
    case: &Case,
    progress: &Progress,
    at: usize,
    cancel: &CancellationToken,
) -> Result<(), WorkError> {
    let wave = &job.runnable.waves[at];
    let limit = Duration::from_secs(job.shop.config.execute.waves.gate_s);
    let deadline = tokio::time::Instant::now() + limit;
    let (read, probed) = loop {
        let mut read = Vec::with_capacity(wave.gate.len());
        for place in &wave.gate {
            read.push((*place, does_not_hold(job, *place, cancel).await?));
        }
        let probed = unhealthy(job, wave).await?;
        let holds = read.iter().all(|(_, why)| why.is_none()) && probed.iter().all(|(_, why)| why.is_none());
        if holds || tokio::time::Instant::now() + GATE_PAUSE > deadline {
            break (read, probed);
        }
        tokio::select! {
            () = tokio::time::sleep(GATE_PAUSE) => {}
            () = job.shop.stop.cancelled() => {
                return Err(WorkError::Failed { what: format!("{NAME}, a gate"), reason: "work is to end".to_owned() });
            }
        }
    };
    let said = job.scene.gate(&job.runnable, wave, &read, &probed, job.shop.now_ms());
    job.say(case, &format!("gate.{}", progress.said + 1), said).await?;
    Ok(())
}

/// The house's probes that this gate asks, and why they do not answer as they should.
async fn unhealthy(job: &Job<'_>, wave: &Wave) -> Result<Vec<(String, Option<String>)>, WorkError> {
    let config = &job.shop.config;
    let steps: Vec<&str> = wave.steps.iter().map(|at| job.runnable.steps[*at].id.as_str()).collect();
    let mut told = Vec::new();
    for run in probes_between_waves(&job.planned, &config.verify, &config.execute.waves.probes, &steps) {
        let why = match &run.way {
            Err(why) => Some(why.clone()),
            Ok(_) => probe::all(job.shop, &run).await?.into_iter().find(|answer| !answer.good).map(|bad| bad.message),
        };
        let name = run.id.strip_prefix("probe:").unwrap_or(&run.id);
        told.push((name.to_owned(), why.map(|why| redact::mask_text(&why).0)));
    }
    Ok(told)
}

async fn does_not_hold(job: &Job<'_>, place: usize, cancel: &CancellationToken) -> Result<Option<String>, WorkError> {
    let step = &job.runnable.steps[place];
    for argv in step.read_back.iter().chain(&step.rollout) {
        if let Some(why) = does_not_say_so(job, place, argv, cancel).await? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Why a command that looks does not say that a step's resource is as it should be.
async fn does_not_say_so(
    job: &Job<'_>,
    place: usize,
    argv: &[String],
    cancel: &CancellationToken,
) -> Result<Option<String>, WorkError> {
    let step = &job.runnable.steps[place];
    let directory = job.step_directory(place)?;
    let hand = match Hand::of(job, &argv[0], &directory).await {
        Ok(hand) => hand,
        Err(why) => return Ok(Some(why)),
    };
    let look: Look = steps::read_back(argv.to_vec());
    let allowed = job.shop.config.execute.may_fall_back(job.planned.environment.as_deref());
    let fallback = job.shop.catalogue.tool_of(&argv[0]).and_then(|tool| tool.tls_fallback.as_ref());
    let mut eyes = Eyes { job, hand: &hand, directory: &directory, verified: true, cancel };
    let answer = eyes.look(argv, fallback.filter(|_| allowed)).await;
    let is_there = matches!(answer.presence(&look), Presence::There);
    // What was deleted is not there, and that is how it should be.
    let should = step.action != "delete";
    Ok((is_there != should).then(|| answer.shown()))
}

fn word(stop: Stop) -> &'static str {
    match stop {
        Stop::Time => "time",
        Stop::Cancelled => "cancelled",
        Stop::Output => "output",
        Stop::Processes => "processes",
    }
}

fn not_run(why: &str, now_ms: u64) -> Finished {
    let mut said = Capture::new();
    said.push(why.as_bytes());
    let at = rfc3339(i64::try_from(now_ms).unwrap_or(i64::MAX));
    Finished {
        argv: Vec::new(),
        ending: Ending::NotStarted(126),
        started_at: at.clone(),
        finished_at: at,
        duration_ms: 0,
        stdout: Capture::new().finish(),
        stderr: said.finish(),
    }
}

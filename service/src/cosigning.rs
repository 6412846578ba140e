//! Asking witnesses to cosign our checkpoints (`upm serve --witness-policy FILE`): a thread for each witness of the policy
//! that has a URL, and nothing that any other thread waits for.
//!
//! All witnesses are asked about the same checkpoint of a log, its *target*, because a policy counts those who cosigned one and
//! the same. A target is released before it is chosen (the pipeline says how far it has released), and gives way to the newest
//! checkpoint once it has what the policy asks for, or once it had its time; never more than one a second. A witness that does
//! not answer is asked again later and later; the others don't notice. What was given is kept by `ledger::cosigned`, aside from
//! every round.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger::append::LogId;
use ledger::cosignature::{CosignerKey, cosignatures};
use ledger::cosigned;
use ledger::note::{NoteSignature, SignedNote};
use ledger::policy::Policy;
use ledger::read::Log;
use ledger::witness::{MAX_ANSWER_BYTES, MAX_RESUBMISSIONS, Next, Submission};
use ledger_rocks::Rocks;
use pipeline::NewestCosigned;
use serde::Serialize;
use ureq::Agent;

use crate::clock;

/// How far a witness's clock may be ahead of ours, in seconds: as far as a message's.
const MAX_AHEAD_S: u64 = 300;
/// Between two targets of a log: a second's checkpoints share one cosignature.
const TARGET_EVERY: Duration = Duration::from_secs(1);
/// How long a target waits for those who have not answered before a newer one takes its place.
const TARGET_PATIENCE: Duration = Duration::from_secs(10);
/// How often a thread looks for something to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time-outs of a request, whole.
const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(10);
/// Pauses after a failure: doubled from the first to the last, each with up to half of it added by chance, so that the logs of
/// a witness that comes back don't all ask at once.
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
const BACK_OFF_LAST: Duration = Duration::from_mins(2);

/// A log to be cosigned, and how much of it may be shown.
pub struct Released {
    /// Its name within the ledger.
    pub name: String,
    /// The log.
    pub log: Log<Arc<Rocks>>,
    /// Size of the newest checkpoint that was released.
    pub size: u64,
}

/// What is asked for, each time anew: tenants come, and logs grow.
pub type Source = Arc<dyn Fn() -> Vec<Released> + Send + Sync>;

/// Threads at work.
pub struct Cosigning {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A witness as `/readyz` shows it. Whatever it says, the ledger is ready.
#[derive(Debug, Clone, Serialize)]
pub struct WitnessStatus {
    /// Its names in the policy.
    pub names: Vec<String>,
    /// Where it is asked.
    pub url: String,
    /// The newest size that it cosigned, by log.
    pub cosigned: BTreeMap<String, u64>,
    /// Why it gives nothing now, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

struct Shared {
    policy: Policy,
    source: Source,
    targets: Mutex<BTreeMap<LogId, Target>>,
    status: Mutex<Vec<WitnessStatus>>,
    /// Lines of a checkpoint are read, joined and written by one thread at a time.
    keeping: Mutex<()>,
    stopped: AtomicBool,
    waking: (Mutex<()>, Condvar),
}

/// The checkpoint that all witnesses of a log are asked about.
struct Target {
    size: u64,
    note: Arc<str>,
    since: Instant,
    /// By witness, whether it has cosigned.
    done: Vec<bool>,
    satisfied: bool,
}

/// One witness, in its thread.
struct Asker {
    shared: Arc<Shared>,
    at: usize,
    url: String,
    agent: Agent,
    logs: BTreeMap<LogId, Standing>,
    pause: Pause,
}

/// How one witness stands with one log.
#[derive(Default)]
struct Standing {
    believed: u64,
    pause: Pause,
}

/// When to try again.
#[derive(Default)]
struct Pause {
    failures: u32,
    until: Option<Instant>,
}

/// Why there is no cosignature.
enum Trouble {
    /// The witness is away or busy: no log is to ask it now.
    Witness(String),
    /// It does not want this log, or we can't ask for it.
    Log(String),
}

impl Cosigning {
    /// Starts a thread for each URL of the policy; none where it names no URL.
    pub fn start(policy: Policy, source: Source) -> std::io::Result<Cosigning> {
        let mut by_url: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for witness in policy.witnesses() {
            if let Some(url) = &witness.url {
                by_url.entry(url.trim_end_matches('/').to_owned()).or_default().push(witness.name.clone());
            }
        }
        let status = by_url.into_iter().map(|(url, names)| WitnessStatus {
            names,
            url,
            cosigned: BTreeMap::new(),
            trouble: None,
        });
        let status: Vec<WitnessStatus> = status.collect();
        let urls: Vec<String> = status.iter().map(|witness| witness.url.clone()).collect();
        let shared = Arc::new(Shared {
            policy,
            source,
            targets: Mutex::default(),
            status: Mutex::new(status),
            keeping: Mutex::default(),
            stopped: AtomicBool::new(false),
            waking: (Mutex::default(), Condvar::new()),
        });
        let start = |(at, url): (usize, String)| {
            let agent = agent(&url);
            let mut asker =
                Asker { shared: Arc::clone(&shared), at, url, agent, logs: BTreeMap::new(), pause: Pause::default() };
            std::thread::Builder::new().name(format!("witness-{at}")).spawn(move || asker.run())
        };
        let threads = urls.into_iter().enumerate().map(start).collect::<Result<_, _>>()?;
        Ok(Cosigning { shared, threads })
    }

    /// How each witness does.
    pub fn status(&self) -> Vec<WitnessStatus> {
        lock(&self.shared.status).clone()
    }

    /// Tells the threads to end, and waits for those that are not in the middle of a request; a request ends by itself.
    pub fn stop(self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.waking.1.notify_all();
        let patience = clock::now() + 2 * LOOK_EVERY;
        for thread in self.threads {
            while !thread.is_finished() && clock::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn pause(&self) {
        let guard = lock(&self.waking.0);
        // Woken early or late, the loop looks again.
        drop(self.waking.1.wait_timeout(guard, LOOK_EVERY));
    }

    /// What witness `at` is to be asked about a log now: its target, unless it has cosigned that.
    fn target(&self, released: &Released, at: usize, now: Instant) -> Option<(u64, Arc<str>)> {
        let mut targets = lock(&self.targets);
        let id = released.log.id();
        if targets.get(&id).is_none_or(|target| target.gives_way(released.size, now)) {
            let (size, note) = newest(released)?;
            let done = vec![false; lock(&self.status).len()];
            targets.insert(id, Target { size, note: note.into(), since: now, done, satisfied: false });
        }
        let target = targets.get(&id)?;
        (!target.done[at]).then(|| (target.size, Arc::clone(&target.note)))
    }

    /// Keeps what a witness gave, and looks whether the policy has enough.
    fn keep(&self, released: &Released, size: u64, at: usize, lines: &[NoteSignature]) -> Result<(), String> {
        let _one_at_a_time = lock(&self.keeping);
        let note = cosigned::keep(&released.log, size, lines).map_err(|error| error.to_string())?;
        let enough = self.is_enough(&note)?;
        if enough {
            cosigned::set_newest(&released.log, size).map_err(|error| error.to_string())?;
        }
        if let Some(target) = lock(&self.targets).get_mut(&released.log.id()).filter(|target| target.size == size) {
            target.done[at] = true;
            target.satisfied = enough;
        }
        let mut status = lock(&self.status);
        status[at].cosigned.insert(released.name.clone(), size);
        status[at].trouble = None;
        Ok(())
    }

    /// Whether the policy is satisfied. One that asks for nobody is so by anybody.
    fn is_enough(&self, note: &SignedNote) -> Result<bool, String> {
        let found = cosignatures(note, self.policy.witness_keys()).map_err(|error| error.to_string())?;
        let keys: Vec<&CosignerKey> = found.iter().map(|cosignature| cosignature.key).collect();
        Ok(!keys.is_empty() && self.policy.standing(&keys).is_satisfied())
    }

    fn set_trouble(&self, at: usize, name: &str, trouble: String) {
        let mut status = lock(&self.status);
        let witness = &mut status[at];
        if witness.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(witness = witness.names.join(", "), url = witness.url, log = name, %trouble, "not cosigned");
            witness.trouble = Some(trouble);
        }
    }
}

/// What a heartbeat states: the newest checkpoint of a log that has enough cosignatures. That it can't be read is as if there were
/// none: a sign of life does not wait for it.
pub fn newest_cosigned(kv: &Arc<Rocks>) -> NewestCosigned {
    let kv = Arc::clone(kv);
    Arc::new(move |id| Log::open(Arc::clone(&kv), id).and_then(|log| log.cosigned()).ok().flatten())
}

/// The newest checkpoint that may be shown: a log shows nothing past what was kept outside, whatever is committed.
fn newest(released: &Released) -> Option<(u64, String)> {
    let log = &released.log;
    if let Some(note) = log.checkpoint(released.size).ok()? {
        return Some((released.size, note));
    }
    let size = log.head().ok()?.size;
    Some((size, log.checkpoint(size).ok()??))
}

impl Target {
    /// Whether a newer checkpoint takes its place.
    fn gives_way(&self, newest: u64, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        let over = self.done.iter().all(|done| *done) || self.satisfied || age >= TARGET_PATIENCE;
        newest > self.size && age >= TARGET_EVERY && over
    }
}

impl Asker {
    fn run(&mut self) {
        while !self.shared.is_stopped() {
            for released in (self.shared.source)() {
                if self.shared.is_stopped() {
                    return;
                }
                self.look_at(&released);
            }
            self.shared.pause();
        }
    }

    fn look_at(&mut self, released: &Released) {
        let (id, now) = (released.log.id(), clock::now());
        let standing = self.logs.entry(id).or_default();
        if self.pause.is_on(now) || standing.pause.is_on(now) {
            return;
        }
        let Some((size, note)) = self.shared.target(released, self.at, now) else { return };
        let given = self.submit(released, &note);
        let given = given.and_then(|lines| self.shared.keep(released, size, self.at, &lines).map_err(Trouble::Log));
        let standing = self.logs.entry(id).or_default();
        let trouble = match given {
            Ok(()) => {
                *standing = Standing { believed: size, pause: Pause::default() };
                self.pause = Pause::default();
                return;
            }
            Err(Trouble::Witness(trouble)) => {
                self.pause.lengthen();
                trouble
            }
            Err(Trouble::Log(trouble)) => {
                standing.pause.lengthen();
                trouble
            }
        };
        self.shared.set_trouble(self.at, &released.name, trouble);
    }

    /// Asks until there is an answer to go by: at most as often as `ledger::witness` allows.
    fn submit(&mut self, released: &Released, note: &str) -> Result<Vec<NoteSignature>, Trouble> {
        let log = |error: &dyn std::error::Error| Trouble::Log(error.to_string());
        let believed = self.logs.entry(released.log.id()).or_default().believed;
        let mut submission = Submission::new(note, believed).map_err(|error| log(&error))?;
        for _ in 0..=MAX_RESUBMISSIONS + 1 {
            let path = match submission.needs_proof() {
                Some((old, new)) => released.log.consistency(old, new).map_err(|error| log(&error))?,
                None => Vec::new(),
            };
            let (status, kind, body) = self.post(submission.body(path)).map_err(Trouble::Witness)?;
            match submission.read(status, kind.as_deref(), &body, self.shared.policy.witness_keys()) {
                Next::Done(lines) => return of_the_past(lines).map_err(Trouble::Witness),
                Next::Again { .. } => {}
                Next::Ahead { size } => return Err(Trouble::Log(Self::ahead(released, size))),
                Next::Refused(reason) => return Err(Trouble::Log(reason)),
                Next::Later(reason) => return Err(Trouble::Witness(reason)),
            }
        }
        Err(Trouble::Log("it tells another size each time".to_owned()))
    }

    /// The witness has seen more than we sent. Another target may have overtaken this one; if we have never been as far, then
    /// somebody else signs for this log, or it was put back to an older state: the gravest news a witness can bring.
    fn ahead(released: &Released, size: u64) -> String {
        if released.log.head().is_ok_and(|head| head.size >= size) {
            return format!("it has seen size {size} already; the next checkpoint follows");
        }
        format!(
            "it has cosigned size {size} of this log, which has never been that long here: the data directory was put back to an \
             older state, or somebody else signs with its key"
        )
    }

    fn post(&self, body: String) -> Result<(u16, Option<String>, String), String> {
        let url = format!("{}/add-checkpoint", self.url);
        let sent = self.agent.post(&url).header("Content-Type", "text/plain; charset=utf-8").send(body);
        let mut response = sent.map_err(|error| format!("no answer: {error}"))?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let limit = MAX_ANSWER_BYTES as u64 + 1;
        let text = response.body_mut().with_config().limit(limit).read_to_vec();
        let text = text.map_err(|error| format!("its answer broke off: {error}"))?;
        let text = String::from_utf8(text).map_err(|_| "its answer is not text".to_owned())?;
        Ok((response.status().as_u16(), kind, text))
    }
}

impl Pause {
    fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn lengthen(&mut self) {
        self.until = Some(clock::now() + back_off(self.failures, chance()));
        self.failures = self.failures.saturating_add(1);
    }
}

/// A witness whose clock is far ahead would have heartbeats state a time that has not come.
fn of_the_past(lines: Vec<NoteSignature>) -> Result<Vec<NoteSignature>, String> {
    let latest = clock::unix_ms() / 1000 + MAX_AHEAD_S;
    let time = |line: &NoteSignature| line.signature.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    match lines.iter().find(|line| time(line).is_some_and(|time| time > latest)) {
        Some(line) => Err(format!("the clock of {} is more than {MAX_AHEAD_S} s ahead of ours", line.name)),
        None => Ok(lines),
    }
}

fn agent(url: &str) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("upm/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(REQUEST));
    // A proxy has no business between us and our own machine.
    if ["http://127.", "http://localhost", "http://[::1]"].iter().any(|local| url.starts_with(local)) {
        config = config.proxy(None);
    }
    config.build().into()
}

/// The pause after so many failures; `chance` is 0 to 255.
fn back_off(failures: u32, chance: u8) -> Duration {
    let doubled = BACK_OFF_FIRST.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(BACK_OFF_LAST);
    doubled + doubled.mul_f64(f64::from(chance) / 512.0)
}

fn chance() -> u8 {
    let mut byte = [0];
    // Without chance the logs ask at the same time, which is all that would be lost.
    let _ = clock::fill(&mut byte);
    byte[0]
}

/// A holder that panicked has left plain values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_two_minutes() {
        let pauses = [0, 1, 2, 8, 31, 32, 1_000].map(|failures| back_off(failures, 0).as_millis());
        assert_eq!(pauses, [500, 1_000, 2_000, 120_000, 120_000, 120_000, 120_000]);
        assert_eq!(back_off(1, 255).as_millis(), 1_498);
    }

    #[test]
    fn a_target_gives_way_when_it_has_what_it_needs_or_had_its_time() {
        let since = clock::now();
        let target =
            |done: &[bool], satisfied| Target { size: 10, note: "".into(), since, done: done.to_vec(), satisfied };
        let after = |seconds| since + Duration::from_secs(seconds);
        let open = target(&[true, false], false);
        assert!(!open.gives_way(11, after(2)), "one has not answered");
        assert!(open.gives_way(11, after(10)), "it had its time");
        assert!(!open.gives_way(10, after(60)), "there is nothing newer");
        assert!(target(&[true, false], true).gives_way(11, after(1)), "enough is enough");
        assert!(!target(&[true, true], true).gives_way(11, since), "once a second");
        assert!(target(&[true, true], false).gives_way(11, after(1)), "all have answered");
    }
}

//! Runs a command or a pipeline of commands: argv, never a shell.
//!
//! All commands of a pipeline are found before the first one starts, have the same clean environment and working directory, no standard input, and
//! are one process group, which is ended as a whole: when the last command has ended, on time-out, when cancelled, and when it writes or
//! forks too much (TERM, then KILL). What they write is masked as it streams in; of long output beginning and end are in memory and
//! everything is in a file, if somebody wants it.
//!
//! Left out: which argv may run (`workers::argv`), what a run means for a change, and processes that leave their group by `setsid`: the
//! pipe that they hold is given up, they themselves need a container around the worker.

mod group;
mod output;
mod program;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use workers::build::rfc3339;
use workers::command::{Capture, Ending, Finished, Output};
use workers::execute::ExecuteOptions;

use self::group::Group;
use self::output::Sink;
pub use self::program::{Program, digest, resolve};
pub use tokio_util::sync::CancellationToken;

use crate::Clock;

/// Between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long a pipe is still read when all commands have ended and something that left the group holds it.
const SILENCE: Duration = Duration::from_millis(300);

/// What a run may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From start to end.
    pub time: Duration,
    /// Written to standard output, and as much to standard error.
    pub output_bytes: u64,
    /// Memory of its own of each process (`RLIMIT_DATA`). Enforced on Linux.
    pub memory_bytes: Option<u64>,
    /// Processes of the group at once, looked at ten times a second. Enforced on Linux.
    pub processes: Option<u64>,
}

impl Limits {
    /// Those of a plan's commands, whichever way they are run, for so many seconds.
    pub fn of_steps(options: &ExecuteOptions, time_s: u64) -> Self {
        Self {
            time: Duration::from_secs(time_s),
            output_bytes: options.output_bytes,
            memory_bytes: Some(options.memory_bytes),
            processes: Some(options.processes),
        }
    }
}

/// Where a run takes place.
#[derive(Clone)]
pub struct Place {
    /// The working directory.
    pub directory: PathBuf,
    /// The whole environment; programs are looked for along its `PATH`.
    pub environment: BTreeMap<String, String>,
    /// Texts that are masked in the output whatever they look like.
    pub secrets: Vec<String>,
    /// Where output is written that is too long for memory: `KEEP.stdout` and `KEEP.stderr`.
    pub keep: Option<PathBuf>,
    /// The first command's standard input instead of none. A lock on an empty file lasts as long as anybody has it open: with the file in hand, a
    /// command that outlives its worker is known to whoever comes next.
    pub input: Option<Arc<File>>,
    /// The clock of `started_ms`.
    pub clock: Clock,
}

impl Place {
    /// A directory with an environment; nothing is known to be secret and long output is kept nowhere.
    pub fn new(directory: impl Into<PathBuf>, environment: BTreeMap<String, String>, clock: Clock) -> Self {
        Self { directory: directory.into(), environment, secrets: Vec::new(), keep: None, input: None, clock }
    }
}

/// One of two outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// Masked; beginning and end of what is long.
    pub output: Output,
    /// All of it, masked, where it is longer and [`Place::keep`] says where.
    pub whole: Option<PathBuf>,
}

impl Captured {
    /// All of it: from the file where there is one.
    pub fn read(&self) -> io::Result<String> {
        match &self.whole {
            Some(path) => std::fs::read_to_string(path),
            None => Ok(self.output.text.clone()),
        }
    }
}

/// Why a run was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its time was over.
    Time,
    /// Somebody cancelled it.
    Cancelled,
    /// It wrote more than its limit.
    Output,
    /// It had more processes than its limit.
    Processes,
}

/// A run that is over.
#[derive(Debug, Clone)]
pub struct Ran {
    /// How it ended: that of the first command that failed, but for those that the next one did not listen to (SIGPIPE); else that of the last.
    pub ending: Ending,
    /// How each command ended, in order.
    pub endings: Vec<Ending>,
    /// Of the last command.
    pub stdout: Captured,
    /// Of all commands, as it came.
    pub stderr: Captured,
    /// When it started.
    pub started_ms: i64,
    /// By a clock that does not jump.
    pub duration_ms: u64,
    /// Whether its time was over.
    pub timed_out: bool,
    /// Why it was ended from outside, where it was.
    pub stopped: Option<Stop>,
}

impl Ran {
    /// As the record of the command that it was.
    pub fn finished(&self, argv: &[String]) -> Finished {
        let ended_ms = self.started_ms.saturating_add(i64::try_from(self.duration_ms).unwrap_or(i64::MAX));
        Finished {
            argv: argv.to_vec(),
            ending: self.ending,
            started_at: rfc3339(self.started_ms),
            finished_at: rfc3339(ended_ms),
            duration_ms: self.duration_ms,
            stdout: self.stdout.output.clone(),
            stderr: self.stderr.output.clone(),
        }
    }
}

/// Why nothing could be run. What is the command's own fault (not found, not executable) is an [`Ending::NotStarted`] instead.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is nothing to run.
    #[error("an empty command")]
    Empty,
    /// The working directory.
    #[error("the working directory {path} can't be used: {source}")]
    Directory {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Pipes, files.
    #[error("can't {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn cant(what: &'static str) -> impl FnOnce(io::Error) -> ProcessError {
    move |source| ProcessError::Io { what, source }
}

/// Runs the commands, each one's output into the next, to the end of all of them.
pub async fn run(
    pipeline: &[Vec<String>],
    place: &Place,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Ran, ProcessError> {
    if pipeline.is_empty() || pipeline.iter().any(Vec::is_empty) {
        return Err(ProcessError::Empty);
    }
    is_directory(&place.directory)?;
    let (started_ms, started) = ((place.clock)(), Instant::now());
    let path = place.environment.get("PATH").map_or("", String::as_str);
    let over = match program::all(pipeline, path) {
        _ if cancel.is_cancelled() => {
            Over { stopped: Some(Stop::Cancelled), ..Over::not_started(126, "it was cancelled") }
        }
        Ok(programs) => through(pipeline, &programs, place, limits, cancel).await?,
        Err((code, why)) => Over::not_started(code, &why),
    };
    Ok(Ran {
        ending: overall(&over.endings),
        endings: over.endings,
        stdout: over.stdout,
        stderr: over.stderr,
        started_ms: i64::try_from(started_ms).unwrap_or(i64::MAX),
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        timed_out: over.stopped == Some(Stop::Time),
        stopped: over.stopped,
    })
}

/// What is left of commands.
struct Over {
    endings: Vec<Ending>,
    stdout: Captured,
    stderr: Captured,
    stopped: Option<Stop>,
}

impl Over {
    fn not_started(code: i32, why: &str) -> Self {
        let mut said = Capture::new();
        said.push(format!("can't start: {why}\n").as_bytes());
        let stderr = Captured { output: said.finish(), whole: None };
        let endings = vec![Ending::NotStarted(code)];
        Self { endings, stdout: Captured { output: Capture::new().finish(), whole: None }, stderr, stopped: None }
    }
}

fn is_directory(path: &Path) -> Result<(), ProcessError> {
    let wrong = |source| ProcessError::Directory { path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(wrong)?;
    if found.is_dir() { Ok(()) } else { Err(wrong(io::Error::from(io::ErrorKind::NotADirectory))) }
}

/// The first failure that is its command's own, else the last ending.
fn overall(endings: &[Ending]) -> Ending {
    let sigpipe = Ending::Killed(nix::sys::signal::Signal::SIGPIPE as i32);
    let failed = endings.iter().find(|ending| **ending != Ending::Exited(0) && **ending != sigpipe);
    failed.or(endings.last()).copied().unwrap_or(Ending::NotStarted(127))
}

/// Commands that run.
struct Stages {
    children: Vec<Child>,
    group: Group,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

async fn through(
    pipeline: &[Vec<String>],
    programs: &[PathBuf],
    place: &Place,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Over, ProcessError> {
    let Stages { mut children, group, stdout, stderr } = match start(pipeline, programs, place, limits)? {
        Ok(stages) => stages,
        Err((code, why)) => return Ok(Over::not_started(code, &why)),
    };
    let too_much = Arc::new(Notify::new());
    let (end, ended) = watch::channel(false);
    let reader = |from, name| {
        let sink = Sink::new(&place.secrets, place.keep.as_deref(), name, limits.output_bytes);
        tokio::spawn(output::copy(from, sink, Arc::clone(&too_much), ended.clone(), SILENCE))
    };
    let (out, err) = (reader(stdout, "stdout"), reader(stderr, "stderr"));
    let mut all = Box::pin(join_all(children.iter_mut().map(Child::wait)));
    let early = tokio::select! {
        statuses = &mut all => Ok(statuses),
        () = cancel.cancelled() => Err(Stop::Cancelled),
        () = tokio::time::sleep(limits.time) => Err(Stop::Time),
        () = too_much.notified() => Err(Stop::Output),
        () = group.crowded(limits.processes) => Err(Stop::Processes),
    };
    let (statuses, stopped) = match early {
        Ok(statuses) => (statuses, None),
        Err(stop) => {
            group.terminate();
            let statuses = if let Ok(statuses) = tokio::time::timeout(GRACE, &mut all).await {
                statuses
            } else {
                group.kill();
                all.await
            };
            (statuses, Some(stop))
        }
    };
    // What commands left running in their group is ended too.
    group.finish();
    let _ = end.send(true);
    let endings = statuses.into_iter().map(|status| status.map_or(Ending::Exited(255), ending)).collect();
    let read = |joined: Result<io::Result<Captured>, _>| match joined {
        Ok(captured) => captured.map_err(cant("keep the output")),
        Err(_) => Err(cant("read the output")(io::Error::other("its reader ended early"))),
    };
    Ok(Over { endings, stdout: read(out.await)?, stderr: read(err.await)?, stopped })
}

fn ending(status: ExitStatus) -> Ending {
    let exited = status.code().map(Ending::Exited);
    exited.or_else(|| status.signal().map(Ending::Killed)).unwrap_or(Ending::Exited(255))
}

/// Starts all commands; a code and a reason where one of them does not start, and then none is left.
fn start(
    pipeline: &[Vec<String>],
    programs: &[PathBuf],
    place: &Place,
    limits: &Limits,
) -> Result<Result<Stages, (i32, String)>, ProcessError> {
    let (out_reader, out_writer) = io::pipe().map_err(cant("make a pipe"))?;
    let (err_reader, err_writer) = io::pipe().map_err(cant("make a pipe"))?;
    let mut out_writer = Some(out_writer);
    let mut before = match &place.input {
        Some(file) => Stdio::from(file.try_clone().map_err(cant("hand over the input"))?),
        None => Stdio::null(),
    };
    let mut children: Vec<Child> = Vec::new();
    let mut group: Option<Group> = None;
    for (at, (argv, program)) in pipeline.iter().zip(programs).enumerate() {
        let (stdout, after) = if at + 1 == pipeline.len() {
            (out_writer.take().map_or_else(Stdio::null, Stdio::from), Stdio::null())
        } else {
            let (reader, writer) = io::pipe().map_err(cant("make a pipe"))?;
            (Stdio::from(writer), Stdio::from(reader))
        };
        let mut command = Command::new(program);
        command
            .arg0(&argv[0])
            .args(&argv[1..])
            .env_clear()
            .envs(&place.environment)
            .current_dir(&place.directory)
            .stdin(std::mem::replace(&mut before, after))
            .stdout(stdout)
            .stderr(err_writer.try_clone().map_err(cant("make a pipe"))?)
            // The first one leads, and stays at least as a zombie until all are waited for.
            .process_group(group.as_ref().map_or(0, Group::id));
        match command.spawn() {
            Ok(child) => {
                let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
                let group = group.get_or_insert_with(|| Group::led_by(pid));
                if let Err(source) = group::limit(pid, limits) {
                    group.kill();
                    return Err(ProcessError::Io { what: "limit the command's memory", source });
                }
                children.push(child);
            }
            // Those before end with the group, which is dropped here.
            Err(error) => {
                let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
                return Ok(Err((code, format!("{}: {error}", argv[0]))));
            }
        }
    }
    let receive = |reader: io::PipeReader| pipe::Receiver::from_owned_fd(reader.into());
    let stdout = receive(out_reader).map_err(cant("read a pipe"))?;
    let stderr = receive(err_reader).map_err(cant("read a pipe"))?;
    let group = group.ok_or(ProcessError::Empty)?;
    Ok(Ok(Stages { children, group, stdout, stderr }))
}

#[cfg(test)]
mod tests;

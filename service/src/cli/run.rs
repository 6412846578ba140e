//! `upm run`: run a command as if we were not there, and record it as an event.
//!
//! Its output streams through, its exit code is passed on, signals reach it. What is recorded never decides what happens: if
//! the event can't be published it is kept in a file that is named, and the exit code is still the command's.
//!
//! Left out: a terminal for the command (its output is a pipe, so colours and progress bars may be off); full-screen programs.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use pipeline::produce::Patience;
use schemas::admit::{self, Scratch};
use schemas::ids::{Phase, Subject};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use workers::build::{self, Fields};
use workers::ci::{self, Defaults};
use workers::command::{self, Capture, Ending, Finished, Output};

use super::client::flags::Intent;
use super::client::print;
use super::client::send::{self, Event, Item, NatsFlags, Outcome, Route};
use super::{CliError, Globals, say, say_event};
use crate::{clock, env};

/// Exit code: the command was not started.
pub const NOT_STARTED: u8 = 125;

/// How long output may stay silent after the command has ended, while something that it left running still holds the pipe.
const SILENCE: Duration = Duration::from_secs(2);

/// Options of `upm run`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "upm run [--change ID] [OPTIONS] -- CMD [ARG]…",
    after_help = "Examples:\n  upm run --change c-42 --initiator ines -- kubectl apply -f app.yaml\n  \
                  upm run --change c-42 --phase verify -- curl --fail https://app.example/healthz\n\n\
                  The command is run as it is, without a shell. Recorded are its arguments, exit code, duration and output (of long output\n\
                  beginning and end), with secrets masked. In GitHub Actions and GitLab CI, change, initiator, request, environment, ticket and\n\
                  reason have defaults from the CI's variables.\n\
                  Exit codes: the command's own (128 + N if signal N killed it), 125 if it was not started."
)]
pub struct Args {
    /// Phase that the command belongs to
    #[arg(long, value_name = "PHASE", default_value = "execute", help_heading = "Event")]
    phase: Phase,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    nats: NatsFlags,
    /// Where an event is kept that can't be published [default: $XDG_STATE_HOME/upm-ledger/spool]
    #[arg(long, value_name = "DIR", env = "UPM_SPOOL")]
    spool: Option<PathBuf>,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, last = true)]
    command: Vec<OsString>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    match recorded(globals, &args) {
        Ok(code) => Ok(ExitCode::from(code)),
        // Nothing was run: exit codes 1 and 2 could be the command's own.
        Err(error) => {
            error.print(globals.json);
            Ok(ExitCode::from(NOT_STARTED))
        }
    }
}

/// `Err` only before the command is started.
fn recorded(globals: &Globals, args: &Args) -> Result<u8, CliError> {
    let ci = ci::defaults(&env::variables());
    let tenant = globals.tenant_or_default()?;
    let mut fields = args.intent.fields(&ci, &tenant, args.phase)?;
    refuse_early(&fields)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::because("can't start", &error))?;
    let finished = runtime.block_on(supervise(&args.command))?;
    // A write to a blocked terminal must not keep us.
    runtime.shutdown_background();
    fields.timestamp.clone_from(&finished.finished_at);
    let code = match finished.ending {
        Ending::NotStarted(_) => NOT_STARTED,
        ending => u8::try_from(ending.rc()).unwrap_or(u8::MAX),
    };
    record(globals, args, &ci, &fields, &finished);
    Ok(code)
}

/// An event that admission would refuse anyway (an id that is too long, say) is better known before anything has happened.
fn refuse_early(fields: &Fields) -> Result<(), CliError> {
    let trial = build::event(fields, &build::Sections::new());
    match admit::admit_unaddressed(&trial, &mut Scratch::default()) {
        Ok(_) => Ok(()),
        Err(rejection) => Err(CliError::could_not(format!(
            "the command was not started, its event would be rejected: {}",
            super::emit::reason(&pipeline::answer::Problem::of(&rejection))
        ))),
    }
}

/// Runs the command to its end.
async fn supervise(argv: &[OsString]) -> Result<Finished, CliError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(CliError::could_not("no command was given"));
    };
    // Before the start, so that no signal finds us without a handler and leaves the command behind.
    let mut signals = Signals::listen().map_err(|error| CliError::because("can't listen for signals", &error))?;
    let (started_ms, started) = (clock::unix_ms(), clock::now());
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let (ending, stdout, stderr) = match spawned {
        Ok(child) => through(child, &mut signals).await,
        Err(error) => {
            say(&format!("upm: can't start {}: {error}", print::clean(&program.to_string_lossy())));
            let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            let mut said = Capture::new();
            said.push(format!("can't start: {error}\n").as_bytes());
            (Ending::NotStarted(code), Output::default(), said.finish())
        }
    };
    let rfc3339 = |ms: u64| build::rfc3339(i64::try_from(ms).unwrap_or(i64::MAX));
    Ok(Finished {
        argv: argv.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        ending,
        started_at: rfc3339(started_ms),
        finished_at: rfc3339(clock::unix_ms()),
        duration_ms: u64::try_from((clock::now() - started).as_millis()).unwrap_or(u64::MAX),
        stdout,
        stderr,
    })
}

/// Output through and into the record, signals to the command, until it has ended and its output is read.
async fn through(mut child: Child, signals: &mut Signals) -> (Ending, Output, Output) {
    let (end, ended) = tokio::sync::watch::channel(false);
    let out = tokio::spawn(copy(child.stdout.take(), io::stdout(), ended.clone()));
    let err = tokio::spawn(copy(child.stderr.take(), io::stderr(), ended));
    let pid = child.id();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            number = signals.next() => forward(pid, number),
        }
    };
    let _ = end.send(true);
    let ending = match status {
        Ok(status) => status
            .code()
            .map(Ending::Exited)
            .or_else(|| status.signal().map(Ending::Killed))
            .unwrap_or(Ending::Exited(255)),
        Err(_) => Ending::Exited(255),
    };
    (ending, out.await.unwrap_or_default(), err.await.unwrap_or_default())
}

/// Copies to `to` and into the record until the end, or until silence after the command's end. Where nobody reads `to` any
/// more (`| head`), the command's pipe is closed too: it learns so as it would without us, and an endless one ends.
async fn copy(
    from: Option<impl AsyncRead + Unpin>,
    mut to: impl Write,
    mut ended: tokio::sync::watch::Receiver<bool>,
) -> Output {
    let mut capture = Capture::new();
    let Some(mut from) = from else { return capture.finish() };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let over = *ended.borrow_and_update();
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = ended.changed(), if !over => continue,
            () = tokio::time::sleep(SILENCE), if over => 0,
        };
        if read == 0 {
            return capture.finish();
        }
        capture.push(&buffer[..read]);
        // A terminal that is stopped may block this for long: the runtime carries on elsewhere.
        if tokio::task::block_in_place(|| to.write_all(&buffer[..read]).and_then(|()| to.flush())).is_err() {
            return capture.finish();
        }
    }
}

struct Signals([(i32, Signal); 4]);

impl Signals {
    fn listen() -> io::Result<Self> {
        let on = |kind: SignalKind| Ok::<_, io::Error>((kind.as_raw_value(), signal(kind)?));
        Ok(Self([
            on(SignalKind::interrupt())?,
            on(SignalKind::quit())?,
            on(SignalKind::terminate())?,
            on(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) -> i32 {
        let [(a, first), (b, second), (c, third), (d, fourth)] = &mut self.0;
        tokio::select! {
            _ = first.recv() => *a,
            _ = second.recv() => *b,
            _ = third.recv() => *c,
            _ = fourth.recv() => *d,
        }
    }
}

/// Hands a signal on. Ctrl-C and Ctrl-\ on a terminal reach the command by themselves, as it is in our process group: once
/// more would tell many programs (Terraform among them) to give up at once.
fn forward(pid: Option<u32>, number: i32) {
    use nix::sys::signal::{Signal, kill};
    let (Some(pid), Ok(signal)) = (pid.and_then(|pid| i32::try_from(pid).ok()), Signal::try_from(number)) else {
        return;
    };
    if matches!(signal, Signal::SIGINT | Signal::SIGQUIT) && in_foreground() {
        return;
    }
    // It may be gone already.
    let _ = kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// Whether we are the terminal's foreground process group: the fifth and eighth field of `/proc/self/stat` after the name are
/// our group and the terminal's foreground group (proc(5)).
fn in_foreground() -> bool {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    matches!((fields.get(2), fields.get(5)), (Some(ours), Some(foreground)) if ours == foreground)
}

/// Publishes the event, or keeps it in a file. Tells on standard error what became of it; nothing here is the command's failure.
fn record(globals: &Globals, args: &Args, ci: &Defaults, fields: &Fields, finished: &Finished) {
    let mut sections = command::sections(args.phase, finished);
    sections.extend(args.intent.said().sections(args.phase, &fields.timestamp));
    sections.add_some("ci", ci.section());
    let event = build::event(fields, &sections);
    let mut scratch = Scratch::default();
    let (subject, bytes) = match admit::admit_unaddressed(&event, &mut scratch) {
        Ok((subject, admitted)) => (subject, admitted.payload.into_owned()),
        Err(rejection) => {
            // The fields were tried before and the sections are bounded, so this is a defect of ours: what happened is kept all the same.
            let why = super::emit::reason(&pipeline::answer::Problem::of(&rejection));
            return keep(args, &rejection.payload, fields, &why);
        }
    };
    match publish(globals, args, subject, &bytes) {
        Ok(line) => say(&format!("upm: {line}")),
        Err(why) => keep(args, &bytes, fields, &why),
    }
}

/// One line on success, the reason otherwise.
fn publish(globals: &Globals, args: &Args, subject: Subject, bytes: &[u8]) -> Result<String, String> {
    let route = Route::find(globals, &args.nats);
    let patience =
        Patience { ack: Duration::from_secs(3), answer: Duration::from_secs(10), attempts: 3, ..Patience::default() };
    let (tenant, phase) = (subject.tenant.clone(), subject.phase);
    let event = Event { line: 1, subject, names: None, bytes: bytes.to_vec().into() };
    let mut told = Err("no answer came".to_owned());
    let sent = send::send(&route, std::iter::once(Item::Event(event)), true, &patience, |(_, _, outcome)| {
        told = match outcome {
            Outcome::Answered { problem: Some(problem), .. } | Outcome::Unfit(problem) => {
                Err(super::emit::reason(&problem))
            }
            Outcome::Answered { index, .. } => Ok(format!("recorded as entry {index} of {tenant}, phase {phase}")),
            Outcome::OnRoad => Ok("recorded".to_owned()),
            Outcome::Failed(why) => Err(why),
        };
        Ok(())
    });
    match sent {
        Ok(()) => told,
        Err(error) => Err(error.to_string()),
    }
}

/// Keeps an event that could not be published.
fn keep(args: &Args, bytes: &[u8], fields: &Fields, why: &str) {
    let why = print::clean(why);
    let folder = args.spool.clone().unwrap_or_else(default_spool);
    match spooled(&folder, &fields.id, bytes) {
        Ok(path) => say(&format!(
            "upm: the event could not be published: {why}\nkept in {0}; publish it with: upm emit {0} --wait",
            path.display()
        )),
        Err(error) => {
            say(&format!(
                "upm: the event could not be published: {why}\nnor kept in {}: {error}; here it is:",
                folder.display()
            ));
            say_event(bytes);
        }
    }
}

fn spooled(folder: &Path, id: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = fs::canonicalize(folder)?.join(format!("{id}.json"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(path)
}

/// `$XDG_STATE_HOME` or `~/.local/state` (XDG base directories); without a home, the current directory.
fn default_spool() -> PathBuf {
    let variables = env::variables();
    let set = |name: &str| variables.get(name).filter(|value| value.starts_with('/')).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.map_or_else(|| PathBuf::from("upm-spool"), |state| state.join("upm-ledger/spool"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervised(argv: &[&str]) -> Finished {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(supervise(&argv))
            .unwrap()
    }

    #[test]
    fn a_command_ends_as_it_ends() {
        for (argv, ending) in [
            (&["true"][..], Ending::Exited(0)),
            (&["sh", "-c", "exit 7"], Ending::Exited(7)),
            (&["sh", "-c", "kill -9 $$"], Ending::Killed(9)),
            (&["/nowhere/at/all"], Ending::NotStarted(127)),
            (&["/etc/hostname"], Ending::NotStarted(126)),
        ] {
            assert_eq!(supervised(argv).ending, ending, "{argv:?}");
        }
    }

    #[test]
    fn both_outputs_are_captured_and_what_stays_running_is_not_waited_for() {
        let finished = supervised(&["sh", "-c", "echo out; echo err >&2; sleep 60 & echo later"]);
        assert_eq!((finished.stdout.text.as_str(), finished.stderr.text.as_str()), ("out\nlater\n", "err\n"));
        assert!(finished.duration_ms < 50_000);
    }

    #[test]
    fn what_can_not_be_published_is_kept_privately_and_never_over_another() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("a/b");
        let path = spooled(&spool, "id", b"{}").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(spooled(&spool, "id", b"other").is_err());
    }
}

//! The thread that keeps the child server running, and ends it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::files::{KEY_VARIABLE, PASSWORD_VARIABLE, SYSTEM_VARIABLE, WORK_VARIABLE, last_words, private_options};

/// A server with a thousand streams needs several seconds to go.
const STOP_PATIENCE: Duration = Duration::from_mins(1);
pub(super) const POLL: Duration = Duration::from_millis(25);

/// What the keeper thread knows of the child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildState {
    /// Process id while it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it does not run now, if so.
    pub trouble: Option<String>,
}

/// The thread that owns the child process: it alone starts, waits for and signals it, so that a process id is never used after its
/// process is gone.
pub(super) struct Keeper {
    pub(super) command: CommandLine,
    pub(super) state: Arc<Mutex<ChildState>>,
    /// Ends with the child's owner.
    pub(super) orders: Receiver<Order>,
}

/// What the keeper may be told; when nobody can tell it anything any more, it ends the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// End it in order, and start it again.
    Restart,
    /// Kill it, and start it again.
    Kill,
}

/// How the child is started.
pub(super) struct CommandLine {
    pub(super) launcher: Vec<OsString>,
    pub(super) program: PathBuf,
    pub(super) conf: PathBuf,
    pub(super) stderr: PathBuf,
    pub(super) key: String,
    pub(super) password: String,
    pub(super) system_password: String,
    pub(super) work_password: String,
}

enum Ended {
    ByUs,
    OnOrder,
    ByItself(String),
}

impl Keeper {
    pub(super) fn run(self) {
        let mut delay = Duration::from_millis(100);
        loop {
            let trouble = match self.command.spawn() {
                Ok(mut child) => {
                    self.update(|state| (state.pid, state.trouble) = (Some(child.id()), None));
                    match self.watch(&mut child, &mut delay) {
                        Ended::ByUs => return self.update(|state| state.pid = None),
                        Ended::OnOrder => {
                            self.update(|state| (state.pid, state.restarts) = (None, state.restarts + 1));
                            continue;
                        }
                        Ended::ByItself(how) => how,
                    }
                }
                Err(error) => format!("it can't be started: {error}"),
            };
            tracing::warn!(%trouble, "nats-server is down; starting it again in {} ms", delay.as_millis());
            self.update(|state| (state.pid, state.trouble) = (None, Some(trouble)));
            if self.orders.recv_timeout(delay) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            self.update(|state| state.restarts += 1);
            delay = (delay * 2).min(Duration::from_secs(5));
        }
    }

    /// Waits for the child's end or our own. A child that lived for half a minute starts with a short delay again.
    fn watch(&self, child: &mut Child, delay: &mut Duration) -> Ended {
        let mut lived = Duration::ZERO;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => {
                    let said = last_words(&self.command.stderr).map(|line| format!(": {line}"));
                    return Ended::ByItself(format!("it ended with {status}{}", said.unwrap_or_default()));
                }
                Err(error) => return Ended::ByItself(format!("it can't be waited for: {error}")),
                Ok(None) => {}
            }
            match self.orders.recv_timeout(POLL) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    end(child);
                    return Ended::ByUs;
                }
                Ok(Order::Restart) => {
                    end(child);
                    return Ended::OnOrder;
                }
                Ok(Order::Kill) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Ended::OnOrder;
                }
            }
            lived += POLL;
            if lived > Duration::from_secs(30) {
                *delay = Duration::from_millis(100);
            }
        }
    }

    fn update(&self, change: impl FnOnce(&mut ChildState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl CommandLine {
    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = match self.launcher.split_first() {
            Some((exe, before)) => {
                let mut command = Command::new(exe);
                command.args(before).arg(std::process::id().to_string()).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        let stderr = private_options().truncate(true).open(&self.stderr)?;
        command
            .arg("-c")
            .arg(&self.conf)
            // In quotes, because the server reads the value as if it stood in the file: `1e5` would be a number.
            .env(KEY_VARIABLE, format!("\"{}\"", self.key))
            .env(PASSWORD_VARIABLE, format!("\"{}\"", self.password))
            .env(SYSTEM_VARIABLE, format!("\"{}\"", self.system_password))
            .env(WORK_VARIABLE, format!("\"{}\"", self.work_password))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(stderr))
            // Ctrl-C goes to the whole group of the terminal: the child must outlive it until we have drained.
            .process_group(0)
            .spawn()
    }
}

/// SIGTERM, patience, SIGKILL.
fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let mut waited = Duration::ZERO;
    while waited < STOP_PATIENCE {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(POLL);
        waited += POLL;
    }
    tracing::warn!("nats-server did not end within {} s; killing it", STOP_PATIENCE.as_secs());
    let _ = child.kill();
    let _ = child.wait();
}

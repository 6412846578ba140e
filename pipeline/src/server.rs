//! The NATS server that runs as our child: found, checked, started, watched, stopped.
//!
//! It listens on the loopback address only, keeps its store encrypted, and lives and dies with us: it is started through a re-exec
//! of our own program (`… nats-child PARENT PROGRAM ARGS`, see [`run_child`]) that asks the kernel to kill it when we die, however
//! we die. Three users share it: `upm`, which is us; `upm-work`, the workers beside us, whose login lies in a file that only our user may read; and everybody
//! else, who may publish events and hear answers but can neither read the road (it holds originals before masking) nor cut it, nor publish in the name of a
//! worker. Configuration: nats-server 2.12 and newer.

mod files;
mod keeper;

use std::ffi::OsString;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ledger::hash;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::target::{NatsAuth, NatsTarget};
use files::{Files, conf_text, last_line, prepare_dirs, write_private};
pub use keeper::ChildState;
use keeper::{CommandLine, Keeper, Order, POLL};

/// The oldest nats-server that has what we use (the strict API, an exit code of 0 on SIGTERM).
pub const MINIMUM_VERSION: (u32, u32) = (2, 12);

/// The largest message the server takes: far above the largest event, so that an event that is too large still gets a reason.
pub const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;

const MAX_VERSION_BYTES: u64 = 4096;
const SERVICE_USER: &str = "upm";
const SYSTEM_USER: &str = "upm-health";
const PRIVATE_INBOX: &str = "_UPM_INBOX";
const WORK_USER: &str = "upm-work";
/// Where answers to workers go: what they are woken by is theirs alone.
const WORK_INBOX: &str = "_UPM_WORK";
/// The file in the child's directory that holds the login of workers, as a URL.
pub const WORKERS_FILE: &str = "workers.url";
/// A server with a thousand streams needs several seconds to come.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// What does not tell its version by then is something else.
const VERSION_PATIENCE: Duration = Duration::from_secs(10);
/// After a SIGKILL of ours the old child dies at once, but its socket may outlive it for a moment; and somebody's connection may have the
/// port as its local end for a while.
const PORT_PATIENCE: Duration = Duration::from_secs(15);

/// A nats-server program that is new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is, such as `2.15.1`.
    pub version: String,
}

/// How to run the child.
#[derive(Clone)]
pub struct ChildConfig {
    /// The program, as [`find`] returned it.
    pub program: Program,
    /// What to put before the program: `[our own executable, "nats-child"]`. Empty starts it directly, and then nothing ends it
    /// when we are killed.
    pub launcher: Vec<OsString>,
    /// Where its store, configuration, port and log go (`nats/` of the data directory). Made when missing.
    pub dir: PathBuf,
    /// The key that its store is encrypted with; the service's password derives from it too.
    pub store_key: String,
    /// A port to insist on. Without one: the port of last time, else a free one.
    pub port: Option<u16>,
}

/// Why there is no running nats-server. Each message is one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nothing found at any of the places.
    #[error("nats-server is missing (looked at {}); install nats-server 2.12 or newer, or set NATS_SERVER", .looked.join(", "))]
    Missing {
        /// Where we looked.
        looked: Vec<String>,
    },
    /// Found, but too old.
    #[error("nats-server at {path} is version {found}; {}.{} or newer is needed", MINIMUM_VERSION.0, MINIMUM_VERSION.1)]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Found, but it does not tell a version.
    #[error("{path} is no usable nats-server: {reason}")]
    Unusable {
        /// The program.
        path: PathBuf,
        /// What it did instead.
        reason: String,
    },
    /// The port that producers know is not free.
    #[error(
        "port {port} on 127.0.0.1 is taken, and producers of this data directory expect NATS there; free it, or delete {file} to move"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The file that remembers it.
        file: PathBuf,
    },
    /// A file or directory of the child's.
    #[error("{path}: {source}")]
    Io {
        /// What we touched.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// It started and ended, or never became ready.
    #[error("nats-server did not start: {reason} (its log: {log})")]
    NotStarted {
        /// The last line it said, or how it ended.
        reason: String,
        /// Its log file.
        log: PathBuf,
    },
    /// `run_child` was called with something else than what [`NatsChild`] passes.
    #[error("nats-child is started by `serve` only")]
    NotForPeople,
    /// `run_child` found its parent gone, or could not become the server.
    #[error("nats-child: {0}")]
    Exec(std::io::Error),
}

/// Finds a server: the explicit path if one is given, else the first candidate that exists and is new enough.
pub fn find(explicit: Option<&Path>, candidates: &[PathBuf]) -> Result<Program, ServerError> {
    if let Some(path) = explicit {
        if !path.exists() {
            return Err(ServerError::Missing { looked: vec![path.display().to_string()] });
        }
        return check(path, VERSION_PATIENCE);
    }
    let mut found = None;
    for path in candidates.iter().filter(|path| path.exists()) {
        match check(path, VERSION_PATIENCE) {
            Ok(program) => return Ok(program),
            Err(error) => found = found.or(Some(error)),
        }
    }
    let looked = candidates.iter().map(|path| path.display().to_string()).collect();
    Err(found.unwrap_or(ServerError::Missing { looked }))
}

/// The password of the user `upm` on a child whose store has this key. Whoever may read the key file may speak for the service.
pub fn service_password(store_key: &str) -> String {
    hash::leaf(format!("upm nats service user\0{store_key}").as_bytes()).to_string()
}

/// How whoever plays a worker reaches a server: by a URL with user and password in it, as in [`WORKERS_FILE`]; none where it has none.
pub fn worker_target(url: &str) -> Option<NatsTarget> {
    let (scheme, rest) = url.split_once("://")?;
    let (login, address) = rest.rsplit_once('@')?;
    let (user, password) = login.split_once(':')?;
    Some(NatsTarget {
        url: format!("{scheme}://{address}"),
        auth: password_of(user, password),
        ca: None,
        inbox_prefix: Some(WORK_INBOX.to_owned()),
    })
}

/// The other side of the launcher: called first thing in `main` with what follows `nats-child`, it asks the kernel to kill it when
/// its parent dies and then becomes the server. It returns only when that failed.
pub fn run_child(args: &[OsString]) -> ServerError {
    let [parent, program, rest @ ..] = args else {
        return ServerError::NotForPeople;
    };
    let Some(parent) = parent.to_str().and_then(|text| text.parse::<i32>().ok()) else {
        return ServerError::NotForPeople;
    };
    // SIGKILL, not SIGTERM: nothing is left of us to wait for a slow shutdown, and the next start needs the port and the store.
    // The server loses nothing by it: what it acknowledged is with the kernel.
    if let Err(errno) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        return ServerError::Exec(errno.into());
    }
    // The parent may have died before the line above: then no signal will ever come.
    if getppid() != Pid::from_raw(parent) {
        return ServerError::Exec(std::io::Error::other("the parent is gone already"));
    }
    ServerError::Exec(Command::new(program).args(rest).exec())
}

/// A supervised nats-server. Dropping it stops the server too, but only [`NatsChild::stop`] reports and does not block a runtime.
pub struct NatsChild {
    target: NatsTarget,
    /// Where its health can be asked, with no other right.
    system: NatsTarget,
    orders: Option<Arc<Sender<Order>>>,
    keeper: Option<std::thread::JoinHandle<()>>,
    state: Arc<Mutex<ChildState>>,
}

impl NatsChild {
    /// Starts the server and waits until it answers.
    pub async fn start(config: ChildConfig) -> Result<Self, ServerError> {
        let files = Files::in_dir(&config.dir);
        prepare_dirs(&files)?;
        let port = choose_port(config.port, &files).await?;
        let password = service_password(&config.store_key);
        write_private(&files.conf, &conf_text(&files, port))?;
        let target = target_of(port, &password);
        let mut child = Self::supervise(&config, &files, &password, target)?;
        child.wait_until_ready(&files).await?;
        write_private(&files.port, &format!("{port}\n"))?;
        let password = work_password(&config.store_key);
        write_private(&files.workers, &format!("nats://{WORK_USER}:{password}@{}:{port}\n", Ipv4Addr::LOCALHOST))?;
        Ok(child)
    }

    /// How the service reaches it, with the service's own rights.
    pub fn target(&self) -> NatsTarget {
        self.target.clone()
    }

    /// The address for producers, `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.target.url
    }

    /// Whether it runs, and if not, why.
    pub fn state(&self) -> ChildState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the server with SIGTERM and waits until it is gone, so that its port and store are free.
    pub async fn stop(mut self) {
        let keeper = self.signal_stop();
        // Joining is blocking, and a server with many streams takes seconds to end.
        let _ = tokio::task::spawn_blocking(move || keeper.map(std::thread::JoinHandle::join)).await;
    }

    /// What watches the child.
    pub(crate) fn handle(&self) -> ChildHandle {
        let orders = self.orders.as_ref().map(Arc::downgrade).unwrap_or_default();
        ChildHandle { system: self.system.clone(), orders }
    }

    fn signal_stop(&mut self) -> Option<std::thread::JoinHandle<()>> {
        drop(self.orders.take());
        self.keeper.take()
    }

    fn supervise(config: &ChildConfig, files: &Files, password: &str, target: NatsTarget) -> Result<Self, ServerError> {
        let state = Arc::new(Mutex::new(ChildState::default()));
        let (orders, ordered) = channel();
        let system =
            NatsTarget { auth: password_of(SYSTEM_USER, &system_password(&config.store_key)), ..target.clone() };
        let keeper = Keeper {
            command: CommandLine {
                launcher: config.launcher.clone(),
                program: config.program.path.clone(),
                conf: files.conf.clone(),
                stderr: files.stderr.clone(),
                key: config.store_key.clone(),
                password: password.to_owned(),
                system_password: system_password(&config.store_key),
                work_password: work_password(&config.store_key),
            },
            state: Arc::clone(&state),
            orders: ordered,
        };
        // The signal of the parent's death is sent when the *thread* that started the child ends, so that thread is the keeper's.
        let thread = std::thread::Builder::new().name("nats-keeper".into()).spawn(move || keeper.run());
        let keeper = thread.map_err(|source| ServerError::Io { path: config.program.path.clone(), source })?;
        Ok(Self { target, system, orders: Some(Arc::new(orders)), keeper: Some(keeper), state })
    }

    async fn wait_until_ready(&mut self, files: &Files) -> Result<(), ServerError> {
        let connecting = async {
            loop {
                if let Ok(client) = self.target.connect("upm start").await {
                    let jetstream = async_nats::jetstream::new(client);
                    if jetstream.query_account().await.is_ok() {
                        return Ok(());
                    }
                }
                let state = self.state();
                if let (Some(trouble), true) = (state.trouble, state.pid.is_none()) {
                    let reason = last_line(&files.stderr).or_else(|| last_line(&files.log)).unwrap_or(trouble);
                    return Err(ServerError::NotStarted { reason, log: files.log.clone() });
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let patience = format!("no answer within {} s", START_PATIENCE.as_secs());
        let late = Err(ServerError::NotStarted { reason: patience, log: files.log.clone() });
        tokio::time::timeout(START_PATIENCE, connecting).await.unwrap_or(late)
    }
}

/// Asks the child how it is, and has it started again. Of no effect once the child's owner has stopped it.
pub(crate) struct ChildHandle {
    system: NatsTarget,
    orders: Weak<Sender<Order>>,
}

impl ChildHandle {
    /// How to reach the server to ask for its health.
    pub(crate) fn system_target(&self) -> &NatsTarget {
        &self.system
    }

    /// Ends the server in order and starts it again.
    pub(crate) fn restart(&self) {
        self.order(Order::Restart);
    }

    /// Kills the server and starts it again.
    pub(crate) fn kill(&self) {
        self.order(Order::Kill);
    }

    fn order(&self, order: Order) {
        // Nobody takes it: the child is being stopped.
        let _ = self.orders.upgrade().map(|orders| orders.send(order));
    }
}

impl Drop for NatsChild {
    fn drop(&mut self) {
        if let Some(keeper) = self.signal_stop() {
            let _ = keeper.join();
        }
    }
}

fn password_of(user: &str, password: &str) -> NatsAuth {
    NatsAuth::Password { user: user.to_owned(), password: password.to_owned() }
}

/// The password of the user that may ask for the server's health, and nothing else.
fn system_password(store_key: &str) -> String {
    hash::leaf(format!("upm nats health user\0{store_key}").as_bytes()).to_string()
}

/// The password of the workers beside us.
fn work_password(store_key: &str) -> String {
    hash::leaf(format!("upm nats work user\0{store_key}").as_bytes()).to_string()
}

fn target_of(port: u16, password: &str) -> NatsTarget {
    NatsTarget {
        url: format!("nats://{}:{port}", Ipv4Addr::LOCALHOST),
        auth: password_of(SERVICE_USER, password),
        ca: None,
        inbox_prefix: Some(PRIVATE_INBOX.to_owned()),
    }
}

/// The port to use: the one insisted on, the one of last time, or a free one.
async fn choose_port(explicit: Option<u16>, files: &Files) -> Result<u16, ServerError> {
    let remembered = std::fs::read_to_string(&files.port).ok().and_then(|text| text.trim().parse().ok());
    let Some(port) = explicit.or(remembered).filter(|port| *port != 0) else {
        return free_port(0).map_err(|source| ServerError::Io { path: files.port.clone(), source });
    };
    let mut waited = Duration::ZERO;
    while free_port(port).is_err() {
        if waited >= PORT_PATIENCE {
            return Err(ServerError::PortTaken { port, file: files.port.clone() });
        }
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
    Ok(port)
}

fn free_port(port: u16) -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()?.port())
}

fn check(path: &Path, patience: Duration) -> Result<Program, ServerError> {
    let unusable = |reason: String| ServerError::Unusable { path: path.to_owned(), reason };
    let said = version_said_by(path, patience).map_err(unusable)?;
    let version = version_in(&said).ok_or_else(|| unusable(format!("`--version` says {said:?}")))?;
    match parse_version(&version) {
        Some(found) if found >= MINIMUM_VERSION => Ok(Program { path: path.to_owned(), version }),
        Some(_) => Err(ServerError::TooOld { path: path.to_owned(), found: version }),
        None => Err(unusable(format!("`--version` says {said:?}"))),
    }
}

/// What a program prints for `--version`, or why it does not.
fn version_said_by(path: &Path, patience: Duration) -> Result<String, String> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let stdout = child.stdout.take();
    // Read elsewhere: what the program started in turn may hold the pipe when it is gone.
    let (said, saying) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|pipe| pipe.take(MAX_VERSION_BYTES).read_to_end(&mut bytes));
        drop(read);
        // Nobody listens any more: it came too late.
        let _ = said.send(bytes);
    });
    let told = saying.recv_timeout(patience);
    // It has told, or it never will. That it is gone already is fine.
    let _ = child.kill();
    let _ = child.wait();
    match told {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Err(_) => Err(format!("`--version` gives no answer within {} s", patience.as_secs())),
    }
}

/// `nats-server: v2.15.1` → `2.15.1`.
fn version_in(said: &str) -> Option<String> {
    let version = said.strip_prefix("nats-server: v")?;
    Some(version.to_owned())
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let cases = [
            ("nats-server: v2.15.1", true),
            ("nats-server: v2.9.10", false),
            ("nats-server: v3.0.0", true),
            ("nats-server: v2.12.0-RC.1", true),
        ];
        for (said, enough) in cases {
            let version = version_in(said).and_then(|version| parse_version(&version)).expect(said);
            assert_eq!(version >= MINIMUM_VERSION, enough, "{said}");
        }
        for said in ["", "hello", "nats-server: 2.15.1"] {
            assert_eq!(version_in(said), None, "{said}");
        }
        assert_eq!(parse_version("banana"), None);
    }

    #[test]
    fn what_is_missing_too_old_or_something_else_has_its_own_reason() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = |name: &str, says: &str| {
            let path = dir.path().join(name);
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path).expect("a file");
            write!(file, "#!/bin/sh\necho '{says}'\n").expect("a script");
            path
        };
        let old = script("old", "nats-server: v2.9.10");
        let other = script("other", "hello");
        let new = script("new", "nats-server: v2.15.1");
        let missing = dir.path().join("missing");
        assert!(matches!(find(Some(&missing), std::slice::from_ref(&new)), Err(ServerError::Missing { .. })));
        assert!(
            matches!(find(Some(&old), std::slice::from_ref(&new)), Err(ServerError::TooOld { found, .. }) if found == "2.9.10")
        );
        assert!(matches!(find(Some(&other), &[]), Err(ServerError::Unusable { .. })));
        assert!(matches!(find(None, &[missing.clone(), old.clone()]), Err(ServerError::TooOld { .. })));
        assert!(matches!(find(None, std::slice::from_ref(&missing)), Err(ServerError::Missing { .. })));
        let hangs = dir.path().join("hangs");
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&hangs).expect("a file");
        write!(file, "#!/bin/sh\nexec sleep 60\n").expect("a script");
        drop(file);
        let told = check(&hangs, Duration::from_millis(50)).expect_err("it hangs").to_string();
        assert!(told.contains("gives no answer"), "{told}");
        let found = find(None, &[missing, old, new.clone()]).expect("the new one");
        assert_eq!(found, Program { path: new, version: "2.15.1".into() });
    }

    #[test]
    fn the_child_is_not_for_people() {
        assert!(matches!(run_child(&[]), ServerError::NotForPeople));
        assert!(matches!(run_child(&["x".into(), "y".into()]), ServerError::NotForPeople));
        // A parent that is not ours: refused before anything is started.
        let nobody = i32::MAX.to_string();
        assert!(matches!(run_child(&[nobody.into(), "/bin/true".into()]), ServerError::Exec(_)));
    }
}

//! What the end-to-end tests stand on: the real `upm`, a real nats-server behind it, and nats-py as the producer that
//! is not ours. Nothing here is a mock, and only processes started here are ever killed.
#![expect(
    clippy::disallowed_methods,
    reason = "tests run real processes: they wait against the clock and read where the tools are"
)]

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take before a test gives up: long, because the machine is shared; a passing test never waits it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The longest answer that a test reads into memory, in bytes.
const BODY_BYTES_MAX: u64 = 128 << 20;

/// The folder of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_path_buf()
}

/// A program of the same build: `upm` or `upm-verify`.
///
/// # Panics
/// When it was not built; `make test` builds it first.
pub fn program(name: &str) -> PathBuf {
    let test_binary = std::env::current_exe().expect("a running test has a path");
    let release = test_binary.ancestors().nth(2).expect("target/release/deps/suite-…");
    let path = release.join(name);
    assert!(
        path.exists(),
        "{} is missing: `make test` builds it, or run `cargo build --release --workspace`",
        path.display()
    );
    path
}

/// A tool below the tools folder, or where `variable` says.
pub fn tool(variable: &str, default: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let tools = std::env::var_os("UPM_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/upm-ledger/tools"),
        PathBuf::from,
    );
    tools.join(default)
}

/// The real nats-server.
pub fn nats_server() -> PathBuf {
    tool("NATS_SERVER", "nats-server-2.15.1")
}

/// A command for `upm` with an environment of its own: no CI variables, no `UPM_*` of the caller.
pub fn upm<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(program("upm"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .env("NATS_SERVER", nats_server())
        // A full hour must not add entries to a test that counts them.
        .env("UPM_HEARTBEAT", "0")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns exit code, standard output and standard error as text.
pub fn run(command: &mut Command) -> (i32, String, String) {
    texts(&command.output().expect("the command starts"))
}

/// Runs a command with `input` on its standard input.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the command ends");
    // A command may rightly stop reading early; what it said about that is in its output.
    let _ = writer.join();
    texts(&output)
}

/// Runs a command that has to exit with 0, and returns its standard output.
pub fn ok(command: &mut Command) -> String {
    let (code, out, err) = run(command);
    assert_eq!(code, 0, "{command:?}\nstdout: {out}\nstderr: {err}");
    out
}

/// A Python script of `tests/python` with nats-py on its path.
pub fn python(script: &str) -> Command {
    let path = tool("NATS_PY", "nats-py-2.16.0");
    assert!(path.join("nats").exists(), "nats-py is missing: `scripts/setup test` installs it");
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script)).env("PYTHONPATH", path);
    command
}

/// Waits until `probe` answers, and fails with `what` when it never does.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How far a long test is: a line on standard error every ten seconds, which `make soak` shows. A step that takes too long fails it; how long all of
/// it takes is the machine's matter.
pub struct Progress {
    what: &'static str,
    total: usize,
    patience: Duration,
    begun: Instant,
    stepped: Instant,
    told: Instant,
}

impl Progress {
    /// `total` of something, each of which may take `patience`.
    pub fn new(what: &'static str, total: usize, patience: Duration) -> Self {
        let now = Instant::now();
        Self { what, total, patience, begun: now, stepped: now, told: now }
    }

    /// So many are done; `at` says where it is, for whoever wants to replay it.
    ///
    /// # Panics
    /// When this one took too long.
    pub fn done(&mut self, count: usize, at: impl std::fmt::Display) {
        let (what, total, spent, step) = (self.what, self.total, self.begun.elapsed(), self.stepped.elapsed());
        assert!(step < self.patience, "{what}: {count} of {total} took {} s, at {at}", step.as_secs());
        self.stepped = Instant::now();
        if count == total || self.told.elapsed() > Duration::from_secs(10) {
            self.told = Instant::now();
            eprintln!("{what}: {count} of {total} in {} s, at {at}", spent.as_secs());
        }
    }
}

/// A running `upm serve` with a nats-server of its own, killed with the value.
pub struct Server {
    child: Child,
    data: PathBuf,
    /// What `serve.json` said when the server was ready.
    pub places: Value,
}

impl Server {
    /// Starts `upm serve` on `data` with a free HTTP port and waits until it is ready.
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        let stderr = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data.with_extension("log"))
            .expect("a log file beside the data directory");
        let child = upm(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("upm serve starts");
        let pid = u64::from(child.id());
        // A server that is never ready is killed with the value too.
        let mut server = Self { child, data: data.to_path_buf(), places: Value::Null };
        server.places = wait_for("serve.json of the new process", || {
            if let Some(status) = server.child.try_wait().expect("the child can be asked") {
                let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
                panic!("upm serve ended with {status} before it was ready:\n{log}");
            }
            let text = std::fs::read(data.join("serve.json")).ok()?;
            let places: Value = serde_json::from_slice(&text).ok()?;
            (places["pid"] == pid).then_some(places)
        });
        server
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Base URL of the HTTP API.
    pub fn http(&self) -> &str {
        self.places["http"].as_str().expect("serve.json names http")
    }

    /// URL of the nats-server.
    pub fn nats(&self) -> &str {
        self.places["nats"].as_str().expect("serve.json names nats")
    }

    /// Verifier key of a tenant's log.
    pub fn vkey(&self, tenant: &str) -> &str {
        self.places["logs"][tenant].as_str().expect("serve.json names the vkey of each log")
    }

    /// A client command of `upm` that talks to this server.
    pub fn upm(&self, arguments: &[&str]) -> Command {
        let mut command = upm(arguments);
        command.env("UPM_SERVER", self.http()).env("UPM_DATA", &self.data);
        command
    }

    /// GET: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.get(format!("{}{path}", self.http())).call().expect("the server answers");
        let status = response.status().as_u16();
        // A log that is kept by reference may be long.
        let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string();
        (status, body.expect("the body is text"))
    }

    /// GET of a JSON document that has to be there.
    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("GET {path}: {error}: {body}"))
    }

    /// POST: status and body.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent
            .post(format!("{}{path}", self.http()))
            .header("content-type", content_type)
            .send(body)
            .expect("the server answers");
        let status = response.status().as_u16();
        (status, response.body_mut().read_to_string().expect("the body is text"))
    }

    /// Process id of `upm serve`.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids fit"))
    }

    /// SIGTERM, then the exit code.
    pub fn stop(mut self) -> i32 {
        kill(self.pid(), Signal::SIGTERM).expect("the server is there to be stopped");
        wait_for("upm serve to end after SIGTERM", || self.child.try_wait().expect("the child can be asked"))
            .code()
            .unwrap_or(-1)
    }

    /// SIGKILL, as a crash would; returns when the process is gone.
    pub fn crash(mut self) {
        self.child.kill().expect("the server is there to be killed");
        self.child.wait().expect("a killed child can be waited for");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good: nothing may be left behind when a test fails half-way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn texts(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

//! The child server's life, against the real program: it keeps its port, it ends when we end, and it ends when we are killed.
//!
//! Without the test harness, because the test itself has to be the launcher: it starts itself as `nats-child …` (what `upm` does)
//! and as `parent …`, a process that starts a server and is then killed.
#![expect(clippy::disallowed_methods, reason = "tests read the environment as the service does")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use pipeline::NatsTarget;
use pipeline::server::{ChildConfig, NatsChild, ServerError, find, run_child};

fn main() {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|word| word.to_str()) {
        Some("nats-child") => panic!("{}", run_child(&args[1..])),
        Some("parent") => return parent(Path::new(&args[1])),
        // What `cargo test -- --list` and filters pass: there is only one test here.
        Some("--list") => return println!("child: test"),
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(stopped_and_started_on_the_same_port());
    runtime.block_on(a_taken_port_is_refused());
    runtime.block_on(a_broken_configuration_tells_the_reason());
    killed_with_its_parent(&runtime);
    println!("child: 4 passed");
}

fn config(dir: &Path) -> ChildConfig {
    let program = std::env::var_os("NATS_SERVER").map_or_else(
        || {
            PathBuf::from(std::env::var_os("HOME").expect("HOME is set"))
                .join(".cache/upm-ledger/tools/nats-server-2.15.1")
        },
        PathBuf::from,
    );
    ChildConfig {
        program: find(Some(&program), &[]).expect("a nats-server; `scripts/setup serve` installs it"),
        launcher: vec![std::env::current_exe().expect("a path").into(), "nats-child".into()],
        dir: dir.to_owned(),
        store_key: "store key".into(),
        port: None,
    }
}

fn pid_of(child: &NatsChild) -> Pid {
    let pid = child.state().pid.expect("it runs");
    Pid::from_raw(i32::try_from(pid).expect("a pid"))
}

fn alive(pid: Pid) -> bool {
    // A zombie is dead: its parent has not looked yet.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(pid, None).is_ok() && !status.contains(") Z ")
}

async fn stopped_and_started_on_the_same_port() {
    let dir = tempfile::tempdir().expect("a directory");
    let child = NatsChild::start(config(dir.path())).await.expect("it starts");
    let (url, pid) = (child.url().to_owned(), pid_of(&child));
    assert!(url.starts_with("nats://127.0.0.1:"), "{url}");
    NatsTarget::plain(url.clone()).connect("test").await.expect("a producer is let in");
    let conf = dir.path().join("nats-server.conf");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&conf).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&conf).expect("text");
    assert!(!text.contains("store key"), "{text}");
    assert!(std::fs::read_to_string(dir.path().join("nats-server.log")).expect("a log").contains("Server is ready"));
    child.stop().await;
    assert!(!alive(pid), "stop waits until it is gone");

    let child = NatsChild::start(config(dir.path())).await.expect("it starts again");
    assert_eq!(child.url(), url);
    let pid = pid_of(&child);
    drop(child);
    assert!(!alive(pid), "dropping it ends it too");
}

async fn a_taken_port_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let outcome = NatsChild::start(ChildConfig { port: Some(port), ..config(dir.path()) }).await;
    let Err(error) = outcome else { panic!("it started on a taken port") };
    assert!(matches!(error, ServerError::PortTaken { port: found, .. } if found == port), "{error}");
}

async fn a_broken_configuration_tells_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    // The store can't be made where a file is.
    std::fs::create_dir_all(dir.path().join("store")).expect("a directory");
    std::fs::write(dir.path().join("store/jetstream"), "in the way").expect("a file");
    let outcome = NatsChild::start(config(dir.path())).await;
    let Err(ServerError::NotStarted { reason, .. }) = outcome else { panic!("it started") };
    assert_eq!(reason, "Can't start JetStream: storage directory is not a directory");
}

/// The failure story: we are killed with SIGKILL, nothing of ours runs any more, and the server must not stay behind.
fn killed_with_its_parent(runtime: &tokio::runtime::Runtime) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut parent = Command::new(std::env::current_exe().expect("a path"))
        .arg("parent")
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the parent starts");
    let mut line = String::new();
    BufReader::new(parent.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let pid = Pid::from_raw(line.trim().parse().expect("the server's process id"));
    assert!(alive(pid));
    // Threads of the parent come and go; the server must not go with one of them.
    std::thread::sleep(Duration::from_millis(300));
    assert!(alive(pid), "it lives as long as its parent");
    parent.kill().expect("killed");
    parent.wait().expect("gone");
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !alive(pid)
    });
    assert!(gone, "the server {pid} outlived its parent");
    let child = runtime.block_on(NatsChild::start(config(dir.path()))).expect("port and store are free at once");
    drop(child);
}

/// Starts a server from a thread that ends, prints its process id, and waits to be killed.
fn parent(dir: &Path) {
    let dir = dir.to_owned();
    let starting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(NatsChild::start(config(&dir))).expect("it starts")
    });
    let child = starting.join().expect("started");
    println!("{}", child.state().pid.expect("it runs"));
    std::thread::sleep(Duration::from_mins(1));
}

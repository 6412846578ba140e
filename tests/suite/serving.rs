//! How `upm serve` starts, refuses to start, and ends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::Value;
use upm_tests::{Server, nats_server, ok, run, upm, wait_for};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// `upm serve` has to end at once with exit code 2, and the first line of its complaint has to hold `reason`.
fn check_refusal(data: &Path, arguments: &[&str], reason: &str) {
    let free = if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
    let (code, _, err) = run(upm(["serve", "--data"]).arg(data).args(free).args(arguments));
    assert_eq!(code, 2, "{arguments:?}: {err}");
    let line = err.lines().find(|line| line.starts_with("upm: ")).unwrap_or_default();
    assert!(line.contains(reason), "expected {reason:?} in the one-line reason, found {err}");
}

fn nats_pids(data: &Path) -> Vec<i32> {
    let ours = data.to_str().expect("text");
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("nats-server") && line.contains(ours)
        })
        .collect()
}

#[test]
fn a_data_directory_has_one_owner() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    check_refusal(&data, &[], "in use");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_taken_port_is_named() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    check_refusal(&folder.path().join("data"), &["--listen", &address], &address);
}

#[test]
fn an_open_address_needs_a_person_to_mean_it() {
    let folder = folder();
    check_refusal(&folder.path().join("data"), &["--listen", "0.0.0.0:0"], "--insecure");
}

#[test]
fn a_missing_or_old_nats_server_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let data = folder.path().join("data");
    check_refusal(&data, &["--nats-server", "/nowhere/nats-server"], "/nowhere/nats-server");
    let old = folder.path().join("nats-server");
    std::fs::write(&old, "#!/bin/sh\necho 'nats-server: v2.9.10'\n").expect("written");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).expect("executable");
    check_refusal(&data, &["--nats-server", old.to_str().expect("text")], "2.9.10");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let data = folder.path().join("data");
    assert_eq!(Server::start(&data, &[]).stop(), 0);
    let key = data.join("keys/default.log.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("ours");
    check_refusal(&data, &[], "default.log.pem");
}

#[test]
fn an_unsound_name_is_refused() {
    let folder = folder();
    check_refusal(&folder.path().join("data"), &["--name", "a+b"], "a+b");
    check_refusal(&folder.path().join("data"), &["--tenant", "Not A Tenant"], "Not A Tenant");
}

#[test]
fn keys_are_private_and_openssl_reads_them() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let data = folder.path().join("data");
    assert_eq!(Server::start(&data, &[]).stop(), 0);
    for file in ["default.log.pem", "_ledger.log.pem", "default.dedupe", "admin.pem", "recovery.pem", "nats.key"] {
        let mode = std::fs::metadata(data.join("keys").join(file)).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    for file in ["default.log.pem", "admin.pem", "recovery.pem"] {
        let (code, _, err) = run(std::process::Command::new("openssl")
            .args(["pkey", "-noout", "-in"])
            .arg(data.join("keys").join(file)));
        assert_eq!(code, 0, "openssl reads {file}: {err}");
    }
}

/// Lines of one change come into the log in their order, posted or emitted, answered or only published.
#[test]
fn lines_of_a_change_keep_their_order() {
    let folder = folder();
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    // Five lines of each change; of the second half side by side with those of other changes.
    let lines = |run: &str| -> String {
        let line = |change: u32, at: u32| {
            format!(
                r#"{{"provisioning_event":{{"id":"{run}-{change}-{at}","change_id":"{run}-{change}","timestamp":"2026-05-04T11:00:00Z","phase":"plan","intent":{{"source":"api","initiator":"ada","tenant":"acme"}}}}}}"#
            ) + "\n"
        };
        let behind = (0..100).flat_map(|change| (0..5).map(move |at| line(change, at)));
        behind.chain((0..5).flat_map(|at| (100..200).map(move |change| line(change, at)))).collect()
    };
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", lines("post").as_bytes());
    assert_eq!(status, 200, "{body}");
    let file = folder.path().join("events.ndjson");
    let emit = |run: &str, more: &[&str]| {
        std::fs::write(&file, lines(run)).expect("written");
        ok(server.upm(&["emit"]).args(more).arg(&file));
    };
    emit("wait", &["--wait"]);
    emit("publish", &[]);
    emit("unchecked", &["--no-check"]);
    wait_for("all of them", || {
        let head = server.get("/logs/acme/checkpoint").1;
        (head.lines().nth(1) == Some("4001")).then_some(())
    });
    for run in ["post", "wait", "publish", "unchecked"] {
        for change in 0..200 {
            let events = server.json(&format!("/v1/tenants/acme/changes/{run}-{change}/events?at_least=4000"));
            let ids =
                events["events"].as_array().expect("events").iter().map(|event| event["id"].as_str().expect("an id"));
            let expected: Vec<String> = (0..5).map(|at| format!("{run}-{change}-{at}")).collect();
            assert_eq!(ids.collect::<Vec<_>>(), expected);
        }
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn sigterm_leaves_nothing_behind_and_the_port_stays() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let nats = server.nats().to_owned();
    assert_eq!(nats_pids(&data).len(), 1);
    assert_eq!(server.stop(), 0);
    assert!(!data.join("serve.json").exists(), "serve.json is there only while a server runs");
    assert_eq!(nats_pids(&data), Vec::<i32>::new());
    let server = Server::start(&data, &[]);
    assert_eq!(server.nats(), nats, "producers reconnect to the same address");
}

#[test]
fn sigkill_takes_the_nats_server_along() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    assert_eq!(nats_pids(&data).len(), 1);
    server.crash();
    wait_for("nats-server to be gone", || nats_pids(&data).is_empty().then_some(()));
}

#[test]
fn a_nats_server_that_dies_is_started_again() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let event = upm_tests::project().join("schemas/examples/model.json");
    let emit = |server: &Server| run(server.upm(&["emit", "--wait", "--json"]).arg(&event));
    let pid = nats_pids(&data)[0];
    kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("a child of our own server");
    wait_for("another nats-server", || nats_pids(&data).first().filter(|other| **other != pid).copied());
    // The example's tenant does not exist here: an answer at once shows that the road is open again.
    wait_for("the road to answer", || {
        let (_, out, err) = emit(&server);
        (out + &err).contains("upm tenant add acme").then_some(())
    });
    wait_for("readiness", || {
        let (status, body) = server.get("/readyz");
        let ready: Value = serde_json::from_str(&body).ok()?;
        (status == 200 && ready["ready"] == true).then_some(())
    });
}

/// It holds its connections and its port, and does nothing: only its silence tells.
#[test]
fn a_nats_server_that_hangs_for_good_is_killed_and_started_again() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let pid = nats_pids(&data)[0];
    kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).expect("a child of our own server");
    wait_for("readiness to say so", || {
        let (status, body) = server.get("/readyz");
        (status == 503 && body.contains("nats-server does not answer")).then_some(())
    });
    wait_for("another nats-server", || nats_pids(&data).first().filter(|other| **other != pid).copied());
    wait_for("readiness", || (server.get("/readyz").0 == 200).then_some(()));
    assert_eq!(server.stop(), 0);
}

/// Slow is not dead: a server that only gets a tenth of its time, in pieces, is waited for. Nothing is lost or doubled, nobody
/// starts it anew, and nothing is said of a road that was cut.
#[test]
fn a_nats_server_that_is_slow_is_waited_for() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--tenant", "acme"]);
    let pid = nats_pids(&data)[0];
    let slow = std::sync::atomic::AtomicBool::new(true);
    let event = |number: u32| {
        format!(
            r#"{{"provisioning_event":{{"id":"slow-{number}","timestamp":"2026-05-04T11:00:00Z","phase":"plan","intent":{{"source":"api","initiator":"ada","tenant":"acme"}}}}}}"#
        )
    };
    let indices = std::thread::scope(|scope| {
        let slowed = scope.spawn(|| {
            let child = Pid::from_raw(pid);
            while slow.load(std::sync::atomic::Ordering::Relaxed) {
                kill(child, nix::sys::signal::Signal::SIGSTOP).expect("a child of our own server");
                std::thread::sleep(std::time::Duration::from_millis(180));
                kill(child, nix::sys::signal::Signal::SIGCONT).expect("a child of our own server");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let mut indices = Vec::new();
        for first in (0..400).step_by(40) {
            let lines: Vec<String> = (first..first + 40).map(event).collect();
            let (status, body) =
                server.post("/v1/tenants/acme/events", "application/x-ndjson", lines.join("\n").as_bytes());
            assert_eq!(status, 200, "{body}");
            let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
            indices.extend(body.lines().map(line).map(|line| line["index"].as_u64().expect("an index")));
        }
        slow.store(false, std::sync::atomic::Ordering::Relaxed);
        slowed.join().expect("it ends");
        indices
    });
    assert_eq!(indices.iter().collect::<std::collections::BTreeSet<_>>().len(), 400, "each is an entry of its own");
    assert_eq!(nats_pids(&data), [pid], "it was not started anew");
    wait_for("readiness", || (server.get("/readyz").0 == 200).then_some(()));
    let (_, metrics) = server.get("/metrics");
    let figure = |name: &str| {
        metrics.lines().find(|line| line.starts_with(name)).map(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    for name in ["upm_epochs_total", "upm_gaps_total"] {
        let found = figure(name).flatten();
        assert!(found.as_deref().is_none_or(|found| found == "0"), "{name} {found:?}");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_tenant_is_added_while_serving_and_survives_a_restart() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let (code, _, err) = run(&mut server.upm(&["tenant", "add", "acme"]));
    assert_eq!(code, 0, "{err}");
    let event = upm_tests::project().join("schemas/examples/model.json");
    let (code, out, err) = run(server.upm(&["emit", "--wait", "--json"]).arg(&event));
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(server.stop(), 0);
    let server = Server::start(&data, &[]);
    let (code, out, _) = run(&mut server.upm(&["tenant", "list", "--json"]));
    assert_eq!(code, 0);
    assert!(out.contains("\"acme\"") && out.contains("\"default\""), "{out}");
    assert!(nats_server().exists());
}

/// What a connection says until the other end closes it; whoever never closes it fails the test.
fn until_closed(mut connection: TcpStream) -> String {
    connection.set_read_timeout(Some(upm_tests::PATIENCE)).expect("set");
    let mut text = String::new();
    connection.read_to_string(&mut text).expect("closed in time");
    text
}

/// Whoever sends a body slowly, or never, does not keep a connection; whoever sends it in time is answered as ever.
#[test]
fn a_body_that_does_not_arrive_is_not_waited_for() {
    let folder = folder();
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme", "--body-time", "1s"]);
    let address = server.http().strip_prefix("http://").expect("an address").to_owned();
    let begin = |path: &str, sent: &str| {
        let mut connection = TcpStream::connect(&address).expect("it listens");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{sent}"
        );
        connection.write_all(head.as_bytes()).expect("sent");
        connection
    };
    let paths = [
        "/v1/tenants/acme/events",
        "/v1/tenants/acme/proofs/inclusion",
        "/v1/tenants/acme/sql",
        "/v1/tenants/acme/maturity/row",
        "/v1/replica/position",
    ];
    // All at once: each waits its own second.
    let silent: Vec<_> = paths.iter().map(|path| (path, begin(path, "{"))).collect();
    let mut slow = begin(paths[0], "{");
    let trickle = std::thread::spawn(move || {
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(100));
            if slow.write_all(b" ").is_err() {
                break;
            }
        }
        until_closed_or_reset(slow)
    });
    for (path, connection) in silent {
        let told = until_closed(connection);
        assert!(told.starts_with("HTTP/1.1 408 "), "{path}: {told}");
        assert!(
            told.contains("application/problem+json") && told.contains("urn:upm-ledger:problem:too_slow"),
            "{told}"
        );
        assert!(told.contains("connection: close"), "{told}");
    }
    let told = trickle.join().expect("it ends");
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 408 "), "{told}");
    let (status, body) = server.post("/v1/tenants/acme/sql", "application/json", b"{\"sql\": \"SELECT 1\"}");
    assert_eq!(status, 200, "{body}");
    assert_eq!(server.stop(), 0);
    check_refusal(&folder.path().join("data"), &["--body-time", "0"], "--body-time");
}

/// Whoever sends the headers of a request slowly, or never, does not keep a connection either; nor does one who asks nothing more on it.
#[test]
fn headers_that_do_not_arrive_are_not_waited_for() {
    let folder = folder();
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme", "--body-time", "1s"]);
    let address = server.http().strip_prefix("http://").expect("an address").to_owned();
    let connect = || TcpStream::connect(&address).expect("it listens");
    let silent = connect();
    let mut idle = connect();
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).expect("sent");
    let mut slow = connect();
    slow.write_all(format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nx: ").as_bytes()).expect("sent");
    let trickle = std::thread::spawn(move || {
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(100));
            if slow.write_all(b"y").is_err() {
                break;
            }
        }
        until_closed_or_reset(slow)
    });
    assert!(until_closed(idle).starts_with("HTTP/1.1 200 "), "what was asked is answered");
    assert_eq!(until_closed(silent), "");
    let told = trickle.join().expect("it ends");
    assert!(!told.starts_with("HTTP/1.1 200 "), "{told}");
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.stop(), 0);
}

/// So many watch, and whoever comes then is told to come back; a place that is left is taken again.
#[test]
fn watchers_have_their_number() {
    let folder = folder();
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme", "--watchers", "2"]);
    let event = upm_tests::project().join("schemas/examples/model.json");
    ok(server.upm(&["emit", "--wait"]).arg(&event));
    let change = server.json("/v1/tenants/acme/changes")["changes"][0]["change"].as_str().expect("a change").to_owned();
    let address = server.http().strip_prefix("http://").expect("an address").to_owned();
    let watch = || {
        let mut connection = TcpStream::connect(&address).expect("it listens");
        let path = format!("/v1/tenants/acme/changes/{change}/watch");
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        connection.write_all(head.as_bytes()).expect("sent");
        connection.set_read_timeout(Some(upm_tests::PATIENCE)).expect("set");
        let mut begin = [0; 1024];
        let read = connection.read(&mut begin).expect("an answer");
        (connection, String::from_utf8_lossy(&begin[..read]).into_owned())
    };
    let (first, told) = watch();
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    let (_, told) = watch();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("retry-after: "), "{told}");
    assert!(told.contains("changes of tenant acme are watched by 1 already"), "{told}");
    drop(first);
    wait_for("the place to be free", || watch().1.starts_with("HTTP/1.1 200 ").then_some(()));
    assert_eq!(server.stop(), 0);
}

/// The same for one who goes on writing to a closed connection, and may lose the answer by that.
fn until_closed_or_reset(mut connection: TcpStream) -> String {
    connection.set_read_timeout(Some(upm_tests::PATIENCE)).expect("set");
    let mut told = Vec::new();
    match connection.read_to_end(&mut told) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => String::from_utf8_lossy(&told).into_owned(),
    }
}

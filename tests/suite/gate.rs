//! The gate and the approvals behind it, through the real binary: the shell block of `docs/gate.md`, an approval signed by `ssh-keygen`, the tenant's rule,
//! and `CloudEvents` that come over NATS in both of its bindings.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use upm_tests::{Server, ok, program, project, python, run};

fn serve() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--name", "gate", "--tenant", "acme"]);
    (folder, server)
}

/// Publishes one event as `producer`; gives the exit code.
fn emit(server: &Server, folder: &Path, producer: &str, phase: &str, change: &str, sections: &Value) -> i32 {
    let mut body = json!({"id": format!("{change}-{phase}-{producer}"), "change_id": change, "phase": phase,
        "timestamp": "2026-01-02T03:04:05Z", "intent": {"source": "api", "initiator": "ines", "tenant": "acme"}});
    for (name, section) in sections.as_object().expect("sections") {
        body[name] = section.clone();
    }
    let file = folder.join("event.json");
    std::fs::write(&file, json!({ "provisioning_event": body }).to_string()).expect("written");
    run(server.upm(&["emit", "--wait", "--producer", producer]).arg(&file)).0
}

#[test]
fn the_shell_of_the_how_to_runs_as_written() {
    let (folder, server) = serve();
    let page = std::fs::read_to_string(project().join("docs/gate.md")).expect("the page");
    let script = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("one shell block");
    let bin = program("upm");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", bin.parent().expect("a folder").display());
    let mut shell = Command::new("bash");
    shell.args(["-eu", "-c", script]).current_dir(folder.path()).env("PATH", path).env("UPM_DATA", server.data());
    let (code, out, err) = run(&mut shell);
    assert_eq!(code, 0, "{out}{err}");
    let order =
        ["stopped: nobody approved it", "go: gate-1", "deploying", "stop: gate-1", "stopped: that is another file"];
    let mut rest = out.as_str();
    for text in order {
        rest = rest.split_once(text).unwrap_or_else(|| panic!("{text}: {out}{err}")).1;
    }
}

#[test]
fn a_signed_approval_and_a_rule_that_asks_for_it() {
    for kind in ["ed25519", "ecdsa"] {
        signed_with(kind);
    }
}

fn signed_with(kind: &str) {
    let (folder, server) = serve();
    let at = |name: &str| folder.path().join(name);
    ok(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(at("bob")));
    let allow = format!("bob={}", at("bob.pub").display());
    ok(&mut server.upm(&["tenant", "rule", "acme", "--grade", "signed", "--allow", &allow]));
    let rule = ok(&mut server.upm(&["tenant", "rule", "acme"]));
    assert!(rule.contains("signed or better") && rule.contains("signer bob"), "{rule}");

    assert_eq!(emit(&server, folder.path(), "ci", "plan", "c-1", &json!({"plan": {"commands": ["a"]}})), 0);
    let change = server.json("/v1/tenants/acme/changes/c-1?at_least=0");
    let digest = change["attempts"][0]["plan_digest"].as_str().expect("a digest").to_owned();
    let mut approval = json!({"approver": "bob", "role": "owners", "decision": "approved", "at": "2026-01-02T03:04:05Z", "plan_digest": digest});
    let assert = || run(&mut server.upm(&["assert", "c-1", "--requires", "approved", "--tenant", "acme", "--json"]));
    let bound = json!({"preflight": {"approvals": [approval]}});
    assert_eq!(emit(&server, folder.path(), "chat", "preflight", "c-1", &bound), 0);
    let (code, out, err) = assert();
    assert_eq!(code, 1, "bound is less than signed: {out}{err}");

    let origin = server.vkey("acme").split('+').next().expect("an origin").to_owned();
    // RFC 8785 of plain text members is what serde_json prints of a sorted map.
    let statement = json!({"v": 1, "origin": origin, "change": "c-1", "plan_digest": digest, "approver": "bob", "role": "owners",
        "decision": "approved", "at": "2026-01-02T03:04:05Z"});
    std::fs::write(at("statement"), statement.to_string()).expect("written");
    ok(Command::new("ssh-keygen")
        .args(["-Y", "sign", "-q", "-n", "upm-approval", "-f"])
        .arg(at("bob"))
        .arg(at("statement")));
    approval["signature"] = std::fs::read_to_string(at("statement.sig")).expect("signed").into();
    let signed = json!({"preflight": {"approvals": [approval]}});
    assert_eq!(emit(&server, folder.path(), "bot", "preflight", "c-1", &signed), 0);
    let (code, out, err) = assert();
    assert_eq!(code, 0, "{out}{err}");
    let told = ok(&mut server.upm(&["change", "show", "c-1", "--tenant", "acme"]));
    assert!(told.contains("✓ signed   approved by bob as owners"), "{told}");
}

/// Something that stands before a server and counts what it answers.
fn counted(server: &Server) -> (String, Arc<AtomicUsize>) {
    let upstream = server.http().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answers = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answers);
    std::thread::spawn(move || {
        for asker in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&upstream) else { return };
            let (mut from, mut to) = (asker.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
            let (mut asker, mut server, count) = (asker, server, Arc::clone(&count));
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(read @ 1..) = server.read(&mut piece) {
                    if asker.write_all(&piece[..read]).is_err() {
                        break;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
                let _ = asker.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (url, answers)
}

#[test]
fn a_gate_waits_while_it_may_still_open() {
    let (folder, server) = serve();
    let emit = |phase: &str, change: &str, sections: &Value| {
        // Who plans is not who approves.
        let producer = if phase == "plan" { "ci" } else { "chat" };
        assert_eq!(emit(&server, folder.path(), producer, phase, change, sections), 0);
    };
    let plan = json!({"plan": {"commands": ["a"]}});
    let decided = |decision: &str| json!({"preflight": {"approvals": [{"approver": "bob", "role": "owners", "decision": decision, "at": "2026-01-02T03:04:05Z"}]}});
    // It holds while somebody waits.
    emit("plan", "c-1", &plan);
    let (url, answers) = counted(&server);
    let mut waiting =
        server.upm(&["assert", "c-1", "--requires", "planned,approved", "--wait", "10m", "--tenant", "acme"]);
    let mut waiting = waiting.env("UPM_SERVER", url).stdout(Stdio::piped()).spawn().expect("started");
    upm_tests::wait_for("a first no", || (answers.load(Ordering::SeqCst) > 0).then_some(()));
    assert!(waiting.try_wait().expect("a child").is_none(), "it waits");
    emit("preflight", "c-1", &decided("approved"));
    upm_tests::wait_for("the gate to open", || waiting.try_wait().expect("a child"));
    let out = waiting.wait_with_output().expect("ended");
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.code() == Some(0) && told.starts_with("go: c-1"), "{told}");

    // What was refused can hold no more: nobody waits for it.
    emit("plan", "c-2", &plan);
    emit("preflight", "c-2", &decided("rejected"));
    let since = Instant::now();
    let ask = |change: &str, wait: &str| {
        run(&mut server.upm(&[
            "assert",
            change,
            "--requires",
            "approved",
            "--wait",
            wait,
            "--tenant",
            "acme",
            "--json",
        ]))
    };
    let (code, out, err) = ask("c-2", "10m");
    let verdict: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &verdict["open"]), (1, &json!(false)), "{out}{err}");
    assert!(since.elapsed() < upm_tests::PATIENCE, "{:?}", since.elapsed());

    // The time is over.
    let since = Instant::now();
    let (code, out, err) = ask("c-3", "2s");
    let verdict: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &verdict["open"]), (1, &json!(true)), "{out}{err}");
    assert!(since.elapsed() >= Duration::from_secs(2), "{:?}", since.elapsed());
}

#[test]
fn bad_questions_say_what_there_is() {
    let (_folder, server) = serve();
    let ask = |words: &[&str]| run(&mut server.upm(&[&["assert", "c-1", "--tenant", "acme"], words].concat()));
    let (code, _, err) = ask(&["--requires", "aproved"]);
    assert!(code == 2 && err.contains("aproved") && err.contains("planned, approved"), "{code} {err}");
    let (code, _, err) = ask(&["--plan-digest", "sha256:12"]);
    assert!(code == 2 && err.contains("64 hexadecimal digits"), "{code} {err}");
    let (code, out, _) = ask(&["--requires", "planned"]);
    assert!(code == 1 && out.contains("Nothing is on record"), "{code} {out}");
    let (code, _, err) = run(&mut server.upm(&["tenant", "rule", "acme", "--grade", "claimed"]));
    assert!(code == 2 && err.contains("recorded, bound or signed"), "{code} {err}");
    let rsa = format!("bob={}", project().join("ledger/testdata/ssh/rsa.pub").display());
    let (code, _, err) = run(&mut server.upm(&["tenant", "rule", "acme", "--allow", &rsa]));
    assert!(
        code == 2 && err.contains("\"ssh-rsa\" is not supported") && err.contains("ecdsa-sha2-nistp256"),
        "{code} {err}"
    );
    let (code, _, err) = run(&mut server.upm(&["tenant", "set", "acme", "approval.count=two"]));
    assert!(code == 2 && err.contains("a number from 1 to 64"), "{code} {err}");
}

#[test]
fn cloudevents_in_both_nats_bindings_become_events() {
    let (_folder, server) = serve();
    // The bus of a pipeline: the ledger's own NATS takes nothing but events.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let url = format!("nats://127.0.0.1:{port}");
    let mut bus = Command::new(upm_tests::nats_server());
    let mut bus = bus
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    upm_tests::wait_for("the bus", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let mut listening = server
        .upm(&[
            "adapt",
            "cloudevents",
            "--subscribe",
            "ci.events.>",
            "--from",
            &url,
            "--emit",
            "--producer",
            "ci",
            "--count",
            "3",
            "--tenant",
            "acme",
            "--json",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = String::new();
    let mut err = std::io::BufReader::new(listening.stderr.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut err, &mut said).expect("a line");
    assert!(said.contains("listening to ci.events.>"), "{said}");

    let structured = json!({"specversion": "1.0", "id": "s-1", "source": "/ci", "type": "com.example.execute", "time": "2026-01-02T03:04:06Z",
        "data": {"change_id": "ce-1", "execution": {"steps": [{"cmd": "deploy", "rc": 0}]}}});
    let data = json!({"change_id": "ce-1", "plan": {"commands": ["deploy"]}});
    let mut publish = python("cloudevents.py");
    ok(publish.args([&url, &structured.to_string(), &data.to_string()]));
    let out = listening.wait_with_output().expect("ended");
    bus.kill().and_then(|()| bus.wait()).expect("ended");
    let out_text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(1), "the third is none: {out_text}");
    let lines: Vec<Value> = out_text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let status: Vec<_> = lines.iter().map(|line| line["status"].as_str().unwrap_or_default()).collect();
    assert_eq!(status, ["accepted", "accepted", "unfit"], "{out_text}");
    let change = server.json(&format!("/v1/tenants/acme/changes/ce-1?at_least={}", lines[1]["index"]));
    assert_eq!(change["state"], "executed", "{change}");
    assert_eq!(change["timeline"][0]["producer"], "ci");
    assert_eq!(change["timeline"][1]["phase"], "plan", "{change}");
}

//! Logs that are kept by reference: put by `upm emit --attach` or by a client that is not ours, taken in by the ledger, found again in packs and
//! backups; and what happens where they are not there, not what they should be, or where the server dies in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ledger::hash;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use upm_tests::{Server, ok, python, run, upm, wait_for};

/// What taking in, packing and serving a log may take beside what the server has: far less than the log.
const MEMORY_KIB_MAX: u64 = 32 * 1024;
/// What a verifier may take.
const VERIFIER_KIB_MAX: u64 = 64 * 1024;

/// An event of one step.
#[expect(clippy::needless_pass_by_value, reason = "every caller writes the step in place")]
fn event(tenant: &str, change: &str, step: Value) -> String {
    json!({"provisioning_event": {
        "id": format!("e-{change}"), "change_id": change, "timestamp": "2026-05-04T09:00:00Z", "phase": "execute",
        "intent": {"source": "api", "initiator": "ines", "tenant": tenant}, "execution": {"steps": [step]},
    }})
    .to_string()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn reference(bucket: &str, name: &str, bytes: &[u8]) -> String {
    format!("obs://{bucket}/{name}?size={}#sha256:{}", bytes.len(), sha256(bytes))
}

fn publish(server: &Server, tenant: &str, event: &str) {
    let (status, body) = server.post(&format!("/v1/tenants/{tenant}/events"), "application/json", event.as_bytes());
    assert_eq!(status, 200, "{body}");
}

/// The change's one log, once it stands as it should.
fn log_that_is(server: &Server, tenant: &str, change: &str, standing: &str) -> Value {
    wait_for(&format!("the log of {change} to be {standing}"), || {
        let logs = server.json(&format!("/v1/tenants/{tenant}/changes/{change}/logs"));
        logs["logs"].as_array().expect("a list").iter().find(|log| log["standing"] == standing).cloned()
    })
}

/// The URL of the child's NATS with the service's own user, who may read object stores.
fn service_url(server: &Server) -> String {
    let key = fs::read_to_string(server.data().join("keys/nats.key")).expect("readable");
    let password = hash::leaf(format!("upm nats service user\0{}", key.trim()).as_bytes());
    server.nats().replace("nats://", &format!("nats://upm:{password}@"))
}

/// By nats-py.
fn object(server: &Server, what: &str, name: &str, file: &Path) -> Command {
    let mut command = python("object.py");
    command.args([what, &service_url(server), "upm-acme", name]).arg(file);
    command
}

/// A command that may fail for as long as the object store of a new tenant is being made.
fn object_when_there(server: &Server, what: &str, name: &str, file: &Path) {
    wait_for("the object store", || (run(&mut object(server, what, name, file)).0 == 0).then_some(()));
}

fn memory_kib(server: &Server, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let found = status.lines().find_map(|found| found.strip_prefix(line)).expect("Linux says so");
    found.trim_start_matches(':').split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// By the small verifier, held to its memory by the system: exit code and report.
fn verified(pack: &Path, key: &str) -> (i32, String) {
    let script = format!("ulimit -v {VERIFIER_KIB_MAX}; exec \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(upm_tests::program("upm-verify")).arg(pack).args(["--key", key]);
    let (code, report, _) = run(&mut command);
    (code, report)
}

fn pack(server: &Server, change: &str, at: &[&str], to: &Path) {
    ok(server.upm(&["pack", change, "--tenant", "acme"]).args(at).arg("-o").arg(to));
}

fn object_file(data: &Path, hex: &str) -> PathBuf {
    data.join("objects/acme").join(&hex[..2]).join(hex)
}

#[test]
fn a_log_of_50_mib_goes_by_reference_into_its_pack() {
    let temp = tempfile::tempdir().expect("a folder");
    let server = Server::start(&temp.path().join("data"), &["--tenant", "acme"]);
    let log: Vec<u8> = (0..1_200_000_u32)
        .flat_map(|line| format!("step 1 wrote line {line:>12} of its log ...\n").into_bytes())
        .collect();
    assert!(log.len() > 50 << 20, "{} bytes", log.len());
    let (file, sent) = (temp.path().join("build.log"), temp.path().join("event.json"));
    fs::write(&file, &log).expect("written");
    fs::write(&sent, event("acme", "c-log", json!({"cmd": "make all", "rc": 0}))).expect("written");
    let resident = memory_kib(&server, "VmRSS");
    // The peak is measured from here.
    fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("our own process");
    ok(server.upm(&["emit", "--wait", "--attach"]).arg(&file).arg(&sent));
    let found = log_that_is(&server, "acme", "c-log", "here");
    assert_eq!((found["size"].as_u64(), found["sha256"].as_str()), (Some(log.len() as u64), Some(&*sha256(&log))));
    let shown = ok(&mut server.upm(&["change", "show", "c-log", "--tenant", "acme"]));
    assert!(shown.contains("logs kept by reference: 1 here"), "{shown}");
    let zip = temp.path().join("log.zip");
    pack(&server, "c-log", &[], &zip);
    let took = memory_kib(&server, "VmHWM").saturating_sub(resident);
    assert!(took <= MEMORY_KIB_MAX, "{took} KiB for a log of {} bytes", log.len());

    let (code, report) = verified(&zip, server.vkey("acme"));
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("1 of 1 are here, with the digests that the events name  [objects.digests]"), "{report}");
    let unzipped = Command::new("unzip").arg("-p").arg(&zip).arg(format!("logs/objects/{}", sha256(&log))).output();
    assert!(unzipped.expect("unzip runs").stdout == log, "the pack holds other bytes");
    // The page of the change has it, too, and the object store no more.
    let (status, body) = server.get(&format!("/tenants/acme/changes/c-log/logs/objects/{}", sha256(&log)));
    assert_eq!((status, body.len()), (200, log.len()));
    let gone = run(&mut object(&server, "get", &sha256(&log), &temp.path().join("none")));
    assert_eq!(gone.0, 1, "it was taken out: {gone:?}");
    // Its bytes are checked wherever it lies.
    let data = server.data().to_path_buf();
    assert_eq!(server.stop(), 0);
    ok(upm(["fsck", "--data"]).arg(&data));
}

#[test]
fn what_is_not_there_or_not_it_is_missing_with_a_reason() {
    let temp = tempfile::tempdir().expect("a folder");
    let arguments = ["--tenant", "acme", "--tenant", "beta", "--object-patience", "2s", "--object-bytes", "4K"];
    let server = Server::start(&temp.path().join("data"), &arguments);
    let file = temp.path().join("file");
    let put = |name: &str, bytes: &[u8]| {
        fs::write(&file, bytes).expect("written");
        object_when_there(&server, "put", name, &file);
    };
    put("other.log", b"other bytes");
    put("short.log", b"short");
    put("large.log", &[b'x'; 5000]);
    put("fine.log", b"all is well\n");
    let step = |reference: String| json!({"rc": 0, "stdout_ref": reference});
    let cases = [
        ("c-none", reference("upm-acme", "none.log", b"never put"), "not found in upm-acme: no object none.log"),
        ("c-other", reference("upm-acme", "other.log", b"OTHER bytes"), "its bytes have SHA-256"),
        ("c-short", reference("upm-acme", "short.log", b"shorter than that"), "it has 5 bytes, expected 17"),
        (
            "c-large",
            reference("upm-acme", "large.log", &[b'x'; 5000]),
            "too large: it has 5000 bytes, and at most 4096 are taken",
        ),
    ];
    for (change, reference, _) in &cases {
        publish(&server, "acme", &event("acme", change, step(reference.clone())));
    }
    for (change, _, expect) in &cases {
        let found = log_that_is(&server, "acme", change, "missing");
        assert!(found["why"].as_str().is_some_and(|why| why.contains(expect)), "{change}: {found}");
    }
    // A pack says so, and holds all the same.
    let zip = temp.path().join("none.zip");
    pack(&server, "c-none", &[], &zip);
    let (code, report) = verified(&zip, server.vkey("acme"));
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("1 log that events refer to by digest is not in this pack"), "{report}");
    assert!(report.contains("0 of 1 are here"), "{report}");
    let told = ok(&mut server.upm(&["change", "logs", "c-none", "--tenant", "acme"]));
    assert!(told.contains("missing") && told.contains("not found in upm-acme"), "{told}");

    // A client that is not ours, an object under a name of its own, and a second event that refers to what was missing before.
    publish(&server, "acme", &event("acme", "c-fine", step(reference("upm-acme", "fine.log", b"all is well\n"))));
    log_that_is(&server, "acme", "c-fine", "here");
    put("none.log", b"never put");
    let again =
        event("acme", "c-none", step(reference("upm-acme", "none.log", b"never put"))).replace("e-c-none", "e-again");
    publish(&server, "acme", &again);
    log_that_is(&server, "acme", "c-none", "here");

    // What another tenant left is nobody else's, whoever knows its digest.
    put("mine.log", b"of acme alone\n");
    publish(&server, "beta", &event("beta", "c-spy", step(reference("upm-acme", "mine.log", b"of acme alone\n"))));
    publish(&server, "beta", &event("beta", "c-spy2", step(reference("upm-beta", "fine.log", b"all is well\n"))));
    log_that_is(&server, "beta", "c-spy2", "missing");
    log_that_is(&server, "beta", "c-spy", "elsewhere");
    assert_eq!(server.stop(), 0);
}

/// Somebody names the digest of a log that is still on its way, with another length, and with a name under which nothing lies.
#[test]
fn a_wrong_reference_does_not_hide_a_right_one() {
    let temp = tempfile::tempdir().expect("a folder");
    let server = Server::start(&temp.path().join("data"), &["--tenant", "acme"]);
    let bytes = b"what was printed\n";
    let right = reference("upm-acme", "late.log", bytes);
    let longer = right.replace("size=17", "size=18");
    assert_ne!(longer, right);
    let nowhere = reference("upm-acme", "nobody.log", bytes);
    for (change, reference) in [("c-right", &right), ("c-longer", &longer), ("c-nowhere", &nowhere)] {
        publish(&server, "acme", &event("acme", change, json!({"rc": 0, "stdout_ref": reference})));
        log_that_is(&server, "acme", change, "waiting");
    }
    let file = temp.path().join("file");
    fs::write(&file, bytes).expect("written");
    object_when_there(&server, "put", "late.log", &file);
    log_that_is(&server, "acme", "c-right", "here");
    log_that_is(&server, "acme", "c-nowhere", "here");
    let found = log_that_is(&server, "acme", "c-longer", "missing");
    assert_eq!(found["why"], "the object with this digest has 17 bytes");
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_emit_puts_is_an_object_to_others() {
    let temp = tempfile::tempdir().expect("a folder");
    // Nothing is taken out of the object store here, so that another client can look at it.
    let server = Server::start(&temp.path().join("data"), &["--tenant", "acme", "--object-bytes", "1"]);
    let log = "a line of text\n".repeat(50_000).into_bytes();
    let (file, got) = (temp.path().join("err.log"), temp.path().join("got"));
    fs::write(&file, &log).expect("written");
    let build = ["emit", "--tenant", "acme", "--phase", "execute", "--change", "c-built", "--initiator", "ines"];
    let mut emit = server.upm(&build);
    let steps = r#"execution={"steps":[{"cmd":"a","rc":0},{"cmd":"b","rc":1}]}"#;
    ok(emit.args(["--section", steps, "--wait", "--attach"]).arg(format!("2.stderr={}", file.display())));
    let found = log_that_is(&server, "acme", "c-built", "missing");
    assert_eq!((found["step"].as_u64(), found["stream"].as_str()), (Some(2), Some("stderr")), "{found}");
    object_when_there(&server, "get", &sha256(&log), &got);
    assert!(fs::read(&got).expect("readable") == log, "nats-py found other bytes");

    // Whoever gives no credentials may put, and not read: what another left is none of theirs.
    let mut plain = python("object.py");
    let (code, _, told) =
        run(plain.args(["get", server.nats(), "upm-acme", &sha256(&log)]).arg(temp.path().join("none")));
    assert_ne!(code, 0, "{told}");
    assert!(!temp.path().join("none").exists(), "{told}");

    for (attach, expect) in [("9=x", "none with number 9"), ("1=/nowhere/at/all", "can't read /nowhere/at/all")] {
        let attach = attach.replace("=x", &format!("={}", file.display()));
        let (code, _, told) = run(server.upm(&build).args(["--section", steps, "--attach", &attach]));
        assert_eq!(code, 2, "{told}");
        assert!(told.contains(expect), "{told}");
    }
    // Over HTTP there is no way for it; the event is not sent without what it refers to.
    let mut apart = upm(["emit", "--server", server.http(), "--data", "/nowhere"]);
    let (code, _, told) =
        run(apart.args(&build[1..]).args(["--section", steps, "--attach"]).arg(format!("1={}", file.display())));
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("travels over NATS"), "{told}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn sigkill_between_event_and_object_loses_neither() {
    let temp = tempfile::tempdir().expect("a folder");
    let data = temp.path().join("data");
    let (file, sent) = (temp.path().join("log"), temp.path().join("event.json"));
    let log_of = |round: usize| format!("round {round}: a line that is long enough\n").repeat(200_000).into_bytes();
    // The event is confirmed, and the object somewhere between its store and ours.
    for round in 0..4 {
        let server = Server::start(&data, &["--tenant", "acme"]);
        fs::write(&file, log_of(round)).expect("written");
        fs::write(&sent, event("acme", &format!("c-{round}"), json!({"rc": 0}))).expect("written");
        ok(server.upm(&["emit", "--wait", "--attach"]).arg(&file).arg(&sent));
        std::thread::sleep(Duration::from_millis(40 * round as u64));
        server.crash();
    }
    // And an event whose object comes only after the crash.
    let server = Server::start(&data, &["--tenant", "acme"]);
    let late = b"put after the crash\n";
    publish(
        &server,
        "acme",
        &event("acme", "c-late", json!({"rc": 0, "stdout_ref": reference("upm-acme", "late.log", late)})),
    );
    log_that_is(&server, "acme", "c-late", "waiting");
    server.crash();
    let server = Server::start(&data, &["--tenant", "acme"]);
    fs::write(&file, late).expect("written");
    object_when_there(&server, "put", "late.log", &file);
    log_that_is(&server, "acme", "c-late", "here");
    for round in 0..4 {
        log_that_is(&server, "acme", &format!("c-{round}"), "here");
        let found = fs::read(object_file(&data, &sha256(&log_of(round)))).expect("it is here");
        assert!(found == log_of(round), "round {round}: other bytes");
    }
    assert_eq!(server.stop(), 0);
    ok(upm(["fsck", "--data"]).arg(&data));
    assert!(!data.join("objects/acme/partial").exists(), "nothing half copied stays");
}

#[test]
fn objects_are_backed_up_checked_and_restored() {
    let temp = tempfile::tempdir().expect("a folder");
    let data = temp.path().join("data");
    let (file, sent) = (temp.path().join("log"), temp.path().join("event.json"));
    let server = Server::start(&data, &["--tenant", "acme"]);
    let logs = [b"the first log\n".to_vec(), b"the second log\n".to_vec()];
    for (number, log) in logs.iter().enumerate() {
        fs::write(&file, log).expect("written");
        fs::write(&sent, event("acme", &format!("c-{number}"), json!({"rc": 0}))).expect("written");
        ok(server.upm(&["emit", "--wait", "--attach"]).arg(&file).arg(&sent));
        log_that_is(&server, "acme", &format!("c-{number}"), "here");
    }
    let first = temp.path().join("first.zip");
    pack(&server, "c-0", &["--at", "3"], &first);
    let backup = temp.path().join("backup");
    let made: Value =
        serde_json::from_str(&ok(server.upm(&["backup", "--with-keys", "--json"]).arg(&backup))).expect("JSON");
    assert_eq!((made["objects"].as_u64(), made["damaged_objects"].clone()), (Some(2), json!([])), "{made}");
    let made: Value =
        serde_json::from_str(&ok(server.upm(&["backup", "--with-keys", "--json"]).arg(&backup))).expect("JSON");
    assert_eq!(made["objects"], 0, "only what is new: {made}");
    assert_eq!(server.stop(), 0);

    // A flipped bit is found, named, and not carried on.
    let damaged = object_file(&backup, &sha256(&logs[1]));
    fs::write(&damaged, b"the second log!").expect("written");
    let (code, told, _) = run(upm(["fsck", "--store"]).arg(&backup));
    assert_eq!(code, 1, "{told}");
    assert!(told.contains(&sha256(&logs[1])) && told.contains("from a backup"), "{told}");
    let restored = temp.path().join("restored");
    let told = ok(upm(["restore", "--data"]).arg(&restored).arg(&backup));
    assert!(
        told.contains("1 objects copied and checked") && told.contains("left behind, because it is damaged"),
        "{told}"
    );
    let server = Server::start(&restored, &["--tenant", "acme"]);
    log_that_is(&server, "acme", "c-0", "here");
    let again = temp.path().join("again.zip");
    pack(&server, "c-0", &["--at", "3"], &again);
    assert!(
        fs::read(&first).expect("readable") == fs::read(&again).expect("readable"),
        "the same pack of the restored ledger"
    );
    assert_eq!(server.stop(), 0);
    ok(upm(["fsck", "--data"]).arg(&restored));

    // The next backup looks at what it holds already, and copies anew what rotted.
    let mut backup_again = upm(["backup", "--with-keys", "--json", "--data"]);
    let made: Value = serde_json::from_str(&ok(backup_again.arg(&data).arg(&backup))).expect("JSON");
    assert_eq!((made["objects"].as_u64(), made["damaged_objects"].clone()), (Some(1), json!([])), "{made}");
    ok(upm(["fsck", "--store"]).arg(&backup));
    // A restore that is refused brings none.
    let other = temp.path().join("other");
    fs::create_dir_all(other.join("keys")).expect("made");
    fs::write(other.join("keys/acme.dedupe"), "another").expect("written");
    let (code, _, told) = run(upm(["restore", "--data"]).arg(&other).arg(&backup));
    assert!(code == 2 && told.contains("another key is there already"), "{code} {told}");
    assert!(!other.join("objects").exists());
}

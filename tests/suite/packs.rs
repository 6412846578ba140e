//! The story of a change that is larger than the memory its pack may take: streamed by the server, fetched over a connection that breaks off
//! again and again, and verified. And of one that has more entries than any pack holds.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use upm_tests::{Server, ok, run, upm};

/// What a pack may take, and what the store caches while it is read twice.
const MEMORY_KIB_MAX: u64 = 64 * 1024;
const CACHE_KIB_MAX: u64 = 64 * 1024;

/// An event of some 900 kB, which a pack has four times.
fn long_event(number: u32) -> String {
    let lines: Vec<_> = (0..22_000).map(|line| format!("{number} wrote line {line} of its output ....\n")).collect();
    let printed = lines.concat();
    let steps = [json!({"cmd": "undo", "rc": 0, "stdout": printed})];
    json!({"provisioning_event": {
        "id": format!("e-{number}"), "change_id": "c-long", "timestamp": "2025-05-01T10:00:00Z", "phase": "execute",
        "intent": {"source": "api", "initiator": "ada", "tenant": "acme"}, "rollback": {"executed": {"steps": steps}},
    }})
    .to_string()
}

/// Kibibytes of a line of `/proc/PID/status`.
fn memory_kib(server: &Server, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let found = status.lines().find_map(|found| found.strip_prefix(line)).expect("Linux says so");
    found.trim_start_matches(':').split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Something between client and server that ends each answer after so many bytes, and hears what is asked.
struct Breaking {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Breaking {
    fn before(server: &Server, after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let target = server.http().trim_start_matches("http://").to_owned();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&target)) else { return };
                let heard = Arc::clone(&heard);
                thread::spawn(move || relay(&client, server, after, heard));
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked").clone()
    }
}

/// One connection: requests as they come, heard before they are passed on, and the beginning of what is answered.
fn relay(client: &TcpStream, server: TcpStream, after: u64, asked: Arc<Mutex<Vec<String>>>) {
    let (mut from_client, mut to_server) =
        (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = from_client.read(&mut piece) {
            asked.lock().expect("nobody panicked").push(String::from_utf8_lossy(&piece[..read]).into_owned());
            if to_server.write_all(&piece[..read]).is_err() {
                break;
            }
        }
    });
    // Whatever breaks here is meant to.
    let _ = std::io::copy(&mut server.take(after), &mut &*client);
    let _ = client.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_long_pack_is_streamed_and_its_download_goes_on() {
    let temp = tempfile::tempdir().expect("a folder");
    let server = Server::start(&temp.path().join("data"), &["--tenant", "acme"]);
    for number in 0..60 {
        let (status, body) = server.post("/v1/tenants/acme/events", "application/json", long_event(number).as_bytes());
        assert_eq!(status, 200, "{body}");
    }
    let pack = temp.path().join("long.zip");
    let resident = memory_kib(&server, "VmRSS");
    // The peak is measured from here.
    fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("our own process");
    let breaking = Breaking::before(&server, 90_000_000);
    let arguments = ["pack", "c-long", "--tenant", "acme", "--server", &breaking.url, "-o"];
    ok(upm(arguments).arg(&pack));
    let took = memory_kib(&server, "VmHWM").saturating_sub(resident);
    let bytes = fs::metadata(&pack).expect("it is there").len();
    assert!(bytes > 200_000_000, "{bytes} bytes");
    assert!(took <= MEMORY_KIB_MAX + CACHE_KIB_MAX, "{took} KiB for a pack of {bytes} bytes");
    let asked = breaking.asked();
    let resumed = asked.iter().filter(|asked| asked.to_ascii_lowercase().contains("\r\nrange: bytes=")).count();
    assert!(resumed >= 2, "{asked:?}");
    assert_eq!(
        fs::read_dir(temp.path()).expect("a folder").count(),
        3,
        "data, its log and the pack, and nothing partial"
    );

    let straight = temp.path().join("straight.zip");
    ok(server.upm(&["pack", "c-long", "--tenant", "acme", "-o"]).arg(&straight));
    assert!(fs::read(&straight).expect("it is there") == fs::read(&pack).expect("it is there"), "other bytes");
    let key = server.vkey("acme").to_owned();
    assert_eq!(verified(&pack, &key), 0);
}

/// By the small verifier, held to its memory by the system.
fn verified(pack: &Path, key: &str) -> i32 {
    let script = format!("ulimit -v {MEMORY_KIB_MAX}; exec \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(upm_tests::program("upm-verify")).arg(pack).args(["--key", key]);
    run(&mut command).0
}

#[test]
fn a_change_with_too_many_entries_is_told_so() {
    let temp = tempfile::tempdir().expect("a folder");
    let server = Server::start(&temp.path().join("data"), &["--tenant", "acme"]);
    let event = |number: u32| {
        json!({"provisioning_event": {
            "id": format!("e-{number}"), "change_id": "c-many", "timestamp": "2025-05-01T10:00:00Z", "phase": "execute",
            "intent": {"source": "api", "initiator": "ada", "tenant": "acme"},
        }})
    };
    for batch in 0..44_u32 {
        let lines: Vec<_> = (0..500).map(|number| format!("{}\n", event(batch * 500 + number))).collect();
        let lines = lines.concat();
        let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", lines.as_bytes());
        assert_eq!(status, 200, "{body}");
    }
    let (status, body) = server.get("/v1/tenants/acme/changes/c-many/evidence.zip");
    let problem: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, problem["type"].as_str()), (422, Some("urn:upm-ledger:problem:too_large")), "{body}");
    let pack = temp.path().join("many.zip");
    let (code, _, told) = run(server.upm(&["pack", "c-many", "--tenant", "acme", "-o"]).arg(&pack));
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("the change has 22000 entries, a pack holds at most 21824"), "{told}");
    // As of an earlier size there is one.
    ok(server.upm(&["pack", "c-many", "--tenant", "acme", "--at", "1000", "-o"]).arg(&pack));
}

/// A plan, taken in.
fn plan(server: &Server, tenant: &str, change: &str, id: &str) {
    let event = json!({"provisioning_event": {"id": id, "change_id": change, "timestamp": "2025-05-01T10:00:00Z", "phase": "plan",
        "intent": {"source": "api", "initiator": "ada", "tenant": tenant}, "plan": {"commands": ["true"]}}});
    let path = format!("/v1/tenants/{tenant}/events");
    let (status, body) = server.post(&path, "application/json", event.to_string().as_bytes());
    assert_eq!(status, 200, "{body}");
}

/// Range and tag are of one pack, whatever comes into the log meanwhile.
#[test]
fn a_part_of_a_pack_is_of_the_same_pack_while_its_log_grows() {
    let temp = tempfile::tempdir().expect("a folder");
    let server = Server::start(&temp.path().join("data"), &["--tenant", "acme"]);
    plan(&server, "acme", "c-1", "e-1");
    let (head, body) = (temp.path().join("head"), temp.path().join("body"));
    let fetch = |query: &str, headers: &[String]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-D"]).arg(&head).arg("-o").arg(&body);
        for header in headers {
            curl.args(["-H", header.as_str()]);
        }
        // There is no body where none is sent.
        fs::write(&body, b"").expect("written");
        ok(curl.arg(format!("{}/v1/tenants/acme/changes/c-1/evidence.zip{query}", server.http())));
        let said = fs::read_to_string(&head).expect("readable");
        let status: u16 = said.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let value = |name: &str| {
            let mut lines = said.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        (status, value("etag"), value("location"), fs::read(&body).expect("readable"))
    };
    let (status, tag, _, whole) = fetch("?at=2", &[]);
    assert_eq!(status, 200);
    let tag = tag.expect("a tag");
    plan(&server, "acme", "c-1", "e-2");
    let (status, again, _, part) = fetch("?at=2", &["Range: bytes=1000-".to_owned(), format!("If-Range: {tag}")]);
    assert_eq!((status, again.as_deref()), (206, Some(tag.as_str())));
    assert!(part == whole[1000..], "the rest of the same bytes");
    assert_eq!(fetch("?at=2", &[format!("If-None-Match: {tag}")]).0, 304);
    // The newest is another one, under a name and a tag of its own, of which a part of the first is none.
    let (status, _, location, _) = fetch("", &[]);
    let place = location.expect("a place");
    assert!(status == 302 && place.ends_with("?at=3"), "{status} {place}");
    let (status, newest, _, other) = fetch("?at=3", &["Range: bytes=1000-".to_owned(), format!("If-Range: {tag}")]);
    assert!(status == 200 && newest.is_some_and(|newest| newest != tag) && other != whole, "{status}");
}

/// What is asked for wrongly, through the real program: a sentence that says what to do, an exit code, and no file. What another tenant has is
/// answered like what nobody has.
#[test]
fn what_cannot_be_packed_says_why_and_leaves_nothing() {
    let temp = tempfile::tempdir().expect("a folder");
    let server = Server::start(&temp.path().join("data"), &["--tenant", "acme", "--tenant", "beta"]);
    for (tenant, change) in [("acme", "c-mine"), ("beta", "c-theirs")] {
        plan(&server, tenant, change, "e-1");
    }
    let pack = temp.path().join("new.zip");
    let pack = pack.to_str().expect("text");
    let asked = |arguments: &[&str]| {
        let (code, out, err) = run(server.upm(&["pack"]).args(arguments));
        assert!(!Path::new(pack).exists(), "{arguments:?}: a file was left");
        (code, format!("{out}{err}"))
    };
    let unknown = asked(&["c-nobodys", "--tenant", "acme", "-o", pack]);
    assert_eq!(unknown, (1, "upm: tenant acme has no change c-nobodys\n".to_owned()));
    let theirs = asked(&["c-theirs", "--tenant", "acme", "-o", pack]);
    assert_eq!((theirs.0, theirs.1.replace("c-theirs", "c-nobodys")), unknown);
    for query in ["", "?at=2", "?with_headers", "?at=2&with_headers"] {
        let answer = |change: &str| {
            let (status, body) = server.get(&format!("/v1/tenants/acme/changes/{change}/evidence.zip{query}"));
            (status, body.replace(change, "ID"))
        };
        assert_eq!(answer("c-theirs"), answer("c-nobodys"), "{query}");
        assert_eq!(answer("c-theirs").0, 404, "{query}");
    }
    let folder = temp.path().to_str().expect("text");
    let in_folder = format!("{folder} is a folder: name a file with -o, for example {folder}/pack.zip");
    for (arguments, code, says) in [
        (&["", "--tenant", "acme", "-o", pack][..], 2, "change id: expected 1 to 128 bytes"),
        (&["c-mine", "--tenant", "nobody", "-o", pack], 1, "`upm tenant add nobody` makes it"),
        (&["c-mine", "--tenant", "acme", "--at", "999", "-o", pack], 1, "no checkpoint of 999 or more entries yet"),
        (
            &["c-mine", "--tenant", "acme", "--witnessed", "-o", pack],
            1,
            "`upm serve --witness-policy FILE` asks witnesses",
        ),
        (
            &["c-mine", "--tenant", "acme", "-o", "/no/such/folder/x.zip"],
            2,
            "name a file in a folder that exists with -o",
        ),
        (&["c-mine", "--tenant", "acme", "-o", folder], 2, in_folder.as_str()),
        (&["c-mine", "--tenant", "acme", "--force", "-o", folder], 2, in_folder.as_str()),
        (&["c-mine", "--tenant", "acme"], 2, "--output"),
    ] {
        let (found, told) = asked(arguments);
        assert!(found == code && told.contains(says), "{arguments:?}: {found} {told}");
    }
    let mut late = upm(["pack", "c-mine", "--tenant", "acme", "-o", pack, "--server", server.http()]);
    assert_eq!(server.stop(), 0);
    let (code, _, told) = run(&mut late);
    assert!(code == 2 && told.contains("start one with `upm serve`"), "{code} {told}");
    assert!(!Path::new(pack).exists());
}

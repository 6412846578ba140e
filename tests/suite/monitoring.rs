//! The story of an auditor who watches: at each look the log has only grown, and is proved to; and every way in which a log can lie to
//! somebody who remembers what it showed: it forks, it goes back, it is signed by somebody else.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::checkpoint::Origin;
use ledger::hash;
use ledger::note::{KeyName, VerifierKey};
use ledger::signing::Signer;
use serde_json::{Value, json};
use upm_tests::{Server, ok, run, upm, wait_for};

struct Watch {
    _temp: tempfile::TempDir,
    root: PathBuf,
}

impl Watch {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path().to_owned();
        Self { _temp: temp, root }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn start(&self, name: &str) -> Server {
        Server::start(&self.at(name), &["--tenant", "acme"])
    }

    fn key(&self, server: &Server, log: &str) -> PathBuf {
        let path = self.at(&format!("{log}.vkey"));
        fs::write(&path, server.vkey(log)).expect("written");
        path
    }

    fn state(&self) -> PathBuf {
        self.at("seen")
    }

    fn monitor(&self, url: &str, key: &Path) -> Command {
        let mut command = upm(["monitor", url, "--json", "--key"]);
        command.arg(key).arg("--state").arg(self.state());
        command
    }

    /// One look: exit code, what it says, what it complains of.
    fn look(&self, url: &str, key: &Path) -> (i32, String, String) {
        run(self.monitor(url, key).arg("--once"))
    }

    /// Files beside the state, by name.
    fn proofs(&self) -> Vec<String> {
        let names = fs::read_dir(&self.root).expect("readable").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> =
            names.filter_map(|name| Some(name.to_str()?.to_owned())).filter(|name| name.starts_with("seen.")).collect();
        names.sort();
        names
    }
}

fn acme(server: &Server) -> String {
    format!("{}/logs/acme", server.http())
}

fn emit(server: &Server, numbers: std::ops::Range<u32>) {
    let events: Vec<String> = numbers
        .map(|number| {
            json!({ "provisioning_event": {
                "id": format!("e-{number}"), "timestamp": "2025-05-01T10:00:00Z", "phase": "plan",
                "intent": { "source": "api", "initiator": "ada", "tenant": "acme" }
            }})
            .to_string()
        })
        .collect();
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", events.join("\n").as_bytes());
    assert_eq!(status, 200, "{body}");
}

fn told(out: &str) -> (u64, Value) {
    let told: Value = serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"));
    (told["size"].as_u64().expect("a size"), told["before"].clone())
}

#[test]
fn a_log_that_only_grows_is_followed_and_mirrored() {
    let watch = Watch::new();
    let server = watch.start("data");
    let key = watch.key(&server, "acme");
    let mirror = watch.at("mirror");
    let look = || ok(watch.monitor(&acme(&server), &key).arg("--once").arg("--mirror").arg(&mirror));
    assert_eq!(told(&look()), (1, Value::Null));
    emit(&server, 0..300);
    assert_eq!(told(&look()), (301, json!(1)));
    assert_eq!(told(&look()), (301, json!(301)), "nothing new");
    emit(&server, 300..302);
    assert_eq!(told(&look()), (303, json!(301)));
    assert_eq!(fs::read_to_string(watch.state()).expect("readable"), server.get("/logs/acme/checkpoint").1);
    // The mirror is a log like any other: the same headers, under the same root.
    for file in ["checkpoint", "tile/0/000", "tile/entries/000", "tile/entries/001.p/47"] {
        let theirs = ureq::get(format!("{}/{file}", acme(&server))).call().expect("there");
        let theirs = theirs.into_body().read_to_vec().expect("a body");
        assert!(fs::read(mirror.join(file)).expect("mirrored") == theirs, "{file}");
    }
    assert_eq!(watch.proofs(), Vec::<String>::new());
}

/// What was mirrored long ago is looked at again where that is asked for: a file that was changed since is named.
#[test]
fn a_mirror_that_was_changed_is_noticed_with_check() {
    let watch = Watch::new();
    let server = watch.start("data");
    let key = watch.key(&server, "acme");
    let mirror = watch.at("mirror");
    let look = |check: bool| {
        let mut command = watch.monitor(&acme(&server), &key);
        command.arg("--once").arg("--mirror").arg(&mirror);
        run(if check { command.arg("--check") } else { &mut command })
    };
    emit(&server, 0..600);
    assert_eq!(look(true).0, 0);
    let file = mirror.join("tile/entries/000");
    let whole = fs::read(&file).expect("mirrored");
    let mut changed = whole.clone();
    changed[1_000] ^= 1;
    fs::write(&file, changed).expect("written");
    emit(&server, 600..700);
    let (code, _, err) = look(true);
    assert!(code == 1 && err.contains("the mirror") && err.contains("is damaged"), "{code} {err}");
    assert!(err.contains("tile/entries/000"), "{err}");
    fs::write(&file, whole).expect("written");
    assert_eq!(look(true).0, 0);
    // Without a mirror there is nothing to read back.
    let (code, _, err) = run(watch.monitor(&acme(&server), &key).args(["--once", "--check"]));
    assert!(code == 2 && err.contains("--mirror"), "{code} {err}");
}

#[test]
fn a_rollback_and_a_fork_are_cried_with_proof() {
    let watch = Watch::new();
    let server = watch.start("data");
    let key = watch.key(&server, "acme");
    emit(&server, 0..3);
    assert_eq!(server.stop(), 0);
    ok(Command::new("cp").arg("-a").arg(watch.at("data")).arg(watch.at("older")));
    let server = watch.start("data");
    emit(&server, 3..6);
    assert_eq!(watch.look(&acme(&server), &key).0, 0);
    let kept = fs::read_to_string(watch.state()).expect("readable");
    let mirrored = |server: &Server, state: &str| {
        let mut command = upm(["monitor", &acme(server), "--once", "--key"]);
        run(command.arg(&key).arg("--state").arg(watch.at(state)).arg("--mirror").arg(watch.at("mirror")))
    };
    let (code, _, err) = mirrored(&server, "with-mirror");
    assert_eq!(code, 0, "{err}");
    assert_eq!(server.stop(), 0);

    let older = watch.start("older");
    let (code, out, err) = watch.look(&acme(&older), &key);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("ROLLBACK") && err.contains("had 7 entries, and now shows a signed head of 4"), "{err}");
    assert_eq!(watch.proofs(), ["seen.rollback.7-4.kept", "seen.rollback.7-4.seen"]);

    // As long as what was seen, then longer: another history under the same key.
    emit(&older, 10..13);
    let (code, _, err) = watch.look(&acme(&older), &key);
    assert!(code == 1 && err.contains("FORK") && err.contains("two signed heads of 7 entries"), "{err}");
    emit(&older, 13..20);
    let (code, _, err) = watch.look(&acme(&older), &key);
    assert!(code == 1 && err.contains("FORK") && err.contains("does not extend that of 7"), "{err}");
    assert_eq!(
        watch.proofs()[..4],
        ["seen.fork.7-14.kept", "seen.fork.7-14.seen", "seen.fork.7-7.kept", "seen.fork.7-7.seen"]
    );
    assert_eq!(fs::read_to_string(watch.at("seen.fork.7-14.kept")).expect("readable"), kept);
    assert_eq!(
        fs::read_to_string(watch.at("seen.fork.7-14.seen")).expect("readable"),
        older.get("/logs/acme/checkpoint").1
    );
    assert_eq!(fs::read_to_string(watch.state()).expect("readable"), kept, "what was believed stays");
    // Who lost the state and has the mirror still hears of it: its checkpoint is signed too.
    let (code, _, err) = mirrored(&older, "new-state");
    assert!(code == 1 && err.contains("FORK") && err.contains("keep both as evidence"), "{err}");
}

#[test]
fn who_signs_with_another_key_or_of_another_log_is_not_believed() {
    let watch = Watch::new();
    let (server, other) = (watch.start("data"), watch.start("other"));
    let wrong = watch.key(&other, "acme");
    let (code, _, err) = watch.look(&acme(&server), &wrong);
    assert!(code == 1 && err.contains("SIGNATURE"), "{err}");
    assert!(!watch.state().exists(), "nothing is believed");
    assert_eq!(watch.proofs(), ["seen.signature.0-1.seen"]);
    let key = watch.key(&server, "acme");
    let own = format!("{}/logs/_ledger", server.http());
    let (code, _, err) = watch.look(&own, &key);
    assert!(code == 1 && err.contains("SIGNATURE"), "another log's head has another key: {err}");
}

#[test]
fn what_cannot_be_told_is_no_verdict() {
    let watch = Watch::new();
    let server = watch.start("data");
    let key = watch.key(&server, "acme");
    assert_eq!(watch.look(&acme(&server), &key).0, 0);
    let check = |url: &str, expected: &str| {
        let (code, _, err) = watch.look(url, &key);
        assert!(code == 2 && err.contains(expected), "{url}: {code} {err}");
    };
    check("http://127.0.0.1:1/logs/acme", "http://127.0.0.1:1/logs/acme/");
    check(&format!("{}/logs/nobody", server.http()), "there is no log");
    check(&format!("{}/healthz?", server.http()), "no signed note");
    // A state that was cut off is not taken for a first look.
    let whole = fs::read_to_string(watch.state()).expect("readable");
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(watch.state(), &whole[..whole.floor_char_boundary(cut)]).expect("written");
        check(&acme(&server), "is no checkpoint of");
    }
    for junk in [&b"junk"[..], b"\xff\xfe\0", b"a\n1\nAAAA\n\nno signature\n"] {
        fs::write(watch.state(), junk).expect("written");
        check(&acme(&server), "seen can't be used: it is no");
        assert_eq!(fs::read(watch.state()).expect("there"), junk, "it stays as it was");
    }
    let endless = |command: &mut Command| {
        let (code, _, err) = run(command.arg("--once"));
        assert!(code == 2 && err.contains("more than 1048576 bytes"), "{code} {err}");
    };
    endless(upm(["monitor", &acme(&server), "--state", "/dev/zero", "--key"]).arg(&key));
    endless(upm(["monitor", &acme(&server), "--key", "/dev/zero", "--state"]).arg(watch.state()));
    fs::write(watch.state(), server.get("/logs/_ledger/checkpoint").1).expect("written");
    check(&acme(&server), "is no checkpoint of");
    fs::write(watch.state(), &whole).expect("written");
    assert_eq!(watch.look(&acme(&server), &key).0, 0);
    assert_eq!(watch.proofs(), Vec::<String>::new());
}

/// Serves one file, and nothing else: what a log of somebody else may look like.
fn published(note: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let (status, body) = if head.starts_with(b"GET /checkpoint ") { (200, note.as_str()) } else { (404, "") };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

/// C2SP allows more than our logs do. Of a log that makes use of it nothing can be told, which is no verdict; a signature that does not hold
/// is one, whatever stands above it.
#[test]
fn a_checkpoint_of_another_form_is_no_verdict() {
    let watch = Watch::new();
    let signer = Signer::from_seed(&Origin::parse("any/name").expect("an origin"), [7; 32]);
    let root = hash::leaf(b"hello").to_base64();
    let look = |name: &str, text: &str, good: bool| {
        let key = VerifierKey::new(KeyName::parse(name).expect("a name"), signer.public_key());
        let mut bytes = key.id().to_vec();
        bytes.extend(signer.sign_bytes(text.as_bytes()));
        bytes[40] ^= u8::from(!good);
        let file = watch.at("foreign.vkey");
        fs::write(&file, key.to_vkey()).expect("written");
        watch.look(&published(format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(bytes))), &file)
    };
    for (name, text, why) in [
        ("example.com", format!("example.com\n1\n{root}\n"), "an origin is"),
        ("example.com/log", format!("example.com/log\n1\n{root}\nan extension\n"), "three lines"),
        ("example.com/key", format!("example.com/log\n1\n{root}\n"), "the key has another name"),
    ] {
        let (code, out, err) = look(name, &text, true);
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {err}");
        assert!(err.contains("can't read") && err.contains(why), "{text}: {err}");
        assert!(!watch.state().exists() && watch.proofs().is_empty(), "nothing is believed or accused");
        let (code, _, err) = look(name, &text, false);
        assert!(code == 1 && err.contains("SIGNATURE"), "{text}: {err}");
        for proof in watch.proofs() {
            fs::remove_file(watch.at(&proof)).expect("removed");
        }
    }
}

#[test]
fn it_watches_on_and_comes_through_an_outage() {
    let watch = Watch::new();
    let server = watch.start("data");
    let key = watch.key(&server, "acme");
    let mut child = watch
        .monitor(&acme(&server), &key)
        .args(["--interval", "1"])
        .stdout(fs::File::create(watch.at("out")).expect("made"))
        .stderr(fs::File::create(watch.at("err")).expect("made"))
        .spawn()
        .expect("it starts");
    let text = |name: &str| fs::read_to_string(watch.at(name)).unwrap_or_default();
    wait_for("the first look", || text("out").contains("\"size\":1").then_some(()));
    emit(&server, 0..2);
    wait_for("a look at what is new", || text("out").contains("\"size\":3").then_some(()));
    assert_eq!(server.stop(), 0);
    wait_for("a complaint", || text("err").contains("could not tell, trying again").then_some(()));
    assert!(child.try_wait().expect("asked").is_none(), "it goes on");
    child.kill().expect("killed");
    child.wait().expect("waited for");
}

/// Keys count for their sizes, as the log's own entries say, and from any one of them.
#[test]
fn a_change_of_keys_is_followed_and_an_old_key_counts_no_more() {
    let watch = Watch::new();
    let server = watch.start("data");
    let old = watch.key(&server, "acme");
    emit(&server, 0..3);
    assert_eq!(server.stop(), 0);
    ok(Command::new("cp").arg("-a").arg(watch.at("data")).arg(watch.at("stolen")));
    // Both serve at the same time below, so the copy takes a port of its own.
    fs::remove_file(watch.at("stolen").join("nats/port")).expect("a remembered port");
    let server = watch.start("data");
    assert_eq!(watch.look(&acme(&server), &old).0, 0);
    ok(&mut server.upm(&["keys", "rotate", "--overlap", "2", "--tenant", "acme"]));
    emit(&server, 3..9);
    // Whoever has only the old key is led to the new one.
    let (code, out, err) = watch.look(&acme(&server), &old);
    assert_eq!(code, 0, "{err}");
    let (size, before) = told(&out);
    assert!(size > 10 && before == json!(4), "{out}");
    assert!(watch.at("seen.keys").exists(), "what was learned is kept beside the state");
    let new = watch.key(&server, "acme");
    fs::write(&new, ok(&mut server.upm(&["keys", "show", "--vkey", "--tenant", "acme"]))).expect("written");
    assert_eq!(watch.look(&acme(&server), &new).0, 0, "or has only the new one");
    assert_eq!(server.stop(), 0);

    // The thief of the old key goes on alone from before the change, and says nothing of keys.
    let thief = watch.start("stolen");
    emit(&thief, 20..40);
    let stolen = watch.at("stolen.vkey");
    fs::write(&stolen, thief.vkey("acme")).expect("written");
    for given in [vec![&stolen], vec![&stolen, &new], vec![&new, &stolen]] {
        let mut command = upm(["monitor", &acme(&thief), "--once", "--state"]);
        command.arg(watch.state());
        for key in given {
            command.arg("--key").arg(key);
        }
        let (code, _, err) = run(&mut command);
        assert!(code == 1 && err.contains("SIGNATURE") && err.contains("has no signature of"), "{err}");
    }
    // Without what was learned, only the order of the keys tells, for whoever gives both.
    fs::remove_file(watch.at("seen.keys")).expect("removed");
    let mut both = upm(["monitor", &acme(&thief), "--once", "--state"]);
    let (code, _, err) = run(both.arg(watch.state()).arg("--key").arg(&stolen).arg("--key").arg(&new));
    assert!(code == 1 && err.contains("SIGNATURE") && err.contains("alone, after"), "{err}");
    // Another history of keys than the one that was learned is cried by itself.
    ok(&mut thief.upm(&["keys", "rotate", "--overlap", "0", "--tenant", "acme"]));
    emit(&thief, 40..42);
    let server = watch.start("data");
    assert_eq!(watch.look(&acme(&server), &stolen).0, 0, "learned again");
    let (code, _, err) = watch.look(&acme(&thief), &stolen);
    assert!(code == 1 && err.contains("KEYS") && err.contains("another history of its keys"), "{err}");
    assert!(watch.at("seen.keys.seen").exists());
}

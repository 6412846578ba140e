//! Keys that take each other's place, and acts, with the real server: under load, after a theft, and for whoever holds an old vkey.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ledger::checkpoint::Origin;
use ledger::signing::Signer;
use serde_json::Value;
use upm_tests::{Server, ok, run, upm};

fn event(id: &str) -> Vec<u8> {
    format!(
        r#"{{"provisioning_event":{{"id":"{id}","timestamp":"2026-11-22T10:00:00Z","phase":"plan","intent":{{"source":"api","initiator":"ada","tenant":"acme"}}}}}}"#
    )
    .into_bytes()
}

/// Publishes an event and gives its receipt.
fn accepted(server: &Server, id: &str) -> String {
    let (status, body) = server.post("/v1/tenants/acme/events", "application/json", &event(id));
    assert_eq!(status, 200, "{body}");
    let line: Value = serde_json::from_str(body.lines().next().expect("a line")).expect("JSON");
    line["receipt"].as_str().expect("a receipt").to_owned()
}

fn file(dir: &Path, name: &str, content: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("a file");
    path.display().to_string()
}

/// Exit code of `upm verify` with these arguments.
fn verify(arguments: &[&str]) -> (i32, String) {
    let (code, out, err) = run(&mut upm([&["verify"], arguments].concat()));
    (code, out + &err)
}

fn entries(server: &Server) -> u64 {
    server.json("/v1/tenants/acme/governance")["size"].as_u64().expect("a size")
}

/// Both keys sign until the overlap ends: one that never ends binds the old secret for ever.
#[test]
fn an_overlap_has_an_end() {
    for entries in ["1000001", "9007199254740993", "18446744073709551615", "-1", "many"] {
        let (code, _, err) = run(&mut upm(["keys", "rotate", "--tenant", "acme", &format!("--overlap={entries}")]));
        assert!(code == 2 && err.contains("up to 1000000: until then both keys sign"), "{entries}: {code} {err}");
    }
    // As far as that goes: there is no server.
    let (code, _, err) = run(&mut upm(["keys", "rotate", "--tenant", "acme", "--overlap=1000000"]));
    assert!(code == 2 && !err.contains("overlap"), "{code} {err}");
}

#[test]
fn a_key_takes_anothers_place_under_load() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path();
    let server = Server::start(&dir.join("data"), &["--tenant", "acme", "--name", "keys"]);
    let old = file(dir, "old.vkey", server.vkey("acme").as_bytes());
    let mut receipts = vec![accepted(&server, "before")];
    let pack = |name: &str, id: &str| {
        let path = dir.join(name).display().to_string();
        ok(&mut server.upm(&["pack", id, "--tenant", "acme", "-o", &path]));
        path
    };
    let before = pack("before.zip", "before");

    // Producers go on while the key changes; both keys sign for 30 entries, which is all of theirs.
    let during: Vec<String> = std::thread::scope(|scope| {
        let load = scope.spawn(|| (0..30).map(|n| accepted(&server, &format!("during-{n}"))).collect());
        ok(&mut server.upm(&["keys", "rotate", "--overlap", "30", "--tenant", "acme"]));
        load.join().expect("all are accepted")
    });
    receipts.extend(during);
    // Past the overlap, however fast the load was.
    for n in 0..60 {
        receipts.push(accepted(&server, &format!("after-{n}")));
    }
    let after = pack("after.zip", "after-59");
    let new = ok(&mut server.upm(&["keys", "show", "--vkey", "--tenant", "acme"]));
    let new = file(dir, "new.vkey", new.as_bytes());
    assert_ne!(std::fs::read(&old).expect("old"), std::fs::read(&new).expect("new"));
    let chain = ok(&mut server.upm(&["keys", "chain", "--tenant", "acme"]));
    let chain = file(dir, "chain.json", chain.as_bytes());

    for (number, text) in receipts.iter().enumerate() {
        let receipt = file(dir, "receipt", text.as_bytes());
        for key in [&old, &new] {
            let (_, out) = verify(&[&receipt, "--key", key, "--keys", &chain]);
            // Without the event the verdict is "could not", with the entry proved.
            assert!(out.contains("ok        its entry is proved"), "receipt {number} with {key}:\n{out}");
        }
    }
    // What is from before needs no more than the old key; what is from after leads there by itself.
    for (pack, key, expect) in [(&before, &old, 0), (&after, &old, 0), (&after, &new, 0), (&before, &new, 1)] {
        let (code, out) = verify(&[pack, "--key", key]);
        assert_eq!(code, expect, "{pack} with {key}:\n{out}");
    }
    let (code, out) = verify(&[&before, "--key", &new, "--keys", &chain]);
    assert_eq!(code, 0, "{out}");
    // A copy from nothing takes the change in with the entries before it.
    ok(&mut server.upm(&["backup", &dir.join("copy").display().to_string()]));
    // serve.json tells at once whoever looks for the key there.
    let places: Value =
        serde_json::from_slice(&std::fs::read(server.data().join("serve.json")).expect("serve.json")).expect("JSON");
    assert_eq!(places["keys"]["acme"].as_array().map(Vec::len), Some(2), "{places}");
    assert_eq!(server.stop(), 0);
    // A crash in mid-rotation leaves a key that nobody heard of: the ledger starts as before, and says so.
    let orphan = dir.join("data/keys/acme.log.00000000.pem");
    std::fs::copy(dir.join("data/keys/admin.pem"), &orphan).expect("a copy");
    let server = Server::start(&dir.join("data"), &[]);
    accepted(&server, "again");
    let log = std::fs::read_to_string(dir.join("data.log")).expect("a log");
    assert!(log.contains("acme.log.00000000.pem") && log.contains("a log key that no log names"), "{log}");
    let unused = |more: &[&str]| run(upm([&["keys", "unused"], more, &["--data"]].concat()).arg(dir.join("data")));
    let (code, _, err) = unused(&[]);
    assert!(code == 2 && err.contains("stop the server first"), "{err}");
    assert_eq!(server.stop(), 0);
    let (code, out, err) = unused(&[]);
    assert!(code == 0 && out == format!("named by no log: {}\n", orphan.display()), "{out}{err}");
    let (code, out, _) = unused(&["--remove", "--json"]);
    assert_eq!(code, 0, "{out}");
    assert!(!orphan.exists());
    assert_eq!(unused(&[]).1, "every log key in keys/ is named by its log\n");
    let server = Server::start(&dir.join("data"), &[]);
    accepted(&server, "and-again");
    assert_eq!(server.stop(), 0);
}

/// Every key file of the data directory, in order.
fn key_files(data: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(data.join("keys")).expect("readable");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// What is refused before it is sent, however often it is tried, leaves no secret behind.
#[test]
fn a_rotation_that_can_not_be_signed_makes_no_key() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, data) = (temp.path(), temp.path().join("data"));
    let server = Server::start(&data, &["--tenant", "acme", "--name", "keys"]);
    accepted(&server, "before");
    let before = key_files(&data);
    let junk = file(dir, "junk.pem", b"no key");
    std::fs::set_permissions(&junk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let log_key = data.join("keys/acme.log.pem").display().to_string();
    let none = dir.join("none.pem").display().to_string();
    for (key, expected) in [
        (&junk, "is not an Ed25519 private key"),
        (&none, "is missing"),
        (&log_key, "none of the keys given is the recovery key"),
    ] {
        let (code, _, err) = run(&mut server.upm(&["keys", "rotate", "--tenant", "acme", "--key", key]));
        assert!(code == 2 && err.contains(expected), "{code} {err}");
        assert_eq!(key_files(&data), before, "{key}");
    }
    // A road that is not there: port 1 on loopback, where nothing listens.
    let (code, _, err) = run(&mut server.upm(&["keys", "rotate", "--tenant", "acme", "--nats", "nats://127.0.0.1:1"]));
    assert!(code == 2 && err.contains("no NATS server to publish to"), "{code} {err}");
    assert_eq!(key_files(&data), before);
    assert_eq!(server.stop(), 0);

    // The same in the store itself.
    let stopped = |arguments: &[&str]| run(upm([&["keys"], arguments, &["--data"]].concat()).arg(&data));
    for arguments in [
        &["recover", "lost", "--tenant", "acme", "--key", &junk][..],
        &["recover", "lost", "--tenant", "acme", "--key", &log_key],
        &["recover", "lost", "--tenant", "acme", "--from", "999"],
        &["rotate", "--ledger", "--key", &junk],
    ] {
        let (code, _, err) = stopped(arguments);
        assert_ne!(code, 0, "{arguments:?}: {err}");
        assert_eq!(key_files(&data), before, "{arguments:?}: {err}");
    }
    assert_eq!(stopped(&["rotate", "--ledger"]).0, 0, "with the right keys it is done");
    assert_eq!(key_files(&data).len(), before.len() + 1);
}

/// Stands between a client and the server: before the client hears the `nth` answer about what holds in a log, something happens, and what
/// it hears is stale.
fn stale(server: &Server, nth: usize, meanwhile: impl FnOnce() + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let target = server.http().trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        let (mut asked, mut meanwhile) = (0, Some(meanwhile));
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).expect("text");
            let mut server = TcpStream::connect(&target).expect("the server is there");
            let alone = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            server.write_all(alone.as_bytes()).expect("asked");
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).expect("answered");
            asked += usize::from(head.contains("/governance "));
            if asked == nth
                && let Some(meanwhile) = meanwhile.take()
            {
                meanwhile();
            }
            client.write_all(&answer).expect("heard");
        }
    });
    url
}

/// Two people replace the same key at once: one of them does, the other one is told why not, and no key file of theirs stays. The other
/// comes first after we have looked which key it is, and after we have made the act.
#[test]
fn the_second_of_two_rotations_hears_the_true_reason() {
    let temp = tempfile::tempdir().expect("a directory");
    let data = temp.path().join("data");
    let server = Server::start(&data, &["--tenant", "acme", "--name", "keys"]);
    accepted(&server, "before");
    let rotations = || {
        let keys = server.json("/v1/tenants/acme/governance")["log_keys"].as_array().map(Vec::len);
        keys.expect("keys") - 1
    };
    for nth in [1, 2] {
        let mut other = server.upm(&["keys", "rotate", "--tenant", "acme"]);
        let url = stale(&server, nth, move || drop(ok(&mut other)));
        let ours = ["keys", "rotate", "--tenant", "acme", "--nats", server.nats(), "--server", &url, "--data"];
        let (code, out, err) = run(upm(ours).arg(&data));
        assert_eq!(code, 1, "look {nth}: {out}{err}");
        assert!(!err.contains("bad_signature"), "look {nth}: {err}");
        let reasons = ["another change of this key came first", "is not the log key"];
        assert!(reasons.iter().any(|reason| err.contains(reason)), "look {nth}: {err}");
        assert_eq!(rotations(), nth, "look {nth}: the other one's alone");
    }
    // As it comes, in whatever order: both may do what they were asked to, one after the other.
    let rotate = || run(&mut server.upm(&["keys", "rotate", "--tenant", "acme"]));
    let outcomes = std::thread::scope(|scope| {
        let both = [scope.spawn(rotate), scope.spawn(rotate)];
        both.map(|one| one.join().expect("it ends"))
    });
    let done = outcomes.iter().filter(|(code, ..)| *code == 0).count();
    assert!(done >= 1 && outcomes.iter().all(|(code, ..)| *code <= 1), "{outcomes:?}");
    assert_eq!(rotations(), 2 + done, "{outcomes:?}");
    accepted(&server, "after");
    assert_eq!(server.stop(), 0);
    let (code, out, _) = run(upm(["keys", "unused", "--data"]).arg(&data));
    assert_eq!((code, out.as_str()), (0, "every log key in keys/ is named by its log\n"));
}

#[test]
fn a_stolen_key_is_replaced_by_the_recovery_key_alone() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, data) = (temp.path(), temp.path().join("data"));
    let server = Server::start(&data, &["--tenant", "acme", "--name", "keys"]);
    let old = file(dir, "old.vkey", server.vkey("acme").as_bytes());
    let earlier = file(dir, "earlier.txt", accepted(&server, "zero").as_bytes());
    accepted(&server, "one");
    let good = entries(&server);
    let stolen = file(dir, "stolen.txt", accepted(&server, "two").as_bytes());
    let log_key = data.join("keys/acme.log.pem");

    // The thief has the log key, and with it nothing to replace it by: neither over the road nor as a recovery key.
    let thief = log_key.display().to_string();
    let (code, _, err) = run(&mut server.upm(&["keys", "rotate", "--tenant", "acme", "--key", &thief]));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("none of the keys given is the recovery key"), "{err}");
    let (code, _, err) = run(&mut server.upm(&["keys", "recover", "compromised", "--tenant", "acme"]));
    assert!(code == 2 && err.contains("stop the server first"), "{err}");
    assert_eq!(server.stop(), 0);

    std::fs::remove_file(&log_key).expect("the key is lost too");
    let mut recover =
        upm(["keys", "recover", "compromised", "--from", &good.to_string(), "--tenant", "acme", "--data"]);
    ok(recover.arg(&data));
    std::fs::rename(data.join("keys/recovery.pem"), dir.join("recovery.pem")).expect("kept offline");

    let server = Server::start(&data, &[]);
    let after = file(dir, "after.txt", accepted(&server, "three").as_bytes());
    let path = dir.join("after.zip").display().to_string();
    ok(&mut server.upm(&["pack", "three", "--tenant", "acme", "-o", &path]));
    let chain = ok(&mut server.upm(&["keys", "chain", "--tenant", "acme"]));
    let chain = file(dir, "chain.json", chain.as_bytes());
    let (code, out) = verify(&[&path, "--key", &old]);
    assert_eq!(code, 0, "the old key leads over the change:\n{out}");
    let (_, out) = verify(&[&after, "--key", &old, "--keys", &chain]);
    assert!(out.contains("ok        its entry is proved"), "{out}");
    ok(&mut server.upm(&["backup", &dir.join("copy").display().to_string()]));
    // What the stolen key signed past the stated size counts no more, once the change is known.
    let (_, out) = verify(&[&stolen, "--key", &old]);
    assert!(out.contains("ok        its entry is proved"), "who has only the old key cannot know:\n{out}");
    let (code, out) = verify(&[&stolen, "--key", &old, "--keys", &chain]);
    assert!(code == 1 && out.contains("compromised past size"), "{out}");
    // What it signed before counts, but its thief can sign such sizes today as well: trust reaches no further than to them.
    let zero = file(dir, "zero.json", &event("zero"));
    let (code, out) = verify(&[&earlier, "--event", &zero, "--key", &old, "--keys", &chain]);
    let line = out.lines().find(|line| line.starts_with("trust reaches:")).expect("a line").to_owned();
    let expected = format!("which was declared compromised past size {good}");
    assert!(code == 0 && line.contains("operator only, or whoever has key") && line.contains(&expected), "{out}");
    assert!(out.contains("that this was signed before key"), "{out}");
    let (_, out) = verify(&[&earlier, "--event", &zero, "--key", &old]);
    assert!(out.contains("trust reaches: operator only\n"), "who has only the old key cannot know:\n{out}");
    // A checkpoint that the new key signed, which continues it, closes that: the thief cannot have made it.
    let newest = file(dir, "newest.txt", server.get("/logs/acme/checkpoint").1.as_bytes());
    let text = std::fs::read_to_string(&earlier).expect("readable");
    let size = text.lines().skip_while(|line| !line.is_empty()).nth(2).expect("a size").to_owned();
    let proof =
        file(dir, "proof.txt", ok(&mut server.upm(&["log", "consistency", &size, "--tenant", "acme"])).as_bytes());
    let known = ["--known-checkpoint", &newest, "--consistency", &proof];
    let (code, out) =
        verify(&[&[earlier.as_str(), "--event", &zero, "--key", &old, "--keys", &chain], &known[..]].concat());
    assert!(code == 0 && out.contains("trust reaches: kept checkpoint\n"), "{out}");
    assert!(!out.contains("that this was signed before key"), "{out}");
}

/// Whoever has the key can go on from it in a history of their own, and a pack carries that history. The chain that the auditor
/// has from elsewhere outranks it.
#[test]
fn a_pack_that_tells_another_history_of_keys_is_refuted() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, data) = (temp.path(), temp.path().join("data"));
    let server = Server::start(&data, &["--tenant", "acme", "--name", "keys"]);
    let old = file(dir, "old.vkey", server.vkey("acme").as_bytes());
    accepted(&server, "one");
    assert_eq!(server.stop(), 0);
    let stolen = dir.join("stolen");
    ok(std::process::Command::new("cp").arg("-a").args([&data, &stolen]));
    let rotated = |data: &Path, name: &str| {
        let server = Server::start(data, &[]);
        ok(&mut server.upm(&["keys", "rotate", "--overlap", "0", "--tenant", "acme"]));
        accepted(&server, name);
        let pack = dir.join(format!("{name}.zip")).display().to_string();
        ok(&mut server.upm(&["pack", name, "--tenant", "acme", "-o", &pack]));
        let chain = ok(&mut server.upm(&["keys", "chain", "--tenant", "acme"]));
        assert_eq!(server.stop(), 0);
        (pack, file(dir, &format!("{name}.json"), chain.as_bytes()))
    };
    let (honest, chain) = rotated(&data, "honest");
    let (forged, _) = rotated(&stolen, "forged");
    for pack in [&honest, &forged] {
        assert_eq!(verify(&[pack, "--key", &old]).0, 0, "who has only the old key cannot know");
    }
    assert_eq!(verify(&[&honest, "--key", &old, "--keys", &chain]).0, 0);
    let (code, out) = verify(&[&forged, "--key", &old, "--keys", &chain]);
    assert!(code == 1 && out.contains("tells another history"), "{out}");
}

/// A pair of files, secret and public, as `openssl` writes them.
fn pair(dir: &Path, name: &str, seed: u8) -> (String, String) {
    let signer = Signer::from_seed(&Origin::parse("any/name").expect("an origin"), [seed; 32]);
    let secret = dir.join(format!("{name}.pem"));
    private(&secret, signer.to_pkcs8_pem().as_bytes());
    (secret.display().to_string(), file(dir, &format!("{name}.pub"), signer.public_key().spki_pem().as_bytes()))
}

/// A file that only we can read.
fn private(path: &Path, content: &[u8]) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).expect("a file");
    file.write_all(content).expect("written");
}

/// The admin key is replaced: at each step the commands say what is left to do, and what they say helps.
#[test]
fn an_admin_key_that_took_over_is_put_to_work() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, data) = (temp.path(), temp.path().join("data"));
    let server = Server::start(&data, &["--tenant", "acme", "--name", "keys"]);
    accepted(&server, "before");
    assert_eq!(server.stop(), 0);
    let stopped = |arguments: &[&str]| run(upm(arguments).arg("--data").arg(&data));
    let (secret, public) = pair(dir, "new", 7);
    let (old, in_place) = (dir.join("old.pem"), data.join("keys/admin.pem"));
    std::fs::copy(&in_place, &old).expect("a copy");

    let (code, out, err) = stopped(&["keys", "admin", "set", &public, "--ledger"]);
    let next = format!("next: put the secret of one of them into {}", in_place.display());
    assert!(code == 0 && out.contains("the keys of _ledger are replaced") && out.contains(&next), "{out}{err}");
    let (_, listed, _) = stopped(&["keys", "admin", "list", "--ledger", "--json"]);
    // Started before that is done, the server says so, serves what is there, and tells whoever adds a tenant.
    let (code, _, err) = stopped(&["serve", "--listen", "127.0.0.1:0", "--tenant", "gamma"]);
    let remedy = "is none of the admin keys that keys/_ledger names";
    assert!(code == 2 && err.contains(remedy) && err.contains("put the secret of one that it names there"), "{err}");
    let server = Server::start(&data, &[]);
    accepted(&server, "meanwhile");
    let log = std::fs::read_to_string(data.with_extension("log")).expect("a log");
    assert!(log.contains(remedy), "{log}");
    assert_eq!(
        ok(&mut server.upm(&["keys", "admin", "list", "--ledger", "--json"])),
        listed,
        "with a server and without"
    );
    let (code, _, err) = run(&mut server.upm(&["tenant", "add", "beta"]));
    assert!(code == 2 && err.contains(remedy) && err.contains("put the secret of one"), "{code} {err}");
    private(&in_place, &std::fs::read(&secret).expect("readable"));
    ok(&mut server.upm(&["tenant", "add", "beta"]));

    // A log that was there keeps its own admin key; the new one lists.
    let hold = |tenant: &str, id: &str, keys: &[&str]| {
        let act = ["hold", "add", id, "--all", "--reason", "audit", "--tenant", tenant];
        run(&mut server.upm(&[&act[..], keys].concat()))
    };
    let old = old.display().to_string();
    let (code, _, err) = hold("acme", "one", &[]);
    assert!(code == 2 && err.contains("an admin key of keys/acme"), "{err}");
    assert_eq!(hold("acme", "one", &["--key", &old]).0, 2, "nobody lists it");
    assert_eq!(hold("acme", "one", &["--key", &old, "--key", &secret]).0, 0);
    assert_eq!(hold("beta", "one", &[]).0, 0, "a new tenant begins with the new key");
    let out = ok(&mut server.upm(&["keys", "admin", "set", &public, "--tenant", "acme"]));
    assert!(!out.contains("next:"), "the key in place is the new one: {out}");
    assert_eq!(hold("acme", "two", &[]).0, 0);
    // Another one that is not in place: what is to be done is said here too.
    let (_, other) = pair(dir, "other", 8);
    let out = ok(&mut server.upm(&["keys", "admin", "set", &other, "--tenant", "acme"]));
    assert!(out.contains("next: put the secret of one of them into") && out.contains("--key at each act"), "{out}");
    assert_eq!(server.stop(), 0);
    let (code, out, err) = stopped(&["fsck"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn a_recovery_key_is_replaced_by_the_one_before() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, data) = (temp.path(), temp.path().join("data"));
    let server = Server::start(&data, &["--tenant", "acme", "--name", "keys"]);
    let (secret, public) = pair(dir, "new", 7);
    let (thief, _) = pair(dir, "thief", 9);
    let admin = data.join("keys/admin.pem").display().to_string();
    let acme = |arguments: &[&str]| run(&mut server.upm(&[arguments, &["--tenant", "acme"]].concat()));
    let (code, _, err) = acme(&["keys", "recovery", "set", &public, "--key", &admin, "--key", &thief]);
    assert!(code == 2 && err.contains("the recovery key of keys/acme"), "{err}");
    let (code, _, err) = acme(&["keys", "recovery", "set", &public, &public]);
    assert!(code == 2 && err.contains("one recovery key; found 2 files"), "{err}");
    let (code, out, err) = acme(&["keys", "recovery", "set", &public]);
    assert!(code == 0 && out.contains("next: keep its secret offline"), "{out}{err}");
    // The one before replaces nothing any more, and the new one does.
    let (code, _, err) = acme(&["keys", "rotate"]);
    assert!(code == 2 && err.contains("the recovery key of keys/acme"), "{err}");
    let (code, _, err) = acme(&["keys", "rotate", "--key", &admin, "--key", &secret]);
    assert_eq!(code, 0, "{err}");
    accepted(&server, "after");
    assert_eq!(server.stop(), 0);
    // The ledger's own, which acme's has nothing to do with.
    let ledger = |arguments: &[&str]| run(upm(arguments).arg("--ledger").arg("--data").arg(&data));
    let (code, out, err) = ledger(&["keys", "recovery", "set", &public]);
    assert!(code == 0 && out.contains("the recovery key from before replaces nothing in keys/_ledger"), "{out}{err}");
    let (code, _, err) = ledger(&["keys", "rotate"]);
    assert!(code == 2 && err.contains("the recovery key of keys/_ledger"), "{err}");
    let (code, _, err) = ledger(&["keys", "rotate", "--key", &secret]);
    assert_eq!(code, 0, "{err}");
    let server = Server::start(&data, &[]);
    accepted(&server, "again");
    assert_eq!(server.stop(), 0);
    let (code, out, err) = run(upm(["fsck", "--data"]).arg(&data));
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn acts_on_the_command_line() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = Server::start(&temp.path().join("data"), &["--tenant", "acme", "--name", "acts"]);
    let acme = |arguments: &[&str]| server.upm(&[arguments, &["--tenant", "acme"]].concat());
    ok(&mut acme(&["hold", "add", "case-1", "--change", "c-1", "--reason", "audit"]));
    let (code, _, err) = run(&mut acme(&["hold", "add", "case-1", "--all", "--reason", "again"]));
    assert!(code == 1 && err.contains("control_conflict"), "{err}");
    let listed: Value = serde_json::from_str(&ok(&mut acme(&["hold", "list", "--json"]))).expect("JSON");
    assert_eq!(listed["holds"][0]["scope"]["changes"][0], "c-1", "{listed}");
    ok(&mut acme(&["hold", "release", "case-1", "--reason", "settled"]));
    let told: Value =
        serde_json::from_str(&ok(&mut server.upm(&["tenant", "set", "acme", "owner=platform", "--json"])))
            .expect("JSON");
    assert_eq!(told["status"], "accepted", "{told}");
    ok(&mut acme(&["rules", "adopt"]));
    let holds = server.json("/v1/tenants/acme/governance");
    assert_eq!(holds["facts"]["owner"], "platform");
    assert_eq!(holds["holds"], serde_json::json!([]));
    assert_eq!(holds["counter"], 4, "hold, release, facts, rules: {holds}");
    assert_eq!(holds["ledger"]["counter"], 5, "the tenant itself, and each act");
    // The recovery key is read by nobody but whoever replaces keys: an admin key alone does not.
    let admin = server.data().join("keys/admin.pem").display().to_string();
    let (code, _, err) = run(&mut acme(&["keys", "rotate", "--key", &admin]));
    assert!(code == 2 && err.contains("recovery key"), "{err}");
    let size = entries(&server);
    // Views, changes and packs pass over control entries.
    accepted(&server, "an-event");
    let (status, body) = server.get(&format!("/v1/tenants/acme/changes/an-event?at_least={size}"));
    assert_eq!(status, 200, "{body}");
}

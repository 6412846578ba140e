//! A witness that is not ours, torchwood's litewitness, cosigns our logs; and an implementation that is not ours checks what our
//! own witness gives.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ledger::cosignature::CosignerKey;
use ledger::key::PublicKey;
use ledger::note::KeyName;
use upm_tests::{Server, ok, run, upm, wait_for};

use super::judge;
use crate::witnesses::{Witness, policy};

/// A child that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// litewitness with its key in an ssh-agent, as it asks for, watching these logs.
struct Litewitness {
    _agent: Running,
    _witness: Running,
    http: String,
    key: CosignerKey,
}

impl Litewitness {
    fn start(folder: &Path, logs: &[&str]) -> Litewitness {
        let program = judge("LITEWITNESS", "litewitness-0.9.0");
        let (socket, key, db) = (folder.join("s"), folder.join("key"), folder.join("db"));
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
        let agent = Running(agent.spawn().expect("ssh-agent (openssh-client) starts"));
        wait_for("the agent's socket", || socket.exists().then_some(()));
        ok(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        ok(Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket));
        let public = std::fs::read_to_string(key.with_extension("pub")).expect("the public key");
        let fingerprint = ok(Command::new("ssh-keygen").args(["-l", "-f"]).arg(key.with_extension("pub")));
        let fingerprint = fingerprint.split_whitespace().nth(1).expect("SHA256:…").to_owned();
        watch(&db, logs);
        // A port that is free now; nobody else is told of it.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let mut command = Command::new(program);
        command.args(["-name", "litewitness.example", "-key", &fingerprint, "-listen", &address.to_string()]);
        command.arg("-db").arg(&db).arg("-ssh-agent").arg(&socket).stderr(Stdio::null());
        let witness = Running(command.spawn().expect("litewitness starts"));
        wait_for("litewitness to listen", || std::net::TcpStream::connect(address).ok());
        let key = CosignerKey::ed25519(KeyName::parse("litewitness.example").expect("a name"), ssh_key(&public));
        Litewitness { _agent: agent, _witness: witness, http: format!("http://{address}"), key }
    }
}

/// Its tables, as its own `witnessctl add-log` and `add-key` fill them (that tool needs a module that no proxy has).
fn watch(db: &Path, logs: &[&str]) {
    let script = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        db.execute('CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL)')\n\
        db.execute('CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin))')\n\
        for key in sys.argv[2:]:\n\
        \x20   origin = key.split('+')[0]\n\
        \x20   db.execute('INSERT INTO log VALUES (?, 0, ?)', (origin, '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='))\n\
        \x20   db.execute('INSERT INTO key VALUES (?, ?)', (origin, key))\n\
        db.commit()\n";
    ok(Command::new("python3").args(["-c", script]).arg(db).args(logs));
}

/// The Ed25519 key of an OpenSSH public key: the last 32 bytes of its blob.
fn ssh_key(public: &str) -> PublicKey {
    use base64::Engine as _;
    let blob = public.split_whitespace().nth(1).expect("the blob");
    let blob = base64::engine::general_purpose::STANDARD.decode(blob).expect("base64");
    PublicKey::from_bytes(blob.last_chunk::<32>().expect("a key")).expect("a key")
}

#[test]
#[ignore = "make interop"]
fn litewitness_cosigns_our_logs_and_others_check_our_witness() {
    let checker = judge("TLOG_JUDGE", "tlog-judge");
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let server = Server::start(&place("data"), &["--name", "here"]);
    let logs = [server.vkey("default").to_owned(), server.vkey("_ledger").to_owned()];
    let logs = logs.each_ref().map(String::as_str);
    assert_eq!(server.stop(), 0);
    let foreign = Litewitness::start(folder.path(), &logs);
    let own = Witness::start(&place("w"), &logs);
    let lines = [
        format!("witness lite {} {}", foreign.key, foreign.http),
        format!("witness ed {} {}", own.keys[0], own.http),
        format!("witness ml {} {}", own.keys[1], own.http),
    ];
    let file = policy(place("policy"), &lines, "group all3 all lite ed ml\nquorum all3");
    let with = ["--witness-policy", file.to_str().expect("text")];
    let server = Server::start(&place("data"), &with);
    // Several times, so that litewitness sees the log grow, with a consistency proof each time.
    for round in 0..4 {
        let change = format!("c-{round}");
        ok(&mut server.upm(&[
            "emit",
            "--wait",
            "--phase",
            "plan",
            "--change",
            &change,
            "--initiator",
            "a",
            "--request",
            "x",
        ]));
        let index = round + 1;
        let receipt = wait_for("a receipt under a checkpoint that all three cosigned", || {
            let (status, text) = server.get(&format!("/v1/tenants/default/events/{index}/receipt?witnessed"));
            (status == 200).then_some(text)
        });
        std::fs::write(place("receipt"), receipt).expect("written");
        let mut command = Command::new(&checker);
        command.arg("cosigned").arg(place("receipt")).arg(server.vkey("default"));
        command.args([&foreign.key, &own.keys[0], &own.keys[1]].map(CosignerKey::to_vkey));
        let out = ok(&mut command);
        // Each Ed25519 key by two implementations, ML-DSA-44 by one.
        assert_eq!(out.lines().filter(|line| line.starts_with("litewitness.example 1")).count(), 2, "{out}");
        assert_eq!(out.lines().count(), 5, "{out}");
        let mut verify = upm(["verify", "--key", server.vkey("default"), "--require", "witnessed"]);
        let (_, out, err) = run(verify.args(with).arg(place("receipt")));
        // In the order in which they answered.
        let reach = out.lines().find(|line| line.starts_with("trust reaches: witnessed by")).unwrap_or_default();
        assert!(["lite", "ed", "ml"].iter().all(|witness| reach.contains(witness)), "{out}{err}");
    }
    // The checker does tell: another key's line is missing.
    let mut command = Command::new(&checker);
    command.arg("cosigned").arg(place("receipt")).arg(server.vkey("default"));
    let stranger = ledger::cosignature::Cosigner::ed25519(KeyName::parse("x.example").expect("a name"), [3; 32]);
    let (code, out, _) = run(command.arg(stranger.verifier().to_vkey()));
    assert_eq!(code, 1, "{out}");
}

//! Witnesses: ours against the request scripts of a witness that is not ours, ours under SIGKILL, and two ledgers of ours that
//! are cosigned by it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use ledger::checkpoint::{Checkpoint, Origin};
use ledger::cosignature::{CosignerKey, cosignatures};
use ledger::hash::{self, Hash};
use ledger::key::PublicKey;
use ledger::note::{KeyName, SignedNote, VerifierKey};
use ledger::signing::Signer;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use upm_tests::{Server, ok, run, upm, wait_for};

const SCRIPT_ORIGIN: &str = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562";
const SUMDB_LOG: &str = "go.sum database tree=sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

/// A running `upm witness`, killed with the value.
pub(crate) struct Witness {
    child: Child,
    /// Where it is.
    pub(crate) http: String,
    /// Its keys: Ed25519, ML-DSA-44.
    pub(crate) keys: Vec<CosignerKey>,
}

impl Witness {
    pub(crate) fn start(data: &Path, logs: &[&str]) -> Witness {
        Self::start_with(data, logs, &[])
    }

    fn start_with(data: &Path, logs: &[&str], more: &[&str]) -> Witness {
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log"));
        let mut command = upm(["witness", "--json", "--listen", "127.0.0.1:0", "--rate", "100000", "--data"]);
        command.arg(data).args(logs.iter().flat_map(|log| ["--log", log])).args(more);
        let command = command.stdout(Stdio::piped()).stderr(stderr.expect("a log file beside the data directory"));
        let mut child = command.spawn().expect("upm witness starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let log = || std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}: {}", log()));
        let key = |name: &str| CosignerKey::parse(told["keys"][name].as_str().expect("a vkey")).expect("a vkey");
        let http = told["http"].as_str().expect("a URL").to_owned();
        Witness { child, http, keys: vec![key("Ed25519"), key("ML-DSA-44")] }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String, String)> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}{path}", self.http);
        let sent = if method == "GET" { agent.get(&url).call() } else { agent.post(&url).send(body) };
        let mut response = sent.ok()?;
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("").to_owned();
        Some((status, kind, response.body_mut().read_to_string().ok()?))
    }

    fn post(&self, body: &str) -> (u16, String, String) {
        self.ask("POST", "/add-checkpoint", body).expect("the witness answers")
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path, "").expect("the witness answers");
        (status, body)
    }

    /// The size that it says it cosigned last.
    fn remembered(&self, origin: &str) -> usize {
        let (status, note) = self.get(&format!("/{}/checkpoint", hash_of(origin)));
        if status == 404 {
            return 0;
        }
        let note = SignedNote::parse(&note).expect("a note");
        note.text().lines().nth(1).expect("a size").parse().expect("a size")
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn hash_of(origin: &str) -> String {
    hex::encode(Sha256::digest(origin))
}

/// A script of torchwood's litewitness, as `ledger/tests/vectors/litewitness` has it: each request has to have its answer.
fn play(witness: &Witness, script: &str) -> usize {
    let text = upm_tests::project().join("ledger/tests/vectors/litewitness").join(script);
    let text = std::fs::read_to_string(text).expect("the script");
    let mut count = 0;
    for post in text.split("\nPOST ").skip(1) {
        let mut parts = post.splitn(3, "```\n").skip(1);
        let (body, rest) = (parts.next().expect("a body"), parts.next().expect("what is expected"));
        let line = |start: &str| rest.lines().take(5).find_map(|line| line.strip_prefix(start));
        let (status, kind, answer) = witness.post(body);
        assert_eq!(Some(status.to_string().as_str()), line("HTTP "), "request {count} of {script}: {answer}");
        assert_eq!(kind == "text/x.tlog.size", status == 409, "request {count} of {script}: {kind}");
        let unquoted = |text: &str| text.trim_matches('"').replace("\\n", "\n");
        if let Some(part) = line("body contains ") {
            assert!(answer.contains(&unquoted(part)), "request {count} of {script}: {answer}");
        }
        if let Some(whole) = line("body == ") {
            assert_eq!(answer, unquoted(whole), "request {count} of {script}");
        }
        count += 1;
    }
    count
}

#[test]
fn the_scripts_of_litewitness() {
    let folder = folder();
    let key = "ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f";
    let key = PublicKey::from_bytes(&hex::decode(key).expect("hex").try_into().expect("32 bytes")).expect("a key");
    let vkey = VerifierKey::new(KeyName::parse(SCRIPT_ORIGIN).expect("a name"), key).to_vkey();
    let data = folder.path().join("w");
    ok(upm(["witness", "keys", "--name", "example.com/witness", "--data"]).arg(&data));
    let witness = Witness::start(&data, &[&vkey, SUMDB_LOG]);
    assert_eq!(witness.get(&format!("/{}/checkpoint", hash_of(SCRIPT_ORIGIN))).0, 404);
    assert_eq!((play(&witness, "litewitness.txt"), play(&witness, "sumdb.txt")), (9, 1));
    assert!(witness.get("/").1.contains(SCRIPT_ORIGIN));
    // What it serves to monitors: the log's signature, and both of its own.
    let (status, note) = witness.get(&format!("/{}/checkpoint", hash_of("go.sum database tree")));
    let note = SignedNote::parse(&note).expect("a note");
    assert_eq!((status, note.signatures().len()), (200, 3));
    assert_eq!(cosignatures(&note, &witness.keys).expect("good").len(), 2);
    assert_eq!(witness.get(&format!("/{}/checkpoint", hash_of("x"))).0, 404);
    for (method, path, expect) in [("GET", "/add-checkpoint", 405), ("POST", "/x", 404), ("GET", "/healthz", 200)] {
        assert_eq!(witness.ask(method, path, "").expect("an answer").0, expect, "{method} {path}");
    }
    assert_eq!(witness.post(&"x".repeat(513 << 10)).0, 413);
}

/// A request that does not arrive keeps none of a stranger's connections open.
#[test]
fn a_request_that_does_not_arrive_is_not_waited_for() {
    let folder = folder();
    let witness = Witness::start_with(&folder.path().join("w"), &[SUMDB_LOG], &["--body-time", "1s"]);
    let address = witness.http.strip_prefix("http://").expect("an address");
    let mut connection = std::net::TcpStream::connect(address).expect("it listens");
    let head = format!("POST /add-checkpoint HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\r\nold 0\n");
    std::io::Write::write_all(&mut connection, head.as_bytes()).expect("sent");
    connection.set_read_timeout(Some(upm_tests::PATIENCE)).expect("set");
    let mut told = String::new();
    std::io::Read::read_to_string(&mut connection, &mut told).expect("closed in time");
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    assert_eq!(witness.get("/healthz").0, 200);
}

/// A log of one leaf a size, only its checkpoints: enough to be cosigned.
struct TestLog {
    signer: Signer,
    leaves: Vec<Hash>,
}

impl TestLog {
    fn new() -> TestLog {
        let signer = Signer::from_seed(&Origin::parse("ledger.example/acme").expect("an origin"), [5; 32]);
        TestLog { signer, leaves: (0..4096_u32).map(|leaf| hash::leaf(&leaf.to_be_bytes())).collect() }
    }

    /// RFC 6962 §2.1 and §2.1.2, written as there: slow, and independent of the tree that is tested.
    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => hash::empty_root(),
            [leaf] => *leaf,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                hash::node(&TestLog::root(left), &TestLog::root(right))
            }
        }
    }

    fn proof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![TestLog::root(leaves)] };
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        if old <= split {
            let mut path = TestLog::proof(old, left, whole);
            path.push(TestLog::root(right));
            return path;
        }
        let mut path = TestLog::proof(old - split, right, false);
        path.push(TestLog::root(left));
        path
    }

    fn request(&self, old: usize, size: usize) -> String {
        let path = if old == 0 || old == size { Vec::new() } else { TestLog::proof(old, &self.leaves[..size], true) };
        let lines: String = path.iter().map(|hash| hash.to_base64() + "\n").collect();
        let origin = self.signer.name().clone();
        let (size, root) = (size as u64, TestLog::root(&self.leaves[..size]));
        format!("old {old}\n{lines}\n{}", self.signer.sign_checkpoint(&Checkpoint { origin, size, root }))
    }
}

/// The story: a witness is killed at any moment, while it answers. Whatever cosignature it has released, it must remember, or it
/// could cosign a fork of it; whatever it remembers beyond, it may go on from.
#[test]
fn invariant_a_killed_witness_remembers_what_it_released() {
    let folder = folder();
    let data = folder.path().join("w");
    let log = TestLog::new();
    let vkey = log.signer.verifier().to_vkey();
    let mut released = 0;
    for life in 0..12_u64 {
        let witness = Witness::start(&data, &[&vkey]);
        let known = witness.remembered(log.signer.name().as_str());
        assert!(known >= released, "life {life}: it remembers {known}, and has released {released}");
        let mut old = known;
        // Another thread kills it in the middle; each life a little later.
        let pid = witness.child.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5 + 7 * life));
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("process ids fit"));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("a child of ours");
        });
        while old < 4095 {
            let Some((status, _, body)) = witness.ask("POST", "/add-checkpoint", &log.request(old, old + 1)) else {
                break;
            };
            assert_eq!(status, 200, "life {life}: {body}");
            old += 1;
            released = old;
        }
        killer.join().expect("it killed");
    }
    assert!(released > 0, "something was released at all");
    // And never a fork of it.
    let witness = Witness::start(&data, &[&vkey]);
    let size = witness.remembered(log.signer.name().as_str());
    let mut fork = TestLog::new();
    fork.leaves[0] = Hash([0; 32]);
    assert_eq!(witness.post(&fork.request(size, size)).0, 422);
    assert_eq!(witness.post(&fork.request(size, size + 1)).0, 422);
    assert_eq!(witness.post(&log.request(size, size + 1)).0, 200);
}

/// A log that forks is not only refused: what it signed twice is kept, and found by whoever reads the witness's log.
#[test]
fn a_fork_leaves_its_proof() {
    let folder = folder();
    let data = folder.path().join("w");
    let log = TestLog::new();
    let vkey = log.signer.verifier().to_vkey();
    let hash = hash_of(log.signer.name().as_str());
    let mut fork = TestLog::new();
    fork.leaves[0] = Hash([0; 32]);
    let witness = Witness::start(&data, &[&vkey]);
    assert_eq!(witness.post(&log.request(0, 7)).0, 200);
    for _ in 0..2 {
        let (status, _, body) = witness.post(&fork.request(7, 7));
        assert!(status == 422 && body.contains("two histories"), "{status} {body}");
    }
    // A proof that does not hold accuses nobody: anybody can make one.
    assert_eq!(witness.post(&fork.request(7, 9)).0, 422);
    let names = std::fs::read_dir(data.join("witness")).expect("readable").map(|file| file.expect("one").file_name());
    let mut proof: Vec<String> =
        names.map(|name| name.into_string().expect("text")).filter(|name| name.contains(".fork.")).collect();
    proof.sort();
    assert_eq!(proof.len(), 2, "{proof:?}");
    assert!(proof.iter().all(|name| name.starts_with(&format!("{hash}.fork.7-"))), "{proof:?}");
    let said = std::fs::read_to_string(data.with_extension("log")).expect("a log");
    assert!(said.contains("contradicts what it signed before") && said.contains(log.signer.name().as_str()), "{said}");
    // Both are checkpoints of seven entries that the log's key signed, and they have different roots.
    let roots: Vec<String> = proof
        .iter()
        .map(|name| {
            assert!(said.contains(name.as_str()), "{said}");
            let note = std::fs::read_to_string(data.join("witness").join(name)).expect("readable");
            let head = ledger::checkpoint::open(&note, &log.signer.verifier()).expect("signed by the log");
            assert_eq!(head.size, 7);
            head.root.to_base64()
        })
        .collect();
    assert_eq!(roots, [TestLog::root(&log.leaves[..7]), TestLog::root(&fork.leaves[..7])].map(|root| root.to_base64()));
    drop(witness);

    // What it cosigned is lost: it does not begin again as if it never had.
    let file = data.join("witness").join(&hash);
    let note = std::fs::read(&file).expect("readable");
    std::fs::remove_file(&file).expect("removed");
    let (code, _, err) = run(upm(["witness", "--listen", "127.0.0.1:0", "--log", &vkey, "--data"]).arg(&data));
    assert!(
        code == 2 && err.contains(&format!("{hash} is missing")) && err.contains("could cosign a fork"),
        "{code} {err}"
    );
    std::fs::write(&file, note).expect("restored");
    let witness = Witness::start(&data, &[&vkey]);
    assert_eq!(witness.remembered(log.signer.name().as_str()), 7);
    assert_eq!(witness.post(&log.request(7, 9)).0, 200);
}

/// Many ask at once, about the same log: of two requests from the same size at most one moves the witness on.
#[test]
fn requests_at_once_never_roll_a_log_back() {
    let folder = folder();
    let log = TestLog::new();
    let witness = Witness::start(&folder.path().join("w"), &[&log.signer.verifier().to_vkey()]);
    assert_eq!(witness.post(&log.request(0, 1)).0, 200);
    let mut old = 1;
    for round in 0..10 {
        let sizes: Vec<usize> = (1..=8).map(|step| old + step * 3).collect();
        let answers: Vec<(usize, u16)> = std::thread::scope(|scope| {
            let ask = |size: usize| {
                let (witness, log) = (&witness, &log);
                scope.spawn(move || (size, witness.post(&log.request(old, size)).0))
            };
            let threads: Vec<_> = sizes.iter().map(|size| ask(*size)).collect();
            threads.into_iter().map(|thread| thread.join().expect("asked")).collect()
        });
        let won: Vec<usize> = answers.iter().filter(|(_, status)| *status == 200).map(|(size, _)| *size).collect();
        assert_eq!(won.len(), 1, "round {round}: {answers:?}");
        assert!(answers.iter().all(|(_, status)| [200, 409].contains(status)), "{answers:?}");
        old = won[0];
    }
}

/// A policy of these witnesses, each line `witness <name> <vkey> <url>`.
pub(crate) fn policy(path: PathBuf, lines: &[String], rule: &str) -> PathBuf {
    std::fs::write(&path, format!("{}\n{rule}\n", lines.join("\n"))).expect("written");
    path
}

fn emit(server: &Server, change: &str) -> u64 {
    let words =
        ["emit", "--wait", "--json", "--phase", "plan", "--change", change, "--initiator", "alice", "--request", "x"];
    let out = ok(&mut server.upm(&words));
    let answer: Value = serde_json::from_str(out.lines().next().expect("a line")).expect("JSON");
    answer["index"].as_u64().expect("an index")
}

#[test]
fn two_ledgers_are_cosigned_by_a_witness_of_ours() {
    let folder = folder();
    let place = |name: &str| folder.path().join(name);
    let (a, b) = (Server::start(&place("a"), &["--name", "a"]), Server::start(&place("b"), &["--name", "b"]));
    let logs = [a.vkey("default"), a.vkey("_ledger"), b.vkey("default"), b.vkey("_ledger")].map(str::to_owned);
    let witness = Witness::start(&place("w"), &logs.each_ref().map(String::as_str));
    assert_eq!((a.stop(), b.stop()), (0, 0));
    let lines: Vec<String> = witness
        .keys
        .iter()
        .zip(["w-ed25519", "w-ml-dsa"])
        .map(|(key, name)| format!("witness {name} {key} {}", witness.http))
        .collect();
    let rule = "group both all w-ed25519 w-ml-dsa\nquorum both";
    let file = policy(place("policy"), &lines, rule);
    let with = ["--witness-policy", file.to_str().expect("text")];
    let (a, b) = (Server::start(&place("a"), &with), Server::start(&place("b"), &with));
    for server in [&a, &b] {
        let index = emit(server, "c-1");
        let receipt = wait_for("a witnessed receipt", || {
            let (status, text) = server.get(&format!("/v1/tenants/default/events/{index}/receipt?witnessed"));
            (status == 200).then_some(text)
        });
        for log in ["default", "_ledger"] {
            let note = wait_for("a cosigned checkpoint", || {
                let (status, text) = server.get(&format!("/logs/{log}/checkpoint?cosigned"));
                (status == 200).then_some(text)
            });
            let note = SignedNote::parse(&note).expect("a note");
            assert_eq!(cosignatures(&note, &witness.keys).expect("good").len(), 2, "{log}");
        }
        let ready = server.json("/readyz");
        assert_eq!(ready["ready"], true);
        assert_eq!(ready["witnesses"][0]["cosigned"]["default"].as_u64(), Some(index + 1), "{ready}");

        // Whoever holds the receipt needs no server.
        std::fs::write(place("receipt"), &receipt).expect("written");
        let verify = |more: &[&str]| {
            let words = ["verify", place("receipt").to_str().expect("text"), "--key", server.vkey("default")]
                .map(str::to_owned);
            run(upm(words).args(more))
        };
        let (_, out, err) = verify(&with);
        assert!(out.contains("witnessed by w-ed25519, w-ml-dsa at 20"), "{out}{err}");
        let (code, out, _) = verify(&[&with[..], &["--require", "witnessed"]].concat());
        assert!(code == 2 && !out.contains("unmet"), "all but the event is checked: {out}");
        let (code, out, _) = verify(&["--require", "witnessed"]);
        assert_eq!(code, 1, "{out}");
        let pack = place(&format!("{index}-{}.zip", server.places["ledger"].as_str().expect("a name")));
        ok(server.upm(&["pack", "c-1", "--witnessed", "-o"]).arg(&pack));
        let whole = ["--key", server.vkey("default"), "--require", "witnessed"];
        let out = ok(upm(["verify"]).arg(&pack).args(whole).args(with));
        assert!(out.contains("trust reaches: witnessed by w-ed25519, w-ml-dsa at 20"), "{out}");
    }
    // Kept across a restart without any witness.
    let (_, note) = a.get("/logs/default/checkpoint?cosigned");
    assert_eq!(a.stop(), 0);
    drop(witness);
    let a = Server::start(&place("a"), &[]);
    assert_eq!(a.get("/logs/default/checkpoint?cosigned"), (200, note.clone()));
    assert_eq!(a.get("/logs/default/checkpoint"), (200, note));
}

/// Two operators who trust each other's clocks and memories, not each other's keys: each runs a witness for the other one's ledger.
#[test]
fn two_ledgers_of_ours_witness_each_other() {
    let folder = folder();
    let place = |name: &str| folder.path().join(name);
    let keys = |name: &str| {
        let server = Server::start(&place(name), &["--name", name]);
        let keys = [server.vkey("default").to_owned(), server.vkey("_ledger").to_owned()];
        assert_eq!(server.stop(), 0);
        keys
    };
    let (of_a, of_b) = (keys("a"), keys("b"));
    let witness = |name: &str, logs: &[String; 2]| Witness::start(&place(name), &logs.each_ref().map(String::as_str));
    let (by_a, by_b) = (witness("a-witness", &of_b), witness("b-witness", &of_a));
    let asking = |name: &str, other: &Witness| {
        let line = format!("witness other {} {}", other.keys[0], other.http);
        policy(place(name), &[line], "quorum other").to_str().expect("text").to_owned()
    };
    let (with_b, with_a) = (asking("policy-a", &by_b), asking("policy-b", &by_a));
    let a = Server::start(&place("a"), &["--witness-policy", &with_b]);
    let b = Server::start(&place("b"), &["--witness-policy", &with_a]);
    for (server, other) in [(&a, &by_b), (&b, &by_a)] {
        let size = emit(server, "c-1") + 1;
        let note = wait_for("the other one's cosignature", || {
            let (status, text) = server.get("/logs/default/checkpoint?cosigned");
            (status == 200 && text.lines().nth(1) == Some(&size.to_string())).then_some(text)
        });
        let note = SignedNote::parse(&note).expect("a note");
        assert_eq!(cosignatures(&note, &other.keys[..1]).expect("good").len(), 1);
    }
    // Neither knows its own logs, nor takes a stranger's for them.
    let (_, own) = a.get("/logs/default/checkpoint");
    assert_eq!(by_a.post(&format!("old 0\n\n{own}")).0, 404, "nobody witnesses for themselves");
    assert_eq!((a.stop(), b.stop()), (0, 0));
}

/// Number of a connection, and what it said.
type Heard = (u32, Vec<u8>);

/// A witness that takes requests and never says a word. Gives its address, the number and beginning of each request, and the numbers of
/// those that are still waited for.
fn silent() -> (std::net::SocketAddr, mpsc::Receiver<Heard>, Arc<Mutex<BTreeSet<u32>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (to_us, asked) = mpsc::channel();
    let waiting = Arc::<Mutex<BTreeSet<u32>>>::default();
    let held = Arc::clone(&waiting);
    std::thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming()) {
            let (Ok(mut stream), to_us, held) = (stream, to_us.clone(), Arc::clone(&held)) else { return };
            std::thread::spawn(move || {
                let mut begun = [0; 15];
                if stream.read_exact(&mut begun).is_err() {
                    return;
                }
                held.lock().expect("nobody panicked").insert(number);
                let _ = to_us.send((number, begun.to_vec()));
                // Until they give up.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
                held.lock().expect("nobody panicked").remove(&number);
            });
        }
    });
    (address, asked, waiting)
}

/// One witness takes connections and never says a word; another one works. While one and the same request to the silent one is waited
/// for, five events are confirmed, each in a round of its own, and cosigned: if any of them waited for it, that could never be.
#[test]
fn a_witness_that_hangs_holds_up_nobody() {
    let folder = folder();
    let place = |name: &str| folder.path().join(name);
    let server = Server::start(&place("a"), &["--name", "a"]);
    let logs = [server.vkey("default").to_owned(), server.vkey("_ledger").to_owned()];
    assert_eq!(server.stop(), 0);
    let witness = Witness::start(&place("w"), &logs.each_ref().map(String::as_str));
    let (address, asked, waiting) = silent();
    let hung = ledger::cosignature::Cosigner::ed25519(KeyName::parse("hung.example").expect("a name"), [9; 32]);
    let lines = [
        format!("witness good {} {}", witness.keys[0], witness.http),
        format!("witness hung {} http://{address}", hung.verifier()),
    ];
    let file = policy(place("policy"), &lines, "group g any good hung\nquorum g");
    let server = Server::start(&place("a"), &["--witness-policy", file.to_str().expect("text")]);
    let is_waited_for = |number: u32| waiting.lock().expect("nobody panicked").contains(&number);
    let mut windows = 0;
    loop {
        let (number, begun) = asked.recv_timeout(Duration::from_mins(2)).expect("the silent one is asked");
        assert_eq!(begun, b"POST /add-check");
        // A request ends after ten seconds: on a busy machine it may take another one.
        if !is_waited_for(number) {
            continue;
        }
        let last = (0..5).fold(0, |_, n| emit(&server, &format!("c-{windows}-{n}")));
        wait_for("a witnessed receipt", || {
            let (status, _) = server.get(&format!("/v1/tenants/default/events/{last}/receipt?witnessed"));
            (status == 200).then_some(())
        });
        assert_eq!(server.json("/readyz")["ready"], true);
        if is_waited_for(number) {
            break;
        }
        windows += 1;
        assert!(windows < 6, "never were five events confirmed while one request was waited for");
    }
    let stopping = Instant::now();
    assert_eq!(server.stop(), 0);
    assert!(stopping.elapsed() < Duration::from_secs(20), "{:?}", stopping.elapsed());
}

#[test]
fn a_policy_that_can_not_be_read_is_refused_at_once() {
    let folder = folder();
    let file = policy(folder.path().join("policy"), &["witness w x".to_owned()], "quorum w");
    let path = file.to_str().expect("text");
    let data = folder.path().join("data");
    let (code, _, err) = run(upm(["serve", "--witness-policy", path, "--data"]).arg(&data));
    assert_eq!(code, 2);
    assert!(err.contains("witness policy, line 1: witness key: not a verifier key"), "{err}");
    let (code, _, err) = run(upm(["witness", "--data"]).arg(&data));
    assert_eq!(code, 2);
    assert!(err.contains("no log to watch"), "{err}");
    let (code, _, err) = run(upm(["serve", "--witness-policy", "/nowhere", "--data"]).arg(&data));
    assert_eq!(code, 2);
    assert!(err.contains("/nowhere"), "{err}");
}

//! The story of a crash: a producer that is not ours publishes as fast as it can; `upm serve` is killed with SIGKILL at
//! a random moment, twenty times, on one data directory. Afterwards
//! - every answer the producer holds is still true: its receipt verifies, and its index holds that very event;
//! - every message the road ever stored is exactly one entry, or a repetition of one;
//! - the whole tree, recomputed from raw entries, has the root that was signed.
//!
//! And of a start that never came to its end: the very first one of a data directory, killed again and again, is still followed by one
//! that is ready.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ledger::entry::Header;
use ledger::hash;
use ledger::kv::Kv;
use ledger::layout::LogId;
use ledger::note::VerifierKey;
use ledger::read::Log;
use ledger::receipt::Receipt;
use ledger_rocks::Rocks;
use rs_merkle::{Hasher, MerkleTree};
use serde_json::Value;
use sha2::{Digest, Sha256};
use upm_tests::{Progress, Server, ok, python, upm, wait_for};

const SEED: u64 = 0x7570_6d6c;
const BURST: &str = "4000";

#[test]
fn sigkill_loses_and_doubles_nothing() {
    // Many crashes are about where they come; a few, about how much there is to lose.
    let (crashes, most) = if std::env::var_os("UPM_SOAK").is_some() { (500, 400) } else { (20, 1_500) };
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let seed = std::env::var("UPM_SEED").ok().map_or(SEED, |seed| seed.parse().expect("UPM_SEED is a number"));
    println!("{crashes} crashes, seed {seed} (UPM_SEED)");
    let mut random: u64 = seed;
    let mut answers = Vec::new();
    let mut progress = Progress::new("SIGKILLs", crashes, Duration::from_mins(3));
    for round in 0..crashes {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let enough = usize::try_from(random >> 33).expect("31 bits fit") % most;
        answers.extend(burst_until_crash(&data, folder.path(), round, enough));
        progress.done(round + 1, format_args!("{} answers, seed {seed}", answers.len()));
    }

    let server = Server::start(&data, &["--tenant", "acme"]);
    let key = VerifierKey::parse(server.vkey("acme")).expect("serve.json holds a vkey");
    let road = road(&server);
    let distinct: BTreeSet<&String> = road.values().collect();
    wait_for("the whole road to be committed", || {
        let (_, checkpoint) = server.get("/logs/acme/checkpoint");
        let size: usize = checkpoint.lines().nth(1)?.parse().ok()?;
        // Entry 0 is the log's own.
        (size > distinct.len()).then_some(())
    });
    assert_eq!(server.stop(), 0, "a clean stop after the crashes");

    let store = Rocks::open(&data.join("ledger")).expect("the ledger opens");
    let (tenant_log, ..) = acme(&store);
    let log = Log::open(&store, tenant_log).expect("the log is there");
    every_answer_is_true(&log, &key, &answers);
    every_message_is_one_entry(&log, &road);
    the_root_is_the_signed_one(&log, &key);
}

#[test]
fn a_first_start_that_was_killed_is_followed_by_one_that_is_ready() {
    let (places, kills) = if std::env::var_os("UPM_SOAK").is_some() { (200, 4) } else { (10, 4) };
    let folder = tempfile::tempdir().expect("a folder");
    let seed = std::env::var("UPM_SEED").ok().map_or(SEED, |seed| seed.parse().expect("UPM_SEED is a number"));
    println!("{places} first starts, seed {seed} (UPM_SEED)");
    let mut random: u64 = seed;
    let mut progress = Progress::new("first starts", places, Duration::from_mins(3));
    for place in 0..places {
        let data = folder.path().join(place.to_string());
        for _ in 0..kills {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut serve = upm(["serve", "--listen", "127.0.0.1:0", "--tenant", "acme", "--data"]);
            let serve = serve.arg(&data).stdout(Stdio::null()).stderr(Stdio::null());
            let mut serve = serve.spawn().expect("upm starts");
            // The store is made within the first 100 ms, most of it within 30.
            std::thread::sleep(Duration::from_micros((random >> 33) % [10_000, 30_000, 100_000][place % 3]));
            serve.kill().expect("it can be killed");
            serve.wait().expect("it can be waited for");
        }
        let server = Server::start(&data, &["--tenant", "acme"]);
        assert_eq!(server.get("/readyz").0, 200);
        assert_eq!(server.stop(), 0);
        progress.done(place + 1, format_args!("seed {seed}"));
    }
}

/// One life of the server: returns the answers that the producer got before the SIGKILL.
fn burst_until_crash(data: &Path, folder: &Path, round: usize, enough: usize) -> Vec<Value> {
    let server = Server::start(data, &["--tenant", "acme"]);
    let out = folder.join(format!("answers-{round}"));
    let mut producer = python("burst.py")
        .args([server.nats(), "acme", &format!("run{round}"), BURST])
        .arg(&out)
        .stderr(Stdio::null())
        .spawn()
        .expect("python starts");
    let answered = || std::fs::read_to_string(&out).unwrap_or_default();
    wait_for("enough answers", || {
        let ended = producer.try_wait().expect("the producer can be asked").is_some();
        (ended || answered().lines().count() > enough).then_some(())
    });
    server.crash();
    wait_for("the producer to notice", || producer.try_wait().expect("the producer can be asked"));
    answered().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Stream sequence → digest of subject and message, as the road holds them. A plain client may not read them: they are
/// from before masking. The service's own user may, and its password derives from the key of the store.
fn road(server: &Server) -> BTreeMap<u64, String> {
    let key = std::fs::read_to_string(server.data().join("keys/nats.key")).expect("readable");
    let password = hash::leaf(format!("upm nats service user\0{}", key.trim()).as_bytes());
    let url = server.nats().replace("nats://", &format!("nats://upm:{password}@"));
    ok(python("road.py").args([&url, "UPM_acme"]))
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("road.py prints JSON");
            (row["sequence"].as_u64().expect("a number"), row["digest"].as_str().expect("text").to_owned())
        })
        .collect()
}

fn every_answer_is_true<K: Kv>(log: &Log<K>, key: &VerifierKey, answers: &[Value]) {
    assert!(answers.len() > 1000, "only {} answers: the crashes came before any work", answers.len());
    for answer in answers {
        assert_ne!(answer["status"], "rejected", "{answer}");
        let event = STANDARD.decode(answer["event"].as_str().expect("text")).expect("base64");
        let receipt = Receipt::parse(answer["receipt"].as_str().expect("text")).expect("a receipt");
        receipt.verify(key, &event).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(answer["index"], receipt.index);
        assert_eq!(
            log.entry(receipt.index).expect("readable"),
            Some(receipt.entry),
            "the log still holds what it confirmed"
        );
    }
}

fn every_message_is_one_entry<K: Kv>(log: &Log<K>, road: &BTreeMap<u64, String>) {
    let mut entries: HashMap<String, u64> = HashMap::new();
    for index in 0..log.head().expect("readable").size {
        let entry = log.entry(index).expect("readable").expect("no hole");
        let header = match Header::decode(&entry).expect("a header") {
            Header::Event(header) => header,
            Header::First(_) => continue,
            other => panic!("entry {index} is {other:?}: a crash cuts no road"),
        };
        let payload = log.stored(index).expect("readable").expect("a payload").payload;
        let subject = format!("upm.events.acme.{}.burst", header.phase);
        let digest = hex::encode(Sha256::new_with_prefix(subject).chain_update([0]).chain_update(payload).finalize());
        assert_eq!(road.get(&header.road.sequence), Some(&digest), "entry {index} is the message at its road sequence");
        let earlier = entries.insert(digest, index);
        assert_eq!(earlier, None, "entry {index} repeats an entry");
    }
    for (sequence, digest) in road {
        assert!(entries.contains_key(digest), "message {sequence} of the road is in no entry");
    }
}

#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> Self::Hash {
        Sha256::digest(data).into()
    }

    fn concat_and_hash(left: &Self::Hash, right: Option<&Self::Hash>) -> Self::Hash {
        right.map_or(*left, |right| {
            Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
        })
    }
}

fn the_root_is_the_signed_one<K: Kv>(log: &Log<K>, key: &VerifierKey) {
    let size = log.head().expect("readable").size;
    let leaves: Vec<[u8; 32]> = (0..size)
        .map(|index| {
            let entry = log.entry(index).expect("readable").expect("no hole");
            Sha256::new_with_prefix([0]).chain_update(entry).finalize().into()
        })
        .collect();
    let note = log.newest_checkpoint().expect("a checkpoint");
    let checkpoint = ledger::checkpoint::open(&note, key).expect("the log's own signature");
    assert_eq!(checkpoint.size, size);
    assert_eq!(Some(checkpoint.root.0), MerkleTree::<Rfc6962>::from_leaves(&leaves).root());
}

fn acme(store: &Rocks) -> (LogId, String) {
    ledger::birth::list_tenants(store)
        .expect("readable")
        .into_iter()
        .find(|(tenant, ..)| tenant.as_str() == "acme")
        .map(|(_, log, origin)| (log, origin.to_string()))
        .expect("acme is a tenant")
}

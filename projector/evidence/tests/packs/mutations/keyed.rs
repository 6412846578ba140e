//! A log that has had two keys, and a verifier who holds the first: every way of leading it astray.

use base64::{Engine, prelude::BASE64_STANDARD};
use evidence::{PackInput, Status, Trust};
use ledger::checkpoint::Origin;
use ledger::control::ControlOp;
use ledger::entry::{ControlHeader, Header, Salt, commitment};
use ledger::governance::{Act, KeyChain, KeyChange, KeyStatus, Place, message};
use ledger::hash::{self, Hash};
use ledger::signing::Signer;
use serde_json::{Value, json};

use super::Mutation;
use crate::world::{Files, World, event, files_of, resigned, verify, zipped};

const CHAIN: &str = "keys/chain.json";

/// Change `a` over a change of the log's key, with the way from the first to the second.
struct Rekeyed {
    world: World,
    chain: Value,
}

impl Rekeyed {
    /// The first key retires.
    fn new(recovery: &Signer) -> Self {
        Self::with(recovery, KeyStatus::Retired)
    }

    /// The recovery key signs the change, or whoever pretends to have it.
    fn with(recovery: &Signer, status: KeyStatus) -> Self {
        let mut world = World::new();
        let (origin, old) = (world.origin.clone(), Signer::from_seed(&world.origin, [7; 32]));
        let new = Signer::from_seed(&origin, [17; 32]);
        world.add(&event("plan", "a", r#""plan":{"commands":["true"]}"#));
        let released = world.checkpoint(2);
        let (old_key, new_key) = (old.public_key(), new.public_key());
        let root = world.input_at("a", 2).root;
        let change = KeyChange { new: new_key, old: old_key, status, from: 2, size: 2, root };
        let place = |origin: Origin, prev: Hash| Place { origin, counter: 0, prev };
        let ledger = Origin::of("test-ledger", "_ledger").unwrap();
        let lister = Signer::from_seed(&ledger, [8; 32]);
        let (on, of) = (place(origin, hash::leaf(&world.bytes(1)[0])), place(ledger, Hash([5; 32])));
        let signers: &[&Signer] = if status == KeyStatus::Retired { &[recovery, &old] } else { &[recovery] };
        let made = message(&Act::Key(change), &on, signers, &of, &lister, Salt([6; 16])).unwrap().print();
        let salt = Salt([2; 16]);
        world.add_header(Header::Control(ControlHeader {
            at: 1_760_011_202_000,
            road: None,
            op: ControlOp::Key,
            counter: 1,
            commit: commitment(&salt, &made),
            size: made.len() as u64,
        }));
        world.add(&event("execute", "a", r#""execution":{"steps":[{"cmd":"x","rc":0}]}"#));
        let world = world.signed_by(new);
        let (size, entries) = (world.size(), world.bytes(world.size()));
        let base64 = |path: Vec<Hash>| path.iter().map(Hash::to_base64).collect::<Vec<_>>();
        let under = |index| base64(world.pack_entry(index, size).path);
        let chain = json!({
            "checkpoint": world.checkpoint(size),
            "controls": [{
                "entry": BASE64_STANDARD.encode(&entries[2]), "index": 2, "message": BASE64_STANDARD.encode(&made),
                "path": under(2), "salt": salt.to_hex(),
            }],
            "first": {"entry": BASE64_STANDARD.encode(&entries[0]), "path": under(0)},
            "old": [{
                "checkpoint": released, "consistency": base64(world.path(2, size)),
                "first": base64(world.pack_entry(0, 2).path),
            }],
            "v": 1,
        });
        Self { world, chain }
    }

    fn honest() -> Self {
        Self::new(&recovery())
    }

    /// A pack, with this text as its chain.
    fn files(&self, chain: &str) -> Files {
        let mut files = self.world.files("a");
        files.insert(CHAIN.into(), chain.as_bytes().to_vec());
        self.world.resigned(files)
    }
}

fn recovery() -> Signer {
    Signer::from_seed(&World::new().origin, [9; 32])
}

/// Whoever knows from elsewhere that a key was stolen is not told that it retired.
#[test]
fn a_chain_that_ends_a_key_otherwise_than_the_one_from_elsewhere_is_refuted() {
    let retired = Rekeyed::honest();
    let pack = zipped(&retired.files(&retired.chain.to_string()));
    for (status, code) in [(KeyStatus::Retired, 0), (KeyStatus::Compromised, 1), (KeyStatus::Lost, 1)] {
        let brought = Rekeyed::with(&recovery(), status).chain.to_string().into_bytes();
        let report = verify(&pack, &Trust { keys: Some(brought), ..World::new().trust() });
        assert_eq!(report.exit_code(), code, "{status:?}: {report}");
        assert_eq!(report.refuted().contains(&"trust.keys"), code == 1, "{report}");
    }
}

/// The way leads: over the writer and over the hands of these tests the same bytes, and the first key is enough.
#[test]
fn an_earlier_key_leads_to_the_pack() {
    let log = Rekeyed::honest();
    let chain = KeyChain::parse(log.chain.to_string().as_bytes()).unwrap();
    let input = PackInput { keys: Some(chain), ..log.world.input("a") };
    let sealed = evidence::plan(&input).unwrap().seal(&log.world.signer).unwrap();
    let files = log.files(&log.chain.to_string());
    assert_eq!(files_of(&sealed), files);
    for trust in [World::new().trust(), log.world.trust()] {
        let report = verify(&zipped(&files), &trust);
        assert_eq!(report.exit_code(), 0, "{report}");
        assert!(report.checks.iter().any(|check| check.id == "trust.keys" && check.status == Status::Ok), "{report}");
    }
}

pub(super) fn all() -> Vec<Mutation> {
    let log = Rekeyed::honest();
    let text = log.chain.to_string();
    let made = |name, files: Files, check, names| Mutation { name, pack: zipped(&files), check, names };
    let chained = |name, change: &dyn Fn(&mut Value)| {
        let mut chain = log.chain.clone();
        change(&mut chain);
        assert_ne!(chain, log.chain, "{name} changes nothing");
        made(name, log.files(&chain.to_string()), "trust.keys", CHAIN)
    };
    let spelt = |name, from: &str, to: &str| {
        assert!(text.contains(from), "{name} changes nothing");
        made(name, log.files(&text.replacen(from, to, 1)), "trust.keys", CHAIN)
    };
    let other = BASE64_STANDARD.encode([9; 32]);
    let thief = Signer::from_seed(&log.world.origin, [66; 32]);
    let impostor = Rekeyed::new(&thief);
    // Whoever stole the first key after it had retired signs as if nothing had happened.
    let stolen = Rekeyed {
        world: Rekeyed::honest().world.signed_by(Signer::from_seed(&log.world.origin, [7; 32])),
        chain: Value::Null,
    };
    let mut theirs = log.chain.clone();
    theirs["checkpoint"] = json!(stolen.world.checkpoint(stolen.world.size()));
    let mut single = World::small().files("a");
    let first = json!({
        "checkpoint": World::small().checkpoint(2), "controls": [],
        "first": {
            "entry": BASE64_STANDARD.encode(&World::small().bytes(1)[0]),
            "path": World::small().pack_entry(0, 2).path.iter().map(Hash::to_base64).collect::<Vec<_>>(),
        },
        "old": [], "v": 1,
    });
    single.insert(CHAIN.into(), first.to_string().into_bytes());
    let with_stranger = resigned(log.files(&text), &thief);
    vec![
        made("no way from the key that is held", log.world.files("a"), "checkpoint.signature", "checkpoint"),
        chained("no checkpoint of the earlier key", &|chain| chain["old"] = json!([])),
        chained("no change of keys", &|chain| chain["controls"] = json!([])),
        chained("a change of keys without its message", &|chain| {
            drop(chain["controls"][0].as_object_mut().unwrap().remove("message"));
        }),
        chained("a change of keys with another salt", &|chain| chain["controls"][0]["salt"] = json!("00".repeat(16))),
        chained("a change of keys at another index", &|chain| chain["controls"][0]["index"] = json!(3)),
        chained("a change of keys that is not in the tree", &|chain| chain["controls"][0]["path"][0] = json!(other)),
        chained("another first entry", &|chain| chain["first"]["entry"] = chain["controls"][0]["entry"].clone()),
        chained("a first entry that is not in the tree", &|chain| chain["first"]["path"][0] = json!(other)),
        chained("an earlier tree that is not the beginning", &|chain| chain["old"][0]["consistency"][0] = json!(other)),
        chained("an earlier tree with another first entry", &|chain| chain["old"][0]["first"][0] = json!(other)),
        chained("a chain under an earlier checkpoint", &|chain| {
            chain["checkpoint"] = chain["old"][0]["checkpoint"].clone();
        }),
        chained("a chain of a version that is not known", &|chain| chain["v"] = json!(2)),
        chained("a chain that says more", &|chain| chain["note"] = json!("trust me")),
        spelt("a member of a chain twice", r#""v":1"#, r#""v":1,"v":1"#),
        spelt("spaces in a chain", r#""v":1"#, r#""v": 1"#),
        made(
            "a change of keys that the recovery key did not sign",
            impostor.files(&impostor.chain.to_string()),
            "trust.keys",
            CHAIN,
        ),
        made("a checkpoint by a key that had retired", stolen.files(&theirs.to_string()), "trust.keys", CHAIN),
        made("a way where there is none to go", World::small().resigned(single), "trust.keys", CHAIN),
        made(
            "an attestation by a key that is none of the log's",
            with_stranger,
            "attestation.signature",
            "attestation.sigstore.json",
        ),
    ]
}

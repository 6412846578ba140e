//! A real pack, with a log kept by reference and the headers behind its last entry, in which one file holds anything: its parsers are reached
//! by the way that a verifier goes, which never says yes.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use evidence::zip::{File, read};
use evidence::{InMemory, KeyFile, PackEntry, PackInput, Trust, Verdict, verify_pack};
use ledger::checkpoint::{Checkpoint, Origin};
use ledger::entry::{EventHeader, First, Header, Road, Salt, commitment};
use ledger::frontier::Frontier;
use ledger::hash::{self, Hash};
use ledger::signing::Signer;
use libfuzzer_sys::fuzz_target;
use projector::approval::Rules;
use projector::document::Context;
use schemas::admit::{Scratch, derive};
use schemas::object::parse_digest;
use schemas::rules;

const EVENT: &[u8] = br#"{"provisioning_event":{"id":"e","change_id":"c","timestamp":"2025-10-09T12:00:00Z","phase":"execute","intent":{"source":"api","initiator":"ann","tenant":"acme"},"plan":{"commands":["true"]},"execution":{"steps":[{"cmd":"true","rc":0,"stdout":"x","stderr_ref":"obs://b/n?size=8#sha256:8f521f0f3624853f48fafedc6205f0f45cfd4851d0e1ac7a615f2fd4b87ab4c5"}]}}}"#;

/// The log that the event refers to, and its SHA-256.
const OBJECT: (&[u8], &str) = (b"printed\n", "8f521f0f3624853f48fafedc6205f0f45cfd4851d0e1ac7a615f2fd4b87ab4c5");

/// A pack and the trust under which it holds.
struct Made {
    pack: Vec<u8>,
    trust: Trust,
}

static MADE: LazyLock<Made> = LazyLock::new(make);

fn make() -> Made {
    let origin = Origin::parse("fuzz/acme").expect("an origin");
    let signer = Signer::from_seed(&origin, [7; 32]);
    let (at, salt, rules) = (1_760_011_200_000, Salt([1; 16]), Hash(rules::current().name));
    let first = Header::First(First {
        at,
        origin: origin.clone(),
        log_key: signer.public_key(),
        admin_keys: vec![Signer::from_seed(&origin, [8; 32]).public_key()],
        recovery_key: Signer::from_seed(&origin, [9; 32]).public_key(),
        rules,
        stream_created_ms: None,
    });
    let (_, phase, masked, facts) = derive(EVENT, &mut Scratch::default()).expect("an event");
    let change = facts.change.clone();
    let event = Header::Event(EventHeader {
        change: facts.change,
        seq: 0,
        prev: None,
        id: facts.id,
        phase,
        env: facts.environment,
        class: facts.class,
        probe: facts.probe,
        producer: None,
        has: facts.has,
        outcome: facts.outcome,
        ts: facts.ts,
        at,
        road: Road { epoch: 0, sequence: 1 },
        commit: commitment(&salt, EVENT),
        size: EVENT.len() as u64,
        masked,
        rules,
    });
    let [first, entry] = [first, event].map(|header| header.encode().expect("an entry"));
    let path = vec![hash::leaf(&first)];
    let root = hash::node(&path[0], &hash::leaf(&entry));
    let mut tree = Frontier::default();
    [&first, &entry].into_iter().for_each(|entry| tree.push(hash::leaf(entry)));
    let (object, digest) = OBJECT;
    let digest = parse_digest(digest).expect("a digest");
    let input = PackInput {
        checkpoint: signer.sign_checkpoint(&Checkpoint { origin: origin.clone(), size: 2, root }),
        context: Context { rules: Rules::new(origin.as_str()), as_of_ms: at },
        origin,
        change,
        size: 2,
        root,
        cosignatures: Vec::new(),
        log: InMemory {
            entries: vec![PackEntry { index: 1, entry, salt, payload: EVENT.to_vec(), path }],
            objects: [(digest, object.to_vec())].into(),
            ..InMemory::default()
        },
        verifier: signer.verifier(),
        keys: None,
        headers: Some(tree),
    };
    let sealed = evidence::plan(&input).and_then(|plan| plan.seal(&signer)).expect("a pack");
    let mut pack = Vec::new();
    evidence::write(&sealed, &mut pack).expect("memory");
    let trust = Trust { key: Some(KeyFile::Vkey(signer.verifier())), ..Trust::default() };
    let report = verify_pack(Cursor::new(&pack), &trust);
    assert_eq!(report.verdict, Verdict::Ok, "the pack itself holds: {report}");
    assert!(report.to_string().contains("1 of 1 are here"), "{report}");
    Made { pack, trust }
}

fuzz_target!(|input: &[u8]| {
    let Some((which, content)) = input.split_first() else { return };
    let Made { pack, trust } = &*MADE;
    let mut files: Vec<File<'_>> = read(pack).expect("a pack");
    let at = usize::from(*which) % files.len();
    let same = files[at].bytes == content;
    files[at].bytes = content;
    let mut changed = Vec::new();
    evidence::zip::write(&files, &mut changed).expect("the same names");
    let report = verify_pack(Cursor::new(&changed), trust);
    assert_eq!(report.verdict == Verdict::Ok, same, "{report}");
});

//! A small log made by hand, and packs of it: whole, and re-made after tampering.
//!
//! What a pack signs is built here a second time, from FORMATS and not from the crate's own code, so that the two hold each other.

use std::collections::BTreeMap;
use std::io::Cursor;

use base64::{Engine, prelude::BASE64_STANDARD};
use evidence::{InMemory, KeyFile, PackEntry, PackInput, PackLog, Report, SealedPack, Trust, verify_pack, zip};
use ledger::checkpoint::{Checkpoint, Origin};
use ledger::entry::{EventHeader, First, Header, Heartbeat, Road, Salt, commitment};
use ledger::hash::{self, Hash};
use ledger::proof;
use ledger::receipt::Receipt;
use ledger::signing::Signer;
use ledger::tree::{TileId, TileSource};
use projector::approval::Rules;
use projector::document::Context;
use schemas::admit::{self, Scratch};
use schemas::ids::ChangeId;
use schemas::rules;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Files of a pack by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) struct World {
    pub(crate) origin: Origin,
    pub(crate) signer: Signer,
    /// What is kept beside the log, by digest.
    pub(crate) objects: BTreeMap<[u8; 32], Vec<u8>>,
    entries: Vec<Stored>,
}

#[derive(Clone)]
struct Stored {
    bytes: Vec<u8>,
    header: Header,
    salt: Salt,
    payload: Vec<u8>,
}

impl World {
    /// A log with its first entry.
    pub(crate) fn new() -> Self {
        Self::of("test-ledger/acme")
    }

    /// The same of another name, under the same key.
    pub(crate) fn of(origin: &str) -> Self {
        let origin = Origin::parse(origin).unwrap();
        let signer = Signer::from_seed(&origin, [7; 32]);
        let first = Header::First(First {
            at: 1_760_011_200_000,
            origin: origin.clone(),
            log_key: signer.public_key(),
            admin_keys: vec![Signer::from_seed(&origin, [8; 32]).public_key()],
            recovery_key: Signer::from_seed(&origin, [9; 32]).public_key(),
            rules: Hash(rules::current().name),
            stream_created_ms: None,
        });
        let mut world = Self { origin, signer, objects: BTreeMap::new(), entries: Vec::new() };
        world.push(first, Vec::new());
        world
    }

    /// Change `a` through all phases, with entries of change `b` between.
    pub(crate) fn full() -> Self {
        let mut world = Self::new();
        let digest = schemas::plan::digest(&event("plan", "a", PLAN)).unwrap();
        world.add(&event("plan", "a", PLAN));
        world.add(&event("plan", "b", PLAN));
        world.add(&event("preflight", "a", &PREFLIGHT.replace("DIGEST", &digest)));
        world.add(&event("execute", "a", EXECUTE));
        world.add(&event("execute", "b", EXECUTE));
        world.add(&event("verify", "a", VERIFY));
        world.add(&event("execute", "a", ROLLBACK));
        world.add(&event("audit", "a", r#""governance":{"closed":true}"#));
        world.add(&event("verify", "b", VERIFY));
        world
    }

    /// The smallest log with a pack worth attacking.
    pub(crate) fn small() -> Self {
        let mut world = Self::new();
        world.add(&event("plan", "a", r#""plan":{"commands":["true"]}"#));
        world
    }

    /// Appends an event as the ledger would.
    pub(crate) fn add(&mut self, payload: &[u8]) -> u64 {
        self.add_as(payload, |_| {})
    }

    /// Appends an event whose header was changed by a dishonest ledger.
    pub(crate) fn add_as(&mut self, payload: &[u8], lie: impl FnOnce(&mut EventHeader)) -> u64 {
        let (_, phase, masked, facts) = admit::derive(payload, &mut Scratch::default()).unwrap();
        let last = self.entries.iter().rev().find_map(|entry| match &entry.header {
            Header::Event(header) if header.change == facts.change => Some((header.seq, hash::leaf(&entry.bytes))),
            _ => None,
        });
        let n = self.entries.len() as u64;
        let salt = Salt([n.to_le_bytes()[0]; 16]);
        let mut header = EventHeader {
            change: facts.change,
            seq: last.map_or(0, |(seq, _)| seq + 1),
            prev: last.map(|(_, leaf)| leaf),
            id: facts.id,
            phase,
            env: facts.environment,
            class: facts.class,
            probe: facts.probe,
            producer: None,
            has: facts.has,
            outcome: facts.outcome,
            ts: facts.ts,
            at: 1_760_011_200_000 + n * 1000,
            road: Road { epoch: 0, sequence: n },
            commit: commitment(&salt, payload),
            size: payload.len() as u64,
            masked,
            rules: Hash(rules::current().name),
        };
        lie(&mut header);
        self.push_with(Header::Event(header), salt, payload.to_vec());
        n
    }

    /// Appends the entry of an event, with other bytes in its place.
    pub(crate) fn add_other(&mut self, event: &[u8], payload: Vec<u8>) {
        let salt = Salt([u8::try_from(self.size()).unwrap(); 16]);
        self.add_as(event, |header| {
            (header.commit, header.size) = (commitment(&salt, &payload), payload.len() as u64);
        });
        self.entries.last_mut().unwrap().payload = payload;
    }

    /// Spells an entry in another way.
    pub(crate) fn respell(&mut self, index: u64, change: impl FnOnce(&[u8]) -> Vec<u8>) {
        let entry = &mut self.entries[usize::try_from(index).unwrap()];
        entry.bytes = change(&entry.bytes);
    }

    /// What the operator puts together of a log that no honest writer would pack: the pack of an honest log of the same entries, with
    /// the entries, events, proofs and tree head of this one.
    pub(crate) fn forced(&self, honest: &World, change: &str) -> Files {
        let mut files = honest.files(change);
        files.retain(|name, _| !name.starts_with("events/"));
        let (size, root) = (self.size(), self.root(self.size()));
        let mut document: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        document["root"] = json!(root.to_string());
        for index in honest.input(change).log.entries.iter().map(|entry| entry.index) {
            let stored = self.at(index).clone();
            let Header::Event(header) = &stored.header else { panic!("entry {index} is an event's") };
            let path: String = self.pack_entry(index, size).path.iter().map(|hash| hash.to_base64() + "\n").collect();
            let proof = format!("c2sp.org/tlog-proof@v1\nindex {index}\n{path}\n{}", self.checkpoint(size));
            files.insert(format!("proofs/{index:010}.tlog-proof"), proof.into_bytes());
            files.insert(format!("events/{index:010}-{}.json", header.phase), stored.payload);
            files.insert(format!("entries/{index:010}.json"), stored.bytes);
        }
        files.insert("checkpoint".into(), self.checkpoint(size).into_bytes());
        files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&document).unwrap());
        self.resigned(files)
    }

    /// The same log under another key.
    pub(crate) fn signed_by(self, signer: Signer) -> Self {
        Self { signer, ..self }
    }

    /// Everything a pack of `change` is a function of, at the log's size.
    pub(crate) fn input(&self, change: &str) -> PackInput {
        self.input_at(change, self.entries.len() as u64)
    }

    pub(crate) fn input_at(&self, change: &str, size: u64) -> PackInput {
        let change = ChangeId::parse(change).unwrap();
        let of_change = |header: &Header| matches!(header, Header::Event(h) if h.change == change);
        let mine: Vec<u64> = (0..size).filter(|i| of_change(&self.at(*i).header)).collect();
        let tiles = Tiles::of(self.leaves(size));
        let rules = Rules::new(self.origin.as_str());
        let as_of_ms = self.at(size - 1).header.at().unwrap_or_default();
        PackInput {
            origin: self.origin.clone(),
            context: Context { rules, as_of_ms },
            log: InMemory {
                objects: self.objects.clone(),
                behind: self.bytes(size).split_off(mine.last().map_or(0, |last| usize::try_from(last + 1).unwrap())),
                entries: mine.into_iter().map(|index| self.entry_under(index, size, &tiles)).collect(),
            },
            change,
            size,
            root: proof::root(&tiles, size).unwrap(),
            checkpoint: self.checkpoint(size),
            cosignatures: Vec::new(),
            verifier: self.signer.verifier(),
            keys: None,
            headers: None,
        }
    }

    pub(crate) fn pack_entry(&self, index: u64, size: u64) -> PackEntry {
        self.entry_under(index, size, &Tiles::of(self.leaves(size)))
    }

    fn entry_under(&self, index: u64, size: u64, tiles: &Tiles) -> PackEntry {
        let stored = self.at(index).clone();
        let path = proof::inclusion(tiles, index, size).unwrap();
        PackEntry { index, entry: stored.bytes, salt: stored.salt, payload: stored.payload, path }
    }

    pub(crate) fn receipt(&self, index: u64) -> Receipt {
        let size = self.entries.len() as u64;
        let PackEntry { entry, salt, path, .. } = self.pack_entry(index, size);
        Receipt { index, entry, salt: Some(salt), payload: None, path, checkpoint: self.checkpoint(size) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn checkpoint(&self, size: u64) -> String {
        let head = Checkpoint { origin: self.origin.clone(), size, root: self.root(size) };
        self.signer.sign_checkpoint(&head)
    }

    pub(crate) fn consistency(&self, old: u64, new: u64) -> String {
        let path = proof::consistency(&Tiles::of(self.leaves(new)), old, new).unwrap();
        let lines: String = path.iter().map(|h| h.to_base64() + "\n").collect();
        format!("old {old}\n{lines}\n{}", self.checkpoint(new))
    }

    /// The files of an honest pack.
    pub(crate) fn files(&self, change: &str) -> Files {
        let sealed = evidence::plan(&self.input(change)).unwrap().seal(&self.signer).unwrap();
        files_of(&sealed)
    }

    /// An honest pack.
    pub(crate) fn pack(&self, change: &str) -> Vec<u8> {
        zipped(&self.files(change))
    }

    /// Trust in the log's key.
    pub(crate) fn trust(&self) -> Trust {
        Trust { key: Some(KeyFile::Vkey(self.signer.verifier())), ..Trust::default() }
    }

    /// What the operator, holding the log's key, can make of changed files: a consistent list and a good signature.
    pub(crate) fn resigned(&self, files: Files) -> Files {
        resigned(files, &self.signer)
    }

    pub(crate) fn verify(&self, files: &Files) -> Report {
        verify(&zipped(files), &self.trust())
    }

    /// Appends a heartbeat.
    pub(crate) fn beat(&mut self) {
        let at = 1_760_011_200_000 + self.size() * 1000;
        self.push(Header::Heartbeat(Heartbeat { at, cosigned: None }), Vec::new());
    }

    /// Appends any entry without a payload.
    pub(crate) fn add_header(&mut self, header: Header) {
        self.push(header, Vec::new());
    }

    /// The bytes of the entries below `size`.
    pub(crate) fn bytes(&self, size: u64) -> Vec<Vec<u8>> {
        self.entries.iter().take(usize::try_from(size).unwrap()).map(|entry| entry.bytes.clone()).collect()
    }

    /// The payloads of a change.
    pub(crate) fn payloads(&self, change: &str) -> Vec<Vec<u8>> {
        let mine = |entry: &&Stored| matches!(&entry.header, Header::Event(header) if header.change.as_str() == change);
        self.entries.iter().filter(mine).map(|entry| entry.payload.clone()).collect()
    }

    /// The consistency proof between two sizes, bare.
    pub(crate) fn path(&self, old: u64, new: u64) -> Vec<Hash> {
        proof::consistency(&Tiles::of(self.leaves(new)), old, new).unwrap()
    }

    fn at(&self, index: u64) -> &Stored {
        &self.entries[usize::try_from(index).unwrap()]
    }

    fn push(&mut self, header: Header, payload: Vec<u8>) {
        self.push_with(header, Salt([0; 16]), payload);
    }

    fn push_with(&mut self, header: Header, salt: Salt, payload: Vec<u8>) {
        self.entries.push(Stored { bytes: header.encode().unwrap(), header, salt, payload });
    }

    fn leaves(&self, size: u64) -> Vec<Hash> {
        self.entries.iter().take(usize::try_from(size).unwrap()).map(|e| hash::leaf(&e.bytes)).collect()
    }

    fn root(&self, size: u64) -> Hash {
        proof::root(&Tiles::of(self.leaves(size)), size).unwrap()
    }
}

/// The hashes of a tree, by level of tiles.
struct Tiles(Vec<Vec<Hash>>);

impl Tiles {
    fn of(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(full) = levels.last().filter(|level| level.len() >= 256) {
            levels.push(full.chunks_exact(256).map(mth_of).collect());
        }
        Self(levels)
    }
}

fn mth_of(hashes: &[Hash]) -> Hash {
    match hashes {
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            hash::node(&mth_of(left), &mth_of(right))
        }
    }
}

impl TileSource for Tiles {
    type Error = std::convert::Infallible;

    fn tile(&self, id: TileId, width: u16) -> Result<Vec<Hash>, Self::Error> {
        let from = usize::try_from(id.index).unwrap() * 256;
        Ok(self.0[usize::from(id.level)][from..from + usize::from(width)].to_vec())
    }
}

/// The files of a pack by name.
pub(crate) fn files_of<L: PackLog>(pack: &SealedPack<L>) -> Files {
    pack.names().map(|name| (name.to_owned(), pack.read(name).unwrap().unwrap())).collect()
}

pub(crate) fn verify(zip: &[u8], trust: &Trust) -> Report {
    verify_pack(Cursor::new(zip), trust)
}

pub(crate) fn zipped(files: &Files) -> Vec<u8> {
    let list: Vec<zip::File<'_>> = files.iter().map(|(name, bytes)| zip::File { name, bytes }).collect();
    let mut out = Vec::new();
    zip::write(&list, &mut out).unwrap();
    out
}

/// Files with a `SHA256SUMS` that fits them.
pub(crate) fn resummed(mut files: Files) -> Files {
    files.remove("SHA256SUMS");
    let attestation = files.remove("attestation.sigstore.json");
    let mut sums = String::new();
    for (name, bytes) in &files {
        sums.push_str(&hex::encode(Sha256::digest(bytes)));
        sums.extend(["  ", name.as_str(), "\n"]);
    }
    files.insert("SHA256SUMS".into(), sums.into_bytes());
    files.extend(attestation.map(|bytes| ("attestation.sigstore.json".to_owned(), bytes)));
    files
}

/// Files with a fitting list and an attestation by `signer`.
pub(crate) fn resigned(files: Files, signer: &Signer) -> Files {
    let mut files = resummed(files);
    let pack: Value = files.get("pack.json").and_then(|b| serde_json::from_slice(b).ok()).unwrap_or_default();
    let sums = &files["SHA256SUMS"];
    let body = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "change": pack["change"], "files_root": hex::encode(mth(sums)), "format": pack["format"],
            "origin": pack["origin"], "root": pack["root"], "size": pack["size"],
        },
        "predicateType": "urn:upm-ledger:evidence-pack:v1",
        "subject": [{"digest": {"sha256": hex::encode(Sha256::digest(sums))}, "name": "SHA256SUMS"}],
    });
    let statement = serde_json_canonicalizer::to_vec(&body).unwrap();
    let mut pae = format!("DSSEv1 28 application/vnd.in-toto+json {} ", statement.len()).into_bytes();
    pae.extend_from_slice(&statement);
    let bundle = json!({
        "dsseEnvelope": {
            "payload": BASE64_STANDARD.encode(&statement), "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": BASE64_STANDARD.encode(signer.sign_bytes(&pae))}],
        },
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": BASE64_STANDARD.encode(Sha256::digest(signer.public_key().spki_der()))}},
    });
    files.insert("attestation.sigstore.json".into(), serde_json_canonicalizer::to_vec(&bundle).unwrap());
    files
}

/// RFC 6962, section 2.1, over lines.
fn mth(text: &[u8]) -> [u8; 32] {
    fn of(leaves: &[&[u8]]) -> [u8; 32] {
        if let [leaf] = leaves {
            return Sha256::digest([&[0], *leaf].concat()).into();
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        Sha256::digest([&[1][..], &of(left), &of(right)].concat()).into()
    }
    of(&text.strip_suffix(b"\n").unwrap_or(text).split(|c| *c == b'\n').collect::<Vec<_>>())
}

/// An event of tenant acme with more `sections`.
pub(crate) fn event(phase: &str, change: &str, sections: &str) -> Vec<u8> {
    format!(
        r#"{{"provisioning_event":{{"id":"{change}-{phase}","change_id":"{change}","timestamp":"2025-10-09T12:00:00Z","phase":"{phase}","environment":"prod","intent":{{"request":"Make <b>one</b> cluster","source":"api","initiator":"user-123","tenant":"acme"}},{sections}}}}}"#
    )
    .into_bytes()
}

const PLAN: &str = r#""target":{"cloud":"azure","cluster_endpoint_id":"prod-east","resources":[{"type":"az_aks","name":"aks-demo"}]},"plan":{"commands":["az group create --name rg","az aks create --name aks-demo"],"approvals":["platform-owners"]}"#;
const PREFLIGHT: &str = r#""preflight":{"checks":[{"type":"quota","ok":true}],"policies":[{"name":"tags","ok":true}],"approvals":[{"approver":"eve","role":"platform-owners","decision":"approved","at":"2025-10-09T12:01:00Z","plan_digest":"DIGEST"}]}"#;
const EXECUTE: &str = r#""execution":{"agent":"agent-session","steps":[{"cmd":"az group create --name rg","rc":0,"stdout":"created\n"},{"cmd":"az aks create --name aks-demo","rc":1,"stdout_ref":"obs://logs/aks","stderr":"quota"}]}"#;
const VERIFY: &str = r#""verification":{"checks":[{"type":"rollout","target":"deployment/x","ok":false}],"drift":{"baseline_hash":"sha256:a","current_hash":"sha256:b","diff":["replicas"]}}"#;
const ROLLBACK: &str = r#""rollback":{"available":true,"plan":["az group delete --name rg"],"executed":{"steps":[{"cmd":"az group delete --name rg","rc":0}],"outcome":"succeeded"}}"#;

/// Holds a file of `docs/examples` to what a test makes. `UPM_EXAMPLES=write` renews it.
#[expect(clippy::disallowed_methods, reason = "whoever runs the test says whether to renew the example")]
pub(crate) fn made_again(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(name);
    if std::env::var_os("UPM_EXAMPLES").is_some_and(|word| word == "write") {
        std::fs::write(&path, bytes).unwrap();
    }
    let found = std::fs::read(&path).unwrap_or_default();
    assert!(found == bytes, "docs/examples/{name} is not what this version makes; UPM_EXAMPLES=write renews it");
}

//! What the files of a pack say: JSON with two meanings, things signed that are not of this pack, derived files that do not follow.

mod document;
mod proved;
mod signed;

use base64::{Engine, prelude::BASE64_STANDARD};
use ledger::checkpoint::Checkpoint;
use ledger::signing::Signer;
use serde_json::{Value, json};

use super::Mutation;
use crate::world::{Files, World, resummed, zipped};

const PROOF: &str = "proofs/0000000004.tlog-proof";
const BUNDLE: &str = "attestation.sigstore.json";

/// Who makes the rest of the pack fit, after the change.
#[derive(Clone, Copy)]
enum By {
    /// The operator signs list and attestation anew.
    Operator,
    /// The list fits; the attestation stays what the change made of it.
    Lister,
    /// Nothing is mended.
    Nobody,
}

type Change = fn(&World, &mut Files);

/// Who, what, how, the check that refutes it and the file that it names.
type Row = (By, &'static str, Change, &'static str, &'static str);

const ALL: [&[Row]; 7] = [
    document::JSON,
    document::DOCUMENT,
    signed::SUMS,
    signed::ATTESTATION,
    proved::CHECKPOINT,
    proved::PROOFS,
    proved::DERIVED,
];

pub(super) fn all() -> Vec<Mutation> {
    let world = World::full();
    let made = |(by, name, change, check, names): &Row| {
        let mut files = world.files("a");
        change(&world, &mut files);
        assert!(files != world.files("a"), "{name} changes nothing");
        let files = match by {
            By::Operator => world.resigned(files),
            By::Lister => resummed(files),
            By::Nobody => files,
        };
        Mutation { name, pack: zipped(&files), check, names }
    };
    ALL.into_iter().flatten().map(made).collect()
}

fn text(files: &Files, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

#[track_caller]
fn replace(files: &mut Files, name: &str, from: &str, to: &str) {
    let old = text(files, name);
    assert!(old.contains(from), "{name} has no {from}");
    files.insert(name.into(), old.replacen(from, to, 1).into_bytes());
}

/// `pack.json` with a member changed, canonical again.
fn pack(files: &mut Files, change: impl FnOnce(&mut Value)) {
    let mut document: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
    change(&mut document);
    files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&document).unwrap());
}

/// The note in all places where a pack has it.
fn note(files: &mut Files, change: impl FnOnce(&str) -> String) {
    let old = text(files, "checkpoint");
    let new = change(&old);
    assert_ne!(old, new);
    let names: Vec<String> =
        files.keys().filter(|name| *name == "checkpoint" || name.starts_with("proofs/")).cloned().collect();
    for name in names {
        replace(files, &name, &old, &new);
    }
}

/// The pack's own statement changed, and signed by the operator.
fn attest(world: &World, files: &mut Files, change: impl FnOnce(&mut Value)) {
    let bundle: Value = serde_json::from_slice(&files[BUNDLE]).unwrap();
    let payload = BASE64_STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let mut statement: Value = serde_json::from_slice(&payload).unwrap();
    change(&mut statement);
    sign(files, &world.signer, "application/vnd.in-toto+json", &serde_json_canonicalizer::to_vec(&statement).unwrap());
}

fn sign(files: &mut Files, signer: &Signer, kind: &str, payload: &[u8]) {
    let mut pae = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    pae.extend_from_slice(payload);
    let signature = BASE64_STANDARD.encode(signer.sign_bytes(&pae));
    bundle(files, |bundle| {
        bundle["dsseEnvelope"]["payload"] = json!(BASE64_STANDARD.encode(payload));
        bundle["dsseEnvelope"]["payloadType"] = json!(kind);
        bundle["dsseEnvelope"]["signatures"] = json!([{ "sig": signature }]);
    });
}

fn bundle(files: &mut Files, change: impl FnOnce(&mut Value)) {
    let mut bundle: Value = serde_json::from_slice(&files[BUNDLE]).unwrap();
    change(&mut bundle);
    files.insert(BUNDLE.into(), serde_json_canonicalizer::to_vec(&bundle).unwrap());
}

fn head(world: &World) -> Checkpoint {
    Checkpoint { origin: world.origin.clone(), size: world.size(), root: world.input("a").root }
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// The hashes of a proof.
fn path(files: &mut Files, change: impl FnOnce(&mut Vec<String>)) {
    let old = text(files, PROOF);
    let (proof, note) = old.split_once("\n\n").unwrap();
    let mut lines: Vec<String> = proof.lines().map(str::to_owned).collect();
    let mut hashes = lines.split_off(2);
    change(&mut hashes);
    files.insert(PROOF.into(), format!("{}\n\n{note}", [lines, hashes].concat().join("\n")).into_bytes());
}

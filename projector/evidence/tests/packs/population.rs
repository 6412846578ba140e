//! A population made by hand, and made again after tampering: what is signed is built here a second time, from the documentation.

use std::io::Cursor;

use base64::{Engine, prelude::BASE64_STANDARD};
use evidence::population::{Details, OwnListing, Period, PopulationInput, TenantsInput, verify_population, write};
use evidence::{Report, Trust};
use ledger::checkpoint::{Checkpoint, Origin};
use ledger::control::{self, ControlOp};
use ledger::entry::{ControlHeader, First, Gap, Header, Salt, commitment};
use ledger::frontier::Frontier;
use ledger::hash::{self, Hash};
use ledger::signing::Signer;
use schemas::rules;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{World, event};

/// Time of entry 0 of every log here, milliseconds.
pub(crate) const BORN_MS: u64 = 1_760_011_200_000;

/// Files of a population, in order.
pub(crate) type Ordered = Vec<(String, Vec<u8>)>;

/// A log with heartbeats at 2, 6 and 9; entry n is at `BORN_MS` + n seconds.
pub(crate) fn log() -> World {
    let mut world = World::new();
    world.add(&event("plan", "a", r#""plan":{"commands":["true"]}"#));
    world.beat();
    world.add(&event(
        "plan",
        "b",
        r#""plan":{"commands":["true"]},"target":{"cloud":"aws","resources":[{"type":"aws_vpc","name":"main"}]}"#,
    ));
    world.add(&event("execute", "a", r#""execution":{"executor":"bot","steps":[{"cmd":"true","rc":0}]}"#));
    world.add(&event("verify", "a", r#""verification":{"checks":[{"type":"x","ok":true}]}"#));
    world.beat();
    world.add(&event("plan", "=c", r#""change_class":"emergency","plan":{"commands":["true"]}"#));
    world.add(&event("audit", "a", r#""governance":{"closed":true,"owner":"team-a"}"#));
    world.beat();
    world.add_header(Header::Gap(Gap { at: BORN_MS + 10_000, from: 3, to: 4 }));
    world.add(&event("execute", "b", r#""execution":{"executor":"bot","steps":[{"cmd":"true","rc":1}]}"#));
    world
}

/// From just before entry 3 to just before entry 9.
pub(crate) fn period() -> Period {
    Period::between(BORN_MS + 2_500, BORN_MS + 8_500).unwrap()
}

/// Everything that a population is a function of, between two tree sizes.
pub(crate) fn input(world: &World, period: Period, first: u64, size: u64) -> PopulationInput {
    let mut frontier = Frontier::default();
    world.bytes(first).iter().for_each(|entry| frontier.push(hash::leaf(entry)));
    PopulationInput {
        origin: world.origin.clone(),
        period,
        first: frontier,
        first_checkpoint: (first > 0).then(|| world.checkpoint(first)),
        checkpoint: world.checkpoint(size),
        cosignatures: Vec::new(),
        consistency: world.path(first, size),
        verifier: world.signer.verifier(),
        keys: None,
        tenants: tenants(world),
    }
}

/// A population as it is made, with details.
pub(crate) fn made(world: &World, input: &PopulationInput) -> Result<Vec<u8>, String> {
    let all = world.bytes(world.size());
    let at = |index: u64| usize::try_from(index).unwrap();
    let mut entries =
        |range: std::ops::Range<u64>| Ok::<_, std::io::Error>(all[at(range.start)..at(range.end)].to_vec());
    let mut details =
        |change: &evidence::population::Change| Ok(Details::of(&change.change, &world.payloads(&change.change)));
    let mut out = Vec::new();
    write(input, &world.signer, &mut entries, Some(&mut details), &mut |_| {}, &mut out)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

/// The population of [`log`] over [`period`].
pub(crate) fn honest() -> (World, Vec<u8>) {
    let world = log();
    let zip = made(&world, &input(&world, period(), 2, 11)).unwrap();
    (world, zip)
}

pub(crate) fn check(zip: &[u8], trust: &Trust) -> Report {
    verify_population(Cursor::new(zip), trust, &mut |_, _| {})
}

/// The ledger's own log, which lists the one of `world`.
fn tenants(world: &World) -> TenantsInput {
    let origin = Origin::of("test-ledger", "_ledger").unwrap();
    let (signer, admin) = (Signer::from_seed(&origin, [6; 32]), Signer::from_seed(&origin, [8; 32]));
    let first = Header::First(First {
        at: BORN_MS,
        origin: origin.clone(),
        log_key: signer.public_key(),
        admin_keys: vec![admin.public_key()],
        recovery_key: Signer::from_seed(&origin, [9; 32]).public_key(),
        rules: Hash(rules::current().name),
        stream_created_ms: None,
    });
    let first = first.encode().unwrap();
    let opening = json!({
        "first": hash::leaf(&world.bytes(1)[0]).to_string(), "log_key": "-", "origin": world.origin.as_str(), "tenant": world.origin.log(),
    });
    let opening = serde_json_canonicalizer::to_vec(&opening).unwrap();
    let (opening_salt, envelope_salt) = (Salt([1; 16]), Salt([2; 16]));
    let body = json!({ "commit": commitment(&opening_salt, &opening).to_string() });
    let envelope = control::envelope(&admin, &origin, ControlOp::Tenant, 1, &hash::leaf(&first), &body);
    let listing = Header::Control(ControlHeader {
        at: BORN_MS,
        road: None,
        op: ControlOp::Tenant,
        counter: 1,
        commit: commitment(&envelope_salt, &envelope),
        size: envelope.len() as u64,
    });
    let entries = vec![first, listing.encode().unwrap()];
    let mut tree = Frontier::default();
    for entry in &entries {
        tree.push(hash::leaf(entry));
    }
    let head = Checkpoint { origin, size: tree.size(), root: tree.root() };
    let own = OwnListing { index: 1, envelope, envelope_salt, opening, opening_salt };
    TenantsInput { checkpoint: signer.sign_checkpoint(&head), entries, verifier: signer.verifier(), own: Some(own) }
}

/// The files of a zip in the order of its central directory, by a reader that is not ours.
pub(crate) fn files(archive: &[u8]) -> Ordered {
    let mut archive = ::zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..archive.len())
        .map(|number| {
            let mut file = archive.by_index(number).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

/// A zip of files in this order, byte by byte as the documentation says.
pub(crate) fn zipped(files: &Ordered) -> Vec<u8> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let (crc, size, offset) = (crc32(bytes), len32(bytes.len()), len32(out.len()));
        let mut common = vec![10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        for number in [crc, size, size] {
            common.extend(number.to_le_bytes());
        }
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        out.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), bytes].concat());
        let tail = [&[0_u8; 6][..], &(0o100_644_u32 << 16).to_le_bytes(), &offset.to_le_bytes()].concat();
        central.extend([&b"PK\x01\x02\x0a\x03"[..], &common, &tail, name.as_bytes()].concat());
    }
    let (start, count) = (len32(out.len()), u16::try_from(files.len()).unwrap().to_le_bytes());
    out.extend(&central);
    let end = [
        &b"PK\x05\x06\0\0\0\0"[..],
        &count,
        &count,
        &len32(central.len()).to_le_bytes(),
        &start.to_le_bytes(),
        &[0, 0],
    ];
    out.extend(end.concat());
    out
}

fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (!(crc & 1)).wrapping_add(1)))
    })
}

/// What the operator, holding the log's key, makes of changed files: a list that fits and a good signature.
pub(crate) fn resigned(files: Ordered, signer: &Signer) -> Vec<u8> {
    let mut files = files;
    files.retain(|(name, _)| !["SHA256SUMS", "attestation.sigstore.json"].contains(&name.as_str()));
    let mut lines: Vec<String> =
        files.iter().map(|(name, bytes)| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes)))).collect();
    lines.sort_by(|a, b| a[66..].cmp(&b[66..]));
    let sums = lines.concat().into_bytes();
    let document = files.iter().find(|(name, _)| name == "population.json").map(|(_, bytes)| bytes.clone());
    let document: Value = document.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let body = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "files_root": hex::encode(mth(&lines.iter().map(|line| line.trim_end().as_bytes()).collect::<Vec<_>>())),
            "first": document["first"], "format": document["format"], "from": document["from"], "last": document["last"],
            "origin": document["origin"], "to": document["to"],
        },
        "predicateType": "urn:upm-ledger:population:v1",
        "subject": [{"digest": {"sha256": hex::encode(Sha256::digest(&sums))}, "name": "SHA256SUMS"}],
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
    files.push(("SHA256SUMS".to_owned(), sums));
    files.push(("attestation.sigstore.json".to_owned(), serde_json_canonicalizer::to_vec(&bundle).unwrap()));
    zipped(&files)
}

/// RFC 6962, section 2.1.
fn mth(leaves: &[&[u8]]) -> [u8; 32] {
    if let [leaf] = leaves {
        return Sha256::digest([&[0], *leaf].concat()).into();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    Sha256::digest([&[1][..], &mth(left), &mth(right)].concat()).into()
}

//! `SHA256SUMS` and the attestation: what is listed and signed is not this pack.

use base64::{Engine, prelude::BASE64_STANDARD};
use ledger::signing::Signer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{BUNDLE, By, Row, attest, bundle, replace, sign, text};

pub(super) const SUMS: &[Row] = &[
    (
        By::Nobody,
        "a list that lists itself",
        |_, files| {
            replace(files, "SHA256SUMS", "  VERIFY.md\n", &format!("  SHA256SUMS\n{}  VERIFY.md\n", "0".repeat(64)));
        },
        "sums.list",
        "SHA256SUMS",
    ),
    (
        By::Nobody,
        "a list that lists the attestation",
        |_, files| {
            let line = format!("{}  {BUNDLE}\n", hex::encode(Sha256::digest(&files[BUNDLE])));
            let sums = text(files, "SHA256SUMS");
            let at = sums.find("  change.json").unwrap() - 64;
            files.insert("SHA256SUMS".into(), [&sums[..at], &line, &sums[at..]].concat().into_bytes());
        },
        "sums.list",
        BUNDLE,
    ),
    (
        By::Nobody,
        "a list of one file fewer",
        |_, files| {
            let sums = text(files, "SHA256SUMS");
            files.insert(
                "SHA256SUMS".into(),
                sums.split_inclusive('\n')
                    .filter(|line| !line.ends_with("  change.json\n"))
                    .collect::<String>()
                    .into_bytes(),
            );
        },
        "sums.list",
        "change.json",
    ),
    (
        By::Nobody,
        "a list of a file that is not there",
        |_, files| files.get_mut("SHA256SUMS").unwrap().extend(format!("{}  zz\n", "0".repeat(64)).bytes()),
        "sums.list",
        "zz",
    ),
    (
        By::Nobody,
        "a list of a file elsewhere",
        |_, files| replace(files, "SHA256SUMS", "  checkpoint\n", "  ../checkpoint\n"),
        "sums.list",
        "SHA256SUMS",
    ),
    (
        By::Nobody,
        "a list out of order",
        |_, files| {
            let sums = text(files, "SHA256SUMS");
            files.insert("SHA256SUMS".into(), (sums.lines().rev().collect::<Vec<_>>().join("\n") + "\n").into_bytes());
        },
        "sums.list",
        "SHA256SUMS",
    ),
    (
        By::Nobody,
        "a list with carriage returns",
        |_, files| {
            let sums = text(files, "SHA256SUMS");
            files.insert("SHA256SUMS".into(), sums.replace('\n', "\r\n").into_bytes());
        },
        "sums.list",
        "SHA256SUMS",
    ),
    (
        By::Nobody,
        "a list of binary files",
        |_, files| replace(files, "SHA256SUMS", "  checkpoint", " *checkpoint"),
        "sums.list",
        "SHA256SUMS",
    ),
    (
        By::Nobody,
        "digests in capitals",
        |_, files| {
            let sums = text(files, "SHA256SUMS");
            files.insert(
                "SHA256SUMS".into(),
                (sums.lines().map(|line| line[..64].to_uppercase() + &line[64..]).collect::<Vec<_>>().join("\n")
                    + "\n")
                    .into_bytes(),
            );
        },
        "sums.list",
        "SHA256SUMS",
    ),
    (
        By::Nobody,
        "a list without its last line feed",
        |_, files| {
            let sums = files.get_mut("SHA256SUMS").unwrap();
            sums.truncate(sums.len() - 1);
        },
        "sums.list",
        "SHA256SUMS",
    ),
    (By::Nobody, "an empty list", |_, files| files.get_mut("SHA256SUMS").unwrap().clear(), "sums.list", "SHA256SUMS"),
    (
        By::Nobody,
        "two digests for each other",
        |_, files| {
            let digest = |name: &str| hex::encode(Sha256::digest(&files[name]));
            let (one, two) = (digest("checkpoint"), digest("change.json"));
            let sums = text(files, "SHA256SUMS").replace(&one, "#").replace(&two, &one).replace('#', &two);
            files.insert("SHA256SUMS".into(), sums.into_bytes());
        },
        "sums.digests",
        "change.json",
    ),
    (
        By::Nobody,
        "another pack's list",
        |world, files| drop(files.insert("SHA256SUMS".into(), world.files("b")["SHA256SUMS"].clone())),
        "sums.list",
        "approvals/0000000001-required.json",
    ),
    (
        By::Operator,
        "a file that nothing explains",
        |_, files| drop(files.insert("README.md".into(), b"# Trust this".to_vec())),
        "files.complete",
        "README.md",
    ),
    (
        By::Operator,
        "a file beside the events",
        |_, files| {
            drop(files.insert("events/0000000004-verify.json".into(), files["events/0000000004-execute.json"].clone()));
        },
        "files.complete",
        "events/0000000004-verify.json",
    ),
    (
        By::Operator,
        "a file beside the headers",
        |_, files| drop(files.insert("headers/frontier".into(), Vec::new())),
        "headers.later",
        "headers/",
    ),
];

pub(super) const ATTESTATION: &[Row] = &[
    (
        By::Nobody,
        "another pack's attestation",
        |world, files| drop(files.insert(BUNDLE.into(), world.files("b")[BUNDLE].clone())),
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "the attestation of an earlier pack",
        |world, files| {
            let earlier = evidence::plan(&world.input_at("a", 9)).unwrap().seal(&world.signer).unwrap();
            files.insert(BUNDLE.into(), earlier.read(BUNDLE).unwrap().unwrap());
        },
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation of two files",
        |world, files| {
            attest(world, files, |statement| {
                let other = json!({"digest": {"sha256": "00".repeat(32)}, "name": "other"});
                statement["subject"].as_array_mut().unwrap().push(other);
            });
        },
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation of a file by another name",
        |world, files| attest(world, files, |statement| statement["subject"][0]["name"] = json!("sums")),
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation of another list",
        |world, files| {
            attest(world, files, |statement| statement["subject"][0]["digest"]["sha256"] = json!("00".repeat(32)));
        },
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation with a weak digest beside",
        |world, files| attest(world, files, |statement| statement["subject"][0]["digest"]["md5"] = json!("00")),
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation of another type",
        |world, files| {
            attest(world, files, |statement| statement["predicateType"] = json!("urn:upm-ledger:population:v1"));
        },
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation of an older kind",
        |world, files| {
            attest(world, files, |statement| statement["_type"] = json!("https://in-toto.io/Statement/v0.1"));
        },
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation of another tree of files",
        |world, files| attest(world, files, |statement| statement["predicate"]["files_root"] = json!("00".repeat(32))),
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation of another change",
        |world, files| attest(world, files, |statement| statement["predicate"]["change"] = json!("b")),
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation that says more",
        |world, files| attest(world, files, |statement| statement["predicate"]["approved"] = json!(true)),
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation with a subject twice",
        |world, files| {
            let bundle: Value = serde_json::from_slice(&files[BUNDLE]).unwrap();
            let payload = BASE64_STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
            let twice = String::from_utf8(payload).unwrap().replacen(r#""subject":"#, r#""subject":[],"subject":"#, 1);
            sign(files, &world.signer, "application/vnd.in-toto+json", twice.as_bytes());
        },
        "attestation.statement",
        BUNDLE,
    ),
    (
        By::Nobody,
        "a statement of another media type",
        |world, files| {
            let bundle: Value = serde_json::from_slice(&files[BUNDLE]).unwrap();
            let payload = BASE64_STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
            sign(files, &world.signer, "application/json", &payload);
        },
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "an attestation signed with another key",
        |world, files| {
            let bundle: Value = serde_json::from_slice(&files[BUNDLE]).unwrap();
            let payload = BASE64_STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
            sign(files, &Signer::from_seed(&world.origin, [66; 32]), "application/vnd.in-toto+json", &payload);
        },
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "two signatures",
        |_, files| {
            bundle(files, |bundle| {
                let one = bundle["dsseEnvelope"]["signatures"][0].clone();
                bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(one);
            });
        },
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "no signature",
        |_, files| bundle(files, |bundle| bundle["dsseEnvelope"]["signatures"] = json!([])),
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "a key id beside the signature",
        |_, files| bundle(files, |bundle| bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!("x")),
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "a signature with the group order added",
        |_, files| {
            bundle(files, |bundle| {
                let sig = &mut bundle["dsseEnvelope"]["signatures"][0]["sig"];
                let mut bytes = BASE64_STANDARD.decode(sig.as_str().unwrap()).unwrap();
                add_order(&mut bytes[32..]);
                *sig = json!(BASE64_STANDARD.encode(bytes));
            });
        },
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "a signature of zeros",
        |_, files| {
            bundle(files, |bundle| {
                bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(BASE64_STANDARD.encode([0; 64]));
            });
        },
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "a hint to another key",
        |_, files| {
            bundle(files, |bundle| {
                bundle["verificationMaterial"]["publicKey"]["hint"] = json!(BASE64_STANDARD.encode([0; 32]));
            });
        },
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "a bundle of another version",
        |_, files| bundle(files, |bundle| bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.2+json")),
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "a certificate in the bundle",
        |_, files| bundle(files, |bundle| bundle["verificationMaterial"]["certificate"] = json!({"rawBytes": ""})),
        "attestation.signature",
        BUNDLE,
    ),
    (
        By::Nobody,
        "base64 without padding",
        |_, files| {
            bundle(files, |bundle| {
                let sig = &mut bundle["dsseEnvelope"]["signatures"][0]["sig"];
                *sig = json!(sig.as_str().unwrap().trim_end_matches('='));
            });
        },
        "attestation.signature",
        BUNDLE,
    ),
];

/// Adds the order of Ed25519's group to a scalar (little-endian): the same scalar to a lenient verifier.
fn add_order(scalar: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, order) in scalar.iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

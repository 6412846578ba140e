//! Everything that is parsed, fed with anything: no panic, and whatever is read is written again to the byte.

use ledger::checkpoint::{Checkpoint, Origin, peek};
use ledger::consistency::ConsistencyProof;
use ledger::control::{Keys, check};
use ledger::dsse::Envelope;
use ledger::entry::{Header, Salt};
use ledger::hash::Hash;
use ledger::key::PublicKey;
use ledger::note::{KeyName, SignedNote, VerifierKey};
use ledger::receipt::{Receipt, TlogProof};
use ledger::signing::Signer;
use ledger::tree::Edge;
use proptest::prelude::*;

use crate::support::{Log, origin, signer};

/// Every parser of the core on the same input.
fn parse_all(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes)
        && let Ok(again) = header.encode()
    {
        assert_eq!(again, bytes);
    }
    if let Ok(edge) = Edge::decode(bytes) {
        assert_eq!(edge.encode(), bytes);
    }
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert_eq!(Envelope::parse(&envelope.print()).unwrap(), envelope);
    }
    let key = signer("l/a", 1);
    let keys = Keys { admin: vec![key.public_key()], recovery: key.public_key(), log: key.public_key() };
    assert!(check(bytes, key.name(), &keys, 0, &Hash([0; 32])).is_err());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(note) = SignedNote::parse(text) {
        assert_eq!(note.to_text(), text);
        let _ = note.verify(&[key.verifier()]);
    }
    if let Ok(checkpoint) = Checkpoint::parse_text(text) {
        assert_eq!(checkpoint.text(), text);
    }
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_vkey(), text);
    }
    if let Ok(proof) = TlogProof::parse(text) {
        assert_eq!(proof.to_text(), text);
    }
    if let Ok(proof) = ConsistencyProof::parse(text) {
        assert_eq!(proof.to_text(), text);
    }
    if let Ok(key) = PublicKey::from_typed_base64(text) {
        assert_eq!(key.typed_base64(), text);
    }
    let _ = (peek(text), Receipt::parse(text), Origin::parse(text), KeyName::parse(text));
    let _ = (Hash::parse(text), Hash::from_base64(text), Salt::from_hex(text));
    let _ = (PublicKey::from_spki_pem(text), Signer::from_pkcs8_pem(&origin("l/a"), text));
}

/// One valid text of each kind.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(|| {
        let mut log = Log::new("l/a");
        log.append(br#"{"at":1,"body":{"from":4,"to":4},"kind":"gap","v":1}"#.to_vec());
        log.pad(5);
        let receipt = log.receipt(0, 6, Salt([3; 16]), Some(b"{}".to_vec()));
        let path = ledger::proof::consistency(&log.tiles, 3, 6).unwrap();
        let proof = ConsistencyProof { old: 3, path, checkpoint: log.checkpoint(6) };
        let op = ledger::control::ControlOp::Hold;
        let body = serde_json::json!({});
        vec![
            receipt.to_text().into_bytes(),
            proof.to_text().into_bytes(),
            log.checkpoint(6).into_bytes(),
            log.signer.verifier().to_vkey().into_bytes(),
            log.signer.public_key().spki_pem().into_bytes(),
            log.signer.public_key().typed_base64().into_bytes(),
            log.signer.to_pkcs8_pem().as_bytes().to_vec(),
            log.entries[0].clone(),
            log.tiles.edge.encode(),
            ledger::control::envelope(&signer("l/a", 9), &origin("l/a"), op, 1, &Hash([0; 32]), &body),
        ]
    });
    &SEEDS
}

#[test]
fn the_seeds_themselves() {
    for seed in seeds() {
        parse_all(seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parse_all(&bytes);
    }

    #[test]
    fn any_text(text in "[ \n\r+=/0-9a-zA-Z{}\\[\\]\",:\\\\\u{2014}]{0,200}") {
        parse_all(text.as_bytes());
    }

    #[test]
    fn mutated_texts(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let mut bytes = seeds()[which.index(seeds().len())].clone();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at.min(bytes.len()), byte),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        parse_all(&bytes);
    }

    #[test]
    fn spliced_texts(a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), cut_a in any::<prop::sample::Index>(), cut_b in any::<prop::sample::Index>()) {
        let (a, b) = (&seeds()[a.index(seeds().len())], &seeds()[b.index(seeds().len())]);
        parse_all(&[&a[..cut_a.index(a.len())], &b[cut_b.index(b.len())..]].concat());
    }
}

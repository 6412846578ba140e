//! The edge cases of Ed25519 verification: C2SP CCTV `ed25519`, 914 signatures over points of low order, with low-order components, or
//! in encodings that are not canonical. A ledger whose judges disagree on one of them is no ledger.
//!
//! Vectors: github.com/C2SP/CCTV `ed25519/ed25519vectors.json` at 0fb2c3b5dc50437ce3272abcbec7567dde497047, BSD-3-Clause (LICENSE beside it).

use ledger::key::PublicKey;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    number: u32,
    key: String,
    sig: String,
    msg: String,
    flags: Option<Vec<String>>,
}

/// Flags that alone refuse a signature. `low_order_component_*` is none of them: a key with such a component cannot be told by its
/// bytes, and its signatures hold where the components cancel out.
const REFUSED: [&str; 5] = ["low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R", "low_order_residue"];

#[test]
fn edge_cases_of_ed25519_are_judged_strictly() {
    let vectors: Vec<Vector> =
        serde_json::from_slice(include_bytes!("../vectors/cctv-ed25519/ed25519vectors.json")).unwrap();
    assert_eq!(vectors.len(), 914);
    let (mut accepted, mut refused) = (0, 0);
    for vector in &vectors {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let (key, sig) = (<[u8; 32]>::try_from(bytes(&vector.key)), <[u8; 64]>::try_from(bytes(&vector.sig)));
        let found = PublicKey::from_bytes(&key.unwrap())
            .is_ok_and(|key| key.verify(vector.msg.as_bytes(), &sig.unwrap()).is_ok());
        let flags = vector.flags.as_deref().unwrap_or_default();
        let expect = !flags.iter().any(|flag| REFUSED.contains(&flag.as_str()));
        assert_eq!(found, expect, "vector {}: {flags:?}", vector.number);
        if found { accepted += 1 } else { refused += 1 }
    }
    assert_eq!((accepted, refused), (43, 871));
}

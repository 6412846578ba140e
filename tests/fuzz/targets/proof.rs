//! tlog-proofs, receipts, consistency proofs and chains of keys: one spelling each; and whatever a proof says of whatever tree.
#![no_main]

use ledger::consistency::ConsistencyProof;
use ledger::governance::KeyChain;
use ledger::hash::Hash;
use ledger::proof::{verify_consistency, verify_inclusion};
use ledger::receipt::{Receipt, TlogProof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tree(bytes);
    if let Ok(chain) = KeyChain::parse(bytes) {
        assert_eq!(chain.print(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(proof) = TlogProof::parse(text) {
        assert_eq!(proof.to_text(), text);
    }
    if let Ok(receipt) = Receipt::parse(text) {
        // Members that are not known may stand in the extra line: reading what was written is the same receipt.
        assert_eq!(Receipt::parse(&receipt.to_text()).expect("its own text"), receipt);
    }
    if let Ok(proof) = ConsistencyProof::parse(text) {
        assert_eq!(proof.to_text(), text);
    }
});

/// Two numbers, and hashes as far as the bytes reach.
fn tree(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_at_checked(16) else { return };
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let hashes: Vec<Hash> = rest.as_chunks::<32>().0.iter().copied().map(Hash).collect();
    let (Some(first), Some(last)) = (hashes.first(), hashes.last()) else { return };
    let (small, large) = (number(0), number(8));
    // No proof leads from made-up hashes to a made-up root, but where there is nothing to prove.
    if verify_inclusion(small, large, first, &hashes[1..], last).is_ok() {
        assert!(large == 1 && first == last, "{small} of {large}");
    }
    if verify_consistency(small, large, first, last, &hashes[1..]).is_ok() {
        assert!(small == 0 || (small == large && first == last), "{small} to {large}");
    }
}

//! Signed notes, checkpoints, keys, cosigners and witness policies: one spelling each.
#![no_main]

use ledger::checkpoint::{self, Checkpoint};
use ledger::cosignature::{CosignerKey, Statement};
use ledger::key::PublicKey;
use ledger::note::{SignedNote, VerifierKey};
use ledger::policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Policy::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(note) = SignedNote::parse(text) {
        assert_eq!(note.to_text(), text);
        let _ = Statement::parse(note.text());
    }
    if let Ok(head) = Checkpoint::parse_text(text) {
        assert_eq!(head.text(), text);
    }
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_vkey(), text);
    }
    if let Ok(key) = CosignerKey::parse(text) {
        assert_eq!(key.to_vkey(), text);
    }
    let _ = PublicKey::from_spki_pem(text);
    let _ = checkpoint::peek(text);
});

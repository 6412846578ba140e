//! Signed notes, checkpoints, keys, cosigners and witness policies; keys and signatures of SSH, and what approvers sign: one spelling each.
#![no_main]

use ledger::checkpoint::{self, Checkpoint};
use ledger::cosignature::{CosignerKey, Statement};
use ledger::key::PublicKey;
use ledger::note::{SignedNote, VerifierKey};
use ledger::policy::Policy;
use ledger::ssh::{self, AllowedSigners, SshKey};
use libfuzzer_sys::fuzz_target;
use projector::approval;

fuzz_target!(|bytes: &[u8]| {
    let _ = Policy::parse(bytes);
    if let Ok(said) = approval::Statement::read(bytes) {
        assert_eq!(said.to_bytes(), bytes);
    }
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
    let _ = AllowedSigners::parse(text);
    let _ = ssh::verify(text, approval::NAMESPACE, bytes);
    if let Ok(key) = SshKey::parse(text) {
        assert_eq!(SshKey::parse(&key.line()).as_ref(), Ok(&key));
    }
    if let Some(signer) = approval::Signer::read(text) {
        assert!(signer.key.is_none_or(|key| key.fingerprint() == signer.fingerprint));
    }
    let _ = checkpoint::peek(text);
});

//! Signed notes and checkpoints: C2SP's own example, a second implementation, and every way of writing them wrongly.

use ledger::checkpoint::{self, Checkpoint, CheckpointError, Origin};
use ledger::hash::{Hash, empty_root, leaf};
use ledger::note::{KeyName, NoteError, SignedNote, VerifierKey, VerifierKeyError};
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};

use crate::support::{origin, signer};

/// The example of C2SP signed-note.
const EXAMPLE_VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn example_key() -> VerifierKey {
    VerifierKey::parse(EXAMPLE_VKEY).unwrap()
}

#[test]
fn c2sp_example() {
    let key = example_key();
    assert_eq!(key.to_vkey(), EXAMPLE_VKEY);
    let note = SignedNote::parse(EXAMPLE_NOTE).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.verify(std::slice::from_ref(&key)).unwrap(), [&key]);
    assert_eq!(note.to_text(), EXAMPLE_NOTE);
    let altered = EXAMPLE_NOTE.replace("an example", "no example");
    let refused = SignedNote::parse(&altered).unwrap().verify(&[key]).unwrap_err();
    assert!(matches!(refused, NoteError::BadSignature { .. }), "{refused}");
}

#[test]
fn the_last_empty_line_splits() {
    let note = SignedNote::parse("a\n\nb\n\n\u{2014} k AAAAAAA=\n").unwrap();
    assert_eq!(note.text(), "a\n\nb\n");
    assert_eq!((note.signatures().len(), note.signatures()[0].id), (1, [0; 4]));
}

#[test]
fn malformed_notes() {
    let good = EXAMPLE_NOTE;
    let line = good.rsplit_once("\n\n").unwrap().1;
    let check = |note: &str, expect: &str| {
        let error = SignedNote::parse(note).unwrap_err();
        assert!(error.to_string().contains(expect), "{note:?}: {error}");
    };
    check("", "no empty line");
    check("text\n", "no empty line");
    check("text\n\n", "no signature");
    check(&format!("\n\n{line}"), "no text");
    check(&good[..good.len() - 1], "no newline");
    check(&format!("{good}\n"), "no signature");
    check(&good.replace('\n', "\r\n"), "control character 0x0d");
    check(&good.replace("an example", "an\texample"), "control character 0x09");
    check(&good.replace("an example", "an\0example"), "control character 0x00");
    check(&good.replace('\u{2014}', "-"), "signature line 1: does not begin");
    check(&good.replace("\u{2014} ", "\u{2014}  "), "not a key name");
    check(&good.replace("example.com/foo", "example.com/f+o"), "not a key name");
    check(&good.replace("foo ", "foo\u{a0}"), "no space");
    check(&good.replace("foo U", "fo\u{2003}o U"), "not a key name");
    check(&good.replace("aQM=", "aQM"), "not base64");
    check(&good.replace("aQM=", "aQN="), "not base64");
    check(&good.replace("aQM=\n", "aQM= \n"), "not base64");
    check(&good.replace("aQM=\n", "aQM=\n\u{2014} k AAAA\n"), "signature line 2: too short");
    check(&good.replace("aQM=\n", "aQM=\n\u{2014} k AAAAAA==\n"), "signature line 2: too short");
    check(&format!("text\n\n{}", line.repeat(65)), "65 signatures");
    check(&format!("{}\n\n{line}", "x".repeat(1 << 20)), "more than 1048576");
    assert!(SignedNote::parse(&format!("text\n\n{}", line.repeat(64))).is_ok());
}

#[test]
fn unknown_keys_are_ignored_known_ones_must_fit() {
    let (a, b) = (signer("l/a", 1), signer("l/b", 2));
    let checkpoint = Checkpoint { origin: origin("l/a"), size: 3, root: leaf(b"x") };
    let note = a.sign_checkpoint(&checkpoint);
    let other = Checkpoint { origin: origin("l/b"), ..checkpoint.clone() };
    let wrong_line = b.sign_checkpoint(&other).rsplit_once("\n\n").unwrap().1.to_owned();
    let both = format!("{note}{wrong_line}");
    let parsed = SignedNote::parse(&both).unwrap();

    assert_eq!(parsed.verify(&[a.verifier()]).unwrap(), [&a.verifier()], "b is unknown, so its failure is none");
    assert!(matches!(parsed.verify(&[b.verifier()]), Err(NoteError::BadSignature { .. })));
    assert!(matches!(parsed.verify(&[a.verifier(), b.verifier()]), Err(NoteError::BadSignature { .. })));
    assert!(matches!(parsed.verify(&[]), Err(NoteError::Unsigned { .. })));
    // The same name with another key, and the same key under another name, are other keys.
    for unknown in [signer("l/a", 3), signer("l/c", 1)] {
        assert!(matches!(parsed.verify(&[unknown.verifier()]), Err(NoteError::Unsigned { .. })));
    }
    // The same line twice is one signer.
    let line = note.rsplit_once("\n\n").unwrap().1;
    let twice = SignedNote::parse(&format!("{note}{line}")).unwrap();
    assert_eq!(twice.verify(&[a.verifier(), a.verifier()]).unwrap().len(), 1);
}

#[test]
fn verifier_keys() {
    let check = |vkey: &str, expect: &str| {
        let error = VerifierKey::parse(vkey).unwrap_err();
        assert!(error.to_string().contains(expect), "{vkey:?}: {error}");
    };
    check("", "not a verifier key");
    check("example.com/foo", "not a verifier key");
    check("example.com/foo+530d903a", "not a verifier key");
    check(&EXAMPLE_VKEY.replace("530d903a", "530D903A"), "not a verifier key");
    check(&EXAMPLE_VKEY.replace("530d903a", "530d903"), "not a verifier key");
    check(&EXAMPLE_VKEY.replace("530d903a", "530d903b"), "does not belong");
    check(&EXAMPLE_VKEY.replace("/foo", "/bar"), "does not belong");
    check(&EXAMPLE_VKEY.replace("+Aek", "+Aen"), "key");
    check(&EXAMPLE_VKEY.replace("example.com/foo", ""), "not a key name");
    check(&EXAMPLE_VKEY.replace("example.com/foo", "example com"), "not a key name");
    check(&format!("{EXAMPLE_VKEY}\n"), "base64");
    let name = KeyName::parse("l/a").unwrap();
    let key = signer("l/a", 1).verifier();
    assert_eq!(VerifierKey::from_pem(name.clone(), &key.spki_pem()), Ok(key));
    assert!(matches!(VerifierKey::from_pem(name, "nothing"), Err(VerifierKeyError::Key(_))));
}

#[test]
fn origins() {
    let longest = format!("{}/acme", "x".repeat(250));
    assert_eq!(Origin::parse(&longest).unwrap().as_str().len(), 255);
    for bad in ["", "acme", "/acme", "ledger/", "a b/c", "a+b/c", "a\n/c", "a/\u{2003}", &format!("x{longest}")] {
        assert!(Origin::parse(bad).is_err(), "{bad:?}");
    }
    let origin = Origin::of("ledger.example/main", "acme").unwrap();
    assert_eq!(
        (origin.ledger(), origin.log(), origin.as_str()),
        ("ledger.example/main", "acme", "ledger.example/main/acme")
    );
    assert!(Origin::of("ledger", "a/b").is_err());
}

#[test]
fn malformed_checkpoints() {
    let root = leaf(b"x");
    let good = Checkpoint { origin: origin("l/a"), size: 15, root };
    let text = good.text();
    assert_eq!(text, format!("l/a\n15\n{}\n", root.to_base64()));
    assert_eq!(Checkpoint::parse_text(&text), Ok(good));
    let check = |text: &str, expect: &str| {
        let error = Checkpoint::parse_text(text).unwrap_err();
        assert!(error.to_string().contains(expect), "{text:?}: {error}");
    };
    check("", "three lines");
    check(&text[..text.len() - 1], "three lines");
    check(&format!("{text}extension\n"), "three lines");
    check(&format!("{text}\n"), "three lines");
    check(&format!("\n{text}"), "three lines");
    check(&text.replace("l/a", ""), "not a key name");
    check(&text.replace("15", "015"), "tree size");
    check(&text.replace("15", "+15"), "tree size");
    check(&text.replace("15", "1 5"), "tree size");
    check(&text.replace("15", "18446744073709551616"), "tree size");
    check(&text.replace("15", ""), "tree size");
    check(&text.replace("15", "0"), "root");
    check(&text.replace('=', ""), "root");
    check(&text.replace("=\n", "==\n"), "root");
    assert!(Checkpoint::parse_text(&format!("l/a\n0\n{}\n", empty_root().to_base64())).is_ok());
}

#[test]
fn only_the_logs_own_key_opens_its_checkpoint() {
    let (a, b) = (signer("l/a", 1), signer("l/b", 2));
    let note = a.sign_checkpoint(&Checkpoint { origin: origin("l/a"), size: 3, root: leaf(b"x") });
    let opened = checkpoint::open(&note, &a.verifier()).unwrap();
    assert_eq!((opened.size, opened.root, opened.origin.as_str()), (3, leaf(b"x"), "l/a"));
    assert!(matches!(checkpoint::open(&note, &b.verifier()), Err(CheckpointError::Note(NoteError::Unsigned { .. }))));
    // A known and honest key of log b that signed a head of log a: properly signed, and still nothing about a.
    let text = Checkpoint { origin: origin("l/a"), size: 4, root: leaf(b"y") }.text();
    let mut blob = b.verifier().id().to_vec();
    blob.extend(b.sign_bytes(text.as_bytes()));
    let base64 = ::base64::Engine::encode(&::base64::engine::general_purpose::STANDARD, blob);
    let foreign = format!("{text}\n\u{2014} l/b {base64}\n");
    assert!(matches!(checkpoint::open(&foreign, &b.verifier()), Err(CheckpointError::OtherLog { .. })));
}

#[test]
#[should_panic(expected = "own log only")]
fn a_key_signs_no_other_log() {
    signer("l/a", 1).sign_checkpoint(&Checkpoint { origin: origin("l/b"), size: 0, root: empty_root() });
}

fn they_accept(note: &[u8], vkey: &str) -> bool {
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).unwrap())]);
    Note::from_bytes(note).is_ok_and(|note| note.verify(&known).is_ok())
}

fn we_accept(note: &[u8], vkey: &str) -> bool {
    let key = VerifierKey::parse(vkey).unwrap();
    std::str::from_utf8(note).is_ok_and(|note| SignedNote::parse(note).is_ok_and(|note| note.verify(&[key]).is_ok()))
}

proptest! {
    #[test]
    fn our_notes_are_theirs(seed in any::<u8>(), size in 1..u64::MAX, root: [u8; 32]) {
        let signer = signer("ledger.example/acme", seed);
        let note = signer.sign_checkpoint(&Checkpoint { origin: signer.name().clone(), size, root: Hash(root) });
        let vkey = signer.verifier().to_vkey();
        prop_assert!(they_accept(note.as_bytes(), &vkey) && we_accept(note.as_bytes(), &vkey));
        let theirs = tlog_tiles::Checkpoint::from_bytes(SignedNote::parse(&note).unwrap().text().as_bytes()).unwrap();
        prop_assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), ("ledger.example/acme", size, root));
        prop_assert_eq!(SignedNote::parse(&note).unwrap().to_text(), note);
    }

    /// We are at least as strict as the other implementation, and nobody accepts a changed byte.
    #[test]
    fn changed_notes_are_refused_by_both(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut note = EXAMPLE_NOTE.as_bytes().to_vec();
        let at = at.index(note.len());
        note[at] ^= 1 << bit;
        prop_assert!(!we_accept(&note, EXAMPLE_VKEY));
        prop_assert!(!they_accept(&note, EXAMPLE_VKEY) || !we_accept(&note, EXAMPLE_VKEY));
    }

    #[test]
    fn what_we_parse_they_parse(text in "(a\n){0,2}\n{0,3}(\u{2014} [k+ ]{1,2} (AAAAAAA=|AAAA)\n{0,2}){0,3}") {
        if let Ok(ours) = SignedNote::parse(&text) {
            prop_assert!(Note::from_bytes(text.as_bytes()).is_ok(), "{:?}", text);
            prop_assert_eq!(ours.to_text(), text);
        }
    }
}

//! Cosignatures against an implementation that is not ours, and every way of writing one wrongly.
//!
//! `vectors/cosignatures/` holds a note that transparency-dev/formats v0.1.1 made (`generate.go` says how) and the vkeys of
//! its `note/note_cosigv1_test.go` (Copyright 2023 The Go Authors, BSD-style; the module is Apache-2.0, its LICENSE beside).

use ledger::checkpoint;
use ledger::cosignature::{
    Algorithm, CosignatureError, Cosigner, CosignerKey, CosignerKeyError, Statement, StatementError, cosignatures,
};
use ledger::note::{KeyName, NoteSignature, SignedNote, VerifierKey, VerifierKeyError};

const NOTE: &str = include_str!("../vectors/cosignatures/note");
const KEYS: &str = include_str!("../vectors/cosignatures/keys");
const FORMATS_VKEYS: &str = include_str!("../vectors/cosignatures/formats-vkeys");

fn seed() -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from(i).unwrap())
}

fn name() -> KeyName {
    KeyName::parse("witness.example/w1").unwrap()
}

fn foreign_keys() -> Vec<CosignerKey> {
    KEYS.lines().skip(1).map(|vkey| CosignerKey::parse(vkey).unwrap()).collect()
}

fn our_cosigners() -> [Cosigner; 2] {
    [Cosigner::ed25519(name(), seed()), Cosigner::ml_dsa_44(name(), seed())]
}

fn note() -> SignedNote {
    SignedNote::parse(NOTE).unwrap()
}

#[test]
fn foreign_cosignatures_fit() {
    let keys = foreign_keys();
    let found = cosignatures(&note(), &keys).unwrap();
    let algorithms: Vec<Algorithm> = found.iter().map(|it| it.key.algorithm()).collect();
    assert_eq!(algorithms, [Algorithm::Ed25519, Algorithm::MlDsa44]);
    let times: Vec<u64> = found.iter().map(|it| it.time).collect();
    assert!(times.iter().all(|time| (1_700_000_000..2_000_000_000).contains(time)), "{times:?}");
    // The log's own signature stands in the same note, and each kind of key passes over the other's lines.
    let log = VerifierKey::parse(KEYS.lines().next().unwrap()).unwrap();
    assert_eq!(checkpoint::open(NOTE, &log).unwrap().size, 4);
}

#[test]
fn the_same_seed_gives_the_foreign_keys_and_signatures() {
    let foreign = foreign_keys();
    for (cosigner, key) in our_cosigners().iter().zip(&foreign) {
        assert_eq!(cosigner.verifier().to_vkey(), key.to_vkey());
        let note = note();
        let line = note.signatures().iter().find(|line| line.id == key.id()).unwrap();
        let statement = Statement::parse(note.text()).unwrap();
        let time = key.verify(&statement, line).unwrap();
        let ours = cosigner.cosign(&statement, time).unwrap();
        assert_eq!(key.verify(&statement, &ours), Ok(time));
        if key.algorithm() == Algorithm::Ed25519 {
            assert_eq!(&ours, line, "Ed25519 has one signature a message");
        }
    }
}

#[test]
fn vkeys_of_transparency_dev_formats() {
    let (ed25519, ml_dsa) = FORMATS_VKEYS.split_once('\n').unwrap();
    let key = CosignerKey::parse(ed25519).unwrap();
    assert_eq!((key.to_vkey().as_str(), key.algorithm()), (ed25519, Algorithm::Ed25519));
    // Their ML-DSA-44 key carries an id that is not that of its name and key, which their parser does not look at.
    let refused = CosignerKey::parse(ml_dsa.trim_end()).unwrap_err();
    let expected = [0x31, 0x23, 0x68, 0x97];
    assert_eq!(refused, VerifierKeyError::Id { expected, found: [0x58, 0x93, 0xdc, 0x2c] }.into());
    let key = CosignerKey::parse(ml_dsa.trim_end().replace("5893dc2c", "31236897").as_str()).unwrap();
    assert_eq!(key.algorithm(), Algorithm::MlDsa44);
    let error = |vkey: &str| CosignerKey::parse(vkey).unwrap_err();
    assert!(matches!(error("bananas.sigstore.dev+12344556"), CosignerKeyError::Form(VerifierKeyError::Form(_))));
    assert!(matches!(error("rekor.sigstore.dev+12345678+THIS_IS_NOT_BASE64!"), CosignerKeyError::Form(_)));
    let bad = error("rekor.sigstore.dev+12345678+AwEB");
    assert_eq!(bad, CosignerKeyError::Type(3));
    let log_key = error("TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6");
    assert!(log_key.to_string().contains("0x01 is the type of a log's key"), "{log_key}");
    assert!(matches!(error("t+00000000+BAA="), CosignerKeyError::Length { kind: 4, expected: 32, found: 1 }));
    assert!(matches!(error("t+00000000+BgA="), CosignerKeyError::Length { kind: 6, expected: 1312, found: 1 }));
    let wrong_id = FORMATS_VKEYS.lines().next().unwrap().replace("da77ade7", "da77ade8");
    assert!(matches!(error(&wrong_id), CosignerKeyError::Form(VerifierKeyError::Id { .. })));
}

#[test]
fn the_time_is_in_the_line() {
    // From TestCoSigV1Timestamp of the same file: only the time of this line can be read, its key is not published.
    const LINE: &str =
        "ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA==";
    let note = SignedNote::parse(&format!("a\n1\nb\n\n\u{2014} w {LINE}\n")).unwrap();
    let time = note.signatures()[0].signature.first_chunk::<8>().unwrap();
    assert_eq!(u64::from_be_bytes(*time), 1_727_964_367);
}

/// A note whose only lines are `lines`.
fn with_lines(lines: &[NoteSignature]) -> SignedNote {
    let lines: String = lines.iter().map(NoteSignature::to_line).collect();
    SignedNote::parse(&format!("{}\n{lines}", note().text())).unwrap()
}

#[test]
fn a_wrong_line_of_a_known_witness_refuses_the_note() {
    let keys = foreign_keys();
    let text = note().text().to_owned();
    let statement = Statement::parse(&text).unwrap();
    for cosigner in our_cosigners() {
        let good = cosigner.cosign(&statement, 7).unwrap();
        let check = |change: &dyn Fn(&mut NoteSignature), expect: &str| {
            let mut line = good.clone();
            change(&mut line);
            let error = cosignatures(&with_lines(&[line]), &keys).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(&|line| line.signature.truncate(7), "shorter than its time");
        check(&|line| line.signature.truncate(60), "length");
        check(&|line| line.signature.push(0), "length");
        check(&|line| line.signature[0] = 0x80, "past 2^63 - 1");
        check(&|line| line.signature[7] ^= 1, "does not fit");
        let last = good.signature.len() - 1;
        check(&|line| line.signature[last] ^= 1, "does not fit");
        check(&|line| line.signature[20] ^= 1, "does not fit");
        // One bad line spoils a note with good ones too.
        let mut bad = good.clone();
        bad.signature[30] ^= 1;
        let refused = cosignatures(&with_lines(&[good.clone(), bad]), &keys);
        assert!(matches!(refused, Err(CosignatureError::Bad { .. })));
        // Somebody else's line under another name or id is passed over.
        let mut other = good.clone();
        other.name = KeyName::parse("witness.example/w2").unwrap();
        assert_eq!(cosignatures(&with_lines(&[other]), &keys), Ok(Vec::new()));
        let mut other = good.clone();
        other.id[0] ^= 1;
        assert_eq!(cosignatures(&with_lines(&[other]), &keys), Ok(Vec::new()));
        assert!(cosigner.cosign(&statement, 1 << 63).is_err());
        // Only one of a subtree may say nothing of time.
        let timeless = cosignatures(&with_lines(&[cosigner.cosign(&statement, 0).unwrap()]), &keys);
        match cosigner.verifier().algorithm() {
            Algorithm::Ed25519 => assert!(timeless.unwrap_err().to_string().contains("has no time")),
            Algorithm::MlDsa44 => assert_eq!(timeless.unwrap()[0].time, 0),
        }
    }
}

#[test]
fn a_cosignature_is_of_one_text() {
    let keys = foreign_keys();
    let text = note().text().to_owned();
    let extended = format!("{text}extension\n");
    let [ed25519, ml_dsa] = our_cosigners();
    for altered in [text.replace("acme", "acmf"), text.replace("\n4\n", "\n5\n"), text.replace("f+7C", "g+7C")] {
        for (cosigner, key) in [&ed25519, &ml_dsa].into_iter().zip(&keys) {
            let line = cosigner.cosign(&Statement::parse(&text).unwrap(), 7).unwrap();
            assert!(key.verify(&Statement::parse(&altered).unwrap(), &line).is_err(), "{altered}");
        }
    }
    // Ed25519 covers extension lines; ML-DSA-44 says nothing of them (C2SP tlog-cosignature).
    let original = Statement::parse(&text).unwrap();
    let extended = Statement::parse(&extended).unwrap();
    assert!(keys[0].verify(&extended, &ed25519.cosign(&original, 7).unwrap()).is_err());
    assert_eq!(keys[0].verify(&extended, &ed25519.cosign(&extended, 7).unwrap()), Ok(7));
    assert_eq!(keys[1].verify(&extended, &ml_dsa.cosign(&original, 7).unwrap()), Ok(7));
    // ML-DSA-44 commits to the witness's name, Ed25519 does not.
    let renamed = Cosigner::ml_dsa_44(KeyName::parse("witness.example/w2").unwrap(), seed());
    let mut line = renamed.cosign(&original, 7).unwrap();
    (line.name, line.id) = (name(), keys[1].id());
    assert!(keys[1].verify(&original, &line).is_err());
}

#[test]
fn of_two_lines_by_one_key_the_earliest_counts() {
    let keys = foreign_keys();
    let text = note().text().to_owned();
    let statement = Statement::parse(&text).unwrap();
    let [ed25519, _] = our_cosigners();
    let lines = [9, 7, 8].map(|time| ed25519.cosign(&statement, time).unwrap());
    let found =
        cosignatures(&with_lines(&lines), &keys).map(|found| found.iter().map(|it| it.time).collect::<Vec<_>>());
    assert_eq!(found, Ok(vec![7]));
}

#[test]
fn statements() {
    let root = "f+7CoKgXKE/tNys9TTXcr/ad6U/K3xvznmzew9y6SP0=";
    let check = |text: &str, expect: Option<StatementError>| {
        assert_eq!(Statement::parse(text).err(), expect, "{text:?}");
    };
    check(&format!("go.sum database tree\n4\n{root}\n"), None);
    check(&format!("o\n0\n{root}\nextension 1\nextension 2\n"), None);
    check(&format!("o\n4\n{root}"), Some(StatementError::Lines));
    check("o\n4\n", Some(StatementError::Lines));
    check(&format!("\n4\n{root}\n"), Some(StatementError::Lines));
    check(&format!("o\n4\n{root}\n\nx\n"), Some(StatementError::Lines));
    check(&format!("o\n04\n{root}\n"), Some(StatementError::Size));
    check(&format!("o\n-1\n{root}\n"), Some(StatementError::Size));
    check("o\n4\nAAAA\n", Some(StatementError::Root));
    check("", Some(StatementError::Lines));
}

#[test]
fn secret_keys_travel_as_pkcs8() {
    for cosigner in our_cosigners() {
        let pem = cosigner.to_pkcs8_pem();
        assert!(pem.lines().all(|line| line.len() <= 64), "{}", pem.as_str());
        let back = Cosigner::from_pkcs8_pem(name(), &pem).unwrap();
        assert_eq!(back.verifier(), cosigner.verifier());
        assert!(!format!("{cosigner:?}").contains("0001020304"), "no secret is shown");
    }
    assert!(Cosigner::from_pkcs8_pem(name(), "-----BEGIN ENCRYPTED PRIVATE KEY-----").is_err());
    assert!(Cosigner::from_pkcs8_pem(name(), "").is_err());
}

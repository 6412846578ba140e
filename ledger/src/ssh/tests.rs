use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

use super::*;

const SHA512: &str = include_str!("../../testdata/ssh/ed25519-sha512.sig");
const SHA256: &str = include_str!("../../testdata/ssh/ed25519-sha256.sig");
const ED25519: &str = include_str!("../../testdata/ssh/ed25519.pub");
const ECDSA_SIGNATURE: &str = include_str!("../../testdata/ssh/ecdsa.sig");
const ECDSA: &str = include_str!("../../testdata/ssh/ecdsa.pub");
const NAMESPACE: &str = "upm-approval";

/// Each with the fingerprint that `ssh-keygen -lf` prints of its key.
const BY_SSH_KEYGEN: [(&str, &str, &str); 3] = [
    (SHA512, ED25519, "SHA256:bKcXBSG82gtcArg0y7jFLhuvWu2KHlKgx/TLg7atSsE"),
    (SHA256, ED25519, "SHA256:bKcXBSG82gtcArg0y7jFLhuvWu2KHlKgx/TLg7atSsE"),
    (ECDSA_SIGNATURE, ECDSA, "SHA256:KcWwnq3GZUYqqur3gGL+dVbsrpJdMM6MGYS6XWyzcN0"),
];

#[test]
fn what_ssh_keygen_signed() {
    for (signature, key, fingerprint) in BY_SSH_KEYGEN {
        assert_eq!(verify(signature, NAMESPACE, b"hello").unwrap().fingerprint(), fingerprint);
        assert_eq!(verify(signature, NAMESPACE, b"hullo"), Err(SshError::Bad));
        assert!(matches!(verify(signature, "file", b"hello"), Err(SshError::Namespace { .. })));
        let bare: String = signature.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(verify(&bare, NAMESPACE, b"hello").is_ok());
        assert_eq!(SshKey::parse(key).unwrap().fingerprint(), fingerprint);
    }
}

#[test]
fn other_kinds_of_key_are_named() {
    let rsa = || SshError::KeyType("ssh-rsa".to_owned());
    assert_eq!(verify(include_str!("../../testdata/ssh/rsa.sig"), NAMESPACE, b"hello"), Err(rsa()));
    assert_eq!(SshKey::parse(include_str!("../../testdata/ssh/rsa.pub")), Err(rsa()));
    let said = rsa().to_string();
    assert!(said.contains("sk-ecdsa-sha2-nistp256@openssh.com") && said.contains("open security advisory"), "{said}");
    let said = SshError::KeyType("ssh-dss".to_owned()).to_string();
    assert!(said.ends_with("are"), "{said}");
    for bad in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 ?", "ecdsa-sha2-nistp256 AAAA"] {
        assert!(matches!(SshKey::parse(bad), Err(SshError::Malformed(_))), "{bad}");
    }
    let renamed = ECDSA.replacen("ecdsa-sha2-nistp256", "ssh-ed25519", 1);
    assert!(matches!(SshKey::parse(&renamed), Err(SshError::Malformed(_))));
}

fn s(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        put(&mut out, part);
    }
    out
}

/// A number as SSH writes it: without zeros before it, but for the one that keeps it positive.
fn mpint(number: &[u8]) -> Vec<u8> {
    let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
    let sign = if number[0] & 0x80 == 0 { &[][..] } else { &[0] };
    [sign, number].concat()
}

/// A FIDO token with its key in our hand: `PROTOCOL.u2f`.
#[derive(Clone, Copy, Debug)]
enum Token {
    Ed25519,
    P256,
}

const TOKENS: [Token; 2] = [Token::Ed25519, Token::P256];
const APPLICATION: &[u8] = b"ssh:";

impl Token {
    fn kind(self) -> &'static str {
        match self {
            Self::Ed25519 => "sk-ssh-ed25519@openssh.com",
            Self::P256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn p256() -> p256::ecdsa::SigningKey {
        p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()
    }

    fn public(self) -> Vec<u8> {
        let kind = self.kind().as_bytes();
        match self {
            Self::Ed25519 => s(&[kind, SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes(), APPLICATION]),
            Self::P256 => {
                let point = Self::p256().verifying_key().to_sec1_point(false);
                s(&[kind, b"nistp256", point.as_bytes(), APPLICATION])
            }
        }
    }

    fn sign(self, said: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519 => SigningKey::from_bytes(&[7; 32]).sign(said).to_bytes().to_vec(),
            Self::P256 => {
                let signature: p256::ecdsa::Signature = Self::p256().sign(said);
                let (r, s_) = signature.split_bytes();
                s(&[&mpint(&r), &mpint(&s_)])
            }
        }
    }

    /// What `ssh-keygen -Y sign` would have made with it.
    fn signs(self, flags: u8, message: &[u8]) -> Vec<u8> {
        let digest = Sha512::digest(message);
        let signed = [MAGIC.as_slice(), &s(&[NAMESPACE.as_bytes(), b"", b"sha512", &digest])].concat();
        let token = [flags, 0, 0, 0, 42];
        let said = [&Sha256::digest(APPLICATION)[..], &token, &Sha256::digest(&signed)[..]].concat();
        let signature = [s(&[self.kind().as_bytes(), &self.sign(&said)]), token.to_vec()].concat();
        let rest = s(&[&self.public(), NAMESPACE.as_bytes(), b"", b"sha512", &signature]);
        [MAGIC.as_slice(), &1_u32.to_be_bytes(), &rest].concat()
    }
}

#[test]
fn a_token_has_to_be_touched() {
    for token in TOKENS {
        let check =
            |flags, message: &[u8]| verify(&encoding::to_base64(&token.signs(flags, b"hello")), NAMESPACE, message);
        let line = format!("{} {} a key", token.kind(), encoding::to_base64(&token.public()));
        assert_eq!(check(0x01, b"hello"), SshKey::parse(&line));
        assert!(check(0x05, b"hello").is_ok(), "with a PIN, too");
        assert!(matches!(check(0x00, b"hello"), Err(SshError::Malformed(_))));
        assert!(matches!(check(0x04, b"hello"), Err(SshError::Malformed(_))), "a PIN is no touch");
        assert_eq!(check(0x01, b"x"), Err(SshError::Bad));
    }
}

/// Real tokens, in OpenSSH's own tests: of each kind, the key and what it signed.
const TOKENS_OF_OPENSSH: [(&str, &str); 2] = [
    (
        include_str!("../../testdata/ssh/openssh-ed25519_sk.pub"),
        include_str!("../../testdata/ssh/openssh-ed25519_sk.sig"),
    ),
    (include_str!("../../testdata/ssh/openssh-ecdsa_sk.pub"), include_str!("../../testdata/ssh/openssh-ecdsa_sk.sig")),
];

#[test]
fn what_real_tokens_signed_for_openssh() {
    let said = b"This is a test, this is only a test";
    for (key, signature) in TOKENS_OF_OPENSSH {
        let key = SshKey::parse(key).unwrap();
        assert_eq!(verify(signature, "unittest", said).as_ref(), Ok(&key));
        assert_eq!(verify(signature, "unittest", b"This is another"), Err(SshError::Bad));
        assert!(matches!(verify(signature, NAMESPACE, said), Err(SshError::Namespace { .. })));
    }
}

#[test]
fn a_key_is_written_as_it_was_read() {
    let tokens = TOKENS_OF_OPENSSH.map(|(key, _)| key);
    for text in [ED25519, ECDSA].iter().chain(&tokens) {
        let line = SshKey::parse(text).unwrap().line();
        assert!(text.starts_with(&format!("{line} ")), "{line}");
    }
}

/// OpenSSH is the judge of all of them: of its own, and of what the tokens above made.
#[test]
fn ssh_keygen_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signature");
    for blob in all() {
        let armoured = format!("{BEGIN}\n{}\n{END}\n", encoding::to_base64(&blob));
        std::fs::write(&file, &armoured).unwrap();
        for (message, fits) in [("hello", true), ("hullo", false)] {
            assert_eq!(ssh_keygen(&file, message), fits, "{armoured}");
            assert_eq!(verify(&armoured, NAMESPACE, message.as_bytes()).is_ok(), fits, "{armoured}");
        }
    }
}

/// Of every known kind.
fn all() -> Vec<Vec<u8>> {
    let by_ssh_keygen = BY_SSH_KEYGEN.iter().map(|(signature, ..)| unarmour(signature).unwrap());
    by_ssh_keygen.chain(TOKENS.map(|token| token.signs(0x01, b"hello"))).collect()
}

fn ssh_keygen(signature: &Path, message: &str) -> bool {
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "check-novalidate", "-n", NAMESPACE, "-s"])
        .arg(signature)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn numbers_have_one_form() {
    let signature = |r: &[u8], s_: &[u8]| {
        let blob = [
            MAGIC.as_slice(),
            &1_u32.to_be_bytes(),
            &s(&[
                &s(&[
                    b"ecdsa-sha2-nistp256",
                    b"nistp256",
                    Token::p256().verifying_key().to_sec1_point(false).as_bytes(),
                ]),
                NAMESPACE.as_bytes(),
                b"",
                b"sha256",
                &s(&[b"ecdsa-sha2-nistp256", &s(&[r, s_])]),
            ]),
        ]
        .concat();
        verify(&encoding::to_base64(&blob), NAMESPACE, b"hello")
    };
    let signed = [MAGIC.as_slice(), &s(&[NAMESPACE.as_bytes(), b"", b"sha256", &Sha256::digest(b"hello")])].concat();
    let good: p256::ecdsa::Signature = Token::p256().sign(&signed);
    let (r, t) = good.split_bytes();
    let (r, t) = (mpint(&r), mpint(&t));
    assert!(signature(&r, &t).is_ok());
    let longer = [&[0], &r[..]].concat();
    let huge = [&[1; 33], &r[..]].concat();
    for bad in [&longer[..], &huge, &[], &[0], &[0, 0x7f], &[0x80]] {
        assert!(signature(bad, &t).is_err() && signature(&r, bad).is_err(), "{bad:?}");
    }
    // Below the order, but nothing that fits.
    assert_eq!(signature(&[1], &t), Err(SshError::Bad));
}

proptest! {
    #[test]
    fn no_flipped_bit_passes(at in 0_usize..3_000, which in 0_usize..5) {
        let mut blob = all().swap_remove(which);
        let bit = at % (blob.len() * 8);
        blob[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify(&encoding::to_base64(&blob), NAMESPACE, b"hello").is_err(), "bit {}", bit);
    }

    #[test]
    fn any_bytes_are_refused_calmly(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = encoding::to_base64(&[MAGIC.as_slice(), &bytes].concat());
        prop_assert!(verify(&text, NAMESPACE, b"").is_err());
    }
}

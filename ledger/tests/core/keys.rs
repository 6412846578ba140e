//! Key files: RFC 8410's own examples, and the `openssl` of this machine where there is one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ledger::key::{KeyError, PublicKey};
use ledger::signing::{SecretKeyError, Signer};

use crate::support::{origin, signer};

/// RFC 8410 §10.1 and §10.3.
const RFC8410_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
const RFC8410_V1: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
const RFC8410_V2: &str = "-----BEGIN PRIVATE KEY-----\nMHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\noB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\nZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PRIVATE KEY-----\n";

#[test]
fn rfc8410_examples() {
    let name = origin("ledger.example/acme");
    for pem in [RFC8410_V1, RFC8410_V2] {
        let signer = Signer::from_pkcs8_pem(&name, pem).unwrap();
        assert_eq!(signer.public_key().spki_pem(), RFC8410_PUBLIC);
        assert_eq!(signer.to_pkcs8_pem().as_str(), RFC8410_V1, "always written as version 1");
    }
    assert_eq!(PublicKey::from_spki_pem(RFC8410_PUBLIC).unwrap().spki_pem(), RFC8410_PUBLIC);
}

/// `None` where there is no openssl.
fn openssl(args: &[&str], input: &str) -> Option<String> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .inspect_err(|error| println!("no openssl here, not compared with it: {error}"))
        .ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    let ours = signer("ledger.example/acme", 42);
    let Some(public) = openssl(&["pkey", "-pubout"], &ours.to_pkcs8_pem()) else { return };
    assert_eq!(public, ours.public_key().spki_pem());
    assert_eq!(openssl(&["pkey"], &ours.to_pkcs8_pem()).unwrap(), *ours.to_pkcs8_pem());
    assert_eq!(openssl(&["pkey", "-pubin"], &ours.public_key().spki_pem()).unwrap(), ours.public_key().spki_pem());

    let generated = openssl(&["genpkey", "-algorithm", "ed25519"], "").unwrap();
    let theirs = Signer::from_pkcs8_pem(ours.name(), &generated).unwrap();
    assert_eq!(openssl(&["pkey", "-pubout"], &generated).unwrap(), theirs.public_key().spki_pem());

    let rsa = openssl(&["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:1024"], "").unwrap();
    assert!(matches!(Signer::from_pkcs8_pem(ours.name(), &rsa), Err(SecretKeyError::NotEd25519(_))));
    let encrypted = openssl(&["pkcs8", "-topk8", "-passout", "pass:x"], &ours.to_pkcs8_pem()).unwrap();
    assert_eq!(Signer::from_pkcs8_pem(ours.name(), &encrypted).unwrap_err(), SecretKeyError::Encrypted);
}

#[test]
fn secrets_are_never_shown() {
    let signer = Signer::from_pkcs8_pem(&origin("ledger.example/acme"), RFC8410_V1).unwrap();
    let shown = format!("{signer:?}");
    assert!(shown.contains("ledger.example/acme+"), "{shown}");
    let seed = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842";
    for secret in [seed, &seed.to_uppercase(), "1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WEI", "212, 238, 114"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    // Nor by the error of a key file that is nearly right.
    let broken = RFC8410_V1.replace("MC4CAQAw", "MC4CAQIw");
    let error = Signer::from_pkcs8_pem(signer.name(), &broken).unwrap_err().to_string();
    assert!(!error.contains("1O5y2"), "{error}");
}

#[test]
fn public_keys_have_one_spelling() {
    let key = signer("ledger.example/acme", 9).public_key();
    let typed = key.typed_base64();
    assert_eq!(PublicKey::from_typed_base64(&typed), Ok(key));
    assert!(typed.starts_with('A') && typed.len() == 44, "33 bytes, the first 01: {typed}");
    let check = |text: &str, expect: &str| {
        let error = PublicKey::from_typed_base64(text).unwrap_err();
        assert!(error.to_string().contains(expect), "{text}: {error}");
    };
    check(&typed[..40], "01 and 32 bytes");
    check("", "01 and 32 bytes");
    check("not base64", "01 and 32 bytes");
    check(&typed.replacen('A', "B", 1), "0x05");
    // The point of order 1, under which a signature of zeros would fit anything; and no point at all.
    check("AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "no usable");
    check("AQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "no usable");
    assert!(matches!(PublicKey::from_spki_pem(RFC8410_V1), Err(KeyError::Pem(_))));
    assert!(matches!(PublicKey::from_spki_pem(""), Err(KeyError::Pem(_))));
}

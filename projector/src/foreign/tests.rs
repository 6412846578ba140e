use std::slice::from_ref;

use ledger::checkpoint::Origin;
use ledger::signing::Signer;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use schemas::admit::{Scratch, admit_unaddressed};
use serde_json::json;

use super::*;
use crate::anomaly::Code;
use crate::approval::{Rule, Rules};
use crate::document::Context;
use crate::testing::{event, told, told_with};

const BUNDLE_JSON: &str = include_str!("../../testdata/foreign/sigstore-v0.3-managed-key.bundle.json");
const BUNDLE_KEY: &str = include_str!("../../testdata/foreign/sigstore-v0.3-managed-key.pub");
const DSSE_JSON: &str = include_str!("../../testdata/foreign/dsse-chainloop-attestation.json");
const DSSE_KEY: &str = include_str!("../../testdata/foreign/dsse-chainloop-attestation.pub");

fn key(name: &str, pem: &str) -> (String, ForeignKey) {
    (name.to_owned(), ForeignKey::parse(pem).unwrap())
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What is found in an event that holds this in its plan.
#[track_caller]
fn one(evidence: &Value, keys: &Keys) -> Foreign {
    let payload = json!({"provisioning_event": {"plan": {"evidence": [evidence]}}}).to_string();
    let [found] = of(7, payload.as_bytes(), keys).try_into().unwrap();
    found
}

#[track_caller]
fn bad(evidence: &Value, keys: &Keys, why: &str) {
    let found = one(evidence, keys);
    assert!(matches!(&found.standing, Standing::Bad { why: found } if found.contains(why)), "{found:?}");
}

#[test]
fn real_evidence_is_held_against_the_keys_that_signed_it() {
    let keys = [key("cosign", BUNDLE_KEY), key("chainloop", DSSE_KEY)];
    let bundle = one(&value(BUNDLE_JSON), &keys);
    assert_eq!((bundle.form, &bundle.standing), (Form::SigstoreBundle, &Standing::Signed { by: "cosign".into() }));
    assert_eq!(bundle.about, ["sha256:a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf"]);
    let dsse = one(&value(DSSE_JSON), &keys);
    assert_eq!((dsse.form, &dsse.standing), (Form::Dsse, &Standing::Signed { by: "chainloop".into() }));
    assert_eq!(dsse.pointer, "/provisioning_event/plan/evidence/0");
    assert!(dsse.about[0].starts_with("chainloop.workflow.mywf sha256:b81726b02d6e"), "{:?}", dsse.about);
    assert!(dsse.sentence().contains("is signed with the key “chainloop”"), "{}", dsse.sentence());
}

#[test]
fn without_a_key_nothing_is_checked_and_with_another_nothing_is_believed() {
    for evidence in [BUNDLE_JSON, DSSE_JSON].map(value) {
        assert_eq!(one(&evidence, &[]).standing, Standing::NotChecked);
    }
    bad(&value(BUNDLE_JSON), &[key("other", DSSE_KEY)], "none of the 1 keys");
    bad(&value(DSSE_JSON), &[key("other", BUNDLE_KEY)], "none of the 1 keys");
}

#[test]
fn whatever_is_done_to_evidence_is_bad() {
    let keys = [key("cosign", BUNDLE_KEY), key("chainloop", DSSE_KEY)];
    let check = |text: &str, path: &str, to: Value, why: &str| {
        let mut evidence = value(text);
        *evidence.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = to;
        bad(&evidence, &keys, why);
    };
    let other = BASE64_STANDARD.encode([1; 32]);
    check(
        BUNDLE_JSON,
        "/messageSignature/messageDigest/digest",
        json!(other),
        "names the key “cosign”, and the signature",
    );
    check(BUNDLE_JSON, "/messageSignature/signature", json!(other), "the signature does not fit");
    check(BUNDLE_JSON, "/messageSignature/signature", json!("!"), "not base64");
    check(BUNDLE_JSON, "/messageSignature/signature", json!(1), "cannot be read");
    check(BUNDLE_JSON, "/messageSignature", Value::Null, "exactly one of");
    check(DSSE_JSON, "/payload", json!("e30="), "none of the 2 keys");
    check(DSSE_JSON, "/payload", json!("!"), "its payload is not base64");
    check(DSSE_JSON, "/payloadType", json!("application/json"), "none of the 2 keys");
    check(DSSE_JSON, "/signatures", json!([]), "no signature");
    check(DSSE_JSON, "/signatures/0", json!({}), "cannot be read");
    check(DSSE_JSON, "/signatures/0/sig", json!("AAAA"), "none of the 2 keys");
    // A bundle over an envelope has one signature; an envelope by itself may have more.
    let mut envelope = value(DSSE_JSON);
    let signature = envelope["signatures"][0].clone();
    envelope["signatures"] = json!([{"sig": "AAAA"}, signature]);
    assert_eq!(one(&envelope, &keys).standing, Standing::Signed { by: "chainloop".into() });
    let material = json!({"publicKey": {"hint": ""}});
    let bundle = json!({"mediaType": BUNDLE_V0_3[0], "verificationMaterial": material, "dsseEnvelope": envelope});
    bad(&bundle, &keys, "several signatures");
}

#[test]
fn what_is_not_understood_is_told() {
    let keys = [key("cosign", BUNDLE_KEY)];
    let check = |path: &str, to: Value, why: &str| {
        let mut evidence = value(BUNDLE_JSON);
        *evidence.pointer_mut(path).unwrap() = to;
        let found = one(&evidence, &keys);
        assert!(matches!(&found.standing, Standing::Unsupported { why: found } if found.contains(why)), "{found:?}");
    };
    check("/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.9+json"), "v0.3 is understood");
    check("/verificationMaterial", json!({"certificate": {"rawBytes": ""}}), "names a certificate");
    check("/messageSignature/messageDigest/algorithm", json!("SHA2_512"), "no SHA-256");
}

#[test]
fn both_kinds_of_key_sign_envelopes() {
    let origin = Origin::parse("l/x").unwrap();
    let ed25519 = Signer::from_seed(&origin, [3; 32]);
    let p256 = SigningKey::from_slice(&[5; 32]).unwrap();
    let statement = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;
    let signed = dsse::pae(IN_TOTO, statement);
    let envelope = |signature: &[u8]| {
        json!({"payload": BASE64_STANDARD.encode(statement), "payloadType": IN_TOTO,
            "signatures": [{"keyid": "", "sig": BASE64_STANDARD.encode(signature)}]})
    };
    let ecdsa: p256::ecdsa::Signature = p256.sign(&signed);
    let der = p256.verifying_key().to_public_key_der().unwrap();
    let pem = ed25519.public_key().spki_pem();
    let keys = [key("e", &pem), key("p", &BASE64_STANDARD.encode(der.as_bytes()))];
    let by = |name: &str| Standing::Signed { by: name.to_owned() };
    assert_eq!(one(&envelope(&ed25519.sign_bytes(&signed)), &keys).standing, by("e"));
    assert_eq!(one(&envelope(ecdsa.to_der().as_bytes()), &keys).standing, by("p"));
    bad(&envelope(ecdsa.to_bytes().as_slice()), &keys, "none of the 2 keys");
    // A file's Ed25519 signature is over the file, which an event does not hold.
    let found = one(&value(BUNDLE_JSON), &keys[..1]);
    assert!(matches!(found.standing, Standing::Unsupported { .. }), "{found:?}");
}

#[test]
fn it_is_found_wherever_it_stands_and_however_it_is_spelt() {
    let dsse = DSSE_JSON.replace("payloadType", "payload\\u0054ype");
    let text = format!(
        r#"{{"a":[{{"b":{BUNDLE_JSON}}},{dsse},{{"payload":"x","payloadType":"y"}}],"c":{{"d":{DSSE_JSON}}}}}"#
    );
    let places: Vec<String> = of(0, text.as_bytes(), &[]).into_iter().map(|found| found.pointer).collect();
    assert_eq!(places, ["/a/0/b", "/a/1", "/c/d"]);
    for none in ["", "{", "{}", r#"{"payload":"","payloadType":"","signatures":""}"#, r#"{"mediaType":3}"#] {
        assert_eq!(of(0, none.as_bytes(), &[]), []);
    }
}

#[test]
fn keys_that_are_none() {
    for none in
        ["", "x", "AAAA", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", &BASE64_STANDARD.encode(ED25519)]
    {
        assert_eq!(ForeignKey::parse(none), Err(ForeignKeyError), "{none}");
    }
    let read = ForeignKey::parse(BUNDLE_KEY).unwrap();
    assert_eq!(ForeignKey::parse(&read.to_base64()).unwrap(), read);
    assert_eq!(read.hint(), value(BUNDLE_JSON)["verificationMaterial"]["publicKey"]["hint"].as_str().unwrap());
}

/// An Ed25519 key of small order.
const ED25519: [u8; 44] = {
    let mut der = [0; 44];
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let mut at = 0;
    while at < 12 {
        der[at] = prefix[at];
        at += 1;
    }
    der
};

/// From the producer's bytes to the document: admission leaves evidence as it is, the tenant's rule names keys, and what does not fit
/// is an anomaly.
#[test]
fn a_change_tells_what_became_of_its_evidence() {
    let made = |evidence: &Value| event("plan", &json!({"plan": {"commands": ["x"], "evidence": evidence}}));
    for evidence in [BUNDLE_JSON, DSSE_JSON].map(value) {
        let sent = made(&evidence);
        let (_, admitted) = admit_unaddressed(&sent.payload, &mut Scratch::default()).unwrap();
        assert_eq!((admitted.masked, admitted.payload.as_ref()), (0, sent.payload.as_slice()), "no secret in it");
    }
    let facts = |name: &str, pem: &str| {
        let key = ForeignKey::parse(pem).unwrap().to_base64();
        [(format!("evidence.key.{name}"), key)].into_iter().collect::<BTreeMap<_, _>>()
    };
    let rules = |name: &str, pem: &str| Rules::always("l/acme", Rule::of(&facts(name, pem)));
    assert_eq!(Rule::check(&facts("build", DSSE_KEY)), Ok(()));
    let wrong = [("evidence.key.build".to_owned(), "x".to_owned())].into_iter().collect();
    assert!(Rule::check(&wrong).unwrap_err().to_string().contains("ECDSA P-256 or Ed25519"));
    let event = made(&value(DSSE_JSON));
    let codes = |document: &crate::document::ChangeDocument| {
        document.anomalies.iter().map(|anomaly| anomaly.code).collect::<Vec<_>>()
    };
    let silent = told(from_ref(&event));
    assert_eq!((silent.foreign[0].standing.clone(), codes(&silent)), (Standing::NotChecked, vec![]));
    let context = |rules| Context { rules, ..Context::default() };
    let signed = told_with(from_ref(&event), &context(rules("build", DSSE_KEY)));
    assert_eq!((signed.foreign[0].standing.clone(), codes(&signed)), (Standing::Signed { by: "build".into() }, vec![]));
    let forged = told_with(&[event], &context(rules("build", BUNDLE_KEY)));
    assert_eq!(codes(&forged), [Code::ForeignSignatureBad]);
    assert!(forged.anomalies[0].text.starts_with("The DSSE envelope at “/provisioning_event/plan/evidence” about"));
    let text = String::from_utf8(forged.to_json()).unwrap();
    assert!(text.contains(r#""standing": "bad""#), "{text}");
}

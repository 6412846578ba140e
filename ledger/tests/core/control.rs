//! The lock on the door: control messages that are not signed by whom the act asks for, or not the next one, are refused.

use ledger::checkpoint::Origin;
use ledger::control::{ControlError, ControlOp, Keys, PAYLOAD_TYPE, check, envelope, envelope_by, open};
use ledger::dsse::{Envelope, EnvelopeSignature, pae};
use ledger::hash::{Hash, leaf};
use ledger::note::key_id;
use ledger::signing::Signer;
use schemas::reason::Reason;
use serde_json::{Value, json};

use crate::support::{origin, signer};

const LOG: &str = "ledger.example/acme";

struct Door {
    origin: Origin,
    admin: Signer,
    second: Signer,
    recovery: Signer,
    log: Signer,
    prev: Hash,
}

fn door() -> Door {
    let key = |seed| signer(LOG, seed);
    Door { origin: origin(LOG), admin: key(1), second: key(2), recovery: key(3), log: key(4), prev: leaf(b"entry 0") }
}

impl Door {
    fn keys(&self) -> Keys {
        let admin = vec![self.admin.public_key(), self.second.public_key()];
        Keys { admin, recovery: self.recovery.public_key(), log: self.log.public_key() }
    }

    /// The fifth control message of this log.
    fn message(&self, signers: &[&Signer], op: ControlOp, body: &Value) -> Vec<u8> {
        envelope_by(signers, &self.origin, op, 5, &self.prev, body)
    }

    fn check(&self, message: &[u8]) -> Result<ControlOp, ControlError> {
        check(message, &self.origin, &self.keys(), 4, &self.prev)
    }

    fn refused(&self, message: &[u8], expect: Reason, why: &str) {
        let error = self.check(message).unwrap_err();
        assert_eq!(error.reason(), expect, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }

    /// An envelope around any payload, signed by the admin.
    fn around(&self, payload: &[u8]) -> Vec<u8> {
        self.around_typed(PAYLOAD_TYPE, payload)
    }

    fn around_typed(&self, payload_type: &str, payload: &[u8]) -> Vec<u8> {
        let keyid = Some(hex::encode(key_id(LOG, &self.admin.public_key())));
        let sig = self.admin.sign_bytes(&pae(payload_type, payload)).to_vec();
        let signatures = vec![EnvelopeSignature { keyid, sig }];
        Envelope { payload: payload.to_vec(), payload_type: payload_type.to_owned(), signatures }.print()
    }

    fn payload(&self) -> String {
        format!(r#"{{"body":{{}},"counter":5,"op":"hold","origin":"{LOG}","prev":"{}","v":1}}"#, self.prev)
    }
}

#[test]
fn every_op_with_its_roles() {
    let d = door();
    let admins = [ControlOp::Rules, ControlOp::Tenant, ControlOp::Hold, ControlOp::Release, ControlOp::Erase];
    for op in ControlOp::ALL {
        assert_eq!(ControlOp::parse(op.as_str()), Some(op));
        let by_admin = d.check(&d.message(&[&d.second], op, &json!({})));
        let by_recovery = d.check(&d.message(&[&d.recovery], op, &json!({})));
        let by_log = d.check(&d.message(&[&d.log], op, &json!({})));
        assert_eq!(by_admin.is_ok(), admins.contains(&op), "{op:?}");
        assert_eq!(by_recovery.is_ok(), matches!(op, ControlOp::Admin | ControlOp::Recovery), "{op:?}");
        assert!(by_log.is_err(), "the log key alone decides nothing: {op:?}");
    }
    let by_one = envelope(&d.admin, &d.origin, ControlOp::Hold, 5, &d.prev, &json!({"b": 1, "a": [1.5, "\u{e9}"]}));
    let opened = open(&by_one, &d.origin, &d.keys()).unwrap();
    assert_eq!((opened.op, opened.counter, opened.prev), (ControlOp::Hold, 5, d.prev));
    assert_eq!(opened.body, json!({"a": [1.5, "\u{e9}"], "b": 1}));
}

#[test]
fn a_key_change_needs_the_old_key_unless_that_is_lost_or_compromised() {
    let d = door();
    for (status, alone) in [("retired", false), ("lost", true), ("compromised", true), ("", false)] {
        let body = json!({ "status": status });
        assert_eq!(d.check(&d.message(&[&d.recovery], ControlOp::Key, &body)).is_ok(), alone, "{status}");
        assert!(d.check(&d.message(&[&d.recovery, &d.log], ControlOp::Key, &body)).is_ok(), "{status}");
        assert!(d.check(&d.message(&[&d.log, &d.admin], ControlOp::Key, &body)).is_err(), "{status}");
    }
}

#[test]
fn who_signed() {
    let d = door();
    let stranger = signer(LOG, 99);
    d.refused(&d.message(&[], ControlOp::Hold, &json!({})), Reason::ControlUnsigned, "without a signature");
    d.refused(&d.message(&[&stranger], ControlOp::Hold, &json!({})), Reason::ControlBadSignature, "unknown here");
    d.refused(&d.message(&[&d.admin, &stranger], ControlOp::Hold, &json!({})), Reason::ControlBadSignature, "unknown");
    d.refused(&d.message(&[&d.admin, &d.admin], ControlOp::Hold, &json!({})), Reason::ControlBadSignature, "twice");
    d.refused(&d.message(&[&d.admin], ControlOp::Recovery, &json!({})), Reason::ControlUnsigned, "the recovery key");
    assert!(d.check(&d.message(&[&d.admin, &d.second], ControlOp::Hold, &json!({}))).is_ok());
    // A stranger under the admin's key id, no key id at all, a cut signature.
    let mut envelope = Envelope::parse(&d.message(&[&stranger], ControlOp::Hold, &json!({}))).unwrap();
    envelope.signatures[0].keyid = Some(hex::encode(key_id(LOG, &d.admin.public_key())));
    d.refused(&envelope.print(), Reason::ControlBadSignature, "does not fit");
    let mut envelope = Envelope::parse(&d.message(&[&d.admin], ControlOp::Hold, &json!({}))).unwrap();
    envelope.signatures[0].sig.truncate(63);
    d.refused(&envelope.print(), Reason::ControlBadSignature, "does not fit");
    envelope.signatures[0].keyid = None;
    d.refused(&envelope.print(), Reason::ControlBadSignature, "unknown here");
}

#[test]
fn which_log_and_which_turn() {
    let d = door();
    let hold =
        |origin: &Origin, counter, prev: &Hash| envelope(&d.admin, origin, ControlOp::Hold, counter, prev, &json!({}));
    d.refused(&hold(&d.origin, 4, &d.prev), Reason::ControlStaleCounter, "counter 4, 5 expected");
    d.refused(&hold(&d.origin, 6, &d.prev), Reason::ControlStaleCounter, "counter 6");
    d.refused(&hold(&d.origin, 5, &leaf(b"other")), Reason::ControlStaleCounter, "on top of");
    // For another log the key ids differ already; with them put right, the origin inside does not.
    let other = origin("ledger.example/other");
    d.refused(&hold(&other, 5, &d.prev), Reason::ControlBadSignature, "unknown here");
    let mut moved = Envelope::parse(&hold(&other, 5, &d.prev)).unwrap();
    moved.signatures[0].keyid = Some(hex::encode(key_id(LOG, &d.admin.public_key())));
    d.refused(&moved.print(), Reason::ControlBadEnvelope, "for log \"ledger.example/other\"");
    let last = check(&hold(&d.origin, u64::MAX, &d.prev), &d.origin, &d.keys(), u64::MAX, &d.prev);
    assert!(last.is_err(), "no counter after the last one");
}

#[test]
fn what_is_signed() {
    let d = door();
    let good = d.payload();
    assert_eq!(d.check(&d.around(good.as_bytes())).unwrap(), ControlOp::Hold);
    d.refused(&d.around_typed("application/json", good.as_bytes()), Reason::ControlBadEnvelope, "payloadType");
    d.refused(&d.around(good.replace("hold", "format").as_bytes()), Reason::ControlUnknownOp, "\"format\"");
    let check = |from: &str, to: &str, why: &str| {
        assert!(good.contains(from));
        d.refused(&d.around(good.replacen(from, to, 1).as_bytes()), Reason::ControlBadEnvelope, why);
    };
    check("{\"body\"", "{ \"body\"", "canonical");
    check("\"counter\":5", "\"counter\":5.0", "control payload");
    check("hold", "h\\u006fld", "canonical");
    check("\"body\":{}", "\"body\":{\"a\":1,\"a\":2}", "canonical");
    check("\"body\":{}", "\"body\":{\"b\":1,\"a\":2}", "canonical");
    check("\"body\":{}", "\"body\":{\"n\":9007199254740993}", "canonical");
    check("\"body\":{}", "\"body\":[]", "not an object");
    check("\"body\":{},", "", "missing field");
    check("\"v\":1", "\"v\":2", "version 2");
    check("\"v\":1", "\"v\":1,\"x\":1", "unknown field");
    check("\"v\":1", "\"v\":1,\"v\":1", "duplicate field");
    check("\"v\":1}", "\"v\":1}}", "control payload");
    let as_array = format!(r#"[{{}},5,"hold","{LOG}","{}",1]"#, d.prev);
    d.refused(&d.around(as_array.as_bytes()), Reason::ControlBadEnvelope, "canonical");
    d.refused(&d.around(b"\xff"), Reason::ControlBadEnvelope, "control payload");
}

#[test]
fn envelopes() {
    let d = door();
    let good = String::from_utf8(d.around(d.payload().as_bytes())).unwrap();
    assert_eq!(
        serde_json_canonicalizer::to_vec(&serde_json::from_str::<Value>(&good).unwrap()).unwrap(),
        good.as_bytes()
    );
    let spaced = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&good).unwrap()).unwrap();
    assert!(d.check(spaced.as_bytes()).is_ok(), "an envelope itself may be spaced as its author likes");
    for (from, to) in [
        ("{\"payload\"", "{\"x\":1,\"payload\""),
        ("\"signatures\":", "\"payloadType\":\"a\",\"signatures\":"),
        ("\"payload\":\"e", "\"payload\":\"_"),
        ("\"sig\":", "\"sig\":\"\",\"sig\":"),
        ("\"signatures\":[{", "\"signatures\":[[\"\",\"\"],{"),
        ("==\"}]", "\"}]"),
    ] {
        assert!(good.contains(from), "{from} in {good}");
        let bad = good.replacen(from, to, 1);
        d.refused(bad.as_bytes(), Reason::ControlBadEnvelope, "not a DSSE envelope");
    }
    for bad in ["", "{}", "[]", "null", "\"\"", "[\"e30=\",\"t\",[]]"] {
        d.refused(bad.as_bytes(), Reason::ControlBadEnvelope, "not a DSSE envelope");
    }
    let many = Envelope {
        signatures: vec![EnvelopeSignature { keyid: None, sig: vec![1] }; 17],
        ..Envelope::parse(good.as_bytes()).unwrap()
    };
    d.refused(&many.print(), Reason::ControlBadEnvelope, "at most 16");
}

/// The example of the DSSE protocol text.
#[test]
fn pae_of_the_dsse_protocol() {
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

#[test]
fn no_changed_byte_passes() {
    let d = door();
    let good = d.message(&[&d.admin], ControlOp::Hold, &json!({"change": "c-1"}));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(d.check(&bad).is_err(), "byte {at}, bit {bit}: {}", String::from_utf8_lossy(&bad));
        }
    }
}

//! Receipts: what their holder can check alone, and that nothing changed passes.

use ledger::entry::{Gap, Header, Salt};
use ledger::hash::{Hash, leaf};
use ledger::receipt::{EventMatch, FactsCheck, Receipt, ReceiptError, ReceiptFormError, TlogProof};

use crate::support::{Log, event, event_entry, event_header, origin, signer};

const SALT: Salt = Salt([5; 16]);
const SECRET: &str = "deploy --password hunter2hunter2";

/// A log with an event that is stored as sent, at 300 of 500.
fn plain() -> (Log, Receipt, Vec<u8>) {
    let mut log = Log::new("ledger.example/acme");
    let event = event("evt-1", "kubectl apply");
    log.pad(300);
    let (index, payload) = log.append_event(&event, SALT);
    assert_eq!(payload, event);
    log.pad(199);
    let receipt = log.receipt(index, 500, SALT, None);
    (log, receipt, event)
}

/// A log with an event in which a secret was masked.
fn masked() -> (Log, Receipt, Vec<u8>) {
    let mut log = Log::new("ledger.example/acme");
    let event = event("evt-2", SECRET);
    log.pad(2);
    let (index, payload) = log.append_event(&event, SALT);
    assert_ne!(payload, event, "the secret is masked");
    let receipt = log.receipt(index, 3, SALT, Some(payload));
    (log, receipt, event)
}

#[test]
fn an_event_as_it_was_sent() {
    let (log, receipt, event) = plain();
    let read = Receipt::parse(&receipt.to_text()).unwrap();
    assert_eq!(read, receipt);
    let verified = read.verify(&log.signer.verifier(), &event).unwrap();
    assert_eq!((verified.index, verified.event, verified.facts), (300, EventMatch::SameBytes, FactsCheck::Agree));
    assert_eq!((verified.checkpoint.size, verified.header.id.as_str()), (500, "evt-1"));
    assert_eq!(read.verify_entry(&log.signer.verifier()).unwrap().header, Header::Event(verified.header));
}

#[test]
fn an_event_with_a_masked_secret() {
    let (log, receipt, event) = masked();
    let key = log.signer.verifier();
    assert!(!receipt.to_text().contains("hunter2"));
    let verified = receipt.verify(&key, &event).unwrap();
    assert_eq!((verified.event, verified.facts), (EventMatch::Masked { places: 1 }, FactsCheck::Agree));
    // Without the payload, as in an answer that was too large for the road, admission gives it again.
    let bare = Receipt { payload: None, ..receipt.clone() };
    assert_eq!(bare.verify(&key, &event).unwrap(), verified);
    // The stored payload itself is the event too.
    let stored = receipt.payload.clone().unwrap();
    assert_eq!(receipt.verify(&key, &stored).unwrap().event, EventMatch::SameBytes);
    // Another event that only differs in the secret masks to the same payload: that is what masking means, and why
    // the answer says so.
    let other_secret = String::from_utf8(event).unwrap().replace("hunter2hunter2", "correcthorse99").into_bytes();
    assert!(matches!(receipt.verify(&key, &other_secret).unwrap().event, EventMatch::Masked { .. }));
    let other_command = crate::support::event("evt-2", "destroy --password hunter2hunter2");
    assert!(matches!(receipt.verify(&key, &other_command), Err(ReceiptError::OtherEvent)));
    assert!(matches!(receipt.verify(&key, b"{}"), Err(ReceiptError::NotAdmitted(_))));
}

#[test]
fn what_does_not_belong_together() {
    let (log, good, event) = plain();
    let key = log.signer.verifier();
    let refused = |receipt: &Receipt, event: &[u8]| receipt.verify(&key, event).unwrap_err();

    assert!(matches!(refused(&good, b"{}"), ReceiptError::OtherEvent));
    assert!(matches!(refused(&good, &[&event[..], b" "].concat()), ReceiptError::OtherEvent));
    let other_salt = Receipt { salt: Some(Salt([6; 16])), ..good.clone() };
    assert!(matches!(refused(&other_salt, &event), ReceiptError::OtherEvent));
    let other_payload = Receipt { payload: Some(b"{}".to_vec()), ..good.clone() };
    assert!(matches!(refused(&other_payload, &event), ReceiptError::OtherPayload));
    for index in [0, 299, 301, 499, 500, u64::MAX] {
        assert!(matches!(refused(&Receipt { index, ..good.clone() }, &event), ReceiptError::Unproved(_)), "{index}");
    }
    let (entry, _) = event_entry(&event, Salt([6; 16]));
    assert!(matches!(refused(&Receipt { entry, ..good.clone() }, &event), ReceiptError::Unproved(_)));
    let other_head = Receipt { checkpoint: log.checkpoint(499), ..good.clone() };
    assert!(matches!(refused(&other_head, &event), ReceiptError::Unproved(_)));
    for stranger in [signer("ledger.example/acme", 9), signer("ledger.example/other", 1)] {
        assert!(matches!(good.verify(&stranger.verifier(), &event), Err(ReceiptError::Checkpoint(_))));
    }
}

/// A log that signs a header which says something else than its payload: refuted although every hash fits.
#[test]
fn a_header_that_lies() {
    let event = event("evt-1", "kubectl apply");
    let check = |name: &str, member: &str, lie: &dyn Fn(&mut ledger::entry::EventHeader)| {
        let mut log = Log::new(name);
        let (mut header, _) = event_header(&event, SALT);
        lie(&mut header);
        let index = log.append(Header::Event(header).encode().unwrap());
        let error = log.receipt(index, 1, SALT, None).verify(&log.signer.verifier(), &event).unwrap_err();
        assert!(matches!(error, ReceiptError::OtherFacts { member: found } if found == member), "{member}: {error}");
    };
    let acme = "ledger.example/acme";
    check(acme, "change", &|h| h.change = "chg-9".parse().unwrap());
    check(acme, "id", &|h| h.id = "evt-9".parse().unwrap());
    check(acme, "phase", &|h| h.phase = schemas::ids::Phase::Audit);
    check(acme, "env", &|h| h.env = None);
    check(acme, "class", &|h| h.class = Some(schemas::ids::ChangeClass::Standard));
    check(acme, "probe", &|h| h.probe = true);
    check(acme, "has", &|h| h.has = schemas::admit::Has::CLOSED);
    check(acme, "outcome", &|h| h.outcome = schemas::admit::Outcome::Failed);
    check(acme, "ts", &|h| h.ts += 1);
    check(acme, "masked", &|h| h.masked = 1);
    check("ledger.example/globex", "tenant", &|_| {});
    // A wrong size contradicts the commitment already.
    let mut log = Log::new(acme);
    let (mut header, _) = event_header(&event, SALT);
    header.size += 1;
    let index = log.append(Header::Event(header).encode().unwrap());
    let error = log.receipt(index, 1, SALT, None).verify(&log.signer.verifier(), &event).unwrap_err();
    assert!(matches!(error, ReceiptError::OtherEvent), "{error}");
}

#[test]
fn entries_that_cannot_be_judged_or_are_no_events() {
    let mut log = Log::new("ledger.example/acme");
    let gap = log.append(Header::Gap(Gap { at: 1, from: 2, to: 3 }).encode().unwrap());
    let unknown = log.append(br#"{"kind":"vote","v":1}"#.to_vec());
    let garbage = log.append(b"garbage".to_vec());
    let key = log.signer.verifier();
    let verify = |index| log.receipt(index, 3, SALT, None).verify(&key, b"{}").unwrap_err();
    assert!(matches!(verify(gap), ReceiptError::NotAnEvent(kind) if kind == "gap"));
    assert!(matches!(verify(garbage), ReceiptError::Entry(_)));
    let error = verify(unknown);
    assert!(error.is_undecided() && error.to_string().contains("too old"), "{error}");
    assert!(log.receipt(unknown, 3, SALT, None).verify_entry(&key).is_ok(), "hashed and reported all the same");
}

#[test]
fn rules_that_this_program_lacks() {
    let mut log = Log::new("ledger.example/acme");
    let key = log.signer.verifier();
    let old_rules = leaf(b"other rules");
    let mut add = |event: &[u8]| {
        let (mut header, payload) = event_header(event, SALT);
        header.rules = old_rules;
        (log.append(Header::Event(header).encode().unwrap()), payload)
    };
    let (same, secret) = (event("evt-1", "ls"), event("evt-2", SECRET));
    let (first, _) = add(&same);
    let (second, payload) = add(&secret);
    let verified = log.receipt(first, 2, SALT, None).verify(&key, &same).unwrap();
    assert_eq!(verified.facts, FactsCheck::UnknownRules(old_rules), "proved, but not re-derived");
    let error = log.receipt(second, 2, SALT, Some(payload)).verify(&key, &secret).unwrap_err();
    assert!(error.is_undecided(), "{error}");
}

#[test]
fn one_spelling() {
    let (_, receipt, _) = plain();
    let text = receipt.to_text();
    let check = |text: &str, expect: &str| {
        let error = Receipt::parse(text).unwrap_err();
        assert!(error.to_string().contains(expect), "{text:?}: {error}");
    };
    check("", "line 1: no empty line");
    check(&text.replacen("@v1", "@v2", 1), "line 1");
    check(&format!(" {text}"), "line 1");
    check(&format!("\n{text}"), "line 1");
    check(&text.replace('\n', "\r\n"), "line 1");
    check(&text.replacen("extra ", "extra  ", 1), "line 2: extra is not base64");
    check(&text.replacen("extra ", "Extra ", 1), "line 2: not `index`");
    check(&text.replacen("index 300", "index 0300", 1), "line 3: not `index`");
    check(&text.replacen("index 300", "index +300", 1), "line 3: not `index`");
    check(&text.replacen("index 300", "index 300 ", 1), "line 3: not `index`");
    check(&text.replacen("index 300\n", "index 300\n\n", 1), "tlog-proof:");
    check(&text.replacen("=\n\n", "=\n\n\n", 1), "tlog-proof:");
    check(&text.replacen("=\n\n", "==\n\n", 1), "not a hash");
    check(&format!("{text}\n"), "tlog-proof:");
    check(&text[..text.len() - 1], "tlog-proof:");
    let extra_line = text.lines().nth(1).unwrap().to_owned() + "\n";
    check(&text.replacen(&extra_line, "", 1), "extra is absent");
    check(&text.replacen(&extra_line, &extra_line.repeat(2), 1), "line 3: not `index`");
    let many =
        text.replacen("index 300\n", &format!("index 300\n{}", (Hash([0; 32]).to_base64() + "\n").repeat(60)), 1);
    check(&many, "more hashes");
}

#[test]
fn the_extra_line() {
    let (log, receipt, event) = plain();
    let proof = receipt.to_proof();
    let extra = String::from_utf8(proof.extra.clone().unwrap()).unwrap();
    let with = |extra: &str| {
        let proof = TlogProof { extra: Some(extra.as_bytes().to_vec()), ..proof.clone() };
        assert_eq!(TlogProof::parse(&proof.to_text()).as_ref(), Ok(&proof), "as a tlog-proof anything goes");
        Receipt::parse(&proof.to_text())
    };
    assert_eq!(with(&extra), Ok(receipt.clone()));
    let later = extra.replacen("\"salt\"", "\"quorum\":{\"n\":3},\"salt\"", 1);
    let read = with(&later).unwrap();
    assert_eq!(read, receipt, "unknown members are ignored");
    assert!(read.verify(&log.signer.verifier(), &event).is_ok());
    let saltless = with(&extra.replacen("\"salt\"", "\"pepper\"", 1)).unwrap();
    assert_eq!(saltless, Receipt { salt: None, ..receipt.clone() });
    saltless.verify_entry(&log.signer.verifier()).unwrap();
    let undecided = saltless.verify(&log.signer.verifier(), &event).unwrap_err();
    assert!(matches!(undecided, ReceiptError::NoSalt) && undecided.is_undecided());
    assert_eq!(Receipt::parse(&saltless.to_text()).as_ref(), Ok(&saltless));
    let bad = [
        ("", ""),
        (&extra[..1], " {"),
        ("\"salt\"", "\"payload\":\"e30=\",\"pepper\""),
        ("\"entry\"", "\"eentry\""),
        ("\"salt\":\"05", "\"salt\":\"5"),
        ("\"salt\":\"05", "\"salt\":5,\"x\":\"05"),
        ("\"salt\"", "\"payload\":null,\"salt\""),
        ("\"salt\"", "\"payload\":\"e30\",\"salt\""),
        ("\"salt\"", "\"salt\":\"00\",\"salt\""),
        ("\"salt\"", "\"sal\\u0074\""),
        ("\"entry\":\"", "\"entry\":\"*"),
    ];
    for (from, to) in bad {
        let bad = if from.is_empty() { String::new() } else { extra.replacen(from, to, 1) };
        assert!(matches!(with(&bad), Err(ReceiptFormError::Extra(_))), "{bad}");
    }
    for bad in ["{}", "[]", "null", "\"x\"", "{\"a\":1,\"a\":1}"] {
        assert!(matches!(with(bad), Err(ReceiptFormError::Extra(_))), "{bad}");
    }
}

/// Every bit of a receipt's text flipped: refused, or the same content. The latter happens where the name of the member
/// `payload` becomes another, which is ignored as unknown: the payload then comes from admitting the event again.
#[test]
fn every_flipped_bit() {
    for (expect_same, (log, receipt, event)) in [(false, plain()), (true, masked())] {
        let key = log.signer.verifier();
        let good = receipt.verify(&key, &event).unwrap();
        let text = receipt.to_text();
        let mut same = 0;
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bad = text.clone().into_bytes();
                bad[at] ^= 1 << bit;
                let Ok(bad) = String::from_utf8(bad) else { continue };
                let Ok(read) = Receipt::parse(&bad) else { continue };
                let Ok(verified) = read.verify(&key, &event) else { continue };
                assert_eq!(verified, good, "byte {at}, bit {bit}");
                assert_eq!(Receipt { payload: receipt.payload.clone(), ..read }, receipt, "byte {at}, bit {bit}");
                same += 1;
            }
        }
        assert_eq!(same > 0, expect_same, "{same} flips gave the same content");
    }
}

#[test]
fn a_bare_tlog_proof() {
    let (log, receipt, _) = plain();
    let bare = TlogProof { extra: None, ..receipt.to_proof() };
    let text = bare.to_text();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 300\n"));
    assert_eq!(TlogProof::parse(&text), Ok(bare));
    // A tree of one leaf has an empty path.
    let mut single = Log::new("ledger.example/acme");
    single.append(b"only".to_vec());
    let proof = single.receipt(0, 1, SALT, None).to_proof();
    assert_eq!(TlogProof::parse(&proof.to_text()), Ok(proof));
    assert_eq!(log.signer.name(), &origin("ledger.example/acme"));
}

//! Acts one by one: closed bodies, the state that each needs, and the sizes that each key signs.

use schemas::reason::Reason;
use serde_json::json;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::hash::leaf;
use crate::signing::Signer;

const LOG: &str = "ledger.example/acme";
const LEDGER: &str = "ledger.example/_ledger";

fn signer(name: &str, seed: u8) -> Signer {
    Signer::from_seed(&Origin::parse(name).unwrap(), [seed; 32])
}

fn born(name: &str) -> Governance {
    let first = First {
        at: 1,
        origin: Origin::parse(name).unwrap(),
        log_key: signer(name, 4).public_key(),
        admin_keys: vec![signer(name, 1).public_key()],
        recovery_key: signer(name, 3).public_key(),
        rules: Hash([0; 32]),
        stream_created_ms: None,
    };
    Governance::new(&first, leaf(b"entry 0"))
}

fn signed(act: &Act, on: &Governance, signers: &[u8]) -> Message {
    let signers: Vec<Signer> = signers.iter().map(|seed| signer(LOG, *seed)).collect();
    let signers: Vec<&Signer> = signers.iter().collect();
    message(act, &on.place(), &signers, &born(LEDGER).place(), &signer(LEDGER, 1), Salt([7; 16])).unwrap()
}

fn roots(size: u64) -> Option<Hash> {
    (size <= 10).then_some(Hash([u8::try_from(size).unwrap(); 32]))
}

fn decide(act: &Act, on: &Governance, signers: &[u8]) -> Result<Decision, ControlError> {
    on.decide(&signed(act, on, signers).print(), 10, Roots::Of(&roots))
}

fn hold(id: &str) -> Act {
    Act::Hold(Hold { id: id.to_owned(), scope: Scope::All, reason: "litigation".to_owned() })
}

fn change(status: KeyStatus, from: u64) -> Act {
    let (new, old) = (signer(LOG, 5).public_key(), signer(LOG, 4).public_key());
    Act::Key(KeyChange { new, old, status, from, size: 9, root: Hash([9; 32]) })
}

#[test]
fn bodies_read_back_and_are_closed() {
    let rules = Hash(schemas::rules::current().name);
    let changes = Scope::Changes(vec![schemas::ids::ChangeId::parse("c-1").unwrap()]);
    let acts = [
        Act::Rules(rules),
        Act::Facts { set: [("owner".to_owned(), "platform".to_owned())].into(), unset: ["old".to_owned()].into() },
        hold("case-1"),
        Act::Hold(Hold { id: "case-2".to_owned(), scope: changes, reason: "audit".to_owned() }),
        Act::Release { id: "case-1".to_owned(), reason: "closed".to_owned() },
        change(KeyStatus::Retired, 20),
        Act::Admin(vec![signer(LOG, 8).public_key()]),
        Act::Recovery(signer(LOG, 9).public_key()),
    ];
    for act in acts {
        let mut body = act.to_body();
        assert_eq!(Act::parse(act.op(), &body, false).unwrap(), act);
        body["more"] = json!(1);
        assert!(Act::parse(act.op(), &body, false).is_err(), "{body}");
        assert!(Act::parse(act.op(), &json!([]), false).is_err());
    }
    let listed = Act::Listed(Hash([1; 32]));
    assert_eq!(Act::parse(ControlOp::Tenant, &listed.to_body(), true).unwrap(), listed);
}

#[test]
fn bodies_that_say_nothing_or_too_much_are_refused() {
    let check = |op, body: serde_json::Value, why: &str| {
        let error = Act::parse(op, &body, false).unwrap_err().to_string();
        assert!(error.contains(why), "{body}: {error}");
    };
    check(ControlOp::Rules, json!({ "rules": Hash([0; 32]) }), "none that this program has");
    check(ControlOp::Tenant, json!({}), "no fact");
    check(ControlOp::Tenant, json!({ "set": { "a b": "c" } }), "name of a fact");
    check(ControlOp::Tenant, json!({ "set": { "a": "" } }), "value of a fact");
    check(ControlOp::Tenant, json!({ "set": { "a": "b" }, "unset": ["a"] }), "twice");
    check(ControlOp::Tenant, json!({ "set": { "a": "AKIAIOSFODNN7EXAMPLE" } }), "secret");
    check(ControlOp::Hold, json!({ "id": "a", "reason": "b" }), "either");
    check(ControlOp::Hold, json!({ "id": "a", "reason": "b", "all": false }), "either");
    check(ControlOp::Hold, json!({ "id": "a", "reason": "b", "all": true, "changes": ["c"] }), "either");
    check(ControlOp::Hold, json!({ "id": "a", "reason": "b", "changes": [] }), "1 to 256");
    check(ControlOp::Hold, json!({ "id": "a", "reason": "b", "changes": ["c", "c"] }), "twice");
    check(ControlOp::Hold, json!({ "id": "", "reason": "b", "all": true }), "id of a hold");
    check(ControlOp::Hold, json!({ "id": "a", "reason": "b\u{7}", "all": true }), "control characters");
    check(ControlOp::Release, json!({ "id": "a", "reason": "x".repeat(513) }), "513");
    check(ControlOp::Admin, json!({ "keys": [] }), "1 to 8");
    check(ControlOp::Erase, json!({}), "not carried out");
}

#[test]
fn a_hold_is_released_once_and_only_where_it_holds() {
    let mut log = born(LOG);
    let release = Act::Release { id: "case-1".to_owned(), reason: "closed".to_owned() };
    assert!(matches!(decide(&release, &log, &[1]), Err(ControlError::Conflict(_))));
    assert_eq!(decide(&hold("case-1"), &log, &[1]).unwrap().counter, 1);
    log.apply(&hold("case-1"), 10, leaf(b"10"));
    assert!(matches!(decide(&hold("case-1"), &log, &[1]), Err(ControlError::Conflict(_))));
    assert_eq!(decide(&release, &log, &[1]).unwrap().counter, 2);
    log.apply(&release, 11, leaf(b"11"));
    assert!(log.holds().is_empty() && decide(&hold("case-1"), &log, &[1]).is_ok());
}

#[test]
fn facts_are_set_and_taken_away() {
    let mut log = born(LOG);
    let unset = Act::Facts { set: BTreeMap::new(), unset: ["owner".to_owned()].into() };
    assert!(matches!(decide(&unset, &log, &[1]), Err(ControlError::Conflict(_))));
    log.apply(&Act::Facts { set: [("owner".into(), "a".into())].into(), unset: [].into() }, 1, leaf(b"1"));
    assert!(decide(&unset, &log, &[1]).is_ok());
    let more = (0..MAX_FACTS).map(|number| (format!("fact-{number}"), "x".to_owned())).collect();
    assert!(matches!(decide(&Act::Facts { set: more, unset: [].into() }, &log, &[1]), Err(ControlError::Conflict(_))));
    log.apply(&unset, 2, leaf(b"2"));
    assert!(log.facts().is_empty());
}

#[test]
fn a_thief_of_the_log_key_alone_cannot_rotate() {
    let log = born(LOG);
    for status in [KeyStatus::Retired, KeyStatus::Lost, KeyStatus::Compromised] {
        let act = change(status, 10);
        assert!(matches!(decide(&act, &log, &[4]), Err(ControlError::MissingRole { .. })), "log key alone, {status:?}");
        assert!(decide(&act, &log, &[1, 4]).is_err(), "an admin key does not help");
        assert!(decide(&act, &log, &[3, 4]).is_ok());
    }
    assert!(decide(&change(KeyStatus::Retired, 10), &log, &[3]).is_err(), "retired: the old key signs too");
}

#[test]
fn a_key_change_fits_this_history_and_these_sizes() {
    let log = born(LOG);
    let refused =
        |act: &Act, signers: &[u8]| assert!(matches!(decide(act, &log, signers), Err(ControlError::Conflict(_))));
    // Entry 10: a retired key's `from` lies at or after it, that of a lost or stolen one at or before.
    refused(&change(KeyStatus::Retired, 9), &[3, 4]);
    refused(&change(KeyStatus::Lost, 11), &[3]);
    assert!(decide(&change(KeyStatus::Compromised, 9), &log, &[3]).is_ok());
    let Act::Key(good) = change(KeyStatus::Retired, 20) else { unreachable!() };
    refused(&Act::Key(KeyChange { root: Hash([8; 32]), ..good.clone() }), &[3, 4]);
    refused(&Act::Key(KeyChange { size: 11, ..good.clone() }), &[3, 4]);
    refused(&Act::Key(KeyChange { new: signer(LOG, 4).public_key(), ..good.clone() }), &[3, 4]);
    refused(&Act::Key(KeyChange { new: signer(LOG, 1).public_key(), ..good.clone() }), &[3, 4]);
    refused(&Act::Key(KeyChange { old: signer(LOG, 6).public_key(), ..good }), &[3, 4]);
}

#[test]
fn an_act_without_its_own_listing_is_refused() {
    let log = born(LOG);
    let message = signed(&hold("a"), &log, &[1]);
    let check = |bytes: &[u8], reason: Reason| {
        let error = log.decide(bytes, 10, Roots::Compared).unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
    };
    check(&message.act.print(), Reason::ControlUnlisted);
    check(&Message { salt: Salt([8; 16]), ..message.clone() }.print(), Reason::ControlUnlisted);
    let other = signed(&hold("b"), &log, &[1]);
    check(&Message { listing: other.listing, ..message.clone() }.print(), Reason::ControlUnlisted);
    check(&Message { listing: message.act.clone(), ..message.clone() }.print(), Reason::ControlUnlisted);
    let spaced = [&message.print()[..], b" "].concat();
    check(&spaced, Reason::ControlBadEnvelope);
    check(b"{}", Reason::ControlBadEnvelope);
    assert!(log.decide(&message.print(), 10, Roots::Compared).is_ok());
}

#[test]
fn who_signs_which_size() {
    let mut log = born(LOG);
    log.apply(&change(KeyStatus::Retired, 20), 10, leaf(b"10"));
    let keys = log.log_keys();
    let (old, new) = (signer(LOG, 4), signer(LOG, 5));
    let at = |size| Checkpoint { origin: Origin::parse(LOG).unwrap(), size, root: Hash([1; 32]) };
    let both = |size| Signer::sign_checkpoint_by(&[&old, &new], &at(size));
    for (size, by_old, by_new, by_both) in
        [(10, true, false, true), (11, false, false, true), (20, false, false, true), (21, false, true, true)]
    {
        assert_eq!(keys.open(&old.sign_checkpoint(&at(size))).is_ok(), by_old, "old at {size}");
        assert_eq!(keys.open(&new.sign_checkpoint(&at(size))).is_ok(), by_new, "new at {size}");
        assert_eq!(keys.open(&both(size)).is_ok(), by_both, "both at {size}");
    }
    let stranger = signer(LOG, 6);
    assert!(keys.open(&stranger.sign_checkpoint(&at(21))).is_err());
}

#[test]
fn a_recovery_ends_an_overlap() {
    let mut log = born(LOG);
    log.apply(&change(KeyStatus::Retired, 100), 10, leaf(b"10"));
    let signing = |log: &Governance, size| log.log_keys().signing(size).count();
    assert_eq!((signing(&log, 11), signing(&log, 100)), (2, 2));
    let (new, old) = (signer(LOG, 6).public_key(), signer(LOG, 5).public_key());
    let lost = KeyChange { new, old, status: KeyStatus::Lost, from: 20, size: 9, root: Hash([9; 32]) };
    log.apply(&Act::Key(lost), 20, leaf(b"20"));
    assert_eq!((signing(&log, 20), signing(&log, 21)), (2, 1), "whoever lost both keys can go on");
}

#[test]
fn what_a_stolen_key_signed_past_from_is_refuted() {
    let mut log = born(LOG);
    log.apply(&change(KeyStatus::Compromised, 9), 10, leaf(b"10"));
    let keys = log.log_keys();
    let (old, new) = (signer(LOG, 4), signer(LOG, 5));
    let at = |size| Checkpoint { origin: Origin::parse(LOG).unwrap(), size, root: Hash([1; 32]) };
    assert!(keys.open(&old.sign_checkpoint(&at(9))).is_ok());
    let late = old.sign_checkpoint(&at(10));
    assert!(matches!(keys.open(&late), Err(LogKeysError::Refuted { size: 10, from: 9, .. })));
    assert!(keys.open_stored(&late).is_ok(), "the store holds what was signed then");
    assert!(matches!(keys.open(&old.sign_checkpoint(&at(11))), Err(LogKeysError::Unsigned { .. })));
    assert!(keys.open(&new.sign_checkpoint(&at(11))).is_ok());
}

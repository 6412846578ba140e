//! Made-up histories, measured: every KPI and every planted anomaly must be what the stories behind them know to be true.
//!
//! The generator is `benches/src/history`, the same that feeds benchmarks; it knows nothing of this crate.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic, in its helpers too")]

#[path = "../../benches/src/history/against.rs"]
mod against;
#[path = "../../benches/src/history/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "made for the harness, which uses all of it")]
mod history;

use std::collections::{BTreeMap, BTreeSet};

use against::header;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use history::truth::{DUE, PLANTED};
use history::{DAY_MS, History, Options, Told, Truth};
use ledger::entry::EventHeader;
use ledger::ssh::SshKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use projector::account::Account;
use projector::approval::{Rule, Rules};
use projector::document::Entry;
use projector::kpi::metric;
use projector::kpi::scratch::{Filter, Scratch};
use schemas::admit::Scratch as Admission;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

const FIRST_DAY: u64 = 20_400;
const DAYS: u64 = 40;

fn history(seed: u64, changes: u64) -> (Vec<Told>, Truth) {
    let options = Options {
        seed,
        tenant: "acme".to_owned(),
        changes,
        from_ms: FIRST_DAY * DAY_MS,
        days: DAYS,
        played_at_ms: None,
        anomalies: true,
        sign: Some(sign),
    };
    let mut history = History::new(options);
    let told: Vec<Told> = history.by_ref().collect();
    (told, history.into_truth())
}

/// The log in whose name approvals are signed.
const ORIGIN: &str = "ledger/acme";

const KIND: &[u8] = b"ecdsa-sha2-nistp256";

/// The key of a person, made from the name.
fn key(name: &str) -> SigningKey {
    SigningKey::from_slice(&Sha256::digest(name)).unwrap()
}

/// Length and bytes, as SSH writes them.
fn ssh(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn public_blob(key: &SigningKey) -> Vec<u8> {
    let point = key.verifying_key().to_sec1_point(false);
    [ssh(KIND), ssh(b"nistp256"), ssh(point.as_bytes())].concat()
}

/// The line of a `.pub` file.
fn public(name: &str) -> String {
    format!("ecdsa-sha2-nistp256 {}", STANDARD.encode(public_blob(&key(name))))
}

/// An approval signed as `ssh-keygen -Y sign -n upm-approval` does: OpenSSH `PROTOCOL.sshsig`.
fn sign(change: &str, approval: &Value) -> String {
    let (version, origin, change) = (json!(1), json!(ORIGIN), json!(change));
    let mut said: BTreeMap<&str, &Value> =
        approval.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value)).collect();
    said.extend([("v", &version), ("origin", &origin), ("change", &change)]);
    // Names in their order, plain texts and a small number: RFC 8785.
    let message = Sha512::digest(serde_json::to_vec(&said).unwrap());
    let signed = [&b"SSHSIG"[..], &ssh(b"upm-approval"), &ssh(b""), &ssh(b"sha512"), &ssh(&message)].concat();
    let key = key(approval["approver"].as_str().unwrap());
    let signature: Signature = key.sign(&signed);
    let (r, s) = signature.split_bytes();
    let numbers = [ssh(&positive(&r)), ssh(&positive(&s))].concat();
    let blob = [
        &b"SSHSIG"[..],
        &1_u32.to_be_bytes(),
        &ssh(&public_blob(&key)),
        &ssh(b"upm-approval"),
        &ssh(b""),
        &ssh(b"sha512"),
        &ssh(&[ssh(KIND), ssh(&numbers)].concat()),
    ];
    let text = STANDARD.encode(blob.concat());
    let lines: Vec<&str> = text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// A number above 0 without leading zeros, and with one where its first bit would be a sign.
fn positive(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    if digits.first().is_some_and(|byte| *byte >= 0x80) { [&[0][..], &digits].concat() } else { digits }
}

fn accounts(told: &[Told]) -> Vec<Account> {
    let mut admission = Admission::default();
    let kept: Vec<(EventHeader, &Told)> =
        told.iter().filter(|told| !told.duplicate).map(|told| (header(told, &mut admission).unwrap(), told)).collect();
    let mut by_change: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
    for (index, (header, told)) in kept.iter().enumerate() {
        let entry = Entry { index: index as u64, header, payload: Some(told.payload.as_bytes()) };
        by_change.entry(header.change.as_str()).or_default().push(entry);
    }
    let teams: BTreeSet<&str> =
        told.iter().filter_map(|told| told.payload.split(r#""owner":""#).nth(1)?.split('"').next()).collect();
    let lead = |team: &&str| format!("{team}-lead");
    let signers = teams.iter().map(lead).map(|name| (SshKey::parse(&public(&name)).unwrap().fingerprint(), name));
    let rules = Rules::always(ORIGIN, Rule { signers: signers.collect(), ..Rule::default() });
    by_change.values().filter_map(|entries| Account::of(&entries[0].header.change, entries, &rules)).collect()
}

fn check(seed: u64, changes: u64) {
    let (told, truth) = history(seed, changes);
    let accounts = accounts(&told);
    assert_eq!(accounts.len() as u64, truth.changes, "seed {seed}");
    let scratch = Scratch::of(&accounts);
    for (from, to) in [(0, 60), (0, 20), (7, 8), (13, 37), (39, 60)] {
        let (from, to) = (FIRST_DAY + from, FIRST_DAY + to);
        let sums = scratch.sums(against::window(from, to), &Filter::default());
        against::figures(&sums, &truth, from, to).unwrap_or_else(|why| panic!("seed {seed}, {why}"));
        if to > FIRST_DAY + DAYS + 5 {
            against::drift(&sums, &truth, from).unwrap_or_else(|why| panic!("seed {seed}, {why}"));
        }
    }
    for (codes, expect) in [(&PLANTED[..], &truth.anomalies), (&DUE[..], &truth.due)] {
        let told = accounts
            .iter()
            .flat_map(|account| account.anomalies.iter().map(|one| (&account.change, one.code.as_str())));
        let found = told.filter(|(_, code)| codes.contains(code)).map(|(change, code)| (change.to_string(), code));
        let found: BTreeSet<(String, &str)> = found.collect();
        let differ: Vec<_> = found.symmetric_difference(expect).take(5).collect();
        assert!(differ.is_empty(), "seed {seed}: {differ:?}");
    }
}

#[test]
fn figures_and_anomalies_are_what_the_stories_know() {
    for seed in 0..30 {
        check(seed, 150);
    }
    check(1_000, 3_000);
}

/// A truth in which something never happens would prove nothing about it.
#[test]
fn everything_happens_in_a_history() {
    let (told, truth) = history(7, 4_000);
    for expected in truth.expected(0, u64::MAX) {
        assert!(expected.denominator > 0, "{} never happens", expected.what);
        let whole = ["mttr", "plan_p95", "verify_p95", "mttr.open", "mttr.clocks_differ"];
        let mixed = expected.numerator > 0 && expected.numerator < expected.denominator;
        let graded = expected.what.starts_with("approval_coverage.") && expected.what != metric::APPROVAL_EMERGENCY;
        let graded = graded || expected.what.starts_with("evidence_completeness.");
        assert!(mixed || graded || whole.contains(&expected.what), "{expected:?} is all or nothing");
    }
    for code in PLANTED.into_iter().chain(DUE) {
        assert!(truth.anomalies.iter().chain(&truth.due).any(|(_, found)| *found == code), "{code} is never planted");
    }
    let (covered, managed) = truth.drift(FIRST_DAY + 30);
    assert!(covered > 0 && covered < managed);
    assert!(told.iter().any(|told| told.duplicate));
    assert!(told.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms), "the log's time never falls");
    let again = history(7, 4_000).0;
    assert!(told.iter().zip(&again).all(|(a, b)| a.payload == b.payload && a.at_ms == b.at_ms), "seeded");
}

//! Witness policies: what C2SP tlog-policy allows, every way of writing one wrongly, and who is enough.

use std::fmt::Write as _;

use ledger::cosignature::{Cosigner, CosignerKey};
use ledger::note::KeyName;
use ledger::policy::{Policy, PolicyReason, Standing};
use proptest::prelude::*;

use crate::support::signer;

fn witness(seed: u8) -> CosignerKey {
    Cosigner::ed25519(KeyName::parse(&format!("witness.example/{seed}")).unwrap(), [seed; 32]).verifier()
}

fn log_vkey(seed: u8) -> String {
    signer("ledger.example/acme", seed).verifier().to_vkey()
}

/// The example of the specification, with keys.
fn example() -> String {
    let [x1, x2, x3, y1, y2, y3] = [1, 2, 3, 11, 12, 13].map(witness);
    let log = log_vkey(1);
    format!(
        "log {log}\n\nwitness X1 {x1}\nwitness X2 {x2}\nwitness X3 {x3}\ngroup X-witnesses 2 X1 X2 X3\n\n\
         witness Y1 {y1}\nwitness Y2 {y2}\nwitness Y3 {y3}\ngroup Y-witnesses any Y1 Y2 Y3\n\n\
         group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
    )
}

fn parse(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_example_of_the_specification() {
    let policy = parse(&example());
    assert_eq!((policy.logs().len(), policy.witnesses().len(), policy.asks_for_witnesses()), (1, 6, true));
    let check = |by: &[u8], expect: Option<&str>| {
        let keys: Vec<CosignerKey> = by.iter().map(|seed| witness(*seed)).collect();
        let standing = policy.standing(&keys.iter().collect::<Vec<_>>());
        let expect = expect.map_or(Standing::Satisfied, |missing| Standing::Missing(missing.to_owned()));
        assert_eq!(standing, expect, "{by:?}");
    };
    check(&[1, 2, 11], None);
    check(&[1, 3, 13], None);
    check(&[1, 2, 3, 11, 12, 13], None);
    let y = "X-and-Y has 1 of the 2 it needs (not: Y-witnesses); Y-witnesses has 0 of the 1 it needs (not: Y1, Y2, Y3)";
    check(&[1, 2], Some(y));
    check(&[1, 2, 3, 99], Some(y));
    let x = "X-and-Y has 1 of the 2 it needs (not: X-witnesses); X-witnesses has 1 of the 2 it needs (not: X1, X3)";
    check(&[2, 11, 12, 13], Some(x));
    let both = "X-and-Y has 0 of the 2 it needs (not: X-witnesses, Y-witnesses); \
                X-witnesses has 0 of the 2 it needs (not: X1, X2, X3); \
                Y-witnesses has 0 of the 1 it needs (not: Y1, Y2, Y3)";
    check(&[], Some(both));
}

#[test]
fn what_is_allowed() {
    let (log, w) = (log_vkey(1), witness(1));
    let none = parse("quorum none\n");
    assert!(!none.asks_for_witnesses() && none.standing(&[]).is_satisfied());
    let text = format!(
        "\t # comment\n  log\t{log} https://l.example/ \n\n#\nwitness W {w}\thttp://w.example \nquorum W\n#end\n"
    );
    let one = parse(&text);
    assert_eq!(one.logs()[0].url.as_deref(), Some("https://l.example/"));
    assert_eq!((one.witnesses()[0].name.as_str(), one.witnesses()[0].url.as_deref()), ("W", Some("http://w.example")));
    assert_eq!(one.standing(&[]), Standing::Missing("no cosignature by W".to_owned()));
    assert!(one.standing(&[&w]).is_satisfied());
    // A witness may come after the quorum line, and needs no group.
    let late = witness(2);
    assert_eq!(parse(&format!("quorum none\nwitness W {w}\nwitness V {late}\n")).witness_keys(), [w.clone(), late]);
    // Names are octets: these are three, of which none is UTF-8 by itself.
    let keys = [3, 4].map(witness);
    let mut file = Vec::new();
    for (name, key) in [(b"\xff", &keys[0]), (b"\xfe", &keys[1])] {
        file.extend_from_slice(&[b"witness ", &name[..], b" ", key.to_vkey().as_bytes(), b"\n"].concat());
    }
    file.extend_from_slice(b"group all 1 \xff \xfe\nquorum all\n");
    assert!(Policy::parse(&file).unwrap().standing(&[&keys[1]]).is_satisfied());
    // Both keys of a witness stand in one policy: they are two keys.
    let name = KeyName::parse("witness.example/1").unwrap();
    let (ed, ml) = (Cosigner::ed25519(name.clone(), [1; 32]).verifier(), Cosigner::ml_dsa_44(name, [1; 32]).verifier());
    let both = parse(&format!("witness a {ed}\nwitness b {ml}\ngroup g all a b\nquorum g\n"));
    assert!(both.standing(&[&ed, &ml]).is_satisfied() && !both.standing(&[&ed]).is_satisfied());
}

#[test]
fn thirty_two_of_each_and_more() {
    let keys: Vec<CosignerKey> = (0..64).map(witness).collect();
    let mut text = String::new();
    for (at, key) in keys.iter().enumerate() {
        let log = log_vkey(u8::try_from(at).unwrap());
        let below = if at == 0 { String::new() } else { format!(" g{}", at - 1) };
        writeln!(text, "log {log}\nwitness w{at} {key}\ngroup g{at} all w{at}{below}\n").unwrap();
    }
    let policy = parse(&format!("{text}quorum g63\n"));
    let all: Vec<&CosignerKey> = keys.iter().collect();
    assert!(policy.standing(&all).is_satisfied());
    for lacking in 0..64 {
        let some: Vec<&CosignerKey> =
            all.iter().enumerate().filter(|(at, _)| *at != lacking).map(|(_, key)| *key).collect();
        assert!(!policy.standing(&some).is_satisfied(), "{lacking}");
    }
}

#[test]
fn refused_with_the_line() {
    let (log, w, v) = (log_vkey(1), witness(1), witness(2));
    let two = format!("witness w {w}\nwitness v {v}\n");
    let check = |text: &str, line: usize, expect: &str| {
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.to_string().contains(expect), "{text:?}: {error}");
        assert!(error.to_string().starts_with(&format!("witness policy, line {line}: ")));
    };
    check("", 1, "without a quorum line");
    check(&two, 2, "without a quorum line");
    check("quorum none", 1, "cut off");
    check("\nquorum none\nquo", 3, "cut off");
    check("quorum none\r\n", 1, "control character 0x0d");
    check("quorum\u{0b}none\n", 1, "control character 0x0b");
    check("\n\nquorum none\u{7f}\n", 3, "control character 0x7f");
    check("quorum\u{a0}none\n", 1, "unknown keyword");
    check("Quorum none\n", 1, "unknown keyword");
    check("quorum none\nquorum none\n", 2, "second quorum line");
    check("quorum\n", 1, "expected `quorum");
    check("quorum none none\n", 1, "expected `quorum");
    check(&format!("quorum w\n{two}"), 1, "\"w\" is defined by no earlier line");
    check("log\n", 1, "expected `log");
    check(&format!("log {log} u v\n"), 1, "expected `log");
    check(&format!("log {w}\n"), 1, "log key: key type 0x04");
    check(&format!("log x{log}\n"), 1, "log key: key id");
    check(&format!("log {log}\nlog {log}\n"), 2, "stands on an earlier line too");
    check(&format!("witness w {log}\n"), 1, "0x01 is the type of a log's key");
    check("witness w\n", 1, "expected `witness");
    check(&format!("witness w {w} u v\n"), 1, "expected `witness");
    check(&format!("witness none {w}\n"), 1, "`none` is no name");
    check(&format!("{two}witness w {}\n", witness(3)), 3, "\"w\" is taken");
    check(&format!("{two}witness x {w}\n"), 3, "public key of x stands on an earlier line");
    // The same public key under another name is the same key.
    let renamed = Cosigner::ed25519(KeyName::parse("other.example").unwrap(), [1; 32]).verifier();
    check(&format!("{two}witness x {renamed}\n"), 3, "public key of x stands on an earlier line");
    check(&format!("{two}group g all\n"), 3, "expected `group");
    check(&format!("{two}group g\n"), 3, "expected `group");
    check(&format!("{two}group w all v\n"), 3, "\"w\" is taken");
    check(&format!("{two}group none all v\n"), 3, "`none` is no name");
    check(&format!("{two}group g all none\n"), 3, "`none` is no name");
    check(&format!("{two}group g all g\n"), 3, "\"g\" is defined by no earlier line");
    check(&format!("{two}group g all w w\n"), 3, "is a member already");
    check(&format!("{two}group g all w\ngroup h all w v\n"), 4, "is a member already");
    for threshold in ["0", "3", "02", "+1", "-1", "two", "1.0", "99999999999999999999"] {
        check(&format!("{two}group g {threshold} w v\n"), 3, "from 1 to 2");
    }
    let huge = vec![b'#'; (1 << 20) + 1];
    assert!(matches!(Policy::parse(&huge).unwrap_err().reason, PolicyReason::TooLong(_)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(lines in prop::collection::vec("(log|witness|group|quorum|#)?[ -~\\t]{0,40}", 0..12)) {
        let text = lines.join("\n");
        let _ = Policy::parse(text.as_bytes());
        let _ = Policy::parse(format!("{text}\n").as_bytes());
    }

    /// A group is met exactly when enough of its members are.
    #[test]
    fn thresholds(members in 1_usize..8, threshold in 1_usize..8, by in any::<u8>()) {
        let threshold = threshold.min(members);
        let keys: Vec<CosignerKey> = (0..members).map(|at| witness(u8::try_from(at).unwrap())).collect();
        let lines: Vec<String> = keys.iter().enumerate().map(|(at, key)| format!("witness w{at} {key}")).collect();
        let names: Vec<String> = (0..members).map(|at| format!("w{at}")).collect();
        let policy = parse(&format!("{}\ngroup g {threshold} {}\nquorum g\n", lines.join("\n"), names.join(" ")));
        let cosigned: Vec<&CosignerKey> = keys.iter().enumerate().filter(|(at, _)| by >> at & 1 == 1).map(|(_, key)| key).collect();
        prop_assert_eq!(policy.standing(&cosigned).is_satisfied(), cosigned.len() >= threshold);
    }
}

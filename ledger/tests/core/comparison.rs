//! Two checkpoints of one log: the same, one extends the other, not compared, or a fork.

use ledger::checkpoint::{self, Checkpoint, Verified};
use ledger::consistency::{Compared, ConsistencyProof, Inconsistent, compare};
use ledger::hash::{Hash, empty_root};
use ledger::proof::{self, Unproved};

use crate::support::{Log, origin, signer};

fn log() -> Log {
    let mut log = Log::new("ledger.example/acme");
    log.pad(300);
    log
}

fn open(log: &Log, size: u64) -> Verified<Checkpoint> {
    checkpoint::open(&log.checkpoint(size), &log.signer.verifier()).unwrap()
}

fn proof(log: &Log, old: u64, new: u64) -> ConsistencyProof {
    ConsistencyProof { old, path: proof::consistency(&log.tiles, old, new).unwrap(), checkpoint: log.checkpoint(new) }
}

#[test]
fn an_honest_log() {
    let log = log();
    let key = log.signer.verifier();
    let (old, new) = (open(&log, 100), open(&log, 300));
    let forth = proof(&log, 100, 300);
    assert_eq!(compare(&old, &old, None, &key), Ok(Compared::Same));
    assert_eq!(compare(&old, &new, None, &key), Ok(Compared::NotCompared { old: 100, new: 300 }));
    let consistent = Ok(Compared::Consistent { old: 100, new: 300 });
    assert_eq!(compare(&old, &new, Some(&forth), &key), consistent);
    assert_eq!(compare(&new, &old, Some(&forth), &key), consistent, "whichever of the two was kept");
    assert_eq!(compare(&open(&log, 0), &new, None, &key), Ok(Compared::Consistent { old: 0, new: 300 }));
}

#[test]
fn a_forked_log() {
    let honest = log();
    let key = honest.signer.verifier();
    let mut forked = Log::new("ledger.example/acme");
    forked.append(b"what never happened".to_vec());
    forked.pad(299);
    let kept = open(&honest, 100);
    let same_size = compare(&kept, &open(&forked, 100), None, &key).unwrap_err();
    assert!(same_size.is_fork(), "{same_size}");
    // Its own proof cannot lead from the kept root.
    let refused = compare(&kept, &open(&forked, 300), Some(&proof(&forked, 100, 300)), &key).unwrap_err();
    assert!(matches!(refused, Inconsistent::Unproved(Unproved::OldRoot { .. })), "{refused}");
    // A proof with the honest head beside the forked one: two signed roots for one size.
    let refused = compare(&kept, &open(&forked, 300), Some(&proof(&honest, 100, 300)), &key).unwrap_err();
    assert!(refused.is_fork(), "{refused}");
}

#[test]
fn proofs_that_do_not_fit() {
    let log = log();
    let key = log.signer.verifier();
    let (old, new) = (open(&log, 100), open(&log, 300));
    for other in [
        proof(&log, 99, 300),
        proof(&log, 100, 299),
        ConsistencyProof { old: 0, path: vec![], ..proof(&log, 100, 300) },
    ] {
        assert!(matches!(compare(&old, &new, Some(&other), &key), Err(Inconsistent::OtherProof { .. })));
    }
    let mut wrong = proof(&log, 100, 300);
    wrong.path[0] = Hash::of(b"other");
    assert!(matches!(compare(&old, &new, Some(&wrong), &key), Err(Inconsistent::Unproved(_))));
    let stranger = signer("ledger.example/acme", 77);
    let head = Checkpoint { origin: origin("ledger.example/acme"), size: 300, root: new.root };
    let forged = ConsistencyProof { checkpoint: stranger.sign_checkpoint(&head), ..proof(&log, 100, 300) };
    assert!(matches!(compare(&old, &new, Some(&forged), &key), Err(Inconsistent::Checkpoint(_))));
    let elsewhere = signer("ledger.example/other", 1);
    let head = Checkpoint { origin: origin("ledger.example/other"), size: 0, root: empty_root() };
    let head = checkpoint::open(&elsewhere.sign_checkpoint(&head), &elsewhere.verifier()).unwrap();
    assert!(matches!(compare(&old, &head, None, &key), Err(Inconsistent::OtherLog(..))));
}

#[test]
fn one_spelling() {
    let log = log();
    let proof = proof(&log, 100, 300);
    let text = proof.to_text();
    assert!(text.starts_with("old 100\n"));
    assert_eq!(ConsistencyProof::parse(&text), Ok(proof));
    let check = |text: &str, line: usize, expect: &str| {
        let error = ConsistencyProof::parse(text).unwrap_err();
        assert!(error.line == line && error.reason.contains(expect), "{text:?}: {error}");
    };
    check("", 1, "no empty line");
    check(&text.replacen("old 100", "old 0100", 1), 1, "tree size");
    check(&text.replacen("old ", "new ", 1), 1, "tree size");
    check(&text.replacen("old 100\n", "old 100\r\n", 1), 1, "tree size");
    check(&text.replacen("=\n", "= \n", 1), 2, "not a hash");
    check(&text.replacen("\n\n", "\n\n\n", 1), text.lines().position(str::is_empty).unwrap() + 2, "not a checkpoint");
    let hash = Hash::of(b"").to_base64() + "\n";
    let many = format!("old 1\n{}\n{}", hash.repeat(64), log.checkpoint(3));
    check(&many, 65, "more hashes");
}

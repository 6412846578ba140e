//! Packs and receipts under cosigned checkpoints: how far trust reaches by whom, and every way of pretending.

use evidence::{Reach, Status, Trust, Verdict, verify_receipt};
use ledger::cosignature::{Cosigner, Statement};
use ledger::note::{KeyName, NoteSignature, SignedNote};
use ledger::policy::Policy;
use serde_json::{Value, json};

use crate::world::{Files, World, files_of, verify, zipped};

/// 2023-11-14T22:13:20Z
const TIME: u64 = 1_700_000_000;

pub(crate) fn cosigner(seed: u8) -> Cosigner {
    Cosigner::ed25519(KeyName::parse(&format!("witness.example/{seed}")).unwrap(), [seed; 32])
}

/// The checkpoint's cosignatures, the second a second later than the first, and so on.
pub(crate) fn lines(checkpoint: &str, cosigners: &[&Cosigner]) -> Vec<NoteSignature> {
    let note = SignedNote::parse(checkpoint).unwrap();
    let statement = Statement::parse(note.text()).unwrap();
    cosigners.iter().zip(TIME..).map(|(cosigner, time)| cosigner.cosign(&statement, time).unwrap()).collect()
}

pub(crate) fn cosigned_files(world: &World, cosigners: &[&Cosigner]) -> Files {
    let mut input = world.input("a");
    input.cosignatures = lines(&input.checkpoint, cosigners);
    let sealed = evidence::plan(&input).unwrap().seal(&world.signer).unwrap();
    files_of(&sealed)
}

pub(crate) fn cosigned_receipt(world: &World, index: u64, cosigners: &[&Cosigner]) -> String {
    let mut receipt = world.receipt(index);
    let lines: String = lines(&receipt.checkpoint, cosigners).iter().map(NoteSignature::to_line).collect();
    receipt.checkpoint.push_str(&lines);
    receipt.to_text()
}

pub(crate) fn policy(cosigners: &[&Cosigner], rule: &str) -> Policy {
    let line = |(at, cosigner): (usize, &&Cosigner)| format!("witness w{at} {}", cosigner.verifier());
    let lines: Vec<String> = cosigners.iter().enumerate().map(line).collect();
    Policy::parse(format!("{}\n{rule}\n", lines.join("\n")).as_bytes()).unwrap()
}

#[test]
fn a_pack_names_and_carries_its_cosignatures() {
    let world = World::full();
    let ml_dsa = Cosigner::ml_dsa_44(KeyName::parse("witness.example/q").unwrap(), [4; 32]);
    let witnesses = [&cosigner(1), &ml_dsa];
    let files = cosigned_files(&world, &witnesses);
    let pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
    let checkpoint = String::from_utf8(files["checkpoint"].clone()).unwrap();
    let named: Vec<&str> = pack["cosignatures"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let carried: Vec<&str> = checkpoint.lines().rev().take(2).collect();
    assert_eq!(named, carried.into_iter().rev().collect::<Vec<_>>());
    let proof = files.iter().find(|(name, _)| name.ends_with(".tlog-proof")).unwrap().1;
    assert!(String::from_utf8_lossy(proof).ends_with(&checkpoint), "each proof stands by itself");
    // The same input, the same bytes: ML-DSA-44 signs deterministically, and nothing else is left to chance.
    assert_eq!(cosigned_files(&world, &witnesses), files);
    // A pack without any is what it always was.
    let bare: Value = serde_json::from_slice(&world.files("a")["pack.json"]).unwrap();
    assert_eq!(bare["cosignatures"], json!([]));

    let zip = zipped(&files);
    let trust = Trust { policy: Some(policy(&witnesses, "group g all w0 w1\nquorum g")), ..world.trust() };
    let report = verify(&zip, &Trust { require: Some(Reach::Witnessed), ..trust.clone() });
    assert_eq!((report.verdict, report.refuted()), (Verdict::Ok, vec![]), "{report}");
    assert_eq!(report.reach, "witnessed by w0, w1 at 2023-11-14T22:13:21Z");
    assert!(!report.not_proved.iter().any(|line| line.contains("whoever holds the log's key")), "{report}");
    let known_checkpoint = Some(world.checkpoint(world.size()));
    let report = verify(&zip, &Trust { known_checkpoint, ..trust });
    assert_eq!(report.reach, "witnessed by w0, w1 at 2023-11-14T22:13:21Z, and kept checkpoint");
    // Without a policy nobody is known, and nothing is wrong.
    let report = verify(&zip, &world.trust());
    assert_eq!((report.verdict, report.reach.as_str()), (Verdict::Ok, "operator only"), "{report}");
}

#[test]
fn who_is_not_enough() {
    let world = World::full();
    let (one, two, three) = (cosigner(1), cosigner(2), cosigner(3));
    let zip = zipped(&cosigned_files(&world, &[&one, &three]));
    let check = |trust: Trust, verdict: Verdict, reach: &str, detail: &str| {
        let report = verify(&zip, &trust);
        let found = report.checks.iter().find(|check| check.id == "trust.cosignatures").unwrap();
        assert_eq!((report.verdict, report.reach.as_str()), (verdict, reach), "{report}");
        assert!(found.detail.contains(detail), "{}", found.detail);
    };
    let of = |rule: &str| Trust { policy: Some(policy(&[&one, &two], rule)), ..world.trust() };
    check(of("quorum w0"), Verdict::Ok, "witnessed by w0 at 2023-11-14T22:13:20Z", "w0 at 2023-11-14T22:13:20Z");
    check(of("quorum w1"), Verdict::Undecided, "operator only", "no cosignature by w1");
    let all = "group g all w0 w1\nquorum g";
    check(of(all), Verdict::Undecided, "operator only", "g has 1 of the 2 it needs (not: w1)");
    check(of("group g any w0 w1\nquorum g"), Verdict::Ok, "witnessed by w0 at 2023-11-14T22:13:20Z", "w0");
    // A policy that asks for nobody is satisfied, and still tells who did.
    check(of("quorum none"), Verdict::Ok, "witnessed by w0 at 2023-11-14T22:13:20Z", "w0");
    let nobody = Trust { policy: Some(policy(&[&two], "quorum none")), ..world.trust() };
    check(nobody.clone(), Verdict::Ok, "operator only", "the policy asks for none");
    let required = |trust: Trust| verify(&zip, &Trust { require: Some(Reach::Witnessed), ..trust });
    assert_eq!(required(nobody).refuted(), ["trust.require"]);
    assert_eq!(required(of(all)).refuted(), ["trust.require"]);
    assert_eq!(required(of("quorum w0")).verdict, Verdict::Ok);
    // Without a key for the log, witnesses alone say nothing: nobody knows of which log they should have spoken.
    let keyless = Trust { policy: Some(policy(&[&one], "quorum w0")), ..Trust::default() };
    check(keyless, Verdict::Undecided, "none (no key was given)", "no checkpoint under a trusted key");
    // Logs of a policy are the only ones it accepts.
    let text = |log: &str| format!("log {log}\nwitness w0 {}\nquorum w0\n", one.verifier());
    let with_log = |log: &str| Trust { policy: Some(Policy::parse(text(log).as_bytes()).unwrap()), ..world.trust() };
    let own = world.signer.verifier().to_vkey();
    check(with_log(&own), Verdict::Ok, "witnessed by w0 at 2023-11-14T22:13:20Z", "w0");
    let sumdb = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    check(with_log(sumdb), Verdict::Refuted, "nothing (refuted)", "accepts other logs");
}

/// A cosigner of subtrees may leave the time out: it is not 1970 then.
#[test]
fn a_cosignature_without_a_time_states_none() {
    let world = World::full();
    let (one, two) = (cosigner(1), Cosigner::ml_dsa_44(KeyName::parse("witness.example/q").unwrap(), [4; 32]));
    let receipt = world.receipt(1);
    let note = SignedNote::parse(&receipt.checkpoint).unwrap();
    let statement = Statement::parse(note.text()).unwrap();
    let (timed, untimed) = (one.cosign(&statement, TIME).unwrap(), two.cosign(&statement, 0).unwrap());
    let check = |lines: &[&NoteSignature], rule: &str, reach: &str| {
        let mut receipt = receipt.clone();
        receipt.checkpoint.extend(lines.iter().map(|line| line.to_line()));
        let trust = Trust { policy: Some(policy(&[&one, &two], rule)), ..world.trust() };
        assert_eq!(verify_receipt(&receipt.to_text(), None, &trust).reach, reach);
    };
    check(&[&untimed], "quorum w1", "witnessed by w1 (no time stated)");
    let both = "witnessed by w0 at 2023-11-14T22:13:20Z and by w1 (no time stated)";
    check(&[&timed, &untimed], "group g all w0 w1\nquorum g", both);
}

#[test]
fn whatever_is_done_to_cosignatures_is_refuted() {
    let world = World::full();
    let (one, two) = (cosigner(1), cosigner(2));
    let honest = cosigned_files(&world, &[&one, &two]);
    let trust = Trust { policy: Some(policy(&[&one, &two], "group g any w0 w1\nquorum g")), ..world.trust() };
    assert_eq!(verify(&zipped(&honest), &trust).verdict, Verdict::Ok);
    // The operator changes pack.json or the checkpoint, and signs again.
    let pack = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut files = honest.clone();
        let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        change(pack["cosignatures"].as_array_mut().unwrap());
        // RFC 8785 by way of serde_json: keys are sorted, and no number or text here needs more.
        files.insert("pack.json".into(), serde_json::to_vec(&pack).unwrap());
        world.resigned(files)
    };
    let note = |change: &dyn Fn(&str) -> String| {
        let mut files = honest.clone();
        let old = String::from_utf8(files["checkpoint"].clone()).unwrap();
        let new = change(&old);
        for (_, bytes) in files.iter_mut().filter(|(name, _)| *name == "checkpoint" || name.ends_with(".tlog-proof")) {
            *bytes = String::from_utf8(bytes.clone()).unwrap().replace(&old, &new).into_bytes();
        }
        world.resigned(files)
    };
    let check = |files: Files, expect: &[&str]| {
        let report = verify(&zipped(&files), &trust);
        assert_eq!(report.refuted(), expect, "{report}");
        assert_eq!(report.reach, "nothing (refuted)");
    };
    // The page says in whose names the cosignatures are.
    let both = ["checkpoint.head", "derived.page"];
    check(pack(&|named| drop(named.pop())), &both);
    check(pack(&|named| named.push(json!("x"))), &["checkpoint.head"]);
    check(pack(&|named| named.swap(0, 1)), &both);
    check(pack(&|named| named[0] = json!({ "key": "w" })), &both);
    check(pack(&|named| named.clear()), &both);
    let without_last =
        |old: &str| old.trim_end().rsplit_once('\n').map_or(String::new(), |(rest, _)| format!("{rest}\n"));
    check(note(&without_last), &["checkpoint.head"]);
    // In both places, so that they agree: the line itself has to fit.
    let of_other_head = lines(&world.checkpoint(2), &[&one]).remove(0);
    let forged = |line: &NoteSignature| {
        let mut input = world.input("a");
        input.cosignatures = vec![line.clone()];
        let sealed = evidence::plan(&input).unwrap().seal(&world.signer).unwrap();
        files_of(&sealed)
    };
    check(forged(&of_other_head), &["trust.cosignatures"]);
    let mut short = of_other_head.clone();
    short.signature.truncate(20);
    check(forged(&short), &["trust.cosignatures"]);
    let mut later = lines(&world.checkpoint(world.size()), &[&one]).remove(0);
    later.signature[7] ^= 1;
    check(forged(&later), &["trust.cosignatures"]);
    // A stranger's line, whatever it says, is not looked at.
    let mut stranger = later;
    stranger.name = KeyName::parse("witness.example/9").unwrap();
    let report = verify(&zipped(&forged(&stranger)), &trust);
    assert_eq!((report.verdict, report.refuted()), (Verdict::Undecided, vec![]), "{report}");
}

#[test]
fn receipts_are_witnessed_too() {
    let world = World::full();
    let (one, two) = (cosigner(1), cosigner(2));
    let event = world.input("a").log.entries[0].payload.clone();
    let trust =
        Trust { policy: Some(policy(&[&one, &two], "quorum w0")), require: Some(Reach::Witnessed), ..world.trust() };
    let text = cosigned_receipt(&world, 1, &[&one]);
    let report = verify_receipt(&text, Some(&event), &trust);
    assert_eq!((report.verdict, report.reach.as_str()), (Verdict::Ok, "witnessed by w0 at 2023-11-14T22:13:20Z"));
    assert_eq!(report.checks.iter().filter(|check| check.status != Status::Ok).count(), 0, "{report}");
    let bare = verify_receipt(&world.receipt(1).to_text(), Some(&event), &trust);
    assert_eq!(bare.refuted(), ["trust.require"], "{bare}");
    // A line of a known witness that does not fit spoils the receipt, though the quorum does without it.
    let two_of_other = lines(&world.checkpoint(2), &[&two]).remove(0);
    let spoilt = verify_receipt(&format!("{text}{}", two_of_other.to_line()), Some(&event), &trust);
    assert_eq!(spoilt.refuted(), ["trust.cosignatures", "trust.require"], "{spoilt}");
}

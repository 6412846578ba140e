//! Both sides of the witness protocol: the request scripts of torchwood's litewitness, every status of the specification, and
//! what a log makes of every answer.
//!
//! `vectors/litewitness/` holds `cmd/litewitness/testdata` of filippo.io/torchwood v0.9.0 (Copyright 2023 The Torchwood Authors,
//! BSD-style, LICENSE beside): requests in hurl's form, with the status and body that litewitness gives.

use ledger::cosignature::{Cosigner, CosignerKey, cosignatures};
use ledger::hash::{Hash, empty_root};
use ledger::note::{KeyName, NoteSignature, SignedNote, VerifierKey};
use ledger::proof;
use ledger::witness::{Next, Refusal, Request, SIZE_CONTENT_TYPE, Seen, Submission, WatchedLogs};

use crate::support::Log;

const LITEWITNESS: &str = include_str!("../vectors/litewitness/litewitness.txt");
const SUMDB: &str = include_str!("../vectors/litewitness/sumdb.txt");

/// One request of a script: its body, the status, and what the answer's body has to contain or be.
struct Asked {
    body: String,
    status: u16,
    contains: Option<String>,
    equals: Option<String>,
}

/// The `POST`s of a script, in order.
fn script(text: &str) -> Vec<Asked> {
    let posts = text.split("\nPOST ").skip(1);
    let quoted = |line: &str| line.split_once('"').map(|(_, rest)| rest.trim_end_matches('"').replace("\\n", "\n"));
    let asked = |post: &str| {
        let mut parts = post.splitn(3, "```\n");
        let (_, body, rest) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
        let line = |start: &str| rest.lines().take(5).find(|line| line.starts_with(start));
        Asked {
            body: body.to_owned(),
            status: line("HTTP ").unwrap()[5..].parse().unwrap(),
            contains: line("body contains").and_then(quoted),
            equals: line("body == ").and_then(quoted),
        }
    };
    posts.map(asked).collect()
}

/// A witness of one log, in memory, as a server would be built of the two decisions.
struct Witness {
    logs: WatchedLogs,
    seen: Seen,
    cosigner: Cosigner,
}

impl Witness {
    fn of(origin: &str, vkey: &str) -> Witness {
        let mut logs = WatchedLogs::default();
        logs.watch(origin, VerifierKey::parse(vkey).unwrap());
        let cosigner = Cosigner::ed25519(KeyName::parse("example.com/witness").unwrap(), [7; 32]);
        Witness { logs, seen: Seen::default(), cosigner }
    }

    fn ask(&mut self, body: &str) -> (u16, String) {
        let decided = Request::admit(body.as_bytes(), &self.logs).and_then(|request| {
            request.extends(&self.seen)?;
            Ok(request)
        });
        match decided {
            Err(refusal) => {
                assert_eq!(refusal.content_type() == SIZE_CONTENT_TYPE, refusal.status() == 409);
                (refusal.status(), refusal.body())
            }
            Ok(request) => {
                self.seen = request.head();
                let line = self.cosigner.cosign(&request.statement().unwrap(), 1_700_000_000).unwrap();
                let kept = SignedNote::parse(&request.cosigned(std::slice::from_ref(&line))).unwrap();
                assert_eq!(cosignatures(&kept, &[self.cosigner.verifier()]).unwrap().len(), 1);
                (200, line.to_line())
            }
        }
    }
}

fn play(script_text: &str, witness: &mut Witness) -> usize {
    let asked = script(script_text);
    for (at, asked) in asked.iter().enumerate() {
        let (status, body) = witness.ask(&asked.body);
        assert_eq!(status, asked.status, "request {at}: {body}");
        assert!(asked.contains.as_ref().is_none_or(|part| body.contains(part)), "request {at}: {body}");
        assert!(asked.equals.as_ref().is_none_or(|whole| &body == whole), "request {at}: {body}");
    }
    asked.len()
}

#[test]
fn the_script_of_litewitness() {
    const ORIGIN: &str = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562";
    // The script names the log by its raw key; the vkey is that key under the origin.
    let key: [u8; 32] =
        <[u8; 32]>::try_from(hex_bytes("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f").as_slice())
            .unwrap();
    let key = ledger::key::PublicKey::from_bytes(&key).unwrap();
    let vkey = VerifierKey::new(KeyName::parse(ORIGIN).unwrap(), key).to_vkey();
    let mut witness = Witness::of(ORIGIN, &vkey);
    assert_eq!(play(LITEWITNESS, &mut witness), 9);
    assert_eq!(witness.seen.size, 5);
}

#[test]
fn the_script_of_the_go_checksum_database() {
    // The origin is no key name, and the key has another one.
    let vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    let mut witness = Witness::of("go.sum database tree", vkey);
    assert_eq!(play(SUMDB, &mut witness), 1);
    assert_eq!(witness.seen.size, 35_225_469);
}

fn hex_bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn log_of(entries: u64) -> Log {
    let mut log = Log::new("ledger.example/acme");
    for index in 0..entries {
        log.append(index.to_be_bytes().to_vec());
    }
    log
}

fn body(log: &Log, old: u64, size: u64) -> String {
    let path: Vec<Hash> =
        if old == 0 || old == size { Vec::new() } else { proof::consistency(&log.tiles, old, size).unwrap() };
    let lines: String = path.iter().map(|hash| hash.to_base64() + "\n").collect();
    format!("old {old}\n{lines}\n{}", checkpoint(log, size))
}

fn checkpoint(log: &Log, size: u64) -> String {
    let root = proof::root(&log.tiles, size).unwrap();
    let origin = log.signer.name().clone();
    log.signer.sign_checkpoint(&ledger::checkpoint::Checkpoint { origin, size, root })
}

fn witness_of(log: &Log) -> Witness {
    Witness::of(log.signer.name().as_str(), &log.signer.verifier().to_vkey())
}

#[test]
fn a_log_grows_under_a_witness() {
    let log = log_of(300);
    let mut witness = witness_of(&log);
    let sizes = [0, 0, 1, 1, 2, 7, 8, 255, 256, 257, 300];
    for pair in sizes.windows(2) {
        let (status, answer) = witness.ask(&body(&log, pair[0], pair[1]));
        assert_eq!(status, 200, "{pair:?}: {answer}");
    }
}

#[test]
fn every_status_of_the_specification() {
    let log = log_of(12);
    let mut witness = witness_of(&log);
    assert_eq!(witness.ask(&body(&log, 0, 5)).0, 200);
    let mut check = |body: &str, status: u16, expect: &str| {
        let (found, answer) = witness.ask(body);
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.contains(expect), "{answer}");
    };
    let good = body(&log, 5, 8);
    // 400: no request.
    check("", 400, "no empty line");
    check(&good.replace("old 5", "old 05"), 400, "line 1");
    check(&good.replace("old 5", "new 5"), 400, "line 1");
    check(&good.replacen("old 5\n", "old 5\nAAAA\n", 1), 400, "line 2: not a hash");
    check(
        &good.replacen("old 5\n", &format!("old 5\n{}", (empty_root().to_base64() + "\n").repeat(63)), 1),
        400,
        "more hashes",
    );
    check(good.trim_end(), 400, "no newline");
    check(&good.replace("\n8\n", "\n08\n"), 400, "size in decimal");
    check(&body(&log, 5, 8).replace("old 5", "old 9"), 400, "old size 9 is larger than the checkpoint's 8");
    // 404, though nobody signed: the origin comes first.
    check(&good.replace("ledger.example/acme\n8", "ledger.example/acmf\n8"), 404, "unknown log");
    // 403: unsigned, signed by nobody known, and a line of a known key that does not fit, beside one that does.
    let (top, lines) = good.rsplit_once("\n\n").unwrap();
    check(&good.replace("\n8\n", "\n9\n"), 403, "invalid signature");
    let stranger = lines.replace("\u{2014} ledger.example/acme", "\u{2014} ledger.example/other");
    check(&format!("{top}\n\n{stranger}"), 403, "not signed by a known key");
    let other = checkpoint(&log, 9);
    let misfit = other.rsplit_once("\n\n").unwrap().1;
    check(&format!("{top}\n\n{lines}{misfit}"), 403, "invalid signature");
    check(&format!("{top}\n\n{lines}\u{2014} x !\n"), 403, "invalid signature");
    // A stranger's line beside a good one is ignored; then the order is looked at.
    check(&format!("{}\n\n{lines}{stranger}", top.replace("old 5", "old 4")), 409, "5\n");
    check(&body(&log, 0, 8), 409, "5\n");
    check(&body(&log, 8, 9), 409, "5\n");
    // 422: no proof, a wrong one, one too many, another root of the same size.
    check(&format!("old 5\n\n{}", checkpoint(&log, 8)), 422, "consistency proof");
    check(&body(&log, 5, 9).replace(&checkpoint(&log, 9), &checkpoint(&log, 8)), 422, "consistency proof");
    let hash = empty_root().to_base64();
    check(&format!("old 5\n{hash}\n\n{}", checkpoint(&log, 5)), 422, "is empty");
    let mut fork = log_of(4);
    fork.append(b"another fifth entry".to_vec());
    check(&body(&fork, 5, 5), 422, "two histories");
    // After all that the log may go on where it was.
    check(&body(&log, 5, 5), 200, "\u{2014} example.com/witness ");
    check(&good, 200, "\u{2014} example.com/witness ");
    check(&"x".repeat(600 << 10), 400, "too long");
}

#[test]
fn the_empty_tree() {
    let log = log_of(3);
    let mut witness = witness_of(&log);
    let hash = empty_root().to_base64();
    let body_of = |old: &str, root: &str| {
        let text = format!("ledger.example/acme\n0\n{root}\n");
        let signature = log.signer.sign_bytes(text.as_bytes()).to_vec();
        let key = log.signer.verifier();
        let line = NoteSignature { name: key.name().clone(), id: key.id(), signature };
        format!("old 0\n{old}\n{text}\n{}", line.to_line())
    };
    let other = Hash([1; 32]).to_base64();
    assert_eq!(witness.ask(&body_of("", &other)).0, 422);
    assert_eq!(witness.ask(&body_of(&format!("{hash}\n"), &hash)).0, 422);
    assert_eq!(witness.ask(&body_of("", &hash)).0, 200);
    assert_eq!(witness.ask(&format!("old 0\n{hash}\n\n{}", checkpoint(&log, 3))).0, 422);
    assert_eq!(witness.ask(&body(&log, 0, 3)).0, 200);
}

#[test]
fn a_fork_is_told_from_a_mistake() {
    let log = log_of(5);
    let mut other = log_of(4);
    other.append(b"x".to_vec());
    let witness = witness_of(&log);
    let seen = Request::admit(body(&log, 0, 5).as_bytes(), &witness.logs).unwrap().head();
    let fork = Request::admit(body(&other, 5, 5).as_bytes(), &witness.logs).unwrap().extends(&seen).unwrap_err();
    assert!(matches!(fork, Refusal::Fork { size: 5 }) && fork.accuses_the_log());
    let late = Request::admit(body(&log, 0, 5).as_bytes(), &witness.logs).unwrap().extends(&seen).unwrap_err();
    assert!(matches!(late, Refusal::Conflict(5)) && !late.accuses_the_log());
}

#[test]
fn what_a_log_makes_of_answers() {
    let log = log_of(12);
    let note = checkpoint(&log, 8);
    let name = KeyName::parse("example.com/witness").unwrap();
    let cosigner = Cosigner::ed25519(name.clone(), [7; 32]);
    let known: Vec<CosignerKey> = vec![cosigner.verifier()];
    let text = note.rsplit_once("\n\n").unwrap().0.to_owned() + "\n";
    let statement = ledger::cosignature::Statement::parse(&text).unwrap();
    let line = cosigner.cosign(&statement, 1_700_000_000).unwrap();
    let stranger = Cosigner::ed25519(name.clone(), [8; 32]).cosign(&statement, 1).unwrap();
    let new = || Submission::new(&note, 0).unwrap();
    let read = |status: u16, kind: Option<&str>, body: &str| new().read(status, kind, body, &known);
    // 200.
    assert_eq!(read(200, None, &line.to_line()), Next::Done(vec![line.clone()]));
    let both = format!("{}{}", stranger.to_line(), line.to_line());
    assert_eq!(read(200, None, &both), Next::Done(vec![line.clone()]), "unknown keys are ignored");
    let refused = |next: Next, part: &str| {
        assert!(matches!(&next, Next::Refused(reason) if reason.contains(part)), "{next:?}");
    };
    refused(read(200, None, &stranger.to_line()), "without a cosignature by a known key");
    refused(read(200, None, ""), "no newline");
    refused(read(200, None, "<html>"), "no newline");
    let mut wrong = line.clone();
    wrong.signature[40] ^= 1;
    refused(read(200, None, &wrong.to_line()), "does not fit");
    refused(read(200, None, &cosigner.cosign(&statement, 0).unwrap().to_line()), "has no time");
    refused(read(200, None, &cosigner.cosign(&statement, 1 << 60).unwrap().to_line()), "is of second");
    let again = cosigner.cosign(&statement, 1_700_000_001).unwrap();
    let many = format!("{}{}", line.to_line(), again.to_line());
    assert_eq!(read(200, None, &many), Next::Done(vec![line.clone()]), "one line a key");
    refused(read(200, None, &"x".repeat(300 << 10)), "more than");
    // A body that smuggles in another text is no text of ours.
    refused(read(200, None, &format!("evil\n\n{}", line.to_line())), "");
    // 409: followed, bounded, and only where it is one.
    let size = Some(SIZE_CONTENT_TYPE);
    assert_eq!(read(409, size, "5\n"), Next::Again { old: 5 });
    assert_eq!(read(409, size, "8\n"), Next::Again { old: 8 });
    assert_eq!(read(409, size, "9\n"), Next::Ahead { size: 9 });
    refused(read(409, Some("text/plain"), "5\n"), "tells no size");
    refused(read(409, None, "5\n"), "tells no size");
    for body in ["5", "05\n", "-1\n", "", "5\n\n"] {
        refused(read(409, size, body), "tells no size");
    }
    let mut submission = new();
    assert_eq!((submission.needs_proof(), submission.body(Vec::new())), (None, format!("old 0\n\n{note}")));
    for old in [5, 6, 7] {
        assert_eq!(submission.read(409, size, &format!("{old}\n"), &known), Next::Again { old });
        assert_eq!(submission.needs_proof(), Some((old, 8)));
    }
    refused(submission.read(409, size, "4\n", &known), "does not keep its word");
    let mut submission = new();
    refused(submission.read(409, size, "0\n", &known), "does not keep its word");
    // Everything else.
    for status in [400, 403, 404, 413, 422, 301, 204] {
        refused(read(status, None, "a reason\nmore"), &format!("HTTP {status}: a reason"));
    }
    for status in [429, 500, 502, 503, 504] {
        assert_eq!(read(status, None, "\u{1b}[31mbusy"), Next::Later(format!("HTTP {status}: ?[31mbusy")));
    }
    // A belief past the checkpoint begins anew.
    assert_eq!(Submission::new(&note, 9).unwrap().body(Vec::new()), format!("old 0\n\n{note}"));
    assert_eq!(Submission::new(&note, 8).unwrap().needs_proof(), None);
    assert_eq!(Submission::new(&note, 3).unwrap().needs_proof(), Some((3, 8)));
}

//! The checkpoint, the proofs under it, and files that do not follow from the entries.

use ledger::checkpoint::{Checkpoint, Origin};
use ledger::hash::Hash;
use ledger::note::SignedNote;
use ledger::signing::Signer;

use super::{By, PROOF, Row, head, note, path, replace};

pub(super) const CHECKPOINT: &[Row] = &[
    (
        By::Operator,
        "a checkpoint of an earlier tree",
        |world, files| note(files, |_| world.checkpoint(9)),
        "checkpoint.head",
        "checkpoint",
    ),
    (
        By::Operator,
        "a checkpoint of another root",
        |world, files| {
            note(files, |_| world.signer.sign_checkpoint(&Checkpoint { root: Hash([1; 32]), ..head(world) }));
        },
        "checkpoint.head",
        "checkpoint",
    ),
    (
        By::Operator,
        "a checkpoint of another log, by the same key",
        |world, files| {
            let origin = Origin::parse("test-ledger/other").unwrap();
            let other = Signer::from_seed(&origin, [7; 32]);
            note(files, |_| other.sign_checkpoint(&Checkpoint { origin, ..head(world) }));
        },
        "checkpoint.signature",
        "checkpoint",
    ),
    (
        By::Operator,
        "a key by another name",
        |world, files| {
            let origin = Origin::parse("test-ledger/other").unwrap();
            let other = Signer::from_seed(&origin, [7; 32]);
            let text = head(world).text();
            let line = SignedNote::parse(&other.sign_checkpoint(&Checkpoint { origin, ..head(world) }))
                .unwrap()
                .signatures()[0]
                .to_line();
            note(files, |_| format!("{text}\n{line}"));
        },
        "checkpoint.signature",
        "checkpoint",
    ),
    (
        By::Operator,
        "the log's name, another key",
        |world, files| {
            let stranger = Signer::from_seed(&world.origin, [66; 32]);
            note(files, |_| stranger.sign_checkpoint(&head(world)));
        },
        "checkpoint.signature",
        "checkpoint",
    ),
    (
        By::Operator,
        "a signature under two names",
        |world, files| {
            let stranger = Signer::from_seed(&world.origin, [66; 32]).sign_checkpoint(&head(world));
            note(files, |old| format!("{old}{}", stranger.split_once("\n\n").unwrap().1));
        },
        "checkpoint.head",
        "checkpoint",
    ),
    (
        By::Operator,
        "a stranger's line before the log's, which pack.json names instead",
        |world, files| {
            let origin = Origin::parse("test-ledger/other").unwrap();
            let stranger = Signer::from_seed(&origin, [66; 32]);
            let text = head(world).text();
            let line = |note: &str| SignedNote::parse(note).unwrap().signatures()[0].to_line();
            let theirs = line(&stranger.sign_checkpoint(&Checkpoint { origin, ..head(world) }));
            let own = line(&world.signer.sign_checkpoint(&head(world)));
            note(files, |_| format!("{text}\n{theirs}{own}"));
            let named = format!("\"cosignatures\":[{}]", serde_json::Value::from(own.trim_end()));
            replace(files, "pack.json", "\"cosignatures\":[]", &named);
        },
        "checkpoint.head",
        "checkpoint",
    ),
    (
        By::Operator,
        "a signature twice",
        |_, files| note(files, |old| format!("{old}{}", old.split_once("\n\n").unwrap().1)),
        "checkpoint.head",
        "checkpoint",
    ),
    (
        By::Operator,
        "no signature at all",
        |_, files| note(files, |old| format!("{}\n", old.split_once("\n\n").unwrap().0)),
        "checkpoint.signature",
        "checkpoint",
    ),
    (
        By::Operator,
        "one more line in the checkpoint",
        |_, files| note(files, |old| old.replacen("\n\n", "\nmore\n\n", 1)),
        "checkpoint.signature",
        "checkpoint",
    ),
    (
        By::Operator,
        "a checkpoint with carriage returns",
        |_, files| note(files, |old| old.replace('\n', "\r\n")),
        "checkpoint.signature",
        "checkpoint",
    ),
    (
        By::Operator,
        "a size with a zero in front",
        |_, files| note(files, |old| old.replacen("\n10\n", "\n010\n", 1)),
        "checkpoint.signature",
        "checkpoint",
    ),
    (
        By::Operator,
        "text behind the signatures",
        |_, files| note(files, |old| format!("{old}trust me\n")),
        "checkpoint.signature",
        "checkpoint",
    ),
    (
        By::Operator,
        "a checkpoint that is no text",
        |_, files| drop(files.insert("checkpoint".into(), vec![0xff; 40])),
        "checkpoint.signature",
        "checkpoint",
    ),
];

pub(super) const PROOFS: &[Row] = &[
    (
        By::Operator,
        "a proof of another index",
        |_, files| replace(files, PROOF, "index 4", "index 5"),
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "a proof with a hash left out",
        |_, files| path(files, |path| drop(path.pop())),
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "a proof with a hash more",
        |_, files| path(files, |path| path.push(path[0].clone())),
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "a proof with 65 hashes",
        |_, files| path(files, |path| path.resize(65, path[0].clone())),
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "a proof with hashes exchanged",
        |_, files| path(files, |path| path.swap(0, 1)),
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "a proof under an earlier tree",
        |world, files| {
            let sealed = evidence::plan(&world.input_at("a", 9)).unwrap();
            files.insert(PROOF.into(), sealed.read(PROOF).unwrap().unwrap());
        },
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "a proof of another version",
        |_, files| replace(files, PROOF, "tlog-proof@v1", "tlog-proof@v2"),
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "a proof with an extra line",
        |_, files| replace(files, PROOF, "\nindex", "\nextra aGk=\nindex"),
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "a proof with an index in other digits",
        |_, files| replace(files, PROOF, "index 4", "index 04"),
        "log.inclusion",
        PROOF,
    ),
    (
        By::Operator,
        "another entry's proof",
        |_, files| drop(files.insert(PROOF.into(), files["proofs/0000000006.tlog-proof"].clone())),
        "log.inclusion",
        PROOF,
    ),
    (By::Operator, "an empty proof", |_, files| files.get_mut(PROOF).unwrap().clear(), "log.inclusion", PROOF),
];

pub(super) const DERIVED: &[Row] = &[
    (
        By::Operator,
        "another change's document",
        |world, files| drop(files.insert("change.json".into(), world.files("b")["change.json"].clone())),
        "derived.change",
        "change.json",
    ),
    (
        By::Operator,
        "another change's page",
        |world, files| drop(files.insert("index.html".into(), world.files("b")["index.html"].clone())),
        "derived.page",
        "index.html",
    ),
    (
        By::Operator,
        "a page that says nothing of a failure",
        |_, files| replace(files, "index.html", "exit code 1", "exit code 0"),
        "derived.page",
        "index.html",
    ),
    (
        By::Operator,
        "a page that loads something",
        |_, files| replace(files, "index.html", "</head>", "<script src=//x></script></head>"),
        "derived.page",
        "index.html",
    ),
    (
        By::Operator,
        "an earlier state of the change",
        |world, files| {
            let earlier = evidence::plan(&world.input_at("a", 4)).unwrap();
            files.insert("change.json".into(), earlier.read("change.json").unwrap().unwrap());
        },
        "derived.change",
        "change.json",
    ),
    (
        By::Operator,
        "a guide that trusts the key inside",
        |_, files| files.get_mut("VERIFY.md").unwrap().extend(b"Use ledger.pub.\n"),
        "derived.parts",
        "VERIFY.md",
    ),
    (
        By::Operator,
        "an approval taken out",
        |_, files| drop(files.insert("approvals/0000000003-given.json".into(), b"[]".to_vec())),
        "derived.parts",
        "approvals/0000000003-given.json",
    ),
    (
        By::Operator,
        "a plan digest of another plan",
        |_, files| {
            drop(
                files.insert("plan/0000000001-digest.txt".into(), format!("sha256:{}\n", "0".repeat(64)).into_bytes()),
            );
        },
        "derived.parts",
        "plan/0000000001-digest.txt",
    ),
    (
        By::Operator,
        "an extract by another entry's name",
        |_, files| {
            let bytes = files.remove("verify/0000000006-verification.json").unwrap();
            files.insert("verify/0000000004-verification.json".into(), bytes);
        },
        "derived.parts",
        "verify/0000000006-verification.json",
    ),
    (
        By::Operator,
        "an extract too many",
        |_, files| drop(files.insert("rollback/0000000008-rollback.json".into(), b"{}".to_vec())),
        "files.complete",
        "rollback/0000000008-rollback.json",
    ),
    (
        By::Operator,
        "what a step printed, shortened",
        |_, files| files.get_mut("logs/0000000004-step-001-stdout.txt").unwrap().truncate(3),
        "derived.parts",
        "logs/0000000004-step-001-stdout.txt",
    ),
    (
        By::Operator,
        "another key beside the pack",
        |world, files| {
            drop(files.insert(
                "ledger.pub".into(),
                Signer::from_seed(&world.origin, [66; 32]).verifier().spki_pem().into_bytes(),
            ));
        },
        "derived.keys",
        "ledger.pub",
    ),
    (
        By::Operator,
        "the key by another name beside the pack",
        |_, files| replace(files, "ledger.vkey", "acme", "other"),
        "derived.keys",
        "ledger.vkey",
    ),
];

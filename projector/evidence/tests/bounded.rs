//! A pack that is larger than the memory it takes: planned, copied, verified and read for a work sheet, each within 64 MiB.
//!
//! A process of its own, because what is measured is the most memory that the process ever had. `UPM_SOAK=1` makes it nearly as large as a
//! pack may be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::process::Command;

use evidence::sample::Sample;
use evidence::{KeyFile, PackInput, PackLog, Trust, Verdict, verify_pack, worksheet};
use ledger::checkpoint::{Checkpoint, Origin};
use ledger::entry::{EventHeader, First, Header, Road, Salt, commitment};
use ledger::hash::{self, Hash};
use ledger::proof;
use ledger::signing::Signer;
use ledger::tree::{TileId, TileSource};
use projector::approval::Rules;
use projector::document::Context;
use schemas::admit::{self, Scratch};
use schemas::ids::ChangeId;
use schemas::rules;
use serde_json::json;

const BORN_MS: u64 = 1_760_011_200_000;

/// The promise.
const MEMORY_KIB_MAX: u64 = 64 * 1024;

/// A log whose payloads are made when they are asked for, as a store would read them.
#[derive(Clone)]
struct Long {
    /// The first entry and the change's.
    entries: Vec<Vec<u8>>,
    size: u64,
}

impl Long {
    fn leaves(&self) -> OneTile {
        OneTile(self.entries.iter().map(|entry| hash::leaf(entry)).collect())
    }
}

impl PackLog for Long {
    type Error = Infallible;

    fn indices(&self) -> Vec<u64> {
        (1..self.size).collect()
    }

    fn entry(&self, place: usize) -> Result<Vec<u8>, Infallible> {
        Ok(self.entries[place + 1].clone())
    }

    fn stored(&self, place: usize) -> Result<(Salt, Vec<u8>), Infallible> {
        Ok((Salt([1; 16]), payload(place)))
    }

    fn path(&self, place: usize) -> Result<Vec<Hash>, Infallible> {
        Ok(proof::inclusion(&self.leaves(), place as u64 + 1, self.size).unwrap())
    }

    fn behind(&self, _: Range<u64>) -> Result<Vec<Vec<u8>>, Infallible> {
        Ok(Vec::new())
    }
}

/// The leaves of a tree that fits in one tile.
struct OneTile(Vec<Hash>);

impl TileSource for OneTile {
    type Error = Infallible;

    fn tile(&self, _: TileId, _: u16) -> Result<Vec<Hash>, Infallible> {
        Ok(self.0.clone())
    }
}

/// A rollback of nine steps that each printed some 100 kB; the pack has it four times: the event, the section, its member and the text.
fn payload(place: usize) -> Vec<u8> {
    let lines: Vec<_> = (0..2_600).map(|line| format!("{place} wrote line {line} of its output ....\\n")).collect();
    let printed = lines.concat();
    let steps: Vec<String> =
        (0..9).map(|step| format!(r#"{{"cmd":"undo {step}","rc":0,"stdout":"{printed}"}}"#)).collect();
    format!(
        r#"{{"provisioning_event":{{"id":"e-{place}","change_id":"a","timestamp":"2025-10-09T12:00:00Z","phase":"execute","environment":"prod","intent":{{"source":"api","initiator":"user-123","tenant":"acme"}},"rollback":{{"executed":{{"steps":[{}]}}}}}}}}"#,
        steps.join(",")
    )
    .into_bytes()
}

fn log(origin: &Origin, signer: &Signer, events: usize) -> Long {
    let rules = Hash(rules::current().name);
    let first = Header::First(First {
        at: BORN_MS,
        origin: origin.clone(),
        log_key: signer.public_key(),
        admin_keys: vec![Signer::from_seed(origin, [8; 32]).public_key()],
        recovery_key: Signer::from_seed(origin, [9; 32]).public_key(),
        rules,
        stream_created_ms: None,
    });
    let mut entries = vec![first.encode().unwrap()];
    let mut prev = None;
    for place in 0..events {
        let payload = payload(place);
        let (_, phase, masked, facts) =
            admit::derive(&payload, &mut Scratch::default()).map_err(|rejection| rejection.reason).unwrap();
        let index = place as u64 + 1;
        let header = Header::Event(EventHeader {
            change: facts.change,
            seq: place as u64,
            prev,
            id: facts.id,
            phase,
            env: facts.environment,
            class: facts.class,
            probe: facts.probe,
            producer: None,
            has: facts.has,
            outcome: facts.outcome,
            ts: facts.ts,
            at: BORN_MS + index,
            road: Road { epoch: 0, sequence: index },
            commit: commitment(&Salt([1; 16]), &payload),
            size: payload.len() as u64,
            masked,
            rules,
        });
        let entry = header.encode().unwrap();
        prev = Some(hash::leaf(&entry));
        entries.push(entry);
    }
    let size = entries.len() as u64;
    Long { entries, size }
}

/// A sample of that one change.
fn sample(size: u64, root: &Hash) -> Sample {
    let events = size - 1;
    let change = json!({
        "change": "a", "classes": [], "closed": false, "environments": ["prod"], "events": events, "executed": false, "first": 1, "first_at": 0,
        "first_ts": 0, "last": events, "last_at": 0, "last_ts": 0, "outcomes": [], "phases": ["execute"], "probe": false, "started": true,
    });
    serde_json::from_value(json!({
        "drawn": [{"change": change, "number": 1, "rank": "00", "stratum": ""}], "format": 1, "from": "2025-10-09", "origin": "test-ledger/acme",
        "population": 1, "root": root.to_string(), "seed": "s", "size": 1, "strata": [], "to": "2025-10-09", "tree_size": size,
    }))
    .unwrap()
}

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Counts what passes through.
struct Counted<W>(W, u64);

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1 += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "whoever runs the test says how long it may take")]
fn a_pack_takes_far_less_memory_than_it_is_long() {
    let events = if std::env::var_os("UPM_SOAK").is_some() { 250 } else { 40 };
    let origin = Origin::parse("test-ledger/acme").unwrap();
    let signer = Signer::from_seed(&origin, [7; 32]);
    let log = log(&origin, &signer, events);
    let size = log.size;
    let root = proof::root(&log.leaves(), size).unwrap();
    let input = PackInput {
        checkpoint: signer.sign_checkpoint(&Checkpoint { origin: origin.clone(), size, root }),
        context: Context { rules: Rules::new(origin.as_str()), as_of_ms: BORN_MS + size - 1 },
        origin,
        change: ChangeId::parse("a").unwrap(),
        size,
        root,
        cosignatures: Vec::new(),
        log,
        verifier: signer.verifier(),
        keys: None,
        headers: None,
    };
    let pack = evidence::plan(&input).unwrap().seal(&signer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack.zip");
    let mut out = Counted(BufWriter::new(File::create(&path).unwrap()), 0);
    evidence::write(&pack, &mut out).unwrap();
    out.flush().unwrap();
    assert_eq!(out.1, pack.length());
    assert!(out.1 > events as u64 * 3_400_000, "{} bytes", out.1);

    // The rest of a download that broke off is the same bytes, whole files or not.
    let whole = std::fs::metadata(&path).unwrap().len();
    for from in [whole - 10, whole - 5_000_001] {
        let mut rest = Vec::new();
        pack.copy(from..whole, &mut rest).unwrap();
        let mut file = File::open(&path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(from)).unwrap();
        let mut expected = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut expected).unwrap();
        assert!(rest == expected, "from {from}");
    }

    let trust = Trust { key: Some(KeyFile::Vkey(signer.verifier())), ..Trust::default() };
    let report = verify_pack(File::open(&path).unwrap(), &trust);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    let sheets = worksheet::sheet(&sample(size, &root), &trust, |_| File::open(&path));
    assert_eq!(sheets[0].pack, Some(Verdict::Ok));
    assert!(sheets[0].tested.iter().any(|row| row.seen.contains("it is ")), "{:?}", sheets[0].tested);
    let peak = peak_kib();
    assert!(peak <= MEMORY_KIB_MAX, "{} bytes of a pack took {peak} KiB of memory", out.1);
    println!("{} bytes of a pack took {peak} KiB of memory", out.1);

    // The small verifier, held to it by the system: what it may not have, it cannot have.
    let script = format!("ulimit -v {MEMORY_KIB_MAX}; exec \"$@\"");
    let output = Command::new("bash")
        .args(["-c", &script, "bash", env!("CARGO_BIN_EXE_upm-verify")])
        .arg(&path)
        .args(["--key", &signer.verifier().to_vkey()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

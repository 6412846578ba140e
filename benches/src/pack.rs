//! How long an evidence pack of six events takes: made (derived, signed, zipped) and verified, in process, out of entries at hand.
//! What reading them from a store costs is in `views`.

use std::io::Cursor;
use std::time::Instant;

use evidence::{InMemory, KeyFile, PackEntry, PackInput, Trust, Verdict, verify_pack};
use hdrhistogram::Histogram;
use ledger::checkpoint::{Checkpoint, Origin};
use ledger::entry::{EventHeader, First, Header, Road, Salt, commitment};
use ledger::hash::{self, Hash};
use ledger::proof;
use ledger::signing::Signer;
use ledger::tree::{TileId, TileSource};
use projector::approval::Rules;
use projector::document::Context;
use schemas::admit::{Scratch, derive};
use schemas::rules;
use serde::Serialize;

use crate::PackArguments;
use crate::events::{self, Random};
use crate::world::Failure;

/// Events of the change.
const EVENTS: u64 = 6;
const BORN_MS: u64 = 1_775_000_000_000;
/// What is aimed at, milliseconds (p99 of making one, p99 of verifying one).
const AIMS_MS: (f64, f64) = (10.0, 5.0);

/// What a run measured, milliseconds.
#[derive(Serialize)]
struct Measured {
    packs: u64,
    bytes: usize,
    made_p50: f64,
    made_p99: f64,
    verified_p50: f64,
    verified_p99: f64,
}

/// Runs the measurement, prints it, and writes it as JSON where asked.
pub(crate) fn run(arguments: &PackArguments) -> Result<(), Failure> {
    let measured = measure(arguments.packs.max(1))?;
    let Measured { packs, bytes, made_p50, made_p99, verified_p50, verified_p99 } = &measured;
    println!("{packs} packs of {EVENTS} events, {bytes} bytes each");
    println!("made      p50 {made_p50:.2} ms  p99 {made_p99:.2} ms  (aim: p99 {:.0} ms)", AIMS_MS.0);
    println!("verified  p50 {verified_p50:.2} ms  p99 {verified_p99:.2} ms  (aim: {:.0} ms)", AIMS_MS.1);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&measured)?)?;
    }
    Ok(())
}

fn measure(packs: u64) -> Result<Measured, Failure> {
    let origin = Origin::parse("bench/acme")?;
    let signer = Signer::from_seed(&origin, [7; 32]);
    let input = input(&origin, &signer)?;
    let trust = Trust { key: Some(KeyFile::Vkey(signer.verifier())), ..Trust::default() };
    let (mut made, mut verified) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let mut pack = Vec::new();
    for _ in 0..packs {
        pack.clear();
        let start = Instant::now();
        let sealed = evidence::plan(&input)?.seal(&signer)?;
        evidence::write(&sealed, &mut pack)?;
        made.record(micros(start))?;
        let start = Instant::now();
        let report = verify_pack(Cursor::new(&pack), &trust);
        verified.record(micros(start))?;
        if report.verdict != Verdict::Ok {
            return Err(report.to_string().into());
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let ms = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Measured {
        packs,
        bytes: pack.len(),
        made_p50: ms(&made, 0.5),
        made_p99: ms(&made, 0.99),
        verified_p50: ms(&verified, 0.5),
        verified_p99: ms(&verified, 0.99),
    })
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A log of its first entry and one change.
fn input(origin: &Origin, signer: &Signer) -> Result<PackInput, Failure> {
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
    let mut leaves = vec![hash::leaf(&first.encode()?)];
    let mut random = Random::new(42);
    let (mut entries, mut change, mut prev) = (Vec::new(), None, None);
    for number in 0..EVENTS {
        // Five events of the backlog make a change; the sixth joins them.
        let payload = events::event(&mut random, "acme", number).1.replace("CHG-00000001", "CHG-00000000").into_bytes();
        let derived = derive(&payload, &mut Scratch::default());
        let (_, phase, masked, facts) = derived.map_err(|rejection| rejection.to_string())?;
        let (index, salt) = (number + 1, Salt([1; 16]));
        change = Some(facts.change.clone());
        let header = Header::Event(EventHeader {
            change: facts.change,
            seq: number,
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
            commit: commitment(&salt, &payload),
            size: payload.len() as u64,
            masked,
            rules,
        });
        let entry = header.encode()?;
        let leaf = hash::leaf(&entry);
        prev = Some(leaf);
        leaves.push(leaf);
        entries.push(PackEntry { index, entry, salt, payload, path: Vec::new() });
    }
    let tree = OneTile(leaves);
    let size = EVENTS + 1;
    for entry in &mut entries {
        entry.path = proof::inclusion(&tree, entry.index, size)?;
    }
    let root = proof::root(&tree, size)?;
    Ok(PackInput {
        checkpoint: signer.sign_checkpoint(&Checkpoint { origin: origin.clone(), size, root }),
        context: Context { rules: Rules::new(origin.as_str()), as_of_ms: BORN_MS + EVENTS },
        origin: origin.clone(),
        change: change.ok_or("no event")?,
        size,
        root,
        cosignatures: Vec::new(),
        log: InMemory { entries, ..InMemory::default() },
        verifier: signer.verifier(),
        keys: None,
        headers: None,
    })
}

/// The leaves of a tree that fits in one tile.
struct OneTile(Vec<Hash>);

impl TileSource for OneTile {
    type Error = std::convert::Infallible;

    fn tile(&self, _id: TileId, _width: u16) -> Result<Vec<Hash>, Self::Error> {
        Ok(self.0.clone())
    }
}

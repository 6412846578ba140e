//! How fast a population is made and verified, by CPU and by the wall, of headers that are made up as they are asked for: neither a store nor a
//! road is in it. What making up costs is measured and taken off.

use std::fs::File;
use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use evidence::population::{Period, PopulationInput, TenantsInput, verify_population, write};
use evidence::{KeyFile, Trust, Verdict};
use ledger::checkpoint::{Checkpoint, Origin};
use ledger::entry::{EventHeader, First, Header, Heartbeat, Road};
use ledger::frontier::Frontier;
use ledger::hash::{self, Hash};
use ledger::signing::Signer;
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeId, Environment, EventId, Phase};
use serde::Serialize;

use crate::world::{self, Failure};
use crate::{PopulationArguments, usage};

/// Time of entry 0, milliseconds; each entry comes a millisecond later.
const BORN_MS: u64 = 1_760_011_200_000;
/// Events of a change.
const EVENTS: u64 = 5;

/// What a run measured.
#[derive(Serialize)]
struct Measured {
    headers: u64,
    bytes: u64,
    made_per_s: f64,
    made_cpu_us: f64,
    verified_per_s: f64,
    verified_cpu_us: f64,
    peak_mib: f64,
}

/// Runs the measurement, prints it, and writes it as JSON where asked.
pub(crate) fn run(arguments: &PopulationArguments) -> Result<(), Failure> {
    let folder = world::folder(arguments.dir.as_deref())?;
    let measured = measure(arguments.headers.max(3), folder.path())?;
    let Measured { headers, bytes, made_per_s, made_cpu_us, verified_per_s, verified_cpu_us, peak_mib } = &measured;
    println!("{headers} headers, {bytes} bytes");
    println!("made      {made_per_s:>12.0} headers/s  {made_cpu_us:.2} us CPU a header");
    println!("verified  {verified_per_s:>12.0} headers/s  {verified_cpu_us:.2} us CPU a header");
    println!("peak resident {peak_mib:.0} MiB");
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&measured)?)?;
    }
    Ok(())
}

fn measure(headers: u64, dir: &Path) -> Result<Measured, Failure> {
    let made_up = MadeUp::new(headers)?;
    let mut tree = Frontier::default();
    let mut previous = None;
    for index in 0..headers {
        previous = Some(hash::leaf(&made_up.entry(index, previous)?));
        tree.push(previous.unwrap_or(Hash([0; 32])));
    }
    let input = made_up.input(&tree)?;
    let path = dir.join("population.zip");
    usage::forget_peak();
    let pid = std::process::id();
    let (start, before) = (Instant::now(), usage::of_process(pid));
    let (mut making_up_cpu, mut making_up_s) = (0.0, 0.0);
    let mut previous = None;
    let mut entries = |range: Range<u64>| -> Result<Vec<Vec<u8>>, String> {
        let (cpu, wall) = (usage::of_thread(), Instant::now());
        let mut out = Vec::new();
        for index in range {
            let entry = made_up.entry(index, previous).map_err(|error| error.to_string())?;
            previous = Some(hash::leaf(&entry));
            out.push(entry);
        }
        making_up_cpu += usage::of_thread() - cpu;
        making_up_s += wall.elapsed().as_secs_f64();
        Ok(out)
    };
    let out = BufWriter::new(File::create(&path)?);
    let written =
        write(&input, &made_up.signer, &mut entries, None, &mut |_| {}, out).map_err(|error| error.to_string())?;
    let made_s = start.elapsed().as_secs_f64() - making_up_s;
    let made_cpu = usage::of_process(pid) - before - making_up_cpu;
    let trust = Trust { key: Some(KeyFile::Vkey(made_up.signer.verifier())), ..Trust::default() };
    let (start, before) = (Instant::now(), usage::of_process(pid));
    let report = verify_population(File::open(&path)?, &trust, &mut |_, _| {});
    if report.verdict != Verdict::Ok {
        return Err(report.to_string().into());
    }
    let (verified_s, verified_cpu) = (start.elapsed().as_secs_f64(), usage::of_process(pid) - before);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let n = headers as f64;
    Ok(Measured {
        headers,
        bytes: written.bytes,
        made_per_s: n / made_s,
        made_cpu_us: made_cpu * 1e6 / n,
        verified_per_s: n / verified_s,
        verified_cpu_us: verified_cpu * 1e6 / n,
        peak_mib: usage::peak_mib(pid),
    })
}

/// A log that is made up: entry 0, a heartbeat, events of changes with [`EVENTS`] each, a heartbeat.
struct MadeUp {
    headers: u64,
    origin: Origin,
    signer: Signer,
    environment: Environment,
    has: Has,
}

impl MadeUp {
    fn new(headers: u64) -> Result<Self, Failure> {
        let origin = Origin::parse("bench/acme")?;
        let signer = Signer::from_seed(&origin, [7; 32]);
        let mut has = Has::PLAN;
        has.insert(Has::EXECUTION);
        Ok(Self { headers, signer, environment: Environment::parse("prod")?, has, origin })
    }

    fn first(&self, origin: &Origin) -> Header {
        Header::First(First {
            at: BORN_MS,
            origin: origin.clone(),
            log_key: self.signer.public_key(),
            admin_keys: vec![self.signer.public_key()],
            recovery_key: self.signer.public_key(),
            rules: Hash([9; 32]),
            stream_created_ms: None,
        })
    }

    /// The entry at `index`, whose predecessor in the log has the leaf hash `previous`.
    fn entry(&self, index: u64, previous: Option<Hash>) -> Result<Vec<u8>, Failure> {
        let at = BORN_MS + index;
        if index == 0 {
            return Ok(self.first(&self.origin).encode()?);
        }
        if index == 1 || index + 1 == self.headers {
            return Ok(Header::Heartbeat(Heartbeat { at, cosigned: None }).encode()?);
        }
        let (change, seq) = ((index - 2) / EVENTS, (index - 2) % EVENTS);
        let header = EventHeader {
            change: ChangeId::parse(&format!("CHG-{change:08}"))?,
            seq,
            prev: previous.filter(|_| seq > 0),
            id: EventId::parse(&format!("evt-{index:012}"))?,
            phase: *Phase::ALL.get(usize::try_from(seq)?).ok_or("no such phase")?,
            env: Some(self.environment.clone()),
            class: None,
            probe: false,
            producer: None,
            has: self.has,
            outcome: Outcome::Passed,
            ts: i64::try_from(at / 1_000)?,
            at,
            road: Road { epoch: 0, sequence: index },
            commit: previous.unwrap_or(Hash([1; 32])),
            size: 1_300,
            masked: 0,
            rules: Hash([9; 32]),
        };
        Ok(Header::Event(header).encode()?)
    }

    fn input(&self, tree: &Frontier) -> Result<PopulationInput, Failure> {
        let head = Checkpoint { origin: self.origin.clone(), size: tree.size(), root: tree.root() };
        let ledger = Origin::parse("bench/_ledger")?;
        let signer = Signer::from_seed(&ledger, [8; 32]);
        let entry = self.first(&ledger).encode()?;
        let own = Checkpoint { origin: ledger, size: 1, root: hash::leaf(&entry) };
        Ok(PopulationInput {
            origin: self.origin.clone(),
            period: Period::between(BORN_MS + 2, BORN_MS + self.headers - 1)?,
            first: Frontier::default(),
            first_checkpoint: None,
            checkpoint: self.signer.sign_checkpoint(&head),
            cosignatures: Vec::new(),
            consistency: Vec::new(),
            verifier: self.signer.verifier(),
            keys: None,
            tenants: TenantsInput {
                checkpoint: signer.sign_checkpoint(&own),
                entries: vec![entry],
                verifier: signer.verifier(),
                own: None,
            },
        })
    }
}

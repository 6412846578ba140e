//! What an event costs as the log grows, without a nats-server: one thread does what the pipeline's threads do, stage by stage,
//! and the CPU of each stage is read from the kernel. At the end: proofs, a check of the store, look-ups, a rebuild of the views.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use hdrhistogram::Histogram;
use ledger::append::{Cursor, Head, Item, PendingEvent, Turn, commit, extend, load_head, look_up};
use ledger::dedupe::DedupeKey;
use ledger::entry::{Header, Salt, commitment};
use ledger::fsck;
use ledger::hash::Hash;
use ledger::read::Log;
use ledger_rocks::Rocks;
use pipeline::TenantSetup;
use projector::facts::Gist;
use projector_sqlite::{Row, Views};
use schemas::admit::{Scratch, admit};
use schemas::ids::{ChangeId, Subject, Tenant};
use serde::Serialize;

use crate::GrowArguments;
use crate::events::{Random, event};
use crate::usage;
use crate::world::{self, Failure, micros, per_second};

/// Events of a round.
const ROUND: u64 = 4_096;
/// Events that a figure is taken over.
const WINDOW: u64 = 65_536;
/// Questions asked at the end, each kind.
const QUESTIONS: u64 = 20_000;

/// What an event cost, microseconds of CPU, over the last events before `entries`.
#[derive(Clone, Serialize)]
struct Cost {
    entries: u64,
    /// Reading, masking, hashing.
    admit: f64,
    /// Look up, extend, sign.
    extend: f64,
    /// The synced write, on the thread that writes.
    commit: f64,
    /// Flushes and compactions, on `RocksDB`'s threads.
    background: f64,
    /// Core views.
    project: f64,
    resident_mib: f64,
}

impl Cost {
    fn append(&self) -> f64 {
        self.extend + self.commit + self.background
    }
}

/// What a run measured.
#[derive(Serialize)]
struct Grown {
    events: u64,
    bytes_per_event: u64,
    store_bytes_per_event: u64,
    seconds: f64,
    costs: Vec<Cost>,
    /// Cost of appending over the second half ÷ over the first events.
    append_growth: f64,
    peak_mib: f64,
    inclusion_p50_us: u64,
    inclusion_p99_us: u64,
    change_p99_us: u64,
    fsck_entries_per_s: f64,
    rebuild_events_per_s: f64,
}

/// Runs the measurement, prints it, and writes it as JSON where asked.
pub(crate) fn run(arguments: &GrowArguments) -> Result<(), Failure> {
    let folder = world::folder(arguments.dir.as_deref())?;
    let grown = measure(arguments, folder.path())?;
    print!("{grown}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&grown)?)?;
    }
    Ok(())
}

fn measure(arguments: &GrowArguments, dir: &Path) -> Result<Grown, Failure> {
    let tenants = world::tenants(1)?;
    let mut world = world::found(dir, &tenants, &[])?;
    let setup = world.setups.pop().ok_or("no tenant")?;
    let path = dir.join("views.db");
    let mut grower = Grower {
        head: load_head(&world.kv, setup.log)?,
        kv: &world.kv,
        setup: &setup,
        views: Views::open(&path)?,
        scratch: Scratch::default(),
        random: Random::new(arguments.seed),
        bytes: 0,
        spent: Spent::default(),
    };
    usage::forget_peak();
    let start = Instant::now();
    let costs = grower.grow(arguments.events)?;
    let (seconds, bytes) = (start.elapsed().as_secs_f64(), grower.bytes);
    let peak_mib = usage::peak_mib(std::process::id());
    let log = Log::open(&world.kv, setup.log)?;
    let inclusion = inclusions(&log, arguments.seed)?;
    let changes = look_ups(&grower.views, arguments)?;
    drop(grower);
    let (first, last) = (costs.first().ok_or("no figures")?, costs.last().ok_or("no figures")?);
    Ok(Grown {
        events: arguments.events,
        bytes_per_event: bytes / arguments.events.max(1),
        store_bytes_per_event: size_of(&dir.join("ledger"))? / arguments.events.max(1),
        seconds,
        append_growth: last.append() / first.append(),
        peak_mib,
        inclusion_p50_us: inclusion.value_at_quantile(0.5),
        inclusion_p99_us: inclusion.value_at_quantile(0.99),
        change_p99_us: changes.value_at_quantile(0.99),
        fsck_entries_per_s: check(&world.kv, &setup.dedupe)?,
        rebuild_events_per_s: rebuild(&log, &dir.join("rebuilt.db"))?,
        costs,
    })
}

/// CPU seconds by stage.
#[derive(Clone, Copy, Default)]
struct Spent {
    admit: f64,
    extend: f64,
    commit: f64,
    project: f64,
}

struct Grower<'a> {
    kv: &'a Rocks,
    setup: &'a TenantSetup,
    head: Head,
    views: Views,
    scratch: Scratch,
    random: Random,
    bytes: u64,
    spent: Spent,
}

impl Grower<'_> {
    /// Appends events, and says what they cost at 100,000, a million and so on, and at the end.
    fn grow(&mut self, events: u64) -> Result<Vec<Cost>, Failure> {
        let mut marks: Vec<u64> = (5..10).map(|power| 10_u64.pow(power)).take_while(|mark| *mark < events).collect();
        marks.push(events);
        let mut costs = Vec::new();
        let mut done = 0;
        for mark in marks {
            // A figure is over a window, or over all since the last mark at the end: background work comes in lumps.
            let from = if mark == events { done } else { mark.saturating_sub(WINDOW).max(done) };
            done = self.append(done, from)?;
            let (before, background) = (self.spent, background());
            done = self.append(done, mark)?;
            let count = mark - from;
            let each = |after: f64, before: f64| micros(after - before, count);
            costs.push(Cost {
                entries: mark,
                admit: each(self.spent.admit, before.admit),
                extend: each(self.spent.extend, before.extend),
                commit: each(self.spent.commit, before.commit),
                background: each(self::background(), background),
                project: each(self.spent.project, before.project),
                resident_mib: usage::resident_mib(std::process::id()),
            });
        }
        Ok(costs)
    }

    fn append(&mut self, mut from: u64, to: u64) -> Result<u64, Failure> {
        while from < to {
            let end = to.min(from + ROUND);
            self.round(from, end)?;
            from = end;
        }
        Ok(from)
    }

    fn round(&mut self, from: u64, to: u64) -> Result<(), Failure> {
        let tenant = &self.setup.tenant;
        let events: Vec<(String, Vec<u8>)> = (from..to)
            .map(|number| {
                let (phase, text) = event(&mut self.random, tenant.as_str(), number);
                (format!("upm.events.{tenant}.{phase}.bench"), text.into_bytes())
            })
            .collect();
        self.bytes += events.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let at_ms = world::unix_ms();

        let begun = usage::of_thread();
        let (mut items, mut gists) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        // One draw of randomness for a whole round, as in the pipeline.
        let salts: Vec<[u8; 16]> = world::salts(events.len());
        for (((subject, bytes), sequence), salt) in events.iter().zip(from + 1..).zip(salts) {
            let (item, gist) = self.admit(subject, bytes, sequence, at_ms, Salt(salt))?;
            items.push(item);
            gists.push(gist);
        }
        let admitted = usage::of_thread();
        let cursor = Cursor { sequence: to, ..self.head.cursor };
        let turns = [Turn { log: self.setup.log, items, cursor, answered: to }];
        let known = look_up(self.kv, &turns)?;
        let [turn] = turns;
        let sealed = extend(&self.head, turn, &known[0])?.seal(&self.setup.signer);
        let extended = usage::of_thread();
        let (committed, heads) = commit(self.kv, vec![sealed])?;
        let written = usage::of_thread();
        let log = &committed.logs()[0];
        let entry =
            |(row, gist): (&'_ ledger::append::NewRow, &'_ Option<Gist>)| -> (u64, Header, Option<Gist>, Option<u64>) {
                (row.index, row.header.clone(), gist.clone(), row.previous)
            };
        let own: Vec<_> = log.rows.iter().zip(&gists).map(entry).collect();
        let rows: Vec<Row<'_>> = own
            .iter()
            .map(|(index, header, gist, previous)| Row {
                index: *index,
                header,
                payload: &[],
                gist: gist.as_ref(),
                previous: *previous,
            })
            .collect();
        let rows = self.with_first(rows)?;
        let ready = usage::of_thread();
        self.views.project(&rows)?;
        let projected = usage::of_thread();
        drop(rows);
        self.head = heads.into_iter().next().ok_or("no head")?;
        self.spent.admit += admitted - begun;
        self.spent.extend += extended - admitted;
        self.spent.commit += written - extended;
        self.spent.project += projected - ready;
        Ok(())
    }

    /// Entry 0 is the log's own, written at its birth, and the views count it too.
    fn with_first<'r>(&mut self, rows: Vec<Row<'r>>) -> Result<Vec<Row<'r>>, Failure> {
        if self.views.core_cursor()? == 0 {
            let first = Log::open(self.kv, self.setup.log)?.header(0)?.ok_or("no first entry")?;
            self.views.project(&[Row::stored(0, &first, &[])])?;
        }
        Ok(rows)
    }

    fn admit(
        &mut self,
        subject: &str,
        bytes: &[u8],
        sequence: u64,
        at_ms: u64,
        salt: Salt,
    ) -> Result<(Item, Option<Gist>), Failure> {
        let fingerprint = self.setup.dedupe.fingerprint(subject, bytes);
        // Parsed each time here; the pipeline remembers them.
        let parsed = Subject::parse(subject)?;
        let admitted = admit(&parsed, bytes, &mut self.scratch)?;
        let (facts, masked, payload) = (admitted.facts, admitted.masked, admitted.payload.into_owned());
        let gist = Gist::of(&payload, self.scratch.tape(), facts.phase);
        let item = Item::Event(PendingEvent {
            road_sequence: sequence,
            at_ms,
            fingerprint,
            change_key: self.setup.dedupe.change_key(&facts.change),
            salt,
            commit: commitment(&salt, &payload),
            producer: parsed.producer,
            facts,
            payload,
            masked,
            rules: Hash(schemas::rules::current().name),
        });
        Ok((item, gist))
    }
}

/// CPU seconds of `RocksDB`'s own threads.
fn background() -> f64 {
    usage::by_thread().iter().filter(|(name, _)| name.starts_with("rocksdb")).map(|(_, seconds)| seconds).sum()
}

/// Microseconds of audit paths of random entries.
fn inclusions(log: &Log<&std::sync::Arc<Rocks>>, seed: u64) -> Result<Histogram<u64>, Failure> {
    let mut random = Random::new(seed);
    let size = log.head()?.size;
    let mut took = Histogram::new(3)?;
    for _ in 0..QUESTIONS {
        let index = random.next() % size;
        let start = Instant::now();
        let path = log.inclusion(index, size)?;
        took.record(u64::try_from(start.elapsed().as_micros())?)?;
        if path.is_empty() {
            return Err(format!("entry {index} has no path").into());
        }
    }
    Ok(took)
}

/// Microseconds of look-ups of random changes in the views.
fn look_ups(views: &Views, arguments: &GrowArguments) -> Result<Histogram<u64>, Failure> {
    let mut random = Random::new(arguments.seed);
    let mut took = Histogram::new(3)?;
    for _ in 0..QUESTIONS.min(arguments.events) {
        let change = ChangeId::parse(&format!("CHG-{:08}", random.next() % arguments.events.div_ceil(5)))?;
        let start = Instant::now();
        let found = views.change(&change)?;
        took.record(u64::try_from(start.elapsed().as_micros())?)?;
        if found.is_none() {
            return Err(format!("{change} is not in the views").into());
        }
    }
    Ok(took)
}

fn check(kv: &Rocks, dedupe: &DedupeKey) -> Result<f64, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let start = Instant::now();
    let report = fsck::check(
        kv,
        &fsck::Options {
            threads,
            deep: false,
            tenants: &[],
            dedupe: &|_: &Tenant| Some(dedupe.clone()),
            progress: &|_| (),
        },
    );
    if !report.is_sound() {
        return Err(format!("the store is not sound: {:?}", report.findings.first()).into());
    }
    Ok(per_second(report.entries(), start.elapsed().as_secs_f64()))
}

fn rebuild(log: &Log<&std::sync::Arc<Rocks>>, path: &Path) -> Result<f64, Failure> {
    let size = log.head()?.size;
    let mut views = Views::recreate(path)?;
    let start = Instant::now();
    let mut next = 0;
    while next < size {
        let to = size.min(next + 16_384);
        let stored = log.stored_range(next..to, usize::MAX)?;
        let mut stored = stored.into_iter().peekable();
        let mut own = Vec::new();
        for (index, entry) in log.entries(next..to, usize::MAX)? {
            own.push((index, Header::decode(&entry)?, stored.next_if(|(found, _)| *found == index)));
        }
        let rows: Vec<Row<'_>> = own
            .iter()
            .map(|(index, header, stored)| match stored {
                Some((_, stored)) if matches!(header, Header::Event(_)) => {
                    Row::stored(*index, header, &stored.payload).after(stored.previous)
                }
                _ => Row::stored(*index, header, &[]),
            })
            .collect();
        next = views.project(&rows)?;
    }
    Ok(per_second(size, start.elapsed().as_secs_f64()))
}

/// Bytes of all files below a directory.
fn size_of(dir: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for file in std::fs::read_dir(dir)? {
        let meta = file?.metadata()?;
        bytes += meta.len();
    }
    Ok(bytes)
}

impl fmt::Display for Grown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} events of {} bytes ({} in the store), one thread, no nats-server: {:.0} s, peak {:.0} MiB",
            self.events, self.bytes_per_event, self.store_bytes_per_event, self.seconds, self.peak_mib
        )?;
        writeln!(f, "CPU µs an event   at entries     admit   extend   commit  background   project   resident MiB")?;
        for cost in &self.costs {
            writeln!(
                f,
                "                {:>12}  {:>8.2} {:>8.2} {:>8.2}    {:>8.2}  {:>8.2}       {:>8.0}",
                cost.entries, cost.admit, cost.extend, cost.commit, cost.background, cost.project, cost.resident_mib
            )?;
        }
        writeln!(f, "append (extend + commit + background), last ÷ first: {:.2}", self.append_growth)?;
        writeln!(f, "inclusion proof    p50 {} µs  p99 {} µs", self.inclusion_p50_us, self.inclusion_p99_us)?;
        writeln!(f, "change by id       p99 {} µs", self.change_p99_us)?;
        writeln!(f, "fsck               {:.0} entries/s", self.fsck_entries_per_s)?;
        writeln!(f, "rebuild            {:.0} events/s", self.rebuild_events_per_s)
    }
}

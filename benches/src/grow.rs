//! What an event costs as the log grows, without a nats-server: one thread does what the pipeline's threads do, stage by stage,
//! and the CPU of each stage is read from the kernel. With one tenant or with many. At the end, questions ([`crate::asked`]).

use std::fmt;
use std::path::Path;
use std::time::Instant;

use ledger::append::{
    CommittedLog, Cursor, Head, Item, MAX_LOGS, NewRow, PendingEvent, Turn, commit, extend, load_head, look_up,
};
use ledger::entry::{Salt, commitment};
use ledger::hash::Hash;
use ledger::read::Log;
use ledger_rocks::Rocks;
use pipeline::TenantSetup;
use projector::facts::Gist;
use projector_sqlite::{Row, Views};
use schemas::admit::{Scratch, admit};
use schemas::ids::{Subject, Tenant};
use serde::Serialize;

use crate::GrowArguments;
use crate::asked::{self, Answers};
use crate::events::{Random, event};
use crate::usage;
use crate::world::{self, Failure, micros};

/// Events of a round.
const ROUND: u64 = 4_096;
/// Events that a figure is taken over.
const WINDOW: u64 = 65_536;

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

    fn all(&self) -> f64 {
        self.admit + self.append() + self.project
    }
}

/// What a run measured.
#[derive(Serialize)]
struct Grown {
    events: u64,
    tenants: usize,
    bytes_per_event: u64,
    store_bytes_per_event: u64,
    seconds: f64,
    costs: Vec<Cost>,
    /// Cost of appending over the last events ÷ over the first.
    append_growth: f64,
    peak_mib: f64,
    answers: Answers,
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
    let tenants = world::tenants(arguments.tenants)?;
    let world = world::found(dir, &tenants, &[])?;
    let mut grower = Grower {
        kv: &world.kv,
        logs: world.setups.iter().map(|setup| OneLog::open(&world.kv, setup, dir)).collect::<Result<_, _>>()?,
        rounds: 0,
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
    let OneLog { setup, views, sent, .. } = grower.logs.swap_remove(0);
    drop(grower);
    let log = Log::open(&*world.kv, setup.log)?;
    let dedupe =
        |tenant: &Tenant| world.setups.iter().find(|setup| setup.tenant == *tenant).map(|setup| setup.dedupe.clone());
    let answers = asked::ask(&world.kv, &log, &views, (sent, arguments.seed), &dedupe, &dir.join("rebuilt.db"))?;
    let (first, last) = (costs.first().ok_or("no figures")?, costs.last().ok_or("no figures")?);
    Ok(Grown {
        events: arguments.events,
        tenants: tenants.len(),
        bytes_per_event: bytes / arguments.events.max(1),
        store_bytes_per_event: size_of(&dir.join("ledger"))? / arguments.events.max(1),
        seconds,
        append_growth: last.append() / first.append(),
        peak_mib,
        answers,
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

/// A tenant's log while it grows.
struct OneLog<'a> {
    setup: &'a TenantSetup,
    head: Head,
    views: Views,
    /// Events so far.
    sent: u64,
}

impl<'a> OneLog<'a> {
    fn open(kv: &Rocks, setup: &'a TenantSetup, dir: &Path) -> Result<Self, Failure> {
        let mut views = Views::open(&dir.join(format!("{}.db", setup.tenant)))?;
        // Entry 0 is the log's own, written at its birth, and the views count it too.
        let first = Log::open(kv, setup.log)?.header(0)?.ok_or("no first entry")?;
        views.project(&[Row::stored(0, &first, &[])])?;
        Ok(Self { setup, head: load_head(kv, setup.log)?, views, sent: 0 })
    }

    /// The rows of a round into the views.
    fn project(&mut self, log: &CommittedLog, gists: &[Option<Gist>]) -> Result<(), Failure> {
        let mut rows = Vec::with_capacity(gists.len());
        for (NewRow { index, header, previous, .. }, gist) in log.rows.iter().zip(gists) {
            rows.push(Row { index: *index, header, payload: &[], gist: gist.as_ref(), previous: *previous });
        }
        self.views.project(&rows)?;
        Ok(())
    }
}

struct Grower<'a> {
    kv: &'a Rocks,
    logs: Vec<OneLog<'a>>,
    rounds: usize,
    scratch: Scratch,
    random: Random,
    bytes: u64,
    spent: Spent,
}

/// What a round has of one log.
struct Share {
    /// Place of the log.
    log: usize,
    events: Vec<(String, Vec<u8>)>,
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
            self.round(end - from)?;
            from = end;
        }
        Ok(from)
    }

    /// The events of the next round: evenly of as many logs as a round takes, other ones each time where there are more.
    fn shares(&mut self, count: u64) -> Vec<Share> {
        let together = self.logs.len().min(MAX_LOGS);
        let first = self.rounds * together;
        self.rounds += 1;
        let all = self.logs.len();
        let mut shares: Vec<Share> =
            (first..first + together).map(|place| Share { log: place % all, events: Vec::new() }).collect();
        for (_, place) in (0..count).zip((0..together).cycle()) {
            let share = &mut shares[place];
            let log = &mut self.logs[share.log];
            let tenant = &log.setup.tenant;
            let (phase, text) = event(&mut self.random, tenant.as_str(), log.sent);
            log.sent += 1;
            self.bytes += text.len() as u64;
            share.events.push((format!("upm.events.{tenant}.{phase}.bench"), text.into_bytes()));
        }
        shares
    }

    fn round(&mut self, count: u64) -> Result<(), Failure> {
        let shares = self.shares(count);
        let at_ms = world::unix_ms();
        let begun = usage::of_thread();
        let (mut turns, mut gists) = (Vec::with_capacity(shares.len()), Vec::with_capacity(shares.len()));
        for share in &shares {
            let (turn, read) = self.admit_all(share, at_ms)?;
            turns.push(turn);
            gists.push(read);
        }
        let admitted = usage::of_thread();
        let known = look_up(self.kv, &turns)?;
        let mut sealed = Vec::with_capacity(turns.len());
        for ((share, turn), known) in shares.iter().zip(turns).zip(&known) {
            let OneLog { head, setup, .. } = &self.logs[share.log];
            sealed.push(extend(head, turn, known)?.seal(&setup.signer));
        }
        let extended = usage::of_thread();
        let (committed, heads) = commit(self.kv, sealed)?;
        let written = usage::of_thread();
        for ((share, log), gists) in shares.iter().zip(committed.logs()).zip(&gists) {
            self.logs[share.log].project(log, gists)?;
        }
        let projected = usage::of_thread();
        for (share, head) in shares.iter().zip(heads) {
            self.logs[share.log].head = head;
        }
        self.spent.admit += admitted - begun;
        self.spent.extend += extended - admitted;
        self.spent.commit += written - extended;
        self.spent.project += projected - written;
        Ok(())
    }

    fn admit_all(&mut self, share: &Share, at_ms: u64) -> Result<(Turn, Vec<Option<Gist>>), Failure> {
        let OneLog { head, setup, .. } = &self.logs[share.log];
        let (mut items, mut gists) = (Vec::with_capacity(share.events.len()), Vec::with_capacity(share.events.len()));
        let mut cursor = head.cursor;
        // One draw of randomness for all of them, as in the pipeline.
        let salts: Vec<[u8; 16]> = world::salts(share.events.len());
        for ((subject, bytes), salt) in share.events.iter().zip(salts) {
            cursor.sequence += 1;
            let place = Cursor { at_ns: at_ms * 1_000_000, ..cursor };
            let (item, gist) = admit_one(setup, &mut self.scratch, (subject, bytes), place, Salt(salt))?;
            items.push(item);
            gists.push(gist);
        }
        Ok((Turn { log: setup.log, items, cursor, answered: cursor.sequence }, gists))
    }
}

fn admit_one(
    setup: &TenantSetup,
    scratch: &mut Scratch,
    (subject, bytes): (&str, &[u8]),
    place: Cursor,
    salt: Salt,
) -> Result<(Item, Option<Gist>), Failure> {
    let fingerprint = setup.dedupe.fingerprint(subject, bytes);
    // Parsed each time here; the pipeline remembers them.
    let parsed = Subject::parse(subject)?;
    let admitted = admit(&parsed, bytes, scratch)?;
    let (facts, masked, payload) = (admitted.facts, admitted.masked, admitted.payload.into_owned());
    let gist = Gist::of(&payload, scratch.tape(), facts.phase);
    let item = Item::Event(PendingEvent {
        road_sequence: place.sequence,
        at_ms: place.at_ns / 1_000_000,
        fingerprint,
        change_key: setup.dedupe.change_key(&facts.change),
        salt,
        commit: commitment(&salt, &payload),
        producer: parsed.producer,
        facts,
        payload: payload.into(),
        masked,
        rules: Hash(schemas::rules::current().name),
    });
    Ok((item, gist))
}

/// CPU seconds of `RocksDB`'s own threads.
fn background() -> f64 {
    usage::by_thread().iter().filter(|(name, _)| name.starts_with("rocksdb")).map(|(_, seconds)| seconds).sum()
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
            "{} events of {} bytes ({} in the store), {} tenants, one thread, no nats-server: {:.0} s, peak {:.0} MiB",
            self.events, self.bytes_per_event, self.store_bytes_per_event, self.tenants, self.seconds, self.peak_mib
        )?;
        writeln!(
            f,
            "CPU µs an event   at entries     admit   extend   commit  background   project    in all   resident MiB"
        )?;
        for cost in &self.costs {
            writeln!(
                f,
                "                {:>12}  {:>8.2} {:>8.2} {:>8.2}    {:>8.2}  {:>8.2}  {:>8.2}       {:>8.0}",
                cost.entries,
                cost.admit,
                cost.extend,
                cost.commit,
                cost.background,
                cost.project,
                cost.all(),
                cost.resident_mib
            )?;
        }
        writeln!(f, "append (extend + commit + background), last ÷ first: {:.2}", self.append_growth)?;
        write!(f, "{}", self.answers)
    }
}

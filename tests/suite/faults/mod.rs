//! The table of faults: everything that the append path does to its store fails once at each place, in each way.
//!
//! | what fails | what the process knows | what may be on disk | what must hold after the next start |
//! |---|---|---|---|
//! | a read, while starting, looking up, or proving a receipt | it failed | all earlier rounds | the process ends or goes on; nothing is lost |
//! | the write of a birth (ledger, log), *not persisted* | it failed | nothing of it | the birth is done by the next start, once |
//! | the same, *persisted anyway* | it failed | all of it | the next start finds it, and makes no second one |
//! | the write of a round of one log or of many (up to 64 and more), *not persisted* | it failed: nothing is answered | the rounds before | every message is read again, none is in the log twice |
//! | the same, *persisted anyway* | it failed: nothing is answered | all of it | the cursor is behind it: nothing is read again, all is answered |
//! | the write of a round with an administrative act, listed in the ledger's own log | it failed | all of both logs, or nothing | the act is there once, and listed once |
//! | the write of cosignatures beside a checkpoint, both ways | it failed | the lines, or none | rounds go on at once; a line that is there is of its checkpoint |
//! | a round that moves only cursors, both ways | it failed | either cursor | answers are sent again at worst |
//! | one of these after the other, over several starts | as above | as above | as above |
//!
//! The store of a run outlives its processes; so do the views (real `SQLite` files), what producers were told, and every
//! checkpoint that somebody may have seen: what a round released, and what the store showed to a reader at any crash. In the end
//! a last process finishes, and then
//! - whatever was acknowledged is in the log, at the place and with the bytes that were told, and its receipt verifies;
//! - each message of each road is there at most once, and none is missing: the log is what a walk over the roads gives;
//! - the log is a continuation of every checkpoint that was ever seen;
//! - the views are what a rebuild makes.
//!
//! A failure prints its point; `UPM_FAULTS='<point>'` replays that point alone. `UPM_SOAK=1` (`make soak`) tries many more.

#![expect(clippy::cast_possible_truncation, reason = "a test's numbers are small")]

mod faulty;
mod oracle;
mod world;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ledger::kv::{Kv, MemKv};
use ledger_rocks::Rocks;

use upm_tests::Progress;

use faulty::{Fault, Faulty, Op};
use world::{Outside, Rng, World};

/// Points in memory that `make test` and `make soak` try at least.
const SLICE: usize = 600;
const SOAK: usize = 12_000;
/// Points over `RocksDB`, whose every round is a real synced write.
const SLICE_ON_DISK: usize = 12;
const SOAK_ON_DISK: usize = 400;
/// No point takes longer, on a machine of two cores that does something else besides.
const PATIENCE: Duration = Duration::from_mins(3);
/// Histories of several failures, for each seed.
const CHAINS: u64 = 10;
/// One seed in so many has more logs than a round takes.
const WIDE: u64 = 40;

/// One case: a seed, and which operation of each process fails how. Processes beyond the list fail nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    seed: u64,
    faults: Vec<Fault>,
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        write!(out, "{}:{}", self.seed, faults.join(","))
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (seed, faults) = text.split_once(':').ok_or("expected SEED:FAULT,FAULT,…")?;
        let faults: Result<_, _> = faults.split(',').filter(|fault| !fault.is_empty()).map(str::parse).collect();
        Ok(Self { seed: seed.parse().map_err(|_| format!("{seed} is no seed"))?, faults: faults? })
    }
}

fn world_of(seed: u64) -> World {
    if seed % WIDE == WIDE - 1 { World::new(seed, 70, 3) } else { World::new(seed, 1 + (seed % 4) as usize, 12) }
}

/// Runs one point over a store that `open` opens, each time as a new process would, and holds the end to the oracle.
fn try_point<K: Kv>(point: &Point, mut open: impl FnMut() -> K) -> Vec<Vec<Op>> {
    let world = world_of(point.seed);
    // Views sync what they write; that is not what is tried here.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory");
    let mut outside = Outside::new(dir.path());
    let mut rng = Rng(point.seed);
    let mut operations = Vec::new();
    for fault in &point.faults {
        let kv = Faulty::new(open(), Some(*fault));
        let outcome = world.live(&kv, &mut rng, &mut outside);
        // A reader saw what the store showed when the process ended.
        outside.see_all(&world, kv.inner());
        operations.push(kv.operations());
        if outcome.is_ok() {
            break;
        }
    }
    let kv = Faulty::new(open(), None);
    world.live(&kv, &mut rng, &mut outside).expect("nothing fails in the last process");
    operations.push(kv.operations());
    drop(kv);
    oracle::check(&world, &open(), &outside);
    operations
}

fn try_in_memory(point: &Point) -> Vec<Vec<Op>> {
    let kv = Arc::new(MemKv::new());
    named(point, || try_point(point, || Arc::clone(&kv)))
}

fn try_on_disk(point: &Point) {
    let dir = tempfile::tempdir().expect("a directory");
    named(point, || try_point(point, || Rocks::open(dir.path()).expect("the store opens")));
}

/// Names the point where something does not hold.
fn named<T>(point: &Point, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|cause| {
        eprintln!("\nthe point that failed: {point}\nreplay it: UPM_FAULTS='{point}' cargo test --release --workspace --test suite faults::");
        std::panic::resume_unwind(cause)
    })
}

/// Every single fault of a run that would otherwise be sound: each read, and each write both ways.
fn singles(seed: u64) -> Vec<Point> {
    let sound = try_in_memory(&Point { seed, faults: Vec::new() });
    let point = |fault| Point { seed, faults: vec![fault] };
    let of_place = |(place, operation): (usize, &Op)| match operation {
        Op::Read => vec![point(Fault::read(place))],
        Op::Write | Op::Aside => vec![point(Fault::lost(place)), point(Fault::kept(place))],
    };
    sound[0].iter().enumerate().flat_map(of_place).collect()
}

/// Several processes, one after the other, each with its fault.
fn chains(seed: u64) -> impl Iterator<Item = Point> {
    (0..CHAINS).map(move |number| {
        let mut rng = Rng(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let faults = (0..2 + rng.below(3)).map(|_| {
            let place = rng.below(60) as usize;
            match rng.below(3) {
                0 => Fault::read(place),
                1 => Fault::lost(place),
                _ => Fault::kept(place),
            }
        });
        Point { seed, faults: faults.collect() }
    })
}

fn replayed() -> Option<Point> {
    let text = std::env::var("UPM_FAULTS").ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("UPM_FAULTS={text}: {error}")))
}

fn soak() -> bool {
    std::env::var_os("UPM_SOAK").is_some()
}

#[test]
fn invariant_any_single_fault_or_chain_of_them_leaves_a_sound_ledger() {
    if let Some(point) = replayed() {
        try_in_memory(&point);
        return;
    }
    let (enough, mut tried) = (if soak() { SOAK } else { SLICE }, 0);
    let mut progress = Progress::new("points in memory", enough, PATIENCE);
    let (mut writes, mut seed) = (BTreeSet::new(), 0);
    while tried < enough {
        // Wide ones have a test of their own.
        seed += u64::from(seed % WIDE == WIDE - 1);
        let (of_writes, of_reads): (Vec<_>, Vec<_>) =
            singles(seed).into_iter().partition(|point| point.faults[0].is_write());
        // Every write, both ways; of the reads, which are ten times as many and do less harm, a slice of every seed.
        let step = if soak() { 1 } else { 19 };
        let of_reads = of_reads.into_iter().skip(seed as usize % step).step_by(step);
        for point in of_writes.into_iter().chain(of_reads).chain(chains(seed)) {
            try_in_memory(&point);
            if let [fault] = point.faults[..] {
                writes.extend(fault.is_write().then_some((seed, fault)));
            }
            tried += 1;
            progress.done(tried, &point);
        }
        seed += 1;
    }
    println!("{tried} points over seeds 0..{seed}, {} of them single writes that failed", writes.len());
    assert!(writes.len() > 250, "only {} writes failed", writes.len());
    let of_one = &try_in_memory(&Point { seed: 1, faults: Vec::new() })[0];
    assert!(of_one.contains(&Op::Aside), "cosignatures are kept in every history: {of_one:?}");
}

#[test]
fn invariant_more_logs_than_a_round_takes_survive_a_fault_in_any_round() {
    if replayed().is_some() {
        return;
    }
    let seed = WIDE - 1;
    let all = singles(seed);
    let (step, skip) = if soak() { (29, 0) } else { (389, 41) };
    let mut widest = 0;
    let mut progress = Progress::new("points with 70 logs", all.len() / step, PATIENCE);
    for point in all.iter().skip(skip).step_by(step) {
        try_in_memory(point);
        widest += 1;
        progress.done(widest, point);
    }
    println!("{widest} points with 70 logs");
    assert!(widest > 5, "{} points in all", all.len());
}

#[test]
fn invariant_faults_over_the_real_store_leave_a_sound_ledger() {
    if let Some(point) = replayed() {
        return try_on_disk(&point);
    }
    let enough = if soak() { SOAK_ON_DISK } else { SLICE_ON_DISK };
    let mut progress = Progress::new("points over RocksDB", enough, PATIENCE);
    let mut tried = 0;
    for seed in 1_000.. {
        let writes = singles(seed).into_iter().filter(|point| point.faults[0].is_write());
        for point in writes.skip(seed as usize % 5).step_by(5).chain(chains(seed).take(1)) {
            try_on_disk(&point);
            tried += 1;
            progress.done(tried, &point);
        }
        if tried >= enough {
            break;
        }
    }
    println!("{tried} points over RocksDB, from seed 1000 on");
}

#[test]
fn a_point_reads_back_as_it_is_printed() {
    for text in ["17:", "17:0-", "17:12r,3-,5+"] {
        assert_eq!(text.parse::<Point>().expect("a point").to_string(), text);
    }
    for text in ["", "17", "x:1r", "17:1", "17:r", "17:1x"] {
        assert!(text.parse::<Point>().is_err(), "{text}");
    }
}

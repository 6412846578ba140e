//! How fast entries are appended, printed and not judged: `cargo test --release -p upm-ledger-rocks -- --ignored --nocapture`.
//! CPU is the kernel's count for the appending thread, which a busy machine disturbs less than the clock; `RocksDB`'s own
//! threads are told apart.

#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use ledger::append::{Cursor, Head, Item, LogId, PendingEvent, Turn, commit, extend, load_head, look_up};
use ledger::entry::commitment;
use ledger::hash::Hash;
use ledger::kv::Kv;
use ledger_rocks::Rocks;
use schemas::ids::{ChangeId, EventId};

use crate::world::{Message, Rng, TenantWorld, World, facts};

const ROUND: u32 = 2_000;
const PARTS: u32 = 4;
const ROUNDS_OF_A_PART: u32 = 50;

/// About 1.3 KB of JSON with as much chance in it as in a real event: names and numbers differ, words repeat.
fn payload(rng: &mut Rng, number: u64) -> Vec<u8> {
    let mut text = format!(
        "{{\"provisioning_event\":{{\"id\":\"evt-{number}\",\"phase\":\"plan\",\"intent\":{{\"source\":\"api\"}},"
    );
    while text.len() < 1_300 {
        let (a, b) = (rng.next(), rng.below(1000));
        write!(text, "\"resource-{b}\":{{\"arn\":\"arn:aws:ec2:eu-west-1:{a:x}\",\"action\":\"create\"}},").unwrap();
    }
    text.push_str("\"end\":0}}");
    text.into_bytes()
}

fn item(tenant: &TenantWorld, rng: &mut Rng, sequence: u64) -> Item {
    let change = ChangeId::parse(&format!("CHG-{}", sequence / 6)).unwrap();
    let message = Message { payload: payload(rng, sequence), change, good: true, at_ms: sequence, masked: 0 };
    let mut facts = facts(&message);
    facts.id = EventId::parse(&format!("evt-{sequence}")).unwrap();
    let salt = rng.salt();
    Item::Event(PendingEvent {
        road_sequence: sequence,
        at_ms: message.at_ms,
        fingerprint: tenant.fingerprint(&message),
        change_key: tenant.dedupe.change_key(&message.change),
        salt,
        commit: commitment(&salt, &message.payload),
        producer: None,
        facts,
        payload: message.payload.into(),
        masked: 0,
        rules: Hash([7; 32]),
    })
}

/// Seconds of CPU.
#[derive(Default)]
struct Spent {
    look_up: f64,
    extend: f64,
    seal: f64,
    commit: f64,
    receipts: f64,
}

/// Seconds of CPU that this thread has used, from the kernel's scheduler.
fn cpu() -> f64 {
    schedstat("/proc/thread-self/schedstat".as_ref())
}

/// The same for all threads of the process.
fn cpu_of_all() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| schedstat(&task.unwrap().path().join("schedstat"))).sum()
}

fn schedstat(path: &Path) -> f64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn round(kv: &impl Kv, tenant: &TenantWorld, head: &Head, turn: Turn, spent: &mut Spent) -> Head {
    let started = cpu();
    let turns = [turn];
    let known = look_up(kv, &turns).unwrap();
    let looked_up = cpu();
    let [turn] = turns;
    let extension = extend(head, turn, &known[0]).unwrap();
    let extended = cpu();
    let sealed = extension.seal(&tenant.signer);
    let signed = cpu();
    let (committed, mut heads) = commit(kv, vec![sealed]).unwrap();
    let written = cpu();
    let indices: Vec<u64> = committed.logs()[0].rows.iter().step_by(10).map(|row| row.index).collect();
    let receipts = committed.receipts(kv, 0, &indices).unwrap();
    assert_eq!(receipts.len(), indices.len());
    spent.look_up += looked_up - started;
    spent.extend += extended - looked_up;
    spent.seal += signed - extended;
    spent.commit += written - signed;
    spent.receipts += cpu() - written;
    heads.remove(0)
}

#[test]
#[ignore = "a measurement, not a test"]
fn append_rate() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kv = Rocks::open(dir.path()).unwrap();
    let (world, mut rng) = (World::new(1, 1, 1), Rng(1));
    world.found(&kv, &mut rng).unwrap();
    let tenant = &world.tenants[0];
    let mut head = load_head(&kv, LogId(1)).unwrap();
    let (mut spent, mut wall, mut last, mut appended) = (Spent::default(), 0.0, 0.0, 0.0);
    let others = cpu_of_all() - cpu();
    for number in 0..PARTS * ROUNDS_OF_A_PART {
        let (first, end) = (u64::from(number * ROUND) + 1, u64::from((number + 1) * ROUND));
        let items: Vec<Item> = (first..=end).map(|sequence| item(tenant, &mut rng, sequence)).collect();
        let cursor = Cursor { sequence: end, ..Cursor::default() };
        let started = Instant::now();
        head = round(&kv, tenant, &head, Turn { log: LogId(1), items, cursor, answered: 0 }, &mut spent);
        wall += started.elapsed().as_secs_f64();
        if (number + 1) % ROUNDS_OF_A_PART == 0 {
            let total = spent.look_up + spent.extend + spent.seal + spent.commit;
            let events = f64::from(ROUNDS_OF_A_PART * ROUND);
            let (rate, us) = (events / (wall - last), (total - appended) * 1e6 / events);
            println!("{end:>8} events: {rate:>7.0}/s, {us:.2} us of CPU each in the last part");
            (last, appended) = (wall, total);
        }
    }
    let us = |seconds: f64| seconds * 1e6 / f64::from(PARTS * ROUNDS_OF_A_PART * ROUND);
    let Spent { look_up, extend, seal, commit, receipts } = spent;
    println!(
        "CPU per event: look_up {:.2} us, extend {:.2}, seal {:.2}, commit {:.2}, RocksDB's threads {:.2}; a receipt {:.2}",
        us(look_up),
        us(extend),
        us(seal),
        us(commit),
        us(cpu_of_all() - cpu() - others),
        us(receipts) * 10.0
    );
    let names = ["cur-size-all-mem-tables", "estimate-table-readers-mem", "total-sst-files-size"];
    let [buffers, readers, tables] = names.map(|name| kv.property(&format!("rocksdb.{name}")) >> 20);
    println!("{buffers} MB of write buffers, {readers} MB of table readers; {tables} MB of tables on disk");
}

//! The store half of the ledger over `RocksDB`: the suites of `ledger/tests/store`, and what only a disk can do.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic, in its helpers too")]
#![expect(clippy::cast_possible_truncation, reason = "logs of a test have hundreds of entries")]

#[path = "../../tests/store/contract.rs"]
mod contract;
#[path = "../../tests/store/faults.rs"]
mod faults;
#[path = "../../tests/store/oracle.rs"]
mod oracle;
#[path = "../../tests/store/world.rs"]
mod world;

#[path = "store/disk.rs"]
mod disk;
#[path = "store/rate.rs"]
mod rate;

use ledger_rocks::Rocks;

#[test]
fn rocks_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract::check(&Rocks::open(dir.path()).unwrap());
}

#[test]
fn invariant_every_failing_write_leaves_a_sound_ledger() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = 0;
    faults::each_write_fails_both_ways(2, || {
        stores += 1;
        let dir = root.path().join(stores.to_string());
        move || Rocks::open(&dir).unwrap()
    });
}

#[test]
fn invariant_random_crashes_leave_a_sound_ledger() {
    for seed in 200..206 {
        let dir = tempfile::tempdir().unwrap();
        faults::random_crashes(seed, 80, || Rocks::open(dir.path()).unwrap());
    }
}

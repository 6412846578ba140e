//! The store half of the ledger over `MemKv`. The same suites run over `RocksDB` in `ledger-rocks`.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic, in its helpers too")]
#![expect(clippy::cast_possible_truncation, reason = "logs of a test have hundreds of entries")]

mod acts;
mod births;
mod contract;
mod copied_acts;
mod cosigned;
mod cut_copies;
mod documented;
mod faults;
mod fsck;
mod oracle;
mod refusals;
mod replica;
mod world;

use std::sync::Arc;

use ledger::kv::MemKv;

#[test]
fn mem_kv_keeps_the_contract() {
    contract::check(&MemKv::new());
}

#[test]
fn invariant_every_failing_write_leaves_a_sound_ledger() {
    faults::each_write_fails_both_ways(1, || {
        let kv = Arc::new(MemKv::new());
        move || Arc::clone(&kv)
    });
}

#[test]
fn invariant_random_crashes_leave_a_sound_ledger() {
    for seed in 100..160 {
        let kv = Arc::new(MemKv::new());
        faults::random_crashes(seed, 80, || Arc::clone(&kv));
    }
}

/// Logs of several full tiles: receipts of new entries come from a round's memory, those of duplicates from stored tiles.
#[test]
fn invariant_crashes_across_tiles_leave_a_sound_ledger() {
    for seed in 1..4 {
        let kv = Arc::new(MemKv::new());
        faults::random_crashes(seed, 1_200, || Arc::clone(&kv));
    }
}

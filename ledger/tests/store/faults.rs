//! The failure story: the store fails in one write, either without keeping the rows or keeping them all the same; the process is
//! gone with everything it knew, another one starts from what the store holds, and in the end nothing is lost, doubled or
//! told otherwise than it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ledger::kv::{Batch, Kv, KvError, Row, Space};

use crate::oracle;
use crate::world::{Rng, World};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    NotPersisted,
    PersistedAnyway,
}

/// A store whose n-th write fails, and all after it.
pub(crate) struct Faulty<K> {
    inner: K,
    writes: AtomicU64,
    fails_at: u64,
    fault: Fault,
    failed: AtomicBool,
}

impl<K> Faulty<K> {
    pub(crate) fn new(inner: K, fails_at: u64, fault: Fault) -> Self {
        Self { inner, writes: AtomicU64::new(0), fails_at, fault, failed: AtomicBool::new(false) }
    }
}

impl<K: Kv> Kv for Faulty<K> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.inner.get(space, key)
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        self.inner.get_many(space, keys)
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        self.inner.range(space, from, to, limit)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(KvError::WriteAfterFailure);
        }
        if self.writes.fetch_add(1, Ordering::SeqCst) != self.fails_at {
            return self.inner.write(batch);
        }
        self.failed.store(true, Ordering::SeqCst);
        if self.fault == Fault::PersistedAnyway {
            self.inner.write(batch)?;
        }
        Err(KvError::Write { source: "injected".into() })
    }
}

/// For every write of a run and both kinds of fault: the run with that fault, then a restart to the end, then the oracle.
/// `store` makes a fresh store, and gives what opens it again.
pub(crate) fn each_write_fails_both_ways<K: Kv, O: FnMut() -> K>(seed: u64, mut store: impl FnMut() -> O) {
    let world = World::new(seed, 2, 60);
    let mut fails_at = 0;
    loop {
        for fault in [Fault::NotPersisted, Fault::PersistedAnyway] {
            let (mut open, mut told, mut rng) = (store(), Vec::new(), Rng(seed));
            let crashed = world.live(&Faulty::new(open(), fails_at, fault), &mut rng, &mut told).is_err();
            world.live(&open(), &mut rng, &mut told).unwrap();
            oracle::check(&world, &open(), &told);
            if !crashed {
                // The run has no such write: all of them were tried.
                assert!(fails_at > 10, "only {fails_at} writes in the whole run");
                return;
            }
        }
        fails_at += 1;
    }
}

/// Crash after crash at random writes, until one life reaches the end. Roads of `messages` each.
pub(crate) fn random_crashes<K: Kv>(seed: u64, messages: u64, mut open: impl FnMut() -> K) {
    let world = World::new(seed, 3, messages);
    let (mut told, mut rng) = (Vec::new(), Rng(seed));
    for _ in 0..8 {
        let fault = if rng.below(2) == 0 { Fault::NotPersisted } else { Fault::PersistedAnyway };
        let kv = Faulty::new(open(), rng.below(6), fault);
        if world.live(&kv, &mut rng, &mut told).is_ok() {
            break;
        }
    }
    world.live(&open(), &mut rng, &mut told).unwrap();
    oracle::check(&world, &open(), &told);
}

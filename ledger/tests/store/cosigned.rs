//! Cosignatures beside checkpoints: kept, merged, served with them, in receipts; and a store that refuses to write them harms nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use ledger::append::LogId;
use ledger::cosignature::{Cosigner, Statement, cosignatures};
use ledger::cosigned::{self, KeepError};
use ledger::kv::{Batch, Kv, KvError, MemKv, Row, Space};
use ledger::layout::Key;
use ledger::note::{KeyName, NoteSignature, SignedNote};
use ledger::read::Log;

use crate::world::{Rng, World};

fn cosigner(seed: u8) -> Cosigner {
    Cosigner::ed25519(KeyName::parse(&format!("witness.example/{seed}")).unwrap(), [seed; 32])
}

fn line<K: Kv>(log: &Log<K>, size: u64, seed: u8, time: u64) -> NoteSignature {
    let note = SignedNote::parse(&log.checkpoint(size).unwrap().unwrap()).unwrap();
    cosigner(seed).cosign(&Statement::parse(note.text()).unwrap(), time).unwrap()
}

fn lived(kv: impl Kv + Clone) -> World {
    let world = World::new(1, 1, 40);
    world.live(&kv, &mut Rng(1), &mut Vec::new()).unwrap();
    world
}

#[test]
fn cosignatures_join_their_checkpoint() {
    let kv = MemKv::new();
    let world = lived(&kv);
    let log = Log::open(&kv, LogId(1)).unwrap();
    let sizes = log.signed_sizes(0, 100).unwrap();
    let (old, newest) = (sizes[1], *sizes.last().unwrap());
    assert_eq!(log.newest_cosigned().unwrap(), None);
    assert_eq!(log.cosigned().unwrap(), None);
    let bare = log.checkpoint(old).unwrap().unwrap();
    assert_eq!(log.checkpoint_with_cosignatures(old).unwrap().as_ref(), Some(&bare));

    cosigned::keep(&log, old, &[line(&log, old, 1, 10)]).unwrap();
    let note = cosigned::keep(&log, old, &[line(&log, old, 1, 99), line(&log, old, 2, 20)]).unwrap();
    let keys = [1, 2, 3].map(|seed| cosigner(seed).verifier());
    let times: Vec<u64> = cosignatures(&note, &keys).unwrap().iter().map(|it| it.time).collect();
    assert_eq!(times, [10, 20], "the older line of a key stays");
    assert_eq!(log.checkpoint_with_cosignatures(old).unwrap(), Some(note.to_text()));
    assert_eq!(log.checkpoint(old).unwrap(), Some(bare), "the checkpoint itself is as it was signed");
    assert!(ledger::checkpoint::open(&note.to_text(), &world.tenants[0].signer.verifier()).is_ok());

    // In force: what was enough.
    assert_eq!(log.newest_cosigned().unwrap(), None);
    cosigned::set_newest(&log, old).unwrap();
    assert_eq!(log.newest_cosigned().unwrap(), Some((old, note.to_text())));
    let cosigned_head = log.cosigned().unwrap().unwrap();
    assert_eq!((cosigned_head.size, cosigned_head.root, cosigned_head.time), (old, log.root(old).unwrap(), 20));
    assert_eq!(cosigned_head.witness.as_str(), "witness.example/2");
    let receipt = log.receipt_at(1, old).unwrap();
    assert!(receipt.to_text().contains("\u{2014} witness.example/2 "));
    assert!(!log.receipt(1).unwrap().to_text().contains("witness.example"));
    cosigned::keep(&log, newest, &[line(&log, newest, 3, 30)]).unwrap();
    cosigned::set_newest(&log, newest).unwrap();
    cosigned::set_newest(&log, old).unwrap();
    assert_eq!(log.newest_cosigned_size().unwrap(), Some(newest), "it never goes back");
    assert!(log.receipt(1).unwrap().to_text().contains("\u{2014} witness.example/3 "));
    assert!(log.newest_checkpoint_with_cosignatures().unwrap().contains("witness.example/3"));

    let missing = (1..newest).find(|size| !sizes.contains(size)).unwrap();
    let refused = cosigned::keep(&log, missing, &[]);
    assert!(matches!(refused, Err(KeepError::NoCheckpoint { size, .. }) if size == missing));
}

#[test]
fn a_note_never_grows_past_what_can_be_read() {
    let kv = MemKv::new();
    lived(&kv);
    let log = Log::open(&kv, LogId(1)).unwrap();
    let size = log.head().unwrap().size;
    let lines: Vec<NoteSignature> = (1..=80).map(|seed| line(&log, size, seed, 1)).collect();
    let note = cosigned::keep(&log, size, &lines).unwrap();
    assert_eq!(note.signatures().len(), 64);
    assert_eq!(cosigned::keep(&log, size, &lines).unwrap(), note);
}

#[test]
fn a_flipped_bit_in_a_row_is_seen() {
    let kv = MemKv::new();
    lived(&kv);
    let log = Log::open(&kv, LogId(1)).unwrap();
    let size = log.head().unwrap().size;
    cosigned::keep(&log, size, &[line(&log, size, 1, 10)]).unwrap();
    cosigned::set_newest(&log, size).unwrap();
    for key in [Key::Cosignatures(LogId(1), size), Key::NewestCosigned(LogId(1))] {
        let row = kv.get(key.space(), &key.bytes()).unwrap().unwrap();
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            put(&kv, &key, &flipped);
            assert!(log.newest_cosigned().is_err(), "{key:?} bit {bit}");
        }
        put(&kv, &key, &row);
    }
    assert!(log.newest_cosigned().unwrap().is_some());
}

fn put(kv: &MemKv, key: &Key, row: &[u8]) {
    let mut batch = Batch::default();
    batch.put(key.space(), &key.bytes(), &[row]);
    kv.write(batch).unwrap();
}

/// A store whose aside writes fail, and which counts the others.
#[derive(Default)]
struct Grudging {
    kv: MemKv,
    refuses: AtomicBool,
}

impl Kv for Grudging {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.kv.get(space, key)
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        self.kv.get_many(space, keys)
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        self.kv.range(space, from, to, limit)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        self.kv.write(batch)
    }

    fn write_aside(&self, batch: Batch) -> Result<(), KvError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(KvError::Write { source: "no".into() });
        }
        self.kv.write(batch)
    }
}

#[test]
fn a_store_that_takes_no_cosignature_takes_rounds() {
    let kv = Grudging::default();
    let world = World::new(1, 1, 40);
    world.found(&&kv, &mut Rng(1)).unwrap();
    kv.refuses.store(true, Ordering::Relaxed);
    let log = Log::open(&kv, LogId(1)).unwrap();
    assert!(cosigned::keep(&log, 1, &[line(&log, 1, 1, 1)]).is_err());
    world.live(&&kv, &mut Rng(1), &mut Vec::new()).unwrap();
    assert!(log.head().unwrap().size > 1);
    assert_eq!(log.cosignatures(1).unwrap(), None);
    kv.refuses.store(false, Ordering::Relaxed);
    cosigned::keep(&log, 1, &[line(&log, 1, 1, 1)]).unwrap();
    assert!(log.cosignatures(1).unwrap().is_some());
}

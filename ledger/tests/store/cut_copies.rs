//! The failure story: whoever copies a ledger is killed, at any of its writes, whether that was kept or not. What is there by then
//! must be a ledger: sound for fsck, good to copy from (that is what a restore does), and good to go on with as the one that signs.
//! The table: a copier's write is that of the ledger's birth, of a log's birth with its listing, of entries, of an act with its
//! listing; each fails once *not persisted*, once *persisted anyway*, in chunks of several sizes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::append::LogId;
use ledger::birth;
use ledger::fsck::{self, Options};
use ledger::governance::Act;
use ledger::kv::{Batch, Kv, MemKv, Space};
use ledger::layout::Key;
use ledger::read::Log;
use ledger::replica::{Chunk, Copier, KvSource, Limits, Listing, Progress, ReplicaError, Source, SourceError, Trust};
use schemas::ids::Tenant;

use crate::acts::hold;
use crate::faults::{Fault, Faulty};
use crate::replica::{Leader, rows};

const SEED: u64 = 51;
const TENANTS: usize = 3;

/// Acts on two logs, with events between them in all, and with tenants that come between acts.
fn acted_on() -> Leader {
    let mut leader = Leader::new(SEED, TENANTS);
    (0..4).for_each(|_| leader.round());
    leader.act(0, &hold(1));
    leader.act(0, &hold(2));
    let mut leader = leader.with_all();
    (0..6).for_each(|_| leader.round());
    leader.act(1, &hold(3));
    leader.round();
    leader.act(0, &Act::Release { id: "case-1".to_owned(), reason: "over".to_owned() });
    leader.act(1, &hold(4));
    (0..3).for_each(|_| leader.round());
    leader
}

fn copier<'a, K: Kv, S: Source>(leader: &'a Leader, kv: &'a K, source: S) -> Copier<'a, K, S> {
    Copier::new(kv, source, leader.trust(), |tenant| leader.dedupe(tenant))
}

fn is_sound(leader: &Leader, kv: &impl Kv, when: &str) {
    let dedupe = |tenant: &Tenant| leader.dedupe(tenant);
    let options = Options { threads: 1, deep: true, tenants: &[], dedupe: &dedupe, progress: &|_| () };
    let report = fsck::check(kv, &options);
    assert!(report.is_sound(), "{when}: {:#?}", report.findings);
}

/// Goes on with a copy as the one that signs: an act on every log that is there.
fn is_gone_on_with(kv: MemKv, when: &str) {
    let mut promoted = Leader::over(kv, SEED, TENANTS);
    for number in 0..TENANTS {
        let log = birth::log_of(&promoted.kv, &promoted.world.tenants[number].tenant).unwrap();
        if log.is_some() {
            promoted.act(number, &hold(100 + number as u64));
        }
    }
    let promoted = promoted.with_all();
    is_sound(&promoted, &promoted.kv, &format!("{when}, gone on with"));
}

fn clone_of(kv: &MemKv) -> MemKv {
    let copy = MemKv::new();
    let mut all = Batch::default();
    for space in Space::ALL {
        for (key, value) in kv.range(space, &[0], &[255], usize::MAX).unwrap() {
            all.put(space, &key, &[&value]);
        }
    }
    copy.write(all).unwrap();
    copy
}

#[test]
fn invariant_a_copy_that_was_cut_off_is_a_ledger() {
    let leader = acted_on();
    is_sound(&leader, &leader.kv, "the leader itself");
    let dedupe = |tenant: &Tenant| leader.dedupe(tenant);
    for entries in [1, 3, 20, 8_192] {
        let limits = Limits { entries, bytes: 1 << 20 };
        for fails_at in 0.. {
            let mut crashed = false;
            for fault in [Fault::NotPersisted, Fault::PersistedAnyway] {
                let when = format!("chunks of {entries}, write {fails_at}, {fault:?}");
                let kv = Arc::new(MemKv::new());
                let faulty = Faulty::new(Arc::clone(&kv), fails_at, fault);
                crashed = copier(&leader, &faulty, leader.source()).catch_up(limits, |_| ()).is_err();
                if birth::ledger_name(&*kv).unwrap().is_some() {
                    is_sound(&leader, &kv, &when);
                    // Restored: what it has, and nothing is left waiting.
                    let (restored, mut waiting) = (MemKv::new(), 0);
                    let source = KvSource::new(&*kv, dedupe);
                    let done = copier(&leader, &restored, source).catch_up(limits, |now| waiting = now.waiting);
                    done.unwrap_or_else(|error| panic!("{when}: {error}"));
                    assert_eq!((rows(&restored), waiting), (rows(&kv), 0), "{when}");
                    is_gone_on_with(restored, &when);
                }
                copier(&leader, &kv, leader.source()).catch_up(limits, |_| ()).unwrap();
                assert_eq!(rows(&kv), rows(&leader.kv), "{when}");
            }
            if !crashed {
                assert!(fails_at > 10, "only {fails_at} writes in chunks of {entries}");
                break;
            }
        }
    }
}

/// Each write of a copier that follows a leader that goes on, to see what a follower has at any moment.
#[test]
fn invariant_a_follower_is_a_ledger_at_every_moment() {
    for seed in 0..8 {
        let mut leader = Leader::new(seed, 2).with_all();
        let kv = MemKv::new();
        for step in 0..12_u64 {
            leader.round();
            if step % 3 == 1 {
                leader.act((step % 2) as usize, &hold(step));
            }
            let limits = Limits { entries: 1 + step % 5, bytes: 4_000 };
            copier(&leader, &kv, leader.source()).round(limits).unwrap();
            is_sound(&leader, &kv, &format!("seed {seed}, step {step}"));
        }
        copier(&leader, &kv, leader.source()).catch_up(Limits::default(), |_| ()).unwrap();
        assert_eq!(rows(&kv), rows(&leader.kv), "seed {seed}");
    }
}

/// Copies all that can be; gives what waits.
fn waits(leader: &Leader, kv: &MemKv, source: impl Source) -> Result<Progress, ReplicaError> {
    let (mut last, mut rounds) = (Progress::default(), 0);
    copier(leader, kv, source).catch_up(Limits::default(), |now| {
        last = now.clone();
        rounds += 1;
        assert!(rounds < 50, "it never ends: {now:?}");
    })?;
    Ok(last)
}

/// A leader that keeps its heads elsewhere shows the listing of an act a moment before the act.
#[test]
fn an_act_that_is_not_shown_yet_is_waited_for() {
    let mut leader = Leader::new(3, 2).with_all();
    (0..4).for_each(|_| leader.round());
    let before = Log::open(&leader.kv, LogId(1)).unwrap().head().unwrap().size;
    leader.act(0, &hold(1));
    leader.act(1, &hold(2));
    (0..4).for_each(|_| leader.round());
    let shown = Arc::new(AtomicU64::new(before));
    let source = || leader.source().below(|log| (log == LogId(1)).then(|| Arc::clone(&shown)));
    let kv = MemKv::new();
    let progress = waits(&leader, &kv, source()).unwrap();
    // Two listings, and with the second what comes with and after the other log's act.
    assert!(progress.behind == 0 && progress.waiting > 2, "{progress:?}");
    is_sound(&leader, &kv, "while an act is waited for");
    shown.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(waits(&leader, &kv, source()).unwrap().waiting, 0);
    assert_eq!(rows(&kv), rows(&leader.kv));
}

/// A source that does not list one of its logs yet.
struct Hiding<'a> {
    honest: KvSource<'a, &'a MemKv>,
    hidden: Tenant,
}

impl Source for Hiding<'_> {
    fn listing(&self) -> Result<Listing, SourceError> {
        let mut listing = self.honest.listing()?;
        listing.logs.retain(|log| log.tenant.as_ref().is_none_or(|tenant| tenant.name != self.hidden));
        Ok(listing)
    }

    fn chunk(&self, log: LogId, from: u64, limits: Limits) -> Result<Chunk, SourceError> {
        self.honest.chunk(log, from, limits)
    }

    fn key_chain(&self, log: LogId, origin: &ledger::checkpoint::Origin) -> Result<Option<Vec<u8>>, SourceError> {
        self.honest.key_chain(log, origin)
    }
}

#[test]
fn a_log_that_is_not_shown_yet_is_waited_for() {
    let mut leader = Leader::new(4, 3).with_all();
    (0..4).for_each(|_| leader.round());
    let kv = MemKv::new();
    let hidden = leader.world.tenants[1].tenant.clone();
    let progress = waits(&leader, &kv, Hiding { honest: leader.source(), hidden }).unwrap();
    assert!(progress.behind == 0 && progress.waiting > 0, "{progress:?}");
    is_sound(&leader, &kv, "while a log is waited for");
    assert_eq!(waits(&leader, &kv, leader.source()).unwrap().waiting, 0);
    assert_eq!(rows(&kv), rows(&leader.kv));
}

/// What the listing of a log opens to may be deleted; acts on that log are copied all the same.
#[test]
fn an_act_on_a_log_whose_listing_opens_no_more_is_copied() {
    let mut leader = Leader::new(5, 1);
    leader.round();
    leader.act(0, &hold(1));
    leader.round();
    let mut batch = Batch::default();
    batch.delete(Space::Tree, &Key::Opening(LogId::LEDGER, 1).bytes());
    leader.kv.write(batch).unwrap();
    let kv = MemKv::new();
    let trust = Trust::of([leader.world.ledger_signer.verifier(), leader.world.tenants[0].signer.verifier()]);
    Copier::new(&kv, leader.source(), trust, |_| None).catch_up(Limits::default(), |_| ()).unwrap();
    assert_eq!(rows(&kv), rows(&leader.kv));
}

/// An earlier version wrote listings before what they list: such a copy goes on.
#[test]
fn a_copy_with_a_listing_ahead_of_its_act_is_mended_by_going_on() {
    let mut leader = Leader::new(6, 1);
    leader.round();
    let kv = MemKv::new();
    waits(&leader, &kv, leader.source()).unwrap();
    leader.act(0, &hold(1));
    leader.round();
    // `_ledger` as the leader has it, and the tenant's log as the copy has it.
    let torn = clone_of(&leader.kv);
    let of_tenant = |(space, key): &(Space, Vec<u8>)| match space {
        Space::Meta => key[..] == *Key::Head(LogId(1)).bytes(),
        _ => key.get(1..5) == Some(&[0, 0, 0, 1]),
    };
    let mut batch = Batch::default();
    for (space, key) in rows_as_they_are(&torn).into_keys().filter(of_tenant) {
        batch.delete(space, &key);
    }
    torn.write(batch).unwrap();
    let mut batch = Batch::default();
    for ((space, key), value) in rows_as_they_are(&kv).into_iter().filter(|(key, _)| of_tenant(key)) {
        batch.put(space, &key, &[&value]);
    }
    torn.write(batch).unwrap();
    assert_eq!(waits(&leader, &torn, leader.source()).unwrap().waiting, 0);
    assert_eq!(rows(&torn), rows(&leader.kv));
}

fn rows_as_they_are(kv: &MemKv) -> std::collections::BTreeMap<(Space, Vec<u8>), Vec<u8>> {
    let all = |space| kv.range(space, &[0], &[255], usize::MAX).unwrap().into_iter().map(move |(k, v)| ((space, k), v));
    Space::ALL.into_iter().flat_map(all).collect()
}

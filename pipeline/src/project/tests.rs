//! Core and detail turn by turn, over logs in memory and views on disk: how far detail falls behind, and how it comes back.

#[path = "../../../ledger/tests/store/world.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "made for the store's own tests, which use all of it")]
#[allow(clippy::cast_possible_truncation, reason = "logs of a test have hundreds of entries")]
mod world;

use ledger::birth;
use ledger::kv::MemKv;
use tempfile::TempDir;
use tokio::sync::watch;
use world::{Rng, World};

use super::*;
use crate::shared::Progress;

/// Small chunks, so that a short log has many turns.
const SMALL: Pace =
    Pace { core: 16, detail: ChunkLimits { entries: 32, events: 4_096, bytes: u64::MAX }, lag_max: 100 };

/// Logs of events that say something, rejections, gaps and epochs; their views are still to be made.
struct Scene {
    kv: Arc<MemKv>,
    dir: TempDir,
    troubles: Troubles,
    views: Vec<(View, watch::Receiver<Progress>)>,
}

impl Scene {
    fn new(tenants: usize, messages: u64) -> Self {
        let kv = Arc::new(MemKv::new());
        let mut world = World::new(3, tenants, messages);
        let streams = world.tenants.iter_mut().flat_map(|tenant| &mut tenant.streams);
        for message in streams.flat_map(|stream| stream.messages.values_mut()).filter(|message| message.good) {
            let number = String::from_utf8_lossy(&message.payload).into_owned();
            message.payload = format!(
                r#"{{"provisioning_event":{{"intent":{{"initiator":"ann"}},"target":{{"resources":[{{"name":"{number}"}}]}},"execution":{{"steps":[{{"rc":0}}]}}}}}}"#
            )
            .into_bytes();
        }
        world.live(&*kv, &mut Rng(3), &mut Vec::new()).unwrap();
        let view = |tenant: &world::TenantWorld| {
            let log = birth::log_of(&*kv, &tenant.tenant).unwrap().unwrap();
            let committed = Log::open(&kv, log).unwrap().head().unwrap().size;
            let (progress, heard) = watch::channel(Progress { committed, ..Progress::default() });
            (View { tenant: tenant.tenant.clone(), log, progress }, heard)
        };
        let views = world.tenants.iter().map(view).collect();
        Self { kv, dir: TempDir::new().unwrap(), troubles: Troubles::default(), views }
    }

    /// What follows all of them, and what is heard of each.
    fn follow(&mut self, pace: Pace) -> (Projector<'_, MemKv>, Vec<watch::Receiver<Progress>>) {
        let (views, heard): (Vec<_>, Vec<_>) = std::mem::take(&mut self.views).into_iter().unzip();
        let mut projector = Projector::new(&self.kv, self.dir.path().to_owned(), pace, &self.troubles);
        for view in views {
            projector.follow(view);
        }
        (projector, heard)
    }
}

fn now(heard: &watch::Receiver<Progress>) -> Progress {
    *heard.borrow()
}

/// While a backlog is drained detail gets nothing until it is too far behind; from then on as much as core, and never all of it at once.
#[test]
fn detail_falls_behind_as_far_as_it_may_and_no_further() {
    let mut scene = Scene::new(1, 800);
    let (mut projector, heard) = scene.follow(SMALL);
    let size = now(&heard[0]).committed;
    assert!(size > 300, "{size}");
    let (mut lags, mut before) = (Vec::new(), now(&heard[0]));
    while projector.is_behind() {
        projector.catch_up_once();
        projector.follow_with_detail(0);
        let after = now(&heard[0]);
        assert!(after.core > before.core && after.core - before.core <= SMALL.core, "{before:?} {after:?}");
        assert!(after.detail - before.detail <= SMALL.detail.entries, "one chunk at a time: {before:?} {after:?}");
        if before.core <= SMALL.lag_max {
            assert_eq!(before.detail, 0, "the backlog has the processor for itself");
        }
        lags.push(after.core - after.detail);
        before = after;
    }
    assert_eq!((before.core, projector.is_trailing()), (size, true));
    // A chunk of core that went over, and what was owed of a chunk of detail.
    let most = SMALL.lag_max + SMALL.core + SMALL.detail.entries;
    assert!(lags.iter().max() <= Some(&most) && lags.iter().max() > Some(&SMALL.lag_max), "{lags:?}");

    // Nothing more comes: chunk by chunk it catches up.
    while projector.is_trailing() {
        let before = now(&heard[0]).detail;
        projector.follow_with_detail(CORE_TURNS);
        let after = now(&heard[0]).detail;
        assert!(after > before && after - before <= SMALL.detail.entries, "{before} {after}");
    }
    assert_eq!(now(&heard[0]).detail, size);
    assert!(scene.troubles.health().ready);
}

/// Beside a trickle detail gets one turn in so many.
#[test]
fn detail_gets_one_turn_in_so_many() {
    let mut scene = Scene::new(1, 400);
    let (mut projector, heard) = scene.follow(Pace { lag_max: u64::MAX, ..SMALL });
    while projector.is_behind() {
        projector.catch_up_once();
    }
    let mut chunks = Vec::new();
    for turn in 0..3 * CORE_TURNS {
        let before = now(&heard[0]).detail;
        projector.follow_with_detail(1);
        if now(&heard[0]).detail > before {
            chunks.push(turn);
        }
    }
    assert_eq!(chunks, [0, CORE_TURNS, 2 * CORE_TURNS]);
    assert!(projector.is_trailing());
}

/// What has caught up rests the longer, the more it had to read: a change with thousands of events is not told anew for each of them.
#[test]
fn what_has_caught_up_rests() {
    let all = ChunkLimits { entries: 10_000, ..SMALL.detail };
    let mut scene = Scene::new(1, 800);
    let (mut projector, heard) = scene.follow(Pace { detail: all, ..SMALL });
    while projector.is_behind() {
        projector.catch_up_once();
    }
    projector.follow_with_detail(1);
    assert!(!projector.is_trailing() && now(&heard[0]).detail == now(&heard[0]).core);
    let rests: Vec<_> = projector.roads.values().map(|viewed| viewed.rest).collect();
    assert!(rests[0] > CORE_TURNS && rests[0] < CORE_TURNS + 800 / EVENTS_PER_REST + 1, "{rests:?}");
}

/// Of many tenants some get a chunk between two looks at core, and the others the next time.
#[test]
fn tenants_take_turns() {
    let mut scene = Scene::new(CHUNKS + 3, 30);
    let (mut projector, heard) = scene.follow(Pace { lag_max: u64::MAX, ..SMALL });
    while projector.is_behind() {
        projector.catch_up_once();
    }
    let told = || heard.iter().filter(|heard| now(heard).detail > 0).count();
    projector.follow_with_detail(CORE_TURNS);
    assert_eq!(told(), CHUNKS);
    projector.follow_with_detail(CORE_TURNS);
    assert_eq!(told(), CHUNKS + 3, "those that had none come first");
}

/// Views that cannot be opened are a trouble that is named and tried again; others go on.
#[test]
fn views_that_fail_hold_up_nobody() {
    let mut scene = Scene::new(2, 60);
    let broken = scene.dir.path().join(format!("{}.db", scene.views[0].0.tenant));
    std::fs::create_dir(&broken).unwrap();
    let (mut projector, heard) = scene.follow(SMALL);
    while projector.is_behind() {
        projector.catch_up_once();
    }
    assert_eq!((now(&heard[0]).core, now(&heard[1]).core), (0, now(&heard[1]).committed));
    let reasons = projector.troubles.health().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains("views"), "{reasons:?}");
    std::fs::remove_dir(&broken).unwrap();
    projector.forgive();
    while projector.is_behind() {
        projector.catch_up_once();
    }
    assert_eq!(now(&heard[0]).core, now(&heard[0]).committed);
    assert!(projector.troubles.health().ready);
}

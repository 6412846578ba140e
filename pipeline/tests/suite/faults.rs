//! The store fails, each fault twice: not persisted, and persisted anyway. The views fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ledger::kv::{Batch, Kv, KvError, MemKv, Row, Space};
use pipeline::answer::Status;

use crate::house::{House, event, next_answer, outgoing, ready, silence, tenant, until, verify};

const SOUND: u8 = 0;
const LOSES: u8 = 1;
const KEEPS: u8 = 2;

/// Fails to write when told to, before or after the rows are there.
#[derive(Clone, Default)]
struct Faulty {
    rows: Arc<MemKv>,
    fault: Arc<AtomicU8>,
}

impl Kv for Faulty {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.rows.get(space, key)
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        self.rows.get_many(space, keys)
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        self.rows.range(space, from, to, limit)
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        let fault = self.fault.load(Ordering::SeqCst);
        if fault != LOSES {
            self.rows.write(batch)?;
        }
        if fault == SOUND { Ok(()) } else { Err(KvError::Write { source: "the disk is gone".into() }) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_failed_is_never_confirmed_and_settled_by_the_restart() {
    for (fault, kinds_meanwhile) in [(LOSES, "first event"), (KEEPS, "first event event")] {
        let kv = Faulty::default();
        let house = House::over(kv.clone()).await;
        let running = house.run(&["acme"]).await;
        let producer = house.producer().await;
        producer.send(&outgoing("acme", "plan", "1")).await.expect("an answer");
        kv.fault.store(fault, Ordering::SeqCst);
        let second = event("acme", "plan", "2");
        let mut waiting = house.ask("upm.events.acme.plan", second.as_bytes(), "_INBOX.wait.1").await;
        until("it says so", || running.health().reasons.iter().any(|reason| reason.contains("the disk is gone"))).await;
        silence(&mut waiting).await;
        assert_eq!(house.kinds("acme"), kinds_meanwhile);
        // Whatever the disk does now, nothing more is appended.
        kv.fault.store(SOUND, Ordering::SeqCst);
        producer.publish(&outgoing("acme", "plan", "3")).await.expect("on the road");
        silence(&mut waiting).await;
        assert_eq!(house.kinds("acme"), kinds_meanwhile);
        assert!(!running.health().ready);
        running.shutdown().await;

        let running = house.run(&["acme"]).await;
        let answer = next_answer(&mut waiting).await;
        assert_eq!((answer.status, answer.index), (Status::Accepted, 2));
        verify("acme", &answer, second.as_bytes());
        assert!(running.drained(&tenant("acme"), 3).await);
        assert_eq!(house.kinds("acme"), "first event event event");
        running.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_fail_hold_nobody_up_and_are_caught_up() {
    let house = House::new().await;
    let views = house.dir.path().join("views");
    std::fs::create_dir_all(&views).expect("a directory");
    std::fs::write(views.join("acme.db"), "this is no database, and large enough to be looked at as one")
        .expect("written");
    let running = house.start(&["acme"]).await;
    until("it says so", || running.health().reasons.iter().any(|reason| reason.contains("views"))).await;
    let producer = house.producer().await;
    let answer = producer.send(&outgoing("acme", "plan", "1")).await.expect("an answer");
    assert_eq!(answer.status, Status::Accepted, "the ledger goes on");
    std::fs::remove_file(views.join("acme.db")).expect("removed");
    assert!(running.drained(&tenant("acme"), 1).await);
    ready(&running).await;
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_caught_up_from_the_store_after_a_start() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let events = (0..5_000).map(|number| outgoing("acme", "plan", &format!("c-{number}")));
    producer.publish_all(events, |_, result| assert!(result.is_ok(), "{result:?}")).await;
    assert!(running.drained(&tenant("acme"), 5_000).await);
    running.shutdown().await;
    std::fs::remove_dir_all(house.dir.path().join("views")).expect("removed");
    let running = house.run(&["acme"]).await;
    let mut progress = running.progress(&tenant("acme")).expect("followed");
    let caught_up = progress.wait_for(|progress| progress.core == 5_001).await.expect("caught up").committed;
    assert_eq!(caught_up, 5_001);
    running.shutdown().await;
}

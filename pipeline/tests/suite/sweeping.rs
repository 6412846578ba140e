//! What is in the log leaves the road, and nothing else does; a road that is full tells its producers, and drains by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::{Info, State};
use pipeline::Sweep;
use pipeline::produce::ProduceError;
use pipeline::streams::{self, StreamLimits};

use crate::house::{House, now_ms, outgoing, ready, tenant, until};

async fn info(house: &House) -> Info {
    let context = jetstream::new(house.admin.clone());
    context.get_stream("UPM_acme").await.expect("a stream").cached_info().clone()
}

async fn swept_to(house: &House, first: u64) -> State {
    let waiting = async {
        loop {
            let state = info(house).await.state;
            if state.first_sequence >= first {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the road is swept")
}

/// Waits until the sweeper has looked twice more: whatever it would do, it has done.
async fn looked_at(house: &House, running: &pipeline::Running<ledger::kv::MemKv>) {
    for number in 0..2 {
        let before = info(house).await.state.last_sequence;
        let mark = outgoing("acme", "audit", &format!("mark-{number}-{before}"));
        house.producer().await.send(&mark).await.expect("an answer");
        let seen = || running.stats().logs[0].stream.is_some_and(|stream| stream.last > before);
        until("the road is looked at", seen).await;
    }
}

async fn publish(house: &House, range: std::ops::Range<u32>) {
    let producer = house.producer().await;
    for number in range {
        producer.send(&outgoing("acme", "plan", &format!("c-{number}"))).await.expect("an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_leaves_at_once_but_for_the_message_at_the_cursor() {
    let mut house = House::new().await;
    house.sweep = Sweep { after: Duration::ZERO, ..Sweep::default() };
    let running = house.run(&["acme"]).await;
    publish(&house, 0..50).await;
    let state = swept_to(&house, 50).await;
    assert_eq!((state.first_sequence, state.last_sequence, state.messages), (50, 50, 1), "the cursor's message stays");
    until("it is counted", || running.stats().logs[0].swept == 49).await;
    assert!(running.stats().logs[0].sweeps > 0);
    running.shutdown().await;
    // By what is left the road is known again.
    let running = house.run(&["acme"]).await;
    publish(&house, 50..52).await;
    assert!(!house.kinds("acme").contains("epoch") && !house.kinds("acme").contains("gap"));
    swept_to(&house, 52).await;
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_swept_that_a_follower_has_not() {
    let mut house = House::new().await;
    let position = Arc::new(AtomicU64::new(30));
    let asked = Arc::clone(&position);
    let followers = Arc::new(move |_: &_| Some(asked.load(Ordering::Relaxed)));
    house.sweep = Sweep { after: Duration::ZERO, followers };
    let running = house.run(&["acme"]).await;
    publish(&house, 0..50).await;
    swept_to(&house, 31).await;
    looked_at(&house, &running).await;
    assert_eq!(info(&house).await.state.first_sequence, 31);
    position.store(u64::MAX, Ordering::Relaxed);
    let last = info(&house).await.state.last_sequence;
    swept_to(&house, last).await;
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_old_enough_is_swept() {
    let mut house = House::new().await;
    house.sweep = Sweep { after: Duration::from_secs(100), ..Sweep::default() };
    let running = house.run(&["acme"]).await;
    publish(&house, 0..20).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let between_ms = now_ms();
    tokio::time::sleep(Duration::from_millis(50)).await;
    publish(&house, 20..40).await;
    looked_at(&house, &running).await;
    assert_eq!(info(&house).await.state.first_sequence, 1, "all are too young");
    house.clock_stands.store(between_ms + 100_000, Ordering::Relaxed);
    let state = swept_to(&house, 2).await;
    assert_eq!(state.first_sequence, 21, "the first twenty are old enough, the others are not");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_road_that_is_nearly_full_does_not_wait_for_the_age() {
    let mut house = House::new().await;
    house.limits = StreamLimits { max_bytes: 100_000, ..StreamLimits::default() };
    let running = house.run(&["acme"]).await;
    // Three times what the road holds.
    let producer = house.producer().await;
    for number in 0..900_u32 {
        let event = outgoing("acme", "plan", &format!("c-{number}"));
        while let Err(error) = producer.send(&event).await {
            assert!(matches!(error, ProduceError::RoadFull { .. }), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(info(&house).await.state.first_sequence > 1);
    ready(&running).await;
    assert_eq!(running.stats().logs[0].entries, 901, "no event is lost or there twice");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_road_that_can_not_be_swept_refuses_and_says_why() {
    let mut house = House::new().await;
    house.limits = StreamLimits { max_bytes: 60_000, ..StreamLimits::default() };
    let position = Arc::new(AtomicU64::new(3));
    let asked = Arc::clone(&position);
    house.sweep = Sweep { followers: Arc::new(move |_: &_| Some(asked.load(Ordering::Relaxed))), ..Sweep::default() };
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let mut number = 0;
    let refused = loop {
        match producer.send(&outgoing("acme", "plan", &format!("c-{number}"))).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, ProduceError::RoadFull { said } if said.contains("maximum bytes")), "{refused}");
    let says =
        || running.health().reasons.iter().any(|reason| reason.contains("is full") && reason.contains("sequence 3"));
    until("it says so", says).await;
    position.store(u64::MAX, Ordering::Relaxed);
    ready(&running).await;
    producer.send(&outgoing("acme", "plan", "after")).await.expect("it drained by itself");
    assert_eq!(running.stats().logs[0].accepted, number + 1);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_changed_where_the_server_is_ours_and_takes_nothing_away() {
    let house = House::new().await;
    house.found("acme").await;
    let producer = house.producer().await;
    for number in 0..20 {
        producer.publish(&outgoing("acme", "plan", &format!("c-{number}"))).await.expect("on the road");
    }
    let limits = |max_bytes, adjust| StreamLimits { max_bytes, adjust, ..StreamLimits::default() };
    streams::ensure(&house.admin, &tenant("acme"), &limits(500, false)).await.expect("another limit is none of ours");
    assert_eq!(info(&house).await.config.max_bytes, 16 << 30);
    streams::ensure(&house.admin, &tenant("acme"), &limits(500, true)).await.expect("lowered");
    let lowered = info(&house).await;
    assert_eq!((lowered.config.max_bytes, lowered.state.messages), (500, 20), "what is there stays");
    let refused = producer.publish(&outgoing("acme", "plan", "more")).await;
    assert!(matches!(refused, Err(ProduceError::RoadFull { .. })), "{refused:?}");
    streams::ensure(&house.admin, &tenant("acme"), &limits(1 << 20, true)).await.expect("raised");
    producer.publish(&outgoing("acme", "plan", "more")).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let event = outgoing("acme", "plan", "1");
    producer.send(&event).await.expect("an answer");
    producer.send(&event).await.expect("an answer");
    let mut bad = outgoing("acme", "plan", "2");
    bad.payload = "rubbish".into();
    producer.send(&bad).await.expect("an answer");
    until("views cover it", || running.stats().logs[0].core == 3).await;
    let stats = running.stats();
    let log = &stats.logs[0];
    assert_eq!((log.entries, log.accepted, log.duplicates, log.rejected, log.road), (3, 1, 1, 1, 3));
    assert_eq!(log.payload_bytes, event.payload.len() as u64 + 7);
    assert!(log.newest_at_ms.is_some_and(|at_ms| now_ms().abs_diff(at_ms) < 60_000));
    assert_eq!(stats.commit.buckets.iter().sum::<u64>(), stats.rounds);
    assert!(stats.rounds == 3 && stats.intake_open, "{stats:?}");
    running.shutdown().await;
}

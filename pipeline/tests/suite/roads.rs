//! Roads that are cut, have holes, or are dated wrongly; a server that dies.

use std::sync::atomic::Ordering;

use async_nats::jetstream;
use ledger::entry::Header;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pipeline::answer::Status;
use pipeline::streams::{self, StreamError, StreamLimits};

use crate::house::{House, outgoing, ready, tenant, until, verify};

fn stream_of(house: &House) -> jetstream::Context {
    jetstream::new(house.admin.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_anew_begins_an_epoch_and_skips_nothing() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let old = outgoing("acme", "plan", "old");
    producer.send(&old).await.expect("an answer");
    producer.send(&outgoing("acme", "plan", "old-2")).await.expect("an answer");
    running.shutdown().await;

    stream_of(&house).delete_stream("UPM_acme").await.expect("deleted");
    streams::ensure(&house.admin, &tenant("acme"), &house.limits).await.expect("made again");
    producer.publish(&outgoing("acme", "plan", "new")).await.expect("on the road");
    producer.publish(&old).await.expect("on the road");
    producer.publish(&outgoing("acme", "plan", "new-2")).await.expect("on the road");
    let running = house.run(&["acme"]).await;
    assert!(running.drained(&tenant("acme"), 3).await);
    assert_eq!(house.kinds("acme"), "first event event epoch event event", "the old event is not there twice");
    let Header::Epoch(epoch) = house.header("acme", 3) else { panic!("an epoch") };
    assert_eq!(epoch.epoch, 1);
    let Header::Event(event) = house.header("acme", 4) else { panic!("an event") };
    assert_eq!((event.road.epoch, event.road.sequence), (1, 1));
    let again = producer.send(&old).await.expect("an answer");
    assert_eq!((again.status, again.index), (Status::Duplicate, 1));
    running.shutdown().await;

    // The same road again is no new epoch.
    let running = house.run(&["acme"]).await;
    producer.send(&outgoing("acme", "plan", "new-3")).await.expect("an answer");
    assert_eq!(house.kinds("acme"), "first event event epoch event event event");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_while_we_follow_it_is_made_again() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    producer.send(&outgoing("acme", "plan", "1")).await.expect("an answer");
    stream_of(&house).delete_stream("UPM_acme").await.expect("deleted");
    until("the epoch is noticed", || house.kinds("acme") == "first event epoch").await;
    let answer = producer.send(&outgoing("acme", "plan", "2")).await.expect("an answer");
    assert_eq!((answer.status, answer.index), (Status::Accepted, 3));
    ready(&running).await;
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_road_that_lost_its_end_begins_an_epoch() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    for id in ["1", "2", "3"] {
        producer.send(&outgoing("acme", "plan", id)).await.expect("an answer");
    }
    running.shutdown().await;
    // As after a power cut: what was acknowledged is gone, the cursor's message among it, and another takes its sequence.
    let stream = stream_of(&house).get_stream("UPM_acme").await.expect("a stream");
    stream.delete_message(3).await.expect("deleted");
    let running = house.run(&["acme"]).await;
    until("the epoch is noticed", || house.kinds("acme").contains("epoch")).await;
    running.drained(&tenant("acme"), 2).await;
    assert_eq!(house.kinds("acme"), "first event event event epoch", "what was read before is known");
    producer.send(&outgoing("acme", "plan", "4")).await.expect("an answer");
    assert_eq!(house.kinds("acme"), "first event event event epoch gap event");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_remade_before_the_first_message_is_noticed() {
    let house = House::new().await;
    house.found("acme").await;
    stream_of(&house).delete_stream("UPM_acme").await.expect("deleted");
    let running = house.run(&["acme"]).await;
    house.producer().await.send(&outgoing("acme", "plan", "1")).await.expect("an answer");
    assert_eq!(house.kinds("acme"), "first epoch event");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_gone_become_one_gap() {
    let house = House::new().await;
    house.found("acme").await;
    let producer = house.producer().await;
    for id in ["1", "2", "3", "4", "5", "6"] {
        producer.publish(&outgoing("acme", "plan", id)).await.expect("on the road");
    }
    let stream = stream_of(&house).get_stream("UPM_acme").await.expect("a stream");
    for sequence in [2, 3, 5] {
        stream.delete_message(sequence).await.expect("deleted");
    }
    let running = house.run(&["acme"]).await;
    assert!(running.drained(&tenant("acme"), 6).await);
    assert_eq!(house.kinds("acme"), "first event gap event gap event");
    let gaps: Vec<_> = [2, 4].map(|index| house.header("acme", index)).into_iter().collect();
    let [Header::Gap(one), Header::Gap(two)] = &gaps[..] else { panic!("{gaps:?}") };
    assert_eq!(((one.from, one.to), (two.from, two.to)), ((2, 3), (5, 5)));
    assert!(running.health().ready, "{:?}", running.health());
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_from_the_future_stops_the_intake_until_the_clocks_agree() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    producer.send(&outgoing("acme", "plan", "1")).await.expect("an answer");
    house.clock_off.store(-6 * 60 * 1_000, Ordering::Relaxed);
    producer.publish(&outgoing("acme", "plan", "2")).await.expect("on the road");
    until("it says so", || running.health().reasons.iter().any(|reason| reason.contains("ahead of our clock"))).await;
    assert!(!running.health().ready);
    assert_eq!(house.kinds("acme"), "first event");
    house.clock_off.store(-4 * 60 * 1_000, Ordering::Relaxed);
    assert!(running.drained(&tenant("acme"), 2).await);
    ready(&running).await;
    assert_eq!(house.kinds("acme"), "first event event");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_is_started_again_and_the_road_goes_on() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    for round in 0..3_u32 {
        producer.send(&outgoing("acme", "plan", &format!("before-{round}"))).await.expect("an answer");
        let pid = house.child.state().pid.expect("it runs");
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL).expect("killed");
        until("it was started again", || house.child.state().restarts == round + 1).await;
        let answer = producer.send(&outgoing("acme", "plan", &format!("after-{round}"))).await.expect("an answer");
        verify("acme", &answer, &outgoing("acme", "plan", &format!("after-{round}")).payload);
    }
    assert_eq!(house.kinds("acme"), "first event event event event event event", "the same road, nothing twice");
    ready(&running).await;
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_another_configuration_is_refused_with_the_difference() {
    type Change = fn(&mut jetstream::stream::Config);
    let house = House::new().await;
    let own = |change: Change| {
        let mut config = jetstream::stream::Config {
            name: "UPM_acme".into(),
            subjects: schemas::ids::stream_subjects(&tenant("acme")),
            discard: jetstream::stream::DiscardPolicy::New,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_bytes: 1 << 30,
            max_message_size: 1 << 20,
            ..Default::default()
        };
        change(&mut config);
        config
    };
    let cases: [(Change, Option<&str>); 8] = [
        (|_| (), None),
        (|config| config.max_bytes = -1, None),
        (|config| config.discard = jetstream::stream::DiscardPolicy::Old, Some("discard: found Old, expected New")),
        (|config| config.subjects.truncate(1), Some("subjects: found upm.events.acme.*, expected")),
        (|config| config.max_age = std::time::Duration::from_mins(10), Some("max_age: found 600 s, expected 0 s")),
        (|config| config.storage = jetstream::stream::StorageType::Memory, Some("storage: found Memory")),
        (|config| config.max_message_size = 1_000, Some("max_msg_size: found 1000")),
        (|config| config.allow_rollup = true, Some("rollups: found true, expected false")),
    ];
    for (change, expect) in cases {
        // Right after a deletion the server may still be clearing away.
        while let Err(error) = stream_of(&house).create_stream(own(change)).await {
            assert!(error.to_string().contains("error creating store"), "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let outcome = streams::ensure(&house.admin, &tenant("acme"), &StreamLimits::default()).await;
        match expect {
            None => assert!(!outcome.expect("usable").made),
            Some(expect) => {
                let Err(StreamError::Different { difference, .. }) = outcome else { panic!("{outcome:?}") };
                assert!(difference.contains(expect), "{difference}");
            }
        }
        stream_of(&house).delete_stream("UPM_acme").await.expect("deleted");
    }
    let taken = jetstream::stream::Config {
        name: "MINE".into(),
        subjects: vec!["upm.events.acme.>".into()],
        ..Default::default()
    };
    stream_of(&house).create_stream(taken).await.expect("made");
    let outcome = streams::ensure(&house.admin, &tenant("acme"), &StreamLimits::default()).await;
    assert!(matches!(outcome, Err(StreamError::SubjectsTaken { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_can_neither_read_nor_cut_a_road() {
    let house = House::new().await;
    house.found("acme").await;
    let mut plain = jetstream::new(house.plain.clone());
    plain.set_timeout(std::time::Duration::from_millis(300));
    let stream = plain.get_stream("UPM_acme").await.expect("what a stream is may be asked");
    assert!(stream.get_raw_message(1).await.is_err());
    assert!(stream.purge().await.is_err());
    assert!(stream.create_consumer(jetstream::consumer::pull::Config::default()).await.is_err());
    assert!(plain.delete_stream("UPM_acme").await.is_err());
    let mut everything = house.plain.subscribe(">").await.expect("the client does not know yet");
    house.producer().await.publish(&outgoing("acme", "plan", "1")).await.expect("but events may be published");
    crate::house::silence(&mut everything).await;
    assert_eq!(stream.get_info().await.expect("there").state.messages, 1);
}

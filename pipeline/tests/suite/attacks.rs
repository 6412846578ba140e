//! Whoever holds the road tries to change what the log believes: streams cut and refilled past the cursor, made again with copied
//! messages, restored from an old copy, swept too far; a server that hangs, a connection that breaks in every message. What is in the
//! log stays, what is new is taken once, and the log itself says what happened (`epoch`, `gap`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_nats::jetstream;
use ledger::entry::Header;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pipeline::answer::{Answer, Status};
use pipeline::produce::{Outgoing, ProduceError};
use pipeline::streams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{House, free, outgoing, ready, tenant, until};

fn event(id: impl std::fmt::Display) -> Outgoing {
    outgoing("acme", "plan", &id.to_string())
}

async fn publish(house: &House, ids: impl IntoIterator<Item = String>) {
    let producer = house.producer().await;
    for id in ids {
        producer.publish(&event(id)).await.expect("on the road");
    }
}

fn ids(what: &str, range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("{what}-{number}")).collect()
}

async fn stream(house: &House) -> jetstream::stream::Stream {
    jetstream::new(house.admin.clone()).get_stream("UPM_acme").await.expect("a stream")
}

/// Event ids in the order of the log.
fn events(house: &House) -> Vec<String> {
    let size = house.log("acme").head().expect("a head").size;
    let of = |index| match house.header("acme", index) {
        Header::Event(event) => Some(event.id.to_string()),
        _ => None,
    };
    (0..size).filter_map(of).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// A log that has read six messages of a road which was then restored from a copy that holds three.
async fn restored() -> House {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    publish(&house, ids("old", 0..3)).await;
    assert!(running.drained(&tenant("acme"), 3).await);
    running.shutdown().await;
    let backup = house.dir.path().join("backup");
    let house = house.reopen(|store| copy(store, &backup)).await;
    let running = house.run(&["acme"]).await;
    publish(&house, ids("old", 3..6)).await;
    assert!(running.drained(&tenant("acme"), 6).await);
    running.shutdown().await;
    let backup = house.dir.path().join("backup");
    house
        .reopen(|store| {
            std::fs::remove_dir_all(store).expect("removed");
            copy(&backup, store);
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_road_restored_from_an_old_copy_is_shorter_than_the_cursor() {
    let house = restored().await;
    assert_eq!(stream(&house).await.cached_info().state.last_sequence, 3);
    let running = house.run(&["acme"]).await;
    until("the epoch is noticed", || house.kinds("acme").contains("epoch")).await;
    assert!(running.drained(&tenant("acme"), 3).await);
    publish(&house, ids("new", 0..1)).await;
    assert!(running.drained(&tenant("acme"), 4).await);
    assert_eq!(house.kinds("acme"), "first event event event event event event epoch event");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_road_that_was_refilled_past_the_cursor_is_another_road() {
    let house = restored().await;
    // The same stream, the same creation time, and more messages than the cursor counts, before we look.
    publish(&house, ids("new", 0..5)).await;
    assert_eq!(stream(&house).await.cached_info().state.last_sequence, 8);
    let running = house.run(&["acme"]).await;
    until("the epoch is noticed", || house.kinds("acme").contains("epoch")).await;
    assert!(running.drained(&tenant("acme"), 8).await);
    assert_eq!(
        events(&house),
        [ids("old", 0..6), ids("new", 0..5)].concat(),
        "nothing is skipped, nothing is there twice"
    );
    ready(&running).await;
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_road_made_again_and_refilled_past_the_cursor_skips_nothing() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    publish(&house, ids("old", 0..4)).await;
    assert!(running.drained(&tenant("acme"), 4).await);
    running.shutdown().await;
    jetstream::new(house.admin.clone()).delete_stream("UPM_acme").await.expect("deleted");
    streams::ensure(&house.admin, &tenant("acme"), &house.limits).await.expect("made again");
    publish(&house, ids("new", 0..9)).await;
    let running = house.run(&["acme"]).await;
    assert!(running.drained(&tenant("acme"), 9).await);
    until("all are there", || events(&house).len() == 13).await;
    assert_eq!(events(&house), [ids("old", 0..4), ids("new", 0..9)].concat());
    assert_eq!(house.kinds("acme").matches("epoch").count(), 1);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_road_made_again_with_copied_messages_adds_nothing_but_the_epoch() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    publish(&house, ids("old", 0..5)).await;
    assert!(running.drained(&tenant("acme"), 5).await);
    let before = house.log("acme").newest_checkpoint().expect("a checkpoint");
    jetstream::new(house.admin.clone()).delete_stream("UPM_acme").await.expect("deleted");
    streams::ensure(&house.admin, &tenant("acme"), &house.limits).await.expect("made again");
    publish(&house, ids("old", 0..5)).await;
    until("the epoch is noticed", || house.kinds("acme").contains("epoch")).await;
    assert!(running.drained(&tenant("acme"), 5).await);
    publish(&house, ids("new", 0..1)).await;
    until("the next one is there", || events(&house).len() == 6).await;
    assert_eq!(house.kinds("acme"), "first event event event event event epoch event");
    let size = before.lines().nth(1).and_then(|line| line.parse().ok()).expect("a size");
    assert_eq!(house.log("acme").checkpoint(size).expect("readable"), Some(before), "what was signed is still signed");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_road_swept_too_far_shows_what_is_gone() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    publish(&house, ids("old", 0..3)).await;
    assert!(running.drained(&tenant("acme"), 3).await);
    running.shutdown().await;
    publish(&house, ids("unread", 0..4)).await;
    // Somebody sweeps the cursor's message away, and two that nobody has read.
    stream(&house).await.purge().sequence(6).await.expect("purged");
    let running = house.run(&["acme"]).await;
    assert!(running.drained(&tenant("acme"), 7).await);
    until("all are there", || events(&house).len() == 5).await;
    assert_eq!(house.kinds("acme"), "first event event event epoch gap event event");
    let Header::Gap(gap) = house.header("acme", 5) else { panic!("a gap") };
    assert_eq!((gap.from, gap.to), (1, 5), "on this road they are gone, known or not");
    running.shutdown().await;
}

/// SIGSTOP: the server is there, holds all connections, and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_in_mid_batch_is_said_to_and_goes_on() {
    let house = House::new().await;
    house.found("acme").await;
    let producer = house.producer().await;
    producer.publish_all((0..20_000).map(event), |_, result| assert!(result.is_ok(), "{result:?}")).await;
    let running = house.start(&["acme"]).await;
    until("the batch has begun", || running.stats().logs[0].entries > 1_000).await;
    let pid = Pid::from_raw(i32::try_from(house.child.state().pid.expect("it runs")).expect("a pid"));
    kill(pid, Signal::SIGSTOP).expect("stopped");
    until("it says so", || running.health().reasons.iter().any(|reason| reason.contains("silent"))).await;
    let held = running.stats().logs[0].entries;
    kill(pid, Signal::SIGCONT).expect("it goes on");
    assert!(running.drained(&tenant("acme"), 20_000).await);
    assert!(held <= 20_001);
    assert_eq!(house.kinds("acme").split(' ').skip(1).filter(|kind| *kind != "event").count(), 0, "no epoch, no gap");
    assert_eq!(running.stats().logs[0].entries, 20_001);
    ready(&running).await;
    running.shutdown().await;
}

/// SIGKILL with messages under way both ways, three times in one batch: the server is started again each time, and what has no answer is
/// published again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_mid_batch_loses_and_doubles_nothing() {
    const EVENTS: usize = 20_000;
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let answered = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&answered);
    let sending = tokio::spawn(async move {
        let mut answers: Vec<Option<Answer>> = vec![None; EVENTS];
        while answers.iter().any(Option::is_none) {
            let left: Vec<usize> = (0..EVENTS).filter(|place| answers[*place].is_none()).collect();
            let again = free(left.iter().map(event).collect());
            let hear = |at: usize, answer: Result<Answer, ProduceError>| {
                heard.fetch_add(usize::from(answer.is_ok()), Ordering::Relaxed);
                answers[left[at]] = answer.ok();
            };
            producer.send_all(again, hear).await;
        }
        answers
    });
    for (kills, part) in (1_u32..).zip([EVENTS / 5, EVENTS * 2 / 5, EVENTS * 3 / 5]) {
        until("a part of the batch is through", || answered.load(Ordering::Relaxed) > part).await;
        let under_way = EVENTS - answered.load(Ordering::Relaxed);
        assert!(under_way > 0, "it was killed in mid-batch");
        let pid = house.child.state().pid.expect("it runs");
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL).expect("killed");
        until("it was started again", || house.child.state().restarts == kills).await;
    }
    let answers = sending.await.expect("all are answered");
    let mut indices: Vec<u64> = answers.iter().flatten().map(|answer| answer.index).collect();
    assert!(answers.iter().flatten().all(|answer| answer.status != Status::Rejected));
    indices.sort_unstable();
    assert!(indices.iter().copied().eq(1..=EVENTS as u64), "each event is one entry, and there is no other");
    assert_eq!(house.kinds("acme").split(' ').skip(1).filter(|kind| *kind != "event").count(), 0, "no epoch, no gap");
    assert_eq!(running.stats().logs[0].entries, EVENTS as u64 + 1);
    ready(&running).await;
    running.shutdown().await;
}

/// Passes bytes on, slowly, and cuts every connection after so many.
async fn breaking_way(to: String, cuts: Arc<AtomicUsize>, mend: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("nats://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut seed = 7_u64;
        while let Ok((client, _)) = listener.accept().await {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Enough to come in and be given some messages, an odd number so that a message is cut in its middle.
            let allowed = if mend.load(Ordering::Relaxed) { u64::MAX } else { 20_001 + seed % 90_000 };
            let server = TcpStream::connect(&to).await.expect("the server");
            tokio::spawn(pass(client, server, allowed, Arc::clone(&cuts)));
        }
    });
    url
}

async fn pass(client: TcpStream, server: TcpStream, allowed: u64, cuts: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::io::copy(&mut from_client, &mut to_server);
    let down = async {
        let mut left = allowed;
        let mut buffer = [0; 1_500];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            left -= count as u64;
            if left == 0 {
                cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = up => {}
        () = down => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_messages_loses_and_doubles_nothing() {
    let mut house = House::new().await;
    house.found("acme").await;
    let producer = house.producer().await;
    producer.publish_all((0..3_000).map(event), |_, result| assert!(result.is_ok(), "{result:?}")).await;
    let (cuts, mend) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let address = house.child.url().trim_start_matches("nats://").to_owned();
    house.through = Some(breaking_way(address, Arc::clone(&cuts), Arc::clone(&mend)).await);
    let running = house.start(&["acme"]).await;
    until("it broke often", || cuts.load(Ordering::Relaxed) >= 8).await;
    mend.store(true, Ordering::Relaxed);
    assert!(running.drained(&tenant("acme"), 3_000).await);
    let expected: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
    let mut found = events(&house);
    // Publishing keeps a window in flight: the road's order is not the producer's.
    found.sort_by_key(|id| id.parse::<u32>().expect("a number"));
    assert_eq!(found, expected);
    assert!(!house.kinds("acme").contains("gap") && !house.kinds("acme").contains("epoch"));
    ready(&running).await;
    running.shutdown().await;
}

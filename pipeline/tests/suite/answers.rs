//! What producers hear.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use ledger::control::{self, ControlOp};
use pipeline::answer::{Answer, Problem, Status};
use pipeline::produce::{Lanes, Outgoing, ProduceError};
use pipeline::streams::StreamLimits;

use crate::house::{House, admin_key, event, free, next, next_answer, outgoing, silence, verify};

#[tokio::test(flavor = "multi_thread")]
async fn accepted_duplicate_and_rejected_are_told_apart_and_proved() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let mut notices = house.plain.subscribe("upm.rejected.acme").await.expect("a subscription");
    house.plain.flush().await.expect("subscribed");

    let good = outgoing("acme", "plan", "c-1");
    let first = producer.send(&good).await.expect("an answer");
    assert_eq!((first.status, first.index), (Status::Accepted, 1));
    verify("acme", &first, &good.payload);

    let again = producer.send(&good).await.expect("an answer");
    assert_eq!((again.status, again.index), (Status::Duplicate, 1));
    verify("acme", &again, &good.payload);

    let bad = Outgoing { subject: "upm.events.acme.plan".into(), payload: Bytes::from_static(b"{\"a\":1,\"a\":2}") };
    let refused = producer.send(&bad).await.expect("an answer");
    assert_eq!((refused.status, refused.index), (Status::Rejected, 2));
    let problem = refused.problem().expect("a problem");
    assert_eq!((problem.reason.as_str(), problem.status, problem.index), ("duplicate_key", 422, Some(2)));
    assert_eq!(problem.kind, "urn:upm-ledger:problem:duplicate_key");

    let notice: Problem = serde_json::from_slice(&next(&mut notices).await.expect("a notice").payload).expect("JSON");
    assert_eq!(
        (notice.reason.as_str(), notice.subject.as_deref(), notice.index),
        ("duplicate_key", Some("upm.events.acme.plan"), Some(2))
    );

    // Another subject is another message, even with the same bytes.
    let elsewhere = Outgoing { subject: "upm.events.acme.plan.other".into(), ..good.clone() };
    let third = producer.send(&elsewhere).await.expect("an answer");
    assert_eq!((third.status, third.index), (Status::Accepted, 3));
    assert_eq!(house.kinds("acme"), "first event rejection event");
    running.shutdown().await;
}

/// A window of events is under way at once; the turns alone keep those of a change in order.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_lane_keep_their_order() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let mut lanes = Lanes::default();
    // Ten of each change, side by side with those of other changes.
    let events = (0..2_000).map(|number| {
        let change = number / 100 * 10 + number % 10;
        (outgoing("acme", "execute", &format!("c-{change}-{number}")), lanes.turn(change))
    });
    let mut indices = vec![0; 2_000];
    producer.send_all(events, |place, answer| indices[place] = answer.expect("an answer").index).await;
    for change in 0..200 {
        let of: Vec<u64> = (0..10).map(|at| indices[change / 10 * 100 + change % 10 + at * 10]).collect();
        assert!(of.is_sorted(), "change {change}: {of:?}");
    }
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_a_burst_is_one_entry_and_has_a_receipt() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let events: Vec<Outgoing> =
        (0..3_000).map(|number| outgoing("acme", "execute", &format!("c-{}", number % 2_000))).collect();
    let mut answers: Vec<Option<Answer>> = vec![None; events.len()];
    producer.send_all(free(events.clone()), |place, answer| answers[place] = Some(answer.expect("an answer"))).await;
    let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.expect("each event is answered")).collect();
    for (place, answer) in answers.iter().enumerate().step_by(97) {
        verify("acme", answer, &events[place].payload);
    }
    let accepted = answers.iter().filter(|answer| answer.status == Status::Accepted).count();
    assert_eq!(accepted, 2_000, "what was sent twice is one entry");
    for (one, two) in answers[..1_000].iter().zip(&answers[2_000..]) {
        assert_eq!(one.index, two.index);
    }
    let mut progress = running.progress(&crate::house::tenant("acme")).expect("a tenant");
    progress.wait_for(|progress| progress.core == 2_001).await.expect("the views follow");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_only_to_inboxes_and_own_receipt_subjects() {
    let house = House::new().await;
    let running = house.run(&["acme", "other"]).await;
    let subject = "upm.events.acme.plan";
    let mut anywhere = house.admin.subscribe("upm.receipts.other.>").await.expect("a subscription");
    let mut road = house.admin.subscribe("upm.events.other.>").await.expect("a subscription");
    house.admin.flush().await.expect("subscribed");

    let mut inbox = house.ask(subject, event("acme", "plan", "1").as_bytes(), "_INBOX.mine.1").await;
    assert_eq!(next_answer(&mut inbox).await.index, 1);
    let mut receipts = house.ask(subject, event("acme", "plan", "2").as_bytes(), "upm.receipts.acme.ci").await;
    assert_eq!(next_answer(&mut receipts).await.index, 2);
    for (number, forbidden) in
        ["upm.receipts.other.ci", "upm.events.other.plan", "$JS.API.STREAM.DELETE.UPM_other"].into_iter().enumerate()
    {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Upm-Receipt", forbidden);
        let event = event("acme", "plan", &format!("forbidden-{number}"));
        house.plain.publish_with_headers(subject, headers, event.into()).await.expect("published");
    }
    // Answered after them, so they were handled.
    let mut last = house.ask(subject, event("acme", "plan", "last").as_bytes(), "_INBOX.mine.2").await;
    assert_eq!(next_answer(&mut last).await.index, 6);
    silence(&mut anywhere).await;
    silence(&mut road).await;
    assert_eq!(house.kinds("other"), "first");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_get_a_reason_and_too_large_ones_an_error() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    for bytes in [1_000_001, 5_000_000, 8_300_000] {
        let event = Outgoing { subject: "upm.events.acme.plan".into(), payload: vec![b' '; bytes].into() };
        let answer = producer.send(&event).await.expect("an answer");
        assert_eq!(answer.problem().expect("a problem").reason, "too_large", "{bytes}");
    }
    let event = Outgoing { subject: "upm.events.acme.plan".into(), payload: vec![b' '; 9_000_000].into() };
    assert!(matches!(producer.send(&event).await, Err(ProduceError::TooLarge { bytes: 9_000_000, .. })));
    let good = producer.send(&outgoing("acme", "plan", "after")).await.expect("an answer");
    assert_eq!((good.status, good.index), (Status::Accepted, 4));
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_messages_are_refused_each_with_its_reason() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let head = house.log("acme").head().expect("a head");
    let body = serde_json::json!({});
    let signed =
        |counter| control::envelope(&admin_key(), &head.origin, ControlOp::Hold, counter, &head.control_prev, &body);
    let mut forged = signed(1);
    let place = forged.len() / 2;
    forged[place] ^= 1;
    let cases = [
        (b"{}".to_vec(), "control_bad_envelope"),
        (event("acme", "plan", "1").into_bytes(), "control_bad_envelope"),
        (signed(1), "control_unlisted"),
        (signed(7), "control_stale_counter"),
    ];
    for (message, reason) in cases {
        let control = Outgoing { subject: "upm.control.acme".into(), payload: message.into() };
        let answer = producer.send(&control).await.expect("an answer");
        assert_eq!(answer.problem().expect("a problem").reason, reason);
    }
    let control = Outgoing { subject: "upm.control.acme".into(), payload: forged.into() };
    let answer = producer.send(&control).await.expect("an answer");
    let reason = answer.problem().expect("a problem").reason;
    assert!(reason.starts_with("control_bad_"), "{reason}");
    assert_eq!(house.log("acme").head().expect("a head").control_counter, 0);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_that_are_none_get_a_reason() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let long = format!("upm.events.acme.plan.{}", "x".repeat(65));
    for (subject, reason) in [
        ("upm.events.acme.deploy", "unknown_phase"),
        ("upm.events.acme.PLAN.ci", "unknown_phase"),
        (&*long, "bad_id"),
        ("upm.events.acme.plan.ü", "bad_id"),
    ] {
        let event = Outgoing { subject: subject.into(), payload: event("acme", "plan", "1").into() };
        let problem = producer.send(&event).await.expect("an answer").problem().expect("a problem");
        assert_eq!(problem.reason, reason, "{subject}");
    }
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_tenant_fails_at_once_and_a_full_road_says_so() {
    let mut house = House::new().await;
    house.limits = StreamLimits { max_bytes: 20_000, ..StreamLimits::default() };
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let started = tokio::time::Instant::now();
    let nobody = producer.send(&outgoing("nobody", "plan", "1")).await;
    assert!(matches!(nobody, Err(ProduceError::NoRoad { .. })), "{nobody:?}");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

    let mut outcome = Ok(());
    for number in 0..200 {
        if let Err(error) = producer.publish(&outgoing("acme", "plan", &number.to_string())).await {
            outcome = Err(error);
            break;
        }
    }
    assert!(matches!(outcome, Err(ProduceError::RoadFull { .. })), "{outcome:?}");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_not_answered_is_answered_after_the_restart() {
    let house = House::new().await;
    house.found("acme").await;
    // All three on the road before we start: they become one round, whose mark is recorded by no later one.
    let good = event("acme", "plan", "c-1");
    let mut accepted = house.ask("upm.events.acme.plan", good.as_bytes(), "_INBOX.wait.1").await;
    let mut duplicate = house.ask("upm.events.acme.plan", good.as_bytes(), "_INBOX.wait.2").await;
    let mut rejected = house.ask("upm.events.acme.plan", b"{", "_INBOX.wait.3").await;
    let running = house.run(&["acme"]).await;
    let before =
        [next_answer(&mut accepted).await, next_answer(&mut duplicate).await, next_answer(&mut rejected).await];
    running.shutdown().await;
    let head = house.log("acme").head().expect("a head");
    assert_eq!((head.answered, head.cursor.sequence), (0, 3));

    let running = house.run(&["acme"]).await;
    let after = [next_answer(&mut accepted).await, next_answer(&mut duplicate).await, next_answer(&mut rejected).await];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.status, before.index), (after.status, after.index));
    }
    assert_eq!(before[2].body, after[2].body);
    verify("acme", &after[0], good.as_bytes());
    verify("acme", &after[1], good.as_bytes());
    assert_eq!(house.kinds("acme"), "first event rejection", "nothing was appended twice");

    // Once recorded, nobody is answered a third time.
    let producer = house.producer().await;
    producer.send(&outgoing("acme", "plan", "c-2")).await.expect("an answer");
    producer.send(&outgoing("acme", "plan", "c-3")).await.expect("an answer");
    running.shutdown().await;
    let running = house.run(&["acme"]).await;
    producer.send(&outgoing("acme", "plan", "c-4")).await.expect("an answer");
    silence(&mut accepted).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), duplicate.next()).await.is_err());
    running.shutdown().await;
}

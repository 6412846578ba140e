//! Several tenants in one pipeline.

use pipeline::StartError;
use pipeline::answer::Status;
use pipeline::produce::{Outgoing, ProduceError};

use crate::house::{House, event, outgoing, ready, tenant, verify};

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_its_own_log_and_nobody_writes_anothers() {
    let house = House::new().await;
    let names: Vec<String> = (0..70).map(|number| format!("t-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let running = house.run(&names).await;
    let producer = house.producer().await;
    let events: Vec<Outgoing> =
        (0..700).map(|number| outgoing(names[number % 70], "plan", &format!("c-{}", number / 70))).collect();
    let mut statuses = Vec::new();
    producer
        .send_all(crate::house::free(events.clone()), |place, answer| {
            statuses.push((place, answer.expect("an answer")));
        })
        .await;
    for (place, answer) in &statuses {
        assert_eq!(answer.status, Status::Accepted);
        verify(names[place % 70], answer, &events[*place].payload);
    }
    for name in &names {
        assert_eq!(house.log(name).head().expect("a head").size, 11, "{name}");
    }
    // The same bytes mean another tenant there, and are refused.
    let foreign = Outgoing { subject: "upm.events.t-0.plan".into(), payload: event("t-1", "plan", "x").into() };
    let answer = producer.send(&foreign).await.expect("an answer");
    assert_eq!(answer.problem().expect("a problem").reason, "tenant_mismatch");
    let wrong = Outgoing { subject: "upm.events.t-0.verify".into(), payload: event("t-0", "plan", "x").into() };
    let answer = producer.send(&wrong).await.expect("an answer");
    assert_eq!(answer.problem().expect("a problem").reason, "phase_mismatch");
    assert_eq!(house.log("t-1").head().expect("a head").size, 11);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_added_while_others_work() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    assert!(matches!(producer.send(&outgoing("late", "plan", "1")).await, Err(ProduceError::NoRoad { .. })));
    assert!(running.progress(&tenant("late")).is_none());
    running.add_tenant(house.found("late").await).expect("added");
    assert!(matches!(running.add_tenant(house.found("late").await), Err(StartError::Twice(_))));
    let answer = producer.send(&outgoing("late", "plan", "1")).await.expect("an answer");
    assert_eq!((answer.status, answer.index), (Status::Accepted, 1));
    ready(&running).await;
    let mut progress = running.progress(&tenant("late")).expect("followed");
    progress.wait_for(|progress| progress.core == 2).await.expect("projected");
    assert_eq!(running.tenants(), [tenant("acme"), tenant("late")]);
    running.shutdown().await;
}

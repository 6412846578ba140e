//! A change that waits for its hour, by the clocks of a zone far away: approved, it does not run while its window is closed or a freeze holds it, and runs by itself when
//! that is over. Against the real clock, so that nobody says when it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use upm_tests::{Server, ok, wait_for};

use crate::house::{House, approve, event_that, events, verdict};

/// Kathmandu's clocks have been 5:45 ahead since 1986, and are never changed: read in UTC, each time below would be another day's or hours away.
const ZONE: &str = "Asia/Kathmandu";
const AHEAD_S: u64 = 20_700;
/// Until the opening: long enough for everything before it.
const BEFORE_S: u64 = 30;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Local time of the zone by the system's `date`: `+FORMAT`.
fn local(at_s: u64, format: &str) -> String {
    ok(std::process::Command::new("date").args(["-u", "-d", &format!("@{}", at_s + AHEAD_S), format])).trim().to_owned()
}

fn ask(server: &Server, change: &str, environment: &str) {
    let words = format!("create area {environment}");
    ok(&mut server.upm(&[
        "request",
        &words,
        "--change",
        change,
        "--initiator",
        "ines",
        "--env",
        environment,
        "--tenant",
        "acme",
    ]));
}

/// Why it waits, once it is approved and waits for time alone.
fn waits_only_for_time(server: &Server, change: &str) -> Value {
    wait_for(&format!("change {change} to wait for its hour alone"), || {
        let newest =
            events(server, change).into_iter().rev().find(|event| event["preflight"]["verdict"].is_string())?;
        let preflight = &newest["preflight"];
        let is_approved = !preflight["waits_for"].to_string().contains("approv");
        (preflight["verdict"] == "wait" && is_approved).then(|| preflight.clone())
    })
}

#[test]
fn a_change_waits_for_its_hour_in_a_zone_and_then_goes() {
    let opens_s = (now_s() + BEFORE_S).div_ceil(60) * 60;
    let (time, day) = ("+%H:%M", "+%Y-%m-%dT%H:%M");
    let options = format!(
        "[[windows]]\nname = \"morning\"\nenvironments = [\"test\"]\nzone = \"{ZONE}\"\nfrom = \"{}\"\nto = \"{}\"\n\
         [[freezes]]\nname = \"festival\"\nenvironments = [\"staging\"]\nzone = \"{ZONE}\"\nfrom = \"{}\"\nto = \"{}\"\n",
        local(opens_s, time),
        local(opens_s + 3_600, time),
        local(opens_s - 7_200, day),
        local(opens_s, day),
    );
    let house = House::new(&options);
    let server = house.working();
    for (change, environment) in [("c-window", "test"), ("c-freeze", "staging"), ("c-free", "edge")] {
        ask(&server, change, environment);
        verdict(&server, change, "wait");
        approve(&server, change, "olga", "owner");
    }
    // Nothing binds this one: that the others wait is no slowness of ours.
    event_that(&server, "c-free", "its end", |event| event["governance"]["closed"] == true);
    // Without what follows the seconds.
    let opens = local(opens_s - AHEAD_S, "+%Y-%m-%dT%H:%M:%S");
    let seconds = |time: &Value| time.as_str().and_then(|text| text.get(..opens.len())).expect("a time").to_owned();
    for (change, name) in [("c-window", "morning"), ("c-freeze", "festival")] {
        let told = waits_only_for_time(&server, change);
        assert!(told["window"].to_string().contains(name), "{told}");
        assert_eq!(seconds(&told["looks_again"]), opens, "{told}");
    }
    let made = |name: &str| house.land().join(name).exists();
    assert!(made("edge") && !made("test") && !made("staging"));

    while now_s() < opens_s {
        assert!(!made("test") && !made("staging"), "neither begins before its hour");
        std::thread::sleep(Duration::from_millis(200));
    }
    for (change, name) in [("c-window", "test"), ("c-freeze", "staging")] {
        let begins = event_that(&server, change, "a beginning", |event| event["execution"]["started"].is_object());
        assert!(seconds(&begins["timestamp"]) >= opens, "{begins}");
        event_that(&server, change, "its end", |event| event["governance"]["closed"] == true);
        assert!(made(name), "{name}");
    }
    assert_eq!(server.stop(), 0);
}

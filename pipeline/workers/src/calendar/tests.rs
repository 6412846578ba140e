use proptest::prelude::*;
use schemas::ids::ChangeClass;

use super::*;
use crate::table;

/// Windows and freezes of a TOML text, as the configuration reads them.
fn calendar(text: &str) -> Calendar {
    let table = table::parse("test.toml", text).unwrap();
    let whole = Entry::whole("test.toml", &table);
    let (windows, freezes) = (whole.list("windows", "window").unwrap(), whole.list("freezes", "freeze").unwrap());
    let (windows, freezes) = (windows.iter().map(Window::read), freezes.iter().map(Freeze::read));
    Calendar {
        windows: windows.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}")),
        freezes: freezes.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}")),
    }
}

fn s(text: &str) -> i64 {
    schemas::time::seconds(text).unwrap()
}

const PRODUCTION: Case<'_> = Case { environment: Some("production"), class: None };

/// What the stretch that begins on one date is, where clocks change.
#[test]
fn windows_where_clocks_change() {
    let check = |zone: &str, date: &str, from: &str, to: &str, expected: Option<(&str, &str)>| {
        let text = format!("[[windows]]\nname = \"w\"\nzone = \"{zone}\"\nfrom = \"{from}\"\nto = \"{to}\"\n");
        let found = calendar(&text).windows[0].on(date.parse().unwrap());
        let found = found.map(|(from, to)| (rfc3339(from), rfc3339(to)));
        let expected = expected.map(|(from, to)| (from.to_owned(), to.to_owned()));
        assert_eq!(found, expected, "{zone} {date} {from}–{to}");
    };
    for (zone, date, from, to, expected) in [
        // Forward, 02:00 to 03:00 on 29 March 2026: what begins in the gap begins as far behind it.
        ("Europe/Berlin", "2026-03-29", "02:30", "04:00", Some(("2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"))),
        ("Europe/Berlin", "2026-03-29", "02:10", "02:40", Some(("2026-03-29T01:10:00Z", "2026-03-29T01:40:00Z"))),
        ("Europe/Berlin", "2026-03-29", "01:30", "03:00", Some(("2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"))),
        // The hour does not exist, so there is nothing of it.
        ("Europe/Berlin", "2026-03-29", "02:00", "03:00", None),
        // A night is an hour shorter.
        ("Europe/Berlin", "2026-03-28", "22:00", "06:00", Some(("2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z"))),
        // Back, 03:00 to 02:00 on 25 October 2026: the first of the two.
        ("Europe/Berlin", "2026-10-25", "02:30", "04:00", Some(("2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z"))),
        ("Europe/Berlin", "2026-10-25", "02:10", "02:40", Some(("2026-10-25T00:10:00Z", "2026-10-25T00:40:00Z"))),
        ("Europe/Berlin", "2026-10-24", "22:00", "06:00", Some(("2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z"))),
        ("Europe/Berlin", "2026-10-25", "00:00", "24:00", Some(("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"))),
        ("America/New_York", "2026-03-08", "01:30", "02:30", Some(("2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"))),
        ("America/New_York", "2026-11-01", "01:30", "02:30", Some(("2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z"))),
        // Half an hour.
        ("Australia/Lord_Howe", "2026-04-05", "01:15", "01:45", Some(("2026-04-04T14:15:00Z", "2026-04-04T14:45:00Z"))),
        ("Australia/Lord_Howe", "2026-10-04", "02:15", "03:00", Some(("2026-10-03T15:45:00Z", "2026-10-03T16:00:00Z"))),
        // At midnight.
        ("Africa/Cairo", "2026-04-24", "00:00", "02:00", Some(("2026-04-23T22:00:00Z", "2026-04-23T23:00:00Z"))),
        // A day that Samoa left out.
        ("Pacific/Apia", "2011-12-30", "10:00", "12:00", Some(("2011-12-30T20:00:00Z", "2011-12-30T22:00:00Z"))),
        ("Asia/Kathmandu", "2026-06-01", "00:00", "01:00", Some(("2026-05-31T18:15:00Z", "2026-05-31T19:15:00Z"))),
        ("UTC", "2026-12-31", "23:00", "01:00", Some(("2026-12-31T23:00:00Z", "2027-01-01T01:00:00Z"))),
    ] {
        check(zone, date, from, to, expected);
    }
}

/// A freeze is read as wide as it can be.
#[test]
fn freezes_where_clocks_change() {
    let check = |from: &str, to: &str, expected: (&str, &str)| {
        let text = format!("[[freezes]]\nname = \"f\"\nzone = \"Europe/Berlin\"\nfrom = \"{from}\"\nto = \"{to}\"\n");
        let freeze = &calendar(&text).freezes[0];
        assert_eq!((rfc3339(freeze.from_s), rfc3339(freeze.to_s)), (expected.0.to_owned(), expected.1.to_owned()));
    };
    check("2026-10-25T02:30", "2026-10-25T02:45", ("2026-10-25T00:30:00Z", "2026-10-25T01:45:00Z"));
    check("2026-03-29T02:30", "2026-03-29T02:45", ("2026-03-29T00:30:00Z", "2026-03-29T01:45:00Z"));
    check("2026-12-18T18:00", "2027-01-04T06:00", ("2026-12-18T17:00:00Z", "2027-01-04T05:00:00Z"));
}

const HOUSE: &str = r#"
[[windows]]
name = "evenings"
environments = ["production"]
zone = "Europe/Berlin"
days = ["mon", "tue", "wed", "thu"]
from = "20:00"
to = "02:00"
except_classes = ["emergency"]

[[windows]]
name = "sunday"
environments = ["production", "staging"]
zone = "UTC"
days = ["sun"]
from = "06:00"
to = "10:00"

[[freezes]]
name = "year end"
zone = "Europe/Berlin"
from = "2026-12-18T18:00"
to = "2027-01-04T06:00"
except_classes = ["emergency"]
"#;

#[test]
fn inside_outside_and_next() {
    let calendar = calendar(HOUSE);
    let check = |case: Case<'_>, now: &str, open: bool, ends: Option<&str>, text: &str| {
        let found = calendar.at(case, None, s(now));
        let told = found.next_s.or(found.closes_s).map(rfc3339);
        assert_eq!((found.open, told.as_deref(), found.text.as_str()), (open, ends, text), "{now}");
    };
    // Monday, 30 November 2026.
    check(
        PRODUCTION,
        "2026-11-30T18:59:59Z",
        false,
        Some("2026-11-30T19:00:00Z"),
        "outside of the windows evenings, sunday; it may run next at 2026-11-30T19:00:00Z (20:00 in Europe/Berlin)",
    );
    check(
        PRODUCTION,
        "2026-11-30T19:00:00Z",
        true,
        Some("2026-12-01T01:00:00Z"),
        "inside of the window evenings until 2026-12-01T01:00:00Z (02:00 in Europe/Berlin)",
    );
    check(
        PRODUCTION,
        "2026-12-04T12:00:00Z",
        false,
        Some("2026-12-06T06:00:00Z"),
        "outside of the windows evenings, sunday; it may run next at 2026-12-06T06:00:00Z",
    );
    // The freeze begins on Friday, inside of no window; behind it is Monday morning.
    check(
        PRODUCTION,
        "2026-12-20T07:00:00Z",
        false,
        Some("2027-01-04T19:00:00Z"),
        "frozen by year end; it may run next at 2027-01-04T19:00:00Z (20:00 in Europe/Berlin)",
    );
    let other = Case { environment: Some("test"), class: None };
    check(
        other,
        "2026-12-17T12:00:00Z",
        true,
        Some("2026-12-18T17:00:00Z"),
        "no window binds it until 2026-12-18T17:00:00Z",
    );
    check(
        other,
        "2026-12-20T07:00:00Z",
        false,
        Some("2027-01-04T05:00:00Z"),
        "frozen by year end; it may run next at 2027-01-04T05:00:00Z",
    );
    let emergency = Case { class: Some(ChangeClass::Emergency), ..other };
    check(emergency, "2026-12-20T07:00:00Z", true, None, "no window binds it");
    // Who names no environment is bound by all.
    assert!(!calendar.at(Case::default(), None, s("2026-12-04T12:00:00Z")).open);
}

#[test]
fn the_plans_own_window() {
    let calendar = calendar(HOUSE);
    let check = |from: &str, to: &str, now: &str, next: Option<&str>, text: &str| {
        let found = calendar.at(PRODUCTION, Some((s(from), s(to))), s(now));
        assert!(!found.open);
        assert_eq!((found.next_s.map(rfc3339).as_deref(), found.text.as_str()), (next, text));
    };
    check(
        "2026-12-01T21:00:00Z",
        "2026-12-01T22:00:00Z",
        "2026-11-30T19:30:00Z",
        Some("2026-12-01T21:00:00Z"),
        "before the plan's own window; it may run next at 2026-12-01T21:00:00Z (22:00 in Europe/Berlin)",
    );
    check(
        "2026-12-01T09:00:00Z",
        "2026-12-01T10:00:00Z",
        "2026-11-30T19:30:00Z",
        None,
        "before the plan's own window; it may not run within 400 days",
    );
    check(
        "2026-11-01T09:00:00Z",
        "2026-11-01T10:00:00Z",
        "2026-11-30T19:30:00Z",
        None,
        "the plan's own window is over; it may not run within 400 days",
    );
    // Far away, behind all that is looked through.
    let far = calendar.at(
        PRODUCTION,
        Some((s("2031-01-01T00:00:00Z"), s("2031-03-01T00:00:00Z"))),
        s("2026-11-30T19:30:00Z"),
    );
    assert_eq!(far.next_s.map(rfc3339).as_deref(), Some("2031-01-01T00:00:00Z"), "{}", far.text);
    // Its last second is inside.
    let own = Some((s("2026-11-30T19:00:00Z"), s("2026-11-30T20:00:00Z")));
    assert!(calendar.at(PRODUCTION, own, s("2026-11-30T20:00:00Z")).open);
    assert!(!calendar.at(PRODUCTION, own, s("2026-11-30T20:00:01Z")).open);
}

#[test]
fn zones_are_those_that_are_compiled_in() {
    for name in ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "europe/berlin"] {
        assert!(Zone::parse(name).is_some(), "{name}");
    }
    assert_eq!(Zone::parse("europe/berlin").unwrap().name(), "Europe/Berlin");
    for name in ["", "Berlin", "Europe/Nowhere", "../etc/localtime", "/etc/localtime", "CET-1CEST,M3.5.0,M10.5.0/3"] {
        assert!(Zone::parse(name).is_none(), "{name}");
    }
}

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The next opening is open, nothing before it is; what is open stays so until it closes.
    #[test]
    fn nothing_opens_before_the_next_opening(
        zone in 0..ZONES.len(), day in 0_usize..7, from in 0_u32..1440, length in 1_u32..1440,
        // 2026, around and between the changes of its clocks.
        now in 1_767_225_600_i64..1_798_761_600, freeze in 0_i64..20, samples in prop::collection::vec(0.0..1.0, 16),
    ) {
        let mut days = [false; 7];
        days[day] = true;
        days[(day + 3) % 7] = true;
        let to = from + length;
        let window = Window {
            name: "w".to_owned(),
            scope: Scope::default(),
            zone: Zone::parse(ZONES[zone]).unwrap(),
            days,
            from_min: from,
            to_min: if to > 1440 { to - 1440 } else { to },
        };
        let frozen = Freeze { name: "f".to_owned(), scope: Scope::default(), from_s: now - 3600, to_s: now + freeze * 43_200 };
        let calendar = Calendar { windows: vec![window], freezes: vec![frozen] };
        let found = calendar.at(Case::default(), None, now);
        let end = found.next_s.or(found.closes_s).expect("a weekly window has both");
        prop_assert!(end > now);
        prop_assert_eq!(calendar.at(Case::default(), None, end).open, !found.open);
        for share in samples {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any moment between")]
            let between = now + ((end - now) as f64 * share) as i64;
            prop_assert_eq!(calendar.at(Case::default(), None, between).open, found.open, "{}", between);
        }
    }
}

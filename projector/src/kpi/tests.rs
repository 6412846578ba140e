//! The worked examples of `docs/kpis.md`, and what no example shows.

use std::collections::BTreeMap;

use schemas::ids::{ChangeId, Producer};
use serde_json::{Value, json};

use super::figure::{Band, figures};
use super::scratch::{Filter, Scratch};
use super::*;
use crate::approval::Rules;
use crate::document::Entry;
use crate::testing::{Made, raw};

const DOC: &str = include_str!("../../../docs/kpis.md");

/// 2026-11-02T00:00:00Z.
const MONDAY_MS: u64 = 1_793_577_600_000;

fn time_ms(text: &str) -> u64 {
    u64::try_from(schemas::time::seconds(text).unwrap()).unwrap() * 1000
}

/// An event as the documentation writes one: `at`, `change`, `phase`, perhaps `producer`, and sections.
fn made(event: &Value) -> Made {
    let mut body = event.clone();
    let at = time_ms(event["at"].as_str().unwrap());
    let (change, phase) = (event["change"].as_str().unwrap(), event["phase"].as_str().unwrap());
    let members = body.as_object_mut().unwrap();
    for name in ["at", "change", "producer"] {
        members.remove(name);
    }
    let ts = members.get("timestamp").and_then(Value::as_str).map_or(at / 1000, |text| time_ms(text) / 1000);
    members.entry("timestamp").or_insert_with(|| event["at"].clone());
    members.insert("id".to_owned(), "e".into());
    members.insert("change_id".to_owned(), change.into());
    let intent = members.entry("intent").or_insert_with(|| json!({}));
    for (name, value) in [("source", "api"), ("initiator", "ann"), ("tenant", "acme")] {
        intent.as_object_mut().unwrap().entry(name).or_insert_with(|| value.into());
    }
    let mut made = raw(phase, json!({ "provisioning_event": body }).to_string().into_bytes());
    let header = &mut made.header;
    header.change = ChangeId::parse(change).unwrap();
    header.at = at;
    header.ts = i64::try_from(ts).unwrap();
    header.producer = event["producer"].as_str().map(|name| Producer::parse(name).unwrap());
    header.env = event["environment"].as_str().map(|name| schemas::ids::Environment::parse(name).unwrap());
    header.class = event["change_class"].as_str().map(|word| schemas::ids::ChangeClass::parse(word).unwrap());
    header.probe = event["probe"] == true;
    made
}

fn accounts(events: &[Value]) -> Vec<Account> {
    let made: Vec<Made> = events.iter().map(made).collect();
    let mut by_change: BTreeMap<&ChangeId, Vec<Entry<'_>>> = BTreeMap::new();
    for (index, made) in made.iter().enumerate() {
        let entry = Entry { index: index as u64, header: &made.header, payload: Some(&made.payload) };
        by_change.entry(&made.header.change).or_default().push(entry);
    }
    by_change.into_iter().filter_map(|(change, entries)| Account::of(change, &entries, &Rules::default())).collect()
}

fn figure_of(events: &[Value], window: Window, kpi: &str) -> Value {
    let scratch = Scratch::of(&accounts(events));
    let figures = figures(&scratch.sums(window, &Filter::default()));
    serde_json::to_value(figures.into_iter().find(|figure| figure.kpi == kpi).unwrap()).unwrap()
}

/// The first days of November, in which all examples lie.
const NOVEMBER: Window = Window { from: Day(20_758), to: Day(20_788) };

#[test]
fn the_worked_examples_are_right() {
    let blocks: Vec<&str> = DOC.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let mut shown = std::collections::BTreeSet::new();
    for block in blocks {
        let example: Value = serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        let expect = example["figure"].as_object().unwrap();
        let kpi = expect["kpi"].as_str().unwrap();
        let found = figure_of(example["events"].as_array().unwrap(), NOVEMBER, kpi);
        for (name, value) in expect {
            assert_eq!(&found[name], value, "{name} of {kpi}: {found:#}");
        }
        shown.insert(kpi.to_owned());
    }
    assert_eq!(shown, metric::KPIS.map(str::to_owned).into());
    assert_eq!(Day::of(MONDAY_MS), Day(20_759));
}

#[test]
fn every_kpi_of_the_model_is_measured_and_no_other() {
    let model: Vec<_> = schemas::model::get().kpis.iter().map(|kpi| kpi.id.as_str()).collect();
    assert_eq!(model, metric::KPIS);
    for kpi in &schemas::model::get().kpis {
        assert!(DOC.contains(&format!("## {}", kpi.name)), "{} has no section", kpi.name);
    }
}

#[test]
fn nothing_is_neither_0_nor_100_percent() {
    for kpi in metric::KPIS {
        let found = figure_of(&[], NOVEMBER, kpi);
        assert_eq!(found["measured"], false);
        assert!(found.get("value").is_none() && found.get("band").is_none(), "{found}");
        assert_eq!((&found["numerator"], &found["denominator"]), (&json!(0), &json!(0)));
    }
}

#[test]
fn what_falls_due_by_time_counts_from_midnight_on() {
    let executed =
        json!({"at": "2026-11-03T10:00:00Z", "change": "c", "phase": "execute", "execution": {"steps": [{"rc": 0}]}});
    let of = |day: u32| {
        figure_of(std::slice::from_ref(&executed), Window { from: Day(20_758), to: Day(day) }, metric::CHANGE_SUCCESS)
    };
    // Due on the 4th at 10:00, so it counts on the 5th, which is day 20_762.
    assert_eq!(of(20_762)["measured"], false);
    assert_eq!((of(20_763)["numerator"].clone(), of(20_763)["denominator"].clone()), (json!(0), json!(1)));
}

#[test]
fn bands_are_compared_without_rounding() {
    let kpi = |id: &str| schemas::model::get().kpi(id).unwrap().clone();
    let sums = |num, den| {
        let mut sums = figure::Sums::default();
        sums.totals.insert(metric::APPROVAL_COVERAGE.to_owned(), figure::Total { num, den, sum_us: 0 });
        figures(&sums).into_iter().find(|figure| figure.kpi == metric::APPROVAL_COVERAGE).unwrap()
    };
    assert_eq!(kpi(metric::APPROVAL_COVERAGE).l4, 100);
    let nearly = sums(99_999, 100_000);
    assert_eq!((nearly.value, nearly.band), (Some(99.99), Some(Band::L3)));
    let whole = sums(100_000, 100_000);
    assert_eq!((whole.value, whole.band), (Some(100.0), Some(Band::L4)));
    assert_eq!(sums(89_999, 100_000).band, Some(Band::Below));
    assert_eq!(sums(9, 10).band, Some(Band::L3));
}

#[test]
fn a_probe_counts_nowhere() {
    let event = json!({"at": "2026-11-03T10:00:00Z", "change": "c", "phase": "execute", "probe": true,
        "target": {"resources": [{"name": "a"}]}, "plan": {"inputs_digest": "i", "compile_ms": 1},
        "execution": {"steps": [{"rc": 1}]}, "verification": {"checks": [{"ok": false}], "duration_ms": 1}});
    for kpi in metric::KPIS {
        assert_eq!(figure_of(std::slice::from_ref(&event), NOVEMBER, kpi)["measured"], false, "{kpi}");
    }
}

fn numbers(figure: &Value) -> (u64, u64) {
    (figure["numerator"].as_u64().unwrap(), figure["denominator"].as_u64().unwrap())
}

fn at(time: &str, phase: &str, sections: &Value) -> Value {
    let mut event = json!({"at": format!("2026-11-{time}:00Z"), "change": "c", "phase": phase, "producer": "ci"});
    for (name, section) in sections.as_object().unwrap() {
        event[name] = section.clone();
    }
    event
}

/// Verified, then something else executed, then closed: what stands now was never looked at.
#[test]
fn what_is_executed_behind_the_last_check_is_no_success() {
    let execute = |time: &str| at(time, "execute", &json!({"execution": {"steps": [{"rc": 0, "stdout": "done"}]}}));
    let verify = |time: &str| at(time, "verify", &json!({"verification": {"checks": [{"ok": true}]}}));
    let close = at("03T12:00", "audit", &json!({"governance": {"closed": true}}));
    let sneaked = [execute("03T10:00"), verify("03T10:10"), execute("03T10:20"), close.clone()];
    let looked = [execute("03T10:00"), verify("03T10:10"), execute("03T10:20"), verify("03T10:30"), close];
    for (events, success) in [(&sneaked[..], 0), (&looked[..], 1)] {
        assert_eq!(numbers(&figure_of(events, NOVEMBER, metric::CHANGE_SUCCESS)), (success, 1));
        let lacks = &figure_of(events, NOVEMBER, metric::EVIDENCE)["apart"];
        assert_eq!(lacks["verification"], json!(1.0 - f64::from(u32::try_from(success).unwrap())));
    }
}

/// What was approved for one attempt covers nothing that another one did.
#[test]
fn each_attempt_that_executes_needs_its_approvals() {
    let approve = |time: &str, attempt: u64| {
        let given =
            json!({"approver": "bob", "role": "owner", "decision": "approved", "at": format!("2026-11-{time}:00Z")});
        let mut event = at(time, "preflight", &json!({"attempt": attempt, "preflight": {"approvals": [given]}}));
        event["producer"] = "approvals".into();
        event
    };
    let execute = |time: &str, attempt: u64, class: &str| {
        let sections = json!({"attempt": attempt, "change_class": class, "execution": {"steps": [{"rc": 0}]}});
        at(time, "execute", &sections)
    };
    let figure = |events: &[Value]| {
        let found = figure_of(events, NOVEMBER, metric::APPROVAL_COVERAGE);
        let apart =
            ["recorded", "none", "emergency", "emergency_approved"].map(|name| found["apart"][name].as_f64().unwrap());
        (numbers(&found), apart)
    };
    let first = [approve("03T09:00", 1), execute("03T10:00", 1, "normal")];
    let second = execute("05T10:00", 2, "normal");
    assert_eq!(figure(&first), ((1, 1), [1.0, 0.0, 0.0, 0.0]));
    assert_eq!(figure(&[&first[..], std::slice::from_ref(&second)].concat()), ((0, 1), [0.0, 1.0, 0.0, 0.0]));
    assert_eq!(figure(&[&first[..], &[approve("05T09:00", 2), second]].concat()), ((1, 1), [1.0, 0.0, 0.0, 0.0]));
    // An emergency behind a normal attempt makes no emergency of it, and has its time all the same.
    let urgent = [execute("05T10:00", 2, "emergency"), approve("06T10:00", 2)];
    assert_eq!(figure(&[&first[..], &urgent].concat()), ((1, 1), [1.0, 0.0, 0.0, 0.0]));
    // Two emergencies: covered with the last approval, missed with the first deadline.
    let both = [execute("03T10:00", 1, "emergency"), approve("04T10:00", 1), urgent[0].clone(), urgent[1].clone()];
    assert_eq!(figure(&both), ((0, 0), [0.0, 0.0, 1.0, 1.0]));
    let on = |events: &[Value], day: u32| {
        let window = Window { from: Day(day), to: Day(day + 1) };
        figure_of(events, window, metric::APPROVAL_COVERAGE)["apart"]["emergency"] == 1.0
    };
    // The third of November is day 20_760.
    assert!(on(&both[..2], 20_761) && on(&both, 20_763));
    assert!(on(&[both[0].clone(), both[2].clone()], 20_764), "72 hours after the first, from midnight on");
}

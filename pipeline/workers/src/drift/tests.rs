use proptest::prelude::*;
use schemas::ids::Phase;
use serde_json::{Value, json};

use super::*;
use crate::catalogue;
use crate::config::Config;
use crate::course::tests::{Log, STEPS, absent};
use crate::preflight::Answer;
use crate::verify::{self, Found, State, Wanted};

const HOUR_MS: u64 = 3_600_000;

fn state(value: &Value) -> State {
    let mut state = State::default();
    for id in STEPS {
        state.0.insert(id.to_owned(), if id == STEPS[2] { value.clone() } else { json!({"name": id}) });
    }
    state
}

fn verified() -> Log {
    let mut log = Log::planned();
    for id in STEPS {
        log.step(id, Some(0));
    }
    let baseline = state(&json!({"labels": {"owner": "a"}}));
    log.with(
        Phase::Verify,
        json!({"verification": {"purpose": "change", "checks": [{"ok": true}], "state": baseline.document(),
               "drift": {"baseline_hash": baseline.hash(), "current_hash": baseline.hash(), "diff": []}}}),
    )
}

/// What a look finds: the namespace as given, everything else as it was.
fn found(watched: &[Watched], namespace: &Value) -> Found {
    let mut found = Found::default();
    for look in watched.iter().flat_map(|one| &one.looks) {
        let is_gone = look.resource == STEPS[2] && namespace.is_null();
        let answer = |code, stdout: String, stderr: &str| Answer {
            code: Some(code),
            stdout,
            stderr: stderr.to_owned(),
            problem: None,
        };
        let said = match &look.wanted {
            Wanted::There(how) if is_gone => absent(how),
            Wanted::There(how) => match &how.when {
                crate::catalogue::When::Prints(text) => answer(0, text.clone(), ""),
                _ => answer(0, "x".to_owned(), ""),
            },
            _ if is_gone => answer(1, String::new(), "NotFound"),
            _ if look.resource == STEPS[2] => answer(0, namespace.to_string(), ""),
            _ => answer(0, json!({"name": look.resource}).to_string(), ""),
        };
        found.answers.insert(look.id.clone(), said);
    }
    found
}

fn compared(log: &Log, namespace: &Value, now_ms: u64) -> Compared {
    let (course, options) = (log.course(), Options::default());
    let watched = watched(&course, catalogue::shipped(), &options);
    assert_eq!(watched.len(), 3);
    compare(&course, &watched, &found(&watched, namespace), &verify::Options::default(), &options, now_ms).unwrap()
}

fn record(log: &mut Log, compared: &Compared) {
    log.add(Phase::Verify, json!({"verification": compared.verification(1)}));
}

#[test]
fn only_what_is_new_is_told() {
    let mut log = verified();
    let at_ms = 1_000 * log.0.len() as u64;
    let same = json!({"labels": {"owner": "a"}});
    assert_eq!(compared(&log, &same, at_ms).news, News::None);
    assert_eq!(compared(&log, &same, at_ms + 24 * HOUR_MS).news, News::Still);
    let other = compared(&log, &json!({"labels": {"owner": "b"}}), at_ms);
    assert_eq!(other.news, News::Drifted);
    assert_eq!(
        other.summary(),
        "1 resource differs from the baseline in 1 place; k8s_namespace/team-alpha /labels/owner: was \"a\", is \"b\""
    );
    assert_eq!(other.alarm().unwrap()["kind"], "drift");
    record(&mut log, &other);
    assert_eq!(compared(&log, &json!({"labels": {"owner": "b"}}), at_ms).news, News::None, "it was told");
    let gone = compared(&log, &Value::Null, at_ms);
    assert_eq!((gone.news, gone.differences[0].is_gone()), (News::Drifted, true));
    record(&mut log, &gone);
    let back = compared(&log, &same, at_ms);
    let alarm = back.alarm().unwrap();
    assert_eq!(
        (back.news, &alarm["kind"], &alarm["resources"]),
        (News::Back, &json!("drift_gone"), &json!([STEPS[2]]))
    );
}

#[test]
fn what_can_not_be_looked_at_is_not_gone() {
    let log = verified();
    let (course, options) = (log.course(), Options::default());
    let watched = watched(&course, catalogue::shipped(), &options);
    let mut found = found(&watched, &json!({"labels": {"owner": "a"}}));
    for look in watched.iter().flat_map(|one| &one.looks).filter(|look| look.resource == STEPS[2]) {
        found.answers.insert(look.id.clone(), Answer { problem: Some("no network".to_owned()), ..Answer::default() });
    }
    let compared = compare(&course, &watched, &found, &verify::Options::default(), &options, 5_000).unwrap();
    assert_eq!(compared.news, News::None);
    assert!(
        compared.summary().contains("k8s_namespace/team-alpha could not be looked at: no network"),
        "{}",
        compared.summary()
    );
}

/// What a later change took over is no drift of this one any more.
#[test]
fn what_was_taken_over_is_let_go() {
    let mut log = verified();
    let gone = compared(&log, &Value::Null, 5_000);
    record(&mut log, &gone);
    let (course, options) = (log.course(), Options::default());
    let mut watched = watched(&course, catalogue::shipped(), &options);
    assert!(!is_taken_over(&course, &watched));
    watched.retain(|one| one.resource != STEPS[2]);
    assert!(is_taken_over(&course, &watched));
    let compared = compare(&course, &watched, &Found::default(), &verify::Options::default(), &options, 5_000).unwrap();
    assert_eq!((compared.news, compared.differences.len()), (News::Back, 0));
}

/// A monitor's event is neither a success nor a failure of the change, but for what it compares.
#[test]
fn a_monitors_event_is_read_as_drift_alone() {
    let mut log = verified();
    let drifted = compared(&log, &Value::Null, 5_000);
    record(&mut log, &drifted);
    let course = log.course();
    assert_eq!(course.rounds.len(), 1);
    assert!(course.drifts[1].by_monitor && course.drifts[1].diff.len() == 1);
    assert_eq!(course.baseline().unwrap().index, course.drifts[0].index);
}

#[test]
fn what_was_taken_back_is_not_watched() {
    let mut log = verified();
    log.add(
        Phase::Execute,
        json!({"rollback": {"executed": {"outcome": "rolled_back", "steps": [{"id": STEPS[2], "rc": 0}]}}}),
    );
    assert!(watched(&log.course(), catalogue::shipped(), &Options::default()).is_empty());
    assert!(
        watched(&Log::planned().course(), catalogue::shipped(), &Options::default()).is_empty(),
        "nothing was verified"
    );
}

#[test]
fn monitors_say_what_is_watched_how_often() {
    let options = Config::read(
        "work.toml",
        "[drift]\nevery_s = 0\n[[drift.monitors]]\nname = \"fast\"\ntypes = [\"k8s_namespace\"]\nenvironments = [\"staging\"]\nevery_s = 60\n",
    )
    .unwrap()
    .drift;
    let watched = watched(&verified().course(), catalogue::shipped(), &options);
    assert_eq!(watched.iter().map(|one| (one.resource.as_str(), one.every_s)).collect::<Vec<_>>(), [(STEPS[2], 60)]);
    let due = watched[0].due_ms("c-1", 1_000, &options);
    assert!((61_000..=67_000).contains(&due), "{due}");
    assert_eq!(due, watched[0].due_ms("c-1", 1_000, &options));
    for (text, told) in [
        ("[drift]\nwebhook = \"ftp://x\"", "a URL"),
        ("[drift]\nauthorization_file = \"x\"", "this without a webhook"),
        ("[drift]\nrepair = 1", "true or false"),
        ("[[drift.monitors]]\nname = \"x\"", "every_s: found nothing"),
    ] {
        let mistakes = Config::read("work.toml", text).unwrap_err();
        assert!(mistakes[0].to_string().contains(told), "{}", mistakes[0]);
    }
}

#[test]
fn what_is_gone_is_asked_for_again_and_the_rest_is_said() {
    let log = verified();
    let gone = compared(&log, &Value::Null, 5_000);
    let asked = repair::repair(&log.course(), &gone.differences, catalogue::shipped(), &[], "drift of c-1");
    let request = asked.request.unwrap();
    assert_eq!(asked.mends, [STEPS[2]]);
    assert_eq!(request["resources"], json!([{"type": "k8s_namespace", "name": "team-alpha"}]));
    assert_eq!(request["environment"], "staging");
    // It is a request like any other.
    let read = crate::request::json::read(request.to_string().as_bytes()).unwrap();
    assert_eq!(crate::plan::plan(catalogue::shipped(), &read, None).unwrap().steps[0].id, STEPS[2]);
    let other = compared(&log, &json!({"labels": {"owner": "b"}}), 5_000);
    let asked = repair::repair(&log.course(), &other.differences, catalogue::shipped(), &[], "drift");
    assert_eq!(asked.request, None);
    assert!(asked.leaves[0].1.contains("nothing says which field /labels/owner is"), "{:?}", asked.leaves);
}

/// Where the catalogue has an update that sets the field, that is what is asked for.
#[test]
fn a_field_is_set_back_by_its_update() {
    let mut log = Log(Vec::new());
    log.add(
        Phase::Plan,
        json!({"environment": "staging", "target": {"resources": [{"type": "k8s_deployment", "name": "web", "namespace": "a", "replicas": "3"}]},
               "plan": {"commands": ["kubectl-1.29 get deployment web"]}}),
    );
    let course = log.course();
    let difference = verify::Difference {
        resource: "k8s_deployment/web".to_owned(),
        path: "/spec/replicas".to_owned(),
        was: Some(json!(3)),
        is: Some(json!(1)),
    };
    let kinds = &catalogue::shipped().types;
    let Some((update, _)) = kinds
        .get("k8s_deployment")
        .and_then(|kind| kind.updates.iter().find(|(_, update)| update.sets == ["replicas"]))
    else {
        panic!("the catalogue scales deployments: {:?}", kinds.keys());
    };
    let expectation = verify::Expectation {
        kind: "k8s_deployment".into(),
        field: "replicas".into(),
        pointer: "/spec/replicas".into(),
    };
    let asked =
        repair::repair(&course, std::slice::from_ref(&difference), catalogue::shipped(), &[expectation], "drift");
    assert_eq!(asked.request.unwrap()["resources"][0]["action"], update.as_str());
}

proptest! {
    /// A look never comes before its time, nor later than the jitter says, and resources do not come all at once.
    #[test]
    fn invariant_looks_come_in_time(last in 0..4_000_000_000_000_u64, every in 1..604_800_u64, jitter in 0..=100_u64, seed in "[a-z]{1,8}") {
        let next = schedule::next_ms(&seed, last, every, jitter);
        let every_ms = every * 1_000;
        prop_assert!(next >= last + every_ms && next <= last + every_ms + every_ms * jitter / 100);
        prop_assert_eq!(next, schedule::next_ms(&seed, last, every, jitter));
    }
}

#[test]
fn seeds_spread() {
    let times: std::collections::BTreeSet<u64> =
        (0..100).map(|n| schedule::next_ms(&format!("r{n}"), 0, 3_600, 10)).collect();
    assert!(times.len() > 95, "{}", times.len());
}

use proptest::prelude::*;
use schemas::ids::Phase;
use serde_json::{Value, json};

use super::*;
use crate::catalogue;
use crate::config::Config;
use crate::course::tests::{Log, STEPS, absent};
use crate::preflight::Answer;

fn executed() -> Log {
    let mut log = Log::planned();
    for id in STEPS {
        log.step(id, Some(0));
    }
    log
}

fn answer(code: u64, stdout: &str, stderr: &str) -> Answer {
    Answer { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned(), problem: None }
}

fn options(text: &str) -> Options {
    Config::read("work.toml", text).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).verify
}

/// Every look answered as a healthy cloud would.
fn healthy(looks: &[Look]) -> Found {
    let mut found = Found::default();
    for look in looks {
        let said = match &look.wanted {
            Wanted::There(how) => match &how.when {
                crate::catalogue::When::Prints(text) => answer(0, text, ""),
                _ => answer(0, "x", ""),
            },
            Wanted::Absent(how) => absent(how),
            Wanted::State => {
                answer(0, &json!({"name": look.resource, "metadata": {"resourceVersion": "7"}}).to_string(), "")
            }
            Wanted::RolledOut => answer(0, "successfully rolled out", ""),
        };
        found.answers.insert(look.id.clone(), said);
    }
    found
}

#[test]
fn everything_that_ran_is_looked_at_and_read_back() {
    let course = executed().course();
    let looks = looks(&course, catalogue::shipped());
    let ids: Vec<&str> = looks.iter().map(|look| look.id.as_str()).collect();
    for step in STEPS {
        assert!(
            ids.contains(&format!("check:{step}").as_str()) && ids.contains(&format!("state:{step}").as_str()),
            "{ids:?}"
        );
    }
    assert!(
        looks.iter().all(|look| catalogue::shipped().reads(&look.argv)),
        "commands of the catalogue that only look"
    );
    let round = healthy(&looks).round(course.plan.as_ref().unwrap(), &looks, &[], &Options::default());
    assert_eq!(round.holds(), Some(true), "{:?}", round.broken());
    assert_eq!(round.state.0.len(), 3);
    assert_eq!(round.state.0[STEPS[2]]["metadata"], json!({}), "what changes by itself is left out");
}

#[test]
fn what_is_missing_fails_with_where_it_was_looked() {
    let course = executed().course();
    let plan = course.plan.as_ref().unwrap();
    let looks = looks(&course, catalogue::shipped());
    let mut found = healthy(&looks);
    let check = looks.iter().find(|look| look.id == format!("check:{}", STEPS[2])).unwrap();
    let Wanted::There(how) = &check.wanted else { panic!("{check:?}") };
    found.answers.insert(check.id.clone(), absent(how));
    let round = found.round(plan, &looks, &[], &Options::default());
    assert_eq!(round.holds(), Some(false));
    let told = round.broken().join("\n");
    assert!(
        told.contains("k8s_namespace/team-alpha: it is not there; looked with: kubectl-1.29 get namespace team-alpha"),
        "{told}"
    );
    let document = round.document("change", None, false, Timing { duration_ms: 3, wait_ms: 9 });
    assert_eq!((&document["duration_ms"], &document["wait_ms"]), (&json!(3), &json!(9)));
    assert!(document["summary"].as_str().unwrap().contains("it is not there"), "{document}");
    assert!(found.answers.remove(&looks[0].id).is_some());
    assert_eq!(
        found.round(plan, &looks, &[], &Options::default()).holds(),
        Some(false),
        "what was not looked at does not hold"
    );
}

#[test]
fn what_is_not_at_work_does_not_hold() {
    let course = executed().course();
    let plan = course.plan.as_ref().unwrap();
    let argv: Vec<String> = ["kubectl-1.29", "rollout", "status", "deployment", "web"].map(str::to_owned).into();
    let looks = [Look {
        id: "rollout:k8s_deployment/web".to_owned(),
        resource: "k8s_deployment/web".to_owned(),
        argv,
        wanted: Wanted::RolledOut,
    }];
    let mut found = healthy(&looks);
    let round = found.round(plan, &looks, &[], &Options::default());
    assert_eq!((round.holds(), round.state.0.len()), (Some(true), 0), "a rollout is no state");
    found.answers.insert(looks[0].id.clone(), answer(1, "", "error: timed out waiting for the condition"));
    let round = found.round(plan, &looks, &[], &Options::default());
    assert_eq!(
        round.broken(),
        [
            "k8s_deployment/web: exit code 1: error: timed out waiting for the condition; looked with: kubectl-1.29 rollout status deployment web"
        ]
    );
}

#[test]
fn after_a_rollback_the_opposite_is_asked() {
    let course = executed().course();
    let way = rollback_way(&course);
    let looks = looks_after_rollback(&course, &way, catalogue::shipped());
    assert_eq!(looks.len(), 2, "the group was left: {looks:?}");
    assert!(looks.iter().all(|look| matches!(look.wanted, Wanted::Absent(_))));
    let mut found = healthy(&looks);
    let plan = course.plan.as_ref().unwrap();
    let round = found.round(plan, &looks, &[], &Options::default());
    assert_eq!(round.holds(), Some(true), "{:?}", round.broken());
    assert!(looks[0].id.ends_with(STEPS[2]), "{looks:?}");
    found.answers.insert(looks[0].id.clone(), answer(0, "namespace/team-alpha", ""));
    let round = found.round(plan, &looks, &[], &Options::default());
    assert!(round.broken()[0].contains("it is still there"), "{:?}", round.broken());
}

fn rollback_way(course: &crate::course::Course) -> crate::rollback::Way {
    crate::rollback::Way::of(course).unwrap()
}

#[test]
fn fields_are_held_against_what_was_asked_for() {
    let course = executed().course();
    let looks = looks(&course, catalogue::shipped());
    let options =
        options("[[verify.expect]]\ntype = \"az_resource_group\"\nfield = \"location\"\npointer = \"/location\"\n");
    let mut found = healthy(&looks);
    let mut round = |location: &Value| {
        let printed = json!({"name": "rg-demo", "location": location}).to_string();
        found.answers.insert(format!("state:{}", STEPS[0]), answer(0, &printed, ""));
        found.round(course.plan.as_ref().unwrap(), &looks, &[], &options)
    };
    let said = fields(course.plan.as_ref().unwrap())[STEPS[0]].get("location").cloned();
    let asked = said.expect("the plan says where");
    assert_eq!(round(&json!(asked)).holds(), Some(true));
    let elsewhere = round(&json!("westus"));
    assert!(
        elsewhere.broken()[0].contains("location is \"westus\", asked for was \"eastus\" (/location)"),
        "{:?}",
        elsewhere.broken()
    );
}

#[test]
fn probes_run_once_for_each_resource_and_levels_are_kept() {
    let course = executed().course();
    let plan = course.plan.as_ref().unwrap();
    let options = options(
        "[[verify.probes]]\nname = \"api\"\ntypes = [\"k8s_namespace\"]\nhttp = \"http://{name}.example.org/health\"\n\
         [[verify.probes]]\nname = \"port\"\ntcp = \"db.example.org:5432\"\n\
         [[verify.slo]]\nname = \"fast\"\nprobe = \"api\"\nsamples = 3\ngood_percent = 60\np95_ms = 20\n\
         [[verify.slo]]\nname = \"few\"\ncommand = \"kubectl-1.29 get events\"\nat_most = 2.5\n",
    );
    let runs = probes(plan, &options);
    let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(
        ids,
        ["probe:api:k8s_namespace/team-alpha", "probe:port", "slo:fast:probe:api:k8s_namespace/team-alpha", "slo:few"]
    );
    let Ok(Way::Http { url, .. }) = &runs[0].way else { panic!("{:?}", runs[0]) };
    assert_eq!(url, "http://team-alpha.example.org/health");
    assert_eq!(runs[2].samples, 3);
    let probed = |good: bool, ms: u64| Probed { good, message: "answered".to_owned(), ms, printed: None };
    let number = |text: &str| Probed { printed: Some(text.to_owned()), ..probed(true, 1) };
    let check = |samples: Vec<Probed>, printed: &str, expect: bool| {
        let mut found = Found::default();
        found.probes.insert(runs[0].id.clone(), vec![probed(true, 3)]);
        found.probes.insert(runs[1].id.clone(), vec![probed(true, 3)]);
        found.probes.insert(runs[2].id.clone(), samples);
        found.probes.insert(runs[3].id.clone(), vec![number(printed)]);
        let round = found.round(plan, &[], &runs, &options);
        assert_eq!(round.holds(), Some(expect), "{:?}", round.slo);
        assert_eq!(round.checks.len(), 2);
    };
    check(vec![probed(true, 1), probed(true, 20), probed(false, 2)], " 2.5\n", true);
    check(vec![probed(true, 1), probed(true, 21), probed(true, 2)], "2", false);
    check(vec![probed(true, 1), probed(false, 1), probed(false, 2)], "2", false);
    check(vec![probed(true, 1); 3], "2.6", false);
    check(vec![probed(true, 1); 3], "many", false);
    check(Vec::new(), "1", false);
}

#[test]
fn nothing_that_steers_goes_into_a_probe() {
    let mut log = Log(Vec::new());
    log.add(
        Phase::Plan,
        json!({"target": {"resources": [{"type": "t", "name": "a/../b?x"}]}, "plan": {"commands": ["kubectl-1.29 create namespace a"]}}),
    );
    let course = log.course();
    let options = options("[[verify.probes]]\nname = \"api\"\ntypes = [\"t\"]\nhttp = \"http://{name}/\"\n");
    let runs = probes(course.plan.as_ref().unwrap(), &options);
    assert_eq!(runs[0].way, Err("its name \"a/../b?x\" is no plain name".to_owned()));
    let round = Found::default().round(course.plan.as_ref().unwrap(), &[], &runs, &options);
    assert_eq!(round.holds(), Some(false));
}

#[test]
fn pauses_grow_up_to_the_deadline() {
    let options = options("[verify]\ndeadline_s = 10\ninterval_ms = 500\ninterval_most_ms = 2000\n");
    let pause = |passed_ms| options.pause_ms(passed_ms);
    assert_eq!([0, 500, 1_000, 2_000, 4_000].map(pause), [500, 500, 1_000, 2_000, 2_000].map(Some));
    assert_eq!(pause(9_400), Some(600), "never past the deadline");
    assert_eq!((pause(10_000), pause(u64::MAX)), (None, None));
}

#[test]
fn differences_are_told_in_words() {
    let state = |value: &Value| State([("a/b".to_owned(), value.clone())].into());
    let was = state(&json!({"spec": {"replicas": 3, "image": "x:1"}, "list": [1, 2], "gone": true}));
    let is = state(&json!({"spec": {"replicas": 5, "image": "x:1"}, "list": [1], "new/one": null}));
    let found = is.differences(&was);
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "a/b /gone: was true, is not there",
            "a/b /list/1: was 2, is not there",
            "a/b /new~1one: was not there, is null",
            "a/b /spec/replicas: was 3, is 5",
        ]
    );
    assert!(
        state::summary(&found).starts_with("1 resource differs from the baseline in 4 places; a/b /gone"),
        "{}",
        state::summary(&found)
    );
    for one in &found {
        assert_eq!(Difference::read(&one.document()).as_ref(), Some(one));
    }
    let gone = state(&Value::Null).differences(&was);
    assert_eq!(state::summary(&gone), "1 resource differs from the baseline in 1 place; a/b is gone");
    assert_eq!(was.hash(), State::read(&was.document()).unwrap().hash());
    assert_ne!(was.hash(), is.hash());
}

#[test]
fn what_is_kept_is_what_admission_keeps() {
    let mut state = State::default();
    state.add(
        "a/b",
        r#"{"user": "x", "password": "hunter2hunter2", "note": "Authorization: Bearer abcdefghijklmnop1234"}"#,
        &[],
    );
    let kept = state.kept();
    let event = json!({"provisioning_event": {
        "id": "e", "timestamp": "2026-01-01T00:00:00Z", "phase": "verify",
        "intent": {"source": "api", "initiator": "a", "tenant": "acme"},
        "verification": {"state": kept.document(), "drift": {"diff": [{"was": null}]}}}});
    assert!(!event.to_string().contains("hunter2"), "{event}");
    let mut scratch = schemas::admit::Scratch::default();
    let bytes = event.to_string();
    let (_, admitted) = schemas::admit::admit_unaddressed(bytes.as_bytes(), &mut scratch).unwrap();
    let stored: Value = serde_json::from_slice(&admitted.payload).unwrap();
    assert_eq!(State::read(&stored["provisioning_event"]["verification"]["state"]).unwrap().hash(), kept.hash());
}

#[test]
fn large_states_keep_their_digest() {
    let mut state = State::default();
    state.add("a/large", &json!({"text": "x".repeat(state::KEPT_BYTES)}).to_string(), &[]);
    state.add("a/small", "{}", &[]);
    let kept = state.kept();
    assert!(kept.0["a/large"]["sha256"].is_string() && kept.document().to_string().len() < 1_000);
    assert_eq!(kept.0["a/small"], json!({}));
}

proptest! {
    /// A state differs from another if and only if it is another, and what is told leads from one to the other.
    #[test]
    fn invariant_no_difference_means_the_same(was in json(), is in json()) {
        let state = |value: &Value| State([("a/b".to_owned(), value.clone())].into());
        let found = state(&is).differences(&state(&was));
        prop_assert_eq!(found.is_empty(), was == is);
        for one in &found {
            let at = |value: &Value| value.pointer(&one.path).cloned();
            prop_assert_eq!(at(&was), one.was.clone());
            prop_assert_eq!(at(&is), one.is.clone());
        }
        prop_assert_eq!(state(&was).hash() == state(&is).hash(), was == is);
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c/~]{1,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

//! Plans of the shipped catalogue, run on paper.

use serde_json::{Value, json};

use super::*;
use crate::catalogue::{Catalogue, shipped};
use crate::command::{Capture, Ending, Finished};
use crate::config::Config;
use crate::execute::class::Class;
use crate::execute::event::{Beside, Done, Handed, Manner, Scene};
use crate::execute::progress::Past;
use crate::preflight::Planned;

fn namespaces(names: &[&str]) -> Value {
    let steps: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({
                "id": format!("k8s_namespace/{name}"), "action": "create",
                "argv": ["kubectl-1.29", "create", "namespace", name],
                "check": {"command": format!("kubectl-1.29 get namespace {name} --ignore-not-found --output name"), "prints_other_than": ""},
                "read_back": format!("kubectl-1.29 get namespace {name} --output json"),
            })
        })
        .collect();
    let commands: Vec<String> = names.iter().map(|name| format!("kubectl-1.29 create namespace {name}")).collect();
    json!({"commands": commands, "steps": steps})
}

fn planned(plan: &Value, catalogue: &Catalogue) -> Planned {
    let mut plan = plan.clone();
    plan["digest_version"] = schemas::plan::WHOLE.into();
    let event = json!({"provisioning_event": {"plan": plan}});
    Planned::read(event.to_string().as_bytes(), catalogue).unwrap()
}

fn runnable(plan: &Value, options: &WaveOptions) -> Result<Runnable, String> {
    Runnable::read(&planned(plan, shipped()), shipped(), options)
}

fn scene(instance: &str) -> Scene {
    Scene {
        plan_digest: "sha256:x".to_owned(),
        instance: instance.to_owned(),
        place: "here".to_owned(),
        tools: Vec::new(),
        guards: json!({}),
        pipes: Vec::new(),
        gate_s: 60,
        telemetry: "/v1/tenants/default/changes/c-1/watch".to_owned(),
    }
}

fn manner(runnable: &Runnable, start: &Start) -> Manner {
    let verified = start.why != Why::Insecure;
    Manner { number: start.number, line: runnable.steps[start.step].line.clone(), verified, handed: None }
}

fn finished(rc: i32) -> Finished {
    Finished {
        argv: Vec::new(),
        ending: Ending::Exited(rc),
        started_at: String::new(),
        finished_at: String::new(),
        duration_ms: 1,
        stdout: Capture::new().finish(),
        stderr: Capture::new().finish(),
    }
}

/// A change on paper: its events, and the clock.
struct Paper {
    runnable: Runnable,
    options: WaveOptions,
    events: Vec<(bool, Value)>,
    now_ms: u64,
}

impl Paper {
    fn new(plan: &Value, options: WaveOptions) -> Self {
        let runnable = runnable(plan, &options).unwrap();
        Self { runnable, options, events: Vec::new(), now_ms: 1_000_000 }
    }

    fn progress(&self) -> Progress {
        let events = self.events.iter().zip(0..);
        Progress::read(events.map(|((own, event), index)| Past { index, own: *own, event }))
    }

    fn due(&self) -> Due {
        next(&self.runnable, &self.progress(), &self.options, &BTreeSet::new(), self.now_ms)
    }

    fn starts(&self) -> Vec<Start> {
        match self.due() {
            Due::Start(starts) => starts,
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, sections: crate::build::Sections) {
        let event = Value::Object(sections.into_map());
        self.events.push((true, event));
    }

    fn order(&mut self, kind: &str) {
        self.events.push((false, json!({"order": {"kind": kind, "by": "ada", "reason": "because"}})));
    }

    fn begin(&mut self, start: &Start) {
        let step = &self.runnable.steps[start.step];
        let said = scene("w-1").started(step, &manner(&self.runnable, start), self.now_ms, self.now_ms + 900_000);
        self.say(said);
    }

    fn end(&mut self, start: &Start, rc: i32) {
        let step = &self.runnable.steps[start.step];
        let remaining = u64::try_from(self.runnable.steps.len() - 1).unwrap();
        let done = Done {
            changed: Some(rc == 0),
            changed_before: self.progress().has_changed(),
            remaining,
            last_wave: None,
            at_ms: self.now_ms,
        };
        let (manner, class) = (manner(&self.runnable, start), if rc == 0 { Class::Done } else { Class::Final });
        let said = scene("w-1").ended(step, &manner, &finished(rc), &Beside::default(), &class, &done);
        self.say(said);
    }

    fn retry(&mut self, start: &Start, class: &Class, again_ms: u64) {
        let step = &self.runnable.steps[start.step];
        let manner = manner(&self.runnable, start);
        let said = scene("w-1").tried(step, &manner, &finished(1), &Beside::default(), class, again_ms);
        self.say(said);
    }

    fn run(&mut self) -> String {
        let starts = self.starts();
        let names: Vec<String> = starts.iter().map(|start| self.runnable.steps[start.step].id.clone()).collect();
        for start in &starts {
            self.begin(start);
            self.end(start, 0);
        }
        names.join(" ").replace("k8s_namespace/", "")
    }
}

fn three() -> Value {
    namespaces(&["a", "b", "c"])
}

#[test]
fn steps_run_one_after_the_other_to_the_end() {
    let mut paper = Paper::new(&three(), WaveOptions::default());
    assert_eq!([paper.run(), paper.run(), paper.run()], ["a", "b", "c"]);
    assert_eq!(paper.due(), Due::Over);
    assert!(paper.progress().has_changed() && !paper.progress().has_failed());
}

#[test]
fn a_failure_is_the_end_and_what_was_begun_runs_out() {
    let mut paper = Paper::new(&three(), WaveOptions { concurrency: 2, ..WaveOptions::default() });
    let starts = paper.starts();
    assert_eq!(starts.len(), 2);
    paper.begin(&starts[0]);
    paper.begin(&starts[1]);
    paper.end(&starts[0], 3);
    let running = BTreeSet::from([1]);
    assert_eq!(next(&paper.runnable, &paper.progress(), &paper.options, &running, paper.now_ms), Due::Wait(None));
    paper.end(&starts[1], 0);
    assert_eq!(paper.due(), Due::Over);
}

#[test]
fn what_was_begun_and_not_ended_is_lost_until_its_check_says_more() {
    let mut paper = Paper::new(&three(), WaveOptions::default());
    let first = paper.starts().remove(0);
    assert_eq!((first.number, &first.why), (1, &Why::First));
    paper.begin(&first);
    let again = paper.starts().remove(0);
    assert_eq!((again.step, again.number), (0, 2));
    let lost = Why::Lost { instance: "w-1".into(), place: "here".into(), until_ms: 1_900_000 };
    assert_eq!(again.why, lost);
    // Somebody else's word about a step is none.
    paper.events.push((false, json!({"execution": {"steps": [{"id": "k8s_namespace/a", "rc": 0}]}})));
    assert_eq!(paper.starts()[0].why, lost);
}

#[test]
fn retries_wait_and_the_one_without_certificates_is_no_ordinary_one() {
    let mut paper = Paper::new(&three(), WaveOptions::default());
    let first = paper.starts().remove(0);
    paper.begin(&first);
    paper.retry(&first, &Class::Passing("network".into()), 1_000_500);
    assert_eq!(paper.due(), Due::Wait(Some(1_000_500)));
    paper.now_ms = 1_000_500;
    let second = paper.starts().remove(0);
    assert_eq!((second.number, &second.why), (2, &Why::Again));
    paper.begin(&second);
    paper.retry(&second, &Class::Certificate, paper.now_ms);
    let third = paper.starts().remove(0);
    assert_eq!((third.number, &third.why), (3, &Why::Insecure));
    paper.begin(&third);
    paper.end(&third, 0);
    let progress = paper.progress();
    assert_eq!((progress.retried, progress.insecure.len()), (2, 1));
    let said = &paper.events.last().unwrap().1["execution"];
    assert_eq!(said["tls_verified"], Value::Bool(false));
    let trace: Vec<String> = paper.events.iter().map(|(_, event)| event["audit_trace"][0]["msg"].to_string()).collect();
    assert!(trace.iter().any(|line| line.contains("without checking certificates")), "{trace:?}");
}

#[test]
fn steps_wait_for_those_that_they_stand_on() {
    let mut plan = three();
    plan["steps"][2]["depends_on"] = json!(["k8s_namespace/a"]);
    let mut paper = Paper::new(&plan, WaveOptions { concurrency: 9, ..WaveOptions::default() });
    let starts = paper.starts();
    assert_eq!(starts.iter().map(|start| start.step).collect::<Vec<_>>(), [0, 1]);
    for start in &starts {
        paper.begin(start);
    }
    paper.end(&starts[0], 0);
    let running = BTreeSet::from([1]);
    let due = next(&paper.runnable, &paper.progress(), &paper.options, &running, paper.now_ms);
    assert_eq!(due, Due::Start(vec![Start { step: 2, number: 1, why: Why::First }]));
}

#[test]
fn no_more_start_in_a_minute_than_may() {
    let options = WaveOptions { concurrency: 9, starts_per_minute: 2, ..WaveOptions::default() };
    let mut paper = Paper::new(&three(), options);
    assert_eq!(paper.run(), "a b");
    assert_eq!(paper.due(), Due::Wait(Some(1_060_000)));
    paper.now_ms = 1_060_000;
    assert_eq!(paper.run(), "c");
}

fn canary() -> Value {
    let mut plan = three();
    let gate = |names: &[&str]| json!({"read_back": names});
    plan["waves"] = json!([
        {"name": "canary 10 %", "percent": 10, "steps": ["k8s_namespace/a"], "gate": gate(&["k8s_namespace/a"])},
        {"name": "canary 100 %", "percent": 100, "steps": ["k8s_namespace/b", "k8s_namespace/c"], "gate": gate(&["k8s_namespace/b"])},
    ]);
    plan
}

#[test]
fn the_next_wave_waits_for_the_gate_and_a_gate_that_does_not_hold_pauses() {
    let options = WaveOptions { concurrency: 9, ..WaveOptions::default() };
    let mut paper = Paper::new(&canary(), options);
    assert_eq!(paper.run(), "a");
    assert_eq!(paper.due(), Due::Gate(0));
    let wave = paper.runnable.waves[0].clone();
    let said = scene("w-1").gate(&paper.runnable, &wave, &[(0, Some("exit code 1".into()))], &[], paper.now_ms);
    paper.say(said);
    let Due::Pause(1, reason) = paper.due() else { panic!("{:?}", paper.due()) };
    assert!(reason.contains("canary 10 %"), "{reason}");
    let next_wave = paper.runnable.waves[1].clone();
    paper.say(scene("w-1").paused(&next_wave, &reason, paper.now_ms));
    assert_eq!(paper.due(), Due::Paused);
    paper.order("resume");
    assert_eq!(paper.due(), Due::Gate(0), "it is looked at again, not waved through");
    paper.say(scene("w-1").gate(&paper.runnable, &wave, &[(0, None)], &[], paper.now_ms));
    assert_eq!(paper.run(), "b c");
    assert_eq!(paper.due(), Due::Over, "what comes behind the last wave is for verification");
}

#[test]
fn oddities_and_promotion_by_hand_pause_once_before_the_next_wave() {
    let by_hand = WaveOptions { concurrency: 9, promote_by_hand: true, ..WaveOptions::default() };
    let odd = WaveOptions { concurrency: 9, pause_on: [Oddity::Retry].into(), ..WaveOptions::default() };
    for (options, retried) in [(by_hand, false), (odd, true)] {
        let mut paper = Paper::new(&canary(), options);
        if retried {
            let start = paper.starts().remove(0);
            paper.begin(&start);
            paper.retry(&start, &Class::Passing("busy".into()), 0);
        }
        assert_eq!(paper.run(), "a");
        let wave = paper.runnable.waves[0].clone();
        paper.say(scene("w-1").gate(&paper.runnable, &wave, &[(0, None)], &[], paper.now_ms));
        let Due::Pause(1, reason) = paper.due() else { panic!("{:?}", paper.due()) };
        let next_wave = paper.runnable.waves[1].clone();
        paper.say(scene("w-1").paused(&next_wave, &reason, paper.now_ms));
        assert_eq!(paper.due(), Due::Paused);
        paper.order("resume");
        assert_eq!(paper.run(), "b c");
    }
    // Without anything odd it goes on by itself.
    let odd = WaveOptions { concurrency: 9, pause_on: [Oddity::Retry].into(), ..WaveOptions::default() };
    let mut paper = Paper::new(&canary(), odd);
    assert_eq!(paper.run(), "a");
    let wave = paper.runnable.waves[0].clone();
    paper.say(scene("w-1").gate(&paper.runnable, &wave, &[(0, None)], &[], paper.now_ms));
    assert_eq!(paper.run(), "b c");
}

#[test]
fn people_pause_resume_and_cancel() {
    let mut paper = Paper::new(&three(), WaveOptions::default());
    paper.order("pause");
    assert_eq!(paper.due(), Due::Paused);
    paper.order("resume");
    assert_eq!(paper.run(), "a");
    paper.order("cancel");
    assert_eq!(paper.due(), Due::Cancel);
    let running = BTreeSet::from([1]);
    assert_eq!(next(&paper.runnable, &paper.progress(), &paper.options, &running, paper.now_ms), Due::Wait(None));
    paper.say(scene("w-1").cancelled("ada", "because", &["a"], &["b", "c"], paper.now_ms));
    assert_eq!(paper.due(), Due::Over);
    // What is over can't be cancelled.
    let mut paper = Paper::new(&namespaces(&["a"]), WaveOptions::default());
    assert_eq!(paper.run(), "a");
    paper.order("cancel");
    assert_eq!(paper.due(), Due::Over);
}

#[test]
fn commands_without_steps_keep_their_order() {
    let commands = json!({"commands": ["kubectl-1.29 create namespace a", "kubectl-1.29 create namespace b"]});
    let mut paper = Paper::new(&commands, WaveOptions { concurrency: 9, ..WaveOptions::default() });
    assert_eq!([paper.run(), paper.run()], ["command 1", "command 2"]);
}

#[test]
fn large_waves_are_cut() {
    let plan = namespaces(&["a", "b", "c", "d", "e"]);
    let parts = runnable(&plan, &WaveOptions { most_steps: 2, ..WaveOptions::default() }).unwrap().waves;
    let told: Vec<(usize, u64)> = parts.iter().map(|wave| (wave.steps.len(), wave.percent)).collect();
    assert_eq!(told, [(2, 33), (2, 66), (1, 100)]);
    assert_eq!(parts[1].name, "all, part 2 of 3");
}

#[test]
fn a_plan_whose_order_does_not_hold_is_not_run() {
    let check = |change: &dyn Fn(&mut Value), told: &str| {
        let mut plan = canary();
        change(&mut plan);
        let error = runnable(&plan, &WaveOptions::default()).unwrap_err();
        assert!(error.contains(told), "{error}");
    };
    check(&|plan| plan["waves"][1]["steps"] = json!(["k8s_namespace/b"]), "k8s_namespace/c is in no wave");
    check(&|plan| plan["waves"][1]["steps"] = json!(["k8s_namespace/a"]), "in two waves");
    check(&|plan| plan["waves"][0]["steps"] = json!(["nobody"]), "is no step");
    check(&|plan| plan["waves"][0]["gate"]["read_back"] = json!(["k8s_namespace/c"]), "which comes later");
    check(&|plan| plan["steps"][0]["depends_on"] = json!(["k8s_namespace/b"]), "no step before it");
    check(&|plan| plan["steps"][0]["read_back"] = json!("kubectl-1.29 delete namespace a"), "only looks");
    check(&|plan| plan["steps"][1]["id"] = json!("k8s_namespace/a"), "one name");
    check(&|plan| plan["commands"][0] = json!("kubectl-1.29 create namespace x"), "beside the command");
    let depends = |plan: &mut Value| {
        plan["steps"][1]["depends_on"] = json!(["k8s_namespace/a"]);
        let waves = plan["waves"].as_array_mut().unwrap();
        waves.reverse();
    };
    check(&depends, "before k8s_namespace/a");
}

#[test]
fn what_is_said_of_a_step_is_admitted_and_names_no_credential() {
    let plan = three();
    let planned = planned(&plan, shipped());
    let runnable = runnable(&plan, &WaveOptions::default()).unwrap();
    let scene = Scene { guards: Scene::guards(&Config::default(), &planned, &runnable.waves), ..scene("w-1") };
    let handed = Handed { kind: "vault".into(), ttl_s: Some(60), mtls: true };
    let manner = Manner { number: 1, line: runnable.steps[0].line.clone(), verified: true, handed: Some(handed) };
    let done =
        Done { changed: Some(true), changed_before: false, remaining: 2, last_wave: None, at_ms: 1_760_000_000_000 };
    let references = Beside { stdout: Some("obs://upm-a/x".into()), ..Beside::default() };
    let said = scene.ended(&runnable.steps[0], &manner, &finished(0), &references, &Class::Done, &done);
    let fields = crate::build::Fields {
        id: "c-1.execute".into(),
        timestamp: "2025-10-09T08:53:20Z".into(),
        phase: schemas::ids::Phase::Execute,
        change: Some("c-1".into()),
        environment: None,
        class: None,
        attempt: None,
        probe: false,
        request: None,
        source: "api".into(),
        initiator: "ada".into(),
        tenant: "default".into(),
        reason: None,
        ticket: None,
    };
    let bytes = crate::build::event(&fields, &said);
    let (_, admitted) = schemas::admit::admit_unaddressed(&bytes, &mut schemas::admit::Scratch::default()).unwrap();
    assert_eq!(admitted.masked, 0);
    let event: Value = serde_json::from_slice(&bytes).unwrap();
    let execution = &event["provisioning_event"]["execution"];
    assert_eq!(execution["credentials"], json!({"kind": "vault", "ttl_s": 60}));
    assert_eq!(
        (&execution["mTLS"], &execution["changed"], &execution["remaining"]),
        (&json!(true), &json!(true), &json!(2))
    );
    assert_eq!(execution["steps"][0]["stdout_ref"], "obs://upm-a/x");
}

/// Two pairs, the second of which stands on the first, in two waves.
fn pairs() -> Value {
    let mut plan = namespaces(&["a", "b", "c", "d"]);
    plan["steps"][2]["depends_on"] = json!(["k8s_namespace/a"]);
    plan["steps"][3]["depends_on"] = json!(["k8s_namespace/b", "k8s_namespace/a"]);
    let wave = |name: &str, steps: [&str; 2]| {
        let steps = steps.map(|step| format!("k8s_namespace/{step}"));
        json!({"name": name, "percent": 50, "steps": steps, "gate": {"read_back": [steps[0]]}})
    };
    plan["waves"] = json!([wave("first", ["a", "b"]), wave("second", ["c", "d"])]);
    plan
}

proptest::proptest! {
    /// Whatever happens on the way (failures, tries, lost workers, orders, gates that do not hold), nothing starts before its time, and nothing that is over starts.
    #[test]
    fn invariant_nothing_starts_that_may_not(
        choices in proptest::collection::vec(0_u8..12, 0..60),
        concurrency in 1_u64..4,
        per_minute in 0_u64..4,
    ) {
        let options = WaveOptions {
            concurrency,
            starts_per_minute: per_minute,
            pause_on: [Oddity::TlsFallback].into(),
            ..WaveOptions::default()
        };
        let mut paper = Paper::new(&pairs(), options);
        for choice in choices {
            match choice {
                10 => paper.order("pause"),
                11 => paper.order("cancel"),
                _ => {}
            }
            let progress = paper.progress();
            match paper.due() {
                Due::Start(starts) => {
                    proptest::prop_assert!(progress.paused.is_none() && progress.cancelled.is_none() && !progress.has_failed());
                    proptest::prop_assert!(starts.len() as u64 <= concurrency);
                    for start in &starts {
                        let step = &paper.runnable.steps[start.step];
                        let tries = match progress.steps.get(&step.id) {
                            None => 0,
                            Some(State::Started { number, .. } | State::Tried { number, .. }) => *number,
                            Some(State::Ended { .. }) => return Err(proptest::test_runner::TestCaseError::fail("it is over")),
                        };
                        proptest::prop_assert_eq!(start.number, tries + 1);
                        let stands = step.after.iter().all(|before| progress.rc(&paper.runnable.steps[*before].id) == Some(0));
                        proptest::prop_assert!(stands, "{} starts before what it stands on", step.id);
                        let first_holds = progress.gates.get("first") == Some(&true);
                        proptest::prop_assert!(start.step < 2 || first_holds, "{} starts before the gate", step.id);
                    }
                    if per_minute > 0 {
                        let recent = progress.starts_ms.iter().filter(|at| **at + 60_000 > paper.now_ms).count();
                        proptest::prop_assert!(recent as u64 + starts.len() as u64 <= per_minute);
                    }
                    let start = starts[0].clone();
                    paper.begin(&start);
                    match choice {
                        0 => paper.end(&start, 7),
                        1 => paper.retry(&start, &Class::Passing("busy".into()), paper.now_ms + 500),
                        2 if !progress.insecure.contains(&paper.runnable.steps[start.step].id) => {
                            paper.retry(&start, &Class::Certificate, paper.now_ms);
                        }
                        // Its worker is gone.
                        3 => {}
                        _ => paper.end(&start, 0),
                    }
                }
                Due::Gate(at) => {
                    let wave = paper.runnable.waves[at].clone();
                    let why = (choice == 4).then(|| "exit code 1".to_owned());
                    let said = scene("w-1").gate(&paper.runnable, &wave, &[(0, why)], &[], paper.now_ms);
                    paper.say(said);
                }
                Due::Pause(before, reason) => {
                    let wave = paper.runnable.waves[before].clone();
                    paper.say(scene("w-1").paused(&wave, &reason, paper.now_ms));
                    proptest::prop_assert_eq!(paper.due(), Due::Paused);
                }
                Due::Paused => paper.order("resume"),
                Due::Cancel => paper.say(scene("w-1").cancelled("ada", "because", &[], &[], paper.now_ms)),
                Due::Wait(Some(until_ms)) => {
                    proptest::prop_assert!(until_ms > paper.now_ms);
                    paper.now_ms = until_ms;
                }
                Due::Wait(None) => return Err(proptest::test_runner::TestCaseError::fail("it waits for nothing")),
                Due::Over => break,
            }
        }
    }
}

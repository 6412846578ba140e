use proptest::prelude::*;
use schemas::ids::Phase;
use serde_json::{Value, json};

use super::*;
use crate::catalogue;
use crate::rollback::Automatic;

/// Events with their indices, as the log would hold them.
pub(crate) struct Log(pub(crate) Vec<(Phase, Vec<u8>)>);

impl Log {
    /// A plan for a namespace in a group and a cluster of the model, and its way back but for the group.
    pub(crate) fn planned() -> Self {
        let request = crate::request::json::read(
            json!({"request": "Create AKS cluster aks-demo in eastus and namespace team-alpha",
                   "environment": "staging"})
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        let plan = crate::plan::plan(catalogue::shipped(), &request, None).unwrap();
        let mut log = Self(Vec::new());
        log.add(Phase::Plan, plan.document());
        log
    }

    pub(crate) fn add(&mut self, phase: Phase, mut sections: Value) {
        let members = sections.as_object_mut().unwrap();
        members.insert("id".into(), format!("e-{}", self.0.len()).into());
        members.insert("intent".into(), json!({"initiator": "ines"}));
        self.0.push((phase, json!({ "provisioning_event": sections }).to_string().into_bytes()));
    }

    pub(crate) fn with(mut self, phase: Phase, sections: Value) -> Self {
        self.add(phase, sections);
        self
    }

    pub(crate) fn course(&self) -> Course {
        self.course_where(true)
    }

    /// As it is where all of it is by whoever takes changes back, or none of it.
    pub(crate) fn course_where(&self, takes_back: bool) -> Course {
        let entries: Vec<Entry<'_>> = self
            .0
            .iter()
            .enumerate()
            .map(|(at, (phase, payload))| Entry {
                index: at as u64,
                at_ms: 1_000 * at as u64,
                phase: *phase,
                takes_back,
                payload,
            })
            .collect();
        Course::read(&entries, catalogue::shipped()).unwrap()
    }

    pub(crate) fn step(&mut self, id: &str, rc: Option<i64>) {
        let mut step = json!({"id": id});
        if let Some(rc) = rc {
            step["rc"] = rc.into();
        }
        self.add(Phase::Execute, json!({"execution": {"steps": [step]}}));
    }
}

/// What a check answers where there is nothing.
pub(crate) fn absent(look: &crate::preflight::Look) -> crate::preflight::Answer {
    use crate::catalogue::When;
    let (code, stdout) = match &look.when {
        When::Success => (look.absent.code.unwrap_or(1), String::new()),
        When::Prints(text) => (0, format!("not {text}")),
        When::PrintsOtherThan(text) => (0, text.clone()),
    };
    let stderr = look.absent.says.clone().unwrap_or_default();
    crate::preflight::Answer { code: Some(code), stdout, stderr, problem: None }
}

pub(crate) const STEPS: [&str; 3] = ["az_resource_group/rg-demo", "az_aks/aks-demo", "k8s_namespace/team-alpha"];

fn house(automatic: &Automatic) -> House<'_> {
    House { automatic, closes: true }
}

fn everything() -> Automatic {
    Automatic { after_verification: true, after_execution: true, ..Automatic::default() }
}

fn check(log: &Log, automatic: &Automatic, expect: &str) {
    let found = match due(&log.course(), house(automatic)) {
        Due::Nothing => "nothing".to_owned(),
        Due::Verify => "verify".to_owned(),
        Due::VerifyAgain => "verify again".to_owned(),
        Due::RollBack(because) => {
            format!("roll back, {}: {}", because.by.as_deref().unwrap_or("automatic"), because.reason)
        }
        Due::Close(why) => format!("close: {why}"),
    };
    assert_eq!(found, expect, "{:#?}", log.course());
}

#[test]
fn steps_are_found_by_id_by_command_and_by_place() {
    let mut log = Log::planned();
    assert_eq!(log.course().plan.unwrap().steps.iter().map(|step| step.id.clone()).collect::<Vec<_>>(), STEPS);
    log.step(STEPS[0], None);
    log.step(STEPS[0], Some(0));
    let command = log.course().plan.unwrap().steps[1].command.clone();
    log.add(Phase::Execute, json!({"execution": {"steps": [{"cmd": command, "rc": 3}]}}));
    let course = log.course();
    assert_eq!(course.fates, [Fate::Done, Fate::Failed, Fate::Waiting]);
    assert!(course.over && course.failed());
    assert_eq!(course.touched().collect::<Vec<_>>(), [0, 1]);
    let all = Log::planned()
        .with(Phase::Execute, json!({"execution": {"steps": [{"rc": 0}, {"cmd": "az aks …", "rc": 0}, {"rc": 0}]}}));
    assert_eq!(all.course().fates, [Fate::Done; 3]);
    let skipped = Log::planned()
        .with(Phase::Execute, json!({"execution": {"steps": [{"id": STEPS[0], "skipped": "it is there", "rc": 0}]}}));
    assert_eq!(skipped.course().fates, [Fate::Skipped, Fate::Waiting, Fate::Waiting]);
    assert_eq!(skipped.course().touched().count(), 0);
}

#[test]
fn what_is_due_follows_from_the_record() {
    let (never, always) = (Automatic::default(), everything());
    let mut log = Log::planned();
    check(&log, &always, "nothing");
    for id in STEPS {
        log.step(id, None);
        check(&log, &always, "nothing");
        log.step(id, Some(0));
    }
    check(&log, &never, "verify");
    let verified =
        Log(log.0.clone()).with(Phase::Verify, json!({"verification": {"checks": [{"name": "x", "ok": true}]}}));
    check(&verified, &always, "close: verified");
    assert_eq!(due(&verified.course(), House { automatic: &always, closes: false }), Due::Nothing);
    let closed = verified.with(Phase::Audit, json!({"governance": {"closed": true}}));
    check(&closed, &always, "nothing");

    log.add(Phase::Verify, json!({"verification": {"checks": [{"name": "x", "ok": false, "message": "gone"}]}}));
    check(&log, &never, "nothing");
    check(&log, &always, "roll back, automatic: the verification failed: x: gone");
    let ordered = Log(log.0.clone())
        .with(Phase::Audit, json!({"order": {"kind": "rollback", "by": "olga", "reason": "it hurts"}}));
    check(&ordered, &never, "roll back, olga: it hurts");
    let mut back = ordered.with(Phase::Execute, json!({"rollback": {"executed": {"steps": [{"id": STEPS[2]}]}}}));
    check(&back, &never, "roll back, olga: it hurts");
    assert_eq!(back.course().undone.steps[0].rc, None);
    back.add(
        Phase::Execute,
        json!({"rollback": {"executed": {"steps": [{"id": STEPS[2], "rc": 0}], "outcome": "rolled_back"}}}),
    );
    check(&back, &never, "verify again");
    let again = Log(back.0.clone()).with(Phase::Verify, json!({"verification": {"checks": [{"ok": true}]}}));
    check(&again, &never, "close: rolled back, and verified again");
    let stands = back.with(Phase::Verify, json!({"verification": {"checks": [{"ok": false}]}}));
    check(&stands, &always, "nothing");
}

#[test]
fn that_it_was_taken_back_is_nobody_elses_word() {
    let mut log = Log::planned();
    for id in STEPS {
        log.step(id, Some(0));
    }
    for executed in [json!({"steps": [{"id": STEPS[2]}]}), json!({"steps": [], "outcome": "rolled_back"})] {
        let log = Log(log.0.clone()).with(Phase::Execute, json!({"rollback": {"executed": executed}}));
        let others = log.course_where(false);
        assert_eq!(others.undone, Undone::default());
        assert_eq!(due(&others, House { automatic: &Automatic::default(), closes: true }), Due::Verify);
        assert_ne!(log.course().undone, Undone::default());
    }
}

#[test]
fn a_rollback_that_failed_is_tried_again_only_when_it_is_ordered() {
    let mut log = Log::planned();
    log.step(STEPS[0], Some(1));
    check(&log, &Automatic::default(), "nothing");
    check(&log, &everything(), "roll back, automatic: a step failed");
    log.add(
        Phase::Execute,
        json!({"rollback": {"executed": {"steps": [{"id": STEPS[0], "rc": 1}], "outcome": "failed"}}}),
    );
    check(&log, &everything(), "verify again");
    log.add(Phase::Verify, json!({"verification": {"checks": [{"ok": false}]}}));
    check(&log, &everything(), "nothing");
    log.add(Phase::Audit, json!({"order": {"kind": "rollback", "by": "olga"}}));
    check(&log, &everything(), "roll back, olga: it was ordered");
    assert!(!log.course().undone.open && log.course().undone.steps.is_empty());
}

#[test]
fn the_execute_workers_own_events_are_read() {
    let mut log = Log::planned();
    log.add(Phase::Execute, json!({"execution": {"started": {"step": STEPS[0], "try": 1}}}));
    assert_eq!(log.course().fates[0], Fate::Begun);
    log.add(Phase::Execute, json!({"execution": {"tried": {"step": STEPS[0], "try": 1, "rc": 1}}}));
    let course = log.course();
    assert_eq!((course.fates[0], course.over, course.failed()), (Fate::Tried, false, false), "there is another try");
    log.add(Phase::Execute, json!({"execution": {"started": {"step": STEPS[1], "try": 1}}}));
    log.add(Phase::Execute, json!({"execution": {"steps": [{"id": STEPS[0], "rc": 1}], "remaining": 2}}));
    assert!(!log.course().over, "another one still runs");
    log.add(Phase::Execute, json!({"execution": {"steps": [{"id": STEPS[1], "rc": 0}], "remaining": 1}}));
    check(&log, &everything(), "roll back, automatic: a step failed");
    assert_eq!(log.course().touched().collect::<Vec<_>>(), [0, 1]);
    let mut log = Log::planned();
    log.add(Phase::Execute, json!({"execution": {"steps": [{"id": STEPS[0], "rc": 0}], "remaining": 2}}));
    check(&log, &everything(), "nothing");
    log.add(Phase::Audit, json!({"order": {"kind": "rollback", "by": "olga", "reason": "no"}}));
    check(&log, &everything(), "nothing");
    log.add(Phase::Execute, json!({"execution": {"cancelled": {"by": "olga", "reason": "no"}}}));
    check(&log, &Automatic::default(), "roll back, olga: no");
}

#[test]
fn an_environment_that_is_not_named_is_never_taken_back_unasked() {
    let elsewhere = Automatic {
        scope: crate::scope::Scope { environments: Some(["production".to_owned()].into()), ..Default::default() },
        ..everything()
    };
    let mut log = Log::planned();
    log.step(STEPS[0], Some(1));
    check(&log, &elsewhere, "nothing");
}

#[test]
fn a_new_attempt_begins_anew_and_drift_is_no_round() {
    let mut log = Log::planned();
    log.step(STEPS[0], Some(1));
    log.add(Phase::Plan, json!({"attempt": 2, "request": {}}));
    assert_eq!((log.course().attempt, log.course().fates.len(), log.course().over), (2, 0, false));
    let mut log = Log::planned();
    for id in STEPS {
        log.step(id, Some(0));
    }
    log.add(Phase::Verify, json!({"verification": {"purpose": "drift", "drift": {"diff": [{"resource": "a"}]}}}));
    check(&log, &everything(), "verify");
    assert!(log.course().drifts[0].by_monitor);
}

proptest! {
    /// Whatever stands in the log, reading it does not panic, and steps that were never begun are never taken back.
    #[test]
    fn invariant_only_what_was_begun_is_taken_back(
        events in prop::collection::vec((0..3_usize, prop::option::of(-1..3_i64), any::<bool>()), 0..20),
    ) {
        let mut log = Log::planned();
        let mut begun = std::collections::BTreeSet::new();
        for (at, rc, skipped) in events {
            let mut step = json!({"id": STEPS[at]});
            if let Some(rc) = rc {
                step["rc"] = rc.into();
            }
            if skipped {
                step["skipped"] = true.into();
            } else {
                begun.insert(at);
            }
            log.add(Phase::Execute, json!({"execution": {"steps": [step]}}));
        }
        let course = log.course();
        prop_assert!(course.touched().all(|at| begun.contains(&at)));
        let way = crate::rollback::Way::of(&course).unwrap();
        for undo in &way.undos {
            prop_assert!(begun.contains(&undo.at.unwrap()));
        }
        let mut places: Vec<usize> = way.undos.iter().filter_map(|undo| course.order.iter().position(|at| Some(*at) == undo.at)).collect();
        places.reverse();
        prop_assert!(places.is_sorted(), "the way back is the reverse of the way there: {:?}", places);
    }

    #[test]
    fn whatever_is_recorded_is_read(texts in prop::collection::vec("\\PC{0,40}", 0..4)) {
        let entries: Vec<Entry<'_>> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| Entry {
                index: at as u64,
                at_ms: 0,
                phase: Phase::Execute,
                takes_back: true,
                payload: text.as_bytes(),
            })
            .collect();
        let _ = Course::read(&entries, catalogue::shipped());
    }
}

use schemas::ids::Phase;
use serde_json::json;

use super::*;
use crate::catalogue;
use crate::config::Config;
use crate::course::tests::{Log, STEPS};
use crate::preflight::Answer;
use crate::preflight::answer::Presence;

fn done(fates: [Option<i64>; 3]) -> Log {
    let mut log = Log::planned();
    for (id, rc) in STEPS.iter().zip(fates) {
        if let Some(rc) = rc {
            log.step(id, Some(rc));
        }
    }
    log
}

fn way(log: &Log) -> Way {
    Way::of(&log.course()).unwrap()
}

fn undone(log: &mut Log, id: &str, rc: i64) {
    log.add(Phase::Execute, json!({"rollback": {"executed": {"steps": [{"id": id, "rc": rc}]}}}));
}

fn steps(way: &Way) -> Vec<&str> {
    way.undos.iter().map(|undo| undo.step.as_str()).collect()
}

#[test]
fn the_way_back_is_what_was_done_in_reverse() {
    let all = way(&done([Some(0), Some(0), Some(0)]));
    assert_eq!(steps(&all), [STEPS[2], STEPS[1]]);
    assert_eq!(all.left.len(), 1, "the group stays: {:?}", all.left);
    assert!(all.undos[0].line.starts_with("kubectl-1.29 delete ns team-alpha"), "{}", all.undos[0].line);
    assert_eq!(all.undos[1].behind, [STEPS[2]]);
    let half = way(&done([Some(0), Some(1), None]));
    assert_eq!(steps(&half), [STEPS[1]]);
    assert!(!half.undos[0].was_done);
    assert_eq!(steps(&way(&done([Some(0), None, None]))), Vec::<&str>::new());
    let plan = done([None; 3]).course().plan.unwrap();
    assert_eq!(steps(&Way::of_plan(&plan).unwrap()), [STEPS[2], STEPS[1]]);
}

#[test]
fn commands_that_belong_to_no_step_take_back_all_or_nothing() {
    let plan = |rollback: &[&str]| {
        let mut log = Log(Vec::new());
        log.add(
            Phase::Plan,
            json!({"plan": {"commands": ["kubectl-1.29 create namespace a", "kubectl-1.29 create namespace b"]},
                   "rollback": {"plan": rollback}}),
        );
        log
    };
    let both = ["kubectl-1.29 delete namespace b", "kubectl-1.29 delete namespace a"];
    let mut tied = plan(&both);
    tied.add(Phase::Execute, json!({"execution": {"steps": [{"cmd": "kubectl-1.29 create namespace a", "rc": 0}]}}));
    assert_eq!(way(&tied).commands(), ["kubectl-1.29 delete namespace a"], "one command a step: told by the places");
    let one = ["kubectl-1.29 delete namespace a b"];
    let mut loose = plan(&one);
    loose.add(Phase::Execute, json!({"execution": {"steps": [{"cmd": "kubectl-1.29 create namespace a", "rc": 0}]}}));
    let refused = Way::of(&loose.course()).unwrap_err();
    assert_eq!(refused, NoWay::NotTied { commands: 1, steps: 2, done: 1 });
    loose.add(Phase::Execute, json!({"execution": {"steps": [{"cmd": "kubectl-1.29 create namespace b", "rc": 0}]}}));
    assert_eq!(way(&loose).commands(), one);
    assert_eq!(way(&loose).undos[0].decide(None, false), Decision::Run);
    assert!(matches!(way(&loose).undos[0].decide(None, true), Decision::Stands(_)), "it might run twice");
}

#[test]
fn what_a_check_says_decides() {
    let way = way(&done([Some(0), Some(0), Some(2)]));
    let (namespace, cluster) = (&way.undos[0], &way.undos[1]);
    assert_eq!(namespace.decide(Some(&Presence::There), true), Decision::Run);
    assert_eq!(namespace.decide(Some(&Presence::Absent), true), Decision::Gone);
    assert_eq!(cluster.decide(Some(&Presence::Absent), false), Decision::Gone);
    let unknown = namespace.decide(Some(&Presence::Unknown("no network".to_owned())), false);
    assert_eq!(unknown, Decision::Stands("nobody knows whether it is there: no network".to_owned()));
    assert!(matches!(namespace.decide(None, false), Decision::Stands(_)), "it did not end well");
    assert_eq!(cluster.decide(None, false), Decision::Run);
}

#[test]
fn a_rollback_goes_on_where_its_record_ends_and_says_what_stands() {
    let mut log = done([Some(0), Some(0), Some(0)]);
    let all = way(&log);
    let next = |log: &Log| match all.next(&log.course().undone) {
        Next::Undo { undo, place, begun } => format!("{place} {} {begun}", undo.step),
        Next::Stays { undo, reason, .. } => format!("{} stays: {reason}", undo.step),
        Next::Over => "over".to_owned(),
    };
    assert_eq!(next(&log), format!("0 {} false", STEPS[2]));
    log.add(Phase::Execute, json!({"rollback": {"executed": {"steps": [{"id": STEPS[2]}]}}}));
    assert_eq!(next(&log), format!("0 {} true", STEPS[2]));
    let mut bad = Log(log.0.clone());
    undone(&mut log, STEPS[2], 0);
    assert_eq!(next(&log), format!("1 {} false", STEPS[1]));
    undone(&mut log, STEPS[1], 0);
    assert_eq!(next(&log), "over");
    let outcome = all.outcome(&log.course().undone);
    assert_eq!((outcome.word, outcome.complete), ("rolled_back", true));
    assert!(
        outcome
            .summary()
            .starts_with("taken back: k8s_namespace/team-alpha, az_aks/aks-demo; stands: az_resource_group/rg-demo (")
    );

    undone(&mut bad, STEPS[2], 1);
    assert_eq!(next(&bad), format!("{} stays: {} stands and needs it", STEPS[1], STEPS[2]));
    bad.add(Phase::Execute, json!({"rollback": {"executed": {"steps": [{"id": STEPS[1], "stands": "needed"}]}}}));
    assert_eq!(next(&bad), "over");
    let outcome = all.outcome(&bad.course().undone);
    assert_eq!((outcome.word, outcome.taken_back.len(), outcome.complete), ("failed", 0, false));
    assert_eq!(outcome.stands[0], (STEPS[2].to_owned(), "exit code 1".to_owned()));
    assert_eq!(outcome.stands[1], (STEPS[1].to_owned(), "needed".to_owned()));
    assert!(schemas::rules::is_failure("failed") && schemas::rules::is_failure("partial"));
    assert!(!schemas::rules::is_failure("rolled_back"));
}

fn machine(kubectl: &str, az: &str) -> Machine {
    let found = |version: &str| ToolFound {
        path: Some("/usr/bin/x".to_owned()),
        version: Some(Answer { code: Some(0), stdout: version.to_owned(), ..Answer::default() }),
        sha256: None,
    };
    [("kubectl-1.29".to_owned(), found(kubectl)), ("az".to_owned(), found(az))].into()
}

#[test]
fn the_dry_run_proves_each_command() {
    let way = way(&done([Some(0), Some(0), Some(0)]));
    let config = Config::default();
    let run = |machine: &Machine| way.dry_run(catalogue::shipped(), &config.guard, machine);
    let good = run(&machine("Client Version: v1.29.4", "azure-cli 2.60.0"));
    assert!(good.ok(), "{}", good.summary());
    assert!(good.summary().starts_with("2 of 2 commands can run"), "{}", good.summary());
    assert_eq!(good.document()["steps"][0]["pinned"], true);
    let old = run(&machine("Client Version: v1.28.9", "azure-cli 2.60.0"));
    assert!(!old.ok() && old.summary().contains("is of version 1.28.9, pinned is 1.29"), "{}", old.summary());
    let none = run(&Machine::new());
    assert!(none.summary().contains("there is no program \"kubectl-1.29\""), "{}", none.summary());
    assert_eq!(none.document()["steps"][0]["exists"], false);
    // The programs that have to be asked, and how.
    let programs = way.programs(catalogue::shipped());
    assert_eq!(programs.keys().collect::<Vec<_>>(), ["az", "kubectl-1.29"]);
    assert!(programs["az"].as_ref().unwrap().len() > 1);
}

#[test]
fn a_command_that_is_not_allowed_is_named() {
    for (line, told) in [
        ("rm -rf /tmp/x", "not a pinned tool of the catalogue"),
        ("kubectl-1.29 delete namespace a; reboot", "a shell meta"),
        ("kubectl-1.29 get ns | jq .", "which is not on this house's list"),
        ("kubectl-1.29 delete namespace a --token=[masked:token]", "a secret was masked in it"),
    ] {
        let undo = Undo {
            step: "s".to_owned(),
            at: None,
            action: "command".to_owned(),
            line: line.to_owned(),
            check: None,
            was_done: true,
            behind: Vec::new(),
        };
        let way = Way { undos: vec![undo], left: Vec::new() };
        let config = Config::read("work.toml", "[guard]\npipe_allow_list = [\"grep\"]\n").unwrap();
        let dry_run = way.dry_run(catalogue::shipped(), &config.guard, &machine("v1.29.0", "2.0.0"));
        assert!(!dry_run.ok() && dry_run.summary().contains(told), "{line}: {}", dry_run.summary());
    }
}

#[test]
fn options_are_read_or_refused() {
    let read = |text: &str| Config::read("work.toml", text).map(|config| config.rollback);
    let options =
        read("[rollback]\nautomatic = [\"verification\"]\nenvironments = [\"staging\"]\nretries = 0\n").unwrap();
    assert!(options.automatic.after_verification && !options.automatic.after_execution);
    assert_eq!((options.retries, options.time_limit_s), (0, 600));
    for (text, told) in [
        ("[rollback]\nautomatic = [\"always\"]", "found \"always\", expected verification, execution, or both"),
        ("[rollback]\nautomatic = true", "expected a list of texts"),
        ("[rollback]\nenvironments = [\"staging\"]", "found nothing beside environments or classes"),
        ("[rollback]\nforce = true", "a key that means nothing here"),
    ] {
        let mistakes = read(text).unwrap_err();
        assert!(mistakes[0].to_string().contains(told), "{}", mistakes[0]);
    }
    assert_eq!((1..4).map(|n| Options::default().pause_before(n)).collect::<Vec<_>>(), [1_000, 2_000, 4_000]);
}

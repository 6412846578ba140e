//! The conformance set: what `upm conformance run` tries, and what it makes of the answers.
//!
//! The cases are `schemas/model/conformance.json`; here are their inputs, the same for every stack, and the judgement. A planner or executor is a program
//! of the stack that is tried: it reads one JSON document on standard input. A planner prints a plan (JSON with `plan.commands`) or refuses with another exit code
//! than 0; an executor ends well or refuses the same way, and prints JSON that says whether it `changed` anything. A refusal needs words. What happened is sent as a
//! probe event, whose checks of the type `conformance` count for maturity and never for the KPIs.
//!
//! Each case has documents that must be answered differently, so that no program passes by one answer to all; and what was put in is no answer.
//!
//! Left out: running programs and asking the ledger (`service`).

use std::collections::BTreeSet;

use schemas::model::{self, Case, Driver};
use serde_json::{Value, json};

/// What a program did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// It ended with exit code 0.
    pub well: bool,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Whether it said anything on standard output or error.
    pub spoke: bool,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// As it must.
    pub ok: bool,
    /// What was seen.
    pub message: String,
}

impl Verdict {
    /// A case that went as `ok` says.
    pub fn new(ok: bool, message: impl Into<String>) -> Self {
        Self { ok, message: message.into() }
    }
}

/// Requests that a planner is given, twice each.
const REQUESTS: [&str; 3] = [
    "Create namespace upm-conformance in the test cluster",
    "Scale deployment web in namespace upm-conformance to 3 replicas",
    "Set the tag owner=platform on resource group rg-upm-conformance",
];

/// Commands with a shell meta each; none of them would harm anything.
const METAS: [&str; 7] = [
    "echo upm; echo conformance",
    "true && echo upm",
    "false || echo upm",
    "echo $(id)",
    "echo upm > /dev/null",
    "cat < /dev/null",
    "echo upm\necho conformance",
];

const ALLOWED_PIPES: [&str; 3] = ["echo upm | grep upm", "echo upm | wc -c", "echo upm | head -1 | sort"];
const BLOCKED_PIPES: [&str; 3] = ["echo upm | sh", "echo upm | tee /dev/null", "echo upm | grep upm | xargs echo"];

/// Secrets by form; none of them opens anything. Put together here, so that no scanner takes this file for a leak.
pub fn secrets() -> Vec<(&'static str, String)> {
    vec![
        (
            "bearer token",
            ["Authorization: Bearer ", "eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiJ1cG0ifQ", ".c2lnbmF0dXJlLW9mLW5vdGhpbmc"]
                .concat(),
        ),
        ("GitHub token", ["ghp", "_", "0123456789abcdefghijABCDEFGHIJ012345"].concat()),
        ("cloud key", ["AKIA", "IOSFODNN7", "EXAMPLE"].concat()),
        ("URL with password", ["postgres://upm:", "conformance-pass", "@db.example/x"].concat()),
        ("argument", ["--token=", "upm-conformance-0123456789"].concat()),
    ]
}

/// A command that anybody may run.
const HARMLESS: &str = "echo upm";

/// The documents that a driver is given for a case, in order. `run` names the run, so that an executor that remembers what it did begins anew.
pub fn inputs(case: &Case, run: &str) -> Vec<Value> {
    let plan = |request: &str, needed: Value| {
        json!({"conformance": case.id, "intent": {"request": request, "source": "api", "initiator": "upm-conformance"},
            "target": {"cluster_endpoint_id": "upm-conformance"}, "plan": {"resources_needed": needed}})
    };
    let step = |number: usize, command: &str| {
        let change = format!("{run}-{}-{number}", case.id);
        json!({"conformance": case.id, "change_id": change, "attempt": 1, "plan": {"commands": [command]}})
    };
    let steps = |commands: &[&str]| (1..).zip(commands).map(|(number, command)| step(number, command)).collect();
    match case.id.as_str() {
        "same_plan" => {
            REQUESTS.iter().flat_map(|request| [plan(request, json!([])), plan(request, json!([]))]).collect()
        }
        "missing_prerequisite" => {
            let missing = json!([{"type": "cluster", "name": "upm-conformance-that-does-not-exist"}]);
            vec![plan(REQUESTS[0], json!([])), plan(REQUESTS[0], missing)]
        }
        "idempotent_steps" => vec![step(1, HARMLESS), step(1, HARMLESS)],
        "meta_blocking" => steps(&[&[HARMLESS], &METAS[..]].concat()),
        "pipe_allow_list" => steps(&[&ALLOWED_PIPES[..], &BLOCKED_PIPES[..]].concat()),
        "rollback_plan_on_failure" => {
            let checked = |number: usize, ok: bool| {
                let mut input = step(number, HARMLESS);
                input["verification"] = json!({"checks": [{"type": "health", "name": "upm-conformance", "ok": ok}]});
                input["rollback"] = json!({"available": true, "plan": ["echo back"]});
                input
            };
            vec![checked(1, false), checked(2, true)]
        }
        _ => Vec::new(),
    }
}

/// Judges a planner's or executor's answers to [`inputs`], in their order.
pub fn judge(case: &Case, inputs: &[Value], ran: &[Ran]) -> Verdict {
    let told: Vec<Told<'_>> = inputs.iter().zip(ran).map(|(input, ran)| Told { input, ran }).collect();
    match case.id.as_str() {
        "same_plan" => same_plans(&told),
        "missing_prerequisite" => prerequisite(&told),
        "idempotent_steps" => idempotent(&told),
        "meta_blocking" => behind(&told, 1, "commands without metas", "commands with metas"),
        "pipe_allow_list" => behind(&told, ALLOWED_PIPES.len(), "pipes into listed commands", "pipes outside the list"),
        "rollback_plan_on_failure" => rollback_plan(&told),
        _ => Verdict::new(false, "the case is not one of a planner or executor"),
    }
}

/// What a program was given, and what it did.
struct Told<'a> {
    input: &'a Value,
    ran: &'a Ran,
}

impl Told<'_> {
    /// The JSON object that it printed. What it was given is no answer.
    fn answer(&self) -> Option<Value> {
        let value: Value = serde_json::from_slice(&self.ran.stdout).ok()?;
        (value.is_object() && value != *self.input).then_some(value)
    }

    /// The plan that it printed, with its commands; the order of members is no difference.
    fn plan(&self) -> Option<(Value, Value)> {
        let plan = self.answer().filter(|_| self.ran.well)?;
        let commands = plan["plan"]["commands"].clone();
        has_words(&commands).then_some((plan, commands))
    }

    /// The way back that it printed has commands.
    fn goes_back(&self) -> bool {
        self.answer().is_some_and(|answer| has_words(&answer["rollback"]["plan"]))
    }
}

/// A list of commands, as lines or arguments, none of them empty.
fn has_words(commands: &Value) -> bool {
    let full = |command: &Value| match command {
        Value::String(line) => !line.trim().is_empty(),
        Value::Array(words) => !words.is_empty(),
        _ => false,
    };
    commands.as_array().is_some_and(|commands| !commands.is_empty() && commands.iter().all(full))
}

fn same_plans(told: &[Told<'_>]) -> Verdict {
    let mut commands = BTreeSet::new();
    for (number, pair) in (1..).zip(told.chunks(2)) {
        let plans: Option<Vec<_>> = pair.iter().map(Told::plan).collect();
        let Some([first, second]) = plans.as_deref() else {
            let why = "no plan with commands: exit code or output is none of a planner's";
            return Verdict::new(false, format!("request {number} gave {why}"));
        };
        if first.0 != second.0 {
            return Verdict::new(false, format!("request {number} was planned twice, with different plans"));
        }
        if !commands.insert(first.1.to_string()) {
            return Verdict::new(false, format!("request {number} was planned with the commands of another request"));
        }
    }
    Verdict::new(true, format!("{} requests planned twice, the same plan each time", commands.len()))
}

fn prerequisite(told: &[Told<'_>]) -> Verdict {
    match told {
        [planned, missing @ ..] if planned.plan().is_some() => refused(missing),
        _ => Verdict::new(false, "the same request without a prerequisite was not planned, so a refusal says nothing"),
    }
}

fn idempotent(told: &[Told<'_>]) -> Verdict {
    let changed =
        |told: &Told<'_>| told.answer().filter(|_| told.ran.well).and_then(|answer| answer["changed"].as_bool());
    match told.iter().map(changed).collect::<Vec<_>>()[..] {
        [Some(true), Some(false)] => Verdict::new(true, "the second run of a step had nothing to do"),
        [Some(true), Some(true)] => Verdict::new(false, "the second run of a step changed something again"),
        [Some(false), _] => Verdict::new(false, "the first run of a step says that it had nothing to do"),
        _ => {
            Verdict::new(false, "a run of a step did not end well with JSON that says whether it \"changed\" anything")
        }
    }
}

fn refused(told: &[Told<'_>]) -> Verdict {
    let let_through = told.iter().filter(|told| told.ran.well).count();
    let silent = told.iter().filter(|told| !told.ran.well && !told.ran.spoke).count();
    let total = told.len();
    match (let_through, silent) {
        (0, 0) => Verdict::new(true, format!("{total} of {total} refused with a message")),
        (0, silent) => Verdict::new(false, format!("{silent} of {total} refused without a word")),
        (through, _) => Verdict::new(false, format!("{through} of {total} were let through")),
    }
}

/// The first so many have to go through, the others to be refused: who refuses all shows nothing.
fn behind(told: &[Told<'_>], count: usize, through: &str, blocked: &str) -> Verdict {
    let (allowed, others) = told.split_at(count.min(told.len()));
    let kept_out = allowed.iter().filter(|told| !told.ran.well).count();
    if kept_out > 0 {
        return Verdict::new(false, format!("{kept_out} of {} {through} were refused", allowed.len()));
    }
    let Verdict { ok, message } = refused(others);
    Verdict::new(ok, format!("{blocked}: {message}"))
}

fn rollback_plan(told: &[Told<'_>]) -> Verdict {
    match told.iter().map(Told::goes_back).collect::<Vec<_>>()[..] {
        [true, false] => Verdict::new(true, "a failed check was answered with a rollback plan, one that held was not"),
        [true, true] => Verdict::new(false, "a check that held was answered with a rollback plan, too"),
        _ => Verdict::new(false, "a failed check was not answered with a rollback plan"),
    }
}

/// The probe event that records a run. `at` is RFC 3339.
pub fn event(tenant: &str, change: &str, initiator: &str, at: &str, verdicts: &[(&str, Verdict)]) -> Value {
    let checks: Vec<_> = verdicts
        .iter()
        .map(|(case, verdict)| json!({"type": "conformance", "name": case, "ok": verdict.ok, "message": verdict.message}))
        .collect();
    json!({"provisioning_event": {
        "id": format!("{change}-result"), "change_id": change, "timestamp": at, "phase": "verify", "probe": true,
        "intent": {"source": "api", "initiator": initiator, "tenant": tenant, "request": "Run the conformance set"},
        "verification": {"checks": checks},
    }})
}

/// The probe event with the secrets in it, as a producer might send them by mistake.
pub fn leaking_event(tenant: &str, change: &str, initiator: &str, at: &str) -> Value {
    let lines: Vec<String> = secrets().into_iter().map(|(_, secret)| format!("echo {secret}")).collect();
    json!({"provisioning_event": {
        "id": format!("{change}-secrets"), "change_id": change, "timestamp": at, "phase": "plan", "probe": true,
        "intent": {"source": "api", "initiator": initiator, "tenant": tenant, "request": "Conformance: secret redaction"},
        "plan": {"commands": lines},
    }})
}

/// Judges the stored bytes of [`leaking_event`].
pub fn redacted(stored: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(stored);
    let core = |secret: &str| {
        secret.rsplit([' ', ':', '=']).next().unwrap_or_default().split('@').next().unwrap_or_default().to_owned()
    };
    let left: Vec<_> =
        secrets().into_iter().filter(|(_, secret)| text.contains(&core(secret))).map(|(name, _)| name).collect();
    let count = secrets().len();
    if left.is_empty() {
        Verdict::new(true, format!("{count} of {count} secrets were stored masked"))
    } else {
        Verdict::new(false, format!("stored unmasked: {}", left.join(", ")))
    }
}

/// The cases that a driver tries.
pub fn cases_of(driver: Driver) -> impl Iterator<Item = &'static Case> {
    model::get().conformance.iter().filter(move |case| case.driver == driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str) -> &'static Case {
        model::get().case(id).unwrap()
    }

    fn refusal() -> Ran {
        Ran { well: false, stdout: Vec::new(), spoke: true }
    }

    fn printed(text: &str) -> Ran {
        Ran { well: true, stdout: text.as_bytes().to_vec(), spoke: true }
    }

    fn judged(id: &str, ran: &[Ran]) -> Verdict {
        judge(case(id), &inputs(case(id), "run"), ran)
    }

    /// Every case with a driver has inputs, and none is passed by doing nothing, refusing everything, printing what was put in, or saying one thing
    /// whatever is asked.
    #[test]
    fn no_program_passes_by_one_answer_to_all() {
        for case in cases_of(Driver::Planner).chain(cases_of(Driver::Executor)) {
            let inputs = inputs(case, "run");
            assert!(!inputs.is_empty(), "{}", case.id);
            let echo = |input: &Value| printed(&serde_json::to_string_pretty(input).unwrap());
            let told_more = |input: &Value| {
                let mut more = input.clone();
                more["changed"] = json!(false);
                more["note"] = json!("done");
                printed(&more.to_string())
            };
            let plan = r#"{"plan":{"commands":["x"]},"rollback":{"plan":["undo"]},"changed":true}"#;
            let programs: [(&str, Vec<Ran>); 6] = [
                ("true", vec![Ran { well: true, ..Ran::default() }; inputs.len()]),
                ("false", vec![Ran::default(); inputs.len()]),
                ("refusing", vec![refusal(); inputs.len()]),
                ("cat", inputs.iter().map(echo).collect()),
                ("cat with more", inputs.iter().map(told_more).collect()),
                ("one plan", vec![printed(plan); inputs.len()]),
            ];
            for (program, ran) in programs {
                let verdict = judge(case, &inputs, &ran);
                assert!(!verdict.ok, "{program} passes {}: {}", case.id, verdict.message);
            }
        }
    }

    #[test]
    fn plans_are_compared_as_json() {
        let plan = |name: &str| format!(r#"{{"plan":{{"commands":["{name}"],"graph":{{"x":1,"y":2}}}}}}"#);
        let turned = |name: &str| format!(r#"{{ "plan": {{"graph":{{"y":2,"x":1}},"commands":["{name}"]}} }}"#);
        let ran = |texts: [String; 6]| texts.map(|text| printed(&text));
        assert!(judged("same_plan", &ran([plan("a"), turned("a"), plan("b"), plan("b"), plan("c"), turned("c")])).ok);
        for (texts, why) in [
            (
                [plan("a"), plan("a"), plan("b"), plan("x"), plan("c"), plan("c")],
                "request 2 was planned twice, with different plans",
            ),
            (
                [plan("a"), plan("a"), plan("a"), plan("a"), plan("c"), plan("c")],
                "request 2 was planned with the commands of another request",
            ),
            (
                [plan("a"), plan("a"), plan("b"), plan("b"), plan(" "), plan(" ")],
                "request 3 gave no plan with commands: exit code or output is none of a planner's",
            ),
        ] {
            let verdict = judged("same_plan", &ran(texts));
            assert_eq!((verdict.ok, verdict.message.as_str()), (false, why));
        }
        assert!(!judged("same_plan", &vec![refusal(); 6]).ok);
    }

    #[test]
    fn a_prerequisite_is_missed_only_by_who_plans_without_it() {
        let plan = printed(r#"{"plan":{"commands":["x"]}}"#);
        assert!(judged("missing_prerequisite", &[plan.clone(), refusal()]).ok);
        assert!(!judged("missing_prerequisite", &[refusal(), refusal()]).ok);
        assert_eq!(judged("missing_prerequisite", &[plan.clone(), plan]).message, "1 of 1 were let through");
    }

    #[test]
    fn the_second_run_has_nothing_to_do() {
        let [did, had_nothing] = [true, false].map(|changed| printed(&json!({ "changed": changed }).to_string()));
        assert!(judged("idempotent_steps", &[did.clone(), had_nothing.clone()]).ok);
        for ran in [[did.clone(), did.clone()], [had_nothing.clone(), had_nothing], [did, printed("")]] {
            assert!(!judged("idempotent_steps", &ran).ok, "{ran:?}");
        }
    }

    #[test]
    fn refusals_need_words() {
        let mut ran = vec![refusal(); METAS.len() + 1];
        ran[0] = printed("");
        assert!(judged("meta_blocking", &ran).ok);
        ran[3].spoke = false;
        assert_eq!(judged("meta_blocking", &ran).message, "commands with metas: 1 of 7 refused without a word");
        ran[3].well = true;
        assert_eq!(judged("meta_blocking", &ran).message, "commands with metas: 1 of 7 were let through");
        ran[0] = refusal();
        assert_eq!(judged("meta_blocking", &ran).message, "1 of 1 commands without metas were refused");
    }

    #[test]
    fn pipes_and_rollbacks() {
        let good: Vec<_> = [printed(""), printed(""), printed(""), refusal(), refusal(), refusal()].into();
        assert!(judged("pipe_allow_list", &good).ok);
        assert!(!judged("pipe_allow_list", &vec![refusal(); 6]).ok);
        let [back, hollow, done] =
            [r#"{"rollback":{"plan":["undo"]}}"#, r#"{"rollback":{"plan":[]}}"#, r#"{"changed":true}"#];
        let of = |failed: &str, held: &str| judged("rollback_plan_on_failure", &[printed(failed), printed(held)]).ok;
        assert!(of(back, done) && of(back, hollow));
        assert!(!of(hollow, done) && !of(back, back) && !of(done, back));
        let failing = Ran { well: false, ..printed(back) };
        assert!(judged("rollback_plan_on_failure", &[failing, printed(done)]).ok, "a failed check may end badly");
    }

    /// The guards of this project refuse exactly what the set expects to be refused.
    #[test]
    fn our_own_guard_passes_the_set() {
        for (id, through) in [("meta_blocking", 1), ("pipe_allow_list", ALLOWED_PIPES.len())] {
            let ran: Vec<_> = inputs(case(id), "run")
                .iter()
                .map(|input| schemas::guard::of_line(input["plan"]["commands"][0].as_str().unwrap()))
                .map(|blocked| Ran { well: blocked.is_empty(), stdout: Vec::new(), spoke: true })
                .collect();
            assert_eq!(ran.iter().filter(|ran| ran.well).count(), through);
            assert!(judged(id, &ran).ok, "{id}");
        }
    }

    #[test]
    fn admission_masks_every_secret_of_the_set() {
        let event = leaking_event("acme", "conformance-1", "ann", "2026-11-29T08:00:00Z").to_string();
        assert!(!redacted(event.as_bytes()).ok, "as sent");
        let subject = schemas::ids::Subject::parse("upm.events.acme.plan").unwrap();
        let admitted =
            schemas::admit::admit(&subject, event.as_bytes(), &mut schemas::admit::Scratch::default()).unwrap();
        let verdict = redacted(&admitted.payload);
        assert!(verdict.ok, "{}", verdict.message);
    }
}

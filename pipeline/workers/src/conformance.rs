//! The conformance set: what `upm conformance run` tries, and what it makes of the answers.
//!
//! The cases are `schemas/model/conformance.json`; here are their inputs, the same for every stack, and the judgement. A planner or executor is a program
//! of the stack that is tried: it reads one JSON document on standard input. A planner prints a plan (JSON) or refuses with another exit code than 0; an executor ends
//! well or refuses the same way. A refusal needs words. What happened is sent as a probe event, whose checks of the type `conformance` count for
//! maturity and never for the KPIs.
//!
//! Left out: running programs and asking the ledger (`service`).

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

/// The documents that a driver is given for a case, in order.
pub fn inputs(case: &Case) -> Vec<Value> {
    let plan = |request: &str, needed: Value| {
        json!({"conformance": case.id, "intent": {"request": request, "source": "api", "initiator": "upm-conformance"},
            "target": {"cluster_endpoint_id": "upm-conformance"}, "plan": {"resources_needed": needed}})
    };
    let run = |command: &str| json!({"conformance": case.id, "plan": {"commands": [command]}});
    match case.id.as_str() {
        "same_plan" => {
            REQUESTS.iter().flat_map(|request| [plan(request, json!([])), plan(request, json!([]))]).collect()
        }
        "missing_prerequisite" => {
            vec![plan(REQUESTS[0], json!([{"type": "cluster", "name": "upm-conformance-that-does-not-exist"}]))]
        }
        "idempotent_steps" => vec![run("echo upm"), run("echo upm")],
        "meta_blocking" => METAS.iter().map(|command| run(command)).collect(),
        "pipe_allow_list" => ALLOWED_PIPES.iter().chain(&BLOCKED_PIPES).map(|command| run(command)).collect(),
        "rollback_plan_on_failure" => {
            vec![json!({"conformance": case.id, "plan": {"commands": ["echo upm"]},
                "verification": {"checks": [{"type": "health", "name": "upm-conformance", "ok": false}]},
                "rollback": {"available": true, "plan": ["echo back"]}})]
        }
        _ => Vec::new(),
    }
}

/// Judges a planner's or executor's answers to [`inputs`], in their order.
pub fn judge(case: &Case, ran: &[Ran]) -> Verdict {
    match case.id.as_str() {
        "same_plan" => same_plans(ran),
        "missing_prerequisite" | "meta_blocking" => refused(ran),
        "idempotent_steps" => {
            let well = ran.iter().filter(|ran| ran.well).count();
            Verdict::new(well == ran.len(), format!("{well} of {} runs of the same step ended well", ran.len()))
        }
        "pipe_allow_list" => pipes(ran),
        "rollback_plan_on_failure" => rollback_plan(ran),
        _ => Verdict::new(false, "the case is not one of a planner or executor"),
    }
}

fn same_plans(ran: &[Ran]) -> Verdict {
    let plans: Vec<Option<String>> = ran.iter().map(digest).collect();
    if let Some(at) = plans.iter().position(Option::is_none) {
        return Verdict::new(
            false,
            format!("request {} gave no plan: exit code or output is none of a planner's", at / 2 + 1),
        );
    }
    match plans.chunks(2).position(|pair| pair[0] != pair[pair.len() - 1]) {
        Some(at) => Verdict::new(false, format!("request {} was planned twice, with different plans", at + 1)),
        None => Verdict::new(true, format!("{} requests planned twice, the same plan each time", plans.len() / 2)),
    }
}

/// RFC 8785 of what it printed, so that the order of members is no difference.
fn digest(ran: &Ran) -> Option<String> {
    let value: Value = serde_json::from_slice(&ran.stdout).ok()?;
    if ran.well && value.is_object() { serde_json_canonicalizer::to_string(&value).ok() } else { None }
}

fn refused(ran: &[Ran]) -> Verdict {
    let let_through = ran.iter().filter(|ran| ran.well).count();
    let silent = ran.iter().filter(|ran| !ran.well && !ran.spoke).count();
    let total = ran.len();
    match (let_through, silent) {
        (0, 0) => Verdict::new(true, format!("{total} of {total} refused with a message")),
        (0, silent) => Verdict::new(false, format!("{silent} of {total} refused without a word")),
        (through, _) => Verdict::new(false, format!("{through} of {total} were let through")),
    }
}

fn pipes(ran: &[Ran]) -> Verdict {
    let (allowed, blocked) = ran.split_at(ALLOWED_PIPES.len().min(ran.len()));
    let kept_out = allowed.iter().filter(|ran| !ran.well).count();
    if kept_out > 0 {
        return Verdict::new(false, format!("{kept_out} of {} pipes into listed commands were refused", allowed.len()));
    }
    let Verdict { ok, message } = refused(blocked);
    Verdict::new(ok, format!("pipes outside the list: {message}"))
}

fn rollback_plan(ran: &[Ran]) -> Verdict {
    let plan =
        |ran: &Ran| serde_json::from_slice::<Value>(&ran.stdout).ok().map(|value| value["rollback"]["plan"].clone());
    let found = ran.iter().filter_map(plan).any(|plan| plan.as_array().is_some_and(|steps| !steps.is_empty()));
    Verdict::new(
        found,
        if found {
            "a failed check was answered with a rollback plan"
        } else {
            "a failed check was not answered with a rollback plan"
        },
    )
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

    /// Every case with a driver has inputs, and neither doing nothing nor refusing everything passes it.
    #[test]
    fn no_program_passes_by_one_answer_to_all() {
        for case in cases_of(Driver::Planner).chain(cases_of(Driver::Executor)) {
            let count = inputs(case).len();
            assert!(count > 0, "{}", case.id);
            let through = judge(case, &vec![Ran { well: true, ..Ran::default() }; count]);
            let silent = judge(case, &vec![Ran::default(); count]);
            assert!(!silent.ok, "{}: {}", case.id, silent.message);
            assert!(!through.ok || case.id == "idempotent_steps", "{}: {}", case.id, through.message);
        }
    }

    #[test]
    fn plans_are_compared_as_json() {
        let case = case("same_plan");
        let (a, b) = (r#"{"x":1,"y":2}"#, r#"{"y":2, "x":1}"#);
        assert!(judge(case, &[a, b, a, a, b, b].map(printed)).ok);
        let other = judge(case, &[a, a, a, r#"{"x":2}"#, a, a].map(printed));
        assert_eq!((other.ok, other.message.as_str()), (false, "request 2 was planned twice, with different plans"));
        assert!(!judge(case, &vec![refusal(); 6]).ok);
    }

    #[test]
    fn refusals_need_words() {
        let blocking = case("meta_blocking");
        let mut ran = vec![refusal(); METAS.len()];
        assert!(judge(blocking, &ran).ok);
        ran[3].spoke = false;
        assert_eq!(judge(blocking, &ran).message, "1 of 7 refused without a word");
        ran[3].well = true;
        assert_eq!(judge(blocking, &ran).message, "1 of 7 were let through");
    }

    #[test]
    fn pipes_and_rollbacks() {
        let good: Vec<_> = [printed(""), printed(""), printed(""), refusal(), refusal(), refusal()].into();
        assert!(judge(case("pipe_allow_list"), &good).ok);
        assert!(!judge(case("pipe_allow_list"), &vec![refusal(); 6]).ok);
        assert!(judge(case("rollback_plan_on_failure"), &[printed(r#"{"rollback":{"plan":["undo"]}}"#)]).ok);
        assert!(!judge(case("rollback_plan_on_failure"), &[printed(r#"{"rollback":{"plan":[]}}"#)]).ok);
    }

    /// The guards of this project refuse exactly what the set expects to be refused.
    #[test]
    fn our_own_guard_passes_the_set() {
        for (id, through) in [("meta_blocking", 0), ("pipe_allow_list", ALLOWED_PIPES.len())] {
            let ran: Vec<_> = inputs(case(id))
                .iter()
                .map(|input| schemas::guard::of_line(input["plan"]["commands"][0].as_str().unwrap()))
                .map(|blocked| Ran { well: blocked.is_empty(), stdout: Vec::new(), spoke: true })
                .collect();
            assert_eq!(ran.iter().filter(|ran| ran.well).count(), through);
            assert!(judge(case(id), &ran).ok, "{id}");
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

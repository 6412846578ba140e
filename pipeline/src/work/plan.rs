//! The plan worker: a request becomes a plan, or the end of the change with what was not understood.
//!
//! What it decides is `workers::plan`. The catalogue's grammar reads words, unless the options name a program that does. The plan is a function of the request, and of
//! the house's inventory where it has one; a blue-green plan also of which twins are there. Then it is gone through over what is there: the simulation stands beside
//! the plan, and its digest does not cover it.

use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use schemas::ids::Phase;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use workers::build::{Sections, milliseconds};
use workers::command::Ending;
use workers::plan::glance::{self, Glance, Sight};
use workers::plan::{Existing, Plan, PlanError, plan};
use workers::preflight::{Answer, Answers, Question, Requested};
use workers::request::{Request, json as request_json};

use super::process::{self, Limits, Place};
use super::{Case, Emit, Next, Shop, WorkError, Worker, aftermath, ask};

/// The worker. See the module.
#[derive(Debug, Clone, Copy)]
pub struct Planner;

/// How long a simulation may look: so many seconds, one more for each look, and never more than the last.
const LOOKING_S: (u64, u64) = (10, 120);

/// What an external compiler or inventory may take.
const COMPILER_TIME: Duration = Duration::from_mins(2);
const COMPILER_BYTES: u64 = 1 << 20;

/// Why there is no plan.
struct NoPlan {
    reasons: Vec<String>,
    understood: Vec<String>,
}

impl Worker for Planner {
    fn name(&self) -> &'static str {
        "plan"
    }

    fn listens_to(&self) -> &'static [Phase] {
        &[Phase::Plan]
    }

    fn act<'a>(&'a self, shop: &'a Shop, case: &'a Case) -> BoxFuture<'a, Result<Next, WorkError>> {
        Box::pin(act(shop, case))
    }
}

async fn act(shop: &Shop, case: &Case) -> Result<Next, WorkError> {
    let attempt = case.attempt();
    let (Some((_, event)), Some(requested)) = (case.request(attempt), case.requested(attempt)) else {
        return Ok(Next::Nothing);
    };
    if case.plan(attempt).is_some() || case.is_closed(attempt) {
        return Ok(Next::Nothing);
    }
    let (what, phase, sections) = match compiled(shop, case, event, requested).await? {
        Ok(sections) => ("plan", Phase::Plan, sections),
        Err(no) => ("refused", Phase::Audit, refusal(&no)),
    };
    shop.emit(case, Emit { id: case.event_id(attempt, what), phase, attempt, sections }).await?;
    Ok(Next::Nothing)
}

/// The sections of the plan. The environment, which its digest covers, is one of them.
async fn compiled(
    shop: &Shop,
    case: &Case,
    event: &Value,
    requested: Requested<'_>,
) -> Result<Result<Sections, NoPlan>, WorkError> {
    let began = Instant::now();
    let mut request = match requested.request() {
        Ok(request) => request,
        Err(error) => return Ok(Err(NoPlan::of(error.to_string()))),
    };
    let words = request.words.clone();
    if let (Some(program), Some(_)) = (&shop.config.plan.compiler, &request.words) {
        request = match by_program(shop, program, event, request).await? {
            Ok(request) => request,
            Err(no) => return Ok(Err(no)),
        };
    }
    let mut known = match known(shop, case, event, &request).await? {
        Ok(known) => known,
        Err(no) => return Ok(Err(no)),
    };
    let mut made = match plan(&shop.catalogue, &request, known.for_plan()) {
        Ok(made) => made,
        Err(error) => return Ok(Err(NoPlan::from(error))),
    };
    made.class = requested.class();
    let took_ms = milliseconds(began.elapsed());
    if shop.config.plan.simulate {
        simulate(shop, case, &mut made, &mut known.sight).await?;
    }
    let mut sections = made.sections();
    sections.add_some("environment", made.environment.as_deref().map(Value::from));
    sections.add("plan", json!({ "compile_ms": took_ms, "inputs_digest": known.digest(&event["request"]) }));
    // What was asked for stands beside what answers it.
    sections.add_some("intent", words.map(|words| json!({ "request": words })));
    Ok(Ok(sections))
}

/// What of the world a plan was made from.
struct Known {
    sight: Sight,
    /// Whether commands depend on it. What is seen for the simulation alone changes none.
    decides: bool,
}

impl Known {
    fn for_plan(&self) -> Option<&Existing> {
        self.decides.then_some(&self.sight.existing)
    }

    /// Names what was planned from: SHA-256 over the request in RFC 8785, with what was there where commands depend on it.
    fn digest(&self, request: &Value) -> String {
        match self.for_plan() {
            None => digest(request),
            Some(existing) => digest(&json!({ "request": request, "existing": existing.document() })),
        }
    }
}

/// What the house's inventory says, and which twins are there where the request is for another one.
async fn known(shop: &Shop, case: &Case, event: &Value, request: &Request) -> Result<Result<Known, NoPlan>, WorkError> {
    let mut known = Known { sight: Sight::default(), decides: false };
    if let Some(program) = &shop.config.plan.inventory {
        let listed = match asked(shop, program, event).await? {
            Ok(text) => Existing::read(text.as_bytes()).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        match listed {
            Ok(existing) => known = Known { sight: Sight { existing, ..Sight::default() }, decides: true },
            Err(why) => return Ok(Err(NoPlan::of(format!("the inventory, {}: {why}", program[0])))),
        }
    }
    let twins = glance::of_twins(&shop.catalogue, request);
    if !twins.is_empty() {
        known.sight.see(&twins, &looked(shop, case, &twins).await?);
        known.decides = true;
        if let Some((id, why)) = known.sight.unknown.first_key_value() {
            let reason =
                format!("nobody knows whether {id} is there ({why}), and with it which twin is free; ask again");
            return Ok(Err(NoPlan::of(reason)));
        }
    }
    Ok(Ok(known))
}

/// Goes through the plan over what is there. Where nothing can be said of anything, nothing is said.
async fn simulate(shop: &Shop, case: &Case, made: &mut Plan, sight: &mut Sight) -> Result<(), WorkError> {
    let glances = glance::of_plan(made);
    let look = looked(shop, case, &glances);
    // Preflight waits for each of these questions as long as it has to. A plan does not have to.
    let limit = Duration::from_secs((LOOKING_S.0 + glances.len() as u64).min(LOOKING_S.1));
    let Ok(answers) = tokio::time::timeout(limit, look).await else {
        tracing::info!(change = %case.change, "the plan is not simulated: looking takes longer than {} s", limit.as_secs());
        return Ok(());
    };
    sight.see(&glances, &answers?);
    if sight.unknown.len() < glances.len() {
        made.simulate(&shop.catalogue, sight);
    }
    Ok(())
}

/// Puts looks as questions, and hands the answers on to preflight.
async fn looked(shop: &Shop, case: &Case, glances: &[Glance]) -> Result<Answers, WorkError> {
    let question = |glance: &Glance| Question { id: glance.id(), argv: glance.look.argv.clone() };
    let mut answers = ask::all(shop, glances.iter().map(question).collect()).await?;
    // Who does not show a good certificate has said nothing, and is not asked again here: preflight does that, and tells.
    for glance in glances {
        if let Some(answer) = answers.get_mut(&glance.id())
            && has_bad_certificate(shop, glance, answer)
        {
            let problem = "the certificate of whom was asked is not good".to_owned();
            *answer = Answer { problem: Some(problem), ..Answer::default() };
        }
    }
    aftermath::goes_on(shop, "plan")?;
    let good = |glance: &Glance| {
        let answer = answers.get(&glance.id()).filter(|answer| answer.presence(&glance.look).is_known())?;
        Some((glance.look.argv.clone(), answer.clone()))
    };
    shop.fresh.put(case, shop.now_ms(), glances.iter().filter_map(good).collect());
    Ok(answers)
}

/// Whether an answer is a complaint about a certificate, in its tool's own words.
fn has_bad_certificate(shop: &Shop, glance: &Glance, answer: &Answer) -> bool {
    let tool = glance.look.argv.first().and_then(|program| shop.catalogue.tool_of(program));
    let way = tool.and_then(|tool| tool.tls_fallback.as_ref());
    answer.code != Some(0) && way.is_some_and(|way| way.is_meant(&answer.stderr))
}

/// Has a program turn the words into resources. Its answer is read like any request, and passes the same checks.
async fn by_program(
    shop: &Shop,
    program: &[String],
    event: &Value,
    request: Request,
) -> Result<Result<Request, NoPlan>, WorkError> {
    let answered = asked(shop, program, event).await?;
    let resources = answered.and_then(|text| {
        let answer = serde_json::from_str::<Value>(&text).map_err(|error| format!("its answer is no JSON: {error}"))?;
        let resources = answer.get("resources").cloned();
        resources.ok_or_else(|| "found no resources in its answer, expected {\"resources\": […]}".to_owned())
    });
    let resources = match resources {
        Ok(resources) => resources,
        Err(why) => return Ok(Err(NoPlan::of(format!("{}: {why}", program[0])))),
    };
    Ok(match request_json::read(json!({ "resources": resources }).to_string().as_bytes()) {
        Ok(read) => {
            let mut resources = request.resources.clone();
            resources.extend(read.resources);
            Ok(Request { words: None, resources, ..request })
        }
        Err(error) => Err(NoPlan::of(format!("what {} answers: {error}", program[0]))),
    })
}

/// What a program of the house prints that is given the path of the request; `Err` where it says no, with why.
async fn asked(shop: &Shop, program: &[String], event: &Value) -> Result<Result<String, String>, WorkError> {
    let directory = shop.workdir.join("compile").join(hex::encode(&Sha256::digest(event.to_string())[..16]));
    let written = std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(directory.join("request.json"), event["request"].to_string()));
    written.map_err(|error| WorkError::failed(directory.display().to_string(), &error))?;
    let answered = printed(shop, program, &directory).await;
    if let Err(error) = std::fs::remove_dir_all(&directory) {
        tracing::debug!(path = %directory.display(), %error, "a working directory is left");
    }
    answered
}

async fn printed(shop: &Shop, program: &[String], directory: &Path) -> Result<Result<String, String>, WorkError> {
    let mut argv = program.to_vec();
    argv.push(directory.join("request.json").display().to_string());
    let mut place = Place::new(directory, shop.environment(directory), shop.clock.clone());
    place.keep = Some(directory.join("answer"));
    let limits = Limits { time: COMPILER_TIME, output_bytes: COMPILER_BYTES, memory_bytes: None, processes: None };
    let ran = process::run(&[argv], &place, &limits, &shop.stop).await;
    let ran = ran.map_err(|error| WorkError::failed(&program[0], &error))?;
    if shop.stop.is_cancelled() {
        return Err(WorkError::Failed { what: program[0].clone(), reason: "work is to end".to_owned() });
    }
    // A program that is not there is no answer to whoever asked.
    if let Ending::NotStarted(_) = ran.ending {
        let reason = ran.stderr.output.text.trim().to_owned();
        return Err(WorkError::Failed { what: program[0].clone(), reason });
    }
    if ran.ending.rc() != 0 || ran.stopped.is_some() {
        let said = ran.stderr.output.text.trim().lines().last().unwrap_or_default().to_owned();
        return Ok(Err(format!("exit code {}: {said}", ran.ending.rc())));
    }
    ran.stdout.read().map(Ok).map_err(|error| WorkError::failed(&program[0], &error))
}

impl NoPlan {
    fn of(reason: String) -> Self {
        Self { reasons: vec![reason], understood: Vec::new() }
    }
}

impl From<PlanError> for NoPlan {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::NotUnderstood(not) => {
                let piece = |piece: &workers::request::words::Piece| {
                    format!("not understood, at byte {}: “{}”; expected {}", piece.at, piece.text, piece.expected)
                };
                Self { reasons: not.pieces.iter().map(piece).collect(), understood: not.understood }
            }
            PlanError::Wrong(problems) => {
                Self { reasons: problems.iter().map(ToString::to_string).collect(), understood: Vec::new() }
            }
            PlanError::Cycle(cycle) => Self::of(cycle.to_string()),
        }
    }
}

/// The end of the change, with why: nothing was planned, so nothing is executed.
fn refusal(no: &NoPlan) -> Sections {
    let mut sections = Sections::new();
    sections.add("refusal", json!({ "reasons": no.reasons, "understood": no.understood }));
    sections.add("governance", json!({ "closed": true }));
    sections
}

fn digest(request: &Value) -> String {
    let canonical = serde_json_canonicalizer::to_vec(request).unwrap_or_default();
    format!("sha256:{}", hex::encode(Sha256::digest(canonical)))
}

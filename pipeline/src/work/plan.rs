//! The plan worker: a request becomes a plan, or the end of the change with what was not understood.
//!
//! What it decides is `workers::plan`. The catalogue's grammar reads words, unless the options name a program that does.

use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use schemas::ids::Phase;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use workers::build::Sections;
use workers::command::Ending;
use workers::plan::{PlanError, plan};
use workers::preflight::Requested;
use workers::request::{Request, json as request_json};

use super::process::{self, Limits, Place};
use super::{Case, Emit, Next, Shop, WorkError, Worker};

/// The worker. See the module.
#[derive(Debug, Clone, Copy)]
pub struct Planner;

/// What an external compiler may take.
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
    let began = Instant::now();
    let (what, phase, sections) = match compiled(shop, event, requested).await? {
        Ok(mut sections) => {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            sections.add("plan", json!({ "compile_ms": took_ms, "inputs_digest": digest(&event["request"]) }));
            ("plan", Phase::Plan, sections)
        }
        Err(no) => ("refused", Phase::Audit, refusal(&no)),
    };
    shop.emit(case, Emit { id: case.event_id(attempt, what), phase, attempt, sections }).await?;
    Ok(Next::Nothing)
}

/// The sections of the plan. The environment, which its digest covers, is one of them.
async fn compiled(shop: &Shop, event: &Value, requested: Requested<'_>) -> Result<Result<Sections, NoPlan>, WorkError> {
    let mut request = match requested.request() {
        Ok(request) => request,
        Err(error) => return Ok(Err(NoPlan::of(error.to_string()))),
    };
    if let (Some(program), Some(_)) = (&shop.config.plan.compiler, &request.words) {
        request = match by_program(shop, program, event, request).await? {
            Ok(request) => request,
            Err(no) => return Ok(Err(no)),
        };
    }
    let mut made = match plan(&shop.catalogue, &request, None) {
        Ok(made) => made,
        Err(error) => return Ok(Err(NoPlan::from(error))),
    };
    made.class = requested.class();
    let mut sections = made.sections();
    sections.add_some("environment", made.environment.as_deref().map(Value::from));
    Ok(Ok(sections))
}

/// Has a program turn the words into resources. Its answer is read like any request, and passes the same checks.
async fn by_program(
    shop: &Shop,
    program: &[String],
    event: &Value,
    request: Request,
) -> Result<Result<Request, NoPlan>, WorkError> {
    let directory = shop.workdir.join("compile").join(hex::encode(&Sha256::digest(event.to_string())[..16]));
    let written = std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(directory.join("request.json"), event["request"].to_string()));
    written.map_err(|error| WorkError::failed(directory.display().to_string(), &error))?;
    let answered = answer_of(shop, program, &directory).await;
    if let Err(error) = std::fs::remove_dir_all(&directory) {
        tracing::debug!(path = %directory.display(), %error, "a working directory is left");
    }
    let resources = match answered? {
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

/// The resources that a program answers; `Err` where it says no, with why.
async fn answer_of(shop: &Shop, program: &[String], directory: &Path) -> Result<Result<Value, String>, WorkError> {
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
    let text = ran.stdout.read().map_err(|error| WorkError::failed(&program[0], &error))?;
    Ok(serde_json::from_str::<Value>(&text).map_err(|error| format!("its answer is no JSON: {error}")).and_then(
        |answer| match answer.get("resources") {
            Some(resources) => Ok(resources.clone()),
            None => Err("found no resources in its answer, expected {\"resources\": […]}".to_owned()),
        },
    ))
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

/// Names what was planned from: SHA-256 over the request in RFC 8785.
fn digest(request: &Value) -> String {
    let canonical = serde_json_canonicalizer::to_vec(request).unwrap_or_default();
    format!("sha256:{}", hex::encode(Sha256::digest(canonical)))
}

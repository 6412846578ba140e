//! The drift worker: looks on after a change was verified, and says when something is not as it was.
//!
//! What it decides is `workers::drift`. It looks when a resource is due and records what is new: an alarm when something differs, its end when it is as it was,
//! and now and then that it still looks. An alarm goes to the webhook before it is recorded, so that the record has what became of it; whoever is killed between the two
//! sends it again under the same id.
//!
//! A resource belongs to the last change that executed on it: what a later change did is no drift of an earlier one.
//!
//! Which changes are watched is kept in a file below the working directory, since a verified change is closed and nobody else would bring it up after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use schemas::ids::{ChangeId, Phase, Tenant};
use serde_json::{Value, json};
use tokio::time::Instant;
use workers::build::Sections;
use workers::course::Course;
use workers::drift::{self as decides, Compared, News, Watched, Webhook, repair};
use workers::preflight::Question;
use workers::verify::Found;

use super::aftermath::{course, goes_on, look};
use super::verify::answered;
use super::{Case, Emit, Next, Shop, WorkError, Worker};

/// How long a webhook may take, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;
/// What an alarm's answer may say.
const ANSWER_BYTES: u64 = 64 * 1024;

/// The worker. See the module.
#[derive(Debug, Default)]
pub struct Drift {
    known: Mutex<Known>,
}

/// What is remembered; all of it comes back from the log.
#[derive(Debug, Default)]
struct Known {
    /// When a change's resource was looked at last, milliseconds.
    looked: BTreeMap<(Tenant, ChangeId, String), u64>,
    /// The change that executed last on a resource, with the entry.
    owners: BTreeMap<(Tenant, String), (u64, ChangeId)>,
}

/// One look at a change.
#[derive(Clone, Copy)]
struct Round<'a> {
    course: &'a Course,
    /// All that is watched.
    watched: &'a [Watched],
    /// What is looked at now.
    due: &'a [Watched],
}

impl Worker for Drift {
    fn name(&self) -> &'static str {
        "drift"
    }

    fn listens_to(&self) -> &'static [Phase] {
        &[Phase::Execute, Phase::Verify, Phase::Audit]
    }

    fn beside(&self, shop: &Shop, tenant: &Tenant) -> Vec<ChangeId> {
        read_list(shop, tenant).into_iter().collect()
    }

    fn act<'a>(&'a self, shop: &'a Shop, case: &'a Case) -> BoxFuture<'a, Result<Next, WorkError>> {
        Box::pin(self.look_after(shop, case))
    }
}

impl Drift {
    async fn look_after(&self, shop: &Shop, case: &Case) -> Result<Next, WorkError> {
        let Some(course) = course(shop, case) else { return Ok(Next::Nothing) };
        self.own(case, &course);
        let mut watched = decides::watched(&course, &shop.catalogue, &shop.config.drift);
        watched.retain(|one| self.is_owner(case, &one.resource));
        keep_in_list(shop, case, !watched.is_empty())?;
        let asked = course.orders.iter().find(|order| order.kind == "drift_check" && !answered(case, &order.id));
        let now_ms = shop.now_ms();
        let due: Vec<Watched> = watched
            .iter()
            .filter(|one| asked.is_some() || self.due_ms(shop, case, &course, one) <= now_ms)
            .cloned()
            .collect();
        if asked.is_some() || !due.is_empty() || decides::is_taken_over(&course, &watched) {
            let round = Round { course: &course, watched: &watched, due: &due };
            self.look(shop, case, &round, asked.map(|order| order.id.as_str())).await?;
        }
        let next = watched.iter().map(|one| self.due_ms(shop, case, &course, one)).min();
        Ok(next.map_or(Next::Nothing, |at_ms| Next::Again { at_ms }))
    }

    /// Notes what the change executed on.
    fn own(&self, case: &Case, course: &Course) {
        let Some((index, _)) = course.executed else { return };
        let steps = course.plan.iter().flat_map(|plan| &plan.steps);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !course.undone.ended.is_empty() {
            // What it did is taken back: whoever came before has the resource again.
            known.owners.retain(|_, (_, change)| *change != case.change);
            return;
        }
        for (step, _) in steps.zip(&course.fates).filter(|(_, fate)| **fate == workers::course::Fate::Done) {
            let resource = step.id.split('#').next().unwrap_or(&step.id).to_owned();
            let owner =
                known.owners.entry((case.tenant.clone(), resource)).or_insert_with(|| (index, case.change.clone()));
            if owner.0 < index {
                *owner = (index, case.change.clone());
            }
        }
    }

    fn is_owner(&self, case: &Case, resource: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = known.owners.get(&(case.tenant.clone(), resource.to_owned()));
        owner.is_none_or(|(_, change)| *change == case.change)
    }

    /// When a resource is due: counted from when it was looked at last, by this process or by the record.
    fn due_ms(&self, shop: &Shop, case: &Case, course: &Course, one: &Watched) -> u64 {
        let recorded = course.drifts.last().map_or(0, |drift| drift.at_ms);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = known.looked.get(&(case.tenant.clone(), case.change.clone(), one.resource.clone()));
        let last_ms = looked.copied().unwrap_or(recorded);
        one.due_ms(case.change.as_str(), last_ms, &shop.config.drift)
    }

    async fn look(&self, shop: &Shop, case: &Case, round: &Round<'_>, order: Option<&str>) -> Result<(), WorkError> {
        let Round { course, watched, due } = *round;
        let began = Instant::now();
        let questions = due.iter().flat_map(|one| &one.looks);
        let questions = questions.map(|look| Question { id: look.id.clone(), argv: look.argv.clone() }).collect();
        let environment = course.plan.as_ref().and_then(|plan| plan.environment.as_deref());
        let looked = look(shop, environment, questions).await?;
        let insecure = !looked.insecure.is_empty();
        let found = Found { answers: looked.answers, ..Found::default() };
        goes_on(shop, "looking for drift")?;
        let now_ms = shop.now_ms();
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (config, mut sections) = (&shop.config, Sections::new());
        let compared = decides::compare(course, watched, &found, &config.verify, &config.drift, now_ms);
        match &compared {
            Some(compared) if order.is_some() || compared.news != News::None => {
                sections.add("verification", compared.verification(duration_ms));
                if insecure {
                    sections.add("verification", json!({"tls_verified": false}));
                }
                self.tell(shop, case, round, compared, &mut sections).await?;
            }
            None if order.is_some() => {
                sections.add(
                    "drift_check",
                    json!({"message": "nothing of this change was verified, so there is nothing to compare with"}),
                );
            }
            _ => {}
        }
        if let Some(order) = order {
            sections.add("answers", order.into());
        }
        if sections != Sections::new() {
            let id = case.event_id(course.attempt, &format!("drift.{}", event_number(case)));
            let phase = if compared.is_some() { Phase::Verify } else { Phase::Audit };
            shop.emit(case, Emit { id, phase, attempt: course.attempt, sections }).await?;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for one in due {
            known.looked.insert((case.tenant.clone(), case.change.clone(), one.resource.clone()), now_ms);
        }
        Ok(())
    }

    /// What it is about, with its alarm, and the request that mends it where the options say so.
    async fn tell(
        &self,
        shop: &Shop,
        case: &Case,
        round: &Round<'_>,
        compared: &Compared,
        sections: &mut Sections,
    ) -> Result<(), WorkError> {
        let course = round.course;
        if let Some(plan) = &course.plan {
            sections.add_some("target", decides::target(plan, round.due));
        }
        let Some(mut alarm) = compared.alarm() else { return Ok(()) };
        let event = case.event_id(course.attempt, &format!("drift.{}", event_number(case)));
        if compared.news == News::Drifted && shop.config.drift.repair {
            alarm["repair"] = self.ask_for_repair(shop, case, course, compared, &event).await?;
        }
        if let Some(webhook) = &shop.config.drift.webhook {
            let told = json!({
                "id": event,
                "tenant": case.tenant.as_str(),
                "change": case.change.as_str(),
                "alarm": alarm.clone(),
                "diff": compared.differences.iter().take(100).map(workers::verify::Difference::document).collect::<Value>(),
            });
            alarm["webhook"] = post(shop, webhook, &event, told).await;
        }
        sections.add("alarm", alarm);
        Ok(())
    }

    /// Asks for the change that mends a drift: one for each drift that is told.
    async fn ask_for_repair(
        &self,
        shop: &Shop,
        case: &Case,
        course: &Course,
        compared: &Compared,
        event: &str,
    ) -> Result<Value, WorkError> {
        let reason = format!("drift of {}: {}", case.change, compared.summary());
        let expectations = &shop.config.verify.expectations;
        let made = repair::repair(course, &compared.differences, &shop.catalogue, expectations, &reason);
        let leaves: Value =
            made.leaves.iter().map(|(resource, why)| json!({"resource": resource, "reason": why})).collect();
        let Some(mut request) = made.request else { return Ok(json!({ "leaves": leaves })) };
        request["initiator"] = "drift".into();
        let change = ChangeId::parse(&super::case::event_id(
            &case.change,
            course.attempt,
            &event.replace(case.change.as_str(), "repair"),
        ))
        .map_err(|error| WorkError::failed("the id of a repair", &error))?;
        let mut sections = Sections::new();
        sections.add("fixes", case.change.as_str().into());
        sections.add_some(
            "environment",
            course.plan.as_ref().and_then(|plan| plan.environment.as_deref()).map(Value::from),
        );
        sections.add("intent", json!({"source": "api", "initiator": "drift", "reason": reason}));
        sections.add("request", request);
        let new = Case::read(&*shop.record, &case.tenant, &change).await?;
        let id = new.event_id(1, "request");
        shop.emit(&new, Emit { id, phase: Phase::Plan, attempt: 1, sections }).await?;
        Ok(json!({"change": change.as_str(), "mends": made.mends, "leaves": leaves}))
    }
}

/// Numbers what monitors say of a change.
fn event_number(case: &Case) -> usize {
    let own = |(_, event): &(&super::Stored, &Value)| {
        event.pointer("/verification/purpose").and_then(Value::as_str) == Some("drift")
    };
    let answers = |(_, event): &(&super::Stored, &Value)| event.get("drift_check").is_some();
    case.events().filter(|entry| own(entry) || answers(entry)).count() + 1
}

/// Posts an alarm; what became of it is recorded.
async fn post(shop: &Shop, webhook: &Webhook, id: &str, told: Value) -> Value {
    let authorization = match &webhook.authorization_file {
        None => Ok(None),
        Some(path) => std::fs::read_to_string(shop.base.join(path)).map(|text| Some(text.trim().to_owned())),
    };
    let authorization = match authorization {
        Ok(authorization) => authorization,
        Err(error) => {
            return json!({"ok": false, "message": format!("the file of its authorization can't be read: {error}")});
        }
    };
    let (url, id) = (webhook.url.clone(), id.to_owned());
    let sent = tokio::task::spawn_blocking(move || send(&url, authorization.as_deref(), &id, &told)).await;
    match sent {
        Ok(Ok(status)) => json!({"ok": true, "status": status}),
        Ok(Err(why)) => {
            tracing::warn!(worker = shop.worker, %why, "an alarm could not be delivered; it is recorded");
            json!({"ok": false, "message": why})
        }
        Err(error) => json!({"ok": false, "message": error.to_string()}),
    }
}

fn send(url: &str, authorization: Option<&str>, id: &str, told: &Value) -> Result<u16, String> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    let agent: ureq::Agent = config.max_redirects(0).build().into();
    let mut why = String::new();
    for n in 0..TRIES {
        if n > 0 {
            std::thread::sleep(Duration::from_millis(500 << n));
        }
        let mut request = agent.post(url).header("Idempotency-Key", id);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        match request.send_json(told) {
            Ok(mut answer) if answer.status().is_success() => {
                // What it says is of no use; the connection is.
                let _ = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
                return Ok(answer.status().as_u16());
            }
            Ok(answer) => why = format!("the webhook answers {}", answer.status().as_u16()),
            Err(error) => why = format!("the webhook does not answer: {error}"),
        }
    }
    Err(why)
}

fn list(shop: &Shop, tenant: &Tenant) -> PathBuf {
    shop.workdir.join("drift").join(format!("{tenant}.json"))
}

fn read_list(shop: &Shop, tenant: &Tenant) -> BTreeSet<ChangeId> {
    let text = std::fs::read(list(shop, tenant)).unwrap_or_default();
    let names: Vec<String> = serde_json::from_slice(&text).unwrap_or_default();
    names.iter().filter_map(|name| ChangeId::parse(name).ok()).collect()
}

/// Keeps which changes are watched.
fn keep_in_list(shop: &Shop, case: &Case, is_watched: bool) -> Result<(), WorkError> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut changes = read_list(shop, &case.tenant);
    let is_new = if is_watched { changes.insert(case.change.clone()) } else { changes.remove(&case.change) };
    if !is_new {
        return Ok(());
    }
    let path = list(shop, &case.tenant);
    let names: Vec<&str> = changes.iter().map(ChangeId::as_str).collect();
    let failed = |error: &std::io::Error| WorkError::failed(path.display().to_string(), error);
    let new = path.with_extension("new");
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    }
    std::fs::write(&new, json!(names).to_string()).map_err(|error| failed(&error))?;
    std::fs::rename(&new, &path).map_err(|error| failed(&error))
}

//! One look at what a change made: compared with what was verified, and said where it is new.

use schemas::ids::{ChangeId, Phase};
use serde_json::{Value, json};
use tokio::time::Instant;
use workers::build::Sections;
use workers::course::Course;
use workers::drift::{self as decides, Compared, News, Watched, repair};
use workers::preflight::Question;
use workers::verify::Found;

use super::{NAME, webhook};
use crate::work::aftermath::{self, goes_on};
use crate::work::{Case, Emit, Shop, WorkError, case};

/// One look at a change.
#[derive(Clone, Copy)]
pub(super) struct Round<'a> {
    pub(super) course: &'a Course,
    /// All that is watched.
    pub(super) watched: &'a [Watched],
    /// What is looked at now.
    pub(super) due: &'a [Watched],
}

/// Looks, and says what is new, or whatever it is where somebody ordered it. When it looked, milliseconds.
pub(super) async fn look(shop: &Shop, case: &Case, round: &Round<'_>, order: Option<&str>) -> Result<u64, WorkError> {
    let Round { course, watched, due } = *round;
    let began = Instant::now();
    let questions = due.iter().flat_map(|one| &one.looks);
    let questions = questions.map(|look| Question { id: look.id.clone(), argv: look.argv.clone() }).collect();
    let environment = course.plan.as_ref().and_then(|plan| plan.environment.as_deref());
    let looked = aftermath::look(shop, environment, questions).await?;
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
            tell(shop, case, round, compared, &mut sections).await?;
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
        let id = case.event_id(course.attempt, &format!("{NAME}.{}", number(case)));
        let phase = if compared.is_some() { Phase::Verify } else { Phase::Audit };
        shop.emit(case, Emit { id, phase, attempt: course.attempt, sections }).await?;
    }
    Ok(now_ms)
}

/// What it is about, with its alarm, and the request that mends it where the options say so.
async fn tell(
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
    let event = case.event_id(course.attempt, &format!("{NAME}.{}", number(case)));
    if compared.news == News::Drifted && shop.config.drift.repair {
        alarm["repair"] = ask_for_repair(shop, case, course, compared, &event).await?;
    }
    if let Some(webhook) = &shop.config.drift.webhook {
        let told = json!({
            "id": event,
            "tenant": case.tenant.as_str(),
            "change": case.change.as_str(),
            "alarm": alarm.clone(),
            "diff": compared.differences.iter().take(100).map(workers::verify::Difference::document).collect::<Value>(),
        });
        alarm["webhook"] = webhook::post(shop, webhook, &event, told).await;
    }
    sections.add("alarm", alarm);
    Ok(())
}

/// Asks for the change that mends a drift: one for each drift that is told.
async fn ask_for_repair(
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
    let change =
        ChangeId::parse(&case::event_id(&case.change, course.attempt, &event.replace(case.change.as_str(), "repair")))
            .map_err(|error| WorkError::failed("the id of a repair", &error))?;
    let mut sections = Sections::new();
    sections.add("fixes", case.change.as_str().into());
    sections
        .add_some("environment", course.plan.as_ref().and_then(|plan| plan.environment.as_deref()).map(Value::from));
    sections.add("intent", json!({"source": "api", "initiator": "drift", "reason": reason}));
    sections.add("request", request);
    let new = Case::read(&*shop.record, &case.tenant, &change).await?;
    let id = new.event_id(1, "request");
    shop.emit(&new, Emit { id, phase: Phase::Plan, attempt: 1, sections }).await?;
    Ok(json!({"change": change.as_str(), "mends": made.mends, "leaves": leaves}))
}

/// Numbers what monitors say of a change: behind what they have said. What others say in their form counts for nothing.
fn number(case: &Case) -> usize {
    case.events().filter(|(stored, _)| stored.is_by(NAME)).count() + 1
}

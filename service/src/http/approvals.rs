//! `/v1/tenants/{tenant}/changes/{id}/approvals`: what an approver has to know, the exact bytes to sign, and a signed approval taken in.
//!
//! A script needs curl and `ssh-keygen` for it, and no program of ours. What would not count is refused before it is published, with each reason; the
//! decision is `projector::approval`'s. Approvals that come another way are recorded and graded like any event.
//!
//! Until there are tokens, everybody who reaches the socket may post here, and the entry's producer is [`PRODUCER`]: the door, which neither plans nor
//! executes. What an approval is worth rests on its signature.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use projector::approval::{self, Considered, Lack, Objection, Statement, signers};
use schemas::event::Event;
use schemas::ids::{ChangeId, Phase, Producer, Subject, Tenant};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use workers::build::{self, Fields, Sections};

use super::app::{App, OpenTenant, blocking, log_failed};
use super::changes::Recorded;
use super::extract::{JsonBody, UrlPath, UrlQuery};
use super::post::send_one;
use super::problem::Problem;

mod scene;

use scene::{Scene, whole_seconds};

/// Who the road says sent what is posted here.
const PRODUCER: &str = pipeline::work::own::APPROVALS;
/// Bytes of a signature, and of a comment, at most.
const SIGNATURE_MAX: usize = 8_192;
const COMMENT_MAX: usize = 4_096;

/// What is to be signed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementQuery {
    approver: String,
    role: String,
    /// `approved` or `refused`.
    decision: Option<String>,
    /// RFC 3339; without it now.
    at: Option<String>,
    /// RFC 3339.
    expires: Option<String>,
}

/// A signed approval.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The bytes that were signed.
    statement: String,
    /// As `ssh-keygen -Y sign` writes it.
    signature: String,
    /// In words; not signed.
    comment: Option<String>,
}

/// `GET …/approvals`: the plan that would be approved, what is asked for, what is there and what is missing.
pub async fn list(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    blocking(move || {
        let recorded = Recorded::believed(&app, &open, &change)?;
        let mut told = Scene::of(&open)?.told(&change, &recorded)?;
        let governance = open.log.governance().map_err(|error| log_failed(&error))?;
        let signers = signers(governance.facts());
        told["signers"] = signers
            .iter()
            .map(|signer| json!({"fingerprint": signer.fingerprint, "approver": signer.approver}))
            .collect();
        told["tenant"] = json!(tenant);
        Ok(Json(told))
    })
    .await
}

/// `GET …/approvals/statement?role=&approver=&decision=`: exactly the bytes to sign, or why an approval with them would not count.
pub async fn statement(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    UrlQuery(query): UrlQuery<StatementQuery>,
) -> Result<Response, Problem> {
    let open = app.tenant(&tenant)?;
    let bytes = blocking(move || {
        let recorded = Recorded::believed(&app, &open, &change)?;
        let scene = Scene::of(&open)?;
        let said = asked_for(&scene, &change, &recorded, query)?;
        let attempt = scene.standing(&change, &recorded)?.attempt;
        let event = event(&tenant, &change, attempt, scene.now_ms, &said, None)?;
        let mut considered = scene.considered(&change, &recorded, &event)?;
        considered.objections.retain(|objection| *objection != Objection::Lack(Lack::NoSignature));
        refuse(&considered)?;
        Ok(said.to_bytes())
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], bytes).into_response())
}

/// `POST …/approvals`: `{"statement", "signature", "comment"?}`. Answered once it is durable, with its receipt, its grade, and what is still missing;
/// 422 with each reason where it would not count, and then nothing is published. The same again is answered with the first entry.
pub async fn give(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    JsonBody(given): JsonBody<Given>,
) -> Result<Response, Problem> {
    let open = app.tenant(&tenant)?;
    app.producer()?;
    app.refuse_intake()?;
    bounded(&given)?;
    let said = Statement::read(given.statement.as_bytes())
        .map_err(|error| Problem::bad_request(format!("statement: {error}")))?;
    let (asked, of, to) = (Arc::clone(&app), Arc::clone(&open), change.clone());
    let made = blocking(move || prepare(&asked, &of, &to, &said, &given)).await?;
    let (status, answer) = match made {
        Made::Known(index) => {
            let of = Arc::clone(&open);
            let receipt = blocking(move || of.log.receipt(index).map_err(|error| log_failed(&error))).await?;
            let answer = json!({"status": "duplicate", "index": index, "change": change, "receipt": receipt.to_text()});
            (StatusCode::OK, answer)
        }
        Made::New(event) => {
            let producer =
                Producer::parse(PRODUCER).map_err(|error| Problem::internal("the producer's name", &error))?;
            let subject = Subject { tenant, phase: Phase::Preflight, producer: Some(producer) };
            let (status, answer) = send_one(app.producer()?, subject.to_string(), Bytes::from(event)).await;
            let answer = serde_json::to_value(&answer).map_err(|error| Problem::internal("an answer", &error))?;
            (status, answer)
        }
    };
    let Some(index) = answer["index"].as_u64().filter(|_| status.is_success()) else {
        return Ok((status, Json(answer)).into_response());
    };
    let mut answer = answer;
    let worth =
        blocking(move || Scene::of(&open)?.worth(&change, &Recorded::believed(&app, &open, &change)?, index)).await?;
    if let (Some(answer), Value::Object(worth)) = (answer.as_object_mut(), worth) {
        answer.remove("line");
        answer.extend(worth);
    }
    Ok((status, Json(answer)).into_response())
}

fn bounded(given: &Given) -> Result<(), Problem> {
    let comment = given.comment.as_deref().unwrap_or_default();
    for (name, found, most) in
        [("signature", given.signature.len(), SIGNATURE_MAX), ("comment", comment.len(), COMMENT_MAX)]
    {
        if found > most {
            return Err(Problem::bad_request(format!("{name}: found {found} bytes, expected at most {most}")));
        }
    }
    Ok(())
}

/// What became of a post that is sound.
enum Made {
    /// It is on record, in this entry.
    Known(u64),
    /// The event that records it.
    New(Vec<u8>),
}

fn prepare(app: &App, open: &OpenTenant, change: &ChangeId, said: &Statement, given: &Given) -> Result<Made, Problem> {
    let recorded = Recorded::believed(app, open, change)?;
    let scene = Scene::of(open)?;
    let origin = &scene.context.rules.origin;
    let mut elsewhere = Vec::new();
    if said.origin != *origin {
        elsewhere
            .push(json!({"code": "other_log", "text": format!("it is for the log {}, not for {origin}", said.origin)}));
    }
    if said.change != change.as_str() {
        let text = format!("it was given for the change {}, and is sent for {change}", said.change);
        elsewhere.push(json!({"code": "other_change", "text": text}));
    }
    if !elsewhere.is_empty() {
        return Err(refused(elsewhere));
    }
    let found = scene.standing(change, &recorded)?;
    // What stands in another attempt is no repetition but a replay, and is refused as that.
    if let Some(index) = on_record(&recorded, origin, change, given)
        && found.given.iter().any(|(graded, _)| graded.index == index)
    {
        return Ok(Made::Known(index));
    }
    let attempt = found.attempt;
    let event = event(&open.tenant, change, attempt, scene.now_ms, said, Some(given))?;
    refuse(&scene.considered(change, &recorded, &event)?)?;
    Ok(Made::New(event))
}

/// The last entry that has exactly this approval.
fn on_record(recorded: &Recorded, origin: &str, change: &ChangeId, given: &Given) -> Option<u64> {
    let same = |payload: &[u8]| {
        let event = Event::parse(payload).ok();
        let on_record = event.as_ref().and_then(|event| event.preflight.as_ref());
        on_record.map_or(&[][..], |preflight| &preflight.approvals).iter().any(|approval| {
            approval.signature.as_deref() == Some(given.signature.as_str())
                && approval::statement(origin, change, approval) == given.statement.as_bytes()
        })
    };
    let preflight = recorded.entries.iter().rev().filter(|(_, header, _)| header.phase == Phase::Preflight);
    preflight.into_iter().find(|(.., payload)| same(payload)).map(|(index, ..)| *index)
}

/// The statement that a query asks for: of the newest plan.
fn asked_for(
    scene: &Scene,
    change: &ChangeId,
    recorded: &Recorded,
    query: StatementQuery,
) -> Result<Statement, Problem> {
    let decision = query.decision.unwrap_or_else(|| "approved".to_owned());
    if !matches!(decision.as_str(), "approved" | "refused") {
        return Err(Problem::bad_request(format!("decision: found {decision:?}, expected approved or refused")));
    }
    let now_s = scene.now_ms / 1000 * 1000;
    let at = query.at.unwrap_or_else(|| whole_seconds(now_s));
    for (name, text) in [("at", Some(&at)), ("expires", query.expires.as_ref())] {
        if let Some(text) = text.filter(|text| schemas::time::seconds(text).is_none()) {
            return Err(Problem::bad_request(format!("{name}: found {text:?}, expected a time of RFC 3339")));
        }
    }
    let mut said = Statement::new(&scene.context.rules.origin, change);
    said.plan_digest = scene.standing(change, recorded)?.plan_digest;
    said.approver = Some(query.approver);
    said.role = Some(query.role);
    said.decision = Some(decision);
    said.at = Some(at);
    said.expires = query.expires;
    Ok(said)
}

/// The event that records an approval; without a signature it is only looked at.
fn event(
    tenant: &Tenant,
    change: &ChangeId,
    attempt: u64,
    now_ms: u64,
    said: &Statement,
    given: Option<&Given>,
) -> Result<Vec<u8>, Problem> {
    let attempt = u32::try_from(attempt).map_err(|error| Problem::internal("the number of the attempt", &error))?;
    let (signature, comment) =
        (given.map(|given| given.signature.as_str()), given.and_then(|given| given.comment.as_deref()));
    let mut hash = Sha256::new();
    for part in [given.map(|given| given.statement.as_str()), signature, comment] {
        hash.update(part.unwrap_or_default());
        hash.update([0]);
    }
    let fields = Fields {
        id: format!("approval-{}", hex::encode(&hash.finalize()[..16])),
        timestamp: build::rfc3339(i64::try_from(now_ms).unwrap_or(i64::MAX)),
        phase: Phase::Preflight,
        change: Some(change.as_str().to_owned()),
        environment: None,
        class: None,
        attempt: Some(attempt),
        probe: false,
        request: None,
        source: "api".to_owned(),
        initiator: said.approver.clone().unwrap_or_default(),
        tenant: tenant.as_str().to_owned(),
        reason: None,
        ticket: None,
    };
    let mut approval = json!({});
    for (name, text) in [
        ("approver", said.approver.as_deref()),
        ("role", said.role.as_deref()),
        ("decision", said.decision.as_deref()),
        ("at", said.at.as_deref()),
        ("expires", said.expires.as_deref()),
        ("plan_digest", said.plan_digest.as_deref()),
        ("signature", signature),
        ("comment", comment),
    ] {
        if let Some(text) = text {
            approval[name] = text.into();
        }
    }
    let mut sections = Sections::new();
    sections.add("preflight", json!({ "approvals": [approval] }));
    Ok(build::event(&fields, &sections))
}

fn refuse(considered: &Considered) -> Result<(), Problem> {
    if considered.objections.is_empty() {
        return Ok(());
    }
    let reasons = considered.objections.iter();
    Err(refused(reasons.map(|objection| json!({"code": objection.code(), "text": objection.to_string()})).collect()))
}

/// 422 with each reason.
fn refused(reasons: Vec<Value>) -> Problem {
    let texts: Vec<&str> = reasons.iter().filter_map(|reason| reason["text"].as_str()).collect();
    let detail = format!("it would not count: {}", texts.join("; "));
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "approval_refused", "Not an approval that counts", detail)
        .with("reasons", reasons)
}

#[cfg(test)]
mod tests {
    use schemas::admit::{self, Scratch};

    use super::*;

    #[test]
    fn a_time_to_sign_has_whole_seconds() {
        assert_eq!(whole_seconds(1_760_011_200_999), "2025-10-09T12:00:00Z");
    }

    #[test]
    fn the_event_is_one_that_admission_takes() {
        let (tenant, change) = (Tenant::parse("acme").unwrap(), ChangeId::parse("c-1").unwrap());
        let mut said = Statement::new("l/acme", &change);
        said.approver = Some("bob".to_owned());
        said.role = Some("owners".to_owned());
        said.decision = Some("approved".to_owned());
        said.at = Some("2025-10-09T12:00:00Z".to_owned());
        let statement = String::from_utf8(said.to_bytes()).unwrap();
        let given = |comment: Option<&str>| Given {
            statement: statement.clone(),
            signature: "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n".to_owned(),
            comment: comment.map(str::to_owned),
        };
        let made = |given: &Given| event(&tenant, &change, 2, 1_760_011_200_000, &said, Some(given)).unwrap();
        let (one, other) = (made(&given(None)), made(&given(Some("looks right"))));
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["provisioning_event"].clone();
        assert_ne!(read(&one)["id"], read(&other)["id"], "other bytes have another id");
        assert_eq!(read(&other)["preflight"]["approvals"][0]["comment"], "looks right");
        let (subject, admitted) = admit::admit_unaddressed(&one, &mut Scratch::default()).unwrap();
        assert_eq!((subject.phase, admitted.masked, admitted.facts.change), (Phase::Preflight, 0, change));
        assert!(admitted.facts.has.contains("approvals"));
    }

    #[test]
    fn each_reason_is_told() {
        let reasons = vec![json!({"code": "a", "text": "one"}), json!({"code": "b", "text": "two"})];
        let problem = refused(reasons).to_json();
        assert_eq!((&problem["status"], &problem["detail"]), (&json!(422), &json!("it would not count: one; two")));
        assert_eq!(problem["reasons"][1]["code"], "b");
    }
}

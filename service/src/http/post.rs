//! `POST /v1/tenants/{tenant}/events`: one event (`application/json`) or one a line (`application/x-ndjson`).
//!
//! Everything goes over the road, like from any other producer: there is one door. Each event is answered once it is durable, as
//! `{line, status, index, change, receipt | problem}`; 200, or 422 if any was rejected, or 503 if any could not be carried
//! (then its status is `failed`). The others stand, and posting the same bytes again is safe. Lines of one change come into the log in
//! their order; those of different changes side by side.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::entry::Header;
use ledger::receipt::Receipt;
use pipeline::answer::{Answer, Problem as Refusal};
use pipeline::produce::{Lanes, Outgoing, ProduceError, Producer, Turn};
use schemas::ids::{MAX_EVENT_BYTES, Tenant};
use schemas::reason::Reason;
use serde::Serialize;
use serde_json::Value;

use super::MAX_BODY_BYTES;
use super::app::App;
use super::extract::UrlPath;
use super::guard::{media_type, unsupported};
use super::lines::{self, Line};
use super::problem::Problem;

/// What became of one event of a body.
#[derive(Debug, Serialize)]
pub struct LineAnswer {
    /// Its line, from 1.
    line: u64,
    /// `accepted`, `duplicate`, `rejected`, or `failed`: it could not be carried.
    status: &'static str,
    /// Index of its entry (of its rejection's entry); absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// Its change.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<String>,
    /// C2SP tlog-proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Value>,
}

/// `POST /v1/tenants/{tenant}/events`
pub async fn events(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let kind = media_type(&headers).ok_or_else(|| unsupported("is missing"))?;
    app.tenant(&tenant)?;
    let producer = app.producer()?;
    app.refuse_intake()?;
    let body = body.map_err(|rejection| unread(&rejection))?;
    if kind == "application/json" {
        let line = Line { number: 1, bytes: 0..body.len() };
        let answers = send(producer, &tenant, &body, vec![line]).await;
        let status = status_of(&answers);
        return Ok(answers
            .into_iter()
            .next()
            .map_or(StatusCode::BAD_REQUEST.into_response(), |answer| (status, Json(answer)).into_response()));
    }
    let found = lines::split(&body);
    if found.is_empty() {
        return Err(Problem::bad_request("the body has no events: send one JSON document a line"));
    }
    Ok(ndjson(&send(producer, &tenant, &body, found).await))
}

/// Sends one event on its way and waits for the answer.
pub async fn send_one(producer: &Producer, subject: String, event: Bytes) -> (StatusCode, LineAnswer) {
    let outcome = producer.send(&Outgoing { subject, payload: event }).await;
    let answer = answer(1, outcome);
    (status_of(std::slice::from_ref(&answer)), answer)
}

async fn send(producer: &Producer, tenant: &Tenant, body: &Bytes, found: Vec<Line>) -> Vec<LineAnswer> {
    let numbers: Vec<u64> = found.iter().map(|line| line.number).collect();
    let mut lanes = Lanes::default();
    let outgoing = found.into_iter().map(|line| {
        let payload = body.slice(line.bytes);
        let (subject, change) = lines::addressed(tenant, &payload);
        let turn = change.map_or_else(Turn::default, |change| lanes.turn(change));
        (Outgoing { subject: subject.to_string(), payload }, turn)
    });
    let mut answers: Vec<Option<LineAnswer>> = Vec::new();
    answers.resize_with(numbers.len(), || None);
    producer
        .send_all(outgoing, |place, outcome| {
            if let (Some(slot), Some(number)) = (answers.get_mut(place), numbers.get(place)) {
                *slot = Some(answer(*number, outcome));
            }
        })
        .await;
    answers.into_iter().flatten().collect()
}

fn answer(line: u64, outcome: Result<Answer, ProduceError>) -> LineAnswer {
    match outcome {
        Ok(answer) => {
            let receipt = answer.receipt().map(str::to_owned);
            let change = receipt.as_deref().and_then(change_of);
            let problem = answer.problem().and_then(|problem| serde_json::to_value(problem).ok());
            LineAnswer { line, status: answer.status.as_str(), index: Some(answer.index), change, receipt, problem }
        }
        // The server would not carry it, so the door could not say it: the reason is the same.
        Err(ProduceError::TooLarge { bytes, .. }) => {
            let problem = Refusal::new(
                Reason::TooLarge,
                "",
                &format!("{bytes} bytes"),
                &format!("at most {MAX_EVENT_BYTES} bytes"),
            );
            refused(line, "rejected", serde_json::to_value(problem).unwrap_or_default())
        }
        Err(error) => refused(line, "failed", Problem::unavailable(error.to_string()).to_json()),
    }
}

fn refused(line: u64, status: &'static str, problem: Value) -> LineAnswer {
    LineAnswer { line, status, index: None, change: None, receipt: None, problem: Some(problem) }
}

/// The change in a receipt's entry.
fn change_of(receipt: &str) -> Option<String> {
    match Header::decode(&Receipt::parse(receipt).ok()?.entry).ok()? {
        Header::Event(event) => Some(event.change.to_string()),
        _ => None,
    }
}

/// The worst of all.
fn status_of(answers: &[LineAnswer]) -> StatusCode {
    let any = |status| answers.iter().any(|answer| answer.status == status);
    if any("failed") {
        StatusCode::SERVICE_UNAVAILABLE
    } else if any("rejected") {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    }
}

fn ndjson(answers: &[LineAnswer]) -> Response {
    let mut text = String::new();
    for answer in answers {
        text.push_str(&serde_json::to_string(answer).unwrap_or_default());
        text.push('\n');
    }
    (status_of(answers), [(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response()
}

fn unread(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("a body may have at most {MAX_BODY_BYTES} bytes; send several, or publish over NATS");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Too much at once", detail);
    }
    Problem::bad_request(format!("the body: {}", rejection.body_text()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::answer::Status;

    fn check(outcome: Result<Answer, ProduceError>, status: u16, expect: &str) {
        let answer = answer(3, outcome);
        assert_eq!(status_of(std::slice::from_ref(&answer)).as_u16(), status);
        let text = serde_json::to_string(&answer).unwrap();
        assert!(text.starts_with(expect), "{text}");
    }

    #[test]
    fn each_outcome_has_its_line_and_status() {
        let refusal = Refusal::new(Reason::NotJson, "", "x", "JSON").to_json();
        check(
            Ok(Answer { status: Status::Rejected, index: 9, body: refusal }),
            422,
            r#"{"line":3,"status":"rejected","index":9,"problem":{"#,
        );
        check(
            Ok(Answer { status: Status::Duplicate, index: 9, body: b"receipt".to_vec() }),
            200,
            r#"{"line":3,"status":"duplicate","index":9,"receipt":"receipt"}"#,
        );
        check(
            Err(ProduceError::TooLarge { bytes: 9_000_000, limit: 1 }),
            422,
            r#"{"line":3,"status":"rejected","problem":{"#,
        );
        check(
            Err(ProduceError::TimedOut { missing: "answer", attempts: 2 }),
            503,
            r#"{"line":3,"status":"failed","problem":{"detail":"no answer after 2 attempts"#,
        );
    }
}

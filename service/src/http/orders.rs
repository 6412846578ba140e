//! `POST /v1/tenants/{tenant}/changes/{id}/orders`: pause, resume, cancel, roll back, prove that it could be, look for drift. The same order as `upm change pause` and
//! its like give, with the same refusals (`workers::order`): 202 once it is on record. What becomes of it is the workers', and is followed at `watch`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::ids::{ChangeId, Phase, Producer, Subject, Tenant};
use serde_json::{Value, json};
use workers::build;
use workers::order::{Naming, Order};

use super::app::{App, blocking};
use super::changes::change_json;
use super::evidence::segment;
use super::extract::UrlPath;
use super::guard::{media_type, unsupported};
use super::post::send_one;
use super::problem::Problem;
use crate::clock;

/// Who the road says sent what is posted here.
const PRODUCER: &str = pipeline::work::own::ORDERS;

/// `POST …/orders` with `{"kind", "by", "reason"?}`: `{tenant, change, order, id, index, receipt, watch}`. 422 names what can't be read, 409 says why it can't be
/// carried out; then nothing is on record.
pub async fn give(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    // No page of another site may send this kind without being asked first.
    if media_type(&headers).is_none_or(|kind| kind != "application/json") {
        return Err(unsupported("is missing, or not an order's"));
    }
    let open = app.tenant(&tenant)?;
    let producer = app.producer()?;
    app.refuse_intake()?;
    let order = Order::read(&body?).map_err(|error| {
        let detail = format!("the order, {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "order", "Not an order", detail)
    })?;
    let (asked, of) = (Arc::clone(&app), change.clone());
    let known = blocking(move || change_json(&asked, &open, &of)).await?;
    let known: Value =
        serde_json::from_slice(&known).map_err(|error| Problem::internal("the change could not be read", &error))?;
    if let Some(why) = order.objection(&known) {
        return Err(Problem::new(StatusCode::CONFLICT, "order_refused", "The order can't be carried out", why)
            .with("change", change.as_str()));
    }
    let now_ms = clock::unix_ms();
    let mut random = [0; 10];
    clock::fill(&mut random).map_err(|error| Problem::internal("no randomness", &error))?;
    let naming = Naming {
        id: &format!("order-{}", build::uuid_v7(now_ms, random)),
        change: &change,
        tenant: tenant.as_str(),
        timestamp: &build::rfc3339(i64::try_from(now_ms).unwrap_or(i64::MAX)),
    };
    let (fields, sections) = order.event(&known, &naming);
    let door = Producer::parse(PRODUCER).map_err(|error| Problem::internal("the producer's name", &error))?;
    let subject = Subject { tenant: tenant.clone(), phase: Phase::Audit, producer: Some(door) };
    let event = Bytes::from(build::event(&fields, &sections));
    let (status, answer) = send_one(producer, subject.to_string(), event).await;
    let mut answer =
        serde_json::to_value(&answer).map_err(|error| Problem::internal("an answer could not be written", &error))?;
    if !status.is_success() {
        return Ok((status, Json(answer)).into_response());
    }
    let path = format!("/v1/tenants/{}/changes/{}", segment(tenant.as_str()), segment(change.as_str()));
    let told = json!({
        "tenant": tenant,
        "change": change,
        "order": order.kind.as_str(),
        "id": fields.id,
        "index": answer["index"].take(),
        "receipt": answer["receipt"].take(),
        "watch": format!("{path}/watch"),
    });
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, path)], Json(told)).into_response())
}

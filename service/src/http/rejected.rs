//! `/v1/tenants/{tenant}/rejected`: what admission refused, as kept (masked), and trying it again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::read::RejectedRow;
use schemas::ids::{Subject, Tenant};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::{App, OpenTenant, blocking, log_failed};
use super::changes::{rows, with_next};
use super::extract::{UrlPath, UrlQuery};
use super::post;
use super::problem::Problem;

/// Which rejections to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// The first entry index to show.
    from: Option<u64>,
    limit: Option<usize>,
}

/// `GET /v1/tenants/{tenant}/rejected`: `{"rejected": […], "next": index}`, oldest first; `from=index` goes on.
pub async fn list(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<ListQuery>,
) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    let limit = rows(query.limit)?;
    blocking(move || {
        let found = open.log.rejections(query.from.unwrap_or(0), limit + 1).map_err(|error| log_failed(&error))?;
        let next = found.get(limit).map(|row| Value::from(row.index));
        let shown: Vec<Value> = found.iter().take(limit).map(describe).collect();
        Ok(Json(with_next(json!({ "rejected": shown }), next)))
    })
    .await
}

/// `GET /v1/tenants/{tenant}/rejected/{index}`: one, with its bytes as kept.
pub async fn one(
    State(app): State<Arc<App>>,
    UrlPath((tenant, index)): UrlPath<(Tenant, u64)>,
) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    blocking(move || {
        let (row, bytes) = kept(&open, index)?;
        let mut shown = describe(&row);
        shown["payload"] = STANDARD.encode(&bytes).into();
        if let Ok(text) = String::from_utf8(bytes) {
            shown["text"] = text.into();
        }
        Ok(Json(shown))
    })
    .await
}

/// `POST /v1/tenants/{tenant}/rejected/{index}/retry`: the bytes as kept go over the road again, on the subject they came on.
/// What the rules of today still refuse gets a new rejection.
pub async fn retry(
    State(app): State<Arc<App>>,
    UrlPath((tenant, index)): UrlPath<(Tenant, u64)>,
) -> Result<Response, Problem> {
    let open = app.tenant(&tenant)?;
    let (row, bytes) = blocking(move || kept(&open, index)).await?;
    let subject = row.details.subject;
    if Subject::parse(&subject).is_err() {
        let detail =
            format!("entry {index} came on {subject:?}, which is not the subject of an event: it can't be tried again");
        return Err(Problem::new(axum::http::StatusCode::CONFLICT, "not_retryable", "Not an event", detail));
    }
    let (status, answer) = post::send_one(app.producer()?, subject, bytes.into()).await;
    Ok((status, Json(answer)).into_response())
}

fn kept(open: &OpenTenant, index: u64) -> Result<(RejectedRow, Vec<u8>), Problem> {
    let found = open.log.rejection(index).map_err(|error| log_failed(&error))?;
    found.ok_or_else(|| Problem::not_found(format!("entry {index} of tenant {} is no rejection", open.tenant)))
}

fn describe(row: &RejectedRow) -> Value {
    json!({
        "index": row.index,
        "at": row.at_ms,
        "reason": row.reason.as_str(),
        "title": row.reason.title(),
        "subject": row.details.subject,
        "path": row.details.path,
        "found": row.details.found,
        "expected": row.details.expected,
        "size": row.size,
        "masked": row.masked,
        "road": { "epoch": row.road.epoch, "sequence": row.road.sequence },
    })
}

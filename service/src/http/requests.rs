//! `POST /v1/tenants/{tenant}/requests`: what is wanted, in words or as resources. 202 with the change once the request is durable: what becomes of it
//! is the workers', and is followed at `watch`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pipeline::work::RecordError;
use pipeline::work::requests::RequestError;
use schemas::ids::Tenant;
use serde_json::Value;

use super::app::App;
use super::evidence::segment;
use super::extract::UrlPath;
use super::guard::{media_type, unsupported};
use super::problem::Problem;

/// `POST /v1/tenants/{tenant}/requests`: 202 if it is new, 200 if the same was asked before; `{tenant, change, index, status, watch}`.
pub async fn put(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    if media_type(&headers).is_none_or(|kind| kind != "application/json") {
        return Err(unsupported("is missing, or not a request's"));
    }
    app.tenant(&tenant)?;
    app.refuse_intake()?;
    let taken = app.door()?.put(&tenant, &body?).await.map_err(|error| problem(&error))?;
    let change = format!("/v1/tenants/{}/changes/{}", segment(tenant.as_str()), segment(taken.change.as_str()));
    let mut document = taken.document(&tenant);
    document["watch"] = Value::from(format!("{change}/watch"));
    let status = if taken.is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, change)], Json(document)).into_response())
}

fn problem(error: &RequestError) -> Problem {
    let detail = error.to_string();
    match error {
        RequestError::Wrong(_) | RequestError::Refused(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "request", "Not a request", detail)
        }
        RequestError::Taken { change, .. } => {
            Problem::new(StatusCode::CONFLICT, "change_taken", "The change is another one", detail)
                .with("change", change.as_str())
        }
        RequestError::UnknownTenant(_) => Problem::not_found(detail),
        RequestError::Record(RecordError::Away(_)) | RequestError::Produce(_) => Problem::unavailable(detail),
        RequestError::Record(RecordError::TooLarge(_)) => {
            Problem::new(StatusCode::CONFLICT, "change_too_large", "The change is too large", detail)
        }
        RequestError::Record(RecordError::Unreadable(_)) => Problem::internal("the change could not be read", error),
    }
}

//! `/v1/tenants/{tenant}/record/…`: what `upm work` asks of a server that it works beside. Whole entries and payloads, so that a worker acts on what
//! the log has; the shapes are those of `crate::work::remote`, which reads them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::entry::{EventHeader, Header};
use schemas::ids::{ChangeId, Tenant};
use serde_json::{Value, json};

use super::app::{App, blocking, log_failed};
use super::extract::UrlPath;
use super::problem::Problem;
use crate::work::local;

/// How long a message is waited for; whoever asks asks again.
const PATIENCE: Duration = Duration::from_secs(10);

/// `GET …/record/changes/{id}`: `{"entries": [{index, entry, payload}]}`, oldest first; both base64. Without entries where it is not known; `{"too_large": why}` where
/// there are too many of the workers' own.
pub async fn change(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
) -> Result<Json<Value>, Problem> {
    let stored = match local::stored(&app, &tenant, &change).await {
        Err(problem) if problem.is(local::TOO_LARGE) => {
            return Ok(Json(json!({ "too_large": problem.to_json()["detail"] })));
        }
        stored => stored?,
    };
    let entries: Result<Vec<Value>, Problem> = stored
        .into_iter()
        .map(|stored| {
            let entry = Header::Event(EventHeader::clone(&stored.header)).encode();
            let entry = entry.map_err(|error| Problem::internal("an entry could not be written", &error))?;
            let payload = stored.payload.map(|payload| STANDARD.encode(payload));
            Ok(json!({ "index": stored.index, "entry": STANDARD.encode(entry), "payload": payload }))
        })
        .collect();
    Ok(Json(json!({ "entries": entries? })))
}

/// `GET …/record/context`: `{"origin", "as_of_ms", "facts": [[index, {…}]]}`, what approvals are graded by.
pub async fn context(State(app): State<Arc<App>>, UrlPath(tenant): UrlPath<Tenant>) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    blocking(move || {
        let (origin, as_of_ms, facts) = local::facts(&open.log).map_err(|error| log_failed(&error))?;
        Ok(Json(json!({ "origin": origin, "as_of_ms": as_of_ms, "facts": facts })))
    })
    .await
}

/// `GET …/record/decided/{sequence}`: `{"change"}` once that message of the road is decided, null where it is no new event; 504 where that takes
/// long.
pub async fn decided(
    State(app): State<Arc<App>>,
    UrlPath((tenant, sequence)): UrlPath<(Tenant, u64)>,
) -> Result<Json<Value>, Problem> {
    let decided = tokio::time::timeout(PATIENCE, local::decided(&app, &tenant, sequence)).await;
    let change = decided.map_err(|_| {
        let detail = format!("message {sequence} is not decided after {} s", PATIENCE.as_secs());
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "not_decided", "Not decided yet", detail)
    })?;
    Ok(Json(json!({ "change": change? })))
}

/// `GET …/record/open`: `{"changes"}`, those in which something may be due.
pub async fn open(State(app): State<Arc<App>>, UrlPath(tenant): UrlPath<Tenant>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "changes": local::open(&app, &tenant).await? })))
}

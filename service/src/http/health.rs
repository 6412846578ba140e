//! `/healthz`: the process answers. `/readyz`: events are taken, made durable and projected; else each thing that is wrong.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::app::App;
use super::problem::Problem;

/// `GET /healthz`
pub async fn alive() -> Json<Value> {
    Json(json!({ "alive": true }))
}

/// `GET /readyz`
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let health = app.health();
    if health.ready {
        let mut ready = json!({ "ready": true });
        // Told, never a reason: the ledger does without its witnesses.
        if let Some(witnesses) = app.witnesses() {
            ready["witnesses"] = json!(witnesses);
        }
        return Json(ready).into_response();
    }
    let mut problem =
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", health.reasons.join("; "))
            .with("ready", false)
            .with("reasons", health.reasons);
    // Of all that may be wrong, what makes waiting for an answer vain.
    if let Some(refuses) = app.refusal() {
        problem = problem.with("refuses", refuses);
    }
    problem.into_response()
}

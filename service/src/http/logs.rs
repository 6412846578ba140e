//! `/logs/{tenant}/checkpoint`, `/logs/_ledger/checkpoint`: the newest signed head, C2SP tlog-checkpoint. Tiles come later.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use ledger::read::ReadError;
use schemas::ids::Tenant;

use super::app::{App, blocking, log_failed};
use super::extract::UrlPath;
use super::problem::Problem;

/// `GET /logs/{tenant}/checkpoint`
pub async fn checkpoint(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
) -> Result<impl IntoResponse, Problem> {
    let open = app.tenant(&tenant)?;
    blocking(move || note(open.log.newest_checkpoint())).await
}

/// `GET /logs/_ledger/checkpoint`
pub async fn own_checkpoint(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Problem> {
    blocking(move || note(app.own_checkpoint())).await
}

fn note(note: Result<String, ReadError>) -> Result<impl IntoResponse, Problem> {
    let note = note.map_err(|error| log_failed(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], note))
}

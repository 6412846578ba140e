//! `/logs/{tenant}/checkpoint`: the newest signed head, C2SP tlog-checkpoint. Tiles come later.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
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
    let note = blocking(move || open.log.newest_checkpoint().map_err(|error| log_failed(&error))).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], note))
}

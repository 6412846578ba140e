//! `/v1/tenants`: who has a log here, and adding one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemas::ids::Tenant;
use serde_json::{Value, json};

use super::app::{App, OpenTenant, blocking, log_failed};
use super::extract::UrlPath;
use super::logs::LogName;
use super::problem::Problem;

/// `GET /v1/tenants`: `{"tenants": [{tenant, origin, vkey, size}], "ledger": {origin, vkey, size}}`. `_ledger` is nobody's tenant: it stands
/// beside them.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    blocking(move || {
        let tenants: Result<Vec<_>, _> = app.tenants().iter().map(|open| describe(open)).collect();
        let own = app.log(&LogName::Ledger)?;
        let size = own.head().map_err(|error| log_failed(&error))?.size;
        let keys = own.governance().map_err(|error| log_failed(&error))?;
        let own =
            json!({ "origin": keys.origin().as_str(), "vkey": keys.log_keys().verifier().to_vkey(), "size": size });
        Ok(Json(json!({ "tenants": tenants?, "ledger": own })))
    })
    .await
}

/// `PUT /v1/tenants/{tenant}`: 201 if it was added, 200 if it was there.
pub async fn add(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (open, new) = app.add_tenant(&tenant).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(blocking(move || describe(&open)).await?)))
}

fn describe(open: &OpenTenant) -> Result<Value, Problem> {
    let size = open.log.head().map_err(|error| log_failed(&error))?.size;
    Ok(
        json!({ "tenant": open.tenant, "origin": open.origin.as_str(), "vkey": open.verifier().to_vkey(), "size": size }),
    )
}

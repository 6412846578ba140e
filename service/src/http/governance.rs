//! `GET /v1/tenants/{tenant}/governance`: what holds in a tenant's log: facts, holds, rules, and who may sign what; with where
//! the ledger's own log stands, which the next act is listed in. `GET /logs/{log}/keys`: the keys of a log over time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemas::ids::Tenant;
use serde_json::{Value, json};

use super::app::{App, blocking, log_failed};
use super::extract::UrlPath;
use super::logs::LogName;
use super::problem::Problem;
use crate::governed;

/// `GET /v1/tenants/{tenant}/governance`
pub async fn of_tenant(State(app): State<Arc<App>>, UrlPath(tenant): UrlPath<Tenant>) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    blocking(move || {
        let head = open.log.head().map_err(|error| log_failed(&error))?;
        let governance = open.log.governance().map_err(|error| log_failed(&error))?;
        let ledger = app.log(&LogName::Ledger)?.governance().map_err(|error| log_failed(&error))?;
        let mut answer = governed::as_json(&governance);
        answer["tenant"] = json!(open.tenant);
        answer["size"] = json!(head.size);
        answer["root"] = json!(head.edge.root());
        answer["ledger"] = governed::as_json(&ledger);
        Ok(Json(answer))
    })
    .await
}

/// `GET /logs/{log}/keys`: `{"origin", "keys": […]}`, oldest first.
pub async fn keys(State(app): State<Arc<App>>, UrlPath(name): UrlPath<LogName>) -> Result<Json<Value>, Problem> {
    blocking(move || {
        let governance = app.log(&name)?.governance().map_err(|error| log_failed(&error))?;
        let keys = governance.log_keys();
        Ok(Json(json!({ "origin": keys.origin().as_str(), "keys": governed::keys(keys) })))
    })
    .await
}

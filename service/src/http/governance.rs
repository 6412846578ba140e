//! `GET /v1/tenants/{tenant}/governance`: what holds in a tenant's log: facts, holds, rules, and who may sign what; with where
//! the ledger's own log stands, which the next act is listed in. `GET /logs/{log}/keys`: the keys of a log over time;
//! `…/keys/chain`: the proof that each of them leads to the one that signs today. `GET /v1/tenants/{tenant}/allowed_signers`: whose approvals
//! which key signs, for `ssh-keygen -Y verify`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use ledger::governance::KeyChain;
use projector::approval;
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

/// `GET /v1/tenants/{tenant}/allowed_signers`: the keys that the tenant's rule allows today, as ssh-keygen(1) reads them.
pub async fn allowed_signers(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
) -> Result<Response, Problem> {
    let open = app.tenant(&tenant)?;
    let text = blocking(move || {
        let governance = open.log.governance().map_err(|error| log_failed(&error))?;
        Ok(approval::allowed_signers(&approval::signers(governance.facts())))
    })
    .await?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, text).into_response())
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

/// `GET /logs/{log}/keys/chain`: what `keys/chain.json` of a pack is, under the newest checkpoint; 404 for a log with one key only.
pub async fn chain(State(app): State<Arc<App>>, UrlPath(name): UrlPath<LogName>) -> Result<Response, Problem> {
    let chain = blocking(move || {
        let log = app.log(&name)?;
        let size = log.head().map_err(|error| log_failed(&error))?.size;
        let chain = KeyChain::build(&log, size).map_err(|error| log_failed(&error))?;
        chain.ok_or_else(|| Problem::not_found(format!("log {name} has had one key only: nothing has to be led over")))
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], chain.print())
        .into_response())
}

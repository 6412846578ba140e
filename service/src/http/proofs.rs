//! `/v1/tenants/{tenant}/proofs`: that entries are in a log, by index, by event id or by the event itself; that a log only grew. The
//! ledger's own log (`_ledger`) is asked the same way.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use ledger::read::Log;
use ledger_rocks::Rocks;
use schemas::ids::EventId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::{App, OpenTenant, blocking, log_failed, views_failed};
use super::changes::{rows, with_next};
use super::extract::{UrlPath, UrlQuery};
use super::logs::LogName;
use super::problem::Problem;
use crate::proofs::{self, LookupError};

/// Which entry, or which event, in which tree.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionQuery {
    index: Option<u64>,
    event: Option<EventId>,
    /// Tree size, signed or not; without it the newest.
    size: Option<u64>,
    /// Of a list: the first entry index.
    from: Option<u64>,
    limit: Option<usize>,
    at_least: Option<u64>,
}

/// In which tree the event is to be proved, and from where on it is looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfEventQuery {
    size: Option<u64>,
    /// The first entry index to look at.
    from: Option<u64>,
    limit: Option<usize>,
}

/// Between which trees.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyQuery {
    from: u64,
    /// Without it the newest.
    to: Option<u64>,
}

/// `GET …/proofs/inclusion?index=`: one proof. `?event=`: `{"proofs": […], "next": index}` of all events with this id.
pub async fn inclusion(
    State(app): State<Arc<App>>,
    UrlPath(name): UrlPath<LogName>,
    UrlQuery(query): UrlQuery<InclusionQuery>,
) -> Result<Json<Value>, Problem> {
    let InclusionQuery { index, event, size, from, limit, at_least } = query;
    match (index, event) {
        (Some(index), None) => {
            blocking(move || {
                let log = app.log(&name)?;
                proofs::inclusion(&log, index, size).map(|proof| Json(json!(proof))).map_err(|error| log_failed(&error))
            })
            .await
        }
        (None, Some(id)) => {
            let open = tenant(&app, &name)?;
            app.covered(&open.tenant, at_least).await?;
            let limit = rows(limit)?;
            blocking(move || {
                let find =
                    |views: &_| Ok(proofs::by_event_id(&open.log, Some(views), &id, from.unwrap_or(0), limit + 1));
                let mut found = open.ask(find)?.map_err(|error| lookup_failed(&error))?;
                let next = found.get(limit).copied();
                found.truncate(limit);
                Ok(Json(with_next(prove(&open.log, &found, size)?, next.map(Value::from))))
            })
            .await
        }
        _ => Err(Problem::bad_request("say which: either ?index= or ?event=")),
    }
}

/// `POST …/proofs/inclusion` with an event's own bytes: `{"proofs": […], "next": index}` of the entries that hold them, each with how
/// (`holds`). With `next` the rest is asked for by `?from=`.
pub async fn of_event(
    State(app): State<Arc<App>>,
    UrlPath(name): UrlPath<LogName>,
    UrlQuery(query): UrlQuery<OfEventQuery>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let open = tenant(&app, &name)?;
    let event = body?;
    let (from, limit) = (query.from.unwrap_or(0), rows(query.limit)?);
    blocking(move || {
        let find = |views: &_| Ok(proofs::of_event(&open.log, Some(views), open.dedupe(), &event, from, limit));
        let found = open.ask(find)?.map_err(|error| lookup_failed(&error))?.map_err(|rejection| {
            let detail = format!(
                "no log has this as an event: {} at {:?}: found {}, expected {}",
                rejection.reason.as_str(),
                rejection.path,
                rejection.found,
                rejection.expected
            );
            Problem::bad_request(detail).with("reason", rejection.reason.as_str())
        })?;
        if found.entries.is_empty() && found.next.is_none() && query.from.is_none() {
            return Err(Problem::not_found(format!("tenant {} has no entry of this event", open.tenant)));
        }
        let within = found.entries.iter().filter(|(index, _)| query.size.is_none_or(|size| *index < size));
        let made: Result<Vec<_>, _> = within.map(|entry| proofs::held(&open.log, *entry, query.size)).collect();
        let made = made.map_err(|error| log_failed(&error))?;
        Ok(Json(with_next(json!({ "proofs": made }), found.next.map(Value::from))))
    })
    .await
}

/// `GET …/proofs/consistency?from=&to=`
pub async fn consistency(
    State(app): State<Arc<App>>,
    UrlPath(name): UrlPath<LogName>,
    UrlQuery(query): UrlQuery<ConsistencyQuery>,
) -> Result<Json<Value>, Problem> {
    let ConsistencyQuery { from, to } = query;
    if let Some(to) = to.filter(|to| from > *to) {
        let detail = format!("from {from} to {to}: the first size must not be the greater one");
        return Err(Problem::bad_request(detail));
    }
    blocking(move || {
        let log = app.log(&name)?;
        let proof = proofs::consistency(&log, from, to);
        proof.map(|proof| Json(json!(proof))).map_err(|error| log_failed(&error))
    })
    .await
}

/// Events are looked up in views, which the ledger's own log has none of.
fn tenant(app: &App, name: &LogName) -> Result<Arc<OpenTenant>, Problem> {
    match name {
        LogName::Of(tenant) => app.tenant(tenant),
        LogName::Ledger => Err(Problem::not_found("the ledger's own log holds no events: ask by ?index=")),
    }
}

fn prove(log: &Log<Arc<Rocks>>, found: &[u64], size: Option<u64>) -> Result<Value, Problem> {
    let within = found.iter().filter(|index| size.is_none_or(|size| **index < size));
    let made: Result<Vec<_>, _> = within.map(|index| proofs::inclusion(log, *index, size)).collect();
    Ok(json!({ "proofs": made.map_err(|error| log_failed(&error))? }))
}

fn lookup_failed(error: &LookupError) -> Problem {
    match error {
        LookupError::Read(error) => log_failed(error),
        LookupError::Views(error) => views_failed(error),
    }
}

//! `/v1/tenants/{tenant}/events`: entries by index with what is kept beside them, their receipts, and events by id.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::entry::Header;
use ledger::read::ReadError;
use schemas::ids::{EventId, Tenant};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::app::{App, OpenTenant, blocking, log_failed};
use super::changes::{rows, with_next};
use super::extract::{UrlPath, UrlQuery};
use super::logs::{not_cosigned, not_signed};
use super::problem::Problem;

/// Which events to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByIdQuery {
    id: EventId,
    /// The first entry index to show.
    from: Option<u64>,
    limit: Option<usize>,
    at_least: Option<u64>,
}

/// Under which checkpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptQuery {
    /// Its tree size; without it the newest.
    size: Option<u64>,
    /// The newest with enough cosignatures.
    witnessed: Option<String>,
}

/// An entry and what is kept beside it.
#[derive(Debug, Serialize)]
struct EntryDocument {
    index: u64,
    kind: String,
    /// The entry's bytes, base64: what the tree hashes.
    entry: String,
    /// The same as JSON.
    header: Box<RawValue>,
    /// Of the commitment, hex; absent where the entry has no payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    /// As stored, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// The payload as JSON, where the entry is an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
}

/// `GET /v1/tenants/{tenant}/events?id=`: all events with this id, oldest first; ids are not unique.
pub async fn by_id(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<ByIdQuery>,
) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    app.covered(&tenant, query.at_least).await?;
    let (from, limit) = (query.from.unwrap_or(0), rows(query.limit)?);
    blocking(move || {
        let mut events = open.ask(|views| views.events_by_id(&query.id, from, limit + 1))?;
        let next = events.get(limit).map(|event| event.index);
        events.truncate(limit);
        Ok(Json(with_next(json!({ "events": events }), next.map(Value::from))))
    })
    .await
}

/// `GET /v1/tenants/{tenant}/events/{index}`: any entry of the log, whatever its kind.
pub async fn one(
    State(app): State<Arc<App>>,
    UrlPath((tenant, index)): UrlPath<(Tenant, u64)>,
) -> Result<impl IntoResponse, Problem> {
    let open = app.tenant(&tenant)?;
    Ok(Json(blocking(move || entry(&open, index)).await?))
}

/// `GET /v1/tenants/{tenant}/events/{index}/receipt`: C2SP tlog-proof of any entry, under the newest checkpoint, that of `size`, or with
/// `?witnessed` the newest that had as many cosignatures as the ledger's witness policy asked for.
pub async fn receipt(
    State(app): State<Arc<App>>,
    UrlPath((tenant, index)): UrlPath<(Tenant, u64)>,
    UrlQuery(query): UrlQuery<ReceiptQuery>,
) -> Result<impl IntoResponse, Problem> {
    let open = app.tenant(&tenant)?;
    let text = blocking(move || {
        let receipt = match (query.size, query.witnessed) {
            (None, None) => open.log.receipt(index),
            (None, Some(_)) => open.log.receipt_at(index, cosigned_size(&open, index)?),
            (Some(size), None) => open.log.receipt_at(index, size),
            (Some(_), Some(_)) => return Err(Problem::bad_request("either size or witnessed, not both")),
        };
        match receipt {
            Ok(receipt) => Ok(receipt.to_text()),
            Err(ReadError::NotSigned { size }) => Err(not_signed(&open.log, size)),
            Err(ReadError::BeyondSize { .. }) if query.size.is_none() => Err(beyond(&open, index)),
            Err(error) => Err(log_failed(&error)),
        }
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], text))
}

/// Size of the newest cosigned checkpoint, which has to cover the entry.
fn cosigned_size(open: &OpenTenant, index: u64) -> Result<u64, Problem> {
    let newest = open.log.newest_cosigned().map_err(|error| log_failed(&error))?;
    let (size, _) = newest.ok_or_else(|| not_cosigned(open.tenant.as_str()))?;
    if index < size {
        return Ok(size);
    }
    Err(Problem::not_found(format!(
        "entry {index} is not witnessed yet: the newest cosigned checkpoint has {size} entries"
    )))
}

/// That the log is not that long.
fn beyond(open: &OpenTenant, index: u64) -> Problem {
    match open.log.head() {
        Ok(head) => Problem::not_found(format!(
            "tenant {} has {} entries, there is no entry {index} yet",
            open.tenant, head.size
        )),
        Err(error) => log_failed(&error),
    }
}

fn entry(open: &OpenTenant, index: u64) -> Result<EntryDocument, Problem> {
    let entry = open.log.entry(index).map_err(|error| log_failed(&error))?.ok_or_else(|| beyond(open, index))?;
    let damaged = |error: &dyn std::error::Error| Problem::internal("an entry could not be read", error);
    let header = Header::decode(&entry).map_err(|error| damaged(&error))?;
    let stored = open.log.stored(index).map_err(|error| log_failed(&error))?;
    let event = match (&header, &stored) {
        (Header::Event(_), Some(stored)) => {
            Some(serde_json::from_slice(&stored.payload).map_err(|error| damaged(&error))?)
        }
        _ => None,
    };
    Ok(EntryDocument {
        index,
        kind: header.kind().to_owned(),
        header: serde_json::from_slice(&entry).map_err(|error| damaged(&error))?,
        entry: STANDARD.encode(&entry),
        salt: stored.as_ref().map(|stored| stored.salt.to_hex()),
        payload: stored.as_ref().map(|stored| STANDARD.encode(&stored.payload)),
        event,
    })
}

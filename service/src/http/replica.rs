//! `/v1/replica`: what another copy of this ledger copies from us (see `ledger::replica`): the list of logs, and chunks of entries with
//! payloads, salts and fingerprints. Nothing past what may be shown. Followers say here how far they are.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::append::LogId;
use ledger::replica::{Limits, Source as _, SourceError};
use serde::{Deserialize, Serialize};

use super::app::{App, blocking};
use super::extract::{JsonBody, UrlPath, UrlQuery};
use super::problem::Problem;

/// Entries of a chunk at most, whoever asks for more.
const MAX_ENTRIES: u64 = 65_536;

/// Which entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkQuery {
    /// Index of the first.
    from: u64,
    /// How many, about.
    limit: Option<u64>,
}

/// How far a follower is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The name that `serve --follower` was given.
    pub follower: String,
    /// The logs of tenants.
    pub logs: Vec<ReportedLog>,
}

/// How far a follower is with one log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportedLog {
    /// Its number.
    pub log: u32,
    /// Number of its road.
    pub epoch: u32,
    /// Sequence up to which it has everything.
    pub road: u64,
}

/// `GET /v1/replica`
pub async fn listing(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let listing = blocking(move || app.source().listing().map_err(|error| failed(&error))).await?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], listing.to_json())
        .into_response())
}

/// `GET /v1/replica/{log}?from=N[&limit=N]`
pub async fn chunk(
    State(app): State<Arc<App>>,
    UrlPath(log): UrlPath<u32>,
    UrlQuery(query): UrlQuery<ChunkQuery>,
) -> Result<Response, Problem> {
    let whole = Limits::default();
    let limits = Limits { entries: query.limit.unwrap_or(whole.entries).min(MAX_ENTRIES), ..whole };
    let bytes = blocking(move || {
        let chunk = app.source().chunk(LogId(log), query.from, limits).map_err(|error| failed(&error))?;
        Ok(Bytes::from(chunk.encode()))
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")], bytes)
        .into_response())
}

/// `POST /v1/replica/position`: 204. What nobody here is named is refused, so that a misspelt name is noticed.
pub async fn position(State(app): State<Arc<App>>, JsonBody(report): JsonBody<Report>) -> Result<StatusCode, Problem> {
    if app.followers().report(&report) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = format!(
        "{:?} is no follower that this server waits for; `upm serve --follower {}` makes it one",
        report.follower, report.follower
    );
    Err(Problem::not_found(detail))
}

fn failed(error: &SourceError) -> Problem {
    match error {
        SourceError::Beyond { .. } | SourceError::NoLog(_) => Problem::not_found(error.to_string()),
        SourceError::Read(read) => super::app::log_failed(read),
        _ => Problem::internal("the log could not be copied from", error),
    }
}

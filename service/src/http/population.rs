//! `GET /v1/tenants/{tenant}/population?from=&to=`: the population of a period, streamed while it is made. What breaks off has no end record, so
//! that nobody takes it for whole.

use std::io::{self, BufWriter};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use evidence::population::{Period, PopulationInput};
use ledger::read::ReadError;
use ledger::signing::Signer;
use schemas::ids::{ChangeId, Tenant};
use serde::Deserialize;

use super::app::{App, OpenTenant, blocking, log_failed};
use super::extract::{UrlPath, UrlQuery};
use super::logs::LogName;
use super::problem::Problem;
use super::streaming::{self, Connection, PIECE_BYTES};
use crate::populations::{self, PopulatingError};

/// Which period.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopulationQuery {
    /// A day (UTC) or RFC 3339; with the first entry at or after it the period begins.
    from: String,
    /// The same; a day counts whole.
    to: String,
    /// `false` leaves out what only payloads say.
    details: Option<bool>,
}

/// `GET …/population`
pub async fn zip(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<PopulationQuery>,
) -> Result<Response, Problem> {
    let period = Period::parse(&query.from, &query.to).map_err(|error| Problem::bad_request(error.to_string()))?;
    let open = app.tenant(&tenant)?;
    app.may_seal()?;
    let planned = Arc::clone(&open);
    let (input, signer) = blocking(move || {
        let ledger = app.log(&LogName::Ledger)?;
        let input =
            populations::plan(&planned.log, &planned.origin, &ledger, period).map_err(|error| failed(&error))?;
        let signer = planned.signer(&input.verifier);
        Ok((input, signer.map_err(|error| Problem::internal("the population could not be signed", &error))?))
    })
    .await?;
    let details = query.details.unwrap_or(true);
    let body = streaming::body(move |out| {
        make(&open, &input, &signer, details, out).map_err(|error| {
            tracing::warn!(tenant = %open.tenant, %error, "a population broke off");
            io::Error::other(error.to_string())
        })
    });
    let name = |text: String| text.replace([':', '.'], "");
    let name = format!("{tenant}-{}-{}.zip", name(period.from_text()), name(period.to_text()));
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, body).into_response())
}

/// Makes the population into the connection. Blocking.
fn make(
    open: &OpenTenant,
    input: &PopulationInput,
    signer: &Signer,
    details: bool,
    out: Connection,
) -> Result<(), PopulatingError> {
    let indices = |change: &str, size: u64| {
        // A name of a change out of an entry is one.
        let Ok(change) = ChangeId::parse(change) else { return Ok(Vec::new()) };
        open.change_indices(&change, size).map_err(|_| ReadError::NotSigned { size })
    };
    let out = BufWriter::with_capacity(PIECE_BYTES, out);
    populations::write_to(&open.log, input, signer, details.then_some(&indices), out).map(drop)
}

fn failed(error: &PopulatingError) -> Problem {
    match error {
        PopulatingError::NotOver { .. } => {
            Problem::new(StatusCode::CONFLICT, "period_not_over", "The period is not over", error.to_string())
        }
        PopulatingError::Read(error) => log_failed(error),
        error => Problem::internal("the population could not be made", error),
    }
}

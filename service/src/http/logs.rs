//! `/logs/{log}/…`: logs as C2SP tlog-tiles publishes them, a tenant's or the ledger's own (`_ledger`): the newest checkpoint, tiles,
//! entry bundles. Beside the specification: every checkpoint that was ever signed, by size, and the list of those sizes.
//!
//! A resource never changes once it is there, so it may be cached for ever; a checkpoint is asked for again each time (it may
//! gain cosignatures). What is not there yet is a 404 that nobody keeps.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use ledger::birth::LEDGER_LOG;
use ledger::hash::Hash;
use ledger::tiles::ResourcePath;
use schemas::ids::Tenant;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::app::{App, blocking, log_failed};
use super::changes::with_next;
use super::extract::{UrlPath, UrlQuery};
use super::problem::Problem;

/// The newest signed head, or any head that is a note.
const NOTE: &str = "text/plain; charset=utf-8";
/// A year: what there is to say of a resource for ever.
const FOR_EVER: &str = "max-age=31536000, immutable";
/// Ask each time.
const ASK: &str = "no-cache";

/// Sizes of a page where nobody says how many, and at most.
const PAGE_SIZES: usize = 1_000;
const PAGE_SIZES_MAX: usize = 10_000;

/// Which log of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogName {
    /// The ledger's own.
    Ledger,
    /// A tenant's.
    Of(Tenant),
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ledger => f.write_str(LEDGER_LOG),
            Self::Of(tenant) => tenant.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for LogName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == LEDGER_LOG {
            return Ok(Self::Ledger);
        }
        Tenant::parse(&text).map(Self::Of).map_err(D::Error::custom)
    }
}

/// A page of sizes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizesQuery {
    /// The first size to show.
    from: Option<u64>,
    limit: Option<usize>,
}

/// Which checkpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointQuery {
    /// The newest with enough cosignatures, instead of the newest.
    cosigned: Option<String>,
}

/// `GET /logs/{log}/checkpoint`: the newest, with the cosignatures that it has by now. `?cosigned`: the newest that had as many
/// as the ledger's witness policy asked for.
pub async fn checkpoint(
    State(app): State<Arc<App>>,
    UrlPath(name): UrlPath<LogName>,
    UrlQuery(query): UrlQuery<CheckpointQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let note = blocking(move || {
        let log = app.log(&name)?;
        if query.cosigned.is_none() {
            return log.newest_checkpoint_with_cosignatures().map_err(|error| log_failed(&error));
        }
        let newest = log.newest_cosigned().map_err(|error| log_failed(&error))?;
        newest.map(|(_, note)| note).ok_or_else(|| not_cosigned(&name.to_string()))
    })
    .await?;
    Ok(answer(&headers, NOTE, ASK, note.into()))
}

/// That no witness has been heard of.
pub fn not_cosigned(log: &str) -> Problem {
    Problem::not_found(format!(
        "no checkpoint of log {log} has the cosignatures that its ledger's witness policy asks for yet; \
         `upm serve --witness-policy FILE` asks witnesses, /readyz says how they do"
    ))
}

/// `GET /logs/{log}/checkpoint/{size}`: that of exactly this size, with the cosignatures that it has by now.
pub async fn checkpoint_at(
    State(app): State<Arc<App>>,
    UrlPath((name, size)): UrlPath<(LogName, u64)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let note = blocking(move || {
        let log = app.log(&name)?;
        let found = log.checkpoint_with_cosignatures(size).map_err(|error| log_failed(&error))?;
        found.ok_or_else(|| not_signed(&log, size))
    })
    .await?;
    Ok(answer(&headers, NOTE, ASK, note.into()))
}

/// `GET /logs/{log}/checkpoints`: `{"sizes": […], "next": size}`, ascending; `from=size` goes on.
pub async fn sizes(
    State(app): State<Arc<App>>,
    UrlPath(name): UrlPath<LogName>,
    UrlQuery(query): UrlQuery<SizesQuery>,
) -> Result<Json<Value>, Problem> {
    let limit = query.limit.unwrap_or(PAGE_SIZES);
    if !(1..=PAGE_SIZES_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: found {limit}, expected 1 to {PAGE_SIZES_MAX}")));
    }
    blocking(move || {
        let log = app.log(&name)?;
        let mut sizes = log.signed_sizes(query.from.unwrap_or(0), limit + 1).map_err(|error| log_failed(&error))?;
        let next = sizes.get(limit).copied();
        sizes.truncate(limit);
        Ok(Json(with_next(json!({ "sizes": sizes }), next.map(Value::from))))
    })
    .await
}

/// `GET /logs/{log}/tile/<L>/<N>[.p/<W>]`, `GET /logs/{log}/tile/entries/<N>[.p/<W>]`
pub async fn resource(
    State(app): State<Arc<App>>,
    UrlPath((name, rest)): UrlPath<(LogName, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let text = format!("tile/{rest}");
    // As it was sent: a path that only percent-decoding makes one of ours is another spelling of it.
    let path = ResourcePath::parse(&text).filter(|_| uri.path().ends_with(&text));
    let path = path.ok_or_else(|| {
        Problem::not_found(format!(
            "{text:?} is no path of a tile or entry bundle, such as tile/0/x001/234, tile/1/000.p/17 or tile/entries/000"
        ))
    })?;
    let bytes = blocking(move || {
        let log = app.log(&name)?;
        let found = log.resource(&path).map_err(|error| log_failed(&error))?;
        found.ok_or_else(|| match log.head() {
            Ok(head) => Problem::not_found(format!("log {name} has {} entries and therefore no {path} yet", head.size)),
            Err(error) => log_failed(&error),
        })
    })
    .await?;
    Ok(answer(&headers, "application/octet-stream", FOR_EVER, bytes.into()))
}

/// That no checkpoint has this size, and which one would do.
pub fn not_signed<K: ledger::kv::Kv>(log: &ledger::read::Log<K>, size: u64) -> Problem {
    let problem = |more: &str| Problem::not_found(format!("no checkpoint of {size} entries was signed{more}"));
    match log.checkpoint_at_or_after(size) {
        Ok(Some((next, _))) => problem(&format!("; the next one has {next}")).with("next", next),
        Ok(None) => problem(": the log is not that long"),
        Err(error) => log_failed(&error),
    }
}

/// The bytes, or that they are still those which the client has.
fn answer(asked: &HeaderMap, kind: &'static str, caching: &'static str, body: Bytes) -> Response {
    let tag = format!("\"{}\"", &Hash::of(&body).to_string()[..32]);
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(','));
    let fresh = known.any(|one| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag);
    let headers = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, caching)];
    if fresh {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, kind)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let check = |known: &str, expect: u16| {
            let mut asked = HeaderMap::new();
            asked.insert(header::IF_NONE_MATCH, HeaderValue::from_str(known).unwrap());
            let response = answer(&asked, NOTE, ASK, Bytes::from_static(b"note"));
            assert_eq!(response.status().as_u16(), expect, "{known}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], ASK);
            response.headers()[header::ETAG].to_str().unwrap().to_owned()
        };
        let tag = check("\"x\"", 200);
        check(&tag, 304);
        check(&format!("W/{tag}"), 304);
        check(&format!("\"x\", {tag}"), 304);
        check("*", 304);
        check("", 200);
        check(tag.trim_matches('"'), 200);
    }

    #[test]
    fn a_log_is_a_tenants_or_the_ledgers_own() {
        let read = |text: &str| serde_json::from_value::<LogName>(text.into()).map(|name| name.to_string()).ok();
        for (text, expect) in [("_ledger", true), ("acme", true), ("_Ledger", false), ("", false), ("a/b", false)] {
            assert_eq!(read(text), expect.then(|| text.to_owned()));
        }
    }
}

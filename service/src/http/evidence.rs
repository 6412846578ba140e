//! `GET /v1/tenants/{tenant}/changes/{id}/evidence.zip`: the change's evidence pack. Without `at` it redirects to the URL
//! that names the tree size, under which the pack never changes, but for cosignatures that its checkpoint gains.

use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evidence::zip::PlanError;
use evidence::{CopyError, PackError, PackPlan, SealedPack};
use ledger_rocks::Rocks;
use schemas::ids::{ChangeId, Tenant};
use serde::Deserialize;

use super::app::{App, OpenTenant, blocking, log_failed};
use super::extract::{UrlPath, UrlQuery};
use super::logs::not_cosigned;
use super::problem::Problem;
use super::streaming;
use crate::packs::{self, Events, PackingError};

/// Which pack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackQuery {
    /// Tree size; the next one that was signed counts.
    at: Option<u64>,
    /// The newest with enough cosignatures, instead of the newest.
    witnessed: Option<String>,
    /// With every header behind the change's last entry, which shows that it is the last.
    with_headers: Option<String>,
    /// The entry that the pack must cover.
    at_least: Option<u64>,
}

/// `GET …/evidence.zip`
pub async fn zip(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    UrlQuery(query): UrlQuery<PackQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let open = app.tenant(&tenant)?;
    app.may_seal()?;
    app.covered(&tenant, query.at_least).await?;
    blocking(move || {
        let size = match (query.at, query.witnessed) {
            (None, Some(_)) => {
                let newest = open.log.newest_cosigned().map_err(|error| log_failed(&error))?;
                newest.ok_or_else(|| not_cosigned(open.tenant.as_str()))?.0
            }
            (Some(_), Some(_)) => return Err(Problem::bad_request("either at or witnessed, not both")),
            (at, None) => packs::signed_size(&open.log, at).map_err(|error| failed(&error))?,
        };
        if query.at != Some(size) {
            return redirect(&open, &change, size, query.with_headers.is_some());
        }
        let plan = planned(&open, &change, size, query.with_headers.is_some())?;
        let signer =
            open.signer(plan.verifier()).map_err(|error| Problem::internal("the pack could not be signed", &error))?;
        let pack = plan.seal(&signer).map_err(|error| failed(&error.into()))?;
        let (response, part) = answer(&change, size, pack.length(), &pack.tag(), &headers);
        Ok(match part {
            Some(range) => response.map(|_| streamed(pack, range)),
            None => response,
        })
    })
    .await
}

/// A part of a pack, copied while it is sent. What cannot be copied to its end breaks the connection, so nobody takes it for whole.
fn streamed(pack: SealedPack<Events<Arc<Rocks>>>, range: Range<u64>) -> Body {
    streaming::body(move |out| {
        let mut out = BufWriter::with_capacity(streaming::PIECE_BYTES, out);
        pack.copy(range, &mut out).and_then(|()| Ok(out.flush()?)).map_err(|error| match error {
            // Whoever asks for the head alone hangs up too.
            CopyError::Io(error) => error,
            error => {
                tracing::warn!(%error, "a pack broke off");
                io::Error::other(error.to_string())
            }
        })
    })
}

/// The plan of a change's pack.
pub type Plan = PackPlan<Events<Arc<Rocks>>>;

/// The plan of a change's pack. Blocking.
pub fn plan(open: &OpenTenant, change: &ChangeId, size: u64) -> Result<Plan, Problem> {
    planned(open, change, size, false)
}

fn planned(open: &OpenTenant, change: &ChangeId, size: u64, with_headers: bool) -> Result<Plan, Problem> {
    let indices = open.change_indices(change, size)?;
    packs::plan((&open.log, open.objects()), &open.origin, indices, change, size, with_headers)
        .map_err(|error| failed(&error))
}

/// Why there is no pack, as a problem.
pub fn failed(error: &PackingError) -> Problem {
    match error {
        PackingError::NoChange { .. } | PackingError::NotSigned { .. } => Problem::not_found(error.to_string()),
        PackingError::TooManyHeaders { .. } => Problem::bad_request(error.to_string()),
        PackingError::Pack(PackError::TooManyEntries { .. } | PackError::Zip(PlanError::TooLarge { .. })) => {
            let (kind, title) = ("too_large", "The change does not fit into a pack");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title, error.to_string())
        }
        PackingError::Read(error) => log_failed(error),
        error @ PackingError::Pack(_) => Problem::internal("the pack could not be made", error),
    }
}

fn redirect(open: &OpenTenant, change: &ChangeId, size: u64, with_headers: bool) -> Result<Response, Problem> {
    // Said before the redirect, so that who asks for nothing is not sent on to it.
    let indices = open.change_indices(change, size)?;
    if indices.is_empty() {
        return Err(super::changes::unknown(&open.tenant, change));
    }
    let headers = if with_headers { "&with_headers" } else { "" };
    let location =
        format!("/v1/tenants/{}/changes/{}/evidence.zip?at={size}{headers}", open.tenant, segment(change.as_str()));
    Ok((StatusCode::FOUND, [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())])
        .into_response())
}

/// How a pack is answered, but for its body: which part of it that is, if any. The tag names its bytes, so a download that broke off goes on
/// only within the same pack.
fn answer(change: &ChangeId, size: u64, length: u64, tag: &str, asked: &HeaderMap) -> (Response, Option<Range<u64>>) {
    let said = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    let tag = format!("\"{tag}\"");
    let caching = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let is_known = |known: &str| known == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    if said(header::IF_NONE_MATCH).is_some_and(is_known) {
        return ((StatusCode::NOT_MODIFIED, caching).into_response(), None);
    }
    let disposition = format!("attachment; filename=\"{}-{size}.zip\"", file_name(change.as_str()));
    let content = |range: &Range<u64>| {
        [
            (header::CONTENT_TYPE, "application/zip".to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
            (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
        ]
    };
    let same = said(header::IF_RANGE).is_none_or(|known| known == tag);
    match said(header::RANGE).filter(|_| same).map_or(Part::Whole, |range| part(range, length)) {
        Part::Whole => ((caching, content(&(0..length))).into_response(), Some(0..length)),
        Part::Of(range) => {
            let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            let head = (StatusCode::PARTIAL_CONTENT, caching, content(&range), [(header::CONTENT_RANGE, place)]);
            (head.into_response(), Some(range))
        }
        Part::Beyond => {
            let place = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            ((StatusCode::RANGE_NOT_SATISFIABLE, caching, place).into_response(), None)
        }
    }
}

/// What of a pack is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Of(Range<u64>),
    /// Nothing that is there.
    Beyond,
}

/// The part that `Range: bytes=…` names (RFC 9110, section 14). What is no single range of bytes asks for the whole.
fn part(range: &str, length: u64) -> Part {
    let Some((from, to)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Part::Whole;
    };
    let range = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => from..to.saturating_add(1).min(length),
        (Ok(from), Err(_)) if to.is_empty() => from..length,
        (Err(_), Ok(last)) if from.is_empty() => length.saturating_sub(last)..length,
        _ => return Part::Whole,
    };
    if range.start < range.end { Part::Of(range) } else { Part::Beyond }
}

/// One segment of a path, percent-encoded.
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// A change's id as a file name that means nothing to any system.
fn file_name(change: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    change.trim_start_matches('.').chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_within_their_segment_and_file_name() {
        for (id, path, name) in [
            ("c-1", "c-1", "c-1"),
            ("a/../b", "a%2F..%2Fb", "a_.._b"),
            ("../x", "..%2Fx", "_x"),
            ("é\"?#", "%C3%A9%22%3F%23", "____"),
        ] {
            assert_eq!(segment(id), path);
            assert_eq!(file_name(id), name);
        }
    }

    fn ask(headers: &[(HeaderName, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        answer(&ChangeId::parse("c-1").unwrap(), 7, 10, "tag", &headers).0
    }

    #[test]
    fn a_pack_that_is_known_is_not_sent_again() {
        let first = ask(&[]);
        assert_eq!(first.headers()[header::CONTENT_DISPOSITION], "attachment; filename=\"c-1-7.zip\"");
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for (known, expect) in [(tag.as_str(), 304), ("*", 304), (&format!("\"x\", W/{tag}"), 304), ("\"x\"", 200)] {
            assert_eq!(ask(&[(header::IF_NONE_MATCH, known)]).status().as_u16(), expect, "{known}");
        }
    }

    #[test]
    fn a_download_that_broke_off_goes_on_within_the_same_pack() {
        let tag = ask(&[]).headers()[header::ETAG].to_str().unwrap().to_owned();
        let rest = ask(&[(header::RANGE, "bytes=4-"), (header::IF_RANGE, &tag)]);
        assert_eq!(
            (rest.status().as_u16(), rest.headers()[header::CONTENT_RANGE].to_str().unwrap()),
            (206, "bytes 4-9/10")
        );
        assert_eq!(ask(&[(header::RANGE, "bytes=4-"), (header::IF_RANGE, "\"another\"")]).status().as_u16(), 200);
        assert_eq!(ask(&[(header::RANGE, "bytes=10-")]).headers()[header::CONTENT_RANGE], "bytes */10");
    }

    #[test]
    fn ranges() {
        for (range, expect) in [
            ("bytes=0-0", Part::Of(0..1)),
            ("bytes=2-4", Part::Of(2..5)),
            ("bytes=2-99", Part::Of(2..10)),
            ("bytes=9-", Part::Of(9..10)),
            ("bytes=-3", Part::Of(7..10)),
            ("bytes=-99", Part::Of(0..10)),
            ("bytes=-0", Part::Beyond),
            ("bytes=10-10", Part::Beyond),
            ("bytes=18446744073709551615-", Part::Beyond),
            ("bytes=18446744073709551615-18446744073709551615", Part::Beyond),
            ("bytes=4-2", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(range, 10), expect, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Beyond);
    }
}

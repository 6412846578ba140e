//! Who may ask at all. Until there are tokens, whoever reaches the socket is let in, so a web page in the browser of
//! somebody on this machine must not reach it:
//!
//! - DNS rebinding: a name of the attacker that resolves to 127.0.0.1. On a loopback socket the `Host` must be loopback.
//! - A cross-site request: what writes must not come from another origin, and its content type must be one that a browser
//!   doesn't send across sites without asking first; and nobody who asks is ever told yes (no CORS headers).

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// What the socket is bound to decides what is checked.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    /// The socket is bound to a loopback address.
    pub loopback: bool,
}

/// Middleware: lets a request through, or answers why not.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match check(guard, request.method(), request.uri().host(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(guard: Guard, method: &Method, authority: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if guard.loopback {
        // A proxy-style request line (`GET http://evil/ HTTP/1.1`) names its host there.
        for name in [authority, host.or(authority.is_none().then_some(""))].into_iter().flatten() {
            if !is_loopback(name) {
                return Err(misdirected(name));
            }
        }
    }
    if method.is_safe() {
        return Ok(());
    }
    same_origin(host, headers)?;
    plain_data(headers)
}

fn misdirected(name: &str) -> Problem {
    let detail = format!("this server is bound to a loopback address and answers to localhost only, not to {name:?}");
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", "Not the host you mean", detail)
}

/// Whether a `Host` value (`name[:port]`) is this machine itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
            _ => return false,
        },
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn same_origin(host: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, name)| name);
    if own.is_some() && own == host {
        return Ok(());
    }
    let detail =
        format!("this request comes from a page of another origin ({origin:?}); writes are not accepted from there");
    Err(Problem::new(StatusCode::FORBIDDEN, "cross_origin", "Not from another site", detail))
}

fn plain_data(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(found) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    if media_type(headers).is_some_and(|found| matches!(found.as_str(), "application/json" | "application/x-ndjson")) {
        return Ok(());
    }
    Err(unsupported(&format!("{found:?}")))
}

/// The content type without its parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The answer to a body that says it is something else than data, or says nothing.
pub fn unsupported(found: &str) -> Problem {
    let detail =
        format!("content type {found}: send application/json (one event) or application/x-ndjson (one event a line)");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", "Not a content type that is read here", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        loopback: bool,
        method: &Method,
        authority: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Option<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        check(Guard { loopback }, method, authority, &map)
            .err()
            .and_then(|problem| problem.to_json()["status"].as_u64())
    }

    #[test]
    fn a_loopback_socket_answers_to_loopback_names_only() {
        for (host, expect) in [
            ("localhost", None),
            ("LOCALHOST:8080", None),
            ("127.0.0.1:8080", None),
            ("127.8.9.1", None),
            ("[::1]:8080", None),
            ("evil.example", Some(421)),
            ("evil.example:8080", Some(421)),
            ("127.0.0.1.evil.example", Some(421)),
            ("localhost.evil.example", Some(421)),
            ("[::1].evil.example", Some(421)),
            ("[::1", Some(421)),
            ("10.0.0.1", Some(421)),
            ("", Some(421)),
        ] {
            assert_eq!(asked(true, &Method::GET, None, &[("host", host)]), expect, "{host}");
        }
        assert_eq!(asked(true, &Method::GET, None, &[]), Some(421), "no host at all");
        assert_eq!(asked(true, &Method::GET, Some("evil.example"), &[("host", "localhost")]), Some(421));
        assert_eq!(asked(false, &Method::GET, None, &[("host", "upm.example.org")]), None);
    }

    #[test]
    fn a_page_of_another_site_cannot_write() {
        let host = ("host", "127.0.0.1:8080");
        for (headers, expect) in [
            (vec![host], None),
            (vec![host, ("content-type", "application/json; charset=utf-8")], None),
            (vec![host, ("content-type", "Application/X-NDJSON")], None),
            (vec![host, ("content-type", "text/plain")], Some(415)),
            (vec![host, ("content-type", "application/x-www-form-urlencoded")], Some(415)),
            (vec![host, ("content-type", "application/json"), ("origin", "http://127.0.0.1:8080")], None),
            (vec![host, ("content-type", "application/json"), ("origin", "http://127.0.0.1:9090")], Some(403)),
            (vec![host, ("content-type", "application/json"), ("origin", "https://evil.example")], Some(403)),
            (vec![host, ("origin", "null")], Some(403)),
        ] {
            assert_eq!(asked(true, &Method::POST, None, &headers), expect, "{headers:?}");
        }
        assert_eq!(
            asked(true, &Method::GET, None, &[host, ("origin", "https://evil.example")]),
            None,
            "reads are not told either"
        );
    }
}

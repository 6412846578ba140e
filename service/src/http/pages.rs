//! Plain pages at the same paths as the API, so that a link can be read: the tenants, the changes of one, and a change as its
//! evidence pack shows it, with the pack's files beside it. The console comes later.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use schemas::ids::{ChangeId, Tenant};
use serde_json::Value;

use super::app::{App, blocking};
use super::changes::{self, ListQuery};
use super::evidence::{self, segment};
use super::extract::{UrlPath, UrlQuery};
use super::problem::Problem;
use super::streaming;
use crate::packs;

/// Files up to this many bytes are made before the first of them is sent, so that what is wrong can still be said: all but objects.
const SENT_WHOLE_MAX: u64 = 4 << 20;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc}";

/// `GET /`
pub async fn home(State(app): State<Arc<App>>) -> Html<String> {
    let mut body = String::from("<table><tr><th>tenant</th><th>log</th></tr>");
    for open in app.tenants() {
        let (name, origin) = (escape(open.tenant.as_str()), escape(open.origin.as_str()));
        let _ = write!(body, "<tr><td><a href=\"/tenants/{name}/changes\">{name}</a></td><td>{origin}</td></tr>");
    }
    Html(page("UPM Ledger", &(body + "</table>")))
}

/// `GET /tenants/{tenant}`
pub async fn to_changes(UrlPath(tenant): UrlPath<Tenant>) -> Redirect {
    Redirect::to(&format!("/tenants/{tenant}/changes"))
}

/// `GET /tenants/{tenant}/changes`
pub async fn changes(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<ListQuery>,
) -> Result<Html<String>, Problem> {
    let found = changes::page(&app, &tenant, query.clone()).await?;
    let mut body = String::from(
        "<table><tr><th>change</th><th>state</th><th>environment</th><th>initiator</th><th>request</th></tr>",
    );
    for row in found["changes"].as_array().into_iter().flatten() {
        let id = row["change"].as_str().unwrap_or_default();
        let link = segment(id);
        let _ = write!(body, "<tr><td><a href=\"/tenants/{tenant}/changes/{link}/\">{}</a></td>", escape(id));
        for cell in ["state", "environment", "initiator", "request"] {
            let _ = write!(body, "<td>{}</td>", escape(row[cell].as_str().unwrap_or_default()));
        }
        body.push_str("</tr>");
    }
    body.push_str("</table>");
    if let Some(next) = found.get("next").and_then(Value::as_str) {
        let _ = write!(body, "<p><a href=\"?{}\">older changes</a></p>", escape(&query.on_from(next)));
    }
    Ok(Html(page(&format!("Changes of {tenant}"), &body)))
}

/// `GET /tenants/{tenant}/changes/{id}`: to the same with a slash, so that the page's own links lead to the pack's files.
pub async fn to_change(UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>) -> Redirect {
    Redirect::to(&format!("/tenants/{tenant}/changes/{}/", segment(change.as_str())))
}

/// `GET /tenants/{tenant}/changes/{id}/`: the page of the pack under the newest checkpoint.
pub async fn change(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
) -> Result<Response, Problem> {
    pack_file(&app, &tenant, change, "index.html".to_owned()).await
}

/// `GET /tenants/{tenant}/changes/{id}/{file}`: any other file of the pack.
pub async fn file(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change, file)): UrlPath<(Tenant, ChangeId, String)>,
) -> Result<Response, Problem> {
    pack_file(&app, &tenant, change, file).await
}

async fn pack_file(app: &Arc<App>, tenant: &Tenant, change: ChangeId, name: String) -> Result<Response, Problem> {
    let open = app.tenant(tenant)?;
    blocking(move || {
        let size = packs::signed_size(&open.log, None).map_err(|error| evidence::failed(&error))?;
        let plan = evidence::plan(&open, &change, size)?;
        let no_file = || Problem::not_found(format!("the pack of {change} has no file {name:?}"));
        let length = plan.length(&name).ok_or_else(no_file)?;
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type(&name))),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        if length > SENT_WHOLE_MAX {
            let length = [(header::CONTENT_LENGTH, length)];
            let body = streaming::body(move |out| {
                let mut out = BufWriter::with_capacity(streaming::PIECE_BYTES, out);
                plan.copy(&name, &mut out).map_err(io::Error::other)?;
                out.flush()
            });
            return Ok((headers, length.map(|(name, length)| (name, length.to_string())), body).into_response());
        }
        let found = plan.read(&name).map_err(|error| Problem::internal("the pack could not be read", &error))?;
        Ok((headers, found.ok_or_else(no_file)?).into_response())
    })
    .await
}

/// Only our own page is HTML; what producers sent is never more than text.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        _ if name == "index.html" => "text/html; charset=utf-8",
        Some((_, "json")) => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}

fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1>{body}</html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_events_say_stays_text() {
        assert_eq!(escape("<script>&\"'"), "&lt;script&gt;&amp;&quot;&#39;");
        for (name, expect) in [
            ("index.html", "text/html; charset=utf-8"),
            ("logs/index.html", "text/plain; charset=utf-8"),
            ("x.svg", "text/plain; charset=utf-8"),
            ("pack.json", "application/json"),
            ("SHA256SUMS", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(content_type(name), expect, "{name}");
        }
    }
}

//! The HTTP API (DESIGN §9): one file for each resource. A handler parses, calls and answers; what it calls lies in the
//! crates to the left. Errors are `application/problem+json`; so are unknown paths and wrong methods.
//!
//! Left out until tokens and TLS exist: who asks. See `guard` for what stands in its place on a loopback socket.

mod answering;
mod app;
mod approvals;
mod assert;
mod body_time;
mod changes;
mod events;
mod evidence;
mod extract;
mod governance;
mod guard;
mod health;
mod kpis;
pub mod lines;
mod logs;
mod maturity;
mod metrics;
mod notes;
mod orders;
mod pages;
mod patience;
mod population;
mod post;
mod problem;
mod proofs;
mod record;
mod rejected;
mod replica;
mod requests;
mod room;
mod sql;
mod streaming;
mod tenants;
mod turns;
mod watch;
mod watchers;

pub use answering::answer;
pub use app::{App, OpenTenant, blocking, log_failed};
pub use body_time::in_time;
pub use evidence::segment;
pub use guard::Guard;
pub use patience::Patient;
pub use problem::Problem;
pub use replica::{Report, ReportedLog};
pub use room::Held;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tower_http::trace::TraceLayer;

/// The largest body: about 24,000 events of 1.3 KB. It is held in memory.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// All routes. A request's body may take `body_time` to arrive.
pub fn router(app: Arc<App>, guard: Guard, body_time: Duration) -> Router {
    let tenant = Router::new()
        .route("/", put(tenants::add))
        .route("/events", get(events::by_id).post(post::events))
        .route("/events/{index}", get(events::one))
        .route("/events/{index}/receipt", get(events::receipt))
        .route("/changes", get(changes::list))
        .route("/changes/{id}", get(changes::one))
        .route("/changes/{id}/approvals", get(approvals::list).post(approvals::give))
        .route("/changes/{id}/approvals/statement", get(approvals::statement))
        .route("/changes/{id}/assert", get(assert::one))
        .route("/changes/{id}/events", get(changes::events))
        .route("/changes/{id}/evidence.zip", get(evidence::zip))
        .route("/changes/{id}/logs", get(changes::logs))
        .route("/changes/{id}/orders", post(orders::give))
        .route("/changes/{id}/watch", get(watch::watch))
        .route("/kpis", get(kpis::list))
        .route("/kpis/{kpi}", get(kpis::one))
        .route("/population", get(population::zip))
        .route("/governance", get(governance::of_tenant))
        .route("/allowed_signers", get(governance::allowed_signers))
        .route("/maturity", get(maturity::get))
        .route("/maturity/checklist", get(maturity::checklist))
        .route("/maturity/history", get(maturity::history))
        .route("/maturity/row", get(maturity::row).post(maturity::row_of))
        .route("/proofs/inclusion", get(proofs::inclusion).post(proofs::of_event))
        .route("/proofs/consistency", get(proofs::consistency))
        .route("/record/changes/{id}", get(record::change))
        .route("/record/context", get(record::context))
        .route("/record/decided/{sequence}", get(record::decided))
        .route("/record/open", get(record::open))
        .route("/requests", post(requests::put))
        .route("/sql", post(sql::ask))
        .route("/rejected", get(rejected::list))
        .route("/rejected/{index}", get(rejected::one))
        .route("/rejected/{index}/retry", post(rejected::retry));
    Router::new()
        .nest("/v1/tenants/{tenant}", tenant)
        .route("/v1/tenants", get(tenants::list))
        .route("/v1/replica", get(replica::listing))
        .route("/v1/replica/position", post(replica::position))
        .route("/v1/replica/{log}", get(replica::chunk))
        .route("/logs/{log}/checkpoint", get(logs::checkpoint))
        .route("/logs/{log}/checkpoint/{size}", get(logs::checkpoint_at))
        .route("/logs/{log}/checkpoints", get(logs::sizes))
        .route("/logs/{log}/keys", get(governance::keys))
        .route("/logs/{log}/keys/chain", get(governance::chain))
        .route("/logs/{log}/tile/{*path}", get(logs::resource))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/", get(pages::home))
        .route("/tenants/{tenant}", get(pages::to_changes))
        .route("/tenants/{tenant}/changes", get(pages::changes))
        .route("/tenants/{tenant}/changes/{id}", get(pages::to_change))
        .route("/tenants/{tenant}/changes/{id}/", get(pages::change))
        .route("/tenants/{tenant}/changes/{id}/{*file}", get(pages::file))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(body_time, in_time))
        .layer(middleware::from_fn_with_state(guard, guard::guard))
        .layer(middleware::map_response(safe))
        // What fails on our side is logged where it fails, with its cause.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(app)
}

async fn unknown(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let detail = format!("{method} is not what {} answers to", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "Not this method", detail).into_response()
}

/// What comes out of events is not ours: no browser may guess a type, run a script or send it elsewhere.
async fn safe(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

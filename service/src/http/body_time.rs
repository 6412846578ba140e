//! How long the body of a request may take to arrive. Whoever sends it slowly, or never, would hold a connection and what was read so far as long
//! as he likes.

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;

use super::problem::Problem;

/// A body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
struct TooSlow;

/// Middleware: whoever has not sent all of a body that is read within `limit` gets 408, and the connection is closed.
pub async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let late = Arc::new(AtomicBool::new(false));
    let response = next.run(request.map(|body| timed(body, limit, Arc::clone(&late)))).await;
    // The handler only knows that the body broke off.
    if late.load(Ordering::Acquire) { too_slow(limit) } else { response }
}

/// The body, which ends in an error and sets `late` when it has not arrived in time.
fn timed(body: Body, limit: Duration, late: Arc<AtomicBool>) -> Body {
    let mut pieces = body.into_data_stream();
    let mut deadline = Box::pin(tokio::time::sleep(limit));
    Body::from_stream(futures::stream::poll_fn(move |context| {
        if deadline.as_mut().poll(context).is_ready() {
            late.store(true, Ordering::Release);
            return Poll::Ready(Some(Err(axum::Error::new(TooSlow))));
        }
        pieces.poll_next_unpin(context)
    }))
}

fn too_slow(limit: Duration) -> Response {
    let detail = format!("the body did not arrive within {} s; send less at once", limit.as_secs());
    let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "Too slow", detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

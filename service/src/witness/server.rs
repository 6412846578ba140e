//! The HTTP of a witness: `POST /add-checkpoint`, `GET /<origin hash>/checkpoint`, and a page that says what it is.
//!
//! Anybody may ask: a request proves itself by the signature on its checkpoint. What bounds a stranger is the size of a
//! request, how many are worked on at once, and how many are taken in a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ledger::witness::{MAX_REQUEST_BYTES, Refusal};

use super::{NotCosigned, Witness};
use crate::clock;
use crate::http::in_time;

/// Requests that are worked on at once; the others wait. Each holds a body and, in turn, the disk.
const AT_ONCE: usize = 32;

/// How much a witness takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests in a second, over all logs. A log asks once a second, or once more after a conflict.
    pub requests_per_second: u32,
    /// How long the body of a request may take to arrive.
    pub body_time: Duration,
}

struct Shared {
    witness: Arc<Witness>,
    work: tokio::sync::Semaphore,
    bucket: Mutex<Bucket>,
}

/// Requests that may still be taken now; filled as time goes by, up to what two seconds bring.
struct Bucket {
    per_second: f64,
    left: f64,
    at: Instant,
}

/// All routes.
pub fn router(witness: Arc<Witness>, limits: Limits) -> Router {
    let per_second = f64::from(limits.requests_per_second);
    let bucket = Mutex::new(Bucket { per_second, left: 2.0 * per_second, at: clock::now() });
    let shared = Arc::new(Shared { witness, work: tokio::sync::Semaphore::new(AT_ONCE), bucket });
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin_hash}/checkpoint", get(checkpoint))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/", get(about))
        // A request that is one byte too long is told so by its own decision, not by the framework's.
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES + 1))
        .layer(middleware::from_fn_with_state(limits.body_time, in_time))
        .with_state(shared)
}

/// `POST /add-checkpoint`
async fn add_checkpoint(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    if !shared.may_ask(clock::now()) {
        let text = "too many requests; come again in a second\n";
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], text).into_response();
    }
    let Ok(_permit) = shared.work.acquire().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let witness = Arc::clone(&shared.witness);
    match tokio::task::spawn_blocking(move || witness.add_checkpoint(&body)).await {
        Ok(answered) => answer(answered),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "a request could not be worked on\n").into_response(),
    }
}

fn answer(answered: Result<String, NotCosigned>) -> Response {
    const TEXT: &str = "text/plain; charset=utf-8";
    match answered {
        Ok(lines) => ([(header::CONTENT_TYPE, TEXT)], lines).into_response(),
        Err(NotCosigned::Refused(refusal)) => {
            tracing::debug!(%refusal, "not cosigned");
            refused(&refusal)
        }
        Err(NotCosigned::Accused { refusal, origin, proof }) => {
            let proof = match proof {
                Ok(files) if files.is_empty() => "not kept: there are enough of this log".to_owned(),
                Ok(files) => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and "),
                Err(error) => format!("could not be kept: {error}"),
            };
            tracing::error!(%refusal, %origin, %proof, "a log signed what contradicts what it signed before");
            refused(&refusal)
        }
        Err(error) => {
            tracing::error!(%error, "not cosigned");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, TEXT)], format!("{error}\n")).into_response()
        }
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    (status, [(header::CONTENT_TYPE, refusal.content_type())], refusal.body()).into_response()
}

/// `GET /<SHA-256 of the origin>/checkpoint`
async fn checkpoint(State(shared): State<Arc<Shared>>, Path(hash): Path<String>) -> Response {
    match shared.witness.checkpoint(&hash) {
        Some(note) => {
            let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
            (headers, note).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no checkpoint of such a log was cosigned here\n").into_response(),
    }
}

/// `GET /`: who this is and what it watches.
async fn about(State(shared): State<Arc<Shared>>) -> String {
    let keys = shared.witness.keys().into_iter().map(|key| format!("{key}\n"));
    let logs = shared.witness.seen().into_iter().map(|(origin, size)| format!("{size}\t{origin}\n"));
    let (keys, logs): (String, String) = (keys.collect(), logs.collect());
    format!("A witness (C2SP tlog-witness).\n\nIts keys:\n{keys}\nLogs, each with the size it cosigned last:\n{logs}")
}

impl Shared {
    fn may_ask(&self, now: Instant) -> bool {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(2));
        self.at = now;
        self.left = (self.left + passed.as_secs_f64() * self.per_second).min(2.0 * self.per_second);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_brings_what_was_said() {
        let start = clock::now();
        let mut bucket = Bucket { per_second: 5.0, left: 10.0, at: start };
        let mut taken = |ms: u64| (0..100).filter(|_| bucket.take(start + Duration::from_millis(ms))).count();
        assert_eq!([taken(0), taken(100), taken(1_100), taken(1_200), taken(60_000)], [10, 0, 5, 1, 10]);
    }
}

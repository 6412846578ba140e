//! A copy of a ledger behind a URL: `/v1/replica` of a leader or of another follower.

use std::time::Duration;

use ledger::append::LogId;
use ledger::checkpoint::Origin;
use ledger::replica::{Chunk, Limits, Listing, Source, SourceError};
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::http::Report;
use crate::redact;

/// No chunk is larger: a round has at most 8,192 entries and 16 MiB of payloads, and one more payload.
const MAX_CHUNK_BYTES: u64 = 256 << 20;

/// Another copy of the ledger, over HTTP.
#[derive(Debug, Clone)]
pub struct HttpSource {
    agent: Agent,
    base: String,
}

/// Why it gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum HttpSourceError {
    /// No server, or a connection that broke.
    #[error("{url}: {source}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why there was no answer.
        source: Box<ureq::Error>,
    },
    /// The server says no.
    #[error("{url}: the server answers {status}: {detail}")]
    Status {
        /// What was asked for.
        url: String,
        /// Status of the answer.
        status: u16,
        /// What it said.
        detail: String,
    },
}

impl HttpSource {
    /// The server at `base`, for instance `http://127.0.0.1:8080`. Nothing is asked yet.
    pub fn new(base: &str) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("upm/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_recv_body(Some(Duration::from_mins(2)));
        // A proxy has no business between us and our own machine.
        if ["http://127.", "http://localhost", "http://[::1]"].iter().any(|local| base.starts_with(local)) {
            config = config.proxy(None);
        }
        Self { agent: config.build().into(), base }
    }

    /// Where it is, without credentials.
    pub fn shown(&self) -> String {
        redact::urls(&self.base).into_owned()
    }

    /// Says how far we are.
    pub fn report(&self, report: &Report) -> Result<(), HttpSourceError> {
        let url = self.url("/v1/replica/position");
        let body = serde_json::to_vec(report).unwrap_or_default();
        let request = self.agent.post(&url).header("Content-Type", "application/json");
        let mut response = request.send(&body[..]).map_err(|error| unreachable(&url, error))?;
        refuse(&url, &mut response)
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, HttpSourceError> {
        let url = self.url(path);
        let mut response = self.agent.get(&url).call().map_err(|error| unreachable(&url, error))?;
        refuse(&url, &mut response)?;
        let body = response.body_mut().with_config().limit(MAX_CHUNK_BYTES).read_to_vec();
        body.map_err(|error| unreachable(&url, error))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

impl Source for HttpSource {
    fn listing(&self) -> Result<Listing, SourceError> {
        let json = self.get("/v1/replica").map_err(remote)?;
        Ok(Listing::from_json(&json)?)
    }

    fn chunk(&self, log: LogId, from: u64, limits: Limits) -> Result<Chunk, SourceError> {
        let path = format!("/v1/replica/{}?from={from}&limit={}", log.0, limits.entries);
        Ok(Chunk::decode(&self.get(&path).map_err(remote)?)?)
    }

    fn key_chain(&self, _: LogId, origin: &Origin) -> Result<Option<Vec<u8>>, SourceError> {
        match self.get(&format!("/logs/{}/keys/chain", origin.log())) {
            Ok(chain) => Ok(Some(chain)),
            Err(HttpSourceError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(remote(error)),
        }
    }
}

fn refuse(url: &str, response: &mut Response<Body>) -> Result<(), HttpSourceError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = response.body_mut().with_config().limit(1 << 20).read_to_vec().unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("no `upm serve` that can be copied from?").to_owned();
    Err(HttpSourceError::Status { url: redact::urls(url).into_owned(), status: status.as_u16(), detail })
}

fn unreachable(url: &str, error: ureq::Error) -> HttpSourceError {
    HttpSourceError::Unreachable { url: redact::urls(url).into_owned(), source: Box::new(error) }
}

fn remote(error: HttpSourceError) -> SourceError {
    SourceError::Remote(Box::new(error))
}

//! Reading a published log over HTTP, C2SP tlog-tiles: its checkpoint, and its tiles and entry bundles for
//! [`ledger::tiles::TiledLog`], which believes nothing but what a checkpoint commits to. Any server that publishes such a log
//! will do, ours or another.

use std::time::Duration;

use ledger::tiles::{Fetch, ResourcePath};
use ureq::Agent;

use super::print;
use crate::cli::CliError;

/// The largest note that is read: a checkpoint with 64 post-quantum cosignatures stays below a quarter of it.
const MAX_CHECKPOINT_BYTES: u64 = 1 << 20;

/// The largest resource: 256 entries with their lengths, of 65,535 bytes at most.
const MAX_RESOURCE_BYTES: u64 = 256 * (2 + 65_535);

/// The longest way from key to key: some thousand control entries with their proofs.
const MAX_CHAIN_BYTES: u64 = 16 << 20;

/// A log at a URL.
#[derive(Debug, Clone)]
pub struct HttpLog {
    agent: Agent,
    prefix: String,
}

/// Why a server did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HttpLogError {
    /// No server, or a connection that broke.
    #[error("{url}: {source}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why there was no answer.
        source: Box<ureq::Error>,
    },
    /// Neither what was asked for nor that there is none.
    #[error("{url}: the server answers {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// Status of the answer.
        status: u16,
    },
    /// A checkpoint that is no text.
    #[error("{url}: not UTF-8")]
    NotText {
        /// What was asked for.
        url: String,
    },
}

impl HttpLog {
    /// The log at a prefix, for instance `http://127.0.0.1:8080/logs/acme`. Nothing is fetched yet.
    pub fn new(prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("upm/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .timeout_recv_body(Some(Duration::from_mins(1)));
        // A proxy has no business between us and our own machine.
        if ["http://127.", "http://localhost", "http://[::1]"].iter().any(|local| prefix.starts_with(local)) {
            config = config.proxy(None);
        }
        Self { agent: config.build().into(), prefix }
    }

    /// The newest checkpoint, a signed note that nobody has verified yet; none where there is no log.
    pub fn checkpoint(&self) -> Result<Option<String>, HttpLogError> {
        self.text("checkpoint")
    }

    /// The checkpoint of exactly this size; none where none was signed. C2SP has no such path: our servers do.
    pub fn checkpoint_at(&self, size: u64) -> Result<Option<String>, HttpLogError> {
        self.text(&format!("checkpoint/{size}"))
    }

    /// How the log's keys took each other's place, as [`ledger::governance::KeyChain`] reads it; none where the server has nothing of the
    /// kind. C2SP has no such path: our servers do.
    pub fn key_chain(&self) -> Result<Option<Vec<u8>>, HttpLogError> {
        match self.get("keys/chain", MAX_CHAIN_BYTES) {
            // Of a server that knows no such path only this is certain: it says nothing.
            Err(HttpLogError::Status { status, .. }) if status < 500 => Ok(None),
            other => other,
        }
    }

    fn text(&self, path: &str) -> Result<Option<String>, HttpLogError> {
        let bytes = self.get(path, MAX_CHECKPOINT_BYTES)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|_| HttpLogError::NotText { url: self.url(path) })
    }

    /// The body at a path below the prefix; none where the server says that there is nothing.
    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, HttpLogError> {
        let unreachable =
            |error: ureq::Error| HttpLogError::Unreachable { url: self.url(path), source: Box::new(error) };
        let mut response = self.agent.get(self.url(path)).call().map_err(unreachable)?;
        match response.status().as_u16() {
            200 => response.body_mut().with_config().limit(limit).read_to_vec().map(Some).map_err(unreachable),
            // 410: as logs answer that prune.
            404 | 410 => Ok(None),
            status => Err(HttpLogError::Status { url: self.url(path), status }),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }
}

impl Fetch for HttpLog {
    type Error = HttpLogError;

    fn fetch(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, HttpLogError> {
        self.get(&path.to_string(), MAX_RESOURCE_BYTES)
    }
}

impl From<HttpLogError> for CliError {
    fn from(error: HttpLogError) -> Self {
        CliError::could_not(print::clean(&error.to_string()))
            .with_detail("say where the log is with --server URL (UPM_SERVER) or --data DIR (UPM_DATA)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_not_there_is_named() {
        // Port 1 on loopback: nothing listens there.
        let log = HttpLog::new("http://127.0.0.1:1/logs/acme/");
        let error = log.checkpoint().unwrap_err().to_string();
        assert!(error.starts_with("http://127.0.0.1:1/logs/acme/checkpoint: "), "{error}");
        let path = ResourcePath::parse("tile/0/x001/000.p/7").unwrap();
        let error = log.fetch(&path).unwrap_err().to_string();
        assert!(error.starts_with("http://127.0.0.1:1/logs/acme/tile/0/x001/000.p/7: "), "{error}");
    }
}

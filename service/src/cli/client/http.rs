//! The client side of the HTTP API. One place says what to do when no server answers, and turns problem+json into our errors.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body, BodyReader, ResponseExt as _};

use super::print;
use crate::cli::{CliError, Globals};

/// An answer in JSON is never larger; packs are streamed.
const MAX_JSON_BYTES: u64 = 256 * 1024 * 1024;

/// Talks to one server.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    base: String,
}

impl Client {
    /// The server that the global options name.
    pub fn new(globals: &Globals) -> Self {
        Self::at(globals.server_url())
    }

    fn at(base: String) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("upm/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_mins(2)));
        // A proxy has no business between us and our own machine.
        if ["http://127.", "http://localhost", "http://[::1]"].iter().any(|local| base.starts_with(local)) {
            config = config.proxy(None);
        }
        Self { agent: config.build().into(), base }
    }

    /// Where a path of this server is, for people.
    pub fn link(&self, path: &str) -> String {
        self.url(path)
    }

    /// GETs JSON. 404 is a "no", everything else that is not 2xx a "could not".
    pub fn get(&self, path: &str) -> Result<Value, CliError> {
        let mut response = self
            .agent
            .get(self.url(path))
            .header("Accept", "application/json")
            .call()
            .map_err(|error| self.unreachable(&error))?;
        json(&mut response)
    }

    /// POSTs bytes and reads JSON; `accepted` names the statuses beside 2xx whose body is an answer, not an error.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8], accepted: &[u16]) -> Result<Value, CliError> {
        let request =
            self.agent.post(self.url(path)).header("Accept", "application/json").header("Content-Type", content_type);
        let mut response = request.send(body).map_err(|error| self.unreachable(&error))?;
        if accepted.contains(&response.status().as_u16()) && !is_problem(&response) {
            return body_json(&mut response);
        }
        json(&mut response)
    }

    /// The same where a problem of these statuses is a "no": what was sent is refused, and sending it again would not help.
    pub fn post_asking(&self, path: &str, content_type: &str, body: &[u8], no: &[u16]) -> Result<Value, CliError> {
        let request =
            self.agent.post(self.url(path)).header("Accept", "application/json").header("Content-Type", content_type);
        let mut response = request.send(body).map_err(|error| self.unreachable(&error))?;
        let is_no = no.contains(&response.status().as_u16());
        json(&mut response).map_err(|error| match error {
            CliError::CouldNot { line, detail } if is_no => CliError::No { line, detail },
            other => other,
        })
    }

    /// GETs server-sent events from behind the one that was `seen` last, for as long as `limit` says.
    pub fn follow(
        &self,
        path: &str,
        seen: Option<u64>,
        limit: Option<Duration>,
    ) -> Result<BodyReader<'static>, CliError> {
        let mut request = self.agent.get(self.url(path)).header("Accept", "text/event-stream");
        if let Some(index) = seen {
            request = request.header("Last-Event-ID", index.to_string());
        }
        let request = request.config().timeout_global(limit).build();
        let mut response = request.call().map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(refusal(&mut response));
        }
        Ok(reader(response.into_body()))
    }

    /// POSTs JSON. What is refused for reasons (422) is an answer, not an error: its problem.
    pub fn post_or_refused(&self, path: &str, body: &Value) -> Result<Result<Value, Value>, CliError> {
        let request = self.agent.post(self.url(path)).header("Accept", "application/json");
        let request = request.header("Content-Type", "application/json");
        let sent = request.send(body.to_string().as_bytes());
        let mut response = sent.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::UNPROCESSABLE_ENTITY => body_json(&mut response).map(Err),
            _ => json(&mut response).map(Ok),
        }
    }

    /// PUTs nothing but the path itself and reads JSON.
    pub fn put(&self, path: &str) -> Result<Value, CliError> {
        let request = self.agent.put(self.url(path)).header("Accept", "application/json");
        json(&mut request.send_empty().map_err(|error| self.unreachable(&error))?)
    }

    /// GETs bytes, and goes on where the connection breaks off, if the server lets us.
    pub fn download(&self, path: &str) -> Result<Download, CliError> {
        let mut response = self.agent.get(self.url(path)).call().map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(refusal(&mut response));
        }
        let said = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let tag = said("ETag").filter(|_| said("Accept-Ranges").as_deref() == Some("bytes"));
        // The one that the server sent us on to: it names the tree size, so it is still of the same pack when the log has grown.
        let uri = response.get_uri().clone();
        let body = response.into_body();
        let length = body.content_length();
        let body = reader(body);
        Ok(Download { agent: self.agent.clone(), uri, tag, length, read: 0, body, failed: 0, changed: false })
    }

    /// Why the server takes nothing in now, if it says so. Whoever can't ask knows of nothing.
    pub fn refusal(server: &str) -> Option<String> {
        let client = Self::at(server.to_owned());
        let mut response = client.agent.get(client.url("/readyz")).call().ok()?;
        body_json(&mut response).ok()?["refuses"].as_str().map(str::to_owned)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn unreachable(&self, error: &ureq::Error) -> CliError {
        let base = print::clean(&self.base);
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                CliError::could_not(format!("{base} is not a URL of a server: {error}; expected for instance http://127.0.0.1:8080"))
            }
            _ => CliError::could_not(format!("no server answers at {base}: {error}"))
                .with_detail("start one with `upm serve`, or say where it is with --server URL (UPM_SERVER) or --data DIR (UPM_DATA)"),
        }
    }
}

fn reader(body: Body) -> BodyReader<'static> {
    body.into_with_config().limit(u64::MAX).reader()
}

/// How often in a row a download is taken up again without a byte of it; each time the wait before doubles.
const RESUMES_MAX: u32 = 6;

/// The first wait before a download is taken up again.
const RESUME_AFTER: Duration = Duration::from_millis(250);

/// What is downloaded: read to its end over as many connections as it takes.
pub struct Download {
    agent: Agent,
    uri: Uri,
    /// What the server calls exactly these bytes; none where it sends no parts of them.
    tag: Option<String>,
    /// How many bytes there are, if the server said it.
    pub length: Option<u64>,
    read: u64,
    body: BodyReader<'static>,
    /// Connections that broke since the last byte.
    failed: u32,
    /// Whether the server has other bytes by now: what was read is of no use.
    pub changed: bool,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let broke = match self.body.read(buffer) {
                Ok(0) if !buffer.is_empty() && self.length.is_some_and(|length| self.read < length) => {
                    io::Error::from(io::ErrorKind::UnexpectedEof)
                }
                Ok(read) => {
                    self.read += read as u64;
                    self.failed = 0;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => error,
            };
            self.resume(broke)?;
        }
    }
}

impl Download {
    /// Asks for the rest; gives up with what `broke` the download.
    fn resume(&mut self, broke: io::Error) -> io::Result<()> {
        let Some(tag) = self.tag.clone() else { return Err(broke) };
        while self.failed < RESUMES_MAX {
            thread::sleep(RESUME_AFTER * 2_u32.pow(self.failed));
            self.failed += 1;
            let request = self.agent.get(&self.uri).header("Range", format!("bytes={}-", self.read));
            let Ok(response) = request.header("If-Range", &tag).call() else { continue };
            match response.status() {
                StatusCode::PARTIAL_CONTENT => {
                    self.body = reader(response.into_body());
                    return Ok(());
                }
                StatusCode::OK => {
                    self.changed = true;
                    return Err(io::Error::other("the server has another one by now"));
                }
                // As a server answers that has just started.
                status if status.is_server_error() => {}
                status => return Err(io::Error::other(format!("the server answers {status} to what is left of it"))),
            }
        }
        Err(broke)
    }
}

/// One segment of a path, percent-encoded: ids may hold slashes, question marks and any other script.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    // Clients and proxies resolve `.` and `..`; encoded they would do so too. No id of ours is one of them but by malice.
    out
}

fn is_problem(response: &Response<Body>) -> bool {
    response.body().mime_type().is_some_and(|mime| mime.eq_ignore_ascii_case("application/problem+json"))
}

fn json(response: &mut Response<Body>) -> Result<Value, CliError> {
    if response.status().is_success() { body_json(response) } else { Err(refusal(response)) }
}

fn body_json(response: &mut Response<Body>) -> Result<Value, CliError> {
    let text = response.body_mut().with_config().limit(MAX_JSON_BYTES).read_to_vec();
    let text = text.map_err(|error| CliError::because("the server's answer broke off", &error))?;
    if response.body().mime_type().is_some_and(|mime| mime.contains("ndjson")) {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let lines: Result<Vec<Value>, _> = lines.map(serde_json::from_slice).collect();
        return lines.map(Value::Array).map_err(|error| CliError::because("the server's answer is not NDJSON", &error));
    }
    serde_json::from_slice(&text).map_err(|error| {
        CliError::because("the server's answer is not JSON", &error).with_detail("is this a `upm serve`? see --server")
    })
}

/// problem+json as an error: its detail (else its title) is the line.
fn refusal(response: &mut Response<Body>) -> CliError {
    let status = response.status();
    let body = response.body_mut().with_config().limit(1024 * 1024).read_to_vec().unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = ["detail", "title"].iter().find_map(|name| problem[*name].as_str()).map(print::clean);
    let line = said.unwrap_or_else(|| format!("the server answers {status}"));
    if status.as_u16() == 404 { CliError::no(line) } else { CliError::could_not(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        for (text, expect) in [("c-1", "c-1"), ("a/b?c#d%", "a%2Fb%3Fc%23d%25"), ("é", "%C3%A9"), ("x.y_z~", "x.y_z~")]
        {
            assert_eq!(segment(text), expect);
        }
    }

    #[test]
    fn no_server_says_where_and_what_to_do() {
        // Port 1 on loopback: nothing listens there.
        let error = Client::at("http://127.0.0.1:1".into()).get("/healthz").unwrap_err();
        let CliError::CouldNot { line, detail } = error else { panic!("{error:?}") };
        assert!(line.starts_with("no server answers at http://127.0.0.1:1"), "{line}");
        assert!(detail.contains("upm serve"), "{detail}");
        let error = Client::at("not a url".into()).get("/healthz").unwrap_err();
        assert!(error.to_string().contains("not a url"), "{error}");
    }
}

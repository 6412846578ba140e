//! Reading a road: one ephemeral pull consumer without acknowledgements, two requests open at a time.
//!
//! Our own loop rather than the client library's stream, because a batch must close with what has arrived, requests must be
//! bounded in bytes (a message may have 8 MiB), and each message's sequence is checked anyway. NATS ADR-13 (pull requests) and
//! ADR-15 (the reply subject that carries sequence and time).

use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};

use crate::batch::Received;

/// Requests open at once: while one is delivered, the next one waits at the server.
const REQUESTS: usize = 2;
/// What one batch may hold; more stays for the next one.
const BATCH_MESSAGES: usize = 1_024;
const BATCH_BYTES: usize = 4 << 20;
/// A request must have room for the largest message, or the server would never deliver it.
const REQUEST_BYTES: usize = 9 << 20;
const REQUEST_SECONDS: u64 = 30;
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Two heartbeats missed: the consumer, or the server, is gone.
const SILENCE: Duration = Duration::from_secs(12);
/// How long the server keeps a consumer that asks for nothing: longer than any disk makes us wait.
const INACTIVE: Duration = Duration::from_mins(5);

/// Why reading has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PullError {
    #[error("no consumer could be made: {0}")]
    NotMade(String),
    #[error("the consumer was lost: {0}")]
    Lost(String),
}

/// A consumer that is being read.
pub(crate) struct Pull {
    client: Client,
    next_subject: String,
    inbox: String,
    subscriber: Subscriber,
    /// Requests that the server still owes something, by number.
    open: Vec<u64>,
    requests: u64,
    /// Messages that all requests so far may bring, and those that came.
    allowed: u64,
    received: u64,
    request_bytes: usize,
    ended: Option<PullError>,
}

impl Pull {
    /// Makes a consumer that starts at `sequence`.
    pub(crate) async fn open(client: &Client, stream: &str, sequence: u64) -> Result<Self, PullError> {
        let config = consumer::pull::Config {
            ack_policy: consumer::AckPolicy::None,
            deliver_policy: consumer::DeliverPolicy::ByStartSequence { start_sequence: sequence },
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..consumer::pull::Config::default()
        };
        let context = jetstream::new(client.clone());
        let made = context.create_consumer_on_stream(config, stream).await;
        let made = made.map_err(|error| PullError::NotMade(error.to_string()))?;
        let inbox = client.new_inbox();
        let listening = client.subscribe(format!("{inbox}.*")).await;
        let subscriber = listening.map_err(|error| PullError::NotMade(error.to_string()))?;
        Ok(Self {
            client: client.clone(),
            next_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", made.cached_info().name),
            inbox,
            subscriber,
            open: Vec::with_capacity(REQUESTS),
            requests: 0,
            allowed: 0,
            received: 0,
            request_bytes: REQUEST_BYTES.max(client.max_payload() + (1 << 20)),
            ended: None,
        })
    }

    /// Waits for a message and takes what has arrived with it. `ahead` bounds what one request may ask for.
    pub(crate) async fn next(&mut self, ahead: usize) -> Result<Vec<Received>, PullError> {
        let mut batch = Vec::new();
        while batch.is_empty() {
            if let Some(error) = self.ended.take() {
                return Err(error);
            }
            self.refill(ahead).await?;
            let first = tokio::time::timeout(SILENCE, self.subscriber.next()).await;
            let first = first.map_err(|_| PullError::Lost(format!("silent for {} s", SILENCE.as_secs())))?;
            self.take(first, &mut batch);
            self.take_arrived(&mut batch);
        }
        Ok(batch)
    }

    /// Lets the server forget the consumer, if it is still there to be told.
    pub(crate) async fn close_consumer(self) {
        let subject = self.next_subject.replace("CONSUMER.MSG.NEXT", "CONSUMER.DELETE");
        let asking = self.client.request(subject, Bytes::new());
        let _ = tokio::time::timeout(Duration::from_secs(1), asking).await;
    }

    fn take_arrived(&mut self, batch: &mut Vec<Received>) {
        let mut bytes = 0;
        while self.ended.is_none() && batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            // Without the runtime's fairness budget, which would cut batches at 128.
            let Some(message) = tokio::task::unconstrained(self.subscriber.next()).now_or_never() else { return };
            bytes += message.as_ref().map_or(0, |message| message.length);
            self.take(message, batch);
        }
    }

    /// Sorts one delivery: a message into the batch, a status into our books.
    fn take(&mut self, delivery: Option<Message>, batch: &mut Vec<Received>) {
        let Some(message) = delivery else {
            self.ended = Some(PullError::Lost("the connection is closed".to_owned()));
            return;
        };
        if let Some(status) = message.status {
            match judge(status, message.description.as_deref().unwrap_or_default()) {
                Notice::Alive => {}
                Notice::RequestDone => self.close_request(message.subject.as_str()),
                Notice::Lost(reason) => self.ended = Some(PullError::Lost(reason)),
            }
            return;
        }
        self.received += 1;
        if self.received >= self.allowed {
            self.open.clear();
        }
        match message.reply.as_ref().and_then(|reply| place(reply.as_str())) {
            Some((sequence, at_ns)) => batch.push(Received { sequence, at_ns, message }),
            None => self.ended = Some(PullError::Lost("a message without its place on the road".to_owned())),
        }
    }

    fn close_request(&mut self, subject: &str) {
        let number = subject.rsplit('.').next().and_then(|token| token.parse().ok());
        self.open.retain(|open| Some(*open) != number);
    }

    async fn refill(&mut self, ahead: usize) -> Result<(), PullError> {
        while self.open.len() < REQUESTS {
            let request = format!(
                r#"{{"batch":{ahead},"max_bytes":{},"expires":{},"idle_heartbeat":{}}}"#,
                self.request_bytes,
                Duration::from_secs(REQUEST_SECONDS).as_nanos(),
                HEARTBEAT.as_nanos(),
            );
            let reply = format!("{}.{}", self.inbox, self.requests);
            let asked = self.client.publish_with_reply(self.next_subject.clone(), reply, request.into()).await;
            asked.map_err(|error| PullError::Lost(error.to_string()))?;
            self.open.push(self.requests);
            self.requests += 1;
            self.allowed += ahead as u64;
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Notice {
    Alive,
    RequestDone,
    Lost(String),
}

/// What a status of the server means for us.
fn judge(status: StatusCode, description: &str) -> Notice {
    match status.as_u16() {
        100 => Notice::Alive,
        404 | 408 => Notice::RequestDone,
        409 if ["message size exceeds maxbytes", "batch completed"]
            .iter()
            .any(|normal| description.to_ascii_lowercase().starts_with(normal)) =>
        {
            Notice::RequestDone
        }
        503 => Notice::Lost("nobody answers for it".to_owned()),
        code => Notice::Lost(format!("{code} {description}")),
    }
}

/// Stream sequence and time (nanoseconds) from a delivery's reply subject:
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`, or the same with domain and account
/// hash before the stream and perhaps more at the end.
fn place(reply: &str) -> Option<(u64, u64)> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    let before = match rest.bytes().filter(|byte| *byte == b'.').count() + 1 {
        7 => 3,
        count if count >= 9 => 5,
        _ => return None,
    };
    let mut tokens = rest.split('.').skip(before);
    let sequence = tokens.next()?.parse().ok()?;
    let at_ns = tokens.nth(1)?.parse().ok()?;
    Some((sequence, at_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_tells_sequence_and_time() {
        let cases = [
            ("$JS.ACK.UPM_acme.c1.1.42.7.1700000000000000001.3", Some((42, 1_700_000_000_000_000_001))),
            ("$JS.ACK._.HASH.UPM_acme.c1.1.42.7.1700000000000000001.3", Some((42, 1_700_000_000_000_000_001))),
            (
                "$JS.ACK.hub.HASH.UPM_acme.c1.1.42.7.1700000000000000001.3.token.more",
                Some((42, 1_700_000_000_000_000_001)),
            ),
            ("$JS.ACK.UPM_acme.c1.1.42.7.17", None),
            ("$JS.ACK.UPM_acme.c1.1.x.7.17.3", None),
            ("$JS.ACK.UPM_acme.c1.1.-1.7.17.3", None),
            ("$JS.ACK", None),
            ("_INBOX.a.b", None),
            ("", None),
        ];
        for (reply, expect) in cases {
            assert_eq!(place(reply), expect, "{reply}");
        }
    }

    #[test]
    fn a_status_ends_a_request_or_the_consumer() {
        let cases = [
            (100, "Idle Heartbeat", Notice::Alive),
            (404, "No Messages", Notice::RequestDone),
            (408, "Request Timeout", Notice::RequestDone),
            (409, "Message Size Exceeds MaxBytes", Notice::RequestDone),
            (409, "Batch Completed", Notice::RequestDone),
            (409, "Consumer Deleted", Notice::Lost("409 Consumer Deleted".into())),
            (409, "Server Shutdown", Notice::Lost("409 Server Shutdown".into())),
            (503, "", Notice::Lost("nobody answers for it".into())),
            (400, "Bad Request", Notice::Lost("400 Bad Request".into())),
        ];
        for (code, description, expect) in cases {
            let status = StatusCode::from_u16(code).expect("a status");
            assert_eq!(judge(status, description), expect, "{code} {description}");
        }
    }
}

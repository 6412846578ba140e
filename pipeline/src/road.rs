//! Following one tenant's road: is it still the same one, what is next on it, what is missing.
//!
//! The cursor is the only truth. After every connect the message at the cursor is fetched and compared by time and keyed hash;
//! absent or different means that the road was cut, and everything on the new one is read from its start (the ledger recognises
//! what it has). A sequence that is not the next one is asked for once more by a new consumer, and is called gone only when the
//! stream itself says so. DESIGN §3.1 and §5; FORMATS `epoch`, `gap`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use ledger::append::Cursor;
use ledger::dedupe::DedupeKey;
use schemas::ids;
use tokio::sync::{mpsc, watch};

use crate::batch::{Answers, Arrived, News, Received};
use crate::pull::{Pull, PullError};
use crate::shared::{Common, Position, TenantState};
use crate::streams::{self, StreamError, StreamLimits};
use crate::sweep::Place;

/// A message further ahead of our clock than this would date every later entry.
const AHEAD_MS_MAX: u64 = 5 * 60 * 1_000;
/// Messages asked for ahead, over all roads: bounds what a backlog on a thousand roads takes in memory.
const AHEAD_MESSAGES: usize = 32_768;

/// What every road needs of the intake.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) client: Client,
    pub(crate) limits: StreamLimits,
    pub(crate) common: Arc<Common>,
    pub(crate) to_admit: mpsc::Sender<Arrived>,
    pub(crate) to_answer: mpsc::Sender<Answers>,
    /// Changes with every loss of the connection.
    pub(crate) breaks: watch::Receiver<u64>,
}

/// One road and how far it was handed on.
pub(crate) struct Follower {
    state: Arc<TenantState>,
    access: Access,
    who: String,
    /// Last sequence handed on.
    sent: u64,
    cuts: u32,
    created_ns: u64,
    /// Answered and durable when we started: what is between was durable, but perhaps nobody heard of it.
    answered: u64,
    durable: u64,
    /// The sequence that was not there when it was asked for last.
    suspect: Option<u64>,
}

/// Why a visit has ended.
enum End {
    /// Nobody takes what we read.
    Closed,
    /// Look again at once: the connection was lost, or something seems to be missing.
    Again,
    /// Something is wrong, and will be tried again.
    Trouble(String),
}

impl From<PullError> for End {
    fn from(error: PullError) -> Self {
        Self::Trouble(error.to_string())
    }
}

impl From<StreamError> for End {
    fn from(error: StreamError) -> Self {
        Self::Trouble(error.to_string())
    }
}

impl Follower {
    pub(crate) fn new(state: Arc<TenantState>, access: Access) -> Self {
        let Position { cuts, cursor } = state.admitted();
        Self {
            who: who(&state),
            sent: cursor.sequence,
            cuts,
            created_ns: cursor.stream_created_ns,
            answered: state.answered(cuts),
            durable: cursor.sequence,
            suspect: None,
            state,
            access,
        }
    }

    /// Follows the road until nobody takes what is read.
    pub(crate) async fn follow(mut self) {
        let mut delay = Duration::from_millis(100);
        loop {
            let before = self.sent;
            match self.visit().await {
                End::Closed => return,
                End::Again => {}
                End::Trouble(reason) => {
                    self.access.common.troubles.set(&self.who, format!("tenant {}: {reason}", self.state.tenant));
                    delay = if self.sent > before { Duration::from_millis(100) } else { delay };
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    async fn visit(&mut self) -> End {
        self.access.breaks.mark_unchanged();
        match self.read().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn read(&mut self) -> Result<Infallible, End> {
        self.identify().await?;
        let from = if self.sent == self.durable { self.answered.min(self.sent) } else { self.sent } + 1;
        let mut pull = Pull::open(&self.access.client, &ids::stream_name(&self.state.tenant), from).await?;
        self.access.common.troubles.clear(&self.who);
        self.state.set_followed(Some(Place::of(&self.state, self.cuts, self.created_ns)));
        let end = self.read_from(&mut pull).await;
        self.state.set_followed(None);
        pull.close_consumer().await;
        end
    }

    async fn read_from(&mut self, pull: &mut Pull) -> Result<Infallible, End> {
        let mut open = self.access.common.open.subscribe();
        loop {
            let ahead = (AHEAD_MESSAGES / self.access.common.road_count()).clamp(32, 4_096);
            let messages = tokio::select! {
                biased;
                _ = self.access.breaks.changed() => return Err(End::Again),
                messages = pull.next(ahead) => messages?,
            };
            // Held, not handed on, while nothing is taken in. The sender lives as long as we do.
            let _ = open.wait_for(|open| *open).await;
            let fresh = self.answer_again(messages).await?;
            self.hand_over(fresh).await?;
        }
    }

    /// Compares the road with the cursor, and begins anew where it is another one.
    async fn identify(&mut self) -> Result<(), End> {
        let cursor = self.last_handed_over().await?;
        let (client, tenant) = (&self.access.client, &self.state.tenant);
        let stream = streams::ensure(client, tenant, &self.access.limits).await?;
        let same_stream = match cursor.stream_created_ns {
            0 => self.state.born_stream_ms.is_none_or(|born_ms| born_ms == stream.created_ns / 1_000_000),
            created_ns => created_ns == stream.created_ns,
        };
        self.created_ns = stream.created_ns;
        if same_stream && self.holds(&cursor).await? {
            return Ok(());
        }
        tracing::warn!(%tenant, sequence = cursor.sequence, "the road was cut: a new epoch begins");
        self.cuts += 1;
        (self.sent, self.answered, self.durable, self.suspect) = (0, 0, 0, None);
        self.send(News::Cut { at_ms: (self.access.common.clock)() }).await
    }

    /// The cursor of what was handed on; admission, which hashes each message anyway, knows it a moment later.
    async fn last_handed_over(&self) -> Result<Cursor, End> {
        loop {
            let Position { cuts, cursor } = self.state.admitted();
            if cuts == self.cuts && cursor.sequence == self.sent {
                return Ok(cursor);
            }
            if self.access.to_admit.is_closed() {
                return Err(End::Closed);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Whether the cursor's message is on the road, as it was.
    async fn holds(&self, cursor: &Cursor) -> Result<bool, End> {
        holds(&self.stream().await?, &self.state.dedupe, cursor).await.map_err(End::Trouble)
    }

    /// Messages that were durable when we started go straight to be answered. Gives back the others.
    async fn answer_again(&mut self, messages: Vec<Received>) -> Result<Vec<Received>, End> {
        if messages.first().is_none_or(|first| first.sequence > self.durable) {
            return Ok(messages);
        }
        let (again, fresh): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| message.sequence <= self.durable);
        self.answered = again.last().map_or(self.answered, |last| last.sequence);
        let answers = Answers::Again { road: Arc::clone(&self.state), messages: again };
        self.access.to_answer.send(answers).await.map_err(|_| End::Closed)?;
        Ok(fresh)
    }

    /// Hands on what follows on what was handed on before.
    async fn hand_over(&mut self, messages: Vec<Received>) -> Result<(), End> {
        let now_ms = (self.access.common.clock)();
        let mut next = Next { gap: None, messages: Vec::with_capacity(messages.len()), last: self.sent };
        for message in messages {
            if message.at_ns / 1_000_000 > now_ms.saturating_add(AHEAD_MS_MAX) {
                self.flush(next).await?;
                let ahead_s = (message.at_ns / 1_000_000 - now_ms) / 1_000;
                let sequence = message.sequence;
                return Err(End::Trouble(format!(
                    "message {sequence} is dated {ahead_s} s ahead of our clock (300 s are tolerated); nothing is signed until the clocks agree"
                )));
            }
            if message.sequence <= next.last {
                continue;
            }
            if message.sequence > next.last + 1 {
                let from = next.last + 1;
                self.flush(next).await?;
                self.confirm_missing(from, message.sequence).await?;
                next = Next { gap: Some((from, message.sequence - 1, now_ms)), messages: Vec::new(), last: from };
            }
            next.last = message.sequence;
            next.messages.push(message);
        }
        self.flush(next).await
    }

    async fn flush(&mut self, next: Next) -> Result<(), End> {
        if next.messages.is_empty() {
            return Ok(());
        }
        self.send(News::Messages { gap: next.gap, messages: next.messages }).await?;
        (self.sent, self.suspect) = (next.last, None);
        Ok(())
    }

    /// `from..next` did not come. Once: ask again. Twice: it is a gap if the stream says that `next` is the first it has.
    async fn confirm_missing(&mut self, from: u64, next: u64) -> Result<(), End> {
        if self.suspect != Some(from) {
            self.suspect = Some(from);
            return Err(End::Again);
        }
        let found = self.stream().await?.get_first_raw_message_by_subject(">", from).await;
        match found_message(found).map_err(End::Trouble)? {
            Some(message) if message.sequence == next => Ok(()),
            Some(message) => {
                let found = message.sequence;
                Err(End::Trouble(format!("the consumer skips from {from} to {next}, but the stream has {found}")))
            }
            None => {
                Err(End::Trouble(format!("the stream has nothing from {from} on, but its consumer delivered {next}")))
            }
        }
    }

    async fn send(&self, what: News) -> Result<(), End> {
        let arrived =
            Arrived { road: Arc::clone(&self.state), cuts: self.cuts, stream_created_ns: self.created_ns, what };
        self.access.to_admit.send(arrived).await.map_err(|_| End::Closed)
    }

    async fn stream(&self) -> Result<Stream<()>, End> {
        let context = jetstream::new(self.access.client.clone());
        let stream = context.get_stream_no_info(ids::stream_name(&self.state.tenant)).await;
        stream.map_err(|error| End::Trouble(error.to_string()))
    }
}

/// Whether the cursor's message is on the stream, as it was: same sequence, same time, same subject and bytes.
pub(crate) async fn holds<I>(stream: &Stream<I>, dedupe: &DedupeKey, cursor: &Cursor) -> Result<bool, String> {
    if cursor.sequence == 0 {
        return Ok(true);
    }
    let found = stream.get_raw_message(cursor.sequence).await;
    Ok(found_message(found)?.is_some_and(|message| {
        let at_ns = message.time.unix_timestamp_nanos();
        is_cursors(at_ns, message.subject.as_str(), &message.payload, dedupe, cursor)
    }))
}

/// Whether what stands at the cursor's sequence is the cursor's message: by its time alone whoever holds the road could forge it.
fn is_cursors(at_ns: i128, subject: &str, payload: &[u8], dedupe: &DedupeKey, cursor: &Cursor) -> bool {
    at_ns == i128::from(cursor.at_ns) && dedupe.fingerprint(subject, payload) == cursor.digest
}

/// Under which name a road's troubles are kept.
pub(crate) fn who(state: &TenantState) -> String {
    format!("road {}", state.tenant)
}

/// Messages that follow on each other, being collected.
struct Next {
    /// From, to, and our clock.
    gap: Option<(u64, u64, u64)>,
    messages: Vec<Received>,
    last: u64,
}

/// No message is an answer; any other failure is none.
pub(crate) fn found_message(
    found: Result<StreamMessage, jetstream::stream::RawMessageError>,
) -> Result<Option<StreamMessage>, String> {
    match found {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(api) if api.error_code() == jetstream::ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            _ => Err(format!("the stream does not answer: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_the_same_sequence_and_time_but_other_bytes_is_another() {
        let key = DedupeKey::new([1; 32]);
        let digest = key.fingerprint("upm.events.acme.plan", b"event");
        let cursor = Cursor { stream_created_ns: 5, sequence: 7, at_ns: 99, digest };
        let cases: [(i128, &str, &[u8], bool); 5] = [
            (99, "upm.events.acme.plan", b"event", true),
            (99, "upm.events.acme.plan", b"Event", false),
            (99, "upm.events.acme.audit", b"event", false),
            (98, "upm.events.acme.plan", b"event", false),
            (-99, "upm.events.acme.plan", b"event", false),
        ];
        for (at_ns, subject, payload, expect) in cases {
            assert_eq!(is_cursors(at_ns, subject, payload, &key, &cursor), expect, "{at_ns} {subject} {payload:?}");
        }
        assert!(!is_cursors(99, "upm.events.acme.plan", b"event", &DedupeKey::new([2; 32]), &cursor));
    }
}

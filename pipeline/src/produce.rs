//! Publishing events and hearing what became of them: what `upm emit`, HTTP and the load harness have in common.
//!
//! One inbox subscription serves all events in flight. An event is published, `JetStream` acknowledges that it is on the road, and
//! once it is durable the ledger answers. What gets no answer in time is published again with the same bytes: the ledger
//! recognises it, so that trying again never makes a second entry. No `Nats-Msg-Id` is set (`JetStream` would swallow the retry).
//!
//! Events that are under way together reach the road in any order, one that is published again last of all. Where order matters, as
//! among the events of one change, each has its [`Turn`]: it is published once the one before it is on the road.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::answer::{Answer, NoAnswer, RECEIPT_HEADER};
use crate::target::Refusals;

/// `JetStream`'s code for a stream that may hold no more (`discard: new`).
const STREAM_STORE_FAILED: u64 = 10_077;

/// How patiently to publish.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Events in flight at once.
    pub window: usize,
    /// How long to wait for `JetStream`'s acknowledgement.
    pub ack: Duration,
    /// How long to wait for the ledger's answer after it.
    pub answer: Duration,
    /// How often to publish an event before giving up.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { window: 512, ack: Duration::from_secs(5), answer: Duration::from_secs(30), attempts: 5 }
    }
}

/// An event to publish.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// `upm.events.<tenant>.<phase>[.<producer>]`.
    pub subject: String,
    /// The event's bytes.
    pub payload: Bytes,
}

/// `JetStream` has the event (in memory of the kernel at least; only an [`Answer`] says that it is durable).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct OnRoad {
    /// Its sequence on the road.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// It was there already, or another message under the same name was ([`Producer::publish_once`]).
    #[serde(default, rename = "duplicate")]
    pub is_repeated: bool,
}

/// An event's place among others of its lane: it comes when the one before it is on the road, or given up. The default is a lane of
/// its own.
#[derive(Debug, Default)]
pub struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped, it lets the next one come.
    next: Option<oneshot::Sender<()>>,
}

impl Turn {
    async fn come(&mut self) {
        if let Some(before) = &mut self.before {
            // Its sender is dropped, never used.
            let _ = before.await;
        }
        self.before = None;
    }

    fn pass(&mut self) {
        self.next = None;
    }
}

/// Gives turns: within a lane, such as a change, in the order in which they are asked for. All of a lane have to be sent, or dropped.
#[derive(Debug)]
pub struct Lanes<L> {
    ends: HashMap<L, oneshot::Receiver<()>>,
    /// So many lanes are remembered before those are forgotten that nobody is under way in.
    room: usize,
}

/// Lanes that are remembered at least: twice a window.
const LANES_MIN: usize = 1_024;

impl<L> Default for Lanes<L> {
    fn default() -> Self {
        Self { ends: HashMap::new(), room: LANES_MIN }
    }
}

impl<L: Eq + Hash> Lanes<L> {
    /// The next turn in a lane.
    pub fn turn(&mut self, lane: L) -> Turn {
        if self.ends.len() >= self.room {
            self.ends.retain(|_, end| matches!(end.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
            self.room = LANES_MIN.max(2 * self.ends.len());
        }
        let (next, end) = oneshot::channel();
        Turn { before: self.ends.insert(lane, end), next: Some(next) }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// No stream takes the subject.
    #[error("nobody takes {subject}: the tenant is unknown (`upm tenant add` makes one)")]
    NoRoad {
        /// The subject.
        subject: String,
    },
    /// The stream may hold no more.
    #[error("the road is full ({said}); it is swept as the ledger reads it, try again later")]
    RoadFull {
        /// The server's words.
        said: String,
    },
    /// `JetStream` does not take the event.
    #[error("the server does not take the event: {said} (code {code})")]
    Refused {
        /// `JetStream`'s error code.
        code: u64,
        /// Its words.
        said: String,
    },
    /// The server does not let us publish there.
    #[error(
        "the server does not let {subject} be published without the credentials for it: workers' and doors' names are theirs alone (--nats-file FILE, docs/workers.md)"
    )]
    Forbidden {
        /// The subject.
        subject: String,
    },
    /// The event is larger than the server takes.
    #[error("the event has {bytes} bytes; the server takes at most {limit}")]
    TooLarge {
        /// The event's size.
        bytes: usize,
        /// The server's limit.
        limit: usize,
    },
    /// No acknowledgement or no answer, however often it was tried.
    #[error(
        "no {missing} after {attempts} attempts; the event may or may not be in the ledger: publish the same bytes again"
    )]
    TimedOut {
        /// `acknowledgement` or `answer`.
        missing: &'static str,
        /// How often it was published.
        attempts: u32,
    },
    /// Something else answered.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// The client is closed, or a subject is malformed.
    #[error("can't publish to {subject}: {reason}")]
    Client {
        /// The subject.
        subject: String,
        /// What went wrong.
        reason: String,
    },
}

/// Publishes events over one client. Cheap to clone; all clones share window and inbox.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    refusals: Refusals,
    patience: Patience,
    window: Semaphore,
    inbox: String,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    listener: tokio::task::JoinHandle<()>,
}

/// Who waits for what, by the token in the reply subject.
#[derive(Default)]
struct Waiting(Mutex<HashMap<u64, mpsc::UnboundedSender<Reply>>>);

enum Reply {
    Ack(Message),
    Answer(Message),
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Producer {
    /// A producer over `client`; its inbox lives on the runtime that this is called from.
    pub async fn new(client: Client, patience: Patience) -> Result<Self, ProduceError> {
        Self::hearing(client, Refusals::default(), patience).await
    }

    /// The same, that is told at once what the server refuses to carry ([`crate::NatsTarget::connect_hearing`]).
    pub async fn hearing(client: Client, refusals: Refusals, patience: Patience) -> Result<Self, ProduceError> {
        // Always `_INBOX`: that is where answers may go, whatever the client's own inboxes are called.
        let own = client.new_inbox();
        let unique = own.rsplit('.').next().unwrap_or_default();
        let inbox = format!("_INBOX.{unique}");
        let wildcard = format!("{inbox}.*.*");
        let listening = client.subscribe(wildcard.clone()).await;
        let subscriber =
            listening.map_err(|error| ProduceError::Client { subject: wildcard, reason: error.to_string() })?;
        let waiting = Arc::<Waiting>::default();
        let listener = tokio::spawn(listen(subscriber, inbox.len(), Arc::clone(&waiting)));
        let window = Semaphore::new(patience.window.max(1));
        let shared = Shared { client, refusals, patience, window, inbox, waiting, next: AtomicU64::new(0), listener };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Publishes one event and waits until the ledger has answered.
    pub async fn send(&self, event: &Outgoing) -> Result<Answer, ProduceError> {
        self.send_in_turn(event, Turn::default()).await
    }

    /// The same when its turn comes; the next one's comes once this one is on the road.
    pub async fn send_in_turn(&self, event: &Outgoing, mut turn: Turn) -> Result<Answer, ProduceError> {
        // Not with a slot in hand: the one before may be waiting for one.
        turn.come().await;
        let _slot = self.shared.window.acquire().await;
        let mut replies = self.shared.register();
        let mut headers = HeaderMap::new();
        headers.insert(RECEIPT_HEADER, format!("{}.{}.r", self.shared.inbox, replies.token).as_str());
        let mut missing = "acknowledgement";
        for _ in 0..self.shared.patience.attempts.max(1) {
            self.shared.publish(event, Some(headers.clone()), replies.token).await?;
            match self.shared.attempt(event, &mut replies, &mut turn).await {
                Attempt::Done(result) => return result,
                Attempt::Missing(what) => missing = what,
            }
        }
        Err(ProduceError::TimedOut { missing, attempts: self.shared.patience.attempts.max(1) })
    }

    /// Publishes one event and waits only until `JetStream` has it.
    pub async fn publish(&self, event: &Outgoing) -> Result<OnRoad, ProduceError> {
        self.publish_in_turn(event, Turn::default()).await
    }

    /// The same when its turn comes.
    pub async fn publish_in_turn(&self, event: &Outgoing, mut turn: Turn) -> Result<OnRoad, ProduceError> {
        turn.come().await;
        self.until_on_road(event, None).await
    }

    async fn until_on_road(&self, event: &Outgoing, headers: Option<HeaderMap>) -> Result<OnRoad, ProduceError> {
        let _slot = self.shared.window.acquire().await;
        let mut replies = self.shared.register();
        for _ in 0..self.shared.patience.attempts.max(1) {
            self.shared.publish(event, headers.clone(), replies.token).await?;
            let came = tokio::select! {
                reply = tokio::time::timeout(self.shared.patience.ack, replies.receiver.recv()) => reply,
                () = self.shared.refusals.of(&event.subject) => return Err(forbidden(event)),
            };
            if let Ok(Some(Reply::Ack(message))) = came {
                return on_road(event, &message);
            }
        }
        Err(ProduceError::TimedOut { missing: "acknowledgement", attempts: self.shared.patience.attempts.max(1) })
    }

    /// Publishes an event under a name that the road takes once: of two with one name within its window for duplicates (two minutes), the
    /// second is dropped, and both are answered with the sequence of the first. The ledger's answer is not waited for: to what is dropped
    /// none comes.
    pub async fn publish_once(&self, event: &Outgoing, name: &str) -> Result<OnRoad, ProduceError> {
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, name);
        self.until_on_road(event, Some(headers)).await
    }

    /// Sends many, a window of them at once, each in its turn, and hands over each result as it comes, with the event's place in the
    /// input.
    pub async fn send_all(
        &self,
        events: impl IntoIterator<Item = (Outgoing, Turn)>,
        mut done: impl FnMut(usize, Result<Answer, ProduceError>),
    ) {
        let sending = |(place, (event, turn)): (usize, (Outgoing, Turn))| async move {
            (place, self.send_in_turn(&event, turn).await)
        };
        let mut results =
            futures::stream::iter(events.into_iter().enumerate().map(sending)).buffer_unordered(self.shared.window());
        while let Some((place, result)) = results.next().await {
            done(place, result);
        }
    }

    /// Publishes many without waiting for the ledger, a window of them at once, in any order.
    pub async fn publish_all(
        &self,
        events: impl IntoIterator<Item = Outgoing>,
        mut done: impl FnMut(usize, Result<OnRoad, ProduceError>),
    ) {
        let sending = |(place, event): (usize, Outgoing)| async move { (place, self.publish(&event).await) };
        let mut results =
            futures::stream::iter(events.into_iter().enumerate().map(sending)).buffer_unordered(self.shared.window());
        while let Some((place, result)) = results.next().await {
            done(place, result);
        }
    }
}

enum Attempt {
    Done(Result<Answer, ProduceError>),
    Missing(&'static str),
}

impl Shared {
    fn window(&self) -> usize {
        self.patience.window.max(1)
    }

    fn register(&self) -> Replies {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::unbounded_channel();
        self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token, sender);
        Replies { token, receiver, waiting: Arc::clone(&self.waiting) }
    }

    async fn publish(&self, event: &Outgoing, headers: Option<HeaderMap>, token: u64) -> Result<(), ProduceError> {
        let limit = self.client.max_payload();
        if event.payload.len() > limit {
            return Err(ProduceError::TooLarge { bytes: event.payload.len(), limit });
        }
        let reply = format!("{}.{token}.a", self.inbox);
        let (subject, payload) = (event.subject.clone(), event.payload.clone());
        let sent = match headers {
            Some(headers) => self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await,
            None => self.client.publish_with_reply(subject, reply, payload).await,
        };
        sent.map_err(|error| match error.kind() {
            async_nats::client::PublishErrorKind::MaxPayloadExceeded => {
                ProduceError::TooLarge { bytes: event.payload.len(), limit }
            }
            _ => ProduceError::Client { subject: event.subject.clone(), reason: error.to_string() },
        })
    }

    /// Waits for acknowledgement and answer of one attempt. The answer of an earlier attempt is as good.
    async fn attempt(&self, event: &Outgoing, replies: &mut Replies, turn: &mut Turn) -> Attempt {
        let mut wait = self.patience.ack;
        let mut missing = "acknowledgement";
        loop {
            let came = tokio::select! {
                reply = tokio::time::timeout(wait, replies.receiver.recv()) => reply,
                () = self.refusals.of(&event.subject) => return Attempt::Done(Err(forbidden(event))),
            };
            match came {
                Ok(Some(Reply::Answer(message))) => {
                    let answer = Answer::parse(message.headers.as_ref(), &message.payload);
                    return Attempt::Done(answer.map_err(ProduceError::from));
                }
                Ok(Some(Reply::Ack(message))) => {
                    if let Err(error) = on_road(event, &message) {
                        return Attempt::Done(Err(error));
                    }
                    turn.pass();
                    (wait, missing) = (self.patience.answer, "answer");
                }
                Ok(None) | Err(_) => return Attempt::Missing(missing),
            }
        }
    }
}

fn forbidden(event: &Outgoing) -> ProduceError {
    ProduceError::Forbidden { subject: event.subject.clone() }
}

/// The replies to one event; forgotten when dropped.
struct Replies {
    token: u64,
    receiver: mpsc::UnboundedReceiver<Reply>,
    waiting: Arc<Waiting>,
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
    }
}

/// Hands each reply to who waits for it.
async fn listen(mut subscriber: Subscriber, prefix: usize, waiting: Arc<Waiting>) {
    while let Some(message) = subscriber.next().await {
        let Some((token, kind)) = token_of(message.subject.as_str(), prefix) else { continue };
        let map = waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = map.get(&token) {
            let reply = if kind == "r" { Reply::Answer(message) } else { Reply::Ack(message) };
            let _ = sender.send(reply);
        }
    }
}

/// `<inbox>.<token>.<kind>` → token and kind.
fn token_of(subject: &str, prefix: usize) -> Option<(u64, &str)> {
    let (token, kind) = subject.get(prefix + 1..)?.split_once('.')?;
    Some((token.parse().ok()?, kind))
}

/// `JetStream`'s acknowledgement, or why there is none.
fn on_road(event: &Outgoing, message: &Message) -> Result<OnRoad, ProduceError> {
    #[derive(Deserialize)]
    struct Ack {
        seq: Option<u64>,
        #[serde(default)]
        duplicate: bool,
        error: Option<ApiError>,
    }
    #[derive(Deserialize)]
    struct ApiError {
        #[serde(default)]
        err_code: u64,
        #[serde(default)]
        description: String,
    }
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(ProduceError::NoRoad { subject: event.subject.clone() });
    }
    match serde_json::from_slice(&message.payload) {
        Ok(Ack { seq: Some(sequence), duplicate, error: None }) => Ok(OnRoad { sequence, is_repeated: duplicate }),
        Ok(Ack { error: Some(error), .. }) if error.err_code == STREAM_STORE_FAILED => {
            Err(ProduceError::RoadFull { said: error.description })
        }
        Ok(Ack { error: Some(error), .. }) => {
            Err(ProduceError::Refused { code: error.err_code, said: error.description })
        }
        Ok(Ack { seq: None, error: None, .. }) | Err(_) => {
            Err(ProduceError::Refused { code: 0, said: "an acknowledgement that can't be read".to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_comes_when_the_one_before_has_passed() {
        let comes = |turn: &mut Turn| futures::FutureExt::now_or_never(turn.come()).is_some();
        let mut lanes = Lanes::default();
        let (mut first, mut second, mut third) = (lanes.turn("a"), lanes.turn("a"), lanes.turn("a"));
        assert!(comes(&mut first) && comes(&mut lanes.turn("b")) && comes(&mut Turn::default()));
        first.pass();
        let mut waiting = lanes.turn("a");
        assert!(!comes(&mut third) && !comes(&mut third) && comes(&mut second));
        drop(second);
        assert!(comes(&mut third), "one that was given up lets the next one come too");
        assert!(!comes(&mut waiting));
    }

    #[test]
    fn lanes_that_nobody_is_in_are_forgotten() {
        let mut lanes = Lanes::default();
        let _held = lanes.turn(0);
        for lane in 1..100_000 {
            drop(lanes.turn(lane));
        }
        assert!(lanes.ends.len() <= LANES_MIN, "{}", lanes.ends.len());
        let mut next = lanes.turn(0);
        assert!(futures::FutureExt::now_or_never(next.come()).is_none(), "the one under way is remembered");
    }

    #[test]
    fn replies_find_their_event_by_the_token() {
        let prefix = "_INBOX.abc".len();
        let cases = [
            ("_INBOX.abc.17.r", Some((17, "r"))),
            ("_INBOX.abc.0.a", Some((0, "a"))),
            ("_INBOX.abc.x.a", None),
            ("_INBOX.abc.17", None),
            ("_INBOX.abc", None),
            ("", None),
        ];
        for (subject, expect) in cases {
            assert_eq!(token_of(subject, prefix), expect, "{subject}");
        }
    }

    #[test]
    fn acknowledgements_become_typed_errors() {
        let event = Outgoing { subject: "upm.events.acme.plan".into(), payload: Bytes::new() };
        let check = |status: Option<StatusCode>, payload: &'static str| {
            let message = Message {
                subject: "_INBOX.a.1.a".into(),
                reply: None,
                payload: payload.into(),
                headers: None,
                status,
                description: None,
                length: 0,
            };
            on_road(&event, &message)
        };
        assert_eq!(check(None, r#"{"stream":"UPM_acme","seq":7}"#).expect("an acknowledgement").sequence, 7);
        assert!(matches!(check(Some(StatusCode::NO_RESPONDERS), ""), Err(ProduceError::NoRoad { .. })));
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"seq":0}"#;
        assert!(matches!(check(None, full), Err(ProduceError::RoadFull { said }) if said == "maximum bytes exceeded"));
        let large = r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        assert!(matches!(check(None, large), Err(ProduceError::Refused { code: 10_054, .. })));
        assert!(matches!(check(None, "?"), Err(ProduceError::Refused { code: 0, .. })));
    }
}

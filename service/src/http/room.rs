//! Room for the events of changes that are judged: all requests together hold no more than this much of them, however large the changes and however many ask.
//!
//! A change that is larger than all of it is not judged over HTTP, rather than from a part of what is on record. What is said of a large change takes room
//! of its own until it is sent: whoever is slow to take it keeps others from as much, and from no judgement.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use evidence::ENTRIES_MAX;
use ledger::entry::{EventHeader, Header};
use ledger::read::ReadError;
use schemas::ids::ChangeId;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::app::{OpenTenant, log_failed};
use super::problem::Problem;

/// Bytes of all events that are held.
const BYTES_MAX: u64 = 64 << 20;
/// Bytes that an event takes beside its payload.
const EVENT_BYTES: u64 = 2 * 1024;
/// Bytes of all headers that are held by who waits for room for the payloads: those of one change of as many events as may be.
const HEADERS_MAX: u64 = ENTRIES_MAX as u64 * EVENT_BYTES;
/// Bytes of all large answers that wait to be taken.
const ANSWERS_MAX: u64 = 64 << 20;
/// Answers up to so many bytes are not counted: those of changes as they are.
const ANSWER_SMALL: usize = 256 << 10;
/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// The events of a change that are on record.
pub struct Found {
    change: ChangeId,
    /// Each with its place in the log, oldest first.
    pub headers: Vec<(u64, EventHeader)>,
    /// Bytes of their payloads.
    bytes: u64,
    _room: Held,
}

/// How much room there is. Headers have their own, and whoever has room for payloads waits for nothing any more: so nobody waits in a ring.
pub struct Room {
    headers: Arc<Semaphore>,
    events: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// An answer with the room that it takes until all of it is sent.
struct Answer {
    bytes: Vec<u8>,
    _room: Held,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Room that is taken, until the value is dropped.
pub struct Held(#[expect(dead_code, reason = "it is given back when dropped")] OwnedSemaphorePermit);

impl Room {
    /// All of it free.
    pub fn new() -> Self {
        let of = |bytes| Arc::new(Semaphore::new(kib(bytes) as usize));
        Self { headers: of(HEADERS_MAX), events: of(BYTES_MAX), answers: of(ANSWERS_MAX) }
    }

    /// The events of a change now, with room for their headers. Blocking; on a thread that may block.
    pub fn find(&self, open: &OpenTenant, change: &ChangeId) -> Result<Found, Problem> {
        let size = open.log.head().map_err(|error| log_failed(&error))?.size;
        let indices = open.change_indices(change, size)?;
        if indices.len() > ENTRIES_MAX {
            return Err(too_large(change, indices.len(), None));
        }
        let room = wait(&self.headers, indices.len() as u64 * EVENT_BYTES)?;
        let mut headers = Vec::with_capacity(indices.len());
        for index in indices {
            let header = open.log.header(index).map_err(|error: ReadError| log_failed(&error))?;
            if let Some(Header::Event(header)) = header {
                headers.push((index, header));
            }
        }
        let bytes = headers.iter().map(|(_, header)| header.size).sum();
        Ok(Found { change: change.clone(), headers, bytes, _room: room })
    }

    /// Waits for room for a change's payloads. Blocking; on a thread that may block.
    pub fn take(&self, found: &Found) -> Result<Held, Problem> {
        self.hold(&found.change, found.headers.len(), found.bytes)
    }

    /// Waits for room for what workers read of a change: `count` events with `bytes` of payloads. Blocking; on a thread that may block.
    pub fn hold(&self, change: &ChangeId, count: usize, bytes: u64) -> Result<Held, Problem> {
        let needed = bytes + count as u64 * EVENT_BYTES;
        if needed > BYTES_MAX {
            return Err(too_large(change, count, Some(bytes)));
        }
        wait(&self.events, needed)
    }

    /// An answer that is kept no longer than until it is sent, with room for it where it is large. Nobody waits for that with what is to be said in hand.
    pub fn answer(&self, bytes: Vec<u8>) -> Result<Bytes, Problem> {
        if bytes.len() <= ANSWER_SMALL {
            return Ok(bytes.into());
        }
        let asked = Arc::clone(&self.answers).try_acquire_many_owned(kib((bytes.len() as u64).min(ANSWERS_MAX)));
        match asked {
            Ok(room) => Ok(Bytes::from_owner(Answer { bytes, _room: Held(room) })),
            Err(_) => Err(Problem::unavailable("other large answers are not taken yet")),
        }
    }
}

fn wait(room: &Arc<Semaphore>, bytes: u64) -> Result<Held, Problem> {
    let asked = Arc::clone(room).acquire_many_owned(kib(bytes));
    match Handle::current().block_on(async { timeout(PATIENCE, asked).await }) {
        Ok(Ok(room)) => Ok(Held(room)),
        Ok(Err(_)) => Err(Problem::unavailable("the server is stopping")),
        Err(_) => Err(Problem::unavailable("other large changes are being judged")),
    }
}

/// Whole KiB, rounded up: what room is counted in.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn too_large(change: &ChangeId, count: usize, bytes: Option<u64>) -> Problem {
    let most = BYTES_MAX >> 20;
    let with = bytes.map_or_else(String::new, |bytes| format!(" with {bytes} bytes"));
    let detail = format!(
        "change {change} has {count} events{with}, expected at most {ENTRIES_MAX} events and {most} MiB: it is not judged from a part of them; \
         its list of events and its evidence pack have all"
    );
    let problem = Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "too_large",
        "The change is too large to be judged here",
        detail,
    );
    let problem = problem.with("change", change.as_str()).with("events", count);
    match bytes {
        Some(bytes) => problem.with("bytes", bytes),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many are slow to take what they asked for: all that waits for them is bounded, and what is small is never refused.
    #[test]
    fn answers_take_room_until_they_are_sent() {
        let room = Room::new();
        let large = || room.answer(vec![7; 10 << 20]);
        let mut waiting: Vec<Bytes> = (0..6).map(|_| large().unwrap()).collect();
        let refused = large().unwrap_err().to_json();
        assert!(refused["status"] == 503 && refused["detail"].to_string().contains("not taken yet"), "{refused}");
        assert!(room.answer(vec![7; ANSWER_SMALL]).is_ok());
        // A part of it that is still to be sent keeps all of it.
        let mut sent = waiting.pop().unwrap();
        let rest = sent.split_off(10);
        drop(sent);
        assert!(large().is_err());
        drop(rest);
        waiting.push(large().unwrap());
        assert!(waiting.iter().all(|answer| answer.len() == 10 << 20));
        drop(waiting);
        assert!(room.answer(vec![7; 100 << 20]).is_ok(), "one that is larger than all the room may be alone");
    }
}

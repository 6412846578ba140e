//! Room for the events of changes that are judged: all requests together hold no more than this much of them, however large the changes and however many ask.
//!
//! A change that is larger than all of it is not judged over HTTP, rather than from a part of what is on record.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use evidence::ENTRIES_MAX;
use ledger::entry::Header;
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
/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// The events of a change that are on record.
pub struct Found {
    change: ChangeId,
    /// Their places in the log, oldest first.
    pub indices: Vec<u64>,
    /// Bytes of their payloads.
    bytes: u64,
}

impl Found {
    /// Those of a change now. Blocking.
    pub fn of(open: &OpenTenant, change: &ChangeId) -> Result<Self, Problem> {
        let size = open.log.head().map_err(|error| log_failed(&error))?.size;
        let indices = open.change_indices(change, size)?;
        let mut bytes = 0;
        // What is too much by its number is not measured.
        for index in indices.iter().take(ENTRIES_MAX) {
            if let Some(Header::Event(header)) =
                open.log.header(*index).map_err(|error: ReadError| log_failed(&error))?
            {
                bytes += header.size;
            }
        }
        Ok(Self { change: change.clone(), indices, bytes })
    }
}

/// How much room there is.
pub struct Room(Arc<Semaphore>);

/// Room that is taken, until the value is dropped.
pub struct Held(#[expect(dead_code, reason = "it is given back when dropped")] OwnedSemaphorePermit);

impl Room {
    /// All of it free.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(kib(BYTES_MAX) as usize)))
    }

    /// Waits for room for a change's events. Blocking; on a thread that may block.
    pub fn take(&self, found: &Found) -> Result<Held, Problem> {
        let count = found.indices.len();
        let bytes = found.bytes + count as u64 * EVENT_BYTES;
        if count > ENTRIES_MAX || bytes > BYTES_MAX {
            return Err(too_large(found));
        }
        let asked = Arc::clone(&self.0).acquire_many_owned(kib(bytes));
        match Handle::current().block_on(async { timeout(PATIENCE, asked).await }) {
            Ok(Ok(room)) => Ok(Held(room)),
            Ok(Err(_)) => Err(Problem::unavailable("the server is stopping")),
            Err(_) => Err(Problem::unavailable("other large changes are being judged")),
        }
    }
}

/// Whole KiB, rounded up: what room is counted in.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn too_large(found: &Found) -> Problem {
    let (count, most) = (found.indices.len(), BYTES_MAX >> 20);
    let detail = format!(
        "change {} has {count} events with {} bytes or more, expected at most {ENTRIES_MAX} events and {most} MiB: it is not judged from a part of them; \
         its list of events and its evidence pack have all",
        found.change, found.bytes
    );
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_large", "The change is too large to be judged here", detail)
        .with("change", found.change.as_str())
        .with("events", count)
        .with("bytes", found.bytes)
}

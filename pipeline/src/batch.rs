//! What travels between the threads: batches, moved by value, each of one road.

use std::sync::Arc;

use async_nats::{Message, Subject};
use ledger::append::{Committed, Cursor, Item, LogId, Refused};
use projector::facts::Gist;
use schemas::ids::Tenant;
use tokio::sync::watch;

use crate::answer::Problem;
use crate::shared::{Progress, TenantState};

/// One message of a road, as received.
pub(crate) struct Received {
    pub(crate) sequence: u64,
    /// The road's time, nanoseconds since 1970.
    pub(crate) at_ns: u64,
    pub(crate) message: Message,
}

/// `intake` → `admit`: what had arrived.
pub(crate) struct Arrived {
    pub(crate) road: Arc<TenantState>,
    /// Cuts of this road since we started, this one included.
    pub(crate) cuts: u32,
    /// When the stream was made: part of every cursor on it.
    pub(crate) stream_created_ns: u64,
    pub(crate) what: News,
}

/// In the order of the road.
pub(crate) enum News {
    /// Another stream begins; alone in its batch.
    Cut { at_ms: u64 },
    /// Messages, after what is missing before the first of them.
    Messages { gap: Option<(u64, u64, u64)>, messages: Vec<Received> },
}

/// `admit` → `append`: what to append.
pub(crate) struct Admitted {
    pub(crate) road: Arc<TenantState>,
    pub(crate) cuts: u32,
    pub(crate) items: Vec<Item>,
    pub(crate) cursor: Cursor,
    pub(crate) replies: Replies,
    pub(crate) gists: Gists,
}

/// Gists of admitted events for the views, by road sequence, ascending.
pub(crate) type Gists = Vec<(u64, Gist)>;

/// Who wants to hear what became of the messages of a batch, in the order of the road.
#[derive(Default)]
pub(crate) struct Replies {
    /// Sequence and where to answer.
    pub(crate) asked: Vec<(u64, Subject)>,
    /// Sequence and what was wrong, for all rejections.
    pub(crate) problems: Vec<(u64, Problem)>,
}

impl Replies {
    /// Adds what was refused when its turn came, keeping the order of the road.
    pub(crate) fn refuse(&mut self, refused: &[Refused]) {
        for Refused { road_sequence, reason, details } in refused {
            let problem = Problem::new(*reason, &details.path, &details.found, &details.expected);
            let problem = Problem { subject: Some(details.subject.clone()), ..problem };
            self.problems.push((*road_sequence, problem));
        }
        if !refused.is_empty() {
            self.problems.sort_by_key(|(sequence, _)| *sequence);
        }
    }

    pub(crate) fn append(&mut self, mut later: Self) {
        self.asked.append(&mut later.asked);
        self.problems.append(&mut later.problems);
    }
}

/// To `answer`.
pub(crate) enum Answers {
    /// From `append`: a durable round, with who waits for it, log by log as in the round.
    Round { committed: Arc<Committed>, parts: Vec<AnswerPart> },
    /// From `intake`, once after a start: messages that were durable before, whose answers may not have been sent.
    Again { road: Arc<TenantState>, messages: Vec<Received> },
}

/// One log's share of a round's answers.
pub(crate) struct AnswerPart {
    pub(crate) road: Arc<TenantState>,
    pub(crate) cuts: u32,
    /// The round's cursor: once all is sent, everything up to here is answered.
    pub(crate) sequence: u64,
    pub(crate) replies: Replies,
}

/// A log whose views are kept.
pub(crate) struct View {
    pub(crate) tenant: Tenant,
    pub(crate) log: LogId,
    pub(crate) progress: watch::Sender<Progress>,
}

/// A durable round, whose it is, and the gists of its events, log by log as in the round.
pub(crate) struct Durable {
    pub(crate) committed: Arc<Committed>,
    pub(crate) shares: Vec<(Arc<TenantState>, Gists)>,
}

/// Entries of a round that only a backlog fills: what trickles in makes rounds of a few dozen while one is synced.
const BACKLOG_ROUND: usize = 512;

impl Durable {
    /// Whether so much came that more waits behind it.
    pub(crate) fn is_of_backlog(&self) -> bool {
        self.committed.logs().iter().map(|log| log.rows.len()).sum::<usize>() >= BACKLOG_ROUND
    }
}

/// To `project`.
pub(crate) enum Projectable {
    /// A road that is followed from now on.
    Road(View),
    /// A durable round.
    Round(Durable),
    /// Finish what is durable, then end.
    Stop,
}

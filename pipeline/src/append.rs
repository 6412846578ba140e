//! The `append` thread: the only one that writes the ledger.
//!
//! It takes what is waiting, of up to 64 logs, makes one round of it (look up, extend, seal, commit), and hands the durable round
//! on to be answered and projected. Answers need a `&Committed`, so nothing that is not durable can be confirmed. A write that
//! fails ends the thread: what is on disk is unknown until the store is opened again, and nothing may be appended to a guess.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use ledger::append::{self, Committed, ExtendError, Head, Item, LoadError, LogId, MAX_LOGS, Poisoned, Sealed, Turn};
use ledger::kv::Kv;
use ledger::read::ReadError;
use tokio::sync::{mpsc, watch};

use crate::batch::{Admitted, AnswerPart, Answers, Projectable, Replies};
use crate::kept::{self, KeptHeads, NotKept};
use crate::shared::{Common, Position, TenantState};

/// Items of a round: above this a round gains nothing and holds up its first answer.
const ROUND_ITEMS: usize = 8_192;
/// Payload bytes of a round.
const ROUND_BYTES: usize = 16 << 20;
/// Under this name the appender's trouble is kept.
pub(crate) const WHO: &str = "append";

/// Where durable rounds go.
pub(crate) struct Outlets {
    pub(crate) answers: mpsc::Sender<Answers>,
    pub(crate) project: SyncSender<Projectable>,
}

/// Where heads are kept between commit and release, and whether to wait for it.
pub(crate) struct Keeping {
    pub(crate) kept: Arc<dyn KeptHeads>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Why nothing more is appended.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the store could not be read: {0}")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("a defect: {0}")]
    Extend(#[from] ExtendError),
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    #[error(transparent)]
    NotKept(#[from] NotKept),
    #[error("nobody is left to answer")]
    NoAnswers,
}

/// Runs until admission ends, or until a round could not be written.
pub(crate) fn run<K: Kv>(
    kv: &K,
    admitted: Receiver<Admitted>,
    outlets: &Outlets,
    keeping: Option<&Keeping>,
    common: &Common,
) {
    let mut appender = Appender { kv, outlets, keeping, common, heads: HashMap::new() };
    let mut waiting = Waiting { admitted, held: VecDeque::new() };
    while let Some(round) = waiting.next_round() {
        if let Err(stopped) = appender.append(round) {
            let reason = with_causes(&stopped);
            common.troubles.set(WHO, format!("nothing is appended any more, restart to go on: {reason}"));
            return;
        }
    }
}

/// What one log has in a round.
struct Share {
    road: Arc<TenantState>,
    cuts: u32,
    turn: Turn,
    replies: Replies,
}

/// Batches that wait, in the order of their arrival.
struct Waiting {
    admitted: Receiver<Admitted>,
    /// Taken from the channel, but not fit for the round that was being made.
    held: VecDeque<Admitted>,
}

impl Waiting {
    /// Waits for a batch, and groups what waits with it. None when admission has ended and all is taken.
    fn next_round(&mut self) -> Option<Vec<Share>> {
        let mut round: Vec<Share> = Vec::new();
        let mut next = match self.held.pop_front() {
            Some(held) => held,
            None => self.admitted.recv().ok()?,
        };
        let (mut items, mut bytes) = (0, 0);
        loop {
            items += next.items.len();
            bytes += next.items.iter().map(Item::payload_len).sum::<usize>();
            if let Some(unfit) = join(&mut round, next) {
                self.held.push_front(unfit);
                return Some(round);
            }
            if items >= ROUND_ITEMS || bytes >= ROUND_BYTES {
                return Some(round);
            }
            next = match self.held.pop_front().or_else(|| self.admitted.try_recv().ok()) {
                Some(next) => next,
                None => return Some(round),
            };
        }
    }
}

/// Puts a batch into the round; gives it back where it has to wait for the next one: the sequences of two roads don't mix.
fn join(round: &mut Vec<Share>, next: Admitted) -> Option<Admitted> {
    let place = round.iter().position(|share| share.road.log == next.road.log);
    let Some(place) = place else {
        if round.len() == MAX_LOGS {
            return Some(next);
        }
        let Admitted { road, cuts, items, cursor, replies } = next;
        let turn = Turn { log: road.log, items, cursor, answered: road.answered(cuts).min(cursor.sequence) };
        round.push(Share { road, cuts, turn, replies });
        return None;
    };
    let share = &mut round[place];
    if share.cuts != next.cuts {
        return Some(next);
    }
    share.turn.items.extend(next.items);
    share.turn.cursor = next.cursor;
    share.replies.append(next.replies);
    None
}

struct Appender<'a, K> {
    kv: &'a K,
    outlets: &'a Outlets,
    keeping: Option<&'a Keeping>,
    common: &'a Common,
    heads: HashMap<LogId, Head>,
}

impl<K: Kv> Appender<'_, K> {
    fn append(&mut self, round: Vec<Share>) -> Result<(), Stopped> {
        let mut roads = Vec::with_capacity(round.len());
        let mut parts = Vec::with_capacity(round.len());
        let mut turns = Vec::with_capacity(round.len());
        for Share { road, cuts, turn, replies } in round {
            parts.push(AnswerPart { road: Arc::clone(&road), cuts, sequence: turn.cursor.sequence, replies });
            roads.push(road);
            turns.push(turn);
        }
        let sealed = self.seal(&roads, turns)?;
        let begun = (self.common.stopwatch)();
        let (committed, heads) = append::commit(self.kv, sealed)?;
        self.common.rounds.committed((self.common.stopwatch)().saturating_sub(begun));
        if let Some(Keeping { kept, stop }) = self.keeping {
            kept::keep(&**kept, &committed, self.common, stop)?;
        }
        for ((road, part), (head, log)) in roads.iter().zip(&parts).zip(heads.iter().zip(committed.logs())) {
            road.counters.committed(log);
            road.set_committed(Position { cuts: part.cuts, cursor: head.cursor });
            road.progress.send_modify(|progress| {
                (progress.committed, progress.road) = (head.size, head.cursor.sequence);
            });
        }
        self.heads.extend(heads.into_iter().map(|head| (head.log, head)));
        self.hand_on(Arc::new(committed), roads, parts)
    }

    fn seal(&mut self, roads: &[Arc<TenantState>], turns: Vec<Turn>) -> Result<Vec<Sealed>, Stopped> {
        let known = append::look_up(self.kv, &turns)?;
        let mut sealed = Vec::with_capacity(turns.len());
        for ((turn, known), road) in turns.into_iter().zip(&known).zip(roads) {
            if !self.heads.contains_key(&turn.log) {
                self.heads.insert(turn.log, append::load_head(self.kv, turn.log)?);
            }
            let extension = append::extend(&self.heads[&turn.log], turn, known)?;
            sealed.push(extension.seal(&road.signer));
        }
        Ok(sealed)
    }

    fn hand_on(
        &self,
        committed: Arc<Committed>,
        roads: Vec<Arc<TenantState>>,
        parts: Vec<AnswerPart>,
    ) -> Result<(), Stopped> {
        match self.outlets.project.try_send(Projectable::Round { committed: Arc::clone(&committed), roads }) {
            // Full: it will find the entries in the store. Gone: views can be rebuilt, answers can't.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
        self.outlets.answers.blocking_send(Answers::Round { committed, parts }).map_err(|_| Stopped::NoAnswers)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

//! The `append` thread: the only one that writes the ledger.
//!
//! It takes what is waiting, of up to 64 logs, makes one round of it (look up, extend, seal, commit), and hands the durable round
//! on to be answered and projected. Control messages are decided about here, in their turn, and every accepted act is listed in
//! `_ledger` in the same round; signs of life are written here, when they are due. Answers need a `&Committed`, so nothing that is not durable can be confirmed. A write that
//! fails ends the thread: what is on disk is unknown until the store is opened again, and nothing may be appended to a guess.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use ledger::append::{
    self, Committed, Desk, DeskError, DeskGuard, ExtendError, Extension, Head, Item, LoadError, LogId, MAX_LOGS,
    Poisoned, Sealed, Turn,
};
use ledger::checkpoint::Origin;
use ledger::governance::{self, LogKeys};
use ledger::kv::Kv;
use ledger::read::{Log, ReadError};
use ledger::signing::{PublicKey, Signer};
use tokio::sync::{mpsc, watch};

use crate::batch::{Admitted, AnswerPart, Answers, Durable, Gists, Projectable, Replies};
use crate::config::{FindSigner, Signing};
use crate::heartbeat::due_after;
use crate::kept::{self, KeptHeads, NotKept};
use crate::shared::{Common, Position, TenantState};

/// Items of a round: above this a round gains nothing and holds up its first answer.
const ROUND_ITEMS: usize = 8_192;
/// Tenants' logs of a round: `_ledger` may come on top.
const ROUND_LOGS: usize = MAX_LOGS - 1;
/// Payload bytes of a round.
const ROUND_BYTES: usize = 16 << 20;
/// How long a round of a backlog waits for views, milliseconds.
const VIEWS_PATIENCE_MS: u32 = 250;
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
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error(
        "the secret of {origin}'s log key {key} is missing from keys/: restore it, or declare it lost with `upm keys recover`"
    )]
    NoKey { origin: Origin, key: PublicKey },
    #[error("nobody is left to answer")]
    NoAnswers,
}

/// How often it is looked whether a sign of life is due, while nothing arrives.
const TICK: Duration = Duration::from_millis(250);

/// Runs until admission ends, or until a round could not be written.
pub(crate) fn run<K: Kv>(
    kv: &K,
    admitted: Receiver<Admitted>,
    outlets: &Outlets,
    keeping: Option<&Keeping>,
    common: &Common,
    signing: &Signing,
) {
    let mut appender =
        Appender { kv, outlets, keeping, common, signing, logs: HashMap::new(), ledger_due: 0, views_follow: true };
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
    gists: Gists,
}

/// Batches that wait, in the order of their arrival.
struct Waiting {
    admitted: Receiver<Admitted>,
    /// Taken from the channel, but not fit for the round that was being made.
    held: VecDeque<Admitted>,
}

impl Waiting {
    /// Waits for a batch, and groups what waits with it. Empty when nothing came for a while; none when admission has ended and
    /// all is taken.
    fn next_round(&mut self) -> Option<Vec<Share>> {
        let mut round: Vec<Share> = Vec::new();
        let mut next = match self.held.pop_front() {
            Some(held) => held,
            None => match self.admitted.recv_timeout(TICK) {
                Ok(next) => next,
                Err(RecvTimeoutError::Timeout) => return Some(round),
                Err(RecvTimeoutError::Disconnected) => return None,
            },
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
        if round.len() == ROUND_LOGS {
            return Some(next);
        }
        let Admitted { road, cuts, items, cursor, replies, gists } = next;
        let turn = Turn { log: road.log, items, cursor, answered: road.answered(cuts).min(cursor.sequence) };
        round.push(Share { road, cuts, turn, replies, gists });
        return None;
    };
    let share = &mut round[place];
    if share.cuts != next.cuts {
        return Some(next);
    }
    share.turn.items.extend(next.items);
    share.turn.cursor = next.cursor;
    share.replies.append(next.replies);
    share.gists.extend(next.gists);
    None
}

struct Appender<'a, K> {
    kv: &'a K,
    outlets: &'a Outlets,
    /// Whether the last full round was taken by the views in time.
    views_follow: bool,
    keeping: Option<&'a Keeping>,
    common: &'a Common,
    signing: &'a Signing,
    logs: HashMap<LogId, Governed>,
    /// When `_ledger` beats next.
    ledger_due: u64,
}

/// A log as the next round finds it.
struct Governed {
    head: Head,
    /// Who signs which size.
    keys: LogKeys,
    /// The secrets that were needed so far.
    signers: Vec<Signer>,
    /// When it beats next, milliseconds since 1970.
    due: u64,
}

/// A round on its way: what is decided of each log, and whom it concerns.
struct Decided {
    sealed: Vec<Sealed>,
    /// What becomes of the keys of logs whose acts changed them.
    keys: Vec<(LogId, LogKeys)>,
    /// Keeps births out of `_ledger` until the round is written.
    desk: Option<DeskGuard>,
}

impl<K: Kv> Appender<'_, K> {
    fn append(&mut self, round: Vec<Share>) -> Result<(), Stopped> {
        let mut roads = Vec::with_capacity(round.len());
        let mut parts = Vec::with_capacity(round.len());
        let mut turns = Vec::with_capacity(round.len());
        let mut gists = Vec::with_capacity(round.len());
        for Share { road, cuts, turn, replies, gists: read } in round {
            parts.push(AnswerPart { road: Arc::clone(&road), cuts, sequence: turn.cursor.sequence, replies });
            roads.push(road);
            turns.push(turn);
            gists.push(read);
        }
        let ledger_beats = self.beat(&mut roads, &mut turns)?;
        if turns.is_empty() && ledger_beats.is_none() {
            return Ok(());
        }
        let Decided { sealed, keys, desk } = self.decide(&mut parts, turns, ledger_beats)?;
        let begun = (self.common.stopwatch)();
        let (committed, heads) = append::commit(self.kv, sealed)?;
        self.common.rounds.committed((self.common.stopwatch)().saturating_sub(begun));
        (self.signing.committed)(&committed);
        if let Some(Keeping { kept, stop }) = self.keeping {
            kept::keep(&**kept, &committed, self.common, stop)?;
        }
        // Not before: whoever is born meanwhile keeps a later head of `_ledger`.
        drop(desk);
        for (road, (head, log)) in roads.iter().zip(heads.iter().zip(committed.logs())) {
            road.counters.committed(log);
            road.progress.send_modify(|progress| {
                (progress.committed, progress.road) = (head.size, head.cursor.sequence);
            });
        }
        for (part, head) in parts.iter().zip(&heads) {
            part.road.set_committed(Position { cuts: part.cuts, cursor: head.cursor });
        }
        for head in heads {
            if let Some(log) = self.logs.get_mut(&head.log) {
                log.head = head;
            }
        }
        for (log, keys) in keys {
            if let Some(log) = self.logs.get_mut(&log).filter(|log| log.keys != keys) {
                log.keys = keys;
                (self.signing.rekeyed)();
            }
        }
        // Roads that only beat have none.
        gists.resize_with(roads.len(), Gists::new);
        self.hand_on(Arc::new(committed), roads.into_iter().zip(gists).collect(), parts)
    }

    /// Puts the signs of life that are due before everything else of the round; logs without anything else come last. Tells when
    /// `_ledger` beats, if it does.
    fn beat(&mut self, roads: &mut Vec<Arc<TenantState>>, turns: &mut Vec<Turn>) -> Result<Option<u64>, Stopped> {
        let Some(every) = self.signing.heartbeat else { return Ok(None) };
        let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let now = (self.common.clock)();
        for road in self.common.beating() {
            let place = turns.iter().position(|turn| turn.log == road.log);
            if place.is_none() && turns.len() == ROUND_LOGS {
                continue;
            }
            let cosigned = &self.signing.cosigned;
            let log = self.governed(road.log)?;
            if log.due == 0 {
                log.due = due_after(log.head.at_ms, every);
            }
            if now < log.due {
                continue;
            }
            log.due = due_after(now.max(log.head.at_ms), every);
            let beat = Item::Heartbeat { at_ms: now, cosigned: cosigned(road.log) };
            if let Some(place) = place {
                turns[place].items.insert(0, beat);
            } else {
                let Head { cursor, answered, .. } = log.head;
                turns.push(Turn { log: road.log, items: vec![beat], cursor, answered });
                roads.push(road);
            }
        }
        Ok(self.ledger_is_due(now, every)?.then_some(now))
    }

    fn ledger_is_due(&mut self, now: u64, every: u64) -> Result<bool, Stopped> {
        if self.ledger_due == 0 {
            self.ledger_due = due_after(append::load_head(self.kv, LogId::LEDGER)?.at_ms, every);
        }
        let due = now >= self.ledger_due;
        if due {
            self.ledger_due = due_after(now, every);
        }
        Ok(due)
    }

    /// Decides what each log appends, lists what was done in `_ledger`, and signs.
    fn decide(
        &mut self,
        parts: &mut [AnswerPart],
        mut turns: Vec<Turn>,
        ledger_beats: Option<u64>,
    ) -> Result<Decided, Stopped> {
        let acts = turns.iter().any(|turn| turn.items.iter().any(|item| matches!(item, Item::Control(_))));
        let mut desk = (acts || ledger_beats.is_some()).then(|| Desk::open(self.kv)).transpose()?;
        if let (Some(desk), Some(at_ms)) = (&mut desk, ledger_beats) {
            desk.heartbeat(at_ms, (self.signing.cosigned)(LogId::LEDGER)).map_err(ExtendError::Entry)?;
        }
        if acts {
            self.find_new_keys(&mut turns)?;
        }
        let known = append::look_up(self.kv, &turns)?;
        let signing = self.signing;
        let mut decided = Decided { sealed: Vec::with_capacity(turns.len() + 1), keys: Vec::new(), desk: None };
        for (place, (turn, known)) in turns.into_iter().zip(&known).enumerate() {
            let id = turn.log;
            let log = self.governed(id)?;
            let extension = match &mut desk {
                Some(desk) => append::extend_listing(&log.head, turn, known, desk)?,
                None => append::extend(&log.head, turn, known)?,
            };
            if let Some(part) = parts.get_mut(place) {
                part.replies.refuse(extension.refused());
            }
            let keys = extension.governance().map(|governance| governance.log_keys().clone());
            decided.sealed.push(log.seal(extension, keys.as_ref(), &signing.find)?);
            decided.keys.extend(keys.map(|keys| (id, keys)));
        }
        if let Some(desk) = desk.filter(Desk::is_used) {
            let (extension, guard) = desk.finish();
            let keys = extension.governance().map(|governance| governance.log_keys().clone());
            let keys = keys.ok_or(ExtendError::NoGovernance)?;
            let mut ledger = Governed { head: extension.head().clone(), keys, signers: Vec::new(), due: 0 };
            decided.sealed.push(ledger.seal(extension, None, &signing.find)?);
            decided.desk = Some(guard);
        }
        Ok(decided)
    }

    /// For every change of a log key: whether its secret is here. One that is not would be the log's end.
    fn find_new_keys(&mut self, turns: &mut [Turn]) -> Result<(), Stopped> {
        let find = &self.signing.find;
        for turn in turns {
            for item in &mut turn.items {
                let Item::Control(control) = item else { continue };
                let Some(change) = governance::key_change(&control.message) else { continue };
                control.new_key_here = self.governed(turn.log)?.holds(&change.new, find);
            }
        }
        Ok(())
    }

    /// The log as it stands, read from the store the first time.
    fn governed(&mut self, id: LogId) -> Result<&mut Governed, Stopped> {
        if !self.logs.contains_key(&id) {
            let head = append::load_head(self.kv, id)?;
            let keys = Log::open(self.kv, id)?.governance()?.log_keys().clone();
            self.logs.insert(id, Governed { head, keys, signers: Vec::new(), due: 0 });
        }
        self.logs.get_mut(&id).ok_or(Stopped::Load(LoadError::NoLog { log: id }))
    }

    fn hand_on(
        &mut self,
        committed: Arc<Committed>,
        shares: Vec<(Arc<TenantState>, Gists)>,
        parts: Vec<AnswerPart>,
    ) -> Result<(), Stopped> {
        let durable = Durable { committed: Arc::clone(&committed), shares };
        self.outlets.answers.blocking_send(Answers::Round { committed, parts }).map_err(|_| Stopped::NoAnswers)?;
        self.project(durable);
        Ok(())
    }

    /// Hands a round to the views. They find in the store what they are not given, at twice the price: so what a backlog fills waits a while
    /// for those that are only slow, and no round waits for those that were waited for in vain.
    fn project(&mut self, durable: Durable) {
        let mut patience = if durable.is_of_backlog() && self.views_follow { VIEWS_PATIENCE_MS } else { 0 };
        let mut round = Projectable::Round(durable);
        // Without a receiver it is as if it were sent: views can be rebuilt, answers can't.
        while let Err(TrySendError::Full(back)) = self.outlets.project.try_send(round) {
            if patience == 0 {
                self.views_follow = false;
                return;
            }
            patience -= 1;
            round = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.views_follow = true;
    }
}

impl Governed {
    /// Whether the secret of a key is here, which may be asked for in vain by whoever has not put it here yet.
    fn holds(&mut self, key: &PublicKey, find: &FindSigner) -> bool {
        if self.signers.iter().any(|signer| signer.public_key() == *key) {
            return true;
        }
        let found = find(&self.head.origin, key).filter(|signer| signer.public_key() == *key);
        let found = found.filter(|signer| *signer.name() == self.head.origin);
        let here = found.is_some();
        self.signers.extend(found);
        here
    }

    /// Signs with every key that signs the new size; `keys` are the log's keys after this round, where it changed them.
    fn seal(&mut self, extension: Extension, keys: Option<&LogKeys>, find: &FindSigner) -> Result<Sealed, Stopped> {
        let size = extension.head().size;
        let wanted: Vec<PublicKey> = keys.unwrap_or(&self.keys).signing(size).map(|signing| signing.key).collect();
        for key in &wanted {
            if !self.holds(key, find) {
                return Err(Stopped::NoKey { origin: self.head.origin.clone(), key: *key });
            }
        }
        let signers: Vec<&Signer> =
            wanted.iter().filter_map(|key| self.signers.iter().find(|signer| signer.public_key() == *key)).collect();
        Ok(extension.seal_by(&signers))
    }
}

pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

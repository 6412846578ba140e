//! The `admit` thread: bytes → items to append, secrets masked, duplicates made recognisable.
//!
//! Events are `schemas::admit`'s to judge. Control messages are only handed on: whether one is the next act depends on what was
//! appended before it, so that the appender decides. Nothing is looked up and nothing written here, so this goes on while the
//! previous round is being synced.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use async_nats::{Message, Subject as NatsSubject};
use bytes::Bytes;
use ledger::append::{Cursor, Item, PendingControl, PendingEvent, PendingRejection};
use ledger::dedupe::Fingerprint;
use ledger::entry::{Salt, commitment};
use ledger::hash::Hash;
use projector::facts::Gist;
use schemas::admit::{Rejection, Scratch};
use schemas::ids::Subject;
use schemas::reason::Reason;
use schemas::{admit, ids, redact, rules};
use tokio::sync::mpsc;

use crate::answer::{Problem, RECEIPT_HEADER, may_answer_to};
use crate::batch::{Admitted, Arrived, Gists, News, Received, Replies};
use crate::shared::{Common, Position, TenantState};

/// Subjects remembered as parsed; a tenant has a handful, unless somebody makes up producers.
const SUBJECTS_MAX: usize = 4_096;
/// Where control messages come.
const CONTROL: &str = "upm.control.";
/// Bytes of a control message, at most: the longest body, its listing and 16 signatures stay far below.
const MAX_CONTROL_BYTES: usize = 256 * 1_024;
/// Longest text of what was found, in an answer.
const FOUND_CHARS: usize = 64;

/// Runs until the intake ends or the appender does.
pub(crate) fn run(mut arrived: mpsc::Receiver<Arrived>, to_append: &SyncSender<Admitted>, common: &Common) {
    let mut state =
        Admitter { scratch: Scratch::default(), subjects: HashMap::new(), rules: Hash(rules::current().name) };
    while let Some(arrived) = arrived.blocking_recv() {
        let admitted = state.admit(arrived, common);
        let position = Position { cuts: admitted.cuts, cursor: admitted.cursor };
        let road = Arc::clone(&admitted.road);
        if to_append.send(admitted).is_err() {
            return;
        }
        road.set_admitted(position);
    }
}

struct Admitter {
    scratch: Scratch,
    subjects: HashMap<String, Subject>,
    /// Name of the rules in force.
    rules: Hash,
}

impl Admitter {
    fn admit(&mut self, arrived: Arrived, common: &Common) -> Admitted {
        let Arrived { road, cuts, stream_created_ns, what } = arrived;
        let mut cursor = Cursor { stream_created_ns, ..Cursor::default() };
        let (mut replies, mut gists) = (Replies::default(), Gists::new());
        let mut items = Vec::new();
        match what {
            News::Cut { at_ms } => items.push(Item::Epoch { stream_created_ns, at_ms }),
            News::Messages { gap, messages } => {
                items.reserve(messages.len() + 1);
                gists.reserve(messages.len());
                items.extend(gap.map(|(from, to, at_ms)| Item::Gap { from, to, at_ms }));
                let mut salts = salts(messages.len(), common);
                for (received, salt) in messages.iter().zip(&mut salts) {
                    let subject = received.message.subject.as_str();
                    let fingerprint = road.dedupe.fingerprint(subject, &received.message.payload);
                    let item = self.item(&road, received, fingerprint, Salt(*salt), &mut replies, common);
                    gists.extend(self.gist(&item));
                    items.push(item);
                    (cursor.sequence, cursor.at_ns, cursor.digest) = (received.sequence, received.at_ns, fingerprint);
                }
            }
        }
        Admitted { road, cuts, items, cursor, replies, gists }
    }

    /// What the views want to know of an event, read while it is on the tape.
    fn gist(&self, item: &Item) -> Option<(u64, Gist)> {
        let Item::Event(event) = item else { return None };
        let gist = Gist::of(&event.payload, self.scratch.tape(), event.facts.phase)?;
        Some((event.road_sequence, gist))
    }

    fn item(
        &mut self,
        road: &TenantState,
        received: &Received,
        fingerprint: Fingerprint,
        salt: Salt,
        replies: &mut Replies,
        common: &Common,
    ) -> Item {
        let Received { sequence, at_ns, message } = received;
        if let Some(reply) = asks_for_answer(message, road) {
            replies.asked.push((*sequence, reply));
        }
        let at_ms = at_ns / 1_000_000;
        if let Some(control) = self.control(received, fingerprint, salt, common) {
            return Item::Control(control);
        }
        match self.judge(message) {
            Ok((producer, admitted)) => Item::Event(PendingEvent {
                road_sequence: *sequence,
                at_ms,
                fingerprint,
                change_key: road.dedupe.change_key(&admitted.facts.change),
                salt,
                commit: commitment(&salt, &admitted.payload),
                producer,
                facts: admitted.facts,
                payload: kept(admitted.payload, &message.payload),
                masked: admitted.masked,
                rules: self.rules,
            }),
            Err(rejection) => {
                let subject = message.subject.to_string();
                let problem = Problem { subject: Some(subject.clone()), ..Problem::of(&rejection) };
                replies.problems.push((*sequence, problem));
                let Rejection { reason, path, found, expected, payload, masked } = rejection;
                Item::Rejection(PendingRejection {
                    road_sequence: *sequence,
                    at_ms,
                    salt,
                    subject,
                    reason,
                    path,
                    found,
                    expected,
                    payload,
                    masked,
                    rules: self.rules,
                })
            }
        }
    }

    /// A message on the control subject, to be decided about when its turn comes.
    fn control(
        &self,
        received: &Received,
        fingerprint: Fingerprint,
        salt: Salt,
        common: &Common,
    ) -> Option<PendingControl> {
        let Received { sequence, at_ns, message } = received;
        let subject = message.subject.as_str();
        if !subject.starts_with(CONTROL) || message.payload.len() > MAX_CONTROL_BYTES {
            return None;
        }
        let mut listing_salt = Salt([0; 16]);
        (common.entropy)(&mut listing_salt.0);
        Some(PendingControl {
            road_sequence: Some(*sequence),
            at_ms: at_ns / 1_000_000,
            fingerprint,
            salt,
            listing_salt,
            subject: subject.to_owned(),
            message: message.payload.to_vec(),
            // Who holds which secret is the appender's to know.
            new_key_here: false,
            rules: self.rules,
        })
    }

    fn judge<'a>(&mut self, message: &'a Message) -> Result<(Option<ids::Producer>, admit::Admitted<'a>), Rejection> {
        let subject = message.subject.as_str();
        if subject.starts_with(CONTROL) {
            let found = format!("{} bytes", message.payload.len());
            return Err(reject(Reason::TooLarge, &found, "a control message of at most 256 KiB", &message.payload));
        }
        if !self.subjects.contains_key(subject) {
            let parsed = Subject::parse(subject).map_err(|error| refuse_subject(subject, &error, &message.payload))?;
            if self.subjects.len() >= SUBJECTS_MAX {
                self.subjects.clear();
            }
            self.subjects.insert(subject.to_owned(), parsed);
        }
        let subject = &self.subjects[subject];
        let admitted = admit::admit(subject, &message.payload, &mut self.scratch)?;
        Ok((subject.producer.clone(), admitted))
    }
}

/// The bytes to store: those that were read, which are not copied, or what masking made of them.
fn kept(payload: Cow<'_, [u8]>, read: &Bytes) -> Bytes {
    match payload {
        Cow::Borrowed(_) => read.clone(),
        Cow::Owned(masked) => masked.into(),
    }
}

/// Where a message asks its answer to be sent, if it may be sent there.
pub(crate) fn asks_for_answer(message: &Message, road: &TenantState) -> Option<NatsSubject> {
    let wanted = message.headers.as_ref()?.get(RECEIPT_HEADER)?.as_str();
    if may_answer_to(wanted, &road.tenant) {
        return Some(wanted.into());
    }
    tracing::debug!(tenant = %road.tenant, wanted, "no answer: only _INBOX.> and upm.receipts.<tenant>.> may be asked for");
    None
}

/// One draw of randomness for a whole batch.
fn salts(count: usize, common: &Common) -> Vec<[u8; 16]> {
    let mut bytes = vec![[0; 16]; count];
    (common.entropy)(bytes.as_flattened_mut());
    bytes
}

/// A subject of the stream that is not one of ours: its phase or its producer is not what it should be.
fn refuse_subject(subject: &str, error: &ids::IdError, bytes: &[u8]) -> Rejection {
    let token = |place| subject.split('.').nth(place).unwrap_or_default();
    let phase_known = ids::Phase::parse(token(3)).is_ok();
    let (reason, found) = if phase_known { (Reason::BadId, token(4)) } else { (Reason::UnknownPhase, token(3)) };
    reject(reason, &format!("subject token {found:?}"), error.expected, bytes)
}

fn reject(reason: Reason, found: &str, expected: &str, bytes: &[u8]) -> Rejection {
    let (payload, masked) = redact::mask_lexically(bytes);
    let found = redact::mask_text(found).0.chars().take(FOUND_CHARS).collect();
    Rejection { reason, path: String::new(), found, expected: expected.to_owned(), payload, masked }
}

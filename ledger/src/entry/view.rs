//! An entry read in place: what a pass over millions of headers asks of each, without copying them.
//!
//! [`View::read`] accepts exactly what [`Header::decode`] accepts. The usual event is read by a grammar that has one spelling only,
//! that of [`Header::encode`]; whatever that does not understand (escapes, other kinds, damage) goes the general way.

use std::borrow::Cow;

use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase, Producer};

use super::{EntryError, EventHeader, Header, MAX_ENTRY_BYTES, MAX_NUMBER};
use crate::encoding;
use crate::hash::Hash;

/// One entry's header, borrowed where that is possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View<'a> {
    /// An accepted event.
    Event(EventView<'a>),
    /// Any other kind.
    Other(Header),
}

/// What an event's header says, but for what only its payload can be compared with (`commit`, `size`, `masked`, `rules`) and the road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView<'a> {
    /// The change that it belongs to.
    pub change: Cow<'a, str>,
    /// Position within the change, from 0.
    pub seq: u64,
    /// Leaf hash of the change's previous event; absent exactly at `seq` 0.
    pub prev: Option<Hash>,
    /// The event's own id.
    pub id: Cow<'a, str>,
    /// Its phase.
    pub phase: Phase,
    /// Its environment.
    pub env: Option<Cow<'a, str>>,
    /// Its change class.
    pub class: Option<ChangeClass>,
    /// A probe, not real work.
    pub probe: bool,
    /// The sections it has.
    pub has: Has,
    /// What it says of the change.
    pub outcome: Outcome,
    /// The producer's time, unix seconds.
    pub ts: i64,
    /// The log's time, unix milliseconds.
    pub at: u64,
}

impl<'a> View<'a> {
    /// The header of an entry's bytes; refuses every other spelling of it.
    pub fn read(entry: &'a [u8]) -> Result<View<'a>, EntryError> {
        if entry.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(entry.len()));
        }
        if let Some(event) = std::str::from_utf8(entry).ok().and_then(|text| event(Reader(text))) {
            return Ok(View::Event(event));
        }
        Ok(match Header::decode(entry)? {
            Header::Event(header) => View::Event(EventView::of(header)),
            other => View::Other(other),
        })
    }

    /// The log's time, unix milliseconds; `None` for an unknown kind.
    pub fn at(&self) -> Option<u64> {
        match self {
            View::Event(event) => Some(event.at),
            View::Other(header) => header.at(),
        }
    }
}

impl EventView<'static> {
    fn of(header: EventHeader) -> Self {
        Self {
            change: Cow::Owned(header.change.as_str().to_owned()),
            seq: header.seq,
            prev: header.prev,
            id: Cow::Owned(header.id.as_str().to_owned()),
            phase: header.phase,
            env: header.env.map(|env| Cow::Owned(env.as_str().to_owned())),
            class: header.class,
            probe: header.probe,
            has: header.has,
            outcome: header.outcome,
            ts: header.ts,
            at: header.at,
        }
    }
}

fn event(mut r: Reader<'_>) -> Option<EventView<'_>> {
    let at = r.number("{\"at\":")?;
    let change = r.text(",\"change\":").filter(|text| ChangeId::check(text).is_ok())?;
    let class = r.optional(",\"class\":", |text| ChangeClass::parse(text).ok())?;
    r.digits(",\"commit\":")?;
    let env = r.optional(",\"env\":", |text| Environment::check(text).is_ok().then_some(text))?;
    let has = r.names(",\"has\":[")?;
    let id = r.text("],\"id\":").filter(|text| EventId::check(text).is_ok())?;
    u32::try_from(r.number(",\"kind\":\"event\",\"masked\":")?).ok()?;
    let outcome = Outcome::parse(r.text(",\"outcome\":")?)?;
    let phase = Phase::parse(r.text(",\"phase\":")?).ok()?;
    let prev = if r.0.starts_with(",\"prev\":") { Some(Hash::parse(r.digits(",\"prev\":")?).ok()?) } else { None };
    let probe = r.literal(",\"probe\":true").is_some();
    r.optional(",\"producer\":", |text| Producer::check(text).ok())?;
    u32::try_from(r.number(",\"road\":[")?).ok()?;
    r.number(",")?;
    r.digits("],\"rules\":")?;
    let seq = r.number(",\"seq\":")?;
    r.number(",\"size\":")?;
    r.literal(",\"ts\":")?;
    let negative = r.literal("-").is_some();
    let seconds = i64::try_from(r.number("")?).ok()?;
    r.literal(",\"v\":1}")?;
    if !r.0.is_empty() || (seq == 0) != prev.is_none() || (negative && seconds == 0) {
        return None;
    }
    let ts = if negative { -seconds } else { seconds };
    let (change, id, env) = (Cow::Borrowed(change), Cow::Borrowed(id), env.map(Cow::Borrowed));
    Some(EventView { change, seq, prev, id, phase, env, class, probe, has, outcome, ts, at })
}

/// Takes off a member with everything that stands before its value.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn literal(&mut self, literal: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    fn number(&mut self, before: &str) -> Option<u64> {
        self.literal(before)?;
        let end = self.0.bytes().position(|b| !b.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        encoding::from_decimal(digits).filter(|number| *number <= MAX_NUMBER)
    }

    fn text(&mut self, before: &str) -> Option<&'a str> {
        self.literal(before)?;
        self.literal("\"")?;
        let end = self.0.bytes().position(|b| b == b'"' || b == b'\\')?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix('"')?;
        Some(text)
    }

    /// `None`: there, and not to be read. `Some(None)`: not there.
    #[expect(
        clippy::option_option,
        reason = "absent and unreadable are different, and `?` has to leave with the latter"
    )]
    fn optional<T>(&mut self, before: &str, parse: impl FnOnce(&'a str) -> Option<T>) -> Option<Option<T>> {
        if !self.0.starts_with(before) {
            return Some(None);
        }
        parse(self.text(before)?).map(Some)
    }

    /// 64 lowercase hex digits.
    fn digits(&mut self, before: &str) -> Option<&'a str> {
        let text = self.text(before)?;
        let plain = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then_some(text)
    }

    /// Names in ascending order, each once.
    fn names(&mut self, before: &str) -> Option<Has> {
        self.literal(before)?;
        let (inner, _) = self.0.split_once(']')?;
        self.0 = &self.0[inner.len()..];
        let mut has = Has::default();
        let mut last = "";
        for quoted in inner.split(',').filter(|_| !inner.is_empty()) {
            let name = quoted.strip_prefix('"')?.strip_suffix('"')?;
            if name <= last {
                return None;
            }
            has.insert(Has::from_names([name])?);
            last = name;
        }
        Some(has)
    }
}

//! The bytes of an event's entry, written and read by hand: every event is written once and read by every rebuild and fsck,
//! and a general serialiser takes several times as long.
//!
//! [`read`] knows only the form that [`write`] writes, and only texts without escapes; `None` says no more than that. Who wants
//! a reason, or an entry with escapes, goes the general way in [`super::wire`].

use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase, Producer};

use super::{EntryError, EventHeader, MAX_NUMBER, Road, wire};
use crate::encoding;
use crate::hash::Hash;

/// Longer than nearly every entry: ids are short.
const USUAL_BYTES: usize = 640;

/// RFC 8785 of the header.
pub(super) fn write(h: &EventHeader) -> Result<Vec<u8>, EntryError> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    say(h, &mut Writer(&mut bytes))?;
    Ok(bytes)
}

/// Whether `entry` is what [`write`] gives, without writing it.
pub(super) fn is_written_as(h: &EventHeader, entry: &[u8]) -> Result<bool, EntryError> {
    let mut left = Some(entry);
    say(h, &mut Writer(&mut left))?;
    Ok(left.is_some_and(<[u8]>::is_empty))
}

fn say<S: Sink>(h: &EventHeader, w: &mut Writer<'_, S>) -> Result<(), EntryError> {
    if (h.seq == 0) != h.prev.is_none() {
        let found = if h.prev.is_some() { "present" } else { "absent" };
        return Err(wire::invalid("prev", format!("{found} at seq {}", h.seq)));
    }
    w.number("{\"at\":", h.at, "at")?;
    w.text(",\"change\":", h.change.as_str());
    w.optional(",\"class\":", h.class.map(ChangeClass::as_str));
    w.hash(",\"commit\":", &h.commit);
    w.optional(",\"env\":", h.env.as_ref().map(Environment::as_str));
    w.names(",\"has\":[", h.has);
    w.text("],\"id\":", h.id.as_str());
    w.number(",\"kind\":\"event\",\"masked\":", u64::from(h.masked), "masked")?;
    w.text(",\"outcome\":", h.outcome.as_str());
    w.text(",\"phase\":", h.phase.as_str());
    if let Some(prev) = &h.prev {
        w.hash(",\"prev\":", prev);
    }
    if h.probe {
        w.raw(",\"probe\":true");
    }
    w.optional(",\"producer\":", h.producer.as_ref().map(Producer::as_str));
    w.number(",\"road\":[", u64::from(h.road.epoch), "road")?;
    w.number(",", h.road.sequence, "road")?;
    w.hash("],\"rules\":", &h.rules);
    w.number(",\"seq\":", h.seq, "seq")?;
    w.number(",\"size\":", h.size, "size")?;
    w.number(if h.ts < 0 { ",\"ts\":-" } else { ",\"ts\":" }, h.ts.unsigned_abs(), "ts")?;
    w.raw(",\"v\":1}");
    Ok(())
}

/// The header of an entry in just the form that [`write`] writes; the caller compares what is written again.
pub(super) fn read(entry: &[u8]) -> Option<EventHeader> {
    let mut r = Reader(std::str::from_utf8(entry).ok()?);
    let at = r.number("{\"at\":")?;
    let change = ChangeId::parse(r.text(",\"change\":")?).ok()?;
    let class = r.optional(",\"class\":", |text| ChangeClass::parse(text).ok())?;
    let commit = r.hash(",\"commit\":")?;
    let env = r.optional(",\"env\":", |text| Environment::parse(text).ok())?;
    let has = r.names(",\"has\":[")?;
    let id = EventId::parse(r.text("],\"id\":")?).ok()?;
    let masked = u32::try_from(r.number(",\"kind\":\"event\",\"masked\":")?).ok()?;
    let outcome = Outcome::parse(r.text(",\"outcome\":")?)?;
    let phase = Phase::parse(r.text(",\"phase\":")?).ok()?;
    let prev = r.optional(",\"prev\":", |text| Hash::parse(text).ok())?;
    let probe = r.literal(",\"probe\":true").is_some();
    let producer = r.optional(",\"producer\":", |text| Producer::parse(text).ok())?;
    let road = Road { epoch: u32::try_from(r.number(",\"road\":[")?).ok()?, sequence: r.number(",")? };
    let rules = r.hash("],\"rules\":")?;
    let seq = r.number(",\"seq\":")?;
    let size = r.number(",\"size\":")?;
    r.literal(",\"ts\":")?;
    let negative = r.literal("-").is_some();
    let seconds = i64::try_from(r.number("")?).ok()?;
    let ts = if negative { -seconds } else { seconds };
    r.literal(",\"v\":1}")?;
    let header = EventHeader {
        change,
        seq,
        prev,
        id,
        phase,
        env,
        class,
        probe,
        producer,
        has,
        outcome,
        ts,
        at,
        road,
        commit,
        size,
        masked,
        rules,
    };
    r.0.is_empty().then_some(header)
}

/// Where bytes go, one piece after the other.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// What is left of bytes that should be the same; none as soon as they are not.
impl Sink for Option<&[u8]> {
    fn put(&mut self, bytes: &[u8]) {
        *self = self.and_then(|left| left.strip_prefix(bytes));
    }
}

/// Says a member with everything that stands before its value.
struct Writer<'s, S>(&'s mut S);

impl<S: Sink> Writer<'_, S> {
    fn raw(&mut self, text: &str) {
        self.0.put(text.as_bytes());
    }

    fn number(&mut self, before: &str, number: u64, member: &'static str) -> Result<(), EntryError> {
        if number > MAX_NUMBER {
            return Err(wire::past_2_53(member, number));
        }
        self.raw(before);
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            // A decimal digit, so it fits.
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.0.put(&digits[at..]);
        Ok(())
    }

    fn text(&mut self, before: &str, text: &str) {
        self.raw(before);
        if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
            self.raw("\"");
            self.raw(text);
            self.raw("\"");
        } else {
            // Its escapes are RFC 8785's; a text cannot fail to serialise into memory.
            self.0.put(&serde_json::to_vec(text).expect("a text serialises"));
        }
    }

    fn optional(&mut self, before: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(before, text);
        }
    }

    fn hash(&mut self, before: &str, hash: &Hash) {
        self.raw(before);
        self.raw("\"");
        self.0.put(&encoding::hex_digits(&hash.0));
        self.raw("\"");
    }

    fn names(&mut self, before: &str, has: Has) {
        self.raw(before);
        for (at, name) in has.iter().enumerate() {
            self.text(if at == 0 { "" } else { "," }, name);
        }
    }
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
        digits.parse().ok()
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
    fn optional<T>(&mut self, before: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
        if !self.0.starts_with(before) {
            return Some(None);
        }
        parse(self.text(before)?).map(Some)
    }

    fn hash(&mut self, before: &str) -> Option<Hash> {
        self.literal(before)?;
        self.literal("\"")?;
        let (digits, rest) = self.0.split_at_checked(64)?;
        self.0 = rest.strip_prefix('"')?;
        Hash::parse(digits).ok()
    }

    fn names(&mut self, before: &str) -> Option<Has> {
        self.literal(before)?;
        let (list, _) = self.0.split_once(']')?;
        self.0 = &self.0[list.len()..];
        if list.is_empty() {
            return Some(Has::default());
        }
        let names: Option<Vec<&str>> = list.split(',').map(|name| name.strip_prefix('"')?.strip_suffix('"')).collect();
        Has::from_names(names?)
    }
}

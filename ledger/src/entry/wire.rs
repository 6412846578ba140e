//! The JSON of an entry. One structure names all members of all kinds in sorted order, so that serialising it is RFC 8785.
//! Events have a way of their own, [`super::event`], and come here only where that does not understand them.
//!
//! Decoding reads it leniently and then demands that the header it got encodes to the very same bytes: that refuses at once
//! whitespace, order, escapes, `null`, arrays for objects, members of another kind, and any other second spelling.

use std::borrow::Cow;

use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase, Producer};
use schemas::reason::Reason;
use serde::{Deserialize, Serialize};

use super::{
    ControlHeader, Cosigned, EntryError, Epoch, EventHeader, First, Gap, Header, Heartbeat, MAX_ADMIN_KEYS,
    MAX_ENTRY_BYTES, MAX_NUMBER, RejectionHeader, Road, event,
};
use crate::checkpoint::Origin;
use crate::control::ControlOp;
use crate::hash::Hash;
use crate::key::PublicKey;
use crate::note::KeyName;

const VERSION: u64 = 1;
const KINDS: [&str; 7] = ["first", "event", "rejection", "control", "heartbeat", "epoch", "gap"];

/// A text that borrows from the entry where it can.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// All members, sorted. Texts are parsed into their types by [`header`].
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Body<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    change: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    class: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<Hash>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    env: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    has: Option<Vec<Text<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    masked: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    outcome: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    phase: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    producer: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    road: Option<(u32, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<i64>,
    v: u64,
}

/// All members of all bodies, sorted.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_keys: Option<Vec<PublicKey>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_key: Option<PublicKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    masked: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    op: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    origin: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key: Option<PublicKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_created: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    witness: Option<Text<'a>>,
}

pub(super) fn encode(header: &Header) -> Result<Vec<u8>, EntryError> {
    let entry = match header {
        Header::Event(header) => event::write(header)?,
        other => serde_json::to_vec(&wire(other)?)?,
    };
    if entry.len() > MAX_ENTRY_BYTES { Err(EntryError::TooLong(entry.len())) } else { Ok(entry) }
}

pub(super) fn decode(entry: &[u8]) -> Result<Header, EntryError> {
    if entry.len() > MAX_ENTRY_BYTES {
        return Err(EntryError::TooLong(entry.len()));
    }
    if let Some(header) = event::read(entry)
        && event::is_written_as(&header, entry)?
    {
        return Ok(Header::Event(header));
    }
    let read = match serde_json::from_slice::<Wire<'_>>(entry) {
        Ok(wire) if is_known(wire.v, &wire.kind.0) => header(wire),
        Ok(wire) => return unknown(entry, wire.v, &wire.kind.0),
        Err(error) => match serde_json::from_slice::<Peek<'_>>(entry) {
            Ok(peek) if !is_known(peek.v, &peek.kind.0) => return unknown(entry, peek.v, &peek.kind.0),
            _ => return Err(EntryError::Json(error)),
        },
    }?;
    if encode(&read)? == entry { Ok(read) } else { Err(EntryError::NotCanonical { kind: known_kind(&read) }) }
}

pub(super) fn known_kind(header: &Header) -> &'static str {
    match header {
        Header::First(_) => "first",
        Header::Event(_) => "event",
        Header::Rejection(_) => "rejection",
        Header::Control(_) => "control",
        Header::Heartbeat(_) => "heartbeat",
        Header::Epoch(_) => "epoch",
        Header::Gap(_) => "gap",
        Header::Unknown { .. } => "unknown",
    }
}

/// What every entry of every version has.
#[derive(Deserialize)]
struct Peek<'a> {
    v: u64,
    #[serde(borrow)]
    kind: Text<'a>,
}

fn is_known(v: u64, kind: &str) -> bool {
    v == VERSION && KINDS.contains(&kind)
}

fn unknown(entry: &[u8], v: u64, kind: &str) -> Result<Header, EntryError> {
    // A derived structure also reads from an array, which no version is.
    if entry.trim_ascii_start().first() != Some(&b'{') {
        return Err(EntryError::Value { member: "entry", found: "an array".to_owned() });
    }
    Ok(Header::Unknown { v, kind: kind.to_owned() })
}

// Writing.

fn wire(header: &Header) -> Result<Wire<'_>, EntryError> {
    let wire = match header {
        Header::First(h) => with_body(header, h.at, None, first_body(h)?),
        Header::Rejection(h) => with_body(header, h.at, Some(h.road), rejection_body(h)),
        Header::Control(h) => with_body(header, h.at, h.road, control_body(h)?),
        Header::Heartbeat(h) => with_body(header, h.at, None, heartbeat_body(h)),
        Header::Epoch(h) => with_body(header, h.at, None, epoch_body(h)),
        Header::Gap(h) => with_body(header, h.at, None, gap_body(h)?),
        Header::Event(_) | Header::Unknown { .. } => return Err(EntryError::Unknown(header.kind().to_owned())),
    };
    check_numbers(&wire)?;
    Ok(wire)
}

fn with_body<'a>(header: &Header, at: u64, road: Option<Road>, body: Body<'a>) -> Wire<'a> {
    Wire {
        v: VERSION,
        kind: text(known_kind(header)),
        at,
        road: road.map(|road| (road.epoch, road.sequence)),
        body: Some(body),
        ..Wire::default()
    }
}

fn first_body(h: &First) -> Result<Body<'_>, EntryError> {
    if h.admin_keys.is_empty() || h.admin_keys.len() > MAX_ADMIN_KEYS {
        return Err(invalid("admin_keys", format!("{} keys", h.admin_keys.len())));
    }
    Ok(Body {
        origin: Some(text(h.origin.as_str())),
        log_key: Some(h.log_key),
        admin_keys: Some(h.admin_keys.clone()),
        recovery_key: Some(h.recovery_key),
        rules: Some(h.rules),
        stream_created: h.stream_created_ms,
        ..Body::default()
    })
}

fn rejection_body(h: &RejectionHeader) -> Body<'_> {
    Body {
        reason: Some(text(h.reason.as_str())),
        commit: Some(h.commit),
        size: Some(h.size),
        masked: Some(h.masked),
        rules: Some(h.rules),
        ..Body::default()
    }
}

fn control_body(h: &ControlHeader) -> Result<Body<'_>, EntryError> {
    if h.counter == 0 {
        return Err(invalid("counter", "0".to_owned()));
    }
    Ok(Body {
        op: Some(text(h.op.as_str())),
        counter: Some(h.counter),
        commit: Some(h.commit),
        size: Some(h.size),
        ..Body::default()
    })
}

fn heartbeat_body(h: &Heartbeat) -> Body<'_> {
    let cosigned = h.cosigned.as_ref();
    Body {
        size: cosigned.map(|c| c.size),
        root: cosigned.map(|c| c.root),
        witness: cosigned.map(|c| text(c.witness.as_str())),
        time: cosigned.map(|c| c.time),
        ..Body::default()
    }
}

fn epoch_body(h: &Epoch) -> Body<'_> {
    Body { epoch: Some(h.epoch), stream_created: Some(h.stream_created_ms), ..Body::default() }
}

fn gap_body(h: &Gap) -> Result<Body<'_>, EntryError> {
    if h.from > h.to {
        return Err(invalid("to", format!("{}, below from, {}", h.to, h.from)));
    }
    Ok(Body { from: Some(h.from), to: Some(h.to), ..Body::default() })
}

fn check_numbers(wire: &Wire<'_>) -> Result<(), EntryError> {
    let body = wire.body.as_ref();
    let numbers = [
        ("at", Some(wire.at)),
        ("size", body.and_then(|b| b.size)),
        ("road", wire.road.map(|(_, sequence)| sequence)),
        ("counter", body.and_then(|b| b.counter)),
        ("from", body.and_then(|b| b.from)),
        ("to", body.and_then(|b| b.to)),
        ("time", body.and_then(|b| b.time)),
        ("stream_created", body.and_then(|b| b.stream_created)),
    ];
    match numbers.into_iter().find(|(_, number)| number.is_some_and(|n| n > MAX_NUMBER)) {
        Some((member, number)) => Err(past_2_53(member, number.unwrap_or_default())),
        None => Ok(()),
    }
}

fn text(text: &str) -> Text<'_> {
    Text(Cow::Borrowed(text))
}

pub(super) fn past_2_53(member: &'static str, number: u64) -> EntryError {
    invalid(member, format!("{number}, past 2^53"))
}

pub(super) fn invalid(member: &'static str, found: String) -> EntryError {
    EntryError::Value { member, found }
}

impl Default for Text<'_> {
    fn default() -> Self {
        text("")
    }
}

// Reading.

fn header(wire: Wire<'_>) -> Result<Header, EntryError> {
    if wire.kind.0 == "event" {
        return Ok(Header::Event(event_header(wire)?));
    }
    let (at, road) = (wire.at, wire.road.map(|(epoch, sequence)| Road { epoch, sequence }));
    let body = need("entry", "body", wire.body)?;
    Ok(match wire.kind.0.as_ref() {
        "first" => Header::First(first(at, body)?),
        "rejection" => Header::Rejection(rejection(at, road, &body)?),
        "control" => Header::Control(control(at, road, &body)?),
        "heartbeat" => Header::Heartbeat(heartbeat(at, &body)?),
        "epoch" => Header::Epoch(Epoch {
            at,
            epoch: need("epoch", "epoch", body.epoch)?,
            stream_created_ms: need("epoch", "stream_created", body.stream_created)?,
        }),
        "gap" => Header::Gap(Gap { at, from: need("gap", "from", body.from)?, to: need("gap", "to", body.to)? }),
        other => Header::Unknown { v: wire.v, kind: other.to_owned() },
    })
}

fn event_header(w: Wire<'_>) -> Result<EventHeader, EntryError> {
    const KIND: &str = "event";
    let (epoch, sequence) = need(KIND, "road", w.road)?;
    Ok(EventHeader {
        change: parse("change", need(KIND, "change", w.change)?, |t| ChangeId::parse(t).ok())?,
        seq: need(KIND, "seq", w.seq)?,
        prev: w.prev,
        id: parse("id", need(KIND, "id", w.id)?, |t| EventId::parse(t).ok())?,
        phase: parse("phase", need(KIND, "phase", w.phase)?, |t| Phase::parse(t).ok())?,
        env: w.env.map(|env| parse("env", env, |t| Environment::parse(t).ok())).transpose()?,
        class: w.class.map(|class| parse("class", class, |t| ChangeClass::parse(t).ok())).transpose()?,
        probe: w.probe.unwrap_or(false),
        producer: w.producer.map(|producer| parse("producer", producer, |t| Producer::parse(t).ok())).transpose()?,
        has: has(&need(KIND, "has", w.has)?)?,
        outcome: parse("outcome", need(KIND, "outcome", w.outcome)?, Outcome::parse)?,
        ts: need(KIND, "ts", w.ts)?,
        at: w.at,
        road: Road { epoch, sequence },
        commit: need(KIND, "commit", w.commit)?,
        size: need(KIND, "size", w.size)?,
        masked: need(KIND, "masked", w.masked)?,
        rules: need(KIND, "rules", w.rules)?,
    })
}

fn has(names: &[Text<'_>]) -> Result<Has, EntryError> {
    let found = || names.iter().map(|name| name.0.as_ref()).collect::<Vec<_>>();
    Has::from_names(names.iter().map(|name| name.0.as_ref())).ok_or_else(|| invalid("has", format!("{:?}", found())))
}

fn first(at: u64, body: Body<'_>) -> Result<First, EntryError> {
    const KIND: &str = "first";
    Ok(First {
        at,
        origin: parse("origin", need(KIND, "origin", body.origin)?, |t| Origin::parse(t).ok())?,
        log_key: need(KIND, "log_key", body.log_key)?,
        admin_keys: need(KIND, "admin_keys", body.admin_keys)?,
        recovery_key: need(KIND, "recovery_key", body.recovery_key)?,
        rules: need(KIND, "rules", body.rules)?,
        stream_created_ms: body.stream_created,
    })
}

fn rejection(at: u64, road: Option<Road>, body: &Body<'_>) -> Result<RejectionHeader, EntryError> {
    const KIND: &str = "rejection";
    Ok(RejectionHeader {
        at,
        road: need(KIND, "road", road)?,
        reason: parse("reason", need(KIND, "reason", body.reason.as_ref())?, Reason::parse)?,
        commit: need(KIND, "commit", body.commit)?,
        size: need(KIND, "size", body.size)?,
        masked: need(KIND, "masked", body.masked)?,
        rules: need(KIND, "rules", body.rules)?,
    })
}

fn control(at: u64, road: Option<Road>, body: &Body<'_>) -> Result<ControlHeader, EntryError> {
    const KIND: &str = "control";
    Ok(ControlHeader {
        at,
        road,
        op: parse("op", need(KIND, "op", body.op.as_ref())?, ControlOp::parse)?,
        counter: need(KIND, "counter", body.counter)?,
        commit: need(KIND, "commit", body.commit)?,
        size: need(KIND, "size", body.size)?,
    })
}

fn heartbeat(at: u64, body: &Body<'_>) -> Result<Heartbeat, EntryError> {
    const KIND: &str = "heartbeat";
    let cosigned = match &body.witness {
        None => None,
        Some(witness) => Some(Cosigned {
            size: need(KIND, "size", body.size)?,
            root: need(KIND, "root", body.root)?,
            witness: parse("witness", witness, |t| KeyName::parse(t).ok())?,
            time: need(KIND, "time", body.time)?,
        }),
    };
    Ok(Heartbeat { at, cosigned })
}

fn need<T>(kind: &'static str, member: &'static str, value: Option<T>) -> Result<T, EntryError> {
    value.ok_or(EntryError::Missing { kind, member })
}

fn parse<'a, T>(
    member: &'static str,
    text: impl std::borrow::Borrow<Text<'a>>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, EntryError> {
    let text = &text.borrow().0;
    read(text).ok_or_else(|| invalid(member, format!("{:?}", text.chars().take(160).collect::<String>())))
}

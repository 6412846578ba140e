//! Builtins that are ours: those whose outcome must not depend on a machine's clock or chance, or whose size a number decides.
//!
//! `net.cidr_contains` and `net.cidr_is_valid` are here because regorus has them for `std` alone. The functions of time follow OPA's documentation ("Policy Reference", Time) over jiff, the one library for time here; `time.now_ns` answers
//! the fact that was passed in.

use std::net::IpAddr;

use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use regorus::{Engine, Value};

/// Numbers of one range.
const RANGE: i64 = 100_000;

#[derive(Debug, thiserror::Error)]
#[error("{function}: {message}")]
struct Failure {
    function: &'static str,
    message: String,
}

type Answer = Result<Value, String>;

/// A builtin by its name, its number of arguments, and what it does.
type Builtin = (&'static str, u8, fn(&[Value]) -> Answer);

const OURS: [Builtin; 11] = [
    ("net.cidr_contains", 2, cidr_contains),
    ("net.cidr_is_valid", 1, cidr_is_valid),
    ("numbers.range", 2, range),
    ("numbers.range_step", 3, range_step),
    ("rand.intn", 2, no_chance),
    ("time.parse_rfc3339_ns", 1, parse_rfc3339_ns),
    ("time.parse_duration_ns", 1, parse_duration_ns),
    ("time.weekday", 1, weekday),
    ("time.date", 1, date),
    ("time.clock", 1, clock),
    ("time.add_date", 4, add_date),
];

/// Adds all but the clock.
pub(super) fn add(engine: &mut Engine) -> Result<(), anyhow::Error> {
    for (function, arguments, answer) in OURS {
        let told = move |values: Vec<Value>| -> Result<Value, anyhow::Error> {
            Ok(answer(&values).map_err(|message| Failure { function, message })?)
        };
        engine.add_extension(function.to_owned(), arguments, Box::new(told))?;
    }
    Ok(())
}

/// Adds the clock, which stands still.
pub(super) fn add_clock(engine: &mut Engine, now_s: i64) -> Result<(), anyhow::Error> {
    let answer = Value::from(now_s.saturating_mul(1_000_000_000));
    let told = move |_: Vec<Value>| -> Result<Value, anyhow::Error> { Ok(answer.clone()) };
    engine.add_extension("time.now_ns".to_owned(), 0, Box::new(told))
}

fn whole(value: &Value) -> Result<i64, String> {
    value.as_i64().map_err(|_| format!("found {value}, expected a whole number"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_string().map(|text| &**text).map_err(|_| format!("found {value}, expected text"))
}

fn range(values: &[Value]) -> Answer {
    counted(whole(&values[0])?, whole(&values[1])?, 1)
}

fn range_step(values: &[Value]) -> Answer {
    counted(whole(&values[0])?, whole(&values[1])?, whole(&values[2])?)
}

/// Both ends included, up or down.
fn counted(from: i64, to: i64, step: i64) -> Answer {
    if step < 1 {
        return Err(format!("found a step of {step}, expected a positive one"));
    }
    let count = from.abs_diff(to) / step.unsigned_abs();
    if count >= RANGE.unsigned_abs() {
        return Err(format!("found a range of {count} numbers, expected at most {RANGE}"));
    }
    let sign = if from <= to { step } else { -step };
    let count = i64::try_from(count).unwrap_or(0);
    Ok(Value::from((0..=count).map(|at| Value::from(from + at * sign)).collect::<Vec<_>>()))
}

fn no_chance(_: &[Value]) -> Answer {
    Err("a policy that leaves it to chance decides differently each time".to_owned())
}

fn parse_rfc3339_ns(values: &[Value]) -> Answer {
    let text = text(&values[0])?;
    let at: Timestamp = text.parse().map_err(|_| format!("found {text:?}, expected a time of RFC 3339"))?;
    nanoseconds(at)
}

fn nanoseconds(at: Timestamp) -> Answer {
    i64::try_from(at.as_nanosecond()).map(Value::from).map_err(|_| format!("{at} does not fit into 64 bits"))
}

/// As Go writes durations: `1h30m`, `-1.5s`, `2us`.
fn parse_duration_ns(values: &[Value]) -> Answer {
    let text = text(&values[0])?;
    let wrong = || format!("found {text:?}, expected a duration such as \"1h30m\"");
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if rest == "0" {
        return Ok(Value::from(0_i64));
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    if text.is_empty() || total > 9.2e18 {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, reason = "it fits, as was just seen")]
    Ok(Value::from((sign * total).round() as i64))
}

/// Nanoseconds since 1970, or these with the name of a zone.
fn local(value: &Value) -> Result<DateTime, String> {
    let pair = value.as_array().ok();
    let (ns, zone) = match pair.map(Vec::as_slice) {
        Some([ns]) => (ns, TimeZone::UTC),
        Some([ns, name]) => (ns, zone(text(name)?)?),
        Some(_) => return Err(format!("found {value}, expected nanoseconds, or these and a zone")),
        None => (value, TimeZone::UTC),
    };
    let at = Timestamp::from_nanosecond(i128::from(whole(ns)?)).map_err(|error| error.to_string())?;
    Ok(zone.to_datetime(at))
}

fn zone(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        name => {
            TimeZoneDatabase::bundled().get(name).map_err(|_| format!("found {name:?}, expected the name of a zone"))
        }
    }
}

fn weekday(values: &[Value]) -> Answer {
    const NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let day = usize::try_from(local(&values[0])?.weekday().to_monday_zero_offset()).unwrap_or_default();
    Ok(Value::from(NAMES[day]))
}

fn list(numbers: [i64; 3]) -> Value {
    Value::from(numbers.map(Value::from).to_vec())
}

fn date(values: &[Value]) -> Answer {
    let at = local(&values[0])?;
    Ok(list([at.year().into(), at.month().into(), at.day().into()]))
}

fn clock(values: &[Value]) -> Answer {
    let at = local(&values[0])?;
    Ok(list([at.hour().into(), at.minute().into(), at.second().into()]))
}

/// As Go does it: what lies behind a month's end goes on in the next one.
fn add_date(values: &[Value]) -> Answer {
    let ns = whole(&values[0])?;
    let at = Timestamp::from_nanosecond(i128::from(ns)).map_err(|error| error.to_string())?;
    let before = TimeZone::UTC.to_datetime(at);
    let (years, months, days) = (whole(&values[1])?, whole(&values[2])?, whole(&values[3])?);
    let moved = || {
        let month = i64::from(before.month()).checked_sub(1)?.checked_add(months)?;
        let year = i64::from(before.year()).checked_add(years)?.checked_add(month.div_euclid(12))?;
        let first = Date::new(i16::try_from(year).ok()?, i8::try_from(month.rem_euclid(12) + 1).ok()?, 1).ok()?;
        let days = days.checked_add(i64::from(before.day()) - 1)?;
        let date = first.checked_add(Span::new().try_days(days).ok()?).ok()?;
        TimeZone::UTC.to_timestamp(date.to_datetime(before.time())).ok()
    };
    nanoseconds(moved().ok_or("a date that is out of range")?)
}

/// The first address of a network, as a number, and the bits that name it; an address alone names all of its bits.
fn network(text: &str) -> Option<(u128, u32, bool)> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let (number, bits, is_six) = match address.parse().ok()? {
        IpAddr::V4(four) => (u128::from(u32::from(four)), 32, false),
        IpAddr::V6(six) => (u128::from(six), 128, true),
    };
    let length = match length {
        None => bits,
        Some(text) => text.parse().ok().filter(|length: &u32| *length <= bits && length.to_string() == text)?,
    };
    Some((first(number, bits, length), length, is_six))
}

fn first(number: u128, bits: u32, length: u32) -> u128 {
    number.checked_shr(bits - length).and_then(|kept| kept.checked_shl(bits - length)).unwrap_or(0)
}

fn cidr_contains(values: &[Value]) -> Answer {
    let read = |value: &Value| {
        let text = text(value)?;
        network(text).ok_or_else(|| format!("found {text:?}, expected a network such as \"10.0.0.0/8\", or an address"))
    };
    let ((outer, length, is_six), (inner, inner_length, inner_is_six)) = (read(&values[0])?, read(&values[1])?);
    let bits = if is_six { 128 } else { 32 };
    Ok(Value::from(is_six == inner_is_six && inner_length >= length && first(inner, bits, length) == outer))
}

#[expect(clippy::unnecessary_wraps, reason = "builtins have one form")]
fn cidr_is_valid(values: &[Value]) -> Answer {
    Ok(Value::from(values[0].as_string().is_ok_and(|text| text.contains('/') && network(text).is_some())))
}

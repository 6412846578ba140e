//! Strings, numbers and escapes, byte by byte. RFC 8259 sections 6 and 7.

use std::borrow::Cow;

use super::{Fault, fault};
use crate::reason::Reason;

/// Where a string ends, and what is in it.
pub(super) struct Found {
    /// Position of the closing quote.
    pub(super) end: usize,
    /// Some backslash.
    pub(super) escaped: bool,
    /// Some `\u` escape of an ASCII character.
    pub(super) ascii: bool,
}

/// Reads a string whose content begins at `start`.
#[inline]
pub(super) fn string(document: &[u8], start: usize) -> Result<Found, Fault> {
    let mut at = start;
    let (mut escaped, mut ascii) = (false, false);
    loop {
        at = special(document, at);
        match document.get(at) {
            Some(b'"') => return Ok(Found { end: at, escaped, ascii }),
            Some(b'\\') => {
                escaped = true;
                ascii |= matches!(document.get(at + 1..at + 5), Some([b'u', b'0', b'0', b'0'..=b'7']));
                at = escape(document, at)?;
            }
            Some(_) => return Err(fault(Reason::NotJson, at, at + 1, "no control character in a string")),
            None => return Err(fault(Reason::NotJson, at, at, "'\"' at the end of a string")),
        }
    }
}

/// The next quote, backslash or control character at or after `at`; the length of the document if there is none.
///
/// Eight bytes a turn. The three masks may flag a byte wrongly only above one that they flag rightly (a borrow runs
/// upwards), so the lowest flag of all is always right.
#[inline]
fn special(document: &[u8], mut at: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = document.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let (quote, slash) = (word ^ (LOW * 0x22), word ^ (LOW * 0x5c));
        let hit = ((quote.wrapping_sub(LOW) & !quote)
            | (slash.wrapping_sub(LOW) & !slash)
            | (word.wrapping_sub(LOW * 0x20) & !word))
            & HIGH;
        if hit != 0 {
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = document.get(at..).unwrap_or_default();
    at + rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20).unwrap_or(rest.len())
}

/// Position after the escape (or pair of surrogate escapes) at `at`.
fn escape(document: &[u8], at: usize) -> Result<usize, Fault> {
    let bad = || fault(Reason::NotJson, at, (at + 2).min(document.len()), "a JSON escape");
    match document.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let unit = hex4(document, at + 2).ok_or_else(bad)?;
            match unit {
                0xd800..=0xdbff => match low_half(document, at + 6) {
                    Some(_) => Ok(at + 12),
                    None => Err(fault(Reason::LoneSurrogate, at, at + 6, "both halves of a surrogate pair")),
                },
                0xdc00..=0xdfff => Err(fault(Reason::LoneSurrogate, at, at + 6, "both halves of a surrogate pair")),
                _ => Ok(at + 6),
            }
        }
        _ => Err(bad()),
    }
}

fn hex4(document: &[u8], at: usize) -> Option<u32> {
    document.get(at..at + 4)?.iter().try_fold(0, |value, &byte| Some(value << 4 | char::from(byte).to_digit(16)?))
}

fn low_half(document: &[u8], at: usize) -> Option<u32> {
    if document.get(at..at + 2)? != b"\\u" {
        return None;
    }
    hex4(document, at + 2).filter(|unit| (0xdc00..=0xdfff).contains(unit))
}

/// Position after the number at `at`.
#[inline]
pub(super) fn number(document: &[u8], at: usize) -> Result<usize, Fault> {
    let byte = |at: usize| document.get(at).copied();
    let digits = |mut at: usize| {
        while byte(at).is_some_and(|b| b.is_ascii_digit()) {
            at += 1;
        }
        at
    };
    let broken = |end: usize| fault(Reason::NotJson, end, (end + 1).min(document.len()), "a digit");

    let first = at + usize::from(byte(at) == Some(b'-'));
    let mut end = match byte(first) {
        Some(b'0') => first + 1,
        Some(b'1'..=b'9') => digits(first),
        Some(b'I') if document[first..].starts_with(b"Infinity") => {
            return Err(fault(Reason::NumberNotFinite, at, first + 8, "a finite number"));
        }
        _ => return Err(broken(first)),
    };
    if byte(end).is_some_and(|b| b.is_ascii_digit()) {
        return Err(fault(Reason::NotJson, end, end + 1, "no digit after a leading zero"));
    }
    let whole = end - first;
    let mut integer = true;
    if byte(end) == Some(b'.') {
        integer = false;
        let from = end + 1;
        end = digits(from);
        if end == from {
            return Err(broken(end));
        }
    }
    let mut exponent = false;
    if let Some(b'e' | b'E') = byte(end) {
        (integer, exponent) = (false, true);
        let from = end + 1 + usize::from(matches!(byte(end + 1), Some(b'+' | b'-')));
        end = digits(from);
        if end == from {
            return Err(broken(end));
        }
    }
    if integer && whole >= 16 && past_limit(&document[first..end]) {
        return Err(fault(Reason::IntegerTooLarge, at, end, "an integer up to 2^53"));
    }
    // 309 digits before the point are needed to overflow without an exponent.
    if !integer && (exponent || whole > 300) && !float(&document[at..end]).is_finite() {
        return Err(fault(Reason::NumberNotFinite, at, end, "a finite number"));
    }
    Ok(end)
}

/// Whether digits without a leading zero are more than 2^53.
fn past_limit(digits: &[u8]) -> bool {
    const LIMIT: &[u8] = b"9007199254740992";
    digits.len() > LIMIT.len() || (digits.len() == LIMIT.len() && digits > LIMIT)
}

/// The value of a number that was scanned.
pub(crate) fn float(raw: &[u8]) -> f64 {
    std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// Length of a word that other languages write for a number that is none.
pub(super) fn not_finite_word(rest: &[u8]) -> usize {
    let words: [&[u8]; 2] = [b"NaN", b"Infinity"];
    words.iter().find(|word| rest.starts_with(word)).map_or(0, |word| word.len())
}

/// Decodes the inside of a string. Broken escapes, which a scanned string has not, become U+FFFD.
pub fn decode(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    let mut text = String::with_capacity(raw.len());
    walk(raw, |c, _| text.push(c));
    Cow::Owned(text)
}

/// Decodes the inside of a string and notes for every byte of the text where its source begins in `raw`, with
/// one more entry for the end.
pub fn decode_mapped(raw: &[u8], text: &mut String, map: &mut Vec<u32>) {
    text.clear();
    map.clear();
    walk(raw, |c, from| {
        text.push(c);
        map.extend(std::iter::repeat_n(super::index(from), c.len_utf8()));
    });
    map.push(super::index(raw.len()));
}

fn walk(raw: &[u8], mut emit: impl FnMut(char, usize)) {
    let mut at = 0;
    while at < raw.len() {
        let run = memchr::memchr(b'\\', &raw[at..]).map_or(raw.len(), |length| at + length);
        plain(&raw[at..run], at, &mut emit);
        at = run;
        if at < raw.len() {
            let (c, length) = unescape(raw, at);
            emit(c, at);
            at += length;
        }
    }
}

/// Text without escapes; bytes that are no UTF-8 become U+FFFD each, so that nothing after them moves.
fn plain(raw: &[u8], offset: usize, emit: &mut impl FnMut(char, usize)) {
    let mut at = 0;
    for chunk in raw.utf8_chunks() {
        for (within, c) in chunk.valid().char_indices() {
            emit(c, offset + at + within);
        }
        at += chunk.valid().len();
        for within in 0..chunk.invalid().len() {
            emit(char::REPLACEMENT_CHARACTER, offset + at + within);
        }
        at += chunk.invalid().len();
    }
}

/// The character that the escape at `at` stands for, and the escape's length.
fn unescape(raw: &[u8], at: usize) -> (char, usize) {
    let c = match raw.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unescape_unit(raw, at),
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (c, 2)
}

fn unescape_unit(raw: &[u8], at: usize) -> (char, usize) {
    let Some(unit) = hex4(raw, at + 2) else { return (char::REPLACEMENT_CHARACTER, 1) };
    if !(0xd800..=0xdbff).contains(&unit) {
        return (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6);
    }
    let Some(low) = low_half(raw, at + 6) else { return (char::REPLACEMENT_CHARACTER, 6) };
    let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
}

//! Masking of secrets: `[masked:RULE]` in place of what a rule of `rules/1.json` finds. FORMATS "Masked text".
//!
//! Three ways in: a scanned document ([`mask_document`], and admission), free text ([`mask_text`]), and bytes that cannot
//! be scanned ([`mask_lexically`]). Each repeats until nothing more is found, so masking what is masked changes nothing.
//! Nothing is ever unmasked, and what was masked is not kept anywhere.

mod arguments;
mod document;
mod edits;
mod table;
mod text;

use crate::admit::{self, Rejection};
use crate::scan::{Fault, Limits, Tape, decode_mapped};

pub use arguments::mask_arguments;
pub(crate) use document::{Buffers, Typed};
use table::{RuleId, TABLE};
use text::Span;

/// Masking once nearly always settles; a second look confirms it. Text made up to need more than this many is masked
/// whole.
const ROUNDS: usize = 8;

/// Masks bytes that need not be JSON; never fails. Returns the bytes and the number of marks in them.
///
/// The rules are tried on the bytes and on what they say when JSON escapes are decoded. A value that has no end is masked
/// to the end, as is everything from the first NUL byte: that is no text, and could be UTF-16 or an archive.
pub fn mask_lexically(bytes: &[u8]) -> (Vec<u8>, u32) {
    let mut masked = bytes.to_vec();
    for _ in 0..ROUNDS {
        let spans = lexical_spans(&masked);
        if spans.is_empty() {
            let marks = count_marks(&masked);
            return (masked, marks);
        }
        masked = replace(&masked, &spans);
    }
    whole(TABLE.unsettled)
}

fn whole(rule: RuleId) -> (Vec<u8>, u32) {
    (TABLE.marks[rule].clone().into_bytes(), 1)
}

fn lexical_spans(bytes: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    if let Some(start) = memchr::memchr(0, bytes) {
        spans.push(Span { start, end: bytes.len(), rule: TABLE.not_text });
    }
    let bytes = &bytes[..spans.first().map_or(bytes.len(), |span| span.start)];
    text::find(bytes, text::bits(bytes), &mut spans);
    if memchr::memchr(b'\\', bytes).is_some() {
        let (mut decoded, mut map) = (String::new(), Vec::new());
        decode_mapped(bytes, &mut decoded, &mut map);
        let mut found = Vec::new();
        text::find(decoded.as_bytes(), text::bits(decoded.as_bytes()), &mut found);
        spans.extend(found.into_iter().map(|span| {
            let (start, end) = document::on_boundaries(&decoded, span.start, span.end);
            Span { start: map[start] as usize, end: map[end] as usize, rule: span.rule }
        }));
    }
    // A mark that was set before is not a secret, whatever the text around it looks like.
    spans.retain(|span| {
        !TABLE.is_untouched(&bytes[span.start.min(bytes.len())..span.end.min(bytes.len())])
            || span.rule == TABLE.not_text
    });
    text::join(&mut spans);
    spans
}

fn replace(bytes: &[u8], spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for span in spans {
        out.extend_from_slice(&bytes[from..span.start]);
        out.extend_from_slice(TABLE.marks[span.rule].as_bytes());
        from = span.end;
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

/// Masks free text, such as the output of a command. Returns the text and the number of marks in it.
pub fn mask_text(text: &str) -> (String, u32) {
    let mut masked = text.to_owned();
    for _ in 0..ROUNDS {
        let bits = text::bits(masked.as_bytes());
        let mut spans = Vec::new();
        text::find(masked.as_bytes(), bits, &mut spans);
        for span in &mut spans {
            (span.start, span.end) = document::on_boundaries(&masked, span.start, span.end);
        }
        text::join(&mut spans);
        if spans.is_empty() {
            let marks = count_marks(masked.as_bytes());
            return (masked, marks);
        }
        // Spans end on characters and marks are ASCII, so nothing is lost here.
        masked = String::from_utf8_lossy(&replace(masked.as_bytes(), &spans)).into_owned();
    }
    (TABLE.marks[TABLE.unsettled].clone(), 1)
}

/// Number of `[masked:RULE]` marks in bytes, whoever wrote them.
pub fn count_marks(bytes: &[u8]) -> u32 {
    edits::count(bytes)
}

/// Whether a member name means that its value is a secret.
pub fn is_secret_name(name: &str) -> bool {
    TABLE.names.secret(name).is_some()
}

/// The mark of a value that is masked for its name.
pub(crate) fn mark_by_name() -> &'static str {
    &TABLE.marks[TABLE.by_name.1]
}

/// Masks any JSON document, whatever its size: what adapters read. Returns the document and the number of marks in it.
///
/// The document is scanned as an event is, but for the limit of bytes, and gives the same reasons.
pub fn mask_document(bytes: &[u8]) -> Result<(Vec<u8>, u32), Rejection> {
    let limits = Limits { bytes: usize::MAX, ..admit::LIMITS };
    let mut tape = Tape::default();
    tape.scan(bytes, limits).map_err(|fault| admit::reject_fault(bytes, &fault))?;
    let mut buffers = Buffers::default();
    match settle(bytes, &mut tape, &mut buffers, limits, Typed::Kept) {
        Ok(None) => Ok((bytes.to_vec(), count_marks(bytes))),
        Ok(Some(masked)) => {
            let marks = count_marks(&masked);
            Ok((masked, marks))
        }
        Err(fault) => Err(admit::reject_fault(bytes, &fault)),
    }
}

/// Masks a document that is on the tape until nothing more is found. `None`: it is clean as it is.
pub(crate) fn settle(
    document: &[u8],
    tape: &mut Tape,
    buffers: &mut Buffers,
    limits: Limits,
    typed: Typed,
) -> Result<Option<Vec<u8>>, Fault> {
    let mut masked: Option<Vec<u8>> = None;
    for _ in 0..ROUNDS {
        let current = masked.as_deref().unwrap_or(document);
        match mask_once(current, tape, buffers, limits, typed)? {
            None => return Ok(masked),
            Some(next) => masked = Some(next),
        }
    }
    Err(unsettled())
}

/// No text is known that comes here; one that did would be kept as rejected, masked lexically.
pub(crate) fn unsettled() -> Fault {
    Fault {
        reason: crate::reason::Reason::WrongType,
        at: 0,
        until: 0,
        path: String::new(),
        expected: "a document whose masking settles",
    }
}

/// Masks what is found at once, and puts the masked document on the tape. `None`: nothing was found.
pub(crate) fn mask_once(
    document: &[u8],
    tape: &mut Tape,
    buffers: &mut Buffers,
    limits: Limits,
    typed: Typed,
) -> Result<Option<Vec<u8>>, Fault> {
    if !buffers.prefilter(document, tape) {
        return Ok(None);
    }
    buffers.walk(document, tape, typed);
    if buffers.edits.is_empty() {
        return Ok(None);
    }
    let mut masked = Vec::with_capacity(document.len() + 32 * buffers.edits.len());
    edits::apply(document, &buffers.edits, false, &mut masked);
    if tape.scan(&masked, limits).is_err() {
        // Two secrets as names of one object become one mark: number them.
        edits::apply(document, &buffers.edits, true, &mut masked);
        tape.scan(&masked, limits)?;
    }
    Ok(Some(masked))
}

#[cfg(test)]
mod tests;

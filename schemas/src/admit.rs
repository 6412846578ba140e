//! Admission: bytes as received → [`Admitted`] or [`Rejection`], secrets masked (DESIGN §3 step 2, §4).
//!
//! Admission refuses what cannot be read or attributed, never bad news. What it lets through is stored byte for byte but
//! for masked places, and admitting what was stored gives the same bytes again. Header fields follow from the stored
//! bytes, so [`derive()`] gives them to a verifier again.

use std::borrow::Cow;

use crate::check::{self, Checked, Refusal};
use crate::ids::{MAX_EVENT_BYTES, Phase, Subject, Tenant};
use crate::reason::Reason;
use crate::redact::{self, Buffers, Typed};
use crate::scan::{Fault, Kind, Limits, Tape};

pub use crate::facts::{Facts, Has, Outcome};
pub use crate::shape::SCHEMA;

/// Containers inside each other, the document counted, that admission reads.
pub const MAX_DEPTH: usize = 64;

/// What a scan of an event allows.
pub const LIMITS: Limits = Limits { bytes: MAX_EVENT_BYTES, depth: MAX_DEPTH };

/// Longest `found` of a rejection, in characters.
const MAX_FOUND_CHARS: usize = 64;

/// An event that goes into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted<'a> {
    /// What its entry header says about it.
    pub facts: Facts,
    /// The bytes to store: those received, or a copy in which secrets are masked.
    pub payload: Cow<'a, [u8]>,
    /// Number of `[masked:RULE]` marks in the payload.
    pub masked: u32,
}

/// Bytes that go into the log as a rejection: the reason in the tree, all else beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// From the closed list.
    pub reason: Reason,
    /// JSON pointer (RFC 6901) to the place, masked; empty for the document itself.
    pub path: String,
    /// What stands there, masked, at most 64 characters.
    pub found: String,
    /// What should stand there.
    pub expected: String,
    /// The bytes to keep, masked.
    pub payload: Vec<u8>,
    /// Number of `[masked:RULE]` marks in the payload.
    pub masked: u32,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reason, path, found, expected, .. } = self;
        let path = if path.is_empty() { "the document" } else { path };
        write!(f, "{reason} at {path}: expected {expected}, found {found}")
    }
}

impl std::error::Error for Rejection {}

/// Buffers that one thread reuses from event to event.
#[derive(Debug, Default)]
pub struct Scratch {
    tape: Tape,
    buffers: Buffers,
}

impl Scratch {
    /// The tape of the payload that was admitted last, as stored.
    pub const fn tape(&self) -> &Tape {
        &self.tape
    }
}

/// Admits what arrived under a subject.
pub fn admit<'a>(subject: &Subject, received: &'a [u8], scratch: &mut Scratch) -> Result<Admitted<'a>, Rejection> {
    admit_from(Some(subject), received, scratch).map(|(_, admitted)| admitted)
}

/// Admits an event that has no subject yet: tenant and phase are the event's own.
pub fn admit_unaddressed<'a>(received: &'a [u8], scratch: &mut Scratch) -> Result<(Subject, Admitted<'a>), Rejection> {
    let (tenant, admitted) = admit_from(None, received, scratch)?;
    let subject = Subject { tenant, phase: admitted.facts.phase, producer: None };
    Ok((subject, admitted))
}

/// Derives a header's fields again from a stored payload: tenant, phase, number of masked marks, facts.
///
/// Masks nothing and asks no rule of redaction: which rules masked a payload is for its header to say.
pub fn derive(payload: &[u8], scratch: &mut Scratch) -> Result<(Tenant, Phase, u32, Facts), Rejection> {
    scratch.tape.scan(payload, LIMITS).map_err(|fault| reject_fault(payload, &fault))?;
    let checked = check::check(payload, scratch.tape.tokens());
    let checked = checked.map_err(|refusal| reject(payload, scratch, &refusal))?;
    Ok((checked.tenant, checked.facts.phase, redact::count_marks(payload), checked.facts))
}

fn admit_from<'a>(
    subject: Option<&Subject>,
    received: &'a [u8],
    scratch: &mut Scratch,
) -> Result<(Tenant, Admitted<'a>), Rejection> {
    scratch.tape.scan(received, LIMITS).map_err(|fault| reject_fault(received, &fault))?;
    let mut payload = Cow::Borrowed(received);
    // Masks until nothing more is found; the facts are those of the bytes that are stored.
    for _ in 0..8 {
        let checked = check::check(&payload, scratch.tape.tokens());
        let checked = checked.and_then(|checked| addressed(subject, checked));
        let checked = checked.map_err(|refusal| reject(&payload, scratch, &refusal))?;
        let Scratch { tape, buffers } = &mut *scratch;
        if !buffers.prefilter(&payload, tape) {
            return Ok(admitted(checked, payload));
        }
        if let Some(refusal) = secret_in_public(&payload, scratch, &checked) {
            return Err(reject(&payload, scratch, &refusal));
        }
        let Scratch { tape, buffers } = &mut *scratch;
        match redact::mask_once(&payload, tape, buffers, LIMITS, Typed::Kept) {
            Ok(None) => return Ok(admitted(checked, payload)),
            Ok(Some(masked)) => payload = Cow::Owned(masked),
            Err(fault) => return Err(reject_fault(&payload, &fault)),
        }
    }
    Err(reject_fault(&payload, &redact::unsettled()))
}

fn admitted(checked: Checked, payload: Cow<'_, [u8]>) -> (Tenant, Admitted<'_>) {
    let masked = redact::count_marks(&payload);
    (checked.tenant, Admitted { facts: checked.facts, payload, masked })
}

fn addressed(subject: Option<&Subject>, checked: Checked) -> Result<Checked, Refusal> {
    let mismatch = match subject {
        Some(subject) if subject.tenant != checked.tenant => {
            Some((Reason::TenantMismatch, checked.tenant_at, "the tenant of the subject"))
        }
        Some(subject) if subject.phase != checked.facts.phase => {
            Some((Reason::PhaseMismatch, checked.phase_at, "the phase of the subject"))
        }
        _ => None,
    };
    mismatch.map_or(Ok(checked), |(reason, token, expected)| Err(Refusal { reason, token, missing: None, expected }))
}

/// What goes into the header is public for ever: it cannot be masked, so it must be no secret.
fn secret_in_public(document: &[u8], scratch: &mut Scratch, checked: &Checked) -> Option<Refusal> {
    let reasons = [Reason::BadId, Reason::BadId, Reason::BadEnvironment];
    let Scratch { tape, buffers } = scratch;
    let found = checked.public_at.iter().zip(reasons).find_map(|(at, reason)| {
        let token = (*at)?;
        buffers.is_secret(document, tape, token).then_some((token, reason))
    });
    found.map(|(token, reason)| Refusal { reason, token, missing: None, expected: "a name without a secret in it" })
}

/// Rejects bytes that cannot be scanned.
pub(crate) fn reject_fault(document: &[u8], fault: &Fault) -> Rejection {
    let (payload, masked) = redact::mask_lexically(document);
    let slice = document.get(fault.at..fault.until).unwrap_or_default();
    let found = match fault.reason {
        Reason::TooLarge => format!("{} bytes", document.len()),
        Reason::TrailingData => format!("{} more bytes", slice.len()),
        Reason::NotUtf8 => format!("byte 0x{:02x} at {}", slice.first().copied().unwrap_or_default(), fault.at),
        Reason::WrongType => "a document whose masking does not settle".to_owned(),
        _ if slice.is_empty() => "the end of the document".to_owned(),
        _ => String::from_utf8_lossy(slice).into_owned(),
    };
    rejection(fault.reason, &fault.path, &found, fault.expected.to_owned(), (payload, masked))
}

/// Rejects a document that is on the tape.
fn reject(document: &[u8], scratch: &mut Scratch, refusal: &Refusal) -> Rejection {
    let Scratch { tape, buffers } = scratch;
    let token = tape.tokens()[refusal.token];
    let mut path = tape.pointer(document, refusal.token);
    let (found, expected) = if let Some(name) = refusal.missing {
        path = format!("{path}/{name}");
        ("nothing".to_owned(), refusal.expected.to_owned())
    } else {
        let found = match token.kind {
            Kind::Object | Kind::Array => token.kind.as_str().to_owned(),
            Kind::String | Kind::Name => format!("\"{}\"", redact::mask_text(&token.text(document)).0),
            _ => String::from_utf8_lossy(token.raw(document)).into_owned(),
        };
        (found, refusal.expected.to_owned())
    };
    let kept = match redact::settle(document, tape, buffers, LIMITS, Typed::Masked) {
        Ok(None) => (document.to_vec(), redact::count_marks(document)),
        Ok(Some(masked)) => {
            let marks = redact::count_marks(&masked);
            (masked, marks)
        }
        Err(_) => redact::mask_lexically(document),
    };
    rejection(refusal.reason, &path, &found, expected, kept)
}

fn rejection(reason: Reason, path: &str, found: &str, expected: String, kept: (Vec<u8>, u32)) -> Rejection {
    // What stands under a secret name is one, whatever it looks like.
    let found = if path.split('/').any(redact::is_secret_name) {
        redact::mark_by_name().to_owned()
    } else {
        redact::mask_text(found).0
    };
    Rejection {
        reason,
        path: redact::mask_text(path).0,
        found: found.chars().take(MAX_FOUND_CHARS).collect(),
        expected,
        payload: kept.0,
        masked: kept.1,
    }
}

#[cfg(test)]
mod tests;

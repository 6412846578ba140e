//! Admission: bytes as received → [`Admitted`] or [`Rejection`], secrets masked (DESIGN §3 step 2, §4).
//!
//! Admission refuses what cannot be read or attributed, never bad news. What it lets through is stored byte for byte but
//! for masked places, and admitting what was stored gives the same bytes again.

use std::borrow::Cow;

use crate::ids::Subject;
use crate::ids::{Phase, Tenant};
use crate::reason::Reason;

pub use crate::facts::{Facts, Has, Outcome};

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

/// Buffers that one thread reuses from event to event.
#[derive(Debug, Default)]
pub struct Scratch {}

/// Admits what arrived under a subject.
pub fn admit<'a>(
    subject: &Subject,
    received: &'a [u8],
    scratch: &mut Scratch,
) -> Result<Admitted<'a>, Rejection> {
    let _ = (subject, received, scratch);
    todo!()
}

/// Admits an event that has no subject yet: tenant and phase are the event's own.
pub fn admit_unaddressed<'a>(
    received: &'a [u8],
    scratch: &mut Scratch,
) -> Result<(Subject, Admitted<'a>), Rejection> {
    let _ = (received, scratch);
    todo!()
}

/// Derives a header's fields again from a stored payload: tenant, phase, number of masked marks, facts.
pub fn derive(
    payload: &[u8],
    scratch: &mut Scratch,
) -> Result<(Tenant, Phase, u32, Facts), Rejection> {
    let _ = (payload, scratch);
    todo!()
}

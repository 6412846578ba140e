//! The vocabulary of UPM Ledger: what an event is, which bytes are admitted, what is masked, how things are named.
//!
//! Pure: bytes in, values out. No clock, no environment, no randomness, no I/O. The published texts that this crate
//! follows lie beside it and are compiled in: `provisioning_event.v1.schema.json` (shape), `rules/1.json` (limits,
//! reasons, redaction, outcome) and `model/` (UPM v2: its text and its tables).
//!
//! The road of a document: [`scan`] (one pass, a tape of spans) → [`admit`] (types, ids, subject, facts) →
//! [`redact`] (masked places) → the payload as it is stored.

pub mod admit;
pub mod assessment;
pub mod canonicals;
mod check;
pub mod event;
mod facts;
pub mod guard;
pub mod ids;
pub mod model;
pub mod object;
pub mod plan;
pub mod reason;
pub mod redact;
pub mod rules;
pub mod scan;
mod shape;
pub mod time;

//! The vocabulary of UPM Ledger: what an event is, which bytes are admitted, what is masked, how things are named.
//!
//! Pure: bytes in, values out. No clock, no environment, no randomness, no I/O. The published texts that this crate
//! follows lie beside it and are compiled in: `provisioning_event.v1.schema.json` (shape), `rules/1.json` (limits,
//! reasons, redaction, outcome) and `canonicals.json` (the words of UPM v2).
//!
//! The road of a document: [`scan`] (one pass, a tape of spans) → [`admit`] (types, ids, subject, facts) →
//! [`redact`] (masked places) → the payload as it is stored.

pub mod admit;
pub mod canonicals;
mod check;
pub mod event;
mod facts;
pub mod ids;
pub mod plan;
pub mod reason;
pub mod redact;
pub mod rules;
pub mod scan;
mod shape;
mod time;

//! What workers and the producing commands decide, without doing it: clock, ids, environment variables and a command's output
//! are passed in, bytes come out.
//!
//! - [`build`]: the bytes of an event from its fields, as `upm emit --phase …` sends them.
//! - [`ci`]: what a CI system's variables say about who changes what, as defaults for those fields.
//! - [`command`]: a wrapped command's outcome as an event, as `upm run` sends it.
//!
//! Left out: spawning, reading and publishing (`service`, `pipeline`).

pub mod build;
pub mod ci;
pub mod command;
pub mod conformance;

//! What workers and the producing commands decide, without doing it: clock, ids, environment variables and a command's output
//! are passed in, bytes come out.
//!
//! - [`argv`]: the guard: a command line as arguments, or why it is none.
//! - [`build`]: the bytes of an event from its fields, as `upm emit --phase …` sends them.
//! - [`catalogue`]: what can be asked for, and the commands behind it.
//! - [`ci`]: what a CI system's variables say about who changes what, as defaults for those fields.
//! - [`command`]: a wrapped command's outcome as an event, as `upm run` sends it.
//! - [`plan`]: ordered commands with checks, ways back, waves and digest, from a request.
//! - [`policy`]: Rego over a document.
//! - [`request`]: what is asked for, from words or JSON.
//! - [`table`]: TOML files read by hand, and what is wrong in them.
//!
//! Left out: spawning, reading and publishing (`service`, `pipeline`).

pub mod argv;
pub mod build;
pub mod catalogue;
pub mod ci;
pub mod command;
pub mod conformance;
pub mod plan;
pub mod policy;
pub mod request;
pub mod table;

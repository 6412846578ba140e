//! What workers and the producing commands decide, without doing it: clock, ids, environment variables and a command's output
//! are passed in, bytes come out.
//!
//! - [`approval`]: whether the approvals on record are those that a plan needs.
//! - [`argv`]: the guard: a command line as arguments, or why it is none.
//! - [`budget`], [`lane`], [`risk`]: what a change may cost, what passes without a person, and how risky it is.
//! - [`build`]: the bytes of an event from its fields, as `upm emit --phase …` sends them.
//! - [`calendar`]: maintenance windows and freezes; [`scope`]: which changes a rule of the house is about.
//! - [`catalogue`]: what can be asked for, and the commands behind it.
//! - [`ci`]: what a CI system's variables say about who changes what, as defaults for those fields.
//! - [`command`]: a wrapped command's outcome as an event, as `upm run` sends it.
//! - [`config`]: the workers' one file of options.
//! - [`execute`]: which step is due, whether it may run again, and what is said about it.
//! - [`plan`]: ordered commands with checks, ways back, waves and digest, from a request.
//! - [`policy`]: Rego over plan, request and facts.
//! - [`preflight`]: whether a plan may run, from all of these.
//! - [`request`]: what is asked for, from words or JSON.
//! - [`table`]: TOML files read by hand, and what is wrong in them.
//!
//! Left out: spawning, reading and publishing (`service`, `pipeline`).

pub mod approval;
pub mod argv;
pub mod budget;
pub mod build;
pub mod calendar;
pub mod catalogue;
pub mod ci;
pub mod command;
pub mod config;
pub mod conformance;
pub mod execute;
pub mod lane;
pub mod plan;
pub mod policy;
pub mod preflight;
pub mod request;
pub mod risk;
pub mod scope;
pub mod table;

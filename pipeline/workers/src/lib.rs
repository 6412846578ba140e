//! What workers and the producing commands decide, without doing it: clock, ids, environment variables and a command's output
//! are passed in, bytes come out.
//!
//! - [`approval`]: whether the approvals on record are those that a plan needs.
//! - [`argv`]: the guard: a command line as arguments, or why it is none.
//! - [`blast_radius`], [`budget`], [`lane`], [`risk`]: how much a change may touch and cost, what passes without a person, and how risky it is.
//! - [`build`]: the bytes of an event from its fields, as `upm emit --phase …` sends them.
//! - [`calendar`]: maintenance windows and freezes; [`scope`]: which changes a rule of the house is about.
//! - [`catalogue`]: what can be asked for, and the commands behind it.
//! - [`ci`]: what a CI system's variables say about who changes what, as defaults for those fields.
//! - [`command`]: a wrapped command's outcome as an event, as `upm run` sends it.
//! - [`config`]: the workers' one file of options.
//! - [`course`]: what became of a change's newest attempt, and what is due next on it.
//! - [`drift`]: what differs from what was verified, when to look, and what mends it.
//! - [`execute`]: which step is due, whether it may run again, and what is said about it.
//! - [`order`]: what somebody tells the workers to do with a change.
//! - [`plan`]: ordered commands with checks, ways back, waves and digest, from a request.
//! - [`policy`]: Rego over plan, request and facts.
//! - [`preflight`]: whether a plan may run, from all of these.
//! - [`request`]: what is asked for, from words or JSON.
//! - [`rollback`]: the way back of what was done, its proof, and what stands after it.
//! - [`table`]: TOML files read by hand, and what is wrong in them.
//! - [`verify`]: whether what was executed holds: read-backs, probes, service levels, differences.
//!
//! Left out: spawning, reading and publishing (`service`, `pipeline`).

pub mod approval;
pub mod argv;
pub mod blast_radius;
pub mod budget;
pub mod build;
pub mod calendar;
pub mod catalogue;
pub mod ci;
pub mod command;
pub mod config;
pub mod conformance;
pub mod course;
pub mod drift;
pub mod execute;
pub mod lane;
pub mod order;
pub mod own;
pub mod plan;
pub mod policy;
pub mod preflight;
pub mod request;
pub mod risk;
pub mod rollback;
pub mod scope;
pub mod table;
pub mod verify;

//! Does what was executed hold? UPM v2, F4. Pure: what was looked at comes in as data, and the verification section of an event comes out.
//!
//! - [`looks`]: what is looked at: whether each step's resource is there (or gone), its state, and the house's probes;
//! - [`Found::round`]: what the answers amount to; what does not hold yet is looked at again until the deadline ([`Options::pause_ms`]);
//! - [`state`]: states that were read back, their hash, and how two of them differ, in words.
//!
//! After a rollback the same looks ask the opposite ([`looks_after_rollback`]).
//!
//! Left out: running commands, sending requests, waiting.

mod judge;
mod looks;
mod options;
pub mod state;

pub(crate) use judge::drift;
pub use judge::{Found, Probed, Round, Timing};
pub(crate) use looks::fields;
pub use looks::{Look, Run, Wanted, looks, looks_after_rollback, probes, probes_between_waves, probes_of_nothing};
pub use options::{Bound, Expectation, Options, Probe, Slo, Way};
pub use state::{Difference, State};

#[cfg(test)]
mod tests;

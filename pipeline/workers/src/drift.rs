//! Drift: what somebody else did to a resource after its change was verified. UPM v2, F4.
//!
//! - [`Options`]: which resources are watched, how often, where alarms go, and whether a change that mends them is asked for;
//! - [`schedule`]: when a resource is due, with jitter from a seed, so that nothing is remembered but when it was looked at last;
//! - [`compare`]: the baseline of a change against what is there, and whether that is news;
//! - [`repair`]: the request that brings back what was asked for, or why there is none.
//!
//! Left out: looking, posting, publishing.

mod options;
pub mod repair;
pub mod schedule;
mod watch;

pub use options::{Monitor, Options, Webhook};
pub use watch::{Compared, News, Watched, compare, is_taken_over, target, watched, watched_after};

#[cfg(test)]
mod tests;

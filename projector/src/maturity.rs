//! Maturity by the Universal Provisioning Model: levels, what holds them and what is missing.
//!
//! One scorer ([`score`]) makes levels of what is shown. For a tenant that is measured from its changes ([`mod@samples`], [`evidence`]) or attested by named
//! assessors ([`attestation`]); for a platform it is an assessment file ([`rating`]). [`compare`] fills the model's comparison template from either,
//! [`report`] is the answer of `upm maturity`. Clauses, thresholds, gates and bands are data (`schemas::model`); `docs/maturity.md` lists them all, and
//! [`document`] is what it is made from.

pub mod attestation;
pub mod compare;
mod daily;
pub mod document;
pub mod evidence;
mod measures;
pub mod rating;
pub mod report;
pub mod samples;
pub mod score;
mod story;
#[cfg(test)]
mod tests;

pub use daily::{DayLevels, day_levels};
pub use measures::ROLLBACK_EXECUTED;
pub use samples::samples;

/// Days of the window.
pub const WINDOW_DAYS: u32 = 90;
/// The least denominator of a share.
pub const COUNT_MIN: u64 = 20;
/// The threshold of a share that no KPI's band gives, percent.
pub const SHARE_MIN: f64 = 95.0;

//! Entries to change state: pure folds.
//!
//! [`facts`] reads what one event says, [`fold`] joins it into the state of its change, [`anomaly`] is the closed list of what
//! an auditor should look at, [`approval`] says what each approval is worth, and [`document`] is `change.json`: state, attempts, timeline,
//! approvals and anomalies of one change, and [`detail`] is the same as rows.
//! The rules are DESIGN's "Views" and FORMATS' table of outcomes; a fold version is never altered once shipped.
//!
//! Absent here: I/O, clocks, databases. Whatever is computed depends on the entries passed in and on nothing else.

pub mod account;
pub mod anomaly;
pub mod approval;
pub mod assert;
pub mod detail;
pub mod document;
pub mod facts;
pub mod fold;
pub mod foreign;
pub mod kpi;
pub mod maturity;
pub mod unseen;

mod judge;
mod sentence;
#[cfg(test)]
mod testing;

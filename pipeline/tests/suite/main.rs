//! The pipeline against a real nats-server, over the in-memory store: one server, one road and one ledger per test.
//!
//! A "restart" here ends all threads and starts them again over the same store; that a kill of the whole process loses nothing
//! either is the end-to-end suite's to show, over the real store.
#![expect(clippy::disallowed_methods, reason = "tests read the clock and the environment as the service does")]

mod answers;
mod attacks;
mod control;
mod faults;
mod house;
mod roads;
mod sweeping;
mod tenants;

//! The tests that need the whole: one module a subject.
#![expect(clippy::disallowed_methods, reason = "tests read where the tools are")]

#[path = "../acceptance/mod.rs"]
mod acceptance;
mod aftermath;
mod approving;
mod backup;
mod cloud;
mod crash;
mod disk;
mod executing;
mod faults;
mod following;
mod foreign;
mod forged;
mod gate;
mod house;
mod interop;
mod kept;
mod keys;
mod kpis;
mod large;
mod lost;
mod malformed;
mod maturity;
mod model_example;
mod monitoring;
mod objects;
mod ordering;
mod packs;
mod planning;
mod policies;
mod populations;
mod readme;
mod rollout;
mod serving;
mod sessions;
mod sql;
mod strangers;
mod tiles;
mod walls;
mod windows;
mod witnesses;
mod working;
mod workshop;

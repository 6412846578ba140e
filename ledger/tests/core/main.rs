//! The log's core against foreign vectors, foreign implementations, real `openssl`, and hostile input.
//!
//! `vectors/` holds RFC 6962 proofs from transparency-dev/merkle and a tiled log from transparency-dev/tessera, each with its
//! licence (Apache-2.0) beside it, and C2SP's edge cases of Ed25519 (BSD-3-Clause). The store half has tests of its own.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod comparison;
mod control;
mod cosignatures;
mod entries;
mod hostile;
mod keys;
mod notes;
mod oracles;
mod policies;
mod receipts;
mod signatures;
mod support;
mod tiles;
mod vectors;
mod witnesses;

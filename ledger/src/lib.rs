//! The log: RFC 6962 hashing, tiles, proofs, notes, checkpoints, entries, receipts and keys, and the appending of entries
//! over a small key-value trait.
//!
//! Pure: no clock, no randomness, no environment, no database and no network; all of these are passed in. `RocksDB` stands
//! behind [`kv`] in a crate of its own, so that what only verifies compiles in seconds.
//!
//! Foreign formats followed to the byte: RFC 6962 and 9162 (tree, proofs), RFC 8785 (entries), C2SP signed-note,
//! tlog-checkpoint, tlog-tiles, tlog-proof, tlog-cosignature, tlog-policy and tlog-witness, DSSE, SSHSIG (OpenSSH `PROTOCOL.sshsig`).

pub mod append;
pub mod birth;
pub mod checkpoint;
pub mod consistency;
pub mod control;
pub mod cosignature;
pub mod cosigned;
pub mod dedupe;
pub mod dsse;
mod encoding;
pub mod entry;
pub mod frontier;
pub mod fsck;
pub mod governance;
pub mod hash;
pub mod key;
pub mod kv;
pub mod layout;
pub mod note;
pub mod policy;
pub mod proof;
pub mod read;
pub mod receipt;
pub mod replica;
pub mod signing;
pub mod ssh;
pub mod tiles;
pub mod tree;
pub mod witness;

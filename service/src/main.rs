//! `upm`: the one binary of UPM Ledger.
//!
//! Here are the command line, the HTTP API and the supervision of a ledger; the only place that reads the clock, the
//! environment, key files and randomness, and passes them on. Every decision lies in the crates left of it: admission
//! in `schemas`, the tree in `ledger`, views in `projector`, the road in `pipeline`.

#![expect(unreachable_pub, reason = "a binary exports nothing: here `pub` marks what a module offers to the others")]

mod answers;
mod backup_dir;
mod bounded;
mod cli;
mod clock;
mod cosigning;
mod data_dir;
mod env;
mod export;
mod follow;
mod governed;
mod head_file;
mod home;
mod http;
mod kept_heads;
mod keys_on_disk;
mod logging;
mod manifest;
mod objects_dir;
mod offline;
mod packs;
mod populations;
mod proofs;
mod reading;
mod redact;
mod stop;
mod taking;
mod witness;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}

//! Judges that are not ours, over what the real programs publish. `make interop` installs them (`scripts/setup interop`) and runs
//! these; one that is missing is a failure, never a pass.
//!
//! Judges in every `make test` beside these: a second verifier of packs and populations (`second`), nats-py as the producer, `sha256sum`, `rs_merkle`, `tlog_tiles` and `signed_note` in property
//! tests, and the vectors of transparency-dev.

mod browser;
mod kubernetes;
mod kubernetes_changed;
mod litewitness;
mod opa;
mod opentofu;
mod pack;
mod published;
mod second;

use std::path::PathBuf;

use upm_tests::tool;

/// A judge's program.
fn judge(variable: &str, name: &str) -> PathBuf {
    let path = tool(variable, name);
    assert!(path.exists(), "{} is missing: `scripts/setup interop` gets it", path.display());
    path
}

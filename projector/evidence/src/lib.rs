//! Evidence packs: the zip that hands one change to a stranger, and the verifier that trusts nothing in it.
//!
//! - [`plan`] plans every file of a pack out of entries, payloads and proofs; [`PackPlan::seal`] signs; [`SealedPack::copy`] copies.
//! - [`verify_pack`] and [`verify_receipt`] check, offline, with a key from elsewhere, and answer with a [`Report`].
//! - [`cli`] is the command line that `upm-verify` and `upm verify` share.
//!
//! Layout and promises are DESIGN §7 and FORMATS, "Receipt, pack, population". Foreign formats: zip (PKWARE APPNOTE), C2SP
//! tlog-proof and tlog-checkpoint, Sigstore bundle v0.3, DSSE, in-toto Statement v1, `sha256sum`.
//!
//! - [`population`] makes and checks the complete list of a period; [`sample`] draws from it, [`worksheet`] fills what auditors test.
//!
//! Absent here: databases, networks, clocks, randomness and C++. Erasures are not written yet; a verifier that meets them says that it
//! cannot judge them. Logs that events refer to ([`kept_logs`]) are in a pack where the ledger has them.

mod attest;
mod chain;
pub mod cli;
mod copy;
pub mod document;
mod files;
mod headers;
mod json;
mod kept;
mod page;
mod parts;
mod plan;
mod planned;
pub mod population;
pub mod reconcile;
pub mod report;
pub mod sample;
mod summary;
mod sums;
mod text;
mod told;
mod trust;
mod verify;
pub mod worksheet;
pub mod zip;

pub use attest::PREDICATE_TYPE;
pub use chain::{Broken, Mismatch, NotAnEvent};
pub use copy::{CopyError, SealedPack, write};
pub use document::Object;
pub use files::DeriveError;
pub use kept::{KeptLog, kept_logs};
pub use parts::ENTRIES_MAX;
pub use plan::{InMemory, KeptObject, PackEntry, PackError, PackInput, PackLog, PackPlan, plan};
pub use report::{Check, Report, Status, Verdict};
pub use trust::{KeyError, KeyFile, Reach, Trust};
pub use verify::{verify_pack, verify_receipt};

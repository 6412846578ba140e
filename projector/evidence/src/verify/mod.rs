//! Verification: of a pack, of a receipt. Trusts nothing that it is given to verify.
//!
//! Each check stands in the report with a plain sentence; one that cannot be done says why. A refutation never stops the checks
//! that can still be done, but a zip that is not in the one accepted form is not read any further.
//!
//! Leaves out: erasures, populations. A pack that carries any of them is never refuted for it:
//! it is undecided.

mod approvals;
mod contents;
pub(crate) mod cosigned;
mod derived;
mod entries;
mod foreign;
pub(crate) mod keys;
mod objects;
pub(crate) mod pack;
pub(crate) mod reach;
mod receipt;
pub(crate) mod signed;

use crate::chain::NotAnEvent;
use crate::trust::Reach;
pub(crate) use contents::Files;
pub use pack::verify_pack;
pub use receipt::verify_receipt;

/// What no verification here proves, whatever it was given.
pub(crate) fn always_unproved(reach: Reach) -> Vec<String> {
    let mut out = vec![
        "that what was logged is true: a log proves what was said, when it was taken in, and that it was not changed since"
            .to_owned(),
        "anything about what was never published to the log".to_owned(),
        "the time: `at` is the operator's word, `ts` the producer's".to_owned(),
    ];
    if reach <= Reach::OperatorOnly {
        out.push(
            "anything against whoever holds the log's key: they could have written the whole log anew. A checkpoint that you \
             kept (--known-checkpoint) or a witness closes this"
                .to_owned(),
        );
    }
    out
}

/// Why a check did not hold: it is refuted, or it cannot be decided by this version.
#[derive(Debug)]
enum Problem {
    Refuted(String),
    Unknown(String),
}

impl Problem {
    /// The same, said of a file.
    fn in_file(self, name: &str) -> Self {
        match self {
            Self::Refuted(why) => Self::Refuted(format!("{name}: {why}")),
            Self::Unknown(why) => Self::Unknown(format!("{name}: {why}")),
        }
    }
}

impl From<NotAnEvent> for Problem {
    fn from(error: NotAnEvent) -> Self {
        match error {
            NotAnEvent::Unknown { .. } => Self::Unknown(error.to_string()),
            other => Self::Refuted(other.to_string()),
        }
    }
}

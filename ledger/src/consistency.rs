//! Comparing two verified checkpoints of one log: `verify --known-checkpoint C --consistency F`. A checkpoint that the verifier
//! kept is what an operator cannot take back; this says whether another one extends it, forks from it, or was not compared.
//!
//! The proof travels as the body of a C2SP tlog-witness `add-checkpoint` request:
//!
//! ```text
//! old 20852014
//! PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
//!
//! <the newer checkpoint>
//! ```

use crate::checkpoint::{self, Checkpoint, CheckpointError, Origin, Verified};
use crate::encoding;
use crate::hash::{Hash, empty_root};
use crate::note::VerifierKey;
use crate::proof::{self, Unproved};

/// Hashes that a consistency proof may have, C2SP tlog-witness.
pub const MAX_PROOF_HASHES: usize = 63;

/// A consistency proof with the checkpoint that it leads to. Nothing in it is to be believed before [`compare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Size of the older tree.
    pub old: u64,
    /// The proof, RFC 6962 §2.1.2.
    pub path: Vec<Hash>,
    /// The newer checkpoint, a signed note.
    pub checkpoint: String,
}

/// What a comparison that refutes nothing says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// The same tree.
    Same,
    /// One tree is a prefix of the other, proved.
    Consistent {
        /// Smaller size.
        old: u64,
        /// Larger size.
        new: u64,
    },
    /// Sizes differ and there is no proof: nothing is known.
    NotCompared {
        /// Smaller size.
        old: u64,
        /// Larger size.
        new: u64,
    },
}

/// Why a comparison fails. Only [`Inconsistent::is_fork`] means that the log showed two histories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// Not two checkpoints of one log.
    #[error("checkpoints of two logs, {0} and {1}")]
    OtherLog(Origin, Origin),
    /// The same size and two roots: both are signed, so the log forked.
    #[error("two signed roots for size {size}: {known} and {other}: the log showed two histories")]
    Fork {
        /// Size of both.
        size: u64,
        /// Root of the kept checkpoint.
        known: Hash,
        /// Root of the other.
        other: Hash,
    },
    /// The proof is about other sizes or another checkpoint.
    #[error("the consistency proof is from {found_old} to {found_new}; from {old} to {new} is needed")]
    OtherProof {
        /// Smaller size needed.
        old: u64,
        /// Larger size needed.
        new: u64,
        /// Older size of the proof.
        found_old: u64,
        /// Newer size of the proof.
        found_new: u64,
    },
    /// The checkpoint inside the proof.
    #[error("checkpoint of the consistency proof: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The proof does not hold.
    #[error("consistency proof: {0}")]
    Unproved(#[from] Unproved),
}

/// A text that is no consistency proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("consistency proof (body of a tlog-witness add-checkpoint), line {line}: {reason}")]
pub struct ConsistencyError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Compares a checkpoint that was kept with another one of the same log; whichever is larger has to extend the other.
/// Equal sizes need no proof.
pub fn compare(
    known: &Verified<Checkpoint>,
    other: &Verified<Checkpoint>,
    proof: Option<&ConsistencyProof>,
    key: &VerifierKey,
) -> Result<Compared, Inconsistent> {
    if known.origin != other.origin {
        return Err(Inconsistent::OtherLog(known.origin.clone(), other.origin.clone()));
    }
    if known.size == other.size {
        if known.root == other.root {
            return Ok(Compared::Same);
        }
        return Err(Inconsistent::Fork { size: known.size, known: known.root, other: other.root });
    }
    let (older, newer) = if known.size < other.size { (known, other) } else { (other, known) };
    let (old, new) = (older.size, newer.size);
    if old == 0 && older.root == empty_root() {
        // Every tree begins empty, so there is nothing to prove and no proof of it.
        return Ok(Compared::Consistent { old, new });
    }
    let Some(proof) = proof else {
        return Ok(Compared::NotCompared { old, new });
    };
    let stated = checkpoint::open(&proof.checkpoint, key)?;
    if proof.old != old || stated.size != new {
        return Err(Inconsistent::OtherProof { old, new, found_old: proof.old, found_new: stated.size });
    }
    if stated.root != newer.root {
        return Err(Inconsistent::Fork { size: new, known: newer.root, other: stated.root });
    }
    proof::verify_consistency(old, new, &older.root, &newer.root, &proof.path)?;
    Ok(Compared::Consistent { old, new })
}

impl Inconsistent {
    /// Whether two signed statements contradict each other, whatever the proof.
    pub fn is_fork(&self) -> bool {
        matches!(self, Inconsistent::Fork { .. })
    }
}

impl ConsistencyProof {
    /// The text.
    pub fn to_text(&self) -> String {
        let mut out = format!("old {}\n", self.old);
        for hash in &self.path {
            out.push_str(&hash.to_base64());
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.checkpoint);
        out
    }

    /// The proof of a text; only the spelling of [`ConsistencyProof::to_text`] is read.
    pub fn parse(text: &str) -> Result<ConsistencyProof, ConsistencyError> {
        let ProofParts { old, path, checkpoint } = ConsistencyProof::split(text)?;
        let line = path.len() + 3;
        checkpoint::peek(checkpoint).map_err(|_| ConsistencyError { line, reason: "not a checkpoint" })?;
        Ok(ConsistencyProof { old, path, checkpoint: checkpoint.to_owned() })
    }

    /// The parts of a text, whatever stands below the proof: a witness reads checkpoints of logs that are not ours.
    pub(crate) fn split(text: &str) -> Result<ProofParts<'_>, ConsistencyError> {
        let bad = |line: usize, reason: &'static str| ConsistencyError { line, reason };
        let (head, checkpoint) = text.split_once("\n\n").ok_or(bad(1, "no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(encoding::from_decimal);
        let old = old.ok_or(bad(1, "not `old` and a tree size"))?;
        let path = parse_hashes(lines, MAX_PROOF_HASHES).map_err(|(at, reason)| bad(at + 2, reason))?;
        Ok(ProofParts { old, path, checkpoint })
    }
}

/// A text taken apart, its checkpoint unread.
pub(crate) struct ProofParts<'t> {
    pub(crate) old: u64,
    pub(crate) path: Vec<Hash>,
    pub(crate) checkpoint: &'t str,
}

/// Hashes, one a line; an error names the line, counted from 0.
pub(crate) fn parse_hashes<'a>(
    lines: impl Iterator<Item = &'a str>,
    max: usize,
) -> Result<Vec<Hash>, (usize, &'static str)> {
    let parse = |(at, line): (usize, &str)| {
        if at >= max {
            return Err((at, "more hashes than any tree needs"));
        }
        Hash::from_base64(line).map_err(|_| (at, "not a hash in base64"))
    };
    lines.enumerate().map(parse).collect()
}

//! One pass over the files of headers: digests for `SHA256SUMS`, leaves into the tree, lines into the tally.
//!
//! Three threads joined by short channels, because hashing and reading headers cost about the same: the caller's reads (or makes) files,
//! one hashes, one tallies. Every byte is hashed twice, once as a leaf and once as a file, and looked at once.

use std::ops::Range;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use ledger::frontier::Frontier;
use ledger::hash::{self, Hash};
use sha2::{Digest, Sha256};

use super::tally::{Tallied, Tally, Wrong};

/// Files between two threads: one in work, one waiting.
const AHEAD: usize = 1;

/// One file of headers.
pub(crate) struct Chunk {
    pub(crate) name: String,
    /// The entries that belong in it.
    pub(crate) range: Range<u64>,
    pub(crate) bytes: Vec<u8>,
}

/// What a pass found.
pub(crate) struct Passed {
    /// SHA-256 of each file, in order.
    pub(crate) digests: Vec<(String, [u8; 32])>,
    /// The tree after the last leaf.
    pub(crate) frontier: Frontier,
    /// Roots at the sizes that were asked for and passed.
    pub(crate) roots: Vec<(u64, Hash)>,
    pub(crate) tally: Result<Tallied, Wrong>,
}

/// A file with its leaves and where its lines end.
struct Hashed {
    chunk: Chunk,
    leaves: Vec<Hash>,
    ends: Vec<usize>,
}

/// Takes the files that `feed` hands over. `feed` may stop when it is told so: then nothing more is of use.
pub(crate) fn pass<E>(
    first: Frontier,
    tally: Tally,
    sizes: &[u64],
    feed: impl FnOnce(&mut dyn FnMut(Chunk) -> bool) -> Result<(), E>,
) -> Result<Passed, E> {
    thread::scope(|scope| {
        let (to_hash, chunks) = mpsc::sync_channel(AHEAD);
        let (to_tally, hashed) = mpsc::sync_channel(AHEAD);
        let hashing = scope.spawn(move || hash_all(first, sizes, &chunks, &to_tally));
        let tallying = scope.spawn(move || tally_all(tally, &hashed));
        let outcome = feed(&mut |chunk| to_hash.send(chunk).is_ok());
        drop(to_hash);
        // A panic there is a defect here: it goes on.
        let (frontier, roots, digests, lines) = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let tally = tallying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome?;
        Ok(Passed { digests, frontier, roots, tally: lines.and(tally) })
    })
}

type Digests = Vec<(String, [u8; 32])>;

/// The last frontier, the roots at the sizes asked for, a digest per file, and whether all lines were as expected.
type Hashing = (Frontier, Vec<(u64, Hash)>, Digests, Result<(), Wrong>);

fn hash_all(mut frontier: Frontier, sizes: &[u64], chunks: &Receiver<Chunk>, out: &SyncSender<Hashed>) -> Hashing {
    let mut roots = Vec::new();
    let mut digests = Vec::new();
    let note = |frontier: &Frontier, roots: &mut Vec<(u64, Hash)>| {
        if sizes.contains(&frontier.size()) {
            roots.push((frontier.size(), frontier.root()));
        }
    };
    note(&frontier, &mut roots);
    for chunk in chunks {
        digests.push((chunk.name.clone(), Sha256::digest(&chunk.bytes).into()));
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', &chunk.bytes).collect();
        let expected = chunk.range.end - chunk.range.start;
        if ends.len() as u64 != expected || ends.last().map(|end| end + 1) != Some(chunk.bytes.len()) {
            let wrong = Wrong::Lines { file: chunk.name, found: ends.len() as u64, expected };
            return (frontier, roots, digests, Err(wrong));
        }
        let mut leaves = Vec::with_capacity(ends.len());
        let mut start = 0;
        for end in &ends {
            let leaf = hash::leaf(&chunk.bytes[start..*end]);
            frontier.push(leaf);
            leaves.push(leaf);
            note(&frontier, &mut roots);
            start = end + 1;
        }
        // Where nobody tallies any more, the root is still of use.
        let _ = out.send(Hashed { chunk, leaves, ends });
    }
    (frontier, roots, digests, Ok(()))
}

fn tally_all(mut tally: Tally, hashed: &Receiver<Hashed>) -> Result<Tallied, Wrong> {
    for Hashed { chunk, leaves, ends } in hashed {
        let mut start = 0;
        for ((index, leaf), end) in chunk.range.zip(leaves).zip(ends) {
            tally.push(index, leaf, &chunk.bytes[start..end])?;
            start = end + 1;
        }
    }
    tally.finish()
}

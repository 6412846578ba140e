//! Inclusion and consistency proofs: made from tiles (RFC 6962 §2.1.1, §2.1.2), checked by the algorithms of RFC 9162
//! §2.1.3.2 and §2.1.4.2.
//!
//! Checking needs nothing but hashes and is strict: a proof of another length than the tree asks for is refused.
//! All arithmetic stays inside `u64` for any index and size, hostile ones included.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::hash::{self, Hash};
use crate::tree::{TILE_WIDTH, TileId, TileSource};

/// Why a proof could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProofError<E> {
    /// The index, or the older size, is not inside the tree.
    #[error("{asked} is outside a tree of size {size}")]
    OutOfRange {
        /// Index of an inclusion proof, older size of a consistency proof.
        asked: u64,
        /// Size of the tree.
        size: u64,
    },
    /// A tile holds fewer hashes than the tree's size asks for.
    #[error("tile {}: {found} hashes, {expected} expected", id.path(256))]
    Short {
        /// The tile.
        id: TileId,
        /// Hashes in it.
        found: usize,
        /// Hashes that the tree's size asks for.
        expected: u16,
    },
    /// The source failed.
    #[error("tile could not be read: {0}")]
    Source(E),
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// The index is not inside the tree.
    #[error("index {index} is outside a tree of size {size}")]
    Index {
        /// The index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The older tree is empty or larger than the newer: nothing to prove between them.
    #[error("no consistency to prove from size {old} to size {new}")]
    Sizes {
        /// Size of the older tree.
        old: u64,
        /// Size of the newer tree.
        new: u64,
    },
    /// Too few or too many hashes for these sizes.
    #[error("a proof of {0} hashes does not fit the tree")]
    Length(usize),
    /// The proof leads to another root.
    #[error("root {expected} expected, the proof leads to {found}")]
    Root {
        /// The root to be proved.
        expected: Hash,
        /// The root that the proof gives.
        found: Hash,
    },
    /// The proof leads to another root of the older tree.
    #[error("older root {expected} expected, the proof leads to {found}")]
    OldRoot {
        /// The older root to be proved.
        expected: Hash,
        /// The older root that the proof gives.
        found: Hash,
    },
}

/// Makes several proofs within one tree and reads and hashes each tile once.
pub struct Prover<'s, S> {
    source: &'s S,
    size: u64,
    tiles: HashMap<TileId, Arc<Pyramid>>,
    remembered: Option<&'s Remembered>,
}

/// Tiles of one log that earlier proofs hashed: those above the leaves and those at the right edge, which nearly every proof needs again. A
/// proof in a tree of ten million leaves hashes one tile instead of five.
#[derive(Default)]
pub struct Remembered(Mutex<HashMap<TileId, Arc<Pyramid>>>);

/// Tiles remembered at most, 16 KB each: enough for 30 million leaves.
const REMEMBERED_MAX: usize = 512;

impl Remembered {
    fn find(&self, id: TileId, width: u16) -> Option<Arc<Pyramid>> {
        let tiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tiles.get(&id).filter(|tile| tile.width() == usize::from(width)).cloned()
    }

    fn keep(&self, id: TileId, tile: &Arc<Pyramid>) {
        if id.level == 0 && tile.width() == TILE_WIDTH {
            return;
        }
        let mut tiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tiles.len() >= REMEMBERED_MAX {
            tiles.clear();
        }
        tiles.insert(id, Arc::clone(tile));
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Remembered")
    }
}

/// The audit path of the leaf at `index` in the tree of `size` leaves, from the leaf's sibling upwards.
pub fn inclusion<S: TileSource>(source: &S, index: u64, size: u64) -> Result<Vec<Hash>, ProofError<S::Error>> {
    Prover::new(source, size).inclusion(index)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves; empty for `old` = 0 and `old` = `new`.
pub fn consistency<S: TileSource>(source: &S, old: u64, new: u64) -> Result<Vec<Hash>, ProofError<S::Error>> {
    Prover::new(source, new).consistency(old)
}

/// The root of the tree of `size` leaves.
pub fn root<S: TileSource>(source: &S, size: u64) -> Result<Hash, ProofError<S::Error>> {
    if size == 0 {
        return Ok(hash::empty_root());
    }
    Prover::new(source, size).range(0, size)
}

/// Checks an audit path, RFC 9162 §2.1.3.2.
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, path: &[Hash], root: &Hash) -> Result<(), Unproved> {
    if index >= size {
        return Err(Unproved::Index { index, size });
    }
    let (mut position, mut last) = (index, size - 1);
    let mut found = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(Unproved::Length(path.len()));
        }
        if position & 1 == 1 || position == last {
            found = hash::node(sibling, &found);
            skip_without_sibling(&mut position, &mut last);
        } else {
            found = hash::node(&found, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(Unproved::Length(path.len()));
    }
    if found == *root { Ok(()) } else { Err(Unproved::Root { expected: *root, found }) }
}

/// Checks a consistency proof, RFC 9162 §2.1.4.2. Sizes that are equal need equal roots and an empty proof; from the empty
/// tree nothing can be proved, so `old` = 0 is refused.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), Unproved> {
    if old == 0 || old > new {
        return Err(Unproved::Sizes { old, new });
    }
    if old == new {
        return verify_same(old_root, new_root, proof);
    }
    // Of an older tree that is perfect the proof leaves the first hash out: it is the older root itself.
    let (first, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (old_root, proof),
        Some(split) => split,
        None => return Err(Unproved::Length(0)),
    };
    let (mut position, mut last) = (old - 1, new - 1);
    let shift = position.trailing_ones();
    // `old` ≤ 2^63 when it is all ones below, because `new` is larger: the shift stays below 64.
    position >>= shift;
    last >>= shift;
    let (mut old_found, mut new_found) = (*first, *first);
    for hash in rest {
        if last == 0 {
            return Err(Unproved::Length(proof.len()));
        }
        if position & 1 == 1 || position == last {
            old_found = hash::node(hash, &old_found);
            new_found = hash::node(hash, &new_found);
            skip_without_sibling(&mut position, &mut last);
        } else {
            new_found = hash::node(&new_found, hash);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(Unproved::Length(proof.len()));
    }
    if old_found != *old_root {
        return Err(Unproved::OldRoot { expected: *old_root, found: old_found });
    }
    if new_found == *new_root { Ok(()) } else { Err(Unproved::Root { expected: *new_root, found: new_found }) }
}

fn verify_same(old_root: &Hash, new_root: &Hash, proof: &[Hash]) -> Result<(), Unproved> {
    if !proof.is_empty() {
        return Err(Unproved::Length(proof.len()));
    }
    if old_root == new_root { Ok(()) } else { Err(Unproved::Root { expected: *new_root, found: *old_root }) }
}

/// A node without a right sibling rises unhashed: both counters move up to the next level where it is a right child.
fn skip_without_sibling(position: &mut u64, last: &mut u64) {
    while *position & 1 == 0 && *position != 0 {
        *position >>= 1;
        *last >>= 1;
    }
}

impl<'s, S: TileSource> Prover<'s, S> {
    /// Proofs within the tree of `size` leaves.
    pub fn new(source: &'s S, size: u64) -> Prover<'s, S> {
        Prover { source, size, tiles: HashMap::new(), remembered: None }
    }

    /// The same, with what earlier proofs of this log hashed.
    #[must_use]
    pub fn remembering(self, remembered: &'s Remembered) -> Prover<'s, S> {
        Prover { remembered: Some(remembered), ..self }
    }

    /// See [`inclusion`].
    pub fn inclusion(&mut self, index: u64) -> Result<Vec<Hash>, ProofError<S::Error>> {
        if index >= self.size {
            return Err(ProofError::OutOfRange { asked: index, size: self.size });
        }
        let (mut begin, mut end) = (0, self.size);
        let mut path = Vec::new();
        while end - begin > 1 {
            let middle = begin + split(end - begin);
            if index < middle {
                path.push(self.range(middle, end)?);
                end = middle;
            } else {
                path.push(self.range(begin, middle)?);
                begin = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// See [`consistency`].
    pub fn consistency(&mut self, old: u64) -> Result<Vec<Hash>, ProofError<S::Error>> {
        if old > self.size {
            return Err(ProofError::OutOfRange { asked: old, size: self.size });
        }
        if old == 0 || old == self.size {
            return Ok(Vec::new());
        }
        let (mut begin, mut end) = (0, self.size);
        let mut proof = Vec::new();
        while end != old {
            let middle = begin + split(end - begin);
            if old <= middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(begin, middle)?);
                begin = middle;
            }
        }
        if begin > 0 {
            proof.push(self.range(begin, end)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// The hash over leaves `begin..end`, where `begin` is a multiple of the largest power of two that fits in between,
    /// as it is for every subtree of RFC 6962.
    fn range(&mut self, begin: u64, end: u64) -> Result<Hash, ProofError<S::Error>> {
        let count = end - begin;
        if count.is_power_of_two() {
            return self.subtree(begin, count.trailing_zeros());
        }
        let middle = begin + split(count);
        let left = self.range(begin, middle)?;
        let right = self.range(middle, end)?;
        Ok(hash::node(&left, &right))
    }

    /// The root of the perfect subtree of `height` whose first leaf is `begin`.
    fn subtree(&mut self, begin: u64, height: u32) -> Result<Hash, ProofError<S::Error>> {
        // Heights are below 64, so there are 8 levels.
        let level = u8::try_from(height / 8).unwrap_or(u8::MAX);
        let within = begin >> (height / 8 * 8);
        let id = TileId { level, index: within / TILE_WIDTH as u64 };
        let first = usize::try_from(within % TILE_WIDTH as u64).unwrap_or(0);
        let up = (height % 8) as usize;
        if !self.tiles.contains_key(&id) {
            let tile = self.read(id)?;
            self.tiles.insert(id, tile);
        }
        let found = self.tiles.get(&id).and_then(|tile| tile.rows.get(up)?.get(first >> up));
        found.copied().ok_or(ProofError::Short { id, found: 0, expected: id.width_at(self.size) })
    }

    fn read(&self, id: TileId) -> Result<Arc<Pyramid>, ProofError<S::Error>> {
        let width = id.width_at(self.size);
        if let Some(tile) = self.remembered.and_then(|remembered| remembered.find(id, width)) {
            return Ok(tile);
        }
        let mut hashes = self.source.tile(id, width).map_err(ProofError::Source)?;
        if hashes.len() < usize::from(width) {
            return Err(ProofError::Short { id, found: hashes.len(), expected: width });
        }
        // A source may know a larger tree; what is beyond ours must not be hashed into it.
        hashes.truncate(usize::from(width));
        let tile = Arc::new(Pyramid::over(hashes));
        if let Some(remembered) = self.remembered {
            remembered.keep(id, &tile);
        }
        Ok(tile)
    }
}

/// The largest power of two below `count`, for `count` of at least 2: where RFC 6962 splits a tree.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// A tile with all perfect subtrees within it: row 0 its hashes, each row above half as many.
struct Pyramid {
    rows: Vec<Vec<Hash>>,
}

impl Pyramid {
    fn over(hashes: Vec<Hash>) -> Pyramid {
        let mut rows = vec![hashes];
        while let Some(below) = rows.last().filter(|row| row.len() > 1 && rows.len() < 8) {
            let (pairs, _) = below.as_chunks::<2>();
            let above = pairs.iter().map(|[left, right]| hash::node(left, right)).collect();
            rows.push(above);
        }
        Pyramid { rows }
    }

    fn width(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }
}

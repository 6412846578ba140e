//! The growing RFC 6962 tree: its right edge, and the 256-wide tiles it leaves behind (C2SP tlog-tiles).
//!
//! An [`Edge`] holds everything that is needed to append and to compute the root, at most 255 hashes per level. Full tiles
//! are handed out as they fill and never asked for again. Reading tiles back is a [`TileSource`]'s matter; proofs over
//! one are in [`crate::proof`].

use crate::hash::{self, Hash};

/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 256;

/// The largest tree that an [`Edge`] takes: far beyond any log, far below any overflow.
pub const MAX_SIZE: u64 = 1 << 62;

/// A tile's place: `level` 0 holds leaf hashes, each level above one hash per full tile below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// Tile level, 0 to 7.
    pub level: u8,
    /// Position of the tile within its level.
    pub index: u64,
}

/// Where tiles are read from.
///
/// A source answers for trees it knows: asked for `width` hashes (1 to 256) of a tile it returns at least these, from the
/// tile's start, and an error of its own if it has fewer.
pub trait TileSource {
    /// What goes wrong while reading.
    type Error;

    /// The first `width` hashes of a tile, or more of the same tile.
    fn tile(&self, id: TileId, width: u16) -> Result<Vec<Hash>, Self::Error>;
}

/// The right edge of a tree: per level the hashes of the rightmost, unfinished tile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
    /// Roots of the perfect subtrees of the tree, largest (leftmost) first: one per bit set in `size`. Derived from
    /// `levels`; kept because it makes an append one node hash on average and a root log₂ n of them.
    peaks: Vec<Hash>,
}

/// Bytes that are no encoded [`Edge`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// The size is cut off or beyond [`MAX_SIZE`].
    #[error("tree edge: no size, or one beyond 2^62, in {0} bytes")]
    Size(usize),
    /// The size asks for another number of hashes.
    #[error("tree edge of size {size}: {expected} bytes expected, {found} found")]
    Length {
        /// Tree size that the bytes state.
        size: u64,
        /// Bytes that an edge of this size takes.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

impl TileId {
    /// The path below the log's prefix, `tile/<L>/<N>[.p/<W>]` as C2SP tlog-tiles spells it; `width` 256 is the full tile.
    pub fn path(&self, width: u16) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        let partial = if usize::from(width) < TILE_WIDTH { format!(".p/{width}") } else { String::new() };
        format!("tile/{}/{}{partial}", self.level, groups.join("/"))
    }

    /// How many hashes this tile has in a tree of `size` leaves, 0 to 256.
    pub fn width_at(&self, size: u64) -> u16 {
        let in_level = size.checked_shr(8 * u32::from(self.level)).unwrap_or(0);
        let before = self.index.saturating_mul(TILE_WIDTH as u64);
        // At most 256, so it fits.
        u16::try_from(in_level.saturating_sub(before).min(TILE_WIDTH as u64)).unwrap_or(0)
    }
}

impl Edge {
    /// The edge of the empty tree.
    pub fn new() -> Edge {
        Edge::default()
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The edge as it was at `size` leaves, read back from the tiles of a tree that is at least as large.
    pub fn at<S: TileSource>(source: &S, size: u64) -> Result<Edge, S::Error> {
        let mut levels = Vec::new();
        for (level, width) in (0_u8..).zip(widths(size)) {
            let index = size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
            let mut hashes = Vec::new();
            if let Ok(wanted @ 1..) = u16::try_from(width) {
                hashes = source.tile(TileId { level, index }, wanted)?;
                hashes.truncate(width);
            }
            levels.push(hashes);
        }
        let peaks = levels.iter().rev().flat_map(|level| peaks_of(level)).collect();
        Ok(Edge { size, levels, peaks })
    }

    /// Appends a leaf hash. `full` gets each tile that this leaf completes, level 0 first.
    ///
    /// # Panics
    /// Past 2^64 leaves, which no log reaches.
    pub fn push(&mut self, leaf: Hash, full: &mut impl FnMut(TileId, &[Hash])) {
        self.size += 1;
        self.level_mut(0).push(leaf);
        let mut subtree = leaf;
        for height in 1..=self.size.trailing_zeros() {
            // A bit that is now zero was one before, so its peak is there; without it there is nothing to merge.
            let Some(left) = self.peaks.pop() else { break };
            subtree = hash::node(&left, &subtree);
            if height % 8 == 0 {
                self.finish_tile(height, subtree, full);
            }
        }
        self.peaks.push(subtree);
    }

    /// The root hash, RFC 6962 §2.1.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else {
            return hash::empty_root();
        };
        peaks.fold(*smallest, |right, left| hash::node(left, &right))
    }

    /// Roots of the perfect subtrees of the tree, largest (leftmost) first: one per bit set in the size.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The hashes of the unfinished tile of a level, 0 to 255 of them.
    pub fn level(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The place of a level's unfinished tile.
    pub fn tile_id(&self, level: u8) -> TileId {
        TileId { level, index: self.size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0) }
    }

    /// Size (u64, big-endian), then the hashes of each level from 0. The size says how many there are: one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(encoded_len(self.size));
        out.extend_from_slice(&self.size.to_be_bytes());
        for hash in self.levels.iter().flatten() {
            out.extend_from_slice(&hash.0);
        }
        out
    }

    /// The edge that [`Edge::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Edge, EdgeError> {
        let (head, hashes) = bytes.split_first_chunk::<8>().ok_or(EdgeError::Size(bytes.len()))?;
        let size = u64::from_be_bytes(*head);
        if size > MAX_SIZE {
            return Err(EdgeError::Size(bytes.len()));
        }
        let expected = encoded_len(size);
        if bytes.len() != expected {
            return Err(EdgeError::Length { size, expected, found: bytes.len() });
        }
        let (hashes, _) = hashes.as_chunks::<32>();
        let mut hashes = hashes.iter().map(|bytes| Hash(*bytes));
        let levels: Vec<Vec<Hash>> = widths(size).map(|width| hashes.by_ref().take(width).collect()).collect();
        let peaks = levels.iter().rev().flat_map(|level| peaks_of(level)).collect();
        Ok(Edge { size, levels, peaks })
    }

    fn level_mut(&mut self, level: usize) -> &mut Vec<Hash> {
        while self.levels.len() <= level {
            self.levels.push(Vec::with_capacity(TILE_WIDTH));
        }
        &mut self.levels[level]
    }

    /// The subtree of `height` (a multiple of 8, at least 8) is complete: its tile goes out, its root goes one level up.
    fn finish_tile(&mut self, height: u32, root: Hash, full: &mut impl FnMut(TileId, &[Hash])) {
        let level = height / 8 - 1;
        let index = (self.size >> height) - 1;
        // `height` is below 64, so the level is below 8.
        let id = TileId { level: u8::try_from(level).unwrap_or(u8::MAX), index };
        let tile = self.level_mut(level as usize);
        full(id, tile);
        tile.clear();
        self.level_mut(level as usize + 1).push(root);
    }
}

/// Width of the unfinished tile per level: the base-256 digits of the size, lowest first.
fn widths(size: u64) -> impl Iterator<Item = usize> {
    let digits = size.to_le_bytes();
    let used = 8 - size.leading_zeros() as usize / 8;
    digits.into_iter().take(used).map(usize::from)
}

fn encoded_len(size: u64) -> usize {
    8 + 32 * widths(size).sum::<usize>()
}

/// Roots of the perfect subtrees of one unfinished tile, largest first.
fn peaks_of(hashes: &[Hash]) -> Vec<Hash> {
    let mut rest = hashes;
    let mut peaks = Vec::new();
    while !rest.is_empty() {
        let (block, after) = rest.split_at(1 << rest.len().ilog2());
        peaks.push(perfect_root(block));
        rest = after;
    }
    peaks
}

/// The root over a power of two of hashes.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Hash {
    if let [single] = hashes {
        return *single;
    }
    let (left, right) = hashes.split_at(hashes.len() / 2);
    hash::node(&perfect_root(left), &perfect_root(right))
}

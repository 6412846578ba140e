//! A tree that only grows at its right edge, from its frontier: the roots of its perfect subtrees. Whoever knows the frontier at one
//! size and every leaf that follows computes the root at any later size, in memory of a few hashes (RFC 6962 §2.1).
//!
//! ```text
//! size 11 = 8 + 2 + 1        frontier: root of leaves 0..8, root of leaves 8..10, leaf 10
//! ```
//!
//! [`crate::tree::Edge`] keeps tiles too, which a log needs and a verifier does not.

use crate::hash::{self, Hash};

/// Roots of the perfect subtrees of a tree, largest (leftmost) first: one per bit set in its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a tree of `size` leaves; `None` where the size asks for another number of roots.
    pub fn new(size: u64, peaks: Vec<Hash>) -> Option<Frontier> {
        (peaks.len() == size.count_ones() as usize).then_some(Frontier { size, peaks })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf hash.
    ///
    /// # Panics
    /// Past 2^64 leaves, which no log reaches.
    pub fn push(&mut self, leaf: Hash) {
        let mut subtree = leaf;
        // One merge for each bit that the size carries.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            subtree = hash::node(&left, &subtree);
        }
        self.peaks.push(subtree);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else { return hash::empty_root() };
        peaks.fold(*smallest, |right, left| hash::node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Edge;

    #[test]
    fn it_is_the_edge_without_tiles_at_every_size() {
        let mut edge = Edge::new();
        let mut frontier = Frontier::default();
        for n in 0..700_u64 {
            assert_eq!((frontier.root(), frontier.peaks()), (edge.root(), edge.peaks()), "size {n}");
            let mut resumed = Frontier::new(n, frontier.peaks().to_vec()).unwrap();
            let leaf = hash::leaf(&n.to_be_bytes());
            edge.push(leaf, &mut |_, _| {});
            frontier.push(leaf);
            resumed.push(leaf);
            assert_eq!(resumed, frontier);
        }
        assert_eq!(Frontier::new(3, vec![hash::empty_root()]), None);
        assert_eq!(Frontier::new(0, Vec::new()), Some(Frontier::default()));
    }
}

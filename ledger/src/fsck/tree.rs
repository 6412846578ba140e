//! The tree once more, written for reading alone: subtrees joined on a stack, RFC 6962 §2.1. It shares nothing with
//! [`crate::tree`] but the hashing of leaves and nodes, so that a mistake there does not hide itself here.

use crate::hash::{Hash, empty_root, node};

/// Complete subtrees from left to right, each with its height; higher ones stand further left.
#[derive(Clone, Debug, Default)]
pub(super) struct Stack(Vec<(u8, Hash)>);

impl Stack {
    /// Appends a complete subtree; equal neighbours become one. `joined` hears of each new one.
    pub(super) fn push(&mut self, height: u8, hash: Hash, mut joined: impl FnMut(u8, Hash)) {
        let (mut height, mut hash) = (height, hash);
        while let Some((_, left)) = self.0.pop_if(|(left, _)| *left == height) {
            hash = node(&left, &hash);
            height += 1;
            joined(height, hash);
        }
        self.0.push((height, hash));
    }

    /// Root of the tree of everything in `before` and then in `self`.
    pub(super) fn root_after(&self, before: &Stack) -> Hash {
        let all = before.0.iter().chain(&self.0).rev();
        let root =
            all.fold(None, |right: Option<Hash>, (_, left)| Some(right.map_or(*left, |right| node(left, &right))));
        root.unwrap_or_else(empty_root)
    }

    pub(super) fn root(&self) -> Hash {
        self.root_after(&Stack::default())
    }
}

/// Root of a tree over hashes that are leaves or complete subtrees of one height.
pub(super) fn root_of(hashes: &[Hash]) -> Hash {
    let mut stack = Stack::default();
    for hash in hashes {
        stack.push(0, *hash, |_, _| ());
    }
    stack.root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf;

    /// The definition itself: split at the largest power of two below the size.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node(&defined(left), &defined(right))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_definition_however_the_leaves_are_divided() {
        let leaves: Vec<Hash> = (0..70_u8).map(|n| leaf(&[n])).collect();
        for size in 0..leaves.len() {
            assert_eq!(root_of(&leaves[..size]), defined(&leaves[..size]), "{size} leaves");
            let mut before = Stack::default();
            let whole = size / 16 * 16;
            leaves[..whole].chunks(16).for_each(|chunk| before.push(4, root_of(chunk), |_, _| ()));
            let mut rest = Stack::default();
            leaves[whole..size].iter().for_each(|leaf| rest.push(0, *leaf, |_, _| ()));
            assert_eq!(rest.root_after(&before), defined(&leaves[..size]), "{size} leaves in two parts");
        }
    }
}

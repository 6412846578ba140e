//! Two sets of rows compared without keeping either: each row adds a number that all of its fields go into, and equal sets have
//! equal sums. It finds damage, which does not aim; somebody who can write to the store could aim at both sides anyway.

use crate::dedupe::Fingerprint;
use crate::hash::Hash;

/// Sums of one log. All wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Fingerprints beside events, less dedupe rows.
    pub(super) dedupe: u128,
    /// Events that are no head of a chain, less the predecessors that events name.
    pub(super) links: u128,
    /// Events that are the head of a chain, less chain rows.
    pub(super) heads: u128,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.dedupe = self.dedupe.wrapping_add(other.dedupe);
        self.links = self.links.wrapping_add(other.links);
        self.heads = self.heads.wrapping_add(other.heads);
    }
}

/// The number of an event in the dedupe index.
pub(super) fn dedupe(fingerprint: &Fingerprint, index: u64) -> u128 {
    Mix::new().bytes(&fingerprint.0).word(index).done()
}

/// The number of an event in its change's chain.
pub(super) fn link(change: &str, seq: u64, leaf: &Hash, index: u64) -> u128 {
    Mix::new().bytes(change.as_bytes()).bytes(&leaf.0).word(seq).word(index).done()
}

/// The number of a chain's head; the change's key only where it can be made.
pub(super) fn head(key: Option<&[u8; 16]>, seq: u64, leaf: &Hash, index: u64) -> u128 {
    Mix::new().bytes(key.map_or(&[], |key| &key[..])).bytes(&leaf.0).word(seq).word(index).done()
}

/// Two lanes of multiply and shift, the constants those of splitmix64 and of the golden ratio.
struct Mix(u64, u64);

impl Mix {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03)
    }

    fn word(self, word: u64) -> Self {
        let a = (self.0 ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (self.1.rotate_left(23) ^ word).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(a ^ (a >> 29), b ^ (b >> 31))
    }

    /// The bytes with their number, so that fields do not run into each other.
    fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mixed = words.iter().fold(self, |mix, word| mix.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        mixed.word(u64::from_le_bytes(last)).word(bytes.len() as u64)
    }

    fn done(self) -> u128 {
        let Self(a, b) = self.word(0);
        (u128::from(a) << 64) | u128::from(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_every_field_matters() {
        let leaf = Hash([7; 32]);
        let base = link("change", 3, &leaf, 9);
        let mut others = vec![link("chang", 3, &leaf, 9), link("changf", 3, &leaf, 9), link("change\0", 3, &leaf, 9)];
        others.extend(
            (0..64)
                .flat_map(|bit| [link("change", 3 ^ (1 << bit), &leaf, 9), link("change", 3, &leaf, 9 ^ (1 << bit))]),
        );
        for bit in 0..256 {
            let mut flipped = leaf;
            flipped.0[bit / 8] ^= 1 << (bit % 8);
            others.push(link("change", 3, &flipped, 9));
        }
        let count = others.len();
        others.push(base);
        others.sort_unstable();
        others.dedup();
        assert_eq!(others.len(), count + 1);
        assert_ne!(head(None, 1, &leaf, 1), head(Some(&[0; 16]), 1, &leaf, 1));
        assert_ne!(dedupe(&Fingerprint([0; 16]), 1), dedupe(&Fingerprint([0; 16]), 2));
    }
}

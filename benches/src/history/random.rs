//! A small generator (splitmix64): the same seed gives the same numbers everywhere.

/// Numbers of a seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in so many of 1,000.
    pub(super) fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    pub(super) fn pick<T: Copy>(&mut self, words: &[T]) -> T {
        let count = words.len() as u64;
        words[usize::try_from(self.below(count)).unwrap_or(0)]
    }
}

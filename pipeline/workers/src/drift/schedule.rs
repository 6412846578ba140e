//! When a resource is due. The same seed gives the same times on every machine, and no two resources the same ones.

use sha2::{Digest, Sha256};

/// When to look again after a look at `last_ms`: the time between two looks, and up to `jitter_percent` of it later, by the seed and how many
/// such times have passed.
pub fn next_ms(seed: &str, last_ms: u64, every_s: u64, jitter_percent: u64) -> u64 {
    let span_ms = every_s.saturating_mul(1_000).max(1);
    let most = span_ms.saturating_mul(jitter_percent) / 100;
    let mut hash = Sha256::new();
    hash.update(seed.as_bytes());
    hash.update([0]);
    hash.update((last_ms / span_ms).to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    // A remainder is uneven by less than one in 2^30 here.
    let jitter = u64::from_be_bytes(head) % most.saturating_add(1);
    last_ms.saturating_add(span_ms).saturating_add(jitter)
}

//! Check values: eight bytes at the end of rows that nothing else vouches for, so that fsck, and every read, sees a flipped bit
//! in them. They guard against damage, not against whoever can write to the store: that is what signatures are for.

use sha2::{Digest, Sha256};

use super::{Key, LayoutError};

/// Length of a check value.
pub const CHECK_BYTES: usize = 8;

impl Key {
    /// What a row of this key and `value` ends in: SHA-256(space ‖ length of the key ‖ key ‖ value)[..8]. The key is in it,
    /// so that rows that were swapped are seen too.
    pub fn check(&self, value: &[u8]) -> [u8; CHECK_BYTES] {
        let key = self.bytes();
        // Keys have at most 64 bytes.
        let length = u8::try_from(key.len()).unwrap_or(u8::MAX);
        let hash = Sha256::new().chain_update([self.space() as u8, length]).chain_update(&*key).chain_update(value);
        let digest = hash.finalize();
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&digest[..CHECK_BYTES]);
        check
    }

    /// The row of this key: `value`, then its check value.
    pub fn with_check(&self, mut value: Vec<u8>) -> Vec<u8> {
        let check = self.check(&value);
        value.extend_from_slice(&check);
        value
    }

    /// The value of a row that [`with_check`](Self::with_check) made for this key.
    pub fn without_check<'r>(&self, row: &'r [u8]) -> Result<&'r [u8], LayoutError> {
        let refused =
            LayoutError { what: self.space().name(), expected: "a row with its check value", found: row.len() };
        let (value, check) = row.split_last_chunk::<CHECK_BYTES>().ok_or(refused.clone())?;
        if self.check(value) == *check { Ok(value) } else { Err(refused) }
    }
}

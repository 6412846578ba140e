//! Every key and every value of the store, and nothing else: what a row means is decided here alone.
//!
//! Keys are big-endian, so that byte order is number order; the first byte is the row's kind, then comes the log. Values that
//! are foreign bytes (entries, checkpoints, hashes of a tile) are stored as they are; ours are fixed fields in order, numbers
//! big-endian, texts behind a length of four bytes. Both directions are bijective: what does not read back to the same bytes
//! is refused. [`FORMAT_VERSION`] stands for all of it.
//!
//! Rows marked * end in a check value ([`Key::check`]): nothing in the tree or in another row would tell a flipped bit of
//! theirs. Whatever is added here needs one too, unless fsck can derive it.
//!
//! | space | key | value |
//! |---|---|---|
//! | entries | `01 ‖ log ‖ index` | entry: header bytes, what the tree hashes |
//! | payloads | `02 ‖ log ‖ last index` | [`Block`] *: up to 64 payloads, each with salt, fingerprint and previous index |
//! | tree | `03 ‖ log ‖ level ‖ index` | full tile: 256 hashes |
//! | tree | `04 ‖ log ‖ size` | [`SignedAt`]: size of the checkpoint before, signed note |
//! | tree | `05 ‖ log ‖ index` | [`Details`] of a rejection *: beside the tree, deletable |
//! | tree | `06 ‖ log ‖ index` | what a tenant's commitment in `_ledger` opens to: beside the tree, deletable |
//! | tree | `07 ‖ log ‖ counter` | index of the control entry with this counter |
//! | tree | `08 ‖ log ‖ size` | cosignature lines of that checkpoint *: written later than it, replaced by longer sets |
//! | index | `01 ‖ log ‖ fingerprint` | index of the accepted event or control message |
//! | index | `02 ‖ log ‖ change key` | [`ChainHead`] |
//! | meta | `00` | format version |
//! | meta | `01` | ledger name |
//! | meta | `02` | next log number |
//! | meta | `03 ‖ log` | [`LogRow`] * |
//! | meta | `04 ‖ log` | [`Head`](crate::append::Head) * |
//! | meta | `05 ‖ tenant` | log number |
//! | meta | `06 ‖ log` | size of the newest checkpoint with enough cosignatures * |

mod block;
mod check;
mod key;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use block::BlockWriter;
pub use block::{BLOCK_SPAN, Block, Parts};
pub use check::CHECK_BYTES;
pub use key::{Key, KeyBytes, LogId};
pub use value::{
    ChainHead, Details, LogRow, SignedAt, Stored, decode_head, decode_tile, encode_head, encode_tile, read_u32,
    read_u64,
};

use thiserror::Error;

/// Version of all encodings in this module. A store with another one is refused. 2 added check values, 3 blocks of payloads; neither 1
/// nor 2 was released.
pub const FORMAT_VERSION: u32 = 3;

/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 256;

/// A row that this version never wrote: damage, or another version's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not a {what} row: expected {expected}, found {found} bytes")]
pub struct LayoutError {
    /// Kind of row.
    pub what: &'static str,
    /// What was expected.
    pub expected: &'static str,
    /// Length of what was found.
    pub found: usize,
}

//! Files before they are copied: of each its name, length, checksum and digest, and where its bytes come from a second time.
//!
//! Small files are kept while there is room for them; of everything else nothing is kept but the way to make it again.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

/// Bytes of files that may be kept instead of being made again, so that the pack of a usual change reads its log once.
const SHELF_BYTES: usize = 8 << 20;

/// A file that is planned.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) crc: u32,
    pub(crate) sha256: [u8; 32],
    pub(crate) source: Source,
}

/// Where the bytes of a file come from. A place is a position among the change's entries.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Kept(Box<[u8]>),
    /// The entry's bytes.
    Entry(usize),
    /// The payload.
    Event(usize),
    Proof(usize),
    /// One of the files cut out of the payload.
    Part(usize),
    /// The difference between two plans.
    Diff(Box<Pair>),
    /// Entries behind the change's last one.
    Headers(Range<u64>),
    /// The object of this digest. Never in memory.
    Object([u8; 32]),
}

/// Two entries with plans, each with its attempt.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) before: (usize, u64),
    pub(crate) now: (usize, u64),
}

impl Planned {
    /// A file that stays in memory.
    pub(crate) fn kept(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        let (size, crc) = (bytes.len() as u64, crc32fast::hash(&bytes));
        let sha256 = Sha256::digest(&bytes).into();
        Self { name: name.into(), size, crc, sha256, source: Source::Kept(bytes.into_boxed_slice()) }
    }

    /// A file that is made again from `source` when it is copied.
    pub(crate) fn again(name: String, bytes: &[u8], source: Source) -> Self {
        let (crc, sha256) = (crc32fast::hash(bytes), Sha256::digest(bytes).into());
        Self { name, size: bytes.len() as u64, crc, sha256, source }
    }

    /// Whether these are the bytes that were planned.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        self.size == bytes.len() as u64 && self.sha256 == <[u8; 32]>::from(Sha256::digest(bytes))
    }
}

/// Room for files that need not be made again.
#[derive(Debug)]
pub(crate) struct Shelf {
    left: usize,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self { left: SHELF_BYTES }
    }

    /// Keeps nothing.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { left: 0 }
    }

    /// Plans a file, and keeps its bytes while there is room.
    pub(crate) fn plan(&mut self, name: String, bytes: Vec<u8>, source: Source) -> Planned {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                Planned::kept(name, bytes)
            }
            None => Planned::again(name, &bytes, source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_made_again() {
        let mut shelf = Shelf { left: 5 };
        let kept = |planned: &Planned| matches!(planned.source, Source::Kept(_));
        let first = shelf.plan("a".into(), b"four".to_vec(), Source::Entry(0));
        let second = shelf.plan("b".into(), b"two".to_vec(), Source::Entry(1));
        let third = shelf.plan("c".into(), b"1".to_vec(), Source::Entry(2));
        assert_eq!([&first, &second, &third].map(kept), [true, false, true]);
        assert!(second.is(b"two") && !second.is(b"tow") && !second.is(b"twos"));
    }
}

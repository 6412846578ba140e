//! The files of a pack that is verified, read from it whenever they are asked for: of the whole pack no more is in memory than the list of
//! its files, and the one that is looked at.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::derived;
use crate::zip::{Found, ReadError, ScanError, scan};

/// Bytes of a file that is read whole, at most. Headers are 16,384 lines of at most 2,048 bytes a file, and all else is far below; a larger one
/// was made to fill the memory of whoever looks.
const WHOLE_MAX: u32 = 40 << 20;

/// Files by name. Each had its digest taken when the pack was read through, and is compared with it when it is read again.
pub(crate) struct Files<'a> {
    source: RefCell<Box<dyn Source + 'a>>,
    found: BTreeMap<String, Found>,
    /// Of the whole pack.
    pub(crate) bytes: u64,
    broke: Cell<bool>,
}

/// What a pack is read from.
trait Source: Read + Seek {}

impl<R: Read + Seek> Source for R {}

impl<'a> Files<'a> {
    /// Reads a pack through and checks its form.
    pub(crate) fn scan(mut source: impl Read + Seek + 'a) -> Result<Self, ScanError> {
        let (found, bytes) = scan(&mut source)?;
        if let Some(large) = found.iter().find(|file| file.size > WHOLE_MAX && !derived::by_digest(&file.name)) {
            return Err(ScanError::Form(ReadError::Field {
                at: large.name.clone(),
                field: "size of a file that is read whole, at most",
                found: u64::from(large.size),
                expected: u64::from(WHOLE_MAX),
            }));
        }
        let found = found.into_iter().map(|found| (found.name.clone(), found)).collect();
        Ok(Self { source: RefCell::new(Box::new(source)), found, bytes, broke: Cell::new(false) })
    }

    /// The content of a file. None where there is no such file, where it is one to compare by digest only, and where it could not be read
    /// again ([`Files::broke`]).
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        let found = self.found.get(name).filter(|found| found.size <= WHOLE_MAX)?;
        let bytes = self.read(found).ok().filter(|bytes| <[u8; 32]>::from(Sha256::digest(bytes)) == found.sha256);
        self.broke.set(self.broke.get() || bytes.is_none());
        bytes
    }

    /// The content of a file as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        String::from_utf8(self.get(name)?).ok()
    }

    /// The digest of a file.
    pub(crate) fn sha256(&self, name: &str) -> Option<&[u8; 32]> {
        self.found.get(name).map(|found| &found.sha256)
    }

    /// The length of a file, in bytes.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        self.found.get(name).map(|found| u64::from(found.size))
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.found.keys().map(String::as_str)
    }

    /// How many files there are.
    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// Whether a file could not be read again, or was another one by then.
    pub(crate) fn broke(&self) -> bool {
        self.broke.get()
    }

    fn read(&self, found: &Found) -> io::Result<Vec<u8>> {
        let mut source = self.source.borrow_mut();
        source.seek(SeekFrom::Start(found.at))?;
        let mut bytes = vec![0; found.size as usize];
        source.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

//! The one zip form an evidence pack has: a stored, sorted, dated-1980 archive in which every byte but names, lengths,
//! checksums and contents is fixed. Writing it and reading it strictly.
//!
//! Follows PKWARE APPNOTE 6.3.x, sections 4.3.7 (local header), 4.3.12 (central directory) and 4.3.16 (end record). Leaves
//! out everything a pack does not need: compression, encryption, zip64, data descriptors, extra fields, comments,
//! directories. The reader accepts exactly what the writer writes, so two programs can never read two different
//! contents from one accepted file; what differs is named.

use std::io::{self, Write};

mod scan;

pub use scan::read;
pub(crate) use scan::{Found, ScanError, scan};

/// Largest archive that is written or read, in bytes: what fits on one disc, and far below the 4 GiB where zip64 begins.
pub const MAX_ARCHIVE_BYTES: u64 = 1 << 30;
/// Most files in one archive: one below the value that would mean zip64.
pub const MAX_FILES: usize = 0xfffe;
/// Longest file name, in bytes.
pub const MAX_NAME_BYTES: usize = 120;

const LOCAL_SIGNATURE: &[u8; 4] = b"PK\x03\x04";
const CENTRAL_SIGNATURE: &[u8; 4] = b"PK\x01\x02";
const END_SIGNATURE: &[u8; 4] = b"PK\x05\x06";
const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;
/// Version 1.0 is enough to extract a stored file.
const VERSION_NEEDED: u16 = 10;
/// Made by a Unix system (upper byte 3), so that the permissions below are read.
const VERSION_MADE_BY: u16 = 0x0300 | VERSION_NEEDED;
/// 1980-01-01, the earliest date the format can say; the time is 0.
const DOS_DATE: u16 = (1 << 5) | 1;
/// A regular file, `rw-r--r--`.
const EXTERNAL_ATTRIBUTES: u32 = 0o100_644 << 16;

/// Why files cannot become an archive.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// A file name is not in the allowed form.
    #[error("file name {name:?} is not allowed in a pack: {why}")]
    Name {
        /// The name, as given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Names are not strictly ascending.
    #[error("file name {name:?} is out of order or there twice")]
    Order {
        /// The name that does not follow its predecessor.
        name: String,
    },
    /// Too many files.
    #[error("{found} files, at most {MAX_FILES} fit in a pack")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// The archive would be too large.
    #[error("the pack would have {found} bytes, at most {MAX_ARCHIVE_BYTES} are allowed")]
    TooLarge {
        /// Its size in bytes.
        found: u64,
    },
}

/// Why an archive is refused. Every variant is a refutation but [`ReadError::TooLarge`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// Larger than a pack may be: cannot be decided here.
    #[error("the file has more than {MAX_ARCHIVE_BYTES} bytes, which is more than this verifier reads")]
    TooLarge,
    /// Not an archive, or one with something after its end record.
    #[error(
        "no end record in the last {END_BYTES} bytes: not a zip, cut short, with a comment, or with bytes after its end"
    )]
    NoEnd,
    /// A field that a pack fixes has another value.
    #[error("{at}: {field} is {found}, expected {expected}")]
    Field {
        /// File name or part of the archive.
        at: String,
        /// Field of the zip format.
        field: &'static str,
        /// Value found.
        found: u64,
        /// Value expected.
        expected: u64,
    },
    /// A file name is not allowed.
    #[error("file name {name:?}: {why}")]
    Name {
        /// The name, lossily decoded.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Central directory and local header name different files.
    #[error("{central:?} in the directory is {local:?} in its local header")]
    TwoNames {
        /// Name in the central directory.
        central: String,
        /// Name in the local header, lossily decoded.
        local: String,
    },
    /// Names out of order.
    #[error("{name:?} is there twice or out of order")]
    Order {
        /// The later name.
        name: String,
    },
    /// Two names that some file systems take for one.
    #[error("{name:?} differs from another name only by upper and lower case")]
    Folded {
        /// The later name.
        name: String,
    },
    /// The bytes end early, or leave something over.
    #[error("{at}: {left} bytes are there, {needed} are needed")]
    Bytes {
        /// File name or part of the archive.
        at: String,
        /// Bytes found.
        left: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// A signature of the format is missing where a record must start.
    #[error("{at}: no record starts where one must (data before, between or after the files?)")]
    Signature {
        /// File name or part of the archive.
        at: String,
    },
}

/// One file of an archive, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Its name, in the allowed form.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// Writes `files`, which must be sorted by name, as an archive.
///
/// Everything is planned (names, lengths, checksums, offsets) before the first byte is written.
pub fn write(files: &[File<'_>], out: &mut impl Write) -> Result<(), WriteError> {
    let sizes = files.iter().map(|file| (file.name, file.bytes.len() as u64, crc32fast::hash(file.bytes)));
    let records = layout(sizes)?;
    for (record, file) in records.iter().zip(files) {
        out.write_all(&local_header(record))?;
        out.write_all(file.bytes)?;
    }
    out.write_all(&tail(&records))?;
    Ok(())
}

/// Why an archive was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The files cannot become a pack.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The output failed.
    #[error("writing the pack: {0}")]
    Io(#[from] io::Error),
}

/// Why `name` may not stand in a pack, if so. Only letters, digits and `-_.` in parts separated by `/`: nothing that any
/// system reads as a traversal, a device, an absolute path or another encoding.
pub fn bad_name(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Some("empty or too long");
    }
    if name.starts_with(b"/") {
        return Some("absolute path");
    }
    if name.iter().any(|c| !(c.is_ascii_alphanumeric() || b"-_./".contains(c))) {
        return Some("a character that is not a letter, a digit or one of - _ . /");
    }
    for part in name.split(|c| *c == b'/') {
        match part {
            b"" => return Some("an empty part (a directory, or two slashes)"),
            b"." | b".." => return Some("traversal"),
            _ if part.starts_with(b".") || part.ends_with(b".") => return Some("a part starts or ends with a dot"),
            _ => {}
        }
    }
    None
}

/// A file's place and content.
pub(crate) struct Record<'a> {
    pub(crate) name: &'a str,
    pub(crate) crc: u32,
    pub(crate) size: u32,
    pub(crate) offset: u64,
}

impl Record<'_> {
    /// Where its content begins.
    pub(crate) fn content(&self) -> u64 {
        self.offset + (LOCAL_BYTES + self.name.len()) as u64
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> u64 {
        self.content() + u64::from(self.size)
    }
}

/// Places files, given as name, length and checksum, one behind the other.
pub(crate) fn layout<'a>(files: impl Iterator<Item = (&'a str, u64, u32)>) -> Result<Vec<Record<'a>>, PlanError> {
    let mut records: Vec<Record<'a>> = Vec::new();
    let (mut offset, mut central) = (0, END_BYTES as u64);
    for (name, size, crc) in files {
        if let Some(why) = bad_name(name.as_bytes()) {
            return Err(PlanError::Name { name: name.to_owned(), why });
        }
        if records.last().is_some_and(|last| last.name >= name) {
            return Err(PlanError::Order { name: name.to_owned() });
        }
        let end = offset + (LOCAL_BYTES + name.len()) as u64 + size;
        central += (CENTRAL_BYTES + name.len()) as u64;
        let fits = u32::try_from(size).ok().filter(|_| end + central <= MAX_ARCHIVE_BYTES);
        let size = fits.ok_or(PlanError::TooLarge { found: end + central })?;
        records.push(Record { name, crc, size, offset });
        offset = end;
    }
    if records.len() > MAX_FILES {
        return Err(PlanError::TooMany { found: records.len() });
    }
    Ok(records)
}

/// Where the last file ends and the central directory begins.
pub(crate) fn end_of(records: &[Record<'_>]) -> u64 {
    records.last().map_or(0, Record::end)
}

/// Everything behind the last file.
pub(crate) fn tail(records: &[Record<'_>]) -> Vec<u8> {
    let mut out: Vec<u8> = records.iter().flat_map(central_header).collect();
    let end = end_record(records.len(), out.len() as u64, end_of(records));
    out.extend_from_slice(&end);
    out
}

#[expect(clippy::cast_possible_truncation, reason = "names are at most MAX_NAME_BYTES long")]
pub(crate) fn local_header(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(LOCAL_BYTES + record.name.len());
    out.extend_from_slice(LOCAL_SIGNATURE);
    for field in [VERSION_NEEDED, 0, 0, 0, DOS_DATE] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [record.crc, record.size, record.size] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [record.name.len() as u16, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(record.name.as_bytes());
    out
}

#[expect(clippy::cast_possible_truncation, reason = "the archive is at most MAX_ARCHIVE_BYTES long, below 4 GiB")]
pub(crate) fn central_header(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(CENTRAL_BYTES + record.name.len());
    out.extend_from_slice(CENTRAL_SIGNATURE);
    for field in [VERSION_MADE_BY, VERSION_NEEDED, 0, 0, 0, DOS_DATE] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [record.crc, record.size, record.size] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [record.name.len() as u16, 0, 0, 0, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [EXTERNAL_ATTRIBUTES, record.offset as u32] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(record.name.as_bytes());
    out
}

#[expect(clippy::cast_possible_truncation, reason = "planned: at most MAX_FILES files and MAX_ARCHIVE_BYTES bytes")]
pub(crate) fn end_record(files: usize, central_bytes: u64, central_at: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(END_BYTES);
    out.extend_from_slice(END_SIGNATURE);
    for field in [0, 0, files as u16, files as u16] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [central_bytes as u32, central_at as u32] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&0u16.to_le_bytes());
    out
}

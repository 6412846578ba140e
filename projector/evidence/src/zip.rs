//! The one zip form an evidence pack has: a stored, sorted, dated-1980 archive in which every byte but names, lengths,
//! checksums and contents is fixed. Writing it and reading it strictly.
//!
//! Follows PKWARE APPNOTE 6.3.x, sections 4.3.7 (local header), 4.3.12 (central directory) and 4.3.16 (end record). Leaves
//! out everything a pack does not need: compression, encryption, zip64, data descriptors, extra fields, comments,
//! directories. The reader accepts exactly what the writer writes, so two programs can never read two different
//! contents from one accepted file; what differs is named.

use std::io::{self, Write};

/// Largest archive that is written or read, in bytes. A pack is read into memory to be checked.
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
    /// Larger than a verifier takes into memory: cannot be decided here.
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
    let records = plan(files)?;
    for (record, file) in records.iter().zip(files) {
        out.write_all(&local_header(record))?;
        out.write_all(file.bytes)?;
    }
    let mut central = 0;
    for record in &records {
        let header = central_header(record);
        central += header.len();
        out.write_all(&header)?;
    }
    let start = records.last().map_or(0, |r| r.offset + (LOCAL_BYTES + r.name.len()) as u64 + u64::from(r.size));
    out.write_all(&end_record(records.len(), central as u64, start))?;
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

/// Reads an archive, accepting only the form that [`write()`] gives. The files come sorted by name.
pub fn read(archive: &[u8]) -> Result<Vec<File<'_>>, ReadError> {
    if archive.len() as u64 > MAX_ARCHIVE_BYTES {
        return Err(ReadError::TooLarge);
    }
    let end_at = archive.len().checked_sub(END_BYTES).ok_or(ReadError::NoEnd)?;
    let end = &archive[end_at..];
    if !end.starts_with(END_SIGNATURE) {
        return Err(ReadError::NoEnd);
    }
    let (count, size, start) = read_end(end)?;
    let central = slice(archive, start, size, "central directory")?;
    require("end record", "end of the central directory", start + size, end_at as u64)?;
    let records = read_central(central, count)?;
    let mut files = Vec::with_capacity(records.len());
    let mut at = 0;
    for record in &records {
        files.push(read_local(archive, record, at)?);
        at += (LOCAL_BYTES + record.name.len()) as u64 + u64::from(record.size);
    }
    require("central directory", "offset, where the last file ends,", start, at)?;
    Ok(files)
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

fn plan<'a>(files: &[File<'a>]) -> Result<Vec<Record<'a>>, PlanError> {
    if files.len() > MAX_FILES {
        return Err(PlanError::TooMany { found: files.len() });
    }
    let total: u64 = END_BYTES as u64
        + files.iter().map(|f| (LOCAL_BYTES + CENTRAL_BYTES + 2 * f.name.len() + f.bytes.len()) as u64).sum::<u64>();
    if total > MAX_ARCHIVE_BYTES {
        return Err(PlanError::TooLarge { found: total });
    }
    let mut records: Vec<Record<'a>> = Vec::with_capacity(files.len());
    let mut offset = 0;
    for file in files {
        if let Some(why) = bad_name(file.name.as_bytes()) {
            return Err(PlanError::Name { name: file.name.to_owned(), why });
        }
        if records.last().is_some_and(|last| last.name >= file.name) {
            return Err(PlanError::Order { name: file.name.to_owned() });
        }
        // Cannot fail: the total is far below 4 GiB.
        let size = u32::try_from(file.bytes.len()).map_err(|_| PlanError::TooLarge { found: total })?;
        records.push(Record { name: file.name, crc: crc32fast::hash(file.bytes), size, offset });
        offset += (LOCAL_BYTES + file.name.len() + file.bytes.len()) as u64;
    }
    Ok(records)
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

/// (number of files, bytes of the central directory, its offset).
fn read_end(end: &[u8]) -> Result<(u64, u64, u64), ReadError> {
    const AT: &str = "end record";
    let count = u16_at(end, 10);
    require(AT, "number of this disk", u16_at(end, 4), 0)?;
    require(AT, "disk of the central directory", u16_at(end, 6), 0)?;
    require(AT, "number of files on this disk", u16_at(end, 8), count)?;
    require(AT, "length of the comment", u16_at(end, 20), 0)?;
    if count > MAX_FILES as u64 {
        return Err(ReadError::Field {
            at: AT.into(),
            field: "number of files",
            found: count,
            expected: MAX_FILES as u64,
        });
    }
    Ok((count, u32_at(end, 12), u32_at(end, 16)))
}

fn read_central(central: &[u8], count: u64) -> Result<Vec<Record<'_>>, ReadError> {
    let mut records: Vec<Record<'_>> = Vec::new();
    let mut folded = std::collections::HashSet::new();
    let mut at = 0;
    for n in 0..count {
        let place = format!("entry {n} of the central directory");
        let header = slice(central, at, CENTRAL_BYTES as u64, &place)?;
        if !header.starts_with(CENTRAL_SIGNATURE) {
            return Err(ReadError::Signature { at: place });
        }
        let name = slice(central, at + CENTRAL_BYTES as u64, u16_at(header, 28), &place)?;
        let name = safe_name(name)?;
        check_fixed(name, header, 6, u16_at(header, 4))?;
        for (field, found) in [
            ("length of the extra field", u16_at(header, 30)),
            ("length of the comment", u16_at(header, 32)),
            ("disk", u16_at(header, 34)),
            ("internal attributes", u16_at(header, 36)),
        ] {
            require(name, field, found, 0)?;
        }
        require(
            name,
            "type and permissions (external attributes)",
            u32_at(header, 38),
            u64::from(EXTERNAL_ATTRIBUTES),
        )?;
        if !folded.insert(name.to_ascii_lowercase()) && records.iter().all(|r| r.name != name) {
            return Err(ReadError::Folded { name: name.to_owned() });
        }
        if records.last().is_some_and(|last| last.name >= name) {
            return Err(ReadError::Order { name: name.to_owned() });
        }
        let size = u32_at(header, 24);
        require(name, "stored size", u32_at(header, 20), size)?;
        records.push(Record { name, crc: u32_le(header, 16), size: u32_le(header, 24), offset: u32_at(header, 42) });
        at += (CENTRAL_BYTES + name.len()) as u64;
    }
    if at != central.len() as u64 {
        return Err(ReadError::Bytes { at: "central directory".into(), left: central.len() as u64, needed: at });
    }
    Ok(records)
}

/// Checks the fields that both headers share, from "version needed" (at `from`) to the date.
fn check_fixed(name: &str, header: &[u8], from: usize, made_by: u64) -> Result<(), ReadError> {
    require(name, "version made by", made_by, u64::from(VERSION_MADE_BY))?;
    require(name, "version needed", u16_at(header, from), u64::from(VERSION_NEEDED))?;
    require(name, "flags (encryption, data descriptor, encoding)", u16_at(header, from + 2), 0)?;
    require(name, "method (0 = stored)", u16_at(header, from + 4), 0)?;
    require(name, "time", u16_at(header, from + 6), 0)?;
    require(name, "date", u16_at(header, from + 8), u64::from(DOS_DATE))
}

fn read_local<'a>(archive: &'a [u8], record: &Record<'a>, at: u64) -> Result<File<'a>, ReadError> {
    let name = record.name;
    require(name, "offset, where the file before it ends,", record.offset, at)?;
    let header = slice(archive, at, LOCAL_BYTES as u64, name)?;
    if !header.starts_with(LOCAL_SIGNATURE) {
        return Err(ReadError::Signature { at: name.to_owned() });
    }
    check_fixed(name, header, 4, u64::from(VERSION_MADE_BY))?;
    require(name, "checksum in the local header", u32_at(header, 14), u64::from(record.crc))?;
    require(name, "stored size in the local header", u32_at(header, 18), u64::from(record.size))?;
    require(name, "size in the local header", u32_at(header, 22), u64::from(record.size))?;
    require(name, "length of the extra field in the local header", u16_at(header, 28), 0)?;
    let local = slice(archive, at + LOCAL_BYTES as u64, u16_at(header, 26), name)?;
    if local != name.as_bytes() {
        let local = String::from_utf8_lossy(local).into_owned();
        return Err(ReadError::TwoNames { central: name.to_owned(), local });
    }
    let bytes = slice(archive, at + (LOCAL_BYTES + name.len()) as u64, u64::from(record.size), name)?;
    require(name, "checksum (CRC-32) of the content", u64::from(crc32fast::hash(bytes)), u64::from(record.crc))?;
    Ok(File { name, bytes })
}

fn safe_name(name: &[u8]) -> Result<&str, ReadError> {
    let lossy = || String::from_utf8_lossy(name).into_owned();
    if let Some(why) = bad_name(name) {
        return Err(ReadError::Name { name: lossy(), why });
    }
    std::str::from_utf8(name).map_err(|_| ReadError::Name { name: lossy(), why: "not UTF-8" })
}

fn require(at: &str, field: &'static str, found: u64, expected: u64) -> Result<(), ReadError> {
    if found == expected {
        return Ok(());
    }
    Err(ReadError::Field { at: at.to_owned(), field, found, expected })
}

fn slice<'a>(bytes: &'a [u8], at: u64, len: u64, what: &str) -> Result<&'a [u8], ReadError> {
    let total = bytes.len() as u64;
    let short = || ReadError::Bytes { at: what.to_owned(), left: total.saturating_sub(at), needed: len };
    let end = at.checked_add(len).filter(|end| *end <= total).ok_or_else(short)?;
    let (at, end) = (usize::try_from(at).map_err(|_| short())?, usize::try_from(end).map_err(|_| short())?);
    bytes.get(at..end).ok_or_else(short)
}

/// Reads two bytes of a header whose length was checked.
fn u16_at(header: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes([header[at], header[at + 1]]))
}

/// Reads four bytes of a header whose length was checked.
fn u32_le(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn u32_at(header: &[u8], at: usize) -> u64 {
    u64::from(u32_le(header, at))
}

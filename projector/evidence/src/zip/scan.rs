//! Reading an archive strictly: once from its beginning to its end, with no more of it in memory than its directory.

use std::collections::HashSet;
use std::io::{self, BufRead as _, BufReader, Cursor, Read, Seek, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::{
    CENTRAL_BYTES, CENTRAL_SIGNATURE, DOS_DATE, END_BYTES, END_SIGNATURE, EXTERNAL_ATTRIBUTES, File, LOCAL_BYTES,
    LOCAL_SIGNATURE, MAX_ARCHIVE_BYTES, MAX_FILES, MAX_NAME_BYTES, ReadError, VERSION_MADE_BY, VERSION_NEEDED,
    bad_name,
};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that was found, and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    /// Where its content begins.
    pub(crate) at: u64,
    pub(crate) size: u32,
    pub(crate) sha256: [u8; 32],
}

/// Why an archive was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error(transparent)]
    Form(#[from] ReadError),
    #[error("it could not be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads an archive, accepting only the form that [`super::write()`] gives. The files come sorted by name.
pub fn read(archive: &[u8]) -> Result<Vec<File<'_>>, ReadError> {
    let found = match scan(Cursor::new(archive)) {
        Ok((found, _)) => found,
        Err(ScanError::Form(error)) => return Err(error),
        // Memory does not fail, and what is asked of it was checked to be there.
        Err(ScanError::Io(_)) => return Err(ReadError::NoEnd),
    };
    found
        .iter()
        .map(|file| {
            let bytes = slice(archive, file.at, u64::from(file.size), &file.name)?;
            let name = slice(archive, file.at - file.name.len() as u64, file.name.len() as u64, &file.name)?;
            Ok(File { name: safe_name(name)?, bytes })
        })
        .collect()
}

/// Reads an archive through, checks its whole form and takes the digest of each file. Gives the archive's length too.
pub(crate) fn scan(source: impl Read + Seek) -> Result<(Vec<Found>, u64), ScanError> {
    let mut archive = Archive::open(source)?;
    let end_at = archive.bytes.checked_sub(END_BYTES as u64).ok_or(ReadError::NoEnd)?;
    let end = archive.fetch(end_at, END_BYTES as u64, "end record")?;
    if !end.starts_with(END_SIGNATURE) {
        return Err(ReadError::NoEnd.into());
    }
    let (count, size, start) = read_end(&end)?;
    // No longer than its files can make it, whatever it says: it is taken into memory.
    let longest = count * (CENTRAL_BYTES + MAX_NAME_BYTES) as u64;
    if size > longest {
        return Err(ReadError::Bytes { at: "central directory".into(), left: size, needed: longest }.into());
    }
    let central = archive.fetch(start, size, "central directory")?;
    require("end record", "end of the central directory", start + size, end_at)?;
    let records = read_central(&central, count)?;
    let mut found = Vec::with_capacity(records.len());
    let mut at = 0;
    for record in records {
        let file = read_local(&mut archive, record, at)?;
        at = file.at + u64::from(file.size);
        found.push(file);
    }
    require("central directory", "offset, where the last file ends,", start, at)?;
    Ok((found, archive.bytes))
}

/// A file as the central directory has it.
struct Listed {
    name: String,
    crc: u32,
    size: u32,
    offset: u64,
}

struct Archive<R> {
    source: BufReader<R>,
    at: u64,
    bytes: u64,
}

impl<R: Read + Seek> Archive<R> {
    fn open(mut source: R) -> Result<Self, ScanError> {
        let bytes = source.seek(SeekFrom::End(0))?;
        if bytes > MAX_ARCHIVE_BYTES {
            return Err(ReadError::TooLarge.into());
        }
        source.seek(SeekFrom::Start(0))?;
        Ok(Self { source: BufReader::with_capacity(PIECE_BYTES, source), at: 0, bytes })
    }

    /// Bytes of which few are asked for at once.
    fn fetch(&mut self, at: u64, length: u64, what: &str) -> Result<Vec<u8>, ScanError> {
        self.go_to(at, length, what)?;
        let mut out = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.source.read_exact(&mut out)?;
        self.at += length;
        Ok(out)
    }

    /// Checksum and digest of what follows.
    fn digest(&mut self, length: u32, what: &str) -> Result<(u32, [u8; 32]), ScanError> {
        self.go_to(self.at, u64::from(length), what)?;
        let (mut crc, mut sha256) = (crc32fast::Hasher::new(), Sha256::new());
        let mut left = length as usize;
        while left > 0 {
            let piece = self.source.fill_buf()?;
            let piece = &piece[..piece.len().min(left)];
            if piece.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            crc.update(piece);
            sha256.update(piece);
            let read = piece.len();
            self.source.consume(read);
            left -= read;
        }
        self.at += u64::from(length);
        Ok((crc.finalize(), sha256.finalize().into()))
    }

    fn go_to(&mut self, at: u64, length: u64, what: &str) -> Result<(), ScanError> {
        if at.checked_add(length).is_none_or(|end| end > self.bytes) {
            let left = self.bytes.saturating_sub(at);
            return Err(ReadError::Bytes { at: what.to_owned(), left, needed: length }.into());
        }
        // Both are within the archive, which is far smaller than what fits.
        let by = i64::try_from(at).unwrap_or_default() - i64::try_from(self.at).unwrap_or_default();
        self.source.seek_relative(by)?;
        self.at = at;
        Ok(())
    }
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

fn read_central(central: &[u8], count: u64) -> Result<Vec<Listed>, ReadError> {
    let mut records: Vec<Listed> = Vec::new();
    let mut folded = HashSet::new();
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
        if records.last().is_some_and(|last| last.name.as_str() >= name) {
            return Err(ReadError::Order { name: name.to_owned() });
        }
        let size = u32_at(header, 24);
        require(name, "stored size", u32_at(header, 20), size)?;
        at += (CENTRAL_BYTES + name.len()) as u64;
        let (name, offset) = (name.to_owned(), u32_at(header, 42));
        records.push(Listed { name, crc: u32_le(header, 16), size: u32_le(header, 24), offset });
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

fn read_local<R: Read + Seek>(archive: &mut Archive<R>, listed: Listed, at: u64) -> Result<Found, ScanError> {
    let Listed { name, crc, size, offset } = listed;
    require(&name, "offset, where the file before it ends,", offset, at)?;
    let header = archive.fetch(at, LOCAL_BYTES as u64, &name)?;
    if !header.starts_with(LOCAL_SIGNATURE) {
        return Err(ReadError::Signature { at: name }.into());
    }
    check_fixed(&name, &header, 4, u64::from(VERSION_MADE_BY))?;
    require(&name, "checksum in the local header", u32_at(&header, 14), u64::from(crc))?;
    require(&name, "stored size in the local header", u32_at(&header, 18), u64::from(size))?;
    require(&name, "size in the local header", u32_at(&header, 22), u64::from(size))?;
    require(&name, "length of the extra field in the local header", u16_at(&header, 28), 0)?;
    let local = archive.fetch(at + LOCAL_BYTES as u64, u16_at(&header, 26), &name)?;
    if local != name.as_bytes() {
        let local = String::from_utf8_lossy(&local).into_owned();
        return Err(ReadError::TwoNames { central: name, local }.into());
    }
    let at = archive.at;
    let (found, sha256) = archive.digest(size, &name)?;
    require(&name, "checksum (CRC-32) of the content", u64::from(found), u64::from(crc))?;
    Ok(Found { name, at, size, sha256 })
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

//! The zip of a population: the same plain form as a pack's ([`crate::zip`]), but larger than memory, with its files in the order in which
//! they were written.
//!
//! One form: stored, dated 1980, no comments, nothing before, between or after. Zip64 records (PKWARE APPNOTE 4.3.14, 4.3.15, 4.5.3)
//! stand exactly where an offset does not fit into 32 bits. The reader makes the bytes that it expects of each header again and
//! compares, so that whatever differs is refused, and no two programs read two contents from one file.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::zip::{self, MAX_FILES, ReadError};

/// Largest file in a population, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 28;

const END_BYTES: u64 = 22;
const LOCATOR_BYTES: u64 = 20;
const END64_BYTES: u64 = 56;
const CENTRAL_BYTES: usize = 46;
/// The value that says: look into the zip64 record.
const IN_ZIP64: u32 = u32::MAX;
/// Version 4.5 of the format has zip64.
const VERSION_ZIP64: u16 = 45;

/// A file's place and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: String,
    crc: u32,
    pub(crate) size: u32,
    offset: u64,
}

/// Writes files one after the other.
pub(crate) struct Writer<W> {
    out: W,
    at: u64,
    records: Vec<Record>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, at: 0, records: Vec::new() }
    }

    pub(crate) fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {why}"));
        if let Some(why) = zip::bad_name(name.as_bytes()) {
            return Err(refused(why));
        }
        let size = u32::try_from(bytes.len()).ok().filter(|size| u64::from(*size) <= MAX_FILE_BYTES);
        let size = size.ok_or_else(|| refused("more bytes than a file of a population may have"))?;
        if self.records.len() == MAX_FILES {
            return Err(refused("more files than fit in a population"));
        }
        let record = Record { name: name.to_owned(), crc: crc32fast::hash(bytes), size, offset: self.at };
        let header = local(&record);
        self.out.write_all(&header)?;
        self.out.write_all(bytes)?;
        self.at += header.len() as u64 + u64::from(size);
        self.records.push(record);
        Ok(())
    }

    /// Writes the directory. Gives the output back.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64)> {
        let tail = tail(&self.records, self.at);
        self.out.write_all(&tail)?;
        self.out.flush()?;
        Ok((self.out, self.at + tail.len() as u64))
    }
}

/// Reads files, all of them in order or one by name. Opening it checks the whole form but the contents' checksums.
pub(crate) struct Reader<R> {
    source: R,
    records: Vec<Record>,
    pub(crate) bytes: u64,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error(transparent)]
    Form(#[from] ReadError),
    #[error("it could not be read: {0}")]
    Io(#[from] io::Error),
}

impl<R: Read + Seek> Reader<R> {
    pub(crate) fn open(mut source: R) -> Result<Self, ArchiveError> {
        let bytes = source.seek(SeekFrom::End(0))?;
        let (start, central_bytes) = find_central(&mut source, bytes)?;
        let central = read_at(&mut source, start, central_bytes)?;
        let records = read_central(&central)?;
        let mut at = 0;
        for record in &records {
            if record.offset != at {
                return Err(field(&record.name, "offset, where the file before it ends,", record.offset, at).into());
            }
            at += (local(record).len() as u64) + u64::from(record.size);
        }
        if at != start {
            return Err(field("central directory", "offset, where the last file ends,", start, at).into());
        }
        // The directory and the end again, as the writer makes them: every field at once.
        let expected = tail(&records, start);
        let found = read_at(&mut source, start, bytes - start)?;
        if found != expected {
            let at = found.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
            let (found, expected) = (found.len() as u64, expected.len() as u64);
            let at = format!(
                "the directory and the end, {expected} bytes from {start}, differ from their one form at byte {at}"
            );
            return Err(ReadError::Bytes { at, left: found, needed: expected }.into());
        }
        Ok(Self { source, records, bytes })
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The content of a file, by its place in the order.
    pub(crate) fn read(&mut self, number: usize) -> Result<Vec<u8>, ArchiveError> {
        let Some(record) = self.records.get(number) else { return Err(ReadError::NoEnd.into()) };
        let header = local(record);
        let found = read_at(&mut self.source, record.offset, header.len() as u64)?;
        if found != header {
            return Err(ReadError::Signature { at: record.name.clone() }.into());
        }
        let bytes = read_on(&mut self.source, u64::from(record.size))?;
        let crc = crc32fast::hash(&bytes);
        if crc != record.crc {
            let (found, expected) = (u64::from(crc), u64::from(record.crc));
            return Err(field(&record.name, "checksum (CRC-32) of the content", found, expected).into());
        }
        Ok(bytes)
    }
}

fn field(at: &str, field: &'static str, found: u64, expected: u64) -> ReadError {
    ReadError::Field { at: at.to_owned(), field, found, expected }
}

fn local(record: &Record) -> Vec<u8> {
    zip::local_header(&zip::Record { name: &record.name, crc: record.crc, size: record.size, offset: 0 })
}

/// Central directory, zip64 records where they are needed, end record; `start` is where it begins.
fn tail(records: &[Record], start: u64) -> Vec<u8> {
    let mut out: Vec<u8> = records.iter().flat_map(central).collect();
    let (bytes, count) = (out.len() as u64, records.len() as u64);
    let short = u32::try_from(start).ok().filter(|start| *start != IN_ZIP64);
    if short.is_none() {
        let at = start + bytes;
        out.extend_from_slice(b"PK\x06\x06");
        out.extend_from_slice(&(END64_BYTES - 12).to_le_bytes());
        out.extend_from_slice(&(0x0300 | VERSION_ZIP64).to_le_bytes());
        out.extend_from_slice(&VERSION_ZIP64.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        for number in [count, count, bytes, start] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(b"PK\x06\x07\0\0\0\0");
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&1_u32.to_le_bytes());
    }
    out.extend_from_slice(&zip::end_record(records.len(), bytes, u64::from(short.unwrap_or(IN_ZIP64))));
    out
}

fn central(record: &Record) -> Vec<u8> {
    let short = u32::try_from(record.offset).ok().filter(|offset| *offset != IN_ZIP64);
    let offset = u64::from(short.unwrap_or(IN_ZIP64));
    let mut out = zip::central_header(&zip::Record { name: &record.name, crc: record.crc, size: record.size, offset });
    if short.is_none() {
        out[6..8].copy_from_slice(&VERSION_ZIP64.to_le_bytes());
        out[30..32].copy_from_slice(&12_u16.to_le_bytes());
        out.extend_from_slice(&[1, 0, 8, 0]);
        out.extend_from_slice(&record.offset.to_le_bytes());
    }
    out
}

/// (offset, length) of the central directory. Nothing here is believed: the tail is made again and compared.
fn find_central(source: &mut (impl Read + Seek), bytes: u64) -> Result<(u64, u64), ArchiveError> {
    let end_at = bytes.checked_sub(END_BYTES).ok_or(ReadError::NoEnd)?;
    let end = read_at(source, end_at, END_BYTES)?;
    if !end.starts_with(b"PK\x05\x06") {
        return Err(ReadError::NoEnd.into());
    }
    let (size, short) = (u64::from(u32_at(&end, 12)), u32_at(&end, 16));
    let mut start = u64::from(short);
    let mut until = end_at;
    if short == IN_ZIP64 {
        let at = end_at.checked_sub(LOCATOR_BYTES + END64_BYTES).ok_or(ReadError::NoEnd)?;
        start = u64_at(&read_at(source, at, END64_BYTES)?, 48);
        until = at;
    }
    let limit = (MAX_FILES * (CENTRAL_BYTES + zip::MAX_NAME_BYTES + 12)) as u64;
    if size > limit || start.checked_add(size) != Some(until) {
        let end = start.saturating_add(size);
        return Err(field("end record", "end of the central directory", end, until).into());
    }
    Ok((start, size))
}

fn read_central(mut central: &[u8]) -> Result<Vec<Record>, ReadError> {
    let mut records: Vec<Record> = Vec::new();
    let mut folded = HashSet::new();
    while !central.is_empty() {
        let place = format!("entry {} of the central directory", records.len());
        let short =
            |needed: usize| ReadError::Bytes { at: place.clone(), left: central.len() as u64, needed: needed as u64 };
        let header = central.get(..CENTRAL_BYTES).ok_or_else(|| short(CENTRAL_BYTES))?;
        let (length, extra) = (usize::from(u16_at(header, 28)), usize::from(u16_at(header, 30)));
        let all = central.get(..CENTRAL_BYTES + length + extra).ok_or_else(|| short(CENTRAL_BYTES + length + extra))?;
        let name = &all[CENTRAL_BYTES..CENTRAL_BYTES + length];
        let lossy = || String::from_utf8_lossy(name).into_owned();
        if let Some(why) = zip::bad_name(name) {
            return Err(ReadError::Name { name: lossy(), why });
        }
        let name = std::str::from_utf8(name).map_err(|_| ReadError::Name { name: lossy(), why: "not UTF-8" })?;
        let offset = match u32_at(header, 42) {
            IN_ZIP64 if extra == 12 => u64_at(all, all.len() - 8),
            offset => u64::from(offset),
        };
        let record = Record { name: name.to_owned(), crc: u32_at(header, 16), size: u32_at(header, 24), offset };
        if central_differs(&record, all) {
            return Err(ReadError::Signature { at: record.name });
        }
        if u64::from(record.size) > MAX_FILE_BYTES {
            return Err(field(&record.name, "stored size, at most", u64::from(record.size), MAX_FILE_BYTES));
        }
        if !folded.insert(name.to_ascii_lowercase()) {
            return Err(ReadError::Folded { name: record.name });
        }
        records.push(record);
        central = &central[all.len()..];
    }
    Ok(records)
}

fn central_differs(record: &Record, found: &[u8]) -> bool {
    central(record) != found
}

fn read_at(source: &mut (impl Read + Seek), at: u64, length: u64) -> Result<Vec<u8>, ArchiveError> {
    source.seek(SeekFrom::Start(at))?;
    read_on(source, length)
}

fn read_on(source: &mut impl Read, length: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut out = Vec::with_capacity(usize::try_from(length.min(1 << 26)).unwrap_or_default());
    let read = source.take(length).read_to_end(&mut out)? as u64;
    if read != length {
        return Err(ReadError::Bytes { at: "the file".to_owned(), left: read, needed: length }.into());
    }
    Ok(out)
}

/// Two bytes of a header whose length was checked.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |eight| u64::from_le_bytes(*eight))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, bytes) in files {
            writer.file(name, bytes).unwrap();
        }
        writer.finish().unwrap().0
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let bytes = archive(&[("headers/1.ndjson", b"one\n"), ("SHA256SUMS", b""), ("a", b"zwei")]);
        let mut reader = Reader::open(Cursor::new(&bytes)).unwrap();
        let names: Vec<_> = reader.records().iter().map(|r| r.name.clone()).collect();
        assert_eq!(names, ["headers/1.ndjson", "SHA256SUMS", "a"]);
        assert_eq!((reader.read(0).unwrap(), reader.read(2).unwrap()), (b"one\n".to_vec(), b"zwei".to_vec()));
        let all = |bytes: &[u8]| -> Result<(), ArchiveError> {
            let mut reader = Reader::open(Cursor::new(bytes))?;
            (0..reader.records().len()).try_for_each(|number| reader.read(number).map(drop))
        };
        assert!(all(&bytes).is_ok());
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut bad = bytes.clone();
                bad[at] ^= bit;
                assert!(all(&bad).is_err(), "byte {at} may be changed unseen");
            }
        }
        for bad in
            [&bytes[1..], &bytes[..bytes.len() - 1], b"", &[&b"x"[..], &bytes].concat(), &[&bytes[..], b"x"].concat()]
        {
            assert!(all(bad).is_err());
        }
        assert!(Writer::new(Vec::new()).file("../x", b"").is_err());
        for twice in [["a", "a"], ["a", "A"]] {
            assert!(all(&archive(&[(twice[0], b"1"), (twice[1], b"2")])).is_err(), "{twice:?}");
        }
    }

    /// A file that is zeros but for its beginning and its end, so that a test can be larger than 4 GiB.
    struct Sparse {
        at: u64,
        written: Vec<(u64, Vec<u8>)>,
    }

    impl Read for Sparse {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let found = self.written.iter().find(|(at, bytes)| (*at..*at + bytes.len() as u64).contains(&self.at));
            let (at, bytes) = found.ok_or_else(|| io::Error::other("a hole"))?;
            let from = usize::try_from(self.at - at).unwrap();
            let n = out.len().min(bytes.len() - from);
            out[..n].copy_from_slice(&bytes[from..from + n]);
            self.at += n as u64;
            Ok(n)
        }
    }

    impl Seek for Sparse {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            let end = self.written.last().map_or(0, |(at, bytes)| at + bytes.len() as u64);
            self.at = match to {
                SeekFrom::Start(at) => at,
                SeekFrom::End(by) => end.checked_add_signed(by).unwrap(),
                SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
            };
            Ok(self.at)
        }
    }

    #[test]
    fn past_4_gib_the_offsets_stand_in_zip64_records() {
        let size = u32::try_from(MAX_FILE_BYTES).unwrap();
        let mut records = Vec::new();
        let mut at = 0;
        for n in 0..17 {
            let record = Record { name: format!("headers/{n}"), crc: 0, size, offset: at };
            at += local(&record).len() as u64 + u64::from(size);
            records.push(record);
        }
        let last = Record { name: "last".into(), crc: crc32fast::hash(b"end"), size: 3, offset: at };
        let mut content = local(&last);
        content.extend_from_slice(b"end");
        let start = at + content.len() as u64;
        records.push(last);
        content.extend_from_slice(&tail(&records, start));
        let mut reader = Reader::open(Sparse { at: 0, written: vec![(at, content.clone())] }).unwrap();
        assert_eq!(reader.records(), records);
        assert_eq!(reader.read(17).unwrap(), b"end");
        for byte in 0..content.len() {
            let mut bad = content.clone();
            bad[byte] ^= 1;
            let Ok(mut reader) = Reader::open(Sparse { at: 0, written: vec![(at, bad)] }) else { continue };
            // What is said of a file that is not read is seen where it is read.
            let seen = reader.records() != records || reader.read(17).is_err();
            assert!(seen, "byte {byte} of the end may be changed unseen");
        }
    }
}

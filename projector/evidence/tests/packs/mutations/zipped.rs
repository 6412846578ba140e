//! Zips that two programs read in two ways, that hold more than they show, or that break who unpacks them.

use std::io::Write;

use super::Mutation;
use crate::world::World;

/// A zip in the one form, to be bent before it is written: every field of every header stands by itself.
struct Zip {
    before: Vec<u8>,
    files: Vec<Odd>,
    /// Between the last file and the central directory.
    between: Vec<u8>,
    /// Between the central directory and the end record.
    behind: Vec<u8>,
    comment: Vec<u8>,
    after: Vec<u8>,
    /// Said in the end record instead of the truth.
    count: Option<u16>,
    count_here: Option<u16>,
    central_at: Option<u32>,
    central_bytes: Option<u32>,
    disk: u16,
}

#[derive(Clone)]
struct Odd {
    content: Vec<u8>,
    /// Behind the content, before the next file.
    behind: Vec<u8>,
    local: Fields,
    central: Fields,
    made_by: u16,
    comment: Vec<u8>,
    disk: u16,
    internal: u16,
    external: u32,
    /// Where the central directory says that the file is; the truth where nothing is said.
    offset: Option<u32>,
    /// Not written at all: the central directory points into another file.
    absent: bool,
}

/// What both headers of a file say.
#[derive(Clone)]
struct Fields {
    name: Vec<u8>,
    version: u16,
    flags: u16,
    method: u16,
    time: u16,
    date: u16,
    crc: u32,
    stored: u32,
    size: u32,
    extra: Vec<u8>,
}

impl Fields {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for field in [self.version, self.flags, self.method, self.time, self.date] {
            out.extend(field.to_le_bytes());
        }
        for field in [self.crc, self.stored, self.size] {
            out.extend(field.to_le_bytes());
        }
        for len in [self.name.len(), self.extra.len()] {
            out.extend(u16::try_from(len).unwrap().to_le_bytes());
        }
        out
    }
}

impl Odd {
    fn new(name: &[u8], content: &[u8]) -> Self {
        let size = u32::try_from(content.len()).unwrap();
        let crc = crc32fast::hash(content);
        let fields = Fields {
            name: name.to_vec(),
            version: 10,
            flags: 0,
            method: 0,
            time: 0,
            date: 0x21,
            crc,
            stored: size,
            size,
            extra: Vec::new(),
        };
        Self {
            content: content.to_vec(),
            behind: Vec::new(),
            local: fields.clone(),
            central: fields,
            made_by: 0x030a,
            comment: Vec::new(),
            disk: 0,
            internal: 0,
            external: 0o100_644 << 16,
            offset: None,
            absent: false,
        }
    }

    /// The same in both headers.
    fn both(&mut self, change: impl Fn(&mut Fields)) {
        change(&mut self.local);
        change(&mut self.central);
    }

    fn rename(&mut self, name: &[u8]) {
        self.both(|fields| fields.name = name.to_vec());
    }

    /// Other content, as a compressor leaves it.
    fn packed(&mut self, method: u16, stored: Vec<u8>) {
        let len = u32::try_from(stored.len()).unwrap();
        self.both(|fields| (fields.method, fields.stored) = (method, len));
        self.content = stored;
    }
}

impl Zip {
    fn of(world: &World) -> Self {
        let files = world.files("a").iter().map(|(name, bytes)| Odd::new(name.as_bytes(), bytes)).collect();
        Self {
            before: Vec::new(),
            files,
            between: Vec::new(),
            behind: Vec::new(),
            comment: Vec::new(),
            after: Vec::new(),
            count: None,
            count_here: None,
            central_at: None,
            central_bytes: None,
            disk: 0,
        }
    }

    /// The file `checkpoint`.
    fn target(&mut self) -> &mut Odd {
        self.files.iter_mut().find(|file| file.central.name == b"checkpoint").unwrap()
    }

    /// Where file number `n` begins, in a zip with nothing before it.
    fn place_of(&self, n: usize) -> u32 {
        let lens = self.files[..n].iter().map(|file| 30 + file.local.name.len() + file.content.len());
        u32::try_from(lens.sum::<usize>()).unwrap()
    }

    fn insert(&mut self, file: Odd) {
        let at = self.files.partition_point(|other| other.central.name < file.central.name);
        self.files.insert(at, file);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.before.clone();
        let mut offsets = Vec::new();
        for file in &self.files {
            offsets.push(u32::try_from(out.len()).unwrap());
            if !file.absent {
                out.extend([&b"PK\x03\x04"[..], &file.local.bytes(), &file.local.name, &file.local.extra].concat());
                out.extend([&file.content[..], &file.behind].concat());
            }
        }
        out.extend(&self.between);
        let central_at = u32::try_from(out.len()).unwrap();
        for (file, offset) in self.files.iter().zip(offsets) {
            out.extend(b"PK\x01\x02");
            out.extend(file.made_by.to_le_bytes());
            out.extend(file.central.bytes());
            for field in [u16::try_from(file.comment.len()).unwrap(), file.disk, file.internal] {
                out.extend(field.to_le_bytes());
            }
            for field in [file.external, file.offset.unwrap_or(offset)] {
                out.extend(field.to_le_bytes());
            }
            out.extend([&file.central.name[..], &file.central.extra, &file.comment].concat());
        }
        let central_bytes = u32::try_from(out.len()).unwrap() - central_at;
        out.extend(&self.behind);
        let files = u16::try_from(self.files.len()).unwrap();
        let count = self.count.unwrap_or(files);
        out.extend(b"PK\x05\x06");
        for field in [self.disk, self.disk, self.count_here.unwrap_or(count), count] {
            out.extend(field.to_le_bytes());
        }
        for field in [self.central_bytes.unwrap_or(central_bytes), self.central_at.unwrap_or(central_at)] {
            out.extend(field.to_le_bytes());
        }
        out.extend(u16::try_from(self.comment.len()).unwrap().to_le_bytes());
        out.extend([&self.comment[..], &self.after].concat());
        out
    }
}

#[test]
fn a_zip_that_is_not_bent_is_a_pack() {
    let world = World::small();
    assert!(Zip::of(&world).bytes() == world.pack("a"), "the bytes differ");
}

type Bend = fn(&mut Zip);

pub(super) fn all() -> Vec<Mutation> {
    let world = World::small();
    let honest = world.pack("a");
    let bent = |(name, bend, names): &(&'static str, Bend, &'static str)| {
        let mut zip = Zip::of(&world);
        bend(&mut zip);
        let pack = zip.bytes();
        assert!(pack != honest, "{name} changes nothing");
        Mutation { name, pack, check: "zip.form", names }
    };
    let all = [NAMES, FIELDS, PLACES, BOMBS];
    let mut out: Vec<Mutation> = all.into_iter().flatten().map(bent).collect();
    let whole = |name, pack, names| Mutation { name, pack, check: "zip.form", names };
    let second = [&honest[..], &World::full().pack("b")].concat();
    out.push(whole("two packs in one file", second, "end of the central directory"));
    out.push(whole("a pack cut in its end record", honest[..honest.len() - 1].to_vec(), "no end record"));
    out.push(whole("a pack cut in its central directory", honest[..honest.len() - 60].to_vec(), "no end record"));
    out.push(whole("an empty file", Vec::new(), "no end record"));
    out.push(whole("an end record alone, cut", b"PK\x05\x06".to_vec(), "no end record"));
    let mut nothing = Zip::of(&world);
    nothing.files.clear();
    out.push(Mutation { name: "a zip of no file", pack: nothing.bytes(), check: "sums.list", names: "SHA256SUMS" });
    out
}

const NAMES: &[(&str, Bend, &str)] = &[
    ("a name that leads out", |zip| zip.target().rename(b"../checkpoint"), "\"../checkpoint\": traversal"),
    ("a name that leads out further on", |zip| zip.target().rename(b"a/../../checkpoint"), "traversal"),
    ("a name that leads here", |zip| zip.target().rename(b"./checkpoint"), "\"./checkpoint\""),
    ("an absolute name", |zip| zip.target().rename(b"/checkpoint"), "\"/checkpoint\": absolute"),
    ("a name with a drive", |zip| zip.target().rename(b"C:checkpoint"), "\"C:checkpoint\": a character"),
    ("a name with backslashes", |zip| zip.target().rename(b"..\\checkpoint"), "a character"),
    ("a name with NUL", |zip| zip.target().rename(b"checkpoint\0.txt"), "a character"),
    ("a name of two lines", |zip| zip.target().rename(b"checkpoint\nx"), "a character"),
    ("a name with a space at its end", |zip| zip.target().rename(b"checkpoint "), "a character"),
    ("a name with a dot at its end", |zip| zip.target().rename(b"checkpoint."), "\"checkpoint.\": a part"),
    ("a hidden name", |zip| zip.target().rename(b".checkpoint"), "\".checkpoint\": a part"),
    ("an empty name", |zip| zip.target().rename(b""), "\"\": empty or too long"),
    ("a name that is too long", |zip| zip.target().rename(&[b'c'; 121]), "empty or too long"),
    ("a directory", |zip| zip.insert(Odd::new(b"plan/", b"")), "\"plan/\": an empty part"),
    ("two slashes", |zip| zip.target().rename(b"a//checkpoint"), "an empty part"),
    ("a name that is no UTF-8", |zip| zip.target().rename(b"checkpoin\xff"), "a character"),
    ("a name in capitals beside it", |zip| zip.insert(Odd::new(b"CHECKPOINT", b"x")), "\"checkpoint\" differs"),
    (
        "a name in another normal form",
        |zip| {
            zip.insert(Odd::new("caf\u{e9}".as_bytes(), b"x"));
            zip.insert(Odd::new("cafe\u{301}".as_bytes(), b"x"));
        },
        "a character",
    ),
    ("a name with the Kelvin sign", |zip| zip.insert(Odd::new("chec\u{212a}point".as_bytes(), b"x")), "a character"),
    ("a name in full-width letters", |zip| zip.insert(Odd::new("\u{ff43}heckpoint".as_bytes(), b"x")), "a character"),
    (
        "a name with a zero-width space",
        |zip| zip.insert(Odd::new("check\u{200b}point".as_bytes(), b"x")),
        "a character",
    ),
    (
        "a name twice, the same bytes",
        |zip| {
            let twin = zip.target().clone();
            zip.insert(twin);
        },
        "\"checkpoint\" is there twice",
    ),
    ("a name twice, other bytes", |zip| zip.insert(Odd::new(b"checkpoint", b"x")), "\"checkpoint\" is there twice"),
    ("a name twice, apart", |zip| zip.files.push(Odd::new(b"checkpoint", b"x")), "\"checkpoint\" is there twice"),
    ("names out of order", |zip| zip.files.reverse(), "out of order"),
    (
        "another name in the local header",
        |zip| zip.target().local.name = b"checkpoinT".to_vec(),
        "\"checkpoint\" in the directory is \"checkpoinT\"",
    ),
    ("a longer name in the local header", |zip| zip.target().local.name = b"checkpoint.txt".to_vec(), "checkpoint.txt"),
    (
        "another name in the directory",
        |zip| zip.target().central.name = b"checkpoinu".to_vec(),
        "\"checkpoinu\" in the directory",
    ),
];

const FIELDS: &[(&str, Bend, &str)] = &[
    ("a symbolic link", |zip| zip.target().external = 0o120_777 << 16, "checkpoint: type and permissions"),
    ("a device", |zip| zip.target().external = 0o060_644 << 16, "checkpoint: type and permissions"),
    ("a pipe", |zip| zip.target().external = 0o010_644 << 16, "checkpoint: type and permissions"),
    ("a program", |zip| zip.target().external = 0o100_755 << 16, "checkpoint: type and permissions"),
    ("a set-uid bit", |zip| zip.target().external = 0o104_644 << 16, "checkpoint: type and permissions"),
    ("a directory to DOS alone", |zip| zip.target().external |= 0x10, "checkpoint: type and permissions"),
    ("made by another system", |zip| zip.target().made_by = 10, "checkpoint: version made by"),
    ("encrypted", |zip| zip.target().both(|fields| fields.flags = 1), "checkpoint: flags"),
    ("encrypted in the directory alone", |zip| zip.target().central.flags = 1, "checkpoint: flags"),
    ("encrypted in the local header alone", |zip| zip.target().local.flags = 1, "checkpoint: flags"),
    ("strongly encrypted", |zip| zip.target().both(|fields| fields.flags = 0x41), "checkpoint: flags"),
    ("masked headers", |zip| zip.target().both(|fields| fields.flags = 0x2000), "checkpoint: flags"),
    ("names in UTF-8 by flag", |zip| zip.target().both(|fields| fields.flags = 0x800), "checkpoint: flags"),
    (
        "a data descriptor",
        |zip| {
            let file = zip.target();
            let (crc, size) = (file.local.crc.to_le_bytes(), file.local.size.to_le_bytes());
            file.behind = [&b"PK\x07\x08"[..], &crc, &size, &size].concat();
            file.both(|fields| fields.flags = 8);
            (file.local.crc, file.local.stored, file.local.size) = (0, 0, 0);
        },
        "checkpoint: flags",
    ),
    (
        "deflated",
        |zip| {
            let stored = deflated(&zip.target().content.clone());
            zip.target().packed(8, stored);
        },
        "checkpoint: method",
    ),
    ("deflated in the local header alone", |zip| zip.target().local.method = 8, "checkpoint: method"),
    ("deflated in the directory alone", |zip| zip.target().central.method = 8, "checkpoint: method"),
    ("compressed with bzip2", |zip| zip.target().both(|fields| fields.method = 12), "checkpoint: method"),
    ("compressed with LZMA", |zip| zip.target().both(|fields| fields.method = 14), "checkpoint: method"),
    ("compressed with Zstandard", |zip| zip.target().both(|fields| fields.method = 93), "checkpoint: method"),
    ("encrypted with AES", |zip| zip.target().both(|fields| fields.method = 99), "checkpoint: method"),
    ("an unknown method", |zip| zip.target().both(|fields| fields.method = 0xffff), "checkpoint: method"),
    ("a version that means zip64", |zip| zip.target().both(|fields| fields.version = 45), "checkpoint: version needed"),
    ("a time", |zip| zip.target().both(|fields| fields.time = 1), "checkpoint: time"),
    ("a date", |zip| zip.target().both(|fields| fields.date = 0x5c21), "checkpoint: date"),
    (
        "an extra field",
        |zip| zip.target().both(|fields| fields.extra = vec![0x99, 0x99, 0, 0]),
        "checkpoint: length of the extra field",
    ),
    (
        "an extra field in the local header alone",
        |zip| zip.target().local.extra = vec![0x99, 0x99, 0, 0],
        "checkpoint: length of the extra field",
    ),
    (
        "another name in an extra field",
        |zip| {
            let crc = crc32fast::hash(b"checkpoint").to_le_bytes();
            let extra = [&[0x75, 0x70, 11, 0, 1][..], &crc, b"README"].concat();
            zip.target().both(|fields| fields.extra.clone_from(&extra));
        },
        "checkpoint: length of the extra field",
    ),
    ("a comment on a file", |zip| zip.target().comment = b"x".to_vec(), "checkpoint: length of the comment"),
    ("a file on another disk", |zip| zip.target().disk = 1, "checkpoint: disk"),
    ("text, says an attribute", |zip| zip.target().internal = 1, "checkpoint: internal attributes"),
    (
        "another checksum in the local header",
        |zip| zip.target().local.crc ^= 1,
        "checkpoint: checksum in the local header",
    ),
    ("another checksum in both", |zip| zip.target().both(|fields| fields.crc ^= 1), "checkpoint: checksum (CRC-32)"),
    ("another size in the local header", |zip| zip.target().local.size += 1, "checkpoint: size in the local header"),
    (
        "another stored size in the local header",
        |zip| zip.target().local.stored -= 1,
        "checkpoint: stored size in the local header",
    ),
    ("another stored size in the directory", |zip| zip.target().central.stored += 1, "checkpoint: stored size"),
    (
        "sizes for zip64 to tell",
        |zip| {
            let size = u64::from(zip.target().local.size).to_le_bytes();
            let extra = [&[1, 0, 16, 0][..], &size, &size].concat();
            zip.target()
                .both(|fields| (fields.stored, fields.size, fields.extra) = (u32::MAX, u32::MAX, extra.clone()));
        },
        "checkpoint: length of the extra field",
    ),
];

const PLACES: &[(&str, Bend, &str)] = &[
    (
        "a program before the files",
        |zip| zip.before = b"#!/bin/sh\nexit 0\n".to_vec(),
        "offset, where the file before it ends",
    ),
    (
        "bytes before, offsets untouched",
        |zip| {
            zip.before = b"MZ".to_vec();
            for at in 0..zip.files.len() {
                zip.files[at].offset = Some(zip.place_of(at));
            }
            zip.central_at = Some(zip.place_of(zip.files.len()));
        },
        "end record: end of the central directory",
    ),
    (
        "bytes between two files",
        |zip| zip.target().behind = b"hidden".to_vec(),
        "offset, where the file before it ends",
    ),
    (
        "a hidden file between two files",
        |zip| {
            let hidden = Odd::new(b"index.html", b"<script>");
            zip.target().behind =
                [&b"PK\x03\x04"[..], &hidden.local.bytes(), &hidden.local.name, &hidden.content].concat();
        },
        "offset, where the file before it ends",
    ),
    ("bytes before the central directory", |zip| zip.between = b"hidden".to_vec(), "where the last file ends"),
    ("bytes behind the central directory", |zip| zip.behind = b"hidden".to_vec(), "end of the central directory"),
    ("bytes behind the end", |zip| zip.after = b"x".to_vec(), "no end record"),
    ("an archive comment", |zip| zip.comment = b"x".to_vec(), "no end record"),
    (
        "an end record in the comment",
        |zip| {
            let end = zip.bytes();
            zip.comment = end[end.len() - 22..].to_vec();
        },
        "end record",
    ),
    (
        "a zip64 end record",
        |zip| {
            let count = u64::try_from(zip.files.len()).unwrap().to_le_bytes();
            let record =
                [&b"PK\x06\x06"[..], &44_u64.to_le_bytes(), &[45, 3, 45, 0], &[0; 8], &count, &count, &[0; 16]]
                    .concat();
            let locator = [&b"PK\x06\x07"[..], &[0; 4], &[0; 8], &1_u32.to_le_bytes()].concat();
            zip.behind = [record, locator].concat();
        },
        "end of the central directory",
    ),
    ("a count for zip64 to tell", |zip| zip.count = Some(u16::MAX), "end record: number of files"),
    ("an offset for zip64 to tell", |zip| zip.central_at = Some(u32::MAX), "central directory"),
    ("a length for zip64 to tell", |zip| zip.central_bytes = Some(u32::MAX), "central directory"),
    (
        "one file fewer in the end record",
        |zip| zip.count = Some(u16::try_from(zip.files.len()).unwrap() - 1),
        "central directory",
    ),
    (
        "one file more in the end record",
        |zip| zip.count = Some(u16::try_from(zip.files.len()).unwrap() + 1),
        "of the central directory",
    ),
    ("two counts in the end record", |zip| zip.count_here = Some(1), "end record: number of files on this disk"),
    ("several disks", |zip| zip.disk = 1, "end record: number of this disk"),
    (
        "a central directory that is said to be shorter",
        |zip| zip.central_bytes = Some(46),
        "end record: end of the central directory",
    ),
    ("a file at another place", |zip| zip.target().offset = Some(0), "checkpoint: offset"),
    ("a file past the end", |zip| zip.files.last_mut().unwrap().offset = Some(u32::MAX - 1), "offset"),
];

const BOMBS: &[(&str, Bend, &str)] = &[
    (
        "a bomb by ratio",
        |zip| {
            let zeros = vec![0; 64 << 20];
            let stored = deflated(&zeros);
            assert!(stored.len() * 500 < zeros.len());
            let file = zip.target();
            file.both(|fields| {
                (fields.size, fields.crc) = (u32::try_from(zeros.len()).unwrap(), crc32fast::hash(&zeros));
            });
            file.packed(8, stored);
        },
        "checkpoint: method",
    ),
    (
        "a size that is not there",
        |zip| zip.files.last_mut().unwrap().both(|fields| (fields.stored, fields.size) = (u32::MAX - 1, u32::MAX - 1)),
        "are needed",
    ),
    (
        "files that lie on each other",
        |zip| {
            let mut twin = zip.files.last().unwrap().clone();
            (twin.absent, twin.offset) = (true, Some(zip.place_of(zip.files.len() - 1)));
            twin.central.name = b"zz".to_vec();
            zip.files.push(twin);
        },
        "zz: offset",
    ),
    (
        "a file within a file",
        |zip| {
            // The outer one begins at the inner one's header and quotes it (Fifield, "A better zip bomb").
            let inner = zip.files.pop().unwrap();
            let quoted = [&b"PK\x03\x04"[..], &inner.local.bytes(), &inner.local.name, &inner.content].concat();
            zip.files.push(Odd::new(b"verify/a", &quoted));
            let at = zip.place_of(zip.files.len()) - u32::try_from(quoted.len()).unwrap();
            zip.files.push(Odd { absent: true, offset: Some(at), ..inner });
        },
        "offset",
    ),
];

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A file larger than a verifier takes into memory is not read at all: undecided, and at once.
#[test]
fn a_bomb_by_size_is_not_read() {
    struct Endless;
    impl std::io::Read for Endless {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("it is read")
        }
    }
    impl std::io::Seek for Endless {
        fn seek(&mut self, _: std::io::SeekFrom) -> std::io::Result<u64> {
            Ok(evidence::zip::MAX_ARCHIVE_BYTES + 1)
        }
    }
    let report = evidence::verify_pack(Endless, &World::small().trust());
    assert_eq!((report.exit_code(), report.refuted()), (2, Vec::new()), "{report}");
}

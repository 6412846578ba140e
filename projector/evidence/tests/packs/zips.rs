//! Zips that two programs read in two ways, and zips that another tool wrote.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::process::Command;

use evidence::Verdict;

use crate::world::{World, verify, zipped};

/// Bytes of a field in the headers of the first file or the end record, changed.
struct Edit {
    what: &'static str,
    at: fn(&[u8]) -> usize,
    to: &'static [u8],
}

fn local(_: &[u8]) -> usize {
    0
}

fn central(zip: &[u8]) -> usize {
    u32::from_le_bytes(zip[zip.len() - 6..zip.len() - 2].try_into().unwrap()) as usize
}

fn end(zip: &[u8]) -> usize {
    zip.len() - 22
}

#[test]
fn every_confusing_field_is_refused_by_name() {
    let world = World::small();
    let pack = world.pack("a");
    let check = |edit: Edit, offset: usize, expect: &str| {
        let mut changed = pack.clone();
        let at = (edit.at)(&changed) + offset;
        assert_ne!(&changed[at..at + edit.to.len()], edit.to, "{} changes nothing", edit.what);
        changed[at..at + edit.to.len()].copy_from_slice(edit.to);
        refused(&world, &changed, expect);
    };
    let edit = |what, at, to| Edit { what, at, to };
    check(edit("compressed", central, &[8, 0]), 10, "method");
    check(edit("compressed locally", local, &[8, 0]), 8, "method");
    check(edit("encrypted", central, &[1, 0]), 8, "flags");
    check(edit("encrypted locally", local, &[1, 0]), 6, "flags");
    check(edit("data descriptor", local, &[8, 0]), 6, "flags");
    check(edit("UTF-8 flag", central, &[0, 8]), 8, "flags");
    check(edit("a newer version", central, &[45, 0]), 6, "version needed");
    check(edit("made elsewhere", central, &[10, 0]), 4, "version made by");
    check(edit("time", central, &[1, 0]), 12, "time");
    check(edit("date", local, &[0x22, 0]), 12, "date");
    check(edit("a symlink", central, &[0, 0, 0xff, 0xa1]), 38, "permissions");
    check(edit("executable", central, &[0, 0, 0xed, 0x81]), 38, "permissions");
    check(edit("internal attributes", central, &[1, 0]), 36, "internal");
    check(edit("another disk", central, &[1, 0]), 34, "disk");
    check(edit("an extra field", central, &[4, 0]), 30, "extra field");
    check(edit("an extra field locally", local, &[4, 0]), 28, "extra field");
    check(edit("a file comment", central, &[4, 0]), 32, "comment");
    check(edit("an archive comment", end, &[1, 0]), 20, "comment");
    check(edit("several disks", end, &[1, 0]), 4, "disk");
    check(edit("fewer files", end, &[1, 0, 1, 0]), 8, "central directory");
    check(edit("unequal counts", end, &[1, 0]), 8, "number of files");
    check(edit("another offset", central, &[9, 0, 0, 0]), 42, "offset");
    check(edit("another size", central, &[9, 0, 0, 0]), 24, "size");
    check(edit("another size locally", local, &[9, 0, 0, 0]), 22, "size");
    check(edit("another checksum", local, &[9, 0, 0, 0]), 14, "checksum");
    check(edit("another name locally", local, b"B"), 30, "local header");
    check(edit("a traversal", central, b"../"), 46, "traversal");
    check(edit("an absolute path", central, b"/"), 46, "absolute");
    check(edit("a backslash", central, b"\\"), 46, "character");
    check(edit("not UTF-8", central, &[0xff]), 46, "character");
}

#[test]
fn data_before_between_and_after_is_refused() {
    let world = World::small();
    let pack = world.pack("a");
    refused(&world, &[b"x", &pack[..]].concat(), "central directory");
    refused(&world, &[&pack[..], b"x"].concat(), "no end record");
    refused(&world, &pack[..pack.len() - 1], "no end record");
    refused(&world, b"", "no end record");
    refused(&world, b"PK\x05\x06", "no end record");
    // Between the files and the directory, with the offset mended.
    let at = central(&pack);
    let mut between = [&pack[..at], b"hidden", &pack[at..]].concat();
    let end = between.len() - 6;
    between[end..end + 4].copy_from_slice(&u32::try_from(at + 6).unwrap().to_le_bytes());
    refused(&world, &between, "where the last file ends");
    // Two archives in a row: some tools read the first directory, some the last.
    refused(&world, &[&pack[..], &pack[..]].concat(), "");
}

#[test]
fn names_that_some_systems_take_for_one_are_refused() {
    let world = World::small();
    let mut files = world.files("a");
    files.insert("CHECKPOINT".into(), b"x".to_vec());
    refused(&world, &zipped(&files), "upper and lower case");
    // The same name twice, by renaming `ledger.vkey` in both of its headers.
    let mut files = world.files("a");
    files.insert("ledger.puc".into(), b"x".to_vec());
    let mut twice = zipped(&files);
    for at in 0..twice.len() - 10 {
        if &twice[at..at + 10] == b"ledger.puc" {
            twice[at + 9] = b'b';
        }
    }
    refused(&world, &twice, "");
}

#[test]
fn names_a_pack_may_not_have() {
    for name in
        ["", "/a", "a//b", "a/", "../a", "a/../b", "./a", "a/.b", "a.", "a\\b", "C:a", "a b", "é", "a\0b", "-\n"]
    {
        let files = [evidence::zip::File { name, bytes: b"" }];
        assert!(evidence::zip::write(&files, &mut Vec::new()).is_err(), "{name:?}");
    }
    let long = "a".repeat(121);
    assert!(evidence::zip::write(&[evidence::zip::File { name: &long, bytes: b"" }], &mut Vec::new()).is_err());
}

#[test]
fn a_foreign_reader_sees_the_same_files() {
    let world = World::full();
    let files = world.files("a");
    let mut archive = ::zip::ZipArchive::new(Cursor::new(world.pack("a"))).unwrap();
    assert_eq!(archive.len(), files.len());
    for (n, (name, bytes)) in files.iter().enumerate() {
        let mut file = archive.by_index(n).unwrap();
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert_eq!((file.name().unwrap().as_ref(), &found, file.unix_mode()), (name.as_str(), bytes, Some(0o100_644)));
        assert_eq!(file.last_modified().map(|d| (d.year(), d.month(), d.day(), d.hour())), Some((1980, 1, 1, 0)));
    }
}

/// The zip crate, told to be as plain as we are, writes the very same bytes; left to its defaults elsewhere, it is refused.
#[test]
fn a_foreign_writer_writes_the_same_bytes() {
    let world = World::small();
    let write = |options: ::zip::write::SimpleFileOptions| {
        let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in world.files("a") {
            writer.start_file(name, options).unwrap();
            writer.write_all(&bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    };
    let plain = ::zip::write::SimpleFileOptions::default().compression_method(::zip::CompressionMethod::Stored);
    assert!(write(plain) == world.pack("a"), "the bytes differ");
    refused(&world, &write(plain.unix_permissions(0o755)), "permissions");
    refused(&world, &write(plain.large_file(true)), "");
}

/// `unzip` (or Python, where there is none) and `sha256sum -c` on a pack: what VERIFY.md tells a stranger to do.
#[test]
fn unzip_and_sha256sum_accept_a_pack() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pack.zip"), World::full().pack("a")).unwrap();
    let script = r"set -e; mkdir pack; cd pack
        if command -v unzip >/dev/null; then unzip -q ../pack.zip; else python3 -m zipfile -e ../pack.zip .; fi
        sha256sum --strict --quiet -c SHA256SUMS
        find . -type f | sed 's,^\./,,' | grep -vxF -e SHA256SUMS -e attestation.sigstore.json | LC_ALL=C sort | diff - <(cut -c67- SHA256SUMS)";
    let output = Command::new("bash").arg("-c").arg(script).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[track_caller]
fn refused(world: &World, zip: &[u8], expect: &str) {
    let report = verify(zip, &world.trust());
    assert_eq!(report.verdict, Verdict::Refuted, "{report}");
    assert_eq!(report.refuted(), ["zip.form"], "{report}");
    assert!(report.checks[0].detail.contains(expect), "expected {expect:?}: {}", report.checks[0].detail);
}

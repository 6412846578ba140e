//! Zips that other tools wrote, and what other tools read in ours. What is done to a zip to fool somebody is `mutations::zipped`.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::process::Command;

use evidence::Verdict;

use crate::world::{World, verify};

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

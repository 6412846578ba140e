//! A genuine population in which one file holds anything, its zip mended; or any bytes at all. Never a panic, never a yes.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use evidence::population::verify_population;
use evidence::{KeyFile, Trust, Verdict};
use libfuzzer_sys::fuzz_target;

static POPULATION: &[u8] = include_bytes!("../../../docs/examples/population.zip");
static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let key = KeyFile::parse(include_str!("../../../docs/examples/population.vkey")).expect("a vkey");
    Trust { key: Some(key), ..Trust::default() }
});

fuzz_target!(|input: &[u8]| {
    let Some((which, content)) = input.split_first() else { return };
    let mut files = files(POPULATION);
    let archive = match usize::from(*which) {
        at if at < files.len() => {
            files[at].1 = content;
            zipped(&files)
        }
        _ => content.to_vec(),
    };
    let report = verify_population(Cursor::new(&archive), &TRUST, &mut |_, _| {});
    assert_eq!(report.verdict == Verdict::Ok, archive == POPULATION, "{report}");
});

/// Name and content of each file of an archive that is well formed, in order.
fn files(mut archive: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut out = Vec::new();
    while archive.starts_with(b"PK\x03\x04") {
        let size = u32::from_le_bytes(archive[22..26].try_into().expect("four bytes")) as usize;
        let name = usize::from(u16::from_le_bytes(archive[26..28].try_into().expect("two bytes")));
        let (head, rest) = archive[30..].split_at(name);
        let (content, rest) = rest.split_at(size);
        out.push((head, content));
        archive = rest;
    }
    out
}

/// The one form that a population has (docs/population.md).
fn zipped(files: &[(&[u8], &[u8])]) -> Vec<u8> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let offset = number(out.len());
        let mut fields = vec![10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        for field in [crc32fast::hash(content), number(content.len()), number(content.len()), number(name.len())] {
            fields.extend(field.to_le_bytes());
        }
        out.extend([b"PK\x03\x04", &fields[..], name, content].concat());
        let tail = [&[0; 6][..], &(0o100_644_u32 << 16).to_le_bytes(), &offset.to_le_bytes()].concat();
        central.extend([b"PK\x01\x02\x0a\x03", &fields[..], &tail, name].concat());
    }
    let count = number(files.len()).to_le_bytes();
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count[..2], &count[..2], &number(central.len()).to_le_bytes(), &number(out.len()).to_le_bytes(), &[0, 0]];
    [out, central, end.concat()].concat()
}

fn number(len: usize) -> u32 {
    u32::try_from(len).expect("small")
}

//! Foreign vectors: 98 + 98 RFC 6962 proofs, good and bad, and a tiled log of 15 entries with a signed checkpoint per size.

use std::fs;
use std::path::{Path, PathBuf};

use ledger::checkpoint::{self, Checkpoint, Verified};
use ledger::hash::{self, Hash, leaf};
use ledger::note::VerifierKey;
use ledger::proof::{self, verify_consistency, verify_inclusion};
use ledger::tiles::{Fetch, ResourcePath, TiledLog, decode_bundle, encode_bundle};
use ledger::tree::{Edge, TileId};
use serde::Deserialize;

use crate::support::MemTiles;

const TESTDATA_VKEY: &str = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Inclusion {
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Consistency {
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn json_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            json_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "json") {
            out.push(path);
        }
    }
}

fn load<T: for<'de> Deserialize<'de>>(kind: &str) -> Vec<T> {
    let mut files = Vec::new();
    json_files(&vectors().join("rfc6962-proofs").join(kind), &mut files);
    files.iter().map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap()).collect()
}

/// The vectors hold roots like "don't care 1", which are no hashes; each stands for some hash that nothing else equals.
fn root(base64: &str) -> Hash {
    use ::base64::Engine as _;
    let bytes = ::base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
    <[u8; 32]>::try_from(bytes.as_slice()).map_or_else(|_| Hash::of(&[b"no hash: ", &bytes[..]].concat()), Hash)
}

fn hashes(proof: Option<&Vec<String>>) -> Option<Vec<Hash>> {
    proof.map_or(&[][..], Vec::as_slice).iter().map(|text| Hash::from_base64(text).ok()).collect()
}

#[test]
fn rfc6962_inclusion_proofs() {
    let vectors: Vec<Inclusion> = load("inclusion");
    assert_eq!(vectors.len(), 98);
    let mut good = 0;
    for v in &vectors {
        let parsed = hashes(v.proof.as_ref()).zip(Hash::from_base64(&v.leaf_hash).ok());
        let verified = parsed.is_some_and(|(path, leaf)| {
            verify_inclusion(v.leaf_idx, v.tree_size, &leaf, &path, &root(&v.root)).is_ok()
        });
        assert_eq!(verified, !v.want_err, "{}: leaf {} of {}", v.desc, v.leaf_idx, v.tree_size);
        good += usize::from(verified);
    }
    assert!(good > 0 && good < vectors.len(), "{good} good ones");
}

#[test]
fn rfc6962_consistency_proofs() {
    let vectors: Vec<Consistency> = load("consistency");
    assert_eq!(vectors.len(), 98);
    let mut good = 0;
    for v in &vectors {
        let verified = hashes(v.proof.as_ref()).is_some_and(|proof| {
            verify_consistency(v.size1, v.size2, &root(&v.root1), &root(&v.root2), &proof).is_ok()
        });
        assert_eq!(verified, !v.want_err, "{}: {} to {}", v.desc, v.size1, v.size2);
        good += usize::from(verified);
    }
    assert!(good > 0 && good < vectors.len(), "{good} good ones");
}

fn tiled(path: &str) -> Vec<u8> {
    fs::read(vectors().join("tlog-tiles-15").join(path)).unwrap()
}

fn signed(name: &str) -> Verified<Checkpoint> {
    let key = VerifierKey::parse(TESTDATA_VKEY).unwrap();
    checkpoint::open(&String::from_utf8(tiled(name)).unwrap(), &key).unwrap()
}

/// Reads the tiled log as it lies there: the tree grew with a checkpoint at every size, so every partial tile is there.
struct Folder;

impl Fetch for Folder {
    type Error = std::io::Error;

    fn fetch(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, std::io::Error> {
        match fs::read(vectors().join("tlog-tiles-15").join(path.to_string())) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }
}

#[test]
fn tiled_log_of_15() {
    let bundle = tiled("tile/entries/000.p/15");
    let entries = decode_bundle(&bundle).unwrap();
    assert_eq!(encode_bundle(entries.iter().copied()).unwrap(), bundle);
    assert_eq!(entries.len(), 15);
    let mut tiles = MemTiles::default();
    let first = signed("checkpoint.0");
    assert_eq!((first.size, first.root), (0, hash::empty_root()));
    let mut roots = vec![first.root];
    for (n, entry) in entries.iter().enumerate() {
        tiles.push(leaf(entry));
        let size = n as u64 + 1;
        let head = signed(&format!("checkpoint.{size}"));
        assert_eq!((head.size, head.root), (size, tiles.edge.root()));
        assert_eq!(
            head.text(),
            String::from_utf8(tiled(&format!("checkpoint.{size}"))).unwrap().split_once("\n\n").unwrap().0.to_owned()
                + "\n"
        );
        let id = TileId { level: 0, index: 0 };
        let width = u16::try_from(size).unwrap();
        let expected: Vec<u8> = tiles.edge.level(0).iter().flat_map(|hash| hash.0).collect();
        assert_eq!(tiled(&id.path(width)), expected, "tile at size {size}");
        roots.push(head.root);
    }
    assert_eq!(signed("checkpoint").size, 15);
    for size in 0..=15 {
        let log = TiledLog::open(Folder, &signed(&format!("checkpoint.{size}"))).unwrap();
        assert_eq!(log.bundle(0).unwrap(), entries[..usize::try_from(size).unwrap()]);
        for old in 0..=size {
            log.extends(&signed(&format!("checkpoint.{old}"))).unwrap();
        }
    }
    for size in 1..=15_u64 {
        let root = &roots[usize::try_from(size).unwrap()];
        for index in 0..size {
            let path = proof::inclusion(&tiles, index, size).unwrap();
            let leaf = leaf(entries[usize::try_from(index).unwrap()]);
            assert_eq!(verify_inclusion(index, size, &leaf, &path, root), Ok(()));
        }
        for old in 1..=size {
            let proof = proof::consistency(&tiles, old, size).unwrap();
            assert_eq!(verify_consistency(old, size, &roots[usize::try_from(old).unwrap()], root, &proof), Ok(()));
        }
    }
    assert_eq!(Edge::decode(&tiles.edge.encode()).unwrap(), tiles.edge);
}

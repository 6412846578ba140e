//! Published logs: tiles of any width against `tlog_tiles`, and a reader that is lied to.

use std::cell::RefCell;
use std::collections::BTreeSet;

use ledger::checkpoint::Checkpoint;
use ledger::hash::{Hash, leaf};
use ledger::proof::{self, verify_consistency, verify_inclusion};
use ledger::tiles::{
    FULL, Fetch, Resource, ResourcePath, TiledError, TiledLog, decode_bundle, decode_tile, encode_bundle, encode_tile,
    resources,
};
use ledger::tree::{TileId, TileSource};
use proptest::prelude::*;
use tlog_tiles::Tile;

use crate::oracles::{BIG, Big, big};
use crate::support::origin;

/// A log of big-endian numbers, published at `size`; keeps a list of what was asked for.
struct Published {
    size: u64,
    asked: RefCell<Vec<ResourcePath>>,
    /// Flips one bit of what this path holds.
    lie: Option<(ResourcePath, usize)>,
    /// As a log may that has the full one.
    without_partial: bool,
}

impl Published {
    fn at(size: u64) -> Published {
        Published { size, asked: RefCell::default(), lie: None, without_partial: false }
    }
}

fn entries(first: u64, width: u16) -> Vec<Vec<u8>> {
    (first..first + u64::from(width)).map(|n| n.to_be_bytes().to_vec()).collect()
}

impl Fetch for Published {
    type Error = String;

    fn fetch(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, String> {
        self.asked.borrow_mut().push(*path);
        if self.without_partial && path.width < FULL && path.resource.width_at(self.size) == FULL
            || !path.is_in(self.size)
        {
            return Ok(None);
        }
        let mut bytes = match path.resource {
            Resource::Tile(id) => {
                let Ok(hashes) = big().tiles.tile(id, path.width);
                encode_tile(&hashes[..usize::from(path.width)])
            }
            Resource::Entries(index) => {
                let entries = entries(index * 256, path.width);
                encode_bundle(entries.iter().map(Vec::as_slice)).map_err(|error| error.to_string())?
            }
        };
        if let Some((_, bit)) = self.lie.filter(|(at, _)| at == path) {
            let at = bit / 8 % bytes.len();
            bytes[at] ^= 1 << (bit % 8);
        }
        Ok(Some(bytes))
    }
}

fn head(size: u64) -> Checkpoint {
    Checkpoint { origin: origin("l/numbers"), size, root: proof::root(&big().tiles, size).unwrap() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_tile_of_any_size_equals_tlog_tiles(size in 1..=BIG, at in any::<prop::sample::Index>()) {
        let Big { stored, .. } = big();
        let all: Vec<ResourcePath> = resources(size).collect();
        let path = all[at.index(all.len())];
        let bytes = Published::at(size).fetch(&path).unwrap().unwrap();
        match path.resource {
            Resource::Tile(id) => {
                let tile = Tile::new(8, id.level, id.index, u32::from(path.width), false);
                prop_assert_eq!(&bytes, &tile.read_data(stored).unwrap());
                prop_assert_eq!(tile.path(), format!("tile/8/{}", path.to_string().trim_start_matches("tile/")));
                prop_assert_eq!(decode_tile(&bytes).unwrap().len(), usize::from(path.width));
            }
            Resource::Entries(index) => {
                // Every entry is the leaf that the tile of the same number has.
                let tile = Tile::new(8, 0, index, u32::from(path.width), false).read_data(stored).unwrap();
                let leaves: Vec<u8> = decode_bundle(&bytes).unwrap().into_iter().flat_map(|entry| leaf(entry).0).collect();
                prop_assert_eq!(leaves, tile);
                let data = Tile::new(8, 0, index, u32::from(path.width), true).path();
                prop_assert_eq!(data.replace("tile/8/data", "tile/entries"), path.to_string());
            }
        }
        prop_assert_eq!(ResourcePath::parse(&path.to_string()), Some(path));
    }

    #[test]
    fn hostile_paths_and_bundles_have_one_spelling_or_none(
        path in "tile/(entries|[0-9]{1,3}|-1)/(x?[0-9]{2,4}/){0,8}x?[0-9]{2,4}(\\.p/[0-9]{0,6})?",
        bytes in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..600),
    ) {
        if let Some(parsed) = ResourcePath::parse(&path) {
            prop_assert_eq!(parsed.to_string(), path);
            prop_assert!((1..=FULL).contains(&parsed.width));
            prop_assert!(parsed.is_in(u64::MAX) || parsed.resource.width_at(u64::MAX) < parsed.width);
        }
        if let Ok(entries) = decode_bundle(&bytes) {
            prop_assert_eq!(encode_bundle(entries).unwrap(), bytes);
        }
    }

    /// What a tree has is just what Go's checksum database would publish for it.
    #[test]
    fn the_resources_of_a_tree_are_those_that_tlog_tiles_lists(old in 0..=BIG, more in 0..3_000_u64) {
        let new = (old + more).min(BIG);
        let theirs: BTreeSet<(u8, u64, u32)> = Tile::new_tiles(8, old, new).into_iter().map(|tile| (tile.level(), tile.level_index(), tile.width())).collect();
        let ours: BTreeSet<(u8, u64, u32)> = ledger::tiles::added(old, new)
            .filter_map(|path| match path.resource {
                Resource::Tile(id) => Some((id.level, id.index, u32::from(path.width))),
                Resource::Entries(_) => None,
            })
            .collect();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn a_reader_of_tiles_proves_what_the_writer_proves(size in 1..=BIG, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>(), gone: bool) {
        let mut published = Published::at(BIG);
        published.without_partial = gone;
        let log = TiledLog::open(published, &head(size)).unwrap();
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        let (found, path) = log.inclusion(index).unwrap();
        prop_assert_eq!(found, leaf(&index.to_be_bytes()));
        verify_inclusion(index, size, &found, &path, &head(size).root).unwrap();
        let old = 1 + old.index(usize::try_from(size).unwrap()) as u64;
        let path = log.extends(&head(old)).unwrap();
        verify_consistency(old, size, &head(old).root, &head(size).root, &path).unwrap();
        prop_assert_eq!(log.root_at(old).unwrap(), head(old).root);
        let width = Resource::Entries(index / 256).width_at(size);
        prop_assert_eq!(log.bundle(index / 256).unwrap(), entries(index / 256 * 256, width));
    }

    /// Whatever bit of whatever file is flipped, whoever reads that file notices.
    #[test]
    fn no_flipped_bit_is_believed(size in 1..=BIG, at in any::<prop::sample::Index>(), bit in 0..65_536_usize) {
        let all: Vec<ResourcePath> = resources(size).collect();
        let path = all[at.index(all.len())];
        let lying = Published { lie: Some((path, bit)), ..Published::at(size) };
        let refused = match TiledLog::open(&lying, &head(size)) {
            Err(error) => error,
            Ok(log) => match path.resource {
                Resource::Tile(id) => log.tile(id, path.width).unwrap_err(),
                Resource::Entries(index) => log.bundle(index).unwrap_err(),
            },
        };
        prop_assert!(
            matches!(refused, TiledError::Root { .. } | TiledError::Forged { .. } | TiledError::Form { .. } | TiledError::Width { .. }),
            "{}", refused
        );
    }
}

#[test]
fn another_history_is_a_fork_and_another_root_is_refused() {
    let log = TiledLog::open(Published::at(BIG), &head(BIG)).unwrap();
    let other = Checkpoint { root: leaf(b"other"), ..head(300) };
    assert!(matches!(log.extends(&other), Err(TiledError::Forked { old: 300, new: BIG, .. })));
    assert!(matches!(log.extends(&Checkpoint { root: Hash([0; 32]), ..head(BIG) }), Err(TiledError::Forked { .. })));
    let signed = Checkpoint { root: leaf(b"other"), ..head(300) };
    assert!(matches!(TiledLog::open(Published::at(BIG), &signed), Err(TiledError::Root { size: 300, .. })));
}

#[test]
fn what_is_not_there_is_named() {
    let short = TiledLog::open(Published::at(300), &head(600)).err().unwrap();
    assert_eq!(short.to_string(), "tile/0/002.p/88 is missing, which a log of 600 entries must have");
    let log = TiledLog::open(Published::at(600), &head(600)).unwrap();
    assert!(matches!(log.inclusion(600), Err(TiledError::OutOfRange { asked: 600, size: 600 })));
    assert!(matches!(log.consistency(601), Err(TiledError::OutOfRange { asked: 601, size: 600 })));
    assert!(matches!(log.root_at(601), Err(TiledError::OutOfRange { .. })));
    for id in [TileId { level: 0, index: 3 }, TileId { level: 1, index: 1 }, TileId { level: 63, index: 0 }] {
        assert!(matches!(log.tile(id, 1), Err(TiledError::OutOfRange { .. })), "{id:?}");
    }
    assert_eq!(log.bundle(3).unwrap(), Vec::<Vec<u8>>::new());
    let empty = TiledLog::open(Published::at(0), &head(0)).unwrap();
    assert!(matches!(empty.inclusion(0), Err(TiledError::OutOfRange { .. })));
    assert!(TiledLog::open(Published::at(0), &Checkpoint { size: u64::MAX, ..head(1) }).is_err());
}

/// Following a log costs a few tiles for each look, not the log.
#[test]
fn a_proof_reads_few_tiles() {
    let published = Published::at(BIG);
    let log = TiledLog::open(&published, &head(BIG)).unwrap();
    log.inclusion(12_345).unwrap();
    log.extends(&head(65_000)).unwrap();
    let asked = published.asked.borrow().len();
    assert!(asked <= 8, "{asked}: {:?}", published.asked);
}

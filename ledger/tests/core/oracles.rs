//! Trees and proofs against two implementations that are not ours: `rs_merkle` with an RFC 6962 hasher, and `tlog_tiles`.

use ledger::hash::{self, Hash};
use ledger::proof::{self, ProofError, Prover, Remembered, Unproved, verify_consistency, verify_inclusion};
use ledger::tree::{Edge, MAX_SIZE, TileId};
use proptest::prelude::*;
use rs_merkle::{Hasher, MerkleTree};
use sha2::{Digest, Sha256};
use tlog_tiles::{HashReader, Tile};

use crate::support::MemTiles;

#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update([0]).chain_update(data).finalize().into()
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        let Some(right) = right else { return *left };
        Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
    }
}

fn leaf(n: u64) -> Hash {
    hash::leaf(&n.to_be_bytes())
}

#[test]
fn trees_and_paths_equal_rs_merkle() {
    let mut tiles = MemTiles::default();
    let mut leaves = Vec::new();
    for n in 0..600_u64 {
        tiles.push(leaf(n));
        leaves.push(Rfc6962::hash(&n.to_be_bytes()));
        let size = n + 1;
        let tree = MerkleTree::<Rfc6962>::from_leaves(&leaves);
        assert_eq!(tiles.edge.root().0, tree.root().unwrap(), "root at {size}");
        assert_eq!(proof::root(&tiles, size).unwrap().0, tree.root().unwrap());
        assert_eq!(Edge::decode(&tiles.edge.encode()).as_ref(), Ok(&tiles.edge), "edge at {size}");
        for index in [0, n / 3, n / 2, n.saturating_sub(1), n] {
            let expected = tree.proof(&[usize::try_from(index).unwrap()]).proof_hashes().to_vec();
            let found: Vec<_> = proof::inclusion(&tiles, index, size).unwrap().into_iter().map(|hash| hash.0).collect();
            assert_eq!(found, expected, "leaf {index} of {size}");
        }
    }
}

/// All hashes of a tree in the order of Go's `sumdb/tlog`, which `tlog_tiles` ports.
pub(crate) struct Stored(Vec<tlog_tiles::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

pub(crate) const BIG: u64 = 66_200;

pub(crate) struct Big {
    pub(crate) tiles: MemTiles,
    pub(crate) stored: Stored,
}

/// A tree with three levels of tiles, in both implementations.
pub(crate) fn big() -> &'static Big {
    static BOTH: std::sync::LazyLock<Big> = std::sync::LazyLock::new(|| {
        let mut both = Big { tiles: MemTiles::default(), stored: Stored(Vec::new()) };
        for n in 0..BIG {
            both.tiles.push(leaf(n));
            let hashes = tlog_tiles::stored_hashes(n, &n.to_be_bytes(), &both.stored).unwrap();
            both.stored.0.extend(hashes);
        }
        both
    });
    &BOTH
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect()
}

fn check_inclusion(index: u64, size: u64) {
    let Big { tiles, stored } = big();
    let root = tlog_tiles::tree_hash(size, stored).unwrap();
    assert_eq!(proof::root(tiles, size).unwrap().0, root.0);
    let path = proof::inclusion(tiles, index, size).unwrap();
    let expected = tlog_tiles::prove_record(size, index, stored).unwrap();
    assert_eq!(theirs(&path), expected, "leaf {index} of {size}");
    verify_inclusion(index, size, &leaf(index), &path, &Hash(root.0)).unwrap();
    tlog_tiles::check_record(&theirs(&path), size, root, index, tlog_tiles::record_hash(&index.to_be_bytes())).unwrap();
}

fn check_consistency(old: u64, new: u64) {
    let Big { tiles, stored } = big();
    let (old_root, new_root) =
        (tlog_tiles::tree_hash(old, stored).unwrap(), tlog_tiles::tree_hash(new, stored).unwrap());
    let path = proof::consistency(tiles, old, new).unwrap();
    assert_eq!(theirs(&path), tlog_tiles::prove_tree(new, old, stored).unwrap(), "{old} to {new}");
    verify_consistency(old, new, &Hash(old_root.0), &Hash(new_root.0), &path).unwrap();
}

#[test]
fn tile_boundaries_equal_tlog_tiles() {
    let sizes = [1, 2, 3, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, 65_793, BIG];
    for size in sizes {
        for index in [0, 1, 2, 254, 255, 256, 257, 511, 512, 65_279, 65_280, 65_535, 65_536, size - 1] {
            if index < size {
                check_inclusion(index, size);
            }
        }
        for old in sizes.into_iter().filter(|old| *old <= size) {
            check_consistency(old, size);
        }
    }
}

#[test]
fn full_tiles_and_their_paths_equal_tlog_tiles() {
    let Big { tiles, stored } = big();
    assert_eq!(tiles.full.len(), 258 + 1, "258 full tiles of leaves, one above");
    for (id, hashes) in &tiles.full {
        let tile = Tile::new(8, id.level, id.index, 256, false);
        let data: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        assert_eq!(tile.read_data(stored).unwrap(), data, "{id:?}");
        // Theirs writes the tile's height in, as Go's checksum database does; C2SP leaves it out.
        assert_eq!(tile.path(), format!("tile/8/{}", id.path(256).strip_prefix("tile/").unwrap()));
    }
    assert_eq!(TileId { level: 0, index: 1_234_067 }.path(256), "tile/0/x001/x234/067");
    assert_eq!(TileId { level: 3, index: 0 }.path(17), "tile/3/000.p/17");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_proof_equals_tlog_tiles(size in 1..=BIG, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>()) {
        let size_usize = usize::try_from(size).unwrap();
        check_inclusion(at.index(size_usize) as u64, size);
        check_consistency(old.index(size_usize) as u64 + 1, size);
    }

    #[test]
    fn what_was_remembered_leads_to_the_same_proofs(
        asked in prop::collection::vec((1..=BIG, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..40),
    ) {
        let Big { tiles, .. } = big();
        let remembered = Remembered::default();
        for (size, at, old) in asked {
            let size_usize = usize::try_from(size).unwrap();
            let (index, old) = (at.index(size_usize) as u64, old.index(size_usize) as u64 + 1);
            let mut prover = Prover::new(tiles, size).remembering(&remembered);
            prop_assert_eq!(prover.inclusion(index).unwrap(), proof::inclusion(tiles, index, size).unwrap());
            prop_assert_eq!(prover.consistency(old).unwrap(), proof::consistency(tiles, old, size).unwrap());
        }
    }

    #[test]
    fn any_root_and_path_equals_rs_merkle(size in 1..=5_000_u64, at in any::<prop::sample::Index>()) {
        let index = at.index(usize::try_from(size).unwrap());
        let leaves: Vec<[u8; 32]> = (0..size).map(|n| Rfc6962::hash(&n.to_be_bytes())).collect();
        let tree = MerkleTree::<Rfc6962>::from_leaves(&leaves);
        let tiles = &big().tiles;
        prop_assert_eq!(Some(proof::root(tiles, size).unwrap().0), tree.root());
        let path = proof::inclusion(tiles, index as u64, size).unwrap();
        let theirs = tree.proof(&[index]);
        prop_assert_eq!(path.iter().map(|hash| hash.0).collect::<Vec<_>>(), theirs.proof_hashes());
        let root = tree.root().unwrap();
        prop_assert!(theirs.verify(root, &[index], &[leaves[index]], leaves.len()));
    }

    #[test]
    fn a_changed_proof_proves_nothing(
        size in 2..2_000_u64,
        at in any::<prop::sample::Index>(),
        hit in any::<prop::sample::Index>(),
        bit in 0..256_usize,
    ) {
        let Big { tiles, .. } = big();
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        let root = proof::root(tiles, size).unwrap();
        let path = proof::inclusion(tiles, index, size).unwrap();
        let mut changed = path.clone();
        let hit = hit.index(path.len());
        changed[hit].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_inclusion(index, size, &leaf(index), &changed, &root).is_err());
        prop_assert!(verify_inclusion(index, size, &leaf(index + 1), &path, &root).is_err());
        prop_assert!(verify_inclusion(index, size, &leaf(index), &path[1..], &root).is_err());
        let longer = [&path[..], &[root]].concat();
        prop_assert_eq!(verify_inclusion(index, size, &leaf(index), &longer, &root), Err(Unproved::Length(longer.len())));
        for other in (0..size).filter(|other| *other != index) {
            prop_assert!(verify_inclusion(other, size, &leaf(index), &path, &root).is_err(), "also proves index {}", other);
        }
    }

    #[test]
    fn a_changed_history_is_refuted(old in 1..1_500_u64, more in 1..1_500_u64, hit in any::<prop::sample::Index>(), bit in 0..256_usize) {
        let Big { tiles, .. } = big();
        let new = old + more;
        let (old_root, new_root) = (proof::root(tiles, old).unwrap(), proof::root(tiles, new).unwrap());
        let path = proof::consistency(tiles, old, new).unwrap();
        prop_assert_eq!(verify_consistency(old, new, &old_root, &new_root, &path), Ok(()));
        let mut changed = path.clone();
        let hit = hit.index(path.len());
        changed[hit].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_consistency(old, new, &old_root, &new_root, &changed).is_err());
        // No root of these trees: the root of size 1 is leaf 0, but no leaf is this one.
        let foreign = leaf(BIG);
        prop_assert!(verify_consistency(old, new, &foreign, &new_root, &path).is_err());
        prop_assert!(verify_consistency(old, new, &old_root, &foreign, &path).is_err());
        prop_assert!(verify_consistency(old, new, &old_root, &new_root, &path[1..]).is_err());
        prop_assert!(verify_consistency(old, new, &old_root, &new_root, &[&path[..], &[foreign]].concat()).is_err());
    }

    #[test]
    fn hostile_sizes_overflow_nothing(index: u64, size: u64, old: u64, path in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let path: Vec<Hash> = path.into_iter().map(Hash).collect();
        let root = leaf(0);
        for (index, size) in [(index, size), (u64::MAX - 1, u64::MAX), (0, u64::MAX), (index | 1 << 63, u64::MAX), (index, index)] {
            prop_assert!(verify_inclusion(index, size, &root, &path, &root).is_err() || size == 1);
        }
        for (old, new) in [(old, size), (1 << 63, u64::MAX), ((1 << 63) - 1, 1 << 63), (u64::MAX - 1, u64::MAX), (1, u64::MAX)] {
            prop_assert!(verify_consistency(old, new, &root, &root, &path).is_err() || (old == new && path.is_empty()));
        }
        // A source that knows far less than the size claims gives errors, not panics.
        let Big { tiles, .. } = big();
        prop_assert!(proof::inclusion(tiles, index % u64::MAX, u64::MAX).is_err());
        prop_assert!(proof::consistency(tiles, (old % (u64::MAX - 2)) + 1, u64::MAX).is_err());
        prop_assert!(proof::root(tiles, size | 1 << 40).is_err());
    }

    #[test]
    fn edges_of_hostile_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(edge) = Edge::decode(&bytes) {
            prop_assert_eq!(edge.encode(), bytes);
        }
    }
}

#[test]
fn edges_refuse_what_they_did_not_write() {
    let Big { tiles, .. } = big();
    let encoded = tiles.edge.encode();
    assert!(Edge::decode(&encoded[..encoded.len() - 1]).is_err());
    assert!(Edge::decode(&[&encoded[..], &[0]].concat()).is_err());
    assert!(Edge::decode(&(MAX_SIZE + 1).to_be_bytes()).is_err());
    assert!(Edge::decode(&[0; 7]).is_err());
    assert_eq!(Edge::decode(&[0; 8]).unwrap(), Edge::new());
}

#[test]
fn a_decoded_edge_goes_on_like_the_one_that_was_kept() {
    let mut kept = MemTiles::default();
    let mut reopened = MemTiles::default();
    for n in 0..1_500 {
        kept.push(leaf(n));
        reopened.edge = Edge::decode(&reopened.edge.encode()).unwrap();
        reopened.push(leaf(n));
        assert_eq!((reopened.edge.root(), &reopened.edge), (kept.edge.root(), &kept.edge));
    }
    assert_eq!(reopened.full, kept.full);
}

#[test]
fn out_of_range_and_short_tiles_are_errors() {
    let Big { tiles, .. } = big();
    assert!(matches!(proof::inclusion(tiles, 5, 5), Err(ProofError::OutOfRange { asked: 5, size: 5 })));
    assert!(matches!(proof::consistency(tiles, 6, 5), Err(ProofError::OutOfRange { asked: 6, size: 5 })));
    assert!(matches!(proof::inclusion(tiles, 0, BIG + 1), Err(ProofError::Short { .. })));
    assert_eq!(proof::consistency(tiles, 0, 5).unwrap(), []);
    assert_eq!(proof::consistency(tiles, 5, 5).unwrap(), []);
    assert_eq!(proof::root(tiles, 0).unwrap(), hash::empty_root());
}

#[test]
fn one_prover_makes_the_same_proofs_as_many() {
    let Big { tiles, .. } = big();
    let mut prover = Prover::new(tiles, BIG);
    for index in (0..BIG).step_by(997) {
        assert_eq!(prover.inclusion(index).unwrap(), proof::inclusion(tiles, index, BIG).unwrap());
    }
    assert_eq!(prover.consistency(300).unwrap(), proof::consistency(tiles, 300, BIG).unwrap());
}

//! A log as it is published, C2SP tlog-tiles: the paths of its static resources, the bytes of tiles and entry bundles, and a reader
//! that believes nothing of what it fetches but what a checkpoint commits to.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]         hashes, 32 bytes each          tile/0/x001/x234/067, tile/1/000.p/17
//! tile/entries/<N>[.p/<W>]     entries, each behind its length (u16, big-endian)
//! ```
//!
//! Left out: where the bytes come from ([`Fetch`] is implemented by stores here, by files and HTTP elsewhere) and whose signature a
//! checkpoint has ([`crate::checkpoint`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use crate::checkpoint::Checkpoint;
use crate::encoding;
use crate::hash::{self, Hash, empty_root};
use crate::proof::{self, ProofError, Unproved};
use crate::tree::{Edge, MAX_SIZE, TILE_WIDTH, TileId, TileSource, perfect_root};

/// Width of a full resource.
pub const FULL: u16 = 256;

/// The highest tile level that C2SP tlog-tiles allows in a path.
pub const MAX_LEVEL: u8 = 63;

/// A static resource of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// A tile of hashes.
    Tile(TileId),
    /// A bundle of entries, by its number: entries `256 n` on.
    Entries(u64),
}

/// A resource at a width: 256 is the full one, less is its beginning, as a smaller tree had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourcePath {
    /// What.
    pub resource: Resource,
    /// Hashes or entries in it, 1 to 256.
    pub width: u16,
}

/// Where the resources of one log are fetched from. Nobody believes what comes back.
pub trait Fetch {
    /// What goes wrong while fetching.
    type Error;

    /// The bytes of a resource; none where there is none at this width.
    fn fetch(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, Self::Error>;
}

impl<F: Fetch> Fetch for &F {
    type Error = F::Error;

    fn fetch(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, F::Error> {
        (**self).fetch(path)
    }
}

/// Bytes that are no tile, no bundle, or an entry that fits in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileFormError {
    /// Not 1 to 256 whole hashes.
    #[error("{0} bytes are no tile: 1 to 256 hashes of 32 bytes expected")]
    Tile(usize),
    /// A bundle ends within an entry, after `whole` whole ones.
    #[error("the entry bundle breaks off after {whole} entries")]
    CutOff {
        /// Entries before the break.
        whole: usize,
    },
    /// An entry's length has two bytes.
    #[error("an entry of {0} bytes fits no entry bundle: 65,535 at most")]
    LongEntry(usize),
}

/// Why a published log can't be read, or is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum TiledError<E> {
    /// The place it is fetched from failed.
    #[error("{path}: {why}")]
    Fetch {
        /// What was fetched.
        path: ResourcePath,
        /// Why it failed.
        why: E,
    },
    /// A tree of this size has it, the place does not.
    #[error("{path} is missing, which a log of {size} entries must have")]
    Absent {
        /// What is missing.
        path: ResourcePath,
        /// Size in the checkpoint.
        size: u64,
    },
    /// Its bytes are none of a tile or bundle.
    #[error("{path}: {why}")]
    Form {
        /// What was fetched.
        path: ResourcePath,
        /// What is wrong with it.
        why: TileFormError,
    },
    /// Other than the width says.
    #[error("{path} holds {found} of them")]
    Width {
        /// What was fetched.
        path: ResourcePath,
        /// Hashes or entries in it.
        found: usize,
    },
    /// Well formed, but not what the checkpoint commits to.
    #[error(
        "{path} is not what the checkpoint of {size} entries commits to: it hashes to {found}, expected {expected}"
    )]
    Forged {
        /// What was fetched.
        path: ResourcePath,
        /// Size in the checkpoint.
        size: u64,
        /// The hash that stands in the tree.
        expected: Hash,
        /// What was fetched hashes to.
        found: Hash,
    },
    /// The newest tiles don't give the root that was signed.
    #[error("the tiles of {size} entries have the root {found}, the checkpoint says {expected}")]
    Root {
        /// Size in the checkpoint.
        size: u64,
        /// Root in the checkpoint.
        expected: Hash,
        /// Root of the tiles.
        found: Hash,
    },
    /// Larger than any log.
    #[error("a tree of {0} entries is larger than any log")]
    TooLarge(u64),
    /// Asked for something that the tree does not hold.
    #[error("{asked} is outside a log of {size} entries")]
    OutOfRange {
        /// Index or size asked for.
        asked: u64,
        /// Size in the checkpoint.
        size: u64,
    },
    /// The history before is another one.
    #[error("the log of {new} entries does not extend the one of {old}: {why}")]
    Forked {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
        /// What does not fit.
        why: Unproved,
    },
}

impl Resource {
    /// How many hashes or entries it has in a tree of `size` leaves, 0 to 256.
    pub fn width_at(&self, size: u64) -> u16 {
        match self {
            Resource::Tile(id) => id.width_at(size),
            Resource::Entries(index) => TileId { level: 0, index: *index }.width_at(size),
        }
    }
}

impl ResourcePath {
    /// The full resource.
    pub fn full(resource: Resource) -> ResourcePath {
        ResourcePath { resource, width: FULL }
    }

    /// The resource of a path below a log's prefix. Only the spelling that C2SP writes is read: numbers in groups of three digits,
    /// no leading zeros beyond that, no width of 0 or 256.
    pub fn parse(path: &str) -> Option<ResourcePath> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => {
                (number, u16::try_from(encoding::from_decimal(width)?).ok().filter(|width| *width > 0)?)
            }
            None => (rest, FULL),
        };
        let index = index_of(number)?;
        let resource = match kind {
            "entries" => Resource::Entries(index),
            level => {
                let level = u8::try_from(encoding::from_decimal(level)?).ok().filter(|level| *level <= MAX_LEVEL)?;
                Resource::Tile(TileId { level, index })
            }
        };
        let parsed = ResourcePath { resource, width };
        // One spelling each: what is not written like this is not read.
        (parsed.to_string() == path).then_some(parsed)
    }

    /// Whether a tree of `size` leaves has it.
    pub fn is_in(&self, size: u64) -> bool {
        self.width > 0 && self.width <= self.resource.width_at(size)
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.resource {
            Resource::Tile(id) => f.write_str(&id.path(self.width)),
            Resource::Entries(index) => {
                let path = TileId { level: 0, index }.path(self.width);
                write!(f, "tile/entries/{}", path.trim_start_matches("tile/0/"))
            }
        }
    }
}

/// The number in `x001/x234/067`, whatever its leading zeros.
fn index_of(groups: &str) -> Option<u64> {
    let mut index = 0_u64;
    for group in groups.split('/') {
        let digits = group.trim_start_matches('x');
        if digits.len() != 3 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(index)
}

/// All resources of a tree of `size` leaves: entry bundles, then tiles from the leaves up.
pub fn resources(size: u64) -> impl Iterator<Item = ResourcePath> {
    added(0, size)
}

/// The resources of a tree of `new` leaves that the tree of `old` leaves did not have at the same width: what is left to write where
/// the older one is published already. Entry bundles first, then tiles from the leaves up.
pub fn added(old: u64, new: u64) -> impl Iterator<Item = ResourcePath> {
    let bundles = (first_changed(0, old)..full_and_partial(0, new)).map(Resource::Entries);
    let levels = (0..8_u8).flat_map(move |level| {
        (first_changed(level, old)..full_and_partial(level, new))
            .map(move |index| Resource::Tile(TileId { level, index }))
    });
    bundles.chain(levels).filter_map(move |resource| {
        let width = resource.width_at(new);
        (width > resource.width_at(old)).then_some(ResourcePath { resource, width })
    })
}

/// The first tile of a level that is not full in a tree of `size` leaves.
fn first_changed(level: u8, size: u64) -> u64 {
    size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0)
}

/// Tiles of a level in a tree of `size` leaves.
fn full_and_partial(level: u8, size: u64) -> u64 {
    (size >> (8 * u32::from(level))).div_ceil(TILE_WIDTH as u64)
}

/// The bytes of a tile.
pub fn encode_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile's bytes, 1 to 256 of them.
pub fn decode_tile(bytes: &[u8]) -> Result<Vec<Hash>, TileFormError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.is_empty() || hashes.len() > TILE_WIDTH {
        return Err(TileFormError::Tile(bytes.len()));
    }
    Ok(hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// The bytes of an entry bundle.
pub fn encode_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, TileFormError> {
    let mut bundle = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| TileFormError::LongEntry(entry.len()))?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// The entries of a bundle's bytes.
pub fn decode_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, TileFormError> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut_off = TileFormError::CutOff { whole: entries.len() };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(cut_off)?;
        let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(cut_off)?;
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

/// A published log as of one checkpoint. Whatever it answers is what that checkpoint commits to: every tile is checked against the one
/// above it, the newest ones against the root. Whether the checkpoint is to be believed, its caller has decided.
pub struct TiledLog<F> {
    fetch: F,
    size: u64,
    /// The unfinished tile of each level; its root is the checkpoint's.
    edge: Edge,
    /// Full tiles above the leaves: one in 256, and each proves 256 others.
    above: RefCell<HashMap<TileId, Vec<Hash>>>,
}

impl<F: Fetch> TiledLog<F> {
    /// Reads the newest tiles, at most one a level, and compares their root with that of `head`.
    pub fn open(fetch: F, head: &Checkpoint) -> Result<TiledLog<F>, TiledError<F::Error>> {
        let Checkpoint { size, root, .. } = *head;
        if size > MAX_SIZE {
            return Err(TiledError::TooLarge(size));
        }
        let mut encoded = size.to_be_bytes().to_vec();
        for level in 0..8 {
            let id = TileId { level, index: first_changed(level, size) };
            let width = id.width_at(size);
            if width > 0 {
                let path = ResourcePath { resource: Resource::Tile(id), width };
                encoded.extend(encode_tile(&fetch_tile(&fetch, path, size)?));
            }
        }
        let edge = Edge::decode(&encoded).map_err(|_| TiledError::TooLarge(size))?;
        if edge.root() != root {
            return Err(TiledError::Root { size, expected: root, found: edge.root() });
        }
        Ok(TiledLog { fetch, size, edge, above: RefCell::default() })
    }

    /// Entries in it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where it is fetched from.
    pub fn source(&self) -> &F {
        &self.fetch
    }

    /// The leaf hash at `index` and its audit path under the checkpoint.
    pub fn inclusion(&self, index: u64) -> Result<(Hash, Vec<Hash>), TiledError<F::Error>> {
        let path = proof::inclusion(self, index, self.size)?;
        let id = TileId { level: 0, index: index / TILE_WIDTH as u64 };
        let at = usize::try_from(index % TILE_WIDTH as u64).unwrap_or(0);
        // The tree has the index, or there would be no path.
        let leaf = self.tile(id, id.width_at(self.size))?.get(at).copied().unwrap_or(empty_root());
        Ok((leaf, path))
    }

    /// The proof that the tree of `old` entries is a prefix of this one.
    pub fn consistency(&self, old: u64) -> Result<Vec<Hash>, TiledError<F::Error>> {
        Ok(proof::consistency(self, old, self.size)?)
    }

    /// The root that the log had at `size` entries.
    pub fn root_at(&self, size: u64) -> Result<Hash, TiledError<F::Error>> {
        if size > self.size {
            return Err(TiledError::OutOfRange { asked: size, size: self.size });
        }
        Ok(proof::root(self, size)?)
    }

    /// Checks that this log extends that of an older checkpoint; the proof.
    pub fn extends(&self, older: &Checkpoint) -> Result<Vec<Hash>, TiledError<F::Error>> {
        let (old, new) = (older.size, self.size);
        let path = self.consistency(old)?;
        let root = self.edge.root();
        // Every tree begins empty; the form of a checkpoint has the empty root in it then.
        if old > 0 {
            proof::verify_consistency(old, new, &older.root, &root, &path).map_err(|why| TiledError::Forked {
                old,
                new,
                why,
            })?;
        }
        Ok(path)
    }

    /// The entries of bundle `index`: entries `256 index` on, 256 of them but at the end of the log. None past the end.
    pub fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, TiledError<F::Error>> {
        let resource = Resource::Entries(index);
        let width = resource.width_at(self.size);
        if width == 0 {
            return Ok(Vec::new());
        }
        let path = ResourcePath { resource, width };
        let bytes = fetch_or_full(&self.fetch, path, self.size)?;
        let mut entries = decode_bundle(&bytes).map_err(|why| TiledError::Form { path, why })?;
        if entries.len() < usize::from(width) {
            return Err(TiledError::Width { path, found: entries.len() });
        }
        entries.truncate(usize::from(width));
        let leaves: Vec<Hash> = entries.iter().map(|entry| hash::leaf(entry)).collect();
        if width == FULL {
            self.check_full(path, TileId { level: 0, index }, &leaves)?;
        } else if let Some((expected, found)) = self.edge.level(0).iter().zip(&leaves).find(|(a, b)| a != b) {
            return Err(TiledError::Forged { path, size: self.size, expected: *expected, found: *found });
        }
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// A tile as the checkpoint commits to it: its hashes in the tree of this size.
    fn authentic(&self, id: TileId) -> Result<Vec<Hash>, TiledError<F::Error>> {
        let width = id.width_at(self.size);
        if width == 0 {
            return Err(TiledError::OutOfRange { asked: id.index, size: self.size });
        }
        if width < FULL {
            return Ok(self.edge.level(id.level).to_vec());
        }
        if let Some(tile) = self.above.borrow().get(&id) {
            return Ok(tile.clone());
        }
        let path = ResourcePath::full(Resource::Tile(id));
        let tile = fetch_tile(&self.fetch, path, self.size)?;
        self.check_full(path, id, &tile)?;
        if id.level > 0 {
            self.above.borrow_mut().insert(id, tile.clone());
        }
        Ok(tile)
    }

    /// Compares the root over a full tile's hashes with the hash that stands for it one level up.
    fn check_full(&self, path: ResourcePath, id: TileId, hashes: &[Hash]) -> Result<(), TiledError<F::Error>> {
        let above = TileId { level: id.level + 1, index: id.index / TILE_WIDTH as u64 };
        let at = usize::try_from(id.index % TILE_WIDTH as u64).unwrap_or(0);
        let parents = self.authentic(above)?;
        let found = perfect_root(hashes);
        match parents.get(at) {
            Some(expected) if *expected == found => Ok(()),
            Some(expected) => Err(TiledError::Forged { path, size: self.size, expected: *expected, found }),
            None => Err(TiledError::OutOfRange { asked: id.index, size: self.size }),
        }
    }
}

impl<F: Fetch> TileSource for TiledLog<F> {
    type Error = TiledError<F::Error>;

    fn tile(&self, id: TileId, width: u16) -> Result<Vec<Hash>, Self::Error> {
        let tile = self.authentic(id)?;
        if tile.len() < usize::from(width) {
            return Err(TiledError::OutOfRange { asked: id.index, size: self.size });
        }
        Ok(tile)
    }
}

/// The hashes of a tile, as many as its width says, whatever they are.
fn fetch_tile<F: Fetch>(fetch: &F, path: ResourcePath, size: u64) -> Result<Vec<Hash>, TiledError<F::Error>> {
    let bytes = fetch_or_full(fetch, path, size)?;
    let mut hashes = decode_tile(&bytes).map_err(|why| TiledError::Form { path, why })?;
    if hashes.len() < usize::from(path.width) {
        return Err(TiledError::Width { path, found: hashes.len() });
    }
    hashes.truncate(usize::from(path.width));
    Ok(hashes)
}

/// The bytes of a resource; of the full one where a partial one is gone, as a log may do once it has the full one.
fn fetch_or_full<F: Fetch>(fetch: &F, path: ResourcePath, size: u64) -> Result<Vec<u8>, TiledError<F::Error>> {
    let get = |path: ResourcePath| fetch.fetch(&path).map_err(|why| TiledError::Fetch { path, why });
    if let Some(bytes) = get(path)? {
        return Ok(bytes);
    }
    let full = if path.width < FULL { get(ResourcePath::full(path.resource))? } else { None };
    full.ok_or(TiledError::Absent { path, size })
}

impl<E> From<ProofError<TiledError<E>>> for TiledError<E> {
    fn from(error: ProofError<TiledError<E>>) -> Self {
        match error {
            ProofError::Source(source) => source,
            ProofError::OutOfRange { asked, size } => TiledError::OutOfRange { asked, size },
            ProofError::Short { id, found, expected } => {
                TiledError::Width { path: ResourcePath { resource: Resource::Tile(id), width: expected }, found }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        let check = |path: &str, expect: Option<(Resource, u16)>| {
            let found = ResourcePath::parse(path);
            assert_eq!(found.map(|found| (found.resource, found.width)), expect, "{path:?}");
            if let Some(found) = found {
                assert_eq!(found.to_string(), path);
            }
        };
        let tile = |level, index| Resource::Tile(TileId { level, index });
        check("tile/0/000", Some((tile(0, 0), 256)));
        check("tile/0/x001/x234/067", Some((tile(0, 1_234_067), 256)));
        check("tile/63/x001/000.p/255", Some((tile(63, 1_000), 255)));
        check("tile/entries/x001/x234/067.p/1", Some((Resource::Entries(1_234_067), 1)));
        check("tile/0/x018/x446/x744/x073/x709/x551/615", Some((tile(0, u64::MAX), 256)));
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile//000",
            "tile/00/000",
            "tile/64/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/data/000",
            "tile/Entries/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/00a",
            "tile/0/x000",
            "tile/0/x000/000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/x001/",
            "tile/0/x001//000",
            "tile/0/xx001/000",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/256",
            "tile/0/000.p/257",
            "tile/0/000.p/65537",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/0/x001.p/1/000",
            "tile/0/000/",
            "/tile/0/000",
            "tile/0/000 ",
            "tile/0/٠٠٠",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn the_specifications_own_example() {
        // C2SP tlog-tiles, "Partial Tiles": a tree of size 70,000.
        let count = |level, full: bool| {
            let of_level = move |path: &ResourcePath| matches!(path.resource, Resource::Tile(id) if id.level == level);
            resources(70_000)
                .filter(of_level)
                .filter(|path| (path.width == FULL) == full)
                .map(|path| path.width)
                .collect::<Vec<_>>()
        };
        assert_eq!(count(0, true).len(), 273);
        assert_eq!(count(0, false), [112]);
        assert_eq!(count(1, true).len(), 1);
        assert_eq!(count(1, false), [17]);
        assert_eq!(count(2, false), [1]);
        assert_eq!(
            resources(256).map(|path| path.to_string()).collect::<Vec<_>>(),
            ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
        );
        assert_eq!(resources(0).count(), 0);
    }

    #[test]
    fn what_is_added_is_what_the_older_tree_had_not() {
        let sizes = [0, 1, 2, 255, 256, 257, 512, 513, 65_535, 65_536, 65_537, 70_000];
        for (at, old) in sizes.into_iter().enumerate() {
            for new in sizes.into_iter().skip(at) {
                let before: std::collections::BTreeSet<_> = resources(old).collect();
                let expect: Vec<_> = resources(new).filter(|path| !before.contains(path)).collect();
                assert_eq!(added(old, new).collect::<Vec<_>>(), expect, "{old} to {new}");
            }
        }
    }

    #[test]
    fn bundles_round_trip_and_broken_ones_are_refused() {
        let long = vec![7; 65_535];
        let entries: [&[u8]; 3] = [b"", b"a", &long];
        let bundle = encode_bundle(entries).unwrap();
        assert_eq!(bundle[..5], [0, 0, 0, 1, b'a']);
        assert_eq!(decode_bundle(&bundle).unwrap(), entries);
        assert_eq!(decode_bundle(&[]).unwrap(), [b""; 0]);
        assert_eq!(decode_bundle(&bundle[..bundle.len() - 1]), Err(TileFormError::CutOff { whole: 2 }));
        assert_eq!(decode_bundle(&[0, 1, 9, 0]), Err(TileFormError::CutOff { whole: 1 }));
        assert_eq!(encode_bundle([&vec![0; 65_536][..]]), Err(TileFormError::LongEntry(65_536)));
    }

    #[test]
    fn tiles_are_whole_hashes() {
        let hashes = [hash::leaf(b"a"), hash::leaf(b"b")];
        assert_eq!(decode_tile(&encode_tile(&hashes)).unwrap(), hashes);
        for bad in [0, 31, 33, 257 * 32] {
            assert_eq!(decode_tile(&vec![0; bad]), Err(TileFormError::Tile(bad)));
        }
    }
}

//! What the store knows of a round's items: earlier copies and chain heads, in one batched read.

use std::sync::Arc;

use super::{Item, Turn};
use crate::dedupe::Fingerprint;
use crate::governance::{Governance, key_change_size};
use crate::hash::Hash;
use crate::kv::{Kv, Space};
use crate::layout::{ChainHead, Key, KeyBytes, LayoutError, LogId, read_u64};
use crate::read::{Log, ReadError};

/// What the store knows of one turn's items, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub(super) items: Vec<KnownItem>,
    /// What holds in the log; read only for turns with control messages.
    pub(super) governance: Option<Arc<Governance>>,
}

/// All empty for what is no event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownItem {
    /// Index of the accepted event with the same fingerprint.
    pub(super) duplicate: Option<u64>,
    /// Where the event's change ends.
    pub(super) chain: Option<ChainHead>,
    /// For a change of key: the tree size that it names, and its root.
    pub(super) root: Option<(u64, Hash)>,
}

/// Reads what the store knows, one [`Known`] a turn. To be called after the previous round is committed.
pub fn look_up<K: Kv>(kv: &K, turns: &[Turn]) -> Result<Vec<Known>, ReadError> {
    look_up_governed(kv, turns, |log| Ok(Arc::new(Log::open(kv, log)?.governance()?)))
}

/// [`look_up`] for whoever knows what holds in a log, which `governance` gives.
pub(crate) fn look_up_governed<K: Kv>(
    kv: &K,
    turns: &[Turn],
    governance: impl Fn(LogId) -> Result<Arc<Governance>, ReadError>,
) -> Result<Vec<Known>, ReadError> {
    let (fingerprints, changes) = (Wanted::of(turns, fingerprint), Wanted::of(turns, change));
    // Fingerprints stand before chains in the index: both sorted, so are all keys together.
    let keys = fingerprints.keys(|log, key| Key::Dedupe(log, Fingerprint(key)));
    let keys: Vec<KeyBytes> = keys.chain(changes.keys(Key::Chain)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
    let values = kv.get_many(Space::Index, &keys)?;
    let (duplicates, chains) = values.split_at(fingerprints.0.len());
    let duplicate = |log, fingerprint| -> Result<Option<u64>, LayoutError> {
        fingerprints.find(log, fingerprint, duplicates).map(|row| read_u64("dedupe", row)).transpose()
    };
    let item = |log, item: &Item| -> Result<KnownItem, ReadError> {
        Ok(match item {
            Item::Event(event) => {
                let chain = changes.find(log, u128::from_be_bytes(event.change_key), chains);
                let duplicate = duplicate(log, number(event.fingerprint))?;
                KnownItem { duplicate, chain: chain.map(ChainHead::decode).transpose()?, root: None }
            }
            Item::Control(control) => KnownItem {
                duplicate: duplicate(log, number(control.fingerprint))?,
                chain: None,
                root: named_root(kv, log, &control.message)?,
            },
            Item::Rejection(_) | Item::Gap { .. } | Item::Epoch { .. } | Item::Heartbeat { .. } => KnownItem::default(),
        })
    };
    let known = |turn: &Turn| -> Result<Known, ReadError> {
        let items: Result<_, _> = turn.items.iter().map(|found| item(turn.log, found)).collect();
        let governed = turn.items.iter().any(|item| matches!(item, Item::Control(_)));
        let governance = governed.then(|| governance(turn.log)).transpose()?;
        Ok(Known { items: items?, governance })
    };
    turns.iter().map(known).collect()
}

/// The root of the tree size that a change of key names, where the log is that long.
fn named_root<K: Kv>(kv: &K, log: LogId, message: &[u8]) -> Result<Option<(u64, Hash)>, ReadError> {
    let Some(size) = key_change_size(message) else { return Ok(None) };
    let log = Log::open(kv, log)?;
    if size > log.head()?.size {
        return Ok(None);
    }
    Ok(Some((size, log.root(size)?)))
}

/// 16-byte keys of a round, sorted and each once; as numbers, because they are compared ten times each.
struct Wanted(Vec<(LogId, u128)>);

impl Wanted {
    fn of(turns: &[Turn], key: impl Fn(&Item) -> Option<u128>) -> Self {
        let mut wanted = Vec::with_capacity(turns.iter().map(|turn| turn.items.len()).sum());
        for turn in turns {
            wanted.extend(turn.items.iter().filter_map(&key).map(|key| (turn.log, key)));
        }
        wanted.sort_unstable();
        wanted.dedup();
        Self(wanted)
    }

    fn keys(&self, key: impl Fn(LogId, [u8; 16]) -> Key) -> impl Iterator<Item = KeyBytes> {
        self.0.iter().map(move |(log, number)| key(*log, number.to_be_bytes()).bytes())
    }

    /// The value of a key among `values`, which were read in the order of [`Self::keys`].
    fn find<'v>(&self, log: LogId, key: u128, values: &'v [Option<Vec<u8>>]) -> Option<&'v [u8]> {
        let place = self.0.binary_search(&(log, key)).ok()?;
        values.get(place)?.as_deref()
    }
}

/// By what an item is recognised as a repeat.
fn fingerprint(item: &Item) -> Option<u128> {
    match item {
        Item::Event(event) => Some(number(event.fingerprint)),
        Item::Control(control) => Some(number(control.fingerprint)),
        _ => None,
    }
}

fn change(item: &Item) -> Option<u128> {
    if let Item::Event(event) = item { Some(u128::from_be_bytes(event.change_key)) } else { None }
}

fn number(fingerprint: Fingerprint) -> u128 {
    u128::from_be_bytes(fingerprint.0)
}

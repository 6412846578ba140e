//! What the store knows of a round's items: earlier copies and chain heads, in one batched read.

use super::{Item, PendingEvent, Turn};
use crate::dedupe::Fingerprint;
use crate::kv::{Kv, Space};
use crate::layout::{ChainHead, Key, KeyBytes, LayoutError, LogId, read_u64};
use crate::read::ReadError;

/// What the store knows of one turn's items, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub(super) items: Vec<KnownItem>,
}

/// All empty for what is no event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownItem {
    /// Index of the accepted event with the same fingerprint.
    pub(super) duplicate: Option<u64>,
    /// Where the event's change ends.
    pub(super) chain: Option<ChainHead>,
}

/// Reads what the store knows, one [`Known`] a turn. To be called after the previous round is committed.
pub fn look_up<K: Kv>(kv: &K, turns: &[Turn]) -> Result<Vec<Known>, ReadError> {
    let (fingerprints, changes) = (Wanted::of(turns, fingerprint), Wanted::of(turns, change));
    // Fingerprints stand before chains in the index: both sorted, so are all keys together.
    let keys = fingerprints.keys(|log, key| Key::Dedupe(log, Fingerprint(key)));
    let keys: Vec<KeyBytes> = keys.chain(changes.keys(Key::Chain)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
    let values = kv.get_many(Space::Index, &keys)?;
    let (duplicates, chains) = values.split_at(fingerprints.0.len());
    let one = |log, event: &PendingEvent| -> Result<KnownItem, LayoutError> {
        let duplicate = fingerprints.find(log, fingerprint(event), duplicates);
        let chain = changes.find(log, change(event), chains);
        Ok(KnownItem {
            duplicate: duplicate.map(|row| read_u64("dedupe", row)).transpose()?,
            chain: chain.map(ChainHead::decode).transpose()?,
        })
    };
    let item = |log, item: &Item| match item {
        Item::Event(event) => one(log, event),
        Item::Rejection(_) | Item::Gap { .. } | Item::Epoch { .. } => Ok(KnownItem::default()),
    };
    let known = |turn: &Turn| -> Result<Known, ReadError> {
        let items: Result<_, _> = turn.items.iter().map(|found| item(turn.log, found)).collect();
        Ok(Known { items: items? })
    };
    turns.iter().map(known).collect()
}

/// 16-byte keys of a round, sorted and each once; as numbers, because they are compared ten times each.
struct Wanted(Vec<(LogId, u128)>);

impl Wanted {
    fn of(turns: &[Turn], key: impl Fn(&PendingEvent) -> u128) -> Self {
        let mut wanted = Vec::with_capacity(turns.iter().map(|turn| turn.items.len()).sum());
        for turn in turns {
            let events =
                turn.items.iter().filter_map(|item| if let Item::Event(event) = item { Some(event) } else { None });
            wanted.extend(events.map(|event| (turn.log, key(event))));
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

fn fingerprint(event: &PendingEvent) -> u128 {
    u128::from_be_bytes(event.fingerprint.0)
}

fn change(event: &PendingEvent) -> u128 {
    u128::from_be_bytes(event.change_key)
}

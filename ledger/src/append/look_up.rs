//! What the store knows of a round's items: earlier copies and chain heads, in one batched read.

use super::{Item, Turn};
use crate::kv::{Kv, Space};
use crate::layout::{ChainHead, Key, KeyBytes, read_u64};
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
    let wanted = wanted(turns);
    let mut keys: Vec<&[u8]> = wanted.iter().flat_map(|(_, _, dedupe, chain)| [&**dedupe, &**chain]).collect();
    keys.sort_unstable();
    keys.dedup();
    let values = kv.get_many(Space::Index, &keys)?;
    let find = |key: &KeyBytes| keys.binary_search(&&**key).ok().and_then(|place| values[place].as_deref());

    let mut known: Vec<Known> =
        turns.iter().map(|turn| Known { items: vec![KnownItem::default(); turn.items.len()] }).collect();
    for (turn, item, dedupe, chain) in &wanted {
        known[*turn].items[*item] = KnownItem {
            duplicate: find(dedupe).map(|row| read_u64("dedupe", row)).transpose()?,
            chain: find(chain).map(ChainHead::decode).transpose()?,
        };
    }
    Ok(known)
}

/// Turn, item, and the two keys of every event.
fn wanted(turns: &[Turn]) -> Vec<(usize, usize, KeyBytes, KeyBytes)> {
    let mut wanted = Vec::new();
    for (place, turn) in turns.iter().enumerate() {
        for (number, item) in turn.items.iter().enumerate() {
            if let Item::Event(event) = item {
                let dedupe = Key::Dedupe(turn.log, event.fingerprint).bytes();
                wanted.push((place, number, dedupe, Key::Chain(turn.log, event.change_key).bytes()));
            }
        }
    }
    wanted
}

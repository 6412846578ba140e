//! Payloads of one log, out of the blocks that they are stored in.

use std::ops::Range;

use super::{ReadError, Stored};
use crate::kv::{Kv, Row, Space};
use crate::layout::{BLOCK_SPAN, Block, Key, LayoutError, LogId, Parts};

/// What is kept of entry `index`; none where it has no payload.
pub(crate) fn stored<K: Kv>(kv: &K, log: LogId, index: u64) -> Result<Option<Stored>, ReadError> {
    let row = blocks(kv, log, index..index.saturating_add(1), 1)?.pop();
    Ok(row.map(decode).transpose()?.and_then(|block| block.find(index)))
}

/// At most `limit` payloads of `range`, in order.
pub(crate) fn stored_range<K: Kv>(
    kv: &K,
    log: LogId,
    range: Range<u64>,
    limit: usize,
) -> Result<Vec<(u64, Stored)>, ReadError> {
    let mut found = Vec::new();
    let mut from = range.start;
    while found.len() < limit && from < range.end {
        // A block holds a payload at least and rarely one alone, so this reads a few times, and never much too far.
        let rows = blocks(kv, log, from..range.end, (limit - found.len()) / 64 + 1)?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let (key, block) = (row.0.clone(), decode(row)?);
            let (Key::Payload(_, last), rows) = (Key::decode(Space::Payloads, &key)?, block.into_rows()) else { break };
            found.extend(rows.filter(|(index, _)| range.contains(index)));
            from = last.saturating_add(1);
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// The payloads of these indices, which ascend: each block is read once, however many of them it holds.
pub(crate) fn stored_at<K: Kv>(kv: &K, log: LogId, indices: &[u64]) -> Result<Vec<(u64, Stored)>, ReadError> {
    let mut found = Vec::with_capacity(indices.len());
    let mut left = indices;
    while let Some(first) = left.first() {
        let Some(row) = blocks(kv, log, *first..first.saturating_add(1), 1)?.pop() else {
            left = &left[1..];
            continue;
        };
        let Key::Payload(_, last) = Key::decode(Space::Payloads, &row.0)? else { break };
        let block = decode(row)?;
        let here = left.partition_point(|index| *index <= last).max(1);
        found.extend(left[..here].iter().filter_map(|index| Some((*index, block.find(*index)?))));
        left = &left[here..];
    }
    Ok(found)
}

/// Calls `payload` with each payload of `range`, in order.
pub(crate) fn scan<K: Kv>(
    kv: &K,
    log: LogId,
    range: Range<u64>,
    mut payload: impl FnMut(u64, Parts<'_>),
) -> Result<(), ReadError> {
    let (from, to) = rows_of(log, &range);
    let (mut block, mut damaged) = (Block::default(), None);
    kv.scan(Space::Payloads, &from.bytes(), &to.bytes(), &mut |key, row| match Key::decode(Space::Payloads, key)
        .and_then(|key| block.read(&key, row))
    {
        Ok(()) => {
            let wanted = block.parts().filter(|(index, _)| range.contains(index));
            wanted.for_each(|(index, parts)| payload(index, parts));
        }
        Err(error) => damaged = damaged.take().or(Some(error)),
    })?;
    damaged.map_or(Ok(()), |error| Err(error.into()))
}

/// The first rows that may hold payloads of `range`.
fn blocks<K: Kv>(kv: &K, log: LogId, range: Range<u64>, limit: usize) -> Result<Vec<Row>, ReadError> {
    let (from, to) = rows_of(log, &range);
    Ok(kv.range(Space::Payloads, &from.bytes(), &to.bytes(), limit)?)
}

/// Between which keys the blocks lie that may hold payloads of `range`.
fn rows_of(log: LogId, range: &Range<u64>) -> (Key, Key) {
    (Key::Payload(log, range.start), Key::Payload(log, range.end.saturating_add(BLOCK_SPAN - 1)))
}

fn decode((key, row): Row) -> Result<Block, LayoutError> {
    Block::decode(&Key::decode(Space::Payloads, &key)?, &row)
}
